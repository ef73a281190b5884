//! Two nodes of one department over one PostgreSQL database: a question has one answer at both, a quota is one for both,
//! and while the database is away nothing is answered that nobody would count.

use std::{fs, path::Path};

use exchange_node::keys::NodeKeys;
use host::{
    edge::ChannelLimits,
    tls::{ConnectorOptions, PeerConnector},
};
use proto::{
    exchange::v1::{Answer, Request, Signed, VerifyRequest, answer::Outcome, exchange_client::ExchangeClient},
    registry::v1::Quota,
};
use serde_json::Value;
use tonic::{Code, Status, transport::Channel};
use town::harness::eventually;
use trust::{answer::LARGEST_ANSWER, envelope, key::Signer};

use crate::{
    bulk::{STATUS, arguments, files, people},
    nodes::{at, join},
    postgres_server,
    support::{
        MARRIAGE, MARRIED, Place, exit, further::Further, housings_scope, peer::HandMadePeer, replicas::LIMIT, said,
    },
};

/// Has a node share the database from its next start on.
fn share(dir: &Path, url: &str) {
    let path = dir.join("node.toml");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("shared = \"\""), "{text}");
    fs::write(&path, text.replace("shared = \"\"", &format!("shared = \"{url}\""))).unwrap();
}

/// A question that stays valid for as long as this test may take.
fn question(peer: &HandMadePeer) -> Request {
    let question = peer.question(&MARRIED);
    Request { expires_at_ms: question.issued_at_ms + 290_000, ..question }
}

/// The second node, as housing's node reaches it.
struct Second {
    client: ExchangeClient<Channel>,
    node: Further,
}

impl Second {
    async fn send(&self, signed: Signed) -> Result<Signed, Status> {
        let answered = self.client.clone().verify(VerifyRequest { request: Some(signed) }).await?;
        Ok(answered.into_inner().answer.expect("an answer"))
    }
}

/// The code of a refusal; empty where there are verdicts. The answer may be of either node.
fn code(answer: &Signed, keys: &[NodeKeys; 2]) -> String {
    let key_of = |id: &_| {
        let key = keys.iter().map(|keys| keys.node.public_key()).find(|key| key.id() == id);
        key.cloned()
    };
    let answer: Answer = envelope::open_signed(answer, LARGEST_ANSWER, key_of).expect("a node's signature").message;
    match answer.outcome {
        Some(Outcome::Verdicts(_)) => String::new(),
        Some(Outcome::Refusal(refusal)) => refusal.code,
        other => panic!("{other:?}"),
    }
}

