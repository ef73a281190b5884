//! Handling one application: all questions at once, and what the office may make of the answers.
//!
//! Out of scope: deciding the application. A mismatch or a missing record goes to a human being.

use std::{fmt, sync::Arc, time::Instant};

use proto::{
    exchange::v1::Verdict,
    office::v1::{State, VerifyRequest, VerifyResponse},
};
use tokio::task::JoinSet;

use super::guide::{CaseHead, Guide, Proof};
use crate::{harness::Office, population::Applicant};

/// One application with its facts.
#[derive(Clone, Debug)]
pub struct Case {
    /// The applicant's name, which is made up.
    pub name: String,
    /// The case number.
    pub number: String,
    /// One fact for each proof, in the order of the guide.
    pub facts: Vec<Fact>,
}

/// One proof, and what came of asking for it.
#[derive(Clone)]
pub struct Fact {
    /// The proof.
    pub proof: Proof,
    /// How it ended.
    pub ending: Ending,
    /// How long the office waited.
    pub milliseconds: f64,
    /// Finds the evidence again.
    pub receipt: String,
    /// Whether the office may rely on it in place of the paper.
    pub is_accepted: bool,
}

/// How a question ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The record says what was stated.
    Match {
        /// There is no row, and the provider declares what that means.
        by_absence: bool,
    },
    /// The record says otherwise.
    Mismatch,
    /// There is no record.
    NoRecord,
    /// Refused; the code.
    Refused(String),
    /// No answer; the reason.
    Unavailable(String),
}

impl Ending {
    /// The verdict's name.
    #[must_use]
    pub fn verdict(&self) -> &'static str {
        match self {
            Self::Match { .. } => "MATCH",
            Self::Mismatch => "MISMATCH",
            Self::NoRecord => "NO_RECORD",
            Self::Refused(_) => "REFUSED",
            Self::Unavailable(_) => "UNAVAILABLE",
        }
    }

    fn of(response: &VerifyResponse) -> Self {
        if let (State::Refused, Some(refusal)) = (response.state(), &response.refusal) {
            return Self::Refused(refusal.code.clone());
        }
        let Some(verdict) = response.verdicts.first() else {
            return Self::Unavailable(response.unanswered.clone());
        };
        match verdict.verdict() {
            Verdict::Match => Self::Match { by_absence: verdict.by_absence },
            Verdict::Mismatch => Self::Mismatch,
            Verdict::NoRecord => Self::NoRecord,
            Verdict::Unavailable if !response.unanswered.is_empty() => Self::Unavailable(response.unanswered.clone()),
            Verdict::Unavailable | Verdict::Unspecified => Self::Unavailable(verdict.reason.clone()),
        }
    }
}

/// Handles one application: asks for all facts at once.
///
/// # Errors
/// A question that could not even be put to the own node.
pub async fn handle(
    guide: &Guide,
    office: &Office,
    applicant: &Applicant,
    head: &CaseHead,
    answered: impl Fn() + Send + Sync + 'static,
) -> anyhow::Result<Case> {
    let answered = Arc::new(answered);
    let mut asking = JoinSet::new();
    for (place, proof) in guide.proofs().iter().enumerate() {
        let (office, answered) = (office.clone(), Arc::clone(&answered));
        let (proof, question) = (proof.clone(), guide.question(proof, applicant, head)?);
        asking.spawn(async move {
            let fact = ask(&office, proof, question).await;
            answered();
            (place, fact)
        });
    }
    let mut facts = Vec::new();
    while let Some(asked) = asking.join_next().await {
        let (place, fact) = asked?;
        facts.push((place, fact?));
    }
    facts.sort_by_key(|(place, _)| *place);
    let mut facts: Vec<Fact> = facts.into_iter().map(|(_, fact)| fact).collect();
    accept(&mut facts);
    Ok(Case { name: applicant.name.clone(), number: head.number.clone(), facts })
}

async fn ask(office: &Office, proof: Proof, question: VerifyRequest) -> anyhow::Result<Fact> {
    let begun = Instant::now();
    let response = office.verify(question).await?;
    let milliseconds = begun.elapsed().as_secs_f64() * 1000.0;
    Ok(Fact { proof, ending: Ending::of(&response), milliseconds, receipt: response.receipt, is_accepted: false })
}

/// A match stands in for the paper. One that rests on the absence of a row counts only beside a match of identity on
/// number and name: who mistypes a number must not be told that its owner has no house.
fn accept(facts: &mut [Fact]) {
    let is_identified = facts
        .iter()
        .any(|fact| fact.proof.path() == IDENTITY && matches!(fact.ending, Ending::Match { by_absence: false }));
    for fact in facts {
        fact.is_accepted = match fact.ending {
            Ending::Match { by_absence } => !by_absence || is_identified,
            _ => false,
        };
    }
}

/// The service that says whether a number belongs to a name.
const IDENTITY: &str = "public-security/resident-identity";

impl fmt::Debug for Fact {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Fact").field("proof", &self.proof.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proto::exchange::v1::{ClaimVerdict, Refusal};

    use super::*;

    pub(in crate::demo) fn facts(endings: &[Ending]) -> Vec<Fact> {
        let proofs = Guide::of("公租房申请").unwrap().proofs().to_vec();
        let fact = |(proof, ending): (Proof, &Ending)| Fact {
            proof,
            ending: ending.clone(),
            milliseconds: 1.25,
            receipt: "7-0011223344556677".to_owned(),
            is_accepted: false,
        };
        let mut facts: Vec<Fact> = proofs.into_iter().zip(endings).map(fact).collect();
        accept(&mut facts);
        facts
    }

    const MATCH: Ending = Ending::Match { by_absence: false };
    const ABSENT: Ending = Ending::Match { by_absence: true };

    fn accepted(endings: &[Ending]) -> Vec<bool> {
        facts(endings).iter().map(|fact| fact.is_accepted).collect()
    }

    #[test]
    fn absence_counts_only_beside_a_match_of_identity() {
        assert_eq!(accepted(&[MATCH, ABSENT, MATCH]), [true, true, true]);
        assert_eq!(accepted(&[Ending::Mismatch, ABSENT, MATCH]), [false, false, true]);
        assert_eq!(accepted(&[Ending::Unavailable(String::new()), ABSENT]), [false, false]);
        assert_eq!(accepted(&[ABSENT, ABSENT]), [true, true].map(|_| false));
    }

    #[test]
    fn an_outage_is_no_mismatch() {
        let verdict = ClaimVerdict { verdict: Verdict::Unavailable.into(), ..ClaimVerdict::default() };
        let response = VerifyResponse {
            state: State::Unanswered.into(),
            verdicts: vec![verdict],
            unanswered: "unreachable".to_owned(),
            ..VerifyResponse::default()
        };
        assert_eq!(Ending::of(&response), Ending::Unavailable("unreachable".to_owned()));
        assert_eq!(Ending::of(&VerifyResponse::default()).verdict(), "UNAVAILABLE");
    }

    #[test]
    fn a_refusal_is_told_by_its_code() {
        let refusal = Refusal { code: "GRANT_MISSING".to_owned(), ..Refusal::default() };
        let response =
            VerifyResponse { state: State::Refused.into(), refusal: Some(refusal), ..VerifyResponse::default() };
        assert_eq!(Ending::of(&response), Ending::Refused("GRANT_MISSING".to_owned()));
    }
}
