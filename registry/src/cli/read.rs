//! `services`, `departments` and `log`: what the registry's directory means to a reader, and the full audit of its log.
//! Out of scope: how each thing is told (`trust::reading`), and the checks themselves (`trust::audit`).

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use host::{
    files,
    published::{self, Place, Reader},
    terminal,
};
use proto::registry::v1::{
    DepartmentEntry, DepartmentQuery, HeadEntry, HeadQuery, OneStatementQuery, ServiceEntry, ServiceQuery,
    SharingClass, catalogue_client::CatalogueClient,
};
use serde_json::json;
use tonic::transport::Channel;
use trust::{
    audit::{self, Audit, Trusted},
    catalogue::gather,
    ids::{DepartmentId, ExchangeId},
    log::{hash::Hash, note::key::NoteKey},
    reading::{DepartmentWords, ServiceWords, StatementWords},
    refusal::{Code, Refusal},
};

use super::{
    Cli,
    operate::{Failure, Shown, channel, folder},
};
use crate::config::{self, Config};

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
        #[arg(value_name = "SERVICE", value_parser = service)]
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

/// Which services.
#[derive(Args, Clone, Debug, Default)]
pub struct ServiceFilter {
    /// Only this department's.
    #[arg(long, value_name = "DEPARTMENT")]
    provider: Option<String>,
    /// Only those with this attribute: its name, or a part of its label.
    #[arg(long, value_name = "ATTRIBUTE")]
    attribute: Option<String>,
    /// Only those that make this paper proof unnecessary.
    #[arg(long, value_name = "PROOF")]
    replaces: Option<String>,
    /// Only those that are shared so.
    #[arg(long, value_name = "CLASS")]
    sharing: Option<Sharing>,
    /// Withdrawn services too.
    #[arg(long)]
    withdrawn: bool,
    /// How many at most.
    #[arg(long, value_name = "NUMBER", default_value_t = 1000)]
    limit: usize,
}

/// How a service is shared.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Sharing {
    /// 有条件共享: needs a grant.
    Conditional,
    /// 不予共享.
    NotShared,
    /// 无条件共享.
    Unconditional,
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
    match command {
        ServicesCommand::List(filter) => list_services(cli, filter, String::new()).await,
        ServicesCommand::Search { words, filter } => list_services(cli, filter, words.join(" ")).await,
        ServicesCommand::Show { service: (provider, service), major } => {
            let query = ServiceQuery { provider: provider.clone(), withdrawn_too: true, ..ServiceQuery::default() };
            let (found, _) = find_services(cli, query, usize::MAX).await?;
            let version = |entry: &ServiceEntry| entry.service.as_ref().map_or(0, |found| found.major_version);
            let entry = found
                .into_iter()
                .filter(|entry| entry.service.as_ref().is_some_and(|found| found.service == *service))
                .filter(|entry| *major == 0 || version(entry) == *major)
                .max_by_key(|entry| (entry.state == "answering", version(entry)));
            let entry = entry.ok_or_else(|| refused(&Refusal::new(Code::ServiceUnknown).at("service")))?;
            let words = ServiceWords::of(&entry);
            let attributes = terminal::table(ServiceWords::ATTRIBUTE_HEADER, words.attribute_rows());
            let text = format!("{}\n{attributes}", terminal::facts(ServiceWords::facts(&entry)));
            Ok(Shown { json: json!(words), text })
        }
    }
}

async fn list_services(cli: &Cli, filter: &ServiceFilter, text: String) -> Result<Shown, Failure> {
    let sharing = match filter.sharing {
        None => SharingClass::Unspecified,
        Some(Sharing::Conditional) => SharingClass::Conditional,
        Some(Sharing::NotShared) => SharingClass::NotShared,
        Some(Sharing::Unconditional) => SharingClass::Unconditional,
    };
    let ServiceFilter { provider, attribute, replaces, withdrawn, limit, .. } = filter.clone();
    let query = ServiceQuery {
        provider: provider.unwrap_or_default(),
        attribute: attribute.unwrap_or_default(),
        proof: replaces.unwrap_or_default(),
        text,
        sharing: sharing.into(),
        withdrawn_too: withdrawn,
        page: None,
    };
    let (found, more) = find_services(cli, query, limit).await?;
    let words: Vec<ServiceWords> = found.iter().map(ServiceWords::of).collect();
    let text = match words.as_slice() {
        [] => "The directory has no such services.".to_owned(),
        words => listed(terminal::table(ServiceWords::HEADER, words.iter().map(ServiceWords::row)), more),
    };
    Ok(Shown { json: json!({ "services": words, "more": more }), text })
}

