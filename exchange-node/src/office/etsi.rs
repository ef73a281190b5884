//! ETSI TS 119 478, clause 6.1.1: verifying attributes at an authentic source, mapped onto questions as any others. Written from
//! what is public about the clause, not from its text: the members of request and response, the four result URIs, and that
//! whole attributes and fragments of them may be asked about.
//!
//! The mapping: an *attribute* is a record of a data service, `urn:errand:attribute:<department>/<service>/<major version>`; the
//! members of its value, and the fragments at `$.<name>`, are claims that the record's attributes equal them. `Match`: all do;
//! `NoMatch`: one does not; `Unknown`: anything else, an outage and a missing record alike. `MatchWithVariation` is never
//! said: the exchange does not guess. Who is asked about stands in an access token there; here it stands in the member
//! `errand`, with purpose, case and officer, without which nobody may ask. A question that is refused is `Unknown`, with its receipt
//! and the stable code: what the others came to stands. Out of scope: mandates, authorisation servers.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use trust::claim::Verdict;
use utoipa::ToSchema;

use super::{
    Office,
    json::{Authorisation, Claim, Input, Operand, Purpose, Question, Subject},
    problem::Problem,
};
use crate::{
    ask::{Ending, OfficeQuestion},
    office_keys::Caller,
};

/// What stands before a service in an attribute's identifier.
const IDENTIFIER: &str = "urn:errand:attribute:";

/// What stands before a result.
const RESULT: &str = "http://uri.etsi.org/19478/VerificationResult/";

/// How many records may be asked about at once.
const MOST_RECORDS: usize = 16;

/// Attributes to be verified. At least one of `attributes` and `attributeFragments`.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EtsiVerifyRequest {
    /// Whole attributes.
    #[serde(default)]
    pub attributes: Vec<EtsiAttribute>,
    /// Parts of attributes.
    #[serde(default)]
    pub attribute_fragments: Vec<EtsiFragment>,
    /// What the exchange must know beside that.
    pub errand: EtsiContext,
}

/// Whom it is about, and for what.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EtsiContext {
    /// Whom it is about.
    pub subject: Subject,
    /// What for.
    pub purpose: Purpose,
    /// The case number.
    pub case_number: String,
    /// The officer who asks.
    pub officer: String,
    /// Values that select rows.
    #[serde(default)]
    pub inputs: Vec<EtsiInput>,
    /// The subject's authorisation, where a service needs one.
    #[serde(default)]
    pub authorisation: Option<Authorisation>,
    /// How long each question may take, in milliseconds; 0 for the node's setting. `Prefer: wait` may make it shorter.
    #[serde(default)]
    pub timeout_ms: u32,
}

/// A value that selects rows of a record.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EtsiInput {
    /// Only for this attribute; left out for all.
    #[serde(default)]
    pub attribute_identifier: Option<String>,
    /// Its name, as in the service description.
    pub name: String,
    /// Its value.
    pub value: Operand,
}

/// An attribute with its claimed value.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EtsiAttribute {
    /// `urn:errand:attribute:<department>/<service>/<major version>`.
    #[schema(example = "urn:errand:attribute:civil-affairs/marriage-registration/1")]
    pub attribute_identifier: String,
    /// The claimed values by their names.
    #[schema(value_type = Object, example = json!({ "marital_status": "married" }))]
    pub attribute_value: Map<String, Value>,
}

/// A part of an attribute with its claimed value.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EtsiFragment {
    /// The attribute that it is a part of.
    pub attribute_identifier: String,
    /// Where in it: `$.<name>`.
    #[schema(example = "$.marital_status")]
    pub location: String,
    /// The claimed value.
    pub value: Operand,
}

/// What came out.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EtsiVerifyResponse {
    /// Who answers here: this department.
    pub provider: EtsiProvider,
    /// One for each attribute, in their order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub attribute_verification_results: Vec<EtsiAttributeResult>,
    /// One for each fragment, in their order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub fragment_verification_results: Vec<EtsiFragmentResult>,
}

/// A body that answers.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EtsiProvider {
    /// `<exchange>/<department>`.
    pub legal_name: String,
}

