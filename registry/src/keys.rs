//! The registry's own keys, in `keys/` of its folder: the authority's, the directory log's, and the TLS key with its
//! certificate. Each is a file of its own that nobody else may read: 64 hex digits for a signing key, PEM for TLS.
//!
//! The authority's key may be kept elsewhere: then the registry serves and sequences, and whatever only the authority may
//! say waits. Out of scope: which statement needs which key, which is `trust::directory`'s.

use std::{
    io,
    path::{Path, PathBuf},
};

use data_encoding::HEXLOWER;
use host::{
    files,
    key_backup::KeySet,
    random::{self, Random},
    tls::{IdentityError, TlsIdentity},
};
use trust::key::SigningKey;
use zeroize::Zeroizing;

/// The folder of the keys, within the registry's.
pub const FOLDER: &str = "keys";

pub(crate) const AUTHORITY_FILE: &str = "authority.key";
pub(crate) const AUTHORITY_NEXT_FILE: &str = "authority.next.key";
pub(crate) const AUTHORITY_OLD_FILE: &str = "authority.old.key";
pub(crate) const LOG_FILE: &str = "log.key";
pub(crate) const LOG_NEXT_FILE: &str = "log.next.key";
pub(crate) const LOG_OLD_FILE: &str = "log.old.key";
pub(crate) const TLS_FILE: &str = "tls.pem";
pub(crate) const TLS_NEXT_FILE: &str = "tls.next.pem";
/// When the next TLS key comes into use, Unix milliseconds.
pub(crate) const TLS_SWITCH_FILE: &str = "tls.next.at";

/// Every key that a registry has.
#[derive(Debug)]
pub struct Keys {
    /// The authority's; `None` where it is kept elsewhere.
    pub authority: Option<SigningKey>,
    /// The directory log's.
    pub log: SigningKey,
    /// The log's key before this one, or the one that is to follow, where they are here (`log_keys`).
    pub other_log_keys: Vec<SigningKey>,
    /// The TLS key with its certificate.
    pub tls: TlsIdentity,
}

impl Keys {
    /// Reads the keys in the registry's folder.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let keys = folder.join(FOLDER);
        let authority = match read_signing_key(&keys.join(AUTHORITY_FILE)) {
            Err(Error::File(files::Error::Io { source, .. })) if source.kind() == io::ErrorKind::NotFound => None,
            read => Some(read?),
        };
        let log = read_signing_key(&keys.join(LOG_FILE))?;
        let others = [LOG_OLD_FILE, LOG_NEXT_FILE].map(|name| keys.join(name));
        let others = others.iter().filter(|path| path.exists()).map(|path| read_signing_key(path));
        let other_log_keys = others.collect::<Result<_, _>>()?;
        Ok(Self { authority, log, other_log_keys, tls: TlsIdentity::read(&keys.join(TLS_FILE))? })
    }

    /// Makes new keys and writes them into the registry's folder. A key that exists is never overwritten.
    pub fn make(folder: &Path, random: &dyn Random, names: &[&str]) -> Result<Self, Error> {
        let keys = folder.join(FOLDER);
        files::private_folder(&keys)?;
        let authority = make_signing_key(&keys.join(AUTHORITY_FILE), random)?;
        let log = make_signing_key(&keys.join(LOG_FILE), random)?;
        let tls = TlsIdentity::generate(random, names)?;
        tls.write(&keys.join(TLS_FILE))?;
        Ok(Self { authority: Some(authority), log, other_log_keys: Vec::new(), tls })
    }
}

