//! What can go wrong with a town, each with what its author needs to see: the command, its last words, the log's end.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitStatus,
};

use proto::exchange::v1::Refusal;

use super::programs::VARIABLE;

/// Why a town does not do what was asked of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A program's admin socket cannot be used.
    #[error(transparent)]
    Admin(#[from] host::admin_socket::AdminError),
    /// A running program answered a call with an error.
    #[error("{doing}: {} ({:?})", status.message(), status.code())]
    Call {
        /// What was being done.
        doing: String,
        /// What the program said.
        status: Box<tonic::Status>,
    },
    /// A command ended with another exit code than 0.
    #[error("`{command}` ended with {status}:\n{stderr}")]
    CommandFailed {
        /// The command line.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        stderr: String,
    },
    /// A program ended by itself.
    #[error("{program} in {} has ended with {status}; the end of its log:\n{log}", dir.display())]
    Ended {
        /// The program.
        program: String,
        /// Its folder.
        dir: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// The end of its log.
        log: String,
    },
    /// The operating system refused.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A file that a program writes, or a service description, does not say what it should.
    #[error("{what}: {reason}")]
    Malformed {
        /// Which.
        what: String,
        /// Why.
        reason: String,
    },
    /// Other programs hold every port that the harness gives out.
    #[error("no port between 10000 and 32000 is free on 127.0.0.1")]
    NoPortLeft,
    /// A program did not do something within its time.
    #[error("{program} in {} has not {what} within {seconds} seconds; the end of its log:\n{log}", dir.display())]
    NotInTime {
        /// The program.
        program: String,
        /// Its folder.
        dir: PathBuf,
        /// What it should have done.
        what: String,
        /// How long it was waited for.
        seconds: u64,
        /// The end of its log.
        log: String,
    },
    /// The program is stopped.
    #[error("{program} in {} is not running", dir.display())]
    NotRunning {
        /// The program.
        program: String,
        /// Its folder.
        dir: PathBuf,
    },
    /// A built program is not there.
    #[error("there is no `{program}` in {}: build it (`cargo build --release`), or name the folder in {VARIABLE}", dir.display())]
    ProgramMissing {
        /// The program.
        program: &'static str,
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// Something was refused.
    #[error("{doing} was refused: {reason}")]
    Refused {
        /// What was being done.
        doing: String,
        /// Why.
        reason: String,
    },
    /// A part of the setting up broke off.
    #[error("setting the town up broke off: {0}")]
    Task(#[from] tokio::task::JoinError),
}

impl Error {
    pub(super) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }

    pub(super) fn call(doing: impl Into<String>) -> impl FnOnce(tonic::Status) -> Self {
        let doing = doing.into();
        move |status| Self::Call { doing, status: Box::new(status) }
    }

    pub(super) fn refused(doing: impl Into<String>, refusal: &Refusal) -> Self {
        let Refusal { code, field, message, .. } = refusal;
        Self::Refused { doing: doing.into(), reason: format!("{code} {field}: {message}") }
    }
}

/// The last lines of a program's log.
pub(super) fn log_end(path: &Path) -> String {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}

const LOG_LINES: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log_is_its_last_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        assert_eq!(log_end(&path), "");
        let lines: Vec<String> = (0..50).map(|line| line.to_string()).collect();
        fs::write(&path, lines.join("\n")).unwrap();
        assert!(log_end(&path).starts_with("30\n31\n") && log_end(&path).ends_with("\n49"));
    }
}
