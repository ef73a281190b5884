//! `relay`: makes and runs a relay. `main` runs `relay serve`. Out of scope: relaying (`crate::relay`).

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Subcommand};
use host::files;
use serde_json::json;

use super::{Error, Exit, ServeArgs, evidence::unwritable, node::Folder, output::Output};
use crate::{config, relay};

/// The commands about a relay.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Writes relay.toml into a new folder, for the exchange of a node.
    #[command(
        after_help = "Example:\n  exchange-node relay init --from civil-affairs/node.toml --listen 0.0.0.0:7470 --advertise 203.0.113.7:7470 --dir relay"
    )]
    Init(InitArgs),
    /// Runs the relay until it is told to stop (SIGTERM or Ctrl-C).
    #[command(after_help = "Example:\n  exchange-node relay serve --config relay/relay.toml")]
    Serve(ServeArgs),
}

/// What `relay init` needs.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// The node.toml of any node of the exchange: authority and registry are taken from it.
    #[arg(long, value_name = "FILE")]
    pub from: PathBuf,
    /// Where nodes and their callers are listened to.
    #[arg(long, value_name = "IP:PORT")]
    pub listen: SocketAddr,
    /// The address by which nodes dial it, HOST:PORT, as it stands in their `relays`; may be given several times. Left
    /// out: the address that is listened on.
    #[arg(long, value_name = "HOST:PORT")]
    pub advertise: Vec<String>,
}

pub(super) fn init(args: &InitArgs, folder: &Folder, output: Output) -> Result<Exit, Error> {
    let node = config::Config::load(&args.from).map_err(|error| Error::FileWrong(error.to_string()))?;
    if args.advertise.is_empty() && args.listen.ip().is_unspecified() {
        return Err(Error::Usage(format!(
            "--listen {}: say with --advertise HOST:PORT how nodes dial it",
            args.listen
        )));
    }
    let dir = folder.path()?;
    files::private_folder(&dir).map_err(unwritable)?;
    let file = dir.join(relay::config::FILE_NAME);
    let text = relay::config::new_text(&node, args.listen, &args.advertise);
    files::create_file(&file, text.as_bytes(), files::PUBLIC_MODE).map_err(unwritable)?;
    let start = format!("exchange-node relay serve --config {}", file.display());
    output.show(&json!({ "config": file, "next": start }), || format!("{} is written\nnext: {start}", file.display()));
    Ok(Exit::Done)
}
