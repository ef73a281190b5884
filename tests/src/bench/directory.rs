//! The directory at its largest: a million statements that a new node verifies and folds, a restarted one opens, an
//! operator adds to, and a revocation travels through; each program a process of its own on one core, beside what that
//! core can verify at most. `./tests/bench.sh directory`; `--statements 50000` for a quick form.
//!
//! Out of scope: whether any of it is right (`tests/all`).

pub mod anchoring;
pub mod generate;
pub mod limit;
pub mod losses;
pub mod place;
pub mod publishing;
pub mod revoking;
pub mod running;
pub mod tiles;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use proto::admin::v1::{ShowViewRequest, directory_view_client::DirectoryViewClient};
use serde_json::{Map, Value, json};

use self::{
    place::{DEPARTMENTS, Place, RegistryReady},
    running::Running,
};
use super::summary;

/// The core that the registry runs on.
const REGISTRY_CORE: usize = 0;

/// The core that the measured node runs on.
const NODE_CORE: usize = 1;

/// How long a node may take to read the whole directory.
const LIMIT: Duration = Duration::from_secs(900);

/// What can be set.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// How many statements the directory has.
    #[arg(long, default_value_t = 1_000_000)]
    statements: u64,
    /// Only what has this in its name (fold, open, again, publish, revocation, tiles, anchors, losses).
    #[arg(long, default_value = "")]
    only: String,
    /// How often is published.
    #[arg(long, default_value_t = 100)]
    publications: usize,
    /// Where made directories are kept.
    #[arg(long, default_value = "target/bench")]
    keep: PathBuf,
}

/// Measures, and puts the figures into the summary.
pub async fn run(options: &Options, summary: &Path) -> anyhow::Result<()> {
    let mut figures = Map::new();
    let measured = measure(options, &mut figures).await;
    println!();
    for (name, value) in &figures {
        let wanted = WANTED.iter().find(|(wanted, _)| wanted == name).map_or("", |(_, wanted)| wanted);
        println!("{name:<36} {value:>14}   {wanted}");
    }
    summary::write(summary, figures)?;
    println!("written to {}", summary.display());
    measured
}

/// What was hoped for.
const WANTED: [(&str, &str); 8] = [
    ("directory_fold_per_second", "to reach >= 20000 with avx512, 12000 otherwise"),
    ("directory_fold_rss_mb", "to reach < 400"),
    ("directory_open_seconds", "to reach < 3"),
    ("directory_again_rss_mb", "to reach < 400"),
    ("publish_p50_ms", "to reach < 20"),
    ("submit_p50_ms", "to reach < 20"),
    ("revocation_seconds", "to reach < 5"),
    ("lost_statements", "to reach 0"),
];

async fn measure(options: &Options, figures: &mut Map<String, Value>) -> anyhow::Result<()> {
    let wanted = |name: &str| name.contains(&options.only);
    if wanted("losses") {
        figures.extend(losses::measure().await?);
    }
    if ["fold", "open", "again", "publish", "revocation", "tiles", "anchors"].into_iter().all(|name| !wanted(name)) {
        return Ok(());
    }
    let place = Place::of(&options.keep, options.statements).await?;
    let registry_program = place.programs().registry();
    let registry = Running::start(&registry_program, &place.registry().join("registry.toml"), REGISTRY_CORE).await?;
    println!(
        "the registry is ready after {:.1} s, with {:.0} MB",
        registry.ready_after.as_secs_f64(),
        registry.peak_mb()?
    );
    figures.insert("registry_ready_seconds".into(), rounded(registry.ready_after.as_secs_f64(), 2));
    figures.insert("registry_peak_mb".into(), rounded(registry.peak_mb()?, 0));
    let ready: RegistryReady = registry.ready()?;

    if wanted("tiles") {
        figures.extend(tiles::measure(&ready).await?);
    }
    if wanted("anchors") {
        figures.extend(anchoring::measure(&place, &ready).await?);
    }
    if wanted("fold") {
        fold(&place, figures).await?;
    }
    if wanted("open") {
        open(&place, figures).await?;
    }
    if wanted("again") {
        again(&place, figures).await?;
    }
    if wanted("publish") || wanted("revocation") {
        let mut nodes = Vec::new();
        for department in DEPARTMENTS {
            nodes.push(start_node(&place, department).await?);
        }
        for node in &nodes {
            seen(node, options.statements).await?;
        }
        if wanted("publish") {
            figures.extend(publishing::measure(&place, &ready, options.publications).await?);
        }
        if wanted("revocation") {
            figures.extend(revoking::measure(&place, &ready, &nodes).await?);
        }
        for node in nodes {
            node.stop().await?;
        }
    }
    registry.stop().await
}

