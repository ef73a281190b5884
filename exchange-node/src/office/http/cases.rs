//! `/v1/cases`: opening, adding, looking up, listing, the slip, the clock. Translates; decides nothing. Out of scope: commitments
//! (`commitments`), watching (`events`).

use std::sync::Arc;

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{StatusCode, header};
use trust::refusal::Refusal;

use super::{
    Api,
    answer::{document, made, uncached},
    extract::{self, Id, Known, Nothing},
    page::{LARGEST, Paging},
    wait::Wait,
};
use crate::office::{
    Failure,
    json::{Case, CaseAdditions, CasePage, CaseSummary, NewCase, NewPause, Resumption, timestamp},
    problem::{Problem, Problems},
};

pub(super) fn refused(api: &Api, refusal: &Refusal) -> Problem {
    Problem::refused(&refusal.to_wire(), None, api.office.now_ms())
}

/// Opens a case: the node asks for all proofs that its item needs at once, and says proof by proof what is left to do. The same
/// again, after a broken connection, shows the case, so that no idempotency key is needed; the same case number with anything
/// else is refused (`CASE_EXISTS`).
#[utoipa::path(
    post,
    path = "/v1/cases",
    tag = "cases",
    operation_id = "open_case",
    request_body(content = NewCase, content_type = "application/json"),
    params(("Prefer" = Option<String>, Header, description = "`wait=<seconds>` (RFC 7240): all questions together take no longer")),
    responses(
        (status = 200, description = "The case, which the same has opened before", body = Case, headers(
            ("Location" = String, description = "Where it is looked up"),
            ("ETag" = String, description = "Changes with the content"),
        )),
        (status = 201, description = "The case", body = Case, headers(
            ("Location" = String, description = "Where it is looked up"),
            ("ETag" = String, description = "Changes with the content"),
        )),
        Problems
    )
)]
pub(super) async fn open(State(api): State<Arc<Api>>, known: Known<Nothing>, body: Body) -> Result<Response, Problem> {
    let wait = Wait::of(&known.headers)?;
    let new: NewCase = extract::read(&api, &known.headers, body).await?;
    let mut new = new.into_case(known.caller.system.clone())?;
    new.deadline_ms = api.office.case_deadline(new.deadline_ms, wait.time());
    let opened = api.office.open_case(&known.caller, new).await?;
    let (case, is_new) = opened.map_err(|refusal| refused(&api, &refusal))?;
    let location = format!("/v1/cases/{}", encoded(&case.case_number));
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok(wait.applied(made(status, &location, &Case::from(case))))
}

/// Lists cases, the newest first. Names nobody.
#[utoipa::path(
    get,
    path = "/v1/cases",
    tag = "cases",
    operation_id = "list_cases",
    params(
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200, description = "How many at most; 50 where it is left out"),
        ("If-None-Match" = Option<String>, Header, description = "The ETag of what the caller has"),
    ),
    responses(
        (status = 200, description = "A page", body = CasePage, headers(("ETag" = String, description = "Changes with the content"))),
        (status = 304, description = "The caller has it already"),
        Problems
    )
)]
pub(super) async fn list(State(api): State<Arc<Api>>, known: Known<Paging>) -> Result<Response, Problem> {
    let page = known.query.page(LARGEST)?;
    let heads = api.office.case_list(&known.caller, page.behind(), page.most)?;
    let next_cursor = page.next(heads.len(), heads.last().map(|head| head.number.clone()));
    let cases = heads.into_iter().map(|head| CaseSummary {
        case_number: head.number,
        item: head.item,
        item_version: head.item_version,
        opened_at: timestamp(head.opened_ms),
        state: head.state,
        flagged: head.flagged,
    });
    Ok(document(&known.headers, &CasePage { cases: cases.collect(), next_cursor }))
}

/// A case as it stands.
#[utoipa::path(
    get,
    path = "/v1/cases/{number}",
    tag = "cases",
    operation_id = "show_case",
    params(
        ("number" = String, Path, description = "The case number"),
        ("If-None-Match" = Option<String>, Header, description = "The ETag of what the caller has"),
    ),
    responses(
        (status = 200, description = "The case", body = Case, headers(("ETag" = String, description = "Changes with the content"))),
        (status = 304, description = "The caller has it already"),
        Problems
    )
)]
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    known: Known<Nothing>,
    Id(number): Id,
) -> Result<Response, Problem> {
    Ok(document(&known.headers, &Case::from(api.office.case(&known.caller, &number)?)))
}

