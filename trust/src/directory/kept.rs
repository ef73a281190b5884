//! A message that is kept for long and read seldom: its bytes, and the message only once somebody has asked. A directory
//! of a million statements is held in memory by every node, which asks about a few dozen of them.
//!
//! It reads like the message itself. Where many are looked at once and then never again, [`Kept::read`] leaves nothing
//! behind. Out of scope: verifying; these bytes were made here from what had been verified.

use std::{
    fmt,
    ops::Deref,
    sync::{Arc, OnceLock},
};

use prost::Message;

/// A message as its bytes, read when it is asked for. Clones share both.
pub struct Kept<M> {
    bytes: Arc<[u8]>,
    read: OnceLock<Arc<M>>,
}

impl<M: Message + Default> Kept<M> {
    /// Keeps a message.
    pub fn new(message: &M) -> Self {
        Self { bytes: message.encode_to_vec().into(), read: OnceLock::new() }
    }

    /// The message's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The message, read now; what is kept stays small.
    pub fn read(&self) -> M {
        // Bytes that were made from a message are one.
        M::decode(&*self.bytes).unwrap_or_default()
    }
}

impl<M: Message + Default> Deref for Kept<M> {
    type Target = M;
    fn deref(&self) -> &M {
        self.read.get_or_init(|| Arc::new(self.read()))
    }
}

impl<M> Clone for Kept<M> {
    fn clone(&self) -> Self {
        Self { bytes: Arc::clone(&self.bytes), read: self.read.clone() }
    }
}

impl<M: Message + Default> From<M> for Kept<M> {
    fn from(message: M) -> Self {
        Self::new(&message)
    }
}

impl<M: Message + Default> From<&M> for Kept<M> {
    fn from(message: &M) -> Self {
        Self::new(message)
    }
}

impl<M> PartialEq for Kept<M> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl<M> Eq for Kept<M> {}

impl<M: Message + Default + fmt::Debug> fmt::Debug for Kept<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.read(), formatter)
    }
}

impl<M> serde::Serialize for Kept<M> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.bytes)
    }
}

impl<'de, M: Message + Default> serde::Deserialize<'de> for Kept<M> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = <&[u8]>::deserialize(deserializer)?;
        Ok(Self { bytes: bytes.into(), read: OnceLock::new() })
    }
}

#[cfg(test)]
mod tests {
    use proto::registry::v1::LocalName;

    use super::*;

    #[test]
    fn it_reads_like_the_message() {
        let message = LocalName { zh: "民政局".into(), en: "civil affairs".into() };
        let kept = Kept::from(message.clone());
        assert_eq!((kept.zh.as_str(), kept.read()), ("民政局", message.clone()));
        assert_eq!(kept.clone(), Kept::new(&message));
        assert_eq!(*kept, message);
    }
}
