//! Restoring a backup into an empty folder: first the whole file is read and its digest compared, then it is written, then
//! every evidence log is read again from its first entry and compared with what the backup says of it. Out of scope: the keys
//! (`keys restore`).

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, BufReader, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Component, Path, PathBuf},
};

use host::{
    files,
    store::{SMALL_CACHE_BYTES, Store},
};
use serde::Deserialize;

use super::{
    Error, Manifest,
    format::{Fault, FrameReader, Kind, pairs},
    write::DIRECTORY,
};
use crate::{history::Mark, journal::KeptJournal, logs::folder_of, view::View};

/// After so many bytes of pairs a database is brought to the disk.
const PERSIST_EVERY: usize = 8 * 1024 * 1024;

/// What may be in the folder already: the keys, brought back before.
const KEYS: &str = "keys";

/// What was restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// What the backup said of itself.
    pub manifest: Manifest,
    /// How many entries the evidence log has that is kept.
    pub entries: u64,
    /// How many statements the view has.
    pub statements: u64,
}

/// What a backup says of an evidence log.
#[derive(Debug, Deserialize)]
struct WholeLog {
    log: u32,
    folder: String,
    size: u64,
    root: String,
}

/// Restores the backup `file` into the folder `dir`, which must be empty but for its keys. `wanted` is the department that
/// is asked for, where one is.
///
/// # Errors
///
/// Each of [`Error`]; where the file is damaged, another's, or the folder not empty, nothing is written.
pub async fn restore(file: &Path, dir: &Path, wanted: Option<&str>, now_ms: u64) -> Result<Restored, Error> {
    let manifest = check(file)?;
    if let Some(wanted) = wanted.filter(|wanted| **wanted != *manifest.department) {
        return Err(Error::OfAnother { of: manifest.of(), wanted: wanted.to_owned() });
    }
    empty(dir)?;
    files::private_folder(dir)?;
    let mut target = Target { dir, file: None, store: None, unsynced: 0, logs: Vec::new(), manifest: None };
    let mut reader = open(file)?;
    while let Some((kind, bytes)) = reader.next().map_err(|fault| named(file, fault))? {
        target.take(file, kind, &bytes)?;
    }
    target.end_store()?;
    target.end_file()?;
    let logs = std::mem::take(&mut target.logs);
    let mut entries = 0;
    for log in &logs {
        let verified = KeptJournal::open_named(dir, &log.folder)?.verify()?;
        if (verified.entries, verified.root.to_string()) != (log.size, log.root.clone()) {
            let reason = format!("{} has {} entries under another root than it had", log.folder, verified.entries);
            return Err(Error::Damaged { path: file.to_owned(), reason });
        }
        if log.log == manifest.log && log.folder == folder_of(log.log) {
            entries = verified.entries;
        }
    }
    let statements = directory(dir, &manifest, file, now_ms).await?;
    // Last: whatever happens before, the node does not go on from half a restore, because its folder is not empty.
    let mark = Mark { log: manifest.log, size: entries, backup_ms: manifest.made_ms, restored_ms: now_ms };
    mark.write(dir)?;
    Ok(Restored { manifest, entries, statements })
}

/// Reads the whole file and compares its digest.
fn check(file: &Path) -> Result<Manifest, Error> {
    let mut reader = open(file)?;
    let mut manifest = None;
    while let Some((kind, bytes)) = reader.next().map_err(|fault| named(file, fault))? {
        match (kind, &manifest) {
            (Kind::Manifest, None) => {
                let read: Manifest =
                    serde_json::from_slice(&bytes).map_err(|_| damaged(file, "what it says of itself"))?;
                manifest = Some(read);
            }
            (Kind::Manifest, Some(_)) | (_, None) => return Err(damaged(file, "its beginning")),
            (Kind::File | Kind::Store, _) => drop(place(file, &bytes)?),
            _ => {}
        }
    }
    manifest.ok_or_else(|| damaged(file, "its beginning"))
}

fn open(file: &Path) -> Result<FrameReader<BufReader<File>>, Error> {
    let source = File::open(file).map_err(failed("cannot read", file))?;
    FrameReader::begin(BufReader::new(source)).map_err(|fault| named(file, fault))
}

fn named(file: &Path, fault: Fault) -> Error {
    match fault {
        Fault::NoBackup => Error::NoBackup { path: file.to_owned() },
        fault => damaged(file, fault),
    }
}

fn damaged(file: &Path, reason: impl ToString) -> Error {
    Error::Damaged { path: file.to_owned(), reason: reason.to_string() }
}

