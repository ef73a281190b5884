//! Jobs of many questions as JSON: what is handed in, how far a job is, and its results. Out of scope: what becomes of a job
//! (`bulk`).

use proto::office::v1 as wire;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Authorisation, Claim, ClaimVerdict, Input, Purpose, Refusal, State, Subject, result::verdict, timestamp,
    timestamp_of,
};
use crate::office::problem::Problem;

/// Many questions that differ in whom they are about, and in what each row adds.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewBatch {
    /// The office's name for the job, 1 to 64 characters: handing the same job in again under it does nothing. Left out, the
    /// header `Idempotency-Key` is the name.
    #[serde(default)]
    #[schema(max_length = 64, example = "2026-11 review")]
    pub name: String,
    /// The department to ask, by its id.
    #[schema(example = "civil-affairs")]
    pub provider: String,
    /// Its data service.
    #[schema(example = "marriage-registration")]
    pub service: String,
    /// The service's major version; 0 for the newest that answers.
    #[serde(default)]
    pub service_version: u32,
    /// Values that select rows of records, the same for everybody.
    #[serde(default)]
    pub inputs: Vec<Input>,
    /// What is to be compared, the same for everybody.
    #[serde(default)]
    pub claims: Vec<Claim>,
    /// What for.
    pub purpose: Purpose,
    /// The case number of rows without one.
    #[serde(default)]
    pub case_number: String,
    /// The officer who asks.
    #[schema(example = "1024")]
    pub officer: String,
    /// How old a record may be at most, in seconds; 0 accepts any age.
    #[serde(default)]
    pub max_record_age_seconds: u64,
    /// The questions: as many as a body may hold (`[office] largest_batch_kib`).
    #[schema(min_items = 1)]
    pub rows: Vec<BatchRow>,
}

/// One question of a job.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchRow {
    /// Whom it is about.
    pub subject: Subject,
    /// Its case number; left out, that of the job.
    #[serde(default)]
    pub case_number: String,
    /// Further values that select rows of records.
    #[serde(default)]
    pub inputs: Vec<Input>,
    /// Further claims.
    #[serde(default)]
    pub claims: Vec<Claim>,
    /// The subject's authorisation, where the service needs one.
    #[serde(default)]
    pub authorisation: Option<Authorisation>,
}

impl NewBatch {
    /// As the node keeps it. `key` is the caller's idempotency key; empty where he sent none.
    ///
    /// # Errors
    /// It has two names, or an authorisation's digest or time is none.
    pub fn into_wire(self, key: String) -> Result<(wire::BatchHeader, Vec<wire::BatchRow>), Problem> {
        let name = match (self.name.is_empty(), key.is_empty()) {
            (true, _) => key,
            (false, true) => self.name,
            (false, false) if self.name == key => self.name,
            (false, false) => {
                let detail = "the name of a job is its idempotency key: leave one of them out, or send the same";
                return Err(Problem::unusable("Idempotency-Key", detail));
            }
        };
        let header = wire::BatchHeader {
            name,
            provider: self.provider,
            service: self.service,
            service_version: self.service_version,
            inputs: self.inputs.into_iter().map(Input::into_wire).collect(),
            claims: self.claims.into_iter().map(Claim::into_wire).collect(),
            purpose: Some(self.purpose.into_wire()),
            case_number: self.case_number,
            officer: self.officer,
            max_record_age_seconds: self.max_record_age_seconds,
        };
        let rows = self.rows.into_iter().enumerate().map(|(index, row)| {
            let authorisation = row.authorisation.map(Authorisation::into_wire).transpose();
            Ok(wire::BatchRow {
                subject: Some(row.subject.into_wire()),
                case_number: row.case_number,
                inputs: row.inputs.into_iter().map(Input::into_wire).collect(),
                claims: row.claims.into_iter().map(Claim::into_wire).collect(),
                authorisation: authorisation.map_err(|problem| problem.within(&format!("rows[{index}]")))?,
            })
        });
        Ok((header, rows.collect::<Result<_, Problem>>()?))
    }
}

/// A job and how far it is.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Batch {
    /// Its id.
    #[schema(example = "9f3a2c1e4b5d6a70")]
    pub id: String,
    /// The office's name for it.
    pub name: String,
    /// The department asked, by its id.
    pub provider: String,
    /// The service asked.
    pub service: String,
    /// `running`, `waiting` (the other side cannot be reached; tried again by itself) or `done`.
    pub state: String,
    /// Why it waits; empty where it does not.
    pub waiting_for: String,
    /// How many rows it has.
    pub rows: u64,
    /// How many have a result.
    pub done: u64,
    /// How many a minute, on average since it was handed in.
    pub rows_per_minute: u64,
    /// How many seconds the rest takes at that rate; left out where that is not known, and once it is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<u64>,
    /// Of those done, with a verdict for each claim.
    pub answered: u64,
    /// Of those done, refused by this node or the other.
    pub refused: u64,
    /// Of the answered, with at least one `MATCH` and nothing else.
    pub matched: u64,
    /// With at least one `MISMATCH`.
    pub mismatched: u64,
    /// With at least one `NO_RECORD`, and no `MISMATCH`.
    pub without_record: u64,
    /// With at least one `UNAVAILABLE`, and neither of these.
    pub unavailable: u64,
    /// When it was handed in, RFC 3339.
    #[schema(format = DateTime)]
    pub submitted_at: String,
    /// When it ended, RFC 3339; left out while it goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub ended_at: Option<String>,
}

