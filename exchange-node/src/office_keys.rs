//! API keys of the department's own office systems. Only a hash of each is kept; the key itself is shown once. A key is
//! 32 random bytes, so a plain SHA-256 is enough: there is nothing to guess. Out of scope: what an office may ask, which
//! grants decide.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Mutex,
};

use data_encoding::HEXLOWER;
use host::{
    files,
    random::{self, Random},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// The file's name in the node's folder.
pub const FILE_NAME: &str = "office-keys.toml";

/// Why office keys cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be read or written, or others can read it.
    #[error(transparent)]
    File(#[from] files::Error),
    /// The file is no list of keys.
    #[error(transparent)]
    Malformed(#[from] host::config::Error),
    /// The name of the system is no name.
    #[error("an office system's name has 1 to 63 lower-case letters, digits and hyphens")]
    NameMalformed,
    /// There is no such key.
    #[error("there is no office key {id}: `office-key list` shows them")]
    Unknown {
        /// The id.
        id: String,
    },
    /// The list cannot be written as TOML.
    #[error("the list of office keys cannot be written: {0}")]
    Unwritable(#[from] toml::ser::Error),
}

/// A key without the key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct OfficeKey {
    /// Its id, 8 hex digits.
    pub id: String,
    /// The office system it was made for.
    pub system: String,
    /// SHA-256 of the secret, hex.
    hash: String,
    /// When it was made, Unix milliseconds.
    pub added_ms: u64,
    /// Whether it is a citizens' portal's: then it opens who asked about a subject, and nothing else.
    #[serde(default)]
    pub portal: bool,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    #[serde(default)]
    key: Vec<OfficeKey>,
}

/// The department's office keys.
pub struct OfficeKeys {
    path: PathBuf,
    keys: Mutex<Vec<OfficeKey>>,
}

impl OfficeKeys {
    /// Reads the keys of the folder `dir`; none where there is no file.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let path = dir.join(FILE_NAME);
        let stored = match files::read_private_file(&path) {
            Ok(bytes) => host::config::parse::<Stored>(&String::from_utf8_lossy(&bytes), &path)?,
            Err(files::Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Stored::default(),
            Err(error) => return Err(error.into()),
        };
        Ok(Self { path, keys: Mutex::new(stored.key) })
    }

    /// Makes a key for an office system. The text is shown once and kept nowhere.
    pub fn add(&self, system: &str, random: &dyn Random, now_ms: u64) -> Result<(OfficeKey, Zeroizing<String>), Error> {
        self.add_for(system, false, random, now_ms)
    }

    /// The same for a citizens' portal, where `portal` says so: such a key opens the log of a subject and nothing else.
    pub fn add_for(
        &self,
        system: &str,
        portal: bool,
        random: &dyn Random,
        now_ms: u64,
    ) -> Result<(OfficeKey, Zeroizing<String>), Error> {
        system.parse::<trust::ids::NodeId>().map_err(|_| Error::NameMalformed)?;
        let secret = Zeroizing::new(random::array::<32>(random));
        let mut keys = self.locked();
        let id = loop {
            let id = HEXLOWER.encode(&random::array::<4>(random));
            if keys.iter().all(|key| key.id != id) {
                break id;
            }
        };
        let key = OfficeKey { id, system: system.to_owned(), hash: hash(secret.as_slice()), added_ms: now_ms, portal };
        let mut changed = keys.clone();
        changed.push(key.clone());
        self.write(&changed)?;
        *keys = changed;
        let text = Zeroizing::new(format!("{}.{}", key.id, HEXLOWER.encode(secret.as_slice())));
        Ok((key, text))
    }

    /// The keys, in the order in which they were made.
    pub fn list(&self) -> Vec<OfficeKey> {
        self.locked().clone()
    }

    /// Removes a key; it counts no more from now on.
    pub fn remove(&self, id: &str) -> Result<(), Error> {
        let mut keys = self.locked();
        let changed: Vec<_> = keys.iter().filter(|key| key.id != id).cloned().collect();
        if changed.len() == keys.len() {
            return Err(Error::Unknown { id: id.to_owned() });
        }
        self.write(&changed)?;
        *keys = changed;
        Ok(())
    }

    /// The office system that a presented key belongs to; none where it is a citizens' portal's.
    pub fn system_of(&self, presented: &str) -> Option<String> {
        self.key_of(presented).filter(|key| !key.portal).map(|key| key.system)
    }

    /// The citizens' portal that a presented key belongs to; none where it is an office system's.
    pub fn portal_of(&self, presented: &str) -> Option<String> {
        self.key_of(presented).filter(|key| key.portal).map(|key| key.system)
    }

    fn key_of(&self, presented: &str) -> Option<OfficeKey> {
        let (id, secret) = presented.split_once('.')?;
        let secret = Zeroizing::new(HEXLOWER.decode(secret.as_bytes()).ok()?);
        let presented = hash(&secret);
        let keys = self.locked();
        let key = keys.iter().find(|key| key.id == id)?;
        bool::from(key.hash.as_bytes().ct_eq(presented.as_bytes())).then(|| key.clone())
    }

    fn write(&self, keys: &[OfficeKey]) -> Result<(), Error> {
        let text = toml::to_string(&Stored { key: keys.to_vec() })?;
        Ok(files::replace_file(&self.path, text.as_bytes(), files::PRIVATE_MODE)?)
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Vec<OfficeKey>> {
        self.keys.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl fmt::Debug for OfficeKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("OfficeKeys").field("count", &self.locked().len()).finish_non_exhaustive()
    }
}

fn hash(secret: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(secret))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use host::random::SeededRandom;

    use super::*;

    #[test]
    fn a_key_opens_until_it_is_removed_and_is_kept_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let random = SeededRandom::new(1);
        let keys = OfficeKeys::open(dir.path()).unwrap();
        let (housing, text) = keys.add("housing-desk", &random, 5).unwrap();
        let (_, other) = keys.add("other", &random, 6).unwrap();
        let path = dir.path().join(FILE_NAME);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let secret = text.split_once('.').unwrap().1;
        assert!(!fs::read_to_string(&path).unwrap().contains(secret));

        let keys = OfficeKeys::open(dir.path()).unwrap();
        assert_eq!(keys.system_of(&text).as_deref(), Some("housing-desk"));
        assert_eq!(keys.system_of(&other).as_deref(), Some("other"));
        assert_eq!(keys.list().len(), 2);
        let mixed = format!("{}.{}", housing.id, other.split_once('.').unwrap().1);
        for wrong in ["", ".", &text[..text.len() - 2], &mixed, &housing.id] {
            assert_eq!(keys.system_of(wrong), None, "{wrong}");
        }
        keys.remove(&housing.id).unwrap();
        assert_eq!(keys.system_of(&text), None);
        assert!(matches!(keys.remove(&housing.id), Err(Error::Unknown { .. })));
        assert_eq!(OfficeKeys::open(dir.path()).unwrap().list().len(), 1);
    }

    #[test]
    fn a_portals_key_opens_what_an_offices_does_not_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let random = SeededRandom::new(1);
        let keys = OfficeKeys::open(dir.path()).unwrap();
        let (_, office) = keys.add("desk", &random, 5).unwrap();
        let (_, portal) = keys.add_for("citizens", true, &random, 6).unwrap();
        let keys = OfficeKeys::open(dir.path()).unwrap();
        assert_eq!((keys.system_of(&portal), keys.portal_of(&portal).as_deref()), (None, Some("citizens")));
        assert_eq!((keys.system_of(&office).as_deref(), keys.portal_of(&office)), (Some("desk"), None));
    }

    #[test]
    fn a_list_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        OfficeKeys::open(dir.path()).unwrap().add("desk", &SeededRandom::new(1), 5).unwrap();
        fs::set_permissions(dir.path().join(FILE_NAME), fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(OfficeKeys::open(dir.path()), Err(Error::File(_))));
        assert!(matches!(OfficeKeys::open(&dir.path().join("none")).unwrap().list().as_slice(), []));
    }
}
