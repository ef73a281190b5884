//! The exit codes, in one place: what a script that calls a command can rely on. Out of scope: what is printed beside
//! them.

use proto::exchange::v1::{ClaimVerdict, Verdict};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done, and every claim a match.
    Done,
    /// Our own failure.
    Failure,
    /// The command, or a file that it was given, is wrong.
    Usage,
    /// The node is not running, or the registry cannot be reached.
    Unreachable,
    /// At least one claim is a mismatch.
    Mismatch,
    /// There is no record, and nothing worse.
    NoRecord,
    /// At least one claim could not be told, and none is a mismatch.
    Unavailable,
    /// Refused, by this node, the other one or the registry.
    Refused,
    /// The evidence is not sound.
    NotSound,
}

impl Exit {
    /// Every exit code.
    pub const ALL: [Self; 9] = [
        Self::Done,
        Self::Failure,
        Self::Usage,
        Self::Unreachable,
        Self::Mismatch,
        Self::NoRecord,
        Self::Unavailable,
        Self::Refused,
        Self::NotSound,
    ];

    /// The number that the shell sees.
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failure => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::Mismatch => 4,
            Self::NoRecord => 5,
            Self::Unavailable => 6,
            Self::Refused => 7,
            Self::NotSound => 8,
        }
    }

    /// The name that stands in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failure => "failure",
            Self::Usage => "usage",
            Self::Unreachable => "unreachable",
            Self::Mismatch => "mismatch",
            Self::NoRecord => "no_record",
            Self::Unavailable => "unavailable",
            Self::Refused => "refused",
            Self::NotSound => "not_sound",
        }
    }

    const fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done, and every claim a match",
            Self::Failure => "a failure of this program, or `doctor` found something wrong",
            Self::Usage => "the command, or a file that it was given, is wrong",
            Self::Unreachable => "the node is not running, or the registry cannot be reached",
            Self::Mismatch => "at least one claim is a mismatch",
            Self::NoRecord => "there is no record (and no mismatch, and nothing unavailable)",
            Self::Unavailable => "at least one claim could not be told (and no mismatch)",
            Self::Refused => "refused: the code, the field and the next step are printed",
            Self::NotSound => "the evidence, or the directory's log, is not sound",
        }
    }

    /// The exit code of an answer: the worst of its verdicts. A mismatch says something about the subject and comes first;
    /// an outage says nothing and comes before "no record", which is an answer.
    pub fn of_verdicts(verdicts: &[ClaimVerdict]) -> Self {
        let any = |verdict: Verdict| verdicts.iter().any(|claim| claim.verdict() == verdict);
        if any(Verdict::Mismatch) {
            Self::Mismatch
        } else if verdicts.is_empty() || any(Verdict::Unavailable) || any(Verdict::Unspecified) {
            Self::Unavailable
        } else if any(Verdict::NoRecord) {
            Self::NoRecord
        } else {
            Self::Done
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// The codes with their meanings, for `--help`.
pub(super) fn help() -> String {
    let lines = Exit::ALL.map(|exit| format!("  {}  {}\n", exit.code(), exit.meaning()));
    format!("Exit codes:\n{}", lines.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(verdicts: &[Verdict]) -> Exit {
        let claims: Vec<ClaimVerdict> =
            verdicts.iter().map(|verdict| ClaimVerdict { verdict: (*verdict).into(), ..Default::default() }).collect();
        Exit::of_verdicts(&claims)
    }

    #[test]
    fn the_worst_verdict_counts() {
        use Verdict::{Match, Mismatch, NoRecord, Unavailable, Unspecified};
        assert_eq!(exit(&[Match, Match]), Exit::Done);
        assert_eq!(exit(&[Match, Unavailable, Mismatch, NoRecord]), Exit::Mismatch);
        assert_eq!(exit(&[NoRecord, Unavailable, Match]), Exit::Unavailable);
        assert_eq!(exit(&[Match, NoRecord]), Exit::NoRecord);
        // What is not a verdict is never a match.
        assert_eq!(exit(&[Match, Unspecified]), Exit::Unavailable);
        assert_eq!(exit(&[]), Exit::Unavailable);
    }

    #[test]
    fn the_codes_are_those_that_scripts_rely_on() {
        assert_eq!(Exit::ALL.map(Exit::code), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
        for exit in Exit::ALL {
            assert!(help().contains(exit.meaning()), "{exit:?}");
        }
    }
}
