//! The town's five public service items, each handled as a case at its own window; and two commitments that stood in while a
//! department was away, one of which was not true. Each step is a line and an entry in the summary.
//!
//! Out of scope: the four applicants of the first part (`handling`), and how a case is handled, which the node does.

use std::{path::Path, time::Duration};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::operations::{Operation, Operations, expect, step};
use crate::{
    harness::{Scope, eventually},
    population::{Applicant, DEGREE_CERTIFICATE, Visitors},
    services::windows::{WINDOWS, Window},
};

/// The windows, with who comes to them.
#[derive(Clone, Copy, Debug)]
pub struct Windows<'a> {
    /// The town, and a folder for files.
    pub operations: Operations<'a>,
    /// Who comes.
    pub visitors: &'a Visitors,
    /// Somebody who was or is married, and says otherwise.
    pub denier: &'a Applicant,
}

/// What the items may ask beside what the first part's guide does: service, consumer, and what of it.
pub fn grants() -> impl Iterator<Item = (&'static str, &'static str, Scope)> {
    WINDOWS.iter().flat_map(|window| {
        window.asks.iter().map(move |(service, attribute, operator)| {
            let scope = Scope::of(attribute, &[*operator]).for_item(window.item).on(&[window.legal_basis]);
            (*service, window.department, scope)
        })
    })
}

impl Windows<'_> {
    /// Publishes the items and handles a case of each, one after the other.
    pub async fn run(self) -> Vec<Operation> {
        let mut done = Vec::new();
        let Visitors { tenant, pensioner, .. } = self.visitors;
        step(&mut done, "items_published", self.publish()).await;
        let [rental, pension, birth, fund, teaching] = &WINDOWS;
        step(&mut done, "public_rental_housing", self.handle(rental, "GZF-2026-0006", vec![applicant(tenant)])).await;
        step(&mut done, "pension_eligibility", self.handle(pension, "YL-2026-0001", vec![applicant(pensioner)])).await;
        step(&mut done, "birth_registration", self.handle(birth, "CS-2026-0001", self.family())).await;
        step(&mut done, "housing_fund_withdrawal", self.handle(fund, "GJJ-2026-0001", vec![applicant(tenant)])).await;
        step(&mut done, "teacher_qualification", self.teacher(teaching)).await;
        step(&mut done, "commitments_taken", self.commitments_taken(rental)).await;
        step(&mut done, "commitment_fulfilled", self.fulfilled()).await;
        step(&mut done, "commitment_broken", self.broken()).await;
        done
    }

    async fn publish(&self) -> anyhow::Result<String> {
        for window in &WINDOWS {
            let file = self.file(&format!("{}.yaml", window.item));
            std::fs::write(&file, window.yaml).with_context(|| format!("cannot write {file}"))?;
            self.operations.node(window.department, &["item", "publish", &file]).await?;
        }
        self.operations.town.settled().await?;
        Ok("the five items published: each with its whole guide, and none asks for what a department can answer"
            .to_owned())
    }

    async fn handle(&self, window: &Window, number: &str, people: Vec<Value>) -> anyhow::Result<String> {
        let case = self.open(window, number, people, UNHURRIED).await?;
        is_complete(&case)?;
        Ok(told(window, &case))
    }

    /// A clerk looks criminal records up; nothing stands in for that meanwhile.
    async fn teacher(&self, window: &Window) -> anyhow::Result<String> {
        let mut teacher = applicant(&self.visitors.teacher);
        teacher["degree_certificate_no"] = DEGREE_CERTIFICATE.into();
        let case = self.open(window, TEACHING, vec![teacher], UNHURRIED).await?;
        let record = proof(&case, "无犯罪记录证明")?;
        expect("the criminal record meanwhile", &record["outcome"], "SUBMIT_ON_PAPER")?;
        expect("the reason", &record["reason"], "deferred")?;
        let ticket = record["ticket"].as_str().unwrap_or_default();
        let answer = ["tasks", "answer", ticket, "--verdict", "has_record=match", "--officer", "2001"];
        self.operations.node("public-security", &answer).await?;
        let shown = async || self.operations.node(window.department, &["case", "show", TEACHING]).await;
        let complete = eventually(PATIENCE, async || shown().await.is_ok_and(|case| case["state"] == "complete"));
        let is_complete = complete.await;
        let case = shown().await?;
        expect(&format!("complete once the clerk has answered, {case}"), &is_complete, &true)?;
        Ok(format!("{}; a clerk looked the criminal record up, and the case went on by itself", told(window, &case)))
    }

    /// Civil affairs is away: two applicants sign a commitment in place of the proof, one of them falsely.
    async fn commitments_taken(&self, window: &Window) -> anyhow::Result<String> {
        let node = self.operations.town.node("civil-affairs");
        node.stop().await?;
        let mut denier = applicant(self.denier);
        denier["marital_status"] = "single".into();
        let taken = async {
            let truthful = self.commit(window, FULFILLED, applicant(&self.visitors.tenant));
            tokio::try_join!(truthful, self.commit(window, BROKEN, denier))
        };
        let taken = taken.await;
        node.start().await?;
        taken?;
        Ok("civil affairs was stopped: two applicants signed a commitment (告知承诺) instead, and their cases went on"
            .to_owned())
    }

    async fn commit(&self, window: &Window, number: &str, person: Value) -> anyhow::Result<()> {
        let case = self.open(window, number, vec![person], HURRIED).await?;
        expect("the proof that cannot be had", &proof(&case, MARITAL_STATUS)?["outcome"], "MAY_COMMIT")?;
        let form = "5f".repeat(32);
        let commit = ["case", "commit", number, MARITAL_STATUS, "--form", &form, "--officer", OFFICER];
        let case = self.operations.node(window.department, &commit).await?;
        expect("the proof after that", &proof(&case, MARITAL_STATUS)?["outcome"], "COMMITTED")
    }

    async fn fulfilled(&self) -> anyhow::Result<String> {
        self.checked(FULFILLED, "fulfilled").await?;
        let case = self.operations.node("housing", &["case", "show", FULFILLED]).await?;
        expect("the proof", &proof(&case, MARITAL_STATUS)?["outcome"], "NOT_REQUIRED")?;
        Ok(format!("it came back, and was asked by itself: the commitment of {FULFILLED} was true (fulfilled)"))
    }

    async fn broken(&self) -> anyhow::Result<String> {
        self.checked(BROKEN, "broken").await?;
        let case = self.operations.node("housing", &["case", "show", BROKEN]).await?;
        expect("flagged", &case["flagged"], &true)?;
        expect("the reason", &proof(&case, MARITAL_STATUS)?["reason"], "commitment_broken")?;
        Ok(format!(
            "that of {BROKEN} was not (broken): the case is flagged, and its applicant may commit to nothing more"
        ))
    }

    async fn checked(&self, number: &str, state: &str) -> anyhow::Result<()> {
        let listed = async || self.operations.node("housing", &["case", "commitments", "--case", number]).await;
        let is_checked = async || listed().await.is_ok_and(|listed| listed["commitments"][0]["state"] == state);
        if eventually(PATIENCE, is_checked).await {
            return Ok(());
        }
        bail!("the commitment of {number} is not {state}: {}", listed().await?)
    }

    fn family(&self) -> Vec<Value> {
        let family = &self.visitors.family;
        vec![
            person("applicant", &family.mother),
            person("mother", &family.mother),
            person("father", &family.father),
            json!({ "role": "child", "certificate_no": family.certificate_number }),
        ]
    }

    /// Opens a case as the window's operator. How it stands is for the caller to judge.
    async fn open(
        &self,
        window: &Window,
        number: &str,
        people: Vec<Value>,
        deadline_ms: &str,
    ) -> anyhow::Result<Value> {
        let application =
            json!({ "case": number, "item": window.item, "officer": OFFICER, "people": people }).to_string();
        let opening = ["case", "open", "-", "--deadline-ms", deadline_ms, "--json"];
        let output = self.operations.town.cli_with_input(window.department, &opening, &application).await?;
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("`case open` of {number} says {}", String::from_utf8_lossy(&output.stderr).trim()))
    }

    fn file(&self, name: &str) -> String {
        let folder: &Path = self.operations.folder;
        folder.join(name).display().to_string()
    }
}

