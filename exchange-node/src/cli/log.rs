//! `log`: the full audit of the directory's log from its tiles, compared with this node's own view; and one statement in
//! words. The audit needs no running node where it is told whom to believe and where the log is. Out of scope: the
//! checks themselves (`trust::audit`).

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use host::{
    files,
    published::{self, Place, Reader},
    terminal,
};
use proto::registry::v1::{HeadEntry, HeadQuery, OneStatementQuery};
use serde_json::json;
use trust::{
    audit::{self, Audit, Trusted},
    ids::ExchangeId,
    log::{hash::Hash, note::key::NoteKey},
    reading::StatementWords,
};

use super::{
    Error, Exit, evidence,
    node::Folder,
    output::{self, Output},
};

/// The commands about the directory's log.
#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "there is one of it")]
pub enum Command {
    /// Reads the whole log from its tiles and checks everything: tiles, checkpoint, each statement by signature and rules;
    /// and that this node was told the same.
    #[command(
        after_help = "Examples:\n  exchange-node log verify\n  exchange-node log verify --from http://registry.example:7401 --authority authority.pub"
    )]
    Verify(VerifyArguments),
    /// Shows one statement in words, with who signed it and the proof that it is in the log.
    #[command(after_help = "Example:\n  exchange-node log show 12 --proof statement-12.tlog-proof")]
    Show {
        /// Its index, counted from 0.
        #[arg(value_name = "INDEX")]
        index: u64,
        /// Writes the proof of its place into this new file (C2SP tlog-proof), for other tools.
        #[arg(long, value_name = "FILE")]
        proof: Option<PathBuf>,
    },
}

/// `log verify`.
#[derive(Args, Debug)]
pub struct VerifyArguments {
    /// Where the log is: http://HOST:PORT of a registry's tile port or a copy, or a folder. Left out: as the directory says.
    #[arg(long, value_name = "PLACE")]
    from: Option<Place>,
    /// The authority's public key: 64 hex digits, or a file that holds them. Left out: the one this node trusts.
    #[arg(long, value_name = "KEY", conflicts_with = "log_key")]
    authority: Option<String>,
    /// The log's verifier key in place of the authority's, as other C2SP tools have it; the authority's key is then taken
    /// from the log, and not compared.
    #[arg(long, value_name = "VKEY")]
    log_key: Option<NoteKey>,
    /// Keeps what was read in this folder, from which it can be verified again.
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
}

pub(super) async fn run(command: Command, folder: &Folder, output: Output) -> Result<Exit, Error> {
    match command {
        Command::Verify(arguments) => verify(arguments, folder, output).await,
        Command::Show { index, proof } => show(index, proof.as_deref(), folder, output).await,
    }
}

async fn verify(arguments: VerifyArguments, folder: &Folder, output: Output) -> Result<Exit, Error> {
    let told_everything = arguments.from.is_some() && (arguments.authority.is_some() || arguments.log_key.is_some());
    // Where everything is told, a node that does not run is only not compared with.
    let own = match head(folder, 0).await {
        Ok(head) => Some(head),
        Err(_) if told_everything => None,
        Err(error) => return Err(error),
    };
    let trusted = match (&arguments.authority, arguments.log_key, &own) {
        (Some(authority), _, _) => Trusted::Authority(evidence::authority_key(authority)?),
        (None, Some(key), _) => Trusted::Log(key),
        (None, None, Some(own)) => Trusted::Authority(evidence::authority_key(&own.authority_key)?),
        (None, None, None) => return Err(Error::NoFolder),
    };
    let place = match (arguments.from, &own) {
        (Some(place), _) => place,
        (None, Some(own)) => announced(own)?,
        (None, None) => return Err(Error::NoFolder),
    };

    let reader = Reader::new(place);
    let keep = arguments.keep.as_deref();
    let checkpoint =
        String::from_utf8_lossy(&read(&reader, "checkpoint", audit::LONGEST_CHECKPOINT, keep).await?).into_owned();
    let mut audit = Audit::begin(trusted, &checkpoint).map_err(not_sound)?;
    if let Some(own) = own.filter(|own| own.exchange_id == audit.exchange().as_str()) {
        compare(&mut audit, own, folder).await?;
    }
    let bar = terminal::progress("verifying", audit.size(), "statements");
    while let Some(path) = audit.wanted() {
        let bytes = read(&reader, &path.to_string(), audit::longest(&path), keep).await?;
        audit.give(&bytes).map_err(not_sound)?;
        bar.set_position(audit.verified());
    }
    bar.finish_and_clear();
    let (report, _) = audit.finish().map_err(not_sound)?;
    output.show(&json!(report), || format!("{}\nThe log is sound.", output::pairs(report.facts())));
    Ok(Exit::Done)
}

