//! What the first entries of the journal amount to, kept in a file beside it. Only a shortcut: one that is missing, cannot
//! be read or does not fit the log is left aside, and everything is counted anew. Out of scope: today's counts.

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use data_encoding::HEXLOWER;
use host::files;
use serde::{Deserialize, Serialize};

use super::{Kind, Mark, kind_of, uses_of};
use crate::journal::{Journal, JournalError};

/// The file's name in the node's folder, for the log with this number.
fn file_name(log: u32) -> String {
    match log {
        0 | 1 => "usage.json".to_owned(),
        log => format!("usage-{log}.json"),
    }
}

/// The uses of one grant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) total: u64,
    pub(super) last_ms: u64,
}

/// The uses of every grant in the first entries of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    size: u64,
    given: BTreeMap<Mark, Counted>,
    asked: BTreeMap<Mark, Counted>,
    answered: BTreeMap<Mark, Counted>,
}

/// The file.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    /// How many entries are counted.
    size: u64,
    /// The last of them, hex: a log that has another there is another log.
    last_entry: String,
    given: BTreeMap<String, (u64, u64)>,
    asked: BTreeMap<String, (u64, u64)>,
    answered: BTreeMap<String, (u64, u64)>,
}

impl Saved {
    /// Reads the file of the node's folder. What does not fit the journal counts for nothing.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn load(dir: &Path, journal: &dyn Journal) -> Result<Self, JournalError> {
        Self::load_of(dir, 1, journal)
    }

    /// Reads the file of the log with this number.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn load_of(dir: &Path, log: u32, journal: &dyn Journal) -> Result<Self, JournalError> {
        let path = dir.join(file_name(log));
        let stored: Option<Stored> = std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let Some(stored) = stored else { return Ok(Self::default()) };
        let read = |counts: BTreeMap<String, (u64, u64)>| {
            counts
                .into_iter()
                .map(|(mark, (total, last_ms))| {
                    let mark = HEXLOWER.decode(mark.as_bytes()).ok()?.try_into().ok()?;
                    Some((mark, Counted { total, last_ms }))
                })
                .collect::<Option<BTreeMap<Mark, Counted>>>()
        };
        let fits = last_entry(journal, stored.size)?.is_some_and(|last| last == stored.last_entry);
        let counts = read(stored.given).zip(read(stored.asked)).zip(read(stored.answered));
        match counts {
            Some(((given, asked), answered)) if fits => Ok(Self { size: stored.size, given, asked, answered }),
            _ => {
                tracing::warn!(path = %path.display(), "does not fit the evidence; all uses of grants are counted anew");
                Ok(Self::default())
            }
        }
    }

    /// Counts what the journal has beyond.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn advance(&mut self, journal: &dyn Journal) -> Result<bool, JournalError> {
        let mut end = None;
        let size = self.size;
        journal.newest(0, &mut |head| {
            if head.first_index < size {
                return ControlFlow::Break(());
            }
            end.get_or_insert(head.first_index + head.kinds.len() as u64);
            if let Some((kind, mark)) = kind_of(&head) {
                let counted = self.of_mut(kind).entry(mark).or_default();
                counted.total += uses_of(&head);
                counted.last_ms = counted.last_ms.max(head.at_ms);
            }
            ControlFlow::Continue(())
        })?;
        self.size = end.unwrap_or(size);
        Ok(end.is_some())
    }

    /// Writes the file.
    ///
    /// # Errors
    /// What stands in the way, in words: nothing is lost, but the next start takes longer.
    pub fn store(&self, dir: &Path, journal: &dyn Journal) -> Result<(), String> {
        self.store_of(dir, 1, journal)
    }

    /// Writes the file of the log with this number.
    ///
    /// # Errors
    /// What stands in the way, in words: nothing is lost, but the next start takes longer.
    pub fn store_of(&self, dir: &Path, log: u32, journal: &dyn Journal) -> Result<(), String> {
        let write = |counts: &BTreeMap<Mark, Counted>| {
            counts.iter().map(|(mark, counted)| (HEXLOWER.encode(mark), (counted.total, counted.last_ms))).collect()
        };
        let last_entry = last_entry(journal, self.size).map_err(|error| error.to_string())?.unwrap_or_default();
        let stored = Stored {
            size: self.size,
            last_entry,
            given: write(&self.given),
            asked: write(&self.asked),
            answered: write(&self.answered),
        };
        let bytes = serde_json::to_vec(&stored).map_err(|error| error.to_string())?;
        let path: PathBuf = dir.join(file_name(log));
        files::replace_file(&path, &bytes, files::PRIVATE_MODE).map_err(|error| error.to_string())
    }

    /// How many entries are counted.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn of(&self, kind: Kind) -> &BTreeMap<Mark, Counted> {
        match kind {
            Kind::Answered => &self.answered,
            Kind::Asked => &self.asked,
            Kind::Given => &self.given,
        }
    }

    fn of_mut(&mut self, kind: Kind) -> &mut BTreeMap<Mark, Counted> {
        match kind {
            Kind::Answered => &mut self.answered,
            Kind::Asked => &mut self.asked,
            Kind::Given => &mut self.given,
        }
    }
}

/// The entry before `size`, in hex; its salt makes it this log's alone.
fn last_entry(journal: &dyn Journal, size: u64) -> Result<Option<String>, JournalError> {
    let Some(index) = size.checked_sub(1) else { return Ok(None) };
    let stored = journal.entry(index)?;
    Ok(stored.map(|stored| HEXLOWER.encode(&stored.entry.leaf().as_bytes()[..])))
}
