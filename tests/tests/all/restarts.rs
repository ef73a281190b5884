//! What stopping, killing and restarting does to answers: an outage is never a mismatch, and a question once answered has
//! the same answer ever after.

use proto::{exchange::v1::Verdict, office::v1::State};

use crate::support::{
    MARRIED, Place, SINGLE, assert_outage, exit, marital_status,
    peer::{HandMadePeer, refusal},
    said, verdict,
};

#[tokio::test(flavor = "multi_thread")]
async fn stopping_and_killing_costs_no_answer_that_was_given() {
    let place = Place::civil_affairs_and_housing().await;
    Box::pin(a_provider_that_is_away_is_an_outage_and_answers_again_when_it_is_back(&place)).await;
    Box::pin(a_question_that_waits_for_its_provider_is_answered_when_it_comes_back_in_time(&place)).await;
    Box::pin(an_offices_idempotency_key_gets_the_same_receipt_after_a_crash(&place)).await;
    Box::pin(nobody_misses_the_registry_while_it_is_away(&place)).await;
    // A peer made by hand signs with housing's key what housing's evidence lacks: after its next start it would go no further.
    Box::pin(a_retry_after_a_restart_gets_the_same_bytes_and_other_bytes_are_refused(&place)).await;
}

async fn a_provider_that_is_away_is_an_outage_and_answers_again_when_it_is_back(place: &Place) {
    let provider = place.town.node("civil-affairs");
    let mut ask = marital_status(&MARRIED, "married");
    ask.timeout_ms = 1_500;
    assert_eq!(verdict(&place.ask(ask.clone()).await).verdict(), Verdict::Match);

    provider.stop().await.unwrap();
    let stopped = place.ask(ask.clone()).await;
    assert_outage(&stopped);
    // The outcome can be looked up and proved like any other.
    let shown = place.town.office("housing").await.unwrap().show(&stopped.receipt).await.unwrap();
    assert_eq!(shown.state(), State::Unanswered);
    provider.start().await.unwrap();
    assert_eq!(verdict(&place.ask(ask.clone()).await).verdict(), Verdict::Match);

    provider.kill();
    assert_outage(&place.ask(ask.clone()).await);
    provider.start().await.unwrap();
    assert_eq!(verdict(&place.ask(ask.clone()).await).verdict(), Verdict::Match);

    // It takes connections and says nothing: no difference.
    provider.signal(rustix::process::Signal::STOP).unwrap();
    assert_outage(&place.ask(ask.clone()).await);
    provider.signal(rustix::process::Signal::CONT).unwrap();
    assert_eq!(verdict(&place.ask(ask).await).verdict(), Verdict::Match);
}

async fn a_question_that_waits_for_its_provider_is_answered_when_it_comes_back_in_time(place: &Place) {
    let provider = place.town.node("civil-affairs");
    provider.stop().await.unwrap();
    let mut ask = marital_status(&MARRIED, "married");
    ask.timeout_ms = 30_000;
    let asked = place.town.node("housing").office().await.unwrap();
    let waiting = tokio::spawn(async move { asked.verify(ask).await });
    provider.start().await.unwrap();
    let answer = waiting.await.unwrap().unwrap();
    assert_eq!(verdict(&answer).verdict(), Verdict::Match);
}

async fn a_retry_after_a_restart_gets_the_same_bytes_and_other_bytes_are_refused(place: &Place) {
    let peer = HandMadePeer::new(&place.town, "housing", "civil-affairs").await;
    let mut request = peer.question(&MARRIED);
    request.expires_at_ms = request.issued_at_ms + 240_000;
    let signed = peer.seal(&request);
    let answer = peer.send(signed.clone()).await.unwrap();
    let refused = peer.seal(&{
        let mut refused = peer.question(&SINGLE);
        refused.officer.clear();
        refused
    });
    let refusal_given = peer.send(refused.clone()).await.unwrap();

    for how in ["stopped", "killed"] {
        let provider = place.town.node("civil-affairs");
        if how == "stopped" {
            provider.stop().await.unwrap();
        } else {
            provider.kill();
        }
        provider.start().await.unwrap();
        let peer = HandMadePeer::new(&place.town, "housing", "civil-affairs").await;
        assert_eq!(peer.send(signed.clone()).await.unwrap(), answer, "{how}");
        assert_eq!(peer.send(refused.clone()).await.unwrap(), refusal_given, "{how}: a refusal is an answer too");
        let mut other = request.clone();
        other.officer = "1025".into();
        let other = peer.answer_to(peer.seal(&other)).await;
        assert_eq!(refusal(&other).code, "REQUEST_ID_REUSED", "{how}");
    }
}

async fn an_offices_idempotency_key_gets_the_same_receipt_after_a_crash(place: &Place) {
    let mut ask = marital_status(&MARRIED, "married");
    ask.idempotency_key = "GZF-2026-0001/marriage".into();
    let first = place.ask(ask.clone()).await;
    assert_eq!(place.ask(ask.clone()).await.receipt, first.receipt);
    place.town.node("housing").kill();
    place.town.node("housing").start().await.unwrap();
    let again = place.ask(ask.clone()).await;
    assert_eq!((again.receipt, again.request_digest), (first.receipt, first.request_digest));
    // Another question under the same key is not answered with the first one's answer.
    let mut other = marital_status(&SINGLE, "married");
    other.idempotency_key = ask.idempotency_key;
    let office = place.town.office("housing").await.unwrap();
    match office.verify(other).await {
        Ok(answer) => assert_ne!(answer.state(), State::Answered, "{answer:?}"),
        Err(status) => assert_eq!(status.code(), tonic::Code::AlreadyExists, "{status}"),
    }
}

async fn nobody_misses_the_registry_while_it_is_away(place: &Place) {
    place.town.registry().stop().await.unwrap();
    assert_eq!(verdict(&place.ask(marital_status(&MARRIED, "married")).await).verdict(), Verdict::Match);
    for node in place.town.nodes() {
        node.stop().await.unwrap();
    }
    // Both start, know each other and answer, from the view that they keep on disk.
    for node in place.town.nodes() {
        node.start().await.unwrap();
    }
    let answer = place.ask(marital_status(&MARRIED, "married")).await;
    assert_eq!(verdict(&answer).verdict(), Verdict::Match);
    let bundle = place.dir().join("question.evidence");
    place.json("housing", &["evidence", "export", &answer.receipt, "-o", bundle.to_str().unwrap()]).await;
    let authority = place.town.authority_key();
    let checked =
        place.json("housing", &["evidence", "verify", bundle.to_str().unwrap(), "--authority", authority]).await;
    assert_eq!(checked["sound"], true);
    // What needs the registry says so, and says that it is the registry.
    let published = place.cli("civil-affairs", &["service", "suspend", "marriage-registration", "--notice", "n"]).await;
    assert_eq!(exit(&published), 3, "{}", said(&published));
    assert!(said(&published).contains("registry"), "{}", said(&published));

    // And when it is back, the nodes go on following it.
    place.town.registry().start().await.unwrap();
    let renewed = town::harness::eventually(std::time::Duration::from_secs(20), async || {
        place.json("housing", &["status"]).await["registry_reachable"] == true
    })
    .await;
    assert!(renewed);
}
