//! What an office system is told when its call does not succeed: RFC 9457 problem details with the stable code, the field and
//! the next step. A refusal is one of them: it is an outcome with a receipt, and the HTTP status says what kind. Out of
//! scope: gRPC, where a refusal is a result of its own (`office_edge`).

use std::collections::BTreeMap;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use proto::exchange::v1 as wire;
use serde::Serialize;
use trust::refusal::Code;
use utoipa::{
    IntoResponses, PartialSchema, ToSchema,
    openapi::{ContentBuilder, Header, ObjectBuilder, Ref, RefOr, ResponseBuilder, ResponsesBuilder, Type, response},
};

use super::{Failure, json::timestamp};

/// The media type.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// How long to wait where nothing better is known, in seconds.
const USUAL_PAUSE: u64 = 5;

/// Why a call did not succeed. Boxed: it is passed on through many results that are small otherwise.
#[derive(Debug)]
pub struct Problem(Box<Details>);

/// Why a call did not succeed (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct Details {
    /// A URN that names the kind of problem.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in one sentence.
    pub title: String,
    /// The HTTP status, repeated.
    #[schema(minimum = 400, maximum = 599)]
    pub status: u16,
    /// What is wrong here.
    pub detail: String,
    /// The stable code; docs/protocol.md lists those of refusals.
    pub code: String,
    /// The field of the request that is at fault, for example `claims[0].operator`; empty where none is.
    pub field: String,
    /// What to do next.
    pub next_step: String,
    /// When to try again, RFC 3339; only where that helps.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub retry_at: Option<String>,
    /// Who refused: `own node`, or `<exchange>/<department>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused_by: Option<String>,
    /// The verification that was refused, as a path: the refusal is in the evidence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// How long to wait, in seconds.
    #[serde(skip)]
    retry_after: Option<u64>,
}

impl Problem {
    /// A problem with a code of this port alone.
    pub fn new(status: StatusCode, code: &str, title: &str, next_step: &str) -> Self {
        Self(Box::new(Details {
            kind: format!("urn:errand:problem:{code}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: title.to_owned(),
            code: code.to_owned(),
            field: String::new(),
            next_step: next_step.to_owned(),
            retry_at: None,
            refused_by: None,
            instance: None,
            retry_after: (status == StatusCode::SERVICE_UNAVAILABLE).then_some(USUAL_PAUSE),
        }))
    }

    /// Says what is wrong here.
    #[must_use]
    pub fn because(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = detail.into();
        self
    }

    /// Names the field at fault.
    #[must_use]
    pub fn at(mut self, field: impl Into<String>) -> Self {
        self.0.field = field.into();
        self
    }

    /// Names the verification that it is about, by its path.
    #[must_use]
    pub fn of(mut self, instance: String) -> Self {
        self.0.instance = Some(instance);
        self
    }

    /// Names what the field at fault stands in.
    #[must_use]
    pub fn within(mut self, outer: &str) -> Self {
        self.0.field = format!("{outer}.{}", self.0.field);
        self
    }

    /// Nobody has signed in.
    pub fn not_signed_in() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "NOT_SIGNED_IN",
            "The call shows no API key or client certificate that counts",
            "send `Authorization: Bearer <key>`; `exchange-node office-key add` makes one",
        )
    }

    /// The body is not what it should be.
    pub fn malformed(detail: impl Into<String>) -> Self {
        let detail = detail.into();
        let field = field_of(&detail);
        let title = "The request cannot be read";
        let next_step = "correct the request; /openapi.json and /docs have its form";
        Self::new(StatusCode::BAD_REQUEST, "REQUEST_MALFORMED", title, next_step).because(detail).at(field)
    }

    /// A value that has the right form and cannot be meant.
    pub fn unusable(field: impl Into<String>, detail: impl Into<String>) -> Self {
        let code = Code::MessageMalformed;
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code.as_str(), code.message(), code.next_step())
            .because(detail)
            .at(field)
    }

    /// There is nothing at this address.
    pub fn nothing_here(path: &str) -> Self {
        let next_step = "compare the address with /docs";
        let title = "There is nothing at this address";
        Self::new(StatusCode::NOT_FOUND, "ADDRESS_UNKNOWN", title, next_step).because(format!("{title}: {path}"))
    }

    /// A refusal, by this node or the other.
    pub fn refused(refusal: &wire::Refusal, by: Option<&str>, now_ms: u64) -> Self {
        let code = Code::ALL.iter().copied().find(|code| code.as_str() == refusal.code);
        let status = code.map_or(StatusCode::UNPROCESSABLE_ENTITY, status_of);
        let title = code.map_or("Refused", Code::message);
        let retry_at_ms = refusal.retry_at_ms;
        let mut problem = Self::new(status, &refusal.code, title, &refusal.next_step)
            .because(refusal.message.as_str())
            .at(refusal.field.as_str());
        problem.0.kind = format!("urn:errand:refusal:{}", refusal.code);
        problem.0.refused_by = Some(by.unwrap_or("own node").to_owned());
        if retry_at_ms > 0 {
            problem.0.retry_at = Some(timestamp(retry_at_ms));
            problem.0.retry_after = Some(seconds_until(retry_at_ms, now_ms));
        } else if status == StatusCode::TOO_MANY_REQUESTS {
            problem.0.retry_after = Some(USUAL_PAUSE);
        }
        problem
    }
}

/// The seconds until a time, at least one.
pub(super) fn seconds_until(at_ms: u64, now_ms: u64) -> u64 {
    at_ms.saturating_sub(now_ms).div_ceil(1000).max(1)
}

