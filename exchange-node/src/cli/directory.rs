//! `directory`: the node's view of the directory: how old it is and who vouches for it, what was found wrong, and carrying
//! it by hand. Out of scope: what stands in it.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use clap::Subcommand;
use host::chunks::CHUNK_BYTES;
use proto::admin::v1::{
    ExportViewRequest, ListViewFindingsRequest, SettleFindingRequest, ShowViewRequest, ShowViewResponse, ViewChunk,
    ViewFinding, directory_view_client::DirectoryViewClient,
};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use super::{
    Error, Exit,
    node::Folder,
    output::{self, Output},
};
use crate::view;

/// The commands about the view of the directory.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Shows how old the view is, until when it is good, and which departments' witnesses vouch for it.
    #[command(after_help = "Example:\n  exchange-node directory show")]
    Show,
    /// Writes the view to a file, for a node that cannot reach the registry. That node verifies it like anything from
    /// the registry.
    #[command(after_help = "Example:\n  exchange-node directory export -o ninghe.directory")]
    Export {
        /// The file to write; it must not exist.
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        /// Leaves out what the other node has: the number of statements in its view (`directory show`).
        #[arg(long, value_name = "SIZE", default_value_t = 0)]
        from: u64,
    },
    /// Takes a file that a registry or another node exported: the view grows, and is as old as the file's checkpoint.
    #[command(after_help = "Example:\n  exchange-node directory import ninghe.directory")]
    Import {
        /// The file.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Lists what was found wrong with the registry or the directory, and where the evidence lies.
    #[command(after_help = "Example:\n  exchange-node directory findings")]
    Findings,
    /// Notes how a finding was settled. Its evidence stays; `doctor` no longer tells it.
    #[command(
        after_help = "Example:\n  exchange-node directory settle rollback-5b0a2c4e --note \"the authority had restored an old backup; letter 12 of 2026\""
    )]
    Settle {
        /// The finding's id.
        #[arg(value_name = "ID")]
        id: String,
        /// How it was settled.
        #[arg(long, value_name = "TEXT")]
        note: String,
    },
}

pub(super) async fn run(command: Command, folder: &Folder, output: Output) -> Result<Exit, Error> {
    let client = DirectoryViewClient::new(folder.channel().await?);
    match command {
        Command::Show => show(client, output).await,
        Command::Export { output: file, from } => export(client, &file, from, output).await,
        Command::Import { file } => import(client, &file, output).await,
        Command::Findings => findings(client, output).await,
        Command::Settle { id, note } => settle(client, id, note, output).await,
    }
}

async fn show(mut client: DirectoryViewClient<Channel>, output: Output) -> Result<Exit, Error> {
    let shown = client.show(ShowViewRequest {}).await?.into_inner();
    output.show(&show_json(&shown), || show_text(&shown));
    Ok(Exit::Done)
}

fn show_json(shown: &ShowViewResponse) -> Value {
    let witnesses = shown.witnesses.iter().map(|witness| {
        json!({
            "department": witness.department,
            "node": witness.node,
            "cosigned_ms": witness.cosigned_ms,
            "size": witness.size,
        })
    });
    json!({
        "size": shown.size,
        "root": shown.root,
        "state": shown.state,
        "vouched_ms": shown.vouched_ms,
        "log_vouched_ms": shown.log_vouched_ms,
        "expires_ms": shown.expires_ms,
        "lifetime_ms": shown.lifetime_ms,
        "witnesses_required": shown.witnesses_required,
        "witnesses": witnesses.collect::<Vec<_>>(),
        "registry_reachable": shown.registry_reachable,
        "registry_catching_up": shown.registry_catching_up.as_ref().map(|behind| json!({
            "since_ms": behind.since_ms,
            "cause": behind.cause,
            "statements": behind.size,
            "wanted": behind.wanted,
        })),
        "findings": shown.findings,
        "now_ms": shown.now_ms,
        "log_key": shown.log_key,
        "checkpoint": shown.checkpoint,
    })
}

fn show_text(shown: &ShowViewResponse) -> String {
    let reachable = match (&shown.registry_catching_up, shown.registry_reachable) {
        (Some(behind), true) => format!("reachable, and signs nothing: {}", view::in_words(behind)),
        (None, true) => "reachable".to_owned(),
        (_, false) => "not reachable".to_owned(),
    };
    let required = match shown.witnesses_required {
        0 => "none required; the registry's own word counts".to_owned(),
        required => format!("{required} departments required; theirs is the word that counts"),
    };
    let findings = match shown.findings {
        0 => String::new(),
        count => format!("{count}: see `exchange-node directory findings`"),
    };
    let text = output::pairs([
        ("statements", shown.size.to_string()),
        ("root", shown.root.clone()),
        ("state", shown.state.clone()),
        ("vouched for", output::moment(shown.vouched_ms)),
        ("by the registry", output::moment(shown.log_vouched_ms)),
        ("good until", output::moment(shown.expires_ms)),
        ("registry", reachable),
        ("witnesses", required),
        ("findings", findings),
        ("log key", shown.log_key.clone()),
    ]);
    let rows = shown.witnesses.iter().map(|witness| {
        let (department, node) = (witness.department.clone(), witness.node.clone());
        [department, node, output::moment(witness.cosigned_ms), witness.size.to_string()]
    });
    if shown.witnesses.is_empty() {
        return text;
    }
    format!("{text}\n{}", output::table(["witness", "node", "cosigned", "statements"], rows))
}

