//! The gRPC service `registry.v1.Directory`: submit a statement, read entries, watch what is new. Translates; decides
//! nothing. Anybody may read and submit: what counts is the signature inside.
//!
//! Limits: a submission is at most 65,535 bytes, a read 1,000 entries or 3 MiB, a watcher that does not take what it is sent
//! for a minute is dropped, at most 4,096 watch at once and no more than half of the connections, and whoever submits 200 times in ten
//! minutes from one address what no department signed is told to wait.

use std::{sync::Arc, time::Duration};

use host::clock::Clock;
use proto::registry::v1::{self as wire, directory_server, submit_response::Outcome};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use trust::refusal::Code;

use crate::{
    failures::Failures,
    ledger::{self, Ledger, ReadLimit},
    sequencer::{Accepted, Head, Sequencer},
    witnesses::Witnesses,
};

/// The most that one answer carries: its entries stay below the 4 MiB that gRPC clients take by default.
pub const READ_LIMIT: ReadLimit = ReadLimit { entries: 1000, bytes: 3 * 1024 * 1024 };

/// The largest message that is read. A little above the largest statement, so that one that is too large gets a refusal
/// that says so.
pub const LARGEST_MESSAGE: usize = 80 * 1024;

/// How many submissions that nobody in the directory signed one address may send in ten minutes.
const MOST_STRAY_SUBMISSIONS: u32 = 200;

/// How many may watch at once.
const MOST_WATCHERS: usize = 4096;

/// How long a watcher may leave what it was sent untaken.
const SLOWEST_WATCHER: Duration = Duration::from_secs(60);

/// The service.
pub struct DirectoryEdge {
    sequencer: Sequencer,
    ledger: Arc<dyn Ledger>,
    witnesses: Witnesses,
    watchers: Arc<Semaphore>,
    failures: Failures,
    stop: CancellationToken,
}

impl DirectoryEdge {
    /// The service over a sequencer and its ledger; watches end with `stop`.
    pub fn new(
        sequencer: Sequencer,
        ledger: Arc<dyn Ledger>,
        witnesses: Witnesses,
        clock: Arc<dyn Clock>,
        stop: CancellationToken,
        most_connections: usize,
    ) -> Self {
        let failures = Failures::new(MOST_STRAY_SUBMISSIONS, clock);
        // Whoever finds no place to watch must still find one to be told so, and to say something.
        let watchers = Arc::new(Semaphore::new(MOST_WATCHERS.min(most_connections / 2)));
        Self { sequencer, ledger, witnesses, watchers, failures, stop }
    }

    /// For the gRPC server, with its limit on messages.
    pub fn into_server(self) -> directory_server::DirectoryServer<Self> {
        directory_server::DirectoryServer::new(self).max_decoding_message_size(LARGEST_MESSAGE)
    }
}

#[tonic::async_trait]
impl directory_server::Directory for DirectoryEdge {
    async fn submit(&self, request: Request<wire::SubmitRequest>) -> Result<Response<wire::SubmitResponse>, Status> {
        let source = self.failures.admit(&request)?;
        let outcome = self.sequencer.submit(request.into_inner().envelope).await;
        let outcome = match outcome.map_err(|stopped| Status::unavailable(stopped.to_string()))? {
            Ok(accepted) => Outcome::Accepted(accepted_to_wire(&accepted)),
            Err(refusal) => {
                if is_stray(refusal.code) {
                    self.failures.count(source);
                }
                Outcome::Refused(refusal.to_wire())
            }
        };
        Ok(Response::new(wire::SubmitResponse { outcome: Some(outcome) }))
    }

    async fn read(&self, request: Request<wire::ReadRequest>) -> Result<Response<wire::ReadResponse>, Status> {
        let wire::ReadRequest { start, limit } = request.into_inner();
        let head = self.sequencer.head();
        check_start(start, &head)?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let limit = if limit == 0 { READ_LIMIT.entries } else { limit.min(READ_LIMIT.entries) };
        let mut answer = read_upto(self.ledger.as_ref(), &self.witnesses, start, limit, &head).await?;
        answer.catching_up = catching_up(&self.sequencer);
        Ok(Response::new(answer))
    }

    type WatchStream = ReceiverStream<Result<wire::ReadResponse, Status>>;

