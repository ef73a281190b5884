//! From the tree to the description. Everything that is wrong is collected; only what could not be read is left out, and
//! then no description comes out at all.

mod attribute;
pub(crate) mod fields;

use host::period::Period;
use prost::Message;
use proto::exchange::v1::LegalBasis;
use proto::registry::v1 as wire;
use trust::clerk::AnsweredBy;
use trust::directory::LARGEST_STATEMENT;
use trust::ids::{Digest, ServiceName};
use trust::service::Service;
use trust::subject::Scheme;
use trust::value::{AttributeType, Type, Value};

use self::fields::{Fields, NamedMap};
use super::tree::{Entry, Kind, Node};
use crate::records::Columns;

/// A line, a field and what is wrong with it.
pub(crate) type Found = (u64, String, String);

/// How long an answer may take at most: as long as a question is valid.
const LONGEST_ANSWER_MS: u32 = 300_000;

/// How long an answer may take where the file does not say.
const USUAL_ANSWER_MS: u32 = 1000;

/// The description that `root` holds.
pub(super) fn service(root: &Node) -> Result<wire::ServicePublished, Vec<Found>> {
    let mut problems = Problems::default();
    let Kind::Map(entries) = &root.kind else {
        problems.add(root.line, "", "a service file is a map: it begins with \"service: \" and the service's id");
        return Err(problems.found);
    };
    let mut fields = Fields::new("", root.line, entries, &mut problems);
    let published = read(&mut fields, &mut problems);
    fields.end(&mut problems);
    if problems.found.is_empty() {
        check_whole(&published, entries, &mut problems);
    }
    if problems.found.is_empty() {
        return Ok(published);
    }
    problems.found.sort_by_key(|(line, ..)| *line);
    Err(problems.found)
}

/// What is wrong so far.
#[derive(Default)]
pub(crate) struct Problems {
    pub(crate) found: Vec<Found>,
}

impl Problems {
    pub(crate) fn add(&mut self, line: u64, field: &str, reason: impl Into<String>) {
        self.found.push((line, field.to_owned(), reason.into()));
    }
}

fn read(fields: &mut Fields<'_>, problems: &mut Problems) -> wire::ServicePublished {
    let mut published =
        wire::ServicePublished { mode: "verification".into(), format: "claims".into(), ..Default::default() };
    published.service = fields
        .required_text("service", problems)
        .map(|(text, line)| {
            if let Err(error) = text.parse::<ServiceName>() {
                problems.add(line, "service", error.to_string());
            }
            text
        })
        .unwrap_or_default();
    (published.major_version, published.minor_version) = version(fields, problems);
    published.name = fields.local_name("name", true, problems);
    published.subject_schemes = schemes(fields, problems);
    published.sharing = sharing(fields, problems).into();
    published.legal_bases = legal_bases(fields, problems);
    published.forbidden_by = forbidden_by(published.sharing(), fields, problems);
    published.completeness = completeness(fields, problems);
    published.attributes = attribute::attributes(published.completeness.is_some(), fields, problems);
    published.inputs = inputs(fields, problems);
    published.needs_authorisation =
        fields.optional("needs_authorisation").and_then(|(node, field)| legal_basis(node, &field, problems));
    published.items = fields.texts("items", problems);
    published.replaces_proofs = fields.texts("replaces_proofs", problems);
    let cycles = ["real_time", "daily", "weekly", "monthly", "yearly"];
    published.update_cycle = fields.one_of("update_cycle", &cycles, None, problems);
    published.answered_by = fields.one_of("answered_by", &AnsweredBy::NAMES, Some("record"), problems);
    clerk_time(fields, &mut published, problems);
    published.time_to_answer_ms =
        fields.number("time_to_answer_ms", 1..=LONGEST_ANSWER_MS, problems).unwrap_or(USUAL_ANSWER_MS);
    published.guesses_per_day = fields.number("guesses_per_day", 1..=1000, problems).unwrap_or(0);
    published.guesses_per_year = fields.number("guesses_per_year", 1..=100_000, problems).unwrap_or(0);
    published.record_as_of_column = fields.optional_text("record_as_of", problems);
    published.conditions = fields.optional_text("conditions", problems);
    published.classification = fields.optional_text("classification", problems);
    published.contact = fields.optional_text("contact", problems);
    published.catalogue_code = fields.optional_text("catalogue_code", problems);
    published
}

