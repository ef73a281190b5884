//! The one place where the directory grows: check statements, append them, fold them in, sign a checkpoint, tell the
//! watchers. One task does this, each statement checked against all before it; what waits together is appended together.
//! Where several registries share a ledger, each does so in its turn, and follows what the others append.
//!
//! **Invariant:** only a root that the ledger holds durably is signed, and a signed checkpoint is kept before anybody
//! sees it. Signing two histories of one size would be the end of all trust in this log.
//!
//! When nothing is said the checkpoint is signed anew with the time, so that a reader can tell a quiet registry from one
//! that is cut off. When the store is away the registry says so, and resolves what was under way by looking whether it is
//! there. Out of scope: which statements are allowed (`trust::directory`), and where entries live (`ledger`).

mod batch;
mod committing;
mod follow;
mod holding;
mod replacing;

pub use self::{committing::AnchorsHead, holding::Holding};
use self::{committing::LogAsk, holding::Hold};

use std::{
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};

use host::{clock::Clock, readiness::Condition};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use trust::{
    directory::{self, Directory, StatementError},
    ids::ExchangeId,
    key::PublicKey,
    log::{
        checkpoint::{self, Checkpoint, LogKey},
        hash::Hash,
        note::{self, key::KeyName},
    },
    refusal::{Code, Refusal},
};

use crate::{
    anchors::root_at,
    ledger::{self, Ledger, ReadLimit},
    log_keys::LogKeys,
    recovery::{self, Cause, Mark},
    replacement::Replacement,
    snapshot::Snapshots,
};

/// How many statements may wait; more are told to come back.
const MOST_WAITING: usize = 256;
/// How many entries are read at once when the log is replayed.
const REPLAY_CHUNK: usize = 256;

/// What the log says of itself now.
#[derive(Clone, Debug)]
pub struct Head {
    /// Number of statements.
    pub size: u64,
    /// The signed checkpoint over them.
    pub checkpoint: Arc<str>,
}

/// A statement is in the log.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// Its index.
    pub index: u64,
    /// A checkpoint that covers it.
    pub checkpoint: Arc<str>,
}

/// Nothing is sequenced now. Whoever submitted does not know whether the statement is in the log: the same one again gets
/// the answer that the first would have got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Stopped {
    /// The sequencer has ended; so will the process.
    #[error("the registry is stopping")]
    Ending,
    /// The store is away.
    #[error("the registry's database is away; submit the same statement again in a minute")]
    StoreAway,
}

/// Why the sequencer cannot go on. Every one of these ends the process.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A checkpoint could not be made or read.
    #[error("the directory's checkpoint is wrong: {0}")]
    Checkpoint(#[from] checkpoint::Error),
    /// The log does not lead to the checkpoint that was signed for it.
    #[error(
        "the directory's ledger does not lead to the checkpoint signed at size {size}: it was altered or is not whole; restore it from its backup"
    )]
    CheckpointBroken {
        /// The size of the checkpoint.
        size: u64,
    },
    /// A statement in the ledger breaks the rules.
    #[error("statement {index} of the directory does not count: {source}")]
    EntryWrong {
        /// Its index.
        index: u64,
        /// What is wrong.
        source: StatementError,
    },
    /// The log's key in the folder is not the one in force.
    #[error(
        "the log's key in force is not in keys/: the directory names another one than log.key, log.next.key or log.old.key; copy keys/log.key from another registry over the same database, or restore it from its backup; where no copy is left, `registry keys replace-log`"
    )]
    LogKeyWrong,
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
    /// The log's name cannot stand in a checkpoint.
    #[error("the log's name cannot be used: {0}")]
    Name(#[from] note::key::Error),
    /// The log's key is lost, and the statement that brings another was not taken.
    #[error("the log's key cannot be replaced: {0}")]
    Replacement(String),
    /// There is no founding.
    #[error("the directory is empty: run `registry init` into a new folder")]
    NotFounded,
    /// Ledger and directory came to different roots.
    #[error("ledger and directory came to different roots at size {size}")]
    RootsDiffer {
        /// The size.
        size: u64,
    },
}

/// What a sequencer needs.
pub struct SequencerParts {
    /// The exchange.
    pub exchange: ExchangeId,
    /// The authority's key, from the configuration.
    pub authority_key: PublicKey,
    /// The log's own keys.
    pub log_keys: Arc<LogKeys>,
    /// Where the log lives.
    pub ledger: Arc<dyn Ledger>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How often a checkpoint is signed anew.
    pub checkpoint_interval: Duration,
    /// How often the log commits to the state, where something was said since.
    pub state_interval: Duration,
    /// How long to listen to nodes before anything is signed, where there are any.
    pub listen_first: Duration,
    /// Cancelled when the registry is to start again, because it holds back no more.
    pub again: CancellationToken,
    /// Whether the store is there.
    pub store: Condition,
    /// Where what was verified before was put down.
    pub snapshots: Option<Arc<Snapshots>>,
    /// What takes the place of a log key that is lost.
    pub replacement: Option<Replacement>,
}

