//! The journal on sled: one database for each UTC month, written by one group-committing writer.
//!
//! The first commit of a new month closes the writer of the old one and begins the new: a new database (sled's memory
//! and its time to open grow with what is in it), a new key. A month never goes back: where the clock was ahead, commits
//! go into the later month until the calendar has caught up.
//!
//! Out of scope: what is in a month's database (`month_store`), and checking it all (`verify`).

use std::{
    fmt, fs, io,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use host::{
    clock::Clock,
    committer::{Committer, CommitterOptions, Faults},
    files,
    random::Random,
};
use tokio::sync::RwLock;
use trust::log::{frontier::Frontier, hash::Hash};

use super::{
    Commit, Committed, Dump, Journal, JournalError, Later, Month, PairSink, RecordHead, StoredEntry, Verified, dump,
    month_beginning::Beginning,
    month_key::{MonthKey, MonthKeys},
    month_store::MonthStore,
    months::{Months, month_folder},
    reading, record, verify,
    writer::{Durable, Job, Writer},
};

/// Called once, with the reason, when the writer ends by itself; it must bring the process to its end.
pub type OnFailure = Arc<dyn Fn(&str) + Send + Sync>;

/// The cache of the month that is written. Resident memory is two to four times as much.
const CURRENT_CACHE_BYTES: u64 = 8 * 1024 * 1024;

/// The journal on sled. Clones share it.
#[derive(Clone)]
pub struct SledJournal {
    inner: Arc<Inner>,
}

struct Inner {
    folder: PathBuf,
    keys: Arc<MonthKeys>,
    random: Arc<dyn Random>,
    on_failure: OnFailure,
    /// Read by every commit until it stands in line; written only when a month begins.
    current: RwLock<Current>,
    durable: Arc<ArcSwap<Durable>>,
    months: Months,
}

/// The month that is written.
struct Current {
    month: Month,
    key: MonthKey,
    committer: Committer<Writer>,
}

impl SledJournal {
    /// Opens the journal of the program folder `dir`: databases in `dir/journal`, keys in `dir/keys/months`. Restores
    /// the tree and checks that it has the root that was durable, without reading old entries. Blocks; must be called
    /// in a runtime or before one.
    ///
    /// # Errors
    ///
    /// The folder, a key or the store cannot be used, or what is stored does not fit together.
    pub fn open(
        dir: &Path,
        random: Arc<dyn Random>,
        clock: &dyn Clock,
        on_failure: OnFailure,
    ) -> Result<Self, JournalError> {
        Self::open_with(dir, random, clock, on_failure, None)
    }

    /// As [`SledJournal::open`], with the databases in the folder `name` of `dir`: a log that is not the node's first.
    ///
    /// # Errors
    ///
    /// As for [`SledJournal::open`].
    pub fn open_named(
        dir: &Path,
        name: &str,
        random: Arc<dyn Random>,
        clock: &dyn Clock,
        on_failure: OnFailure,
    ) -> Result<Self, JournalError> {
        Self::open_in(dir, name, random, clock, on_failure, None)
    }

    pub(super) fn open_with(
        dir: &Path,
        random: Arc<dyn Random>,
        clock: &dyn Clock,
        on_failure: OnFailure,
        faults: Option<Faults>,
    ) -> Result<Self, JournalError> {
        Self::open_in(dir, "journal", random, clock, on_failure, faults)
    }

    fn open_in(
        dir: &Path,
        name: &str,
        random: Arc<dyn Random>,
        clock: &dyn Clock,
        on_failure: OnFailure,
        faults: Option<Faults>,
    ) -> Result<Self, JournalError> {
        let folder = dir.join(name);
        files::private_folder(&folder)?;
        let keys = Arc::new(MonthKeys::open(dir.join("keys").join("months"))?);
        // A folder whose name is not on disk is lost with all that is in it.
        for made_in in [dir, &dir.join("keys")] {
            sync_folder(made_in)?;
        }

        let found = restore_last(&folder)?;
        let last = found.as_ref().map(|(store, _)| store.month());
        let month = last.into_iter().chain([Month::of_ms(clock.now_ms())]).max().unwrap_or(Month::of_ms(0));
        let (before, beginning) = match found {
            None => (None, Beginning { tree: Frontier::new(), months: Vec::new() }),
            Some((store, beginning)) => (Some(store), beginning),
        };
        let (before, opened) = match before {
            Some(store) if store.month() == month => {
                (None, OpenMonth { tree: store.restore(&beginning)?, months: beginning.months, store: Arc::new(store) })
            }
            Some(store) => {
                let tree = store.restore(&beginning)?;
                (Some(Arc::new(store)), begin_month(&folder, month, tree, beginning.months)?)
            }
            None => (None, begin_month(&folder, month, beginning.tree, beginning.months)?),
        };
        let key = keys.load_or_make(month, random.as_ref())?;

        let durable = Arc::new(ArcSwap::from_pointee(Durable::new(opened.tree.clone())));
        let committer = start_writer(&opened, &durable, &on_failure, faults)?;
        let months = Months::new(folder.clone(), Arc::clone(&keys), opened.months, opened.store);
        if let Some(before) = before {
            months.remember(before);
        }
        let current = RwLock::new(Current { month, key, committer });
        Ok(Self { inner: Arc::new(Inner { folder, keys, random, on_failure, current, durable, months }) })
    }

    /// Reads everything again: decrypts what can be decrypted, recomputes the tree, and compares it with what is stored
    /// and with the head. Blocks, for as long as reading the whole journal takes.
    ///
    /// # Errors
    ///
    /// [`JournalError::Damaged`] naming the first entry that is wrong, or why it could not be read.
    pub fn verify(&self) -> Result<Verified, JournalError> {
        verify::verify(&self.inner.months, &self.inner.durable.load_full())
    }

    /// Hands over all that is durable now, for a backup. Blocks, for as long as reading all of it takes.
    ///
    /// # Errors
    ///
    /// What was stored cannot be read, or the sink takes no more.
    pub fn dump(&self, sink: &mut dyn PairSink) -> Result<Dump, JournalError> {
        dump::dump(&self.inner.months, &self.inner.durable.load_full(), sink)
    }

    /// Commits what was submitted, refuses what comes later, and lets go of the store.
    ///
    /// # Errors
    ///
    /// [`JournalError::Stopped`] if the writer had ended by itself.
    pub async fn close(&self) -> Result<(), JournalError> {
        // In writing: a month that begins just now must not start a writer behind our back.
        Ok(self.inner.current.write().await.committer.close().await?)
    }
}

impl Inner {
    async fn commit(self: &Arc<Self>, commit: Commit) -> Result<Committed, JournalError> {
        let month = Month::of_ms(commit.at_ms);
        let mut current = self.current.read().await;
        if month > current.month {
            drop(current);
            // In a task of its own: a caller that goes away must not leave a month half begun.
            let inner = Arc::clone(self);
            tokio::spawn(async move { inner.begin(month).await }).await??;
            current = self.current.read().await;
        }
        let sealed = record::seal(&commit, &current.key, self.random.as_ref())?;
        let entries = sealed.entries;
        // The messages are in the record now; a caller that waits for the disk need not hold them twice.
        drop(commit);
        let pending = current.committer.enqueue(Job::new(sealed)).await?;
        drop(current);
        let first_index = pending.wait().await?;
        let receipts = (first_index..).zip(entries.as_slice()).map(|(index, entry)| entry.receipt(index)).collect();
        Ok(Committed { first_index, receipts })
    }

    async fn begin(self: Arc<Self>, month: Month) -> Result<(), JournalError> {
        let mut current = self.current.write().await;
        if current.month >= month {
            return Ok(());
        }
        // Everything in line becomes durable first: the new month begins with the tree as it is then. After a failure
        // further on the old writer stays closed, and the next commit tries to begin the month again.
        current.committer.close().await?;
        let inner = Arc::clone(&self);
        let (key, opened) = tokio::task::spawn_blocking(move || {
            let key = inner.keys.load_or_make(month, inner.random.as_ref())?;
            let tree = inner.durable.load().tree.clone();
            Ok::<_, JournalError>((key, begin_month(&inner.folder, month, tree, inner.months.list())?))
        })
        .await??;
        let committer = start_writer(&opened, &self.durable, &self.on_failure, None)?;
        self.months.advance(opened.months, opened.store);
        *current = Current { month, key, committer };
        tracing::info!(%month, "a new month of the evidence has begun");
        Ok(())
    }
}

impl Journal for SledJournal {
    fn commit(&self, commit: Commit) -> Later<'_, Committed> {
        Box::pin(self.inner.commit(commit))
    }

    fn entry(&self, index: u64) -> Result<Option<StoredEntry>, JournalError> {
        reading::entry(&self.inner.months, self.size(), index)
    }

    fn newest(&self, since_ms: u64, visit: &mut dyn FnMut(RecordHead) -> ControlFlow<()>) -> Result<(), JournalError> {
        reading::newest(&self.inner.months, self.size(), since_ms, visit)
    }

    fn head(&self) -> (u64, Hash) {
        let durable = self.inner.durable.load();
        (durable.tree.size(), durable.root)
    }

    fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Hash>, JournalError> {
        reading::inclusion(&self.inner.months, &self.inner.durable.load_full(), index, size)
    }

    fn consistency(&self, old_size: u64, new_size: u64) -> Result<Vec<Hash>, JournalError> {
        reading::consistency(&self.inner.months, &self.inner.durable.load_full(), old_size, new_size)
    }

    fn root_at(&self, size: u64) -> Result<Hash, JournalError> {
        reading::root_at(&self.inner.months, &self.inner.durable.load_full(), size)
    }
}

