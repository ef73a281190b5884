//! The sealed backup of a node's keys, which two officers open together, and what is recorded of having tried it. A backup
//! that nobody ever opened is a hope; [`rehearse`] opens it and compares, and `doctor` asks until that was done.
//!
//! In it: the department's, the recovery, the node's and the TLS key, as far as they are in the folder. Not in it: the
//! months' keys of the evidence, because destroying such a key must erase its month for good.
//!
//! Out of scope: the box itself (`host::two_officers`).

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use data_encoding::HEXLOWER;
use host::{
    files,
    random::Random,
    two_officers::{self, Cost, Officer},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize, Zeroizing};

use super::{DEPARTMENT, NODE, RECOVERY, TLS, folder};

/// Which files are backed up. Only these are ever written from a backup.
const BACKED_UP: [&str; 4] = [DEPARTMENT, RECOVERY, NODE, TLS];

/// What is recorded of the last rehearsal.
const REHEARSED: &str = "rehearsed.json";

/// Why a backup was not made, opened or tried.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The box was not made or does not open.
    #[error(transparent)]
    Box(#[from] two_officers::Error),
    /// What is in the box is no backup of keys.
    #[error("what is in the box is no backup of a node's keys")]
    ContentMalformed,
    /// Keys in the folder and in the backup are not the same.
    #[error("{}: the backup would not bring back what this node uses; make a new one (`keys backup`)", .0.join("; "))]
    Differs(Vec<String>),
    /// A file is there already, with another key in it.
    #[error("{} holds another key than the backup: nothing was changed; move it away first", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] files::Error),
    /// There are no keys to back up.
    #[error("{} holds no keys", folder.display())]
    Nothing {
        /// The folder.
        folder: PathBuf,
    },
}

/// The files of a backup, erased when dropped.
#[derive(Deserialize, Serialize)]
struct Content {
    files: BTreeMap<String, String>,
}

impl Drop for Content {
    fn drop(&mut self) {
        self.files.values_mut().for_each(Zeroize::zeroize);
    }
}

/// What was recorded of a rehearsal.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Rehearsal {
    /// When, Unix milliseconds.
    pub at_ms: u64,
    /// SHA-256 of the backup's file, hex.
    pub backup: String,
    /// The keys that it would bring back: SHA-256 of each file, by its name.
    pub keys: BTreeMap<String, String>,
}

