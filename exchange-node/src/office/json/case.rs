//! Cases as JSON: what is posted, and a case as it stands. Out of scope: what a case is (`case`).

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;
use proto::office::v1 as wire;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Authorisation, timestamp, timestamp_of};
use crate::{
    case::{AddToCase, Consent, OpenCase, Person},
    office::problem::Problem,
};

/// A person in a case.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CasePerson {
    /// `applicant`, `spouse`, `child`, `guardian`, `father` or `mother`; several children may stand in a case. What is added may
    /// be about `child-2`, the second child.
    #[schema(example = "applicant")]
    pub role: String,
    /// What is known or stated of the person, by name: `resident_id`, `name` and whatever the item asks for.
    pub values: BTreeMap<String, String>,
    /// What this person (or a guardian for him) has signed: for the services that need it when they are asked about him. The
    /// applicant's may stand beside the people instead.
    #[serde(default)]
    pub authorisation: Option<Authorisation>,
}

/// A new case.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCase {
    /// The case number. The same case again is shown; with anything else its number is refused.
    #[schema(example = "GZF-2026-0001")]
    pub case_number: String,
    /// The public service item of this department, by its id.
    #[schema(example = "公租房申请")]
    pub item: String,
    /// The officer.
    #[schema(example = "1024")]
    pub officer: String,
    /// The people.
    pub people: Vec<CasePerson>,
    /// The applicant's own authorisation, for the services that need one.
    #[serde(default)]
    pub authorisation: Option<Authorisation>,
    /// For all questions together, in milliseconds; 0 for the node's setting.
    #[serde(default)]
    pub deadline_ms: u32,
}

/// More for a case: only what is missing is asked.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CaseAdditions {
    /// The officer.
    pub officer: String,
    /// People, or further values of people who are in it.
    #[serde(default)]
    pub people: Vec<CasePerson>,
    /// The applicant's own authorisation, where it was not there before.
    #[serde(default)]
    pub authorisation: Option<Authorisation>,
    /// Proofs for which a paper was taken in, by their names.
    #[serde(default)]
    pub papers: Vec<String>,
    /// About whom the papers are, where the item asks for one of that name about several people.
    #[serde(default)]
    #[schema(example = "applicant")]
    pub papers_about: String,
    /// For all questions together, in milliseconds; 0 for the node's setting.
    #[serde(default)]
    pub deadline_ms: u32,
}

impl NewCase {
    /// As the node opens it for an office system.
    ///
    /// # Errors
    /// A digest or a time is none.
    pub fn into_case(self, system: String) -> Result<OpenCase, Problem> {
        Ok(OpenCase {
            number: self.case_number,
            item: self.item,
            officer: self.officer,
            system,
            people: people(self.people)?,
            authorisation: self.authorisation.map(consent).transpose()?,
            deadline_ms: self.deadline_ms,
        })
    }
}

impl CaseAdditions {
    /// As the node adds them.
    ///
    /// # Errors
    /// A digest or a time is none.
    pub fn into_case(self, number: String) -> Result<AddToCase, Problem> {
        Ok(AddToCase {
            number,
            officer: self.officer,
            people: people(self.people)?,
            authorisation: self.authorisation.map(consent).transpose()?,
            papers: self.papers,
            papers_about: self.papers_about,
            deadline_ms: self.deadline_ms,
        })
    }
}

fn people(people: Vec<CasePerson>) -> Result<Vec<Person>, Problem> {
    let read = |(index, person): (usize, CasePerson)| -> Result<Person, Problem> {
        let CasePerson { role, values, authorisation } = person;
        let authorisation = authorisation.map(consent).transpose();
        let authorisation = authorisation.map_err(|problem| problem.within(&format!("people[{index}]")))?;
        Ok(Person { role, values, authorisation })
    };
    people.into_iter().enumerate().map(read).collect()
}

fn consent(authorisation: Authorisation) -> Result<Consent, Problem> {
    let form = authorisation.into_wire()?;
    Ok(Consent {
        form_digest: HEXLOWER.encode(&form.form_digest),
        scope: form.scope,
        signed_by: form.signed_by,
        valid_until_ms: form.valid_until_ms,
    })
}

/// Why the clock of a case stands still.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPause {
    /// Why, in words without personal data.
    #[schema(min_length = 1)]
    pub reason: String,
    /// The officer.
    #[schema(example = "1024")]
    pub officer: String,
}

/// That the clock of a case runs again.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Resumption {
    /// The officer.
    #[schema(example = "1024")]
    pub officer: String,
}

/// What became of a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProofOutcome {
    /// It is being asked for, or has yet to be.
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
    /// Verified at its source, so it is not to be submitted.
    NotRequired,
    /// The paper was taken in.
    PaperAccepted,
    /// The paper is needed.
    SubmitOnPaper,
}

/// A proof of a case.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CaseProof {
    /// The paper's name.
    pub proof: String,
    /// About whom: a role, and from the second child on which one, `child-2`.
    pub about: String,
    /// The outcome.
    pub outcome: ProofOutcome,
    /// Why, as a stable reason.
    pub reason: String,
    /// A sentence for the citizen, in Chinese.
    pub zh: String,
    /// The same in English.
    pub en: String,
    /// The next step that is permitted, in Chinese.
    pub next_zh: String,
    /// The same in English.
    pub next_en: String,
    /// The receipt of the question; empty where none was asked.
    pub receipt: String,
    /// For an answer that comes later, its ticket.
    pub ticket: String,
    /// The service that was asked, `<department>/<service>`.
    pub service: String,
    /// Whether the paper may be left out altogether.
    pub optional: bool,
    /// The commitment that stands in, or stood; empty for none.
    pub commitment: String,
    /// What has to be stated, for `information_missing`, such as `spouse.resident_id`; or who has to sign, `spouse.authorisation`.
    pub missing: String,
    /// The verdict stands on the absence of a record.
    pub by_absence: bool,
    /// Not a proof of the item: the node's own look at whether the person is who he says.
    pub identity: bool,
}

