//! What was anchored last of each evidence log, and which answers are overdue: read from the second log itself, and spared most
//! of the reading at the next start by a file. The file is believed for what it says about entries before it; losing it costs a
//! full reading.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use host::files;
use prost::Message;
use proto::exchange::v1::{Envelope, Overdue};
use serde::{Deserialize, Serialize};
use trust::{
    envelope,
    ids::{DepartmentId, Digest, Party},
    log::{checkpoint::Checkpoint, hash::Hash, note::SignedNote},
    overdue,
};

use super::CHUNK;
use crate::ledger::{self, Ledger, ReadLimit};

/// The last anchor of one evidence log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Latest {
    pub(super) index: u64,
    pub(super) size: u64,
    pub(super) root: Hash,
    /// When it was signed, Unix seconds.
    pub(super) seconds: u64,
}

/// The last anchors of all evidence logs.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// How many entries of the second log have been read.
    pub(super) covered: u64,
    latest: HashMap<String, Latest>,
    /// The entry of every overdue answer, by the digest of its request.
    overdue: HashMap<Digest, u64>,
    /// How many there are, by the department that owes them.
    counted: BTreeMap<DepartmentId, Counted>,
}

/// How many deferred answers a department did not give in time.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// How many.
    pub count: u64,
    /// When the newest was due, Unix milliseconds.
    pub last_due_ms: u64,
}

#[derive(Deserialize, Serialize)]
struct Saved {
    covered: u64,
    latest: Vec<(String, u64, u64, String, u64)>,
    #[serde(default)]
    overdue: Vec<(String, u64)>,
    #[serde(default)]
    counted: BTreeMap<String, Counted>,
}

impl Known {
    /// From the file, where there is one that can be read.
    pub(super) fn load(folder: &Path, log: u32) -> Self {
        let saved = std::fs::read(folder.join(name(log))).ok();
        let saved: Option<Saved> = saved.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let Some(saved) = saved else { return Self::default() };
        let latest = saved.latest.into_iter().filter_map(|(origin, index, size, root, seconds)| {
            Some((origin, Latest { index, size, root: root.parse().ok()?, seconds }))
        });
        let overdue = saved.overdue.into_iter().filter_map(|(request, index)| Some((request.parse().ok()?, index)));
        let counted = saved.counted.into_iter().filter_map(|(id, counted)| Some((id.parse().ok()?, counted)));
        Self {
            covered: saved.covered,
            latest: latest.collect(),
            overdue: overdue.collect(),
            counted: counted.collect(),
        }
    }

    /// Into the file.
    pub(super) fn save(&self, folder: &Path, log: u32) -> Result<(), files::Error> {
        let latest = self.latest.iter().map(|(origin, latest)| {
            (origin.clone(), latest.index, latest.size, latest.root.to_string(), latest.seconds)
        });
        let saved = Saved {
            covered: self.covered,
            latest: latest.collect(),
            overdue: self.overdue.iter().map(|(request, index)| (request.to_string(), *index)).collect(),
            counted: self.counted.iter().map(|(id, counted)| (id.to_string(), *counted)).collect(),
        };
        let bytes = serde_json::to_vec(&saved).unwrap_or_default();
        files::replace_file(&folder.join(name(log)), &bytes, files::PRIVATE_MODE)
    }

    /// Reads what is in the second log and not known yet.
    pub(super) async fn catch_up(&mut self, ledger: &dyn Ledger) -> Result<(), ledger::Error> {
        let size = ledger.position().await?.size;
        if self.covered > size {
            // The file is of another log than the one that was restored.
            *self = Self::default();
        }
        while self.covered < size {
            for entry in ledger.read(self.covered, ReadLimit::entries(CHUNK)).await? {
                if let Some((origin, latest)) = parse(self.covered, &entry) {
                    self.latest.insert(origin, latest);
                } else if let Some(overdue) = overdue::is_one(&entry).then(|| claimed(&entry)).flatten() {
                    self.count(self.covered, &overdue);
                }
                self.covered += 1;
            }
        }
        Ok(())
    }

    pub(super) fn latest(&self, origin: &str) -> Option<&Latest> {
        self.latest.get(origin)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&String, &Latest)> {
        self.latest.iter()
    }

    /// Where the overdue answer to a request stands.
    pub(super) fn overdue(&self, request: &Digest) -> Option<u64> {
        self.overdue.get(request).copied()
    }

    /// How many overdue answers each department has.
    pub(super) fn counted(&self) -> &BTreeMap<DepartmentId, Counted> {
        &self.counted
    }

    /// An overdue answer that was just appended.
    pub(super) fn learn_overdue(&mut self, index: u64, overdue: &Overdue) {
        self.covered = index + 1;
        self.count(index, overdue);
    }

    fn count(&mut self, index: u64, overdue: &Overdue) {
        let request = Digest::try_from(overdue.request_digest.as_slice());
        let (Ok(request), Ok(party)) = (request, overdue.sender.parse::<Party>()) else { return };
        if self.overdue.insert(request, index).is_none() {
            let counted = self.counted.entry(party.department().clone()).or_default();
            counted.count += 1;
            counted.last_due_ms = counted.last_due_ms.max(overdue.due_at_ms);
        }
    }

    /// An entry that was just appended.
    pub(super) fn learn(&mut self, origin: String, latest: Latest) {
        self.covered = latest.index + 1;
        self.latest.insert(origin, latest);
    }
}

/// What an entry says; it was verified when it was taken.
fn parse(index: u64, entry: &[u8]) -> Option<(String, Latest)> {
    let note = SignedNote::parse(entry).ok()?;
    let checkpoint = Checkpoint::parse(note.text()).ok()?;
    // A cosignature/v1 begins with its time.
    let times = note.signatures().iter().filter(|signature| signature.bytes().len() == 72);
    let seconds = times.filter_map(|signature| signature.bytes().first_chunk().map(|time| u64::from_be_bytes(*time)));
    let latest =
        Latest { index, size: checkpoint.size(), root: checkpoint.root(), seconds: seconds.max().unwrap_or(0) };
    Some((checkpoint.origin().to_owned(), latest))
}

/// What an overdue answer says; it was verified when it was taken.
fn claimed(entry: &[u8]) -> Option<Overdue> {
    let envelope = Envelope::decode(entry).ok()?;
    envelope::peek(&envelope::signed(envelope), overdue::LARGEST_OVERDUE).ok()
}

fn name(log: u32) -> String {
    format!("anchors-{log}.latest")
}
