//! This node's own view of the directory: every statement verified here, kept on disk, and known to be what the registry
//! signed. Nothing is folded in before the root over it was recomputed and found in a checkpoint with both of the log's
//! signatures; after a fork, a rollback or a bad signature the last good view stays, and what shows the lie is kept
//! (`findings`).
//!
//! **Invariant:** the registry can delay news and shut doors; it cannot put words into anybody's mouth. Each statement
//! counts by its own signature (`trust::directory`).
//!
//! Out of scope: making statements (`publish`), and what they mean for a question (`trust::decision`).

mod accept;
mod age;
mod behind;
mod by_hand;
mod endings;
mod follower;
mod registry_link;
mod roots;
mod snapshot;
mod stored;
mod suspicion;
mod tiles;
mod tree;
mod witnessing;

use std::{
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use host::store::StoreError;
use proto::registry::v1::{CatchingUp, statement::Body};
use tokio::sync::{broadcast, mpsc, watch};
use trust::{
    directory::{self, Directory, Object, StatementError, chain::RootKeys},
    ids::ExchangeId,
    key::PublicKey,
    log::{
        checkpoint::{self, LogKey, VerifiedCheckpoint},
        frontier::Frontier,
        hash::{Hash, leaf_hash},
        note,
    },
};

use self::{
    accept::Followed,
    roots::{ROOTS_KEPT, Roots},
    stored::StoredDirectory,
};
pub use self::{
    age::{Age, State},
    behind::in_words,
    by_hand::{Brought, Imported},
    endings::Ending,
    follower::Follower,
    registry_link::RegistryLink,
    snapshot::Snapshots,
    suspicion::Suspicion,
    tiles::{DirectorySettings, Follow, Tiles},
    witnessing::Witnessed,
};
use crate::findings::{self, Findings};

/// How many suspicions wait for the comparing.
const SUSPICIONS_WAITING: usize = 16;

/// Why the view did not take what it was given, or cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The registry was restored from an older copy, and says so.
    #[error(
        "the registry was restored from an older copy: it has {told} statements, and {here} are here; it signs nothing until it has them again"
    )]
    Behind {
        /// The size of its checkpoint.
        told: u64,
        /// The size that had been verified.
        here: u64,
    },
    /// A checkpoint that is not the log's.
    #[error("the registry's checkpoint does not verify: {0}")]
    Checkpoint(#[from] checkpoint::Error),
    /// A file that holds fewer statements than its checkpoint covers.
    #[error("the file holds {held} statements and its checkpoint covers {covered}: it is cut short; export it again")]
    CutShort {
        /// What the checkpoint covers.
        covered: u64,
        /// What there is.
        held: u64,
    },
    /// What was found before cannot be read.
    #[error(transparent)]
    Findings(#[from] findings::Error),
    /// Two stories: a checkpoint whose root is not that of the statements.
    #[error(
        "the registry tells another story: at {size} statements its checkpoint has the root {told}, and here it is {here}; the last good view is kept; call the authority"
    )]
    Forked {
        /// The size of both.
        size: u64,
        /// The root of the checkpoint.
        told: Hash,
        /// The root that was recomputed.
        here: Hash,
    },
    /// The log's key cannot be used.
    #[error("the directory log's key cannot be used: {0}")]
    LogKey(#[from] note::key::Error),
    /// The first statement is not the founding that the authority signed.
    #[error(
        "the directory does not begin with a founding by the authority that this node trusts: compare `authority_key` in node.toml with the authority's"
    )]
    NotFounded,
    /// Statements that do not continue the view.
    #[error("the registry sent statements from {start} on, and {expected} was next")]
    OutOfOrder {
        /// The first index that was sent.
        start: u64,
        /// The index that was next.
        expected: u64,
    },
    /// A newer checkpoint with fewer statements.
    #[error(
        "the registry went back: it now has {told} statements, and it once signed for {here}; the last good view is kept; call the authority"
    )]
    RolledBack {
        /// The size of the checkpoint.
        told: u64,
        /// The size that had been verified.
        here: u64,
    },
    /// A checkpoint older than one that was seen.
    #[error(
        "the registry's checkpoint is of {told_ms}, and one of {here_ms} was seen (Unix milliseconds): it holds news back or replays what it once said; the last good view is kept"
    )]
    Stale {
        /// The checkpoint's time, Unix milliseconds.
        told_ms: u64,
        /// The newest that was seen, Unix milliseconds.
        here_ms: u64,
    },
    /// A statement that does not count, or is of a kind unknown here.
    #[error("statement {index} of the directory cannot be taken: {source}; the view ends before it")]
    Statement {
        /// Its index.
        index: u64,
        /// Why.
        source: StatementError,
    },
    /// What is on disk cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stored copy is not what was verified.
    #[error(
        "this node's copy of the directory is not what it verified, within its first {size} statements: move the folder `directory` away, and the registry sends it anew"
    )]
    StoredAltered {
        /// How many statements were compared.
        size: u64,
    },
    /// The stored copy has a gap.
    #[error(
        "this node's copy of the directory lacks statement {index}: move the folder `directory` away, and the registry sends it anew"
    )]
    StoredGap {
        /// The index.
        index: u64,
    },
    /// More statements wait than a checkpoint was seen for.
    #[error("the registry sends statements without a checkpoint that covers them")]
    Uncovered,
    /// What was verified cannot be put down.
    #[error("what was verified cannot be put down for the next start: {0}")]
    Snapshot(#[from] snapshot::Error),
    /// The writer has stopped; the program ends.
    #[error("the directory cannot be written: {0}")]
    Writer(String),
}

