//! The gRPC services about events: `registry.v1.Alerts` on the registry's port, where nodes tell them, and
//! `admin.v1.ToldEvents` on the admin socket, where the authority reads them. Translates; decides nothing.
//!
//! Whoever sends 200 times in ten minutes from one address what no node of the directory signed is told to wait.

use std::sync::Arc;

use host::clock::Clock;
use proto::{
    admin::v1::{ListToldEventsRequest, ListToldEventsResponse, ToldEvent, told_events_server},
    registry::v1::{TellAlertsRequest, TellAlertsResponse, alerts_server},
};
use tonic::{Request, Response, Status};
use trust::{
    alert::{self, LARGEST_REPORT},
    refusal::{Code, Refusal},
};

use crate::{alerts::Alerts, failures::Failures, sequencer::Sequencer};

/// How many reports that no node of the directory signed one address may send in ten minutes.
const MOST_STRAY: u32 = 200;

/// What nodes speak to.
pub struct AlertsEdge {
    alerts: Alerts,
    sequencer: Sequencer,
    clock: Arc<dyn Clock>,
    failures: Failures,
}

impl AlertsEdge {
    /// The service over what was told.
    pub fn server(alerts: Alerts, sequencer: Sequencer, clock: Arc<dyn Clock>) -> alerts_server::AlertsServer<Self> {
        let failures = Failures::new(MOST_STRAY, Arc::clone(&clock));
        let edge = Self { alerts, sequencer, clock, failures };
        alerts_server::AlertsServer::new(edge).max_decoding_message_size(LARGEST_REPORT + 4096)
    }
}

#[tonic::async_trait]
impl alerts_server::Alerts for AlertsEdge {
    async fn tell(&self, request: Request<TellAlertsRequest>) -> Result<Response<TellAlertsResponse>, Status> {
        let source = self.failures.admit(&request)?;
        let opened = match request.into_inner().report {
            Some(report) => alert::open(&self.sequencer.directory(), &report, self.clock.now_ms()),
            None => Err(Refusal::new(Code::MessageMalformed).at("report")),
        };
        let refused = match opened {
            Ok(report) => {
                self.alerts.take(report).await.map_err(|error| {
                    tracing::error!(%error, "told events cannot be kept");
                    Status::unavailable("the registry cannot keep what it is told")
                })?;
                None
            }
            Err(refusal) => {
                self.failures.count(source);
                Some(refusal.to_wire())
            }
        };
        Ok(Response::new(TellAlertsResponse { refused }))
    }
}

/// What the authority's operators read.
pub struct ToldEventsEdge {
    alerts: Alerts,
}

impl ToldEventsEdge {
    /// The service over what was told.
    pub fn server(alerts: Alerts) -> told_events_server::ToldEventsServer<Self> {
        told_events_server::ToldEventsServer::new(Self { alerts })
    }
}

#[tonic::async_trait]
impl told_events_server::ToldEvents for ToldEventsEdge {
    async fn list_told_events(
        &self,
        _: Request<ListToldEventsRequest>,
    ) -> Result<Response<ListToldEventsResponse>, Status> {
        let events = self.alerts.list().into_iter().map(|told| ToldEvent {
            by: told.by,
            node: told.node,
            kind: told.kind,
            department: told.department,
            day: told.day,
            count: told.count,
            told_ms: told.told_ms,
        });
        Ok(Response::new(ListToldEventsResponse { events: events.collect() }))
    }
}
