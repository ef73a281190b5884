//! The test double: a ledger in memory that fails where a test says, and in which a second writer can get ahead.

use std::sync::{Arc, Mutex};

use trust::log::{
    frontier::Frontier,
    hash::{Hash, leaf_hash},
    tile::TileCoordinate,
};

use super::{Append, Error, Keep, Later, Ledger, Position, ReadLimit, SignedHead};

/// Where the next append fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing was stored.
    Before,
    /// It was stored, and the caller is not told.
    AfterPersist,
    /// Nothing was stored, and the store is away.
    AwayBefore,
    /// It was stored, and then the store was away.
    AwayAfterPersist,
}

#[derive(Default)]
struct State {
    entries: Vec<Vec<u8>>,
    checkpoint: Option<String>,
    /// What it says: size and time.
    kept: (u64, u64),
    cosignatures: std::collections::BTreeMap<String, String>,
    mark: Option<String>,
    fault: Option<Fault>,
    away: bool,
    /// Entries that another writer appends just before our next append.
    overtaking: Vec<Vec<u8>>,
}

/// Clones share one log, as several registries share one database.
#[derive(Clone, Default)]
pub(crate) struct MemoryLedger {
    state: Arc<Mutex<State>>,
}

impl MemoryLedger {
    pub(crate) fn fail_next(&self, fault: Fault) {
        self.state.lock().unwrap().fault = Some(fault);
    }

    pub(crate) fn overtake_with(&self, entry: Vec<u8>) {
        self.state.lock().unwrap().overtaking.push(entry);
    }

    pub(crate) fn entries(&self) -> Vec<Vec<u8>> {
        self.state.lock().unwrap().entries.clone()
    }

    /// Takes the store away, or brings it back.
    pub(crate) fn set_away(&self, away: bool) {
        self.state.lock().unwrap().away = away;
    }

    fn now<'a, T: Send + 'a>(&self, act: impl FnOnce(&mut State) -> Result<T, Error>) -> Later<'a, T> {
        let mut state = self.state.lock().unwrap();
        let outcome = if state.away { Err(away()) } else { act(&mut state) };
        Box::pin(async move { outcome })
    }
}

fn away() -> Error {
    Error::Away { reason: "a test took it away".to_owned() }
}

fn position(entries: &[Vec<u8>]) -> Position {
    let mut frontier = Frontier::new();
    entries.iter().for_each(|entry| drop(frontier.append(leaf_hash(entry))));
    Position { size: frontier.size(), root: frontier.root() }
}

impl Ledger for MemoryLedger {
    fn position(&self) -> Later<'_, Position> {
        self.now(|state| Ok(position(&state.entries)))
    }

    fn append(&self, at_size: u64, entries: Vec<Vec<u8>>) -> Later<'_, Append> {
        self.now(|state| {
            let overtaking = std::mem::take(&mut state.overtaking);
            state.entries.extend(overtaking);
            let fault = state.fault.take();
            match fault {
                Some(Fault::Before) => return Err(Error::Injected),
                Some(Fault::AwayBefore) => return Err(away()),
                _ => {}
            }
            if at_size != state.entries.len() as u64 {
                return Ok(Append::Moved { size: state.entries.len() as u64 });
            }
            state.entries.extend(entries);
            match fault {
                Some(Fault::AfterPersist) => return Err(Error::Injected),
                Some(Fault::AwayAfterPersist) => return Err(away()),
                _ => {}
            }
            let Position { size, root } = position(&state.entries);
            Ok(Append::Appended { size, root })
        })
    }

    fn read(&self, start: u64, limit: ReadLimit) -> Later<'_, Vec<Vec<u8>>> {
        self.now(|state| {
            let start = usize::try_from(start).unwrap().min(state.entries.len());
            Ok(state.entries[start..].iter().take(limit.entries).cloned().collect())
        })
    }

    fn tile(&self, coordinate: TileCoordinate) -> Later<'_, Option<Vec<Hash>>> {
        self.now(|state| {
            // Enough for the trees of tests: level 0 alone.
            assert_eq!(coordinate.level(), 0);
            let first = usize::try_from(coordinate.index()).unwrap() * 256;
            let hashes = state.entries.get(first..first + usize::from(coordinate.width()));
            Ok(hashes.map(|entries| entries.iter().map(|entry| leaf_hash(entry)).collect()))
        })
    }

    fn checkpoint(&self) -> Later<'_, Option<String>> {
        self.now(|state| Ok(state.checkpoint.clone()))
    }

    fn keep_checkpoint(&self, head: SignedHead) -> Later<'_, Keep> {
        self.now(|state| {
            if state.kept > (head.size, head.time_seconds) {
                return Ok(Keep::Superseded);
            }
            state.kept = (head.size, head.time_seconds);
            state.checkpoint = Some(head.note);
            Ok(Keep::Kept)
        })
    }

    fn cosignatures(&self) -> Later<'_, Vec<String>> {
        self.now(|state| Ok(state.cosignatures.values().cloned().collect()))
    }

    fn keep_cosignatures(&self, notes: Vec<(String, String)>) -> Later<'_, ()> {
        self.now(|state| {
            state.cosignatures.extend(notes);
            Ok(())
        })
    }

    fn mark(&self) -> Later<'_, Option<String>> {
        self.now(|state| Ok(state.mark.clone()))
    }

    fn set_mark(&self, mark: Option<String>) -> Later<'_, ()> {
        self.now(|state| {
            state.mark = mark;
            Ok(())
        })
    }
}
