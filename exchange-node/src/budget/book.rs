//! The budgets of one node, in its own folder: a small log of the newest charges (sled, one group-committing writer), held
//! in memory too, and sealed runs of all others. Memory does not grow with the years.
//!
//! Charges are numbered. What the newest run ends with, the log no longer needs: a start reads only what comes after it.
//! Out of scope: what a charge is for.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
    thread::JoinHandle,
};

use arc_swap::ArcSwap;
use host::{
    committer::{Committer, CommitterOptions, Sequencer, SequencerFault, Writes},
    files,
    random::Random,
    store::{MAX_VALUE_BYTES, Store},
};

use super::{
    About, BudgetKey, Charge, Error, Guess, GuessBudget, Later, Spent, Taken, Tried, YEAR_MS, judge,
    runs::{self, CHARGE, Run},
};

/// The folder within the node's.
const FOLDER: &str = "budget";

/// So many charges in memory become a run: 2 MiB of it.
const SEALED_AT: usize = 65_536;

/// The cache of the log. It is only read at a start.
const CACHE_BYTES: u64 = 1024 * 1024;

/// The budgets of one node. Clones share them.
#[derive(Clone)]
pub struct Book {
    shared: Arc<Shared>,
    committer: Committer<Keeper>,
    key: Arc<BudgetKey>,
    /// For a backup; written by the committer alone.
    store: Store,
}

struct Shared {
    folder: PathBuf,
    /// What is durable and in no run.
    recent: RwLock<BTreeMap<(About, Tried), u64>>,
    runs: ArcSwap<Vec<Arc<Run>>>,
    /// The thread that merges runs, if there was one.
    merging: Mutex<Option<JoinHandle<()>>>,
}

impl Book {
    /// Opens the budgets of the node's folder. Blocks; `on_failure` is called once, if they cannot be written any more.
    ///
    /// # Errors
    /// The folder, the key or the store cannot be used, or what is stored does not fit together.
    pub fn open(
        dir: &Path,
        random: &dyn Random,
        on_failure: impl FnOnce(&str) + Send + 'static,
    ) -> Result<Self, Error> {
        Self::open_sealing(dir, random, SEALED_AT, on_failure)
    }

    pub(super) fn open_sealing(
        dir: &Path,
        random: &dyn Random,
        sealed_at: usize,
        on_failure: impl FnOnce(&str) + Send + 'static,
    ) -> Result<Self, Error> {
        let folder = dir.join(FOLDER);
        files::private_folder(&folder)?;
        let key = Arc::new(BudgetKey::load_or_make(&folder.join("key"), random)?);
        let runs = runs::open(&folder)?;
        let sealed = runs.last().map_or(0, |run| run.last + 1);
        let store = Store::open(&folder.join("log"), CACHE_BYTES)?;
        let mut recent = BTreeMap::new();
        let (mut next, mut stale, mut logged) = (sealed, Vec::new(), Vec::new());
        for item in store.db().iter() {
            let (number, charges) = item.map_err(|error| store.explain(error))?;
            let damaged = || Error::Damaged { path: store.path().to_owned(), what: "log" };
            let first = u64::from_be_bytes(<[u8; 8]>::try_from(number.as_ref()).map_err(|_| damaged())?);
            let (charges, []) = charges.as_chunks::<CHARGE>() else { return Err(damaged()) };
            if first < sealed {
                // A log entry is sealed whole.
                stale.push(first);
                continue;
            }
            if first != next {
                return Err(damaged());
            }
            logged.push(first);
            next += charges.len() as u64;
            for charge in charges.iter().map(Charge::from_bytes) {
                recent.insert((charge.about, charge.tried), charge.at_ms);
            }
        }
        let shared = Arc::new(Shared {
            folder,
            recent: RwLock::new(recent),
            runs: ArcSwap::from_pointee(runs),
            merging: Mutex::default(),
        });
        let (group, first) = (BTreeMap::new(), sealed);
        let keeper = Keeper { shared: Arc::clone(&shared), next, first, logged, stale, group, sealed_at };
        let options = CommitterOptions { name: "budget".to_owned(), ..CommitterOptions::default() };
        let committer = Committer::start(store.clone(), keeper, options, move |error| on_failure(&error.to_string()))?;
        Ok(Self { shared, committer, key, store })
    }

    /// Under which subjects are known here.
    pub fn key(&self) -> &Arc<BudgetKey> {
        &self.key
    }

