//! A sorted map whose copies share what has not changed: a copy of the whole directory costs a handful of counters, and a
//! change to one of two copies copies one chunk. So whoever decides holds a directory that nobody changes under him, and
//! the next statement is folded in beside it, whatever the directory's size.
//!
//! Keys and values lie in chunks of at most `MOST_IN_A_CHUNK`, sorted, and the chunks in one list. Values should be
//! cheap to clone ([`super::kept::Kept`] is). Out of scope: any other thread's view of a change, which its owner publishes.

use std::{borrow::Borrow, cmp::Ordering, fmt, ops::RangeFrom, sync::Arc};

/// How many pairs one chunk holds at most: copying that many is what a change costs where a copy is about.
const MOST_IN_A_CHUNK: usize = 96;

type Chunk<K, V> = Arc<Vec<(K, V)>>;

/// A sorted map; a clone shares everything with it until one of the two is changed.
pub struct SharedMap<K, V> {
    /// Sorted; none is empty.
    chunks: Arc<Vec<Chunk<K, V>>>,
    length: usize,
}

impl<K, V> Clone for SharedMap<K, V> {
    fn clone(&self) -> Self {
        Self { chunks: Arc::clone(&self.chunks), length: self.length }
    }
}

impl<K, V> Default for SharedMap<K, V> {
    fn default() -> Self {
        Self { chunks: Arc::default(), length: 0 }
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for SharedMap<K, V> {
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

    /// All pairs, sorted by key.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> + use<'_, K, V> {
        self.chunks.iter().flat_map(|chunk| chunk.iter().map(|(key, value)| (key, value)))
    }

    /// All keys, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &K> + use<'_, K, V> {
        self.iter().map(|(key, _)| key)
    }

    /// All values, sorted by key.
    pub fn values(&self) -> impl Iterator<Item = &V> + use<'_, K, V> {
        self.iter().map(|(_, value)| value)
    }
}

impl<K: Ord, V> SharedMap<K, V> {
    /// The value under a key.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let chunk = self.chunks.get(self.chunk_of(key)?)?;
        let at = chunk.binary_search_by(|(known, _)| known.borrow().cmp(key)).ok()?;
        chunk.get(at).map(|(_, value)| value)
    }

    /// Whether there is a value under a key.
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }

    /// All pairs from a key on, sorted.
    pub fn range(&self, from: RangeFrom<K>) -> impl Iterator<Item = (&K, &V)> + use<'_, K, V> {
        let first = self.chunk_of(&from.start).unwrap_or(0);
        let skipped = self.chunks.get(first).map_or(0, |chunk| chunk.partition_point(|(key, _)| *key < from.start));
        let pairs = self.chunks[first.min(self.chunks.len())..].iter().flat_map(|chunk| chunk.iter());
        pairs.skip(skipped).map(|(key, value)| (key, value))
    }

    /// The chunk that has the key, if any has; `None` where the key is before all.
    fn chunk_of<Q: Ord + ?Sized>(&self, key: &Q) -> Option<usize>
    where
        K: Borrow<Q>,
    {
        let begins_after = |chunk: &Chunk<K, V>| chunk.first().is_some_and(|(first, _)| first.borrow() <= key);
        self.chunks.partition_point(begins_after).checked_sub(1)
    }
}

