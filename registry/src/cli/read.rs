//! `services`, `departments` and `log`: what the registry's directory means to a reader, and the full audit of its log.
//! Out of scope: what is said, which a node says alike (`directory_reader`).

use std::{path::PathBuf, sync::Arc};

use clap::{Args, Subcommand};
use directory_reader::{Client, Own, ServiceFilter};
use host::published::{self, Place};
use proto::registry::v1::catalogue_client::CatalogueClient;
use trust::{audit::Trusted, ids::DepartmentId, log::note::key::NoteKey};

use super::{
    Cli,
    operate::{Failure, Shown, channel, folder},
};
use crate::{
    config::{self, Config},
    keys::Keys,
};

/// `registry services …`.
#[derive(Debug, Subcommand)]
pub enum ServicesCommand {
    /// List data services.
    #[command(after_help = "Example:\n  registry services list --provider civil-affairs")]
    List(ServiceFilter),
    /// Show one data service: attributes, operators, inputs, conditions.
    #[command(after_help = "Example:\n  registry services show civil-affairs/marriage-registration")]
    Show {
        /// The service, DEPARTMENT/SERVICE.
        #[arg(value_name = "SERVICE", value_parser = directory_reader::service_path)]
        service: (String, String),
        /// Its major version. Left out: the newest that answers.
        #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
        major: u32,
    },
    /// Find data services by words in their descriptions, in Chinese or English. Each word must be there.
    #[command(after_help = "Example:\n  registry services search 婚姻 登记 --replaces 无房证明")]
    Search {
        /// The words.
        #[arg(value_name = "WORD", required = true)]
        words: Vec<String>,
        /// What else must hold.
        #[command(flatten)]
        filter: ServiceFilter,
    },
}

/// `registry departments …`.
#[derive(Debug, Subcommand)]
pub enum DepartmentsCommand {
    /// List the admitted departments with their nodes, services and grants.
    #[command(after_help = "Example:\n  registry departments list --text 民政")]
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
    /// Show one department with its keys, nodes, services and grants.
    #[command(after_help = "Example:\n  registry departments show civil-affairs")]
    Show {
        /// The department's id.
        department: DepartmentId,
    },
}

/// `registry log …`.
#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "there is one of it")]
pub enum LogCommand {
    /// Read the whole log from its tiles and check everything: tiles, checkpoint, each statement by signature and rules.
    #[command(
        after_help = "Example:\n  registry log verify\n  registry log verify --from http://registry.example:7401 --authority authority.pub"
    )]
    Verify(VerifyArguments),
    /// Show one statement in words, with who signed it and the proof that it is in the log.
    #[command(after_help = "Example:\n  registry log show 12 --proof statement-12.tlog-proof")]
    Show {
        /// Its index, counted from 0.
        index: u64,
        /// Write the proof of its place into this new file (C2SP tlog-proof), for other tools.
        #[arg(long, value_name = "FILE")]
        proof: Option<PathBuf>,
    },
}

/// `registry log verify`.
#[derive(Args, Debug)]
pub struct VerifyArguments {
    /// Where the log is: http://HOST:PORT of a tile port or a copy, or a folder. Left out: the running registry's tile port.
    #[arg(long, value_name = "PLACE")]
    from: Option<Place>,
    /// The authority's public key: 64 hex digits, or a file that holds them. Left out: the one in registry.toml.
    #[arg(long, value_name = "KEY", conflicts_with = "log_key")]
    authority: Option<String>,
    /// The log's verifier key in place of the authority's, as other C2SP tools have it; the authority's key is then taken
    /// from the log, and not compared.
    #[arg(long, value_name = "VKEY")]
    log_key: Option<NoteKey>,
    /// Keep what was read in this folder, from which it can be verified again.
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
}

pub(super) async fn services(cli: &Cli, command: &ServicesCommand) -> Result<Shown, Failure> {
    let client = client(cli).await?;
    Ok(match command {
        ServicesCommand::List(filter) => directory_reader::services(client, filter.clone(), &[]).await?,
        ServicesCommand::Search { words, filter } => directory_reader::services(client, filter.clone(), words).await?,
        ServicesCommand::Show { service, major } => directory_reader::service(client, service.clone(), *major).await?,
    }
    .into())
}

