//! Cases: one public service item for one applicant. The node reads from its own view of the directory which proofs the item
//! needs and which services answer them, asks all departments at once under one deadline, and says proof by proof what is
//! left to do. These are plain types; gRPC, JSON and other edges only translate.
//!
//! **Invariants:** an outage is never a mismatch, and costs the applicant nothing but, at worst, a paper. What stands on the
//! absence of a record counts only beside a match of who the person is. A commitment that stands in for a proof is checked
//! once, however often the program dies. People's data are kept encrypted under the month's key and nowhere else.
//!
//! Out of scope: single questions (`ask`), deciding the application.

mod clock;
mod commitment;
mod engine;
mod household;
mod judge;
mod opening;
mod people;
mod plan;
mod refresh;
mod sentences;
mod slip;
mod store;
mod words;

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{Deserialize, Serialize};

pub use self::{
    clock::Clock,
    commitment::{Commitment, CommitmentState},
    engine::{Cases, CasesParts, Event, Head, Opened, Watched},
    judge::Answer,
    sentences::Sentences,
    words::Words,
};
use crate::{ask, duty, journal::JournalError};

/// How cases are handled; `[cases]` in node.toml.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CaseSettings {
    /// How long all questions of a case together may take, in milliseconds, where the office does not say otherwise.
    pub deadline_ms: u32,
    /// How soon after a commitment it is checked for the first time, in seconds.
    pub check_after_seconds: u32,
}

impl Default for CaseSettings {
    fn default() -> Self {
        Self { deadline_ms: 5000, check_after_seconds: 5 }
    }
}

impl CaseSettings {
    /// How long all questions of a case may take, in milliseconds: as the office says, else as is set here, and no longer than the
    /// office waits.
    pub fn deadline(self, wished_ms: u32, waits: Option<Duration>) -> u32 {
        let wished_ms = if wished_ms == 0 { self.deadline_ms } else { wished_ms };
        let waits_ms = waits.map(|time| u32::try_from(time.as_millis()).unwrap_or(u32::MAX));
        wished_ms.min(waits_ms.unwrap_or(u32::MAX)).max(1)
    }
}

/// Our own failure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A question could not be asked or recorded.
    #[error(transparent)]
    Ask(#[from] ask::Error),
    /// The month's key was destroyed: the case is gone for good.
    #[error("the case was destroyed with the key of its month")]
    Destroyed,
    /// The cases cannot be read or written.
    #[error(transparent)]
    Duty(#[from] duty::Error),
    /// The month's key cannot be used.
    #[error(transparent)]
    Key(#[from] JournalError),
    /// What is stored is no case.
    #[error("a stored case cannot be read ({0}): restore the folder duties/ from its backup")]
    Malformed(String),
    /// There is none.
    #[error("there is no such case or commitment: `case list` and `case commitments` show them")]
    Unknown,
}

/// A person in a case. No `Debug` of what is known of him.
#[derive(Clone, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Person {
    /// `applicant`, `spouse`, `child`, `guardian`, `father` or `mother`. What is added to a case may be about `child-2`.
    pub role: String,
    /// What is known or stated of him, by name.
    pub values: BTreeMap<String, String>,
    /// What he has signed himself.
    #[serde(default)]
    pub authorisation: Option<Consent>,
}

impl fmt::Debug for Person {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Person").field("role", &self.role).finish_non_exhaustive()
    }
}

/// Somebody's consent to be asked about.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Consent {
    /// SHA-256 of the signed form, 64 hex digits.
    pub form_digest: String,
    /// What it covers, in words.
    pub scope: String,
    /// `subject`, `guardian` or `agent`.
    pub signed_by: String,
    /// Until when it holds, Unix milliseconds.
    pub valid_until_ms: u64,
}

/// A new case, as an office posts it.
#[derive(Clone, Debug, Default)]
pub struct OpenCase {
    /// The case number.
    pub number: String,
    /// The item, of this department.
    pub item: String,
    /// The officer.
    pub officer: String,
    /// The office system that asks; empty for an operator.
    pub system: String,
    /// The people.
    pub people: Vec<Person>,
    /// The applicant's own authorisation.
    pub authorisation: Option<Consent>,
    /// For all questions together, in milliseconds; 0 for the node's setting.
    pub deadline_ms: u32,
}

/// More for a case.
#[derive(Clone, Debug, Default)]
pub struct AddToCase {
    /// The case number.
    pub number: String,
    /// The officer.
    pub officer: String,
    /// People, or further values of people who are in it.
    pub people: Vec<Person>,
    /// The applicant's own authorisation, where it was not there before.
    pub authorisation: Option<Consent>,
    /// Proofs for which a paper was taken in.
    pub papers: Vec<String>,
    /// About whom the papers are, where the item asks for one of that name about several people; empty otherwise.
    pub papers_about: String,
    /// For all questions together, in milliseconds; 0 for the node's setting.
    pub deadline_ms: u32,
}

