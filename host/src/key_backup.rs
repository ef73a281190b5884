//! The sealed backup of a program's keys, which two officers open together, and what is recorded of having tried it. A
//! backup that nobody ever opened is a hope; [`KeySet::rehearse`] opens it and compares.
//!
//! Out of scope: the box itself (`two_officers`), where the officers' secrets come from (`officers`), and which keys a
//! program has.

use std::{collections::BTreeMap, fs, io, path::PathBuf};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::{
    files,
    random::Random,
    two_officers::{self, Cost, Officer},
};

/// The keys of a program: which files they are, and where.
#[derive(Clone, Debug)]
pub struct KeySet {
    /// The folder of the keys.
    pub folder: PathBuf,
    /// The names of the files. Only these are ever written from a backup.
    pub names: &'static [&'static str],
    /// Those of them whose change asks for another rehearsal. One that is renewed by itself, or made anew when it is lost,
    /// or that lies in a safe, is not among them.
    pub watched: &'static [&'static str],
    /// Those of them that change by themselves: a backup with an older one is good.
    pub renewed: &'static [&'static str],
}

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
    #[error("what is in the box is no backup of these keys")]
    ContentMalformed,
    /// Keys in the folder and in the backup are not the same.
    #[error("{}: the backup would not bring back what is used here; make a new one (`keys backup`)", .0.join("; "))]
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

