//! The command line. `init` and `serve` work on the registry's folder; every other command is a client of the running
//! registry's admin socket, because only one process may have the ledger open. A table for people, `--json` for machines.
//!
//! Exit codes: 0 done, 1 our own failure, 2 usage, 3 no registry is running there, 7 refused, 8 the log is not sound.

mod anchors;
mod authority;
mod backup;
mod catalogue;
mod departments;
mod directory;
mod events;
mod keys;
mod operate;
mod read;
mod review;
mod state;
mod store;
mod supervise;

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand};
use trust::ids::{DepartmentId, ExchangeId};

use self::departments::{CloseArguments, MergeArguments, RenameArguments, SplitArguments};

pub use self::{
    authority::AuthorityCommand,
    directory::{DirectoryCommand, ExportArguments},
    keys::KeysCommand,
    operate::{Failure, run},
    supervise::{BoardArguments, ProfileCommand, SetArguments},
};

/// The registry of an exchange: admits departments, keeps the directory log and serves it.
#[derive(Debug, Parser)]
#[command(
    name = "registry",
    version,
    about,
    after_help = "Exit codes: 0 done, 1 failure, 2 usage, 3 no registry is running there, 7 refused, 8 the log is not sound.\n\nExample:\n  registry init --dir /srv/registry\n  registry serve --config /srv/registry/registry.toml"
)]
pub struct Cli {
    /// Print JSON for machines instead of a table for people.
    #[arg(long, global = true)]
    pub json: bool,
    /// The registry's folder, for commands to a running registry. Left out: the current folder, if it is one.
    #[arg(long, global = true, env = "REGISTRY_DIR", value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "there is one of it")]
pub enum Command {
    /// Make a new registry: folder, keys, configuration, and the first two statements of its directory.
    #[command(
        after_help = "Example:\n  registry init --dir /srv/registry --exchange ninghe --name 宁河省 --listen 0.0.0.0:7400 --advertise registry.ninghe.example:7400"
    )]
    Init(InitArguments),
    /// Run the registry until it is told to stop (SIGTERM).
    #[command(after_help = "Example:\n  registry serve --config /srv/registry/registry.toml")]
    Serve {
        /// The configuration file. Left out: registry.toml in the registry's folder.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// This folder, or its database, was put back from an older copy by other means than `registry restore` (the
        /// snapshot of a machine, pg_restore): sign nothing until the nodes have told what they saw.
        #[arg(long)]
        restored: bool,
    },
    /// Write a backup while the registry runs. No secret is in it: back the keys up with `registry keys backup`.
    #[command(after_help = "Example:\n  registry --dir /srv/registry backup -o registry-2026-11-29.backup")]
    Backup(backup::BackupArguments),
    /// Bring a registry back from a backup into an empty folder. It signs nothing until its nodes have told what they saw.
    #[command(after_help = "Example:\n  registry restore registry-2026-11-29.backup --dir /srv/registry")]
    Restore(backup::RestoreArguments),
    /// Whether the registry holds back because it was restored, what it waits for, and what was done before.
    #[command(after_help = "Example:\n  registry --dir /srv/registry history")]
    History,
    /// Decide that a restored registry goes on with what it holds, although too few nodes have told what they saw. What was
    /// said and nobody brought back is lost, and whoever saw it will have found out.
    #[command(
        after_help = "Example:\n  registry --dir /srv/registry resume --officer 0007 --reason \"all other nodes are gone\""
    )]
    Resume(backup::ResumeArguments),
    /// What the running registry is and holds.
    #[command(after_help = "Example:\n  registry --dir /srv/registry status")]
    Status,
    /// Admit, list, suspend and resume departments.
    #[command(subcommand)]
    Department(DepartmentCommand),
    /// Everybody's data services in the directory: list, show, search.
    #[command(subcommand)]
    Services(read::ServicesCommand),
    /// The admitted departments, with their keys, nodes, services and grants.
    #[command(subcommand)]
    Departments(read::DepartmentsCommand),
    /// The directory's log: audit it whole, show one statement.
    #[command(subcommand)]
    Log(read::LogCommand),
    /// Revoke departments' keys.
    #[command(subcommand)]
    Key(KeyCommand),
    /// The second log, which holds the checkpoints of all nodes' evidence.
    #[command(subcommand)]
    Anchors(anchors::AnchorsCommand),
    /// The registry's own keys: list them, change the log's, renew the TLS key.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// What the authority signs on a machine without a network, and changes of its key.
    #[command(subcommand)]
    Authority(AuthorityCommand),
    /// Commitments to the state of the whole directory.
    #[command(subcommand)]
    State(state::StateCommand),
    /// Move the directory from one store to another.
    #[command(subcommand)]
    Store(store::StoreCommand),
    /// The settings that every node follows: clocks, holidays, four eyes, lifetimes.
    #[command(subcommand)]
    Profile(ProfileCommand),
    /// Review data services before they answer, where the profile says so.
    #[command(subcommand)]
    Review(review::ReviewCommand),
    /// The data catalogue: write its entries for others, and hold others' against the directory.
    #[command(subcommand)]
    Catalogue(catalogue::CatalogueCommand),
    /// What departments owe a reply to and is overdue.
    #[command(after_help = "Example:\n  registry board --all")]
    Board(BoardArguments),
    /// What nodes have told: which department's questions looked wrong.
    #[command(subcommand)]
    Events(events::EventsCommand),
    /// Carry the directory by hand; look at its witnesses.
    #[command(subcommand)]
    Directory(DirectoryCommand),
}

