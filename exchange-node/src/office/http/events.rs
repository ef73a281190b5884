//! `/v1/events`: server-sent events. Translates; decides nothing.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use tokio_stream::StreamExt;

use super::{
    Api,
    extract::{self, Known, Nothing},
};
use crate::office::{
    events::read_event_id,
    problem::{Problem, Problems},
};

/// A stream of what comes later to the questions of this office system: each event's `data` is a `Notice`. Whoever connects
/// again with `Last-Event-ID` misses nothing.
#[utoipa::path(
    get,
    path = "/v1/events",
    tag = "verifications",
    operation_id = "listen",
    params(("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that the caller saw; left out, the stream begins now")),
    responses(
        (status = 200, description = "The stream (WHATWG server-sent events); it does not end by itself", body = String, content_type = "text/event-stream"),
        Problems
    )
)]
pub(super) async fn listen(State(api): State<Arc<Api>>, known: Known<Nothing>) -> Result<Response, Problem> {
    let behind = match extract::text(&known.headers, "last-event-id")? {
        "" => None,
        id => Some(
            read_event_id(id)
                .ok_or_else(|| Problem::malformed("it is no id of an event that this node sent").at("Last-Event-ID"))?,
        ),
    };
    let events = api.office.events(known.caller, behind, api.stop.clone());
    let events =
        events.map(|event| event.map(|event| Event::default().id(event.id).event(event.kind).data(event.data)));
    Ok(Sse::new(events).keep_alive(KeepAlive::default()).into_response())
}
