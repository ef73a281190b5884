//! Whether somebody is still behind a connection, for whoever waits a short time for a node alone. Power that fails and a firewall
//! that forgets say nothing: a question put into such a connection may have left, and would be waited for to its deadline. A
//! connection that has been quiet is therefore asked for a sign of life before. Out of scope: which node is asked.

use std::{
    pin::pin,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, timeout, timeout_at};
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use super::{Connection, Peer};

/// A connection on which nothing was heard for longer is asked for a sign of life.
const QUIET: Duration = Duration::from_secs(1);

/// When something was last heard on a connection.
#[derive(Default)]
pub(super) struct Heard(Mutex<Option<Instant>>);

impl Heard {
    pub(super) fn now(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether nobody can say that this connection leads to somebody. One on which nothing was ever heard is not yet made:
    /// then nothing is known but what the node's other connections have proved, unless it was just connected to.
    pub(super) fn is_doubtful(&self, is_proved_by_others: bool) -> bool {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.map_or(is_proved_by_others, |last| last.elapsed() > QUIET)
    }
}

/// Where somebody was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// On this connection.
    Here,
    /// Behind a new connection, and not on this one.
    OnlyAnew,
    /// Nowhere.
    Nowhere,
}

impl Peer {
    /// Asks on the connection whether somebody is there. Where no answer comes soon the node is connected to anew beside it.
    pub(super) async fn sign_of_life(&self, connection: &Connection, ends: Instant) -> Sign {
        let left = || ends.saturating_duration_since(Instant::now());
        let mut answers = pin!(connection.answers());
        let is_open = match timeout(left() / 3, answers.as_mut()).await {
            Ok(true) => return Sign::Here,
            Ok(false) => false,
            Err(_) => true,
        };
        tokio::select! {
            Ok(true) = timeout_at(ends, answers.as_mut()), if is_open => Sign::Here,
            true = self.is_there(left()) => Sign::OnlyAnew,
            else => Sign::Nowhere,
        }
    }
}

impl Connection {
    /// Whether the node says anything, be it that it is not ready.
    async fn answers(&self) -> bool {
        let mut health = HealthClient::new(self.channel.clone());
        let answers = match health.check(HealthCheckRequest::default()).await {
            Ok(_) => true,
            // A node that does not have the service is one that answers.
            Err(status) => status.code() == Code::Unimplemented,
        };
        if answers {
            self.heard.now();
        }
        answers
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::SocketAddr,
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
    };

    use host::{
        edge::{EdgeLimits, Listener, ListenerLimits, Security, tuned_server},
        health,
        random::SeededRandom,
        readiness::Readiness,
        tls::{AnyKey, ClientAuthentication, ServerTls, TlsIdentity},
    };
    use tokio::net::{TcpListener, TcpStream};
    use tokio_util::sync::CancellationToken;
    use trust::{directory::model::Node, ids::NodeId};

    use super::super::{Patience, Peers, SendFailure, Undelivered, tests};
    use super::*;

    /// Passes on what goes to a node, until it falls silent: connections stay, and nothing comes of them.
    struct Wire {
        address: String,
        takes_new: Arc<AtomicBool>,
        passing: Arc<Mutex<CancellationToken>>,
    }

    impl Wire {
        async fn to(server: SocketAddr) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap().to_string();
            let wire = Self { address, takes_new: Arc::new(AtomicBool::new(true)), passing: Arc::default() };
            let (takes_new, passing) = (Arc::clone(&wire.takes_new), Arc::clone(&wire.passing));
            tokio::spawn(async move {
                loop {
                    let (here, _) = listener.accept().await.unwrap();
                    let passes = passing.lock().unwrap().clone();
                    tokio::spawn(pass(here, takes_new.load(Ordering::SeqCst).then_some(server), passes));
                }
            });
            wire
        }

