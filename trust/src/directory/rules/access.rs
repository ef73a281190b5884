//! Access: applications and the grants they become.

use proto::registry::v1::{self as wire, Statement, statement::Body};

use super::{
    super::{Directory, Object, Reading, StatementError, model::AccessState, object::AccessKey},
    fields::{check_basis, require, require_department},
};
use crate::{
    official,
    service::{Service, Sharing},
};

/// Checks an application, or a statement about one.
pub(super) fn check(
    directory: &Directory,
    statement: &Statement,
    body: &Body,
    object: &Object,
) -> Result<(), StatementError> {
    // An excerpt may leave the profile's changes out; what stands in the log was checked against them.
    if directory.reading == Reading::Whole
        && let Some(kind) = official::kind_of(body)
    {
        official::check(directory.profile(), kind, statement.decision.as_ref(), true).map_err(|refusal| {
            let what = refusal.code.message();
            let detail = if refusal.detail.is_empty() { String::new() } else { format!(": {}", refusal.detail) };
            StatementError::rule(&refusal.field, format!("{what}{detail}"))
        })?;
    }
    match body {
        Body::AccessApplied(body) => check_application(directory, body, object),
        Body::AccessGranted(body) => check_grant(directory, body, object),
        Body::AccessExtended(body) => check_extension(directory, statement, body, object),
        Body::AccessRefused(body) => {
            require("reason", &body.reason)?;
            let is_code = |code: &str| code.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
            if body.reason_code.is_empty() || body.reason_code.len() > 64 || !is_code(&body.reason_code) {
                return Err(StatementError::rule("reason_code", "a refusal has a reason code"));
            }
            check_access_state(directory, object, |state| *state == AccessState::Applied)
        }
        Body::AccessReturned(body) => {
            if body.missing.is_empty() || body.missing.iter().any(|item| item.trim().is_empty()) {
                return Err(StatementError::rule("missing", "say what is missing"));
            }
            check_access_state(directory, object, |state| *state == AccessState::Applied)
        }
        Body::AccessSuspended(body) => {
            require("reason", &body.reason)?;
            check_access_state(directory, object, |state| *state == AccessState::Granted)
        }
        Body::AccessResumed(_) => {
            check_access_state(directory, object, |state| matches!(state, AccessState::Suspended { .. }))
        }
        Body::AccessRevoked(body) => {
            require("reason", &body.reason)?;
            check_access_state(directory, object, |state| {
                matches!(state, AccessState::Granted | AccessState::Suspended { .. })
            })
        }
        _ => Ok(()),
    }
}

fn check_application(directory: &Directory, body: &wire::AccessApplied, object: &Object) -> Result<(), StatementError> {
    require_department(directory, &body.consumer)?;
    if body.provider == body.consumer {
        return Err(StatementError::rule("provider", "a department needs no grant from itself"));
    }
    if let Object::Access(key) = object
        && let Some(before) = directory.access(key)
    {
        if !matches!(before.state, AccessState::Returned { .. }) {
            return Err(StatementError::rule("id", "the application exists already"));
        }
        if before.applied.service != body.service {
            return Err(StatementError::rule("service", "an application that was returned stays with its service"));
        }
    }
    check_basis(&body.legal_bases)?;
    if body.item.trim().is_empty() && body.scenario.trim().is_empty() {
        return Err(StatementError::rule("item", "state the item or the scenario"));
    }
    let service = service_of(directory, object, &body.service, body.major_version)?;
    // Until then its description may still change in any way, and a grant would be for something else.
    if !service.review.permits() {
        return Err(StatementError::rule("service", "waits for the authority's review"));
    }
    if service.sharing != Sharing::Conditional {
        return Err(StatementError::rule("service", "only a conditionally shared service takes applications"));
    }
    check_scope(service, &body.scope)
}

