//! The copy of the directory on disk: each entry's exact bytes, the latest checkpoint, and revocations that came directly.
//! Entries that wait for the checkpoint that covers them are here too, behind its size, so that a node that reads a large
//! directory for the first time holds none of it in memory; whatever lies there when the store is opened is forgotten.
//!
//! | key | value |
//! |---|---|
//! | `b` bundle piece | 256 entries that came together, each after its length, in pieces |
//! | `e` index piece | one entry, in pieces |
//! | `c` | the latest checkpoint that was verified: the copy ends where it says |
//! | `r` digest piece | a revocation that came directly |
//! | `t` bundle | the root over a whole bundle, once it was computed |
//! | `w` department | the checkpoint that the department's witness cosigned last |
//!
//! Bundles make a sixth of the keys: the store opens sooner and needs less memory. Out of scope: whether any of it counts.

use std::path::Path;

use host::{
    committer::{Committer, CommitterOptions, Sequencer, SequencerFault, Writes},
    store::{MAX_VALUE_BYTES, SMALL_CACHE_BYTES, Store, StoreError},
};
use sha2::{Digest, Sha256};
use trust::log::{bundle::EntryBundle, checkpoint::Checkpoint, hash::Hash, note::SignedNote, tile::TILE_WIDTH};

use super::Error;

/// How many entries a bundle has.
pub(super) const BUNDLE: u64 = TILE_WIDTH as u64;

/// What is made durable together.
pub(super) struct Batch {
    pub(super) start: u64,
    pub(super) entries: Vec<Vec<u8>>,
    pub(super) checkpoint: String,
}

