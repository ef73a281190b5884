//! The copy of the directory on disk: each entry's exact bytes under its index, the latest checkpoint, and revocations
//! that came directly. Out of scope: whether any of it counts, which is verified again at each start.

use std::path::Path;

use host::{
    committer::{Committer, CommitterOptions, Sequencer, SequencerFault, Writes},
    store::{MAX_VALUE_BYTES, SMALL_CACHE_BYTES, Store, StoreError},
};
use sha2::{Digest, Sha256};

use super::Error;

/// What is made durable together.
pub(super) struct Batch {
    pub(super) start: u64,
    pub(super) entries: Vec<Vec<u8>>,
    pub(super) checkpoint: String,
}

enum Job {
    Append(Batch),
    Revocation(Vec<u8>),
}

pub(super) struct StoredDirectory {
    store: Store,
    committer: Committer<Writer>,
}

impl StoredDirectory {
    pub(super) fn open(path: &Path, on_failure: impl FnOnce(&str) + Send + 'static) -> Result<Self, Error> {
        let store = Store::open(path, SMALL_CACHE_BYTES / 4)?;
        let options = CommitterOptions { name: "directory".to_owned(), ..CommitterOptions::default() };
        let committer = Committer::start(store.clone(), Writer, options, move |error| on_failure(&error.to_string()))
            .map_err(|error| Error::Writer(error.to_string()))?;
        Ok(Self { store, committer })
    }

    pub(super) async fn append(&self, batch: Batch) -> Result<(), Error> {
        self.committer.submit(Job::Append(batch)).await.map_err(|error| Error::Writer(error.to_string()))
    }

    pub(super) async fn keep_revocation(&self, statement: Vec<u8>) -> Result<(), Error> {
        self.committer.submit(Job::Revocation(statement)).await.map_err(|error| Error::Writer(error.to_string()))
    }

    /// All entries from the first on; an error where one is missing.
    pub(super) fn entries(&self) -> impl Iterator<Item = Result<Vec<u8>, Error>> + '_ {
        let mut next = 0_u64;
        let mut pieces = self.store.db().scan_prefix([ENTRY]).peekable();
        std::iter::from_fn(move || {
            pieces.peek()?;
            let index = next;
            next += 1;
            let mut entry = Vec::new();
            let prefix = entry_prefix(index);
            while let Some(piece) =
                pieces.next_if(|piece| piece.as_ref().map_or(true, |(key, _)| key.starts_with(&prefix)))
            {
                match piece {
                    Ok((_, value)) => entry.extend_from_slice(&value),
                    Err(error) => return Some(Err(self.failed(error))),
                }
            }
            Some(if entry.is_empty() { Err(Error::StoredGap { index }) } else { Ok(entry) })
        })
        .scan(false, |failed, entry| {
            // Nothing behind a gap can be read in order.
            let stop = *failed;
            *failed = entry.is_err();
            (!stop).then_some(entry)
        })
    }

    pub(super) fn checkpoint(&self) -> Result<Option<String>, Error> {
        let bytes = self.joined(&[CHECKPOINT])?;
        let Some((length, text)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
        // A longer one before may have left pieces behind.
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(0);
        Ok(text.get(..length).map(|text| String::from_utf8_lossy(text).into_owned()))
    }

    pub(super) fn revocations(&self) -> Result<Vec<Vec<u8>>, Error> {
        let mut found: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        for piece in self.store.db().scan_prefix([REVOCATION]) {
            let (key, value) = piece.map_err(|error| self.failed(error))?;
            let name = &key[..key.len().saturating_sub(2)];
            match found.last_mut() {
                Some((last, bytes)) if last == name => bytes.extend_from_slice(&value),
                _ => found.push((name.to_vec(), value.to_vec())),
            }
        }
        Ok(found.into_iter().map(|(_, bytes)| bytes).collect())
    }

    fn joined(&self, prefix: &[u8]) -> Result<Vec<u8>, Error> {
        let mut joined = Vec::new();
        for piece in self.store.db().scan_prefix(prefix) {
            joined.extend_from_slice(&piece.map_err(|error| self.failed(error))?.1);
        }
        Ok(joined)
    }

    fn failed(&self, error: sled::Error) -> Error {
        StoreError::into(self.store.explain(error))
    }
}

struct Writer;

impl Sequencer for Writer {
    type Job = Job;
    type Done = ();

    fn prepare(&mut self, jobs: Vec<Job>, writes: &mut Writes) -> Result<Vec<()>, SequencerFault> {
        let count = jobs.len();
        for job in jobs {
            match job {
                Job::Append(batch) => {
                    for (index, entry) in (batch.start..).zip(&batch.entries) {
                        insert(writes, &entry_prefix(index), entry);
                    }
                    let mut text = u32::try_from(batch.checkpoint.len())?.to_be_bytes().to_vec();
                    text.extend_from_slice(batch.checkpoint.as_bytes());
                    insert(writes, &[CHECKPOINT], &text);
                }
                Job::Revocation(statement) => {
                    let mut prefix = vec![REVOCATION];
                    prefix.extend_from_slice(&Sha256::digest(&statement));
                    insert(writes, &prefix, &statement);
                }
            }
        }
        Ok(vec![(); count])
    }
}

const CHECKPOINT: u8 = b'c';
const ENTRY: u8 = b'e';
const REVOCATION: u8 = b'r';

fn entry_prefix(index: u64) -> [u8; 9] {
    let mut prefix = [ENTRY; 9];
    prefix[1..].copy_from_slice(&index.to_be_bytes());
    prefix
}

fn insert(writes: &mut Writes, prefix: &[u8], bytes: &[u8]) {
    for (number, piece) in (0_u16..).zip(bytes.chunks(MAX_VALUE_BYTES)) {
        let mut key = prefix.to_vec();
        key.extend_from_slice(&number.to_be_bytes());
        writes.insert(key, piece);
    }
}
