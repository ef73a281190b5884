//! Compares this node's evidence with what others saw of it, at the start and until it is done. Out of scope: what follows
//! from it (`Standing`).

use std::{
    collections::HashSet,
    ops::ControlFlow,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::join_all;
use host::{clock::Clock, supervise::TaskError};
use proto::exchange::v1::{HeldBatches, HeldRequest};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use trust::{
    directory::model::Node,
    ids::{Digest, NodeId, Party},
    key::{PublicKey, Signer},
    reading::moment,
};

use super::{Again, Error, Mark, Standing, Why, mark, ours, partners};
use crate::{
    anchors::{self, Anchorer},
    journal::{Journal, JournalError},
    keys::Keyring,
    logs::Logs,
    peers::Peers,
    publish::Publisher,
    view::View,
};

/// How long the registry, and everybody together, may take while the node starts.
const AT_START: Duration = Duration::from_secs(3);

/// The same later, when nobody waits.
const LATER: Duration = Duration::from_secs(60);

/// The pauses between attempts: the first, and the longest for a log that waits and for one that goes on.
const PAUSES: [Duration; 3] = [Duration::from_millis(500), Duration::from_secs(5), Duration::from_secs(60)];

/// So much before its last entry others are asked what they hold: records come in nearly the order of their times.
const DISORDER_MS: u64 = 600_000;

/// How many partners are asked while a node starts that was not restored.
const MOST_AT_START: usize = 16;

/// The name of the registry where it was not reached.
const REGISTRY: &str = "the registry";

/// Knows whether the log may go on.
pub struct Historian {
    /// The department.
    pub me: Party,
    /// The node.
    pub node: NodeId,
    /// The node's folder.
    pub dir: PathBuf,
    /// Its logs.
    pub logs: Arc<Logs>,
    /// Whether the current one may go on.
    pub standing: Arc<Standing>,
    /// What was anchored of it.
    pub anchorer: Arc<Anchorer>,
    /// The directory.
    pub view: Arc<View>,
    /// Other departments' nodes.
    pub peers: Arc<Peers>,
    /// The node's keys.
    pub keys: Arc<Keyring>,
    /// Makes the statement that closes a log.
    pub publisher: Arc<Publisher>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// When this process began, Unix milliseconds.
    pub started_ms: u64,
    /// Begins anew.
    pub again: Arc<Again>,
    /// That the folder was restored; `None` where it was not, or has been compared since.
    pub mark: Mutex<Option<Mark>>,
}

/// A partner's node with a message that it holds and this node lacks, or why it was not reached.
type Asked = (Node, Result<Option<ours::Ours>, String>);

/// What a comparison came to, where nothing is missing.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Compared {
    /// Who was not reached.
    pub(super) not_reached: Vec<String>,
}

impl Historian {
    /// Compares while the node starts, for a few seconds at most; a log that was restored waits until all of it is done.
    /// Whether it is done.
    pub async fn compare_at_start(&self) -> Result<bool, Error> {
        let marked = self.marked();
        if let Err(error) = self.anchorer.check_own() {
            self.note(error)?;
            return Ok(false);
        }
        let compared = self.compare(AT_START, marked).await?;
        let done = self.settle(compared, marked)?;
        if done && marked && self.standing.held().is_none() {
            Mark::remove(&self.dir)?;
            *self.locked() = None;
            tracing::info!(entries = self.logs.current.size(), "the restored evidence log goes on: nothing is missing");
        }
        Ok(done)
    }

