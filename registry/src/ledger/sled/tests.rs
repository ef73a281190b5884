//! The ledger on sled: what is appended is there after every end, and nothing else. What every ledger must do is tested in
//! `ledger::tests`.

use std::sync::atomic::{AtomicBool, Ordering};

use host::{committer::CommitPoint, store::SMALL_CACHE_BYTES};

use super::*;
use crate::ledger::tests::{entry, fill, tree};

fn store(folder: &tempfile::TempDir) -> Store {
    Store::open(&folder.path().join("directory"), SMALL_CACHE_BYTES).unwrap()
}

fn open(folder: &tempfile::TempDir) -> SledLedger {
    open_with(folder, CommitterOptions::default())
}

fn open_with(folder: &tempfile::TempDir, options: CommitterOptions) -> SledLedger {
    SledLedger::open(store(folder), options, |_| {}).unwrap()
}

#[tokio::test]
async fn a_crash_at_any_moment_loses_nothing_that_was_acknowledged() {
    for point in [CommitPoint::BeforeApply, CommitPoint::AfterApply, CommitPoint::AfterPersist] {
        let folder = tempfile::tempdir().unwrap();
        let armed = Arc::new(AtomicBool::new(false));
        let fires = Arc::clone(&armed);
        let faults: committer::Faults = Box::new(move |at| at == point && fires.load(Ordering::SeqCst));
        let ledger = open_with(&folder, CommitterOptions { faults: Some(faults), ..CommitterOptions::default() });
        let acknowledged: Vec<_> = (0..300).map(entry).collect();
        fill(&ledger, &acknowledged).await;

        armed.store(true, Ordering::SeqCst);
        let lost = vec![b"not acknowledged".to_vec()];
        let error = ledger.append(300, lost.clone()).await.unwrap_err();
        assert!(matches!(error, Error::Stopped(_)), "{point:?}: {error:?}");
        assert_eq!(ledger.position().await.unwrap().size, 300, "{point:?}: readers see only what was acknowledged");
        drop(ledger);

        let ledger = open(&folder);
        let entries = ledger.read(0, ReadLimit::entries(1000)).await.unwrap();
        assert_eq!(entries[..300], acknowledged, "{point:?}");
        match point {
            CommitPoint::BeforeApply => assert_eq!(entries.len(), 300),
            CommitPoint::AfterApply => assert!(entries.len() <= 301),
            CommitPoint::AfterPersist => assert_eq!(entries[300..], lost),
        }
        assert_eq!(ledger.position().await.unwrap().root, tree(&entries).root(), "{point:?}");
    }
}

#[tokio::test]
async fn a_ledger_that_does_not_fit_together_is_not_opened() {
    for (key, reason) in [
        (HEAD_KEY.to_vec(), "its size is missing"),
        (entry_key(299, 0), "entry 299"),
        (entry_key(280, 0), "entry 280"),
        (tile_key(0, 0, 2), "tile 0"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let ledger = open(&folder);
        fill(&ledger, &(0..300).map(entry).collect::<Vec<_>>()).await;
        ledger.close().await.unwrap();
        drop(ledger);
        let store = store(&folder);
        store.db().remove(&key).unwrap();
        let error = SledLedger::open(store, CommitterOptions::default(), |_| {}).unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
    }
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(&folder);
    fill(&ledger, &(0..300).map(entry).collect::<Vec<_>>()).await;
    ledger.close().await.unwrap();
    drop(ledger);
    let store = store(&folder);
    store.db().insert(entry_key(299, 0), "altered").unwrap();
    let error = SledLedger::open(store, CommitterOptions::default(), |_| {}).unwrap_err();
    assert!(error.to_string().contains("do not lead to its root"), "{error}");
}
