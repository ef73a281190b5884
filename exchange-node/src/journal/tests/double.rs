//! The journal's double: like the journal, and failing where it is told to.

use super::*;
use crate::journal::memory::{Fault, MemoryJournal};

#[tokio::test]
async fn the_double_behaves_like_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let (real, double) = (open(dir.path()), MemoryJournal::new());
    for journal in [&real as &dyn Journal, &double] {
        for number in 0..300_u64 {
            let committed = journal.commit(answered(NOVEMBER + number, &number.to_string())).await.unwrap();
            assert_eq!(committed.first_index, 2 * number);
        }
        let (size, root) = journal.head();
        (0..size).for_each(|index| assert_proved(journal, index, size, &root));
        assert!(journal.inclusion(0, size + 1).is_err() && journal.entry(size).unwrap().is_none());
        assert!(journal.commit(Commit::default()).await.is_err());
    }
    assert_eq!(real.tail(NOVEMBER + 5, 100).unwrap(), double.tail(NOVEMBER + 5, 100).unwrap());
    let [one, two] = [real.entry(7), double.entry(7)].map(|entry| entry.unwrap().unwrap());
    assert_eq!((one.message, one.companions, one.at_ms), (two.message, two.companions, two.at_ms));
}

#[tokio::test]
async fn the_double_fails_where_it_is_told_to() {
    for (fault, acknowledged, kept) in
        [(Fault::Before, false, 1), (Fault::AfterPersisting, false, 2), (Fault::After, true, 2)]
    {
        let journal = MemoryJournal::new();
        journal.commit(one(0, "first")).await.unwrap();
        journal.fail_next(fault);
        assert_eq!(journal.commit(one(0, "second")).await.is_ok(), acknowledged, "{fault:?}");
        assert!(journal.commit(one(0, "third")).await.is_err(), "{fault:?}");
        let journal = journal.restarted();
        assert_eq!(journal.commits().len(), kept, "{fault:?}");
        assert_eq!(journal.commit(one(0, "fourth")).await.unwrap().first_index, kept as u64);
        journal.forget_messages();
        assert_eq!(journal.entry(0).unwrap().unwrap().message, None);
    }
    let journal = Arc::new(MemoryJournal::new());
    journal.hold();
    let waiting = tokio::spawn({
        let journal = Arc::clone(&journal);
        async move { journal.commit(one(0, "held")).await.unwrap().first_index }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished() && journal.size() == 0);
    journal.release();
    assert_eq!(waiting.await.unwrap(), 0);
}
