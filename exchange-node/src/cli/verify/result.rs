//! How the result of a question looks, for people and for machines, and the exit code that it ends with.

use proto::{
    exchange::v1::{ClaimVerdict, Value, Verdict, value::Kind},
    office::v1::{State, VerifyResponse},
};
use serde_json::json;

use super::super::{
    Exit,
    output::{self, Output},
};

/// Shows a result, and gives the exit code that it ends with.
pub(in crate::cli) fn show(output: Output, response: &VerifyResponse) -> Exit {
    let exit = exit_of(response);
    output.show(&to_json(response, exit), || to_text(response));
    exit
}

fn exit_of(response: &VerifyResponse) -> Exit {
    match response.state() {
        State::Refused => Exit::Refused,
        State::Answered => Exit::of_verdicts(&response.verdicts),
        State::Unanswered | State::Deferred | State::Unspecified => Exit::Unavailable,
    }
}

fn state_name(state: State) -> &'static str {
    match state {
        State::Answered => "answered",
        State::Refused => "refused",
        State::Unanswered => "unanswered",
        State::Deferred => "deferred",
        State::Unspecified => "unknown",
    }
}

fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Match => "MATCH",
        Verdict::Mismatch => "MISMATCH",
        Verdict::NoRecord => "NO_RECORD",
        Verdict::Unavailable | Verdict::Unspecified => "UNAVAILABLE",
    }
}

fn to_json(response: &VerifyResponse, exit: Exit) -> serde_json::Value {
    let verdicts: Vec<serde_json::Value> = response.verdicts.iter().map(verdict_json).collect();
    json!({
        "outcome": if exit == Exit::Done { "match" } else { exit.as_str() },
        "state": state_name(response.state()),
        "verdicts": verdicts,
        "record_as_of": response.record_as_of,
        "refusal": response.refusal.as_ref().map(output::refusal_json),
        "refused_by": response.refused_by,
        "unanswered": response.unanswered,
        "receipt": response.receipt,
        "request_digest": response.request_digest,
        "provider": response.provider,
        "service": response.service,
        "elapsed_ms": response.elapsed_ms,
        "asked_at_ms": response.asked_at_ms,
        "case_number": response.case_number,
        "item": response.item,
        "officer": response.officer,
        "notice": response.notice,
        "ticket": response.ticket,
        "clerk": response.clerk,
        "answer_number": response.answer_number,
        "correction": response.correction,
        "from_the_other_side": response.from_the_other_side,
        "due_at_ms": response.deferral.as_ref().map(|deferral| deferral.due_at_ms),
    })
}

/// A verdict in JSON, for bundles too.
pub(in crate::cli) fn verdict_json(claim: &ClaimVerdict) -> serde_json::Value {
    json!({
        "attribute": claim.attribute,
        "operator": claim.operator,
        "verdict": verdict_name(claim.verdict()),
        "by_absence": claim.by_absence,
        "reason": claim.reason,
        "disclosed": claim.disclosed.as_ref().map(value_text),
    })
}

/// A disclosed value in its usual form.
pub(in crate::cli) fn value_text(value: &Value) -> String {
    match &value.kind {
        Some(Kind::Text(text) | Kind::Decimal(text) | Kind::Date(text)) => text.clone(),
        Some(Kind::Boolean(boolean)) => boolean.to_string(),
        Some(Kind::Integer(integer)) => integer.to_string(),
        Some(Kind::List(list)) => list.values.iter().map(value_text).collect::<Vec<_>>().join("; "),
        None => String::new(),
    }
}

/// The verdicts as a table.
pub(in crate::cli) fn verdicts_table(verdicts: &[ClaimVerdict]) -> String {
    let rows = verdicts.iter().map(|claim| {
        let note = match (claim.by_absence, claim.reason.as_str()) {
            (true, _) => "no row, and the register is declared complete",
            (false, reason) => reason,
        };
        let disclosed = claim.disclosed.as_ref().map(value_text).unwrap_or_default();
        [
            claim.attribute.clone(),
            claim.operator.clone(),
            verdict_name(claim.verdict()).to_owned(),
            note.to_owned(),
            disclosed,
        ]
    });
    output::table(["attribute", "operator", "verdict", "note", "value"], rows)
}

