//! `/v1/verifications`: asking, looking up, listing, evidence. Translates; decides nothing.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;

use super::{
    Api,
    answer::{document, made, uncached},
    extract::{self, Id, Known, Nothing},
    page::{LARGEST, Page, cursor_of},
    wait::Wait,
};
use crate::{
    ask::Ending,
    office::{
        json::{Question, State as VerificationState, Verification, VerificationPage},
        problem::{Problem, Problems, seconds_until},
        trace_of,
    },
};

/// How often whoever waits for a deferred answer need look at least.
const LOOK_AGAIN: u64 = 3600;

/// Asks another department one question and waits for its answer. A refusal is a problem with its stable code, and is in
/// the evidence as everything else: `instance` leads to it. Where no answer came, every verdict is `UNAVAILABLE`.
#[utoipa::path(
    post,
    path = "/v1/verifications",
    tag = "verifications",
    operation_id = "ask",
    request_body(content = Question, content_type = "application/json"),
    params(
        ("Idempotency-Key" = Option<String>, Header, max_length = 64, description = "The same key with the same question gets the same answer, for a day"),
        ("Prefer" = Option<String>, Header, description = "`wait=<seconds>` (RFC 7240): gives up then; the provider is told, and does too"),
        ("X-Request-Id" = Option<String>, Header, description = "The caller's own id for the logs: 8 to 64 of 0-9, a-f and hyphens, with at least one letter"),
    ),
    responses(
        (status = 201, description = "Asked, and there is a result; or no answer came in time", body = Verification, headers(
            ("Location" = String, description = "Where it is looked up"),
            ("ETag" = String, description = "Changes with the content"),
        )),
        (status = 202, description = "Asked, and the answer will follow", body = Verification, headers(
            ("Location" = String, description = "Where it is looked up"),
            ("ETag" = String, description = "Changes with the content"),
            ("Retry-After" = u64, description = "How many seconds to wait before looking it up"),
        )),
        Problems
    )
)]
pub(super) async fn create(
    State(api): State<Arc<Api>>,
    known: Known<Nothing>,
    body: Body,
) -> Result<Response, Problem> {
    let key = extract::idempotency_key(&known.headers)?;
    let wait = Wait::of(&known.headers)?;
    let trace = trace_of(extract::text(&known.headers, "x-request-id")?);
    let question: Question = extract::read(&api, &known.headers, body).await?;
    let mut question = question.into_office(key, trace)?;
    if let Some(time) = wait.time() {
        let wait_ms = u32::try_from(time.as_millis()).unwrap_or(u32::MAX).max(1);
        question.timeout_ms = if question.timeout_ms == 0 { wait_ms } else { question.timeout_ms.min(wait_ms) };
    }
    let seen = api.office.ask(&known.caller, question).await?;
    let location = format!("/v1/verifications/{}", seen.id);
    let now_ms = api.office.now_ms();
    if let Ending::Refused { refusal, by } = &seen.asked.ending {
        return Err(Problem::refused(refusal, by.as_deref(), now_ms).of(location));
    }
    let due_ms = due_of(&seen.asked.ending);
    let status = if due_ms.is_some() { StatusCode::ACCEPTED } else { StatusCode::CREATED };
    let mut response = made(status, &location, &Verification::from(seen));
    retry_after(&mut response, due_ms, now_ms);
    Ok(wait.applied(response))
}

/// By when a deferred answer comes; `None` where there is a result.
fn due_of(ending: &Ending) -> Option<u64> {
    match ending {
        Ending::Deferred(deferral) => Some(deferral.due_at_ms),
        _ => None,
    }
}

/// Says when to look again, where the answer has yet to come.
fn retry_after(response: &mut Response, due_ms: Option<u64>, now_ms: u64) {
    if let Some(due_ms) = due_ms {
        let after = HeaderValue::from(seconds_until(due_ms, now_ms).min(LOOK_AGAIN));
        response.headers_mut().insert(header::RETRY_AFTER, after);
    }
}

