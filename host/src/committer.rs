//! The group-committing writer: one thread that makes jobs durable in order and acknowledges them afterwards.
//!
//! **Invariant:** a job is acknowledged only after its writes have been applied, flushed and synced to disk. Any error on
//! the way is fatal: nothing more is acknowledged, every waiting caller gets [`CommitterStopped`], and the program is
//! told to end. An error is never "retried": after a failed fsync the kernel may have thrown the pages away, so the next
//! fsync's success would prove nothing.
//!
//! What is written is decided by a [`Sequencer`] on the committer's own thread, a group at a time, so that sequence
//! numbers are given in commit order and a tree's head is written once for each group.
//!
//! Out of scope: reads (they go to the database directly), and the meaning of what is written.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};

use crate::store::{MAX_VALUE_BYTES, Store, StoreError, panic_text};

/// How many jobs are made durable together at most.
pub const MAX_GROUP: usize = 512;

/// How many jobs may wait before [`Committer::submit`] itself waits.
pub const DEFAULT_QUEUE: usize = 2048;

/// A fault inside a sequencer: it ends the committer, and with it the program.
pub type SequencerFault = Box<dyn std::error::Error + Send + Sync>;

/// Turns jobs into writes, on the committer's thread.
pub trait Sequencer: Send + 'static {
    /// What callers submit.
    type Job: Send + 'static;
    /// What a caller gets once its job is durable. A job may also end without any write (a known request's stored
    /// answer, a refusal): that is a `Done` like any other.
    type Done: Send + 'static;

    /// Turns a group of jobs, in the order of their submission, into writes, and returns one `Done` for each job, in the
    /// same order. The values reach the callers only after the whole group is durable.
    ///
    /// What is prepared here must not be shown to readers yet: publish it in [`Sequencer::committed`]. An error (or a
    /// panic) is for faults alone, such as a store that cannot be read; a job that must be refused gets a `Done` that
    /// says so.
    fn prepare(&mut self, jobs: Vec<Self::Job>, writes: &mut Writes) -> Result<Vec<Self::Done>, SequencerFault>;

    /// The group last prepared is durable; its callers hear of it right after this returns.
    fn committed(&mut self) {}
}

/// The writes of one group; they are applied together or not at all.
#[derive(Debug, Default)]
pub struct Writes {
    batch: sled::Batch,
    count: usize,
    oversized: Option<usize>,
}

impl Writes {
    /// Sets `key` to `value` of at most [`MAX_VALUE_BYTES`]; a longer value makes the whole group fail.
    pub fn insert(&mut self, key: impl Into<sled::IVec>, value: impl Into<sled::IVec>) {
        let value = value.into();
        if value.len() > MAX_VALUE_BYTES {
            self.oversized = Some(value.len());
        }
        self.batch.insert(key.into(), value);
        self.count += 1;
    }

    /// Removes `key`.
    pub fn remove(&mut self, key: impl Into<sled::IVec>) {
        self.batch.remove(key.into());
        self.count += 1;
    }

    /// How many writes there are so far.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none so far.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// Why a committer ended by itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitterError {
    /// A test asked for a fault here.
    #[error("a fault was injected {0:?}")]
    Injected(CommitPoint),
    /// The sequencer returned another number of results than it was given jobs.
    #[error("the sequencer was given {jobs} jobs and returned {done} results")]
    Miscounted {
        /// How many jobs it was given.
        jobs: usize,
        /// How many results it returned.
        done: usize,
    },
    /// Code on the committer's thread panicked.
    #[error("the writer panicked: {0}")]
    Panicked(String),
    /// The sequencer found a fault.
    #[error("{0}")]
    Sequencer(SequencerFault),
    /// The operating system gave no thread.
    #[error("the operating system gives no thread for the writer: {0}")]
    Spawn(std::io::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A value would land in a file that is never synced.
    #[error("a value of {0} bytes is longer than the {MAX_VALUE_BYTES} bytes that the store keeps safely")]
    ValueTooLong(usize),
}

/// The job was not acknowledged: it may or may not be on disk, as with any crash.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the writer has stopped: {reason}")]
pub struct CommitterStopped {
    reason: Arc<str>,
}

/// Where a test can make the committer fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitPoint {
    /// Before anything is applied: nothing of the group is in the database.
    BeforeApply,
    /// Applied in memory, not flushed: the group may or may not survive.
    AfterApply,
    /// Flushed and synced, not acknowledged: the group survives, and nobody was told.
    AfterPersist,
}

/// Asked at each point of each group; `true` makes the committer fail there. For tests.
pub type Faults = Box<dyn FnMut(CommitPoint) -> bool + Send>;

