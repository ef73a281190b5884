//! Departments that are renamed, split, closed, and what they hand over. Out of scope: what a hand-over moves
//! (`succession`).

use std::collections::BTreeSet;

use proto::registry::v1::{self as wire, statement::Body};

use super::{
    super::{AccessKey, Directory, Object, StatementError, model::AccessState, succession::held_key},
    fields::{check_digest, require},
};
use crate::{
    ids::{DepartmentId, ServiceId},
    service::ServiceState,
};

/// Checks a statement about a department's end, a part of it, or its name.
pub(super) fn check(directory: &Directory, body: &Body) -> Result<(), StatementError> {
    match body {
        Body::DepartmentRenamed(body) => {
            require_going_on(directory, "department", &body.department)?;
            if body.name.as_ref().is_none_or(|name| name.zh.trim().is_empty()) {
                return Err(StatementError::rule("name.zh", "the department needs a name"));
            }
            require_time(body.from_ms)
        }
        Body::DepartmentSucceeded(body) => check_offer(directory, body),
        Body::SuccessionAccepted(body) => check_acceptance(directory, body),
        Body::DepartmentClosed(body) => {
            check_confirmation(directory, &body.department, &body.successors, body.from_ms, &body.reason)
        }
        Body::DepartmentSplit(body) => {
            if body.successors.is_empty() {
                return Err(StatementError::rule("successors", "name the departments that take parts"));
            }
            check_confirmation(directory, &body.department, &body.successors, body.from_ms, &body.reason)
        }
        _ => Ok(()),
    }
}

/// Checks that what is said about a service or grant is not said about one that is somebody else's by then. Its former
/// owner may still narrow it until it has gone over.
pub(in super::super) fn check_not_handed_over(
    directory: &Directory,
    body: &Body,
    object: &Object,
    at_ms: u64,
) -> Result<(), StatementError> {
    let handed = match object {
        Object::Service(id) => directory.service_handed_to(id).map(|to| (to.successor.to_string(), to.from_ms)),
        Object::Access(key) => {
            directory.access_handed_to(key).map(|(to, from_ms)| (format!("{}/{}", to.provider, to.consumer), from_ms))
        }
        _ => None,
    };
    let narrows = matches!(
        body,
        Body::ServiceSuspended(_) | Body::ServiceWithdrawn(_) | Body::AccessSuspended(_) | Body::AccessRevoked(_)
    );
    if let Some((to, from_ms)) = handed
        && (!narrows || at_ms >= from_ms)
    {
        return Err(StatementError::rule("object", format!("was handed over to {to}")));
    }
    if let Body::AccessApplied(body) = body {
        require_going_on(directory, "provider", &body.provider)?;
    }
    Ok(())
}

fn check_offer(directory: &Directory, body: &wire::DepartmentSucceeded) -> Result<(), StatementError> {
    let department = require_going_on(directory, "department", &body.department)?;
    let successor = require_going_on(directory, "successor", &body.successor)?;
    if department == successor {
        return Err(StatementError::rule("successor", "a department does not succeed itself"));
    }
    require("reason", &body.reason)?;
    let known = directory.succession(&department, &successor);
    if body.services.is_empty() && body.held.is_empty() && !body.custody && known.is_none() {
        return Err(StatementError::rule("services", "nothing is handed over"));
    }
    let mut named = BTreeSet::new();
    for (index, handed) in body.services.iter().enumerate() {
        let field = format!("services[{index}]");
        let service = handed.service.parse().map_err(|error| StatementError::malformed(&field, error))?;
        let id = ServiceId { department: department.clone(), service, major: handed.major_version };
        check_service(directory, &field, &id, &successor)?;
        if !named.insert(id) {
            return Err(StatementError::rule(&field, "stands twice"));
        }
    }
    let mut held = BTreeSet::new();
    for (index, grant) in body.held.iter().enumerate() {
        let field = format!("held[{index}]");
        let key = held_key(&department, grant).ok_or_else(|| StatementError::malformed(&field, "is no grant"))?;
        check_held(directory, &field, &key, &successor)?;
        if !held.insert(key) {
            return Err(StatementError::rule(&field, "stands twice"));
        }
    }
    Ok(())
}

