//! The embedded ledger: one sled database, written by the group-committing writer alone.
//!
//! Keys, all in one tree, so that a group is one atomic batch (numbers big-endian, pieces counted from 0 in one byte):
//!
//! | key | value |
//! |---|---|
//! | `e` index piece | up to 4,096 bytes of an entry |
//! | `t` level index piece | 64 hashes of a finished tile |
//! | `h` | size and root after the last append |
//! | `c` | the last signed checkpoint |
//! | `m` | the mark, while the log signs nothing |
//! | `w` name | the last checkpoint that the witness of this name cosigned |
//!
//! Unfinished tiles are not stored: they follow from the entries and tiles below, and the frontier in memory has them.

use std::sync::Arc;

use arc_swap::ArcSwap;
use host::{
    committer::{self, Committer, CommitterError, CommitterOptions, SequencerFault, Writes},
    store::{MAX_VALUE_BYTES, Store},
};
use trust::{
    directory::LARGEST_ENTRY,
    log::{
        frontier::{Frontier, RestoreError},
        hash::{Hash, leaf_hash},
        tile::{TILE_WIDTH, TileCoordinate, TileSource, decode_tile, encode_tile},
    },
};

use super::{Append, Error, Keep, Later, Ledger, Position, ReadLimit, SignedHead};

/// The ledger on sled. Clones share it.
#[derive(Clone, Debug)]
pub struct SledLedger {
    committer: Committer<Writer>,
    durable: Arc<ArcSwap<Frontier>>,
    entries: Entries,
}

impl SledLedger {
    /// Opens the ledger in the store and checks that size and root still fit the entries at its end and the tiles.
    /// Blocks for a few milliseconds.
    ///
    /// `on_fatal` is called when the writer ends by itself; it must bring the process to its end.
    pub fn open(
        store: Store,
        options: CommitterOptions,
        on_fatal: impl FnOnce(CommitterError) + Send + 'static,
    ) -> Result<Self, Error> {
        let entries = Entries { store: store.clone() };
        let frontier = entries.restore()?;
        let durable = Arc::new(ArcSwap::from_pointee(frontier.clone()));
        let writer = Writer { frontier, durable: Arc::clone(&durable) };
        let committer = Committer::start(store, writer, options, on_fatal)?;
        Ok(Self { committer, durable, entries })
    }

    /// Commits what was submitted and lets go of the store.
    pub async fn close(&self) -> Result<(), Error> {
        Ok(self.committer.close().await?)
    }

    /// sled reads are quick, but a page may have to come from disk: off the threads that serve everybody.
    async fn reading<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Entries) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let entries = self.entries.clone();
        tokio::task::spawn_blocking(move || read(&entries)).await?
    }
}

impl Ledger for SledLedger {
    fn position(&self) -> Later<'_, Position> {
        Box::pin(async move {
            let frontier = self.durable.load();
            Ok(Position { size: frontier.size(), root: frontier.root() })
        })
    }

    fn append(&self, at_size: u64, entries: Vec<Vec<u8>>) -> Later<'_, Append> {
        Box::pin(async move {
            if let Some(entry) = entries.iter().find(|entry| entry.len() > LARGEST_ENTRY) {
                return Err(Error::EntryTooLong { length: entry.len() });
            }
            match self.committer.submit(Job::Append { at_size, entries }).await? {
                Done::Append(append) => Ok(append),
                Done::Kept => Err(Error::damaged("the writer mixed its answers up")),
            }
        })
    }

    fn read(&self, start: u64, limit: ReadLimit) -> Later<'_, Vec<Vec<u8>>> {
        Box::pin(async move {
            let size = self.durable.load().size();
            self.reading(move |entries| entries.read(start, size, limit)).await
        })
    }

    fn tile(&self, coordinate: TileCoordinate) -> Later<'_, Option<Vec<Hash>>> {
        Box::pin(async move {
            let frontier = self.durable.load_full();
            if !coordinate.is_in_tree(frontier.size()) {
                return Ok(None);
            }
            let width = usize::from(coordinate.width());
            let finished = (frontier.size() >> (8 * u32::from(coordinate.level()))) / u64::from(TILE_WIDTH);
            if coordinate.index() >= finished {
                let level = frontier.levels().nth(usize::from(coordinate.level()));
                return Ok(level.and_then(|hashes| hashes.get(..width)).map(<[Hash]>::to_vec));
            }
            self.reading(move |entries| {
                let mut hashes = entries.finished_tile(coordinate.level(), coordinate.index())?;
                hashes.truncate(width);
                Ok(Some(hashes))
            })
            .await
        })
    }

    fn checkpoint(&self) -> Later<'_, Option<String>> {
        Box::pin(self.reading(|entries| {
            let Some(note) = entries.value(CHECKPOINT_KEY)? else { return Ok(None) };
            String::from_utf8(note.to_vec()).map(Some).map_err(|_| Error::damaged("the checkpoint is no text"))
        }))
    }

    fn keep_checkpoint(&self, head: SignedHead) -> Later<'_, Keep> {
        Box::pin(async move {
            // One process has this folder, and it signs one checkpoint after the other.
            self.committer.submit(Job::KeepCheckpoint(head.note)).await?;
            Ok(Keep::Kept)
        })
    }

    fn cosignatures(&self) -> Later<'_, Vec<String>> {
        Box::pin(self.reading(|entries| {
            let kept = entries.store.db().scan_prefix([COSIGNATURE]);
            kept.map(|stored| {
                let (_, note) = stored.map_err(|error| entries.store.explain(error))?;
                String::from_utf8(note.to_vec()).map_err(|_| Error::damaged("a cosigned checkpoint is no text"))
            })
            .collect()
        }))
    }

    fn keep_cosignatures(&self, notes: Vec<(String, String)>) -> Later<'_, ()> {
        Box::pin(async move {
            self.committer.submit(Job::KeepCosignatures(notes)).await?;
            Ok(())
        })
    }

    fn mark(&self) -> Later<'_, Option<String>> {
        Box::pin(self.reading(|entries| {
            let Some(mark) = entries.value(MARK_KEY)? else { return Ok(None) };
            String::from_utf8(mark.to_vec()).map(Some).map_err(|_| Error::damaged("the mark is no text"))
        }))
    }

    fn set_mark(&self, mark: Option<String>) -> Later<'_, ()> {
        Box::pin(async move {
            self.committer.submit(Job::Mark(mark)).await?;
            Ok(())
        })
    }
}

