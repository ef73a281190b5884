//! The journal on disk: across restarts, months and faults; with damage; and beside its double, which must behave alike.

use std::{
    fs,
    path::Path,
    sync::{Mutex, PoisonError},
};

use host::{
    clock::MockClock,
    committer::{CommitPoint, Faults},
    random::{Random, SeededRandom},
};
use proptest::prelude::*;
use prost::Message as _;
use proto::exchange::v1 as wire;
use std::sync::Arc;
use trust::{
    envelope,
    key::{PublicKey, SigningKey},
    log::{hash::Hash, proof::verify_inclusion},
};

use super::{embedded::OnFailure, month_store::MonthStore, *};

mod damage;
mod double;

/// 2026-11-23T00:00:00Z.
const NOVEMBER: u64 = 1_795_392_000_000;
/// 2026-12-01T00:00:00Z.
const DECEMBER: u64 = 1_796_083_200_000;
/// 2027-01-02T00:00:00Z.
const JANUARY: u64 = 1_798_848_000_000;

fn message(text: &str) -> (Vec<u8>, Digest) {
    let envelope = wire::Envelope { payload: text.into(), payload_type: "text".to_owned(), signatures: vec![] };
    let signed = envelope::signed(envelope);
    let digest = envelope::digest_of(&signed).unwrap();
    (signed.encode_to_vec(), digest)
}

fn new_entry(kind: EntryKind, text: &str) -> NewEntry {
    let (message, digest) = message(text);
    NewEntry { kind, digest, message }
}

/// What a provider commits: a question and its answer, with what finds them again.
fn answered(at_ms: u64, text: &str) -> Commit {
    let entries = vec![
        new_entry(EntryKind::QuestionReceived, &format!("question {text}")),
        new_entry(EntryKind::AnswerGiven, &format!("answer {text}")),
    ];
    let request = RequestMark { key: message(text).1.as_bytes()[..16].try_into().unwrap(), digest: entries[0].digest };
    Commit { at_ms, entries, request: Some(request), ..Commit::default() }
}

fn one(at_ms: u64, text: &str) -> Commit {
    Commit { at_ms, entries: vec![new_entry(EntryKind::Outcome, text)], ..Commit::default() }
}

fn quiet() -> OnFailure {
    Arc::new(|_| ())
}

fn open_at(dir: &Path, now_ms: u64) -> Result<SledJournal, JournalError> {
    SledJournal::open(dir, Arc::new(SeededRandom::new(now_ms)), &MockClock::at(now_ms), quiet())
}

fn open(dir: &Path) -> SledJournal {
    open_at(dir, NOVEMBER).unwrap()
}

async fn close(journal: SledJournal) {
    journal.close().await.unwrap();
}

/// The months' stores while nobody has the journal open.
fn month_store(dir: &Path, month: &str) -> MonthStore {
    MonthStore::open(month.parse().unwrap(), &dir.join("journal").join(month), 1 << 20).unwrap()
}

fn assert_proved(journal: &dyn Journal, index: u64, size: u64, root: &Hash) {
    let stored = journal.entry(index).unwrap().unwrap();
    let path = journal.inclusion(index, size).unwrap();
    verify_inclusion(&stored.entry.leaf(), index, size, &path, root).unwrap();
}

