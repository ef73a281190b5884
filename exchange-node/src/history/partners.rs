//! With whom this department exchanges messages: who may hold what this node lost. Out of scope: asking them.

use std::collections::BTreeSet;

use trust::{
    directory::{Directory, model::Node},
    ids::DepartmentId,
};

/// Up to so many departments, everybody is taken for a partner: an unconditional service may be asked by all.
const FEW_DEPARTMENTS: usize = 64;

/// The nodes of the departments that this one exchanges messages with: those that hold a grant of it or gave it one, and in a
/// small exchange everybody.
pub(crate) fn partners(directory: &Directory, me: &DepartmentId) -> Vec<Node> {
    let given_to = directory.access_given_by(me).map(|(key, _)| key.consumer.clone());
    let held_from = directory.access_held_by(me).map(|(key, _)| key.provider);
    let by_grant: BTreeSet<DepartmentId> = given_to.chain(held_from).collect();
    let mut partners: Vec<Node> =
        by_grant.iter().filter(|other| *other != me).flat_map(|other| directory.nodes_of(other)).cloned().collect();
    let mut others = BTreeSet::new();
    let mut all = Vec::new();
    for node in directory.scan_nodes().filter(|node| node.department != *me) {
        others.insert(node.department.clone());
        if others.len() > FEW_DEPARTMENTS {
            return partners;
        }
        all.push(node);
    }
    std::mem::swap(&mut partners, &mut all);
    partners
}

#[cfg(test)]
mod tests {
    use trust::fixture::{self, Fixture};

    use super::*;

    #[test]
    fn the_others_are_partners_and_one_is_not_ones_own() {
        let fixture = Fixture::town();
        let found = partners(&fixture.directory, &fixture::department("housing"));
        assert!(found.iter().any(|node| node.department.as_str() == "civil-affairs"), "{found:?}");
        assert!(found.iter().all(|node| node.department.as_str() != "housing"), "{found:?}");
    }
}
