//! JSON Lines: one object a line, whose members are named as the columns. Numbers are taken as they are written, so that
//! no floating point ever touches them.

use std::fmt;
use std::io::Read;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::ImportError;
use super::check::Cell;
use super::input::{Input, ROW_LIMIT};

/// Reads the next line that is not blank into `raw`, and returns its number; `None` at the end of the file.
///
/// # Errors
/// Where the line does not end.
pub(super) fn next_line(input: &mut Input<impl Read>, raw: &mut Vec<u8>) -> Result<Option<u64>, ImportError> {
    loop {
        raw.clear();
        let line = input.line();
        while let Some(byte) = input.peek()? {
            input.take();
            if byte == b'\n' {
                break;
            }
            raw.push(byte);
            if raw.len() > ROW_LIMIT {
                return Err(ImportError::File { line, reason: "the line is longer than 64 KiB".to_owned() });
            }
        }
        while raw.last().is_some_and(u8::is_ascii_whitespace) {
            raw.pop();
        }
        if !raw.is_empty() {
            return Ok(Some(line));
        }
        if input.peek()?.is_none() {
            return Ok(None);
        }
    }
}

/// The members of the object in `raw`, in order; or what is wrong with it. Never repeats what is in it, as the JSON
/// library's own messages do.
pub(crate) fn members(raw: &[u8]) -> Result<Vec<(String, &RawValue)>, String> {
    let text = std::str::from_utf8(raw).map_err(|_| "the line is not UTF-8".to_owned())?;
    let members: Members<'_> =
        serde_json::from_str(text).map_err(|error| format!("not a JSON object (character {})", error.column()))?;
    Ok(members.0)
}

/// A member's value as a cell; or what is wrong with it.
pub(super) fn cell(value: &RawValue) -> Result<Cell<'_>, &'static str> {
    let raw = value.get();
    match raw.as_bytes().first() {
        Some(b'n') => Ok(Cell::Empty),
        Some(b't') => Ok(Cell::Boolean(true)),
        Some(b'f') => Ok(Cell::Boolean(false)),
        Some(b'"') => string(raw).map(|text| Cell::text(text.into())),
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(raw).map_err(|_| LIST)?;
            items.into_iter().map(|item| string(item.get())).collect::<Result<_, _>>().map(Cell::List)
        }
        Some(b'{') => Err("must not be an object"),
        _ => Ok(Cell::Number(raw)),
    }
}

const LIST: &str = "a list must hold texts in quotation marks";

fn string(raw: &str) -> Result<String, &'static str> {
    // A text with half a surrogate pair is JSON and no text.
    if raw.starts_with('"') {
        serde_json::from_str(raw).map_err(|_| "must be a text that Unicode knows")
    } else {
        Err(LIST)
    }
}

/// The members of an object, those of the same name too, so that repeated names can be refused.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}
