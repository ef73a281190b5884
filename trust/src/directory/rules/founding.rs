//! The exchange's founding.

use proto::registry::v1::{self as wire, statement::Body};

use super::{
    super::{Directory, StatementError},
    fields::{check_digest, described},
};
use crate::key::Role;

/// Checks a founding, or where the registry is.
pub(super) fn check(directory: &Directory, body: &Body) -> Result<(), StatementError> {
    match body {
        Body::ExchangeFounded(body) => check_founding(directory, body),
        Body::RegistryAnnounced(body) => {
            check_digest("tls_key", &body.tls_key)?;
            if body.next_tls_key.is_empty() { Ok(()) } else { check_digest("next_tls_key", &body.next_tls_key) }
        }
        _ => Ok(()),
    }
}

fn check_founding(directory: &Directory, founded: &wire::ExchangeFounded) -> Result<(), StatementError> {
    let key = described("authority_key", founded.authority_key.as_ref(), Role::Authority)?;
    if key.key != *directory.first_authority_key() {
        return Err(StatementError::rule("authority_key", "is not the authority's key that this reader trusts"));
    }
    described("log_key", founded.log_key.as_ref(), Role::Log)?;
    super::profile::check(founded.profile.as_ref())
}
