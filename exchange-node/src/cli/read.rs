//! `services` and `departments`: looks things up in this node's own view of the directory. Out of scope: a department's
//! own services (`service`), and what is said, which the registry says alike (`directory_reader`).

use clap::Subcommand;
use directory_reader::{ServiceFilter, Shown};

use super::{Error, Exit, evidence, node::Folder, output::Output, text};

/// The commands about everybody's data services.
#[derive(Debug, Subcommand)]
pub enum ServicesCommand {
    /// Lists data services.
    #[command(after_help = "Example:\n  exchange-node services list --provider civil-affairs")]
    List(ServiceFilter),
    /// Shows one data service: attributes, operators, inputs, conditions.
    #[command(after_help = "Example:\n  exchange-node services show civil-affairs/marriage-registration")]
    Show {
        /// The service, DEPARTMENT/SERVICE.
        #[arg(value_name = "SERVICE", value_parser = text::service)]
        service: (String, String),
        /// Its major version; without it the newest that answers.
        #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
        major: u32,
    },
    /// Finds data services by words in their descriptions, in Chinese or English. Each word must be there.
    #[command(
        after_help = "Examples:\n  exchange-node services search 婚姻 登记\n  exchange-node services search marriage --replaces 无房证明"
    )]
    Search {
        /// The words.
        #[arg(value_name = "WORD", required = true)]
        words: Vec<String>,
        /// What else must hold.
        #[command(flatten)]
        filter: ServiceFilter,
    },
}

/// The commands about departments.
#[derive(Debug, Subcommand)]
pub enum DepartmentsCommand {
    /// Lists the departments of the exchange.
    #[command(after_help = "Example:\n  exchange-node departments list --text 民政")]
    List {
        /// Only those with these words in id, name or credit code.
        #[arg(long, value_name = "WORDS", default_value = "", hide_default_value = true)]
        text: String,
        /// Only those in this state: admitted, suspended, closed.
        #[arg(long, value_name = "STATE", default_value = "", hide_default_value = true)]
        state: String,
        /// How many at most.
        #[arg(long, value_name = "NUMBER", default_value_t = 1000)]
        limit: usize,
    },
    /// Shows one department with its keys, nodes, services and grants.
    #[command(after_help = "Example:\n  exchange-node departments show civil-affairs")]
    Show {
        /// The department's id.
        #[arg(value_name = "DEPARTMENT")]
        department: trust::ids::DepartmentId,
    },
}

pub(super) async fn run_services(command: ServicesCommand, folder: &Folder, output: Output) -> Result<Exit, Error> {
    let client = folder.catalogue().await?;
    let shown = match command {
        ServicesCommand::List(filter) => directory_reader::services(client, filter, &[]).await?,
        ServicesCommand::Search { words, filter } => directory_reader::services(client, filter, &words).await?,
        ServicesCommand::Show { service, major } => directory_reader::service(client, service, major).await?,
    };
    Ok(say(shown, output))
}

pub(super) async fn run_departments(
    command: DepartmentsCommand,
    folder: &Folder,
    output: Output,
) -> Result<Exit, Error> {
    let client = folder.catalogue().await?;
    let shown = match command {
        DepartmentsCommand::List { text, state, limit } => {
            directory_reader::departments(client, text, state, limit).await?
        }
        DepartmentsCommand::Show { department } => directory_reader::department(client, &department).await?,
    };
    Ok(say(shown, output))
}

/// Prints what was read.
pub(super) fn say(shown: Shown, output: Output) -> Exit {
    let Shown { json, text } = shown;
    output.show(&json, || text);
    Exit::Done
}

impl From<directory_reader::Error> for Error {
    fn from(error: directory_reader::Error) -> Self {
        use directory_reader::Error as Unread;
        match error {
            Unread::Kept { path, source } => Self::FileUnusable { doing: "write", path, source },
            Unread::NotSound(reason) => Self::LogNotSound(reason),
            Unread::Proof(error) => evidence::unwritable(error),
            Unread::Published(error) => Self::Published(error),
            Unread::Refused(refusal) => Self::Refused(refusal.to_wire()),
            Unread::Status(status) => Self::Status(status),
            Unread::Malformed(reason) | Unread::Usage(reason) => Self::Usage(reason),
        }
    }
}
