//! What the directory means to a reader who wants to know who takes part, with what, and who may ask whom: lists in
//! pages and through filters, as `registry.v1.Catalogue` has them. The registry and every node answer with this same
//! code, each from the directory it has verified.
//!
//! Out of scope: how it looks to people (`reading`), and who may read.

mod access;
mod departments;
mod page;
mod search;
mod services;
mod statements;

use proto::registry::v1 as wire;

pub use self::{
    access::{access, access_state},
    departments::{department_state, departments},
    page::gather,
    search::Words,
    services::{ServiceStanding, service_standing, services},
    statements::{StatementIndex, signers},
};
use crate::directory::Directory;

/// How many entries a page has where nobody says otherwise.
pub const USUAL_PAGE: u32 = 100;

/// How many entries a page has at most.
pub const LARGEST_PAGE: u32 = 1000;

/// Why a query cannot be answered. What is asked for and is not there is no error but an empty page.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The cursor is not one that this query gave.
    #[error("page.cursor: is not of this query; begin again without one")]
    CursorWrong,
    /// A filter cannot be read.
    #[error("{field}: {reason}")]
    Malformed {
        /// The field.
        field: &'static str,
        /// Why.
        reason: String,
    },
}

/// How far the directory goes. The checkpoint, the root at another size and the tiles' addresses are the caller's.
pub fn head(directory: &Directory) -> wire::HeadEntry {
    let registry = directory.registry();
    let tls_keys = registry.iter().flat_map(|registry| [&registry.tls_key, &registry.next_tls_key]);
    wire::HeadEntry {
        exchange_id: directory.exchange().to_string(),
        authority_key: directory.authority_key().to_string(),
        size: directory.size(),
        root: directory.root().as_bytes().to_vec(),
        checkpoint: String::new(),
        root_at_size: Vec::new(),
        tile_addresses: registry.map(|registry| registry.tile_addresses.clone()).unwrap_or_default(),
        tiles_members_only: directory.profile().tiles_members_only,
        registry_tls_keys: tls_keys.filter(|key| !key.is_empty()).cloned().collect(),
    }
}

/// Reads an id that a filter names; an empty one filters nothing.
fn id<T: std::str::FromStr<Err: std::fmt::Display>>(field: &'static str, text: &str) -> Result<Option<T>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error: T::Err| Error::Malformed { field, reason: error.to_string() })
}

#[cfg(test)]
mod tests;
