//! What a handler is given: who calls, the path and the query, the body. Each failure is a problem. Out of scope: what
//! they are for.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{FromRequestParts, Path, Query},
};
use http::{HeaderMap, StatusCode, header, request::Parts};
use serde::{Deserialize, de::DeserializeOwned};

use super::Api;
use crate::{office::problem::Problem, office_keys::Caller};

/// How long a body may take to come.
const SLOWEST_BODY: Duration = Duration::from_secs(30);

/// A caller who has signed in, and what stands beside the call.
pub(super) struct Known<Q> {
    pub(super) caller: Caller,
    pub(super) headers: HeaderMap,
    pub(super) query: Q,
}

/// No parameters.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// Of one provider, or of all.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OfProvider {
    pub(super) provider: Option<String>,
}

impl<Q: DeserializeOwned + Send> FromRequestParts<Arc<Api>> for Known<Q> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        let authorization = match parts.headers.get(header::AUTHORIZATION) {
            Some(value) => Some(value.to_str().map_err(|_| Problem::not_signed_in())?),
            None => None,
        };
        let caller = api.sign_in.caller(authorization, parts.extensions.get()).ok_or_else(Problem::not_signed_in)?;
        let query = Query::<Q>::from_request_parts(parts, api).await;
        let Query(query) = query.map_err(|rejection| Problem::malformed(rejection.body_text()))?;
        Ok(Self { caller, headers: parts.headers.clone(), query })
    }
}

/// A citizens' portal that has signed in.
pub(super) struct KnownPortal {
    pub(super) portal: String,
    pub(super) headers: HeaderMap,
}

impl FromRequestParts<Arc<Api>> for KnownPortal {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        let authorization = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let portal = api.sign_in.portal(authorization).ok_or_else(Problem::not_signed_in)?;
        Ok(Self { portal, headers: parts.headers.clone() })
    }
}

/// The one part of a path that varies.
pub(super) struct Id(pub(super) String);

impl FromRequestParts<Arc<Api>> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, api).await;
        path.map(|Path(id)| Self(id)).map_err(|rejection| Problem::malformed(rejection.body_text()).at("id"))
    }
}

/// The longest idempotency key.
const LONGEST_KEY: usize = 64;

/// The header, with or without the quotation marks of a structured field; empty where it is not there.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<String, Problem> {
    let text = text(headers, "idempotency-key")?;
    let key = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    if key.len() > LONGEST_KEY {
        return Err(Problem::malformed(format!("an idempotency key has at most {LONGEST_KEY} characters"))
            .at("Idempotency-Key"));
    }
    Ok(key.to_owned())
}

/// Reads a body as JSON.
pub(super) async fn read<T: DeserializeOwned>(api: &Api, headers: &HeaderMap, body: Body) -> Result<T, Problem> {
    read_most(api.largest_body, "largest_body_kib", headers, body).await
}

/// Reads a body with many rows as JSON.
pub(super) async fn read_large<T: DeserializeOwned>(api: &Api, headers: &HeaderMap, body: Body) -> Result<T, Problem> {
    read_most(api.largest_batch, "largest_batch_kib", headers, body).await
}

async fn read_most<T: DeserializeOwned>(
    most: usize,
    setting: &str,
    headers: &HeaderMap,
    body: Body,
) -> Result<T, Problem> {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/json") {
        let next_step = "send JSON with `Content-Type: application/json`";
        let title = "The body is not of a type that this address takes";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "MEDIA_TYPE_UNSUPPORTED", title, next_step));
    }
    let read = tokio::time::timeout(SLOWEST_BODY, axum::body::to_bytes(body, most)).await;
    let bytes = match read {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(error)) => {
            let source = std::error::Error::source(&error);
            if source.is_some_and(|source| source.is::<http_body_util::LengthLimitError>()) {
                let next_step = format!("send less; [office] {setting} in node.toml is the limit");
                let title = "The body is larger than this port takes";
                return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "BODY_TOO_LARGE", title, &next_step)
                    .because(format!("at most {most} bytes are taken")));
            }
            return Err(Problem::malformed("the body was cut short"));
        }
        Err(_) => return Err(Problem::malformed("the body did not come in time")),
    };
    serde_json::from_slice(&bytes).map_err(|error| Problem::malformed(error.to_string()))
}

/// A header as text; empty where it is not there.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<&'a str, Problem> {
    let unreadable = |_| Problem::malformed(format!("the header {name} holds other than plain ASCII")).at(name);
    headers.get(name).map_or(Ok(""), |value| value.to_str().map_err(unreadable))
}
