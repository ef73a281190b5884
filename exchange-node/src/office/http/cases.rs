//! `/v1/cases`: opening, adding, looking up, listing, the slip. Translates; decides nothing.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{StatusCode, header};
use serde::Deserialize;
use trust::refusal::Refusal;

use super::{
    Api,
    answer::{document, made, uncached},
    extract::{self, Id, Known, Nothing},
};
use crate::office::{
    json::{Case, CaseAdditions, CasePage, CaseSummary, NewCase, timestamp},
    problem::{Problem, Problems},
};

/// How many cases a page has, where the caller does not say otherwise.
const USUAL_PAGE: usize = 50;

/// How many it has at most.
const LARGEST_PAGE: usize = 200;

fn refused(api: &Api, refusal: &Refusal) -> Problem {
    Problem::refused(&refusal.to_wire(), None, api.office.now_ms())
}

/// Opens a case: the node asks for all proofs that its item needs at once, and says proof by proof what is left to do. The same
/// case number again shows the case.
#[utoipa::path(
    post,
    path = "/v1/cases",
    tag = "cases",
    operation_id = "open_case",
    request_body(content = NewCase, content_type = "application/json"),
    responses(
        (status = 201, description = "The case", body = Case, headers(
            ("Location" = String, description = "Where it is looked up"),
            ("ETag" = String, description = "Changes with the content"),
        )),
        Problems
    )
)]
pub(super) async fn open(State(api): State<Arc<Api>>, known: Known<Nothing>, body: Body) -> Result<Response, Problem> {
    let new: NewCase = extract::read(&api, &known.headers, body).await?;
    let new = new.into_case(known.caller.system.clone())?;
    let case = api.office.open_case(&known.caller, new).await?.map_err(|refusal| refused(&api, &refusal))?;
    let location = format!("/v1/cases/{}", encoded(&case.case_number));
    Ok(made(StatusCode::CREATED, &location, &Case::from(case)))
}

/// The parameters of a list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Paging {
    cursor: Option<String>,
    limit: Option<usize>,
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
    let most = known.query.limit.unwrap_or(USUAL_PAGE);
    if !(1..=LARGEST_PAGE).contains(&most) {
        return Err(Problem::malformed(format!("limit is 1 to {LARGEST_PAGE}")).at("limit"));
    }
    let heads = api.office.case_list(&known.caller, known.query.cursor.as_deref().unwrap_or_default(), most);
    let next_cursor = heads.last().filter(|_| heads.len() == most).map(|head| head.number.clone());
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

/// Adds people, values or papers to a case; only what is missing is asked.
#[utoipa::path(
    post,
    path = "/v1/cases/{number}/additions",
    tag = "cases",
    operation_id = "add_to_case",
    params(("number" = String, Path, description = "The case number")),
    request_body(content = CaseAdditions, content_type = "application/json"),
    responses((status = 200, description = "The case", body = Case), Problems)
)]
pub(super) async fn add(
    State(api): State<Arc<Api>>,
    known: Known<Nothing>,
    Id(number): Id,
    body: Body,
) -> Result<Response, Problem> {
    let more: CaseAdditions = extract::read(&api, &known.headers, body).await?;
    let more = more.into_case(number)?;
    let case = api.office.add_to_case(&known.caller, more).await?.map_err(|refusal| refused(&api, &refusal))?;
    Ok(uncached(&Case::from(case)))
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

/// A part of a path, with whatever is not plain as its bytes.
fn encoded(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    text.bytes().map(|byte| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
