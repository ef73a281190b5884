//! Follows the registry: asks for what is new, hands it to the view, and begins again when the connection ends. Out of
//! scope: whether what comes may be believed, which the view decides, and reading tiles (`tiles`).

use std::{sync::Arc, time::Duration};

use host::{clock::Clock, readiness::Condition, supervise::TaskError};
use proto::registry::v1::{ReadRequest, ReadResponse, WatchRequest, directory_client::DirectoryClient};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Streaming, transport::Channel};

use super::{Follow, RegistryLink, Tiles, View};
use crate::{teller::Teller, view};

/// The registry sends a checkpoint at least every 10 seconds; three missed ones mean that it is gone.
const SILENCE: Duration = Duration::from_secs(35);

/// How soon a registry that lacks statements is looked at again, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Where the registry has no place left for watchers, it is asked again after so long.
const WATCH_AGAIN: Duration = Duration::from_secs(300);

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
    /// Tells the registry what this node saw; `None` where another process of the node does.
    pub teller: Option<Arc<Teller>>,
    /// What is needed to read tiles.
    pub tiles: Tiles,
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
        let follow = self.tiles.settings.follow;
        let mut pause = FIRST_PAUSE;
        loop {
            // First of all: a registry that was put back from an older copy must hear of it before it signs anything.
            self.tell().await?;
            if follow == Follow::Tiles {
                return self.poll(None).await;
            }
            let mut client = self.link.directory(Some(&self.view))?;
            if follow == Follow::Auto {
                self.catch_up(&mut client).await;
            }
            let start = self.view.next_index().await;
            match client.watch(WatchRequest { start }).await {
                Ok(response) => return self.take(response.into_inner()).await,
                // It has fewer statements than it once signed for: let it say so under its signature.
                Err(status) if status.code() == Code::OutOfRange => self.look_at_the_head(client).await?,
                Err(status) if status.code() == Code::ResourceExhausted && follow == Follow::Auto => {
                    tracing::info!("too many watch the registry: its tiles are asked for news");
                    self.poll(Some(Instant::now() + WATCH_AGAIN)).await?;
                    return Err("the registry is watched again".into());
                }
                // tonic says only "transport error"; the connector says why.
                Err(status) => {
                    return Err(self
                        .link
                        .probe(Some(&self.view))
                        .await
                        .err()
                        .map_or_else(|| status.into(), Into::into));
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn take(&self, mut stream: Streaming<ReadResponse>) -> Result<(), TaskError> {
        loop {
            let Some(message) = timeout(SILENCE, stream.message()).await?? else {
                return Err("the registry ended the stream".into());
            };
            self.view.set_reachable(true);
            let (now_ms, is_behind) = (self.clock.now_ms(), message.catching_up.is_some());
            self.view.set_registry_behind(message.catching_up);
            match self.view.accept(message.start, message.entries, &message.checkpoint, now_ms).await {
                Err(view::Error::Behind { .. }) => {}
                outcome => outcome?,
            }
            self.view.take_witnessed(&message.witnessed, now_ms).await?;
            self.report();
            if is_behind {
                self.tell().await?;
            }
        }
    }

    async fn tell(&self) -> Result<(), TaskError> {
        match &self.teller {
            Some(teller) => teller.tell().await,
            None => Ok(()),
        }
    }

    /// Has the registry's latest checkpoint judged, where there is nothing to follow. Nothing is wrong where it says that
    /// it was restored and waits for what it lacks.
    async fn look_at_the_head(&self, mut client: DirectoryClient<Channel>) -> Result<(), TaskError> {
        let head = client.read(ReadRequest { start: 0, limit: 1 }).await?.into_inner();
        self.view.set_registry_behind(head.catching_up);
        match self.view.accept(head.start, head.entries, &head.checkpoint, self.clock.now_ms()).await {
            Err(view::Error::Behind { told, here }) => {
                tracing::info!(told, here, "the registry was restored and waits for what it lacks");
                self.view.set_reachable(true);
                self.report();
                Ok(())
            }
            Err(error) => Err(error.into()),
            Ok(()) => Err("the registry has fewer statements than this node".into()),
        }
    }

    pub(super) fn report(&self) {
        match self.view.check_usable(self.clock.now_ms()) {
            Ok(()) => self.condition.met(),
            Err(refusal) => self.condition.unmet(refusal.code.as_str()),
        }
    }
}
