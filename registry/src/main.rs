//! The process around the registry: arguments in, exit code out. Everything else is in the library.

use std::process::ExitCode;

use clap::Parser;
use registry::cli::{Cli, run};

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let json = cli.json;
    match Box::pin(run(cli)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if json {
                eprintln!("{}", failure.to_json());
            } else {
                eprintln!("registry: {failure}");
            }
            ExitCode::from(failure.exit_code())
        }
    }
}
