//! A guess budget in memory for tests.

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{About, Guess, GuessBudget, Later, Tried, judge};

/// The budget's double.
#[derive(Debug, Default)]
pub(crate) struct MemoryBudget {
    known: Mutex<HashMap<About, Vec<(Tried, u64)>>>,
    calls: AtomicUsize,
}

impl MemoryBudget {
    /// How often something was to be taken.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

impl GuessBudget for MemoryBudget {
    fn take_budget(&self, questions: Vec<Vec<Guess>>, now_ms: u64) -> Later<'_> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = Vec::new();
        for question in questions {
            let before = known.clone();
            let outcome = question.iter().try_for_each(|guess| {
                let budget = known.entry(guess.about).or_default();
                let new = judge(guess, budget, now_ms)?;
                budget.extend(new.into_iter().map(|tried| (tried, now_ms)));
                Ok(())
            });
            if outcome.is_err() {
                *known = before;
            }
            taken.push(outcome);
        }
        Box::pin(async move { Ok(taken) })
    }
}
