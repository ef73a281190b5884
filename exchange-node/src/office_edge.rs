//! The port for the department's own office systems. Each call shows an API key, on loopback too: being on the same
//! machine is not signing in. On the admin socket the kernel has said who calls, and no key is asked for. Out of scope:
//! what becomes of a question (`ask`).

use std::sync::Arc;

use host::{clock::Clock, random::Random};
use proto::office::v1::{
    ExportEvidenceRequest, ExportEvidenceResponse, FetchRequest, ListServicesRequest, ListServicesResponse,
    ServiceSummary, ShowRequest, State, VerifyRequest, VerifyResponse,
    verifications_server::{Verifications, VerificationsServer},
};
use tonic::{Request, Response, Status, metadata::MetadataMap};
use trust::{
    evidence::{ItemReceipt, Receipt},
    ids::{DepartmentId, Party, ServiceId},
    service::{Service, Sharing},
};

use crate::{
    ask::{Asked, Asker, Ending, Error, NotFound, OfficeQuestion},
    clerk::ticket_of,
    export::Exporter,
    journal::JournalError,
    notices,
    office_keys::OfficeKeys,
    view::View,
};

/// The largest message on this port, in bytes.
pub const LARGEST_MESSAGE: usize = 64 * 1024;

/// The service's full name, for health.
pub const SERVICE: &str = "office.v1.Verifications";

/// The service for office systems.
#[derive(Clone)]
pub struct OfficeEdge {
    /// The department.
    pub me: Party,
    /// Asks.
    pub asker: Arc<Asker>,
    /// Exports evidence.
    pub exporter: Arc<Exporter>,
    /// The directory.
    pub view: Arc<View>,
    /// The keys that open it; `None` on the admin socket.
    pub keys: Option<Arc<OfficeKeys>>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness, for request ids that are not given.
    pub random: Arc<dyn Random>,
}

impl OfficeEdge {
    /// As a tonic service with its limit on messages.
    pub fn server(&self) -> VerificationsServer<Self> {
        VerificationsServer::new(self.clone()).max_decoding_message_size(LARGEST_MESSAGE)
    }

    fn response(&self, asked: Asked) -> VerifyResponse {
        let notice = self.notice(&asked);
        VerifyResponse { notice, ..response(asked) }
    }

    /// What the office should know of the service that it asked.
    fn notice(&self, asked: &Asked) -> String {
        let service = asked.provider.parse::<Party>().ok().zip(asked.service.parse().ok());
        let Some((provider, service)) = service else { return String::new() };
        let id = ServiceId { department: provider.department().clone(), service, major: asked.service_version };
        notices::hint(self.view.seen().directory(), &id, self.clock.now_ms())
    }

    /// The office system that calls; empty for an operator.
    pub(crate) fn system(&self, metadata: &MetadataMap) -> Result<String, Status> {
        signed_in(self.keys.as_deref(), metadata)
    }
}

/// The office system that calls; empty for an operator, who needs no key on the admin socket.
pub(crate) fn signed_in(keys: Option<&OfficeKeys>, metadata: &MetadataMap) -> Result<String, Status> {
    let Some(keys) = keys else { return Ok(String::new()) };
    let presented = metadata.get("authorization").and_then(|value| value.to_str().ok());
    let key = presented.and_then(|text| text.strip_prefix("Bearer "));
    key.and_then(|key| keys.system_of(key.trim())).ok_or_else(|| {
        Status::unauthenticated(
            "an office key is needed: metadata `authorization: Bearer <key>`; `exchange-node office-key add` makes one",
        )
    })
}

#[tonic::async_trait]
impl Verifications for OfficeEdge {
    async fn verify(&self, request: Request<VerifyRequest>) -> Result<Response<VerifyResponse>, Status> {
        let system = self.system(request.metadata())?;
        let trace = trace_of(request.metadata());
        let (asker, question) = (Arc::clone(&self.asker), question(request.into_inner(), system, trace));
        // In a task of its own: where the office hangs up, what became of the question is still recorded.
        let asked = tokio::spawn(async move { asker.ask(question).await }).await;
        let asked = asked.map_err(|error| Status::internal(error.to_string()))?.map_err(|error| failed(&error))?;
        Ok(Response::new(self.response(asked)))
    }

    async fn show(&self, request: Request<ShowRequest>) -> Result<Response<VerifyResponse>, Status> {
        self.system(request.metadata())?;
        let (receipt, item) = read_receipt(&request.into_inner().receipt)?;
        let asker = Arc::clone(&self.asker);
        // An old receipt may lie in a month that must be opened first.
        let shown = tokio::task::spawn_blocking(move || {
            let shown = match item {
                None => asker.show(&receipt),
                Some(item) => asker.show_item(&receipt, item),
            };
            shown.map(|asked| (asked, asker.is_from_the_other_side(&receipt)))
        })
        .await;
        match shown.map_err(|error| Status::internal(error.to_string()))? {
            Ok((asked, from_the_other_side)) => {
                let mut response = VerifyResponse { from_the_other_side, ..self.response(asked) };
                if let Some(item) = item {
                    response.receipt = format!("{receipt}/{item}");
                }
                Ok(Response::new(response))
            }
            Err(NotFound::Failed(error)) => Err(failed(&error)),
            Err(error) => Err(Status::not_found(error.to_string())),
        }
    }

