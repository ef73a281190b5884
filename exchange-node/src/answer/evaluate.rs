//! From a permit to verdicts: the record is looked up, within the time that the service promises, and each claim is
//! compared with it. What cannot be looked up is `UNAVAILABLE`. Out of scope: what a comparison means (`trust::claim`).

use std::time::Duration;

use jiff::civil::Date;
use proto::exchange::v1 as wire;
use trust::{
    claim::{ClaimOutcome, Reason, evaluate},
    decision::Permit,
    question::Question,
};

use super::{Answerer, lookup::under_all};
use crate::records::{Lookup, aliases::AliasError, calendar_day};

/// The longest a record is looked up, where the service promises no time.
const USUAL_LOOKUP: Duration = Duration::from_secs(5);

impl Answerer {
    pub(super) async fn evaluate(&self, permit: &Permit<'_>, question: &Question, now_ms: u64) -> wire::Verdicts {
        let today = calendar_day(now_ms);
        let limit = match permit.service.published.time_to_answer_ms {
            0 => USUAL_LOOKUP,
            limit_ms => Duration::from_millis(limit_ms.into()),
        };
        let numbers = match self.aliases.numbers(&permit.subject, &permit.former_subjects) {
            Ok(numbers) => numbers,
            Err(error) => {
                if self.logged.take("aliases", now_ms) {
                    tracing::warn!(service = %permit.service.id, %error, "a subject's numbers cannot be told");
                }
                let is_contradiction = error == AliasError::Contradiction;
                return unavailable(permit, if is_contradiction { Reason::Ambiguous } else { Reason::SourceDown });
            }
        };
        let lookup = under_all(self.records.as_ref(), &question.sender, permit.service, &numbers, &permit.inputs);
        let found = tokio::time::timeout(limit, lookup).await.unwrap_or(Lookup::Failed("it took too long".to_owned()));
        let (rows, as_of, lacking) = match found {
            Lookup::Rows { rows, as_of } => (rows, as_of, Vec::new()),
            Lookup::Partial { rows, as_of, lacking } => (rows, as_of, lacking),
            Lookup::NotImported => return unavailable(permit, Reason::NotImported),
            Lookup::Quarantined => return unavailable(permit, Reason::Quarantined),
            Lookup::Failed(reason) | Lookup::SchemeNotHeld(reason) => {
                if self.logged.take("records", now_ms) {
                    tracing::warn!(service = %permit.service.id, reason, "records cannot be looked up");
                }
                return unavailable(permit, Reason::SourceDown);
            }
        };
        let too_old = age_problem(question.wire.max_record_age_seconds, as_of, today);
        let verdicts = permit
            .claims
            .iter()
            .map(|claim| match (too_old, permit.service.attributes.get(claim.attribute())) {
                (None, Some(rule)) if lacking.iter().any(|name| name == rule.name()) => {
                    ClaimOutcome::unavailable(Reason::NotImported).to_proto(claim)
                }
                (None, Some(rule)) => evaluate(rule, claim, &rows, today).to_proto(claim),
                (Some(reason), _) => wire::ClaimVerdict {
                    reason: reason.to_owned(),
                    ..ClaimOutcome::unavailable(Reason::SourceDown).to_proto(claim)
                },
                (None, None) => ClaimOutcome::unavailable(Reason::NotComparable).to_proto(claim),
            })
            .collect();
        wire::Verdicts { verdicts, record_as_of: as_of.map(|day| day.to_string()).unwrap_or_default() }
    }
}

pub(super) fn unavailable(permit: &Permit<'_>, reason: Reason) -> wire::Verdicts {
    let verdicts = permit.claims.iter().map(|claim| ClaimOutcome::unavailable(reason).to_proto(claim)).collect();
    wire::Verdicts { verdicts, record_as_of: String::new() }
}

/// Why a record is not fresh enough for what was asked, as the reason of an `UNAVAILABLE`.
fn age_problem(most_seconds: u64, as_of: Option<Date>, today: Date) -> Option<&'static str> {
    if most_seconds == 0 {
        return None;
    }
    let Some(as_of) = as_of else { return Some("age_unknown") };
    let days = today.since(as_of).map_or(i64::MAX, |span| span.get_days().into());
    // A record of the same day is fresh whatever is asked; days is all that is known.
    let seconds = u64::try_from(days).unwrap_or(0).saturating_mul(24 * 3600);
    (seconds > most_seconds).then_some("too_old")
}
