//! `evidence`: shows and exports what the running node kept of a question, and checks an exported bundle offline, which
//! needs no node at all. Out of scope: the checks themselves (`trust::bundle`), and bundles for other tools (`unpack`).

pub(crate) mod anchors;
mod history;
mod kept;
mod report;

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use clap::Subcommand;
use host::files;
use proto::office::v1::{ExportEvidenceRequest, ShowRequest};
use serde_json::json;
use trust::{
    bundle::{self, Check, Report},
    evidence::ItemReceipt,
    key::PublicKey,
};

use super::{
    Error, Exit,
    node::Folder,
    output::{self, Output},
    unpack, verify,
};
use crate::config::{self, Config};

/// The commands about evidence.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Shows what became of a question, by its receipt.
    #[command(after_help = "Example:\n  exchange-node evidence show 123-9f3a2c1e4b5d6a70")]
    Show {
        /// The receipt.
        #[arg(value_name = "RECEIPT")]
        receipt: ItemReceipt,
        /// A predecessor whose evidence is kept here, DEPARTMENT or DEPARTMENT/NODE; the receipt is the predecessor's.
        #[arg(long, value_name = "DEPARTMENT")]
        of: Option<String>,
    },
    /// Writes the evidence of a question into a file that anybody can check offline.
    #[command(after_help = "Example:\n  exchange-node evidence export 123-9f3a2c1e4b5d6a70 -o GZF-2026-0001.evidence")]
    Export {
        /// The receipt.
        #[arg(value_name = "RECEIPT")]
        receipt: ItemReceipt,
        /// The file to write; one that exists is not overwritten.
        #[arg(short, long = "output", value_name = "FILE")]
        output: PathBuf,
        /// A predecessor whose evidence is kept here, DEPARTMENT or DEPARTMENT/NODE; the receipt is the predecessor's.
        #[arg(long, value_name = "DEPARTMENT")]
        of: Option<String>,
    },
    /// Takes the evidence of a predecessor's stopped node over, to keep, show, export and prove it.
    #[command(name = "take-over", after_help = "Example:\n  exchange-node evidence take-over civil-affairs")]
    TakeOver {
        /// The folder of the predecessor's node, on this machine; it is left as it is.
        #[arg(value_name = "FOLDER")]
        folder: PathBuf,
    },
    /// Lists the evidence that is kept for predecessors.
    #[command(after_help = "Example:\n  exchange-node evidence kept")]
    Kept,
    /// Lists this node's evidence logs, or what came back from the other side.
    #[command(after_help = "Examples:\n  exchange-node evidence list\n  exchange-node evidence list --recovered")]
    List {
        /// Lists the questions that came back from other departments after entries were lost.
        #[arg(long)]
        recovered: bool,
    },
    /// Closes the evidence log, which lost entries, and opens its successor.
    #[command(
        after_help = "Example:\n  exchange-node evidence close --reason \"disk lost, restored from the backup of 2026-11-28\" --officer 1024 --document \"IT-2026-17\""
    )]
    Close(history::CloseArgs),
    /// Lets a restored evidence log go on though not everybody could be asked whether entries are missing.
    #[command(
        after_help = "Example:\n  exchange-node evidence resume --reason \"the node was stopped before the backup was made\" --officer 1024"
    )]
    Resume(history::ResumeArgs),
    /// Asks other departments for the questions and answers that this node lost, and keeps what they hold.
    #[command(
        after_help = "Examples:\n  exchange-node evidence reconcile housing\n  exchange-node evidence reconcile --all"
    )]
    Reconcile(history::ReconcileArgs),
    /// Anchors of evidence at the registry: this node's, and whether another node rewrote its own.
    #[command(subcommand, after_help = "Example:\n  exchange-node evidence anchors check civil-affairs/1")]
    Anchors(anchors::Command),
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
        Command::TakeOver { folder: from } => kept::take_over(&from, folder, output).await,
        Command::List { recovered } => history::list(recovered, folder, output).await,
        Command::Close(args) => history::close(args, folder, output).await,
        Command::Resume(args) => history::resume(args, folder, output).await,
        Command::Reconcile(args) => history::reconcile(args, folder, output).await,
        Command::Kept => kept::list(folder, output).await,
        Command::Show { receipt, of: Some(of) } => kept::show(&receipt.receipt, &of, folder, output).await,
        Command::Show { receipt, of: None } => {
            let request = ShowRequest { receipt: receipt.to_string() };
            let shown = folder.office().await?.show(request).await?.into_inner();
            Ok(verify::show(output, &shown))
        }
        Command::Export { receipt, output: file, of } => {
            let bundle = match of {
                Some(of) => kept::bundle(&receipt.receipt, &of, folder).await?,
                None => bundle_of(&receipt, folder).await?,
            };
            export(&bundle, &receipt, &file, folder, output)
        }
        Command::Anchors(command) => anchors::run(command, folder, output).await,
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

