//! Departments that end.

use super::{Operations, expect};

/// The department that is merged: it holds a grant, which goes over.
pub const ENDING: &str = "housing-reform";

/// The housing reform office is merged into the housing office. Three signatures: it hands over, the successor
/// accepts, the authority confirms.
pub(super) async fn merge(town: Operations<'_>) -> anyhow::Result<String> {
    let reason = "机构改革方案第 3 条";
    town.node(ENDING, &["department", "hand-over", "--to", town.office, "--all", "--custody", "--reason", reason])
        .await?;
    town.town.settled().await?;
    town.node(town.office, &["department", "accept", "--from", ENDING]).await?;
    town.town.settled().await?;
    let merged = town.registry(&["department", "merge", ENDING, "--into", town.office, "--reason", reason]).await?;
    town.town.settled().await?;
    expect("grants that went over", &merged["grants_carried"], &1)?;
    let shown = town.node(town.office, &["departments", "show", ENDING]).await?;
    expect("the department's state", &shown["state"], "closed")?;
    expect("its successor", &shown["successors"][0], town.office)?;
    Ok(format!(
        "{ENDING} was merged into {}: it handed its grant over, {0} accepted, the authority confirmed",
        town.office
    ))
}
