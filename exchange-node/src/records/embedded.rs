//! The embedded store of records: `records/<service>.<major>/` in the node's folder holds one folder for each generation
//! (one import) and the file `current`, which names the one in use. Its atomic replacement is the switch; whatever it
//! does not name is left over from a crash and removed on opening.
//!
//! Out of scope: reading files of records (`import`), and the layout within a store (`blocks`).

mod blocks;
mod change;
mod generation;
mod scan;

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use host::files;
use host::store::{SMALL_CACHE_BYTES, Store, StoreError};
use tokio::sync::watch;
use trust::ids::ServiceName;
use trust::service::Service;
use trust::subject::Subject;
use trust::subject::added::Schemes;
use trust::value::Value;

use self::generation::{Generation, Manifest};
use super::columns::Columns;
use super::import::{self, BadRow, Format, ImportError, ImportReport, Order, Progress};
use super::{Lookup, LookupFuture, Reading, RecordSource, RecordsStatus};
use crate::sources::mapping::Mapping;

pub(super) use self::blocks::BlockWriter;
pub use self::change::ChangeReport;

/// The name of the file that names the generation in use.
const CURRENT: &str = "current";

/// What the caches of all services may hold together, as sled counts it. A cache takes memory only for what is asked:
/// nothing after a start, and with a million records of one service 103 MB once every one of them was asked for. A smaller
/// one saves little, since sled accounts for a page only after thousands of others: 4 MiB took 89 MB, and four times the
/// processor time for a lookup (10 µs against 2.5).
const CACHE_BYTES: u64 = 128 * 1024 * 1024;

/// The smallest cache of one service.
const SMALLEST_CACHE_BYTES: u64 = 4 * 1024 * 1024;

/// The department's records. Lookups go on while an import runs, and see the old records until the new ones are whole.
pub struct Records {
    folder: PathBuf,
    generations: ArcSwap<Vec<Arc<Generation>>>,
    importing: Mutex<HashSet<PathBuf>>,
    known: ArcSwap<Schemes>,
    /// How often the records of each service were imported or changed.
    imports: watch::Sender<BTreeMap<(ServiceName, u32), u64>>,
}

