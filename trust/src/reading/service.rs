//! A data service as a reader is shown it: what the directory says of it, and its data items. Out of scope: the rest of its
//! description (`description`).

use proto::registry::v1::{ServiceEntry, ServicePublished};
use serde::Serialize;

use super::{DescriptionWords, Fact, bases, both_names, moment};
use crate::service::words;

/// A data service for machines. Its keys are stable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ServiceWords {
    /// The department that provides it.
    pub provider: String,
    /// The department's name in Chinese.
    pub provider_name: String,
    /// Its id within the department.
    pub service: String,
    /// Its major version.
    pub major_version: u32,
    /// Its minor version.
    pub minor_version: u32,
    /// Its name in Chinese.
    pub name_zh: String,
    /// Its name in English.
    pub name_en: String,
    /// "answering", "suspended", "withdrawn" or "waiting".
    pub state: String,
    /// The suspension's notice, the withdrawal's reason, or what the authority says is missing.
    pub notice: String,
    /// For a withdrawal, from when, Unix milliseconds.
    pub withdrawn_from_ms: u64,
    /// "unconditional", "conditional" or "not_shared".
    pub sharing: &'static str,
    /// Whom it may be asked about.
    pub subject_schemes: Vec<String>,
    /// Its attributes.
    pub attributes: Vec<AttributeWords>,
    /// The values that select rows.
    pub inputs: Vec<InputWords>,
    /// The law it rests on, `instrument article`.
    pub legal_bases: Vec<String>,
    /// Whether it needs the subject's authorisation.
    pub needs_authorisation: bool,
    /// Public service items it is meant for.
    pub items: Vec<String>,
    /// Paper proofs it makes unnecessary.
    pub replaces_proofs: Vec<String>,
    /// How often its records are brought up to date.
    pub update_cycle: String,
    /// Whom to ask about it.
    pub contact: String,
    /// Its code in the national catalogue.
    pub catalogue_code: String,
    /// What its description says besides.
    #[serde(flatten)]
    pub description: DescriptionWords,
    /// Index of the last statement about it.
    pub last_statement: u64,
}

/// An attribute for machines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AttributeWords {
    /// Its name.
    pub name: String,
    /// Its label in Chinese.
    pub label: String,
    /// Its type.
    #[serde(rename = "type")]
    pub ty: String,
    /// The members of an enumeration.
    pub members: Vec<String>,
    /// The operators that a claim may use.
    pub operators: Vec<String>,
    /// Whether the value may be disclosed at all.
    pub discloses: bool,
    /// "ordinary" or "sensitive".
    pub sensitivity: String,
    /// How several rows count.
    pub rows: &'static str,
    /// Where the latest row counts, the column that says which it is.
    pub latest_by: String,
    /// Whether having no row means something.
    pub absence: bool,
}

/// A value that selects rows, for machines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct InputWords {
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub ty: String,
    /// Whether a question must give it.
    pub required: bool,
}

