//! What the node knows, in the messages that operators get. Out of scope: changing any of it.

use proto::admin::v1::{self as admin, StatementResponse};
use trust::{
    directory::{
        Directory,
        kept::Kept,
        model::{Access, AccessState},
    },
    ids::DepartmentId,
    refusal::Refusal,
    service::{Service, ServiceState},
};

use crate::records::RecordsStatus;

/// A refusal by this node, before anything was signed.
pub(super) fn refused(refusal: &Refusal) -> StatementResponse {
    StatementResponse { refused: Some(refusal.to_wire()), ..StatementResponse::default() }
}

pub(super) fn service_state(service: &Service, now_ms: u64) -> admin::ServiceState {
    let (state, notice) = match &service.state {
        ServiceState::Answering => ("answering", String::new()),
        ServiceState::Suspended { notice } => ("suspended", notice.clone()),
        // A withdrawal may be announced for later.
        ServiceState::Withdrawn { reason, from_ms } if now_ms < *from_ms => ("answering", reason.clone()),
        ServiceState::Withdrawn { reason, .. } => ("withdrawn", reason.clone()),
    };
    admin::ServiceState { service: Some(service.published.clone()), state: state.to_owned(), notice }
}

pub(super) fn access_state(access: &Access) -> admin::AccessState {
    let (state, reason) = access_words(&access.state);
    admin::AccessState {
        applied: Some(access.applied.read()),
        granted: access.granted.as_ref().map(Kept::read),
        state: state.to_owned(),
        reason,
    }
}

/// The own services with their records: those of the directory, whether or not anything was imported.
pub(super) fn records_status(
    directory: &Directory,
    me: &DepartmentId,
    held: &[RecordsStatus],
) -> Vec<admin::RecordsStatus> {
    directory
        .services()
        .filter(|service| service.id.department == *me && !matches!(service.state, ServiceState::Withdrawn { .. }))
        .map(|service| {
            let records =
                held.iter().find(|records| records.service == service.id.service && records.major == service.id.major);
            admin::RecordsStatus {
                service: service.id.service.to_string(),
                major_version: service.id.major,
                imported: records.is_some_and(|records| records.fault.is_none()),
                rows: records.map_or(0, |records| records.rows),
                quarantined: records.map_or(0, |records| records.quarantined_subjects),
                imported_ms: records.map_or(0, |records| records.imported_ms),
            }
        })
        .collect()
}

/// The name of an access state, and its reason, as operators read them.
pub(super) fn access_words(state: &AccessState) -> (&'static str, String) {
    match state {
        AccessState::Applied => ("applied", String::new()),
        AccessState::Granted => ("granted", String::new()),
        AccessState::Refused { reason, .. } => ("refused", reason.clone()),
        AccessState::Returned { missing } => ("returned", missing.join("; ")),
        AccessState::Revoked { reason } => ("revoked", reason.clone()),
        AccessState::Suspended { reason } => ("suspended", reason.clone()),
    }
}
