//! One sled database in a folder, opened so that what is persisted stays persisted.
//!
//! sled 0.34's own `flush` calls `sync_file_range`, which survives the death of the process but not of the machine: after
//! a simulated crash of the file system a database could not be opened again in 13 tries of 13, and acknowledged writes
//! were lost. [`Store::persist`] therefore ends with our own `fdatasync`, on a handle held since opening. Never call
//! `flush_async` (it deadlocks from many tasks) or open a second handle and sync that.
//!
//! **sled does not notice every damage.** With bytes of a store flipped on purpose it sometimes refused to open, and
//! sometimes opened with hundreds of entries of 4,000 missing and no error anywhere. Whoever keeps a log here therefore
//! checks at start that every entry up to its head is there and that the tree's root comes out.
//!
//! Out of scope: grouping writes, which is [`crate::committer`]'s; what the keys mean.

use std::any::Any;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The longest value that may be stored. sled keeps a leaf page with about 17 values in its log only up to 128 KiB;
/// beyond that the page goes into a file of its own under `blobs/` that is never synced to disk.
pub const MAX_VALUE_BYTES: usize = 4096;

/// A sensible cache for one database: resident memory was seen to be 2 to 4 times the cache.
pub const SMALL_CACHE_BYTES: u64 = 16 * 1024 * 1024;

/// After so many bytes of a page it is looked at once more ([`Store::read_in_passing`]): a leaf has some 64 KiB.
const LOOKED_AT_EVERY: usize = 1024;

/// What can go wrong with a store. Each sentence says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// What is on disk cannot be read back.
    #[error(
        "the store at {} is damaged ({reason}): keep the folder as it is for inquiry, and restore the store from its backup into a new folder",
        path.display()
    )]
    Damaged {
        /// The store's folder.
        path: PathBuf,
        /// What the engine found.
        reason: String,
    },
    /// The file system refused.
    #[error("the store at {} cannot be used: {source}", path.display())]
    Io {
        /// The store's folder.
        path: PathBuf,
        /// The file system's answer.
        source: io::Error,
    },
    /// Another process holds the lock.
    #[error("another process has this store open: {} (only one program may serve a folder; stop the other one first)", path.display())]
    Locked {
        /// The store's folder.
        path: PathBuf,
    },
    /// The store was written by another version, or with other settings.
    #[error("the store at {} was written by another version of this program: {reason}", path.display())]
    OtherVersion {
        /// The store's folder.
        path: PathBuf,
        /// What the engine said.
        reason: String,
    },
}

/// An open database. Clones share it; the last one to be dropped closes it.
#[derive(Debug, Clone)]
pub struct Store {
    db: sled::Db,
    data: Arc<File>,
    path: Arc<PathBuf>,
}

impl Store {
    /// Opens the database in the folder `path`, which is made (mode 0700) if it is missing. Blocks: call it before
    /// serving, or on a blocking thread.
    ///
    /// Compression is off and the mode is sled's default, as measured; `cache_bytes` is best kept at
    /// [`SMALL_CACHE_BYTES`] or below.
    pub fn open(path: &Path, cache_bytes: u64) -> Result<Self, StoreError> {
        let io = |source| StoreError::Io { path: path.to_owned(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io)?;

        let db = open_when_unlocked(path, cache_bytes)?;
        let data = File::open(path.join("db")).map_err(io)?;
        let store = Self { db, data: Arc::new(data), path: Arc::new(path.to_owned()) };

        // A new file whose name is not on disk is a lost file: sync the data, sled's settings, then both folders.
        store.persist()?;
        let conf = path.join("conf");
        if conf.exists() {
            File::open(&conf).and_then(|file| file.sync_all()).map_err(io)?;
        }
        sync_folder(path).map_err(io)?;
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync_folder(parent).map_err(io)?;
        }
        Ok(store)
    }

    /// The database, for reading, and for writers that call [`Store::persist`] themselves (an import before it is
    /// switched to). Whatever must be durable before it is acknowledged goes through [`crate::committer::Committer`].
    pub fn db(&self) -> &sled::Db {
        &self.db
    }

    /// Reads one value in passing, for whoever reads far more than the cache holds.
    ///
    /// sled finds out that it holds more pages than its cache may only when a page was looked at: at every 64th look in
    /// each of its 256 shares of all pages. An iterator looks at a page once, whatever is on it, so that whoever reads a
    /// million entries with one has all of them in memory at the end. Each value is therefore looked up by itself, and
    /// large ones as often as small ones would be that take their place: a page is let go of soon after it was read.
    pub fn read_in_passing(&self, key: &[u8]) -> Result<Option<sled::IVec>, StoreError> {
        let found = self.db.get(key).map_err(|error| self.explain(error))?;
        for _ in 0..found.as_ref().map_or(0, |value| value.len() / LOOKED_AT_EVERY) {
            self.db.contains_key(key).map_err(|error| self.explain(error))?;
        }
        Ok(found)
    }

    /// The folder of the database.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes everything written so far survive a crash of the machine. Blocks for a disk write.
    pub fn persist(&self) -> Result<(), StoreError> {
        self.db.flush().map_err(|error| classify(&self.path, error))?;
        self.data.sync_data().map_err(|source| StoreError::Io { path: self.path.to_path_buf(), source })
    }

