//! The evidence of a node: every question and answer, as entries of an append-only Merkle log, with the messages
//! themselves beside it, encrypted.
//!
//! **Invariant:** [`Journal::commit`] returns only when its entries survive a crash of the machine. Nothing leaves the
//! node before: whoever sends first and commits afterwards could deny it.
//!
//! The log holds salted hashes, which tell nothing. The messages are encrypted under a key of the month that lives
//! outside the store and its backups: once that key is destroyed the month's messages are gone for good, and the log
//! still verifies. What can be read without the key: kinds, digests, salts, times, and truncated hashes of random ids.
//!
//! Out of scope: what a message means (`ask`, `answer`), and when a checkpoint is signed or anchored.

mod month;

mod month_key;

pub(crate) use self::month_key::{MonthKeys, NONCE_BYTES, TAG_BYTES};

mod record;

mod month_beginning;

mod month_store;

mod months;

mod writer;

mod embedded;

mod reading;

mod verify;

mod kept;

mod dump;

#[cfg(test)]
pub(crate) mod memory;

use std::{
    future::Future,
    ops::{ControlFlow, Range},
    path::PathBuf,
    pin::Pin,
};

use host::{
    committer::{CommitterError, CommitterStopped},
    store::StoreError,
};
use proto::exchange::v1::EntryKind;
use trust::{
    evidence::{Entry, Receipt},
    ids::Digest,
    key::Signer,
    log::{
        checkpoint::{self, Checkpoint, LogKey},
        hash::Hash,
        note,
    },
};

pub use self::{
    dump::{Dump, PairSink},
    embedded::{OnFailure, SledJournal},
    kept::KeptJournal,
    month::Month,
    verify::Verified,
};

/// The most entries that one commit may have: a received question with its answer, and a correction with its notice.
pub const MOST_ENTRIES: usize = 4;

/// The most bytes that the messages of one commit may have together: a batch of questions and the batch of its answers.
pub const MOST_MESSAGE_BYTES: usize = 2 * (trust::batch::LARGEST_BATCH + 4096);

/// One entry to be made.
#[derive(Clone, Debug)]
pub struct NewEntry {
    /// What it is about.
    pub kind: EntryKind,
    /// The message's identity.
    pub digest: Digest,
    /// The encoded `exchange.v1.Signed`.
    pub message: Vec<u8>,
}

/// What one commit makes durable together: all of it or nothing.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// When, in Unix milliseconds. It decides the month under whose key the messages are encrypted.
    pub at_ms: u64,
    /// One to [`MOST_ENTRIES`] entries; they get consecutive indexes.
    pub entries: Vec<NewEntry>,
    /// On the asking side, for an answer or an outcome: the index of the question's entry.
    pub about: Option<u64>,
    /// On the answering side: finds the stored answer again when the question is repeated.
    pub request: Option<RequestMark>,
    /// On the asking side: SHA-256 of the office's idempotency key, cut to 16 bytes.
    pub idempotency: Option<[u8; 16]>,
    /// Where it counts as a use of a grant: the grant's mark (`usage::mark`).
    pub grant: Option<[u8; 16]>,
    /// Where it counts as a use of an officer: a keyed hash of the officer (`usage::Officers`).
    pub officer: Option<[u8; 16]>,
    /// Whether something must still happen because of it (`duty`): a start looks there for what a crash cut short.
    pub duty: bool,
    /// How many uses it counts as, where it is not one: a batch counts each of its items.
    pub uses: Option<u32>,
}

/// By what a repeated question is known, without telling who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestMark {
    /// SHA-256 of consumer, NUL and request id, cut to 16 bytes.
    pub key: [u8; 16],
    /// The request's identity: other bytes under the same id are refused.
    pub digest: Digest,
}

/// What became of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The index of the first entry.
    pub first_index: u64,
    /// A receipt for each entry, in the commit's order.
    pub receipts: Vec<Receipt>,
}

/// An entry read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEntry {
    /// Its index in the log.
    pub index: u64,
    /// What the log's leaf commits to.
    pub entry: Entry,
    /// The encoded `exchange.v1.Signed`; `None` once the month's key has been destroyed.
    pub message: Option<Vec<u8>>,
    /// When it was committed, in Unix milliseconds.
    pub at_ms: u64,
    /// The index of the question's entry, as committed.
    pub about: Option<u64>,
    /// The indexes of all entries of the same commit, this one included.
    pub companions: Range<u64>,
}

