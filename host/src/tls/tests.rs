//! Handshakes between real sockets: the right key, the wrong key, no key, a stolen certificate, an old protocol.

use super::*;
use crate::edge::{ChannelLimits, Listener, ListenerLimits, PeerInfo, PeerStream, Security};
use crate::random::SeededRandom;
use rustls::NamedGroup;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::net::SocketAddr;
use std::sync::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_stream::StreamExt;

fn identity(seed: u64) -> TlsIdentity {
    TlsIdentity::generate(&SeededRandom::new(seed), &["test"]).unwrap()
}

async fn listen(tls: Arc<ServerTls>) -> Listener {
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    Listener::bind(address, Security::Tls(tls), ListenerLimits::default()).await.unwrap()
}

/// A server that tells each client, in one line, which key it saw; returns its address and what it saw.
async fn serve(tls: Arc<ServerTls>) -> (String, Arc<Mutex<Vec<PeerInfo>>>) {
    let listener = listen(tls).await;
    let address = listener.local_address().to_string();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let infos = Arc::clone(&seen);
    tokio::spawn(async move {
        let mut incoming = listener.incoming();
        while let Some(Ok(stream)) = incoming.next().await {
            let mut stream: PeerStream = stream;
            infos.lock().unwrap().push(stream.info());
            tokio::spawn(async move {
                let line = stream.info().tls_key.map_or_else(|| "no key".to_owned(), |key| key.to_string());
                stream.write_all(line.as_bytes()).await.unwrap();
                stream.shutdown().await
            });
        }
    });
    (address, seen)
}

fn connector(address: &str, expected: &TlsIdentity, own: Option<&TlsIdentity>) -> PeerConnector {
    PeerConnector::new([address.to_owned()], [expected.key_digest()], own, ConnectorOptions::default()).unwrap()
}

async fn read_all(stream: TlsStream<TcpStream>) -> std::io::Result<String> {
    let mut stream = stream;
    let mut text = String::new();
    stream.read_to_string(&mut text).await.map(|_| text)
}

fn required(welcome: &TlsIdentity) -> ClientAuthentication {
    ClientAuthentication::Required(Arc::new(PinnedKeys::new([welcome.key_digest()])))
}

#[tokio::test]
async fn two_sides_that_know_each_others_keys_connect_with_hybrid_key_exchange() {
    let (server, client) = (identity(1), identity(2));
    let (address, seen) = serve(ServerTls::new(&server, required(&client)).unwrap()).await;
    let stream = connector(&address, &server, Some(&client)).connect().await.unwrap();
    let session = stream.get_ref().1;
    assert_eq!(session.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    assert_eq!(session.negotiated_key_exchange_group().unwrap().name(), NamedGroup::X25519MLKEM768);
    assert_eq!(session.alpn_protocol(), Some(ALPN_HTTP2));
    assert!(stream.get_ref().0.nodelay().unwrap());
    let local = stream.get_ref().0.local_addr().unwrap();
    assert_eq!(read_all(stream).await.unwrap(), client.key_digest().to_string());
    let seen = seen.lock().unwrap();
    assert_eq!(*seen, [PeerInfo { tls_key: Some(client.key_digest()), remote: local, is_balancer: false }]);
}

#[tokio::test]
async fn a_port_without_client_keys_sees_none() {
    let server = identity(1);
    let (address, _) = serve(ServerTls::new(&server, ClientAuthentication::None).unwrap()).await;
    for own in [None, Some(identity(2))] {
        let stream = connector(&address, &server, own.as_ref()).connect().await.unwrap();
        assert_eq!(read_all(stream).await.unwrap(), "no key");
    }
}

#[tokio::test]
async fn a_server_with_another_key_is_refused_and_named() {
    let (server, other) = (identity(1), identity(3));
    let (address, _) = serve(ServerTls::new(&server, ClientAuthentication::None).unwrap()).await;
    match connector(&address, &other, None).connect().await.unwrap_err() {
        ConnectError::KeyUnexpected { presented, .. } => assert_eq!(presented, server.key_digest()),
        error => panic!("{error}"),
    }
    // While a key is being changed, a peer may have two.
    let both = [other.key_digest(), server.key_digest()];
    let connector = PeerConnector::new([address.clone()], both, None, ConnectorOptions::default()).unwrap();
    assert!(connector.connect().await.is_ok());
    // No expected key at all accepts nobody.
    let connector = PeerConnector::new([address], [], None, ConnectorOptions::default()).unwrap();
    assert!(matches!(connector.connect().await, Err(ConnectError::KeyUnexpected { .. })));
}

/// In TLS 1.3 the client's part is done before the server has judged it: the refusal comes with the first read.
async fn refusal(outcome: Result<TlsStream<TcpStream>, ConnectError>) -> String {
    match outcome {
        Err(error) => error.to_string(),
        Ok(stream) => read_all(stream).await.expect_err("the server let it in").to_string(),
    }
}

#[tokio::test]
async fn a_client_with_another_key_or_none_is_refused() {
    let (server, client, stranger) = (identity(1), identity(2), identity(3));
    let (address, seen) = serve(ServerTls::new(&server, required(&client)).unwrap()).await;
    let text = refusal(connector(&address, &server, Some(&stranger)).connect().await).await;
    assert!(text.contains("AccessDenied"), "{text}");
    let text = refusal(connector(&address, &server, None).connect().await).await;
    assert!(text.contains("CertificateRequired"), "{text}");
    assert!(seen.lock().unwrap().is_empty(), "neither may reach the program");
}

/// Signs with one key under another's certificate, as somebody would who has copied the certificate off the wire.
#[derive(Debug)]
struct Impostor(Arc<rustls::sign::CertifiedKey>);

impl Impostor {
    fn new(certificate_of: &TlsIdentity, signing_with: &TlsIdentity) -> Arc<Self> {
        let chain = vec![CertificateDer::from(certificate_of.certificate_der().to_vec())];
        let key: PrivateKeyDer<'static> = signing_with.key();
        let signer = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
        Arc::new(Self(Arc::new(rustls::sign::CertifiedKey::new(chain, signer))))
    }
}

impl rustls::client::ResolvesClientCert for Impostor {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<rustls::sign::CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl rustls::server::ResolvesServerCert for Impostor {
    fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<rustls::sign::CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

#[tokio::test]
async fn a_server_with_a_copied_certificate_is_refused() {
    let (server, thief) = (identity(1), identity(3));
    let config = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Impostor::new(&server, &thief));
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (stream, _) = socket.accept().await.unwrap();
        let _ = tokio_rustls::TlsAcceptor::from(Arc::new(config)).accept(stream).await;
    });
    let error = connector(&address, &server, None).connect().await.unwrap_err().to_string();
    assert!(error.contains("BadSignature"), "{error}");
}

