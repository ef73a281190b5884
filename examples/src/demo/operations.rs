//! What operators and the authority do in a year, each in one short step on the running town: a line that says what came
//! of it, and an entry in the summary. A step that does not come out as it must is a surprise, and ends nothing.
//!
//! Out of scope: how each thing works; README names the page for each.

mod authority;
pub mod departments;
mod keys;
mod outages;
mod services;

use std::{fmt::Display, future::Future, path::Path, time::Instant};

use anyhow::{Context, bail};
use serde::Serialize;
use serde_json::Value;

use super::progress::seconds;
use crate::{harness::Town, population::Applicant};

/// What came of one step.
#[derive(Clone, Debug, Serialize)]
pub struct Operation {
    /// Its name, which is stable.
    pub name: &'static str,
    /// Whether it came out as it must.
    pub done: bool,
    /// What came of it, in a sentence.
    pub said: String,
}

/// The town with what the steps need of it.
#[derive(Clone, Copy, Debug)]
pub struct Operations<'a> {
    /// The town.
    pub town: &'a Town,
    /// The department that asks.
    pub office: &'a str,
    /// Somebody whose marital status is on file, or known by absence.
    pub applicant: &'a Applicant,
    /// A folder for files that steps write.
    pub folder: &'a Path,
}

impl<'a> Operations<'a> {
    /// Does them all, one after the other.
    pub async fn run(self) -> Vec<Operation> {
        let mut done = Vec::new();
        step(&mut done, "review", authority::review(self)).await;
        step(&mut done, "application", services::application(self)).await;
        step(&mut done, "four_eyes", services::four_eyes(self)).await;
        step(&mut done, "suspension_notice", services::suspension(self)).await;
        step(&mut done, "witnesses", authority::witnesses(self)).await;
        step(&mut done, "state_commitment", authority::state_commitment(self)).await;
        step(&mut done, "anchored_evidence", authority::anchors(self)).await;
        step(&mut done, "key_rotation", keys::rotation(self)).await;
        step(&mut done, "registry_down", outages::registry_down(self)).await;
        step(&mut done, "relay", outages::relay(self)).await;
        step(&mut done, "merge", departments::merge(self)).await;
        step(&mut done, "audit", authority::audit(self)).await;
        done
    }

    /// Runs a command of a department's operator, which must end well, and reads what it says.
    pub(super) async fn node(&self, department: &str, arguments: &[&str]) -> anyhow::Result<Value> {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
        read(&self.town.cli(department, &arguments).await?, &arguments)
    }

    /// Runs a command of the authority's operator, which must end well, and reads what it says.
    async fn registry(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
        read(&self.town.registry_cli(&arguments).await?, &arguments)
    }

    /// Has the authority change these settings, and every node follow; the others stay as they are.
    async fn settings(&self, changes: &[(&str, &str)]) -> anyhow::Result<()> {
        let shown = self.town.registry_cli(&["profile", "show"]).await?;
        let mut text = String::from_utf8_lossy(&shown.stdout).into_owned();
        for (key, value) in changes {
            let line = text.lines().find(|line| line.split_once(" = ").is_some_and(|(found, _)| found == *key));
            let line = line.with_context(|| format!("the profile has no {key}"))?.to_owned();
            text = text.replacen(&format!("{line}\n"), &format!("{key} = {value}\n"), 1);
        }
        let profile = self.path("profile.toml");
        std::fs::write(&profile, text)?;
        self.registry(&[&["profile", "set", &profile][..], &AUTHORITYS_OFFICER].concat()).await?;
        Ok(self.town.settled().await?)
    }

    /// Has the office ask whether the applicant's marital status is what they stated; what the command says.
    async fn ask(&self) -> anyhow::Result<Value> {
        let status = self.applicant.marital_status.as_str();
        self.ask_service(MARRIAGE, &format!("marital_status={status}"), &[]).await
    }

    async fn ask_service(&self, service: &str, claim: &str, more: &[&str]) -> anyhow::Result<Value> {
        let asking =
            ["verify", service, "--claim", claim, "--item", ITEM, "--case", "GZF-2026-0005", "--officer", OFFICER];
        let arguments: Vec<&str> = asking.iter().chain(more).copied().chain(["--json"]).collect();
        let output = self.town.cli_with_input(self.office, &arguments, &self.applicant.resident_number).await?;
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("`verify` says {}", String::from_utf8_lossy(&output.stderr).trim()))
    }

    /// The office asks, and gets a match.
    async fn ask_and_match(&self) -> anyhow::Result<Value> {
        let told = self.ask().await?;
        expect("the office's question", &told["outcome"], "match")?;
        Ok(told)
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}

/// Does one step: prints what came of it, and adds it to what is `done`.
pub(super) async fn step(
    done: &mut Vec<Operation>,
    name: &'static str,
    step: impl Future<Output = anyhow::Result<String>>,
) {
    let begun = Instant::now();
    let outcome = match step.await {
        Ok(said) => Operation { name, done: true, said },
        Err(error) => Operation { name, done: false, said: format!("{error:#}") },
    };
    let mark = if outcome.done { "✓" } else { "✗" };
    println!("  {mark} {}  ({})", outcome.said, seconds(begun.elapsed()));
    done.push(outcome);
}

fn read(output: &std::process::Output, arguments: &[&str]) -> anyhow::Result<Value> {
    let said = || {
        let said = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).trim().to_owned());
        said.join(" ").trim().to_owned()
    };
    if !output.status.success() {
        bail!("`{}` ended with {}: {}", arguments.join(" "), output.status, said());
    }
    serde_json::from_slice(&output.stdout).with_context(|| format!("`{}` says {}", arguments.join(" "), said()))
}

/// Whether something is what it must be.
pub(super) fn expect<T: Display + PartialEq<U>, U: Display + ?Sized>(
    what: &str,
    found: &T,
    expected: &U,
) -> anyhow::Result<()> {
    if *found == *expected { Ok(()) } else { bail!("{what}: {found} instead of {expected}") }
}

const AUTHORITYS_OFFICER: [&str; 4] = ["--officer", "0007", "--document", "宁数〔2026〕12号"];
const ITEM: &str = "公租房申请";
const MARRIAGE: &str = "civil-affairs/marriage-registration";
const OFFICER: &str = "1024";
