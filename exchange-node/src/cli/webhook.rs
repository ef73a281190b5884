//! `webhook`: at which addresses office systems are told of what comes later. Out of scope: sending (`webhooks`).

use std::path::PathBuf;

use clap::Subcommand;
use proto::admin::v1::{AddWebhookRequest, ListWebhooksRequest, RemoveWebhookRequest, offices_client::OfficesClient};
use serde_json::json;

use super::{
    Error, Exit,
    node::Folder,
    output::{self, Output},
};

/// The commands about webhooks.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Has an office system told at an address of its own. The secret by which notices are signed is shown once.
    #[command(
        after_help = "Examples:\n  exchange-node webhook add housing-desk http://127.0.0.1:8080/told\n  exchange-node webhook add housing-desk https://desk.housing.example/told --ca-file ca.pem"
    )]
    Add {
        /// The office system's name.
        #[arg(value_name = "SYSTEM")]
        system: String,
        /// The address: https://, or http:// within this machine.
        #[arg(value_name = "URL")]
        url: String,
        /// The certificates that are believed, PEM; needed for https. The node reads the file whenever it sends.
        #[arg(long, value_name = "FILE")]
        ca_file: Option<PathBuf>,
    },
    /// Lists where office systems are told.
    #[command(after_help = "Example:\n  exchange-node webhook list")]
    List,
    /// Removes a webhook, with what it was still to be told.
    #[command(after_help = "Example:\n  exchange-node webhook remove 0a1b2c3d")]
    Remove {
        /// The webhook's id.
        #[arg(value_name = "ID")]
        id: String,
    },
}

pub(super) async fn run(command: Command, folder: &Folder, output: Output) -> Result<Exit, Error> {
    let mut offices = OfficesClient::new(folder.channel().await?);
    match command {
        Command::Add { system, url, ca_file } => {
            let ca_file = match ca_file {
                // The node stands in its own folder.
                Some(path) => std::path::absolute(&path)
                    .map_err(|source| Error::FileUnusable { doing: "find", path, source })?
                    .display()
                    .to_string(),
                None => String::new(),
            };
            let request = AddWebhookRequest { system: system.clone(), url: url.clone(), ca_file };
            let added = offices.add_webhook(request).await?.into_inner();
            output.show(&json!({ "id": added.id, "system": system, "url": url, "secret": added.secret }), || {
                let pairs = output::pairs([("id", added.id.clone()), ("system", system.clone()), ("url", url.clone()), ("secret", added.secret.clone())]);
                format!("{pairs}\nKeep the secret now: it is not shown again. Notices are signed with it as Standard Webhooks are.")
            });
        }
        Command::List => {
            let hooks = offices.list_webhooks(ListWebhooksRequest {}).await?.into_inner().webhooks;
            let machine = hooks.iter().map(
                |hook| json!({ "id": hook.id, "system": hook.system, "url": hook.url, "added_ms": hook.added_ms }),
            );
            output.show(&json!({ "webhooks": machine.collect::<Vec<_>>() }), || match hooks.as_slice() {
                [] => "No office system is told anywhere: `webhook add SYSTEM URL` has one told.".to_owned(),
                hooks => output::table(
                    ["id", "system", "address", "added"],
                    hooks.iter().map(|hook| {
                        [hook.id.clone(), hook.system.clone(), hook.url.clone(), output::moment(hook.added_ms)]
                    }),
                ),
            });
        }
        Command::Remove { id } => {
            offices.remove_webhook(RemoveWebhookRequest { id: id.clone() }).await?;
            output.show(&json!({ "id": id, "removed": true }), || format!("The webhook {id} is told no more."));
        }
    }
    Ok(Exit::Done)
}
