//! From what came of a question to what the applicant has to do. Out of scope: the sentences.
//!
//! **Invariant:** only a `MATCH` makes a paper unnecessary; a `MATCH` by absence only beside one of the person's name by his
//! number. Only a `MISMATCH` says that something is wrong; whatever keeps a provider from answering never does. A paper settles
//! a proof that no record decides; what a record says it settles only while that is doubted, or where it puts a broken
//! commitment right.

use proto::exchange::v1::Verdict;
use serde::{Deserialize, Serialize};
use trust::refusal::Code;

use super::{Case, CommitmentState, Outcome, Proof, people::is_consent, plan::person_of, refresh::CORRECTION_OPEN};
use crate::ask::{Asked, Ending};

/// What came of asking for a proof.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Nothing yet.
    #[default]
    None,
    /// An answer follows.
    Deferred {
        /// By when, Unix milliseconds.
        due_at_ms: u64,
    },
    /// It is optional, and what it would need was not stated.
    LeftOut,
    /// What has to be stated first, each such as `spouse.resident_id`.
    Missing(Vec<String>),
    /// No service answers it.
    NoService,
    /// Refused.
    Refused {
        /// The stable code.
        code: String,
        /// The field at fault.
        field: String,
    },
    /// No answer came.
    Unanswered(String),
    /// A verdict.
    Verdict {
        /// Which: the name on the wire.
        verdict: String,
        /// On the absence of a record.
        by_absence: bool,
        /// For `UNAVAILABLE`, why.
        reason: String,
    },
}

pub(super) const MATCH: &str = "MATCH";
pub(super) const MISMATCH: &str = "MISMATCH";
pub(super) const NO_RECORD: &str = "NO_RECORD";
pub(super) const UNAVAILABLE: &str = "UNAVAILABLE";

/// The reason where an answer stands on an absence, and nobody has told who the person is.
pub(super) const IDENTITY_NOT_CONFIRMED: &str = "identity_not_confirmed";

/// Refusals that are about what was stated, which the applicant can put right.
const ABOUT_WHAT_WAS_STATED: &[&str] = &[
    "AUTHORISATION_EXPIRED",
    "AUTHORISATION_MISSING",
    "AUTHORISATION_NOT_COVERING",
    "CLAIM_MALFORMED",
    "INPUT_MALFORMED",
    "INPUT_MISSING",
    "SUBJECT_MALFORMED",
];

impl Answer {
    /// Whether it will not change by asking the same again.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Verdict { verdict, .. } if verdict != UNAVAILABLE)
    }

    /// Whether another question, under another key, has to be asked to hear anything else: the provider's answer is kept.
    pub(super) fn needs_new_key(&self) -> bool {
        matches!(self, Self::Verdict { verdict, .. } if verdict == UNAVAILABLE) || matches!(self, Self::Refused { .. })
    }

    /// Whether it tells nothing now and may tell more one day without anything else being stated.
    pub(super) fn may_come(&self) -> bool {
        match self {
            Self::LeftOut | Self::Missing(_) => false,
            Self::Refused { code, .. } => !ABOUT_WHAT_WAS_STATED.contains(&code.as_str()),
            _ => !self.is_final(),
        }
    }

    /// Whether it is a match, and whether by absence.
    pub(super) fn matched(&self) -> Option<bool> {
        match self {
            Self::Verdict { verdict, by_absence, .. } if verdict == MATCH => Some(*by_absence),
            _ => None,
        }
    }

    /// A stable reason.
    pub fn reason(&self) -> String {
        match self {
            Self::None => "not_asked".to_owned(),
            Self::Deferred { .. } => "deferred".to_owned(),
            Self::Missing(names) if names.iter().all(|name| is_consent(name)) => {
                Code::AuthorisationMissing.as_str().to_owned()
            }
            Self::LeftOut | Self::Missing(_) => "not_stated".to_owned(),
            Self::NoService => "no_service".to_owned(),
            Self::Refused { code, .. } => code.clone(),
            Self::Unanswered(reason) => reason.clone(),
            Self::Verdict { verdict, reason, .. } if verdict == UNAVAILABLE && !reason.is_empty() => reason.clone(),
            Self::Verdict { verdict, .. } => verdict.to_lowercase(),
        }
    }
}

