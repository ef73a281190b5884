//! The built-in files say what the records hold and what the applicants state. Whether a description can be published is
//! the node's to say; these tests hold the files to each other.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use jiff::civil::date;
use serde::Deserialize;
use trust::claim::Operator;
use trust::subject::credit_code::{Strictness, Uscc};
use trust::value::Type;

use super::{DEPARTMENTS, ITEMS_YAML, Service};
use crate::population::{Population, Register};

#[derive(Deserialize)]
struct Description {
    service: String,
    version: String,
    subject: Vec<String>,
    sharing: String,
    legal_basis: Vec<String>,
    attributes: BTreeMap<String, Attribute>,
    #[serde(default)]
    inputs: BTreeMap<String, Input>,
    complete: Option<serde_json::Value>,
    items: Vec<String>,
    replaces_proofs: Vec<String>,
    record_as_of: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Attribute {
    r#type: String,
    #[serde(default)]
    members: Vec<String>,
    operators: Vec<String>,
    #[serde(rename = "sensitivity")]
    _sensitivity: Option<String>,
    rows: Option<String>,
    absence: Option<serde_json::Value>,
    #[serde(rename = "label")]
    _label: HashMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    r#type: String,
    required: bool,
}

#[derive(Deserialize)]
struct Item {
    item: String,
    department: String,
    proofs: Vec<Proof>,
    steps: Vec<HashMap<String, serde_json::Value>>,
    time_limit_working_days: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Proof {
    proof: String,
    issuing_unit: String,
    about: Option<String>,
    #[serde(default)]
    optional: bool,
    answered_by: String,
    #[serde(default)]
    inputs: BTreeMap<String, Given>,
    claim: Claim,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    stated: Option<String>,
    value: Option<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Claim {
    attribute: String,
    operator: String,
    stated: Option<String>,
    value: Option<serde_json::Value>,
}

fn described() -> Vec<(&'static str, &'static Service, Description)> {
    let of = |service: &'static Service| serde_saphyr::from_str::<Description>(service.yaml).unwrap();
    let services = |department: &'static super::Department| {
        department.services.iter().map(move |service| (department.id, service, of(service)))
    };
    DEPARTMENTS.iter().flat_map(services).collect()
}

fn items() -> Vec<Item> {
    serde_saphyr::from_str(ITEMS_YAML).unwrap()
}

#[test]
fn departments_have_ids_and_valid_codes_of_their_own() {
    let ids: HashSet<&str> = DEPARTMENTS.iter().map(|department| department.id).collect();
    let codes: HashSet<&str> = DEPARTMENTS.iter().map(|department| department.uscc).collect();
    assert_eq!((ids.len(), codes.len()), (7, 7));
    for department in &DEPARTMENTS {
        let code = Uscc::parse(department.uscc, Strictness::Strict).unwrap();
        code.organisation_code().unwrap();
    }
}

#[test]
fn every_register_has_one_service_and_its_columns() {
    let described = described();
    assert_eq!(described.len(), Register::ALL.len());
    for register in Register::ALL {
        let (_, service, description) =
            described.iter().find(|(_, service, _)| service.id == register.service()).unwrap();
        assert_eq!(description.service, service.id);
        assert_eq!(description.version, "1.0");
        let needs_column = |attribute: &&String| description.attributes[*attribute].rows.as_deref() != Some("count");
        let described: BTreeSet<&str> = (description.subject.iter())
            .chain(description.attributes.keys().filter(needs_column))
            .chain(description.inputs.keys())
            .chain(&description.record_as_of)
            .map(String::as_str)
            .collect();
        assert_eq!(described, register.columns().iter().copied().collect(), "{}", service.id);
        assert_eq!(description.subject, register.columns()[..1]);
    }
}

#[test]
fn attributes_can_be_asked_as_described() {
    for (_, service, description) in described() {
        assert!(!description.legal_basis.is_empty() && !description.replaces_proofs.is_empty());
        assert!(["conditional", "unconditional"].contains(&description.sharing.as_str()));
        for (name, attribute) in &description.attributes {
            let at = format!("{}.{name}", service.id);
            let ty = Type::parse(&attribute.r#type).expect(&at);
            for operator in &attribute.operators {
                assert!(Operator::parse(operator).expect(&at).allowed_for(ty), "{at}: {operator}");
            }
            assert_eq!(attribute.members.is_empty(), ty != Type::Enum, "{at}");
            // An absence counts only in a register declared complete.
            assert!(attribute.absence.is_none() || description.complete.is_some(), "{at}");
            // A value that a record lacks while it is compared would be unavailable: the latest column must exist.
            if let Some(column) = attribute.rows.as_deref().and_then(|rows| rows.strip_prefix("latest ")) {
                assert!(description.attributes.contains_key(column), "{at}");
            }
        }
        for (name, input) in &description.inputs {
            assert!(input.r#type == "string" && input.required, "{}.{name}", service.id);
            // An input that selects by a compared value would turn a wrong value into an absence.
            assert!(!description.attributes.contains_key(name), "{}.{name}", service.id);
        }
    }
}

#[test]
fn the_item_asks_what_the_services_answer_and_the_applicants_state() {
    let described = described();
    let town = Population::generate(1, 2_000, date(2026, 11, 23)).unwrap();
    let applicant = town.cast().unwrap().all_true;
    let is_given = |stated: &Option<String>, value: &Option<serde_json::Value>| match (stated, value) {
        (Some(stated), None) => applicant.states(stated).is_some(),
        (None, Some(_)) => true,
        _ => false,
    };
    let items = items();
    let item = items.iter().find(|item| item.item == "公租房申请").unwrap();
    assert_eq!(item.department, "housing");
    assert_eq!(item.proofs.len(), 6);
    let days: u64 = item.steps.iter().map(|step| step["working_days"].as_u64().unwrap()).sum();
    assert_eq!(days, item.time_limit_working_days);
    for proof in &item.proofs {
        let (department, _, description) = described
            .iter()
            .find(|(department, service, _)| proof.answered_by == format!("{department}/{}", service.id))
            .unwrap();
        assert!(DEPARTMENTS.iter().any(|known| known.id == *department));
        assert!(description.replaces_proofs.contains(&proof.proof), "{}", proof.proof);
        assert!(description.items.contains(&item.item), "{}", proof.proof);
        let attribute = &description.attributes[&proof.claim.attribute];
        assert!(attribute.operators.contains(&proof.claim.operator), "{}", proof.proof);
        assert!(is_given(&proof.claim.stated, &proof.claim.value), "{}", proof.proof);
        assert!(proof.inputs.keys().eq(description.inputs.keys()), "{}", proof.proof);
        assert!(proof.inputs.values().all(|given| is_given(&given.stated, &given.value)), "{}", proof.proof);
        assert!(!proof.issuing_unit.is_empty());
    }
    let of = |proof: &str| item.proofs.iter().find(|other| other.proof == proof).unwrap();
    assert_eq!(of("收入证明").claim.value, Some(applicant.income_at_most.into()));
    assert_eq!(of("社保缴纳证明").claim.value, Some(applicant.months_at_least.into()));
    assert_eq!(of("收入证明").about.as_deref(), Some("household"));
    assert!(of("低保证明").optional && !of("无房证明").optional);
}

#[test]
fn enumerations_list_every_member_that_the_records_use() {
    let town = Population::generate(1, 2_000, date(2026, 11, 23)).unwrap();
    for (_, service, description) in described() {
        let register = Register::ALL.into_iter().find(|register| register.service() == service.id).unwrap();
        let mut bytes = Vec::new();
        town.write(register, &mut bytes).unwrap();
        for row in csv::Reader::from_reader(&bytes[..]).deserialize::<HashMap<String, String>>() {
            let row = row.unwrap();
            for (name, attribute) in description.attributes.iter().filter(|(_, attribute)| attribute.r#type == "enum") {
                assert!(attribute.members.contains(&row[name]), "{}.{name}", service.id);
            }
        }
    }
}
