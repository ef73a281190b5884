//! The one place where the directory grows: check a statement, append it, fold it in, sign a checkpoint, tell the
//! watchers. One task does this for one statement after the other, so that each is checked against all before it.
//!
//! **Invariant:** only a root that the ledger holds durably is signed, and a signed checkpoint is kept before anybody
//! sees it. Signing two histories of one size would be the end of all trust in this log.
//!
//! When nothing is said the checkpoint is signed anew with the time, so that a reader can tell a quiet registry from one
//! that is cut off. Out of scope: which statements are allowed (`trust::directory`), and where entries live (`ledger`).

mod committing;

pub use self::committing::AnchorsHead;
use self::committing::LogAsk;

use std::{
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};

use host::clock::Clock;
use prost::Message;
use proto::{exchange::v1::Envelope, registry::v1::Statement};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use trust::{
    directory::{self, Checked, Directory, LARGEST_ENTRY, StatementError},
    envelope,
    ids::ExchangeId,
    key::{PublicKey, Signer, SigningKey},
    log::{
        checkpoint::{self, Checkpoint, LogKey},
        hash::Hash,
        note,
    },
    refusal::{Code, Refusal},
};

use crate::ledger::{self, Append, Ledger, ReadLimit};

/// How many statements may wait; more are told to come back.
const MOST_WAITING: usize = 256;
/// How many entries are read at once when the log is replayed.
const REPLAY_CHUNK: usize = 256;
/// How often a statement is checked anew because another writer was quicker.
const MOST_OVERTAKINGS: usize = 16;

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