#[tokio::test]
async fn a_client_with_a_copied_certificate_is_refused() {
    let (server, client, thief) = (identity(1), identity(2), identity(3));
    let (address, seen) = serve(ServerTls::new(&server, required(&client)).unwrap()).await;
    let config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier::KeyVerifier::new(Arc::new(AnyKey), provider())))
        .with_client_cert_resolver(Impostor::new(&client, &thief));
    let socket = TcpStream::connect(&address).await.unwrap();
    let name = rustls::pki_types::ServerName::try_from("test").unwrap();
    let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, socket).await.unwrap();
    let text = read_all(stream).await.unwrap_err().to_string();
    assert!(text.contains("DecryptError"), "{text}");
    assert!(seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn tls_1_2_is_refused() {
    let (address, _) = serve(ServerTls::new(&identity(1), ClientAuthentication::None).unwrap()).await;
    // A ClientHello of TLS 1.2, by hand: no `supported_versions`, ECDHE suites, P-256, ECDSA and Ed25519 signatures.
    let extensions = [
        &[0x00, 0x0a, 0x00, 0x06, 0x00, 0x04, 0x00, 0x1d, 0x00, 0x17][..],
        &[0x00, 0x0b, 0x00, 0x02, 0x01, 0x00],
        &[0x00, 0x0d, 0x00, 0x06, 0x00, 0x04, 0x08, 0x07, 0x04, 0x03],
        &[0x00, 0x17, 0x00, 0x00],
    ]
    .concat();
    let mut body = vec![0x03, 0x03];
    body.extend([0x5a; 32]);
    body.push(0);
    body.extend([0x00, 0x04, 0xc0, 0x2b, 0xc0, 0x2f]);
    body.extend([0x01, 0x00]);
    body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
    body.extend(extensions);
    let mut hello = vec![0x16, 0x03, 0x01];
    hello.extend(u16::try_from(body.len() + 4).unwrap().to_be_bytes());
    hello.extend([0x01, 0x00]);
    hello.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    hello.extend(body);

    let mut socket = TcpStream::connect(&address).await.unwrap();
    socket.write_all(&hello).await.unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    // One fatal alert: protocol_version (70).
    assert_eq!(answer, [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 70]);
}

#[tokio::test]
async fn after_a_reload_new_connections_meet_the_new_key_and_old_ones_live_on() {
    let (first, second, client) = (identity(1), identity(2), identity(4));
    let tls = ServerTls::new(&first, required(&client)).unwrap();
    let listener = listen(Arc::clone(&tls)).await;
    let address = listener.local_address().to_string();
    let mut incoming = listener.incoming();
    let old = connector(&address, &first, Some(&client)).connect().await.unwrap();
    let mut old_at_server = incoming.next().await.unwrap().unwrap();

    tls.reload(&second).unwrap();
    assert_eq!(tls.key_digest(), second.key_digest());
    let refused = connector(&address, &first, Some(&client)).connect().await.unwrap_err();
    assert!(matches!(refused, ConnectError::KeyUnexpected { .. }), "{refused}");
    assert!(connector(&address, &second, Some(&client)).connect().await.is_ok());

    old_at_server.write_all(b"still here").await.unwrap();
    old_at_server.shutdown().await.unwrap();
    assert_eq!(read_all(old).await.unwrap(), "still here");
}

#[tokio::test]
async fn nothing_is_ever_resumed() {
    let (server, client) = (identity(1), identity(2));
    let welcome = Arc::new(Mutex::new(true));
    struct Changing(Arc<Mutex<bool>>);
    impl PeerPolicy for Changing {
        fn accepts(&self, _: &TlsKeyDigest) -> bool {
            *self.0.lock().unwrap()
        }
    }
    let policy = ClientAuthentication::Required(Arc::new(Changing(Arc::clone(&welcome))));
    let (address, _) = serve(ServerTls::new(&server, policy).unwrap()).await;
    // A client of the ordinary kind, which would resume if it were given a ticket.
    let config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier::KeyVerifier::new(Arc::new(AnyKey), provider())))
        .with_client_auth_cert(client.chain(), client.key())
        .unwrap();
    let config = Arc::new(config);
    let connect = async || {
        let socket = TcpStream::connect(&address).await.unwrap();
        let name = rustls::pki_types::ServerName::try_from("test").unwrap();
        let stream = tokio_rustls::TlsConnector::from(Arc::clone(&config)).connect(name, socket).await.unwrap();
        let kind = stream.get_ref().1.handshake_kind();
        (read_all(stream).await, kind)
    };
    for _ in 0..2 {
        let (read, kind) = connect().await;
        assert_eq!(read.unwrap(), client.key_digest().to_string());
        assert_ne!(kind, Some(rustls::HandshakeKind::Resumed));
    }
    *welcome.lock().unwrap() = false;
    assert!(connect().await.0.unwrap_err().to_string().contains("AccessDenied"));
}

