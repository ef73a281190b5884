//! The port for other departments' nodes: TLS 1.3 in both directions, each peer held to the key of its node statement,
//! at the handshake and again at each request. What cannot be attributed to a department gets a bare status. Out of
//! scope: what is answered (`answer`).

mod bulk;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use host::{
    edge::{Connections, PeerInfo},
    tls::{PeerPolicy, TlsKeyDigest},
};
use proto::exchange::v1::{
    CompareRequest, CompareResponse, DeliverRequest, DeliverResponse, HelloRequest, HelloResponse, TellRequest,
    TellResponse, VerifyRequest, VerifyResponse,
    bulk_server::BulkServer,
    exchange_server::{Exchange, ExchangeServer},
};
use tonic::{Request, Response, Status};
use trust::{
    directory::{LARGEST_ENTRY, NEWEST_WIRE_VERSION, OLDEST_WIRE_VERSION},
    ids::{ExchangeId, Party},
};

use crate::{
    answer::{Answerer, Unanswered},
    ask::{Asker, NotReceived},
    compare::{self, Comparer},
    journal::JournalError,
    view::View,
};

/// The largest message on this port, in bytes: a statement of the directory with what is around it.
pub const LARGEST_MESSAGE: usize = LARGEST_ENTRY + 1024;

/// The service's full name, for health.
pub const SERVICE: &str = "exchange.v1.Exchange";

/// Accepts exactly the TLS keys of the nodes in the directory, and the registry's, which may ask about evidence logs and
/// nothing else.
pub struct DirectoryPolicy {
    view: Arc<View>,
}

impl DirectoryPolicy {
    /// By this view.
    pub fn new(view: Arc<View>) -> Self {
        Self { view }
    }
}

impl PeerPolicy for DirectoryPolicy {
    fn accepts(&self, key: &TlsKeyDigest) -> bool {
        let seen = self.view.seen();
        let directory = seen.directory();
        directory.node_by_tls_key(key.as_bytes()).is_some()
            || directory.registry().is_some_and(|registry| registry.tls_key == key.as_bytes())
    }
}

/// The service for other nodes.
#[derive(Clone)]
pub struct PeerEdge {
    exchange: ExchangeId,
    view: Arc<View>,
    answerer: Arc<Answerer>,
    asker: Arc<Asker>,
    comparer: Arc<Comparer>,
    connections: Connections,
    unattributed: Arc<AtomicU64>,
}

impl PeerEdge {
    /// The service over these parts.
    pub fn new(
        exchange: ExchangeId,
        view: Arc<View>,
        answerer: Arc<Answerer>,
        asker: Arc<Asker>,
        comparer: Arc<Comparer>,
        connections: Connections,
    ) -> Self {
        Self { exchange, view, answerer, asker, comparer, connections, unattributed: Arc::default() }
    }

    /// As a tonic service with its limit on messages.
    pub fn server(&self) -> ExchangeServer<Self> {
        ExchangeServer::new(self.clone()).max_decoding_message_size(LARGEST_MESSAGE)
    }

    /// The service for batches, with its limit on messages.
    pub fn bulk_server(&self) -> BulkServer<Self> {
        BulkServer::new(self.clone()).max_decoding_message_size(LARGEST_MESSAGE)
    }

    /// How many requests could not be attributed to a department since the start.
    pub fn unattributed(&self) -> u64 {
        self.unattributed.load(Ordering::Relaxed)
    }

    /// The department that the connection belongs to now: a node may have been removed since the handshake.
    pub(crate) fn peer<T>(&self, request: &Request<T>) -> Result<Party, Status> {
        let key = request.extensions().get::<PeerInfo>().and_then(|info| info.tls_key);
        let seen = self.view.seen();
        let node = key.and_then(|key| seen.directory().node_by_tls_key(key.as_bytes()));
        match node {
            Some(node) => Ok(Party::new(self.exchange.clone(), node.department.clone())),
            None => {
                self.unattributed.fetch_add(1, Ordering::Relaxed);
                // Cut off, so that whoever goes on has to pass a handshake each time, and fails there.
                if let Some(key) = key {
                    self.connections.close_connections_of(&key);
                }
                Err(Status::unauthenticated("the directory has no node with this TLS key (any more)"))
            }
        }
    }
}

impl std::fmt::Debug for PeerEdge {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("PeerEdge").field("exchange", &self.exchange).finish_non_exhaustive()
    }
}

