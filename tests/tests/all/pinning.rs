//! Each peer is held to the TLS key of its node statement: another department's certificate, as valid as any, is of no
//! use, in neither direction, and a revocation counts before the registry has heard of it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use exchange_node::keys::NodeKeys;
use host::{
    edge::{EdgeLimits, Listener, ListenerLimits, Security, tuned_server},
    random::SystemRandom,
    tls::{AnyKey, ClientAuthentication, ServerTls, TlsIdentity},
};
use proto::exchange::v1::{
    CompareRequest, CompareResponse, DeliverRequest, DeliverResponse, HelloRequest, HelloResponse, TellRequest,
    TellResponse, Verdict, VerifyRequest, VerifyResponse,
    answer::Outcome,
    exchange_client::ExchangeClient,
    exchange_server::{Exchange, ExchangeServer},
};
use tonic::{Code, Request, Response, Status};
use town::harness::eventually;
use trust::key::Signer;

use crate::support::{
    MARRIAGE, MARRIED, Place, assert_outage, exit, housings_scope, marital_status,
    peer::{HandMadePeer, channel, refusal},
    said, verdict,
};

async fn three_departments() -> Place {
    Place::start(|plan, dir| {
        plan.department("civil-affairs")
            .service(MARRIAGE, dir.join("marriage.csv"))
            .department("housing")
            .department("taxation")
            .granting("civil-affairs/marriage-registration", "housing", housings_scope())
    })
    .await
}

/// Somebody who stands where civil affairs should, and counts what he gets to hear.
#[derive(Clone, Default)]
struct Impostor(Arc<AtomicU64>);

#[tonic::async_trait]
impl Exchange for Impostor {
    async fn verify(&self, _: Request<VerifyRequest>) -> Result<Response<VerifyResponse>, Status> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Err(Status::unavailable("thank you"))
    }

    async fn hello(&self, _: Request<HelloRequest>) -> Result<Response<HelloResponse>, Status> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Err(Status::unavailable("thank you"))
    }

    async fn compare(&self, _: Request<CompareRequest>) -> Result<Response<CompareResponse>, Status> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Err(Status::unavailable("thank you"))
    }

    async fn deliver(&self, _: Request<DeliverRequest>) -> Result<Response<DeliverResponse>, Status> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Err(Status::unavailable("thank you"))
    }

    async fn tell(&self, _: Request<TellRequest>) -> Result<Response<TellResponse>, Status> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Err(Status::unavailable("thank you"))
    }
}

