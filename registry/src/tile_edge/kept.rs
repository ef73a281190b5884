//! What was served lately, so that what everybody asks for is read and hashed once. Tiles never change, so nothing here
//! is ever stale; the oldest make room. Out of scope: whether a tile may be served at all.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use trust::log::tile::TilePath;

/// How many bytes are kept.
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// Bytes with their ETag. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Content {
    bytes: Bytes,
    tag: Bytes,
}

impl Content {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        let digest = Sha256::digest(&bytes);
        let tag = format!("\"{}\"", HEXLOWER.encode(&digest[..16]));
        Self { bytes: bytes.into(), tag: tag.into_bytes().into() }
    }

    pub(super) fn bytes(&self) -> Bytes {
        self.bytes.clone()
    }

    /// The strong ETag, with its quotes.
    pub(super) fn tag(&self) -> &str {
        std::str::from_utf8(&self.tag).unwrap_or_default()
    }
}

/// The tiles and bundles served lately.
#[derive(Debug, Default)]
pub(super) struct KeptTiles(Mutex<Tiles>);

#[derive(Debug, Default)]
struct Tiles {
    content: HashMap<TilePath, Content>,
    order: VecDeque<TilePath>,
    bytes: usize,
}

impl KeptTiles {
    pub(super) fn get(&self, path: &TilePath) -> Option<Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).content.get(path).cloned()
    }

    pub(super) fn keep(&self, path: TilePath, content: Content) {
        let mut tiles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tiles.bytes += content.bytes.len();
        match tiles.content.insert(path, content) {
            Some(before) => tiles.bytes -= before.bytes.len(),
            None => tiles.order.push_back(path),
        }
        while tiles.bytes > MOST_BYTES {
            let Some(oldest) = tiles.order.pop_front() else { break };
            if let Some(content) = tiles.content.remove(&oldest) {
                tiles.bytes -= content.bytes.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use trust::log::tile::TileCoordinate;

    use super::*;

    #[test]
    fn the_oldest_make_room() {
        let kept = KeptTiles::default();
        let path = |index| TilePath::Entries(TileCoordinate::new(0, index, 256).unwrap());
        for index in 0..100 {
            kept.keep(path(index), Content::new(vec![0; 1024 * 1024]));
            kept.keep(path(index), Content::new(vec![0; 1024 * 1024]));
        }
        let there: Vec<u64> = (0..100).filter(|index| kept.get(&path(*index)).is_some()).collect();
        assert_eq!(there, (36..100).collect::<Vec<_>>());
        assert_eq!(kept.0.lock().unwrap().bytes, MOST_BYTES);
    }

    #[test]
    fn equal_content_has_one_tag() {
        let (one, other) = (Content::new(b"tile".to_vec()), Content::new(b"tilt".to_vec()));
        assert_eq!(one.tag(), Content::new(b"tile".to_vec()).tag());
        assert_ne!(one.tag(), other.tag());
        assert!(one.tag().starts_with('"') && one.tag().len() == 34);
    }
}
