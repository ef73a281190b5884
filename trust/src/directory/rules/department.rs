//! Departments: admitted, suspended, resumed.

use proto::registry::v1::{self as wire, statement::Body};

use super::{
    super::{Directory, StatementError},
    fields::{check_unused, described, require, require_department},
};
use crate::{ids::DepartmentId, key::Role};

/// Checks a statement about a department.
pub(super) fn check(directory: &Directory, body: &Body) -> Result<(), StatementError> {
    match body {
        Body::DepartmentAdmitted(body) => check_admission(directory, body),
        Body::DepartmentSuspended(body) => {
            require("reason", &body.reason)?;
            require_department(directory, &body.department)
        }
        Body::DepartmentResumed(body) => require_department(directory, &body.department),
        _ => Ok(()),
    }
}

fn check_admission(directory: &Directory, body: &wire::DepartmentAdmitted) -> Result<(), StatementError> {
    if body.name.as_ref().is_none_or(|name| name.zh.trim().is_empty()) {
        return Err(StatementError::rule("name.zh", "the department needs a name"));
    }
    let first = described("first_key", body.first_key.as_ref(), Role::Department)?;
    let recovery = described("recovery_key", body.recovery_key.as_ref(), Role::Recovery)?;
    check_unused(directory, "first_key", &first.key)?;
    check_unused(directory, "recovery_key", &recovery.key)?;
    if first.key == recovery.key {
        return Err(StatementError::rule("recovery_key", "must be another key than the first"));
    }
    let id: DepartmentId = body.department.parse().map_err(|error| StatementError::malformed("department", error))?;
    if directory.department(&id).is_some() {
        return Err(StatementError::rule("department", "the id is taken; an id is never used again"));
    }
    Ok(())
}
