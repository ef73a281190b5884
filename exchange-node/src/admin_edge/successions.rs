//! The operators' service for what a department hands over to a successor and takes over from a predecessor, and for the
//! evidence it keeps for one. Out of scope: what a hand-over moves (`trust::directory::succession`).

use std::{path::Path, sync::Arc};

use host::admin_socket::{self, AdminError};
use proto::{
    admin::v1::{
        AcceptSuccessionRequest, ExportKeptEvidenceRequest, ExportKeptEvidenceResponse, HandOverRequest, KeptEvidence,
        ListKeptEvidenceRequest, ListKeptEvidenceResponse, ListSuccessionsRequest, ListSuccessionsResponse,
        StatementResponse, SuccessionState, TakeEvidenceOverRequest,
        successions_server::{Successions, SuccessionsServer},
    },
    office::v1::VerifyResponse,
    registry::v1::{DepartmentSucceeded, HandedService, HeldGrant, SuccessionAccepted, statement::Body},
};
use tonic::{Request, Response, Status};
use trust::{
    directory::{Directory, Object, model::AccessState},
    evidence::Receipt,
    ids::DepartmentId,
    refusal::{Code, Refusal},
    service::{Service, ServiceState},
};

use super::{Answer, answers::refused, stated};
use crate::{
    asked::show_in,
    custody::{self, KeptLog, Predecessor},
    journal::Journal as _,
    office_edge,
    parts::Parts,
};

/// The service of a running node.
#[derive(Clone)]
pub struct SuccessionsEdge {
    parts: Arc<Parts>,
}

impl SuccessionsEdge {
    /// As a tonic service.
    pub fn server(parts: Parts) -> SuccessionsServer<Self> {
        SuccessionsServer::new(Self { parts: Arc::new(parts) })
    }

    fn me(&self) -> &DepartmentId {
        &self.parts.config.department
    }

    async fn state(&self, object: Object, body: Body) -> Result<StatementResponse, Status> {
        stated(self.parts.publisher.publish(&object, body).await)
    }

    /// The log of a predecessor's node that has this receipt; where none has, the last one.
    async fn kept(&self, department: String, node: String, receipt: Receipt) -> Result<Arc<KeptLog>, Status> {
        let (custody, exchange) = (Arc::clone(&self.parts.custody), self.parts.config.exchange.clone());
        blocking(move || {
            let mut logs = custody.find(&exchange, &department, &node).map_err(|error| custody_status(&error))?;
            let has_it = |kept: &Arc<KeptLog>| kept.journal.find(&receipt).ok().flatten().is_some();
            let position = logs.iter().position(has_it).unwrap_or(0);
            Ok(logs.swap_remove(position))
        })
        .await
    }
}

#[tonic::async_trait]
impl Successions for SuccessionsEdge {
    async fn hand_over(&self, request: Request<HandOverRequest>) -> Answer<StatementResponse> {
        let request = request.into_inner();
        let successor = department("successor", &request.successor)?;
        let seen = self.parts.view.seen();
        let services = match services(seen.directory(), self.me(), &request) {
            Ok(services) => services,
            Err(refusal) => return Ok(Response::new(refused(&refusal))),
        };
        let held = match grants(seen.directory(), self.me(), &request) {
            Ok(held) => held,
            Err(refusal) => return Ok(Response::new(refused(&refusal))),
        };
        drop(seen);
        let body = DepartmentSucceeded {
            department: self.me().to_string(),
            successor: successor.to_string(),
            services,
            held,
            custody: request.custody,
            reason: request.reason,
        };
        let object = Object::Succession(self.me().clone(), successor);
        Ok(Response::new(self.state(object, Body::DepartmentSucceeded(body)).await?))
    }

