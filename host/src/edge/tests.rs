//! Floods, silence and slowness against a real listener.

use super::*;
use crate::random::SeededRandom;
use crate::readiness::Readiness;
use crate::tls::{
    AnyKey, ClientAuthentication, ConnectorOptions, PeerConnector, PeerPolicy, ServerTls, TlsIdentity, TlsKeyDigest,
};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_stream::StreamExt;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

fn identity(seed: u64) -> TlsIdentity {
    TlsIdentity::generate(&SeededRandom::new(seed), &["test"]).unwrap()
}

fn brief() -> ListenerLimits {
    ListenerLimits { handshake_timeout: Duration::from_millis(150), ..ListenerLimits::default() }
}

async fn bind(security: Security, limits: ListenerLimits) -> Listener {
    Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0)), security, limits).await.unwrap()
}

async fn bind_tls(limits: ListenerLimits) -> (Listener, PeerConnector, TlsIdentity) {
    let (server, client) = (identity(1), identity(2));
    let tls = ServerTls::new(&server, ClientAuthentication::Required(Arc::new(AnyKey))).unwrap();
    let listener = bind(Security::Tls(tls), limits).await;
    let address = listener.local_address().to_string();
    let connector =
        PeerConnector::new([address], [server.key_digest()], Some(&client), ConnectorOptions::default()).unwrap();
    (listener, connector, client)
}

/// Waits until the other end has closed: nothing more comes, or an error.
async fn is_closed(socket: &mut (impl AsyncReadExt + Unpin)) {
    let mut bytes = [0; 512];
    while let Ok(count) = socket.read(&mut bytes).await {
        if count == 0 {
            break;
        }
    }
}

async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn a_handshake_that_does_not_come_is_cut_off_in_time() {
    let (listener, _, _) = bind_tls(brief()).await;
    let connections = listener.connections();
    let address = listener.local_address();
    let _incoming = listener.incoming();
    let mut silent = TcpStream::connect(address).await.unwrap();
    is_closed(&mut silent).await;
    until(|| connections.counts().open == 0).await;
    assert_eq!(connections.counts().handshakes_failed, 1);
}

#[tokio::test]
async fn a_flood_of_half_open_connections_does_not_keep_an_honest_one_out() {
    let limits = ListenerLimits { max_half_open: 4, ..ListenerLimits::default() };
    let (listener, connector, _) = bind_tls(limits).await;
    let connections = listener.connections();
    let address = listener.local_address();
    let mut incoming = listener.incoming();
    let mut flood = Vec::new();
    for _ in 0..20 {
        flood.push(TcpStream::connect(address).await.unwrap());
    }
    until(|| connections.counts().crowded_out == 16).await;
    let honest = connector.connect().await.unwrap();
    assert!(incoming.next().await.unwrap().unwrap().info().tls_key.is_some());
    // The oldest are gone, the newest still wait for their time limit.
    is_closed(&mut flood[0]).await;
    let counts = connections.counts();
    assert!(counts.half_open <= 4, "{counts:?}");
    assert_eq!((counts.crowded_out, counts.refused), (17, 0));
    drop(honest);
}

#[tokio::test]
async fn more_connections_than_allowed_are_closed_and_room_is_made_again() {
    let limits = ListenerLimits { max_connections_per_address: 2, ..ListenerLimits::default() };
    let (listener, connector, _) = bind_tls(limits).await;
    let connections = listener.connections();
    let mut incoming = listener.incoming();
    let first = connector.connect().await.unwrap();
    let first_at_server = incoming.next().await.unwrap().unwrap();
    let _second = connector.connect().await.unwrap();
    let _second_at_server = incoming.next().await.unwrap().unwrap();
    assert!(connector.connect().await.is_err());
    assert_eq!((connections.counts().open, connections.counts().refused), (2, 1));
    drop((first, first_at_server));
    assert!(connector.connect().await.is_ok());
}

#[tokio::test]
async fn a_peer_that_shakes_hands_and_then_says_nothing_is_cut_off() {
    let (listener, connector, _) = bind_tls(brief()).await;
    let connections = listener.connections();
    let (health, _feed) = crate::health::service(&Readiness::new(), &[]).await;
    let router = tuned_server(&EdgeLimits::default()).add_service(health);
    tokio::spawn(router.serve_with_incoming(listener.incoming()));
    let mut silent = connector.connect().await.unwrap();
    is_closed(&mut silent).await;
    until(|| connections.counts().open == 0).await;
}

#[tokio::test]
async fn a_peer_that_has_said_something_may_then_be_quiet() {
    let listener = bind(Security::Plain, brief()).await;
    let address = listener.local_address();
    let mut incoming = listener.incoming();
    let mut client = TcpStream::connect(address).await.unwrap();
    let mut server = incoming.next().await.unwrap().unwrap();
    assert_eq!(server.info(), PeerInfo { tls_key: None, remote: client.local_addr().unwrap(), is_balancer: false });
    client.write_all(&[b'x'; 24]).await.unwrap();
    let mut bytes = [0; 24];
    server.read_exact(&mut bytes).await.unwrap();
    let quiet = tokio::time::timeout(brief().handshake_timeout * 3, server.read_u8()).await;
    assert!(quiet.is_err(), "still open: {quiet:?}");
    client.write_u8(7).await.unwrap();
    assert_eq!(server.read_u8().await.unwrap(), 7);
}

