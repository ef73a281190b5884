//! Corrections, on real processes: who opened one is told what was found, and so is everybody else who relied on a record that
//! was wrong, whoever is down or killed in between; a stranger's doubt is refused; what is late stands on the board.

use std::{fs, time::Duration};

use exchange_node::keys::NodeKeys;
use prost::Message;
use proto::{
    exchange::v1::{
        Answer, Correction, CorrectionReply, EntryKind, EvidenceBundle, OpenCorrectionRequest, Request, Verdict,
        correction_reply::Said, corrections_client::CorrectionsClient,
    },
    office::v1::{VerifyRequest, VerifyResponse},
};
use serde_json::{Value, json};
use town::harness::{Plan, eventually};
use trust::{directory::WIRE_VERSION, envelope};

use crate::support::{
    MARRIAGE, MARRIED, Place, WIDOWED, claim, exit, housings_scope, marital_status,
    office_desk::{self, Desk},
    peer::{channel, now_ms, seal_with},
    question, said, verdict,
    webhook::Receiver,
};

const LONG: Duration = Duration::from_secs(60);

const OTHERS: [&str; 2] = ["education", "health"];

/// The marriage register, and three departments that ask it.
async fn town(settings: &'static str) -> Place {
    Place::start(|plan: Plan, dir| {
        let plan = plan.department("civil-affairs").service(MARRIAGE, dir.join("marriage.csv"));
        let asking = ["housing", OTHERS[0], OTHERS[1]];
        let plan = asking.into_iter().fold(plan, |plan, department| {
            plan.department(department).granting("civil-affairs/marriage-registration", department, housings_scope())
        });
        plan.setting("[limits]", &format!("{settings}\n[limits]"))
    })
    .await
}

async fn ask(place: &Place, department: &str, question: VerifyRequest) -> VerifyResponse {
    place.town.office(department).await.unwrap().verify(question).await.unwrap()
}

async fn shown(place: &Place, department: &str, receipt: &str) -> VerifyResponse {
    place.town.office(department).await.unwrap().show(receipt).await.unwrap()
}

async fn open(place: &Place, department: &str, receipt: &str) -> Value {
    let opened =
        ["corrections", "open", receipt, "--reason", "PAPER_SAYS_OTHERWISE", "--text", "离婚证", "--officer", "1024"];
    place.json(department, &opened).await
}

async fn correction(place: &Place, id: &str) -> Value {
    place.json("housing", &["corrections", "show", id]).await
}

/// The correction with this id as the provider has it, once it has it.
async fn received(place: &Place, id: &str) -> Value {
    let found = async || {
        let listed = place.json("civil-affairs", &["corrections", "inbox", "--all"]).await;
        listed["corrections"].as_array().unwrap().iter().find(|row| row["id"] == id).cloned()
    };
    assert!(eventually(LONG, async || found().await.is_some()).await, "civil-affairs has {id}");
    found().await.unwrap()
}

async fn decide(place: &Place, id: &str, found: &[&str]) -> std::process::Output {
    place.cli("civil-affairs", &[&["corrections", "decide", id][..], found, &["--officer", "2001"]].concat()).await
}

async fn mend(place: &Place) {
    let mended = place.dir().join("mended.csv");
    let rows = format!(
        "resident_id,marital_status,registered_on\n{},divorced,2026-05-20\n{},widowed,2021-11-03\n",
        *MARRIED, *WIDOWED
    );
    fs::write(&mended, rows).unwrap();
    place.town.import("civil-affairs", "marriage-registration", &mended).await.unwrap();
}

async fn restart(place: &Place, department: &str) {
    place.town.node(department).kill();
    place.town.node(department).start().await.unwrap();
}

