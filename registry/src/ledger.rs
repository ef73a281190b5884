//! Where the directory log lives: entries in order, the tiles over them, and the latest signed checkpoint, all durable
//! before anybody hears of them.
//!
//! The seam is compare-and-append. Whoever appends says at which size it checked its entries; if the log has grown since,
//! it gets [`Append::Moved`], catches up and checks again. So one process over sled and several over a shared PostgreSQL
//! database need the same code above. Out of scope: what an entry means and whether it may be appended (`sequencer`), and
//! signing.

pub mod copy;
#[cfg(test)]
pub(crate) mod memory;
pub mod postgres;
mod sled;
#[cfg(test)]
pub(crate) mod tests;

use std::{future::Future, pin::Pin, sync::Arc};

use host::{committer::CommitterStopped, store::StoreError};
use trust::log::{frontier, hash::Hash, tile::TileCoordinate};

pub use self::{postgres::PostgresLedger, sled::SledLedger};

/// What became of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Append {
    /// The entries are durable; the log has this size now.
    Appended {
        /// The size after the entries.
        size: u64,
        /// The root over them.
        root: Hash,
    },
    /// Nothing was appended: the log has another size than the caller thought.
    Moved {
        /// The log's size.
        size: u64,
    },
}

/// The log is at this size, and the root over its entries is this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Number of entries.
    pub size: u64,
    /// Root over them.
    pub root: Hash,
}

/// What became of a checkpoint that was to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// It is kept, and may be shown.
    Kept,
    /// It is not: another process over this ledger has kept one of more entries, or of a later time. Showing this one would
    /// be going back.
    Superseded,
}

/// A checkpoint with what it says, as far as a ledger has to know it.
#[derive(Clone, Debug)]
pub struct SignedHead {
    /// The signed note.
    pub note: String,
    /// The number of entries that it covers.
    pub size: u64,
    /// Its time, seconds after 1970.
    pub time_seconds: u64,
}

/// The right to append next, for as long as it is held, where several processes share a ledger. It only keeps them from
/// getting in each other's way: what keeps the log right is [`Ledger::append`] comparing.
pub struct Turn(Option<Box<dyn std::any::Any + Send>>);

impl Turn {
    /// Where one process has the ledger alone, it is always its turn.
    pub fn unshared() -> Self {
        Self(None)
    }

    /// Ends when `held` is dropped.
    pub fn held(held: impl std::any::Any + Send) -> Self {
        Self(Some(Box::new(held)))
    }
}

impl std::fmt::Debug for Turn {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Turn").field(&self.0.is_some()).finish()
    }
}

/// How much one read may return: whichever limit is reached first. A single entry is returned whatever its length.
#[derive(Clone, Copy, Debug)]
pub struct ReadLimit {
    /// Number of entries.
    pub entries: usize,
    /// Bytes of entries together.
    pub bytes: usize,
}

impl ReadLimit {
    /// As many entries, however long they are.
    pub fn entries(entries: usize) -> Self {
        Self { entries, bytes: usize::MAX }
    }
}

/// Something that comes later.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// The directory log's store.
///
/// **Invariant:** what [`Ledger::append`] acknowledged survives a crash at any later moment, and reads show only what is
/// durable: a root that is read here may be signed.
pub trait Ledger: Send + Sync {
    /// Size and root of what is durable.
    fn position(&self) -> Later<'_, Position>;

    /// Appends entries, if the log has exactly the size `at_size`. All of them become durable, or none.
    ///
    /// # Errors
    ///
    /// After an error it is not known whether the entries are in the log: after [`Error::Away`] whoever appended looks once
    /// the store is back, after any other the process must end and read it again.
    fn append(&self, at_size: u64, entries: Vec<Vec<u8>>) -> Later<'_, Append>;

    /// Entries from the index `start` on, up to the limit; none where the log ends before.
    fn read(&self, start: u64, limit: ReadLimit) -> Later<'_, Vec<Vec<u8>>>;

