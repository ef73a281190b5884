//! The guide of a public service item (`examples/town/items.yaml`) turned into what the office does: which grants it
//! needs, and which question takes the place of each proof.

use std::collections::{BTreeMap, HashMap};

use proto::{
    exchange::v1::{Authorisation, Claim, Input, Purpose, Subject, Value, value::Kind},
    office::v1::VerifyRequest,
};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::{
    harness::{Scope, legal_basis},
    population::Applicant,
    services::{DEPARTMENTS, Department, ITEMS_YAML},
};

/// The guide cannot be followed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such item.
    #[error("there is no public service item {item} in items.yaml")]
    ItemUnknown {
        /// The item.
        item: String,
    },
    /// One of the town's files cannot be read.
    #[error("{file} cannot be read: {reason}")]
    Malformed {
        /// The file.
        file: String,
        /// Why.
        reason: String,
    },
    /// A proof names a service that nobody publishes.
    #[error("{proof} is answered by {service}, which no department of the town publishes")]
    ServiceUnknown {
        /// The proof.
        proof: String,
        /// The service.
        service: String,
    },
    /// A proof needs what the applicant has not stated.
    #[error("{proof} needs `{name}`, which the applicant does not state")]
    Unstated {
        /// The proof.
        proof: String,
        /// What is not stated.
        name: String,
    },
}

/// One item's guide.
#[derive(Clone, Debug)]
pub struct Guide {
    item: String,
    legal_bases: Vec<String>,
    proofs: Vec<Proof>,
}

/// One proof once asked for, and what answers it now.
#[derive(Clone, Debug)]
pub struct Proof {
    /// The paper's name.
    pub name: String,
    /// What the service that answers is called in English.
    pub gloss: String,
    /// The department that answers.
    pub department: &'static Department,
    /// Its service.
    pub service: String,
    /// Whether it needs a grant.
    pub conditional: bool,
    needs_authorisation: bool,
    inputs: BTreeMap<String, Source>,
    claim: ClaimGuide,
}

/// The case that a question belongs to.
#[derive(Clone, Debug)]
pub struct CaseHead {
    /// Its number.
    pub number: String,
    /// The officer who handles it.
    pub officer: String,
    /// When the application was signed, Unix milliseconds.
    pub signed_at_ms: u64,
}

impl Guide {
    /// The guide of an item.
    ///
    /// # Errors
    /// The first thing that keeps it from being followed.
    pub fn of(item: &str) -> Result<Self, Error> {
        let items: Vec<ItemGuide> = read(ITEMS_YAML, "items.yaml")?;
        let unknown = || Error::ItemUnknown { item: item.to_owned() };
        let guide = items.into_iter().find(|guide| guide.item == item).ok_or_else(unknown)?;
        let proofs = guide.proofs.into_iter().map(Proof::read).collect::<Result<_, _>>()?;
        Ok(Self { item: guide.item, legal_bases: guide.legal_basis, proofs })
    }

    /// The item's id.
    #[must_use]
    pub fn item(&self) -> &str {
        &self.item
    }

    /// Its proofs, in the order of the guide.
    #[must_use]
    pub fn proofs(&self) -> &[Proof] {
        &self.proofs
    }

    /// The law it rests on, as commands take it.
    #[must_use]
    pub fn legal_bases(&self) -> &[String] {
        &self.legal_bases
    }

    /// What the office has to be granted: each conditional service as `<department>/<service>`, and no more of it than
    /// the one claim.
    pub fn grants(&self) -> impl Iterator<Item = (String, Scope)> {
        let bases: Vec<&str> = self.legal_bases.iter().map(String::as_str).collect();
        self.proofs.iter().filter(|proof| proof.conditional).map(move |proof| {
            let scope = Scope::of(&proof.claim.attribute, &[&proof.claim.operator]);
            (proof.path(), scope.for_item(&self.item).on(&bases))
        })
    }

    /// The question that takes the place of `proof` in a case.
    ///
    /// # Errors
    /// [`Error::Unstated`].
    pub fn question(&self, proof: &Proof, applicant: &Applicant, case: &CaseHead) -> Result<VerifyRequest, Error> {
        let value = |source: &Source| {
            let text = match source {
                Source { value: Some(value), .. } => Some(value.text()),
                Source { stated: Some(name), .. } => applicant.states(name),
                Source { .. } => None,
            };
            let name = || source.stated.clone().unwrap_or_default();
            text.map(text_value).ok_or_else(|| Error::Unstated { proof: proof.name.clone(), name: name() })
        };
        let input = |(name, source): (&String, &Source)| Ok(Input { name: name.clone(), value: Some(value(source)?) });
        let ClaimGuide { attribute, operator, source } = &proof.claim;
        Ok(VerifyRequest {
            provider: proof.department.id.to_owned(),
            service: proof.service.clone(),
            subject: Some(Subject { scheme: "resident_id".to_owned(), value: applicant.resident_number.clone() }),
            inputs: proof.inputs.iter().map(input).collect::<Result<_, _>>()?,
            claims: vec![Claim {
                attribute: attribute.clone(),
                operator: operator.clone(),
                operands: vec![value(source)?],
                disclose: false,
                fixed_by_item: source.value.is_some(),
            }],
            purpose: Some(Purpose {
                item: self.item.clone(),
                legal_bases: self.legal_bases.iter().map(|basis| legal_basis(basis)).collect(),
                ..Purpose::default()
            }),
            case_number: case.number.clone(),
            officer: case.officer.clone(),
            authorisation: proof.needs_authorisation.then(|| self.authorisation(case)),
            idempotency_key: format!("{}/{}", case.number, proof.path()),
            ..VerifyRequest::default()
        })
    }

