//! From what an operator decides to what is stated. Out of scope: whether the directory takes it.

use proto::{
    admin::v1::DecideAccessRequest,
    registry::v1::{
        AccessApplied, AccessExtended, AccessGranted, AccessRefused, AccessResumed, AccessReturned, AccessRevoked,
        AccessSuspended, statement::Body,
    },
};
use trust::{
    directory::{AccessKey, Directory},
    official,
    refusal::{Code, Refusal},
};

/// Why a decision states nothing.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(super) enum Error {
    /// It breaks a rule.
    #[error("{0}")]
    Refused(Refusal),
    /// It is no decision.
    #[error("{0}")]
    Usage(String),
}

/// What a decision on an application states.
pub(super) fn of(
    directory: &Directory,
    key: &AccessKey,
    request: &DecideAccessRequest,
    now_ms: u64,
) -> Result<Body, Error> {
    let access = directory.access(key).ok_or_else(|| Error::Usage("there is no such application".to_owned()))?;
    let reason = request.reason.clone();
    Ok(match request.action.as_str() {
        "approve" => Body::AccessGranted(granted(directory, access.applied.read(), request, now_ms)?),
        "refuse" => Body::AccessRefused(AccessRefused { reason_code: reason_code(&request.reason_code)?, reason }),
        "return" => Body::AccessReturned(AccessReturned { missing: request.missing.clone() }),
        "extend" => {
            let working_days = match request.working_days {
                0 => directory.profile().clocks.extension,
                days => days,
            };
            Body::AccessExtended(AccessExtended { working_days, notice: reason })
        }
        "suspend" => Body::AccessSuspended(AccessSuspended { reason }),
        "resume" => Body::AccessResumed(AccessResumed { reason }),
        "revoke" => Body::AccessRevoked(AccessRevoked { reason }),
        _ => {
            let actions = "action: must be approve, refuse, return, extend, suspend, resume or revoke";
            return Err(Error::Usage(actions.to_owned()));
        }
    })
}

fn granted(
    directory: &Directory,
    applied: AccessApplied,
    request: &DecideAccessRequest,
    now_ms: u64,
) -> Result<AccessGranted, Error> {
    let system = match (applied.system.as_str(), request.system.as_str()) {
        (applied, "") => applied.to_owned(),
        ("", chosen) => chosen.to_owned(),
        (applied, chosen) if applied == chosen => applied.to_owned(),
        (applied, _) => {
            let reason = format!("the application names {applied}, and a grant names no other");
            return Err(Error::Refused(Refusal::new(Code::StatementRefused).at("system").because(reason)));
        }
    };
    Ok(AccessGranted {
        provider: applied.provider,
        consumer: applied.consumer,
        id: applied.id,
        service: applied.service,
        major_version: applied.major_version,
        scope: if request.scope.is_empty() { applied.scope } else { request.scope.clone() },
        item: applied.item,
        scenario: applied.scenario,
        legal_bases: applied.legal_bases,
        // A grant counts from now: less what clocks may differ, so that the first question of a node whose clock is a
        // little behind is not refused.
        valid_from_ms: now_ms.saturating_sub(directory.profile().clock_skew_ms),
        valid_until_ms: if request.valid_until_ms == 0 { applied.valid_until_ms } else { request.valid_until_ms },
        quota: request.quota,
        system,
        embargo_until_ms: request.embargo_until_ms,
        subscribe: applied.subscribe && !request.without_notices,
    })
}

fn reason_code(code: &str) -> Result<String, Error> {
    match code {
        "" => Ok("PROVIDER_DECISION".to_owned()),
        code if official::REFUSAL_REASONS.iter().any(|(known, _)| *known == code) => Ok(code.to_owned()),
        code => {
            let known: Vec<&str> = official::REFUSAL_REASONS.iter().map(|(known, _)| *known).collect();
            let reason = format!("{code:?} is none of {}", known.join(", "));
            Err(Error::Refused(Refusal::new(Code::StatementRefused).at("reason_code").because(reason)))
        }
    }
}
