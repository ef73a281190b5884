//! How subjects lie in the store: many in one value.
//!
//! sled keeps at most 16 entries in a page and a page's place in memory, so a million small values would cost 60 MB and
//! a second to open. Neighbours in the order of their keys therefore share a block, stored under the first one's key; what
//! a subject has beyond one block goes on under its own key and a counter. Blocks are written once, in order.
//!
//! Layout: store key = subject key, a zero byte, counter (u32, big-endian); store value = entries of key (with its length),
//! [`State`], rows (with their length); rows = packed rows, each with its length.

use host::store::{Store, StoreError};

use crate::records::packed::{pack_slice, unpack_slice};

/// How full a block gets before the next begins: a page of sled then takes 8 to 16 KiB. Smaller blocks were seen to cost
/// memory for their pages (256 bytes: 155 MB for a million records in the cache), larger ones take longer to read.
const BLOCK_BYTES: usize = 1024;

/// The most bytes of rows in one value: well under the 4 KiB beyond which sled is not safe, key and lengths included.
const CHUNK_BYTES: usize = 3800;

/// How many blocks go into one batch. With every 512 flushed an import stays small in memory.
const BATCH: usize = 64;

/// What an entry says about its subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// These are the last of its rows.
    Complete,
    /// More rows follow under the next counter.
    Continues,
    /// Rows were set aside.
    Quarantined,
}

impl State {
    const fn code(self) -> u8 {
        match self {
            Self::Complete => 0,
            Self::Continues => 1,
            Self::Quarantined => 2,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        [Self::Complete, Self::Continues, Self::Quarantined].into_iter().find(|state| state.code() == code)
    }
}

/// What the store holds of a subject.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing.
    Nothing,
    /// Rows were set aside.
    Quarantined,
    /// Its rows, packed, each with its length.
    Rows(Vec<u8>),
}

/// Why a subject could not be looked up.
#[derive(Debug, thiserror::Error)]
pub(super) enum BlockError {
    /// The bytes are none that were written here.
    #[error("a block of the records is damaged")]
    Damaged,
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is stored of `subject`.
pub(super) fn find(store: &Store, subject: &[u8]) -> Result<Found, BlockError> {
    let block = store.db().range(..=store_key(subject, 0)).next_back();
    let Some((_, block)) = block.transpose().map_err(|error| store.explain(error))? else {
        return Ok(Found::Nothing);
    };
    let mut rest: &[u8] = &block;
    while !rest.is_empty() {
        let entry = entry(&mut rest).ok_or(BlockError::Damaged)?;
        match entry.subject.cmp(subject) {
            std::cmp::Ordering::Less => {}
            std::cmp::Ordering::Greater => return Ok(Found::Nothing),
            std::cmp::Ordering::Equal => {
                return match entry.state {
                    State::Complete => Ok(Found::Rows(entry.rows.to_vec())),
                    State::Quarantined => Ok(Found::Quarantined),
                    State::Continues => continued(store, subject, entry.rows.to_vec()),
                };
            }
        }
    }
    Ok(Found::Nothing)
}

fn continued(store: &Store, subject: &[u8], mut rows: Vec<u8>) -> Result<Found, BlockError> {
    for counter in 1.. {
        let chunk = store.db().get(store_key(subject, counter)).map_err(|error| store.explain(error))?;
        let chunk = chunk.ok_or(BlockError::Damaged)?;
        let entry = entry(&mut chunk.as_ref()).filter(|entry| entry.subject == subject).ok_or(BlockError::Damaged)?;
        rows.extend_from_slice(entry.rows);
        if entry.state == State::Complete {
            break;
        }
    }
    Ok(Found::Rows(rows))
}

/// Every subject with what is stored of it, in the order of their keys.
pub(super) struct Subjects<'a> {
    store: &'a Store,
    blocks: sled::Iter,
    block: sled::IVec,
    position: usize,
}

impl<'a> Subjects<'a> {
    pub(super) fn new(store: &'a Store) -> Self {
        Self { store, blocks: store.db().iter(), block: sled::IVec::default(), position: 0 }
    }

    fn entry(&mut self) -> Result<Option<OwnedEntry>, BlockError> {
        while self.position == self.block.len() {
            let Some(next) = self.blocks.next() else { return Ok(None) };
            let (_, block) = next.map_err(|error| self.store.explain(error))?;
            (self.block, self.position) = (block, 0);
        }
        let mut rest = &self.block[self.position..];
        let read = entry(&mut rest).ok_or(BlockError::Damaged)?;
        let read = (read.subject.to_vec(), read.state, read.rows.to_vec());
        self.position = self.block.len() - rest.len();
        Ok(Some(read))
    }

    /// The next one.
    pub(super) fn next(&mut self) -> Result<Option<(Vec<u8>, Found)>, BlockError> {
        let Some((subject, mut state, mut rows)) = self.entry()? else { return Ok(None) };
        while state == State::Continues {
            let (next, next_state, more) = self.entry()?.ok_or(BlockError::Damaged)?;
            if next != subject {
                return Err(BlockError::Damaged);
            }
            rows.extend_from_slice(&more);
            state = next_state;
        }
        Ok(Some((subject, if state == State::Quarantined { Found::Quarantined } else { Found::Rows(rows) })))
    }
}

/// An entry's subject, state and rows.
type OwnedEntry = (Vec<u8>, State, Vec<u8>);

struct Entry<'a> {
    subject: &'a [u8],
    state: State,
    rows: &'a [u8],
}

fn entry<'a>(bytes: &mut &'a [u8]) -> Option<Entry<'a>> {
    let subject = unpack_slice(bytes)?;
    let (state, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(Entry { subject, state: State::from_code(*state)?, rows: unpack_slice(bytes)? })
}