    /// The applicant's consent, on the form that was signed with the application: here a made-up one.
    fn authorisation(&self, case: &CaseHead) -> Authorisation {
        let form = format!("本人同意为办理{}（{}）查询本人的低保信息。", self.item, case.number);
        Authorisation {
            form_digest: Sha256::digest(form).to_vec(),
            scope: self.item.clone(),
            signed_by: "subject".to_owned(),
            valid_until_ms: case.signed_at_ms + NINETY_DAYS_MS,
        }
    }
}

impl Proof {
    fn read(guide: ProofGuide) -> Result<Self, Error> {
        let ProofGuide { proof: name, answered_by, inputs, claim } = guide;
        let unknown = || Error::ServiceUnknown { proof: name.clone(), service: answered_by.clone() };
        let (department, service) = answered_by.split_once('/').ok_or_else(unknown)?;
        let department = DEPARTMENTS.iter().find(|known| known.id == department).ok_or_else(unknown)?;
        let service = department.services.iter().find(|known| known.id == service).ok_or_else(unknown)?;
        let description: Description = read(service.yaml, &format!("{}.yaml", service.id))?;
        Ok(Self {
            gloss: description.name.get("en").cloned().unwrap_or_default(),
            department,
            service: service.id.to_owned(),
            conditional: description.sharing == "conditional",
            needs_authorisation: description.needs_authorisation.is_some(),
            inputs,
            claim,
            name,
        })
    }

    /// The service as `<department>/<service>`.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}/{}", self.department.id, self.service)
    }
}

#[derive(Deserialize)]
struct ItemGuide {
    item: String,
    legal_basis: Vec<String>,
    proofs: Vec<ProofGuide>,
}

#[derive(Deserialize)]
struct ProofGuide {
    proof: String,
    answered_by: String,
    #[serde(default)]
    inputs: BTreeMap<String, Source>,
    claim: ClaimGuide,
}

#[derive(Clone, Debug, Deserialize)]
struct ClaimGuide {
    attribute: String,
    operator: String,
    #[serde(flatten)]
    source: Source,
}

/// Where a value comes from: fixed by the guide, or stated by the applicant.
#[derive(Clone, Debug, Deserialize)]
struct Source {
    value: Option<Scalar>,
    stated: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Scalar {
    Boolean(bool),
    Integer(i64),
    Text(String),
}

impl Scalar {
    /// As text: the node reads it as the type that the service declares.
    fn text(&self) -> String {
        match self {
            Self::Boolean(value) => value.to_string(),
            Self::Integer(value) => value.to_string(),
            Self::Text(value) => value.clone(),
        }
    }
}

#[derive(Deserialize)]
struct Description {
    name: HashMap<String, String>,
    sharing: String,
    needs_authorisation: Option<String>,
}

fn text_value(text: String) -> Value {
    Value { kind: Some(Kind::Text(text)) }
}

fn read<T: serde::de::DeserializeOwned>(text: &str, file: &str) -> Result<T, Error> {
    let malformed = |reason: String| Error::Malformed { file: file.to_owned(), reason };
    serde_saphyr::from_str(text).map_err(|error| malformed(error.to_string()))
}

const NINETY_DAYS_MS: u64 = 90 * 24 * 60 * 60 * 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::population::{DEMO_REFERENCE_DATE, DEMO_SEED, Population};

    const ITEM: &str = "公租房申请";

    fn case() -> CaseHead {
        CaseHead { number: "GZF-2026-0001".to_owned(), officer: "1024".to_owned(), signed_at_ms: 5 }
    }

    fn questions() -> Vec<VerifyRequest> {
        let guide = Guide::of(ITEM).unwrap();
        let town = Population::generate(DEMO_SEED, 2000, DEMO_REFERENCE_DATE).unwrap();
        let applicant = town.cast().unwrap().all_true;
        guide.proofs().iter().map(|proof| guide.question(proof, &applicant, &case()).unwrap()).collect()
    }

    fn operand(question: &VerifyRequest) -> &str {
        match &question.claims[0].operands[0].kind {
            Some(Kind::Text(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn six_proofs_become_six_questions() {
        let questions = questions();
        let asked: Vec<(&str, &str, &str)> = questions
            .iter()
            .map(|question| (question.service.as_str(), question.claims[0].operator.as_str(), operand(question)))
            .collect();
        assert_eq!(
            asked[1..],
            [
                ("marriage-registration", "equals", "married"),
                ("property-ownership", "equals", "false"),
                ("tax-paid", "at_most", "60000"),
                ("social-insurance", "at_least", "12"),
                ("subsistence-allowance", "equals", "true"),
            ]
        );
        assert_eq!(asked[0].0, "resident-identity");
        assert!(!asked[0].2.is_empty());
        let inputs: Vec<&str> = questions[3].inputs.iter().map(|input| input.name.as_str()).collect();
        assert_eq!(inputs, ["period", "tax_type"]);
        assert!(questions[3].claims[0].fixed_by_item && !questions[1].claims[0].fixed_by_item);
    }

    #[test]
    fn only_the_allowance_needs_the_applicants_consent() {
        let consents: Vec<bool> = questions().iter().map(|question| question.authorisation.is_some()).collect();
        assert_eq!(consents, [false, false, false, false, false, true]);
    }

    #[test]
    fn the_unconditional_service_needs_no_grant() {
        let guide = Guide::of(ITEM).unwrap();
        let granted: Vec<String> = guide.grants().map(|(path, _)| path).collect();
        assert_eq!(granted.len(), 5);
        assert!(!granted.contains(&"public-security/resident-identity".to_owned()));
    }

    #[test]
    fn an_unknown_item_is_named() {
        assert!(Guide::of("教师资格认定").unwrap_err().to_string().contains("教师资格认定"));
    }
}
