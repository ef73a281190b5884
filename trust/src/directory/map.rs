//! A sorted map that holds its pairs packed: a directory of a million statements leaves hundreds of thousands of keys, nodes
//! and grants, of which a reader looks at a few dozen. So pairs lie as bytes, some tens in one piece, and are read when
//! somebody asks; what was read stays until [`SharedMap::shed`].
//!
//! Copies share what has not changed: a copy of the whole directory costs a handful of counters, and a change to one of two
//! copies packs one chunk anew. So whoever decides holds a directory that nobody changes under him, and the next statement
//! is folded in beside it, whatever the directory's size. How a pair is packed is its own matter (`packed`). Out of scope:
//! any other thread's view of a change, which its owner publishes.

mod table;

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use bytes::Bytes;

use self::table::{At, Table};

/// How many pairs one chunk holds at most: packing that many is what a change costs.
const MOST_IN_A_CHUNK: usize = 32;

/// A key of a map. **Invariant:** keys and their bytes have the same order.
pub trait Key: Clone + Ord {
    /// Writes its bytes.
    fn write(&self, out: &mut Vec<u8>);
    /// Reads what [`Key::write`] wrote.
    fn read(bytes: &[u8]) -> Option<Self>;
}

/// A value of a map.
pub trait Packed<K>: Sized {
    /// How many values may stay read.
    const MOST_READ: u32 = 4096;

    /// Writes its bytes. What stands in the key need not stand in them.
    fn pack(&self, key: &K, out: &mut Vec<u8>);
    /// Reads what [`Packed::pack`] wrote.
    fn unpack(key: &K, bytes: &[u8]) -> Option<Self>;
}

/// A pair that was read, once it was.
type Slot<K, V> = OnceLock<Box<(K, V)>>;

struct Chunk<K, V> {
    /// The pairs, packed ([`records`]).
    bytes: Bytes,
    /// Those that were read.
    read: OnceLock<Box<[Slot<K, V>]>>,
}

impl<K, V> Chunk<K, V> {
    fn new(bytes: Bytes) -> Arc<Self> {
        Arc::new(Self { bytes, read: OnceLock::new() })
    }
}

impl<K, V> table::Chunk for Chunk<K, V> {
    fn first_key(&self) -> &[u8] {
        key_at(&self.bytes, 0)
    }
}

/// A sorted map; a clone shares everything with it until one of the two is changed.
pub struct SharedMap<K, V> {
    /// None is empty.
    chunks: Table<Chunk<K, V>>,
    length: usize,
    /// How many values were read and may still be.
    read: AtomicU32,
}

impl<K, V> Clone for SharedMap<K, V> {
    fn clone(&self) -> Self {
        let read = AtomicU32::new(self.read.load(Ordering::Relaxed));
        Self { chunks: self.chunks.clone(), length: self.length, read }
    }
}

impl<K, V> Default for SharedMap<K, V> {
    fn default() -> Self {
        Self { chunks: Table::default(), length: 0, read: AtomicU32::new(0) }
    }
}

impl<K: Key + fmt::Debug, V: Packed<K> + fmt::Debug> fmt::Debug for SharedMap<K, V> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_map().entries(self.iter()).finish()
    }
}

impl<K, V> SharedMap<K, V> {
    /// An empty map.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many pairs it has.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The chunks as they are packed, in order, for whoever writes them down.
    pub(super) fn packed(&self) -> impl Iterator<Item = &[u8]> {
        self.chunks.iter().map(|chunk| &*chunk.bytes)
    }
}

