//! `registry directory`: the directory carried by hand, and its witnesses. Out of scope: reading what stands in it.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use comfy_table::{LineStyle, Table, presets::UTF8_HORIZONTAL_ONLY};
use host::files::PUBLIC_MODE;
use proto::admin::v1::{self as wire, directory_kept_client::DirectoryKeptClient};
use serde_json::json;
use tonic::transport::Channel;

use super::operate::{Failure, Shown, moment};

/// `registry directory …`.
#[derive(Debug, Subcommand)]
pub enum DirectoryCommand {
    /// Write the directory to a file, for a node that cannot reach the registry: a tar of a C2SP checkpoint and entries.
    /// The node verifies it like anything from the registry.
    #[command(after_help = "Example:\n  registry directory export -o ninghe.directory")]
    Export(ExportArguments),
    /// Take statements that a restored registry lacks from a file that a node exported (`exchange-node directory export`).
    #[command(after_help = "Example:\n  registry directory import housing.directory")]
    Import {
        /// The file.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Who cosigned the directory lately, and how many the profile requires.
    #[command(after_help = "Example:\n  registry directory witnesses")]
    Witnesses,
}

/// `registry directory export`.
#[derive(Args, Debug)]
pub struct ExportArguments {
    /// The file to write; it must not exist.
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// Leave out what the node has: the number of statements in its view (`exchange-node directory show`).
    #[arg(long, value_name = "SIZE", default_value_t = 0)]
    pub from: u64,
}

pub(super) async fn run(command: &DirectoryCommand, channel: Channel) -> Result<Shown, Failure> {
    match command {
        DirectoryCommand::Export(arguments) => export(DirectoryKeptClient::new(channel), arguments).await,
        DirectoryCommand::Import { file } => super::backup::import(channel, file).await,
        DirectoryCommand::Witnesses => witnesses(DirectoryKeptClient::new(channel)).await,
    }
}

async fn export(mut client: DirectoryKeptClient<Channel>, arguments: &ExportArguments) -> Result<Shown, Failure> {
    let path = &arguments.output;
    if path.exists() {
        return Err(Failure::Usage(format!("{} exists already: nothing was changed", path.display())));
    }
    let mut pieces = client.export(wire::ExportViewRequest { from: arguments.from }).await?.into_inner();
    let mut written = NewFile::create(path)?;
    while let Some(piece) = pieces.message().await? {
        written.add(&piece.bytes)?;
    }
    let bytes = written.finish()?;
    let shown = path.display().to_string();
    let json = json!({ "file": shown, "bytes": bytes });
    let next = format!("exchange-node directory import {shown}");
    Ok(Shown::facts(&[("file", shown), ("bytes", bytes.to_string()), ("next, at the node", next)], json))
}

/// A file that comes in pieces. Half of one is of no use to anybody: unless it is finished, it is removed.
pub(super) struct NewFile {
    path: PathBuf,
    file: File,
    bytes: u64,
    finished: bool,
}

impl NewFile {
    /// A file that must not exist, for everybody to read.
    fn create(path: &Path) -> Result<Self, Failure> {
        Self::with_mode(path, PUBLIC_MODE)
    }

    /// A file that must not exist.
    pub(super) fn with_mode(path: &Path, mode: u32) -> Result<Self, Failure> {
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
        Ok(Self { path: path.to_owned(), file: file.map_err(failed(path))?, bytes: 0, finished: false })
    }

    /// Adds a piece.
    pub(super) fn add(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.bytes += bytes.len() as u64;
        self.file.write_all(bytes).map_err(failed(&self.path))
    }

    /// It is whole, and on the disk; its length.
    pub(super) fn finish(mut self) -> Result<u64, Failure> {
        self.file.sync_all().map_err(failed(&self.path))?;
        self.finished = true;
        Ok(self.bytes)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.finished {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn failed(path: &Path) -> impl Fn(std::io::Error) -> Failure {
    let path = path.display().to_string();
    move |error| Failure::Failed(format!("cannot write {path}: {error}"))
}

async fn witnesses(mut client: DirectoryKeptClient<Channel>) -> Result<Shown, Failure> {
    let answer = client.list_witnesses(wire::ListWitnessesRequest {}).await?.into_inner();
    let machine: Vec<_> = answer
        .witnesses
        .iter()
        .map(|witness| {
            json!({
                "department": witness.department,
                "node": witness.node,
                "cosigned_ms": witness.cosigned_ms,
                "size": witness.size,
            })
        })
        .collect();
    let json = json!({ "witnesses": machine, "required": answer.required, "departments": answer.departments });
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()));
    table.set_header(["department", "node", "cosigned", "statements"]);
    for witness in &answer.witnesses {
        let size = witness.size.to_string();
        table.add_row([&witness.department, &witness.node, &moment(witness.cosigned_ms), &size]);
    }
    let required = match answer.required {
        0 => "The profile requires no witnesses.".to_owned(),
        required => format!("The profile requires witnesses of {required} departments."),
    };
    Ok(Shown { json, text: format!("{}\n{required}", table.trim_fmt()) })
}
