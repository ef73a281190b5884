//! Uses of grants: quotas are renewed when they say, and every count survives a restart, with and without the file.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::journal::{Commit, Journal, NewEntry, memory::MemoryJournal};

const GRANT: Mark = [1; 16];
const DAY_MS: u64 = 86_400_000;
const NOW_MS: u64 = 1_790_000_000_000;

fn quota(per_second: u32, per_day: u32, total: u64) -> Option<Quota> {
    Some(Quota { per_second, per_day, total })
}

fn take(usage: &Usage, quota: Option<Quota>, now_ms: u64) -> Result<(), Refusal> {
    usage.take(&GRANT, quota.as_ref(), &Calendar::default(), now_ms)
}

#[test]
fn a_quota_is_renewed_when_it_says() {
    let usage = Usage::default();
    let quota = quota(2, 3, 0);
    assert!(take(&usage, quota, NOW_MS).is_ok() && take(&usage, quota, NOW_MS).is_ok());
    let refusal = take(&usage, quota, NOW_MS).unwrap_err();
    assert_eq!((refusal.code, refusal.retry_at_ms), (Code::QuotaExceeded, Some(NOW_MS + 1000)));
    assert!(take(&usage, quota, NOW_MS + 1000).is_ok());
    let refusal = take(&usage, quota, NOW_MS + 2000).unwrap_err();
    let midnight = refusal.retry_at_ms.unwrap();
    assert_eq!((midnight + 8 * 3_600_000) % DAY_MS, 0, "the profile's day");
    assert!(take(&usage, quota, midnight - 1).is_err());
    assert!(take(&usage, quota, midnight).is_ok());
    let used = usage.of(&GRANT, &Calendar::default(), midnight);
    assert_eq!((used.in_second, used.today, used.total, used.last_ms), (1, 1, 4, midnight));
}

#[test]
fn a_quota_in_all_ends_and_is_not_renewed() {
    let usage = Usage::default();
    let quota = quota(0, 0, 2);
    assert!(take(&usage, quota, NOW_MS).is_ok() && take(&usage, quota, NOW_MS + 400 * DAY_MS).is_ok());
    let refusal = take(&usage, quota, NOW_MS + 800 * DAY_MS).unwrap_err();
    assert_eq!((refusal.code, refusal.retry_at_ms), (Code::QuotaExceeded, None));
    assert!(refusal.detail.contains("2 in all"), "{refusal}");
}

#[test]
fn a_grant_without_a_quota_has_no_end_and_grants_do_not_share() {
    let usage = Usage::default();
    assert!((0..100).all(|_| take(&usage, None, 5).is_ok()));
    assert_eq!(usage.of(&GRANT, &Calendar::default(), 5).total, 100, "and is counted all the same");
    let other = [2; 16];
    assert!(usage.take(&other, quota(1, 0, 0).as_ref(), &Calendar::default(), 5).is_ok());
    assert!(usage.take(&other, quota(1, 0, 0).as_ref(), &Calendar::default(), 5).is_err());
}

#[test]
fn a_mark_is_one_grants_and_one_consumers() {
    let [housing, taxation] = ["housing", "taxation"].map(|id| id.parse::<DepartmentId>().unwrap());
    let [one, other] = [1, 2].map(|byte| Digest::new([byte; 32]));
    assert_eq!(mark(&one, &housing), mark(&one, &housing));
    assert_ne!(mark(&one, &housing), mark(&one, &taxation));
    assert_ne!(mark(&one, &housing), mark(&other, &housing));
}

/// One commit: which use it is, of which grant, when.
#[derive(Clone, Debug)]
struct Use {
    kind: Kind,
    mark: Option<u8>,
    at_ms: u64,
}

fn commit(of: &Use) -> Commit {
    let kinds = match of.kind {
        Kind::Answered => vec![EntryKind::AnswerReceived],
        Kind::Asked => vec![EntryKind::QuestionSent],
        Kind::Given => vec![EntryKind::QuestionReceived, EntryKind::AnswerGiven],
    };
    let entry = |kind| NewEntry { kind, digest: Digest::new([3; 32]), message: Vec::new() };
    Commit {
        at_ms: of.at_ms,
        entries: kinds.into_iter().map(entry).collect(),
        grant: of.mark.map(|byte| [byte; 16]),
        ..Commit::default()
    }
}