fn check_service(
    directory: &Directory,
    field: &str,
    id: &ServiceId,
    successor: &DepartmentId,
) -> Result<(), StatementError> {
    let Some(service) = directory.service(id) else {
        return unknown(directory, field, "the department has no such service in this version");
    };
    if matches!(service.state, ServiceState::Withdrawn { .. }) {
        return Err(StatementError::rule(field, "the service was withdrawn"));
    }
    if let Some(to) = directory.service_handed_to(id) {
        return Err(StatementError::rule(field, format!("was handed over to {} already", to.successor)));
    }
    if directory.service(&ServiceId { department: successor.clone(), ..id.clone() }).is_some() {
        return Err(StatementError::rule(field, "the successor has a service of this name and version"));
    }
    Ok(())
}

fn check_held(
    directory: &Directory,
    field: &str,
    key: &AccessKey,
    successor: &DepartmentId,
) -> Result<(), StatementError> {
    let Some(access) = directory.access(key) else {
        return unknown(directory, field, "the department holds no such grant");
    };
    if !matches!(access.state, AccessState::Granted | AccessState::Suspended { .. }) {
        return Err(StatementError::rule(field, "the grant does not hold"));
    }
    if directory.access_handed_to(key).is_some() {
        return Err(StatementError::rule(field, "was handed over already"));
    }
    if directory.access(&AccessKey { consumer: successor.clone(), ..key.clone() }).is_some() {
        return Err(StatementError::rule(field, "the successor has a grant of this id"));
    }
    Ok(())
}

fn check_acceptance(directory: &Directory, body: &wire::SuccessionAccepted) -> Result<(), StatementError> {
    let department = read("department", &body.department)?;
    let successor = require_going_on(directory, "successor", &body.successor)?;
    check_digest("offer", &body.offer)?;
    let known = directory
        .succession(&department, &successor)
        .ok_or_else(|| StatementError::rule("object", "nothing was handed over to the department"))?;
    if known.offered.as_bytes() != body.offer.as_slice() {
        return Err(StatementError::rule("offer", "is not the last that the ending department said"));
    }
    if known.accepted {
        return Err(StatementError::rule("object", "it is accepted already"));
    }
    Ok(())
}

fn check_confirmation(
    directory: &Directory,
    department: &str,
    successors: &[String],
    from_ms: u64,
    reason: &str,
) -> Result<(), StatementError> {
    let department = require_going_on(directory, "department", department)?;
    require("reason", reason)?;
    require_time(from_ms)?;
    let mut named = BTreeSet::new();
    for successor in successors {
        let successor = require_going_on(directory, "successors", successor)?;
        if successor == department || !named.insert(successor) {
            return Err(StatementError::rule("successors", "names a department twice, or the one that ends"));
        }
    }
    Ok(())
}

fn require_time(from_ms: u64) -> Result<(), StatementError> {
    if from_ms == 0 { Err(StatementError::rule("from_ms", "say from when")) } else { Ok(()) }
}

fn read(field: &str, id: &str) -> Result<DepartmentId, StatementError> {
    id.parse().map_err(|error| StatementError::malformed(field, error))
}

/// The department, which must be admitted and not have ended.
fn require_going_on(directory: &Directory, field: &str, id: &str) -> Result<DepartmentId, StatementError> {
    let id = read(field, id)?;
    match directory.department(&id) {
        Some(known) if known.closed.is_none() => Ok(id),
        Some(_) => Err(StatementError::rule(field, "the department has ended")),
        None => unknown(directory, field, "is not admitted").map(|()| id),
    }
}

/// What an excerpt does not show may be there all the same; nothing is carried over that it does not show.
fn unknown(directory: &Directory, field: &str, why: &str) -> Result<(), StatementError> {
    if directory.is_excerpt() { Ok(()) } else { Err(StatementError::rule(field, why)) }
}
