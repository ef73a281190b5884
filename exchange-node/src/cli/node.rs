//! The node that commands speak to: its folder, its admin socket, and the commands about the node as a whole (`status`,
//! `doctor`).

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use host::admin_socket::{self, AdminError};
use proto::{
    admin::v1::{
        DoctorRequest, Finding, StatementResponse, StatusRequest, StatusResponse, access_client::AccessClient,
        node_client::NodeClient, node_keys_client::NodeKeysClient,
    },
    office::v1::verifications_client::VerificationsClient,
    registry::v1::catalogue_client::CatalogueClient,
};
use serde_json::{Value, json};
use tonic::transport::Channel;

use super::{
    Error, Exit,
    output::{self, Output},
    service,
};
use crate::{config, doctor};

/// A bundle or a long list of services may be larger than gRPC's usual 4 MiB.
const LARGEST_ANSWER: usize = 32 * 1024 * 1024;

/// How long a node that begins anew may take: it reads its stores again.
const BACK_WITHIN: Duration = Duration::from_secs(60);

/// How soon it is looked for again.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Which node is meant.
#[derive(Debug)]
pub(super) struct Folder {
    given: Option<PathBuf>,
}

impl Folder {
    pub(super) fn new(given: Option<&Path>) -> Self {
        Self { given: given.map(Path::to_owned) }
    }

    /// The folder that was given, or the current one where it is a node's.
    pub(super) fn path(&self) -> Result<PathBuf, Error> {
        match &self.given {
            Some(given) => Ok(given.clone()),
            None if Path::new(config::FILE_NAME).is_file() => Ok(PathBuf::from(".")),
            None => Err(Error::NoFolder),
        }
    }

    /// The folder that was given, whether there is anything in it or not.
    pub(super) fn given(&self) -> Option<&Path> {
        self.given.as_deref()
    }