        fn silence(&self, takes_new: bool) {
            self.takes_new.store(takes_new, Ordering::SeqCst);
            std::mem::take(&mut *self.passing.lock().unwrap()).cancel();
        }
    }

    async fn pass(mut here: TcpStream, server: Option<SocketAddr>, passes: CancellationToken) {
        let mut there = None;
        if let Some(server) = server {
            let there = there.insert(TcpStream::connect(server).await.unwrap());
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut here, there) => return,
                () = passes.cancelled() => {}
            }
        }
        // Both stay open, and nobody reads.
        std::future::pending::<()>().await;
        drop((here, there));
    }

    /// A node that has no service but health: a question that reaches it comes back as one that it may have.
    async fn node() -> (Node, Wire) {
        let identity = TlsIdentity::generate(&SeededRandom::new(2), &["civil.example"]).unwrap();
        let tls = ServerTls::new(&identity, ClientAuthentication::Required(Arc::new(AnyKey))).unwrap();
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = Listener::bind(any_port, Security::Tls(tls), ListenerLimits::default()).await.unwrap();
        let wire = Wire::to(listener.local_address()).await;
        let (health, _feed) = health::service(&Readiness::new(), &[]).await;
        let router = tuned_server(&EdgeLimits::default()).add_service(health);
        tokio::spawn(router.serve_with_incoming(listener.incoming()));
        let node = tests::nodes(1).remove(0);
        let tls_key = *identity.key_digest().as_bytes();
        (Node { addresses: vec![wire.address.clone()], tls_key, ..node }, wire)
    }

    /// Where a question of somebody may be who waits for the answer for long, and so long for a node.
    async fn held_by(peers: &Peers, node: &Node, unreached: Duration) -> Option<NodeId> {
        let patience = Patience { whole: Duration::from_secs(60), unreached };
        let asked = peers.verify(std::slice::from_ref(node), &tests::request(1), patience, None).await;
        let Undelivered { failure, held_by } = asked.unwrap_err();
        assert_eq!(failure, SendFailure::Unreachable, "and not that its time was over");
        held_by
    }

    /// A busy machine may take longer than a node is looked for.
    async fn reaches(peers: &Peers, node: &Node) {
        let reached = async { while held_by(peers, node, Duration::from_secs(30)).await.is_none() {} };
        timeout(Duration::from_secs(60), reached).await.unwrap();
    }

    /// As after an answer, and then a time in which nothing was asked.
    fn has_answered_and_been_quiet(peer: &Peer) {
        peer.proved.store(true, Ordering::Relaxed);
        *peer.connections[0].heard.0.lock().unwrap() = None;
    }

    #[tokio::test]
    async fn a_question_does_not_leave_for_a_node_that_fell_silent_and_does_once_it_is_back() {
        let ((node, wire), peers) = (node().await, tests::peers());
        reaches(&peers, &node).await;
        let silent = peers.peer(&node).unwrap();
        has_answered_and_been_quiet(&silent);
        wire.silence(false);
        assert_eq!(held_by(&peers, &node, Duration::from_millis(300)).await, None, "it never left");
        assert!(!Arc::ptr_eq(&silent, &peers.peer(&node).unwrap()), "its connections are used no more");
        wire.silence(true);
        reaches(&peers, &node).await;
    }

    #[tokio::test]
    async fn where_only_the_connection_fell_silent_the_question_goes_over_a_new_one() {
        let ((node, wire), peers) = (node().await, tests::peers());
        reaches(&peers, &node).await;
        let silent = peers.peer(&node).unwrap();
        has_answered_and_been_quiet(&silent);
        wire.silence(true);
        reaches(&peers, &node).await;
        assert!(!Arc::ptr_eq(&silent, &peers.peer(&node).unwrap()));
    }

    #[tokio::test]
    async fn one_that_answers_keeps_its_connections_and_is_not_asked_again_at_once() {
        let ((node, _wire), peers) = (node().await, tests::peers());
        reaches(&peers, &node).await;
        let peer = peers.peer(&node).unwrap();
        has_answered_and_been_quiet(&peer);
        let connection = &peer.connections[0];
        assert!(connection.heard.is_doubtful(true) && !connection.heard.is_doubtful(false));
        let ends = Instant::now() + Duration::from_secs(60);
        assert_eq!(peer.sign_of_life(connection, ends).await, Sign::Here);
        assert!(connection.heard.0.lock().unwrap().is_some(), "what it said was heard");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_in_doubt_after_a_second() {
        let heard = Heard::default();
        heard.now();
        assert!(!heard.is_doubtful(true));
        tokio::time::advance(QUIET).await;
        assert!(!heard.is_doubtful(true));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(heard.is_doubtful(false));
    }
}
