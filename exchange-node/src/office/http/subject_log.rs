//! `/v1/subject-log`: who asked about a citizen, for the citizens' portal alone. Translates; decides nothing.

use std::sync::Arc;

use axum::{body::Body, extract::State, response::Response};

use super::{
    Api,
    answer::uncached,
    cases::refused,
    extract::{self, KnownPortal},
};
use crate::office::{
    json::{AskedAboutPage, SubjectLook},
    problem::{Problem, Problems},
};

/// Lists what other departments asked about a citizen, the newest first. For a citizens' portal's key, which opens this and
/// nothing else; each look-up is recorded.
#[utoipa::path(
    post,
    path = "/v1/subject-log",
    tag = "subjects",
    operation_id = "list_asked",
    request_body(content = SubjectLook, content_type = "application/json"),
    responses(
        (status = 200, description = "A page", body = AskedAboutPage),
        Problems
    )
)]
pub(super) async fn list(State(api): State<Arc<Api>>, known: KnownPortal, body: Body) -> Result<Response, Problem> {
    let look: SubjectLook = extract::read(&api, &known.headers, body).await?;
    let listed = api.office.asked_about(known.portal, look.into()).await?;
    let listed = listed.map_err(|refusal| refused(&api, &refusal))?;
    Ok(uncached(&AskedAboutPage::from(listed)))
}
