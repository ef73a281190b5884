//! What differs between two descriptions of one data service, and whether the change keeps the major version.
//!
//! **A compatible change never makes a question refused that was permitted, and never gives a record another verdict.**
//! Whoever asks notices nothing, and need not apply again. Everything else needs a new major version, which is another
//! service to whoever asks: it has its own grants and its own records, and answers beside the old one. The registry and
//! every node hold a new description against the old one with this same function.
//!
//! What only people read (names, contact, conditions, how often and how soon) is a difference too, and always compatible.

use std::{collections::BTreeMap, fmt};

use proto::{exchange::v1::LegalBasis, registry::v1 as wire};

use super::{USUAL_GUESSES_PER_DAY, USUAL_GUESSES_PER_YEAR, words};

/// What a difference means for those who ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// They notice nothing.
    Compatible,
    /// Questions that were permitted would be refused, or a record would get another verdict.
    Incompatible,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The field, as a service file names it, for example `attributes.marital_status.operators`.
    pub field: String,
    /// What it means for those who ask.
    pub effect: Effect,
    /// What differs, for people.
    pub what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.field, self.what)
    }
}

/// How `after` differs from `before`, in the order of the fields. The version and the department are not compared.
pub fn compare(before: &wire::ServicePublished, after: &wire::ServicePublished) -> Vec<Difference> {
    let mut found = Found(Vec::new());
    found.name("name", before.name.as_ref(), after.name.as_ref());
    found.members("subject", &before.subject_schemes, &after.subject_schemes, Effect::Incompatible);
    found.sharing(before, after);
    found.bases("legal_basis", &before.legal_bases, &after.legal_bases);
    found.bases("forbidden_by", before.forbidden_by.as_slice(), after.forbidden_by.as_slice());
    found.attributes(&before.attributes, &after.attributes);
    found.inputs(&before.inputs, &after.inputs);
    found.completeness(before.completeness.as_ref(), after.completeness.as_ref());
    found.authorisation(before.needs_authorisation.as_ref(), after.needs_authorisation.as_ref());
    found.members("items", &before.items, &after.items, Effect::Compatible);
    found.members("replaces_proofs", &before.replaces_proofs, &after.replaces_proofs, Effect::Compatible);
    for (field, one, other, usual) in [
        ("mode", &before.mode, &after.mode, "verification"),
        ("format", &before.format, &after.format, "claims"),
        ("answered_by", &before.answered_by, &after.answered_by, "record"),
    ] {
        let or_usual = |text: &String| if text.is_empty() { usual.to_owned() } else { text.clone() };
        found.text(field, &or_usual(one), &or_usual(other), Effect::Incompatible);
    }
    for (field, one, other) in [
        ("update_cycle", &before.update_cycle, &after.update_cycle),
        ("record_as_of", &before.record_as_of_column, &after.record_as_of_column),
        ("conditions", &before.conditions, &after.conditions),
        ("classification", &before.classification, &after.classification),
        ("contact", &before.contact, &after.contact),
        ("catalogue_code", &before.catalogue_code, &after.catalogue_code),
    ] {
        found.text(field, one, other, Effect::Compatible);
    }
    for (field, one, other) in [
        ("time_to_answer_ms", before.time_to_answer_ms, after.time_to_answer_ms),
        ("clerk_days", before.clerk_days, after.clerk_days),
        ("clerk_seconds", before.clerk_seconds, after.clerk_seconds),
    ] {
        found.text(field, &one.to_string(), &other.to_string(), Effect::Compatible);
    }
    for (field, one, other, usual) in [
        ("guesses_per_day", before.guesses_per_day, after.guesses_per_day, USUAL_GUESSES_PER_DAY),
        ("guesses_per_year", before.guesses_per_year, after.guesses_per_year, USUAL_GUESSES_PER_YEAR),
    ] {
        let or_usual = |guesses: u32| if guesses == 0 { usual } else { guesses };
        let (one, other) = (or_usual(one), or_usual(other));
        // With fewer, a question is refused that was answered.
        let effect = if other < one { Effect::Incompatible } else { Effect::Compatible };
        found.text(field, &one.to_string(), &other.to_string(), effect);
    }
    found.0
}