    /// Goes on comparing until it is done, and begins anew where the log may go on or another one is to be kept.
    pub async fn run(self: Arc<Self>, mut done: bool, stop: CancellationToken) -> Result<(), TaskError> {
        let mut sizes = self.view.sizes();
        let mut pause = PAUSES[0];
        loop {
            sizes.borrow_and_update();
            if self.view.seen().directory().evidence_log(self.me.department(), &self.node) > self.logs.of.number {
                self.again.begin("the directory says that the evidence log was closed");
                stop.cancelled().await;
                return Ok(());
            }
            let turn = async {
                match done {
                    true => std::future::pending().await,
                    false => tokio::time::sleep(pause).await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                changed = sizes.changed() => { changed?; continue }
                () = turn => {}
            }
            let marked = self.marked();
            // A log that goes on meanwhile is compared with the registry first: without it there is no hurry.
            let compared = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                compared = self.compare(LATER, marked) => compared?,
            };
            done = self.settle(compared, marked)?;
            if done && marked && self.standing.held().is_some_and(|held| matches!(held.why, Why::Restored { .. })) {
                Mark::remove(&self.dir)?;
                self.again.begin("the restored evidence log was compared, and nothing is missing");
                stop.cancelled().await;
                return Ok(());
            }
            let longest = if marked { PAUSES[1] } else { PAUSES[2] };
            pause = (pause * 2).min(longest);
        }
    }

    /// An officer decides that a restored log goes on without everybody having been asked; who was not.
    ///
    /// # Errors
    ///
    /// It does not wait for that, or the decision cannot be kept.
    pub fn resume(&self, officer: &str, reason: &str) -> Result<Vec<String>, Error> {
        let held = self.standing.held().ok_or(Error::NotWaiting)?;
        let Why::Restored { not_compared } = &held.why else { return Err(Error::Lost) };
        let mark = self.locked().clone().ok_or(Error::NotWaiting)?;
        let decision = mark::Decision { at_ms: self.clock.now_ms(), officer, reason, mark: &mark, not_compared };
        mark::keep(&self.dir, &decision)?;
        Mark::remove(&self.dir)?;
        tracing::warn!(officer, ?not_compared, "an officer decided that the restored evidence log goes on");
        self.again.begin("an officer decided that the evidence log goes on");
        Ok(not_compared.clone())
    }

