//! **A log has one history.** A registry that was restored from an older copy signs nothing until it holds what its log
//! signed before: its nodes tell which checkpoint each of them verified, and hand over the statements that it lacks. It
//! trusts none of them: a checkpoint counts by the log's own signature, statements by theirs, and a root is recomputed.
//!
//! A restored ledger is marked ([`Mark`]). A copy that nobody marked is found out by the first node that tells of more, and
//! a starting registry listens for a moment before it signs. The mode ends by itself when nodes of more than half of the
//! departments have told what they saw, and all of it is held; or by an officer's decision, which is kept (`events`).
//!
//! Out of scope: holding back itself (`sequencer`), and backups (`backup`).

pub mod events;
pub mod import;
mod mark;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use host::clock::Clock;
use tokio_util::sync::CancellationToken;
use trust::{
    directory::{self, Directory},
    ids::DepartmentId,
    key::PublicKey,
    log::{
        checkpoint::{Checkpoint, LogKey, VerifiedCheckpoint, open_note},
        note::{MAX_NOTE_LENGTH, SignedNote},
    },
    refusal::{Code, Refusal},
    witness,
};

pub use self::mark::{Cause, Mark};
use self::{
    events::{Event, Events, What},
    import::Importer,
};
use crate::{
    anchors,
    ledger::{self, Ledger},
    log_keys::LogKeys,
    sequencer::{Holding, Sequencer, Stopped},
};

/// For so long one node hands over, and no other is asked to, milliseconds.
const HANDING_OVER_MS: u64 = 20_000;

/// Why nothing became of what was told or decided. Our own failures.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What was done cannot be kept.
    #[error(transparent)]
    Events(#[from] events::Error),
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
    /// The registry is stopping.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// What became of what a node told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// The first statement that this registry lacks and asks the node for.
    pub lacks_from: Option<u64>,
}

/// What a department's node told since the registry holds back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// How many statements it verified.
    pub size: u64,
    /// When it told, Unix milliseconds.
    pub at_ms: u64,
}

/// What is needed to find out, and to be made whole.
pub struct RecoveryParts {
    /// The registry's folder.
    pub folder: PathBuf,
    /// Holds back.
    pub sequencer: Sequencer,
    /// Where the log lives.
    pub ledger: Arc<dyn Ledger>,
    /// The log's keys that are here.
    pub log_keys: Arc<LogKeys>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Cancelled when the registry is to start again, because it holds back no more.
    pub again: CancellationToken,
}

/// The log's history, as its readers hold it.
pub struct Recovery {
    parts: RecoveryParts,
    events: Events,
    book: Mutex<Book>,
    leaving: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Book {
    heard: BTreeMap<DepartmentId, Heard>,
    /// When a node was asked to hand over, Unix milliseconds.
    asked_ms: Option<u64>,
}

impl Recovery {
    /// Over the rooms of a registry.
    pub fn new(parts: RecoveryParts) -> Self {
        Self {
            events: Events::new(&parts.folder),
            parts,
            book: Mutex::default(),
            leaving: tokio::sync::Mutex::default(),
        }
    }

    /// Whether the registry holds back.
    pub fn holding(&self) -> Option<Holding> {
        self.parts.sequencer.holding()
    }

    /// The same for the wire.
    pub fn catching_up(&self) -> Option<proto::registry::v1::CatchingUp> {
        let holding = self.holding()?;
        let size = self.parts.sequencer.directory().size();
        Some(holding.to_wire(size))
    }

    /// What was told since.
    pub fn heard(&self) -> BTreeMap<DepartmentId, Heard> {
        self.book().heard.clone()
    }

    /// What was done to the log's history so far, the oldest first.
    pub fn events(&self) -> Result<Vec<Event>, Error> {
        Ok(self.events.list()?)
    }

    /// The departments that can tell: they take part, and have nodes.
    pub fn departments(&self) -> usize {
        let now_ms = self.parts.clock.now_ms();
        departments_with_nodes(&self.parts.sequencer.directory(), now_ms)
    }

