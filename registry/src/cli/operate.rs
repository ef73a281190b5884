//! What each command does, and how its outcome is shown. Out of scope: the running registry itself (`app`).

use std::{
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
};

use comfy_table::{
    LineStyle, Table,
    presets::{NOTHING, UTF8_HORIZONTAL_ONLY},
};
use host::{
    admin_socket::{self, AdminError},
    clock::{Clock, SystemClock},
    files,
    random::{Random, SystemRandom},
    telemetry,
};
use proto::{
    admin::v1::{self as wire, registry_client::RegistryClient},
    registry::v1::LocalName,
};
use serde_json::{Value, json};
use tonic::{Code, Status, transport::Channel};
pub(super) use trust::reading::moment;

use super::{
    AdmitArguments, Cli, Command, DepartmentCommand, InitArguments, KeyCommand, anchors, authority, backup, catalogue,
    departments, events, keys, read, review, state, store, supervise,
};
use crate::{
    admin_edge::{CODE_KEY, FIELD_KEY},
    app::{App, Ended},
    config::{self, Config},
    init::{self, Founding, init},
};

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// Our own failure, or the machine's.
    #[error("{0}")]
    Failed(String),
    /// The directory's log is not sound.
    #[error("the directory's log is not sound: {0}")]
    NotSound(String),
    /// The registry refused.
    #[error("refused: {message}")]
    Refused {
        /// The stable code.
        code: String,
        /// The field at fault; may be empty.
        field: String,
        /// What is wrong and what to do.
        message: String,
    },
    /// No registry is running there.
    #[error("{0}")]
    Unreachable(String),
    /// The command cannot be carried out as it was given.
    #[error("{0}")]
    Usage(String),
}

