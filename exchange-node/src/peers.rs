//! Connections to other departments' nodes: up to four each, held to the TLS key of the node's statement, and made anew
//! when the statement changes. A node is reached at its addresses and through its relays; a department may have several
//! nodes.
//!
//! **Invariant:** the same question gets the same answer. A department's nodes may know nothing of each other, so a
//! question goes to another node only while it is certain that it has left for none: no connection came about. Once it
//! may have left for a node it is sent there again, and nowhere else.
//!
//! Out of scope: what is sent, and when it is tried again (`ask`).

mod alive;
mod bulk;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use futures_util::StreamExt as _;
use host::{
    edge::ChannelLimits,
    tls::{ConnectError, ConnectorOptions, PeerConnector, SetupError, TlsIdentity, TlsKeyDigest},
};
use proto::exchange::v1::{
    self as wire, bulk_client::BulkClient, custody_client::CustodyClient, exchange_client::ExchangeClient,
    notices_client::NoticesClient,
};
use tokio::time::{Instant, timeout};
use tonic::{Code, Status, transport::Channel};
use trust::{
    directory::model::Node,
    envelope,
    ids::{DepartmentId, NodeId},
};

use self::alive::{Heard, Sign};
use crate::relay::way::ways_to;

/// The connections of one peer: four saturate a provider of two cores; more would only cost memory.
const CONNECTIONS: usize = 4;

/// How many nodes are told something at once.
const TOLD_AT_ONCE: usize = 256;

/// The largest answer that is read: an answer's own limit and the envelope around it.
pub const LARGEST_MESSAGE: usize = trust::answer::LARGEST_ANSWER + 16 * 1024;

/// How long a way to a node may take.
const ATTEMPT: Duration = Duration::from_secs(2);

/// How long a node that has not proved to be there may take to connect, where there is another.
const PROBE: Duration = Duration::from_secs(1);

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

/// A question that was not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undelivered {
    /// Why.
    pub failure: SendFailure,
    /// The node that may have it all the same: only there may it be sent again. `None` where it has certainly not left.
    pub held_by: Option<NodeId>,
}

/// Connections to all peers.
pub struct Peers {
    identity: ArcSwap<TlsIdentity>,
    peers: Mutex<HashMap<(DepartmentId, NodeId), Arc<Peer>>>,
    under_way: Mutex<HashMap<(DepartmentId, NodeId), Arc<AtomicUsize>>>,
}

struct Peer {
    /// The statement's content that these connections were made for.
    node: Node,
    connector: PeerConnector,
    connections: Vec<Connection>,
    /// Whether the last that was heard of it is an answer.
    proved: AtomicBool,
}

struct Connection {
    client: ExchangeClient<Channel>,
    custody: CustodyClient<Channel>,
    channel: Channel,
    bulk: BulkClient<Channel>,
    in_flight: AtomicUsize,
    heard: Heard,
}

/// How long somebody waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For the answer.
    pub whole: Duration,
    /// For a node that can be reached at all; as long as for the answer, or shorter.
    pub unreached: Duration,
}

impl From<Duration> for Patience {
    fn from(whole: Duration) -> Self {
        Self { whole, unreached: whole }
    }
}

impl Peers {
    /// Connections that show this node's TLS key.
    pub fn new(identity: Arc<TlsIdentity>) -> Self {
        Self { identity: ArcSwap::new(identity), peers: Mutex::default(), under_way: Mutex::default() }
    }

    /// Connections made from now on show this TLS key. Those that stand finish what they are at, and are not used again.
    pub fn show(&self, identity: Arc<TlsIdentity>) {
        self.identity.store(identity);
        self.locked().clear();
    }

    /// Cuts off the connections to a department's node, or to all of them, with what is under way; returns how many
    /// nodes there were. Whoever asks again connects anew, as far as the directory still names somebody to connect to.
    pub fn cut_off(&self, department: &DepartmentId, node: Option<&NodeId>) -> usize {
        let mut cut = 0;
        self.locked().retain(|(of, id), peer| {
            let keep = of != department || node.is_some_and(|node| node != id);
            if !keep {
                cut += 1;
                peer.connector.cut_off();
            }
            keep
        });
        cut
    }

