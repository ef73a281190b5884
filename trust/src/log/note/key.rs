//! The keys of signed notes: who signs, with which kind of signature, and the short id that stands in a signature line.
//!
//! Out of scope: private keys. Whoever signs passes a closure that does.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE64, HEXLOWER};
use ed25519_dalek::VerifyingKey;
use sha2::{Digest, Sha256};

use crate::key::strict;

/// The name of a key: not empty, without white space and plus signs. For a log it is the origin of its checkpoints.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName(String);

impl KeyName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyName {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let is_allowed = |character: char| !character.is_whitespace() && character != '+' && character >= ' ';
        if name.is_empty() || !name.chars().all(is_allowed) {
            return Err(Error::MalformedName);
        }
        Ok(Self(name.to_owned()))
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The first four bytes of SHA-256(name || 0x0A || kind of signature || public key). It tells keys apart and proves
/// nothing: anyone can make another key with the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 4]);

impl KeyId {
    pub(super) fn from_bytes(bytes: [u8; 4]) -> Self {
        Self(bytes)
    }

    /// The four bytes.
    pub fn as_bytes(&self) -> &[u8; 4] {
        &self.0
    }
}

/// Eight lowercase hex digits.
impl fmt::Display for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&HEXLOWER.encode(&self.0))
    }
}

/// A kind of signature, by the byte that signed-note assigns to it. Both are made with Ed25519 keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// `cosignature/v1` of tlog-cosignature: over a time and a checkpoint.
    CosignatureV1 = 0x04,
    /// Over the text of the note.
    Ed25519 = 0x01,
}

impl Algorithm {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::CosignatureV1, Self::Ed25519].into_iter().find(|algorithm| *algorithm as u8 == byte)
    }
}

/// A public key, with the name under which it signs and the kind of signature it is for. Shown and read as the
/// `name+id+base64` of signed-note's verifier keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteKey {
    name: KeyName,
    algorithm: Algorithm,
    id: KeyId,
    public_key: VerifyingKey,
}

impl NoteKey {
    /// The key that signs as `name`.
    ///
    /// # Errors
    ///
    /// [`Error::NotAPublicKey`].
    pub fn new(name: KeyName, algorithm: Algorithm, public_key: &[u8; 32]) -> Result<Self, Error> {
        let public_key = VerifyingKey::from_bytes(public_key).map_err(|_| Error::NotAPublicKey)?;
        // Under a key of small order one signature fits many messages.
        if public_key.is_weak() {
            return Err(Error::NotAPublicKey);
        }
        let id = key_id(&name, algorithm, public_key.as_bytes());
        Ok(Self { name, algorithm, id, public_key })
    }

    /// The name under which it signs.
    pub fn name(&self) -> &KeyName {
        &self.name
    }

    /// The kind of signature it is for.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The id that stands in its signature lines.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The Ed25519 public key.
    pub fn public_key(&self) -> &[u8; 32] {
        self.public_key.as_bytes()
    }

    /// Whether the key made this signature over the message. Strict: no second signature can be derived from one.
    pub(in crate::log) fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        strict::verifies(&self.public_key, message, &ed25519_dalek::Signature::from_bytes(signature))
    }
}

impl fmt::Display for NoteKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = [&[self.algorithm as u8], self.public_key().as_slice()].concat();
        write!(formatter, "{}+{}+{}", self.name, self.id, BASE64.encode(&key))
    }
}

impl FromStr for NoteKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        // The base64 may have plus signs of its own; the name and the id have none.
        let (name, rest) = text.split_once('+').ok_or(Error::MalformedKey)?;
        let (id, base64) = rest.split_once('+').ok_or(Error::MalformedKey)?;
        let key = crate::log::base64::decode(base64).ok_or(Error::MalformedKey)?;
        let (algorithm, public_key) = key.split_first().ok_or(Error::MalformedKey)?;
        let algorithm = Algorithm::from_byte(*algorithm).ok_or(Error::UnknownAlgorithm { byte: *algorithm })?;
        let public_key = public_key.try_into().map_err(|_| Error::MalformedKey)?;
        let key = Self::new(name.parse()?, algorithm, public_key)?;
        // Compared as text: other spellings of the id are refused as well.
        if key.id.to_string() != id {
            return Err(Error::WrongKeyId { expected: key.id });
        }
        Ok(key)
    }
}

