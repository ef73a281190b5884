//! The towns that are measured: civil affairs with a marriage register of so many records, and housing that may ask it.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use jiff::civil::date;
use proto::{
    exchange::v1::{Claim, LegalBasis, Purpose, Request, Subject, Value, value::Kind},
    office::v1::VerifyRequest,
};
use town::harness::{NodeHandle, Scope, Town, town};
use trust::{directory::WIRE_VERSION, subject::resident_number::ResidentNumber};

/// The item that the grant is for.
const ITEM: &str = "公租房申请";

/// A town with its number of records and their subjects.
pub struct Place {
    /// The running town.
    pub town: Town,
    /// How many records civil affairs has.
    pub records: usize,
    /// Whom they are about.
    pub subjects: Arc<Vec<String>>,
}

impl Place {
    /// Starts a town whose marriage register has `records` rows.
    pub async fn start(dir: &Path, records: usize) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let csv = dir.join("marriage.csv");
        let subjects = write_register(&csv, records)?;
        let yaml = include_str!("../../../examples/quick-start/marriage-registration.yaml");
        let town = town(dir)
            .department("civil-affairs")
            .service(yaml, &csv)
            .department("housing")
            .granting(
                "civil-affairs/marriage-registration",
                "housing",
                Scope::of("marital_status", &["equals"]).for_item(ITEM).on(&["公共租赁住房管理办法 7"]),
            )
            .start()
            .await
            .context("the town starts")?;
        Ok(Self { town, records, subjects: Arc::new(subjects) })
    }

    /// A request of housing to civil affairs, without what differs from question to question.
    pub fn request(&self) -> Request {
        let exchange = "ninghe";
        Request {
            wire_version: WIRE_VERSION,
            exchange_id: exchange.into(),
            sender: format!("{exchange}/housing"),
            sender_node: "1".into(),
            recipient: format!("{exchange}/civil-affairs"),
            service: "marriage-registration".into(),
            service_version: 1,
            subject: Some(Subject { scheme: "resident_id".into(), value: String::new() }),
            claims: vec![claim()],
            purpose: Some(purpose()),
            case_number: "GZF-2026-0001".into(),
            officer: "1024".into(),
            trace: "0123456789abcdef".into(),
            ..Default::default()
        }
    }

    /// The same question as an office puts it.
    pub fn office_request(&self, number: u64) -> VerifyRequest {
        let at = usize::try_from(number).unwrap_or(0).wrapping_mul(7919) % self.subjects.len();
        VerifyRequest {
            provider: "civil-affairs".into(),
            service: "marriage-registration".into(),
            service_version: 1,
            subject: Some(Subject { scheme: "resident_id".into(), value: self.subjects[at].clone() }),
            claims: vec![claim()],
            purpose: Some(purpose()),
            case_number: "GZF-2026-0001".into(),
            officer: "1024".into(),
            ..Default::default()
        }
    }

    /// The answering node.
    pub fn provider(&self) -> &NodeHandle {
        self.town.node("civil-affairs")
    }

    /// The asking node.
    pub fn consumer(&self) -> &NodeHandle {
        self.town.node("housing")
    }
}

/// Stops a node and starts it again: how long until it is ready.
pub async fn cold_start(node: &NodeHandle) -> anyhow::Result<Duration> {
    node.stop().await?;
    let started = Instant::now();
    node.start().await?;
    Ok(started.elapsed())
}

/// Resident memory of a process, in MB (10⁶ bytes); 0 where it is gone.
pub fn resident_mb(node: &NodeHandle) -> f64 {
    let Some(id) = node.id() else { return 0.0 };
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse().unwrap_or(0.0);
    kilobytes * 1024.0 / 1e6
}

fn claim() -> Claim {
    let operand = Value { kind: Some(Kind::Text("married".into())) };
    Claim {
        attribute: "marital_status".into(),
        operator: "equals".into(),
        operands: vec![operand],
        disclose: false,
        fixed_by_item: false,
    }
}

fn purpose() -> Purpose {
    Purpose {
        item: ITEM.into(),
        item_statement: Vec::new(),
        legal_bases: vec![LegalBasis { instrument: "公共租赁住房管理办法".into(), article: "7".into() }],
        scenario: String::new(),
    }
}

/// Made-up people of the fictional province, one row each.
fn write_register(path: &Path, records: usize) -> anyhow::Result<Vec<String>> {
    let mut file = BufWriter::new(File::create(path)?);
    writeln!(file, "resident_id,marital_status,registered_on")?;
    let mut subjects = Vec::with_capacity(records);
    let first = date(1940, 1, 1);
    for number in 0..records {
        // 999 people are born each day.
        let day = first.checked_add(jiff::Span::new().days(i64::try_from(number / 999)?))?;
        let sequence = u16::try_from(number % 999)? + 1;
        let resident = ResidentNumber::compose("890101", day, sequence)?.into_string();
        let status = if number % 3 == 0 { "divorced" } else { "married" };
        writeln!(file, "{resident},{status},2015-06-01")?;
        subjects.push(resident);
    }
    file.flush()?;
    Ok(subjects)
}
