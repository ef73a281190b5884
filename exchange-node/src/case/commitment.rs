//! Commitments (告知承诺): what an applicant signed in place of a proof, and what became of it. A row names nobody: the subject
//! stands in it as a keyed hash, by which it is known whether somebody has a broken commitment. Out of scope: the check.

use std::collections::BTreeSet;

use proto::office::v1 as wire;
use serde::{Deserialize, Serialize};
use trust::subject::{Scheme, Subject, added::Schemes};

use super::Case;

/// The most numbers of an applicant by which a commitment is known as his; a row is short.
pub(super) const MOST_NUMBERS: usize = 16;

/// The book's name in the due-list.
pub(super) const BOOK: &str = "commitment";

/// How far a commitment has come.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CommitmentState {
    /// It was false, and has not been put right.
    Broken,
    /// It was true.
    Fulfilled,
    /// It has yet to be checked.
    #[default]
    Open,
    /// It was false, and has been put right.
    Repaired,
    /// There is no record that tells.
    Unconfirmed,
}

impl CommitmentState {
    /// The name in lists and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::Fulfilled => "fulfilled",
            Self::Open => "open",
            Self::Repaired => "repaired",
            Self::Unconfirmed => "unconfirmed",
        }
    }

    /// The state of this name.
    pub fn parse(name: &str) -> Option<Self> {
        let all = [Self::Broken, Self::Fulfilled, Self::Open, Self::Repaired, Self::Unconfirmed];
        all.into_iter().find(|state| state.as_str() == name)
    }

    /// The kind of the event that tells of it.
    pub(super) fn event(self) -> &'static str {
        match self {
            Self::Broken => "commitment_broken",
            Self::Fulfilled => "commitment_fulfilled",
            Self::Open => "proof",
            Self::Repaired => "commitment_repaired",
            Self::Unconfirmed => "commitment_unconfirmed",
        }
    }
}

/// A commitment.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Commitment {
    /// Its id: when it was made, and some random digits. Sorted by time.
    pub id: String,
    /// The case number.
    pub case_number: String,
    /// The office system that opened the case; empty for an operator.
    #[serde(default)]
    pub system: String,
    /// The item.
    pub item: String,
    /// The proof.
    pub proof: String,
    /// About whom in the case.
    pub about: String,
    /// Who committed himself, as a keyed hash.
    pub subject: String,
    /// The other numbers that he is known by, as keyed hashes.
    #[serde(default)]
    pub also: Vec<String>,
    /// SHA-256 of the signed form, 64 hex digits.
    pub form_digest: String,
    /// The officer who took it.
    pub officer: String,
    /// How far it has come.
    pub state: CommitmentState,
    /// When it was made, Unix milliseconds.
    pub made_ms: u64,
    /// When it was checked, Unix milliseconds; 0 where it was not.
    pub checked_ms: u64,
    /// The receipt of the check.
    pub receipt: String,
    /// Why it could not be checked last.
    pub last_reason: String,
    /// How it was put right, and by which officer.
    pub repair: String,
}

impl Commitment {
    /// Whether somebody whom these keyed hashes stand for made it.
    pub(super) fn is_of(&self, numbers: &[String]) -> bool {
        std::iter::once(&self.subject).chain(&self.also).any(|known| !known.is_empty() && numbers.contains(known))
    }

    /// As offices get it.
    pub fn to_wire(&self) -> wire::Commitment {
        wire::Commitment {
            id: self.id.clone(),
            case_number: self.case_number.clone(),
            item: self.item.clone(),
            proof: self.proof.clone(),
            state: self.state.as_str().to_owned(),
            made_at_ms: self.made_ms,
            checked_at_ms: self.checked_ms,
            receipt: self.receipt.clone(),
            last_reason: self.last_reason.clone(),
            form_digest: self.form_digest.clone(),
            repair: self.repair.clone(),
            refusal: None,
        }
    }
}

/// The numbers that the applicant of a case is known by, under whatever scheme. A certificate's alone counts only where there is no
/// other: two people may hold one certificate.
pub(super) fn numbers_of_applicant(schemes: &Schemes, case: &Case) -> BTreeSet<Subject> {
    let applicants = case.people.iter().filter(|person| person.role == "applicant");
    let stated = applicants.flat_map(|person| &person.values);
    let mut numbers: BTreeSet<Subject> =
        stated.filter_map(|(scheme, number)| schemes.parse(scheme, number).ok()).collect();
    if numbers.iter().any(|number| number.scheme() != Scheme::CertificateNumber) {
        numbers.retain(|number| number.scheme() != Scheme::CertificateNumber);
    }
    numbers
}

#[cfg(test)]
mod tests {
    use proto::registry::v1::SubjectScheme;

    use super::*;
    use crate::case::Person;

    const CARD: &str = "local_social_card";

    fn numbers(values: &[(&str, &str)]) -> Vec<String> {
        let added = SubjectScheme {
            name: CARD.into(),
            label: "社会保障卡号".into(),
            pattern: "[A-Z][0-9]{8}".into(),
            example: "A00000001".into(),
            ..SubjectScheme::default()
        };
        let person = |role: &str, values: &[(&str, &str)]| Person {
            role: role.into(),
            values: values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            authorisation: None,
        };
        let others = person("spouse", &[("passport", "E99999999")]);
        let case = Case { people: vec![others, person("applicant", values)], ..Case::default() };
        let numbers = numbers_of_applicant(&Schemes::from_wire(&[added]).unwrap(), &case);
        numbers.iter().map(|number| format!("{} {}", number.scheme(), number.value())).collect()
    }

    #[test]
    fn an_applicant_is_known_by_every_number_of_his_under_whatever_scheme() {
        let all =
            [("resident_id", "890101199003070011"), ("passport", " e1234 5678"), (CARD, "A00000002"), ("name", "沈")];
        let mut known = numbers(&all);
        known.sort();
        assert_eq!(known, ["local_social_card A00000002", "passport E12345678", "resident_id 890101199003070011"]);
        assert_eq!(numbers(&[(CARD, "A00000002")]), ["local_social_card A00000002"], "nobody is nobody");
        let certificate = ("certificate_no", "M-2018-1");
        assert_eq!(numbers(&[certificate]), ["certificate_no M-2018-1"]);
        assert_eq!(numbers(&[certificate, ("passport", "E12345678")]), ["passport E12345678"], "his spouse has it too");
    }

    #[test]
    fn a_commitment_is_of_whoever_shares_a_number_with_who_made_it() {
        let row = Commitment { subject: "a".into(), also: vec!["b".into()], ..Commitment::default() };
        let of = |numbers: &[&str]| row.is_of(&numbers.iter().map(|number| (*number).to_owned()).collect::<Vec<_>>());
        assert!(of(&["a"]) && of(&["c", "b"]) && !of(&["c"]) && !of(&[]));
        assert!(!Commitment::default().is_of(&[String::new()]), "who is known by no number is nobody else");
    }
}
