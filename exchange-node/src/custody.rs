//! Evidence that this node keeps for a predecessor: a department that has ended, or given up a part, and handed the custody
//! of its evidence over. The evidence log of each of its nodes is copied here, with the months' keys, is read again from
//! the first entry, and closed with a last checkpoint that the predecessor's node key signs. From then on it is shown,
//! exported and proved under the predecessor's name and key, and never written.
//!
//! The predecessor's private keys are not taken along: nobody can go on in its name here.
//!
//! Out of scope: whether the directory gives this department the custody, which the caller asks (`admin_edge::successions`).

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use host::files;
use serde::Deserialize;
use trust::{
    directory::model::ClosedLog,
    evidence::LogOf,
    ids::{DepartmentId, ExchangeId, NodeId, Party},
    key::{KeyId, Signer},
    log::{checkpoint::Checkpoint, hash::Hash, note::SignedNote},
};

use crate::{
    config::{self, Config, from_text},
    journal::{self, CheckpointError, Journal, JournalError, KeptJournal, SignedHead, Verified},
    keys::{self, NodeKeys},
    logs,
};

/// The folder of kept evidence within the node's folder.
const FOLDER: &str = "custody";

/// What is noted about a kept log.
pub(crate) const NOTE: &str = "kept.toml";

/// The predecessor's last checkpoint.
pub(crate) const CHECKPOINT: &str = "checkpoint";

