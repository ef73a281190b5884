//! Keys and what each may sign. The suite belongs to the key, as its statement in the directory says, and never to the
//! message: nobody can talk a verifier into a weaker check. Where private keys are kept is not here.

pub(crate) mod strict;

use std::{
    fmt,
    str::FromStr,
    sync::{Arc, OnceLock},
};

use data_encoding::HEXLOWER;
use ed25519_dalek::VerifyingKey;
use proto::registry::v1 as wire;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use sha2::{Digest as _, Sha256};

use crate::ids::IdError;

/// What a key may sign. A key signs only its role's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Role {
    /// Admissions, reviews, suspensions, revocations.
    Authority,
    /// A department's statements.
    Department,
    /// The directory's checkpoints and `state` statements.
    Log,
    /// Requests, answers, evidence checkpoints, cosignatures.
    Node,
    /// Adds a department key when the others are lost.
    Recovery,
}

/// How a key signs. There is room for SM2 beside Ed25519.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Suite {
    /// Ed25519 (RFC 8032), verified strictly: no small-order keys, no malleable signatures.
    Ed25519,
}

impl Suite {
    /// The name in the directory.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
        }
    }
}

/// Why a key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A suite that this version does not know.
    #[error("the key's suite is not known to this version")]
    SuiteUnknown,
    /// The bytes are no public key of the suite, or one of small order.
    #[error("the bytes are no usable public key")]
    NotAKey,
    /// The role is missing or not known.
    #[error("the key's role is missing or not known to this version")]
    RoleUnknown,
}

/// A public key that is known to be usable. Clones share it: a directory knows hundreds of thousands, of which few sign.
#[derive(Clone)]
pub struct PublicKey(Arc<Known>);

struct Known {
    suite: Suite,
    bytes: [u8; 32],
    id: KeyId,
    /// The point that the bytes stand for, once something was to be verified; `None` in it for bytes that are no usable key.
    point: OnceLock<Option<Box<VerifyingKey>>>,
}

impl PublicKey {
    /// An Ed25519 key from its 32 bytes.
    pub fn ed25519(bytes: &[u8]) -> Result<Self, KeyError> {
        let bytes: &[u8; 32] = bytes.try_into().map_err(|_| KeyError::NotAKey)?;
        usable(bytes).ok_or(KeyError::NotAKey)?;
        Ok(Self::known(bytes))
    }

    /// A key of the suite that a directory statement names.
    pub fn of_suite(suite: &str, bytes: &[u8]) -> Result<Self, KeyError> {
        if suite == Suite::Ed25519.as_str() { Self::ed25519(bytes) } else { Err(KeyError::SuiteUnknown) }
    }

    fn known(bytes: &[u8; 32]) -> Self {
        let id = KeyId::of(Suite::Ed25519, bytes);
        Self(Arc::new(Known { suite: Suite::Ed25519, bytes: *bytes, id, point: OnceLock::new() }))
    }

    /// The key's suite.
    pub fn suite(&self) -> Suite {
        self.0.suite
    }

    /// The key's id.
    pub fn id(&self) -> &KeyId {
        &self.0.id
    }

    /// The raw public key.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0.bytes
    }

    /// Whether the signature over the message is this key's.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let Ok(signature) = ed25519_dalek::Signature::from_slice(signature) else { return false };
        let point = self.0.point.get_or_init(|| usable(&self.0.bytes).map(Box::new));
        point.as_ref().is_some_and(|key| strict::verifies(key, message, &signature))
    }
}

/// The point of a key; none for bytes that are no point, or one of small order.
fn usable(bytes: &[u8; 32]) -> Option<VerifyingKey> {
    VerifyingKey::from_bytes(bytes).ok().filter(|key| !key.is_weak())
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        (self.0.suite, &self.0.bytes) == (other.0.suite, &other.0.bytes)
    }
}

impl Eq for PublicKey {}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0.bytes)
    }
}

/// Only what this program wrote is read back so, and so the point is not computed again: that is what takes the time when
/// a large directory is opened. Bytes that are no usable key verify nothing.
impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = <&[u8]>::deserialize(deserializer)?;
        Ok(Self::known(bytes.try_into().map_err(|_| D::Error::custom(KeyError::NotAKey))?))
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;
    /// Reads 64 hex digits, as people pass an authority's key around.
    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::ed25519(&HEXLOWER.decode(text.trim().as_bytes()).map_err(|_| KeyError::NotAKey)?)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&HEXLOWER.encode(self.as_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PublicKey({self})")
    }
}

/// A key's id: SHA-256 over `"errand key v1" NUL suite NUL public key`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 32]);

impl KeyId {
    fn of(suite: Suite, public_key: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"errand key v1\0");
        hash.update(suite.as_str().as_bytes());
        hash.update(b"\0");
        hash.update(public_key);
        Self(hash.finalize().into())
    }

    /// The id of the key of the suite that a statement names, which may yet turn out not to be usable.
    pub(crate) fn named(suite: &str, public_key: &[u8]) -> Result<Self, KeyError> {
        match (suite == Suite::Ed25519.as_str(), public_key.len()) {
            (true, 32) => Ok(Self::of(Suite::Ed25519, public_key)),
            (true, _) => Err(KeyError::NotAKey),
            (false, _) => Err(KeyError::SuiteUnknown),
        }
    }

    pub(crate) const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = <&[u8]>::deserialize(deserializer)?;
        let wrong = || D::Error::custom(IdError::Bytes { what: "a key's id", length: 32 });
        Ok(Self(bytes.try_into().map_err(|_| wrong())?))
    }
}

