//! Two nodes of one department over a real PostgreSQL: one answer to a question, one count for a quota, whatever comes between.

use std::sync::Arc;

use proto::{exchange::v1::Envelope, registry::v1::Quota};
use trust::{calendar::Calendar, envelope, refusal::Code};

use super::*;
use crate::{
    budget::{Guess, GuessBudget},
    postgres_server::{self, Scratch},
};

const KEY: [u8; 16] = [7; 16];
const MARK: [u8; 16] = [9; 16];
const NOW_MS: u64 = 1_795_000_000_000;

fn node(scratch: &Scratch, node: &str) -> Shared {
    over(scratch, "civil-affairs", node, Vec::new())
}

fn over(scratch: &Scratch, department: &str, node: &str, own: Vec<Standing>) -> Shared {
    let me = trust::fixture::party(department);
    let database = Database::parse(&scratch.url()).unwrap();
    let shared = Shared::new(database, me, node.parse().unwrap(), own, &BudgetKey::new([7; 32]));
    Shared { patience: Duration::from_millis(300), ..shared }
}

fn digest(number: u8) -> Digest {
    Digest::new([number; 32])
}

fn answer(text: &str) -> wire::Signed {
    envelope::signed(Envelope { payload: text.into(), ..Envelope::default() })
}

async fn claim(shared: &Shared) -> Result<Claim, Error> {
    shared.claim_request(&KEY, &digest(1)).await
}

fn quota(total: u64) -> Option<Quota> {
    Some(Quota { total, ..Quota::default() })
}

#[tokio::test]
async fn who_claims_answers_and_everybody_gets_that_answer() {
    let Some(scratch) = postgres_server::scratch("shared::tests::who_claims_answers").await else { return };
    let (one, two) = (node(&scratch, "1"), node(&scratch, "2"));
    let claims = tokio::join!(claim(&one), claim(&two));
    let (mine, other, elsewhere) = match claims {
        (Ok(Claim::Mine), elsewhere) => (&one, &two, elsewhere),
        (elsewhere, Ok(Claim::Mine)) => (&two, &one, elsewhere),
        neither => panic!("{neither:?}"),
    };
    assert!(matches!(elsewhere, Err(Error::Elsewhere)), "{elsewhere:?}");
    assert!(matches!(other.keep_answer(&KEY, &answer("theirs")).await, Err(Error::Elsewhere)));
    assert_eq!(claim(mine).await.unwrap(), Claim::Mine, "its own, from before a crash");
    // Whoever waits gets it as soon as it is there.
    let patient = Shared { patience: Duration::from_secs(60), ..node(&scratch, other.node.as_str()) };
    let ours = answer("ours");
    let (waited, kept) = tokio::join!(claim(&patient), mine.keep_answer(&KEY, &ours));
    assert_eq!((waited.unwrap(), kept.unwrap()), (Claim::Answered(answer("ours")), None));
    for node in [&one, &two] {
        assert_eq!(claim(node).await.unwrap(), Claim::Answered(answer("ours")));
        assert_eq!(node.claim_request(&KEY, &digest(2)).await.unwrap(), Claim::OtherBytes);
        assert_eq!(node.keep_answer(&KEY, &answer("another")).await.unwrap(), Some(answer("ours")));
    }
    assert_eq!(mine.keep_answer(&KEY, &answer("ours")).await.unwrap(), None, "once more is no other");

    one.forget(NOW_MS).await.unwrap();
    assert!(matches!(claim(&two).await.unwrap(), Claim::Answered(_)));
    scratch.sql(&format!("UPDATE errand_node.requests SET claimed_ms = claimed_ms - {KEPT_MS}"));
    one.forget(NOW_MS).await.unwrap();
    assert_eq!(claim(&two).await.unwrap(), Claim::Mine, "after a day it is forgotten");
}

