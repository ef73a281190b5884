//! The offices' service about changes, on the office port and, without a key, on the admin socket. Translates; what an office
//! system can do is `office::subscriptions`.

use std::sync::Arc;

use proto::exchange::v1::Verdict;
use proto::office::v1::{
    AcknowledgeRequest, AcknowledgeResponse, EndOwnSubscriptionRequest, EndOwnSubscriptionResponse, ListNoticesRequest,
    ListNoticesResponse, ListSubscriptionsRequest, ListSubscriptionsResponse, ShowSubscriptionRequest,
    ShowSubscriptionResponse, SubscribeRequest, SubscribeResponse,
    notices_server::{Notices, NoticesServer},
};
use tonic::{Request, Response, Status};

use crate::{
    office::{Office, sign_in::SignIn, trace_of},
    office_edge::{LARGEST_MESSAGE, question, response, signed_in},
    office_keys::Caller,
};

/// How many notices are listed where nothing else is said, and at most.
const MOST_NOTICES: u32 = 1000;

/// The service for office systems.
#[derive(Clone)]
pub struct NoticesEdge {
    office: Arc<Office>,
    sign_in: Option<SignIn>,
}

impl NoticesEdge {
    /// Beside the service for verifications, with the same keys.
    pub fn new(office: Arc<Office>, sign_in: Option<SignIn>) -> Self {
        Self { office, sign_in }
    }

    /// As a tonic service with its limit on messages.
    pub fn server(self) -> NoticesServer<Self> {
        NoticesServer::new(self).max_decoding_message_size(LARGEST_MESSAGE)
    }

    fn caller<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        signed_in(self.sign_in.as_ref(), request)
    }
}

#[tonic::async_trait]
impl Notices for NoticesEdge {
    async fn subscribe(&self, request: Request<SubscribeRequest>) -> Result<Response<SubscribeResponse>, Status> {
        let caller = self.caller(&request)?;
        let trace = request.metadata().get("x-request-id").and_then(|value| value.to_str().ok()).and_then(trace_of);
        let SubscribeRequest { question: asked, until_ms } = request.into_inner();
        let asked = asked.ok_or_else(|| Status::invalid_argument("question: is missing"))?;
        let (seen, ticket) = self.office.subscribe(&caller, question(asked, trace), until_ms).await?;
        Ok(Response::new(SubscribeResponse { first: Some(response(seen)), ticket: ticket.unwrap_or_default() }))
    }

    async fn list_subscriptions(
        &self,
        request: Request<ListSubscriptionsRequest>,
    ) -> Result<Response<ListSubscriptionsResponse>, Status> {
        let caller = self.caller(&request)?;
        let listed = self.office.subscriptions(&caller, request.into_inner().all, None, usize::MAX).await?;
        let subscriptions = listed.into_iter().map(|(_, subscription)| subscription).collect();
        Ok(Response::new(ListSubscriptionsResponse { subscriptions }))
    }

    async fn show_subscription(
        &self,
        request: Request<ShowSubscriptionRequest>,
    ) -> Result<Response<ShowSubscriptionResponse>, Status> {
        let caller = self.caller(&request)?;
        Ok(Response::new(self.office.subscription(&caller, &request.into_inner().ticket)?))
    }

    async fn end_subscription(
        &self,
        request: Request<EndOwnSubscriptionRequest>,
    ) -> Result<Response<EndOwnSubscriptionResponse>, Status> {
        let caller = self.caller(&request)?;
        let subscription = self.office.end_subscription(&caller, &request.into_inner().ticket).await?;
        Ok(Response::new(EndOwnSubscriptionResponse { subscription: Some(subscription) }))
    }

    async fn list_notices(
        &self,
        request: Request<ListNoticesRequest>,
    ) -> Result<Response<ListNoticesResponse>, Status> {
        let caller = self.caller(&request)?;
        let limit = match request.into_inner().limit {
            0 => MOST_NOTICES,
            limit => limit.min(MOST_NOTICES),
        };
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        let (notices, more) = self.office.notices(&caller, most).await?;
        let notices = notices.into_iter().map(|(notice, _)| notice).collect();
        Ok(Response::new(ListNoticesResponse { notices, more }))
    }

    async fn acknowledge(&self, request: Request<AcknowledgeRequest>) -> Result<Response<AcknowledgeResponse>, Status> {
        let caller = self.caller(&request)?;
        let acknowledged = self.office.acknowledge(&caller, &request.into_inner().receipts).await?;
        Ok(Response::new(AcknowledgeResponse { acknowledged }))
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
