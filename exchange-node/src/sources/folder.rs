//! A folder where somebody's nightly export lands: a file is picked up once it is whole, checked, and becomes the records of
//! its service in one step. A bad file changes nothing: the records from before go on answering, and the operator reads
//! what is wrong with it in `doctor` and `records show`.
//!
//! **When a file is whole.** Its size and its time of change have stayed the same for the folder's `settle` time. Whoever
//! writes under a name that begins with a dot or ends in `.tmp` or `.part` and then renames is never read too early, however
//! long a pause in the writing is. While it is read it must not change either; if it does, it is left for the next look.
//!
//! **What was handled is remembered** by its content, so that the folder can be one that this program may only read.
//!
//! **Nothing goes back in time.** Of exports that hold all records the newest good one counts alone, and none that is older
//! than what was taken. Changes are applied oldest first, each once.
//!
//! Out of scope: what a row must look like (`records`).

mod memory;
mod pick;

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use host::clock::Clock;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;
use trust::{ids::ServiceName, service::Service};

pub use self::memory::{Handled, Outcome};
use self::{
    memory::{Memory, is_ahead},
    pick::{Found, Settling},
};
use super::{fields::Table, mapping::Mapping};
use crate::{
    records::{
        ChangeOperation, Changes, Columns, Format, ImportError, Records,
        encoding::{self, EncodingError},
    },
    view::View,
};

/// How the name ends of the file within `records` that remembers what was handled.
pub(crate) const MEMORY_ENDING: &str = ".folder.json";

/// A folder, as a source.
#[derive(Clone, Debug)]
pub struct FolderSettings {
    /// Where it is; from the node's folder where it does not begin with a slash.
    pub path: PathBuf,
    /// How often it is looked at.
    pub every: Duration,
    /// For how long a file must not have changed.
    pub settle: Duration,
    /// Whether a file that was taken is moved to `done/` within the folder.
    pub moves: bool,
}

impl FolderSettings {
    pub(super) fn read(table: &Table<'_, '_>) -> Self {
        Self {
            path: table.needed_text("path").into(),
            every: table.period("every").unwrap_or(Duration::from_secs(10)),
            settle: table.period("settle").unwrap_or(Duration::from_secs(30)),
            moves: table.flag("move_to_done").unwrap_or(false),
        }
    }
}

/// What one service takes from a folder.
#[derive(Clone, Debug, Default)]
pub struct FolderAsk {
    /// What the names of its files begin with; every file, where this is empty.
    pub prefix: String,
    /// Set where a file holds changes, and not all of the records.
    pub changes: Option<Changes>,
    /// How its columns and values are read, where they are not the service's own.
    pub mapping: Mapping,
}

impl FolderAsk {
    pub(super) fn read(table: &Table<'_, '_>) -> Self {
        let key = table.texts("key").unwrap_or_default();
        let operation = table.text("operation");
        let is_complete = table.flag("all_changes").unwrap_or(true);
        let operation = match table.text("content").as_deref() {
            None | Some("all") => {
                if !key.is_empty() || operation.is_some() || table.has("all_changes") {
                    table.mistake("content", "key, operation and all_changes stand with content = \"changes\"");
                }
                None
            }
            Some("changes") => Some(match operation.as_deref() {
                None => ChangeOperation::Column("operation".to_owned()),
                Some("upsert") => ChangeOperation::Upsert,
                Some("delete") => ChangeOperation::Delete,
                Some(column) => ChangeOperation::Column(column.to_owned()),
            }),
            Some(_) => {
                table.mistake("content", "must be all or changes");
                None
            }
        };
        let changes = operation.map(|operation| Changes { operation, key, is_complete });
        Self { prefix: table.text("files").unwrap_or_default(), changes, mapping: Mapping::default() }
    }
}

/// The folder of one service.
pub struct WatchedFolder {
    service: ServiceName,
    major: Option<u32>,
    settings: FolderSettings,
    ask: FolderAsk,
    folder: PathBuf,
    memory: Mutex<Memory>,
    settling: Mutex<Settling>,
}

/// How a folder stands, for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderStatus {
    /// The service.
    pub service: ServiceName,
    /// Its major version, where the settings name one.
    pub major: Option<u32>,
    /// The folder.
    pub folder: PathBuf,
    /// What keeps it from being looked at.
    pub trouble: Option<String>,
    /// The file that was handled last.
    pub last: Option<Handled>,
}

