//! The gRPC service `admin.v1.Registry` on the admin socket, for the authority's own operators. Translates; a refusal
//! becomes the status `FAILED_PRECONDITION` with the stable code and the field in its metadata, so that the command line
//! can tell a refusal from a failure. Out of scope: who may connect, which the socket settles.

pub mod departments;
mod evidence;
pub mod history;
mod kept;
pub mod keys;
mod reviews;
mod supervision;

use std::sync::Arc;

use proto::admin::v1::{self as wire, registry_server};
use tonic::{Request, Response, Status, metadata::MetadataValue};
use trust::{
    ids::DepartmentId,
    key::{KeyId, PublicKey},
    refusal::{Code, Refusal},
    subject::credit_code::Strictness,
};

pub use self::{kept::KeptEdge, reviews::ReviewsEdge, supervision::SupervisionEdge};
use crate::{
    authority::{self, Authority, DepartmentProfile},
    catalogue,
    enrolment::Enrolment,
    sequencer::{Accepted, Sequencer},
};

pub use self::evidence::EvidenceEdge;

/// The metadata key of a refusal's stable code.
pub const CODE_KEY: &str = "refusal-code";
/// The metadata key of the field at fault.
pub const FIELD_KEY: &str = "refusal-field";

/// The service.
pub struct AdminEdge {
    sequencer: Sequencer,
    authority: Arc<Authority>,
    enrolment: Arc<Enrolment>,
    standing: Standing,
}

/// What the registry says of itself.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The exchange.
    pub exchange: String,
    /// The authority's key.
    pub authority_key: PublicKey,
    /// The gRPC port's address.
    pub address: String,
    /// The tile port's address.
    pub tile_address: String,
}

impl AdminEdge {
    /// The service over the registry's rooms.
    pub fn new(
        sequencer: Sequencer,
        authority: Arc<Authority>,
        enrolment: Arc<Enrolment>,
        standing: Standing,
    ) -> registry_server::RegistryServer<Self> {
        registry_server::RegistryServer::new(Self { sequencer, authority, enrolment, standing })
    }

    /// The authority's key in force.
    fn authority_key(&self) -> String {
        let directory = self.sequencer.directory();
        directory.current_authority_key().unwrap_or(&self.standing.authority_key).to_string()
    }
}

#[tonic::async_trait]
impl registry_server::Registry for AdminEdge {
    async fn status(
        &self,
        _: Request<wire::RegistryStatusRequest>,
    ) -> Result<Response<wire::RegistryStatusResponse>, Status> {
        let head = self.sequencer.head();
        Ok(Response::new(wire::RegistryStatusResponse {
            exchange_id: self.standing.exchange.clone(),
            directory_size: head.size,
            checkpoint: head.checkpoint.to_string(),
            authority_key: self.authority_key(),
            address: self.standing.address.clone(),
            tile_address: self.standing.tile_address.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            catching_up: self.sequencer.holding().map(|holding| holding.to_wire(self.sequencer.directory().size())),
        }))
    }

    async fn admit_department(
        &self,
        request: Request<wire::AdmitDepartmentRequest>,
    ) -> Result<Response<wire::AdmitDepartmentResponse>, Status> {
        let request = request.into_inner();
        let profile = DepartmentProfile {
            department: department(&request.department)?,
            name: request.name.unwrap_or_default(),
            uscc: request.uscc,
            division: request.division,
        };
        let strictness = if request.lenient_uscc { Strictness::Lenient } else { Strictness::Strict };
        let admitted = self.enrolment.admit(profile, strictness).await.map_err(|error| internal(&error))?;
        let token = admitted.map_err(|refusal| refused(&refusal))?;
        tracing::info!(department = %token.department, expires_ms = token.expires_ms, "enrolment token made");
        let text = token.to_text().to_string();
        Ok(Response::new(wire::AdmitDepartmentResponse { token: text, expires_ms: token.expires_ms }))
    }

