//! What the log itself says, signed with its own key: `state` statements, which commit to the last statement about every
//! object, and `anchors_taken` statements, which take the second log's checkpoint. They are sequenced like anybody's, so
//! the rules that every node applies are applied here too. Out of scope: what they mean (`trust::directory`), and the
//! second log itself (`anchors`).

use std::time::Duration;

use proto::registry::v1::{AnchorsTaken, statement::Body};
use tokio::sync::oneshot;
use trust::{
    anchor,
    directory::{Object, statement},
    key::Signer,
    log::{
        checkpoint::{self, Checkpoint, LogKey},
        hash::Hash,
    },
    refusal::{Code, Refusal},
};

use super::{Accepted, Error, Sequencer, SequencerTask, Stopped};
use crate::{
    authority::sealed,
    ledger,
    recovery::{Mark, import::Brought},
};

/// The second log, to be taken into the directory.
#[derive(Clone, Debug)]
pub struct AnchorsHead {
    /// Its number.
    pub log: u32,
    /// How many entries it has.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
    /// That it continues what was taken before.
    pub consistency: Vec<Hash>,
    /// For the first of a successor: why the log before it ended.
    pub reason: String,
}

/// Where an outcome goes.
type Outcome<T> = oneshot::Sender<T>;

/// What the log itself is to say.
pub(super) enum LogAsk {
    /// Commit to the state; how many statements are covered.
    Commit(Outcome<u64>),
    /// Hold back.
    Hold(Mark, Outcome<()>),
    /// Take statements that came back; how many there are now.
    Import(Box<Brought>, Outcome<Result<u64, Refusal>>),
    /// Enough was heard.
    Listened(Outcome<()>),
    /// Take the second log; the statement and the checkpoint in it.
    Take(AnchorsHead, Outcome<Result<(Accepted, String), Refusal>>),
}

/// With nothing new to commit to, how soon to look again at most.
const LOOK_AGAIN: Duration = Duration::from_secs(3600);

impl Sequencer {
    /// Has the log commit to the state now; the number of statements that the last commitment covers.
    pub async fn commit_to_state(&self) -> Result<u64, Stopped> {
        let (asked, covered) = oneshot::channel();
        self.asks.send(LogAsk::Commit(asked)).await.map_err(|_| Stopped::Ending)?;
        covered.await.map_err(|_| Stopped::Ending)
    }

    /// Has the directory take the second log as it stands; the statement, and the checkpoint that it holds.
    pub async fn take_anchors(&self, head: AnchorsHead) -> Result<Result<(Accepted, String), Refusal>, Stopped> {
        let (asked, taken) = oneshot::channel();
        self.asks.send(LogAsk::Take(head, asked)).await.map_err(|_| Stopped::Ending)?;
        taken.await.map_err(|_| Stopped::Ending)
    }
}

impl SequencerTask {
    /// How long to wait for the next commitment: none is due before something was said since the last.
    pub(super) fn until_commitment(&self) -> Duration {
        let directory = self.shared.directory();
        let (last_ms, committed) = match directory.committed() {
            Some(committed) => (committed.stated_at_ms(), committed.size() + 1),
            None => (self.started_ms, 0),
        };
        if directory.size() <= committed {
            return LOOK_AGAIN;
        }
        let interval_ms = u64::try_from(self.state_interval.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(last_ms.saturating_add(interval_ms).saturating_sub(self.clock.now_ms()))
    }

    pub(super) async fn say_as_asked(&mut self, ask: LogAsk) -> Result<(), Error> {
        // Whoever asked may have gone away; it was said all the same. Where the store is away, whoever asked hears nothing.
        let outcome = match ask {
            LogAsk::Commit(asked) => self.commit_to_state().await.map(|covered| {
                let _ = asked.send(covered);
            }),
            LogAsk::Hold(mark, asked) => self.hold_for(mark).await.map(|()| {
                let _ = asked.send(());
            }),
            LogAsk::Import(brought, asked) => self.import(*brought).await.map(|taken| drop(asked.send(taken))),
            LogAsk::Listened(asked) => self.stop_listening().await.map(|()| {
                let _ = asked.send(());
            }),
            LogAsk::Take(head, asked) => match self.take_anchors(head).await {
                Ok(taken) => {
                    let _ = asked.send(taken);
                    Ok(())
                }
                Err(away @ Error::Ledger(ledger::Error::Away { .. })) => {
                    // The second log is taken at the next interval; its owner goes on.
                    drop(asked.send(Err(Refusal::new(Code::Overloaded))));
                    Err(away)
                }
                Err(error) => Err(error),
            },
        };
        self.unless_away(outcome)
    }

    pub(super) async fn commit_when_due(&mut self) -> Result<(), Error> {
        let outcome = self.commit_to_state().await.map(drop);
        self.unless_away(outcome)
    }

    /// The statement is durable before the checkpoint in it is seen by anybody: this log too signs one history.
    async fn take_anchors(&mut self, head: AnchorsHead) -> Result<Result<(Accepted, String), Refusal>, Error> {
        if self.holds_back() {
            return Ok(Err(self.held_back().unwrap_or_else(|| Refusal::new(Code::Overloaded))));
        }
        let (entry, note) = {
            let directory = self.shared.directory();
            let origin = anchor::origin(directory.exchange(), head.log).parse()?;
            let signer = directory.log_key().and_then(|key| self.log_keys.held(key)).ok_or(Error::LogKeyWrong)?;
            let key = LogKey::new(origin, signer.public_key().as_bytes())?;
            let unsigned = Checkpoint::new(key.origin(), head.size, head.root)?;
            let now_ms = self.clock.now_ms();
            let note = checkpoint::sign(&unsigned, &key, now_ms / 1000, |message| signer.sign(message))?;
            let body = Body::AnchorsTaken(AnchorsTaken {
                checkpoint: note.clone(),
                consistency: head.consistency.iter().map(|hash| hash.as_bytes().to_vec()).collect(),
                reason: head.reason,
            });
            let predecessor = directory.last(&Object::Anchors).map(|place| place.digest);
            let statement = statement(directory.exchange(), &Object::Anchors, predecessor.as_ref(), now_ms, body);
            (sealed(&statement, signer.as_ref()), note)
        };
        Ok(self.take_one(entry).await?.map(|accepted| (accepted, note)))
    }

    /// Commits to the state, unless the last commitment covers everything; how many statements are covered.
    pub(super) async fn commit_to_state(&mut self) -> Result<u64, Error> {
        if self.holds_back() {
            return Ok(self.shared.directory().committed().map_or(0, |committed| committed.size()));
        }
        let entry = {
            let directory = self.shared.directory();
            if let Some(committed) = directory.committed().filter(|committed| committed.size() + 1 >= directory.size())
            {
                return Ok(committed.size());
            }
            let predecessor = directory.last(&Object::State).map(|place| place.digest);
            let body = Body::State(directory.commitment());
            let statement =
                statement(directory.exchange(), &Object::State, predecessor.as_ref(), self.clock.now_ms(), body);
            let key = directory.log_key().and_then(|key| self.log_keys.held(key)).ok_or(Error::LogKeyWrong)?;
            sealed(&statement, key.as_ref())
        };
        match self.take_one(entry).await? {
            Ok(accepted) => tracing::info!(index = accepted.index, "the log commits to its state"),
            // Another registry over the same ledger said something in the meantime: it comes with the next one.
            Err(refusal) => tracing::info!(code = %refusal.code, "the commitment to the state is outdated already"),
        }
        Ok(self.shared.directory().committed().map_or(0, |committed| committed.size()))
    }
}
