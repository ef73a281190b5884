//! The gRPC service `admin.v1.RegistryHistory` on the admin socket: the backup of a running registry, what it lacks after a
//! restore, and an officer's decision to go on.

use std::{pin::Pin, sync::Arc};

use host::chunks::{self, ChunkReader, ChunkWriter};
use proto::admin::v1::{
    BackupRequest, HistoryEvent, ImportDirectoryResponse, ResumeLogRequest, ResumeLogResponse, ShowHistoryRequest,
    ShowHistoryResponse, ToldBy, ViewChunk, registry_history_server,
};
use tokio::sync::mpsc;
use tokio_stream::{Stream, StreamExt, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming};
use trust::{
    log::archive,
    refusal::{Code, Refusal},
};

use super::{internal, kept::outcome_of, refused};
use crate::{backup::write::Backup, recovery::Recovery};

/// How many pieces of a file wait.
const PIECES_WAITING: usize = 8;

/// The largest message, in bytes: a piece of a file.
const LARGEST_MESSAGE: usize = 256 * 1024;

/// The service.
pub struct HistoryEdge {
    recovery: Arc<Recovery>,
    backup: Backup,
}

impl HistoryEdge {
    /// The service, with its limit on messages.
    pub fn server(recovery: Arc<Recovery>, backup: Backup) -> registry_history_server::RegistryHistoryServer<Self> {
        let edge = Self { recovery, backup };
        registry_history_server::RegistryHistoryServer::new(edge).max_decoding_message_size(LARGEST_MESSAGE)
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl registry_history_server::RegistryHistory for HistoryEdge {
    type BackupStream = Pin<Box<dyn Stream<Item = Result<ViewChunk, Status>> + Send>>;

    async fn backup(&self, _: Request<BackupRequest>) -> Answer<Self::BackupStream> {
        let (sender, pieces) = mpsc::channel(PIECES_WAITING);
        let (backup, runtime) = (self.backup.clone(), tokio::runtime::Handle::current());
        let writing = tokio::task::spawn_blocking(move || backup.write(ChunkWriter::new(sender), &runtime));
        // The last item tells whether all was written: a file that broke off is never taken for the whole.
        let pieces = ReceiverStream::new(pieces).map(|bytes| Ok(ViewChunk { bytes }));
        Ok(Response::new(Box::pin(pieces.chain(outcome_of(writing)))))
    }

    async fn import_directory(&self, request: Request<Streaming<ViewChunk>>) -> Answer<ImportDirectoryResponse> {
        let not_taken =
            |refusal: Refusal| ImportDirectoryResponse { refused: Some(refusal.to_wire()), ..Default::default() };
        let mut importer = match self.recovery.import() {
            Ok(importer) => importer,
            Err(refusal) => return Ok(Response::new(not_taken(refusal))),
        };
        let (sender, pieces) = mpsc::channel(PIECES_WAITING);
        tokio::spawn(chunks::forward(request.into_inner(), |piece: ViewChunk| piece.bytes, sender));
        let reading = tokio::task::spawn_blocking(move || {
            let mut wrong = None;
            let read = archive::read(ChunkReader::new(pieces), |index, entry| {
                importer.entry(index, entry).map_err(|refusal| {
                    let text = refusal.to_string();
                    wrong = Some(refusal);
                    text
                })
            });
            match (read, wrong) {
                (_, Some(refusal)) => Err(refusal),
                (Err(error), None) => Err(Refusal::new(Code::MessageMalformed).at("file").because(error)),
                (Ok(checkpoint), None) => importer.finish(&checkpoint),
            }
        });
        let brought = match reading.await.map_err(|error| internal(&error))? {
            Ok(brought) => brought,
            Err(refusal) => return Ok(Response::new(not_taken(refusal))),
        };
        let before = brought.base_size;
        Ok(Response::new(match self.recovery.take(brought).await.map_err(|error| internal(&error))? {
            Ok(size) => ImportDirectoryResponse { refused: None, added: size.saturating_sub(before), size },
            Err(refusal) => not_taken(refusal),
        }))
    }

    async fn show_history(&self, _: Request<ShowHistoryRequest>) -> Answer<ShowHistoryResponse> {
        let events = self.recovery.events().map_err(|error| internal(&error))?;
        let told = self.recovery.heard().into_iter().map(|(department, heard)| ToldBy {
            department: department.to_string(),
            size: heard.size,
            at_ms: heard.at_ms,
        });
        let events = events.into_iter().map(|event| HistoryEvent {
            at_ms: event.at_ms,
            what: event.what.as_str().to_owned(),
            size: event.size,
            detail: event.detail,
            officer: event.officer,
        });
        Ok(Response::new(ShowHistoryResponse {
            catching_up: self.recovery.catching_up(),
            told: told.collect(),
            departments: u32::try_from(self.recovery.departments()).unwrap_or(u32::MAX),
            events: events.collect(),
        }))
    }

    async fn resume_log(&self, request: Request<ResumeLogRequest>) -> Answer<ResumeLogResponse> {
        let ResumeLogRequest { officer, reason } = request.into_inner();
        for (field, text) in [("officer", &officer), ("reason", &reason)] {
            if text.trim().is_empty() {
                return Err(Status::invalid_argument(format!("{field}: it is kept with the decision; give it")));
            }
        }
        let resumed = self.recovery.resume(&officer, &reason).await.map_err(|error| internal(&error))?;
        let size = resumed.map_err(|refusal| refused(&refusal))?;
        Ok(Response::new(ResumeLogResponse { size }))
    }
}
