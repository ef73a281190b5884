//! The office port's JSON: what a question and its result look like, and how they become the plain types and back. Unknown
//! fields are refused. Times are RFC 3339 in UTC; decimals and dates are texts, so that no float ever touches them. Out of
//! scope: addresses, statuses and headers (`office::http`).

mod batch;
mod case;
mod commitment;
mod correction;
mod result;
mod subject_log;
mod subscription;

use data_encoding::HEXLOWER;
use proto::exchange::v1::{self as wire, value::Kind};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use self::batch::{Batch, BatchPage, BatchResult, BatchResultPage, BatchRow, NewBatch};
pub use self::case::{
    Case, CaseAdditions, CaseEvent, CasePage, CasePause, CasePerson, CaseProof, CaseSummary, NewCase, NewPause,
    ProofOutcome, Resumption,
};
pub use self::commitment::{Commitment, CommitmentPage, NewCommitment, Repair};
pub use self::correction::{Correction, CorrectionPage, NewCorrection};
pub use self::result::{
    Attribute, ClaimVerdict, Deferral, Refusal, Service, Services, State, Step, VerdictWord, Verification,
    VerificationPage,
};
pub use self::subject_log::{AskedAbout, AskedAboutPage, AskedAttribute, SubjectLook};
pub use self::subscription::{
    Acknowledged, Acknowledgement, ChangeNotice, ChangeNotices, NewSubscription, Subscription, SubscriptionMade,
    SubscriptionPage, SubscriptionShown,
};
use super::problem::Problem;
use crate::ask::OfficeQuestion;

/// A value that is claimed or that selects rows; the service description says its type.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(
    untagged,
    expecting = "a value is a text, true or false, a whole number, or a list of these; decimals and dates are texts"
)]
pub enum Operand {
    /// True or false.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A text, a decimal number such as `60000.00`, or a date such as `2018-05-20`.
    Text(String),
    /// Several values of one type, at most 64.
    List(Vec<Scalar>),
}

/// A value that is no list.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(
    untagged,
    expecting = "a value in a list is a text, true or false, or a whole number; decimals and dates are texts"
)]
pub enum Scalar {
    /// True or false.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A text, a decimal number or a date.
    Text(String),
}

/// A person, a body or a document, by one identifier.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "scheme": "resident_id", "value": "890101199003070011" }))]
pub struct Subject {
    /// `resident_id`, `uscc`, `certificate_no`, `passport`, or one that the authority has added.
    pub scheme: String,
    /// The identifier. The node brings it into its canonical form.
    pub value: String,
}

/// A value that selects rows; never compared with the record.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Its name, as in the service description.
    pub name: String,
    /// Its value.
    pub value: Operand,
}

/// One thing to be compared with the record.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "attribute": "marital_status", "operator": "equals", "operands": ["married"] }))]
pub struct Claim {
    /// The attribute, as in the service description.
    pub attribute: String,
    /// `equals`, `not_equals`, `one_of`, `at_least`, `at_most`, `between`, `before`, `after`, `within_last`, `exists`, …
    pub operator: String,
    /// What is claimed: one value for most operators, two for `between`, none for `exists`.
    #[serde(default)]
    pub operands: Vec<Operand>,
    /// Asks for the value too, where the service and the grant allow it.
    #[serde(default)]
    pub disclose: bool,
}

/// A law and its article.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LegalBasis {
    /// The instrument's name.
    pub instrument: String,
    /// The article; empty where the whole instrument is meant.
    #[serde(default)]
    pub article: String,
}

/// What an answer is for.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "item": "公租房申请" }))]
pub struct Purpose {
    /// The public service item, by its id.
    #[serde(default)]
    pub item: String,
    /// The legal bases of the use; left out, those of the grant count.
    #[serde(default)]
    pub legal_bases: Vec<LegalBasis>,
    /// The use scenario, where it is not an item.
    #[serde(default)]
    pub scenario: String,
}

/// The subject's consent to be asked about.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Authorisation {
    /// SHA-256 of the signed form, 64 hex digits.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    pub form_digest: String,
    /// What it covers, in words.
    pub scope: String,
    /// Who signed it: `subject`, `guardian` or `agent`.
    pub signed_by: String,
    /// Until when it holds, RFC 3339.
    #[schema(format = DateTime)]
    pub valid_until: String,
}

