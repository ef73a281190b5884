//! The gRPC service `admin.v1.DirectoryKept` on the admin socket: the directory as a file to be carried by hand, and who
//! cosigned it lately.

use std::{io::Write, sync::Arc};

use host::chunks::ChunkWriter;
use proto::admin::v1::{
    ExportViewRequest, ListWitnessesRequest, ListWitnessesResponse, ViewChunk, WitnessTime, directory_kept_server,
};
use tokio::sync::mpsc;
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tonic::{Request, Response, Status};
use trust::log::archive;

use crate::{
    ledger::{Ledger, ReadLimit},
    sequencer::Sequencer,
    witnesses::Witnesses,
};

/// How many entries are read at once.
const READ_AT_ONCE: usize = 256;

/// How many pieces wait for the operator.
const PIECES_WAITING: usize = 8;

/// The service.
pub struct KeptEdge {
    sequencer: Sequencer,
    ledger: Arc<dyn Ledger>,
    witnesses: Witnesses,
}

impl KeptEdge {
    /// The service over the directory.
    pub fn server(
        sequencer: Sequencer,
        ledger: Arc<dyn Ledger>,
        witnesses: Witnesses,
    ) -> directory_kept_server::DirectoryKeptServer<Self> {
        directory_kept_server::DirectoryKeptServer::new(Self { sequencer, ledger, witnesses })
    }
}

#[tonic::async_trait]
impl directory_kept_server::DirectoryKept for KeptEdge {
    type ExportStream = std::pin::Pin<Box<dyn tokio_stream::Stream<Item = Result<ViewChunk, Status>> + Send>>;

    async fn export(&self, request: Request<ExportViewRequest>) -> Result<Response<Self::ExportStream>, Status> {
        let head = self.sequencer.head();
        let from = request.into_inner().from;
        if from > head.size {
            return Err(Status::invalid_argument(format!("from: the directory has {} statements", head.size)));
        }
        let checkpoint = self.witnesses.serve(&head).checkpoint;
        let (sender, pieces) = mpsc::channel(PIECES_WAITING);
        let (ledger, runtime) = (Arc::clone(&self.ledger), tokio::runtime::Handle::current());
        let writing = tokio::task::spawn_blocking(move || {
            let mut next = archive::bundle_start(from);
            let mut writer = archive::Writer::begin(ChunkWriter::new(sender), &checkpoint, next)?;
            while next < head.size {
                let left = usize::try_from(head.size - next).unwrap_or(usize::MAX);
                let limit = ReadLimit::entries(READ_AT_ONCE.min(left));
                let entries = runtime.block_on(ledger.read(next, limit)).map_err(std::io::Error::other)?;
                if entries.is_empty() {
                    return Err(std::io::Error::other("the ledger ends before its checkpoint").into());
                }
                next += entries.len() as u64;
                entries.into_iter().try_for_each(|entry| writer.entry(entry))?;
            }
            Ok::<_, archive::Error>(writer.finish()?.flush()?)
        });
        // The last item tells whether all was written: a file that broke off is never taken for the whole.
        let pieces = ReceiverStream::new(pieces).map(|bytes| Ok(ViewChunk { bytes }));
        let ended = outcome_of(writing);
        Ok(Response::new(Box::pin(pieces.chain(ended))))
    }

    async fn list_witnesses(
        &self,
        _: Request<ListWitnessesRequest>,
    ) -> Result<Response<ListWitnessesResponse>, Status> {
        let witnesses = self.witnesses.latest().into_iter().map(|kept| WitnessTime {
            department: kept.cosigned.department.to_string(),
            node: kept.cosigned.node.to_string(),
            cosigned_ms: kept.cosigned.time_seconds.saturating_mul(1000),
            size: kept.size,
        });
        let witnesses = witnesses.collect();
        let directory = self.sequencer.directory();
        let departments = directory.departments().filter(|(_, department)| department.suspended.is_none()).count();
        let required = directory.profile().witnesses_required;
        Ok(Response::new(ListWitnessesResponse {
            witnesses,
            required: u32::try_from(required).unwrap_or(u32::MAX),
            departments: u32::try_from(departments).unwrap_or(u32::MAX),
        }))
    }
}

/// Nothing where the writing ended well, and else the error.
pub(super) fn outcome_of<E: std::fmt::Display + Send + 'static>(
    writing: tokio::task::JoinHandle<Result<(), E>>,
) -> impl tokio_stream::Stream<Item = Result<ViewChunk, Status>> + Send {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let failed = match writing.await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        let _ = sender.send(Err(Status::internal(failed))).await;
    });
    ReceiverStream::new(receiver)
}
