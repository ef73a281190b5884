//! The mark in a ledger whose log signs nothing for now. Out of scope: what follows from it.

use serde::{Deserialize, Serialize};

/// Why a registry holds back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Cause {
    /// A node holds a checkpoint that the log signed for more than what is held here.
    Behind,
    /// A node holds a checkpoint that the log signed for another history.
    Contradicted,
    /// It has just started, and listens whether a node knows more.
    Listening,
    /// It was restored from a backup, or an officer said that it is a copy.
    Restored,
}

impl Cause {
    /// Its name, as on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Behind => "behind",
            Self::Contradicted => "contradicted",
            Self::Listening => "listening",
            Self::Restored => "restored",
        }
    }
}

/// The mark, as it stands in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// Since when, Unix milliseconds. What nodes cosigned before does not tell what they saw.
    pub since_ms: u64,
    /// Why.
    pub cause: Cause,
    /// How many statements the log is known to have signed for; 0 where nothing is known.
    pub wanted: u64,
}

impl Mark {
    /// As it stands in the ledger.
    pub fn to_text(&self) -> String {
        // Unwrap safety: numbers and a word are always written.
        serde_json::to_string(self).expect("a mark is JSON")
    }

    /// Reads it. Whatever stands there, the log is marked: one that cannot be read holds back all the same.
    pub fn read(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or(Self { since_ms: u64::MAX, cause: Cause::Restored, wanted: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_back_and_one_that_cannot_be_read_still_holds() {
        let mark = Mark { since_ms: 7, cause: Cause::Behind, wanted: 12 };
        assert_eq!(Mark::read(&mark.to_text()), mark);
        assert_eq!(Mark::read("{}").cause, Cause::Restored);
    }
}