/// A time at which the clock of a case stood still.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CasePause {
    /// Why.
    pub reason: String,
    /// From when, RFC 3339.
    #[schema(format = DateTime)]
    pub from: String,
    /// Until when, RFC 3339; left out where it still stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub until: Option<String>,
}

/// A case.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Case {
    /// The case number.
    pub case_number: String,
    /// The item.
    pub item: String,
    /// Its name in Chinese.
    pub item_name_zh: String,
    /// The same in English.
    pub item_name_en: String,
    /// The version it was filed under.
    pub item_version: u32,
    /// The officer.
    pub officer: String,
    /// `asking`, `waiting` for the applicant, or `complete`.
    pub state: String,
    /// The proofs, in the order of the guide.
    pub proofs: Vec<CaseProof>,
    /// When it was opened, RFC 3339.
    #[schema(format = DateTime)]
    pub opened_at: String,
    /// When the time limit is over, RFC 3339.
    #[schema(format = DateTime)]
    pub due_at: String,
    /// Working days left; below 0, how many it is late.
    pub days_left: i64,
    /// The times at which the clock stood still.
    pub pauses: Vec<CasePause>,
    /// Everything that is missing, told once, in Chinese.
    pub missing_zh: Vec<String>,
    /// The same in English.
    pub missing_en: Vec<String>,
    /// A commitment in it was broken and has not been put right.
    pub flagged: bool,
}

impl From<wire::Case> for Case {
    fn from(case: wire::Case) -> Self {
        let notice = case.notice.unwrap_or_default();
        Self {
            case_number: case.case_number,
            item: case.item,
            item_name_zh: case.item_name_zh,
            item_name_en: case.item_name_en,
            item_version: case.item_version,
            officer: case.officer,
            state: case.state,
            proofs: case.proofs.into_iter().map(CaseProof::from).collect(),
            opened_at: timestamp(case.opened_at_ms),
            due_at: timestamp(case.due_at_ms),
            days_left: case.days_left,
            pauses: case.pauses.into_iter().map(CasePause::from).collect(),
            missing_zh: notice.zh,
            missing_en: notice.en,
            flagged: case.flagged,
        }
    }
}

impl From<wire::CasePause> for CasePause {
    fn from(pause: wire::CasePause) -> Self {
        Self { reason: pause.reason, from: timestamp(pause.from_ms), until: timestamp_of(pause.until_ms) }
    }
}

impl From<wire::CaseProof> for CaseProof {
    fn from(proof: wire::CaseProof) -> Self {
        let outcome = match proof.outcome() {
            wire::ProofOutcome::Unspecified | wire::ProofOutcome::Asking => ProofOutcome::Asking,
            wire::ProofOutcome::Committed => ProofOutcome::Committed,
            wire::ProofOutcome::DoesNotMatch => ProofOutcome::DoesNotMatch,
            wire::ProofOutcome::InformationMissing => ProofOutcome::InformationMissing,
            wire::ProofOutcome::LeftOut => ProofOutcome::LeftOut,
            wire::ProofOutcome::MayCommit => ProofOutcome::MayCommit,
            wire::ProofOutcome::NotRequired => ProofOutcome::NotRequired,
            wire::ProofOutcome::PaperAccepted => ProofOutcome::PaperAccepted,
            wire::ProofOutcome::SubmitOnPaper => ProofOutcome::SubmitOnPaper,
        };
        Self {
            proof: proof.proof,
            about: proof.about,
            outcome,
            reason: proof.reason,
            zh: proof.zh,
            en: proof.en,
            next_zh: proof.next_zh,
            next_en: proof.next_en,
            receipt: proof.receipt,
            ticket: proof.ticket,
            service: proof.service,
            optional: proof.optional,
            commitment: proof.commitment,
            missing: proof.missing,
            by_absence: proof.by_absence,
            identity: proof.identity,
        }
    }
}

/// One case of a list. Names nobody.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CaseSummary {
    /// The case number.
    pub case_number: String,
    /// The item.
    pub item: String,
    /// Its version.
    pub item_version: u32,
    /// When it was opened, RFC 3339.
    #[schema(format = DateTime)]
    pub opened_at: String,
    /// As in a case.
    pub state: String,
    /// A commitment in it was broken and has not been put right.
    pub flagged: bool,
}

/// A page of a list.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CasePage {
    /// The cases, the newest first.
    pub cases: Vec<CaseSummary>,
    /// Gets the next page as `cursor`; left out on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// Something happened in a case that is watched.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CaseEvent {
    /// The case number.
    pub case_number: String,
    /// `case` (the whole case), `proof`, `commitment_fulfilled`, `commitment_broken`, `commitment_unconfirmed` or
    /// `commitment_repaired`.
    pub kind: String,
    /// When, RFC 3339.
    #[schema(format = DateTime)]
    pub at: String,
    /// For `case`, the case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub case: Option<Case>,
    /// For the others, the proof as it is now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof: Option<CaseProof>,
}

impl From<wire::CaseEvent> for CaseEvent {
    fn from(event: wire::CaseEvent) -> Self {
        Self {
            case_number: event.case_number,
            kind: event.kind,
            at: timestamp(event.at_ms),
            case: event.case.map(Case::from),
            proof: event.proof.map(CaseProof::from),
        }
    }
}
