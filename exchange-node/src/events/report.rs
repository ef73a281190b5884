//! Writes events down, and tells the authority of them: kinds, departments and counts, signed by this node. What could not
//! be told is told later. Out of scope: what the authority makes of it.

use std::{sync::Arc, time::Duration};

use host::{clock::Clock, supervise::TaskError};
use proto::registry::v1::{EventCount, EventReport, TellAlertsRequest};
use tokio_util::sync::CancellationToken;
use trust::{
    alert::MOST_EVENTS,
    ids::{NodeId, Party},
};

use super::EventBook;
use crate::{
    keys::{NodeSigner, seal},
    view::{RegistryLink, View},
};

/// How often events are written down.
const STORE_EVERY: Duration = Duration::from_secs(2);

/// How long the registry may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Tells the authority.
pub struct Reporter {
    /// The department.
    pub me: Party,
    /// The node.
    pub node: NodeId,
    /// Signs: the node's key.
    pub signer: Arc<dyn NodeSigner>,
    /// The events.
    pub book: EventBook,
    /// The directory.
    pub view: Arc<View>,
    /// The registry.
    pub link: Arc<RegistryLink>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How often the authority is told what is new.
    pub every: Duration,
}

impl Reporter {
    /// Writes and tells until `stop`.
    ///
    /// # Errors
    /// Never: what goes wrong is logged, and tried again.
    pub async fn run(self, stop: CancellationToken) -> Result<(), TaskError> {
        let mut waited = Duration::ZERO;
        while stop.run_until_cancelled(tokio::time::sleep(STORE_EVERY.min(self.every))).await.is_some() {
            self.store().await;
            waited += STORE_EVERY.min(self.every);
            if waited >= self.every {
                waited = Duration::ZERO;
                if let Err(reason) = self.tell().await {
                    tracing::info!(reason, "the authority could not be told of events yet");
                }
            }
        }
        self.store().await;
        Ok(())
    }

    async fn store(&self) {
        let book = self.book.clone();
        match tokio::task::spawn_blocking(move || book.store()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "events cannot be written down"),
            Err(error) => tracing::warn!(%error, "writing events down ended"),
        }
    }

    async fn tell(&self) -> Result<(), String> {
        let untold = self.book.untold(MOST_EVENTS);
        if untold.is_empty() {
            return Ok(());
        }
        let count = |event: &super::Event| EventCount {
            kind: event.kind.as_str().to_owned(),
            department: event.department.clone(),
            day: event.day.clone(),
            count: event.count,
        };
        let report = EventReport {
            exchange_id: self.me.exchange().to_string(),
            department: self.me.department().to_string(),
            node: self.node.to_string(),
            at_ms: self.clock.now_ms(),
            events: untold.iter().map(count).collect(),
        };
        let request = TellAlertsRequest { report: Some(seal(&report, self.signer.as_ref()).0) };
        let mut client = self.link.alerts(Some(&self.view)).map_err(|error| error.to_string())?;
        let response = match tokio::time::timeout(PATIENCE, client.tell(request)).await {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => return Err(status.message().to_owned()),
            Err(_) => return Err(format!("it did not answer within {} s", PATIENCE.as_secs())),
        };
        match response.refused {
            Some(refusal) => Err(format!("{} ({}): {}", refusal.code, refusal.field, refusal.message)),
            None => {
                self.book.told(&untold);
                Ok(())
            }
        }
    }
}