impl ServiceWords {
    /// The header of [`Self::row`].
    pub const HEADER: [&'static str; 6] = ["service", "version", "name", "sharing", "state", "attributes"];

    /// The header of [`Self::attribute_rows`].
    pub const ATTRIBUTE_HEADER: [&'static str; 8] =
        ["attribute", "label", "type", "operators", "rows", "no row", "value", "sensitivity"];

    /// From the catalogue's entry.
    pub fn of(entry: &ServiceEntry) -> Self {
        let service = entry.service.clone().unwrap_or_default();
        let name = service.name.clone().unwrap_or_default();
        Self {
            provider_name: entry.provider_name.clone().unwrap_or_default().zh,
            name_zh: name.zh,
            name_en: name.en,
            state: entry.state.clone(),
            notice: entry.notice.clone(),
            withdrawn_from_ms: entry.from_ms,
            sharing: words::sharing(service.sharing()),
            attributes: attributes(&service),
            inputs: inputs(&service),
            legal_bases: bases(&service.legal_bases).lines().map(str::to_owned).collect(),
            needs_authorisation: service.needs_authorisation.is_some(),
            description: DescriptionWords::of(&service),
            last_statement: entry.last_statement,
            provider: service.department,
            service: service.service,
            major_version: service.major_version,
            minor_version: service.minor_version,
            subject_schemes: service.subject_schemes,
            items: service.items,
            replaces_proofs: service.replaces_proofs,
            update_cycle: service.update_cycle,
            contact: service.contact,
            catalogue_code: service.catalogue_code,
        }
    }

    /// One line of a list.
    pub fn row(&self) -> [String; 6] {
        let attributes: Vec<&str> = self.attributes.iter().map(|attribute| attribute.name.as_str()).collect();
        [
            format!("{}/{}", self.provider, self.service),
            format!("{}.{}", self.major_version, self.minor_version),
            self.name_zh.clone(),
            self.sharing.to_owned(),
            self.state_text(),
            attributes.join("\n"),
        ]
    }

    /// The state with what was said about it.
    pub fn state_text(&self) -> String {
        let mut text = self.state.clone();
        if self.withdrawn_from_ms != 0 && self.state == "answering" {
            text += &format!(", ends {}", moment(self.withdrawn_from_ms));
        }
        if !self.notice.is_empty() {
            text += &format!(": {}", self.notice);
        }
        text
    }

    /// Everything about the service but its attributes, for people.
    pub fn facts(entry: &ServiceEntry) -> Vec<Fact> {
        let words = Self::of(entry);
        let service = entry.service.clone().unwrap_or_default();
        let inputs = words.inputs.iter().map(|input| {
            let required = if input.required { ", required" } else { "" };
            format!("{}: {}{required}", input.name, input.ty)
        });
        let mut facts = vec![
            (
                "service",
                format!("{}/{} {}.{}", words.provider, words.service, words.major_version, words.minor_version),
            ),
            ("name", both_names(service.name.as_ref())),
            ("provider", both_names(entry.provider_name.as_ref())),
            ("state", words.state_text()),
            ("sharing", words.sharing.to_owned()),
            ("subjects", words.subject_schemes.join(", ")),
            ("inputs", inputs.collect::<Vec<_>>().join("\n")),
            ("legal bases", bases(&service.legal_bases)),
            ("items", words.items.join("\n")),
            ("replaces", words.replaces_proofs.join("\n")),
            ("updated", words.update_cycle.clone()),
            ("catalogue code", words.catalogue_code.clone()),
            ("contact", words.contact.clone()),
        ];
        facts.extend(words.description.facts());
        facts.push(("last statement", words.last_statement.to_string()));
        facts
    }

    /// Its attributes, for people.
    pub fn attribute_rows(&self) -> Vec<[String; 8]> {
        let row = |attribute: &AttributeWords| {
            let ty = match attribute.members.as_slice() {
                [] => attribute.ty.clone(),
                members => format!("{}: {}", attribute.ty, members.join(", ")),
            };
            let absence = if attribute.absence { "means something" } else { "" };
            [
                attribute.name.clone(),
                attribute.label.clone(),
                ty,
                attribute.operators.join(", "),
                [attribute.rows, attribute.latest_by.as_str()].join(" ").trim_end().to_owned(),
                absence.to_owned(),
                if attribute.discloses { "disclosed" } else { "verdict only" }.to_owned(),
                attribute.sensitivity.clone(),
            ]
        };
        self.attributes.iter().map(row).collect()
    }
}

fn attributes(service: &ServicePublished) -> Vec<AttributeWords> {
    let words = |attribute: &proto::registry::v1::Attribute| AttributeWords {
        name: attribute.name.clone(),
        label: attribute.label.clone().unwrap_or_default().zh,
        ty: attribute.r#type.clone(),
        members: attribute.members.clone(),
        operators: attribute.operators.clone(),
        discloses: attribute.discloses,
        sensitivity: attribute.sensitivity.clone(),
        latest_by: attribute.latest_by.clone(),
        rows: words::rows(attribute.rows()),
        absence: attribute.absence.is_some(),
    };
    service.attributes.iter().map(words).collect()
}

fn inputs(service: &ServicePublished) -> Vec<InputWords> {
    let words = |input: &proto::registry::v1::InputDescription| InputWords {
        name: input.name.clone(),
        ty: input.r#type.clone(),
        required: input.required,
    };
    service.inputs.iter().map(words).collect()
}
