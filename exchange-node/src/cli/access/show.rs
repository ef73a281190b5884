//! How applications and grants look, for people and for machines.

use proto::{
    admin::v1::AccessState,
    registry::v1::{AccessApplied, AttributeScope},
};
use serde_json::{Value, json};

use super::super::{output, service};

pub(super) fn row(state: &AccessState) -> [String; 7] {
    let applied = state.applied.clone().unwrap_or_default();
    [
        applied.id.clone(),
        format!("{}/{} v{}", applied.provider, applied.service, applied.major_version),
        applied.consumer.clone(),
        purpose(&applied),
        scope_text(&scope_now(state)),
        output::moment(until(state)),
        state_text(state),
    ]
}

fn purpose(applied: &AccessApplied) -> String {
    if applied.item.is_empty() { applied.scenario.clone() } else { applied.item.clone() }
}

fn state_text(state: &AccessState) -> String {
    if state.reason.is_empty() { state.state.clone() } else { format!("{}: {}", state.state, state.reason) }
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

fn scope_text(scope: &[AttributeScope]) -> String {
    let lines = scope.iter().map(|asked| {
        let disclose = if asked.disclose { ", value" } else { "" };
        format!("{} ({}{disclose})", asked.attribute, asked.operators.join(", "))
    });
    lines.collect::<Vec<_>>().join("\n")
}

pub(super) fn details(state: &AccessState) -> String {
    let applied = state.applied.clone().unwrap_or_default();
    let quota = state.granted.as_ref().and_then(|granted| granted.quota).unwrap_or_default();
    let limit = |count: u64, of: &str| if count == 0 { String::new() } else { format!("{count} {of}") };
    let quota = [
        limit(quota.per_second.into(), "a second"),
        limit(quota.per_day.into(), "a day"),
        limit(quota.total, "in all"),
    ];
    output::pairs([
        ("id", applied.id.clone()),
        ("state", state_text(state)),
        ("service", format!("{}/{} v{}", applied.provider, applied.service, applied.major_version)),
        ("consumer", applied.consumer.clone()),
        ("item", purpose(&applied)),
        ("legal bases", service::bases(&applied.legal_bases)),
        ("applied for", scope_text(&applied.scope)),
        ("granted", state.granted.as_ref().map(|granted| scope_text(&granted.scope)).unwrap_or_default()),
        ("until", output::moment(until(state))),
        ("quota", quota.into_iter().filter(|limit| !limit.is_empty()).collect::<Vec<_>>().join(", ")),
        ("system", applied.system),
        ("expected", limit(applied.expected_per_day.into(), "questions a day")),
    ])
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
            "quota": { "per_second": quota.per_second, "per_day": quota.per_day, "total": quota.total },
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
        "scope": scope(&applied.scope),
        "legal_bases": applied.legal_bases.iter()
            .map(|basis| json!({ "instrument": basis.instrument, "article": basis.article })).collect::<Vec<_>>(),
        "valid_until_ms": applied.valid_until_ms,
        "granted": granted,
        "state": state.state,
        "reason": state.reason,
    })
}

#[cfg(test)]
mod tests {
    use proto::registry::v1::Quota;

    use super::*;

    #[test]
    fn an_application_is_shown_with_what_became_of_it() {
        let mut state = AccessState {
            applied: Some(trust::fixture::application("0011223344556677")),
            state: "applied".into(),
            ..Default::default()
        };
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
}
