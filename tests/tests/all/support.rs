//! What the scenarios share: a small town, its made-up people, questions about them, and how a test that cannot run on
//! this machine says so. Out of scope: starting processes (`town::harness`).

#[path = "support/cases.rs"]
pub(crate) mod cases;
#[path = "support/document.rs"]
pub(crate) mod document;
#[path = "support/evidence.rs"]
pub(crate) mod evidence;
#[path = "support/further.rs"]
pub(crate) mod further;
#[path = "support/http.rs"]
pub(crate) mod http;
#[path = "support/load.rs"]
pub(crate) mod load;
#[path = "support/office_desk.rs"]
pub(crate) mod office_desk;
#[path = "support/office_item.rs"]
pub(crate) mod office_item;
#[path = "support/peer.rs"]
pub(crate) mod peer;
#[path = "support/replicas.rs"]
pub(crate) mod replicas;
#[path = "support/shell.rs"]
pub(crate) mod shell;
#[path = "support/stand_in.rs"]
pub(crate) mod stand_in;
#[path = "support/webhook.rs"]
pub(crate) mod webhook;
#[path = "support/wire.rs"]
pub(crate) mod wire;

use std::{
    env,
    fs::{self, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    process::Output,
    sync::LazyLock,
};

use proto::{
    exchange::v1::{Claim, ClaimVerdict, Purpose, Subject, Value, Verdict, value::Kind},
    office::v1::{State, VerifyRequest, VerifyResponse},
};
use town::harness::{self, Plan, Scope, Town, legal_basis};
use trust::subject::resident_number::ResidentNumber;

/// Married since 2018.
pub(crate) static MARRIED: LazyLock<String> = LazyLock::new(|| resident(1991, 11, 25, 2));

/// Widowed.
pub(crate) static WIDOWED: LazyLock<String> = LazyLock::new(|| resident(1958, 2, 14, 4));

/// Without an entry in the marriage register.
pub(crate) static SINGLE: LazyLock<String> = LazyLock::new(|| resident(1990, 3, 7, 1));

/// The item that housing's grant is for.
pub(crate) const ITEM: &str = "公租房申请";

/// What the item rests on.
pub(crate) const BASIS: &str = "公共租赁住房管理办法 7";

/// The marriage register's description.
pub(crate) const MARRIAGE: &str = include_str!("../../../examples/quick-start/marriage-registration.yaml");

/// The number of somebody who does not exist, in the fictional province.
pub(crate) fn resident(year: i16, month: i8, day: i8, sequence: u16) -> String {
    let born = jiff::civil::date(year, month, day);
    ResidentNumber::compose("890101", born, sequence).expect("a day and a sequence").into_string()
}

/// A running town in a folder that goes with it.
pub(crate) struct Place {
    pub(crate) town: Town,
    // After the town: its processes have ended when the folder goes.
    dir: tempfile::TempDir,
}

impl Place {
    /// The folder.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts what the plan says, in a new folder. The plan gets the folder with `marriage.csv` in it.
    pub(crate) async fn start(plan: impl FnOnce(Plan, &Path) -> Plan) -> Self {
        let dir = tempfile::Builder::new().prefix("errand-").tempdir().expect("a temporary folder");
        Self::start_in(dir, plan).await
    }

    /// Starts what the plan says in this folder.
    pub(crate) async fn start_in(dir: tempfile::TempDir, plan: impl FnOnce(Plan, &Path) -> Plan) -> Self {
        let records = dir.path().join("marriage.csv");
        fs::write(&records, marriage_records()).expect("the records are written");
        let begun = harness::town(dir.path().join("town"));
        let town = plan(begun, dir.path()).start().await.unwrap_or_else(|error| panic!("the town starts: {error}"));
        Self { town, dir }
    }

    /// Civil affairs with its marriage register, and housing that may ask about marital status.
    pub(crate) async fn civil_affairs_and_housing() -> Self {
        Self::start(small).await
    }

    /// Runs an `exchange-node` command at a department.
    pub(crate) async fn cli(&self, department: &str, arguments: &[&str]) -> Output {
        self.town.cli(department, arguments).await.expect("the command runs")
    }

    /// Runs an `exchange-node` command that must end well, and reads its JSON.
    pub(crate) async fn json(&self, department: &str, arguments: &[&str]) -> serde_json::Value {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
        let output = self.cli(department, &arguments).await;
        assert_eq!(exit(&output), 0, "{arguments:?}: {}", said(&output));
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {}", said(&output)))
    }

    /// Runs an `exchange-node` command and reads its JSON, however it ended.
    pub(crate) async fn json_of(&self, department: &str, arguments: &[&str]) -> serde_json::Value {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
        let output = self.cli(department, &arguments).await;
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {}", said(&output)))
    }

    /// Asks one question from housing's office port.
    pub(crate) async fn ask(&self, question: VerifyRequest) -> VerifyResponse {
        let office = self.town.office("housing").await.expect("housing's office");
        office.verify(question).await.unwrap_or_else(|status| panic!("the office gets a result: {status}"))
    }

    /// Who asked about somebody, as an auditor of a department sees it; the plan has [`AUDITED`].
    pub(crate) async fn asked_about(&self, department: &str, subject: &str) -> Vec<serde_json::Value> {
        let look = ["subject", "log", "--officer", "2009", "--auditor", "--json"];
        let output = self.town.cli_with_input(department, &look, subject).await.expect("the command runs");
        assert_eq!(exit(&output), 0, "{}", said(&output));
        let shown: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        shown["entries"].as_array().expect("entries").clone()
    }

    /// The number of entries in a department's evidence log.
    pub(crate) async fn evidence_size(&self, department: &str) -> u64 {
        self.json(department, &["status"]).await["evidence_size"].as_u64().expect("evidence_size")
    }
}

/// A setting of every node, in place of `[limits]`: officer 2009 may look up who asked about a subject.
pub(crate) const AUDITED: (&str, &str) = ("[limits]\n", "[subject_log]\nauditors = [\"2009\"]\n\n[limits]\n");

/// The plan of the small town.
pub(crate) fn small(plan: Plan, dir: &Path) -> Plan {
    plan.department("civil-affairs").service(MARRIAGE, dir.join("marriage.csv")).department("housing").granting(
        "civil-affairs/marriage-registration",
        "housing",
        housings_scope(),
    )
}

/// What housing may ask.
pub(crate) fn housings_scope() -> Scope {
    Scope::of("marital_status", &["equals"]).and("registered_on", &["equals", "after"]).for_item(ITEM).on(&[BASIS])
}

/// The rows of the marriage register.
pub(crate) fn marriage_records() -> String {
    format!(
        "resident_id,marital_status,registered_on\n{},married,2018-05-20\n{},widowed,2021-11-03\n",
        *MARRIED, *WIDOWED
    )
}

/// Whether the person's marital status is this one.
pub(crate) fn marital_status(subject: &str, status: &str) -> VerifyRequest {
    question(subject, vec![claim("marital_status", "equals", status)])
}

/// A question of housing to the marriage register.
pub(crate) fn question(subject: &str, claims: Vec<Claim>) -> VerifyRequest {
    VerifyRequest {
        provider: "civil-affairs".into(),
        service: "marriage-registration".into(),
        service_version: 1,
        subject: Some(Subject { scheme: "resident_id".into(), value: subject.into() }),
        claims,
        purpose: Some(purpose()),
        case_number: "GZF-2026-0001".into(),
        officer: "1024".into(),
        ..VerifyRequest::default()
    }
}

/// Public rental housing, on its legal basis.
pub(crate) fn purpose() -> Purpose {
    Purpose { item: ITEM.into(), legal_bases: vec![legal_basis(BASIS)], ..Purpose::default() }
}

/// A claim with one operand.
pub(crate) fn claim(attribute: &str, operator: &str, operand: &str) -> Claim {
    Claim {
        attribute: attribute.into(),
        operator: operator.into(),
        operands: vec![Value { kind: Some(Kind::Text(operand.into())) }],
        ..Claim::default()
    }
}

/// The verdict of the only claim of an answered question.
pub(crate) fn verdict(response: &VerifyResponse) -> &ClaimVerdict {
    assert_eq!(response.state(), State::Answered, "{response:?}");
    assert_eq!(response.verdicts.len(), 1, "{response:?}");
    &response.verdicts[0]
}

/// That no answer came, and that this counts as an outage and as nothing else.
pub(crate) fn assert_outage(response: &VerifyResponse) {
    assert_eq!(response.state(), State::Unanswered, "{response:?}");
    assert!(!response.unanswered.is_empty() && !response.receipt.is_empty(), "{response:?}");
    assert!(response.verdicts.iter().all(|claim| claim.verdict() == Verdict::Unavailable), "{response:?}");
}

/// The exit code.
pub(crate) fn exit(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

/// Everything a command printed.
pub(crate) fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The repository's folder.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository").to_path_buf()
}

/// Says aloud that a test cannot run on this machine, for people and for `run.sh`, which counts these.
pub(crate) fn skip(test: &str, reason: &str) {
    let line = format!("SKIPPED: {test}: {reason}");
    println!("{line}");
    if let Some(path) = env::var_os("ERRAND_SKIPPED")
        && let Ok(mut file) = OpenOptions::new().create(true).append(true).open(path)
    {
        let _ = writeln!(file, "{line}");
    }
}
