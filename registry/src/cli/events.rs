//! `registry events`: what nodes have told of departments' asking. Out of scope: what is owed (`supervise`).

use clap::Subcommand;
use comfy_table::{LineStyle, Table, presets::UTF8_HORIZONTAL_ONLY};
use proto::admin::v1::{ListToldEventsRequest, ToldEvent, told_events_client::ToldEventsClient};
use serde_json::{Value, json};

use super::{
    Cli,
    operate::{Failure, Shown, channel, moment},
};

/// `registry events …`.
#[derive(Debug, Subcommand)]
pub enum EventsCommand {
    /// What nodes have told: which department's questions looked wrong, on which day, how often.
    #[command(after_help = "Example:\n  registry events list --department housing")]
    List {
        /// Only this department's questions.
        #[arg(long, value_name = "DEPARTMENT")]
        department: Option<String>,
    },
}

pub(super) async fn run(cli: &Cli, command: &EventsCommand) -> Result<Shown, Failure> {
    let EventsCommand::List { department } = command;
    let mut events = told(cli).await?;
    events.retain(|event| department.as_ref().is_none_or(|wanted| event.department == *wanted));
    let machine: Vec<Value> = events
        .iter()
        .map(|event| {
            json!({
                "by": event.by,
                "node": event.node,
                "kind": event.kind,
                "department": event.department,
                "day": event.day,
                "count": event.count,
                "told_ms": event.told_ms,
            })
        })
        .collect();
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()));
    table.set_header(["day", "who asked", "what", "how often", "told by", "told"]);
    for event in &events {
        let by = format!("{} (node {})", event.by, event.node);
        let (day, asked, kind) = (event.day.clone(), event.department.clone(), event.kind.clone());
        table.add_row([day, asked, kind, event.count.to_string(), by, moment(event.told_ms)]);
    }
    let text = if events.is_empty() { "Nodes have told of nothing.".to_owned() } else { table.trim_fmt() };
    Ok(Shown { json: json!({ "events": machine }), text })
}

/// One line for the board; empty where there is nothing.
pub(super) async fn note(cli: &Cli) -> Result<(usize, String), Failure> {
    let count = told(cli).await?.len();
    let text = match count {
        0 => String::new(),
        1 => "\nNodes have told of 1 event: `registry events list`.".to_owned(),
        count => format!("\nNodes have told of {count} events: `registry events list`."),
    };
    Ok((count, text))
}

async fn told(cli: &Cli) -> Result<Vec<ToldEvent>, Failure> {
    let mut client = ToldEventsClient::new(channel(cli).await?);
    Ok(client.list_told_events(ListToldEventsRequest {}).await?.into_inner().events)
}
