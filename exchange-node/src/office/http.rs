//! The office port's HTTP with JSON: addresses, methods, headers and statuses under `/v1`, the OpenAPI document of them at
//! `/openapi.json`, and a page of it at `/docs`. Translates, and decides nothing.
//!
//! Everything a caller can get wrong ends in a problem (`office::problem`) that the document knows. Bodies have a limit and a
//! time; unknown fields are refused. Out of scope: what a call means (`office`), connections (`office::port`).

mod answer;
mod batches;
mod cases;
mod commitments;
mod corrections;
mod events;
mod extract;
mod page;
mod subject_log;
mod subscriptions;
mod verifications;
mod wait;

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderName, StatusCode, header};
use tokio_util::sync::CancellationToken;
use utoipa::{
    OpenApi, PartialSchema,
    openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use self::{answer::document, extract::Known};
use super::{
    Office, docs,
    etsi::{EtsiVerifyRequest, EtsiVerifyResponse},
    items::{Item, Items},
    json::{CaseEvent, Service, Services},
    notice::{Notice, NoticeData},
    problem::{Problem, Problems},
    settings::OfficeSettings,
    sign_in::SignIn,
};

/// What the handlers work with.
pub struct Api {
    office: Arc<Office>,
    sign_in: SignIn,
    largest_body: usize,
    largest_batch: usize,
    /// Ends what would not end by itself.
    stop: CancellationToken,
}

impl Api {
    /// Over what office systems can do.
    pub fn new(office: Arc<Office>, sign_in: SignIn, settings: &OfficeSettings, stop: CancellationToken) -> Arc<Self> {
        let bytes = |kib: usize| kib.max(1).saturating_mul(1024);
        let (largest_body, largest_batch) = (bytes(settings.largest_body_kib), bytes(settings.largest_batch_kib));
        Arc::new(Self { office, sign_in, largest_body, largest_batch, stop })
    }
}

impl std::fmt::Debug for Api {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Api").finish_non_exhaustive()
    }
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "The office port of an exchange node",
        description = "What a department's own office systems ask of their node. The same is there as gRPC (`office.v1`). \
                       Sign in with `Authorization: Bearer <key>`, or with a client certificate. Times are RFC 3339 in UTC. \
                       Whatever does not succeed is a problem of RFC 9457 with a stable code, the field and the next step.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    tags(
        (name = "verifications", description = "Questions to other departments, and what became of them"),
        (name = "cases", description = "A public service item for one applicant, all proofs asked at once"),
        (name = "batches", description = "Many questions as one job"),
        (name = "corrections", description = "Answers that the office doubts"),
        (name = "subscriptions", description = "Questions that go on, and the changes that are told"),
        (name = "subjects", description = "Who asked about a citizen, for a citizens' portal"),
        (name = "directory", description = "What may be asked, and for what")
    )
)]
struct Document;

/// The handlers, with the document of them.
fn handlers() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(verifications::create, verifications::list))
        .routes(routes!(verifications::show))
        .routes(routes!(verifications::evidence))
        .routes(routes!(verifications::fetch))
        .routes(routes!(cases::open, cases::list))
        .routes(routes!(cases::show))
        .routes(routes!(cases::add))
        .routes(routes!(cases::slip))
        .routes(routes!(cases::pause))
        .routes(routes!(cases::resume))
        .routes(routes!(commitments::commit))
        .routes(routes!(commitments::list))
        .routes(routes!(commitments::repair))
        .routes(routes!(batches::submit, batches::list))
        .routes(routes!(batches::show, batches::remove))
        .routes(routes!(batches::results))
        .routes(routes!(corrections::open, corrections::list))
        .routes(routes!(corrections::show))
        .routes(routes!(subscriptions::subscribe, subscriptions::list))
        .routes(routes!(subscriptions::show, subscriptions::end))
        .routes(routes!(subscriptions::notices))
        .routes(routes!(subscriptions::acknowledge))
        .routes(routes!(subject_log::list))
        .routes(routes!(events::listen))
        .routes(routes!(events::watch_case))
        .routes(routes!(verify_attributes))
        .routes(routes!(services))
        .routes(routes!(items))
}

/// What the handlers do not say of themselves: the problems' schema, how to sign in, the version.
fn complete(mut openapi: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    let components = openapi.components.get_or_insert_default();
    let (name, schema) = Problems::schema();
    components.schemas.insert(name, schema);
    // Within streams, where no document has a place for them.
    components.schemas.insert("Notice".to_owned(), Notice::schema());
    components.schemas.insert("NoticeData".to_owned(), NoticeData::schema());
    components.schemas.insert("CaseEvent".to_owned(), CaseEvent::schema());
    let key = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    components.security_schemes.insert("office_key".to_owned(), key.into());
    openapi.security = Some(vec![SecurityRequirement::new::<_, _, &str>("office_key", [])]);
    openapi.info.version = env!("CARGO_PKG_VERSION").to_owned();
    openapi
}

