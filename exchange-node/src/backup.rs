//! A backup of a running node, and its restore into an empty folder. In it: every evidence log with its encrypted messages,
//! the view of the directory, the records (or a word that they are imported again), former numbers, what was taken from watched
//! folders, the configuration, office keys, decisions that wait, duties, the guess budget, jobs of many questions as they lie
//! there, who looked up a subject, events, and what is noted of anchors and grants.
//!
//! Not in it, on purpose: the node's signing keys, which have a sealed backup of their own (`keys backup`), and the months'
//! keys, because destroying such a key must erase its month for good, out of every backup too; and webhooks, which hold secrets.
//!
//! The evidence is handed over as it is durable at one moment, key by key, while it is written on; memory stays bounded on
//! both sides. A digest over all of it ends the file, and is checked before anything is written. Out of scope: whether a
//! restored log may go on (`history`).

mod format;
mod restore;
mod write;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use self::{
    restore::{Restored, restore},
    write::write,
};
use crate::{custody, journal::JournalError, view};

/// Why there is no backup, or no restore. Each sentence names the file and says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file is not as it was written.
    #[error("{} is damaged ({reason}): nothing was restored; take another backup", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// The folder is not empty.
    #[error("{} is not empty ({found} is there): restore into a new folder", path.display())]
    FolderNotEmpty {
        /// The folder.
        path: PathBuf,
        /// Something in it.
        found: String,
    },
    /// A file or folder cannot be used.
    #[error(transparent)]
    File(#[from] host::files::Error),
    /// The evidence cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// It is no backup of a node.
    #[error("{} is no backup of an exchange node", path.display())]
    NoBackup {
        /// The file.
        path: PathBuf,
    },
    /// It is another department's or node's.
    #[error("the backup is of {of}, not of {wanted}: nothing was restored")]
    OfAnother {
        /// Whose it is.
        of: String,
        /// Who was asked for.
        wanted: String,
    },
    /// What is kept for predecessors cannot be read.
    #[error(transparent)]
    Custody(#[from] custody::Error),
    /// A database cannot be written.
    #[error(transparent)]
    Store(#[from] host::store::StoreError),
    /// The directory in the backup is not sound.
    #[error("the directory's copy in the backup is not taken: {0}")]
    View(#[from] view::Error),
    /// Whoever takes the backup takes no more.
    #[error("the backup cannot be written: {0}")]
    Write(#[from] std::io::Error),
}

/// What a backup says of itself, at its beginning.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// When it was made, Unix milliseconds.
    pub made_ms: u64,
    /// The exchange.
    pub exchange: String,
    /// The department.
    pub department: String,
    /// The node.
    pub node: String,
    /// The authority's key, 64 hex digits.
    pub authority_key: String,
    /// The evidence log that is kept.
    pub log: u32,
    /// Whether the records are in it.
    pub records: bool,
    /// The program's version.
    pub version: String,
}

impl Manifest {
    /// Whose it is, `<exchange>/<department>/<node>`.
    pub fn of(&self) -> String {
        format!("{}/{}/{}", self.exchange, self.department, self.node)
    }
}

#[cfg(test)]
mod tests;
