//! Limits, and what is left of them after restarts, sealing and merging.

use std::{collections::BTreeMap, fs, sync::Arc};

use host::random::SeededRandom;
use proptest::prelude::*;
use trust::subject::Subject;

use super::*;

const NOW_MS: u64 = 1_800_000_000_000;

fn tried(number: u8) -> Tried {
    [number; 8]
}

fn guess(about: u8, tries: &[u8]) -> Guess {
    Guess {
        about: [about; 16],
        tries: tries.iter().copied().map(tried).collect(),
        per_day: 3,
        per_year: Some(6),
        claim: 0,
    }
}

fn open(dir: &Path, sealed_at: usize) -> Book {
    Book::open_sealing(dir, &SeededRandom::new(1), sealed_at, |reason| panic!("{reason}")).unwrap()
}

async fn take(book: &Book, guess: Guess, now_ms: u64) -> Result<(), Spent> {
    book.take_budget(vec![vec![guess]], now_ms).await.unwrap()[0]
}

#[test]
fn each_different_value_costs_one_and_the_same_one_nothing() {
    let known: Vec<(Tried, u64)> = vec![(tried(1), NOW_MS), (tried(2), NOW_MS)];
    assert_eq!(judge(&guess(1, &[1, 2]), &known, NOW_MS), Ok(vec![]));
    assert_eq!(judge(&guess(1, &[3]), &known, NOW_MS), Ok(vec![tried(3)]));
    assert_eq!(judge(&guess(1, &[3, 3, 1]), &known, NOW_MS), Ok(vec![tried(3)]));
    let spent = judge(&guess(1, &[3, 4]), &known, NOW_MS).unwrap_err();
    assert_eq!((spent.limit, spent.in_year, spent.retry_at_ms), (3, false, Some(NOW_MS + DAY_MS)));
    let never = judge(&guess(1, &[3, 4, 5, 6]), &known, NOW_MS).unwrap_err();
    assert_eq!(never.retry_at_ms, None, "more than a day allows at all");
}

#[test]
fn it_says_when_there_is_room_again_and_then_there_is() {
    // Two an hour ago, one now.
    let hour_ms = DAY_MS / 24;
    let known = [(tried(1), NOW_MS - hour_ms), (tried(2), NOW_MS - hour_ms), (tried(3), NOW_MS)];
    let spent = judge(&guess(1, &[4]), &known, NOW_MS).unwrap_err();
    let retry_at_ms = spent.retry_at_ms.unwrap();
    assert_eq!(retry_at_ms, NOW_MS - hour_ms + DAY_MS);
    assert!(judge(&guess(1, &[4]), &known, retry_at_ms - 1).is_err());
    assert!(judge(&guess(1, &[4]), &known, retry_at_ms).is_ok());
    // A year's limit outlasts the day's.
    let known: Vec<(Tried, u64)> = (0..6_u64).map(|nth| (tried(nth as u8), NOW_MS - nth * 2 * DAY_MS)).collect();
    let spent = judge(&guess(1, &[9]), &known, NOW_MS).unwrap_err();
    assert_eq!((spent.in_year, spent.limit), (true, 6));
    assert_eq!(spent.retry_at_ms, Some(NOW_MS - 10 * DAY_MS + YEAR_MS));
    let without_order = Guess { per_year: None, ..guess(1, &[9]) };
    assert!(judge(&without_order, &known, NOW_MS).is_ok());
    // What a clock that was ahead has dated after now counts all the same.
    let known: Vec<(Tried, u64)> = (0..3).map(|nth| (tried(nth), NOW_MS + 5 * DAY_MS)).collect();
    assert!(judge(&guess(1, &[9]), &known, NOW_MS).is_err());
}

#[test]
fn a_refusal_says_which_claim_and_when_and_nothing_else() {
    let spent = Spent { claim: 2, limit: 6, in_year: true, retry_at_ms: Some(NOW_MS) };
    let wire = spent.refusal().to_wire();
    assert_eq!(
        (wire.code.as_str(), wire.field.as_str(), wire.retry_at_ms),
        ("GUESS_BUDGET_SPENT", "claims[2]", NOW_MS)
    );
    assert!(wire.message.ends_with("6 different values in a year for one subject and attribute"), "{}", wire.message);
    assert!(!wire.next_step.is_empty());
}

