//! What this registry verified, put down by itself and sealed with a key of its own, so that it is back in seconds with a
//! directory of a million statements: for as long as it starts nobody can be admitted and nothing said. It is taken only
//! where its root is that of the ledger's tiles at its size, and what is behind it is verified as ever; the entries before
//! it are compared with it while the registry serves already.
//!
//! Whoever can write the registry's folder and not its keys can make it verify everything again, and nothing else. Out of
//! scope: what stands in it (`trust::directory::snapshot`).

use std::{path::Path, sync::Arc, time::Duration};

use host::{put_down::PutDown, random::Random, sealed, supervise::TaskError};
use tokio_util::sync::CancellationToken;
use trust::{
    directory::{Directory, snapshot::SnapshotError},
    ids::ExchangeId,
    key::PublicKey,
    log::{
        frontier::Frontier,
        hash::{Hash, leaf_hash},
    },
};

use crate::{
    anchors::root_at,
    keys,
    ledger::{self, Ledger, ReadLimit},
    sequencer::Sequencer,
};

/// The file in the registry's folder.
const FILE: &str = "directory.view";

/// The file of the key that seals it, in the folder `keys`. Nobody needs a copy of it.
const KEY_FILE: &str = "view.key";

const PURPOSE: &str = "errand registry directory v1";

/// Verifying so many statements takes a tenth of a second: not worth a file.
const FEWEST_STATEMENTS: u64 = 2_000;

/// How many entries are read at once when they are compared.
const CHUNK: ReadLimit = ReadLimit { entries: 1024, bytes: 4 * 1024 * 1024 };

/// Between two readings others get their turn.
const PAUSE: Duration = Duration::from_millis(2);

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
    /// A blocking task ended by itself.
    #[error("putting the directory down failed: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// Where a registry puts down what it verified.
#[derive(Debug)]
pub struct Snapshots(PutDown);

impl Snapshots {
    /// Those of the registry in the folder.
    pub fn of(folder: &Path, random: &dyn Random) -> Result<Arc<Self>, Error> {
        let key = folder.join(keys::FOLDER).join(KEY_FILE);
        Ok(Arc::new(Self(PutDown::new(folder.join(FILE), &key, PURPOSE, FEWEST_STATEMENTS, random)?)))
    }

    /// The directory that was put down, where the ledger begins with it; `None` where everything is to be verified anew.
    pub(crate) async fn read(
        self: &Arc<Self>,
        exchange: &ExchangeId,
        authority_key: &PublicKey,
        ledger: &dyn Ledger,
    ) -> Result<Option<Directory>, ledger::Error> {
        let (own, exchange, authority_key) = (Arc::clone(self), exchange.clone(), authority_key.clone());
        let reading = tokio::task::spawn_blocking(move || {
            own.0.read(|input| Directory::read_snapshot(&exchange, &authority_key, input).map_err(Error::from))
        });
        let directory = match reading.await? {
            Ok(Some(directory)) => directory,
            Ok(None) => return Ok(None),
            Err(error) => {
                tracing::warn!(%error, "every statement of the directory is verified again");
                return Ok(None);
            }
        };
        let size = directory.size();
        if ledger.position().await?.size < size || root_at(ledger, size).await? != directory.root() {
            tracing::warn!(size, "what was put down is not of this ledger: every statement is verified again");
            return Ok(None);
        }
        self.0.covers(size);
        Ok(Some(directory))
    }

    async fn put_down(self: &Arc<Self>, directory: Directory) -> Result<(), Error> {
        let own = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            own.0.write(directory.size(), |out| directory.write_snapshot(out).map_err(Error::from))
        })
        .await?
    }
}

/// Puts down what was verified, whenever that has become worth its while. That it fails is told, and costs the next start
/// its time.
pub async fn keep(snapshots: Arc<Snapshots>, sequencer: Sequencer, stop: CancellationToken) -> Result<(), TaskError> {
    let mut heads = sequencer.watch();
    loop {
        let size = heads.borrow_and_update().size;
        if snapshots.0.is_due(size) {
            // Nothing is copied but counters.
            let directory = sequencer.directory().clone();
            if let Err(error) = snapshots.put_down(directory).await {
                tracing::warn!(%error, "what was verified is not put down; the next start takes longer");
                snapshots.0.covers(size);
            }
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            changed = heads.changed() => if changed.is_err() { return Ok(()) },
        }
    }
}

