//! One supervisor for every task of a program.
//!
//! A task is *essential* (its end, by error, panic or return, ends the process: half a program is worse than none) or
//! *restarted* (after a back-off that grows and is jittered, so that a hundred nodes do not come back in step). On SIGTERM
//! or SIGINT every task is asked to stop, is given a bounded time, and is then cut off; a second signal cuts at once.
//!
//! Out of scope: what the tasks do; telling the world whether the program is ready ([`crate::readiness`]).

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::random::{self, Random};

/// Why a task failed.
pub type TaskError = Box<dyn std::error::Error + Send + Sync>;

/// How long tasks are given to stop, unless the program says otherwise.
pub const DEFAULT_DRAIN: Duration = Duration::from_secs(10);

/// Why the program ends.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Something that the program cannot do without has failed.
    #[error("{task} has failed: {reason}")]
    EssentialFailed {
        /// The task's name.
        task: String,
        /// What happened.
        reason: String,
    },
    /// Signals cannot be listened for.
    #[error("cannot listen for signals: {0}")]
    Signals(std::io::Error),
}

/// When a task that ended is started again.
#[derive(Debug, Clone, Copy)]
pub struct Restart {
    /// The wait after the first end.
    pub first: Duration,
    /// The longest wait; each is twice the one before, up to this.
    pub longest: Duration,
    /// A task that ran for this long starts over with the first wait.
    pub settled_after: Duration,
}

impl Default for Restart {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(200),
            longest: Duration::from_secs(30),
            settled_after: Duration::from_secs(60),
        }
    }
}

impl Restart {
    /// The wait after `failures` ends in a row (from 1): between half and the whole of the doubled time.
    pub fn wait(&self, failures: u32, random: &dyn Random) -> Duration {
        let doubled = self.first.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
        let whole = doubled.min(self.longest);
        let half = whole / 2;
        let span = u64::try_from((whole - half).as_micros()).unwrap_or(u64::MAX);
        half + Duration::from_micros(random::below(random, span.saturating_add(1)))
    }
}

/// Reports that the program must end; for code that is no task, such as the writer's thread.
#[derive(Debug, Clone)]
pub struct Fatal {
    failures: mpsc::UnboundedSender<Error>,
}

impl Fatal {
    /// Ends the program: `task` has failed with `reason`.
    pub fn report(&self, task: &str, reason: impl std::fmt::Display) {
        // Fails only when the supervisor is gone, and with it the program.
        let _ = self.failures.send(Error::EssentialFailed { task: task.to_owned(), reason: reason.to_string() });
    }
}

/// Holds a program's tasks. Make one in `main`, start tasks, then [`Supervisor::run`].
pub struct Supervisor {
    tasks: TaskTracker,
    stop: CancellationToken,
    cut: CancellationToken,
    fatal: Fatal,
    failures: mpsc::UnboundedReceiver<Error>,
    random: Arc<dyn Random>,
}

impl Supervisor {
    /// A supervisor without tasks; `random` is for the jitter of restarts.
    pub fn new(random: Arc<dyn Random>) -> Self {
        let (sender, failures) = mpsc::unbounded_channel();
        Self {
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            cut: CancellationToken::new(),
            fatal: Fatal { failures: sender },
            failures,
            random,
        }
    }

    /// Cancelled when the program should stop; tasks finish what they are at and return.
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Where code that is no task reports that the program must end.
    pub fn fatal(&self) -> Fatal {
        self.fatal.clone()
    }

    /// Starts a task whose end, before the program is asked to stop, ends the program.
    pub fn essential<F>(&self, name: &str, task: F)
    where
        F: Future<Output = Result<(), TaskError>> + Send + 'static,
    {
        let (name, stop, fatal) = (name.to_owned(), self.stop.clone(), self.fatal.clone());
        let mut running = self.spawn_cut(task);
        self.tasks.spawn(async move {
            let ended = (&mut running).await;
            match describe(ended) {
                Ended::Cut => tracing::warn!(task = name, "was cut off while stopping"),
                Ended::Failed(reason) if stop.is_cancelled() => {
                    tracing::error!(task = name, reason, "failed while stopping");
                }
                Ended::Failed(reason) => fatal.report(&name, reason),
                Ended::Returned if stop.is_cancelled() => tracing::debug!(task = name, "stopped"),
                Ended::Returned => fatal.report(&name, "it ended although nothing asked it to"),
            }
        });
    }

