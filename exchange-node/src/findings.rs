//! What was found wrong with the registry or the directory, kept so that others can judge it: each finding is a folder
//! `DIR/findings/<kind>-<8 hex digits>` with the bytes as they came (signed notes, proofs and entries in the C2SP formats)
//! and a `finding.json` that says what they show.
//!
//! **Invariant:** evidence is on the disk before anybody relies on the finding, and nothing here is ever deleted. The same
//! lie told again adds nothing; a liar can fill no disk, because of each kind only so many are kept.
//!
//! Out of scope: what is a contradiction (`view`), and what is to be done about it (the authority).

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use data_encoding::HEXLOWER;
use host::files::{self, PRIVATE_MODE};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The folder of all findings, within the node's.
pub const FOLDER: &str = "findings";

/// What a finding says, in its folder.
const FINDING: &str = "finding.json";

/// How it was settled, in its folder.
const SETTLED: &str = "settled.json";

/// So many findings of one kind are kept; the next ones only count again for the last.
const MOST_OF_A_KIND: usize = 16;

/// The longest file of a finding, in bytes; what is longer is cut.
const LARGEST_FILE: usize = 4 * 1024 * 1024;

/// What kind of lie or damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Kind {
    /// Another department saw another directory than this node.
    Divergence,
    /// The registry's checkpoint is not that of the statements it sent, or of those it once signed for.
    Fork,
    /// The registry signed, later, for fewer statements.
    Rollback,
    /// A checkpoint that the log's key did not sign.
    Signature,
    /// Statements are missing between those that were sent and those that are here.
    Skipped,
    /// A checkpoint older than one that was seen before.
    Stale,
    /// A statement in the log that does not count.
    Statement,
}

impl Kind {
    /// The kind's name, as it stands in folders, JSON and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Divergence => "divergence",
            Self::Fork => "fork",
            Self::Rollback => "rollback",
            Self::Signature => "signature",
            Self::Skipped => "skipped",
            Self::Stale => "stale",
            Self::Statement => "statement",
        }
    }
}

