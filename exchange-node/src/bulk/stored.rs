//! A job on the disk: one folder, with a file that says what it is (written last, so that a job without it was never handed
//! in), its rows in parts, and beside each part what was sent of it and what came of it. Each file is written whole and synced
//! before anything rests on it. Rows hold personal data: the files are the node's alone, and go with the job.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use host::files;
use prost::Message;
use proto::office::v1::{BatchHeader, BatchJob, BatchResult, BatchRow};

use super::Error;

/// What a job is.
#[derive(Clone, PartialEq, Message)]
pub(super) struct StoredJob {
    /// What is asked.
    #[prost(message, optional, tag = "1")]
    pub(super) header: Option<BatchHeader>,
    /// The office system that handed it in.
    #[prost(string, tag = "2")]
    pub(super) system: String,
    /// How many rows each part has.
    #[prost(uint32, repeated, tag = "3")]
    pub(super) parts: Vec<u32>,
    /// When it was handed in, Unix milliseconds.
    #[prost(uint64, tag = "4")]
    pub(super) submitted_at_ms: u64,
    /// SHA-256 over the rows: whether a job that comes again is the same.
    #[prost(bytes = "vec", tag = "5")]
    pub(super) digest: Vec<u8>,
}

/// A part's rows.
#[derive(Clone, PartialEq, Message)]
pub(super) struct StoredRows {
    /// The rows.
    #[prost(message, repeated, tag = "1")]
    pub(super) rows: Vec<BatchRow>,
}

/// A part that is under way.
#[derive(Clone, PartialEq, Message)]
pub(super) struct StoredSent {
    /// The place of the batch in the evidence.
    #[prost(uint64, tag = "1")]
    pub(super) place: u64,
    /// The node that it goes to, and to no other.
    #[prost(string, tag = "2")]
    pub(super) node: String,
    /// The row of each item within the part.
    #[prost(uint32, repeated, tag = "3")]
    pub(super) rows: Vec<u32>,
    /// The results of rows that are not in the batch.
    #[prost(message, repeated, tag = "4")]
    pub(super) refused: Vec<BatchResult>,
    /// Whether the node may have it: then it goes there alone, whatever comes.
    #[prost(bool, tag = "5")]
    pub(super) has_left: bool,
}

/// What came of a part.
#[derive(Clone, PartialEq, Message)]
pub(super) struct StoredResults {
    /// In the order of the rows.
    #[prost(message, repeated, tag = "1")]
    pub(super) results: Vec<BatchResult>,
}

impl StoredJob {
    /// The job in this folder; `None` where none was handed in whole.
    pub(super) fn read(folder: &Path) -> Result<Option<Self>, Error> {
        read(&folder.join("job"))
    }
}

/// The file of a part.
pub(super) fn part_file(folder: &Path, part: usize, kind: &str) -> PathBuf {
    folder.join(format!("{part:06}.{kind}"))
}

/// What the file holds; `None` where there is no such file.
pub(super) fn read<M: Message + Default>(path: &Path) -> Result<Option<M>, Error> {
    match fs::read(path) {
        Ok(bytes) => M::decode(bytes.as_slice()).map(Some).map_err(|_| Error::Damaged { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Read { path: path.to_owned(), source }),
    }
}

/// Writes the file whole, durably.
pub(super) fn write<M: Message>(path: &Path, message: &M) -> Result<(), Error> {
    Ok(files::replace_file(path, &message.encode_to_vec(), files::PRIVATE_MODE)?)
}

/// How a job ended, so that a start need not count its results again.
pub(super) fn ended(folder: &Path) -> Result<Option<BatchJob>, Error> {
    read(&folder.join("ended"))
}

/// Notes how it ended.
pub(super) fn write_ended(folder: &Path, job: &BatchJob) -> Result<(), Error> {
    write(&folder.join("ended"), job)
}
