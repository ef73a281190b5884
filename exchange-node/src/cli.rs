//! The commands. `init` and `serve` are run by `main`; a few check files and need no running program; every other one is
//! a client of the running node's admin socket, because only the running node has its stores open.
//!
//! Out of scope: what the node does (`admin_edge`), and how the process starts and ends (`main`).

mod access;
mod backup;
mod batch;
mod case;
mod catalogue;
mod config;
mod corrections;
mod departments;
mod directory;
mod events;
mod evidence;
mod exit;
mod init;
mod item;
mod keys;
mod log;
mod node;
mod nodes;
mod office_key;
mod output;
mod read;
mod records;
mod relay;
mod service;
mod subject;
mod subscriptions;
mod tasks;
mod text;
mod unpack;
mod verify;
mod webhook;

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use clap::{Args, Parser, Subcommand};
use host::{admin_socket::AdminError, published};
use proto::exchange::v1::Refusal;

use self::output::Output;
pub(crate) use self::text::end_of_day;
pub use self::{exit::Exit, init::init, relay::Command as RelayCommand};

/// Asks other departments' records on behalf of one's own office systems, and answers from one's own records.
#[derive(Debug, Parser)]
#[command(
    name = "exchange-node",
    version,
    after_help = exit::help(),
    after_long_help = format!("{}\nExample:\n  exchange-node status --dir housing", exit::help()),
    propagate_version = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// The node's folder; without it the current folder, where that is a node's.
    #[arg(long, env = "EXCHANGE_DIR", global = true, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Prints one JSON value on standard output, for machines.
    #[arg(long, global = true)]
    pub json: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Makes a node's keys on this machine, has the department admitted and writes node.toml.
    #[command(
        after_help = "Examples:\n  exchange-node init --token-file civil-affairs.token --address 127.0.0.1:7443 --dir civil-affairs\n  exchange-node init --token-file civil-affairs.token --relay 203.0.113.7:7470 --dir civil-affairs\n  exchange-node init --join civil-affairs-2.invitation --address 10.0.0.2:7443 --dir civil-affairs-2"
    )]
    Init(InitArgs),
    /// Runs the node until it is told to stop (SIGTERM or Ctrl-C).
    #[command(after_help = "Example:\n  exchange-node serve --config civil-affairs/node.toml")]
    Serve(ServeArgs),
    /// Shows what the running node is and sees.
    #[command(after_help = "Example:\n  exchange-node status --dir civil-affairs")]
    Status,
    /// Checks clock, keys, certificate, registry, directory, records, disk, ports and evidence, and says what to do.
    #[command(after_help = "Example:\n  exchange-node doctor --dir civil-affairs")]
    Doctor,
    /// Writes a backup of the running node into a file: all but its keys.
    #[command(after_help = "Example:\n  exchange-node backup -o civil-affairs-2026-11-29.backup")]
    Backup(backup::BackupArgs),
    /// Restores a backup into an empty folder.
    #[command(after_help = "Example:\n  exchange-node restore civil-affairs-2026-11-29.backup --dir civil-affairs-new")]
    Restore(backup::RestoreArgs),
    /// Public service items with their guides: write, check, publish, look up.
    #[command(subcommand, after_help = "Example:\n  exchange-node item list")]
    Item(item::Command),
    /// Cases: one item for one applicant, with commitments.
    #[command(subcommand, after_help = "Example:\n  exchange-node case list")]
    Case(case::Command),
    /// Data services: describe, publish, change, look up, suspend, withdraw.
    #[command(subcommand, after_help = "Example:\n  exchange-node service list")]
    Service(service::Command),
    /// The data catalogue: write its entries for others, and read theirs.
    #[command(subcommand, after_help = "Example:\n  exchange-node catalogue export catalogue.csv")]
    Catalogue(catalogue::Command),
    /// Everybody's data services in the directory: list, show, search.
    #[command(subcommand, after_help = "Example:\n  exchange-node services search 婚姻")]
    Services(read::ServicesCommand),
    /// The departments of the exchange, with their keys and nodes.
    #[command(subcommand, after_help = "Example:\n  exchange-node departments list")]
    Departments(read::DepartmentsCommand),
    /// The directory's log: audit it whole, show one statement.
    #[command(subcommand, after_help = "Example:\n  exchange-node log verify")]
    Log(log::Command),
    /// Records of an own service.
    #[command(subcommand, after_help = "Example:\n  exchange-node records import marriage-registration people.csv")]
    Records(records::Command),
    /// The configuration files: check them.
    #[command(subcommand, after_help = "Example:\n  exchange-node config check")]
    Config(config::Command),
    /// Access to data services: apply, decide, look up.
    #[command(subcommand, after_help = "Example:\n  exchange-node access list")]
    Access(access::Command),
    /// The view of the directory: its age and witnesses, what was found wrong, carrying it by hand.
    #[command(subcommand, after_help = "Example:\n  exchange-node directory show")]
    Directory(directory::Command),
    /// Asks another department one question and waits for the answer.
    #[command(after_help = verify::EXAMPLES)]
    Verify(verify::VerifyArgs),
    /// Many questions at once, from a file.
    #[command(
        subcommand,
        after_help = "Example:\n  exchange-node batch verify applicants.csv --map map.toml -o results.csv"
    )]
    Batch(batch::Command),
    /// Questions that a person answers: list, show, answer, reject.
    #[command(subcommand, after_help = "Example:\n  exchange-node tasks list")]
    Tasks(tasks::Command),
    /// Corrections of answers that are doubted: open, list, show; inbox, decide, confirm.
    #[command(subcommand, after_help = "Example:\n  exchange-node corrections list")]
    Corrections(corrections::Command),
    /// Who asked about a subject.
    #[command(subcommand, after_help = "Example:\n  exchange-node subject log --officer 2001")]
    Subject(subject::Command),
    /// Questions that go on: subscribe to a claim, list, show, end.
    #[command(subcommand, after_help = "Example:\n  exchange-node subscriptions list")]
    Subscriptions(subscriptions::Command),
    /// Notices of changes that were subscribed to: list, acknowledge.
    #[command(subcommand, after_help = "Example:\n  exchange-node notices list")]
    Notices(subscriptions::NoticesCommand),
    /// Evidence of questions and answers: show, export, check, unpack.
    #[command(subcommand, after_help = "Example:\n  exchange-node evidence show 123-9f3a2c1e4b5d6a70")]
    Evidence(evidence::Command),
    /// What in other departments' questions looks wrong.
    #[command(subcommand, after_help = "Example:\n  exchange-node events list")]
    Events(events::Command),
    /// Keys and certificates of the department's own office systems: add, rotate, list, remove.
    #[command(subcommand, after_help = "Example:\n  exchange-node office-key add housing-desk")]
    OfficeKey(office_key::Command),
    /// Where office systems are told of what comes later: add, list, remove.
    #[command(subcommand, after_help = "Example:\n  exchange-node webhook list")]
    Webhook(webhook::Command),
    /// The department's nodes: invite, add, drain, change, remove, list.
    #[command(subcommand, after_help = "Example:\n  exchange-node node list")]
    Node(nodes::Command),
    /// What this department hands over to a successor, or takes over from a predecessor.
    #[command(subcommand, after_help = "Example:\n  exchange-node department list")]
    Department(departments::Command),
    /// Runs a relay, at which nodes wait that can only dial out.
    #[command(subcommand, after_help = "Example:\n  exchange-node relay serve --config relay/relay.toml")]
    Relay(relay::Command),
    /// Keys of the department.
    #[command(subcommand, after_help = "Example:\n  exchange-node keys list")]
    Keys(keys::KeysCommand),
}