#[tokio::test]
async fn what_was_committed_reads_back_and_is_proved_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    assert_eq!(journal.head(), (0, trust::log::hash::empty_root()));
    assert_eq!(journal.entry(0).unwrap(), None);
    let first = journal.commit(answered(NOVEMBER, "one")).await.unwrap();
    let outcome = Commit { about: Some(1), idempotency: Some([7; 16]), ..one(NOVEMBER + 5, "two") };
    let second = journal.commit(outcome).await.unwrap();
    assert_eq!((first.first_index, second.first_index), (0, 2));
    assert_eq!(first.receipts.iter().map(|receipt| receipt.index()).collect::<Vec<_>>(), [0, 1]);

    let (size, root) = journal.head();
    let check = |journal: &SledJournal| {
        assert_eq!(journal.head(), (size, root));
        assert_eq!((journal.size(), journal.root()), (3, root));
        let stored = journal.entry(1).unwrap().unwrap();
        assert_eq!((stored.index, stored.at_ms, stored.about, stored.companions.clone()), (1, NOVEMBER, None, 0..2));
        let (bytes, digest) = message("answer one");
        assert_eq!((stored.entry.kind, stored.entry.envelope), (EntryKind::AnswerGiven, digest));
        assert_eq!(stored.message.unwrap(), bytes);
        assert!(first.receipts[1].fits(&stored.entry) && !first.receipts[0].fits(&stored.entry));
        assert_eq!(journal.entry(2).unwrap().unwrap().about, Some(1));
        assert_eq!(journal.entry(3).unwrap(), None);
        (0..3).for_each(|index| assert_proved(journal, index, 3, &root));
        assert_eq!(journal.verify().unwrap(), Verified { entries: 3, root, without_message: 0 });
    };
    check(&journal);
    close(journal).await;
    let journal = open(dir.path());
    check(&journal);

    let tail = journal.tail(0, 10).unwrap();
    assert_eq!(tail.len(), 2);
    assert_eq!(tail[0].request, answered(NOVEMBER, "one").request);
    assert_eq!(tail[0].kinds, [EntryKind::QuestionReceived, EntryKind::AnswerGiven]);
    assert_eq!((tail[1].first_index, tail[1].about, tail[1].idempotency), (2, Some(1), Some([7; 16])));
    assert_eq!(journal.tail(NOVEMBER + 5, 10).unwrap(), tail[1..]);
    assert_eq!(journal.tail(0, 1).unwrap(), tail[1..]);
    assert_eq!(journal.tail(0, 0).unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_get_places_of_their_own_and_a_restart_goes_on_where_they_ended() {
    let dir = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    for round in 0..3 {
        let journal = open(dir.path());
        // So many that a group's heads need more than one value.
        let tasks: Vec<_> = (0..64)
            .map(|task| {
                let journal = journal.clone();
                tokio::spawn(async move {
                    let mut made = Vec::new();
                    for count in 0..6 {
                        let text = format!("{round}/{task}/{count}");
                        let committed = journal.commit(answered(NOVEMBER, &text)).await.unwrap();
                        made.push((committed.first_index, text, committed.receipts));
                    }
                    made
                })
            })
            .collect();
        for task in tasks {
            expected.extend(task.await.unwrap());
        }
        close(journal).await;
    }
    expected.sort_by_key(|(index, ..)| *index);
    let journal = open(dir.path());
    assert_eq!(journal.size(), 3 * 64 * 6 * 2);
    let (size, root) = journal.head();
    for (place, (index, text, receipts)) in expected.iter().enumerate() {
        assert_eq!(*index, 2 * place as u64);
        let stored = journal.entry(index + 1).unwrap().unwrap();
        assert_eq!(stored.message.unwrap(), message(&format!("answer {text}")).0);
        assert!(receipts[1].fits(&stored.entry));
        assert_proved(&journal, *index, size, &root);
    }
    assert_eq!(journal.verify().unwrap().entries, size);
    assert_eq!(journal.tail(0, usize::MAX).unwrap().len(), expected.len());
}

#[tokio::test]
async fn a_new_month_gets_a_database_and_a_key_of_its_own_and_the_log_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let mut roots = Vec::new();
    // Tiles are finished in each month, some of them begun in the one before.
    for (at_ms, count) in [(DECEMBER - 1, 300), (DECEMBER, 300), (JANUARY, 60)] {
        for number in 0..count {
            journal.commit(one(at_ms, &format!("{at_ms} {number}"))).await.unwrap();
        }
        roots.push(journal.head());
    }
    // A clock that goes back does not bring a month back.
    let late = journal.commit(one(NOVEMBER, "late")).await.unwrap().first_index;
    assert_eq!(late, 660);
    let months = ["2026-11", "2026-12", "2027-01"];
    let check = |journal: &SledJournal| {
        let (size, root) = journal.head();
        for index in 0..size {
            assert_proved(journal, index, size, &root);
        }
        for (size, root) in &roots {
            (0..*size).step_by(37).for_each(|index| assert_proved(journal, index, *size, root));
        }
        assert_eq!(journal.verify().unwrap(), Verified { entries: size, root, without_message: 0 });
        let tail = journal.tail(DECEMBER, usize::MAX).unwrap();
        assert_eq!(tail.len(), 360);
        assert_eq!((tail[0].first_index, tail[359].first_index), (300, 659));
        assert_eq!(journal.tail(0, 400).unwrap()[0].first_index, journal.size() - 400);
    };
    check(&journal);
    close(journal).await;
    for month in months {
        assert!(dir.path().join("journal").join(month).join("db").exists());
        assert_eq!(fs::read(dir.path().join("keys/months").join(format!("{month}.key"))).unwrap().len(), 32);
    }
    // The calendar has not caught up with the journal: it stays in its last month.
    let journal = open_at(dir.path(), NOVEMBER).unwrap();
    check(&journal);
    close(journal).await;
    // And a month that begins while nobody commits begins at the start.
    let journal = open_at(dir.path(), JANUARY + 40 * 86_400_000).unwrap();
    check(&journal);
    assert!(dir.path().join("journal/2027-02/db").exists());
    assert_eq!(journal.commit(one(JANUARY, "in the new month")).await.unwrap().first_index, 661);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_month_begins_under_load_without_losing_anybody() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let tasks: Vec<_> = (0..16)
        .map(|task| {
            let journal = journal.clone();
            tokio::spawn(async move {
                for count in 0..30_u64 {
                    let at_ms = DECEMBER - 15 + count;
                    journal.commit(answered(at_ms, &format!("{task}/{count}"))).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(journal.size(), 16 * 30 * 2);
    assert_eq!(journal.verify().unwrap().entries, 960);
    let list = journal.tail(0, usize::MAX).unwrap();
    assert!(list.windows(2).all(|pair| pair[0].first_index + 2 == pair[1].first_index));
}

#[tokio::test]
async fn commits_that_arrive_together_begin_a_month_once_and_it_may_begin_with_a_tile() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    for number in 0..64 {
        let entries = vec![new_entry(EntryKind::Outcome, &number.to_string()); 4];
        journal.commit(Commit { at_ms: NOVEMBER, entries, ..Commit::default() }).await.unwrap();
    }
    // On one thread: all three have seen that the month is over before the first can begin the next.
    let [one, two, three] = ["one", "two", "three"].map(|text| journal.commit(answered(DECEMBER, text)));
    let (one, two, three) = tokio::join!(one, two, three);
    let mut places = [one, two, three].map(|committed| committed.unwrap().first_index);
    places.sort_unstable();
    assert_eq!(places, [256, 258, 260]);
    let (size, root) = journal.head();
    (0..size).for_each(|index| assert_proved(&journal, index, size, &root));
    assert_eq!(journal.verify().unwrap().entries, 262);
}

#[tokio::test]
async fn a_month_that_was_opened_and_not_begun_is_begun_by_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    journal.commit(answered(NOVEMBER, "one")).await.unwrap();
    close(journal).await;
    drop(month_store(dir.path(), "2026-12"));
    // The calendar is still in November, or already in December: both go on.
    let journal = open_at(dir.path(), NOVEMBER).unwrap();
    assert_eq!(journal.commit(answered(DECEMBER, "two")).await.unwrap().first_index, 2);
    close(journal).await;
    let journal = open_at(dir.path(), DECEMBER).unwrap();
    assert_eq!(journal.verify().unwrap().entries, 4);
}

#[tokio::test]
async fn destroying_a_months_key_takes_its_messages_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    for number in 0..5 {
        journal.commit(answered(NOVEMBER, &format!("november {number}"))).await.unwrap();
    }
    journal.commit(answered(DECEMBER, "december")).await.unwrap();
    let (size, root) = journal.head();
    let before = journal.entry(3).unwrap().unwrap();
    assert!(before.message.is_some());
    fs::remove_file(dir.path().join("keys/months/2026-11.key")).unwrap();

    let check = |journal: &SledJournal| {
        assert_eq!(journal.entry(3).unwrap().unwrap(), StoredEntry { message: None, ..before.clone() });
        assert!(journal.entry(10).unwrap().unwrap().message.is_some());
        (0..size).for_each(|index| assert_proved(journal, index, size, &root));
        assert_eq!(journal.verify().unwrap(), Verified { entries: 12, root, without_message: 10 });
        assert_eq!(journal.tail(0, 99).unwrap().len(), 6);
    };
    check(&journal);
    close(journal).await;
    check(&open_at(dir.path(), DECEMBER).unwrap());
}

#[tokio::test]
async fn a_journal_restored_without_its_months_key_goes_on_under_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    journal.commit(answered(NOVEMBER, "before")).await.unwrap();
    close(journal).await;
    fs::remove_file(dir.path().join("keys/months/2026-11.key")).unwrap();
    // Another seed: the new key is another.
    let random: Arc<dyn Random> = Arc::new(SeededRandom::new(99));
    let journal = SledJournal::open(dir.path(), random, &MockClock::at(NOVEMBER), quiet()).unwrap();
    journal.commit(answered(NOVEMBER, "after")).await.unwrap();
    assert_eq!(journal.entry(1).unwrap().unwrap().message, None);
    assert_eq!(journal.entry(3).unwrap().unwrap().message.unwrap(), message("answer after").0);
    assert_eq!(journal.verify().unwrap().without_message, 2);
}

#[tokio::test]
async fn messages_longer_than_one_value_are_kept_in_pieces() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    // Around the lengths at which a record fills its pieces exactly.
    let overhead = record::seal(&one(NOVEMBER, ""), &some_key(), &SeededRandom::new(1)).unwrap().payload().len();
    let mut texts = vec!["x".repeat(300_000), String::new()];
    for pieces in [1, 2, 16] {
        texts.extend((0..5).map(|more| "y".repeat(pieces * 4096 - overhead - 4 + more)));
    }
    for text in &texts {
        journal.commit(one(NOVEMBER, text)).await.unwrap();
    }
    close(journal).await;
    let journal = open(dir.path());
    for (index, text) in (0..).zip(&texts) {
        assert_eq!(journal.entry(index).unwrap().unwrap().message.unwrap(), message(text).0);
    }
    assert_eq!(journal.tail(0, 99).unwrap().len(), texts.len());
    assert_eq!(journal.verify().unwrap().entries, texts.len() as u64);
    // More pieces than one byte can number; the most that there may be would take half a minute here.
    let length = 300 * 4096;
    let most = NewEntry { message: vec![0; length], ..new_entry(EntryKind::Outcome, "") };
    journal.commit(Commit { at_ms: NOVEMBER, entries: vec![most], ..Commit::default() }).await.unwrap();
    assert_eq!(journal.entry(texts.len() as u64).unwrap().unwrap().message.unwrap().len(), length);
}

