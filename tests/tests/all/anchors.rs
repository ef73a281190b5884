//! Anchors on real processes: evidence goes into the registry's second log, stays good when a key is revoked later, and a
//! node that rewrites its evidence is found out by whoever compares.

use std::{fs, path::Path, sync::Arc};

use exchange_node::journal::{Commit, Journal, NewEntry, SledJournal};
use host::{
    clock::{Clock, SystemClock},
    random::SystemRandom,
};
use prost::Message;
use proto::exchange::v1::{EntryKind, Outcome};
use serde_json::Value;
use trust::{envelope, key::SigningKey};

use crate::support::{MARRIED, Place, SINGLE, WIDOWED, exit, marital_status, said};

async fn anchor(place: &Place, department: &str) -> Value {
    place.json(department, &["evidence", "anchors", "now"]).await
}

/// Has the directory take the second log, and every node read that.
async fn take(place: &Place) {
    let output = place.town.registry_cli(&["anchors", "take", "--json"]).await.unwrap();
    assert_eq!(exit(&output), 0, "{}", said(&output));
    place.town.settled().await.unwrap();
}

/// Exports and checks; the exit code, and what was printed.
async fn exported(place: &Place, receipt: &str, name: &str) -> (i32, Value) {
    let bundle = place.dir().join(name);
    let bundle = bundle.to_str().unwrap();
    place.cli("housing", &["evidence", "export", receipt, "-o", bundle]).await;
    let arguments = ["evidence", "verify", bundle, "--authority", place.town.authority_key(), "--json"];
    let checked = place.cli("housing", &arguments).await;
    (exit(&checked), serde_json::from_slice(&checked.stdout).unwrap_or_else(|_| panic!("{}", said(&checked))))
}

