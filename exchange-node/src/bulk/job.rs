//! One job: its parts, how far it is, and its results. Out of scope: carrying it out (`run`).

use std::{
    collections::HashSet,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use host::{files, random};
use prost::Message;
use proto::{
    exchange::v1::Verdict,
    office::v1::{BatchHeader, BatchJob, BatchResult, BatchRow, State},
};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use super::{
    Bulk, Error,
    stored::{self, JobFiles, StoredJob, StoredResults, StoredRows, StoredSent, part_file},
};
use crate::ask::OfficeQuestion;

/// The most results in one page.
const PAGE: usize = 2000;

/// The most bytes of rows in a part: with what is added to them it stays below what a batch may have.
const PART_BYTES: usize = 3 * 1024 * 1024;

/// The most rows in a job.
const MOST_ROWS: u64 = 20_000_000;

/// A job that was handed in.
pub struct Job {
    id: String,
    files: JobFiles,
    stored: StoredJob,
    shown: watch::Sender<BatchJob>,
    /// The parts that this process has prepared: it knows of every attempt to send them.
    begun: Mutex<HashSet<usize>>,
    /// How many rows a batch has at most, since a quota was met; 0 without such a limit.
    pace: AtomicUsize,
}

impl Job {
    pub(super) fn open(id: String, files: JobFiles, stored: StoredJob) -> Result<Self, Error> {
        let header = stored.header.clone().unwrap_or_default();
        let mut shown = BatchJob {
            job: id.clone(),
            name: header.name,
            provider: header.provider,
            service: header.service,
            state: "running".to_owned(),
            rows: stored.parts.iter().map(|rows| u64::from(*rows)).sum(),
            submitted_at_ms: stored.submitted_at_ms,
            ..BatchJob::default()
        };
        match stored::ended(&files)? {
            Some(ended) => shown = ended,
            None => {
                for part in 0..stored.parts.len() {
                    if let Some(results) = files.read::<StoredResults>(&part_file(part, "results"))? {
                        results.results.iter().for_each(|result| count(&mut shown, result));
                    }
                }
            }
        }
        Ok(Self {
            id,
            files,
            stored,
            shown: watch::Sender::new(shown),
            begun: Mutex::default(),
            pace: AtomicUsize::new(0),
        })
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The office system that handed it in; empty for an operator.
    pub fn system(&self) -> &str {
        &self.stored.system
    }

    pub(super) fn folder(&self) -> &Path {
        self.files.folder()
    }

    /// When it was handed in, Unix milliseconds.
    pub fn submitted_ms(&self) -> u64 {
        self.stored.submitted_at_ms
    }

    /// When it ended, Unix milliseconds; `None` while it goes on.
    pub fn ended_ms(&self) -> Option<u64> {
        Some(self.shown.borrow().ended_at_ms).filter(|ended_ms| *ended_ms > 0)
    }

    /// How far it is.
    pub fn shown(&self) -> BatchJob {
        self.shown.borrow().clone()
    }

    /// The same, and each change.
    pub fn watch(&self) -> watch::Receiver<BatchJob> {
        self.shown.subscribe()
    }

    pub(super) fn header(&self) -> BatchHeader {
        self.stored.header.clone().unwrap_or_default()
    }

    /// What all rows share, as a question.
    pub(super) fn question(&self) -> OfficeQuestion {
        let header = self.header();
        OfficeQuestion {
            provider: header.provider,
            service: header.service,
            service_version: header.service_version,
            inputs: header.inputs,
            claims: header.claims,
            purpose: header.purpose,
            case_number: header.case_number,
            officer: header.officer,
            system: self.stored.system.clone(),
            max_record_age_seconds: header.max_record_age_seconds,
            ..OfficeQuestion::default()
        }
    }

    /// The first row of a part.
    pub(super) fn first_row(&self, part: usize) -> u64 {
        self.stored.parts.iter().take(part).map(|rows| u64::from(*rows)).sum()
    }

    /// The parts without results.
    pub(super) fn open_parts(&self) -> Vec<usize> {
        (0..self.stored.parts.len()).filter(|part| !self.files.has(&part_file(*part, "results"))).collect()
    }

    /// The places of the batches that are under way.
    pub(super) fn under_way(&self) -> Result<Vec<u64>, Error> {
        let sent = self.open_parts().into_iter().map(|part| self.sent(part));
        Ok(sent.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().map(|sent| sent.place).collect())
    }

    pub(super) fn rows(&self, part: usize) -> Result<StoredRows, Error> {
        let name = part_file(part, "rows");
        let rows = self.files.read(&name)?;
        rows.ok_or_else(|| Error::Damaged { path: self.folder().join(name) })
    }

    pub(super) fn sent(&self, part: usize) -> Result<Option<StoredSent>, Error> {
        self.files.read(&part_file(part, "sent"))
    }

    pub(super) fn note_sent(&self, part: usize, sent: &StoredSent) -> Result<(), Error> {
        self.files.write(&part_file(part, "sent"), sent)
    }

    /// The results of some rows of a part, while others must be asked again.
    pub(super) fn partial(&self, part: usize) -> Result<Vec<BatchResult>, Error> {
        let stored: Option<StoredResults> = self.files.read(&part_file(part, "partial"))?;
        Ok(stored.unwrap_or_default().results)
    }

    pub(super) fn keep_partial(&self, part: usize, results: Vec<BatchResult>) -> Result<(), Error> {
        self.files.write(&part_file(part, "partial"), &StoredResults { results })
    }

    /// How many rows the part has.
    pub(super) fn size(&self, part: usize) -> usize {
        self.stored.parts.get(part).and_then(|rows| usize::try_from(*rows).ok()).unwrap_or(0)
    }

    /// How many rows a batch has at most.
    pub(super) fn pace(&self) -> usize {
        match self.pace.load(Ordering::Relaxed) {
            0 => usize::MAX,
            pace => pace,
        }
    }

    /// A quota was met after so many rows: batches are no larger from now on.
    pub(super) fn slow_down(&self, rows: usize) {
        if rows > 0 {
            self.pace.store(rows, Ordering::Relaxed);
        }
    }

    pub(super) fn note_begun(&self, part: usize) {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).insert(part);
    }

    pub(super) fn has_begun(&self, part: usize) -> bool {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).contains(&part)
    }

    /// What was sent of the part was never answered and never will be: it is asked anew.
    pub(super) fn forget_sent(&self, part: usize) -> Result<(), Error> {
        let path = self.folder().join(part_file(part, "sent"));
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(Error::Read { path, source }),
            _ => Ok(()),
        }
    }

    pub(super) fn keep_results(&self, part: usize, results: Vec<BatchResult>) -> Result<(), Error> {
        let results = StoredResults { results };
        self.files.write(&part_file(part, "results"), &results)?;
        self.shown.send_modify(|shown| {
            results.results.iter().for_each(|result| count(shown, result));
            "running".clone_into(&mut shown.state);
            shown.waiting_for.clear();
        });
        Ok(())
    }

    pub(super) fn wait_for(&self, reason: &str) {
        self.shown.send_if_modified(|shown| {
            let is_news = shown.waiting_for != reason;
            "waiting".clone_into(&mut shown.state);
            reason.clone_into(&mut shown.waiting_for);
            is_news
        });
    }

    pub(super) fn end(&self, now_ms: u64) -> Result<(), Error> {
        let ended =
            BatchJob { state: "done".to_owned(), ended_at_ms: now_ms, waiting_for: String::new(), ..self.shown() };
        stored::write_ended(&self.files, &ended)?;
        self.shown.send_replace(ended);
        Ok(())
    }

    /// Results from a row on, at most a page; empty where there is none yet.
    ///
    /// # Errors
    ///
    /// They cannot be read.
    pub fn results(&self, from_row: u64) -> Result<Vec<BatchResult>, Error> {
        let mut first = 0;
        for (part, rows) in self.stored.parts.iter().enumerate() {
            let after = first + u64::from(*rows);
            if from_row < after {
                let stored: Option<StoredResults> = self.files.read(&part_file(part, "results"))?;
                let results = stored.unwrap_or_default().results;
                let skipped = usize::try_from(from_row - first).unwrap_or(usize::MAX);
                return Ok(results.into_iter().skip(skipped).take(PAGE).collect());
            }
            first = after;
        }
        Ok(Vec::new())
    }
}

