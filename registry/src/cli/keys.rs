//! `registry keys …`: the registry's own keys. Out of scope: the authority's, which may be elsewhere (`authority`).

pub(super) mod sealed;

use std::{
    fs,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use clap::{Args, Subcommand};
use comfy_table::{LineStyle, Table, presets::UTF8_HORIZONTAL_ONLY};
use host::{admin_socket::AdminSocket, random::SystemRandom};
use proto::{
    admin::v1::{self as wire, registry_keys_client::RegistryKeysClient},
    registry::v1::KeyRole,
};
use serde_json::{Value, json};

use super::{
    Cli,
    operate::{Failure, Shown, channel, folder, moment, said},
};
use crate::{
    keys::{FOLDER, TLS_FILE},
    replacement::Replacement,
};

/// `registry keys …`.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// List the keys that the authority and the log have had, which are in force, and which are on this machine.
    #[command(after_help = "Example:\n  registry keys list")]
    List,
    /// Change the key of the directory's log. The old one signs the change, and signs checkpoints along for a view's
    /// lifetime; nodes, bundles and auditors follow by themselves.
    #[command(after_help = "Example:\n  registry keys rotate-log --reason \"yearly change\"")]
    RotateLog {
        /// Why; it stands in the directory.
        #[arg(long)]
        reason: String,
    },
    /// Replace the key of the directory's log where it is lost and no copy is left: the authority's key and a new one sign
    /// for it at the next start. Needs a registry that is stopped.
    #[command(after_help = "Example:\n  registry keys replace-log --lost \"the disk broke, and its copy with it\"")]
    ReplaceLog {
        /// What became of the key; it stands in the directory.
        #[arg(long)]
        lost: String,
    },
    /// Renew the TLS key of the directory port. Nodes are told of the next one first, and no connection is dropped.
    #[command(after_help = "Example:\n  registry keys renew-tls --lead-hours 240")]
    RenewTls {
        /// For how long nodes are told before the registry answers with the next key, in hours. A node that was away for
        /// longer has to be told by hand (`registry_tls_key` in node.toml).
        #[arg(long, default_value_t = 240, value_name = "HOURS")]
        lead_hours: u64,
    },
    /// Seal the keys in the registry's folder into a file that two officers open together. Needs no running registry.
    #[command(after_help = "Example:\n  registry keys backup -o registry.keys --officer 0007 --officer 0008")]
    Backup {
        /// The file to write; one that exists is not overwritten.
        #[arg(short, long = "output", value_name = "FILE")]
        output: PathBuf,
        /// An officer, by the authority's own number; given twice. Each types a passphrase that the other does not see.
        #[arg(long = "officer", value_name = "OFFICER", required = true)]
        officers: Vec<String>,
        /// A file with an officer's secret instead of a passphrase, in the order of the officers; given twice.
        #[arg(long = "secret-file", value_name = "FILE")]
        secret_files: Vec<PathBuf>,
    },
    /// Bring the keys of such a file into the registry's folder. Nothing that is there is overwritten.
    #[command(after_help = "Example:\n  registry keys restore registry.keys --dir /srv/registry")]
    Restore(OpenArguments),
    /// Try a restore: open the file in memory, compare it with the keys in the folder, and record that it was done.
    #[command(after_help = "Example:\n  registry keys rehearse registry.keys --dir /srv/registry")]
    Rehearse(OpenArguments),
}

/// A backup of keys to be opened.
#[derive(Args, Debug)]
pub struct OpenArguments {
    /// The file.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// A file with an officer's secret instead of a passphrase, in the order in which the backup names the officers; given
    /// twice.
    #[arg(long = "secret-file", value_name = "FILE")]
    pub secret_files: Vec<PathBuf>,
}

pub(super) async fn run(cli: &Cli, command: &KeysCommand) -> Result<Shown, Failure> {
    let client = async || Ok::<_, Failure>(RegistryKeysClient::new(channel(cli).await?));
    match command {
        KeysCommand::Backup { output, officers, secret_files } => sealed::seal(cli, output, officers, secret_files),
        KeysCommand::Restore(arguments) => sealed::restore(cli, arguments),
        KeysCommand::Rehearse(arguments) => sealed::rehearse(cli, arguments),
        KeysCommand::List => {
            let listed = client().await?.list_registry_keys(wire::ListRegistryKeysRequest {}).await?.into_inner();
            Ok(shown(&listed))
        }
        KeysCommand::RotateLog { reason } => {
            let request = wire::RotateLogKeyRequest { reason: reason.clone() };
            let rotated = client().await?.rotate_log_key(request).await?.into_inner();
            Ok(said(&[("key_id", rotated.key)], rotated.index, &rotated.waiting))
        }
        KeysCommand::ReplaceLog { lost } => replace_log(cli, lost),
        KeysCommand::RenewTls { lead_hours } => {
            let request = wire::RenewRegistryTlsRequest { lead_ms: lead_hours.saturating_mul(3_600_000) };
            let renewed = client().await?.renew_registry_tls(request).await?.into_inner();
            Ok(said(&[("next_tls_key", renewed.key)], renewed.index, &renewed.waiting))
        }
    }
}

