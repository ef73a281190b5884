//! Connections to other departments' nodes: up to four each, held to the TLS key of the node's statement, and made anew
//! when the statement changes. Out of scope: what is sent, and when it is tried again (`ask`).

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use host::{
    edge::ChannelLimits,
    tls::{ConnectorOptions, PeerConnector, SetupError, TlsIdentity, TlsKeyDigest},
};
use proto::exchange::v1::{self as wire, exchange_client::ExchangeClient};
use tokio::time::timeout;
use tonic::{Code, transport::Channel};
use trust::{
    directory::model::Node,
    ids::{DepartmentId, NodeId},
};

/// The connections of one peer: four saturate a provider of two cores; more would only cost memory.
const CONNECTIONS: usize = 4;

/// The largest answer that is read: an answer's own limit and the envelope around it.
pub const LARGEST_MESSAGE: usize = trust::answer::LARGEST_ANSWER + 16 * 1024;

/// Why no answer came. The text is the stable reason that stands in evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendFailure {
    /// The peer would not take the question, and trying again does not help: a bare status.
    Rejected,
    /// Nothing came in time.
    TimedOut,
    /// No connection, or it broke, or the peer takes nothing for the moment.
    Unreachable,
}

impl SendFailure {
    /// The stable reason.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::TimedOut => "timed_out",
            Self::Unreachable => "unreachable",
        }
    }
}

/// Connections to all peers.
pub struct Peers {
    identity: Arc<TlsIdentity>,
    peers: Mutex<HashMap<(DepartmentId, NodeId), Arc<Peer>>>,
}

struct Peer {
    /// The statement's content that these connections were made for.
    node: Node,
    connections: Vec<Connection>,
}

struct Connection {
    client: ExchangeClient<Channel>,
    in_flight: AtomicUsize,
}

impl Peers {
    /// Connections that show this node's TLS key.
    pub fn new(identity: Arc<TlsIdentity>) -> Self {
        Self { identity, peers: Mutex::new(HashMap::new()) }
    }

    /// Sends a question to one of the department's nodes, each in turn until one answers or `limit` is over.
    pub async fn verify(
        &self,
        nodes: &[Node],
        request: &wire::Signed,
        limit: Duration,
    ) -> Result<wire::Signed, SendFailure> {
        let deadline = tokio::time::Instant::now() + limit;
        let mut failure = SendFailure::Unreachable;
        for node in nodes {
            let Ok(peer) = self.peer(node) else { continue };
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            let (connection, _guard) = peer.least_busy();
            let mut client = connection.client.clone();
            let message = wire::VerifyRequest { request: Some(request.clone()) };
            let status = match timeout(left, client.verify(message)).await {
                Ok(Ok(response)) => match response.into_inner().answer {
                    Some(answer) => return Ok(answer),
                    None => return Err(SendFailure::Rejected),
                },
                Ok(Err(status)) => status,
                Err(_) => return Err(SendFailure::TimedOut),
            };
            tracing::debug!(department = %node.department, node = %node.node, code = ?status.code(), "a peer gave a bare status");
            failure = match status.code() {
                Code::InvalidArgument | Code::PermissionDenied | Code::Unauthenticated | Code::OutOfRange => {
                    SendFailure::Rejected
                }
                Code::DeadlineExceeded | Code::Cancelled => SendFailure::TimedOut,
                _ => SendFailure::Unreachable,
            };
        }
        Err(failure)
    }

    /// Tells a statement that should not wait for the directory to every node given. Who is not reached learns it from
    /// the directory.
    pub async fn tell(&self, nodes: &[Node], statement: &[u8], limit: Duration) -> usize {
        let told = nodes.iter().map(|node| async move {
            let peer = self.peer(node).ok()?;
            let (connection, _guard) = peer.least_busy();
            let mut client = connection.client.clone();
            let message = wire::TellRequest { statement: statement.to_vec() };
            timeout(limit, client.tell(message)).await.ok()?.ok()
        });
        futures_util::future::join_all(told).await.into_iter().flatten().count()
    }

    fn peer(&self, node: &Node) -> Result<Arc<Peer>, SetupError> {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (node.department.clone(), node.node.clone());
        if let Some(peer) = peers.get(&key).filter(|peer| peer.node == *node) {
            return Ok(Arc::clone(peer));
        }
        let options = ConnectorOptions { attempt_timeout: Duration::from_secs(2) };
        let connections = (0..CONNECTIONS)
            .map(|_| {
                let key = TlsKeyDigest::from_bytes(node.tls_key);
                let connector =
                    PeerConnector::new(node.addresses.iter().cloned(), [key], Some(&*self.identity), options)?;
                let channel = connector.channel(&ChannelLimits::default());
                let client = ExchangeClient::new(channel).max_decoding_message_size(LARGEST_MESSAGE);
                Ok(Connection { client, in_flight: AtomicUsize::new(0) })
            })
            .collect::<Result<_, SetupError>>()?;
        let peer = Arc::new(Peer { node: node.clone(), connections });
        peers.insert(key, Arc::clone(&peer));
        Ok(peer)
    }
}

impl Peer {
    /// The connection with the fewest questions under way; the first of several, so that a quiet node holds one.
    fn least_busy(&self) -> (&Connection, InFlight<'_>) {
        let mut least = &self.connections[0];
        for connection in &self.connections[1..] {
            if connection.in_flight.load(Ordering::Relaxed) < least.in_flight.load(Ordering::Relaxed) {
                least = connection;
            }
        }
        least.in_flight.fetch_add(1, Ordering::Relaxed);
        (least, InFlight(&least.in_flight))
    }
}

struct InFlight<'a>(&'a AtomicUsize);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Peers {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count = self.peers.lock().unwrap_or_else(PoisonError::into_inner).len();
        formatter.debug_struct("Peers").field("count", &count).finish_non_exhaustive()
    }
}
