//! Public service items as files: YAML that people write, and the statement that it becomes. Read like service files
//! (`service_file`): everything that is wrong at once, with its line; what nobody knows is refused. An application is read the
//! same way (`application`). Out of scope: the department and the version, which the node fills in.

pub mod application;
mod samples;
mod template;

use std::path::Path;

use proto::{
    exchange::v1::{Claim, Value, ValueList, value::Kind as ValueKind},
    registry::v1::{GuideStep, ItemPublished, ProofInput, ProofRequirement},
};
use trust::item;

pub use self::template::template;
use crate::service_file::{
    LONGEST_FILE, Problem,
    read::{
        Found, Problems,
        fields::{Fields, line_of, text},
        legal_bases,
    },
    tree::{self, Entry, Kind, Node},
};

/// The longest time limit of an item or a step, in working days.
const LONGEST_DAYS: u32 = 3660;

/// Reads the item in `text`. `file_name` is for the problems. Samples that are files must have their digests written down.
///
/// # Errors
/// Everything that is wrong, in the order of the lines; at least one problem.
pub fn parse(text: &str, file_name: &str) -> Result<ItemPublished, Vec<Problem>> {
    parse_beside(text, file_name, None)
}

/// As [`parse`], with the folder in which the samples that are files are looked for.
///
/// # Errors
/// As for [`parse`], and a file is not the one that is written down, is not there or cannot be read.
pub fn parse_beside(text: &str, file_name: &str, folder: Option<&Path>) -> Result<ItemPublished, Vec<Problem>> {
    let problem = |(line, field, reason): Found| Problem { file: file_name.to_owned(), line, field, reason };
    if text.len() > LONGEST_FILE {
        return Err(vec![problem((1, String::new(), "the file is longer than 256 KiB".to_owned()))]);
    }
    let root = tree::read(text).map_err(|(line, reason)| vec![problem((line, String::new(), reason))])?;
    let mut problems = Problems::default();
    let Kind::Map(entries) = &root.kind else {
        problems.add(root.line, "", "an item file is a map: it begins with \"item: \" and the item's id");
        return Err(problems.found.into_iter().map(problem).collect());
    };
    let mut fields = Fields::new("", root.line, entries, &mut problems);
    let read = read(&mut fields, folder, &mut problems);
    fields.end(&mut problems);
    whole(&read, entries, &mut problems);
    if problems.found.is_empty() {
        return Ok(read);
    }
    problems.found.sort_by_key(|(line, ..)| *line);
    Err(problems.found.into_iter().map(problem).collect())
}

/// What the directory's rules say of the item, with the lines of its fields; once for each field.
fn whole(read: &ItemPublished, entries: &[Entry], problems: &mut Problems) {
    let known: Vec<String> = problems.found.iter().map(|(_, field, _)| field.clone()).collect();
    for flaw in item::shape(&ItemPublished { version: 1, ..read.clone() }) {
        // What a file among the samples lacks, or that the one in a list could not be read, is said where it stands.
        let within = format!("{}[", flaw.field);
        let is_said = known.iter().any(|known| *known == flaw.field || known.starts_with(&within));
        if !is_said && !flaw.field.starts_with("sample_files") {
            let line = line_of(entries, &flaw.field).unwrap_or(1);
            problems.add(line, &flaw.field, flaw.reason);
        }
    }
}

fn read(fields: &mut Fields<'_>, folder: Option<&Path>, problems: &mut Problems) -> ItemPublished {
    let mut read = ItemPublished {
        item: fields.optional_text("item", problems),
        name: fields.local_name("name", false, problems),
        code: fields.optional_text("code", problems),
        accepting_unit: fields.optional_text("accepting_unit", problems),
        legal_bases: legal_bases(fields, problems),
        fees: fields.optional_text("fees", problems),
        time_limit_working_days: fields.number("time_limit_working_days", 0..=LONGEST_DAYS, problems),
        contact: fields.optional_text("contact", problems),
        issues: fields.texts("issues", problems),
        commitments_excluded: fields.optional_text("commitments_excluded", problems),
        ..ItemPublished::default()
    };
    (read.samples, read.sample_files) = samples::samples(fields, folder, problems);
    read.effective_from_ms = effective_from(fields, problems);
    read.steps = maps(fields, "steps", problems, |fields, problems| GuideStep {
        step: fields.optional_text("step", problems),
        actor: fields.optional_text("actor", problems),
        working_days: fields.number("working_days", 0..=LONGEST_DAYS, problems).unwrap_or(0),
    });
    read.proofs = maps(fields, "proofs", problems, proof);
    read
}

/// The first day on which it holds, at UTC+8; without it, from now on.
fn effective_from(fields: &mut Fields<'_>, problems: &mut Problems) -> u64 {
    let day = fields.optional_text("effective_from", problems);
    let Some(line) = fields.line("effective_from").filter(|_| !day.is_empty()) else { return 0 };
    let moment = day.parse::<jiff::civil::Date>().ok().and_then(|date| {
        let midnight = date.to_datetime(jiff::civil::Time::midnight());
        let moment = jiff::tz::Offset::constant(8).to_timestamp(midnight).ok()?;
        u64::try_from(moment.as_millisecond()).ok()
    });
    moment.unwrap_or_else(|| {
        problems.add(line, "effective_from", "must be a day, written YYYY-MM-DD");
        0
    })
}

