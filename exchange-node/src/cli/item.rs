//! `item`: public service items with their guides, from a file to the directory, and what should be put right in them.
//! Checking a file needs no running node; whether its services answer is the running node's to say.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Subcommand;
use data_encoding::HEXLOWER;
use proto::{
    admin::v1::{
        DescribeItemRequest, ItemFindingsRequest, ItemGraphRequest, ItemState, ListItemsRequest, ShowItemRequest,
        items_client::ItemsClient,
    },
    registry::v1::{ItemPublished, ProofRequirement, SampleFile},
};
use serde_json::{Value, json};
use tonic::transport::Channel;
use trust::{item, service::words};

use super::{
    Error, Exit,
    node::Folder,
    output::{self, Output},
};
use crate::item_file;

/// Public service items.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Writes an item file to begin with.
    #[command(after_help = "Example:\n  exchange-node item new 入学")]
    New {
        /// The item's id.
        #[arg(value_name = "ITEM")]
        item: String,
        /// Where to write it; without it the item's id with .yaml. A file that exists is never overwritten.
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Checks an item file: everything that is wrong, with lines. With a running node, also beside the directory.
    #[command(after_help = "Example:\n  exchange-node item check 公租房申请.yaml")]
    Check {
        /// The file.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Looks at the file alone, without the running node.
        #[arg(long)]
        offline: bool,
    },
    /// Publishes an item, or its next version.
    #[command(after_help = "Example:\n  exchange-node item publish 公租房申请.yaml")]
    Publish {
        /// The file.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Lists the items of the directory.
    #[command(after_help = "Example:\n  exchange-node item list --department housing")]
    List {
        /// Only this department's.
        #[arg(long, value_name = "DEPARTMENT", default_value = "", hide_default_value = true)]
        department: String,
    },
    /// Shows an item with its guide, as it is in force or in an older version.
    #[command(after_help = "Example:\n  exchange-node item show 公租房申请 --item-version 1")]
    Show {
        /// The item.
        #[arg(value_name = "ITEM")]
        item: String,
        /// The department; without it the own one.
        #[arg(long, value_name = "DEPARTMENT", default_value = "", hide_default_value = true)]
        department: String,
        /// The version; without it the one in force.
        #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
        item_version: u32,
    },
    /// What items still ask for although a service answers it, and what no service answers any more.
    #[command(after_help = "Example:\n  exchange-node item findings")]
    Findings {
        /// Only this department's.
        #[arg(long, value_name = "DEPARTMENT", default_value = "", hide_default_value = true)]
        department: String,
    },
    /// Draws items, the papers they ask for, and the items that issue those.
    #[command(after_help = "Example:\n  exchange-node item graph --format mermaid")]
    Graph {
        /// Only what this item leads to.
        #[arg(value_name = "ITEM", default_value = "", hide_default_value = true)]
        item: String,
        /// dot (Graphviz) or mermaid.
        #[arg(long, value_name = "FORMAT", default_value = "dot", value_parser = ["dot", "mermaid"])]
        format: String,
    },
}

pub(super) async fn run(command: Command, folder: &Folder, output: Output) -> Result<Exit, Error> {
    match command {
        Command::New { item, output: file } => new(&item, file, output),
        Command::Check { file, offline } => check(&file, offline, folder, output).await,
        Command::Publish { file } => describe(&file, true, folder, output).await,
        Command::List { department } => {
            let items = client(folder).await?.list(ListItemsRequest { department }).await?.into_inner().items;
            output.show(&json!({ "items": items.iter().map(to_json).collect::<Vec<_>>() }), || {
                if items.is_empty() {
                    return "The directory has no such items.".to_owned();
                }
                output::table(
                    ["department", "item", "version", "name", "proofs", "days", "in force from"],
                    items.iter().map(row),
                )
            });
            Ok(Exit::Done)
        }
        Command::Show { item, department, item_version: version } => {
            let request = ShowItemRequest { department, item, version };
            let shown = client(folder).await?.show(request).await?.into_inner();
            output.show(&to_json(&shown), || details(&shown));
            Ok(Exit::Done)
        }
        Command::Findings { department } => findings(department, folder, output).await,
        Command::Graph { item, format } => {
            let request = ItemGraphRequest { item, format };
            let text = client(folder).await?.graph(request).await?.into_inner().text;
            output.show(&json!({ "graph": text }), || text.clone());
            Ok(Exit::Done)
        }
    }
}

async fn client(folder: &Folder) -> Result<ItemsClient<Channel>, Error> {
    Ok(ItemsClient::new(folder.channel().await?).max_decoding_message_size(32 * 1024 * 1024))
}

fn new(item: &str, file: Option<PathBuf>, output: Output) -> Result<Exit, Error> {
    let file = file.unwrap_or_else(|| PathBuf::from(format!("{item}.yaml")));
    let name = file.display().to_string();
    let unusable = |source| Error::FileUnusable { doing: "write", path: file.clone(), source };
    let mut new = fs::OpenOptions::new().write(true).create_new(true).open(&file).map_err(unusable)?;
    let text = item_file::template(item, &name);
    std::io::Write::write_all(&mut new, text.as_bytes()).map_err(unusable)?;
    output.show(&json!({ "file": name }), || {
        format!("{name} is written. Fill in what is empty, and then: exchange-node item check {name}")
    });
    Ok(Exit::Done)
}

fn read(file: &Path) -> Result<ItemPublished, Error> {
    let text = fs::read_to_string(file).map_err(|source| Error::FileUnusable {
        doing: "read",
        path: file.to_owned(),
        source,
    })?;
    item_file::parse_beside(&text, &file.display().to_string(), file.parent()).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Error::FileWrong(lines.join("\n"))
    })
}

