//! The task that anchors: at intervals a checkpoint goes to the registry with the proof that it continues the last, and
//! when the directory has taken the second log, the proof for it comes back. Jittered, so that thousands of nodes do not
//! come at once; what fails is tried again at the next turn.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use host::{clock::Clock, random, random::Random, supervise::TaskError};
use proto::registry::v1::{
    AnchorHistoryRequest, AnchorRequest, LastAnchorRequest, ProveAnchorRequest, anchor_response::Outcome,
    anchors_client::AnchorsClient,
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use trust::{
    anchor,
    evidence::LogOf,
    log::{
        checkpoint::{self, LogKey},
        hash::{Hash, leaf_hash},
        proof::verify_inclusion,
    },
    refusal::Code,
};

use super::{AnchorBook, Anchored, Error, book};
use crate::{
    history::Standing,
    journal::{self, CheckpointError, Journal, JournalError},
    keys::{NodeSigner, with_key},
    view::{RegistryLink, View},
};

/// How long the registry may take for one answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// After a turn that failed: sooner than the interval, so that a short outage does not cost an hour.
const TRY_AGAIN: Duration = Duration::from_secs(60);

/// Anchors this node's evidence.
pub struct Anchorer {
    /// The evidence log that is kept now.
    pub evidence: LogOf,
    /// The log.
    pub journal: Arc<dyn Journal>,
    /// The node's key.
    pub signer: Arc<dyn NodeSigner>,
    /// What was anchored.
    pub book: Arc<AnchorBook>,
    /// The directory.
    pub view: Arc<View>,
    /// The registry.
    pub link: Arc<RegistryLink>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// For jitter.
    pub random: Arc<dyn Random>,
    /// How often.
    pub interval: Duration,
    /// Whether the log may go on.
    pub standing: Arc<Standing>,
    /// What went wrong in the last turn, for `doctor` and `status`.
    pub trouble: Mutex<Option<Trouble>>,
}

/// What went wrong in the last turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// In words.
    pub what: String,
    /// Whether the registry or the evidence itself objects: then trying again does not help.
    pub is_lasting: bool,
}

impl Trouble {
    fn of(error: &Error) -> Self {
        let is_lasting = match error {
            Error::Behind { .. }
            | Error::Journal(JournalError::Held { .. })
            | Error::Checkpoint(CheckpointError::Held(_)) => true,
            Error::Refused(refusal) => refusal.code != Code::Overloaded.as_str(),
            _ => false,
        };
        Self { what: error.to_string(), is_lasting }
    }
}

impl Anchorer {
    /// That the evidence contains what this node's own record says was anchored last.
    ///
    /// # Errors
    ///
    /// [`Error::Behind`], or the evidence cannot be read.
    pub fn check_own(&self) -> Result<(), Error> {
        match self.book.last(&self.evidence) {
            Some(last) => self.check_contains(last.size, &last.root),
            None => Ok(()),
        }
    }

    fn check_contains(&self, size: u64, root: &Hash) -> Result<(), Error> {
        let here = self.journal.size();
        if here < size || self.journal.root_at(size)? != *root {
            return Err(Error::Behind { anchored: size, here });
        }
        Ok(())
    }

