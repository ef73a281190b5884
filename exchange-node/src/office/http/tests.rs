//! The document and the page of it, without a running node.

use serde_json::Value;

use super::*;

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
    assert_eq!(calls, 34);
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