/// Asks the provider again for an answer that was deferred, where it has not come yet, and shows what there is. An answer
/// comes by itself, too: this is for whoever does not want to wait for that.
#[utoipa::path(
    post,
    path = "/v1/verifications/{id}/fetch",
    tag = "verifications",
    operation_id = "fetch_verification",
    params(("id" = String, Path, description = "The ticket, or the receipt of the deferral")),
    responses(
        (status = 200, description = "As it stands now; `deferred` where the answer has not come yet", body = Verification, headers(
            ("Retry-After" = u64, description = "Where it is deferred still: how many seconds to wait before looking it up"),
        )),
        Problems
    )
)]
pub(super) async fn fetch(State(api): State<Arc<Api>>, known: Known<Nothing>, Id(id): Id) -> Result<Response, Problem> {
    let fetched = api.office.fetch(&known.caller, &id).await?;
    // With its course of events, and under the id by which it is looked up.
    let seen = api.office.show(&known.caller, &fetched.id.to_string()).await?;
    let due_ms = due_of(&seen.asked.ending);
    let mut response = uncached(&Verification::from(seen));
    retry_after(&mut response, due_ms, api.office.now_ms());
    Ok(response)
}

/// The parameters of the list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OfState {
    cursor: Option<String>,
    limit: Option<usize>,
    state: Option<VerificationState>,
}

/// Lists what was asked through this office system, the newest first.
#[utoipa::path(
    get,
    path = "/v1/verifications",
    tag = "verifications",
    operation_id = "list_verifications",
    params(
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200, description = "How many at most; 50 where it is left out"),
        ("state" = Option<VerificationState>, Query, description = "Only those that stand so"),
        ("If-None-Match" = Option<String>, Header, description = "The ETag of what the caller has"),
    ),
    responses(
        (status = 200, description = "A page", body = VerificationPage, headers(("ETag" = String, description = "Changes with the content"))),
        (status = 304, description = "The caller has it already"),
        Problems
    )
)]
pub(super) async fn list(State(api): State<Arc<Api>>, known: Known<OfState>) -> Result<Response, Problem> {
    let OfState { cursor, limit, state } = known.query;
    let page = Page::of(cursor, limit, LARGEST)?;
    let state = state.map(|state| match state {
        VerificationState::Answered => "answered",
        VerificationState::Deferred => "deferred",
        VerificationState::Refused => "refused",
        VerificationState::Unanswered => "unanswered",
    });
    let (found, next) = api.office.list(&known.caller, page.place()?, page.most, state.map(str::to_owned)).await?;
    let verifications = found.into_iter().map(Verification::from).collect();
    Ok(document(&known.headers, &VerificationPage { verifications, next_cursor: next.map(cursor_of) }))
}

/// Looks an earlier verification up, with its timeline. A deferred one shows its answer once that has come.
#[utoipa::path(
    get,
    path = "/v1/verifications/{id}",
    tag = "verifications",
    operation_id = "show_verification",
    params(
        ("id" = String, Path, description = "Its id, or any of its receipts"),
        ("If-None-Match" = Option<String>, Header, description = "The ETag of what the caller has"),
    ),
    responses(
        (status = 200, description = "As it stands now", body = Verification, headers(("ETag" = String, description = "Changes with the content"))),
        (status = 304, description = "The caller has it already"),
        Problems
    )
)]
pub(super) async fn show(State(api): State<Arc<Api>>, known: Known<Nothing>, Id(id): Id) -> Result<Response, Problem> {
    let seen = api.office.show(&known.caller, &id).await?;
    Ok(document(&known.headers, &Verification::from(seen)))
}

/// Exports the evidence of a verification: an `exchange.v1.EvidenceBundle`, which `exchange-node evidence verify` and anybody
/// else can check offline.
#[utoipa::path(
    get,
    path = "/v1/verifications/{id}/evidence",
    tag = "verifications",
    operation_id = "export_evidence",
    params(("id" = String, Path, description = "Its id, or any of its receipts")),
    responses(
        (status = 200, description = "The bundle", body = Vec<u8>, content_type = "application/octet-stream"),
        Problems
    )
)]
pub(super) async fn evidence(
    State(api): State<Arc<Api>>,
    known: Known<Nothing>,
    Id(id): Id,
) -> Result<Response, Problem> {
    let bundle = api.office.evidence(&known.caller, &id).await?;
    // The id was read as a receipt: digits, hex digits and a hyphen.
    let file = format!("attachment; filename=\"{id}.evidence\"");
    let headers = [(header::CONTENT_TYPE, "application/octet-stream"), (header::CONTENT_DISPOSITION, file.as_str())];
    Ok((headers, bundle).into_response())
}