/// A path within the node's folder: plain names alone, so that a forged backup cannot write elsewhere, and never keys.
fn place(file: &Path, bytes: &[u8]) -> Result<PathBuf, Error> {
    let path = std::str::from_utf8(bytes).map(PathBuf::from).map_err(|_| damaged(file, "a name in it"))?;
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    if !plain || path.as_os_str().is_empty() || path.starts_with(KEYS) {
        return Err(damaged(file, format!("the name {} in it", path.display())));
    }
    Ok(path)
}

fn empty(dir: &Path) -> Result<(), Error> {
    let items = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        items => items.map_err(failed("cannot read the folder", dir))?,
    };
    for item in items {
        let name = item.map_err(failed("cannot read the folder", dir))?.file_name();
        if name != KEYS {
            return Err(Error::FolderNotEmpty { path: dir.to_owned(), found: name.to_string_lossy().into_owned() });
        }
    }
    Ok(())
}

/// Where frames go.
struct Target<'a> {
    dir: &'a Path,
    file: Option<(PathBuf, File)>,
    store: Option<Store>,
    unsynced: usize,
    logs: Vec<WholeLog>,
    manifest: Option<()>,
}

impl Target<'_> {
    fn take(&mut self, backup: &Path, kind: Kind, bytes: &[u8]) -> Result<(), Error> {
        match kind {
            Kind::Manifest => self.manifest = Some(()),
            Kind::File => {
                self.end_store()?;
                self.end_file()?;
                let path = self.dir.join(place(backup, bytes)?);
                private_parent(&path)?;
                let file = OpenOptions::new().write(true).create_new(true).mode(files::PRIVATE_MODE).open(&path);
                self.file = Some((path.clone(), file.map_err(failed("cannot write", &path))?));
            }
            Kind::Data => {
                let (path, file) = self.file.as_mut().ok_or_else(|| damaged(backup, "bytes of no file"))?;
                file.write_all(bytes).map_err(failed("cannot write", path))?;
            }
            Kind::Store => {
                self.end_store()?;
                self.end_file()?;
                let path = self.dir.join(place(backup, bytes)?);
                private_parent(&path)?;
                self.store = Some(Store::open(&path, SMALL_CACHE_BYTES / 4)?);
            }
            Kind::Pairs => {
                let store = self.store.as_ref().ok_or_else(|| damaged(backup, "pairs of no database"))?;
                let mut batch = sled::Batch::default();
                for (key, value) in pairs(bytes).map_err(|fault| named(backup, fault))? {
                    batch.insert(key, value);
                }
                store.db().apply_batch(batch).map_err(|error| store.explain(error))?;
                self.unsynced += bytes.len();
                if self.unsynced >= PERSIST_EVERY {
                    store.persist()?;
                    self.unsynced = 0;
                }
            }
            Kind::Log => {
                self.end_store()?;
                self.logs.push(serde_json::from_slice(bytes).map_err(|_| damaged(backup, "what it says of a log"))?);
            }
            Kind::End => {}
        }
        Ok(())
    }

    fn end_store(&mut self) -> Result<(), Error> {
        if let Some(store) = self.store.take() {
            store.persist()?;
            self.unsynced = 0;
        }
        Ok(())
    }

    fn end_file(&mut self) -> Result<(), Error> {
        if let Some((path, file)) = self.file.take() {
            file.sync_all().map_err(failed("cannot sync", &path))?;
        }
        Ok(())
    }
}

fn private_parent(path: &Path) -> Result<(), Error> {
    let Some(parent) = path.parent() else { return Ok(()) };
    DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(failed("cannot make the folder", parent))?;
    Ok(())
}

/// Takes the directory's copy over, verified like any that is carried by hand; how many statements it has.
async fn directory(dir: &Path, manifest: &Manifest, file: &Path, now_ms: u64) -> Result<u64, Error> {
    let archive = dir.join(DIRECTORY);
    if !archive.exists() {
        return Ok(0);
    }
    let unreadable = |_| damaged(file, "what it says of itself");
    let exchange = manifest.exchange.parse().map_err(|_| damaged(file, "what it says of itself"))?;
    let authority_key = manifest.authority_key.parse().map_err(unreadable)?;
    let failed_here = |reason: &str| tracing::error!(reason, "the directory's store");
    let view = View::open(dir, &exchange, &authority_key, failed_here)?;
    let source = File::open(&archive).map_err(failed("cannot read", &archive))?;
    let brought = view.read_file(BufReader::new(source)).map_err(|error| damaged(file, error))?;
    view.import(brought, now_ms).await?;
    let statements = view.seen().size();
    drop(view);
    fs::remove_file(&archive).map_err(failed("cannot remove", &archive))?;
    Ok(statements)
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> files::Error {
    let path = path.to_owned();
    move |source| files::Error::Io { doing, path, source }
}
