//! A department with several nodes: a further one is invited, added, drained and removed by command; the keys are made on
//! its own machine; askers choose among nodes and addresses, and a question that may have left for one is never put to another.

use std::{fs, path::Path, time::Duration};

use proto::{
    admin::v1::{ListNodesRequest, nodes_client::NodesClient},
    exchange::v1::Verdict,
    office::v1::{State, VerifyRequest, VerifyResponse},
};
use rustix::process::Signal;
use town::harness::{Office, eventually};

use crate::support::{
    MARRIED, Place, assert_outage, exit,
    further::{Further, free_address},
    marital_status, said, verdict,
};

/// How long anything may take on a machine that is busy.
const LONG: Duration = Duration::from_secs(60);

/// Civil affairs with a second node that has its records, and housing.
struct TwoNodes {
    second: Further,
    place: Place,
}

impl TwoNodes {
    /// The second node answers at `host`.
    async fn new(host: &str) -> Self {
        let place = Place::civil_affairs_and_housing().await;
        let second = join(&place, host).await;
        let records = place.dir().join("marriage.csv");
        let import = ["records", "import", "marriage-registration", records.to_str().unwrap()];
        let imported = at(&place, second.dir(), &import).await;
        assert_eq!(exit(&imported), 0, "{}", said(&imported));
        Self { second, place }
    }

    /// Runs a command at civil affairs' first node; every node of the town has seen what it said.
    async fn command(&self, arguments: &[&str]) {
        let output = self.place.cli("civil-affairs", arguments).await;
        assert_eq!(exit(&output), 0, "{arguments:?}: {}", said(&output));
        self.place.town.settled().await.unwrap();
    }

    async fn evidence_of_second(&self) -> u64 {
        let status = at(&self.place, self.second.dir(), &["status", "--json"]).await;
        serde_json::from_slice::<serde_json::Value>(&status.stdout).unwrap()["evidence_size"].as_u64().unwrap()
    }

    /// Which node of civil affairs gave the answer, by the evidence.
    async fn asked(&self, question: VerifyRequest) -> (VerifyResponse, String) {
        let (first, second) = (self.place.evidence_size("civil-affairs").await, self.evidence_of_second().await);
        let answer = self.place.ask(question).await;
        let grew = (self.place.evidence_size("civil-affairs").await > first, self.evidence_of_second().await > second);
        let by = match grew {
            (true, false) => "1",
            (false, true) => "2",
            (true, true) => "both",
            (false, false) => "none",
        };
        (answer, by.to_owned())
    }

    /// How many of housing's questions are under way to civil affairs' second node.
    async fn under_way_to_second(&self) -> u32 {
        let dir = self.place.town.node("housing").dir();
        let channel = host::admin_socket::connect(dir, "exchange-node serve").await.unwrap();
        let request = ListNodesRequest { department: "civil-affairs".into() };
        let nodes = NodesClient::new(channel).list_nodes(request).await.unwrap().into_inner().nodes;
        nodes.iter().find(|node| node.node == "2").map_or(0, |node| node.questions_under_way)
    }
}

/// Runs a command at a node in a folder of its own.
pub(crate) async fn at(place: &Place, dir: &Path, arguments: &[&str]) -> std::process::Output {
    let arguments: Vec<&str> = ["--dir", dir.to_str().unwrap()].into_iter().chain(arguments.iter().copied()).collect();
    place.cli("civil-affairs", &arguments).await
}

/// Civil affairs' second node joins as an operator would have it.
pub(crate) async fn join(place: &Place, host: &str) -> Further {
    let (invitation, offer) = (place.dir().join("2.invitation"), place.dir().join("2.offer"));
    let dir = place.dir().join("second");
    let invited = place.cli("civil-affairs", &["node", "invite", "2", "-o", invitation.to_str().unwrap()]).await;
    assert_eq!(exit(&invited), 0, "{}", said(&invited));
    let address = free_address(host).to_string();
    let made = at(
        place,
        &dir,
        &[
            "init",
            "--join",
            invitation.to_str().unwrap(),
            "--address",
            &address,
            "--office-address",
            "127.0.0.1:0",
            "--offer",
            offer.to_str().unwrap(),
        ],
    )
    .await;
    assert_eq!(exit(&made), 0, "{}", said(&made));
    let added = place.cli("civil-affairs", &["node", "add", offer.to_str().unwrap()]).await;
    assert_eq!(exit(&added), 0, "{}", said(&added));
    place.town.settled().await.unwrap();
    let config = dir.join("node.toml");
    let second = Further::node(&place.town, &["serve", "--config", config.to_str().unwrap()], &dir).await;
    // It follows the directory before it is of use.
    let size = place.json("civil-affairs", &["status"]).await["directory_size"].as_u64().unwrap();
    let followed = eventually(LONG, async || {
        let status = at(place, &dir, &["status", "--json"]).await;
        serde_json::from_slice::<serde_json::Value>(&status.stdout)
            .is_ok_and(|status| status["directory_size"].as_u64().is_some_and(|seen| seen >= size))
    })
    .await;
    assert!(followed, "{}", second.log());
    second
}

