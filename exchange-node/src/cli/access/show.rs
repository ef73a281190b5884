//! How applications and grants look, for people and for machines.

use proto::{
    admin::v1::{AccessState, Clock, PendingDecision},
    registry::v1::{AccessApplied, AttributeScope, OfficialDecision},
};
use serde_json::{Value, json};

use super::super::output;

/// Whether `ID` or `OTHER DEPARTMENT/ID` means this application.
pub(super) fn is_meant(state: &AccessState, text: &str) -> bool {
    let applied = state.applied.clone().unwrap_or_default();
    match text.split_once('/') {
        None => applied.id == text,
        Some((side, id)) => applied.id == id && [applied.provider, applied.consumer].iter().any(|party| party == side),
    }
}

pub(super) fn row(state: &AccessState) -> [String; 8] {
    let applied = state.applied.clone().unwrap_or_default();
    [
        applied.id.clone(),
        format!("{}/{} v{}", applied.provider, applied.service, applied.major_version),
        applied.consumer.clone(),
        purpose(&applied),
        scope_text(&scope_now(state)),
        output::moment(until(state)),
        state_text(state),
        clock_text(state.clock.as_ref()),
    ]
}

/// A clock with its date: what is due, until when, and in capitals where it is urgent.
fn clock_text(clock: Option<&Clock>) -> String {
    let Some(clock) = clock else { return String::new() };
    let days = |count: i64| if count == 1 { "1 working day".to_owned() } else { format!("{count} working days") };
    let stands = match clock.colour.as_str() {
        "red" => format!("RED, {} late", days(-clock.days_left)),
        "amber" => format!("AMBER, {} left", days(clock.days_left)),
        _ => format!("{} left", days(clock.days_left)),
    };
    format!("{} by {}: {stands}", clock.what, clock.last_day)
}

fn purpose(applied: &AccessApplied) -> String {
    if applied.item.is_empty() { applied.scenario.clone() } else { applied.item.clone() }
}

fn state_text(state: &AccessState) -> String {
    let mut text = state.state.clone();
    if !state.reason_code.is_empty() {
        text = format!("{text} ({})", state.reason_code);
    }
    if !state.reason.is_empty() {
        text = format!("{text}: {}", state.reason);
    }
    if let Some(pending) = &state.pending {
        text = format!("{text}\nwaits for a second officer: {}", pending.action);
    }
    text
}

/// What is granted, or else what is applied for.
fn scope_now(state: &AccessState) -> Vec<AttributeScope> {
    match (&state.granted, &state.applied) {
        (Some(granted), _) => granted.scope.clone(),
        (None, Some(applied)) => applied.scope.clone(),
        (None, None) => Vec::new(),
    }
}

fn until(state: &AccessState) -> u64 {
    state.granted.as_ref().map_or_else(
        || state.applied.as_ref().map_or(0, |applied| applied.valid_until_ms),
        |granted| granted.valid_until_ms,
    )
}

/// Whether changes may be subscribed to.
fn notices(state: &AccessState) -> String {
    let is_applied_for = state.applied.as_ref().is_some_and(|applied| applied.subscribe);
    match (&state.granted, is_applied_for) {
        (Some(granted), _) if granted.subscribe => "granted",
        (Some(_), true) => "not granted",
        (None, true) => "applied for",
        (_, false) => "",
    }
    .to_owned()
}

