//! Asks the nodes themselves: each shows that every checkpoint it anchored continues the one before. Who cannot be reached
//! is named, and is no contradiction.

use std::{sync::Arc, time::Duration};

use host::{
    edge::ChannelLimits,
    tls::{ConnectorOptions, PeerConnector, TlsIdentity, TlsKeyDigest},
};
use proto::exchange::v1::{ConsistencyRequest, custody_client::CustodyClient};
use trust::{
    anchor,
    directory::model::Node,
    evidence::LogOf,
    log::{hash::Hash, proof::verify_consistency},
};

use super::{Anchors, Verified};

/// How many proofs are asked for at once.
const AT_ONCE: usize = 256;

/// How long a node may take for them.
const PATIENCE: Duration = Duration::from_secs(20);

/// What asking the nodes came to.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// How many evidence logs were shown to continue from each anchor to the next.
    pub shown: u64,
    /// The logs whose nodes could not be asked, and why.
    pub unreachable: Vec<(String, String)>,
    /// The logs that contradict what was anchored, and how.
    pub contradictions: Vec<(String, String)>,
}

impl Anchors {
    /// Asks every node whose log has more than one anchor for the proofs between them.
    pub async fn ask_nodes(&self, verified: &Verified, identity: &Arc<TlsIdentity>) -> Asked {
        let mut asked = Asked::default();
        let mut origins: Vec<(String, Vec<(u64, Hash)>)> =
            verified.logs.iter().map(|(origin, history)| (origin.clone(), self.to_be_shown(origin, history))).collect();
        origins.retain(|(_, history)| history.len() > 1);
        origins.sort();
        for (origin, history) in &origins {
            let node = self.node_of(origin);
            let outcome = match node {
                Some(node) => ask(&node, origin, history, identity).await,
                None => Err(Outcome::Unreachable("the directory has no such node any more".to_owned())),
            };
            match outcome {
                Ok(()) => asked.shown += 1,
                Err(Outcome::Unreachable(why)) => asked.unreachable.push((origin.clone(), why)),
                Err(Outcome::Contradicts(what)) => asked.contradictions.push((origin.clone(), what)),
            }
        }
        asked
    }

    /// Without what a closed log lost, as its owner said.
    fn to_be_shown(&self, origin: &str, history: &[(u64, Hash)]) -> Vec<(u64, Hash)> {
        let directory = self.parts.sequencer.directory();
        let log: Option<LogOf> = origin.parse().ok();
        anchor::to_be_shown(history, log.and_then(|log| anchor::closed(&directory, &log)))
    }

    fn node_of(&self, origin: &str) -> Option<Node> {
        let log: LogOf = origin.parse().ok()?;
        let directory = self.parts.sequencer.directory();
        directory.nodes_of(log.party.department()).find(|node| node.node == log.node).cloned()
    }
}

enum Outcome {
    Unreachable(String),
    Contradicts(String),
}

async fn ask(node: &Node, origin: &str, history: &[(u64, Hash)], identity: &Arc<TlsIdentity>) -> Result<(), Outcome> {
    let unreachable = |why: String| Outcome::Unreachable(why);
    let key = TlsKeyDigest::from_bytes(node.tls_key);
    let options = ConnectorOptions { attempt_timeout: Duration::from_secs(3) };
    let connector = PeerConnector::new(node.addresses.iter().cloned(), [key], Some(identity.as_ref()), options)
        .map_err(|error| unreachable(error.to_string()))?;
    let mut client = CustodyClient::new(connector.channel(&ChannelLimits::default()));
    // Neighbouring windows share their edge.
    let mut start = 0;
    while start + 1 < history.len() {
        let window = &history[start..history.len().min(start + AT_ONCE)];
        let sizes = window.iter().map(|(size, _)| *size).collect();
        let request = ConsistencyRequest { origin: origin.to_owned(), sizes };
        let proofs = match tokio::time::timeout(PATIENCE, client.consistency(request)).await {
            Ok(Ok(response)) => response.into_inner().proofs,
            // It says itself that it does not have what it signed for.
            Ok(Err(status)) if status.code() == tonic::Code::OutOfRange => {
                return Err(Outcome::Contradicts(status.message().to_owned()));
            }
            Ok(Err(status)) => return Err(unreachable(status.message().to_owned())),
            Err(_) => return Err(unreachable("it did not answer in time".to_owned())),
        };
        check(window, &proofs)?;
        start += window.len() - 1;
    }
    Ok(())
}

fn check(window: &[(u64, Hash)], proofs: &[proto::exchange::v1::ConsistencyProof]) -> Result<(), Outcome> {
    if proofs.len() + 1 != window.len() {
        return Err(Outcome::Contradicts("it gave another number of proofs than was asked for".to_owned()));
    }
    for (pair, proof) in window.windows(2).zip(proofs) {
        let ((old, old_root), (new, new_root)) = (pair[0], pair[1]);
        let hashes: Result<Vec<Hash>, _> = proof.hashes.iter().map(|hash| Hash::try_from(hash.as_slice())).collect();
        let shown = hashes.map_err(|error| error.to_string()).and_then(|hashes| {
            verify_consistency(old, new, &old_root, &new_root, &hashes).map_err(|error| error.to_string())
        });
        shown.map_err(|error| {
            Outcome::Contradicts(format!("its {new} entries do not begin with the {old} anchored before: {error}"))
        })?;
    }
    Ok(())
}