fn store_key(subject: &[u8], counter: u32) -> Vec<u8> {
    [subject, &[0], &counter.to_be_bytes()].concat()
}

/// Writes subjects, which must come in the order of their keys, each once.
pub(in crate::records) struct BlockWriter {
    store: Store,
    first: Vec<u8>,
    block: Vec<u8>,
    batch: sled::Batch,
    batched: usize,
    unflushed: usize,
}

impl BlockWriter {
    /// A writer into an empty store.
    pub(in crate::records) fn new(store: Store) -> Self {
        let batch = sled::Batch::default();
        Self { store, first: Vec::new(), block: Vec::new(), batch, batched: 0, unflushed: 0 }
    }

    /// Writes the rows of `subject`, packed and each with its length.
    pub(in crate::records) fn rows(&mut self, subject: &[u8], rows: &[u8]) -> Result<(), StoreError> {
        if rows.len() <= CHUNK_BYTES {
            return self.entry(subject, State::Complete, rows);
        }
        self.end_block()?;
        let chunks = rows.chunks(CHUNK_BYTES).collect::<Vec<_>>();
        for (counter, chunk) in (0_u32..).zip(&chunks) {
            let is_last = counter as usize + 1 == chunks.len();
            let mut value = Vec::with_capacity(CHUNK_BYTES + subject.len() + 8);
            pack_entry(subject, if is_last { State::Complete } else { State::Continues }, chunk, &mut value);
            self.value(store_key(subject, counter), value)?;
        }
        Ok(())
    }

    /// Writes that rows of `subject` were set aside.
    pub(in crate::records) fn quarantined(&mut self, subject: &[u8]) -> Result<(), StoreError> {
        self.entry(subject, State::Quarantined, &[])
    }

    /// Makes all of it durable.
    pub(in crate::records) fn finish(mut self) -> Result<(), StoreError> {
        self.end_block()?;
        self.apply()?;
        self.store.persist()
    }

    fn entry(&mut self, subject: &[u8], state: State, rows: &[u8]) -> Result<(), StoreError> {
        if !self.block.is_empty() && self.block.len() + subject.len() + rows.len() > BLOCK_BYTES {
            self.end_block()?;
        }
        if self.block.is_empty() {
            self.first = subject.to_vec();
        }
        pack_entry(subject, state, rows, &mut self.block);
        Ok(())
    }

    fn end_block(&mut self) -> Result<(), StoreError> {
        if self.block.is_empty() {
            return Ok(());
        }
        let value = std::mem::take(&mut self.block);
        self.value(store_key(&self.first, 0), value)
    }

    fn value(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<(), StoreError> {
        self.batch.insert(key, value);
        self.batched += 1;
        if self.batched < BATCH { Ok(()) } else { self.apply() }
    }

    fn apply(&mut self) -> Result<(), StoreError> {
        let db = self.store.db();
        db.apply_batch(std::mem::take(&mut self.batch)).map_err(|error| self.store.explain(error))?;
        self.unflushed += std::mem::take(&mut self.batched);
        if self.unflushed >= 512 {
            // Not for durability, which `finish` brings: what is not flushed piles up in memory.
            db.flush().map_err(|error| self.store.explain(error))?;
            self.unflushed = 0;
        }
        Ok(())
    }
}

fn pack_entry(subject: &[u8], state: State, rows: &[u8], out: &mut Vec<u8>) {
    pack_slice(subject, out);
    out.push(state.code());
    pack_slice(rows, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_found_in_their_blocks() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), 1 << 20).unwrap();
        let mut writer = BlockWriter::new(store.clone());
        let key = |number: usize| format!("\u{0}{number:06}").into_bytes();
        let rows = |number: usize| vec![b'r'; if number % 100 == 7 { number * 10 } else { number % 300 }];
        for number in (0..2_000).map(|number| number * 2) {
            match number % 10 {
                4 => writer.quarantined(&key(number)).unwrap(),
                _ => writer.rows(&key(number), &rows(number)).unwrap(),
            }
        }
        // A subject with more than a block holds, and one right after it.
        writer.rows(&key(5_000), &rows(5_007)).unwrap();
        writer.rows(&key(5_001), b"after").unwrap();
        writer.finish().unwrap();
        for number in 0..4_000 {
            let expected = match number {
                number if number % 2 == 1 => Found::Nothing,
                number if number % 10 == 4 => Found::Quarantined,
                number => Found::Rows(rows(number)),
            };
            assert!(find(&store, &key(number)).unwrap() == expected, "{number}");
        }
        assert!(find(&store, &key(5_000)).unwrap() == Found::Rows(rows(5_007)));
        assert!(find(&store, &key(5_001)).unwrap() == Found::Rows(b"after".to_vec()));
        for nobody in [b"".as_slice(), b"\x00", b"\x00000000x", b"\x00005000x", b"\x00005002", b"\x01", b"\xff"] {
            assert!(find(&store, nobody).unwrap() == Found::Nothing, "{nobody:?}");
        }
        let longest = store.db().iter().map(|entry| entry.unwrap().1.len()).max().unwrap();
        assert!((CHUNK_BYTES..=host::store::MAX_VALUE_BYTES).contains(&longest), "{longest}");
    }

    #[test]
    fn a_block_that_is_cut_is_damage() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), 1 << 20).unwrap();
        let mut writer = BlockWriter::new(store.clone());
        writer.rows(b"\0a", b"rows").unwrap();
        writer.finish().unwrap();
        let (key, value) = store.db().first().unwrap().unwrap();
        store.db().insert(key, &value[..value.len() - 1]).unwrap();
        assert!(matches!(find(&store, b"\0a"), Err(BlockError::Damaged)));
    }
}
