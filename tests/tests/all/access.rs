//! Who may ask: applications, decisions and their officers, clocks, proofs, and what is used of every grant, on real
//! processes. That clocks turn amber and red is shown with a clock that can be moved (`admin_edge`, `board`).

use std::{fs, path::Path};

use proto::{
    exchange::v1::Purpose,
    office::v1::{State, VerifyResponse},
    registry::v1::{Quota, SharingClass},
};
use serde_json::Value;
use town::harness::{Plan, legal_basis};

use crate::support::{BASIS, ITEM, MARRIAGE, MARRIED, Place, exit, housings_scope, marital_status, said, verdict};

/// Civil affairs with its marriage register, and housing that may ask nothing yet.
fn ungranted(plan: Plan, dir: &Path) -> Plan {
    plan.department("civil-affairs").service(MARRIAGE, dir.join("marriage.csv")).department("housing")
}

const SERVICE: &str = "civil-affairs/marriage-registration";

/// What housing applies for, with more on the command line.
async fn apply(place: &Place, more: &[&str]) -> Value {
    let arguments = ["access", "apply", SERVICE, "--item", ITEM, "--basis", BASIS];
    let told = place.json("housing", &[&arguments[..], more].concat()).await;
    place.town.settled().await.unwrap();
    told
}

const BOTH: &[&str] = &["--attributes", "marital_status,registered_on", "--operators", "equals,after"];

/// Runs a command that is refused, and says with which code.
async fn refused(place: &Place, department: &str, arguments: &[&str]) -> String {
    let output = place.cli(department, &[arguments, &["--json"]].concat()).await;
    assert_eq!(exit(&output), 7, "{arguments:?}: {}", said(&output));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    told["error"]["refusal"]["code"].as_str().unwrap_or_else(|| panic!("{told}")).to_owned()
}

/// Publishes settings of the authority.
async fn set_profile(place: &Place, text: &str) {
    let file = place.dir().join("profile.toml");
    fs::write(&file, text).unwrap();
    let set = place.town.registry_cli(&["profile", "set", file.to_str().unwrap(), "--officer", "0007"]).await.unwrap();
    assert_eq!(exit(&set), 0, "{}", said(&set));
    place.town.settled().await.unwrap();
}

