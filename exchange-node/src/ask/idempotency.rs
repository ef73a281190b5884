//! The same key with the same question gets the same answer, for a day. The keys themselves are not kept, only their
//! hashes; the answers are in the journal. Out of scope: whether it is the same question, which the stored one shows.

use std::{collections::HashMap, sync::Arc, sync::Mutex, time::Duration};

use sha2::{Digest, Sha256};

use super::lock;

/// How many keys are known before old ones are looked for.
const SWEEP_ABOVE: usize = 10_000;

/// The index of the answer's entry, once there is one. Whoever holds the lock is asking.
pub(super) type Slot = Arc<tokio::sync::Mutex<Option<u64>>>;

pub(super) struct Idempotency {
    known_ms: u64,
    slots: Mutex<Slots>,
}

#[derive(Default)]
struct Slots {
    by_key: HashMap<[u8; 16], (u64, Slot)>,
    sweep_above: usize,
}

/// SHA-256 of the office system, NUL and its key, cut to 16 bytes: keys of two systems never meet.
pub(super) fn key(system: &str, key: &str) -> [u8; 16] {
    let mut hash = Sha256::new();
    hash.update(system);
    hash.update(b"\0");
    hash.update(key);
    let mut cut = [0; 16];
    cut.copy_from_slice(&hash.finalize()[..16]);
    cut
}

impl Idempotency {
    pub(super) fn new(known: Duration) -> Self {
        Self { known_ms: known.as_millis().try_into().unwrap_or(u64::MAX), slots: Mutex::default() }
    }

    pub(super) fn slot(&self, key: [u8; 16], now_ms: u64) -> Slot {
        let mut slots = lock(&self.slots);
        slots.sweep(now_ms.saturating_sub(self.known_ms));
        Arc::clone(&slots.by_key.entry(key).or_insert_with(|| (now_ms, Slot::default())).1)
    }

    /// Recalls an answer while the evidence is read back, the newest first: the newest under a key counts.
    pub(super) fn recall(&self, key: [u8; 16], index: u64, at_ms: u64) {
        let slot = || (at_ms, Arc::new(tokio::sync::Mutex::new(Some(index))));
        lock(&self.slots).by_key.entry(key).or_insert_with(slot);
    }
}

impl Slots {
    /// Forgets what is older than `from_ms` and not in use; rarely, since it looks at everything.
    fn sweep(&mut self, from_ms: u64) {
        if self.by_key.len() > self.sweep_above.max(SWEEP_ABOVE) {
            self.by_key.retain(|_, (at_ms, slot)| *at_ms >= from_ms || Arc::strong_count(slot) > 1);
            self.sweep_above = self.by_key.len() * 2;
        }
    }
}