fn some_key() -> month_key::MonthKey {
    let dir = tempfile::tempdir().unwrap();
    let keys = month_key::MonthKeys::open(dir.path().join("months")).unwrap();
    keys.load_or_make("2026-11".parse().unwrap(), &SeededRandom::new(1)).unwrap()
}

#[tokio::test]
async fn a_commit_that_cannot_be_kept_is_refused_and_the_journal_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let empty = journal.commit(Commit { at_ms: NOVEMBER, ..Commit::default() }).await.unwrap_err();
    assert_eq!(empty.to_string(), "a commit has 1 to 4 entries, not 0");
    let long = NewEntry { message: vec![0; MOST_MESSAGE_BYTES + 1], ..new_entry(EntryKind::Outcome, "") };
    let long = journal.commit(Commit { at_ms: NOVEMBER, entries: vec![long], ..Commit::default() }).await.unwrap_err();
    assert!(matches!(long, JournalError::MessagesTooLong { .. }), "{long}");
    assert_eq!(journal.commit(one(NOVEMBER, "good")).await.unwrap().first_index, 0);
    let outside = [journal.inclusion(1, 1), journal.inclusion(0, 2), journal.inclusion(0, 0)];
    assert!(outside.iter().all(|path| matches!(path, Err(JournalError::OutsideLog { durable: 1, .. }))), "{outside:?}");
}

