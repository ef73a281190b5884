//! The catalogue: what the log means to a reader who wants to know who takes part and with what. Computed from the
//! directory as it stands whenever somebody asks. Out of scope: anything that is signed.

use proto::admin::v1::DepartmentState;
use trust::directory::Directory;

use crate::authority::DepartmentProfile;

/// Every department, those that have yet to enrol included, sorted by id.
pub fn departments(directory: &Directory, pending: &[DepartmentProfile], now_ms: u64) -> Vec<DepartmentState> {
    let mut states: Vec<DepartmentState> = directory
        .departments()
        .map(|(id, department)| DepartmentState {
            department: id.to_string(),
            name: Some(department.name_at(now_ms)),
            state: match (department.closed_at(now_ms), &department.suspended) {
                (Some(_), _) => "closed",
                (None, Some(_)) => "suspended",
                (None, None) => "admitted",
            }
            .to_owned(),
            successors: department.closed_at(now_ms).map(|closed| closed.successors.clone()).unwrap_or_default(),
            nodes: count(directory.nodes_of(id)),
            services: count(
                directory.services_of(id).filter(|service| directory.service_now(&service.id, now_ms) == service.id),
            ),
        })
        .collect();
    let waiting = pending.iter().filter(|profile| directory.department(&profile.department).is_none());
    states.extend(waiting.map(|profile| DepartmentState {
        department: profile.department.to_string(),
        name: Some(profile.name.clone()),
        state: "awaiting enrolment".to_owned(),
        nodes: 0,
        services: 0,
        successors: Vec::new(),
    }));
    states.sort_by(|one, other| one.department.cmp(&other.department));
    states
}

fn count<T>(items: impl Iterator<Item = T>) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}