/// Within what time a clerk answers: in working days, or sooner.
fn clerk_time(fields: &mut Fields<'_>, published: &mut wire::ServicePublished, problems: &mut Problems) {
    const FIELD: &str = "clerk_answers_within";
    let text = fields.optional_text(FIELD, problems);
    let Some(line) = fields.line(FIELD) else { return };
    let days = text.strip_suffix("working days").or(text.strip_suffix("working day")).map(str::trim);
    let period = || text.parse::<Period>().ok().map(Period::duration);
    match (days, period()) {
        _ if published.answered_by == "record" => {
            problems.add(line, FIELD, "needs answered_by: clerk or record_then_clerk");
        }
        (Some(days), _) => match days.parse() {
            Ok(days @ 1..=366) => published.clerk_days = days,
            _ => problems.add(line, FIELD, "must be 1 to 366 working days"),
        },
        (None, Some(period)) if period.as_secs() <= 30 * 86_400 && period.as_secs() > 0 => {
            published.clerk_seconds = u32::try_from(period.as_secs()).unwrap_or(u32::MAX);
        }
        (None, _) => {
            problems.add(line, FIELD, "must be such as \"3 working days\", or a time of at most 30 days such as \"4h\"")
        }
    }
}

fn version(fields: &mut Fields<'_>, problems: &mut Problems) -> (u32, u32) {
    let Some((text, line)) = fields.required_text("version", problems) else { return (0, 0) };
    let number = |text: &str| {
        let is_plain = text == "0" || !text.starts_with('0');
        (is_plain && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse::<u32>().ok()).flatten()
    };
    // Without a minor version the node counts it.
    let (major, minor) = text.split_once('.').unwrap_or((text.as_str(), "0"));
    let parts = number(major).zip(number(minor));
    let parts = parts.filter(|(major, _)| *major > 0);
    if parts.is_none() {
        problems.add(
            line,
            "version",
            "must be a major number such as \"1\", or a major and a minor one such as \"1.0\"",
        );
    }
    parts.unwrap_or_default()
}

fn schemes(fields: &mut Fields<'_>, problems: &mut Problems) -> Vec<String> {
    let names = fields.located_texts("subject", problems);
    if let (Some(names), Some(line)) = (&names, fields.line("subject"))
        && names.is_empty()
    {
        problems.add(line, "subject", "must name at least one subject scheme");
    }
    if names.is_none() {
        fields.missing("subject", problems);
    }
    let names = names.unwrap_or_default();
    for (index, (name, line)) in names.iter().enumerate() {
        let field = format!("subject[{index}]");
        if let Err(error) = Scheme::parse(name) {
            problems.add(*line, &field, error.to_string());
        } else if names[..index].iter().any(|(other, _)| other == name) {
            problems.add(*line, &field, "is repeated");
        }
    }
    names.into_iter().map(|(name, _)| name).collect()
}

fn sharing(fields: &mut Fields<'_>, problems: &mut Problems) -> wire::SharingClass {
    match fields.one_of("sharing", &["unconditional", "conditional", "not_shared"], None, problems).as_str() {
        "unconditional" => wire::SharingClass::Unconditional,
        "conditional" => wire::SharingClass::Conditional,
        "not_shared" => wire::SharingClass::NotShared,
        _ => wire::SharingClass::Unspecified,
    }
}

pub(crate) fn legal_bases(fields: &mut Fields<'_>, problems: &mut Problems) -> Vec<LegalBasis> {
    let Some((node, field)) = fields.optional("legal_basis") else {
        fields.missing("legal_basis", problems);
        return Vec::new();
    };
    let Kind::List(nodes) = &node.kind else {
        problems.add(node.line, &field, "must be a list, such as [\"婚姻登记条例 4\"]");
        return Vec::new();
    };
    if nodes.is_empty() {
        problems.add(node.line, &field, "no legal basis, no publishing: state instrument and article");
    }
    let basis = |(index, node)| legal_basis(node, &format!("{field}[{index}]"), problems);
    nodes.iter().enumerate().filter_map(basis).collect()
}

/// A legal basis: a text of instrument and article, or a map of both where the text would be misread.
fn legal_basis(node: &Node, field: &str, problems: &mut Problems) -> Option<LegalBasis> {
    match &node.kind {
        Kind::Text(text) => {
            let text = fields::clean(text, node.line, field, problems)?;
            Some(split_basis(&text))
        }
        Kind::Map(entries) => {
            let mut fields = Fields::new(field, node.line, entries, problems);
            let instrument = fields.required_text("instrument", problems).map(|(text, _)| text);
            let article = fields.optional_text("article", problems);
            fields.end(problems);
            Some(LegalBasis { instrument: instrument?, article })
        }
        Kind::List(_) | Kind::Nothing => {
            problems.add(node.line, field, "must be instrument and article, such as \"婚姻登记条例 4\"");
            None
        }
    }
}

/// The last blank-separated word is the article if it begins with a digit.
pub(super) fn split_basis(text: &str) -> LegalBasis {
    match text.rsplit_once(char::is_whitespace) {
        Some((instrument, article)) if article.starts_with(|c: char| c.is_ascii_digit()) => {
            LegalBasis { instrument: instrument.trim_end().to_owned(), article: article.to_owned() }
        }
        _ => LegalBasis { instrument: text.to_owned(), article: String::new() },
    }
}