impl FromStr for KeyId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let wrong = || IdError::Bytes { what: "a key's id", length: 32 };
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| wrong())?;
        Ok(Self(bytes.try_into().map_err(|_| wrong())?))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self}")
    }
}

/// Something that signs with one key. `SigningKey` does it here; a program may bring a faster one or a device.
pub trait Signer: Send + Sync {
    /// The public half.
    fn public_key(&self) -> &PublicKey;
    /// The signature over the message.
    fn sign(&self, message: &[u8]) -> [u8; 64];
}

/// A private key in memory, wiped when dropped.
pub struct SigningKey {
    key: ed25519_dalek::SigningKey,
    public: PublicKey,
}

impl SigningKey {
    /// From the 32 secret bytes.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let key = ed25519_dalek::SigningKey::from_bytes(seed);
        let public = PublicKey::known(key.verifying_key().as_bytes());
        Self { key, public }
    }
}

impl Signer for SigningKey {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        use ed25519_dalek::Signer as _;
        self.key.sign(message).to_bytes()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SigningKey({})", self.public.id())
    }
}

/// A key as a directory statement describes it: role, key, and from when until when it counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescribedKey {
    /// What it may sign.
    pub role: Role,
    /// The key.
    pub key: PublicKey,
    /// From when it counts, Unix milliseconds.
    pub valid_from_ms: u64,
    /// Until when it counts, Unix milliseconds; `None` without end.
    pub valid_until_ms: Option<u64>,
}

impl DescribedKey {
    /// Reads a statement's key.
    pub fn from_wire(key: &wire::Key) -> Result<Self, KeyError> {
        Self::read(key, PublicKey::of_suite)
    }

    /// Reads a statement's key that was read before, and found usable.
    pub(crate) fn from_checked(key: &wire::Key) -> Result<Self, KeyError> {
        Self::read(key, |suite, bytes| {
            KeyId::named(suite, bytes)?;
            Ok(PublicKey::known(bytes.try_into().map_err(|_| KeyError::NotAKey)?))
        })
    }

    fn read(
        key: &wire::Key,
        public: impl FnOnce(&str, &[u8]) -> Result<PublicKey, KeyError>,
    ) -> Result<Self, KeyError> {
        let role = match key.role() {
            wire::KeyRole::Authority => Role::Authority,
            wire::KeyRole::Log => Role::Log,
            wire::KeyRole::Department => Role::Department,
            wire::KeyRole::Recovery => Role::Recovery,
            wire::KeyRole::Node => Role::Node,
            wire::KeyRole::Unspecified => return Err(KeyError::RoleUnknown),
        };
        Ok(Self {
            role,
            key: public(&key.suite, &key.public_key)?,
            valid_from_ms: key.valid_from_ms,
            valid_until_ms: (key.valid_until_ms != 0).then_some(key.valid_until_ms),
        })
    }

    /// Writes it for a statement.
    pub fn to_wire(&self) -> wire::Key {
        let role = match self.role {
            Role::Authority => wire::KeyRole::Authority,
            Role::Department => wire::KeyRole::Department,
            Role::Log => wire::KeyRole::Log,
            Role::Node => wire::KeyRole::Node,
            Role::Recovery => wire::KeyRole::Recovery,
        };
        wire::Key {
            role: role.into(),
            suite: self.key.suite().as_str().to_owned(),
            public_key: self.key.as_bytes().to_vec(),
            valid_from_ms: self.valid_from_ms,
            valid_until_ms: self.valid_until_ms.unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_verifies_only_under_its_key_and_message() {
        let key = SigningKey::from_seed(&[1; 32]);
        let other = SigningKey::from_seed(&[2; 32]);
        let signature = key.sign(b"message");
        assert!(key.public_key().verifies(b"message", &signature));
        assert!(!key.public_key().verifies(b"massage", &signature));
        assert!(!other.public_key().verifies(b"message", &signature));
        assert!(!key.public_key().verifies(b"message", &signature[..63]));
    }

    /// RFC 8032, 7.1, test 2.
    #[test]
    fn signs_as_rfc_8032_says() {
        let seed = HEXLOWER.decode(b"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb").unwrap();
        let key = SigningKey::from_seed(&seed.try_into().unwrap());
        assert_eq!(key.public_key().to_string(), "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
        assert_eq!(
            HEXLOWER.encode(&key.sign(&[0x72])),
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
             085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        );
    }

    /// A key of small order would verify signatures over messages nobody signed.
    #[test]
    fn keys_of_small_order_are_refused() {
        let mut identity = [0; 32];
        identity[0] = 1;
        assert_eq!(PublicKey::ed25519(&identity), Err(KeyError::NotAKey));
        // Not even where somebody got it past that: the signature R = identity, S = 0 would fit every message.
        let signature = [identity, [0; 32]].concat();
        assert!(!PublicKey::known(&identity).verifies(b"message", &signature));
        assert_eq!(PublicKey::ed25519(&[0; 31]), Err(KeyError::NotAKey));
        assert_eq!(PublicKey::of_suite("rsa", &identity), Err(KeyError::SuiteUnknown));
    }

    #[test]
    fn no_private_byte_shows_in_debug_output() {
        let key = SigningKey::from_seed(&[7; 32]);
        assert!(!format!("{key:?}").contains("0707"));
    }
}
