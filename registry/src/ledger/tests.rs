//! What every ledger must do, whatever its store: the same tests on the embedded one and on PostgreSQL. Where there is no
//! PostgreSQL on this machine, those tests say aloud that they were skipped.

mod away;
mod copying;
mod database;
mod shared;

use std::{collections::HashMap, path::Path, sync::Mutex};

use host::{postgres::Database, store::MAX_VALUE_BYTES};
use trust::{
    directory::LARGEST_ENTRY,
    log::{
        frontier::Frontier,
        hash::leaf_hash,
        proof::tree_root,
        tile::{TileCoordinate, TileSource, tiles_grown},
    },
};

use super::{postgres::APPLICATION, *};
use crate::{
    postgres_server,
    store::{self, StoreChoice},
};

/// A place where a ledger can be opened again and again.
pub(crate) enum Place {
    Postgres(postgres_server::Scratch),
    Sled(tempfile::TempDir),
}

impl Place {
    pub(crate) fn sled() -> Option<Self> {
        Some(Self::Sled(tempfile::tempdir().unwrap()))
    }

    pub(crate) async fn postgres(test: &str) -> Option<Self> {
        postgres_server::scratch(test).await.map(Self::Postgres)
    }

    fn choice(&self) -> (StoreChoice, &Path) {
        match self {
            Self::Postgres(scratch) => (StoreChoice::Postgres(database(scratch)), Path::new("")),
            Self::Sled(folder) => (StoreChoice::Embedded, folder.path()),
        }
    }

    async fn open(&self) -> Result<OpenLedger, store::Error> {
        let (choice, folder) = self.choice();
        choice.open(folder, |_| {}).await
    }

    /// The second log with this number.
    pub(crate) async fn open_second(&self, log: u32) -> Result<OpenLedger, store::Error> {
        let (choice, folder) = self.choice();
        choice.open_second(folder, log, |_| {}).await
    }

    /// The second logs that are there.
    pub(crate) async fn second_logs(&self) -> Vec<u32> {
        let opened = self.open().await.unwrap();
        let logs = store::second_logs(&opened, self.choice().1).await.unwrap();
        opened.close().await.unwrap();
        logs
    }
}

fn database(scratch: &postgres_server::Scratch) -> Database {
    Database::parse(&scratch.url()).unwrap().named(APPLICATION)
}

/// The same test for each store.
macro_rules! on_both_stores {
    ($($test:ident),* $(,)?) => {
        mod on_sled {
            $(#[tokio::test]
            async fn $test() {
                super::$test($crate::ledger::tests::Place::sled().unwrap()).await;
            })*
        }
        mod on_postgres {
            $(#[tokio::test]
            async fn $test() {
                let test = concat!(module_path!(), "::", stringify!($test));
                if let Some(place) = $crate::ledger::tests::Place::postgres(test).await {
                    super::$test(place).await;
                }
            })*
        }
    };
}

pub(crate) use on_both_stores;

on_both_stores!(
    a_read_keeps_to_its_limit_in_bytes_and_always_gets_on,
    an_empty_ledger_is_empty,
    a_mark_stays_until_it_is_taken_away,
    entries_of_every_length_come_back_after_reopening,
    the_last_checkpoint_is_kept,
    the_second_log_is_a_log_of_its_own_in_the_same_store,
    the_tiles_lead_to_the_root_at_every_boundary,
    who_thinks_the_log_has_another_size_appends_nothing,
);

async fn a_mark_stays_until_it_is_taken_away(place: Place) {
    let ledger = place.open().await.unwrap();
    assert_eq!(ledger.shared().mark().await.unwrap(), None);
    ledger.shared().set_mark(Some("restored".to_owned())).await.unwrap();
    ledger.close().await.unwrap();
    drop(ledger);
    let ledger = place.open().await.unwrap();
    assert_eq!(ledger.shared().mark().await.unwrap().as_deref(), Some("restored"));
    ledger.shared().set_mark(None).await.unwrap();
    assert_eq!(ledger.shared().mark().await.unwrap(), None);
    ledger.close().await.unwrap();
}