async fn check(file: &Path, offline: bool, folder: &Folder, output: Output) -> Result<Exit, Error> {
    let read = read(file)?;
    if !offline && folder.path().is_ok() {
        return describe(file, false, folder, output).await;
    }
    let name = file.display().to_string();
    output.show(&json!({ "item": read.item, "checked": "file" }), || {
        format!("{name} is whole. Whether its services answer is checked where a node runs (--dir).")
    });
    Ok(Exit::Done)
}

async fn describe(file: &Path, publish: bool, folder: &Folder, output: Output) -> Result<Exit, Error> {
    let item = read(file)?;
    let name = item.item.clone();
    let request = DescribeItemRequest { item: Some(item), publish };
    let response = client(folder).await?.describe(request).await?.into_inner();
    let statement = response.statement.unwrap_or_default();
    if let Some(refusal) = statement.refused {
        for wrong in &response.wrong {
            output.say(&format!("{}: {wrong}", file.display()));
        }
        return Err(Error::Refused(refusal));
    }
    let machine = json!({
        "item": name,
        "version": response.version,
        "effective_from_ms": response.effective_from_ms,
        "published": publish,
        "index": statement.index,
        "object": statement.object,
    });
    output.show(&machine, || {
        let from = output::moment(response.effective_from_ms);
        match publish {
            true => format!("{name} is published in version {} and holds from {from}.", response.version),
            false => format!("{name} can be published; it would be version {}.", response.version),
        }
    });
    Ok(Exit::Done)
}

async fn findings(department: String, folder: &Folder, output: Output) -> Result<Exit, Error> {
    let request = ItemFindingsRequest { department };
    let findings = client(folder).await?.findings(request).await?.into_inner().findings;
    let machine: Vec<Value> = findings
        .iter()
        .map(|finding| {
            json!({
                "department": finding.department,
                "item": finding.item,
                "version": finding.version,
                "proof": finding.proof,
                "kind": finding.kind,
                "services": finding.services,
            })
        })
        .collect();
    output.show(&json!({ "findings": machine }), || {
        if findings.is_empty() {
            return "Nothing to put right.".to_owned();
        }
        let rows = findings.iter().map(|finding| {
            let what = match finding.kind.as_str() {
                "now_obtainable" => "is still asked for, and can be had from",
                _ => "is answered no more by",
            };
            [
                finding.department.clone(),
                format!("{} v{}", finding.item, finding.version),
                finding.proof.clone(),
                format!("{what} {}", finding.services.join(", ")),
            ]
        });
        output::table(["department", "item", "proof", "what"], rows)
    });
    Ok(Exit::Done)
}

fn row(state: &ItemState) -> [String; 7] {
    let item = state.item.clone().unwrap_or_default();
    [
        item.department.clone(),
        item.item.clone(),
        item.version.to_string(),
        item.name.unwrap_or_default().en,
        item.proofs.len().to_string(),
        item.time_limit_working_days.unwrap_or(0).to_string(),
        output::moment(item.effective_from_ms),
    ]
}