/// A commitment, as an office takes it in.
#[derive(Clone, Debug, Default)]
pub struct NewCommitment {
    /// The case number.
    pub number: String,
    /// The proof.
    pub proof: String,
    /// About whom, where several proofs have that name.
    pub about: String,
    /// SHA-256 of the signed form.
    pub form_digest: Vec<u8>,
    /// The officer.
    pub officer: String,
}

/// What became of a proof.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Outcome {
    /// It is being asked for, or has yet to be.
    #[default]
    Asking,
    /// A commitment stands in.
    Committed,
    /// The record says otherwise.
    DoesNotMatch,
    /// Something that is needed to ask has not been stated.
    InformationMissing,
    /// It is optional, and was left out.
    LeftOut,
    /// A signed commitment may stand in.
    MayCommit,
    /// 免提交: verified at its source.
    NotRequired,
    /// The paper was taken in.
    PaperAccepted,
    /// The paper is needed.
    SubmitOnPaper,
}

impl Outcome {
    /// The name in lists and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Asking => "ASKING",
            Self::Committed => "COMMITTED",
            Self::DoesNotMatch => "DOES_NOT_MATCH",
            Self::InformationMissing => "INFORMATION_MISSING",
            Self::LeftOut => "LEFT_OUT",
            Self::MayCommit => "MAY_COMMIT",
            Self::NotRequired => "NOT_REQUIRED",
            Self::PaperAccepted => "PAPER_ACCEPTED",
            Self::SubmitOnPaper => "SUBMIT_ON_PAPER",
        }
    }

    /// Whether nothing more is wanted of the applicant for it.
    pub fn is_settled(self) -> bool {
        matches!(self, Self::Committed | Self::LeftOut | Self::NotRequired | Self::PaperAccepted)
    }
}

/// A proof of a case. No `Debug` of what its answer told.
#[derive(Clone, Default, Deserialize, PartialEq, Serialize)]
pub struct Proof {
    /// The paper's name.
    pub proof: String,
    /// About whom: a role, and from the second child on which one, `child-2`.
    pub about: String,
    /// The outcome; follows from all that is below.
    pub outcome: Outcome,
    /// Why, as a stable reason.
    pub reason: String,
    /// What came of asking.
    pub answer: Answer,
    /// The receipt of the question; empty where none was asked.
    pub receipt: String,
    /// For an answer that comes later, its ticket.
    pub ticket: String,
    /// The service, `<department>/<service>`.
    pub service: String,
    /// When it was asked last, Unix milliseconds.
    pub asked_at_ms: u64,
    /// How long the question took, in milliseconds.
    pub elapsed_ms: f64,
    /// Whether the paper may be left out altogether.
    pub optional: bool,
    /// Whether the item lets a commitment stand in.
    pub commitment_allowed: bool,
    /// The commitment that stands in, or stood.
    pub commitment: Option<String>,
    /// Whether that commitment turned out false and was not put right.
    pub broken: bool,
    /// Whether a commitment for it turned out false and was put right: then a paper settles it.
    #[serde(default)]
    pub repaired: bool,
    /// A paper was taken in.
    pub paper: bool,
    /// The answer is doubted, and a correction of it is open.
    #[serde(default)]
    pub doubted: bool,
    /// Not a proof of the item: the node's own look at whether the person is who he says.
    pub identity: bool,
    /// Whether a match here says who the person is: his name, by his number.
    pub names: bool,
    /// What was asked, as a salted hash; the same is not asked twice.
    pub asked: String,
    /// How often it was asked in vain.
    pub attempt: u32,
    /// What its answer tells of a person, such as `spouse.resident_id`; empty where it tells nothing.
    #[serde(default)]
    pub gives: String,
    /// What it told.
    #[serde(default)]
    pub given: String,
    /// What it takes from other proofs' answers.
    #[serde(default)]
    pub takes: Vec<String>,
    /// The paper whose answer should have told what is missing.
    #[serde(default)]
    pub giver: String,
    /// What people call what it needs, by name (`spouse.marital_status`) and by the field of a question (`claims[0]`).
    #[serde(default)]
    pub words: BTreeMap<String, Words>,
}

impl fmt::Debug for Proof {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { proof, about, outcome, reason, receipt, .. } = self;
        let mut fields = formatter.debug_struct("Proof");
        fields.field("proof", proof).field("about", about).field("outcome", outcome).field("reason", reason);
        fields.field("receipt", receipt).finish_non_exhaustive()
    }
}

impl Proof {
    /// The sentences for the citizen.
    pub fn sentences(&self) -> Sentences {
        sentences::of(self)
    }
}

/// The reason of the pause while something is missing.
const WAITING: &str = "待申请人补正 waiting for the applicant";

/// A time at which the clock of a case stood still.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Pause {
    /// Why.
    pub reason: String,
    /// From when, Unix milliseconds.
    pub from_ms: u64,
    /// Until when; `None` where it still stands.
    pub until_ms: Option<u64>,
}

