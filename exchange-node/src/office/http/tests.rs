//! The document and the page of it, without a running node.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;

use super::*;

/// Each call over HTTP, by its operation id, and the one of `office.v1` that does the same.
const SAME: [(&str, &str); 33] = [
    ("ask", "Verifications.Verify"),
    ("list_verifications", "Verifications.List"),
    ("show_verification", "Verifications.Show"),
    ("export_evidence", "Verifications.ExportEvidence"),
    ("fetch_verification", "Verifications.Fetch"),
    ("open_case", "Cases.Open"),
    ("list_cases", "Cases.List"),
    ("show_case", "Cases.Show"),
    ("add_to_case", "Cases.Add"),
    ("case_slip", "Cases.Slip"),
    ("pause_case", "Cases.Pause"),
    // Without a reason.
    ("resume_case", "Cases.Pause"),
    ("watch_case", "Cases.Watch"),
    ("commit_in_case", "Cases.Commit"),
    ("list_commitments", "Cases.ListCommitments"),
    ("repair_commitment", "Cases.Repair"),
    ("submit_batch", "Batches.Submit"),
    ("list_batches", "Batches.ListBatches"),
    ("show_batch", "Batches.ShowBatch"),
    ("batch_results", "Batches.Results"),
    ("remove_batch", "Batches.Remove"),
    ("open_correction", "Corrections.Open"),
    ("list_corrections", "Corrections.List"),
    ("show_correction", "Corrections.Show"),
    ("subscribe", "Notices.Subscribe"),
    ("list_subscriptions", "Notices.ListSubscriptions"),
    ("show_subscription", "Notices.ShowSubscription"),
    ("end_subscription", "Notices.EndSubscription"),
    ("list_notices", "Notices.ListNotices"),
    ("acknowledge", "Notices.Acknowledge"),
    ("list_asked", "SubjectLog.ListAsked"),
    ("services", "Verifications.ListServices"),
    ("items", "Items.List"),
];

/// Calls that are there over HTTP alone, each with the reason.
const HTTP_ALONE: [(&str, &str); 2] = [
    (
        "listen",
        "server-sent events are HTTP's; over gRPC `Cases.Watch` and `Batches.Watch` tell it, and `Notices.ListNotices` lists it",
    ),
    ("verify_attributes", "ETSI TS 119 478 says how it looks over HTTP, and nothing else"),
];

/// Calls that are there over gRPC alone, each with the reason.
const GRPC_ALONE: [(&str, &str); 1] =
    [("Batches.Watch", "over HTTP the end of a job is an event (`/v1/events`), and its progress is looked up")];

/// The calls that `office.v1` declares.
fn declared() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto/proto/office/v1");
    let mut found = BTreeSet::new();
    for file in fs::read_dir(folder).unwrap() {
        let mut service = String::new();
        for line in fs::read_to_string(file.unwrap().path()).unwrap().lines() {
            if let Some(name) = line.strip_prefix("service ") {
                name.trim_end_matches(" {").clone_into(&mut service);
            }
            if let Some((call, _)) = line.trim().strip_prefix("rpc ").and_then(|rest| rest.split_once('(')) {
                found.insert(format!("{service}.{call}"));
            }
        }
    }
    found
}

#[test]
fn what_can_be_done_over_http_can_be_done_over_grpc() {
    let openapi = openapi();
    let paths = openapi["paths"].as_object().unwrap();
    let operations = paths.values().flat_map(|item| item.as_object().unwrap().values());
    let over_http: BTreeSet<String> =
        operations.map(|operation| operation["operationId"].as_str().unwrap().to_owned()).collect();
    let names = |names: &[(&str, &str)]| names.iter().map(|(name, _)| (*name).to_owned()).collect::<BTreeSet<_>>();
    let known = &names(&SAME) | &names(&HTTP_ALONE);
    assert_eq!(over_http, known, "say which call of office.v1 does the same, or why none does");
    let same: BTreeSet<String> = SAME.iter().map(|(_, call)| (*call).to_owned()).collect();
    assert_eq!(declared(), &same | &names(&GRPC_ALONE), "say which call over HTTP does the same, or why none does");
}

/// Only the form of the document is wanted, so nothing is ever called.
fn openapi() -> Value {
    serde_json::to_value(complete(handlers().into_openapi())).unwrap()
}

#[test]
fn every_call_documents_every_status() {
    let openapi = openapi();
    assert_eq!(openapi["openapi"], "3.1.0");
    let mut calls = 0;
    for (path, item) in openapi["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            calls += 1;
            for status in ["400", "401", "403", "404", "405", "409", "413", "415", "422", "429", "503"] {
                let schema = &operation["responses"][status]["content"]["application/problem+json"]["schema"]["$ref"];
                assert_eq!(schema, "#/components/schemas/Problem", "{method} {path} {status}");
            }
        }
    }
    assert_eq!(calls, 35);
    assert_eq!(openapi["components"]["schemas"]["Question"]["additionalProperties"], false);
}

#[test]
fn the_page_names_every_call_and_every_schema_and_fetches_nothing() {
    let openapi = openapi();
    let page = docs::page(&openapi);
    for path in openapi["paths"].as_object().unwrap().keys() {
        assert!(page.contains(&format!("<code>{path}</code>")), "{path}");
    }
    for schema in openapi["components"]["schemas"].as_object().unwrap().keys() {
        assert!(page.contains(&format!("id=\"schema-{schema}\"")), "{schema}");
    }
    for foreign in ["<script", "<link", "src=", "@import", "url(", "href=\"http"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
}