async fn journal(uses: &[Use]) -> Arc<MemoryJournal> {
    let journal = Arc::new(MemoryJournal::new());
    for used in uses {
        journal.commit(commit(used)).await.unwrap();
    }
    journal
}

fn recalled(kind: Kind, journal: &dyn Journal, saved: &Saved, now_ms: u64) -> Usage {
    let mut recalled = Recalled::starting(kind, saved, &Calendar::default(), now_ms);
    journal.newest(0, &mut |head| recalled.take(&head)).unwrap();
    recalled.into_usage()
}

fn uses() -> impl Strategy<Value = Vec<Use>> {
    let kind = prop::sample::select(vec![Kind::Answered, Kind::Asked, Kind::Given]);
    let one = (kind, prop::option::of(0..3_u8), 0..3 * DAY_MS).prop_map(|(kind, mark, before)| Use {
        kind,
        mark,
        at_ms: NOW_MS - before,
    });
    prop::collection::vec(one, 0..60).prop_map(|mut uses| {
        uses.sort_by_key(|used| used.at_ms);
        uses
    })
}

proptest! {
    #[test]
    fn a_restart_finds_every_use(uses in uses(), at in 0..60_usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let calendar = Calendar::default();
        let (first, rest) = uses.split_at(at.min(uses.len()));
        let journal = runtime.block_on(journal(first));
        let mut saved = Saved::load(dir.path(), journal.as_ref()).unwrap();
        if saved.advance(journal.as_ref()).unwrap() {
            saved.store(dir.path(), journal.as_ref()).unwrap();
        }
        for used in rest {
            runtime.block_on(journal.commit(commit(used))).unwrap();
        }
        let loaded = Saved::load(dir.path(), journal.as_ref()).unwrap();
        prop_assert_eq!(&loaded, &saved);
        for kind in [Kind::Answered, Kind::Asked, Kind::Given] {
            let with_file = recalled(kind, journal.as_ref(), &loaded, NOW_MS);
            let without = recalled(kind, journal.as_ref(), &Saved::default(), NOW_MS);
            for byte in 0..3 {
                let counted = uses.iter().filter(|used| used.kind == kind && used.mark == Some(byte));
                let today = calendar.day_of(NOW_MS);
                let expected = (
                    counted.clone().filter(|used| calendar.day_of(used.at_ms) == today).count() as u64,
                    counted.clone().count() as u64,
                    counted.map(|used| used.at_ms).max().unwrap_or(0),
                );
                for usage in [&with_file, &without] {
                    let used = usage.of(&[byte; 16], &calendar, NOW_MS);
                    prop_assert_eq!((used.today, used.total, used.last_ms), expected);
                }
            }
        }
    }
}

#[tokio::test]
async fn a_file_of_another_log_counts_for_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let used = |at_ms| Use { kind: Kind::Given, mark: Some(1), at_ms };
    let long = journal(&[used(1), used(2), used(3)]).await;
    let mut saved = Saved::load(dir.path(), long.as_ref()).unwrap();
    assert!(saved.advance(long.as_ref()).unwrap());
    saved.store(dir.path(), long.as_ref()).unwrap();
    assert!(!saved.advance(long.as_ref()).unwrap(), "nothing new");
    // A log restored from an older backup is shorter; one of another node has other entries.
    let short = journal(&[used(1)]).await;
    assert_eq!(Saved::load(dir.path(), short.as_ref()).unwrap(), Saved::default());
    let other = journal(&vec![Use { kind: Kind::Asked, mark: None, at_ms: 1 }; 6]).await;
    assert_eq!(Saved::load(dir.path(), other.as_ref()).unwrap(), Saved::default());
    std::fs::write(dir.path().join("usage.json"), b"{").unwrap();
    assert_eq!(Saved::load(dir.path(), long.as_ref()).unwrap(), Saved::default());
}
