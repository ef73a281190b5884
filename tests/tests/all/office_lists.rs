//! Lists at the office port: pages, and that a system sees what is its own: its questions, and its jobs of many questions, over
//! HTTP as over gRPC. Out of scope: single calls (`office_http`), jobs from files (`bulk`).

use std::{fs, time::Duration};

use proto::office::v1::{
    BatchResultsRequest, ListBatchesRequest, ListVerificationsRequest, ShowBatchRequest, State,
    batches_client::BatchesClient, verifications_client::VerificationsClient,
};
use serde_json::{Value, json};
use tonic::{Code, transport::Endpoint};
use town::harness::eventually;

use crate::support::{
    MARRIED, Place, SINGLE, WIDOWED,
    office_desk::{Desk, bearer, question},
    resident,
};

const LONG: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_list_has_pages_and_shows_a_system_what_it_asked() {
    let place = Place::civil_affairs_and_housing().await;
    let desk = Desk::of(&place).await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(desk.ask(&question(&MARRIED, "married")).json()["id"].as_str().unwrap().to_owned());
    }
    ids.reverse();
    let (mut seen, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = desk.call("GET", &format!("/v1/verifications?limit=2{cursor}")).send().json();
        seen.extend(page["verifications"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()));
        pages += 1;
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ids);
    assert!((3..=4).contains(&pages), "{pages}");
    assert_eq!(over_grpc(&desk, State::Unspecified).await, ids);
    assert_eq!(over_grpc(&desk, State::Answered).await, ids);
    assert!(over_grpc(&desk, State::Refused).await.is_empty());
    assert_eq!(desk.call("GET", "/v1/verifications?state=deferred").send().json()["verifications"], json!([]));

    // Another system of the same department sees nothing of it in its list.
    let other = place.json("housing", &["office-key", "add", "other-desk"]).await;
    let other = Desk { key: other["key"].as_str().unwrap().to_owned(), ..desk };
    assert_eq!(other.call("GET", "/v1/verifications").send().json()["verifications"], json!([]));
    let desk = Desk::of(&place).await;
    many_questions_are_one_job_that_its_own_system_sees(&place, &desk, &other).await;
}

/// The receipts of the verifications in this state, in pages of two.
async fn over_grpc(desk: &Desk, state: State) -> Vec<String> {
    let endpoint = Endpoint::from_shared(desk.base.clone()).unwrap();
    let mut client = VerificationsClient::new(endpoint.connect().await.unwrap());
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let request = ListVerificationsRequest { limit: 2, cursor, state: state.into() };
        let page = client.list(bearer(&desk.key, request)).await.unwrap().into_inner();
        assert!(page.verifications.len() <= 2);
        seen.extend(page.verifications.into_iter().map(|one| one.receipt));
        cursor = page.next_cursor;
        if cursor.is_empty() {
            return seen;
        }
    }
}

