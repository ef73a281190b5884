//! The checks on records that are kept elsewhere: the file that says where, and each source of an own service. Out of
//! scope: imported records, which are among the checks on a running node.

use std::path::Path;

use proto::admin::v1::Finding;

use super::{ok, warning, wrong};
use crate::{notices, parts::Parts, sources};

/// Looks at the source of each own service that has one.
pub(super) async fn examine(parts: &Parts) -> Vec<Finding> {
    let now_ms = parts.clock.now_ms();
    let own = {
        let seen = parts.view.seen();
        let own = seen.directory().services_of(&parts.config.department);
        let lives = own.filter(|service| notices::state_word(service, now_ms) != "withdrawn");
        lives.cloned().collect::<Vec<_>>()
    };
    let mut findings = Vec::new();
    for service in own {
        let Some(source) = parts.sources.of_service(&service) else { continue };
        let check = format!("records of {} v{}", service.id.service, service.id.major);
        let names = source.source_names().join(", ");
        let mut remarks = Vec::new();
        let mut faults = Vec::new();
        for outcome in source.examine(&service).await {
            match outcome {
                Ok(found) => remarks.extend(found),
                Err(fault) => faults.push(fault),
            }
        }
        let noticed = source.noticed();
        let lately = noticed.at_ms > 0 && now_ms.saturating_sub(noticed.at_ms) < LATELY_MS;
        if lately {
            remarks.extend(noticed.notes.into_iter().map(|note| format!("lately {note}")));
        }
        findings.push(if !faults.is_empty() {
            wrong(
                &check,
                faults.join("; "),
                "see that the source runs and that sources.toml says the right things of it",
            )
        } else if !remarks.is_empty() {
            let advice =
                format!("put it right in {names} or in sources.toml; `records check` shows one lookup step by step");
            warning(&check, remarks.join("; "), advice)
        } else {
            let hints = source.hints(&service).into_iter().map(|hint| format!("; {hint}"));
            ok(&check, format!("they are in {names}, and fit the service{}", hints.collect::<String>()))
        });
    }
    for source in parts.sources.services() {
        let of_none = {
            let seen = parts.view.seen();
            let mut own = seen.directory().services_of(&parts.config.department);
            !own.any(|service| {
                service.id.service == *source.service() && source.major().is_none_or(|m| m == service.id.major)
            })
        };
        if of_none {
            let check = format!("records of {}", source.service());
            let found = "sources.toml names a service that this department has not published";
            findings.push(warning(&check, found, "publish it, or correct its name in sources.toml"));
        }
    }
    findings
}

/// So long what could not be read is told.
const LATELY_MS: u64 = 3_600_000;

/// Every mistake in the file of a node that is not running.
pub(super) fn offline(dir: &Path) -> Vec<Finding> {
    const CHECK: &str = "sources";
    let found = sources::mistakes(dir);
    if found.is_empty() {
        return Vec::new();
    }
    found.into_iter().map(|mistake| wrong(CHECK, mistake, "correct the file")).collect()
}
