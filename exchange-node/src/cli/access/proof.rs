//! Who agreed to what: shown, written into a file, and checked offline. Out of scope: the checks (`trust::bundle::access`).

use std::path::PathBuf;

use clap::Args;
use host::files;
use proto::admin::v1::ExportAccessRequest;
use serde_json::{Value, json};
use trust::bundle::{
    Finding,
    access::{self, AccessReport, Said},
};

use super::super::{
    Error, Exit, evidence,
    node::Folder,
    output::{self, Output},
};
use crate::config::{self, Config};

/// What `access export` needs.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The application's id.
    #[arg(value_name = "ID")]
    id: String,
    /// The file to write; one that exists is not overwritten.
    #[arg(short, long = "output", value_name = "FILE")]
    output: PathBuf,
}

/// What `access verify` needs.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The proof.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The authority's public key: 64 hex digits, or a file that holds them.
    #[arg(long, value_name = "KEY")]
    authority: String,
}

pub(super) async fn show(id: &str, folder: &Folder, output: Output) -> Result<Exit, Error> {
    let (_, report) = proof(id, folder).await?;
    told(output, &report, &json!({ "proof": report_json(&report) }))
}

pub(super) async fn export(args: &ExportArgs, folder: &Folder, output: Output) -> Result<Exit, Error> {
    let (proof, report) = proof(&args.id, folder).await?;
    // It holds no personal data, and is made to be handed on.
    files::create_file(&args.output, &proof, files::PUBLIC_MODE).map_err(evidence::unwritable)?;
    let machine = json!({
        "id": args.id,
        "file": args.output,
        "bytes": proof.len(),
        "sound": report.is_sound(),
    });
    output.show(&machine, || {
        let sound = if report.is_sound() { ", and it is sound" } else { "" };
        format!("The proof is in {} ({} bytes){sound}.", args.output.display(), proof.len())
    });
    ended(output, &report)
}

pub(super) fn verify(args: &VerifyArgs, output: Output) -> Result<Exit, Error> {
    let report = access::verify(&evidence::read_bundle(&args.file)?, &evidence::authority_key(&args.authority)?);
    told(output, &report, &report_json(&report))
}

async fn proof(id: &str, folder: &Folder) -> Result<(Vec<u8>, AccessReport), Error> {
    let request = ExportAccessRequest { id: id.to_owned() };
    let proof = folder.access().await?.export(request).await?.into_inner().proof;
    let config = Config::load(&folder.path()?.join(config::FILE_NAME))
        .map_err(|error| Error::Usage(format!("the node's configuration names the authority's key: {error}")))?;
    let report = access::verify(&proof, &config.authority_key);
    Ok((proof, report))
}

fn told(output: Output, report: &AccessReport, machine: &Value) -> Result<Exit, Error> {
    output.show(machine, || report_text(report));
    ended(output, report)
}

/// With `--json` standard output holds one value, and what is wrong stands there already.
fn ended(output: Output, report: &AccessReport) -> Result<Exit, Error> {
    let Some(wrong) = report.wrong() else { return Ok(Exit::Done) };
    let error = Error::EvidenceNotSound(format!("{}: {}", wrong.name, finding(&wrong.finding).1));
    if !output.is_json() {
        return Err(error);
    }
    output::complain(&error.to_string());
    Ok(error.exit())
}

fn finding(finding: &Finding) -> (&'static str, &str) {
    match finding {
        Finding::Holds(text) => ("holds", text),
        Finding::NotShown(text) => ("not_shown", text),
        Finding::Wrong(text) => ("wrong", text),
    }
}

fn said_json(said: &Said) -> Value {
    let decision = said.decision.clone().unwrap_or_default();
    json!({
        "index": said.index,
        "digest": said.digest.to_string(),
        "what": said.what,
        "by": said.by.as_str(),
        "key": said.key.to_string(),
        "stated_at_ms": said.stated_at_ms,
        "officer": decision.officer,
        "second_officer": decision.second_officer,
        "document": decision.document,
    })
}

fn report_json(report: &AccessReport) -> Value {
    let checks: Vec<Value> = report
        .checks
        .iter()
        .map(|check| {
            let (found, text) = finding(&check.finding);
            json!({ "name": check.name, "finding": found, "text": text })
        })
        .collect();
    let parties = report.key.as_ref().map(
        |key| json!({ "provider": key.provider.as_str(), "consumer": key.consumer.as_str(), "id": key.id.as_str() }),
    );
    json!({
        "sound": report.is_sound(),
        "wrong": report.wrong().map(|check| &check.name),
        "about": parties,
        "said": report.said.iter().map(said_json).collect::<Vec<_>>(),
        "checks": checks,
    })
}

fn report_text(report: &AccessReport) -> String {
    let mut text = String::new();
    for check in &report.checks {
        let (found, said) = finding(&check.finding);
        let mark = match found {
            "holds" => "holds    ",
            "not_shown" => "not shown",
            _ => "WRONG    ",
        };
        text.push_str(&format!("{mark}  {}: {said}\n", check.name));
    }
    if let (Some(key), true) = (&report.key, report.is_sound()) {
        let rows = report.said.iter().map(|said| {
            let decision = said.decision.clone().unwrap_or_default();
            let officers = [decision.officer, decision.second_officer].join(" ");
            [
                said.index.to_string(),
                said.what.to_owned(),
                said.by.to_string(),
                output::moment(said.stated_at_ms),
                officers.trim().to_owned(),
                decision.document,
            ]
        });
        text.push_str(&output::table(["statement", "what", "by", "when", "officers", "document"], rows));
        text.push_str(&format!("\nSound: {} applied to {}, and each signed what it said.", key.consumer, key.provider));
    }
    text
}
