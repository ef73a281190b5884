//! The operators' service for the life of this department's data services. Translates; what a description does to the
//! directory is `service_change`'s, and what became of others' services is `notices`'.

use std::sync::Arc;

use proto::{
    admin::v1::{
        DescribeAction, DescribeServiceRequest, DescribeServiceResponse, ListServiceNoticesRequest,
        ListServiceNoticesResponse, ResumeServiceRequest, ServiceDifference, ServiceNotice, StatementResponse,
        SuspendServiceRequest, WithdrawServiceRequest, WithdrawServiceResponse,
        services_server::{Services, ServicesServer},
    },
    registry::v1::{ServiceResumed, ServiceReviews, ServiceSuspended, ServiceWithdrawn, statement::Body},
};
use tonic::{Request, Response, Status};
use trust::{
    directory::{Directory, Object},
    ids::ServiceId,
    refusal::{Code, Refusal},
    service::{
        catalogue,
        compatibility::{Difference, Effect},
    },
};

use super::{Answer, LARGEST_MESSAGE, answers::refused, lookup::own_service, stated};
use crate::{
    notices,
    parts::Parts,
    service_change::{self, Action, Outcome, Prepared},
};

/// A withdrawal that is told as late as allowed is dated so much later, so that it is not too late when it arrives.
const ON_THE_WAY_MS: u64 = 60_000;

/// The operators' service.
#[derive(Clone)]
pub struct ServicesEdge {
    parts: Arc<Parts>,
}

impl ServicesEdge {
    /// The service of a running node.
    pub fn new(parts: Parts) -> Self {
        Self { parts: Arc::new(parts) }
    }

    /// As a tonic service with its limit on messages.
    pub fn server(&self) -> ServicesServer<Self> {
        ServicesServer::new(self.clone()).max_decoding_message_size(LARGEST_MESSAGE)
    }

    fn own(&self, service: &str, major: u32) -> Result<ServiceId, Refusal> {
        let seen = self.parts.view.seen();
        own_service(seen.directory(), &self.parts.config.department, service, major)
            .ok_or_else(|| Refusal::new(Code::ServiceUnknown).at("service"))
    }

    async fn state(&self, id: ServiceId, body: Body) -> Result<StatementResponse, Status> {
        stated(self.parts.publisher.publish(&Object::Service(id), body).await)
    }
}

#[tonic::async_trait]
impl Services for ServicesEdge {
    async fn describe(&self, request: Request<DescribeServiceRequest>) -> Answer<DescribeServiceResponse> {
        let request = request.into_inner();
        let action = match request.action() {
            DescribeAction::Publish => Action::Publish,
            DescribeAction::Change => Action::Change,
            DescribeAction::Compare => Action::Compare,
            DescribeAction::Unspecified => return Err(Status::invalid_argument("action: is missing")),
        };
        let mut service = request.service.ok_or_else(|| Status::invalid_argument("service: is missing"))?;
        service.department = self.parts.config.department.to_string();
        let refusal = |refusal: &Refusal| DescribeServiceResponse {
            statement: Some(refused(refusal)),
            ..DescribeServiceResponse::default()
        };
        let seen = self.parts.view.seen();
        let prepared = match service_change::prepare(seen.directory(), service, action) {
            Ok(prepared) => prepared,
            Err(why) => return Ok(Response::new(refusal(&why))),
        };
        let mut response = described(&prepared, seen.directory());
        response.statement = Some(match (action, prepared.outcome) {
            (Action::Compare, _) => StatementResponse::default(),
            (_, Outcome::Unchanged) => unchanged(seen.directory(), &prepared.id),
            // Held against the same rules here, so that nothing is signed that nobody would take.
            (_, Outcome::Incompatible) => refused(&service_change::incompatible_refusal(&prepared)),
            (_, Outcome::Compatible | Outcome::New) => {
                drop(seen);
                self.state(prepared.id, Body::ServicePublished(prepared.published)).await?
            }
        });
        Ok(Response::new(response))
    }

    async fn suspend(&self, request: Request<SuspendServiceRequest>) -> Answer<StatementResponse> {
        let SuspendServiceRequest { service, major_version, notice } = request.into_inner();
        let id = match self.own(&service, major_version) {
            Ok(id) => id,
            Err(refusal) => return Ok(Response::new(refused(&refusal))),
        };
        let (department, service, major_version) = (id.department.to_string(), id.service.to_string(), id.major);
        let body = Body::ServiceSuspended(ServiceSuspended { department, service, major_version, notice });
        Ok(Response::new(self.state(id, body).await?))
    }

    async fn resume(&self, request: Request<ResumeServiceRequest>) -> Answer<StatementResponse> {
        let ResumeServiceRequest { service, major_version } = request.into_inner();
        let id = match self.own(&service, major_version) {
            Ok(id) => id,
            Err(refusal) => return Ok(Response::new(refused(&refusal))),
        };
        let (department, service, major_version) = (id.department.to_string(), id.service.to_string(), id.major);
        let body = Body::ServiceResumed(ServiceResumed { department, service, major_version });
        Ok(Response::new(self.state(id, body).await?))
    }

