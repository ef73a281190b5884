//! Structured logs, to standard error.
//!
//! No personal data may enter a log line: what is logged are ids, codes, counts and times. Out of scope: metrics.

use std::io::IsTerminal;

use serde::Deserialize;
use tracing::Span;
use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum LogFormat {
    /// One JSON object a line, for machines.
    Json,
    /// Lines for people.
    #[default]
    Pretty,
}

/// Logging could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It was set up already.
    #[error("logging has been set up already")]
    AlreadySet,
    /// The filter is not one.
    #[error("the log filter `{filter}` is not valid: {reason} (an example: info,exchange_node=debug)")]
    FilterInvalid {
        /// The filter given.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Sends this process's log lines to standard error. The environment variable `variable` (such as `EXCHANGE_LOG`), where
/// it is set, takes the place of `filter`. Call it once, first thing in `main`.
pub fn init(format: LogFormat, filter: &str, variable: &str) -> Result<(), Error> {
    let filter = std::env::var(variable).ok().filter(|filter| !filter.is_empty()).unwrap_or_else(|| filter.to_owned());
    let parsed = parse_filter(&filter)?;
    let builder = tracing_subscriber::fmt().with_env_filter(parsed).with_writer(std::io::stderr);
    let set = match format {
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init(),
        LogFormat::Pretty => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
    };
    set.map_err(|_| Error::AlreadySet)
}

fn parse_filter(filter: &str) -> Result<EnvFilter, Error> {
    EnvFilter::try_new(filter)
        .map_err(|error| Error::FilterInvalid { filter: filter.to_owned(), reason: error.to_string() })
}

/// The span of one request; `id` is an opaque string that both ends of a call log.
pub fn request_span(id: &str) -> Span {
    tracing::info_span!("request", id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_is_not_one_is_named() {
        assert!(parse_filter("info,host=debug").is_ok());
        let error = parse_filter("host=loud").unwrap_err().to_string();
        assert!(error.starts_with("the log filter `host=loud` is not valid"), "{error}");
    }

    #[test]
    fn formats_are_written_in_lower_case() {
        #[derive(Deserialize)]
        struct Sample {
            format: LogFormat,
        }
        let sample: Sample = toml::from_str("format = \"json\"").unwrap();
        assert_eq!(sample.format, LogFormat::Json);
        assert!(toml::from_str::<Sample>("format = \"Loud\"").is_err());
    }
}
