//! Holding back: while the ledger is marked nothing is accepted and nothing is signed, not even the same checkpoint with a
//! newer time, which would make an older story look fresh. Reads go on, with the last checkpoint that was signed.
//!
//! A registry that has just started listens for a moment: what is submitted waits, and a node that knows more has it held
//! back before it signs. Out of scope: what must be known to go on (`recovery`).

use tokio::{sync::oneshot, time::Instant};
use trust::refusal::{Code, Refusal};

use super::{Error, Head, REPLAY_CHUNK, Sequencer, SequencerTask, Stopped, committing::LogAsk};
use crate::{
    ledger::Append,
    recovery::{Cause, Mark, import::Brought},
};

/// When to try again, milliseconds: nodes look for their registry more often than that.
const AGAIN_MS: u64 = 30_000;

/// That the registry holds back, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holding {
    /// Since when, Unix milliseconds.
    pub since_ms: u64,
    /// Why.
    pub cause: Cause,
    /// How many statements the log is known to have signed for; 0 where nothing is known.
    pub wanted: u64,
}

impl Holding {
    /// For the wire, by a registry that holds `size` statements.
    pub fn to_wire(self, size: u64) -> proto::registry::v1::CatchingUp {
        proto::registry::v1::CatchingUp {
            since_ms: self.since_ms,
            cause: self.cause.as_str().to_owned(),
            size,
            wanted: self.wanted,
        }
    }
}

/// What the task does about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// It signs.
    No,
    /// It waits for a moment.
    Listening {
        /// Until then at most.
        until: Instant,
    },
    /// It signs nothing.
    Held,
}

impl Sequencer {
    /// Whether nothing is signed now, and why.
    pub fn holding(&self) -> Option<Holding> {
        *self.shared.holding.borrow()
    }

    /// What whoever submits is told, where statements are not accepted now.
    pub fn held_back(&self) -> Option<Refusal> {
        let holding = self.holding().filter(|holding| holding.cause != Cause::Listening)?;
        Some(refusal(holding, self.shared.clock.now_ms()))
    }

    /// Waits until nothing is held back.
    pub async fn signing(&self) {
        // Never an error: `self` holds the sender.
        let _ = self.shared.holding.subscribe().wait_for(Option::is_none).await;
    }

    /// Holds back from now on. Nothing is signed after this returns.
    pub async fn hold(&self, mark: Mark) -> Result<(), Stopped> {
        self.ask(|done| LogAsk::Hold(mark, done)).await
    }

    /// Enough was heard: a registry that listens begins to sign.
    pub async fn listened(&self) -> Result<(), Stopped> {
        self.ask(LogAsk::Listened).await
    }

    /// Takes statements that came back; how many there are now.
    pub async fn import(&self, brought: Brought) -> Result<Result<u64, Refusal>, Stopped> {
        self.ask(|done| LogAsk::Import(Box::new(brought), done)).await
    }

    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> LogAsk) -> Result<T, Stopped> {
        let (asked, done) = oneshot::channel();
        self.asks.send(ask(asked)).await.map_err(|_| Stopped::Ending)?;
        done.await.map_err(|_| Stopped::Ending)
    }
}

/// Why a statement is not accepted.
fn refusal(holding: Holding, now_ms: u64) -> Refusal {
    let why = match holding.cause {
        Cause::Contradicted => "its log's key has signed another history",
        _ if holding.wanted > 0 => "it waits for statements that its nodes hold",
        _ => "it waits for its nodes to tell what they saw",
    };
    Refusal::new(Code::RegistryCatchingUp).because(why).retry_at(now_ms.saturating_add(AGAIN_MS))
}

impl SequencerTask {
    /// Whether nothing may be signed now.
    pub(super) fn holds_back(&self) -> bool {
        self.hold != Hold::No
    }

    /// What to tell whoever submitted, where statements are not accepted.
    pub(super) fn held_back(&self) -> Option<Refusal> {
        let holding = (*self.shared.holding.borrow()).filter(|_| self.hold == Hold::Held)?;
        Some(refusal(holding, self.clock.now_ms()))
    }