impl<K: Key, V: Packed<K>> SharedMap<K, V> {
    /// All pairs, sorted by key.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> + use<'_, K, V> {
        self.chunks.iter().flat_map(|chunk| (0..records(&chunk.bytes).count()).filter_map(|at| self.pair(chunk, at)))
    }

    /// All pairs, sorted by key, read for the caller alone: nothing of them stays.
    pub fn scan(&self) -> impl Iterator<Item = (K, V)> + use<'_, K, V> {
        self.chunks.iter().flat_map(|chunk| records(&chunk.bytes)).filter_map(|(key, value)| {
            let key = K::read(key)?;
            let value = V::unpack(&key, value)?;
            Some((key, value))
        })
    }

    /// All keys, sorted, and nothing else is read.
    pub fn scan_keys(&self) -> impl Iterator<Item = K> + use<'_, K, V> {
        self.chunks.iter().flat_map(|chunk| records(&chunk.bytes)).filter_map(|(key, _)| K::read(key))
    }

    /// All keys from one on, sorted, and nothing else is read.
    pub fn scan_keys_from(&self, from: &K) -> impl Iterator<Item = K> + use<'_, K, V> {
        let from = written(from);
        let first = self.chunks.find(&from).unwrap_or_default();
        let records = self.chunks.iter_from(first).flat_map(|chunk| records(&chunk.bytes));
        records.skip_while(move |(key, _)| *key < &*from).filter_map(|(key, _)| K::read(key))
    }

    /// All values, sorted by key.
    pub fn values(&self) -> impl Iterator<Item = &V> + use<'_, K, V> {
        self.iter().map(|(_, value)| value)
    }

    /// The value under a key.
    pub fn get(&self, key: &K) -> Option<&V> {
        let key = written(key);
        let chunk = self.chunks.get(self.chunks.find(&key)?)?;
        self.pair(chunk, find(&chunk.bytes, &key).ok()?).map(|(_, value)| value)
    }

    /// Whether there is a value under a key.
    pub fn contains_key(&self, key: &K) -> bool {
        let key = written(key);
        let chunk = self.chunks.find(&key).and_then(|at| self.chunks.get(at));
        chunk.is_some_and(|chunk| find(&chunk.bytes, &key).is_ok())
    }

    /// All pairs from a key on, sorted.
    pub fn range(&self, from: &K) -> impl Iterator<Item = (&K, &V)> + use<'_, K, V> {
        let from = written(from);
        let first = self.chunks.find(&from).unwrap_or_default();
        let skipped = self.chunks.get(first).map_or(0, |chunk| match find(&chunk.bytes, &from) {
            Ok(at) | Err(at) => at,
        });
        let places = self
            .chunks
            .iter_from(first)
            .flat_map(|chunk| (0..records(&chunk.bytes).count()).map(move |at| (chunk, at)));
        places.skip(skipped).filter_map(|(chunk, at)| self.pair(chunk, at))
    }

    fn pair<'a>(&'a self, chunk: &'a Chunk<K, V>, at: usize) -> Option<(&'a K, &'a V)> {
        let slots = chunk.read.get_or_init(|| records(&chunk.bytes).map(|_| OnceLock::new()).collect());
        let slot = slots.get(at)?;
        if slot.get().is_none() {
            let (key, value) = record_at(&chunk.bytes, at);
            let key = K::read(key)?;
            let value = V::unpack(&key, value)?;
            self.read.fetch_add(1, Ordering::Relaxed);
            let _ = slot.set(Box::new((key, value)));
        }
        slot.get().map(|pair| (&pair.0, &pair.1))
    }

    /// Changes the value under a key, here and in no copy; `None` where there is none.
    pub fn change<T>(&mut self, key: &K, change: impl FnOnce(&mut V) -> T) -> Option<T> {
        let name = written(key);
        let place = self.chunks.find(&name)?;
        let old = &self.chunks.get(place)?.bytes;
        let at = find(old, &name).ok()?;
        let mut value = V::unpack(key, record_at(old, at).1)?;
        let outcome = change(&mut value);
        self.put(place, Ok(at), (&name, &packed(key, &value)));
        Some(outcome)
    }

    /// Puts a value under a key, in place of the one that was there.
    pub fn insert(&mut self, key: &K, value: &V) {
        let (name, value) = (written(key), packed(key, value));
        let place = self.chunks.find(&name).unwrap_or_default();
        let Some(at) = self.chunks.get(place).map(|chunk| find(&chunk.bytes, &name)) else {
            self.chunks.push(Chunk::new(pack(&[(&name, &value)])));
            self.length = 1;
            return;
        };
        self.length += usize::from(at.is_err());
        self.put(place, at, (&name, &value));
    }

    /// Takes the value under a key away.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let name = written(key);
        let place = self.chunks.find(&name)?;
        let old = &self.chunks.get(place)?.bytes;
        let at = find(old, &name).ok()?;
        let value = V::unpack(key, record_at(old, at).1);
        self.length -= 1;
        let left: Vec<_> = records(old).enumerate().filter(|(number, _)| *number != at).map(|(_, pair)| pair).collect();
        if left.is_empty() {
            self.chunks.remove(place);
        } else {
            let left = Chunk::new(pack(&left));
            self.chunks.replace(place, left);
        }
        value
    }

    /// Puts a pair into a chunk, in place of the one at `Ok` or before the one at `Err` ([`find`]).
    fn put(&mut self, place: At, at: Result<usize, usize>, pair: (&[u8], &[u8])) {
        let Some(old) = self.chunks.get(place) else { return };
        let mut pairs: Vec<(&[u8], &[u8])> = Vec::with_capacity(MOST_IN_A_CHUNK + 1);
        pairs.extend(records(&old.bytes));
        match at {
            Ok(at) => pairs[at] = pair,
            Err(at) => pairs.insert(at, pair),
        }
        // What comes in order goes behind: so chunks stay full where ids grow.
        let middle = match pairs.len() {
            length if length <= MOST_IN_A_CHUNK => None,
            length if at == Err(length - 1) => Some(length - 1),
            length => Some(length / 2),
        };
        let (left, right) = pairs.split_at(middle.unwrap_or(pairs.len()));
        let (left, right) = (pack(left), middle.map(|_| pack(right)));
        // What was read of the others stays, where no copy shares it.
        let chunk = self.chunks.get_mut(place).and_then(Arc::get_mut);
        let mut slots = chunk.and_then(|chunk| chunk.read.take()).map(Vec::from);
        slots.iter_mut().for_each(|slots| match at {
            Ok(at) => slots[at] = OnceLock::new(),
            Err(at) => slots.insert(at, OnceLock::new()),
        });
        let behind = middle.and_then(|middle| slots.as_mut().map(|slots| slots.split_off(middle)));
        self.chunks.replace(place, chunk_of(left, slots));
        if let Some(right) = right {
            self.chunks.insert_after(place, chunk_of(right, behind));
        }
    }

    /// Lets go of what was read, where that is more than may stay; it is read again when it is asked for.
    pub fn shed(&mut self) {
        if *self.read.get_mut() <= V::MOST_READ {
            return;
        }
        *self.read.get_mut() = 0;
        self.chunks.exchange(|chunk| chunk.read.get().map(|_| Chunk::new(chunk.bytes.clone())));
    }

    /// Appends a chunk as it was packed; `false`, and nothing changed, where it is none or does not go on from the last.
    pub(super) fn push_packed(&mut self, bytes: &[u8]) -> bool {
        let Some(count) = check(bytes) else { return false };
        let last = self.chunks.last().map(|chunk| key_at(&chunk.bytes, records(&chunk.bytes).count() - 1));
        if last.is_some_and(|last| last >= key_at(bytes, 0)) {
            return false;
        }
        self.length += count;
        self.chunks.push(Chunk::new(Bytes::copy_from_slice(bytes)));
        true
    }
}

