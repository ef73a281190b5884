//! From a permit to verdicts: the record is looked up, within the time that the service promises, and each claim is
//! compared with it. What cannot be looked up is `UNAVAILABLE`. Out of scope: what a comparison means (`trust::claim`).

use std::time::Duration;

use jiff::civil::Date;
use proto::exchange::v1 as wire;
use trust::{
    claim::{ClaimOutcome, Reason, Row, evaluate},
    decision::Permit,
    question::Question,
    subject::Subject,
    value::Value,
};

use super::{
    Answerer,
    lookup::{Together, under_all},
};
use crate::records::{Lookup, Reading, aliases::AliasError, calendar_day};

/// The longest a record is looked up, where the service promises no time.
const USUAL_LOOKUP: Duration = Duration::from_secs(5);

impl Answerer {
    pub(super) async fn evaluate(
        &self,
        permit: &Permit<'_>,
        question: &Question,
        reading: Reading<'_>,
        now_ms: u64,
    ) -> wire::Verdicts {
        let limit = match permit.service.published.time_to_answer_ms {
            0 => USUAL_LOOKUP,
            limit_ms => Duration::from_millis(limit_ms.into()),
        };
        if let Err(trouble) = self.check_apart(permit) {
            return unavailable(permit, self.told(permit, trouble, now_ms));
        }
        let subject = (&permit.subject, permit.former_subjects.as_slice());
        let mut found = match self.rows_of(permit, subject, (reading, limit)).await {
            Ok(found) => found,
            Err(reason) => return unavailable(permit, self.told(permit, reason, now_ms)),
        };
        for other in &permit.also_about {
            match self.rows_of(permit, (other, &[]), (reading, limit)).await {
                Ok(theirs) => found.add(theirs),
                Err(reason) => return unavailable(permit, self.told(permit, reason, now_ms)),
            }
        }
        self.compared(permit, question, found, now_ms)
    }

    /// Every number under which the subject may be recorded, or why that cannot be told.
    pub(super) fn numbers(&self, permit: &Permit<'_>, now_ms: u64) -> Result<Vec<Subject>, Reason> {
        let numbers = self.aliases.numbers(&permit.subject, &permit.former_subjects);
        numbers.map_err(|error| self.told(permit, untold(&error), now_ms))
    }

    /// Compares what was looked up of one person with each claim.
    pub(super) fn verdicts(
        &self,
        permit: &Permit<'_>,
        question: &Question,
        found: Together,
        now_ms: u64,
    ) -> wire::Verdicts {
        match found_in(permit, found) {
            Ok(found) => self.compared(permit, question, found, now_ms),
            Err(reason) => unavailable(permit, self.told(permit, reason, now_ms)),
        }
    }