/// A question to another department.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// The department to ask, by its id.
    #[schema(example = "civil-affairs")]
    pub provider: String,
    /// Its data service.
    #[schema(example = "marriage-registration")]
    pub service: String,
    /// The service's major version; 0 for the newest that answers and that this department may ask.
    #[serde(default)]
    pub service_version: u32,
    /// Whom it is about.
    pub subject: Subject,
    /// Values that select rows.
    #[serde(default)]
    pub inputs: Vec<Input>,
    /// What is to be compared with the record: 1 to 32 claims.
    pub claims: Vec<Claim>,
    /// What for.
    pub purpose: Purpose,
    /// The case number.
    #[schema(example = "GZF-2026-0001")]
    pub case_number: String,
    /// The officer who asks.
    #[schema(example = "1024")]
    pub officer: String,
    /// The subject's authorisation, where the service needs one.
    #[serde(default)]
    pub authorisation: Option<Authorisation>,
    /// How old a record may be at most, in seconds; 0 accepts any age.
    #[serde(default)]
    pub max_record_age_seconds: u64,
    /// Gives up waiting after so many milliseconds; 0 for the service's own time to answer.
    #[serde(default)]
    pub timeout_ms: u32,
    /// Whether an answer may come later, because a person looks it up.
    #[serde(default)]
    pub accepts_deferral: bool,
}

impl Question {
    /// As the node asks it.
    ///
    /// # Errors
    /// A digest or a time is none.
    pub fn into_office(self, idempotency_key: String, trace: Option<String>) -> Result<OfficeQuestion, Problem> {
        let authorisation = self.authorisation.map(Authorisation::into_wire).transpose()?;
        Ok(OfficeQuestion {
            provider: self.provider,
            service: self.service,
            service_version: self.service_version,
            subject: Some(self.subject.into_wire()),
            inputs: self.inputs.into_iter().map(Input::into_wire).collect(),
            claims: self.claims.into_iter().map(Claim::into_wire).collect(),
            purpose: Some(self.purpose.into_wire()),
            case_number: self.case_number,
            officer: self.officer,
            system: String::new(),
            authorisation,
            idempotency_key,
            max_record_age_seconds: self.max_record_age_seconds,
            timeout_ms: self.timeout_ms,
            unreached_ms: 0,
            accepts_deferral: self.accepts_deferral,
            trace,
            also_about: Vec::new(),
            subscribe_until_ms: None,
            uncharged: false,
        })
    }
}

impl Subject {
    fn into_wire(self) -> wire::Subject {
        wire::Subject { scheme: self.scheme, value: self.value }
    }
}

impl Input {
    fn into_wire(self) -> wire::Input {
        wire::Input { name: self.name, value: Some(self.value.into_wire()) }
    }
}

impl Claim {
    fn from_wire(claim: &wire::Claim) -> Self {
        Self {
            attribute: claim.attribute.clone(),
            operator: claim.operator.clone(),
            operands: claim.operands.iter().filter_map(Operand::from_wire).collect(),
            disclose: claim.disclose,
        }
    }

    fn into_wire(self) -> wire::Claim {
        wire::Claim {
            attribute: self.attribute,
            operator: self.operator,
            operands: self.operands.into_iter().map(Operand::into_wire).collect(),
            disclose: self.disclose,
            fixed_by_item: false,
        }
    }
}

impl Purpose {
    fn into_wire(self) -> wire::Purpose {
        let basis = |basis: LegalBasis| wire::LegalBasis { instrument: basis.instrument, article: basis.article };
        wire::Purpose {
            item: self.item,
            legal_bases: self.legal_bases.into_iter().map(basis).collect(),
            scenario: self.scenario,
            ..wire::Purpose::default()
        }
    }
}

impl Authorisation {
    fn into_wire(self) -> Result<wire::Authorisation, Problem> {
        let digest = HEXLOWER.decode(self.form_digest.as_bytes()).ok().filter(|digest| digest.len() == 32);
        let form_digest = digest
            .ok_or_else(|| Problem::unusable("authorisation.form_digest", "SHA-256 has 64 lower-case hex digits"))?;
        Ok(wire::Authorisation {
            form_digest,
            scope: self.scope,
            signed_by: self.signed_by,
            valid_until_ms: time_of(&self.valid_until, "authorisation.valid_until")?,
        })
    }
}

