//! The hashes of RFC 6962, section 2.1, with SHA-256: of an entry, of an inner node, of the empty tree.
//!
//! An entry and an inner node are hashed under different first bytes, so that no entry can pass for an inner node.
//! Out of scope: which hashes are combined with which (`frontier`, `proof`).

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE64, HEXLOWER};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// How many bytes a hash has.
pub const HASH_LENGTH: usize = 32;

/// The SHA-256 hash of an entry or of an inner node of a Merkle tree. Shown and read as 64 lowercase hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Hash([u8; HASH_LENGTH]);

impl Hash {
    /// The hash with exactly these bytes.
    pub const fn from_bytes(bytes: [u8; HASH_LENGTH]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; HASH_LENGTH] {
        &self.0
    }

    /// The 32 bytes, by value.
    pub const fn to_bytes(self) -> [u8; HASH_LENGTH] {
        self.0
    }

    /// Standard base64 with padding (44 characters), as checkpoints and proofs write it.
    pub fn to_base64(&self) -> String {
        BASE64.encode(&self.0)
    }

    /// Reads what [`Hash::to_base64`] writes, and nothing else: a hash has one spelling.
    ///
    /// # Errors
    ///
    /// [`Error::NotBase64`] or [`Error::WrongLength`].
    pub fn from_base64(text: &str) -> Result<Self, Error> {
        Self::try_from(super::base64::decode(text).ok_or(Error::NotBase64)?.as_slice())
    }
}

impl From<[u8; HASH_LENGTH]> for Hash {
    fn from(bytes: [u8; HASH_LENGTH]) -> Self {
        Self(bytes)
    }
}

impl TryFrom<&[u8]> for Hash {
    type Error = Error;

    fn try_from(bytes: &[u8]) -> Result<Self, Error> {
        Ok(Self(bytes.try_into().map_err(|_| Error::WrongLength { length: bytes.len() })?))
    }
}

impl FromStr for Hash {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::try_from(HEXLOWER.decode(text.as_bytes()).map_err(|_| Error::NotHex)?.as_slice())
    }
}

impl AsRef<[u8]> for Hash {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Hash({self})")
    }
}

/// The hash of an entry: SHA-256(0x00 || entry).
pub fn leaf_hash(entry: &[u8]) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update([LEAF_PREFIX]);
    hasher.update(entry);
    Hash(hasher.finalize().into())
}

/// The hash of an inner node: SHA-256(0x01 || left || right).
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut message = [NODE_PREFIX; 1 + 2 * HASH_LENGTH];
    message[1..1 + HASH_LENGTH].copy_from_slice(&left.0);
    message[1 + HASH_LENGTH..].copy_from_slice(&right.0);
    Hash(Sha256::digest(message).into())
}

/// The root of the tree without entries: SHA-256 of nothing.
pub fn empty_root() -> Hash {
    Hash(Sha256::digest([]).into())
}

/// Why bytes or text are not a hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text is not standard base64 with padding.
    #[error("a hash in base64 was expected")]
    NotBase64,
    /// The text is not lowercase hex.
    #[error("a hash in lowercase hex was expected")]
    NotHex,
    /// The text or the bytes have another length.
    #[error("a hash has 32 bytes, not {length}")]
    WrongLength {
        /// How many bytes there were.
        length: usize,
    },
}

/// RFC 6962, section 2.1.
const LEAF_PREFIX: u8 = 0x00;
/// RFC 6962, section 2.1.
const NODE_PREFIX: u8 = 0x01;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_of_rfc_6962() {
        assert_eq!(empty_root().to_string(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        let empty_leaf = leaf_hash(b"");
        assert_eq!(empty_leaf.to_string(), "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
        let second = leaf_hash(&[0]);
        assert_eq!(second.to_string(), "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7");
        assert_eq!(
            node_hash(&empty_leaf, &second).to_string(),
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"
        );
    }

    #[test]
    fn a_hash_has_one_spelling() {
        let hash = leaf_hash(b"entry");
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert_eq!(Hash::from_base64(&hash.to_base64()), Ok(hash));
        assert_eq!(hash.to_string().to_uppercase().parse::<Hash>(), Err(Error::NotHex));
        assert_eq!("00".parse::<Hash>(), Err(Error::WrongLength { length: 1 }));
        assert_eq!(Hash::from_base64("AAAA"), Err(Error::WrongLength { length: 3 }));
        let unpadded = hash.to_base64().replace('=', "");
        assert_eq!(Hash::from_base64(&unpadded), Err(Error::NotBase64));
        // The last character before the padding carries two bits that no byte uses; they must be zero.
        let zero = Hash::from_bytes([0; HASH_LENGTH]).to_base64();
        assert_eq!(Hash::from_base64(&zero.replace("A=", "B=")), Err(Error::NotBase64));
    }
}