impl Failure {
    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreachable(_) => 3,
            Self::Refused { .. } => 7,
            Self::NotSound(_) => 8,
        }
    }

    /// For machines.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Refused { code, field, message } => {
                json!({ "error": "refused", "code": code, "field": field, "message": message })
            }
            Self::NotSound(message) => json!({ "error": "not_sound", "message": message }),
            Self::Failed(message) => json!({ "error": "failed", "message": message }),
            Self::Unreachable(message) => json!({ "error": "unreachable", "message": message }),
            Self::Usage(message) => json!({ "error": "usage", "message": message }),
        }
    }

    pub(super) fn failed(error: impl std::fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<AdminError> for Failure {
    fn from(error: AdminError) -> Self {
        match error {
            AdminError::NotRunning { .. } => Self::Unreachable(error.to_string()),
            _ => Self::failed(error),
        }
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let metadata = |key| status.metadata().get(key).and_then(|value| value.to_str().ok()).unwrap_or_default();
        match status.code() {
            Code::FailedPrecondition => Self::Refused {
                code: metadata(CODE_KEY).to_owned(),
                field: metadata(FIELD_KEY).to_owned(),
                message: status.message().to_owned(),
            },
            Code::InvalidArgument => Self::Usage(status.message().to_owned()),
            Code::Unavailable => Self::Unreachable(status.message().to_owned()),
            _ => Self::Failed(status.message().to_owned()),
        }
    }
}

/// Carries a command out, and prints its outcome.
pub async fn run(cli: Cli) -> Result<(), Failure> {
    let shown = match &cli.command {
        Command::Init(arguments) => make(&cli, arguments).await?,
        Command::Serve { config, restored } => return serve(&cli, config.as_deref(), *restored).await,
        Command::Backup(arguments) => backup::write(&cli, arguments).await?,
        Command::Restore(arguments) => backup::restore(&cli, arguments).await?,
        Command::History => backup::history(&cli).await?,
        Command::Resume(arguments) => backup::resume(&cli, arguments).await?,
        Command::Status => status(&cli).await?,
        Command::Services(command) => read::services(&cli, command).await?,
        Command::Departments(command) => read::departments(&cli, command).await?,
        Command::Log(command) => read::log(&cli, command).await?,
        Command::Department(DepartmentCommand::Admit(arguments)) => match admit(&cli, arguments).await? {
            Some(shown) => shown,
            None => return Ok(()),
        },
        Command::Department(DepartmentCommand::List) => list(&cli).await?,
        Command::Department(DepartmentCommand::Rename(arguments)) => departments::rename(&cli, arguments).await?,
        Command::Department(DepartmentCommand::Merge(arguments)) => departments::merge(&cli, arguments).await?,
        Command::Department(DepartmentCommand::Split(arguments)) => departments::split(&cli, arguments).await?,
        Command::Department(DepartmentCommand::Close(arguments)) => departments::close(&cli, arguments).await?,
        Command::Department(DepartmentCommand::Suspend { id, reason }) => {
            change(&cli, id.as_str(), "suspend", reason).await?
        }
        Command::Department(DepartmentCommand::Resume { id, reason }) => {
            change(&cli, id.as_str(), "resume", reason).await?
        }
        Command::Key(KeyCommand::Revoke { department, key_id, reason }) => {
            revoke(&cli, department.as_str(), key_id, reason).await?
        }
        Command::Anchors(command) => anchors::run(&cli, command).await?,
        Command::Department(DepartmentCommand::RevokeKey { id, key_id, reason }) => {
            revoke(&cli, id.as_str(), key_id, reason).await?
        }
        Command::Keys(command) => keys::run(&cli, command).await?,
        Command::Authority(command) => authority::run(&cli, command).await?,
        Command::State(command) => state::run(&cli, command).await?,
        Command::Store(command) => store::run(&cli, command).await?,
        Command::Profile(command) => supervise::profile(&cli, command).await?,
        Command::Review(command) => review::run(&cli, command).await?,
        Command::Catalogue(command) => catalogue::run(&cli, command).await?,
        Command::Events(command) => events::run(&cli, command).await?,
        Command::Board(arguments) => supervise::board(&cli, arguments).await?,
        Command::Directory(command) => super::directory::run(command, channel(&cli).await?).await?,
    };
    print(&if cli.json { format!("{:#}", shown.json) } else { shown.text })
}

/// An outcome in both of its forms.
pub(super) struct Shown {
    pub(super) json: Value,
    pub(super) text: String,
}

impl Shown {
    /// Facts, one to a line.
    pub(super) fn facts(facts: &[(&str, String)], json: Value) -> Self {
        let mut table = Table::new();
        for (name, value) in facts {
            table.add_row([*name, value.as_str()]);
        }
        Self { json, text: table.load_style(NOTHING).trim_fmt() }
    }
}

async fn make(cli: &Cli, arguments: &InitArguments) -> Result<Shown, Failure> {
    let folder = cli.dir.clone().ok_or_else(|| Failure::Usage("say where: registry init --dir DIR".to_owned()))?;
    let founding = Founding {
        exchange: arguments.exchange.clone(),
        name: arguments.name.clone(),
        name_en: arguments.name_en.clone(),
        listen: arguments.listen,
        tiles: arguments.tiles,
        advertise: arguments.advertise.clone(),
        store: arguments.store.clone(),
        store_password_file: arguments.store_password_file.clone(),
    };
    let founded = init(&folder, &founding, &SystemClock, &SystemRandom).await.map_err(|error| match error {
        init::Error::AdvertiseMissing { .. } | init::Error::FolderInUse { .. } | init::Error::StoreInUse { .. } => {
            Failure::Usage(error.to_string())
        }
        error => Failure::failed(error),
    })?;
    let config = founded.config.display().to_string();
    let json = json!({
        "exchange": arguments.exchange.as_str(),
        "authority_key": founded.authority_key.to_string(),
        "config": config,
    });
    let next = format!("registry serve --config {config}");
    let facts = [
        ("exchange", arguments.exchange.to_string()),
        ("authority key", founded.authority_key.to_string()),
        ("configuration", config),
        ("next", next),
    ];
    Ok(Shown::facts(&facts, json))
}

async fn serve(cli: &Cli, config: Option<&Path>, restored: bool) -> Result<(), Failure> {
    let path = match config {
        Some(path) => path.to_owned(),
        None => folder(cli)?.join(config::FILE_NAME),
    };
    let (config, folder) = Config::load(&path).map_err(|error| Failure::Usage(error.to_string()))?;
    telemetry::init(config.log_format, &config.log_filter, "REGISTRY_LOG").map_err(Failure::failed)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let random: Arc<dyn Random> = Arc::new(SystemRandom);
    if restored {
        // Before anything is signed.
        backup::mark(&config, &folder, clock.now_ms()).await?;
    }
    loop {
        let started = App::start(config.clone(), &folder, Arc::clone(&clock), Arc::clone(&random)).await;
        // A registry that held back, and is whole again, starts again as any other.
        if started.map_err(Failure::failed)?.run().await.map_err(Failure::failed)? == Ended::Stopped {
            return Ok(());
        }
    }
}

async fn status(cli: &Cli) -> Result<Shown, Failure> {
    let status = standing(cli).await?;
    let (key_backup, rehearsed_ms) = keys::sealed::last_rehearsal(&folder(cli)?);
    let tls_days = keys::tls_days(&folder(cli)?, SystemClock.now_ms());
    let json = json!({
        "keys_rehearsed_ms": rehearsed_ms,
        "tls_key_days": tls_days,
        "exchange": status.exchange_id,
        "directory_size": status.directory_size,
        "authority_key": status.authority_key,
        "address": status.address,
        "tile_address": status.tile_address,
        "version": status.version,
        "catching_up": status.catching_up.as_ref().map(backup::catching_up_json),
        "checkpoint": status.checkpoint,
    });
    let signs = match &status.catching_up {
        Some(behind) => backup::catching_up_text(behind),
        None => "yes".to_owned(),
    };
    let facts = [
        ("exchange", status.exchange_id),
        ("statements", status.directory_size.to_string()),
        ("signs", signs),
        ("key backup", key_backup),
        ("TLS key", keys::tls_age_text(tls_days)),
        ("authority key", status.authority_key),
        ("address", status.address),
        ("tiles", status.tile_address),
        ("version", status.version),
        ("checkpoint", status.checkpoint.trim_end().to_owned()),
    ];
    Ok(Shown::facts(&facts, json))
}

/// Returns nothing to show where the token itself was printed.
async fn admit(cli: &Cli, arguments: &AdmitArguments) -> Result<Option<Shown>, Failure> {
    let output = arguments.output.clone().unwrap_or_else(|| PathBuf::from(format!("{}.token", arguments.id)));
    let is_printed = output == Path::new("-");
    // Before a token is made: one that cannot be written would be lost.
    if !is_printed && output.exists() {
        return Err(Failure::Usage(format!("{} exists already: nothing was changed", output.display())));
    }
    let request = wire::AdmitDepartmentRequest {
        department: arguments.id.to_string(),
        name: Some(LocalName { zh: arguments.name.clone(), en: arguments.name_en.clone() }),
        uscc: arguments.uscc.clone(),
        division: arguments.division.clone(),
        lenient_uscc: arguments.lenient_uscc,
    };
    let admitted = client(cli).await?.admit_department(request).await?.into_inner();
    if is_printed {
        print(admitted.token.trim_end())?;
        return Ok(None);
    }
    files::write_private_file(&output, admitted.token.as_bytes()).map_err(Failure::failed)?;
    let json = json!({
        "department": arguments.id.as_str(),
        "token_file": output.display().to_string(),
        "expires_ms": admitted.expires_ms,
    });
    let facts = [
        ("department", arguments.id.to_string()),
        ("token", output.display().to_string()),
        ("good until", moment(admitted.expires_ms)),
        ("next", format!("exchange-node init --token-file {} --address HOST:PORT --dir DIR", output.display())),
    ];
    Ok(Some(Shown::facts(&facts, json)))
}

async fn list(cli: &Cli) -> Result<Shown, Failure> {
    let departments =
        client(cli).await?.list_departments(wire::ListDepartmentsRequest {}).await?.into_inner().departments;
    let json: Vec<Value> = departments
        .iter()
        .map(|state| {
            let name = state.name.clone().unwrap_or_default();
            json!({
                "department": state.department,
                "name": name.zh,
                "name_en": name.en,
                "state": state.state,
                "successors": state.successors,
                "nodes": state.nodes,
                "services": state.services,
            })
        })
        .collect();
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()));
    table.set_header(["department", "name", "state", "nodes", "services"]);
    for state in departments {
        let name = state.name.unwrap_or_default().zh;
        let state_text = match state.successors.as_slice() {
            [] => state.state,
            successors => format!("{}, succeeded by {}", state.state, successors.join(", ")),
        };
        table.add_row([state.department, name, state_text, state.nodes.to_string(), state.services.to_string()]);
    }
    Ok(Shown { json: json!({ "departments": json }), text: table.trim_fmt() })
}