enum Job {
    Append(Batch),
    Forget(Vec<sled::IVec>),
    Revocation(Vec<u8>),
    Stage {
        start: u64,
        entries: Vec<Vec<u8>>,
    },
    /// Notes, by the department whose witness cosigned them.
    Witnessed(Vec<(String, String)>),
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
        let stored = Self { store, committer };
        for key in stored.staged()? {
            stored.store.db().remove(key).map_err(|error| stored.failed(error))?;
        }
        Ok(stored)
    }

    pub(super) async fn append(&self, batch: Batch) -> Result<(), Error> {
        self.submit(Job::Append(batch)).await
    }

    pub(super) async fn keep_revocation(&self, statement: Vec<u8>) -> Result<(), Error> {
        self.submit(Job::Revocation(statement)).await
    }

    pub(super) async fn keep_witnessed(&self, notes: Vec<(String, String)>) -> Result<(), Error> {
        self.submit(Job::Witnessed(notes)).await
    }

    /// What witnesses cosigned last, a note of each department.
    pub(super) fn witnessed(&self) -> Result<Vec<String>, Error> {
        let kept = self.store.db().scan_prefix([WITNESSED]);
        kept.map(|note| Ok(String::from_utf8_lossy(&note.map_err(|error| self.failed(error))?.1).into_owned()))
            .collect()
    }

    /// Keeps entries that no checkpoint covers yet, behind all others.
    pub(super) async fn stage(&self, start: u64, entries: Vec<Vec<u8>>) -> Result<(), Error> {
        self.submit(Job::Stage { start, entries }).await
    }

    /// Forgets the entries that no checkpoint covers.
    pub(super) async fn forget_staged(&self) -> Result<(), Error> {
        let keys = self.staged()?;
        if keys.is_empty() {
            return Ok(());
        }
        self.submit(Job::Forget(keys)).await
    }

    async fn submit(&self, job: Job) -> Result<(), Error> {
        self.committer.submit(job).await.map_err(|error| Error::Writer(error.to_string()))
    }

    /// How many entries the latest checkpoint covers.
    pub(super) fn size(&self) -> Result<u64, Error> {
        let Some(text) = self.checkpoint()? else { return Ok(0) };
        let note = SignedNote::parse(text.as_bytes()).map_err(trust::log::checkpoint::Error::from)?;
        Ok(Checkpoint::parse(note.text())?.size())
    }

    fn staged(&self) -> Result<Vec<sled::IVec>, Error> {
        let size = self.size()?;
        let behind = |kind: u8, number: u64| (prefix(kind, number).to_vec(), vec![kind + 1]);
        let mut keys = Vec::new();
        for (from, to) in [behind(BUNDLE_KEY, size.div_ceil(BUNDLE)), behind(ENTRY, size)] {
            for key in self.store.db().range(from..to).keys() {
                keys.push(key.map_err(|error| self.failed(error))?);
            }
        }
        Ok(keys)
    }

    /// All entries from `start` on, as far as the latest checkpoint covers them; an error where one is missing, and
    /// nothing behind it.
    pub(super) fn entries_from(&self, start: u64) -> impl Iterator<Item = Result<Vec<u8>, Error>> + '_ {
        let mut next = start;
        let mut size = self.size().map(Some);
        let mut ready = Vec::new().into_iter();
        std::iter::from_fn(move || {
            if let Some(entry) = ready.next() {
                return Some(Ok(entry));
            }
            // Nothing behind an error can be read in order.
            let end = match std::mem::replace(&mut size, Ok(None)) {
                Ok(end) => end?,
                Err(error) => return Some(Err(error)),
            };
            if next >= end {
                return None;
            }
            let read = match self.bundle_from(next, end) {
                Ok(read) => read,
                Err(error) => return Some(Err(error)),
            };
            next += read.len() as u64;
            size = Ok(Some(end));
            ready = read.into_iter();
            ready.next().map(Ok)
        })
    }

    /// The entries from `index` to the end of its bundle, or to `end` where that is before; at least one.
    fn bundle_from(&self, index: u64, end: u64) -> Result<Vec<Vec<u8>>, Error> {
        let bundle = index / BUNDLE;
        let end = end.min((bundle + 1) * BUNDLE);
        if let Some(bytes) = self.joined(&prefix(BUNDLE_KEY, bundle))? {
            let gap = |_| Error::StoredGap { index };
            let mut entries = EntryBundle::decode(&bytes, TILE_WIDTH).map_err(gap)?.into_entries();
            entries.truncate(usize::try_from(end - bundle * BUNDLE).unwrap_or(usize::MAX));
            return Ok(entries.split_off(usize::try_from(index % BUNDLE).unwrap_or(0)));
        }
        let one = |number: u64| self.joined(&prefix(ENTRY, number))?.ok_or(Error::StoredGap { index: number });
        (index..end).map(one).collect()
    }

    /// The roots of the first bundles, as many of the first `most` as are kept without a gap.
    pub(super) fn bundle_roots(&self, most: u64) -> Result<Vec<Hash>, Error> {
        let mut roots = Vec::new();
        for kept in self.store.db().range(prefix(ROOT, 0).as_slice()..prefix(ROOT, most).as_slice()) {
            let (key, root) = kept.map_err(|error| self.failed(error))?;
            let root = Hash::try_from(root.as_ref());
            match root {
                Ok(root) if key == prefix(ROOT, roots.len() as u64) => roots.push(root),
                _ => break,
            }
        }
        Ok(roots)
    }

    /// Keeps roots that were computed. Only to spare work: it need not be durable.
    pub(super) fn keep_bundle_roots(&self, roots: &[(u64, Hash)]) -> Result<(), Error> {
        for (bundle, root) in roots {
            let kept = self.store.db().insert(prefix(ROOT, *bundle), root.as_bytes().as_slice());
            kept.map_err(|error| self.failed(error))?;
        }
        Ok(())
    }

    /// As if a bundle had never been stored.
    #[cfg(test)]
    pub(super) fn lose_bundle(&self, bundle: u64) {
        for key in self.store.db().scan_prefix(prefix(BUNDLE_KEY, bundle)).keys() {
            self.store.db().remove(key.unwrap()).unwrap();
        }
    }

    pub(super) fn checkpoint(&self) -> Result<Option<String>, Error> {
        let bytes = self.joined(&[CHECKPOINT])?.unwrap_or_default();
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

    /// What lies in pieces under a prefix; `None` where nothing does. Whoever reads a whole directory holds none of it.
    fn joined(&self, prefix: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let mut joined: Option<Vec<u8>> = None;
        for number in 0..=u16::MAX {
            let key = [prefix, &number.to_be_bytes()].concat();
            let Some(piece) = self.store.read_in_passing(&key)? else { break };
            joined.get_or_insert_with(Vec::new).extend_from_slice(&piece);
            if piece.len() < MAX_VALUE_BYTES {
                break;
            }
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
                    put(batch.start, batch.entries, writes)?;
                    let mut text = u32::try_from(batch.checkpoint.len())?.to_be_bytes().to_vec();
                    text.extend_from_slice(batch.checkpoint.as_bytes());
                    insert(writes, &[CHECKPOINT], &text);
                }
                Job::Forget(keys) => keys.into_iter().for_each(|key| writes.remove(key)),
                Job::Revocation(statement) => {
                    let mut prefix = vec![REVOCATION];
                    prefix.extend_from_slice(&Sha256::digest(&statement));
                    insert(writes, &prefix, &statement);
                }
                Job::Stage { start, entries } => put(start, entries, writes)?,
                // A checkpoint and one line each: far below what a value may have.
                Job::Witnessed(notes) => notes.into_iter().for_each(|(department, note)| {
                    writes.insert([&[WITNESSED], department.as_bytes()].concat(), note.into_bytes());
                }),
            }
        }
        Ok(vec![(); count])
    }
}

