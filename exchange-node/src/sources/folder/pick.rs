//! Which files of a folder are exports, and which of them are whole. Out of scope: what was handled before (`memory`).

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use super::changed_ms;
use crate::records::Format;

/// A file of the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) size: u64,
    pub(super) changed_ms: u64,
    pub(super) format: Format,
}

impl Found {
    /// Its place in time among the files of its folder.
    pub(super) fn place(&self) -> (u64, &str) {
        (self.changed_ms, &self.name)
    }

    /// Whether it is still as it was found.
    pub(super) fn is_unchanged(&self) -> io::Result<bool> {
        let metadata = std::fs::metadata(&self.path)?;
        Ok(metadata.len() == self.size && changed_ms(metadata.modified()?) == self.changed_ms)
    }
}

/// The exports in `folder` whose names begin with `prefix`, the oldest first.
pub(super) fn files(folder: &Path, prefix: &str) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let Some(format) = format(&name).filter(|_| name.starts_with(prefix)) else { continue };
        // Followed: a link to the newest export is one, too. One that is gone meanwhile is not there.
        let metadata = match std::fs::metadata(entry.path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            metadata => metadata?,
        };
        if metadata.is_file() {
            let changed_ms = changed_ms(metadata.modified()?);
            found.push(Found { name, path: entry.path(), size: metadata.len(), changed_ms, format });
        }
    }
    found.sort_by(|one, other| one.place().cmp(&other.place()));
    Ok(found)
}

/// What a file's ending says of it. Names under which files are still written have another ending, or a dot or a `~` first.
fn format(name: &str) -> Option<Format> {
    if name.starts_with(['.', '~']) {
        return None;
    }
    match name.rsplit_once('.')?.1.to_ascii_lowercase().as_str() {
        "csv" => Some(Format::Csv),
        "jsonl" | "ndjson" => Some(Format::JsonLines),
        "xlsx" => Some(Format::Xlsx),
        _ => None,
    }
}

/// Since when each file has been as it is.
#[derive(Debug, Default)]
pub(super) struct Settling {
    since: HashMap<String, (u64, u64, u64)>,
}

impl Settling {
    /// Those of `found` that have been as they are for `settle`, as far as was seen here.
    pub(super) fn whole(&mut self, found: &[Found], settle: Duration, now_ms: u64) -> Vec<Found> {
        let settle_ms = u64::try_from(settle.as_millis()).unwrap_or(u64::MAX);
        self.since.retain(|name, _| found.iter().any(|file| file.name == *name));
        let mut whole = Vec::new();
        for file in found {
            let since = self.since.entry(file.name.clone()).or_insert((file.size, file.changed_ms, now_ms));
            if (since.0, since.1) != (file.size, file.changed_ms) {
                *since = (file.size, file.changed_ms, now_ms);
            }
            if now_ms.saturating_sub(since.2) >= settle_ms {
                whole.push(file.clone());
            }
        }
        whole
    }
}
