//! `department`: what this department hands over to a successor, and takes over from a predecessor. Out of scope: what a
//! hand-over moves (`trust::directory::succession`), and what the authority states (`registry department`).

use clap::{Args, Subcommand};
use proto::admin::v1::{
    AcceptSuccessionRequest, HandOverRequest, ListSuccessionsRequest, SuccessionState,
    successions_client::SuccessionsClient,
};
use serde_json::{Value, json};
use trust::ids::DepartmentId;

use super::{
    Error, Exit,
    node::{self, Folder},
    output::{self, Output},
};

/// The commands about departments that change.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Signs what this department hands over to a successor. It counts once the successor has accepted it and the authority
    /// has confirmed it; until then another hand-over takes its place.
    #[command(
        name = "hand-over",
        after_help = "Examples:\n  exchange-node department hand-over --to social-affairs --all --custody --reason \"机构改革方案第 3 条\"\n  exchange-node department hand-over --to social-affairs --service marriage-registration --grant 0011223344556677 --reason \"划转\""
    )]
    HandOver(HandOverArgs),
    /// Accepts what another department hands over to this one.
    #[command(after_help = "Example:\n  exchange-node department accept --from civil-affairs --statement 5f0c…")]
    Accept {
        /// The department that hands over.
        #[arg(long, value_name = "DEPARTMENT")]
        from: DepartmentId,
        /// The offer that was looked at, from `department list`. Left out: the one that stands now.
        #[arg(long, value_name = "DIGEST", default_value = "", hide_default_value = true)]
        statement: String,
    },
    /// Lists every hand-over of the exchange, and whether it counts.
    #[command(after_help = "Example:\n  exchange-node department list")]
    List,
}

/// What is handed over.
#[derive(Args, Debug)]
pub struct HandOverArgs {
    /// The successor.
    #[arg(long, value_name = "DEPARTMENT")]
    pub to: DepartmentId,
    /// Everything: every service with its grants, and every grant that this department holds.
    #[arg(long)]
    pub all: bool,
    /// A service, with every grant given for it: NAME or NAME/MAJOR; may be given several times.
    #[arg(long, value_name = "SERVICE")]
    pub service: Vec<String>,
    /// A grant that this department holds, by its id; may be given several times.
    #[arg(long, value_name = "ID")]
    pub grant: Vec<String>,
    /// The successor also keeps this department's evidence.
    #[arg(long)]
    pub custody: bool,
    /// Why, and on what document; everybody gets to read it.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

pub(super) async fn run(command: Command, folder: &Folder, output: Output) -> Result<Exit, Error> {
    let mut successions = SuccessionsClient::new(folder.channel().await?);
    match command {
        Command::HandOver(args) => {
            let request = HandOverRequest {
                successor: args.to.to_string(),
                services: args.service,
                all_services: args.all,
                grants: args.grant,
                all_grants: args.all,
                custody: args.custody,
                reason: args.reason,
            };
            let handed = successions.hand_over(request).await?.into_inner();
            let next = format!("It is offered. Next: {} accepts it, and the authority confirms it", args.to);
            node::stated(output, handed, &next)
        }
        Command::Accept { from, statement } => {
            let request = AcceptSuccessionRequest { department: from.to_string(), statement };
            let accepted = successions.accept_succession(request).await?.into_inner();
            node::stated(output, accepted, "It is accepted. Next: the authority confirms it")
        }
        Command::List => {
            let listed = successions.list_successions(ListSuccessionsRequest {}).await?.into_inner().successions;
            let machine: Vec<Value> = listed.iter().map(succession_json).collect();
            output.show(&json!({ "successions": machine }), || match listed.as_slice() {
                [] => "Nothing was ever handed over.".to_owned(),
                listed => {
                    let header = [
                        "department",
                        "successor",
                        "services",
                        "grants held",
                        "evidence",
                        "state",
                        "from",
                        "statement",
                    ];
                    output::table(header, listed.iter().map(row))
                }
            });
            Ok(Exit::Done)
        }
    }
}

fn succession_json(state: &SuccessionState) -> Value {
    let offer = state.offer.clone().unwrap_or_default();
    json!({
        "department": offer.department,
        "successor": offer.successor,
        "services": offer.services.iter().map(|handed| format!("{}/{}", handed.service, handed.major_version)).collect::<Vec<_>>(),
        "grants": offer.held.iter().map(|held| json!({ "provider": held.provider, "id": held.id })).collect::<Vec<_>>(),
        "custody": offer.custody,
        "reason": offer.reason,
        "state": state.state,
        "from_ms": state.from_ms,
        "statement": state.statement,
    })
}

fn row(state: &SuccessionState) -> [String; 8] {
    let offer = state.offer.clone().unwrap_or_default();
    let services: Vec<String> =
        offer.services.iter().map(|handed| format!("{} v{}", handed.service, handed.major_version)).collect();
    let held: Vec<String> = offer.held.iter().map(|held| format!("{} of {}", held.id, held.provider)).collect();
    let custody = if offer.custody { "kept by the successor" } else { "" };
    [
        offer.department,
        offer.successor,
        services.join("\n"),
        held.join("\n"),
        custody.to_owned(),
        state.state.clone(),
        output::moment(state.from_ms),
        state.statement.clone(),
    ]
}
