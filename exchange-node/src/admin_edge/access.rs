//! The operators' service about access: applications to other departments, and decisions on theirs. Each is signed with
//! the department's own key; one that takes four eyes waits for the second officer first (`pending`).
//!
//! Out of scope: what a grant then permits (`trust::decision`), and the commands (`cli`).

mod body;
mod state;

use std::sync::Arc;

use host::random;
use proto::{
    admin::v1::{
        AccessResponse, ApplyForAccessRequest, ConfirmDecisionRequest, DecideAccessRequest, ExportAccessRequest,
        ExportAccessResponse, ListAccessRequest, ListAccessResponse, PendingDecision, RejectDecisionRequest,
        StatementResponse,
        access_server::{Access, AccessServer},
    },
    registry::v1::{OfficialDecision, statement::Body},
};
use tonic::{Request, Response, Status};
use trust::{
    directory::{AccessKey, Directory, Object},
    ids::{AccessId, Digest},
    official,
    refusal::{Code, Refusal},
};

use self::state::pending_decision;
use super::{Answer, LARGEST_MESSAGE, answers::refused, stated};
use crate::{parts::Parts, pending::Pending, private_list};

/// The operators' service about access.
#[derive(Clone)]
pub struct AccessEdge {
    parts: Arc<Parts>,
}

impl AccessEdge {
    /// The service of a running node.
    pub fn new(parts: Parts) -> Self {
        Self { parts: Arc::new(parts) }
    }

    /// As a tonic service with its limit on messages.
    pub fn server(&self) -> AccessServer<Self> {
        AccessServer::new(self.clone()).max_decoding_message_size(LARGEST_MESSAGE)
    }

    /// The application to this department that an operator means by `ID` or `CONSUMER/ID`. Applicants choose their ids: two
    /// may choose the same, and none may pass for the other.
    fn received(&self, directory: &Directory, id: &str) -> Result<AccessKey, Status> {
        let me = &self.parts.config.department;
        one_of(directory, id, |key| (key.provider == *me).then(|| key.consumer.as_str()))
    }

    /// An application from or to this department.
    fn known(&self, directory: &Directory, id: &str) -> Result<AccessKey, Status> {
        let me = &self.parts.config.department;
        one_of(directory, id, |key| match (key.provider == *me, key.consumer == *me) {
            (true, _) => Some(key.consumer.as_str()),
            (_, true) => Some(key.provider.as_str()),
            _ => None,
        })
    }

    /// Signs a decision and publishes it.
    async fn publish(
        &self,
        key: &AccessKey,
        follows: &Digest,
        body: Body,
        decision: Option<OfficialDecision>,
    ) -> Result<AccessResponse, Status> {
        let object = Object::Access(key.clone());
        let follows = self.follows(&object, follows);
        let published = self.parts.publisher.decide(&object, follows.as_ref(), body, decision).await;
        Ok(response(stated(published)?, &key.id))
    }

    /// The predecessor that a statement about the application names: none where it was carried over, and nothing was said
    /// about it under its new name.
    fn follows(&self, object: &Object, last: &Digest) -> Option<Digest> {
        self.parts.view.seen().directory().last(object).map(|_| *last)
    }

    /// Keeps a decision until the second officer confirms it.
    fn wait(
        &self,
        key: AccessKey,
        follows: Digest,
        body: Body,
        request: DecideAccessRequest,
    ) -> Result<AccessResponse, Status> {
        let first = request.decision.clone().unwrap_or_default();
        // What would be refused anyway is refused now. The second officer is not known yet: any other one stands for it.
        let with_second = OfficialDecision { second_officer: format!("not {}", first.officer), ..first };
        let object = Object::Access(key.clone());
        let predecessor = self.follows(&object, &follows);
        if let Err(refusal) = self.parts.publisher.check_decision(&object, predecessor.as_ref(), body, with_second) {
            return Ok(response(refused(&refusal), &key.id));
        }
        let pending = Pending { key, follows, request, since_ms: self.parts.clock.now_ms() };
        let (told, id) = (pending_decision(&pending), pending.key.id.clone());
        if !self.parts.pending.add(pending).map_err(|error| unkept(&error))? {
            return Ok(response(refused(&Refusal::new(Code::DecisionPending).at("id")), &id));
        }
        Ok(AccessResponse { id: id.to_string(), pending: Some(told), ..AccessResponse::default() })
    }
}

