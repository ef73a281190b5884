//! A log has one history. At its start, and whenever it can, a node compares its evidence with what others saw of it: its
//! own record of anchors, the registry's second log, and what other departments hold that bears this node's signature.
//!
//! **Invariant:** a log that lacks an entry that anybody else saw signs nothing: no entry is made, no checkpoint is signed,
//! nothing is asked or answered, until its owner has closed it and opened a successor. Lost entries cannot be made again:
//! each has a salt that nobody else knows.
//!
//! A node whose folder was restored waits until it has compared with the registry and with everybody it exchanged messages
//! with, or until an officer decides that it goes on. Any other node goes on while the registry is away, and compares once
//! it can: the exchange outlives its registry.
//!
//! Out of scope: the backup (`backup`), and what others give back (`reconcile`).

mod close;
mod compare;
mod mark;
mod ours;
mod partners;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use arc_swap::ArcSwapOption;
use tokio_util::sync::CancellationToken;

pub(crate) use self::partners::partners;
pub use self::{close::Closed, compare::Historian, mark::Mark};
use crate::{anchors, journal::JournalError, publish};

/// Why a log cannot be closed or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What was anchored cannot be compared.
    #[error(transparent)]
    Anchors(#[from] anchors::Error),
    /// The evidence cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The mark or the record of decisions cannot be used.
    #[error(transparent)]
    File(#[from] host::files::Error),
    /// It lost entries, so nobody can decide that it goes on.
    #[error("this evidence log lost entries, so it cannot go on: close it (`exchange-node evidence close`)")]
    Lost,
    /// It may go on as it is.
    #[error("nothing is missing from this evidence log as far as anybody was asked, so there is nothing to close")]
    NothingLost,
    /// It does not wait.
    #[error("this evidence log does not wait for anything")]
    NotWaiting,
    /// The statement was not made.
    #[error(transparent)]
    Publish(#[from] publish::Error),
    /// A blocking task ended by itself.
    #[error("reading the evidence was interrupted: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// Why the log may not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// Others saw more than is here.
    Lost {
        /// How many entries it had at least.
        highest_seen: u64,
    },
    /// It was restored, and not everybody has been asked yet.
    Restored {
        /// Who is still to be asked.
        not_compared: Vec<String>,
    },
}

/// A log that may not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Why.
    pub why: Why,
    /// The same as a sentence that says what to do.
    pub text: String,
}

/// Whether the log may go on.
#[derive(Debug, Default)]
pub struct Standing {
    held: ArcSwapOption<Held>,
}

impl Standing {
    /// Whether entries may be made and checkpoints signed.
    ///
    /// # Errors
    ///
    /// [`JournalError::Held`].
    pub fn check(&self) -> Result<(), JournalError> {
        match self.held.load().as_ref() {
            None => Ok(()),
            Some(held) => Err(JournalError::Held { reason: held.text.clone() }),
        }
    }

    /// Why it may not.
    pub fn held(&self) -> Option<Arc<Held>> {
        self.held.load_full()
    }

    /// From now on nothing is signed, because others saw more entries than are here.
    pub fn lost(&self, highest_seen: u64, found: &str) {
        let before = self.held();
        let seen_before = match before.as_deref() {
            Some(Held { why: Why::Lost { highest_seen }, .. }) => *highest_seen,
            _ => 0,
        };
        let text = format!(
            "{found}: nothing is asked, answered, signed or anchored, because a log has one history. If the missing entries are on another disk, bring that folder back; otherwise close the log: exchange-node evidence close --reason … --officer … --document …"
        );
        if seen_before == 0 {
            tracing::error!(found, "the evidence log lost entries; the node neither asks nor answers");
        }
        let why = Why::Lost { highest_seen: highest_seen.max(seen_before) };
        self.held.store(Some(Arc::new(Held { why, text })));
    }

    /// Nothing is signed until these have been asked.
    pub fn restored(&self, not_compared: Vec<String>) {
        let text = format!(
            "this evidence log was restored from a backup, and is still to be compared with {}: nothing is asked, answered, signed or anchored before. It goes on by itself once they are reached; an officer who knows that nothing was lost can decide it: exchange-node evidence resume --officer … --reason …",
            not_compared.join(", ")
        );
        self.held.store(Some(Arc::new(Held { why: Why::Restored { not_compared }, text })));
    }
}

/// The program's wish to begin anew: the stores are closed, and everything is read again.
#[derive(Debug)]
pub struct Again {
    wanted: AtomicBool,
    stop: CancellationToken,
}

impl Again {
    /// One that stops the program by this token.
    pub fn new(stop: CancellationToken) -> Self {
        Self { wanted: AtomicBool::new(false), stop }
    }

    /// Begins anew.
    pub fn begin(&self, why: &str) {
        tracing::info!(why, "the node begins anew");
        self.wanted.store(true, Ordering::Release);
        self.stop.cancel();
    }

    /// Whether it stopped to begin anew.
    pub fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_lost_entries_is_held_and_keeps_the_highest_that_was_seen() {
        let standing = Standing::default();
        standing.check().unwrap();
        standing.restored(vec!["the registry".into()]);
        assert!(standing.check().unwrap_err().to_string().contains("still to be compared with the registry"));
        standing.lost(9, "9 were seen");
        standing.lost(7, "7 were seen");
        assert_eq!(standing.held().unwrap().why, Why::Lost { highest_seen: 9 });
        let told = standing.check().unwrap_err().to_string();
        assert!(told.contains("7 were seen") && told.contains("evidence close"), "{told}");
    }

    #[test]
    fn beginning_anew_stops_the_program() {
        let stop = CancellationToken::new();
        let again = Again::new(stop.clone());
        assert!(!again.is_wanted());
        again.begin("a test");
        assert!(again.is_wanted() && stop.is_cancelled());
    }
}
