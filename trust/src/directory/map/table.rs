//! The table of a map's chunks: sorted, in groups. Beside each chunk stand the first bytes of its first key, so that whoever
//! looks for a key reads two short rows, and a chunk only where these do not decide. A change moves, or copies where a
//! copy of the map shares it, one group. Out of scope: what a chunk holds (`map`).

use std::{cmp::Ordering, sync::Arc};

/// How many chunks a group holds at most.
const MOST_IN_A_GROUP: usize = 256;

/// How many bytes of a key stand beside its chunk.
const HEAD_BYTES: usize = 24;

/// A chunk of sorted pairs.
pub(super) trait Chunk {
    /// The key of its first pair.
    fn first_key(&self) -> &[u8];
}

/// The first bytes of a key; zeros behind a shorter one. Where two differ, their keys are in the same order; where they are
/// the same, the keys decide.
type Head = [u8; HEAD_BYTES];

fn head(key: &[u8]) -> Head {
    let mut head = [0; HEAD_BYTES];
    let length = key.len().min(HEAD_BYTES);
    head[..length].copy_from_slice(&key[..length]);
    head
}

struct Place<C> {
    head: Head,
    chunk: Arc<C>,
}

impl<C> Clone for Place<C> {
    fn clone(&self) -> Self {
        Self { head: self.head, chunk: Arc::clone(&self.chunk) }
    }
}

impl<C: Chunk> Place<C> {
    fn new(chunk: Arc<C>) -> Self {
        Self { head: head(chunk.first_key()), chunk }
    }

    /// Whether its first key is the looked-for one or before it.
    fn begins_by(&self, key: &[u8], looked_for: &Head) -> bool {
        match self.head.cmp(looked_for) {
            Ordering::Less => true,
            Ordering::Greater => false,
            Ordering::Equal => self.chunk.first_key() <= key,
        }
    }
}

/// Chunks in order; never empty.
type Group<C> = Vec<Place<C>>;

/// Where a chunk stands, until the table changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct At {
    group: usize,
    place: usize,
}

/// The chunks of a map. A clone shares everything.
pub(super) struct Table<C> {
    /// With the head of the group's first chunk.
    groups: Arc<Vec<(Head, Arc<Group<C>>)>>,
}

impl<C> Clone for Table<C> {
    fn clone(&self) -> Self {
        Self { groups: Arc::clone(&self.groups) }
    }
}

impl<C> Default for Table<C> {
    fn default() -> Self {
        Self { groups: Arc::default() }
    }
}

impl<C> Table<C> {
    /// All chunks, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<C>> {
        self.iter_from(At::default())
    }

    /// All chunks from one on, in order.
    pub(super) fn iter_from(&self, at: At) -> impl Iterator<Item = &Arc<C>> {
        let groups = self.groups.iter().skip(at.group).flat_map(|(_, group)| group.iter());
        groups.skip(at.place).map(|place| &place.chunk)
    }

    /// The last chunk.
    pub(super) fn last(&self) -> Option<&Arc<C>> {
        self.groups.last().and_then(|(_, group)| group.last()).map(|place| &place.chunk)
    }

    /// The chunk that stands there.
    pub(super) fn get(&self, at: At) -> Option<&Arc<C>> {
        self.groups.get(at.group).and_then(|(_, group)| group.get(at.place)).map(|place| &place.chunk)
    }
}

impl<C: Chunk> Table<C> {
    /// Where the last chunk stands that begins with the key or before it; `None` where all begin behind it.
    pub(super) fn find(&self, key: &[u8]) -> Option<At> {
        let looked_for = head(key);
        let begins_by = |first: &Head, group: &Group<C>| match first.cmp(&looked_for) {
            Ordering::Less => true,
            Ordering::Greater => false,
            Ordering::Equal => group.first().is_some_and(|place| place.begins_by(key, &looked_for)),
        };
        let group = self.groups.partition_point(|(first, group)| begins_by(first, group)).checked_sub(1)?;
        let (_, places) = &self.groups[group];
        let place = places.partition_point(|place| place.begins_by(key, &looked_for)).checked_sub(1)?;
        Some(At { group, place })
    }

    /// The chunk that stands there, to be taken apart; [`Table::replace`] puts another in its place.
    pub(super) fn get_mut(&mut self, at: At) -> Option<&mut Arc<C>> {
        let (_, group) = Arc::make_mut(&mut self.groups).get_mut(at.group)?;
        Arc::make_mut(group).get_mut(at.place).map(|place| &mut place.chunk)
    }

    /// Puts a chunk in the place of the one that stands there.
    pub(super) fn replace(&mut self, at: At, chunk: Arc<C>) {
        self.change(at.group, |group| group[at.place] = Place::new(chunk));
    }

