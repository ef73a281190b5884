//! A description as YAML, for people to read and change. What is read back is the same description.

use std::fmt::Write;

use proto::exchange::v1::value::Kind;
use proto::exchange::v1::{LegalBasis, Value};
use proto::registry::v1 as wire;

use trust::service::words;

use super::read::split_basis;

/// Writes `service`.
pub(crate) fn service(service: &wire::ServicePublished) -> String {
    let mut out = Yaml(String::new());
    out.field("service", &text(&service.service));
    out.field("version", &text(&format!("{}.{}", service.major_version, service.minor_version)));
    if let Some(name) = &service.name {
        out.field("name", &local_name(name));
    }
    out.field("subject", &list(service.subject_schemes.iter().map(|scheme| text(scheme))));
    out.field("sharing", words::sharing(service.sharing()));
    out.field("legal_basis", &list(service.legal_bases.iter().map(basis)));
    out.optional("forbidden_by", service.forbidden_by.as_ref().map(basis));
    out.0.push_str("attributes:\n");
    for attribute in &service.attributes {
        out.attribute(attribute);
    }
    if !service.inputs.is_empty() {
        out.0.push_str("inputs:\n");
    }
    for input in &service.inputs {
        let required = if input.required { ", required: true" } else { "" };
        out.field(&format!("  {}", text(&input.name)), &format!("{{type: {}{required}}}", text(&input.r#type)));
    }
    out.optional(
        "complete",
        service.completeness.as_ref().map(|complete| {
            let territories = list(complete.territories.iter().map(|territory| text(territory)));
            format!("{{territory: {territories}, since: {}}}", text(&complete.since))
        }),
    );
    out.optional("needs_authorisation", service.needs_authorisation.as_ref().map(basis));
    out.texts("items", &service.items);
    out.texts("replaces_proofs", &service.replaces_proofs);
    out.text("update_cycle", &service.update_cycle);
    out.field("time_to_answer_ms", &service.time_to_answer_ms.to_string());
    out.text("record_as_of", &service.record_as_of_column);
    out.text("conditions", &service.conditions);
    out.text("classification", &service.classification);
    out.text("contact", &service.contact);
    out.text("catalogue_code", &service.catalogue_code);
    out.text("answered_by", &service.answered_by);
    match (service.clerk_seconds, service.clerk_days) {
        (0, 0) => {}
        (0, days) => out.text("clerk_answers_within", &format!("{days} working days")),
        (seconds, _) => out.text("clerk_answers_within", &format!("{seconds}s")),
    }
    if service.guesses_per_day != 0 {
        out.field("guesses_per_day", &service.guesses_per_day.to_string());
    }
    if service.guesses_per_year != 0 {
        out.field("guesses_per_year", &service.guesses_per_year.to_string());
    }
    out.0
}

struct Yaml(String);

impl Yaml {
    fn field(&mut self, name: &str, value: &str) {
        // Writing to a text cannot fail.
        let _ = writeln!(self.0, "{name}: {value}");
    }

    fn optional(&mut self, name: &str, value: Option<String>) {
        if let Some(value) = value {
            self.field(name, &value);
        }
    }

    fn text(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.field(name, &text(value));
        }
    }

    fn texts(&mut self, name: &str, values: &[String]) {
        if !values.is_empty() {
            self.field(name, &list(values.iter().map(|value| text(value))));
        }
    }

    fn attribute(&mut self, attribute: &wire::Attribute) {
        let _ = writeln!(self.0, "  {}:", text(&attribute.name));
        self.field("    type", &text(&attribute.r#type));
        self.texts("    members", &attribute.members);
        self.field("    operators", &list(attribute.operators.iter().map(|operator| text(operator))));
        if attribute.discloses {
            self.field("    discloses", "true");
        }
        if attribute.sensitivity != "ordinary" {
            self.text("    sensitivity", &attribute.sensitivity);
        }
        match attribute.rows() {
            wire::RowRule::Unspecified | wire::RowRule::Only => {}
            wire::RowRule::Any => self.field("    rows", "any"),
            wire::RowRule::Count => self.field("    rows", "count"),
            wire::RowRule::Latest => self.field("    rows", &text(&format!("latest {}", attribute.latest_by))),
            wire::RowRule::Sum => self.field("    rows", "sum"),
        }
        self.optional("    absence", attribute.absence.as_ref().map(value));
        self.optional("    label", attribute.label.as_ref().map(local_name));
    }
}

fn local_name(name: &wire::LocalName) -> String {
    match name.en.as_str() {
        "" => format!("{{zh: {}}}", text(&name.zh)),
        en => format!("{{zh: {}, en: {}}}", text(&name.zh), text(en)),
    }
}

fn basis(basis: &LegalBasis) -> String {
    let written = format!("{} {}", basis.instrument, basis.article);
    if split_basis(written.trim_end()) == *basis {
        return text(written.trim_end());
    }
    match basis.article.as_str() {
        "" => format!("{{instrument: {}}}", text(&basis.instrument)),
        article => format!("{{instrument: {}, article: {}}}", text(&basis.instrument), text(article)),
    }
}

fn value(value: &Value) -> String {
    match &value.kind {
        None => "\"\"".to_owned(),
        Some(Kind::Boolean(boolean)) => boolean.to_string(),
        Some(Kind::Date(written) | Kind::Decimal(written) | Kind::Text(written)) => text(written),
        Some(Kind::Integer(integer)) => integer.to_string(),
        Some(Kind::List(values)) => list(values.values.iter().map(self::value)),
    }
}

pub(crate) fn list(texts: impl Iterator<Item = String>) -> String {
    format!("[{}]", texts.collect::<Vec<_>>().join(", "))
}

/// A text as YAML: plain where every reader of YAML takes it for a text, otherwise in quotation marks.
pub(crate) fn text(text: &str) -> String {
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '/' | '·');
    let is_plain = text.starts_with(char::is_alphabetic)
        && text.split(' ').all(|word| !word.is_empty() && word.chars().all(is_word))
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&text.to_ascii_lowercase().as_str());
    if is_plain {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            // What YAML does not print, or takes for a line's end.
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
