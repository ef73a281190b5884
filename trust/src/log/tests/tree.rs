//! Roots, proofs and restarts at any size and index.

use std::sync::OnceLock;

use proptest::prelude::*;

use super::*;
use crate::log::frontier::{Error, MAX_SIZE};
use crate::log::proof::{
    BuildError, ProofError, consistency_proof, inclusion_proof, tree_root, verify_consistency, verify_inclusion,
};
use crate::log::tile::{TilePath, tiles_grown};

const SIZES: u64 = 1500;

/// Every root up to `SIZES`, computed naively, and the levels of the frontier at each size.
fn states() -> &'static [(Hash, Frontier)] {
    static STATES: OnceLock<Vec<(Hash, Frontier)>> = OnceLock::new();
    STATES.get_or_init(|| {
        let leaves: Vec<_> = (0..SIZES).map(|index| leaf_hash(&entry(index))).collect();
        let mut frontier = Frontier::new();
        let mut states = vec![(empty_root(), frontier.clone())];
        for (position, leaf) in leaves.iter().enumerate() {
            frontier.append(*leaf);
            // Naive, but for the left half, which is the same tree as at a smaller size.
            let (left, right) = split(&leaves[..=position]);
            let root = match left.len() {
                0 => *leaf,
                size => node_hash(&states[size].0, &naive_root(right)),
            };
            states.push((root, frontier.clone()));
        }
        states
    })
}

#[test]
fn the_roots_of_all_sizes() {
    for (size, (root, frontier)) in states().iter().enumerate() {
        assert_eq!(frontier.root(), *root, "size {size}");
        assert_eq!(frontier.size(), size as u64);
        assert!(frontier.levels().all(|level| level.len() < 256));
    }
}

#[test]
fn every_tile_is_handed_over() {
    let log = TestLog::with_size(70_000);
    assert_eq!(log.full_tiles.len(), 273 + 1);
    let widths: Vec<_> = log.frontier.levels().map(<[Hash]>::len).collect();
    assert_eq!(widths, [112, 17, 1]);
    for tile in tiles_grown(0, log.size()) {
        let hashes = log.tile(tile.level(), tile.index(), tile.width()).unwrap();
        let leaves_each = 256_usize.pow(u32::from(tile.level()));
        for (position, hash) in hashes.iter().enumerate().take(2) {
            let first = (tile.index() as usize * 256 + position) * leaves_each;
            let expected = naive_root(&log.leaves[first..first + leaves_each]);
            assert_eq!(*hash, expected, "{} at {position}", TilePath::Hashes(tile));
        }
    }
    assert_eq!(log.frontier.root(), log.root_at(log.size()));
}

#[test]
fn inclusion_in_small_trees_of_every_entry() {
    let log = TestLog::with_size(70);
    for size in 1..=log.size() {
        let leaves = &log.leaves[..size as usize];
        let root = naive_root(leaves);
        for index in 0..size {
            let proof = inclusion_proof(&log, index, size).unwrap();
            assert_eq!(proof, naive_inclusion(index as usize, leaves));
            verify_inclusion(&leaves[index as usize], index, size, &proof, &root).unwrap();
        }
    }
}

#[test]
fn consistency_of_small_trees_in_all_pairs() {
    let log = TestLog::with_size(70);
    for new in 0..=log.size() {
        for old in 0..=new {
            assert_consistent(&log, old, new);
        }
    }
}

#[test]
fn consistency_across_the_edges_of_tiles() {
    let log = TestLog::with_size(1030);
    let edges = [1, 2, 127, 128, 129, 255, 256, 257, 383, 511, 512, 513, 767, 768, 769, 1023, 1024, 1025, 1030];
    for new in edges {
        for old in edges.into_iter().filter(|old| *old <= new) {
            assert_consistent(&log, old, new);
        }
    }
}

