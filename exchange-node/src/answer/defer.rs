//! What a permitted question gets: verdicts from the record, or, where a person answers, the promise of an answer by a due
//! time. Out of scope: the record (`evaluate`), and what becomes of the promise (`clerk`).

use std::sync::Arc;

use proto::exchange::v1::{self as wire, answer::Outcome};
use trust::{
    claim::Reason,
    clerk::{self as person, AnsweredBy},
    decision::Permit,
    directory::model::Profile,
    question::Question,
    refusal::{Code, Refusal},
};

use super::{Answerer, Unanswered, evaluate::unavailable};
use crate::{asked, clerk::Clerks, records::Reading};

/// When to ask again a person who has too much to answer: people take their time.
const DESK_FULL_MS: u64 = 3_600_000;

/// How many answers go along with the first at most.
const MOST_LATER: usize = 16;

impl Answerer {
    /// Lets persons answer what records do not. Without it such questions are `UNAVAILABLE`.
    #[must_use]
    pub fn with_clerks(mut self, clerks: Arc<Clerks>) -> Self {
        self.successors = self.successors.with(Arc::clone(&clerks) as _);
        self.clerks = Some(clerks);
        self
    }

    pub(super) async fn outcome(
        &self,
        profile: &Profile,
        permit: &Permit<'_>,
        question: &Question,
        now_ms: u64,
    ) -> Outcome {
        let deferral = |reason: &str| {
            let due_at_ms = person::due_ms(&permit.service.published, profile, now_ms);
            Outcome::Deferral(wire::Deferral { reason: reason.to_owned(), due_at_ms })
        };
        let answered_by = AnsweredBy::of(&permit.service.published);
        match (answered_by, &self.clerks) {
            (AnsweredBy::Clerk, Some(_)) => return deferral(person::BY_CLERK),
            (AnsweredBy::Clerk, None) => return Outcome::Verdicts(unavailable(permit, Reason::SourceDown)),
            (AnsweredBy::Record | AnsweredBy::RecordThenClerk, _) => {}
        }
        let verdicts = self.evaluate(permit, question, Reading::KeptFor(&question.sender), now_ms).await;
        let missing = verdicts.verdicts.iter().any(|claim| claim.verdict() == wire::Verdict::NoRecord);
        // An outage is no missing record: nobody is kept busy because a database is down.
        if answered_by == AnsweredBy::RecordThenClerk
            && missing
            && question.wire.accepts_deferral
            && let Some(clerks) = &self.clerks
        {
            // Whether there is none, nobody can say now: a person would have to look.
            return match clerks.has_room(&question.sender) {
                true => deferral(person::RECORD_MISSING),
                false => Outcome::Verdicts(unavailable(permit, Reason::SourceDown)),
            };
        }
        Outcome::Verdicts(verdicts)
    }

    /// A question that a person answers is refused where too many wait already: before it costs anything.
    pub(super) fn check_desk(&self, permit: &Permit<'_>, question: &Question, now_ms: u64) -> Result<(), Refusal> {
        let by_clerk = AnsweredBy::of(&permit.service.published) == AnsweredBy::Clerk;
        match &self.clerks {
            Some(clerks) if by_clerk && !clerks.has_room(&question.sender) => Err(Refusal::new(Code::Overloaded)
                .at("service")
                .because("too many questions wait for a person")
                .retry_at(now_ms.saturating_add(DESK_FULL_MS))),
            _ => Ok(()),
        }
    }

    /// The answers that follow this one, oldest first.
    pub fn later(&self, answer: &wire::Signed) -> Result<Vec<wire::Signed>, Unanswered> {
        let answer: wire::Answer = trust::envelope::peek(answer, trust::answer::LARGEST_ANSWER)
            .map_err(|_| Unanswered::StoredAnswerUnreadable)?;
        let Ok(request) = trust::ids::Digest::try_from(answer.request_digest.as_slice()) else { return Ok(Vec::new()) };
        // The newest are carried by themselves; a message has room for so many.
        let places = self.successors.later(&request).into_iter().take(MOST_LATER);
        let signed = |place| {
            let stored = self.journal.entry(place)?.ok_or(Unanswered::StoredAnswerUnreadable)?;
            asked::signed(&stored).ok_or(Unanswered::StoredAnswerUnreadable)
        };
        places.map(signed).collect()
    }
}