    /// Cuts off every connection.
    pub fn cut_off_all(&self) {
        for (_, peer) in self.locked().drain() {
            peer.connector.cut_off();
        }
    }

    /// Sends a question to one of the department's nodes, of which each has `patience` to be reached and to answer.
    /// `held_by` is the node that may have it already.
    pub async fn verify(
        &self,
        nodes: &[Node],
        request: &wire::Signed,
        patience: Patience,
        held_by: Option<&NodeId>,
    ) -> Result<wire::VerifyResponse, Undelivered> {
        let deadline = Instant::now() + patience.whole;
        let left = || deadline.saturating_duration_since(Instant::now());
        let candidates = self.candidates(nodes, request, held_by);
        for (position, peer) in candidates.iter().enumerate() {
            let is_last = position + 1 == candidates.len();
            // Whoever waits a short time for a connection alone learns whether there is one before the question may be there.
            let is_hurried = patience.unreached < patience.whole;
            let probe = PROBE.min(left() / 2).min(patience.unreached);
            let probe_ends = Instant::now() + probe;
            let is_proved = peer.proved.load(Ordering::Relaxed);
            if (is_hurried || !is_last) && !is_proved && !peer.is_there(probe).await {
                continue;
            }
            let chosen = peer.least_busy();
            let sign = match is_hurried && chosen.0.heard.is_doubtful(is_proved) {
                true => peer.sign_of_life(chosen.0, probe_ends).await,
                false => Sign::Here,
            };
            let renewed;
            let (peer, (connection, _guard)) = match sign {
                Sign::Here => (peer, chosen),
                Sign::OnlyAnew => {
                    let Some(made) = self.renew(peer) else { continue };
                    renewed = made;
                    (&renewed, renewed.least_busy())
                }
                Sign::Nowhere => {
                    if let Some(made) = self.renew(peer) {
                        made.connector.give_up();
                    }
                    continue;
                }
            };
            let _counted = self.count(&peer.node);
            let mut client = connection.client.clone();
            let mut message = tonic::Request::new(wire::VerifyRequest { request: Some(request.clone()) });
            // The other side stops looking when nobody waits any more.
            message.set_timeout(left());
            let status = match timeout(left(), client.verify(message)).await {
                Ok(Ok(response)) => {
                    peer.proved.store(true, Ordering::Relaxed);
                    connection.heard.now();
                    let response = response.into_inner();
                    return match response.answer {
                        Some(_) => Ok(response),
                        None => Err(peer.undelivered(SendFailure::Rejected)),
                    };
                }
                Ok(Err(status)) => status,
                // Whether it had left by then is not known.
                Err(_) => return Err(peer.undelivered(SendFailure::TimedOut)),
            };
            tracing::debug!(department = %peer.node.department, node = %peer.node.node, code = ?status.code(), "a peer gave a bare status");
            if never_left(&status) {
                peer.proved.store(false, Ordering::Relaxed);
                continue;
            }
            return Err(peer.undelivered(match status.code() {
                Code::InvalidArgument | Code::PermissionDenied | Code::Unauthenticated | Code::OutOfRange => {
                    SendFailure::Rejected
                }
                Code::DeadlineExceeded | Code::Cancelled => SendFailure::TimedOut,
                _ => SendFailure::Unreachable,
            }));
        }
        Err(Undelivered { failure: SendFailure::Unreachable, held_by: held_by.cloned() })
    }

    /// Delivers an answer that follows an earlier one to the node that asked.
    pub async fn deliver(&self, node: &Node, answer: &wire::Signed, limit: Duration) -> Result<(), Status> {
        let peer = self.peer(node).map_err(|error| Status::unavailable(error.to_string()))?;
        let (connection, _guard) = peer.least_busy();
        let mut client = connection.client.clone();
        let message = wire::DeliverRequest { answer: Some(answer.clone()) };
        match timeout(limit, client.deliver(message)).await {
            Ok(delivered) => delivered.map(drop),
            Err(_) => Err(Status::deadline_exceeded("it did not take the answer in time")),
        }
    }

