//! What this node verified, put down by itself and sealed with a key of its own, so that it need not verify a million
//! signatures again at its next start. Whoever can write the node's `directory` folder and not its keys can make it verify
//! everything again, and nothing else. Out of scope: what stands in it (`trust::directory::snapshot`).

use std::path::Path;

use host::{put_down::PutDown, random::Random, sealed};
use trust::{
    directory::{Directory, snapshot::SnapshotError},
    ids::ExchangeId,
    key::PublicKey,
};

/// The file beside the folder `directory`.
const FILE: &str = "directory.view";

/// The file of the key that seals it, in the folder `keys`. Nobody needs a copy of it.
const KEY_FILE: &str = "view.key";

const PURPOSE: &str = "errand directory view v1";

/// Verifying so many statements takes a tenth of a second: not worth a file.
const FEWEST_STATEMENTS: u64 = 2_000;

/// Why nothing could be put down or read back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file or its key.
    #[error(transparent)]
    Sealed(#[from] sealed::Error),
    /// The content.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

/// Where a node puts down what it verified.
#[derive(Debug)]
pub struct Snapshots(PutDown);

impl Snapshots {
    /// Those of the node in the folder `dir`.
    pub fn of(dir: &Path, random: &dyn Random) -> Result<Self, Error> {
        let key = dir.join("keys").join(KEY_FILE);
        Ok(Self(PutDown::new(dir.join(FILE), &key, PURPOSE, FEWEST_STATEMENTS, random)?))
    }

    /// What was put down, at most so many statements; `None` where there is nothing that can be relied on, and everything is
    /// verified anew.
    pub(super) fn read(&self, exchange: &ExchangeId, authority_key: &PublicKey, size: u64) -> Option<Directory> {
        let read = self.0.read(|input| Directory::read_snapshot(exchange, authority_key, input).map_err(Error::from));
        match read {
            Ok(directory) => {
                // One of more than is stored is of a folder that was moved away.
                let directory = directory.filter(|directory| directory.size() <= size)?;
                self.0.covers(directory.size());
                Some(directory)
            }
            Err(error) => {
                tracing::warn!(%error, "every statement of the directory is verified again");
                None
            }
        }
    }

    /// Whether so much was verified since that it is worth putting down.
    pub(super) fn is_due(&self, size: u64) -> bool {
        self.0.is_due(size)
    }

    pub(super) fn put_down(&self, directory: &Directory) -> Result<(), super::Error> {
        self.0.write(directory.size(), |out| directory.write_snapshot(out).map_err(Error::from))?;
        Ok(())
    }
}
