//! Entry bundles of C2SP `tlog-tiles`: the entries whose hashes a tile of level 0 holds, each after its length.
//!
//! Out of scope: what an entry means, and whether it is the one the tree has: compare [`EntryBundle::leaf_hashes`].

use super::hash::{Hash, leaf_hash};
use super::tile::TILE_WIDTH;

/// The longest entry, in bytes: its length is written in 16 bits.
pub const MAX_ENTRY_LENGTH: usize = 65_535;

/// One to 256 entries, each of at most 65,535 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryBundle {
    entries: Vec<Vec<u8>>,
}

impl EntryBundle {
    /// A bundle of these entries.
    ///
    /// # Errors
    ///
    /// [`Error::WidthOutOfRange`], [`Error::EntryTooLong`].
    pub fn new(entries: Vec<Vec<u8>>) -> Result<Self, Error> {
        check_width(entries.len())?;
        if let Some(position) = entries.iter().position(|entry| entry.len() > MAX_ENTRY_LENGTH) {
            return Err(Error::EntryTooLong { position, length: entries[position].len() });
        }
        Ok(Self { entries })
    }

    /// Reads a bundle that must have exactly `width` entries.
    ///
    /// # Errors
    ///
    /// [`Error::WidthOutOfRange`], [`Error::Truncated`], [`Error::TrailingBytes`].
    pub fn decode(bytes: &[u8], width: u16) -> Result<Self, Error> {
        check_width(usize::from(width))?;
        let mut rest = bytes;
        let mut entries = Vec::with_capacity(usize::from(width));
        for position in 0..usize::from(width) {
            let (entry, after) = split_entry(rest).ok_or(Error::Truncated { position })?;
            entries.push(entry.to_vec());
            rest = after;
        }
        if !rest.is_empty() {
            return Err(Error::TrailingBytes { length: rest.len() });
        }
        Ok(Self { entries })
    }

    /// The bytes as they are served.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.entries.iter().map(|entry| 2 + entry.len()).sum());
        for entry in &self.entries {
            // The cast cannot cut: `new` and `decode` hold every entry to 65,535 bytes.
            bytes.extend_from_slice(&(entry.len() as u16).to_be_bytes());
            bytes.extend_from_slice(entry);
        }
        bytes
    }

    /// The entries, in the order of the log.
    pub fn entries(&self) -> &[Vec<u8>] {
        &self.entries
    }

    /// The entries, in the order of the log, by value.
    pub fn into_entries(self) -> Vec<Vec<u8>> {
        self.entries
    }

    /// What the tile of level 0 with the same index must hold.
    pub fn leaf_hashes(&self) -> impl Iterator<Item = Hash> + '_ {
        self.entries.iter().map(|entry| leaf_hash(entry))
    }
}

/// Why entries are not a bundle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The length of an entry does not fit its 16 bits.
    #[error("entry {position} of the bundle has {length} bytes; the most is {MAX_ENTRY_LENGTH}")]
    EntryTooLong {
        /// Which entry, from 0.
        position: usize,
        /// How many bytes it has.
        length: usize,
    },
    /// Bytes are left after the last entry.
    #[error("{length} bytes follow the last entry of the bundle")]
    TrailingBytes {
        /// How many.
        length: usize,
    },
    /// The bytes end before an entry does.
    #[error("the bundle ends before its entry {position} does")]
    Truncated {
        /// Which entry, from 0.
        position: usize,
    },
    /// A bundle holds 1 to 256 entries.
    #[error("a bundle has 1 to {TILE_WIDTH} entries, not {width}")]
    WidthOutOfRange {
        /// How many entries were given or expected.
        width: usize,
    },
}

fn check_width(width: usize) -> Result<(), Error> {
    if !(1..=usize::from(TILE_WIDTH)).contains(&width) {
        return Err(Error::WidthOutOfRange { width });
    }
    Ok(())
}

fn split_entry(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back() {
        let entries = vec![b"first".to_vec(), Vec::new(), vec![7; MAX_ENTRY_LENGTH]];
        let bundle = EntryBundle::new(entries.clone()).unwrap();
        let bytes = bundle.encode();
        assert_eq!(&bytes[..9], b"\x00\x05first\x00\x00");
        assert_eq!(EntryBundle::decode(&bytes, 3).unwrap(), bundle);
        assert_eq!(bundle.leaf_hashes().nth(1), Some(leaf_hash(b"")));
        assert_eq!(bundle.into_entries(), entries);
    }

    #[test]
    fn malformed_bundles_are_refused() {
        let bytes = b"\x00\x02ab\x00\x01c";
        assert!(EntryBundle::decode(bytes, 2).is_ok());
        assert_eq!(EntryBundle::decode(bytes, 1), Err(Error::TrailingBytes { length: 3 }));
        assert_eq!(EntryBundle::decode(bytes, 3), Err(Error::Truncated { position: 2 }));
        assert_eq!(EntryBundle::decode(&bytes[..6], 2), Err(Error::Truncated { position: 1 }));
        assert_eq!(EntryBundle::decode(&bytes[..5], 2), Err(Error::Truncated { position: 1 }));
        assert_eq!(EntryBundle::decode(b"", 0), Err(Error::WidthOutOfRange { width: 0 }));
        assert_eq!(EntryBundle::decode(&[0; 514], 257), Err(Error::WidthOutOfRange { width: 257 }));
        assert_eq!(EntryBundle::new(Vec::new()), Err(Error::WidthOutOfRange { width: 0 }));
        assert_eq!(EntryBundle::new(vec![Vec::new(); 257]), Err(Error::WidthOutOfRange { width: 257 }));
        let too_long = EntryBundle::new(vec![Vec::new(), vec![0; MAX_ENTRY_LENGTH + 1]]);
        assert_eq!(too_long, Err(Error::EntryTooLong { position: 1, length: 65_536 }));
    }
}
