//! The gRPC service `admin.v1.DirectoryView` on the admin socket: the view's age and witnesses, what was found, and the
//! view carried by hand.

use std::{pin::Pin, sync::Arc};

use host::chunks::{self, ChunkReader, ChunkWriter};
use proto::admin::v1::{
    ExportViewRequest, ImportViewResponse, ListViewFindingsRequest, ListViewFindingsResponse, SettleFindingRequest,
    SettleFindingResponse, ShowViewRequest, ShowViewResponse, ViewChunk, ViewFinding, WitnessTime,
    directory_view_server::{DirectoryView, DirectoryViewServer},
};
use tokio::sync::mpsc;
use tokio_stream::{Stream, StreamExt, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming};
use trust::{
    log::archive,
    refusal::{Code, Refusal},
};

use crate::{findings, parts::Parts, view};

/// How many pieces of a file wait.
const PIECES_WAITING: usize = 8;

/// The largest message, in bytes: a piece of a file.
const LARGEST_MESSAGE: usize = 256 * 1024;

/// The service.
#[derive(Clone)]
pub struct DirectoryViewEdge {
    parts: Arc<Parts>,
}

impl DirectoryViewEdge {
    /// The service of a running node.
    pub fn new(parts: Parts) -> Self {
        Self { parts: Arc::new(parts) }
    }

