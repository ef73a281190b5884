//! Which questions were answered lately, and which are being answered now. A repeated question finds its stored answer,
//! or waits for the one in flight.
//!
//! Kept in slices, each with at most [`SLICE`] questions of at most an hour, at about 20 bytes a question; the oldest
//! slice goes when it is past its time. A slice that is not past its time is never dropped: a question that is still
//! valid would be answered a second time. Out of scope: the answers, which the journal has.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasherDefault, Hasher},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::sync::oneshot;

use super::lock;

/// What fits a table of 262,144 places at seven eighths.
const SLICE: usize = 229_376;

/// The longest time that a slice covers, in milliseconds.
const SLICE_MS: u64 = 3_600_000;

/// Above so many, what is surely no longer valid goes early.
const MOST: usize = 1_000_000;

/// No question is valid for longer than 5 minutes and the skew of both clocks.
const SURELY_INVALID_MS: u64 = 15 * 60_000;

pub(super) struct KnownQuestions {
    remembered_ms: u64,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    slices: VecDeque<Slice>,
    total: usize,
    in_flight: HashMap<[u8; 16], Vec<oneshot::Sender<()>>>,
}

struct Slice {
    from_ms: u64,
    until_ms: u64,
    /// The first 8 bytes of the key to the index of the question's entry. Keys are hashes: whoever works for two ids
    /// with the same 8 bytes gets his own second question refused, and nobody else's.
    indexes: HashMap<u64, u64, BuildHasherDefault<Prefix>>,
}

/// What to do with a question.
pub(super) enum Begin {
    /// It is being answered: wait until this ends, then ask again.
    InFlight(oneshot::Receiver<()>),
    /// It is new: answer it.
    Mine(Turn),
    /// It was answered: the index of its entry.
    Stored(u64),
}

/// The right to answer a question. Dropped without an answer, the next one may.
pub(super) struct Turn {
    known: Arc<KnownQuestions>,
    key: [u8; 16],
}

impl KnownQuestions {
    pub(super) fn new(remembered: Duration) -> Self {
        Self { remembered_ms: remembered.as_millis().try_into().unwrap_or(u64::MAX), inner: Mutex::default() }
    }

    pub(super) fn begin(self: &Arc<Self>, key: &[u8; 16]) -> Begin {
        let mut inner = lock(&self.inner);
        if let Some(index) = inner.find(key) {
            return Begin::Stored(index);
        }
        if let Some(waiting) = inner.in_flight.get_mut(key) {
            let (ended, wait) = oneshot::channel();
            waiting.push(ended);
            return Begin::InFlight(wait);
        }
        inner.in_flight.insert(*key, Vec::new());
        Begin::Mine(Turn { known: Arc::clone(self), key: *key })
    }

    /// Recalls a question while the evidence is read back, the newest first. Whether there is room for more that is older.
    pub(super) fn recall(&self, key: &[u8; 16], index: u64, at_ms: u64, now_ms: u64) -> bool {
        let mut inner = lock(&self.inner);
        inner.insert_older(key, index, at_ms);
        inner.total < MOST || now_ms.saturating_sub(at_ms) <= SURELY_INVALID_MS
    }

    pub(super) fn remember(&self, key: &[u8; 16], index: u64, at_ms: u64) {
        lock(&self.inner).insert(key, index, at_ms, self.remembered_ms);
    }
}

impl Turn {
    pub(super) fn key(&self) -> &[u8; 16] {
        &self.key
    }

    /// The question was answered; its entry has this index.
    pub(super) fn answered(self, index: u64, at_ms: u64) {
        self.known.remember(&self.key, index, at_ms);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // Whoever waits hears of it by the senders being dropped.
        lock(&self.known.inner).in_flight.remove(&self.key);
    }
}

impl Inner {
    fn find(&self, key: &[u8; 16]) -> Option<u64> {
        let prefix = prefix(key);
        self.slices.iter().rev().find_map(|slice| slice.indexes.get(&prefix).copied())
    }

    fn insert_older(&mut self, key: &[u8; 16], index: u64, at_ms: u64) {
        let fits = |slice: &Slice| slice.indexes.len() < SLICE && slice.until_ms < at_ms.saturating_add(SLICE_MS);
        if !self.slices.front().is_some_and(fits) {
            self.slices.push_front(Slice { from_ms: at_ms, until_ms: at_ms, indexes: HashMap::default() });
        }
        if let Some(slice) = self.slices.front_mut() {
            slice.from_ms = slice.from_ms.min(at_ms);
            if slice.indexes.insert(prefix(key), index).is_none() {
                self.total += 1;
            }
        }
    }