    async fn watch(&self, request: Request<wire::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let start = request.into_inner().start;
        check_start(start, &self.sequencer.head())?;
        let permit = Arc::clone(&self.watchers).try_acquire_owned();
        let permit = permit.map_err(|_| Status::resource_exhausted("too many watch this registry; read instead"))?;
        let (sender, receiver) = mpsc::channel(2);
        let watcher = Watcher {
            next: start,
            head: self.sequencer.watch(),
            sequencer: self.sequencer.clone(),
            ledger: Arc::clone(&self.ledger),
            cosigned: self.witnesses.news(),
            witnesses: self.witnesses.clone(),
            sender,
            _permit: permit,
        };
        let stop = self.stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = watcher.run() => {}
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// One who watches.
struct Watcher {
    next: u64,
    head: watch::Receiver<Head>,
    sequencer: Sequencer,
    ledger: Arc<dyn Ledger>,
    cosigned: watch::Receiver<u64>,
    witnesses: Witnesses,
    sender: mpsc::Sender<Result<wire::ReadResponse, Status>>,
    _permit: OwnedSemaphorePermit,
}

impl Watcher {
    /// Sends until the watcher goes away or falls too far behind, or the registry ends.
    async fn run(mut self) {
        loop {
            let head = self.head.borrow_and_update().clone();
            // At least one message for each head, so that a checkpoint comes even when nothing was said.
            loop {
                let entries = READ_LIMIT.entries;
                let mut read = read_upto(self.ledger.as_ref(), &self.witnesses, self.next, entries, &head).await;
                if let Ok(answer) = &mut read {
                    answer.catching_up = catching_up(&self.sequencer);
                }
                let failed = read.is_err();
                let sent = read.as_ref().map_or(0, |answer| answer.entries.len() as u64);
                match tokio::time::timeout(SLOWEST_WATCHER, self.sender.send(read)).await {
                    Ok(Ok(())) if !failed => self.next += sent,
                    _ => return,
                }
                if self.next >= head.size {
                    break;
                }
            }
            tokio::select! {
                changed = self.head.changed() => if changed.is_err() { return },
                changed = self.cosigned.changed() => if changed.is_err() { return },
                () = self.sender.closed() => return,
            }
        }
    }
}

/// Entries from `start`, none beyond what the head's checkpoint covers.
async fn read_upto(
    ledger: &dyn Ledger,
    witnesses: &Witnesses,
    start: u64,
    limit: usize,
    head: &Head,
) -> Result<wire::ReadResponse, Status> {
    let left = usize::try_from(head.size.saturating_sub(start)).unwrap_or(usize::MAX);
    let limit = ReadLimit { entries: limit.min(left), ..READ_LIMIT };
    // With nothing to read, the checkpoint is told even while the store is away.
    let entries = if limit.entries == 0 { Vec::new() } else { ledger.read(start, limit).await.map_err(unreadable)? };
    let served = witnesses.serve(head);
    let (checkpoint, witnessed) = (served.checkpoint.to_string(), served.earlier.to_vec());
    Ok(wire::ReadResponse { start, entries, checkpoint, witnessed, catching_up: None })
}

/// Set while nothing is signed, so that what is served is not taken for going back.
fn catching_up(sequencer: &Sequencer) -> Option<wire::CatchingUp> {
    let holding = sequencer.holding()?;
    Some(holding.to_wire(sequencer.directory().size()))
}

fn unreadable(error: ledger::Error) -> Status {
    match error {
        ledger::Error::Away { .. } => Status::unavailable("the registry's database is away; ask again in a minute"),
        error => {
            tracing::error!(%error, "the ledger cannot be read");
            Status::internal("the registry cannot read its ledger")
        }
    }
}

/// Whether a refusal says that nobody who may speak here signed the submission.
fn is_stray(code: Code) -> bool {
    use Code::{MessageMalformed, MessageTooLarge, PayloadTypeWrong, SignatureWrong, StatementNotEntitled};
    matches!(code, MessageMalformed | MessageTooLarge | PayloadTypeWrong | SignatureWrong | StatementNotEntitled)
}

fn check_start(start: u64, head: &Head) -> Result<(), Status> {
    if start <= head.size {
        return Ok(());
    }
    // Whoever asks has seen a longer log: either it is another registry's, or this one has lost entries.
    let size = head.size;
    Err(Status::out_of_range(format!("this registry's directory has {size} entries; entry {start} was asked for")))
}

/// For the wire.
pub(crate) fn accepted_to_wire(accepted: &Accepted) -> wire::Accepted {
    wire::Accepted { index: accepted.index, checkpoint: accepted.checkpoint.to_string() }
}
