//! Proofs: that an entry is in a tree, and that one tree begins with another.
//!
//! Building follows RFC 6962, section 2.1, and reads tiles; checking follows RFC 9162, sections 2.1.3.2 and 2.1.4.2,
//! and needs nothing but hashes. Out of scope: whose roots they are (`checkpoint`).

use std::cell::RefCell;

use super::hash::{Hash, empty_root, node_hash};
use super::tile::{TILE_WIDTH, TileSource, width_in_tree};

/// The hashes that show that the tree of `size` entries has the one at `index`, from the leaf's sibling up.
///
/// Reads at most two tiles of each level. What comes of it is as good as the source: it can be checked with
/// [`verify_inclusion`].
///
/// # Errors
///
/// [`BuildError::IndexOutsideTree`], [`BuildError::Source`], [`BuildError::WrongTileWidth`].
pub fn inclusion_proof<S: TileSource>(source: &S, index: u64, size: u64) -> Result<Vec<Hash>, BuildError<S::Error>> {
    if index >= size {
        return Err(BuildError::IndexOutsideTree { index, size });
    }
    let tree = Tree::new(source, size);
    let mut proof = Vec::new();
    let (mut low, mut high) = (0, size);
    while high - low > 1 {
        let middle = low + largest_power_of_two_below(high - low);
        if index < middle {
            proof.push(tree.subtree_root(middle, high)?);
            high = middle;
        } else {
            proof.push(tree.subtree_root(low, middle)?);
            low = middle;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// The hashes that show that the tree of `new_size` entries begins with the tree of its first `old_size`. There are
/// none where the old tree is empty or the new one itself.
///
/// Reads at most three tiles of each level. What comes of it is as good as the source: it can be checked with
/// [`verify_consistency`].
///
/// # Errors
///
/// [`BuildError::SizesOutOfOrder`], [`BuildError::Source`], [`BuildError::WrongTileWidth`].
pub fn consistency_proof<S: TileSource>(
    source: &S,
    old_size: u64,
    new_size: u64,
) -> Result<Vec<Hash>, BuildError<S::Error>> {
    if old_size > new_size {
        return Err(BuildError::SizesOutOfOrder { old_size, new_size });
    }
    if old_size == 0 {
        return Ok(Vec::new());
    }
    let tree = Tree::new(source, new_size);
    let mut proof = Vec::new();
    let (mut low, mut high) = (0, new_size);
    while old_size != high {
        let middle = low + largest_power_of_two_below(high - low);
        if old_size <= middle {
            proof.push(tree.subtree_root(middle, high)?);
            high = middle;
        } else {
            proof.push(tree.subtree_root(low, middle)?);
            low = middle;
        }
    }
    // The old tree ends with the subtree that is left. Where that is the whole old tree, its root is known already.
    if low != 0 {
        proof.push(tree.subtree_root(low, high)?);
    }
    proof.reverse();
    Ok(proof)
}

/// The root of the tree of the first `size` entries, computed from tiles: at most one of each level.
///
/// # Errors
///
/// [`BuildError::Source`], [`BuildError::WrongTileWidth`].
pub fn tree_root<S: TileSource>(source: &S, size: u64) -> Result<Hash, BuildError<S::Error>> {
    if size == 0 {
        return Ok(empty_root());
    }
    Tree::new(source, size).subtree_root(0, size)
}

/// Checks that the tree with this `size` and `root` has the entry with this `leaf_hash` at `index`. The proof must have
/// exactly the hashes that are needed.
///
/// # Errors
///
/// [`ProofError::IndexOutsideTree`], [`ProofError::TooShort`], [`ProofError::TooLong`], [`ProofError::RootMismatch`].
pub fn verify_inclusion(
    leaf_hash: &Hash,
    index: u64,
    size: u64,
    proof: &[Hash],
    root: &Hash,
) -> Result<(), ProofError> {
    if inclusion_root(leaf_hash, index, size, proof)? != *root {
        return Err(ProofError::RootMismatch);
    }
    Ok(())
}

/// The root of the tree with this `size` that has the entry with this `leaf_hash` at `index`, if the proof is true. For
/// whoever does not have the root, and has what follows from it: compare that.
///
/// # Errors
///
/// [`ProofError::IndexOutsideTree`], [`ProofError::TooShort`], [`ProofError::TooLong`].
pub fn inclusion_root(leaf_hash: &Hash, index: u64, size: u64, proof: &[Hash]) -> Result<Hash, ProofError> {
    if index >= size {
        return Err(ProofError::IndexOutsideTree { index, size });
    }
    // RFC 9162, section 2.1.3.2, where these are called fn, sn and r.
    let (mut position, mut last) = (index, size - 1);
    let mut computed = *leaf_hash;
    for sibling in proof {
        if last == 0 {
            return Err(ProofError::TooLong);
        }
        if position & 1 == 1 || position == last {
            computed = node_hash(sibling, &computed);
            while position & 1 == 0 && position != 0 {
                position >>= 1;
                last >>= 1;
            }
        } else {
            computed = node_hash(&computed, sibling);
        }
        position >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(ProofError::TooShort);
    }
    Ok(computed)
}

/// Checks that the tree of `new_size` entries with `new_root` begins with the tree of `old_size` entries with
/// `old_root`. The proof must have exactly the hashes that are needed: none where the old tree is empty or where the
/// sizes are equal.
///
/// # Errors
///
/// [`ProofError::SizesOutOfOrder`], [`ProofError::TooShort`], [`ProofError::TooLong`],
/// [`ProofError::OldRootMismatch`], [`ProofError::RootMismatch`].
pub fn verify_consistency(
    old_size: u64,
    new_size: u64,
    old_root: &Hash,
    new_root: &Hash,
    proof: &[Hash],
) -> Result<(), ProofError> {
    if old_size > new_size {
        return Err(ProofError::SizesOutOfOrder { old_size, new_size });
    }
    if old_size == 0 || old_size == new_size {
        return verify_without_hashes(old_size, old_root, new_size, new_root, proof);
    }
    // RFC 9162, section 2.1.4.2, where these are called fn, sn, fr and sr.
    let (mut position, mut last) = (old_size - 1, new_size - 1);
    while position & 1 == 1 {
        position >>= 1;
        last >>= 1;
    }
    let (first, rest) =
        if old_size.is_power_of_two() { (old_root, proof) } else { proof.split_first().ok_or(ProofError::TooShort)? };
    let (mut computed_old, mut computed_new) = (*first, *first);
    for hash in rest {
        if last == 0 {
            return Err(ProofError::TooLong);
        }
        if position & 1 == 1 || position == last {
            computed_old = node_hash(hash, &computed_old);
            computed_new = node_hash(hash, &computed_new);
            while position & 1 == 0 && position != 0 {
                position >>= 1;
                last >>= 1;
            }
        } else {
            computed_new = node_hash(&computed_new, hash);
        }
        position >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(ProofError::TooShort);
    }
    if computed_old != *old_root {
        return Err(ProofError::OldRootMismatch);
    }
    if computed_new != *new_root {
        return Err(ProofError::RootMismatch);
    }
    Ok(())
}

/// Why a proof does not show what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// The tree has no entry of that index.
    #[error("entry {index} is not in a tree of {size} entries")]
    IndexOutsideTree {
        /// The index of the entry.
        index: u64,
        /// The size of the tree.
        size: u64,
    },
    /// The hashes lead to another root of the old tree.
    #[error("the proof leads to another root of the older tree")]
    OldRootMismatch,
    /// The hashes lead to another root of the tree.
    #[error("the proof leads to another root of the tree")]
    RootMismatch,
    /// The old tree is larger than the new one.
    #[error("a tree of {new_size} entries cannot begin with one of {old_size}")]
    SizesOutOfOrder {
        /// The size of the old tree.
        old_size: u64,
        /// The size of the new tree.
        new_size: u64,
    },
    /// The proof has more hashes than the tree has levels for them.
    #[error("the proof has too many hashes")]
    TooLong,
    /// The proof has too few hashes to reach the root.
    #[error("the proof has too few hashes")]
    TooShort,
}

/// Why a proof could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError<E: std::error::Error + 'static> {
    /// The tree has no entry of that index.
    #[error("entry {index} is not in a tree of {size} entries")]
    IndexOutsideTree {
        /// The index of the entry.
        index: u64,
        /// The size of the tree.
        size: u64,
    },
    /// The old tree is larger than the new one.
    #[error("a tree of {new_size} entries cannot begin with one of {old_size}")]
    SizesOutOfOrder {
        /// The size of the old tree.
        old_size: u64,
        /// The size of the new tree.
        new_size: u64,
    },
    /// The source could not give a tile.
    #[error("a tile of the log cannot be read")]
    Source(#[source] E),
    /// The source gave too few hashes, or too many.
    #[error("tile {index} at level {level} has {found} hashes where {expected} were asked for")]
    WrongTileWidth {
        /// The level of the tile.
        level: u8,
        /// The number of the tile within its level.
        index: u64,
        /// How many hashes were asked for.
        expected: u16,
        /// How many the source gave.
        found: usize,
    },
}

/// A tree of known size behind a source of tiles. It reads no tile twice.
struct Tree<'source, S> {
    source: &'source S,
    size: u64,
    /// A proof touches a few tiles for each of at most eight levels: a list is quicker to search than a map.
    tiles: RefCell<Vec<(u8, u64, Vec<Hash>)>>,
}

impl<'source, S: TileSource> Tree<'source, S> {
    fn new(source: &'source S, size: u64) -> Self {
        Self { source, size, tiles: RefCell::new(Vec::new()) }
    }

    /// The root of the entries from `low` up to `high`, where `low` is a multiple of a power of two that is at least
    /// `high - low`, as it is in every subtree that RFC 6962 forms.
    fn subtree_root(&self, low: u64, high: u64) -> Result<Hash, BuildError<S::Error>> {
        // The largest perfect subtree is at the left; what is left of it at the right is again such a range.
        let mut perfect = Vec::new();
        let mut start = low;
        while start < high {
            let height = (high - start).ilog2();
            perfect.push(self.perfect_root(start >> height, height)?);
            start += 1 << height;
        }
        let mut roots = perfect.into_iter().rev();
        let Some(smallest) = roots.next() else { return Ok(empty_root()) };
        Ok(roots.fold(smallest, |right, left| node_hash(&left, &right)))
    }

    /// The root of the perfect subtree of 2^`height` entries with the number `position` among those of its height.
    fn perfect_root(&self, position: u64, height: u32) -> Result<Hash, BuildError<S::Error>> {
        let level = (height / 8) as u8;
        let height_in_tile = height % 8;
        let first = position << height_in_tile;
        let index = first / u64::from(TILE_WIDTH);
        let from = (first % u64::from(TILE_WIDTH)) as usize;
        self.with_tile(level, index, |hashes| perfect_fold(&hashes[from..from + (1 << height_in_tile)]))
    }

    fn with_tile(
        &self,
        level: u8,
        index: u64,
        use_hashes: impl FnOnce(&[Hash]) -> Hash,
    ) -> Result<Hash, BuildError<S::Error>> {
        let mut tiles = self.tiles.borrow_mut();
        let known =
            tiles.iter().position(|(known_level, known_index, _)| (*known_level, *known_index) == (level, index));
        let position = match known {
            Some(position) => position,
            None => {
                let expected = width_in_tree(level, index, self.size);
                let hashes = self.source.tile(level, index, expected).map_err(BuildError::Source)?;
                if hashes.len() != usize::from(expected) {
                    return Err(BuildError::WrongTileWidth { level, index, expected, found: hashes.len() });
                }
                tiles.push((level, index, hashes));
                tiles.len() - 1
            }
        };
        Ok(use_hashes(&tiles[position].2))
    }
}

/// The root over a power of two of hashes.
fn perfect_fold(hashes: &[Hash]) -> Hash {
    match hashes {
        [hash] => *hash,
        _ => {
            let (left, right) = hashes.split_at(hashes.len() / 2);
            node_hash(&perfect_fold(left), &perfect_fold(right))
        }
    }
}

/// Where RFC 9162 needs no hash: any tree begins with the empty one and with itself.
fn verify_without_hashes(
    old_size: u64,
    old_root: &Hash,
    new_size: u64,
    new_root: &Hash,
    proof: &[Hash],
) -> Result<(), ProofError> {
    if !proof.is_empty() {
        return Err(ProofError::TooLong);
    }
    if old_size == 0 && *old_root != empty_root() {
        return Err(ProofError::OldRootMismatch);
    }
    if old_size == new_size && old_root != new_root {
        return Err(ProofError::RootMismatch);
    }
    Ok(())
}

/// The largest power of two that is less than `number`, which is at least 2.
fn largest_power_of_two_below(number: u64) -> u64 {
    1 << (number - 1).ilog2()
}