/// The sequencer has ended; so will the process.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the registry is stopping")]
pub struct Stopped;

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
    /// The log's key in the folder is not the one that the founding names.
    #[error("the log key in the folder is not the one that the exchange was founded with")]
    LogKeyWrong,
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
    /// The log's name cannot stand in a checkpoint.
    #[error("the log's name cannot be used: {0}")]
    Name(#[from] note::key::Error),
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
    /// The log's own key.
    pub log_key: SigningKey,
    /// Where the log lives.
    pub ledger: Arc<dyn Ledger>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How often a checkpoint is signed anew.
    pub checkpoint_interval: Duration,
    /// How often the log commits to the state, where something was said since.
    pub state_interval: Duration,
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
    /// [`SequencerTask::run`] does.
    pub async fn start(parts: SequencerParts) -> Result<(Self, SequencerTask), Error> {
        let origin = directory::origin(&parts.exchange).parse()?;
        let note_key = LogKey::new(origin, parts.log_key.public_key().as_bytes())?;
        let mut directory = Directory::new(parts.exchange, parts.authority_key);
        let signed_before = match parts.ledger.checkpoint().await? {
            Some(note) => Some(checkpoint::open(note.as_bytes(), &note_key)?),
            None => None,
        };
        replay(&mut directory, parts.ledger.as_ref(), signed_before.as_ref().map(|signed| signed.checkpoint())).await?;
        let founding = directory.founding().ok_or(Error::NotFounded)?;
        if founding.log_key != *parts.log_key.public_key() {
            return Err(Error::LogKeyWrong);
        }

        let (submissions, waiting) = mpsc::channel(MOST_WAITING);
        let (asks, asked) = mpsc::channel(1);
        let nothing = Head { size: 0, checkpoint: "".into() };
        let shared = Arc::new(Shared { directory: RwLock::new(directory), head: watch::Sender::new(nothing) });
        let mut task = SequencerTask {
            shared: Arc::clone(&shared),
            waiting,
            asked,
            started_ms: parts.clock.now_ms(),
            ledger: parts.ledger,
            clock: parts.clock,
            log_key: parts.log_key,
            note_key,
            last_time_seconds: signed_before.map_or(0, |signed| signed.time_seconds()),
            checkpoint_interval: parts.checkpoint_interval,
            state_interval: parts.state_interval,
        };
        task.publish().await?;
        Ok((Self { submissions, shared, asks }, task))
    }

    /// Submits the exact bytes of a statement's envelope.
    pub async fn submit(&self, entry: Vec<u8>) -> Result<Result<Accepted, Refusal>, Stopped> {
        let (outcome, answered) = oneshot::channel();
        match self.submissions.try_send(Submission { entry, outcome }) {
            Ok(()) => answered.await.map_err(|_| Stopped),
            Err(mpsc::error::TrySendError::Full(_)) => Ok(Err(Refusal::new(Code::Overloaded))),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(Stopped),
        }
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
}

impl Shared {
    fn directory(&self) -> RwLockReadGuard<'_, Directory> {
        self.directory.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn directory_to_change(&self) -> RwLockWriteGuard<'_, Directory> {
        self.directory.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Folds a statement in; the size and root that this leads to.
    fn fold(&self, checked: Checked, entry: &[u8]) -> (u64, Hash) {
        let mut directory = self.directory_to_change();
        directory.fold(checked, entry);
        (directory.size(), directory.root())
    }
}

struct Submission {
    entry: Vec<u8>,
    outcome: oneshot::Sender<Result<Accepted, Refusal>>,
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
    log_key: SigningKey,
    note_key: LogKey,
    last_time_seconds: u64,
    checkpoint_interval: Duration,
    state_interval: Duration,
}

impl SequencerTask {
    /// Sequences until `stop`, and then what was submitted before. After an error nothing more is acknowledged: whoever
    /// waits hears [`Stopped`].
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), Error> {
        loop {
            let renewal = Instant::now() + self.checkpoint_interval;
            let commitment = Instant::now() + self.until_commitment();
            tokio::select! {
                () = stop.cancelled() => break,
                submission = self.waiting.recv() => match submission {
                    Some(submission) => self.answer(submission).await?,
                    None => return Ok(()),
                },
                Some(ask) = self.asked.recv() => self.say_as_asked(ask).await?,
                () = tokio::time::sleep_until(commitment) => drop(self.commit_to_state().await?),
                () = tokio::time::sleep_until(renewal) => drop(self.publish().await?),
            }
        }
        self.waiting.close();
        while let Some(submission) = self.waiting.recv().await {
            self.answer(submission).await?;
        }
        Ok(())
    }

    async fn answer(&mut self, submission: Submission) -> Result<(), Error> {
        let outcome = self.take(submission.entry).await?;
        match &outcome {
            Ok(accepted) => tracing::info!(index = accepted.index, "statement accepted"),
            Err(refusal) => tracing::info!(code = %refusal.code, field = refusal.field, "statement refused"),
        }
        // Whoever asked may have gone away; the statement is in the log all the same.
        let _ = submission.outcome.send(outcome);
        Ok(())
    }

    async fn take(&mut self, entry: Vec<u8>) -> Result<Result<Accepted, Refusal>, Error> {
        if entry.len() > LARGEST_ENTRY {
            let detail = format!("{} bytes; {LARGEST_ENTRY} are allowed", entry.len());
            return Ok(Err(Refusal::new(Code::MessageTooLarge).at("envelope").because(detail)));
        }
        for _ in 0..MOST_OVERTAKINGS {
            let (checked, at_size) = {
                let directory = self.shared.directory();
                match directory.check(&entry) {
                    // What this version does not know it cannot judge: who may say it, and about what.
                    Ok(checked) if checked.object().is_none() => {
                        let wire_version = checked.statement().wire_version;
                        return Ok(Err(StatementError::UnknownKind { wire_version }.refusal()));
                    }
                    Ok(checked) => (checked, directory.size()),
                    Err(error) => return Ok(self.known(&directory, &entry, &error).ok_or_else(|| error.refusal())),
                }
            };
            if let Err(refusal) = self.check_time(checked.statement().stated_at_ms) {
                return Ok(Err(refusal));
            }
            match self.ledger.append(at_size, vec![entry.clone()]).await? {
                Append::Moved { .. } => {
                    // Another registry over the same ledger was quicker: what was true at our size may no longer be.
                    self.catch_up().await?;
                    self.publish().await?;
                }
                Append::Appended { size, root } => {
                    if self.shared.fold(checked, &entry) != (size, root) {
                        return Err(Error::RootsDiffer { size });
                    }
                    let checkpoint = self.publish().await?;
                    return Ok(Ok(Accepted { index: at_size, checkpoint }));
                }
            }
        }
        Ok(Err(Refusal::new(Code::Overloaded)))
    }

    /// A statement that comes again, because its answer was lost on the way, is accepted where it stands.
    fn known(&self, directory: &Directory, entry: &[u8], error: &StatementError) -> Option<Accepted> {
        // The signature was verified before this error could arise.
        let StatementError::PredecessorWrong { .. } = error else { return None };
        let envelope = Envelope::decode(entry).ok()?;
        let digest = envelope::digest(&envelope.payload_type, &envelope.payload);
        let object = Statement::decode(envelope.payload.as_slice()).ok()?.object;
        let index = directory.last_about(&object).filter(|place| place.digest == digest)?.index;
        Some(Accepted { index, checkpoint: self.shared.head.borrow().checkpoint.clone() })
    }

    /// Nobody speaks from the future: a revocation dated tomorrow would count for what was signed today.
    fn check_time(&self, stated_at_ms: u64) -> Result<(), Refusal> {
        let now_ms = self.clock.now_ms();
        let skew_ms = self.shared.directory().profile().clock_skew_ms;
        if stated_at_ms <= now_ms.saturating_add(skew_ms) {
            return Ok(());
        }
        let detail = format!("{stated_at_ms} is later than this registry's clock, {now_ms}; compare the clocks");
        Err(Refusal::new(Code::StatementRefused).at("stated_at_ms").because(detail))
    }

    async fn catch_up(&self) -> Result<(), Error> {
        loop {
            let from = self.shared.directory().size();
            let entries = self.ledger.read(from, ReadLimit::entries(REPLAY_CHUNK)).await?;
            if entries.is_empty() {
                return Ok(());
            }
            apply_all(&mut self.shared.directory_to_change(), &entries)?;
        }
    }

    /// Signs what the directory has come to, keeps the checkpoint, and tells everybody.
    async fn publish(&mut self) -> Result<Arc<str>, Error> {
        let (size, root) = {
            let directory = self.shared.directory();
            (directory.size(), directory.root())
        };
        let now_seconds = self.clock.now_ms() / 1000;
        if now_seconds < self.last_time_seconds {
            let (now, signed) = (now_seconds, self.last_time_seconds);
            tracing::warn!(now, signed, "the clock is behind the last checkpoint's time; set it");
        }
        // Time never runs backwards in this log.
        let time_seconds = now_seconds.max(self.last_time_seconds);
        let unsigned = Checkpoint::new(self.note_key.origin(), size, root)?;
        let signed = checkpoint::sign(&unsigned, &self.note_key, time_seconds, |message| self.log_key.sign(message))?;
        if self.shared.head.borrow().size != size {
            self.ledger.keep_checkpoint(signed.clone()).await?;
        }
        self.last_time_seconds = time_seconds;
        let checkpoint: Arc<str> = signed.into();
        self.shared.head.send_replace(Head { size, checkpoint: Arc::clone(&checkpoint) });
        Ok(checkpoint)
    }
}

/// Reads the whole ledger into the directory, and compares it with what was signed for it.
async fn replay(directory: &mut Directory, ledger: &dyn Ledger, signed: Option<&Checkpoint>) -> Result<(), Error> {
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
