//! The keys that everything rests on: the authority's and the log's. Who must sign such a statement is in `chain`.

use proto::registry::v1::statement::Body;

use super::{
    super::{Directory, StatementError},
    fields::{check_unused, described, require},
};
use crate::key::Role;

/// Checks a change of the authority's or the log's key.
pub(super) fn check(directory: &Directory, body: &Body) -> Result<(), StatementError> {
    let (field, key, reason) = match body {
        Body::AuthorityKeyChanged(body) => {
            ("authority_key", described("authority_key", body.authority_key.as_ref(), Role::Authority)?, &body.reason)
        }
        Body::LogKeyChanged(body) => ("log_key", described("log_key", body.log_key.as_ref(), Role::Log)?, &body.reason),
        _ => return Ok(()),
    };
    require("reason", reason)?;
    if key.valid_until_ms.is_some() {
        // What ends it is the statement that brings the next one.
        return Err(StatementError::rule(field, "has no end of its own"));
    }
    check_unused(directory, field, &key.key)
}