async fn change(cli: &Cli, department: &str, action: &str, reason: &str) -> Result<Shown, Failure> {
    let request = wire::ChangeDepartmentRequest {
        department: department.to_owned(),
        action: action.to_owned(),
        reason: reason.to_owned(),
    };
    let changed = client(cli).await?.change_department(request).await?.into_inner();
    let facts = [("department", department.to_owned()), ("action", action.to_owned())];
    Ok(said(&facts, changed.index, &changed.waiting))
}

async fn revoke(cli: &Cli, department: &str, key_id: &str, reason: &str) -> Result<Shown, Failure> {
    let request = wire::RevokeDepartmentKeyRequest {
        department: department.to_owned(),
        key_id: key_id.to_owned(),
        reason: reason.to_owned(),
    };
    let changed = client(cli).await?.revoke_department_key(request).await?.into_inner();
    let facts = [("department", department.to_owned()), ("key_id", key_id.to_owned())];
    Ok(said(&facts, changed.index, &changed.waiting))
}

/// What became of a statement of the authority's: its index, or that it waits for the signature.
pub(super) fn said(facts: &[(&str, String)], index: u64, waiting: &str) -> Shown {
    let json = facts.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    Shown::facts(
        &[facts, said_facts(index, waiting).as_slice()].concat(),
        said_json(Value::Object(json), index, waiting),
    )
}

