//! The two doors to the log of a subject: the admin socket for officers, the office port for a citizens' portal. They
//! translate; what is shown is `show`'s.

use std::sync::Arc;

use proto::{
    admin::v1::{
        LookUpRequest, LookUpResponse,
        subject_lookups_server::{SubjectLookups, SubjectLookupsServer},
    },
    office::v1::{
        ListAskedRequest, ListAskedResponse,
        subject_log_server::{SubjectLog as OfficeService, SubjectLogServer},
    },
};
use tonic::{Request, Response, Status};
use trust::refusal::Refusal;

use super::{
    Error, SubjectLog,
    show::{Look, Viewer},
};
use crate::office::sign_in::SignIn;

impl SubjectLog {
    /// What a citizens' portal is shown, once the look-up is recorded. Blocks.
    pub(crate) fn for_portal(
        &self,
        portal: String,
        request: ListAskedRequest,
    ) -> Result<Result<ListAskedResponse, Refusal>, Error> {
        let ListAskedRequest { subject, most, cursor } = request;
        self.look(&Viewer::Portal(portal), &Look { subject: subject.unwrap_or_default(), most, cursor })
    }
}

/// The largest message to these services, in bytes.
const LARGEST_MESSAGE: usize = 16 * 1024;

/// For officers.
#[derive(Debug)]
pub struct LookupsEdge {
    log: Arc<SubjectLog>,
}

impl LookupsEdge {
    /// As a tonic service.
    pub fn server(log: Arc<SubjectLog>) -> SubjectLookupsServer<Self> {
        SubjectLookupsServer::new(Self { log }).max_decoding_message_size(LARGEST_MESSAGE)
    }
}

#[tonic::async_trait]
impl SubjectLookups for LookupsEdge {
    async fn look_up(&self, request: Request<LookUpRequest>) -> Result<Response<LookUpResponse>, Status> {
        let LookUpRequest { subject, officer, auditor, most, cursor } = request.into_inner();
        let viewer = Viewer::Officer { name: officer.trim().to_owned(), auditor };
        let look = Look { subject: subject.unwrap_or_default(), most, cursor };
        let log = Arc::clone(&self.log);
        let looked = tokio::task::spawn_blocking(move || log.look(&viewer, &look)).await;
        let response =
            match looked.map_err(|error| Status::internal(error.to_string()))?.map_err(|error| failed(&error))? {
                Ok(asked) => LookUpResponse { asked: Some(asked), refused: None },
                Err(refusal) => LookUpResponse { asked: None, refused: Some(refusal.to_wire()) },
            };
        Ok(Response::new(response))
    }
}

/// For a citizens' portal.
#[derive(Debug)]
pub struct PortalEdge {
    log: Arc<SubjectLog>,
    sign_in: SignIn,
}

impl PortalEdge {
    /// As a tonic service.
    pub fn server(log: Arc<SubjectLog>, sign_in: SignIn) -> SubjectLogServer<Self> {
        SubjectLogServer::new(Self { log, sign_in }).max_decoding_message_size(LARGEST_MESSAGE)
    }
}

#[tonic::async_trait]
impl OfficeService for PortalEdge {
    async fn list_asked(&self, request: Request<ListAskedRequest>) -> Result<Response<ListAskedResponse>, Status> {
        let presented = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        let portal = self.sign_in.portal(presented).ok_or_else(|| {
            Status::unauthenticated(
                "a citizens' portal's key is needed: `exchange-node office-key add NAME --portal` makes one",
            )
        })?;
        let log = Arc::clone(&self.log);
        let looked = tokio::task::spawn_blocking(move || log.for_portal(portal, request.into_inner())).await;
        match looked.map_err(|error| Status::internal(error.to_string()))?.map_err(|error| failed(&error))? {
            Ok(asked) => Ok(Response::new(asked)),
            Err(refusal) => Err(Status::invalid_argument(refusal.to_string())),
        }
    }
}

fn failed(error: &Error) -> Status {
    tracing::error!(%error, "who asked about a subject cannot be looked up");
    Status::unavailable(error.to_string())
}
