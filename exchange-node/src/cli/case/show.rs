//! Cases and commitments as commands print them. Out of scope: what they mean.

use proto::office::v1::{Case, CaseProof, CaseSummary, Commitment, ProofOutcome};
use serde_json::{Value, json};

use super::super::{
    Error, Exit,
    output::{self, Output},
};

/// Shows a case that was asked about; the exit code tells how it stands.
pub(super) fn outcome(output: Output, case: Case) -> Result<Exit, Error> {
    if let Some(refusal) = case.refusal {
        return Err(Error::Refused(refusal));
    }
    output.show(&to_json(&case), || to_text(&case));
    let is_wrong = |proof: &CaseProof| !proof.identity && proof.outcome() == ProofOutcome::DoesNotMatch;
    Ok(match case.state.as_str() {
        "complete" => Exit::Done,
        _ if case.proofs.iter().any(is_wrong) => Exit::Mismatch,
        _ => Exit::Unavailable,
    })
}

fn name(proof: &CaseProof) -> &'static str {
    proof.outcome().as_str_name().trim_start_matches("PROOF_OUTCOME_")
}

pub(super) fn to_json(case: &Case) -> Value {
    json!({
        "case": case.case_number,
        "item": case.item,
        "item_version": case.item_version,
        "item_statement": case.item_statement,
        "officer": case.officer,
        "state": case.state,
        "flagged": case.flagged,
        "opened_at_ms": case.opened_at_ms,
        "elapsed_ms": case.elapsed_ms,
        "due_at_ms": case.due_at_ms,
        "days_left": case.days_left,
        "roles": case.roles,
        "pauses": case.pauses.iter().map(|pause| json!({
            "reason": pause.reason, "from_ms": pause.from_ms, "until_ms": pause.until_ms,
        })).collect::<Vec<_>>(),
        "notice": case.notice.as_ref().map(|notice| json!({
            "told_at_ms": notice.told_at_ms, "zh": notice.zh, "en": notice.en,
        })),
        "proofs": case.proofs.iter().map(proof_json).collect::<Vec<_>>(),
    })
}

fn proof_json(proof: &CaseProof) -> Value {
    json!({
        "proof": proof.proof,
        "about": proof.about,
        "outcome": name(proof),
        "reason": proof.reason,
        "zh": proof.zh,
        "en": proof.en,
        "next_zh": proof.next_zh,
        "next_en": proof.next_en,
        "receipt": proof.receipt,
        "ticket": proof.ticket,
        "service": proof.service,
        "asked_at_ms": proof.asked_at_ms,
        "elapsed_ms": proof.elapsed_ms,
        "by_absence": proof.by_absence,
        "optional": proof.optional,
        "commitment": proof.commitment,
        "missing": proof.missing,
        "identity": proof.identity,
    })
}

pub(super) fn to_text(case: &Case) -> String {
    let paused = case.pauses.iter().find(|pause| pause.until_ms == 0);
    let clock = match paused {
        Some(pause) => format!("stands still since {}: {}", output::moment(pause.from_ms), pause.reason),
        None => format!("until {}, {} working days left", output::moment(case.due_at_ms), case.days_left),
    };
    let flagged = if case.flagged { "A COMMITMENT WAS FALSE" } else { "" };
    let facts = output::pairs([
        ("case", case.case_number.clone()),
        ("item", format!("{} v{} {}", case.item, case.item_version, case.item_name_en)),
        ("state", case.state.clone()),
        ("flagged", flagged.to_owned()),
        ("time limit", clock),
        ("asked within", format!("{:.0} ms", case.elapsed_ms)),
    ]);
    let rows = case.proofs.iter().map(|proof| {
        let who = if proof.identity { format!("{} (the node's own look)", proof.about) } else { proof.about.clone() };
        [proof.proof.clone(), who, name(proof).to_owned(), proof.reason.clone(), proof.receipt.clone()]
    });
    let mut text = format!("{facts}\n{}", output::table(["proof", "about", "outcome", "why", "receipt"], rows));
    for proof in case.proofs.iter().filter(|proof| !proof.identity && !proof.next_en.is_empty()) {
        text.push_str(&format!("\n- {} {}\n  {} {}", proof.zh, proof.next_zh, proof.en, proof.next_en));
    }
    text
}

pub(super) fn summary_json(case: &CaseSummary) -> Value {
    json!({
        "case": case.case_number,
        "item": case.item,
        "item_version": case.item_version,
        "opened_at_ms": case.opened_at_ms,
        "state": case.state,
        "open_commitments": case.open_commitments,
        "flagged": case.flagged,
    })
}

pub(super) fn summary_row(case: &CaseSummary) -> [String; 6] {
    [
        case.case_number.clone(),
        format!("{} v{}", case.item, case.item_version),
        output::moment(case.opened_at_ms),
        case.state.clone(),
        case.open_commitments.to_string(),
        if case.flagged { "A COMMITMENT WAS FALSE".to_owned() } else { String::new() },
    ]
}

pub(super) fn commitment_json(row: &Commitment) -> Value {
    json!({
        "commitment": row.id,
        "case": row.case_number,
        "item": row.item,
        "proof": row.proof,
        "state": row.state,
        "made_at_ms": row.made_at_ms,
        "checked_at_ms": row.checked_at_ms,
        "receipt": row.receipt,
        "last_reason": row.last_reason,
        "form_digest": row.form_digest,
        "repair": row.repair,
    })
}

pub(super) fn commitment_row(row: &Commitment) -> [String; 7] {
    [
        row.id.clone(),
        row.case_number.clone(),
        row.proof.clone(),
        row.state.clone(),
        output::moment(row.made_at_ms),
        output::moment(row.checked_at_ms),
        row.last_reason.clone(),
    ]
}
