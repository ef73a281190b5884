//! Duties: whatever must still happen, in one durable list with one runner. A later answer is to be delivered, an overdue one
//! to be told, a deferred one to be asked for again, what is long over to be forgotten.
//!
//! **Invariant:** no duty is lost. Where it follows from something in the evidence, the journal's record says so
//! (`Commit::duty`), and a start looks there for what a crash cut short before it stood here ([`Duties::covered`]). Each is
//! done at least once: whoever receives it knows it again.
//!
//! Duties of one order (of one question, say) are done one at a time, in the order of their names; what fails is tried again,
//! each time after a longer pause. Beside the duties stand the rows of whoever makes them, changed together with them. Out
//! of scope: what is done (`duty::act`), and what the rows mean (`clerk`, `ask`).

pub mod act;
mod queue;
mod store;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use host::{
    clock::Clock,
    committer::{CommitterError, CommitterStopped},
    random::Random,
    store::{MAX_VALUE_BYTES, StoreError},
    supervise::{Restart, TaskError},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{sync::Notify, task::JoinSet};
use tokio_util::sync::CancellationToken;

use self::{queue::Queue, store::DutyStore};
use crate::correction;

/// The folder within the node's.
const FOLDER: &str = "duties";

/// How many duties are done at once.
const AT_ONCE: usize = 16;

/// The longest that the runner sleeps: the clock may have been set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(20);

/// The pauses after a duty failed.
const BACK_OFF: Restart = Restart {
    first: Duration::from_millis(250),
    longest: Duration::from_secs(300),
    settled_after: Duration::from_secs(600),
};

/// The pauses after a check of a commitment failed: nobody waits for it, and each attempt stays in the evidence.
const CHECK_BACK_OFF: Restart = Restart { longest: Duration::from_secs(3600), ..BACK_OFF };

/// Why the list cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A row that nobody can read.
    #[error("what is to be done cannot be read ({key}: {source}): restore the folder duties/ from its backup")]
    Malformed {
        /// The row.
        key: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The writer has stopped; the program ends.
    #[error("what is to be done cannot be written: {0}")]
    Stopped(#[from] CommitterStopped),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// More than a row holds.
    #[error("it is too long to be kept: {bytes} bytes, and {MAX_VALUE_BYTES} fit")]
    TooLong {
        /// How long.
        bytes: usize,
    },
    /// The writer could not be started.
    #[error("what is to be done cannot be written: {0}")]
    Writer(#[from] CommitterError),
}

/// What is to be done. Every index is one of the journal's.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Check what an applicant committed to.
    CheckCommitment {
        /// Its id.
        commitment: String,
    },
    /// Deliver an answer that follows an earlier one to whoever asked.
    Deliver {
        /// The question's entry.
        question: u64,
        /// The answer's entry.
        answer: u64,
    },
    /// Ask again for an answer that was deferred, and has not come in time.
    Fetch {
        /// The question's entry.
        question: u64,
    },
    /// Forget a deferred question that is long over.
    Forget {
        /// The question's entry.
        question: u64,
    },
    /// Forget a subscription that is long over.
    ForgetSubscription {
        /// The question's entry.
        question: u64,
    },
    /// Carry a change to whoever subscribed.
    Notice {
        /// The question's entry.
        question: u64,
        /// The answer's entry.
        answer: u64,
    },
    /// State that a deferred answer was not given in time.
    Overdue {
        /// The question's entry.
        question: u64,
    },
    /// Take an answer that came later into the case that its question was asked for.
    CaseAnswer {
        /// The answer's entry.
        answer: u64,
    },
    /// Have the case whose answer is doubted, or no longer, say so.
    CaseDoubted {
        /// The correction's entry.
        entry: u64,
    },
    /// Tell an office system of an event.
    Webhook {
        /// Which of its webhooks.
        webhook: String,
        /// The event's number.
        event: u64,
    },
    /// Do what a correction asks for.
    Correction {
        /// What.
        step: correction::Step,
        /// The correction's entry.
        entry: u64,
        /// The entry of the question that it is done for; 0 where it is for the correction itself.
        question: u64,
        /// Which question of that batch.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<usize>,
    },
    /// Send a question again that a crash interrupted, to get the answer that was given.
    Resume {
        /// The question's entry.
        question: u64,
    },
    /// Tell the other side that nothing more is wanted.
    Unsubscribe {
        /// The question's entry.
        question: u64,
        /// The entry of the outcome that says so.
        outcome: u64,
    },
}

/// A duty.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Duty {
    /// Its name: the same duty is put on the list once.
    pub id: String,
    /// What it must not overtake: duties of one order are done in the order of their names.
    pub order: String,
    /// Not before this time, Unix milliseconds.
    pub at_ms: u64,
    /// What is to be done.
    pub what: What,
}

/// A change of the list or of somebody's rows. Changes that are committed together are durable together.
#[derive(Clone, Debug)]
pub enum Change {
    /// A duty is done, or not to be done any more.
    Done(String),
    /// A duty is put on the list.
    Put(Duty),
    /// A row of a book is written.
    Row {
        /// Whose rows.
        book: &'static str,
        /// Which.
        key: String,
        /// As JSON.
        value: String,
    },
    /// A row of a book is gone.
    RowGone {
        /// Whose rows.
        book: &'static str,
        /// Which.
        key: String,
    },
}

impl Change {
    /// A row to be written.
    pub fn row(book: &'static str, key: impl Into<String>, value: &impl Serialize) -> Self {
        // Plain structures of numbers and texts; they can always be written.
        let value = serde_json::to_string(value).unwrap_or_default();
        Self::Row { book, key: key.into(), value }
    }
}

/// What became of a duty.
#[derive(Debug)]
pub enum Acted {
    /// It is done, and this changes with it.
    Done(Vec<Change>),
    /// Not now: again at this time, or after a pause.
    Later(Option<u64>),
}

/// Does what is to be done.
pub trait Actor: Send + Sync {
    /// Does one duty. It may have been done before.
    fn act<'a>(&'a self, duty: &'a Duty) -> BoxFuture<'a, Acted>;
}

/// The list.
pub struct Duties {
    store: DutyStore,
    queue: Mutex<Queue>,
    changed: Notify,
    /// Where in the journal commits under way may stand at the earliest.
    expected: Mutex<BTreeMap<u64, u64>>,
    next_expected: AtomicU64,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

impl Duties {
    /// Opens the list in the node's folder `dir`. Blocks.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn open(
        dir: &Path,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        on_fatal: impl FnOnce(CommitterError) + Send + 'static,
    ) -> Result<Self, Error> {
        let store = DutyStore::open(&dir.join(FOLDER), on_fatal)?;
        let mut queue = Queue::default();
        for duty in store.duties()? {
            queue.put(duty);
        }
        let (queue, expected) = (Mutex::new(queue), Mutex::default());
        Ok(Self { store, queue, changed: Notify::new(), expected, next_expected: AtomicU64::new(0), clock, random })
    }

