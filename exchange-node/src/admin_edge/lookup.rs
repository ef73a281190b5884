//! What operators mean by the names that they give.

use trust::{
    directory::Directory,
    ids::{DepartmentId, ServiceId},
    service::ServiceState,
};

/// The own service of that name: in the major version given, or for 0 in the newest that is not withdrawn.
pub(super) fn own_service(directory: &Directory, me: &DepartmentId, name: &str, major: u32) -> Option<ServiceId> {
    // People write it as askers do, too.
    let name = name.strip_prefix(&format!("{me}/")).unwrap_or(name);
    directory
        .services_of(me)
        .filter(|service| service.id.service.as_str() == name)
        .filter(|service| major == 0 || service.id.major == major)
        .max_by_key(|service| (!matches!(service.state, ServiceState::Withdrawn { .. }), service.id.major))
        .map(|service| service.id.clone())
}
