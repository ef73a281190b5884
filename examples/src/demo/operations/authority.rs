//! What the authority does, and whoever checks it.

use super::{Operations, expect};

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