/// The node's own view: at its size, or where that is larger, at the log's.
async fn compare(audit: &mut Audit, own: HeadEntry, folder: &Folder) -> Result<(), Error> {
    let (size, root) = if own.size <= audit.size() {
        (own.size, own.root)
    } else {
        (audit.size(), head(folder, audit.size()).await?.root_at_size)
    };
    if let Ok(root) = <[u8; 32]>::try_from(root.as_slice()) {
        audit.compare_with("this node's own view", size, Hash::from_bytes(root));
    }
    Ok(())
}

async fn head(folder: &Folder, at_size: u64) -> Result<HeadEntry, Error> {
    Ok(folder.catalogue().await?.head(HeadQuery { at_size }).await?.into_inner())
}

fn announced(own: &HeadEntry) -> Result<Place, Error> {
    let address = own.tile_addresses.first().ok_or_else(|| {
        Error::Usage("the directory does not say where its tiles are served: give the place with --from".to_owned())
    })?;
    Ok(format!("http://{address}").parse()?)
}

async fn read(reader: &Reader, name: &str, limit: usize, keep: Option<&Path>) -> Result<Vec<u8>, Error> {
    let bytes = reader.read(name, limit).await.map_err(|error| match error {
        // What a checkpoint covers has to be there.
        published::Error::NotFound { .. } | published::Error::TooLarge { .. } if name != "checkpoint" => {
            Error::LogNotSound(error.to_string())
        }
        error => Error::Published(error),
    })?;
    if let Some(folder) = keep {
        keep_file(&folder.join(name), &bytes)?;
    }
    Ok(bytes)
}

fn keep_file(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let failed = |source| Error::FileUnusable { doing: "write", path: path.to_owned(), source };
    path.parent().map_or(Ok(()), std::fs::create_dir_all).map_err(failed)?;
    std::fs::write(path, bytes).map_err(failed)
}

fn not_sound(error: audit::Error) -> Error {
    Error::LogNotSound(error.to_string())
}

async fn show(index: u64, file: Option<&Path>, folder: &Folder, output: Output) -> Result<Exit, Error> {
    let mut client = folder.catalogue().await?;
    let exchange = client.head(HeadQuery::default()).await?.into_inner().exchange_id;
    let proven = client.statement(OneStatementQuery { index }).await?.into_inner();
    let unsound = |error: trust::reading::StatementError| Error::LogNotSound(error.to_string());
    let words = StatementWords::of(index, &proven.entry, &proven.signers).map_err(unsound)?;
    let exchange: ExchangeId =
        exchange.parse().map_err(|error: trust::ids::IdError| Error::Usage(error.to_string()))?;
    let proof = StatementWords::proof(&exchange, &proven).map_err(unsound)?;
    if let Some(file) = file {
        files::create_file(file, proof.to_string().as_bytes(), 0o644).map_err(evidence::unwritable)?;
    }
    let mut machine = json!(words);
    machine["proof"] = json!(proof.to_string());
    output.show(&machine, || {
        let place = format!("in the log: {} hashes lead to the signed checkpoint", proof.hashes().len());
        let facts = words.facts().into_iter().chain([("proof", place)]);
        let details = words.detail_rows();
        let details = if details.is_empty() {
            String::new()
        } else {
            format!("\n{}", output::table(["detail", "value"], details))
        };
        format!("Statement {index}: {}\n{}{details}", words.kind.replace('_', " "), output::pairs(facts))
    });
    Ok(Exit::Done)
}