#[test]
fn hashes_are_the_keys_own_and_no_two_parts_run_together() {
    let subject = |number: &str| Subject::parse("certificate_no", number).unwrap();
    let [housing, other]: [DepartmentId; 2] = ["housing", "taxation"].map(|id| id.parse().unwrap());
    let key = BudgetKey::new([1; 32]);
    let about = key.about(&housing, &subject("A1"), "income");
    assert_eq!(about, BudgetKey::new([1; 32]).about(&housing, &subject("A1"), "income"));
    assert_ne!(about, BudgetKey::new([2; 32]).about(&housing, &subject("A1"), "income"));
    assert_ne!(about, key.about(&other, &subject("A1"), "income"));
    assert_ne!(about, key.about(&housing, &subject("A1"), "incomes"));
    assert_ne!(key.about(&housing, &subject("A1"), "b"), key.about(&housing, &subject("A"), "1b"));
    assert_eq!(format!("{key:?}"), "BudgetKey");
}

#[tokio::test]
async fn what_is_spent_stays_spent_over_restarts_sealed_or_not() {
    for sealed_at in [2, 1000] {
        let dir = tempfile::tempdir().unwrap();
        for day in 0..2_u64 {
            for value in 0..3 {
                let book = open(dir.path(), sealed_at);
                let value = day as u8 * 3 + value;
                assert_eq!(take(&book, guess(1, &[value]), NOW_MS + day * DAY_MS).await, Ok(()), "{value}");
                book.close().await.unwrap();
            }
            let book = open(dir.path(), sealed_at);
            assert!(take(&book, guess(1, &[99]), NOW_MS + day * DAY_MS).await.is_err(), "day {day}");
            assert_eq!(take(&book, guess(2, &[99 - day as u8]), NOW_MS + day * DAY_MS).await, Ok(()), "another budget");
            book.close().await.unwrap();
        }
        let book = open(dir.path(), sealed_at);
        let spent = take(&book, guess(1, &[99]), NOW_MS + 30 * DAY_MS).await.unwrap_err();
        assert_eq!((spent.in_year, spent.retry_at_ms), (true, Some(NOW_MS + YEAR_MS)));
        assert_eq!(take(&book, guess(1, &[0, 4]), NOW_MS + 30 * DAY_MS).await, Ok(()), "tried before");
        assert_eq!(take(&book, guess(1, &[99]), NOW_MS + YEAR_MS).await, Ok(()));
    }
}

#[tokio::test]
async fn a_question_takes_all_or_nothing_and_those_at_once_share() {
    let dir = tempfile::tempdir().unwrap();
    let book = open(dir.path(), 1000);
    // The second claim is over, so the first is not charged either.
    let question = vec![guess(1, &[1]), Guess { claim: 1, ..guess(2, &[1, 2, 3, 4]) }];
    let taken = book.take_budget(vec![question, vec![guess(1, &[2, 3, 4])]], NOW_MS).await.unwrap();
    assert_eq!(taken[0].unwrap_err().claim, 1);
    assert_eq!(taken[1], Ok(()));
    // The same budget twice within one question.
    let question = vec![guess(3, &[1, 2]), guess(3, &[3, 4])];
    assert!(book.take_budget(vec![question], NOW_MS).await.unwrap()[0].is_err());

    let asking: Vec<_> = (0..40_u8)
        .map(|value| {
            let book = book.clone();
            tokio::spawn(async move { take(&book, guess(7, &[value]), NOW_MS).await.is_ok() })
        })
        .collect();
    let mut passed = 0;
    for asked in asking {
        passed += usize::from(asked.await.unwrap());
    }
    assert_eq!(passed, 3, "of forty at once");
}

