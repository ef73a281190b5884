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