#[tokio::test]
async fn who_does_not_answer_in_time_is_followed_by_another_and_counts_once() {
    let Some(scratch) = postgres_server::scratch("shared::tests::who_does_not_answer_in_time").await else { return };
    let (one, two) = (node(&scratch, "1"), node(&scratch, "2"));
    assert_eq!(claim(&one).await.unwrap(), Claim::Mine);
    let take = async |node: &Shared| node.take_use(&KEY, &MARK, quota(1).as_ref(), &Calendar::default(), NOW_MS).await;
    assert!(take(&one).await.unwrap().is_ok());
    scratch.sql(&format!("UPDATE errand_node.requests SET claimed_ms = claimed_ms - {LEASE_MS} - 1"));
    assert_eq!(claim(&two).await.unwrap(), Claim::Mine);
    assert!(take(&two).await.unwrap().is_ok(), "it was counted already");
    assert!(matches!(take(&one).await, Err(Error::Elsewhere)), "the question is not its own any more");
    assert!(matches!(one.keep_answer(&KEY, &answer("late")).await, Err(Error::Elsewhere)));
    assert_eq!(two.keep_answer(&KEY, &answer("the one")).await.unwrap(), None);
    assert_eq!(one.keep_answer(&KEY, &answer("late")).await.unwrap(), Some(answer("the one")));
    assert_eq!(one.uses(&Calendar::default(), NOW_MS).await.unwrap().of(&MARK, &Calendar::default(), NOW_MS).total, 1);
}

#[tokio::test]
async fn what_an_officer_may_ask_is_counted_by_all_nodes_together_and_each_question_once() {
    let Some(scratch) = postgres_server::scratch("shared::tests::what_an_officer_may_ask").await else { return };
    let (one, two) = (node(&scratch, "1"), node(&scratch, "2"));
    let calendar = Calendar::default();
    let day = Quota { per_day: 5, ..Quota::default() };
    let take = async |node: &Shared, key: u8, now_ms: u64, wanted: u32| {
        assert_eq!(node.claim_request(&[key; 16], &digest(1)).await.unwrap(), Claim::Mine);
        let (taken, refusal) = node.take_officer(&[key; 16], &MARK, &day, &calendar, now_ms, wanted).await.unwrap();
        (taken, refusal.map(|refusal| (refusal.code, refusal.field)))
    };
    let spent = Some((Code::QuotaExceeded, "officer".to_owned()));
    assert_eq!(take(&one, 1, NOW_MS, 1).await, (1, None));
    assert_eq!(take(&one, 1, NOW_MS, 1).await, (1, None), "the same question is counted already");
    assert_eq!(take(&two, 2, NOW_MS, 2).await, (2, None));
    // Of a batch as many as are left.
    assert_eq!(take(&one, 3, NOW_MS, 4).await, (2, spent.clone()));
    assert_eq!(take(&two, 4, NOW_MS, 1).await, (0, spent.clone()));
    // A clock that is behind renews nothing, and the next day does; another officer has a count of his own.
    assert_eq!(take(&one, 5, NOW_MS - 86_400_000, 1).await, (0, spent));
    assert_eq!(take(&two, 6, NOW_MS + 86_400_000, 1).await, (1, None));
    let (taken, _) = one.take_officer(&[5; 16], &[8; 16], &day, &calendar, NOW_MS, 1).await.unwrap();
    assert_eq!(taken, 1);
    assert!(matches!(one.take_officer(&[6; 16], &MARK, &day, &calendar, NOW_MS, 1).await, Err(Error::Elsewhere)));
    // Uses of the grant are another count.
    assert_eq!(one.uses(&calendar, NOW_MS).await.unwrap().of(&MARK, &calendar, NOW_MS).total, 0);
    one.forget(NOW_MS + 4 * 86_400_000).await.unwrap();
    assert_eq!(scratch.sql("SELECT count(*) FROM errand_node.officers"), "0");
}

#[tokio::test]
async fn a_quota_is_one_for_all_nodes_however_they_hurry() {
    let Some(scratch) = postgres_server::scratch("shared::tests::a_quota_is_one_for_all_nodes").await else { return };
    let nodes = [Arc::new(node(&scratch, "1")), Arc::new(node(&scratch, "2")), Arc::new(node(&scratch, "3"))];
    let asking: Vec<_> = (0..30_u8)
        .map(|number| {
            let node = Arc::clone(&nodes[usize::from(number) % 3]);
            tokio::spawn(async move {
                let key = [number; 16];
                assert_eq!(node.claim_request(&key, &digest(1)).await.unwrap(), Claim::Mine);
                node.take_use(&key, &MARK, quota(5).as_ref(), &Calendar::default(), NOW_MS).await.unwrap()
            })
        })
        .collect();
    let mut taken = 0;
    for asked in asking {
        match asked.await.unwrap() {
            Ok(()) => taken += 1,
            Err(refusal) => assert_eq!(refusal.code, Code::QuotaExceeded),
        }
    }
    assert_eq!(taken, 5);
    let used = nodes[1].uses(&Calendar::default(), NOW_MS).await.unwrap();
    assert_eq!(used.of(&MARK, &Calendar::default(), NOW_MS).total, 5);

    // A clock that is behind does not renew what is used up in a second or on a day.
    let mut key = [100; 16];
    for (quota, allowed) in [(Quota { per_second: 1, ..Quota::default() }, false), (Quota::default(), true)] {
        key[0] += 1;
        assert_eq!(nodes[2].claim_request(&key, &digest(1)).await.unwrap(), Claim::Mine);
        let behind_ms = NOW_MS - 2000;
        let taken = nodes[2].take_use(&key, &MARK, Some(&quota), &Calendar::default(), behind_ms).await.unwrap();
        assert_eq!(taken.is_ok(), allowed, "{taken:?}");
    }
}