impl Operand {
    fn into_wire(self) -> wire::Value {
        let kind = match self {
            Self::Boolean(value) => Kind::Boolean(value),
            Self::Integer(value) => Kind::Integer(value),
            Self::Text(value) => Kind::Text(value),
            Self::List(values) => {
                let values = values.into_iter().map(|value| {
                    let kind = match value {
                        Scalar::Boolean(value) => Kind::Boolean(value),
                        Scalar::Integer(value) => Kind::Integer(value),
                        Scalar::Text(value) => Kind::Text(value),
                    };
                    wire::Value { kind: Some(kind) }
                });
                Kind::List(wire::ValueList { values: values.collect() })
            }
        };
        wire::Value { kind: Some(kind) }
    }

    fn from_wire(value: &wire::Value) -> Option<Self> {
        Some(match value.kind.as_ref()? {
            Kind::Boolean(value) => Self::Boolean(*value),
            Kind::Integer(value) => Self::Integer(*value),
            Kind::Text(text) | Kind::Decimal(text) | Kind::Date(text) => Self::Text(text.clone()),
            Kind::List(list) => Self::List(list.values.iter().filter_map(Scalar::from_wire).collect()),
        })
    }
}

impl Scalar {
    fn from_wire(value: &wire::Value) -> Option<Self> {
        match Operand::from_wire(value)? {
            Operand::Boolean(value) => Some(Self::Boolean(value)),
            Operand::Integer(value) => Some(Self::Integer(value)),
            Operand::Text(value) => Some(Self::Text(value)),
            Operand::List(_) => None,
        }
    }
}

/// Reads a time.
fn time_of(text: &str, field: &str) -> Result<u64, Problem> {
    let time: Result<jiff::Timestamp, _> = text.parse();
    let time_ms = time.ok().and_then(|time| u64::try_from(time.as_millisecond()).ok());
    time_ms.ok_or_else(|| Problem::unusable(field, "a time is written 2026-11-29T08:00:00Z"))
}

/// A time that may not have come yet.
fn timestamp_of(at_ms: u64) -> Option<String> {
    (at_ms > 0).then(|| timestamp(at_ms))
}

/// A time as RFC 3339 in UTC.
pub(crate) fn timestamp(at_ms: u64) -> String {
    let instant = i64::try_from(at_ms).ok().and_then(|at_ms| jiff::Timestamp::from_millisecond(at_ms).ok());
    instant.unwrap_or(jiff::Timestamp::MAX).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_reads_as_what_is_meant() {
        let text = r#"{"provider":"tax","service":"tax-paid","subject":{"scheme":"resident_id","value":"1"},
            "inputs":[{"name":"year","value":2025}],"claims":[{"attribute":"a","operator":"between","operands":["1.50",true,["x",3]]}],
            "purpose":{"item":"i"},"case_number":"c","officer":"o"}"#;
        let question: Question = serde_json::from_str(text).unwrap();
        let office = question.into_office("key".into(), None).unwrap();
        let kinds: Vec<_> = office.claims[0].operands.iter().map(|value| value.kind.clone().unwrap()).collect();
        assert_eq!(kinds[0], Kind::Text("1.50".into()));
        assert_eq!(kinds[1], Kind::Boolean(true));
        assert!(matches!(&kinds[2], Kind::List(list) if list.values.len() == 2));
        assert_eq!(office.inputs[0].value.as_ref().unwrap().kind, Some(Kind::Integer(2025)));
        assert_eq!((office.item(), office.idempotency_key.as_str()), ("i", "key"));
    }

    #[test]
    fn no_float_and_no_unknown_field_comes_in() {
        let claim = |operand: &str| format!(r#"{{"attribute":"a","operator":"equals","operands":[{operand}]}}"#);
        let error = serde_json::from_str::<Claim>(&claim("1.5")).unwrap_err().to_string();
        assert!(error.contains("decimals and dates are texts"), "{error}");
        assert!(serde_json::from_str::<Claim>(&claim("[[1]]")).is_err());
        let error = serde_json::from_str::<Subject>(r#"{"scheme":"a","value":"b","name":"c"}"#).unwrap_err();
        assert!(error.to_string().contains("unknown field `name`"), "{error}");
    }

    #[test]
    fn times_are_utc() {
        assert_eq!(timestamp(1_796_000_000_123), "2026-11-30T00:53:20.123Z");
    }
}
