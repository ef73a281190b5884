//! The journey of a question, from the office port through two nodes and back, and the proof that is left of it.

use std::fs;

use proto::{exchange::v1::Verdict, office::v1::State};

use crate::support::{
    MARRIAGE, MARRIED, Place, SINGLE, WIDOWED, claim, evidence, exit, housings_scope, marital_status, question, said,
    verdict,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_question_gets_its_verdict_and_leaves_proof_on_both_sides() {
    let place = Place::civil_affairs_and_housing().await;
    Box::pin(the_office_port_asks_for_a_key_on_loopback_too(&place)).await;
    Box::pin(each_verdict_comes_from_the_record_and_absence_is_marked(&place)).await;
    Box::pin(the_answering_side_can_prove_the_same_question(&place)).await;
    // It ends every process.
    Box::pin(both_sides_keep_evidence_that_anybody_can_check_offline(&place)).await;
}

async fn each_verdict_comes_from_the_record_and_absence_is_marked(place: &Place) {
    let matched = place.ask(marital_status(&MARRIED, "married")).await;
    assert_eq!((verdict(&matched).verdict(), verdict(&matched).by_absence), (Verdict::Match, false));
    assert!(!matched.receipt.is_empty());
    assert_eq!(matched.provider, "ninghe/civil-affairs");

    let mismatched = place.ask(marital_status(&WIDOWED, "married")).await;
    assert_eq!(verdict(&mismatched).verdict(), Verdict::Mismatch);

    // The register is declared complete, and says that nobody without a row ever married.
    let absent = place.ask(marital_status(&SINGLE, "single")).await;
    assert_eq!((verdict(&absent).verdict(), verdict(&absent).by_absence), (Verdict::Match, true));
    let absent = place.ask(marital_status(&SINGLE, "married")).await;
    assert_eq!((verdict(&absent).verdict(), verdict(&absent).by_absence), (Verdict::Mismatch, true));

    // What absence means for the date is not declared.
    let unknown = place.ask(question(&SINGLE, vec![claim("registered_on", "after", "2000-01-01")])).await;
    assert_eq!((verdict(&unknown).verdict(), verdict(&unknown).by_absence), (Verdict::NoRecord, false));

    let both = vec![claim("marital_status", "equals", "married"), claim("registered_on", "equals", "2018-05-21")];
    let several = place.ask(question(&MARRIED, both)).await;
    let verdicts: Vec<_> = several.verdicts.iter().map(|claim| claim.verdict()).collect();
    assert_eq!(verdicts, [Verdict::Match, Verdict::Mismatch]);
}

async fn both_sides_keep_evidence_that_anybody_can_check_offline(place: &Place) {
    let (asker, answerer) = (place.evidence_size("housing").await, place.evidence_size("civil-affairs").await);
    let answer = place.ask(marital_status(&MARRIED, "married")).await;
    // A question and its answer, on each side.
    assert_eq!(place.evidence_size("housing").await, asker + 2);
    assert_eq!(place.evidence_size("civil-affairs").await, answerer + 2);

    let shown = place.json("housing", &["evidence", "show", &answer.receipt]).await;
    assert_eq!(shown["verdicts"][0]["verdict"], "MATCH");
    assert_eq!(shown["request_digest"], answer.request_digest);

    let bundle = place.dir().join("question.evidence");
    let bundle = bundle.to_str().unwrap();
    place.json("housing", &["evidence", "export", &answer.receipt, "-o", bundle]).await;
    let authority = place.town.authority_key().to_owned();
    // Offline: with no registry and no node running.
    for node in place.town.nodes() {
        node.kill();
    }
    place.town.registry().kill();
    let verify =
        async |file: &str, key: &str| place.cli("housing", &["evidence", "verify", file, "--authority", key]).await;
    let sound = verify(bundle, &authority).await;
    assert_eq!(exit(&sound), 0, "{}", said(&sound));
    assert!(said(&sound).contains("The evidence is sound."), "{}", said(&sound));

    let other = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    let elsewhere = verify(bundle, other).await;
    assert_eq!(exit(&elsewhere), 8, "{}", said(&elsewhere));

    // Any byte that is changed is noticed, and the check that fails is named.
    let bytes = fs::read(bundle).unwrap();
    let altered = place.dir().join("altered.evidence");
    let step = bytes.len() / 12;
    for position in (step / 2..bytes.len()).step_by(step) {
        let mut copy = bytes.clone();
        copy[position] ^= 0x01;
        fs::write(&altered, copy).unwrap();
        let checked = verify(altered.to_str().unwrap(), &authority).await;
        assert_eq!(exit(&checked), 8, "byte {position}: {}", said(&checked));
        assert!(said(&checked).contains("the evidence is not sound: "), "byte {position}: {}", said(&checked));
    }
}

async fn the_answering_side_can_prove_the_same_question(place: &Place) {
    place.ask(marital_status(&MARRIED, "married")).await;
    // The provider's last entry is the answer that it gave.
    let receipts = receipts_of(place, "civil-affairs").await;
    let last = receipts.last().expect("an entry");
    let bundle = place.dir().join("answer.evidence");
    place.json("civil-affairs", &["evidence", "export", last, "-o", bundle.to_str().unwrap()]).await;
    let authority = place.town.authority_key();
    let checked =
        place.json("civil-affairs", &["evidence", "verify", bundle.to_str().unwrap(), "--authority", authority]).await;
    assert_eq!(checked["sound"], true, "{checked}");
    assert_eq!(checked["question"]["case_number"], "GZF-2026-0001", "{checked}");
}

/// Reads the receipts of a department's evidence from its stopped node, and starts it again.
async fn receipts_of(place: &Place, department: &str) -> Vec<String> {
    let node = place.town.node(department);
    node.stop().await.unwrap();
    let evidence = evidence::read(node.dir());
    node.start().await.unwrap();
    evidence.entries.iter().map(|entry| entry.receipt.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_whose_records_were_never_imported_is_unavailable() {
    let place = Place::start(|plan, _| {
        plan.department("civil-affairs").service_without_records(MARRIAGE).department("housing").granting(
            "civil-affairs/marriage-registration",
            "housing",
            housings_scope(),
        )
    })
    .await;
    let answer = place.ask(marital_status(&SINGLE, "single")).await;
    assert_eq!(answer.state(), State::Answered);
    assert_eq!(verdict(&answer).verdict(), Verdict::Unavailable);
    assert_eq!((verdict(&answer).reason.as_str(), verdict(&answer).by_absence), ("not_imported", false));

    // Once they are, the same question has an answer, without a restart.
    place.town.import("civil-affairs", "marriage-registration", &place.dir().join("marriage.csv")).await.unwrap();
    let answer = place.ask(marital_status(&SINGLE, "single")).await;
    assert_eq!((verdict(&answer).verdict(), verdict(&answer).by_absence), (Verdict::Match, true));
    place.town.stop().await.unwrap();
}

async fn the_office_port_asks_for_a_key_on_loopback_too(place: &Place) {
    let address = place.town.node("housing").office_address();
    for key in ["", "wrong", "errand_0000000000000000000000000000000000000000000000000000000000000000"] {
        let office = town::harness::Office::new(&address, key).unwrap();
        let status = office.verify(marital_status(&MARRIED, "married")).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::Unauthenticated, "{key:?}: {status}");
    }
    // A key that was taken back is of no use from then on.
    let added = place.json("housing", &["office-key", "add", "counter-2"]).await;
    let office = town::harness::Office::new(&address, added["key"].as_str().unwrap()).unwrap();
    office.verify(marital_status(&MARRIED, "married")).await.unwrap();
    place.json("housing", &["office-key", "remove", added["id"].as_str().unwrap()]).await;
    let status = office.verify(marital_status(&MARRIED, "married")).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unauthenticated, "{status}");
}
