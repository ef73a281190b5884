//! Sequencing: statements are checked, ordered, kept and signed, once each.

use prost::Message as _;
use proto::{
    exchange::v1::Envelope,
    registry::v1::{ItemPublished, statement::Body},
};
use trust::{
    directory::{LARGEST_ENTRY, Object, statement},
    key::Signer as _,
    log::checkpoint::VerifiedCheckpoint,
};

use super::*;
use crate::{
    authority::sealed,
    fixture::{NOW_MS, exchange, founded, key, key_added, log_key, parts, rooms, start},
    ledger::{
        SignedHead,
        memory::{Fault, MemoryLedger},
    },
};

fn opened(checkpoint: &str) -> VerifiedCheckpoint {
    let key = LogKey::new("ninghe/directory".parse().unwrap(), log_key().public_key().as_bytes()).unwrap();
    checkpoint::open(checkpoint.as_bytes(), &key).unwrap()
}

#[tokio::test]
async fn an_accepted_statement_is_covered_by_a_checkpoint_that_both_signatures_verify() {
    let rooms = rooms().await;
    rooms.admit("civil-affairs").await;
    let accepted = rooms.sequencer.submit(key_added("civil-affairs", 3, NOW_MS)).await.unwrap().unwrap();
    assert_eq!(accepted.index, 3);
    let signed = opened(&accepted.checkpoint);
    assert_eq!((signed.checkpoint().size(), signed.time_seconds()), (4, NOW_MS / 1000));
    assert_eq!(signed.checkpoint().root(), rooms.ledger.position().await.unwrap().root);
    assert_eq!(rooms.ledger.checkpoint().await.unwrap().as_deref(), Some(&*accepted.checkpoint));
    assert_eq!(rooms.sequencer.head().size, 4);
}

#[tokio::test]
async fn the_same_statement_again_is_accepted_where_it_stands() {
    let rooms = rooms().await;
    rooms.admit("civil-affairs").await;
    let statement = key_added("civil-affairs", 3, NOW_MS);
    for _ in 0..3 {
        assert_eq!(rooms.sequencer.submit(statement.clone()).await.unwrap().unwrap().index, 3);
    }
    assert_eq!(rooms.ledger.entries().len(), 4);
    // Another statement about the same object is another thing.
    let refusal = rooms.sequencer.submit(key_added("civil-affairs", 3, NOW_MS + 1)).await.unwrap().unwrap_err();
    assert_eq!((refusal.code, refusal.field.as_str()), (Code::StatementOutdated, "predecessor"));
}

#[tokio::test]
async fn what_does_not_count_is_refused_and_changes_nothing() {
    let rooms = rooms().await;
    rooms.admit("civil-affairs").await;
    let good = key_added("civil-affairs", 3, NOW_MS);
    let mut altered = good.clone();
    altered[20] ^= 1;
    let future = key_added("civil-affairs", 3, NOW_MS + 60_001);
    for (entry, code, field) in [
        (b"nothing".to_vec(), Code::MessageMalformed, ""),
        (vec![0; LARGEST_ENTRY + 1], Code::MessageTooLarge, "envelope"),
        (altered, Code::SignatureWrong, ""),
        (future, Code::StatementRefused, "stated_at_ms"),
        (key_added("housing", 3, NOW_MS), Code::StatementNotEntitled, ""),
    ] {
        let refusal = rooms.sequencer.submit(entry).await.unwrap().unwrap_err();
        assert_eq!((refusal.code, refusal.field.as_str()), (code, field), "{refusal}");
    }
    assert_eq!(rooms.ledger.entries().len(), 3);
    let within_the_skew = key_added("civil-affairs", 3, NOW_MS + 60_000);
    assert!(rooms.sequencer.submit(within_the_skew).await.unwrap().is_ok());
}

/// A statement of the department about its item, after the one before, signed by its first key.
fn item_published(item: ItemPublished, before: Option<&[u8]>) -> Vec<u8> {
    let object = Object::Item(item.department.parse().unwrap(), item.item.clone());
    let before = before.map(|entry| {
        let envelope = Envelope::decode(entry).unwrap();
        trust::envelope::digest(&envelope.payload_type, &envelope.payload)
    });
    sealed(&statement(&exchange(), &object, before.as_ref(), NOW_MS, Body::ItemPublished(item)), &key(1))
}

