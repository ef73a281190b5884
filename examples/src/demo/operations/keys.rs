//! Keys change while the town works: a node's, and the log's own.

use std::time::Duration;

use super::{Operations, expect};
use crate::harness::eventually;

/// The office's node and the log get new keys; evidence from before stays good, and nobody who asks notices.
pub(super) async fn rotation(town: Operations<'_>) -> anyhow::Result<String> {
    let receipt = town.ask_and_match().await?["receipt"].as_str().unwrap_or_default().to_owned();
    let log_key = async || -> anyhow::Result<String> {
        let listed = town.registry(&["keys", "list"]).await?;
        let keys = listed["keys"].as_array().into_iter().flatten();
        let mut in_force = keys.filter(|key| key["role"] == "log" && key["in_force"] == true);
        Ok(in_force.next_back().map(|key| key["key_id"].to_string()).unwrap_or_default())
    };
    let before = log_key().await?;
    town.node(town.office, &["keys", "rotate", "node", "--overlap", "1h"]).await?;
    town.registry(&["keys", "rotate-log", "--reason", "示范：每年更换一次"]).await?;
    town.town.settled().await?;
    expect("the log's key is another one", &(log_key().await? != before), &true)?;
    // A provider that has not read of the new key yet reads on when it sees it.
    let asked = eventually(PATIENCE, async || town.ask_and_match().await.is_ok());
    expect("a question under the new keys gets a match", &asked.await, &true)?;

    let bundle = town.path("before-rotation.evidence");
    town.node(town.office, &["evidence", "export", &receipt, "-o", &bundle]).await?;
    let report =
        town.node(town.office, &["evidence", "verify", &bundle, "--authority", town.town.authority_key()]).await?;
    expect("evidence from before the change", &report["sound"], &true)?;
    Ok("the office's node and the log itself changed their signing keys while questions were answered; evidence from before stays good".to_owned())
}

const PATIENCE: Duration = Duration::from_secs(60);
