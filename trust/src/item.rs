//! Public service items as their departments publish them: whether a guide is whole, whether it asks for what a department
//! can answer, whether its papers lead in a circle, and what should be put right once other things change. Pure: the item,
//! the directory and the moment come in from outside. Out of scope: handling a case.
//!
//! A paper is known by its name: what stands in brackets after it is for people.

pub mod given;
pub mod graph;

use std::collections::BTreeSet;

use proto::registry::v1::{ItemPublished, ProofRequirement};

use crate::{
    claim::Claim,
    directory::{Directory, model::ItemVersion},
    ids::{DepartmentId, ServiceId},
    service::{Service, Sharing, has_basis},
};

/// The people that there are in a case. `household` is all of them.
pub const ROLES: &[&str] = &["applicant", "spouse", "child", "guardian", "father", "mother"];

/// About everybody in a case together: what their records add up to.
pub const HOUSEHOLD: &str = "household";

/// The people who make up a household.
pub const HOUSEHOLD_ROLES: &[&str] = &["applicant", "spouse", "child"];

/// What a file among the samples shows: how it is done, or a common mistake.
pub const SAMPLE_KINDS: &[&str] = &["sample", "mistake"];

/// The longest id of an item, in characters.
const LONGEST_ID: usize = 60;

/// One thing wrong with an item.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct Flaw {
    /// The field, for example `proofs[0].legal_basis`.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
}

fn flaw(field: impl Into<String>, reason: impl Into<String>) -> Flaw {
    Flaw { field: field.into(), reason: reason.into() }
}

/// Everything that is missing in an item's guide or contradicts itself, whatever else there is in the directory.
pub fn shape(item: &ItemPublished) -> Vec<Flaw> {
    let mut flaws = Vec::new();
    let mut need = |is_there: bool, field: &str, reason: &str| {
        if !is_there {
            flaws.push(flaw(field, reason));
        }
    };
    let has = |text: &str| !text.trim().is_empty();
    let is_id = has(&item.item)
        && item.item.chars().count() <= LONGEST_ID
        && !item.item.chars().any(|one| one.is_control() || one.is_whitespace() || one == '/');
    need(is_id, "item", "is missing, or is longer than 60 characters, or has a blank or a slash in it");
    need(item.version > 0, "version", "versions are counted from 1");
    need(item.name.as_ref().is_some_and(|name| has(&name.zh)), "name.zh", "is missing: what people call the item");
    need(has_basis(&item.legal_bases), "legal_basis", "is missing: state instrument and article (办理依据)");
    need(has(&item.accepting_unit), "accepting_unit", "is missing (受理单位)");
    need(!item.steps.is_empty(), "steps", "are missing (基本流程)");
    for (index, step) in item.steps.iter().enumerate() {
        need(has(&step.step), &format!("steps[{index}].step"), "is missing");
        need(has(&step.actor), &format!("steps[{index}].actor"), "is missing: who does it");
    }
    need(!item.proofs.is_empty(), "proofs", "are missing (申请材料)");
    let has_samples = item.samples.iter().any(|sample| has(sample)) || !item.sample_files.is_empty();
    need(has_samples, "samples", "are missing (示范文本及常见错误示例)");
    for (index, sample) in item.sample_files.iter().enumerate() {
        let field = |name: &str| format!("sample_files[{index}].{name}");
        need(SAMPLE_KINDS.contains(&sample.kind.as_str()), &field("kind"), "must be sample or mistake");
        need(has(&sample.name), &field("name"), "is missing: the file's name");
        need(sample.sha256.len() == 32, &field("sha256"), "is missing: SHA-256 of the file, 32 bytes");
    }
    need(has(&item.fees), "fees", "are missing: say that there are none, or on what basis (收费依据及标准)");
    need(item.time_limit_working_days.is_some(), "time_limit_working_days", "is missing; 0 for at once (办理时限)");
    need(has(&item.contact), "contact", "is missing (咨询方式)");
    let mut seen = BTreeSet::new();
    for (index, proof) in item.proofs.iter().enumerate() {
        let field = |name: &str| format!("proofs[{index}].{name}");
        let named = if has(&proof.proof) { proof.proof.as_str() } else { "the proof" };
        need(has(&proof.proof), &field("proof"), "is missing: the paper's name");
        need(
            has_basis(&proof.legal_bases),
            &field("legal_basis"),
            &format!("{named} has no legal basis, so nobody may ask for it: state instrument and article"),
        );
        need(has(&proof.issuing_unit), &field("issuing_unit"), "is missing (开具单位)");
        let about = about(proof);
        need(
            about == HOUSEHOLD || ROLES.contains(&about),
            &field("about"),
            "must be applicant, spouse, child, guardian, father, mother or household",
        );
        need(
            seen.insert((proof.proof.clone(), about.to_owned())),
            &field("proof"),
            "stands twice about the same person",
        );
        let excluded = has(&item.commitments_excluded) && proof.commitment_allowed;
        need(!excluded, &field("commitment"), "the item excludes commitments (commitments_excluded)");
        for (place, input) in proof.inputs.iter().enumerate() {
            let given =
                u8::from(input.value.is_some()) + u8::from(has(&input.stated)) + u8::from(has(&input.value_from));
            need(given == 1, &field(&format!("inputs[{place}]")), "takes one of value, stated and value_from");
            need(
                !has(&input.value_from) || reference(&input.value_from).is_some(),
                &field(&format!("inputs[{place}].value_from")),
                REFERENCE,
            );
        }
        need(!has(&proof.value_from) || reference(&proof.value_from).is_some(), &field("claim.value_from"), REFERENCE);
        for (name, reason) in given::wrong(item, index) {
            need(false, &field(name), reason);
        }
        let Some(claim) = &proof.claim else {
            need(!has(&proof.answered_by), &field("claim"), "is missing: what the service is to be asked");
            continue;
        };
        let sources = [!claim.operands.is_empty(), has(&proof.stated), has(&proof.value_from)];
        let given = sources.iter().filter(|given| **given).count();
        need(given <= 1, &field("claim"), "takes one of value, stated and value_from");
    }
    flaws
}