#[tokio::test]
async fn a_trickle_of_first_bytes_is_not_enough() {
    let listener = bind(Security::Plain, brief()).await;
    let address = listener.local_address();
    let mut incoming = listener.incoming();
    let mut client = TcpStream::connect(address).await.unwrap();
    let mut server = incoming.next().await.unwrap().unwrap();
    client.write_all(&[b'x'; 23]).await.unwrap();
    let mut bytes = Vec::new();
    let error = server.read_to_end(&mut bytes).await.unwrap_err();
    assert_eq!(error.to_string(), "the first bytes did not come in time");
    assert_eq!(bytes.len(), 23);
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_cut_off() {
    let limits = ListenerLimits { write_stall: Duration::from_millis(150), ..ListenerLimits::default() };
    let (listener, connector, _) = bind_tls(limits).await;
    let mut incoming = listener.incoming();
    let _deaf = connector.connect().await.unwrap();
    let mut server = incoming.next().await.unwrap().unwrap();
    let block = vec![0; 64 * 1024];
    // More than the buffers of both ends hold.
    let error = loop {
        if let Err(error) = server.write_all(&block).await {
            break error;
        }
    };
    assert_eq!(error.to_string(), "the peer does not read what it is sent");
}

#[tokio::test]
async fn a_slow_reader_that_reads_is_not_cut_off() {
    let limits = ListenerLimits { write_stall: Duration::from_millis(1500), ..ListenerLimits::default() };
    let (listener, connector, _) = bind_tls(limits).await;
    let mut incoming = listener.incoming();
    let mut slow = connector.connect().await.unwrap();
    let mut server = incoming.next().await.unwrap().unwrap();
    // In pieces that take longer than the limit all together.
    const TOTAL: usize = 16 * 1024 * 1024;
    let reading = tokio::spawn(async move {
        let mut bytes = vec![0; 16 * 1024];
        let mut total = 0;
        while total < TOTAL {
            total += slow.read(&mut bytes).await.unwrap();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    for _ in 0..TOTAL / (64 * 1024) {
        server.write_all(&vec![0; 64 * 1024]).await.unwrap();
    }
    server.flush().await.unwrap();
    reading.await.unwrap();
}

#[tokio::test]
async fn an_old_connection_is_cut_off() {
    let limits = ListenerLimits { max_connection_age: Duration::from_millis(150), ..ListenerLimits::default() };
    let (listener, connector, _) = bind_tls(limits).await;
    let mut incoming = listener.incoming();
    let _client = connector.connect().await.unwrap();
    let mut server = incoming.next().await.unwrap().unwrap();
    assert_eq!(server.read_u8().await.unwrap_err().to_string(), "the connection grew too old");
}

#[tokio::test]
async fn cutting_off_wakes_a_connection_that_waits() {
    let (listener, connector, _) = bind_tls(ListenerLimits::default()).await;
    let connections = listener.connections();
    let mut incoming = listener.incoming();
    let mut client = connector.connect().await.unwrap();
    let mut server = incoming.next().await.unwrap().unwrap();
    // Past the first bytes, so that no time limit wakes it instead.
    client.write_all(&[0; 24]).await.unwrap();
    client.flush().await.unwrap();
    server.read_exact(&mut [0; 24]).await.unwrap();
    let waiting = tokio::spawn(async move { server.read_u8().await });
    // Long enough for the task to be waiting; if it were not yet, the test would still hold.
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(connections.close_all(), 1);
    // Around the other task, not in it: a time limit in there would wake it as well.
    let ended = tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("it was not woken");
    assert_eq!(ended.unwrap().unwrap_err().to_string(), "the connection was cut off");
}

#[tokio::test]
async fn the_connections_of_a_revoked_key_are_cut_off_under_a_running_server() {
    let (listener, connector, client) = bind_tls(ListenerLimits::default()).await;
    let connections = listener.connections();
    let (health, _feed) = crate::health::service(&Readiness::new(), &[]).await;
    let router = tuned_server(&EdgeLimits::default()).add_service(health);
    tokio::spawn(router.serve_with_incoming(listener.incoming()));
    let mut asking = HealthClient::new(connector.channel(&ChannelLimits::default()));
    asking.check(HealthCheckRequest::default()).await.unwrap();

    assert_eq!(connections.close_connections_of(&identity(9).key_digest()), 0);
    asking.check(HealthCheckRequest::default()).await.unwrap();
    assert_eq!(connections.counts().open, 1);
    assert_eq!(connections.close_connections_of(&client.key_digest()), 1);
    until(|| connections.counts().open == 0).await;
}

/// Accepts a key when first asked and never again, as if it had been revoked during the handshake.
struct RevokedMeanwhile(AtomicBool);

impl PeerPolicy for RevokedMeanwhile {
    fn accepts(&self, _: &TlsKeyDigest) -> bool {
        !self.0.swap(true, Ordering::SeqCst)
    }
}

#[tokio::test]
async fn a_key_revoked_during_its_handshake_does_not_slip_in() {
    let (server, client) = (identity(1), identity(2));
    let policy = Arc::new(RevokedMeanwhile(AtomicBool::new(false)));
    let tls = ServerTls::new(&server, ClientAuthentication::Required(policy)).unwrap();
    let listener = bind(Security::Tls(tls), ListenerLimits::default()).await;
    let (address, connections) = (listener.local_address().to_string(), listener.connections());
    let _incoming = listener.incoming();
    let options = ConnectorOptions::default();
    let connector = PeerConnector::new([address], [server.key_digest()], Some(&client), options).unwrap();
    let mut stream = connector.connect().await.unwrap();
    is_closed(&mut stream).await;
    until(|| connections.counts().open == 0).await;
    assert_eq!(connections.counts().handshakes_failed, 1);
}

#[tokio::test]
async fn a_stopped_listener_frees_its_port() {
    let listener = bind(Security::Plain, brief()).await;
    let address = listener.local_address();
    drop(listener.incoming());
    // The accepting task ends at its next turn.
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
}
