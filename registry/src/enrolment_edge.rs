//! The gRPC service `registry.v1.Enrolment`. Whoever presents wrong tokens from one address too often is told to wait
//! (`failures`). Out of scope: what a token is worth.

use std::sync::Arc;

use host::clock::Clock;
use proto::registry::v1::{self as wire, enrol_response::Outcome as WireOutcome, enrolment_server};
use tonic::{Request, Response, Status};

use crate::{
    directory_edge::accepted_to_wire,
    enrolment::{Enrolment, Outcome},
    failures::Failures,
};

/// How many failures one address may have in ten minutes.
const MOST_FAILURES: u32 = 20;

/// The largest message that is read: an offer and its MAC.
const LARGEST_MESSAGE: usize = 4096;

/// The service.
pub struct EnrolmentEdge {
    enrolment: Arc<Enrolment>,
    failures: Failures,
}

impl EnrolmentEdge {
    /// The service over the enrolment room.
    pub fn new(enrolment: Arc<Enrolment>, clock: Arc<dyn Clock>) -> Self {
        Self { enrolment, failures: Failures::new(MOST_FAILURES, clock) }
    }

    /// For the gRPC server, with its limit on messages.
    pub fn into_server(self) -> enrolment_server::EnrolmentServer<Self> {
        enrolment_server::EnrolmentServer::new(self).max_decoding_message_size(LARGEST_MESSAGE)
    }
}

#[tonic::async_trait]
impl enrolment_server::Enrolment for EnrolmentEdge {
    async fn enrol(&self, request: Request<wire::EnrolRequest>) -> Result<Response<wire::EnrolResponse>, Status> {
        let source = self.failures.admit(&request)?;
        let wire::EnrolRequest { offer, mac } = request.into_inner();
        let outcome = self.enrolment.enrol(&offer, &mac).await.map_err(|error| {
            tracing::error!(%error, "an enrolment could not be handled");
            Status::internal("the registry could not handle the enrolment; its log says why")
        })?;
        let outcome = match outcome {
            Outcome::Admitted(accepted) => WireOutcome::Admitted(accepted_to_wire(&accepted)),
            Outcome::Waiting => WireOutcome::Waiting("the authority signs the admission later; ask again".to_owned()),
            Outcome::Refused(refusal) => {
                tracing::warn!(code = %refusal.code, "enrolment refused");
                self.failures.count(source);
                WireOutcome::Refused(refusal.to_wire())
            }
        };
        Ok(Response::new(wire::EnrolResponse { outcome: Some(outcome) }))
    }
}
