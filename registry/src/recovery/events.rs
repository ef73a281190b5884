//! What was done to the log's history, kept in the registry's folder: one JSON object a line, never changed. Who looks at
//! it in a year sees when the registry was restored, what came back, and who decided what.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use host::files::PRIVATE_MODE;
use serde::{Deserialize, Serialize};

/// The file, within the registry's folder.
pub const FILE_NAME: &str = "history.jsonl";

/// Why it cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A line is no event.
    #[error("{}, line {line} cannot be read: {source}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// Why.
        source: serde_json::Error,
    },
}

/// What was done or found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum What {
    /// The registry turned out to lack statements.
    Behind,
    /// The log's key turned out to have signed another history.
    Contradicted,
    /// Statements came back.
    Imported,
    /// The log goes on, because enough nodes told what they saw.
    ResumedByNodes,
    /// The log goes on, because an officer decided it.
    ResumedByOfficer,
    /// The registry was restored, or an officer said that it is a copy.
    Restored,
}

impl What {
    /// Its name, as on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Behind => "behind",
            Self::Contradicted => "contradicted",
            Self::Imported => "imported",
            Self::ResumedByNodes => "resumed_by_nodes",
            Self::ResumedByOfficer => "resumed_by_officer",
            Self::Restored => "restored",
        }
    }
}

/// Something that was done.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Event {
    /// When, Unix milliseconds.
    pub at_ms: u64,
    /// What.
    pub what: What,
    /// How many statements there were then.
    pub size: u64,
    /// In words.
    pub detail: String,
    /// Who decided it; empty where nobody had to.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub officer: String,
}

impl Event {
    /// Something that nobody had to decide.
    pub fn new(at_ms: u64, what: What, size: u64, detail: String) -> Self {
        Self { at_ms, what, size, detail, officer: String::new() }
    }

    /// Decided by an officer.
    #[must_use]
    pub fn by(mut self, officer: &str) -> Self {
        officer.clone_into(&mut self.officer);
        self
    }
}

/// The file.
#[derive(Debug)]
pub struct Events {
    path: PathBuf,
}

impl Events {
    /// In the registry's folder.
    pub fn new(folder: &Path) -> Self {
        Self { path: folder.join(FILE_NAME) }
    }

    /// Adds an event; it is on the disk when this returns. Blocks.
    pub fn append(&self, event: &Event) -> Result<(), Error> {
        let failed = |source| Error::Io { path: self.path.clone(), source };
        let line = serde_json::to_string(event).map_err(|error| failed(error.into()))?;
        let opened = OpenOptions::new().create(true).append(true).mode(PRIVATE_MODE).open(&self.path);
        let mut file = opened.map_err(failed)?;
        file.write_all(format!("{line}\n").as_bytes()).map_err(failed)?;
        file.sync_all().map_err(failed)
    }

    /// All events, the oldest first. Blocks.
    pub fn list(&self) -> Result<Vec<Event>, Error> {
        let text = match fs::read_to_string(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            read => read.map_err(|source| Error::Io { path: self.path.clone(), source })?,
        };
        let read = |(at, line): (usize, &str)| {
            serde_json::from_str(line).map_err(|source| Error::Line { path: self.path.clone(), line: at + 1, source })
        };
        text.lines().enumerate().map(read).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_kept_in_their_order_and_a_broken_line_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let events = Events::new(folder.path());
        assert!(events.list().unwrap().is_empty());
        let restored = Event::new(7, What::Restored, 12, "from a backup".to_owned());
        let resumed = Event::new(9, What::ResumedByOfficer, 12, "nobody else is left".to_owned()).by("0007");
        events.append(&restored).unwrap();
        events.append(&resumed).unwrap();
        assert_eq!(events.list().unwrap(), [restored, resumed]);
        fs::write(folder.path().join(FILE_NAME), "{}\n").unwrap();
        assert!(events.list().unwrap_err().to_string().contains("line 1"));
    }
}
