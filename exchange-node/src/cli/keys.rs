//! `keys`: which keys the department has. Out of scope: making the department's first keys, which `init` does, and office
//! systems' keys (`office_key`).

mod backup;
mod changing;

use std::path::PathBuf;

use clap::Subcommand;
use host::{admin_socket::AdminError, period::Period};
use proto::admin::v1::{DepartmentKey, ListDepartmentKeysRequest, ListDepartmentKeysResponse, RevokeKeyRequest};
use proto::registry::v1::KeyRole;
use serde_json::{Value, json};
use trust::key::Signer;

use super::{
    Error, Exit,
    node::{self, Folder},
    output::{self, Output},
};
use crate::{
    config::KeySettings,
    keys::{NodeKeys, rotation::TLS_OVERLAP},
};

/// The commands about the department's keys.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Lists the department's keys: what each is for, until when it counts, and which are in use here. Of a node that is
    /// not running, those that lie in its folder.
    #[command(after_help = "Example:\n  exchange-node keys list --dir civil-affairs")]
    List,
    /// Puts a new key in the place of one in use. The old one stays valid until the overlap ends, so nothing that is
    /// under way fails.
    #[command(
        after_help = "Examples:\n  exchange-node keys rotate node\n  exchange-node keys rotate department --overlap 30d"
    )]
    Rotate {
        /// Which key: the one that this node signs questions and answers with, or the one that the department signs its
        /// statements with.
        #[arg(value_name = "KEY")]
        key: RotatedKey,
        /// How long the old key counts beside the new one, for example 7d, 12h or 30s.
        #[arg(long, value_name = "TIME", default_value_t = KeySettings::default().overlap)]
        overlap: Period,
    },
    /// Revokes a key of this department, for good: it is told to every peer at once. What it signed, and nobody had
    /// anchored before, counts for nothing.
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
    /// Makes a new department key with the recovery key from the safe, when the department's keys are lost.
    #[command(after_help = "Example:\n  exchange-node keys recover --recovery-key usb/recovery.key")]
    Recover {
        /// The file of the recovery key. It is read here and nowhere kept.
        #[arg(long, value_name = "FILE")]
        recovery_key: PathBuf,
    },
    /// Renews the TLS key now instead of in time. Peers are told of the next one first; no connection is dropped.
    #[command(
        after_help = "Examples:\n  exchange-node keys renew-tls\n  exchange-node keys renew-tls --lead 0s --overlap 0s"
    )]
    RenewTls {
        /// How long peers are told before this node shows the new key. A peer that is cut off from the registry for longer
        /// does not reach this node until it has caught up. Where the old key was stolen: 0s.
        #[arg(long, value_name = "TIME", default_value_t = KeySettings::default().tls_lead)]
        lead: Period,
        /// How long the old key is accepted after that. Where the old key was stolen: 0s.
        #[arg(long, value_name = "TIME", default_value_t = Period::new(TLS_OVERLAP))]
        overlap: Period,
    },
    /// Seals the keys in the node's folder into a file that two officers open together. Needs no running node.
    #[command(after_help = "Example:\n  exchange-node keys backup -o housing.keys --officer 1024 --officer 1025")]
    Backup {
        /// The file to write; one that exists is not overwritten.
        #[arg(short, long = "output", value_name = "FILE")]
        output: PathBuf,
        /// An officer, by the department's own number; given twice. Each types a passphrase that the other does not see.
        #[arg(long = "officer", value_name = "OFFICER", required = true)]
        officers: Vec<String>,
        /// A file with an officer's secret instead of a passphrase, in the order of the officers; given twice.
        #[arg(long = "secret-file", value_name = "FILE")]
        secret_files: Vec<PathBuf>,
    },
    /// Brings the keys of such a file into the node's folder. Nothing that is there is overwritten.
    #[command(after_help = "Example:\n  exchange-node keys restore housing.keys --dir housing")]
    Restore {
        /// The file.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// A file with an officer's secret instead of a passphrase, in the order in which the backup names the officers;
        /// given twice.
        #[arg(long = "secret-file", value_name = "FILE")]
        secret_files: Vec<PathBuf>,
    },
    /// Tries a restore: opens the file in memory, compares it with the keys in the folder, and records that it was done.
    #[command(after_help = "Example:\n  exchange-node keys rehearse housing.keys --dir housing")]
    Rehearse {
        /// The file.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// A file with an officer's secret instead of a passphrase, in the order in which the backup names the officers;
        /// given twice.
        #[arg(long = "secret-file", value_name = "FILE")]
        secret_files: Vec<PathBuf>,
    },
}