/// Commits until the fault, and tells how many were acknowledged, how many are there afterwards, and what was said.
async fn fails_at(point: CommitPoint) -> (usize, usize, String) {
    let dir = tempfile::tempdir().unwrap();
    let mut groups = 0;
    let faults: Faults = Box::new(move |at| {
        groups += usize::from(at == CommitPoint::BeforeApply);
        at == point && groups > 3
    });
    let said = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&said);
    let on_failure: OnFailure = Arc::new(move |reason| {
        heard.lock().unwrap_or_else(PoisonError::into_inner).push(reason.to_owned());
    });
    let random = Arc::new(SeededRandom::new(1));
    let journal =
        SledJournal::open_with(dir.path(), random, &MockClock::at(NOVEMBER), on_failure, Some(faults)).unwrap();
    let mut acknowledged = Vec::new();
    let stopped = loop {
        match journal.commit(answered(NOVEMBER, &acknowledged.len().to_string())).await {
            Ok(committed) => acknowledged.push(committed),
            Err(error) => break error,
        }
    };
    assert!(matches!(stopped, JournalError::Stopped(_)), "{stopped}");
    assert_eq!(journal.size(), 2 * acknowledged.len() as u64, "what was not acknowledged is not shown");
    assert!(journal.commit(one(NOVEMBER, "more")).await.is_err(), "nothing is acknowledged after a fault");
    assert!(journal.commit(one(DECEMBER, "more")).await.is_err(), "a new month does not hide it");
    assert!(journal.close().await.is_err());
    drop(journal);

    let journal = open(dir.path());
    for (place, committed) in acknowledged.iter().enumerate() {
        let stored = journal.entry(committed.first_index + 1).unwrap().unwrap();
        assert!(committed.receipts[1].fits(&stored.entry));
        assert_eq!(stored.message.unwrap(), message(&format!("answer {place}")).0);
    }
    journal.verify().unwrap();
    let said = said.lock().unwrap().clone();
    assert_eq!(said.len(), 1, "the program must be told, once: {said:?}");
    (acknowledged.len(), usize::try_from(journal.size()).unwrap() / 2, said[0].clone())
}

