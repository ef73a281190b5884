//! Who asked about a subject, on real processes: citizens do not see the officer who asked nor what is under embargo, auditors
//! see both; a portal's key opens this and nothing else; each look-up is recorded and names nobody.

use std::{fs, time::Duration};

use proto::{
    exchange::v1::Subject,
    office::v1::{ListAskedRequest, ListAskedResponse, subject_log_client::SubjectLogClient},
};
use serde_json::Value;
use tonic::{Code, Request, Status, transport::Endpoint};
use town::harness::{Office, Plan, eventually};

use crate::support::{
    ITEM, MARRIAGE, MARRIED, Place, WIDOWED, exit, housings_scope, http::Call, marital_status, peer::now_ms, said,
    small,
};

const LONG: Duration = Duration::from_secs(60);

/// How long the embargo lasts; a town may take a while to start on a busy machine.
const EMBARGO_MS: u64 = 30_000;

async fn town(embargo_until_ms: u64) -> Place {
    Place::start(|plan: Plan, dir| {
        plan.department("civil-affairs")
            .service(MARRIAGE, dir.join("marriage.csv"))
            .department("housing")
            .granting("civil-affairs/marriage-registration", "housing", housings_scope())
            .department("supervision")
            .granting(
                "civil-affairs/marriage-registration",
                "supervision",
                housings_scope().embargoed_until(embargo_until_ms),
            )
            .setting("[limits]", "[subject_log]\nofficers = [\"2001\"]\nauditors = [\"2009\"]\n\n[limits]")
    })
    .await
}

async fn look(place: &Place, arguments: &[&str]) -> std::process::Output {
    let arguments = [&["subject", "log", "--json"][..], arguments].concat();
    place.town.cli_with_input("civil-affairs", &arguments, &MARRIED).await.unwrap()
}

async fn entries(place: &Place, arguments: &[&str]) -> Vec<Value> {
    let output = look(place, arguments).await;
    assert_eq!(exit(&output), 0, "{}", said(&output));
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    shown["entries"].as_array().unwrap().clone()
}