fn check_grant(directory: &Directory, body: &wire::AccessGranted, object: &Object) -> Result<(), StatementError> {
    check_access_state(directory, object, |state| matches!(state, AccessState::Applied | AccessState::Granted))?;
    let Object::Access(key) = object else { return Err(StatementError::rule("object", "is no application")) };
    let Some(access) = directory.access(key) else { return Err(StatementError::rule("id", "is not applied for")) };
    let applied = access.applied.read();
    if (&body.service, body.major_version) != (&applied.service, applied.major_version) {
        return Err(StatementError::rule("service", "is not the one applied for"));
    }
    if (&body.item, &body.scenario, &body.system) != (&applied.item, &applied.scenario, &applied.system)
        && !(applied.system.is_empty() && (&body.item, &body.scenario) == (&applied.item, &applied.scenario))
    {
        return Err(StatementError::rule("item", "purpose and system are those applied for"));
    }
    if applied.valid_until_ms != 0 && (body.valid_until_ms == 0 || body.valid_until_ms > applied.valid_until_ms) {
        return Err(StatementError::rule("valid_until_ms", "is later than applied for"));
    }
    if body.subscribe && !applied.subscribe {
        return Err(StatementError::rule("subscribe", "notices of changes were not applied for"));
    }
    if body.scope.is_empty() {
        return Err(StatementError::rule("scope", "an empty list covers nothing"));
    }
    for granted in &body.scope {
        // An approval narrows; what nobody applied for, nobody has justified.
        let within = applied.scope.iter().any(|asked| {
            asked.attribute == granted.attribute
                && granted.operators.iter().all(|operator| asked.operators.contains(operator))
                && (asked.disclose || !granted.disclose)
        });
        if !within {
            return Err(StatementError::rule("scope", format!("{} goes beyond the application", granted.attribute)));
        }
    }
    Ok(())
}

fn check_extension(
    directory: &Directory,
    statement: &Statement,
    body: &wire::AccessExtended,
    object: &Object,
) -> Result<(), StatementError> {
    require("notice", &body.notice)?;
    if body.working_days == 0 {
        return Err(StatementError::rule("working_days", "say by how many working days"));
    }
    check_access_state(directory, object, |state| *state == AccessState::Applied)?;
    let Object::Access(key) = object else { return Err(StatementError::rule("object", "is no application")) };
    let Some(access) = directory.access(key) else { return Err(StatementError::rule("id", "is not applied for")) };
    if access.extended.is_some() {
        return Err(StatementError::rule("object", "the time to reply is extended once"));
    }
    if directory.reading == Reading::Whole {
        let profile = directory.profile();
        if body.working_days > profile.clocks.extension {
            let most = format!("at most {} working days", profile.clocks.extension);
            return Err(StatementError::rule("working_days", most));
        }
        let ends_ms = profile.calendar.deadline(access.applied_ms, access.reply_days(profile));
        if statement.stated_at_ms >= ends_ms {
            return Err(StatementError::rule("object", "the time to reply is over, and is not extended afterwards"));
        }
    }
    Ok(())
}

fn check_scope(service: &Service, scope: &[wire::AttributeScope]) -> Result<(), StatementError> {
    if scope.is_empty() {
        return Err(StatementError::rule("scope", "an empty list covers nothing"));
    }
    for asked in scope {
        let Some(rule) = service.attributes.get(&asked.attribute) else {
            return Err(StatementError::rule("scope", format!("the service has no attribute {:?}", asked.attribute)));
        };
        if asked.operators.is_empty() {
            return Err(StatementError::rule("scope", format!("{}: name the operators", asked.attribute)));
        }
        for operator in &asked.operators {
            if !rule.operators().iter().any(|allowed| allowed.as_str() == operator) {
                let reason = format!("{} does not allow the operator {operator:?}", asked.attribute);
                return Err(StatementError::rule("scope", reason));
            }
        }
        if asked.disclose && !rule.discloses() {
            return Err(StatementError::rule("scope", format!("{} is not disclosed", asked.attribute)));
        }
    }
    Ok(())
}

fn service_of<'a>(
    directory: &'a Directory,
    object: &Object,
    service: &str,
    major: u32,
) -> Result<&'a Service, StatementError> {
    let Object::Access(AccessKey { provider, .. }) = object else {
        return Err(StatementError::rule("object", "is no application"));
    };
    let service = service.parse().map_err(|error| StatementError::malformed("service", error))?;
    directory
        .service(&crate::ids::ServiceId { department: provider.clone(), service, major })
        .ok_or_else(|| StatementError::rule("service", "there is no such service in this version"))
}

fn check_access_state(
    directory: &Directory,
    object: &Object,
    fits: impl Fn(&AccessState) -> bool,
) -> Result<(), StatementError> {
    let access = match object {
        Object::Access(key) => directory.access(key),
        _ => None,
    };
    match access {
        Some(access) if fits(&access.state) => Ok(()),
        Some(_) => Err(StatementError::rule("object", "the application's or grant's state does not allow this")),
        None => Err(StatementError::rule("object", "there is no such application")),
    }
}

#[cfg(test)]
mod tests;