    /// Starts a task that is started again whenever it ends, until the program is asked to stop. `make` makes it anew
    /// each time.
    pub fn restarted<F, M>(&self, name: &str, restart: Restart, mut make: M)
    where
        F: Future<Output = Result<(), TaskError>> + Send + 'static,
        M: FnMut() -> F + Send + 'static,
    {
        let (name, stop, cut, random) =
            (name.to_owned(), self.stop.clone(), self.cut.clone(), Arc::clone(&self.random));
        self.tasks.spawn(async move {
            let mut failures = 0;
            while !stop.is_cancelled() {
                let started = tokio::time::Instant::now();
                let ended = describe(spawn_until(&cut, make()).await);
                if stop.is_cancelled() {
                    break;
                }
                failures = if started.elapsed() >= restart.settled_after { 1 } else { failures + 1 };
                let wait = restart.wait(failures, random.as_ref());
                let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                match ended {
                    Ended::Failed(reason) => tracing::warn!(task = name, reason, wait_ms, "failed; starting again"),
                    Ended::Cut | Ended::Returned => tracing::info!(task = name, wait_ms, "ended; starting again"),
                }
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep(wait) => {}
                }
            }
        });
    }

    /// Runs until SIGTERM, SIGINT, the stop token or the failure of something essential; then asks every task to stop,
    /// gives them `drain`, and cuts off what is left. Close writers after this returns, not before.
    pub async fn run(self, drain: Duration) -> Result<(), Error> {
        let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signals)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signals)?;
        self.run_until(drain, async move || either(&mut terminate, &mut interrupt).await).await
    }

    async fn run_until(mut self, drain: Duration, mut signalled: impl AsyncFnMut()) -> Result<(), Error> {
        let outcome = tokio::select! {
            failure = self.failures.recv() => failure.map_or(Ok(()), Err),
            () = self.stop.cancelled() => Ok(()),
            () = signalled() => Ok(()),
        };
        match &outcome {
            Ok(()) => tracing::info!("stopping"),
            Err(error) => tracing::error!(%error, "stopping"),
        }
        self.stop.cancel();
        self.tasks.close();
        tokio::select! {
            () = self.tasks.wait() => return outcome,
            () = tokio::time::sleep(drain) => tracing::warn!("some tasks did not stop in time and are cut off"),
            () = signalled() => tracing::warn!("a second signal: tasks are cut off"),
        }
        self.cut.cancel();
        self.tasks.wait().await;
        outcome
    }

    fn spawn_cut<F>(&self, task: F) -> std::pin::Pin<Box<dyn Future<Output = CutOff> + Send>>
    where
        F: Future<Output = Result<(), TaskError>> + Send + 'static,
    {
        let cut = self.cut.clone();
        Box::pin(async move { spawn_until(&cut, task).await })
    }
}

impl std::fmt::Debug for Supervisor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Supervisor").field("tasks", &self.tasks.len()).finish_non_exhaustive()
    }
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// What became of a task: its own result, or nothing because it was cut off.
type CutOff = Option<Result<Result<(), TaskError>, JoinError>>;

/// Runs a task on its own, so that its panic is seen and not spread, until it ends or is cut off.
async fn spawn_until<F>(cut: &CancellationToken, task: F) -> CutOff
where
    F: Future<Output = Result<(), TaskError>> + Send + 'static,
{
    let mut running = tokio::spawn(task);
    tokio::select! {
        biased;
        ended = &mut running => Some(ended),
        () = cut.cancelled() => {
            running.abort();
            None
        }
    }
}

enum Ended {
    Cut,
    Failed(String),
    Returned,
}

fn describe(ended: CutOff) -> Ended {
    match ended {
        None => Ended::Cut,
        Some(Ok(Ok(()))) => Ended::Returned,
        Some(Ok(Err(error))) => Ended::Failed(error.to_string()),
        Some(Err(join)) => Ended::Failed(match join.try_into_panic() {
            Ok(panic) => format!("it panicked: {}", crate::store::panic_text(panic.as_ref())),
            Err(join) => join.to_string(),
        }),
    }
}

#[cfg(test)]
mod tests;