pub(super) async fn departments(cli: &Cli, command: &DepartmentsCommand) -> Result<Shown, Failure> {
    let client = client(cli).await?;
    Ok(match command {
        DepartmentsCommand::List { text, state, limit } => {
            directory_reader::departments(client, text.clone(), state.clone(), *limit).await?
        }
        DepartmentsCommand::Show { department } => directory_reader::department(client, department).await?,
    }
    .into())
}

pub(super) async fn log(cli: &Cli, command: &LogCommand) -> Result<Shown, Failure> {
    match command {
        LogCommand::Verify(arguments) => verify(cli, arguments).await,
        LogCommand::Show { index, proof } => {
            Ok(directory_reader::statement(client(cli).await?, *index, proof.as_deref()).await?.into())
        }
    }
}

async fn verify(cli: &Cli, arguments: &VerifyArguments) -> Result<Shown, Failure> {
    let told_everything = arguments.from.is_some() && (arguments.authority.is_some() || arguments.log_key.is_some());
    // Where everything is told, a registry that does not run is only not compared with.
    let own = match own(cli).await {
        Ok(own) => Some(own),
        Err(Failure::Unreachable(_)) if arguments.from.is_some() => None,
        Err(_) if told_everything => None,
        Err(error) => return Err(error),
    };
    let trusted = match (&arguments.authority, &arguments.log_key) {
        (Some(authority), _) => Trusted::Authority(directory_reader::authority_key(authority)?),
        (None, Some(key)) => Trusted::Log(key.clone()),
        (None, None) => Trusted::Authority(configured(cli)?.authority_key),
    };
    // As the registry itself, where the tiles are for members alone.
    let identity = || -> Result<_, directory_reader::Error> {
        let dir = folder(cli).map_err(|error| directory_reader::Error::Usage(error.to_string()))?;
        let keys = Keys::read(&dir).map_err(|error| directory_reader::Error::Usage(error.to_string()))?;
        Ok(Arc::new(keys.tls))
    };
    let places = match (&arguments.from, &own) {
        (Some(place), own) => directory_reader::named(place.clone(), own.as_ref().map(|own| &own.head), identity)?,
        (None, Some(own)) => {
            let status = super::operate::standing(cli).await?;
            directory_reader::announced(&[status.tile_address], &own.head, identity)?
        }
        (None, None) => return Err(Failure::Usage("where is the log? Give --from PLACE".to_owned())),
    };
    Ok(directory_reader::verify(places, trusted, own, arguments.keep.as_deref()).await?.into())
}

/// The running registry's own directory.
async fn own(cli: &Cli) -> Result<Own, Failure> {
    let mut client = client(cli).await?;
    Ok(Own { head: directory_reader::head(&mut client, 0).await?, client, name: "the running registry" })
}

async fn client(cli: &Cli) -> Result<Client, Failure> {
    Ok(CatalogueClient::new(channel(cli).await?).max_decoding_message_size(LARGEST_ANSWER))
}

/// A page of services may be larger than gRPC's usual 4 MiB.
const LARGEST_ANSWER: usize = 64 * 1024 * 1024;

fn configured(cli: &Cli) -> Result<Config, Failure> {
    let path = folder(cli)?.join(config::FILE_NAME);
    let (config, _) = Config::load(&path).map_err(|error| Failure::Usage(error.to_string()))?;
    Ok(config)
}

impl From<directory_reader::Shown> for Shown {
    fn from(shown: directory_reader::Shown) -> Self {
        Self { json: shown.json, text: shown.text }
    }
}

impl From<directory_reader::Error> for Failure {
    fn from(error: directory_reader::Error) -> Self {
        use directory_reader::Error;
        match error {
            Error::NotSound(reason) => Self::NotSound(reason),
            Error::Published(published::Error::Connection { .. } | published::Error::TimedOut { .. }) => {
                Self::Unreachable(error.to_string())
            }
            Error::Kept { .. } | Error::Malformed(_) | Error::Published(_) => Self::failed(error),
            Error::Refused(refusal) => Self::Refused {
                code: refusal.code.as_str().to_owned(),
                field: refusal.field.clone(),
                message: refusal.to_string(),
            },
            Error::Status(status) => status.into(),
            Error::Proof(_) | Error::Usage(_) => Self::Usage(error.to_string()),
        }
    }
}
