//! `node`: the department's nodes. Out of scope: the running node that the other commands speak to, which is `cli::node`.

use std::path::PathBuf;

use clap::Subcommand;
use host::files;
use proto::admin::v1::{
    AddNodeRequest, ChangeNodeRequest, InviteNodeRequest, ListNodesRequest, NodeState, StatementResponse,
    nodes_client::NodesClient,
};
use serde_json::json;
use tonic::transport::Channel;
use trust::ids::{DepartmentId, NodeId};

use super::{
    Error, Exit,
    evidence::unwritable,
    node::{self, Folder},
    output::{self, Output},
};
use crate::join::OfferFile;

/// The commands about the department's nodes.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Invites a further node: writes a file that its machine joins with (`init --join`).
    #[command(after_help = "Example:\n  exchange-node node invite 2 -o civil-affairs-2.invitation")]
    Invite {
        /// The node's id within the department.
        #[arg(value_name = "NODE")]
        node: NodeId,
        /// The file to write; only you can read it. It holds a one-use secret.
        #[arg(short, long = "output", value_name = "FILE")]
        output: PathBuf,
    },
    /// Takes a further node in: signs the keys that its machine offered (`init --join` writes the offer).
    #[command(after_help = "Example:\n  exchange-node node add civil-affairs-2.offer")]
    Add {
        /// The offer.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Lists the department's nodes, or another department's.
    #[command(after_help = "Example:\n  exchange-node node list")]
    List {
        /// Another department.
        #[arg(value_name = "DEPARTMENT")]
        department: Option<DepartmentId>,
    },
    /// Drains a node: it gets no new questions, and what is under way finishes.
    #[command(after_help = "Example:\n  exchange-node node drain 2")]
    Drain {
        /// The node.
        #[arg(value_name = "NODE")]
        node: NodeId,
    },
    /// Lets a drained node take questions again.
    #[command(after_help = "Example:\n  exchange-node node resume 2")]
    Resume {
        /// The node.
        #[arg(value_name = "NODE")]
        node: NodeId,
    },
    /// Says where a node is reached from now on: all its addresses and relays.
    #[command(
        after_help = "Example:\n  exchange-node node change 2 --address 10.0.0.2:7443 --address [2001:db8::2]:7443"
    )]
    Change {
        /// The node.
        #[arg(value_name = "NODE")]
        node: NodeId,
        /// Where it answers, HOST:PORT; may be given several times, the preferred one first.
        #[arg(long, value_name = "HOST:PORT")]
        address: Vec<String>,
        /// A relay at which it can be called, HOST:PORT; may be given several times.
        #[arg(long, value_name = "HOST:PORT")]
        relay: Vec<String>,
    },
    /// Removes a node: peers accept its TLS key no more. Drain it first.
    #[command(after_help = "Example:\n  exchange-node node remove 2")]
    Remove {
        /// The node.
        #[arg(value_name = "NODE")]
        node: NodeId,
    },
}

pub(super) async fn run(command: Command, folder: &Folder, output: Output) -> Result<Exit, Error> {
    let mut nodes = NodesClient::new(folder.channel().await?);
    match command {
        Command::Invite { node, output: file } => {
            let invited = nodes.invite_node(InviteNodeRequest { node: node.to_string() }).await?.into_inner();
            let text = zeroize::Zeroizing::new(invited.invitation);
            files::write_private_file(&file, text.as_bytes()).map_err(unwritable)?;
            let machine = json!({ "node": node.as_str(), "file": file, "expires_ms": invited.expires_ms });
            output.show(&machine, || {
                format!(
                    "The invitation of node {node} is in {}, good until {}.\nOn the node's machine: exchange-node init --join {} --address HOST:PORT --dir DIR",
                    file.display(),
                    output::moment(invited.expires_ms),
                    file.display()
                )
            });
            Ok(Exit::Done)
        }
        Command::Add { file } => {
            let wrong = |error: crate::join::Error| Error::FileWrong(error.to_string());
            let (offer, mac) = OfferFile::read(&file).map_err(wrong)?.parts().map_err(wrong)?;
            let added = nodes.add_node(AddNodeRequest { offer, mac }).await?.into_inner();
            node::stated(output, added, "The node is taken in; it may be started")
        }
        Command::List { department } => {
            let department = department.map(|id| id.to_string()).unwrap_or_default();
            list(&mut nodes, department, output).await
        }
        Command::Drain { node } => {
            let drained = change(&mut nodes, &node, "drain", Vec::new(), Vec::new()).await?;
            node::stated(
                output,
                drained,
                "The node is drained: it gets no new questions, and what is under way finishes",
            )
        }
        Command::Resume { node } => {
            let resumed = change(&mut nodes, &node, "resume", Vec::new(), Vec::new()).await?;
            node::stated(output, resumed, "The node takes questions again")
        }
        Command::Change { node, address, relay } => {
            if address.is_empty() && relay.is_empty() {
                return Err(Error::Usage("give at least one --address or --relay".to_owned()));
            }
            let changed = change(&mut nodes, &node, "readdress", address, relay).await?;
            node::stated(output, changed, "The node is reached there from now on")
        }
        Command::Remove { node } => {
            let removed = change(&mut nodes, &node, "remove", Vec::new(), Vec::new()).await?;
            node::stated(output, removed, "The node is removed")
        }
    }
}

async fn change(
    nodes: &mut NodesClient<Channel>,
    node: &NodeId,
    action: &str,
    addresses: Vec<String>,
    relays: Vec<String>,
) -> Result<StatementResponse, Error> {
    let request = ChangeNodeRequest { node: node.to_string(), action: action.to_owned(), addresses, relays };
    Ok(nodes.change_node(request).await?.into_inner())
}

async fn list(nodes: &mut NodesClient<Channel>, department: String, output: Output) -> Result<Exit, Error> {
    let listed = nodes.list_nodes(ListNodesRequest { department }).await?.into_inner().nodes;
    let machine: Vec<_> = listed
        .iter()
        .map(|node| {
            json!({
                "department": node.department,
                "node": node.node,
                "addresses": node.addresses,
                "relays": node.relays,
                "draining": node.draining,
                "tls_key": node.tls_key,
                "keys": node.keys,
                "is_this": node.is_this,
                "questions_under_way": node.questions_under_way,
            })
        })
        .collect();
    output.show(&json!({ "nodes": machine }), || match listed.as_slice() {
        [] => "The directory has no node of this department.".to_owned(),
        nodes => output::table(["node", "addresses", "relays", "state", "under way"], nodes.iter().map(row)),
    });
    Ok(Exit::Done)
}

fn row(node: &NodeState) -> [String; 5] {
    let state = match (node.draining, node.keys.is_empty()) {
        (_, true) => "without a key",
        (true, false) => "draining",
        (false, false) => "taking questions",
    };
    let name = if node.is_this { format!("{} (this)", node.node) } else { node.node.clone() };
    let under_way = if node.is_this { String::new() } else { node.questions_under_way.to_string() };
    [name, node.addresses.join("\n"), node.relays.join("\n"), state.to_owned(), under_way]
}