async fn bundle_of(receipt: &ItemReceipt, folder: &Folder) -> Result<Vec<u8>, Error> {
    let request = ExportEvidenceRequest { receipt: receipt.to_string() };
    Ok(folder.office().await?.export_evidence(request).await?.into_inner().bundle)
}

fn export(bundle: &[u8], receipt: &ItemReceipt, file: &Path, folder: &Folder, output: Output) -> Result<Exit, Error> {
    // It holds the question and the answer in the clear: nobody else's business.
    files::create_file(file, bundle, files::PRIVATE_MODE).map_err(unwritable)?;
    let authority_key = Config::load(&folder.path()?.join(config::FILE_NAME)).map(|config| config.authority_key);
    let checked = authority_key.ok().map(|key| bundle::verify(bundle, &key));
    let sound = checked.as_ref().map(Report::is_sound);
    let machine = json!({ "receipt": receipt.to_string(), "file": file, "bytes": bundle.len(), "sound": sound });
    output.show(&machine, || {
        let sound = if sound == Some(true) { ", and it is sound" } else { "" };
        format!("The evidence of {receipt} is in {} ({} bytes){sound}.", file.display(), bundle.len())
    });
    // It was written all the same: that it is not sound is worth keeping.
    match checked.as_ref().and_then(Report::wrong) {
        Some(wrong) => told(output, not_sound(wrong)),
        None => Ok(Exit::Done),
    }
}

fn not_sound(wrong: &Check) -> Error {
    Error::EvidenceNotSound(format!("{}: {}", wrong.name, report::finding_text(&wrong.finding)))
}

/// With `--json` standard output holds one value, and the result stands there already.
fn told(output: Output, error: Error) -> Result<Exit, Error> {
    if !output.is_json() {
        return Err(error);
    }
    output::complain(&error.to_string());
    Ok(error.exit())
}

pub(super) fn unwritable(error: files::Error) -> Error {
    match error {
        files::Error::Io { path, source, .. } => Error::FileUnusable { doing: "write", path, source },
        other => Error::Usage(other.to_string()),
    }
}

pub(super) fn read_bundle(file: &Path) -> Result<Vec<u8>, Error> {
    let unreadable = |source| Error::FileUnusable { doing: "read", path: file.to_owned(), source };
    let limit = u64::try_from(bundle::LARGEST_BUNDLE).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    // One byte more than allowed is enough to be refused, however large the file is.
    File::open(file).map_err(unreadable)?.take(limit + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

/// The authority's key, as hex digits or in a file of them.
pub(super) fn authority_key(text: &str) -> Result<PublicKey, Error> {
    Ok(directory_reader::authority_key(text)?)
}

fn check(file: &Path, authority: &str, output: Output) -> Result<Exit, Error> {
    let report = bundle::verify(&read_bundle(file)?, &authority_key(authority)?);
    output.show(&report::report_json(&report), || report::report_text(&report));
    match report.wrong() {
        Some(wrong) => told(output, not_sound(wrong)),
        None if report.is_sound() => Ok(Exit::Done),
        None => Ok(Exit::NotSound),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

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