    /// The list for a backup: its folder within the node's, and every key with its value.
    pub(crate) fn pairs(&self) -> (PathBuf, sled::Iter) {
        (PathBuf::from(FOLDER), self.store.pairs())
    }

    /// The rows of a book.
    ///
    /// # Errors
    ///
    /// One of them cannot be read.
    pub fn rows<T: DeserializeOwned>(&self, book: &'static str) -> Result<Vec<T>, Error> {
        self.store.rows(book)
    }

    /// The rows of a book whose keys begin with `prefix`, in the order of their keys.
    ///
    /// # Errors
    ///
    /// One of them cannot be read.
    pub fn rows_under<T: DeserializeOwned>(&self, book: &'static str, prefix: &str) -> Result<Vec<T>, Error> {
        self.store.rows_under(book, prefix)
    }

    /// Makes changes durable together, and then counts them.
    ///
    /// # Errors
    ///
    /// They are not durable, and the program ends; or one of them is too long, and nothing was changed.
    pub async fn commit(&self, changes: Vec<Change>) -> Result<(), Error> {
        self.store.write(&changes).await?;
        let mut queue = self.locked();
        for change in changes {
            match change {
                Change::Done(id) => queue.remove(&id),
                Change::Put(duty) => queue.put(duty),
                Change::Row { .. } | Change::RowGone { .. } => {}
            }
        }
        drop(queue);
        self.changed.notify_one();
        Ok(())
    }

