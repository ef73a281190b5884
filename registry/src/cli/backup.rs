//! `registry backup`, `restore`, `history` and `resume`: the copy of a registry, and what follows from bringing one back.
//! Out of scope: keys, whose backup two officers open together (`keys`).

use std::path::{Path, PathBuf};

use clap::Args;
use comfy_table::{LineStyle, Table, presets::UTF8_HORIZONTAL_ONLY};
use host::{
    chunks::CHUNK_BYTES,
    clock::{Clock, SystemClock},
    files::PRIVATE_MODE,
};
use proto::{
    admin::v1::{
        BackupRequest, ResumeLogRequest, ShowHistoryRequest, ViewChunk, registry_history_client::RegistryHistoryClient,
    },
    registry::v1::CatchingUp,
};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use trust::key::PublicKey;

use super::{
    Cli, Failure,
    directory::NewFile,
    operate::{Shown, channel, moment},
};
use crate::{
    backup::restore::{self, Error as RestoreError},
    config::Config,
    recovery::{
        Cause, Mark,
        events::{Event, Events, What},
    },
};

/// `registry backup`.
#[derive(Args, Debug)]
pub struct BackupArguments {
    /// The file to write; it must not exist.
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
}

/// `registry restore`.
#[derive(Args, Debug)]
pub struct RestoreArguments {
    /// The backup.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The authority's public key (authority.pub), if the backup is to be held against it.
    #[arg(long, value_name = "FILE")]
    pub authority: Option<PathBuf>,
}

/// `registry resume`.
#[derive(Args, Debug)]
pub struct ResumeArguments {
    /// The officer who decides it, by the authority's own number.
    #[arg(long)]
    pub officer: String,
    /// Why; it is kept with the decision.
    #[arg(long)]
    pub reason: String,
}

/// How many pieces of a file wait.
const PIECES_WAITING: usize = 4;

pub(super) async fn write(cli: &Cli, arguments: &BackupArguments) -> Result<Shown, Failure> {
    let path = &arguments.output;
    if path.exists() {
        return Err(Failure::Usage(format!("{} exists already: nothing was changed", path.display())));
    }
    let mut pieces = RegistryHistoryClient::new(channel(cli).await?).backup(BackupRequest {}).await?.into_inner();
    let mut file = NewFile::with_mode(path, PRIVATE_MODE)?;
    while let Some(piece) = pieces.message().await? {
        file.add(&piece.bytes)?;
    }
    let bytes = file.finish()?;
    // Read back: a backup that cannot be read is none.
    let manifest = restore::check(path).map_err(Failure::failed)?;
    let shown = path.display().to_string();
    let json = json!({
        "file": shown,
        "bytes": bytes,
        "statements": manifest.size,
        "root": manifest.root,
        "anchors": manifest.anchors_size,
        "made_ms": manifest.made_ms,
        "left_out": manifest.left_out,
    });
    let mut facts = vec![
        ("file", shown),
        ("bytes", bytes.to_string()),
        ("statements", manifest.size.to_string()),
        ("anchors", manifest.anchors_size.to_string()),
    ];
    facts.extend(manifest.left_out.iter().map(|what| ("not in it", what.clone())));
    Ok(Shown::facts(&facts, json))
}

pub(super) async fn restore(cli: &Cli, arguments: &RestoreArguments) -> Result<Shown, Failure> {
    let folder =
        cli.dir.clone().ok_or_else(|| Failure::Usage("say where: registry restore FILE --dir DIR".to_owned()))?;
    let authority = arguments.authority.as_deref().map(read_authority).transpose()?;
    let restored = restore::restore(&arguments.file, &folder, authority.as_ref(), SystemClock.now_ms()).await;
    let restored = restored.map_err(|error| match error {
        RestoreError::FolderInUse { .. }
        | RestoreError::NotABackup { .. }
        | RestoreError::OtherDirectory { .. }
        | RestoreError::OtherExchange { .. } => Failure::Usage(error.to_string()),
        RestoreError::Damaged { .. } => Failure::NotSound(error.to_string()),
        error => Failure::failed(error),
    })?;
    let dir = folder.display().to_string();
    let manifest = restored.manifest;
    let json = json!({
        "dir": dir,
        "exchange": manifest.exchange,
        "statements": manifest.size,
        "root": manifest.root,
        "made_ms": manifest.made_ms,
        "marked": restored.marked,
        "has_keys": restored.has_keys,
    });
    let mut facts = vec![
        ("folder", dir.clone()),
        ("exchange", manifest.exchange),
        ("statements", manifest.size.to_string()),
        ("as of", moment(manifest.made_ms)),
    ];
    if !restored.has_keys {
        facts.push(("next", format!("registry keys restore FILE --dir {dir}")));
    }
    facts.push(("next", format!("registry serve --config {}", folder.join(crate::config::FILE_NAME).display())));
    if restored.marked {
        facts.push(("then", "it signs nothing until its nodes have told what they saw: registry history".to_owned()));
    }
    Ok(Shown::facts(&facts, json))
}

fn read_authority(path: &Path) -> Result<PublicKey, Failure> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))?;
    text.trim().parse().map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))
}

