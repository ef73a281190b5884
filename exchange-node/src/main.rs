//! The program: arguments → logs → clock and randomness → configuration → build → run. Everything else is in the library.

use std::{
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{self, ExitCode},
    sync::Arc,
};

use clap::Parser;
use exchange_node::{
    app::{self, App},
    cli::{self, Cli, Command, Exit, RelayCommand, ServeArgs},
    config::{self, Config},
    relay,
};
use host::{
    clock::{Clock, SystemClock},
    random::SystemRandom,
    telemetry::{self, LogFormat},
};

fn main() -> ExitCode {
    let Cli { command, dir, json } = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("the operating system gives no threads: {error}");
            return Exit::Failure.into();
        }
    };
    let exit = runtime.block_on(async {
        match command {
            Command::Init(args) => {
                // What was done is said in plain lines.
                let _ = telemetry::init(LogFormat::Pretty, "error", "EXCHANGE_LOG");
                cli::init(args, dir, json, Arc::new(SystemClock), Arc::new(SystemRandom)).await
            }
            Command::Serve(args) => serve(args, dir).await,
            Command::Relay(RelayCommand::Serve(args)) => relay_serve(args, dir).await,
            command => cli::run(command, dir.as_deref(), json, SystemClock.now_ms()).await,
        }
    });
    exit.into()
}

async fn serve(args: ServeArgs, dir: Option<PathBuf>) -> Exit {
    let path = args.config.unwrap_or_else(|| dir.unwrap_or_else(|| ".".into()).join(config::FILE_NAME));
    let config = match Config::load(&path) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{error}");
            return Exit::Usage;
        }
    };
    if let Err(error) = telemetry::init(config.log_format, &config.log_filter, "EXCHANGE_LOG") {
        eprintln!("{error}");
        return Exit::Usage;
    }
    match run(config).await {
        Ok(false) => Exit::Done,
        Ok(true) => begin_anew(),
        Err(error) => {
            tracing::error!(%error, "the node has ended");
            eprintln!("{error}");
            Exit::Failure
        }
    }
}

async fn relay_serve(args: ServeArgs, dir: Option<PathBuf>) -> Exit {
    let path = args.config.unwrap_or_else(|| dir.unwrap_or_else(|| ".".into()).join(relay::config::FILE_NAME));
    let config = match relay::config::Config::load(&path) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{error}");
            return Exit::Usage;
        }
    };
    if let Err(error) = telemetry::init(config.log_format, &config.log_filter, "EXCHANGE_LOG") {
        eprintln!("{error}");
        return Exit::Usage;
    }
    let built = relay::serve::App::build(config, Arc::new(SystemClock), Arc::new(SystemRandom)).await;
    let outcome = match built {
        Ok(app) => app.run().await,
        Err(error) => Err(error),
    };
    match outcome {
        Ok(()) => Exit::Done,
        Err(error) => {
            eprintln!("{error}");
            Exit::Failure
        }
    }
}

/// Runs the node; whether it stopped to begin anew.
async fn run(config: Config) -> Result<bool, app::Error> {
    let app = App::build(config, Arc::new(SystemClock), Arc::new(SystemRandom)).await?;
    let again = app.again();
    app.run().await?;
    Ok(again.is_wanted())
}

/// Takes this process's place with a new one under the same id: sockets and stores are let go of, and everything is read
/// again. Returns only where that fails.
fn begin_anew() -> Exit {
    let error = process::Command::new("/proc/self/exe").args(std::env::args_os().skip(1)).exec();
    tracing::error!(%error, "the node cannot begin anew: start it again");
    eprintln!("the node cannot begin anew: {error}; start it again");
    Exit::Failure
}
