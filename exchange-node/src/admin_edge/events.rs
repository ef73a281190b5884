//! The operators' service about events: what in other departments' questions looks wrong. Translates; decides nothing.

use proto::admin::v1::{
    Event, ListEventsRequest, ListEventsResponse,
    events_server::{Events, EventsServer},
};
use tonic::{Request, Response, Status};

use crate::events::{self, EventBook};

/// The service.
pub struct EventsEdge {
    book: EventBook,
}

impl EventsEdge {
    /// The service over a node's events.
    pub fn server(book: EventBook) -> EventsServer<Self> {
        EventsServer::new(Self { book })
    }
}

#[tonic::async_trait]
impl Events for EventsEdge {
    async fn list_events(&self, request: Request<ListEventsRequest>) -> Result<Response<ListEventsResponse>, Status> {
        let id = request.into_inner().id;
        let events = self.book.list().into_iter().filter(|event| id.is_empty() || event.id() == id);
        let events: Vec<Event> = events.map(to_wire).collect();
        if events.is_empty() && !id.is_empty() {
            return Err(Status::not_found(format!("there is no event {id:?}: `events list` shows them")));
        }
        Ok(Response::new(ListEventsResponse { events }))
    }
}

fn to_wire(event: events::Event) -> Event {
    Event {
        id: event.id(),
        kind: event.kind.as_str().to_owned(),
        department: event.department,
        day: event.day,
        count: event.count,
        what: event.kind.what().to_owned(),
        next_step: event.kind.next_step().to_owned(),
        first_ms: event.first_ms,
        last_ms: event.last_ms,
        told: event.told,
    }
}
