//! The task beside it: says whether the database is there, and forgets what has had its time.

use std::{sync::Arc, time::Duration};

use host::{clock::Clock, readiness::Condition, supervise::TaskError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Error, KEPT_MS, Shared, signed};

/// How often the database is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How often what has had its time is forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(600);

impl Shared {
    /// Looks after it until `stop`.
    ///
    /// # Errors
    ///
    /// Never: what goes wrong is said by the condition, and looked at again.
    pub async fn run(
        self: Arc<Self>,
        clock: Arc<dyn Clock>,
        condition: Condition,
        stop: CancellationToken,
    ) -> Result<(), TaskError> {
        let mut forget = Instant::now();
        loop {
            let looked = async {
                self.check().await?;
                if Instant::now() >= forget {
                    self.forget(clock.now_ms()).await?;
                    forget = Instant::now() + FORGET_EVERY;
                }
                Ok::<_, Error>(())
            };
            match stop.run_until_cancelled(looked).await {
                Some(Ok(())) => condition.met(),
                Some(Err(error)) => condition.unmet(&error.to_string()),
                None => break,
            }
            if stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_none() {
                break;
            }
        }
        self.close().await;
        Ok(())
    }

    /// Forgets answers after a day, what officers asked after two, and guesses after a year.
    pub(super) async fn forget(&self, now_ms: u64) -> Result<(), Error> {
        let pool = self.pool().await?;
        sqlx::query(
            "DELETE FROM requests WHERE claimed_ms < (extract(epoch FROM clock_timestamp()) * 1000)::bigint - $1",
        )
        .bind(signed(KEPT_MS))
        .execute(pool)
        .await?;
        self.forget_officers(now_ms).await?;
        self.forget_guesses(now_ms).await
    }
}
