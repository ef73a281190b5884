//! Jobs as office systems see them: each its own, as far as its key reaches, and the operator all; and that a job has ended is
//! told. Every way to jobs comes through here. Out of scope: how a job is handed in piece by piece (`edge`).

use std::sync::Arc;

use proto::office::v1::{BatchHeader, BatchResult, BatchRow, State};

use super::{Bulk, Error, Job};
use crate::{ask::Ending, office_keys::Caller, outbox::Happened};

impl Bulk {
    /// The job with this id, where whoever calls may know of it.
    ///
    /// # Errors
    ///
    /// There is none for this caller.
    pub fn job_for(&self, caller: &Caller, id: &str) -> Result<Arc<Job>, Error> {
        self.job(id).ok().filter(|job| job.is_open_to(caller)).ok_or(Error::Unknown)
    }

    /// All jobs that whoever calls may know of, the newest first.
    pub fn jobs_for(&self, caller: &Caller) -> Vec<Arc<Job>> {
        self.jobs().into_iter().filter(|job| job.is_open_to(caller)).collect()
    }

    /// Takes a job whose rows are all here. The same one again under its name is the one that is there. Blocks.
    ///
    /// # Errors
    ///
    /// It cannot be a job, its name is another one's, or it cannot be kept.
    pub fn submit(
        &self,
        header: BatchHeader,
        rows: impl IntoIterator<Item = BatchRow>,
        system: String,
    ) -> Result<Arc<Job>, Error> {
        let mut incoming = self.begin(header, system)?;
        for row in rows {
            incoming.take(row)?;
        }
        self.finish(incoming)
    }

    /// Results of a job from a row on, at most a page, each as it stands now: a record that was wrong may have been mended since.
    /// Blocks.
    ///
    /// # Errors
    ///
    /// They cannot be read.
    pub fn results(&self, job: &Job, from_row: u64) -> Result<Vec<BatchResult>, Error> {
        let mut results = job.results(from_row)?;
        let named: Vec<&str> = results.iter().map(|result| result.receipt.as_str()).collect();
        let mut corrected = self.asker.corrected_items(&named)?;
        for result in &mut results {
            let Some(asked) = corrected.remove(&result.receipt) else { continue };
            match asked.ending {
                Ending::Answered { verdicts, record_as_of } => {
                    result.set_state(State::Answered);
                    (result.verdicts, result.record_as_of) = (verdicts, record_as_of);
                }
                Ending::Refused { refusal, by } => {
                    result.set_state(State::Refused);
                    (result.verdicts, result.record_as_of) = (Vec::new(), String::new());
                    (result.refusal, result.refused_by) = (Some(refusal), by.unwrap_or_default());
                }
                // No such answer follows one with verdicts.
                Ending::Deferred(_) | Ending::Unanswered { .. } => continue,
            }
            result.correction = asked.correction;
        }
        Ok(results)
    }

    /// Has a job's office told that it has ended, where it was not.
    pub(super) async fn tell_ended(&self, job: &Job) {
        let ended = Happened::Batch { job: job.id().to_owned() };
        if self.outbox.has(&ended) {
            return;
        }
        if let Err(error) = self.outbox.note(job.system(), &job.header().case_number, ended).await {
            tracing::error!(job = job.id(), %error, "that a job has ended cannot be told now; the next start tells it");
        }
    }
}

impl Job {
    /// What it is about, as far as keys are limited by it: department, service, item.
    pub fn scope(&self) -> (String, String, String) {
        let header = self.header();
        (header.provider, header.service, header.purpose.unwrap_or_default().item)
    }

    /// Whether whoever calls may know of it: an office system of its own jobs, as far as its key reaches; an operator of all.
    pub fn is_open_to(&self, caller: &Caller) -> bool {
        let (provider, service, item) = self.scope();
        caller.is_operator()
            || self.system() == caller.system && caller.limits.covers(&provider, &service, &item).is_ok()
    }
}