fn assert_consistent(log: &TestLog, old: u64, new: u64) {
    let proof = consistency_proof(log, old, new).unwrap();
    if old > 0 {
        assert_eq!(proof, naive_consistency(old as usize, &log.leaves[..new as usize]), "{old} to {new}");
    }
    let (old_root, new_root) = (log.root_at(old), log.root_at(new));
    assert_eq!(verify_consistency(old, new, &old_root, &new_root, &proof), Ok(()), "{old} to {new}");

    let with_one_more = [proof.as_slice(), &[new_root]].concat();
    let longer = verify_consistency(old, new, &old_root, &new_root, &with_one_more);
    assert_eq!(longer, Err(ProofError::TooLong), "{old} to {new}");
    if let Some((_, without_last)) = proof.split_last() {
        let shorter = verify_consistency(old, new, &old_root, &new_root, without_last);
        assert_eq!(shorter, Err(ProofError::TooShort), "{old} to {new}");
    }
}

#[test]
fn what_cannot_be_proved() {
    let log = TestLog::with_size(3);
    let outside = inclusion_proof(&log, 3, 3);
    assert!(matches!(outside, Err(BuildError::IndexOutsideTree { index: 3, size: 3 })));
    assert!(matches!(inclusion_proof(&log, 0, 0), Err(BuildError::IndexOutsideTree { .. })));
    assert!(matches!(inclusion_proof(&log, 0, 4), Err(BuildError::Source(TileMissing { width: 4, .. }))));
    let backwards = consistency_proof(&log, 3, 2);
    assert!(matches!(backwards, Err(BuildError::SizesOutOfOrder { old_size: 3, new_size: 2 })));

    let root = log.root_at(3);
    let index_outside = verify_inclusion(&log.leaves[0], 3, 3, &[], &root);
    assert_eq!(index_outside, Err(ProofError::IndexOutsideTree { index: 3, size: 3 }));
    let backwards = verify_consistency(3, 2, &root, &root, &[]);
    assert_eq!(backwards, Err(ProofError::SizesOutOfOrder { old_size: 3, new_size: 2 }));
    assert_eq!(verify_consistency(0, 3, &root, &root, &[]), Err(ProofError::OldRootMismatch));
    assert_eq!(verify_consistency(3, 3, &root, &log.root_at(2), &[]), Err(ProofError::RootMismatch));
    assert_eq!(verify_consistency(0, 3, &empty_root(), &root, &[]), Ok(()));
    assert_eq!(verify_consistency(0, 0, &empty_root(), &empty_root(), &[]), Ok(()));
    assert_eq!(verify_consistency(0, 0, &empty_root(), &root, &[]), Err(ProofError::RootMismatch));
}

/// A source whose tiles have one hash too many.
struct TooWide<'log>(&'log TestLog);

impl TileSource for TooWide<'_> {
    type Error = TileMissing;

    fn tile(&self, level: u8, index: u64, width: u16) -> Result<Vec<Hash>, TileMissing> {
        self.0.tile(level, index, width).map(|mut hashes| {
            hashes.push(empty_root());
            hashes
        })
    }
}

#[test]
fn a_source_that_gives_other_widths_is_noticed() {
    let log = TestLog::with_size(3);
    let found = inclusion_proof(&TooWide(&log), 0, 3);
    assert!(matches!(found, Err(BuildError::WrongTileWidth { level: 0, index: 0, expected: 3, found: 4 })));
    let restored = Frontier::from_source(&TooWide(&log), 3).unwrap_err();
    let cause = std::error::Error::source(&restored);
    assert!(cause.is_none(), "{restored}");
    assert_eq!(restored.to_string(), Error::WrongTileWidth { level: 0, expected: 3, found: 4 }.to_string());
}