    /// Waits until the node, which is beginning anew, answers again; its log's name and why it is held.
    pub(super) async fn back(&self, is_back: impl Fn(&StatusResponse) -> bool) -> Result<StatusResponse, Error> {
        let deadline = tokio::time::Instant::now() + BACK_WITHIN;
        loop {
            let outcome = match self.admin().await {
                Ok(mut admin) => admin.status(StatusRequest {}).await.map_err(Error::from),
                Err(error) => Err(error),
            };
            match outcome {
                Ok(status) if is_back(&status.get_ref().clone()) => return Ok(status.into_inner()),
                Err(error) if tokio::time::Instant::now() > deadline => return Err(error),
                Ok(status) if tokio::time::Instant::now() > deadline => return Ok(status.into_inner()),
                _ => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
    }

    /// A channel to the running node, for whichever of its services.
    pub(super) async fn channel(&self) -> Result<Channel, Error> {
        let dir = self.path()?;
        let start = format!("exchange-node serve --config {}", dir.join(config::FILE_NAME).display());
        Ok(admin_socket::connect(&dir, &start).await?)
    }

    /// The operators' service of the running node.
    pub(super) async fn admin(&self) -> Result<NodeClient<Channel>, Error> {
        Ok(NodeClient::new(self.channel().await?).max_decoding_message_size(LARGEST_ANSWER))
    }

    /// The readers' service of the running node.
    pub(super) async fn catalogue(&self) -> Result<CatalogueClient<Channel>, Error> {
        Ok(CatalogueClient::new(self.channel().await?).max_decoding_message_size(LARGEST_ANSWER))
    }

    /// The operators' service about access.
    pub(super) async fn access(&self) -> Result<AccessClient<Channel>, Error> {
        Ok(AccessClient::new(self.channel().await?).max_decoding_message_size(LARGEST_ANSWER))
    }

    /// The department of the running node.
    pub(super) async fn department(&self) -> Result<String, Error> {
        Ok(self.admin().await?.status(StatusRequest {}).await?.into_inner().department)
    }

    /// The operators' service for keys of the running node.
    pub(super) async fn keys(&self) -> Result<NodeKeysClient<Channel>, Error> {
        Ok(NodeKeysClient::new(self.channel().await?))
    }

    /// The offices' service of the running node; the admin socket takes the API key's place.
    pub(super) async fn office(&self) -> Result<VerificationsClient<Channel>, Error> {
        Ok(VerificationsClient::new(self.channel().await?).max_decoding_message_size(LARGEST_ANSWER))
    }
}

/// Shows what became of a statement, and fails where it was refused.
pub(super) fn stated(output: Output, response: StatementResponse, done: &str) -> Result<Exit, Error> {
    if let Some(refusal) = response.refused {
        return Err(Error::Refused(refusal));
    }
    let machine = json!({
        "object": response.object,
        "index": response.index,
        "digest": response.digest,
    });
    output.show(&machine, || {
        format!("{done} (statement {} of the directory, about {}).", response.index, response.object)
    });
    Ok(Exit::Done)
}

/// `status`.
pub(super) async fn status(folder: &Folder, output: Output) -> Result<Exit, Error> {
    let status = folder.admin().await?.status(StatusRequest {}).await?.into_inner();
    // What became of the services that this department asks.
    let notices = service::notices(folder).await?;
    let mut machine = status_json(&status);
    machine["notices"] = service::notices_json(&notices);
    output.show(&machine, || {
        let text = status_text(&status);
        if notices.is_empty() {
            return text;
        }
        let rows = notices.iter().map(service::notice_row);
        format!("{text}\n{}", output::table(["service asked", "grant", "state", "why", "instead"], rows))
    });
    Ok(Exit::Done)
}

fn status_json(status: &StatusResponse) -> Value {
    let records: Vec<Value> = status
        .records
        .iter()
        .map(|records| {
            json!({
                "service": records.service,
                "major_version": records.major_version,
                "imported": records.imported,
                "rows": records.rows,
                "quarantined": records.quarantined,
                "imported_ms": records.imported_ms,
            })
        })
        .collect();
    json!({
        "exchange_id": status.exchange_id,
        "department": status.department,
        "node": status.node,
        "directory_size": status.directory_size,
        "directory_root": status.directory_root,
        "directory_verified_ms": status.directory_verified_ms,
        "directory_state": status.directory_state,
        "directory_expires_ms": status.directory_expires_ms,
        "directory_findings": status.directory_findings,
        "registry_reachable": status.registry_reachable,
        "evidence_size": status.evidence_size,
        "evidence_root": status.evidence_root,
        "anchored": status.anchored,
        "anchoring_trouble": status.anchoring_trouble,
        "evidence_log": status.evidence_log,
        "evidence_held": status.evidence_held,
        "peer_address": status.peer_address,
        "office_address": status.office_address,
        "version": status.version,
        "resident_bytes": status.resident_bytes,
        "records": records,
    })
}

fn status_text(status: &StatusResponse) -> String {
    let reachable = if status.registry_reachable { "reachable" } else { "not reachable" };
    let text = output::pairs([
        ("department", format!("{}/{}", status.exchange_id, status.department)),
        ("node", status.node.clone()),
        ("peer port", status.peer_address.clone()),
        ("office port", status.office_address.clone()),
        ("registry", reachable.to_owned()),
        ("directory", format!("{} statements, root {}", status.directory_size, status.directory_root)),
        ("vouched for", vouched_text(status)),
        ("findings", findings_hint(status.directory_findings)),
        ("evidence", format!("{} entries, root {}", status.evidence_size, status.evidence_root)),
        ("anchored", anchored_text(status)),
        ("evidence log", status.evidence_log.clone()),
        ("HELD", status.evidence_held.clone()),
        ("memory", output::bytes(status.resident_bytes)),
        ("version", status.version.clone()),
    ]);
    if status.records.is_empty() {
        return text;
    }
    let rows = status.records.iter().map(|records| {
        let imported = if records.imported { output::moment(records.imported_ms) } else { "never".to_owned() };
        let service = format!("{} v{}", records.service, records.major_version);
        [service, imported, records.rows.to_string(), records.quarantined.to_string()]
    });
    format!("{text}\n{}", output::table(["own service", "records imported", "rows", "quarantined subjects"], rows))
}

fn vouched_text(status: &StatusResponse) -> String {
    let vouched = output::moment(status.directory_verified_ms);
    let until = output::moment(status.directory_expires_ms);
    match status.directory_state.as_str() {
        "fresh" => vouched,
        "ageing" => format!("{vouched}; WARNING: older than half its lifetime, good until {until}"),
        "expired" => format!("{vouched}; EXPIRED at {until}: nothing is asked or answered"),
        "clock_backwards" => format!("{vouched}; WRONG: this machine's clock is behind it"),
        _ => "by nobody yet".to_owned(),
    }
}

fn anchored_text(status: &StatusResponse) -> String {
    match status.anchoring_trouble.as_str() {
        "" => format!("{} entries", status.anchored),
        trouble => format!("{} entries; WARNING: not at the last turn: {trouble}", status.anchored),
    }
}

fn findings_hint(count: u32) -> String {
    match count {
        0 => String::new(),
        count => format!("{count} about the registry or the directory: see `exchange-node directory findings`"),
    }
}

/// `doctor`. Where the node is not running it looks at what lies in its folder.
pub(super) async fn doctor(folder: &Folder, output: Output) -> Result<Exit, Error> {
    let (findings, running) = match folder.admin().await {
        Ok(mut node) => (node.doctor(DoctorRequest {}).await?.into_inner().findings, true),
        Err(Error::Admin(AdminError::NotRunning { .. })) => (doctor::offline(&folder.path()?), false),
        Err(error) => return Err(error),
    };
    let wrong = findings.iter().any(|finding| finding.level == doctor::WRONG);
    let exit = match (running, wrong) {
        (false, _) => Exit::Unreachable,
        (true, true) => Exit::Failure,
        (true, false) => Exit::Done,
    };
    output.show(&findings_json(&findings, running, exit), || findings_text(&findings));
    Ok(exit)
}

fn findings_json(findings: &[Finding], running: bool, exit: Exit) -> Value {
    let findings: Vec<Value> = findings
        .iter()
        .map(|finding| {
            json!({
                "check": finding.check,
                "level": finding.level,
                "found": finding.found,
                "advice": finding.advice,
            })
        })
        .collect();
    json!({ "running": running, "exit": exit.as_str(), "findings": findings })
}

fn findings_text(findings: &[Finding]) -> String {
    let lines = findings.iter().map(|finding| {
        let mark = match finding.level.as_str() {
            doctor::OK => "ok     ",
            doctor::WARNING => "warning",
            _ => "WRONG  ",
        };
        let advice =
            if finding.advice.is_empty() { String::new() } else { format!("\n         -> {}", finding.advice) };
        format!("{mark}  {}: {}{advice}\n", finding.check, finding.found)
    });
    let wrong = findings.iter().filter(|finding| finding.level == doctor::WRONG).count();
    let warnings = findings.iter().filter(|finding| finding.level == doctor::WARNING).count();
    format!("{}{} checks, {wrong} wrong, {warnings} to be looked at.", lines.collect::<String>(), findings.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_has_stable_keys() {
        let status = StatusResponse { department: "housing".into(), directory_size: 7, ..Default::default() };
        let machine = status_json(&status);
        let keys: Vec<&String> = machine.as_object().unwrap().keys().collect();
        assert_eq!(
            keys,
            [
                "anchored",
                "anchoring_trouble",
                "department",
                "directory_expires_ms",
                "directory_findings",
                "directory_root",
                "directory_size",
                "directory_state",
                "directory_verified_ms",
                "evidence_held",
                "evidence_log",
                "evidence_root",
                "evidence_size",
                "exchange_id",
                "node",
                "office_address",
                "peer_address",
                "records",
                "registry_reachable",
                "resident_bytes",
                "version"
            ]
        );
        assert!(status_text(&status).contains("7 statements"));
    }

    #[test]
    fn findings_say_what_to_do() {
        let finding = |level: &str, advice: &str| Finding {
            check: "clock".into(),
            level: level.into(),
            found: "it is late".into(),
            advice: advice.into(),
        };
        let findings = [finding(doctor::OK, ""), finding(doctor::WRONG, "set it")];
        let text = findings_text(&findings);
        assert!(text.contains("WRONG    clock: it is late\n         -> set it\n"), "{text}");
        assert!(text.ends_with("2 checks, 1 wrong, 0 to be looked at."), "{text}");
        assert_eq!(findings_json(&findings, true, Exit::Failure)["findings"][1]["advice"], "set it");
    }

    #[test]
    fn without_a_folder_one_is_asked_for() {
        // The tests run in the crate's folder, which is no node's.
        assert!(matches!(Folder::new(None).path(), Err(Error::NoFolder)));
        assert_eq!(Folder::new(Some(Path::new("d"))).path().unwrap(), Path::new("d"));
    }
}
