//! The service about corrections for other departments' nodes. It translates; a bare status says nothing about anybody.

use std::sync::Arc;

use proto::exchange::v1::{
    ConcludeCorrectionRequest, ConcludeCorrectionResponse, DeliverCorrectedRequest, DeliverCorrectedResponse,
    OpenCorrectionRequest, OpenCorrectionResponse,
    corrections_server::{Corrections as Service, CorrectionsServer},
};
use tonic::{Request, Response, Status};
use trust::ids::Digest;

use super::{Corrections, open::NotTaken, receive::NotOpened};
use crate::{
    ask::NotReceived,
    peer_edge::{LARGEST_MESSAGE, PeerEdge},
};

/// The service.
#[derive(Clone, Debug)]
pub struct CorrectionsEdge {
    corrections: Arc<Corrections>,
    /// Knows whom a connection belongs to.
    peers: PeerEdge,
}

impl CorrectionsEdge {
    /// As a tonic service with its limit on messages.
    pub fn server(corrections: Arc<Corrections>, peers: PeerEdge) -> CorrectionsServer<Self> {
        CorrectionsServer::new(Self { corrections, peers }).max_decoding_message_size(LARGEST_MESSAGE)
    }
}

#[tonic::async_trait]
impl Service for CorrectionsEdge {
    async fn open(&self, request: Request<OpenCorrectionRequest>) -> Result<Response<OpenCorrectionResponse>, Status> {
        let peer = self.peers.peer(&request)?;
        let signed = request.into_inner().correction;
        let signed = signed.ok_or_else(|| Status::invalid_argument("there is no correction"))?;
        let corrections = Arc::clone(&self.corrections);
        // In a task of its own: where the other side hangs up, what came is still recorded whole.
        let received = tokio::spawn(async move { corrections.receive(&peer, signed).await }).await;
        match received.map_err(|error| Status::internal(error.to_string()))? {
            Ok(response) => Ok(Response::new(response)),
            Err(error @ NotOpened::Invalid(_)) => Err(Status::invalid_argument(error.to_string())),
            Err(error @ NotOpened::TooMany) => Err(Status::resource_exhausted(error.to_string())),
            Err(NotOpened::Failed(error)) => {
                tracing::error!(%error, "a correction was not taken");
                Err(Status::unavailable("this node cannot take a correction now"))
            }
        }
    }

    async fn conclude(
        &self,
        request: Request<ConcludeCorrectionRequest>,
    ) -> Result<Response<ConcludeCorrectionResponse>, Status> {
        let peer = self.peers.peer(&request)?;
        let signed = request.into_inner().decision;
        let signed = signed.ok_or_else(|| Status::invalid_argument("there is no decision"))?;
        let corrections = Arc::clone(&self.corrections);
        let replied = tokio::spawn(async move { corrections.replied(&peer, signed).await }).await;
        match replied.map_err(|error| Status::internal(error.to_string()))? {
            Ok(true) => Ok(Response::new(ConcludeCorrectionResponse {})),
            Ok(false) => Err(Status::not_found("no such correction was opened here")),
            Err(error @ NotTaken::Invalid(_)) => Err(Status::invalid_argument(error.to_string())),
            Err(NotTaken::Failed(error)) => {
                tracing::error!(%error, "a decision on a correction was not recorded");
                Err(Status::unavailable("this node cannot record a decision now"))
            }
        }
    }

    async fn deliver(
        &self,
        request: Request<DeliverCorrectedRequest>,
    ) -> Result<Response<DeliverCorrectedResponse>, Status> {
        let peer = self.peers.peer(&request)?;
        let DeliverCorrectedRequest { answer, asked_at_ms, batch } = request.into_inner();
        let answer = answer.ok_or_else(|| Status::invalid_argument("there is no answer"))?;
        let batch = match batch.as_slice() {
            [] => None,
            batch => Some(Digest::try_from(batch).map_err(|_| Status::invalid_argument("batch is no digest"))?),
        };
        let corrections = Arc::clone(&self.corrections);
        let taken = tokio::spawn(async move { corrections.corrected(&peer, answer, (asked_at_ms, batch)).await }).await;
        match taken.map_err(|error| Status::internal(error.to_string()))? {
            Ok(()) => Ok(Response::new(DeliverCorrectedResponse {})),
            Err(NotReceived::Unawaited) => Err(Status::not_found("no such question was asked here")),
            Err(error @ NotReceived::Invalid(_)) => Err(Status::invalid_argument(error.to_string())),
            Err(NotReceived::Failed(error)) => {
                tracing::error!(%error, "a corrected answer was not recorded");
                Err(Status::unavailable("this node cannot record an answer now"))
            }
        }
    }
}
