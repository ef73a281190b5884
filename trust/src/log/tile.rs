//! C2SP `tlog-tiles`: the tree cut into tiles of height 8, and the paths under which they are served.
//!
//! A tile at level `l` holds up to 256 hashes, each the root of a full tile (256 hashes) at level `l - 1`; at level 0
//! they are the hashes of the entries. A full tile never changes, which is what makes a log cheap to serve and cache.
//! Out of scope: where tiles are kept and how they are fetched, and the entries themselves (`bundle`).

use std::fmt;
use std::str::FromStr;

use super::hash::{HASH_LENGTH, Hash};

/// How many hashes a full tile, or entries a full bundle, has.
pub const TILE_WIDTH: u16 = 256;

/// The highest level at which a tree of less than 2^64 entries has a tile.
pub const MAX_LEVEL: u8 = 7;

/// Which tile: its level, its index within the level, and how many hashes it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TileCoordinate {
    level: u8,
    index: u64,
    width: u16,
}

impl TileCoordinate {
    /// The tile at `level` (0 to 7) with the number `index` within its level and `width` hashes (1 to 256).
    ///
    /// # Errors
    ///
    /// [`Error::LevelOutOfRange`], [`Error::WidthOutOfRange`].
    pub fn new(level: u8, index: u64, width: u16) -> Result<Self, Error> {
        if level > MAX_LEVEL {
            return Err(Error::LevelOutOfRange { level });
        }
        if !(1..=TILE_WIDTH).contains(&width) {
            return Err(Error::WidthOutOfRange { width });
        }
        Ok(Self { level, index, width })
    }

    /// The tile as it is in the tree of `size` entries: partial at the right edge, and none beyond it.
    pub fn in_tree(level: u8, index: u64, size: u64) -> Option<Self> {
        let width = width_in_tree(level, index, size);
        (width > 0).then_some(Self { level, index, width })
    }

    /// A full tile at a level that the caller knows to be at most [`MAX_LEVEL`].
    pub(super) fn full(level: u8, index: u64) -> Self {
        Self { level, index, width: TILE_WIDTH }
    }

    /// The level: 0 holds the hashes of the entries.
    pub fn level(&self) -> u8 {
        self.level
    }

    /// The number of the tile within its level, from 0.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// How many hashes it has: 1 to 256.
    pub fn width(&self) -> u16 {
        self.width
    }

    /// Whether it has all of its 256 hashes and so will never change.
    pub fn is_full(&self) -> bool {
        self.width == TILE_WIDTH
    }

    /// Whether the tree of `size` entries has at least these hashes of the tile.
    pub fn is_in_tree(&self, size: u64) -> bool {
        self.width <= width_in_tree(self.level, self.index, size)
    }
}

/// What a log serves below `tile/`: shown and read as the path, `tile/<L>/<N>[.p/<W>]` or `tile/entries/<N>[.p/<W>]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TilePath {
    /// A bundle of entries. It has the coordinate of the tile of level 0 that holds the hashes of its entries.
    Entries(TileCoordinate),
    /// A tile of hashes.
    Hashes(TileCoordinate),
}

impl fmt::Display for TilePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let coordinate = match self {
            Self::Entries(coordinate) => {
                formatter.write_str("tile/entries/")?;
                coordinate
            }
            Self::Hashes(coordinate) => {
                write!(formatter, "tile/{}/", coordinate.level)?;
                coordinate
            }
        };
        // 1234067 becomes x001/x234/067, so that a folder never has the name of a file.
        let mut group = 1;
        while coordinate.index / group >= 1000 {
            group *= 1000;
        }
        while group > 1 {
            write!(formatter, "x{:03}/", coordinate.index / group % 1000)?;
            group /= 1000;
        }
        write!(formatter, "{:03}", coordinate.index % 1000)?;
        if !coordinate.is_full() {
            write!(formatter, ".p/{}", coordinate.width)?;
        }
        Ok(())
    }
}

impl FromStr for TilePath {
    type Err = Error;

    fn from_str(path: &str) -> Result<Self, Error> {
        parse_path(path).ok_or(Error::MalformedPath)
    }
}

/// Where the hashes of a tree come from.
pub trait TileSource {
    /// Why a tile could not be read.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The first `width` hashes (1 to 256) of the tile with the number `index` at `level`.
    ///
    /// It is asked only for what the tree has at the size its caller was given. Where the source keeps more of the tile
    /// it cuts it: the answer has exactly `width` hashes.
    ///
    /// # Errors
    ///
    /// The source's own, also where it does not have the tile.
    fn tile(&self, level: u8, index: u64, width: u16) -> Result<Vec<Hash>, Self::Error>;
}

impl<S: TileSource + ?Sized> TileSource for &S {
    type Error = S::Error;