fn applicant(who: &Applicant) -> Value {
    person("applicant", who)
}

fn person(role: &str, who: &Applicant) -> Value {
    json!({
        "role": role,
        "resident_id": who.resident_number,
        "name": who.name,
        "marital_status": who.marital_status.as_str(),
        "region": who.region,
        "period": who.period,
    })
}

fn proof<'a>(case: &'a Value, name: &str) -> anyhow::Result<&'a Value> {
    let found = case["proofs"].as_array().into_iter().flatten().find(|proof| proof["proof"] == name);
    found.with_context(|| format!("the case has no {name}: {case}"))
}

fn is_complete(case: &Value) -> anyhow::Result<()> {
    expect("the case's state", &case["state"], "complete").with_context(|| case.to_string())
}

/// What came of a case's proofs, in a sentence.
fn told(window: &Window, case: &Value) -> String {
    let proofs: Vec<&Value> =
        case["proofs"].as_array().into_iter().flatten().filter(|proof| proof["identity"] != true).collect();
    let count = |outcome: &str| proofs.iter().filter(|proof| proof["outcome"] == outcome).count();
    let left_out = match count("LEFT_OUT") {
        0 => String::new(),
        many => format!(", {many} optional and left out"),
    };
    format!(
        "{} ({}) at {}: {} of {} papers not to be submitted (免提交){left_out}",
        window.item,
        window.name_en,
        window.department,
        count("NOT_REQUIRED"),
        proofs.len(),
    )
}

const BROKEN: &str = "GZF-2026-0008";
const FULFILLED: &str = "GZF-2026-0007";
const MARITAL_STATUS: &str = "婚姻状况证明";
const OFFICER: &str = "1024";
const PATIENCE: Duration = Duration::from_secs(60);
const TEACHING: &str = "JS-2026-0001";

/// How long all questions of a case may take, in milliseconds; and where it is known that one cannot be answered.
const UNHURRIED: &str = "20000";
const HURRIED: &str = "4000";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_told_by_its_papers() {
        let case = json!({ "state": "waiting", "proofs": [
            { "proof": "无房证明", "outcome": "NOT_REQUIRED", "identity": false },
            { "proof": "低保证明", "outcome": "LEFT_OUT", "identity": false },
            { "proof": "身份核对", "outcome": "NOT_REQUIRED", "identity": true },
        ] });
        let line = told(&WINDOWS[0], &case);
        assert!(
            line.ends_with("at housing: 1 of 2 papers not to be submitted (免提交), 1 optional and left out"),
            "{line}"
        );
        assert!(is_complete(&case).is_err());
        assert!(proof(&case, "收入证明").is_err());
    }

    #[test]
    fn only_conditional_services_need_a_grant() {
        let granted: Vec<(&str, &str)> = grants().map(|(service, consumer, _)| (service, consumer)).collect();
        assert_eq!(granted.len(), 8);
        assert!(granted.iter().all(|(service, _)| *service != "public-security/resident-identity"));
    }
}
