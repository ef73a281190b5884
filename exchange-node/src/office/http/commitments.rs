//! `/v1/commitments` and `/v1/cases/{number}/commitments`: taking one in place of a proof, listing, putting right. Translates;
//! decides nothing.

use std::sync::Arc;

use axum::{body::Body, extract::State, response::Response};
use serde::Deserialize;

use super::{
    Api,
    answer::{document, uncached},
    cases::refused,
    extract::{self, Id, Known, Nothing},
    page::{LARGEST, Page},
};
use crate::{
    case::CommitmentState,
    office::{
        json::{Case, Commitment, CommitmentPage, NewCommitment, Repair},
        problem::{Problem, Problems},
    },
};

/// Takes a signed commitment in place of a proof that nobody can confirm now, where the item allows that. It is checked by
/// itself later; what comes of it is told (`commitment.fulfilled`, `commitment.broken`, `commitment.unconfirmed`). The same form again
/// for the same proof is the commitment that was taken, and shows the case: it needs no idempotency key.
#[utoipa::path(
    post,
    path = "/v1/cases/{number}/commitments",
    tag = "cases",
    operation_id = "commit_in_case",
    params(("number" = String, Path, description = "The case number")),
    request_body(content = NewCommitment, content_type = "application/json"),
    responses((status = 200, description = "The case", body = Case), Problems)
)]
pub(super) async fn commit(
    State(api): State<Arc<Api>>,
    known: Known<Nothing>,
    Id(number): Id,
    body: Body,
) -> Result<Response, Problem> {
    let new: NewCommitment = extract::read(&api, &known.headers, body).await?;
    let committed = api.office.commit_in_case(&known.caller, new.into_case(number)?).await?;
    Ok(uncached(&Case::from(committed.map_err(|refusal| refused(&api, &refusal))?)))
}

/// The parameters of the list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OfCase {
    cursor: Option<String>,
    limit: Option<usize>,
    state: Option<String>,
    case_number: Option<String>,
}

/// Lists commitments, the oldest first. Names nobody.
#[utoipa::path(
    get,
    path = "/v1/commitments",
    tag = "cases",
    operation_id = "list_commitments",
    params(
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200, description = "How many at most; 50 where it is left out"),
        ("state" = Option<String>, Query, description = "Only those that stand so: `open`, `fulfilled`, `broken`, `unconfirmed` or `repaired`"),
        ("case_number" = Option<String>, Query, description = "Only those of this case"),
        ("If-None-Match" = Option<String>, Header, description = "The ETag of what the caller has"),
    ),
    responses(
        (status = 200, description = "A page", body = CommitmentPage, headers(("ETag" = String, description = "Changes with the content"))),
        (status = 304, description = "The caller has it already"),
        Problems
    )
)]
pub(super) async fn list(State(api): State<Arc<Api>>, known: Known<OfCase>) -> Result<Response, Problem> {
    let OfCase { cursor, limit, state, case_number } = known.query;
    let page = Page::of(cursor, limit, LARGEST)?;
    let state = state.filter(|state| !state.is_empty());
    if state.as_deref().is_some_and(|state| CommitmentState::parse(state).is_none()) {
        let known = "state is open, fulfilled, broken, unconfirmed or repaired";
        return Err(Problem::malformed(known).at("state"));
    }
    let of = (state.as_deref().unwrap_or_default(), case_number.as_deref().unwrap_or_default());
    let commitments = api.office.commitments(&known.caller, of, page.behind(), page.most);
    let next_cursor = page.next(commitments.len(), commitments.last().map(|row| row.id.clone()));
    Ok(document(&known.headers, &CommitmentPage { commitments, next_cursor }))
}

/// Says that a broken commitment was put right: the case's flag is taken down, and the applicant may commit again.
#[utoipa::path(
    post,
    path = "/v1/commitments/{id}/repair",
    tag = "cases",
    operation_id = "repair_commitment",
    params(("id" = String, Path, description = "The commitment's id")),
    request_body(content = Repair, content_type = "application/json"),
    responses((status = 200, description = "The commitment", body = Commitment), Problems)
)]
pub(super) async fn repair(
    State(api): State<Arc<Api>>,
    known: Known<Nothing>,
    Id(id): Id,
    body: Body,
) -> Result<Response, Problem> {
    let Repair { officer, how } = extract::read(&api, &known.headers, body).await?;
    let repaired = api.office.repair_commitment(&known.caller, id, officer, how).await?;
    Ok(uncached(&repaired.map_err(|refusal| refused(&api, &refusal))?))
}