/// Entries of lengths around every boundary, from nothing to the longest.
pub(super) fn entry(number: usize) -> Vec<u8> {
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

/// The tree over the entries.
pub(super) fn tree(entries: &[Vec<u8>]) -> Frontier {
    let mut frontier = Frontier::new();
    entries.iter().for_each(|entry| drop(frontier.append(leaf_hash(entry))));
    frontier
}

/// Appends the entries, in several batches.
pub(super) async fn fill(ledger: &dyn Ledger, entries: &[Vec<u8>]) {
    let mut at_size = ledger.position().await.unwrap().size;
    for chunk in entries.chunks(77) {
        match ledger.append(at_size, chunk.to_vec()).await.unwrap() {
            Append::Appended { size, .. } => at_size = size,
            Append::Moved { size } => panic!("moved to {size}"),
        }
    }
}

fn head(note: &str, size: u64, time_seconds: u64) -> SignedHead {
    SignedHead { note: note.to_owned(), size, time_seconds }
}

struct Tiles(Mutex<HashMap<(u8, u64), Vec<Hash>>>);

impl TileSource for Tiles {
    type Error = Error;
    fn tile(&self, level: u8, index: u64, width: u16) -> Result<Vec<Hash>, Error> {
        Ok(self.0.lock().unwrap()[&(level, index)][..usize::from(width)].to_vec())
    }
}

async fn an_empty_ledger_is_empty(place: Place) {
    let opened = place.open().await.unwrap();
    let ledger = opened.shared();
    let position = ledger.position().await.unwrap();
    assert_eq!((position.size, position.root), (0, Frontier::new().root()));
    assert!(ledger.read(0, ReadLimit::entries(1)).await.unwrap().is_empty());
    assert_eq!(ledger.checkpoint().await.unwrap(), None);
    assert_eq!(ledger.tile(TileCoordinate::new(0, 0, 1).unwrap()).await.unwrap(), None);
    opened.close().await.unwrap();
}

async fn entries_of_every_length_come_back_after_reopening(place: Place) {
    let entries: Vec<_> = (0..700).map(entry).collect();
    let opened = place.open().await.unwrap();
    fill(opened.shared().as_ref(), &entries[..600]).await;
    opened.close().await.unwrap();
    drop(opened);

    let opened = place.open().await.unwrap();
    let ledger = opened.shared();
    fill(ledger.as_ref(), &entries[600..]).await;
    let position = ledger.position().await.unwrap();
    assert_eq!((position.size, position.root), (700, tree(&entries).root()));
    assert_eq!(ledger.read(0, ReadLimit::entries(1000)).await.unwrap(), entries);
    assert_eq!(ledger.read(250, ReadLimit::entries(2)).await.unwrap(), entries[250..252]);
    assert!(ledger.read(700, ReadLimit::entries(1)).await.unwrap().is_empty());
    opened.close().await.unwrap();
}

async fn a_read_keeps_to_its_limit_in_bytes_and_always_gets_on(place: Place) {
    let opened = place.open().await.unwrap();
    let ledger = opened.shared();
    let entries = vec![vec![1; 5000], vec![2; 5000], vec![3; 60_000], vec![4; 10]];
    fill(ledger.as_ref(), &entries).await;
    let limit = ReadLimit { entries: 1000, bytes: 10_000 };
    assert_eq!(ledger.read(0, limit).await.unwrap(), entries[..2]);
    assert_eq!(ledger.read(1, limit).await.unwrap(), entries[1..2]);
    assert_eq!(ledger.read(2, limit).await.unwrap(), entries[2..3], "one entry is sent whatever its length");
    assert_eq!(ledger.read(3, limit).await.unwrap(), entries[3..]);
    opened.close().await.unwrap();
}

async fn who_thinks_the_log_has_another_size_appends_nothing(place: Place) {
    let opened = place.open().await.unwrap();
    let ledger = opened.shared();
    fill(ledger.as_ref(), &[b"first".to_vec()]).await;
    for wrong in [0, 2] {
        assert_eq!(ledger.append(wrong, vec![b"other".to_vec()]).await.unwrap(), Append::Moved { size: 1 });
    }
    assert_eq!(ledger.read(0, ReadLimit::entries(9)).await.unwrap(), [b"first"]);
    let error = ledger.append(1, vec![vec![0; LARGEST_ENTRY + 1]]).await.unwrap_err();
    assert!(matches!(error, Error::EntryTooLong { length: 65_536 }), "{error:?}");
    opened.close().await.unwrap();
}

async fn the_tiles_lead_to_the_root_at_every_boundary(place: Place) {
    let opened = place.open().await.unwrap();
    let ledger = opened.shared();
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
    opened.close().await.unwrap();
    drop((opened, ledger));
    let opened = place.open().await.unwrap();
    assert_eq!(opened.shared().position().await.unwrap().root, root);
    opened.close().await.unwrap();
}

async fn the_last_checkpoint_is_kept(place: Place) {
    let opened = place.open().await.unwrap();
    let ledger = opened.shared();
    fill(ledger.as_ref(), &[b"first".to_vec()]).await;
    assert_eq!(ledger.keep_checkpoint(head("one", 1, 10)).await.unwrap(), Keep::Kept);
    assert_eq!(ledger.keep_checkpoint(head("two", 1, 11)).await.unwrap(), Keep::Kept);
    opened.close().await.unwrap();
    drop((opened, ledger));
    let opened = place.open().await.unwrap();
    assert_eq!(opened.shared().checkpoint().await.unwrap().as_deref(), Some("two"));
    opened.close().await.unwrap();
}

async fn the_second_log_is_a_log_of_its_own_in_the_same_store(place: Place) {
    assert!(place.second_logs().await.is_empty());
    let entries: Vec<_> = (0..300).map(entry).collect();
    let opened =
        [place.open().await.unwrap(), place.open_second(1).await.unwrap(), place.open_second(2).await.unwrap()];
    for (ledger, entries) in opened.iter().zip([&entries[..], &entries[7..], &entries[9..]]) {
        fill(ledger.shared().as_ref(), entries).await;
        let position = ledger.shared().position().await.unwrap();
        assert_eq!((position.size, position.root), (entries.len() as u64, tree(entries).root()));
        ledger.shared().keep_checkpoint(head(&position.size.to_string(), position.size, 1)).await.unwrap();
    }
    for ledger in &opened {
        ledger.close().await.unwrap();
    }
    drop(opened);
    let opened = place.open_second(1).await.unwrap();
    let ledger = opened.shared();
    assert_eq!(ledger.read(0, ReadLimit::entries(1000)).await.unwrap(), entries[7..]);
    assert_eq!(ledger.checkpoint().await.unwrap().as_deref(), Some("293"));
    assert!(ledger.tile(TileCoordinate::new(0, 0, 256).unwrap()).await.unwrap().is_some());
    opened.close().await.unwrap();
    drop((ledger, opened));
    assert_eq!(place.second_logs().await, [1, 2]);
}
