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
    Batch, ConsistencyProof, ConsistencyRequest, ConsistencyResponse, EntryKind, HeldBatches, HeldMessage, HeldRequest,
    Signed,
    custody_server::{Custody, CustodyServer},
    signed::Form,
};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use trust::{
    envelope::{self, Payload},
    ids::Party,
    log::hash::Hash,
};

use crate::{
    bulk::pieces,
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
        let request = request.into_inner();
        let until_ms = if request.until_ms == 0 { u64::MAX } else { request.until_ms };
        let wanted = Wanted { caller, when: request.since_ms..until_ms, batches: request.batches() };
        let (sender, receiver) = mpsc::channel(32);
        let logs = Arc::clone(&self.logs);
        let own_turn = self.own_turn(&wanted.caller)?;
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let turn = turn.map_err(|_| Status::unavailable("this node is stopping"))?;
        tokio::task::spawn_blocking(move || {
            let _turns = (turn, own_turn);
            if let Err(error) = send_held(&logs, &wanted, &sender) {
                tracing::error!(%error, "what is held could not be read");
                // Whoever asked may have gone away.
                send(&sender, Err(Status::unavailable("this node cannot read its evidence now")));
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// What somebody asked for.
struct Wanted {
    /// What was exchanged with this party.
    caller: Party,
    /// Kept at these moments.
    when: Range<u64>,
    /// What of batches.
    batches: HeldBatches,
}

/// Sends the questions and answers that were exchanged with the caller, those of this node's own logs alone, the newest first
/// and each answer before its question. Nothing is gathered: whoever asks may stop at any message.
fn send_held(
    logs: &Logs,
    wanted: &Wanted,
    sender: &mpsc::Sender<Result<HeldMessage, Status>>,
) -> Result<(), JournalError> {
    for journal in logs.own() {
        let mut outcome = Ok(ControlFlow::Continue(()));
        journal.newest(wanted.when.start, &mut |head| {
            if wanted.when.contains(&head.at_ms) {
                outcome = send_record(journal, &head, wanted, sender);
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
    wanted: &Wanted,
    sender: &mpsc::Sender<Result<HeldMessage, Status>>,
) -> Result<ControlFlow<()>, JournalError> {
    for (index, kind) in (head.first_index..).zip(&head.kinds).collect::<Vec<_>>().into_iter().rev() {
        let Some(bytes) = journal.entry(index)?.and_then(|stored| stored.message) else { continue };
        let Ok(message) = Signed::decode(bytes.as_slice()) else { continue };
        if !is_between(&message, *kind, &wanted.caller) {
            continue;
        }
        let held = HeldMessage { kind: (*kind).into(), at_ms: head.at_ms, ..HeldMessage::default() };
        let is_taken = match (&message.form, wanted.batches) {
            (Some(Form::Batch(_)), HeldBatches::Unspecified) => true,
            (Some(Form::Batch(batch)), HeldBatches::Roots) => {
                send(sender, Ok(HeldMessage { message: Some(root_of(batch)), ..held }))
            }
            (Some(Form::Batch(_)), HeldBatches::Whole) => {
                drop(message);
                in_pieces(&held, bytes).all(|piece| send(sender, Ok(piece)))
            }
            _ => send(sender, Ok(HeldMessage { message: Some(message), ..held })),
        };
        if !is_taken {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// A batch without its messages.
fn root_of(batch: &Batch) -> Signed {
    let (batch_id, common, root) = (batch.batch_id.clone(), batch.common.clone(), batch.root.clone());
    Signed { form: Some(Form::Batch(Batch { batch_id, common, root, ..Batch::default() })) }
}

/// The pieces of a message that is too large for one.
fn in_pieces(held: &HeldMessage, bytes: Vec<u8>) -> impl Iterator<Item = HeldMessage> {
    let mut pieces = pieces(bytes).peekable();
    std::iter::from_fn(move || {
        let piece = pieces.next()?.bytes;
        Some(HeldMessage { piece, goes_on: pieces.peek().is_some(), ..held.clone() })
    })
}

/// Whether a question or answer was exchanged with this party. What its own signatures say is enough: it was verified
/// when it was kept.
fn is_between(message: &Signed, kind: EntryKind, party: &Party) -> bool {
    let party = party.to_string();
    match kind {
        EntryKind::QuestionSent | EntryKind::QuestionReceived => shared::<proto::exchange::v1::Request>(message)
            .is_some_and(|request| request.sender == party || request.recipient == party),
        EntryKind::AnswerGiven | EntryKind::AnswerReceived => shared::<proto::exchange::v1::Answer>(message)
            .is_some_and(|answer| answer.sender == party || answer.recipient == party),
        EntryKind::CorrectionSent
        | EntryKind::CorrectionReceived
        | EntryKind::CorrectionReplyGiven
        | EntryKind::CorrectionReplyReceived
        | EntryKind::Outcome
        | EntryKind::Unspecified => false,
    }
}

/// The message, or what all messages of a batch share.
fn shared<M: Payload>(message: &Signed) -> Option<M> {
    match &message.form {
        Some(Form::Batch(batch)) => M::decode(batch.common.as_slice()).ok(),
        _ => envelope::peek(message, usize::MAX).ok(),
    }
}

fn to_wire(proof: &[Hash]) -> ConsistencyProof {
    ConsistencyProof { hashes: proof.iter().map(|hash| hash.as_bytes().to_vec()).collect() }
}

#[cfg(test)]
mod tests {
    use proto::exchange::v1::Request;

    use super::*;

    fn batch() -> Signed {
        let common =
            Request { sender: "ninghe/housing".into(), recipient: "ninghe/health".into(), ..Request::default() };
        let items = (0..3000_u32).map(|item| [7; 40].iter().copied().chain(item.to_be_bytes()).collect()).collect();
        let batch =
            Batch { batch_id: vec![1; 32], salt_seed: vec![2; 32], common: common.encode_to_vec(), items, root: None };
        Signed { form: Some(Form::Batch(batch)) }
    }

    #[test]
    fn a_batch_is_shown_to_those_who_exchanged_it_alone() {
        let party = |name: &str| -> Party { name.parse().unwrap() };
        let is_between = |kind, name| is_between(&batch(), kind, &party(name));
        assert!(is_between(EntryKind::QuestionSent, "ninghe/health"));
        assert!(is_between(EntryKind::QuestionReceived, "ninghe/housing"));
        assert!(!is_between(EntryKind::QuestionReceived, "ninghe/taxation"));
        assert!(!is_between(EntryKind::CorrectionSent, "ninghe/housing"));
    }

    #[test]
    fn the_pieces_of_a_batch_put_together_are_the_whole_and_its_root_shows_no_message() {
        let whole = batch().encode_to_vec();
        let held = HeldMessage { kind: EntryKind::AnswerGiven.into(), at_ms: 7, ..HeldMessage::default() };
        let pieces: Vec<HeldMessage> = in_pieces(&held, whole.clone()).collect();
        assert!(pieces.len() > 2 && pieces.iter().all(|piece| piece.at_ms == 7 && piece.message.is_none()));
        let (last, others) = pieces.split_last().unwrap();
        assert!(!last.goes_on && others.iter().all(|piece| piece.goes_on));
        assert_eq!(pieces.iter().flat_map(|piece| piece.piece.clone()).collect::<Vec<_>>(), whole);
        let Some(Form::Batch(batch)) = batch().form else { panic!("a batch") };
        let Some(Form::Batch(root)) = root_of(&batch).form else { panic!("a batch") };
        assert_eq!((root.common, root.items.len(), root.salt_seed.len()), (batch.common, 0, 0));
    }
}
