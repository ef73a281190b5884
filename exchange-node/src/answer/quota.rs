//! How many questions a grant allows, per second and per day, and simple rates for what strangers can cause. In memory:
//! a restart begins the day's count anew, which errs on the side of answering. Out of scope: quotas in all, which need
//! the evidence's own count.

use std::{collections::HashMap, sync::Mutex};

use proto::registry::v1::Quota;
use trust::{
    ids::Digest,
    refusal::{Code, Refusal},
};

use super::lock;

/// What each grant has used.
#[derive(Debug, Default)]
pub(super) struct Quotas {
    used: Mutex<HashMap<Digest, Used>>,
}

#[derive(Debug, Default)]
struct Used {
    second: u64,
    in_second: u32,
    day: u64,
    in_day: u32,
}

impl Quotas {
    /// Takes one question from the grant's quota.
    pub(super) fn take(&self, grant: &Digest, quota: Option<&Quota>, now_ms: u64) -> Result<(), Refusal> {
        let Some(quota) = quota.filter(|quota| quota.per_second > 0 || quota.per_day > 0) else { return Ok(()) };
        let mut used = lock(&self.used);
        let used = used.entry(*grant).or_default();
        let (second, day) = (now_ms / 1000, (now_ms + EAST_MS) / DAY_MS);
        if used.second != second {
            (used.second, used.in_second) = (second, 0);
        }
        if used.day != day {
            (used.day, used.in_day) = (day, 0);
        }
        let exceeded = |field: &str, retry_at_ms: u64| {
            Err(Refusal::new(Code::QuotaExceeded).at("grant").because(field).retry_at(retry_at_ms))
        };
        if quota.per_day > 0 && used.in_day >= quota.per_day {
            return exceeded("per day", ((day + 1) * DAY_MS).saturating_sub(EAST_MS));
        }
        if quota.per_second > 0 && used.in_second >= quota.per_second {
            return exceeded("per second", (second + 1) * 1000);
        }
        used.in_second += 1;
        used.in_day += 1;
        Ok(())
    }
}

/// A day of the quota is a calendar day where the departments are, UTC+8.
const EAST_MS: u64 = 8 * 3_600_000;
const DAY_MS: u64 = 24 * 3_600_000;

/// A rate for each name.
#[derive(Debug)]
pub(super) struct PerSecond {
    most: u32,
    taken: Mutex<(u64, HashMap<Box<str>, u32>)>,
}

impl PerSecond {
    pub(super) fn new(most: u32) -> Self {
        Self { most, taken: Mutex::default() }
    }

    /// Whether the name has one left in this second.
    pub(super) fn take(&self, name: &str, now_ms: u64) -> bool {
        let mut taken = lock(&self.taken);
        let (second, counts) = &mut *taken;
        if *second != now_ms / 1000 {
            *second = now_ms / 1000;
            counts.clear();
        }
        match counts.get_mut(name) {
            Some(count) => {
                *count = count.saturating_add(1);
                *count <= self.most
            }
            None => {
                counts.insert(name.into(), 1);
                self.most > 0
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRANT: Digest = Digest::new([1; 32]);

    #[test]
    fn a_quota_is_renewed_when_it_says() {
        let quotas = Quotas::default();
        let quota = Quota { per_second: 2, per_day: 3, total: 0 };
        let take = |now_ms| quotas.take(&GRANT, Some(&quota), now_ms);
        let now_ms = 1_790_000_000_000;
        assert!(take(now_ms).is_ok() && take(now_ms).is_ok());
        let refusal = take(now_ms).unwrap_err();
        assert_eq!((refusal.code, refusal.retry_at_ms), (Code::QuotaExceeded, Some(now_ms + 1000)));
        assert!(take(now_ms + 1000).is_ok());
        let refusal = take(now_ms + 2000).unwrap_err();
        let midnight = refusal.retry_at_ms.unwrap();
        assert_eq!((midnight + EAST_MS) % DAY_MS, 0);
        assert!(take(midnight - 1).is_err());
        assert!(take(midnight).is_ok());
    }

    #[test]
    fn a_grant_without_a_quota_has_no_end_and_grants_do_not_share() {
        let quotas = Quotas::default();
        let quota = Quota { per_second: 1, per_day: 0, total: 0 };
        assert!((0..100).all(|_| quotas.take(&GRANT, None, 5).is_ok()));
        assert!(quotas.take(&GRANT, Some(&quota), 5).is_ok());
        assert!(quotas.take(&GRANT, Some(&quota), 5).is_err());
        assert!(quotas.take(&Digest::new([2; 32]), Some(&quota), 5).is_ok());
    }

    #[test]
    fn a_rate_is_each_names_own() {
        let rate = PerSecond::new(2);
        assert!(rate.take("a", 0) && rate.take("a", 0) && !rate.take("a", 999));
        assert!(rate.take("b", 999));
        assert!(rate.take("a", 1000));
    }
}
