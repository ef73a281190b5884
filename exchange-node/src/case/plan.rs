//! From an item to questions: for each proof, whom it is about, which service answers it, with which values, and what has
//! still to be stated. Out of scope: asking them.

use std::collections::BTreeSet;

use proto::{
    exchange::v1::{self as wire, Value, value::Kind},
    registry::v1::{ItemPublished, ProofRequirement},
};
use sha2::{Digest as _, Sha256};
use trust::{
    directory::Directory,
    item::{self, HOUSEHOLD},
    service::Service,
};

use super::{Case, Consent, Proof, household, judge::Answer};
use crate::ask::OfficeQuestion;

/// The paper's name of the node's own look at who a person is.
const IDENTITY: &str = "身份核对";

/// The attribute that says who a person is.
const NAME: &str = "name";

/// A number that a person is known by.
const RESIDENT: &str = "resident_id";

/// How long a department that cannot be reached is tried in a case, in milliseconds: the applicant waits for the slowest of
/// those that answer, and what this one knows is asked later, or shown on paper.
const UNREACHED_MS: u32 = 800;

/// A proof as it stands before anything was asked, and what to ask.
pub(super) struct Planned {
    pub(super) proof: Proof,
    pub(super) question: Option<OfficeQuestion>,
    pub(super) requirement: ProofRequirement,
}

/// All proofs of a case under its item, and those that the node needs besides.
pub(super) fn plan(directory: &Directory, item: &ItemPublished, case: &Case, now_ms: u64) -> Vec<Planned> {
    let mut planned: Vec<Planned> = item.proofs.iter().map(|proof| one(directory, item, proof, case)).collect();
    // Whatever may stand on the absence of a record needs to know who the person is.
    let mut unknown: Vec<String> = Vec::new();
    for requirement in &item.proofs {
        let about = person_of(item::about(requirement)).to_owned();
        let may_be_absent = item::service_of(directory, requirement).is_some_and(|service| {
            let claim = requirement.claim.as_ref();
            let rule = claim.and_then(|claim| service.attributes.get(&claim.attribute));
            rule.is_some_and(|rule| rule.absence().is_some())
        });
        let is_named = planned.iter().any(|planned| planned.proof.names && planned.proof.about == about);
        if may_be_absent && !is_named && !unknown.contains(&about) {
            unknown.push(about);
        }
    }
    for about in unknown {
        if let Some(identity) = identity(directory, item, case, &about, now_ms) {
            planned.push(identity);
        }
    }
    let given: BTreeSet<String> =
        item.proofs.iter().map(|proof| proof.gives.clone()).filter(|given| !given.is_empty()).collect();
    for Planned { proof, requirement, .. } in planned.iter_mut().filter(|_| !given.is_empty()) {
        if let Some(service) = item::service_of(directory, requirement) {
            proof.takes = item::given::needs(service, requirement).intersection(&given).cloned().collect();
        }
    }
    planned
}

/// The person whom a proof is asked about first.
fn person_of(about: &str) -> &str {
    if about == HOUSEHOLD { "applicant" } else { about }
}

/// The node's own question whether the name belongs to the number, where a service answers that to anybody.
fn identity(directory: &Directory, item: &ItemPublished, case: &Case, about: &str, now_ms: u64) -> Option<Planned> {
    let service = directory.services_telling_names().find(|service| service.answers_at(now_ms))?;
    let requirement = ProofRequirement {
        proof: IDENTITY.to_owned(),
        about: about.to_owned(),
        answered_by: format!("{}/{}", service.id.department, service.id.service),
        major_version: service.id.major,
        claim: Some(wire::Claim { attribute: NAME.to_owned(), operator: "equals".to_owned(), ..Default::default() }),
        optional: true,
        ..ProofRequirement::default()
    };
    let Planned { proof, question, requirement } = one(directory, item, &requirement, case);
    Some(Planned { proof: Proof { identity: true, ..proof }, question, requirement })
}

