//! The whole second log, read again: every entry is a checkpoint or an overdue answer that a key of its node signed, each
//! evidence log only grows, and the log leads to what the directory took. Where it is asked to, the nodes themselves show that
//! each checkpoint continues the one before.

use std::collections::{HashMap, HashSet};

use trust::{
    anchor::{self, Revoked},
    ids::Digest,
    log::{frontier::Frontier, hash::Hash, hash::leaf_hash},
    overdue,
};

use super::{Anchors, CHUNK, Error};
use crate::ledger::ReadLimit;

/// What contradicts itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contradiction {
    /// The entry of the second log.
    pub index: u64,
    /// What is wrong with it.
    pub what: String,
}

/// What a full reading found.
#[derive(Clone, Debug, Default)]
pub struct Verified {
    /// How many entries were read.
    pub entries: u64,
    /// The checkpoints of each evidence log in order: size and root. Only neighbours that differ.
    pub logs: HashMap<String, Vec<(u64, Hash)>>,
    /// How many overdue answers there are.
    pub overdue: u64,
    /// The requests of the overdue answers.
    requests: HashSet<Digest>,
    /// What contradicts itself.
    pub contradictions: Vec<Contradiction>,
}

impl Anchors {
    /// Reads the whole second log.
    ///
    /// # Errors
    ///
    /// The ledger failed.
    pub async fn verify(&self) -> Result<Verified, Error> {
        let taken = {
            let directory = self.parts.sequencer.directory();
            directory.anchors().filter(|taken| taken.log == self.parts.log).map(|taken| (taken.size, taken.root))
        };
        let size = self.parts.ledger.position().await?.size;
        let mut verified = Verified::default();
        let mut frontier = Frontier::new();
        while frontier.size() < size {
            for entry in self.parts.ledger.read(frontier.size(), ReadLimit::entries(CHUNK)).await? {
                verified.entry(self, frontier.size(), &entry);
                frontier.append(leaf_hash(&entry));
                if let Some((size, root)) = taken
                    && size == frontier.size()
                    && root != frontier.root()
                {
                    let what = format!("the first {size} entries are not those that the directory took");
                    verified.contradictions.push(Contradiction { index: size - 1, what });
                }
            }
        }
        verified.entries = frontier.size();
        if let Some((taken, _)) = taken.filter(|(taken, _)| *taken > frontier.size()) {
            let what = format!("the directory took {taken} entries, and there are {}", frontier.size());
            verified.contradictions.push(Contradiction { index: frontier.size(), what });
        }
        Ok(verified)
    }
}

impl Verified {
    fn entry(&mut self, anchors: &Anchors, index: u64, entry: &[u8]) {
        if overdue::is_one(entry) {
            return match overdue::read(&anchors.parts.sequencer.directory(), entry, Revoked::Taken) {
                Ok(stated) if self.requests.insert(stated.request) => self.overdue += 1,
                Ok(_) => {
                    let what = "the same answer is overdue twice".to_owned();
                    self.contradictions.push(Contradiction { index, what });
                }
                Err(error) => self.contradictions.push(Contradiction { index, what: error.to_string() }),
            };
        }
        let read = anchor::read(&anchors.parts.sequencer.directory(), entry, Revoked::Taken);
        let anchored = match read {
            Ok(anchored) => anchored,
            Err(error) => return self.contradictions.push(Contradiction { index, what: error.to_string() }),
        };
        let origin = anchored.log.to_string();
        let history = self.logs.entry(origin).or_default();
        let (size, root) = (anchored.size(), anchored.root());
        let what = match history.last() {
            Some((before, _)) if size < *before => {
                Some(format!("{} goes back from {before} to {size} entries", anchored.log))
            }
            Some((before, other)) if size == *before && root != *other => {
                Some(format!("{} has two roots at {size} entries", anchored.log))
            }
            _ => None,
        };
        match what {
            Some(what) => self.contradictions.push(Contradiction { index, what }),
            None => {
                if history.last() != Some(&(size, root)) {
                    history.push((size, root));
                }
            }
        }
    }
}