/// The keys in a registry's folder, for the sealed backup that two officers open together (`host::key_backup`).
pub fn backed_up(folder: &Path) -> KeySet {
    KeySet {
        folder: folder.join(FOLDER),
        names: &[
            AUTHORITY_FILE,
            AUTHORITY_NEXT_FILE,
            AUTHORITY_OLD_FILE,
            LOG_FILE,
            LOG_NEXT_FILE,
            LOG_OLD_FILE,
            TLS_FILE,
            TLS_NEXT_FILE,
        ],
        watched: &[AUTHORITY_FILE, LOG_FILE, TLS_FILE],
        // These come and go while a key is changed.
        renewed: &[AUTHORITY_NEXT_FILE, AUTHORITY_OLD_FILE, LOG_NEXT_FILE, LOG_OLD_FILE, TLS_NEXT_FILE],
    }
}

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be read or written, or others can read it.
    #[error(transparent)]
    File(#[from] files::Error),
    /// The file is no key.
    #[error("{} is no signing key: 64 hexadecimal digits are expected", path.display())]
    NotAKey {
        /// The file.
        path: PathBuf,
    },
    /// The TLS key or its certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] IdentityError),
}

/// Reads a signing key's file: 64 hex digits, readable by its owner alone.
pub fn read_signing_key(path: &Path) -> Result<SigningKey, Error> {
    let text = files::read_private_file(path)?;
    let seed = HEXLOWER.decode(text.trim_ascii()).map(Zeroizing::new).ok();
    let seed = seed.as_ref().and_then(|seed| <&[u8; 32]>::try_from(seed.as_slice()).ok());
    seed.map(SigningKey::from_seed).ok_or_else(|| Error::NotAKey { path: path.to_owned() })
}

/// Makes a signing key and its file. What exists is never overwritten.
pub fn make_signing_key(path: &Path, random: &dyn Random) -> Result<SigningKey, Error> {
    let seed = Zeroizing::new(random::array::<32>(random));
    let text = Zeroizing::new(format!("{}\n", *Zeroizing::new(HEXLOWER.encode(seed.as_slice()))));
    files::write_private_file(path, text.as_bytes())?;
    Ok(SigningKey::from_seed(&seed))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use host::random::SeededRandom;
    use trust::key::Signer;

    use super::*;

    fn made() -> (tempfile::TempDir, Keys) {
        let folder = tempfile::tempdir().unwrap();
        let keys = Keys::make(folder.path(), &SeededRandom::new(1), &["127.0.0.1"]).unwrap();
        (folder, keys)
    }

    #[test]
    fn keys_come_back_and_differ_from_each_other() {
        let (folder, keys) = made();
        let read = Keys::read(folder.path()).unwrap();
        let (authority, log) = (keys.authority.unwrap(), keys.log);
        assert_eq!(read.authority.unwrap().public_key(), authority.public_key());
        assert_eq!(read.log.public_key(), log.public_key());
        assert_ne!(authority.public_key(), log.public_key());
        assert_eq!(read.tls.key_digest(), keys.tls.key_digest());
    }

    #[test]
    fn a_key_that_others_can_read_is_refused_with_the_remedy() {
        let (folder, _) = made();
        for name in [AUTHORITY_FILE, LOG_FILE, TLS_FILE] {
            let path = folder.path().join(FOLDER).join(name);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
            let error = Keys::read(folder.path()).unwrap_err().to_string();
            assert!(error.contains("can be read by others") && error.contains(name), "{error}");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
    }

    #[test]
    fn the_authority_key_may_be_elsewhere_the_others_not() {
        let (folder, _) = made();
        let path = |name: &str| folder.path().join(FOLDER).join(name);
        fs::remove_file(path(AUTHORITY_FILE)).unwrap();
        assert!(Keys::read(folder.path()).unwrap().authority.is_none());
        fs::write(path(LOG_FILE), "short").unwrap();
        assert!(matches!(Keys::read(folder.path()).unwrap_err(), Error::NotAKey { .. }));
        fs::remove_file(path(LOG_FILE)).unwrap();
        assert!(Keys::read(folder.path()).is_err());
    }

    #[test]
    fn no_key_is_overwritten() {
        let (folder, keys) = made();
        assert!(Keys::make(folder.path(), &SeededRandom::new(2), &[]).is_err());
        let read = Keys::read(folder.path()).unwrap();
        assert_eq!(read.authority.unwrap().public_key(), keys.authority.unwrap().public_key());
    }
}