    /// Whether another process over this ledger has marked it; then this one holds back as well.
    pub(super) async fn look_at_the_mark(&mut self) -> Result<bool, Error> {
        if self.hold == Hold::Held {
            return Ok(true);
        }
        match self.ledger.mark().await? {
            Some(mark) => {
                self.hold_back(Mark::read(&mark));
                Ok(true)
            }
            None => Ok(false),
        }
    }

    fn hold_back(&mut self, mark: Mark) {
        let Mark { since_ms, cause, wanted } = mark;
        self.hold = Hold::Held;
        self.shared.holding.send_replace(Some(Holding { since_ms, cause, wanted }));
        self.shared.tell_again();
    }

    /// Marks the ledger.
    pub(super) async fn hold_for(&mut self, mark: Mark) -> Result<(), Error> {
        // First here: whatever becomes of the store, this process signs nothing more.
        self.hold_back(mark);
        Ok(self.ledger.set_mark(Some(mark.to_text())).await?)
    }

    /// The last checkpoint is shown again, as it is; who watches hears that this registry is there.
    pub(super) async fn wait_on(&mut self) -> Result<(), Error> {
        match self.hold {
            Hold::Held if self.ledger.mark().await?.is_none() => {
                tracing::info!("the log goes on, as another registry over this ledger has found");
                self.again.cancel();
            }
            Hold::Listening { until } if Instant::now() >= until => {
                tracing::warn!(
                    "no more than half of the departments' nodes told what they saw; this registry signs all the same"
                );
                return self.stop_listening().await;
            }
            Hold::Listening { until } => self.renewal = self.renewal.min(until),
            _ => {}
        }
        self.shared.tell_again();
        Ok(())
    }

    /// Signs from now on.
    pub(super) async fn stop_listening(&mut self) -> Result<(), Error> {
        if !matches!(self.hold, Hold::Listening { .. }) {
            return Ok(());
        }
        if self.look_at_the_mark().await? {
            return Ok(());
        }
        self.hold = Hold::No;
        self.shared.holding.send_replace(None);
        self.replace_log_key().await?;
        self.renew_now().await
    }

    /// Takes statements that came back.
    pub(super) async fn import(&mut self, brought: Brought) -> Result<Result<u64, Refusal>, Error> {
        if self.hold != Hold::Held {
            return Ok(Err(Refusal::new(Code::StatementRefused).because("this registry lacks nothing")));
        }
        let _turn = self.ledger.turn().await?;
        self.catch_up().await?;
        let Brought { base_size, base_root, entries, directory, head } = brought;
        let here = (self.shared.directory().size(), self.shared.directory().root());
        if here != (base_size, base_root) {
            let detail = "others brought statements in the meantime";
            return Ok(Err(Refusal::new(Code::Overloaded).because(detail).retry_at(self.clock.now_ms())));
        }
        let mut size = base_size;
        for chunk in entries.chunks(REPLAY_CHUNK) {
            match self.ledger.append(size, chunk.to_vec()).await? {
                Append::Appended { size: now, .. } => size = now,
                Append::Moved { size } => return Err(Error::RootsDiffer { size }),
            }
        }
        let position = self.ledger.position().await?;
        if (position.size, position.root) != (directory.size(), directory.root()) {
            return Err(Error::RootsDiffer { size: position.size });
        }
        *self.shared.directory_to_change() = directory;
        let (covered, time_seconds, note) = (head.size, head.time_seconds, head.note.clone());
        // Where a later word about less was signed, this one is not shown: a time would go back.
        if self.ledger.keep_checkpoint(head).await? == crate::ledger::Keep::Kept {
            self.last_time_seconds = self.last_time_seconds.max(time_seconds);
            self.shared.head.send_replace(Head { size: covered, checkpoint: note.into() });
        }
        Ok(Ok(size))
    }
}