    async fn accept_succession(&self, request: Request<AcceptSuccessionRequest>) -> Answer<StatementResponse> {
        let AcceptSuccessionRequest { department: from, statement } = request.into_inner();
        let from = department("department", &from)?;
        let offered = self.parts.view.seen().directory().succession(&from, self.me()).map(|known| known.offered);
        let Some(offered) = offered else {
            let refusal = Refusal::new(Code::StatementRefused).at("department");
            return Ok(Response::new(refused(
                &refusal.because(format!("{from} hands nothing over to this department")),
            )));
        };
        // What was looked at, and not what was put in its place since.
        if !statement.is_empty() && statement != offered.to_string() {
            let reason = format!("{from} offers something else now ({offered}): look at it again (department list)");
            return Ok(Response::new(refused(&Refusal::new(Code::StatementRefused).at("statement").because(reason))));
        }
        let body = SuccessionAccepted {
            department: from.to_string(),
            successor: self.me().to_string(),
            offer: offered.as_bytes().to_vec(),
        };
        let object = Object::Succession(from, self.me().clone());
        Ok(Response::new(self.state(object, Body::SuccessionAccepted(body)).await?))
    }

    async fn list_successions(&self, _: Request<ListSuccessionsRequest>) -> Answer<ListSuccessionsResponse> {
        let seen = self.parts.view.seen();
        let successions = seen
            .directory()
            .successions()
            .map(|(_, _, known)| SuccessionState {
                offer: Some(known.offer.read()),
                state: match (known.from_ms, known.accepted) {
                    (Some(_), _) => "confirmed",
                    (None, true) => "accepted",
                    (None, false) => "offered",
                }
                .to_owned(),
                from_ms: known.from_ms.unwrap_or(0),
                statement: known.offered.to_string(),
            })
            .collect();
        Ok(Response::new(ListSuccessionsResponse { successions }))
    }

    async fn take_evidence_over(&self, request: Request<TakeEvidenceOverRequest>) -> Answer<KeptEvidence> {
        let folder = request.into_inner().folder;
        let exchange = self.parts.config.exchange.clone();
        let predecessor = {
            let folder = folder.clone();
            blocking(move || Predecessor::of(Path::new(&folder), &exchange).map_err(|error| custody_status(&error)))
                .await?
        };
        let from = predecessor.party.department();
        if !self.parts.view.seen().directory().has_custody(from, self.me()) {
            return Err(Status::invalid_argument(format!(
                "the directory does not give this department the custody of {from}'s evidence: it hands it over, this department accepts, and the authority confirms (`department list`)"
            )));
        }
        // A store is its process's: what is copied while it is written to fits nothing.
        match admin_socket::connect(Path::new(&folder), "").await {
            Err(AdminError::NotRunning { .. }) => {}
            _ => return Err(Status::invalid_argument(format!("the node in {folder} is running: stop it first"))),
        }
        let (custody, now_ms) = (Arc::clone(&self.parts.custody), self.parts.clock.now_ms());
        let closed = self.parts.view.seen().directory().closed_logs(from, &predecessor.node).to_vec();
        let kept =
            blocking(move || custody.take_over(&predecessor, &closed, now_ms).map_err(|error| custody_status(&error)))
                .await?;
        tracing::info!(department = %kept.party, node = %kept.node, entries = kept.head.size, "took evidence over");
        Ok(Response::new(kept_evidence(&kept)))
    }

    async fn list_kept_evidence(&self, _: Request<ListKeptEvidenceRequest>) -> Answer<ListKeptEvidenceResponse> {
        let custody = Arc::clone(&self.parts.custody);
        let kept = blocking(move || custody.list().map_err(|error| custody_status(&error))).await?;
        let kept = kept.iter().map(|kept| kept_evidence(kept)).collect();
        Ok(Response::new(ListKeptEvidenceResponse { kept }))
    }

    async fn show_kept_evidence(&self, request: Request<ExportKeptEvidenceRequest>) -> Answer<VerifyResponse> {
        let ExportKeptEvidenceRequest { department, node, receipt } = request.into_inner();
        let receipt = read_receipt(&receipt)?;
        let kept = self.kept(department, node, receipt).await?;
        let asked =
            blocking(move || show_in(&kept.journal, &receipt).map_err(|error| Status::not_found(error.to_string())))
                .await?;
        Ok(Response::new(office_edge::response_of(asked)))
    }