/// What a folder needs to do its work.
#[derive(Clone)]
pub struct Hands {
    /// Where the records go.
    pub records: Arc<Records>,
    /// What the service needs.
    pub view: Arc<View>,
    /// Whose services they are.
    pub me: trust::ids::DepartmentId,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl WatchedFolder {
    pub(super) fn new(
        service: ServiceName,
        major: Option<u32>,
        settings: FolderSettings,
        ask: FolderAsk,
        dir: &Path,
    ) -> Self {
        let name = match major {
            None => format!("{service}{MEMORY_ENDING}"),
            Some(major) => format!("{service}-{major}{MEMORY_ENDING}"),
        };
        let memory = Memory::open(dir.join("records").join(name));
        let folder = dir.join(&settings.path);
        Self { service, major, settings, ask, folder, memory: Mutex::new(memory), settling: Mutex::default() }
    }

    /// The service.
    pub fn service(&self) -> &ServiceName {
        &self.service
    }

    /// Its major version, where the settings name one.
    pub fn major(&self) -> Option<u32> {
        self.major
    }

    /// How it stands.
    pub fn status(&self) -> FolderStatus {
        let memory = self.memory();
        FolderStatus {
            service: self.service.clone(),
            major: self.major,
            folder: self.folder.clone(),
            trouble: memory.trouble.clone(),
            last: memory.last().cloned(),
        }
    }

    /// Looks at the folder again and again, until it is to stop.
    pub async fn watch(self: Arc<Self>, hands: Hands, stop: CancellationToken) {
        loop {
            let (folder, with) = (Arc::clone(&self), hands.clone());
            // On a thread of its own: an import reads and writes for as long as it takes. Stopping waits for it.
            let looked = tokio::task::spawn_blocking(move || folder.look(&with)).await;
            if let Err(error) = looked {
                self.set_trouble(Some(format!("looking at it ended by itself: {error}")));
            }
            if stop.run_until_cancelled(tokio::time::sleep(self.settings.every)).await.is_none() {
                return;
            }
        }
    }

    /// Looks once.
    fn look(&self, hands: &Hands) {
        let service = {
            let seen = hands.view.seen();
            hands.records.use_schemes(&seen.directory().profile().schemes);
            own_service(seen.directory(), &hands.me, &self.service, self.major)
        };
        let trouble = match service {
            Some(service) => self.take_all(&service, &hands.records, hands.clock.now_ms()).err(),
            None => Some("this department has published no such service".to_owned()),
        };
        self.set_trouble(trouble);
    }

    /// Takes what is whole and was not handled before. Blocks.
    fn take_all(&self, service: &Service, records: &Records, now_ms: u64) -> Result<(), String> {
        let columns = Columns::of(service).map_err(|error| error.reason)?;
        if let Some(stray) = self.ask.mapping.stray(&columns) {
            return Err(format!("sources.toml says how {stray} is read, and the service has no such column"));
        }
        let found = pick::files(&self.folder, &self.ask.prefix)
            .map_err(|error| format!("{} cannot be read: {error}", self.folder.display()))?;
        let mut settling = self.settling.lock().unwrap_or_else(PoisonError::into_inner);
        let whole = settling.whole(&found, self.settings.settle, now_ms);
        drop(settling);
        self.memory().prune(&found, now_ms).map_err(|error| error.to_string())?;
        match &self.ask.changes {
            None => self.take_newest(&whole, service, records, now_ms),
            Some(_) => self.take_changes(&found, &whole, service, records, now_ms),
        }
    }

    /// Of exports that hold all records takes the newest that is good: an older one is how things stood on an earlier day.
    fn take_newest(&self, whole: &[Found], service: &Service, records: &Records, now_ms: u64) -> Result<(), String> {
        if let Some(file) = whole.iter().find(|file| is_ahead(file.changed_ms, now_ms)) {
            return Err(format!(
                "the time of change of {} lies in the future, so nothing says which export is the newest: put right the \
                 file's time, or this machine's clock",
                file.name
            ));
        }
        let newest = self.memory().newest_taken(now_ms);
        for file in whole.iter().rev() {
            let is_older = |(at_ms, name): &(u64, String)| file.place() < (*at_ms, name.as_str());
            if newest.as_ref().is_some_and(is_older) {
                return Ok(());
            }
            let is_taken = self.take(file, service, records, now_ms);
            if is_taken.map_err(|error| format!("{}: {error}", file.path.display()))? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Takes changes, the oldest first.
    fn take_changes(
        &self,
        found: &[Found],
        whole: &[Found],
        service: &Service,
        records: &Records,
        now_ms: u64,
    ) -> Result<(), String> {
        if let Some(damage) = self.memory().damage() {
            return Err(format!(
                "which changes were applied is not known ({damage}): import all records, move the changes that they hold \
                 out of the folder, and remove that file while the node is stopped"
            ));
        }
        // Changes build on those before them: one that is still written holds up what follows it.
        let until = found.iter().position(|file| !whole.contains(file)).unwrap_or(found.len());
        for file in &found[..until] {
            let memory = self.memory();
            // What was handled is passed by: a folder that keeps years of them is looked at again and again.
            let newest = if memory.same_file(file).is_some() { None } else { memory.newest_taken(now_ms) };
            drop(memory);
            if let Some((at_ms, name)) = newest
                && file.place() < (at_ms, name.as_str())
            {
                return Err(format!(
                    "{} is older than {name}, which was applied: if it was not applied before, write it anew; else move it \
                     out of the folder",
                    file.name
                ));
            }
            let is_taken = self.take(file, service, records, now_ms);
            if !is_taken.map_err(|error| format!("{}: {error}", file.path.display()))? {
                // Those after it build on it.
                return Err(format!("{} was refused, and what follows it waits", file.name));
            }
        }
        Ok(())
    }

    /// Takes one file, unless it was handled before; and says whether its content is in use.
    fn take(&self, file: &Found, service: &Service, records: &Records, now_ms: u64) -> io::Result<bool> {
        if let Some(handled) = self.memory().same_file(file) {
            return Ok(handled.outcome == Outcome::Taken);
        }
        let digest = digest_of(&file.path)?;
        if let Some(handled) = self.memory().same_content(file, &digest)? {
            return Ok(handled.outcome == Outcome::Taken);
        }
        tracing::info!(service = %service.id, file = file.name, "an export is taken from its folder");
        let mut handled = Handled::of(file, digest, now_ms);
        match self.import(file, service, records, now_ms) {
            Ok(rows) => handled.rows = rows,
            // Not the content's fault: it is tried again at the next look.
            Err(error @ (ImportError::Busy | ImportError::Read(_) | ImportError::Write(_))) => {
                return Err(io::Error::other(error.to_string()));
            }
            Err(error) => {
                handled.refuse(&error);
                let reason = error.to_string();
                tracing::warn!(service = %service.id, file = file.name, reason, "an export was refused; the records from before stay in use");
            }
        }
        let is_taken = handled.outcome == Outcome::Taken;
        self.memory().remember(handled)?;
        if is_taken && self.settings.moves {
            let done = self.folder.join("done");
            std::fs::create_dir_all(&done)?;
            std::fs::rename(&file.path, done.join(format!("{now_ms}-{}", file.name)))?;
        }
        Ok(is_taken)
    }

    fn import(&self, file: &Found, service: &Service, records: &Records, now_ms: u64) -> Result<u64, ImportError> {
        let text: Box<dyn Read> = match file.format {
            Format::Csv => match encoding::open(&file.path) {
                Ok(text) => text,
                Err(EncodingError::Neither { line }) => {
                    let reason = "the file is in neither UTF-8 nor GB18030 from here on: save it as UTF-8".to_owned();
                    return Err(ImportError::File { line, reason });
                }
                Err(EncodingError::Io(error)) => return Err(ImportError::Read(error)),
            },
            Format::JsonLines | Format::Xlsx => Box::new(File::open(&file.path).map_err(ImportError::Read)?),
        };
        let (steady, form) = (Steady { reader: text, file }, (file.format, &self.ask.mapping));
        match &self.ask.changes {
            None => records.import_mapped(service, form, false, steady, &|_| {}, now_ms).map(|report| report.rows),
            Some(changes) => {
                records.apply_mapped(service, form, changes, steady, &|_| {}, now_ms).map(|report| report.rows)
            }
        }
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_trouble(&self, trouble: Option<String>) {
        let mut memory = self.memory();
        if let Some(reason) = trouble.as_ref().filter(|_| memory.trouble != trouble) {
            tracing::warn!(service = %self.service, folder = %self.folder.display(), reason, "a folder of exports needs somebody");
        }
        memory.trouble = trouble;
    }
}

impl std::fmt::Debug for WatchedFolder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("WatchedFolder")
            .field("service", &self.service)
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

/// A file that must be at its end what it was at its beginning: one that somebody goes on writing is no whole export.
struct Steady<'a> {
    reader: Box<dyn Read>,
    file: &'a Found,
}

impl Read for Steady<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        if count == 0 && !buffer.is_empty() && !self.file.is_unchanged()? {
            return Err(io::Error::other("the file changed while it was read"));
        }
        Ok(count)
    }
}

fn digest_of(path: &Path) -> io::Result<String> {
    let (mut file, mut hash) = (File::open(path)?, Sha256::new());
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(data_encoding::HEXLOWER.encode(&hash.finalize())),
            count => hash.update(&buffer[..count]),
        }
    }
}

/// The own service of that name: the version that the settings name, or the newest that is not withdrawn.
fn own_service(
    directory: &trust::directory::Directory,
    me: &trust::ids::DepartmentId,
    name: &ServiceName,
    major: Option<u32>,
) -> Option<Service> {
    let is_withdrawn = |service: &Service| matches!(service.state, trust::service::ServiceState::Withdrawn { .. });
    directory
        .services_of(me)
        .filter(|service| service.id.service == *name && !is_withdrawn(service))
        .filter(|service| major.is_none_or(|major| service.id.major == major))
        .max_by_key(|service| service.id.major)
        .cloned()
}

/// A time of change in Unix milliseconds.
fn changed_ms(changed: SystemTime) -> u64 {
    let since = changed.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
