//! `bench`: measures how fast the exchange is, beside its limit, in named sections. Run it by `./tests/bench.sh`.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use tests::bench::{absence, bulk, case, directory, exchange, limit, sources};

#[derive(Parser)]
#[command(about = "Measures how fast the exchange is, beside its limit", args_conflicts_with_subcommands = true)]
struct Cli {
    /// Without one: questions and answers between two nodes.
    #[command(subcommand)]
    section: Option<Section>,
    #[command(flatten)]
    exchange: exchange::Options,
    /// Where the summary goes; each section adds its figures.
    #[arg(long, global = true, default_value = "target/bench/summary.json")]
    summary: PathBuf,
}

#[derive(Subcommand)]
enum Section {
    /// Answers from each kind of source of records, beside the database's query alone.
    Sources(sources::Options),
    /// Everybody in a register, in batches: from imported records and from PostgreSQL.
    Bulk(bulk::Options),
    /// A case over six departments, one slow and one dead.
    Case(case::Options),
    /// Whether the time of an answer tells who has a record.
    Absence(absence::Options),
    /// A directory of a million statements.
    Directory(directory::Options),
    /// The bare server; started by the benchmark itself.
    #[command(hide = true)]
    LimitServer { provider: PathBuf, asker: String, answer: PathBuf, ready: PathBuf },
    /// How many signatures this core verifies in a second; started by the benchmark itself.
    #[command(hide = true)]
    SignatureLimit { seconds: f64 },
    /// A bare server of one file; started by the benchmark itself.
    #[command(hide = true)]
    HttpLimit { file: PathBuf, ready: PathBuf },
    /// Asks for one file over and over; started by the benchmark itself.
    #[command(hide = true)]
    HttpLoad {
        address: String,
        name: String,
        #[arg(action = clap::ArgAction::Set)]
        newer: bool,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    match cli.section {
        None => exchange::run(&cli.exchange, &cli.summary).await,
        Some(Section::Sources(options)) => sources::run(&options, &cli.summary).await,
        Some(Section::Bulk(options)) => bulk::run(&options, &cli.summary).await,
        Some(Section::Case(options)) => case::run(&options, &cli.summary).await,
        Some(Section::Absence(options)) => absence::run(&options, &cli.summary).await,
        Some(Section::Directory(options)) => directory::run(&options, &cli.summary).await,
        Some(Section::LimitServer { provider, asker, answer, ready }) => {
            limit::serve(&provider, asker.parse()?, &answer, &ready).await
        }
        Some(Section::HttpLimit { file, ready }) => directory::tiles::serve(file, ready).await,
        Some(Section::HttpLoad { address, name, newer }) => {
            println!("{}", directory::tiles::ask(&address, &name, newer).await?);
            Ok(())
        }
        Some(Section::SignatureLimit { seconds }) => {
            println!("{}", directory::limit::verify(seconds)?);
            Ok(())
        }
    }
}
