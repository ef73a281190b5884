//! The demo, with a small town: it comes out as it promises, and its report says so for each part.

use std::process::Command;

use serde_json::Value;
use town::harness::Programs;

/// The steps of the demo's year, in their order.
const OPERATIONS: [&str; 12] = [
    "review",
    "application",
    "four_eyes",
    "suspension_notice",
    "witnesses",
    "state_commitment",
    "anchored_evidence",
    "key_rotation",
    "registry_down",
    "relay",
    "merge",
    "audit",
];

/// What it shows of the town's five items, in this order.
const ITEMS: [&str; 9] = [
    "items_published",
    "public_rental_housing",
    "pension_eligibility",
    "birth_registration",
    "housing_fund_withdrawal",
    "teacher_qualification",
    "commitments_taken",
    "commitment_fulfilled",
    "commitment_broken",
];

#[test]
fn the_demo_comes_out_as_it_promises_and_handles_the_five_items() {
    let dir = tempfile::Builder::new().prefix("errand-").tempdir().unwrap();
    let report = dir.path().join("report.json");
    let programs = Programs::find().unwrap();
    let output = Command::new(programs.dir().join("demo"))
        .args(["--residents", "2000", "--dir"])
        .arg(dir.path().join("town"))
        .arg("--json")
        .arg(&report)
        .env(town::harness::VARIABLE, programs.dir())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let report: Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
    assert_eq!(
        (report["evidence_verified"].as_bool(), report["tampering_detected"].as_bool()),
        (Some(true), Some(true))
    );
    // The five items of the town are handled, a commitment is fulfilled and one is broken; and the year of running it.
    for (part, expected) in [("items", &ITEMS[..]), ("operations", &OPERATIONS[..])] {
        let steps = report[part].as_array().unwrap();
        let names: Vec<&str> = steps.iter().map(|step| step["name"].as_str().unwrap()).collect();
        assert_eq!(names, expected);
        for step in steps {
            assert_eq!(step["done"], true, "{step}");
            // Each is told in one honest line.
            let line = step["said"].as_str().unwrap();
            assert!(line.len() > 40 && !line.contains('\n') && said.contains(line), "{line}");
        }
    }
}