/// `registry init`.
#[derive(Args, Debug)]
pub struct InitArguments {
    /// The exchange's id: lower-case letters, digits and hyphens. It stands in every signed message and never changes.
    #[arg(long, default_value = "ninghe")]
    pub exchange: ExchangeId,
    /// The exchange's name.
    #[arg(long, default_value = "宁河省")]
    pub name: String,
    /// The exchange's name in English.
    #[arg(long, default_value = "")]
    pub name_en: String,
    /// Where the gRPC port listens.
    #[arg(long, default_value = "127.0.0.1:7400", value_name = "ADDRESS:PORT")]
    pub listen: SocketAddr,
    /// Where the tile port listens.
    #[arg(long, default_value = "127.0.0.1:7401", value_name = "ADDRESS:PORT")]
    pub tiles: SocketAddr,
    /// Where the directory lives: "sled" in the folder itself, or the address of a PostgreSQL database that several
    /// registries may share, without a password.
    #[arg(long, default_value = "sled", value_name = "STORE")]
    pub store: String,
    /// The file with the database's password (mode 0600), which stays where it is. Left out: REGISTRY_STORE_PASSWORD, or none.
    #[arg(long, value_name = "FILE")]
    pub store_password_file: Option<PathBuf>,
    /// Where departments reach the gRPC port; may be given several times. Left out: the address it listens at.
    #[arg(long, value_name = "HOST:PORT", value_parser = operate::address)]
    pub advertise: Vec<String>,
}

