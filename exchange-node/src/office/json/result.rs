//! What comes back as JSON: a verification as it stands, pages of them, data services. Out of scope: what is asked
//! (`office::json`).

use proto::exchange::v1 as wire;
use serde::{Deserialize, Serialize};
use trust::claim::Verdict;
use utoipa::ToSchema;

use super::{Operand, timestamp, timestamp_of};
use crate::{
    asked::{Ending, ticket_of},
    office::{Seen, ServiceSeen},
};

/// How a verification stands.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Every claim has a verdict.
    Answered,
    /// An answer will follow.
    Deferred,
    /// Refused, by this node or the other.
    Refused,
    /// No answer came: every claim is `UNAVAILABLE`.
    Unanswered,
}

/// A claim's verdict.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ClaimVerdict {
    /// The attribute, repeated.
    pub attribute: String,
    /// The operator, repeated.
    pub operator: String,
    /// An outage is never a mismatch; a missing record is never "false".
    pub verdict: VerdictWord,
    /// No row was found, and the provider declares what that means.
    pub by_absence: bool,
    /// The value, where it may be disclosed and was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disclosed: Option<Operand>,
    /// For `UNAVAILABLE`, a stable reason without content; otherwise empty.
    pub reason: String,
}

/// The four verdicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum VerdictWord {
    /// The record says what was claimed.
    Match,
    /// The record says otherwise.
    Mismatch,
    /// There is no record, and the provider does not say what that means.
    NoRecord,
    /// The provider could not tell. Says nothing about the subject.
    Unavailable,
}

impl From<Verdict> for VerdictWord {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Match => Self::Match,
            Verdict::Mismatch => Self::Mismatch,
            Verdict::NoRecord => Self::NoRecord,
            Verdict::Unavailable => Self::Unavailable,
        }
    }
}

/// Why a verification was refused.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Refusal {
    /// The stable code; docs/protocol.md lists all.
    pub code: String,
    /// The field at fault; empty where none is.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// What to do next.
    pub next_step: String,
    /// When to try again, RFC 3339; only where that helps.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub retry_at: Option<String>,
    /// Who refused: `own node`, or `<exchange>/<department>`.
    pub refused_by: String,
}

impl Refusal {
    /// As it stands in a message, with who refused.
    pub(super) fn of(refusal: wire::Refusal, refused_by: String) -> Self {
        Self {
            code: refusal.code,
            field: refusal.field,
            message: refusal.message,
            next_step: refusal.next_step,
            retry_at: timestamp_of(refusal.retry_at_ms),
            refused_by,
        }
    }
}

/// When an answer will come.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Deferral {
    /// Why it comes later.
    pub reason: String,
    /// By when at the latest, RFC 3339.
    #[schema(format = DateTime)]
    pub due_at: String,
    /// What finds the question again on both sides.
    pub ticket: String,
}

/// What happened to a verification.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Step {
    /// When, RFC 3339.
    #[schema(format = DateTime)]
    pub at: String,
    /// `asked`, `answered`, `deferred`, `refused` or `unanswered`.
    pub what: String,
}

/// A verification.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Verification {
    /// Its id: the receipt of its first result; of one item of a batch, as in the results of its job.
    #[schema(example = "123-9f3a2c1e4b5d6a70")]
    pub id: String,
    /// How it stands.
    pub state: State,
    /// One verdict for each claim, in their order; empty where it was refused or deferred.
    pub verdicts: Vec<ClaimVerdict>,
    /// The day of the record, `YYYY-MM-DD`; may be empty.
    pub record_as_of: String,
    /// For `refused`, why and what next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
    /// For `unanswered`, the stable reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unanswered: Option<String>,
    /// For `deferred`, when an answer will come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deferral: Option<Deferral>,
    /// The receipt of its newest result: finds the evidence again.
    pub receipt: String,
    /// Digest of the request, 64 hex digits; empty where none was made.
    pub request_digest: String,
    /// The department asked, `<exchange>/<department>`.
    pub provider: String,
    /// The service asked.
    pub service: String,
    /// Its major version; 0 where none was found.
    pub service_version: u32,
    /// When it was asked, RFC 3339.
    #[schema(format = DateTime)]
    pub asked_at: String,
    /// How long it took, in milliseconds.
    pub elapsed_ms: u64,
    /// The case number.
    pub case_number: String,
    /// The public service item.
    pub item: String,
    /// The officer who asked.
    pub officer: String,
    /// The provider's officer who answered; empty where no person did.
    pub clerk: String,
    /// The newest answer's number; 0 where there is none.
    pub answer_number: u32,
    /// The decision on a correction because of which this answer took another one's place, 64 hex digits; empty where it took
    /// none's.
    pub correction: String,
    /// What the office should know of the service; empty where there is nothing to say.
    pub notice: String,
    /// Whether it came back from the other side's evidence, because this node lost its own.
    pub from_the_other_side: bool,
    /// What happened when, the oldest first; only where one verification is looked up.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub timeline: Vec<Step>,
}