    /// A tile's hashes, exactly as many as the coordinate says; `None` where the log does not have them yet.
    fn tile(&self, coordinate: TileCoordinate) -> Later<'_, Option<Vec<Hash>>>;

    /// The last checkpoint kept, a signed note.
    fn checkpoint(&self) -> Later<'_, Option<String>>;

    /// Keeps a checkpoint, before anybody gets to see it: a log that forgot what it signed could sign another history.
    fn keep_checkpoint(&self, head: SignedHead) -> Later<'_, Keep>;

    /// Waits until it is this process's turn to append.
    fn turn(&self) -> Later<'_, Turn> {
        Box::pin(async { Ok(Turn::unshared()) })
    }

    /// Waits until another process over this ledger may have appended something or kept a checkpoint.
    fn changed(&self) -> Later<'_, ()> {
        Box::pin(std::future::pending())
    }

    /// The cosigned checkpoints that were kept, one of each witness.
    fn cosignatures(&self) -> Later<'_, Vec<String>>;

    /// Keeps cosigned checkpoints under their witnesses' names, in place of those kept before.
    fn keep_cosignatures(&self, notes: Vec<(String, String)>) -> Later<'_, ()>;

    /// What was marked: while there is a mark, this log signs nothing (`recovery`).
    fn mark(&self) -> Later<'_, Option<String>>;

    /// Marks the log, or takes the mark away. Every process over this ledger sees it.
    fn set_mark(&self, mark: Option<String>) -> Later<'_, ()>;
}

/// The ledger of a running program, in the store that its configuration names.
#[derive(Clone, Debug)]
pub enum OpenLedger {
    /// Shared, in a PostgreSQL database.
    Postgres(PostgresLedger),
    /// In the registry's own folder.
    Sled(SledLedger),
}

impl OpenLedger {
    /// For whoever reads and appends.
    pub fn shared(&self) -> Arc<dyn Ledger> {
        match self {
            Self::Postgres(ledger) => Arc::new(ledger.clone()),
            Self::Sled(ledger) => Arc::new(ledger.clone()),
        }
    }

    /// Finishes what is under way and lets go of the store.
    pub async fn close(&self) -> Result<(), Error> {
        match self {
            Self::Postgres(ledger) => {
                ledger.close().await;
                Ok(())
            }
            Self::Sled(ledger) => ledger.close().await,
        }
    }
}

/// Why the ledger cannot go on. Every one of these ends the process, except [`Error::Away`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The database is not there now, or takes no writes.
    #[error("the registry's database is away: {reason}")]
    Away {
        /// What it or the operating system said.
        reason: String,
    },
    /// The database cannot be used.
    #[error(transparent)]
    Database(#[from] postgres::DatabaseError),
    /// What is stored does not fit together.
    #[error("the directory's ledger is damaged: {reason}; keep the folder for inquiry and restore it from its backup")]
    Damaged {
        /// What does not fit.
        reason: String,
    },
    /// Longer than the log's format can hold.
    #[error("an entry of {length} bytes is longer than a log entry can be")]
    EntryTooLong {
        /// Its length.
        length: usize,
    },
    /// A fault that a test asked for.
    #[cfg(test)]
    #[error("a fault was injected")]
    Injected,
    /// The reading thread failed.
    #[error("reading the ledger failed: {0}")]
    Reading(#[from] tokio::task::JoinError),
    /// The writer has stopped.
    #[error(transparent)]
    Stopped(#[from] CommitterStopped),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The writer could not be started.
    #[error(transparent)]
    Writer(#[from] host::committer::CommitterError),
}

impl Error {
    pub(crate) fn damaged(reason: impl ToString) -> Self {
        Self::Damaged { reason: reason.to_string() }
    }
}

impl From<frontier::Error> for Error {
    fn from(error: frontier::Error) -> Self {
        Self::damaged(error)
    }
}