#[tokio::test]
async fn what_the_evidence_shows_is_brought_into_a_database_that_has_less() {
    let Some(scratch) = postgres_server::scratch("shared::tests::what_the_evidence_shows").await else { return };
    let own = |total: u64, in_day: u64| Standing {
        mark: MARK,
        total,
        day: Calendar::default().day_of(NOW_MS),
        in_day,
        second: 0,
        in_second: 0,
        last_ms: NOW_MS,
    };
    let used = async |node: Shared| {
        let used = node.uses(&Calendar::default(), NOW_MS).await.unwrap().of(&MARK, &Calendar::default(), NOW_MS);
        (used.total, used.today)
    };
    assert_eq!(used(over(&scratch, "civil-affairs", "1", vec![own(3, 2)])).await, (3, 2));
    assert_eq!(used(over(&scratch, "civil-affairs", "2", vec![own(4, 1)])).await, (7, 3));
    assert_eq!(used(over(&scratch, "civil-affairs", "1", vec![own(2, 1)])).await, (7, 3), "less is no news");
    let other = over(&scratch, "housing", "1", Vec::new()).check().await.unwrap_err().to_string();
    assert!(other.contains("shared by the nodes of ninghe/civil-affairs"), "{other}");
}

fn guess(tried: u8) -> Vec<Guess> {
    vec![Guess { about: [1; 16], tries: vec![[tried; 8]], per_day: 10, per_year: None, claim: 0 }]
}

#[tokio::test]
async fn a_guess_budget_is_one_for_all_nodes() {
    let Some(scratch) = postgres_server::scratch("shared::tests::a_guess_budget_is_one_for_all_nodes").await else {
        return;
    };
    let nodes = [Arc::new(node(&scratch, "1")), Arc::new(node(&scratch, "2"))];
    let taking: Vec<_> = (0..40_u8)
        .map(|number| {
            let node = Arc::clone(&nodes[usize::from(number) % 2]);
            tokio::spawn(async move { node.take_guesses(vec![guess(number)], NOW_MS).await.unwrap()[0] })
        })
        .collect();
    let mut taken = Vec::new();
    for (number, take) in (0..).zip(taking) {
        match take.await.unwrap() {
            Ok(()) => taken.push(number),
            Err(spent) => assert_eq!(spent.limit, 10),
        }
    }
    assert_eq!(taken.len(), 10);
    // What was tried is free, also at the other node, and what one's own book refuses is refused.
    let again = nodes[1].take_guesses(vec![guess(taken[0]), guess(taken[1]), guess(99)], NOW_MS + 1).await.unwrap();
    assert!(again[0].is_ok() && again[1].is_ok() && again[2].is_err(), "{again:?}");
    let own = Arc::new(crate::budget::memory::MemoryBudget::default());
    let both = SharedBudget { own, shared: Arc::clone(&nodes[0]) };
    let later = NOW_MS + crate::budget::DAY_MS + 1;
    let outcome = both.take_budget((50..70).map(guess).collect(), later).await.unwrap();
    assert_eq!(outcome.iter().filter(|outcome| outcome.is_ok()).count(), 10, "another day");
    nodes[0].forget(later + crate::budget::YEAR_MS).await.unwrap();
    assert_eq!(scratch.sql("SELECT count(*) FROM errand_node.guesses"), "10");

    let other = Shared::new(
        Database::parse(&scratch.url()).unwrap(),
        trust::fixture::party("civil-affairs"),
        "3".parse().unwrap(),
        Vec::new(),
        &BudgetKey::new([8; 32]),
    );
    assert!(other.check().await.unwrap_err().to_string().contains("copy budget/key"));
}