fn to_text(response: &VerifyResponse) -> String {
    let mut text = String::new();
    if !response.correction.is_empty() {
        text += &format!(
            "CORRECTED: a record was wrong, and this answer (number {}) has taken the place of the one before it (decision {}).\n",
            response.answer_number, response.correction
        );
    }
    if let Some(refusal) = &response.refusal {
        let by = if response.refused_by.is_empty() { String::new() } else { format!(" by {}", response.refused_by) };
        text += &output::pairs([
            ("refused", format!("{}{by}", refusal.code)),
            ("field", refusal.field.clone()),
            ("why", refusal.message.clone()),
            ("next", refusal.next_step.clone()),
            ("again at", output::moment(refusal.retry_at_ms)),
        ]);
        text.push('\n');
    }
    if !response.verdicts.is_empty() {
        text += &verdicts_table(&response.verdicts);
        text.push('\n');
    }
    if !response.unanswered.is_empty() {
        text += &format!("No answer came ({}); this says nothing about the subject.\n", response.unanswered);
    }
    if let Some(deferral) = &response.deferral {
        text += &format!("The answer will follow by {} ({}).\n", output::moment(deferral.due_at_ms), deferral.reason);
        if !response.ticket.is_empty() {
            text += &format!("It comes by itself; to look: exchange-node verify --ticket {}\n", response.ticket);
        }
    }
    text += &output::pairs([
        ("asked", format!("{}/{}", response.provider, response.service)),
        ("at", output::moment(response.asked_at_ms)),
        ("record of", response.record_as_of.clone()),
        ("case", [response.case_number.as_str(), &response.item].join(" ").trim().to_owned()),
        ("officer", response.officer.clone()),
        ("ticket", response.ticket.clone()),
        ("answered by", if response.clerk.is_empty() { String::new() } else { format!("officer {}", response.clerk) }),
        ("took", if response.elapsed_ms > 0.0 { format!("{:.1} ms", response.elapsed_ms) } else { String::new() }),
        ("receipt", response.receipt.clone()),
        ("to know", response.notice.clone()),
    ]);
    text
}

#[cfg(test)]
mod tests {
    use proto::exchange::v1::{Deferral, Refusal};

    use super::*;

    fn answered(verdict: Verdict) -> VerifyResponse {
        VerifyResponse {
            state: State::Answered.into(),
            verdicts: vec![ClaimVerdict {
                attribute: "marital_status".into(),
                operator: "equals".into(),
                verdict: verdict.into(),
                ..Default::default()
            }],
            receipt: "12-0011223344556677".into(),
            provider: "ninghe/civil-affairs".into(),
            service: "marriage-registration".into(),
            ..Default::default()
        }
    }

    #[test]
    fn how_a_question_ended_tells_the_exit_code() {
        assert_eq!(exit_of(&answered(Verdict::Match)), Exit::Done);
        assert_eq!(exit_of(&answered(Verdict::Mismatch)), Exit::Mismatch);
        let ended = |state: State| VerifyResponse { state: state.into(), ..answered(Verdict::Match) };
        assert_eq!(exit_of(&ended(State::Refused)), Exit::Refused);
        // Whatever stands beside it: without an answer nothing is a match.
        assert_eq!(exit_of(&ended(State::Unanswered)), Exit::Unavailable);
        assert_eq!(exit_of(&ended(State::Deferred)), Exit::Unavailable);
        assert_eq!(exit_of(&ended(State::Unspecified)), Exit::Unavailable);
    }

    #[test]
    fn the_result_has_stable_keys() {
        let machine = to_json(&answered(Verdict::Match), Exit::Done);
        let expected = json!({
            "outcome": "match", "state": "answered", "record_as_of": "", "refusal": null, "refused_by": "",
            "unanswered": "", "receipt": "12-0011223344556677", "request_digest": "",
            "provider": "ninghe/civil-affairs", "service": "marriage-registration", "elapsed_ms": 0.0, "asked_at_ms": 0,
            "case_number": "", "item": "", "officer": "", "due_at_ms": null, "notice": "", "ticket": "", "clerk": "",
            "from_the_other_side": false, "answer_number": 0, "correction": "",
            "verdicts": [{
                "attribute": "marital_status", "operator": "equals", "verdict": "MATCH", "by_absence": false,
                "reason": "", "disclosed": null,
            }],
        });
        assert_eq!(machine, expected);
    }

    #[test]
    fn people_read_verdict_refusal_and_receipt() {
        let mut response = answered(Verdict::NoRecord);
        let text = to_text(&response);
        assert!(text.contains("NO_RECORD") && text.contains("12-0011223344556677"), "{text}");
        response.verdicts[0].disclosed = Some(Value { kind: Some(Kind::Date("2020-01-01".into())) });
        assert!(to_text(&response).contains("2020-01-01"));
        response.refusal =
            Some(Refusal { code: "GRANT_MISSING".into(), next_step: "apply".into(), ..Default::default() });
        response.refused_by = "own node".into();
        response.deferral = Some(Deferral { reason: "clerk".into(), due_at_ms: 1_767_225_600_000 });
        let text = to_text(&response);
        for part in ["GRANT_MISSING by own node", "apply", "by 2026-01-01 08:00:00 +08:00 (clerk)"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
