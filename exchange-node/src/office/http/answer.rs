//! How a result goes back: as JSON with an ETag that changes with its content, so that whoever has it already is told so.
//! Out of scope: problems (`office::problem`).

use axum::response::{IntoResponse, Response};
use data_encoding::HEXLOWER;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;
use sha2::{Digest, Sha256};

/// It may hold personal data, and may change: nobody in between keeps it, and whoever asked checks before he uses it again.
const CACHING: &str = "private, no-cache";

/// A document as it stands now, or that the caller has it already.
pub(super) fn document(asked: &HeaderMap, content: &impl Serialize) -> Response {
    let (body, tag) = written(content);
    let known = asked.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let is_known = known
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .any(|candidate| candidate == "*" || candidate.strip_prefix("W/").unwrap_or(candidate) == tag);
    if is_known {
        return tagged((StatusCode::NOT_MODIFIED, [(header::CACHE_CONTROL, CACHING)]).into_response(), &tag);
    }
    tagged(json(StatusCode::OK, body), &tag)
}

/// A result that has no address of its own.
pub(super) fn uncached(content: &impl Serialize) -> Response {
    json(StatusCode::OK, written(content).0)
}

/// Something that was made, with its address.
pub(super) fn made(status: StatusCode, location: &str, content: &impl Serialize) -> Response {
    let (body, tag) = written(content);
    let mut response = tagged(json(status, body), &tag);
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

fn written(content: &impl Serialize) -> (Vec<u8>, String) {
    // Plain structures of numbers and texts; they can always be written.
    let body = serde_json::to_vec(content).unwrap_or_default();
    let tag = format!("\"{}\"", HEXLOWER.encode(&Sha256::digest(&body)[..16]));
    (body, tag)
}

fn json(status: StatusCode, body: Vec<u8>) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, CACHING)];
    (status, headers, body).into_response()
}

fn tagged(mut response: Response, tag: &str) -> Response {
    if let Ok(tag) = HeaderValue::from_str(tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}
