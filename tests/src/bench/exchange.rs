//! How fast questions are answered, over registers of several sizes, beside a bare server over the same TLS that verifies
//! and signs and does nothing else. Out of scope: the directory (`directory`).

use std::{
    path::Path,
    process::Command,
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use prost::Message;
use serde_json::{Map, json};

use super::{
    directory::running::Ended,
    driver::Driver,
    load::{Ask, measure},
    places::{Place, cold_start, resident_mb},
    summary::{self, Figures},
};

/// What can be set.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// Seconds for each point of each round.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Rounds, interleaved.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Sizes of the register.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 1_000_000])]
    records: Vec<usize>,
    /// Questions in flight.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 256])]
    in_flight: Vec<usize>,
    /// Only what has this in its name (limit, node, journey); for profiling.
    #[arg(long, default_value = "")]
    only: String,
}

/// Measures, and puts the figures into the summary.
pub async fn run(options: &Options, summary: &Path) -> anyhow::Result<()> {
    let dir = tempfile::Builder::new().prefix("bench").tempdir()?;
    let mut places = Vec::new();
    for records in &options.records {
        println!("starting a town with {records} records");
        places.push(Arc::new(Place::start(&dir.path().join(format!("t{records}")), *records).await?));
    }
    measure_all(options, summary, dir.path(), &places).await
}

const NODE: &str = "node to node";

/// How many entries the evidence log has at least when the node is started cold.
const COLD_ENTRIES: u64 = 100_000;