#[test]
fn parts_that_do_not_fit_the_size_are_refused() {
    let hash = empty_root();
    let from_parts =
        |size, widths: &[usize]| Frontier::from_parts(size, widths.iter().map(|width| vec![hash; *width]).collect());
    assert!(from_parts(0, &[]).is_ok());
    assert!(from_parts(0, &[0; 20]).is_ok());
    assert!(from_parts(70_000, &[112, 17, 1]).is_ok());
    assert_eq!(from_parts(70_000, &[112, 17, 1, 0]), from_parts(70_000, &[112, 17, 1]));
    assert!(from_parts(MAX_SIZE, &[255, 255, 255, 255, 255, 255, 255, 127]).is_ok());
    assert_eq!(from_parts(MAX_SIZE + 1, &[]), Err(Error::SizeTooLarge { size: MAX_SIZE + 1 }));
    for (widths, level, expected, found) in [
        (&[112, 17][..], 2, 1, 0),
        (&[112, 17, 1, 1], 3, 0, 1),
        (&[112, 18, 1], 1, 17, 18),
        (&[368, 16, 1], 0, 112, 368),
        (&[112, 17, 1, 0, 0, 0, 0, 0, 0, 5], 9, 0, 5),
    ] {
        assert_eq!(from_parts(70_000, widths), Err(Error::WrongTileWidth { level, expected, found }));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn inclusion_anywhere(size in 1..=SIZES, place in any::<prop::sample::Index>(), bit in 0..256_usize) {
        let log = TestLog::with_size(size);
        let index = place.index(size as usize) as u64;
        let leaf = log.leaves[index as usize];
        let root = states()[size as usize].0;
        let proof = inclusion_proof(&log, index, size).unwrap();
        prop_assert_eq!(&proof, &naive_inclusion(index as usize, &log.leaves));
        prop_assert!(tiles_by_level(&log.take_tiles_read()).values().all(|count| *count <= 2));
        prop_assert_eq!(verify_inclusion(&leaf, index, size, &proof, &root), Ok(()));

        // Any bit of anything that is hashed, and any other place.
        let mismatch = Err(ProofError::RootMismatch);
        prop_assert_eq!(verify_inclusion(&flipped(&leaf, bit), index, size, &proof, &root), mismatch.clone());
        prop_assert_eq!(verify_inclusion(&leaf, index, size, &proof, &flipped(&root, bit)), mismatch.clone());
        for position in 0..proof.len() {
            let mut altered = proof.clone();
            altered[position] = flipped(&altered[position], bit);
            prop_assert_eq!(verify_inclusion(&leaf, index, size, &altered, &root), mismatch.clone());
        }
        for other in [index ^ 1, index / 2, size - 1, 0, index + 1] {
            let elsewhere = verify_inclusion(&leaf, other, size, &proof, &root);
            prop_assert_eq!(elsewhere.is_ok(), other == index);
        }
        let longer = [proof.as_slice(), &[root]].concat();
        prop_assert_eq!(verify_inclusion(&leaf, index, size, &longer, &root), Err(ProofError::TooLong));
        if let Some((_, shorter)) = proof.split_last() {
            prop_assert_eq!(verify_inclusion(&leaf, index, size, shorter, &root), Err(ProofError::TooShort));
        }
    }

    #[test]
    fn consistency_anywhere(new in 1..=SIZES, place in any::<prop::sample::Index>(), bit in 0..256_usize) {
        let log = TestLog::with_size(new);
        let old = place.index(new as usize) as u64 + 1;
        let (old_root, new_root) = (states()[old as usize].0, states()[new as usize].0);
        let proof = consistency_proof(&log, old, new).unwrap();
        prop_assert_eq!(&proof, &naive_consistency(old as usize, &log.leaves));
        prop_assert!(tiles_by_level(&log.take_tiles_read()).values().all(|count| *count <= 3));
        prop_assert_eq!(verify_consistency(old, new, &old_root, &new_root, &proof), Ok(()));

        prop_assert!(verify_consistency(old, new, &flipped(&old_root, bit), &new_root, &proof).is_err());
        prop_assert!(verify_consistency(old, new, &old_root, &flipped(&new_root, bit), &proof).is_err());
        for position in 0..proof.len() {
            let mut altered = proof.clone();
            altered[position] = flipped(&altered[position], bit);
            prop_assert!(verify_consistency(old, new, &old_root, &new_root, &altered).is_err());
        }
    }

    #[test]
    fn a_restart_changes_nothing(size in 0..=SIZES, more in 0..600_u64) {
        let mut log = TestLog::with_size(size);
        let levels = log.frontier.levels().map(<[Hash]>::to_vec).collect();
        let mut restarted = Frontier::from_parts(size, levels).unwrap();
        prop_assert_eq!(&restarted, &log.frontier);
        prop_assert_eq!(&Frontier::from_source(&log, size).unwrap(), &log.frontier);
        prop_assert!(tiles_by_level(&log.take_tiles_read()).values().all(|count| *count == 1));
        for index in size..size + more {
            let leaf = leaf_hash(&entry(index));
            prop_assert_eq!(restarted.append(leaf), log.frontier.append(leaf));
        }
        prop_assert_eq!(restarted.root(), log.frontier.root());
        prop_assert_eq!(restarted, log.frontier);
    }

    #[test]
    fn a_root_from_tiles(size in 0..=SIZES) {
        let log = TestLog::with_size(SIZES);
        prop_assert_eq!(tree_root(&log, size).unwrap(), states()[size as usize].0);
        prop_assert!(tiles_by_level(&log.take_tiles_read()).values().all(|count| *count == 1));
    }
}

/// A log all of whose entries are the same, so that trees of any size can be had.
struct Uniform {
    /// The root of the perfect tree of each height.
    perfect: Vec<Hash>,
}

impl Uniform {
    fn new() -> Self {
        let mut perfect = vec![leaf_hash(b"the same")];
        for height in 0..63 {
            perfect.push(node_hash(&perfect[height], &perfect[height]));
        }
        Self { perfect }
    }

    fn root(&self, size: u64) -> Hash {
        if size.is_power_of_two() {
            return self.perfect[size.ilog2() as usize];
        }
        let left = size.ilog2();
        node_hash(&self.perfect[left as usize], &self.root(size - (1 << left)))
    }
}

impl TileSource for Uniform {
    type Error = std::convert::Infallible;

    fn tile(&self, level: u8, _index: u64, width: u16) -> Result<Vec<Hash>, Self::Error> {
        Ok(vec![self.perfect[usize::from(level) * 8]; usize::from(width)])
    }
}

fn large_size() -> impl Strategy<Value = u64> {
    prop_oneof![
        1..=u64::MAX,
        (0..64_u32).prop_map(|bit| 1 << bit),
        (0..64_u32).prop_map(|bit| u64::MAX >> bit),
        (1 << 40) - 3..=(1_u64 << 40) + 3,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn trees_larger_than_any_log(size in large_size(), other in large_size()) {
        let source = Uniform::new();
        let leaf = source.perfect[0];
        let root = source.root(size);
        prop_assert_eq!(tree_root(&source, size).unwrap(), root);
        for index in [0, other % size, size - 1] {
            let proof = inclusion_proof(&source, index, size).unwrap();
            prop_assert_eq!(verify_inclusion(&leaf, index, size, &proof, &root), Ok(()));
            prop_assert!(verify_inclusion(&flipped(&leaf, 7), index, size, &proof, &root).is_err());
        }
        let (old, new) = (size.min(other), size.max(other));
        let proof = consistency_proof(&source, old, new).unwrap();
        prop_assert_eq!(verify_consistency(old, new, &source.root(old), &source.root(new), &proof), Ok(()));
    }

    #[test]
    fn a_large_frontier_grows(size in large_size().prop_map(|size| size & MAX_SIZE)) {
        let source = Uniform::new();
        let mut frontier = Frontier::from_source(&source, size).unwrap();
        for grown in size..size + 300 {
            let expected = if grown == 0 { empty_root() } else { source.root(grown) };
            prop_assert_eq!(frontier.root(), expected);
            for tile in frontier.append(source.perfect[0]) {
                prop_assert_eq!(tile.coordinate.index(), grown >> (8 * (u32::from(tile.coordinate.level()) + 1)));
            }
        }
    }

    #[test]
    fn proofs_of_nonsense_are_refused_calmly(
        numbers in any::<[u64; 2]>(),
        small in any::<[u8; 2]>(),
        hashes in prop::collection::vec(any::<[u8; 32]>().prop_map(Hash::from_bytes), 0..70),
        roots in any::<[[u8; 32]; 2]>(),
    ) {
        let [first, second] = roots.map(Hash::from_bytes);
        for [one, other] in [numbers, small.map(u64::from)] {
            prop_assert!(verify_inclusion(&first, one, other, &hashes, &second).is_err());
            prop_assert!(verify_consistency(one, other, &first, &second, &hashes).is_err());
        }
    }
}
