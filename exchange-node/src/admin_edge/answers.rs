//! What the node knows, in the messages that operators get. Out of scope: changing any of it.

use proto::admin::v1::{self as admin, StatementResponse};
use trust::{
    catalogue::service_standing,
    directory::{Directory, model::AccessState},
    ids::DepartmentId,
    refusal::Refusal,
    service::{Proposal, Review, Service, ServiceState},
};

use crate::{notices, records::RecordsStatus};

/// A refusal by this node, before anything was signed.
pub(super) fn refused(refusal: &Refusal) -> StatementResponse {
    StatementResponse { refused: Some(refusal.to_wire()), ..StatementResponse::default() }
}

pub(super) fn service_state(directory: &Directory, service: &Service, now_ms: u64) -> admin::ServiceState {
    let standing = service_standing(service, now_ms);
    let missing = |proposal: &Proposal| match &proposal.review {
        Review::Returned { missing, .. } => missing.clone(),
        Review::Approved { .. } | Review::NotRequired | Review::Waiting { .. } => Vec::new(),
    };
    let change = service.proposed.as_ref();
    admin::ServiceState {
        service: Some(service.published.clone()),
        state: standing.state.to_owned(),
        notice: standing.notice,
        ends_ms: standing.from_ms,
        review: notices::review_word(service).to_owned(),
        change: change.map(|proposal| proposal.published.clone()),
        change_missing: change.map(missing).unwrap_or_default(),
        provider_name: directory
            .department(&service.id.department)
            .map(|department| department.name_at(now_ms).zh)
            .unwrap_or_default(),
    }
}

/// The own services with their records: those of the directory, whether or not anything was imported.
pub(super) fn records_status(
    directory: &Directory,
    me: &DepartmentId,
    held: &[RecordsStatus],
) -> Vec<admin::RecordsStatus> {
    directory
        .services_of(me)
        .filter(|service| !matches!(service.state, ServiceState::Withdrawn { .. }))
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