/// What came of a question with one claim.
pub(super) fn answer_of(asked: &Asked) -> Answer {
    match &asked.ending {
        Ending::Answered { verdicts, .. } => match verdicts.first() {
            Some(verdict) => Answer::Verdict {
                verdict: match verdict.verdict() {
                    Verdict::Match => MATCH,
                    Verdict::Mismatch => MISMATCH,
                    Verdict::NoRecord => NO_RECORD,
                    Verdict::Unavailable | Verdict::Unspecified => UNAVAILABLE,
                }
                .to_owned(),
                by_absence: verdict.by_absence,
                reason: verdict.reason.clone(),
            },
            None => Answer::Unanswered("answer_invalid".to_owned()),
        },
        Ending::Deferred(deferral) => Answer::Deferred { due_at_ms: deferral.due_at_ms },
        Ending::Refused { refusal, .. } => Answer::Refused { code: refusal.code.clone(), field: refusal.field.clone() },
        Ending::Unanswered { reason, .. } => Answer::Unanswered(reason.clone()),
    }
}

/// The value that the record has, where the answer discloses it; empty where it does not. What follows from an absence is no
/// value of a record.
pub(super) fn given_of(asked: &Asked) -> String {
    let Ending::Answered { verdicts, .. } = &asked.ending else { return String::new() };
    let disclosed =
        verdicts.first().filter(|verdict| !verdict.by_absence).and_then(|verdict| verdict.disclosed.as_ref());
    disclosed.map(crate::item_file::value_text).unwrap_or_default()
}

impl Case {
    /// Says anew what is left to do for each proof, from what came of all of them.
    pub(super) fn settle(&mut self) {
        let named: Vec<String> = self.named().map(str::to_owned).collect();
        let blocked = self.blocked;
        for proof in &mut self.proofs {
            let is_known = named.iter().any(|about| about == person_of(&proof.about));
            (proof.outcome, proof.reason) = outcome(proof, is_known, blocked);
        }
    }

    /// Whose names a register has by their numbers.
    fn named(&self) -> impl Iterator<Item = &str> {
        let naming = self.proofs.iter().filter(|proof| proof.names && proof.answer.matched() == Some(false));
        naming.map(|proof| proof.about.as_str())
    }

    /// Whether the answer to a proof stands on an absence, and nobody has told who the person is: then it proves nothing.
    pub(super) fn is_unidentified(&self, index: usize) -> bool {
        let proof = &self.proofs[index];
        let is_absence = matches!(&proof.answer,
            Answer::Verdict { verdict, by_absence: true, .. } if verdict == MATCH || verdict == MISMATCH);
        is_absence && self.named().all(|about| about != person_of(&proof.about))
    }

    /// What a commitment for a proof comes to by the answer; `None` while there is none that stays.
    pub(super) fn checked(&self, index: usize) -> Option<CommitmentState> {
        let Answer::Verdict { verdict, .. } = &self.proofs[index].answer else { return None };
        match verdict.as_str() {
            UNAVAILABLE => None,
            _ if self.is_unidentified(index) => Some(CommitmentState::Unconfirmed),
            MATCH => Some(CommitmentState::Fulfilled),
            MISMATCH => Some(CommitmentState::Broken),
            _ => Some(CommitmentState::Unconfirmed),
        }
    }
}

fn outcome(proof: &Proof, is_known: bool, blocked: bool) -> (Outcome, String) {
    let (found, reason) = without_paper(proof, is_known, blocked);
    // What the record says counts before a paper, unless it is doubted; a broken commitment is put right with one, for good.
    let is_wrong = found == Outcome::DoesNotMatch && !proof.broken && !proof.repaired;
    let is_decided = is_wrong || found == Outcome::NotRequired;
    match proof.paper {
        true if proof.doubted || !is_decided => (Outcome::PaperAccepted, "paper".to_owned()),
        false if proof.doubted => (Outcome::SubmitOnPaper, CORRECTION_OPEN.to_owned()),
        _ => (found, reason),
    }
}

