//! Uses of grants, taken by all nodes of a department together: each node has its own row for each grant, so that what its
//! evidence shows can always be brought in again, and their sum is held against the quota. Out of scope: what a quota
//! allows (`usage`).

use proto::registry::v1::Quota;
use trust::{calendar::Calendar, refusal::Refusal};

use super::{Error, Shared, one_by_one, signed};
use crate::usage::{Mark, Standing, Usage};

/// A row of `uses`: mark, node, total, day, in_day, second, in_second, last_ms.
type Row = (Vec<u8>, String, i64, i64, i64, i64, i64, i64);

fn standing((mark, _, total, day, in_day, second, in_second, last_ms): &Row) -> Option<Standing> {
    let count = |number: &i64| u64::try_from(*number).unwrap_or(0);
    Some(Standing {
        mark: mark.as_slice().try_into().ok()?,
        total: count(total),
        day: *day,
        in_day: count(in_day),
        second: count(second),
        in_second: u32::try_from(*in_second).unwrap_or(u32::MAX),
        last_ms: count(last_ms),
    })
}

impl Shared {
    /// Takes one use for a question that this node has claimed, or says which limit is reached. A question counts once,
    /// whichever nodes have tried to answer it.
    ///
    /// # Errors
    ///
    /// [`Error::Elsewhere`] where another node has taken the question over, or the database cannot be used: then the
    /// question must not be answered.
    pub async fn take_use(
        &self,
        request: &[u8; 16],
        mark: &Mark,
        quota: Option<&Quota>,
        calendar: &Calendar,
        now_ms: u64,
    ) -> Result<Result<(), Refusal>, Error> {
        let (_, refusal) = self.take_uses(request, mark, quota, calendar, now_ms, 1).await?;
        Ok(refusal.map_or(Ok(()), Err))
    }

    /// Takes up to so many uses for one claimed request: how many there were, and which limit was reached where they are
    /// fewer.
    ///
    /// # Errors
    ///
    /// As for [`Shared::take_use`].
    pub async fn take_uses(
        &self,
        request: &[u8; 16],
        mark: &Mark,
        quota: Option<&Quota>,
        calendar: &Calendar,
        now_ms: u64,
        wanted: u32,
    ) -> Result<(u32, Option<Refusal>), Error> {
        let me = self.node.as_str();
        let mut transaction = self.pool().await?.begin().await?;
        one_by_one(&mut transaction, b"uses", mark).await?;
        let counted: Option<bool> = sqlx::query_scalar(
            "SELECT counted FROM requests WHERE key = $1 AND node = $2 AND answer IS NULL FOR UPDATE",
        )
        .bind(request.as_slice())
        .bind(me)
        .fetch_optional(&mut *transaction)
        .await?;
        match counted {
            None => return Err(Error::Elsewhere),
            Some(true) => return Ok((wanted, None)),
            Some(false) => {}
        }
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT mark, node, total, day, in_day, second, in_second, last_ms FROM uses WHERE mark = $1",
        )
        .bind(mark.as_slice())
        .fetch_all(&mut *transaction)
        .await?;
        // The clocks of nodes differ a little: what one has counted today is not forgotten by another for which it is
        // still yesterday.
        let now_ms = rows.iter().filter_map(standing).map(|row| row.last_ms).fold(now_ms, u64::max);
        let all = Usage::summed(rows.iter().filter_map(standing), calendar, now_ms);
        let (taken, refusal) = all.take_many(mark, quota, calendar, now_ms, wanted);
        if taken == 0 {
            return Ok((0, refusal));
        }
        let own = Usage::summed(rows.iter().filter(|row| row.1 == me).filter_map(standing), calendar, now_ms);
        own.count_many(mark, calendar, now_ms, taken);
        for own in own.standing() {
            sqlx::query(
                "INSERT INTO uses (mark, node, total, day, in_day, second, in_second, last_ms)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
                 ON CONFLICT (mark, node) DO UPDATE SET total = excluded.total, day = excluded.day,
                     in_day = excluded.in_day, second = excluded.second, in_second = excluded.in_second,
                     last_ms = excluded.last_ms",
            )
            .bind(mark.as_slice())
            .bind(me)
            .bind(signed(own.total))
            .bind(own.day)
            .bind(signed(own.in_day))
            .bind(signed(own.second))
            .bind(i64::from(own.in_second))
            .bind(signed(own.last_ms))
            .execute(&mut *transaction)
            .await?;
        }
        sqlx::query("UPDATE requests SET counted = true WHERE key = $1")
            .bind(request.as_slice())
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok((taken, refusal))
    }

    /// What all nodes have used of every grant.
    ///
    /// # Errors
    ///
    /// The database cannot be used.
    pub async fn uses(&self, calendar: &Calendar, now_ms: u64) -> Result<Usage, Error> {
        let rows: Vec<Row> =
            sqlx::query_as("SELECT mark, node, total, day, in_day, second, in_second, last_ms FROM uses")
                .fetch_all(self.pool().await?)
                .await?;
        Ok(Usage::summed(rows.iter().filter_map(standing), calendar, now_ms))
    }

    /// Brings in what this node's own evidence says was used: more than is here where the database is new, or was restored.
    pub(super) async fn bring_own(&self) -> Result<(), Error> {
        for own in &self.own {
            sqlx::query(
                "INSERT INTO uses (mark, node, total, day, in_day, last_ms) VALUES ($1, $2, $3, $4, $5, $6)
                 ON CONFLICT (mark, node) DO UPDATE SET
                     total = greatest(uses.total, excluded.total),
                     in_day = CASE WHEN uses.day > excluded.day THEN uses.in_day
                                   WHEN uses.day < excluded.day THEN excluded.in_day
                                   ELSE greatest(uses.in_day, excluded.in_day) END,
                     day = greatest(uses.day, excluded.day),
                     last_ms = greatest(uses.last_ms, excluded.last_ms)",
            )
            .bind(own.mark.as_slice())
            .bind(self.node.as_str())
            .bind(signed(own.total))
            .bind(own.day)
            .bind(signed(own.in_day))
            .bind(signed(own.last_ms))
            .execute(&self.pool)
            .await?;
        }
        Ok(())
    }
}
