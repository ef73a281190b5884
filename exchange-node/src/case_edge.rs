//! Cases for office systems, on the office port with an API key and on the admin socket without. Translates; what a case is,
//! and what becomes of it, is `case`'s.

use std::{sync::Arc, time::Duration};

use futures_util::stream::{BoxStream, StreamExt as _};
use proto::{
    exchange::v1::Authorisation,
    office::v1::{
        self as wire, AddToCaseRequest, CaseEvent, CasePerson, CaseSummary, CommitRequest, ListCasesRequest,
        ListCasesResponse, ListCommitmentsRequest, ListCommitmentsResponse, OpenCaseRequest, PauseCaseRequest,
        RepairCommitmentRequest, ShowCaseRequest, SlipResponse,
        cases_server::{Cases as Service, CasesServer},
    },
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, metadata::MetadataMap};
use trust::refusal::{Code, Refusal};

use crate::{
    case::{
        AddToCase, Answer, Case, Cases, CommitmentState, Consent, Error, Head, NewCommitment, OpenCase, Outcome,
        Person, Proof, Watched,
    },
    journal::JournalError,
    office::{cursor::most_of, sign_in::SignIn},
    office_edge::{LARGEST_MESSAGE, deadline, signed_in},
    office_keys::Caller,
};

/// The service's full name, for health.
pub const SERVICE: &str = "office.v1.Cases";

/// How many cases a list has where nobody says how many.
const USUAL_LIST: usize = 100;

/// The service for office systems.
#[derive(Clone)]
pub struct CasesEdge {
    cases: Arc<Cases>,
    sign_in: Option<SignIn>,
}

impl CasesEdge {
    /// As a tonic service; nobody signs in on the admin socket.
    pub fn server(cases: Arc<Cases>, sign_in: Option<SignIn>) -> CasesServer<Self> {
        CasesServer::new(Self { cases, sign_in }).max_decoding_message_size(LARGEST_MESSAGE)
    }

    fn caller<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        signed_in(self.sign_in.as_ref(), request)
    }

    /// Who calls about a case, which he may know of.
    fn about<T>(&self, request: &Request<T>, number: &str) -> Result<Caller, Status> {
        let caller = self.caller(request)?;
        if !caller.limits.is_open() {
            let case = self.cases.show(number).map_err(|error| failed(&error))?;
            caller.limits.covers_case(&case.item).map_err(|_| failed(&Error::Unknown))?;
        }
        Ok(caller)
    }

    fn answer(&self, outcome: Result<Result<Case, Refusal>, Error>) -> Result<Response<wire::Case>, Status> {
        Ok(Response::new(match outcome.map_err(|error| failed(&error))? {
            Ok(case) => to_wire(&self.cases, &case),
            Err(refusal) => wire::Case { refusal: Some(refusal.to_wire()), ..wire::Case::default() },
        }))
    }
}

#[tonic::async_trait]
impl Service for CasesEdge {
    async fn open(&self, request: Request<OpenCaseRequest>) -> Result<Response<wire::Case>, Status> {
        let caller = self.caller(&request)?;
        let waits = waits(request.metadata());
        let request = request.into_inner();
        if let Err(field) = caller.limits.covers_case(&request.item) {
            return self.answer(Ok(Err(Refusal::new(Code::OfficeKeyNotCovering).at(field))));
        }
        let system = caller.system;
        let new = OpenCase {
            number: request.case_number,
            item: request.item,
            officer: request.officer,
            system,
            people: people(request.people),
            authorisation: request.authorisation.map(consent),
            deadline_ms: self.cases.deadline(request.deadline_ms, waits),
        };
        let cases = Arc::clone(&self.cases);
        // In a task of its own: where the office hangs up, what came is kept all the same.
        let opened = tokio::spawn(async move { cases.open(new).await }).await;
        let opened = opened.map_err(|error| Status::internal(error.to_string()))?;
        self.answer(opened.map(|opened| opened.map(|opened| opened.case)))
    }

    async fn add(&self, request: Request<AddToCaseRequest>) -> Result<Response<wire::Case>, Status> {
        self.about(&request, &request.get_ref().case_number)?;
        let waits = waits(request.metadata());
        let request = request.into_inner();
        let more = AddToCase {
            number: request.case_number,
            officer: request.officer,
            people: people(request.people),
            authorisation: request.authorisation.map(consent),
            papers: request.papers,
            papers_about: request.papers_about,
            deadline_ms: self.cases.deadline(request.deadline_ms, waits),
        };
        let cases = Arc::clone(&self.cases);
        let added = tokio::spawn(async move { cases.add(more).await }).await;
        self.answer(added.map_err(|error| Status::internal(error.to_string()))?)
    }

    async fn show(&self, request: Request<ShowCaseRequest>) -> Result<Response<wire::Case>, Status> {
        self.about(&request, &request.get_ref().case_number)?;
        let case = self.cases.show(&request.into_inner().case_number).map_err(|error| failed(&error))?;
        Ok(Response::new(to_wire(&self.cases, &case)))
    }

    type WatchStream = BoxStream<'static, Result<CaseEvent, Status>>;

