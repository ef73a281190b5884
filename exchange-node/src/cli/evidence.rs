//! `evidence`: shows and exports what the running node kept of a question, and checks an exported bundle offline, which
//! needs no node at all. Out of scope: the checks themselves (`trust::bundle`), and bundles for other tools (`unpack`).

use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

use clap::Subcommand;
use host::files;
use proto::{
    exchange::v1::{Answer, Request, answer::Outcome},
    office::v1::{ExportEvidenceRequest, ShowRequest},
};
use serde_json::{Value, json};
use trust::{
    bundle::{self, Finding, Report},
    evidence::Receipt,
    key::PublicKey,
};

use super::{
    Error, Exit,
    node::Folder,
    output::{self, Output},
    service, unpack, verify,
};

/// The commands about evidence.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Shows what became of a question, by its receipt.
    #[command(after_help = "Example:\n  exchange-node evidence show 123-9f3a2c1e4b5d6a70")]
    Show {
        /// The receipt.
        #[arg(value_name = "RECEIPT")]
        receipt: Receipt,
    },
    /// Writes the evidence of a question into a file that anybody can check offline.
    #[command(after_help = "Example:\n  exchange-node evidence export 123-9f3a2c1e4b5d6a70 -o GZF-2026-0001.evidence")]
    Export {
        /// The receipt.
        #[arg(value_name = "RECEIPT")]
        receipt: Receipt,
        /// The file to write; one that exists is not overwritten.
        #[arg(short, long = "output", value_name = "FILE")]
        output: PathBuf,
    },
    /// Checks an evidence file with the authority's public key alone. Needs no node and no network.
    #[command(
        after_help = "Example:\n  exchange-node evidence verify GZF-2026-0001.evidence --authority authority.key.pub"
    )]
    Verify {
        /// The evidence file.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The authority's public key: 64 hex digits, or a file that holds them.
        #[arg(long, value_name = "KEY")]
        authority: String,
    },
    /// Writes the parts of an evidence file in the forms that other tools read (DSSE JSON, C2SP notes and proofs).
    #[command(after_help = "Example:\n  exchange-node evidence unpack GZF-2026-0001.evidence -d parts")]
    Unpack {
        /// The evidence file.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The folder to write into; files that exist are not overwritten.
        #[arg(short, long = "directory", value_name = "FOLDER")]
        directory: PathBuf,
    },
}

pub(super) async fn run(command: Command, folder: &Folder, output: Output) -> Result<Exit, Error> {
    match command {
        Command::Show { receipt } => {
            let request = ShowRequest { receipt: receipt.to_string() };
            let shown = folder.office().await?.show(request).await?.into_inner();
            Ok(verify::show(output, &shown))
        }
        Command::Export { receipt, output: file } => export(receipt, &file, folder, output).await,
        Command::Verify { file, authority } => check(&file, &authority, output),
        Command::Unpack { file, directory } => {
            let written = unpack::unpack(&read_bundle(&file)?, &directory)?;
            output.show(&json!({ "directory": directory, "files": written }), || {
                format!(
                    "Written to {} (unchecked; `evidence verify` checks):\n  {}",
                    directory.display(),
                    written.join("\n  ")
                )
            });
            Ok(Exit::Done)
        }
    }
}

async fn export(receipt: Receipt, file: &Path, folder: &Folder, output: Output) -> Result<Exit, Error> {
    let request = ExportEvidenceRequest { receipt: receipt.to_string() };
    let bundle = folder.office().await?.export_evidence(request).await?.into_inner().bundle;
    // It holds the question and the answer in the clear: nobody else's business.
    files::create_file(file, &bundle, files::PRIVATE_MODE).map_err(unwritable)?;
    output.show(&json!({ "receipt": receipt.to_string(), "file": file, "bytes": bundle.len() }), || {
        format!("The evidence of {receipt} is in {} ({} bytes).", file.display(), bundle.len())
    });
    Ok(Exit::Done)
}

