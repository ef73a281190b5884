//! What other departments' nodes, and the registry, may ask of this node's evidence: that it was never rewritten, and the
//! questions and answers that were exchanged with the asking department. On the peer port, under the same mutual TLS.
//!
//! Out of scope: who may connect (`peer_edge`), and what is done with what the other side still has (`reconcile`).

use std::{
    collections::HashMap,
    ops::{ControlFlow, Range},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use host::edge::PeerInfo;
use prost::Message;
use proto::exchange::v1::{
    ConsistencyProof, ConsistencyRequest, ConsistencyResponse, EntryKind, HeldMessage, HeldRequest, Signed,
    custody_server::{Custody, CustodyServer},
};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use trust::{envelope, ids::Party, log::hash::Hash};

use crate::{
    journal::{Journal, JournalError, RecordHead},
    logs::Logs,
    view::View,
};

/// How many sizes one question about consistency may have.
const MOST_SIZES: usize = 256;

/// How many may be told at once what is held, and how many nodes of one department.
const AT_ONCE: usize = 8;
const OF_ONE_DEPARTMENT: usize = 2;

/// How long whoever asked may leave a message lying.
const SLOWEST: Duration = Duration::from_secs(20);

/// The service.
#[derive(Clone)]
pub struct CustodyEdge {
    view: Arc<View>,
    logs: Arc<Logs>,
    /// Reading what is held takes disk and time; who comes when so many are at it waits.
    turns: Arc<Semaphore>,
    by_department: Arc<Mutex<HashMap<Party, Arc<Semaphore>>>>,
}

/// Who asks.
enum Caller {
    Department(Party),
    Registry,
}

impl CustodyEdge {
    /// The service over this node's evidence.
    pub fn new(view: Arc<View>, logs: Arc<Logs>) -> Self {
        Self { view, logs, turns: Arc::new(Semaphore::new(AT_ONCE)), by_department: Arc::default() }
    }

    /// The turn of a department among its own: one that does not read on must not stand in the others' way.
    fn own_turn(&self, caller: &Party) -> Result<OwnedSemaphorePermit, Status> {
        let mut by_department = self.by_department.lock().unwrap_or_else(PoisonError::into_inner);
        let own = by_department.entry(caller.clone()).or_insert_with(|| Arc::new(Semaphore::new(OF_ONE_DEPARTMENT)));
        let turn = Arc::clone(own).try_acquire_owned();
        turn.map_err(|_| Status::resource_exhausted("this department is being told what is held; try again later"))
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
        if self.logs.log(&origin).is_none() {
            return Err(Status::not_found(format!("this node keeps {}, not {origin}", self.logs.of)));
        }
        if sizes.len() > MOST_SIZES || !sizes.is_sorted() {
            return Err(Status::invalid_argument(format!("at most {MOST_SIZES} sizes, in ascending order")));
        }
        let logs = Arc::clone(&self.logs);
        let proofs = tokio::task::spawn_blocking(move || {
            let Some((journal, _)) = logs.log(&origin) else { return Ok(Vec::new()) };
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
        let HeldRequest { since_ms, until_ms } = request.into_inner();
        let until_ms = if until_ms == 0 { u64::MAX } else { until_ms };
        let (sender, receiver) = mpsc::channel(32);
        let logs = Arc::clone(&self.logs);
        let own_turn = self.own_turn(&caller)?;
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let turn = turn.map_err(|_| Status::unavailable("this node is stopping"))?;
        tokio::task::spawn_blocking(move || {
            let _turns = (turn, own_turn);
            if let Err(error) = send_held(&logs, &caller, since_ms..until_ms, &sender) {
                tracing::error!(%error, "what is held could not be read");
                // Whoever asked may have gone away.
                send(&sender, Err(Status::unavailable("this node cannot read its evidence now")));
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// Sends the questions and answers that were exchanged with the caller, those of this node's own logs alone, the newest first
/// and each answer before its question. Nothing is gathered: whoever asks may stop at any message.
fn send_held(
    logs: &Logs,
    caller: &Party,
    when: Range<u64>,
    sender: &mpsc::Sender<Result<HeldMessage, Status>>,
) -> Result<(), JournalError> {
    for journal in logs.own() {
        let mut outcome = Ok(ControlFlow::Continue(()));
        journal.newest(when.start, &mut |head| {
            if when.contains(&head.at_ms) {
                outcome = send_record(journal, &head, caller, sender);
            }
            match outcome {
                Ok(ControlFlow::Continue(())) => ControlFlow::Continue(()),
                _ => ControlFlow::Break(()),
            }
        })?;
        if outcome?.is_break() {
            break;
        }
    }
    Ok(())
}

/// Whether it was taken in time. Blocks.
fn send(sender: &mpsc::Sender<Result<HeldMessage, Status>>, held: Result<HeldMessage, Status>) -> bool {
    let sent = async { timeout(SLOWEST, sender.send(held)).await };
    matches!(Handle::current().block_on(sent), Ok(Ok(())))
}

fn send_record(
    journal: &dyn Journal,
    head: &RecordHead,
    caller: &Party,
    sender: &mpsc::Sender<Result<HeldMessage, Status>>,
) -> Result<ControlFlow<()>, JournalError> {
    for (index, kind) in (head.first_index..).zip(&head.kinds).collect::<Vec<_>>().into_iter().rev() {
        let Some(message) = journal.entry(index)?.and_then(|stored| stored.message) else { continue };
        let Ok(message) = Signed::decode(message.as_slice()) else { continue };
        if !is_between(&message, *kind, caller) {
            continue;
        }
        let held = HeldMessage { kind: (*kind).into(), message: Some(message), at_ms: head.at_ms };
        if !send(sender, Ok(held)) {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
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
        EntryKind::CorrectionSent
        | EntryKind::CorrectionReceived
        | EntryKind::CorrectionReplyGiven
        | EntryKind::CorrectionReplyReceived
        | EntryKind::Outcome
        | EntryKind::Unspecified => false,
    }
}

fn to_wire(proof: &[Hash]) -> ConsistencyProof {
    ConsistencyProof { hashes: proof.iter().map(|hash| hash.as_bytes().to_vec()).collect() }
}