    /// Anchors at intervals until `stop`.
    ///
    /// # Errors
    ///
    /// Never: what goes wrong is kept for `doctor`, and tried again.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) -> Result<(), TaskError> {
        // The first turn comes soon, so that a restart does not put anchoring off by an interval.
        let mut pause = self.jittered(self.interval.min(TRY_AGAIN) / 8);
        let mut sizes = self.view.sizes();
        loop {
            let turn = tokio::time::sleep(pause);
            tokio::pin!(turn);
            loop {
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    () = &mut turn => break,
                    // The directory may have taken the second log.
                    changed = sizes.changed() => {
                        if changed.is_ok() && let Err(error) = self.prove_pending().await {
                            tracing::debug!(%error, "no proof of an anchor yet");
                        }
                    }
                }
            }
            let outcome = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                outcome = self.turn() => outcome,
            };
            pause = match &outcome {
                Ok(()) => self.jittered(self.interval),
                Err(error) => {
                    tracing::warn!(%error, "the evidence was not anchored");
                    self.jittered(self.interval.min(TRY_AGAIN))
                }
            };
        }
    }

    /// Anchors now what is new, and asks for the proofs that are missing.
    ///
    /// # Errors
    ///
    /// What went wrong.
    pub async fn turn(&self) -> Result<(), Error> {
        let outcome = match self.anchor().await {
            Ok(()) => self.prove_pending().await,
            failed => failed,
        };
        let trouble = outcome.as_ref().err().map(Trouble::of);
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
        outcome
    }

    /// What went wrong in the last turn; `None` where nothing did, or there was none yet.
    pub fn trouble(&self) -> Option<Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the registry has as this log's last anchor; `None` where there is none.
    ///
    /// # Errors
    ///
    /// The registry cannot be reached, or its answer cannot be read.
    pub async fn last_at_registry(&self) -> Result<Option<Anchored>, Error> {
        let request = LastAnchorRequest { origin: self.evidence.to_string() };
        let last = answered(timeout(PATIENCE, self.client()?.last(request)).await)?.last;
        let read = |last: proto::registry::v1::AnchoredCheckpoint| {
            book::read(last.log, last.index, last.checkpoint)
                .filter(|last| last.evidence == self.evidence)
                .ok_or_else(|| Error::Answer("what it has as the last anchor is another log's".to_owned()))
        };
        last.map(read).transpose()
    }

    /// That the evidence contains what the registry has as its last anchor.
    ///
    /// # Errors
    ///
    /// [`Error::Behind`], or the registry cannot be reached.
    pub async fn compare_with_registry(&self) -> Result<(), Error> {
        self.contained_at_registry().await.map(drop)
    }

    async fn contained_at_registry(&self) -> Result<Option<Anchored>, Error> {
        let known = self.last_at_registry().await?;
        if let Some(last) = &known {
            if !self.is_ours(&last.checkpoint) {
                return Err(Error::Answer("what it has as the last anchor is not signed by this node".to_owned()));
            }
            self.check_contains(last.size, &last.root)?;
        }
        Ok(known)
    }

    /// Whether this node signed a checkpoint: with a key that is here, or with one that the directory knows.
    fn is_ours(&self, note: &str) -> bool {
        let origin = self.evidence.to_string();
        let mut ours = false;
        self.signer.each(&mut |key| {
            let key = origin.parse().ok().and_then(|name| LogKey::new(name, key.public_key().as_bytes()).ok());
            ours |= key.is_some_and(|key| checkpoint::open(note.as_bytes(), &key).is_ok());
        });
        ours || anchor::read(self.view.seen().directory(), note.as_bytes(), anchor::Revoked::Taken).is_ok()
    }

    /// Size and root of every anchored checkpoint of a log of this node, as the registry has them.
    ///
    /// # Errors
    ///
    /// The registry cannot be reached.
    pub async fn history(&self, request: AnchorHistoryRequest) -> Result<Vec<(u64, Hash)>, Error> {
        let mut stream = answered(timeout(PATIENCE, self.client()?.history(request)).await)?;
        let mut history = Vec::new();
        loop {
            let next = timeout(PATIENCE, stream.message()).await;
            let next = next.map_err(|_| Error::Unreachable("it did not answer in time".to_owned()))?;
            let Some(entry) = next.map_err(|status| Error::Unreachable(status.message().to_owned()))? else { break };
            if self.is_ours(&entry.checkpoint) {
                let read = book::read(entry.log, entry.index, entry.checkpoint);
                history.extend(read.map(|anchored| (anchored.size, anchored.root)));
            }
        }
        Ok(history)
    }

    async fn anchor(&self) -> Result<(), Error> {
        self.journal.check_open()?;
        let compared = match self.check_own() {
            Ok(()) => self.contained_at_registry().await,
            Err(error) => Err(error),
        };
        let known = match compared {
            Err(error @ Error::Behind { anchored, .. }) => {
                self.standing.lost(anchored, &error.to_string());
                return Err(error);
            }
            compared => compared?,
        };
        let before = known.as_ref().map_or(0, |last| last.size);
        if self.journal.size() <= before || self.view.check_usable(self.clock.now_ms()).is_err() {
            return Ok(());
        }
        let origin = self.evidence.to_string();
        let head = with_key(self.signer.as_ref(), |key| {
            journal::checkpoint(self.journal.as_ref(), &origin, key, self.clock.now_ms())
        })?;
        let proof = self.journal.consistency(before, head.size)?;
        let request = AnchorRequest {
            checkpoint: head.note,
            consistency: proof.iter().map(|hash| hash.as_bytes().to_vec()).collect(),
        };
        let response = answered(timeout(PATIENCE, self.client()?.anchor(request)).await)?;
        match response.outcome {
            Some(Outcome::Anchored(entry)) => {
                let read = book::read(entry.log, entry.index, entry.checkpoint.clone());
                if read.is_none_or(|anchored| (anchored.size, anchored.root) != (head.size, head.root)) {
                    return Err(Error::Answer("it anchored another checkpoint than was sent".to_owned()));
                }
                tracing::info!(entries = head.size, index = entry.index, "evidence anchored");
                self.book.keep_anchored(entry.log, entry.index, entry.checkpoint)
            }
            Some(Outcome::Refused(refusal)) => Err(Error::Refused(refusal)),
            None => Err(Error::Answer("it is empty".to_owned())),
        }
    }

    /// Asks for the proofs of anchors that the directory has taken since.
    async fn prove_pending(&self) -> Result<(), Error> {
        let Some(taken) = self.view.seen().directory().anchors().cloned() else { return Ok(()) };
        for anchored in self.book.unproved() {
            if anchored.log != taken.log || anchored.index >= taken.size {
                continue;
            }
            let request = ProveAnchorRequest { log: anchored.log, index: anchored.index, size: taken.size };
            let response = answered(timeout(PATIENCE, self.client()?.prove(request)).await)?;
            let path: Result<Vec<Hash>, _> =
                response.inclusion.iter().map(|hash| Hash::try_from(hash.as_slice())).collect();
            let path = path.map_err(|error| Error::Answer(error.to_string()))?;
            let leaf = leaf_hash(anchored.checkpoint.as_bytes());
            verify_inclusion(&leaf, anchored.index, taken.size, &path, &taken.root)
                .map_err(|error| Error::Answer(format!("what was anchored is not in the second log: {error}")))?;
            self.book.keep_proved(&anchored, taken.place.index, &path)?;
        }
        Ok(())
    }

    fn client(&self) -> Result<AnchorsClient<Channel>, Error> {
        self.link.anchors(Some(&self.view)).map_err(|error| Error::Unreachable(error.to_string()))
    }

    /// Between half and one and a half of the time.
    fn jittered(&self, whole: Duration) -> Duration {
        let micros = u64::try_from(whole.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(micros / 2 + random::below(self.random.as_ref(), micros.max(1)))
    }
}

fn answered<T>(
    answer: Result<Result<tonic::Response<T>, tonic::Status>, tokio::time::error::Elapsed>,
) -> Result<T, Error> {
    match answer {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(Error::Unreachable(status.message().to_owned())),
        Err(_) => Err(Error::Unreachable(format!("it did not answer within {} s", PATIENCE.as_secs()))),
    }
}

impl std::fmt::Debug for Anchorer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Anchorer").field("evidence", &self.evidence).finish_non_exhaustive()
    }
}