const HEAD_KEY: &[u8] = b"h";
const CHECKPOINT_KEY: &[u8] = b"c";
const MARK_KEY: &[u8] = b"m";
const COSIGNATURE: u8 = b'w';
const HASHES_IN_A_PIECE: usize = 64;

fn entry_key(index: u64, piece: u8) -> Vec<u8> {
    let mut key = Vec::with_capacity(10);
    key.push(b'e');
    key.extend_from_slice(&index.to_be_bytes());
    key.push(piece);
    key
}

fn tile_key(level: u8, index: u64, piece: u8) -> Vec<u8> {
    let mut key = Vec::with_capacity(11);
    key.extend_from_slice(&[b't', level]);
    key.extend_from_slice(&index.to_be_bytes());
    key.push(piece);
    key
}

fn head_value(position: Position) -> Vec<u8> {
    [position.size.to_be_bytes().as_slice(), position.root.as_bytes()].concat()
}

/// The reading side.
#[derive(Clone, Debug)]
struct Entries {
    store: Store,
}

impl Entries {
    fn value(&self, key: &[u8]) -> Result<Option<::sled::IVec>, Error> {
        Ok(self.store.db().get(key).map_err(|error| self.store.explain(error))?)
    }

    fn read(&self, start: u64, size: u64, limit: ReadLimit) -> Result<Vec<Vec<u8>>, Error> {
        let mut entries: Vec<Vec<u8>> = Vec::new();
        if start >= size || limit.entries == 0 {
            return Ok(entries);
        }
        let mut bytes = 0_usize;
        for index in start..size {
            if entries.len() >= limit.entries || (bytes >= limit.bytes && !entries.is_empty()) {
                break;
            }
            let entry = self.entry(index)?;
            bytes = bytes.saturating_add(entry.len());
            entries.push(entry);
        }
        // An entry that would lead beyond the limit stays for the next read, unless it is the only one.
        if bytes > limit.bytes && entries.len() > 1 {
            entries.pop();
        }
        Ok(entries)
    }

    /// One entry, in passing: a ledger is read from its beginning whenever the registry starts.
    fn entry(&self, index: u64) -> Result<Vec<u8>, Error> {
        let mut entry = Vec::new();
        for piece in 0..=u8::MAX {
            match self.store.read_in_passing(&entry_key(index, piece))? {
                Some(bytes) => {
                    entry.extend_from_slice(&bytes);
                    if bytes.len() < MAX_VALUE_BYTES {
                        break;
                    }
                }
                None if piece == 0 => return Err(Error::damaged(format!("entry {index} is missing"))),
                None => break,
            }
        }
        Ok(entry)
    }

    fn finished_tile(&self, level: u8, index: u64) -> Result<Vec<Hash>, Error> {
        let mut bytes = Vec::with_capacity(usize::from(TILE_WIDTH) * 32);
        for piece in 0..4 {
            let stored = self.value(&tile_key(level, index, piece))?;
            let stored = stored.ok_or_else(|| Error::damaged(format!("tile {index} of level {level} is missing")))?;
            bytes.extend_from_slice(&stored);
        }
        decode_tile(&bytes, TILE_WIDTH).map_err(Error::damaged)
    }

