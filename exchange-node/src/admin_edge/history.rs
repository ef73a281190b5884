//! The operators' service about backups and the one history of the evidence. Translates; decides nothing.

use std::{
    io::{self, Write},
    ops::ControlFlow,
    sync::Arc,
};

use proto::admin::v1::{
    CloseLogRequest, CloseLogResponse, EvidenceLog, ListLogsRequest, ListLogsResponse, ListRecoveredRequest,
    NodeBackupPiece, NodeBackupRequest, ReconcileRequest, ReconcileResponse, Reconciled, RecoveredQuestion,
    ResumeEvidenceRequest, ResumeEvidenceResponse,
    node_history_server::{NodeHistory, NodeHistoryServer},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use trust::{evidence::LogOf, ids::DepartmentId, official};

use crate::{
    backup, history,
    journal::Journal,
    parts::Parts,
    publish,
    reconcile::{self, Listed},
};

/// The service.
pub struct HistoryEdge {
    parts: Parts,
}

impl HistoryEdge {
    /// The service of a running node.
    pub fn server(parts: Parts) -> NodeHistoryServer<Self> {
        NodeHistoryServer::new(Self { parts })
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl NodeHistory for HistoryEdge {
    type BackupStream = ReceiverStream<Result<NodeBackupPiece, Status>>;

    async fn backup(&self, request: Request<NodeBackupRequest>) -> Answer<Self::BackupStream> {
        let with_records = !request.into_inner().without_records;
        let (sender, receiver) = mpsc::channel(8);
        let parts = self.parts.clone();
        tokio::task::spawn_blocking(move || {
            let target = io::BufWriter::with_capacity(PIECE, PieceWriter { sender: sender.clone() });
            if let Err(error) = backup::write(&parts, with_records, target) {
                tracing::error!(%error, "the backup ended");
                // Whoever takes it may have gone away.
                let _ = sender.blocking_send(Err(Status::aborted(error.to_string())));
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn list_logs(&self, _: Request<ListLogsRequest>) -> Answer<ListLogsResponse> {
        let logs = &self.parts.logs;
        let mut listed = Vec::new();
        for (number, closed) in (1..).zip(&logs.closed) {
            let of = LogOf { number, ..logs.of.clone() };
            listed.push(EvidenceLog {
                origin: of.to_string(),
                entries: closed.size,
                closed: closed.reason.clone(),
                lost: closed.highest_seen.saturating_sub(closed.size),
                here: logs.earlier.iter().any(|earlier| earlier.of == of),
            });
        }
        listed.push(EvidenceLog {
            origin: logs.of.to_string(),
            entries: logs.current.size(),
            here: true,
            ..EvidenceLog::default()
        });
        Ok(Response::new(ListLogsResponse {
            logs: listed,
            held: self.parts.historian.standing.held().map(|held| held.text.clone()).unwrap_or_default(),
            recovered: logs.recovered().map_or(0, |recovered| recovered.size()),
        }))
    }

    async fn close_log(&self, request: Request<CloseLogRequest>) -> Answer<CloseLogResponse> {
        let CloseLogRequest { reason, decision } = request.into_inner();
        let decision = decision.unwrap_or_default();
        said("reason", &reason)?;
        said("officer", &decision.officer)?;
        official::check_texts(Some(&decision)).map_err(|refusal| Status::invalid_argument(refusal.to_string()))?;
        let closed = self.parts.historian.close(&reason, decision).await.map_err(|error| told(&error))?;
        Ok(Response::new(CloseLogResponse {
            closed: closed.log.to_string(),
            kept: closed.kept,
            highest_seen: closed.highest_seen,
            successor: LogOf { number: closed.log.number + 1, ..closed.log }.to_string(),
            statement: closed.statement,
        }))
    }

    async fn resume_log(&self, request: Request<ResumeEvidenceRequest>) -> Answer<ResumeEvidenceResponse> {
        let ResumeEvidenceRequest { reason, officer } = request.into_inner();
        said("reason", &reason)?;
        said("officer", &officer)?;
        let historian = Arc::clone(&self.parts.historian);
        let resumed = tokio::task::spawn_blocking(move || historian.resume(&officer, &reason)).await;
        let resumed = resumed.map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(ResumeEvidenceResponse { not_compared: resumed.map_err(|error| told(&error))? }))
    }

    async fn reconcile(&self, request: Request<ReconcileRequest>) -> Answer<ReconcileResponse> {
        let departments: Vec<DepartmentId> = request
            .into_inner()
            .departments
            .iter()
            .map(|text| text.parse().map_err(|error| Status::invalid_argument(format!("{text}: {error}"))))
            .collect::<Result<_, _>>()?;
        let outcomes = reconcile::reconcile(&self.parts, &departments).await.map_err(|error| match error {
            reconcile::Error::NothingLost => Status::failed_precondition(error.to_string()),
            reconcile::Error::Unknown { .. } => Status::not_found(error.to_string()),
            error => Status::internal(error.to_string()),
        })?;
        let departments = outcomes.into_iter().map(|(department, fetched)| Reconciled {
            department: department.to_string(),
            questions: fetched.questions,
            answers: fetched.answers,
            invalid: fetched.invalid,
            unreachable: fetched.unreachable.unwrap_or_default(),
        });
        Ok(Response::new(ReconcileResponse {
            departments: departments.collect(),
            lost: self.parts.logs.lost(),
            filled: self.parts.logs.recovered().map_or(0, |recovered| recovered.size()),
        }))
    }

    type ListRecoveredStream = ReceiverStream<Result<RecoveredQuestion, Status>>;

    async fn list_recovered(&self, _: Request<ListRecoveredRequest>) -> Answer<Self::ListRecoveredStream> {
        let (sender, receiver) = mpsc::channel(32);
        let logs = Arc::clone(&self.parts.logs);
        tokio::task::spawn_blocking(move || {
            let Some(recovered) = logs.recovered() else { return };
            let visited = reconcile::visit(recovered, &mut |listed| match sender.blocking_send(Ok(question(listed))) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            });
            if let Err(error) = visited {
                let _ = sender.blocking_send(Err(Status::internal(error.to_string())));
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

fn question(listed: Listed) -> RecoveredQuestion {
    let Listed { receipt, request, is_ours, answered, questions } = listed;
    RecoveredQuestion {
        receipt: receipt.to_string(),
        other_side: if is_ours { request.recipient } else { request.sender },
        asked_by_us: is_ours,
        service: request.service,
        case_number: request.case_number,
        asked_at_ms: request.issued_at_ms,
        answered,
        questions: u32::try_from(questions).unwrap_or(u32::MAX),
    }
}

fn said(field: &str, text: &str) -> Result<(), Status> {
    match text.trim() {
        "" => Err(Status::invalid_argument(format!("{field}: say it; it is kept for good"))),
        _ => Ok(()),
    }
}

fn told(error: &history::Error) -> Status {
    match error {
        history::Error::NothingLost | history::Error::NotWaiting | history::Error::Lost => {
            Status::failed_precondition(error.to_string())
        }
        history::Error::Publish(publish::Error::Unreachable(_))
        | history::Error::Anchors(crate::anchors::Error::Unreachable(_)) => Status::unavailable(error.to_string()),
        history::Error::Publish(_) => Status::failed_precondition(error.to_string()),
        _ => Status::internal(error.to_string()),
    }
}

/// How many bytes go into a piece.
const PIECE: usize = 512 * 1024;

/// Sends what is written, and holds the writer back while nobody takes it.
struct PieceWriter {
    sender: mpsc::Sender<Result<NodeBackupPiece, Status>>,
}

impl Write for PieceWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = &bytes[..bytes.len().min(PIECE)];
        let sent = self.sender.blocking_send(Ok(NodeBackupPiece { bytes: bytes.to_vec() }));
        sent.map_err(|_| io::Error::other("whoever took the backup has gone away"))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
