//! From an item to questions: for each proof, whom it is about, which service answers it, with which values, and what has
//! still to be stated. Out of scope: asking them.

use std::collections::BTreeSet;

use proto::{
    exchange::v1::{self as wire, Value, value::Kind},
    registry::v1::{ItemPublished, ProofInput, ProofRequirement},
};
use sha2::{Digest as _, Sha256};
use trust::{
    directory::Directory,
    ids::ServiceId,
    item::{self, HOUSEHOLD},
    service::Service,
};

use super::{
    Case, Consent, Proof, household,
    judge::Answer,
    people::{is_consent, which},
    words,
};
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
    let requirements = requirements(item, case);
    let mut planned: Vec<Planned> = requirements.iter().map(|proof| one(directory, item, proof, case)).collect();
    // Whatever may stand on the absence of a record needs to know who the person is.
    let mut unknown: Vec<String> = Vec::new();
    for requirement in &requirements {
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

/// The proofs of an item for the people of a case: whatever is about a child, once about each.
pub(super) fn requirements(item: &ItemPublished, case: &Case) -> Vec<ProofRequirement> {
    let about_each = |proof: &ProofRequirement| {
        let of = |about: String| ProofRequirement { about, ..proof.clone() };
        case.each_of(item::about(proof)).into_iter().map(of).collect::<Vec<_>>()
    };
    item.proofs.iter().flat_map(about_each).collect()
}

/// The person whom a proof is asked about first.
pub(super) fn person_of(about: &str) -> &str {
    if about == HOUSEHOLD { "applicant" } else { about }
}

/// The node's own question whether the name belongs to the number: to the service that the item itself asks who somebody is, and
/// otherwise to the only one that answers that to anybody. Where there are several nobody chose one, and none is told a name.
fn identity(directory: &Directory, item: &ItemPublished, case: &Case, about: &str, now_ms: u64) -> Option<Planned> {
    let of_names = |proof: &&ProofRequirement| proof.claim.as_ref().is_some_and(|claim| claim.attribute == NAME);
    let asked = item.proofs.iter().filter(of_names).filter_map(|proof| item::service_of(directory, proof));
    let anybodys = || only(directory.services_telling_names().filter(|service| service.answers_at(now_ms)));
    let mut asked = asked.filter(|service| service.answers_at(now_ms) && service.knows_names());
    let service = asked.next().map(|service| service.id.clone()).or_else(anybodys)?;
    let requirement = ProofRequirement {
        proof: IDENTITY.to_owned(),
        about: about.to_owned(),
        answered_by: format!("{}/{}", service.department, service.service),
        major_version: service.major,
        claim: Some(wire::Claim { attribute: NAME.to_owned(), operator: "equals".to_owned(), ..Default::default() }),
        optional: true,
        ..ProofRequirement::default()
    };
    let Planned { proof, question, requirement } = one(directory, item, &requirement, case);
    Some(Planned { proof: Proof { identity: true, ..proof }, question, requirement })
}

/// The only service, in its newest version.
fn only<'a>(services: impl Iterator<Item = &'a Service>) -> Option<ServiceId> {
    let mut only: Option<ServiceId> = None;
    for Service { id, .. } in services {
        match &only {
            Some(known) if (&known.department, &known.service) != (&id.department, &id.service) => return None,
            Some(known) if known.major > id.major => {}
            _ => only = Some(id.clone()),
        }
    }
    only
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
    let person = person_of(&about);
    proof.words = words::stated(requirement, service, person);
    match question(item, requirement, claim, service, case, person) {
        Ok(question) => {
            proof.words.extend(words::refused(requirement, service, person, &question));
            proof.names &= question.subject.as_ref().is_some_and(|subject| subject.scheme == RESIDENT);
            proof.asked = fingerprint(case, &question);
            Planned { proof, question: Some(question), requirement: requirement.clone() }
        }
        // Where all but a signature was stated, it is meant to be asked.
        Err(missing) if requirement.optional && !missing.iter().all(|name| is_consent(name)) => {
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
            None => value(case, person, &input.value_from, &input.stated, &input.name)
                // In what region, for what period: where nothing else is said, that is the case's.
                .or_else(|wanted| input_of_applicant(case, input).ok_or(wanted)),
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
    if service.needs_authorisation() {
        missing.extend(unsigned(case, requirement, person));
    }
    let Some(subject) = subject.filter(|_| missing.is_empty()) else { return Err(missing) };
    let statement = data_encoding::HEXLOWER.decode(case.item_statement.as_bytes()).unwrap_or_default();
    let consent = case.consent(person).filter(|_| service.needs_authorisation());
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

/// Whoever is asked about and has not signed, each such as `spouse.authorisation`.
fn unsigned(case: &Case, requirement: &ProofRequirement, person: &str) -> Vec<String> {
    let is_household = requirement.about == HOUSEHOLD;
    let others = household::others(case).filter(|_| is_household).map(|(whom, _)| whom);
    let asked_about = std::iter::once(person.to_owned()).chain(others);
    asked_about.filter(|whom| case.consent(whom).is_none()).map(|whom| format!("{whom}.authorisation")).collect()
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
    for (whom, member) in household::others(case) {
        let of = |scheme: &String| {
            let value = member.values.get(scheme).filter(|value| !value.trim().is_empty())?;
            Some(wire::Subject { scheme: scheme.clone(), value: value.trim().to_owned() })
        };
        match service.published.subject_schemes.iter().find_map(of) {
            Some(subject) => subjects.push(subject),
            None => missing.push(format!("{whom}.{RESIDENT}")),
        }
    }
    subjects
}

/// What the applicant states for an input, of whomever the question is.
fn input_of_applicant(case: &Case, input: &ProofInput) -> Option<Value> {
    let name = if input.stated.is_empty() { &input.name } else { &input.stated };
    let is_stated = input.value_from.is_empty() && item::given::may_be_the_applicants(name);
    case.value("applicant", name).filter(|_| is_stated).map(text)
}

/// A value from another person of the case, or as the person states it; or what is missing. What is compared with a record is
/// never taken from somebody else unless the item says so.
fn value(case: &Case, role: &str, value_from: &str, stated: &str, otherwise: &str) -> Result<Value, String> {
    if !value_from.is_empty() {
        let Some((from, name)) = item::reference(value_from) else { return Err(value_from.to_owned()) };
        // Of several children the one that the proof is about.
        let from = if which(role).is_some_and(|(own, _)| own == from) { role } else { from };
        return case.value(from, name).map(text).ok_or_else(|| format!("{from}.{name}"));
    }
    let name = if stated.is_empty() { otherwise } else { stated };
    case.value(role, name).map(text).ok_or_else(|| format!("{role}.{name}"))
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

    fn person(role: &str, values: &[(&str, &str)]) -> Person {
        let values = values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Person { role: role.to_owned(), values, ..Person::default() }
    }

    /// Whether somebody is married, or what he states.
    fn marriage(about: &str) -> ProofRequirement {
        ProofRequirement {
            about: about.to_owned(),
            answered_by: "civil-affairs/marriage-registration".to_owned(),
            major_version: 1,
            claim: Some(wire::Claim {
                attribute: "marital_status".to_owned(),
                operator: "equals".to_owned(),
                ..wire::Claim::default()
            }),
            ..ProofRequirement::default()
        }
    }

    fn asked(planned: &Planned) -> (&str, &Value) {
        let question = planned.question.as_ref().unwrap_or_else(|| panic!("{:?}", planned.proof));
        (question.subject.as_ref().unwrap().value.as_str(), &question.claims[0].operands[0])
    }

    #[test]
    fn each_child_is_asked_about_with_its_own_number_and_values() {
        let directory = Fixture::town().directory;
        let one = [(RESIDENT, "890101198203070057"), ("marital_status", "single")];
        let two = [(RESIDENT, "890101199111250028"), ("marital_status", "married")];
        let people = vec![person("applicant", &[]), person("child", &one), person("child", &two)];
        let case = Case { people, ..Case::default() };
        let item = ItemPublished { proofs: vec![marriage("child")], ..ItemPublished::default() };
        let planned = plan(&directory, &item, &case, 0);
        let planned: Vec<&Planned> = planned.iter().filter(|planned| !planned.proof.identity).collect();
        let about: Vec<&str> = planned.iter().map(|planned| planned.proof.about.as_str()).collect();
        assert_eq!(about, ["child", "child-2"]);
        assert_eq!(asked(planned[0]), (one[0].1, &text("single")));
        assert_eq!(asked(planned[1]), (two[0].1, &text("married")));
        // What the second one lacks is not taken from the first.
        let people = vec![person("applicant", &[]), person("child", &one), person("child", &two[1..])];
        let planned = plan(&directory, &item, &Case { people, ..Case::default() }, 0);
        assert_eq!(planned[1].proof.answer, Answer::Missing(vec!["child-2.resident_id".to_owned()]));
    }

    #[test]
    fn of_several_services_that_tell_names_none_is_chosen() {
        let directory = Fixture::town().directory;
        let id = ServiceId::read("civil-affairs/marriage-registration", 1).unwrap();
        let service = directory.service(&id).unwrap().clone();
        let newer = Service { id: ServiceId { major: 2, ..id.clone() }, ..service.clone() };
        let others = ServiceId::read("taxation/marriage-registration", 1).unwrap();
        let others = Service { id: others, ..service.clone() };
        assert_eq!(only([&newer, &service].into_iter()), Some(newer.id.clone()));
        assert_eq!(only([&service, &newer].into_iter()), Some(newer.id.clone()));
        assert_eq!(only([&service, &others].into_iter()), None);
        assert_eq!(only(std::iter::empty()), None);
    }

    #[test]
    fn what_somebody_else_did_not_state_is_missing_and_not_the_applicants() {
        let directory = Fixture::town().directory;
        let stated = [(RESIDENT, "890101198203070057"), ("marital_status", "single")];
        let people = vec![person("applicant", &stated), person("spouse", &[(RESIDENT, "890101199111250028")])];
        let case = Case { people, ..Case::default() };
        let planned = one(&directory, &ItemPublished::default(), &marriage("spouse"), &case);
        assert_eq!(planned.proof.answer, Answer::Missing(vec!["spouse.marital_status".to_owned()]));
        // A region or a period is the case's; and the item may say whose value is meant.
        let input = ProofInput { name: "marital_status".to_owned(), ..ProofInput::default() };
        assert_eq!(input_of_applicant(&case, &input), Some(text("single")));
        let from_applicant =
            ProofRequirement { value_from: "applicant.marital_status".to_owned(), ..marriage("spouse") };
        let planned = one(&directory, &ItemPublished::default(), &from_applicant, &case);
        assert_eq!(asked(&planned).1, &text("single"));
    }

    #[test]
    fn nobody_is_asked_about_on_somebody_elses_consent() {
        let directory = Fixture::town().directory;
        let id = ServiceId::read("civil-affairs/marriage-registration", 1).unwrap();
        let mut service = directory.service(&id).unwrap().clone();
        service.published.needs_authorisation = Some(wire::LegalBasis::default());
        let signed = |scope: &str| Some(Consent { scope: scope.to_owned(), ..Consent::default() });
        let stated = [(RESIDENT, "890101198203070057"), ("marital_status", "single")];
        let people = vec![person("applicant", &stated), person("spouse", &stated)];
        let mut case = Case { people, authorisation: signed("applicant"), ..Case::default() };
        let ask = |case: &Case, about: &str| {
            let requirement = marriage(about);
            let claim = requirement.claim.clone().unwrap();
            question(&ItemPublished::default(), &requirement, &claim, &service, case, person_of(about))
        };
        let scope = |question: OfficeQuestion| question.authorisation.map(|form| form.scope);
        assert_eq!(ask(&case, "applicant").map(scope).unwrap(), Some("applicant".to_owned()));
        for about in ["spouse", HOUSEHOLD] {
            assert_eq!(ask(&case, about).map(scope), Err(vec!["spouse.authorisation".to_owned()]), "{about}");
        }
        assert_eq!(
            Answer::Missing(vec!["spouse.authorisation".to_owned()]).reason(),
            "AUTHORISATION_MISSING",
            "it is told why"
        );
        case.people[1].authorisation = signed("spouse");
        assert_eq!(ask(&case, "spouse").map(scope).unwrap(), Some("spouse".to_owned()));
        assert_eq!(ask(&case, HOUSEHOLD).map(scope).unwrap(), Some("applicant".to_owned()));
    }

    #[test]
    fn a_question_of_a_case_gives_a_department_that_is_not_reached_up_soon() {
        let directory = Fixture::town().directory;
        let values = [(RESIDENT, "890101198203070057"), ("marital_status", "single")];
        let case = Case { people: vec![person("applicant", &values)], ..Case::default() };
        let planned = one(&directory, &ItemPublished::default(), &marriage(""), &case);
        let question = planned.question.unwrap_or_else(|| panic!("{:?}", planned.proof));
        assert!((1..1000).contains(&question.unreached_ms), "within a second, as the applicant waits");
    }
}
