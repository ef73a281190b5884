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

#[test]
fn the_demo_comes_out_as_it_promises_and_uses_every_part() {
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
    let operations = report["operations"].as_array().unwrap();
    let names: Vec<&str> = operations.iter().map(|operation| operation["name"].as_str().unwrap()).collect();
    assert_eq!(names, OPERATIONS);
    for operation in operations {
        assert_eq!(operation["done"], true, "{operation}");
        // Each is told in one honest line.
        let line = operation["said"].as_str().unwrap();
        assert!(line.len() > 40 && !line.contains('\n') && said.contains(line), "{line}");
    }
}
