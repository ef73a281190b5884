//! The ledger on sled: what is appended is there after every end, and nothing else.

use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use host::{committer::CommitPoint, store::SMALL_CACHE_BYTES};
use trust::log::{proof::tree_root, tile::tiles_grown};

use super::*;

fn store(folder: &tempfile::TempDir) -> Store {
    Store::open(&folder.path().join("directory"), SMALL_CACHE_BYTES).unwrap()
}

fn open(folder: &tempfile::TempDir) -> SledLedger {
    open_with(folder, CommitterOptions::default())
}

fn open_with(folder: &tempfile::TempDir, options: CommitterOptions) -> SledLedger {
    SledLedger::open(store(folder), options, |_| {}).unwrap()
}

/// Entries of lengths around every boundary, from nothing to the longest.
fn entry(number: usize) -> Vec<u8> {
    let length = match number % 300 {
        7 => 0,
        11 => MAX_VALUE_BYTES,
        12 => MAX_VALUE_BYTES + 1,
        13 => 3 * MAX_VALUE_BYTES,
        250 => LARGEST_ENTRY,
        other => other + 1,
    };
    vec![number as u8; length]
}

fn tree(entries: &[Vec<u8>]) -> Frontier {
    let mut frontier = Frontier::new();
    entries.iter().for_each(|entry| drop(frontier.append(leaf_hash(entry))));
    frontier
}

async fn fill(ledger: &SledLedger, entries: &[Vec<u8>]) {
    let mut at_size = ledger.position().await.unwrap().size;
    for chunk in entries.chunks(77) {
        match ledger.append(at_size, chunk.to_vec()).await.unwrap() {
            Append::Appended { size, .. } => at_size = size,
            Append::Moved { size } => panic!("moved to {size}"),
        }
    }
}

struct Tiles(Mutex<HashMap<(u8, u64), Vec<Hash>>>);

impl TileSource for Tiles {
    type Error = Error;
    fn tile(&self, level: u8, index: u64, width: u16) -> Result<Vec<Hash>, Error> {
        Ok(self.0.lock().unwrap()[&(level, index)][..usize::from(width)].to_vec())
    }
}

#[tokio::test]
async fn entries_of_every_length_come_back_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let entries: Vec<_> = (0..700).map(entry).collect();
    let ledger = open(&folder);
    fill(&ledger, &entries[..600]).await;
    ledger.close().await.unwrap();
    drop(ledger);

    let ledger = open(&folder);
    fill(&ledger, &entries[600..]).await;
    let position = ledger.position().await.unwrap();
    assert_eq!((position.size, position.root), (700, tree(&entries).root()));
    assert_eq!(ledger.read(0, ReadLimit::entries(1000)).await.unwrap(), entries);
    assert_eq!(ledger.read(250, ReadLimit::entries(2)).await.unwrap(), entries[250..252]);
    assert!(ledger.read(700, ReadLimit::entries(1)).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_read_keeps_to_its_limit_in_bytes_and_always_gets_on() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(&folder);
    let entries = vec![vec![1; 5000], vec![2; 5000], vec![3; 60_000], vec![4; 10]];
    fill(&ledger, &entries).await;
    let limit = ReadLimit { entries: 1000, bytes: 10_000 };
    assert_eq!(ledger.read(0, limit).await.unwrap(), entries[..2]);
    assert_eq!(ledger.read(1, limit).await.unwrap(), entries[1..2]);
    assert_eq!(ledger.read(2, limit).await.unwrap(), entries[2..3], "one entry is sent whatever its length");
    assert_eq!(ledger.read(3, limit).await.unwrap(), entries[3..]);
}

#[tokio::test]
async fn who_thinks_the_log_has_another_size_appends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(&folder);
    fill(&ledger, &[b"first".to_vec()]).await;
    for wrong in [0, 2] {
        assert_eq!(ledger.append(wrong, vec![b"other".to_vec()]).await.unwrap(), Append::Moved { size: 1 });
    }
    assert_eq!(ledger.read(0, ReadLimit::entries(9)).await.unwrap(), [b"first"]);
    let error = ledger.append(1, vec![vec![0; LARGEST_ENTRY + 1]]).await.unwrap_err();
    assert!(matches!(error, Error::EntryTooLong { length: 65_536 }), "{error:?}");
}

#[tokio::test]
async fn the_tiles_lead_to_the_root_at_every_boundary() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(&folder);
    let entries: Vec<_> = (0..66_000_u32).map(|number| number.to_be_bytes().to_vec()).collect();
    let mut before = 0;
    for size in [1, 255, 256, 257, 600, 65_535, 65_536, 66_000_usize] {
        for chunk in entries[before..size].chunks(5000) {
            let at_size = ledger.position().await.unwrap().size;
            ledger.append(at_size, chunk.to_vec()).await.unwrap();
        }
        before = size;
        let tiles = Tiles(Mutex::default());
        for coordinate in tiles_grown(0, size as u64) {
            let hashes = ledger.tile(coordinate).await.unwrap().unwrap();
            assert_eq!(hashes.len(), usize::from(coordinate.width()));
            tiles.0.lock().unwrap().insert((coordinate.level(), coordinate.index()), hashes);
        }
        assert_eq!(tree_root(&tiles, size as u64).unwrap(), ledger.position().await.unwrap().root, "{size}");
    }
    let narrow = ledger.tile(TileCoordinate::new(0, 3, 17).unwrap()).await.unwrap().unwrap();
    let expected: Vec<_> = entries[768..785].iter().map(|entry| leaf_hash(entry)).collect();
    assert_eq!(narrow, expected, "a finished tile is cut to the width that was asked for");
    assert_eq!(ledger.tile(TileCoordinate::new(0, 257, 256).unwrap()).await.unwrap(), None);

    // The frontier of a large log comes back from the tiles alone.
    let root = ledger.position().await.unwrap().root;
    ledger.close().await.unwrap();
    drop(ledger);
    assert_eq!(open(&folder).position().await.unwrap().root, root);
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
async fn the_last_checkpoint_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(&folder);
    assert_eq!(ledger.checkpoint().await.unwrap(), None);
    ledger.keep_checkpoint("one".to_owned()).await.unwrap();
    ledger.keep_checkpoint("two".to_owned()).await.unwrap();
    ledger.close().await.unwrap();
    drop(ledger);
    assert_eq!(open(&folder).checkpoint().await.unwrap().as_deref(), Some("two"));
}

#[tokio::test]
async fn a_ledger_that_does_not_fit_together_is_not_opened() {
    for (key, reason) in [
        (HEAD_KEY.to_vec(), "its size is missing"),
        (entry_key(299, 0), "has 43 hashes"),
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