    /// Compares what was found with each claim.
    fn compared(&self, permit: &Permit<'_>, question: &Question, found: Found, now_ms: u64) -> wire::Verdicts {
        let today = calendar_day(now_ms);
        let Found { rows, as_of, lacking, uncertain, is_anybody_absent, is_repeated } = found;
        // A day that has not come says nothing about how fresh a row is, and neither does the oldest of rows that bear one.
        let column = permit.service.published.record_as_of_column.as_str();
        let is_ahead = |row: &Row| matches!(row.value(column), Some(Value::Date(day)) if *day > today);
        let as_of = as_of.filter(|day| *day <= today && !rows.iter().any(is_ahead));
        let too_old = age_problem(question.wire.max_record_age_seconds, as_of, today);
        let repeated = || {
            let why =
                "the source gave equal rows under several numbers of a subject: whether they are one is not known";
            self.told(permit, (Reason::Ambiguous, Some(("aliases", why.to_owned()))), now_ms)
        };
        let verdicts = permit
            .claims
            .iter()
            .map(|claim| match (too_old, permit.service.attributes.get(claim.attribute())) {
                (None, Some(rule)) if uncertain.iter().any(|name| name == rule.name()) => {
                    ClaimOutcome::unavailable(Reason::Quarantined).to_proto(claim)
                }
                (None, Some(rule)) if is_repeated && rule.adds_up() => {
                    ClaimOutcome::unavailable(repeated()).to_proto(claim)
                }
                (None, Some(rule)) if lacking.iter().any(|name| name == rule.name()) => {
                    ClaimOutcome::unavailable(Reason::NotImported).to_proto(claim)
                }
                // Who has no row may have nothing to add, or be unknown: only the provider can say which.
                (None, Some(rule)) if is_anybody_absent && rule.absence().is_none() => {
                    evaluate(rule, claim, &[], today).to_proto(claim)
                }
                (None, Some(rule)) => {
                    let verdict = evaluate(rule, claim, &rows, today).to_proto(claim);
                    wire::ClaimVerdict { by_absence: verdict.by_absence || is_anybody_absent, ..verdict }
                }
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

/// What was found of one person, or of several together.
struct Found {
    rows: Vec<Row>,
    as_of: Option<Date>,
    lacking: Vec<String>,
    uncertain: Vec<String>,
    is_anybody_absent: bool,
    is_repeated: bool,
}

impl Found {
    /// Adds another person's rows; equal ones are still two.
    fn add(&mut self, other: Self) {
        self.as_of = match (self.rows.is_empty(), other.rows.is_empty()) {
            (true, false) => other.as_of,
            (false, true) => self.as_of,
            _ => self.as_of.zip(other.as_of).map(|(one, other)| one.min(other)),
        };
        self.rows.extend(other.rows);
        self.lacking.extend(other.lacking);
        self.uncertain.extend(other.uncertain);
        self.is_anybody_absent |= other.is_anybody_absent;
        self.is_repeated |= other.is_repeated;
    }
}

/// Why nothing can be told, and what belongs into the log of it.
type Trouble = (Reason, Option<(&'static str, String)>);

impl Answerer {
    /// The rows of one person under all of his numbers.
    async fn rows_of(
        &self,
        permit: &Permit<'_>,
        (subject, former): (&Subject, &[Subject]),
        (reading, limit): (Reading<'_>, Duration),
    ) -> Result<Found, Trouble> {
        let numbers = self.aliases.numbers(subject, former).map_err(|error| untold(&error))?;
        let lookup = under_all(self.records.as_ref(), reading, permit.service, &numbers, &permit.inputs);
        let found = tokio::time::timeout(limit, lookup).await;
        found_in(permit, found.unwrap_or_else(|_| Together::of(Lookup::Failed("it took too long".to_owned()))))
    }

    /// That the people who are added up are different ones by all that is known of their numbers: one person under two numbers
    /// would be counted twice.
    fn check_apart(&self, permit: &Permit<'_>) -> Result<(), Trouble> {
        if permit.also_about.is_empty() {
            return Ok(());
        }
        let mut known =
            self.aliases.numbers(&permit.subject, &permit.former_subjects).map_err(|error| untold(&error))?;
        for other in &permit.also_about {
            let numbers = self.aliases.numbers(other, &[]).map_err(|error| untold(&error))?;
            if numbers.iter().any(|number| known.contains(number)) {
                let why = "two of the people whose rows are added up are one person under two numbers";
                return Err((Reason::Ambiguous, Some(("aliases", why.to_owned()))));
            }
            known.extend(numbers);
        }
        Ok(())
    }

    fn told(&self, permit: &Permit<'_>, (reason, trouble): Trouble, now_ms: u64) -> Reason {
        if let Some((what, why)) = trouble
            && self.logged.take(what, now_ms)
        {
            tracing::warn!(service = %permit.service.id, what, why, "a subject's records cannot be told");
        }
        reason
    }
}

/// What a lookup found of one person.
fn found_in(permit: &Permit<'_>, found: Together) -> Result<Found, Trouble> {
    let (rows, as_of, lacking, uncertain) = match found.lookup {
        Lookup::Rows { rows, as_of } => (rows, as_of, Vec::new(), Vec::new()),
        Lookup::Partial { rows, as_of, lacking, uncertain } => (rows, as_of, lacking, uncertain),
        Lookup::NotImported => return Err((Reason::NotImported, None)),
        Lookup::Quarantined => return Err((Reason::Quarantined, None)),
        Lookup::Failed(reason) | Lookup::SchemeNotHeld(reason) => {
            return Err((Reason::SourceDown, Some(("records", reason))));
        }
    };
    // Of one person alone the rule for rows says what no row means.
    let is_anybody_absent = rows.is_empty() && !permit.also_about.is_empty();
    Ok(Found { rows, as_of, lacking, uncertain, is_anybody_absent, is_repeated: found.is_repeated })
}

/// A subject whose numbers cannot be told.
fn untold(error: &AliasError) -> Trouble {
    let reason = if *error == AliasError::Contradiction { Reason::Ambiguous } else { Reason::SourceDown };
    (reason, Some(("aliases", error.to_string())))
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
