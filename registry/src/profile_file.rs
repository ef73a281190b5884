//! The authority's settings as a file: TOML that people write, and the `Profile` that it becomes. [`parse`] says
//! everything that is wrong at once, with lines; [`render`] writes what it reads, with a comment on each line. The holiday
//! calendars stand in files of their own, one a year, or in the file itself.
//!
//! A setting is one entry of `settings::SETTINGS`; reading, checking, writing and the template follow from it. Out of
//! scope: signing and publishing the profile (`authority`), and what a setting does.

mod read;
mod render;
mod settings;

use std::fmt;

use proto::registry::v1::Profile;

/// One thing wrong with a profile file or one of its calendars.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The field, for example `clocks.supply_days`; empty where the file as a whole is wrong.
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

/// Reads the settings in `text`. `file` is for the problems; `open` reads a calendar's file by the name that the
/// profile gives it. What comes out keeps the directory's rules.
///
/// # Errors
/// Everything that is wrong, in the order of the lines; at least one problem.
pub fn parse(text: &str, file: &str, open: &dyn Fn(&str) -> Result<String, String>) -> Result<Profile, Vec<Problem>> {
    read::profile(text, file, open)
}

/// Writes settings as [`parse`] reads them.
pub fn render(profile: &Profile) -> String {
    render::profile(profile)
}

/// A file with the usual settings, each with a comment.
pub fn template() -> String {
    render::template()
}

/// A file for one year's holiday calendar, with comments.
pub fn calendar_template(year: i16) -> String {
    render::calendar_template(year)
}

#[cfg(test)]
mod tests;