#[tokio::test]
async fn a_fault_stops_the_journal_and_keeps_what_was_acknowledged() {
    let (acknowledged, kept, said) = fails_at(CommitPoint::BeforeApply).await;
    assert_eq!((acknowledged, kept), (3, 3));
    assert!(said.contains("a fault was injected"), "{said}");
    let (acknowledged, kept, _) = fails_at(CommitPoint::AfterApply).await;
    assert!(acknowledged == 3 && (3..=4).contains(&kept), "{kept}");
    let (acknowledged, kept, _) = fails_at(CommitPoint::AfterPersist).await;
    assert_eq!((acknowledged, kept), (3, 4), "it survives, and nobody was told");
}

#[tokio::test]
async fn a_missing_month_is_named_when_it_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    for (at_ms, text) in [(NOVEMBER, "november"), (DECEMBER, "december")] {
        journal.commit(one(at_ms, text)).await.unwrap();
    }
    close(journal).await;
    let folder = dir.path().join("journal/2026-11");
    fs::rename(&folder, dir.path().join("elsewhere")).unwrap();
    let journal = open_at(dir.path(), DECEMBER).unwrap();
    assert!(journal.entry(1).unwrap().is_some());
    let error = journal.entry(0).unwrap_err();
    let expected = format!("the evidence of 2026-11 is missing: restore {} from the backup", folder.display());
    assert_eq!(error.to_string(), expected);
    assert!(!folder.exists(), "looking must not make an empty one");
    assert_eq!(journal.commit(one(DECEMBER, "on")).await.unwrap().first_index, 2);
}

