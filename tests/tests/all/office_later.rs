//! What comes later reaches the office system by itself: as server-sent events, and as signed notices to its webhook, which
//! are tried until they are taken, across restarts, those of one case in their order: answers, what they change in a case, the end
//! of a job. Commitments and corrections are told in their own scenarios (`commitments`, `corrections`).

use std::{
    fs,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use town::harness::eventually;

use crate::{
    anchors::copy_folder,
    support::{
        ITEM, MARRIAGE, MARRIED, Place, SINGLE, WIDOWED, housings_scope, http::Call, office_desk,
        office_item::publish_item, webhook::Receiver,
    },
};

const LONG: Duration = Duration::from_secs(60);

/// Whether somebody is married; the answer may come later.
fn question(subject: &str) -> Value {
    let mut question = office_desk::question(subject, "married");
    question["accepts_deferral"] = json!(true);
    question
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deferred_answer_is_told_by_event_and_by_webhook_across_restarts() {
    let place = Place::start(|plan, _| {
        let yaml = format!("{MARRIAGE}answered_by: clerk\nclerk_answers_within: 1h\n");
        plan.department("civil-affairs").service_without_records(yaml).department("housing").granting(
            "civil-affairs/marriage-registration",
            "housing",
            housings_scope(),
        )
    })
    .await;
    let office = place.town.office("housing").await.unwrap();
    let base = format!("http://{}", office.address());
    let receiver = Receiver::default();
    let url = receiver.start().await;
    let hook = place.json("housing", &["webhook", "add", "housing-desk", &url]).await;
    assert_eq!(place.json("housing", &["webhook", "list"]).await["webhooks"][0]["id"], hook["id"]);

    // A listener from the beginning.
    let events = place.dir().join("events");
    let listen = |last: &str| {
        let mut command = Command::new("curl");
        command.args(["--silent", "--no-buffer", "--noproxy", "*", "--max-time", "120"]);
        command.args(["--header", &format!("Authorization: Bearer {}", office.api_key())]);
        command.args(["--header", &format!("Last-Event-ID: {last}")]);
        let file = std::fs::File::create(&events).unwrap();
        command.arg(format!("{base}/v1/events")).stdout(Stdio::from(file)).spawn().expect("curl runs")
    };
    let heard = || std::fs::read_to_string(&events).unwrap();
    let mut listener = listen("");
    a_key_that_is_removed_ends_its_stream(&place, &base).await;

    let (mut ids, mut first_ticket) = (Vec::new(), String::new());
    for subject in [&MARRIED, &SINGLE] {
        let deferred = Call::new("POST", &format!("{base}/v1/verifications"))
            .key(office.api_key())
            .json(&question(subject))
            .send();
        assert_eq!(deferred.status, 202, "{deferred:?}");
        assert!(deferred.headers["retry-after"].parse::<u64>().unwrap() > 0);
        let deferred = deferred.json();
        assert_eq!(deferred["state"], "deferred");
        ids.push(deferred["id"].as_str().unwrap().to_owned());
        let ticket = deferred["deferral"]["ticket"].as_str().unwrap();
        if first_ticket.is_empty() {
            // Nobody has answered yet.
            let fetch = Call::new("POST", &format!("{base}/v1/verifications/{ticket}/fetch")).key(office.api_key());
            let fetched = fetch.send();
            assert_eq!((fetched.status, &fetched.json()["state"]), (200, &json!("deferred")), "{fetched:?}");
            assert!(fetched.headers["retry-after"].parse::<u64>().unwrap() > 0);
            ticket.clone_into(&mut first_ticket);
        }
        let arguments = ["tasks", "answer", ticket, "--officer", "3001", "--verdict", "marital_status=match"];
        place.json("civil-affairs", &arguments).await;
    }
    // The receiver takes nothing yet; the stream has both.
    assert!(eventually(LONG, async || heard().matches("verification.answered").count() >= 4).await, "{}", heard());
    assert!(eventually(LONG, async || !receiver.told().is_empty()).await);
    let shown = Call::new("GET", &format!("{base}/v1/verifications/{}", ids[0])).key(office.api_key()).send().json();
    // By its ticket or its receipt, whoever does not want to wait asks for it; it is the same.
    let fetch =
        |id: &str| Call::new("POST", &format!("{base}/v1/verifications/{id}/fetch")).key(office.api_key()).send();
    for id in [&first_ticket, &ids[0]] {
        let fetched = fetch(id);
        assert_eq!(fetched.status, 200, "{fetched:?}");
        for field in ["id", "state", "verdicts", "timeline"] {
            assert_eq!(fetched.json()[field], shown[field], "{field}: {fetched:?}");
        }
    }
    assert_eq!(fetch("0011223344556677").status, 404);
    let steps: Vec<_> = shown["timeline"].as_array().unwrap().iter().map(|step| step["what"].clone()).collect();
    assert_eq!(
        (shown["id"].as_str(), steps),
        (Some(ids[0].as_str()), vec![json!("asked"), json!("deferred"), json!("answered")])
    );

    // The first stands in the second's way, for they are of one case.
    assert_eq!(receiver.told(), ids[..1]);
    let first_event = heard().lines().find_map(|line| line.strip_prefix("id: ").map(str::to_owned)).unwrap();
    let node = place.town.node("housing");
    node.kill();
    listener.wait().unwrap();
    node.start().await.unwrap();
    // Whoever comes back with the first event's id gets the second, and the first not again.
    let mut listener = listen(&first_event);
    assert!(eventually(LONG, async || heard().contains(&ids[1])).await, "{}", heard());
    assert!(!heard().contains(&ids[0]), "{}", heard());
    receiver.take(true);
    assert!(eventually(LONG, async || receiver.told() == ids).await, "{:?}", receiver.told());
    let notices = receiver.notices();
    what_an_answer_changes_and_the_end_of_a_job_are_told(&place, &base, office.api_key(), &receiver).await;
    assert!(eventually(LONG, async || heard().contains("event: batch.finished")).await, "{}", heard());
    // A node that stops does not wait for whoever listens.
    node.stop().await.unwrap();
    listener.wait().unwrap();
    an_end_and_its_event_that_a_kill_tore_apart_are_both_there(&place, &base, office.api_key(), &receiver).await;

    // Each is signed as Standard Webhooks are, under an id that stayed the same; Python's hmac checks it.
    let header = |head: &str, name: &str| {
        let line = head.lines().find_map(|line| {
            let (known, value) = line.split_once(": ")?;
            known.eq_ignore_ascii_case(name).then(|| value.to_owned())
        });
        line.unwrap_or_else(|| panic!("{name}: {head}"))
    };
    let mut names = Vec::new();
    for (head, body) in &notices {
        let [id, at, signature] =
            ["webhook-id", "webhook-timestamp", "webhook-signature"].map(|name| header(head, name));
        let script = "import base64, hashlib, hmac, sys\n\
            secret, text = base64.b64decode(sys.argv[1].removeprefix('whsec_')), sys.argv[2].encode()\n\
            print('v1,' + base64.b64encode(hmac.new(secret, text, hashlib.sha256).digest()).decode())";
        let signed = format!("{id}.{at}.{body}");
        let computed = Command::new("python3").args(["-c", script, hook["secret"].as_str().unwrap(), &signed]).output();
        assert_eq!(String::from_utf8(computed.unwrap().stdout).unwrap().trim(), signature);
        assert!(!body.contains(&**MARRIED) && !body.contains(&**SINGLE), "a number stands in a notice");
        names.push(id);
    }
    names.dedup();
    assert_eq!(names.len(), 2, "{names:?}");
}

/// Whoever listens with a key that is removed hears nothing more.
async fn a_key_that_is_removed_ends_its_stream(place: &Place, base: &str) {
    let made = place.json("housing", &["office-key", "add", "housing-desk"]).await;
    let heard = place.dir().join("removed");
    let mut command = Command::new("curl");
    command.args(["--silent", "--include", "--no-buffer", "--noproxy", "*", "--max-time", "120"]);
    command.args(["--header", &format!("Authorization: Bearer {}", made["key"].as_str().unwrap())]);
    let file = std::fs::File::create(&heard).unwrap();
    let mut listener = command.arg(format!("{base}/v1/events")).stdout(Stdio::from(file)).spawn().expect("curl runs");
    let listens = async || std::fs::read_to_string(&heard).unwrap().contains("text/event-stream");
    assert!(eventually(LONG, listens).await);
    assert!(listener.try_wait().unwrap().is_none(), "it goes on while the key counts");
    place.json("housing", &["office-key", "remove", made["id"].as_str().unwrap()]).await;
    let ended = tokio::task::spawn_blocking(move || listener.wait()).await.unwrap().unwrap();
    assert!(ended.success(), "the node ends it, and not curl's own patience: {ended:?}");
}

/// An answer that comes later changes the case that it was asked for, and a job ends: the office hears of both.
async fn what_an_answer_changes_and_the_end_of_a_job_are_told(
    place: &Place,
    base: &str,
    key: &str,
    receiver: &Receiver,
) {
    publish_item(place).await;
    let call = |method: &str, path: &str| Call::new(method, &format!("{base}{path}")).key(key);
    let application = json!({
        "case_number": "GZF-2026-0009",
        "item": ITEM,
        "officer": "1024",
        "people": [{ "role": "applicant", "values": { "resident_id": *WIDOWED, "marital_status": "widowed" } }],
    });
    let case = call("POST", "/v1/cases").json(&application).send();
    assert_eq!(case.status, 201, "{case:?}");
    let ticket = case.json()["proofs"][0]["ticket"].as_str().unwrap().to_owned();
    assert!(!ticket.is_empty() && case.json()["state"] == "waiting", "{case:?}");
    let listed = call("GET", "/v1/cases").send().json();
    assert_eq!(listed["cases"][0]["state"], "waiting", "{listed}");
    let arguments = ["tasks", "answer", &ticket, "--officer", "3001", "--verdict", "marital_status=match"];
    place.json("civil-affairs", &arguments).await;
    assert!(eventually(LONG, async || !receiver.of("case.changed").is_empty()).await, "{:?}", receiver.notices());
    let changed = receiver.of("case.changed");
    assert_eq!(changed.len(), 1, "{changed:?}");
    assert_eq!(
        (&changed[0]["data"]["case_number"], &changed[0]["data"]["state"]),
        (&json!("GZF-2026-0009"), &json!("complete"))
    );
    assert!(!changed[0].to_string().contains(&**WIDOWED), "a number stands in a notice");
    // It is kept so, and not only shown so.
    let listed = call("GET", "/v1/cases").send().json();
    assert_eq!(listed["cases"][0]["state"], "complete", "{listed}");

    let submitted = submit(base, key, "review-1");
    assert!(eventually(LONG, async || !receiver.of("batch.finished").is_empty()).await, "{:?}", receiver.notices());
    let finished = receiver.of("batch.finished");
    assert_eq!(
        (finished.len(), &finished[0]["data"]["id"], &finished[0]["data"]["refused"]),
        (1, &submitted, &json!(1)),
        "{finished:?}"
    );
    assert_eq!(finished[0]["data"]["state"], "done");
}

/// Hands in a job of one row, which is refused, since a person answers no job: it ends all the same. Its id.
fn submit(base: &str, key: &str, name: &str) -> Value {
    let mut job = question(&MARRIED);
    for field in ["subject", "accepts_deferral"] {
        job.as_object_mut().unwrap().remove(field);
    }
    job["rows"] = json!([{ "subject": { "scheme": "resident_id", "value": *MARRIED } }]);
    let call = Call::new("POST", &format!("{base}/v1/batches")).key(key);
    let submitted = call.header(&format!("Idempotency-Key: {name}")).json(&job).send();
    assert_eq!(submitted.status, 202, "{submitted:?}");
    submitted.json()["id"].clone()
}

/// A kill may come between the end of a job and the note of its event. Whichever of the two is missing comes at the next start,
/// and what is there does not come again. The node is stopped.
async fn an_end_and_its_event_that_a_kill_tore_apart_are_both_there(
    place: &Place,
    base: &str,
    key: &str,
    receiver: &Receiver,
) {
    let node = place.town.node("housing");
    let finished = |id: &Value| receiver.of("batch.finished").iter().filter(|told| told["data"]["id"] == *id).count();
    let first = receiver.of("batch.finished")[0]["data"]["id"].clone();
    let (duties, before) = (node.dir().join("duties"), place.dir().join("duties-before"));
    copy_folder(&duties, &before);
    node.start().await.unwrap();
    let second = submit(base, key, "review-2");
    assert!(eventually(LONG, async || finished(&second) == 1).await, "{:?}", receiver.notices());
    node.stop().await.unwrap();
    // Of the first the event is noted and the end is not; of the second the end is and the event is not.
    let end = node.dir().join("bulk").join(first.as_str().unwrap()).join("ended");
    fs::remove_file(&end).unwrap();
    fs::remove_dir_all(&duties).unwrap();
    copy_folder(&before, &duties);
    node.start().await.unwrap();
    assert!(eventually(LONG, async || finished(&second) == 2).await, "its event was lost: {:?}", receiver.notices());
    assert!(eventually(LONG, async || end.exists()).await, "the first ends again");
    let shown = Call::new("GET", &format!("{base}/v1/batches/{}", first.as_str().unwrap())).key(key).send().json();
    assert_eq!(
        (&shown["done"], &shown["refused"]),
        (&json!(1), &json!(1)),
        "nothing is asked or counted again: {shown}"
    );
    // What is of one case is told in order: what comes after them is told when nothing more of them comes.
    let third = submit(base, key, "review-3");
    assert!(eventually(LONG, async || finished(&third) == 1).await, "{:?}", receiver.notices());
    assert_eq!((finished(&first), finished(&second)), (1, 2));
}
