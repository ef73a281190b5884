//! Jobs of many questions. An office hands one in, the node keeps it durably, cuts it into batches, asks them one after the
//! other and keeps the results until somebody has read them. What was being asked when the node stopped is gone on with.
//!
//! **Invariant:** nothing is asked twice. A batch is recorded, then noted beside its rows with the node it goes to, and only
//! then sent; from then on exactly these bytes go to exactly that node until an answer comes. The provider gives the same
//! bytes the same answer.
//!
//! **Invariant:** nothing of a job lies in the clear (`stored`).
//!
//! Out of scope: what a batch is (`trust::batch`), asking one (`ask::batch`), answering one (`answer::batch`).

pub mod edge;
mod job;
mod office;
mod run;
mod settings;
mod stored;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use host::{clock::Clock, files, random::Random};
use proto::exchange::v1::BatchPiece;
use tokio::sync::Notify;

pub(crate) use self::stored::files_of_all;
use self::stored::{JobFiles, Vault};
pub use self::{job::Job, settings::BulkSettings};
use crate::{ask::Asker, journal::JournalError, outbox::Outbox, peers::Peers, view::View};

/// The most bytes of an encoded batch in one message.
const PIECE: usize = 48 * 1024;

/// The folder within the node's.
const FOLDER: &str = "bulk";

/// Cuts an encoded batch into pieces.
pub(crate) fn pieces(bytes: Vec<u8>) -> impl Iterator<Item = BatchPiece> + Send + 'static {
    let mut at = 0;
    std::iter::from_fn(move || {
        let end = bytes.len().min(at + PIECE);
        let piece = bytes.get(at..end).filter(|piece| !piece.is_empty())?.to_vec();
        at = end;
        Some(BatchPiece { bytes: piece })
    })
}