fn chunk_of<K, V>(bytes: Bytes, slots: Option<Vec<Slot<K, V>>>) -> Arc<Chunk<K, V>> {
    let read = slots.map_or_else(OnceLock::new, |slots| OnceLock::from(slots.into_boxed_slice()));
    Arc::new(Chunk { bytes, read })
}

fn written<K: Key>(key: &K) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64);
    key.write(&mut bytes);
    bytes
}

fn packed<K, V: Packed<K>>(key: &K, value: &V) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256);
    value.pack(key, &mut bytes);
    bytes
}

// A chunk: the number of pairs (1 byte); for each, where it ends (4 bytes, counted from behind these numbers); and then for
// each the length of its key (2 bytes), its key and its value. Numbers are big-endian.

const END_BYTES: usize = 4;
const KEY_LENGTH_BYTES: usize = 2;

fn pack(pairs: &[(&[u8], &[u8])]) -> Bytes {
    let content: usize = pairs.iter().map(|(key, value)| KEY_LENGTH_BYTES + key.len() + value.len()).sum();
    let mut bytes = Vec::with_capacity(1 + pairs.len() * END_BYTES + content);
    bytes.push(pairs.len() as u8);
    let mut end = 0;
    for (key, value) in pairs {
        end += KEY_LENGTH_BYTES + key.len() + value.len();
        bytes.extend_from_slice(&(end as u32).to_be_bytes());
    }
    for (key, value) in pairs {
        bytes.extend_from_slice(&(key.len() as u16).to_be_bytes());
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(value);
    }
    bytes.into()
}

