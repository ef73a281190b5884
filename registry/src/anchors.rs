//! The registry's second log: what nobody needs to replay and everybody may want to compare. It holds the checkpoints of
//! all nodes' evidence logs, each as its node signed it, and the overdue answers that nodes stated; the directory takes
//! this log's own checkpoint at intervals.
//!
//! **Invariant:** a checkpoint is taken only where it is shown to continue what the same evidence log had anchored before.
//! A node that rewrites its history cannot anchor it, not even together with whoever runs the registry later: every
//! reader of the directory sees that this log only grows.
//!
//! It lives in the registry's own store, whichever that is: several registries over one database keep one second log, and
//! each serves what the directory took last, whoever of them had it taken.
//!
//! Three thousand nodes that anchor hourly make 72,000 entries a day here, and 24 statements in the directory. Out of
//! scope: the log's store (`ledger`), who signs its checkpoint (`sequencer`), and what an anchor is (`trust::anchor`).

mod ask;
mod known;
mod overdue;
mod tiles;
mod verify;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use prost::Message;
use proto::{
    exchange::v1::Envelope,
    registry::v1::{Statement, statement::Body},
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use trust::{
    anchor::{self, Revoked},
    ids::DepartmentId,
    log::hash::Hash,
    refusal::{Code, Refusal},
};

use self::known::{Known, Latest};
pub use self::{
    ask::Asked,
    overdue::Counted,
    tiles::{consistency, inclusion, root_at},
    verify::{Contradiction, Verified},
};
use crate::{
    ledger::{self, Append, Ledger, ReadLimit, SignedHead},
    sequencer::{AnchorsHead, Head, Sequencer, Stopped},
};

/// How many entries are read at once.
const CHUNK: usize = 4096;

/// How long a store that is away is left alone.
const PAUSE: Duration = Duration::from_secs(1);

/// When the second log is to be taken again, where the store was away; or after the interval, if that is shorter.
const TRY_AGAIN: Duration = Duration::from_secs(60);

/// How often taking is tried again because another registry was quicker.
const MOST_OVERTAKINGS: usize = 16;

/// The least time between two anchors of one evidence log, milliseconds of their own clocks.
const LEAST_INTERVAL_SECONDS: u64 = 1;

/// The folder of the second log's ledger within the registry's; the n-th log's has the number in its name.
pub fn folder(registry: &Path, log: u32) -> PathBuf {
    match log {
        0 | 1 => registry.join("anchors"),
        log => registry.join(format!("anchors-{log}")),
    }
}

/// Why the second log cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file that spares reading the whole log cannot be written.
    #[error(transparent)]
    File(#[from] host::files::Error),
    /// Its ledger failed.
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
    /// The registry is stopping.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// What a second log needs.
pub struct AnchorsParts {
    /// The registry's folder.
    pub folder: PathBuf,
    /// Its number: 1, or higher where those before lost entries.
    pub log: u32,
    /// Why the log before it ended; empty for the first.
    pub reason: String,
    /// Its ledger.
    pub ledger: Arc<dyn Ledger>,
    /// The directory's ledger, which has the checkpoints that were taken.
    pub directory: Arc<dyn Ledger>,
    /// Takes its checkpoint into the directory.
    pub sequencer: Sequencer,
    /// How often.
    pub interval: Duration,
}

/// An entry of the second log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which second log.
    pub log: u32,
    /// Its index.
    pub index: u64,
    /// Its text.
    pub checkpoint: String,
}

/// The second log.
pub struct Anchors {
    parts: AnchorsParts,
    known: tokio::sync::Mutex<Known>,
    head: RwLock<Head>,
    /// How many overdue answers each department stated on this day.
    stated_today: Mutex<(u64, BTreeMap<DepartmentId, u32>)>,
}

impl Anchors {
    /// Reads what was anchored last of each evidence log.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub async fn open(parts: AnchorsParts) -> Result<Arc<Self>, Error> {
        let mut known = Known::load(&parts.folder, parts.log);
        known.catch_up(parts.ledger.as_ref()).await?;
        let nothing = RwLock::new(Head { size: 0, checkpoint: "".into() });
        let anchors =
            Self { parts, known: tokio::sync::Mutex::new(known), head: nothing, stated_today: Mutex::default() };
        anchors.follow().await?;
        Ok(Arc::new(anchors))
    }

    /// Shows what the directory took last of this log, whichever registry had it taken; whether that is news.
    async fn follow(&self) -> Result<bool, Error> {
        let taken = {
            let directory = self.parts.sequencer.directory();
            directory.anchors().filter(|taken| taken.log == self.parts.log).map(|taken| (taken.size, taken.place.index))
        };
        let Some((size, index)) = taken.filter(|(size, _)| *size > self.head().size) else { return Ok(false) };
        // The ledger's own edge comes up to what is served from now on.
        self.parts.ledger.position().await?;
        let entry = self.parts.directory.read(index, ReadLimit::entries(1)).await?.pop();
        let checkpoint = entry.as_deref().and_then(taken_checkpoint);
        let checkpoint =
            checkpoint.ok_or_else(|| ledger::Error::damaged(format!("statement {index} takes no second log")))?;
        *self.head.write().unwrap_or_else(PoisonError::into_inner) = Head { size, checkpoint: checkpoint.into() };
        Ok(true)
    }

    /// Anchors the checkpoint of an evidence log.
    ///
    /// # Errors
    ///
    /// The ledger failed; the process must end.
    pub async fn anchor(&self, note: &str, consistency: &[Hash]) -> Result<Result<Entry, Refusal>, Error> {
        if let Some(refusal) = self.parts.sequencer.held_back() {
            // What the directory had taken of this log may be lost: what was anchored now would be lost with it.
            return Ok(Err(refusal));
        }
        let mut known = self.known.lock().await;
        loop {
            known.catch_up(self.parts.ledger.as_ref()).await?;
            let read = anchor::read(&self.parts.sequencer.directory(), note.as_bytes(), Revoked::Refused);
            let anchored = match read {
                Ok(anchored) => anchored,
                Err(error) => return Ok(Err(error.refusal())),
            };
            let origin = anchored.log.to_string();
            let seconds = anchored.checkpoint.time_seconds();
            if let Some(latest) = known.latest(&origin) {
                if (latest.size, latest.root) == (anchored.size(), anchored.root()) {
                    let index = latest.index;
                    return Ok(Ok(self.entry(index).await?));
                }
                let before = (latest.size, &latest.root);
                if let Err(error) = anchor::check_continues(before, &anchored, consistency) {
                    tracing::warn!(%origin, %error, "an anchor was refused");
                    return Ok(Err(error.refusal()));
                }
                if seconds < latest.seconds + LEAST_INTERVAL_SECONDS {
                    return Ok(Err(Refusal::new(Code::Overloaded).retry_at((latest.seconds + 1) * 1000)));
                }
            }
            let index = known.covered;
            match self.parts.ledger.append(index, vec![note.as_bytes().to_vec()]).await? {
                Append::Moved { .. } => {}
                Append::Appended { .. } => {
                    let (size, root) = (anchored.size(), anchored.root());
                    known.learn(origin, Latest { index, size, root, seconds });
                    return Ok(Ok(Entry { log: self.parts.log, index, checkpoint: note.to_owned() }));
                }
            }
        }
    }

    /// Which second log it is.
    pub fn number(&self) -> u32 {
        self.parts.log
    }

    /// The last entry of an evidence log.
    ///
    /// # Errors
    ///
    /// The ledger failed.
    pub async fn last(&self, origin: &str) -> Result<Option<Entry>, Error> {
        let mut known = self.known.lock().await;
        known.catch_up(self.parts.ledger.as_ref()).await?;
        match known.latest(origin).map(|latest| latest.index) {
            Some(index) => Ok(Some(self.entry(index).await?)),
            None => Ok(None),
        }
    }

    /// The last entry of every evidence log: origin, number of entries, and when, Unix seconds.
    ///
    /// # Errors
    ///
    /// The ledger failed.
    pub async fn latest(&self) -> Result<Vec<(String, u64, u64)>, Error> {
        let mut known = self.known.lock().await;
        known.catch_up(self.parts.ledger.as_ref()).await?;
        let mut all: Vec<_> =
            known.all().map(|(origin, latest)| (origin.clone(), latest.size, latest.seconds)).collect();
        all.sort();
        Ok(all)
    }

    /// Entries of one evidence log from an index on, at most as many as one reading of the ledger has; and from where
    /// to go on, `None` at the end.
    ///
    /// # Errors
    ///
    /// The ledger failed.
    pub async fn history(&self, origin: &str, start: u64) -> Result<(Vec<Entry>, Option<u64>), Error> {
        let entries = self.parts.ledger.read(start, ReadLimit::entries(CHUNK)).await?;
        let next = start + entries.len() as u64;
        let first_line = format!("{origin}\n");
        let found = (start..)
            .zip(&entries)
            .filter(|(_, entry)| entry.starts_with(first_line.as_bytes()))
            .map(|(index, entry)| Entry {
                log: self.parts.log,
                index,
                checkpoint: String::from_utf8_lossy(entry).into_owned(),
            })
            .collect();
        Ok((found, (!entries.is_empty()).then_some(next)))
    }

    /// The path of an entry in the tree of `size` entries; `None` where there is no such tree.
    ///
    /// # Errors
    ///
    /// The ledger failed.
    pub async fn prove(&self, log: u32, index: u64, size: u64) -> Result<Option<Vec<Hash>>, Error> {
        if log != self.parts.log || index >= size || size > self.parts.ledger.position().await?.size {
            return Ok(None);
        }
        Ok(Some(inclusion(self.parts.ledger.as_ref(), index, size).await?))
    }

    /// Has the directory take this log's checkpoint, where something was anchored since; how many entries it has taken.
    ///
    /// # Errors
    ///
    /// The ledger failed, or the registry is stopping.
    pub async fn take(&self) -> Result<u64, Error> {
        for _ in 0..MOST_OVERTAKINGS {
            let position = self.parts.ledger.position().await?;
            let before = self.taken();
            if position.size <= before {
                return Ok(before);
            }
            let head = AnchorsHead {
                log: self.parts.log,
                size: position.size,
                root: position.root,
                consistency: consistency(self.parts.ledger.as_ref(), before, position.size).await?,
                reason: if before == 0 { self.parts.reason.clone() } else { String::new() },
            };
            match self.parts.sequencer.take_anchors(head).await? {
                Ok((accepted, note)) => {
                    let unreadable = || ledger::Error::damaged("the checkpoint of the second log cannot be read");
                    // Where another registry has kept a later one, that stands; the directory has both.
                    self.parts.ledger.keep_checkpoint(SignedHead::read(note).ok_or_else(unreadable)?).await?;
                    self.follow().await?;
                    self.known.lock().await.save(&self.parts.folder, self.parts.log)?;
                    tracing::info!(
                        index = accepted.index,
                        anchors = position.size,
                        "the directory takes the second log"
                    );
                    return Ok(position.size);
                }
                // Another registry over the same log was quicker.
                Err(_) if self.taken() > before => {}
                Err(refusal) => {
                    tracing::warn!(%refusal, "the directory did not take the second log");
                    return Ok(before);
                }
            }
        }
        Ok(self.taken())
    }

    /// How many entries the directory has taken.
    fn taken(&self) -> u64 {
        let directory = self.parts.sequencer.directory();
        directory.anchors().filter(|taken| taken.log == self.parts.log).map_or(0, |taken| taken.size)
    }

    /// What the directory last took of this log, for whoever serves it.
    pub fn head(&self) -> Head {
        self.head.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Its number.
    pub fn log(&self) -> u32 {
        self.parts.log
    }

    /// Its ledger, for whoever serves it.
    pub fn ledger(&self) -> Arc<dyn Ledger> {
        Arc::clone(&self.parts.ledger)
    }

    /// Takes at intervals until `stop`, and follows what other registries over the same log had taken. While the store is
    /// away nothing is taken.
    ///
    /// # Errors
    ///
    /// The ledger failed; the process must end.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) -> Result<(), Error> {
        let mut directory = self.parts.sequencer.watch();
        let mut due = Instant::now() + self.parts.interval;
        loop {
            let done = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                Ok(()) = directory.changed() => match self.follow().await {
                    Ok(false) => continue,
                    // One statement an interval is enough, whoever makes it.
                    Ok(true) => Ok(()),
                    Err(error) => Err(error),
                },
                () = tokio::time::sleep_until(due) => self.take().await.map(drop),
            };
            due = Instant::now() + self.parts.interval;
            match done {
                Ok(()) => {}
                Err(Error::Stopped(_)) if stop.is_cancelled() => return Ok(()),
                Err(Error::Ledger(ledger::Error::Away { reason })) => {
                    tracing::warn!(reason, "the second log is not taken: the store is away");
                    due = Instant::now() + self.parts.interval.min(TRY_AGAIN);
                    tokio::time::sleep(PAUSE).await;
                    // Nothing tells again of what could not be followed.
                    directory.mark_changed();
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn entry(&self, index: u64) -> Result<Entry, Error> {
        let entries = self.parts.ledger.read(index, ReadLimit::entries(1)).await?;
        let entry = entries.into_iter().next();
        let entry = entry.ok_or_else(|| ledger::Error::damaged(format!("entry {index} is missing")))?;
        let checkpoint =
            String::from_utf8(entry).map_err(|_| ledger::Error::damaged(format!("entry {index} is no text")))?;
        Ok(Entry { log: self.parts.log, index, checkpoint })
    }
}

/// The second log's checkpoint in a statement that takes it.
fn taken_checkpoint(entry: &[u8]) -> Option<String> {
    let envelope = Envelope::decode(entry).ok()?;
    match Statement::decode(envelope.payload.as_slice()).ok()?.body? {
        Body::AnchorsTaken(taken) => Some(taken.checkpoint),
        _ => None,
    }
}

/// Which second log to go on with: the one that the directory took last, unless its ledger lost what was taken; and why
/// it does not, where it does not.
///
/// # Errors
///
/// The ledger cannot be read.
pub async fn check_whole(sequencer: &Sequencer, ledger: &dyn Ledger) -> Result<Option<String>, ledger::Error> {
    let taken = sequencer.directory().anchors().map(|taken| (taken.size, taken.root));
    let Some((size, root)) = taken else { return Ok(None) };
    let here = ledger.position().await?;
    if here.size < size {
        return Ok(Some(format!("the second log has {} entries, and the directory had taken {size}", here.size)));
    }
    if root_at(ledger, size).await? != root {
        return Ok(Some(format!("the first {size} entries of the second log are not those that the directory took")));
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
