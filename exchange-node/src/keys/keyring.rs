//! The keys that the running node uses, each of which may change while it runs: whoever signs or connects asks here each
//! time. A new key is in its file before it is used; a crash at any moment leaves a key to start with. Out of scope: when a
//! key changes, and what the directory is told of it (`rotation`).

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use host::{files, random::Random, tls::TlsIdentity};
use trust::key::Signer;

use super::{
    DEPARTMENT, DEPARTMENT_NEXT, DEPARTMENT_OLD, Error, FileKey, NODE, NODE_NEXT, NODE_OLD, NodeSigner, TLS, TLS_NEXT,
    folder,
};

/// The keys of a running node.
pub struct Keyring {
    folder: PathBuf,
    node: ArcSwap<FileKey>,
    /// The node's key before, while it overlaps.
    node_old: ArcSwapOption<FileKey>,
    department: ArcSwapOption<FileKey>,
    tls: ArcSwap<TlsIdentity>,
}

impl Keyring {
    /// Reads the keys of the folder `dir`.
    pub fn read(dir: &Path) -> Result<Self, Error> {
        let folder = folder(dir);
        let tls = folder.join(TLS);
        if !tls.exists() {
            return Err(Error::Missing { path: tls });
        }
        Ok(Self {
            node: ArcSwap::from_pointee(FileKey::read(&folder.join(NODE))?),
            node_old: ArcSwapOption::new(optional(&folder.join(NODE_OLD))?),
            department: ArcSwapOption::new(optional(&folder.join(DEPARTMENT))?),
            tls: ArcSwap::from_pointee(TlsIdentity::read(&tls)?),
            folder,
        })
    }

    /// Makes the node's own keys where they are missing: a folder that lost them can be used again once the department
    /// has said so in the directory. The names of what was made.
    pub fn make_missing(dir: &Path, random: &dyn Random) -> Result<Vec<&'static str>, Error> {
        files::private_folder(dir)?;
        let folder = folder(dir);
        for private in [folder.clone(), folder.join("months")] {
            files::private_folder(&private)?;
        }
        let mut made = Vec::new();
        if !folder.join(NODE).exists() {
            FileKey::read_or_make(&folder.join(NODE), random)?;
            made.push(NODE);
        }
        if !folder.join(TLS).exists() {
            TlsIdentity::generate(random, &[])?.write(&folder.join(TLS))?;
            made.push(TLS);
        }
        Ok(made)
    }

    /// The node's key in use.
    pub fn node(&self) -> Arc<FileKey> {
        self.node.load_full()
    }

    /// The node's key before it, while keys overlap.
    pub fn node_before(&self) -> Option<Arc<FileKey>> {
        self.node_old.load_full()
    }

    /// The department's key, where it is here.
    pub fn department(&self) -> Option<Arc<FileKey>> {
        self.department.load_full()
    }

    /// The key that connections show.
    pub fn tls(&self) -> Arc<TlsIdentity> {
        self.tls.load_full()
    }

    /// The next key of the node, made before and waiting, or new.
    pub(super) fn next_node(&self, random: &dyn Random) -> Result<FileKey, Error> {
        FileKey::read_or_make(&self.folder.join(NODE_NEXT), random)
    }

    /// The next key of the department, made before and waiting, or new.
    pub(super) fn next_department(&self, random: &dyn Random) -> Result<FileKey, Error> {
        FileKey::read_or_make(&self.folder.join(DEPARTMENT_NEXT), random)
    }

    /// The next TLS key, made before and waiting, or new.
    pub(super) fn next_tls(&self, random: &dyn Random) -> Result<TlsIdentity, Error> {
        let path = self.folder.join(TLS_NEXT);
        if !path.exists() {
            TlsIdentity::generate(random, &[])?.write(&path)?;
        }
        Ok(TlsIdentity::read(&path)?)
    }

    /// The next keys that wait in the folder: the node's, the department's, the connection's.
    pub(super) fn waiting(&self) -> Result<Waiting, Error> {
        let tls = self.folder.join(TLS_NEXT);
        Ok(Waiting {
            node: optional(&self.folder.join(NODE_NEXT))?,
            department: optional(&self.folder.join(DEPARTMENT_NEXT))?,
            tls: if tls.exists() { Some(TlsIdentity::read(&tls)?) } else { None },
        })
    }

    /// The next key of the node takes the place of the one in use, which signs along from now on.
    pub(super) fn advance_node(&self) -> Result<(), Error> {
        let next = Arc::new(FileKey::read(&self.folder.join(NODE_NEXT))?);
        self.copy(NODE, NODE_OLD)?;
        self.copy(NODE_NEXT, NODE)?;
        self.node_old.store(Some(self.node.swap(next)));
        self.remove(NODE_NEXT)
    }

    /// The next key of the department takes the place of the one in use, where there is one.
    pub(super) fn advance_department(&self) -> Result<(), Error> {
        let next = Arc::new(FileKey::read(&self.folder.join(DEPARTMENT_NEXT))?);
        if self.department.load().is_some() {
            self.copy(DEPARTMENT, DEPARTMENT_OLD)?;
        }
        self.copy(DEPARTMENT_NEXT, DEPARTMENT)?;
        self.department.store(Some(next));
        self.remove(DEPARTMENT_NEXT)
    }

    /// The next TLS key takes the place of the one in use.
    pub(super) fn advance_tls(&self) -> Result<Arc<TlsIdentity>, Error> {
        let next = Arc::new(TlsIdentity::read(&self.folder.join(TLS_NEXT))?);
        self.copy(TLS_NEXT, TLS)?;
        self.tls.store(Arc::clone(&next));
        self.remove(TLS_NEXT)?;
        Ok(next)
    }

    /// The node's key before is out of use.
    pub(super) fn forget_node_before(&self) -> Result<(), Error> {
        self.node_old.store(None);
        self.remove(NODE_OLD)
    }

    /// The department's key before, where its file is still here.
    pub(super) fn department_before(&self) -> Result<Option<Arc<FileKey>>, Error> {
        optional(&self.folder.join(DEPARTMENT_OLD))
    }

    /// The department's key before is out of use.
    pub(super) fn forget_department_before(&self) -> Result<(), Error> {
        self.remove(DEPARTMENT_OLD)
    }

    /// A small file beside the keys.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn copy(&self, from: &str, to: &str) -> Result<(), Error> {
        let bytes = files::read_private_file(&self.folder.join(from))?;
        Ok(files::replace_file(&self.folder.join(to), &bytes, files::PRIVATE_MODE)?)
    }

    pub(super) fn remove(&self, name: &str) -> Result<(), Error> {
        let path = self.folder.join(name);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(files::Error::Io { doing: "cannot remove", path, source }.into())
            }
            _ => Ok(()),
        }
    }
}