    /// What these duties waited for seems to be there: they are due now. A restart tries whatever is not done in any case, so this
    /// is not kept.
    pub fn hasten(&self, ids: &[String]) {
        let now_ms = self.clock.now_ms();
        let mut queue = self.locked();
        ids.iter().for_each(|id| queue.hasten(id, now_ms));
        drop(queue);
        self.changed.notify_one();
    }

    /// How many duties there are.
    pub fn count(&self) -> usize {
        self.locked().len()
    }

    /// Says that a commit with a duty is about to be made in a journal of `size` entries. Held until the duty is here.
    pub fn announce(&self, size: u64) -> Expectation<'_> {
        let number = self.next_expected.fetch_add(1, Ordering::Relaxed);
        self.expected.lock().unwrap_or_else(PoisonError::into_inner).insert(number, size);
        Expectation { duties: self, number }
    }

    /// Up to where every duty of the journal is here.
    pub fn covered(&self) -> u64 {
        self.store.covered()
    }

    /// Everything that stood in the journal when it had `size` entries is here, but for what is under way.
    ///
    /// # Errors
    ///
    /// It cannot be written; the program ends.
    pub async fn cover(&self, size: u64) -> Result<(), Error> {
        let under_way = {
            let expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
            expected.values().copied().min()
        };
        self.store.cover(under_way.map_or(size, |floor| floor.min(size))).await
    }

    /// Writes what was submitted, refuses what comes later, and lets go of the store.
    ///
    /// # Errors
    ///
    /// The writer had ended by itself.
    pub async fn close(&self) -> Result<(), Error> {
        Ok(self.store.close().await?)
    }

    /// Does what is due, until `stop`.
    ///
    /// # Errors
    ///
    /// The list cannot be written; the program ends.
    pub async fn run(self: Arc<Self>, actor: Arc<dyn Actor>, stop: CancellationToken) -> Result<(), TaskError> {
        let mut running = JoinSet::new();
        loop {
            let now_ms = self.clock.now_ms();
            while running.len() < AT_ONCE {
                let Some(duty) = self.locked().take(now_ms) else { break };
                let actor = Arc::clone(&actor);
                running.spawn(async move {
                    let acted = actor.act(&duty).await;
                    (duty, acted)
                });
            }
            let next = self.locked().next_at().filter(|_| running.len() < AT_ONCE);
            let pause = next.map_or(LONGEST_SLEEP, |at_ms| Duration::from_millis(at_ms.saturating_sub(now_ms)));
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = self.changed.notified() => {}
                Some(ended) = running.join_next() => {
                    let (duty, acted) = ended?;
                    self.ended(duty, acted).await?;
                }
                () = tokio::time::sleep(pause.min(LONGEST_SLEEP)) => {}
            }
        }
    }

    async fn ended(&self, duty: Duty, acted: Acted) -> Result<(), Error> {
        match acted {
            Acted::Done(mut changes) => {
                changes.push(Change::Done(duty.id));
                self.commit(changes).await
            }
            Acted::Later(at_ms) => {
                let mut queue = self.locked();
                let failures = queue.failed(&duty.id);
                let back_off = match duty.what {
                    What::CheckCommitment { .. } => CHECK_BACK_OFF,
                    _ => BACK_OFF,
                };
                let pause = back_off.wait(failures, self.random.as_ref());
                let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
                queue.again(&duty.id, at_ms.unwrap_or_else(|| self.clock.now_ms().saturating_add(pause_ms)));
                Ok(())
            }
        }
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Duties {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Duties").field("count", &self.count()).finish_non_exhaustive()
    }
}

/// A commit with a duty is under way.
#[must_use]
pub struct Expectation<'a> {
    duties: &'a Duties,
    number: u64,
}

impl Drop for Expectation<'_> {
    fn drop(&mut self) {
        self.duties.expected.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

#[cfg(test)]
pub(crate) mod tests;
