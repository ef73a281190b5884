//! The offices' service about changes, on the office port and, without a key, on the admin socket. A system sees what it
//! subscribed to itself; the operator sees everything. Out of scope: subscribing and receiving (`ask::subscribed`).

use std::sync::Arc;

use host::clock::Clock;
use proto::exchange::v1::{Verdict, answer::Outcome};
use proto::office::v1::{
    self as wire, AcknowledgeRequest, AcknowledgeResponse, EndOwnSubscriptionRequest, EndOwnSubscriptionResponse,
    ListNoticesRequest, ListNoticesResponse, ListSubscriptionsRequest, ListSubscriptionsResponse,
    ShowSubscriptionRequest, ShowSubscriptionResponse, State, SubscribeRequest, SubscribeResponse,
    notices_server::{Notices, NoticesServer},
};
use tonic::{Request, Response, Status};

use crate::{
    ask::{Asker, NotFound, Notice, OfficeQuestion, Subscribed},
    office::{Office, failed, read_receipt, sign_in::SignIn, trace_of},
    office_edge::{LARGEST_MESSAGE, question, response, signed_in},
    parts::Parts,
};

/// How many notices are listed where nothing else is said, and at most.
const MOST_NOTICES: u32 = 1000;

/// A year: how long a subscription lasts where nothing else is said.
const USUAL_MS: u64 = 365 * 86_400_000;

/// The service for office systems.
#[derive(Clone)]
pub struct NoticesEdge {
    office: Arc<Office>,
    asker: Arc<Asker>,
    clock: Arc<dyn Clock>,
    sign_in: Option<SignIn>,
}

impl NoticesEdge {
    /// Beside the service for verifications, with the same keys.
    pub fn new(parts: &Parts, office: Arc<Office>, sign_in: Option<SignIn>) -> Self {
        Self { office, asker: Arc::clone(&parts.asker), clock: Arc::clone(&parts.clock), sign_in }
    }

    /// As a tonic service with its limit on messages.
    pub fn server(self) -> NoticesServer<Self> {
        NoticesServer::new(self).max_decoding_message_size(LARGEST_MESSAGE)
    }

    /// Who may read which subscriptions.
    fn reader<T>(&self, request: &Request<T>) -> Result<impl Fn(&Subscribed) -> bool + Clone + Send + 'static, Status> {
        let system = signed_in(self.sign_in.as_ref(), request)?.system;
        // Without keys it is the operator.
        let all = self.sign_in.is_none();
        Ok(move |row: &Subscribed| all || row.system == system)
    }

    fn found(&self, ticket: &str, may_read: impl Fn(&Subscribed) -> bool) -> Result<Subscribed, Status> {
        let row = self.asker.subscription(ticket.trim()).filter(may_read);
        row.ok_or_else(|| {
            Status::not_found("there is no subscription with this ticket: `subscriptions list` shows them")
        })
    }

    fn told(&self, row: &Subscribed) -> Result<wire::Subscription, Status> {
        let (request, _) = self.asker.question_of(row).map_err(|error| Status::from(failed(error)))?;
        let (notices, unacknowledged) = self.asker.notices_of(row);
        let reason = row.over(self.clock.now_ms());
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Ok(wire::Subscription {
            ticket: row.ticket(),
            state: if reason.is_empty() { "active" } else { "over" }.to_owned(),
            reason: reason.to_owned(),
            provider: row.provider.clone(),
            service: row.service.clone(),
            service_version: row.major,
            since_ms: row.since_ms,
            until_ms: row.until_ms,
            verdict: row.verdict,
            notices: count(notices),
            unacknowledged: count(unacknowledged),
            system: row.system.clone(),
            case_number: request.case_number,
        })
    }
}

#[tonic::async_trait]
impl Notices for NoticesEdge {
    async fn subscribe(&self, request: Request<SubscribeRequest>) -> Result<Response<SubscribeResponse>, Status> {
        let caller = signed_in(self.sign_in.as_ref(), &request)?;
        let trace = request.metadata().get("x-request-id").and_then(|value| value.to_str().ok()).and_then(trace_of);
        let SubscribeRequest { question: asked, until_ms } = request.into_inner();
        let asked = asked.ok_or_else(|| Status::invalid_argument("question: is missing"))?;
        let until_ms = match until_ms {
            0 => self.clock.now_ms().saturating_add(USUAL_MS),
            until_ms => until_ms,
        };
        let question = OfficeQuestion { subscribe_until_ms: Some(until_ms), ..question(asked, trace) };
        let seen = self.office.ask(&caller, question).await?;
        let ticket = seen.asked.request_digest.as_ref().map(crate::asked::ticket_of).unwrap_or_default();
        let first = response(seen);
        let ticket = if first.state() == State::Answered { ticket } else { String::new() };
        Ok(Response::new(SubscribeResponse { first: Some(first), ticket }))
    }

