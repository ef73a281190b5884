//! One configuration file, read into the program's own type.
//!
//! The type says what may stand in the file: it derives `Deserialize` with `deny_unknown_fields`. Every fault is told
//! with file, line, field and reason, so that nobody has to read a parser's output. Out of scope: defaults and meaning,
//! which are the program's; writing files ([`crate::files`]).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

/// What can be wrong with a configuration file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file says something it may not say.
    #[error("{}, line {line}{}: {reason}", path.display(), in_field(field))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The field, with the tables it stands in, where one is concerned.
        field: Option<String>,
        /// What is wrong.
        reason: String,
    },
    /// The file cannot be read.
    #[error("cannot read the configuration file {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
}

fn in_field(field: &Option<String>) -> String {
    field.as_ref().map(|field| format!(", field `{field}`")).unwrap_or_default()
}

/// Reads the TOML file `path`. `T` should deny unknown fields.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let text = fs::read_to_string(path).map_err(|source| Error::Unreadable { path: path.to_owned(), source })?;
    parse(&text, path)
}

/// Reads TOML text; `path` is named in errors.
pub fn parse<T: DeserializeOwned>(text: &str, path: &Path) -> Result<T, Error> {
    toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start.min(text.len()));
        let before = text.get(..start).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        // Errors of several lines exist (a list of expectations); a sentence has one.
        let reason = error.message().lines().map(str::trim).collect::<Vec<_>>().join("; ");
        Error::Invalid { path: path.to_owned(), line, field: field_at(text, line), reason }
    })
}

/// The field on a line, with the tables around it: the parser tells the place, but not the name.
fn field_at(text: &str, line: usize) -> Option<String> {
    let mut table = None;
    let mut key = None;
    for (number, content) in (1..).zip(text.lines()).take(line) {
        let content = content.trim();
        key = None;
        if let Some(rest) = content.strip_prefix('[') {
            let name = rest.trim_start_matches('[').split(']').next().unwrap_or_default().trim();
            table = Some(name.to_owned());
        } else if number == line {
            key = content.split_once('=').map(|(key, _)| key.trim().trim_matches('"').to_owned());
        }
    }
    match (table, key) {
        (Some(table), Some(key)) => Some(format!("{table}.{key}")),
        (None, Some(key)) => Some(key),
        (Some(table), None) => Some(table),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        listen: std::net::SocketAddr,
        limits: Limits,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Limits {
        connections: u32,
    }

    fn fault(text: &str) -> String {
        parse::<Sample>(text, Path::new("node.toml")).unwrap_err().to_string()
    }

    #[test]
    fn a_right_file_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.toml");
        fs::write(&path, "listen = \"127.0.0.1:7443\"\n[limits]\nconnections = 5\n").unwrap();
        let sample: Sample = load(&path).unwrap();
        assert_eq!((sample.listen.port(), sample.limits.connections), (7443, 5));
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = load::<Sample>(Path::new("nowhere.toml")).unwrap_err().to_string();
        assert!(error.starts_with("cannot read the configuration file nowhere.toml: "), "{error}");
    }

    #[test]
    fn an_unknown_field_is_named_with_line_and_table() {
        let error = fault("listen = \"127.0.0.1:1\"\n\n[limits]\nconnections = 5\nconections = 6\n");
        assert!(error.starts_with("node.toml, line 5, field `limits.conections`: unknown field"), "{error}");
    }

    #[test]
    fn a_value_of_the_wrong_type_is_named() {
        let error = fault("listen = \"127.0.0.1:1\"\n[limits]\nconnections = \"many\"\n");
        assert!(error.starts_with("node.toml, line 3, field `limits.connections`: invalid type"), "{error}");
        let error = fault("# a comment\nlisten = \"nowhere\"\n[limits]\nconnections = 1\n");
        assert!(error.starts_with("node.toml, line 2, field `listen`: invalid socket address"), "{error}");
    }

    #[test]
    fn a_missing_field_is_named() {
        let error = fault("listen = \"127.0.0.1:1\"\n[limits]\n");
        assert!(error.contains("line 2, field `limits`: missing field `connections`"), "{error}");
        let error = fault("[limits]\nconnections = 1\n");
        assert!(error.contains("missing field `listen`"), "{error}");
    }

    #[test]
    fn what_is_not_toml_is_told_by_line_in_one_line() {
        let error = fault("listen = \"127.0.0.1:1\"\nlimits = = 3\n");
        assert!(error.starts_with("node.toml, line 2, field `limits`: "), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
}
