//! `backup` and `restore` of a node. A backup is made of the running node; a restore needs none. Out of scope: the backup of
//! keys (`keys`), and what is in the file (`crate::backup`).

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use clap::Args;
use proto::admin::v1::{NodeBackupRequest, node_history_client::NodeHistoryClient};
use serde_json::json;

use super::{Error, Exit, node::Folder, output::Output};
use crate::backup;

/// A piece of a backup may be as large.
const LARGEST_PIECE: usize = 4 * 1024 * 1024;

/// What `backup` needs.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// The file to write; one that exists is not overwritten.
    #[arg(short, long = "output", value_name = "FILE")]
    pub output: PathBuf,
    /// Leaves the records out; they are imported again after a restore.
    #[arg(long)]
    pub without_records: bool,
}

/// What `restore` needs.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// The backup. It is restored into the folder that --dir names, which must be empty but for its keys.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Refuses a backup of another department.
    #[arg(long, value_name = "ID")]
    pub department: Option<String>,
}

/// What is never in a backup.
const NOT_IN_IT: &str = "Not in it: the signing keys (they have a backup of their own: `keys backup`), and the months' keys of the evidence in keys/months (destroying one must erase its month for good, out of every backup too; who wants to read old messages after a disk is lost keeps that folder on another medium, and destroys its keys there too), and webhooks, which hold secrets (add them again after a restore).";

pub(super) async fn backup(args: &BackupArgs, folder: &Folder, output: Output) -> Result<Exit, Error> {
    let file = &args.output;
    let unwritable = |source| Error::FileUnusable { doing: "write", path: file.clone(), source };
    if file.exists() {
        return Err(Error::Usage(format!("{} exists already: nothing was changed", file.display())));
    }
    let mut client = NodeHistoryClient::new(folder.channel().await?).max_decoding_message_size(LARGEST_PIECE);
    let request = NodeBackupRequest { without_records: args.without_records };
    let mut pieces = client.backup(request).await?.into_inner();
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let unfinished = file.with_file_name(name);
    // What a command that was interrupted left behind.
    let _ = fs::remove_file(&unfinished);
    let target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished);
    let mut target = target.map_err(unwritable)?;
    let mut bytes = 0_u64;
    let copied = async {
        while let Some(piece) = pieces.message().await? {
            target.write_all(&piece.bytes).map_err(unwritable)?;
            bytes += piece.bytes.len() as u64;
        }
        target.sync_all().map_err(unwritable)
    };
    if let Err(error) = copied.await {
        let _ = fs::remove_file(&unfinished);
        return Err(error);
    }
    finish(&unfinished, file).map_err(unwritable)?;
    let records = !args.without_records;
    let machine = json!({
        "file": file,
        "bytes": bytes,
        "records": records,
        "not_in_it": ["signing keys", "months' keys"],
    });
    output.show(&machine, || {
        let records = match records {
            true => "the records, as readable as on this machine: keep the file as safe",
            false => "no records: import them again after a restore",
        };
        format!(
            "{} holds the evidence, the view of the directory, the configuration, office keys, waiting decisions, the table of former numbers, who looked up whom, events, and {records} ({bytes} bytes).\n{NOT_IN_IT}",
            file.display()
        )
    });
    Ok(Exit::Done)
}

/// Gives the whole file its name, down to the disk.
fn finish(unfinished: &Path, file: &Path) -> io::Result<()> {
    fs::rename(unfinished, file)?;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(folder)?.sync_all()
}

pub(super) async fn restore(args: &RestoreArgs, folder: &Folder, output: Output, now_ms: u64) -> Result<Exit, Error> {
    let dir = folder.given().ok_or_else(|| Error::Usage("--dir: say into which new folder".to_owned()))?;
    let restored = backup::restore(&args.file, dir, args.department.as_deref(), now_ms).await.map_err(wrong)?;
    let manifest = &restored.manifest;
    let machine = json!({
        "of": manifest.of(),
        "dir": dir,
        "made_ms": manifest.made_ms,
        "log": manifest.log,
        "entries": restored.entries,
        "statements": restored.statements,
        "records": manifest.records,
    });
    output.show(&machine, || {
        let dir = dir.display();
        let records = match manifest.records {
            true => "",
            false => "\n4. Import the records again: the backup has none.",
        };
        format!(
            "Restored {} into {dir}: {} entries of evidence, each read again, and {} statements of the directory.\n\
             1. Bring the signing keys back: exchange-node keys restore BACKUP --dir {dir}\n\
             2. Where you keep the months' keys elsewhere, copy them into {dir}/keys/months; without them old messages stay closed, and the log still verifies.\n\
             3. Start the node. It asks and answers nothing until it has compared its evidence with the registry and with its partners: `exchange-node status` says how far that is.{records}",
            manifest.of(),
            restored.entries,
            restored.statements,
        )
    });
    Ok(Exit::Done)
}

fn wrong(error: backup::Error) -> Error {
    match error {
        backup::Error::FolderNotEmpty { .. } | backup::Error::OfAnother { .. } => Error::Usage(error.to_string()),
        error => Error::FileWrong(error.to_string()),
    }
}
