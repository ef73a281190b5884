//! The operators' service for sources of records: one lookup, every step of it shown. What it shows is personal data, for
//! the operator at the admin socket alone: nothing of it is logged or kept. Out of scope: looking up (`sources`).

use std::sync::Arc;

use proto::{
    admin::v1::{
        CheckLookupRequest, CheckLookupResponse, RawRow, ShownRow, ShownValue, SourceStep,
        sources_server::{Sources, SourcesServer},
    },
    exchange::v1 as wire,
};
use tonic::{Request, Response, Status};
use trust::{
    claim::{Claim, ClaimOutcome, Reason, Row, evaluate},
    service::Service,
    value::Value,
};

use super::{Answer, lookup::own_service};
use crate::{
    answer::lookup::under_all,
    parts::Parts,
    records::{Lookup, Reading, calendar_day},
    sources::{Asked, Seen},
};

/// The service of a running node.
#[derive(Clone)]
pub struct SourcesEdge {
    parts: Arc<Parts>,
}

impl SourcesEdge {
    /// As a tonic service.
    pub fn server(parts: Parts) -> SourcesServer<Self> {
        SourcesServer::new(Self { parts: Arc::new(parts) })
    }
}

#[tonic::async_trait]
impl Sources for SourcesEdge {
    async fn check_lookup(&self, request: Request<CheckLookupRequest>) -> Answer<CheckLookupResponse> {
        let request = request.into_inner();
        let parts = self.parts.as_ref();
        let service = {
            let seen = parts.view.seen();
            let id = own_service(seen.directory(), &parts.config.department, &request.service, request.major_version);
            id.and_then(|id| seen.directory().service(&id).cloned())
        };
        let service = service.ok_or_else(|| {
            Status::not_found(format!(
                "this department has no service {:?}: `service list` shows them",
                request.service
            ))
        })?;
        let subject = request.subject.unwrap_or_default();
        let scheme = service.schemes.first().map(ToString::to_string).unwrap_or_default();
        let scheme = if subject.scheme.is_empty() { &scheme } else { &subject.scheme };
        let invalid = |error: String| Status::invalid_argument(error);
        let known = parts.view.seen().directory().profile().schemes.clone();
        let subject = known.parse(scheme, &subject.value).map_err(|error| invalid(format!("subject: {error}")))?;
        let inputs = inputs(&service, &request.inputs).map_err(invalid)?;
        let claims = request.claims.iter().map(|claim| read_claim(&service, claim)).collect::<Result<Vec<_>, _>>();
        let claims = claims.map_err(invalid)?;

        // As a question is looked up: under every number that the subject has or has had.
        let numbers = parts.aliases.numbers(&subject, &[]);
        let numbers = numbers.map_err(|error| Status::failed_precondition(error.to_string()))?;
        let mut steps = Vec::new();
        if let Some(source) = parts.sources.of_service(&service) {
            let of = Arc::new(service.clone());
            let held = numbers.iter().filter(|number| service.schemes.contains(&number.scheme()));
            for subject in held {
                let asked = Asked { service: Arc::clone(&of), subject: subject.clone(), inputs: inputs.clone() };
                steps.extend(source.ask(&asked).await.into_iter().map(step));
            }
        }
        let sources: &crate::sources::Sources = &parts.sources;
        let found = under_all(sources, Reading::Anew, &service, &numbers, &inputs).await;
        let mut response = CheckLookupResponse { sources: steps, ..CheckLookupResponse::default() };
        if found.is_repeated {
            "the source gives equal rows under several numbers of the subject: whether they are one is not known"
                .clone_into(&mut response.reason);
        }
        let mut uncertain = Vec::new();
        let (rows, as_of) = match found.lookup {
            Lookup::Rows { rows, as_of } => {
                "rows".clone_into(&mut response.outcome);
                (Ok(rows), as_of)
            }
            Lookup::Partial { rows, as_of, lacking, uncertain: of_lost } => {
                "partial".clone_into(&mut response.outcome);
                response.lacking = lacking;
                uncertain = of_lost;
                (Ok(rows), as_of)
            }
            Lookup::Quarantined => {
                "quarantined".clone_into(&mut response.outcome);
                (Err(Reason::Quarantined), None)
            }
            Lookup::NotImported => {
                "not_imported".clone_into(&mut response.outcome);
                (Err(Reason::NotImported), None)
            }
            Lookup::Failed(reason) | Lookup::SchemeNotHeld(reason) => {
                "failed".clone_into(&mut response.outcome);
                response.reason = reason;
                (Err(Reason::SourceDown), None)
            }
        };
        let today = calendar_day(parts.clock.now_ms());
        let verdict = |claim: &Claim| match (&rows, service.attributes.get(claim.attribute())) {
            (Ok(_), Some(rule)) if response.lacking.iter().any(|name| name == rule.name()) => {
                ClaimOutcome::unavailable(Reason::NotImported).to_proto(claim)
            }
            (Ok(_), Some(rule)) if uncertain.iter().any(|name| name == rule.name()) => {
                ClaimOutcome::unavailable(Reason::Quarantined).to_proto(claim)
            }
            (Ok(_), Some(rule)) if found.is_repeated && rule.adds_up() => {
                ClaimOutcome::unavailable(Reason::Ambiguous).to_proto(claim)
            }
            (Ok(rows), Some(rule)) => evaluate(rule, claim, rows, today).to_proto(claim),
            (Err(reason), _) => ClaimOutcome::unavailable(*reason).to_proto(claim),
            (Ok(_), None) => ClaimOutcome::unavailable(Reason::NotComparable).to_proto(claim),
        };
        response.verdicts = claims.iter().map(verdict).collect();
        response.record_as_of = as_of.map(|day| day.to_string()).unwrap_or_default();
        response.rows = rows.unwrap_or_default().iter().map(shown).collect();
        Ok(Response::new(response))
    }
}