/// `registry department …`.
#[derive(Debug, Subcommand)]
pub enum DepartmentCommand {
    /// Decide to admit a department, and make the token with which it enrols.
    #[command(
        after_help = "Example:\n  registry department admit civil-affairs --name 民政局 --uscc 118900000000010112 -o civil-affairs.token"
    )]
    Admit(AdmitArguments),
    /// List departments: admitted, suspended, and those that have yet to enrol.
    #[command(after_help = "Example:\n  registry department list --json")]
    List,
    /// Give a department a new name, or a new credit or division code, from a day on. What is older shows the older name.
    #[command(
        after_help = "Example:\n  registry department rename housing --name 住房和城乡建设局 --document 宁政发〔2026〕12号 --from 2027-01-01"
    )]
    Rename(RenameArguments),
    /// State that a department has ended and become part of another. What it handed over goes over; the rest ends.
    #[command(
        after_help = "Example:\n  registry department merge civil-affairs --into social-affairs --reason 机构改革方案第3条"
    )]
    Merge(MergeArguments),
    /// State that a part of a department has become another's: what it handed over goes over.
    #[command(
        after_help = "Example:\n  registry department split human-resources --into medical-insurance --reason 机构改革方案第5条"
    )]
    Split(SplitArguments),
    /// State that a department has ended. Without a successor all that it had ends.
    #[command(after_help = "Example:\n  registry department close civil-affairs --reason 撤销")]
    Close(CloseArguments),
    /// Shut a department out until it is resumed.
    #[command(
        after_help = "Example:\n  registry department suspend civil-affairs --reason \"key ceremony not documented\""
    )]
    Suspend {
        /// The department's id.
        id: DepartmentId,
        /// Why; it stands in the directory.
        #[arg(long)]
        reason: String,
    },
    /// Let a suspended department take part again.
    #[command(after_help = "Example:\n  registry department resume civil-affairs --reason \"documented\"")]
    Resume {
        /// The department's id.
        id: DepartmentId,
        /// Why; it stands in the directory.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Revoke a key of a department, for example when it does not answer and its machine is said to be stolen. What the
    /// key signed and nobody had anchored before counts for nothing.
    #[command(
        after_help = "Example:\n  registry department revoke-key civil-affairs 5f0c…(64 hex digits) --reason \"machine stolen, department not reachable\""
    )]
    RevokeKey {
        /// The department's id.
        id: DepartmentId,
        /// The key's id, 64 hexadecimal digits.
        key_id: String,
        /// Why; it stands in the directory.
        #[arg(long)]
        reason: String,
    },
}

/// `registry department admit`.
#[derive(Args, Debug)]
pub struct AdmitArguments {
    /// The department's id: lower-case letters, digits and hyphens. It never changes and is never used again.
    pub id: DepartmentId,
    /// Its name.
    #[arg(long)]
    pub name: String,
    /// Its name in English.
    #[arg(long, default_value = "")]
    pub name_en: String,
    /// Its unified social credit code (统一社会信用代码).
    #[arg(long)]
    pub uscc: String,
    /// Take a credit code whose check character is wrong, as some early pilot codes' are.
    #[arg(long)]
    pub lenient_uscc: bool,
    /// Its division code (GB/T 2260).
    #[arg(long, default_value = "")]
    pub division: String,
    /// Where to write the token (a new file that only you can read), or - to print it. Left out: the id with .token
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// `registry key …`.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Revoke a department's key. What it signs from now on counts for nothing.
    #[command(
        after_help = "Example:\n  registry key revoke civil-affairs 5f0c…(64 hex digits) --reason \"machine stolen\""
    )]
    Revoke {
        /// The department's id.
        department: DepartmentId,
        /// The key's id, 64 hexadecimal digits.
        key_id: String,
        /// Why; it stands in the directory.
        #[arg(long)]
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed_and_every_command_has_an_example() {
        let mut command = Cli::command();
        command.clone().debug_assert();
        fn check(command: &mut clap::Command) {
            if command.get_name() != "help" && command.get_subcommands().next().is_none() {
                let help = command.render_long_help().to_string();
                assert!(help.contains("Example:"), "{} has no example", command.get_name());
            }
            command.get_subcommands_mut().for_each(check);
        }
        check(&mut command);
    }

    #[test]
    fn the_quick_start_commands_are_understood() {
        for line in [
            "registry init --dir DIR",
            "registry serve --config DIR/registry.toml",
            "registry department admit civil-affairs --name 民政局 --uscc 118900000000010112 -o civil-affairs.token",
            "registry --json department list --dir DIR",
        ] {
            Cli::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
        for line in [
            "registry department admit 民政局 --name 民政局 --uscc 118900000000010112",
            "registry init --listen nowhere",
            "registry init --advertise registry.example",
        ] {
            assert_eq!(Cli::try_parse_from(line.split(' ')).unwrap_err().exit_code(), 2, "{line}");
        }
    }
}