#[tonic::async_trait]
impl Exchange for PeerEdge {
    async fn verify(&self, request: Request<VerifyRequest>) -> Result<Response<VerifyResponse>, Status> {
        let peer = self.peer(&request)?;
        let signed = request.into_inner().request.ok_or_else(|| Status::invalid_argument("there is no request"))?;
        match self.answerer.answer(&peer, signed).await {
            Ok(answer) => {
                let later = self.answerer.later(&answer).map_err(|error| bare(&error))?;
                Ok(Response::new(VerifyResponse { answer: Some(answer), later }))
            }
            Err(error) => Err(bare(&error)),
        }
    }

    async fn deliver(&self, request: Request<DeliverRequest>) -> Result<Response<DeliverResponse>, Status> {
        let peer = self.peer(&request)?;
        let answer = request.into_inner().answer.ok_or_else(|| Status::invalid_argument("there is no answer"))?;
        let asker = Arc::clone(&self.asker);
        // In a task of its own: where the other side hangs up, what came is still recorded whole.
        let received = tokio::spawn(async move { asker.receive(&peer, answer).await }).await;
        match received.map_err(|error| Status::internal(error.to_string()))? {
            Ok(()) => Ok(Response::new(DeliverResponse {})),
            Err(NotReceived::Unawaited) => Err(Status::not_found("no such answer is awaited here")),
            Err(error @ NotReceived::Invalid(_)) => Err(Status::invalid_argument(error.to_string())),
            Err(NotReceived::Failed(error)) => {
                tracing::error!(%error, "a later answer was not recorded");
                Err(Status::unavailable("this node cannot record an answer now"))
            }
        }
    }

    async fn hello(&self, request: Request<HelloRequest>) -> Result<Response<HelloResponse>, Status> {
        self.peer(&request)?;
        let seen = self.view.seen();
        Ok(Response::new(HelloResponse {
            oldest_wire_version: OLDEST_WIRE_VERSION,
            newest_wire_version: NEWEST_WIRE_VERSION,
            directory_size: seen.size(),
            directory_root: seen.root().as_bytes().to_vec(),
        }))
    }

    async fn tell(&self, request: Request<TellRequest>) -> Result<Response<TellResponse>, Status> {
        self.peer(&request)?;
        let statement = request.into_inner().statement;
        match self.view.apply_revocation(&statement).await {
            Ok(applied) => {
                if applied {
                    tracing::info!("a revocation came directly and counts from now on");
                }
                Ok(Response::new(TellResponse { applied }))
            }
            Err(crate::view::Error::Statement { source, .. }) => Err(Status::invalid_argument(source.to_string())),
            Err(_) => Err(Status::unavailable("the statement cannot be kept now")),
        }
    }

    async fn compare(&self, request: Request<CompareRequest>) -> Result<Response<CompareResponse>, Status> {
        let peer = self.peer(&request)?;
        let strand = request.into_inner().strand.ok_or_else(|| Status::invalid_argument("there is no strand"))?;
        match self.comparer.answer(&peer, &strand).await {
            Ok(strand) => Ok(Response::new(CompareResponse { strand: Some(strand) })),
            Err(error @ (compare::Error::Malformed(_) | compare::Error::Unproved(_))) => {
                Err(Status::invalid_argument(error.to_string()))
            }
            Err(error @ compare::Error::TooOften) => Err(Status::resource_exhausted(error.to_string())),
            Err(error) => {
                tracing::error!(%error, "directories could not be compared");
                Err(Status::unavailable("this node cannot compare directories now"))
            }
        }
    }
}

/// A status that says nothing about anybody.
fn bare(error: &Unanswered) -> Status {
    match error {
        Unanswered::TooMany => Status::resource_exhausted("too many questions at once"),
        Unanswered::BeforeThisLog => {
            Status::unavailable("the question is older than this node's evidence log; ask anew")
        }
        Unanswered::Journal(JournalError::Held { .. }) => {
            Status::unavailable("this node's evidence log may not go on now, so it answers nothing")
        }
        Unanswered::DirectoryMissing => Status::unavailable("this node is not ready"),
        Unanswered::Shared(_) => {
            tracing::warn!(%error, "no answer was given");
            Status::unavailable("this node cannot count the question now")
        }
        Unanswered::Budget(_)
        | Unanswered::Clerk(_)
        | Unanswered::DiskFull
        | Unanswered::Ended(_)
        | Unanswered::Journal(_)
        | Unanswered::StoredAnswerUnreadable
        | Unanswered::Subscriptions(_) => {
            tracing::error!(%error, "no answer was given");
            Status::unavailable("this node cannot record an answer now")
        }
    }
}
