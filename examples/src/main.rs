//! The demo's process: arguments in, exit code out. Everything else is in the library.

use std::{process::ExitCode, sync::Arc};

use anyhow::{Context, bail};
use clap::Parser;
use host::clock::SystemClock;
use town::demo::{self, Options};

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> anyhow::Result<bool> {
    // Dropped in reverse order: processes first, which dropping the runtime ends in any case, then their folder.
    let (dir, _guard) = demo::folder(options)?;
    let runtime = tokio::runtime::Runtime::new().context("cannot start")?;
    runtime.block_on(async {
        tokio::select! {
            outcome = demo::run(options, &dir, Arc::new(SystemClock)) => outcome,
            _ = tokio::signal::ctrl_c() => bail!("interrupted: everything is stopped"),
        }
    })
}
