//! Departments as a reader looks for them, with their keys and nodes.

use proto::registry::v1::{DepartmentAdmitted, DepartmentEntry, DepartmentPage, DepartmentQuery, KeyEntry, NodeEntry};

use super::{Error, Words, id, page::Paging};
use crate::{
    directory::{
        Directory, Object,
        model::{AccessState, Department, KnownKey},
    },
    ids::DepartmentId,
    service::ServiceState,
};

/// A department's state in a word, and why it is in it, where that was said. An end that was announced for later shows
/// beside `admitted`.
pub fn department_state(department: &Department, now_ms: u64) -> (&'static str, &str) {
    match (department.closed_at(now_ms), &department.suspended, &department.closed) {
        (Some(closed), _, _) => ("closed", &closed.reason),
        (None, Some(reason), _) => ("suspended", reason),
        (None, None, Some(announced)) => ("admitted", &announced.reason),
        (None, None, None) => ("admitted", ""),
    }
}

/// The departments that a query asks for, by id.
pub fn departments(directory: &Directory, query: &DepartmentQuery, now_ms: u64) -> Result<DepartmentPage, Error> {
    let paging = Paging::read(query.page.as_ref(), "departments", &DepartmentQuery { page: None, ..query.clone() })?;
    let only: Option<DepartmentId> = id("department", &query.department)?;
    let after: Option<DepartmentId> = paging.after_key()?;
    let words = Words::read(&query.text);
    let found = directory
        .departments()
        .filter(|(id, _)| after.as_ref().is_none_or(|after| *id > after))
        .filter(|(id, _)| only.as_ref().is_none_or(|only| *id == only))
        .filter(|(_, department)| query.state.is_empty() || department_state(department, now_ms).0 == query.state)
        .filter(|(id, department)| {
            // Earlier names too: whoever looks for one finds what it is called now.
            let admitted = department.admitted.read();
            let names = admitted.name.iter().chain(department.renamed.iter().flat_map(|later| &later.name));
            let names = names.flat_map(|name| [name.zh.as_str(), name.en.as_str()]);
            words.are_in(names.chain([id.as_str(), department.uscc_at(now_ms)]))
        })
        .map(|(id, department)| (id.to_string(), entry(directory, id, department, now_ms)));
    let (departments, end) = paging.take(found, directory.size());
    Ok(DepartmentPage { departments, end })
}

fn entry(directory: &Directory, id: &DepartmentId, department: &Department, now_ms: u64) -> DepartmentEntry {
    let (state, reason) = department_state(department, now_ms);
    let (admitted, name) = (department.admitted.read(), department.name_at(now_ms));
    let mut keys: Vec<(u64, KeyEntry)> = directory
        .keys()
        .filter(|(_, key)| key.department.as_ref() == Some(id))
        .map(|(key_id, key)| (key.added_at, key_entry(key_id.to_string(), key)))
        .collect();
    // In the order they came; the first and the recovery key came with the admission.
    keys.sort_by(|(at, one), (other_at, other)| {
        (at, role(one), &one.key_id).cmp(&(other_at, role(other), &other.key_id))
    });
    let nodes = directory.nodes_of(id).map(|node| NodeEntry {
        node: node.node.to_string(),
        addresses: node.addresses.clone(),
        tls_key: node.tls_key.to_vec(),
        relays: node.relays.clone(),
        draining: node.draining,
    });
    let services = directory
        .services_of(id)
        .filter(|service| !matches!(service.state, ServiceState::Withdrawn { .. }))
        .map(|service| format!("{}/{}", service.id.service, service.id.major));
    DepartmentEntry {
        former_names: former_names(department, &admitted, &name.zh),
        admitted: Some(admitted),
        state: state.to_owned(),
        reason: reason.to_owned(),
        keys: keys.into_iter().map(|(_, key)| key).collect(),
        nodes: nodes.collect(),
        services: services.collect(),
        grants_given: count(directory.access_given_by(id).filter(|(_, access)| access.state == AccessState::Granted)),
        grants_held: count(directory.access_held_by(id).filter(|(_, access)| access.state == AccessState::Granted)),
        last_statement: directory.last(&Object::Department(id.clone())).map_or(0, |place| place.index),
        uscc: department.uscc_at(now_ms).to_owned(),
        name: Some(name),
        successors: department.closed.as_ref().map(|closed| closed.successors.clone()).unwrap_or_default(),
    }
}

fn former_names(department: &Department, admitted: &DepartmentAdmitted, now: &str) -> Vec<String> {
    let names = admitted.name.iter().chain(department.renamed.iter().flat_map(|later| &later.name));
    let mut former: Vec<String> = names.map(|name| name.zh.clone()).filter(|name| name != now).collect();
    former.dedup();
    former
}

fn role(key: &KeyEntry) -> i32 {
    key.key.as_ref().map_or(0, |key| key.role)
}

fn key_entry(key_id: String, key: &KnownKey) -> KeyEntry {
    let (revoked_ms, reason) = key
        .revoked
        .as_ref()
        .map_or((0, String::new()), |revoked| (revoked.stated_at_ms.max(1), revoked.reason.clone()));
    KeyEntry {
        key_id,
        key: Some(key.described.to_wire()),
        node: key.node.as_ref().map(ToString::to_string).unwrap_or_default(),
        revoked_ms,
        reason,
    }
}

fn count<T>(items: impl Iterator<Item = T>) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}
