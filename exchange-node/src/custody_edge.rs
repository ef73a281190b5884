//! What other departments' nodes, and the registry, may ask of this node's evidence: that it was never rewritten, and the
//! questions and answers that were exchanged with the asking department. On the peer port, under the same mutual TLS.
//!
//! Out of scope: who may connect (`peer_edge`), and what is done with what the other side still has (`reconcile`).

use std::{ops::ControlFlow, sync::Arc};

use host::edge::PeerInfo;
use prost::Message;
use proto::exchange::v1::{
    ConsistencyProof, ConsistencyRequest, ConsistencyResponse, EntryKind, HeldMessage, HeldRequest, Signed,
    custody_server::{Custody, CustodyServer},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use trust::{envelope, evidence::LogOf, ids::Party, log::hash::Hash};

use crate::{
    journal::{Journal, JournalError, RecordHead},
    view::View,
};

/// How many sizes one question about consistency may have.
const MOST_SIZES: usize = 256;

/// How many messages are looked at for one question about what is held.
const MOST_HELD: usize = 200_000;

/// The service.
#[derive(Clone)]
pub struct CustodyEdge {
    evidence: LogOf,
    view: Arc<View>,
    journal: Arc<dyn Journal>,
}

/// Who asks.
enum Caller {
    Department(Party),
    Registry,
}

impl CustodyEdge {
    /// The service over this node's evidence.
    pub fn new(evidence: LogOf, view: Arc<View>, journal: Arc<dyn Journal>) -> Self {
        Self { evidence, view, journal }
    }

    /// As a tonic service with its limit on messages.
    pub fn server(&self) -> CustodyServer<Self> {
        CustodyServer::new(self.clone()).max_decoding_message_size(16 * 1024)
    }

    fn caller<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        let key = request.extensions().get::<PeerInfo>().and_then(|info| info.tls_key);
        let key = key.ok_or_else(|| Status::unauthenticated("there is no TLS key"))?;
        let seen = self.view.seen();
        let directory = seen.directory();
        if let Some(node) = directory.node_by_tls_key(key.as_bytes()) {
            return Ok(Caller::Department(Party::new(directory.exchange().clone(), node.department.clone())));
        }
        match directory.registry().is_some_and(|registry| registry.tls_key == key.as_bytes()) {
            true => Ok(Caller::Registry),
            false => Err(Status::unauthenticated("the directory has no node with this TLS key (any more)")),
        }
    }
}

#[tonic::async_trait]
impl Custody for CustodyEdge {
    async fn consistency(&self, request: Request<ConsistencyRequest>) -> Result<Response<ConsistencyResponse>, Status> {
        self.caller(&request)?;
        let ConsistencyRequest { origin, sizes } = request.into_inner();
        if origin != self.evidence.to_string() {
            return Err(Status::not_found(format!("this node keeps {}, not {origin}", self.evidence)));
        }
        if sizes.len() > MOST_SIZES || !sizes.is_sorted() {
            return Err(Status::invalid_argument(format!("at most {MOST_SIZES} sizes, in ascending order")));
        }
        let journal = Arc::clone(&self.journal);
        let proofs = tokio::task::spawn_blocking(move || {
            let pairs = sizes.windows(2).map(|pair| journal.consistency(pair[0], pair[1]));
            pairs.collect::<Result<Vec<_>, _>>()
        });
        match proofs.await.map_err(|error| Status::internal(error.to_string()))? {
            Ok(proofs) => {
                Ok(Response::new(ConsistencyResponse { proofs: proofs.iter().map(|proof| to_wire(proof)).collect() }))
            }
            Err(error @ JournalError::OutsideLog { .. }) => Err(Status::out_of_range(error.to_string())),
            Err(error) => {
                tracing::error!(%error, "no proof of consistency was given");
                Err(Status::unavailable("this node cannot read its evidence now"))
            }
        }
    }

    type HeldStream = ReceiverStream<Result<HeldMessage, Status>>;

    async fn held(&self, request: Request<HeldRequest>) -> Result<Response<Self::HeldStream>, Status> {
        let Caller::Department(caller) = self.caller(&request)? else {
            return Err(Status::permission_denied("messages are given to the department that exchanged them alone"));
        };
        let since_ms = request.into_inner().since_ms;
        let (sender, receiver) = mpsc::channel(32);
        let journal = Arc::clone(&self.journal);
        tokio::task::spawn_blocking(move || {
            if let Err(error) = send_held(journal.as_ref(), &caller, since_ms, &sender) {
                tracing::error!(%error, "what is held could not be read");
                // Whoever asked may have gone away.
                let _ = sender.blocking_send(Err(Status::unavailable("this node cannot read its evidence now")));
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// Sends the questions and answers that were exchanged with the caller, oldest first.
fn send_held(
    journal: &dyn Journal,
    caller: &Party,
    since_ms: u64,
    sender: &mpsc::Sender<Result<HeldMessage, Status>>,
) -> Result<(), JournalError> {
    let mut heads: Vec<RecordHead> = Vec::new();
    journal.newest(since_ms, &mut |head| {
        heads.push(head);
        if heads.len() < MOST_HELD { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    for head in heads.into_iter().rev() {
        for (index, kind) in (head.first_index..).zip(&head.kinds) {
            let Some(message) = journal.entry(index)?.and_then(|stored| stored.message) else { continue };
            let Ok(message) = Signed::decode(message.as_slice()) else { continue };
            if !is_between(&message, *kind, caller) {
                continue;
            }
            let held = HeldMessage { kind: (*kind).into(), message: Some(message), at_ms: head.at_ms };
            if sender.blocking_send(Ok(held)).is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Whether a question or answer was exchanged with this party. What its own signatures say is enough: it was verified
/// when it was kept.
fn is_between(message: &Signed, kind: EntryKind, party: &Party) -> bool {
    let party = party.to_string();
    match kind {
        EntryKind::QuestionSent | EntryKind::QuestionReceived => {
            envelope::peek::<proto::exchange::v1::Request>(message, usize::MAX)
                .is_ok_and(|request| request.sender == party || request.recipient == party)
        }
        EntryKind::AnswerGiven | EntryKind::AnswerReceived => {
            envelope::peek::<proto::exchange::v1::Answer>(message, usize::MAX)
                .is_ok_and(|answer| answer.sender == party || answer.recipient == party)
        }
        EntryKind::Outcome | EntryKind::Unspecified => false,
    }
}

fn to_wire(proof: &[Hash]) -> ConsistencyProof {
    ConsistencyProof { hashes: proof.iter().map(|hash| hash.as_bytes().to_vec()).collect() }
}
