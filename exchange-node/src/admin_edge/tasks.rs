//! The clerks' service: the questions that a person answers. Translates; what a clerk may say is `trust::clerk`'s, what
//! becomes of it `clerk`'s.

use std::sync::Arc;

use host::clock::Clock;
use proto::{
    admin::v1::{
        self as wire, AnswerTaskRequest, ConfirmTaskRequest, DecideTaskResponse, ListTasksRequest, ListTasksResponse,
        RejectTaskRequest, ShowTaskRequest, ShowTaskResponse,
        tasks_server::{Tasks, TasksServer},
    },
    exchange::v1::ClaimVerdict,
    office::v1::VerifyResponse,
};
use tonic::{Request, Response, Status};
use trust::question::MOST_CLAIMS;

use super::Answer;
use crate::{
    clerk::{Clerks, Decided, Error, Task, Word},
    office_edge,
};

/// The service of a running node.
#[derive(Clone)]
pub struct TasksEdge {
    clerks: Arc<Clerks>,
    clock: Arc<dyn Clock>,
}

impl TasksEdge {
    /// As a tonic service.
    pub fn server(clerks: Arc<Clerks>, clock: Arc<dyn Clock>) -> TasksServer<Self> {
        TasksServer::new(Self { clerks, clock })
    }

    fn to_wire(&self, task: &Task) -> Result<wire::Task, Status> {
        let request = self.clerks.request(task).map_err(|error| failed(&error))?;
        let receipt = self.clerks.receipt(task.answer.unwrap_or(task.question + 1)).map_err(|error| failed(&error))?;
        Ok(wire::Task {
            ticket: task.ticket(),
            state: task.state().as_str().to_owned(),
            consumer: task.consumer.clone(),
            service: task.service.clone(),
            major_version: task.major,
            case_number: request.case_number,
            since_ms: task.since_ms,
            due_at_ms: task.due_ms,
            overdue: task.is_overdue(self.clock.now_ms()),
            overdue_recorded: task.overdue_recorded,
            officer: task.officer.clone(),
            receipt: receipt.to_string(),
            reason: task.reason.clone(),
        })
    }

    /// What was proposed or answered.
    fn answer(&self, task: &Task, claims: &[proto::exchange::v1::Claim]) -> Result<Option<VerifyResponse>, Status> {
        if let Some(answer) = task.answer {
            let shown = self.clerks.shown(answer).map_err(|error| failed(&error))?;
            return Ok(Some(office_edge::response_of(shown)));
        }
        Ok(task.proposal.as_ref().map(|proposal| match &proposal.word {
            Word::Decline(reason) => VerifyResponse {
                refusal: trust::clerk::declined(reason).map(|refusal| refusal.to_wire()),
                clerk: proposal.officer.clone(),
                ..VerifyResponse::default()
            },
            Word::Answer { verdicts, record_as_of } => VerifyResponse {
                verdicts: verdicts
                    .iter()
                    .zip(claims)
                    .map(|((verdict, disclosed), claim)| ClaimVerdict {
                        attribute: claim.attribute.clone(),
                        operator: claim.operator.clone(),
                        verdict: *verdict,
                        disclosed: (!disclosed.is_empty()).then(|| proto::exchange::v1::Value {
                            kind: Some(proto::exchange::v1::value::Kind::Text(disclosed.clone())),
                        }),
                        ..ClaimVerdict::default()
                    })
                    .collect(),
                record_as_of: record_as_of.clone(),
                clerk: proposal.officer.clone(),
                ..VerifyResponse::default()
            },
        }))
    }

    fn decided(&self, decided: Result<Decided, Error>) -> Answer<DecideTaskResponse> {
        Ok(Response::new(match decided.map_err(|error| failed(&error))? {
            Ok(task) => DecideTaskResponse { task: Some(self.to_wire(&task)?), refused: None },
            Err(refusal) => DecideTaskResponse { task: None, refused: Some(refusal.to_wire()) },
        }))
    }

