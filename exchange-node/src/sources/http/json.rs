//! An answer in JSON: rows and their cells found by JSON Pointer (RFC 6901). Numbers are taken as they are written, so that
//! no floating point ever touches them; a member that stands twice is no answer.

use serde_json::value::RawValue;

use super::super::raw::Raw;
use crate::records::json_members;

/// An answer.
#[derive(Debug)]
pub(super) struct Document {
    root: Box<RawValue>,
}

impl Document {
    /// Reads an answer, all of it.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        let text = std::str::from_utf8(bytes).map_err(|_| "its answer is not UTF-8")?;
        let root = serde_json::from_str(text).map_err(|_| "its answer is no JSON, or was cut off")?;
        Ok(Self { root })
    }

    /// That the answer says so itself that all is well: at each pointer of `success` its value stands, a text, a number or a
    /// truth value. Many systems report their errors within a 200.
    pub(super) fn check(&self, success: &[(String, String)]) -> Result<(), String> {
        for (pointer, expected) in success {
            let is_there = find(&self.root, pointer)?.is_some_and(|value| match first(value) {
                b'"' => string(value.get()).as_ref() == Some(expected),
                b'{' | b'[' | b'n' => false,
                _ => value.get() == expected,
            });
            if !is_there {
                return Err(format!(
                    "its answer does not have at {pointer:?} what stands there when all is well (success)"
                ));
            }
        }
        Ok(())
    }

    /// The rows at `rows`, with the cells at `pointers`. Says what is wrong without repeating what stands there. A null there
    /// is no rows only where somebody who knows the system has said so.
    pub(super) fn rows(
        &self,
        rows: &str,
        null_means_no_rows: bool,
        pointers: &[(String, String)],
    ) -> Result<Vec<Vec<Raw>>, String> {
        let found = find(&self.root, rows)?.ok_or_else(|| format!("its answer has nothing at {rows:?} (rows)"))?;
        let found = match first(found) {
            b'n' if null_means_no_rows => Vec::new(),
            b'n' => {
                return Err(format!(
                    "what its answer has at {rows:?} (rows) is null, which may be an error: null_means_no_rows = true says \
                     that it means no rows"
                ));
            }
            b'{' => vec![found],
            b'[' => items(found)?,
            _ => return Err(format!("what its answer has at {rows:?} (rows) is neither a list nor an object")),
        };
        found.into_iter().map(|row| cells(row, pointers)).collect()
    }
}

fn cells(row: &RawValue, pointers: &[(String, String)]) -> Result<Vec<Raw>, String> {
    if first(row) != b'{' {
        return Err("a row of its answer is no object".to_owned());
    }
    let cell = |(_, pointer): &(String, String)| {
        Ok(match find(row, pointer)? {
            // Nobody said that it is null.
            None => Raw::Foreign("nothing where the pointer leads".to_owned()),
            Some(value) => cell(value),
        })
    };
    pointers.iter().map(cell).collect()
}

fn cell(value: &RawValue) -> Raw {
    let text = value.get();
    match first(value) {
        b'n' => Raw::Null,
        b't' => Raw::Boolean(true),
        b'f' => Raw::Boolean(false),
        b'"' => string(text).map_or_else(|| Raw::Foreign("a text that Unicode does not know".to_owned()), Raw::Text),
        b'{' => Raw::Foreign("an object".to_owned()),
        b'[' => match items(value) {
            Ok(items) => Raw::List(items.into_iter().map(cell).collect()),
            Err(_) => Raw::Foreign("a list".to_owned()),
        },
        // What is written with an exponent went through a floating point number.
        _ if text.contains(['e', 'E']) => Raw::Inexact,
        _ => text.parse().map_or_else(|_| Raw::Number(text.to_owned()), Raw::Integer),
    }
}

