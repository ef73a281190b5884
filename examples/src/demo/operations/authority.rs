//! What the authority does, and whoever checks it.

use std::time::Duration;

use super::{AUTHORITYS_OFFICER, Operations, expect};
use crate::harness::eventually;

/// The log commits to its state, and a bundle shows with it that nothing relied on had been revoked.
pub(super) async fn state_commitment(town: Operations<'_>) -> anyhow::Result<String> {
    let receipt = town.ask_and_match().await?["receipt"].as_str().unwrap_or_default().to_owned();
    let committed = town.registry(&["state", "commit"]).await?;
    town.town.settled().await?;
    let bundle = town.path("state.evidence");
    town.node(town.office, &["evidence", "export", &receipt, "-o", &bundle]).await?;
    let report =
        town.node(town.office, &["evidence", "verify", &bundle, "--authority", town.town.authority_key()]).await?;
    let newer = report["checks"].as_array().and_then(|checks| {
        let check = checks.iter().find(|check| check["name"] == "nothing newer was said")?;
        check["finding"].as_str()
    });
    expect("nothing newer was said", &newer.unwrap_or("no such check"), &"holds")?;
    Ok(format!(
        "the log committed to {} objects; the evidence of a question shows with it that nothing had been revoked",
        committed["objects"]
    ))
}

/// An auditor reads the whole log from its tiles and checks every statement.
pub(super) async fn audit(town: Operations<'_>) -> anyhow::Result<String> {
    let report = town.node(town.office, &["log", "verify"]).await?;
    expect("the log is sound", &report["sound"], &true)?;
    let compared = report["compared"].as_array().map_or(0, Vec::len);
    expect("roots compared", &compared, &1)?;
    Ok(format!(
        "the whole log audited from its tiles: {} statements, each signature and rule; the same as the housing node was told",
        report["size"]
    ))
}

/// The authority's profile asks for reviews: a new service answers once what was missing has been put right and approved.
pub(super) async fn review(town: Operations<'_>) -> anyhow::Result<String> {
    town.settings(&[("review_new", "true")]).await?;

    let description = town.path("mortgage-registration.yaml");
    std::fs::write(&description, MORTGAGES)?;
    town.node(NATURAL_RESOURCES, &["service", "publish", &description]).await?;
    town.town.settled().await?;
    let shown = town.node(town.office, &["services", "show", MORTGAGE]).await?;
    expect("the new service's state", &shown["state"], "waiting")?;
    let returned = town.registry(&["review", "return", MORTGAGE, "--found"]).await?;
    expect("what is missing", &returned["missing"].as_array().map_or(0, Vec::len), &1)?;
    town.town.settled().await?;

    std::fs::write(
        &description,
        MORTGAGES.replace("version: \"1.0\"", "version: \"1.1\"\ncontact: 不动产登记中心 0890-000-0303"),
    )?;
    town.node(NATURAL_RESOURCES, &["service", "change", &description]).await?;
    town.town.settled().await?;
    town.registry(&[&["review", "approve", MORTGAGE][..], &AUTHORITYS_OFFICER].concat()).await?;
    town.town.settled().await?;
    let shown = town.node(town.office, &["services", "show", MORTGAGE]).await?;
    expect("the approved service's state", &shown["state"], "answering")?;
    Ok(format!(
        "{MORTGAGE} was reviewed: returned once with all that was missing ({}), put right, approved",
        returned["missing"][0].as_str().unwrap_or_default()
    ))
}

/// The office's evidence is anchored in the registry's second log, and the directory takes that log's checkpoint.
pub(super) async fn anchors(town: Operations<'_>) -> anyhow::Result<String> {
    let receipt = town.ask_and_match().await?["receipt"].as_str().unwrap_or_default().to_owned();
    town.node(town.office, &["evidence", "anchors", "now"]).await?;
    let taken = town.registry(&["anchors", "take"]).await?;
    town.town.settled().await?;
    let state = town.node(town.office, &["evidence", "anchors", "now"]).await?;
    let bundle = town.path("anchored.evidence");
    town.node(town.office, &["evidence", "export", &receipt, "-o", &bundle]).await?;
    let report =
        town.node(town.office, &["evidence", "verify", &bundle, "--authority", town.town.authority_key()]).await?;
    let anchored = report["checks"].as_array().and_then(|checks| {
        let check =
            checks.iter().find(|check| check["name"].as_str().is_some_and(|name| name.starts_with("anchor of")))?;
        check["finding"].as_str()
    });
    expect(&format!("the anchor, after {taken}"), &anchored.unwrap_or("no such check"), &"holds")?;
    Ok(format!(
        "the office's evidence was anchored at {} entries: rewriting it would be found out by whoever compares",
        state["proved"]
    ))
}

/// The profile requires the word of two departments' nodes beside the log's own.
pub(super) async fn witnesses(town: Operations<'_>) -> anyhow::Result<String> {
    town.settings(&[("witnesses_required", "2")]).await?;
    let count = |shown: &serde_json::Value| shown["witnesses"].as_array().map_or(0, Vec::len);
    let witnessed = eventually(PATIENCE, async || {
        let shown = town.node(town.office, &["directory", "show"]).await;
        shown.is_ok_and(|shown| count(&shown) >= 2)
    });
    expect("two witnesses", &witnessed.await, &true)?;
    let shown = town.node(town.office, &["directory", "show"]).await?;
    town.ask_and_match().await?;
    Ok(format!(
        "{} departments' nodes witness the directory for each other; the profile now requires two",
        count(&shown)
    ))
}

const PATIENCE: Duration = Duration::from_secs(60);
const NATURAL_RESOURCES: &str = "natural-resources";
const MORTGAGE: &str = "natural-resources/mortgage-registration";

/// A new service; whom to ask about it is missing.
const MORTGAGES: &str = r#"service: mortgage-registration
version: "1.0"
name: {zh: 不动产抵押登记核验, en: Mortgage registration}
subject: [uscc]
sharing: unconditional
legal_basis: ["不动产登记暂行条例 5"]
attributes:
  is_mortgaged:
    type: boolean
    operators: [equals]
    label: {zh: 是否抵押, en: Whether mortgaged}
update_cycle: daily
time_to_answer_ms: 1000
conditions: 仅用于所列事项的办理
classification: L2
"#;