fn end_of(chunk: &[u8], at: usize) -> usize {
    let start = 1 + at * END_BYTES;
    chunk[start..].first_chunk().map_or(0, |end| u32::from_be_bytes(*end) as usize)
}

/// Key and value of a pair.
fn record_at(chunk: &[u8], at: usize) -> (&[u8], &[u8]) {
    let content = &chunk[1 + usize::from(chunk[0]) * END_BYTES..];
    let start = if at == 0 { 0 } else { end_of(chunk, at - 1) };
    let record = &content[start..end_of(chunk, at)];
    let length = usize::from(u16::from_be_bytes([record[0], record[1]]));
    record[KEY_LENGTH_BYTES..].split_at(length)
}

fn key_at(chunk: &[u8], at: usize) -> &[u8] {
    record_at(chunk, at).0
}

fn records(chunk: &[u8]) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> {
    (0..usize::from(chunk[0])).map(|at| record_at(chunk, at))
}

/// Where a key is, or where it would be.
fn find(chunk: &[u8], key: &[u8]) -> Result<usize, usize> {
    let (mut low, mut high) = (0, usize::from(chunk[0]));
    while low < high {
        let middle = usize::midpoint(low, high);
        match key_at(chunk, middle).cmp(key) {
            std::cmp::Ordering::Equal => return Ok(middle),
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Greater => high = middle,
        }
    }
    Err(low)
}