/// Exports a department's evidence, which must be sound with the authority's key alone; how many answers it shows.
async fn answers_proved(place: &Place, department: &str, receipt: &str) -> usize {
    let bundle = place.dir().join(format!("{department}-{}", receipt.replace('/', ".")));
    let bundle = bundle.to_str().unwrap();
    place.json(department, &["evidence", "export", receipt, "-o", bundle]).await;
    let verified =
        place.json(department, &["evidence", "verify", bundle, "--authority", place.town.authority_key()]).await;
    verified["checks"].as_array().unwrap().iter().filter(|check| check["name"] == "answer signature").count()
}

/// A department's office system asks about both people in one batch, whether they are married; where its job is.
async fn ask_in_a_batch(desk: &Desk) -> String {
    let mut job = office_desk::question(&MARRIED, "married");
    job.as_object_mut().unwrap().remove("subject");
    job["name"] = json!("review");
    let row = |number: &str| json!({ "subject": { "scheme": "resident_id", "value": number } });
    job["rows"] = json!([row(&WIDOWED), row(&MARRIED)]);
    let submitted = desk.call("POST", "/v1/batches").json(&job).send();
    assert_eq!(submitted.status, 202, "{submitted:?}");
    let location = submitted.headers["location"].clone();
    let done = async || desk.call("GET", &location).send().json()["state"] == "done";
    assert!(eventually(LONG, done).await, "{:?}", desk.call("GET", &location).send());
    location
}

/// The verdicts of a job's rows with the decisions that corrected them, and what finds the evidence of each.
fn results_of(desk: &Desk, job: &str) -> (Vec<(String, usize)>, Vec<String>) {
    let page = desk.call("GET", &format!("{job}/results")).send().json();
    let rows = page["results"].as_array().unwrap_or_else(|| panic!("{page}"));
    let verdict = |row: &Value| {
        let decision = row["correction"].as_str().unwrap_or_default();
        (row["verdicts"][0]["verdict"].as_str().unwrap().to_owned(), decision.len())
    };
    let receipt = |row: &Value| row["receipt"].as_str().unwrap().to_owned();
    (rows.iter().map(verdict).collect(), rows.iter().map(receipt).collect())
}

