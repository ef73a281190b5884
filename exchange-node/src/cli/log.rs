//! `log`: the full audit of the directory's log from its tiles, compared with this node's own view; and one statement in
//! words. The audit needs no running node where it is told whom to believe and where the log is. Out of scope: what
//! is said, which the registry says alike (`directory_reader`).

use std::path::PathBuf;

use clap::{Args, Subcommand};
use directory_reader::{Own, Shown};
use host::published::Place;
use trust::{audit::Trusted, log::note::key::NoteKey};

use super::{Error, Exit, node::Folder, output::Output, read::say};
use crate::keys::NodeKeys;

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
    let shown = match command {
        Command::Verify(arguments) => verify(arguments, folder).await?,
        Command::Show { index, proof } => {
            directory_reader::statement(folder.catalogue().await?, index, proof.as_deref()).await?
        }
    };
    Ok(say(shown, output))
}

async fn verify(arguments: VerifyArguments, folder: &Folder) -> Result<Shown, Error> {
    let told_everything = arguments.from.is_some() && (arguments.authority.is_some() || arguments.log_key.is_some());
    // Where everything is told, a node that does not run is only not compared with.
    let own = match own(folder).await {
        Ok(own) => Some(own),
        Err(_) if told_everything => None,
        Err(error) => return Err(error),
    };
    let trusted = match (&arguments.authority, arguments.log_key, &own) {
        (Some(authority), _, _) => Trusted::Authority(directory_reader::authority_key(authority)?),
        (None, Some(key), _) => Trusted::Log(key),
        (None, None, Some(own)) => Trusted::Authority(directory_reader::authority_key(&own.head.authority_key)?),
        (None, None, None) => return Err(Error::NoFolder),
    };
    // As this node itself, where the tiles are for members alone.
    let identity = || -> Result<_, directory_reader::Error> {
        let dir = folder.path().map_err(|error| directory_reader::Error::Usage(error.to_string()))?;
        let keys = NodeKeys::read(&dir).map_err(|error| directory_reader::Error::Usage(error.to_string()))?;
        Ok(keys.tls)
    };
    let places = match (arguments.from, &own) {
        (Some(place), own) => directory_reader::named(place, own.as_ref().map(|own| &own.head), identity)?,
        (None, Some(own)) => directory_reader::announced(&own.head.tile_addresses, &own.head, identity)?,
        (None, None) => return Err(Error::NoFolder),
    };
    Ok(directory_reader::verify(places, trusted, own, arguments.keep.as_deref()).await?)
}

/// This node's own view.
async fn own(folder: &Folder) -> Result<Own, Error> {
    let mut client = folder.catalogue().await?;
    Ok(Own { head: directory_reader::head(&mut client, 0).await?, client, name: "this node's own view" })
}