/// Everything that is missing, told once (一次性告知).
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// When it was told, Unix milliseconds.
    pub told_at_ms: u64,
    /// What is missing, in Chinese.
    pub zh: Vec<String>,
    /// The same in English.
    pub en: Vec<String>,
}

/// A case.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Case {
    /// The case number.
    pub number: String,
    /// The item.
    pub item: String,
    /// The version it was filed under.
    pub item_version: u32,
    /// Digest of the item's statement, 64 hex digits.
    pub item_statement: String,
    /// The item's name in Chinese.
    pub item_name_zh: String,
    /// The same in English.
    pub item_name_en: String,
    /// The time limit in working days.
    pub working_days: u32,
    /// The officer.
    pub officer: String,
    /// The office system that opened it.
    pub system: String,
    /// When it was opened, Unix milliseconds.
    pub opened_ms: u64,
    /// The people.
    pub people: Vec<Person>,
    /// The applicant's authorisation.
    pub authorisation: Option<Consent>,
    /// Random; in what is hashed of its questions.
    pub salt: String,
    /// What opened it, as a salted digest: the same again is a retry.
    #[serde(default)]
    pub opened_with: String,
    /// The proofs, in the order of the guide.
    pub proofs: Vec<Proof>,
    /// How long the last round of questions took, in milliseconds.
    pub elapsed_ms: f64,
    /// The times at which the clock stood still.
    pub pauses: Vec<Pause>,
    /// Everything that is missing, told once.
    pub notice: Option<Notice>,
    /// The applicant has a broken commitment that was not put right.
    pub blocked: bool,
}

impl Case {
    /// `asking`, `waiting` for the applicant, or `complete`.
    pub fn state(&self) -> &'static str {
        let wanted = || self.proofs.iter().filter(|proof| !proof.identity);
        if wanted().any(|proof| proof.outcome == Outcome::Asking) {
            "asking"
        } else if wanted().all(|proof| proof.optional || proof.outcome.is_settled()) {
            "complete"
        } else {
            "waiting"
        }
    }

    /// Whether a commitment in it was broken and has not been put right.
    pub fn is_flagged(&self) -> bool {
        self.proofs.iter().any(|proof| proof.broken)
    }

    /// Stops the clock for a reason, or, without one, ends what an office stopped it for.
    fn stand_still(&mut self, reason: &str, now_ms: u64) {
        let ended = |pause: &&mut Pause| pause.until_ms.is_none() && (!reason.is_empty() || pause.reason != WAITING);
        self.pauses.iter_mut().filter(ended).for_each(|pause| pause.until_ms = Some(now_ms));
        if !reason.is_empty() {
            self.pauses.push(Pause { reason: reason.to_owned(), from_ms: now_ms, until_ms: None });
        }
    }

    /// The proofs of the item.
    pub fn item_proofs(&self) -> impl Iterator<Item = &Proof> {
        self.proofs.iter().filter(|proof| !proof.identity)
    }

    /// What answers told of people counts before what was stated of them.
    pub(crate) fn take_given(&mut self) {
        for proof in self.proofs.iter().filter(|proof| !proof.given.is_empty()) {
            let Some((role, name)) = trust::item::reference(&proof.gives) else { continue };
            let given = (name.to_owned(), proof.given.clone());
            match self.people.iter_mut().find(|person| person.role == role) {
                Some(known) => drop(known.values.insert(given.0, given.1)),
                None => {
                    let (role, values) = (role.to_owned(), BTreeMap::from([given]));
                    self.people.push(Person { role, values, authorisation: None });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_office_ends_its_own_pause_and_not_the_wait_for_the_applicant() {
        let pause = |reason: &str| Pause { reason: reason.to_owned(), from_ms: 1, until_ms: None };
        let mut case = Case { pauses: vec![pause(WAITING)], ..Case::default() };
        case.stand_still("", 5);
        assert_eq!(case.pauses, [pause(WAITING)]);
        case.stand_still("现场踏勘", 6);
        assert_eq!(case.pauses.iter().filter(|pause| pause.until_ms.is_none()).count(), 1, "one reason at a time");
        case.stand_still("", 7);
        let ends: Vec<_> = case.pauses.iter().map(|pause| (pause.reason.as_str(), pause.until_ms)).collect();
        assert_eq!(ends, [(WAITING, Some(6)), ("现场踏勘", Some(7))]);
    }

    #[test]
    fn a_case_takes_no_longer_than_its_office_waits() {
        let settings = CaseSettings { deadline_ms: 5000, ..CaseSettings::default() };
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        for (wished_ms, waits, deadline_ms) in [
            (0, None, 5000),
            (0, seconds(2), 2000),
            (0, seconds(30), 5000),
            (9000, None, 9000),
            (9000, seconds(30), 9000),
            (9000, seconds(2), 2000),
            (0, seconds(0), 1),
            (0, seconds(u64::MAX), 5000),
        ] {
            assert_eq!(settings.deadline(wished_ms, waits), deadline_ms, "{wished_ms} {waits:?}");
        }
    }
}
