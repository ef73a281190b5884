//! Whether another node rewrote its evidence: every checkpoint that it anchored is asked of the registry, and the node
//! itself has to show that each continues the one before. Whoever compares finds out; the registry alone cannot hide it,
//! because the directory takes the second log.

use std::time::Duration;

use proto::exchange::v1::ConsistencyRequest;
use proto::registry::v1::AnchorHistoryRequest;
use trust::{
    anchor::{self, Revoked},
    directory::model::Node,
    evidence::LogOf,
    log::{hash::Hash, proof::verify_consistency},
};

use super::Error;
use crate::{
    peers::Peers,
    view::{RegistryLink, View},
};

/// How many sizes one question has.
const AT_ONCE: usize = 256;

/// How long each side may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// How many checkpoints were anchored.
    pub anchors: u64,
    /// How many entries the last of them covers.
    pub entries: u64,
    /// How many entries were lost at least, as the statement says that closed the log.
    pub lost: u64,
    /// How many steps between them the node itself showed.
    pub shown: u64,
    /// Why the node could not be asked; `None` where it was.
    pub unreachable: Option<String>,
    /// What contradicts itself.
    pub contradictions: Vec<String>,
}

/// Compares everything that an evidence log's node anchored.
///
/// # Errors
///
/// The registry cannot be reached.
pub async fn check_history(
    evidence: &LogOf,
    node: Option<&Node>,
    view: &View,
    link: &RegistryLink,
    peers: &Peers,
) -> Result<Checked, Error> {
    let mut checked = Checked::default();
    let anchored = history(evidence, view, link, &mut checked).await?;
    let history = {
        let seen = view.seen();
        let closed = anchor::closed(seen.directory(), evidence);
        checked.lost = closed.map_or(0, |closed| closed.highest_seen.saturating_sub(closed.size));
        anchor::to_be_shown(&anchored, closed)
    };
    let Some(node) = node else {
        checked.unreachable = Some("the directory has no such node any more".to_owned());
        return Ok(checked);
    };
    let mut start = 0;
    while start + 1 < history.len() {
        let window = &history[start..history.len().min(start + AT_ONCE)];
        let request =
            ConsistencyRequest { origin: evidence.to_string(), sizes: window.iter().map(|(size, _)| *size).collect() };
        let proofs = match peers.consistency(node, request, PATIENCE).await {
            Ok(response) => response.proofs,
            Err(status) if status.code() == tonic::Code::OutOfRange => {
                checked.contradictions.push(format!("it does not have what it signed for: {}", status.message()));
                return Ok(checked);
            }
            Err(status) => {
                checked.unreachable = Some(status.message().to_owned());
                return Ok(checked);
            }
        };
        if proofs.len() + 1 != window.len() {
            checked.contradictions.push("it gave another number of proofs than was asked for".to_owned());
            return Ok(checked);
        }
        for (pair, proof) in window.windows(2).zip(&proofs) {
            let ((old, old_root), (new, new_root)) = (pair[0], pair[1]);
            let hashes: Result<Vec<Hash>, _> =
                proof.hashes.iter().map(|hash| Hash::try_from(hash.as_slice())).collect();
            let shown = hashes.is_ok_and(|hashes| verify_consistency(old, new, &old_root, &new_root, &hashes).is_ok());
            if shown {
                checked.shown += 1;
            } else {
                let what = format!("its {new} entries do not begin with the {old} that it anchored before");
                checked.contradictions.push(what);
            }
        }
        start += window.len() - 1;
    }
    Ok(checked)
}

/// Size and root of each anchored checkpoint, in order, each verified here.
async fn history(
    evidence: &LogOf,
    view: &View,
    link: &RegistryLink,
    checked: &mut Checked,
) -> Result<Vec<(u64, Hash)>, Error> {
    let unreachable = |why: String| Error::Unreachable(why);
    let mut client = link.anchors(Some(view)).map_err(|error| unreachable(error.to_string()))?;
    let request = AnchorHistoryRequest { origin: evidence.to_string(), start: 0 };
    let stream = client.history(request).await.map_err(|status| unreachable(status.message().to_owned()))?;
    let mut stream = stream.into_inner();
    let mut history: Vec<(u64, Hash)> = Vec::new();
    loop {
        let message = tokio::time::timeout(PATIENCE, stream.message()).await;
        let message = message.map_err(|_| unreachable("it did not answer in time".to_owned()))?;
        let Some(entry) = message.map_err(|status| unreachable(status.message().to_owned()))? else { break };
        checked.anchors += 1;
        let seen = view.seen();
        let read = anchor::read(seen.directory(), entry.checkpoint.as_bytes(), Revoked::Taken);
        let anchored = match read {
            Ok(anchored) if anchored.log == *evidence => anchored,
            Ok(anchored) => {
                checked.contradictions.push(format!("entry {} is of {}", entry.index, anchored.log));
                continue;
            }
            Err(error) => {
                checked.contradictions.push(format!("entry {}: {error}", entry.index));
                continue;
            }
        };
        let (size, root) = (anchored.size(), anchored.root());
        match history.last() {
            Some((before, _)) if size < *before => {
                checked.contradictions.push(format!("it goes back from {before} to {size} entries"));
            }
            Some((before, other)) if size == *before && root != *other => {
                checked.contradictions.push(format!("it has two roots at {size} entries"));
            }
            Some((before, _)) if size == *before => {}
            _ => history.push((size, root)),
        }
    }
    checked.entries = history.last().map_or(0, |(size, _)| *size);
    Ok(history)
}