    /// The log of the newest charges for a backup: its folder within the node's, and every key with its value. Read before
    /// [`Book::files`]: what is sealed meanwhile is in a run then.
    pub(crate) fn log(&self) -> (PathBuf, sled::Iter) {
        (Path::new(FOLDER).join("log"), self.store.db().iter())
    }

    /// The key and the runs, open, with their names within the node's folder: one that is merged meanwhile stays readable.
    pub(crate) fn files(&self) -> std::io::Result<Vec<(PathBuf, File)>> {
        loop {
            let mut open = Vec::new();
            let mut vanished = false;
            for item in fs::read_dir(&self.shared.folder)? {
                let item = item?;
                let name = item.file_name();
                if !item.file_type()?.is_file() || name.to_string_lossy().ends_with(".new") {
                    continue;
                }
                match File::open(item.path()) {
                    Ok(file) => open.push((Path::new(FOLDER).join(name), file)),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => vanished = true,
                    Err(error) => return Err(error),
                }
            }
            // Merged while it was looked at: what took its place may not have been seen.
            if !vanished {
                return Ok(open);
            }
        }
    }

    /// Writes what was submitted, and lets go of the store.
    ///
    /// # Errors
    /// The writer had ended by itself.
    pub async fn close(&self) -> Result<(), Error> {
        self.committer.close().await?;
        let merging = self.shared.merging.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(merging) = merging {
            // A panic there has been told by the hook; what it left half done is put right at the next start.
            let _ = tokio::task::spawn_blocking(move || merging.join()).await?;
        }
        Ok(())
    }
}

impl Shared {
    /// What was tried of a budget and is durable.
    fn known(&self, about: &About) -> Result<Vec<(Tried, u64)>, Error> {
        let recent = self.recent.read().unwrap_or_else(PoisonError::into_inner);
        let of = (*about, [0; 8])..=(*about, [0xff; 8]);
        let mut known: Vec<(Tried, u64)> = recent.range(of).map(|((_, tried), at_ms)| (*tried, *at_ms)).collect();
        // While nothing can move from one to the other.
        let runs = self.runs.load_full();
        drop(recent);
        for run in runs.iter() {
            run.find(about, &mut known)?;
        }
        Ok(known)
    }

    /// Whether everything was tried before, so that nothing has to be written.
    fn is_free(&self, questions: &[Vec<Guess>], now_ms: u64) -> Result<bool, Error> {
        for guess in questions.iter().flatten() {
            if !judge(guess, &self.known(&guess.about)?, now_ms).is_ok_and(|new| new.is_empty()) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Makes one of runs that are neighbours and of about a size, as long as there are such.
    fn merge(&self) -> Result<(), Error> {
        while let Some((older, newer)) = runs::to_merge(&self.runs.load()) {
            let merged = Arc::new(runs::merge(&self.folder, &older, &newer, YEAR_MS)?);
            let (first, last) = (merged.first, merged.last);
            self.runs.rcu(|runs| {
                let mut runs: Vec<Arc<Run>> =
                    runs.iter().filter(|run| run.first < first || run.last > last).map(Arc::clone).collect();
                runs.push(Arc::clone(&merged));
                runs.sort_by_key(|run| run.first);
                runs
            });
            runs::delete(&older)?;
            runs::delete(&newer)?;
        }
        Ok(())
    }
}

impl GuessBudget for Book {
    fn take_budget(&self, questions: Vec<Vec<Guess>>, now_ms: u64) -> Later<'_> {
        Box::pin(async move {
            if questions.iter().all(Vec::is_empty) {
                return Ok(vec![Ok(()); questions.len()]);
            }
            if self.shared.is_free(&questions, now_ms)? {
                return Ok(vec![Ok(()); questions.len()]);
            }
            Ok(self.committer.submit(Job { questions, now_ms }).await?)
        })
    }
}

impl std::fmt::Debug for Book {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Book").field("folder", &self.shared.folder).finish_non_exhaustive()
    }
}

struct Job {
    questions: Vec<Vec<Guess>>,
    now_ms: u64,
}

/// What the writer does on its thread: one question after the other takes from the budgets.
struct Keeper {
    shared: Arc<Shared>,
    /// The number of the next charge.
    next: u64,
    /// The number of the first charge that is in no run.
    first: u64,
    /// Log entries that are in no run.
    logged: Vec<u64>,
    /// Log entries that are in a run and not deleted yet.
    stale: Vec<u64>,
    /// What the group takes.
    group: BTreeMap<(About, Tried), u64>,
    sealed_at: usize,
}