/// Everything of the office port that is not gRPC; `grpc` is what is.
pub fn serve(api: Arc<Api>, grpc: Router) -> Router {
    let (router, openapi) = handlers().with_state(api).split_for_parts();
    // A plain structure; it can always be written.
    let json = serde_json::to_value(complete(openapi)).unwrap_or_default();
    let text = serde_json::to_vec_pretty(&json).unwrap_or_default();
    let page = docs::page(&json);
    router
        .route("/openapi.json", axum::routing::get(async move || fixed("application/json", text.clone())))
        .route("/docs", axum::routing::get(async move || fixed("text/html; charset=utf-8", page.clone().into_bytes())))
        .merge(grpc.reset_fallback())
        .fallback(nothing_here)
        .method_not_allowed_fallback(not_this_method)
}

/// What stands in the program and tells of nobody.
fn fixed(media_type: &'static str, body: Vec<u8>) -> Response {
    const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";
    let headers: [(HeaderName, &str); 3] = [
        (header::CONTENT_TYPE, media_type),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, body).into_response()
}

async fn nothing_here(request: Request) -> Response {
    let content_type = request.headers().get(header::CONTENT_TYPE).map(http::HeaderValue::as_bytes);
    if content_type.is_some_and(|content_type| content_type.starts_with(b"application/grpc")) {
        return tonic::Status::unimplemented("the office port has no such service").into_http::<axum::body::Body>();
    }
    Problem::nothing_here(request.uri().path()).into_response()
}

async fn not_this_method(request: Request) -> Problem {
    let next_step = "use one of the methods in the header Allow";
    let title = "The address does not take this method";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", title, next_step).because(format!(
        "{} takes no {}",
        request.uri().path(),
        request.method()
    ))
}

/// Verifies attributes as consumers of ETSI TS 119 478 (clause 6.1.1) ask it, mapped onto the same questions. An attribute is a
/// record of a data service; whom it is about and what for stands in the member `errand`.
#[utoipa::path(
    post,
    path = "/verify",
    tag = "verifications",
    request_body(content = EtsiVerifyRequest, content_type = "application/json"),
    params(("Prefer" = Option<String>, Header, description = "`wait=<seconds>` (RFC 7240): no question takes longer")),
    responses(
        (status = 200, description = "`Match`, `NoMatch` or `Unknown` for each attribute and fragment", body = EtsiVerifyResponse),
        Problems
    )
)]
async fn verify_attributes(
    State(api): State<Arc<Api>>,
    known: Known<extract::Nothing>,
    body: Body,
) -> Result<Response, Problem> {
    let wait = wait::Wait::of(&known.headers)?;
    let request: EtsiVerifyRequest = extract::read(&api, &known.headers, body).await?;
    let response = api.office.verify_attributes(&known.caller, request, wait.time()).await?;
    Ok(wait.applied(answer::uncached(&response)))
}

/// Lists the data services that the directory knows, and whether this department may ask them.
#[utoipa::path(
    get,
    path = "/v1/services",
    tag = "directory",
    params(
        ("provider" = Option<String>, Query, description = "Only this department's services"),
        ("If-None-Match" = Option<String>, Header, description = "The ETag of what the caller has"),
    ),
    responses(
        (status = 200, description = "The services", body = Services, headers(("ETag" = String, description = "Changes with the content"))),
        (status = 304, description = "The caller has it already"),
        Problems
    )
)]
async fn services(State(api): State<Arc<Api>>, known: Known<extract::OfProvider>) -> Result<Response, Problem> {
    let provider = known.query.provider.unwrap_or_default();
    let services = api.office.services(&known.caller, &provider)?.into_iter().map(Service::from).collect();
    Ok(document(&known.headers, &Services { services }))
}

/// Lists the department's own public service items, each in force now, with its whole guide.
#[utoipa::path(
    get,
    path = "/v1/items",
    tag = "directory",
    params(("If-None-Match" = Option<String>, Header, description = "The ETag of what the caller has")),
    responses(
        (status = 200, description = "The items", body = Items, headers(("ETag" = String, description = "Changes with the content"))),
        (status = 304, description = "The caller has it already"),
        Problems
    )
)]
async fn items(State(api): State<Arc<Api>>, known: Known<extract::Nothing>) -> Result<Response, Problem> {
    let items = api.office.items(&known.caller).into_iter().map(Item::from).collect();
    Ok(document(&known.headers, &Items { items }))
}

#[cfg(test)]
mod tests;