/// A new node reads the whole directory: fetches it, verifies it, folds it and writes it down.
async fn fold(place: &Place, figures: &mut Map<String, Value>) -> anyhow::Result<()> {
    let department = DEPARTMENTS[1];
    place.forget(department)?;
    let before = limit::measure(NODE_CORE, 3.0)?;
    let node = start_node(place, department).await?;
    let size = seen_all(&node).await?;
    let (took, processor) = (node.started.elapsed().as_secs_f64(), node.processor_seconds()?);
    let peak_mb = peak_with_put_down(&node).await?;
    let limit = f64::midpoint(before, limit::measure(NODE_CORE, 3.0)?);
    let (per_second, per_processor) = (size as f64 / took, size as f64 / processor);
    println!("a new node reads {size} statements in {took:.1} s ({processor:.1} s of its core); limit {limit:.0}/s");
    figures.insert("directory_statements".into(), json!(size));
    figures.insert("directory_fold_per_second".into(), rounded(per_second, 0));
    figures.insert("directory_fold_per_processor_second".into(), rounded(per_processor, 0));
    figures.insert("directory_fold_rss_mb".into(), rounded(peak_mb, 0));
    figures.insert("directory_fold_over_limit".into(), rounded(per_processor / limit, 2));
    figures.insert("directory_verifications_per_second".into(), rounded(limit, 0));
    node.stop().await
}

/// A restarted node opens what it had verified.
async fn open(place: &Place, figures: &mut Map<String, Value>) -> anyhow::Result<()> {
    let mut took = Vec::new();
    let mut resident_mb = 0.0;
    let first = start_node(place, DEPARTMENTS[1]).await?;
    let size = seen_all(&first).await?;
    first.stop().await?;
    for _ in 0..3 {
        let node = start_node(place, DEPARTMENTS[1]).await?;
        seen(&node, size).await?;
        took.push(node.started.elapsed().as_secs_f64());
        resident_mb = node.peak_mb()?;
        node.stop().await?;
    }
    took.sort_by(f64::total_cmp);
    println!("a restarted node has its view of {size} statements after {took:.2?} s");
    figures.insert("directory_open_seconds".into(), rounded(took[took.len() / 2], 2));
    figures.insert("directory_open_rss_mb".into(), rounded(resident_mb, 0));
    Ok(())
}

/// A node verifies all that it stored, as it does once after an update that puts its view down in another way.
async fn again(place: &Place, figures: &mut Map<String, Value>) -> anyhow::Result<()> {
    let first = start_node(place, DEPARTMENTS[1]).await?;
    let size = seen_all(&first).await?;
    first.stop().await?;
    match std::fs::remove_file(place.node(DEPARTMENTS[1]).join("directory.view")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let node = start_node(place, DEPARTMENTS[1]).await?;
    seen(&node, size).await?;
    let took = node.started.elapsed().as_secs_f64();
    let peak_mb = peak_with_put_down(&node).await?;
    println!("a node verifies {size} stored statements again in {took:.1} s, with {peak_mb:.0} MB");
    figures.insert("directory_again_seconds".into(), rounded(took, 1));
    figures.insert("directory_again_rss_mb".into(), rounded(peak_mb, 0));
    node.stop().await
}

/// The most memory of a node that puts down what it verified: that takes memory too.
async fn peak_with_put_down(node: &Running) -> anyhow::Result<f64> {
    let put_down = node.dir().join("directory.view");
    while !put_down.exists() && node.started.elapsed() < LIMIT {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    node.peak_mb()
}

async fn start_node(place: &Place, department: &str) -> anyhow::Result<Running> {
    let program = place.programs().exchange_node();
    Running::start(&program, &place.node(department).join("node.toml"), NODE_CORE).await
}

/// Waits until a node has seen all that the registry signed for when it was asked.
async fn seen_all(node: &Running) -> anyhow::Result<u64> {
    // A node that has read on says so by being fresh: its view is what the registry vouches for now.
    wait(node, |size, state| size > 0 && state == "fresh").await
}

/// Waits until a node has seen so many statements.
async fn seen(node: &Running, size: u64) -> anyhow::Result<u64> {
    wait(node, |seen, _| seen >= size).await
}

async fn wait(node: &Running, is_enough: impl Fn(u64, &str) -> bool) -> anyhow::Result<u64> {
    let channel = host::admin_socket::connect(node.dir(), "exchange-node serve").await?;
    let mut client = DirectoryViewClient::new(channel);
    let deadline = Instant::now() + LIMIT;
    loop {
        let shown = client.show(ShowViewRequest {}).await.context("the node answers")?.into_inner();
        if is_enough(shown.size, &shown.state) {
            return Ok(shown.size);
        }
        if Instant::now() > deadline {
            bail!("the node in {} stands at {} statements", node.dir().display(), shown.size);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Rounded for people.
fn rounded(value: f64, decimals: i32) -> Value {
    let factor = 10_f64.powi(decimals);
    json!((value * factor).round() / factor)
}

/// The median of durations, in milliseconds.
fn median_ms(mut took: Vec<Duration>) -> f64 {
    took.sort();
    took.get(took.len() / 2).map_or(f64::NAN, |took| took.as_secs_f64() * 1000.0)
}