/// How a committer runs.
pub struct CommitterOptions {
    /// The thread's name, at most 15 bytes on Linux.
    pub name: String,
    /// How many jobs may wait.
    pub queue: usize,
    /// How many jobs are made durable together at most.
    pub max_group: usize,
    /// The seam for tests; `None` in programs.
    pub faults: Option<Faults>,
}

impl Default for CommitterOptions {
    fn default() -> Self {
        Self { name: "committer".to_owned(), queue: DEFAULT_QUEUE, max_group: MAX_GROUP, faults: None }
    }
}

/// A handle to the writer; clones share it. When the last one is dropped the writer ends after what was submitted.
pub struct Committer<S: Sequencer> {
    work: mpsc::Sender<Work<S>>,
    ending: Arc<OnceLock<Ending>>,
    ended: watch::Receiver<bool>,
}

impl<S: Sequencer> Committer<S> {
    /// Starts the writer's thread. `on_fatal` is called at most once, on that thread, if the writer ends by itself; it
    /// must bring the process to its end ([`crate::supervise::Fatal::report`] does).
    pub fn start(
        store: Store,
        sequencer: S,
        options: CommitterOptions,
        on_fatal: impl FnOnce(CommitterError) + Send + 'static,
    ) -> Result<Self, CommitterError> {
        let (work, receiver) = mpsc::channel(options.queue.max(1));
        let (end, ended) = watch::channel(false);
        let ending = Arc::new(OnceLock::new());
        let mut writer = Writer {
            store,
            sequencer,
            receiver,
            waiting: Vec::new(),
            max_group: options.max_group.max(1),
            faults: options.faults,
        };
        let told = Arc::clone(&ending);
        std::thread::Builder::new()
            .name(options.name)
            .spawn(move || {
                let outcome = catch_unwind(AssertUnwindSafe(|| writer.run()))
                    .unwrap_or_else(|panic| Err(CommitterError::Panicked(panic_text(panic.as_ref()))));
                let ending = match &outcome {
                    Ok(()) => Ending::Closed,
                    Err(error) => Ending::Failed(error.to_string().into()),
                };
                // The reason first: dropping the writer drops the callers' channels, and they ask for it.
                let _ = told.set(ending);
                // sled can panic when it is dropped after an I/O error.
                let _ = catch_unwind(AssertUnwindSafe(|| drop(writer)));
                if let Err(error) = outcome {
                    tracing::error!(%error, "the writer has stopped; nothing more is acknowledged");
                    on_fatal(error);
                }
                let _ = end.send(true);
            })
            .map_err(CommitterError::Spawn)?;
        Ok(Self { work, ending, ended })
    }

    /// Submits a job and waits until it is durable. Submissions of one task are committed in their order; so are those
    /// of several tasks, in the order in which they entered the queue.
    ///
    /// Dropping the future does not take a job back that has entered the queue.
    pub async fn submit(&self, job: S::Job) -> Result<S::Done, CommitterStopped> {
        self.enqueue(job).await?.wait().await
    }

    /// Puts a job into the queue and returns without waiting for durability: for callers that need the order now and
    /// the outcome later.
    pub async fn enqueue(&self, job: S::Job) -> Result<Pending<S::Done>, CommitterStopped> {
        let (done, outcome) = oneshot::channel();
        self.work.send(Work::Job(job, done)).await.map_err(|_| self.stopped())?;
        Ok(Pending { outcome, ending: Arc::clone(&self.ending) })
    }

    /// [`Committer::submit`] for threads outside the runtime; panics within it.
    pub fn submit_blocking(&self, job: S::Job) -> Result<S::Done, CommitterStopped> {
        let (done, outcome) = oneshot::channel();
        self.work.blocking_send(Work::Job(job, done)).map_err(|_| self.stopped())?;
        outcome.blocking_recv().map_err(|_| self.stopped())
    }

    /// Refuses new jobs, commits those submitted, and returns when the thread has ended and let go of the store. An
    /// error if the writer had ended by itself.
    pub async fn close(&self) -> Result<(), CommitterStopped> {
        // Fails only when the thread has ended already.
        let _ = self.work.send(Work::Close).await;
        let mut ended = self.ended.clone();
        // An error means that the thread is gone, which is what is waited for.
        let _ = ended.wait_for(|ended| *ended).await;
        match self.ending.get() {
            Some(Ending::Failed(_)) => Err(self.stopped()),
            Some(Ending::Closed) | None => Ok(()),
        }
    }