    fn restore(&self) -> Result<Frontier, Error> {
        let Some(head) = self.value(HEAD_KEY)? else {
            return match self.store.db().scan_prefix(b"e").next() {
                None => Ok(Frontier::new()),
                Some(_) => Err(Error::damaged("its size is missing")),
            };
        };
        let malformed = || Error::damaged("its size and root cannot be read");
        let (size, root) = head.split_first_chunk::<8>().ok_or_else(malformed)?;
        let (size, root) = (u64::from_be_bytes(*size), <[u8; 32]>::try_from(root).map_err(|_| malformed())?);
        let frontier = Frontier::from_source(&self, size).map_err(|error| match error {
            RestoreError::Source(error) => error,
            error => Error::damaged(error),
        })?;
        if frontier.root() != Hash::from_bytes(root) {
            return Err(Error::damaged("its entries and tiles do not lead to its root"));
        }
        Ok(frontier)
    }
}

/// Computes tiles that are unfinished, as [`Entries::restore`] needs them, from what is below.
impl TileSource for &Entries {
    type Error = Error;

    fn tile(&self, level: u8, index: u64, width: u16) -> Result<Vec<Hash>, Error> {
        let first = index * u64::from(TILE_WIDTH);
        let after = first + u64::from(width);
        if level > 0 {
            return (first..after)
                .map(|below| {
                    let hashes = self.finished_tile(level - 1, below)?;
                    let mut tree = Frontier::new();
                    // A tile's 256 hashes are a perfect tree: the frontier computes its root whatever the leaves are.
                    hashes.into_iter().for_each(|hash| drop(tree.append(hash)));
                    Ok(tree.root())
                })
                .collect();
        }
        let entries = self.read(first, after, ReadLimit::entries(usize::from(width)))?;
        Ok(entries.iter().map(|entry| leaf_hash(entry)).collect())
    }
}

enum Job {
    Append { at_size: u64, entries: Vec<Vec<u8>> },
    KeepCheckpoint(String),
    KeepCosignatures(Vec<(String, String)>),
    Mark(Option<String>),
}

enum Done {
    Append(Append),
    Kept,
}

/// The writing side, on the writer's own thread.
#[derive(Debug)]
struct Writer {
    frontier: Frontier,
    durable: Arc<ArcSwap<Frontier>>,
}

impl committer::Sequencer for Writer {
    type Job = Job;
    type Done = Done;

    fn prepare(&mut self, jobs: Vec<Job>, writes: &mut Writes) -> Result<Vec<Done>, SequencerFault> {
        Ok(jobs.into_iter().map(|job| self.prepare_one(job, writes)).collect())
    }

    fn committed(&mut self) {
        self.durable.store(Arc::new(self.frontier.clone()));
    }
}

impl Writer {
    fn prepare_one(&mut self, job: Job, writes: &mut Writes) -> Done {
        let (at_size, entries) = match job {
            Job::Append { at_size, entries } => (at_size, entries),
            Job::KeepCheckpoint(note) => {
                writes.insert(CHECKPOINT_KEY, note.into_bytes());
                return Done::Kept;
            }
            Job::KeepCosignatures(notes) => {
                for (name, note) in notes {
                    writes.insert([&[COSIGNATURE], name.as_bytes()].concat(), note.into_bytes());
                }
                return Done::Kept;
            }
            Job::Mark(mark) => {
                match mark {
                    Some(mark) => writes.insert(MARK_KEY, mark.into_bytes()),
                    None => writes.remove(MARK_KEY),
                }
                return Done::Kept;
            }
        };
        if at_size != self.frontier.size() {
            return Done::Append(Append::Moved { size: self.frontier.size() });
        }
        for entry in entries {
            self.write_entry(&entry, writes);
        }
        let (size, root) = (self.frontier.size(), self.frontier.root());
        writes.insert(HEAD_KEY, head_value(Position { size, root }));
        Done::Append(Append::Appended { size, root })
    }

    fn write_entry(&mut self, entry: &[u8], writes: &mut Writes) {
        let index = self.frontier.size();
        // At most 65,535 bytes, so at most 16 pieces; an empty entry has one, which is empty.
        for piece in 0..entry.len().div_ceil(MAX_VALUE_BYTES).max(1) {
            let start = piece * MAX_VALUE_BYTES;
            let end = entry.len().min(start + MAX_VALUE_BYTES);
            writes.insert(entry_key(index, piece as u8), &entry[start..end]);
        }
        for tile in self.frontier.append(leaf_hash(entry)) {
            for (piece, hashes) in tile.hashes.chunks(HASHES_IN_A_PIECE).enumerate() {
                let key = tile_key(tile.coordinate.level(), tile.coordinate.index(), piece as u8);
                writes.insert(key, encode_tile(hashes));
            }
        }
    }
}

#[cfg(test)]
mod tests;
