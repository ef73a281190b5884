//! The mark that `restore` leaves in a node's folder: its log waits until it has been compared. And the record of officers'
//! decisions that one goes on all the same. Out of scope: comparing.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use host::files;
use serde::{Deserialize, Serialize};

/// The mark's name in the node's folder.
const FILE_NAME: &str = "restored.json";

/// The name of the record of decisions, one JSON value a line.
const DECISIONS: &str = "decisions.jsonl";

/// That the folder was restored from a backup.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// Which log was the one that was kept.
    pub log: u32,
    /// How many entries the backup has of it.
    pub size: u64,
    /// When the backup was made, Unix milliseconds.
    pub backup_ms: u64,
    /// When it was restored, Unix milliseconds.
    pub restored_ms: u64,
}

/// An officer's decision that a restored log goes on.
#[derive(Serialize)]
pub(super) struct Decision<'a> {
    pub(super) at_ms: u64,
    pub(super) officer: &'a str,
    pub(super) reason: &'a str,
    pub(super) mark: &'a Mark,
    pub(super) not_compared: &'a [String],
}

impl Mark {
    /// The mark of the folder `dir`; `None` where there is none. One that cannot be read is taken for one: somebody wrote it.
    pub fn read(dir: &Path) -> Result<Option<Self>, files::Error> {
        let path = dir.join(FILE_NAME);
        match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(failed("cannot read", &path, source)),
            Ok(text) => Ok(Some(serde_json::from_slice(&text).unwrap_or(Self {
                log: u32::MAX,
                size: 0,
                backup_ms: 0,
                restored_ms: 0,
            }))),
        }
    }

    /// Leaves the mark in the folder `dir`.
    pub fn write(&self, dir: &Path) -> Result<(), files::Error> {
        let path = dir.join(FILE_NAME);
        let text = serde_json::to_vec(self).map_err(|error| failed("cannot write", &path, error.into()))?;
        files::replace_file(&path, &text, files::PRIVATE_MODE)
    }

    /// Takes the mark away: the log was compared, or an officer has decided.
    pub fn remove(dir: &Path) -> Result<(), files::Error> {
        let path = dir.join(FILE_NAME);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("cannot remove", &path, error)),
            _ => fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| failed("cannot sync", dir, error)),
        }
    }
}

/// Keeps a decision, before it counts.
pub(super) fn keep(dir: &Path, decision: &Decision<'_>) -> Result<(), files::Error> {
    let path = dir.join(DECISIONS);
    let kept = serde_json::to_string(decision).map_err(io::Error::from).and_then(|line| {
        let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path)?;
        file.write_all(format!("{line}\n").as_bytes())?;
        file.sync_data()
    });
    kept.map_err(|error| failed("cannot write", &path, error))
}

fn failed(doing: &'static str, path: &Path, source: io::Error) -> files::Error {
    files::Error::Io { doing, path: PathBuf::from(path), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_stays_until_it_is_taken_away_even_where_it_cannot_be_read() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Mark::read(dir.path()).unwrap(), None);
        let mark = Mark { log: 1, size: 7, backup_ms: 1, restored_ms: 2 };
        mark.write(dir.path()).unwrap();
        assert_eq!(Mark::read(dir.path()).unwrap(), Some(mark.clone()));
        let decision = Decision { at_ms: 3, officer: "1024", reason: "r", mark: &mark, not_compared: &[] };
        keep(dir.path(), &decision).unwrap();
        keep(dir.path(), &decision).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join(DECISIONS)).unwrap().lines().count(), 2);
        fs::write(dir.path().join(FILE_NAME), "{").unwrap();
        assert!(Mark::read(dir.path()).unwrap().is_some());
        Mark::remove(dir.path()).unwrap();
        Mark::remove(dir.path()).unwrap();
        assert_eq!(Mark::read(dir.path()).unwrap(), None);
    }
}