/// Submits statements and reads the directory. Clones share it.
#[derive(Clone)]
pub struct Sequencer {
    submissions: mpsc::Sender<Submission>,
    shared: Arc<Shared>,
    asks: mpsc::Sender<LogAsk>,
}

impl Sequencer {
    /// Replays the ledger, checks every statement in it, and signs a first checkpoint. Nothing is sequenced until
    /// [`SequencerTask::run`] does. Where the ledger is marked, or the registry listens first, nothing is signed.
    pub async fn start(parts: SequencerParts) -> Result<(Self, SequencerTask), Error> {
        let origin: KeyName = directory::origin(&parts.exchange).parse()?;
        let put_down = match &parts.snapshots {
            Some(snapshots) => snapshots.read(&parts.exchange, &parts.authority_key, parts.ledger.as_ref()).await?,
            None => None,
        };
        let resumed = put_down.as_ref().map(|directory| (directory.size(), directory.root()));
        if let Some((size, _)) = resumed {
            tracing::info!(size, "going on from what was verified before");
        }
        let mut directory = put_down.unwrap_or_else(|| Directory::new(parts.exchange, parts.authority_key));
        let kept = parts.ledger.checkpoint().await?;
        // Whose signatures it must bear is known once the log was read to there.
        let claimed = kept.as_ref().map(|note| checkpoint::peek(note.as_bytes())).transpose()?;
        replay(&mut directory, parts.ledger.as_ref(), claimed.as_ref()).await?;
        let log_key = directory.log_key().ok_or(Error::NotFounded)?;
        let mark = parts.ledger.mark().await?.map(|mark| Mark::read(&mark));
        if mark.is_none() {
            // One that is lost is replaced before anything is signed.
            let is_held = parts.log_keys.held(log_key).is_some() || parts.replacement.is_some();
            is_held.then_some(()).ok_or(Error::LogKeyWrong)?;
        }
        let signed_before = match kept.as_ref().zip(claimed) {
            Some((note, claimed)) => {
                let key = directory.log_key_at(claimed.size()).unwrap_or(log_key);
                Some(checkpoint::open(note.as_bytes(), &LogKey::new(origin.clone(), key.as_bytes())?)?)
            }
            None => None,
        };

        let (submissions, waiting) = mpsc::channel(MOST_WAITING);
        let (asks, asked) = mpsc::channel(1);
        let started_ms = parts.clock.now_ms();
        let head = match kept.as_ref().zip(signed_before.as_ref()) {
            Some((note, signed)) => Head { size: signed.checkpoint().size(), checkpoint: note.as_str().into() },
            None => Head { size: 0, checkpoint: "".into() },
        };
        let has_nodes = recovery::departments_with_nodes(&directory, started_ms) > 0;
        let listens = mark.is_none() && has_nodes && head.size > 0 && !parts.listen_first.is_zero();
        let until = Instant::now() + parts.listen_first;
        let (hold, holding) = match mark {
            Some(Mark { since_ms, cause, wanted }) => (Hold::Held, Some(Holding { since_ms, cause, wanted })),
            None if listens => {
                let holding = Holding { since_ms: started_ms, cause: Cause::Listening, wanted: 0 };
                (Hold::Listening { until }, Some(holding))
            }
            None => (Hold::No, None),
        };
        let shared = Arc::new(Shared {
            directory: RwLock::new(directory),
            head: watch::Sender::new(head),
            holding: watch::Sender::new(holding),
            clock: Arc::clone(&parts.clock),
            resumed,
        });
        let mut task = SequencerTask {
            shared: Arc::clone(&shared),
            waiting,
            asked,
            started_ms,
            ledger: parts.ledger,
            clock: parts.clock,
            log_keys: parts.log_keys,
            origin,
            last_time_seconds: signed_before.map_or(0, |signed| signed.time_seconds()),
            checkpoint_interval: parts.checkpoint_interval,
            state_interval: parts.state_interval,
            renewal: Instant::now() + parts.checkpoint_interval,
            store: parts.store,
            is_away: false,
            hold,
            again: parts.again,
            replacement: parts.replacement,
        };
        task.catch_up().await?;
        match hold {
            Hold::No => {
                task.replace_log_key().await?;
                drop(task.publish().await?);
            }
            Hold::Listening { until } => {
                task.renewal = task.renewal.min(until);
                tracing::info!("listening to what nodes saw, before anything is signed");
            }
            Hold::Held => {
                tracing::warn!(?holding, "this registry signs nothing until it holds what its log signed before");
            }
        }
        task.store.met();
        Ok((Self { submissions, shared, asks }, task))
    }

    /// Submits the exact bytes of a statement's envelope.
    pub async fn submit(&self, entry: Vec<u8>) -> Result<Result<Accepted, Refusal>, Stopped> {
        if let Some(refusal) = self.held_back() {
            return Ok(Err(refusal));
        }
        let (outcome, answered) = oneshot::channel();
        match self.submissions.try_send(Submission { entry, outcome }) {
            Ok(()) => answered.await.unwrap_or(Err(Stopped::Ending)),
            Err(mpsc::error::TrySendError::Full(_)) => Ok(Err(Refusal::new(Code::Overloaded))),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(Stopped::Ending),
        }
    }