    /// Names an error of this store's database in a plain sentence.
    pub fn explain(&self, error: sled::Error) -> StoreError {
        classify(&self.path, error)
    }
}

/// Opens a sled database as [`Store::open`] does, for callers that need only the database.
pub fn open_sled(path: &Path, cache_bytes: u64) -> Result<sled::Db, StoreError> {
    Store::open(path, cache_bytes).map(|store| store.db)
}

/// sled releases its lock a moment after the last handle is dropped, on a thread of its own: so wait a second before
/// concluding that somebody else has the store.
fn open_when_unlocked(path: &Path, cache_bytes: u64) -> Result<sled::Db, StoreError> {
    let mut tries_left = 50;
    loop {
        match open_once(path, cache_bytes) {
            Err(StoreError::Locked { .. }) if tries_left > 0 => {
                tries_left -= 1;
                std::thread::sleep(Duration::from_millis(20));
            }
            outcome => return outcome,
        }
    }
}

fn open_once(path: &Path, cache_bytes: u64) -> Result<sled::Db, StoreError> {
    // The periodic flush stays on: its thread is also the only one that cleans up dead segments.
    let config = sled::Config::new().path(path).cache_capacity(cache_bytes).use_compression(false);
    // sled panics on some kinds of damage where it should return an error.
    match catch_unwind(AssertUnwindSafe(|| config.open())) {
        Ok(Ok(db)) => Ok(db),
        Ok(Err(error)) => Err(classify(path, error)),
        Err(panic) => Err(StoreError::Damaged { path: path.to_owned(), reason: panic_text(panic.as_ref()) }),
    }
}

fn classify(path: &Path, error: sled::Error) -> StoreError {
    let path = path.to_owned();
    match error {
        sled::Error::Corruption { at, .. } => {
            let reason = match at {
                Some(place) => format!("corruption at {place}"),
                None => "corruption".to_owned(),
            };
            StoreError::Damaged { path, reason }
        }
        sled::Error::Io(source) if source.to_string().contains("could not acquire lock") => StoreError::Locked { path },
        sled::Error::Io(source)
            if matches!(source.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
        {
            StoreError::Damaged { path, reason: source.to_string() }
        }
        sled::Error::Io(source) => StoreError::Io { path, source },
        // What sled says of a settings file that it cannot make sense of; no program here ever used so old a version.
        sled::Error::Unsupported(reason) if reason.contains("earlier than 0.29") => {
            StoreError::Damaged { path, reason: "its settings file `conf` cannot be read".to_owned() }
        }
        sled::Error::Unsupported(reason) => StoreError::OtherVersion { path, reason },
        other => StoreError::Damaged { path, reason: other.to_string() },
    }
}

/// The text of a panic, as far as it has one.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a text".to_owned())
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_was_persisted_is_there_after_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let store = Store::open(&path, SMALL_CACHE_BYTES).unwrap();
        store.db().insert("key", "value").unwrap();
        store.persist().unwrap();
        drop(store);
        let store = Store::open(&path, SMALL_CACHE_BYTES).unwrap();
        assert_eq!(store.db().get("key").unwrap().unwrap(), "value");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn what_is_read_in_passing_is_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), SMALL_CACHE_BYTES).unwrap();
        for length in [0, 1, LOOKED_AT_EVERY, MAX_VALUE_BYTES] {
            let (key, value) = (length.to_string(), vec![7_u8; length]);
            assert_eq!(store.read_in_passing(key.as_bytes()).unwrap(), None);
            store.db().insert(&key, value.as_slice()).unwrap();
            assert_eq!(store.read_in_passing(key.as_bytes()).unwrap().unwrap(), value);
        }
    }

    #[test]
    fn a_store_that_is_open_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let _first = Store::open(folder.path(), SMALL_CACHE_BYTES).unwrap();
        let error = Store::open(folder.path(), SMALL_CACHE_BYTES).unwrap_err();
        assert!(matches!(error, StoreError::Locked { .. }), "{error:?}");
        assert!(error.to_string().starts_with("another process has this store open: "), "{error}");
    }

    #[test]
    fn a_damaged_store_says_so_and_keeps_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), SMALL_CACHE_BYTES).unwrap();
        for number in 0..2_000_u32 {
            store.db().insert(number.to_be_bytes(), vec![7_u8; 500]).unwrap();
        }
        store.persist().unwrap();
        drop(store);
        // sled's settings file carries a checksum: a flipped byte is damage, not another version.
        let conf = folder.path().join("conf");
        let mut bytes = fs::read(&conf).unwrap();
        bytes[0] ^= 0xFF;
        fs::write(&conf, &bytes).unwrap();
        let error = Store::open(folder.path(), SMALL_CACHE_BYTES).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
        assert!(error.to_string().contains("restore the store from its backup"), "{error}");
        assert!(folder.path().join("db").exists());
    }

    #[test]
    fn a_folder_that_cannot_be_made_names_the_path() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let error = Store::open(&file.join("store"), SMALL_CACHE_BYTES).unwrap_err();
        assert!(error.to_string().contains("file/store cannot be used"), "{error}");
    }
}