async fn export(
    mut client: DirectoryViewClient<Channel>,
    path: &Path,
    from: u64,
    output: Output,
) -> Result<Exit, Error> {
    let failed = |source: io::Error| Error::FileUnusable { doing: "write", path: path.to_owned(), source };
    if path.exists() {
        return Err(Error::Usage(format!("{} exists already: nothing was changed", path.display())));
    }
    let mut pieces = client.export(ExportViewRequest { from }).await?.into_inner();
    let writing = async {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path).map_err(failed)?;
        let mut bytes = 0_u64;
        while let Some(piece) = pieces.message().await? {
            file.write_all(&piece.bytes).map_err(failed)?;
            bytes += piece.bytes.len() as u64;
        }
        file.sync_all().map_err(failed)?;
        Ok::<_, Error>(bytes)
    };
    let bytes = match writing.await {
        Ok(bytes) => bytes,
        Err(error) => {
            // Half a view is of no use to anybody.
            let _ = std::fs::remove_file(path);
            return Err(error);
        }
    };
    let file = path.display().to_string();
    output.show(&json!({ "file": file, "bytes": bytes }), || {
        format!(
            "{file} holds the view ({}). At the other node: exchange-node directory import {file}",
            output::bytes(bytes)
        )
    });
    Ok(Exit::Done)
}

async fn import(mut client: DirectoryViewClient<Channel>, path: &Path, output: Output) -> Result<Exit, Error> {
    let failed = |source: io::Error| Error::FileUnusable { doing: "read", path: path.to_owned(), source };
    let mut file = tokio::fs::File::open(path).await.map_err(failed)?;
    let (sender, pieces) = tokio::sync::mpsc::channel(4);
    let reading = tokio::spawn(async move {
        loop {
            let mut bytes = vec![0; CHUNK_BYTES];
            let length = file.read(&mut bytes).await?;
            bytes.truncate(length);
            if length == 0 || sender.send(ViewChunk { bytes }).await.is_err() {
                return Ok::<_, io::Error>(());
            }
        }
    });
    let answer = client.import(ReceiverStream::new(pieces)).await?.into_inner();
    reading.await.map_err(|error| Error::Usage(error.to_string()))?.map_err(failed)?;
    if let Some(refusal) = answer.refused {
        return Err(Error::Refused(refusal));
    }
    let machine = json!({
        "added": answer.added,
        "size": answer.size,
        "vouched_ms": answer.vouched_ms,
        "younger_ms": answer.younger_ms,
        "state": answer.state,
    });
    output.show(&machine, || {
        let vouched = output::moment(answer.vouched_ms);
        if answer.added == 0 && answer.younger_ms == 0 {
            return format!(
                "The file is older than this node's view: nothing was changed. The view is {}.",
                answer.state
            );
        }
        format!(
            "{} statements are new, {} in all; the view is vouched for as of {vouched}, and is {}.",
            answer.added, answer.size, answer.state
        )
    });
    Ok(Exit::Done)
}

async fn findings(mut client: DirectoryViewClient<Channel>, output: Output) -> Result<Exit, Error> {
    let findings = client.list_findings(ListViewFindingsRequest {}).await?.into_inner().findings;
    let machine: Vec<Value> = findings.iter().map(finding_json).collect();
    output.show(&json!({ "findings": machine }), || match findings.as_slice() {
        [] => "Nothing was found wrong with the registry or the directory.".to_owned(),
        findings => findings.iter().map(finding_text).collect::<Vec<_>>().join("\n"),
    });
    Ok(Exit::Done)
}

fn finding_json(finding: &ViewFinding) -> Value {
    json!({
        "id": finding.id,
        "kind": finding.kind,
        "what": finding.what,
        "source": finding.source,
        "first_ms": finding.first_ms,
        "last_ms": finding.last_ms,
        "folder": finding.folder,
        "files": finding.files,
        "settled": finding.settled,
    })
}

fn finding_text(finding: &ViewFinding) -> String {
    output::pairs([
        ("finding", finding.id.clone()),
        ("what", finding.what.clone()),
        ("said by", finding.source.clone()),
        ("first seen", output::moment(finding.first_ms)),
        ("last seen", output::moment(finding.last_ms)),
        ("evidence", finding.folder.clone()),
        ("files", finding.files.join(", ")),
        ("settled", finding.settled.clone()),
    ])
}

async fn settle(
    mut client: DirectoryViewClient<Channel>,
    id: String,
    note: String,
    output: Output,
) -> Result<Exit, Error> {
    client.settle_finding(SettleFindingRequest { id: id.clone(), note: note.clone() }).await?;
    output.show(&json!({ "id": id, "settled": note }), || format!("{id} is settled; its evidence stays."));
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_is_shown_with_who_vouches_for_it() {
        let shown = ShowViewResponse {
            size: 7,
            state: "ageing".into(),
            witnesses_required: 2,
            findings: 1,
            witnesses: vec![proto::admin::v1::WitnessTime { department: "housing".into(), ..Default::default() }],
            ..Default::default()
        };
        let text = show_text(&shown);
        for part in ["ageing", "2 departments required", "housing", "directory findings"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(show_json(&shown)["witnesses"][0]["department"], "housing");
        let finding = ViewFinding { id: "fork-00112233".into(), what: "two stories".into(), ..Default::default() };
        assert!(finding_text(&finding).contains("two stories"));
        assert_eq!(finding_json(&finding)["id"], "fork-00112233");
    }
}