    /// The size and root that this registry took its own word for at the start.
    pub fn resumed(&self) -> Option<(u64, Hash)> {
        self.shared.resumed
    }

    /// The directory as it stands. Let go of it before waiting for anything.
    pub fn directory(&self) -> RwLockReadGuard<'_, Directory> {
        self.shared.directory()
    }

    /// What the log says of itself now.
    pub fn head(&self) -> Head {
        self.shared.head.borrow().clone()
    }

    /// Follows the head: it changes with each statement, and when the checkpoint is signed anew.
    pub fn watch(&self) -> watch::Receiver<Head> {
        self.shared.head.subscribe()
    }
}

struct Shared {
    directory: RwLock<Directory>,
    head: watch::Sender<Head>,
    /// Whether nothing is signed now.
    holding: watch::Sender<Option<Holding>>,
    clock: Arc<dyn Clock>,
    resumed: Option<(u64, Hash)>,
}

impl Shared {
    /// Has everybody who watches hear the same once more.
    fn tell_again(&self) {
        self.head.send_modify(|_| ());
    }

    fn directory(&self) -> RwLockReadGuard<'_, Directory> {
        self.directory.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn directory_to_change(&self) -> RwLockWriteGuard<'_, Directory> {
        self.directory.write().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Submission {
    entry: Vec<u8>,
    outcome: oneshot::Sender<Result<Result<Accepted, Refusal>, Stopped>>,
}

/// The sequencer's own task.
pub struct SequencerTask {
    shared: Arc<Shared>,
    waiting: mpsc::Receiver<Submission>,
    /// What the log itself is to say.
    asked: mpsc::Receiver<LogAsk>,
    started_ms: u64,
    ledger: Arc<dyn Ledger>,
    clock: Arc<dyn Clock>,
    log_keys: Arc<LogKeys>,
    origin: KeyName,
    last_time_seconds: u64,
    checkpoint_interval: Duration,
    state_interval: Duration,
    /// When the checkpoint is signed anew.
    renewal: Instant,
    store: Condition,
    is_away: bool,
    hold: Hold,
    again: CancellationToken,
    replacement: Option<Replacement>,
}

impl SequencerTask {
    /// Sequences until `stop`, and then what was submitted before. After an error nothing more is acknowledged: whoever
    /// waits hears [`Stopped`].
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), Error> {
        let ledger = Arc::clone(&self.ledger);
        loop {
            let commitment = Instant::now() + self.until_commitment();
            tokio::select! {
                () = stop.cancelled() => break,
                submission = self.waiting.recv(), if !matches!(self.hold, Hold::Listening { .. }) => match submission {
                    Some(submission) => self.answer(submission, &stop).await?,
                    None => return Ok(()),
                },
                Some(ask) = self.asked.recv() => self.say_as_asked(ask).await?,
                changed = ledger.changed() => {
                    changed?;
                    self.follow().await?;
                }
                () = tokio::time::sleep_until(commitment), if !self.is_away && !self.holds_back() => self.commit_when_due().await?,
                () = tokio::time::sleep_until(self.renewal) => self.renew().await?,
            }
        }
        self.waiting.close();
        if matches!(self.hold, Hold::Listening { .. }) {
            // Whoever waits hears that the registry is stopping.
            return Ok(());
        }
        while let Some(submission) = self.waiting.recv().await {
            self.answer(submission, &stop).await?;
        }
        Ok(())
    }
}

/// Reads what the directory lacks of the ledger, and compares it with what was signed for it.
async fn replay(directory: &mut Directory, ledger: &dyn Ledger, signed: Option<&Checkpoint>) -> Result<(), Error> {
    let before = signed.filter(|signed| (1..=directory.size()).contains(&signed.size()));
    if let Some(signed) = before
        && root_at(ledger, signed.size()).await? != signed.root()
    {
        return Err(Error::CheckpointBroken { size: signed.size() });
    }
    loop {
        let entries = ledger.read(directory.size(), ReadLimit::entries(REPLAY_CHUNK)).await?;
        if entries.is_empty() {
            break;
        }
        for entry in &entries {
            apply_all(directory, std::slice::from_ref(entry))?;
            if let Some(signed) = signed.filter(|signed| signed.size() == directory.size())
                && signed.root() != directory.root()
            {
                return Err(Error::CheckpointBroken { size: signed.size() });
            }
        }
    }
    let position = ledger.position().await?;
    if let Some(signed) = signed.filter(|signed| signed.size() > position.size) {
        return Err(Error::CheckpointBroken { size: signed.size() });
    }
    if (position.size, position.root) != (directory.size(), directory.root()) {
        return Err(Error::RootsDiffer { size: position.size });
    }
    Ok(())
}

fn apply_all(directory: &mut Directory, entries: &[Vec<u8>]) -> Result<(), Error> {
    for entry in entries {
        let index = directory.size();
        directory.apply(entry).map_err(|source| Error::EntryWrong { index, source })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