    /// Tells a node that a subscription is no longer wanted.
    pub async fn end_subscription(&self, node: &Node, outcome: &wire::Signed, limit: Duration) -> Result<(), Status> {
        let peer = self.peer(node).map_err(|error| Status::unavailable(error.to_string()))?;
        let (connection, _guard) = peer.least_busy();
        let mut client = NoticesClient::new(connection.channel.clone());
        let message = wire::EndSubscriptionRequest { outcome: Some(outcome.clone()) };
        match timeout(limit, client.end(message)).await {
            Ok(ended) => ended.map(drop),
            Err(_) => Err(Status::deadline_exceeded("it did not take it in time")),
        }
    }

    /// Tells a statement that should not wait for the directory to every node given. Who is not reached learns it from
    /// the directory. One node may take `limit`, all together `longest`.
    pub async fn tell(&self, nodes: &[Node], statement: &[u8], limit: Duration, longest: Duration) -> usize {
        let mut order = nodes.to_vec();
        {
            let known = self.locked();
            // Those that this node speaks with come first.
            order.sort_by_cached_key(|node| !known.contains_key(&(node.department.clone(), node.node.clone())));
        }
        let telling = futures_util::stream::iter(order).map(|node| async move {
            let peer = self.peer(&node).ok()?;
            let (connection, _guard) = peer.least_busy();
            let mut client = connection.client.clone();
            let message = wire::TellRequest { statement: statement.to_vec() };
            timeout(limit, client.tell(message)).await.ok()?.ok()
        });
        let mut telling = std::pin::pin!(telling.buffer_unordered(TOLD_AT_ONCE));
        let (mut told, ends) = (0, Instant::now() + longest);
        while let Ok(Some(answer)) = tokio::time::timeout_at(ends, telling.next()).await {
            told += usize::from(answer.is_some());
        }
        told
    }

