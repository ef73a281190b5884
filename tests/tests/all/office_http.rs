//! The office port as HTTP with JSON, on real processes and with a client that nobody here wrote: questions and what becomes
//! of them, problems, conventions of HTTP, who may sign in and for what, TLS for programs that are not of the exchange.

use std::{
    fs,
    process::{Command, Stdio},
    time::Duration,
};

use proto::office::v1::{
    ListCorrectionsRequest, ListItemsRequest, OpenCorrectionRequest, ShowCorrectionRequest,
    corrections_client::CorrectionsClient, items_client::ItemsClient,
};
use serde_json::{Value, json};
use tonic::{Code, transport::Endpoint};
use town::harness::eventually;

use crate::support::{
    ITEM, MARRIED, Place, SINGLE, WIDOWED, exit,
    http::Call,
    marital_status,
    office_desk::{Desk, bearer, question},
    office_item::publish_item,
    said,
};

const LONG: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_question_over_http_is_the_same_question() {
    let place = Place::civil_affairs_and_housing().await;
    let desk = Desk::of(&place).await;
    let made = desk.ask(&question(&MARRIED, "married"));
    assert_eq!(made.status, 201, "{made:?}");
    let asked = made.json();
    assert_eq!((asked["state"].as_str(), asked["verdicts"][0]["verdict"].as_str()), (Some("answered"), Some("MATCH")));
    assert!(asked["asked_at"].as_str().unwrap().ends_with('Z'), "{asked}");
    let id = asked["id"].as_str().unwrap();
    let location = format!("/v1/verifications/{id}");
    assert_eq!(made.headers["location"], location);
    assert_eq!(desk.ask(&question(&MARRIED, "widowed")).json()["verdicts"][0]["verdict"], "MISMATCH");
    // The register is complete, and says that whoever is not in it is single.
    let absent = desk.ask(&question(&SINGLE, "single")).json();
    assert_eq!(absent["verdicts"][0]["verdict"], "MATCH");
    assert_eq!(absent["verdicts"][0]["by_absence"], true);

    // Over gRPC it is the same verification, and over HTTP/2 the same port.
    let shown = place.town.office("housing").await.unwrap().show(id).await.unwrap();
    assert_eq!(shown.request_digest, asked["request_digest"].as_str().unwrap());
    let over_http2 = desk.call("GET", &location).arguments(&["--http2-prior-knowledge"]).send();
    assert_eq!(over_http2.status, 200);

    // Its timeline, and whoever has it already is told so.
    let looked_up = desk.call("GET", &location).send();
    let steps: Vec<_> =
        looked_up.json()["timeline"].as_array().unwrap().iter().map(|step| step["what"].clone()).collect();
    assert_eq!(steps, ["asked", "answered"]);
    let known = desk.call("GET", &location).header(&format!("If-None-Match: {}", looked_up.headers["etag"])).send();
    assert_eq!((known.status, known.body.len()), (304, 0));

    // The bundle is checked offline.
    let bundle = place.dir().join("bundle");
    fs::write(&bundle, desk.call("GET", &format!("{location}/evidence")).send().body).unwrap();
    let arguments = ["evidence", "verify", bundle.to_str().unwrap(), "--authority", place.town.authority_key()];
    let checked = place.cli("housing", &arguments).await;
    assert_eq!(exit(&checked), 0, "{}", said(&checked));

    let services = desk.call("GET", "/v1/services?provider=civil-affairs").send().json();
    assert_eq!(
        (&services["services"][0]["may_ask"], services["services"].as_array().unwrap().len()),
        (&json!(true), 1)
    );
    assert_eq!(desk.call("GET", "/v1/items").send().json(), json!({ "items": [] }));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_is_a_problem_with_code_field_and_next_step() {
    let place = Place::civil_affairs_and_housing().await;
    let desk = Desk::of(&place).await;
    let good = question(&MARRIED, "married");
    let with = |field: &str, value: Value| {
        let mut changed = good.clone();
        changed[field] = value;
        changed
    };
    // Refusals: outcomes, with a receipt.
    let claim = json!([{ "attribute": "marital_status", "operator": "one_of", "operands": [["married", "single"]] }]);
    for (question, status, code, field) in [
        (with("provider", json!("tax")), 422, "DEPARTMENT_UNKNOWN", "provider"),
        (with("service", json!("births")), 422, "SERVICE_UNKNOWN", "service"),
        (with("purpose", json!({ "item": "另一事项" })), 403, "PURPOSE_NOT_COVERED", "purpose"),
        (with("claims", json!([])), 422, "TOO_MANY_CLAIMS", "claims"),
        (with("claims", claim), 403, "OPERATOR_NOT_COVERED", "claims[0].operator"),
        (with("subject", json!({ "scheme": "resident_id", "value": "1" })), 422, "SUBJECT_MALFORMED", "subject"),
    ] {
        let refused = desk.ask(&question);
        assert_eq!((refused.status, refused.problem().as_str()), (status, code), "{refused:?}");
        let problem = refused.json();
        assert!(problem["field"].as_str().unwrap().starts_with(field), "{problem}");
        let shown = desk.call("GET", problem["instance"].as_str().unwrap()).send().json();
        assert_eq!((shown["state"].as_str(), shown["refusal"]["code"].as_str()), (Some("refused"), Some(code)));
    }
    // What cannot even be read is not recorded.
    let before = place.evidence_size("housing").await;
    let post = || desk.call("POST", "/v1/verifications");
    let json_type = "Content-Type: application/json";
    let too_large = format!("{{\"provider\": \"{}\"}}", "x".repeat(70_000));
    for (answer, status, code, field) in [
        (desk.ask(&with("colour", json!(1))), 400, "REQUEST_MALFORMED", "colour"),
        (desk.ask(&with("timeout_ms", json!(-1))), 400, "REQUEST_MALFORMED", ""),
        (desk.ask(&json!({ "provider": "tax" })), 400, "REQUEST_MALFORMED", "service"),
        (post().header(json_type).body("{").send(), 400, "REQUEST_MALFORMED", ""),
        (post().header("Content-Type: text/plain").body("{}").send(), 415, "MEDIA_TYPE_UNSUPPORTED", ""),
        (post().header(json_type).body(&too_large).send(), 413, "BODY_TOO_LARGE", ""),
        (desk.call("GET", "/v1/verifications?colour=1").send(), 400, "REQUEST_MALFORMED", "colour"),
        (desk.call("GET", "/v1/verifications?cursor=x").send(), 400, "REQUEST_MALFORMED", "cursor"),
        (desk.call("GET", "/v1/cases?cursor=x").send(), 400, "REQUEST_MALFORMED", "cursor"),
        (desk.call("GET", "/v1/commitments?state=brokn").send(), 400, "REQUEST_MALFORMED", "state"),
        (desk.call("GET", "/v1/verifications/none").send(), 400, "REQUEST_MALFORMED", "receipt"),
        (desk.call("GET", "/v1/verifications/0-0011223344556677").send(), 404, "NOT_FOUND", ""),
        (desk.call("DELETE", "/v1/verifications").send(), 405, "METHOD_NOT_ALLOWED", ""),
        (desk.call("GET", "/v2").send(), 404, "ADDRESS_UNKNOWN", ""),
        (Call::new("GET", &format!("{}/v1/items", desk.base)).send(), 401, "NOT_SIGNED_IN", ""),
        (Call::new("GET", &format!("{}/v1/items", desk.base)).key("00.11").send(), 401, "NOT_SIGNED_IN", ""),
    ] {
        assert_eq!((answer.status, answer.problem().as_str()), (status, code), "{answer:?}");
        assert_eq!(answer.json()["field"], field, "{answer:?}");
    }
    assert_eq!(place.evidence_size("housing").await, before);

    // An outage is no problem and no mismatch: it is a result.
    place.town.node("civil-affairs").kill();
    let unanswered = desk.call("POST", "/v1/verifications").header("Prefer: wait=1").json(&good).send();
    assert_eq!((unanswered.status, unanswered.headers["preference-applied"].as_str()), (201, "wait=1"));
    let unanswered = unanswered.json();
    assert_eq!(unanswered["state"], "unanswered");
    assert_eq!(unanswered["verdicts"][0]["verdict"], "UNAVAILABLE");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_gets_the_same_answer_across_a_restart() {
    let place = Place::civil_affairs_and_housing().await;
    let desk = Desk::of(&place).await;
    let ask = |status: &str| {
        let call = desk.call("POST", "/v1/verifications").header("Idempotency-Key: \"case-1\"");
        call.json(&question(&MARRIED, status)).send()
    };
    let first = ask("married").json();
    assert_eq!(ask("married").json()["receipt"], first["receipt"]);
    let node = place.town.node("housing");
    node.stop().await.unwrap();
    node.start().await.unwrap();
    assert!(eventually(LONG, async || ask("married").json()["receipt"] == first["receipt"]).await);
    let other = ask("widowed");
    assert_eq!((other.status, other.problem().as_str()), (422, "REQUEST_ID_REUSED"));
    let long = desk.call("POST", "/v1/verifications").header(&format!("Idempotency-Key: {}", "k".repeat(65)));
    assert_eq!(long.json(&question(&MARRIED, "married")).send().problem(), "REQUEST_MALFORMED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_ends_and_does_what_it_is_for() {
    let place = Place::civil_affairs_and_housing().await;
    let desk = Desk::of(&place).await;
    let with_key = |added: &Value| Desk { base: desk.base.clone(), key: added["key"].as_str().unwrap().to_owned() };
    let asked = desk.ask(&question(&MARRIED, "married")).json();
    let its = format!("/v1/verifications/{}", asked["id"].as_str().unwrap());

    let taxes = place.json("housing", &["office-key", "add", "tax-desk", "--service", "tax/tax-paid"]).await;
    let taxes = with_key(&taxes);
    let refused = taxes.ask(&question(&MARRIED, "married"));
    assert_eq!((refused.status, refused.problem().as_str()), (403, "OFFICE_KEY_NOT_COVERING"));
    assert_eq!(taxes.call("GET", "/v1/services").send().json()["services"], json!([]));
    for path in [its.clone(), format!("{its}/evidence")] {
        assert_eq!(taxes.call("GET", &path).send().status, 404, "{path}");
    }
    // Over gRPC it is the same key.
    let office = town::harness::Office::new(desk.base.strip_prefix("http://").unwrap(), &taxes.key).unwrap();
    let refused = office.verify(marital_status(&MARRIED, "married")).await.unwrap();
    assert_eq!(refused.refusal.unwrap().code, "OFFICE_KEY_NOT_COVERING");

    // Nor is there a correction that it may see, or open.
    let receipt = asked["id"].as_str().unwrap();
    let doubt = |reason: &str| {
        let doubt = json!({ "receipt": receipt, "reason": reason, "text": "结婚证", "officer": "1024" });
        desk.call("POST", "/v1/corrections").json(&doubt).send()
    };
    let unlisted = doubt("he says so");
    assert_eq!((unlisted.status, unlisted.json()["field"].as_str()), (422, Some("reason")), "{unlisted:?}");
    let opened = doubt("OTHER");
    assert_eq!(opened.status, 201, "{opened:?}");
    let opened = opened.json()["id"].as_str().unwrap().to_owned();
    for (desk, sees) in [(&desk, true), (&taxes, false)] {
        let listed = desk.call("GET", "/v1/corrections").send().json();
        assert_eq!(listed["corrections"].as_array().unwrap().len(), usize::from(sees), "{listed}");
        let again = json!({ "receipt": receipt, "reason": "OTHER", "officer": "1024" });
        let again = desk.call("POST", "/v1/corrections").json(&again).send();
        let shown = [opened.as_str(), receipt].map(|id| desk.call("GET", &format!("/v1/corrections/{id}")).send());
        if sees {
            assert_eq!((again.status, again.problem().as_str()), (422, "CORRECTION_OPEN"), "{again:?}");
            for shown in shown {
                let correction = shown.json();
                assert_eq!((&correction["id"], &correction["paper_accepted"]), (&json!(opened), &json!(true)));
            }
        } else {
            assert_eq!(again.status, 404, "{again:?}");
            assert!(shown.iter().all(|shown| shown.status == 404), "{shown:?}");
        }
    }
    let page = |cursor: &str| ListCorrectionsRequest { all: true, limit: 1, cursor: cursor.to_owned() };
    for (key, sees) in [(&desk.key, true), (&taxes.key, false)] {
        let endpoint = Endpoint::from_shared(desk.base.clone()).unwrap();
        let mut corrections = CorrectionsClient::new(endpoint.connect().await.unwrap());
        let listed = corrections.list(bearer(key, page(""))).await.unwrap().into_inner();
        assert_eq!((listed.corrections.len(), listed.next_cursor.is_empty()), (usize::from(sees), !sees));
        let behind = corrections.list(bearer(key, page(&listed.next_cursor))).await.unwrap().into_inner();
        assert_eq!(behind.corrections.len(), 0, "behind the last one");
        let unknown = corrections.list(bearer(key, page("x"))).await.unwrap_err();
        assert_eq!(unknown.code(), Code::InvalidArgument);
        let shown = corrections.show(bearer(key, ShowCorrectionRequest { id: opened.clone() })).await;
        let again = OpenCorrectionRequest {
            receipt: receipt.to_owned(),
            reason: "OTHER".into(),
            text: String::new(),
            officer: "1024".into(),
        };
        let again = corrections.open(bearer(key, again)).await;
        if sees {
            assert_eq!(shown.unwrap().into_inner().receipt, receipt);
            assert_eq!(again.unwrap().into_inner().refused.unwrap().code, "CORRECTION_OPEN");
        } else {
            assert_eq!(shown.unwrap_err().code(), Code::NotFound);
            assert_eq!(again.unwrap_err().code(), Code::NotFound);
        }
    }

    let arguments = ["office-key", "add", "desk", "--service", "civil-affairs", "--item", ITEM, "--valid-for", "1h"];
    let added = place.json("housing", &arguments).await;
    let limited = with_key(&added);
    assert_eq!(limited.ask(&question(&MARRIED, "married")).status, 201);
    assert_eq!(limited.call("GET", &its).send().status, 200);
    let id = added["id"].as_str().unwrap();
    let rotated = place.json("housing", &["office-key", "rotate", id, "--overlap", "1s"]).await;
    assert_eq!(with_key(&rotated).ask(&question(&MARRIED, "married")).status, 201);
    assert!(eventually(LONG, async || limited.ask(&question(&MARRIED, "married")).status == 401).await);
    let listed = place.json("housing", &["office-key", "list"]).await;
    let last = listed["keys"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["items"], &last["portal"]), (&json!([ITEM]), &json!(false)));
    place.json("housing", &["office-key", "add", "citizens", "--portal"]).await;
    let listed = place.json("housing", &["office-key", "list"]).await;
    assert_eq!(listed["keys"].as_array().unwrap().last().unwrap()["portal"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_a_browser_an_old_runtime_and_a_client_certificate_are_served() {
    let place = Place::civil_affairs_and_housing().await;
    let node = place.town.node("housing");
    let key = place.town.office("housing").await.unwrap().api_key().to_owned();
    node.stop().await.unwrap();
    // On every address, so not on loopback alone; nothing else is said about TLS.
    node.edit_config(|text| text.replace("office_listen = \"127.0.0.1:", "office_listen = \"0.0.0.0:")).unwrap();
    node.start().await.unwrap();
    let port = node.office_address().rsplit(':').next().unwrap().to_owned();
    let (file, certificate) = (node.dir().join("keys/office-tls.key"), place.dir().join("office.pem"));
    let pem = fs::read_to_string(file).unwrap();
    let (start, end) = ("-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----");
    let certificate_pem = &pem[pem.find(start).unwrap()..pem.find(end).unwrap() + end.len()];
    fs::write(&certificate, certificate_pem).unwrap();
    let address = format!("https://localhost:{port}/v1/services");
    let secure = |arguments: &[&str]| {
        let resolved = format!("localhost:{port}:127.0.0.1");
        Call::new("GET", &address)
            .arguments(&["--cacert", certificate.to_str().unwrap(), "--resolve", &resolved])
            .arguments(arguments)
    };
    for arguments in [&["--tls-max", "1.2"][..], &["--tlsv1.3"], &["--tlsv1.3", "--http1.1"], &["--http2"]] {
        assert_eq!(secure(arguments).key(&key).send().status, 200, "{arguments:?}");
    }
    assert!(Call::new("GET", &format!("http://127.0.0.1:{port}/v1/services")).key(&key).try_send().is_err());
    assert!(secure(&["--tls-max", "1.1"]).key(&key).try_send().is_err());
    assert_eq!(secure(&[]).send().problem(), "NOT_SIGNED_IN");

    // A client certificate of the office's own making, over both versions, and none that nobody knows.
    let client = |name: &str| {
        let (key, pem) = (place.dir().join(format!("{name}.key")), place.dir().join(format!("{name}.pem")));
        let made = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
                "-days",
                "30",
            ])
            .args(["-subj", &format!("/CN={name}"), "-keyout", key.to_str().unwrap(), "-out", pem.to_str().unwrap()])
            .output()
            .expect("openssl runs");
        assert!(made.status.success(), "{}", said(&made));
        (key.to_str().unwrap().to_owned(), pem.to_str().unwrap().to_owned())
    };
    let ((portal_key, portal), (stranger_key, stranger)) = (client("portal"), client("stranger"));
    let added = place.json("housing", &["office-key", "add", "portal", "--certificate", &portal]).await;
    assert_eq!(added["key"], "");
    for version in ["1.2", "1.3"] {
        let signed_in = secure(&["--tls-max", version, "--cert", &portal, "--key", &portal_key]).send();
        assert_eq!(signed_in.status, 200, "{signed_in:?}");
        assert!(secure(&["--tls-max", version, "--cert", &stranger, "--key", &stranger_key]).try_send().is_err());
    }
    place.json("housing", &["office-key", "remove", added["id"].as_str().unwrap()]).await;
    assert!(secure(&["--cert", &portal, "--key", &portal_key]).try_send().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documents_are_served_from_the_program() {
    let place = Place::civil_affairs_and_housing().await;
    let desk = Desk::of(&place).await;
    let openapi = Call::new("GET", &format!("{}/openapi.json", desk.base)).send();
    assert_eq!((openapi.status, openapi.headers["content-type"].as_str()), (200, "application/json"));
    assert_eq!(openapi.json()["openapi"], "3.1.0");
    let page = Call::new("GET", &format!("{}/docs", desk.base)).send();
    let text = String::from_utf8(page.body).unwrap();
    assert!(page.status == 200 && text.contains("/v1/verifications/{id}/evidence"), "{text}");
    assert!(page.headers["content-security-policy"].contains("default-src 'none'"));
}

/// ETSI TS 119 478, clause 6.1.1: the same journey, in the words of consumers that speak it.
#[tokio::test(flavor = "multi_thread")]
async fn attributes_are_verified_as_etsi_ts_119_478_asks_it() {
    let place = Place::civil_affairs_and_housing().await;
    let desk = Desk::of(&place).await;
    let attribute = "urn:errand:attribute:civil-affairs/marriage-registration/1";
    let about = |subject: &str| {
        let asked = question(subject, "married");
        json!({
            "attributes": [
                { "attributeIdentifier": attribute, "attributeValue": { "marital_status": "married", "registered_on": "2018-05-20" } },
                { "attributeIdentifier": attribute, "attributeValue": { "marital_status": "widowed" } },
            ],
            "attributeFragments": [
                { "attributeIdentifier": attribute, "location": "$.marital_status", "value": "married" },
                { "attributeIdentifier": attribute, "location": "$.registered_on", "value": "2019-05-20" },
            ],
            "errand": { "subject": asked["subject"], "purpose": asked["purpose"], "caseNumber": "GZF-1", "officer": "1024" },
        })
    };
    let verify = |request: &Value| desk.call("POST", "/verify").json(request).send();
    let results = |answer: &Value| -> Vec<String> {
        let whole = answer["attributeVerificationResults"].as_array().unwrap().iter();
        let whole = whole.map(|result| &result["attributeVerificationResult"]);
        let parts = answer["fragmentVerificationResults"].as_array().unwrap().iter();
        let parts = parts.map(|result| &result["fragmentVerificationResult"]);
        let word = |uri: &Value| {
            uri.as_str().unwrap().strip_prefix("http://uri.etsi.org/19478/VerificationResult/").unwrap().to_owned()
        };
        whole.chain(parts).map(word).collect()
    };
    let answer = verify(&about(&MARRIED));
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = answer.json();
    assert_eq!(results(&answer), ["Match", "NoMatch", "Match", "NoMatch"]);
    assert_eq!(answer["attributeVerificationResults"][0]["attributeValue"]["marital_status"], "married");
    assert_eq!(answer["attributeVerificationResults"][1]["attributeValue"], Value::Null);
    // The register is complete, so whoever is not in it is not married; of a day it says nothing.
    assert_eq!(results(&verify(&about(&SINGLE)).json()), ["NoMatch", "NoMatch", "NoMatch", "Unknown"]);
    // One that is refused leaves the others standing, and says why.
    let mut partly = about(&MARRIED);
    partly["attributes"][1]["attributeIdentifier"] = json!("urn:errand:attribute:civil-affairs/no-such-service/1");
    partly["errand"]["timeoutMs"] = json!(60_000);
    let refused = desk.call("POST", "/verify").header("Prefer: wait=60").json(&partly).send();
    assert_eq!((refused.status, refused.headers["preference-applied"].as_str()), (200, "wait=60"), "{refused:?}");
    let refused = refused.json();
    assert_eq!(results(&refused), ["Match", "Unknown", "Match", "NoMatch"], "{refused}");
    let unknown = &refused["attributeVerificationResults"][1];
    assert_eq!((&unknown["code"], unknown["receipt"].as_str().unwrap().is_empty()), (&json!("SERVICE_UNKNOWN"), false));
    assert_eq!(refused["attributeVerificationResults"][0]["code"], Value::Null);
    // What selects rows goes to the record that it is said for.
    let mut selecting = about(&MARRIED);
    selecting["errand"]["inputs"] =
        json!([{ "attributeIdentifier": "urn:errand:attribute:other/one/1", "name": "region", "value": "890101" }]);
    assert_eq!(results(&verify(&selecting).json())[0], "Match");
    selecting["errand"]["inputs"][0]["attributeIdentifier"] = json!(attribute);
    let unfit = verify(&selecting).json();
    assert_eq!(unfit["attributeVerificationResults"][0]["code"], "INPUT_UNKNOWN", "{unfit}");
    let mut unsigned = about(&MARRIED);
    unsigned["errand"]["authorisation"] = json!({ "form_digest": "00", "scope": "婚姻状况", "signed_by": "subject", "valid_until": "2036-12-31T00:00:00Z" });
    let field = verify(&unsigned).json()["field"].clone();
    assert_eq!(field, "errand.authorisation.form_digest");
    let mut wrong = about(&MARRIED);
    wrong["attributes"][1]["attributeIdentifier"] = json!("urn:other");
    let refused = verify(&wrong);
    assert_eq!((refused.status, refused.json()["field"].as_str()), (422, Some("attributes[1].attributeIdentifier")));
    place.town.node("civil-affairs").kill();
    assert_eq!(results(&verify(&about(&MARRIED)).json()), ["Unknown"; 4]);
}

/// The whole guide, over HTTP as over gRPC.
async fn the_guide_is_whole(desk: &Desk) {
    let items = desk.call("GET", "/v1/items").send().json();
    let item = &items["items"][0];
    let proof = &item["proofs"][0];
    assert_eq!(proof["answered_by"], "civil-affairs/marriage-registration");
    assert_eq!(
        (&proof["legal_bases"][0]["article"], &proof["issuing_unit"], &proof["major_version"]),
        (&json!("7"), &json!("民政局婚姻登记处"), &json!(1)),
        "{item}"
    );
    assert_eq!(item["steps"], json!([{ "step": "受理", "actor": "住房保障窗口", "working_days": 1 }]));
    assert_eq!(item["samples"], json!(["申请表.pdf"]));
    let sample = &item["sample_files"][0];
    // FIPS 180-2, appendix B.1: what the file beside the item's own holds.
    let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(*sample, json!({ "kind": "mistake", "name": "示例.txt", "sha256": digest }));
    let endpoint = Endpoint::from_shared(desk.base.clone()).unwrap();
    let mut client = ItemsClient::new(endpoint.connect().await.unwrap());
    let listed = client.list(bearer(&desk.key, ListItemsRequest {})).await.unwrap().into_inner().items;
    assert_eq!((listed.len(), listed[0].item.as_str(), listed[0].steps.len()), (1, ITEM, 1));
    assert_eq!((listed[0].samples.len(), listed[0].sample_files[0].sha256.len()), (1, 32));
    assert_eq!(client.list(ListItemsRequest {}).await.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_case_over_http_asks_for_everything_and_says_what_is_left() {
    let place = Place::civil_affairs_and_housing().await;
    publish_item(&place).await;
    let desk = Desk::of(&place).await;
    the_guide_is_whole(&desk).await;
    let case = |number: &str, values: Value| {
        json!({
            "case_number": number,
            "item": ITEM,
            "officer": "1024",
            "people": [{ "role": "applicant", "values": values }],
        })
    };
    let open = |case: &Value| desk.call("POST", "/v1/cases").json(case).send();
    let made = open(&case("GZF 2026/1", json!({ "resident_id": *MARRIED, "marital_status": "married" })));
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.headers["location"], "/v1/cases/GZF%202026%2F1");
    let opened = made.json();
    assert_eq!(
        (opened["state"].as_str(), opened["proofs"][0]["outcome"].as_str()),
        (Some("complete"), Some("not_required"))
    );
    assert!(!opened["proofs"][0]["receipt"].as_str().unwrap().is_empty());
    let shown = desk.call("GET", "/v1/cases/GZF%202026%2F1").send();
    assert_eq!(shown.json()["proofs"], opened["proofs"]);
    // A retry gets the case; somebody else under its number does not.
    let again = open(&case("GZF 2026/1", json!({ "resident_id": *MARRIED, "marital_status": "married" })));
    assert_eq!((again.status, &again.json()["proofs"]), (200, &opened["proofs"]), "{again:?}");
    assert_eq!(again.headers["location"], "/v1/cases/GZF%202026%2F1");
    let mut signed = case("GZF-5", json!({ "resident_id": *MARRIED }));
    signed["people"][0]["authorisation"] = json!({
        "form_digest": "00", "scope": "婚姻状况", "signed_by": "subject", "valid_until": "2036-12-31T00:00:00Z"
    });
    let unusable = open(&signed);
    let field = Some("people[0].authorisation.form_digest");
    assert_eq!((unusable.status, unusable.json()["field"].as_str()), (422, field), "{unusable:?}");
    let other = open(&case("GZF 2026/1", json!({ "resident_id": *WIDOWED, "marital_status": "married" })));
    assert_eq!((other.status, other.problem().as_str()), (422, "CASE_EXISTS"), "{other:?}");
    let slip = desk.call("GET", "/v1/cases/GZF%202026%2F1/slip").send();
    assert!(String::from_utf8(slip.body).unwrap().contains("婚姻状况证明"));

    // What was not stated can be added, and only that is asked.
    let open_end = open(&case("GZF-2", json!({ "resident_id": *MARRIED }))).json();
    assert_eq!(open_end["proofs"][0]["outcome"], "information_missing", "{open_end}");
    let more =
        json!({ "officer": "1024", "people": [{ "role": "applicant", "values": { "marital_status": "married" } }] });
    let added = desk.call("POST", "/v1/cases/GZF-2/additions").header("Prefer: wait=60").json(&more).send();
    assert_eq!((added.status, added.json()["state"].as_str()), (200, Some("complete")), "{added:?}");
    assert_eq!(added.headers["preference-applied"], "wait=60");
    // Watched, it is shown whole at first; its clock stands still and runs again.
    let events = place.dir().join("case-events");
    let mut watching = Command::new("curl")
        .args(["--silent", "--no-buffer", "--noproxy", "*", "--max-time", "120"])
        .args(["--header", &format!("Authorization: Bearer {}", desk.key)])
        .arg(format!("{}/v1/cases/GZF-2/events", desk.base))
        .stdout(Stdio::from(fs::File::create(&events).unwrap()))
        .spawn()
        .expect("curl runs");
    let seen = async || fs::read_to_string(&events).unwrap().contains("\"kind\":\"case\"");
    assert!(eventually(LONG, seen).await);
    watching.kill().unwrap();
    watching.wait().unwrap();
    let post = |path: &str, body: Value| desk.call("POST", &format!("/v1/cases/GZF-2/{path}")).json(&body).send();
    let unsaid = post("pause", json!({ "reason": " ", "officer": "1024" }));
    assert_eq!((unsaid.status, unsaid.json()["field"].as_str()), (422, Some("reason")), "{unsaid:?}");
    let paused = post("pause", json!({ "reason": "现场核查", "officer": "1024" }));
    let pauses = paused.json()["pauses"].as_array().unwrap().clone();
    let last = pauses.last().unwrap();
    assert_eq!((&last["reason"], &last["until"]), (&json!("现场核查"), &Value::Null), "{paused:?}");
    let resumed = post("resume", json!({ "officer": "1024" })).json();
    assert!(resumed["pauses"].as_array().unwrap().last().unwrap()["until"].is_string(), "{resumed}");
    let digest = "07".repeat(32);
    let commitment = json!({ "proof": "婚姻状况证明", "form_digest": digest, "officer": "1024" });
    assert_eq!(post("commitments", commitment).problem(), "COMMITMENT_EXCLUDED");

    let listed = desk.call("GET", "/v1/cases?limit=1").send().json();
    assert_eq!(listed["cases"][0]["case_number"], "GZF-2");
    let next = listed["next_cursor"].as_str().unwrap();
    let listed = desk.call("GET", &format!("/v1/cases?limit=1&cursor={next}")).send().json();
    assert_eq!(listed["cases"][0]["case_number"], "GZF 2026/1");

    let refused = open(&json!({ "case_number": "GZF-3", "item": "另一事项", "officer": "1024", "people": [] }));
    assert!((400..500).contains(&refused.status) && !refused.problem().is_empty(), "{refused:?}");
    assert_eq!(desk.call("GET", "/v1/cases/none").send().problem(), "NOT_FOUND");
    // A key for one service handles no case: a case asks whichever services its item names.
    let limited = place.json("housing", &["office-key", "add", "desk", "--service", "civil-affairs"]).await;
    let limited = Desk { base: desk.base.clone(), key: limited["key"].as_str().unwrap().to_owned() };
    let refused = limited.call("POST", "/v1/cases").json(&case("GZF-4", json!({ "resident_id": *MARRIED }))).send();
    assert_eq!((refused.status, refused.problem().as_str()), (403, "OFFICE_KEY_NOT_COVERING"));
    for path in ["/v1/cases/GZF-2", "/v1/cases/GZF-2/events"] {
        assert_eq!(limited.call("GET", path).send().status, 404, "{path}");
    }
    let resumed = limited.call("POST", "/v1/cases/GZF-2/resume").json(&json!({ "officer": "1024" })).send();
    assert_eq!(resumed.status, 404, "{resumed:?}");
}