#[tokio::test]
async fn old_months_are_opened_and_closed_as_they_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open_at(dir.path(), 0).unwrap();
    let month_ms = 31 * 86_400_000;
    for month in 0..6 {
        journal.commit(one(month * month_ms, &format!("month {month}"))).await.unwrap();
    }
    for round in 0..3 {
        for index in (0..6).rev().chain([round, 5 - round]) {
            let stored = journal.entry(index).unwrap().unwrap();
            assert_eq!(stored.message.unwrap(), message(&format!("month {index}")).0);
        }
    }
    // Whoever reads a month keeps it open, however many others are opened meanwhile.
    let mut seen = Vec::new();
    let mut visit = |head: RecordHead| {
        seen.push(head.first_index);
        assert!((0..6).all(|index| journal.entry(index).unwrap().is_some()));
        ControlFlow::Continue(())
    };
    journal.newest(0, &mut visit).unwrap();
    assert_eq!(seen, [5, 4, 3, 2, 1, 0]);
    assert_eq!(journal.verify().unwrap().entries, 6);
}

#[tokio::test]
async fn nothing_readable_is_on_disk_and_keys_are_private() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    for number in 0..50 {
        journal.commit(one(NOVEMBER, &format!("the secret of resident {number}"))).await.unwrap();
    }
    close(journal).await;
    let bytes = fs::read(dir.path().join("journal/2026-11/db")).unwrap();
    assert!(bytes.len() > 50 * 200);
    assert!(!bytes.windows(10).any(|window| window == b"the secret"));
    let error = open_at_with_mode(dir.path(), 0o755).unwrap_err().to_string();
    assert!(error.contains("can be entered by others"), "{error}");
}

fn open_at_with_mode(dir: &Path, mode: u32) -> Result<SledJournal, JournalError> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(dir.join("keys/months"), fs::Permissions::from_mode(mode)).unwrap();
    open_at(dir, NOVEMBER)
}

#[tokio::test]
async fn a_checkpoint_is_of_what_is_durable_and_proofs_lead_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    journal.commit(answered(NOVEMBER, "one")).await.unwrap();
    let signer = SigningKey::from_seed(&[4; 32]);
    let origin = "ninghe/housing/1/evidence";
    let head = checkpoint(&journal, origin, &signer, NOVEMBER).unwrap();
    let public = PublicKey::ed25519(signer.public_key().as_bytes()).unwrap();
    let key = LogKey::new(origin.parse().unwrap(), public.as_bytes()).unwrap();
    let opened = checkpoint::open(head.note.as_bytes(), &key).unwrap();
    assert_eq!((opened.checkpoint().size(), opened.checkpoint().root()), journal.head());
    assert_eq!((head.size, head.root), journal.head());
    assert_eq!(opened.time_seconds(), NOVEMBER / 1000);
    journal.commit(answered(NOVEMBER, "two")).await.unwrap();
    assert_proved(&journal, 1, head.size, &head.root);
    assert!(matches!(checkpoint(&journal, "no origin", &signer, 0), Err(CheckpointError::Key(_))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    /// Commits of any shape, with restarts and months in between: every receipt fits, every proof leads to the root it
    /// belongs to, at any size.
    #[test]
    fn receipts_and_proofs_hold_at_any_size(
        steps in prop::collection::vec((1_usize..=4, 0..12_u8), 1..400),
        places in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let (mut journal, mut at_ms) = (open(dir.path()), NOVEMBER);
            let (mut receipts, mut roots) = (Vec::new(), Vec::new());
            for (number, (count, action)) in steps.iter().enumerate() {
                match (action, number % 40) {
                    (0, 20) => at_ms += 31 * 86_400_000,
                    (1, 10) => {
                        close(journal).await;
                        journal = open_at(dir.path(), at_ms).unwrap();
                    }
                    _ => {}
                }
                let entries = (0..*count).map(|_| new_entry(EntryKind::AnswerGiven, &number.to_string())).collect();
                let committed = journal.commit(Commit { at_ms, entries, ..Commit::default() }).await.unwrap();
                receipts.extend(committed.receipts);
                roots.push(journal.head());
            }
            for (index, receipt) in (0..).zip(&receipts) {
                let stored = journal.entry(index).unwrap().unwrap();
                assert!(receipt.fits(&stored.entry) && receipt.index() == index);
            }
            for (head, index) in places {
                let (size, root) = head.get(&roots);
                assert_proved(&journal, index.index(usize::try_from(*size).unwrap()) as u64, *size, root);
            }
            assert_eq!(journal.verify().unwrap().entries, receipts.len() as u64);
        });
    }
}