impl<K: Clone + Ord, V: Clone> SharedMap<K, V> {
    /// The value under a key, to be changed here and in no copy.
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let number = self.chunk_of(key)?;
        let at = self.chunks[number].binary_search_by(|(known, _)| known.borrow().cmp(key)).ok()?;
        let chunk = Arc::make_mut(&mut Arc::make_mut(&mut self.chunks)[number]);
        chunk.get_mut(at).map(|(_, value)| value)
    }

    /// Puts a value under a key; the value that was there.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let number = self.chunk_of(&key).unwrap_or(0);
        let chunks = Arc::make_mut(&mut self.chunks);
        let Some(chunk) = chunks.get_mut(number) else {
            chunks.push(Arc::new(vec![(key, value)]));
            self.length = 1;
            return None;
        };
        let chunk = Arc::make_mut(chunk);
        let at = match chunk.binary_search_by(|(known, _)| known.cmp(&key)) {
            Ok(at) => return Some(std::mem::replace(&mut chunk[at].1, value)),
            Err(at) => at,
        };
        self.length += 1;
        if chunk.len() < MOST_IN_A_CHUNK {
            if chunk.len() == chunk.capacity() {
                // Doubling would leave a third of a large directory's memory unused.
                chunk.reserve_exact((chunk.len() / 4).clamp(1, MOST_IN_A_CHUNK - chunk.len()));
            }
            chunk.insert(at, (key, value));
            return None;
        }
        // What comes in order goes behind: so chunks stay full where ids grow.
        let split = if at == chunk.len() { at } else { chunk.len() / 2 };
        let mut right: Vec<(K, V)> = chunk.drain(split..).collect();
        chunk.shrink_to_fit();
        if at > split || right.is_empty() {
            right.insert(at - split, (key, value));
        } else {
            chunk.insert(at, (key, value));
        }
        chunks.insert(number + 1, Arc::new(right));
        None
    }

    /// The value under a key, put there first where there is none.
    pub fn get_or_insert_with(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        if !self.contains_key(&key) {
            self.insert(key.clone(), make());
        }
        // Unwrap safety: it is there, or was inserted just now.
        #[expect(clippy::unwrap_used, reason = "it was inserted just now")]
        self.get_mut(&key).unwrap()
    }

    /// Takes the value under a key away.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let number = self.chunk_of(key)?;
        let at = self.chunks[number].binary_search_by(|(known, _)| known.borrow().cmp(key)).ok()?;
        let chunks = Arc::make_mut(&mut self.chunks);
        let chunk = Arc::make_mut(&mut chunks[number]);
        let (_, value) = chunk.remove(at);
        if chunk.is_empty() {
            chunks.remove(number);
        }
        self.length -= 1;
        Some(value)
    }

    /// Appends a pair whose key is above all others; `false`, and nothing changed, where it is not.
    pub(super) fn push(&mut self, key: K, value: V) -> bool {
        let last = self.chunks.last().and_then(|chunk| chunk.last());
        if last.is_some_and(|(last, _)| last.cmp(&key) != Ordering::Less) {
            return false;
        }
        let chunks = Arc::make_mut(&mut self.chunks);
        match chunks.last_mut() {
            Some(chunk) if chunk.len() < MOST_IN_A_CHUNK => Arc::make_mut(chunk).push((key, value)),
            _ => {
                let mut chunk = Vec::with_capacity(MOST_IN_A_CHUNK);
                chunk.push((key, value));
                chunks.push(Arc::new(chunk));
            }
        }
        self.length += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn pairs<V: Clone>(map: &SharedMap<u16, V>) -> Vec<(u16, V)> {
        map.iter().map(|(key, value)| (*key, value.clone())).collect()
    }

    proptest! {
        #[test]
        fn it_does_what_a_sorted_map_does_and_copies_stay_as_they_were(
            steps in proptest::collection::vec((0_u16..700, 0_u8..4, any::<u32>()), 1..3000)
        ) {
            let (mut map, mut model) = (SharedMap::new(), BTreeMap::new());
            let mut copies = Vec::new();
            for (number, (key, step, value)) in steps.into_iter().enumerate() {
                match step {
                    0 => prop_assert_eq!(map.remove(&key), model.remove(&key)),
                    1 => if let Some(known) = map.get_mut(&key) {
                        *known = value;
                        model.insert(key, value);
                    },
                    _ => prop_assert_eq!(map.insert(key, value), model.insert(key, value)),
                }
                prop_assert_eq!(map.get(&key), model.get(&key));
                prop_assert_eq!(map.len(), model.len());
                if number % 500 == 0 {
                    copies.push((map.clone(), model.clone()));
                }
            }
            copies.push((map, model));
            for (map, model) in copies {
                let expected: Vec<_> = model.clone().into_iter().collect();
                prop_assert_eq!(pairs(&map), expected);
                for from in [0, 1, 350, 699, 700] {
                    let here: Vec<_> = map.range(from..).map(|(key, value)| (*key, *value)).collect();
                    let there: Vec<_> = model.range(from..).map(|(key, value)| (*key, *value)).collect();
                    prop_assert_eq!(here, there);
                }
            }
        }
    }

    #[test]
    fn what_comes_in_order_fills_its_chunks() {
        let mut map = SharedMap::new();
        (0..1000_u16).for_each(|key| assert_eq!(map.insert(key, ()), None));
        assert_eq!(map.chunks.len(), 1000_usize.div_ceil(MOST_IN_A_CHUNK));
        assert!(!map.push(999, ()) && map.push(1000, ()));
        assert_eq!(map.len(), 1001);
        assert_eq!(*map.get_or_insert_with(2000, || ()), ());
    }
}