fn to_json(state: &ItemState) -> Value {
    let item = state.item.clone().unwrap_or_default();
    let name = item.name.clone().unwrap_or_default();
    json!({
        "department": item.department,
        "item": item.item,
        "version": item.version,
        "versions": state.versions,
        "in_force": state.in_force,
        "statement": state.statement,
        "effective_from_ms": item.effective_from_ms,
        "name": { "zh": name.zh, "en": name.en },
        "code": item.code,
        "legal_basis": item.legal_bases.iter().map(words::basis).collect::<Vec<_>>(),
        "accepting_unit": item.accepting_unit,
        "steps": item.steps.iter().map(|step| json!({
            "step": step.step, "actor": step.actor, "working_days": step.working_days,
        })).collect::<Vec<_>>(),
        "samples": item.samples,
        "sample_files": item.sample_files.iter().map(|sample| json!({
            "kind": sample.kind, "name": sample.name, "sha256": HEXLOWER.encode(&sample.sha256),
        })).collect::<Vec<_>>(),
        "fees": item.fees,
        "time_limit_working_days": item.time_limit_working_days,
        "contact": item.contact,
        "issues": item.issues,
        "commitments_excluded": item.commitments_excluded,
        "proofs": item.proofs.iter().map(proof_json).collect::<Vec<_>>(),
    })
}

fn proof_json(proof: &ProofRequirement) -> Value {
    json!({
        "proof": proof.proof,
        "about": item::about(proof),
        "legal_basis": proof.legal_bases.iter().map(words::basis).collect::<Vec<_>>(),
        "issuing_unit": proof.issuing_unit,
        "answered_by": proof.answered_by,
        "version": proof.major_version,
        "claim": proof.claim.as_ref().map(|claim| json!({
            "attribute": claim.attribute,
            "operator": claim.operator,
            "value": claim.operands.iter().map(item_file::value_text).collect::<Vec<_>>(),
            "stated": proof.stated,
            "value_from": proof.value_from,
        })),
        "gives": proof.gives,
        "optional": proof.optional,
        "commitment": proof.commitment_allowed,
        // 免提交
        "not_to_be_submitted": !proof.answered_by.is_empty(),
    })
}

fn details(state: &ItemState) -> String {
    let item = state.item.clone().unwrap_or_default();
    let name = item.name.clone().unwrap_or_default();
    let in_force = if state.in_force { "in force" } else { "not in force" };
    let steps = item.steps.iter().map(|step| format!("{} ({}, {} d)", step.step, step.actor, step.working_days));
    let file =
        |sample: &SampleFile| format!("{} ({}, SHA-256 {})", sample.name, sample.kind, HEXLOWER.encode(&sample.sha256));
    let samples = item.samples.iter().cloned().chain(item.sample_files.iter().map(file));
    let facts = output::pairs([
        ("item", format!("{}/{}", item.department, item.item)),
        ("name", format!("{} {}", name.zh, name.en)),
        ("version", format!("{} ({in_force}) of {:?}", item.version, state.versions)),
        ("from", output::moment(item.effective_from_ms)),
        ("legal basis", item.legal_bases.iter().map(words::basis).collect::<Vec<_>>().join("; ")),
        ("accepted by", item.accepting_unit.clone()),
        ("steps", steps.collect::<Vec<_>>().join(" → ")),
        ("samples", samples.collect::<Vec<_>>().join("; ")),
        ("fees", item.fees.clone()),
        ("time limit", format!("{} working days", item.time_limit_working_days.unwrap_or(0))),
        ("contact", item.contact.clone()),
        ("issues", item.issues.join(", ")),
        ("no commitments", item.commitments_excluded.clone()),
    ]);
    let rows = item.proofs.iter().map(|proof| {
        let from = if proof.answered_by.is_empty() {
            "on paper".to_owned()
        } else {
            format!("免提交: {}", proof.answered_by)
        };
        let commitment = if proof.commitment_allowed { "may be committed to" } else { "" };
        let optional = if proof.optional { "optional" } else { "" };
        [
            proof.proof.clone(),
            item::about(proof).to_owned(),
            from,
            proof.legal_bases.iter().map(words::basis).collect::<Vec<_>>().join("; "),
            [optional, commitment].join(" ").trim().to_owned(),
        ]
    });
    format!("{facts}\n{}", output::table(["proof", "about", "from", "legal basis", ""], rows))
}