/// Marks the ledger of a registry that is about to start.
pub(super) async fn mark(config: &Config, folder: &Path, now_ms: u64) -> Result<(), Failure> {
    let store = config.store.clone().for_a_tool().with_password(folder, config.store_password_file.as_deref());
    let store = store.map_err(Failure::failed)?;
    let ledger = store.open(folder, |error| tracing::error!(%error, "the embedded store")).await;
    let ledger = ledger.map_err(Failure::failed)?;
    let shared = ledger.shared();
    if shared.mark().await.map_err(Failure::failed)?.is_none() {
        let mark = Mark { since_ms: now_ms, cause: Cause::Restored, wanted: 0 };
        shared.set_mark(Some(mark.to_text())).await.map_err(Failure::failed)?;
        let size = shared.position().await.map_err(Failure::failed)?.size;
        let event = Event::new(now_ms, What::Restored, size, "started with --restored".to_owned());
        Events::new(folder).append(&event).map_err(Failure::failed)?;
    }
    ledger.close().await.map_err(Failure::failed)
}

pub(super) async fn history(cli: &Cli) -> Result<Shown, Failure> {
    let request = ShowHistoryRequest {};
    let answer = RegistryHistoryClient::new(channel(cli).await?).show_history(request).await?.into_inner();
    let told: Vec<Value> = answer
        .told
        .iter()
        .map(|told| json!({ "department": told.department, "statements": told.size, "at_ms": told.at_ms }))
        .collect();
    let events: Vec<Value> = answer
        .events
        .iter()
        .map(|event| {
            json!({
                "at_ms": event.at_ms,
                "what": event.what,
                "statements": event.size,
                "detail": event.detail,
                "officer": event.officer,
            })
        })
        .collect();
    let json = json!({
        "catching_up": answer.catching_up.as_ref().map(catching_up_json),
        "told": told,
        "departments": answer.departments,
        "events": events,
    });
    let mut text = match &answer.catching_up {
        Some(behind) => catching_up_text(behind),
        None => "The registry signs, and lacks nothing that it knows of.".to_owned(),
    };
    if answer.catching_up.is_some() {
        text = format!(
            "{text}\nNodes of {} of {} departments have told what they saw; more than half of them have to.",
            answer.told.len(),
            answer.departments
        );
        for told in &answer.told {
            text = format!("{text}\n  {}: {} statements, {}", told.department, told.size, moment(told.at_ms));
        }
    }
    if !answer.events.is_empty() {
        let mut table = Table::new();
        table.load_style(UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()));
        table.set_header(["when", "what", "statements", "officer", "detail"]);
        for event in &answer.events {
            // What a node holds may be a whole note: the first line tells enough here.
            let detail = event.detail.lines().next().unwrap_or_default();
            let size = event.size.to_string();
            table.add_row([moment(event.at_ms).as_str(), &event.what, &size, &event.officer, detail]);
        }
        text = format!("{text}\n{}", table.trim_fmt());
    }
    Ok(Shown { json, text })
}

pub(super) fn catching_up_json(behind: &CatchingUp) -> Value {
    json!({
        "since_ms": behind.since_ms,
        "cause": behind.cause,
        "statements": behind.size,
        "wanted": behind.wanted,
    })
}

pub(super) fn catching_up_text(behind: &CatchingUp) -> String {
    let since = moment(behind.since_ms);
    let size = behind.size;
    match (behind.cause.as_str(), behind.wanted) {
        ("listening", _) => format!("not yet: since {since} it listens to what nodes saw"),
        ("contradicted", _) => {
            format!("no, since {since}: the log's key has signed another history than the {size} statements here")
        }
        (_, wanted) if wanted > size => {
            format!("no, since {since}: it holds {size} statements, and its log signed for {wanted}")
        }
        _ => format!(
            "no, since {since}: it was restored with {size} statements, and waits for nodes to tell what they saw"
        ),
    }
}

pub(super) async fn resume(cli: &Cli, arguments: &ResumeArguments) -> Result<Shown, Failure> {
    let request = ResumeLogRequest { officer: arguments.officer.clone(), reason: arguments.reason.clone() };
    let resumed = RegistryHistoryClient::new(channel(cli).await?).resume_log(request).await?.into_inner();
    let json = json!({ "statements": resumed.size, "officer": arguments.officer, "reason": arguments.reason });
    let facts = [
        ("goes on with", format!("{} statements", resumed.size)),
        ("decided by", arguments.officer.clone()),
        ("reason", arguments.reason.clone()),
    ];
    Ok(Shown::facts(&facts, json))
}

pub(super) async fn import(channel: Channel, path: &Path) -> Result<Shown, Failure> {
    let failed = |error: std::io::Error| Failure::Failed(format!("cannot read {}: {error}", path.display()));
    let mut file = tokio::fs::File::open(path).await.map_err(failed)?;
    let (sender, pieces) = tokio::sync::mpsc::channel(PIECES_WAITING);
    let reading = tokio::spawn(async move {
        loop {
            let mut bytes = vec![0; CHUNK_BYTES];
            let length = file.read(&mut bytes).await?;
            bytes.truncate(length);
            if length == 0 || sender.send(ViewChunk { bytes }).await.is_err() {
                return Ok::<_, std::io::Error>(());
            }
        }
    });
    let answer = RegistryHistoryClient::new(channel).import_directory(ReceiverStream::new(pieces)).await?.into_inner();
    reading.await.map_err(Failure::failed)?.map_err(failed)?;
    if let Some(refusal) = answer.refused {
        let message = format!("{}: {}; {}", refusal.code, refusal.message, refusal.next_step);
        return Err(Failure::Refused { code: refusal.code, field: refusal.field, message });
    }
    let json = json!({ "added": answer.added, "statements": answer.size });
    let facts = [("new statements", answer.added.to_string()), ("statements", answer.size.to_string())];
    Ok(Shown::facts(&facts, json))
}