fn forbidden_by(sharing: wire::SharingClass, fields: &mut Fields<'_>, problems: &mut Problems) -> Option<LegalBasis> {
    let given = fields.optional("forbidden_by");
    match (sharing, given) {
        (wire::SharingClass::NotShared, None) => {
            let line = fields.line("sharing").unwrap_or(1);
            problems.add(
                line,
                "forbidden_by",
                "is missing: a service that is not shared cites the law that forbids it",
            );
            None
        }
        (wire::SharingClass::NotShared | wire::SharingClass::Unspecified, Some((node, field))) => {
            legal_basis(node, &field, problems)
        }
        (_, Some((node, field))) => {
            problems.add(node.line, &field, "only a service that is not_shared is forbidden by a law");
            None
        }
        (_, None) => None,
    }
}

fn completeness(fields: &mut Fields<'_>, problems: &mut Problems) -> Option<wire::Completeness> {
    let (node, field) = fields.optional("complete")?;
    let Kind::Map(entries) = &node.kind else {
        problems.add(node.line, &field, "must be a map such as {territory: [\"890000\"], since: 2001-01-01}");
        return None;
    };
    let mut fields = Fields::new(&field, node.line, entries, problems);
    let territories = fields.located_texts("territory", problems);
    if territories.as_ref().is_none_or(Vec::is_empty) {
        problems.add(node.line, "complete.territory", "must name at least one division code");
    }
    let territories = territories.unwrap_or_default();
    for (index, (code, line)) in territories.iter().enumerate() {
        if code.len() != 6 || !code.bytes().all(|byte| byte.is_ascii_digit()) {
            problems.add(*line, &format!("complete.territory[{index}]"), "must be a division code of six digits");
        }
    }
    let since = fields.required_text("since", problems).map(|(text, line)| {
        let date = AttributeType::new(Type::Date, Vec::new()).ok().and_then(|ty| Value::read(&text, &ty).ok());
        if date.is_none() {
            problems.add(line, "complete.since", "must be a day of the calendar, written YYYY-MM-DD");
        }
        date.map(|date| date.to_text()).unwrap_or_default()
    });
    fields.end(problems);
    let territories = territories.into_iter().map(|(code, _)| code).collect();
    // Even with something wrong inside, it was declared: attributes may rely on it.
    Some(wire::Completeness { territories, since: since.unwrap_or_default() })
}

fn inputs(fields: &mut Fields<'_>, problems: &mut Problems) -> Vec<wire::InputDescription> {
    let mut inputs = Vec::new();
    for NamedMap { name, field, line, entries } in fields.named_maps("inputs", problems) {
        let mut fields = Fields::new(&field, line, entries, problems);
        // An input has no members to name, and no list is equal to a cell.
        let types = ["string", "boolean", "integer", "decimal", "date"];
        let ty = fields.one_of("type", &types, None, problems);
        let required = fields.boolean("required", problems);
        fields.end(problems);
        inputs.push(wire::InputDescription { name, r#type: ty, required });
    }
    inputs
}

/// What can only be said of the whole: the rules that every party checks, and the columns that records will have. One
/// fault hides the next, so what is at fault is left out and the rest is looked at again.
fn check_whole(published: &wire::ServicePublished, entries: &[Entry], problems: &mut Problems) {
    // The department comes in when the description is published; any valid name does for checking.
    let mut whole = wire::ServicePublished { department: "department".to_owned(), ..published.clone() };
    loop {
        let fault = match Service::check(&whole, Digest::new([0; 32])) {
            Err(error) => Some((error.field, error.reason)),
            Ok(service) => Columns::of(&service).err().map(|error| (error.field, error.reason)),
        };
        let Some((field, reason)) = fault else { break };
        let is_left_out = leave_out(&mut whole, &field);
        problems.add(fields::line_of(entries, &field).unwrap_or(1), &field, reason);
        if !is_left_out {
            break;
        }
    }
    // Room for what surrounds the description in its statement.
    let longest = LARGEST_STATEMENT - 2_000;
    if published.encoded_len() > longest {
        let reason =
            format!("the description takes {} bytes, and at most {longest} can be published", published.encoded_len());
        problems.add(1, "", reason);
    }
}

/// Takes the part at fault out of a description; `false` where there would be nothing left to check.
fn leave_out(published: &mut wire::ServicePublished, field: &str) -> bool {
    let mut parts = field.split('.');
    match (parts.next(), parts.next(), parts.next()) {
        // Only the rule: the column stays, for what else is said about it.
        (Some("attributes"), Some(name), Some("rows")) => {
            let attribute = published.attributes.iter_mut().find(|attribute| attribute.name == name);
            attribute.is_some_and(|attribute| {
                let before = (std::mem::take(&mut attribute.rows), std::mem::take(&mut attribute.latest_by));
                before != Default::default()
            })
        }
        (Some("attributes"), Some(name), _) => {
            published.attributes.retain(|attribute| attribute.name != name);
            !published.attributes.is_empty()
        }
        (Some("inputs"), Some(name), _) => {
            published.inputs.retain(|input| input.name != name);
            true
        }
        (Some("record_as_of"), ..) => !std::mem::take(&mut published.record_as_of_column).is_empty(),
        _ => false,
    }
}