#[tokio::test]
async fn batches_of_many_budgets_at_once_are_charged_at_either_node() {
    let Some(scratch) = postgres_server::scratch("shared::tests::batches_of_many_budgets_at_once").await else {
        return;
    };
    let nodes = [Arc::new(node(&scratch, "1")), Arc::new(node(&scratch, "2"))];
    // Two attributes of ten thousand subjects, of whom each batch has half for itself.
    let about = |subject: u32, attribute: u8| {
        let mut about = [attribute; 16];
        about[..4].copy_from_slice(&subject.wrapping_mul(0x9E37_79B1).to_be_bytes());
        about
    };
    let question = |subject: u32, tried: u8| -> Vec<Guess> {
        let guess = |attribute: u8| Guess {
            about: about(subject, attribute),
            tries: vec![[tried; 8]],
            per_day: 2,
            per_year: None,
            claim: usize::from(attribute),
        };
        vec![guess(0), guess(1)]
    };
    let taking: Vec<_> = (0..4_u32)
        .map(|nth| {
            let node = Arc::clone(&nodes[usize::from(nth % 2 == 1)]);
            let questions: Vec<_> =
                (0..10_000).map(|subject| question(subject + 5_000 * (nth % 2), nth as u8)).collect();
            tokio::spawn(async move { node.take_guesses(questions, NOW_MS).await.unwrap() })
        })
        .collect();
    let mut taken = 0;
    for take in taking {
        taken += take.await.unwrap().iter().filter(|outcome| outcome.is_ok()).count();
    }
    // Two batches are about 0 to 9,999 and two about 5,000 to 14,999: two values each, whoever was first.
    assert_eq!(taken, 15_000 * 2);
    assert_eq!(scratch.sql("SELECT count(*) FROM errand_node.guesses"), "60000");
    for node in &nodes {
        let more = node.take_guesses(vec![question(7_000, 99), question(0, 99), question(20_000, 99)], NOW_MS);
        let more = more.await.unwrap();
        assert!(more[0].is_err() && more[1].is_err() && more[2].is_ok(), "{more:?}");
    }
    // Of a question that is over in its second claim nothing is charged for the first.
    let mut both = question(30_000, 1);
    both[1].tries = vec![[1; 8], [2; 8], [3; 8]];
    let outcome = nodes[0].take_guesses(vec![both, question(30_000, 4), question(30_000, 5)], NOW_MS).await.unwrap();
    assert!(outcome[0].is_err_and(|spent| spent.claim == 1) && outcome[1].is_ok() && outcome[2].is_ok(), "{outcome:?}");
    // A batch takes in several transactions: what it tried in the first counts in the second.
    let mut long = vec![question(40_000, 1)];
    long.extend((50_000..51_200).map(|subject| question(subject, 1)));
    long.extend([question(40_000, 2), question(40_000, 3)]);
    let outcome = nodes[1].take_guesses(long, NOW_MS).await.unwrap();
    assert!(outcome.len() == 1_203 && outcome[..1_202].iter().all(Result::is_ok) && outcome[1_202].is_err());
}

#[tokio::test]
async fn while_the_database_is_away_nothing_is_claimed_or_counted() {
    let Some(mut scratch) = postgres_server::own("shared::tests::while_the_database_is_away").await else { return };
    let shared = node(&scratch, "1");
    scratch.own_server().stop();
    let is_away = |error: &Error| matches!(error, Error::Database(error) if error.is_away());
    assert!(is_away(&claim(&shared).await.unwrap_err()));
    scratch.own_server().run(&[]);
    assert_eq!(claim(&shared).await.unwrap(), Claim::Mine, "a node may start before its database");
    scratch.own_server().stop();
    let taken = shared.take_use(&KEY, &MARK, None, &Calendar::default(), NOW_MS).await;
    assert!(is_away(&taken.unwrap_err()));
    assert!(is_away(&shared.keep_answer(&KEY, &answer("ours")).await.unwrap_err()));
    scratch.own_server().run(&[]);
    let deadline = Instant::now() + Duration::from_secs(60);
    while let Err(error) = shared.check().await {
        assert!(is_away(&error) && Instant::now() < deadline, "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(shared.take_use(&KEY, &MARK, None, &Calendar::default(), NOW_MS).await.unwrap().is_ok());
    assert_eq!(shared.keep_answer(&KEY, &answer("ours")).await.unwrap(), None);
}