/// Why the records cannot be opened at all. What is wrong with one service's records keeps only that service from
/// answering, and stands in [`RecordsStatus::fault`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordsError {
    /// A folder cannot be used.
    #[error(transparent)]
    Files(#[from] files::Error),
    /// Another process has the records open.
    #[error(transparent)]
    Locked(StoreError),
    /// The folder cannot be read.
    #[error("cannot read the folder {}: {source}", path.display())]
    Read {
        /// The folder.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
}

impl Records {
    /// Opens the records in the node's folder `dir`, and removes what a crash left over. Blocks.
    ///
    /// # Errors
    /// Where the folder cannot be used or another process has it open.
    pub fn open(dir: &Path) -> Result<Self, RecordsError> {
        let folder = dir.join("records");
        files::private_folder(&folder)?;
        let read = |source| RecordsError::Read { path: folder.clone(), source };
        let mut found = Vec::new();
        for entry in fs::read_dir(&folder).map_err(read)? {
            let path = entry.map_err(read)?.path();
            if let Some((service, major)) = service_of(&path) {
                found.push((service, major, path));
            }
        }
        found.sort();
        // Each takes a while to open when it is large, so they are opened side by side.
        let cache = cache_bytes(found.len());
        let opened = std::thread::scope(|scope| {
            let open = |(service, major, path): (ServiceName, u32, PathBuf)| {
                let names = (service.clone(), major);
                (names, scope.spawn(move || open_current(service, major, &path, cache)))
            };
            let opening = found.into_iter().map(open).collect::<Vec<_>>();
            let join = |((service, major), thread): ((ServiceName, u32), ScopedJoinHandle<'_, _>)| {
                // Whatever panicked: records that cannot be opened are not records that were never imported.
                let fault = "the records could not be opened: import them again";
                thread.join().unwrap_or_else(|_| Ok(Some(Generation::faulty(service, major, fault.to_owned()))))
            };
            opening.into_iter().map(join).collect::<Result<Vec<_>, _>>()
        })?;
        let generations = opened.into_iter().flatten().map(Arc::new).collect::<Vec<_>>();
        Ok(Self {
            folder,
            generations: ArcSwap::from_pointee(generations),
            importing: Mutex::default(),
            imports: watch::Sender::default(),
            known: ArcSwap::default(),
        })
    }

    /// Says how numbers are written, as the authority's profile has it now; imports and changes from now on follow it.
    pub fn use_schemes(&self, known: &Schemes) {
        if **self.known.load() != *known {
            self.known.store(Arc::new(known.clone()));
        }
    }

    /// How often the records of each service were imported or changed since the start.
    pub fn imports(&self) -> watch::Receiver<BTreeMap<(ServiceName, u32), u64>> {
        self.imports.subscribe()
    }

    /// What is held now, for a backup: every service's records in use.
    pub(crate) fn held(&self) -> Vec<HeldRecords> {
        let generations = self.generations.load_full();
        generations.iter().filter_map(|generation| HeldRecords::of(generation, &self.folder)).collect()
    }

    /// The rows of `subject` that `inputs` select. Reads from the disk where the cache has nothing, for some tens of
    /// microseconds.
    pub fn lookup(&self, service: &Service, subject: &Subject, inputs: &[(String, Value)]) -> Lookup {
        let generations = self.generations.load();
        let is_wanted = |generation: &&Arc<Generation>| generation.is_of(&service.id.service, service.id.major);
        match generations.iter().find(is_wanted) {
            Some(generation) => generation.lookup(service, subject, inputs),
            None => Lookup::NotImported,
        }
    }

    /// What is held, by service.
    pub fn status(&self) -> Vec<RecordsStatus> {
        self.generations.load().iter().map(|generation| generation.status()).collect()
    }

    /// Imports a file of records in place of those of `service`, as a whole or not at all. `input` must fail when its
    /// sender is gone: an input that ends is a file that ends. Blocks for as long as it takes; lookups go on meanwhile.
    ///
    /// With `quarantine`, bad rows are set aside and their subjects answer `UNAVAILABLE`. The files with the bad rows
    /// last as long as the records do.
    ///
    /// # Errors
    /// Why nothing has changed.
    pub fn import(
        &self,
        service: &Service,
        format: Format,
        quarantine: bool,
        input: impl Read,
        progress: &dyn Fn(Progress),
        now_ms: u64,
    ) -> Result<ImportReport, ImportError> {
        self.import_mapped(service, (format, &Mapping::default()), quarantine, input, progress, now_ms)
    }

    /// The same of a file whose columns and values are read as `mapping` says.
    ///
    /// # Errors
    /// As [`Records::import`].
    pub fn import_mapped(
        &self,
        service: &Service,
        (format, mapping): (Format, &Mapping),
        quarantine: bool,
        input: impl Read,
        progress: &dyn Fn(Progress),
        now_ms: u64,
    ) -> Result<ImportReport, ImportError> {
        let columns = Columns::of(service).map_err(|error| ImportError::Columns {
            problems: vec![BadRow { line: 1, field: error.field, reason: error.reason }],
        })?;
        let folder = self.folder.join(format!("{}.{}", service.id.service, service.id.major));
        let _claim = Claim::on(&self.importing, &folder)?;
        let known = self.known.load();
        let order = Order { columns: &columns, format, quarantine, changes: None, known: &known, mapping, progress };
        let (path, mut report, manifest) = {
            let path = new_generation(&folder)?;
            let unfinished = Unfinished(Some(path.clone()));
            let store = Store::open(&path.join("store"), SMALL_CACHE_BYTES).map_err(write)?;
            let import::Outcome { report, held_schemes } = import::load_file(&order, &path, store, input)?;
            let manifest = Manifest::new(service, &columns, &held_schemes, format, &report, now_ms);
            manifest.write(&path).map_err(write)?;
            unfinished.keep();
            (path, report, manifest)
        };
        report.replaced_rows = self.put_into_use(service, &folder, &path, manifest)?;
        Ok(report)
    }

    /// Opens the generation at `path`, which is whole, and switches to it. What it replaces is removed; the number of its
    /// rows is returned where it could be used.
    fn put_into_use(
        &self,
        service: &Service,
        folder: &Path,
        path: &Path,
        manifest: Manifest,
    ) -> Result<Option<u64>, ImportError> {
        // Opened again, and not used as it is: the writer's cache is given back, and that it opens is proved.
        let cache = cache_bytes(self.generations.load().len().max(1));
        let generation = Arc::new(Generation::open(path, service.id.service.clone(), manifest, cache));
        if let Some(fault) = generation.status().fault {
            drop(generation);
            remove(path);
            return Err(ImportError::Write(fault));
        }
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        if let Err(error) = files::replace_file(&folder.join(CURRENT), name, files::PRIVATE_MODE) {
            // Whether the switch reached the disk is not known: keep both generations, and let the next start decide.
            return Err(write(error));
        }
        Ok(self.switch(generation).and_then(|old| {
            let status = old.status();
            retire(old);
            status.fault.is_none().then_some(status.rows)
        }))
    }

    /// Puts `generation` into use, and returns the one of the same service that was.
    fn switch(&self, generation: Arc<Generation>) -> Option<Arc<Generation>> {
        let mut old = None;
        let of = (generation.order().0.clone(), generation.order().1);
        self.generations.rcu(|generations| {
            old = generations.iter().find(|other| other.is_same_service(&generation)).cloned();
            let mut new =
                generations.iter().filter(|other| !other.is_same_service(&generation)).cloned().collect::<Vec<_>>();
            new.push(Arc::clone(&generation));
            new.sort_by(|one, other| one.order().cmp(&other.order()));
            new
        });
        self.imports.send_modify(|imports| *imports.entry(of).or_default() += 1);
        old
    }
}

impl RecordSource for Records {
    fn lookup<'a>(
        &'a self,
        _reading: Reading<'a>,
        service: &'a Service,
        subject: &'a Subject,
        inputs: &'a [(String, Value)],
    ) -> LookupFuture<'a> {
        Box::pin(std::future::ready(Self::lookup(self, service, subject, inputs)))
    }

    fn status(&self) -> Vec<RecordsStatus> {
        Self::status(self)
    }
}