    /// A node tells which checkpoint it verified.
    pub async fn tell(&self, note: &str) -> Result<Result<Told, Refusal>, Error> {
        if note.len() > MAX_NOTE_LENGTH {
            return Ok(Err(Refusal::new(Code::MessageTooLarge).at("note")));
        }
        let malformed =
            |reason: &dyn std::fmt::Display| Refusal::new(Code::MessageMalformed).at("note").because(reason);
        let note = match SignedNote::parse(note.as_bytes()) {
            Ok(note) => note,
            Err(error) => return Ok(Err(malformed(&error))),
        };
        let told = match Checkpoint::parse(note.text()) {
            Ok(told) => told,
            Err(error) => return Ok(Err(malformed(&error))),
        };
        let now_ms = self.parts.clock.now_ms();
        let (verified, cosigned) = {
            let directory = self.parts.sequencer.directory();
            let latest = now_ms.saturating_add(directory.profile().clock_skew_ms) / 1000;
            (
                verify(&directory, &note, told.size()),
                witness::cosignatures(&directory, &note, latest).into_iter().next(),
            )
        };
        let held = self.parts.ledger.position().await?;
        if verified.is_none() {
            // The log's key may have changed in what is lacking: what is handed over will show it.
            let may_be_later = told.size() > held.size && self.parts.sequencer.held_back().is_some();
            return Ok(match may_be_later {
                true => Ok(self.asks(held.size, now_ms)),
                false => Err(Refusal::new(Code::SignatureWrong).at("note").because("the log's key did not sign it")),
            });
        }
        if told.size() > held.size {
            self.found_behind(told.size(), held.size, now_ms).await?;
        } else {
            let root = match told.size() == held.size {
                true => held.root,
                false => anchors::root_at(self.parts.ledger.as_ref(), told.size()).await?,
            };
            if root != told.root() {
                self.found_contradicted(&told, &note, now_ms).await?;
                return Ok(Err(Refusal::new(Code::DirectoryDiverges).at("note")));
            }
        }
        if let Some(cosigned) = cosigned {
            self.hear(&cosigned, told.size(), now_ms);
        }
        let holding = self.holding();
        if told.size() > held.size {
            return Ok(Ok(self.asks(held.size, now_ms)));
        }
        match holding {
            Some(holding) if holding.cause != Cause::Listening => self.leave_if_whole().await?,
            Some(_) if self.more_than_half_told(held.size) => self.parts.sequencer.listened().await?,
            Some(_) | None => {}
        }
        Ok(Ok(Told::default()))
    }

    /// Begins to take what this registry lacks, by whatever way it comes.
    pub fn import(&self) -> Result<Importer, Refusal> {
        if self.parts.sequencer.held_back().is_none() {
            let detail = "this registry lacks nothing that it knows of";
            return Err(Refusal::new(Code::StatementRefused).because(detail));
        }
        Ok(Importer::new(self.parts.sequencer.directory().clone()))
    }