/// Why evidence cannot be taken over or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It is here already.
    #[error("the evidence of {party}, node {node}, is kept here already")]
    AlreadyKept {
        /// The predecessor.
        party: Party,
        /// Its node.
        node: NodeId,
    },
    /// The last checkpoint cannot be made.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The predecessor's configuration cannot be read.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// A file cannot be read, written or copied.
    #[error(transparent)]
    File(#[from] files::Error),
    /// What is noted about a kept log cannot be read.
    #[error(transparent)]
    Note(#[from] host::config::Error),
    /// The evidence cannot be read, or is damaged.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The predecessor's keys cannot be read.
    #[error("the predecessor's node key is needed for the last checkpoint of its evidence: {0}")]
    Keys(#[from] keys::Error),
    /// The folder is another exchange's.
    #[error("{} belongs to another exchange", folder.display())]
    OtherExchange {
        /// The folder.
        folder: PathBuf,
    },
    /// Nothing is kept under that name.
    #[error("no evidence is kept for {party}, node {node}: `evidence kept` lists what is")]
    Unknown {
        /// The predecessor.
        party: String,
        /// Its node.
        node: String,
    },
}

/// A predecessor's evidence log.
#[derive(Debug)]
pub struct KeptLog {
    /// The predecessor.
    pub party: Party,
    /// Its node.
    pub node: NodeId,
    /// Which of the node's logs.
    pub number: u32,
    /// The key that signed the last checkpoint.
    pub key: KeyId,
    /// The last checkpoint.
    pub head: SignedHead,
    /// The log.
    pub journal: KeptJournal,
    /// How many entries have no message any more.
    pub without_message: u64,
    /// When it was taken over, Unix milliseconds.
    pub taken_ms: u64,
    /// Its folder, within the node's.
    pub place: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    #[serde(deserialize_with = "from_text")]
    exchange: ExchangeId,
    #[serde(deserialize_with = "from_text")]
    department: DepartmentId,
    #[serde(deserialize_with = "from_text")]
    node: NodeId,
    #[serde(default = "first")]
    log: u32,
    key: String,
    without_message: u64,
    taken_ms: u64,
}

/// Whose folder is to be taken over.
#[derive(Clone, Debug)]
pub struct Predecessor {
    /// The department.
    pub party: Party,
    /// The node.
    pub node: NodeId,
    folder: PathBuf,
}

impl Predecessor {
    /// Reads whose folder it is.
    pub fn of(folder: &Path, exchange: &ExchangeId) -> Result<Self, Error> {
        let config = Config::load(&folder.join(config::FILE_NAME))?;
        if config.exchange != *exchange {
            return Err(Error::OtherExchange { folder: folder.to_owned() });
        }
        Ok(Self { party: config.party(), node: config.node, folder: folder.to_owned() })
    }
}

/// All evidence that this node keeps for predecessors.
#[derive(Debug)]
pub struct Custody {
    folder: PathBuf,
    open: Mutex<HashMap<PathBuf, Arc<KeptLog>>>,
}

impl Custody {
    /// That of the node's folder.
    pub fn new(dir: &Path) -> Self {
        Self { folder: dir.join(FOLDER), open: Mutex::default() }
    }

    /// Copies a predecessor's evidence here, reads all of it again, and closes it with a last checkpoint. The predecessor's
    /// folder is left as it is. Its node must not run. `closed` are those of its logs that were closed before, because they had
    /// lost entries: each is kept under its own name, with what it kept. The log that was kept last. Blocks.
    pub fn take_over(
        &self,
        predecessor: &Predecessor,
        closed: &[ClosedLog],
        now_ms: u64,
    ) -> Result<Arc<KeptLog>, Error> {
        let Predecessor { party, node, folder } = predecessor;
        let numbers = logs::numbers_in(folder).map_err(failed("cannot read the folder", folder))?;
        let last = numbers.last().copied().unwrap_or(1);
        let is_kept = |log| self.place(party.department(), node, log).exists();
        if is_kept(last) {
            return Err(Error::AlreadyKept { party: party.clone(), node: node.clone() });
        }
        // The last one at the end: an attempt that was interrupted before is gone on with.
        for log in numbers.iter().copied().filter(|log| *log != last && !is_kept(*log)) {
            let position = usize::try_from(log).unwrap_or(usize::MAX) - 1;
            match self.take_log_over(predecessor, log, closed.get(position), now_ms) {
                // It was made and never begun.
                Err(Error::Journal(JournalError::NothingKept { .. })) => {}
                taken => drop(taken?),
            }
        }
        self.take_log_over(predecessor, last, None, now_ms)
    }

    fn take_log_over(
        &self,
        Predecessor { party, node, folder }: &Predecessor,
        log: u32,
        closed: Option<&ClosedLog>,
        now_ms: u64,
    ) -> Result<Arc<KeptLog>, Error> {
        let place = self.place(party.department(), node, log);
        let signer = NodeKeys::read(folder)?.node;
        files::private_folder(&self.folder)?;
        let copy = place.with_extension("new");
        // What an interrupted attempt left behind.
        let _ = fs::remove_dir_all(&copy);
        copy_folder(&folder.join(logs::folder_of(log)), &copy.join("journal"))?;
        copy_folder(&folder.join("keys").join("months"), &copy.join("keys").join("months"))?;
        files::private_folder(&copy.join("keys"))?;
        let head;
        let verified: Verified;
        {
            let journal = KeptJournal::open(&copy)?;
            verified = journal.verify()?;
            let of = LogOf { party: party.clone(), node: node.clone(), number: log };
            let (size, root) = closed.map_or_else(|| journal.head(), |closed| (closed.size, closed.root));
            head = journal::sign_head(size, root, &of.to_string(), signer.as_ref(), now_ms)?;
            // Let go of here: it is opened again under its own name.
        }
        files::create_file(&copy.join(CHECKPOINT), head.note.as_bytes(), files::PRIVATE_MODE)?;
        let note = format!(
            "# Evidence of a predecessor, taken over to be kept. Nothing here is written again.\n\
             exchange = \"{}\"\n\
             department = \"{}\"\n\
             node = \"{node}\"\n\
             log = {log}\n\
             key = \"{}\"\n\
             without_message = {}\n\
             taken_ms = {now_ms}\n",
            party.exchange(),
            party.department(),
            signer.public_key().id(),
            verified.without_message,
        );
        files::create_file(&copy.join(NOTE), note.as_bytes(), files::PRIVATE_MODE)?;
        fs::rename(&copy, &place).map_err(failed("cannot name the folder", &place))?;
        sync(&self.folder)?;
        self.open(&place)
    }

    /// Every log that is kept. Blocks.
    pub fn list(&self) -> Result<Vec<Arc<KeptLog>>, Error> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(failed("cannot read the folder", &self.folder))?,
        };
        let mut places = Vec::new();
        for entry in entries {
            let place = entry.map_err(failed("cannot read the folder", &self.folder))?.path();
            places.extend(place.join(NOTE).is_file().then_some(place).filter(|place| !is_unfinished(place)));
        }
        places.sort();
        places.iter().map(|place| self.open(place)).collect()
    }

    /// The logs of a predecessor's node, the last one first. Blocks.
    pub fn find(&self, exchange: &ExchangeId, department: &str, node: &str) -> Result<Vec<Arc<KeptLog>>, Error> {
        let unknown = || Error::Unknown { party: format!("{exchange}/{department}"), node: node.to_owned() };
        let mut kept = self.list()?;
        kept.retain(|kept| kept.party.department().as_str() == department && kept.node.as_str() == node);
        kept.sort_by_key(|kept| std::cmp::Reverse(kept.number));
        if kept.is_empty() { Err(unknown()) } else { Ok(kept) }
    }

    fn open(&self, place: &Path) -> Result<Arc<KeptLog>, Error> {
        // Under the lock: a store is opened once.
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = open.get(place) {
            return Ok(Arc::clone(kept));
        }
        let kept = Arc::new(read(place)?);
        open.insert(place.to_owned(), Arc::clone(&kept));
        Ok(kept)
    }

    fn place(&self, department: &DepartmentId, node: &NodeId, log: u32) -> PathBuf {
        self.folder.join(match log {
            0 | 1 => format!("{department}.{node}"),
            log => format!("{department}.{node}.{log}"),
        })
    }
}

