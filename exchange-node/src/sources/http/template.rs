//! The body of a question: JSON in which a text that is a name with a colon before it (`":subject"`) stands for a value.
//! Values are put in as JSON and not as text, so that none of them can become a part of the question.

use std::fmt;

use serde_json::Value as Json;
use trust::value::Value;

use super::super::{
    Asked,
    query::{SUBJECT, SUBJECT_15, SUBJECT_LOWER},
    raw::Trouble,
    sql::fifteen_digits,
};

/// A body.
#[derive(Clone, Debug)]
pub(super) struct Template {
    json: Json,
    names: Vec<String>,
}

impl Template {
    /// Reads the text of a template; or says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let json: Json = serde_json::from_str(text).map_err(|error| format!("is no JSON: {error}"))?;
        let mut names = Vec::new();
        collect(&json, &mut names);
        if !names.iter().any(|name| matches!(name.as_str(), SUBJECT | SUBJECT_15 | SUBJECT_LOWER)) {
            return Err("must ask for the subject: put \":subject\" where its identifier belongs".to_owned());
        }
        Ok(Self { json, names })
    }

    /// Whether the value called `name` is put in.
    pub(super) fn uses(&self, name: &str) -> bool {
        self.names.iter().any(|used| used == name)
    }

    /// The body of one question.
    pub(super) fn fill(&self, asked: &Asked) -> Result<Vec<u8>, Trouble> {
        let filled = fill(&self.json, asked)?;
        serde_json::to_vec(&filled).map_err(|error| Trouble::Wrong(format!("the body cannot be written: {error}")))
    }
}

impl fmt::Display for Template {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.json)
    }
}

/// The name in a text that stands for a value.
fn name(text: &str) -> Option<&str> {
    let name = text.strip_prefix(':')?;
    let is_name = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    (is_name && !name.is_empty()).then_some(name)
}

fn collect(json: &Json, names: &mut Vec<String>) {
    match json {
        Json::String(text) => names.extend(name(text).map(str::to_owned)),
        Json::Array(items) => items.iter().for_each(|item| collect(item, names)),
        Json::Object(members) => members.values().for_each(|item| collect(item, names)),
        _ => {}
    }
}

fn fill(json: &Json, asked: &Asked) -> Result<Json, Trouble> {
    Ok(match json {
        Json::String(text) => match name(text) {
            Some(name) => value(name, asked)?,
            None => json.clone(),
        },
        Json::Array(items) => Json::Array(items.iter().map(|item| fill(item, asked)).collect::<Result<_, _>>()?),
        Json::Object(members) => {
            let member = |(name, item): (&String, &Json)| Ok((name.clone(), fill(item, asked)?));
            Json::Object(members.iter().map(member).collect::<Result<_, Trouble>>()?)
        }
        other => other.clone(),
    })
}

fn value(name: &str, asked: &Asked) -> Result<Json, Trouble> {
    let subject = asked.subject.value();
    Ok(match name {
        SUBJECT => subject.into(),
        SUBJECT_15 => fifteen_digits(&asked.subject).unwrap_or_else(|| subject.to_owned()).into(),
        SUBJECT_LOWER => subject.to_ascii_lowercase().into(),
        name if !asked.service.inputs.iter().any(|input| input.name == name) => {
            return Err(Trouble::Wrong(format!("the body has \":{name}\", and the service no such input")));
        }
        name => match asked.inputs.iter().find(|(given, _)| given == name) {
            None => Json::Null,
            Some((_, Value::Boolean(boolean))) => (*boolean).into(),
            Some((_, Value::Integer(integer))) => (*integer).into(),
            Some((_, other)) => other.to_text().into(),
        },
    })
}
