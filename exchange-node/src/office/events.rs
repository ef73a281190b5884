//! What comes later, as a stream of events for whoever listens: the events of his office system, from behind the last one that
//! he saw, across restarts of either side. Out of scope: which events there are (`outbox`), what is said of them
//! (`office::notice`), sending them to webhooks (`webhooks`).

use std::{convert::Infallible, sync::Arc};

use data_encoding::HEXLOWER;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use super::Office;
use crate::{office_keys::Caller, outbox};

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
        let mut news = self.outbox.news();
        // A number that this node has not given yet is from before it was restored: then whatever is kept is told.
        let last = self.outbox.last();
        let mut behind = behind.map_or(last, |behind| if behind > last { 0 } else { behind });
        tokio::spawn(async move {
            loop {
                news.mark_unchanged();
                while let Some(event) = office.outbox.next_for(&caller.system, behind) {
                    behind = event.number;
                    if let Some(event) = office.event(&caller, event).await
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

    async fn event(&self, caller: &Caller, event: outbox::Event) -> Option<Event> {
        let (notices, number) = (Arc::clone(&self.notices), event.number);
        let notice = match tokio::task::spawn_blocking(move || notices.notice(&event)).await {
            Ok(Ok(notice)) => notice,
            Ok(Err(error)) => {
                tracing::warn!(%error, "what came later cannot be told of");
                None
            }
            Err(error) => {
                tracing::error!(%error, "what came later cannot be told of");
                None
            }
        };
        let (notice, _) = notice.filter(|(_, scope)| scope.is_open_to(&caller.limits))?;
        let data = String::from_utf8(notice.to_json()).unwrap_or_default();
        Some(Event { id: event_id(number), data, kind: notice.kind })
    }
}

/// An event's id: opaque to whoever listens.
pub fn event_id(number: u64) -> String {
    HEXLOWER.encode(&number.to_be_bytes())
}

/// Reads an event's id.
pub fn read_event_id(id: &str) -> Option<u64> {
    let bytes = HEXLOWER.decode(id.as_bytes()).ok().and_then(|bytes| <[u8; 8]>::try_from(bytes).ok());
    bytes.map(u64::from_be_bytes)
}