/// Why findings cannot be kept or settled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The folder or a file in it cannot be read or written.
    #[error(transparent)]
    File(#[from] files::Error),
    /// The operating system refused.
    #[error("cannot read the findings in {}: {source}", path.display())]
    Io {
        /// The folder or file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The note cannot be written as JSON.
    #[error("the finding cannot be written: {0}")]
    Json(#[from] serde_json::Error),
    /// There is no such finding.
    #[error("there is no finding {id:?}: `directory findings` shows them")]
    Unknown {
        /// What was asked for.
        id: String,
    },
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its id, also its folder's name.
    pub id: String,
    /// What kind.
    pub kind: Kind,
    /// What, in a sentence.
    pub what: String,
    /// Who said it: `registry`, `file`, or a party.
    pub source: String,
    /// When it was first seen, Unix milliseconds.
    pub first_ms: u64,
    /// When it was last seen since the start, Unix milliseconds; 0 for not since.
    pub last_ms: u64,
    /// The files of the evidence, by name.
    pub files: Vec<String>,
    /// How it was settled; empty where it is not.
    pub settled: String,
}

/// A finding to be kept.
#[derive(Debug)]
pub struct NewFinding<'a> {
    /// What kind.
    pub kind: Kind,
    /// What makes it the same when it is seen again.
    pub identity: Vec<u8>,
    /// What, in a sentence.
    pub what: String,
    /// Who said it.
    pub source: &'a str,
    /// When, Unix milliseconds.
    pub at_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct Written {
    kind: Kind,
    what: String,
    source: String,
    first_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct Settled {
    note: String,
    at_ms: u64,
}

/// All findings of a node.
#[derive(Debug)]
pub struct Findings {
    folder: PathBuf,
    known: Mutex<Vec<Finding>>,
}

impl Findings {
    /// Reads what was found before, in `DIR/findings`.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let folder = dir.join(FOLDER);
        let mut known = Vec::new();
        match fs::read_dir(&folder) {
            Ok(listed) => {
                for entry in listed {
                    let entry = entry.map_err(|source| Error::Io { path: folder.clone(), source })?;
                    known.extend(read(&entry.path()));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(Error::Io { path: folder, source }),
        }
        known.sort_by_key(|finding: &Finding| (finding.first_ms, finding.id.clone()));
        Ok(Self { folder, known: Mutex::new(known) })
    }

    /// All findings, the newest first.
    pub fn list(&self) -> Vec<Finding> {
        self.known().iter().rev().cloned().collect()
    }

    /// Those that are not settled, the newest first.
    pub fn open_ones(&self) -> Vec<Finding> {
        self.known().iter().rev().filter(|finding| finding.settled.is_empty()).cloned().collect()
    }

    /// The folder of a finding's evidence.
    pub fn folder_of(&self, id: &str) -> PathBuf {
        self.folder.join(id)
    }

    /// Keeps a finding with its evidence: `files` makes name and bytes of each file, and is called only where the finding is
    /// new. Its id, and whether it is new. Blocks.
    pub fn keep(
        &self,
        new: &NewFinding<'_>,
        evidence: impl FnOnce() -> Vec<(String, Vec<u8>)>,
    ) -> Result<(String, bool), Error> {
        let id = id_of(new.kind, &new.identity);
        {
            let mut known = self.known();
            if let Some(finding) = known.iter_mut().find(|finding| finding.id == id) {
                finding.last_ms = new.at_ms;
                return Ok((id, false));
            }
            let mut same = known.iter_mut().filter(|finding| finding.kind == new.kind);
            if let Some(last) = same.by_ref().nth(MOST_OF_A_KIND - 1) {
                last.last_ms = new.at_ms;
                return Ok((last.id.clone(), false));
            }
        }
        let folder = self.folder.join(&id);
        files::private_folder(&folder)?;
        let mut names = Vec::new();
        for (name, bytes) in evidence() {
            write_once(&folder.join(&name), &bytes)?;
            names.push(name);
        }
        let written =
            Written { kind: new.kind, what: new.what.clone(), source: new.source.to_owned(), first_ms: new.at_ms };
        // Last: a folder without it is one that a crash left behind.
        write_once(&folder.join(FINDING), &serde_json::to_vec_pretty(&written)?)?;
        for folder in [self.folder.as_path(), self.folder.parent().unwrap_or(Path::new("."))] {
            sync(folder)?;
        }
        let finding = Finding {
            id: id.clone(),
            kind: new.kind,
            what: new.what.clone(),
            source: new.source.to_owned(),
            first_ms: new.at_ms,
            last_ms: new.at_ms,
            files: names,
            settled: String::new(),
        };
        self.known().push(finding);
        Ok((id, true))
    }

    /// Adds evidence to a finding. Files that are there stay as they are. Blocks.
    pub fn add(&self, id: &str, evidence: Vec<(String, Vec<u8>)>) -> Result<(), Error> {
        if !self.known().iter().any(|finding| finding.id == id) {
            return Err(Error::Unknown { id: id.to_owned() });
        }
        let folder = self.folder.join(id);
        for (name, bytes) in evidence {
            write_once(&folder.join(&name), &bytes)?;
            if let Some(finding) = self.known().iter_mut().find(|finding| finding.id == id)
                && !finding.files.contains(&name)
            {
                finding.files.push(name);
            }
        }
        Ok(())
    }

    /// Notes how a finding was settled. Its evidence stays. Blocks.
    pub fn settle(&self, id: &str, note: &str, at_ms: u64) -> Result<(), Error> {
        if !self.known().iter().any(|finding| finding.id == id) {
            return Err(Error::Unknown { id: id.to_owned() });
        }
        let settled = serde_json::to_vec_pretty(&Settled { note: note.to_owned(), at_ms })?;
        files::replace_file(&self.folder.join(id).join(SETTLED), &settled, PRIVATE_MODE)?;
        if let Some(finding) = self.known().iter_mut().find(|finding| finding.id == id) {
            note.clone_into(&mut finding.settled);
        }
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, Vec<Finding>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The same lie has the same id, whenever it is told.
fn id_of(kind: Kind, identity: &[u8]) -> String {
    let digest = Sha256::digest([kind.as_str().as_bytes(), b"\0", identity].concat());
    format!("{}-{}", kind.as_str(), HEXLOWER.encode(&digest[..4]))
}

fn read(folder: &Path) -> Option<Finding> {
    let id = folder.file_name()?.to_str()?.to_owned();
    let written: Written = serde_json::from_slice(&fs::read(folder.join(FINDING)).ok()?).ok()?;
    let settled = fs::read(folder.join(SETTLED)).ok().and_then(|text| serde_json::from_slice::<Settled>(&text).ok());
    let mut files: Vec<String> = fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| ![FINDING, SETTLED].contains(&name.as_str()))
        .collect();
    files.sort();
    Some(Finding {
        id,
        kind: written.kind,
        what: written.what,
        source: written.source,
        first_ms: written.first_ms,
        last_ms: 0,
        files,
        settled: settled.map(|settled| settled.note).unwrap_or_default(),
    })
}

/// Writes a file that is not there yet: one that a crash left behind says the same.
fn write_once(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    match files::create_file(path, &bytes[..bytes.len().min(LARGEST_FILE)], PRIVATE_MODE) {
        Ok(()) | Err(files::Error::Exists { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn sync(folder: &Path) -> Result<(), Error> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|source| Error::Io { path: folder.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(kind: Kind, identity: &[u8], at_ms: u64) -> NewFinding<'static> {
        NewFinding { kind, identity: identity.to_vec(), what: "it lied".into(), source: "registry", at_ms }
    }

    fn note() -> Vec<(String, Vec<u8>)> {
        vec![("told.checkpoint".to_owned(), b"as it came".to_vec())]
    }

    #[test]
    fn evidence_is_on_the_disk_and_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let findings = Findings::open(dir.path()).unwrap();
        assert!(findings.list().is_empty() && !dir.path().join(FOLDER).exists());
        let (id, is_new) = findings.keep(&new(Kind::Fork, b"5", 7), note).unwrap();
        assert!(is_new);
        assert!(id.starts_with("fork-"), "{id}");
        findings.add(&id, vec![("here.checkpoint".into(), b"ours".to_vec())]).unwrap();
        assert_eq!(fs::read(findings.folder_of(&id).join("told.checkpoint")).unwrap(), b"as it came");

        let again = Findings::open(dir.path()).unwrap();
        let listed = again.list();
        assert_eq!(
            (listed.len(), listed[0].id.as_str(), listed[0].first_ms, listed[0].last_ms),
            (1, id.as_str(), 7, 0)
        );
        assert_eq!(listed[0].files, ["here.checkpoint", "told.checkpoint"]);
        again.settle(&id, "the authority restored its registry", 9).unwrap();
        assert!(again.open_ones().is_empty());
        let settled = Findings::open(dir.path()).unwrap().list();
        assert_eq!(settled[0].settled, "the authority restored its registry");
        assert!(again.folder_of(&id).join("told.checkpoint").exists(), "evidence is never deleted");
        assert!(matches!(again.settle("fork-00000000", "n", 1), Err(Error::Unknown { .. })));
        assert!(matches!(again.add("../x", Vec::new()), Err(Error::Unknown { .. })));
    }

    #[test]
    fn the_same_lie_is_kept_once_and_a_liar_fills_no_disk() {
        let dir = tempfile::tempdir().unwrap();
        let findings = Findings::open(dir.path()).unwrap();
        let (first, _) = findings.keep(&new(Kind::Stale, b"a", 1), note).unwrap();
        let (second, is_new) = findings.keep(&new(Kind::Stale, b"a", 2), || panic!("it is known")).unwrap();
        assert_eq!((&first, is_new), (&second, false));
        assert_eq!((findings.list()[0].first_ms, findings.list()[0].last_ms), (1, 2));
        for number in 0..100_u32 {
            findings.keep(&new(Kind::Signature, &number.to_be_bytes(), 3), note).unwrap();
        }
        assert_eq!(findings.list().len(), 1 + MOST_OF_A_KIND);
        assert_eq!(fs::read_dir(dir.path().join(FOLDER)).unwrap().count(), 1 + MOST_OF_A_KIND);
        let long = vec![("x".to_owned(), vec![0; LARGEST_FILE + 1])];
        let (id, _) = findings.keep(&new(Kind::Statement, b"", 4), || long).unwrap();
        assert_eq!(fs::metadata(findings.folder_of(&id).join("x")).unwrap().len(), LARGEST_FILE as u64);
    }

    #[test]
    fn what_a_crash_left_behind_is_no_finding() {
        let dir = tempfile::tempdir().unwrap();
        let half = dir.path().join(FOLDER).join(id_of(Kind::Fork, b"5"));
        files::private_folder(&half).unwrap();
        fs::write(half.join("told.checkpoint"), b"as it came").unwrap();
        let findings = Findings::open(dir.path()).unwrap();
        assert!(findings.list().is_empty());
        findings.keep(&new(Kind::Fork, b"5", 7), note).unwrap();
        assert_eq!(Findings::open(dir.path()).unwrap().list().len(), 1);
    }
}