#[tokio::test]
async fn addresses_are_tried_in_order_and_faults_are_told_in_sentences() {
    let server = identity(1);
    let (address, _) = serve(ServerTls::new(&server, ClientAuthentication::None).unwrap()).await;
    let unused = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let keys = [server.key_digest()];
    let make = |addresses: Vec<String>| {
        let options = ConnectorOptions { attempt_timeout: std::time::Duration::from_millis(200) };
        PeerConnector::new(addresses, keys, None, options).unwrap()
    };
    assert!(make(vec![unused.clone(), address]).connect().await.is_ok());
    let error = make(vec![unused.clone()]).connect().await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("{unused} cannot be reached: ")), "{error}");
    assert!(matches!(make(vec![]).connect().await, Err(ConnectError::NoAddress)));

    // Somebody who accepts and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let error = make(vec![address.clone()]).connect().await.unwrap_err().to_string();
    assert_eq!(error, format!("{address} did not answer within 200 ms"));
}

#[tokio::test]
async fn a_grpc_call_carries_the_peers_key_to_the_handler() {
    let (server, client) = (identity(1), identity(2));
    let listener = listen(ServerTls::new(&server, required(&client)).unwrap()).await;
    let address = listener.local_address().to_string();
    let (health, _feed) = crate::health::service(&crate::readiness::Readiness::new(), &[]).await;
    let seen = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&seen);
    let note = move |request: tonic::Request<()>| {
        *keep.lock().unwrap() = request.extensions().get::<PeerInfo>().and_then(|info| info.tls_key);
        Ok(request)
    };
    let router = crate::edge::tuned_server(&crate::edge::EdgeLimits::default())
        .layer(tonic::service::InterceptorLayer::new(note))
        .add_service(health);
    tokio::spawn(router.serve_with_incoming(listener.incoming()));

    let channel = connector(&address, &server, Some(&client)).channel(&ChannelLimits::default());
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel);
    health.check(tonic_health::pb::HealthCheckRequest::default()).await.unwrap();
    assert_eq!(*seen.lock().unwrap(), Some(client.key_digest()));

    let stranger = connector(&address, &server, Some(&identity(3))).channel(&ChannelLimits::default());
    let mut health = tonic_health::pb::health_client::HealthClient::new(stranger);
    assert!(health.check(tonic_health::pb::HealthCheckRequest::default()).await.is_err());
}

#[tokio::test]
async fn the_reason_for_connecting_in_vain_can_be_found_behind_a_grpc_status() {
    let (server, other) = (identity(1), identity(3));
    let (address, _) = serve(ServerTls::new(&server, ClientAuthentication::None).unwrap()).await;
    let channel = connector(&address, &other, None).channel(&ChannelLimits::default());
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel);
    for _ in 0..2 {
        let status = health.check(tonic_health::pb::HealthCheckRequest::default()).await.unwrap_err();
        let reason = ConnectError::behind(&status);
        assert!(matches!(reason, Some(ConnectError::KeyUnexpected { .. })), "{status:?}");
    }
    assert!(ConnectError::behind(&std::io::Error::other("something else")).is_none());
}
