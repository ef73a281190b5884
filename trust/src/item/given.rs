//! Values that one proof's answer gives to others: the spouse's number as the marriage register has it, for what is asked about
//! the spouse. Which proofs need what, and that none waits for itself. Out of scope: asking in that order.

use std::collections::BTreeSet;

use proto::registry::v1::{ItemPublished, ProofRequirement};

use super::{HOUSEHOLD, HOUSEHOLD_ROLES, about, reference, service_of};
use crate::{directory::Directory, service::Service};

/// What of giving contradicts itself in the proof at `index`: the field and the reason.
pub(super) fn wrong(item: &ItemPublished, index: usize) -> Vec<(&'static str, &'static str)> {
    let proof = &item.proofs[index];
    let discloses = proof.claim.as_ref().is_some_and(|claim| claim.disclose);
    if proof.gives.is_empty() {
        let is_wrong = discloses.then_some(("gives", "is missing: a value that is disclosed must be for something"));
        return is_wrong.into_iter().collect();
    }
    // Of several children nobody could say which is meant.
    let is_one = reference(&proof.gives).is_some_and(|(role, _)| role != "child");
    let is_twice = item.proofs[..index].iter().any(|other| other.gives == proof.gives);
    [
        (!is_one, "must be one person of the case and what is told of him, such as spouse.resident_id"),
        (!discloses, "needs a claim that discloses its value"),
        (is_twice, "another proof gives this already"),
    ]
    .into_iter()
    .filter_map(|(is_wrong, reason)| is_wrong.then_some(("gives", reason)))
    .collect()
}

/// What has to be known of the people of a case before the proof can be asked, each such as `spouse.resident_id`: one of them
/// for each value. What is compared with a record is the person's own or whose the item says; only what selects rows may
/// be the applicant's.
pub fn needs(service: &Service, proof: &ProofRequirement) -> BTreeSet<String> {
    let whom = about(proof);
    let one = [whom];
    let (roles, asked_first): (&[&str], &str) =
        if whom == HOUSEHOLD { (HOUSEHOLD_ROLES, "applicant") } else { (&one[..], whom) };
    let schemes = &service.published.subject_schemes;
    let mut needs: BTreeSet<String> =
        roles.iter().flat_map(|role| schemes.iter().map(move |scheme| format!("{role}.{scheme}"))).collect();
    let mut value = |value_from: &str, stated: &str, otherwise: &str, selects: bool| {
        if !value_from.is_empty() {
            needs.insert(value_from.to_owned());
            return;
        }
        let name = if stated.is_empty() { otherwise } else { stated };
        needs.insert(format!("{asked_first}.{name}"));
        if selects && may_be_the_applicants(name) {
            needs.insert(format!("applicant.{name}"));
        }
    };
    for input in proof.inputs.iter().filter(|input| input.value.is_none()) {
        value(&input.value_from, &input.stated, &input.name, true);
    }
    if let Some(claim) = proof.claim.as_ref().filter(|claim| claim.operands.is_empty() && claim.operator != "exists") {
        value(&proof.value_from, &proof.stated, &claim.attribute, false);
    }
    needs
}

/// Whether an input that selects rows, stated under this name, is the applicant's where the person states nothing: a region
/// or a period is, and never who somebody is.
pub fn may_be_the_applicants(name: &str) -> bool {
    !matches!(name, "name" | "resident_id")
}

/// For each proof, the places of those whose answers it waits for.
fn waits_for(directory: &Directory, item: &ItemPublished) -> Vec<Vec<usize>> {
    let gives_one = |needed: &BTreeSet<String>| {
        let given = item.proofs.iter().enumerate().filter(|(_, giver)| needed.contains(&giver.gives));
        given.map(|(place, _)| place).collect()
    };
    let of = |proof: &ProofRequirement| match service_of(directory, proof) {
        Some(service) => gives_one(&needs(service, proof)),
        None => Vec::new(),
    };
    item.proofs.iter().map(of).collect()
}

/// A way from a proof over those whose answers it waits for back to itself, by the papers' names.
pub(super) fn circle(directory: &Directory, item: &ItemPublished) -> Option<Vec<String>> {
    let edges = waits_for(directory, item);
    let way = (0..edges.len()).find_map(|start| {
        let mut way = vec![start];
        walk(&edges, start, &mut way, &mut BTreeSet::new()).then_some(way)
    })?;
    Some(way.into_iter().map(|place| item.proofs[place].proof.clone()).collect())
}

/// Looks for a way from the end of `way` to `goal`; each proof is looked at once.
fn walk(edges: &[Vec<usize>], goal: usize, way: &mut Vec<usize>, seen: &mut BTreeSet<usize>) -> bool {
    let Some(at) = way.last().copied() else { return false };
    for next in &edges[at] {
        way.push(*next);
        if *next == goal || seen.insert(*next) && walk(edges, goal, way, seen) {
            return true;
        }
        way.pop();
    }
    false
}
