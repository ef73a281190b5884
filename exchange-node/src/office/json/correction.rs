//! Corrections as JSON: what an office doubts, and what became of it. Out of scope: what a correction is (`correction`).

use proto::office::v1 as wire;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Refusal, timestamp, timestamp_of};

/// An answer that is doubted.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCorrection {
    /// The receipt of the doubted answer.
    #[schema(example = "123-9f3a2c1e4b5d6a70")]
    pub receipt: String,
    /// Why: `PAPER_SAYS_OTHERWISE`, `RECORD_OUTDATED`, `WRONG_PERSON`, `RECORD_MISSING` or `OTHER`.
    #[schema(example = "PAPER_SAYS_OTHERWISE")]
    pub reason: String,
    /// What was seen, in words, for the provider's clerk; at most 1,000 bytes.
    #[serde(default)]
    pub text: String,
    /// The officer who doubts it.
    #[schema(example = "1024")]
    pub officer: String,
}

impl From<NewCorrection> for wire::OpenCorrectionRequest {
    fn from(new: NewCorrection) -> Self {
        Self { receipt: new.receipt, reason: new.reason, text: new.text, officer: new.officer }
    }
}

/// A correction that this department opened.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Correction {
    /// Its id; the provider has the same.
    #[schema(example = "9f3a2c1e4b5d6a70")]
    pub id: String,
    /// `sending`, `open`, `refused`, `record_was_wrong`, `record_is_right`, or `unanswered`: the provider never took or decided it.
    pub state: String,
    /// The receipt of the doubted answer.
    pub receipt: String,
    /// The department that gave it, `<exchange>/<department>`.
    pub provider: String,
    /// The service.
    pub service: String,
    /// Its major version.
    pub service_version: u32,
    /// The case number.
    pub case_number: String,
    /// Why it is doubted.
    pub reason: String,
    /// The officer who opened it.
    pub officer: String,
    /// When, RFC 3339.
    #[schema(format = DateTime)]
    pub opened_at: String,
    /// By when the provider decides, RFC 3339; left out until it has accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub due_at: Option<String>,
    /// Whether that time is over without a decision.
    pub overdue: bool,
    /// Whether the applicant's paper is accepted meanwhile.
    pub paper_accepted: bool,
    /// What the provider's officer found, as a stable reason; empty until it is decided.
    pub decision_reason: String,
    /// When it was decided, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub decided_at: Option<String>,
    /// The receipt of the answer that took the doubted one's place; empty while there is none.
    pub corrected_receipt: String,
    /// For `refused`, why the provider does not look at it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
}

impl From<wire::OpenedCorrection> for Correction {
    fn from(opened: wire::OpenedCorrection) -> Self {
        let by = opened.provider.clone();
        Self {
            id: opened.id,
            state: opened.state,
            receipt: opened.receipt,
            provider: opened.provider,
            service: opened.service,
            service_version: opened.major_version,
            case_number: opened.case_number,
            reason: opened.reason,
            officer: opened.officer,
            opened_at: timestamp(opened.opened_at_ms),
            due_at: timestamp_of(opened.due_at_ms),
            overdue: opened.overdue,
            paper_accepted: opened.paper_accepted,
            decision_reason: opened.decision_reason,
            decided_at: timestamp_of(opened.decided_at_ms),
            corrected_receipt: opened.corrected_receipt,
            refusal: opened.refusal.map(|refusal| Refusal::of(refusal, by)),
        }
    }
}

/// A page of corrections.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CorrectionPage {
    /// The corrections, the newest first.
    pub corrections: Vec<Correction>,
    /// Gets the next page as `cursor`; left out on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}