fn count(job: &mut BatchJob, result: &BatchResult) {
    job.done += 1;
    if result.state() != State::Answered {
        job.refused += 1;
        return;
    }
    job.answered += 1;
    let has = |verdict| result.verdicts.iter().any(|claim| claim.verdict() == verdict);
    match () {
        () if has(Verdict::Mismatch) => job.mismatched += 1,
        () if has(Verdict::NoRecord) => job.without_record += 1,
        () if has(Verdict::Unavailable) => job.unavailable += 1,
        () => job.matched += 1,
    }
}

/// A job that is being handed in, row by row.
pub struct Incoming {
    id: String,
    files: JobFiles,
    /// Whether it is a job now: otherwise what was kept of it goes with this.
    is_kept: bool,
    stored: StoredJob,
    rows_per_part: usize,
    rows: Vec<BatchRow>,
    bytes: usize,
    total: u64,
    hash: Sha256,
}

impl Bulk {
    /// Begins a job.
    ///
    /// # Errors
    ///
    /// It cannot be one, or not be kept.
    pub fn begin(&self, header: BatchHeader, system: String) -> Result<Incoming, Error> {
        if header.name.is_empty() || header.name.len() > 64 || header.name.chars().any(char::is_control) {
            let reason = "a job has a name of 1 to 64 characters".to_owned();
            return Err(Error::NotAJob { field: "name", reason });
        }
        let submitted_at_ms = self.clock.now_ms();
        let id = data_encoding::HEXLOWER.encode(&random::array::<8>(self.random.as_ref()));
        let folder = self.folder.join(&id);
        files::private_folder(&folder)?;
        let rows_per_part = self.settings.rows();
        let stored = StoredJob { header: Some(header), system, submitted_at_ms, ..StoredJob::default() };
        let files = JobFiles::new(&self.vault, folder, submitted_at_ms);
        let (rows, hash) = (Vec::new(), Sha256::new());
        Ok(Incoming { id, files, is_kept: false, stored, rows_per_part, rows, bytes: 0, total: 0, hash })
    }

