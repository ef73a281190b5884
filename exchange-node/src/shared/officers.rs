//! What one officer of another department may ask, counted by all nodes of this department together. Only the day that runs
//! matters: a database that was lost forgets it. Out of scope: what an officer may ask (`usage::officers`), and this department's
//! own officers, whom each node counts where they ask.

use proto::registry::v1::Quota;
use trust::{calendar::Calendar, refusal::Refusal};

use super::{Error, Shared, one_by_one, signed};
use crate::usage::{Mark, Standing, Usage};

/// For so long a count matters to nobody any more: two days, in milliseconds.
const KEPT_MS: u64 = 2 * 86_400_000;

/// A row of `officers`: day, in_day, second, in_second, last_ms.
type Row = (i64, i64, i64, i64, i64);

fn standing(mark: &Mark, (day, in_day, second, in_second, last_ms): Row) -> Standing {
    let count = |number: i64| u64::try_from(number).unwrap_or(0);
    Standing {
        mark: *mark,
        total: 0,
        day,
        in_day: count(in_day),
        second: count(second),
        in_second: u32::try_from(in_second).unwrap_or(u32::MAX),
        last_ms: count(last_ms),
    }
}

impl Shared {
    /// Takes up to so many uses of an officer for one claimed request: how many there were, and which limit was reached where
    /// they are fewer. A request counts once, whichever nodes have tried to answer it.
    ///
    /// # Errors
    ///
    /// [`Error::Elsewhere`] where another node has taken the question over, or the database cannot be used: then the
    /// question must not be answered.
    pub async fn take_officer(
        &self,
        request: &[u8; 16],
        mark: &Mark,
        quota: &Quota,
        calendar: &Calendar,
        now_ms: u64,
        wanted: u32,
    ) -> Result<(u32, Option<Refusal>), Error> {
        let mut transaction = self.pool().await?.begin().await?;
        one_by_one(&mut transaction, b"officers", mark).await?;
        let counted: Option<bool> = sqlx::query_scalar(
            "SELECT officer_counted FROM requests WHERE key = $1 AND node = $2 AND answer IS NULL FOR UPDATE",
        )
        .bind(request.as_slice())
        .bind(self.node.as_str())
        .fetch_optional(&mut *transaction)
        .await?;
        match counted {
            None => return Err(Error::Elsewhere),
            Some(true) => return Ok((wanted, None)),
            Some(false) => {}
        }
        let row: Option<Row> =
            sqlx::query_as("SELECT day, in_day, second, in_second, last_ms FROM officers WHERE mark = $1")
                .bind(mark.as_slice())
                .fetch_optional(&mut *transaction)
                .await?;
        let before = row.map(|row| standing(mark, row));
        // As for grants: the clock of a node that is behind renews nothing.
        let now_ms = before.as_ref().map_or(now_ms, |before| before.last_ms.max(now_ms));
        let all = Usage::summed(before, calendar, now_ms);
        let (taken, refusal) = all.take_many(mark, Some(quota), calendar, now_ms, wanted);
        let refusal = refusal.map(|reached| reached.at("officer"));
        if taken == 0 {
            return Ok((0, refusal));
        }
        for now in all.standing() {
            sqlx::query(
                "INSERT INTO officers (mark, day, in_day, second, in_second, last_ms) VALUES ($1, $2, $3, $4, $5, $6)
                 ON CONFLICT (mark) DO UPDATE SET day = excluded.day, in_day = excluded.in_day, second = excluded.second,
                     in_second = excluded.in_second, last_ms = excluded.last_ms",
            )
            .bind(mark.as_slice())
            .bind(now.day)
            .bind(signed(now.in_day))
            .bind(signed(now.second))
            .bind(i64::from(now.in_second))
            .bind(signed(now.last_ms))
            .execute(&mut *transaction)
            .await?;
        }
        sqlx::query("UPDATE requests SET officer_counted = true WHERE key = $1")
            .bind(request.as_slice())
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok((taken, refusal))
    }

    /// Forgets counts of days that are over.
    pub(super) async fn forget_officers(&self, now_ms: u64) -> Result<(), Error> {
        sqlx::query("DELETE FROM officers WHERE last_ms < $1")
            .bind(signed(now_ms.saturating_sub(KEPT_MS)))
            .execute(self.pool().await?)
            .await?;
        Ok(())
    }
}
