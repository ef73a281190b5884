//! The clerks' service about corrections that other departments opened. It translates; what becomes of a decision is
//! `correction`'s.

use std::sync::Arc;

use host::clock::Clock;
use proto::{
    admin::v1::{
        ConfirmCorrectionRequest, DecideCorrectionRequest, DecideCorrectionResponse, InboxCorrection, ListInboxRequest,
        ListInboxResponse, ShowInboxRequest, ShowInboxResponse,
        correction_inbox_server::{CorrectionInbox, CorrectionInboxServer},
    },
    exchange::v1 as exchange,
};
use tonic::{Request, Response, Status};

use super::Answer;
use crate::{
    asked::show_in,
    correction::{Corrections, Decided, Found, Received, ReceivedState, failed},
    journal::Journal,
    logs, office_edge,
    parts::Parts,
    view::View,
};

/// The service.
#[derive(Clone)]
pub struct CorrectionInboxEdge {
    corrections: Arc<Corrections>,
    journal: Arc<dyn Journal>,
    view: Arc<View>,
    clock: Arc<dyn Clock>,
}

impl CorrectionInboxEdge {
    /// As a tonic service.
    pub fn server(parts: &Parts, corrections: Arc<Corrections>) -> CorrectionInboxServer<Self> {
        let (journal, view) = (Arc::clone(&parts.journal), Arc::clone(&parts.view));
        CorrectionInboxServer::new(Self { corrections, journal, view, clock: Arc::clone(&parts.clock) })
    }

    fn to_wire(&self, row: &Received) -> InboxCorrection {
        let case_number = self.corrections.signed(row).map(|signed| signed.case_number).unwrap_or_default();
        let found = row.found.as_ref().or(row.proposal.as_ref());
        InboxCorrection {
            id: row.id().to_owned(),
            state: row.state().as_str().to_owned(),
            consumer: row.consumer.clone(),
            service: row.service.clone(),
            major_version: row.major,
            case_number,
            reason: self.corrections.signed(row).map(|signed| signed.reason).unwrap_or_default(),
            since_ms: row.since_ms,
            due_at_ms: row.due_ms,
            clock: row.colour(self.view.seen().directory().profile(), self.clock.now_ms()).as_str().to_owned(),
            overdue_recorded: row.overdue_recorded,
            officer: found.map(|found| found.officer.clone()).unwrap_or_default(),
            delivered: row.delivered,
            answers_affected: row.affected,
            answers_told: self.corrections.book().told(row.entry),
            decision_reason: found.map(|found| found.reason.clone()).unwrap_or_default(),
        }
    }

    fn decided(&self, decided: Result<Decided, crate::correction::Error>) -> Answer<DecideCorrectionResponse> {
        Ok(Response::new(match decided.map_err(|error| failed(&error))? {
            Ok(row) => DecideCorrectionResponse { correction: Some(self.to_wire(&row)), refused: None },
            Err(refusal) => DecideCorrectionResponse { correction: None, refused: Some(refusal.to_wire()) },
        }))
    }
}

#[tonic::async_trait]
impl CorrectionInbox for CorrectionInboxEdge {
    async fn list_inbox(&self, request: Request<ListInboxRequest>) -> Answer<ListInboxResponse> {
        let all = request.into_inner().all;
        let edge = self.clone();
        let listed = tokio::task::spawn_blocking(move || {
            let waits = |row: &Received| matches!(row.state(), ReceivedState::Open | ReceivedState::Proposed);
            let rows = edge.corrections.book().received().into_iter().filter(|row| all || waits(row));
            rows.map(|row| edge.to_wire(&row)).collect()
        });
        let corrections = listed.await.map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(ListInboxResponse { corrections }))
    }

    async fn show_inbox(&self, request: Request<ShowInboxRequest>) -> Answer<ShowInboxResponse> {
        let id = request.into_inner().id;
        let edge = self.clone();
        let shown = tokio::task::spawn_blocking(move || {
            let row = edge.corrections.find_received(id.trim()).map_err(|error| failed(&error))?;
            let signed = edge.corrections.signed(&row).map_err(|error| failed(&error))?;
            let unreadable = |error: String| Status::unavailable(error);
            let question = edge.journal.entry(row.question).map_err(|error| unreadable(error.to_string()))?;
            let request = question.as_ref().and_then(|stored| {
                let bytes = stored.message.as_deref()?;
                let signed: exchange::Signed = prost::Message::decode(bytes).ok()?;
                trust::envelope::peek::<exchange::Request>(&signed, usize::MAX).ok()
            });
            let doubted = edge.corrections.doubted(&row).map_err(|error| failed(&error))?;
            let answer = doubted.and_then(|place| {
                let stored = edge.journal.entry(place).ok()??;
                show_in(edge.journal.as_ref(), &stored.entry.receipt(logs::index_in(place))).ok()
            });
            Ok::<_, Status>(ShowInboxResponse {
                correction: Some(edge.to_wire(&row)),
                signed: Some(signed),
                request,
                answer: answer.map(office_edge::response_of),
            })
        });
        Ok(Response::new(shown.await.map_err(|error| Status::internal(error.to_string()))??))
    }

    async fn decide_correction(&self, request: Request<DecideCorrectionRequest>) -> Answer<DecideCorrectionResponse> {
        let DecideCorrectionRequest { id, record_was_wrong, reason, officer, although_unchanged } =
            request.into_inner();
        let found = Found { record_was_wrong, reason, officer: officer.trim().to_owned(), although_unchanged };
        let corrections = Arc::clone(&self.corrections);
        // In a task of its own: a decision that is in the evidence has its consequences, also where the command was interrupted.
        let decided = tokio::spawn(async move { corrections.decide(id.trim(), found).await });
        self.decided(decided.await.map_err(|error| Status::internal(error.to_string()))?)
    }

    async fn confirm_correction(&self, request: Request<ConfirmCorrectionRequest>) -> Answer<DecideCorrectionResponse> {
        let ConfirmCorrectionRequest { id, officer } = request.into_inner();
        let corrections = Arc::clone(&self.corrections);
        let decided = tokio::spawn(async move { corrections.confirm(id.trim(), officer.trim()).await });
        self.decided(decided.await.map_err(|error| Status::internal(error.to_string()))?)
    }
}

impl std::fmt::Debug for CorrectionInboxEdge {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("CorrectionInboxEdge").finish_non_exhaustive()
    }
}