    /// Puts a chunk behind the one that stands there.
    pub(super) fn insert_after(&mut self, at: At, chunk: Arc<C>) {
        self.change(at.group, |group| group.insert(at.place + 1, Place::new(chunk)));
        self.split_where_full(at.group);
    }

    /// Puts a chunk behind all.
    pub(super) fn push(&mut self, chunk: Arc<C>) {
        let place = Place::new(chunk);
        let Some(last) = self.groups.len().checked_sub(1) else {
            self.groups = Arc::new(vec![(place.head, Arc::new(vec![place]))]);
            return;
        };
        self.change(last, |group| group.push(place));
        self.split_where_full(last);
    }

    /// Takes the chunk that stands there away.
    pub(super) fn remove(&mut self, at: At) {
        if self.groups[at.group].1.len() == 1 {
            Arc::make_mut(&mut self.groups).remove(at.group);
        } else {
            self.change(at.group, |group| drop(group.remove(at.place)));
        }
    }

    /// Puts another chunk in the place of each for which there is one, with the same pairs.
    pub(super) fn exchange(&mut self, other: impl Fn(&Arc<C>) -> Option<Arc<C>>) {
        for number in 0..self.groups.len() {
            let places = self.groups[number].1.iter().enumerate();
            let others: Vec<_> = places.filter_map(|(at, place)| Some((at, other(&place.chunk)?))).collect();
            if !others.is_empty() {
                self.change(number, |group| others.into_iter().for_each(|(at, chunk)| group[at].chunk = chunk));
            }
        }
    }

    fn change(&mut self, number: usize, change: impl FnOnce(&mut Group<C>)) {
        let (first, group) = &mut Arc::make_mut(&mut self.groups)[number];
        let group = Arc::make_mut(group);
        change(group);
        *first = group[0].head;
    }

    fn split_where_full(&mut self, number: usize) {
        let groups = Arc::make_mut(&mut self.groups);
        // The last stays full: ids that grow come behind it.
        let left = if number + 1 == groups.len() { MOST_IN_A_GROUP } else { MOST_IN_A_GROUP / 2 };
        let group = &mut groups[number].1;
        if group.len() > MOST_IN_A_GROUP {
            let right = Arc::make_mut(group).split_off(left);
            groups.insert(number + 1, (right[0].head, Arc::new(right)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Chunk for Vec<u8> {
        fn first_key(&self) -> &[u8] {
            self
        }
    }

    fn keys(table: &Table<Vec<u8>>) -> Vec<Vec<u8>> {
        table.iter().map(|chunk| chunk.to_vec()).collect()
    }

    /// Keys that differ early, late, behind the head, or in length alone.
    fn key(number: u32) -> Vec<u8> {
        let long = [&[b'x'; HEAD_BYTES + 2][..], &number.to_be_bytes()].concat();
        match number % 4 {
            0 => number.to_be_bytes().to_vec(),
            1 => long,
            2 => [&[b'y'][..], &vec![0; (number / 4 % 60) as usize]].concat(),
            _ => [b"d", &number.to_le_bytes()[..]].concat(),
        }
    }

    #[test]
    fn it_finds_what_a_sorted_list_finds() {
        let (mut table, mut list) = (Table::<Vec<u8>>::default(), Vec::<Vec<u8>>::new());
        for number in (0..4000_u32).map(|number| number.wrapping_mul(2_654_435_761) % 5000) {
            let key = key(number);
            let expected = list.partition_point(|other| *other <= key).checked_sub(1);
            let at = table.find(&key);
            assert_eq!(
                at.and_then(|at| table.get(at)).map(|chunk| chunk.to_vec()),
                expected.map(|at| list[at].clone())
            );
            if expected.is_some_and(|at| list[at] == key) {
                table.replace(at.unwrap(), Arc::new(key));
                continue;
            }
            match at {
                Some(at) => table.insert_after(at, Arc::new(key.clone())),
                // Before all: what was first comes behind it.
                None => match table.get(At::default()).cloned() {
                    None => table.push(Arc::new(key.clone())),
                    Some(first) => {
                        table.replace(At::default(), Arc::new(key.clone()));
                        table.insert_after(At::default(), first);
                    }
                },
            }
            list.insert(expected.map_or(0, |at| at + 1), key);
        }
        assert_eq!(keys(&table), list);
        assert!(table.groups.len() > 5 && table.groups.iter().all(|(first, group)| *first == group[0].head));
        let from = table.find(&list[1234]).unwrap();
        let rest: Vec<_> = table.iter_from(from).map(|chunk| chunk.to_vec()).collect();
        assert_eq!(rest, list[1234..]);
        let copy = table.clone();
        for key in list.iter().skip(100) {
            let at = table.find(key).unwrap();
            assert_eq!(**table.get(at).unwrap(), *key);
            table.remove(at);
        }
        assert_eq!((keys(&table), keys(&copy)), (list[..100].to_vec(), list.clone()));
    }
}
