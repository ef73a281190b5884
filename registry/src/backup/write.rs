//! Writing a backup while the registry runs. The logs only grow, so what their checkpoints cover stays as it is while it is
//! read; the second log is read after the directory, and so holds what the directory took of it. Out of scope: the form.

use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
};

use data_encoding::HEXLOWER;
use host::clock::Clock;
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;
use trust::log::{
    bundle::{self, EntryBundle},
    checkpoint,
};

use super::{ANCHORS, CHECKPOINT, DIRECTORY, ENTRIES_IN_A_FILE, FORMAT, MANIFEST, Manifest, SUMS, entries_file};
use crate::{
    anchors::Anchors,
    config, init,
    ledger::{self, Ledger, ReadLimit},
    sequencer::Sequencer,
    waiting,
};

/// Why a backup was not written. What was written so far is of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An entry does not fit.
    #[error("an entry cannot be written: {0}")]
    Bundle(#[from] bundle::Error),
    /// The checkpoint cannot be read.
    #[error("the directory's checkpoint cannot be read: {0}")]
    Checkpoint(#[from] checkpoint::Error),
    /// A file of the registry cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A log ends before its checkpoint.
    #[error("{log} ends at {size} entries, before its checkpoint")]
    Ends {
        /// Which.
        log: &'static str,
        /// Where.
        size: u64,
    },
    /// Nobody takes it, or it cannot be written.
    #[error("the backup cannot be written: {0}")]
    Io(#[from] io::Error),
    /// A ledger failed.
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
}

/// What is backed up.
#[derive(Clone)]
pub struct Backup {
    /// The registry's folder.
    pub folder: PathBuf,
    /// The exchange.
    pub exchange: String,
    /// The key that the authority had at the founding.
    pub authority_key: String,
    /// Where the directory lives, for people.
    pub store: String,
    /// The directory.
    pub sequencer: Sequencer,
    /// Its log.
    pub ledger: Arc<dyn Ledger>,
    /// The second log.
    pub anchors: Arc<Anchors>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Backup {
    /// Writes it. Blocks.
    pub fn write(&self, target: impl Write, runtime: &Handle) -> Result<(), Error> {
        let head = self.sequencer.head();
        let root = checkpoint::peek(head.checkpoint.as_bytes())?.root();
        let second = self.anchors.ledger();
        let (log, anchored) = (self.anchors.log(), runtime.block_on(second.position())?.size);
        let manifest = Manifest {
            format: FORMAT.to_owned(),
            exchange: self.exchange.clone(),
            authority_key: self.authority_key.clone(),
            made_ms: self.clock.now_ms(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            store: self.store.clone(),
            size: head.size,
            root: root.to_string(),
            anchors_log: log,
            anchors_size: anchored,
            left_out: left_out(log),
        };
        let mut files = Files { tar: tar::Builder::new(target), sums: String::new(), at: manifest.made_ms / 1000 };
        files.add(MANIFEST, &serde_json::to_vec_pretty(&manifest).map_err(io::Error::from)?)?;
        for name in [config::FILE_NAME, init::AUTHORITY_PUBLIC_FILE] {
            files.add(name, &read(&self.folder.join(name))?)?;
        }
        for name in listed(&self.folder.join(waiting::FOLDER))? {
            // One that was brought in while we read is in the directory by now.
            let path = self.folder.join(waiting::FOLDER).join(&name);
            match read(&path) {
                Err(Error::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                bytes => files.add(&format!("{}/{name}", waiting::FOLDER), &bytes?)?,
            }
        }
        files.add(&format!("{DIRECTORY}/{CHECKPOINT}"), head.checkpoint.as_bytes())?;
        files.add_log(DIRECTORY, self.ledger.as_ref(), head.size, runtime)?;
        let taken = self.anchors.head().checkpoint;
        if !taken.is_empty() {
            files.add(&format!("{ANCHORS}/{CHECKPOINT}"), taken.as_bytes())?;
        }
        files.add_log(ANCHORS, second.as_ref(), anchored, runtime)?;
        let sums = std::mem::take(&mut files.sums);
        files.add(SUMS, sums.as_bytes())?;
        Ok(files.tar.into_inner()?.flush()?)
    }
}

/// What is not in a backup, in words.
fn left_out(log: u32) -> Vec<String> {
    let mut left_out = vec![
        "keys/: registry keys backup seals them for two officers".to_owned(),
        "enrolments/: secrets of tokens that are out; admit those departments again".to_owned(),
        "the witnesses' last cosignatures: nodes cosign again".to_owned(),
    ];
    if log > 1 {
        left_out.push(format!("the second logs before number {log}: copy the folders anchors and anchors-N"));
    }
    left_out
}

struct Files<W: Write> {
    tar: tar::Builder<W>,
    sums: String,
    at: u64,
}

impl<W: Write> Files<W> {
    fn add(&mut self, path: &str, bytes: &[u8]) -> Result<(), Error> {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(self.at);
        self.tar.append_data(&mut header, path, bytes)?;
        self.sums.push_str(&format!("{}  {path}\n", HEXLOWER.encode(&Sha256::digest(bytes))));
        Ok(())
    }

    fn add_log(&mut self, log: &'static str, ledger: &dyn Ledger, size: u64, runtime: &Handle) -> Result<(), Error> {
        let mut next = 0;
        while next < size {
            let left = usize::try_from(size - next).unwrap_or(usize::MAX);
            let entries = runtime.block_on(ledger.read(next, ReadLimit::entries(ENTRIES_IN_A_FILE.min(left))))?;
            if entries.is_empty() {
                return Err(Error::Ends { log, size: next });
            }
            let count = entries.len();
            self.add(&entries_file(log, next, count), &EntryBundle::new(entries)?.encode())?;
            next += count as u64;
        }
        Ok(())
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error::File { path: path.to_owned(), source })
}

fn listed(folder: &Path) -> Result<Vec<String>, Error> {
    let failed = |source| Error::File { path: folder.to_owned(), source };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.map_err(failed)?.file_name().into_string().ok());
    }
    names.sort();
    Ok(names)
}
