//! `config check`: reads node.toml and sources.toml as a start would, and names every mistake with its line. Needs no running
//! node and connects to nothing. Out of scope: whether a source can be reached (`doctor`).

use clap::Subcommand;
use serde_json::json;

use super::{Error, Exit, node::Folder, output::Output};
use crate::{config, sources};

/// The commands about configuration.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Reads the configuration files and names every mistake with its line.
    #[command(after_help = "Example:\n  exchange-node config check --dir civil-affairs")]
    Check,
}

pub(super) fn run(command: &Command, folder: &Folder, output: Output) -> Result<Exit, Error> {
    let Command::Check = command;
    let dir = folder.path()?;
    let node = config::Config::load(&dir.join(config::FILE_NAME)).err().map(|error| error.to_string());
    let mistakes = node.into_iter().chain(sources::mistakes(&dir)).collect::<Vec<_>>();
    output.show(&json!({ "mistakes": mistakes }), || match mistakes.as_slice() {
        [] => "The configuration can be read.".to_owned(),
        mistakes => mistakes.join("\n"),
    });
    Ok(if mistakes.is_empty() { Exit::Done } else { Exit::Usage })
}