    fn insert(&mut self, key: &[u8; 16], index: u64, at_ms: u64, remembered_ms: u64) {
        let fits = |slice: &Slice| slice.indexes.len() < SLICE && at_ms < slice.from_ms.saturating_add(SLICE_MS);
        if !self.slices.back().is_some_and(fits) {
            let over = |slice: &Slice, total: usize| {
                let age_ms = at_ms.saturating_sub(slice.until_ms);
                age_ms > remembered_ms || (total >= MOST && age_ms > SURELY_INVALID_MS)
            };
            while let Some(oldest) = self.slices.pop_front_if(|slice| over(slice, self.total)) {
                self.total -= oldest.indexes.len();
            }
            self.slices.push_back(Slice { from_ms: at_ms, until_ms: at_ms, indexes: HashMap::default() });
        }
        if let Some(slice) = self.slices.back_mut() {
            slice.until_ms = slice.until_ms.max(at_ms);
            if slice.indexes.insert(prefix(key), index).is_none() {
                self.total += 1;
            }
        }
    }
}

fn prefix(key: &[u8; 16]) -> u64 {
    let (prefix, _) = key.split_at(8);
    prefix.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Keys are hashes already.
#[derive(Default)]
struct Prefix(u64);

impl Hasher for Prefix {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> [u8; 16] {
        let mut key = [0; 16];
        key[..8].copy_from_slice(&number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
        key
    }

    fn known() -> Arc<KnownQuestions> {
        Arc::new(KnownQuestions::new(Duration::from_secs(24 * 3600)))
    }

    fn is_stored(known: &Arc<KnownQuestions>, number: u64) -> Option<u64> {
        match known.begin(&key(number)) {
            Begin::Stored(index) => Some(index),
            Begin::Mine(_) | Begin::InFlight(_) => None,
        }
    }

    #[tokio::test]
    async fn one_answers_and_the_others_wait_for_it() {
        let known = known();
        let Begin::Mine(turn) = known.begin(&key(1)) else { panic!("it is new") };
        let Begin::InFlight(ended) = known.begin(&key(1)) else { panic!("it is in flight") };
        turn.answered(7, 1000);
        assert!(ended.await.is_err(), "the sender was dropped");
        assert_eq!(is_stored(&known, 1), Some(7));

        let Begin::Mine(turn) = known.begin(&key(2)) else { panic!("it is new") };
        drop(turn);
        assert!(matches!(known.begin(&key(2)), Begin::Mine(_)), "nobody answered it");
    }

    #[test]
    fn what_is_past_its_time_goes_and_nothing_else() {
        let known = known();
        let hour = SLICE_MS;
        for at in 0..30 {
            known.remember(&key(at), at, at * hour);
        }
        assert_eq!(is_stored(&known, 29), Some(29));
        assert_eq!(is_stored(&known, 6), Some(6));
        assert_eq!(is_stored(&known, 3), None);
    }

    #[test]
    fn what_is_read_back_newest_first_goes_oldest_first() {
        let known = known();
        let now_ms = 30 * SLICE_MS;
        for at in (1..=30).rev() {
            assert!(known.recall(&key(at), at, at * SLICE_MS, now_ms));
        }
        assert_eq!(is_stored(&known, 1), Some(1));
        known.remember(&key(31), 31, 31 * SLICE_MS);
        assert_eq!(is_stored(&known, 1), None);
        assert_eq!(is_stored(&known, 30), Some(30));

        let known = self::known();
        let most = u64::try_from(MOST).unwrap();
        assert!((1..most).all(|number| known.recall(&key(number), number, 1000, now_ms)));
        assert!(!known.recall(&key(most), most, 1000, now_ms), "there are enough, and the next are older still");
        assert!(known.recall(&key(most), most, now_ms, now_ms), "one that may still be valid is never left out");
    }

    #[test]
    fn above_the_most_only_what_is_surely_invalid_goes_early() {
        let known = known();
        let count = u64::try_from(MOST + 2 * SLICE).unwrap();
        for number in 0..count {
            known.remember(&key(number), number, 1000);
        }
        assert_eq!(is_stored(&known, 0), Some(0), "still valid: kept whatever the number");
        known.remember(&key(count), count, 1000 + SLICE_MS);
        assert_eq!(is_stored(&known, 0), None);
        assert_eq!(is_stored(&known, count), Some(count));
        assert!(lock(&known.inner).total <= MOST);
    }
}
