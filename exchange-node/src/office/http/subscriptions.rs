//! `/v1/subscriptions` and `/v1/notices`: questions that go on, and the changes that are told. Translates; decides nothing.

use std::sync::Arc;

use axum::{body::Body, extract::State, response::Response};
use http::StatusCode;
use serde::Deserialize;

use super::{
    Api,
    answer::{document, made, uncached},
    extract::{self, Id, Known, Nothing},
    page::{LARGEST, OpenOrAll, Page, cursor_of},
};
use crate::{
    ask::Ending,
    office::{
        json::{
            Acknowledged, Acknowledgement, ChangeNotice, ChangeNotices, NewSubscription, Subscription,
            SubscriptionMade, SubscriptionPage, SubscriptionShown, Verification,
        },
        problem::{Problem, Problems},
        trace_of,
    },
};

/// How many notices are listed at once.
const LARGEST_NOTICES: usize = 1000;

/// Asks a question that goes on: the verdict now, and a notice whenever it changes, where the grant allows that. Changes are told
/// as events and to webhooks (`subscription.changed`, `subscription.ended`), and wait at `/v1/notices` until they are acknowledged.
#[utoipa::path(
    post,
    path = "/v1/subscriptions",
    tag = "subscriptions",
    operation_id = "subscribe",
    request_body(content = NewSubscription, content_type = "application/json"),
    params(
        ("Idempotency-Key" = Option<String>, Header, max_length = 64, description = "The same key with the same question gets the same answer, for a day"),
        ("X-Request-Id" = Option<String>, Header, description = "The caller's own id for the logs: 8 to 64 of 0-9, a-f and hyphens, with at least one letter"),
    ),
    responses(
        (status = 200, description = "No verdict came, so nothing stands", body = SubscriptionMade),
        (status = 201, description = "The subscription stands", body = SubscriptionMade, headers(
            ("Location" = String, description = "Where it is looked up"),
            ("ETag" = String, description = "Changes with the content"),
        )),
        Problems
    )
)]
pub(super) async fn subscribe(
    State(api): State<Arc<Api>>,
    known: Known<Nothing>,
    body: Body,
) -> Result<Response, Problem> {
    let key = extract::idempotency_key(&known.headers)?;
    let trace = trace_of(extract::text(&known.headers, "x-request-id")?);
    let new: NewSubscription = extract::read(&api, &known.headers, body).await?;
    let until_ms = new.until_ms()?;
    let question = new.question.into_office(key, trace)?;
    let (seen, ticket) = api.office.subscribe(&known.caller, question, until_ms).await?;
    if let Ending::Refused { refusal, by } = &seen.asked.ending {
        let instance = format!("/v1/verifications/{}", seen.id);
        return Err(Problem::refused(refusal, by.as_deref(), api.office.now_ms()).of(instance));
    }
    let location = ticket.as_ref().map(|ticket| format!("/v1/subscriptions/{ticket}"));
    let subscribed = SubscriptionMade { ticket, first: Verification::from(seen) };
    Ok(match location {
        Some(location) => made(StatusCode::CREATED, &location, &subscribed),
        None => uncached(&subscribed),
    })
}

/// Lists what this office system subscribed to, the newest first.
#[utoipa::path(
    get,
    path = "/v1/subscriptions",
    tag = "subscriptions",
    operation_id = "list_subscriptions",
    params(
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200, description = "How many at most; 50 where it is left out"),
        ("all" = Option<bool>, Query, description = "Also those that are over"),
        ("If-None-Match" = Option<String>, Header, description = "The ETag of what the caller has"),
    ),
    responses(
        (status = 200, description = "A page", body = SubscriptionPage, headers(("ETag" = String, description = "Changes with the content"))),
        (status = 304, description = "The caller has it already"),
        Problems
    )
)]
pub(super) async fn list(State(api): State<Arc<Api>>, known: Known<OpenOrAll>) -> Result<Response, Problem> {
    let all = known.query.all;
    let page = known.query.page(LARGEST)?;
    let listed = api.office.subscriptions(&known.caller, all, page.place()?, page.most).await?;
    let next_cursor = page.next(listed.len(), listed.last().map(|(place, _)| cursor_of(*place)));
    let subscriptions = listed.into_iter().map(|(_, subscription)| subscription.into()).collect();
    Ok(document(&known.headers, &SubscriptionPage { subscriptions, next_cursor }))
}

/// A subscription with all its notices.
#[utoipa::path(
    get,
    path = "/v1/subscriptions/{ticket}",
    tag = "subscriptions",
    operation_id = "show_subscription",
    params(
        ("ticket" = String, Path, description = "The subscription's ticket"),
        ("If-None-Match" = Option<String>, Header, description = "The ETag of what the caller has"),
    ),
    responses(
        (status = 200, description = "As it stands now", body = SubscriptionShown, headers(("ETag" = String, description = "Changes with the content"))),
        (status = 304, description = "The caller has it already"),
        Problems
    )
)]
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    known: Known<Nothing>,
    Id(ticket): Id,
) -> Result<Response, Problem> {
    let shown = SubscriptionShown::from(api.office.subscription(&known.caller, &ticket)?);
    Ok(document(&known.headers, &shown))
}

/// Ends a subscription; the provider is told by itself.
#[utoipa::path(
    delete,
    path = "/v1/subscriptions/{ticket}",
    tag = "subscriptions",
    operation_id = "end_subscription",
    params(("ticket" = String, Path, description = "The subscription's ticket")),
    responses((status = 200, description = "The subscription, which is over", body = Subscription), Problems)
)]
pub(super) async fn end(
    State(api): State<Arc<Api>>,
    known: Known<Nothing>,
    Id(ticket): Id,
) -> Result<Response, Problem> {
    let ended = api.office.end_subscription(&known.caller, &ticket).await?;
    Ok(uncached(&Subscription::from(ended)))
}

/// How many.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Most {
    limit: Option<usize>,
}

/// Lists the changes that nobody has acknowledged, the oldest first.
#[utoipa::path(
    get,
    path = "/v1/notices",
    tag = "subscriptions",
    operation_id = "list_notices",
    params(("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "How many at most; 50 where it is left out")),
    responses((status = 200, description = "The notices", body = ChangeNotices), Problems)
)]
pub(super) async fn notices(State(api): State<Arc<Api>>, known: Known<Most>) -> Result<Response, Problem> {
    let page = Page::of(None, known.query.limit, LARGEST_NOTICES)?;
    let (listed, more) = api.office.notices(&known.caller, page.most).await?;
    let notices = listed.into_iter().map(|(notice, provider)| ChangeNotice::of(notice, &provider)).collect();
    Ok(uncached(&ChangeNotices { notices, more }))
}

/// Acknowledges changes: they are listed no more. The evidence keeps them.
#[utoipa::path(
    post,
    path = "/v1/notices/acknowledgements",
    tag = "subscriptions",
    operation_id = "acknowledge",
    request_body(content = Acknowledgement, content_type = "application/json"),
    responses((status = 200, description = "How many there were", body = Acknowledged), Problems)
)]
pub(super) async fn acknowledge(
    State(api): State<Arc<Api>>,
    known: Known<Nothing>,
    body: Body,
) -> Result<Response, Problem> {
    let Acknowledgement { receipts } = extract::read(&api, &known.headers, body).await?;
    let acknowledged = api.office.acknowledge(&known.caller, &receipts).await?;
    Ok(uncached(&Acknowledged { acknowledged }))
}
