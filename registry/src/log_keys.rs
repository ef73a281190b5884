//! The keys that the directory's log signs with: the one in force, the one before it, and one that is to follow. While
//! the one before is here and a view may still rest on it, checkpoints bear the signatures of both, so that nobody who
//! follows the log has to do anything.
//!
//! The files: `keys/log.key` is in force, `keys/log.next.key` waits for its statement, `keys/log.old.key` signs along until
//! the overlap ends. Which is which is the directory's to say; the names follow. Out of scope: the statement (`authority`).

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use host::{files, random::Random};
use trust::{
    directory::Directory,
    key::{PublicKey, Signer, SigningKey},
};

use crate::keys::{self, LOG_FILE, LOG_NEXT_FILE, LOG_OLD_FILE};

/// The keys of the log that this machine holds; shared between who signs and who changes them.
#[derive(Default)]
pub struct LogKeys {
    held: RwLock<Vec<Arc<SigningKey>>>,
}

impl LogKeys {
    /// These keys.
    pub fn new(keys: impl IntoIterator<Item = SigningKey>) -> Arc<Self> {
        Arc::new(Self { held: RwLock::new(keys.into_iter().map(Arc::new).collect()) })
    }

    /// The key with this public half, where it is here.
    pub fn held(&self, public: &PublicKey) -> Option<Arc<SigningKey>> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        held.iter().find(|key| key.public_key() == public).cloned()
    }

    /// Holds another key too.
    pub fn hold(&self, key: SigningKey) {
        if self.held(key.public_key()).is_none() {
            self.held.write().unwrap_or_else(PoisonError::into_inner).push(Arc::new(key));
        }
    }

    /// All that are held.
    pub(crate) fn all(&self) -> Vec<Arc<SigningKey>> {
        self.held.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets go of all but these.
    fn keep_only(&self, keep: &[PublicKey]) {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        held.retain(|key| keep.contains(key.public_key()));
    }

    /// Who signs a checkpoint of the directory as it stands, the key in force first; `None` where that is not here.
    pub(crate) fn signing(&self, directory: &Directory, now_ms: u64) -> Option<Vec<Arc<SigningKey>>> {
        let mut signing = vec![self.held(directory.log_key()?)?];
        if let Some(before) = before(directory, now_ms).and_then(|key| self.held(key)) {
            signing.push(before);
        }
        Some(signing)
    }
}

impl std::fmt::Debug for LogKeys {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        formatter.debug_list().entries(held.iter()).finish()
    }
}

/// The key before the one in force, while a view may still rest on it: for a view's lifetime after the change.
fn before(directory: &Directory, now_ms: u64) -> Option<&PublicKey> {
    let [.., before, current] = directory.log_reigns() else { return None };
    let lifetime_ms = directory.profile().view_lifetime_ms;
    (now_ms < current.since_ms.saturating_add(lifetime_ms)).then_some(&before.key)
}

/// Makes the next key, or reads the one that was made before and waits.
pub fn make_next(folder: &Path, random: &dyn Random) -> Result<SigningKey, keys::Error> {
    let path = path(folder, LOG_NEXT_FILE);
    if path.exists() { keys::read_signing_key(&path) } else { keys::make_signing_key(&path, random) }
}

/// Brings the files in line with what the directory says, and lets go of what has no use any more. Whether anything was
/// done.
pub fn settle(folder: &Path, held: &LogKeys, directory: &Directory, now_ms: u64) -> Result<bool, keys::Error> {
    let Some(in_force) = directory.log_key() else { return Ok(false) };
    let mut done = false;
    let mut current = keys::read_signing_key(&path(folder, LOG_FILE))?;
    if current.public_key() != in_force && is(folder, LOG_NEXT_FILE, in_force)? {
        // A copy first, so that at no moment the key in force would be missing.
        let old = files::read_private_file(&path(folder, LOG_FILE))?;
        files::replace_file(&path(folder, LOG_OLD_FILE), &old, files::PRIVATE_MODE)?;
        let next = files::read_private_file(&path(folder, LOG_NEXT_FILE))?;
        files::replace_file(&path(folder, LOG_FILE), &next, files::PRIVATE_MODE)?;
        remove(&path(folder, LOG_NEXT_FILE))?;
        current = keys::read_signing_key(&path(folder, LOG_FILE))?;
        tracing::info!(key = %in_force.id(), "the directory's log signs with another key");
        done = true;
    }
    let old = path(folder, LOG_OLD_FILE);
    let before = before(directory, now_ms);
    if old.exists() && before.is_none() {
        remove(&old)?;
        tracing::info!("the log's key before this one has had its time and is removed");
        done = true;
    }
    let next = path(folder, LOG_NEXT_FILE);
    let next = if next.exists() { Some(keys::read_signing_key(&next)?.public_key().clone()) } else { None };
    // The one in the file even where the directory does not know it yet: it may be about to replace one that is lost.
    let keep: Vec<PublicKey> =
        [Some(in_force), before, next.as_ref(), Some(current.public_key())].into_iter().flatten().cloned().collect();
    held.keep_only(&keep);
    Ok(done)
}