/// The directory at one moment, with its size and root.
#[derive(Clone, Debug)]
pub struct Seen {
    directory: Directory,
    root: Hash,
}

impl Seen {
    /// The directory.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Number of statements.
    pub fn size(&self) -> u64 {
        self.directory.size()
    }

    /// Root over them, computed once.
    pub fn root(&self) -> &Hash {
        &self.root
    }
}

/// This node's view of the directory.
pub struct View {
    seen: RwLock<Arc<Seen>>,
    followed: tokio::sync::Mutex<Followed>,
    stored: StoredDirectory,
    snapshots: Option<Snapshots>,
    /// The size and root that this node took its own word for at the start.
    resumed_at: u64,
    resumed_root: Hash,
    roots: Mutex<Roots>,
    /// Revocations that came directly.
    direct: Mutex<Vec<Vec<u8>>>,
    /// When the log last vouched for what is folded in, Unix milliseconds.
    log_ms: AtomicU64,
    /// As of when as many witnesses as are required vouch for it, Unix milliseconds.
    witnessed_ms: AtomicU64,
    witness_book: Mutex<witnessing::Book>,
    /// The highest time that was ever verified, Unix milliseconds.
    highest_ms: AtomicU64,
    reachable: AtomicBool,
    findings: Findings,
    /// Why the view ends before the stored directory does.
    stuck: Mutex<Option<String>>,
    suspect: mpsc::Sender<Suspicion>,
    suspicions: Mutex<Option<mpsc::Receiver<Suspicion>>>,
    size: watch::Sender<u64>,
    endings: broadcast::Sender<Ending>,
    checkpoint: RwLock<Arc<str>>,
    /// What the registry says of itself while it signs nothing.
    behind: RwLock<Option<CatchingUp>>,
}

impl View {
    /// Opens the copy in `DIR/directory` and verifies every statement again. Blocks. `on_failure` is told when nothing can
    /// be written any more; the program must then end.
    pub fn open(
        dir: &Path,
        exchange: &ExchangeId,
        authority_key: &PublicKey,
        on_failure: impl FnOnce(&str) + Send + 'static,
    ) -> Result<Self, Error> {
        Self::resume(dir, exchange, authority_key, None, on_failure)
    }

