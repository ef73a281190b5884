//! What comes out of a claim: one of four verdicts, and why where it is `UNAVAILABLE`.
//!
//! Out of scope: refusals, which say nothing about a record and are decided before any row is read.

use std::fmt;

use proto::exchange::v1 as wire;

use super::Claim;
use crate::value::{AttributeType, Value, ValueError};

/// The four verdicts. The set is closed: a fifth would be a new wire version, so this enum is not `non_exhaustive`, and
/// whoever reads verdicts must say what each of them means to him.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The record says what was claimed.
    Match,
    /// The record says otherwise.
    Mismatch,
    /// There is no record, and the provider does not say what that means.
    NoRecord,
    /// The provider could not tell. Says nothing about the subject.
    Unavailable,
}

impl Verdict {
    /// The stable name, as people and JSON read it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Match => "MATCH",
            Self::Mismatch => "MISMATCH",
            Self::NoRecord => "NO_RECORD",
            Self::Unavailable => "UNAVAILABLE",
        }
    }

    /// The verdict as it stands in an answer.
    #[must_use]
    pub const fn to_proto(self) -> wire::Verdict {
        match self {
            Self::Match => wire::Verdict::Match,
            Self::Mismatch => wire::Verdict::Mismatch,
            Self::NoRecord => wire::Verdict::NoRecord,
            Self::Unavailable => wire::Verdict::Unavailable,
        }
    }

    /// The verdict of an answer; `None` where it is unset or unknown.
    #[must_use]
    pub fn from_proto(verdict: i32) -> Option<Self> {
        match wire::Verdict::try_from(verdict).ok()? {
            wire::Verdict::Unspecified => None,
            wire::Verdict::Match => Some(Self::Match),
            wire::Verdict::Mismatch => Some(Self::Mismatch),
            wire::Verdict::NoRecord => Some(Self::NoRecord),
            wire::Verdict::Unavailable => Some(Self::Unavailable),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Why a verdict is `UNAVAILABLE`. Names are on the wire, say nothing about what a record holds, and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// Rows disagree, and nothing says which of them counts.
    Ambiguous,
    /// A row is there and the value is not.
    MissingValue,
    /// A value of the record is not of the attribute's type, or a sum has too many digits.
    NotComparable,
    /// The service's records were never imported.
    NotImported,
    /// The subject's rows were set aside by an import.
    Quarantined,
    /// The records cannot be reached.
    SourceDown,
}

impl Reason {
    /// Every reason, in the order of their names.
    pub const ALL: [Self; 6] = [
        Self::Ambiguous,
        Self::MissingValue,
        Self::NotComparable,
        Self::NotImported,
        Self::Quarantined,
        Self::SourceDown,
    ];

    /// The stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ambiguous => "ambiguous",
            Self::MissingValue => "missing_value",
            Self::NotComparable => "not_comparable",
            Self::NotImported => "not_imported",
            Self::Quarantined => "quarantined",
            Self::SourceDown => "source_down",
        }
    }

    /// The reason with the stable name `name`, which is matched exactly.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == name)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A claim's verdict with what belongs to it. Only an `UNAVAILABLE` one has a reason; only a `MATCH` or `MISMATCH` is by
/// absence or discloses a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimOutcome {
    verdict: Verdict,
    by_absence: bool,
    reason: Option<Reason>,
    disclosed: Option<Value>,
}

impl ClaimOutcome {
    /// `MATCH` where the claim holds, `MISMATCH` where it does not.
    pub(super) fn compared(holds: bool, by_absence: bool, disclosed: Option<Value>) -> Self {
        let verdict = if holds { Verdict::Match } else { Verdict::Mismatch };
        Self { verdict, by_absence, reason: None, disclosed }
    }

    /// `NO_RECORD`.
    #[must_use]
    pub fn no_record() -> Self {
        Self { verdict: Verdict::NoRecord, by_absence: false, reason: None, disclosed: None }
    }

    /// `UNAVAILABLE`, and why.
    #[must_use]
    pub fn unavailable(reason: Reason) -> Self {
        Self { verdict: Verdict::Unavailable, by_absence: false, reason: Some(reason), disclosed: None }
    }

    /// The verdict.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Whether no row was found, and the provider declares what that means.
    #[must_use]
    pub fn by_absence(&self) -> bool {
        self.by_absence
    }

    /// Why it is `UNAVAILABLE`. An answer of a newer version may have a reason unknown here, which reads as `None`.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        self.reason
    }

    /// The value, where the claim asked for it and the service discloses it. Personal data.
    #[must_use]
    pub fn disclosed(&self) -> Option<&Value> {
        self.disclosed.as_ref()
    }

    /// The outcome of `claim` as it stands in an answer.
    #[must_use]
    pub fn to_proto(&self, claim: &Claim) -> wire::ClaimVerdict {
        wire::ClaimVerdict {
            attribute: claim.attribute().to_owned(),
            operator: claim.operator().as_str().to_owned(),
            verdict: self.verdict.to_proto().into(),
            by_absence: self.by_absence,
            disclosed: self.disclosed.as_ref().map(Value::to_proto),
            reason: self.reason.map(|reason| reason.as_str().to_owned()).unwrap_or_default(),
        }
    }

    /// The outcome that an answer gives to `claim`, which was asked of an attribute of the type `ty`.
    ///
    /// # Errors
    /// Where the answer is not one that this claim can have.
    pub fn from_proto(answer: &wire::ClaimVerdict, claim: &Claim, ty: &AttributeType) -> Result<Self, OutcomeError> {
        if answer.attribute != claim.attribute() || answer.operator != claim.operator().as_str() {
            return Err(OutcomeError::OtherClaim);
        }
        let verdict = Verdict::from_proto(answer.verdict).ok_or(OutcomeError::VerdictUnknown)?;
        let compared = matches!(verdict, Verdict::Match | Verdict::Mismatch);
        if answer.by_absence && !compared {
            return Err(OutcomeError::AbsenceMisplaced);
        }
        if (verdict == Verdict::Unavailable) == answer.reason.is_empty() {
            return Err(OutcomeError::ReasonMisplaced);
        }
        let disclosed = match &answer.disclosed {
            None => None,
            Some(_) if !compared || !claim.disclose() => return Err(OutcomeError::DisclosureMisplaced),
            Some(value) => Some(Value::from_proto_strict(value, ty)?),
        };
        Ok(Self { verdict, by_absence: answer.by_absence, reason: Reason::parse(&answer.reason), disclosed })
    }
}

/// Why an answer's verdict cannot be the answer to its claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OutcomeError {
    /// By absence, without having been compared.
    #[error("by_absence: only a MATCH or a MISMATCH can be by absence")]
    AbsenceMisplaced,
    /// A value that nobody asked for, or beside a verdict that has none.
    #[error("disclosed: a value may only stand beside a MATCH or MISMATCH whose claim asked for it")]
    DisclosureMisplaced,
    /// The disclosed value is not one of the attribute's type.
    #[error("disclosed: {0}")]
    DisclosureMalformed(#[from] ValueError),
    /// The attribute or operator is not the claim's.
    #[error("attribute, operator: must repeat the claim's")]
    OtherClaim,
    /// `UNAVAILABLE` without a reason, or a reason beside another verdict.
    #[error("reason: stands beside UNAVAILABLE, and only there")]
    ReasonMisplaced,
    /// Unset, or none of the four.
    #[error("verdict: must be one of the four")]
    VerdictUnknown,
}
