//! Comparing directories with another department's node, once either has found that they differ: both exchange what the
//! log's key signed for them, with the proof that it begins with the root they know. Where the two contradict each other,
//! both nodes hold, from then on, what convinces everybody that the registry told two stories.
//!
//! Out of scope: noticing that they differ (`ask`, `answer`), and what is done about it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use host::{clock::Clock, supervise::TaskError};
use proto::exchange::v1 as wire;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use trust::{
    directory::model::Node,
    ids::DepartmentId,
    log::{
        hash::Hash,
        note::MAX_NOTE_LENGTH,
        strand::{self, Strand},
    },
};

use crate::{
    peers::Peers,
    view::{self, Suspicion, View},
};

/// How long the other side may take: it reads its whole directory.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often one department may have directories compared, milliseconds: each time costs a pass over the directory.
const OFTENEST_MS: u64 = 5_000;

/// How often a suspicion is looked into, where nothing came of it.
const ATTEMPTS: u32 = 3;

/// The pause between two attempts: longer than [`OFTENEST_MS`].
const PAUSE: Duration = Duration::from_secs(6);

/// Why nothing was compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The other side's word cannot be read.
    #[error("what was sent to be compared cannot be read: {0}")]
    Malformed(&'static str),
    /// Too often, or too many at once.
    #[error("directories were compared a moment ago; try again later")]
    TooOften,
    /// What was sent does not verify.
    #[error("what was sent to be compared does not verify: {0}")]
    Unproved(#[from] strand::Error),
    /// The own directory cannot be read.
    #[error(transparent)]
    View(#[from] view::Error),
    /// The reading thread failed.
    #[error("reading the directory failed: {0}")]
    Reading(#[from] tokio::task::JoinError),
}

/// Compares this node's directory with others'.
pub struct Comparer {
    view: Arc<View>,
    peers: Arc<Peers>,
    clock: Arc<dyn Clock>,
    /// One at a time.
    turn: Semaphore,
    /// When whom was asked, and who asked, last: both sides often begin at once, and neither may stand in the other's way.
    last_ms: Mutex<HashMap<(Side, DepartmentId), u64>>,
}

/// Who began a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Side {
    Here,
    There,
}

impl Comparer {
    /// For this view and these peers.
    pub fn new(view: Arc<View>, peers: Arc<Peers>, clock: Arc<dyn Clock>) -> Self {
        Self { view, peers, clock, turn: Semaphore::new(1), last_ms: Mutex::default() }
    }

    /// Compares with whoever is suspected, until `stop`.
    pub async fn run(
        self: Arc<Self>,
        mut suspicions: mpsc::Receiver<Suspicion>,
        stop: CancellationToken,
    ) -> Result<(), TaskError> {
        loop {
            let suspicion = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                suspicion = suspicions.recv() => suspicion,
            };
            let Some(suspicion) = suspicion else {
                stop.cancelled().await;
                return Ok(());
            };
            let department = suspicion.department.clone();
            // The other side may be busy comparing with somebody else.
            for attempt in 1..=ATTEMPTS {
                match self.compare_with(&suspicion).await {
                    Ok(true) => break,
                    Ok(false) => tracing::info!(%department, "directories were compared; nothing proves two stories"),
                    Err(error) => tracing::warn!(%department, %error, "directories could not be compared"),
                }
                if attempt < ATTEMPTS && stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_none() {
                    return Ok(());
                }
            }
        }
    }

    /// Exchanges strands with the department's nodes until one contradicts ours; whether one did.
    async fn compare_with(&self, suspicion: &Suspicion) -> Result<bool, Error> {
        if !self.may(Side::Here, &suspicion.department) {
            return Err(Error::TooOften);
        }
        let nodes: Vec<Node> = self.view.seen().directory().nodes_of(&suspicion.department).cloned().collect();
        let other = format!("{}/{}", self.view.seen().directory().exchange(), suspicion.department);
        let mut size = suspicion.size;
        // Once more where the other side has seen less than the size we began with: then it can judge as well.
        for _ in 0..2 {
            let here = self.strand(size).await?;
            let answers = self.peers.compare(&nodes, &to_wire(&here), PATIENCE).await;
            let mut smaller = None;
            for answer in &answers {
                let told = from_wire(answer)?;
                let here =
                    if told.old_size == here.old_size { here.clone() } else { self.strand(told.old_size).await? };
                if self.judge(&other, &here, &told)? {
                    return Ok(true);
                }
                smaller = (told.old_size < size).then_some(told.old_size);
            }
            match smaller {
                Some(smaller) => size = smaller,
                None => break,
            }
        }
        Ok(false)
    }

    /// Answers another node that wants to compare.
    pub async fn answer(&self, other: &trust::ids::Party, theirs: &wire::Strand) -> Result<wire::Strand, Error> {
        if !self.may(Side::There, other.department()) {
            return Err(Error::TooOften);
        }
        let told = from_wire(theirs)?;
        let here = {
            let Ok(_turn) = self.turn.try_acquire() else { return Err(Error::TooOften) };
            self.strand(told.old_size).await?
        };
        if here.old_size == told.old_size {
            self.judge(&other.to_string(), &here, &told)?;
        }
        Ok(to_wire(&here))
    }

    /// Whether the other side's strand contradicts ours; if so, both are kept.
    fn judge(&self, other: &str, here: &Strand, told: &Strand) -> Result<bool, Error> {
        let Some(key) = self.view.trusted_log_key() else { return Ok(false) };
        let contradicts = here.contradicts(told, &key)?;
        if contradicts {
            self.view.find_fork(other, here, told, self.clock.now_ms());
        }
        Ok(contradicts)
    }

    async fn strand(&self, size: u64) -> Result<Strand, Error> {
        let view = Arc::clone(&self.view);
        Ok(tokio::task::spawn_blocking(move || view.strand(size)).await??)
    }

    fn may(&self, side: Side, department: &DepartmentId) -> bool {
        let now_ms = self.clock.now_ms();
        let mut last_ms = self.last_ms.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (side, department.clone());
        let known = last_ms.get(&key).copied();
        if known.is_some_and(|known| now_ms.saturating_sub(known) < OFTENEST_MS) {
            return false;
        }
        last_ms.insert(key, now_ms);
        true
    }
}

impl std::fmt::Debug for Comparer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Comparer").finish_non_exhaustive()
    }
}

fn to_wire(strand: &Strand) -> wire::Strand {
    wire::Strand {
        checkpoint: strand.checkpoint.clone(),
        size: strand.old_size,
        root: strand.old_root.as_bytes().to_vec(),
        consistency: strand.proof.iter().map(|hash| hash.as_bytes().to_vec()).collect(),
    }
}

fn from_wire(strand: &wire::Strand) -> Result<Strand, Error> {
    if strand.checkpoint.len() > MAX_NOTE_LENGTH || strand.consistency.len() > strand::MOST_HASHES {
        return Err(Error::Malformed("it is too long"));
    }
    let hash = |bytes: &Vec<u8>| Hash::try_from(bytes.as_slice()).map_err(|_| Error::Malformed("a hash has 32 bytes"));
    Ok(Strand {
        checkpoint: strand.checkpoint.clone(),
        old_size: strand.size,
        old_root: hash(&strand.root)?,
        proof: strand.consistency.iter().map(hash).collect::<Result<_, _>>()?,
    })
}

#[cfg(test)]
mod tests;