    /// As [`View::open`], but goes on from what this node has verified before and put down itself.
    pub fn resume(
        dir: &Path,
        exchange: &ExchangeId,
        authority_key: &PublicKey,
        snapshots: Option<Snapshots>,
        on_failure: impl FnOnce(&str) + Send + 'static,
    ) -> Result<Self, Error> {
        let stored = StoredDirectory::open(&dir.join("directory"), on_failure)?;
        let size = stored.size()?;
        let nothing = Directory::new(exchange.clone(), authority_key.clone());
        let put_down = snapshots.as_ref().and_then(|snapshots| snapshots.read(exchange, authority_key, size));
        let directory = put_down.unwrap_or_else(|| nothing.clone());
        let root = directory.root();
        let (suspect, suspicions) = mpsc::channel(SUSPICIONS_WAITING);
        let mut view = Self {
            resumed_at: directory.size(),
            resumed_root: root,
            seen: RwLock::new(Arc::new(Seen { directory, root })),
            followed: tokio::sync::Mutex::default(),
            stored,
            snapshots,
            roots: Mutex::new(Roots::default()),
            direct: Mutex::default(),
            log_ms: AtomicU64::new(0),
            witnessed_ms: AtomicU64::new(0),
            witness_book: Mutex::default(),
            highest_ms: AtomicU64::new(0),
            reachable: AtomicBool::new(false),
            findings: Findings::open(dir)?,
            stuck: Mutex::new(None),
            suspect,
            suspicions: Mutex::new(Some(suspicions)),
            size: watch::Sender::new(0),
            endings: broadcast::Sender::new(ENDINGS_KEPT),
            checkpoint: RwLock::new(Arc::from("")),
            behind: RwLock::new(None),
        };
        match view.replay() {
            // What was put down belongs to another history than what is stored: only the statements count.
            Err(error) if view.resumed_at > 0 => {
                tracing::warn!(%error, "every statement of the directory is verified again");
                view.resumed_at = 0;
                *view.seen.get_mut().unwrap_or_else(PoisonError::into_inner) =
                    Arc::new(Seen { root: nothing.root(), directory: nothing });
                view.replay()?;
            }
            outcome => outcome?,
        }
        Ok(view)
    }

    fn replay(&self) -> Result<(), Error> {
        let mut directory = self.seen().directory.clone();
        let mut frontier = directory.frontier().clone();
        let mut roots = Roots::default();
        roots.push(directory.size(), directory.root());
        let (start, end) = (directory.size(), self.stored.size()?);
        let mut stuck = None;
        // Behind a statement that stopped the view the keys are followed all the same.
        let mut behind = None;
        for entry in self.stored.entries_from(start) {
            let entry = entry?;
            if frontier.size() == 0 {
                directory = directory.founded_in(&entry);
            }
            let leaf = leaf_hash(&entry);
            frontier.append(leaf);
            if stuck.is_some() {
                let _ = behind.as_mut().map(|keys: &mut RootKeys| keys.follow(&entry));
                continue;
            }
            match directory.check(&entry).map(|checked| directory.fold_leaf(checked, leaf)) {
                Err(source) => {
                    stuck = Some(Error::Statement { index: directory.size(), source });
                    behind = RootKeys::of(&directory);
                }
                Ok(()) if end - directory.size() < ROOTS_KEPT as u64 => roots.push(directory.size(), directory.root()),
                Ok(()) => {}
            }
        }
        let keys = behind.or_else(|| RootKeys::of(&directory));
        if frontier.size() > 0 && (keys.is_none() || !directory.is_vouched_for()) {
            return Err(Error::NotFounded);
        }
        self.publish(directory, roots);
        if let (Some(keys), Some(text)) = (&keys, self.stored.checkpoint()?) {
            let key = log_key(self.seen().directory.exchange(), keys.log())?;
            let verified = checkpoint::open(text.as_bytes(), &key)?;
            let (told, here) = (verified.checkpoint().root(), frontier.root());
            if verified.checkpoint().size() != frontier.size() || told != here {
                return Err(Error::Forked { size: frontier.size(), told, here });
            }
            self.vouched(&verified, &text);
            self.count_cosignatures(verified.note(), u64::MAX);
        }
        for note in self.stored.witnessed()? {
            if let Ok(note) = note::SignedNote::parse(note.as_bytes()) {
                self.count_cosignatures(&note, u64::MAX);
            }
        }
        *lock(&self.direct) = self.stored.revocations()?;
        self.change(|directory| self.apply_direct(directory));
        if let Some(error) = stuck {
            tracing::error!(%error, "the directory cannot be read to its end");
            self.stop_at(error.to_string());
        }
        // Unwrap safety of the lock: nobody else has the view yet.
        if let Ok(mut followed) = self.followed.try_lock() {
            followed.frontier = frontier;
            followed.keys = keys;
        }
        Ok(())
    }

