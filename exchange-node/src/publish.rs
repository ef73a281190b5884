//! Making statements: what the department says in the directory about its keys, nodes, services and access. Each names
//! the statement before it about the same object, is signed with the department's key, and is submitted to the registry;
//! the node then waits until its own view has it. Out of scope: what is said (the operators' side decides).

use std::{sync::Arc, time::Duration};

use host::clock::Clock;
use prost::Message;
use proto::{
    exchange::v1 as exchange,
    registry::v1::{self as wire, SubmitRequest, statement::Body, submit_response::Outcome},
};
use trust::{
    directory::{Object, model::Node, statement},
    envelope,
    ids::{DepartmentId, Digest, ExchangeId, NodeId},
    key::{DescribedKey, KeyId, PublicKey, Role, Signer},
    refusal::Refusal,
};

use crate::{
    keys::Keyring,
    peers::Peers,
    view::{RegistryLink, View},
};

/// How long the registry may take, and then the own view.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a statement was not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The department's key is not here.
    #[error(
        "the department's key is not on this machine (keys/department.key): make the statement where it is, or bring the key for this once"
    )]
    KeyElsewhere,
    /// The statement is in the directory, and the own view has yet to get it.
    #[error("the statement is in the directory as number {index}, and has not arrived here within {} s; it counts all the same", PATIENCE.as_secs())]
    NotSeenYet {
        /// Its index.
        index: u64,
    },
    /// The registry refused it.
    #[error("{}: {}; {}", .0.code, .0.message, .0.next_step)]
    Refused(exchange::Refusal),
    /// The registry cannot be reached.
    #[error("the registry cannot be reached: {0}")]
    Unreachable(String),
}

/// A statement that is in the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// What it is about.
    pub object: String,
    /// Its index.
    pub index: u64,
    /// Its identity.
    pub digest: Digest,
}