/// The name in backticks that serde puts into its sentences.
fn field_of(detail: &str) -> String {
    let named = ["unknown field `", "missing field `", "duplicate field `"];
    let rest = named.iter().find_map(|start| detail.split_once(start).map(|(_, rest)| rest));
    rest.and_then(|rest| rest.split('`').next()).unwrap_or_default().to_owned()
}

/// Which kind a refusal is.
fn status_of(code: Code) -> StatusCode {
    match code {
        Code::GuessBudgetSpent | Code::Overloaded | Code::QuotaExceeded => StatusCode::TOO_MANY_REQUESTS,
        Code::ClockBackwards
        | Code::DirectoryDiverges
        | Code::DirectoryExpired
        | Code::EvidenceLogClosed
        | Code::EvidenceRewritten
        | Code::KeyExpired
        | Code::KeyNotYetValid
        | Code::KeyRevoked
        | Code::KeyUnknown
        | Code::ProviderUnreachable
        | Code::RegistryCatchingUp
        | Code::RequestFromFuture
        | Code::WireVersionUnsupported => StatusCode::SERVICE_UNAVAILABLE,
        Code::AttributeNotCovered
        | Code::AuthorisationExpired
        | Code::AuthorisationMissing
        | Code::AuthorisationNotCovering
        | Code::ClerkDeclined
        | Code::DepartmentClosed
        | Code::DepartmentSuspended
        | Code::DisclosureNotCovered
        | Code::GrantExpired
        | Code::GrantHandedOver
        | Code::GrantMissing
        | Code::GrantNotYetValid
        | Code::GrantRevoked
        | Code::GrantSuspended
        | Code::OfficeKeyNotCovering
        | Code::OperatorNotCovered
        | Code::PurposeNotCovered
        | Code::ServiceHandedOver
        | Code::ServiceNotReviewed
        | Code::ServiceNotShared
        | Code::ServiceSuspended
        | Code::ServiceWithdrawn
        | Code::SubscriptionNotGranted
        | Code::SystemNotCovered => StatusCode::FORBIDDEN,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Malformed { field, reason } => Self::malformed(reason).at(field),
            Failure::NotFound(reason) => Self::new(
                StatusCode::NOT_FOUND,
                "NOT_FOUND",
                "There is no such thing",
                "compare it character by character; the lists under /v1 show what there is for this office system",
            )
            .because(reason),
            Failure::InTheWay(reason) => {
                let title = "Something that is there already stands in the way";
                Self::new(StatusCode::CONFLICT, "IN_THE_WAY", title, "look at what is there, then decide")
                    .because(reason)
            }
            Failure::Task(error) => Self::unavailable(error.to_string()),
            Failure::Unusable { field, reason } => Self::unusable(field, reason),
            Failure::Unavailable(reason) => Self::unavailable(reason),
        }
    }
}

impl Problem {
    fn unavailable(reason: String) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "NODE_UNAVAILABLE",
            "This node cannot do that now",
            "try again later with the same Idempotency-Key; `exchange-node doctor` says what is wrong",
        )
        .because(reason)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self(details) = self;
        let status = StatusCode::from_u16(details.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        // Plain texts; they can always be written.
        let body = serde_json::to_vec(&details).unwrap_or_default();
        let mut response = (status, [(header::CONTENT_TYPE, MEDIA_TYPE)], body).into_response();
        if let Some(seconds) = details.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// The problems that any call can meet, for the OpenAPI document.
pub struct Problems;

/// The statuses with their meaning.
const STATUSES: [(&str, &str); 11] = [
    ("400", "The request cannot be read: no JSON, an unknown field, a wrong type."),
    ("401", "The call shows no API key or client certificate that counts."),
    ("403", "Refused: no grant, or the grant, the service or this office system's key does not cover it."),
    ("404", "There is no such thing, or it is not for this office system."),
    ("405", "The address does not take this method."),
    ("409", "Something that is there already stands in the way."),
    ("413", "The body is larger than this port takes."),
    ("415", "The body is not `application/json`."),
    ("422", "Refused: the question can be read, and is not one that can be asked."),
    ("429", "Refused: a quota, a guess budget or the node's own limit is used up for now."),
    ("503", "This node cannot do that now."),
];

impl IntoResponses for Problems {
    fn responses() -> BTreeMap<String, RefOr<response::Response>> {
        let mut responses = ResponsesBuilder::new();
        for (status, meaning) in STATUSES {
            let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
            let mut made = ResponseBuilder::new().description(meaning).content(MEDIA_TYPE, content);
            if matches!(status, "429" | "503") {
                let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).build();
                made = made.header("Retry-After", Header::new(seconds));
            }
            responses = responses.response(status, made.build());
        }
        responses.build().into()
    }
}

impl Problems {
    /// The schema that they all have.
    pub fn schema() -> (String, RefOr<utoipa::openapi::Schema>) {
        ("Problem".to_owned(), Details::schema())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_a_documented_status() {
        for code in Code::ALL {
            let refusal = trust::refusal::Refusal::new(*code).to_wire();
            let problem = Problem::refused(&refusal, None, 0);
            let status = problem.0.status.to_string();
            assert!(STATUSES.iter().any(|(known, _)| *known == status), "{code}: {status}");
            assert!(!problem.0.next_step.is_empty() && !problem.0.title.is_empty());
        }
    }

    #[test]
    fn a_problem_names_field_and_time() {
        let refusal = trust::refusal::Refusal::new(Code::QuotaExceeded).at("service").retry_at(10_500).to_wire();
        let response = Problem::refused(&refusal, Some("ninghe/civil-affairs"), 1_000).into_response();
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()[header::RETRY_AFTER], "10");
        assert_eq!(response.headers()[header::CONTENT_TYPE], MEDIA_TYPE);
        assert_eq!(Problem::malformed("unknown field `colour`, expected one of").0.field, "colour");
    }
}
