//! `registry store …`: moving a registry's ledger from one store to another, while it is stopped. Out of scope: the copy
//! itself (`ledger::copy`), and changing the configuration, which the operator does when it is done.

use std::path::PathBuf;

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
    /// Copy the ledger of a stopped registry into another store, and read everything back. The roots stay the same.
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
    let quiet = cli.json;
    let mut shown = 0;
    let progress = |what: &'static str, done: u64, all: u64| {
        if !quiet && (done == all || done >= shown + 100_000) {
            shown = if done == all { 0 } else { done };
            eprintln!("{what} {done} of {all}");
        }
    };
    let copied = copy::copy(from.shared().as_ref(), to.shared().as_ref(), progress).await;
    let copied = copied.map_err(|error| match error {
        copy::CopyError::InUse { .. } | copy::CopyError::Nothing => Failure::Usage(error.to_string()),
        error => Failure::failed(error),
    })?;
    let pending = copy_decisions(&from, &to, &folder).await?;
    from.close().await.map_err(Failure::failed)?;
    to.close().await.map_err(Failure::failed)?;
    let target = arguments.to.place(&folder);
    let json = json!({
        "statements": copied.size,
        "root": copied.root.to_string(),
        "pending_enrolments": pending,
        "to": target,
    });
    let facts = [
        ("statements", copied.size.to_string()),
        ("root", copied.root.to_string()),
        ("pending enrolments", pending.to_string()),
        ("to", target),
        ("next", "set `store` in registry.toml, and start the registry".to_owned()),
    ];
    Ok(Shown::facts(&facts, json))
}

/// Tokens that are out stay good.
async fn copy_decisions(from: &OpenLedger, to: &OpenLedger, folder: &std::path::Path) -> Result<usize, Failure> {
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