/// One proof.
pub(super) fn one(directory: &Directory, item: &ItemPublished, requirement: &ProofRequirement, case: &Case) -> Planned {
    let about = item::about(requirement).to_owned();
    let mut proof = Proof {
        proof: requirement.proof.clone(),
        about: about.clone(),
        service: requirement.answered_by.clone(),
        optional: requirement.optional,
        gives: requirement.gives.clone(),
        commitment_allowed: requirement.commitment_allowed && item.commitments_excluded.is_empty(),
        ..Proof::default()
    };
    let Some((service, claim)) = item::service_of(directory, requirement).zip(requirement.claim.as_ref()) else {
        proof.answer = Answer::NoService;
        return Planned { proof, question: None, requirement: requirement.clone() };
    };
    proof.names = claim.attribute == NAME && matches!(claim.operator.as_str(), "equals" | "matches_name");
    match question(item, requirement, claim, service, case, person_of(&about)) {
        Ok(question) => {
            proof.names &= question.subject.as_ref().is_some_and(|subject| subject.scheme == RESIDENT);
            proof.asked = fingerprint(case, &question);
            Planned { proof, question: Some(question), requirement: requirement.clone() }
        }
        Err(_) if requirement.optional => {
            proof.answer = Answer::LeftOut;
            Planned { proof, question: None, requirement: requirement.clone() }
        }
        Err(missing) => {
            proof.answer = Answer::Missing(missing);
            Planned { proof, question: None, requirement: requirement.clone() }
        }
    }
}

fn question(
    item: &ItemPublished,
    requirement: &ProofRequirement,
    claim: &wire::Claim,
    service: &Service,
    case: &Case,
    person: &str,
) -> Result<OfficeQuestion, Vec<String>> {
    let mut missing = Vec::new();
    let subject = subject(service, person, case, &mut missing);
    let mut inputs = Vec::new();
    for input in &requirement.inputs {
        let is_required = service.inputs.iter().any(|rule| rule.name == input.name && rule.required);
        let value = match &input.value {
            Some(value) => Ok(value.clone()),
            None => value(case, person, &input.value_from, &input.stated, &input.name),
        };
        match value {
            Ok(value) => inputs.push(wire::Input { name: input.name.clone(), value: Some(value) }),
            Err(wanted) if is_required => missing.push(wanted),
            Err(_) => {}
        }
    }
    let mut claim = claim.clone();
    claim.fixed_by_item = !claim.operands.is_empty();
    if claim.operands.is_empty() && claim.operator != "exists" {
        match value(case, person, &requirement.value_from, &requirement.stated, &claim.attribute) {
            Ok(value) => claim.operands = vec![value],
            Err(wanted) => missing.push(wanted),
        }
    }
    let also_about = match requirement.about.as_str() {
        HOUSEHOLD => household_subjects(service, case, &mut missing),
        _ => Vec::new(),
    };
    let Some(subject) = subject.filter(|_| missing.is_empty()) else { return Err(missing) };
    let statement = data_encoding::HEXLOWER.decode(case.item_statement.as_bytes()).unwrap_or_default();
    let consent = case.authorisation.as_ref().filter(|_| service.needs_authorisation());
    Ok(OfficeQuestion {
        provider: service.id.department.to_string(),
        service: service.id.service.to_string(),
        service_version: service.id.major,
        subject: Some(subject),
        also_about,
        inputs,
        claims: vec![claim],
        purpose: Some(wire::Purpose {
            item: item.item.clone(),
            item_statement: statement,
            legal_bases: item.legal_bases.clone(),
            scenario: String::new(),
        }),
        case_number: case.number.clone(),
        officer: case.officer.clone(),
        system: case.system.clone(),
        authorisation: consent.map(to_wire),
        accepts_deferral: true,
        unreached_ms: UNREACHED_MS,
        ..OfficeQuestion::default()
    })
}

