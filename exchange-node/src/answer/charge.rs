//! What a permitted question costs, taken before anything is looked up: guesses, the grant's quota, the officer's. From
//! the question alone, so that a refusal here tells nothing about a record. Out of scope: the decision, the lookup.

use trust::{calendar::Calendar, decision::Permit, directory::Directory, question::Question, refusal::Refusal};

use super::{Answerer, Unanswered};
use crate::{
    budget::guesses,
    usage::{self, Mark},
};

/// What was taken: the marks that belong into the journal beside the answer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Charged {
    /// The grant that it is a use of.
    pub(super) grant: Option<Mark>,
    /// The officer whose use it is, where officers have a limit.
    pub(super) officer: Option<Mark>,
}

impl Answerer {
    /// Takes what the question costs. Returns only when its guesses are durable.
    pub(super) async fn charge(
        &self,
        directory: &Directory,
        permit: &Permit<'_>,
        question: &Question,
        now_ms: u64,
    ) -> Result<Result<Charged, Refusal>, Unanswered> {
        let guesses = guesses(&self.budget_key, directory, question, permit, &[], now_ms);
        if !guesses.is_empty() {
            let taken = self.budget.take_budget(vec![guesses], now_ms).await?;
            if let Some(Err(spent)) = taken.first() {
                return Ok(Err(spent.refusal()));
            }
        }
        Ok(self.take_quotas(permit, question, &directory.profile().calendar, now_ms))
    }

    fn take_quotas(
        &self,
        permit: &Permit<'_>,
        question: &Question,
        calendar: &Calendar,
        now_ms: u64,
    ) -> Result<Charged, Refusal> {
        let department = question.sender.department();
        let officer = self.officers.take(department, &question.wire.officer, calendar, now_ms)?;
        let grant = usage::mark(&permit.grant, department);
        self.usage.take(&grant, permit.quota, calendar, now_ms)?;
        Ok(Charged { grant: Some(grant), officer })
    }
}