/// Why something is not a key of a note.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text is not `name+id+base64`.
    #[error("a verifier key has the form name+id+base64")]
    MalformedKey,
    /// The name is empty, or has white space or a plus sign.
    #[error("the name of a key is empty, or has white space or a plus sign in it")]
    MalformedName,
    /// The bytes are not an Ed25519 public key, or one that proves nothing.
    #[error("the bytes are not a usable Ed25519 public key")]
    NotAPublicKey,
    /// The kind of signature is none that is used here.
    #[error("signatures of kind {byte} are not known")]
    UnknownAlgorithm {
        /// The byte of the kind.
        byte: u8,
    },
    /// The id is not the one of this name and key.
    #[error("the id of the key should be {expected}")]
    WrongKeyId {
        /// The id that fits name and key.
        expected: KeyId,
    },
}

fn key_id(name: &KeyName, algorithm: Algorithm, public_key: &[u8; 32]) -> KeyId {
    let mut hasher = Sha256::new();
    hasher.update(name.as_str());
    hasher.update([b'\n', algorithm as u8]);
    hasher.update(public_key);
    let digest: [u8; 32] = hasher.finalize().into();
    KeyId([digest[0], digest[1], digest[2], digest[3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";

    #[test]
    fn a_known_key_comes_back() {
        let key: NoteKey = KEY.parse().unwrap();
        assert_eq!(key.to_string(), KEY);
        assert_eq!((key.name().as_str(), key.algorithm()), ("PeterNeumann", Algorithm::Ed25519));
        assert_eq!(key.id().as_bytes(), &[0xc7, 0x4f, 0x20, 0xa3]);
        let cosigner = NoteKey::new(key.name().clone(), Algorithm::CosignatureV1, key.public_key()).unwrap();
        assert_ne!(cosigner.id(), key.id(), "one key has an id of its own for each kind of signature");
        assert_eq!(cosigner.to_string().parse(), Ok(cosigner));
    }

    #[test]
    fn malformed_keys_are_refused() {
        let expected = KeyId([0xc7, 0x4f, 0x20, 0xa3]);
        let with = |from: &str, to: &str| KEY.replace(from, to).parse::<NoteKey>();
        assert_eq!(with("c74f20a3", "c74f20a4"), Err(Error::WrongKeyId { expected }));
        assert_eq!(with("c74f20a3", "C74F20A3"), Err(Error::WrongKeyId { expected }));
        assert_eq!(with("c74f20a3", "+c74f20a3"), Err(Error::MalformedKey));
        assert!(matches!(with("PeterNeumann", "EnochRoot"), Err(Error::WrongKeyId { .. })));
        assert_eq!(with("PeterNeumann", ""), Err(Error::MalformedName));
        assert_eq!(with("Neumann", " Neumann"), Err(Error::MalformedName));
        assert_eq!(with("+", "-"), Err(Error::MalformedKey));
        assert_eq!(with("+ARpc", "+AxpC"), Err(Error::UnknownAlgorithm { byte: 3 }));
        assert_eq!(with("10TW", ""), Err(Error::MalformedKey));
        assert_eq!("name+00000000+".parse::<NoteKey>(), Err(Error::MalformedKey));
    }

    #[test]
    fn keys_that_prove_nothing_are_refused() {
        let name: KeyName = "name".parse().unwrap();
        // The neutral element: of small order. 2 is the y of no point of the curve.
        let neutral = std::array::from_fn(|position| u8::from(position == 0));
        let no_point = std::array::from_fn(|position| if position == 0 { 2 } else { 0 });
        for key in [neutral, no_point] {
            assert_eq!(NoteKey::new(name.clone(), Algorithm::Ed25519, &key), Err(Error::NotAPublicKey));
        }
    }
}