impl Batch {
    /// As it stands at a time.
    pub fn of(job: wire::BatchJob, now_ms: u64) -> Self {
        let until_ms = if job.ended_at_ms > 0 { job.ended_at_ms } else { now_ms };
        let elapsed_ms = until_ms.saturating_sub(job.submitted_at_ms).max(1);
        let left = job.rows.saturating_sub(job.done);
        let seconds_left = left.saturating_mul(elapsed_ms).checked_div(job.done).map(|ms| ms.div_ceil(1000));
        Self {
            id: job.job,
            name: job.name,
            provider: job.provider,
            service: job.service,
            state: job.state,
            waiting_for: job.waiting_for,
            rows: job.rows,
            done: job.done,
            rows_per_minute: job.done.saturating_mul(60_000) / elapsed_ms,
            seconds_left: seconds_left.filter(|_| job.ended_at_ms == 0),
            answered: job.answered,
            refused: job.refused,
            matched: job.matched,
            mismatched: job.mismatched,
            without_record: job.without_record,
            unavailable: job.unavailable,
            submitted_at: timestamp(job.submitted_at_ms),
            ended_at: timestamp_of(job.ended_at_ms),
        }
    }
}

/// The result of one row.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct BatchResult {
    /// The row, counted from 0.
    pub row: u64,
    /// `answered`, `refused` or `unanswered`.
    pub state: State,
    /// One verdict for each claim, those of the job first.
    pub verdicts: Vec<ClaimVerdict>,
    /// The day of the record, `YYYY-MM-DD`; may be empty.
    pub record_as_of: String,
    /// For `refused`, why and what next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
    /// Finds the evidence of this row again, `<receipt>/<item>`; empty where this node refused it.
    pub receipt: String,
    /// The decision because of which this took the place of the row's first result, 64 hex digits: the record was wrong. Left out
    /// where it is the first.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(required = false)]
    pub correction: String,
}

impl From<wire::BatchResult> for BatchResult {
    fn from(result: wire::BatchResult) -> Self {
        let state = match result.state() {
            wire::State::Answered => State::Answered,
            wire::State::Deferred => State::Deferred,
            wire::State::Refused => State::Refused,
            wire::State::Unanswered | wire::State::Unspecified => State::Unanswered,
        };
        let refused_by = result.refused_by;
        Self {
            row: result.row,
            state,
            verdicts: result.verdicts.iter().map(verdict).collect(),
            record_as_of: result.record_as_of,
            refusal: result.refusal.map(|refusal| Refusal::of(refusal, refused_by)),
            receipt: result.receipt,
            correction: result.correction,
        }
    }
}

/// A page of jobs.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct BatchPage {
    /// The jobs, the newest first.
    pub batches: Vec<Batch>,
    /// Gets the next page as `cursor`; left out on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// A page of results.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct BatchResultPage {
    /// In the order of the rows. Empty where the next row has no result yet.
    pub results: Vec<BatchResult>,
    /// Gets the next page as `cursor`; left out once the last row's result is here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_says_how_fast_it_goes_and_how_long_the_rest_takes() {
        let job = |done, ended_at_ms| wire::BatchJob {
            rows: 600,
            done,
            submitted_at_ms: 1_000,
            ended_at_ms,
            ..wire::BatchJob::default()
        };
        let half = Batch::of(job(300, 0), 61_000);
        assert_eq!((half.rows_per_minute, half.seconds_left, half.ended_at), (300, Some(60), None));
        let begun = Batch::of(job(0, 0), 1_000);
        assert_eq!((begun.rows_per_minute, begun.seconds_left), (0, None));
        let over = Batch::of(job(600, 121_000), 999_000);
        assert_eq!((over.rows_per_minute, over.seconds_left), (300, None));
    }

    #[test]
    fn a_job_has_one_name() {
        let batch = |name: &str| {
            let text = format!(
                r#"{{"name":"{name}","provider":"p","service":"s","purpose":{{"item":"i"}},"officer":"o",
                "rows":[{{"subject":{{"scheme":"a","value":"b"}}}}]}}"#
            );
            serde_json::from_str::<NewBatch>(&text).unwrap()
        };
        let name = |name: &str, key: &str| batch(name).into_wire(key.into()).map(|(header, _)| header.name).ok();
        assert_eq!(name("one", "").as_deref(), Some("one"));
        assert_eq!(name("", "key").as_deref(), Some("key"));
        assert_eq!(name("one", "one").as_deref(), Some("one"));
        assert_eq!(name("one", "key"), None);
    }
}
