//! Questions that a person answers, on real processes: the promise and the answer survive SIGKILL on either side, the answer
//! comes by itself and can be fetched, both sides can prove the whole succession, and what is late stands on the
//! authority's board. Two officers and crashes at every point are shown with doubles (`exchange-node`, `clerk`).

use std::{path::Path, time::Duration};

use proto::{
    exchange::v1::Verdict,
    office::v1::{State, VerifyRequest, VerifyResponse},
};
use serde_json::Value;
use town::harness::{Plan, eventually};

use crate::{
    bulk::{STATUS, arguments, files},
    support::{MARRIAGE, MARRIED, Place, SINGLE, exit, housings_scope, marital_status, peer::now_ms, said, verdict},
};

const LONG: Duration = Duration::from_secs(60);

/// The marriage register, answered by a person within some time.
fn by_clerk(within: &str) -> String {
    format!("{MARRIAGE}answered_by: clerk\nclerk_answers_within: {within}\n")
}

async fn town(yaml: String, with_records: bool) -> Place {
    let plan = move |plan: Plan, dir: &Path| {
        let plan = plan.department("civil-affairs");
        let plan = match with_records {
            true => plan.service(yaml, dir.join("marriage.csv")),
            false => plan.service_without_records(yaml),
        };
        plan.department("housing").granting("civil-affairs/marriage-registration", "housing", housings_scope())
    };
    Place::start(plan).await
}

fn patient(subject: &str, status: &str) -> VerifyRequest {
    VerifyRequest { accepts_deferral: true, ..marital_status(subject, status) }
}

async fn deferred(place: &Place, subject: &str, status: &str) -> VerifyResponse {
    let response = place.ask(patient(subject, status)).await;
    assert_eq!(response.state(), State::Deferred, "{response:?}");
    assert_eq!(response.ticket.len(), 16);
    assert!(response.verdicts.is_empty(), "a promise is no verdict");
    response
}

async fn shown(place: &Place, receipt: &str) -> VerifyResponse {
    place.town.office("housing").await.unwrap().show(receipt).await.unwrap()
}

/// Two people in a batch; the job, and the results as they are written.
async fn batch(place: &Place) -> (Value, String) {
    let rows = [(MARRIED.clone(), "married".to_owned()), (SINGLE.clone(), "single".to_owned())];
    let (file, map) = files(place.dir(), &rows, STATUS);
    let results = place.dir().join("results.csv");
    // It ends otherwise where every row is refused.
    let told = place.json_of("housing", &arguments(&file, &map, &results)).await;
    (told["job"].clone(), std::fs::read_to_string(&results).unwrap())
}

/// The task with this ticket as the provider has it.
async fn task(place: &Place, ticket: &str) -> Value {
    let listed = place.json("civil-affairs", &["tasks", "list", "--all"]).await;
    let tasks = listed["tasks"].as_array().unwrap();
    let found = tasks.iter().find(|task| task["ticket"] == ticket);
    found.unwrap_or_else(|| panic!("{listed}")).clone()
}

async fn wait_for_state(place: &Place, ticket: &str, state: &str) {
    assert!(eventually(LONG, async || task(place, ticket).await["state"] == state).await, "{state}");
}