#[tonic::async_trait]
impl Access for AccessEdge {
    async fn apply(&self, request: Request<ApplyForAccessRequest>) -> Answer<AccessResponse> {
        let ApplyForAccessRequest { application, decision } = request.into_inner();
        let mut application = application.ok_or_else(|| Status::invalid_argument("application: is missing"))?;
        let malformed = |field: &'static str| {
            move |error: trust::ids::IdError| Status::invalid_argument(format!("{field}: {error}"))
        };
        if application.id.is_empty() {
            application.id = data_encoding::HEXLOWER.encode(&random::array::<8>(self.parts.random.as_ref()));
        }
        application.consumer = self.parts.config.department.to_string();
        let key = AccessKey {
            provider: application.provider.parse().map_err(malformed("provider"))?,
            consumer: self.parts.config.department.clone(),
            id: application.id.parse().map_err(malformed("id"))?,
        };
        let object = Object::Access(key.clone());
        if let Err(refusal) = official::check_texts(decision.as_ref()) {
            return Ok(Response::new(response(refused(&refusal), &key.id)));
        }
        let follows = self.parts.view.seen().directory().last(&object).map(|place| place.digest);
        let body = Body::AccessApplied(application);
        let published = self.parts.publisher.decide(&object, follows.as_ref(), body, decision).await;
        Ok(Response::new(response(stated(published)?, &key.id)))
    }

    async fn decide(&self, request: Request<DecideAccessRequest>) -> Answer<AccessResponse> {
        let mut request = request.into_inner();
        let seen = self.parts.view.seen();
        let directory = seen.directory();
        let key = self.received(directory, &request.id)?;
        // From now on nobody can take it for another one.
        request.id = format!("{}/{}", key.consumer, key.id);
        let body = match body::of(directory, &key, &request, self.parts.clock.now_ms()) {
            Ok(body) => body,
            Err(body::Error::Refused(refusal)) => return Ok(Response::new(response(refused(&refusal), &key.id))),
            Err(body::Error::Usage(reason)) => return Err(Status::invalid_argument(reason)),
        };
        let kind = official::kind_of(&body).unwrap_or_default();
        if let Some(decision) = &mut request.decision {
            // The second officer confirms by himself; the first one cannot name him.
            decision.second_officer.clear();
        }
        if let Err(refusal) = official::check(directory.profile(), kind, request.decision.as_ref(), false) {
            return Ok(Response::new(response(refused(&refusal), &key.id)));
        }
        let follows = last(directory, &key)?;
        if official::takes_four_eyes(directory.profile(), kind) {
            return Ok(Response::new(self.wait(key, follows, body, request)?));
        }
        Ok(Response::new(self.publish(&key, &follows, body, request.decision).await?))
    }

    async fn confirm(&self, request: Request<ConfirmDecisionRequest>) -> Answer<AccessResponse> {
        let ConfirmDecisionRequest { id, officer } = request.into_inner();
        let seen = self.parts.view.seen();
        let directory = seen.directory();
        let key = self.received(directory, &id)?;
        let pending = self.parts.pending.about(&key).ok_or_else(|| nothing_waits(&key))?;
        let decision = OfficialDecision { second_officer: officer, ..pending.decision() };
        if decision.second_officer.trim().is_empty() {
            return Ok(Response::new(response(
                refused(&Refusal::new(Code::SecondOfficerMissing).at("officer")),
                &key.id,
            )));
        }
        let body = match body::of(directory, &key, &pending.request, self.parts.clock.now_ms()) {
            Ok(body) => body,
            Err(body::Error::Refused(refusal)) => return Ok(Response::new(response(refused(&refusal), &key.id))),
            Err(body::Error::Usage(reason)) => return Err(Status::invalid_argument(reason)),
        };
        let kind = official::kind_of(&body).unwrap_or_default();
        let checked = official::check(directory.profile(), kind, Some(&decision), true);
        let outdated = (last(directory, &key)? != pending.follows).then(|| {
            let reason = "set the decision aside (`access reject`), read what was said and decide again";
            Refusal::new(Code::StatementOutdated).at("id").because(reason)
        });
        if let Some(refusal) = checked.err().or(outdated) {
            return Ok(Response::new(response(refused(&refusal), &key.id)));
        }
        let answer = self.publish(&key, &pending.follows, body, Some(decision)).await?;
        if answer.refused.is_none() {
            self.parts.pending.remove(&key).map_err(|error| unkept(&error))?;
        }
        Ok(Response::new(answer))
    }

    async fn reject(&self, request: Request<RejectDecisionRequest>) -> Answer<PendingDecision> {
        let RejectDecisionRequest { id, officer, reason } = request.into_inner();
        if officer.trim().is_empty() || reason.trim().is_empty() {
            return Err(Status::invalid_argument("officer, reason: say who sets it aside, and why"));
        }
        let key = self.received(self.parts.view.seen().directory(), &id)?;
        let removed = self.parts.pending.remove(&key).map_err(|error| unkept(&error))?;
        let removed = removed.ok_or_else(|| nothing_waits(&key))?;
        let first = removed.decision().officer;
        tracing::info!(object = %Object::Access(key), action = removed.request.action, first, officer, reason, "a decision was set aside");
        Ok(Response::new(pending_decision(&removed)))
    }

    async fn list(&self, _: Request<ListAccessRequest>) -> Answer<ListAccessResponse> {
        Ok(Response::new(state::list(&self.parts).await))
    }

    async fn export(&self, request: Request<ExportAccessRequest>) -> Answer<ExportAccessResponse> {
        let key = self.known(self.parts.view.seen().directory(), &request.into_inner().id)?;
        let exporter = Arc::clone(&self.parts.exporter);
        let made = tokio::task::spawn_blocking(move || exporter.export_access(&key)).await;
        let proof = made
            .map_err(|error| Status::internal(error.to_string()))?
            .map_err(|error| Status::failed_precondition(error.to_string()))?;
        Ok(Response::new(ExportAccessResponse { proof }))
    }
}

