//! Overdue answers in the second log: each node states its own, and whoever supervises counts them. A question is overdue
//! once; saying it again changes nothing. Out of scope: what such a statement is (`trust::overdue`).

use std::collections::BTreeMap;

use trust::{
    anchor::Revoked,
    ids::{DepartmentId, Digest},
    overdue,
    refusal::{Code, Refusal},
};

pub use super::known::Counted;
use super::{Anchors, Error};
use crate::ledger::Append;

/// How many overdue answers a department may state in a day: above it nobody counts them one by one any more.
const MOST_PER_DAY: u32 = 10_000;

const DAY_MS: u64 = 86_400_000;

impl Anchors {
    /// Records an overdue answer; gives the index of its entry.
    ///
    /// # Errors
    ///
    /// The ledger failed; the process must end.
    pub async fn state_overdue(&self, entry: &[u8], now_ms: u64) -> Result<Result<u64, Refusal>, Error> {
        let (read, skew_ms) = {
            let directory = self.parts.sequencer.directory();
            (overdue::read(&directory, entry, Revoked::Refused), directory.profile().clock_skew_ms)
        };
        let stated = match read {
            Ok(stated) => stated,
            Err(error) => return Ok(Err(error.refusal())),
        };
        // By this clock too: nobody incriminates himself before the time, and no clock that runs ahead does it for him.
        let latest_ms = now_ms.saturating_add(skew_ms);
        if stated.wire.stated_at_ms > latest_ms {
            return Ok(Err(Refusal::new(Code::NotOverdue).at("stated_at_ms")));
        }
        let mut known = self.known.lock().await;
        let mut limited = false;
        loop {
            known.catch_up(self.parts.ledger.as_ref()).await?;
            if let Some(index) = known.overdue(&stated.request) {
                return Ok(Ok(index));
            }
            if !limited && let Err(refusal) = self.take_turn(&stated.department, now_ms) {
                return Ok(Err(refusal));
            }
            limited = true;
            let index = known.covered;
            match self.parts.ledger.append(index, vec![entry.to_vec()]).await? {
                Append::Moved { .. } => {}
                Append::Appended { .. } => {
                    known.learn_overdue(index, &stated.wire);
                    tracing::warn!(department = %stated.department, waiting = %stated.waiting, "an answer is overdue");
                    return Ok(Ok(index));
                }
            }
        }
    }

    /// How many overdue answers each department has.
    ///
    /// # Errors
    ///
    /// The ledger failed.
    pub async fn overdue(&self) -> Result<BTreeMap<DepartmentId, Counted>, Error> {
        let mut known = self.known.lock().await;
        known.catch_up(self.parts.ledger.as_ref()).await?;
        Ok(known.counted().clone())
    }

    /// Where the overdue answer to a request stands.
    ///
    /// # Errors
    ///
    /// The ledger failed.
    pub async fn overdue_entry(&self, request: &Digest) -> Result<Option<u64>, Error> {
        let mut known = self.known.lock().await;
        known.catch_up(self.parts.ledger.as_ref()).await?;
        Ok(known.overdue(request))
    }

    fn take_turn(&self, department: &DepartmentId, now_ms: u64) -> Result<(), Refusal> {
        let day = now_ms / DAY_MS;
        let mut stated = self.stated_today.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if stated.0 != day {
            *stated = (day, BTreeMap::new());
        }
        let count = stated.1.entry(department.clone()).or_default();
        if *count >= MOST_PER_DAY {
            return Err(Refusal::new(Code::Overloaded).retry_at((day + 1) * DAY_MS));
        }
        *count += 1;
        Ok(())
    }
}
