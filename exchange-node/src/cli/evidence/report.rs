//! How the report on a bundle looks, for people and for machines.

use proto::exchange::v1::{Answer, Request, answer::Outcome};
use serde_json::{Value, json};
use trust::bundle::{Finding, Report};

use super::super::{output, verify};

pub(super) fn finding_text(finding: &Finding) -> &str {
    match finding {
        Finding::Holds(text) | Finding::NotShown(text) | Finding::Wrong(text) => text,
    }
}

fn finding_name(finding: &Finding) -> &'static str {
    match finding {
        Finding::Holds(_) => "holds",
        Finding::NotShown(_) => "not_shown",
        Finding::Wrong(_) => "wrong",
    }
}

pub(super) fn report_json(report: &Report) -> Value {
    let checks: Vec<Value> = report
        .checks
        .iter()
        .map(|check| {
            json!({
                "name": check.name,
                "finding": finding_name(&check.finding),
                "text": finding_text(&check.finding),
            })
        })
        .collect();
    json!({
        "sound": report.is_sound(),
        "wrong": report.wrong().map(|check| &check.name),
        "checks": checks,
        "question": report.request.as_ref().map(question_json),
        "answers": report.answers.iter().map(answer_json).collect::<Vec<_>>(),
    })
}

fn question_json(request: &Request) -> Value {
    let subject = request.subject.clone().unwrap_or_default();
    let purpose = request.purpose.clone().unwrap_or_default();
    json!({
        "sender": request.sender,
        "recipient": request.recipient,
        "service": request.service,
        "service_version": request.service_version,
        "issued_at_ms": request.issued_at_ms,
        "subject": { "scheme": subject.scheme, "value": subject.value },
        "item": purpose.item,
        "scenario": purpose.scenario,
        "case_number": request.case_number,
        "officer": request.officer,
    })
}

fn answer_json(answer: &Answer) -> Value {
    let (verdicts, record_as_of) = match &answer.outcome {
        Some(Outcome::Verdicts(verdicts)) => {
            (verdicts.verdicts.iter().map(verify::verdict_json).collect(), verdicts.record_as_of.clone())
        }
        _ => (Vec::new(), String::new()),
    };
    let refusal = match &answer.outcome {
        Some(Outcome::Refusal(refusal)) => Some(output::refusal_json(refusal)),
        _ => None,
    };
    json!({
        "sender": answer.sender,
        "number": answer.number,
        "answered_at_ms": answer.answered_at_ms,
        "verdicts": verdicts,
        "record_as_of": record_as_of,
        "refusal": refusal,
    })
}

pub(super) fn report_text(report: &Report) -> String {
    let mut text = String::new();
    for check in &report.checks {
        let mark = match check.finding {
            Finding::Holds(_) => "ok       ",
            Finding::NotShown(_) => "not shown",
            Finding::Wrong(_) => "WRONG    ",
        };
        text += &format!("{mark}  {}: {}\n", check.name, finding_text(&check.finding));
    }
    // What a bundle that is not sound says is not repeated: it would be read as shown.
    if !report.is_sound() {
        return text;
    }
    if let Some(request) = &report.request {
        let subject = request.subject.clone().unwrap_or_default();
        let purpose = request.purpose.clone().unwrap_or_default();
        text += &output::pairs([
            ("asked by", request.sender.clone()),
            ("asked", format!("{}/{} v{}", request.recipient, request.service, request.service_version)),
            ("at", output::moment(request.issued_at_ms)),
            ("about", format!("{} {}", subject.scheme, subject.value)),
            ("for", [purpose.item.as_str(), &purpose.scenario].join(" ").trim().to_owned()),
            ("by law", trust::reading::bases(&purpose.legal_bases)),
            ("case", request.case_number.clone()),
            ("officer", request.officer.clone()),
        ]);
        text.push('\n');
    }
    for answer in &report.answers {
        text += &format!("Answer {} of {}:\n", output::moment(answer.answered_at_ms), answer.sender);
        text += &match &answer.outcome {
            Some(Outcome::Verdicts(verdicts)) => verify::verdicts_table(&verdicts.verdicts),
            Some(Outcome::Refusal(refusal)) => format!("  refused ({}): {}", refusal.code, refusal.message),
            Some(Outcome::Deferral(deferral)) => format!("  will follow by {}", output::moment(deferral.due_at_ms)),
            None => String::new(),
        };
        text.push('\n');
    }
    text + "The evidence is sound."
}

#[cfg(test)]
mod tests {
    use trust::bundle::Check;

    use super::*;

    fn report(finding: Finding) -> Report {
        Report { checks: vec![Check { name: "answer signature".into(), finding }], ..Default::default() }
    }

    #[test]
    fn every_check_is_told_and_what_is_wrong_is_named() {
        let wrong = report(Finding::Wrong("the signature does not fit".into()));
        let text = report_text(&wrong);
        assert_eq!(text, "WRONG      answer signature: the signature does not fit\n");
        let machine = report_json(&wrong);
        assert_eq!(machine["sound"], false);
        assert_eq!(machine["wrong"], "answer signature");
        assert_eq!(machine["checks"][0]["finding"], "wrong");
        let sound = report(Finding::Holds("by a node of ninghe/civil-affairs".into()));
        assert!(report_text(&sound).ends_with("The evidence is sound."));
        assert_eq!(report_json(&sound)["wrong"], Value::Null);
    }

    /// What was not shown must not be printed as if it were.
    #[test]
    fn a_bundle_that_is_not_sound_shows_no_question() {
        let mut wrong = report(Finding::Wrong("x".into()));
        wrong.request = Some(Request { case_number: "GZF-2026-0001".into(), ..Default::default() });
        assert!(!report_text(&wrong).contains("GZF-2026-0001"));
    }
}