    fn tile(&self, level: u8, index: u64, width: u16) -> Result<Vec<Hash>, Self::Error> {
        (**self).tile(level, index, width)
    }
}

/// How many hashes the tile with the number `index` at `level` has in the tree of `size` entries: 0 to 256.
pub fn width_in_tree(level: u8, index: u64, size: u64) -> u16 {
    if level > MAX_LEVEL {
        return 0;
    }
    let hashes_at_level = size >> (8 * u32::from(level));
    let in_tiles_before = index.saturating_mul(u64::from(TILE_WIDTH));
    let rest = hashes_at_level.saturating_sub(in_tiles_before);
    u16::try_from(rest).map_or(TILE_WIDTH, |rest| rest.min(TILE_WIDTH))
}

/// Every tile that grew between two sizes, level by level, as wide as it is at `new_size`. A log has these before it
/// publishes a checkpoint at `new_size`. The tiles of level 0 are also the bundles of entries that grew.
pub fn tiles_grown(old_size: u64, new_size: u64) -> impl Iterator<Item = TileCoordinate> {
    (0..=MAX_LEVEL).flat_map(move |level| {
        let shift = 8 * u32::from(level);
        let (old, new) = (old_size >> shift, new_size >> shift);
        let width = u64::from(TILE_WIDTH);
        let indices = if old < new { old / width..new.div_ceil(width) } else { 0..0 };
        indices.filter_map(move |index| TileCoordinate::in_tree(level, index, new_size))
    })
}

/// The bytes of a tile as it is served: the hashes, one after the other.
pub fn encode_tile(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.to_bytes()).collect()
}

/// Reads a tile of exactly `width` hashes.
///
/// # Errors
///
/// [`Error::WrongTileLength`].
pub fn decode_tile(bytes: &[u8], width: u16) -> Result<Vec<Hash>, Error> {
    let (hashes, rest) = bytes.as_chunks::<HASH_LENGTH>();
    if !rest.is_empty() || hashes.len() != usize::from(width) {
        return Err(Error::WrongTileLength { width, length: bytes.len() });
    }
    Ok(hashes.iter().copied().map(Hash::from_bytes).collect())
}

/// Why something is not a tile, or not the path of one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No tree is so high.
    #[error("the levels of tiles go from 0 to {MAX_LEVEL}, not to {level}")]
    LevelOutOfRange {
        /// The level that was asked for.
        level: u8,
    },
    /// The path is not in the one form that tlog-tiles has for it.
    #[error("the path does not have the form tile/<level>/<index> or tile/entries/<index>, with .p/<width> if partial")]
    MalformedPath,
    /// A tile holds 1 to 256 hashes.
    #[error("a tile has 1 to {TILE_WIDTH} hashes, not {width}")]
    WidthOutOfRange {
        /// The width that was asked for.
        width: u16,
    },
    /// The bytes of a tile are too few or too many.
    #[error("a tile of {width} hashes has {} bytes, not {length}", usize::from(*width) * HASH_LENGTH)]
    WrongTileLength {
        /// How many hashes were expected.
        width: u16,
        /// How many bytes there were.
        length: usize,
    },
}

fn parse_path(path: &str) -> Option<TilePath> {
    let (level, rest) = path.strip_prefix("tile/")?.split_once('/')?;
    let (index, width) = match rest.split_once(".p/") {
        Some((index, width)) => (index, parse_decimal(width).filter(|width| *width < u64::from(TILE_WIDTH))?),
        None => (rest, u64::from(TILE_WIDTH)),
    };
    let index = parse_index(index)?;
    let width = u16::try_from(width).ok()?;
    if level == "entries" {
        return TileCoordinate::new(0, index, width).ok().map(TilePath::Entries);
    }
    let level = u8::try_from(parse_decimal(level)?).ok()?;
    TileCoordinate::new(level, index, width).ok().map(TilePath::Hashes)
}

/// Reads `x001/x234/067`. A leading group of zeroes would be a second path of the same tile, and is refused.
fn parse_index(text: &str) -> Option<u64> {
    let mut index = 0_u64;
    let mut groups = text.split('/').peekable();
    let mut is_first = true;
    while let Some(group) = groups.next() {
        let is_last = groups.peek().is_none();
        let digits = if is_last { group } else { group.strip_prefix('x')? };
        if digits.len() != 3 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        if is_first && !is_last && digits == "000" {
            return None;
        }
        index = index.checked_mul(1000)?.checked_add(digits.parse().ok()?)?;
        is_first = false;
    }
    Some(index)
}

