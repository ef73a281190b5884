//! The operators' side of the running node, on its admin socket: the socket lets in only the user that the node runs as,
//! so there is no key. Out of scope: the commands (`cli`), and asking, which is the offices' service on the same socket.

mod access;
mod answers;
mod catalogue;
pub mod corrections;
mod directory_view;
pub mod events;
mod evidence;
pub mod history;
mod import;
pub mod items;
pub mod keys;
mod lookup;
pub mod nodes;
pub mod offices;
pub mod records;
mod services;
mod sources;
pub mod subscriptions;
pub mod successions;
pub mod tasks;

use std::sync::Arc;

use host::disk;
use proto::admin::v1::{
    DoctorRequest, DoctorResponse, ImportRecordsProgress, ImportRecordsRequest, ListServicesRequest,
    ListServicesResponse, RevokeKeyRequest, StatementResponse, StatusRequest, StatusResponse,
    node_server::{Node, NodeServer},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use trust::ids::DepartmentId;

pub use self::access::AccessEdge;
pub use self::directory_view::DirectoryViewEdge;
use self::{
    answers::{records_status, service_state},
    lookup::own_service,
};
pub use self::{catalogue::CatalogueEdge, services::ServicesEdge};
use crate::{doctor, parts::Parts, publish, view::Seen};

pub use self::{evidence::EvidenceEdge, sources::SourcesEdge};

/// The largest message, in bytes: a service description, or a piece of a records file.
const LARGEST_MESSAGE: usize = 256 * 1024;

/// The operators' service.
#[derive(Clone)]
pub struct AdminEdge {
    parts: Arc<Parts>,
}

impl AdminEdge {
    /// The service of a running node.
    pub fn new(parts: Parts) -> Self {
        Self { parts: Arc::new(parts) }
    }

    /// As a tonic service with its limit on messages.
    pub fn server(&self) -> NodeServer<Self> {
        NodeServer::new(self.clone()).max_decoding_message_size(LARGEST_MESSAGE)
    }

    fn me(&self) -> &DepartmentId {
        &self.parts.config.department
    }

    fn seen(&self) -> Arc<Seen> {
        self.parts.view.seen()
    }
}

/// A refusal is an outcome; only what could not be done at all is a status.
fn stated(outcome: Result<publish::Published, publish::Error>) -> Result<StatementResponse, Status> {
    match outcome {
        Ok(published) => Ok(StatementResponse {
            object: published.object,
            index: published.index,
            digest: published.digest.to_string(),
            ..StatementResponse::default()
        }),
        Err(publish::Error::Refused(refusal)) => {
            Ok(StatementResponse { refused: Some(refusal), ..StatementResponse::default() })
        }
        Err(error @ publish::Error::Unreachable(_)) => Err(Status::unavailable(error.to_string())),
        Err(error @ publish::Error::KeyElsewhere) => Err(Status::failed_precondition(error.to_string())),
        Err(error) => Err(Status::deadline_exceeded(error.to_string())),
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Node for AdminEdge {
    async fn status(&self, _: Request<StatusRequest>) -> Answer<StatusResponse> {
        let Parts { config, view, journal, addresses, anchorer, .. } = self.parts.as_ref();
        let seen = self.seen();
        let age = view.age(self.parts.clock.now_ms());
        let (evidence_size, evidence_root) = journal.head();
        Ok(Response::new(StatusResponse {
            exchange_id: config.exchange.to_string(),
            department: config.department.to_string(),
            node: config.node.to_string(),
            directory_size: seen.size(),
            directory_root: seen.root().to_string(),
            directory_verified_ms: age.vouched_ms,
            registry_reachable: view.is_registry_reachable(),
            evidence_size,
            evidence_root: evidence_root.to_string(),
            started_ms: self.parts.historian.started_ms,
            evidence_log: self.parts.logs.of.to_string(),
            evidence_held: self.parts.historian.standing.held().map(|held| held.text.clone()).unwrap_or_default(),
            peer_address: addresses.peer.to_string(),
            office_address: addresses.office.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            resident_bytes: disk::resident_bytes().unwrap_or(0),
            directory_state: age.state.as_str().to_owned(),
            directory_expires_ms: age.expires_ms,
            directory_findings: u32::try_from(view.findings().open_ones().len()).unwrap_or(u32::MAX),
            anchored: anchorer.book.last(&anchorer.evidence).map_or(0, |anchored| anchored.size),
            anchoring_trouble: anchorer.trouble().map(|trouble| trouble.what).unwrap_or_default(),
            records: records_status(seen.directory(), self.me(), &self.parts.records.status()),
        }))
    }

    async fn doctor(&self, _: Request<DoctorRequest>) -> Answer<DoctorResponse> {
        Ok(Response::new(DoctorResponse { findings: doctor::examine(&self.parts).await }))
    }

    async fn list_services(&self, request: Request<ListServicesRequest>) -> Answer<ListServicesResponse> {
        let provider = request.into_inner().provider;
        let now_ms = self.parts.clock.now_ms();
        let seen = self.seen();
        let services = seen
            .directory()
            .scan_services()
            .filter(|service| provider.is_empty() || service.id.department.as_str() == provider)
            .map(|service| service_state(seen.directory(), &service, now_ms))
            .collect();
        Ok(Response::new(ListServicesResponse { services }))
    }

    type ImportRecordsStream = ReceiverStream<Result<ImportRecordsProgress, Status>>;

    async fn import_records(
        &self,
        request: Request<Streaming<ImportRecordsRequest>>,
    ) -> Answer<Self::ImportRecordsStream> {
        let mut pieces = request.into_inner();
        let first = pieces.message().await?.unwrap_or_default();
        let header =
            first.header.ok_or_else(|| Status::invalid_argument("header: the first piece says what is imported"))?;
        let format = import::format(&header.format)?;
        let seen = self.seen();
        let known = seen.directory().profile().schemes.clone();
        if header.aliases {
            let aliases = Arc::clone(&self.parts.aliases);
            let progress = import::run(first.chunk, pieces, move |reader, _| {
                aliases.import(reader, &known).map(import::Done::from)
            });
            return Ok(Response::new(ReceiverStream::new(progress)));
        }
        let service = own_service(seen.directory(), self.me(), &header.service, header.major_version)
            .and_then(|id| seen.directory().service(&id).cloned());
        let Some(service) = service else {
            let why = format!("this department has no service {:?}: `service list` shows them", header.service);
            return Err(Status::not_found(why));
        };
        let records = Arc::clone(&self.parts.records);
        let now_ms = self.parts.clock.now_ms();
        records.use_schemes(&known);
        let quarantine = header.quarantine;
        let changes = header.changes.map(import::changes).transpose()?;
        let mapping = import::mapping(&self.parts.sources, &service)?;
        let progress = import::run(first.chunk, pieces, move |reader, progress| {
            let form = (format, &mapping);
            match changes {
                None => {
                    records.import_mapped(&service, form, quarantine, reader, progress, now_ms).map(import::Done::from)
                }
                Some(changes) => {
                    records.apply_mapped(&service, form, &changes, reader, progress, now_ms).map(import::Done::from)
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(progress)))
    }

    async fn revoke_key(&self, request: Request<RevokeKeyRequest>) -> Answer<StatementResponse> {
        let RevokeKeyRequest { key_id, reason } = request.into_inner();
        let key_id = key_id.parse().map_err(|error| Status::invalid_argument(format!("key_id: {error}")))?;
        if reason.trim().is_empty() {
            return Err(Status::invalid_argument("reason: say why; everybody gets to read it"));
        }
        let owner = self.seen().directory().key(&key_id).and_then(|key| key.department.clone());
        if owner.as_ref() != Some(self.me()) {
            return Err(Status::not_found("this department has no such key: `keys list` shows those on this machine"));
        }
        Ok(Response::new(stated(self.parts.publisher.revoke_key(&key_id, &reason).await)?))
    }
}

#[cfg(test)]
mod tests;