/// Seals the keys of the folder `dir` for two officers; the text of the backup, and the names of what is in it.
pub fn seal(
    dir: &Path,
    label: &str,
    officers: [Officer<'_>; 2],
    cost: Cost,
    now_ms: u64,
    random: &dyn Random,
) -> Result<(String, Vec<&'static str>), Error> {
    let mut content = Content { files: BTreeMap::new() };
    let mut names = Vec::new();
    for name in BACKED_UP {
        if let Some(bytes) = read(dir, name)? {
            names.push(name);
            content.files.insert(name.to_owned(), HEXLOWER.encode(&bytes));
        }
    }
    if names.is_empty() {
        return Err(Error::Nothing { folder: folder(dir) });
    }
    let text = Zeroizing::new(serde_json::to_vec(&content).map_err(|_| Error::ContentMalformed)?);
    Ok((two_officers::seal(label, &text, officers, cost, now_ms, random)?, names))
}

/// Brings the keys of a backup into the folder `dir`, which may be empty; the names of what was written. A file that is
/// there with the same key stays; one with another key stops everything.
pub fn restore(dir: &Path, backup: &str, secrets: [&[u8]; 2]) -> Result<Vec<String>, Error> {
    let files = open(backup, secrets)?;
    for (name, bytes) in &files {
        if read(dir, name)?.is_some_and(|there| there != *bytes) {
            return Err(Error::Exists { path: folder(dir).join(name) });
        }
    }
    files::private_folder(dir)?;
    files::private_folder(&folder(dir))?;
    files::private_folder(&folder(dir).join("months"))?;
    let mut written = Vec::new();
    for (name, bytes) in &files {
        if read(dir, name)?.is_none() {
            files::write_private_file(&folder(dir).join(name), bytes)?;
            written.push(name.clone());
        }
    }
    Ok(written)
}

/// Opens a backup in memory, compares it with the keys in the folder `dir`, and records that it was done.
pub fn rehearse(dir: &Path, backup: &str, secrets: [&[u8]; 2], now_ms: u64) -> Result<Rehearsal, Error> {
    let files = open(backup, secrets)?;
    let mut differs = Vec::new();
    for name in BACKED_UP {
        // The recovery key is in the safe, and the backup with it; whatever is here must be there.
        let Some(here) = read(dir, name)? else { continue };
        match files.iter().find(|(of, _)| of == name) {
            None => differs.push(format!("{name} is not in the backup")),
            // A TLS key is renewed by itself, and a lost one is made anew.
            Some((_, there)) if *there != here && name != TLS => {
                differs.push(format!("{name} has changed since the backup was made"));
            }
            Some(_) => {}
        }
    }
    if !differs.is_empty() {
        return Err(Error::Differs(differs));
    }
    let keys = files.iter().map(|(name, bytes)| (name.clone(), digest(bytes))).collect();
    let rehearsal = Rehearsal { at_ms: now_ms, backup: digest(backup.as_bytes()), keys };
    let text = serde_json::to_vec(&rehearsal).map_err(|_| Error::ContentMalformed)?;
    files::replace_file(&folder(dir).join(REHEARSED), &text, files::PRIVATE_MODE)?;
    Ok(rehearsal)
}

/// What is known of the last rehearsal, and which keys have changed since: for `doctor`.
pub fn last_rehearsal(dir: &Path) -> Option<(Rehearsal, Vec<&'static str>)> {
    let text = fs::read(folder(dir).join(REHEARSED)).ok()?;
    let rehearsal: Rehearsal = serde_json::from_slice(&text).ok()?;
    let changed = [DEPARTMENT, NODE].into_iter().filter(|name| {
        let here = read(dir, name).ok().flatten();
        here.is_some_and(|here| rehearsal.keys.get(*name) != Some(&digest(&here)))
    });
    let changed = changed.collect();
    Some((rehearsal, changed))
}

type Files = Vec<(String, Zeroizing<Vec<u8>>)>;

fn open(backup: &str, secrets: [&[u8]; 2]) -> Result<Files, Error> {
    let opened = two_officers::open(backup, secrets)?;
    let content: Content = serde_json::from_slice(&opened).map_err(|_| Error::ContentMalformed)?;
    content
        .files
        .iter()
        .map(|(name, hex)| {
            // A name that leads elsewhere would let a forged backup write there.
            let known = BACKED_UP.contains(&name.as_str());
            let bytes = HEXLOWER.decode(hex.as_bytes()).ok().filter(|_| known).ok_or(Error::ContentMalformed)?;
            Ok((name.clone(), Zeroizing::new(bytes)))
        })
        .collect()
}

fn read(dir: &Path, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
    match files::read_private_file(&folder(dir).join(name)) {
        Err(files::Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        read => Ok(Some(read?)),
    }
}

fn digest(bytes: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use host::random::SeededRandom;

    use super::*;
    use crate::keys::{NewKeys, NodeKeys};

    const CHEAP: Cost = Cost { memory_kib: 64, passes: 1, lanes: 1 };
    const SECRETS: [&[u8]; 2] = [b"correct horse battery", b"staple tower of ice"];

    fn backup(dir: &Path, seed: u64) -> String {
        let [one, other] = SECRETS;
        let officers = [Officer { name: "1024", secret: one }, Officer { name: "1025", secret: other }];
        seal(dir, "ninghe/housing/1", officers, CHEAP, 7, &SeededRandom::new(seed)).unwrap().0
    }

    #[test]
    fn a_lost_folder_comes_back_from_its_backup() {
        let folder = tempfile::tempdir().unwrap();
        let (dir, other) = (folder.path().join("node"), folder.path().join("other"));
        let made = NewKeys::read_or_make(&dir, &["node.example"], &SeededRandom::new(1)).unwrap();
        let text = backup(&dir, 2);
        let written = restore(&other, &text, SECRETS).unwrap();
        assert_eq!(written, ["department.key", "node.key", "recovery.key", "tls.key"]);
        let read = NodeKeys::read(&other).unwrap();
        assert_eq!(read.tls.key_digest(), made.tls.key_digest());
        use trust::key::Signer;
        assert_eq!(read.node.public_key(), made.node.public_key());
        assert!(restore(&other, &text, SECRETS).unwrap().is_empty(), "once more changes nothing");

        // Another node's folder is left as it is.
        let third = folder.path().join("third");
        NewKeys::read_or_make(&third, &["node.example"], &SeededRandom::new(9)).unwrap();
        assert!(matches!(restore(&third, &text, SECRETS), Err(Error::Exists { .. })));
        assert!(matches!(restore(&other, &text, [SECRETS[1], SECRETS[0]]), Err(Error::Box(_))));
    }

    #[test]
    fn a_rehearsal_is_recorded_and_counts_until_a_key_changes() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("node");
        NewKeys::read_or_make(&dir, &["node.example"], &SeededRandom::new(1)).unwrap();
        let text = backup(&dir, 2);
        assert_eq!(last_rehearsal(&dir), None);
        assert!(rehearse(&dir, &text, [SECRETS[0], b"something else"], 8).is_err());
        assert_eq!(last_rehearsal(&dir), None);
        let rehearsal = rehearse(&dir, &text, SECRETS, 8).unwrap();
        assert_eq!(last_rehearsal(&dir), Some((rehearsal, Vec::new())));
        // The recovery key goes into the safe, as it should.
        fs::remove_file(dir.join("keys/recovery.key")).unwrap();
        rehearse(&dir, &text, SECRETS, 9).unwrap();

        let key = dir.join("keys/node.key");
        files::replace_file(&key, "07".repeat(32).as_bytes(), files::PRIVATE_MODE).unwrap();
        assert_eq!(last_rehearsal(&dir).unwrap().1, ["node.key"]);
        let error = rehearse(&dir, &text, SECRETS, 10).unwrap_err().to_string();
        assert!(error.contains("node.key has changed"), "{error}");
        rehearse(&dir, &backup(&dir, 3), SECRETS, 11).unwrap();
        assert!(last_rehearsal(&dir).unwrap().1.is_empty());
    }
}
