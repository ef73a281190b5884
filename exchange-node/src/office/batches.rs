//! Jobs of many questions for office systems that speak HTTP: a job comes whole. Out of scope: what becomes of it, and who may see
//! which (`bulk`).

use std::{collections::BTreeMap, sync::Arc};

use proto::office::v1::{BatchHeader, BatchResult, BatchRow};
use trust::refusal::{Code, Refusal};

use super::{Failure, Office, json::Batch};
use crate::{
    bulk::{Error, Job},
    office_keys::Caller,
};

/// Results of a job.
pub struct Results {
    /// In the order of the rows.
    pub results: Vec<BatchResult>,
    /// The row that comes next; `None` behind the last.
    pub next: Option<u64>,
}

impl Office {
    /// Takes a job in. The same one again under its name is the one that is there.
    ///
    /// # Errors
    /// It cannot be a job, its name is another one's, or our own failure.
    pub async fn submit_batch(
        &self,
        caller: &Caller,
        header: BatchHeader,
        rows: Vec<BatchRow>,
    ) -> Result<Result<Batch, Refusal>, Failure> {
        let item = header.purpose.as_ref().map_or("", |purpose| purpose.item.as_str());
        if let Err(field) = caller.limits.covers(&header.provider, &header.service, item) {
            return Ok(Err(Refusal::new(Code::OfficeKeyNotCovering).at(field)));
        }
        let (bulk, system) = (Arc::clone(&self.bulk), caller.system.clone());
        let job = tokio::task::spawn_blocking(move || bulk.submit(header, rows, system)).await?.map_err(failed)?;
        Ok(Ok(self.batch_seen(&job)))
    }

    /// A job, and how far it is.
    ///
    /// # Errors
    /// There is none for this caller.
    pub fn batch(&self, caller: &Caller, id: &str) -> Result<Batch, Failure> {
        let job = self.bulk.job_for(caller, id).map_err(failed)?;
        Ok(self.batch_seen(&job))
    }

    /// Jobs, the newest first, behind a cursor; each with its own.
    pub fn batches(&self, caller: &Caller, behind: &str, most: usize) -> Vec<(String, Batch)> {
        let jobs = self.bulk.jobs_for(caller).into_iter().map(|job| (place_of(&job), job));
        let jobs: BTreeMap<String, Arc<Job>> = jobs.collect();
        let older = jobs.into_iter().rev().filter(|(place, _)| behind.is_empty() || place.as_str() < behind);
        older.take(most).map(|(place, job)| (place, self.batch_seen(&job))).collect()
    }

    /// Results of a job from a row on.
    ///
    /// # Errors
    /// There is none for this caller, or they cannot be read.
    pub async fn batch_results(
        &self,
        caller: &Caller,
        id: &str,
        from_row: u64,
        most: usize,
    ) -> Result<Results, Failure> {
        let job = self.bulk.job_for(caller, id).map_err(failed)?;
        let rows = job.shown().rows;
        let bulk = Arc::clone(&self.bulk);
        let mut results = tokio::task::spawn_blocking(move || bulk.results(&job, from_row)).await?.map_err(failed)?;
        results.truncate(most);
        let next = results.last().map_or(from_row, |last| last.row + 1);
        Ok(Results { results, next: Some(next).filter(|next| *next < rows) })
    }

    /// Forgets a job that has ended.
    ///
    /// # Errors
    /// There is none for this caller, or it goes on.
    pub async fn remove_batch(&self, caller: &Caller, id: &str) -> Result<(), Failure> {
        let job = self.bulk.job_for(caller, id).map_err(failed)?;
        let bulk = Arc::clone(&self.bulk);
        tokio::task::spawn_blocking(move || bulk.remove(job.id())).await?.map_err(failed)
    }

    fn batch_seen(&self, job: &Job) -> Batch {
        Batch::of(job.shown(), self.now_ms())
    }
}

/// Where a job stands in the list.
fn place_of(job: &Job) -> String {
    format!("{:013}-{}", job.submitted_ms(), job.id())
}

fn failed(error: Error) -> Failure {
    match error {
        Error::Unknown => Failure::NotFound("there is no such job for this office system".to_owned()),
        Error::NameTaken => Failure::InTheWay("another job has this name already".to_owned()),
        Error::GoesOn => Failure::InTheWay("the job still goes on: it can be removed once it has ended".to_owned()),
        Error::NotAJob { field, reason } => Failure::Unusable { field, reason },
        error => {
            tracing::error!(%error, "a job of many questions cannot be kept or read");
            Failure::Unavailable(error.to_string())
        }
    }
}
