//! Service descriptions as files: YAML that people write, and the statement's `ServicePublished` that it becomes.
//!
//! [`parse`] says everything that is wrong at once, with lines, so that a description is put right in one go. Fields that
//! nobody knows are refused: a misspelt `absence` would otherwise publish a register that says something else.
//!
//! Out of scope: signing and publishing it (`publish`), and the department it belongs to, which the file does not name.

pub(crate) mod read;
pub(crate) mod render;
mod template;
pub(crate) mod tree;

use std::fmt;

use proto::registry::v1::ServicePublished;

pub use self::template::{Starting, StartingAttribute, template};

/// The longest service file, in bytes: more than the longest statement.
pub(crate) const LONGEST_FILE: usize = 256 * 1024;

/// One thing wrong with a service file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, as it was named to [`parse`].
    pub file: String,
    /// The line, from 1.
    pub line: u64,
    /// The field, for example `attributes.marital_status.operators`; empty where the file as a whole is wrong.
    pub field: String,
    /// What is wrong, and what to write instead.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, field, reason } = self;
        match field.as_str() {
            "" => write!(formatter, "{file}:{line}: {reason}"),
            field => write!(formatter, "{file}:{line}: {field}: {reason}"),
        }
    }
}

/// Reads the service description in `text`. `file_name` is for the problems. The description's department stays empty:
/// whoever publishes it fills it in. What comes out passes `trust::service::Service::check` under any department.
///
/// # Errors
/// Everything that is wrong, in the order of the lines; at least one problem.
pub fn parse(text: &str, file_name: &str) -> Result<ServicePublished, Vec<Problem>> {
    let problem = |(line, field, reason)| Problem { file: file_name.to_owned(), line, field, reason };
    if text.len() > LONGEST_FILE {
        return Err(vec![problem((1, String::new(), "the file is longer than 256 KiB".to_owned()))]);
    }
    let tree = tree::read(text).map_err(|(line, reason)| vec![problem((line, String::new(), reason))])?;
    read::service(&tree).map_err(|problems| problems.into_iter().map(problem).collect())
}

/// Writes `service` as [`parse`] reads it. The department is left out.
pub fn render(service: &ServicePublished) -> String {
    render::service(service)
}

#[cfg(test)]
mod tests;