async fn portal(place: &Place, key: &str, subject: &str, cursor: &str) -> Result<ListAskedResponse, Status> {
    let address = format!("http://{}", place.town.node("civil-affairs").office_address());
    let mut client = SubjectLogClient::new(Endpoint::from_shared(address).unwrap().connect_lazy());
    let subject = Some(Subject { scheme: "resident_id".into(), value: subject.into() });
    let mut request = Request::new(ListAskedRequest { subject, most: 1, cursor: cursor.into() });
    request.metadata_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
    Ok(client.list_asked(request).await?.into_inner())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_citizen_sees_who_asked_and_an_auditor_sees_which_officer() {
    let embargo_until_ms = now_ms() + EMBARGO_MS;
    let place = town(embargo_until_ms).await;
    for department in ["housing", "supervision"] {
        let office = place.town.office(department).await.unwrap();
        office.verify(marital_status(&MARRIED, "married")).await.unwrap();
        office.verify(marital_status(&WIDOWED, "widowed")).await.unwrap();
    }
    // Deny by default, and a look at nothing is no look.
    for (officer, code) in [("1999", "SUBJECT_LOG_CLOSED"), ("", "OFFICER_MISSING")] {
        let refused = look(&place, &["--officer", officer]).await;
        assert_eq!(exit(&refused), 7, "{}", said(&refused));
        assert!(said(&refused).contains(code), "{}", said(&refused));
    }
    let refused = look(&place, &["--officer", "2001", "--auditor"]).await;
    assert_eq!(exit(&refused), 7, "{}", said(&refused));

    let audited = entries(&place, &["--officer", "2009", "--auditor"]).await;
    assert_eq!(audited.len(), 2, "{audited:?}");
    assert_eq!((&audited[0]["department"], &audited[0]["officer"]), (&"supervision".into(), &"1024".into()));
    assert_eq!(
        (&audited[0]["embargo_until_ms"], &audited[1]["embargo_until_ms"]),
        (&embargo_until_ms.into(), &0.into())
    );
    let early = entries(&place, &["--officer", "2001"]).await;
    if now_ms() < embargo_until_ms {
        assert_eq!(early.len(), 1, "{early:?}");
    }
    let housings = early.last().unwrap();
    assert_eq!((&housings["department"], &housings["outcome"]), (&"housing".into(), &"answered".into()), "{housings}");
    assert_eq!((&housings["case_number"], &housings["item"]), (&"GZF-2026-0001".into(), &"公租房申请".into()));
    assert_eq!(
        housings["attributes"][0],
        serde_json::json!({
            "attribute": "marital_status", "verdict": "MATCH", "disclosed": false
        })
    );
    assert!(housings.get("officer").is_none(), "{housings}");

    // A restart reads it back; when the embargo is over the entry appears.
    place.town.node("civil-affairs").kill();
    place.town.node("civil-affairs").start().await.unwrap();
    assert!(eventually(LONG + Duration::from_millis(EMBARGO_MS), async || now_ms() > embargo_until_ms).await);
    let all = entries(&place, &["--officer", "2001"]).await;
    assert_eq!(all.iter().map(|entry| &entry["department"]).collect::<Vec<_>>(), ["supervision", "housing"], "{all:?}");

    let key = place.json("civil-affairs", &["office-key", "add", "citizens", "--portal"]).await["key"].clone();
    let key = key.as_str().unwrap();
    let first = portal(&place, key, &MARRIED, "").await.unwrap();
    let second = portal(&place, key, &MARRIED, &first.next_cursor).await.unwrap();
    let shown: Vec<_> = first.entries.iter().chain(&second.entries).collect();
    assert_eq!(shown.iter().map(|entry| entry.department.as_str()).collect::<Vec<_>>(), ["supervision", "housing"]);
    assert!(shown.iter().all(|entry| entry.officer.is_empty() && entry.embargo_until_ms == 0), "{shown:?}");
    assert_eq!((second.next_cursor.as_str(), second.erased), ("", 0));
    // Over HTTP it is the same.
    let address = format!("http://{}/v1/subject-log", place.town.node("civil-affairs").office_address());
    let over_http = |key: &str, cursor: &Value| {
        let subject = serde_json::json!({ "scheme": "resident_id", "value": *MARRIED });
        let look = serde_json::json!({ "subject": subject, "limit": 1, "cursor": cursor });
        Call::new("POST", &address).key(key).json(&look).send()
    };
    let first = over_http(key, &Value::Null).json();
    let second = over_http(key, &first["next_cursor"]).json();
    assert_eq!(
        (&first["entries"][0]["department"], &second["entries"][0]["department"]),
        (&"supervision".into(), &"housing".into())
    );
    assert_eq!(second["entries"][0]["attributes"][0]["verdict"], "MATCH", "{second}");
    assert!(second.get("next_cursor").is_none() && !second.to_string().contains("officer"), "{second}");
    // The key opens nothing else, and no other key opens this.
    let node = place.town.node("civil-affairs");
    let status = Office::new(&node.office_address(), key).unwrap().show("1-0011223344556677").await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated, "{status}");
    let desk = place.town.office("civil-affairs").await.unwrap();
    let status = portal(&place, desk.api_key(), &MARRIED, "").await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated, "{status}");
    assert_eq!(over_http(desk.api_key(), &Value::Null).status, 401);

    // Who looked is recorded, and nobody whom it was about.
    let recorded = fs::read_to_string(node.dir().join("subject-lookups.jsonl")).unwrap();
    for way in ["\"officer\"", "\"auditor\"", "\"portal\"", "\"2009\"", "\"citizens\""] {
        assert!(recorded.contains(way), "{way}: {recorded}");
    }
    assert!(!recorded.contains(MARRIED.as_str()));
    assert!(!recorded.contains("\"1999\""), "nothing was shown to whom may not look");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_question_of_a_batch_is_listed_by_itself() {
    let place = Place::start(|plan: Plan, dir| {
        small(plan, dir).setting("[limits]", "[subject_log]\nauditors = [\"2009\"]\n\n[limits]")
    })
    .await;
    let path = |name: &str| place.dir().join(name).to_str().unwrap().to_owned();
    let (people, map, results) = (path("people.csv"), path("map.toml"), path("results.csv"));
    let rows = format!("case,number,status\nA-1,{},widowed\nA-2,{},married\n", *WIDOWED, *MARRIED);
    fs::write(&people, rows).unwrap();
    let service = "civil-affairs/marriage-registration";
    let columns = "case_column = \"case\"\nsubject_column = \"number\"\nlanguage = \"en\"\n";
    let claim = "[[claim]]\nname = \"marital_status\"\ncolumn = \"status\"\n";
    let text = format!("service = \"{service}\"\nitem = \"{ITEM}\"\nofficer = \"1024\"\n{columns}{claim}");
    fs::write(&map, text).unwrap();
    place.json("housing", &["batch", "verify", &people, "--map", &map, "-o", &results]).await;

    let audited = entries(&place, &["--officer", "2009", "--auditor"]).await;
    assert_eq!(audited.len(), 1, "the neighbour's is not among them: {audited:?}");
    assert_eq!((&audited[0]["case_number"], &audited[0]["officer"]), (&"A-2".into(), &"1024".into()));
    assert_eq!(audited[0]["attributes"][0]["verdict"], "MATCH", "{audited:?}");

    // One answer of a batch is doubted by asking its question again, alone; the whole is nobody's to doubt.
    let results = fs::read_to_string(&results).unwrap();
    let receipt = results.split([',', '\t', '"', '\n', '\r']).find(|cell| cell.contains('-') && cell.ends_with("/1"));
    let receipt = receipt.unwrap_or_else(|| panic!("{results}"));
    let open = |receipt: &str| {
        ["corrections", "open", receipt, "--reason", "OTHER", "--officer", "1024"].map(str::to_owned).to_vec()
    };
    let refused = async |receipt: &str| {
        let arguments = open(receipt);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let refused = place.cli("housing", &arguments).await;
        assert_eq!(exit(&refused), 7, "{}", said(&refused));
        said(&refused)
    };
    let whole = receipt.split_once('/').unwrap().0;
    let told = refused(whole).await;
    assert!(told.contains("NOT_CORRECTABLE") && told.contains("one of its items"), "{told}");
    let told = refused(&format!("{whole}/9")).await;
    assert!(told.contains("ANSWER_UNKNOWN"), "{told}");
    let arguments = open(receipt);
    let opened = place.json("housing", &arguments.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert_eq!((&opened["paper_accepted"], &opened["case_number"]), (&true.into(), &"A-2".into()), "{opened}");
    let again = place.json("housing", &arguments.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert_eq!(again["id"], opened["id"], "the same item has one correction");
    let id = opened["id"].as_str().unwrap();
    let has_it = async || exit(&place.cli("civil-affairs", &["corrections", "inbox", id]).await) == 0;
    assert!(eventually(LONG, has_it).await, "civil affairs' clerk has it");
    // Once the record says otherwise there is nothing to doubt any more: asked alone, the item shows that.
    let other = receipt.replace("/1", "/0");
    let mended = place.dir().join("mended.csv");
    let rows = format!("resident_id,marital_status,registered_on\n{},married,2026-01-05\n", *WIDOWED);
    fs::write(&mended, rows).unwrap();
    place.town.import("civil-affairs", "marriage-registration", &mended).await.unwrap();
    let told = refused(&other).await;
    assert!(told.contains("NOT_CORRECTABLE") && told.contains("answered otherwise by now"), "{told}");
}
