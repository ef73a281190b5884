//! A question that was answered, answered anew because the record was wrong: it is decided on again, and evaluated as it was
//! asked. Nothing is charged: it tries nothing new. Out of scope: which questions those are, and telling (`correction`).

use std::sync::Arc;

use proto::exchange::v1::answer::Outcome;
use trust::{
    clerk::AnsweredBy,
    decision::decide,
    question::Question,
    refusal::{Code, Refusal},
};

use super::Answerer;
use crate::{correction::Book, records::Reading};

impl Answerer {
    /// Knows which answers took another one's place, so that a repeated question gets them too.
    #[must_use]
    pub fn with_corrected(mut self, corrected: Arc<Book>) -> Self {
        self.successors = self.successors.with(corrected);
        self
    }

    /// What a question gets now, with the grant that it rests on; nothing where this node may decide nothing now. What was
    /// permitted when it was asked may not be permitted any more: then the asker gets to read why.
    pub(crate) async fn anew(&self, question: &Question) -> Option<(Outcome, Vec<u8>)> {
        let now_ms = self.clock.now_ms();
        self.view.check_usable(now_ms).ok()?;
        let seen = self.view.seen();
        let permit = match decide(seen.directory(), question, now_ms) {
            Ok(permit) => permit,
            Err(refusal) => return Some((Outcome::Refusal(refusal.to_wire()), Vec::new())),
        };
        if AnsweredBy::of(&permit.service.published) == AnsweredBy::Clerk {
            return Some((Outcome::Refusal(Refusal::new(Code::AnswerWithdrawn).to_wire()), Vec::new()));
        }
        // An answer that was kept from before the record was mended would be the wrong one again.
        let verdicts = self.evaluate(&permit, question, Reading::Anew, now_ms).await;
        Some((Outcome::Verdicts(verdicts), permit.grant.as_bytes().to_vec()))
    }
}