/// What `init` needs.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// The enrolment token, as the authority gave it: for a department's first node.
    #[arg(long, value_name = "FILE", required_unless_present = "join", conflicts_with = "join")]
    pub token_file: Option<PathBuf>,
    /// The invitation, as `node invite` made it: for a further node of a department.
    #[arg(long, value_name = "FILE")]
    pub join: Option<PathBuf>,
    /// Where other departments' nodes reach this one, HOST:PORT; the first is listened on too. Port 0 takes any free port.
    /// May be given several times; left out for a node that can only dial out.
    #[arg(long, value_name = "HOST:PORT", required_unless_present = "relay")]
    pub address: Vec<String>,
    /// A relay at which this node waits for calls, HOST:PORT; may be given several times.
    #[arg(long, value_name = "HOST:PORT")]
    pub relay: Vec<String>,
    /// Where this department's own office systems reach the node; loopback only. Left out: 127.0.0.1, one port above
    /// the other address's, so that several nodes on one machine do not collide.
    #[arg(long, value_name = "IP:PORT")]
    pub office_address: Option<SocketAddr>,
    /// With --join, the file to write the offer into. Left out: the department's and the node's id with .offer
    #[arg(long, value_name = "FILE", requires = "join")]
    pub offer: Option<PathBuf>,
    /// The node's id within the department; an invitation names its own.
    #[arg(long, value_name = "ID", default_value = "1")]
    pub node: trust::ids::NodeId,
}