    /// Whether the folder was restored and its log not compared since. A mark about a log that was closed since says nothing.
    fn marked(&self) -> bool {
        self.locked().as_ref().is_some_and(|mark| mark.log == u32::MAX || mark.log == self.logs.of.number)
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Option<Mark>> {
        self.mark.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the comparison is done, and what follows from it.
    fn settle(&self, compared: Option<Compared>, marked: bool) -> Result<bool, Error> {
        let Some(compared) = compared else {
            // What is missing is known, and nothing else will come of asking.
            return Ok(true);
        };
        let registry_reached = !compared.not_reached.iter().any(|who| who == REGISTRY);
        if !marked {
            return Ok(registry_reached);
        }
        let done = compared.not_reached.is_empty();
        if !done {
            self.standing.restored(compared.not_reached);
        }
        Ok(done)
    }

    /// Compares with everybody within a time; `None` where entries are missing, which the standing says from then on.
    async fn compare(&self, limit: Duration, marked: bool) -> Result<Option<Compared>, Error> {
        let (registry, partners) = tokio::join!(
            timeout(limit, self.anchorer.compare_with_registry()),
            self.compare_with_partners(limit, marked)
        );
        let mut compared = Compared::default();
        match registry {
            Ok(Ok(())) => {}
            Ok(Err(error @ (anchors::Error::Unreachable(_) | anchors::Error::Answer(_)))) => {
                tracing::info!(%error, "the evidence was not compared with the registry");
                compared.not_reached.push(REGISTRY.to_owned());
            }
            Ok(Err(error)) => {
                self.note(error)?;
                return Ok(None);
            }
            Err(_) => compared.not_reached.push(REGISTRY.to_owned()),
        }
        for (node, outcome) in partners? {
            let name = format!("{}/{}", node.department, node.node);
            match outcome {
                Ok(None) => {}
                Ok(Some(missing)) => {
                    let found = format!(
                        "{name} holds a message of {}, signed by this node, that is not in its evidence log of {} entries",
                        moment(missing.at_ms),
                        self.logs.current.size()
                    );
                    self.standing.lost(self.logs.current.size() + 1, &found);
                    return Ok(None);
                }
                Err(why) => {
                    tracing::info!(node = name, why, "the evidence was not compared with a partner");
                    compared.not_reached.push(name);
                }
            }
        }
        Ok(Some(compared))
    }

    /// What a failed look at anchors says about the log.
    fn note(&self, error: anchors::Error) -> Result<(), Error> {
        match error {
            anchors::Error::Behind { anchored, .. } => {
                self.standing.lost(anchored, &error.to_string());
                Ok(())
            }
            error => Err(error.into()),
        }
    }

    async fn compare_with_partners(&self, limit: Duration, marked: bool) -> Result<Vec<Asked>, Error> {
        let mut nodes = partners(self.view.seen().directory(), self.me.department());
        let logs = Arc::clone(&self.logs);
        let (last_ms, known) = tokio::task::spawn_blocking(move || lately(&logs)).await??;
        let known = Mutex::new(known);
        // A node that never recorded anything has nothing to be compared with, unless it was restored.
        if last_ms == 0 && !marked {
            return Ok(Vec::new());
        }
        if !marked {
            nodes.truncate(MOST_AT_START);
        }
        let since_ms = last_ms.saturating_sub(DISORDER_MS).max(self.logs.closed_ms());
        let own: Vec<PublicKey> = [Some(self.keys.node()), self.keys.node_before()]
            .into_iter()
            .flatten()
            .map(|key| key.public_key().clone())
            .collect();
        let asked = nodes.into_iter().map(|node| {
            let (known, own) = (&known, &own);
            async move {
                let outcome = timeout(limit, self.missing_at(&node, since_ms, known, own)).await;
                (node, outcome.unwrap_or_else(|_| Err("it did not answer in time".to_owned())))
            }
        });
        Ok(join_all(asked).await)
    }

    /// A message that a partner's node holds, that this node signed after `since_ms`, and that is not in its evidence.
    async fn missing_at(
        &self,
        node: &Node,
        since_ms: u64,
        known: &Mutex<HashSet<Digest>>,
        own: &[PublicKey],
    ) -> Result<Option<ours::Ours>, String> {
        let told = |status: tonic::Status| status.message().to_owned();
        let mut custody = self.peers.custody(node).map_err(told)?;
        let since = since_ms.saturating_sub(DISORDER_MS);
        let request = HeldRequest { since_ms: since, until_ms: 0, batches: HeldBatches::Roots.into() };
        let mut stream = custody.held(request).await.map_err(told)?.into_inner();
        while let Some(held) = stream.message().await.map_err(told)? {
            let found = ours::open(self.view.seen().directory(), own, (&self.me, &self.node), &held);
            let Some(found) = found.filter(|found| found.at_ms > since_ms) else { continue };
            if !self.is_here(&found.digest, known).await? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Whether a message is in the evidence. The node may be at work: what another holds was durable here before it left, so
    /// whoever is not among those that were known is looked for again.
    async fn is_here(&self, digest: &Digest, known: &Mutex<HashSet<Digest>>) -> Result<bool, String> {
        let contains = || known.lock().unwrap_or_else(PoisonError::into_inner).contains(digest);
        if contains() {
            return Ok(true);
        }
        let logs = Arc::clone(&self.logs);
        let read = tokio::task::spawn_blocking(move || lately(&logs)).await.map_err(|error| error.to_string())?;
        let (_, now_known) = read.map_err(|error| error.to_string())?;
        known.lock().unwrap_or_else(PoisonError::into_inner).extend(now_known);
        Ok(contains())
    }
}

/// When the log's last entry was made, and which messages were recorded lately.
fn lately(logs: &Logs) -> Result<(u64, HashSet<Digest>), JournalError> {
    let (mut last_ms, mut known) = (0, HashSet::new());
    logs.current.newest(0, &mut |head| {
        last_ms = last_ms.max(head.at_ms);
        known.extend(head.digests);
        match head.at_ms < last_ms.saturating_sub(3 * DISORDER_MS) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    })?;
    Ok((last_ms, known))
}

impl std::fmt::Debug for Historian {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Historian").field("logs", &self.logs).finish_non_exhaustive()
    }
}