    /// How many questions of this node's offices are under way to a node.
    pub fn under_way(&self, department: &DepartmentId, node: &NodeId) -> usize {
        let under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.get(&(department.clone(), node.clone())).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// In which order nodes are tried. A question that may be with a node goes there, drained or not; a new one goes to
    /// those that take new ones, spread by its digest, and those that failed lately come last.
    fn candidates(&self, nodes: &[Node], request: &wire::Signed, held_by: Option<&NodeId>) -> Vec<Arc<Peer>> {
        let mut peers: Vec<Arc<Peer>> = nodes
            .iter()
            .filter(|node| held_by.map_or(!node.draining, |held_by| node.node == *held_by))
            .filter_map(|node| self.peer(node).ok())
            .collect();
        if peers.len() > 1 {
            let first = envelope::digest_of(request).map_or(0, |digest| usize::from(digest.as_bytes()[0]));
            let count = peers.len();
            peers.rotate_left(first % count);
            peers.sort_by_key(|peer| !peer.connector.is_hopeful());
        }
        peers
    }

    fn count(&self, node: &Node) -> InFlight {
        let key = (node.department.clone(), node.node.clone());
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let count = Arc::clone(under_way.entry(key).or_default());
        count.fetch_add(1, Ordering::Relaxed);
        InFlight(count)
    }

    /// Asks a node to show that its evidence log was never rewritten.
    pub async fn consistency(
        &self,
        node: &Node,
        request: wire::ConsistencyRequest,
        limit: Duration,
    ) -> Result<wire::ConsistencyResponse, Status> {
        let mut custody = self.custody(node)?;
        match timeout(limit, custody.consistency(request)).await {
            Ok(answered) => Ok(answered?.into_inner()),
            Err(_) => Err(Status::deadline_exceeded("it did not answer in time")),
        }
    }

    /// The service of a node about evidence that was kept.
    pub fn custody(&self, node: &Node) -> Result<CustodyClient<Channel>, Status> {
        let peer = self.peer(node).map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(peer.least_busy().0.custody.clone())
    }

    /// A channel to a node, for another of its services.
    pub fn channel(&self, node: &Node) -> Result<Channel, Status> {
        let peer = self.peer(node).map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(peer.least_busy().0.channel.clone())
    }

    /// Has each of the nodes compare directories; the answers that came.
    pub async fn compare(&self, nodes: &[Node], strand: &wire::Strand, limit: Duration) -> Vec<wire::Strand> {
        let mut answers = Vec::new();
        for node in nodes {
            let Ok(peer) = self.peer(node) else { continue };
            let (connection, _guard) = peer.least_busy();
            let mut client = connection.client.clone();
            let message = wire::CompareRequest { strand: Some(strand.clone()) };
            match timeout(limit, client.compare(message)).await {
                Ok(Ok(response)) => answers.extend(response.into_inner().strand),
                Ok(Err(status)) => {
                    let reason = status.message();
                    tracing::info!(department = %node.department, node = %node.node, code = ?status.code(), reason, "a peer does not compare directories now");
                }
                Err(_) => tracing::info!(department = %node.department, "a peer takes too long to compare directories"),
            }
        }
        answers
    }

    fn peer(&self, node: &Node) -> Result<Arc<Peer>, SetupError> {
        let mut peers = self.locked();
        let key = (node.department.clone(), node.node.clone());
        if let Some(peer) = peers.get(&key).filter(|peer| peer.node == *node) {
            return Ok(Arc::clone(peer));
        }
        let peer = self.connections_to(node)?;
        peers.insert(key, Arc::clone(&peer));
        Ok(peer)
    }

    /// Connections in place of those that have fallen silent: what is under way on them goes on, and nothing else does.
    /// `None` where they were cut off meanwhile.
    fn renew(&self, silent: &Arc<Peer>) -> Option<Arc<Peer>> {
        let mut peers = self.locked();
        let known = peers.get_mut(&(silent.node.department.clone(), silent.node.node.clone()))?;
        if Arc::ptr_eq(known, silent) {
            *known = self.connections_to(&silent.node).ok()?;
        }
        Some(Arc::clone(known))
    }

    fn connections_to(&self, node: &Node) -> Result<Arc<Peer>, SetupError> {
        let options = ConnectorOptions { attempt_timeout: ATTEMPT };
        let tls_keys = node.tls_keys().map(|key| TlsKeyDigest::from_bytes(*key));
        let identity = self.identity.load();
        let connector = PeerConnector::over(ways_to(node), tls_keys, Some(&**identity), options)?;
        let connections = (0..CONNECTIONS)
            .map(|_| {
                let channel = connector.channel(&ChannelLimits::default());
                let custody = CustodyClient::new(channel.clone()).max_decoding_message_size(LARGEST_MESSAGE);
                let bulk = BulkClient::new(channel.clone()).max_decoding_message_size(LARGEST_MESSAGE);
                let client = ExchangeClient::new(channel.clone()).max_decoding_message_size(LARGEST_MESSAGE);
                Connection { client, custody, channel, bulk, in_flight: AtomicUsize::new(0), heard: Heard::default() }
            })
            .collect();
        Ok(Arc::new(Peer { node: node.clone(), connector, connections, proved: AtomicBool::new(false) }))
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<(DepartmentId, NodeId), Arc<Peer>>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a request has certainly not left: no connection came about. Whatever else went wrong, it may have.
fn never_left(status: &Status) -> bool {
    ConnectError::behind(status).is_some()
}

impl Peer {
    /// Connects once, so that a question need not wait for a node that is away while another is there.
    async fn is_there(&self, limit: Duration) -> bool {
        match timeout(limit, self.connector.connect()).await {
            Ok(connected) => connected.is_ok(),
            Err(_) => {
                self.connector.give_up();
                false
            }
        }
    }

    fn undelivered(&self, failure: SendFailure) -> Undelivered {
        self.proved.store(false, Ordering::Relaxed);
        Undelivered { failure, held_by: Some(self.node.node.clone()) }
    }

    /// The connection with the fewest questions under way; the first of several, so that a quiet node holds one.
    fn least_busy(&self) -> (&Connection, Busy<'_>) {
        let mut least = &self.connections[0];
        for connection in &self.connections[1..] {
            if connection.in_flight.load(Ordering::Relaxed) < least.in_flight.load(Ordering::Relaxed) {
                least = connection;
            }
        }
        least.in_flight.fetch_add(1, Ordering::Relaxed);
        (least, Busy(&least.in_flight))
    }
}

struct Busy<'a>(&'a AtomicUsize);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

struct InFlight(Arc<AtomicUsize>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Peers {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count = self.locked().len();
        formatter.debug_struct("Peers").field("count", &count).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use host::random::SeededRandom;
    use trust::fixture::{self, Fixture};

    use super::*;

    pub(super) fn peers() -> Peers {
        Peers::new(Arc::new(TlsIdentity::generate(&SeededRandom::new(1), &["housing.example"]).unwrap()))
    }

    pub(super) fn nodes(count: usize) -> Vec<Node> {
        let node = Fixture::town().directory.nodes_of(&fixture::department("civil-affairs")).next().unwrap().clone();
        // Port 0 leads nowhere: every connection is refused at once.
        let address = vec!["127.0.0.1:0".to_owned()];
        (1..=count)
            .map(|id| Node { node: fixture::node(&id.to_string()), addresses: address.clone(), ..node.clone() })
            .collect()
    }

    pub(super) fn request(number: u8) -> wire::Signed {
        let request = wire::Request { request_id: vec![number; 32], ..wire::Request::default() };
        envelope::signed(envelope::seal(&request, &fixture::key("housing node 1")).0)
    }

    fn order(peers: &Peers, nodes: &[Node], number: u8, held_by: Option<&str>) -> Vec<String> {
        let held_by = held_by.map(fixture::node);
        let candidates = peers.candidates(nodes, &request(number), held_by.as_ref());
        candidates.iter().map(|peer| peer.node.node.to_string()).collect()
    }

    #[tokio::test]
    async fn new_questions_are_spread_over_the_nodes_and_none_goes_to_one_that_is_drained() {
        let peers = peers();
        let mut nodes = nodes(3);
        let firsts: std::collections::BTreeSet<String> =
            (0..64).map(|number| order(&peers, &nodes, number, None).remove(0)).collect();
        assert_eq!(firsts.len(), 3, "{firsts:?}");
        assert_eq!(order(&peers, &nodes, 7, None), order(&peers, &nodes, 7, None), "the same question the same way");
        nodes[1].draining = true;
        assert!((0..64).all(|number| !order(&peers, &nodes, number, None).contains(&"2".to_owned())));
    }

    #[tokio::test]
    async fn a_question_that_a_node_may_have_goes_there_and_nowhere_else() {
        let peers = peers();
        let mut nodes = nodes(3);
        nodes[1].draining = true;
        assert_eq!(order(&peers, &nodes, 7, Some("2")), ["2"], "drained or not: what is under way finishes");
        assert!(order(&peers, &nodes, 7, Some("9")).is_empty(), "a node that is gone is not replaced by another");
    }

    #[tokio::test]
    async fn what_never_left_is_held_by_nobody() {
        let peers = peers();
        let limit = Duration::from_secs(20);
        let undelivered = peers.verify(&nodes(2), &request(1), limit.into(), None).await.unwrap_err();
        assert_eq!(undelivered, Undelivered { failure: SendFailure::Unreachable, held_by: None });
        let held_by = fixture::node("2");
        let undelivered = peers.verify(&nodes(2), &request(1), limit.into(), Some(&held_by)).await.unwrap_err();
        assert_eq!(undelivered.held_by, Some(held_by), "and what may have stays held");
    }
}
