//! The office port's gRPC service. Each call shows an API key or a client certificate, on loopback too: being on the same
//! machine is not signing in. On the admin socket the kernel has said who calls, and no key is asked for. Translates, and
//! decides nothing. Out of scope: what an office can do (`office`).

pub mod items;

use std::{sync::Arc, time::Duration};

use proto::office::v1::{
    ExportEvidenceRequest, ExportEvidenceResponse, FetchRequest, ListServicesRequest, ListServicesResponse,
    ListVerificationsRequest, ListVerificationsResponse, ServiceSummary, ShowRequest, State, VerifyRequest,
    VerifyResponse,
    verifications_server::{Verifications, VerificationsServer},
};
use tonic::{Request, Response, Status, metadata::MetadataMap};

use crate::{
    ask::OfficeQuestion,
    asked::{Asked, Ending, ticket_of},
    office::{
        Failure, Office, Seen, ServiceSeen,
        cursor::{cursor_of, most_of, place_of},
        sign_in::SignIn,
        trace_of,
    },
    office_keys::Caller,
};

/// The largest message on this port, in bytes.
pub const LARGEST_MESSAGE: usize = 64 * 1024;

/// How many verifications a page has where nobody says how many.
const USUAL_PAGE: usize = 50;

/// How many it has at most.
const LARGEST_PAGE: usize = 200;

/// The service's full name, for health.
pub const SERVICE: &str = "office.v1.Verifications";

/// The service for office systems.
#[derive(Clone)]
pub struct OfficeEdge {
    /// What they can do.
    pub office: Arc<Office>,
    /// How they sign in; `None` on the admin socket.
    pub sign_in: Option<SignIn>,
}

impl OfficeEdge {
    /// As a tonic service with its limit on messages.
    pub fn server(&self) -> VerificationsServer<Self> {
        VerificationsServer::new(self.clone()).max_decoding_message_size(LARGEST_MESSAGE)
    }

    /// Who calls.
    fn caller<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        signed_in(self.sign_in.as_ref(), request)
    }
}

/// Who calls; an operator, who needs no key, on the admin socket.
pub(crate) fn signed_in<T>(sign_in: Option<&SignIn>, request: &Request<T>) -> Result<Caller, Status> {
    let Some(sign_in) = sign_in else { return Ok(Caller::default()) };
    let presented = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
    let caller = sign_in.caller(presented, request.extensions().get());
    caller.ok_or_else(|| {
        Status::unauthenticated(
            "an office key is needed: metadata `authorization: Bearer <key>`; `exchange-node office-key add` makes one",
        )
    })
}

#[tonic::async_trait]
impl Verifications for OfficeEdge {
    async fn verify(&self, request: Request<VerifyRequest>) -> Result<Response<VerifyResponse>, Status> {
        let caller = self.caller(&request)?;
        let metadata = request.metadata();
        let trace = metadata.get("x-request-id").and_then(|value| value.to_str().ok()).and_then(trace_of);
        let deadline = deadline(metadata);
        let mut question = question(request.into_inner(), trace);
        question.shorten(deadline);
        Ok(Response::new(response(self.office.ask(&caller, question).await?)))
    }

    async fn show(&self, request: Request<ShowRequest>) -> Result<Response<VerifyResponse>, Status> {
        let caller = self.caller(&request)?;
        let receipt = request.into_inner().receipt;
        let mut shown = response(self.office.show(&caller, &receipt).await?);
        // Of a batch it names the item.
        if let Some((_, item)) = receipt.trim().split_once('/') {
            shown.receipt = format!("{}/{item}", shown.receipt);
        }
        Ok(Response::new(shown))
    }

    async fn list(
        &self,
        request: Request<ListVerificationsRequest>,
    ) -> Result<Response<ListVerificationsResponse>, Status> {
        let caller = self.caller(&request)?;
        let ListVerificationsRequest { limit, cursor, state } = request.into_inner();
        let state = State::try_from(state).map_err(|_| Status::invalid_argument("state: there is no such state"))?;
        let most = most_of(limit, USUAL_PAGE, LARGEST_PAGE);
        let state = state_word(state).map(str::to_owned);
        let (found, next) = self.office.list(&caller, place_of(&cursor)?, most, state).await?;
        Ok(Response::new(ListVerificationsResponse {
            verifications: found.into_iter().map(response).collect(),
            next_cursor: next.map(cursor_of).unwrap_or_default(),
        }))
    }

    async fn fetch(&self, request: Request<FetchRequest>) -> Result<Response<VerifyResponse>, Status> {
        let caller = self.caller(&request)?;
        Ok(Response::new(response(self.office.fetch(&caller, &request.into_inner().ticket).await?)))
    }

