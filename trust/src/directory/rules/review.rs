//! The authority's reviews of data services. They let in what a department has published, and nothing else: the statement
//! reviewed is named by its digest, so nothing that was changed in the meantime is approved with it.

use proto::registry::v1 as wire;

use super::super::{Directory, Object, StatementError};
use crate::service::Review;

/// Checks a review.
pub(super) fn check(
    directory: &Directory,
    body: &wire::ServiceReviewed,
    object: &Object,
) -> Result<(), StatementError> {
    let service = match object {
        Object::Review(id) => directory.service(id),
        _ => None,
    };
    let service = service.ok_or_else(|| StatementError::rule("service", "there is no such service in this version"))?;
    let (_, statement, review) =
        service.unapproved().ok_or_else(|| StatementError::rule("service", "does not wait for a review"))?;
    if body.service_statement != statement.as_bytes() {
        let reason = "another description waits for a review now: look at it again";
        return Err(StatementError::rule("service_statement", reason));
    }
    let is_blank = body.missing.iter().any(|missing| missing.trim().is_empty());
    match (body.approved, body.missing.is_empty()) {
        (true, true) => Ok(()),
        (true, false) => Err(StatementError::rule("missing", "what is approved lacks nothing")),
        (false, true) => Err(StatementError::rule("missing", "say everything that is missing, in one notice")),
        (false, false) if is_blank => Err(StatementError::rule("missing", "a blank entry says nothing")),
        // One notice lists all that is missing: there is no second one for the same description.
        (false, false) if matches!(review, Review::Returned { .. }) => {
            Err(StatementError::rule("service", "was returned already, and its provider has changed nothing since"))
        }
        (false, false) => Ok(()),
    }
}
