//! `registry anchors …`: the second log, which holds the checkpoints of all nodes' evidence.

use clap::Subcommand;
use comfy_table::{LineStyle, Table, presets::UTF8_HORIZONTAL_ONLY};
use proto::admin::v1::{self as wire, registry_evidence_client::RegistryEvidenceClient};
use serde_json::{Value, json};

use super::{
    Cli, Failure,
    operate::{Shown, channel, moment},
};

/// `registry anchors …`.
#[derive(Debug, Subcommand)]
pub enum AnchorsCommand {
    /// List every evidence log with its last anchored checkpoint.
    #[command(after_help = "Example:\n  registry anchors list")]
    List,
    /// Read the whole second log again, and have the nodes show that their evidence logs were never rewritten.
    #[command(after_help = "Example:\n  registry anchors verify\n  registry anchors verify --offline")]
    Verify {
        /// Ask no node: only compare what was anchored.
        #[arg(long)]
        offline: bool,
    },
    /// Have the directory take the second log now, instead of waiting for the interval in registry.toml.
    #[command(after_help = "Example:\n  registry anchors take")]
    Take,
}

pub(super) async fn run(cli: &Cli, command: &AnchorsCommand) -> Result<Shown, Failure> {
    let mut client = RegistryEvidenceClient::new(channel(cli).await?);
    match command {
        AnchorsCommand::List => {
            let anchors = client.list_anchors(wire::ListAnchorsRequest {}).await?.into_inner().anchors;
            let json: Vec<Value> = anchors
                .iter()
                .map(|state| json!({ "origin": state.origin, "size": state.size, "signed_at_ms": state.signed_at_ms }))
                .collect();
            let mut table = Table::new();
            table.load_style(UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()));
            table.set_header(["evidence log", "entries", "anchored"]);
            for state in anchors {
                table.add_row([state.origin, state.size.to_string(), moment(state.signed_at_ms)]);
            }
            Ok(Shown { json: json!({ "anchors": json }), text: table.trim_fmt() })
        }
        AnchorsCommand::Take => {
            let taken = client.take_anchors(wire::TakeAnchorsRequest {}).await?.into_inner().taken;
            Ok(Shown::facts(&[("anchors taken", taken.to_string())], json!({ "taken": taken })))
        }
        AnchorsCommand::Verify { offline } => {
            let request = wire::VerifyAnchorsRequest { ask_nodes: !offline };
            let verified = client.verify_anchors(request).await?.into_inner();
            if let [first, more @ ..] = verified.contradictions.as_slice() {
                let others = if more.is_empty() { String::new() } else { format!(" (and {} more)", more.len()) };
                return Err(Failure::Failed(format!("a log contradicts itself: {first}{others}")));
            }
            let json = json!({
                "entries": verified.entries,
                "logs": verified.logs,
                "overdue": verified.overdue,
                "shown": verified.shown,
                "unreachable": verified.unreachable,
            });
            let facts = [
                ("anchors", verified.entries.to_string()),
                ("evidence logs", verified.logs.to_string()),
                ("overdue answers", verified.overdue.to_string()),
                ("shown by their nodes", verified.shown.to_string()),
                ("not reached", verified.unreachable.join("\n")),
            ];
            Ok(Shown::facts(&facts, json))
        }
    }
}
