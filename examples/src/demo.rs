//! The demo: a made-up town as real processes, public rental housing for four applicants, the evidence checked, and all five
//! items of the town at their windows. It prints what a newcomer needs to see, and fails where anything comes out otherwise
//! than promised.
//!
//! Out of scope: starting processes ([`crate::harness`]) and the people ([`crate::population`]).

pub mod evidence;
pub mod farewell;
pub mod guide;
pub mod handling;
pub mod operations;
pub mod progress;
pub mod report;
pub mod windows;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use anyhow::{Context, bail};
use clap::Parser;
use host::clock::Clock;

use self::{
    evidence::EvidenceChecked,
    farewell::Farewell,
    guide::{CaseHead, Guide},
    handling::Case,
    operations::{Operations, departments::ENDING},
    progress::{Departments, Step, thousands},
    report::Summary,
    windows::Windows,
};
use crate::{
    harness::{Plan, Programs, Scope, Town, town},
    population::{Cast, DEMO_REFERENCE_DATE, DEMO_SEED, Population, Register, Visitors},
    services::{
        DEPARTMENTS,
        windows::{ANSWERED_BY_CLERK, APPROVALS, FURTHER},
    },
};

/// Runs a made-up town of ten departments, each with its own node, and handles its public service items.
#[derive(Clone, Debug, Parser)]
#[command(name = "demo.sh", after_help = "Example:\n  ./examples/demo.sh --residents 20000 --keep")]
pub struct Options {
    /// Leaves the town running, and says how to ask it something and how to stop it.
    #[arg(long)]
    pub keep: bool,
    /// Writes the summary to this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// How many people live in the town: 2,000 or more has somebody for each part.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub residents: usize,
    /// A new or empty folder for the town, which is left there. Without it, a temporary one that is removed at the end.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// Runs the demo. `Ok(false)` is a demo that did not come out as promised.
///
/// # Errors
/// Something without which the demo cannot go on.
pub async fn run(options: &Options, dir: &Path, clock: Arc<dyn Clock>) -> anyhow::Result<bool> {
    let begun = Instant::now();
    let programs = Programs::find()?;
    let guide = Guide::of(ITEM)?;
    println!("{INTRODUCTION}");

    println!("\n1. The people");
    let people = Arc::new(make_people(options.residents, &dir.join(RECORDS)).await?);

    println!("\n2. The registry and ten departments: each a process with its own folder, keys and records");
    let town = start(dir, programs, &guide, options.keep).await?;

    println!("\n3. {ITEM}, public rental housing: {PLAN_OF_CASES}");
    let cases = handle_all(&town, &guide, &people.cast, clock.as_ref()).await?;

    println!("\n4. The evidence of the first case");
    let evidence = evidence::check(&town, OFFICE, &cases[0], &dir.join(EVIDENCE)).await?;
    let kept = (options.keep || options.dir.is_some()).then(|| dir.join(EVIDENCE));
    show_evidence(&town, &evidence, kept.as_deref());

    println!("\n5. All five items of the town, each at its window: one call asks all departments at once");
    town.node(TAXATION).start().await?;
    let folder = dir.join(OPERATIONS);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let operations = Operations { town: &town, office: OFFICE, applicant: &people.cast.all_true, folder: &folder };
    let windows = Windows { operations, visitors: &people.visitors, denier: &people.cast.earns_more };
    let items = windows.run().await;

    println!("\n6. A year of running it, in short");
    town.settled().await?;
    let operations = operations.run().await;

    let elapsed_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    let summary = Summary::of(&cases, &evidence, items, operations, elapsed_ms);
    if let Some(file) = &options.json {
        let text = serde_json::to_string_pretty(&summary)? + "\n";
        fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    let surprises = summary.surprises();
    show_end(&summary, &surprises);
    if options.keep {
        let farewell =
            Farewell { town: &town, population: &people.population, cast: &people.cast, guide: &guide, office: OFFICE };
        println!("\n{}", farewell.text());
        let _ = town.leave_running();
    } else {
        town.stop().await?;
    }
    Ok(surprises.is_empty())
}

struct People {
    population: Population,
    cast: Cast,
    visitors: Visitors,
}

async fn make_people(residents: usize, records: &Path) -> anyhow::Result<People> {
    let step = Step::begin("making people up and writing each department's records");
    fs::create_dir_all(records).with_context(|| format!("cannot make {}", records.display()))?;
    let records = records.to_owned();
    let make = move || {
        let population = Population::generate(DEMO_SEED, residents, DEMO_REFERENCE_DATE)?;
        let (cast, visitors) = (population.cast()?, population.visitors()?);
        let rows: u64 = population.write_all(&records)?.iter().map(|(_, rows)| rows).sum();
        let [(_, degree), (_, fund)] = &FURTHER;
        visitors.write_degrees(fs::File::create(records.join(format!("{}.csv", degree.id)))?)?;
        visitors.write_housing_fund(fs::File::create(records.join(format!("{}.csv", fund.id)))?)?;
        Ok::<_, anyhow::Error>((People { population, cast, visitors }, rows))
    };
    let (people, rows) = tokio::task::spawn_blocking(make).await??;
    let residents = u64::try_from(residents).unwrap_or(u64::MAX);
    step.done(&format!(
        "{} residents from a seed, and {} records of {} registers; who owns no house has no entry",
        thousands(residents),
        thousands(rows),
        Register::ALL.len(),
    ));
    Ok(people)
}

async fn start(dir: &Path, programs: Programs, guide: &Guide, keep: bool) -> anyhow::Result<Town> {
    // A commitment is checked once whoever was away may be back.
    let checks = "[cases]\ncheck_after_seconds = 1\n\n[limits]\n";
    let mut plan: Plan = town(dir).programs(programs).setting("[limits]\n", checks);
    let records = |id: &str| dir.join(RECORDS).join(format!("{id}.csv"));
    for department in &DEPARTMENTS {
        plan = plan.department(department.id);
        for service in department.services {
            plan = plan.service(service.yaml, records(service.id));
        }
        if department.id == PUBLIC_SECURITY {
            plan = plan.service_without_records(ANSWERED_BY_CLERK.yaml);
        }
    }
    for (department, service) in &FURTHER {
        plan = plan.department(department).service(service.yaml, records(service.id));
    }
    plan = plan.department(APPROVALS);
    // One that the year will end.
    plan = plan.department(ENDING).granting(MARRIAGE, ENDING, Scope::of("marital_status", &["equals"]));
    let mut grants = 0;
    for (service, scope) in guide.grants() {
        plan = plan.granting(&service, OFFICE, scope);
        grants += 1;
    }
    let mut further = 0;
    for (service, consumer, scope) in windows::grants() {
        plan = plan.granting(service, consumer, scope);
        further += 1;
    }
    if keep {
        plan = plan.apart();
    }
    let shown = Arc::new(Departments::begin());
    let showing = Arc::clone(&shown);
    let town = plan.reporting(move |event| showing.show(event)).start().await;
    shown.end();
    let town = town?;
    println!("  ✓ {} and {APPROVALS}: there for the other items", FURTHER.map(|(department, _)| department).join(", "));
    println!(
        "  ✓ {grants} grants: the housing office may ask what {ITEM} needs, and nothing else; {further} for the other items"
    );
    Ok(town)
}

async fn handle_all(town: &Town, guide: &Guide, cast: &Cast, clock: &dyn Clock) -> anyhow::Result<Vec<Case>> {
    let office = town.office(OFFICE).await?;
    let width = progress::terminal_width().map(|columns| columns.saturating_sub(MARGIN));
    let mut cases = Vec::new();
    for (place, (applicant, about)) in cast.in_order().into_iter().zip(PARTS).enumerate() {
        if place == STOPPED_BEFORE {
            town.node(TAXATION).stop().await?;
        }
        let number = format!("GZF-2026-{:04}", place + 1);
        let head = CaseHead { number, officer: OFFICER.to_owned(), signed_at_ms: clock.now_ms() };
        println!("\n  {}, case {}: {about}", applicant.name, head.number);
        let step = Arc::new(Step::begin("asking five departments for six facts at once"));
        let advancing = Arc::clone(&step);
        let case = handling::handle(guide, &office, applicant, &head, move || advancing.advance()).await?;
        drop(step);
        println!("{}", indented(&report::table(&case, width)));
        cases.push(case);
    }
    Ok(cases)
}

fn show_evidence(town: &Town, evidence: &EvidenceChecked, kept: Option<&Path>) {
    let EvidenceChecked { bundles, size, report, changed_byte, complaint, .. } = evidence;
    let place = kept.map_or("; --keep keeps them".to_owned(), |kept| format!(" to {}", kept.display()));
    println!("  ✓ {bundles} bundles exported{place}");
    println!(
        "  The first ({} bytes), checked offline with nothing but the authority's public key",
        thousands(*size as u64)
    );
    println!("  {}:\n", town.authority_key());
    println!("{}", indented(report));
    println!(
        "\n  The same bundle with byte {} changed, which lies within the signed answer:\n",
        thousands(*changed_byte as u64)
    );
    println!("{}", indented(complaint));
}

fn show_end(summary: &Summary, surprises: &[String]) {
    let facts: usize = summary.applicants.iter().map(|applicant| applicant.facts.len()).sum();
    let accepted = summary.certificates_not_asked_for;
    println!("\n{accepted} of {facts} certificates were not asked for: nobody had to fetch them.");
    println!(
        "The other {} go to an officer: a mismatch, a missing record and an outage are three different things,",
        facts - accepted
    );
    println!("and none of them is a decision. All of it took {:.1} seconds.", summary.elapsed_ms as f64 / 1000.0);
    println!(
        "\nRead on: README.md (try it by hand), ARCHITECTURE.md (how it works), docs/protocol.md (every byte of it)."
    );
    for surprise in surprises {
        println!("\nNot as promised: {surprise}.");
    }
}

/// Makes the town's folder, or checks that the one given is new or empty.
///
/// # Errors
/// The folder holds something, or cannot be made.
pub fn folder(options: &Options) -> anyhow::Result<(PathBuf, Option<tempfile::TempDir>)> {
    let Some(dir) = &options.dir else {
        let dir = tempfile::Builder::new().prefix("errand-").tempdir().context("cannot make a temporary folder")?;
        // A town that keeps running keeps its folder.
        return Ok(if options.keep { (dir.keep(), None) } else { (dir.path().to_owned(), Some(dir)) });
    };
    fs::create_dir_all(dir).with_context(|| format!("cannot make the folder {}", dir.display()))?;
    let mut content = fs::read_dir(dir).with_context(|| format!("cannot read the folder {}", dir.display()))?;
    if content.next().is_some() {
        bail!("the folder {} is not empty: name a new one", dir.display());
    }
    Ok((std::path::absolute(dir)?, None))
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

const EVIDENCE: &str = "evidence";
const ITEM: &str = "公租房申请";
const MARGIN: u16 = 2;
const MARRIAGE: &str = "civil-affairs/marriage-registration";
const OFFICE: &str = "housing";
const OFFICER: &str = "1024";
const OPERATIONS: &str = "operations";
const PUBLIC_SECURITY: &str = "public-security";
const RECORDS: &str = "records";
const TAXATION: &str = "taxation";
const STOPPED_BEFORE: usize = 3;
const INTRODUCTION: &str = "Errand: information runs the errand, so that people don't. \
    A town in the fictional province 89; everybody in it is made up.";
const PLAN_OF_CASES: &str = "once six certificates from five offices, now six questions";
const PARTS: [&str; 4] = [
    "everything stated is true",
    "states an income within the limit, and earns more",
    "never paid into the pension scheme, so there is no record",
    "everything stated is true, but the taxation node is stopped",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_are_understood() {
        let options = Options::parse_from(["demo", "--residents", "2000", "--json", "out.json", "--keep"]);
        assert_eq!((options.residents, options.keep, options.json), (2000, true, Some("out.json".into())));
        assert_eq!(Options::parse_from(["demo"]).residents, 100_000);
        <Options as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn a_folder_in_use_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { keep: false, json: None, residents: 1, dir: Some(dir.path().join("town")) };
        assert!(folder(&options).unwrap().1.is_none());
        fs::write(dir.path().join("town/file"), "").unwrap();
        assert!(folder(&options).unwrap_err().to_string().contains("is not empty"));
    }

    #[test]
    fn a_temporary_folder_is_removed_with_its_guard() {
        let options = Options { keep: false, json: None, residents: 1, dir: None };
        let (path, guard) = folder(&options).unwrap();
        assert!(path.is_dir());
        drop(guard);
        assert!(!path.exists());
    }
}