/// Adds people, values or papers to a case; only what is missing is asked. The same again changes nothing, and asks nothing that is known.
#[utoipa::path(
    post,
    path = "/v1/cases/{number}/additions",
    tag = "cases",
    operation_id = "add_to_case",
    params(
        ("number" = String, Path, description = "The case number"),
        ("Prefer" = Option<String>, Header, description = "`wait=<seconds>` (RFC 7240): all questions together take no longer"),
    ),
    request_body(content = CaseAdditions, content_type = "application/json"),
    responses((status = 200, description = "The case", body = Case), Problems)
)]
pub(super) async fn add(
    State(api): State<Arc<Api>>,
    known: Known<Nothing>,
    Id(number): Id,
    body: Body,
) -> Result<Response, Problem> {
    let wait = Wait::of(&known.headers)?;
    let more: CaseAdditions = extract::read(&api, &known.headers, body).await?;
    let mut more = more.into_case(number)?;
    more.deadline_ms = api.office.case_deadline(more.deadline_ms, wait.time());
    let case = api.office.add_to_case(&known.caller, more).await?.map_err(|refusal| refused(&api, &refusal))?;
    Ok(wait.applied(uncached(&Case::from(case))))
}

/// The slip for the applicant, in Chinese and English, as text to print.
#[utoipa::path(
    get,
    path = "/v1/cases/{number}/slip",
    tag = "cases",
    operation_id = "case_slip",
    params(("number" = String, Path, description = "The case number")),
    responses((status = 200, description = "The slip", body = String, content_type = "text/plain"), Problems)
)]
pub(super) async fn slip(
    State(api): State<Arc<Api>>,
    known: Known<Nothing>,
    Id(number): Id,
) -> Result<Response, Problem> {
    let text = api.office.slip(&known.caller, &number)?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}

/// Stops the clock of working days of a case, for a reason that is told.
#[utoipa::path(
    post,
    path = "/v1/cases/{number}/pause",
    tag = "cases",
    operation_id = "pause_case",
    params(("number" = String, Path, description = "The case number")),
    request_body(content = NewPause, content_type = "application/json"),
    responses((status = 200, description = "The case", body = Case), Problems)
)]
pub(super) async fn pause(
    State(api): State<Arc<Api>>,
    known: Known<Nothing>,
    Id(number): Id,
    body: Body,
) -> Result<Response, Problem> {
    let NewPause { reason, officer } = extract::read(&api, &known.headers, body).await?;
    if reason.trim().is_empty() {
        let reason = "say why the clock stands still; `resume` lets it run again".to_owned();
        return Err(Failure::Unusable { field: "reason", reason }.into());
    }
    stand_still(&api, &known, number, reason, officer).await
}

/// Lets the clock of working days of a case run again.
#[utoipa::path(
    post,
    path = "/v1/cases/{number}/resume",
    tag = "cases",
    operation_id = "resume_case",
    params(("number" = String, Path, description = "The case number")),
    request_body(content = Resumption, content_type = "application/json"),
    responses((status = 200, description = "The case", body = Case), Problems)
)]
pub(super) async fn resume(
    State(api): State<Arc<Api>>,
    known: Known<Nothing>,
    Id(number): Id,
    body: Body,
) -> Result<Response, Problem> {
    let Resumption { officer } = extract::read(&api, &known.headers, body).await?;
    stand_still(&api, &known, number, String::new(), officer).await
}

/// Stops the clock, or lets it run where there is no reason.
async fn stand_still(
    api: &Api,
    known: &Known<Nothing>,
    number: String,
    reason: String,
    officer: String,
) -> Result<Response, Problem> {
    let paused = api.office.pause_case(&known.caller, number, reason, officer).await?;
    Ok(uncached(&Case::from(paused.map_err(|refusal| refused(api, &refusal))?)))
}

/// A part of a path, with whatever is not plain as its bytes.
fn encoded(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    text.bytes().map(|byte| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
