//! Reading a file of records into a new generation.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// How a file of records is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated values in UTF-8 with a header row.
    Csv,
    /// One JSON object a line.
    JsonLines,
}

/// What an import is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Reading, checking and sorting the file.
    Reading,
    /// Writing the rows into the store.
    Loading,
}

/// How far an import is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What it is doing.
    pub phase: Phase,
    /// Bytes of the file read so far.
    pub bytes_read: u64,
    /// Rows done in this phase, good and bad.
    pub rows: u64,
    /// Rows to do in this phase, once known.
    pub total_rows: Option<u64>,
}

/// One thing wrong with one row. Never repeats a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRow {
    /// The line of the file the row begins on, from 1.
    pub line: u64,
    /// The column; empty where the row as a whole is wrong.
    pub field: String,
    /// What is wrong.
    pub reason: String,
}

impl fmt::Display for BadRow {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.as_str() {
            "" => write!(formatter, "line {}: {}", self.line, self.reason),
            field => write!(formatter, "line {}: {field}: {}", self.line, self.reason),
        }
    }
}

/// What an import did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportReport {
    /// Rows that can be looked up now.
    pub rows: u64,
    /// Subjects that have rows now.
    pub subjects: u64,
    /// Rows set aside.
    pub quarantined_rows: u64,
    /// Subjects that answer `UNAVAILABLE` because of them.
    pub quarantined_subjects: u64,
    /// Good rows of those subjects, which cannot be looked up either.
    pub withheld_rows: u64,
    /// Rows set aside that do not tell whose they are.
    pub unattributed_rows: u64,
    /// What is wrong with the rows set aside: the first [`BAD_ROW_LIMIT`].
    pub bad_rows: Vec<BadRow>,
    /// The file with the rows that were set aside.
    pub quarantine_file: Option<PathBuf>,
    /// How many rows the records that were replaced had; `None` where there were none.
    pub replaced_rows: Option<u64>,
}

/// The most bad rows that are described one by one.
pub const BAD_ROW_LIMIT: usize = 100;

/// Why nothing was imported. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// Rows are wrong, and they were not to be set aside.
    #[error("{rows} bad rows: nothing was imported, and the records from before stay in use")]
    BadRows {
        /// What is wrong with them: the first [`BAD_ROW_LIMIT`].
        bad_rows: Vec<BadRow>,
        /// How many rows are wrong.
        rows: u64,
    },
    /// Another import of the same service is under way.
    #[error("another import of these records is under way: wait until it ends")]
    Busy,
    /// The columns are not the service's. Each is named with what is wrong.
    #[error("the columns do not fit the service: {}", join(.problems))]
    Columns {
        /// The columns and what is wrong with them.
        problems: Vec<BadRow>,
    },
    /// The file cannot be read as a whole.
    #[error("line {line}: {reason}")]
    File {
        /// The line, from 1.
        line: u64,
        /// What is wrong.
        reason: String,
    },
    /// The file, or what sends it, broke off.
    #[error("the file could not be read to its end: {0}")]
    Read(#[source] io::Error),
    /// The records could not be written.
    #[error("the records could not be written: {0}")]
    Write(String),
}

fn join(problems: &[BadRow]) -> String {
    problems.iter().map(|problem| format!("{}: {}", problem.field, problem.reason)).collect::<Vec<_>>().join("; ")
}