/// An attribute's result.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EtsiAttributeResult {
    /// The attribute, repeated.
    pub attribute_identifier: String,
    /// `http://uri.etsi.org/19478/VerificationResult/` and `Match`, `NoMatch` or `Unknown`.
    pub attribute_verification_result: String,
    /// For `Match`, the claimed value again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub attribute_value: Option<Map<String, Value>>,
    /// The receipt of the question.
    pub receipt: String,
    /// For `Unknown`, where the question was refused: the stable code.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(required = false)]
    pub code: String,
}

/// A fragment's result.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EtsiFragmentResult {
    /// The attribute, repeated.
    pub attribute_identifier: String,
    /// The place, repeated.
    pub location: String,
    /// As for an attribute.
    pub fragment_verification_result: String,
    /// For `Match`, the claimed value again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fragment_value: Option<Operand>,
    /// The receipt of the question.
    pub receipt: String,
    /// For `Unknown`, where the question was refused: the stable code.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(required = false)]
    pub code: String,
}

/// The verdicts about one record, in the order of its claims.
struct Answered {
    verdicts: Vec<Verdict>,
    receipt: String,
    /// Why it was refused; empty where it was not.
    code: String,
}

impl Office {
    /// Verifies attributes: one question for each record, all at once.
    ///
    /// # Errors
    /// The request cannot be read as questions, or our own failure.
    pub async fn verify_attributes(
        self: &Arc<Self>,
        caller: &Caller,
        request: EtsiVerifyRequest,
        waits: Option<Duration>,
    ) -> Result<EtsiVerifyResponse, Problem> {
        let EtsiVerifyRequest { attributes, attribute_fragments: fragments, errand } = request;
        let mut questions = Vec::new();
        for (index, attribute) in attributes.iter().enumerate() {
            let mut claims = Vec::new();
            for (name, value) in &attribute.attribute_value {
                let operand = Operand::deserialize(value).map_err(|error| {
                    Problem::malformed(error.to_string()).at(format!("attributes[{index}].attributeValue.{name}"))
                })?;
                claims.push(equals(name, operand));
            }
            let field = format!("attributes[{index}].attributeIdentifier");
            questions.push(question(&attribute.attribute_identifier, &field, claims, &errand)?);
        }
        // The fragments of one attribute are one question; each finds its own verdict again.
        let mut groups: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (index, fragment) in fragments.iter().enumerate() {
            groups.entry(&fragment.attribute_identifier).or_default().push(index);
        }
        for (identifier, members) in &groups {
            let mut claims = Vec::new();
            for index in members {
                let fragment = &fragments[*index];
                let name = fragment.location.strip_prefix("$.").filter(|name| is_name(name)).ok_or_else(|| {
                    Problem::unusable(format!("attributeFragments[{index}].location"), "a place is written $.<name>")
                })?;
                claims.push(equals(name, fragment.value.clone()));
            }
            let field = format!("attributeFragments[{}].attributeIdentifier", members[0]);
            questions.push(question(identifier, &field, claims, &errand)?);
        }
        if questions.is_empty() || questions.len() > MOST_RECORDS {
            let detail = format!("1 to {MOST_RECORDS} attributes can be verified at once");
            return Err(Problem::unusable("attributes", detail));
        }
        // All of them can be asked before any is.
        let questions = questions.into_iter().map(|question: Question| -> Result<OfficeQuestion, Problem> {
            let mut question = question.into_office(String::new(), None).map_err(|problem| problem.within("errand"))?;
            question.shorten(waits);
            Ok(question)
        });
        let questions = questions.collect::<Result<Vec<OfficeQuestion>, Problem>>()?;
        let asked = join_all(questions.into_iter().map(|question| self.answered(caller, question))).await;
        let mut asked = asked.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter();
        let results = attributes.into_iter().zip(asked.by_ref()).map(|(attribute, answered)| {
            let result = whole(&answered.verdicts);
            EtsiAttributeResult {
                attribute_identifier: attribute.attribute_identifier,
                attribute_verification_result: format!("{RESULT}{result}"),
                attribute_value: (result == "Match").then_some(attribute.attribute_value),
                receipt: answered.receipt,
                code: answered.code,
            }
        });
        let results = results.collect();
        let mut of_fragments: Vec<Option<EtsiFragmentResult>> = fragments.iter().map(|_| None).collect();
        for (members, answered) in groups.values().zip(asked) {
            for (position, index) in members.iter().enumerate() {
                let fragment = &fragments[*index];
                let result = whole(answered.verdicts.get(position..=position).unwrap_or_default());
                of_fragments[*index] = Some(EtsiFragmentResult {
                    attribute_identifier: fragment.attribute_identifier.clone(),
                    location: fragment.location.clone(),
                    fragment_verification_result: format!("{RESULT}{result}"),
                    fragment_value: (result == "Match").then(|| fragment.value.clone()),
                    receipt: answered.receipt.clone(),
                    code: answered.code.clone(),
                });
            }
        }
        Ok(EtsiVerifyResponse {
            provider: EtsiProvider { legal_name: self.me.to_string() },
            attribute_verification_results: results,
            fragment_verification_results: of_fragments.into_iter().flatten().collect(),
        })
    }

