//! What one officer may ask: so many questions in a second and on a day, as this node's configuration says. Counted for
//! this department's own officers where they ask, and for every other department's where it is answered: there by all nodes of
//! the department together, where they share their counts (`shared`).
//!
//! Each use stands in the journal under a keyed hash of the officer, so that a restart forgets none of the day's. Out of
//! scope: what a grant allows its whole department (the parent).

use std::{ops::ControlFlow, sync::Arc};

use proto::registry::v1::Quota;
use trust::{calendar::Calendar, ids::DepartmentId, refusal::Refusal};

use super::{Kind, Mark, Recalled, Saved, Usage};
use crate::{budget::BudgetKey, config::OfficerLimits, journal::RecordHead};

/// So many officers are told apart on a day; the others of that day share one count.
const MOST: usize = 65_536;

/// Whose count the others share.
const OTHERS: Mark = [0; 16];

/// The uses of officers on one side.
#[derive(Debug)]
pub struct Officers {
    quota: Quota,
    key: Arc<BudgetKey>,
    usage: Usage,
}

impl Officers {
    /// Nobody has asked anything yet.
    pub fn new(limits: OfficerLimits, key: Arc<BudgetKey>, recalled: RecalledOfficers) -> Self {
        let quota = Quota { per_second: limits.per_second, per_day: limits.per_day, total: 0 };
        Self { quota, key, usage: recalled.0.into_usage() }
    }

    /// Takes one use, or says which limit is reached and when there will be more. The mark belongs into the journal;
    /// `None` where officers have no limit.
    pub(crate) fn take(
        &self,
        department: &DepartmentId,
        officer: &str,
        calendar: &Calendar,
        now_ms: u64,
    ) -> Result<Option<Mark>, Refusal> {
        let Some(mark) = self.mark(department, officer, calendar, now_ms) else { return Ok(None) };
        let taken = self.usage.take(&mark, Some(&self.quota), calendar, now_ms);
        taken.map(|()| Some(mark)).map_err(|refusal| refusal.at("officer"))
    }

    /// What an officer may ask.
    pub(crate) fn quota(&self) -> &Quota {
        &self.quota
    }

    /// Counts so many uses that were taken of a count which nodes share.
    pub(crate) fn count(&self, mark: &Mark, calendar: &Calendar, now_ms: u64, uses: u32) {
        self.usage.count_many(mark, calendar, now_ms, uses);
    }

    /// Under what an officer's uses are counted; `None` where officers have no limit.
    pub(crate) fn mark(
        &self,
        department: &DepartmentId,
        officer: &str,
        calendar: &Calendar,
        now_ms: u64,
    ) -> Option<Mark> {
        if self.quota == Quota::default() {
            return None;
        }
        let mut mark = self.key.officer(department, officer);
        {
            let mut counts = self.usage.locked();
            if counts.len() >= MOST && !counts.contains_key(&mark) {
                let today = calendar.day_of(now_ms);
                counts.retain(|_, count| count.day == today);
                if counts.len() >= MOST {
                    mark = OTHERS;
                }
            }
        }
        Some(mark)
    }
}

/// The uses of officers on the day that runs, read back from the journal.
#[derive(Debug)]
pub struct RecalledOfficers(Recalled);

impl RecalledOfficers {
    /// Nothing yet.
    pub(crate) fn starting(kind: Kind, calendar: &Calendar, now_ms: u64) -> Self {
        let mut recalled = Recalled::starting(kind, &Saved::default(), calendar, now_ms);
        // What is older than today does not matter: officers have no limit in all.
        recalled.from_index = u64::MAX;
        Self(recalled)
    }

    /// From here on another log is read: what is older than today does not matter there either, and where records are not in
    /// the order of time each is looked at.
    pub(crate) fn begin_log(&mut self, unordered: bool) {
        self.0.from_index = if unordered { 0 } else { u64::MAX };
    }

    /// Takes the next older record; breaks where older ones do not matter.
    pub(crate) fn take(&mut self, head: &RecordHead) -> ControlFlow<()> {
        self.0.take_marked(head, head.officer)
    }
}

#[cfg(test)]
mod tests {
    use trust::refusal::Code;

    use super::*;

    const NOW_MS: u64 = 1_800_000_000_000;

    fn officers(per_second: u32, per_day: u32) -> Officers {
        let recalled = RecalledOfficers::starting(Kind::Given, &Calendar::default(), NOW_MS);
        Officers::new(OfficerLimits { per_second, per_day }, Arc::new(BudgetKey::new([1; 32])), recalled)
    }

    #[test]
    fn a_limit_is_each_officers_own_and_says_when_there_is_more() {
        let housing: DepartmentId = "housing".parse().unwrap();
        let calendar = Calendar::default();
        let officers = officers(0, 2);
        for _ in 0..2 {
            assert!(officers.take(&housing, "1024", &calendar, NOW_MS).unwrap().is_some());
        }
        let refusal = officers.take(&housing, "1024", &calendar, NOW_MS).unwrap_err();
        assert_eq!((refusal.code, refusal.field.as_str()), (Code::QuotaExceeded, "officer"));
        let retry_at_ms = refusal.retry_at_ms.unwrap();
        assert!(officers.take(&housing, "1025", &calendar, NOW_MS).is_ok());
        assert!(officers.take(&"taxation".parse().unwrap(), "1024", &calendar, NOW_MS).is_ok());
        assert!(officers.take(&housing, "1024", &calendar, retry_at_ms).is_ok());
    }

    #[test]
    fn made_up_officers_do_not_fill_the_memory() {
        let (housing, calendar): (DepartmentId, _) = ("housing".parse().unwrap(), Calendar::default());
        let officers = officers(0, 1);
        let passed = (0..MOST + 100)
            .filter(|number| officers.take(&housing, &number.to_string(), &calendar, NOW_MS).is_ok())
            .count();
        assert!(officers.usage.locked().len() <= MOST + 1);
        assert_eq!(passed, MOST + 1, "those beyond share one count");
        // Another day, another count.
        assert!(officers.take(&housing, "new", &calendar, NOW_MS + 86_400_000).is_ok());
        assert!(officers.usage.locked().len() <= 2);
    }

    #[test]
    fn without_a_limit_nothing_is_counted() {
        let officers = officers(0, 0);
        let taken = officers.take(&"housing".parse().unwrap(), "1024", &Calendar::default(), NOW_MS);
        assert_eq!(taken, Ok(None));
    }
}