/// Which key is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum RotatedKey {
    /// The department's.
    Department,
    /// The node's.
    Node,
}

pub(super) async fn run(command: KeysCommand, folder: &Folder, output: Output, now_ms: u64) -> Result<Exit, Error> {
    match command {
        KeysCommand::List => list(folder, output).await,
        KeysCommand::Rotate { key, overlap } => changing::rotate(folder, output, key, overlap).await,
        KeysCommand::Revoke { key_id, reason } => {
            let response = folder.admin().await?.revoke_key(RevokeKeyRequest { key_id, reason }).await?.into_inner();
            node::stated(output, response, "The key is revoked")
        }
        KeysCommand::Recover { recovery_key } => changing::recover(folder, output, &recovery_key).await,
        KeysCommand::RenewTls { lead, overlap } => changing::renew_tls(folder, output, lead, overlap).await,
        KeysCommand::Backup { output: file, officers, secret_files } => {
            backup::seal(folder, output, &file, &officers, &secret_files, now_ms)
        }
        KeysCommand::Restore { file, secret_files } => backup::restore(folder, output, &file, &secret_files),
        KeysCommand::Rehearse { file, secret_files } => backup::rehearse(folder, output, &file, &secret_files, now_ms),
    }
}

async fn list(folder: &Folder, output: Output) -> Result<Exit, Error> {
    let listed = match folder.keys().await {
        Ok(mut node) => node.list_department_keys(ListDepartmentKeysRequest {}).await?.into_inner(),
        Err(Error::Admin(AdminError::NotRunning { .. })) => in_folder(folder)?,
        Err(error) => return Err(error),
    };
    output.show(&listed_json(&listed), || listed_text(&listed));
    Ok(Exit::Done)
}

/// What lies in the folder of a node that is not running.
fn in_folder(folder: &Folder) -> Result<ListDepartmentKeysResponse, Error> {
    let keys = NodeKeys::read(&folder.path()?).map_err(|error| Error::FileWrong(error.to_string()))?;
    let department = keys.department_signer().map(|key| (KeyRole::Department, key.public_key().clone()));
    let held = department.into_iter().chain([(KeyRole::Node, keys.node.public_key().clone())]);
    let keys_held = held.map(|(role, key)| DepartmentKey {
        role: role.into(),
        key_id: key.id().to_string(),
        public_key: key.to_string(),
        in_use: true,
        ..DepartmentKey::default()
    });
    Ok(ListDepartmentKeysResponse {
        keys: keys_held.collect(),
        tls_key: keys.tls.key_digest().to_string(),
        ..ListDepartmentKeysResponse::default()
    })
}

fn role(key: &DepartmentKey) -> &'static str {
    match key.role() {
        KeyRole::Department => "department",
        KeyRole::Node => "node",
        KeyRole::Recovery => "recovery",
        _ => "not in the directory",
    }
}

fn listed_json(listed: &ListDepartmentKeysResponse) -> Value {
    let keys = listed.keys.iter().map(|key| {
        json!({
            "role": role(key),
            "key_id": key.key_id,
            "public_key": key.public_key,
            "node": key.node,
            "valid_from_ms": key.valid_from_ms,
            "valid_until_ms": key.valid_until_ms,
            "revoked": key.revoked,
            "in_use": key.in_use,
            "published": key.published,
        })
    });
    json!({
        "keys": keys.collect::<Vec<_>>(),
        "tls_key": listed.tls_key,
        "next_tls_key": listed.next_tls_key,
        "tls_key_since_ms": listed.tls_key_since_ms,
    })
}

fn listed_text(listed: &ListDepartmentKeysResponse) -> String {
    let rows = listed.keys.iter().map(|key| {
        let state = match (key.revoked.as_str(), key.in_use) {
            ("", true) => "in use here".to_owned(),
            ("", false) => String::new(),
            (reason, _) => format!("revoked: {reason}"),
        };
        [role(key).to_owned(), key.node.clone(), key.key_id.clone(), output::moment(key.valid_until_ms), state]
    });
    let table = output::table(["role", "node", "key id", "counts until", "state"], rows);
    let next = match listed.next_tls_key.as_str() {
        "" => String::new(),
        next => format!("\nIt is being renewed; the next one is {next}."),
    };
    format!("{table}\nThe TLS key's digest is {}.{next}", listed.tls_key)
}