/// Makes the department's statements.
pub struct Publisher {
    /// The exchange.
    pub exchange: ExchangeId,
    /// The department.
    pub department: DepartmentId,
    /// The node.
    pub node: NodeId,
    /// The keys.
    pub keys: Arc<Keyring>,
    /// The view that tells the predecessor.
    pub view: Arc<View>,
    /// The registry.
    pub link: Arc<RegistryLink>,
    /// Other nodes, for revocations.
    pub peers: Arc<Peers>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Publisher {
    /// Makes a statement about `object` and brings it into the directory. Where something else was said in the
    /// meantime, catches up and tries once more.
    pub async fn publish(&self, object: &Object, body: Body) -> Result<Published, Error> {
        let mut tried_before = false;
        loop {
            let (envelope, digest) = self.sign(object, body.clone())?;
            match self.submit(envelope).await? {
                Outcome::Accepted(accepted) => return self.seen_here(object, accepted.index, digest).await,
                Outcome::Refused(refusal) if refusal.code == OUTDATED && !tried_before => {
                    tried_before = true;
                    let _ = tokio::time::timeout(CATCH_UP, self.changed()).await;
                }
                Outcome::Refused(refusal) => return Err(Error::Refused(refusal)),
            }
        }
    }

    /// Brings an official decision about what was said last, `follows`, into the directory. Where something else was said
    /// in the meantime it is refused: nobody decided on that.
    pub async fn decide(
        &self,
        object: &Object,
        follows: Option<&Digest>,
        body: Body,
        decision: Option<wire::OfficialDecision>,
    ) -> Result<Published, Error> {
        let (envelope, digest) = self.sign_decision(object, follows, body, decision)?;
        match self.submit(envelope).await? {
            Outcome::Accepted(accepted) => self.seen_here(object, accepted.index, digest).await,
            Outcome::Refused(refusal) => Err(Error::Refused(refusal)),
        }
    }

    /// Whether a decision would be taken now, before anybody waits for a second officer. Without the department's key
    /// only the registry can tell.
    pub fn check_decision(
        &self,
        object: &Object,
        follows: Option<&Digest>,
        body: Body,
        decision: wire::OfficialDecision,
    ) -> Result<(), Refusal> {
        match self.sign_decision(object, follows, body, Some(decision)) {
            Ok((envelope, _)) => match self.view.seen().directory().check_envelope(&envelope) {
                Ok(_) => Ok(()),
                Err(error) => Err(error.refusal()),
            },
            Err(_) => Ok(()),
        }
    }

    fn sign_decision(
        &self,
        object: &Object,
        follows: Option<&Digest>,
        body: Body,
        decision: Option<wire::OfficialDecision>,
    ) -> Result<(exchange::Envelope, Digest), Error> {
        let signer = self.keys.department().ok_or(Error::KeyElsewhere)?;
        let mut statement = statement(&self.exchange, object, follows, self.clock.now_ms(), body);
        statement.decision = decision;
        Ok(envelope::seal(&statement, signer.as_ref()))
    }

    async fn seen_here(&self, object: &Object, index: u64, digest: Digest) -> Result<Published, Error> {
        let seen = tokio::time::timeout(PATIENCE, self.view.reached(index + 1)).await;
        seen.map_err(|_| Error::NotSeenYet { index })?;
        Ok(Published { object: object.to_string(), index, digest })
    }

    /// Revokes a key of this department: applied here, told to every peer, and brought into the directory. It counts on
    /// its own signature, so peers apply it even while the registry is away.
    pub async fn revoke_key(&self, key_id: &KeyId, reason: &str) -> Result<Published, Error> {
        let object = Object::Key(*key_id);
        let body = Body::KeyRevoked(wire::KeyRevoked {
            department: self.department.to_string(),
            key_id: key_id.to_string(),
            reason: reason.to_owned(),
        });
        let (envelope, _) = self.sign(&object, body.clone())?;
        let statement = envelope.encode_to_vec();
        if let Err(error) = self.view.apply_revocation(&statement).await {
            tracing::warn!(%error, "the revocation does not count here");
        }
        // The department's other nodes too.
        let own = |node: &Node| node.department == self.department && node.node == self.node;
        let nodes: Vec<Node> = self.view.seen().directory().scan_nodes().filter(|node| !own(node)).collect();
        // At once: who is not told by this node hears it from the registry.
        let telling = self.peers.tell(&nodes, &statement, CATCH_UP, PATIENCE);
        let (told, submitted) = tokio::join!(telling, self.submit(envelope));
        tracing::info!(told, peers = nodes.len(), "told peers of a revocation");
        match submitted? {
            Outcome::Accepted(accepted) => {
                let digest = trust::envelope::digest_of(&envelope_of(&statement))
                    .map_err(|_| Error::Unreachable("the registry accepted what cannot be read".to_owned()))?;
                Ok(Published { object: object.to_string(), index: accepted.index, digest })
            }
            Outcome::Refused(_) => self.publish(&object, body).await,
        }
    }

    /// Says which key this node signs with, where the directory does not know it yet.
    pub async fn ensure_node_key(&self, node: &NodeId) -> Result<Option<Published>, Error> {
        let public = self.keys.node().public_key().clone();
        if self.view.seen().directory().key(public.id()).is_some() {
            return Ok(None);
        }
        let body = node_key_added(&self.department, node, public.clone(), self.clock.now_ms());
        self.publish(&Object::Key(*public.id()), body).await.map(Some)
    }

    /// Says where this node answers, at which relays it can be called and by which TLS key, where the directory says
    /// otherwise. A node that is drained stays so.
    pub async fn ensure_node(&self, node: &NodeId, place: &NodePlace) -> Result<Option<Published>, Error> {
        let tls_key = *self.keys.tls().key_digest().as_bytes();
        let seen = self.view.seen();
        let known = seen.directory().nodes_of(&self.department).find(|known| known.node == *node);
        let object = Object::Node(self.department.clone(), node.clone());
        if known.is_none() && seen.directory().last(&object).is_some() {
            // It was removed, and does not come back by being started.
            tracing::warn!(%node, "this node was removed from the directory: `node invite` and `node add` bring it back");
            return Ok(None);
        }
        // While the key is renewed the directory names two, and this node shows one of them.
        let renewed = known.filter(|known| known.tls_keys().any(|key| *key == tls_key));
        if renewed.is_some_and(|known| known.addresses == place.addresses && known.relays == place.relays) {
            return Ok(None);
        }
        let (tls_key, next_tls_key) = renewed.map_or((tls_key, None), |known| (known.tls_key, known.next_tls_key));
        let place = NodePlace { draining: known.is_some_and(|known| known.draining), next_tls_key, ..place.clone() };
        drop(seen);
        let body = node_published(&self.department, node, &place, tls_key);
        self.publish(&object, body).await.map(Some)
    }

    /// A statement as it would be made now, for somebody else to sign.
    pub fn draft(&self, object: &Object, body: Body) -> wire::Statement {
        let seen = self.view.seen();
        let predecessor = seen.directory().last(object).map(|place| place.digest);
        statement(&self.exchange, object, predecessor.as_ref(), self.clock.now_ms(), body)
    }

    /// Brings a statement into the directory that was signed elsewhere, and waits until the own view has it.
    pub async fn bring_in(&self, object: &Object, envelope: exchange::Envelope) -> Result<Published, Error> {
        let digest = envelope::digest(&envelope.payload_type, &envelope.payload);
        match self.submit(envelope).await? {
            Outcome::Accepted(accepted) => {
                let seen = tokio::time::timeout(PATIENCE, self.view.reached(accepted.index + 1)).await;
                seen.map_err(|_| Error::NotSeenYet { index: accepted.index })?;
                Ok(Published { object: object.to_string(), index: accepted.index, digest })
            }
            Outcome::Refused(refusal) => Err(Error::Refused(refusal)),
        }
    }

    fn sign(&self, object: &Object, body: Body) -> Result<(exchange::Envelope, Digest), Error> {
        let signer = self.keys.department().ok_or(Error::KeyElsewhere)?;
        Ok(envelope::seal(&self.draft(object, body), signer.as_ref()))
    }

    async fn submit(&self, envelope: exchange::Envelope) -> Result<Outcome, Error> {
        let unreachable = |reason: String| Error::Unreachable(reason);
        let mut client = self.link.directory(Some(&self.view)).map_err(|error| unreachable(error.to_string()))?;
        let request = SubmitRequest { envelope: envelope.encode_to_vec() };
        let submitted = tokio::time::timeout(PATIENCE, client.submit(request)).await;
        let response = match submitted {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => {
                let why = self.link.probe(Some(&self.view)).await.err().map(|error| error.to_string());
                return Err(unreachable(why.unwrap_or_else(|| status.message().to_owned())));
            }
            Err(_) => return Err(unreachable(format!("it did not answer within {} s", PATIENCE.as_secs()))),
        };
        response.outcome.ok_or_else(|| unreachable("it answered nothing".to_owned()))
    }

    async fn changed(&self) {
        let mut sizes = self.view.sizes();
        sizes.mark_unchanged();
        // Never an error: the view holds the sender.
        let _ = sizes.changed().await;
    }
}

/// That a key is a node's, counting from a little earlier on than now, so that a peer whose clock is slow accepts it at
/// once.
pub fn node_key_added(department: &DepartmentId, node: &NodeId, key: PublicKey, now_ms: u64) -> Body {
    key_added(department, Role::Node, key, node.as_str(), now_ms)
}

/// That a key is the department's.
pub fn department_key_added(department: &DepartmentId, key: PublicKey, now_ms: u64) -> Body {
    key_added(department, Role::Department, key, "", now_ms)
}

fn key_added(department: &DepartmentId, role: Role, key: PublicKey, node: &str, now_ms: u64) -> Body {
    let valid_from_ms = now_ms.saturating_sub(VALID_BEFORE_MS);
    let key = DescribedKey { role, key, valid_from_ms, valid_until_ms: None };
    Body::KeyAdded(wire::KeyAdded {
        department: department.to_string(),
        key: Some(key.to_wire()),
        node: node.to_owned(),
    })
}

/// How a node is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodePlace {
    /// Where it answers, `host:port`.
    pub addresses: Vec<String>,
    /// Relays at which it can be called, `host:port`.
    pub relays: Vec<String>,
    /// Whether it takes no new questions.
    pub draining: bool,
    /// The TLS key that it will have next, where its keys are about to change.
    pub next_tls_key: Option<[u8; 32]>,
}