    async fn answered(&self, caller: &Caller, question: OfficeQuestion) -> Result<Answered, Problem> {
        let seen = self.ask(caller, question).await?;
        let (verdicts, code) = match &seen.asked.ending {
            Ending::Answered { verdicts, .. } | Ending::Unanswered { verdicts, .. } => {
                (verdicts.as_slice(), String::new())
            }
            // It stands in the evidence, as whatever the others came to.
            Ending::Refused { refusal, .. } => (&[][..], refusal.code.clone()),
            Ending::Deferred(_) => (&[][..], String::new()),
        };
        let verdicts = verdicts.iter().map(|claim| Verdict::from_proto(claim.verdict).unwrap_or(Verdict::Unavailable));
        Ok(Answered { verdicts: verdicts.collect(), receipt: seen.asked.receipt.to_string(), code })
    }
}

fn question(identifier: &str, field: &str, claims: Vec<Claim>, errand: &EtsiContext) -> Result<Question, Problem> {
    let read = || {
        let mut parts = identifier.strip_prefix(IDENTIFIER)?.split('/');
        let (provider, service, major) = (parts.next()?, parts.next()?, parts.next()?.parse::<u32>().ok()?);
        parts.next().is_none().then(|| (provider.to_owned(), service.to_owned(), major))
    };
    let (provider, service, service_version) = read().ok_or_else(|| {
        Problem::unusable(field, format!("an attribute is written {IDENTIFIER}<department>/<service>/<major version>"))
    })?;
    let is_of_it = |input: &&EtsiInput| input.attribute_identifier.as_deref().is_none_or(|of| of == identifier);
    let input = |input: &EtsiInput| Input { name: input.name.clone(), value: input.value.clone() };
    Ok(Question {
        provider,
        service,
        service_version,
        subject: errand.subject.clone(),
        inputs: errand.inputs.iter().filter(is_of_it).map(input).collect(),
        claims,
        purpose: errand.purpose.clone(),
        case_number: errand.case_number.clone(),
        officer: errand.officer.clone(),
        authorisation: errand.authorisation.clone(),
        max_record_age_seconds: 0,
        timeout_ms: errand.timeout_ms,
        accepts_deferral: false,
    })
}

fn equals(attribute: &str, operand: Operand) -> Claim {
    Claim { attribute: attribute.to_owned(), operator: "equals".to_owned(), operands: vec![operand], disclose: false }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// What the verdicts of a whole come to. An outage and a missing record are never `NoMatch`.
fn whole(verdicts: &[Verdict]) -> &'static str {
    if verdicts.contains(&Verdict::Mismatch) {
        "NoMatch"
    } else if !verdicts.is_empty() && verdicts.iter().all(|verdict| *verdict == Verdict::Match) {
        "Match"
    } else {
        "Unknown"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_and_a_missing_record_are_unknown() {
        assert_eq!(whole(&[Verdict::Match, Verdict::Match]), "Match");
        assert_eq!(whole(&[Verdict::Match, Verdict::Mismatch, Verdict::Unavailable]), "NoMatch");
        for verdicts in [&[Verdict::Match, Verdict::Unavailable][..], &[Verdict::NoRecord], &[]] {
            assert_eq!(whole(verdicts), "Unknown", "{verdicts:?}");
        }
    }
}