/// The same as facts alone.
pub(super) fn said_facts(index: u64, waiting: &str) -> Vec<(&'static str, String)> {
    match waiting {
        "" => vec![("statement", index.to_string())],
        id => vec![
            ("waiting", format!("{id}, for the authority's signature")),
            ("next", "registry authority export-request".to_owned()),
        ],
    }
}

/// The same for programs: `statement`, or `waiting` where there is none yet.
pub(super) fn said_json(mut json: Value, index: u64, waiting: &str) -> Value {
    match waiting {
        "" => json["statement"] = json!(index),
        id => json["waiting"] = json!(id),
    }
    json
}

/// That a statement waits, in a sentence about `what`.
pub(super) fn waits(what: &str, waiting: &str) -> String {
    format!(
        "{what} WAITS for the authority's signature as {waiting}, and counts only from then on. Next: registry authority export-request."
    )
}

/// What the running registry says of itself.
pub(super) async fn standing(cli: &Cli) -> Result<wire::RegistryStatusResponse, Failure> {
    Ok(client(cli).await?.status(wire::RegistryStatusRequest {}).await?.into_inner())
}

/// A client of the registry that runs in the folder.
async fn client(cli: &Cli) -> Result<RegistryClient<Channel>, Failure> {
    Ok(RegistryClient::new(channel(cli).await?))
}

/// The admin socket of the registry that runs in the folder.
pub(super) async fn channel(cli: &Cli) -> Result<Channel, Failure> {
    let folder = folder(cli)?;
    let start = format!("registry serve --config {}", folder.join(config::FILE_NAME).display());
    Ok(admin_socket::connect(&folder, &start).await?)
}

pub(super) fn folder(cli: &Cli) -> Result<PathBuf, Failure> {
    if let Some(folder) = &cli.dir {
        return Ok(folder.clone());
    }
    if Path::new(config::FILE_NAME).exists() {
        return Ok(PathBuf::from("."));
    }
    Err(Failure::Usage("which registry? Give --dir DIR, or set REGISTRY_DIR".to_owned()))
}

/// Reads an address that others are told.
pub(super) fn address(text: &str) -> Result<String, String> {
    let host_and_port = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    match host_and_port {
        Some((host, port)) if !host.is_empty() && port != 0 => Ok(text.to_owned()),
        _ => Err("an address is written HOST:PORT, for example registry.example:7400".to_owned()),
    }
}

fn print(text: &str) -> Result<(), Failure> {
    // A reader that has gone away (`… | head`) is no failure of the command, but it is the end of printing.
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::failed(error)),
        _ => Ok(()),
    }
}
