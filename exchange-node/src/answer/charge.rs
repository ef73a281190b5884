//! What a permitted question costs, taken before anything is looked up: guesses, the grant's quota, the officer's. From
//! the question alone, so that a refusal here tells nothing about a record. Out of scope: the decision, the lookup.

use trust::{
    calendar::Calendar,
    decision::Permit,
    directory::Directory,
    question::Question,
    refusal::{Code, Refusal},
};

use super::{Answerer, Unanswered, known::Turn};
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
    /// Whether the question goes on.
    pub(super) goes_on: bool,
}

impl Answerer {
    /// Takes what the question costs. Returns only when its guesses are durable.
    pub(super) async fn charge(
        &self,
        directory: &Directory,
        permit: &Permit<'_>,
        question: &Question,
        turn: &Turn,
        now_ms: u64,
    ) -> Result<Result<Charged, Refusal>, Unanswered> {
        let (department, calendar) = (question.sender.department(), &directory.profile().calendar);
        for subject in std::iter::once(&permit.subject).chain(&permit.also_about) {
            self.watch.asked(department, &question.wire.case_number, subject, calendar, now_ms);
        }
        let charged = self.take_all(directory, permit, question, turn, now_ms).await?;
        if let Err(refusal) = &charged {
            self.watch.refused(department, refusal.code, calendar, now_ms);
        }
        Ok(charged)
    }

    async fn take_all(
        &self,
        directory: &Directory,
        permit: &Permit<'_>,
        question: &Question,
        turn: &Turn,
        now_ms: u64,
    ) -> Result<Result<Charged, Refusal>, Unanswered> {
        if let Err(refusal) = self.check_desk(permit, question, now_ms) {
            return Ok(Err(refusal));
        }
        let has_room = || self.subscriptions.as_ref().is_some_and(|given| !given.is_full());
        if question.wire.subscription.is_some() && !has_room() {
            let refusal = Refusal::new(Code::QuotaExceeded).at("subscription");
            return Ok(Err(refusal.because("this node keeps no more subscriptions")));
        }
        // Where the asker's numbers contradict the table nothing is looked up; those that it named are charged all the same.
        let mut also = self.aliases.numbers(&permit.subject, &permit.former_subjects).unwrap_or_default();
        for other in &permit.also_about {
            also.extend(self.aliases.numbers(other, &[]).unwrap_or_default());
        }
        let guesses = guesses(&self.budget_key, &self.guessing, directory, question, permit, &also, now_ms);
        if !guesses.is_empty() {
            let taken = self.budget.take_budget(vec![guesses], now_ms).await?;
            if let Some(Err(spent)) = taken.first() {
                return Ok(Err(spent.refusal()));
            }
        }
        let (department, calendar) = (question.sender.department(), &directory.profile().calendar);
        let officer = match self.take_officer(question, calendar, turn, now_ms).await? {
            Ok(officer) => officer,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let grant = usage::mark(&permit.grant, department);
        let taken = self.take_use(permit, calendar, turn, &grant, now_ms).await?;
        Ok(taken.map(|()| Charged { grant: Some(grant), officer, goes_on: question.wire.subscription.is_some() }))
    }

    /// Takes one use of the officer's, together with the department's other nodes where they share their counts.
    async fn take_officer(
        &self,
        question: &Question,
        calendar: &Calendar,
        turn: &Turn,
        now_ms: u64,
    ) -> Result<Result<Option<Mark>, Refusal>, Unanswered> {
        let (department, officer) = (question.sender.department(), &question.wire.officer);
        let Some(shared) = &self.shared else {
            return Ok(self.officers.take(department, officer, calendar, now_ms));
        };
        let Some(mark) = self.officers.mark(department, officer, calendar, now_ms) else { return Ok(Ok(None)) };
        let quota = self.officers.quota();
        let (taken, refusal) = shared.take_officer(turn.key(), &mark, quota, calendar, now_ms, 1).await?;
        self.officers.count(&mark, calendar, now_ms, taken);
        Ok(refusal.map_or(Ok(Some(mark)), Err))
    }

    /// Takes one use of the grant, together with the department's other nodes where they share their counts.
    async fn take_use(
        &self,
        permit: &Permit<'_>,
        calendar: &Calendar,
        turn: &Turn,
        mark: &Mark,
        now_ms: u64,
    ) -> Result<Result<(), Refusal>, Unanswered> {
        let Some(shared) = &self.shared else { return Ok(self.usage.take(mark, permit.quota, calendar, now_ms)) };
        let taken = shared.take_use(turn.key(), mark, permit.quota, calendar, now_ms).await?;
        if taken.is_ok() {
            self.usage.count(mark, calendar, now_ms);
        }
        Ok(taken)
    }
}