impl KeySet {
    /// Seals the keys for two officers; the text of the backup, and the names of what is in it.
    ///
    /// # Errors
    ///
    /// There are no keys, one cannot be read, or the box is not made.
    pub fn seal(
        &self,
        label: &str,
        officers: [Officer<'_>; 2],
        cost: Cost,
        now_ms: u64,
        random: &dyn Random,
    ) -> Result<(String, Vec<&'static str>), Error> {
        let mut content = Content { files: BTreeMap::new() };
        let mut names = Vec::new();
        for name in self.names {
            if let Some(bytes) = self.read(name)? {
                names.push(*name);
                content.files.insert((*name).to_owned(), HEXLOWER.encode(&bytes));
            }
        }
        if names.is_empty() {
            return Err(Error::Nothing { folder: self.folder.clone() });
        }
        let text = Zeroizing::new(serde_json::to_vec(&content).map_err(|_| Error::ContentMalformed)?);
        Ok((two_officers::seal(label, &text, officers, cost, now_ms, random)?, names))
    }

    /// Brings the keys of a backup into the folder, which may be missing; the names of what was written. A file that is
    /// there with the same key stays; one with another key stops everything.
    ///
    /// # Errors
    ///
    /// The box does not open, or a file cannot be written.
    pub fn restore(&self, backup: &str, secrets: [&[u8]; 2]) -> Result<Vec<String>, Error> {
        let files = self.open(backup, secrets)?;
        for (name, bytes) in &files {
            if self.read(name)?.is_some_and(|there| there != *bytes) {
                return Err(Error::Exists { path: self.folder.join(name) });
            }
        }
        if let Some(above) = self.folder.parent() {
            files::private_folder(above)?;
        }
        files::private_folder(&self.folder)?;
        let mut written = Vec::new();
        for (name, bytes) in &files {
            if self.read(name)?.is_none() {
                files::write_private_file(&self.folder.join(name), bytes)?;
                written.push(name.clone());
            }
        }
        Ok(written)
    }

    /// Opens a backup in memory, compares it with the keys in the folder, and records that it was done.
    ///
    /// # Errors
    ///
    /// The box does not open, or would not bring back what is used.
    pub fn rehearse(&self, backup: &str, secrets: [&[u8]; 2], now_ms: u64) -> Result<Rehearsal, Error> {
        let files = self.open(backup, secrets)?;
        let mut differs = Vec::new();
        for name in self.names {
            // What is in the backup alone may lie in a safe, and the backup with it; whatever is here must be there.
            let Some(here) = self.read(name)? else { continue };
            match files.iter().find(|(of, _)| of == name) {
                None => differs.push(format!("{name} is not in the backup")),
                Some((_, there)) if *there != here && !self.renewed.contains(name) => {
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
        files::replace_file(&self.folder.join(REHEARSED), &text, files::PRIVATE_MODE)?;
        Ok(rehearsal)
    }

    /// What is known of the last rehearsal, and which watched keys have changed since.
    pub fn last_rehearsal(&self) -> Option<(Rehearsal, Vec<&'static str>)> {
        let text = fs::read(self.folder.join(REHEARSED)).ok()?;
        let rehearsal: Rehearsal = serde_json::from_slice(&text).ok()?;
        let changed = self.watched.iter().copied().filter(|name| {
            let here = self.read(name).ok().flatten();
            here.is_some_and(|here| rehearsal.keys.get(*name) != Some(&digest(&here)))
        });
        let changed = changed.collect();
        Some((rehearsal, changed))
    }

    fn open(&self, backup: &str, secrets: [&[u8]; 2]) -> Result<Files, Error> {
        let opened = two_officers::open(backup, secrets)?;
        let content: Content = serde_json::from_slice(&opened).map_err(|_| Error::ContentMalformed)?;
        content
            .files
            .iter()
            .map(|(name, hex)| {
                // A name that leads elsewhere would let a forged backup write there.
                let known = self.names.contains(&name.as_str());
                let bytes = HEXLOWER.decode(hex.as_bytes()).ok().filter(|_| known).ok_or(Error::ContentMalformed)?;
                Ok((name.clone(), Zeroizing::new(bytes)))
            })
            .collect()
    }

    fn read(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        match files::read_private_file(&self.folder.join(name)) {
            Err(files::Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            read => Ok(Some(read?)),
        }
    }
}

type Files = Vec<(String, Zeroizing<Vec<u8>>)>;

fn digest(bytes: &[u8]) -> String {
    HEXLOWER.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::random::SeededRandom;

    const CHEAP: Cost = Cost { memory_kib: 64, passes: 1, lanes: 1 };
    const SECRETS: [&[u8]; 2] = [b"correct horse battery", b"staple tower of ice"];

    fn keys(folder: &Path) -> KeySet {
        KeySet {
            folder: folder.join("keys"),
            names: &["root.key", "safe.key", "tls.key"],
            watched: &["root.key"],
            renewed: &["tls.key"],
        }
    }

    fn made(folder: &Path, of: &str) -> KeySet {
        let set = keys(folder);
        files::private_folder(folder).unwrap();
        files::private_folder(&set.folder).unwrap();
        for name in set.names {
            files::write_private_file(&set.folder.join(name), format!("{of} {name}").as_bytes()).unwrap();
        }
        set
    }

    fn backup(set: &KeySet, seed: u64) -> String {
        let [one, other] = SECRETS;
        let officers = [Officer { name: "1024", secret: one }, Officer { name: "1025", secret: other }];
        set.seal("keys of ninghe", officers, CHEAP, 7, &SeededRandom::new(seed)).unwrap().0
    }

    #[test]
    fn lost_keys_come_back_and_no_other_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let set = made(&folder.path().join("one"), "one");
        let text = backup(&set, 2);
        let other = keys(&folder.path().join("other"));
        assert_eq!(other.restore(&text, SECRETS).unwrap(), ["root.key", "safe.key", "tls.key"]);
        assert_eq!(fs::read(other.folder.join("root.key")).unwrap(), b"one root.key");
        assert!(other.restore(&text, SECRETS).unwrap().is_empty(), "once more changes nothing");
        let third = made(&folder.path().join("third"), "third");
        assert!(matches!(third.restore(&text, SECRETS), Err(Error::Exists { .. })));
        assert!(matches!(other.restore(&text, [SECRETS[1], SECRETS[0]]), Err(Error::Box(_))));
        let nothing = keys(&folder.path().join("nothing"));
        let officers = [Officer { name: "1", secret: SECRETS[0] }, Officer { name: "2", secret: SECRETS[1] }];
        assert!(matches!(nothing.seal("x", officers, CHEAP, 7, &SeededRandom::new(1)), Err(Error::Nothing { .. })));
    }

    #[test]
    fn a_backup_of_another_programs_keys_writes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let text = backup(&made(&folder.path().join("one"), "one"), 2);
        let stranger = KeySet { names: &["root.key"], ..keys(&folder.path().join("stranger")) };
        assert!(matches!(stranger.restore(&text, SECRETS), Err(Error::ContentMalformed)));
        assert!(!stranger.folder.exists());
    }

    #[test]
    fn a_rehearsal_is_recorded_and_counts_until_a_watched_key_changes() {
        let folder = tempfile::tempdir().unwrap();
        let set = made(&folder.path().join("one"), "one");
        let text = backup(&set, 2);
        assert_eq!(set.last_rehearsal(), None);
        assert!(set.rehearse(&text, [SECRETS[0], b"something else"], 8).is_err());
        assert_eq!(set.last_rehearsal(), None);
        let rehearsal = set.rehearse(&text, SECRETS, 8).unwrap();
        assert_eq!(set.last_rehearsal(), Some((rehearsal, Vec::new())));
        // One goes into a safe, another is renewed.
        fs::remove_file(set.folder.join("safe.key")).unwrap();
        files::replace_file(&set.folder.join("tls.key"), b"renewed", files::PRIVATE_MODE).unwrap();
        set.rehearse(&text, SECRETS, 9).unwrap();
        assert!(set.last_rehearsal().unwrap().1.is_empty());

        files::replace_file(&set.folder.join("root.key"), b"another", files::PRIVATE_MODE).unwrap();
        assert_eq!(set.last_rehearsal().unwrap().1, ["root.key"]);
        let error = set.rehearse(&text, SECRETS, 10).unwrap_err().to_string();
        assert!(error.contains("root.key has changed"), "{error}");
        set.rehearse(&backup(&set, 3), SECRETS, 11).unwrap();
        assert!(set.last_rehearsal().unwrap().1.is_empty());
    }
}
