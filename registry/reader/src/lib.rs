//! What the commands of both programs say of a directory that they read: data services, departments, and the log with its
//! audit. A registry and a node answer the same readers' service, each from the directory that it has verified; here it is
//! asked, and the answer is laid out for people and for machines.
//!
//! Out of scope: the commands themselves with their help, which program they speak to, and how each thing is told
//! (`trust::reading`).

mod departments;
mod log;
mod services;

use std::{io, path::PathBuf};

use host::{files, published};
use proto::registry::v1::catalogue_client::CatalogueClient;
use serde_json::Value;
use tonic::{Status, transport::Channel};
use trust::refusal::Refusal;

pub use self::{
    departments::{department, departments},
    log::{Own, announced, authority_key, head, named, statement, verify},
    services::{ServiceFilter, service, service_path, services},
};

/// The readers' service of whichever program.
pub type Client = CatalogueClient<Channel>;

/// What there is to say, in both of its forms.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// For machines.
    pub json: Value,
    /// For people.
    pub text: String,
}

/// Why there is nothing to say. Each program makes a fault of its own of it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What was read cannot be kept.
    #[error("cannot write {}: {source}", path.display())]
    Kept {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// What came back cannot be read.
    #[error("{0}")]
    Malformed(String),
    /// The directory's log is not sound.
    #[error("the directory's log is not sound: {0}")]
    NotSound(String),
    /// The file of a proof cannot be written.
    #[error(transparent)]
    Proof(#[from] files::Error),
    /// What was published cannot be read.
    #[error(transparent)]
    Published(#[from] published::Error),
    /// The directory has nothing of the kind.
    #[error("{0}")]
    Refused(Refusal),
    /// The program answered with a fault.
    #[error(transparent)]
    Status(#[from] Status),
    /// The command cannot be carried out as it was given.
    #[error("{0}")]
    Usage(String),
}

/// A list, and that it goes on where it does.
fn listed(table: String, more: bool) -> String {
    table + if more { "\nThere are more: raise --limit." } else { "" }
}