/// A commit without its messages, for rebuilding what lives in memory from the journal's tail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordHead {
    /// The index of the first entry.
    pub first_index: u64,
    /// When it was committed, in Unix milliseconds.
    pub at_ms: u64,
    /// What each entry is about.
    pub kinds: Vec<EntryKind>,
    /// The identity of each entry's message.
    pub digests: Vec<Digest>,
    /// As committed.
    pub about: Option<u64>,
    /// As committed.
    pub request: Option<RequestMark>,
    /// As committed.
    pub idempotency: Option<[u8; 16]>,
    /// As committed.
    pub grant: Option<[u8; 16]>,
    /// As committed.
    pub officer: Option<[u8; 16]>,
    /// As committed.
    pub duty: bool,
    /// As committed.
    pub uses: Option<u32>,
}

impl RecordHead {
    /// The entry of the answer that the record gives; `None` where it gives none.
    pub fn answer_given(&self) -> Option<u64> {
        let position = self.kinds.iter().position(|kind| *kind == EntryKind::AnswerGiven)?;
        Some(self.first_index + position as u64)
    }
}

/// Something that comes later.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = Result<T, JournalError>> + Send + 'a>>;

/// The node's evidence log with its messages.
///
/// Reads show only what is durable. They may wait for the disk: for seconds where they open a closed month, so whoever
/// reads old entries (an export, not a repeated question) does it on a blocking thread.
pub trait Journal: Send + Sync {
    /// Makes a commit durable. Commits are ordered as they arrive here.
    ///
    /// Dropping the future does not take the commit back.
    ///
    /// # Errors
    ///
    /// After an error it is not known whether the commit is in the log, as with any crash; nothing may leave the node.
    fn commit(&self, commit: Commit) -> Later<'_, Committed>;

    /// The entry with this index; `None` beyond the end.
    ///
    /// # Errors
    ///
    /// What was stored cannot be read, or does not fit together.
    fn entry(&self, index: u64) -> Result<Option<StoredEntry>, JournalError>;

    /// Visits the records made at or after `since_ms`, the newest first, until there is none left or `visit` breaks.
    /// For rebuilding what may be large: nothing is gathered on the way.
    ///
    /// # Errors
    ///
    /// What was stored cannot be read, or does not fit together.
    fn newest(&self, since_ms: u64, visit: &mut dyn FnMut(RecordHead) -> ControlFlow<()>) -> Result<(), JournalError>;