/// Why jobs cannot be kept or shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What became of a question cannot be read.
    #[error(transparent)]
    Ask(#[from] crate::ask::Error),
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] files::Error),
    /// The folder cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// What is stored cannot be read.
    #[error("{} cannot be read as a part of a job: `batch remove` the job, or remove its folder, and hand it in again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The key that the job is encrypted under is not there.
    #[error("the job in {} cannot be read without keys/months/{month}.key: bring the key back, or remove the folder", folder.display())]
    KeyGone {
        /// The job's folder.
        folder: PathBuf,
        /// The month of the key.
        month: String,
    },
    /// It was handed in before jobs were encrypted.
    #[error("the job in {} was handed in before jobs were encrypted, and lies there in the clear: nothing of it is carried out; remove the folder, which holds personal data, and hand the job in again if its results are still wanted", folder.display())]
    InClear {
        /// The job's folder.
        folder: PathBuf,
    },
    /// A month's key cannot be used.
    #[error(transparent)]
    Key(#[from] JournalError),
    /// There is no such job.
    #[error("there is no such job: `batch list` shows them all")]
    Unknown,
    /// The name belongs to another job.
    #[error("another job has this name already: give this one a name of its own, or `batch remove` the other")]
    NameTaken,
    /// It still goes on.
    #[error("the job still goes on: it can be removed once it has ended")]
    GoesOn,
    /// What was handed in cannot be a job.
    #[error("{reason}")]
    NotAJob {
        /// What is at fault.
        field: &'static str,
        /// Why.
        reason: String,
    },
    /// A task ended by itself.
    #[error("a part of the job ended: {0}")]
    Ended(#[from] tokio::task::JoinError),
}

/// All jobs of a node.
pub struct Bulk {
    folder: PathBuf,
    vault: Arc<Vault>,
    settings: BulkSettings,
    asker: Arc<Asker>,
    peers: Arc<Peers>,
    view: Arc<View>,
    outbox: Arc<Outbox>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    jobs: Mutex<BTreeMap<String, Arc<Job>>>,
    /// There is a job that nobody carries out yet.
    news: Notify,
}

/// What jobs are carried out with.
pub struct BulkParts {
    /// Bounds.
    pub settings: BulkSettings,
    /// Asks.
    pub asker: Arc<Asker>,
    /// Connections to other nodes.
    pub peers: Arc<Peers>,
    /// The directory.
    pub view: Arc<View>,
    /// What office systems are told of.
    pub outbox: Arc<Outbox>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness for ids.
    pub random: Arc<dyn Random>,
}

impl Bulk {
    /// Opens the jobs in the node's folder: tells the asker which batches are under way, and removes what was never handed
    /// in whole or has been kept for long enough. A job that cannot be read, because its month's key is elsewhere or was
    /// destroyed, because it is damaged, or because it was never encrypted, is told and left where it is: a node does not
    /// stay down for it. Blocks.
    ///
    /// # Errors
    ///
    /// The folder or a file in it cannot be read.
    pub fn open(dir: &Path, parts: BulkParts) -> Result<Self, Error> {
        let folder = dir.join(FOLDER);
        files::private_folder(&folder)?;
        let BulkParts { settings, asker, peers, view, outbox, clock, random } = parts;
        let vault = Arc::new(Vault::open(dir, Arc::clone(&random))?);
        let kept_ms = u64::from(settings.keep_days) * 86_400_000;
        let mut jobs = BTreeMap::new();
        let read = |source| Error::Read { path: folder.clone(), source };
        for item in std::fs::read_dir(&folder).map_err(read)? {
            let path = item.map_err(read)?.path();
            let Some(id) = path.file_name().and_then(|name| name.to_str()).map(str::to_owned) else { continue };
            let opened = match JobFiles::of(&vault, path.clone()) {
                Ok(Some((files, stored))) => Job::open(id.clone(), files, stored).and_then(|job| {
                    let under_way = job.under_way()?;
                    Ok((job, under_way))
                }),
                Ok(None) => {
                    remove(&path);
                    continue;
                }
                Err(error) => Err(error),
            };
            let (job, under_way) = match opened {
                Ok(opened) => opened,
                Err(error @ (Error::Damaged { .. } | Error::InClear { .. } | Error::KeyGone { .. })) => {
                    tracing::error!(job = id, %error, "a job of many questions cannot be read and is passed over");
                    continue;
                }
                Err(error) => return Err(error),
            };
            if job.ended_ms().is_some_and(|ended_ms| ended_ms.saturating_add(kept_ms) < clock.now_ms()) {
                remove(&path);
                continue;
            }
            asker.keep_under_way(&under_way);
            jobs.insert(id, Arc::new(job));
        }
        let (jobs, news) = (Mutex::new(jobs), Notify::new());
        Ok(Self { folder, vault, settings, asker, peers, view, outbox, clock, random, jobs, news })
    }

    /// The job with this id.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn job(&self, id: &str) -> Result<Arc<Job>, Error> {
        self.locked().get(id).map(Arc::clone).ok_or(Error::Unknown)
    }

    /// All jobs, the newest first.
    pub fn jobs(&self) -> Vec<Arc<Job>> {
        let mut jobs: Vec<_> = self.locked().values().map(Arc::clone).collect();
        jobs.sort_by_key(|job| std::cmp::Reverse(job.submitted_ms()));
        jobs
    }

    /// Forgets a job that has ended.
    ///
    /// # Errors
    ///
    /// It goes on, or there is none.
    pub fn remove(&self, id: &str) -> Result<(), Error> {
        let job = self.job(id)?;
        if job.ended_ms().is_none() {
            return Err(Error::GoesOn);
        }
        self.locked().remove(id);
        remove(job.folder());
        Ok(())
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Job>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes a folder that nothing needs. What cannot be removed now is removed at a later start.
fn remove(folder: &Path) {
    if let Err(error) = std::fs::remove_dir_all(folder) {
        tracing::warn!(folder = %folder.display(), %error, "cannot remove a job that is not needed; a later start tries again");
    }
}

impl std::fmt::Debug for Bulk {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Bulk").field("jobs", &self.locked().len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_put_together_are_the_whole() {
        for length in [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE] {
            let bytes: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let cut: Vec<_> = pieces(bytes.clone()).collect();
            assert!(cut.iter().all(|piece| (1..=PIECE).contains(&piece.bytes.len())));
            assert_eq!(cut.into_iter().flat_map(|piece| piece.bytes).collect::<Vec<_>>(), bytes);
        }
    }
}
