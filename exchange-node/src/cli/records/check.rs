//! `records check`: one lookup, run by the node as for a question, with every step shown: what the source was asked, what it
//! gave, what was made of it, and the verdicts. For the operator alone: the subject is read from standard input, and
//! nothing of it is logged.

use proto::{
    admin::v1::{CheckLookupRequest, CheckLookupResponse, SourceStep, sources_client::SourcesClient},
    exchange::v1::{Claim, Input, Subject},
};
use serde_json::{Value, json};

use super::super::{
    Error, Exit,
    node::Folder,
    output::Output,
    text,
    verify::{read_subject, verdict_json, verdicts_table},
};

/// What `records check` needs.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// The own service.
    #[arg(value_name = "SERVICE")]
    service: String,
    /// Reads the subject as one line from standard input, or asks for it without echo. Never on the command line: it would
    /// stay in the shell's history.
    #[arg(long, required = true)]
    subject_stdin: bool,
    /// How the subject is identified; without it the service's first way.
    #[arg(long, value_name = "SCHEME", default_value = "", hide_default_value = true)]
    scheme: String,
    /// A value that selects rows, NAME=VALUE; may be given several times.
    #[arg(long = "input", value_name = "NAME=VALUE", value_parser = text::input)]
    inputs: Vec<Input>,
    /// What to compare with the record, as in `verify`; may be given several times.
    #[arg(long = "claim", value_name = "CLAIM", value_parser = text::claim)]
    claims: Vec<Claim>,
    /// The service's major version; without it the newest.
    #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
    major: u32,
}

pub(super) async fn run(args: CheckArgs, folder: &Folder, output: Output) -> Result<Exit, Error> {
    let subject = read_subject(if args.scheme.is_empty() { "the service's first way" } else { &args.scheme })?;
    let request = CheckLookupRequest {
        service: args.service,
        major_version: args.major,
        subject: Some(Subject { scheme: args.scheme, value: subject.to_string() }),
        inputs: args.inputs,
        claims: args.claims,
    };
    let checked = SourcesClient::new(folder.channel().await?).check_lookup(request).await?.into_inner();
    output.show(&machine(&checked), || people(&checked));
    Ok(if checked.outcome == "failed" { Exit::Unavailable } else { Exit::Done })
}

fn machine(checked: &CheckLookupResponse) -> Value {
    let source = |step: &SourceStep| {
        let rows = step.rows.iter().map(|row| json!(row.cells)).collect::<Vec<_>>();
        json!({ "source": step.source, "asked": step.asked, "trouble": step.trouble, "columns": step.columns, "rows": rows, "notes": step.notes })
    };
    let rows = checked.rows.iter().map(|row| {
        let values = row.values.iter().map(|value| (value.column.clone(), json!(value.value)));
        Value::Object(values.collect())
    });
    json!({
        "sources": checked.sources.iter().map(source).collect::<Vec<_>>(),
        "outcome": checked.outcome,
        "reason": checked.reason,
        "record_as_of": checked.record_as_of,
        "rows": rows.collect::<Vec<_>>(),
        "lacking": checked.lacking,
        "verdicts": checked.verdicts.iter().map(verdict_json).collect::<Vec<_>>(),
    })
}

fn people(checked: &CheckLookupResponse) -> String {
    let mut lines = Vec::new();
    for step in &checked.sources {
        lines.push(format!("Source {} was asked:\n  {}", step.source, step.asked.trim().replace('\n', "\n  ")));
        if !step.trouble.is_empty() {
            lines.push(format!("  it cannot be used: {}", step.trouble));
        }
        if !step.columns.is_empty() {
            lines.push(format!("  it gave {} rows of {}", step.rows.len(), step.columns.join(", ")));
        }
        lines.extend(step.rows.iter().map(|row| format!("    {}", row.cells.join(" | "))));
        lines.extend(step.notes.iter().map(|note| format!("  not readable: {note}")));
    }
    if checked.sources.is_empty() {
        lines.push("The records are imported ones.".to_owned());
    }
    let as_of = if checked.record_as_of.is_empty() { "unknown" } else { &checked.record_as_of };
    lines.push(format!("Outcome: {}, as of {as_of}", checked.outcome));
    if !checked.reason.is_empty() {
        lines.push(format!("  {}", checked.reason));
    }
    for row in &checked.rows {
        let value = |value: &proto::admin::v1::ShownValue| match value.value.as_str() {
            "" => format!("{}: (cannot be read)", value.column),
            text => format!("{}: {text}", value.column),
        };
        lines.push(format!("  {}", row.values.iter().map(value).collect::<Vec<_>>().join(", ")));
    }
    if !checked.lacking.is_empty() {
        lines.push(format!("No column for: {}", checked.lacking.join(", ")));
    }
    if !checked.verdicts.is_empty() {
        lines.push(verdicts_table(&checked.verdicts));
    }
    lines.join("\n")
}