impl std::fmt::Debug for Records {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Records").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// The one import of a service that may run.
struct Claim<'a> {
    importing: &'a Mutex<HashSet<PathBuf>>,
    folder: PathBuf,
}

impl<'a> Claim<'a> {
    fn on(importing: &'a Mutex<HashSet<PathBuf>>, folder: &Path) -> Result<Self, ImportError> {
        let is_free = importing.lock().unwrap_or_else(PoisonError::into_inner).insert(folder.to_owned());
        is_free.then(|| Self { importing, folder: folder.to_owned() }).ok_or(ImportError::Busy)
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.importing.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.folder);
    }
}

/// The folder of a generation that may still fail, and is removed then.
struct Unfinished(Option<PathBuf>);

impl Unfinished {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            remove(path);
        }
    }
}

/// The cache of one of so many services.
fn cache_bytes(services: usize) -> u64 {
    (CACHE_BYTES / u64::try_from(services).unwrap_or(u64::MAX).max(1)).max(SMALLEST_CACHE_BYTES)
}

fn write(error: impl std::fmt::Display) -> ImportError {
    ImportError::Write(error.to_string())
}

/// The service and major version whose records lie in the folder `path`.
fn service_of(path: &Path) -> Option<(ServiceName, u32)> {
    let (service, major) = path.file_name()?.to_str()?.rsplit_once('.')?;
    Some((service.parse().ok()?, major.parse().ok()?))
}

