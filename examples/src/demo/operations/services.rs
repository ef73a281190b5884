//! What departments do with their services, and with access to them.

use super::{MARRIAGE, Operations, expect};

/// Civil affairs suspends its register for maintenance: who asks gets to read the notice. Then it answers again.
pub(super) async fn suspension(town: Operations<'_>) -> anyhow::Result<String> {
    let notice = "登记系统维护至周五";
    town.node("civil-affairs", &["service", "suspend", "marriage-registration", "--notice", notice]).await?;
    town.town.settled().await?;
    let told = town.ask().await?;
    let read_by_asker = told.to_string().contains(notice);
    town.node("civil-affairs", &["service", "resume", "marriage-registration"]).await?;
    town.town.settled().await?;
    expect("who asks a suspended service reads its notice", &read_by_asker, &true)?;
    town.ask_and_match().await?;
    Ok(format!("{MARRIAGE} was suspended; who asked got to read its notice: {notice}; then it answered again"))
}

/// Human resources applies too: returned once with all that is missing, applied for again, and granted less than it asked.
pub(super) async fn application(town: Operations<'_>) -> anyhow::Result<String> {
    let asked = ["--attributes", "marital_status,registered_on", "--operators", "equals,after"];
    let apply = ["access", "apply", MARRIAGE, "--item", PENSION, "--basis", "社会保险法 16"];
    let applied = town.node(APPLICANT, &[&apply[..], &asked].concat()).await?;
    let id = applied["id"].as_str().unwrap_or_default();
    town.town.settled().await?;
    town.node(PROVIDER, &["access", "return", id, "--missing", "预计用量"]).await?;
    town.town.settled().await?;
    let again = ["--again", id, "--expected-per-day", "50"];
    town.node(APPLICANT, &[&apply[..], &asked, &again].concat()).await?;
    town.town.settled().await?;
    let narrowed = ["--attributes", "marital_status", "--per-day", "60"];
    town.node(PROVIDER, &[&["access", "approve", id][..], &narrowed, &OFFICER].concat()).await?;
    town.town.settled().await?;
    let shown = town.node(APPLICANT, &["access", "show", id]).await?;
    expect("the application's state", &shown["state"], "granted")?;
    expect("attributes granted", &shown["granted"]["scope"].as_array().map_or(0, Vec::len), &1)?;
    Ok(format!(
        "{APPLICANT}'s application was returned with what was missing, made again, and granted for one attribute of two"
    ))
}

/// The profile has two officers decide on revocations: the grant of before ends with both their names.
pub(super) async fn four_eyes(town: Operations<'_>) -> anyhow::Result<String> {
    town.settings(&[("four_eyes", "[\"access.revoke\"]")]).await?;
    let listed = town.node(APPLICANT, &["access", "list", "--state", "granted"]).await?;
    let grants = listed["access"].as_array().into_iter().flatten();
    let of_before = |grant: &&serde_json::Value| grant["item"] == PENSION && grant["provider"] == PROVIDER;
    let id = grants.filter(of_before).find_map(|grant| grant["id"].as_str()).unwrap_or_default();
    let revoke = ["access", "revoke", id, "--reason", "资格认证改由本部门办理"];
    let waits = town.node(PROVIDER, &[&revoke[..], &OFFICER].concat()).await?;
    expect("the first officer", &waits["pending"]["officer"], OFFICER[1])?;
    expect("until confirmed", &town.node(APPLICANT, &["access", "show", id]).await?["state"], "granted")?;
    town.node(PROVIDER, &["access", "confirm", id, "--officer", SECOND_OFFICER]).await?;
    town.town.settled().await?;
    let shown = town.node(APPLICANT, &["access", "show", id]).await?;
    expect("the grant's state", &shown["state"], "revoked")?;
    expect("the second officer", &shown["decision"]["second_officer"], SECOND_OFFICER)?;
    Ok(format!(
        "four eyes: officer {} revoked that grant again, and it counted once officer {SECOND_OFFICER} confirmed",
        OFFICER[1]
    ))
}

const APPLICANT: &str = "human-resources";
const OFFICER: [&str; 4] = ["--officer", "2001", "--document", "民函〔2026〕9号"];
const PENSION: &str = "养老金领取资格认证";
const PROVIDER: &str = "civil-affairs";
const SECOND_OFFICER: &str = "2002";
