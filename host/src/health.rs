//! The standard gRPC health service, fed from the program's readiness.
//!
//! Orchestrators and load balancers ask `grpc.health.v1.Health`; it stands on every port. Out of scope: why a program is
//! not ready, which operators read over the admin socket.

use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::server::{HealthReporter, health_reporter};

use crate::readiness::Readiness;

/// Keeps health services in step with [`Readiness`]; hand [`HealthFeed::run`] to the supervisor.
#[derive(Debug)]
pub struct HealthFeed {
    reporter: HealthReporter,
    readiness: Readiness,
    services: Vec<String>,
}

/// A health service for one or more ports (it can be cloned), and what feeds it. `services` are full gRPC service names,
/// which have the same status as the whole server (whose name is empty).
pub async fn service(readiness: &Readiness, services: &[&str]) -> (HealthServer<impl Health + use<>>, HealthFeed) {
    let (reporter, server) = health_reporter();
    let services = std::iter::once("").chain(services.iter().copied()).map(str::to_owned).collect();
    let feed = HealthFeed { reporter, readiness: readiness.clone(), services };
    // Never "serving" by default: a port may be asked before the feed runs.
    feed.report(readiness.is_ready()).await;
    (server, feed)
}

impl HealthFeed {
    /// Follows readiness for ever.
    pub async fn run(self) {
        let mut state = self.readiness.state();
        loop {
            self.report(state.ready).await;
            state = self.readiness.changed_from(&state).await;
        }
    }

    async fn report(&self, ready: bool) {
        let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in &self.services {
            self.reporter.set_service_status(service, status).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Request;
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;

    #[tokio::test]
    async fn health_follows_readiness() {
        let readiness = Readiness::new();
        let condition = readiness.condition("directory");
        let (server, feed) = service(&readiness, &["test.v1.Test"]).await;
        let mut client = HealthClient::new(server);
        let mut status = async |service: &str| {
            let request = HealthCheckRequest { service: service.to_owned() };
            client.check(Request::new(request)).await.unwrap().into_inner().status()
        };
        use tonic_health::pb::health_check_response::ServingStatus as Wire;
        assert_eq!(status("").await, Wire::NotServing);
        assert_eq!(status("test.v1.Test").await, Wire::NotServing);
        let feed = tokio::spawn(feed.run());
        condition.met();
        while status("test.v1.Test").await != Wire::Serving {
            tokio::task::yield_now().await;
        }
        condition.unmet("stale");
        while status("").await != Wire::NotServing {
            tokio::task::yield_now().await;
        }
        feed.abort();
    }
}
