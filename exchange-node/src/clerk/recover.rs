//! After a crash: deferrals and clerks' answers that are in the evidence, and that the book does not know yet. Out of scope:
//! looking through the evidence (`app::recover`).

use proto::exchange::v1::{self as wire, answer::Outcome};

use super::{Clerks, Error};

impl Clerks {
    /// Of an answer with a duty, if it is a deferral that the book does not know; whether it was.
    pub(crate) async fn recover_deferral(&self, index: u64) -> Result<bool, Error> {
        let Some(question) = index.checked_sub(1).filter(|question| self.task(*question).is_none()) else {
            return Ok(false);
        };
        let (answer, digest) = self.message::<wire::Answer>(index)?;
        if !matches!(answer.outcome, Some(Outcome::Deferral(_))) {
            return Ok(false);
        }
        let (request, _) = self.message::<wire::Request>(question)?;
        self.deferred(question, &request, &answer, digest).await?;
        Ok(true)
    }

    /// Of an answer with a duty that follows another, if it is that of a task which the book knows as open; whether it was.
    pub(crate) async fn recover_answer(&self, question: u64, index: u64) -> Result<bool, Error> {
        let Some(task) = self.task(question).filter(|task| task.answer.is_none()) else { return Ok(false) };
        let (answer, _) = self.message::<wire::Answer>(index)?;
        let task = super::Task { officer: answer.clerk.clone(), ..task };
        self.answered(task, index, answer.answered_at_ms).await?;
        Ok(true)
    }
}