async fn measure_all(options: &Options, summary: &Path, dir: &Path, places: &[Arc<Place>]) -> anyhow::Result<()> {
    let numbers = Arc::new(AtomicU64::new(0));
    let mut loads: Vec<(&'static str, usize, Ask)> = Vec::new();
    let mut nodes: Vec<Arc<Driver>> = Vec::new();
    for place in places {
        let address = place.provider().peer_address();
        let (asker, provider) = (place.consumer().dir(), place.provider().dir());
        let mut driver = Driver::new(asker, provider, &address, place.request(), Arc::clone(&place.subjects))?;
        driver.learn_directory().await?;
        nodes.push(Arc::new(driver));
    }
    let (Some(first), Some(first_node)) = (places.first(), nodes.first()) else { bail!("no records to measure with") };
    let sample = first_node.ask(0).await.map_err(anyhow::Error::msg)?;
    let (_limit_server, limit) = start_limit(dir, first, first_node, &sample).await?;
    loads.push(("limit", 0, limit.limit_load()));
    for (place, node) in places.iter().zip(&nodes) {
        loads.push((NODE, place.records, node.load()));
    }
    for place in places {
        loads.push(("journey", place.records, journey(place).await?));
    }

    let cold = start_cold(places, &loads, &numbers).await?;
    let mut figures = Figures::default();
    let mut peak_mb: f64 = 0.0;
    let duration = Duration::from_secs_f64(options.seconds);
    for round in 1..=options.rounds {
        for in_flight in options.in_flight.iter().copied() {
            for (what, records, load) in loads.iter().filter(|(what, ..)| what.contains(&options.only)) {
                let point = measure(load, in_flight, duration, &numbers).await;
                let point = point.map_err(|error| anyhow::anyhow!("{what}, {records} records: {error}"))?;
                println!(
                    "round {round}: {what:<12} {records:>8} records {in_flight:>4} in flight {:>8.0}/s",
                    point.per_second
                );
                figures.add((what, *records, in_flight), point);
                peak_mb = places.iter().map(|place| resident_mb(place.provider())).fold(peak_mb, f64::max);
            }
        }
    }
    report(options, summary, places, &figures, peak_mb, &cold)
}

/// What an office's question costs from end to end.
async fn journey(place: &Arc<Place>) -> anyhow::Result<Ask> {
    use proto::exchange::v1::Verdict::{Match, Mismatch};
    let office = Arc::new(place.town.office("housing").await?);
    let place = Arc::clone(place);
    Ok(Arc::new(move |number| {
        let (office, place) = (Arc::clone(&office), Arc::clone(&place));
        Box::pin(async move {
            let result = office.verify(place.office_request(number)).await.map_err(|status| format!("{status}"))?;
            let told = result.verdicts.iter().all(|verdict| matches!(verdict.verdict(), Match | Mismatch));
            if told && !result.verdicts.is_empty() { Ok(()) } else { Err(format!("no verdict: {result:?}")) }
        })
    }))
}

struct LimitDriver(Arc<Driver>);

impl LimitDriver {
    fn limit_load(&self) -> Ask {
        let driver = Arc::clone(&self.0);
        Arc::new(move |number| {
            let driver = Arc::clone(&driver);
            Box::pin(async move { driver.ask(number).await.map(|_| ()) })
        })
    }
}

async fn start_limit(
    dir: &Path,
    place: &Place,
    node: &Driver,
    sample: &proto::exchange::v1::Signed,
) -> anyhow::Result<(Ended, LimitDriver)> {
    let (answer, ready) = (dir.join("answer.bin"), dir.join("limit.ready"));
    std::fs::write(&answer, sample.encode_to_vec())?;
    let child = Command::new(std::env::current_exe()?)
        .arg("limit-server")
        .args([place.provider().dir().as_os_str(), node.public_key().to_string().as_ref()])
        .args([answer.as_os_str(), ready.as_os_str()])
        .spawn()
        .context("the limit's server starts")?;
    let child = Ended(child);
    let deadline = Instant::now() + Duration::from_secs(10);
    let address = loop {
        match std::fs::read_to_string(&ready) {
            Ok(address) => break address,
            Err(_) if Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(error) => bail!("the limit's server does not come up: {error}"),
        }
    };
    let (asker, provider) = (place.consumer().dir(), place.provider().dir());
    let mut template = place.request();
    template.directory_root = vec![0; 32];
    let driver = Driver::new(asker, provider, &address, template, Arc::clone(&place.subjects))?;
    Ok((child, LimitDriver(Arc::new(driver))))
}

/// What a node needs to start with all its records and a lived-in evidence log.
struct Cold {
    took: Duration,
    resident_mb: f64,
    evidence_entries: u64,
}

/// Fills the evidence of the node with the most records, and starts it cold.
async fn start_cold(
    places: &[Arc<Place>],
    loads: &[(&'static str, usize, Ask)],
    numbers: &Arc<AtomicU64>,
) -> anyhow::Result<Cold> {
    let large = places.last().context("no places")?;
    let load = loads.iter().rfind(|(what, records, _)| *what == NODE && *records == large.records);
    let (.., load) = load.context("no load")?;
    let entries = async || {
        let mut admin = large.town.admin("civil-affairs").await?;
        anyhow::Ok(admin.status(proto::admin::v1::StatusRequest {}).await?.into_inner().evidence_size)
    };
    println!("filling the evidence log");
    while entries().await? < COLD_ENTRIES {
        measure(load, 256, Duration::from_millis(500), numbers).await.map_err(anyhow::Error::msg)?;
    }
    let evidence_entries = entries().await?;
    let took = cold_start(large.provider()).await?;
    // Before anything is asked: the first answer proves that it is there, and what it needs is known by then.
    let resident_mb = resident_mb(large.provider());
    load(0).await.map_err(anyhow::Error::msg)?;
    Ok(Cold { took, resident_mb, evidence_entries })
}

fn report(
    options: &Options,
    path: &Path,
    places: &[Arc<Place>],
    figures: &Figures,
    peak_mb: f64,
    cold: &Cold,
) -> anyhow::Result<()> {
    let (Some(small), Some(large)) = (places.first(), places.last()) else { bail!("no places") };

    let rps = |what, records| figures.median((what, records, 256), |point| point.per_second);
    let node = (NODE, large.records, 256);
    let over_limit = figures.ratio(node, ("limit", 0, 256), |point| point.per_second);
    let size_ratio = figures.ratio((NODE, large.records, 1), (NODE, small.records, 1), |point| point.p50_ms);
    println!("\n{}", figures.table());
    println!(
        "Medians of {} rounds of {} s each, lowest to highest behind them; 4 connections.",
        options.rounds, options.seconds
    );
    let rows: [(&str, String, &str); 6] = [
        ("node over limit at 256 in flight", format!("{over_limit:.2}"), ">= 0.60"),
        ("median time, most over fewest records, 1 in flight", format!("{size_ratio:.2}"), "<= 1.20"),
        ("resident MB after a cold start", format!("{:.0}", cold.resident_mb), "< 96"),
        ("resident MB at full load, highest", format!("{peak_mb:.0}"), "< 300"),
        ("ready after a cold start, s", format!("{:.2}", cold.took.as_secs_f64()), "< 3"),
        ("evidence entries at that start", cold.evidence_entries.to_string(), ">= 100000"),
    ];
    for (what, measured, wanted) in rows {
        println!("{what:<52} {measured:>9}   to reach {wanted}");
    }
    let summary = json!({
        "limit_rps": rps("limit", 0),
        "node_rps": rps("node to node", large.records),
        "journey_rps": rps("journey", large.records),
        "node_over_limit": over_limit,
        "p50_ms": figures.median(node, |point| point.p50_ms),
        "p99_ms": figures.median(node, |point| point.p99_ms),
        "rss_mb": cold.resident_mb,
        "rss_full_load_mb": peak_mb,
        "records": large.records,
        "p50_ratio_by_records": size_ratio,
        "cold_start_seconds": cold.took.as_secs_f64(),
        "evidence_entries": cold.evidence_entries,
        "points": figures.points(),
    });
    let summary: Map<_, _> = summary.as_object().cloned().unwrap_or_default();
    summary::write(path, summary)?;
    println!("written to {}", path.display());
    Ok(())
}