/// A job over HTTP: handed in once, carried out, read in pages, removed; and nobody else's, whichever way he comes.
async fn many_questions_are_one_job_that_its_own_system_sees(place: &Place, desk: &Desk, other: &Desk) {
    let mut job = question(&MARRIED, "married");
    job.as_object_mut().unwrap().remove("subject");
    job["name"] = json!("review");
    let row = |number: &str| json!({ "subject": { "scheme": "resident_id", "value": number } });
    let stranger = resident(1985, 5, 5, 7);
    job["rows"] = json!([row(&MARRIED), row(&WIDOWED), row("12345"), row(&SINGLE), row(&stranger)]);
    let submit = |desk: &Desk, job: &Value| desk.call("POST", "/v1/batches").json(job).send();
    let submitted = submit(desk, &job);
    assert_eq!(submitted.status, 202, "{submitted:?}");
    let location = submitted.headers["location"].clone();
    let id = submitted.json()["id"].as_str().unwrap().to_owned();
    assert_eq!((location.as_str(), &submitted.json()["rows"]), (format!("/v1/batches/{id}").as_str(), &json!(5)));
    let done = async || desk.call("GET", &location).send().json()["state"] == "done";
    assert!(eventually(LONG, done).await, "{:?}", desk.call("GET", &location).send());
    let shown = desk.call("GET", &location).send();
    let job_done = shown.json();
    let counts = ["done", "matched", "mismatched", "refused"].map(|name| job_done[name].as_u64().unwrap());
    assert_eq!(counts, [5, 1, 3, 1], "{job_done}");
    assert!(job_done["ended_at"].as_str().unwrap().ends_with('Z') && job_done["seconds_left"] == Value::Null);
    let known = desk.call("GET", &location).header(&format!("If-None-Match: {}", shown.headers["etag"])).send();
    assert_eq!(known.status, 304);

    // The results in pages, each row with its verdict or its refusal, and its own evidence.
    let (mut rows, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = desk.call("GET", &format!("{location}/results?limit=2{cursor}")).send().json();
        rows.extend(page["results"].as_array().unwrap().clone());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let numbers: Vec<u64> = rows.iter().map(|row| row["row"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4]);
    assert_eq!((&rows[0]["state"], &rows[0]["verdicts"][0]["verdict"]), (&json!("answered"), &json!("MATCH")));
    assert_eq!((&rows[2]["state"], &rows[2]["refusal"]["code"]), (&json!("refused"), &json!("SUBJECT_MALFORMED")));
    let receipt = rows[1]["receipt"].as_str().unwrap();
    assert_eq!(place.json_of("housing", &["evidence", "show", receipt]).await["case_number"], "GZF-2026-0001");

    // The same job again is the same; another one under its name, and one without a name or rows, are told so by the field.
    assert_eq!(submit(desk, &job).json()["id"], id.as_str());
    let mut changed = job.clone();
    changed["officer"] = json!("1025");
    let taken = submit(desk, &changed);
    assert_eq!((taken.status, taken.problem().as_str()), (409, "IN_THE_WAY"), "{taken:?}");
    for (field, value) in [("name", json!("")), ("rows", json!([]))] {
        let mut wrong = job.clone();
        wrong[field] = value;
        let refused = submit(desk, &wrong);
        assert_eq!((refused.status, refused.json()["field"].as_str()), (422, Some(field)), "{refused:?}");
    }
    // Another system has no such job, over HTTP and over gRPC; nor has a key of the same system that is not for the service.
    let narrow = place.json("housing", &["office-key", "add", "housing-desk", "--service", "tax/tax-paid"]).await;
    let narrow = Desk { base: desk.base.clone(), key: narrow["key"].as_str().unwrap().to_owned() };
    for stranger in [other, &narrow] {
        assert_eq!(stranger.call("GET", "/v1/batches").send().json()["batches"], json!([]));
        assert_eq!(stranger.call("GET", "/v1/verifications").send().json()["verifications"], json!([]));
        for (method, path) in
            [("GET", location.clone()), ("GET", format!("{location}/results")), ("DELETE", location.clone())]
        {
            assert_eq!(stranger.call(method, &path).send().status, 404, "{method} {path}");
        }
        let endpoint = Endpoint::from_shared(desk.base.clone()).unwrap();
        let mut batches = BatchesClient::new(endpoint.connect().await.unwrap());
        let listed = batches.list_batches(bearer(&stranger.key, ListBatchesRequest {})).await.unwrap().into_inner();
        assert!(listed.jobs.is_empty());
        let named = || ShowBatchRequest { job: id.clone() };
        assert_eq!(batches.show_batch(bearer(&stranger.key, named())).await.unwrap_err().code(), Code::NotFound);
        assert_eq!(batches.remove(bearer(&stranger.key, named())).await.unwrap_err().code(), Code::NotFound);
        let results = BatchResultsRequest { job: id.clone(), from_row: 0 };
        assert_eq!(batches.results(bearer(&stranger.key, results)).await.unwrap_err().code(), Code::NotFound);
        assert!(batches.watch(bearer(&stranger.key, named())).await.is_err());
    }
    let refused = submit(&narrow, &job);
    assert_eq!((refused.status, refused.problem().as_str()), (403, "OFFICE_KEY_NOT_COVERING"));
    let listed = desk.call("GET", "/v1/batches?limit=1").send().json();
    assert_eq!(listed["batches"][0]["id"], id.as_str());
    let removed = desk.call("DELETE", &location).send();
    assert_eq!((removed.status, desk.call("GET", &location).send().status), (204, 404));
    a_job_may_be_as_large_as_the_setting_says(place, desk, &job);
}

/// To the byte; one more is refused, and the refusal names the setting.
fn a_job_may_be_as_large_as_the_setting_says(place: &Place, desk: &Desk, job: &Value) {
    let (most, file, text) = (4096 * 1024, place.dir().join("job.json"), job.to_string());
    let send = |bytes: usize| {
        // Blanks behind it are no part of what is read, and part of the body.
        fs::write(&file, format!("{text}{}", " ".repeat(bytes - text.len()))).unwrap();
        let call = desk.call("POST", "/v1/batches").header("Content-Type: application/json");
        call.body(&format!("@{}", file.display())).send()
    };
    let refused = send(most + 1);
    assert_eq!((refused.status, refused.problem().as_str()), (413, "BODY_TOO_LARGE"), "{refused:?}");
    let told = refused.json();
    assert!(told["next_step"].as_str().unwrap().contains("[office] largest_batch_kib in node.toml"), "{told}");
    assert!(told["detail"].as_str().unwrap().contains("4194304 bytes"), "{told}");
    let taken = send(most);
    assert_eq!((taken.status, &taken.json()["rows"]), (202, &json!(5)), "{taken:?}");
}
