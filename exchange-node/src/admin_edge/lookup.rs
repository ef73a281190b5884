//! What operators mean by the names that they give.

use proto::admin::v1::StatementResponse;
use trust::{
    directory::{Directory, Object},
    ids::{DepartmentId, ServiceId},
    service::{Service, ServiceState},
};

/// The own service of that name: in the major version given, or for 0 in the newest that is not withdrawn.
pub(super) fn own_service(directory: &Directory, me: &DepartmentId, name: &str, major: u32) -> Option<ServiceId> {
    // People write it as askers do, too.
    let name = name.strip_prefix(&format!("{me}/")).unwrap_or(name);
    directory
        .services()
        .filter(|service| service.id.department == *me && service.id.service.as_str() == name)
        .filter(|service| major == 0 || service.id.major == major)
        .max_by_key(|service| (!matches!(service.state, ServiceState::Withdrawn { .. }), service.id.major))
        .map(|service| service.id.clone())
}

/// Publishing the same description once more changes nothing, so that a script may be run again.
pub(super) fn unchanged(directory: &Directory, service: &Service, object: &Object) -> Option<StatementResponse> {
    let known = directory.service(&service.id)?;
    let place = directory.last(object)?;
    // Where it was suspended since, the last statement is another, and publishing it again is a change.
    if known.published != service.published || place.digest != known.statement {
        return None;
    }
    Some(StatementResponse {
        object: object.to_string(),
        index: place.index,
        digest: place.digest.to_string(),
        ..StatementResponse::default()
    })
}
