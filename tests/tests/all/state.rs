//! Commitments to the state: the registry makes them, every node recomputes them, and evidence shows with them that nothing
//! was held back.

use serde_json::Value;

use crate::support::{MARRIED, Place, exit, marital_status, said};

const NEWER: &str = "nothing newer was said";

/// Has the registry commit to its state, and waits until every node has read it.
async fn commit(place: &Place) -> Value {
    let output = place.town.registry_cli(&["state", "commit", "--json"]).await.unwrap();
    assert_eq!(exit(&output), 0, "{}", said(&output));
    place.town.settled().await.unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

async fn exported(place: &Place, receipt: &str, name: &str) -> Value {
    let bundle = place.dir().join(name);
    let bundle = bundle.to_str().unwrap();
    place.json("housing", &["evidence", "export", receipt, "-o", bundle]).await;
    place.json("housing", &["evidence", "verify", bundle, "--authority", place.town.authority_key()]).await
}

fn check<'a>(report: &'a Value, name: &str) -> &'a Value {
    let checks = report["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("no {name} in {report}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_shows_from_when_to_when_nothing_was_revoked() {
    let place = Place::civil_affairs_and_housing().await;
    let answer = place.ask(marital_status(&MARRIED, "married")).await;
    let before = exported(&place, &answer.receipt, "before.evidence").await;
    assert_eq!(check(&before, NEWER)["finding"], "not_shown", "{before}");

    let first = commit(&place).await;
    let after = exported(&place, &answer.receipt, "after.evidence").await;
    assert_eq!(after["sound"], true, "{after}");
    assert_eq!(check(&after, NEWER)["finding"], "holds", "{after}");
    // With nothing said since, there is nothing more to commit to.
    assert_eq!(commit(&place).await, first);

    // The grant ends: the bundle of the earlier answer still holds, with the revocation in it and proved to be all.
    let access = place.json("housing", &["access", "list"]).await;
    let id = access["access"][0]["id"].as_str().unwrap_or_else(|| panic!("{access}")).to_owned();
    place.json("civil-affairs", &["access", "revoke", &id, "--reason", "ended"]).await;
    let second = commit(&place).await;
    assert!(second["covered"].as_u64() > first["covered"].as_u64(), "{second}");
    assert_eq!(second["objects"].as_u64(), first["objects"].as_u64().map(|objects| objects + 1), "`state` itself");
    let revoked = exported(&place, &answer.receipt, "revoked.evidence").await;
    assert_eq!(revoked["sound"], true, "{revoked}");
    assert_eq!(check(&revoked, NEWER)["finding"], "holds", "{revoked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_registry_commits_by_itself_and_goes_on_after_a_restart() {
    let place = Place::civil_affairs_and_housing().await;
    let registry = place.town.registry();
    registry.stop().await.unwrap();
    let config = registry.dir().join("registry.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("state_interval_seconds = 3600", "state_interval_seconds = 1")).unwrap();
    let size = async || place.json("housing", &["status"]).await["directory_size"].as_u64().unwrap();
    let before = size().await;
    registry.start().await.unwrap();
    let committed = town::harness::eventually(std::time::Duration::from_secs(60), async || size().await > before).await;
    assert!(committed, "a commitment comes by itself");
    let answer = place.ask(marital_status(&MARRIED, "married")).await;
    commit(&place).await;
    let report = exported(&place, &answer.receipt, "own.evidence").await;
    assert_eq!(report["sound"], true, "{report}");
    // A node that starts again recomputes every commitment.
    let node = place.town.node("housing");
    node.stop().await.unwrap();
    node.start().await.unwrap();
    place.town.settled().await.unwrap();
    let finding = place.json("housing", &["doctor"]).await;
    assert!(!finding.to_string().contains("cannot be taken"), "{finding}");
}