impl Impostor {
    async fn stand_at(&self, address: &str, identity: &TlsIdentity) -> Standing {
        let tls = ServerTls::new(identity, ClientAuthentication::Required(Arc::new(AnyKey))).unwrap();
        let address: SocketAddr = address.parse().unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        let listener = loop {
            match Listener::bind(address, Security::Tls(Arc::clone(&tls)), ListenerLimits::default()).await {
                Ok(listener) => break listener,
                // Who stood there before may take a moment to go.
                Err(error) if Instant::now() > deadline => panic!("the address is not free: {error}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        let server = tuned_server(&EdgeLimits::default()).add_service(ExchangeServer::new(self.clone()));
        let (leave, left) = tokio::sync::oneshot::channel::<()>();
        let serving = tokio::spawn(async move {
            let _ = server.serve_with_incoming_shutdown(listener.incoming(), async { drop(left.await) }).await;
        });
        Standing { leave, serving }
    }
}

struct Standing {
    leave: tokio::sync::oneshot::Sender<()>,
    serving: tokio::task::JoinHandle<()>,
}

impl Standing {
    /// Leaves, and takes the connections along.
    async fn leave(self) {
        let _ = self.leave.send(());
        self.serving.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_side_believes_the_others_key_alone_and_only_while_it_counts() {
    let place = three_departments().await;
    Box::pin(an_answerer_believes_the_connection_and_not_the_sender_line(&place)).await;
    Box::pin(who_is_in_no_directory_is_not_heard(&place)).await;
    Box::pin(a_suspended_department_is_refused_and_a_resumed_one_is_not(&place)).await;
    Box::pin(an_asker_speaks_to_nobody_who_shows_another_departments_certificate(&place)).await;
    // It revokes a key, and ends the registry.
    Box::pin(a_revocation_counts_at_the_peers_while_the_registry_is_away(&place)).await;
}

async fn an_asker_speaks_to_nobody_who_shows_another_departments_certificate(place: &Place) {
    let provider = place.town.node("civil-affairs");
    let mut ask = marital_status(&MARRIED, "married");
    ask.timeout_ms = 1_500;
    provider.stop().await.unwrap();

    let taxation = NodeKeys::read(place.town.node("taxation").dir()).unwrap();
    let impostor = Impostor::default();
    let standing = impostor.stand_at(&provider.peer_address(), &taxation.tls).await;
    assert_outage(&place.ask(ask.clone()).await);
    assert_eq!(impostor.0.load(Ordering::Relaxed), 0, "the impostor was spoken to");
    standing.leave().await;

    // With the right key he would have been: the test hears what is said.
    let own = NodeKeys::read(provider.dir()).unwrap();
    let standing = impostor.stand_at(&provider.peer_address(), &own.tls).await;
    assert_outage(&place.ask(ask.clone()).await);
    assert!(impostor.0.load(Ordering::Relaxed) > 0);
    standing.leave().await;

    provider.start().await.unwrap();
    let recovered = eventually(Duration::from_secs(10), async || {
        place.ask(ask.clone()).await.verdicts.iter().all(|claim| claim.verdict() == Verdict::Match)
    })
    .await;
    assert!(recovered);
}

async fn an_answerer_believes_the_connection_and_not_the_sender_line(place: &Place) {
    let housing = HandMadePeer::new(&place.town, "housing", "civil-affairs").await;
    let mut taxation = HandMadePeer::new(&place.town, "taxation", "civil-affairs").await;
    // Housing's own signed question, brought by taxation: not even the right signature helps.
    let stolen = housing.seal(&housing.question(&MARRIED));
    let answer = taxation.answer_to(stolen).await;
    assert_eq!(refusal(&answer).code, "SENDER_WRONG");
    assert_eq!(answer.recipient, "ninghe/taxation", "the refusal goes to whom the connection belongs to");
    // As itself taxation is known, and has no grant.
    taxation.learn_directory().await;
    let answer = taxation.answer_to(taxation.seal(&taxation.question(&MARRIED))).await;
    assert_eq!(refusal(&answer).code, "GRANT_MISSING");
}

async fn who_is_in_no_directory_is_not_heard(place: &Place) {
    let node = place.town.node("civil-affairs");
    let before = place.evidence_size("civil-affairs").await;
    let stranger = TlsIdentity::generate(&SystemRandom, &["housing.example"]).unwrap();
    let peer = HandMadePeer::new(&place.town, "housing", "civil-affairs").await;
    for identity in [None, Some(&stranger)] {
        let mut client = ExchangeClient::new(channel(node, identity));
        let request = peer.seal(&peer.question(&MARRIED));
        let status = client.verify(VerifyRequest { request: Some(request) }).await.unwrap_err();
        // Cut off in the handshake, or told nothing but that.
        assert!(
            matches!(status.code(), Code::Cancelled | Code::Unauthenticated | Code::Unavailable | Code::Unknown),
            "{status:?}"
        );
        let hello = HelloRequest { oldest_wire_version: 1, newest_wire_version: 1 };
        client.hello(hello).await.unwrap_err();
    }
    assert_eq!(place.evidence_size("civil-affairs").await, before);
}

async fn a_revocation_counts_at_the_peers_while_the_registry_is_away(place: &Place) {
    let peer = HandMadePeer::new(&place.town, "housing", "civil-affairs").await;
    assert_eq!(verdict(&place.ask(marital_status(&MARRIED, "married")).await).verdict(), Verdict::Match);
    let answer = peer.answer_to(peer.seal(&peer.question(&MARRIED))).await;
    assert!(matches!(answer.outcome, Some(Outcome::Verdicts(_))), "{answer:?}");

    place.town.registry().stop().await.unwrap();
    let id = peer.keys.node.public_key().id().to_string();
    // The registry has not heard it, and the command says so; the peers were told nevertheless.
    let revoked = place.cli("housing", &["keys", "revoke", &id, "--reason", "the machine was stolen"]).await;
    assert_eq!(exit(&revoked), 3, "{}", said(&revoked));
    // The connection that stood is cut off; on a new one the refusal says why.
    let shut = eventually(Duration::from_secs(60), async || {
        let Ok(answer) = peer.send(peer.seal(&peer.question(&MARRIED))).await else { return false };
        let answer = peer.open(&answer).message;
        matches!(&answer.outcome, Some(Outcome::Refusal(refusal)) if refusal.code == "KEY_REVOKED")
    })
    .await;
    assert!(shut);
    // It is kept: a restart without the registry does not bring the key back.
    place.town.node("civil-affairs").kill();
    place.town.node("civil-affairs").start().await.unwrap();
    let answer = peer.answer_to(peer.seal(&peer.question(&MARRIED))).await;
    assert_eq!(refusal(&answer).code, "KEY_REVOKED");
}

async fn a_suspended_department_is_refused_and_a_resumed_one_is_not(place: &Place) {
    let suspend = place.town.registry_cli(&["department", "suspend", "housing", "--reason", "inquiry"]).await.unwrap();
    assert_eq!(exit(&suspend), 0, "{}", said(&suspend));
    place.town.settled().await.unwrap();
    let peer = HandMadePeer::new(&place.town, "housing", "civil-affairs").await;
    let answer = peer.answer_to(peer.seal(&peer.question(&MARRIED))).await;
    assert_eq!(refusal(&answer).code, "DEPARTMENT_SUSPENDED");
    let resume = ["--json", "department", "resume", "housing", "--reason", "inquiry over"];
    let resume = place.town.registry_cli(&resume).await.unwrap();
    assert_eq!(exit(&resume), 0, "{}", said(&resume));
    let stated: serde_json::Value = serde_json::from_slice(&resume.stdout).unwrap();
    let shown = place.town.registry_cli(&["log", "show", &stated["statement"].to_string()]).await.unwrap();
    assert!(said(&shown).contains("takes part again: inquiry over"), "{}", said(&shown));
    place.town.settled().await.unwrap();
    assert_eq!(verdict(&place.ask(marital_status(&MARRIED, "married")).await).verdict(), Verdict::Match);
}
