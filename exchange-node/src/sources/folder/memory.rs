//! Which files were handled, and what came of it: kept on disk, so that no export is taken again after a restart. Holds no
//! personal data: names of files, digests, and what was wrong by line and field.

use std::{collections::HashSet, io, path::PathBuf};

use host::files;
use serde::{Deserialize, Serialize};

use super::pick::Found;
use crate::records::ImportError;

/// How many files are remembered that are in the folder no longer. Those that still lie there are never forgotten.
const REMEMBERED: usize = 100;

/// So far beyond this machine's clock a file's time of change may lie, for clocks and zones that differ.
const AHEAD_MS: u64 = 24 * 3600 * 1000;

/// How many problems of a file are kept.
const PROBLEMS: usize = 20;

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Its content is in use.
    Taken,
    /// It was bad, and nothing has changed.
    Refused,
}

/// A file that was handled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handled {
    /// Its name.
    pub name: String,
    size: u64,
    changed_ms: u64,
    digest: String,
    /// When, Unix milliseconds.
    pub at_ms: u64,
    /// What became of it.
    pub outcome: Outcome,
    /// How many rows are in use since.
    pub rows: u64,
    /// What is wrong with it.
    pub problems: Vec<String>,
}

impl Handled {
    pub(super) fn of(file: &Found, digest: String, at_ms: u64) -> Self {
        let Found { name, size, changed_ms, .. } = file.clone();
        Self { name, size, changed_ms, digest, at_ms, outcome: Outcome::Taken, rows: 0, problems: Vec::new() }
    }

    pub(super) fn refuse(&mut self, error: &ImportError) {
        self.outcome = Outcome::Refused;
        self.problems.push(error.to_string());
        if let ImportError::BadRows { bad_rows, .. } = error {
            self.problems.extend(bad_rows.iter().take(PROBLEMS).map(ToString::to_string));
        }
    }
}

/// Whether a file bears a time that nothing can bear yet, so that it says nothing about what is newer.
pub(super) fn is_ahead(changed_ms: u64, now_ms: u64) -> bool {
    changed_ms > now_ms.saturating_add(AHEAD_MS)
}

/// What was handled, the newest last.
#[derive(Debug)]
pub(super) struct Memory {
    path: PathBuf,
    handled: Vec<Handled>,
    damage: Option<String>,
    pub(super) trouble: Option<String>,
}

impl Memory {
    /// What is remembered in the file `path`. Where it cannot be read, nothing is, and [`Memory::damage`] says so: the newest
    /// of whole exports is taken again then, which changes nothing.
    pub(super) fn open(path: PathBuf) -> Self {
        let (handled, damage) = match std::fs::read(&path).map(|text| serde_json::from_slice(&text)) {
            Ok(Ok(handled)) => (handled, None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (Vec::new(), None),
            Ok(Err(error)) => (Vec::new(), Some(format!("{} cannot be read: {error}", path.display()))),
            Err(error) => (Vec::new(), Some(format!("{} cannot be read: {error}", path.display()))),
        };
        if let Some(reason) = &damage {
            tracing::warn!(reason, "what was taken from a folder is not known");
        }
        Self { path, handled, damage, trouble: None }
    }

    /// Why nothing is known of what was handled before.
    pub(super) fn damage(&self) -> Option<&str> {
        self.damage.as_deref()
    }

    /// The place in time of the newest file that was taken: what is older is not taken any more. A file from the future says
    /// nothing.
    pub(super) fn newest_taken(&self, now_ms: u64) -> Option<(u64, String)> {
        let taken = self.handled.iter().filter(|handled| handled.outcome == Outcome::Taken);
        let taken = taken.filter(|handled| !is_ahead(handled.changed_ms, now_ms));
        let newest = taken.map(|handled| (handled.changed_ms, handled.name.as_str())).max();
        newest.map(|(at_ms, name)| (at_ms, name.to_owned()))
    }

    pub(super) fn last(&self) -> Option<&Handled> {
        self.handled.last()
    }

    /// What became of the file, if it was handled as it is.
    pub(super) fn same_file(&self, file: &Found) -> Option<Handled> {
        let is_same = |handled: &&Handled| {
            handled.name == file.name && handled.size == file.size && handled.changed_ms == file.changed_ms
        };
        self.handled.iter().rev().find(is_same).cloned()
    }

    /// What became of the file, if it is the one that was handled last under its name, written anew.
    pub(super) fn same_content(&mut self, file: &Found, digest: &str) -> io::Result<Option<Handled>> {
        let last = self.handled.last_mut().filter(|last| last.name == file.name && last.digest == digest);
        let Some(last) = last else { return Ok(None) };
        last.changed_ms = file.changed_ms;
        let last = last.clone();
        self.write()?;
        Ok(Some(last))
    }

    pub(super) fn remember(&mut self, handled: Handled) -> io::Result<()> {
        self.handled.push(handled);
        self.write()
    }

    /// Forgets files that are not among those `found` any more, beyond the newest. What still lies in the folder would be
    /// taken again if it were forgotten, and the newest that was taken says what is too old.
    pub(super) fn prune(&mut self, found: &[Found], now_ms: u64) -> io::Result<()> {
        let before = self.handled.len();
        let spare = before.saturating_sub(REMEMBERED);
        if spare == 0 {
            return Ok(());
        }
        let newest = self.newest_taken(now_ms);
        let there = found.iter().map(|file| (file.name.as_str(), file.size, file.changed_ms)).collect::<HashSet<_>>();
        let mut index = 0;
        self.handled.retain(|handled| {
            index += 1;
            index > spare
                || there.contains(&(handled.name.as_str(), handled.size, handled.changed_ms))
                || newest.as_ref().is_some_and(|(at_ms, name)| (*at_ms, name) == (handled.changed_ms, &handled.name))
        });
        if self.handled.len() < before { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(&self.handled).map_err(io::Error::other)?;
        files::replace_file(&self.path, &text, files::PRIVATE_MODE).map_err(io::Error::other)?;
        self.damage = None;
        Ok(())
    }
}