fn anchored(report: &Value) -> &Value {
    let checks = report["checks"].as_array().unwrap();
    let is_it = |check: &&Value| check["name"].as_str().unwrap().starts_with("anchor of");
    checks.iter().find(is_it).unwrap_or_else(|| panic!("{report}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_anchored_before_a_revocation_stays_good_and_what_was_not_does_not() {
    let place = Place::civil_affairs_and_housing().await;
    let early = place.ask(marital_status(&MARRIED, "married")).await;
    assert_eq!(anchored(&exported(&place, &early.receipt, "bare").await.1)["finding"], "not_shown");
    let state = anchor(&place, "housing").await;
    assert_eq!((&state["anchored"], &state["proved"]), (&2.into(), &0.into()), "{state}");
    take(&place).await;
    let state = anchor(&place, "housing").await;
    assert_eq!(state["proved"], 2, "{state}");
    let status = place.json("housing", &["status"]).await;
    assert_eq!((&status["anchored"], &status["anchoring_trouble"]), (&2.into(), &"".into()), "{status}");
    let late = place.ask(marital_status(&SINGLE, "single")).await;

    let listed = place.town.registry_cli(&["anchors", "list", "--json"]).await.unwrap();
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed["anchors"][0]["origin"], "ninghe/housing/1/evidence", "{listed}");

    // The authority revokes the key of housing's node.
    let keys = place.json("housing", &["keys", "list"]).await;
    let keys = keys["keys"].as_array().unwrap_or_else(|| panic!("{keys}"));
    let node_key = keys.iter().find(|key| key["role"] == "node").unwrap_or_else(|| panic!("{keys:?}"));
    let key_id = ["key_id", "id"].iter().find_map(|name| node_key[name].as_str()).unwrap();
    let revoked = place.town.registry_cli(&["key", "revoke", "housing", key_id, "--reason", "stolen"]).await.unwrap();
    assert_eq!(exit(&revoked), 0, "{}", said(&revoked));
    place.town.settled().await.unwrap();

    let (code, report) = exported(&place, &early.receipt, "early").await;
    assert_eq!((code, &anchored(&report)["finding"]), (0, &"holds".into()), "{report}");
    let (code, report) = exported(&place, &late.receipt, "late").await;
    assert_eq!(code, 8, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rewritten_evidence_log_is_found_out_by_whoever_compares() {
    let place = Place::civil_affairs_and_housing().await;
    let node = place.town.node("housing");
    place.ask(marital_status(&MARRIED, "married")).await;
    anchor(&place, "housing").await;
    node.stop().await.unwrap();
    let copy = place.dir().join("journal-before");
    copy_folder(&node.dir().join("journal"), &copy);
    node.start().await.unwrap();
    // A second of its own: one log is anchored at most once in it.
    place.ask(marital_status(&WIDOWED, "widowed")).await;
    let anchored_twice = town::harness::eventually(std::time::Duration::from_secs(60), async || {
        let output = place.cli("housing", &["evidence", "anchors", "now", "--json"]).await;
        serde_json::from_slice::<Value>(&output.stdout).is_ok_and(|state| state["anchored"] == 4)
    });
    assert!(anchored_twice.await);
    take(&place).await;
    let check = async || place.cli("civil-affairs", &["evidence", "anchors", "check", "housing/1"]).await;
    let honest = check().await;
    assert_eq!(exit(&honest), 0, "{}", said(&honest));
    assert!(said(&honest).contains("1 steps between anchors"), "{}", said(&honest));
    let verify = async || place.town.registry_cli(&["anchors", "verify"]).await.unwrap();
    assert_eq!(exit(&verify().await), 0, "{}", said(&verify().await));

    // The second question is made undone, and others are put in its place, as somebody would who has the node's keys.
    node.stop().await.unwrap();
    fs::remove_dir_all(node.dir().join("journal")).unwrap();
    copy_folder(&copy, &node.dir().join("journal"));
    fs::remove_file(node.dir().join("anchors.jsonl")).unwrap();
    write_on(node.dir(), 4).await;
    // A node that is as it should be finds out itself, and signs nothing.
    node.start().await.unwrap();
    let status = place.json("housing", &["status"]).await;
    let held = status["evidence_held"].as_str().unwrap();
    assert!(held.contains("does not contain its last anchored checkpoint"), "{status}");
    let now = place.cli("housing", &["evidence", "anchors", "now"]).await;
    assert_ne!(exit(&now), 0, "{}", said(&now));
    assert!(said(&now).contains("does not contain its last anchored checkpoint"), "{}", said(&now));
    // The node's own operator is told wherever they look.
    let doctor = place.cli("housing", &["doctor"]).await;
    assert!(said(&doctor).contains("WRONG    anchors: the evidence is not anchored any more"), "{}", said(&doctor));
    let status = place.json("housing", &["status"]).await;
    let trouble = status["anchoring_trouble"].as_str().unwrap();
    assert!(trouble.contains("does not contain its last anchored checkpoint"), "{status}");
    let found = check().await;
    assert_eq!(exit(&found), 8, "{}", said(&found));
    assert!(said(&found).contains("do not begin with the"), "{}", said(&found));
    let verified = verify().await;
    assert_eq!(exit(&verified), 1, "{}", said(&verified));
    assert!(said(&verified).contains("contradicts itself"), "{}", said(&verified));
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_with_anchoring_is_told_and_ends_when_the_registry_is_back() {
    let place = Place::civil_affairs_and_housing().await;
    place.ask(marital_status(&MARRIED, "married")).await;
    place.town.registry().stop().await.unwrap();
    let now = place.cli("housing", &["evidence", "anchors", "now"]).await;
    assert_ne!(exit(&now), 0, "{}", said(&now));
    let trouble = async || place.json("housing", &["status"]).await["anchoring_trouble"].as_str().unwrap().to_owned();
    assert!(trouble().await.contains("cannot be reached to anchor the evidence"), "{}", trouble().await);
    let doctor = place.cli("housing", &["doctor"]).await;
    assert!(
        said(&doctor).contains("warning  anchors: the evidence was not anchored at the last turn"),
        "{}",
        said(&doctor)
    );
    place.town.registry().start().await.unwrap();
    let anchored = town::harness::eventually(std::time::Duration::from_secs(60), async || {
        exit(&place.cli("housing", &["evidence", "anchors", "now"]).await) == 0
    });
    assert!(anchored.await, "it is anchored when the registry is back");
    assert_eq!(trouble().await, "");
    let doctor = place.cli("housing", &["doctor"]).await;
    assert!(said(&doctor).contains("ok       anchors: 2 of 2 evidence entries are anchored"), "{}", said(&doctor));
}

/// Adds entries to the evidence of a node that does not run.
async fn write_on(dir: &Path, count: u64) {
    let failed = Arc::new(|reason: &str| panic!("{reason}"));
    let journal = SledJournal::open(dir, Arc::new(SystemRandom), &SystemClock, failed).unwrap();
    for _ in 0..count {
        let at_ms = SystemClock.now_ms();
        let (sealed, digest) =
            envelope::seal(&Outcome { at_ms, ..Outcome::default() }, &SigningKey::from_seed(&[7; 32]));
        let message = envelope::signed(sealed).encode_to_vec();
        let entries = vec![NewEntry { kind: EntryKind::Outcome, digest, message }];
        journal.commit(Commit { at_ms, entries, ..Commit::default() }).await.unwrap();
    }
    journal.close().await.unwrap();
}

pub(crate) fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    fs::set_permissions(to, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    for item in fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        let target = to.join(item.file_name());
        match item.file_type().unwrap().is_dir() {
            true => copy_folder(&item.path(), &target),
            false => drop(fs::copy(item.path(), target).unwrap()),
        }
    }
}