    /// In a task of its own: an answer that is in the evidence is delivered, also where the command was interrupted.
    async fn decide(&self, ticket: String, word: Word, officer: String) -> Answer<DecideTaskResponse> {
        let clerks = Arc::clone(&self.clerks);
        let decided = tokio::spawn(async move { clerks.decide(ticket.trim(), word, officer.trim()).await });
        self.decided(decided.await.map_err(|error| Status::internal(error.to_string()))?)
    }
}

#[tonic::async_trait]
impl Tasks for TasksEdge {
    async fn list_tasks(&self, request: Request<ListTasksRequest>) -> Answer<ListTasksResponse> {
        let all = request.into_inner().all;
        let edge = self.clone();
        let listed = tokio::task::spawn_blocking(move || {
            let tasks = edge.clerks.list().into_iter().filter(|task| all || task.answer.is_none());
            tasks.map(|task| edge.to_wire(&task)).collect::<Result<Vec<_>, Status>>()
        });
        let tasks = listed.await.map_err(|error| Status::internal(error.to_string()))??;
        Ok(Response::new(ListTasksResponse { tasks }))
    }

    async fn show_task(&self, request: Request<ShowTaskRequest>) -> Answer<ShowTaskResponse> {
        let task = self.clerks.find(request.into_inner().ticket.trim()).ok_or_else(|| failed(&Error::Unknown))?;
        let question = self.clerks.request(&task).map_err(|error| failed(&error))?;
        let answer = self.answer(&task, &question.claims)?;
        // A claim asks for a value only where service and grant allow it: otherwise it was refused.
        let may_disclose = question.claims.iter().map(|claim| claim.disclose).collect();
        Ok(Response::new(ShowTaskResponse {
            task: Some(self.to_wire(&task)?),
            request: Some(question),
            may_disclose,
            answer,
        }))
    }

    async fn answer_task(&self, request: Request<AnswerTaskRequest>) -> Answer<DecideTaskResponse> {
        let AnswerTaskRequest { ticket, verdicts: given, record_as_of, officer } = request.into_inner();
        let mut verdicts = vec![None; given.len()];
        for said in given {
            let number = usize::try_from(said.claim).unwrap_or(usize::MAX);
            let place = number.checked_sub(1).filter(|_| number <= MOST_CLAIMS);
            match place.and_then(|place| verdicts.get_mut(place)) {
                Some(empty @ None) => *empty = Some((said.verdict, said.disclosed)),
                _ => return Err(Status::invalid_argument("verdicts: each claim takes one, counted from 1")),
            }
        }
        let verdicts = verdicts.into_iter().flatten().collect();
        self.decide(ticket, Word::Answer { verdicts, record_as_of }, officer).await
    }

    async fn reject_task(&self, request: Request<RejectTaskRequest>) -> Answer<DecideTaskResponse> {
        let RejectTaskRequest { ticket, reason, officer } = request.into_inner();
        self.decide(ticket, Word::Decline(reason), officer).await
    }

    async fn confirm_task(&self, request: Request<ConfirmTaskRequest>) -> Answer<DecideTaskResponse> {
        let ConfirmTaskRequest { ticket, officer } = request.into_inner();
        let clerks = Arc::clone(&self.clerks);
        let decided = tokio::spawn(async move { clerks.confirm(ticket.trim(), officer.trim()).await });
        self.decided(decided.await.map_err(|error| Status::internal(error.to_string()))?)
    }

    async fn reopen_task(&self, request: Request<ConfirmTaskRequest>) -> Answer<DecideTaskResponse> {
        let decided = self.clerks.reopen(request.into_inner().ticket.trim()).await;
        self.decided(decided)
    }
}

fn failed(error: &Error) -> Status {
    match error {
        Error::Unknown => Status::not_found(error.to_string()),
        _ => {
            tracing::error!(%error, "a clerk's command failed");
            Status::unavailable(error.to_string())
        }
    }
}

impl std::fmt::Debug for TasksEdge {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("TasksEdge").finish_non_exhaustive()
    }
}
