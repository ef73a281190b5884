//! Keys of departments.

use proto::registry::v1::{self as wire, Statement, statement::Body};

use super::{
    super::{Directory, Object, StatementError},
    fields::{check_unused, require, require_department},
};
use crate::{
    ids::DepartmentId,
    key::{DescribedKey, KeyId, Role},
};

/// Checks a statement about a department's key.
pub(super) fn check(directory: &Directory, body: &Body, object: &Object) -> Result<(), StatementError> {
    match body {
        Body::KeyAdded(body) => check_key_added(directory, body),
        Body::KeyRevoked(body) => {
            require("reason", &body.reason)?;
            let Object::Key(key_id) = object else { return Err(StatementError::rule("key_id", "is no key")) };
            match directory.key(key_id) {
                Some(key) if key.revoked.as_ref().is_some_and(|revocation| revocation.index.is_some()) => {
                    Err(StatementError::rule("key_id", "the key is revoked already"))
                }
                Some(_) => Ok(()),
                None => Err(StatementError::rule("key_id", "there is no such key")),
            }
        }
        Body::KeyRetired(_) => {
            let Object::Key(key_id) = object else { return Err(StatementError::rule("key_id", "is no key")) };
            match directory.key(key_id) {
                Some(key) if key.revoked.as_ref().is_some_and(|revocation| revocation.index.is_some()) => {
                    Err(StatementError::rule("key_id", "the key is revoked already"))
                }
                Some(_) => Ok(()),
                None => Err(StatementError::rule("key_id", "there is no such key")),
            }
        }
        _ => Ok(()),
    }
}

/// A retirement counts from its own time on at the earliest: otherwise a department could take back what it signed.
pub(in super::super) fn check_moment(statement: &Statement, body: &Body) -> Result<(), StatementError> {
    match body {
        Body::KeyRetired(body) if body.from_ms < statement.stated_at_ms => {
            Err(StatementError::rule("from_ms", "is before the statement was made"))
        }
        _ => Ok(()),
    }
}

/// The owner of a key, which must be the department that is named.
pub(super) fn owner(directory: &Directory, key_id: &KeyId, named: &str) -> Result<DepartmentId, StatementError> {
    let named: DepartmentId = named.parse().map_err(|error| StatementError::malformed("department", error))?;
    match directory.key(key_id).and_then(|key| key.department.as_ref()) {
        Some(owner) if *owner == named => Ok(named),
        _ => Err(StatementError::rule("key_id", "the department has no such key")),
    }
}

fn check_key_added(directory: &Directory, body: &wire::KeyAdded) -> Result<(), StatementError> {
    require_department(directory, &body.department)?;
    let key = body.key.as_ref().ok_or_else(|| StatementError::rule("key", "is missing"))?;
    let key = DescribedKey::from_wire(key).map_err(|error| StatementError::malformed("key", error))?;
    match key.role {
        Role::Department | Role::Recovery if body.node.is_empty() => {}
        Role::Department | Role::Recovery => return Err(StatementError::rule("node", "only a node key has a node")),
        Role::Node => {
            body.node.parse::<crate::ids::NodeId>().map_err(|error| StatementError::malformed("node", error))?;
        }
        Role::Authority | Role::Log => return Err(StatementError::rule("key.role", "is not a department's to give")),
    }
    check_unused(directory, "key", &key.key)
}