fn scope_text(scope: &[AttributeScope]) -> String {
    let lines = scope.iter().map(|asked| {
        let disclose = if asked.disclose { ", value" } else { "" };
        format!("{} ({}{disclose})", asked.attribute, asked.operators.join(", "))
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn officers(decision: Option<&OfficialDecision>) -> String {
    let Some(OfficialDecision { officer, document, second_officer }) = decision else { return String::new() };
    let officers: Vec<&str> =
        [officer, second_officer].into_iter().map(String::as_str).filter(|name| !name.is_empty()).collect();
    let parts = [officers.join(" and "), document.clone()];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
}

pub(super) fn details(state: &AccessState) -> String {
    let applied = state.applied.clone().unwrap_or_default();
    let quota = state.granted.as_ref().and_then(|granted| granted.quota).unwrap_or_default();
    let used = state.r#use.unwrap_or_default();
    let limit = |count: u64, of: &str| if count == 0 { String::new() } else { format!("{count} {of}") };
    let quota = [
        limit(quota.per_second.into(), "a second"),
        limit(quota.per_day.into(), "a day"),
        limit(quota.total, "in all"),
    ];
    let system = state.granted.as_ref().map_or(&applied.system, |granted| &granted.system).clone();
    let extension = match state.extended_days {
        0 => String::new(),
        days => format!("by {days} working days: {}", state.extension_notice),
    };
    let waits = state.pending.as_ref().map(|pending| {
        format!("{} by officer {}, since {}", pending.action, pending.officer, output::moment(pending.since_ms))
    });
    let joined =
        |parts: &[String]| parts.iter().filter(|part| !part.is_empty()).cloned().collect::<Vec<_>>().join(", ");
    output::pairs([
        ("id", applied.id.clone()),
        ("state", state_text(state)),
        ("clock", clock_text(state.clock.as_ref())),
        ("extended", extension),
        ("waits for a second officer", waits.unwrap_or_default()),
        ("decided by", officers(state.decision.as_ref())),
        ("service", format!("{}/{} v{}", applied.provider, applied.service, applied.major_version)),
        ("consumer", applied.consumer.clone()),
        ("item", purpose(&applied)),
        ("legal bases", trust::reading::bases(&applied.legal_bases)),
        ("applied", output::moment(state.applied_ms)),
        ("applied for", scope_text(&applied.scope)),
        ("granted", state.granted.as_ref().map(|granted| scope_text(&granted.scope)).unwrap_or_default()),
        ("until", output::moment(until(state))),
        ("notices of changes", notices(state)),
        ("quota", joined(&quota)),
        ("used", joined(&[limit(used.today, "today"), limit(used.total, "in all"), limit(used.asked, "asked")])),
        ("system", system),
        ("expected", limit(applied.expected_per_day.into(), "questions a day")),
    ])
}

pub(super) fn pending_json(pending: &PendingDecision) -> Value {
    json!({
        "id": pending.id,
        "consumer": pending.consumer,
        "action": pending.action,
        "officer": pending.officer,
        "document": pending.document,
        "since_ms": pending.since_ms,
        "reason": pending.reason,
    })
}

fn clock_json(clock: &Clock) -> Value {
    json!({
        "what": clock.what,
        "ends_ms": clock.ends_ms,
        "last_day": clock.last_day,
        "days_left": clock.days_left,
        "colour": clock.colour,
    })
}

pub(super) fn state_json(state: &AccessState) -> Value {
    let applied = state.applied.clone().unwrap_or_default();
    let scope = |scope: &[AttributeScope]| {
        let entries = scope.iter().map(
            |asked| json!({ "attribute": asked.attribute, "operators": asked.operators, "disclose": asked.disclose }),
        );
        Value::from(entries.collect::<Vec<_>>())
    };
    let granted = state.granted.as_ref().map(|granted| {
        let quota = granted.quota.unwrap_or_default();
        json!({
            "scope": scope(&granted.scope),
            "valid_from_ms": granted.valid_from_ms,
            "valid_until_ms": granted.valid_until_ms,
            "embargo_until_ms": granted.embargo_until_ms,
            "subscribe": granted.subscribe,
            "quota": { "per_second": quota.per_second, "per_day": quota.per_day, "total": quota.total },
            "system": granted.system,
        })
    });
    let decision = state.decision.as_ref().map(|decision| {
        json!({
            "officer": decision.officer,
            "second_officer": decision.second_officer,
            "document": decision.document,
        })
    });
    let used = state.r#use.as_ref().map(|used| {
        json!({
            "today": used.today,
            "total": used.total,
            "last_ms": used.last_ms,
            "asked": used.asked,
            "asked_today": used.asked_today,
        })
    });
    json!({
        "id": applied.id,
        "provider": applied.provider,
        "consumer": applied.consumer,
        "service": applied.service,
        "major_version": applied.major_version,
        "item": applied.item,
        "scenario": applied.scenario,
        "system": applied.system,
        "expected_per_day": applied.expected_per_day,
        "scope": scope(&applied.scope),
        "legal_bases": applied.legal_bases.iter()
            .map(|basis| json!({ "instrument": basis.instrument, "article": basis.article })).collect::<Vec<_>>(),
        "valid_until_ms": applied.valid_until_ms,
        "subscribe": applied.subscribe,
        "applied_ms": state.applied_ms,
        "granted_ms": state.granted_ms,
        "granted": granted,
        "state": state.state,
        "reason": state.reason,
        "reason_code": state.reason_code,
        "missing": state.missing,
        "extended_days": state.extended_days,
        "extension_notice": state.extension_notice,
        "decision": decision,
        "pending": state.pending.as_ref().map(pending_json),
        "clock": state.clock.as_ref().map(clock_json),
        "used": used,
    })
}

#[cfg(test)]
mod tests {
    use proto::registry::v1::Quota;

    use super::*;

    fn state() -> AccessState {
        AccessState {
            applied: Some(trust::fixture::application("0011223344556677")),
            state: "applied".into(),
            ..Default::default()
        }
    }

    #[test]
    fn an_application_is_shown_with_what_became_of_it() {
        let mut state = state();
        assert!(state_json(&state)["granted"].is_null());
        let mut granted = trust::fixture::granted("0011223344556677");
        granted.quota = Some(Quota { per_second: 5, per_day: 0, total: 0 });
        state.granted = Some(granted);
        state.state = "suspended".into();
        state.reason = "no case".into();
        let machine = state_json(&state);
        assert_eq!(machine["granted"]["quota"]["per_second"], 5);
        assert_eq!(machine["scope"][0]["operators"], json!(["equals"]));
        let text = details(&state);
        assert!(text.contains("suspended: no case") && text.contains("5 a second"), "{text}");
        assert_eq!(row(&state)[4], "marital_status (equals)");
    }

    #[test]
    fn a_clock_is_shown_with_its_date_and_in_capitals_where_it_is_urgent() {
        let mut clock = Clock {
            what: "reply".into(),
            ends_ms: 1,
            last_day: "2026-03-16".into(),
            days_left: 1,
            colour: "amber".into(),
        };
        assert_eq!(clock_text(Some(&clock)), "reply by 2026-03-16: AMBER, 1 working day left");
        (clock.days_left, clock.colour) = (-3, "red".into());
        assert_eq!(clock_text(Some(&clock)), "reply by 2026-03-16: RED, 3 working days late");
        (clock.days_left, clock.colour) = (9, "green".into());
        assert_eq!(clock_text(Some(&clock)), "reply by 2026-03-16: 9 working days left");
        assert_eq!(clock_text(None), "");
    }

    #[test]
    fn an_id_is_meant_with_either_side_in_front() {
        for text in ["0011223344556677", "housing/0011223344556677", "civil-affairs/0011223344556677"] {
            assert!(is_meant(&state(), text), "{text}");
        }
        for text in ["0011223344556678", "taxation/0011223344556677", ""] {
            assert!(!is_meant(&state(), text), "{text}");
        }
    }
}
