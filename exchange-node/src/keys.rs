//! The node's keys, in `DIR/keys`: who signs what, and where each private half lies. A key file that others can read is
//! refused. Out of scope: the months' keys of the evidence, which the journal makes itself.

pub mod backup;
mod keyring;
pub mod rotation;

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use data_encoding::HEXLOWER;
use host::{
    files,
    random::{self, Random},
    signing::FastSigner,
    tls::{IdentityError, TlsIdentity},
};
use proto::exchange::v1::Envelope;
use trust::{
    envelope::{self, Payload},
    ids::Digest,
    key::{KeyId, PublicKey, Signer},
};
use zeroize::Zeroizing;

pub use self::keyring::Keyring;

/// Why keys cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be read or written, or others can read it.
    #[error(transparent)]
    File(#[from] files::Error),
    /// The file holds no private key.
    #[error("{} holds no private key: 64 hex digits are expected", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// There is no such file.
    #[error("{} is missing: run `exchange-node init`, or restore the key from its backup", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The TLS key and certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] IdentityError),
    /// The library refused the key.
    #[error("{} holds a private key that cannot be used", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
    },
}

/// A private key that signs with the fast library. Its signatures are the same bytes as anybody's.
pub struct FileKey {
    signer: FastSigner,
    public: PublicKey,
}

impl FileKey {
    /// The key of a seed.
    pub fn from_seed(seed: &[u8; 32]) -> Option<Self> {
        let signer = FastSigner::from_seed(seed).ok()?;
        let public = PublicKey::ed25519(&signer.public_key()).ok()?;
        Some(Self { signer, public })
    }

    /// Reads a key's file: 64 hex digits, readable by its owner alone.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let bytes = match files::read_private_file(path) {
            Err(files::Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Err(Error::Missing { path: path.to_owned() });
            }
            other => other?,
        };
        let malformed = || Error::Malformed { path: path.to_owned() };
        let decoded = Zeroizing::new(HEXLOWER.decode(bytes.trim_ascii()).map_err(|_| malformed())?);
        let seed: &[u8; 32] = decoded.as_slice().try_into().map_err(|_| malformed())?;
        Self::from_seed(seed).ok_or_else(|| Error::Unusable { path: path.to_owned() })
    }

    /// Reads the key, or makes it where there is none. What exists is never overwritten.
    fn read_or_make(path: &Path, random: &dyn Random) -> Result<Self, Error> {
        match Self::read(path) {
            Err(Error::Missing { .. }) => {
                let seed = Zeroizing::new(random::array::<32>(random));
                let text = Zeroizing::new(format!("{}\n", HEXLOWER.encode(seed.as_slice())));
                files::write_private_file(path, text.as_bytes())?;
                Self::read(path)
            }
            other => other,
        }
    }
}

impl Signer for FileKey {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.signer.sign(message)
    }
}

impl fmt::Debug for FileKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "FileKey({})", self.public.id())
    }
}

/// Who signs what the node says: the key in use and, while keys overlap, the one before it. A message then bears both
/// signatures, so that it counts with peers who have yet to hear of the new key. Any single key will do for it.
pub trait NodeSigner: Send + Sync {
    /// Calls `sign` with each key, the one in use first.
    fn each(&self, sign: &mut dyn FnMut(&dyn Signer));

    /// The id of the key in use.
    fn key_id(&self) -> KeyId {
        let mut id = None;
        self.each(&mut |key| {
            id.get_or_insert(*key.public_key().id());
        });
        // Unwrap safety: `each` calls with the key in use at least.
        id.expect("a node signs with one key at least")
    }
}

impl<T: Signer> NodeSigner for T {
    fn each(&self, sign: &mut dyn FnMut(&dyn Signer)) {
        sign(self);
    }
}

/// Does something with the key in use alone.
pub fn with_key<T>(signer: &dyn NodeSigner, with: impl FnOnce(&dyn Signer) -> T) -> T {
    let (mut with, mut done) = (Some(with), None);
    signer.each(&mut |key| {
        if let Some(with) = with.take() {
            done = Some(with(key));
        }
    });
    // Unwrap safety: `each` calls with the key in use at least.
    done.expect("a node signs with one key at least")
}

/// Signs a message of the node. Returns the envelope and the message's identity, which does not depend on the keys.
pub fn seal<M: Payload>(message: &M, signer: &dyn NodeSigner) -> (Envelope, Digest) {
    let (mut envelope, digest) = envelope::unsigned(message);
    signer.each(&mut |key| {
        // Two signatures at most, of eight that fit.
        let _ = envelope::countersign(&mut envelope, key);
    });
    (envelope, digest)
}

/// The keys in the folder of a node, as they were read.
#[derive(Debug)]
pub struct NodeKeys {
    /// Signs questions, answers, outcomes and evidence checkpoints.
    pub node: Arc<FileKey>,
    /// Signs the department's statements; `None` where the department keeps it elsewhere.
    pub department: Option<FileKey>,
    /// The connection's key with its certificate.
    pub tls: Arc<TlsIdentity>,
}

impl NodeKeys {
    /// Reads the keys of the folder `dir`.
    pub fn read(dir: &Path) -> Result<Self, Error> {
        let folder = folder(dir);
        let department = match FileKey::read(&folder.join(DEPARTMENT)) {
            Err(Error::Missing { .. }) => None,
            other => Some(other?),
        };
        let tls = folder.join(TLS);
        if !tls.exists() {
            return Err(Error::Missing { path: tls });
        }
        Ok(Self {
            node: Arc::new(FileKey::read(&folder.join(NODE))?),
            department,
            tls: Arc::new(TlsIdentity::read(&tls)?),
        })
    }