impl From<Seen> for Verification {
    fn from(seen: Seen) -> Self {
        let Seen { asked, id, notice, from_the_other_side, timeline } = seen;
        let mut verification = Self {
            id: id.to_string(),
            state: State::Answered,
            verdicts: Vec::new(),
            record_as_of: String::new(),
            refusal: None,
            unanswered: None,
            deferral: None,
            receipt: asked.receipt.to_string(),
            request_digest: asked.request_digest.map(|digest| digest.to_string()).unwrap_or_default(),
            provider: asked.provider,
            service: asked.service,
            service_version: asked.service_version,
            asked_at: timestamp(asked.asked_at_ms),
            elapsed_ms: u64::try_from(asked.elapsed.as_millis()).unwrap_or(u64::MAX),
            case_number: asked.case_number,
            item: asked.item,
            officer: asked.officer,
            clerk: asked.clerk,
            answer_number: asked.number,
            correction: asked.correction,
            notice,
            from_the_other_side,
            timeline: timeline
                .into_iter()
                .map(|step| Step { at: timestamp(step.at_ms), what: step.what.to_owned() })
                .collect(),
        };
        match asked.ending {
            Ending::Answered { verdicts, record_as_of } => {
                verification.verdicts = verdicts.iter().map(verdict).collect();
                verification.record_as_of = record_as_of;
            }
            Ending::Deferred(deferral) => {
                verification.state = State::Deferred;
                verification.deferral = Some(Deferral {
                    reason: deferral.reason,
                    due_at: timestamp(deferral.due_at_ms),
                    ticket: asked.request_digest.as_ref().map(ticket_of).unwrap_or_default(),
                });
            }
            Ending::Refused { refusal, by } => {
                verification.state = State::Refused;
                let by = by.unwrap_or_else(|| "own node".to_owned());
                verification.refusal = Some(Refusal::of(refusal, by));
            }
            Ending::Unanswered { reason, verdicts } => {
                verification.state = State::Unanswered;
                verification.verdicts = verdicts.iter().map(verdict).collect();
                verification.unanswered = Some(reason);
            }
        }
        verification
    }
}

pub(super) fn verdict(claim: &wire::ClaimVerdict) -> ClaimVerdict {
    ClaimVerdict {
        attribute: claim.attribute.clone(),
        operator: claim.operator.clone(),
        // Whatever is not one of the four says nothing.
        verdict: Verdict::from_proto(claim.verdict).map_or(VerdictWord::Unavailable, VerdictWord::from),
        by_absence: claim.by_absence,
        disclosed: claim.disclosed.as_ref().and_then(Operand::from_wire),
        reason: claim.reason.clone(),
    }
}

/// A page of a list.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct VerificationPage {
    /// The verifications, the newest first.
    pub verifications: Vec<Verification>,
    /// Gets the next page as `cursor`; left out on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// What may be claimed of a record.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Attribute {
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub ty: String,
    /// The operators that may be used.
    pub operators: Vec<String>,
}

/// A data service.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Service {
    /// The department.
    pub provider: String,
    /// The service.
    pub service: String,
    /// Its major version.
    pub major_version: u32,
    /// Its name in Chinese.
    pub name_zh: String,
    /// Its name in English.
    pub name_en: String,
    /// `unconditional`, `conditional` or `not_shared`.
    pub sharing: String,
    /// `answering`, `suspended`, `withdrawn`, or `waiting` for the authority's review.
    pub state: String,
    /// Whether this department has a grant, or needs none.
    pub may_ask: bool,
    /// What may be claimed.
    pub attributes: Vec<Attribute>,
}

impl From<ServiceSeen> for Service {
    fn from(seen: ServiceSeen) -> Self {
        let attributes = seen.attributes.into_iter().map(|attribute| Attribute {
            name: attribute.name,
            ty: attribute.ty,
            operators: attribute.operators.into_iter().map(str::to_owned).collect(),
        });
        Self {
            provider: seen.id.department.to_string(),
            service: seen.id.service.to_string(),
            major_version: seen.id.major,
            name_zh: seen.name_zh,
            name_en: seen.name_en,
            sharing: seen.sharing.to_owned(),
            state: seen.state.to_owned(),
            may_ask: seen.may_ask,
            attributes: attributes.collect(),
        }
    }
}

/// The data services.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Services {
    /// Those that this office system may use.
    pub services: Vec<Service>,
}