/// Shows how far the log is.
impl fmt::Debug for SledJournal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SledJournal").field("head", &self.head()).finish_non_exhaustive()
    }
}

/// A month that is open for writing.
struct OpenMonth {
    tree: Frontier,
    months: Vec<(Month, u64)>,
    store: Arc<MonthStore>,
}

/// The last month that was begun. A later one that was opened and not begun (the process ended in between) is passed
/// over: it is empty.
pub(super) fn restore_last(folder: &Path) -> Result<Option<(MonthStore, Beginning)>, JournalError> {
    let mut months = Vec::new();
    let read = |source| files::Error::Io { doing: "cannot read the folder", path: folder.to_owned(), source };
    for item in fs::read_dir(folder).map_err(read)? {
        let name = item.map_err(read)?.file_name();
        months.extend(name.to_str().and_then(|name| name.parse::<Month>().ok()));
    }
    months.sort_unstable();
    for month in months.into_iter().rev() {
        let store = MonthStore::open(month, &month_folder(folder, month), CURRENT_CACHE_BYTES)?;
        if let Some(beginning) = store.beginning()? {
            return Ok(Some((store, beginning)));
        }
    }
    Ok(None)
}

/// Begins a month with the tree as the months before left it.
fn begin_month(
    folder: &Path,
    month: Month,
    tree: Frontier,
    mut months: Vec<(Month, u64)>,
) -> Result<OpenMonth, JournalError> {
    let store = MonthStore::open(month, &month_folder(folder, month), CURRENT_CACHE_BYTES)?;
    months.push((month, tree.size()));
    let beginning = Beginning { tree, months };
    match store.beginning()? {
        None => store.begin(&beginning)?,
        // Begun before by an attempt that failed afterwards.
        Some(begun) if begun == beginning && store.last_group_end()?.is_none() => {}
        Some(_) => return Err(store.damaged("it is there already, and does not go on where the month before ends")),
    }
    Ok(OpenMonth { tree: beginning.tree, months: beginning.months, store: Arc::new(store) })
}

fn start_writer(
    opened: &OpenMonth,
    durable: &Arc<ArcSwap<Durable>>,
    on_failure: &OnFailure,
    faults: Option<Faults>,
) -> Result<Committer<Writer>, JournalError> {
    let writer = Writer::new(opened.tree.clone(), Arc::clone(durable));
    let options = CommitterOptions { name: "journal".to_owned(), faults, ..CommitterOptions::default() };
    let on_failure = Arc::clone(on_failure);
    let store = opened.store.store().clone();
    Ok(Committer::start(store, writer, options, move |error| on_failure(&error.to_string()))?)
}

fn sync_folder(folder: &Path) -> Result<(), files::Error> {
    let synced: io::Result<()> = fs::File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|source| files::Error::Io { doing: "cannot sync the folder", path: folder.to_owned(), source })
}