    /// The department's key, where it is here.
    pub fn department_signer(&self) -> Option<&dyn Signer> {
        self.department.as_ref().map(|key| key as &dyn Signer)
    }
}

/// The keys that `init` makes, and reads again when it is run a second time.
#[derive(Debug)]
pub struct NewKeys {
    /// The department's first key.
    pub department: FileKey,
    /// Its recovery key, which belongs into a safe.
    pub recovery: FileKey,
    /// The node's key.
    pub node: FileKey,
    /// The connection's key.
    pub tls: TlsIdentity,
}

impl NewKeys {
    /// Reads what is there and makes what is missing, so that a second run goes on with the same keys.
    pub fn read_or_make(dir: &Path, tls_names: &[&str], random: &dyn Random) -> Result<Self, Error> {
        let JoiningKeys { node, tls } = JoiningKeys::read_or_make(dir, tls_names, random)?;
        let folder = folder(dir);
        Ok(Self {
            department: FileKey::read_or_make(&folder.join(DEPARTMENT), random)?,
            recovery: FileKey::read_or_make(&folder.join(RECOVERY), random)?,
            node,
            tls,
        })
    }
}

/// The keys that the machine of a further node makes: neither the department's nor the recovery key.
#[derive(Debug)]
pub struct JoiningKeys {
    /// The node's key.
    pub node: FileKey,
    /// The connection's key.
    pub tls: TlsIdentity,
}

impl JoiningKeys {
    /// Reads what is there and makes what is missing.
    pub fn read_or_make(dir: &Path, tls_names: &[&str], random: &dyn Random) -> Result<Self, Error> {
        files::private_folder(dir)?;
        let folder = folder(dir);
        files::private_folder(&folder)?;
        files::private_folder(&folder.join("months"))?;
        let tls = folder.join(TLS);
        if !tls.exists() {
            TlsIdentity::generate(random, tls_names)?.write(&tls)?;
        }
        Ok(Self { node: FileKey::read_or_make(&folder.join(NODE), random)?, tls: TlsIdentity::read(&tls)? })
    }
}

/// Where the recovery key lies until the department takes it away.
pub fn recovery_file(dir: &Path) -> PathBuf {
    folder(dir).join(RECOVERY)
}

/// Key files of the folder that others can read, with what to do: for `doctor`.
pub fn open_to_others(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder(dir)) else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| entry.path().is_file())
        .filter_map(|entry| files::read_private_file(&entry.path()).err())
        .map(|error| error.to_string())
        .collect()
}

fn folder(dir: &Path) -> PathBuf {
    dir.join("keys")
}

const DEPARTMENT: &str = "department.key";
/// The one before it, while other machines of the department may still use it.
const DEPARTMENT_OLD: &str = "department.old.key";
/// Made, and not yet in use.
const DEPARTMENT_NEXT: &str = "department.next.key";
const NODE: &str = "node.key";
/// The one before it, which signs along until the overlap ends.
const NODE_OLD: &str = "node.old.key";
/// Made, and not yet in use.
const NODE_NEXT: &str = "node.next.key";
const RECOVERY: &str = "recovery.key";
/// Private key and certificate in one PEM file, so that the two cannot be mixed up.
const TLS: &str = "tls.key";
/// Made, and not yet shown to anybody.
const TLS_NEXT: &str = "tls.next.key";
/// When it is shown, and when the old one is given up.
const TLS_SCHEDULE: &str = "tls.next.json";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use host::random::SeededRandom;

    use super::*;

    #[test]
    fn a_second_run_finds_the_same_keys() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("node");
        let made = NewKeys::read_or_make(&dir, &["node.example"], &SeededRandom::new(1)).unwrap();
        let again = NewKeys::read_or_make(&dir, &["node.example"], &SeededRandom::new(2)).unwrap();
        assert_eq!(made.node.public_key(), again.node.public_key());
        assert_eq!(made.recovery.public_key(), again.recovery.public_key());
        assert_eq!(made.tls.key_digest(), again.tls.key_digest());
        let read = NodeKeys::read(&dir).unwrap();
        assert_eq!(read.department_signer().unwrap().public_key(), made.department.public_key());
        assert!(made.node.public_key().verifies(b"message", &read.node.sign(b"message")));
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("node");
        NewKeys::read_or_make(&dir, &["node.example"], &SeededRandom::new(1)).unwrap();
        assert!(open_to_others(&dir).is_empty());
        let path = dir.join("keys/node.key");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = NodeKeys::read(&dir).unwrap_err().to_string();
        assert!(error.contains("node.key can be read by others"), "{error}");
        assert_eq!(open_to_others(&dir).len(), 1);
    }

    #[test]
    fn a_department_key_may_be_kept_elsewhere_and_a_node_key_not() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("node");
        NewKeys::read_or_make(&dir, &["node.example"], &SeededRandom::new(1)).unwrap();
        fs::remove_file(dir.join("keys/department.key")).unwrap();
        assert!(NodeKeys::read(&dir).unwrap().department.is_none());
        fs::remove_file(dir.join("keys/node.key")).unwrap();
        assert!(matches!(NodeKeys::read(&dir), Err(Error::Missing { .. })));
    }

    #[test]
    fn debug_shows_no_seed() {
        let key = FileKey::from_seed(&[7; 32]).unwrap();
        assert!(!format!("{key:?}").contains("0707"));
    }
}