const REFERENCE: &str = "must be a person of the case and what is known of him, such as spouse.resident_id";

/// About whom a proof is; the applicant where it does not say.
pub fn about(proof: &ProofRequirement) -> &str {
    if proof.about.is_empty() { "applicant" } else { &proof.about }
}

/// The role and the name in `spouse.resident_id`.
pub fn reference(text: &str) -> Option<(&str, &str)> {
    let (role, name) = text.split_once('.')?;
    (ROLES.contains(&role) && crate::claim::is_attribute_name(name)).then_some((role, name))
}

/// Everything that is wrong with an item beside what the directory has at that time: papers that may not be asked for,
/// services that do not answer, circles.
pub fn standing(directory: &Directory, item: &ItemPublished, at_ms: u64) -> Vec<Flaw> {
    let mut flaws = Vec::new();
    for (index, proof) in item.proofs.iter().enumerate() {
        let field = |name: &str| format!("proofs[{index}].{name}");
        if proof.answered_by.is_empty() {
            let services: Vec<String> = answering(directory, &proof.proof, at_ms).map(name_of).collect();
            if !services.is_empty() {
                let reason =
                    format!("{} may not be asked of the applicant: {} answers it", proof.proof, services.join(", "));
                flaws.push(flaw(field("answered_by"), reason));
            }
            continue;
        }
        flaws.extend(answered(directory, proof, &field));
    }
    if let Some(path) = given::circle(directory, item) {
        flaws.push(flaw("proofs", format!("the answers wait for each other in a circle: {}", path.join(" → "))));
    }
    if let Some(path) = graph::circle(directory, item) {
        flaws.push(flaw("proofs", format!("the papers lead in a circle: {}", path.join(" → "))));
    }
    flaws
}

/// What is wrong with an item for a time only: papers that lead in a circle among versions that hold together now or later,
/// although the newest ones do not. Whoever takes an item in looks at it; whoever reads one that was taken does not, because
/// directories have items from before this was a rule.
pub fn passing(directory: &Directory, item: &ItemPublished, at_ms: u64) -> Vec<Flaw> {
    if graph::circle(directory, item).is_some() {
        // That is said already.
        return Vec::new();
    }
    let path = graph::circle_for_a_time(directory, item, at_ms);
    let reason = |path: Vec<String>| {
        format!(
            "the papers lead in a circle until a later version takes effect: {}; begin with that version's day",
            path.join(" → ")
        )
    };
    path.map(|path| flaw("proofs", reason(path))).into_iter().collect()
}

