//! The backup of a registry, written while it runs: one tar file with the directory and the second log up to a signed
//! checkpoint, the configuration, what waits for the authority's signature, and SHA-256 sums over all of it.
//!
//! No secret is in it: keys have a backup of their own, which two officers open together (`registry keys backup`). What is
//! left out stands in its first file ([`Manifest`]). Whoever alters a backup can keep it from being restored, and cannot
//! make it say anything else: statements and checkpoint are verified again (`restore`).
//!
//! | path | what |
//! |---|---|
//! | `backup.json` | what it is ([`Manifest`]); the first file |
//! | `registry.toml`, `authority.pub`, `waiting/…` | as in the registry's folder |
//! | `directory/checkpoint`, `directory/FIRST-COUNT.entries` | the directory's log, entries in C2SP bundles of at most 256 |
//! | `anchors/checkpoint`, `anchors/FIRST-COUNT.entries` | the second log in use |
//! | `SHA256SUMS` | the sums of all files before it, as `sha256sum -c` reads them; the last file |

pub mod restore;
pub mod write;

use serde::{Deserialize, Serialize};

/// What the first file says that it is.
const FORMAT: &str = "errand registry backup v1";

const MANIFEST: &str = "backup.json";
const SUMS: &str = "SHA256SUMS";
const CHECKPOINT: &str = "checkpoint";
const DIRECTORY: &str = "directory";
const ANCHORS: &str = "anchors";

/// How many entries a file holds at most: a C2SP bundle.
const ENTRIES_IN_A_FILE: usize = 256;

/// What a backup is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The form of the file.
    pub format: String,
    /// The exchange.
    pub exchange: String,
    /// The key that the authority had at the founding, 64 hex digits.
    pub authority_key: String,
    /// When it was begun, Unix milliseconds.
    pub made_ms: u64,
    /// The program's version.
    pub version: String,
    /// Where the directory lived.
    pub store: String,
    /// How many statements of the directory are in it.
    pub size: u64,
    /// The root over them.
    pub root: String,
    /// The number of the second log.
    pub anchors_log: u32,
    /// How many of its entries are in it.
    pub anchors_size: u64,
    /// What is not in it, and where that is to be had.
    pub left_out: Vec<String>,
}

/// The name of a file of entries.
fn entries_file(log: &str, first: u64, count: usize) -> String {
    format!("{log}/{first:012}-{count}.entries")
}

/// What the name of a file of entries says: its first entry, and how many there are.
fn parse_entries_file(log: &str, name: &str) -> Option<(u64, u16)> {
    let name = name.strip_prefix(log)?.strip_prefix('/')?.strip_suffix(".entries")?;
    let (first, count) = name.split_once('-')?;
    Some((first.parse().ok()?, count.parse().ok()?))
}
