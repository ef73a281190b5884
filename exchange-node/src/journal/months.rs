//! The journal's reading side: which month holds an entry or a tile, and the months that are open.
//!
//! A closed month is opened when it is asked for and stays open until two others were: sled takes tens of megabytes for
//! an open database. Out of scope: writing, and when a month begins (`embedded`).

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use arc_swap::ArcSwap;
use trust::log::{
    hash::Hash,
    tile::{TILE_WIDTH, TileSource},
};

use super::{
    JournalError, Month,
    month_key::MonthKeys,
    month_store::{MonthStore, TileError},
    writer::Durable,
};

/// How many closed months stay open for reading.
const MOST_CLOSED: usize = 2;
/// The cache of a closed month. Resident memory is two to four times as much.
pub(super) const CLOSED_CACHE_BYTES: u64 = 2 * 1024 * 1024;

/// Every month of the journal, for reading.
#[derive(Debug)]
pub(super) struct Months {
    folder: PathBuf,
    keys: Arc<MonthKeys>,
    known: ArcSwap<Known>,
    closed: Mutex<Closed>,
}

/// Closed months that are open.
#[derive(Debug, Default)]
struct Closed {
    /// Those that stay open, the one used last at the end.
    kept: Vec<Arc<MonthStore>>,
    /// Those that somebody may still be reading: a second open of the same folder would fail.
    read: Vec<Weak<MonthStore>>,
}

impl Closed {
    fn find(&self, month: Month) -> Option<Arc<MonthStore>> {
        let is_it = |open: &Arc<MonthStore>| open.month() == month;
        self.kept
            .iter()
            .find(|open| is_it(open))
            .cloned()
            .or_else(|| self.read.iter().filter_map(Weak::upgrade).find(is_it))
    }

    fn keep(&mut self, month: Arc<MonthStore>) {
        self.kept.retain(|open| open.month() != month.month());
        self.kept.push(month);
        self.make_room(MOST_CLOSED);
    }

    /// Lets go of the months used longest ago until at most `most` are kept.
    fn make_room(&mut self, most: usize) {
        while self.kept.len() > most {
            self.read.push(Arc::downgrade(&self.kept.remove(0)));
        }
        self.read.retain(|open| open.strong_count() > 0);
    }
}

#[derive(Debug)]
struct Known {
    /// Each with its first index, oldest first.
    months: Vec<(Month, u64)>,
    /// The last of them.
    current: Arc<MonthStore>,
}

impl Months {
    pub(super) fn new(
        folder: PathBuf,
        keys: Arc<MonthKeys>,
        months: Vec<(Month, u64)>,
        current: Arc<MonthStore>,
    ) -> Self {
        let known = ArcSwap::from_pointee(Known { months, current });
        Self { folder, keys, known, closed: Mutex::default() }
    }

    /// A new month has begun; the one before stays open for those who read it.
    pub(super) fn advance(&self, months: Vec<(Month, u64)>, current: Arc<MonthStore>) {
        let before = self.known.swap(Arc::new(Known { months, current }));
        self.remember(Arc::clone(&before.current));
    }

    /// Keeps a closed month that happens to be open.
    pub(super) fn remember(&self, month: Arc<MonthStore>) {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner).keep(month);
    }

    pub(super) fn keys(&self) -> &MonthKeys {
        &self.keys
    }

    /// Every month with its first index, oldest first.
    pub(super) fn list(&self) -> Vec<(Month, u64)> {
        self.known.load().months.clone()
    }

    /// The month that holds the entry, which is known to be in the log.
    pub(super) fn of_entry(&self, index: u64) -> Result<Arc<MonthStore>, JournalError> {
        let known = self.known.load_full();
        let position = known.months.partition_point(|(_, first_index)| *first_index <= index);
        self.at(&known, position)
    }

    /// The month in which the tree reached this size, and with it finished the tiles that end there.
    fn that_reached(&self, size: u64) -> Result<Arc<MonthStore>, JournalError> {
        let known = self.known.load_full();
        let position = known.months.partition_point(|(_, first_index)| *first_index < size);
        self.at(&known, position)
    }

    /// The month with this name.
    pub(super) fn named(&self, month: Month) -> Result<Arc<MonthStore>, JournalError> {
        let known = self.known.load_full();
        if known.current.month() == month {
            return Ok(Arc::clone(&known.current));
        }
        // Opening happens under the lock: of two who ask for the same month one would fail.
        let mut closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        let open = match closed.find(month) {
            Some(open) => open,
            None => {
                let path = month_folder(&self.folder, month);
                // Opening would make an empty one.
                if !path.join("db").exists() {
                    return Err(JournalError::MonthMissing { month, path });
                }
                // First, so that never more are open than must be.
                closed.make_room(MOST_CLOSED - 1);
                Arc::new(MonthStore::open(month, &path, CLOSED_CACHE_BYTES)?)
            }
        };
        closed.keep(Arc::clone(&open));
        Ok(open)
    }

    fn at(&self, known: &Known, after: usize) -> Result<Arc<MonthStore>, JournalError> {
        match after.checked_sub(1).and_then(|position| known.months.get(position)) {
            Some((month, _)) => self.named(*month),
            None => Err(known.current.damaged("no month holds the first entries")),
        }
    }

    /// The tiles of the tree as `durable` has it.
    pub(super) fn tiles<'a>(&'a self, durable: &'a Durable) -> Tiles<'a> {
        Tiles { months: self, durable }
    }
}

/// The tiles of a tree: unfinished ones from memory, finished ones from the month that finished them.
#[derive(Debug)]
pub(super) struct Tiles<'a> {
    months: &'a Months,
    durable: &'a Durable,
}

impl TileSource for Tiles<'_> {
    type Error = TileError;

    fn tile(&self, level: u8, index: u64, width: u16) -> Result<Vec<Hash>, TileError> {
        let tree = &self.durable.tree;
        let finished = (tree.size() >> (8 * u32::from(level))) / u64::from(TILE_WIDTH);
        if index >= finished {
            let unfinished = tree.levels().nth(usize::from(level)).and_then(|hashes| hashes.get(..usize::from(width)));
            let outside = JournalError::OutsideLog { index, size: tree.size(), durable: tree.size() };
            return unfinished.map(<[Hash]>::to_vec).ok_or(TileError(outside));
        }
        // It is finished, so this is at most the tree's size.
        let reached = (index + 1) << (8 * (u32::from(level) + 1));
        Ok(self.months.that_reached(reached)?.finished_tile(level, index, width)?)
    }
}

/// The folder of a month's database.
pub(super) fn month_folder(folder: &Path, month: Month) -> PathBuf {
    folder.join(month.to_string())
}