fn maps<T>(
    fields: &mut Fields<'_>,
    name: &'static str,
    problems: &mut Problems,
    read: impl Fn(&mut Fields<'_>, &mut Problems) -> T,
) -> Vec<T> {
    let Some((node, field)) = fields.optional(name) else { return Vec::new() };
    let Kind::List(nodes) = &node.kind else {
        problems.add(node.line, &field, "must be a list of maps");
        return Vec::new();
    };
    let mut found = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        let field = format!("{field}[{index}]");
        let Kind::Map(entries) = &node.kind else {
            problems.add(node.line, &field, "must be a map");
            continue;
        };
        let mut fields = Fields::new(&field, node.line, entries, problems);
        found.push(read(&mut fields, problems));
        fields.end(problems);
    }
    found
}

fn proof(fields: &mut Fields<'_>, problems: &mut Problems) -> ProofRequirement {
    let mut proof = ProofRequirement {
        proof: fields.optional_text("proof", problems),
        about: fields.optional_text("about", problems),
        legal_bases: legal_bases(fields, problems),
        issuing_unit: fields.optional_text("issuing_unit", problems),
        answered_by: fields.optional_text("answered_by", problems),
        gives: fields.optional_text("gives", problems),
        optional: fields.boolean("optional", problems),
        commitment_allowed: fields.boolean("commitment", problems),
        ..ProofRequirement::default()
    };
    proof.major_version =
        fields.number("version", 1..=9999, problems).unwrap_or(u32::from(!proof.answered_by.is_empty()));
    if let Some((node, field)) = fields.optional("claim") {
        let Kind::Map(entries) = &node.kind else {
            problems.add(node.line, &field, "must be a map such as {attribute: name, operator: equals, stated: name}");
            return proof;
        };
        let mut fields = Fields::new(&field, node.line, entries, problems);
        let attribute = fields.required_text("attribute", problems).map(|(text, _)| text).unwrap_or_default();
        let operator = fields.required_text("operator", problems).map(|(text, _)| text).unwrap_or_default();
        let operands = fields.optional("value").map(|(node, field)| values(node, &field, problems)).unwrap_or_default();
        proof.stated = fields.optional_text("stated", problems);
        proof.value_from = fields.optional_text("value_from", problems);
        fields.end(problems);
        // A value is disclosed for whoever needs it, and for nothing else.
        let disclose = !proof.gives.is_empty();
        proof.claim = Some(Claim { attribute, operator, operands, disclose, ..Claim::default() });
    }
    proof.inputs = inputs(fields, problems);
    proof
}

fn inputs(fields: &mut Fields<'_>, problems: &mut Problems) -> Vec<ProofInput> {
    fields
        .named_maps("inputs", problems)
        .into_iter()
        .map(|named| {
            let mut fields = Fields::new(&named.field, named.line, named.entries, problems);
            let value = fields.optional("value").and_then(|(node, field)| values(node, &field, problems).pop());
            let input = ProofInput {
                name: named.name,
                value,
                stated: fields.optional_text("stated", problems),
                value_from: fields.optional_text("value_from", problems),
            };
            fields.end(problems);
            input
        })
        .collect()
}

/// A value, or a list of them, as texts: whoever asks reads them as the attribute's type.
fn values(node: &Node, field: &str, problems: &mut Problems) -> Vec<Value> {
    let one = |node: &Node, field: &str, problems: &mut Problems| {
        text(node, field, problems).map(|text| Value { kind: Some(ValueKind::Text(text)) })
    };
    match &node.kind {
        Kind::List(nodes) => nodes.iter().filter_map(|node| one(node, field, problems)).collect(),
        _ => one(node, field, problems).into_iter().collect(),
    }
}

/// A value as it stands in a file, for people.
pub fn value_text(value: &Value) -> String {
    match &value.kind {
        None => String::new(),
        Some(ValueKind::Boolean(value)) => value.to_string(),
        Some(ValueKind::Date(text) | ValueKind::Decimal(text) | ValueKind::Text(text)) => text.clone(),
        Some(ValueKind::Integer(value)) => value.to_string(),
        Some(ValueKind::List(ValueList { values })) => values.iter().map(value_text).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_says_what_is_still_missing_with_its_line() {
        let text = template("入学", "入学.yaml");
        let problems = parse(&text, "f").unwrap_err();
        let fields: Vec<&str> = problems.iter().map(|problem| problem.field.as_str()).collect();
        for field in ["name.zh", "accepting_unit", "fees", "contact", "samples"] {
            assert!(fields.contains(&field), "{field}: {problems:#?}");
        }
        assert!(problems.iter().all(|problem| problem.line > 1), "{problems:#?}");
    }

    #[test]
    fn everything_wrong_is_said_at_once() {
        let text = "item: 入学\nnames: {zh: a}\ntime_limit_working_days: soon\nproofs:\n  - {proof: 居住证明, about: neighbour}\n";
        let problems = parse(text, "f.yaml").unwrap_err();
        let has = |field: &str, line: u64| problems.iter().any(|one| one.field == field && one.line == line);
        assert!(has("names", 2) && has("time_limit_working_days", 3), "{problems:#?}");
        assert!(has("proofs[0].about", 5) && has("proofs[0].legal_basis", 5), "{problems:#?}");
        assert!(has("proofs[0].issuing_unit", 5), "{problems:#?}");
    }
}
