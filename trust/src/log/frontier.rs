//! The right edge of a growing tree: what a log holds in memory to append and to know its root.
//!
//! For each level it has the hashes of the unfinished tile (fewer than 256), and the roots of the perfect subtrees in
//! them. An entry costs about one hash more than its own, and a root at most as many as the size has bits that are set.
//! Out of scope: keeping the finished tiles, which [`Frontier::append`] hands over once and forgets.

use super::hash::{Hash, empty_root, node_hash};
use super::tile::{MAX_LEVEL, TILE_WIDTH, TileCoordinate, TileSource, width_in_tree};

/// The state of a tree that can be appended to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frontier {
    size: u64,
    /// By level. No level above the highest that has hashes, so that equal trees are equal values.
    levels: Vec<PartialTile>,
}

/// A tile that the tree has just finished. It will never change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FullTile {
    /// Its place. The width is always 256.
    pub coordinate: TileCoordinate,
    /// Its 256 hashes.
    pub hashes: Vec<Hash>,
}

impl Frontier {
    /// The empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// The tree of `size` entries whose unfinished tiles are these, from level 0 up, as [`Frontier::levels`] gives
    /// them. Empty tiles above the highest may be left out.
    ///
    /// The hashes themselves cannot be checked here: compare [`Frontier::root`] with a checkpoint.
    ///
    /// # Errors
    ///
    /// [`Error::SizeTooLarge`], [`Error::WrongTileWidth`].
    pub fn from_parts(size: u64, levels: Vec<Vec<Hash>>) -> Result<Self, Error> {
        if size > MAX_SIZE {
            return Err(Error::SizeTooLarge { size });
        }
        for level in 0..levels.len().max(usize::from(MAX_LEVEL) + 1) {
            let expected = partial_width(level, size);
            let found = levels.get(level).map_or(0, Vec::len);
            if found != expected {
                return Err(Error::WrongTileWidth { level, expected, found });
            }
        }
        let mut levels: Vec<_> = levels.into_iter().map(PartialTile::from_hashes).collect();
        while levels.last().is_some_and(|level| level.hashes.is_empty()) {
            levels.pop();
        }
        Ok(Self { size, levels })
    }

    /// The tree of `size` entries, its unfinished tiles read from `source`: at most one for each level.
    ///
    /// # Errors
    ///
    /// [`RestoreError`]: the source's own, or one of [`Frontier::from_parts`].
    pub fn from_source<S: TileSource>(source: &S, size: u64) -> Result<Self, RestoreError<S::Error>> {
        let mut levels = Vec::new();
        for level in 0..=MAX_LEVEL {
            let index = (size >> (8 * u32::from(level))) / u64::from(TILE_WIDTH);
            levels.push(match width_in_tree(level, index, size) {
                0 => Vec::new(),
                width => source.tile(level, index, width).map_err(RestoreError::Source)?,
            });
        }
        Self::from_parts(size, levels).map_err(RestoreError::Parts)
    }

    /// How many entries the tree has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends an entry by its [leaf hash](super::hash::leaf_hash). The tiles that this finishes are returned, lowest
    /// level first: none for 255 entries out of 256. They must be kept: the frontier forgets them.
    pub fn append(&mut self, leaf: Hash) -> Vec<FullTile> {
        let mut finished = Vec::new();
        let mut hash = leaf;
        for level in 0..=MAX_LEVEL {
            let position = usize::from(level);
            if position == self.levels.len() {
                self.levels.push(PartialTile::default());
            }
            self.levels[position].push(hash);
            if self.levels[position].hashes.len() < usize::from(TILE_WIDTH) {
                break;
            }
            let (hashes, root) = self.levels[position].take();
            let index = (self.size / u64::from(TILE_WIDTH)) >> (8 * u32::from(level));
            finished.push(FullTile { coordinate: TileCoordinate::full(level, index), hashes });
            hash = root;
        }
        self.size += 1;
        finished
    }

    /// The root of the tree: one hash fewer than the size has bits that are set.
    pub fn root(&self) -> Hash {
        // The perfect subtrees, from the smallest, which is at the right, to the largest.
        let mut subtrees = self.levels.iter().flat_map(|level| level.subtrees.iter().rev());
        let Some(smallest) = subtrees.next() else { return empty_root() };
        subtrees.fold(*smallest, |right, left| node_hash(left, &right))
    }

    /// The hashes of the unfinished tile at each level, from level 0 up to the highest level that has any.
    pub fn levels(&self) -> impl ExactSizeIterator<Item = &[Hash]> {
        self.levels.iter().map(|level| level.hashes.as_slice())
    }
}

/// The largest tree: far beyond any log, and small enough that a size can be added to.
pub const MAX_SIZE: u64 = u64::MAX >> 1;

/// Why parts are not a frontier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The size cannot be that of a log.
    #[error("a tree of {size} entries is larger than any log")]
    SizeTooLarge {
        /// The size that was given.
        size: u64,
    },
    /// The number of hashes at a level does not fit the size.
    #[error("the unfinished tile at level {level} has {found} hashes; the size of the tree says {expected}")]
    WrongTileWidth {
        /// The level, from 0.
        level: usize,
        /// What the size says.
        expected: usize,
        /// What was given.
        found: usize,
    },
}

/// Why a frontier could not be read from a source of tiles.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError<E: std::error::Error + 'static> {
    /// What the source gave does not fit the size.
    #[error(transparent)]
    Parts(Error),
    /// The source could not give a tile.
    #[error("an unfinished tile of the log cannot be read")]
    Source(#[source] E),
}

/// The hashes of a tile that is not finished.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct PartialTile {
    hashes: Vec<Hash>,
    /// The roots of the perfect subtrees of `hashes`, the largest (at the left) first: one for each bit that is set in
    /// the number of hashes.
    subtrees: Vec<Hash>,
}

impl PartialTile {
    fn from_hashes(hashes: Vec<Hash>) -> Self {
        let mut tile = Self::default();
        hashes.into_iter().for_each(|hash| tile.push(hash));
        tile
    }

    fn push(&mut self, hash: Hash) {
        self.hashes.push(hash);
        let mut root = hash;
        // Like carrying in a binary counter: each zero bit at the end stands for two equal subtrees that became one.
        for _ in 0..self.hashes.len().trailing_zeros() {
            if let Some(left) = self.subtrees.pop() {
                root = node_hash(&left, &root);
            }
        }
        self.subtrees.push(root);
    }

    /// Empties a full tile: its hashes, and the one root they have come to.
    fn take(&mut self) -> (Vec<Hash>, Hash) {
        let hashes = std::mem::replace(&mut self.hashes, Vec::with_capacity(usize::from(TILE_WIDTH)));
        let root = self.subtrees.pop().unwrap_or_else(empty_root);
        (hashes, root)
    }
}

fn partial_width(level: usize, size: u64) -> usize {
    if level > usize::from(MAX_LEVEL) {
        return 0;
    }
    ((size >> (8 * level)) % u64::from(TILE_WIDTH)) as usize
}
