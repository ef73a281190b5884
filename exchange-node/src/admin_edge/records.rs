//! The operators' service about records that are here: what is in use, and what became of a folder's files. Out of scope:
//! importing (`import`), and looking somebody up.

use std::sync::Arc;

use proto::admin::v1::{
    RecordsFolder, ShowRecordsRequest, ShowRecordsResponse,
    records_server::{Records, RecordsServer},
};
use tonic::{Request, Response, Status};

use super::lookup::own_service;
use crate::{
    parts::Parts,
    sources::folder::{FolderStatus, Outcome},
};

/// The operators' service about records.
#[derive(Clone)]
pub struct RecordsEdge {
    parts: Arc<Parts>,
}

impl RecordsEdge {
    /// As a tonic service.
    pub fn server(parts: Parts) -> RecordsServer<Self> {
        RecordsServer::new(Self { parts: Arc::new(parts) })
    }
}

#[tonic::async_trait]
impl Records for RecordsEdge {
    async fn show_records(
        &self,
        request: Request<ShowRecordsRequest>,
    ) -> Result<Response<ShowRecordsResponse>, Status> {
        let ShowRecordsRequest { service, major_version } = request.into_inner();
        let seen = self.parts.view.seen();
        let directory = seen.directory();
        let found = own_service(directory, &self.parts.config.department, &service, major_version)
            .and_then(|id| directory.service(&id));
        let Some(found) = found else {
            let why = format!("this department has no service {service:?}: `service list` shows them");
            return Err(Status::not_found(why));
        };
        let sources = self.parts.sources.of_service(found);
        let sources = sources.map(|source| source.source_names().into_iter().map(str::to_owned).collect());
        let mut shown = ShowRecordsResponse {
            service: found.id.service.to_string(),
            major_version: found.id.major,
            sources: sources.unwrap_or_default(),
            ..ShowRecordsResponse::default()
        };
        let held = self.parts.records.status();
        let of_service =
            |service: &trust::ids::ServiceName, major: u32| *service == found.id.service && major == found.id.major;
        if let Some(held) = held.into_iter().find(|held| of_service(&held.service, held.major)) {
            shown.imported = held.fault.is_none();
            shown.fault = held.fault.unwrap_or_default();
            (shown.rows, shown.subjects) = (held.rows, held.subjects);
            (shown.quarantined_rows, shown.quarantined_subjects) = (held.quarantined_rows, held.quarantined_subjects);
            shown.quarantine_file = held.quarantine_file.map(|file| file.display().to_string()).unwrap_or_default();
            shown.changed_ms = held.imported_ms;
        }
        let folders = self.parts.sources.folders().iter().map(|folder| folder.status());
        let mut folders = folders.filter(|folder| of_service(&folder.service, folder.major.unwrap_or(found.id.major)));
        shown.folder = folders.next().map(folder);
        match self.parts.aliases.subjects() {
            Ok(subjects) => shown.aliases = subjects as u64,
            Err(fault) => shown.aliases_fault = fault,
        }
        Ok(Response::new(shown))
    }
}

fn folder(status: FolderStatus) -> RecordsFolder {
    let mut shown = RecordsFolder {
        path: status.folder.display().to_string(),
        trouble: status.trouble.unwrap_or_default(),
        ..RecordsFolder::default()
    };
    if let Some(last) = status.last {
        shown.last_file = last.name;
        shown.last_ms = last.at_ms;
        shown.last_outcome = match last.outcome {
            Outcome::Taken => "taken",
            Outcome::Refused => "refused",
        }
        .to_owned();
        shown.problems = last.problems;
    }
    shown
}