fn refusal_code(response: &VerifyResponse) -> &str {
    assert_eq!(response.state(), State::Refused, "{response:?}");
    &response.refusal.as_ref().unwrap().code
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_goes_its_way_to_an_end_that_both_sides_can_prove() {
    let place = Place::start(ungranted).await;
    Box::pin(an_incomplete_application_gets_one_notice_and_comes_back_under_its_id(&place)).await;
    Box::pin(an_application_becomes_a_grant_that_both_sides_can_prove(&place)).await;
    // It changes what the authority requires of every decision.
    Box::pin(a_decision_that_takes_four_eyes_waits_for_the_second_officer_across_a_crash(&place)).await;
}

async fn an_application_becomes_a_grant_that_both_sides_can_prove(place: &Place) {
    let until = ["--until", "2999-12-31", "--expected-per-day", "200", "--officer", "3001", "--document", "住函1号"];
    let applied = apply(place, &[BOTH, &until].concat()).await;
    let id = applied["id"].as_str().unwrap();

    let inbox = place.json("civil-affairs", &["access", "inbox"]).await;
    let waiting = &inbox["access"][0];
    assert_eq!((&waiting["id"], &waiting["expected_per_day"]), (&applied["id"], &Value::from(200)));
    assert_eq!((&waiting["clock"]["what"], &waiting["clock"]["days_left"]), (&"reply".into(), &Value::from(10)));
    let told = said(&place.cli("civil-affairs", &["access", "inbox"]).await);
    assert!(told.contains("reply by 20") && told.contains("10 working days left"), "{told}");
    assert!(place.json("housing", &["access", "inbox"]).await["access"].as_array().unwrap().is_empty());
    // The applicant cannot decide, and what was not applied for cannot be approved.
    assert_eq!(exit(&place.cli("housing", &["access", "approve", id]).await), 2);
    let wider = place.cli("civil-affairs", &["access", "approve", id, "--attributes", "income"]).await;
    assert_eq!(exit(&wider), 2, "{}", said(&wider));

    let narrowed = ["--attributes", "marital_status", "--per-day", "100", "--until", "2998-12-31"];
    let named = ["--officer", "2001", "--document", "民函〔2026〕9号"];
    place.json("civil-affairs", &[&["access", "approve", id], &narrowed[..], &named[..]].concat()).await;
    place.town.settled().await.unwrap();
    for department in ["housing", "civil-affairs"] {
        let shown = place.json(department, &["access", "show", id]).await;
        assert_eq!(shown["state"], "granted");
        assert_eq!(shown["granted"]["scope"].as_array().unwrap().len(), 1, "{shown}");
        assert_eq!(shown["granted"]["quota"]["per_day"], 100);
        assert!(shown["granted"]["valid_until_ms"].as_u64() < shown["valid_until_ms"].as_u64());
        assert_eq!((&shown["decision"]["officer"], &shown["decision"]["document"]), (&"2001".into(), &named[3].into()));
    }
    assert!(place.json("civil-affairs", &["access", "inbox"]).await["access"].as_array().unwrap().is_empty());
    assert_eq!(verdict(&place.ask(marital_status(&MARRIED, "married")).await).attribute, "marital_status");

    // Both signatures together are the grant: either side can show it to anybody.
    for department in ["housing", "civil-affairs"] {
        let file = place.dir().join(format!("{department}.access"));
        let file = file.to_str().unwrap();
        let exported = place.json(department, &["access", "export", id, "-o", file]).await;
        assert_eq!(exported["sound"], true, "{exported}");
        let authority = place.town.authority_key();
        let verified = place.json("housing", &["access", "verify", file, "--authority", authority]).await;
        let who: Vec<_> = verified["said"]
            .as_array()
            .unwrap()
            .iter()
            .map(|said| ["what", "by", "officer"].map(|key| said[key].as_str().unwrap().to_owned()))
            .collect();
        assert_eq!(who, [["applied", "housing", "3001"], ["granted", "civil-affairs", "2001"]]);
        let other = place.cli("housing", &["access", "verify", file, "--authority", &"1f".repeat(32)]).await;
        assert_ne!(exit(&other), 0);
        let mut bytes = fs::read(file).unwrap();
        let place_of_officer = bytes.windows(4).rposition(|window| window == b"2001").unwrap();
        bytes[place_of_officer + 3] = b'2';
        let altered = place.dir().join(format!("{department}.altered"));
        fs::write(&altered, bytes).unwrap();
        let altered = ["access", "verify", altered.to_str().unwrap(), "--authority", authority];
        assert_eq!(exit(&place.cli("housing", &altered).await), 8);
    }
    let proof = said(&place.cli("housing", &["access", "show", id, "--proof"]).await);
    assert!(proof.contains("housing applied to civil-affairs, and each signed what it said"), "{proof}");

    for (action, state) in [("suspend", "suspended"), ("resume", "granted"), ("revoke", "revoked")] {
        place.json("civil-affairs", &["access", action, id, "--reason", "抽查"]).await;
        place.town.settled().await.unwrap();
        let listed = place.json("housing", &["access", "list", "--state", state]).await;
        assert_eq!(listed["access"][0]["id"], applied["id"], "{action}: {listed}");
    }
    assert_eq!(refusal_code(&place.ask(marital_status(&MARRIED, "married")).await), "GRANT_REVOKED");
}

async fn an_incomplete_application_gets_one_notice_and_comes_back_under_its_id(place: &Place) {
    let applied = apply(place, BOTH).await;
    let id = applied["id"].as_str().unwrap();
    let missing = ["--missing", "the article", "--missing", "the expected volume"];
    place.json("civil-affairs", &[&["access", "return", id], &missing[..]].concat()).await;
    place.town.settled().await.unwrap();
    let returned = place.json("housing", &["access", "show", id]).await;
    assert_eq!(returned["state"], "returned");
    assert_eq!(returned["missing"], serde_json::json!(["the article", "the expected volume"]));
    assert!(returned["clock"].is_null(), "the applicant's turn: {returned}");

    let again = apply(place, &[BOTH, &["--again", id, "--expected-per-day", "50"]].concat()).await;
    assert_eq!(again["id"], applied["id"]);
    assert_eq!(
        refused(
            place,
            "housing",
            &[&["access", "apply", SERVICE, "--item", ITEM, "--basis", BASIS, "--again", id], BOTH].concat()
        )
        .await,
        "STATEMENT_REFUSED"
    );

    place.json("civil-affairs", &["access", "extend", id, "--days", "5", "--notice", "the archive is consulted"]).await;
    place.town.settled().await.unwrap();
    let extended = place.json("housing", &["access", "show", id]).await;
    assert_eq!((&extended["extended_days"], &extended["clock"]["days_left"]), (&Value::from(5), &Value::from(15)));
    assert_eq!(extended["extension_notice"], "the archive is consulted");
    let twice = ["access", "extend", id, "--days", "1", "--notice", "again"];
    assert_eq!(refused(place, "civil-affairs", &twice).await, "STATEMENT_REFUSED");

    let reason = ["--code", "BASIS_INSUFFICIENT", "--reason", "the article covers no marriages"];
    place.json("civil-affairs", &[&["access", "refuse", id], &reason[..]].concat()).await;
    place.town.settled().await.unwrap();
    let refused_one = place.json("housing", &["access", "show", id]).await;
    assert_eq!(
        (&refused_one["state"], &refused_one["reason_code"], &refused_one["reason"]),
        (&"refused".into(), &"BASIS_INSUFFICIENT".into(), &reason[3].into())
    );
    assert_eq!(exit(&place.cli("civil-affairs", &["access", "refuse", id, "--code", "NO", "--reason", "x"]).await), 2);
    assert_eq!(refusal_code(&place.ask(marital_status(&MARRIED, "married")).await), "GRANT_MISSING");
}

async fn a_decision_that_takes_four_eyes_waits_for_the_second_officer_across_a_crash(place: &Place) {
    set_profile(place, "[decisions]\ndecisions_named = true\nfour_eyes = [\"access.approve\"]\n").await;
    let applied = apply(place, BOTH).await;
    let id = applied["id"].as_str().unwrap();
    assert_eq!(refused(place, "civil-affairs", &["access", "approve", id]).await, "DECISION_UNNAMED");
    let named = ["--officer", "2001", "--document", "民函9号"];
    // What would be refused in the end is refused before anybody waits.
    let wrong = ["access", "resume", id];
    assert_eq!(refused(place, "civil-affairs", &[&wrong[..], &named[..]].concat()).await, "STATEMENT_REFUSED");
    let approve = [&["access", "approve", id, "--per-day", "7"][..], &named[..]].concat();
    let waits = place.json("civil-affairs", &approve).await;
    assert_eq!((&waits["index"], &waits["pending"]["officer"]), (&Value::from(0), &"2001".into()));
    assert_eq!(refused(place, "civil-affairs", &approve).await, "DECISION_PENDING");

    place.town.node("civil-affairs").kill();
    place.town.node("civil-affairs").start().await.unwrap();
    place.town.settled().await.unwrap();
    let inbox = place.json("civil-affairs", &["access", "inbox"]).await;
    assert_eq!(inbox["access"][0]["pending"]["action"], "approve", "{inbox}");
    assert_eq!(place.json("housing", &["access", "show", id]).await["state"], "applied", "nothing is signed yet");

    let confirm = |officer| ["access", "confirm", id, "--officer", officer];
    assert_eq!(refused(place, "civil-affairs", &confirm("2001")).await, "SECOND_OFFICER_SAME");
    // The second officer may also set it aside; then the first begins anew.
    let reject = ["access", "reject", id, "--officer", "2002", "--reason", "the quota is too low"];
    assert_eq!(place.json("civil-affairs", &reject).await["set_aside"]["action"], "approve");
    assert_eq!(exit(&place.cli("civil-affairs", &confirm("2002")).await), 2, "nothing waits");
    place.json("civil-affairs", &approve).await;
    let confirmed = place.json("civil-affairs", &confirm("2002")).await;
    assert!(confirmed["index"].as_u64().unwrap() > 0, "{confirmed}");
    place.town.settled().await.unwrap();
    let granted = place.json("housing", &["access", "show", id]).await;
    assert_eq!((&granted["state"], &granted["granted"]["quota"]["per_day"]), (&"granted".into(), &Value::from(7)));
    assert_eq!(
        granted["decision"],
        serde_json::json!({ "officer": "2001", "second_officer": "2002", "document": "民函9号" })
    );
    // Kinds that the profile does not list take one officer.
    place.json("civil-affairs", &[&["access", "suspend", id, "--reason", "抽查"][..], &named[..]].concat()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_for_one_system_answers_no_other() {
    let place = Place::start(ungranted).await;
    let applied = apply(&place, BOTH).await;
    let id = applied["id"].as_str().unwrap();
    place.json("civil-affairs", &["access", "approve", id, "--system", "housing-desk"]).await;
    place.town.settled().await.unwrap();
    // The harness's office key is the desk's.
    verdict(&place.ask(marital_status(&MARRIED, "married")).await);
    let mut operator = place.town.node("housing").operator().await.unwrap();
    let response = operator.verify(marital_status(&MARRIED, "married")).await.unwrap().into_inner();
    assert_eq!(refusal_code(&response), "SYSTEM_NOT_COVERED");
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_see_what_is_used_and_a_quota_in_all_survives_a_crash() {
    let place = Place::start(|plan, dir| {
        let quota = Quota { per_second: 0, per_day: 0, total: 3 };
        ungranted(plan, dir).granting(SERVICE, "housing", housings_scope().at_most(quota))
    })
    .await;
    let used = async |department: &str, key: &str| {
        let usage = place.json(department, &["access", "usage"]).await;
        usage["grants"][0]["used"][key].as_u64().unwrap_or_else(|| panic!("{usage}"))
    };
    for _ in 0..2 {
        verdict(&place.ask(marital_status(&MARRIED, "married")).await);
    }
    assert_eq!((used("civil-affairs", "total").await, used("civil-affairs", "today").await), (2, 2));
    assert_eq!((used("housing", "total").await, used("housing", "asked").await), (2, 2));
    for department in ["civil-affairs", "housing"] {
        place.town.node(department).kill();
        place.town.node(department).start().await.unwrap();
    }
    place.town.settled().await.unwrap();
    verdict(&place.ask(marital_status(&MARRIED, "married")).await);
    let over = place.ask(marital_status(&MARRIED, "married")).await;
    assert_eq!(refusal_code(&over), "QUOTA_EXCEEDED");
    assert_eq!(over.refusal.unwrap().retry_at_ms, 0, "it will not be renewed");
    assert_eq!((used("civil-affairs", "total").await, used("housing", "total").await), (3, 3));
    assert_eq!(used("housing", "asked").await, 4, "the refused one was asked too");
    let told = said(&place.cli("civil-affairs", &["access", "usage"]).await);
    assert!(told.contains("3 of 3"), "{told}");
    // In order, the uses are written down, and the next start reads no more than it must.
    place.town.node("civil-affairs").stop().await.unwrap();
    assert!(place.town.node("civil-affairs").dir().join("usage.json").exists());
    place.town.node("civil-affairs").start().await.unwrap();
    place.town.settled().await.unwrap();
    assert_eq!(used("civil-affairs", "total").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_states_item_and_basis_may_ask_an_unconditional_service() {
    let place = Place::start(|plan, dir| {
        let open = MARRIAGE.replace("sharing: conditional", "sharing: unconditional");
        plan.department("civil-affairs").service(open, dir.join("marriage.csv")).department("housing")
    })
    .await;
    let listed = place.json("housing", &["service", "show", SERVICE]).await;
    assert_eq!(listed["sharing"], "unconditional", "{:?}: {listed}", SharingClass::Unconditional);
    let answered = place.ask(marital_status(&MARRIED, "married")).await;
    verdict(&answered);
    let without = |change: &dyn Fn(&mut Purpose)| {
        let mut question = marital_status(&MARRIED, "married");
        change(question.purpose.as_mut().unwrap());
        question
    };
    let no_basis = place.ask(without(&|purpose| purpose.legal_bases.clear())).await;
    assert_eq!(refusal_code(&no_basis), "LEGAL_BASIS_MISSING");
    let no_item = place.ask(without(&|purpose| purpose.item.clear())).await;
    assert_eq!(refusal_code(&no_item), "PURPOSE_NOT_COVERED");
    verdict(&place.ask(without(&|purpose| purpose.legal_bases = vec![legal_basis("住房保障条例 3")])).await);
    // Nothing to apply for, and the same record on both sides.
    assert_eq!(
        refused(&place, "housing", &[&["access", "apply", SERVICE, "--item", ITEM, "--basis", BASIS], BOTH].concat())
            .await,
        "STATEMENT_REFUSED"
    );
    for department in ["civil-affairs", "housing"] {
        let usage = place.json(department, &["access", "usage"]).await;
        assert_eq!(usage["standing"][0]["used"]["total"], 2, "{department}: {usage}");
        assert_eq!(usage["standing"][0]["consumer"], "housing");
    }
    let file = place.dir().join("asked.evidence");
    let file = file.to_str().unwrap();
    place.json("housing", &["evidence", "export", &answered.receipt, "-o", file]).await;
    let checked = place.json("housing", &["evidence", "verify", file, "--authority", place.town.authority_key()]).await;
    assert_eq!(checked["sound"], true, "{checked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_authority_sets_the_clocks_and_sees_what_is_owed() {
    let place = Place::start(ungranted).await;
    let registry = async |arguments: &[&str]| place.town.registry_cli(arguments).await.unwrap();
    let json = async |arguments: &[&str]| {
        let output = registry(&[arguments, &["--json"]].concat()).await;
        assert_eq!(exit(&output), 0, "{arguments:?}: {}", said(&output));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    // The template is a profile, and so is what is shown.
    let template = place.dir().join("template.toml");
    fs::write(&template, registry(&["profile", "template"]).await.stdout).unwrap();
    json(&["profile", "check", template.to_str().unwrap()]).await;
    fs::write(&template, registry(&["profile", "show"]).await.stdout).unwrap();
    assert_eq!(json(&["profile", "check", template.to_str().unwrap()]).await["profile"]["clocks"]["supply_days"], 20);

    // Everything wrong at once, with its line.
    let wrong = place.dir().join("wrong.toml");
    fs::write(&wrong, "view_lifetime_hours = 0\n[clocks]\nreply_conditional_days = \"ten\"\nreview = 2\n").unwrap();
    let checked = registry(&["profile", "set", wrong.to_str().unwrap()]).await;
    assert_eq!(exit(&checked), 2);
    for line in ["wrong.toml:1: view_lifetime_hours", "wrong.toml:3: clocks.reply", "wrong.toml:4: clocks.review"] {
        assert!(said(&checked).contains(line), "{line}: {}", said(&checked));
    }

    // A holiday calendar in a file of its own, and a shorter time to reply: both sides' clocks follow at once.
    let applied = apply(&place, BOTH).await;
    let id = applied["id"].as_str().unwrap();
    fs::write(place.dir().join("holidays-2998.toml"), "year = 2998\nholidays = [\"2998-10-01..2998-10-07\"]\n")
        .unwrap();
    set_profile(&place, "[clocks]\nreply_conditional_days = 3\n[calendar]\nfiles = [\"holidays-2998.toml\"]\n").await;
    for department in ["civil-affairs", "housing"] {
        assert_eq!(place.json(department, &["access", "show", id]).await["clock"]["days_left"], 3, "{department}");
    }
    let profile = json(&["profile", "show"]).await;
    assert_eq!(profile["profile"]["calendar"]["years"][0]["holidays"].as_array().unwrap().len(), 7, "{profile}");

    let board = json(&["board", "--all"]).await;
    assert_eq!((&board["overdue"], &board["due"][0]["owner"]), (&Value::from(0), &"civil-affairs".into()));
    assert_eq!(board["due"][0]["clock"]["days_left"], 3, "{board}");
    let told = said(&registry(&["board"]).await);
    assert!(told.contains("Nothing is overdue"), "{told}");
    place.json("civil-affairs", &["access", "approve", id]).await;
    assert!(json(&["board", "--all"]).await["due"].as_array().unwrap().is_empty());
}