fn inputs(service: &Service, given: &[wire::Input]) -> Result<Vec<(String, Value)>, String> {
    let read = |input: &wire::Input| {
        let rule = service.inputs.iter().find(|rule| rule.name == input.name);
        let rule = rule.ok_or_else(|| format!("the service has no input {:?}", input.name))?;
        let value = input.value.as_ref().ok_or_else(|| format!("input {}: has no value", input.name))?;
        let value = Value::from_proto(value, &rule.ty).map_err(|error| format!("input {}: {error}", input.name))?;
        Ok((input.name.clone(), value))
    };
    given.iter().map(read).collect()
}

fn read_claim(service: &Service, claim: &wire::Claim) -> Result<Claim, String> {
    let rule = service.attributes.get(&claim.attribute);
    let rule = rule.ok_or_else(|| format!("the service has no attribute {:?}", claim.attribute))?;
    let claim = Claim::from_proto(claim, rule.ty()).map_err(|error| format!("claim on {}: {error}", rule.name()))?;
    match rule.operators().contains(&claim.operator()) {
        true => Ok(claim),
        false => Err(format!("claim on {}: the service does not allow {}", rule.name(), claim.operator())),
    }
}

fn step(seen: Seen) -> SourceStep {
    let (fetched, trouble) = match seen.fetched {
        Ok(fetched) => (fetched, String::new()),
        Err(trouble) => (crate::sources::raw::Fetched::default(), trouble.to_string()),
    };
    let (notes, wrong) = match seen.mapped {
        Ok(mapped) => (mapped.notes, String::new()),
        Err(reason) => (Vec::new(), reason),
    };
    let row = |cells: &Vec<crate::sources::raw::Raw>| RawRow { cells: cells.iter().map(|cell| cell.shown()).collect() };
    SourceStep {
        source: seen.source,
        asked: seen.asked,
        trouble: if trouble.is_empty() { wrong } else { trouble },
        columns: fetched.columns,
        rows: fetched.rows.iter().map(row).collect(),
        notes,
    }
}

fn shown(row: &Row) -> ShownRow {
    let value = |(column, value): (&str, &Value)| ShownValue { column: column.to_owned(), value: value.to_text() };
    ShownRow { values: row.columns().map(value).collect() }
}
