//! After a crash: deferrals and clerks' answers that are in the evidence, and that the book does not know yet.

use proto::exchange::v1::{self as wire, EntryKind, answer::Outcome};

use super::{Clerks, Error};
use crate::journal::RecordHead;

impl Clerks {
    /// Looks through records of the journal that bear a duty, the oldest first.
    ///
    /// # Errors
    ///
    /// What they say cannot be read or kept.
    pub async fn recover(&self, heads: &[RecordHead]) -> Result<usize, Error> {
        let mut recovered = 0;
        for head in heads {
            let Some(position) = head.kinds.iter().position(|kind| *kind == EntryKind::AnswerGiven) else { continue };
            let index = head.first_index + position as u64;
            recovered += usize::from(match head.about {
                None => self.recover_deferral(index).await?,
                Some(question) => self.recover_answer(question, index).await?,
            });
        }
        Ok(recovered)
    }

    async fn recover_deferral(&self, index: u64) -> Result<bool, Error> {
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

    async fn recover_answer(&self, question: u64, index: u64) -> Result<bool, Error> {
        let Some(task) = self.task(question).filter(|task| task.answer.is_none()) else { return Ok(false) };
        let (answer, _) = self.message::<wire::Answer>(index)?;
        let task = super::Task { officer: answer.clerk.clone(), ..task };
        self.answered(task, index, answer.answered_at_ms).await?;
        Ok(true)
    }
}
