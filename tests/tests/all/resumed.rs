//! A node that is killed after its question has arrived and before it has recorded the promise of an answer: it sends the
//! question again, gets the promise that was given, and later the answer. Out of scope: other crashes (`kill_loop`).

use std::{fs, time::Duration};

use proto::office::v1::{State, VerifyRequest};
use rustix::process::Signal;
use town::harness::eventually;

use crate::support::{MARRIAGE, MARRIED, Place, exit, housings_scope, marital_status};

const LONG: Duration = Duration::from_secs(60);

/// Whether bytes wait to be read at a local port.
fn is_waited_for(port: u16) -> bool {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    table.lines().skip(1).any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, local, _, state, queues, ..] = fields.as_slice() else { return false };
        let is_here = local.rsplit(':').next().and_then(|text| u16::from_str_radix(text, 16).ok()) == Some(port);
        let unread = queues.rsplit(':').next().and_then(|text| u64::from_str_radix(text, 16).ok()).unwrap_or(0);
        // Established.
        is_here && *state == "01" && unread > 0
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promise_that_came_while_the_asker_was_killed_is_found_again_and_kept() {
    let place = Place::start(|plan, _| {
        let yaml = format!("{MARRIAGE}answered_by: clerk\nclerk_answers_within: 1h\n");
        plan.department("civil-affairs").service_without_records(yaml).department("housing").granting(
            "civil-affairs/marriage-registration",
            "housing",
            housings_scope(),
        )
    })
    .await;
    let question = |status: &str| VerifyRequest {
        accepts_deferral: true,
        idempotency_key: format!("key-{status}"),
        timeout_ms: 60_000,
        ..marital_status(&MARRIED, status)
    };
    // Connects them.
    assert_eq!(place.ask(question("single")).await.state(), State::Deferred);
    let (housing, civil_affairs) = (place.town.node("housing"), place.town.node("civil-affairs"));
    let port: u16 = civil_affairs.peer_address().rsplit(':').next().unwrap().parse().unwrap();

    let recorded = place.evidence_size("housing").await;
    civil_affairs.signal(Signal::STOP).unwrap();
    let office = place.town.office("housing").await.unwrap();
    let asked = question("married");
    let asking = tokio::spawn(async move { office.verify(asked).await });
    // Recorded first, and then sent.
    assert!(eventually(LONG, async || place.evidence_size("housing").await > recorded).await, "the question is made");
    assert!(eventually(LONG, async || is_waited_for(port)).await, "the question has arrived");
    housing.signal(Signal::STOP).unwrap();
    civil_affairs.signal(Signal::CONT).unwrap();
    let tasks = async || place.json("civil-affairs", &["tasks", "list"]).await["tasks"].as_array().unwrap().clone();
    assert!(eventually(LONG, async || tasks().await.len() == 2).await, "the promise is made");
    housing.kill();
    assert!(asking.await.unwrap().is_err());

    // It is answered before the asker is there again.
    let ticket = tasks().await.iter().max_by_key(|task| task["since_ms"].as_u64()).unwrap()["ticket"].clone();
    let ticket = ticket.as_str().unwrap();
    let answer = ["tasks", "answer", ticket, "--verdict", "1=match", "--officer", "2001"];
    place.json("civil-affairs", &answer).await;
    housing.start().await.unwrap();
    let found = async || exit(&place.cli("housing", &["verify", "--ticket", ticket]).await);
    assert!(eventually(LONG, async || found().await == 0).await, "{}", found().await);
    // The office that asks again with its key gets that answer, and nobody is asked twice.
    let again = place.ask(question("married")).await;
    assert_eq!((again.state(), again.clerk.as_str()), (State::Answered, "2001"), "{again:?}");
    assert_eq!(place.json("civil-affairs", &["tasks", "list", "--all"]).await["tasks"].as_array().unwrap().len(), 2);
    let log = fs::read_to_string(housing.log()).unwrap();
    assert!(log.contains("the answer to an interrupted question is here"), "{log}");
    place.town.stop().await.unwrap();
}