    /// Takes what was brought and verified; how many statements there are now.
    pub async fn take(&self, brought: import::Brought) -> Result<Result<u64, Refusal>, Error> {
        let (from, to) = (brought.base_size, brought.head.size);
        let taken = self.parts.sequencer.import(brought).await?;
        self.book().asked_ms = None;
        let size = match taken {
            Ok(size) => size,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if to > from {
            let detail = format!("statements {from} to {} came back", to - 1);
            self.events.append(&Event::new(self.parts.clock.now_ms(), What::Imported, size, detail))?;
            tracing::warn!(from, size, "statements that this registry lacked came back");
        }
        self.leave_if_whole().await?;
        Ok(Ok(size))
    }

    /// An officer decides that the log goes on with what is held.
    pub async fn resume(&self, officer: &str, reason: &str) -> Result<Result<u64, Refusal>, Error> {
        let Some(holding) = self.parts.sequencer.held_back().and_then(|_| self.holding()) else {
            let detail = "this registry does not hold back";
            return Ok(Err(Refusal::new(Code::StatementRefused).because(detail)));
        };
        let size = self.parts.ledger.position().await?.size;
        let wanted = self.wanted().max(holding.wanted);
        let cannot = |detail: String| Ok(Err(Refusal::new(Code::RegistryCatchingUp).because(detail)));
        if holding.cause == Cause::Contradicted {
            return cannot(
                "the log's key has signed two histories, and no decision makes them one: keep this folder, and found the exchange anew (docs/authority.md, \"Backup and restore\")".to_owned(),
            );
        }
        if wanted > size {
            return cannot(format!(
                "the log has signed for {wanted} statements and {size} are held: signing on would tell a second history. Bring statements {size} to {} from any node that saw them (registry directory import); where nobody has them any more this log has ended (docs/authority.md, \"Backup and restore\")",
                wanted - 1
            ));
        }
        if !self.holds_log_key() {
            return cannot("the log's key in force is not in keys/: registry keys restore".to_owned());
        }
        let event = Event::new(self.parts.clock.now_ms(), What::ResumedByOfficer, size, reason.to_owned());
        self.leave(event.by(officer)).await?;
        Ok(Ok(size))
    }

    /// The registry turns out to lack what its log signed for.
    async fn found_behind(&self, told: u64, held: u64, now_ms: u64) -> Result<(), Error> {
        let cause = match self.holding() {
            Some(holding) if holding.cause == Cause::Contradicted => return Ok(()),
            Some(holding) if holding.cause == Cause::Restored => Cause::Restored,
            Some(holding) if holding.wanted >= told => return Ok(()),
            _ => Cause::Behind,
        };
        let is_new = self.parts.sequencer.held_back().is_none();
        let wanted = told.max(self.wanted());
        let since_ms = self.holding().map_or(now_ms, |holding| holding.since_ms);
        // Before anything more is signed.
        self.parts.sequencer.hold(Mark { since_ms, cause, wanted }).await?;
        if is_new {
            let detail =
                format!("a node holds a checkpoint that the log signed for {told} statements, and {held} are here");
            self.events.append(&Event::new(now_ms, What::Behind, held, detail))?;
            tracing::error!(
                told,
                held,
                "this registry is an older copy of itself: it signs nothing until it holds all"
            );
        }
        Ok(())
    }

    /// The log's key has signed another history than the one that is held.
    async fn found_contradicted(&self, told: &Checkpoint, note: &SignedNote, now_ms: u64) -> Result<(), Error> {
        if self.holding().is_some_and(|holding| holding.cause == Cause::Contradicted) {
            return Ok(());
        }
        let size = told.size();
        self.parts.sequencer.hold(Mark { since_ms: now_ms, cause: Cause::Contradicted, wanted: size }).await?;
        let detail = format!("a node holds a checkpoint that the log signed for another history: {note}");
        self.events.append(&Event::new(now_ms, What::Contradicted, size, detail))?;
        tracing::error!(size, "the log's key has signed another history than the one that is held here");
        Ok(())
    }

    fn hear(&self, cosigned: &witness::Cosigned, size: u64, now_ms: u64) {
        let Some(holding) = self.holding() else { return };
        let skew_ms = self.parts.sequencer.directory().profile().clock_skew_ms;
        // What was cosigned before is what somebody kept, and may be less than what was seen since.
        if cosigned.time_seconds.saturating_mul(1000).saturating_add(skew_ms) < holding.since_ms {
            return;
        }
        let mut book = self.book();
        let heard = book.heard.entry(cosigned.department.clone()).or_insert(Heard { size, at_ms: now_ms });
        *heard = Heard { size: heard.size.max(size), at_ms: now_ms };
        let department = &cosigned.department;
        tracing::info!(%department, size, "told what it saw");
    }

    fn asks(&self, from: u64, now_ms: u64) -> Told {
        let mut book = self.book();
        if book.asked_ms.is_some_and(|asked_ms| now_ms < asked_ms.saturating_add(HANDING_OVER_MS)) {
            return Told::default();
        }
        book.asked_ms = Some(now_ms);
        Told { lacks_from: Some(from) }
    }

    /// Nodes of more than half of the departments told, and all of it is held.
    fn more_than_half_told(&self, held: u64) -> bool {
        let departments = self.departments();
        let book = self.book();
        let told = book.heard.values().filter(|heard| heard.size <= held).count();
        told == book.heard.len() && told * 2 > departments && departments > 0
    }

    fn wanted(&self) -> u64 {
        self.book().heard.values().map(|heard| heard.size).max().unwrap_or(0)
    }

    fn holds_log_key(&self) -> bool {
        let directory = self.parts.sequencer.directory();
        directory.log_key().is_some_and(|key| self.parts.log_keys.held(key).is_some())
    }

    async fn leave_if_whole(&self) -> Result<(), Error> {
        let Some(holding) = self.holding() else { return Ok(()) };
        let size = self.parts.ledger.position().await?.size;
        let never = matches!(holding.cause, Cause::Contradicted | Cause::Listening);
        if never || holding.wanted > size || !self.more_than_half_told(size) {
            return Ok(());
        }
        if !self.holds_log_key() {
            tracing::error!(
                "all statements are here, and the log's key in force is not: registry keys restore, then start again"
            );
            return Ok(());
        }
        let (told, of) = (self.book().heard.len(), self.departments());
        let detail = format!("nodes of {told} of {of} departments told what they saw, and all of it is held");
        self.leave(Event::new(self.parts.clock.now_ms(), What::ResumedByNodes, size, detail)).await
    }

    /// What was decided is kept before the mark goes. Of several who find that it may, one leaves.
    async fn leave(&self, event: Event) -> Result<(), Error> {
        let _turn = self.leaving.lock().await;
        if self.parts.ledger.mark().await?.is_none() {
            return Ok(());
        }
        self.events.append(&event)?;
        self.parts.ledger.set_mark(None).await?;
        tracing::warn!(size = event.size, detail = event.detail, "this registry goes on with its log");
        self.parts.again.cancel();
        Ok(())
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The departments that take part and have nodes.
pub(crate) fn departments_with_nodes(directory: &Directory, now_ms: u64) -> usize {
    let take_part = directory.departments().filter(|(id, department)| {
        department.suspended.is_none()
            && department.closed_at(now_ms).is_none()
            && directory.nodes_of(id).next().is_some()
    });
    take_part.count()
}

/// Opens a checkpoint with the key that the log had at its size, or has now.
fn verify(directory: &Directory, note: &SignedNote, size: u64) -> Option<VerifiedCheckpoint> {
    let keys = [directory.log_key_at(size), directory.log_key()];
    keys.into_iter().flatten().find_map(|key| open_with(directory, note, key))
}

fn open_with(directory: &Directory, note: &SignedNote, key: &PublicKey) -> Option<VerifiedCheckpoint> {
    let origin = directory::origin(directory.exchange()).parse().ok()?;
    open_note(note.clone(), &LogKey::new(origin, key.as_bytes()).ok()?).ok()
}

#[cfg(test)]
mod tests;