    async fn watch(&self, request: Request<ShowCaseRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let caller = self.about(&request, &request.get_ref().case_number)?;
        let watched = self.cases.watch(&request.into_inner().case_number).map_err(|error| failed(&error))?;
        let cases = Arc::clone(&self.cases);
        let events = ReceiverStream::new(watched).map(move |seen| Ok::<_, Status>(event_to_wire(&cases, &seen)));
        Ok(Response::new(match &self.sign_in {
            Some(sign_in) => sign_in.while_known(&caller, events).boxed(),
            None => events.boxed(),
        }))
    }

    async fn list(&self, request: Request<ListCasesRequest>) -> Result<Response<ListCasesResponse>, Status> {
        let caller = self.caller(&request)?;
        let ListCasesRequest { limit, after } = request.into_inner();
        let limit = if limit == 0 { USUAL_LIST } else { limit as usize };
        let open = self.cases.commitments("open", "");
        let seen = |head: &Head| caller.limits.covers_case(&head.item).is_ok();
        if !after.is_empty() && self.cases.head(&after).is_none_or(|head| !seen(&head)) {
            return Err(Status::invalid_argument("after: there is no such case"));
        }
        let cases = self.cases.list(limit.min(1000), &after, seen).into_iter().map(|head| CaseSummary {
            open_commitments: u32::try_from(open.iter().filter(|row| row.case_number == head.number).count())
                .unwrap_or(u32::MAX),
            case_number: head.number,
            item: head.item,
            item_version: head.item_version,
            opened_at_ms: head.opened_ms,
            state: head.state,
            flagged: head.flagged,
        });
        Ok(Response::new(ListCasesResponse { cases: cases.collect() }))
    }

    async fn slip(&self, request: Request<ShowCaseRequest>) -> Result<Response<SlipResponse>, Status> {
        self.about(&request, &request.get_ref().case_number)?;
        let case = self.cases.show(&request.into_inner().case_number).map_err(|error| failed(&error))?;
        let clock = self.cases.clock_of(&case);
        Ok(Response::new(SlipResponse { text: case.slip(&clock, |at_ms| self.cases.date(at_ms)) }))
    }

    async fn commit(&self, request: Request<CommitRequest>) -> Result<Response<wire::Case>, Status> {
        self.about(&request, &request.get_ref().case_number)?;
        let CommitRequest { case_number: number, proof, about, form_digest, officer } = request.into_inner();
        let cases = Arc::clone(&self.cases);
        let new = NewCommitment { number, proof, about, form_digest, officer };
        let committed = tokio::spawn(async move { cases.commit(new).await }).await;
        self.answer(committed.map_err(|error| Status::internal(error.to_string()))?)
    }

    async fn list_commitments(
        &self,
        request: Request<ListCommitmentsRequest>,
    ) -> Result<Response<ListCommitmentsResponse>, Status> {
        let caller = self.caller(&request)?;
        let ListCommitmentsRequest { state, case_number, limit, cursor } = request.into_inner();
        if !state.is_empty() && CommitmentState::parse(&state).is_none() {
            return Err(Status::invalid_argument("state: open, fulfilled, broken, unconfirmed or repaired"));
        }
        let most = most_of(limit, usize::MAX, usize::MAX);
        let rows = self.cases.commitments(&state, &case_number);
        let rows = rows.iter().filter(|row| row.id.as_str() > cursor.as_str());
        let rows = rows.filter(|row| caller.limits.covers_case(&row.item).is_ok()).take(most);
        let commitments: Vec<wire::Commitment> = rows.map(crate::case::Commitment::to_wire).collect();
        let last = commitments.last().filter(|_| commitments.len() == most);
        let next_cursor = last.map(|row| row.id.clone()).unwrap_or_default();
        Ok(Response::new(ListCommitmentsResponse { commitments, next_cursor }))
    }

    async fn repair(&self, request: Request<RepairCommitmentRequest>) -> Result<Response<wire::Commitment>, Status> {
        let caller = self.caller(&request)?;
        let known = self.cases.commitments("", "").into_iter().find(|row| row.id == request.get_ref().id);
        if known.is_some_and(|row| caller.limits.covers_case(&row.item).is_err()) {
            return Err(failed(&Error::Unknown));
        }
        let RepairCommitmentRequest { id, officer, how } = request.into_inner();
        let cases = Arc::clone(&self.cases);
        let repaired = tokio::spawn(async move { cases.repair(&id, &officer, &how).await }).await;
        let repaired = repaired.map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(match repaired.map_err(|error| failed(&error))? {
            Ok(row) => row.to_wire(),
            Err(refusal) => wire::Commitment { refusal: Some(refusal.to_wire()), ..wire::Commitment::default() },
        }))
    }

    async fn pause(&self, request: Request<PauseCaseRequest>) -> Result<Response<wire::Case>, Status> {
        self.about(&request, &request.get_ref().case_number)?;
        let PauseCaseRequest { case_number, reason, officer } = request.into_inner();
        self.answer(self.cases.pause(&case_number, &reason, &officer).await)
    }
}

