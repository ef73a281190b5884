//! A job on the disk: one folder, with a file that says what it is (written last, so that a job without it was never handed
//! in), its rows in parts, and beside each part what was sent of it and what came of it. Each file is written whole and synced
//! before anything rests on it. Rows hold personal data: every file is encrypted under the key of the month in which the job was
//! handed in (`keys/months`), which no backup has, and bound to its name; destroying that key destroys the month's jobs.
//!
//! Out of scope: what a job means (`job`).

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use host::{
    files,
    random::{self, Random},
};
use prost::Message;
use proto::office::v1::{BatchHeader, BatchJob, BatchResult, BatchRow};

use super::{Error, FOLDER};
use crate::journal::{Month, MonthKeys, NONCE_BYTES, TAG_BYTES};

/// What each file begins with; then the month, the nonce, the tag, and what is encrypted.
const MAGIC: &[u8] = b"errand job v1\n";

/// How many bytes a month has as a text.
const MONTH_BYTES: usize = 7;

/// How many bytes stand before what is encrypted.
const HEAD_BYTES: usize = MAGIC.len() + MONTH_BYTES + NONCE_BYTES + TAG_BYTES;

/// The file that says what a job is.
const JOB: &str = "job";

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

/// What the files of jobs are encrypted with.
pub(super) struct Vault {
    keys: MonthKeys,
    random: Arc<dyn Random>,
}

impl Vault {
    /// With the months' keys in the node's folder `dir`.
    pub(super) fn open(dir: &Path, random: Arc<dyn Random>) -> Result<Self, Error> {
        Ok(Self { keys: MonthKeys::open(dir.join("keys").join("months"))?, random })
    }
}

/// The files of one job.
#[derive(Clone)]
pub(super) struct JobFiles {
    vault: Arc<Vault>,
    folder: PathBuf,
    /// When it was handed in: its files are encrypted under that month's key.
    submitted_at_ms: u64,
}

impl JobFiles {
    /// Those of a job that is handed in now.
    pub(super) fn new(vault: &Arc<Vault>, folder: PathBuf, submitted_at_ms: u64) -> Self {
        Self { vault: Arc::clone(vault), folder, submitted_at_ms }
    }

    /// Those of the job in this folder, and what it is; `None` where none was handed in whole.
    pub(super) fn of(vault: &Arc<Vault>, folder: PathBuf) -> Result<Option<(Self, StoredJob)>, Error> {
        let mut files = Self::new(vault, folder, 0);
        let stored = match files.read::<StoredJob>(JOB) {
            Err(Error::Damaged { .. }) if files.is_in_clear() => return Err(Error::InClear { folder: files.folder }),
            stored => stored?,
        };
        let Some(stored) = stored else { return Ok(None) };
        files.submitted_at_ms = stored.submitted_at_ms;
        Ok(Some((files, stored)))
    }

    /// Whether it was handed in before jobs were encrypted: what it is can be read as it lies there, to the last byte.
    /// Nothing that lies so is relied on, since anybody may have put it there.
    fn is_in_clear(&self) -> bool {
        let Ok(bytes) = fs::read(self.folder.join(JOB)) else { return false };
        let job = StoredJob::decode(bytes.as_slice());
        job.is_ok_and(|job| job.header.is_some() && job.encode_to_vec() == bytes)
    }

    /// The folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The job is whole now.
    pub(super) fn write_job(&self, job: &StoredJob) -> Result<(), Error> {
        self.write(JOB, job)
    }

    /// Whether there is such a file.
    pub(super) fn has(&self, name: &str) -> bool {
        self.folder.join(name).exists()
    }

