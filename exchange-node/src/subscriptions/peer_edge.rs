//! The peer port's service for those who subscribed. Out of scope: what is told (`answer::notices`).

use std::sync::Arc;

use host::clock::Clock;
use proto::exchange::v1::{
    EndSubscriptionRequest, EndSubscriptionResponse,
    notices_server::{Notices, NoticesServer},
};
use tonic::{Request, Response, Status};

use super::{
    GivenBook,
    carry::{self, NotEnded},
};
use crate::{
    answer::Answerer,
    peer_edge::{LARGEST_MESSAGE, PeerEdge},
    view::View,
};

/// The service for other nodes.
#[derive(Clone)]
pub struct NoticesPeerEdge {
    /// Knows whose connection it is.
    pub peers: PeerEdge,
    /// What is subscribed to.
    pub given: Arc<GivenBook>,
    /// Tells that it is over.
    pub answerer: Arc<Answerer>,
    /// The directory.
    pub view: Arc<View>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl NoticesPeerEdge {
    /// As a tonic service with its limit on messages.
    pub fn server(self) -> NoticesServer<Self> {
        NoticesServer::new(self).max_decoding_message_size(LARGEST_MESSAGE)
    }
}

#[tonic::async_trait]
impl Notices for NoticesPeerEdge {
    async fn end(&self, request: Request<EndSubscriptionRequest>) -> Result<Response<EndSubscriptionResponse>, Status> {
        let peer = self.peers.peer(&request)?;
        let outcome = request.into_inner().outcome.ok_or_else(|| Status::invalid_argument("there is no outcome"))?;
        let edge = self.clone();
        // In a task of its own: where the other side hangs up, what was begun still stands in the book.
        let ended = tokio::spawn(async move {
            let parts = (edge.given.as_ref(), edge.view.as_ref(), edge.answerer.as_ref());
            carry::end(parts, &peer, &outcome, edge.clock.now_ms()).await
        });
        match ended.await.map_err(|error| Status::internal(error.to_string()))? {
            Ok(()) => Ok(Response::new(EndSubscriptionResponse {})),
            Err(error @ NotEnded::Invalid) => Err(Status::invalid_argument(error.to_string())),
            Err(error @ NotEnded::Unknown) => Err(Status::not_found(error.to_string())),
            Err(error) => {
                tracing::error!(%error, "a subscription could not be ended");
                Err(Status::unavailable("this node cannot record it now"))
            }
        }
    }
}

impl std::fmt::Debug for NoticesPeerEdge {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("NoticesPeerEdge").finish_non_exhaustive()
    }
}