fn without_paper(proof: &Proof, is_known: bool, blocked: bool) -> (Outcome, String) {
    let reason = proof.answer.reason();
    if proof.broken {
        return (Outcome::DoesNotMatch, "commitment_broken".to_owned());
    }
    let unobtainable = |reason: String| match (&proof.commitment, proof.commitment_allowed) {
        (Some(_), _) => (Outcome::Committed, reason),
        (None, true) if !blocked => (Outcome::MayCommit, reason),
        (None, true) => (Outcome::SubmitOnPaper, "commitment_blocked".to_owned()),
        (None, false) => (Outcome::SubmitOnPaper, reason),
    };
    match &proof.answer {
        Answer::None if proof.commitment.is_some() => (Outcome::Committed, reason),
        Answer::None => (Outcome::Asking, reason),
        Answer::LeftOut => (Outcome::LeftOut, reason),
        Answer::Missing(_) => (Outcome::InformationMissing, reason),
        Answer::Refused { code, .. } if ABOUT_WHAT_WAS_STATED.contains(&code.as_str()) => {
            (Outcome::InformationMissing, reason)
        }
        Answer::Verdict { verdict, by_absence, .. } => match verdict.as_str() {
            MATCH if !by_absence || is_known => (Outcome::NotRequired, reason),
            // Nobody's name can be taken from a register that has nobody of this number.
            MISMATCH if !by_absence || is_known => (Outcome::DoesNotMatch, reason),
            // Who the person is may yet be told: until then what he committed to stands.
            MATCH | MISMATCH if proof.commitment.is_some() => (Outcome::Committed, IDENTITY_NOT_CONFIRMED.to_owned()),
            MATCH | MISMATCH => (Outcome::SubmitOnPaper, IDENTITY_NOT_CONFIRMED.to_owned()),
            NO_RECORD => (Outcome::SubmitOnPaper, reason),
            _ => unobtainable(reason),
        },
        Answer::Deferred { .. } | Answer::NoService | Answer::Refused { .. } | Answer::Unanswered(_) => {
            unobtainable(reason)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(verdict: &str, by_absence: bool) -> Answer {
        Answer::Verdict { verdict: verdict.into(), by_absence, reason: String::new() }
    }

    fn case(name: Answer, other: Answer, change: impl FnOnce(&mut Proof)) -> Case {
        let proof = |answer| Proof { about: "applicant".into(), answer, ..Proof::default() };
        let mut other = proof(other);
        change(&mut other);
        let mut case = Case { proofs: vec![Proof { names: true, ..proof(name) }, other], ..Case::default() };
        case.settle();
        case
    }

    fn outcome(name: Answer, other: Answer, change: impl FnOnce(&mut Proof)) -> Outcome {
        case(name, other, change).proofs[1].outcome
    }

    #[test]
    fn what_stands_on_absence_counts_only_beside_a_match_of_who_the_person_is() {
        let known = || verdict(MATCH, false);
        let nothing = |_: &mut Proof| {};
        assert_eq!(outcome(known(), verdict(MATCH, true), nothing), Outcome::NotRequired);
        for unknown in [
            verdict(MISMATCH, false),
            verdict(NO_RECORD, false),
            verdict(MATCH, true),
            Answer::Unanswered("unreachable".into()),
            Answer::None,
        ] {
            assert_eq!(outcome(unknown.clone(), verdict(MATCH, true), nothing), Outcome::SubmitOnPaper);
            assert_eq!(outcome(unknown.clone(), verdict(MISMATCH, true), nothing), Outcome::SubmitOnPaper);
            assert_eq!(outcome(unknown, verdict(MATCH, false), nothing), Outcome::NotRequired);
        }
    }

    #[test]
    fn an_outage_is_never_a_mismatch_and_may_be_committed_to_where_the_item_allows_it() {
        let name = || verdict(MATCH, false);
        for away in [
            Answer::Unanswered("timed_out".into()),
            Answer::Deferred { due_at_ms: 5 },
            Answer::NoService,
            Answer::Refused { code: "GRANT_MISSING".into(), field: String::new() },
            verdict(UNAVAILABLE, false),
        ] {
            assert_eq!(outcome(name(), away.clone(), |_| {}), Outcome::SubmitOnPaper);
            assert_eq!(outcome(name(), away.clone(), |proof| proof.commitment_allowed = true), Outcome::MayCommit);
            let committed = |proof: &mut Proof| {
                proof.commitment_allowed = true;
                proof.commitment = Some("c".into());
            };
            assert_eq!(outcome(name(), away.clone(), committed), Outcome::Committed);
            assert_eq!(outcome(name(), away, |proof| proof.paper = true), Outcome::PaperAccepted);
        }
        // What the record says outweighs what was committed to.
        let committed = |proof: &mut Proof| proof.commitment = Some("c".into());
        assert_eq!(outcome(name(), verdict(MISMATCH, false), committed), Outcome::DoesNotMatch);
        assert_eq!(
            outcome(name(), verdict(NO_RECORD, false), |proof| proof.commitment_allowed = true),
            Outcome::SubmitOnPaper
        );
        let malformed = Answer::Refused { code: "SUBJECT_MALFORMED".into(), field: "subject".into() };
        assert_eq!(outcome(name(), malformed, |_| {}), Outcome::InformationMissing);
    }

    #[test]
    fn what_stands_on_absence_stays_committed_to_while_it_may_yet_be_told_who_the_person_is() {
        let absent = |name: Answer| case(name, verdict(MATCH, true), |proof| proof.commitment = Some("c".into()));
        for away in [
            Answer::None,
            Answer::Unanswered("unreachable".into()),
            Answer::Deferred { due_at_ms: 5 },
            Answer::Refused { code: "GRANT_MISSING".into(), field: String::new() },
            verdict(UNAVAILABLE, false),
        ] {
            assert!(away.may_come(), "{away:?}");
            let case = absent(away);
            assert!(case.is_unidentified(1));
            let proof = &case.proofs[1];
            assert_eq!((proof.outcome, proof.reason.as_str()), (Outcome::Committed, IDENTITY_NOT_CONFIRMED));
        }
        let malformed = Answer::Refused { code: "SUBJECT_MALFORMED".into(), field: "subject".into() };
        for told in [verdict(MISMATCH, false), verdict(NO_RECORD, false), Answer::LeftOut, malformed] {
            assert!(!told.may_come(), "{told:?}");
        }
        assert!(!absent(verdict(MATCH, false)).is_unidentified(1));
    }

    #[test]
    fn what_a_commitment_comes_to_follows_from_the_answer_alone() {
        let known = || verdict(MATCH, false);
        // A paper, or that it was broken once, changes nothing of what the register says.
        let touched = |proof: &mut Proof| (proof.paper, proof.broken) = (true, true);
        for (name, answer, state) in [
            (known(), verdict(MATCH, false), Some(CommitmentState::Fulfilled)),
            (known(), verdict(MATCH, true), Some(CommitmentState::Fulfilled)),
            (known(), verdict(MISMATCH, true), Some(CommitmentState::Broken)),
            (known(), verdict(NO_RECORD, false), Some(CommitmentState::Unconfirmed)),
            (verdict(MISMATCH, false), verdict(MATCH, true), Some(CommitmentState::Unconfirmed)),
            (Answer::None, verdict(MISMATCH, false), Some(CommitmentState::Broken)),
            (known(), verdict(UNAVAILABLE, false), None),
            (known(), Answer::Deferred { due_at_ms: 5 }, None),
        ] {
            assert_eq!(case(name, answer.clone(), touched).checked(1), state, "{answer:?}");
        }
    }

    #[test]
    fn who_broke_a_commitment_may_not_commit_again() {
        let mut case = case(verdict(MATCH, false), Answer::NoService, |proof| proof.commitment_allowed = true);
        case.blocked = true;
        case.settle();
        let proof = &case.proofs[1];
        assert_eq!((proof.outcome, proof.reason.as_str()), (Outcome::SubmitOnPaper, "commitment_blocked"));
    }
}
