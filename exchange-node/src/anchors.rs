//! Anchoring this node's evidence: its checkpoints go into the registry's second log, and the proofs that they are there
//! come back and are kept, so that evidence can be exported with them at any time, without the registry.
//!
//! **Invariant:** this log has one history. Before anything is signed the node compares its evidence with the last
//! checkpoint that was anchored, its own record of it at the start, and the registry's when it is reached. Where the log
//! does not contain it, nothing is anchored and `doctor` says what to do.
//!
//! Out of scope: what an anchor shows (`trust::bundle`), and closing a log that lost entries (`history`).

mod book;
mod check;
mod keep;

pub use self::{
    book::{AnchorBook, Anchored, Proved},
    check::{Checked, check_history},
    keep::{Anchorer, Trouble},
};

/// Why anchoring does not work now.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The registry's answer cannot be read or does not verify.
    #[error("the registry's answer about anchors is wrong: {0}")]
    Answer(String),
    /// The book cannot be read or written.
    #[error("the record of anchors {} cannot be used: {source}", path.display())]
    Book {
        /// The file.
        path: std::path::PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// The checkpoint cannot be made.
    #[error(transparent)]
    Checkpoint(#[from] crate::journal::CheckpointError),
    /// The evidence does not contain what was anchored.
    #[error(
        "this node's evidence log does not contain its last anchored checkpoint ({anchored} entries were anchored, {here} are here): it was restored from a backup, or altered"
    )]
    Behind {
        /// How many entries were anchored.
        anchored: u64,
        /// How many are here.
        here: u64,
    },
    /// The evidence cannot be read.
    #[error(transparent)]
    Journal(#[from] crate::journal::JournalError),
    /// The registry refused the anchor.
    #[error("the registry did not anchor this node's evidence: {} {}; {}", .0.code, .0.message, .0.next_step)]
    Refused(proto::exchange::v1::Refusal),
    /// A blocking task ended by itself.
    #[error("anchoring was interrupted: {0}")]
    Task(#[from] tokio::task::JoinError),
    /// The registry cannot be reached.
    #[error("the registry cannot be reached to anchor the evidence: {0}")]
    Unreachable(String),
}
