//! The gRPC service `admin.v1.DepartmentChanges` on the admin socket: departments that are renamed, split and closed.
//! Translates, and looks first whether what a successor is to take over was handed over to it: the authority can close a
//! department without that, and everything it had ends then. Out of scope: what moves (`trust::directory::succession`).

use std::sync::Arc;

use proto::{
    admin::v1::{self as wire, department_changes_server},
    registry::v1::{DepartmentClosed, DepartmentRenamed, DepartmentSplit, statement::Body},
};
use tonic::{Request, Response, Status};
use trust::{
    directory::{Directory, Object},
    ids::DepartmentId,
    refusal::{Code, Refusal},
    service::ServiceState,
    subject::credit_code::{Strictness, Uscc},
};

use super::{changed, department, refused};
use crate::{authority::Authority, sequencer::Sequencer};

/// The service.
pub struct DepartmentsEdge {
    sequencer: Sequencer,
    authority: Arc<Authority>,
}

impl DepartmentsEdge {
    /// The service over the registry's rooms.
    pub fn server(
        sequencer: Sequencer,
        authority: Arc<Authority>,
    ) -> department_changes_server::DepartmentChangesServer<Self> {
        department_changes_server::DepartmentChangesServer::new(Self { sequencer, authority })
    }
}

#[tonic::async_trait]
impl department_changes_server::DepartmentChanges for DepartmentsEdge {
    async fn rename_department(
        &self,
        request: Request<wire::RenameDepartmentRequest>,
    ) -> Result<Response<wire::ChangeDepartmentResponse>, Status> {
        let request = request.into_inner();
        let id = department(&request.department)?;
        let strictness = if request.lenient_uscc { Strictness::Lenient } else { Strictness::Strict };
        let uscc = match request.uscc.as_str() {
            "" => String::new(),
            text => Uscc::parse(text, strictness)
                .map_err(|error| refused(&Refusal::new(Code::StatementRefused).at("uscc").because(error)))?
                .into_string(),
        };
        let body = DepartmentRenamed {
            department: id.to_string(),
            name: request.name,
            uscc,
            division: request.division,
            from_ms: if request.from_ms == 0 { self.authority.now_ms() } else { request.from_ms },
            document: request.document,
        };
        changed(self.authority.say(Object::Department(id), Body::DepartmentRenamed(body)).await)
    }

    async fn end_department(
        &self,
        request: Request<wire::EndDepartmentRequest>,
    ) -> Result<Response<wire::EndDepartmentResponse>, Status> {
        let request = request.into_inner();
        let id = department(&request.department)?;
        let successors =
            request.successors.iter().map(|successor| department(successor)).collect::<Result<Vec<_>, _>>()?;
        if !request.without_hand_over {
            check_handed_over(&self.sequencer.directory(), &id, &successors).map_err(|refusal| refused(&refusal))?;
        }
        let (name, successors_named, reason) = (id.to_string(), request.successors, request.reason);
        let from_ms = if request.from_ms == 0 { self.authority.now_ms() } else { request.from_ms };
        let body = match request.goes_on {
            true => Body::DepartmentSplit(DepartmentSplit {
                department: name,
                successors: successors_named,
                from_ms,
                reason,
            }),
            false => Body::DepartmentClosed(DepartmentClosed {
                department: name,
                successors: successors_named,
                from_ms,
                reason,
            }),
        };
        let wire::ChangeDepartmentResponse { index, waiting } =
            changed(self.authority.say(Object::Department(id.clone()), body).await)?.into_inner();
        if !waiting.is_empty() {
            // Nothing has gone over and nothing has ended.
            return Ok(Response::new(wire::EndDepartmentResponse { waiting, ..Default::default() }));
        }
        Ok(Response::new(outcome(&self.sequencer.directory(), &id, index, request.goes_on)))
    }
}

/// Every successor was handed something over and has accepted it.
fn check_handed_over(
    directory: &Directory,
    department: &DepartmentId,
    successors: &[DepartmentId],
) -> Result<(), Refusal> {
    for successor in successors {
        let why = match directory.succession(department, successor) {
            Some(known) if known.from_ms.is_some() => {
                format!("what {department} handed over to {successor} has gone over already")
            }
            Some(known) if known.accepted => continue,
            Some(_) => format!("{successor} has not accepted yet: exchange-node department accept --from {department}"),
            None => format!(
                "{department} has handed nothing over to {successor}: exchange-node department hand-over --to {successor}"
            ),
        };
        let why = format!("{why}; --without-hand-over ends the department with all it has");
        return Err(Refusal::new(Code::StatementRefused).at("successors").because(why));
    }
    Ok(())
}

/// What went over, and what ended.
fn outcome(directory: &Directory, department: &DepartmentId, index: u64, goes_on: bool) -> wire::EndDepartmentResponse {
    let mut services_carried = Vec::new();
    let mut services_ended = Vec::new();
    for service in directory.services_of(department) {
        let name = format!("{}/{}", service.id.service, service.id.major);
        match directory.service_handed_to(&service.id) {
            Some(to) => services_carried.push(format!("{}/{name}", to.successor)),
            None if goes_on || matches!(service.state, ServiceState::Withdrawn { .. }) => {}
            None => services_ended.push(name),
        }
    }
    let grants = directory
        .all_access()
        .filter(|(key, _)| key.provider == *department || key.consumer == *department)
        .filter(|(key, access)| access.granted.is_some() && directory.access_handed_to(key).is_some())
        .count();
    wire::EndDepartmentResponse {
        index,
        services_carried,
        grants_carried: u32::try_from(grants).unwrap_or(u32::MAX),
        services_ended,
        waiting: String::new(),
    }
}
