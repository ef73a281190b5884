//! What is used of every grant: how many questions in this second, this day and in all. The same count for both sides: the
//! provider's of what it answered, by which a quota is enforced, and the consumer's of what it asked and got answered.
//!
//! **Invariant:** the evidence is what counts. Each use stands in the journal with its grant's mark, and the numbers here are
//! gathered from there at every start, so that a crash loses none. A file beside the journal (`saved`) says what its first
//! entries amount to, so that a start need not read all of them; it is never believed about a log that it does not fit.
//!
//! A day is one of the profile's calendar. Out of scope: whether a question is covered at all (`trust::decision`), and
//! counting together with other nodes of the department (`shared`).

mod officers;
mod saved;

use std::{
    collections::HashMap,
    ops::ControlFlow,
    sync::{Mutex, PoisonError},
};

use proto::{exchange::v1::EntryKind, registry::v1::Quota};
use sha2::{Digest as _, Sha256};
use trust::{
    calendar::Calendar,
    ids::{DepartmentId, Digest},
    refusal::{Code, Refusal},
};

pub use self::{
    officers::{Officers, RecalledOfficers},
    saved::Saved,
};
use crate::journal::RecordHead;

/// A grant used by a department, without telling which: SHA-256 of "errand grant v1", NUL, the grant's digest and the
/// consumer's id, cut to 16 bytes.
pub type Mark = [u8; 16];

/// How much older than the ones before it a record of the journal may be: they come in nearly the order of their times.
const DISORDER_MS: u64 = 120_000;

/// The mark under which uses of a grant are counted. An unconditional service's statement is the grant of everybody; so
/// the consumer belongs to it.
pub fn mark(grant: &Digest, consumer: &DepartmentId) -> Mark {
    let mut hash = Sha256::new();
    hash.update(b"errand grant v1\0");
    hash.update(grant.as_bytes());
    hash.update(consumer.as_str());
    let mut mark = [0; 16];
    mark.copy_from_slice(&hash.finalize()[..16]);
    mark
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An own question that was answered with verdicts.
    Answered,
    /// An own question that was sent.
    Asked,
    /// Another department's question that was answered with verdicts.
    Given,
}

/// How many uses a record of the journal counts as.
pub(crate) fn uses_of(head: &RecordHead) -> u64 {
    head.uses.map_or(1, u64::from)
}

/// Which use a record of the journal is.
pub(crate) fn kind_of(head: &RecordHead) -> Option<(Kind, Mark)> {
    Some((side_of(head)?, head.grant?))
}

/// Which kind of use a record of the journal would be.
fn side_of(head: &RecordHead) -> Option<Kind> {
    let has = |kind| head.kinds.contains(&kind);
    if has(EntryKind::AnswerGiven) {
        Some(Kind::Given)
    } else if has(EntryKind::QuestionSent) {
        Some(Kind::Asked)
    } else if has(EntryKind::AnswerReceived) {
        Some(Kind::Answered)
    } else {
        None
    }
}

/// How much is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// In this second.
    pub in_second: u32,
    /// On this day.
    pub today: u64,
    /// In all.
    pub total: u64,
    /// The last time, Unix milliseconds; 0 for never.
    pub last_ms: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    second: u64,
    in_second: u32,
    day: i64,
    in_day: u64,
    total: u64,
    last_ms: u64,
}

impl Count {
    /// As it stands at this time.
    fn at(&mut self, calendar: &Calendar, now_ms: u64) -> &mut Self {
        let (second, day) = (now_ms / 1000, calendar.day_of(now_ms));
        if self.second != second {
            (self.second, self.in_second) = (second, 0);
        }
        if self.day != day {
            (self.day, self.in_day) = (day, 0);
        }
        self
    }

    fn add(&mut self, now_ms: u64) {
        self.in_second = self.in_second.saturating_add(1);
        self.in_day += 1;
        self.total += 1;
        self.last_ms = self.last_ms.max(now_ms);
    }
}

/// What is used of one grant, as it is brought somewhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The grant's mark.
    pub mark: Mark,
    /// In all.
    pub total: u64,
    /// The last day on which it was used, of the profile's calendar.
    pub day: i64,
    /// On that day.
    pub in_day: u64,
    /// The last second in which it was used, after 1970.
    pub second: u64,
    /// In that second.
    pub in_second: u32,
    /// The last time, Unix milliseconds.
    pub last_ms: u64,
}

/// Uses of grants, of one kind.
#[derive(Debug, Default)]
pub struct Usage {
    counts: Mutex<HashMap<Mark, Count>>,
}

impl Usage {
    /// Takes one use from a quota, or says which limit is reached and when there will be more.
    pub(crate) fn take(
        &self,
        mark: &Mark,
        quota: Option<&Quota>,
        calendar: &Calendar,
        now_ms: u64,
    ) -> Result<(), Refusal> {
        let quota = quota.copied().unwrap_or_default();
        let mut counts = self.locked();
        let count = counts.entry(*mark).or_default().at(calendar, now_ms);
        let exceeded = |limit: String| Refusal::new(Code::QuotaExceeded).at("grant").because(limit);
        if quota.total > 0 && count.total >= quota.total {
            // There will be no more: whoever needs more applies again.
            return Err(exceeded(format!("{} in all", quota.total)));
        }
        if quota.per_day > 0 && count.in_day >= u64::from(quota.per_day) {
            let tomorrow_ms = calendar.begin_of(count.day.saturating_add(1));
            return Err(exceeded(format!("{} per day", quota.per_day)).retry_at(tomorrow_ms));
        }
        if quota.per_second > 0 && count.in_second >= quota.per_second {
            let limit = format!("{} per second", quota.per_second);
            return Err(exceeded(limit).retry_at((count.second + 1) * 1000));
        }
        count.add(now_ms);
        Ok(())
    }

