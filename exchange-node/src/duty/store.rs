//! The due-list on disk: one small sled database, written by one group-committing writer. Keys are `duty/<name>`,
//! `row/<book>/<key>` and `covered`; values are JSON, so that an engineer can read them. Nothing here tells whom a question
//! is about: the messages stay in the journal. Out of scope: what is next (`queue`).

use std::{
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use host::{
    committer::{Committer, CommitterError, CommitterOptions, CommitterStopped, Sequencer, SequencerFault, Writes},
    store::{MAX_VALUE_BYTES, Store},
};
use serde::de::DeserializeOwned;

use super::{Change, Duty, Error};

/// The list is small; what is read often is in memory.
const CACHE_BYTES: u64 = 1024 * 1024;

const COVERED: &[u8] = b"covered";

pub(super) struct DutyStore {
    store: Store,
    committer: Committer<Writer>,
    covered: AtomicU64,
}

struct Writer;

/// Keys with their values, or without where they are to be removed.
type Job = Vec<(String, Option<Vec<u8>>)>;

impl Sequencer for Writer {
    type Job = Job;
    type Done = ();

    fn prepare(&mut self, jobs: Vec<Job>, writes: &mut Writes) -> Result<Vec<()>, SequencerFault> {
        let count = jobs.len();
        for (key, value) in jobs.into_iter().flatten() {
            match value {
                Some(value) => writes.insert(key.as_bytes(), value),
                None => writes.remove(key.as_bytes()),
            }
        }
        Ok(vec![(); count])
    }
}

impl DutyStore {
    pub(super) fn open(path: &Path, on_fatal: impl FnOnce(CommitterError) + Send + 'static) -> Result<Self, Error> {
        let store = Store::open(path, CACHE_BYTES)?;
        let covered = store.db().get(COVERED).map_err(|error| store.explain(error))?;
        let covered = covered.and_then(|bytes| <[u8; 8]>::try_from(bytes.as_ref()).ok()).map_or(0, u64::from_be_bytes);
        let options = CommitterOptions { name: "duties".to_owned(), ..CommitterOptions::default() };
        let committer = Committer::start(store.clone(), Writer, options, on_fatal)?;
        Ok(Self { store, committer, covered: AtomicU64::new(covered) })
    }

    pub(super) fn duties(&self) -> Result<Vec<Duty>, Error> {
        self.scan("duty/")
    }

    pub(super) fn rows<T: DeserializeOwned>(&self, book: &str) -> Result<Vec<T>, Error> {
        self.scan(&format!("row/{book}/"))
    }

    pub(super) fn rows_under<T: DeserializeOwned>(&self, book: &str, prefix: &str) -> Result<Vec<T>, Error> {
        self.scan(&format!("row/{book}/{prefix}"))
    }

    fn scan<T: DeserializeOwned>(&self, prefix: &str) -> Result<Vec<T>, Error> {
        let mut found = Vec::new();
        for item in self.store.db().scan_prefix(prefix) {
            let (key, value) = item.map_err(|error| self.store.explain(error))?;
            let key = || String::from_utf8_lossy(&key).into_owned();
            found.push(serde_json::from_slice(&value).map_err(|source| Error::Malformed { key: key(), source })?);
        }
        Ok(found)
    }

    /// Every key with its value, for a backup.
    pub(super) fn pairs(&self) -> sled::Iter {
        self.store.db().iter()
    }

    pub(super) async fn write(&self, changes: &[Change]) -> Result<(), Error> {
        let job: Job = changes.iter().map(to_write).collect();
        // The committer would end the program: what comes from outside must not.
        if let Some(bytes) =
            job.iter().flat_map(|(_, value)| value).map(Vec::len).find(|bytes| *bytes > MAX_VALUE_BYTES)
        {
            return Err(Error::TooLong { bytes });
        }
        Ok(self.committer.submit(job).await?)
    }

    pub(super) async fn close(&self) -> Result<(), CommitterStopped> {
        self.committer.close().await
    }

    pub(super) fn covered(&self) -> u64 {
        self.covered.load(Ordering::Acquire)
    }

    pub(super) async fn cover(&self, size: u64) -> Result<(), Error> {
        if size == self.covered() {
            return Ok(());
        }
        let key = String::from_utf8_lossy(COVERED).into_owned();
        self.committer.submit(vec![(key, Some(size.to_be_bytes().to_vec()))]).await?;
        self.covered.store(size, Ordering::Release);
        Ok(())
    }
}

fn to_write(change: &Change) -> (String, Option<Vec<u8>>) {
    match change {
        Change::Done(id) => (format!("duty/{id}"), None),
        // A plain structure; it can always be written.
        Change::Put(duty) => (format!("duty/{}", duty.id), Some(serde_json::to_vec(duty).unwrap_or_default())),
        Change::Row { book, key, value } => (format!("row/{book}/{key}"), Some(value.clone().into_bytes())),
        Change::RowGone { book, key } => (format!("row/{book}/{key}"), None),
    }
}
