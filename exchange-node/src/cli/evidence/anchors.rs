//! `evidence anchors`: whether this node's evidence is anchored, and whether another node rewrote its own.

use clap::Subcommand;
use proto::admin::v1::{AnchorNowRequest, CheckAnchorsRequest, CheckedLog, node_evidence_client::NodeEvidenceClient};
use serde_json::{Value, json};

use super::super::{
    Error, Exit,
    node::Folder,
    output::{self, Output},
};

/// The commands about anchors.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Anchors this node's evidence now, instead of waiting for the interval in node.toml.
    #[command(after_help = "Example:\n  exchange-node evidence anchors now")]
    Now,
    /// Compares everything that a department's node ever anchored, and has that node show that it rewrote nothing.
    #[command(after_help = "Example:\n  exchange-node evidence anchors check civil-affairs/1")]
    Check {
        /// Whose evidence.
        #[arg(value_name = "DEPARTMENT/NODE", value_parser = department_and_node)]
        node: (String, String),
    },
}

pub(super) async fn run(command: Command, folder: &Folder, output: Output) -> Result<Exit, Error> {
    let mut client = NodeEvidenceClient::new(folder.channel().await?);
    match command {
        Command::Now => {
            let anchored = client.anchor_now(AnchorNowRequest {}).await?.into_inner();
            let machine =
                json!({ "origin": anchored.origin, "anchored": anchored.anchored, "proved": anchored.proved });
            output.show(&machine, || {
                output::pairs([
                    ("evidence log", anchored.origin.clone()),
                    ("entries anchored", anchored.anchored.to_string()),
                    ("entries proved", anchored.proved.to_string()),
                ])
            });
            Ok(Exit::Done)
        }
        Command::Check { node: (department, node) } => {
            let request = CheckAnchorsRequest { department, node };
            let logs = client.check_anchors(request).await?.into_inner().logs;
            let contradicts = logs.iter().find_map(|log| Some((&log.origin, log.contradictions.first()?)));
            output.show(&json!({ "logs": logs.iter().map(log_json).collect::<Vec<_>>() }), || {
                logs.iter().map(log_text).collect::<Vec<_>>().join("\n\n")
            });
            match contradicts {
                None => Ok(Exit::Done),
                Some((origin, what)) => Err(Error::EvidenceNotSound(format!("{origin}: {what}"))),
            }
        }
    }
}

fn log_json(log: &CheckedLog) -> Value {
    json!({
        "origin": log.origin,
        "anchors": log.anchors,
        "entries": log.entries,
        "shown": log.shown,
        "unreachable": log.unreachable,
        "contradictions": log.contradictions,
        "closed": log.closed,
        "lost": log.lost,
    })
}

fn log_text(log: &CheckedLog) -> String {
    let shown = match (log.anchors, log.unreachable.as_str()) {
        (0, _) => "nothing was anchored".to_owned(),
        (_, "") => format!("{} steps between anchors, each shown by the node itself", log.shown),
        (_, why) => format!("the node could not be asked: {why}"),
    };
    output::pairs([
        ("evidence log", log.origin.clone()),
        ("anchored", format!("{} times, {} entries at last", log.anchors, log.entries)),
        ("compared", shown),
        ("closed", log.closed.clone()),
        ("lost", if log.lost == 0 { String::new() } else { format!("at least {} entries", log.lost) }),
        ("contradictions", log.contradictions.join("\n")),
    ])
}

fn department_and_node(text: &str) -> Result<(String, String), String> {
    match text.split_once('/') {
        Some((department, node)) if !department.is_empty() && !node.is_empty() && !node.contains('/') => {
            Ok((department.to_owned(), node.to_owned()))
        }
        _ => Err("a node is written DEPARTMENT/NODE, for example civil-affairs/1".to_owned()),
    }
}