fn read(place: &Path) -> Result<KeptLog, Error> {
    let note: Note = host::config::load(&place.join(NOTE))?;
    let checkpoint = place.join(CHECKPOINT);
    let text = fs::read_to_string(&checkpoint).map_err(failed("cannot read", &checkpoint))?;
    let journal = KeptJournal::open(place)?;
    let (party, node) = (Party::new(note.exchange, note.department), note.node);
    // Of a log that was closed before, what it kept.
    let (size, root) = head_of(&text).unwrap_or_else(|| journal.head());
    let head = SignedHead { size, root, note: text };
    let malformed = |_| JournalError::NothingKept { path: place.to_owned() };
    let key = note.key.parse().map_err(malformed)?;
    let (without_message, taken_ms) = (note.without_message, note.taken_ms);
    let name = place.file_name().unwrap_or_default();
    let place = Path::new(FOLDER).join(name);
    Ok(KeptLog { party, node, number: note.log, key, head, journal, without_message, taken_ms, place })
}

/// Size and root in a checkpoint that was made here.
fn head_of(note: &str) -> Option<(u64, Hash)> {
    let note = SignedNote::parse(note.as_bytes()).ok()?;
    let checkpoint = Checkpoint::parse(note.text()).ok()?;
    Some((checkpoint.size(), checkpoint.root()))
}

/// Which log it is where nothing says so.
fn first() -> u32 {
    1
}

fn is_unfinished(place: &Path) -> bool {
    place.extension().is_some_and(|extension| extension == "new")
}

/// Copies a folder of plain files and folders, private, and down to the disk.
fn copy_folder(from: &Path, to: &Path) -> Result<(), Error> {
    files::private_folder(to)?;
    for entry in fs::read_dir(from).map_err(failed("cannot read the folder", from))? {
        let entry = entry.map_err(failed("cannot read the folder", from))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(failed("cannot look at", &source))?;
        if kind.is_dir() {
            copy_folder(&source, &target)?;
        } else if kind.is_file() {
            // The permissions come along: a month's key stays private.
            fs::copy(&source, &target).map_err(failed("cannot copy", &source))?;
            sync(&target)?;
        }
    }
    sync(to)
}

fn sync(path: &Path) -> Result<(), Error> {
    let synced = fs::File::open(path).and_then(|file| file.sync_all());
    Ok(synced.map_err(failed("cannot sync", path))?)
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> files::Error {
    let path = path.to_owned();
    move |source| files::Error::Io { doing, path, source }
}