    /// As a tonic service with its limit on messages.
    pub fn server(&self) -> DirectoryViewServer<Self> {
        DirectoryViewServer::new(self.clone()).max_decoding_message_size(LARGEST_MESSAGE)
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl DirectoryView for DirectoryViewEdge {
    async fn show(&self, _: Request<ShowViewRequest>) -> Answer<ShowViewResponse> {
        let view = &self.parts.view;
        let (seen, now_ms) = (view.seen(), self.parts.clock.now_ms());
        let age = view.age(now_ms);
        let witnesses = view.witnesses().into_iter().map(|witnessed| WitnessTime {
            department: witnessed.cosigned.department.to_string(),
            node: witnessed.cosigned.node.to_string(),
            cosigned_ms: witnessed.cosigned.time_seconds.saturating_mul(1000),
            size: witnessed.size,
        });
        Ok(Response::new(ShowViewResponse {
            size: seen.size(),
            root: seen.root().to_string(),
            checkpoint: view.checkpoint().to_string(),
            log_key: view.trusted_log_key().map(|key| key.plain().to_string()).unwrap_or_default(),
            state: age.state.as_str().to_owned(),
            vouched_ms: age.vouched_ms,
            log_vouched_ms: age.log_vouched_ms,
            expires_ms: age.expires_ms,
            lifetime_ms: age.lifetime_ms,
            witnesses_required: u32::try_from(age.witnesses_required).unwrap_or(u32::MAX),
            witnesses: witnesses.collect(),
            registry_reachable: view.is_registry_reachable(),
            findings: u32::try_from(view.findings().open_ones().len()).unwrap_or(u32::MAX),
            now_ms,
            registry_catching_up: view.registry_behind(),
        }))
    }

    type ExportStream = Pin<Box<dyn Stream<Item = Result<ViewChunk, Status>> + Send>>;

    async fn export(&self, request: Request<ExportViewRequest>) -> Answer<Self::ExportStream> {
        let (view, from) = (Arc::clone(&self.parts.view), request.into_inner().from);
        let (sender, pieces) = mpsc::channel(PIECES_WAITING);
        let (failed, failure) = mpsc::channel(1);
        tokio::task::spawn_blocking(move || {
            if let Err(error) = view.export(from, ChunkWriter::new(sender)) {
                let status = match error {
                    archive::Error::Unwanted(reason) => Status::failed_precondition(reason),
                    error => Status::internal(error.to_string()),
                };
                // Nobody reads any more: then nobody needs to know.
                let _ = failed.blocking_send(Err(status));
            }
        });
        let pieces = ReceiverStream::new(pieces).map(|bytes| Ok(ViewChunk { bytes }));
        Ok(Response::new(Box::pin(pieces.chain(ReceiverStream::new(failure)))))
    }

    async fn import(&self, request: Request<Streaming<ViewChunk>>) -> Answer<ImportViewResponse> {
        let (sender, pieces) = mpsc::channel(PIECES_WAITING);
        tokio::spawn(chunks::forward(request.into_inner(), |piece: ViewChunk| piece.bytes, sender));
        let view = Arc::clone(&self.parts.view);
        let brought = tokio::task::spawn_blocking(move || view.read_file(ChunkReader::new(pieces)))
            .await
            .map_err(|error| Status::internal(error.to_string()))?;
        let brought = match brought {
            Ok(brought) => brought,
            Err(error) => return Ok(Response::new(refused(&malformed(error)))),
        };
        let now_ms = self.parts.clock.now_ms();
        let view = &self.parts.view;
        match view.import(brought, now_ms).await {
            Ok(imported) => {
                let age = view.age(now_ms);
                tracing::info!(added = imported.added, younger_ms = imported.younger_ms, "a view was brought by hand");
                Ok(Response::new(ImportViewResponse {
                    refused: None,
                    added: imported.added,
                    size: view.seen().size(),
                    vouched_ms: age.vouched_ms,
                    younger_ms: imported.younger_ms,
                    state: age.state.as_str().to_owned(),
                }))
            }
            Err(error) => match disbelieved(&error) {
                Some(refusal) => Ok(Response::new(refused(&refusal))),
                None => Err(Status::internal(error.to_string())),
            },
        }
    }

    async fn list_findings(&self, _: Request<ListViewFindingsRequest>) -> Answer<ListViewFindingsResponse> {
        let findings = self.parts.view.findings();
        let listed = findings.list().into_iter().map(|finding| ViewFinding {
            folder: findings.folder_of(&finding.id).display().to_string(),
            id: finding.id,
            kind: finding.kind.as_str().to_owned(),
            what: finding.what,
            source: finding.source,
            first_ms: finding.first_ms,
            last_ms: finding.last_ms,
            files: finding.files,
            settled: finding.settled,
        });
        Ok(Response::new(ListViewFindingsResponse { findings: listed.collect() }))
    }

    async fn settle_finding(&self, request: Request<SettleFindingRequest>) -> Answer<SettleFindingResponse> {
        let SettleFindingRequest { id, note } = request.into_inner();
        if note.trim().is_empty() {
            return Err(Status::invalid_argument("note: say how it was settled; it is kept beside the evidence"));
        }
        let (view, now_ms) = (Arc::clone(&self.parts.view), self.parts.clock.now_ms());
        let settled = tokio::task::spawn_blocking(move || view.findings().settle(&id, &note, now_ms)).await;
        match settled.map_err(|error| Status::internal(error.to_string()))? {
            Ok(()) => Ok(Response::new(SettleFindingResponse {})),
            Err(error @ findings::Error::Unknown { .. }) => Err(Status::not_found(error.to_string())),
            Err(error) => Err(Status::internal(error.to_string())),
        }
    }
}

fn refused(refusal: &Refusal) -> ImportViewResponse {
    ImportViewResponse { refused: Some(refusal.to_wire()), ..ImportViewResponse::default() }
}

fn malformed(error: archive::Error) -> Refusal {
    Refusal::new(Code::MessageMalformed).at("file").because(error)
}

/// Why a file is not believed; `None` for our own failure.
fn disbelieved(error: &view::Error) -> Option<Refusal> {
    use view::Error;
    let code = match error {
        Error::Checkpoint(_) | Error::NotFounded => Code::SignatureWrong,
        Error::CutShort { .. } | Error::OutOfOrder { .. } | Error::Uncovered => Code::MessageMalformed,
        Error::Forked { .. } | Error::RolledBack { .. } | Error::Stale { .. } => Code::DirectoryDiverges,
        Error::Statement { source, .. } => return Some(source.refusal()),
        _ => return None,
    };
    Some(Refusal::new(code).at("file").because(error))
}
