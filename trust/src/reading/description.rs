//! What a data service's description says besides names, subjects and data items: the conditions of using it, who answers,
//! and how fresh and how whole its records are. Both programs show all of it, for people and for machines. Out of scope: what
//! the directory says about the service (`service`).

use proto::registry::v1::ServicePublished;
use serde::Serialize;

use super::{Fact, bases};
use crate::clerk::AnsweredBy;

/// The rest of a description, for machines. Its keys are stable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DescriptionWords {
    /// For what is not shared, the law that forbids it, `instrument article`.
    pub forbidden_by: String,
    /// The law by which it needs the subject's authorisation; empty where it needs none.
    pub authorisation_basis: String,
    /// Conditions of use.
    pub conditions: String,
    /// The department's grading.
    pub classification: String,
    /// "record", "clerk" or "record_then_clerk".
    pub answered_by: &'static str,
    /// Working days for a clerk to answer; 0 for the profile's.
    pub clerk_days: u32,
    /// Where a clerk answers sooner, within how many seconds; 0 where the days count.
    pub clerk_seconds: u32,
    /// The column that says how fresh a record is; empty where the day of the import counts.
    pub record_as_of: String,
    /// Where the register is complete, the division codes; none where it is not declared so.
    pub complete_in: Vec<String>,
    /// Since when it is, "YYYY-MM-DD".
    pub complete_since: String,
    /// Within how many milliseconds it answers; 0 where that is not said.
    pub time_to_answer_ms: u32,
    /// How many different values a department may try for one subject and attribute in a day; 0 for the usual number.
    pub guesses_per_day: u32,
    /// How many in a year, of values that have an order; 0 for the usual number.
    pub guesses_per_year: u32,
}

impl DescriptionWords {
    /// From a description.
    pub fn of(service: &ServicePublished) -> Self {
        let complete = service.completeness.clone().unwrap_or_default();
        Self {
            forbidden_by: bases(service.forbidden_by.as_slice()),
            authorisation_basis: bases(service.needs_authorisation.as_slice()),
            conditions: service.conditions.clone(),
            classification: service.classification.clone(),
            answered_by: match AnsweredBy::of(service) {
                AnsweredBy::Clerk => "clerk",
                AnsweredBy::Record => "record",
                AnsweredBy::RecordThenClerk => "record_then_clerk",
            },
            clerk_days: service.clerk_days,
            clerk_seconds: service.clerk_seconds,
            record_as_of: service.record_as_of_column.clone(),
            complete_in: complete.territories,
            complete_since: complete.since,
            time_to_answer_ms: service.time_to_answer_ms,
            guesses_per_day: service.guesses_per_day,
            guesses_per_year: service.guesses_per_year,
        }
    }

    /// The same for people.
    pub fn facts(&self) -> Vec<Fact> {
        let said = |number: u32, unit: &str| if number == 0 { String::new() } else { format!("{number} {unit}") };
        let answered_by = match self.answered_by {
            "clerk" => "a person",
            "record_then_clerk" => "the record; a person where there is none",
            _ => "the record",
        };
        let person = match self.clerk_seconds {
            0 => said(self.clerk_days, "working days"),
            seconds => said(seconds, "s"),
        };
        let fresh = match self.record_as_of.as_str() {
            "" => String::new(),
            column => format!("as the column {column} says"),
        };
        let complete = match self.complete_in.as_slice() {
            [] => String::new(),
            territories => format!("complete for {} since {}", territories.join(", "), self.complete_since),
        };
        let guesses = [said(self.guesses_per_day, "a day"), said(self.guesses_per_year, "a year")];
        let guesses: Vec<String> = guesses.into_iter().filter(|said| !said.is_empty()).collect();
        vec![
            ("needs authorisation", self.authorisation_basis.clone()),
            ("forbidden by", self.forbidden_by.clone()),
            ("conditions", self.conditions.clone()),
            ("classification", self.classification.clone()),
            ("answered by", answered_by.to_owned()),
            ("a person answers within", person),
            ("answers within", said(self.time_to_answer_ms, "ms")),
            ("records are fresh", fresh),
            ("register", complete),
            ("different values tried", guesses.join(", ")),
        ]
    }
}
