//! What the journal's one writer does on its thread: it gives records their places in the log.
//!
//! Everything that can be computed before the place is known (encryption, salts, leaf hashes) has been by then. Out of
//! scope: making it durable, which is the committer's.

use std::sync::Arc;

use arc_swap::ArcSwap;
use host::{
    committer::{Sequencer, SequencerFault, Writes},
    store::MAX_VALUE_BYTES,
};
use trust::log::{frontier::Frontier, hash::Hash, tile::encode_tile};

use super::{
    MOST_ENTRIES,
    month_store::{HASHES_IN_A_PIECE, group_end_key, group_end_value, heads_key, payload_key, tile_key},
    record::Sealed,
};

/// A tree with its root, computed once for all who ask.
#[derive(Debug)]
pub(super) struct Durable {
    pub(super) tree: Frontier,
    pub(super) root: Hash,
}

impl Durable {
    pub(super) fn new(tree: Frontier) -> Self {
        Self { root: tree.root(), tree }
    }
}

/// A record to be written.
#[derive(Debug)]
pub(super) struct Job {
    record: Sealed,
    leaves: [Hash; MOST_ENTRIES],
}

impl Job {
    pub(super) fn new(record: Sealed) -> Self {
        let mut leaves = [Hash::from_bytes([0; 32]); MOST_ENTRIES];
        for (leaf, entry) in leaves.iter_mut().zip(record.entries.as_slice()) {
            *leaf = entry.leaf();
        }
        Self { record, leaves }
    }
}

/// The writer of one month.
#[derive(Debug)]
pub(super) struct Writer {
    tree: Frontier,
    root: Hash,
    durable: Arc<ArcSwap<Durable>>,
}

impl Writer {
    /// Goes on with `tree`; `durable` is what readers see.
    pub(super) fn new(tree: Frontier, durable: Arc<ArcSwap<Durable>>) -> Self {
        Self { root: tree.root(), tree, durable }
    }

    fn write(&mut self, job: &Job, heads: &mut Heads, writes: &mut Writes) -> u64 {
        let first_index = self.tree.size();
        heads.add(first_index, job.record.head(), writes);
        for (piece, bytes) in job.record.payload().chunks(MAX_VALUE_BYTES).enumerate() {
            // MOST_MESSAGE_BYTES sees to it that there are a few thousand pieces at most.
            writes.insert(payload_key(first_index, piece as u32), bytes);
        }
        for leaf in &job.leaves[..job.record.entries.as_slice().len()] {
            for tile in self.tree.append(*leaf) {
                for (piece, hashes) in tile.hashes.chunks(HASHES_IN_A_PIECE).enumerate() {
                    let key = tile_key(tile.coordinate.level(), tile.coordinate.index(), piece as u8);
                    writes.insert(&key, encode_tile(hashes));
                }
            }
        }
        first_index
    }
}

/// Heads gathered into values.
#[derive(Debug, Default)]
struct Heads {
    first_index: u64,
    value: Vec<u8>,
}

impl Heads {
    fn add(&mut self, first_index: u64, head: &[u8], writes: &mut Writes) {
        if self.value.len() + 2 + head.len() > MAX_VALUE_BYTES {
            self.write(writes);
        }
        if self.value.is_empty() {
            self.first_index = first_index;
        }
        // A head has at most LONGEST_HEAD bytes.
        self.value.extend_from_slice(&(head.len() as u16).to_be_bytes());
        self.value.extend_from_slice(head);
    }

    fn write(&mut self, writes: &mut Writes) {
        if !self.value.is_empty() {
            writes.insert(&heads_key(self.first_index), self.value.as_slice());
            self.value.clear();
        }
    }
}

impl Sequencer for Writer {
    type Job = Job;
    /// The index of the record's first entry.
    type Done = u64;

    fn prepare(&mut self, jobs: Vec<Job>, writes: &mut Writes) -> Result<Vec<u64>, SequencerFault> {
        let mut heads = Heads::default();
        let done = jobs.iter().map(|job| self.write(job, &mut heads, writes)).collect();
        heads.write(writes);
        let size = self.tree.size();
        self.root = self.tree.root();
        // The committer never gives an empty group, and a job has at least one entry.
        writes.insert(&group_end_key(size.saturating_sub(1)), group_end_value(size, &self.root).as_slice());
        Ok(done)
    }

    fn committed(&mut self) {
        self.durable.store(Arc::new(Durable { tree: self.tree.clone(), root: self.root }));
    }
}
