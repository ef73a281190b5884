//! A journal in memory for tests, which fails where it is told to.
//!
//! Like the real one it never recovers from a failed commit: a test goes on with [`MemoryJournal::restarted`].

use std::{
    ops::ControlFlow,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;
use trust::{
    evidence::Entry,
    log::{
        frontier::Frontier,
        hash::Hash,
        proof::{consistency_proof, inclusion_proof},
        tile::TileSource,
    },
};

use super::{Commit, Committed, Journal, JournalError, Later, RecordHead, StoredEntry};

/// Where the next commit fails. Every later one fails too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is kept and acknowledged; only those after it fail.
    After,
    /// It is kept, and the caller gets an error.
    AfterPersisting,
    /// It is not kept, and the caller gets an error.
    Before,
}

/// The journal's double.
#[derive(Debug)]
pub(crate) struct MemoryJournal {
    state: Mutex<State>,
    held: watch::Sender<bool>,
}

#[derive(Clone, Debug, Default)]
struct State {
    records: Vec<(u64, Commit)>,
    entries: Vec<Entry>,
    fault: Option<Fault>,
    stopped: bool,
    forgotten: bool,
}

impl MemoryJournal {
    /// An empty journal.
    pub(crate) fn new() -> Self {
        Self::of(State::default())
    }

    fn of(state: State) -> Self {
        Self { state: Mutex::new(state), held: watch::Sender::new(false) }
    }

    /// What a process finds that starts after this one ended.
    pub(crate) fn restarted(&self) -> Self {
        let state = self.state();
        Self::of(State { fault: None, stopped: false, ..state.clone() })
    }

    /// The next commit fails there.
    pub(crate) fn fail_next(&self, fault: Fault) {
        self.state().fault = Some(fault);
    }

    /// Commits wait from now on, neither kept nor acknowledged, until [`MemoryJournal::release`].
    pub(crate) fn hold(&self) {
        self.held.send_replace(true);
    }

    /// Lets the commits that wait, and all after them, go on.
    pub(crate) fn release(&self) {
        self.held.send_replace(false);
    }

    /// As if the months' keys had been destroyed: no message can be read any more.
    pub(crate) fn forget_messages(&self) {
        self.state().forgotten = true;
    }

    /// Everything that was kept, in order.
    pub(crate) fn commits(&self) -> Vec<Commit> {
        self.state().records.iter().map(|(_, commit)| commit.clone()).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, commit: Commit) -> Result<Committed, JournalError> {
        let mut state = self.state();
        if !(1..=super::MOST_ENTRIES).contains(&commit.entries.len()) {
            return Err(JournalError::EntryCount { entries: commit.entries.len() });
        }
        let fault = state.fault.take();
        if state.stopped || fault == Some(Fault::Before) {
            state.stopped = true;
            return Err(JournalError::Injected);
        }
        let first_index = state.entries.len() as u64;
        let mut receipts = Vec::new();
        for new in &commit.entries {
            let index = state.entries.len() as u64;
            let mut salt = [0xA5; 32];
            salt[..8].copy_from_slice(&index.to_be_bytes());
            let entry = Entry { kind: new.kind, salt, envelope: new.digest };
            receipts.push(entry.receipt(index));
            state.entries.push(entry);
        }
        state.records.push((first_index, commit));
        state.stopped = fault.is_some();
        match fault {
            Some(Fault::AfterPersisting) => Err(JournalError::Injected),
            _ => Ok(Committed { first_index, receipts }),
        }
    }
}

impl Journal for MemoryJournal {
    fn commit(&self, commit: Commit) -> Later<'_, Committed> {
        Box::pin(async move {
            let mut held = self.held.subscribe();
            // An error means that the journal is gone, and this future with it.
            let _ = held.wait_for(|held| !*held).await;
            self.keep(commit)
        })
    }

    fn entry(&self, index: u64) -> Result<Option<StoredEntry>, JournalError> {
        let state = self.state();
        let Some(entry) = usize::try_from(index).ok().and_then(|position| state.entries.get(position)) else {
            return Ok(None);
        };
        let at = state.records.partition_point(|(first, _)| *first <= index) - 1;
        let (first, commit) = &state.records[at];
        let new = &commit.entries[(index - first) as usize];
        Ok(Some(StoredEntry {
            index,
            entry: *entry,
            message: (!state.forgotten).then(|| new.message.clone()),
            at_ms: commit.at_ms,
            about: commit.about,
            companions: *first..first + commit.entries.len() as u64,
        }))
    }

    fn newest(&self, since_ms: u64, visit: &mut dyn FnMut(RecordHead) -> ControlFlow<()>) -> Result<(), JournalError> {
        let records = self.state().records.clone();
        for (first_index, commit) in records.into_iter().rev().filter(|(_, commit)| commit.at_ms >= since_ms) {
            let head = RecordHead {
                first_index,
                at_ms: commit.at_ms,
                kinds: commit.entries.iter().map(|entry| entry.kind).collect(),
                digests: commit.entries.iter().map(|entry| entry.digest).collect(),
                about: commit.about,
                request: commit.request,
                idempotency: commit.idempotency,
                grant: commit.grant,
                officer: commit.officer,
                duty: commit.duty,
                uses: commit.uses,
            };
            if visit(head).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn head(&self) -> (u64, Hash) {
        let state = self.state();
        let root = root(state.entries.iter().map(Entry::leaf));
        (state.entries.len() as u64, root)
    }

    fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Hash>, JournalError> {
        let durable = self.size();
        if size > durable || index >= size {
            return Err(JournalError::OutsideLog { index, size, durable });
        }
        let leaves = Leaves(self.state().entries.iter().map(Entry::leaf).collect());
        Ok(inclusion_proof(&leaves, index, size).expect("the tree is as large as its size says"))
    }

    fn consistency(&self, old_size: u64, new_size: u64) -> Result<Vec<Hash>, JournalError> {
        let durable = self.size();
        if new_size > durable || old_size > new_size {
            return Err(JournalError::OutsideLog { index: old_size, size: new_size, durable });
        }
        let leaves = Leaves(self.state().entries.iter().map(Entry::leaf).collect());
        Ok(consistency_proof(&leaves, old_size, new_size).expect("the tree is as large as its size says"))
    }

    fn root_at(&self, size: u64) -> Result<Hash, JournalError> {
        let durable = self.size();
        if size > durable {
            return Err(JournalError::OutsideLog { index: size, size, durable });
        }
        Ok(root(self.state().entries.iter().map(Entry::leaf).take(size as usize)))
    }
}

/// The tiles over all leaves, computed when they are asked for.
struct Leaves(Vec<Hash>);

impl TileSource for Leaves {
    type Error = std::convert::Infallible;

    fn tile(&self, level: u8, index: u64, width: u16) -> Result<Vec<Hash>, Self::Error> {
        let below = 1_usize << (8 * usize::from(level));
        let first = index as usize * 256 * below;
        let subtrees = self.0[first..first + usize::from(width) * below].chunks(below);
        Ok(subtrees.map(|leaves| root(leaves.iter().copied())).collect())
    }
}

fn root(leaves: impl Iterator<Item = Hash>) -> Hash {
    let mut frontier = Frontier::new();
    leaves.for_each(|leaf| drop(frontier.append(leaf)));
    frontier.root()
}
