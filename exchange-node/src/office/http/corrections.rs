//! `/v1/corrections`: doubting an answer, and what became of it. Translates; decides nothing.

use std::sync::Arc;

use axum::{body::Body, extract::State, response::Response};
use http::StatusCode;

use super::{
    Api,
    answer::{document, made},
    cases::refused,
    extract::{self, Id, Known, Nothing},
    page::{LARGEST, OpenOrAll, cursor_of},
};
use crate::office::{
    json::{Correction, CorrectionPage, NewCorrection},
    problem::{Problem, Problems},
};

/// Opens a correction of an answer that the office doubts: the provider's clerk looks at the record again, within the time that
/// the authority sets. Meanwhile the applicant's paper is accepted. What is decided is told (`correction.decided`). The same again
/// while it is open is the one that is there: it needs no idempotency key.
#[utoipa::path(
    post,
    path = "/v1/corrections",
    tag = "corrections",
    operation_id = "open_correction",
    request_body(content = NewCorrection, content_type = "application/json"),
    responses(
        (status = 201, description = "The correction, which is delivered by itself", body = Correction, headers(
            ("Location" = String, description = "Where it is looked up"),
            ("ETag" = String, description = "Changes with the content"),
        )),
        Problems
    )
)]
pub(super) async fn open(State(api): State<Arc<Api>>, known: Known<Nothing>, body: Body) -> Result<Response, Problem> {
    let new: NewCorrection = extract::read(&api, &known.headers, body).await?;
    let opened = api.office.open_correction(&known.caller, new.into()).await?;
    let opened = opened.map_err(|refusal| refused(&api, &refusal))?;
    Ok(made(StatusCode::CREATED, &format!("/v1/corrections/{}", opened.id), &opened))
}

/// Lists corrections that this department opened, the newest first, as far as the key reaches.
#[utoipa::path(
    get,
    path = "/v1/corrections",
    tag = "corrections",
    operation_id = "list_corrections",
    params(
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200, description = "How many at most; 50 where it is left out"),
        ("all" = Option<bool>, Query, description = "Also those that are over"),
        ("If-None-Match" = Option<String>, Header, description = "The ETag of what the caller has"),
    ),
    responses(
        (status = 200, description = "A page", body = CorrectionPage, headers(("ETag" = String, description = "Changes with the content"))),
        (status = 304, description = "The caller has it already"),
        Problems
    )
)]
pub(super) async fn list(State(api): State<Arc<Api>>, known: Known<OpenOrAll>) -> Result<Response, Problem> {
    let all = known.query.all;
    let page = known.query.page(LARGEST)?;
    let listed = api.office.corrections(&known.caller, all, page.place()?, page.most).await?;
    let next_cursor = page.next(listed.len(), listed.last().map(|(place, _)| cursor_of(*place)));
    let corrections = listed.into_iter().map(|(_, correction)| correction).collect();
    Ok(document(&known.headers, &CorrectionPage { corrections, next_cursor }))
}

/// A correction, by its id, or the newest one of an answer, by the answer's receipt.
#[utoipa::path(
    get,
    path = "/v1/corrections/{id}",
    tag = "corrections",
    operation_id = "show_correction",
    params(
        ("id" = String, Path, description = "Its id, or the receipt of the answer"),
        ("If-None-Match" = Option<String>, Header, description = "The ETag of what the caller has"),
    ),
    responses(
        (status = 200, description = "As it stands now", body = Correction, headers(("ETag" = String, description = "Changes with the content"))),
        (status = 304, description = "The caller has it already"),
        Problems
    )
)]
pub(super) async fn show(State(api): State<Arc<Api>>, known: Known<Nothing>, Id(id): Id) -> Result<Response, Problem> {
    Ok(document(&known.headers, &api.office.correction(&known.caller, id).await?))
}