fn find<'a>(mut value: &'a RawValue, pointer: &str) -> Result<Option<&'a RawValue>, String> {
    for step in pointer.split('/').skip(1) {
        let step = step.replace("~1", "/").replace("~0", "~");
        let next = match first(value) {
            b'{' => {
                let members = json_members(value.get().as_bytes())?;
                let mut named = members.into_iter().filter(|(name, _)| *name == step).map(|(_, value)| value);
                let found = named.next();
                if named.next().is_some() {
                    return Err("a member of its answer stands twice".to_owned());
                }
                found
            }
            b'[' => step.parse::<usize>().ok().and_then(|index| items(value).ok()?.into_iter().nth(index)),
            _ => None,
        };
        match next {
            Some(next) => value = next,
            None => return Ok(None),
        }
    }
    Ok(Some(value))
}

fn items(value: &RawValue) -> Result<Vec<&RawValue>, String> {
    serde_json::from_str(value.get()).map_err(|_| "a list of its answer cannot be read".to_owned())
}

fn string(text: &str) -> Option<String> {
    serde_json::from_str(text).ok()
}

fn first(value: &RawValue) -> u8 {
    value.get().as_bytes().first().copied().unwrap_or(b'n')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str, rows: &str, pointers: &[(&str, &str)]) -> Result<Vec<Vec<Raw>>, String> {
        let pointers = pointers.iter().map(|(name, at)| ((*name).to_owned(), (*at).to_owned())).collect::<Vec<_>>();
        Document::parse(text.as_bytes()).map_err(str::to_owned)?.rows(rows, false, &pointers)
    }

    #[test]
    fn rows_and_cells_are_found_by_pointer() {
        let text =
            r#"{"data":{"rows":[{"a/b":{"x":1.50},"n":null,"l":["y"]},{"a/b":{"x":890101199003070011},"l":[]}]}}"#;
        let found = rows(text, "/data/rows", &[("x", "/a~1b/x"), ("n", "/n"), ("l", "/l")]).unwrap();
        assert!(found[0][0] == Raw::Number("1.50".into()) && found[0][1] == Raw::Null);
        assert!(found[0][2] == Raw::List(vec![Raw::Text("y".into())]));
        assert!(found[1][0] == Raw::Integer(890_101_199_003_070_011) && matches!(found[1][1], Raw::Foreign(_)));
        assert!(rows("[]", "", &[("x", "/x")]).unwrap().is_empty());
        assert!(Document::parse(b"null").unwrap().rows("", true, &[]).unwrap().is_empty());
        assert!(rows(r#"{"x":true}"#, "", &[("x", "/x")]).unwrap() == [vec![Raw::Boolean(true)]]);
        assert!(rows(r#"{"x":8.9E+17}"#, "", &[("x", "/x")]).unwrap() == [vec![Raw::Inexact]]);
    }

    #[test]
    fn what_is_not_where_it_should_be_is_said_without_what_is_there() {
        for (text, at) in [
            ("{}", "/rows"),
            ("{\"rows\":null}", "/rows"),
            ("[1]", ""),
            ("\"张三\"", ""),
            ("{\"rows\":7}", "/rows"),
            ("{\"rows\":[{\"x\":1,\"x\":2}]}", "/rows"),
            ("{\"rows\":[", "/rows"),
        ] {
            let error = rows(text, at, &[("x", "/x")]).unwrap_err();
            assert!(!error.contains("张三"), "{error}");
        }
        assert!(Document::parse(b"\xff").is_err());
    }

    #[test]
    fn an_answer_says_itself_that_all_is_well() {
        let wanted = |pointer: &str, value: &str| vec![(pointer.to_owned(), value.to_owned())];
        let check = |text: &str, success: &[(String, String)]| Document::parse(text.as_bytes()).unwrap().check(success);
        for text in ["{\"code\":0}", "{\"code\":\"0\"}", "{\"code\": 0 ,\"data\":null}"] {
            check(text, &wanted("/code", "0")).unwrap();
        }
        check("{\"head\":{\"ok\":true}}", &wanted("/head/ok", "true")).unwrap();
        for text in ["{\"code\":500}", "{\"code\":null}", "{\"code\":[0]}", "{\"code\":0,\"code\":500}", "{}", "[0]"] {
            check(text, &wanted("/code", "0")).unwrap_err();
        }
        let both = [wanted("/a", "1"), wanted("/b", "x")].concat();
        check("{\"a\":1,\"b\":\"x\"}", &both).unwrap();
        check("{\"a\":1,\"b\":\"y\"}", &both).unwrap_err();
    }
}