    async fn fetch(&self, request: Request<FetchRequest>) -> Result<Response<VerifyResponse>, Status> {
        self.system(request.metadata())?;
        let ticket = request.into_inner().ticket;
        let asker = Arc::clone(&self.asker);
        // In a task of its own: where the office hangs up, what came is still recorded.
        let fetched = tokio::spawn(async move {
            match ticket.parse::<Receipt>() {
                Ok(receipt) => asker.fetch_by_receipt(&receipt).await,
                Err(_) => asker.fetch_by_ticket(ticket.trim()).await,
            }
        });
        match fetched.await.map_err(|error| Status::internal(error.to_string()))? {
            Ok(asked) => Ok(Response::new(self.response(asked))),
            Err(NotFound::Failed(error)) => Err(failed(&error)),
            Err(NotFound::Unknown) => Err(Status::not_found("this node awaits no answer with this ticket or receipt")),
            Err(error) => Err(Status::not_found(error.to_string())),
        }
    }

    async fn export_evidence(
        &self,
        request: Request<ExportEvidenceRequest>,
    ) -> Result<Response<ExportEvidenceResponse>, Status> {
        self.system(request.metadata())?;
        let (receipt, item) = read_receipt(&request.into_inner().receipt)?;
        let exporter = Arc::clone(&self.exporter);
        let exported = tokio::task::spawn_blocking(move || exporter.export_item(&receipt, item)).await;
        match exported.map_err(|error| Status::internal(error.to_string()))? {
            Ok(bundle) => Ok(Response::new(ExportEvidenceResponse { bundle })),
            Err(error) => Err(Status::not_found(error.to_string())),
        }
    }

    async fn list_services(
        &self,
        request: Request<ListServicesRequest>,
    ) -> Result<Response<ListServicesResponse>, Status> {
        self.system(request.metadata())?;
        let provider = request.into_inner().provider;
        let only: Option<DepartmentId> = match provider.as_str() {
            "" => None,
            text => Some(text.parse().map_err(|error| Status::invalid_argument(format!("provider: {error}")))?),
        };
        let seen = self.view.seen();
        let directory = seen.directory();
        let now_ms = self.clock.now_ms();
        let services = directory
            .services()
            .filter(|service| only.as_ref().is_none_or(|only| service.id.department == *only))
            .map(|service| {
                let granted = directory
                    .access_between(&service.id.department, self.me.department())
                    .filter(|(_, access)| access.state == trust::directory::model::AccessState::Granted)
                    .filter_map(|(_, access)| access.granted.as_ref())
                    .any(|granted| {
                        granted.service == service.id.service.as_str()
                            && granted.major_version == service.id.major
                            && (granted.valid_until_ms == 0 || now_ms < granted.valid_until_ms)
                    });
                summary(service, granted, now_ms)
            })
            .collect();
        Ok(Response::new(ListServicesResponse { services }))
    }
}

fn summary(service: &Service, granted: bool, now_ms: u64) -> ServiceSummary {
    let name = service.published.name.clone().unwrap_or_default();
    let (sharing, may_ask) = match service.sharing {
        Sharing::Conditional => ("conditional", granted),
        Sharing::NotShared => ("not_shared", false),
        Sharing::Unconditional => ("unconditional", true),
    };
    let attributes = service
        .attributes
        .values()
        .map(|rule| {
            let operators: Vec<&str> = rule.operators().iter().map(|operator| operator.as_str()).collect();
            format!("{}: {} ({})", rule.name(), rule.ty().ty(), operators.join(", "))
        })
        .collect();
    ServiceSummary {
        provider: service.id.department.to_string(),
        service: service.id.service.to_string(),
        major_version: service.id.major,
        name_zh: name.zh,
        name_en: name.en,
        sharing: sharing.to_owned(),
        state: notices::state_word(service, now_ms).to_owned(),
        may_ask,
        attributes,
    }
}

fn question(request: VerifyRequest, system: String, trace: Option<String>) -> OfficeQuestion {
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
        system,
        authorisation: request.authorisation,
        idempotency_key: request.idempotency_key,
        max_record_age_seconds: request.max_record_age_seconds,
        timeout_ms: request.timeout_ms,
        accepts_deferral: request.accepts_deferral,
        trace,
        also_about: Vec::new(),
    }
}

pub(crate) fn response(asked: Asked) -> VerifyResponse {
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

/// A receipt, and which item of a batch it is about.
fn read_receipt(text: &str) -> Result<(Receipt, Option<usize>), Status> {
    let malformed = |error: trust::evidence::NotAReceipt| Status::invalid_argument(format!("receipt: {error}"));
    let ItemReceipt { receipt, item } = text.parse().map_err(malformed)?;
    Ok((receipt, item))
}

/// An office may bring its own id for the logs; one that could carry personal data is not taken.
fn trace_of(metadata: &MetadataMap) -> Option<String> {
    let text = metadata.get("x-request-id")?.to_str().ok()?;
    let plain = |byte: u8| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase() || byte == b'-';
    // At least one letter: a resident number is digits alone, or digits and an X.
    let ok =
        (8..=64).contains(&text.len()) && text.bytes().all(plain) && text.bytes().any(|byte| byte.is_ascii_lowercase());
    ok.then(|| text.to_owned())
}

fn failed(error: &Error) -> Status {
    if let Error::Journal(JournalError::Held { reason }) = error {
        return Status::unavailable(reason.as_str());
    }
    tracing::error!(%error, "a question could not be asked or read back");
    Status::unavailable(error.to_string())
}