    /// What the file holds; `None` where there is no such file.
    pub(super) fn read<M: Message + Default>(&self, name: &str) -> Result<Option<M>, Error> {
        let path = self.folder.join(name);
        let mut bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::Read { path, source }),
        };
        let damaged = || Error::Damaged { path: path.clone() };
        if bytes.len() < HEAD_BYTES || !bytes.starts_with(MAGIC) {
            return Err(damaged());
        }
        let (head, sealed) = bytes.split_at_mut(HEAD_BYTES);
        let (month, rest) = head[MAGIC.len()..].split_at(MONTH_BYTES);
        let month: Month = std::str::from_utf8(month).ok().and_then(|month| month.parse().ok()).ok_or_else(damaged)?;
        let (nonce, tag) = rest.split_first_chunk::<NONCE_BYTES>().ok_or_else(damaged)?;
        let tag = tag.first_chunk::<TAG_BYTES>().ok_or_else(damaged)?;
        let key = self
            .vault
            .keys
            .load(month)?
            .ok_or_else(|| Error::KeyGone { folder: self.folder.clone(), month: month.to_string() })?;
        key.open(*nonce, &self.bound_to(name), sealed, *tag).ok_or_else(damaged)?;
        M::decode(&*sealed).map(Some).map_err(|_| damaged())
    }

    /// Writes the file whole, durably.
    pub(super) fn write<M: Message>(&self, name: &str, message: &M) -> Result<(), Error> {
        let path = self.folder.join(name);
        let month = Month::of_ms(self.submitted_at_ms);
        let key = self.vault.keys.load_or_make(month, self.vault.random.as_ref())?;
        let nonce = random::array::<NONCE_BYTES>(self.vault.random.as_ref());
        let mut bytes = Vec::with_capacity(HEAD_BYTES + message.encoded_len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(month.to_string().as_bytes());
        bytes.extend_from_slice(&nonce);
        bytes.resize(HEAD_BYTES, 0);
        bytes.extend_from_slice(&message.encode_to_vec());
        let sealed = bytes.get_mut(HEAD_BYTES..).unwrap_or_default();
        let tag = key.seal(nonce, &self.bound_to(name), sealed);
        let tag = tag.ok_or_else(|| Error::Damaged { path: path.clone() })?;
        if let Some(place) = bytes.get_mut(HEAD_BYTES - TAG_BYTES..HEAD_BYTES) {
            place.copy_from_slice(&tag);
        }
        Ok(files::replace_file(&path, &bytes, files::PRIVATE_MODE)?)
    }

    /// A file counts under its own name, in its own job, alone.
    fn bound_to(&self, name: &str) -> Vec<u8> {
        let job = self.folder.file_name().unwrap_or_default().as_encoded_bytes();
        [MAGIC, job, b"/", name.as_bytes()].concat()
    }
}

/// The file of a part.
pub(super) fn part_file(part: usize, kind: &str) -> String {
    format!("{part:06}.{kind}")
}

/// How a job ended, so that a start need not count its results again.
pub(super) fn ended(files: &JobFiles) -> Result<Option<BatchJob>, Error> {
    files.read("ended")
}

/// Notes how it ended.
pub(super) fn write_ended(files: &JobFiles, job: &BatchJob) -> Result<(), Error> {
    files.write("ended", job)
}

/// In this order the files of a job are copied while it goes on: what is copied first rests on what is copied later. A job that
/// has ended has all of its results; what was sent, noted before it was answered, is sent again and gets the same answer; and a
/// job without the last of them was never handed in.
const COPIED: [&str; 6] = ["ended", ".sent", ".partial", ".results", ".rows", JOB];

