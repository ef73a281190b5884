//! After a crash: subscriptions and changes that are in the evidence, and that the book does not know yet. Out of scope:
//! looking through the evidence (`app::recover`).

use proto::exchange::v1::{self as wire, answer::Outcome};
use trust::{answer::LARGEST_ANSWER, envelope, question::LARGEST_REQUEST};

use super::{Error, GivenBook, Next, Says};

impl GivenBook {
    /// Of an answer with a duty, if it began a subscription that the book does not know; whether it did.
    pub(crate) async fn recover_begun(&self, index: u64) -> Result<bool, Error> {
        let Some(question) = index.checked_sub(1).filter(|question| self.row(*question).is_none()) else {
            return Ok(false);
        };
        let answer = self.answer(index)?;
        if !matches!(answer.outcome, Some(Outcome::Verdicts(_))) {
            return Ok(false);
        }
        let (signed, _) = self.signed(question)?;
        let request: wire::Request = envelope::peek(&signed, LARGEST_REQUEST).map_err(|_| Error::StoredUnreadable)?;
        self.begun(question, &request, &answer).await?;
        Ok(self.row(question).is_some())
    }

    /// Of an answer with a duty that follows another, if it is a change that the book does not know; whether it was.
    pub(crate) async fn recover_followed(&self, question: u64, index: u64) -> Result<bool, Error> {
        // Indexes grow: what comes after the last one that the book knows is not known to it.
        if self.row(question).is_none_or(|row| row.last >= index) {
            return Ok(false);
        }
        let answer = self.answer(index)?;
        let at_ms = answer.answered_at_ms;
        let says = match answer.outcome {
            Some(Outcome::Verdicts(verdicts)) => {
                let verdict = verdicts.verdicts.first().map(wire::ClaimVerdict::verdict);
                Says::Verdict(verdict.unwrap_or_default(), data_encoding::HEXLOWER.encode(&answer.grant))
            }
            Some(Outcome::Refusal(refusal)) => Says::Over(refusal.code),
            _ => return Err(Error::StoredUnreadable),
        };
        self.followed(question, Next { answer: index, at_ms, says }).await?;
        Ok(true)
    }

    fn answer(&self, index: u64) -> Result<wire::Answer, Error> {
        let (signed, _) = self.signed(index)?;
        envelope::peek(&signed, LARGEST_ANSWER).map_err(|_| Error::StoredUnreadable)
    }
}
