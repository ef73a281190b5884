//! The operators' service about what other departments subscribed to. Out of scope: what is told (`subscriptions`).

use std::sync::Arc;

use proto::admin::v1::{
    GivenSubscription, ListGivenRequest, ListGivenResponse,
    subscriptions_server::{Subscriptions, SubscriptionsServer},
};
use tonic::{Request, Response};

use super::Answer;
use crate::subscriptions::GivenBook;

/// The service of a running node.
#[derive(Clone, Debug)]
pub struct SubscriptionsEdge {
    given: Arc<GivenBook>,
}

impl SubscriptionsEdge {
    /// As a tonic service.
    pub fn server(given: Arc<GivenBook>) -> SubscriptionsServer<Self> {
        SubscriptionsServer::new(Self { given })
    }
}

#[tonic::async_trait]
impl Subscriptions for SubscriptionsEdge {
    async fn list_given(&self, request: Request<ListGivenRequest>) -> Answer<ListGivenResponse> {
        let all = request.into_inner().all;
        let rows = self.given.list().into_iter().filter(|row| all || row.is_live());
        let subscriptions = rows.map(|row| GivenSubscription {
            ticket: row.ticket(),
            state: if row.is_live() { "active" } else { "over" }.to_owned(),
            reason: row.ended.clone(),
            consumer: row.consumer.clone(),
            service: row.service.clone(),
            service_version: row.major,
            since_ms: row.since_ms,
            until_ms: row.until_ms,
            verdict: row.verdict,
            notices: row.number.saturating_sub(1),
            undelivered: row.number.saturating_sub(row.delivered),
        });
        Ok(Response::new(ListGivenResponse { subscriptions: subscriptions.collect() }))
    }
}
