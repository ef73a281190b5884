//! `registry department rename|merge|split|close`: what the authority states about departments that change. Out of scope:
//! what they hand over, which only they themselves can (`exchange-node department`).

use clap::Args;
use proto::{
    admin::v1::{self as wire, department_changes_client::DepartmentChangesClient},
    registry::v1::LocalName,
};
use serde_json::json;
use trust::ids::DepartmentId;

use super::{
    Cli,
    operate::{Failure, Shown, channel, said, said_facts, said_json},
};

/// `registry department rename`.
#[derive(Args, Debug)]
pub struct RenameArguments {
    /// The department's id, which stays.
    pub id: DepartmentId,
    /// Its new name.
    #[arg(long)]
    pub name: String,
    /// Its new name in English.
    #[arg(long, default_value = "")]
    pub name_en: String,
    /// Its new unified social credit code (统一社会信用代码); left out where it stays.
    #[arg(long, default_value = "")]
    pub uscc: String,
    /// Take a credit code whose check character is wrong, as some early pilot codes' are.
    #[arg(long)]
    pub lenient_uscc: bool,
    /// Its new division code (GB/T 2260); left out where it stays.
    #[arg(long, default_value = "")]
    pub division: String,
    /// The document it rests on.
    #[arg(long, default_value = "")]
    pub document: String,
    /// From which day (Beijing time). Left out: from now.
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = day)]
    pub from: Option<u64>,
}

/// `registry department merge`.
#[derive(Args, Debug)]
pub struct MergeArguments {
    /// The department that ends.
    pub id: DepartmentId,
    /// The department that takes over what the other handed over to it.
    #[arg(long, value_name = "DEPARTMENT")]
    pub into: DepartmentId,
    /// What they have in common.
    #[command(flatten)]
    pub end: EndArguments,
}

/// `registry department split`.
#[derive(Args, Debug)]
pub struct SplitArguments {
    /// The department that gives up a part.
    pub id: DepartmentId,
    /// A department that takes a part; may be given several times.
    #[arg(long, value_name = "DEPARTMENT", required = true)]
    pub into: Vec<DepartmentId>,
    /// The department itself ends; left out where it goes on.
    #[arg(long)]
    pub ends: bool,
    /// What they have in common.
    #[command(flatten)]
    pub end: EndArguments,
}

/// `registry department close`.
#[derive(Args, Debug)]
pub struct CloseArguments {
    /// The department that ends.
    pub id: DepartmentId,
    /// A department that succeeds it; may be given several times. Without any all that it had ends.
    #[arg(long, value_name = "DEPARTMENT")]
    pub successor: Vec<DepartmentId>,
    /// What they have in common.
    #[command(flatten)]
    pub end: EndArguments,
}

/// What `merge`, `split` and `close` have in common.
#[derive(Args, Debug)]
pub struct EndArguments {
    /// Why, and on what document; it stands in the directory.
    #[arg(long)]
    pub reason: String,
    /// From which day (Beijing time). Left out: from now.
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = day)]
    pub from: Option<u64>,
    /// Do it although a successor was handed nothing over, or has not accepted: what was not handed over ends.
    #[arg(long)]
    pub without_hand_over: bool,
}

pub(super) async fn rename(cli: &Cli, arguments: &RenameArguments) -> Result<Shown, Failure> {
    let request = wire::RenameDepartmentRequest {
        department: arguments.id.to_string(),
        name: Some(LocalName { zh: arguments.name.clone(), en: arguments.name_en.clone() }),
        uscc: arguments.uscc.clone(),
        division: arguments.division.clone(),
        from_ms: arguments.from.unwrap_or(0),
        document: arguments.document.clone(),
        lenient_uscc: arguments.lenient_uscc,
    };
    let renamed = client(cli).await?.rename_department(request).await?.into_inner();
    let facts = [("department", arguments.id.to_string()), ("name", arguments.name.clone())];
    Ok(said(&facts, renamed.index, &renamed.waiting))
}

pub(super) async fn merge(cli: &Cli, arguments: &MergeArguments) -> Result<Shown, Failure> {
    end(cli, &arguments.id, std::slice::from_ref(&arguments.into), false, &arguments.end).await
}

pub(super) async fn split(cli: &Cli, arguments: &SplitArguments) -> Result<Shown, Failure> {
    end(cli, &arguments.id, &arguments.into, !arguments.ends, &arguments.end).await
}

pub(super) async fn close(cli: &Cli, arguments: &CloseArguments) -> Result<Shown, Failure> {
    end(cli, &arguments.id, &arguments.successor, false, &arguments.end).await
}

async fn end(
    cli: &Cli,
    id: &DepartmentId,
    successors: &[DepartmentId],
    goes_on: bool,
    arguments: &EndArguments,
) -> Result<Shown, Failure> {
    let successors: Vec<String> = successors.iter().map(ToString::to_string).collect();
    let request = wire::EndDepartmentRequest {
        department: id.to_string(),
        successors: successors.clone(),
        goes_on,
        from_ms: arguments.from.unwrap_or(0),
        reason: arguments.reason.clone(),
        without_hand_over: arguments.without_hand_over,
    };
    let done = client(cli).await?.end_department(request).await?.into_inner();
    let json = json!({
        "department": id.as_str(),
        "successors": successors,
        "goes_on": goes_on,
        "services_carried": done.services_carried,
        "grants_carried": done.grants_carried,
        "services_ended": done.services_ended,
    });
    let json = said_json(json, done.index, &done.waiting);
    if !done.waiting.is_empty() {
        let state = if goes_on {
            "is to give up a part; nothing has gone over yet"
        } else {
            "is to end; it goes on until then"
        };
        let facts = [("department", format!("{id} {state}")), ("successors", successors.join(", "))];
        return Ok(Shown::facts(&[&facts[..], said_facts(done.index, &done.waiting).as_slice()].concat(), json));
    }
    let state = if goes_on { "has given up a part, and goes on" } else { "has ended; its id never comes back" };
    let facts = [
        ("department", format!("{id} {state}")),
        ("successors", successors.join(", ")),
        ("services that go over", done.services_carried.join(", ")),
        ("grants that go over", done.grants_carried.to_string()),
        ("services that end", done.services_ended.join(", ")),
        ("statement", done.index.to_string()),
    ];
    Ok(Shown::facts(&facts, json))
}

async fn client(cli: &Cli) -> Result<DepartmentChangesClient<tonic::transport::Channel>, Failure> {
    Ok(DepartmentChangesClient::new(channel(cli).await?))
}

/// The beginning of a day in Beijing, Unix milliseconds.
fn day(text: &str) -> Result<u64, String> {
    let expected = || "a day is written YYYY-MM-DD, for example 2027-01-01".to_owned();
    let date: jiff::civil::Date = text.parse().map_err(|_| expected())?;
    let begins = jiff::tz::Offset::constant(8).to_timestamp(date.at(0, 0, 0, 0)).map_err(|_| expected())?;
    u64::try_from(begins.as_millisecond()).map_err(|_| expected())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_at_midnight_in_beijing() {
        assert_eq!(day("2026-01-01"), Ok(1_767_196_800_000));
        assert!(day("1.1.2026").is_err() && day("1960-01-01").is_err());
    }
}
