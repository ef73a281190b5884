//! Data services: who is published with what, which change keeps the major version, and how long before its end a
//! withdrawal is told.

use proto::registry::v1::{self as wire, statement::Body};

use super::{
    super::{Directory, Object, StatementError},
    fields::{require, require_department},
};
use crate::service::{Service, ServiceState, compatibility};

/// Checks a statement about a data service.
pub(super) fn check(
    directory: &Directory,
    body: &Body,
    object: &Object,
    stated_at_ms: u64,
) -> Result<(), StatementError> {
    match body {
        Body::ServicePublished(body) => check_service(directory, body),
        Body::ServiceSuspended(body) => {
            require("notice", &body.notice)?;
            let service = known(directory, object)?;
            check_not_over(service, stated_at_ms)?;
            allow(service.notice().is_none(), "is suspended already")
        }
        Body::ServiceResumed(_) => allow(known(directory, object)?.notice().is_some(), "is not suspended"),
        Body::ServiceWithdrawn(body) => {
            require("reason", &body.reason)?;
            check_withdrawal(directory, known(directory, object)?, body.from_ms, stated_at_ms)
        }
        _ => Ok(()),
    }
}

fn check_service(directory: &Directory, body: &wire::ServicePublished) -> Result<(), StatementError> {
    require_department(directory, &body.department)?;
    // The digest is set when the statement is folded.
    let service = Service::check(body, crate::ids::Digest::new([0; 32]))
        .map_err(|error| StatementError::Rule { field: error.field, reason: error.reason })?;
    if let Some(scheme) = service.schemes.iter().find(|scheme| !directory.profile().schemes.knows(**scheme)) {
        let reason =
            format!("the exchange's profile does not have the subject scheme {scheme}: ask the authority to add it");
        return Err(StatementError::rule("subject", reason));
    }
    let Some(before) = directory.service(&service.id) else { return Ok(()) };
    if matches!(before.state, ServiceState::Withdrawn { .. }) {
        return Err(StatementError::rule("service", "was withdrawn; publish a new major version"));
    }
    let minor = before.newest().minor_version;
    if minor >= body.minor_version {
        return Err(StatementError::rule("version", format!("a change raises the minor version, which is {minor}")));
    }
    // Nobody has asked what the authority has not approved, so nobody relies on it.
    if before.review.permits() {
        compatibility::require_compatible(&before.published, body)
            .map_err(|reason| StatementError::rule("version", reason))?;
    }
    Ok(())
}

/// Those who ask must hear of a service's end before it: a withdrawal is told so long before, and can only be put off.
fn check_withdrawal(
    directory: &Directory,
    service: &Service,
    from_ms: u64,
    stated_at_ms: u64,
) -> Result<(), StatementError> {
    check_not_over(service, stated_at_ms)?;
    let notice_ms = directory.profile().withdrawal_notice_ms;
    if from_ms < stated_at_ms.saturating_add(notice_ms) {
        let reason = format!(
            "a withdrawal is told at least {} before the service ends; to stop at once, suspend it until then",
            span(notice_ms)
        );
        return Err(StatementError::rule("from_ms", reason));
    }
    match service.ends() {
        Some((before_ms, _)) if from_ms <= before_ms => {
            Err(StatementError::rule("from_ms", "the end was stated already; it can only be put off"))
        }
        _ => Ok(()),
    }
}

fn check_not_over(service: &Service, at_ms: u64) -> Result<(), StatementError> {
    allow(service.ends().is_none_or(|(from_ms, _)| at_ms < from_ms), "has ended")
}

fn known<'a>(directory: &'a Directory, object: &Object) -> Result<&'a Service, StatementError> {
    let service = match object {
        Object::Service(id) => directory.service(id),
        _ => None,
    };
    service.ok_or_else(|| StatementError::rule("object", "there is no such service"))
}

fn allow(is_allowed: bool, otherwise: &str) -> Result<(), StatementError> {
    if is_allowed { Ok(()) } else { Err(StatementError::rule("object", format!("the service {otherwise}"))) }
}

fn span(ms: u64) -> String {
    const DAY_MS: u64 = 24 * 3_600_000;
    match ms / 1000 {
        _ if ms >= DAY_MS && ms.is_multiple_of(DAY_MS) => format!("{} days", ms / DAY_MS),
        seconds if seconds >= 3600 && seconds.is_multiple_of(3600) => format!("{} hours", seconds / 3600),
        seconds => format!("{seconds} seconds"),
    }
}