#[tokio::test]
async fn an_item_is_not_taken_in_where_its_papers_lead_in_a_circle_until_a_later_version() {
    let rooms = rooms().await;
    rooms.admit("housing").await;
    let item = |item: &str, asks: &str, issues: &str| {
        let mut made = trust::fixture::item();
        made.item = item.to_owned();
        made.effective_from_ms = NOW_MS;
        made.proofs[0].proof = asks.to_owned();
        made.issues = vec![issues.to_owned()];
        made
    };
    let first = item_published(item("甲", "乙证明", "甲证明"), None);
    let later = ItemPublished { version: 2, effective_from_ms: NOW_MS + 1000, ..item("甲", "户口簿", "甲证明") };
    let later = item_published(later, Some(&first));
    for entry in [first, later] {
        rooms.sequencer.submit(entry).await.unwrap().unwrap();
    }
    let circular = item_published(item("乙", "甲证明", "乙证明"), None);
    let refusal = rooms.sequencer.submit(circular).await.unwrap().unwrap_err();
    assert_eq!((refusal.code, refusal.field.as_str()), (Code::StatementRefused, "proofs"), "{refusal}");
    assert!(refusal.to_string().contains("housing/甲 → 乙证明 → housing/乙"), "{refusal}");
    let dated = ItemPublished { effective_from_ms: NOW_MS + 1000, ..item("乙", "甲证明", "乙证明") };
    rooms.sequencer.submit(item_published(dated, None)).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_quiet_log_signs_anew_and_its_time_never_runs_backwards() {
    let clock = host::clock::MockClock::at(NOW_MS);
    let quick = SequencerParts { checkpoint_interval: Duration::from_millis(5), ..parts(&founded().await, &clock) };
    let (sequencer, task) = Sequencer::start(quick).await.unwrap();
    let mut head = sequencer.watch();
    let running = tokio::spawn(task.run(CancellationToken::new()));
    let first = opened(&head.borrow_and_update().checkpoint);

    clock.set(NOW_MS + 10_000);
    let second = head.wait_for(|head| opened(&head.checkpoint).time_seconds() != first.time_seconds()).await;
    let second = opened(&second.unwrap().checkpoint);
    assert_eq!(second.checkpoint(), first.checkpoint());
    assert_eq!(second.time_seconds(), first.time_seconds() + 10);

    clock.set(NOW_MS - 3_600_000);
    for _ in 0..3 {
        head.changed().await.unwrap();
        assert_eq!(opened(&head.borrow_and_update().checkpoint).time_seconds(), second.time_seconds());
    }
    running.abort();
}

#[tokio::test]
async fn who_is_overtaken_catches_up_and_checks_again() {
    let rooms = rooms().await;
    rooms.admit("civil-affairs").await;
    rooms.ledger.overtake_with(key_added("civil-affairs", 4, NOW_MS));
    let accepted = rooms.sequencer.submit(key_added("civil-affairs", 3, NOW_MS)).await.unwrap().unwrap();
    assert_eq!(accepted.index, 4, "after the statement that was quicker");
    assert_eq!(opened(&accepted.checkpoint).checkpoint().size(), 5);

    // What was quicker may make ours wrong.
    rooms.ledger.overtake_with(key_added("civil-affairs", 5, NOW_MS + 1));
    let refusal = rooms.sequencer.submit(key_added("civil-affairs", 5, NOW_MS)).await.unwrap().unwrap_err();
    assert_eq!(refusal.code, Code::StatementOutdated);
    assert_eq!(rooms.ledger.entries().len(), 6);
}

#[tokio::test]
async fn after_a_fault_nothing_is_acknowledged_and_a_restart_tells_what_is_there() {
    for (fault, size) in [(Fault::Before, 3), (Fault::AfterPersist, 4)] {
        let ledger = founded().await;
        let rooms = start(&ledger).await;
        rooms.admit("civil-affairs").await;
        ledger.fail_next(fault);
        let statement = key_added("civil-affairs", 3, NOW_MS);
        assert!(rooms.sequencer.submit(statement.clone()).await.is_err(), "{fault:?}");
        assert!(rooms.running.await.unwrap().is_err(), "{fault:?}: the process must end");
        assert_eq!(rooms.sequencer.head().size, 3, "{fault:?}: nothing was signed for it");

        let rooms = start(&ledger).await;
        assert_eq!(rooms.sequencer.head().size, size, "{fault:?}");
        let accepted = rooms.sequencer.submit(statement).await.unwrap().unwrap();
        assert_eq!(accepted.index, 3, "{fault:?}: the retry gets what the first try would have got");
    }
}

#[tokio::test]
async fn what_was_submitted_before_the_stop_is_answered() {
    let rooms = rooms().await;
    rooms.admit("civil-affairs").await;
    let pending = rooms.sequencer.submit(key_added("civil-affairs", 3, NOW_MS));
    let (outcome, ()) = tokio::join!(pending, async { rooms.stop.cancel() });
    assert!(outcome.unwrap().is_ok());
    rooms.running.await.unwrap().unwrap();
    assert!(rooms.sequencer.submit(Vec::new()).await.is_err());
}

/// The log commits to its state when that is due and something was said since, and when it is asked.
#[tokio::test]
async fn the_log_commits_to_its_state_at_intervals_and_when_asked() {
    let clock = host::clock::MockClock::at(NOW_MS);
    let ledger = founded().await;
    let quick = SequencerParts { state_interval: Duration::from_millis(5), ..parts(&ledger, &clock) };
    let (sequencer, task) = Sequencer::start(quick).await.unwrap();
    let mut head = sequencer.watch();
    let running = tokio::spawn(task.run(CancellationToken::new()));
    // The clock stands still: the wait is 5 ms of the process's own time.
    head.wait_for(|head| head.size == 3).await.unwrap();
    assert_eq!(sequencer.directory().committed().unwrap().size(), 2);
    // Nothing was said since: asking changes nothing, and no second one comes by itself.
    for _ in 0..3 {
        assert_eq!(sequencer.commit_to_state().await.unwrap(), 2);
    }
    assert_eq!(ledger.entries().len(), 3);
    running.abort();

    let rooms = start(&ledger).await;
    rooms.admit("civil-affairs").await;
    assert_eq!(rooms.sequencer.commit_to_state().await.unwrap(), 4);
    assert_eq!(rooms.sequencer.head().size, 5);
    // Whoever reads the log comes to the same.
    let mut reader = Directory::new(crate::fixture::exchange(), crate::fixture::authority_key().public_key().clone());
    ledger.entries().iter().for_each(|entry| reader.apply(entry).unwrap());
    assert_eq!(reader.committed().unwrap().root(), rooms.sequencer.directory().committed().unwrap().root());
}

/// A registry judges only what it knows: a statement of a later kind is for a later version to take.
#[tokio::test]
async fn a_statement_of_an_unknown_kind_is_not_taken_even_where_readers_would_pass_it_over() {
    let rooms = rooms().await;
    let mut statement = directory::statement(
        &crate::fixture::exchange(),
        &trust::directory::Object::Registry,
        None,
        NOW_MS,
        proto::registry::v1::statement::Body::State(proto::registry::v1::State::default()),
    );
    (statement.object, statement.body, statement.ignorable) = ("future/1".to_owned(), None, true);
    let entry = crate::authority::sealed(&statement, &crate::fixture::authority_key());
    let refusal = rooms.sequencer.submit(entry).await.unwrap().unwrap_err();
    assert_eq!(refusal.code, Code::WireVersionUnsupported);
}

async fn start_fails(ledger: &MemoryLedger, change: impl FnOnce(&mut SequencerParts)) -> String {
    let mut parts = parts(ledger, &host::clock::MockClock::at(NOW_MS));
    change(&mut parts);
    match Sequencer::start(parts).await {
        Ok(_) => panic!("it started"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn a_ledger_that_does_not_lead_to_its_checkpoint_is_not_served() {
    let error = start_fails(&MemoryLedger::default(), |_| {}).await;
    assert!(error.contains("registry init"), "{error}");
    let error = start_fails(&founded().await, |parts| parts.log_keys = LogKeys::new([crate::fixture::key(9)])).await;
    assert!(error.contains("log's key"), "{error}");

    let full = founded().await;
    let rooms = start(&full).await;
    rooms.admit("civil-affairs").await;
    let checkpoint = rooms.sequencer.head().checkpoint.to_string();
    // A backup from before the last checkpoint: signing on would tell two stories.
    let shorter = founded().await;
    shorter.keep_checkpoint(SignedHead::read(checkpoint.clone()).unwrap()).await.unwrap();
    let error = start_fails(&shorter, |_| {}).await;
    assert!(error.contains("signed at size 3"), "{error}");
    // Another history of the same length.
    let other = founded().await;
    start(&other).await.admit("housing").await;
    other.keep_checkpoint(SignedHead::read(checkpoint).unwrap()).await.unwrap();
    let error = start_fails(&other, |_| {}).await;
    assert!(error.contains("signed at size 3"), "{error}");
    // An entry that breaks the rules.
    let wrong = founded().await;
    wrong.append(2, vec![key_added("civil-affairs", 3, NOW_MS)]).await.unwrap();
    let error = start_fails(&wrong, |_| {}).await;
    assert!(error.starts_with("statement 2 of the directory"), "{error}");
}

#[tokio::test]
async fn what_waits_together_is_appended_together_each_checked_against_those_before() {
    let rooms = rooms().await;
    rooms.admit("civil-affairs").await;
    let submitted = (3..9).map(|added| rooms.sequencer.submit(key_added("civil-affairs", added, NOW_MS)));
    // The same key twice: the second comes too late, although both waited together.
    let late = rooms.sequencer.submit(key_added("civil-affairs", 3, NOW_MS + 1));
    let (answers, late) = tokio::join!(futures_join(submitted.collect()), late);
    let indexes: Vec<u64> = answers.into_iter().map(|answer| answer.unwrap().unwrap().index).collect();
    assert_eq!(indexes, (3..9).collect::<Vec<_>>());
    assert_eq!(late.unwrap().unwrap_err().code, Code::StatementOutdated);
    assert_eq!(rooms.ledger.entries().len(), 9);
}

/// All of them, started in this order.
async fn futures_join<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.into_iter().map(Box::pin).collect();
    let mut outputs: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, output) in futures.iter_mut().zip(&mut outputs).filter(|(_, output)| output.is_none()) {
            if let std::task::Poll::Ready(done) = future.as_mut().poll(context) {
                *output = Some(done);
            }
        }
        if outputs.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    outputs.into_iter().flatten().collect()
}

#[tokio::test]
async fn an_append_whose_outcome_is_unknown_is_resolved_by_looking_whether_it_is_there() {
    for fault in [Fault::AwayBefore, Fault::AwayAfterPersist] {
        let rooms = rooms().await;
        rooms.admit("civil-affairs").await;
        rooms.ledger.fail_next(fault);
        // Two statements about one object: after both are in the log, the first is no longer the last about it.
        let added = key_added("civil-affairs", 3, NOW_MS);
        let revoked = crate::fixture::key_revoked("civil-affairs", 3, &added);
        let submitted = [added, revoked].map(|entry| rooms.sequencer.submit(entry));
        let answers = futures_join(submitted.into()).await;
        let indexes: Vec<u64> = answers.into_iter().map(|answer| answer.unwrap().unwrap().index).collect();
        assert_eq!(indexes, [3, 4], "{fault:?}");
        assert_eq!(rooms.ledger.entries().len(), 5, "{fault:?}: neither lost nor doubled");
    }
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_away_the_registry_says_so_and_goes_on_when_it_is_back() {
    let readiness = host::readiness::Readiness::new();
    let ledger = founded().await;
    let clock = host::clock::MockClock::at(NOW_MS);
    let parts = SequencerParts { store: readiness.condition("store"), ..parts(&ledger, &clock) };
    let (sequencer, task) = Sequencer::start(parts).await.unwrap();
    assert!(readiness.is_ready());
    let running = tokio::spawn(task.run(CancellationToken::new()));
    let before = sequencer.head();

    ledger.set_away(true);
    let submitted = sequencer.submit(key_added("civil-affairs", 3, NOW_MS)).await;
    assert_eq!(submitted.unwrap_err(), Stopped::StoreAway);
    assert!(readiness.state().unmet.contains_key("store"));
    assert_eq!(sequencer.head().checkpoint, before.checkpoint, "what was signed is still shown");
    assert!(!running.is_finished());

    ledger.set_away(false);
    readiness.ready().await;
    let refusal = sequencer.submit(key_added("civil-affairs", 3, NOW_MS)).await.unwrap().unwrap_err();
    assert_eq!(refusal.code, Code::StatementNotEntitled, "it is looked at again");
    running.abort();
}

#[tokio::test]
async fn registries_over_one_ledger_show_the_same_and_time_runs_backwards_in_none() {
    let ledger = founded().await;
    let (ahead, behind) = (host::clock::MockClock::at(NOW_MS + 50_000), host::clock::MockClock::at(NOW_MS));
    let quick = |clock| SequencerParts { checkpoint_interval: Duration::from_millis(5), ..parts(&ledger, clock) };
    let (one, task) = Sequencer::start(quick(&ahead)).await.unwrap();
    let first = tokio::spawn(task.run(CancellationToken::new()));
    let (other, task) = Sequencer::start(quick(&behind)).await.unwrap();
    let shown = opened(&other.head().checkpoint);
    assert_eq!(shown.time_seconds(), (NOW_MS + 50_000) / 1000, "a clock that is behind does not take the log back");
    let second = tokio::spawn(task.run(CancellationToken::new()));

    ahead.set(NOW_MS + 90_000);
    let later = |head: &Head| opened(&head.checkpoint).time_seconds() == (NOW_MS + 90_000) / 1000;
    for sequencer in [&one, &other] {
        sequencer.watch().wait_for(later).await.unwrap();
    }
    first.abort();
    second.abort();
}

/// The log's key is lost, and no copy is left: the authority and a new key say so, and whoever followed the log follows on.
#[tokio::test]
async fn a_log_key_that_is_lost_is_replaced_by_the_authoritys_word_and_readers_follow() {
    use crate::{
        fixture::{authority_key, exchange, key},
        replacement::Replacement,
    };
    use trust::{
        directory::chain::RootKeys,
        key::Signer,
        log::checkpoint::{self, LogKey},
    };

    let ledger = founded().await;
    let rooms = start(&ledger).await;
    rooms.admit("civil-affairs").await;
    rooms.stop.cancel();
    rooms.running.await.unwrap().unwrap();
    let mut reader = Directory::new(exchange(), authority_key().public_key().clone());
    ledger.entries().iter().for_each(|entry| reader.apply(entry).unwrap());
    let mut keys = RootKeys::of(&reader).unwrap();
    let new = || key(9);
    let error = start_fails(&ledger, |parts| parts.log_keys = LogKeys::new([new()])).await;
    assert!(error.contains("replace-log"), "{error}");
    // Nobody but the authority can say it.
    let error = start_fails(&ledger, |parts| {
        parts.log_keys = LogKeys::new([new()]);
        parts.replacement = Some(Replacement::new("stolen".into(), new(), key(8)));
    })
    .await;
    assert!(error.contains("cannot be replaced"), "{error}");
    assert_eq!(ledger.entries().len() as u64, reader.size(), "nothing was said");

    let mut parts = parts(&ledger, &host::clock::MockClock::at(NOW_MS));
    parts.log_keys = LogKeys::new([new()]);
    parts.replacement = Some(Replacement::new("the disk broke".into(), new(), authority_key()));
    let (sequencer, _task) = Sequencer::start(parts).await.unwrap();
    for entry in ledger.entries().iter().skip(usize::try_from(reader.size()).unwrap()) {
        keys.follow(entry).unwrap();
        reader.apply(entry).unwrap();
    }
    assert_eq!((keys.log(), reader.log_key()), (new().public_key(), Some(new().public_key())));
    let origin = directory::origin(&exchange()).parse().unwrap();
    let opened = checkpoint::open(
        sequencer.head().checkpoint.as_bytes(),
        &LogKey::new(origin, new().public_key().as_bytes()).unwrap(),
    );
    assert_eq!(opened.unwrap().checkpoint().root(), reader.root());
}