    async fn list_subscriptions(
        &self,
        request: Request<ListSubscriptionsRequest>,
    ) -> Result<Response<ListSubscriptionsResponse>, Status> {
        let may_read = self.reader(&request)?;
        let all = request.into_inner().all;
        let edge = self.clone();
        let listed = tokio::task::spawn_blocking(move || {
            let now_ms = edge.clock.now_ms();
            let rows = edge.asker.subscriptions().into_iter().filter(|row| may_read(row));
            rows.filter(|row| all || row.over(now_ms).is_empty())
                .map(|row| edge.told(&row))
                .collect::<Result<Vec<_>, _>>()
        });
        let subscriptions = listed.await.map_err(|error| Status::internal(error.to_string()))??;
        Ok(Response::new(ListSubscriptionsResponse { subscriptions }))
    }

    async fn show_subscription(
        &self,
        request: Request<ShowSubscriptionRequest>,
    ) -> Result<Response<ShowSubscriptionResponse>, Status> {
        let may_read = self.reader(&request)?;
        let row = self.found(&request.into_inner().ticket, may_read)?;
        let (asked, receipt) = self.asker.question_of(&row).map_err(|error| Status::from(failed(error)))?;
        let notices = self.asker.all_notices(&row).map_err(|error| Status::from(failed(error)))?;
        Ok(Response::new(ShowSubscriptionResponse {
            subscription: Some(self.told(&row)?),
            subject: asked.subject,
            claim: asked.claims.into_iter().next(),
            receipt: receipt.to_string(),
            notices: notices.into_iter().map(notice).collect(),
        }))
    }

    async fn end_subscription(
        &self,
        request: Request<EndOwnSubscriptionRequest>,
    ) -> Result<Response<EndOwnSubscriptionResponse>, Status> {
        let may_read = self.reader(&request)?;
        let row = self.found(&request.into_inner().ticket, may_read)?;
        let asker = Arc::clone(&self.asker);
        let ended = tokio::spawn(async move { asker.unsubscribe(row.question).await });
        let row = ended.await.map_err(|error| Status::internal(error.to_string()))?.map_err(not_found)?;
        Ok(Response::new(EndOwnSubscriptionResponse { subscription: Some(self.told(&row)?) }))
    }

    async fn list_notices(
        &self,
        request: Request<ListNoticesRequest>,
    ) -> Result<Response<ListNoticesResponse>, Status> {
        let may_read = self.reader(&request)?;
        let limit = match request.into_inner().limit {
            0 => MOST_NOTICES,
            limit => limit.min(MOST_NOTICES),
        };
        let asker = Arc::clone(&self.asker);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let listed = tokio::task::spawn_blocking(move || asker.unacknowledged(limit, may_read)).await;
        let (notices, more) = listed
            .map_err(|error| Status::internal(error.to_string()))?
            .map_err(|error| Status::from(failed(error)))?;
        Ok(Response::new(ListNoticesResponse { notices: notices.into_iter().map(notice).collect(), more }))
    }

    async fn acknowledge(&self, request: Request<AcknowledgeRequest>) -> Result<Response<AcknowledgeResponse>, Status> {
        let may_read = self.reader(&request)?;
        let receipts = request.into_inner().receipts;
        let receipts = receipts.iter().map(|receipt| read_receipt(receipt)).collect::<Result<Vec<_>, _>>()?;
        let asker = Arc::clone(&self.asker);
        let acknowledged = tokio::spawn(async move { asker.acknowledge(&receipts, may_read).await });
        let acknowledged = acknowledged.await.map_err(|error| Status::internal(error.to_string()))?;
        let acknowledged = acknowledged.map_err(not_found)?;
        Ok(Response::new(AcknowledgeResponse { acknowledged: u32::try_from(acknowledged).unwrap_or(u32::MAX) }))
    }
}

fn notice(notice: Notice) -> wire::Notice {
    let Notice { row, came, receipt, answer, request } = notice;
    let mut told = wire::Notice {
        receipt: receipt.to_string(),
        ticket: row.ticket(),
        number: came.number,
        made_ms: answer.answered_at_ms,
        came_ms: came.at_ms,
        case_number: request.case_number,
        subject: request.subject,
        acknowledged: came.number <= row.acknowledged,
        ..wire::Notice::default()
    };
    match answer.outcome {
        Some(Outcome::Verdicts(verdicts)) => {
            told.record_as_of = verdicts.record_as_of;
            told.verdict = verdicts.verdicts.into_iter().next();
        }
        Some(Outcome::Refusal(refusal)) => told.ended = Some(refusal),
        Some(Outcome::Deferral(_)) | None => {}
    }
    told
}

fn not_found(error: NotFound) -> Status {
    match error {
        NotFound::Failed(error) => failed(error).into(),
        _ => Status::not_found("this node has no such notice or subscription"),
    }
}

/// A verdict's name by its number on the wire.
pub(crate) fn verdict_name(verdict: i32) -> &'static str {
    match Verdict::try_from(verdict).unwrap_or_default() {
        Verdict::Match => "MATCH",
        Verdict::Mismatch => "MISMATCH",
        Verdict::NoRecord => "NO_RECORD",
        Verdict::Unavailable => "UNAVAILABLE",
        Verdict::Unspecified => "",
    }
}

impl std::fmt::Debug for NoticesEdge {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("NoticesEdge").finish_non_exhaustive()
    }
}