/// The files of all jobs, from the node's folder `dir`, in the order in which a backup copies them.
///
/// # Errors
///
/// A folder cannot be read.
pub(crate) fn files_of_all(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let jobs = match fs::read_dir(dir.join(FOLDER)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        jobs => jobs?,
    };
    for job in jobs {
        let job = Path::new(FOLDER).join(job?.file_name());
        let names = match fs::read_dir(dir.join(&job)) {
            // Removed a moment ago, or no folder of a job.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => continue,
            names => names?,
        };
        let mut files = Vec::new();
        for name in names {
            let name = name?.file_name();
            let rank = name.to_str().and_then(|name| COPIED.iter().position(|kind| name.ends_with(kind)));
            files.extend(rank.map(|rank| (rank, job.join(name))));
        }
        files.sort();
        found.extend(files.into_iter().map(|(_, file)| file));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use host::random::SeededRandom;

    use super::*;

    const NOW_MS: u64 = 1_795_000_000_000;
    const NUMBER: &str = "890101199003070011";

    fn vault(dir: &Path) -> Arc<Vault> {
        fs::create_dir_all(dir.join(FOLDER).join("one")).unwrap();
        Arc::new(Vault::open(dir, Arc::new(SeededRandom::new(1))).unwrap())
    }

    fn rows() -> StoredRows {
        let subject = proto::exchange::v1::Subject { scheme: "resident_id".into(), value: NUMBER.into() };
        StoredRows { rows: vec![BatchRow { subject: Some(subject), ..BatchRow::default() }] }
    }

    #[test]
    fn a_file_is_read_as_it_was_written_and_shows_nothing_of_a_subject() {
        let dir = tempfile::tempdir().unwrap();
        let vault = vault(dir.path());
        let files = JobFiles::new(&vault, dir.path().join(FOLDER).join("one"), NOW_MS);
        let rows = rows();
        files.write("000000.rows", &rows).unwrap();
        assert_eq!(files.read::<StoredRows>("000000.rows").unwrap(), Some(rows));
        assert_eq!(files.read::<StoredRows>("000001.rows").unwrap(), None);
        let bytes = fs::read(files.folder().join("000000.rows")).unwrap();
        assert!(!bytes.windows(NUMBER.len()).any(|window| window == NUMBER.as_bytes()));
        assert!(!bytes.windows(11).any(|window| window == b"resident_id"));
        // A job that is found is written on under the month in which it was handed in.
        files.write_job(&StoredJob { submitted_at_ms: NOW_MS, ..StoredJob::default() }).unwrap();
        let (found, stored) = JobFiles::of(&vault, files.folder().to_owned()).unwrap().unwrap();
        assert_eq!((stored.submitted_at_ms, found.submitted_at_ms), (NOW_MS, NOW_MS));
    }

    #[test]
    fn a_file_that_was_changed_cut_or_moved_is_damaged_and_one_without_its_key_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let vault = vault(dir.path());
        let files = JobFiles::new(&vault, dir.path().join(FOLDER).join("one"), NOW_MS);
        files.write("000000.rows", &rows()).unwrap();
        let path = files.folder().join("000000.rows");
        let good = fs::read(&path).unwrap();
        let read = |name: &str| files.read::<StoredRows>(name);
        for place in (0..good.len()).filter(|place| !(MAGIC.len()..MAGIC.len() + MONTH_BYTES).contains(place)) {
            let mut changed = good.clone();
            changed[place] ^= 1;
            fs::write(&path, changed).unwrap();
            assert!(matches!(read("000000.rows"), Err(Error::Damaged { .. })), "byte {place}");
            fs::write(&path, &good[..place]).unwrap();
            assert!(matches!(read("000000.rows"), Err(Error::Damaged { .. })), "cut at {place}");
        }
        // Under another name, or in another job, it says nothing.
        fs::write(files.folder().join("000001.rows"), &good).unwrap();
        assert!(matches!(read("000001.rows"), Err(Error::Damaged { .. })));
        fs::create_dir_all(dir.path().join(FOLDER).join("two")).unwrap();
        let other = JobFiles::new(&vault, dir.path().join(FOLDER).join("two"), NOW_MS);
        fs::write(other.folder().join("000000.rows"), &good).unwrap();
        assert!(matches!(other.read::<StoredRows>("000000.rows"), Err(Error::Damaged { .. })));
        fs::write(&path, &good).unwrap();
        assert!(read("000000.rows").unwrap().is_some());
        let key = format!("{}.key", Month::of_ms(NOW_MS));
        fs::remove_file(dir.path().join("keys").join("months").join(key)).unwrap();
        assert!(matches!(read("000000.rows"), Err(Error::KeyGone { .. })));
    }

    #[test]
    fn a_job_from_before_jobs_were_encrypted_is_told_with_its_folder_and_one_that_is_damaged_is_not_taken_for_one() {
        let dir = tempfile::tempdir().unwrap();
        let vault = vault(dir.path());
        let folder = dir.path().join(FOLDER).join("one");
        let header =
            BatchHeader { name: "pensions 2026".into(), provider: "civil-affairs".into(), ..BatchHeader::default() };
        let job =
            StoredJob { header: Some(header), parts: vec![2, 1], submitted_at_ms: NOW_MS, ..StoredJob::default() };
        let of = || JobFiles::of(&vault, folder.clone()).map(|found| found.map(|(_, job)| job));
        // As it was written then: the message and nothing else.
        fs::write(folder.join(JOB), job.encode_to_vec()).unwrap();
        let told = of().unwrap_err();
        assert!(matches!(&told, Error::InClear { folder: there } if *there == folder), "{told}");
        let (told, place) = (told.to_string(), folder.display().to_string());
        for said in ["before jobs were encrypted", &place, "remove the folder", "hand the job in again"] {
            assert!(told.contains(said), "{said}: {told}");
        }
        assert_eq!(fs::read(folder.join(JOB)).unwrap(), job.encode_to_vec(), "nothing is changed");
        // What says nothing, what is cut, and what was encrypted and is damaged are damaged.
        let clear = job.encode_to_vec();
        JobFiles::new(&vault, folder.clone(), NOW_MS).write_job(&job).unwrap();
        let mut changed = fs::read(folder.join(JOB)).unwrap();
        assert_eq!(of().unwrap(), Some(job));
        changed[0] ^= 1;
        for bytes in [&changed[..], &[], &clear[..clear.len() - 1]] {
            fs::write(folder.join(JOB), bytes).unwrap();
            assert!(matches!(of(), Err(Error::Damaged { .. })), "{bytes:?}");
        }
    }

    #[test]
    fn a_backup_copies_what_rests_on_other_files_before_them() {
        let dir = tempfile::tempdir().unwrap();
        assert!(files_of_all(dir.path()).unwrap().is_empty());
        let job = dir.path().join(FOLDER).join("one");
        fs::create_dir_all(&job).unwrap();
        for name in ["000000.rows", "job", "000001.results", "000000.partial", "ended", "000001.sent", "job.123.new"] {
            fs::write(job.join(name), "").unwrap();
        }
        let found = files_of_all(dir.path()).unwrap();
        let found: Vec<_> = found.iter().map(|path| path.strip_prefix("bulk/one").unwrap().to_str().unwrap()).collect();
        assert_eq!(found, ["ended", "000001.sent", "000000.partial", "000001.results", "000000.rows", "job"]);
    }
}
