//! The append-only Merkle log: everything kept by a registry or a node is one of these.
//!
//! Hashes are those of RFC 6962 (SHA-256). The published forms are those of C2SP: `tlog-tiles` for hashes and entries,
//! `tlog-checkpoint` with a timestamped `cosignature/v1` for what the log's owner stands behind, and `tlog-proof` for
//! one entry with all that shows it was logged. So programs that nobody here wrote can read and check a log.
//!
//! Out of scope: where tiles and entries are kept, when a checkpoint is signed, what an entry means, and which of two
//! checkpoints to believe. Nothing here reads a file, a socket or a clock.
//!
//! ```
//! use trust::log::{frontier::Frontier, hash::leaf_hash};
//!
//! let mut frontier = Frontier::new();
//! let finished_tiles = frontier.append(leaf_hash(b"the first entry"));
//! assert!(finished_tiles.is_empty(), "a tile is finished with its 256th hash");
//! assert_eq!(frontier.root(), leaf_hash(b"the first entry"));
//! ```

mod base64;

pub mod hash;

pub mod tile;

pub mod bundle;

pub mod frontier;

pub mod proof;

pub mod note;

pub mod checkpoint;

pub mod cosignature;

pub mod tlog_proof;

pub mod strand;

pub mod archive;

#[cfg(test)]
mod tests;
