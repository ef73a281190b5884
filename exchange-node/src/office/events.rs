//! What comes later, as a stream of events for whoever listens: the events of his office system, from behind the last one that
//! he saw, across restarts of either side. Out of scope: which events there are (`outbox`), what is said of them
//! (`office::notice`), sending them to webhooks (`webhooks`).

use std::{convert::Infallible, sync::Arc, time::Duration};

use data_encoding::HEXLOWER;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use super::{Failure, Office};
use crate::{office_keys::Caller, outbox};

/// How often it is tried to read an event that cannot be read, before the stream ends; and how long between.
const MOST_FAILURES: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);

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
        let mut failures = 0;
        tokio::spawn(async move {
            loop {
                news.mark_unchanged();
                while let Some(event) = office.outbox.next_for(&caller.system, behind) {
                    let number = event.number;
                    match office.event(&caller, event).await {
                        Ok(told) => {
                            (behind, failures) = (number, 0);
                            if let Some(told) = told
                                && sender.send(Ok(told)).await.is_err()
                            {
                                return;
                            }
                        }
                        Err(_) if failures < MOST_FAILURES => {
                            failures += 1;
                            tokio::select! {
                                () = stop.cancelled() => return,
                                () = sender.closed() => return,
                                () = tokio::time::sleep(PAUSE) => {}
                            }
                        }
                        // It is not passed over: whoever comes back behind what he saw last hears of it.
                        Err(_) => return,
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

    /// What is said of an event to a caller; `None` where nothing is.
    async fn event(&self, caller: &Caller, event: outbox::Event) -> Result<Option<Event>, Failure> {
        let (notices, number) = (Arc::clone(&self.notices), event.number);
        let notice = tokio::task::spawn_blocking(move || notices.notice(&event)).await?.map_err(|error| {
            tracing::error!(%error, "what came later cannot be told now");
            Failure::Unavailable(error.to_string())
        })?;
        Ok(notice.filter(|(_, scope)| scope.is_open_to(&caller.limits)).map(|(notice, _)| {
            let data = String::from_utf8(notice.to_json()).unwrap_or_default();
            Event { id: event_id(number), data, kind: notice.kind }
        }))
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