fn question() -> VerifyRequest {
    let mut question = marital_status(&MARRIED, "married");
    question.timeout_ms = 20_000;
    question
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_node_joins_with_keys_of_its_own_and_answers_when_the_first_is_away() {
    let place = TwoNodes::new("::1").await;
    // Nothing of the department's came to its machine, and nothing of its own left it.
    for key in ["department.key", "recovery.key"] {
        assert!(!place.second.dir().join("keys").join(key).exists(), "{key}");
    }
    let offer = fs::read_to_string(place.place.dir().join("2.offer")).unwrap();
    let own = fs::read_to_string(place.second.dir().join("keys/node.key")).unwrap();
    assert!(!offer.contains(own.trim()));
    let listed = place.place.json("civil-affairs", &["node", "list"]).await;
    let nodes = listed["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 2, "{listed}");
    assert!(nodes[1]["addresses"][0].as_str().unwrap().starts_with("[::1]:"), "{listed}");
    assert_eq!(nodes[1]["keys"].as_array().unwrap().len(), 1, "{listed}");
    // It has no database in which they count together, and asks nobody.
    let usage = place.place.json("civil-affairs", &["access", "usage"]).await;
    assert_eq!((&usage["counted_here_alone"], &usage["asked_here_alone"]), (&true.into(), &false.into()), "{usage}");
    // An offer is taken once.
    let again =
        place.place.cli("civil-affairs", &["node", "add", place.place.dir().join("2.offer").to_str().unwrap()]).await;
    assert_eq!(exit(&again), 2, "{}", said(&again));

    place.place.town.node("civil-affairs").stop().await.unwrap();
    let answer = place.place.ask(question()).await;
    assert_eq!(verdict(&answer).verdict(), Verdict::Match);
    // Whoever holds the evidence sees which node answered, and that it is the department's.
    let bundle = place.place.dir().join("second.evidence");
    place.place.json("housing", &["evidence", "export", &answer.receipt, "-o", bundle.to_str().unwrap()]).await;
    let authority = place.place.town.authority_key();
    let verify = ["evidence", "verify", bundle.to_str().unwrap(), "--authority", authority];
    assert_eq!(place.place.json("housing", &verify).await["sound"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_node_gets_no_new_questions_and_a_resumed_one_does() {
    let place = TwoNodes::new("127.41.0.2").await;
    place.command(&["node", "drain", "2"]).await;
    for _ in 0..12 {
        let (answer, by) = place.asked(question()).await;
        assert_eq!((verdict(&answer).verdict(), by.as_str()), (Verdict::Match, "1"));
    }
    let twice = place.place.cli("civil-affairs", &["node", "drain", "2"]).await;
    assert_eq!(exit(&twice), 7, "{}", said(&twice));
    place.command(&["node", "drain", "1"]).await;
    place.command(&["node", "resume", "2"]).await;
    let (answer, by) = place.asked(question()).await;
    assert_eq!((verdict(&answer).verdict(), by.as_str()), (Verdict::Match, "2"));
    // It stays drained when it is started again.
    let first = place.place.town.node("civil-affairs");
    first.stop().await.unwrap();
    first.start().await.unwrap();
    place.place.town.settled().await.unwrap();
    let listed = place.place.json("civil-affairs", &["node", "list"]).await;
    assert_eq!(listed["nodes"][0]["draining"], true, "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_way_at_a_node_finishes_there_while_it_is_drained() {
    let place = TwoNodes::new("127.42.0.2").await;
    place.command(&["node", "drain", "1"]).await;
    // A connection stands; then the node takes the question and says nothing.
    assert_eq!(place.asked(question()).await.1, "2");
    place.second.signal(Signal::STOP);
    let office = place.place.town.office("housing").await.unwrap();
    let waiting = tokio::spawn(ask(office, question()));
    assert!(eventually(LONG, async || place.under_way_to_second().await == 1).await);
    let first = place.place.evidence_size("civil-affairs").await;
    place.command(&["node", "resume", "1"]).await;
    place.command(&["node", "drain", "2"]).await;
    place.second.signal(Signal::CONT);
    let answer = waiting.await.unwrap();
    assert_eq!(verdict(&answer).verdict(), Verdict::Match);
    assert_eq!(place.place.evidence_size("civil-affairs").await, first, "it was put to the other node too");
    assert_eq!(place.asked(question()).await.1, "1", "and what is new goes there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_may_have_left_for_a_node_is_never_put_to_another() {
    let place = TwoNodes::new("127.43.0.2").await;
    place.command(&["node", "drain", "1"]).await;
    assert_eq!(place.asked(question()).await.1, "2");
    place.second.signal(Signal::STOP);
    let mut lost = question();
    lost.timeout_ms = 4_000;
    let office = place.place.town.office("housing").await.unwrap();
    let waiting = tokio::spawn(ask(office, lost));
    assert!(eventually(LONG, async || place.under_way_to_second().await == 1).await);
    let first = place.place.evidence_size("civil-affairs").await;
    place.command(&["node", "resume", "1"]).await;
    let TwoNodes { second, place } = place;
    second.kill();
    // The first is there all the while. Whether the second has answered nobody knows: an outage, not a second answer.
    assert_outage(&waiting.await.unwrap());
    assert_eq!(place.evidence_size("civil-affairs").await, first);
    // A question that has left for nobody goes where somebody is.
    for _ in 0..4 {
        let answer = place.ask(question()).await;
        assert_eq!(verdict(&answer).verdict(), Verdict::Match);
    }
    assert_eq!(place.evidence_size("civil-affairs").await, first + 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_node_is_heard_no_more_and_does_not_come_back_by_itself() {
    let place = TwoNodes::new("127.44.0.2").await;
    place.command(&["node", "remove", "2"]).await;
    let listed = place.place.json("civil-affairs", &["node", "list"]).await;
    assert_eq!(listed["nodes"].as_array().unwrap().len(), 1, "{listed}");
    for _ in 0..6 {
        assert_eq!(place.asked(question()).await.1, "1");
    }
    let TwoNodes { second, place } = place;
    let dir = second.dir().to_owned();
    second.stop().await;
    // Even with the department's key in its folder.
    let keys = |dir: &Path| dir.join("keys/department.key");
    fs::copy(keys(place.town.node("civil-affairs").dir()), keys(&dir)).unwrap();
    let config = dir.join("node.toml");
    let again = Further::node(&place.town, &["serve", "--config", config.to_str().unwrap()], &dir).await;
    assert!(eventually(LONG, async || again.log().contains("was removed from the directory")).await, "{}", again.log());
    let listed = place.json("civil-affairs", &["node", "list"]).await;
    assert_eq!(listed["nodes"].as_array().unwrap().len(), 1, "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_leads_nowhere_is_passed_over() {
    let place = Place::civil_affairs_and_housing().await;
    let real = place.town.node("civil-affairs").peer_address();
    // Nobody listens on the first, the second is nobody's, and the third is right.
    let nowhere = free_address("127.45.0.2").to_string();
    let changed = ["node", "change", "1", "--address", &nowhere, "--address", "[2001:db8::1]:7443", "--address", &real];
    let changed = place.cli("civil-affairs", &changed).await;
    assert_eq!(exit(&changed), 0, "{}", said(&changed));
    place.town.settled().await.unwrap();
    for _ in 0..3 {
        assert_eq!(verdict(&place.ask(question()).await).verdict(), Verdict::Match);
    }
    let none = place.cli("civil-affairs", &["node", "change", "1"]).await;
    assert_eq!(exit(&none), 2, "{}", said(&none));
}

async fn ask(office: Office, question: VerifyRequest) -> VerifyResponse {
    let answer = office.verify(question).await.unwrap_or_else(|status| panic!("a result, not {status}"));
    assert!(matches!(answer.state(), State::Answered | State::Unanswered), "{answer:?}");
    answer
}