    async fn export_evidence(
        &self,
        request: Request<ExportEvidenceRequest>,
    ) -> Result<Response<ExportEvidenceResponse>, Status> {
        let caller = self.caller(&request)?;
        let bundle = self.office.evidence(&caller, &request.into_inner().receipt).await?;
        Ok(Response::new(ExportEvidenceResponse { bundle }))
    }

    async fn list_services(
        &self,
        request: Request<ListServicesRequest>,
    ) -> Result<Response<ListServicesResponse>, Status> {
        let caller = self.caller(&request)?;
        let services = self.office.services(&caller, &request.into_inner().provider)?;
        Ok(Response::new(ListServicesResponse { services: services.into_iter().map(summary).collect() }))
    }
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Malformed { .. } | Failure::Unusable { .. } => Status::invalid_argument(failure.to_string()),
            Failure::NotFound(reason) => Status::not_found(reason),
            Failure::InTheWay(reason) => Status::failed_precondition(reason),
            Failure::Task(_) => Status::internal(failure.to_string()),
            Failure::Unavailable(reason) => Status::unavailable(reason),
        }
    }
}

/// How long the caller waits, as gRPC says it: at most eight digits and a unit.
pub(crate) fn deadline(metadata: &MetadataMap) -> Option<Duration> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    match unit {
        "H" => Some(Duration::from_secs(number.saturating_mul(3600))),
        "M" => Some(Duration::from_secs(number.saturating_mul(60))),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

/// A state's name, as endings have it.
fn state_word(state: State) -> Option<&'static str> {
    match state {
        State::Unspecified => None,
        State::Answered => Some("answered"),
        State::Refused => Some("refused"),
        State::Unanswered => Some("unanswered"),
        State::Deferred => Some("deferred"),
    }
}

fn summary(service: ServiceSeen) -> ServiceSummary {
    let attribute = |attribute: &crate::office::AttributeSeen| {
        format!("{}: {} ({})", attribute.name, attribute.ty, attribute.operators.join(", "))
    };
    ServiceSummary {
        provider: service.id.department.to_string(),
        service: service.id.service.to_string(),
        major_version: service.id.major,
        name_zh: service.name_zh,
        name_en: service.name_en,
        sharing: service.sharing.to_owned(),
        state: service.state.to_owned(),
        may_ask: service.may_ask,
        attributes: service.attributes.iter().map(attribute).collect(),
    }
}

pub(crate) fn question(request: VerifyRequest, trace: Option<String>) -> OfficeQuestion {
    OfficeQuestion {
        provider: request.provider,
        service: request.service,
        service_version: request.service_version,
        subject: request.subject,
        inputs: request.inputs,
        claims: request.claims,
        purpose: request.purpose,
        case_number: request.case_number,
        officer: request.officer,
        system: String::new(),
        authorisation: request.authorisation,
        idempotency_key: request.idempotency_key,
        max_record_age_seconds: request.max_record_age_seconds,
        timeout_ms: request.timeout_ms,
        unreached_ms: 0,
        accepts_deferral: request.accepts_deferral,
        subscribe_until_ms: None,
        uncharged: false,
        trace,
        also_about: Vec::new(),
    }
}

/// A verification as it stands in a response.
pub(crate) fn response(seen: Seen) -> VerifyResponse {
    let Seen { asked, notice, from_the_other_side, .. } = seen;
    VerifyResponse { notice, from_the_other_side, ..response_of(asked) }
}

pub(crate) fn response_of(asked: Asked) -> VerifyResponse {
    let mut response = VerifyResponse {
        receipt: asked.receipt.to_string(),
        request_digest: asked.request_digest.map(|digest| digest.to_string()).unwrap_or_default(),
        provider: asked.provider,
        service: asked.service,
        elapsed_ms: asked.elapsed.as_secs_f64() * 1000.0,
        asked_at_ms: asked.asked_at_ms,
        case_number: asked.case_number,
        item: asked.item,
        officer: asked.officer,
        clerk: asked.clerk,
        answer_number: asked.number,
        correction: asked.correction,
        ..VerifyResponse::default()
    };
    match asked.ending {
        Ending::Answered { verdicts, record_as_of } => {
            response.set_state(State::Answered);
            response.verdicts = verdicts;
            response.record_as_of = record_as_of;
        }
        Ending::Deferred(deferral) => {
            response.set_state(State::Deferred);
            response.ticket = asked.request_digest.as_ref().map(ticket_of).unwrap_or_default();
            response.deferral = Some(deferral);
        }
        Ending::Refused { refusal, by } => {
            response.set_state(State::Refused);
            response.refusal = Some(refusal);
            response.refused_by = by.unwrap_or_else(|| "own node".to_owned());
        }
        Ending::Unanswered { reason, verdicts } => {
            response.set_state(State::Unanswered);
            response.unanswered = reason;
            response.verdicts = verdicts;
        }
    }
    response
}