#[tokio::test]
async fn a_crash_between_two_steps_of_sealing_and_merging_loses_and_doubles_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("budget");
    let book = open(dir.path(), 3);
    for about in 0..9 {
        take(&book, guess(about, &[1, 2, 3]), NOW_MS).await.unwrap();
    }
    book.close().await.unwrap();
    drop(book);
    // A run half written, and one that has become part of a larger one.
    fs::write(folder.join("run-0000000000000000-00000000000000ff.new"), b"half").unwrap();
    let runs: Vec<_> = runs::open(&folder).unwrap();
    let newest = runs.last().unwrap();
    let inside = folder.join(format!("run-{:016x}-{:016x}", newest.last, newest.last));
    drop(runs);
    fs::write(&inside, b"not even a run").unwrap();
    let book = open(dir.path(), 3);
    assert!(!inside.exists());
    for about in 0..9 {
        assert_eq!(take(&book, guess(about, &[1, 2, 3]), NOW_MS).await, Ok(()), "free: they were tried");
        assert!(take(&book, guess(about, &[4]), NOW_MS).await.is_err());
    }
    book.close().await.unwrap();
    drop(book);

    // What is damaged is said, and not taken for an empty budget.
    let run = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let run = run.into_iter().find(|path| path.to_string_lossy().contains("/run-")).unwrap();
    let bytes = fs::read(&run).unwrap();
    fs::write(&run, &bytes[..bytes.len() - 1]).unwrap();
    let opened = Book::open(dir.path(), &SeededRandom::new(1), |_| ());
    assert!(matches!(opened, Err(Error::Damaged { what: "run", .. })), "{opened:?}");
    fs::write(&run, &bytes).unwrap();
    fs::write(folder.join("key"), b"short").unwrap();
    assert!(matches!(Book::open(dir.path(), &SeededRandom::new(1), |_| ()), Err(Error::Damaged { what: "key", .. })));
}

#[tokio::test]
async fn what_is_older_than_a_year_goes_when_runs_are_merged_and_no_sooner() {
    let dir = tempfile::tempdir().unwrap();
    let book = open(dir.path(), 4);
    let mut about = 0;
    for day in [0, 1, 380, 381, 382, 383, 384, 385] {
        for _ in 0..2 {
            take(&book, guess(about, &[1, 2]), NOW_MS + day * DAY_MS).await.unwrap();
            about += 1;
        }
    }
    book.close().await.unwrap();
    let folder = dir.path().join("budget");
    let mut runs = runs::open(&folder).unwrap();
    while let Some((older, newer)) = runs::to_merge(&runs) {
        runs::merge(&folder, &older, &newer, YEAR_MS).unwrap();
        runs = runs::open(&folder).unwrap();
    }
    let kept: u64 = runs.iter().map(|run| run.count).sum();
    assert_eq!(kept, 24, "the first eight of thirty-two are gone");
    let mut found = Vec::new();
    runs.iter().for_each(|run| run.find(&[4; 16], &mut found).unwrap());
    assert_eq!(found.len(), 2);
}

/// What a keeper must do, in the plainest way.
#[derive(Default)]
struct Model(BTreeMap<About, Vec<(Tried, u64)>>);

impl Model {
    fn take(&mut self, guess: &Guess, now_ms: u64) -> bool {
        let known = self.0.entry(guess.about).or_default();
        let live = |at_ms: u64| at_ms + YEAR_MS > now_ms;
        let mut new = guess.tries.clone();
        new.sort_unstable();
        new.dedup();
        new.retain(|tried| !known.iter().any(|(known, at_ms)| known == tried && live(*at_ms)));
        let today = known.iter().filter(|(_, at_ms)| at_ms + DAY_MS > now_ms).count();
        let in_year = known.iter().filter(|(_, at_ms)| live(*at_ms)).count();
        let fits = new.is_empty() || (today + new.len() <= 3 && in_year + new.len() <= 6);
        if fits {
            known.extend(new.into_iter().map(|tried| (tried, now_ms)));
        }
        fits
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]
    #[test]
    fn sealed_merged_and_reopened_it_is_the_same_budget(
        steps in prop::collection::vec((0..6_u8, prop::collection::vec(0..12_u8, 1..4), 0..40_u64, any::<bool>()), 1..60)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let (mut model, mut now_ms) = (Model::default(), NOW_MS);
        let mut book = Arc::new(open(dir.path(), 4));
        for (about, tries, days, reopen) in steps {
            now_ms += days * DAY_MS / 3;
            let guess = guess(about, &tries);
            let taken = runtime.block_on(take(&book, guess.clone(), now_ms)).is_ok();
            prop_assert_eq!(taken, model.take(&guess, now_ms));
            if reopen && days > 30 {
                runtime.block_on(book.close()).unwrap();
                drop(book);
                book = Arc::new(open(dir.path(), 4));
            }
        }
        runtime.block_on(book.close()).unwrap();
    }
}
