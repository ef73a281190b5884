//! Which files were handled, and what came of it: kept on disk, so that no export is taken again after a restart. Holds no
//! personal data: names of files, digests, and what was wrong by line and field.

use std::{io, path::PathBuf};

use host::files;
use serde::{Deserialize, Serialize};

use super::pick::Found;
use crate::records::ImportError;

/// How many files are remembered.
const REMEMBERED: usize = 100;

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

/// What was handled, the newest last.
#[derive(Debug)]
pub(super) struct Memory {
    path: PathBuf,
    handled: Vec<Handled>,
    pub(super) trouble: Option<String>,
}

impl Memory {
    /// What is remembered in the file `path`. Where it cannot be read, nothing is: then the newest file is taken again, which
    /// changes nothing.
    pub(super) fn open(path: PathBuf) -> Self {
        let handled = match std::fs::read(&path).map(|text| serde_json::from_slice(&text)) {
            Ok(Ok(handled)) => handled,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Ok(Err(error)) => unreadable(&path, &error),
            Err(error) => unreadable(&path, &error),
        };
        Self { path, handled, trouble: None }
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
        if self.handled.len() > REMEMBERED {
            self.handled.remove(0);
        }
        self.write()
    }

    fn write(&self) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(&self.handled).map_err(io::Error::other)?;
        files::replace_file(&self.path, &text, files::PRIVATE_MODE).map_err(io::Error::other)
    }
}

fn unreadable(path: &std::path::Path, error: &dyn std::fmt::Display) -> Vec<Handled> {
    tracing::warn!(path = %path.display(), %error, "what was taken from a folder is not known; it is taken again");
    Vec::new()
}
