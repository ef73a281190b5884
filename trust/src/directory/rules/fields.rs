//! What many statements have in common: names, keys, digests, legal bases.

use proto::{exchange::v1::LegalBasis, registry::v1 as wire};

use super::super::{Directory, Object, StatementError};
use crate::{
    ids::DepartmentId,
    key::{DescribedKey, PublicKey, Role},
    service::has_basis,
};

pub(super) fn check_unused(directory: &Directory, field: &str, key: &PublicKey) -> Result<(), StatementError> {
    if directory.key(key.id()).is_some() {
        return Err(StatementError::rule(
            field,
            "the key is in the directory already; a key has one role and one owner",
        ));
    }
    Ok(())
}

pub(super) fn check_basis(bases: &[LegalBasis]) -> Result<(), StatementError> {
    if has_basis(bases) { Ok(()) } else { Err(StatementError::rule("legal_bases", "state instrument and article")) }
}

pub(super) fn check_digest(field: &str, bytes: &[u8]) -> Result<(), StatementError> {
    if bytes.len() == 32 { Ok(()) } else { Err(StatementError::rule(field, "must be 32 bytes")) }
}

pub(super) fn require(field: &str, text: &str) -> Result<(), StatementError> {
    if text.trim().is_empty() { Err(StatementError::rule(field, "is missing")) } else { Ok(()) }
}

pub(super) fn require_department(directory: &Directory, id: &str) -> Result<(), StatementError> {
    let id: DepartmentId = id.parse().map_err(|error| StatementError::malformed("department", error))?;
    match directory.department(&id) {
        Some(_) => Ok(()),
        None => Err(StatementError::rule("department", "is not admitted")),
    }
}

pub(super) fn require_known(directory: &Directory, object: &Object) -> Result<(), StatementError> {
    if directory.last(object).is_some() { Ok(()) } else { Err(StatementError::rule("object", "does not exist")) }
}

pub(in super::super) fn described(
    field: &str,
    key: Option<&wire::Key>,
    role: Role,
) -> Result<DescribedKey, StatementError> {
    let key = key.ok_or_else(|| StatementError::rule(field, "is missing"))?;
    let key = DescribedKey::from_wire(key).map_err(|error| StatementError::malformed(field, error))?;
    if key.role != role {
        return Err(StatementError::rule(field, "has another role than it needs"));
    }
    Ok(key)
}