/// Whether the change keeps the major version; if not, why, and what to do instead.
///
/// # Errors
/// One sentence with every difference that does not.
pub fn require_compatible(before: &wire::ServicePublished, after: &wire::ServicePublished) -> Result<(), String> {
    let differences = compare(before, after);
    let breaking: Vec<String> = incompatible(&differences).map(ToString::to_string).collect();
    if breaking.is_empty() {
        return Ok(());
    }
    let (major, next) = (before.major_version, before.major_version.saturating_add(1));
    Err(format!(
        "those who ask version {major} would be refused or get other verdicts ({}): publish it as version {next}.0 beside it",
        breaking.join("; ")
    ))
}

/// The differences that need a new major version.
pub fn incompatible(differences: &[Difference]) -> impl Iterator<Item = &Difference> {
    differences.iter().filter(|difference| difference.effect == Effect::Incompatible)
}

/// What was found so far.
struct Found(Vec<Difference>);

impl Found {
    fn add(&mut self, field: impl Into<String>, effect: Effect, what: impl Into<String>) {
        self.0.push(Difference { field: field.into(), effect, what: what.into() });
    }

    fn text(&mut self, field: &str, before: &str, after: &str, effect: Effect) {
        match (before, after) {
            _ if before == after => {}
            ("", _) => self.add(field, effect, format!("{after} is new")),
            (_, "") => self.add(field, effect, format!("{before} is gone")),
            _ => self.add(field, effect, format!("{before} becomes {after}")),
        }
    }

    /// Lists as sets: what came is compatible, and what is gone has the effect `gone`.
    fn members(&mut self, field: &str, before: &[String], after: &[String], gone: Effect) {
        let lost = before.iter().filter(|member| !after.contains(member));
        lost.for_each(|member| self.add(field, gone, format!("{member} is gone")));
        let won = after.iter().filter(|member| !before.contains(member));
        won.for_each(|member| self.add(field, Effect::Compatible, format!("{member} is new")));
    }

    fn name(&mut self, field: &str, before: Option<&wire::LocalName>, after: Option<&wire::LocalName>) {
        let text = |name: Option<&wire::LocalName>| {
            name.map(|name| format!("{} {}", name.zh, name.en).trim().to_owned()).unwrap_or_default()
        };
        self.text(field, &text(before), &text(after), Effect::Compatible);
    }

    fn bases(&mut self, field: &str, before: &[LegalBasis], after: &[LegalBasis]) {
        let texts = |bases: &[LegalBasis]| bases.iter().map(words::basis).collect::<Vec<_>>();
        self.members(field, &texts(before), &texts(after), Effect::Compatible);
    }

    fn sharing(&mut self, before: &wire::ServicePublished, after: &wire::ServicePublished) {
        let width = |class: wire::SharingClass| match class {
            wire::SharingClass::Unspecified | wire::SharingClass::NotShared => 0,
            wire::SharingClass::Conditional => 1,
            wire::SharingClass::Unconditional => 2,
        };
        let narrower = width(after.sharing()) < width(before.sharing());
        let effect = if narrower { Effect::Incompatible } else { Effect::Compatible };
        self.text("sharing", words::sharing(before.sharing()), words::sharing(after.sharing()), effect);
    }

    fn attributes(&mut self, before: &[wire::Attribute], after: &[wire::Attribute]) {
        let by_name: BTreeMap<&str, &wire::Attribute> =
            after.iter().map(|attribute| (attribute.name.as_str(), attribute)).collect();
        for old in before {
            let field = format!("attributes.{}", old.name);
            match by_name.get(old.name.as_str()) {
                Some(new) => self.attribute(&field, old, new),
                None => self.add(field, Effect::Incompatible, "is gone"),
            }
        }
        let new = after.iter().filter(|new| !before.iter().any(|old| old.name == new.name));
        new.for_each(|new| self.add(format!("attributes.{}", new.name), Effect::Compatible, "is new"));
    }

