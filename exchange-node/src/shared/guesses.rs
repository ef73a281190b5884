//! The guess budget of all nodes of a department. Each node goes on keeping its own book too: what was tried before the
//! nodes shared a database counts there. Out of scope: the rule (`budget::judge`), and what a guess is.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use sqlx::PgConnection;

use super::{Error, Shared, signed};
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

/// So many questions take in one transaction. A batch has ten thousand, and nearly every lock: while it takes, nobody else
/// does, and single questions must not wait for all of them.
const IN_ONE_TRANSACTION: usize = 1000;

impl Shared {
    /// Takes what each question tries: all of one question or nothing of it, in their order.
    pub(super) async fn take_guesses(&self, questions: Vec<Vec<Guess>>, now_ms: u64) -> Result<Taken, Error> {
        let mut taken = Taken::with_capacity(questions.len());
        for some in questions.chunks(IN_ONE_TRANSACTION) {
            taken.extend(self.take_some_guesses(some, now_ms).await?);
        }
        Ok(taken)
    }

    async fn take_some_guesses(&self, questions: &[Vec<Guess>], now_ms: u64) -> Result<Taken, Error> {
        let mut known: BTreeMap<About, Vec<(Tried, u64)>> = BTreeMap::new();
        for guess in questions.iter().flatten() {
            known.entry(guess.about).or_default();
        }
        if known.is_empty() {
            return Ok(questions.iter().map(|_| Ok(())).collect());
        }
        let mut transaction = self.pool().await?.begin().await?;
        lock(&mut transaction, known.keys()).await?;
        let abouts: Vec<Vec<u8>> = known.keys().map(|about| about.to_vec()).collect();
        let rows: Vec<(Vec<u8>, Vec<u8>, i64)> =
            sqlx::query_as("SELECT about, tried, at_ms FROM guesses WHERE about = ANY($1)")
                .bind(abouts)
                .fetch_all(&mut *transaction)
                .await?;
        for (about, tried, at_ms) in rows {
            let about: About = about.as_slice().try_into().map_err(|_| Error::Unreadable)?;
            let tried: Tried = tried.as_slice().try_into().map_err(|_| Error::Unreadable)?;
            known.entry(about).or_default().push((tried, u64::try_from(at_ms).unwrap_or(0)));
        }
        let mut taken = Taken::new();
        let mut new: Vec<(About, Tried)> = Vec::new();
        for question in questions {
            let many = new.len();
            // What the question has changed, so that nothing of it stays where one of its claims is over.
            let mut before: Vec<(About, Vec<(Tried, u64)>)> = Vec::new();
            let outcome = question.iter().try_for_each(|guess| {
                let budget = known.entry(guess.about).or_default();
                let tries = judge(guess, budget, now_ms)?;
                if !tries.is_empty() {
                    before.push((guess.about, budget.clone()));
                }
                for tried in tries {
                    budget.retain(|(old, _)| *old != tried);
                    budget.push((tried, now_ms));
                    new.push((guess.about, tried));
                }
                Ok(())
            });
            if outcome.is_err() {
                // The last change first: the same budget may have been changed twice.
                known.extend(before.into_iter().rev());
                new.truncate(many);
            }
            taken.push(outcome);
        }
        if !new.is_empty() {
            let (abouts, tried): (Vec<Vec<u8>>, Vec<Vec<u8>>) =
                new.iter().map(|(about, tried)| (about.to_vec(), tried.to_vec())).unzip();
            sqlx::query(
                "INSERT INTO guesses (about, tried, at_ms)
                 SELECT tries.about, tries.tried, $3 FROM unnest($1::bytea[], $2::bytea[]) AS tries(about, tried)
                 ON CONFLICT (about, tried) DO UPDATE SET at_ms = excluded.at_ms",
            )
            .bind(abouts)
            .bind(tried)
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

/// Locks of budgets have this for their first number; those of `one_by_one` have one number alone.
const LOCKS: i32 = 0x6775_6573;

/// Until the transaction ends nobody else takes from these budgets. A lock is for many of them: a server has room for some
/// thousands in all, and a batch has twenty thousand budgets. In their order, so that two that want the same never wait for
/// each other.
async fn lock<'a>(connection: &mut PgConnection, abouts: impl Iterator<Item = &'a About>) -> Result<(), Error> {
    // Keyed hashes: they are spread evenly.
    let locks: BTreeSet<i32> = abouts.map(|about| i32::from(about[0])).collect();
    let locks: Vec<i32> = locks.into_iter().collect();
    sqlx::query("SELECT pg_advisory_xact_lock($1, bucket) FROM unnest($2::int4[]) AS bucket")
        .bind(LOCKS)
        .bind(locks)
        .execute(connection)
        .await?;
    Ok(())
}