/// The records of one service as they are in use. They stay while this is held.
pub(crate) struct HeldRecords {
    generation: Arc<Generation>,
    /// The files beside the database, and the one that names it, within the node's folder.
    pub(crate) files: Vec<PathBuf>,
    /// The database's folder, within the node's.
    pub(crate) store: PathBuf,
}

impl HeldRecords {
    fn of(generation: &Arc<Generation>, folder: &Path) -> Option<Self> {
        let node = folder.parent()?;
        let own = generation.folder()?;
        let within = own.strip_prefix(node).ok()?;
        let mut files = vec![within.with_file_name(CURRENT)];
        for entry in fs::read_dir(own).ok()?.flatten() {
            files.extend(entry.file_type().ok()?.is_file().then(|| within.join(entry.file_name())));
        }
        Some(Self { generation: Arc::clone(generation), files, store: within.join(generation::STORE) })
    }

    /// Every key with its value.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = sled::Result<(sled::IVec, sled::IVec)>> {
        self.generation.pairs()
    }
}

/// Makes the folder of the next generation.
fn new_generation(folder: &Path) -> Result<PathBuf, ImportError> {
    files::private_folder(folder).map_err(write)?;
    let numbers =
        fs::read_dir(folder).map_err(write)?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u64>().ok());
    let path = folder.join(format!("{:08}", numbers.max().unwrap_or(0) + 1));
    files::private_folder(&path).map_err(write)?;
    // The folder's name must be on disk before `current` names it.
    for folder in [folder, folder.parent().unwrap_or(folder)] {
        fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(write)?;
    }
    Ok(path)
}

/// Opens what `folder`'s `current` names, and removes everything else. `None`: nothing was ever imported.
fn open_current(
    service: ServiceName,
    major: u32,
    folder: &Path,
    cache_bytes: u64,
) -> Result<Option<Generation>, RecordsError> {
    let current = match fs::read_to_string(folder.join(CURRENT)) {
        Ok(current) => Some(current),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(source) => return Err(RecordsError::Read { path: folder.join(CURRENT), source }),
    };
    let is_number = |name: &str| name.len() == 8 && name.bytes().all(|byte| byte.is_ascii_digit());
    let read = |source| RecordsError::Read { path: folder.to_owned(), source };
    for entry in fs::read_dir(folder).map_err(read)? {
        let entry = entry.map_err(read)?;
        let name = entry.file_name();
        // Nothing that was not made here is removed.
        if name.to_str().is_some_and(|name| is_number(name) && current.as_deref() != Some(name)) {
            remove(&entry.path());
        }
    }
    let Some(current) = current else { return Ok(None) };
    if !is_number(&current) {
        let fault =
            format!("{} does not name a generation of records: import them again", folder.join(CURRENT).display());
        return Ok(Some(Generation::faulty(service, major, fault)));
    }
    let path = folder.join(&current);
    let generation = match Manifest::read(&path, &service, major) {
        Ok(manifest) => Generation::open(&path, service, manifest, cache_bytes),
        Err(fault) => Generation::faulty(service, major, fault),
    };
    generation.locked().map_or(Ok(Some(generation)), |error| Err(RecordsError::Locked(error)))
}

/// Removes the records that are not in use any more, once the last lookup has done with them.
fn retire(old: Arc<Generation>) {
    let mut old = old;
    for _ in 0..500 {
        match Arc::try_unwrap(old) {
            Ok(generation) => {
                let folder = generation.folder().map(Path::to_owned);
                drop(generation);
                if let Some(folder) = folder {
                    remove(&folder);
                }
                return;
            }
            Err(shared) => old = shared,
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    // Somebody holds on to it: the next start removes the folder.
}

/// Removes a folder that nothing needs. What cannot be removed now is removed at the next start.
fn remove(folder: &Path) {
    if let Err(error) = fs::remove_dir_all(folder) {
        tracing::warn!(folder = %folder.display(), %error, "cannot remove records that are not in use; the next start tries again");
    }
}