/// The person by the first number that the service takes and the case has.
fn subject(service: &Service, role: &str, case: &Case, missing: &mut Vec<String>) -> Option<wire::Subject> {
    let of = |scheme: &String| {
        let value = case.value(role, scheme)?;
        Some(wire::Subject { scheme: scheme.clone(), value: value.trim().to_owned() })
    };
    let found = service.published.subject_schemes.iter().find_map(of);
    if found.is_none() {
        let scheme = service.published.subject_schemes.first().map_or(RESIDENT, String::as_str);
        missing.push(format!("{role}.{scheme}"));
    }
    found
}

/// The other members of the household, each by a number that the service takes.
fn household_subjects(service: &Service, case: &Case, missing: &mut Vec<String>) -> Vec<wire::Subject> {
    let mut subjects = Vec::new();
    for member in household::others(case) {
        let of = |scheme: &String| {
            let value = member.values.get(scheme).filter(|value| !value.trim().is_empty())?;
            Some(wire::Subject { scheme: scheme.clone(), value: value.trim().to_owned() })
        };
        match service.published.subject_schemes.iter().find_map(of) {
            Some(subject) => subjects.push(subject),
            None => missing.push(format!("{}.{RESIDENT}", member.role)),
        }
    }
    subjects
}

/// A value from another person of the case, or as the person states it (or the applicant for him); or what is missing.
fn value(case: &Case, role: &str, value_from: &str, stated: &str, otherwise: &str) -> Result<Value, String> {
    if !value_from.is_empty() {
        let found = item::reference(value_from).and_then(|(role, name)| case.value(role, name));
        return found.map(text).ok_or_else(|| value_from.to_owned());
    }
    let name = if stated.is_empty() { otherwise } else { stated };
    let found = case.value(role, name).or_else(|| case.value("applicant", name).filter(|_| name != NAME));
    found.map(text).ok_or_else(|| format!("{role}.{name}"))
}

fn text(value: &str) -> Value {
    Value { kind: Some(Kind::Text(value.trim().to_owned())) }
}

fn to_wire(consent: &Consent) -> wire::Authorisation {
    wire::Authorisation {
        form_digest: data_encoding::HEXLOWER_PERMISSIVE.decode(consent.form_digest.as_bytes()).unwrap_or_default(),
        scope: consent.scope.clone(),
        signed_by: consent.signed_by.clone(),
        valid_until_ms: consent.valid_until_ms,
    }
}

/// What is asked, as a hash that tells nothing: with it the same is not asked twice.
fn fingerprint(case: &Case, question: &OfficeQuestion) -> String {
    use prost::Message;
    let request = wire::Request {
        recipient: question.provider.clone(),
        service: question.service.clone(),
        service_version: question.service_version,
        subject: question.subject.clone(),
        also_about: question.also_about.clone(),
        inputs: question.inputs.clone(),
        claims: question.claims.clone(),
        authorisation: question.authorisation.clone(),
        ..wire::Request::default()
    };
    let mut hash = Sha256::new();
    hash.update(case.salt.as_bytes());
    hash.update(request.encode_to_vec());
    let digest: [u8; 32] = hash.finalize().into();
    data_encoding::HEXLOWER.encode(&digest[..16])
}

#[cfg(test)]
mod tests {
    use trust::fixture::Fixture;

    use super::*;
    use crate::case::Person;

    #[test]
    fn a_question_of_a_case_gives_a_department_that_is_not_reached_up_soon() {
        let directory = Fixture::town().directory;
        let values = [(RESIDENT, "890101198203070057"), ("marital_status", "single")];
        let values = values.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().collect();
        let applicant = Person { role: "applicant".to_owned(), values };
        let case = Case { people: vec![applicant], ..Case::default() };
        let requirement = ProofRequirement {
            answered_by: "civil-affairs/marriage-registration".to_owned(),
            major_version: 1,
            claim: Some(wire::Claim {
                attribute: "marital_status".to_owned(),
                operator: "equals".to_owned(),
                ..wire::Claim::default()
            }),
            ..ProofRequirement::default()
        };
        let planned = one(&directory, &ItemPublished::default(), &requirement, &case);
        let question = planned.question.unwrap_or_else(|| panic!("{:?}", planned.proof));
        assert!((1..1000).contains(&question.unreached_ms), "within a second, as the applicant waits");
    }
}