/// How many pairs a chunk has; `None` where the bytes are no chunk, or its keys are not in order.
fn check(chunk: &[u8]) -> Option<usize> {
    let count = usize::from(*chunk.first()?);
    let content = chunk.get(1 + count * END_BYTES..)?;
    let mut start = 0;
    for at in 0..count {
        let record = content.get(start..end_of(chunk, at))?;
        let length = usize::from(u16::from_be_bytes(*record.first_chunk()?));
        record.get(KEY_LENGTH_BYTES..KEY_LENGTH_BYTES + length)?;
        start = end_of(chunk, at);
    }
    let in_order = (1..count).all(|at| key_at(chunk, at - 1) < key_at(chunk, at));
    (count > 0 && count <= MOST_IN_A_CHUNK && start == content.len() && in_order).then_some(count)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    impl Key for u16 {
        fn write(&self, out: &mut Vec<u8>) {
            out.extend_from_slice(&self.to_be_bytes());
        }

        fn read(bytes: &[u8]) -> Option<Self> {
            bytes.try_into().ok().map(Self::from_be_bytes)
        }
    }

    impl Packed<u16> for u32 {
        const MOST_READ: u32 = 50;

        fn pack(&self, key: &u16, out: &mut Vec<u8>) {
            // Of different lengths.
            out.extend_from_slice(&self.to_be_bytes());
            out.resize(out.len() + usize::from(key % 7), 0);
        }

        fn unpack(_: &u16, bytes: &[u8]) -> Option<Self> {
            bytes.first_chunk().map(|bytes| Self::from_be_bytes(*bytes))
        }
    }

    fn pairs(map: &SharedMap<u16, u32>) -> Vec<(u16, u32)> {
        map.iter().map(|(key, value)| (*key, *value)).collect()
    }

    proptest! {
        #[test]
        fn it_does_what_a_sorted_map_does_and_copies_stay_as_they_were(
            steps in proptest::collection::vec((0_u16..700, 0_u8..5, any::<u32>()), 1..3000)
        ) {
            let (mut map, mut model) = (SharedMap::new(), BTreeMap::new());
            let mut copies = Vec::new();
            for (number, (key, step, value)) in steps.into_iter().enumerate() {
                match step {
                    0 => prop_assert_eq!(map.remove(&key), model.remove(&key)),
                    1 => {
                        let before = map.change(&key, |known: &mut u32| std::mem::replace(known, value));
                        prop_assert_eq!(before, model.get_mut(&key).map(|known| std::mem::replace(known, value)));
                    }
                    2 => map.shed(),
                    _ => {
                        map.insert(&key, &value);
                        model.insert(key, value);
                    }
                }
                prop_assert_eq!(map.get(&key), model.get(&key));
                prop_assert_eq!(map.contains_key(&(key + 1)), model.contains_key(&(key + 1)));
                prop_assert_eq!(map.len(), model.len());
                if number % 500 == 0 {
                    copies.push((map.clone(), model.clone()));
                }
            }
            copies.push((map, model));
            for (map, model) in copies {
                let expected: Vec<_> = model.clone().into_iter().collect();
                prop_assert_eq!(pairs(&map), expected.clone());
                prop_assert_eq!(map.scan().collect::<Vec<_>>(), expected);
                prop_assert!(map.scan_keys().eq(model.keys().copied()));
                for from in [0, 1, 350, 699, 700] {
                    prop_assert!(map.scan_keys_from(&from).eq(model.range(from..).map(|(key, _)| *key)));
                    let here: Vec<_> = map.range(&from).map(|(key, value)| (*key, *value)).collect();
                    let there: Vec<_> = model.range(from..).map(|(key, value)| (*key, *value)).collect();
                    prop_assert_eq!(here, there);
                }
                let mut again = SharedMap::<u16, u32>::new();
                prop_assert!(map.packed().all(|chunk| again.push_packed(chunk)));
                prop_assert_eq!((again.len(), pairs(&again)), (map.len(), pairs(&map)));
            }
        }
    }

    #[test]
    fn what_comes_in_order_fills_its_chunks_and_little_stays_read() {
        let mut map = SharedMap::new();
        (0..1000_u16).for_each(|key| map.insert(&key, &u32::from(key)));
        assert_eq!(map.chunks.iter().count(), 1000_usize.div_ceil(MOST_IN_A_CHUNK));
        let read = |map: &SharedMap<u16, u32>| map.chunks.iter().filter(|chunk| chunk.read.get().is_some()).count();
        assert_eq!(map.get(&7), Some(&7));
        map.shed();
        assert_eq!(read(&map), 1, "so few may stay");
        let copy = map.clone();
        assert_eq!(map.values().count(), 1000);
        map.shed();
        assert_eq!((read(&map), map.get(&999)), (0, Some(&999)));
        assert!(read(&copy) > 1, "a copy is not touched");
    }

    #[test]
    fn what_is_no_chunk_is_not_taken() {
        let good = pack(&[(&[0, 1], &[0; 4]), (&[0, 2], &[0; 4])]);
        let taken = |bytes: &[u8]| SharedMap::<u16, u32>::new().push_packed(bytes);
        assert!(taken(&good));
        for cut in 0..good.len() {
            assert!(!taken(&good[..cut]), "{cut}");
        }
        let reversed = pack(&[(&[0, 2], &[0; 4]), (&[0, 1], &[0; 4])]);
        assert!(!taken(&reversed) && !taken(&[0]) && !taken(&[good.as_ref(), &[0]].concat()));
        let mut map = SharedMap::<u16, u32>::new();
        assert!(map.push_packed(&good) && !map.push_packed(&good), "it does not go on from the last");
    }
}
