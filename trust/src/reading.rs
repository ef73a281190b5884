//! What a reader is shown of the directory: services, departments and statements as plain data, with their words in one
//! place, so that the registry and every node say the same. Each form serializes for machines, and has rows and facts
//! for people.
//!
//! Out of scope: what is looked up (`catalogue`), and how a terminal lays it out.

mod body;
mod department;
mod description;
mod service;
mod statement;

use proto::{exchange::v1::LegalBasis, registry::v1::LocalName};

use crate::service::words;

pub use self::{
    body::kind,
    department::{DepartmentWords, KeyWords, NodeWords},
    description::DescriptionWords,
    service::{AttributeWords, InputWords, ServiceWords},
    statement::{Detail, SignerWords, StatementError, StatementWords},
};

/// A name and what it says, for people; empty values are as a rule not shown.
pub type Fact = (&'static str, String);

/// A moment for people, in every program and in every report: where the departments are, to the second, and with the zone,
/// so that nobody has to know it (all of China keeps UTC+8, without summer time). Machines get Unix milliseconds or RFC 3339
/// in UTC instead. Empty for 0 and for the largest number, which mean "never" and "no end".
pub fn moment(at_ms: u64) -> String {
    if matches!(at_ms, 0 | u64::MAX) {
        return String::new();
    }
    let instant = i64::try_from(at_ms).ok().and_then(|at_ms| jiff::Timestamp::from_millisecond(at_ms).ok());
    instant.map_or_else(
        || at_ms.to_string(),
        |instant| jiff::tz::Offset::constant(8).to_datetime(instant).strftime("%Y-%m-%d %H:%M:%S +08:00").to_string(),
    )
}

/// Legal bases, one to a line.
pub fn bases(bases: &[LegalBasis]) -> String {
    bases.iter().map(words::basis).collect::<Vec<_>>().join("\n")
}

/// A name in both languages, as far as it has them.
pub fn both_names(name: Option<&LocalName>) -> String {
    let Some(name) = name else { return String::new() };
    [name.zh.trim(), name.en.trim()].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