/// Two jobs of ten rows together: their batches go to both nodes in turn, and to the one that is up where they cannot have left.
async fn batches_go_to_both_and_to_the_one_that_is_up(place: &Place, second: &Path) {
    let sizes = async || {
        let status = at(place, second, &["status", "--json"]).await;
        let status: Value = serde_json::from_slice(&status.stdout).unwrap();
        (place.evidence_size("civil-affairs").await, status["evidence_size"].as_u64().unwrap())
    };
    let before = sizes().await;
    let results = place.dir().join("results.csv");
    let (file, map) = files(place.dir(), &people(6), STATUS);
    let told = place.json("housing", &arguments(&file, &map, &results)).await;
    assert_eq!(told["job"]["matched"], 6, "{told}");
    let after = sizes().await;
    // Three batches, each a question and its answer.
    assert_eq!(after.0 - before.0 + after.1 - before.1, 6, "{before:?} {after:?}");
    assert!(after.0 > before.0 && after.1 > before.1, "{before:?} {after:?}");
    place.town.node("civil-affairs").stop().await.unwrap();
    let (file, map) = files(place.dir(), &people(10)[6..], STATUS);
    let (command, goes_on) = (arguments(&file, &map, &results), "the job goes on at the second node");
    let told = tokio::time::timeout(LIMIT, place.json("housing", &command)).await.expect(goes_on);
    assert_eq!(told["job"]["matched"], 4, "{told}");
    place.town.node("civil-affairs").start().await.unwrap();
    let now = sizes().await;
    assert_eq!((now.0, now.1), (after.0, after.1 + 4), "both batches went to the second");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_share_answers_and_a_quota_and_answer_nothing_without_their_database() {
    let test = "shared_state::two_nodes_share_answers_and_a_quota_and_answer_nothing_without_their_database";
    let Some(mut scratch) = postgres_server::own(test).await else { return };
    let place = Place::start(|plan, dir| {
        let scope = housings_scope().at_most(Quota { per_second: 0, per_day: 0, total: 15 });
        let plan = plan
            .setting("[limits]", "[bulk]\nrows_per_batch = 2\n\n[limits]")
            .department("civil-affairs")
            .service(MARRIAGE, dir.join("marriage.csv"))
            .department("housing");
        plan.granting("civil-affairs/marriage-registration", "housing", scope)
    })
    .await;
    let second = join(&place, "127.0.0.1").await;
    let records = place.dir().join("marriage.csv");
    let import = ["records", "import", "marriage-registration", records.to_str().unwrap()];
    let imported = at(&place, second.dir(), &import).await;
    assert_eq!(exit(&imported), 0, "{}", said(&imported));
    let dir = second.dir().to_owned();
    second.stop().await;
    place.town.node("civil-affairs").stop().await.unwrap();
    // One key for the guess budget of both, as the guide says.
    fs::copy(place.town.node("civil-affairs").dir().join("budget/key"), dir.join("budget/key")).unwrap();
    for dir in [place.town.node("civil-affairs").dir(), &dir] {
        share(dir, &scratch.url());
    }
    place.town.node("civil-affairs").start().await.unwrap();
    let config = dir.join("node.toml");
    let node = Further::node(&place.town, &["serve", "--config", config.to_str().unwrap()], &dir).await;
    place.town.settled().await.unwrap();

    let peer = HandMadePeer::new(&place.town, "housing", "civil-affairs").await;
    let keys = [place.town.node("civil-affairs").dir(), &dir].map(|dir| NodeKeys::read(dir).expect("the node's keys"));
    let address = node.ready()["peer"].as_str().expect("its address").to_owned();
    let theirs = keys[1].tls.key_digest();
    let connector = PeerConnector::new([address], [theirs], Some(&peer.keys.tls), ConnectorOptions::default());
    let client = ExchangeClient::new(connector.expect("a connector").channel(&ChannelLimits::default()));
    let second = Second { client, node };
    let knows =
        async || second.send(peer.seal(&question(&peer))).await.is_ok_and(|answer| code(&answer, &keys).is_empty());
    assert!(eventually(LIMIT, knows).await, "the second node answers: {}", second.node.log());

    batches_go_to_both_and_to_the_one_that_is_up(&place, &dir).await;
    let peer = HandMadePeer::new(&place.town, "housing", "civil-affairs").await;

    // One after the other, and both at once: the very same bytes.
    let first = peer.seal(&question(&peer));
    let answer = peer.send(first.clone()).await.unwrap();
    assert_eq!(code(&answer, &keys), "");
    assert_eq!(second.send(first.clone()).await.unwrap(), answer);
    let both = peer.seal(&question(&peer));
    let (here, there) = tokio::join!(peer.send(both.clone()), second.send(both.clone()));
    assert_eq!(here.unwrap(), there.unwrap());
    // Other bytes under a known id are refused wherever they come.
    let mut other = question(&peer);
    other.request_id = envelope::peek::<Request>(&first, 1 << 20).unwrap().request_id;
    assert_eq!(code(&second.send(peer.seal(&other)).await.unwrap(), &keys), "REQUEST_ID_REUSED");

    // Three are used, and ten by the jobs. Without the database there is no answer, not even one that was given before.
    scratch.own_server().stop();
    let waiting = peer.seal(&question(&peer));
    let (one, two, three, four) = tokio::join!(
        peer.send(waiting.clone()),
        second.send(waiting.clone()),
        peer.send(first.clone()),
        second.send(first.clone())
    );
    for status in [one, two, three, four] {
        assert_eq!(status.expect_err("nothing is answered").code(), Code::Unavailable);
    }
    let doctor = place.cli("civil-affairs", &["doctor"]).await;
    assert!(said(&doctor).contains("WRONG    shared database: nothing is answered"), "{}", said(&doctor));
    let usage = place.json("civil-affairs", &["access", "usage"]).await;
    assert_eq!(usage["counted_here_alone"], true, "{usage}");
    scratch.own_server().run(&[]);
    let answered = async || peer.send(waiting.clone()).await.is_ok_and(|answer| code(&answer, &keys).is_empty());
    assert!(eventually(LIMIT, answered).await, "the same question is answered when the database is back");
    assert_eq!(second.send(first.clone()).await.unwrap(), answer);

    // The fifteenth is the last, wherever the next ones come; also after a restart of both.
    assert_eq!(code(&second.send(peer.seal(&question(&peer))).await.unwrap(), &keys), "");
    for next in [peer.send(peer.seal(&question(&peer))).await, second.send(peer.seal(&question(&peer))).await] {
        assert_eq!(code(&next.unwrap(), &keys), "QUOTA_EXCEEDED");
    }
    let total = |usage: Value| usage["grants"][0]["used"]["total"].clone();
    let usage = at(&place, &dir, &["access", "usage", "--json"]).await;
    let usage: Value = serde_json::from_slice(&usage.stdout).unwrap();
    assert_eq!(usage["counted_here_alone"], false, "{usage}");
    assert_eq!((total(usage), total(place.json("civil-affairs", &["access", "usage"]).await)), (15.into(), 15.into()));
    place.town.node("civil-affairs").kill();
    place.town.node("civil-affairs").start().await.unwrap();
    let peer = HandMadePeer::new(&place.town, "housing", "civil-affairs").await;
    let known = async || peer.send(first.clone()).await.is_ok_and(|again| again == answer);
    assert!(eventually(LIMIT, known).await, "the stored answer, after a restart too");
    assert_eq!(code(&peer.send(peer.seal(&question(&peer))).await.unwrap(), &keys), "QUOTA_EXCEEDED");
}