    /// The directory now. Hold it for one decision, not for longer.
    pub fn seen(&self) -> Arc<Seen> {
        Arc::clone(&self.seen.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The root of the view when it had `size` statements, where it is still known.
    pub fn root_at(&self, size: u64) -> Option<Hash> {
        lock(&self.roots).at(size)
    }

    /// The highest time that was ever verified, Unix milliseconds.
    pub fn highest_ms(&self) -> u64 {
        self.highest_ms.load(Ordering::Acquire)
    }

    /// The latest checkpoint that covers the whole view; empty before the first.
    pub fn checkpoint(&self) -> Arc<str> {
        Arc::clone(&self.checkpoint.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Entries of the directory's log, their exact bytes, as stored here. Blocks.
    pub fn entries(&self) -> impl Iterator<Item = Result<Vec<u8>, Error>> + '_ {
        self.stored.entries_from(0)
    }

    /// Entries of the directory's log from an index on, their exact bytes, as stored here. Blocks.
    pub fn entries_from(&self, start: u64) -> impl Iterator<Item = Result<Vec<u8>, Error>> + '_ {
        self.stored.entries_from(start)
    }

    /// Whether the registry was reachable the last time it was tried.
    pub fn is_registry_reachable(&self) -> bool {
        self.reachable.load(Ordering::Acquire)
    }

    pub(crate) fn set_reachable(&self, reachable: bool) {
        if self.reachable.swap(reachable, Ordering::AcqRel) != reachable {
            tracing::info!(reachable, "registry");
        }
    }

    /// Sizes of the view, as it grows.
    pub fn sizes(&self) -> watch::Receiver<u64> {
        self.size.subscribe()
    }

    /// Who is no longer welcome, as the view learns it.
    pub fn endings(&self) -> broadcast::Receiver<Ending> {
        self.endings.subscribe()
    }

    fn end(&self, endings: impl IntoIterator<Item = Ending>) {
        for ending in endings {
            // Nobody listens before the node serves: there are no connections then.
            let _ = self.endings.send(ending);
        }
    }

    /// Waits until the view has at least `size` statements.
    pub async fn reached(&self, size: u64) {
        // Never an error: `self` holds the sender.
        let _ = self.size.subscribe().wait_for(|seen| *seen >= size).await;
    }

    /// Makes a directory that goes on from the one that is seen the one that is seen.
    fn publish(&self, mut directory: Directory, roots: Roots) {
        let (size, root) = (directory.size(), directory.root());
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        directory.shed();
        // Revocations that came directly while it was being made would be lost.
        self.apply_direct(&mut directory);
        *seen = Arc::new(Seen { directory, root });
        lock(&self.roots).extend(roots);
        drop(seen);
        self.size.send_replace(size);
    }

    /// Applies the revocations that came directly. One that the directory has brought in the meantime changes nothing.
    fn apply_direct(&self, directory: &mut Directory) {
        for revocation in lock(&self.direct).iter() {
            let _ = directory.apply_revocation(revocation);
        }
    }

    /// A revocation that came directly. It counts on its own signature, and survives a restart. Whether it was news.
    pub async fn apply_revocation(&self, statement: &[u8]) -> Result<bool, Error> {
        let seen = self.seen();
        let index = seen.size();
        let refused = |source| Error::Statement { index, source };
        let checked = seen.directory.check(statement).map_err(refused)?;
        let (Some(Object::Key(key_id)), Some(Body::KeyRevoked(_))) = (checked.object(), &checked.statement().body)
        else {
            let reason = "only a revocation of a key is taken directly".to_owned();
            return Err(refused(StatementError::Rule { field: "body".to_owned(), reason }));
        };
        if seen.directory.key(key_id).is_none_or(|key| key.revoked.is_some()) {
            return Ok(false);
        }
        let ending = checked.statement().body.as_ref().and_then(|body| Ending::of(&seen.directory, body));
        // Kept before it counts: whoever hears that it was applied may rely on it after a restart too.
        drop(seen);
        self.stored.keep_revocation(statement.to_vec()).await?;
        let applied = self.change(|directory| {
            lock(&self.direct).push(statement.to_vec());
            directory.apply_revocation(statement)
        });
        let applied = applied.map_err(refused)?;
        // It may have been a witness's.
        self.reckon();
        self.end(ending);
        Ok(applied)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Directory) -> T) -> T {
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        // Copies nothing but counters, and what the change touches.
        change(&mut Arc::make_mut(&mut seen).directory)
    }

    /// Puts down what was verified, where that has become worth its while. Blocks.
    pub fn put_down(&self) -> Result<(), Error> {
        let (Some(snapshots), seen) = (&self.snapshots, self.seen()) else { return Ok(()) };
        // Beyond what cannot be read nothing may be claimed to have been verified.
        snapshots.put_down(&seen.directory)
    }

    /// Whether [`View::put_down`] is worth its while.
    pub fn is_put_down_due(&self) -> bool {
        self.snapshots.as_ref().is_some_and(|snapshots| snapshots.is_due(self.seen().size()))
    }

    /// Reads the entries that were not read at the start because this node had put down what they left, and compares the
    /// tree over them with the one that was verified. Blocks for seconds where there are many.
    pub fn check_stored(&self) -> Result<(), Error> {
        let mut frontier = Frontier::new();
        let outcome =
            self.stored.entries_from(0).take(usize::try_from(self.resumed_at).unwrap_or(usize::MAX)).try_for_each(
                |entry| {
                    frontier.append(leaf_hash(&entry?));
                    Ok(())
                },
            );
        let outcome =
            outcome.and_then(|()| match self.resumed_root == frontier.root() && frontier.size() == self.resumed_at {
                true => Ok(()),
                false => Err(Error::StoredAltered { size: self.resumed_at }),
            });
        if let Err(error) = &outcome {
            tracing::error!(%error, "the stored directory");
            self.stop_at(error.to_string());
        }
        outcome
    }

    fn vouched(&self, verified: &VerifiedCheckpoint, text: &str) {
        // Whoever looked through all of it has left much behind.
        self.change(Directory::shed);
        let time_ms = verified.time_seconds().saturating_mul(1000);
        self.highest_ms.fetch_max(time_ms, Ordering::AcqRel);
        if verified.checkpoint().size() == self.seen().size() {
            self.log_ms.fetch_max(time_ms, Ordering::AcqRel);
            *self.checkpoint.write().unwrap_or_else(PoisonError::into_inner) = Arc::from(text);
        }
        // The profile may have changed.
        self.reckon();
    }

    /// Shows a checkpoint as of the same time in place of the last one, where more have signed it.
    fn more_witnesses(&self, verified: &VerifiedCheckpoint, text: &str) {
        let time_ms = verified.time_seconds().saturating_mul(1000);
        if verified.checkpoint().size() != self.seen().size() || time_ms != self.log_ms.load(Ordering::Acquire) {
            return;
        }
        let mut checkpoint = self.checkpoint.write().unwrap_or_else(PoisonError::into_inner);
        if text.lines().count() > checkpoint.lines().count() {
            *checkpoint = Arc::from(text);
        }
    }

    /// The key that the log signs with where this view is.
    fn log_key(&self) -> Result<Option<LogKey>, Error> {
        let seen = self.seen();
        let Some(key) = seen.directory.log_key() else { return Ok(None) };
        Ok(Some(log_key(seen.directory.exchange(), key)?))
    }
}

impl std::fmt::Debug for View {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("View").field("size", &self.seen().size()).finish_non_exhaustive()
    }
}

/// How many endings may wait for whoever cuts connections; one who lags behind cuts them all.
const ENDINGS_KEPT: usize = 256;

fn log_key(exchange: &ExchangeId, key: &PublicKey) -> Result<LogKey, Error> {
    Ok(LogKey::new(directory::origin(exchange).parse()?, key.as_bytes())?)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
pub(crate) mod tests;
