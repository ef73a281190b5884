//! What departments' nodes have cosigned: takes their cosignatures of the directory's checkpoints, verifies each, keeps
//! the newest of every node, and puts them under the checkpoints that are served.
//!
//! **Invariant:** a cosignature is only ever shown under the very checkpoint it was made of. One that is wrong costs
//! nobody anything, because every node verifies them again.
//!
//! While a witness has yet to cosign the newest checkpoint, the earlier one that it did cosign is served beside it: a busy
//! directory then looks no older than a quiet one. Out of scope: whether witnesses are required (the authority's profile)
//! and what follows from it, which is each node's to judge.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use host::clock::Clock;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use trust::{
    directory::{self, Directory},
    ids::{DepartmentId, NodeId},
    log::{
        checkpoint::{Checkpoint, LogKey, open_note},
        hash::Hash,
        note::{Signature, SignedNote},
    },
    refusal::{Code, Refusal},
    witness::{self, Cosigned, MOST_COSIGNATURES},
};

use crate::{
    ledger::{self, Ledger},
    sequencer::{Head, Sequencer},
};

/// The largest note that is taken: a checkpoint and a few lines.
const LARGEST_NOTE: usize = 8 * 1024;

/// So many of the latest checkpoints can be cosigned: what was served a moment ago still counts.
const MOST_HEADS: usize = 64;

/// So many nodes' cosignatures are remembered.
const MOST_WITNESSES: usize = 4096;

/// How soon a node may cosign the same size again, in seconds, where few do.
const AGAIN_SECONDS: u64 = 10;

/// The longest that a node is asked to wait, in seconds.
const LONGEST_AGAIN_SECONDS: u64 = 600;

/// A witness that has been silent for so long does not count among those that are there, in seconds.
const SILENT_SECONDS: u64 = 900;

/// How often new cosignatures are passed on where nothing else is new, and how often they are kept.
const PASS_ON: Duration = Duration::from_secs(1);

/// The cosignatures, for whoever takes and serves them. Clones share them.
#[derive(Clone)]
pub struct Witnesses {
    sequencer: Sequencer,
    ledger: Arc<dyn Ledger>,
    clock: Arc<dyn Clock>,
    book: Arc<Mutex<Book>>,
    news: watch::Sender<u64>,
}

/// What is served: the head's checkpoint with its cosignatures, and notes of earlier ones.
#[derive(Clone, Debug)]
pub struct Served {
    /// The newest checkpoint.
    pub checkpoint: Arc<str>,
    /// Cosigned earlier ones, by witnesses who have not cosigned the newest.
    pub earlier: Arc<[String]>,
}

/// A witness's newest cosignature.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Whose and when.
    pub cosigned: Cosigned,
    /// The size that was cosigned.
    pub size: u64,
    root: Hash,
    /// The signature line.
    line: Signature,
    /// The checkpoint as the log signed it.
    signed: SignedNote,
}

#[derive(Default)]
struct Book {
    /// The latest checkpoints that were served, by size.
    heads: BTreeMap<u64, (Hash, SignedNote)>,
    latest: BTreeMap<(DepartmentId, NodeId), Kept>,
    /// Grows with each cosignature.
    version: u64,
    /// The last that was put together: for this checkpoint and version.
    served: Option<(Arc<str>, u64, Served)>,
}

