//! Bringing a registry back from a backup into an empty folder. The whole file is compared with its sums before anything is
//! written; then every statement is verified again, and the root found in a checkpoint that the log signed. What was
//! restored is marked: it signs nothing until its nodes have told what they saw (`recovery`).
//!
//! With a PostgreSQL store the database is filled where it is empty; where it holds the same directory, as after a
//! `pg_dump` was brought back, it stays, and is marked too unless other registries run over it. Out of scope: keys.

use std::{
    fs::{self, File},
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use data_encoding::HEXLOWER;
use host::{config as host_config, files};
use sha2::{Digest, Sha256};
use trust::{
    directory::{self, Directory},
    key::{PublicKey, Signer},
    log::{
        bundle::EntryBundle,
        checkpoint::{self, LogKey},
        frontier::Frontier,
        hash::leaf_hash,
        note::SignedNote,
    },
};

use super::{ANCHORS, CHECKPOINT, DIRECTORY, FORMAT, MANIFEST, Manifest, SUMS, parse_entries_file};
use crate::{
    DIRECTORY_FOLDER, anchors,
    config::{self, Config},
    init,
    keys::{self, AUTHORITY_FILE, AUTHORITY_OLD_FILE, LOG_FILE, LOG_OLD_FILE},
    ledger::{self, Append, Ledger, OpenLedger, SignedHead},
    recovery::{
        Cause, Mark,
        events::{self, Event, Events, What},
    },
    store::{self, StoreChoice},
    waiting,
};

/// The largest file in a backup: a bundle of 256 entries.
const LARGEST_FILE: u64 = 32 * 1024 * 1024;

/// Why nothing was restored. The folder is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration in it cannot be used.
    #[error("the configuration in the backup cannot be used: {0}")]
    Config(#[from] host_config::Error),
    /// The file is not as it was written.
    #[error("the backup is damaged: {reason}; use another copy of it")]
    Damaged {
        /// Where.
        reason: String,
    },
    /// What was done cannot be kept.
    #[error(transparent)]
    Events(#[from] events::Error),
    /// A file cannot be written.
    #[error(transparent)]
    File(#[from] files::Error),
    /// There is something in the folder.
    #[error("the folder {} is not empty: nothing was changed; name a new one (keys/ alone may be there)", path.display())]
    FolderInUse {
        /// The folder.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A key in the folder cannot be read.
    #[error(transparent)]
    Keys(#[from] keys::Error),
    /// The ledger cannot be written.
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
    /// It is no backup.
    #[error("{} is no backup of a registry: {reason}", path.display())]
    NotABackup {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// It belongs to another exchange.
    #[error("the backup is of another exchange: {reason}; nothing was changed")]
    OtherExchange {
        /// What shows it.
        reason: String,
    },
    /// The database holds something else.
    #[error(
        "the database {place} holds another directory than the backup: nothing was changed there; name an empty one"
    )]
    OtherDirectory {
        /// The database.
        place: String,
    },
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// What was restored.
#[derive(Clone, Debug)]
pub struct Restored {
    /// What the backup was.
    pub manifest: Manifest,
    /// Whether its directory holds back until nodes have told what they saw.
    pub marked: bool,
    /// Whether the log's key is in the folder.
    pub has_keys: bool,
}

/// Restores a backup into a folder. `authority` is the key that the exchange must have been founded by, where it is known.
pub async fn restore(
    backup: &Path,
    folder: &Path,
    authority: Option<&PublicKey>,
    now_ms: u64,
) -> Result<Restored, Error> {
    check_empty(folder)?;
    let manifest = check(backup)?;
    if let Some(authority) = authority
        && authority.to_string() != manifest.authority_key
    {
        let reason = format!("its authority's key is {}, and yours is {authority}", manifest.authority_key);
        return Err(Error::OtherExchange { reason });
    }
    let is_new = !folder.exists();
    files::private_folder(folder)?;
    let restored = bring_back(backup, folder, manifest, now_ms).await;
    if restored.is_err() {
        // The folder was empty when we came: leave it so, or the next try would stumble over the remains.
        let mut folders = vec![DIRECTORY_FOLDER.to_owned(), waiting::FOLDER.to_owned()];
        let listed = fs::read_dir(folder).into_iter().flatten().flatten();
        folders.extend(
            listed.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| name.starts_with(ANCHORS)),
        );
        for name in folders {
            let _ = fs::remove_dir_all(folder.join(name));
        }
        for name in [config::FILE_NAME, init::AUTHORITY_PUBLIC_FILE, events::FILE_NAME] {
            let _ = fs::remove_file(folder.join(name));
        }
        if is_new {
            let _ = fs::remove_dir(folder);
        }
    }
    restored
}

fn check_empty(folder: &Path) -> Result<(), Error> {
    let failed = |source| Error::Io { path: folder.to_owned(), source };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(failed)?,
    };
    for entry in entries {
        if entry.map_err(failed)?.file_name() != keys::FOLDER {
            return Err(Error::FolderInUse { path: folder.to_owned() });
        }
    }
    Ok(())
}

/// Calls `take` with path and bytes of each file.
fn each_file(backup: &Path, mut take: impl FnMut(&str, Vec<u8>) -> Result<(), Error>) -> Result<(), Error> {
    let file = File::open(backup).map_err(|source| Error::Io { path: backup.to_owned(), source })?;
    let damaged = |reason: String| Error::Damaged { reason };
    let mut archive = tar::Archive::new(BufReader::with_capacity(256 * 1024, file));
    let entries = archive.entries().map_err(|error| damaged(error.to_string()))?;
    for entry in entries {
        let entry = entry.map_err(|error| damaged(error.to_string()))?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let mut bytes = Vec::new();
        let read = entry.take(LARGEST_FILE + 1).read_to_end(&mut bytes);
        read.map_err(|error| damaged(format!("{path}: {error}")))?;
        if bytes.len() as u64 > LARGEST_FILE {
            return Err(damaged(format!("{path} is too large to be true")));
        }
        take(&path, bytes)?;
    }
    Ok(())
}

/// Compares the whole file with its sums, as a restore begins.
pub fn check(backup: &Path) -> Result<Manifest, Error> {
    let not_one = |reason: String| Error::NotABackup { path: backup.to_owned(), reason };
    let damaged = |reason: String| Error::Damaged { reason };
    let (mut manifest, mut found, mut said) = (None, String::new(), None);
    let read = each_file(backup, |path, bytes| {
        if manifest.is_none() {
            if path != MANIFEST {
                return Err(not_one(format!("it begins with {path:?} instead of {MANIFEST}")));
            }
            let read: Manifest =
                serde_json::from_slice(&bytes).map_err(|error| damaged(format!("{MANIFEST}: {error}")))?;
            if read.format != FORMAT {
                return Err(not_one(format!("it says that it is {:?}", read.format)));
            }
            manifest = Some(read);
        }
        if path == SUMS {
            said = Some(String::from_utf8_lossy(&bytes).into_owned());
        } else {
            found.push_str(&format!("{}  {path}\n", HEXLOWER.encode(&Sha256::digest(&bytes))));
        }
        Ok(())
    });
    let manifest = match (read, manifest) {
        (Ok(()), Some(manifest)) => manifest,
        (Err(Error::Damaged { reason }), None) => return Err(not_one(reason)),
        (Err(error), _) => return Err(error),
        (Ok(()), None) => return Err(not_one("it is empty".to_owned())),
    };
    let said = said.ok_or_else(|| damaged(format!("it breaks off before {SUMS}")))?;
    if said != found {
        let differs = said.lines().zip(found.lines()).find(|(said, found)| said != found);
        let path = differs.and_then(|(said, _)| said.split_once("  ")).map_or("a file", |(_, path)| path);
        return Err(damaged(format!("{path} is not as it was written")));
    }
    Ok(manifest)
}

async fn bring_back(backup: &Path, folder: &Path, manifest: Manifest, now_ms: u64) -> Result<Restored, Error> {
    let damaged = |reason: &str| Error::Damaged { reason: reason.to_owned() };
    let text = one_file(backup, config::FILE_NAME)?.ok_or_else(|| damaged("registry.toml is missing"))?;
    let text = String::from_utf8(text).map_err(|_| damaged("registry.toml is no text"))?;
    let config: Config = host_config::parse(&text, Path::new(config::FILE_NAME))?;
    if config.exchange.as_str() != manifest.exchange || config.authority_key.to_string() != manifest.authority_key {
        return Err(Error::OtherExchange {
            reason: "its configuration names another one than its directory".to_owned(),
        });
    }
    let choice = config.store.clone().for_a_tool().with_password(folder, config.store_password_file.as_deref())?;
    let ledger = choice.open(folder, |error| tracing::error!(%error, "the embedded store")).await?;
    let outcome = directory_back(backup, folder, &manifest, &config, &ledger, now_ms).await;
    ledger.close().await?;
    let (marked, has_keys) = outcome?;
    second_log_back(backup, folder, &manifest, &choice).await?;
    others_back(backup, folder)?;
    let size = manifest.size;
    let detail = format!("from a backup of {} (Unix milliseconds) with {size} statements", manifest.made_ms);
    Events::new(folder).append(&Event::new(now_ms, What::Restored, size, detail))?;
    // Last of all: a folder with a configuration is a whole registry.
    files::create_file(&folder.join(config::FILE_NAME), text.as_bytes(), files::PRIVATE_MODE)?;
    Ok(Restored { manifest, marked, has_keys })
}

fn one_file(backup: &Path, name: &str) -> Result<Option<Vec<u8>>, Error> {
    let mut found = None;
    each_file(backup, |path, bytes| {
        if path == name {
            found = Some(bytes);
        }
        Ok(())
    })?;
    Ok(found)
}

/// The entries of one log in a backup, in order.
fn entries_of(backup: &Path, log: &str, mut take: impl FnMut(u64, Vec<u8>) -> Result<(), Error>) -> Result<u64, Error> {
    let mut next = 0;
    each_file(backup, |path, bytes| {
        let Some((first, count)) = parse_entries_file(log, path) else { return Ok(()) };
        let damaged = |reason: String| Error::Damaged { reason };
        if first != next {
            return Err(damaged(format!("{path} comes where entry {next} was wanted")));
        }
        let bundle = EntryBundle::decode(&bytes, count).map_err(|error| damaged(format!("{path}: {error}")))?;
        for entry in bundle.into_entries() {
            take(next, entry)?;
            next += 1;
        }
        Ok(())
    })?;
    Ok(next)
}

/// Verifies the directory and writes it. Whether it holds back now, and whether the log's key is here.
async fn directory_back(
    backup: &Path,
    folder: &Path,
    manifest: &Manifest,
    config: &Config,
    ledger: &OpenLedger,
    now_ms: u64,
) -> Result<(bool, bool), Error> {
    let damaged = |reason: String| Error::Damaged { reason };
    let mut directory = Directory::new(config.exchange.clone(), config.authority_key.clone());
    let mut entries = Vec::new();
    let read = entries_of(backup, DIRECTORY, |index, entry| {
        directory.apply(&entry).map_err(|error| damaged(format!("statement {index} does not count: {error}")))?;
        entries.push(entry);
        Ok(())
    })?;
    if (read, directory.root().to_string()) != (manifest.size, manifest.root.clone()) {
        return Err(damaged(format!("its {read} statements do not lead to the root that it names")));
    }
    let note = one_file(backup, &format!("{DIRECTORY}/{CHECKPOINT}"))?;
    let note =
        note.and_then(|note| String::from_utf8(note).ok()).ok_or_else(|| damaged("the checkpoint".to_owned()))?;
    check_signed(&directory, &note)?;
    let has_keys = check_keys(folder, &directory)?;

    let shared: Arc<dyn Ledger> = ledger.shared();
    let there = shared.position().await?.size;
    if there > 0 {
        // A database that was brought back by itself, or that other registries run over.
        let compared = there.min(read);
        let first = shared.read(0, ledger::ReadLimit::entries(1)).await?;
        let root = anchors::root_at(shared.as_ref(), compared).await?;
        let mut same = Directory::new(config.exchange.clone(), config.authority_key.clone());
        for entry in entries.iter().take(usize::try_from(compared).unwrap_or(usize::MAX)) {
            same.apply(entry).map_err(|error| damaged(error.to_string()))?;
        }
        if first.first() != entries.first() || root != same.root() {
            return Err(Error::OtherDirectory { place: config.store.place(folder) });
        }
    }
    for (at, chunk) in (0_u64..).step_by(256).zip(entries.chunks(256)) {
        let after = at + chunk.len() as u64;
        if after <= there {
            continue;
        }
        let known = usize::try_from(there.saturating_sub(at)).unwrap_or(0);
        let at = at.max(there);
        match shared.append(at, chunk[known..].to_vec()).await? {
            Append::Appended { .. } => {}
            Append::Moved { .. } => return Err(Error::OtherDirectory { place: config.store.place(folder) }),
        }
    }
    if there < read {
        let head =
            SignedHead::read(own_lines(&note)).ok_or_else(|| damaged("its checkpoint bears no time".to_owned()))?;
        shared.keep_checkpoint(head).await?;
    }
    let is_at_work = match ledger {
        OpenLedger::Postgres(ledger) => ledger.registries_at_work().await? > 0,
        OpenLedger::Sled(_) => false,
    };
    if !is_at_work {
        let mark = Mark { since_ms: now_ms, cause: Cause::Restored, wanted: 0 };
        shared.set_mark(Some(mark.to_text())).await?;
    }
    Ok((!is_at_work, has_keys))
}

/// The checkpoint must be of these statements, and signed by the log.
fn check_signed(directory: &Directory, note: &str) -> Result<(), Error> {
    let damaged = |reason: String| Error::Damaged { reason: format!("its checkpoint {reason}") };
    let origin = directory::origin(directory.exchange()).parse();
    let key = directory.log_key_at(directory.size()).ok_or_else(|| damaged("is of no founded directory".to_owned()))?;
    let key = origin.and_then(|origin| LogKey::new(origin, key.as_bytes()));
    let key = key.map_err(|error| damaged(format!("names no log: {error}")))?;
    let verified =
        checkpoint::open(note.as_bytes(), &key).map_err(|error| damaged(format!("does not verify: {error}")))?;
    let told = verified.checkpoint();
    match (told.size(), told.root()) == (directory.size(), directory.root()) {
        true => Ok(()),
        false => Err(damaged("is not of its statements".to_owned())),
    }
}

fn own_lines(note: &str) -> String {
    let own = SignedNote::parse(note.as_bytes()).ok().and_then(|note| {
        let origin = note.text().lines().next().unwrap_or_default().to_owned();
        crate::witnesses::own_lines(&note, &origin)
    });
    own.map_or_else(|| note.to_owned(), |own| own.to_string())
}

/// Of the keys that are in the folder already one at least must be this log's or its authority's: others may have come later.
fn check_keys(folder: &Path, directory: &Directory) -> Result<bool, Error> {
    let keys = folder.join(keys::FOLDER);
    let mut held = Vec::new();
    for name in [LOG_FILE, LOG_OLD_FILE, AUTHORITY_FILE, AUTHORITY_OLD_FILE] {
        let path = keys.join(name);
        if path.exists() {
            held.push(keys::read_signing_key(&path)?.public_key().clone());
        }
    }
    let reigns = [directory.log_reigns(), directory.authority_reigns()].concat();
    if !held.is_empty() && !reigns.iter().any(|reign| held.contains(&reign.key)) {
        let keys = keys.display();
        let reason =
            format!("{keys} holds none of its keys (if all of them changed since, restore the keys afterwards)");
        return Err(Error::OtherExchange { reason });
    }
    Ok(keys.join(LOG_FILE).exists())
}

/// Writes the second log into the registry's store. A database may hold it, or more of it, already.
async fn second_log_back(backup: &Path, folder: &Path, manifest: &Manifest, choice: &StoreChoice) -> Result<(), Error> {
    let opened =
        choice.open_second(folder, manifest.anchors_log, |error| tracing::error!(%error, "the second log")).await?;
    let outcome = second_log_into(backup, folder, manifest, choice, opened.shared().as_ref()).await;
    opened.close().await?;
    outcome
}

async fn second_log_into(
    backup: &Path,
    folder: &Path,
    manifest: &Manifest,
    choice: &StoreChoice,
    ledger: &dyn Ledger,
) -> Result<(), Error> {
    let mut entries = Vec::new();
    let read = entries_of(backup, ANCHORS, |_, entry| {
        entries.push(entry);
        Ok(())
    })?;
    if read != manifest.anchors_size {
        return Err(Error::Damaged { reason: format!("{read} of {} anchors are there", manifest.anchors_size) });
    }
    let held = ledger.position().await?.size;
    let common = held.min(read);
    let mut tree = Frontier::new();
    for entry in entries.iter().take(usize::try_from(common).unwrap_or(usize::MAX)) {
        tree.append(leaf_hash(entry));
    }
    if common > 0 && anchors::root_at(ledger, common).await? != tree.root() {
        return Err(Error::OtherDirectory { place: choice.place(folder) });
    }
    let mut at = common;
    for chunk in entries[usize::try_from(common).unwrap_or(entries.len())..].chunks(256) {
        ledger.append(at, chunk.to_vec()).await?;
        at += chunk.len() as u64;
    }
    let note = one_file(backup, &format!("{ANCHORS}/{CHECKPOINT}"))?.filter(|_| held < read);
    if let Some(note) = note {
        let note = String::from_utf8_lossy(&note).into_owned();
        // The time is of no account: the directory has what was taken.
        ledger.keep_checkpoint(SignedHead { note, size: at, time_seconds: 0 }).await?;
    }
    Ok(())
}

/// The other files, as far as their names are those of files that a backup has.
fn others_back(backup: &Path, folder: &Path) -> Result<(), Error> {
    files::private_folder(&folder.join(waiting::FOLDER))?;
    each_file(backup, |path, bytes| {
        if path == init::AUTHORITY_PUBLIC_FILE {
            files::create_file(&folder.join(path), &bytes, files::PUBLIC_MODE)?;
        }
        let waiting = path.strip_prefix(waiting::FOLDER).and_then(|rest| rest.strip_prefix('/'));
        if let Some(name) = waiting.filter(|name| !name.contains('/') && name.ends_with(".statement")) {
            files::write_private_file(&folder.join(waiting::FOLDER).join(name), &bytes)?;
        }
        Ok(())
    })
}