    fn attribute(&mut self, field: &str, before: &wire::Attribute, after: &wire::Attribute) {
        let within = |name: &str| format!("{field}.{name}");
        self.text(&within("type"), &before.r#type, &after.r#type, Effect::Incompatible);
        if before.r#type == after.r#type {
            match (before.members.is_empty(), after.members.is_empty()) {
                // A list that could hold any text.
                (true, false) => {
                    self.add(within("members"), Effect::Incompatible, "only some values are allowed now");
                }
                (false, true) => self.add(within("members"), Effect::Compatible, "any value is allowed now"),
                _ => self.members(&within("members"), &before.members, &after.members, Effect::Incompatible),
            }
        }
        self.members(&within("operators"), &before.operators, &after.operators, Effect::Incompatible);
        match (before.discloses, after.discloses) {
            (true, false) => self.add(within("discloses"), Effect::Incompatible, "the value is no longer disclosed"),
            (false, true) => self.add(within("discloses"), Effect::Compatible, "the value may be disclosed now"),
            _ => {}
        }
        self.text(&within("sensitivity"), &before.sensitivity, &after.sensitivity, Effect::Compatible);
        // Another row counts, or no row means something else: the same record would get another verdict.
        self.text(&within("rows"), &rows_word(before), &rows_word(after), Effect::Incompatible);
        if before.absence != after.absence {
            let what = match (&before.absence, &after.absence) {
                (None, _) => "having no row means something now",
                (_, None) => "having no row means nothing now",
                _ => "having no row means something else now",
            };
            self.add(within("absence"), Effect::Incompatible, what);
        }
        self.name(&within("label"), before.label.as_ref(), after.label.as_ref());
    }

    fn inputs(&mut self, before: &[wire::InputDescription], after: &[wire::InputDescription]) {
        for old in before {
            let field = format!("inputs.{}", old.name);
            let Some(new) = after.iter().find(|new| new.name == old.name) else {
                self.add(field, Effect::Incompatible, "is gone");
                continue;
            };
            self.text(&format!("{field}.type"), &old.r#type, &new.r#type, Effect::Incompatible);
            match (old.required, new.required) {
                (false, true) => self.add(format!("{field}.required"), Effect::Incompatible, "must be given now"),
                (true, false) => self.add(format!("{field}.required"), Effect::Compatible, "may be left out now"),
                _ => {}
            }
        }
        for new in after.iter().filter(|new| !before.iter().any(|old| old.name == new.name)) {
            let (effect, what) = match new.required {
                true => (Effect::Incompatible, "is new and must be given"),
                false => (Effect::Compatible, "is new and may be left out"),
            };
            self.add(format!("inputs.{}", new.name), effect, what);
        }
    }

    /// Where a register is complete decides what absence is worth: it may grow, and not shrink.
    fn completeness(&mut self, before: Option<&wire::Completeness>, after: Option<&wire::Completeness>) {
        match (before, after) {
            (None, None) => {}
            (None, Some(_)) => self.add("complete", Effect::Compatible, "the register is declared complete now"),
            (Some(_), None) => {
                self.add("complete", Effect::Incompatible, "the register is no longer declared complete");
            }
            (Some(before), Some(after)) => {
                let (old, new) = (&before.territories, &after.territories);
                self.members("complete.territory", old, new, Effect::Incompatible);
                // Written YYYY-MM-DD, so they sort as they follow one another.
                let effect = if after.since > before.since { Effect::Incompatible } else { Effect::Compatible };
                self.text("complete.since", &before.since, &after.since, effect);
            }
        }
    }

    fn authorisation(&mut self, before: Option<&LegalBasis>, after: Option<&LegalBasis>) {
        let effect = if before.is_none() && after.is_some() { Effect::Incompatible } else { Effect::Compatible };
        let text = |law: Option<&LegalBasis>| law.map(words::basis).unwrap_or_default();
        self.text("needs_authorisation", &text(before), &text(after), effect);
    }
}

fn rows_word(attribute: &wire::Attribute) -> String {
    match attribute.rows() {
        wire::RowRule::Latest => format!("latest {}", attribute.latest_by),
        rule => words::rows(rule).to_owned(),
    }
}

#[cfg(test)]
mod tests;
