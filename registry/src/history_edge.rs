//! The gRPC service `registry.v1.History`: nodes tell which checkpoint they verified, and hand over statements that this
//! registry lacks. Translates; decides nothing.
//!
//! Limits: a note is at most 256 KiB, a piece 4 MiB, what is handed over 1 GiB; whoever sends 200 times in ten minutes from
//! one address what the log's key did not sign is told to wait.

use std::sync::Arc;

use host::clock::Clock;
use proto::registry::v1::{HandOverRequest, HandOverResponse, TellRequest, TellResponse, history_server};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use trust::refusal::{Code, Refusal};

use crate::{
    failures::{Failures, Source},
    recovery::{self, Recovery},
};

/// The largest message that is read.
const LARGEST_MESSAGE: usize = 5 * 1024 * 1024;

/// How many notes that the log did not sign one address may send in ten minutes.
const MOST_STRAY_NOTES: u32 = 200;

/// The service.
#[derive(Clone)]
pub struct HistoryEdge {
    recovery: Arc<Recovery>,
    failures: Arc<Failures>,
}

impl HistoryEdge {
    /// The service, with its limit on messages.
    pub fn server(recovery: Arc<Recovery>, clock: Arc<dyn Clock>) -> history_server::HistoryServer<Self> {
        let edge = Self { recovery, failures: Arc::new(Failures::new(MOST_STRAY_NOTES, clock)) };
        history_server::HistoryServer::new(edge).max_decoding_message_size(LARGEST_MESSAGE)
    }

    fn count(&self, source: Source, refusal: &Refusal) {
        if !matches!(refusal.code, Code::DirectoryDiverges | Code::Overloaded) {
            self.failures.count(source);
        }
    }

    async fn take(&self, mut pieces: Streaming<HandOverRequest>) -> Result<Result<u64, Refusal>, Status> {
        let mut importer = match self.recovery.import() {
            Ok(importer) => importer,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let mut checkpoint = String::new();
        while let Some(piece) = pieces.message().await? {
            if checkpoint.is_empty() {
                checkpoint = piece.checkpoint;
            }
            for (index, entry) in (piece.start..).zip(piece.entries) {
                if let Err(refusal) = importer.entry(index, entry) {
                    return Ok(Err(refusal));
                }
            }
            // Others get their turn between the pieces: each costs its signatures.
            tokio::task::yield_now().await;
        }
        match importer.finish(&checkpoint) {
            Ok(brought) => self.recovery.take(brought).await.map_err(|error| failed(&error)),
            Err(refusal) => Ok(Err(refusal)),
        }
    }
}

#[tonic::async_trait]
impl history_server::History for HistoryEdge {
    async fn tell(&self, request: Request<TellRequest>) -> Result<Response<TellResponse>, Status> {
        let source = self.failures.admit(&request)?;
        let told = self.recovery.tell(&request.into_inner().note).await.map_err(|error| failed(&error))?;
        let catching_up = self.recovery.catching_up();
        Ok(Response::new(match told {
            Ok(told) => TellResponse {
                refused: None,
                lacks: told.lacks_from.is_some(),
                from: told.lacks_from.unwrap_or(0),
                catching_up,
            },
            Err(refusal) => {
                self.count(source, &refusal);
                TellResponse { refused: Some(refusal.to_wire()), catching_up, ..TellResponse::default() }
            }
        }))
    }

    type HandOverStream = ReceiverStream<Result<HandOverResponse, Status>>;

    /// The answer begins at once, so that no limit on the time of a request cuts a long directory off.
    async fn hand_over(
        &self,
        request: Request<Streaming<HandOverRequest>>,
    ) -> Result<Response<Self::HandOverStream>, Status> {
        let source = self.failures.admit(&request)?;
        let (sender, answer) = mpsc::channel(1);
        let edge = self.clone();
        tokio::spawn(async move {
            let answer = edge.take(request.into_inner()).await.map(|taken| match taken {
                Ok(size) => HandOverResponse { refused: None, size },
                Err(refusal) => {
                    tracing::warn!(%refusal, "what a node handed over was not taken");
                    edge.count(source, &refusal);
                    HandOverResponse { refused: Some(refusal.to_wire()), size: 0 }
                }
            });
            // Whoever handed over may have gone away; what was taken is here all the same.
            let _ = sender.send(answer).await;
        });
        Ok(Response::new(ReceiverStream::new(answer)))
    }
}

fn failed(error: &recovery::Error) -> Status {
    match error {
        recovery::Error::Stopped(_) => Status::unavailable(error.to_string()),
        recovery::Error::Ledger(crate::ledger::Error::Away { .. }) => Status::unavailable(error.to_string()),
        error => {
            tracing::error!(%error, "the log's history");
            Status::internal("the registry cannot look at its history")
        }
    }
}