    async fn export_kept_evidence(
        &self,
        request: Request<ExportKeptEvidenceRequest>,
    ) -> Answer<ExportKeptEvidenceResponse> {
        let ExportKeptEvidenceRequest { department, node, receipt } = request.into_inner();
        let receipt = read_receipt(&receipt)?;
        let kept = self.kept(department, node, receipt).await?;
        let exporter = Arc::clone(&self.parts.exporter);
        let bundle = blocking(move || {
            exporter.export_kept(&kept, &receipt).map_err(|error| Status::not_found(error.to_string()))
        })
        .await?;
        Ok(Response::new(ExportKeptEvidenceResponse { bundle }))
    }
}

/// The own services that are meant.
fn services(
    directory: &Directory,
    me: &DepartmentId,
    request: &HandOverRequest,
) -> Result<Vec<HandedService>, Refusal> {
    let own = |service: &&Service| {
        !matches!(service.state, ServiceState::Withdrawn { .. }) && directory.service_handed_to(&service.id).is_none()
    };
    let handed =
        |service: &Service| HandedService { service: service.id.service.to_string(), major_version: service.id.major };
    if request.all_services {
        return Ok(directory.services_of(me).filter(own).map(handed).collect());
    }
    let mut chosen = Vec::new();
    for text in &request.services {
        let (name, major) = match text.split_once('/') {
            Some((name, major)) => (name, major.parse::<u32>().ok()),
            None => (text.as_str(), None),
        };
        let found: Vec<HandedService> = directory
            .services_of(me)
            .filter(own)
            .filter(|service| {
                service.id.service.as_str() == name && major.is_none_or(|major| service.id.major == major)
            })
            .map(handed)
            .collect();
        if found.is_empty() {
            let detail = format!("this department has no service {text:?} that could be handed over");
            return Err(Refusal::new(Code::ServiceUnknown).at("services").because(detail));
        }
        chosen.extend(found);
    }
    Ok(chosen)
}

/// The grants this department holds that are meant.
fn grants(directory: &Directory, me: &DepartmentId, request: &HandOverRequest) -> Result<Vec<HeldGrant>, Refusal> {
    let held = || {
        directory.access_held_by(me).filter(|(key, access)| {
            matches!(access.state, AccessState::Granted | AccessState::Suspended { .. })
                && directory.access_handed_to(key).is_none()
        })
    };
    let of =
        |key: &trust::directory::AccessKey| HeldGrant { provider: key.provider.to_string(), id: key.id.to_string() };
    if request.all_grants {
        return Ok(held().map(|(key, _)| of(&key)).collect());
    }
    request
        .grants
        .iter()
        .map(|id| {
            let found = held().find(|(key, _)| key.id.as_str() == id).map(|(key, _)| of(&key));
            let detail = format!("this department holds no grant {id:?} that could be handed over");
            found.ok_or_else(|| Refusal::new(Code::GrantMissing).at("grants").because(detail))
        })
        .collect()
}

fn kept_evidence(kept: &KeptLog) -> KeptEvidence {
    KeptEvidence {
        department: kept.party.department().to_string(),
        node: kept.node.to_string(),
        entries: kept.head.size,
        root: kept.head.root.to_string(),
        without_message: kept.without_message,
        taken_ms: kept.taken_ms,
    }
}

fn custody_status(error: &custody::Error) -> Status {
    match error {
        custody::Error::AlreadyKept { .. }
        | custody::Error::Config(_)
        | custody::Error::Keys(_)
        | custody::Error::OtherExchange { .. } => Status::invalid_argument(error.to_string()),
        custody::Error::Unknown { .. } => Status::not_found(error.to_string()),
        error => Status::internal(error.to_string()),
    }
}

fn read_receipt(text: &str) -> Result<Receipt, Status> {
    text.parse().map_err(|error| Status::invalid_argument(format!("receipt: {error}")))
}

fn department(field: &str, text: &str) -> Result<DepartmentId, Status> {
    text.parse().map_err(|error| Status::invalid_argument(format!("{field}: {error}")))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Status> + Send + 'static) -> Result<T, Status> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Status::internal(error.to_string()))?
}