fn one_of(
    directory: &Directory,
    text: &str,
    other_side: impl Fn(&AccessKey) -> Option<&str>,
) -> Result<AccessKey, Status> {
    let (side, id) = match text.split_once('/') {
        Some((side, id)) => (Some(side), id),
        None => (None, text),
    };
    let found: Vec<AccessKey> = directory
        .access_keys()
        .filter(|key| key.id.as_str() == id)
        .filter(|key| other_side(key).is_some_and(|other| side.is_none_or(|side| side == other)))
        .collect();
    match found.as_slice() {
        [key] => Ok(key.clone()),
        [] => Err(Status::not_found(format!("there is no application {text:?} here: `access list` shows them"))),
        several => {
            let names: Vec<String> =
                several.iter().map(|key| format!("{}/{id}", other_side(key).unwrap_or_default())).collect();
            Err(Status::invalid_argument(format!("several have this id; say which: {}", names.join(", "))))
        }
    }
}

/// What was said last about an application: what a decision on it follows. One that was carried over from a department that
/// ended has no statement of its own until somebody decides on it; its grant stands for it.
fn last(directory: &Directory, key: &AccessKey) -> Result<Digest, Status> {
    let place = directory.last(&Object::Access(key.clone())).map(|place| place.digest);
    let grant = || directory.access(key).and_then(|access| access.grant_statement);
    place.or_else(grant).ok_or_else(|| Status::failed_precondition("nothing was said about it under this name"))
}

fn response(stated: StatementResponse, id: &AccessId) -> AccessResponse {
    AccessResponse {
        object: stated.object,
        index: stated.index,
        digest: stated.digest,
        id: id.to_string(),
        refused: stated.refused,
        pending: None,
    }
}

fn nothing_waits(key: &AccessKey) -> Status {
    Status::not_found(format!("no decision about {} waits for a second officer", key.id))
}

fn unkept(error: &private_list::Error) -> Status {
    tracing::error!(%error, "a waiting decision cannot be kept");
    Status::internal(error.to_string())
}

#[cfg(test)]
mod tests;