/// Where a node answers, and by which TLS key.
pub fn node_published(department: &DepartmentId, node: &NodeId, place: &NodePlace, tls_key: [u8; 32]) -> Body {
    Body::NodePublished(wire::NodePublished {
        department: department.to_string(),
        node: node.to_string(),
        addresses: place.addresses.clone(),
        tls_key: tls_key.to_vec(),
        oldest_wire_version: trust::directory::OLDEST_WIRE_VERSION,
        newest_wire_version: trust::directory::NEWEST_WIRE_VERSION,
        draining: place.draining,
        relays: place.relays.clone(),
        next_tls_key: place.next_tls_key.map(|key| key.to_vec()).unwrap_or_default(),
    })
}

fn envelope_of(statement: &[u8]) -> exchange::Signed {
    envelope::signed(exchange::Envelope::decode(statement).unwrap_or_default())
}

/// A new node key counts from a little earlier on, so that a peer whose clock is slow accepts it at once.
const VALID_BEFORE_MS: u64 = 120_000;

const OUTDATED: &str = "STATEMENT_OUTDATED";

/// How long to wait for the news that made a statement outdated, and for peers to be told.
const CATCH_UP: Duration = Duration::from_secs(3);

impl std::fmt::Debug for Publisher {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Publisher").field("department", &self.department).finish_non_exhaustive()
    }
}
