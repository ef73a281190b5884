//! What comes later: answers to questions that were deferred, as a stream of events for whoever listens, and as the body of a
//! webhook's notice. An event's id is the place of its answer in the evidence, so whoever lost the connection goes on from
//! the last one he saw, across restarts of either side. Out of scope: sending webhooks (`webhooks`).

use std::{convert::Infallible, sync::Arc};

use data_encoding::HEXLOWER;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use super::{
    Office, Seen,
    json::{Verification, timestamp},
};
use crate::{ask::LaterAnswer, office_keys::Caller};

/// What an office system is told: the same as an event's data and as a webhook's body.
#[derive(Debug, Serialize, ToSchema)]
pub struct Notice {
    /// `verification.answered`, `verification.refused` or `verification.deferred` (again).
    #[serde(rename = "type")]
    #[schema(example = "verification.answered")]
    pub kind: String,
    /// When it came, RFC 3339.
    #[schema(format = DateTime)]
    pub timestamp: String,
    /// The verification as that answer left it.
    pub data: Verification,
}

impl From<LaterAnswer> for Notice {
    fn from(later: LaterAnswer) -> Self {
        let kind = format!("verification.{}", later.asked.ending.state());
        let (id, asked) = (later.id, later.asked);
        let seen = Seen { asked, id, notice: String::new(), from_the_other_side: false, timeline: Vec::new() };
        Self { kind, timestamp: timestamp(later.came_ms), data: seen.into() }
    }
}

/// The body of a webhook's notice.
pub(crate) fn notice(later: LaterAnswer) -> Vec<u8> {
    // Plain structures of numbers and texts; they can always be written.
    serde_json::to_vec(&Notice::from(later)).unwrap_or_default()
}

/// One event of the stream.
pub struct Event {
    /// Where the listener is.
    pub id: String,
    /// The notice as JSON.
    pub data: String,
    /// The notice's kind.
    pub kind: String,
}

impl Office {
    /// What comes later for this caller's office system, from behind an event, or from now on. Ends with `stop`.
    pub fn events(
        self: &Arc<Self>,
        caller: Caller,
        behind: Option<u64>,
        stop: CancellationToken,
    ) -> ReceiverStream<Result<Event, Infallible>> {
        let (sender, receiver) = mpsc::channel(16);
        let office = Arc::clone(self);
        let news = self.asker.news();
        let from = behind.unwrap_or_else(|| self.asker.later_answers(0).last().copied().unwrap_or(0));
        tokio::spawn(async move {
            let Some(mut news) = news else { return };
            let mut last = from;
            loop {
                news.mark_unchanged();
                for place in office.asker.later_answers(last) {
                    last = place;
                    if let Some(event) = office.event(&caller, place).await
                        && sender.send(Ok(event)).await.is_err()
                    {
                        return;
                    }
                }
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = sender.closed() => return,
                    changed = news.changed() => if changed.is_err() { return },
                }
            }
        });
        ReceiverStream::new(receiver)
    }

    async fn event(&self, caller: &Caller, place: u64) -> Option<Event> {
        let asker = Arc::clone(&self.asker);
        let later = match tokio::task::spawn_blocking(move || asker.later(place)).await {
            Ok(Ok(later)) => later,
            Ok(Err(error)) => {
                tracing::warn!(%error, "an answer that came later cannot be told of");
                return None;
            }
            Err(error) => {
                tracing::error!(%error, "an answer that came later cannot be told of");
                return None;
            }
        };
        if later.system != caller.system || self.check_visible(caller, &later.asked).is_err() {
            return None;
        }
        let notice = Notice::from(later);
        let data = serde_json::to_string(&notice).unwrap_or_default();
        Some(Event { id: event_id(place), data, kind: notice.kind })
    }
}

/// An event's id: opaque to whoever listens.
pub fn event_id(place: u64) -> String {
    HEXLOWER.encode(&place.to_be_bytes())
}

/// Reads an event's id.
pub fn read_event_id(id: &str) -> Option<u64> {
    let bytes = HEXLOWER.decode(id.as_bytes()).ok().and_then(|bytes| <[u8; 8]>::try_from(bytes).ok());
    bytes.map(u64::from_be_bytes)
}