/// A case as offices get it.
pub(crate) fn to_wire(cases: &Cases, case: &Case) -> wire::Case {
    let clock = cases.clock_of(case);
    wire::Case {
        case_number: case.number.clone(),
        item: case.item.clone(),
        item_version: case.item_version,
        item_statement: case.item_statement.clone(),
        officer: case.officer.clone(),
        state: case.state().to_owned(),
        proofs: case.proofs.iter().map(proof_to_wire).collect(),
        opened_at_ms: case.opened_ms,
        elapsed_ms: case.elapsed_ms,
        due_at_ms: clock.due_at_ms,
        days_left: clock.days_left,
        pauses: case
            .pauses
            .iter()
            .map(|pause| wire::CasePause {
                reason: pause.reason.clone(),
                from_ms: pause.from_ms,
                until_ms: pause.until_ms.unwrap_or(0),
            })
            .collect(),
        notice: case.notice.as_ref().map(|notice| wire::CaseNotice {
            told_at_ms: notice.told_at_ms,
            zh: notice.zh.clone(),
            en: notice.en.clone(),
        }),
        roles: case.everybody().map(|(called, _)| called).collect(),
        flagged: case.is_flagged(),
        item_name_zh: case.item_name_zh.clone(),
        item_name_en: case.item_name_en.clone(),
        refusal: None,
    }
}

/// What whoever watches a case is told.
pub(crate) fn event_to_wire(cases: &Cases, seen: &Watched) -> CaseEvent {
    match seen {
        Watched::Case { case, at_ms } => CaseEvent {
            case_number: case.number.clone(),
            kind: "case".to_owned(),
            case: Some(to_wire(cases, case)),
            proof: None,
            at_ms: *at_ms,
        },
        Watched::Proof(event) => CaseEvent {
            case_number: event.number.clone(),
            kind: event.kind.to_owned(),
            case: None,
            proof: Some(proof_to_wire(&event.proof)),
            at_ms: event.at_ms,
        },
    }
}

fn proof_to_wire(proof: &Proof) -> wire::CaseProof {
    let said = proof.sentences();
    let outcome = match proof.outcome {
        Outcome::Asking => wire::ProofOutcome::Asking,
        Outcome::Committed => wire::ProofOutcome::Committed,
        Outcome::DoesNotMatch => wire::ProofOutcome::DoesNotMatch,
        Outcome::InformationMissing => wire::ProofOutcome::InformationMissing,
        Outcome::LeftOut => wire::ProofOutcome::LeftOut,
        Outcome::MayCommit => wire::ProofOutcome::MayCommit,
        Outcome::NotRequired => wire::ProofOutcome::NotRequired,
        Outcome::PaperAccepted => wire::ProofOutcome::PaperAccepted,
        Outcome::SubmitOnPaper => wire::ProofOutcome::SubmitOnPaper,
    };
    wire::CaseProof {
        proof: proof.proof.clone(),
        about: proof.about.clone(),
        outcome: outcome.into(),
        reason: proof.reason.clone(),
        zh: said.zh,
        en: said.en,
        next_zh: said.next_zh,
        next_en: said.next_en,
        receipt: proof.receipt.clone(),
        ticket: proof.ticket.clone(),
        service: proof.service.clone(),
        asked_at_ms: proof.asked_at_ms,
        elapsed_ms: proof.elapsed_ms,
        by_absence: matches!(proof.answer, Answer::Verdict { by_absence: true, .. }),
        optional: proof.optional,
        commitment: proof.commitment.clone().unwrap_or_default(),
        missing: match &proof.answer {
            Answer::Missing(names) => names.join(", "),
            Answer::Refused { field, .. } if proof.outcome == Outcome::InformationMissing => field.clone(),
            _ => String::new(),
        },
        identity: proof.identity,
    }
}

/// How long the office waits, a twentieth less, so that it hears what became of it.
fn waits(metadata: &MetadataMap) -> Option<Duration> {
    deadline(metadata).map(|time| time - time / 20)
}

fn people(people: Vec<CasePerson>) -> Vec<Person> {
    let read = |CasePerson { role, values, authorisation }: CasePerson| Person {
        role,
        values: values.into_iter().collect(),
        authorisation: authorisation.map(consent),
    };
    people.into_iter().map(read).collect()
}

fn consent(form: Authorisation) -> Consent {
    Consent {
        form_digest: data_encoding::HEXLOWER.encode(&form.form_digest),
        scope: form.scope,
        signed_by: form.signed_by,
        valid_until_ms: form.valid_until_ms,
    }
}

fn failed(error: &Error) -> Status {
    match error {
        Error::Unknown | Error::Destroyed => Status::not_found(error.to_string()),
        Error::Ask(crate::ask::Error::Journal(JournalError::Held { reason })) => Status::unavailable(reason.as_str()),
        _ => {
            tracing::error!(%error, "a case could not be handled");
            Status::unavailable(error.to_string())
        }
    }
}

impl std::fmt::Debug for CasesEdge {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("CasesEdge").finish_non_exhaustive()
    }
}