async fn find_services(cli: &Cli, mut query: ServiceQuery, most: usize) -> Result<(Vec<ServiceEntry>, bool), Failure> {
    let mut client = client(cli).await?;
    gather(most, async |page| {
        query.page = page;
        let page = client.services(query.clone()).await?.into_inner();
        Ok((page.services, page.end))
    })
    .await
}

pub(super) async fn departments(cli: &Cli, command: &DepartmentsCommand) -> Result<Shown, Failure> {
    match command {
        DepartmentsCommand::List { text, state, limit } => {
            let query = DepartmentQuery { text: text.clone(), state: state.clone(), ..DepartmentQuery::default() };
            let (found, more) = find_departments(cli, query, *limit).await?;
            let words: Vec<DepartmentWords> = found.iter().map(DepartmentWords::of).collect();
            let text = match words.as_slice() {
                [] => "The exchange has no such departments.".to_owned(),
                words => listed(terminal::table(DepartmentWords::HEADER, words.iter().map(DepartmentWords::row)), more),
            };
            Ok(Shown { json: json!({ "departments": words, "more": more }), text })
        }
        DepartmentsCommand::Show { department } => {
            let query = DepartmentQuery { department: department.to_string(), ..DepartmentQuery::default() };
            let (found, _) = find_departments(cli, query, 1).await?;
            let unknown = || refused(&Refusal::new(Code::DepartmentUnknown).at("department"));
            let entry = found.first().ok_or_else(unknown)?;
            let words = DepartmentWords::of(entry);
            let keys = terminal::table(DepartmentWords::KEY_HEADER, words.key_rows());
            let text = format!("{}\n{keys}", terminal::facts(DepartmentWords::facts(entry)));
            Ok(Shown { json: json!(words), text })
        }
    }
}

async fn find_departments(
    cli: &Cli,
    mut query: DepartmentQuery,
    most: usize,
) -> Result<(Vec<DepartmentEntry>, bool), Failure> {
    let mut client = client(cli).await?;
    gather(most, async |page| {
        query.page = page;
        let page = client.departments(query.clone()).await?.into_inner();
        Ok((page.departments, page.end))
    })
    .await
}

fn listed(table: String, more: bool) -> String {
    table + if more { "\nThere are more: raise --limit." } else { "" }
}

pub(super) async fn log(cli: &Cli, command: &LogCommand) -> Result<Shown, Failure> {
    match command {
        LogCommand::Verify(arguments) => verify(cli, arguments).await,
        LogCommand::Show { index, proof } => show(cli, *index, proof.as_deref()).await,
    }
}

async fn verify(cli: &Cli, arguments: &VerifyArguments) -> Result<Shown, Failure> {
    let told_everything = arguments.from.is_some() && (arguments.authority.is_some() || arguments.log_key.is_some());
    // Where everything is told, a registry that does not run is only not compared with.
    let own = match head(cli, 0).await {
        Ok(head) => Some(head),
        Err(Failure::Unreachable(_)) if arguments.from.is_some() => None,
        Err(_) if told_everything => None,
        Err(error) => return Err(error),
    };
    let trusted = match (&arguments.authority, &arguments.log_key) {
        (Some(authority), _) => Trusted::Authority(authority_key(authority)?),
        (None, Some(key)) => Trusted::Log(key.clone()),
        (None, None) => Trusted::Authority(configured(cli)?.authority_key),
    };
    let place = match (&arguments.from, &own) {
        (Some(place), _) => place.clone(),
        (None, Some(_)) => {
            let status = super::operate::standing(cli).await?;
            format!("http://{}", status.tile_address).parse().map_err(Failure::failed)?
        }
        (None, None) => return Err(Failure::Usage("where is the log? Give --from PLACE".to_owned())),
    };

    let reader = Reader::new(place);
    let keep = arguments.keep.as_deref();
    let checkpoint = read(&reader, "checkpoint", audit::LONGEST_CHECKPOINT, keep).await?;
    let mut audit = Audit::begin(trusted, &String::from_utf8_lossy(&checkpoint)).map_err(not_sound)?;
    if let Some(own) = own.filter(|own| own.exchange_id == audit.exchange().as_str()) {
        compare(&mut audit, own, cli).await?;
    }
    let bar = terminal::progress("verifying", audit.size(), "statements");
    while let Some(path) = audit.wanted() {
        let bytes = read(&reader, &path.to_string(), audit::longest(&path), keep).await?;
        audit.give(&bytes).map_err(not_sound)?;
        bar.set_position(audit.verified());
    }
    bar.finish_and_clear();
    let (report, _) = audit.finish().map_err(not_sound)?;
    let text = format!("{}\nThe log is sound.", terminal::facts(report.facts()));
    Ok(Shown { json: json!(report), text })
}

