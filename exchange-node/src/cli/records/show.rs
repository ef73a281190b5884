//! `records show`: what is in use for a service, and what became of the files of its folder. Out of scope: the rows.

use clap::Args;
use proto::admin::v1::{ShowRecordsRequest, ShowRecordsResponse, records_client::RecordsClient};
use serde_json::json;

use super::super::{
    Error, Exit,
    node::Folder,
    output::{self, Output},
};

pub(super) const HELP: &str = "Examples:\n  exchange-node records show marriage-registration";

/// What `records show` needs.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The own service.
    #[arg(value_name = "SERVICE")]
    service: String,
    /// The service's major version; without it the newest.
    #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
    major: u32,
}

pub(super) async fn run(args: ShowArgs, folder: &Folder, output: Output) -> Result<Exit, Error> {
    let mut node = RecordsClient::new(folder.channel().await?);
    let request = ShowRecordsRequest { service: args.service, major_version: args.major };
    let shown = node.show_records(request).await?.into_inner();
    output.show(&machine(&shown), || people(&shown));
    Ok(Exit::Done)
}

fn machine(shown: &ShowRecordsResponse) -> serde_json::Value {
    let folder = shown.folder.as_ref().map(|folder| {
        json!({
            "path": folder.path,
            "trouble": folder.trouble,
            "last_file": folder.last_file,
            "last_ms": folder.last_ms,
            "last_outcome": folder.last_outcome,
            "problems": folder.problems,
        })
    });
    json!({
        "service": shown.service,
        "major_version": shown.major_version,
        "sources": shown.sources,
        "imported": shown.imported,
        "fault": shown.fault,
        "rows": shown.rows,
        "subjects": shown.subjects,
        "quarantined_rows": shown.quarantined_rows,
        "quarantined_subjects": shown.quarantined_subjects,
        "quarantine_file": shown.quarantine_file,
        "changed_ms": shown.changed_ms,
        "folder": folder,
        "aliases": shown.aliases,
        "aliases_fault": shown.aliases_fault,
    })
}

fn people(shown: &ShowRecordsResponse) -> String {
    let mut lines = vec![format!("{} v{}", shown.service, shown.major_version)];
    if !shown.sources.is_empty() {
        lines.push(format!("  looked up in: {}", shown.sources.join(", ")));
    }
    match (shown.imported, shown.fault.as_str()) {
        (true, _) => lines.push(format!(
            "  imported: {} rows of {} subjects, changed last {}",
            shown.rows,
            shown.subjects,
            output::moment(shown.changed_ms)
        )),
        (false, "") if shown.sources.is_empty() => lines.push("  imported: nothing yet".to_owned()),
        (false, "") => {}
        (false, fault) => lines.push(format!("  imported: {fault}")),
    }
    if shown.quarantined_rows > 0 {
        lines.push(format!(
            "  set aside: {} rows ({}); {} subjects answer UNAVAILABLE",
            shown.quarantined_rows, shown.quarantine_file, shown.quarantined_subjects
        ));
    }
    if let Some(folder) = &shown.folder {
        lines.push(format!("  folder: {}", folder.path));
        if !folder.trouble.is_empty() {
            lines.push(format!("    trouble: {}", folder.trouble));
        }
        if !folder.last_file.is_empty() {
            let (file, outcome, at) = (&folder.last_file, &folder.last_outcome, output::moment(folder.last_ms));
            lines.push(format!("    last file: {file}, {outcome} {at}"));
            lines.extend(folder.problems.iter().map(|problem| format!("      {problem}")));
        }
    }
    match (shown.aliases, shown.aliases_fault.as_str()) {
        (_, fault) if !fault.is_empty() => lines.push(format!("  former numbers: {fault}")),
        (0, _) => {}
        (subjects, _) => lines.push(format!("  former numbers: of {subjects} subjects, for all services")),
    }
    lines.join("\n")
}
