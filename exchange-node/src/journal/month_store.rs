//! One month of the journal in its sled database: the keys and values, and how they are read.
//!
//! All in one tree, so that a group of commits is one atomic batch (numbers big-endian, pieces counted from 0):
//!
//! | key | value |
//! |---|---|
//! | `b` piece | where the month begins: the tree so far, and the months before |
//! | `h` index 0 | heads of consecutive records, the first of them at this index: each its length in 2 bytes, then itself |
//! | `h` index 255 | after each group: size and root of the tree, the index being the group's last |
//! | `p` index piece | up to 4,096 bytes of the payload of the record whose first entry has this index; from piece 255 on the byte 255 and four of the number |
//! | `t` level index piece | 64 hashes of a tile that was finished in this month |
//!
//! **Invariant:** keys are written in order and never again. An end of the log under a fixed key would be simpler, and
//! would make sled rewrite a page of records for each group; so each group leaves its own, and the last is the month's.
//!
//! Heads stand apart from payloads, many in a value, because a start reads those of a whole day: sled keeps the first
//! 16,384 pages that are touched in memory whatever its cache may be, and with payloads they were 160 MB.
//!
//! Unfinished tiles are not stored: they follow from the beginning, the finished tiles and the heads.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use host::store::{MAX_VALUE_BYTES, Store};
use trust::log::{
    frontier::Frontier,
    hash::{HASH_LENGTH, Hash},
    tile::{TILE_WIDTH, TileSource, decode_tile},
};

use super::{JournalError, Month, month_beginning::Beginning, record::Head};

/// How many hashes of a finished tile stand in one value.
pub(super) const HASHES_IN_A_PIECE: usize = 64;

/// An open month.
#[derive(Debug)]
pub(super) struct MonthStore {
    month: Month,
    store: Store,
}

/// What stands under an `h` key.
#[derive(Debug)]
pub(super) enum Item<'a> {
    /// What a group left: the tree after it.
    GroupEnd { size: u64, root: Hash },
    /// A record's head, and the index of its first entry.
    Head(u64, &'a Head<'a>),
}

impl MonthStore {
    /// Opens the month's database in `folder`, made if it is missing.
    pub(super) fn open(month: Month, folder: &Path, cache_bytes: u64) -> Result<Self, JournalError> {
        Ok(Self { month, store: Store::open(folder, cache_bytes)? })
    }

    pub(super) fn month(&self) -> Month {
        self.month
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    pub(super) fn damaged(&self, reason: impl ToString) -> JournalError {
        JournalError::Damaged { month: self.month, reason: reason.to_string() }
    }

    /// Reads the database. sled panics on some kinds of damage where it should return an error.
    fn read<T>(&self, read: impl FnOnce(&sled::Db) -> sled::Result<T>) -> Result<T, JournalError> {
        match catch_unwind(AssertUnwindSafe(|| read(self.store.db()))) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(self.store.explain(error).into()),
            Err(_) => Err(self.damaged("the store cannot read its own file")),
        }
    }

    /// Where the month begins; `None` for a month that was opened and never begun.
    pub(super) fn beginning(&self) -> Result<Option<Beginning>, JournalError> {
        let pieces = self.read(|db| db.scan_prefix([BEGINNING]).values().collect::<sled::Result<Vec<_>>>())?;
        if pieces.is_empty() {
            return match self.read(|db| Ok(db.is_empty()))? {
                true => Ok(None),
                false => Err(self.damaged("its beginning is missing")),
            };
        }
        Beginning::read(&pieces.concat()).map(Some).map_err(|error| self.damaged(error))
    }

    /// Writes the month's beginning and makes it durable. Only for a month that has none.
    pub(super) fn begin(&self, beginning: &Beginning) -> Result<(), JournalError> {
        let mut batch = sled::Batch::default();
        for (piece, value) in beginning.to_bytes().chunks(MAX_VALUE_BYTES).enumerate() {
            // A beginning has at most 8 unfinished tiles and a few hundred months: fewer than 32 pieces.
            batch.insert(&[BEGINNING, piece as u8], value);
        }
        self.read(|db| db.apply_batch(batch))?;
        Ok(self.store.persist()?)
    }

