//! `batch`: asks another department about everybody in a file. Reads a CSV file by a map that says which column is what, hands
//! it to the node as a job, shows how far that is, and writes each row with its result. Interrupted, the same command goes on.
//!
//! Out of scope: carrying the job out (`crate::bulk`), in the running node.

mod map;
mod results;

use std::{
    io::{self, IsTerminal as _},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use proto::office::v1::{
    BatchJob, BatchRows, ListBatchesRequest, ShowBatchRequest, SubmitBatchRequest, batches_client::BatchesClient,
    submit_batch_request::Part,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use self::map::Map;
use super::{
    Error, Exit,
    node::Folder,
    output::{self, Output},
};

const VERIFY_HELP: &str = "The map says which column is what, for example:\n
  service = \"civil-affairs/marriage-registration\"
  item = \"公租房申请\"
  officer = \"1024\"
  case_column = \"办件编号\"
  subject_column = \"身份证号\"
  claims = [\"marital_status=single\"]\n
docs/bulk.md describes all of it. Run again after an interruption, the same command goes on where it was.\n
Example:\n  exchange-node batch verify applicants.csv --map map.toml -o results.csv";

/// The commands about many questions.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Asks about everybody in a CSV file and writes each row with its result.
    #[command(after_help = VERIFY_HELP)]
    Verify(VerifyArgs),
    /// Lists the jobs, the newest first.
    #[command(after_help = "Example:\n  exchange-node batch list")]
    List,
    /// Shows one job.
    #[command(after_help = "Example:\n  exchange-node batch show 9f3a2c1e4b5d6a70")]
    Show {
        /// Its id.
        job: String,
    },
    /// Forgets a job that has ended, with its rows and results. The evidence stays.
    #[command(after_help = "Example:\n  exchange-node batch remove 9f3a2c1e4b5d6a70")]
    Remove {
        /// Its id.
        job: String,
    },
}

/// What `batch verify` needs.
#[derive(Args, Debug)]
pub struct VerifyArgs {
    /// The file, CSV with a header; UTF-8 or GB18030.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Which column is what.
    #[arg(long, value_name = "FILE")]
    map: PathBuf,
    /// Where to write the results.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// A name for the job; without it one made of both files, so that the same command means the same job.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Writes the results for programs: nothing is put before long numbers to keep spreadsheets from changing them.
    #[arg(long)]
    plain: bool,
}

pub(super) async fn run(command: Command, folder: &Folder, output: Output) -> Result<Exit, Error> {
    let mut batches = BatchesClient::new(folder.channel().await?).max_decoding_message_size(LARGEST_PAGE);
    match command {
        Command::Verify(args) => return verify(&args, &mut batches, output).await,
        Command::List => {
            let jobs = batches.list_batches(ListBatchesRequest {}).await?.into_inner().jobs;
            output.show(&json!({ "jobs": jobs.iter().map(job_json).collect::<Vec<_>>() }), || table(&jobs));
        }
        Command::Show { job } => {
            let job = batches.show_batch(ShowBatchRequest { job }).await?.into_inner();
            output.show(&job_json(&job), || facts(&job));
        }
        Command::Remove { job } => {
            batches.remove(ShowBatchRequest { job: job.clone() }).await?;
            output.show(&json!({ "removed": job }), || format!("The job {job} is gone; its evidence stays."));
        }
    }
    Ok(Exit::Done)
}

/// A page of results.
const LARGEST_PAGE: usize = 32 * 1024 * 1024;

/// So many rows travel in one message.
const ROWS_IN_A_MESSAGE: usize = 500;

async fn verify(args: &VerifyArgs, batches: &mut BatchesClient<Channel>, output: Output) -> Result<Exit, Error> {
    if same_file(&args.file, &args.output) || same_file(&args.map, &args.output) {
        return Err(Error::Usage(
            "the results would take the place of a file that is read: give -o another name".into(),
        ));
    }
    let map = Map::load(&args.map)?;
    // Whatever is wrong with the file is said before anything is asked.
    let digest = map.check(&args.file)?;
    let name = args.name.clone().unwrap_or_else(|| digest.clone());
    let known = batches.list_batches(ListBatchesRequest {}).await?.into_inner().jobs;
    let job = match known.into_iter().find(|job| job.name == name) {
        Some(job) if args.name.is_none() => job,
        // Under a name of one's own it may be another file: the node compares.
        _ => submit(args, &map, name, batches, output).await?,
    };
    output.say(&format!("The job is {}; the node goes on with it also where this command ends.", job.job));
    let job = watch(&job, batches, output).await?;
    let written = results::write(args, &map, &digest, &job, batches).await?;
    let machine = json!({ "job": job_json(&job), "results": args.output, "rows": written });
    output.show(&machine, || format!("{}\n{written} rows are in {}.", facts(&job), args.output.display()));
    Ok(if job.refused == job.rows { Exit::Refused } else { Exit::Done })
}

fn same_file(one: &Path, other: &Path) -> bool {
    one.canonicalize().ok().zip(other.canonicalize().ok()).is_some_and(|(one, other)| one == other)
}

async fn submit(
    args: &VerifyArgs,
    map: &Map,
    name: String,
    batches: &mut BatchesClient<Channel>,
    output: Output,
) -> Result<BatchJob, Error> {
    let (sender, receiver) = mpsc::channel(4);
    let header = SubmitBatchRequest { part: Some(Part::Header(map.header(name))) };
    let (map, file) = (map.clone(), args.file.clone());
    let reading = tokio::task::spawn_blocking(move || {
        // The node has hung up: what it says is told below.
        if sender.blocking_send(header).is_err() {
            return Ok(());
        }
        let mut rows = Vec::with_capacity(ROWS_IN_A_MESSAGE);
        let send = |rows: Vec<_>| {
            sender.blocking_send(SubmitBatchRequest { part: Some(Part::Rows(BatchRows { rows })) }).is_ok()
        };
        for row in map.rows(&file)? {
            rows.push(row?);
            if rows.len() == ROWS_IN_A_MESSAGE && !send(std::mem::take(&mut rows)) {
                return Ok(());
            }
        }
        if !rows.is_empty() {
            send(rows);
        }
        Ok::<_, Error>(())
    });
    let progress = progress(output, "{spinner} {pos} rows read, {per_sec}");
    let mut shown = batches.submit(ReceiverStream::new(receiver)).await?.into_inner();
    let mut last = None;
    while let Some(job) = shown.message().await? {
        progress.set_position(job.rows);
        last = Some(job);
    }
    progress.finish_and_clear();
    match reading.await {
        Ok(read) => read?,
        Err(error) => return Err(Error::Usage(format!("the file could not be read to its end: {error}"))),
    }
    last.filter(|job| !job.job.is_empty())
        .ok_or_else(|| Error::Status(tonic::Status::unavailable("the node did not take the job")))
}

async fn watch(job: &BatchJob, batches: &mut BatchesClient<Channel>, output: Output) -> Result<BatchJob, Error> {
    let progress = progress(output, "{bar:30} {pos}/{len} {per_sec}, {eta} left {msg}");
    progress.set_length(job.rows);
    progress.set_position(job.done);
    progress.reset_eta();
    let mut changes = batches.watch(ShowBatchRequest { job: job.job.clone() }).await?.into_inner();
    let mut last = job.clone();
    while let Some(job) = changes.message().await? {
        progress.set_position(job.done);
        progress.set_message(match job.waiting_for.as_str() {
            "" => String::new(),
            reason => format!("(waiting: {reason})"),
        });
        last = job;
    }
    progress.finish_and_clear();
    match last.ended_at_ms {
        0 => Err(Error::Status(tonic::Status::unavailable(
            "the node stopped before the job ended: it goes on once the node runs again, and so does this command",
        ))),
        _ => Ok(last),
    }
}

fn progress(output: Output, template: &str) -> ProgressBar {
    let progress = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
    if output.is_json() || !io::stderr().is_terminal() {
        progress.set_draw_target(ProgressDrawTarget::hidden());
    }
    if let Ok(style) = ProgressStyle::with_template(template) {
        progress.set_style(style);
    }
    progress.enable_steady_tick(Duration::from_millis(250));
    progress
}

fn table(jobs: &[BatchJob]) -> String {
    if jobs.is_empty() {
        return "There is no job. `batch verify` makes one.".to_owned();
    }
    let row = |job: &BatchJob| {
        let service = format!("{}/{}", job.provider, job.service);
        let done = format!("{}/{}", job.done, job.rows);
        [
            job.job.clone(),
            output::moment(job.submitted_at_ms),
            service,
            job.state.clone(),
            done,
            job.waiting_for.clone(),
        ]
    };
    output::table(["JOB", "SUBMITTED", "SERVICE", "STATE", "DONE", "WAITING FOR"], jobs.iter().map(row))
}

fn facts(job: &BatchJob) -> String {
    let count = |number: u64| number.to_string();
    output::pairs([
        ("job", job.job.clone()),
        ("name", job.name.clone()),
        ("service", format!("{}/{}", job.provider, job.service)),
        ("state", job.state.clone()),
        ("waiting for", job.waiting_for.clone()),
        ("submitted", output::moment(job.submitted_at_ms)),
        ("ended", output::moment(job.ended_at_ms)),
        ("rows", count(job.rows)),
        ("done", count(job.done)),
        ("match", count(job.matched)),
        ("mismatch", count(job.mismatched)),
        ("no record", count(job.without_record)),
        ("unavailable", count(job.unavailable)),
        ("refused", count(job.refused)),
    ])
}

fn job_json(job: &BatchJob) -> Value {
    json!({
        "job": job.job,
        "name": job.name,
        "provider": job.provider,
        "service": job.service,
        "state": job.state,
        "waiting_for": job.waiting_for,
        "rows": job.rows,
        "done": job.done,
        "answered": job.answered,
        "matched": job.matched,
        "mismatched": job.mismatched,
        "without_record": job.without_record,
        "unavailable": job.unavailable,
        "refused": job.refused,
        "submitted_at_ms": job.submitted_at_ms,
        "ended_at_ms": job.ended_at_ms,
    })
}