/// Compares the entries that were not read at the start with the root that was relied on.
pub async fn compare(
    ledger: Arc<dyn Ledger>,
    (size, root): (u64, Hash),
    stop: CancellationToken,
) -> Result<(), ledger::Error> {
    let mut frontier = Frontier::new();
    while frontier.size() < size {
        let left = usize::try_from(size - frontier.size()).unwrap_or(usize::MAX);
        let limit = ReadLimit { entries: CHUNK.entries.min(left), ..CHUNK };
        let read = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            read = ledger.read(frontier.size(), limit) => read,
        };
        let entries = match read {
            Ok(entries) => entries,
            // It is compared at the next start.
            Err(ledger::Error::Away { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        if entries.is_empty() {
            return Err(ledger::Error::damaged(format!("entry {} is missing", frontier.size())));
        }
        entries.iter().for_each(|entry| drop(frontier.append(leaf_hash(entry))));
        tokio::time::sleep(PAUSE).await;
    }
    match frontier.root() == root {
        true => Ok(()),
        false => Err(ledger::Error::damaged(format!("its first {size} entries are not those that were verified"))),
    }
}

#[cfg(test)]
mod tests {
    use host::{clock::MockClock, random::SeededRandom};
    use trust::key::Signer;

    use super::*;
    use crate::{
        fixture::{NOW_MS, authority_key, exchange, founded, parts},
        ledger::memory::MemoryLedger,
        sequencer::SequencerParts,
    };

    async fn put_down(dir: &Path, ledger: &MemoryLedger) -> Arc<Snapshots> {
        let snapshots = Snapshots::of(dir, &SeededRandom::new(1)).unwrap();
        let (sequencer, _task) = Sequencer::start(parts(ledger, &MockClock::at(NOW_MS))).await.unwrap();
        let directory = sequencer.directory().clone();
        snapshots.put_down(directory).await.unwrap();
        snapshots
    }

    #[tokio::test]
    async fn a_registry_goes_on_from_what_it_put_down_where_its_ledger_begins_with_it() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(keys::FOLDER)).unwrap();
        let ledger = founded().await;
        let snapshots = put_down(dir.path(), &ledger).await;
        let read = async |ledger: &MemoryLedger| {
            snapshots.read(&exchange(), authority_key().public_key(), ledger).await.unwrap().map(|known| known.size())
        };
        assert_eq!(read(&ledger).await, Some(2));
        let (sequencer, _task) = Sequencer::start(SequencerParts {
            snapshots: Some(Arc::clone(&snapshots)),
            ..parts(&ledger, &MockClock::at(NOW_MS))
        })
        .await
        .unwrap();
        assert_eq!((sequencer.resumed().map(|(size, _)| size), sequencer.directory().size()), (Some(2), 2));

        // Another exchange's ledger, one that was emptied, and a file that was changed.
        let other = MemoryLedger::default();
        assert_eq!(read(&other).await, None);
        let entries = vec![b"one".to_vec(), b"two".to_vec(), b"three".to_vec()];
        other.append(0, entries).await.unwrap();
        assert_eq!(read(&other).await, None);
        let path = dir.path().join(FILE);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[60] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(read(&ledger).await, None);
    }

    #[tokio::test]
    async fn entries_that_are_not_those_that_were_verified_are_found() {
        let ledger = founded().await;
        let position = ledger.position().await.unwrap();
        let compared =
            async |root: Hash| compare(Arc::new(ledger.clone()), (position.size, root), CancellationToken::new()).await;
        compared(position.root).await.unwrap();
        let error = compared(leaf_hash(b"another")).await.unwrap_err();
        assert!(matches!(error, ledger::Error::Damaged { .. }), "{error}");
    }
}