/// Keys that were made and are not in use yet.
pub(super) struct Waiting {
    pub(super) node: Option<Arc<FileKey>>,
    pub(super) department: Option<Arc<FileKey>>,
    pub(super) tls: Option<TlsIdentity>,
}

impl NodeSigner for Keyring {
    fn each(&self, sign: &mut dyn FnMut(&dyn Signer)) {
        sign(self.node.load().as_ref());
        if let Some(before) = self.node_old.load().as_ref() {
            sign(before.as_ref());
        }
    }
}

fn optional(path: &Path) -> Result<Option<Arc<FileKey>>, Error> {
    match FileKey::read(path) {
        Err(Error::Missing { .. }) => Ok(None),
        read => Ok(Some(Arc::new(read?))),
    }
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Keyring").field("node", &self.node.load()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use host::random::SeededRandom;
    use proto::exchange::v1::Outcome;

    use super::*;
    use crate::keys::{NewKeys, seal};

    fn ring(dir: &Path) -> Keyring {
        NewKeys::read_or_make(dir, &["node.example"], &SeededRandom::new(1)).unwrap();
        Keyring::read(dir).unwrap()
    }

    #[test]
    fn while_keys_overlap_both_sign_and_afterwards_the_new_one_alone() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("node");
        let ring = ring(&dir);
        let (old, random) = (ring.node(), SeededRandom::new(2));
        let signatures = |ring: &Keyring| seal(&Outcome::default(), ring).0.signatures;
        let before = signatures(&ring);
        assert_eq!(before.len(), 1);

        let next = ring.next_node(&random).unwrap();
        assert_eq!(ring.next_node(&SeededRandom::new(9)).unwrap().public_key(), next.public_key(), "it is made once");
        assert_eq!(signatures(&ring).len(), 1, "made is not yet in use");
        ring.advance_node().unwrap();
        let both = signatures(&ring);
        assert_eq!(both[0].keyid, next.public_key().id().to_string());
        assert_eq!(both[1], before[0], "the same signature as ever over the same bytes");
        assert_eq!(ring.key_id(), *next.public_key().id());
        // A restart in the overlap finds both.
        let again = Keyring::read(&dir).unwrap();
        assert_eq!(signatures(&again), both);
        assert_eq!(again.node_before().unwrap().public_key(), old.public_key());

        ring.forget_node_before().unwrap();
        assert_eq!(signatures(&ring).len(), 1);
        assert!(Keyring::read(&dir).unwrap().node_before().is_none());
    }

    #[test]
    fn the_departments_key_comes_into_a_folder_that_had_lost_it() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("node");
        drop(ring(&dir));
        fs::remove_file(dir.join("keys/department.key")).unwrap();
        let ring = Keyring::read(&dir).unwrap();
        assert!(ring.department().is_none());
        let next = ring.next_department(&SeededRandom::new(2)).unwrap();
        ring.advance_department().unwrap();
        assert_eq!(ring.department().unwrap().public_key(), next.public_key());
        assert!(ring.department_before().unwrap().is_none());
        assert_eq!(Keyring::read(&dir).unwrap().department().unwrap().public_key(), next.public_key());
    }

    #[test]
    fn a_folder_that_lost_its_nodes_keys_gets_new_ones_and_keeps_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("node");
        let tls = ring(&dir).tls().key_digest();
        fs::remove_file(dir.join("keys/node.key")).unwrap();
        assert_eq!(Keyring::make_missing(&dir, &SeededRandom::new(5)).unwrap(), [NODE]);
        let ring = Keyring::read(&dir).unwrap();
        assert_eq!(ring.tls().key_digest(), tls);
        assert!(Keyring::make_missing(&dir, &SeededRandom::new(6)).unwrap().is_empty());
    }
}
