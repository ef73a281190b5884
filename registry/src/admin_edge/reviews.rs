//! The gRPC service `admin.v1.Reviews` on the admin socket: reviews of data services, and the catalogue. Translates.

use std::sync::Arc;

use host::clock::Clock;
use proto::admin::v1::{self as wire, reviews_server};
use tonic::{Request, Response, Status};

use super::{changed, refused};
use crate::{authority::Authority, review, sequencer::Sequencer};

/// The service.
pub struct ReviewsEdge {
    sequencer: Sequencer,
    authority: Arc<Authority>,
    clock: Arc<dyn Clock>,
}

impl ReviewsEdge {
    /// The service over the registry's rooms.
    pub fn new(
        sequencer: Sequencer,
        authority: Arc<Authority>,
        clock: Arc<dyn Clock>,
    ) -> reviews_server::ReviewsServer<Self> {
        reviews_server::ReviewsServer::new(Self { sequencer, authority, clock })
    }
}

#[tonic::async_trait]
impl reviews_server::Reviews for ReviewsEdge {
    async fn list(
        &self,
        request: Request<wire::ListReviewsRequest>,
    ) -> Result<Response<wire::ListReviewsResponse>, Status> {
        let reviews = review::list(&self.sequencer.directory(), self.clock.now_ms(), request.into_inner().all);
        Ok(Response::new(wire::ListReviewsResponse { reviews }))
    }

    async fn decide(
        &self,
        request: Request<wire::DecideReviewRequest>,
    ) -> Result<Response<wire::DecideReviewResponse>, Status> {
        let wire::DecideReviewRequest { department, service, major_version, approved, missing, statement, decision } =
            request.into_inner();
        let waiting = review::waiting(&self.sequencer.directory(), &department, &service, major_version, &statement);
        let (id, statement, minor_version) = waiting.map_err(|refusal| refused(&refusal))?;
        let major_version = id.major;
        let said = self.authority.review(id, &statement, approved, missing, decision).await;
        let wire::ChangeDepartmentResponse { index, waiting } = changed(said)?.into_inner();
        Ok(Response::new(wire::DecideReviewResponse { index, major_version, minor_version, waiting }))
    }

    async fn catalogue(
        &self,
        request: Request<wire::CatalogueRequest>,
    ) -> Result<Response<wire::CatalogueResponse>, Status> {
        let provider = request.into_inner().provider;
        let services = review::catalogue(&self.sequencer.directory(), &provider, self.clock.now_ms());
        Ok(Response::new(wire::CatalogueResponse { services }))
    }
}