    /// Size and root after the last group; `None` if there was none in this month yet.
    pub(super) fn last_group_end(&self) -> Result<Option<(u64, Hash)>, JournalError> {
        let Some((key, value)) = self.read(|db| db.range(HEADS).next_back().transpose())? else { return Ok(None) };
        match self.parse_key(&key)? {
            (last_index, GROUP_END) => self.parse_group_end(last_index, &value).map(Some),
            (index, _) => Err(self.damaged(format!("what follows entry {index} is missing"))),
        }
    }

    /// Visits the head of the record that has the entry `index`.
    pub(super) fn head_of<T>(
        &self,
        index: u64,
        visit: impl FnOnce(u64, Head<'_>) -> Result<T, JournalError>,
    ) -> Result<T, JournalError> {
        let missing = || self.damaged(format!("entry {index} is missing"));
        let up_to = heads_key(0)..=heads_key(index);
        let (key, value) = self.read(|db| db.range(up_to).next_back().transpose())?.ok_or_else(missing)?;
        let (mut first_index, kind) = self.parse_key(&key)?;
        let mut rest = value.as_ref();
        while kind == SOME_HEADS && !rest.is_empty() {
            let head = self.next_head(first_index, &mut rest)?;
            let after = first_index + head.entries.as_slice().len() as u64;
            if index < after {
                return visit(first_index, head);
            }
            first_index = after;
        }
        Err(missing())
    }

    /// The payload of the record whose first entry is `first_index`.
    pub(super) fn payload(&self, first_index: u64) -> Result<Vec<u8>, JournalError> {
        let mut payload = Vec::new();
        for piece in 0..=MOST_PIECES {
            match self.read(|db| db.get(payload_key(first_index, piece)))? {
                Some(stored) => {
                    payload.extend_from_slice(&stored);
                    // A shorter piece is the last; after one that is full there may be none.
                    if stored.len() < MAX_VALUE_BYTES {
                        break;
                    }
                }
                None if piece > 0 => break,
                None => return Err(self.damaged(format!("the messages of entry {first_index} are missing"))),
            }
        }
        Ok(payload)
    }

    /// Visits heads and ends of groups in order, from the value that has the head of the entry `start` on, until `visit`
    /// says no.
    pub(super) fn forward(
        &self,
        start: u64,
        visit: &mut dyn FnMut(Item<'_>) -> Result<bool, JournalError>,
    ) -> Result<(), JournalError> {
        let first = self.read(|db| db.range(heads_key(0)..=heads_key(start)).next_back().transpose())?;
        let from = first.map_or(sled::IVec::from(&heads_key(0)), |(key, _)| key);
        let mut items = self.read(|db| Ok(db.range(from.as_ref()..HEADS.end)))?;
        while let Some((key, value)) = self.read(|_| items.next().transpose())? {
            let (mut index, kind) = self.parse_key(&key)?;
            if kind == GROUP_END {
                let (size, root) = self.parse_group_end(index, &value)?;
                if !visit(Item::GroupEnd { size, root })? {
                    return Ok(());
                }
                continue;
            }
            let mut rest = value.as_ref();
            while !rest.is_empty() {
                let head = self.next_head(index, &mut rest)?;
                let first_index = index;
                index += head.entries.as_slice().len() as u64;
                if !visit(Item::Head(first_index, &head))? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Visits the heads of records below `end`, which is the end of a group, the newest first, until `visit` says no.
    pub(super) fn backward(
        &self,
        end: u64,
        visit: &mut dyn FnMut(u64, Head<'_>) -> Result<bool, JournalError>,
    ) -> Result<(), JournalError> {
        let mut items = self.read(|db| Ok(db.range(heads_key(0)..heads_key(end)).rev()))?;
        while let Some((key, value)) = self.read(|_| items.next().transpose())? {
            let (mut index, kind) = self.parse_key(&key)?;
            if kind == GROUP_END {
                continue;
            }
            let mut rest = value.as_ref();
            let mut heads = Vec::new();
            while !rest.is_empty() {
                let head = self.next_head(index, &mut rest)?;
                let first_index = index;
                index += head.entries.as_slice().len() as u64;
                heads.push((first_index, head));
            }
            for (first_index, head) in heads.into_iter().rev() {
                if !visit(first_index, head)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The first `width` hashes of a tile that was finished in this month.
    pub(super) fn finished_tile(&self, level: u8, index: u64, width: u16) -> Result<Vec<Hash>, JournalError> {
        let mut bytes = Vec::with_capacity(usize::from(width) * HASH_LENGTH);
        for piece in 0..usize::from(width).div_ceil(HASHES_IN_A_PIECE) {
            let stored = self.read(|db| db.get(tile_key(level, index, piece as u8)))?;
            let stored = stored.ok_or_else(|| self.damaged(format!("tile {index} of level {level} is missing")))?;
            bytes.extend_from_slice(&stored);
        }
        bytes.truncate(usize::from(width) * HASH_LENGTH);
        decode_tile(&bytes, width).map_err(|error| self.damaged(format!("tile {index} of level {level}: {error}")))
    }

    /// Visits every key and value of the tree of the first `size` entries, which is the end of a group: what a copy of the
    /// month has, while it is written on. False where `visit` said no.
    pub(super) fn pairs(&self, size: u64, visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<bool, JournalError> {
        let mut items = self.read(|db| Ok(db.iter()))?;
        while let Some((key, value)) = self.read(|_| items.next().transpose())? {
            if self.is_within(&key, size)? && !visit(&key, &value) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn is_within(&self, key: &[u8], size: u64) -> Result<bool, JournalError> {
        Ok(match key {
            [BEGINNING, ..] => true,
            [b'h' | b'p', ..] => self.parse_key(key)?.0 < size,
            [b't', level, rest @ ..] => {
                let index = rest.first_chunk::<8>().ok_or_else(|| self.damaged("a key cannot be read"))?;
                // The tile was finished when the tree reached its end.
                let end = u128::from(u64::from_be_bytes(*index)) + 1;
                let shift = 8 * (u32::from(*level) + 1);
                shift < 64 && end << shift <= u128::from(size)
            }
            _ => return Err(self.damaged("a key cannot be read")),
        })
    }

    /// The tree as it is at the month's end, and a check that records and tiles lead to the root that was durable.
    pub(super) fn restore(&self, beginning: &Beginning) -> Result<Frontier, JournalError> {
        let Some((size, root)) = self.last_group_end()? else { return Ok(beginning.tree.clone()) };
        let source = Restoring { month: self, beginning };
        let tree = Frontier::from_source(&source, size).map_err(|error| match error {
            trust::log::frontier::RestoreError::Source(TileError(error)) => error,
            other => self.damaged(other),
        })?;
        if tree.root() != root {
            return Err(self.damaged("its records and tiles do not lead to its root"));
        }
        Ok(tree)
    }

    fn parse_key(&self, key: &[u8]) -> Result<(u64, u8), JournalError> {
        let parts = key.split_first().and_then(|(_, rest)| rest.split_first_chunk::<8>());
        match parts {
            Some((index, [piece])) => Ok((u64::from_be_bytes(*index), *piece)),
            Some((index, [FURTHER_PIECES, _, _, _, _])) => Ok((u64::from_be_bytes(*index), FURTHER_PIECES)),
            _ => Err(self.damaged("a key cannot be read")),
        }
    }

    /// Takes the next head off a value, the one of the record whose first entry is `first_index`.
    fn next_head<'a>(&self, first_index: u64, rest: &mut &'a [u8]) -> Result<Head<'a>, JournalError> {
        let taken = rest.split_first_chunk::<2>().and_then(|(length, heads)| {
            let (head, after) = heads.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
            *rest = after;
            Some(head)
        });
        Head::read(taken.unwrap_or_default()).map_err(|error| self.damaged(format!("entry {first_index}: {error}")))
    }

    fn parse_group_end(&self, last_index: u64, value: &[u8]) -> Result<(u64, Hash), JournalError> {
        let parts = value.split_first_chunk::<8>().and_then(|(size, root)| Some((size, Hash::try_from(root).ok()?)));
        match parts.map(|(size, root)| (u64::from_be_bytes(*size), root)) {
            Some((size, root)) if last_index.checked_add(1) == Some(size) => Ok((size, root)),
            _ => Err(self.damaged(format!("size and root after entry {last_index} cannot be read"))),
        }
    }
}

/// Computes the unfinished tiles at the month's end.
struct Restoring<'a> {
    month: &'a MonthStore,
    beginning: &'a Beginning,
}

impl TileSource for Restoring<'_> {
    type Error = TileError;

    fn tile(&self, level: u8, index: u64, width: u16) -> Result<Vec<Hash>, TileError> {
        let first = index * u64::from(TILE_WIDTH);
        let after = first + u64::from(width);
        // The tile has grown since the month began, or began since; it was not finished when the month began.
        let before = (self.beginning.tree.size() >> (8 * u32::from(level))).clamp(first, after);
        let mut hashes = match before - first {
            0 => Vec::new(),
            known => {
                let known = usize::try_from(known).unwrap_or(usize::MAX);
                let begun = self.beginning.tree.levels().nth(usize::from(level)).and_then(|hashes| hashes.get(..known));
                begun.ok_or_else(|| TileError(self.month.damaged("its beginning does not fit its size")))?.to_vec()
            }
        };
        if level > 0 {
            for below in before..after {
                hashes.push(perfect_root(self.month.finished_tile(level - 1, below, TILE_WIDTH)?));
            }
        } else if before < after {
            self.month.forward(before, &mut |item| {
                let Item::Head(first_index, head) = item else { return Ok(true) };
                for (index, entry) in (first_index..).zip(head.entries.as_slice()) {
                    if (before..after).contains(&index) {
                        hashes.push(entry.leaf());
                    }
                }
                Ok(hashes.len() < usize::from(width))
            })?;
        }
        Ok(hashes)
    }
}

/// The journal's error as a source of tiles gives it.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(super) struct TileError(#[from] pub(super) JournalError);

/// The root over a finished tile's hashes, whatever they are the hashes of.
fn perfect_root(hashes: Vec<Hash>) -> Hash {
    let mut tree = Frontier::new();
    hashes.into_iter().for_each(|hash| drop(tree.append(hash)));
    tree.root()
}

/// The key of the heads of records from the one whose first entry is `index`.
pub(super) fn heads_key(index: u64) -> [u8; 10] {
    index_key(b'h', index, SOME_HEADS)
}

/// The key of what the group that ends with the entry `last_index` leaves.
pub(super) fn group_end_key(last_index: u64) -> [u8; 10] {
    index_key(b'h', last_index, GROUP_END)
}

/// The key of a piece of the payload of the record whose first entry is `index`. From the 255th on its number is four bytes
/// more: few records have so many.
pub(super) fn payload_key(index: u64, piece: u32) -> sled::IVec {
    match u8::try_from(piece) {
        Ok(piece) if piece < FURTHER_PIECES => index_key(b'p', index, piece).as_slice().into(),
        _ => {
            let mut key = [0; 14];
            key[..10].copy_from_slice(&index_key(b'p', index, FURTHER_PIECES));
            key[10..].copy_from_slice(&piece.to_be_bytes());
            key.as_slice().into()
        }
    }
}

fn index_key(prefix: u8, index: u64, last: u8) -> [u8; 10] {
    let mut key = [prefix; 10];
    key[1..9].copy_from_slice(&index.to_be_bytes());
    key[9] = last;
    key
}

/// What a group leaves.
pub(super) fn group_end_value(size: u64, root: &Hash) -> [u8; 40] {
    let mut value = [0; 40];
    value[..8].copy_from_slice(&size.to_be_bytes());
    value[8..].copy_from_slice(root.as_bytes());
    value
}

/// The key of a piece of a finished tile.
pub(super) fn tile_key(level: u8, index: u64, piece: u8) -> [u8; 11] {
    let mut key = [b't'; 11];
    key[1] = level;
    key[2..10].copy_from_slice(&index.to_be_bytes());
    key[10] = piece;
    key
}

const BEGINNING: u8 = b'b';
/// The last byte of the first ten of a `p` key, where four more follow.
const FURTHER_PIECES: u8 = u8::MAX;
/// More than any record has.
const MOST_PIECES: u32 = 8192;
const HEADS: std::ops::Range<&[u8]> = b"h".as_slice()..b"i".as_slice();
/// The last byte of an `h` key.
const SOME_HEADS: u8 = 0;
/// The last byte of an `h` key: after all heads of the group.
const GROUP_END: u8 = u8::MAX;
