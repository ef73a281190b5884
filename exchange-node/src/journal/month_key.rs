//! The keys under which messages are encrypted: one for each month, each in a file of its own, outside the store.
//!
//! A month's messages are given up by deleting its key file; nothing else could erase them, because a log-structured
//! store keeps what was deleted. So backups of the store never hold `keys/months`. Out of scope: what is encrypted.

use std::{fmt, io, path::PathBuf};

use chacha20poly1305::{KeyInit as _, Tag, XChaCha20Poly1305, XNonce, aead::AeadInOut as _};
use host::{
    files,
    random::{self, Random},
};
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize as _, Zeroizing};

use super::{JournalError, Month};

/// How many bytes a nonce has. It is random, and long enough that no two records under one key will share one.
pub(crate) const NONCE_BYTES: usize = 24;
/// How many bytes the tag after the encrypted messages has.
pub(crate) const TAG_BYTES: usize = 16;

/// Tells keys of one month apart, where one had to be made again. SHA-256 of the key, cut to 8 bytes.
pub(crate) type MonthKeyId = [u8; 8];

/// The key of one month: XChaCha20-Poly1305.
pub(crate) struct MonthKey {
    cipher: XChaCha20Poly1305,
    id: MonthKeyId,
}

impl MonthKey {
    fn new(key: &[u8; 32]) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"errand month key v1\0");
        hash.update(key);
        let digest: [u8; 32] = hash.finalize().into();
        let mut id = [0; 8];
        id.copy_from_slice(&digest[..8]);
        Self { cipher: XChaCha20Poly1305::new(key.into()), id }
    }

    pub(crate) fn id(&self) -> MonthKeyId {
        self.id
    }

    /// Encrypts `messages` in place and binds `head` to them; `None` if they are longer than the cipher allows.
    pub(crate) fn seal(&self, nonce: [u8; NONCE_BYTES], head: &[u8], messages: &mut [u8]) -> Option<[u8; TAG_BYTES]> {
        let tag = self.cipher.encrypt_inout_detached(&XNonce::from(nonce), head, messages.into()).ok()?;
        Some(tag.into())
    }

    /// Decrypts `messages` in place; `None` if they, or `head`, are not what was sealed under this key.
    pub(crate) fn open(
        &self,
        nonce: [u8; NONCE_BYTES],
        head: &[u8],
        messages: &mut [u8],
        tag: [u8; TAG_BYTES],
    ) -> Option<()> {
        self.cipher.decrypt_inout_detached(&XNonce::from(nonce), head, messages.into(), &Tag::from(tag)).ok()
    }
}

/// Shows the id alone.
impl fmt::Debug for MonthKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("MonthKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The folder of the months' keys.
#[derive(Debug)]
pub(crate) struct MonthKeys {
    folder: PathBuf,
}

impl MonthKeys {
    /// Uses this folder; it is made if it is missing, and refused if others can enter it.
    pub(crate) fn open(folder: PathBuf) -> Result<Self, JournalError> {
        files::private_folder(&folder)?;
        Ok(Self { folder })
    }

    /// The month's key, unless it was destroyed. Read from the file each time, so that a destroyed key is gone at once.
    pub(crate) fn load(&self, month: Month) -> Result<Option<MonthKey>, JournalError> {
        let path = self.path(month);
        let bytes = match files::read_private_file(&path) {
            Ok(bytes) => bytes,
            Err(files::Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        match <&[u8; 32]>::try_from(bytes.as_slice()) {
            Ok(key) => Ok(Some(MonthKey::new(key))),
            Err(_) => Err(JournalError::NotAMonthKey { path }),
        }
    }

    /// The month's key, made now if there is none, and durable before it is used.
    pub(crate) fn load_or_make(&self, month: Month, random: &dyn Random) -> Result<MonthKey, JournalError> {
        if let Some(key) = self.load(month)? {
            return Ok(key);
        }
        let mut bytes: [u8; 32] = random::array(random);
        let key = Zeroizing::new(bytes);
        bytes.zeroize();
        files::write_private_file(&self.path(month), key.as_slice())?;
        Ok(MonthKey::new(&key))
    }

    fn path(&self, month: Month) -> PathBuf {
        self.folder.join(format!("{month}.key"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use host::random::SeededRandom;
    use std::{fs, os::unix::fs::PermissionsExt as _};

    #[test]
    fn a_key_is_made_once_private_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let keys = MonthKeys::open(folder.path().join("keys/months")).unwrap();
        let month = "2026-11".parse().unwrap();
        assert!(keys.load(month).unwrap().is_none());
        let made = keys.load_or_make(month, &SeededRandom::new(1)).unwrap();
        let again = keys.load_or_make(month, &SeededRandom::new(2)).unwrap();
        assert_eq!(made.id(), again.id());
        assert_ne!(made.id(), keys.load_or_make("2026-12".parse().unwrap(), &SeededRandom::new(2)).unwrap().id());
        let path = keys.path(month);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(folder.path().join("keys/months")).unwrap().permissions().mode() & 0o777, 0o700);

        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = keys.load(month).unwrap_err().to_string();
        assert!(error.contains("can be read by others (mode 0640)"), "{error}");
        fs::remove_file(&path).unwrap();
        assert!(keys.load(month).unwrap().is_none());
        files::write_private_file(&path, &[1; 31]).unwrap();
        assert!(keys.load(month).unwrap_err().to_string().contains("is not a key of 32 bytes"));
    }

    #[test]
    fn what_was_sealed_opens_under_the_same_key_head_and_nonce_alone() {
        let (key, other) = (MonthKey::new(&[1; 32]), MonthKey::new(&[2; 32]));
        let mut messages = *b"a question and its answer";
        let tag = key.seal([3; 24], b"head", &mut messages).unwrap();
        assert_ne!(&messages, b"a question and its answer");
        let opens = |key: &MonthKey, nonce, head: &[u8], tag| {
            let mut messages = messages;
            key.open(nonce, head, &mut messages, tag).map(|()| messages)
        };
        assert_eq!(opens(&key, [3; 24], b"head", tag), Some(*b"a question and its answer"));
        assert_eq!(opens(&other, [3; 24], b"head", tag), None);
        assert_eq!(opens(&key, [4; 24], b"head", tag), None);
        assert_eq!(opens(&key, [3; 24], b"hea", tag), None);
        assert_eq!(opens(&key, [3; 24], b"head", [0; 16]), None);
        assert!(!format!("{key:?}").contains("1, 1, 1, 1"));
    }
}