impl Witnesses {
    /// Reads back what was kept.
    pub async fn open(
        sequencer: Sequencer,
        ledger: Arc<dyn Ledger>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ledger::Error> {
        let witnesses = Self { sequencer, ledger, clock, book: Arc::default(), news: watch::Sender::new(0) };
        witnesses.merge().await?;
        Ok(witnesses)
    }

    /// Changes when cosignatures came in and the profile requires witnesses.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// Takes a cosigned note; how many seconds the node should wait before it comes again with the same size.
    pub fn take(&self, note: &str) -> Result<u32, Refusal> {
        let malformed =
            |reason: &dyn std::fmt::Display| Refusal::new(Code::MessageMalformed).at("note").because(reason);
        if note.len() > LARGEST_NOTE {
            return Err(Refusal::new(Code::MessageTooLarge).at("note"));
        }
        let note = SignedNote::parse(note.as_bytes()).map_err(|error| malformed(&error))?;
        let told = Checkpoint::parse(note.text()).map_err(|error| malformed(&error))?;
        let now_seconds = self.clock.now_ms() / 1000;
        let (cosigned, origin) = {
            let directory = self.sequencer.directory();
            let latest = now_seconds.saturating_add(directory.profile().clock_skew_ms / 1000);
            (witness::cosignatures(&directory, &note, latest), directory::origin(directory.exchange()))
        };
        if told.origin() != origin {
            return Err(Refusal::new(Code::ExchangeWrong).at("note"));
        }
        let Some(cosigned) = cosigned.into_iter().next() else {
            let reason = "no line of it is a cosignature by a node key of the directory that counts now";
            return Err(Refusal::new(Code::KeyUnknown).at("note").because(reason));
        };
        let mut book = self.book();
        let head = self.sequencer.head();
        book.remember(&head);
        let Some((root, signed)) = book.heads.get(&told.size()).cloned() else {
            return Err(Refusal::new(Code::CheckpointOutdated).at("note"));
        };
        if root != told.root() {
            // A node cosigns only what the log's key has signed: somebody signed another history with it.
            let (department, node, size) = (&cosigned.department, &cosigned.node, told.size());
            let (here, there) = (root, told.root());
            tracing::error!(%department, %node, size, %here, %there, "a witness saw another directory: the log's key signed two stories");
            return Err(Refusal::new(Code::DirectoryDiverges).at("note"));
        }
        let Some(line) = line_of(&note, &self.sequencer.directory(), &cosigned) else {
            return Err(malformed(&"the signature line cannot be found again"));
        };
        book.keep(Kept { cosigned, size: told.size(), root, line, signed });
        Ok(book.again_in_seconds(now_seconds))
    }

    /// What is served for a head.
    pub fn serve(&self, head: &Head) -> Served {
        let mut book = self.book();
        book.remember(head);
        if let Some((checkpoint, version, served)) = &book.served
            && Arc::ptr_eq(checkpoint, &head.checkpoint)
            && *version == book.version
        {
            return served.clone();
        }
        let served = book.put_together(head);
        book.served = Some((Arc::clone(&head.checkpoint), book.version, served.clone()));
        served
    }

    /// The newest cosignature of each node, the newest first.
    pub fn latest(&self) -> Vec<Kept> {
        let mut latest: Vec<Kept> = self.book().latest.values().cloned().collect();
        latest.sort_by_key(|kept| std::cmp::Reverse(kept.cosigned.time_seconds));
        latest
    }

    /// Passes new cosignatures on and keeps them, until `stop`.
    pub async fn run(self, interval: Duration, stop: CancellationToken) -> Result<(), ledger::Error> {
        let (mut passed_on, mut kept) = (0, 0);
        let mut keep_at = tokio::time::Instant::now() + interval;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(PASS_ON) => {}
            }
            let version = self.book().version;
            if version != passed_on && self.required() > 0 {
                passed_on = version;
                self.news.send_replace(version);
            }
            if tokio::time::Instant::now() >= keep_at {
                // A store that is away comes back: the nodes cosign again meanwhile, and nothing is lost that matters.
                if version != kept {
                    match self.keep().await {
                        Ok(()) => kept = version,
                        Err(error) => tracing::warn!(%error, "cosignatures cannot be kept now"),
                    }
                }
                // Another registry over the same ledger may have taken others.
                if let Err(error) = self.merge().await {
                    tracing::warn!(%error, "others' cosignatures cannot be read now");
                }
                keep_at = tokio::time::Instant::now() + interval;
            }
        }
        self.keep().await
    }

    /// How many departments' witnesses the profile requires.
    pub fn required(&self) -> usize {
        self.sequencer.directory().profile().witnesses_required
    }

    async fn keep(&self) -> Result<(), ledger::Error> {
        // Another registry over the same ledger may have a newer one of the same witness: that one stays.
        self.merge().await?;
        let notes: Vec<(String, String)> = self
            .book()
            .newest_of_departments()
            .into_iter()
            .filter_map(|kept| Some((kept.line.name().to_string(), kept.note().ok()?.to_string())))
            .collect();
        if notes.is_empty() { Ok(()) } else { self.ledger.keep_cosignatures(notes).await }
    }

    async fn merge(&self) -> Result<(), ledger::Error> {
        let notes = self.ledger.cosignatures().await?;
        for note in notes {
            let read = self.read_kept(&note);
            if let Some(kept) = read {
                self.book().keep(kept);
            }
        }
        Ok(())
    }

    /// Reads what was kept: it counts where our own log signed the checkpoint and the cosignature still counts.
    fn read_kept(&self, note: &str) -> Option<Kept> {
        let directory = self.sequencer.directory();
        let origin = directory::origin(directory.exchange()).parse().ok()?;
        let key = LogKey::new(origin, directory.log_key()?.as_bytes()).ok()?;
        let verified = open_note(SignedNote::parse(note.as_bytes()).ok()?, &key).ok()?;
        let cosigned = witness::cosignatures(&directory, verified.note(), u64::MAX).into_iter().next()?;
        let line = line_of(verified.note(), &directory, &cosigned)?;
        let checkpoint = verified.checkpoint();
        let signed = own_lines(verified.note(), key.origin().as_str())?;
        (checkpoint.size() <= directory.size()).then(|| Kept {
            cosigned,
            size: checkpoint.size(),
            root: checkpoint.root(),
            line,
            signed,
        })
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn remember(&mut self, head: &Head) {
        if self.heads.contains_key(&head.size) {
            return;
        }
        let Ok(signed) = SignedNote::parse(head.checkpoint.as_bytes()) else { return };
        let Ok(checkpoint) = Checkpoint::parse(signed.text()) else { return };
        self.heads.insert(head.size, (checkpoint.root(), signed));
        while self.heads.len() > MOST_HEADS {
            self.heads.pop_first();
        }
    }

    /// Keeps a cosignature, unless the node has cosigned later or more.
    fn keep(&mut self, kept: Kept) {
        let name = (kept.cosigned.department.clone(), kept.cosigned.node.clone());
        let is_older = |known: &Kept| {
            (kept.cosigned.time_seconds, kept.size) <= (known.cosigned.time_seconds, known.size)
                || kept.size < known.size
        };
        if self.latest.get(&name).is_some_and(is_older) {
            return;
        }
        self.latest.insert(name, kept);
        self.version += 1;
        if self.latest.len() > MOST_WITNESSES {
            let oldest = self.latest.iter().min_by_key(|(_, kept)| kept.cosigned.time_seconds);
            if let Some(name) = oldest.map(|(name, _)| name.clone()) {
                self.latest.remove(&name);
            }
        }
    }

    /// The larger the exchange, the less often each node is needed: only so many are served.
    fn again_in_seconds(&self, now_seconds: u64) -> u32 {
        let there = self.latest.values().filter(|kept| kept.cosigned.time_seconds + SILENT_SECONDS > now_seconds);
        let departments: HashSet<&DepartmentId> = there.map(|kept| &kept.cosigned.department).collect();
        let rounds = departments.len().div_ceil(MOST_COSIGNATURES).max(1) as u64;
        u32::try_from((rounds * AGAIN_SECONDS).min(LONGEST_AGAIN_SECONDS)).unwrap_or(u32::MAX)
    }

    /// The newest of each department, the newest first, as many as are served.
    fn newest_of_departments(&self) -> Vec<&Kept> {
        let mut newest: BTreeMap<&DepartmentId, &Kept> = BTreeMap::new();
        for kept in self.latest.values() {
            let known = newest.entry(&kept.cosigned.department).or_insert(kept);
            if (kept.size, kept.cosigned.time_seconds) > (known.size, known.cosigned.time_seconds) {
                *known = kept;
            }
        }
        let mut newest: Vec<&Kept> = newest.into_values().collect();
        newest.sort_by_key(|kept| std::cmp::Reverse(kept.cosigned.time_seconds));
        newest.truncate(MOST_COSIGNATURES);
        newest
    }

    fn put_together(&self, head: &Head) -> Served {
        let plain = || Served { checkpoint: Arc::clone(&head.checkpoint), earlier: Arc::default() };
        let Ok(mut note) = SignedNote::parse(head.checkpoint.as_bytes()) else { return plain() };
        let mut earlier: BTreeMap<u64, SignedNote> = BTreeMap::new();
        for kept in self.newest_of_departments() {
            let is_head = kept.size == head.size && kept.signed.text() == note.text();
            let target =
                if is_head { &mut note } else { earlier.entry(kept.size).or_insert_with(|| kept.signed.clone()) };
            // Fails only beyond 100 lines.
            let _ = target.add_signature(kept.line.clone());
        }
        let earlier = earlier.into_values().map(|note| note.to_string()).collect();
        Served { checkpoint: note.to_string().into(), earlier }
    }
}

impl Kept {
    /// The checkpoint with the log's signatures and this one.
    fn note(&self) -> Result<SignedNote, trust::log::note::Error> {
        let mut note = self.signed.clone();
        note.add_signature(self.line.clone())?;
        Ok(note)
    }

    /// The root that was cosigned.
    pub fn root(&self) -> Hash {
        self.root
    }
}

/// The line of a cosignature that was verified.
fn line_of(note: &SignedNote, directory: &Directory, cosigned: &Cosigned) -> Option<Signature> {
    let key = &directory.key(&cosigned.key_id)?.described.key;
    let key = witness::note_key(directory.exchange(), &cosigned.department, &cosigned.node, key).ok()?;
    let is_it = |line: &&Signature| line.name() == key.name() && line.key_id() == key.id();
    note.signatures().iter().find(is_it).cloned()
}

/// The note with the log's own lines alone.
pub(crate) fn own_lines(note: &SignedNote, origin: &str) -> Option<SignedNote> {
    let mut own = SignedNote::new(note.text().to_owned()).ok()?;
    for line in note.signatures().iter().filter(|line| line.name().as_str() == origin) {
        own.add_signature(line.clone()).ok()?;
    }
    Some(own)
}

#[cfg(test)]
mod tests;