pub(super) fn unwritable(error: files::Error) -> Error {
    match error {
        files::Error::Io { path, source, .. } => Error::FileUnusable { doing: "write", path, source },
        other => Error::Usage(other.to_string()),
    }
}

fn read_bundle(file: &Path) -> Result<Vec<u8>, Error> {
    let unreadable = |source| Error::FileUnusable { doing: "read", path: file.to_owned(), source };
    let limit = u64::try_from(bundle::LARGEST_BUNDLE).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    // One byte more than allowed is enough to be refused, however large the file is.
    File::open(file).map_err(unreadable)?.take(limit + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

/// The authority's key, as hex digits or in a file of them.
fn authority_key(text: &str) -> Result<PublicKey, Error> {
    if let Ok(key) = text.parse() {
        return Ok(key);
    }
    let wrong =
        || Error::Usage(format!("--authority {text}: neither a public key of 64 hex digits nor a file that holds one"));
    fs::read_to_string(text).map_err(|_| wrong())?.trim().parse().map_err(|_| wrong())
}

fn check(file: &Path, authority: &str, output: Output) -> Result<Exit, Error> {
    let report = bundle::verify(&read_bundle(file)?, &authority_key(authority)?);
    output.show(&report_json(&report), || report_text(&report));
    match report.wrong() {
        // With --json standard output holds one value, and that is the report.
        Some(wrong) if !output.is_json() => {
            Err(Error::EvidenceNotSound(format!("{}: {}", wrong.name, finding_text(&wrong.finding))))
        }
        Some(_) => Ok(Exit::NotSound),
        None if report.is_sound() => Ok(Exit::Done),
        None => Ok(Exit::NotSound),
    }
}

fn finding_text(finding: &Finding) -> &str {
    match finding {
        Finding::Holds(text) | Finding::NotShown(text) | Finding::Wrong(text) => text,
    }
}

fn finding_name(finding: &Finding) -> &'static str {
    match finding {
        Finding::Holds(_) => "holds",
        Finding::NotShown(_) => "not_shown",
        Finding::Wrong(_) => "wrong",
    }
}

fn report_json(report: &Report) -> Value {
    let checks: Vec<Value> = report
        .checks
        .iter()
        .map(|check| {
            json!({
                "name": check.name,
                "finding": finding_name(&check.finding),
                "text": finding_text(&check.finding),
            })
        })
        .collect();
    json!({
        "sound": report.is_sound(),
        "wrong": report.wrong().map(|check| &check.name),
        "checks": checks,
        "question": report.request.as_ref().map(question_json),
        "answers": report.answers.iter().map(answer_json).collect::<Vec<_>>(),
    })
}

fn question_json(request: &Request) -> Value {
    let subject = request.subject.clone().unwrap_or_default();
    let purpose = request.purpose.clone().unwrap_or_default();
    json!({
        "sender": request.sender,
        "recipient": request.recipient,
        "service": request.service,
        "service_version": request.service_version,
        "issued_at_ms": request.issued_at_ms,
        "subject": { "scheme": subject.scheme, "value": subject.value },
        "item": purpose.item,
        "scenario": purpose.scenario,
        "case_number": request.case_number,
        "officer": request.officer,
    })
}

fn answer_json(answer: &Answer) -> Value {
    let (verdicts, record_as_of) = match &answer.outcome {
        Some(Outcome::Verdicts(verdicts)) => {
            (verdicts.verdicts.iter().map(verify::verdict_json).collect(), verdicts.record_as_of.clone())
        }
        _ => (Vec::new(), String::new()),
    };
    let refusal = match &answer.outcome {
        Some(Outcome::Refusal(refusal)) => Some(output::refusal_json(refusal)),
        _ => None,
    };
    json!({
        "sender": answer.sender,
        "number": answer.number,
        "answered_at_ms": answer.answered_at_ms,
        "verdicts": verdicts,
        "record_as_of": record_as_of,
        "refusal": refusal,
    })
}

fn report_text(report: &Report) -> String {
    let mut text = String::new();
    for check in &report.checks {
        let mark = match check.finding {
            Finding::Holds(_) => "ok       ",
            Finding::NotShown(_) => "not shown",
            Finding::Wrong(_) => "WRONG    ",
        };
        text += &format!("{mark}  {}: {}\n", check.name, finding_text(&check.finding));
    }
    // What a bundle that is not sound says is not repeated: it would be read as shown.
    if !report.is_sound() {
        return text;
    }
    if let Some(request) = &report.request {
        let subject = request.subject.clone().unwrap_or_default();
        let purpose = request.purpose.clone().unwrap_or_default();
        text += &output::pairs([
            ("asked by", request.sender.clone()),
            ("asked", format!("{}/{} v{}", request.recipient, request.service, request.service_version)),
            ("at", output::moment(request.issued_at_ms)),
            ("about", format!("{} {}", subject.scheme, subject.value)),
            ("for", [purpose.item.as_str(), &purpose.scenario].join(" ").trim().to_owned()),
            ("by law", service::bases(&purpose.legal_bases)),
            ("case", request.case_number.clone()),
            ("officer", request.officer.clone()),
        ]);
        text.push('\n');
    }
    for answer in &report.answers {
        text += &format!("Answer {} of {}:\n", output::moment(answer.answered_at_ms), answer.sender);
        text += &match &answer.outcome {
            Some(Outcome::Verdicts(verdicts)) => verify::verdicts_table(&verdicts.verdicts),
            Some(Outcome::Refusal(refusal)) => format!("  refused ({}): {}", refusal.code, refusal.message),
            Some(Outcome::Deferral(deferral)) => format!("  will follow by {}", output::moment(deferral.due_at_ms)),
            None => String::new(),
        };
        text.push('\n');
    }
    text + "The evidence is sound."
}

#[cfg(test)]
mod tests {
    use trust::bundle::Check;

    use super::*;

    fn report(finding: Finding) -> Report {
        Report { checks: vec![Check { name: "answer signature".into(), finding }], ..Default::default() }
    }

    #[test]
    fn every_check_is_told_and_what_is_wrong_is_named() {
        let wrong = report(Finding::Wrong("the signature does not fit".into()));
        let text = report_text(&wrong);
        assert_eq!(text, "WRONG      answer signature: the signature does not fit\n");
        let machine = report_json(&wrong);
        assert_eq!(machine["sound"], false);
        assert_eq!(machine["wrong"], "answer signature");
        assert_eq!(machine["checks"][0]["finding"], "wrong");
        let sound = report(Finding::Holds("by a node of ninghe/civil-affairs".into()));
        assert!(report_text(&sound).ends_with("The evidence is sound."));
        assert_eq!(report_json(&sound)["wrong"], Value::Null);
    }

    /// What was not shown must not be printed as if it were.
    #[test]
    fn a_bundle_that_is_not_sound_shows_no_question() {
        let mut wrong = report(Finding::Wrong("x".into()));
        wrong.request = Some(Request { case_number: "GZF-2026-0001".into(), ..Default::default() });
        assert!(!report_text(&wrong).contains("GZF-2026-0001"));
    }

    #[test]
    fn the_authoritys_key_is_given_as_digits_or_in_a_file() {
        use trust::key::Signer;
        let key = trust::fixture::key("authority");
        let digits = key.public_key().to_string();
        assert_eq!(authority_key(&digits).unwrap(), *key.public_key());
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("authority.key.pub");
        fs::write(&file, format!("{digits}\n")).unwrap();
        assert_eq!(authority_key(file.to_str().unwrap()).unwrap(), *key.public_key());
        let error = authority_key("missing").unwrap_err();
        assert_eq!(error.exit(), Exit::Usage);
    }

    #[test]
    fn an_evidence_file_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.evidence");
        fs::write(&file, "mine").unwrap();
        let error = files::create_file(&file, b"new", files::PRIVATE_MODE).map_err(unwritable).unwrap_err();
        assert_eq!(error.exit(), Exit::Usage);
        assert_eq!(fs::read(&file).unwrap(), b"mine");
    }
}
