//! Importing a file of records: every row is read and checked, then sorted, then loaded into a store that nobody uses yet.
//!
//! One bad row means that nothing is imported, unless bad rows are to be set aside; then their subjects answer
//! `UNAVAILABLE`. What was wrong is told by line, field and reason, never by value.
//!
//! Out of scope: switching to what was loaded, which is [`super::Records`]'.

mod apply;
mod changes;
mod check;
mod csv;
mod input;
mod json_lines;
mod load;
mod quarantine;
mod reading;
mod sheet;

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use host::store::{Store, StoreError};
use trust::subject::added::Schemes;

use super::columns::Columns;
use super::sort::{RUN_BYTES, Sorter};
use crate::sources::mapping::Mapping;

pub(super) use self::apply::{Applied, OldRows, OldSubject};
pub(super) use self::changes::ChangePlan;
pub use self::changes::{ChangeOperation, Changes};
pub(super) use self::check::subject_key;
pub(super) use self::csv::{CsvRow, next_row};
pub(super) use self::input::Input;
pub(crate) use self::json_lines::members as json_members;
pub(super) use self::quarantine::{REASONS as QUARANTINE_REASONS, file_name as quarantine_file_name};

/// The most bad rows that are described one by one.
pub const BAD_ROW_LIMIT: usize = 100;

/// How a file of records is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated values in UTF-8 with a header row.
    Csv,
    /// One JSON object a line.
    JsonLines,
    /// The first visible sheet of an .xlsx workbook, with a header row.
    Xlsx,
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
    /// The line of the file that the row begins on, from 1.
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    /// Rows set aside that do not tell whose they are. While there are any, having no row is no proof of absence, and
    /// where the service declares its register complete, subjects without rows answer `UNAVAILABLE` too.
    pub unattributed_rows: u64,
    /// What is wrong with the rows set aside: the first [`BAD_ROW_LIMIT`].
    pub bad_rows: Vec<BadRow>,
    /// The file with the rows that were set aside; the reasons for all of them stand beside it.
    pub quarantine_file: Option<PathBuf>,
    /// How many rows the records that were replaced had; `None` where there were none.
    pub replaced_rows: Option<u64>,
}

/// Why nothing was imported. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// Rows are wrong and were not to be set aside, or every row is wrong.
    #[error("bad rows: {rows}. Nothing was imported, and the records from before stay in use")]
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
    /// The file cannot be read as rows.
    #[error("line {line}: {reason}")]
    File {
        /// The line, from 1.
        line: u64,
        /// What is wrong.
        reason: String,
    },
    /// There are no records yet that could be changed.
    #[error("there are no records yet that could be changed: import them whole first (`records import`)")]
    NothingToChange,
    /// The file, or who sends it, broke off.
    #[error("the file could not be read to its end: {0}")]
    Read(#[source] io::Error),
    /// The records could not be written, for example because the disk is full.
    #[error("the records could not be written: {0}")]
    Write(String),
}

impl ImportError {
    fn sorting(error: io::Error) -> Self {
        Self::Write(format!("while sorting: {error}"))
    }

    fn store(error: StoreError) -> Self {
        Self::Write(error.to_string())
    }
}

fn join(problems: &[BadRow]) -> String {
    let problem = |problem: &BadRow| match problem.field.as_str() {
        "" => problem.reason.clone(),
        field => format!("{field}: {}", problem.reason),
    };
    problems.iter().map(problem).collect::<Vec<_>>().join("; ")
}

/// How an import is to be done.
pub(super) struct Order<'a> {
    pub(super) columns: &'a Columns,
    pub(super) format: Format,
    pub(super) quarantine: bool,
    /// Set where the file holds changes and not all of the records.
    pub(super) changes: Option<&'a ChangePlan>,
    /// How numbers are written.
    pub(super) known: &'a Schemes,
    /// How the file's own columns and values are read, where they are not the service's.
    pub(super) mapping: &'a Mapping,
    pub(super) progress: &'a dyn Fn(Progress),
}

/// What was loaded into a store.
pub(super) struct Outcome {
    pub(super) report: ImportReport,
    /// The schemes, by their place, that the file has a column for.
    pub(super) held_schemes: Vec<usize>,
}

/// Applies the changes in `input` to `old`, into the folder `folder` of a new generation, whose store is `store`. Blocks.
///
/// # Errors
/// Why nothing was changed; the folder is then to be removed.
pub(super) fn apply_file(
    order: &Order<'_>,
    plan: &ChangePlan,
    old: OldRows<'_>,
    folder: &Path,
    store: Store,
    input: impl Read,
) -> Result<Applied, ImportError> {
    let (read, runs) = read_sorted(order, folder, input)?;
    if read.bad_count > 0 {
        return Err(ImportError::BadRows { bad_rows: read.bad_rows, rows: read.bad_count });
    }
    let merge = read.sorter.finish().map_err(ImportError::sorting)?;
    let applied = apply::apply(merge, old, order.columns, plan, store, (read.bytes_read, order.progress))?;
    std::fs::remove_dir_all(&runs).map_err(ImportError::sorting)?;
    Ok(Applied { held_schemes: read.held_schemes, ..applied })
}

fn read_sorted(order: &Order<'_>, folder: &Path, input: impl Read) -> Result<(reading::Reading, PathBuf), ImportError> {
    let runs = folder.join("sort");
    host::files::private_folder(&runs).map_err(|error| ImportError::Write(error.to_string()))?;
    Ok((reading::read(order, folder, Sorter::new(&runs, RUN_BYTES), input)?, runs))
}

/// Loads `input` into the folder `folder` of a new generation, whose store is `store`. Blocks for as long as it takes.
///
/// # Errors
/// Why nothing was imported; the folder is then to be removed.
pub(super) fn load_file(
    order: &Order<'_>,
    folder: &Path,
    store: Store,
    input: impl Read,
) -> Result<Outcome, ImportError> {
    let (read, runs) = read_sorted(order, folder, input)?;
    if read.bad_count > 0 && (!order.quarantine || read.good_count == 0) {
        return Err(ImportError::BadRows { bad_rows: read.bad_rows, rows: read.bad_count });
    }
    let merge = read.sorter.finish().map_err(ImportError::sorting)?;
    let loaded = load::load(merge, store, read.entries, read.bytes_read, order.progress)?;
    std::fs::remove_dir_all(&runs).map_err(ImportError::sorting)?;
    if loaded.too_many_count > 0 && !order.quarantine {
        return Err(ImportError::BadRows { bad_rows: loaded.too_many, rows: loaded.too_many_count });
    }
    let mut bad_rows = read.bad_rows;
    bad_rows.extend(loaded.too_many);
    bad_rows.truncate(BAD_ROW_LIMIT);
    let report = ImportReport {
        rows: loaded.rows,
        subjects: loaded.subjects,
        quarantined_rows: read.bad_count,
        quarantined_subjects: loaded.quarantined_subjects,
        withheld_rows: loaded.withheld_rows,
        unattributed_rows: read.unattributed,
        bad_rows,
        quarantine_file: read.quarantine_file,
        replaced_rows: None,
    };
    Ok(Outcome { report, held_schemes: read.held_schemes })
}