/// Reads an unsigned decimal number without sign or leading zeroes.
pub(super) fn parse_decimal(text: &str) -> Option<u64> {
    let has_leading_zero = text.len() > 1 && text.starts_with('0');
    if has_leading_zero || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashes(level: u8, index: u64, width: u16) -> TilePath {
        TilePath::Hashes(TileCoordinate::new(level, index, width).unwrap())
    }

    #[test]
    fn paths_of_the_specification() {
        let entries = TilePath::Entries(TileCoordinate::new(0, 1_234_067, 8).unwrap());
        for (path, text) in [
            (hashes(0, 0, 256), "tile/0/000"),
            (hashes(0, 273, 112), "tile/0/273.p/112"),
            (hashes(7, 1_234_067, 256), "tile/7/x001/x234/067"),
            (hashes(1, 1000, 1), "tile/1/x001/000.p/1"),
            (hashes(0, u64::MAX, 255), "tile/0/x018/x446/x744/x073/x709/x551/615.p/255"),
            (entries, "tile/entries/x001/x234/067.p/8"),
        ] {
            assert_eq!(path.to_string(), text);
            assert_eq!(text.parse(), Ok(path));
        }
    }

    #[test]
    fn a_tile_has_one_path() {
        for text in [
            "",
            "tile",
            "tile/",
            "tile/0",
            "tile/0/",
            "tile/0/0",
            "tile/0/0000",
            "tile/0/x000/001",
            "tile/0/001/002",
            "tile/0/x001",
            "tile/0/x001/x002",
            "tile/00/001",
            "tile/8/001",
            "tile/64/001",
            "tile/256/001",
            "tile/-1/001",
            "tile/+1/001",
            "tile/0/+01",
            "tile/0/001.p/0",
            "tile/0/001.p/256",
            "tile/0/001.p/",
            "tile/0/001.p/01",
            "tile/0/001.p/1/",
            "tile/0/001.p/1.p/1",
            "/tile/0/001",
            "tile/data/001",
            "tile/0/x01/001",
            "tile/0/001/",
            "tile/0/x018/x446/x744/x073/x709/x551/616",
            "tile/0/0\u{661}",
            "tile/Entries/001",
            "tile/8/0/001",
        ] {
            assert_eq!(text.parse::<TilePath>(), Err(Error::MalformedPath), "{text}");
        }
    }

    #[test]
    fn widths_of_the_specification() {
        // tlog-tiles: a tree of 70,000 has 273 full tiles at level 0 and one of 112, then 1 full and one of 17, then 1.
        assert_eq!([272, 273, 274].map(|index| width_in_tree(0, index, 70_000)), [256, 112, 0]);
        assert_eq!([0, 1, 2].map(|index| width_in_tree(1, index, 70_000)), [256, 17, 0]);
        assert_eq!([0, 1].map(|index| width_in_tree(2, index, 70_000)), [1, 0]);
        assert_eq!(width_in_tree(1, 0, 256), 1);
        assert_eq!(width_in_tree(7, 0, u64::MAX), 255);
        assert_eq!(width_in_tree(8, 0, u64::MAX), 0);
        assert_eq!(width_in_tree(0, u64::MAX, u64::MAX), 0);
        assert!(TileCoordinate::new(1, 1, 17).unwrap().is_in_tree(70_000));
        assert!(!TileCoordinate::new(1, 1, 18).unwrap().is_in_tree(70_000));
    }

    #[test]
    fn tiles_that_grow() {
        let paths = |old, new| tiles_grown(old, new).map(|tile| TilePath::Hashes(tile).to_string()).collect::<Vec<_>>();
        assert_eq!(paths(0, 0), Vec::<String>::new());
        assert_eq!(paths(7, 7), Vec::<String>::new());
        assert_eq!(paths(0, 256), ["tile/0/000", "tile/1/000.p/1"]);
        assert_eq!(paths(255, 257), ["tile/0/000", "tile/0/001.p/1", "tile/1/000.p/1"]);
        assert_eq!(paths(256, 257), ["tile/0/001.p/1"]);
        assert_eq!(tiles_grown(0, 70_000).count(), 274 + 2 + 1);
    }

    #[test]
    fn a_tile_in_bytes() {
        let tile = [Hash::from_bytes([1; 32]), Hash::from_bytes([2; 32])];
        let bytes = encode_tile(&tile);
        assert_eq!(decode_tile(&bytes, 2).unwrap(), tile);
        assert_eq!(decode_tile(&bytes, 1), Err(Error::WrongTileLength { width: 1, length: 64 }));
        assert_eq!(decode_tile(&bytes[..63], 2), Err(Error::WrongTileLength { width: 2, length: 63 }));
    }

    #[test]
    fn coordinates_are_checked() {
        assert_eq!(TileCoordinate::new(8, 0, 1), Err(Error::LevelOutOfRange { level: 8 }));
        assert_eq!(TileCoordinate::new(0, 0, 0), Err(Error::WidthOutOfRange { width: 0 }));
        assert_eq!(TileCoordinate::new(0, 0, 257), Err(Error::WidthOutOfRange { width: 257 }));
    }
}