    async fn list_departments(
        &self,
        _: Request<wire::ListDepartmentsRequest>,
    ) -> Result<Response<wire::ListDepartmentsResponse>, Status> {
        let pending = self.enrolment.pending().await.map_err(|error| internal(&error))?;
        let departments = catalogue::departments(&self.sequencer.directory(), &pending, self.authority.now_ms());
        Ok(Response::new(wire::ListDepartmentsResponse { departments }))
    }

    async fn change_department(
        &self,
        request: Request<wire::ChangeDepartmentRequest>,
    ) -> Result<Response<wire::ChangeDepartmentResponse>, Status> {
        let request = request.into_inner();
        let department = department(&request.department)?;
        let suspended = self.sequencer.directory().department(&department).map(|known| known.suspended.is_some());
        let wrong_state = |what: &str| refused(&Refusal::new(Code::StatementRefused).at("action").because(what));
        let outcome = match (request.action.as_str(), suspended) {
            (_, None) => return Err(refused(&Refusal::new(Code::DepartmentUnknown).at("department"))),
            ("suspend", Some(false)) => self.authority.suspend(&department, &request.reason).await,
            ("suspend", Some(true)) => return Err(wrong_state("the department is suspended already")),
            ("resume", Some(true)) => self.authority.resume(&department, &request.reason).await,
            ("resume", Some(false)) => return Err(wrong_state("the department is not suspended")),
            _ => return Err(Status::invalid_argument("action: suspend or resume")),
        };
        changed(outcome)
    }

    async fn revoke_department_key(
        &self,
        request: Request<wire::RevokeDepartmentKeyRequest>,
    ) -> Result<Response<wire::ChangeDepartmentResponse>, Status> {
        let request = request.into_inner();
        let department = department(&request.department)?;
        let key_id: KeyId = request.key_id.parse().map_err(|_| {
            refused(
                &Refusal::new(Code::MessageMalformed).at("key_id").because("a key's id is 64 lower-case hex digits"),
            )
        })?;
        changed(self.authority.revoke(&department, key_id, &request.reason).await)
    }
}

fn changed(outcome: Result<Accepted, authority::Error>) -> Result<Response<wire::ChangeDepartmentResponse>, Status> {
    match outcome {
        Ok(accepted) => {
            Ok(Response::new(wire::ChangeDepartmentResponse { index: accepted.index, waiting: String::new() }))
        }
        Err(authority::Error::Waiting { id }) => {
            Ok(Response::new(wire::ChangeDepartmentResponse { index: 0, waiting: id }))
        }
        Err(error) => Err(unsaid(&error)),
    }
}

/// Why the authority's statement is not in the directory, as a status.
pub(crate) fn unsaid(error: &authority::Error) -> Status {
    match error {
        authority::Error::Refused(refusal) => refused(refusal),
        authority::Error::KeyAbsent | authority::Error::Waiting { .. } => Status::aborted(error.to_string()),
        authority::Error::Stopped(stopped) => Status::unavailable(stopped.to_string()),
        authority::Error::WaitingUnusable(error) => internal(error),
    }
}

fn department(text: &str) -> Result<DepartmentId, Status> {
    text.parse().map_err(|error| refused(&Refusal::new(Code::MessageMalformed).at("department").because(error)))
}

pub(crate) fn refused(refusal: &Refusal) -> Status {
    let mut status = Status::failed_precondition(refusal.to_string());
    let metadata = status.metadata_mut();
    metadata.insert(CODE_KEY, MetadataValue::from_static(refusal.code.as_str()));
    if let Ok(field) = refusal.field.parse() {
        metadata.insert(FIELD_KEY, field);
    }
    status
}

pub(crate) fn internal(error: &dyn std::error::Error) -> Status {
    tracing::error!(%error, "an operator's command failed");
    Status::internal(error.to_string())
}
