//! Server-sent events: `/v1/events`, whatever comes later, and `/v1/cases/{number}/events`, one case as it is asked about.
//! Translates; decides nothing.

use std::{convert::Infallible, sync::Arc};

use axum::{
    extract::State,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::stream::{Stream, StreamExt as _};

use super::{
    Api,
    extract::{self, Id, Known, Nothing},
};
use crate::office::{
    events::read_event_id,
    problem::{Problem, Problems},
};

/// A stream of what comes later to this office system: each event's `data` is a `Notice`. Whoever connects again with
/// `Last-Event-ID` misses nothing of the last 61 days.
#[utoipa::path(
    get,
    path = "/v1/events",
    tag = "verifications",
    operation_id = "listen",
    params(("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that the caller saw; left out, the stream begins now")),
    responses(
        (status = 200, description = "The stream (WHATWG server-sent events); it ends with the key, and not by itself", body = String, content_type = "text/event-stream"),
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
    let events = api.office.events(known.caller.clone(), behind, api.stop.clone());
    let events = api.sign_in.while_known(&known.caller, events);
    let events =
        events.map(|event| event.map(|event| Event::default().id(event.id).event(event.kind).data(event.data)));
    Ok(stream(events))
}

/// A case as it stands, and then each change of it as it comes: partial results while departments are asked, answers that come
/// later, what becomes of commitments. Each event's `data` is a `CaseEvent`; the first one is the whole case.
#[utoipa::path(
    get,
    path = "/v1/cases/{number}/events",
    tag = "cases",
    operation_id = "watch_case",
    params(("number" = String, Path, description = "The case number")),
    responses(
        (status = 200, description = "The stream (WHATWG server-sent events); it ends with the key, and not by itself", body = String, content_type = "text/event-stream"),
        Problems
    )
)]
pub(super) async fn watch_case(
    State(api): State<Arc<Api>>,
    known: Known<Nothing>,
    Id(number): Id,
) -> Result<Response, Problem> {
    let events = api.office.watch_case(&known.caller, &number, api.stop.clone())?;
    let events = api.sign_in.while_known(&known.caller, events).map(|event| {
        // A plain structure; it can always be written.
        let data = serde_json::to_string(&event).unwrap_or_default();
        Ok(Event::default().event(event.kind).data(data))
    });
    Ok(stream(events))
}

fn stream(events: impl Stream<Item = Result<Event, Infallible>> + Send + 'static) -> Response {
    Sse::new(events).keep_alive(KeepAlive::default()).into_response()
}
