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
};

use super::{Answerer, Unanswered, evaluate::unavailable};
use crate::clerk::Clerks;

/// How many answers go along with the first at most.
const MOST_LATER: usize = 16;

impl Answerer {
    /// Lets persons answer what records do not. Without it such questions are `UNAVAILABLE`.
    #[must_use]
    pub fn with_clerks(mut self, clerks: Arc<Clerks>) -> Self {
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
        let verdicts = self.evaluate(permit, question, now_ms).await;
        let missing = verdicts.verdicts.iter().any(|claim| claim.verdict() == wire::Verdict::NoRecord);
        // An outage is no missing record: nobody is kept busy because a database is down.
        if answered_by == AnsweredBy::RecordThenClerk
            && missing
            && question.wire.accepts_deferral
            && self.clerks.is_some()
        {
            return deferral(person::RECORD_MISSING);
        }
        Outcome::Verdicts(verdicts)
    }

    /// The answers that follow this one, oldest first.
    pub fn later(&self, answer: &wire::Signed) -> Result<Vec<wire::Signed>, Unanswered> {
        let answer: wire::Answer = trust::envelope::peek(answer, trust::answer::LARGEST_ANSWER)
            .map_err(|_| Unanswered::StoredAnswerUnreadable)?;
        let Ok(request) = trust::ids::Digest::try_from(answer.request_digest.as_slice()) else { return Ok(Vec::new()) };
        if matches!(answer.outcome, Some(Outcome::Verdicts(_))) {
            let given = self.subscriptions.as_ref().and_then(|given| Some((given, given.of_request(&request)?)));
            if let Some((given, row)) = given {
                // The newest are carried by themselves; a message has room for so many.
                let told = given.after_first(row.question).into_iter().take(MOST_LATER);
                return told.map(|index| Ok(given.signed(index)?.0)).collect();
            }
        }
        let Some(clerks) = &self.clerks else {
            return Ok(Vec::new());
        };
        let mut indexes = match &answer.outcome {
            Some(Outcome::Deferral(_)) => clerks.later(&request),
            _ => Vec::new(),
        };
        indexes.extend(self.corrected.iter().flat_map(|corrected| corrected.later(&request)));
        indexes.into_iter().map(|index| clerks.answer_at(index).map_err(Unanswered::from)).collect()
    }
}