    async fn withdraw(&self, request: Request<WithdrawServiceRequest>) -> Answer<WithdrawServiceResponse> {
        let WithdrawServiceRequest { service, major_version, reason, from_ms } = request.into_inner();
        let id = match self.own(&service, major_version) {
            Ok(id) => id,
            Err(refusal) => {
                let statement = Some(refused(&refusal));
                return Ok(Response::new(WithdrawServiceResponse { statement, ..WithdrawServiceResponse::default() }));
            }
        };
        let now_ms = self.parts.clock.now_ms();
        let (notice_ms, told) = {
            let seen = self.parts.view.seen();
            let directory = seen.directory();
            let notice_ms = directory.profile().withdrawal_notice_ms;
            (notice_ms, notices::holders(directory, &id, now_ms))
        };
        let soonest_ms = now_ms.saturating_add(notice_ms).saturating_add(ON_THE_WAY_MS.min(notice_ms / 2));
        let from_ms = if from_ms == 0 { soonest_ms } else { from_ms };
        let (department, service, major_version) = (id.department.to_string(), id.service.to_string(), id.major);
        let body = ServiceWithdrawn { department, service, major_version, reason, from_ms };
        let statement = Some(self.state(id, Body::ServiceWithdrawn(body)).await?);
        let told = told.into_iter().map(|department| department.to_string()).collect();
        Ok(Response::new(WithdrawServiceResponse { statement, from_ms, told }))
    }

    async fn list_notices(&self, _: Request<ListServiceNoticesRequest>) -> Answer<ListServiceNoticesResponse> {
        let seen = self.parts.view.seen();
        let me = &self.parts.config.department;
        let notices = notices::of_grants(seen.directory(), me, self.parts.clock.now_ms());
        let notices = notices.into_iter().map(|notice| ServiceNotice {
            provider: notice.service.department.to_string(),
            service: notice.service.service.to_string(),
            major_version: notice.service.major,
            access: notice.access.id.to_string(),
            state: notice.fate.as_str().to_owned(),
            text: notice.text,
            ends_ms: notice.fate.ends_ms(),
            successor: notice.successor.unwrap_or(0),
        });
        Ok(Response::new(ListServiceNoticesResponse { notices: notices.collect() }))
    }
}

fn described(prepared: &Prepared, directory: &Directory) -> DescribeServiceResponse {
    let Prepared { published, outcome, compared_with, differences, .. } = prepared;
    DescribeServiceResponse {
        statement: None,
        version: format!("{}.{}", published.major_version, published.minor_version),
        outcome: outcome.as_str().to_owned(),
        compared_with: compared_with.map(|(major, minor)| format!("{major}.{minor}")).unwrap_or_default(),
        differences: differences.iter().map(difference_to_wire).collect(),
        notes: notes(prepared, directory),
    }
}

pub(super) fn difference_to_wire(difference: &Difference) -> ServiceDifference {
    ServiceDifference {
        field: difference.field.clone(),
        what: difference.what.clone(),
        incompatible: difference.effect == Effect::Incompatible,
    }
}

/// What the operator should know before or after.
fn notes(prepared: &Prepared, directory: &Directory) -> Vec<String> {
    let mut notes = Vec::new();
    let reviews = directory.profile().service_reviews;
    let answers = directory.service(&prepared.id).is_some_and(|service| service.review.permits());
    match (prepared.outcome, reviews) {
        (Outcome::New, ServiceReviews::New | ServiceReviews::All) => {
            notes.push("it answers once the authority has approved it; `service show` says how that stands".to_owned());
        }
        (Outcome::Compatible, ServiceReviews::All) if answers => notes.push(
            "the change counts once the authority has approved it; until then the service answers as before".to_owned(),
        ),
        (Outcome::Compatible, _) if !answers => {
            notes.push("the authority has yet to approve the service, and looks at this description now".to_owned());
        }
        _ => {}
    }
    let is_column = |difference: &&Difference| {
        let named = ["attributes.", "inputs."].iter().any(|part| difference.field.starts_with(part));
        named && (difference.field.matches('.').count() == 1 || difference.field.ends_with(".members"))
    };
    if prepared.outcome == Outcome::Compatible && prepared.differences.iter().any(|found| is_column(&found)) {
        notes.push(format!(
            "import the records again (`records import {} FILE`): what is new in them is UNAVAILABLE until then",
            prepared.id.service
        ));
    }
    if matches!(prepared.outcome, Outcome::Compatible | Outcome::New) {
        let missing = catalogue::missing(&prepared.published);
        notes.extend(missing.iter().map(|(field, what)| format!("{field} is not said: {what}")));
    }
    notes
}

/// The statement that says so already.
fn unchanged(directory: &Directory, id: &ServiceId) -> StatementResponse {
    let object = Object::Service(id.clone());
    let digest = directory.service(id).map(|known| match &known.proposed {
        Some(proposal) => proposal.statement,
        None => known.statement,
    });
    StatementResponse {
        index: directory.last(&object).map_or(0, |place| place.index),
        object: object.to_string(),
        digest: digest.map(|digest| digest.to_string()).unwrap_or_default(),
        ..StatementResponse::default()
    }
}
