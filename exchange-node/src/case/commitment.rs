//! Commitments (告知承诺): what an applicant signed in place of a proof, and what became of it. A row names nobody: the subject
//! stands in it as a keyed hash, by which it is known whether somebody has a broken commitment. Out of scope: the check.

use proto::office::v1 as wire;
use serde::{Deserialize, Serialize};

/// The book's name in the due-list.
pub(super) const BOOK: &str = "commitment";

/// How far a commitment has come.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CommitmentState {
    /// It was false, and has not been put right.
    Broken,
    /// It was true.
    Fulfilled,
    /// It has yet to be checked.
    #[default]
    Open,
    /// It was false, and has been put right.
    Repaired,
    /// There is no record that tells.
    Unconfirmed,
}

impl CommitmentState {
    /// The name in lists and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::Fulfilled => "fulfilled",
            Self::Open => "open",
            Self::Repaired => "repaired",
            Self::Unconfirmed => "unconfirmed",
        }
    }

    /// The kind of the event that tells of it.
    pub(super) fn event(self) -> &'static str {
        match self {
            Self::Broken => "commitment_broken",
            Self::Fulfilled => "commitment_fulfilled",
            Self::Open => "proof",
            Self::Repaired => "commitment_repaired",
            Self::Unconfirmed => "commitment_unconfirmed",
        }
    }
}

/// A commitment.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Commitment {
    /// Its id: when it was made, and some random digits. Sorted by time.
    pub id: String,
    /// The case number.
    pub case_number: String,
    /// The office system that opened the case; empty for an operator.
    #[serde(default)]
    pub system: String,
    /// The item.
    pub item: String,
    /// The proof.
    pub proof: String,
    /// About whom in the case.
    pub about: String,
    /// Who committed himself, as a keyed hash.
    pub subject: String,
    /// SHA-256 of the signed form, 64 hex digits.
    pub form_digest: String,
    /// The officer who took it.
    pub officer: String,
    /// How far it has come.
    pub state: CommitmentState,
    /// When it was made, Unix milliseconds.
    pub made_ms: u64,
    /// When it was checked, Unix milliseconds; 0 where it was not.
    pub checked_ms: u64,
    /// The receipt of the check.
    pub receipt: String,
    /// Why it could not be checked last.
    pub last_reason: String,
    /// How it was put right, and by which officer.
    pub repair: String,
}

impl Commitment {
    /// As offices get it.
    pub fn to_wire(&self) -> wire::Commitment {
        wire::Commitment {
            id: self.id.clone(),
            case_number: self.case_number.clone(),
            item: self.item.clone(),
            proof: self.proof.clone(),
            state: self.state.as_str().to_owned(),
            made_at_ms: self.made_ms,
            checked_at_ms: self.checked_ms,
            receipt: self.receipt.clone(),
            last_reason: self.last_reason.clone(),
            form_digest: self.form_digest.clone(),
            repair: self.repair.clone(),
            refusal: None,
        }
    }
}