/// Whether the service that a proof names can be asked what the proof says.
fn answered(directory: &Directory, proof: &ProofRequirement, field: &impl Fn(&str) -> String) -> Vec<Flaw> {
    let Some(service) = service_of(directory, proof) else {
        return vec![flaw(
            field("answered_by"),
            format!("there is no service {} (version {})", proof.answered_by, proof.major_version),
        )];
    };
    let mut flaws = Vec::new();
    for input in &proof.inputs {
        match service.inputs.iter().find(|rule| rule.name == input.name) {
            None => flaws.push(flaw(field("inputs"), format!("{} has no input {}", proof.answered_by, input.name))),
            Some(rule) => {
                if let Some(value) = &input.value
                    && let Err(error) = crate::value::Value::from_proto(value, &rule.ty)
                {
                    flaws.push(flaw(field("inputs"), format!("{}: {error}", input.name)));
                }
            }
        }
    }
    for rule in service.inputs.iter().filter(|rule| rule.required) {
        if proof.inputs.iter().all(|input| input.name != rule.name) {
            flaws.push(flaw(field("inputs"), format!("{} needs the input {}", proof.answered_by, rule.name)));
        }
    }
    let Some(claim) = &proof.claim else { return flaws };
    let Some(rule) = service.attributes.get(&claim.attribute) else {
        flaws.push(flaw(field("claim"), format!("{} has no attribute {}", proof.answered_by, claim.attribute)));
        return flaws;
    };
    if !proof.gives.is_empty() && !rule.discloses() {
        let reason = format!("{} discloses no value of {}, so it cannot give one", proof.answered_by, claim.attribute);
        flaws.push(flaw(field("gives"), reason));
    }
    if !rule.operators().iter().any(|operator| operator.as_str() == claim.operator) {
        let reason = format!("{} may not be asked of {}", claim.operator, claim.attribute);
        flaws.push(flaw(field("claim"), reason));
    } else if !claim.operands.is_empty()
        && let Err(error) = Claim::from_proto(claim, rule.ty())
    {
        flaws.push(flaw(field("claim"), error.to_string()));
    }
    flaws
}

/// The service that a proof names, in its major version.
pub fn service_of<'a>(directory: &'a Directory, proof: &ProofRequirement) -> Option<&'a Service> {
    directory.service(&ServiceId::read(&proof.answered_by, proof.major_version.max(1)).ok()?)
}

/// The services that answer at that time and say that they make the paper of this name unnecessary.
pub fn answering<'a>(directory: &'a Directory, paper: &'a str, at_ms: u64) -> impl Iterator<Item = &'a Service> {
    directory.services().filter(move |service| {
        service.sharing != Sharing::NotShared
            && service.answers_at(at_ms)
            && service.published.replaces_proofs.iter().any(|replaced| same_paper(replaced, paper))
    })
}

/// Whether two names are of one paper.
pub fn same_paper(one: &str, other: &str) -> bool {
    !plain(one).is_empty() && plain(one) == plain(other)
}

/// A paper's name without what stands in brackets after it.
fn plain(name: &str) -> &str {
    name.split(['(', '（']).next().unwrap_or(name).trim()
}

fn name_of(service: &Service) -> String {
    format!("{}/{}", service.id.department, service.id.service)
}

/// What should be put right in an item that is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whose item it is.
    pub department: DepartmentId,
    /// The item.
    pub item: String,
    /// Its version.
    pub version: u32,
    /// The proof.
    pub proof: String,
    /// What is wrong.
    pub kind: FindingKind,
    /// The services that answer it, or the one that does not any more.
    pub services: Vec<String>,
}

/// What is wrong with a proof of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FindingKind {
    /// The service that it names does not answer any more.
    NotAnsweredAnyMore,
    /// A service has appeared that answers it, and the item still asks the applicant.
    NowObtainable,
}

impl FindingKind {
    /// The name in lists and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotAnsweredAnyMore => "not_answered_any_more",
            Self::NowObtainable => "now_obtainable",
        }
    }
}

/// What should be put right in the items that are in force, of one department or of all.
pub fn findings(directory: &Directory, department: Option<&DepartmentId>, now_ms: u64) -> Vec<Finding> {
    let mut found = Vec::new();
    for (owner, version) in in_force(directory, now_ms) {
        if department.is_some_and(|wanted| wanted != owner) {
            continue;
        }
        let item = version.published.read();
        for proof in &item.proofs {
            let (kind, services) = if proof.answered_by.is_empty() {
                (
                    FindingKind::NowObtainable,
                    answering(directory, &proof.proof, now_ms).map(name_of).collect::<Vec<_>>(),
                )
            } else if service_of(directory, proof)
                .is_none_or(|service| service.ends().is_some_and(|(from_ms, _)| from_ms <= now_ms))
            {
                (FindingKind::NotAnsweredAnyMore, vec![proof.answered_by.clone()])
            } else {
                continue;
            };
            if !services.is_empty() {
                found.push(Finding {
                    department: owner.clone(),
                    item: item.item.clone(),
                    version: item.version,
                    proof: proof.proof.clone(),
                    kind,
                    services,
                });
            }
        }
    }
    found
}

/// Every item in the version that is in force at that time.
pub fn in_force(directory: &Directory, now_ms: u64) -> impl Iterator<Item = (&DepartmentId, &ItemVersion)> {
    directory.items().filter_map(move |((department, _), versions)| {
        let version = versions.iter().rev().find(|version| version.effective_from_ms <= now_ms)?;
        Some((department, version))
    })
}

#[cfg(test)]
mod tests;