impl Keeper {
    /// Takes what one question tries: all or nothing.
    fn take(&mut self, question: &[Guess], now_ms: u64) -> Result<Result<Vec<Charge>, Spent>, Error> {
        let mut taken: Vec<Charge> = Vec::new();
        for guess in question {
            let mut known = self.shared.known(&guess.about)?;
            let of = (guess.about, [0; 8])..=(guess.about, [0xff; 8]);
            known.extend(self.group.range(of).map(|((_, tried), at_ms)| (*tried, *at_ms)));
            let own = taken.iter().filter(|charge| charge.about == guess.about);
            known.extend(own.map(|charge| (charge.tried, charge.at_ms)));
            match judge(guess, &known, now_ms) {
                Ok(new) => {
                    taken.extend(new.into_iter().map(|tried| Charge { about: guess.about, tried, at_ms: now_ms }))
                }
                Err(spent) => return Ok(Err(spent)),
            }
        }
        self.group.extend(taken.iter().map(|charge| ((charge.about, charge.tried), charge.at_ms)));
        Ok(Ok(taken))
    }

    /// Writes what is in memory as a run, and merges runs beside.
    fn seal(&mut self) -> Result<(), Error> {
        let charges: Vec<Charge> = {
            let recent = self.shared.recent.read().unwrap_or_else(PoisonError::into_inner);
            recent
                .iter()
                .map(|((about, tried), at_ms)| Charge { about: *about, tried: *tried, at_ms: *at_ms })
                .collect()
        };
        let count = charges.len() as u64;
        let run = Run::write(&self.shared.folder, self.first, self.next - 1, count, charges.into_iter().map(Ok))?;
        let run = Arc::new(run);
        {
            let mut recent = self.shared.recent.write().unwrap_or_else(PoisonError::into_inner);
            self.shared.runs.rcu(|runs| runs.iter().map(Arc::clone).chain([Arc::clone(&run)]).collect::<Vec<_>>());
            recent.clear();
        }
        self.first = self.next;
        let mut merging = self.shared.merging.lock().unwrap_or_else(PoisonError::into_inner);
        if merging.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new().name("budget-runs".to_owned()).spawn(move || {
            if let Err(error) = shared.merge() {
                tracing::warn!(%error, "runs of the guess budget cannot be merged");
            }
        });
        match thread {
            Ok(thread) => *merging = Some(thread),
            Err(error) => tracing::warn!(%error, "there is no thread for merging runs of the guess budget"),
        }
        Ok(())
    }
}

impl Sequencer for Keeper {
    type Job = Job;
    type Done = Taken;

    fn prepare(&mut self, jobs: Vec<Job>, writes: &mut Writes) -> Result<Vec<Taken>, SequencerFault> {
        let mut charges = Vec::new();
        let mut done = Vec::with_capacity(jobs.len());
        for Job { questions, now_ms } in jobs {
            let mut taken = Vec::with_capacity(questions.len());
            for question in questions {
                let outcome = self.take(&question, now_ms)?;
                taken.push(outcome.map(|new| charges.extend(new)));
            }
            done.push(taken);
        }
        for chunk in charges.chunks(MAX_VALUE_BYTES / CHARGE) {
            let value: Vec<u8> = chunk.iter().flat_map(|charge| charge.to_bytes()).collect();
            writes.insert(&self.next.to_be_bytes(), value);
            self.logged.push(self.next);
            self.next += chunk.len() as u64;
        }
        if !writes.is_empty() {
            // With the next write: deleting needs no disk of its own.
            self.stale.drain(..).for_each(|number| writes.remove(&number.to_be_bytes()));
        }
        Ok(done)
    }

    fn committed(&mut self) {
        let group = std::mem::take(&mut self.group);
        if group.is_empty() {
            return;
        }
        let count = {
            let mut recent = self.shared.recent.write().unwrap_or_else(PoisonError::into_inner);
            recent.extend(group);
            recent.len()
        };
        if count >= self.sealed_at {
            match self.seal() {
                Ok(()) => self.stale.append(&mut self.logged),
                // It stays in memory and in the log, and is tried again.
                Err(error) => tracing::warn!(%error, "the newest charges of the guess budget cannot be sealed yet"),
            }
        }
    }
}