/// Education relied on the record by one item of a batch, and was down: its item has the successor of its own answer, its
/// office hears of it by itself, and the neighbour's item stays what it is.
async fn who_relied_by_a_batch_is_told(place: &Place, desk: &Desk, job: &str, hook: &Receiver) {
    let told = async || results_of(desk, job).0 == [("MISMATCH".to_owned(), 0), ("MISMATCH".to_owned(), 64)];
    assert!(eventually(LONG, told).await, "{:?}", results_of(desk, job));
    let (_, receipts) = results_of(desk, job);
    let now = shown(place, OTHERS[0], &receipts[1]).await;
    assert_eq!((verdict(&now).verdict(), now.answer_number), (Verdict::Mismatch, 2));
    assert_eq!(now.correction.len(), 64, "{now:?}");
    let neighbour = shown(place, OTHERS[0], &receipts[0]).await;
    assert_eq!((neighbour.answer_number, neighbour.correction.as_str()), (1, ""), "{neighbour:?}");
    let heard = async || hook.of("verification.answered").iter().any(|notice| notice["data"]["id"] == *receipts[1]);
    assert!(eventually(LONG, heard).await, "{:?}", hook.notices());
    // What is proved by the item's receipt and by the new one is the same, and the neighbour is in neither.
    for (receipt, answers) in [(&receipts[1], 2), (&now.receipt, 2), (&receipts[0], 1)] {
        assert_eq!(answers_proved(place, OTHERS[0], receipt).await, answers, "{receipt}");
    }
    let audited = place.asked_about("civil-affairs", &MARRIED).await;
    let educations: Vec<_> = audited.iter().filter(|entry| entry["department"] == OTHERS[0]).collect();
    assert_eq!(educations.len(), 2, "alone and by a batch: {audited:?}");
    for entry in educations {
        assert_eq!((&entry["corrected"], &entry["attributes"][0]["verdict"]), (&true.into(), &"MISMATCH".into()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everyone_who_relied_on_a_record_that_was_wrong_is_told_whoever_is_down() {
    let place = town("[subject_log]\nauditors = [\"2009\"]\n").await;
    let told_office = Receiver::default();
    told_office.take(true);
    place.json("housing", &["webhook", "add", "housing-desk", &told_office.start().await]).await;
    let married = || marital_status(&MARRIED, "married");
    let doubted = ask(&place, "housing", married()).await;
    assert_eq!(verdict(&doubted).verdict(), Verdict::Match);
    let relied = ask(&place, OTHERS[0], married()).await;
    let own_claims = vec![claim("marital_status", "equals", "divorced"), claim("registered_on", "after", "2020-01-01")];
    let otherwise = ask(&place, OTHERS[1], question(&MARRIED, own_claims)).await;
    let verdicts =
        |response: &VerifyResponse| response.verdicts.iter().map(|claim| claim.verdict()).collect::<Vec<_>>();
    assert_eq!(verdicts(&otherwise), [Verdict::Mismatch, Verdict::Mismatch]);
    let untouched = ask(&place, OTHERS[0], marital_status(&WIDOWED, "widowed")).await;
    let office = place.town.office(OTHERS[0]).await.unwrap();
    let desk = Desk { base: format!("http://{}", office.address()), key: office.api_key().to_owned() };
    let told_by_batch = Receiver::default();
    told_by_batch.take(true);
    place.json(OTHERS[0], &["webhook", "add", "education-desk", &told_by_batch.start().await]).await;
    let job = ask_in_a_batch(&desk).await;
    assert_eq!(results_of(&desk, &job).0, [("MISMATCH".to_owned(), 0), ("MATCH".to_owned(), 0)]);

    // The provider is down when it is opened, and both are killed before it has it.
    let civil_affairs = place.town.node("civil-affairs");
    civil_affairs.kill();
    let opened = open(&place, "housing", &doubted.receipt).await;
    let id = opened["id"].as_str().unwrap().to_owned();
    assert_eq!((&opened["state"], &opened["paper_accepted"]), (&"sending".into(), &true.into()), "{opened}");
    let twice = place
        .cli("housing", &["corrections", "open", &doubted.receipt, "--reason", "OTHER", "--officer", "1024"])
        .await;
    assert_eq!(exit(&twice), 7, "{}", said(&twice));
    assert!(said(&twice).contains("CORRECTION_OPEN"), "{}", said(&twice));
    restart(&place, "housing").await;
    assert_eq!(open(&place, "housing", &doubted.receipt).await["id"], id.as_str(), "the same again is the same");
    civil_affairs.start().await.unwrap();
    let waiting = received(&place, &id).await;
    assert_eq!((&waiting["state"], &waiting["clock"]), (&"open".into(), &"green".into()), "{waiting}");
    assert!(eventually(LONG, async || correction(&place, &id).await["state"] == "open").await);
    assert!(correction(&place, &doubted.receipt).await["due_at_ms"].as_u64().unwrap() > now_ms() + 9 * 86_400_000);
    let for_the_clerk = place.json("civil-affairs", &["corrections", "inbox", &id]).await;
    assert_eq!((&for_the_clerk["text"], &for_the_clerk["verdicts"][0]["verdict"]), (&"离婚证".into(), &"MATCH".into()));

    // A record that is not mended yet gives the same answer.
    let wrong = ["--record-was-wrong", "ENTRY_MENDED"];
    let too_soon = decide(&place, &id, &wrong).await;
    assert_eq!(exit(&too_soon), 7, "{}", said(&too_soon));
    assert!(said(&too_soon).contains("RECORD_NOT_MENDED"), "{}", said(&too_soon));
    mend(&place).await;
    let education = place.town.node(OTHERS[0]);
    education.kill();
    let decided = decide(&place, &id, &wrong).await;
    assert_eq!(exit(&decided), 0, "{}", said(&decided));
    restart(&place, "civil-affairs").await;
    let again = decide(&place, &id, &wrong).await;
    assert_eq!(exit(&again), 7, "once: {}", said(&again));
    assert!(said(&again).contains("CORRECTION_CLOSED"), "{}", said(&again));

    // The opener has the decision and the successor of its answer.
    let concluded = async || {
        let shown = correction(&place, &id).await;
        shown["state"] == "record_was_wrong" && shown["corrected_receipt"] != ""
    };
    assert!(eventually(LONG, concluded).await, "{}", correction(&place, &id).await);
    let now = shown(&place, "housing", &doubted.receipt).await;
    assert_eq!((verdict(&now).verdict(), now.answer_number), (Verdict::Mismatch, 2));
    assert_eq!((now.correction.len(), &now.request_digest), (64, &doubted.request_digest));
    let closed = correction(&place, &id).await;
    assert_eq!((&closed["paper_accepted"], &closed["decision_reason"]), (&false.into(), &"ENTRY_MENDED".into()));
    // Housing's office system has heard of both by itself.
    let both = async || {
        let corrected = |notice: &Value| notice["data"]["correction"] != "";
        told_office.of("verification.answered").iter().any(corrected)
            && !told_office.of("correction.decided").is_empty()
    };
    assert!(eventually(LONG, both).await, "{:?}", told_office.notices());
    let decided = told_office.of("correction.decided").remove(0);
    assert_eq!(
        (&decided["data"]["id"], &decided["data"]["state"], &decided["data"]["decision_reason"]),
        (&id.as_str().into(), &"record_was_wrong".into(), &"ENTRY_MENDED".into()),
        "{decided}"
    );
    // So has whoever asked something else of the record, for its own claims.
    let told = async || shown(&place, OTHERS[1], &otherwise.receipt).await.answer_number == 2;
    assert!(eventually(LONG, told).await);
    let now = shown(&place, OTHERS[1], &otherwise.receipt).await;
    assert_eq!(verdicts(&now), [Verdict::Match, Verdict::Match]);
    // And whoever was down meanwhile.
    education.start().await.unwrap();
    let told = async || shown(&place, OTHERS[0], &relied.receipt).await.answer_number == 2;
    assert!(eventually(LONG, told).await);
    assert_eq!(verdict(&shown(&place, OTHERS[0], &relied.receipt).await).verdict(), Verdict::Mismatch);
    let events = place.json(OTHERS[0], &["events", "list"]).await;
    assert!(events.to_string().contains("answers_corrected"), "{events}");
    let others = shown(&place, OTHERS[0], &untouched.receipt).await;
    assert_eq!((others.answer_number, others.correction.as_str()), (1, ""), "another person's answer stays what it is");

    let all_told = async || {
        let row = received(&place, &id).await;
        row["answers_affected"] == 4 && row["answers_told"] == 4 && row["delivered"] == true
    };
    assert!(eventually(LONG, all_told).await, "{}", received(&place, &id).await);
    who_relied_by_a_batch_is_told(&place, &desk, &job, &told_by_batch).await;
    // Nothing is done twice after a restart, and what was told is proved by both sides.
    restart(&place, "civil-affairs").await;
    restart(&place, "housing").await;
    restart(&place, OTHERS[0]).await;
    let told = [("MISMATCH".to_owned(), 0), ("MISMATCH".to_owned(), 64)];
    assert_eq!(results_of(&desk, &job).0, told);
    let corrected = closed["corrected_receipt"].as_str().unwrap();
    assert_eq!(shown(&place, "housing", corrected).await.answer_number, 2);
    for receipt in [doubted.receipt.as_str(), corrected] {
        assert_eq!(answers_proved(&place, "housing", receipt).await, 2, "{receipt}");
    }
    let log = place.json("civil-affairs", &["corrections", "inbox", "--all"]).await;
    assert_eq!(log["corrections"].as_array().unwrap().len(), 1, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_whom_an_answer_was_given_may_doubt_it_and_what_is_late_stands_on_the_board() {
    let place = town("[corrections]\nanswer_within = \"2s\"\nper_day = 2\n").await;
    let doubted = ask(&place, "housing", marital_status(&MARRIED, "married")).await;
    // The own node knows no such answer.
    let unknown = place
        .cli(OTHERS[0], &["corrections", "open", &doubted.receipt, "--reason", "OTHER", "--officer", "1024"])
        .await;
    assert!(said(&unknown).contains("ANSWER_UNKNOWN"), "{}", said(&unknown));
    // A node that is not ours says it all the same, with the digests of housing's answer.
    let bundle = place.town.office("housing").await.unwrap().evidence(&doubted.receipt).await.unwrap();
    let bundle = EvidenceBundle::decode(bundle.as_slice()).unwrap();
    let of = |kind: EntryKind| {
        let mut items = bundle.logs.iter().flat_map(|log| &log.items);
        items.find(|item| item.kind() == kind).unwrap().message.clone().unwrap()
    };
    let (request, answer) = (of(EntryKind::QuestionSent), of(EntryKind::AnswerReceived));
    let given: Answer = envelope::peek(&answer, usize::MAX).unwrap();
    let asked: Request = envelope::peek(&request, usize::MAX).unwrap();
    let keys = NodeKeys::read(place.town.node(OTHERS[0]).dir()).unwrap();
    let mut client = CorrectionsClient::new(channel(place.town.node("civil-affairs"), Some(&keys.tls)));
    let stranger = |sender: &str, number: u8| Correction {
        wire_version: WIRE_VERSION,
        exchange_id: "ninghe".into(),
        correction_id: vec![number; 32],
        sender: format!("ninghe/{sender}"),
        sender_node: "1".into(),
        recipient: "ninghe/civil-affairs".into(),
        request_digest: envelope::digest_of(&request).unwrap().as_bytes().to_vec(),
        answer_digest: envelope::digest_of(&answer).unwrap().as_bytes().to_vec(),
        answered_at_ms: given.answered_at_ms,
        reason: "OTHER".into(),
        text: String::new(),
        officer: "1024".into(),
        case_number: asked.case_number.clone(),
        opened_at_ms: now_ms(),
    };
    let message = seal_with(&stranger(OTHERS[0], 1), keys.node.as_ref());
    let response = client.open(OpenCorrectionRequest { correction: Some(message) }).await.unwrap().into_inner();
    let reply: CorrectionReply = envelope::peek(&response.reply.unwrap(), usize::MAX).unwrap();
    let Some(Said::Refused(refusal)) = reply.said else { panic!("{reply:?}") };
    assert_eq!(refusal.code, "ANSWER_UNKNOWN");
    // Nor in housing's name.
    let message = seal_with(&stranger("housing", 2), keys.node.as_ref());
    assert!(client.open(OpenCorrectionRequest { correction: Some(message) }).await.is_err());
    let inbox = place.json("civil-affairs", &["corrections", "inbox", "--all"]).await;
    assert!(inbox["corrections"].as_array().unwrap().is_empty(), "{inbox}");

    // Whom it was given may, and gets to hear that the record is right; then there is no open correction any more.
    let id = open(&place, "housing", &doubted.receipt).await["id"].as_str().unwrap().to_owned();
    received(&place, &id).await;
    let late = async || received(&place, &id).await["overdue_recorded"] == true;
    assert!(eventually(LONG, late).await, "{}", received(&place, &id).await);
    assert_eq!(received(&place, &id).await["clock"], "red");
    assert_eq!(correction(&place, &id).await["overdue"], true);
    let board = place.town.registry_cli(&["board", "--json"]).await.unwrap();
    let board: Value = serde_json::from_slice(&board.stdout).unwrap();
    let counted = &board["overdue_answers"][0];
    assert_eq!((&counted["department"], &counted["count"]), (&"civil-affairs".into(), &1.into()), "{board}");
    let own_words = decide(&place, &id, &["--record-is-right", "he moved away"]).await;
    assert_eq!(exit(&own_words), 2, "{}", said(&own_words));
    let decided = decide(&place, &id, &["--record-is-right", "RECORD_CONFIRMED"]).await;
    assert_eq!(exit(&decided), 0, "{}", said(&decided));
    let concluded = async || correction(&place, &id).await["state"] == "record_is_right";
    assert!(eventually(LONG, concluded).await, "{}", correction(&place, &id).await);
    let shown = shown(&place, "housing", &doubted.receipt).await;
    assert_eq!((shown.answer_number, shown.correction.as_str()), (1, ""), "the answer stays what it is");
    assert_eq!(correction(&place, &id).await["decision_reason"], "RECORD_CONFIRMED");
    let again = open(&place, "housing", &doubted.receipt).await;
    assert_ne!(again["id"], id.as_str(), "it may be doubted again");
    two_officers_decide(&place, again["id"].as_str().unwrap()).await;

    // Two in a day are all that civil affairs takes of one department; who is refused reads why, and until when.
    let told_office = Receiver::default();
    told_office.take(true);
    place.json("housing", &["webhook", "add", "housing-desk", &told_office.start().await]).await;
    let other = ask(&place, "housing", marital_status(&WIDOWED, "widowed")).await;
    let id = open(&place, "housing", &other.receipt).await["id"].as_str().unwrap().to_owned();
    assert!(eventually(LONG, async || correction(&place, &id).await["state"] == "refused").await);
    let refused = correction(&place, &id).await;
    assert_eq!(refused["refusal"]["code"], "QUOTA_EXCEEDED", "{refused}");
    assert!(refused["refusal"]["retry_at_ms"].as_u64().unwrap() > now_ms(), "{refused}");
    assert_eq!(refused["paper_accepted"], false, "{refused}");
    let heard = async || !told_office.of("correction.refused").is_empty();
    assert!(eventually(LONG, heard).await, "{:?}", told_office.notices());
    let heard = told_office.of("correction.refused").remove(0)["data"].clone();
    assert_eq!((&heard["id"], &heard["refusal"]["code"]), (&id.into(), &"QUOTA_EXCEEDED".into()), "{heard}");
    let inbox = place.json("civil-affairs", &["corrections", "inbox", "--all"]).await;
    assert_eq!(inbox["corrections"].as_array().unwrap().len(), 2, "{inbox}");
}

/// Where the authority's profile says so, what one officer found counts once a second one has confirmed it.
async fn two_officers_decide(place: &Place, id: &str) {
    let profile = place.dir().join("profile.toml");
    fs::write(&profile, "[decisions]\nfour_eyes = [\"correction.decide\"]\n").unwrap();
    let set = place.town.registry_cli(&["profile", "set", profile.to_str().unwrap(), "--officer", "0007"]).await;
    assert_eq!(exit(set.as_ref().unwrap()), 0, "{}", said(set.as_ref().unwrap()));
    place.town.settled().await.unwrap();
    received(place, id).await;
    let right = ["--record-is-right", "RECORD_CONFIRMED"];
    let proposed = decide(place, id, &right).await;
    assert_eq!(exit(&proposed), 0, "{}", said(&proposed));
    assert_eq!(received(place, id).await["state"], "proposed");
    let twice = decide(place, id, &right).await;
    assert_eq!(exit(&twice), 7, "{}", said(&twice));
    restart(place, "civil-affairs").await;
    let confirm =
        async |officer: &str| place.cli("civil-affairs", &["corrections", "confirm", id, "--officer", officer]).await;
    let alone = confirm("2001").await;
    assert_eq!(exit(&alone), 7, "{}", said(&alone));
    assert!(said(&alone).contains("SECOND_OFFICER_SAME"), "{}", said(&alone));
    assert_ne!(correction(place, id).await["state"], "record_is_right", "nothing was told yet");
    let confirmed = confirm("2002").await;
    assert_eq!(exit(&confirmed), 0, "{}", said(&confirmed));
    let concluded = async || correction(place, id).await["state"] == "record_is_right";
    assert!(eventually(LONG, concluded).await, "{}", correction(place, id).await);
}