/// What `serve` needs.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// The configuration; without it node.toml in the node's folder.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The admin socket cannot be used.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The directory's log is not sound.
    #[error("the directory's log is not sound: {0}")]
    LogNotSound(String),
    /// The evidence is not sound.
    #[error("the evidence is not sound: {0}")]
    EvidenceNotSound(String),
    /// What a file says is wrong; each line names file, line, field and reason.
    #[error("{0}")]
    FileWrong(String),
    /// A file cannot be read or written.
    #[error("cannot {doing} {}: {source}", path.display())]
    FileUnusable {
        /// What was tried.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// Nobody said which node is meant.
    #[error("which node? Give its folder with --dir or in EXCHANGE_DIR, or run this in a folder with a node.toml")]
    NoFolder,
    /// What was published cannot be read.
    #[error(transparent)]
    Published(#[from] published::Error),
    /// Refused.
    #[error("{}", refusal_sentence(.0))]
    Refused(Refusal),
    /// The node answered with a fault.
    #[error("{}", status_sentence(.0))]
    Status(#[from] tonic::Status),
    /// What was asked for cannot be.
    #[error("{0}")]
    Usage(String),
}

impl Error {
    /// The exit code it ends with.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Admin(AdminError::NotRunning { .. }) => Exit::Unreachable,
            Self::EvidenceNotSound(_) | Self::LogNotSound(_) => Exit::NotSound,
            Self::Published(published::Error::AddressWrong { .. }) => Exit::Usage,
            Self::Published(published::Error::Connection { .. } | published::Error::TimedOut { .. }) => {
                Exit::Unreachable
            }
            Self::Published(_) => Exit::Failure,
            Self::FileWrong(_) | Self::NoFolder | Self::Usage(_) => Exit::Usage,
            Self::FileUnusable { doing: "read", .. } => Exit::Usage,
            Self::Refused(_) => Exit::Refused,
            Self::Status(status) => match status.code() {
                tonic::Code::Unavailable => Exit::Unreachable,
                tonic::Code::InvalidArgument | tonic::Code::NotFound => Exit::Usage,
                _ => Exit::Failure,
            },
            Self::Admin(_) | Self::FileUnusable { .. } => Exit::Failure,
        }
    }
}

/// A refusal in one sentence: code, field, what is wrong, what to do next.
fn refusal_sentence(refusal: &Refusal) -> String {
    let field = if refusal.field.is_empty() { String::new() } else { format!(" at {}", refusal.field) };
    let next = if refusal.next_step.is_empty() { String::new() } else { format!(". Next: {}", refusal.next_step) };
    format!("refused ({}{field}): {}{next}", refusal.code, refusal.message)
}

/// What the program behind the socket says; one of another kind or version knows no such call.
fn status_sentence(status: &tonic::Status) -> String {
    match (status.code(), status.message()) {
        (tonic::Code::Unimplemented, _) => {
            "the program that runs in this folder does not know this command: it is no node, or of another version"
                .to_owned()
        }
        (code, "") => code.description().to_owned(),
        (_, message) => message.to_owned(),
    }
}

/// Runs a command other than `init` and `serve`.
pub async fn run(command: Command, dir: Option<&Path>, json: bool, now_ms: u64) -> Exit {
    let output = Output::new(json);
    let folder = node::Folder::new(dir);
    let outcome = match command {
        // `main` runs these; it never comes here with them.
        Command::Init(_) | Command::Serve(_) | Command::Relay(relay::Command::Serve(_)) => Ok(Exit::Usage),
        Command::Relay(relay::Command::Init(args)) => relay::init(&args, &folder, output),
        Command::Node(command) => nodes::run(command, &folder, output).await,
        Command::Department(command) => departments::run(command, &folder, output).await,
        Command::Status => node::status(&folder, output).await,
        Command::Doctor => node::doctor(&folder, output).await,
        Command::Backup(args) => backup::backup(&args, &folder, output).await,
        Command::Restore(args) => backup::restore(&args, &folder, output, now_ms).await,
        Command::Item(command) => item::run(command, &folder, output).await,
        Command::Case(command) => case::run(command, &folder, output).await,
        Command::Service(command) => service::run(command, &folder, output).await,
        Command::Catalogue(command) => catalogue::run(command, &folder, output, now_ms).await,
        Command::Services(command) => read::run_services(command, &folder, output).await,
        Command::Departments(command) => read::run_departments(command, &folder, output).await,
        Command::Log(command) => log::run(command, &folder, output).await,
        Command::Records(command) => records::run(command, &folder, output).await,
        Command::Config(command) => config::run(&command, &folder, output),
        Command::Access(command) => access::run(command, &folder, output, now_ms).await,
        Command::Directory(command) => directory::run(command, &folder, output).await,
        Command::Verify(args) => verify::run(args, &folder, output, now_ms).await,
        Command::Batch(command) => batch::run(command, &folder, output).await,
        Command::Tasks(command) => tasks::run(command, &folder, output).await,
        Command::Corrections(command) => corrections::run(command, &folder, output).await,
        Command::Subject(command) => subject::run(command, &folder, output).await,
        Command::Notices(command) => subscriptions::notices(command, &folder, output).await,
        Command::Subscriptions(command) => subscriptions::run(command, &folder, output, now_ms).await,
        Command::Evidence(command) => evidence::run(command, &folder, output).await,
        Command::Events(command) => events::run(command, &folder, output).await,
        Command::OfficeKey(command) => office_key::run(command, &folder, output, now_ms).await,
        Command::Webhook(command) => webhook::run(command, &folder, output).await,
        Command::Keys(command) => keys::run(command, &folder, output, now_ms).await,
    };
    outcome.unwrap_or_else(|error| output.fail(&error))
}

#[cfg(test)]
mod tests;