/// The running registry's own directory: at its size, or where that is larger, at the log's.
async fn compare(audit: &mut Audit, own: HeadEntry, cli: &Cli) -> Result<(), Failure> {
    let (size, root) = if own.size <= audit.size() {
        (own.size, own.root)
    } else {
        (audit.size(), head(cli, audit.size()).await?.root_at_size)
    };
    if let Ok(root) = <[u8; 32]>::try_from(root.as_slice()) {
        audit.compare_with("the running registry", size, Hash::from_bytes(root));
    }
    Ok(())
}

async fn read(reader: &Reader, name: &str, limit: usize, keep: Option<&Path>) -> Result<Vec<u8>, Failure> {
    let bytes = reader.read(name, limit).await.map_err(|error| match error {
        // What a checkpoint covers has to be there.
        published::Error::NotFound { .. } | published::Error::TooLarge { .. } if name != "checkpoint" => {
            Failure::NotSound(error.to_string())
        }
        published::Error::Connection { .. } | published::Error::TimedOut { .. } => {
            Failure::Unreachable(error.to_string())
        }
        error => Failure::failed(error),
    })?;
    if let Some(folder) = keep {
        let path = folder.join(name);
        let failed = |error| Failure::Failed(format!("cannot write {}: {error}", path.display()));
        path.parent().map_or(Ok(()), std::fs::create_dir_all).map_err(failed)?;
        std::fs::write(&path, &bytes).map_err(failed)?;
    }
    Ok(bytes)
}

async fn show(cli: &Cli, index: u64, file: Option<&Path>) -> Result<Shown, Failure> {
    let mut client = client(cli).await?;
    let exchange = client.head(HeadQuery::default()).await?.into_inner().exchange_id;
    let proven = client.statement(OneStatementQuery { index }).await?.into_inner();
    let unsound = |error: trust::reading::StatementError| Failure::NotSound(error.to_string());
    let words = StatementWords::of(index, &proven.entry, &proven.signers).map_err(unsound)?;
    let exchange: ExchangeId = exchange.parse().map_err(Failure::failed)?;
    let proof = StatementWords::proof(&exchange, &proven).map_err(unsound)?;
    if let Some(file) = file {
        files::create_file(file, proof.to_string().as_bytes(), 0o644)
            .map_err(|error| Failure::Usage(error.to_string()))?;
    }
    let mut json = json!(words);
    json["proof"] = json!(proof.to_string());
    let place = format!("in the log: {} hashes lead to the signed checkpoint", proof.hashes().len());
    let facts = terminal::facts(words.facts().into_iter().chain([("proof", place)]));
    let mut text = format!("Statement {index}: {}\n{facts}", words.kind.replace('_', " "));
    if !words.details.is_empty() {
        text += &format!("\n{}", terminal::table(["detail", "value"], words.detail_rows()));
    }
    Ok(Shown { json, text })
}

async fn head(cli: &Cli, at_size: u64) -> Result<HeadEntry, Failure> {
    Ok(client(cli).await?.head(HeadQuery { at_size }).await?.into_inner())
}

async fn client(cli: &Cli) -> Result<CatalogueClient<Channel>, Failure> {
    Ok(CatalogueClient::new(channel(cli).await?).max_decoding_message_size(LARGEST_ANSWER))
}

/// A page of services may be larger than gRPC's usual 4 MiB.
const LARGEST_ANSWER: usize = 64 * 1024 * 1024;

fn configured(cli: &Cli) -> Result<Config, Failure> {
    let path = folder(cli)?.join(config::FILE_NAME);
    let (config, _) = Config::load(&path).map_err(|error| Failure::Usage(error.to_string()))?;
    Ok(config)
}

/// The authority's key, as hex digits or in a file of them.
fn authority_key(text: &str) -> Result<trust::key::PublicKey, Failure> {
    if let Ok(key) = text.parse() {
        return Ok(key);
    }
    let wrong = || {
        Failure::Usage(format!("--authority {text}: neither a public key of 64 hex digits nor a file that holds one"))
    };
    std::fs::read_to_string(text).map_err(|_| wrong())?.trim().parse().map_err(|_| wrong())
}

fn not_sound(error: audit::Error) -> Failure {
    Failure::NotSound(error.to_string())
}

fn refused(refusal: &Refusal) -> Failure {
    Failure::Refused {
        code: refusal.code.as_str().to_owned(),
        field: refusal.field.clone(),
        message: refusal.to_string(),
    }
}

/// Reads `<department>/<service>`.
fn service(text: &str) -> Result<(String, String), String> {
    trust::ids::ServiceId::read(text, 1)
        .map(|id| (id.department.to_string(), id.service.to_string()))
        .map_err(|error| format!("{error}; write for example civil-affairs/marriage-registration"))
}