    fn stopped(&self) -> CommitterStopped {
        stopped(&self.ending)
    }
}

impl<S: Sequencer> Clone for Committer<S> {
    fn clone(&self) -> Self {
        Self { work: self.work.clone(), ending: Arc::clone(&self.ending), ended: self.ended.clone() }
    }
}

impl<S: Sequencer> std::fmt::Debug for Committer<S> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Committer").field("ending", &self.ending.get()).finish_non_exhaustive()
    }
}

/// A job in the queue whose durability has not been waited for yet.
#[derive(Debug)]
pub struct Pending<D> {
    outcome: oneshot::Receiver<D>,
    ending: Arc<OnceLock<Ending>>,
}

impl<D> Pending<D> {
    /// Waits until the job is durable.
    pub async fn wait(self) -> Result<D, CommitterStopped> {
        self.outcome.await.map_err(|_| stopped(&self.ending))
    }
}

/// How the writer's thread ended; set before any caller's channel is dropped.
#[derive(Debug)]
enum Ending {
    Closed,
    Failed(Arc<str>),
}

fn stopped(ending: &OnceLock<Ending>) -> CommitterStopped {
    let reason = match ending.get() {
        Some(Ending::Failed(reason)) => Arc::clone(reason),
        // Not set yet: the queue is closed, and what was submitted before is still being committed.
        Some(Ending::Closed) | None => Arc::from("it was closed"),
    };
    CommitterStopped { reason }
}

/// How long the writer waits after a group before it gathers the next. Each group costs a flush, its waking of sled's
/// threads and an fdatasync, whatever its size; on a fast disk, groups would be small and this cost the largest of all.
/// A writer with one caller never waits: that caller's next job comes only after the last is done.
fn breath(jobs_in_group: usize, took: Duration) -> Duration {
    if jobs_in_group > 1 { (took * 3).min(LONGEST_BREATH) } else { Duration::ZERO }
}

/// The longest wait between groups.
const LONGEST_BREATH: Duration = Duration::from_millis(2);

enum Work<S: Sequencer> {
    Job(S::Job, oneshot::Sender<S::Done>),
    Close,
}

/// What lives on the thread. The callers' channels are held here, not on the stack, so that a panic does not drop them
/// before the reason is known.
struct Writer<S: Sequencer> {
    store: Store,
    sequencer: S,
    receiver: mpsc::Receiver<Work<S>>,
    waiting: Vec<oneshot::Sender<S::Done>>,
    max_group: usize,
    faults: Option<Faults>,
}

impl<S: Sequencer> Writer<S> {
    fn run(&mut self) -> Result<(), CommitterError> {
        let mut gathered = Vec::with_capacity(self.max_group);
        while self.receiver.blocking_recv_many(&mut gathered, self.max_group) > 0 {
            let mut jobs = Vec::with_capacity(gathered.len());
            for work in gathered.drain(..) {
                match work {
                    Work::Job(job, done) => {
                        jobs.push(job);
                        self.waiting.push(done);
                    }
                    Work::Close => self.receiver.close(),
                }
            }
            let count = jobs.len();
            if count > 0 {
                let started = Instant::now();
                self.commit(jobs)?;
                std::thread::sleep(breath(count, started.elapsed()));
            }
        }
        Ok(())
    }

    fn commit(&mut self, jobs: Vec<S::Job>) -> Result<(), CommitterError> {
        let count = jobs.len();
        let mut writes = Writes::default();
        let done = self.sequencer.prepare(jobs, &mut writes).map_err(CommitterError::Sequencer)?;
        if done.len() != count {
            return Err(CommitterError::Miscounted { jobs: count, done: done.len() });
        }
        if let Some(length) = writes.oversized {
            return Err(CommitterError::ValueTooLong(length));
        }

        self.fail_at(CommitPoint::BeforeApply)?;
        // A group that writes nothing rests on groups that are durable already.
        if !writes.is_empty() {
            self.store.db().apply_batch(writes.batch).map_err(|error| self.store.explain(error))?;
            self.fail_at(CommitPoint::AfterApply)?;
            self.store.persist()?;
        }
        self.fail_at(CommitPoint::AfterPersist)?;

        self.sequencer.committed();
        for (waiting, done) in self.waiting.drain(..).zip(done) {
            // A caller that has gone away does not need to hear of it.
            let _ = waiting.send(done);
        }
        Ok(())
    }

    fn fail_at(&mut self, point: CommitPoint) -> Result<(), CommitterError> {
        match self.faults.as_mut().is_some_and(|faults| faults(point)) {
            true => Err(CommitterError::Injected(point)),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
