//! Follows the registry: asks for what is new, hands it to the view, and begins again when the connection ends. Out of
//! scope: whether what comes may be believed, which the view decides.

use std::{sync::Arc, time::Duration};

use host::{clock::Clock, readiness::Condition, supervise::TaskError};
use proto::registry::v1::{ReadRequest, WatchRequest, directory_client::DirectoryClient};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::{Code, transport::Channel};

use super::{RegistryLink, View};

/// The registry sends a checkpoint at least every 10 seconds; three missed ones mean that it is gone.
const SILENCE: Duration = Duration::from_secs(35);

/// The task that follows the registry.
#[derive(Clone)]
pub struct Follower {
    /// What is kept up to date.
    pub view: Arc<View>,
    /// The connection.
    pub link: Arc<RegistryLink>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Met once the view can be relied on.
    pub condition: Condition,
}

impl Follower {
    /// Follows until the connection ends or `stop` is cancelled. The supervisor starts it again, with a growing wait.
    pub async fn run(self, stop: CancellationToken) -> Result<(), TaskError> {
        self.report();
        let outcome = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            outcome = self.follow() => outcome,
        };
        self.view.set_reachable(false);
        self.report();
        outcome
    }

    async fn follow(&self) -> Result<(), TaskError> {
        let start = self.view.next_index().await;
        let mut client = self.link.directory(Some(&self.view))?;
        let mut stream = match client.watch(WatchRequest { start }).await {
            Ok(response) => response.into_inner(),
            // It has fewer statements than it once signed for: let it say so under its signature.
            Err(status) if status.code() == Code::OutOfRange => return self.look_at_the_head(client).await,
            // tonic says only "transport error"; the connector says why.
            Err(status) => {
                return Err(self.link.probe(Some(&self.view)).await.err().map_or_else(|| status.into(), Into::into));
            }
        };
        loop {
            let Some(message) = timeout(SILENCE, stream.message()).await?? else {
                return Err("the registry ended the stream".into());
            };
            self.view.set_reachable(true);
            let now_ms = self.clock.now_ms();
            self.view.accept(message.start, message.entries, &message.checkpoint, now_ms).await?;
            self.view.take_witnessed(&message.witnessed, now_ms).await?;
            self.report();
        }
    }

    /// Has the registry's latest checkpoint judged, where there is nothing to follow.
    async fn look_at_the_head(&self, mut client: DirectoryClient<Channel>) -> Result<(), TaskError> {
        let head = client.read(ReadRequest { start: 0, limit: 1 }).await?.into_inner();
        self.view.accept(head.start, head.entries, &head.checkpoint, self.clock.now_ms()).await?;
        Err("the registry has fewer statements than this node".into())
    }

    fn report(&self) {
        match self.view.check_usable(self.clock.now_ms()) {
            Ok(()) => self.condition.met(),
            Err(refusal) => self.condition.unmet(refusal.code.as_str()),
        }
    }
}
