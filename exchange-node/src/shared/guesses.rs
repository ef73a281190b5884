//! The guess budget of all nodes of a department. Each node goes on keeping its own book too: what was tried before the
//! nodes shared a database counts there. Out of scope: the rule (`budget::judge`), and what a guess is.

use std::{collections::BTreeMap, sync::Arc};

use super::{Error, Shared, one_by_one, signed};
use crate::budget::{self, About, Guess, GuessBudget, Later, Spent, Taken, Tried, YEAR_MS, judge};

/// This node's own book and what the nodes share, together: a guess must be within both.
pub struct SharedBudget {
    /// This node's own.
    pub own: Arc<dyn GuessBudget>,
    /// What all share.
    pub shared: Arc<Shared>,
}

impl GuessBudget for SharedBudget {
    fn take_budget(&self, questions: Vec<Vec<Guess>>, now_ms: u64) -> Later<'_> {
        Box::pin(async move {
            let own = self.own.take_budget(questions.clone(), now_ms).await?;
            // What the own book refuses is not asked of the others'.
            let within = |(question, own): (Vec<Guess>, &Result<(), Spent>)| own.map_or(Vec::new(), |()| question);
            let questions = questions.into_iter().zip(&own).map(within).collect();
            let shared = self.shared.take_guesses(questions, now_ms).await;
            let shared = shared.map_err(|error| budget::Error::Shared { reason: error.to_string() })?;
            Ok(own.into_iter().zip(shared).map(|(own, shared)| own.and(shared)).collect())
        })
    }
}

impl Shared {
    /// Takes what each question tries: all of one question or nothing of it, in their order.
    pub(super) async fn take_guesses(&self, questions: Vec<Vec<Guess>>, now_ms: u64) -> Result<Taken, Error> {
        let mut known: BTreeMap<About, Vec<(Tried, u64)>> = BTreeMap::new();
        for guess in questions.iter().flatten() {
            known.entry(guess.about).or_default();
        }
        if known.is_empty() {
            return Ok(questions.iter().map(|_| Ok(())).collect());
        }
        let mut transaction = self.pool().await?.begin().await?;
        // In their order, so that two that want the same budgets never wait for each other.
        for (about, tried) in &mut known {
            one_by_one(&mut transaction, b"guesses", about).await?;
            let rows: Vec<(Vec<u8>, i64)> = sqlx::query_as("SELECT tried, at_ms FROM guesses WHERE about = $1")
                .bind(about.as_slice())
                .fetch_all(&mut *transaction)
                .await?;
            for (hash, at_ms) in rows {
                let hash = hash.as_slice().try_into().map_err(|_| Error::Unreadable)?;
                tried.push((hash, u64::try_from(at_ms).unwrap_or(0)));
            }
        }
        let mut taken = Taken::new();
        let mut new: Vec<(About, Tried)> = Vec::new();
        for question in &questions {
            let (before, many) = (known.clone(), new.len());
            let outcome = question.iter().try_for_each(|guess| {
                let budget = known.entry(guess.about).or_default();
                for tried in judge(guess, budget, now_ms)? {
                    budget.retain(|(old, _)| *old != tried);
                    budget.push((tried, now_ms));
                    new.push((guess.about, tried));
                }
                Ok(())
            });
            if outcome.is_err() {
                known = before;
                new.truncate(many);
            }
            taken.push(outcome);
        }
        for (about, tried) in new {
            sqlx::query(
                "INSERT INTO guesses (about, tried, at_ms) VALUES ($1, $2, $3)
                 ON CONFLICT (about, tried) DO UPDATE SET at_ms = excluded.at_ms",
            )
            .bind(about.as_slice())
            .bind(tried.as_slice())
            .bind(signed(now_ms))
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await?;
        Ok(taken)
    }

    /// Forgets what was tried more than a year ago.
    pub(super) async fn forget_guesses(&self, now_ms: u64) -> Result<(), Error> {
        sqlx::query("DELETE FROM guesses WHERE at_ms < $1")
            .bind(signed(now_ms.saturating_sub(YEAR_MS)))
            .execute(self.pool().await?)
            .await?;
        Ok(())
    }
}
