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
    let others: BTreeSet<&DepartmentId> =
        directory.nodes().map(|node| &node.department).filter(|department| *department != me).collect();
    let by_grant: BTreeSet<&DepartmentId> = directory
        .all_access()
        .filter_map(|(key, _)| match (key.provider == *me, key.consumer == *me) {
            (true, _) => Some(&key.consumer),
            (_, true) => Some(&key.provider),
            _ => None,
        })
        .collect();
    let is_partner = |node: &&Node| {
        node.department != *me && (others.len() <= FEW_DEPARTMENTS || by_grant.contains(&node.department))
    };
    directory.nodes().filter(is_partner).cloned().collect()
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