    /// The newest records made at or after `since_ms`, oldest first, at most `most` of them.
    ///
    /// # Errors
    ///
    /// As for [`Journal::newest`].
    fn tail(&self, since_ms: u64, most: usize) -> Result<Vec<RecordHead>, JournalError> {
        let mut heads = Vec::new();
        if most > 0 {
            self.newest(since_ms, &mut |head| {
                heads.push(head);
                if heads.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
        }
        heads.reverse();
        Ok(heads)
    }

    /// Finds the entry that a receipt was given for; its index, or, where several logs stand behind this one, its place
    /// among them (`logs`).
    ///
    /// # Errors
    ///
    /// What was stored cannot be read, or does not fit together.
    fn find(&self, receipt: &Receipt) -> Result<Option<u64>, JournalError> {
        Ok(self.entry(receipt.index())?.filter(|stored| receipt.fits(&stored.entry)).map(|stored| stored.index))
    }

    /// Beyond the place of the last entry: as [`Journal::size`], or, where several logs stand behind this one, among them.
    fn end(&self) -> u64 {
        self.size()
    }

    /// Whether entries may be made and checkpoints signed at all.
    ///
    /// # Errors
    ///
    /// [`JournalError::Held`]: the log lost entries, or it is not known yet whether it did.
    fn check_open(&self) -> Result<(), JournalError> {
        Ok(())
    }

    /// Size and root of what is durable: what a checkpoint may be signed over.
    fn head(&self) -> (u64, Hash);

    /// How many entries are durable.
    fn size(&self) -> u64 {
        self.head().0
    }

    /// The root over them.
    fn root(&self) -> Hash {
        self.head().1
    }

    /// The RFC 6962 inclusion path of the entry in the tree of the first `size` entries.
    ///
    /// # Errors
    ///
    /// [`JournalError::OutsideLog`], or what was stored cannot be read.
    fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Hash>, JournalError>;

    /// The RFC 6962 proof that the tree of the first `new_size` entries begins with that of the first `old_size`.
    ///
    /// # Errors
    ///
    /// [`JournalError::OutsideLog`], or what was stored cannot be read.
    fn consistency(&self, old_size: u64, new_size: u64) -> Result<Vec<Hash>, JournalError>;

    /// The root over the first `size` entries.
    ///
    /// # Errors
    ///
    /// [`JournalError::OutsideLog`], or what was stored cannot be read.
    fn root_at(&self, size: u64) -> Result<Hash, JournalError>;
}

/// A checkpoint of an evidence log. Inclusion paths that belong to it are those at its size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedHead {
    /// How many entries the log had.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
    /// The C2SP signed note: by the node's key, plainly and as a timestamped `cosignature/v1`.
    pub note: String,
}

/// Signs what is durable. `origin` is [`trust::evidence::origin`]'s, `signer` the node's key.
///
/// # Errors
///
/// [`CheckpointError`]: the origin or the time cannot stand in a checkpoint.
pub fn checkpoint(
    journal: &dyn Journal,
    origin: &str,
    signer: &dyn Signer,
    now_ms: u64,
) -> Result<SignedHead, CheckpointError> {
    journal.check_open().map_err(Box::new)?;
    let (size, root) = journal.head();
    sign_head(size, root, origin, signer, now_ms)
}

/// Signs a checkpoint over these entries, whether the log goes on or was closed with them.
///
/// # Errors
///
/// [`CheckpointError`]: the origin or the time cannot stand in a checkpoint.
pub fn sign_head(
    size: u64,
    root: Hash,
    origin: &str,
    signer: &dyn Signer,
    now_ms: u64,
) -> Result<SignedHead, CheckpointError> {
    let key = LogKey::new(origin.parse()?, signer.public_key().as_bytes())?;
    let checkpoint = Checkpoint::new(key.origin(), size, root)?;
    let note = checkpoint::sign(&checkpoint, &key, now_ms / 1000, |message| signer.sign(message))?;
    Ok(SignedHead { size, root, note })
}

/// Why a checkpoint could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The log may not go on.
    #[error(transparent)]
    Held(#[from] Box<JournalError>),
    /// The origin or the key cannot be a log's.
    #[error("the evidence log's name or key cannot be used: {0}")]
    Key(#[from] note::key::Error),
    /// The checkpoint could not be signed.
    #[error("the evidence log's checkpoint cannot be signed: {0}")]
    Sign(#[from] checkpoint::Error),
}

/// Why the journal cannot do what it was asked. Each sentence says what to do, where there is something to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// A commit of no entries, of too many, or without messages to them.
    #[error("a commit has 1 to {MOST_ENTRIES} entries, not {entries}")]
    EntryCount {
        /// How many it had.
        entries: usize,
    },
    /// What is stored does not fit together.
    #[error(
        "the evidence of {month} is damaged: {reason}; keep the folder as it is for inquiry and restore the journal from its backup"
    )]
    Damaged {
        /// The month.
        month: Month,
        /// What does not fit, and at which entry.
        reason: String,
    },
    /// The log lost entries, or it is not known yet whether it did.
    #[error("{reason}")]
    Held {
        /// Why, and what to do.
        reason: String,
    },
    /// A test asked for a fault.
    #[cfg(test)]
    #[error("a fault was injected")]
    Injected,
    /// The folder holds no evidence log.
    #[error("{} holds no evidence", path.display())]
    NothingKept {
        /// The folder.
        path: PathBuf,
    },
    /// Evidence that is kept for somebody else is read and never written.
    #[error("this evidence is kept for a predecessor: it is read and never written")]
    ReadOnly,
    /// A file of the journal or a month's key cannot be used.
    #[error(transparent)]
    File(#[from] host::files::Error),
    /// The messages together are longer than a record can be.
    #[error("the messages of a commit have {bytes} bytes; {MOST_MESSAGE_BYTES} are allowed")]
    MessagesTooLong {
        /// How many they had.
        bytes: usize,
    },
    /// A month that the journal counts on is not in its folder.
    #[error("the evidence of {month} is missing: restore {} from the backup", path.display())]
    MonthMissing {
        /// The month.
        month: Month,
        /// Where it should be.
        path: PathBuf,
    },
    /// A key file of a month that is no key.
    #[error("{} is not a key of 32 bytes: restore it, or move it away to give the month's messages up", path.display())]
    NotAMonthKey {
        /// The file.
        path: PathBuf,
    },
    /// An index or a size beyond what is durable.
    #[error("entry {index} in a tree of {size}: the evidence log has {durable} entries")]
    OutsideLog {
        /// The index that was asked for.
        index: u64,
        /// The size that was asked for.
        size: u64,
        /// How many entries there are.
        durable: u64,
    },
    /// The writer has stopped; the program ends.
    #[error("the evidence cannot be written: {0}")]
    Stopped(#[from] CommitterStopped),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The task that opens a month ended by itself.
    #[error("a month of the evidence could not be opened: {0}")]
    Task(#[from] tokio::task::JoinError),
    /// The writer could not be started.
    #[error("the evidence cannot be written: {0}")]
    Writer(#[from] CommitterError),
}

#[cfg(test)]
mod tests;