/// Exports a department's evidence and checks it with the authority's key alone; its checks.
async fn sound(place: &Place, department: &str, receipt: &str) -> Vec<Value> {
    let bundle = place.dir().join(format!("{department}-{receipt}"));
    let bundle = bundle.to_str().unwrap();
    place.json(department, &["evidence", "export", receipt, "-o", bundle]).await;
    let arguments = ["evidence", "verify", bundle, "--authority", place.town.authority_key()];
    place.json(department, &arguments).await["checks"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clerks_answer_comes_by_itself_whoever_is_killed_in_between() {
    let place = town(by_clerk("1h"), false).await;
    // Whoever cannot wait is told so before anything is sent.
    let impatient = place.ask(marital_status(&MARRIED, "married")).await;
    assert_eq!((impatient.state(), impatient.refused_by.as_str()), (State::Refused, "own node"));
    assert_eq!(impatient.refusal.unwrap().code, "DEFERRAL_NOT_ACCEPTED");
    // So is every row of a batch: nobody answers ten thousand tasks.
    let (job, results) = batch(&place).await;
    assert_eq!((&job["refused"], &job["answered"]), (&2.into(), &0.into()), "{job}");
    assert_eq!(results.matches("DEFERRAL_NOT_ACCEPTED").count(), 2, "{results}");
    assert_eq!(place.evidence_size("civil-affairs").await, 0, "nothing was sent");

    let promised = deferred(&place, &MARRIED, "married").await;
    let ticket = promised.ticket.as_str();
    let civil_affairs = place.town.node("civil-affairs");
    civil_affairs.kill();
    civil_affairs.start().await.unwrap();
    let waiting = task(&place, ticket).await;
    assert_eq!((&waiting["state"], &waiting["overdue"]), (&"open".into(), &false.into()), "{waiting}");
    let question = place.json("civil-affairs", &["tasks", "show", ticket]).await;
    assert_eq!(question["subject"]["value"], MARRIED.as_str());
    assert_eq!(question["claims"][0]["claim"], "marital_status equals married");
    let fetched = place.cli("housing", &["verify", "--ticket", ticket]).await;
    assert_eq!(exit(&fetched), 6, "not yet: {}", said(&fetched));

    // The asker is down when the clerk answers, and the provider is killed right after.
    place.town.node("housing").kill();
    for (wrong, why) in [("marital_status=maybe", "a verdict is"), ("income=match", "no claim")] {
        let refused =
            place.cli("civil-affairs", &["tasks", "answer", ticket, "--verdict", wrong, "--officer", "2001"]).await;
        assert_eq!(exit(&refused), 2, "{}", said(&refused));
        assert!(said(&refused).contains(why), "{}", said(&refused));
    }
    let answer = ["tasks", "answer", ticket, "--verdict", "marital_status=match", "--record-as-of", "2026-11-20"];
    let answered = place.json("civil-affairs", &[&answer[..], &["--officer", "2001"]].concat()).await;
    assert_eq!(answered["state"], "answered", "{answered}");
    civil_affairs.kill();
    civil_affairs.start().await.unwrap();
    let again = place.cli("civil-affairs", &[&answer[..], &["--officer", "2001"]].concat()).await;
    assert_eq!(exit(&again), 7, "once: {}", said(&again));
    place.town.node("housing").start().await.unwrap();

    let came = eventually(LONG, async || shown(&place, &promised.receipt).await.state() == State::Answered).await;
    assert!(came, "{:?}", shown(&place, &promised.receipt).await);
    let last = shown(&place, &promised.receipt).await;
    assert_eq!((verdict(&last).verdict(), last.clerk.as_str()), (Verdict::Match, "2001"));
    assert_eq!((last.record_as_of.as_str(), &last.request_digest), ("2026-11-20", &promised.request_digest));
    wait_for_state(&place, ticket, "delivered").await;
    let fetched = place.json("housing", &["verify", "--ticket", ticket]).await;
    assert_eq!(fetched["verdicts"][0]["verdict"], "MATCH");

    // Question, promise and answer, from either side's log, by the receipt of either answer.
    let theirs = task(&place, ticket).await["receipt"].as_str().unwrap().to_owned();
    for (department, receipt) in
        [("housing", &promised.receipt), ("housing", &last.receipt), ("civil-affairs", &theirs)]
    {
        let checks = sound(&place, department, receipt).await;
        let answers = checks.iter().filter(|check| check["name"] == "answer signature").count();
        assert_eq!(answers, 2, "{department} {receipt}: {checks:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_late_stands_on_the_board_and_can_be_fetched_all_the_same() {
    let place = town(by_clerk("2s"), false).await;
    let promised = deferred(&place, &MARRIED, "married").await;
    let due_ms = promised.deferral.as_ref().unwrap().due_at_ms;
    // Nobody is there when it is due.
    let civil_affairs = place.town.node("civil-affairs");
    civil_affairs.kill();
    let over = || now_ms() > due_ms;
    assert!(eventually(LONG, async || over()).await);
    civil_affairs.start().await.unwrap();
    let board = async || {
        let output = place.town.registry_cli(&["board", "--json"]).await.unwrap();
        assert_eq!(exit(&output), 0, "{}", said(&output));
        assert!(!said(&output).contains(MARRIED.as_str()), "the registry knows nobody");
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["overdue_answers"].clone()
    };
    assert!(eventually(LONG, async || !board().await.as_array().unwrap().is_empty()).await);
    let counted = board().await;
    assert_eq!((&counted[0]["department"], &counted[0]["count"]), (&"civil-affairs".into(), &1.into()), "{counted}");
    assert_eq!(counted[0]["last_due_ms"], due_ms);
    let told = said(&place.town.registry_cli(&["board"]).await.unwrap());
    assert!(told.contains("civil-affairs did not answer 1 deferred question"), "{told}");
    let recorded = async || task(&place, &promised.ticket).await["overdue_recorded"] == true;
    assert!(eventually(LONG, recorded).await);

    // It counts once, also for whoever reads the log again after a restart of either.
    place.town.registry().kill();
    place.town.registry().start().await.unwrap();
    civil_affairs.kill();
    civil_affairs.start().await.unwrap();
    assert_eq!(board().await, counted);
    let verified = place.town.registry_cli(&["anchors", "verify", "--offline", "--json"]).await.unwrap();
    assert_eq!(exit(&verified), 0, "{}", said(&verified));
    assert_eq!(serde_json::from_slice::<Value>(&verified.stdout).unwrap()["overdue"], 1);

    let answer = ["tasks", "answer", &promised.ticket, "--verdict", "1=mismatch", "--officer", "2001"];
    place.json("civil-affairs", &answer).await;
    let answered = async || exit(&place.cli("housing", &["verify", "--ticket", &promised.ticket]).await) == 4;
    assert!(eventually(LONG, answered).await);
    assert_eq!(verdict(&shown(&place, &promised.receipt).await).verdict(), Verdict::Mismatch);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_answers_where_there_is_no_record_or_declines_for_a_reason_of_the_list() {
    let yaml = MARRIAGE.replace("    absence: single\n", "").replace("complete:", "# complete:");
    let place = town(format!("{yaml}answered_by: record_then_clerk\n"), true).await;
    assert_eq!(verdict(&place.ask(patient(&MARRIED, "married")).await).verdict(), Verdict::Match, "at once");
    let impatient = place.ask(marital_status(&SINGLE, "single")).await;
    assert_eq!(verdict(&impatient).verdict(), Verdict::NoRecord);
    // In a batch nobody waits for a person: the record answers, or there is none.
    let (job, _) = batch(&place).await;
    assert_eq!((&job["matched"], &job["without_record"]), (&1.into(), &1.into()), "{job}");
    assert!(place.json("civil-affairs", &["tasks", "list"]).await["tasks"].as_array().unwrap().is_empty());
    let promised = deferred(&place, &SINGLE, "single").await;
    let deferral = promised.deferral.clone().unwrap();
    assert_eq!(deferral.reason, "record_missing");
    // The profile's ten working days.
    assert!(deferral.due_at_ms > promised.asked_at_ms + 10 * 86_400_000, "{deferral:?}");

    let own_words = ["tasks", "reject", &promised.ticket, "--reason", "he moved away", "--officer", "2001"];
    assert_eq!(exit(&place.cli("civil-affairs", &own_words).await), 2);
    let reject = ["tasks", "reject", &promised.ticket, "--reason", "NOT_OUR_RECORD", "--officer", "2001"];
    place.json("civil-affairs", &reject).await;
    let came = eventually(LONG, async || shown(&place, &promised.receipt).await.state() == State::Refused).await;
    assert!(came, "{:?}", shown(&place, &promised.receipt).await);
    let last = shown(&place, &promised.receipt).await;
    let refusal = last.refusal.unwrap();
    assert_eq!((refusal.code.as_str(), last.refused_by.as_str()), ("CLERK_DECLINED", "ninghe/civil-affairs"));
    assert!(refusal.message.contains("NOT_OUR_RECORD"), "{refusal:?}");
    assert!(place.json("civil-affairs", &["tasks", "list"]).await["tasks"].as_array().unwrap().is_empty());
}
