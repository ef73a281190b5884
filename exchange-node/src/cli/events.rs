//! `events`: what in other departments' questions looks wrong. Out of scope: what is watched (`crate::events`).

use clap::Subcommand;
use proto::admin::v1::{Event, ListEventsRequest, events_client::EventsClient};
use serde_json::{Value, json};

use super::{
    Error, Exit,
    node::Folder,
    output::{self, Output},
};

/// The commands about events.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Lists the events that are kept, the newest first.
    #[command(after_help = "Example:\n  exchange-node events list")]
    List,
    /// Shows one event, with what to do next.
    #[command(after_help = "Example:\n  exchange-node events show sweep-housing-2026-11-29")]
    Show {
        /// The event's id.
        #[arg(value_name = "ID")]
        id: String,
    },
}

pub(super) async fn run(command: Command, folder: &Folder, output: Output) -> Result<Exit, Error> {
    let mut client = EventsClient::new(folder.channel().await?);
    let id = match &command {
        Command::List => String::new(),
        Command::Show { id } => id.clone(),
    };
    let events = client.list_events(ListEventsRequest { id }).await?.into_inner().events;
    match (command, events.as_slice()) {
        (Command::Show { .. }, [event]) => output.show(&machine(event), || {
            let moment = output::moment;
            format!(
                "{}\n{} of {}, {} times on {} (first {}, last {}).\nThe authority was told of {}.\nNext: {}.",
                event.id,
                event.what,
                event.department,
                event.count,
                event.day,
                moment(event.first_ms),
                moment(event.last_ms),
                event.told,
                event.next_step
            )
        }),
        _ => {
            let all: Vec<Value> = events.iter().map(machine).collect();
            output.show(&json!({ "events": all }), || match events.as_slice() {
                [] => "Nothing looked wrong.".to_owned(),
                events => output::table(["event", "what", "how often", "last", "told"], events.iter().map(row)),
            });
        }
    }
    Ok(Exit::Done)
}

fn machine(event: &Event) -> Value {
    json!({
        "id": event.id,
        "kind": event.kind,
        "department": event.department,
        "day": event.day,
        "count": event.count,
        "what": event.what,
        "next_step": event.next_step,
        "first_ms": event.first_ms,
        "last_ms": event.last_ms,
        "told": event.told,
    })
}

fn row(event: &Event) -> [String; 5] {
    let told = if event.told == event.count { "all" } else { "not all" };
    let (id, what) = (event.id.clone(), event.what.clone());
    [id, what, event.count.to_string(), output::moment(event.last_ms), told.to_owned()]
}
