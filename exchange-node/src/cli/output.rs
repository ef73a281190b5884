//! What commands print: one JSON value for machines, a table for people, on standard output; faults as sentences on
//! standard error. Out of scope: what is said.

use std::io::{self, Write};

use host::terminal;
use serde_json::{Value, json};
pub(super) use trust::reading::moment;

use super::{Error, exit::Exit};

/// Where and how a command prints.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    json: bool,
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        Self { json }
    }

    pub(super) fn is_json(self) -> bool {
        self.json
    }

    /// Prints the result in the form that was asked for.
    pub(super) fn show(self, machine: &Value, people: impl FnOnce() -> String) {
        if self.json {
            line(&format!("{machine:#}"));
        } else {
            line(people().trim_end());
        }
    }

    /// Prints a line on the way, for people.
    pub(super) fn say(self, text: &str) {
        if !self.json {
            line(text);
        }
    }

    /// Tells why a command failed.
    pub(super) fn fail(self, error: &Error) -> Exit {
        let exit = error.exit();
        if self.json {
            line(&format!("{:#}", error_json(error)));
        }
        complain(&error.to_string());
        exit
    }

    /// Tells why a command failed that has errors of its own.
    pub(super) fn fail_with(self, exit: Exit, why: &str) -> Exit {
        if self.json {
            line(&format!("{:#}", json!({ "error": { "exit": exit.as_str(), "message": why } })));
        }
        complain(why);
        exit
    }
}

fn error_json(error: &Error) -> Value {
    let mut told = json!({ "exit": error.exit().as_str(), "message": error.to_string() });
    if let Error::Refused(refusal) = error {
        told["refusal"] = refusal_json(refusal);
    }
    json!({ "error": told })
}

/// Prints a line on standard output. That nobody reads on (a closed pipe) is no failure.
fn line(text: &str) {
    let _ = writeln!(io::stdout().lock(), "{text}");
}

/// Prints a line on standard error.
pub(super) fn complain(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// A table with a header.
pub(super) fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    terminal::table(header, rows)
}

/// A table of names and values, without those that are empty.
pub(super) fn pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, String)>) -> String {
    terminal::facts(pairs)
}

/// A refusal in JSON, under the keys that the gRPC message has.
pub(super) fn refusal_json(refusal: &proto::exchange::v1::Refusal) -> Value {
    json!({
        "code": refusal.code,
        "field": refusal.field,
        "message": refusal.message,
        "next_step": refusal.next_step,
        "retry_at_ms": refusal.retry_at_ms,
    })
}

/// A number of bytes for people.
pub(super) fn bytes(count: u64) -> String {
    // Whole tenths of a mebibyte: no float is needed.
    let tenths = count.saturating_mul(10) / (1024 * 1024);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_told_in_tenths() {
        assert_eq!(bytes(1024 * 1024 * 3 / 2), "1.5 MiB");
    }

    #[test]
    fn a_failure_has_stable_keys() {
        let refusal = trust::refusal::Refusal::new(trust::refusal::Code::GrantMissing).at("service").to_wire();
        let told = error_json(&Error::Refused(refusal));
        assert_eq!(told["error"]["exit"], "refused");
        assert_eq!(told["error"]["refusal"]["code"], "GRANT_MISSING");
        assert_eq!(told["error"]["refusal"]["field"], "service");
        assert!(error_json(&Error::Usage("no".into()))["error"].get("refusal").is_none());
    }
}
