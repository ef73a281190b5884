//! Where a month of the journal begins: the tree before its first entry, and which months hold the entries before.
//!
//! It makes a month readable without the one before it: the tree can be restored and continued, and the month that
//! holds an older entry or tile is known without opening any.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | format, 1 |
//! | 8 | size of the tree |
//! | 32 | its root |
//! | 2 | number of months up to this one, itself included |
//! | 4 + 8 each | the month as year × 100 + month, and its first index |
//! | 1 | number of levels |
//! | 1, then 32 each | by level: how many hashes its unfinished tile has, and they |

use trust::log::{
    frontier::Frontier,
    hash::{HASH_LENGTH, Hash},
};

use super::Month;

/// Where a month begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Beginning {
    /// The tree before the month's first entry.
    pub(super) tree: Frontier,
    /// Every month with the index of its first entry, oldest first; this month is the last.
    pub(super) months: Vec<(Month, u64)>,
}

/// The bytes are no beginning of a month.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its beginning cannot be read")]
pub(super) struct Malformed;

impl Beginning {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![FORMAT];
        bytes.extend_from_slice(&self.tree.size().to_be_bytes());
        bytes.extend_from_slice(self.tree.root().as_bytes());
        // A journal has at most 12 months a year, and as many years as a calendar of four digits.
        bytes.extend_from_slice(&u16::try_from(self.months.len()).unwrap_or(u16::MAX).to_be_bytes());
        for (month, first_index) in &self.months {
            bytes.extend_from_slice(&month.to_number().to_be_bytes());
            bytes.extend_from_slice(&first_index.to_be_bytes());
        }
        let levels = self.tree.levels();
        // At most 8 levels, and fewer than 256 hashes in an unfinished tile.
        bytes.push(levels.len() as u8);
        for level in levels {
            bytes.push(level.len() as u8);
            level.iter().for_each(|hash| bytes.extend_from_slice(hash.as_bytes()));
        }
        bytes
    }

    /// Reads what [`Beginning::to_bytes`] wrote, and checks that the tree has its root and the months are in order.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut rest = bytes;
        let [format] = array(&mut rest)?;
        if format != FORMAT {
            return Err(Malformed);
        }
        let size = u64::from_be_bytes(array(&mut rest)?);
        let root = Hash::from_bytes(array(&mut rest)?);
        let count = u16::from_be_bytes(array(&mut rest)?);
        let mut months = Vec::new();
        for _ in 0..count {
            let month = Month::from_number(u32::from_be_bytes(array(&mut rest)?)).ok_or(Malformed)?;
            months.push((month, u64::from_be_bytes(array(&mut rest)?)));
        }
        let [level_count] = array(&mut rest)?;
        let mut levels = Vec::new();
        for _ in 0..level_count {
            let [width] = array(&mut rest)?;
            let (hashes, after) = rest.split_at_checked(usize::from(width) * HASH_LENGTH).ok_or(Malformed)?;
            levels.push(hashes.as_chunks().0.iter().copied().map(Hash::from_bytes).collect());
            rest = after;
        }
        let tree = Frontier::from_parts(size, levels).map_err(|_| Malformed)?;
        let in_order = months.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1);
        let starts_here = months.last().is_some_and(|(_, first_index)| *first_index == size);
        if !rest.is_empty() || !in_order || !starts_here || tree.root() != root {
            return Err(Malformed);
        }
        Ok(Self { tree, months })
    }
}

fn array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Malformed> {
    let (taken, after) = rest.split_first_chunk().ok_or(Malformed)?;
    *rest = after;
    Ok(*taken)
}

const FORMAT: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use trust::log::hash::leaf_hash;

    fn beginning(size: u64) -> Beginning {
        let mut tree = Frontier::new();
        (0..size).for_each(|index| drop(tree.append(leaf_hash(&index.to_be_bytes()))));
        let month = |text: &str| text.parse().unwrap();
        Beginning { tree, months: vec![(month("2026-10"), 0), (month("2026-11"), size / 2), (month("2026-12"), size)] }
    }

    #[test]
    fn a_beginning_reads_back() {
        for size in [0, 1, 255, 256, 257, 1_000, 70_000] {
            let beginning = beginning(size);
            assert_eq!(Beginning::read(&beginning.to_bytes()), Ok(beginning));
        }
    }

    #[test]
    fn months_out_of_order_or_that_start_elsewhere_are_refused() {
        let mut swapped = beginning(300);
        swapped.months.swap(0, 1);
        let mut elsewhere = beginning(300);
        elsewhere.months.pop();
        for wrong in [swapped, elsewhere] {
            assert_eq!(Beginning::read(&wrong.to_bytes()), Err(Malformed));
        }
    }

    proptest! {
        #[test]
        fn a_changed_byte_of_the_tree_or_a_missing_one_is_noticed(place: prop::sample::Index, bit in 0..8_u8) {
            let bytes = beginning(700).to_bytes();
            let place = place.index(bytes.len());
            prop_assert_eq!(Beginning::read(&bytes[..place]), Err(Malformed));
            let tree_from = 1 + 8 + 32 + 2 + 3 * 12;
            if place < 41 || place >= tree_from {
                let mut changed = bytes;
                changed[place] ^= 1_u8 << bit;
                prop_assert_eq!(Beginning::read(&changed), Err(Malformed));
            }
        }

        #[test]
        fn any_bytes_are_a_beginning_or_are_not(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Beginning::read(&bytes);
            if let Some(format) = bytes.first_mut() {
                *format = FORMAT;
                let _ = Beginning::read(&bytes);
            }
        }
    }
}
