//! The log as a whole against RFC 6962 written down naively, and what its tests have in common.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use ed25519_dalek::{Signer, SigningKey};

use super::checkpoint::{self, Checkpoint, LogKey};
use super::frontier::Frontier;
use super::hash::{Hash, empty_root, leaf_hash, node_hash};
use super::note::key::{Algorithm, NoteKey};
use super::tile::{TileSource, width_in_tree};

mod interop;
mod parsers;
mod published;
mod tree;
mod vectors;

/// A log in memory, kept as a registry would keep it: finished tiles, and the frontier for the rest.
pub(super) struct TestLog {
    leaves: Vec<Hash>,
    frontier: Frontier,
    full_tiles: BTreeMap<(u8, u64), Vec<Hash>>,
    tiles_read: RefCell<Vec<(u8, u64)>>,
}

impl TestLog {
    pub(super) fn with_size(size: u64) -> Self {
        let mut log = Self {
            leaves: Vec::new(),
            frontier: Frontier::new(),
            full_tiles: BTreeMap::new(),
            tiles_read: RefCell::default(),
        };
        (0..size).for_each(|index| log.append(leaf_hash(&entry(index))));
        log
    }

    fn append(&mut self, leaf: Hash) {
        self.leaves.push(leaf);
        for tile in self.frontier.append(leaf) {
            let place = (tile.coordinate.level(), tile.coordinate.index());
            assert!(self.full_tiles.insert(place, tile.hashes).is_none(), "a tile is finished once");
        }
    }

    fn size(&self) -> u64 {
        self.frontier.size()
    }

    pub(super) fn root_at(&self, size: u64) -> Hash {
        naive_root(&self.leaves[..size as usize])
    }

    /// The tiles read since the last call.
    fn take_tiles_read(&self) -> Vec<(u8, u64)> {
        self.tiles_read.take()
    }
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("tile {index} at level {level} with {width} hashes is not in the log")]
pub(super) struct TileMissing {
    level: u8,
    index: u64,
    width: u16,
}

impl TileSource for TestLog {
    type Error = TileMissing;

    fn tile(&self, level: u8, index: u64, width: u16) -> Result<Vec<Hash>, TileMissing> {
        self.tiles_read.borrow_mut().push((level, index));
        let is_unfinished = width_in_tree(level, index, self.size()) < 256;
        let hashes = match self.full_tiles.get(&(level, index)) {
            Some(hashes) => Some(hashes.as_slice()),
            None if is_unfinished => self.frontier.levels().nth(usize::from(level)),
            None => None,
        };
        let hashes = hashes.and_then(|hashes| hashes.get(..usize::from(width)));
        hashes.map(<[Hash]>::to_vec).ok_or(TileMissing { level, index, width })
    }
}

/// The origin of the logs in tests.
pub(super) const ORIGIN: &str = "registry.example/directory";

/// A time that the tests sign at: in September 2026.
pub(super) const TIME: u64 = 1_790_000_000;

/// A key that signs in tests. Its seed is published with the vectors.
pub(super) struct TestKey(SigningKey);

impl TestKey {
    pub(super) fn log() -> Self {
        Self(SigningKey::from_bytes(&[1; 32]))
    }

    pub(super) fn witness() -> Self {
        Self(SigningKey::from_bytes(&[2; 32]))
    }

    pub(super) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }

    pub(super) fn public_key(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }
}

pub(super) fn log_key() -> LogKey {
    LogKey::new(ORIGIN.parse().unwrap(), &TestKey::log().public_key()).unwrap()
}

pub(super) fn witness_key() -> NoteKey {
    let name = "housing.example/witness".parse().unwrap();
    NoteKey::new(name, Algorithm::CosignatureV1, &TestKey::witness().public_key()).unwrap()
}

pub(super) fn signed_checkpoint(size: u64, root: Hash) -> String {
    let key = log_key();
    let checkpoint = Checkpoint::new(key.origin(), size, root).unwrap();
    checkpoint::sign(&checkpoint, &key, TIME, |message| TestKey::log().sign(message)).unwrap()
}

fn entry(index: u64) -> Vec<u8> {
    format!("entry {index}").into_bytes()
}

/// MTH of RFC 6962, section 2.1.
fn naive_root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => empty_root(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = split(leaves);
            node_hash(&naive_root(left), &naive_root(right))
        }
    }
}

/// PATH of RFC 6962, section 2.1.1.
fn naive_inclusion(index: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let (left, right) = split(leaves);
    let (mut path, sibling) = if index < left.len() {
        (naive_inclusion(index, left), naive_root(right))
    } else {
        (naive_inclusion(index - left.len(), right), naive_root(left))
    };
    path.push(sibling);
    path
}

/// PROOF of RFC 6962, section 2.1.2, for an old tree that is not empty.
fn naive_consistency(old_size: usize, leaves: &[Hash]) -> Vec<Hash> {
    naive_subproof(old_size, leaves, true)
}

/// SUBPROOF of RFC 6962, section 2.1.2.
fn naive_subproof(old_size: usize, leaves: &[Hash], is_known: bool) -> Vec<Hash> {
    if old_size == leaves.len() {
        return if is_known { Vec::new() } else { vec![naive_root(leaves)] };
    }
    let (left, right) = split(leaves);
    let (mut proof, sibling) = if old_size <= left.len() {
        (naive_subproof(old_size, left, is_known), naive_root(right))
    } else {
        (naive_subproof(old_size - left.len(), right, false), naive_root(left))
    };
    proof.push(sibling);
    proof
}

fn split(leaves: &[Hash]) -> (&[Hash], &[Hash]) {
    leaves.split_at(leaves.len().next_power_of_two() / 2)
}

fn flipped(hash: &Hash, bit: usize) -> Hash {
    let mut bytes = hash.to_bytes();
    bytes[bit / 8] ^= 1 << (bit % 8);
    Hash::from_bytes(bytes)
}

/// How many of the tiles are at each level.
fn tiles_by_level(tiles: &[(u8, u64)]) -> BTreeMap<u8, usize> {
    let distinct: BTreeSet<_> = tiles.iter().collect();
    assert_eq!(distinct.len(), tiles.len(), "no tile is read twice: {tiles:?}");
    tiles.iter().fold(BTreeMap::new(), |mut counts, (level, _)| {
        *counts.entry(*level).or_default() += 1;
        counts
    })
}