fn is(folder: &Path, name: &str, public: &PublicKey) -> Result<bool, keys::Error> {
    let path = path(folder, name);
    Ok(path.exists() && keys::read_signing_key(&path)?.public_key() == public)
}

fn path(folder: &Path, name: &str) -> PathBuf {
    folder.join(keys::FOLDER).join(name)
}

fn remove(path: &Path) -> Result<(), keys::Error> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(files::Error::Io { doing: "cannot remove", path: path.to_owned(), source }.into())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use host::random::SeededRandom;
    use trust::fixture::{self, Fixture, NOW_MS, key};

    use super::*;

    fn write(folder: &Path, name: &str, seed: &str) {
        let seed = data_encoding::HEXLOWER.encode(&fixture::seed(seed));
        files::private_folder(&folder.join(keys::FOLDER)).unwrap();
        files::write_private_file(&path(folder, name), seed.as_bytes()).unwrap();
    }

    fn public(folder: &Path, name: &str) -> Option<PublicKey> {
        keys::read_signing_key(&path(folder, name)).ok().map(|key| key.public_key().clone())
    }

    #[test]
    fn the_files_follow_the_directory_and_the_old_key_goes_when_its_time_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        write(dir, LOG_FILE, "log");
        write(dir, LOG_NEXT_FILE, "log 2");
        let held = LogKeys::new([key("log"), key("log 2")]);
        let mut fixture = Fixture::town();
        assert!(!settle(dir, &held, &fixture.directory, NOW_MS).unwrap(), "the next one waits for its statement");
        let ids = |held: &LogKeys, now_ms| -> Vec<PublicKey> {
            let signing = held.signing(&fixture.directory, now_ms).unwrap();
            signing.iter().map(|key| key.public_key().clone()).collect()
        };
        assert_eq!(ids(&held, NOW_MS), [key("log").public_key().clone()]);

        fixture.say_together(&["authority", "log", "log 2"], Fixture::log_key_change("log 2", ""), "log");
        let signing = held.signing(&fixture.directory, NOW_MS).unwrap();
        assert_eq!(signing.len(), 2, "both sign");
        assert_eq!(signing[0].public_key(), key("log 2").public_key());
        assert!(settle(dir, &held, &fixture.directory, NOW_MS).unwrap());
        assert_eq!(public(dir, LOG_FILE).as_ref(), Some(key("log 2").public_key()));
        assert_eq!(public(dir, LOG_OLD_FILE).as_ref(), Some(key("log").public_key()));
        assert_eq!(public(dir, LOG_NEXT_FILE), None);
        assert!(!settle(dir, &held, &fixture.directory, NOW_MS).unwrap());

        let later = NOW_MS + 240 * 3_600_000 + 1;
        assert_eq!(held.signing(&fixture.directory, later).unwrap().len(), 1);
        assert!(settle(dir, &held, &fixture.directory, later).unwrap());
        assert_eq!(public(dir, LOG_OLD_FILE), None);
        assert!(held.held(key("log").public_key()).is_none());
    }

    #[test]
    fn the_next_key_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), LOG_FILE, "log");
        let made = make_next(folder.path(), &SeededRandom::new(1)).unwrap();
        let again = make_next(folder.path(), &SeededRandom::new(2)).unwrap();
        assert_eq!(made.public_key(), again.public_key());
    }
}
