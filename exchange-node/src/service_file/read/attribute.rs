//! The attributes of a description, each held to the rules that it will be evaluated by.

use proto::registry::v1 as wire;
use trust::claim::{AttributeRule, Operator, RuleFault};
use trust::value::{AttributeType, Type, Value};

use super::super::tree::{Kind, Node};
use super::Problems;
use super::fields::{Fields, NamedMap, line_of, text};

/// The attributes; `is_complete` says whether the register is declared complete.
pub(super) fn attributes(is_complete: bool, fields: &mut Fields<'_>, problems: &mut Problems) -> Vec<wire::Attribute> {
    let is_given = fields.line("attributes").is_some();
    let maps = fields.named_maps("attributes", problems);
    if maps.is_empty() && !is_given {
        fields.missing("attributes", problems);
    }
    maps.into_iter().map(|named| attribute(named, is_complete, problems)).collect()
}

fn attribute(named: NamedMap<'_>, is_complete: bool, problems: &mut Problems) -> wire::Attribute {
    let before = problems.found.len();
    let NamedMap { name, field, line, entries } = named;
    let mut fields = Fields::new(&field, line, entries, problems);
    let types = Type::ALL.map(Type::as_str);
    let mut attribute =
        wire::Attribute { name, r#type: fields.one_of("type", &types, None, problems), ..Default::default() };
    attribute.members = fields.texts("members", problems);
    attribute.operators = operators(&mut fields, &attribute.r#type, problems);
    attribute.discloses = fields.boolean("discloses", problems);
    attribute.sensitivity = fields.one_of("sensitivity", &["ordinary", "sensitive"], Some("ordinary"), problems);
    if let Some((node, field)) = fields.optional("rows") {
        rows(node, &field, &mut attribute, problems);
    } else {
        attribute.rows = wire::RowRule::Only.into();
    }
    let absence = fields.optional("absence");
    attribute.label = fields.local_name("label", false, problems);
    fields.end(problems);
    let is_sound = problems.found.len() == before;
    if let Some((node, field)) = absence {
        if !is_complete {
            problems.add(node.line, &field, "means something only in a register declared complete: add `complete`");
        }
        attribute.absence = value(node, &field, &attribute, problems).map(|value| value.to_proto());
    }
    // Where something is missing or wrong already, the rules would only say it again in other words.
    if is_sound && let Err(error) = AttributeRule::from_proto(&attribute) {
        let within = if error.field() == "latest_by" { "rows" } else { error.field() };
        problems.add(line_of(entries, within).unwrap_or(line), &format!("{field}.{within}"), error.fault().to_string());
    }
    attribute
}

/// The operators; each that is wrong is said.
fn operators(fields: &mut Fields<'_>, ty: &str, problems: &mut Problems) -> Vec<String> {
    let operators = fields.located_texts("operators", problems).unwrap_or_default();
    for (index, (name, line)) in operators.iter().enumerate() {
        let reason = match (Operator::parse(name), Type::parse(ty)) {
            (Err(unknown), _) => {
                format!("{unknown}: {}", Operator::ALL.map(Operator::as_str).join(", "))
            }
            (Ok(operator), Ok(ty)) if !operator.allowed_for(ty) => {
                RuleFault::OperatorNotAllowed { operator, ty }.to_string()
            }
            _ if operators[..index].iter().any(|(other, _)| other == name) => RuleFault::OperatorRepeated.to_string(),
            _ => continue,
        };
        problems.add(*line, &fields.path_of(&format!("operators[{index}]")), reason);
    }
    operators.into_iter().map(|(name, _)| name).collect()
}

fn rows(node: &Node, field: &str, attribute: &mut wire::Attribute, problems: &mut Problems) {
    let Some(rule) = text(node, field, problems) else { return };
    let mut words = rule.split_whitespace();
    let rule = match (words.next(), words.next(), words.next()) {
        (Some("any"), None, _) => wire::RowRule::Any,
        (Some("count"), None, _) => wire::RowRule::Count,
        (Some("latest"), Some(column), None) => {
            column.clone_into(&mut attribute.latest_by);
            wire::RowRule::Latest
        }
        (Some("only"), None, _) => wire::RowRule::Only,
        (Some("sum"), None, _) => wire::RowRule::Sum,
        _ => {
            problems.add(
                node.line,
                field,
                "must be only, any, count, sum, or latest and a column, such as \"latest registered_on\"",
            );
            wire::RowRule::Unspecified
        }
    };
    attribute.rows = rule.into();
}

/// The value that having no row means.
fn value(node: &Node, field: &str, attribute: &wire::Attribute, problems: &mut Problems) -> Option<Value> {
    // Where the type is wrong, that is said already.
    let ty = AttributeType::new(Type::parse(&attribute.r#type).ok()?, attribute.members.clone()).ok()?;
    let read = match &node.kind {
        Kind::Text(text) => Value::read(text, &ty),
        Kind::List(nodes) if ty.ty() == Type::List => {
            let texts =
                nodes.iter().enumerate().map(|(index, node)| text(node, &format!("{field}[{index}]"), problems));
            let texts = texts.collect::<Option<Vec<_>>>()?;
            let text =
                |text: String| proto::exchange::v1::Value { kind: Some(proto::exchange::v1::value::Kind::Text(text)) };
            let list = proto::exchange::v1::ValueList { values: texts.into_iter().map(text).collect() };
            let list = proto::exchange::v1::value::Kind::List(list);
            Value::from_proto(&proto::exchange::v1::Value { kind: Some(list) }, &ty)
        }
        Kind::List(_) | Kind::Map(_) | Kind::Nothing => {
            problems.add(node.line, field, "must be a value of the attribute's type");
            return None;
        }
    };
    read.map_err(|error| problems.add(node.line, field, error.to_string())).ok()
}
