//! Commitments on real processes: where nobody can answer a signed commitment stands in, it is checked later and never dropped,
//! one that was false is flagged and blocks further ones until it is put right, and whatever is killed each is checked once.

use std::{collections::BTreeSet, env, fs, path::Path, time::Duration};

use host::random::{SeededRandom, below};
use proto::office::v1::{CommitRequest, ListCommitmentsRequest, OpenCaseRequest, ProofOutcome::*};
use tokio::task::JoinSet;
use town::harness::{Plan, Scope, eventually};

use crate::support::{
    MARRIAGE, MARRIED, Place, SINGLE, WIDOWED,
    cases::{self, Desk, MARRIAGE_ALONE, NAMES, RENTAL, applicant, application, outcomes, proof, publish, refused},
    exit,
    http::Call,
    resident, said,
    webhook::Receiver,
};

const LONG: Duration = Duration::from_secs(60);

const PROOF: &str = "婚姻状况证明";

/// Checks begin at once.
fn eager(plan: Plan) -> Plan {
    plan.setting("[limits]\n", "[cases]\ncheck_after_seconds = 0\n\n[limits]\n")
}

async fn commitment(place: &Place, case: &str) -> serde_json::Value {
    place.json("housing", &["case", "commitments", "--case", case]).await["commitments"][0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commitment_stands_in_is_checked_later_and_a_false_one_has_consequences() {
    let place = Place::start(|plan, dir| eager(cases::departments(plan, dir))).await;
    publish(&place, RENTAL).await;
    let desk = Desk::at(&place).await;
    let told = Receiver::default();
    told.take(true);
    place.json("housing", &["webhook", "add", "housing-desk", &told.start().await]).await;
    for department in ["civil-affairs", "taxation"] {
        place.town.node(department).kill();
    }
    let form = place.dir().join("commitment.txt");
    fs::write(&form, "本人承诺以上情况属实。").unwrap();
    let form = form.to_str().unwrap();
    // Of somebody nobody knows nothing can be found out.
    let stranger = resident(1985, 5, 5, 7);
    let case = desk.open(application("E-0", vec![applicant(&stranger, "无", "married")])).await;
    assert_eq!(proof(&case, PROOF).outcome(), MayCommit, "{case:?}");
    place.json("housing", &["case", "commit", "E-0", PROOF, "--form", form, "--officer", "1024"]).await;
    // One tells the truth, the other does not.
    for (number, person) in
        [("E-1", applicant(&MARRIED, NAMES[0], "married")), ("E-2", applicant(&WIDOWED, NAMES[1], "married"))]
    {
        let case = desk.open(application(number, vec![person])).await;
        assert_eq!(proof(&case, PROOF).outcome(), MayCommit, "{case:?}");
        let excluded =
            refused(&place, &["case", "commit", number, "收入证明", "--form", form, "--officer", "1024"]).await;
        assert!(excluded.contains("COMMITMENT_EXCLUDED"), "{excluded}");
        let needless =
            refused(&place, &["case", "commit", number, "身份证明", "--form", form, "--officer", "1024"]).await;
        assert!(needless.contains("COMMITMENT_"), "{needless}");
    }
    let committed = place.json("housing", &["case", "commit", "E-1", PROOF, "--form", form, "--officer", "1024"]).await;
    assert_eq!(committed["proofs"][1]["outcome"], "COMMITTED", "{committed}");
    // Over HTTP it is the same.
    let office = place.town.office("housing").await.unwrap();
    let call = |method: &str, path: &str| {
        Call::new(method, &format!("http://{}{path}", office.address())).key(office.api_key())
    };
    let commit = |digest: &str| {
        let new = serde_json::json!({ "proof": PROOF, "form_digest": digest, "officer": "1024" });
        call("POST", "/v1/cases/E-2/commitments").json(&new).send()
    };
    let malformed = commit("00");
    assert_eq!((malformed.status, malformed.json()["field"].as_str()), (422, Some("form_digest")), "{malformed:?}");
    let committed = commit(&"07".repeat(32));
    assert_eq!((committed.status, &committed.json()["proofs"][1]["outcome"]), (200, &"committed".into()));
    // The same form again, where the answer was lost on its way, is the commitment that was taken; another form is none.
    let again = commit(&"07".repeat(32));
    assert_eq!((again.status, &again.json()["proofs"][1]["outcome"]), (200, &"committed".into()), "{again:?}");
    let needless = commit(&"08".repeat(32));
    assert_eq!((needless.status, needless.problem().as_str()), (422, "COMMITMENT_NOT_NEEDED"), "{needless:?}");
    let open = call("GET", "/v1/commitments?state=open&case_number=E-2").send().json();
    assert_eq!(open["commitments"][0]["form_digest"], "07".repeat(32), "{open}");
    assert_eq!(open["commitments"].as_array().unwrap().len(), 1, "{open}");
    let tried = async || !commitment(&place, "E-2").await["last_reason"].as_str().unwrap().is_empty();
    assert!(eventually(LONG, tried).await);
    // It stays due over a restart, and is checked once there is somebody to ask.
    place.town.node("housing").kill();
    place.town.node("civil-affairs").start().await.unwrap();
    place.town.node("housing").start().await.unwrap();
    for (number, state) in [("E-1", "fulfilled"), ("E-2", "broken"), ("E-0", "unconfirmed")] {
        let checked = async || commitment(&place, number).await["state"] == state;
        assert!(eventually(LONG, checked).await, "{number}: {}", commitment(&place, number).await);
    }
    // The office hears of it by itself.
    let heard = async |number: &str, kind: &str| {
        assert!(eventually(LONG, async || !told.of(kind).is_empty()).await, "{kind}: {:?}", told.notices());
        let notices = told.of(kind);
        assert!(notices.iter().all(|notice| notice["data"]["case_number"] == number), "{notices:?}");
    };
    heard("E-1", "commitment.fulfilled").await;
    heard("E-2", "commitment.broken").await;
    heard("E-0", "commitment.unconfirmed").await;
    let kept = place.json("housing", &["case", "show", "E-1"]).await;
    assert_eq!(kept["proofs"][1]["outcome"], "NOT_REQUIRED", "{kept}");
    let broken = place.json("housing", &["case", "show", "E-2"]).await;
    assert_eq!(
        (&broken["flagged"], &broken["proofs"][1]["reason"]),
        (&true.into(), &"commitment_broken".into()),
        "{broken}"
    );
    let listed = place.json("housing", &["case", "list"]).await;
    assert_eq!(
        (&listed["cases"][0]["case"], &listed["cases"][0]["flagged"]),
        (&"E-2".into(), &true.into()),
        "{listed}"
    );

    Box::pin(a_record_that_was_wrong_says_anew_what_they_came_to(&place, &told)).await;

    // Who broke one may not commit again, in any case, until it is put right.
    place.town.node("civil-affairs").kill();
    let blocked = desk.open(application("E-3", vec![applicant(&MARRIED, NAMES[0], "divorced")])).await;
    assert_eq!(proof(&blocked, PROOF).reason, "commitment_blocked", "{blocked:?}");
    let blocked = refused(&place, &["case", "commit", "E-3", PROOF, "--form", form, "--officer", "1024"]).await;
    assert!(blocked.contains("COMMITMENT_BLOCKED"), "{blocked}");
    // The paper that puts it right settles the proof, then and once that is said.
    let paper = ["case", "add", "E-1", "--officer", "1024", "--paper", PROOF];
    assert_eq!(place.json_of("housing", &paper).await["proofs"][1]["outcome"], "PAPER_ACCEPTED");
    let id = commitment(&place, "E-1").await["commitment"].as_str().unwrap().to_owned();
    let repair = serde_json::json!({ "officer": "1024", "how": "已补交证明" });
    let repaired = call("POST", &format!("/v1/commitments/{id}/repair")).json(&repair).send();
    assert_eq!((repaired.status, &repaired.json()["state"]), (200, &"repaired".into()), "{repaired:?}");
    heard("E-1", "commitment.repaired").await;
    let shown = place.json("housing", &["case", "show", "E-3"]).await;
    assert_eq!(shown["proofs"][1]["outcome"], "MAY_COMMIT", "{shown}");
    let shown = place.json("housing", &["case", "show", "E-1"]).await;
    assert_eq!(
        (&shown["flagged"], &shown["proofs"][1]["outcome"]),
        (&false.into(), &"PAPER_ACCEPTED".into()),
        "{shown}"
    );
    let again = refused(&place, &["case", "repair", &id, "--officer", "1024", "--how", "再次"]).await;
    assert!(again.contains("COMMITMENT_NOT_NEEDED"), "{again}");
    Box::pin(what_stands_on_an_absence_waits_for_who_the_person_is(&place, &desk, form)).await;
}

/// Records were wrong by which commitments were checked: the one that counted as true is broken, the other one is not any more.
async fn a_record_that_was_wrong_says_anew_what_they_came_to(place: &Place, told: &Receiver) {
    let mut ids = Vec::new();
    for number in ["E-1", "E-2"] {
        let receipt = commitment(place, number).await["receipt"].as_str().unwrap().to_owned();
        let open = ["corrections", "open", &receipt, "--reason", "PAPER_SAYS_OTHERWISE", "--officer", "1024"];
        ids.push(place.json("housing", &open).await["id"].as_str().unwrap().to_owned());
    }
    let mended = place.dir().join("mended.csv");
    let rows = format!(
        "resident_id,marital_status,spouse_resident_id,registered_on\n{},divorced,,2026-05-20\n{},married,,2021-11-03\n",
        *MARRIED, *WIDOWED
    );
    fs::write(&mended, rows).unwrap();
    place.town.import("civil-affairs", "marriage-registration", &mended).await.unwrap();
    for id in &ids {
        let decide = ["corrections", "decide", id, "--record-was-wrong", "ENTRY_MENDED", "--officer", "2001"];
        let decided = async || exit(&place.cli("civil-affairs", &decide).await) == 0;
        assert!(eventually(LONG, decided).await, "civil-affairs has {id}");
    }
    for (number, state, kind) in [("E-1", "broken", "commitment.broken"), ("E-2", "fulfilled", "commitment.fulfilled")]
    {
        let anew = async || commitment(place, number).await["state"] == state;
        assert!(eventually(LONG, anew).await, "{number}: {}", commitment(place, number).await);
        let shown = place.json("housing", &["case", "show", number]).await;
        assert_eq!(shown["flagged"], state == "broken", "{shown}");
        let is_told = async || told.of(kind).iter().any(|notice| notice["data"]["case_number"] == number);
        assert!(eventually(LONG, is_told).await, "{kind}: {:?}", told.notices());
    }
}

/// The marriage register has nobody of this number, and who he is could not be asked when he committed himself: he is asked about
/// once that can be done, and until then nothing is said of his commitment.
async fn what_stands_on_an_absence_waits_for_who_the_person_is(place: &Place, desk: &Desk, form: &str) {
    place.town.node("public-security").kill();
    let case = desk.open(application("E-4", vec![applicant(&SINGLE, NAMES[2], "single")])).await;
    assert_eq!(proof(&case, PROOF).outcome(), MayCommit, "{case:?}");
    place.json("housing", &["case", "commit", "E-4", PROOF, "--form", form, "--officer", "1024"]).await;
    place.town.node("civil-affairs").start().await.unwrap();
    let waits = async || commitment(place, "E-4").await["last_reason"] == "identity_not_confirmed";
    assert!(eventually(LONG, waits).await, "{}", commitment(place, "E-4").await);
    assert_eq!(commitment(place, "E-4").await["state"], "open");
    let shown = place.json("housing", &["case", "show", "E-4"]).await;
    assert_eq!(shown["proofs"][1]["outcome"], "COMMITTED", "{shown}");
    place.town.node("public-security").start().await.unwrap();
    let fulfilled = async || commitment(place, "E-4").await["state"] == "fulfilled";
    assert!(eventually(LONG, fulfilled).await, "{}", commitment(place, "E-4").await);
}

/// How many commitments, and how many kills; long by environment variable.
fn numbers() -> (usize, u64) {
    let read = |name: &str| env::var(name).ok().and_then(|text| text.parse::<usize>().ok());
    let kills = read("ERRAND_COMMITMENT_KILLS").and_then(|kills| u64::try_from(kills).ok());
    (read("ERRAND_COMMITMENTS").unwrap_or(50), kills.unwrap_or(3))
}

/// The made-up applicants, all of them married.
fn subject(number: usize) -> String {
    let day = |from: usize, count: usize| i8::try_from(from % count + 1).unwrap();
    let year = 1960 + i16::try_from(number / 336 % 40).unwrap();
    resident(year, day(number / 28, 12), day(number, 28), u16::try_from(number % 900 + 1).unwrap())
}

fn register(plan: Plan, dir: &Path) -> Plan {
    let (count, _) = numbers();
    let rows: String = (0..count).map(|number| format!("{},married,2018-05-20\n", subject(number))).collect();
    let records = dir.join("marriage.csv");
    fs::write(&records, format!("resident_id,marital_status,registered_on\n{rows}")).unwrap();
    eager(plan.department("civil-affairs").service(MARRIAGE, records).department("housing").granting(
        "civil-affairs/marriage-registration",
        "housing",
        Scope::of("marital_status", &["equals"]),
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn open_commitments_survive_kills_and_each_is_checked_exactly_once() {
    let (count, kills) = numbers();
    let place = Place::start(register).await;
    publish(&place, MARRIAGE_ALONE).await;
    place.town.node("civil-affairs").kill();
    let desk = std::sync::Arc::new(Desk::at(&place).await);
    let mut opening = JoinSet::new();
    for number in 0..count {
        let desk = std::sync::Arc::clone(&desk);
        // Every fifth is not true.
        let stated = if number % 5 == 0 { "divorced" } else { "married" };
        opening.spawn(async move {
            let case_number = format!("K-{number}");
            let new = application(&case_number, vec![applicant(&subject(number), "无", stated)]);
            // It is known that nobody answers: nobody waits for that, or a thousand take minutes.
            let case = desk.open(OpenCaseRequest { deadline_ms: 300, ..new }).await;
            assert_eq!(outcomes(&case), [MayCommit], "{case:?}");
            let request = CommitRequest {
                case_number,
                proof: PROOF.into(),
                form_digest: vec![7; 32],
                officer: "1024".into(),
                ..CommitRequest::default()
            };
            let (mut client, request) = desk.call(request);
            let committed = client.commit(request).await.unwrap().into_inner();
            assert_eq!(outcomes(&committed), [Committed], "{committed:?}");
        });
        if opening.len() >= 16 {
            opening.join_next().await.unwrap().unwrap();
        }
    }
    opening.join_all().await;

    let random = SeededRandom::new(20_261_129);
    let housing = place.town.node("housing");
    housing.kill();
    place.town.node("civil-affairs").start().await.unwrap();
    housing.start().await.unwrap();
    let all = async |state: &str| {
        let (mut client, request) = desk.call(ListCommitmentsRequest { state: state.into(), ..Default::default() });
        client.list_commitments(request).await.map(|listed| listed.into_inner().commitments)
    };
    for round in 0..kills {
        // After some of them, in the middle of others.
        let left = usize::try_from(u64::try_from(count).unwrap() * (kills - round) / (kills + 1)).unwrap();
        let some = async || all("open").await.is_ok_and(|open| open.len() <= left);
        assert!(eventually(LONG * 5, some).await, "round {round}");
        tokio::time::sleep(Duration::from_micros(below(&random, 5_000))).await;
        housing.kill();
        housing.start().await.unwrap();
    }
    let none = async || all("open").await.is_ok_and(|open| open.is_empty());
    assert!(eventually(LONG * 5, none).await, "none is dropped");
    let rows = all("").await.unwrap();
    assert_eq!(rows.len(), count);
    // In pages it is the same list.
    let (mut paged, mut cursor) = (Vec::new(), String::new());
    loop {
        let limit = u32::try_from(count / 2 + 1).unwrap();
        let (mut client, request) =
            desk.call(ListCommitmentsRequest { limit, cursor: cursor.clone(), ..Default::default() });
        let page = client.list_commitments(request).await.unwrap().into_inner();
        assert!(page.commitments.len() <= count / 2 + 1);
        paged.extend(page.commitments.into_iter().map(|row| row.id));
        cursor = page.next_cursor;
        if cursor.is_empty() {
            break;
        }
    }
    assert!(rows.iter().map(|row| &row.id).eq(&paged), "{paged:?}");
    let broken = rows.iter().filter(|row| row.state == "broken").count();
    assert_eq!(broken, count.div_ceil(5), "{rows:?}");
    assert!(rows.iter().all(|row| row.state == "broken" || row.state == "fulfilled"), "{rows:?}");
    let receipts: BTreeSet<&str> = rows.iter().map(|row| row.receipt.as_str()).collect();
    assert_eq!(receipts.len(), count, "each by a question of its own");

    // In the evidence: each got one answer.
    let usage = place.json("housing", &["access", "usage"]).await;
    let answered: u64 =
        usage["grants"].as_array().unwrap().iter().map(|grant| grant["used"]["total"].as_u64().unwrap()).sum();
    assert_eq!(answered, u64::try_from(count).unwrap(), "{usage}");
    let doctor = place.cli("housing", &["doctor"]).await;
    assert_eq!(exit(&doctor), 0, "{}", said(&doctor));
}