/// Whole bundles as such, and what is left one by one.
fn put(start: u64, entries: Vec<Vec<u8>>, writes: &mut Writes) -> Result<(), SequencerFault> {
    let mut index = start;
    let mut entries = entries.into_iter();
    while entries.len() > 0 {
        let to_bundle = usize::try_from(BUNDLE - index % BUNDLE)?;
        let taken: Vec<Vec<u8>> = entries.by_ref().take(to_bundle).collect();
        let count = taken.len() as u64;
        if count == BUNDLE {
            insert(writes, &prefix(BUNDLE_KEY, index / BUNDLE), &EntryBundle::new(taken)?.encode());
        } else {
            for (number, entry) in (index..).zip(&taken) {
                insert(writes, &prefix(ENTRY, number), entry);
            }
        }
        index += count;
    }
    Ok(())
}

const BUNDLE_KEY: u8 = b'b';
const CHECKPOINT: u8 = b'c';
const ENTRY: u8 = b'e';
const ROOT: u8 = b't';
const REVOCATION: u8 = b'r';
const WITNESSED: u8 = b'w';

fn prefix(kind: u8, number: u64) -> [u8; 9] {
    let mut prefix = [kind; 9];
    prefix[1..].copy_from_slice(&number.to_be_bytes());
    prefix
}

fn insert(writes: &mut Writes, prefix: &[u8], bytes: &[u8]) {
    if bytes.is_empty() {
        // Nothing is something that was said, too.
        writes.insert([prefix, &[0; 2]].concat(), bytes);
    }
    for (number, piece) in (0_u16..).zip(bytes.chunks(MAX_VALUE_BYTES)) {
        let mut key = prefix.to_vec();
        key.extend_from_slice(&number.to_be_bytes());
        writes.insert(key, piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(dir: &Path) -> StoredDirectory {
        StoredDirectory::open(dir, |reason| panic!("{reason}")).unwrap()
    }

    fn entries(range: std::ops::Range<u64>) -> Vec<Vec<u8>> {
        range.map(|number| vec![number as u8; usize::try_from(number).unwrap() * 37 % 9000]).collect()
    }

    fn checkpoint(size: u64) -> String {
        trust::fixture::signed_checkpoint(
            "ninghe/directory",
            size,
            trust::log::hash::leaf_hash(b"any"),
            &trust::fixture::key("log"),
        )
    }

    fn read(stored: &StoredDirectory, start: u64) -> Vec<Vec<u8>> {
        stored.entries_from(start).map(Result::unwrap).collect()
    }

    async fn append(stored: &StoredDirectory, range: std::ops::Range<u64>) {
        let (start, end) = (range.start, range.end);
        stored.append(Batch { start, entries: entries(range), checkpoint: checkpoint(end) }).await.unwrap();
    }

    #[tokio::test]
    async fn entries_come_back_in_bundles_and_one_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let stored = open(dir.path());
        append(&stored, 0..3).await;
        append(&stored, 3..600).await;
        stored.stage(600, entries(600..1100)).await.unwrap();
        assert_eq!(read(&stored, 0), entries(0..600), "what no checkpoint covers is not shown");
        append(&stored, 1100..1101).await;
        for start in [0, 2, 3, 255, 256, 599, 767, 768, 1023, 1024, 1100, 1101] {
            assert_eq!(read(&stored, start), entries(start..1101), "{start}");
        }
        let bundles = stored.store.db().scan_prefix([BUNDLE_KEY]).keys();
        let bundles: std::collections::BTreeSet<_> = bundles.map(|key| key.unwrap()[1..9].to_vec()).collect();
        assert_eq!(bundles.len(), 2, "256..512 and 768..1024 came whole");
    }

    #[tokio::test]
    async fn what_no_checkpoint_covered_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let stored = open(dir.path());
        append(&stored, 0..300).await;
        stored.stage(300, entries(300..900)).await.unwrap();
        stored.forget_staged().await.unwrap();
        assert!(stored.staged().unwrap().is_empty());
        stored.stage(300, entries(300..900)).await.unwrap();
        drop(stored);
        let stored = open(dir.path());
        assert!(stored.staged().unwrap().is_empty());
        assert_eq!(read(&stored, 0), entries(0..300));
        stored.forget_staged().await.unwrap();
    }

    #[tokio::test]
    async fn a_gap_ends_the_reading_with_its_index() {
        for (kind, number, missing, from) in [(ENTRY, 10, 10, 0), (BUNDLE_KEY, 1, 256, 0), (ENTRY, 519, 519, 300)] {
            let dir = tempfile::tempdir().unwrap();
            let stored = open(dir.path());
            append(&stored, 0..100).await;
            append(&stored, 100..520).await;
            for key in stored.store.db().scan_prefix(prefix(kind, number)).keys() {
                stored.store.db().remove(key.unwrap()).unwrap();
            }
            let read: Vec<_> = stored.entries_from(from).collect();
            let index = match read.last() {
                Some(Err(Error::StoredGap { index })) => *index,
                other => panic!("{number}: {other:?}"),
            };
            assert_eq!((index, read.iter().filter(|entry| entry.is_err()).count()), (missing, 1));
        }
    }
}
