//! `registry store …`: moving a registry's ledger from one store to another, while it is stopped. Out of scope: the copy
//! itself (`ledger::copy`), and changing the configuration, which the operator does when it is done.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    Cli, Failure,
    operate::{Shown, folder},
};
use crate::{
    ledger::{OpenLedger, copy},
    store::{self, StoreChoice},
};

/// `registry store …`.
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Copy the ledgers of a stopped registry (the directory and the second log) into another store, and read everything
    /// back. The roots stay the same.
    #[command(
        after_help = "Example:\n  registry --dir /srv/registry store copy --from sled --to postgres://registry@db.example:5432/exchange --password-file keys/store.password"
    )]
    Copy(CopyArguments),
}

/// `registry store copy`.
#[derive(Args, Debug)]
pub struct CopyArguments {
    /// Where the ledger is: "sled", or the address of a PostgreSQL database.
    #[arg(long, value_name = "STORE")]
    pub from: StoreChoice,
    /// Where it is to be; nothing may be there yet.
    #[arg(long, value_name = "STORE")]
    pub to: StoreChoice,
    /// The file with the database's password (mode 0600). Left out: REGISTRY_STORE_PASSWORD, or none.
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
}

pub(super) async fn run(cli: &Cli, command: &StoreCommand) -> Result<Shown, Failure> {
    let StoreCommand::Copy(arguments) = command;
    let folder = folder(cli)?;
    let open = async |choice: &StoreChoice| {
        let choice = choice.clone().for_a_tool().with_password(&folder, arguments.password_file.as_deref())?;
        choice.open(&folder, |error| tracing::error!(%error, "the embedded store")).await
    };
    let from = open(&arguments.from).await.map_err(Failure::failed)?;
    let to = open(&arguments.to).await.map_err(Failure::failed)?;
    for ledger in [&from, &to] {
        if let OpenLedger::Postgres(ledger) = ledger
            && ledger.registries_at_work().await.map_err(Failure::failed)? > 0
        {
            return Err(Failure::Usage(format!("registries run over {}: stop them all first", ledger.place())));
        }
    }
    let mut seconds = Vec::new();
    for log in store::second_logs(&from, &folder).await.map_err(Failure::failed)? {
        let opened = open_second(arguments, &folder, log).await.map_err(Failure::failed)?;
        // Before anything is copied at all.
        copy::check_empty(opened.1.shared().as_ref()).await.map_err(not_copied)?;
        seconds.push((log, opened));
    }
    let copied = copied(cli, "statements", &from, &to).await?;
    let mut anchors = Vec::new();
    for (log, (from, to)) in seconds {
        // A log in which nobody anchored anything is as good as none.
        if from.shared().position().await.map_err(Failure::failed)?.size > 0 {
            let copied = self::copied(cli, "anchors", &from, &to).await?;
            anchors.push(json!({ "log": log, "entries": copied.size, "root": copied.root.to_string() }));
        }
        from.close().await.map_err(Failure::failed)?;
        to.close().await.map_err(Failure::failed)?;
    }
    let pending = copy_decisions(&from, &to, &folder).await?;
    from.close().await.map_err(Failure::failed)?;
    to.close().await.map_err(Failure::failed)?;
    let target = arguments.to.place(&folder);
    let anchored: u64 = anchors.iter().filter_map(|log| log["entries"].as_u64()).sum();
    let json = json!({
        "statements": copied.size,
        "root": copied.root.to_string(),
        "second_logs": anchors,
        "pending_enrolments": pending,
        "to": target,
    });
    let facts = [
        ("statements", copied.size.to_string()),
        ("root", copied.root.to_string()),
        ("anchors", anchored.to_string()),
        ("pending enrolments", pending.to_string()),
        ("to", target),
        ("next", "set `store` in registry.toml, and start the registry".to_owned()),
    ];
    Ok(Shown::facts(&facts, json))
}

/// The second log with this number, in both stores.
async fn open_second(
    arguments: &CopyArguments,
    folder: &Path,
    log: u32,
) -> Result<(OpenLedger, OpenLedger), store::Error> {
    let open = async |choice: &StoreChoice| {
        let choice = choice.clone().for_a_tool().with_password(folder, arguments.password_file.as_deref())?;
        choice.open_second(folder, log, |error| tracing::error!(%error, "the embedded store")).await
    };
    Ok((open(&arguments.from).await?, open(&arguments.to).await?))
}

/// Copies one log, and says from time to time how far it is.
async fn copied(cli: &Cli, of: &str, from: &OpenLedger, to: &OpenLedger) -> Result<copy::Copied, Failure> {
    let quiet = cli.json;
    let mut shown = 0;
    let progress = |what: &'static str, done: u64, all: u64| {
        if !quiet && (done == all || done >= shown + 100_000) {
            shown = if done == all { 0 } else { done };
            eprintln!("{what} {done} of {all} {of}");
        }
    };
    copy::copy(from.shared().as_ref(), to.shared().as_ref(), progress).await.map_err(not_copied)
}

fn not_copied(error: copy::CopyError) -> Failure {
    match error {
        copy::CopyError::InUse { .. } | copy::CopyError::Nothing => Failure::Usage(error.to_string()),
        error => Failure::failed(error),
    }
}

/// Tokens that are out stay good.
async fn copy_decisions(from: &OpenLedger, to: &OpenLedger, folder: &Path) -> Result<usize, Failure> {
    let from = store::decisions(from, folder).map_err(Failure::failed)?;
    let to = store::decisions(to, folder).map_err(Failure::failed)?;
    let departments = from.departments().await.map_err(Failure::failed)?;
    for department in &departments {
        if let Some(decision) = from.read(department).await.map_err(Failure::failed)? {
            to.write(department, &decision).await.map_err(Failure::failed)?;
        }
    }
    Ok(departments.len())
}