    /// All rows are there: the job is kept, and carried out. Where one with its name is there already, that is returned if it
    /// is the same.
    ///
    /// # Errors
    ///
    /// It is another one, or cannot be kept.
    pub fn finish(&self, mut incoming: Incoming) -> Result<Arc<Job>, Error> {
        incoming.flush()?;
        if incoming.total == 0 {
            return Err(Error::NotAJob { field: "rows", reason: "a job has at least one row".to_owned() });
        }
        incoming.stored.digest = incoming.hash.clone().finalize().to_vec();
        let mut jobs = self.locked();
        let name = |stored: &StoredJob| (stored.system.clone(), stored.header.clone().unwrap_or_default().name);
        if let Some(there) = jobs.values().find(|job| name(&job.stored) == name(&incoming.stored)) {
            let is_same =
                there.stored.header == incoming.stored.header && there.stored.digest == incoming.stored.digest;
            return if is_same { Ok(Arc::clone(there)) } else { Err(Error::NameTaken) };
        }
        incoming.files.write_job(&incoming.stored)?;
        incoming.is_kept = true;
        let id = incoming.id.clone();
        let job = Arc::new(Job::open(id.clone(), incoming.files.clone(), incoming.stored.clone())?);
        jobs.insert(id, Arc::clone(&job));
        drop(jobs);
        self.news.notify_one();
        Ok(job)
    }
}

impl Incoming {
    /// How many rows there are so far.
    pub fn shown(&self) -> BatchJob {
        let name = self.stored.header.clone().unwrap_or_default().name;
        BatchJob { name, state: "receiving".to_owned(), rows: self.total, ..BatchJob::default() }
    }

    /// Takes the next row.
    ///
    /// # Errors
    ///
    /// It cannot be kept, or there are too many.
    pub fn take(&mut self, row: BatchRow) -> Result<(), Error> {
        let bytes = row.encode_length_delimited_to_vec();
        if bytes.len() > trust::question::LARGEST_REQUEST {
            let reason = format!("row {} is larger than a question may be", self.total + 1);
            return Err(Error::NotAJob { field: "rows", reason });
        }
        if self.total == MOST_ROWS {
            let reason = format!("a job has at most {MOST_ROWS} rows");
            return Err(Error::NotAJob { field: "rows", reason });
        }
        self.hash.update(&bytes);
        self.bytes += bytes.len();
        self.total += 1;
        self.rows.push(row);
        if self.rows.len() >= self.rows_per_part || self.bytes >= PART_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let rows = StoredRows { rows: std::mem::take(&mut self.rows) };
        self.files.write(&part_file(self.stored.parts.len(), "rows"), &rows)?;
        self.stored.parts.push(u32::try_from(rows.rows.len()).unwrap_or(u32::MAX));
        self.bytes = 0;
        Ok(())
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if !self.is_kept {
            super::remove(self.files.folder());
        }
    }
}
