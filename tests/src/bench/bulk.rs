//! How fast everybody in a register is asked about: one job of many questions from an office to its node, node to node in
//! batches, from imported records and from PostgreSQL; the evidence of both sides durable, and the memory of both nodes at its
//! highest. Out of scope: single questions (`exchange`, `sources`).

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use super::postgres_server;
use anyhow::{Context, bail, ensure};
use proto::{
    exchange::v1::Subject,
    office::v1::{
        BatchHeader, BatchRow, BatchRows, ShowBatchRequest, SubmitBatchRequest, batches_client::BatchesClient,
        submit_batch_request::Part,
    },
};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use super::{
    places::{Place, resident_mb},
    summary,
};

/// What can be set.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// How many people are asked about, each of them in the register.
    #[arg(long = "bulk-subjects", default_value_t = 1_000_000)]
    subjects: usize,
}

const QUERY: &str = "SELECT marital_status, registered_on FROM marriages WHERE number = :subject";

/// So many rows in one message.
const ROWS: usize = 1000;

/// Measures, and puts the figures into the summary.
pub async fn run(options: &Options, path: &Path) -> anyhow::Result<()> {
    let dir = tempfile::Builder::new().prefix("bench").tempdir()?;
    println!("starting a town with {} records", options.subjects);
    let place = Place::start(&dir.path().join("town"), options.subjects).await?;
    // Started anew: what the import took is not the batch's.
    for node in [place.provider(), place.consumer()] {
        node.stop().await?;
        node.start().await?;
    }
    place.town.settled().await?;
    let mut highest: f64 = 0.0;
    let embedded = measured(&place, "married", &mut highest).await?;
    println!("embedded: {} subjects in {embedded:.1} s", options.subjects);
    let postgres = match postgres_server::own("bench bulk").await {
        None => f64::NAN,
        Some(scratch) => {
            scratch
                .sql("CREATE TABLE marriages (number char(18) PRIMARY KEY, marital_status text, registered_on date)");
            let csv = readable(&dir.path().join("town/marriage.csv"))?;
            scratch.sql(&format!("COPY marriages FROM PROGRAM 'cat {csv}' WITH (FORMAT csv, HEADER)"));
            fs::remove_file(&csv)?;
            scratch.sql("ANALYZE marriages");
            let (host, database, user) =
                (scratch.server().socket().display(), scratch.database(), postgres_server::USER);
            let sources = format!(
                "[sources.bench]\nkind = \"postgres\"\ntimeout_ms = 20000\nhost = \"{host}\"\ndatabase = \"{database}\"\n\
                 user = \"{user}\"\n[services.marriage-registration]\nsource = \"bench\"\nquery = \"{QUERY}\"\n"
            );
            place.provider().stop().await?;
            fs::write(place.provider().dir().join("sources.toml"), sources)?;
            place.provider().start().await?;
            // Another value: what was tried before costs no guess, and so would be cheaper.
            let seconds = measured(&place, "divorced", &mut highest).await?;
            println!("postgres: {} subjects in {seconds:.1} s", options.subjects);
            seconds
        }
    };
    println!("the larger of both nodes had {highest:.0} MB");
    let figures = json!({
        "bulk_subjects": options.subjects,
        "bulk_embedded_seconds": embedded,
        "bulk_postgres_seconds": postgres,
        "bulk_rss_mb": highest,
    });
    summary::write(path, figures.as_object().cloned().unwrap_or_default())?;
    println!("written to {}", path.display());
    Ok(())
}

/// Asks about everybody, and returns in how many seconds all results were there.
async fn measured(place: &Place, status: &str, highest: &mut f64) -> anyhow::Result<f64> {
    let channel = host::admin_socket::connect(place.consumer().dir(), "exchange-node serve").await?;
    let mut batches = BatchesClient::new(channel);
    let began = Instant::now();
    let job = submit(&mut batches, place, status).await?;
    let mut changes = batches.watch(ShowBatchRequest { job: job.clone() }).await?.into_inner();
    let mut look = tokio::time::interval(Duration::from_millis(200));
    let ended = loop {
        tokio::select! {
            _ = look.tick() => {
                for node in [place.provider(), place.consumer()] {
                    *highest = highest.max(resident_mb(node));
                }
            }
            change = changes.message() => match change? {
                Some(shown) if shown.ended_at_ms > 0 => break shown,
                Some(_) => {}
                None => bail!("the node stopped"),
            },
        }
    };
    let seconds = began.elapsed().as_secs_f64();
    let subjects = u64::try_from(place.subjects.len())?;
    ensure!(ended.answered == subjects, "{} of {subjects} were answered: {ended:?}", ended.answered);
    ensure!(ended.matched > 0 && ended.mismatched > 0 && ended.unavailable == 0, "{ended:?}");
    Ok(seconds)
}

async fn submit(batches: &mut BatchesClient<Channel>, place: &Place, status: &str) -> anyhow::Result<String> {
    let request = place.office_request(0);
    let mut claims = request.claims;
    for operand in claims.iter_mut().flat_map(|claim| &mut claim.operands) {
        operand.kind = Some(proto::exchange::v1::value::Kind::Text(status.to_owned()));
    }
    let header = BatchHeader {
        name: format!("bench {status}"),
        provider: request.provider,
        service: request.service,
        service_version: request.service_version,
        claims,
        purpose: request.purpose,
        case_number: request.case_number,
        officer: request.officer,
        ..BatchHeader::default()
    };
    let (sender, receiver) = mpsc::channel(4);
    let subjects = Arc::clone(&place.subjects);
    let sending = tokio::spawn(async move {
        let parts = subjects.chunks(ROWS).map(|some| {
            let row = |number: &String| BatchRow {
                subject: Some(Subject { scheme: "resident_id".into(), value: number.clone() }),
                ..BatchRow::default()
            };
            Part::Rows(BatchRows { rows: some.iter().map(row).collect() })
        });
        for part in std::iter::once(Part::Header(header)).chain(parts) {
            if sender.send(SubmitBatchRequest { part: Some(part) }).await.is_err() {
                return;
            }
        }
    });
    let mut shown = batches.submit(ReceiverStream::new(receiver)).await?.into_inner();
    let mut last = None;
    while let Some(job) = shown.message().await? {
        last = Some(job);
    }
    sending.await?;
    Ok(last.context("the node took no job")?.job)
}

/// The file's path, once a server's own user can read it too.
fn readable(csv: &Path) -> anyhow::Result<String> {
    use std::os::unix::fs::PermissionsExt;
    let copy = std::env::temp_dir().join(format!("errand-bulk-{}.csv", std::process::id()));
    fs::copy(csv, &copy)?;
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o644))?;
    Ok(copy.display().to_string())
}
