//! `office-key` and `keys`: who may speak to the node, and which keys the department has. Out of scope: making the
//! department's keys, which `init` does.

use clap::Subcommand;
use proto::admin::v1::{AddOfficeKeyRequest, ListOfficeKeysRequest, RemoveOfficeKeyRequest, RevokeKeyRequest};
use serde_json::json;
use trust::key::{PublicKey, Signer};

use super::{
    Error, Exit,
    node::{self, Folder},
    output::{self, Output},
};
use crate::keys::NodeKeys;

/// The commands about office keys.
#[derive(Debug, Subcommand)]
pub enum OfficeKeyCommand {
    /// Makes an API key for an office system. It is shown once.
    #[command(after_help = "Example:\n  exchange-node office-key add housing-desk")]
    Add {
        /// The office system's name: lower-case letters, digits and hyphens.
        #[arg(value_name = "SYSTEM")]
        system: String,
    },
    /// Lists the office systems that have a key.
    #[command(after_help = "Example:\n  exchange-node office-key list")]
    List,
    /// Removes a key; it counts no more at once.
    #[command(after_help = "Example:\n  exchange-node office-key remove 0a1b2c3d")]
    Remove {
        /// The key's id.
        #[arg(value_name = "ID")]
        id: String,
    },
}

/// The commands about the department's keys.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Lists the keys that lie in the node's folder. Needs no running node.
    #[command(after_help = "Example:\n  exchange-node keys list --dir civil-affairs")]
    List,
    /// Revokes a key of this department, for good: it is told to every peer at once.
    #[command(
        after_help = "Example:\n  exchange-node keys revoke 5b0a2c4e6f8091a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a --reason \"the machine was stolen\""
    )]
    Revoke {
        /// The key's id, 64 hex digits.
        #[arg(value_name = "KEYID")]
        key_id: String,
        /// Why; everybody gets to read it.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

pub(super) async fn run_office_key(command: OfficeKeyCommand, folder: &Folder, output: Output) -> Result<Exit, Error> {
    let mut node = folder.admin().await?;
    match command {
        OfficeKeyCommand::Add { system } => {
            let added = node.add_office_key(AddOfficeKeyRequest { system: system.clone() }).await?.into_inner();
            output.show(&json!({ "id": added.id, "system": system, "key": added.key }), || {
                let pairs =
                    output::pairs([("id", added.id.clone()), ("system", system.clone()), ("key", added.key.clone())]);
                format!("{pairs}\nKeep the key now: it is not shown again. Send it as \"authorization: Bearer <key>\".")
            });
        }
        OfficeKeyCommand::List => {
            let keys = node.list_office_keys(ListOfficeKeysRequest {}).await?.into_inner().keys;
            let machine =
                keys.iter().map(|key| json!({ "id": key.id, "system": key.system, "added_ms": key.added_ms }));
            output.show(&json!({ "keys": machine.collect::<Vec<_>>() }), || match keys.as_slice() {
                [] => "No office system has a key: `office-key add SYSTEM` makes one.".to_owned(),
                keys => {
                    let rows =
                        keys.iter().map(|key| [key.id.clone(), key.system.clone(), output::moment(key.added_ms)]);
                    output::table(["id", "system", "added"], rows)
                }
            });
        }
        OfficeKeyCommand::Remove { id } => {
            node.remove_office_key(RemoveOfficeKeyRequest { id: id.clone() }).await?;
            output.show(&json!({ "id": id, "removed": true }), || format!("The key {id} counts no more."));
        }
    }
    Ok(Exit::Done)
}

pub(super) async fn run(command: KeysCommand, folder: &Folder, output: Output) -> Result<Exit, Error> {
    match command {
        KeysCommand::List => list(folder, output),
        KeysCommand::Revoke { key_id, reason } => {
            let response = folder.admin().await?.revoke_key(RevokeKeyRequest { key_id, reason }).await?.into_inner();
            node::stated(output, response, "The key is revoked")
        }
    }
}

fn list(folder: &Folder, output: Output) -> Result<Exit, Error> {
    let keys = NodeKeys::read(&folder.path()?).map_err(|error| Error::FileWrong(error.to_string()))?;
    let department = keys.department_signer().map(|key| ("department", key.public_key().clone()));
    let held: Vec<(&str, PublicKey)> =
        department.into_iter().chain([("node", keys.node.public_key().clone())]).collect();
    let machine: Vec<_> = held
        .iter()
        .map(|(role, key)| json!({ "role": role, "key_id": key.id().to_string(), "public_key": key.to_string() }))
        .collect();
    let tls_key = keys.tls.key_digest().to_string();
    output.show(&json!({ "keys": machine, "tls_key": tls_key }), || {
        let rows = held.iter().map(|(role, key)| [(*role).to_owned(), key.id().to_string(), key.to_string()]);
        let table = output::table(["role", "key id", "public key"], rows);
        format!("{table}\nThe TLS key's digest is {tls_key}.")
    });
    Ok(Exit::Done)
}