    /// Takes so many of the wanted uses from a quota as there are: how many, and where not all, which limit is reached.
    pub(crate) fn take_many(
        &self,
        mark: &Mark,
        quota: Option<&Quota>,
        calendar: &Calendar,
        now_ms: u64,
        wanted: u32,
    ) -> (u32, Option<Refusal>) {
        for taken in 0..wanted {
            if let Err(reached) = self.take(mark, quota, calendar, now_ms) {
                return (taken, Some(reached));
            }
        }
        (wanted, None)
    }

    /// Counts one use that nothing limits.
    pub(crate) fn count(&self, mark: &Mark, calendar: &Calendar, now_ms: u64) {
        self.locked().entry(*mark).or_default().at(calendar, now_ms).add(now_ms);
    }

    /// Counts so many uses that nothing limits.
    pub(crate) fn count_many(&self, mark: &Mark, calendar: &Calendar, now_ms: u64, uses: u32) {
        for _ in 0..uses {
            self.count(mark, calendar, now_ms);
        }
    }

    /// What is used of every grant.
    pub(crate) fn standing(&self) -> Vec<Standing> {
        let standing = |(mark, count): (&Mark, &Count)| Standing {
            mark: *mark,
            total: count.total,
            day: count.day,
            in_day: count.in_day,
            second: count.second,
            in_second: count.in_second,
            last_ms: count.last_ms,
        };
        self.locked().iter().map(standing).collect()
    }

    /// The uses that several counted, together and as they stand at this time.
    pub(crate) fn summed(uses: impl IntoIterator<Item = Standing>, calendar: &Calendar, now_ms: u64) -> Self {
        let mut counts: HashMap<Mark, Count> = HashMap::new();
        for Standing { mark, total, day, in_day, second, in_second, last_ms } in uses {
            let mut one = Count { second, in_second, day, in_day, total, last_ms };
            let one = one.at(calendar, now_ms);
            let all = counts.entry(mark).or_default().at(calendar, now_ms);
            all.in_second = all.in_second.saturating_add(one.in_second);
            all.in_day += one.in_day;
            all.total += one.total;
            all.last_ms = all.last_ms.max(one.last_ms);
        }
        Self { counts: Mutex::new(counts) }
    }

    /// How much of a grant is used at this time.
    pub fn of(&self, mark: &Mark, calendar: &Calendar, now_ms: u64) -> Used {
        let mut counts = self.locked();
        let Some(count) = counts.get_mut(mark) else { return Used::default() };
        let count = count.at(calendar, now_ms);
        Used { in_second: count.in_second, today: count.in_day, total: count.total, last_ms: count.last_ms }
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, HashMap<Mark, Count>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Uses read back from the journal, the newest first.
#[derive(Debug)]
pub(crate) struct Recalled {
    kind: Kind,
    counts: HashMap<Mark, Count>,
    /// Entries before this index are counted already.
    from_index: u64,
    calendar: Calendar,
    today: i64,
    /// Before this time nothing counts for today.
    since_ms: u64,
}

impl Recalled {
    /// Nothing yet: what is older than a day and than `saved` is counted there.
    pub(crate) fn starting(kind: Kind, saved: &Saved, calendar: &Calendar, now_ms: u64) -> Self {
        let today = calendar.day_of(now_ms);
        let count = |(mark, counted): (&Mark, &saved::Counted)| {
            let count = Count { day: today, total: counted.total, last_ms: counted.last_ms, ..Count::default() };
            (*mark, count)
        };
        Self {
            kind,
            counts: saved.of(kind).iter().map(count).collect(),
            from_index: saved.size(),
            calendar: calendar.clone(),
            today,
            since_ms: calendar.begin_of(today).saturating_sub(DISORDER_MS),
        }
    }

    /// From here on another log is read, whose entries stand behind `base`; `saved` says what its first ones amount to.
    pub(crate) fn begin_log(&mut self, saved: &Saved, base: u64) {
        for (mark, counted) in saved.of(self.kind) {
            let count = self.counts.entry(*mark).or_insert(Count { day: self.today, ..Count::default() });
            count.total += counted.total;
            count.last_ms = count.last_ms.max(counted.last_ms);
        }
        self.from_index = base + saved.size();
    }

    /// Takes the next older record; breaks where older ones do not matter.
    pub(crate) fn take(&mut self, head: &RecordHead) -> ControlFlow<()> {
        self.take_marked(head, head.grant)
    }

    /// The same, counting under another mark of the record.
    fn take_marked(&mut self, head: &RecordHead, mark: Option<Mark>) -> ControlFlow<()> {
        let is_new = head.first_index >= self.from_index;
        if !is_new && head.at_ms < self.since_ms {
            return ControlFlow::Break(());
        }
        if let (Some(kind), Some(mark)) = (side_of(head), mark)
            && kind == self.kind
        {
            let count = self.counts.entry(mark).or_insert(Count { day: self.today, ..Count::default() });
            let uses = uses_of(head);
            count.in_day += if self.calendar.day_of(head.at_ms) == self.today { uses } else { 0 };
            count.total += if is_new { uses } else { 0 };
            count.last_ms = count.last_ms.max(head.at_ms);
        }
        ControlFlow::Continue(())
    }

    /// What was used, as far as it was read back.
    pub(crate) fn standing(&self) -> Vec<Standing> {
        Usage { counts: Mutex::new(self.counts.clone()) }.standing()
    }

    /// What was used.
    pub(crate) fn into_usage(self) -> Usage {
        Usage { counts: Mutex::new(self.counts) }
    }
}

#[cfg(test)]
mod tests;
