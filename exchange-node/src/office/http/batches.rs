//! `/v1/batches`: jobs of many questions, how far they are, their results. Translates; decides nothing.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use http::StatusCode;

use super::{
    Api,
    answer::{document, made},
    cases::refused,
    extract::{self, Id, Known, Nothing},
    page::{LARGEST, Paging, cursor_of},
};
use crate::office::{
    json::{Batch, BatchPage, BatchResult, BatchResultPage, NewBatch},
    problem::{Problem, Problems},
};

/// How many results a page has at most.
const LARGEST_RESULTS: usize = 1000;

/// Hands a job of many questions in. Once this is answered it is kept, and is carried out also after a restart: each row is
/// decided, charged and answered as a question of its own. The same job again under the same name is the one that is there;
/// another one under that name is refused (409). That it has ended is told (`batch.finished`).
#[utoipa::path(
    post,
    path = "/v1/batches",
    tag = "batches",
    operation_id = "submit_batch",
    request_body(content = NewBatch, content_type = "application/json"),
    params(
        ("Idempotency-Key" = Option<String>, Header, max_length = 64, description = "The name of the job, where the body gives none"),
    ),
    responses(
        (status = 202, description = "The job, which is carried out from now on", body = Batch, headers(
            ("Location" = String, description = "Where it is looked up"),
            ("ETag" = String, description = "Changes with the content"),
        )),
        Problems
    )
)]
pub(super) async fn submit(
    State(api): State<Arc<Api>>,
    known: Known<Nothing>,
    body: Body,
) -> Result<Response, Problem> {
    let key = extract::idempotency_key(&known.headers)?;
    let new: NewBatch = extract::read_large(&api, &known.headers, body).await?;
    let (header, rows) = new.into_wire(key)?;
    let job = api.office.submit_batch(&known.caller, header, rows).await?;
    let job = job.map_err(|refusal| refused(&api, &refusal))?;
    Ok(made(StatusCode::ACCEPTED, &format!("/v1/batches/{}", job.id), &job))
}

/// Lists the jobs of this office system, the newest first.
#[utoipa::path(
    get,
    path = "/v1/batches",
    tag = "batches",
    operation_id = "list_batches",
    params(
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200, description = "How many at most; 50 where it is left out"),
        ("If-None-Match" = Option<String>, Header, description = "The ETag of what the caller has"),
    ),
    responses(
        (status = 200, description = "A page", body = BatchPage, headers(("ETag" = String, description = "Changes with the content"))),
        (status = 304, description = "The caller has it already"),
        Problems
    )
)]
pub(super) async fn list(State(api): State<Arc<Api>>, known: Known<Paging>) -> Result<Response, Problem> {
    let page = known.query.page(LARGEST)?;
    let jobs = api.office.batches(&known.caller, page.behind(), page.most);
    let next_cursor = page.next(jobs.len(), jobs.last().map(|(place, _)| place.clone()));
    let batches = jobs.into_iter().map(|(_, job)| job).collect();
    Ok(document(&known.headers, &BatchPage { batches, next_cursor }))
}

/// A job, and how far it is.
#[utoipa::path(
    get,
    path = "/v1/batches/{id}",
    tag = "batches",
    operation_id = "show_batch",
    params(
        ("id" = String, Path, description = "The job's id"),
        ("If-None-Match" = Option<String>, Header, description = "The ETag of what the caller has"),
    ),
    responses(
        (status = 200, description = "The job", body = Batch, headers(("ETag" = String, description = "Changes with the content"))),
        (status = 304, description = "The caller has it already"),
        Problems
    )
)]
pub(super) async fn show(State(api): State<Arc<Api>>, known: Known<Nothing>, Id(id): Id) -> Result<Response, Problem> {
    Ok(document(&known.headers, &api.office.batch(&known.caller, &id)?))
}

/// The results of a job, in the order of its rows, as far as they are there. An empty page with a `next_cursor` means that the
/// next row has no result yet: ask for it again later.
#[utoipa::path(
    get,
    path = "/v1/batches/{id}/results",
    tag = "batches",
    operation_id = "batch_results",
    params(
        ("id" = String, Path, description = "The job's id"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "How many at most; 50 where it is left out"),
        ("If-None-Match" = Option<String>, Header, description = "The ETag of what the caller has"),
    ),
    responses(
        (status = 200, description = "A page", body = BatchResultPage, headers(("ETag" = String, description = "Changes with the content"))),
        (status = 304, description = "The caller has it already"),
        Problems
    )
)]
pub(super) async fn results(
    State(api): State<Arc<Api>>,
    known: Known<Paging>,
    Id(id): Id,
) -> Result<Response, Problem> {
    let page = known.query.page(LARGEST_RESULTS)?;
    let from_row = page.place()?.unwrap_or(0);
    let found = api.office.batch_results(&known.caller, &id, from_row, page.most).await?;
    let results = found.results.into_iter().map(BatchResult::from).collect();
    Ok(document(&known.headers, &BatchResultPage { results, next_cursor: found.next.map(cursor_of) }))
}

/// Forgets a job that has ended, with its rows and results. The evidence stays.
#[utoipa::path(
    delete,
    path = "/v1/batches/{id}",
    tag = "batches",
    operation_id = "remove_batch",
    params(("id" = String, Path, description = "The job's id")),
    responses((status = 204, description = "It is gone"), Problems)
)]
pub(super) async fn remove(
    State(api): State<Arc<Api>>,
    known: Known<Nothing>,
    Id(id): Id,
) -> Result<Response, Problem> {
    api.office.remove_batch(&known.caller, &id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