/// After so many days the registry's TLS key is better renewed; nodes renew theirs after as long by themselves.
const TLS_KEY_OLD_DAYS: u64 = 365;

/// For how many days the TLS key has been in its file; `None` where that cannot be told.
pub(super) fn tls_days(folder: &Path, now_ms: u64) -> Option<u64> {
    let written = fs::metadata(folder.join(FOLDER).join(TLS_FILE)).and_then(|file| file.modified()).ok()?;
    let written_ms = u64::try_from(written.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()?;
    Some(now_ms.saturating_sub(written_ms) / 86_400_000)
}

/// The same for people, with what to do where it is long.
pub(super) fn tls_age_text(days: Option<u64>) -> String {
    match days {
        None => String::new(),
        Some(days) if days > TLS_KEY_OLD_DAYS => {
            format!("OLD: {days} days; renew it: registry keys renew-tls")
        }
        Some(days) => format!("{days} days old"),
    }
}

fn replace_log(cli: &Cli, lost: &str) -> Result<Shown, Failure> {
    let dir = folder(cli)?;
    // Held until the key is made: a registry that is running has its key.
    let _stopped = AdminSocket::bind(&dir).map_err(Failure::failed)?;
    let key_id = Replacement::prepare(&dir, lost, &SystemRandom).map_err(|error| Failure::Usage(error.to_string()))?;
    let next =
        "start the registry: once it has heard what its nodes saw, the authority's key and the new one sign for it";
    let facts = [("key_id", key_id.clone()), ("next", next.to_owned())];
    Ok(Shown::facts(&facts, json!({ "key_id": key_id })))
}

fn shown(listed: &wire::ListRegistryKeysResponse) -> Shown {
    let role = |key: &wire::RegistryKey| match key.role() {
        KeyRole::Authority => "authority",
        _ => "log",
    };
    let keys: Vec<Value> = listed
        .keys
        .iter()
        .map(|key| {
            json!({
                "role": role(key),
                "key_id": key.key_id,
                "public_key": key.public_key,
                "from_statement": key.from_index,
                "since_ms": key.since_ms,
                "in_force": key.in_force,
                "here": key.here,
            })
        })
        .collect();
    let json = json!({ "keys": keys, "tls_key": listed.tls_key, "next_tls_key": listed.next_tls_key });
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()));
    table.set_header(["role", "public key", "since", "state", "private half"]);
    for key in &listed.keys {
        let state = if key.in_force { "in force" } else { "before" };
        let here = if key.here { "on this machine" } else { "elsewhere" };
        table.add_row([role(key), &key.public_key, &moment(key.since_ms), state, here]);
    }
    let next = match listed.next_tls_key.as_str() {
        "" => String::new(),
        next => format!("\nIt is being renewed; the next one is {next}."),
    };
    Shown { json, text: format!("{}\nThe TLS key's digest is {}.{next}", table.trim_fmt(), listed.tls_key) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tls_key_that_is_old_is_told_with_what_to_do() {
        const DAY_MS: u64 = 86_400_000;
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(tls_days(folder.path(), 0), None);
        fs::create_dir(folder.path().join(FOLDER)).unwrap();
        let path = folder.path().join(FOLDER).join(TLS_FILE);
        fs::write(&path, "as if").unwrap();
        let written = UNIX_EPOCH + std::time::Duration::from_millis(20_000 * DAY_MS);
        fs::File::options().append(true).open(&path).unwrap().set_modified(written).unwrap();
        assert_eq!(tls_days(folder.path(), 20_365 * DAY_MS), Some(365));
        assert_eq!(tls_days(folder.path(), 0), Some(0), "a clock that is behind");
        assert_eq!(tls_age_text(Some(365)), "365 days old");
        assert!(tls_age_text(Some(366)).contains("registry keys renew-tls"));
        assert_eq!(tls_age_text(None), "");
    }
}
