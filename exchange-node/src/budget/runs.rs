//! Charges in files that are written once: sorted by budget, so that those of one are read with a few small reads and
//! nothing of them has to be in memory. Two runs of about a size become one, without what is too old to matter.
//!
//! | bytes | a run |
//! |---|---|
//! | 8 | "errandg1" |
//! | 8 | how many charges |
//! | 8 | how many bytes the filter has |
//! | 32 each | charge: budget (16), what was tried (8), when, Unix milliseconds (8) |
//! | … | the filter (`bloom`) |
//!
//! Numbers are big-endian. The name says which charges are in it, by their numbers in the order in which they were made.
//! Out of scope: charges that are not in a run yet (`book`).

use std::{
    fs::{self, File},
    io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{About, Charge, Error, Tried, bloom::Bloom};

const MAGIC: &[u8; 8] = b"errandg1";

/// How many bytes stand before the charges.
const HEADER: u64 = 24;

/// How many bytes one charge has.
pub(crate) const CHARGE: usize = 32;

/// How many charges are read at once.
const BLOCK: u64 = 128;

impl Charge {
    pub(crate) fn to_bytes(self) -> [u8; CHARGE] {
        let mut bytes = [0; CHARGE];
        bytes[..16].copy_from_slice(&self.about);
        bytes[16..24].copy_from_slice(&self.tried);
        bytes[24..].copy_from_slice(&self.at_ms.to_be_bytes());
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8; CHARGE]) -> Self {
        let (mut about, mut tried, mut at_ms) = ([0; 16], [0; 8], [0; 8]);
        about.copy_from_slice(&bytes[..16]);
        tried.copy_from_slice(&bytes[16..24]);
        at_ms.copy_from_slice(&bytes[24..]);
        Self { about, tried, at_ms: u64::from_be_bytes(at_ms) }
    }
}

/// One file.
#[derive(Debug)]
pub(crate) struct Run {
    path: PathBuf,
    file: File,
    /// The numbers of its first and last charge.
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) count: u64,
    bloom: Bloom,
}

impl Run {
    /// The file of this name, whose size must be what its head says.
    fn open(path: PathBuf, first: u64, last: u64) -> Result<Self, Error> {
        let io = io_at(&path);
        let file = File::open(&path).map_err(io)?;
        let mut head = [0; HEADER as usize];
        file.read_exact_at(&mut head, 0).map_err(io_at(&path))?;
        let number = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&head[at..at + 8]);
            u64::from_be_bytes(bytes)
        };
        let (count, bloom_bytes) = (number(8), number(16));
        let charges = count.saturating_mul(CHARGE as u64);
        let size = file.metadata().map_err(io_at(&path))?.len();
        if &head[..8] != MAGIC || HEADER.saturating_add(charges).saturating_add(bloom_bytes) != size {
            return Err(Error::Damaged { path, what: "run" });
        }
        let mut bloom = vec![0; usize::try_from(bloom_bytes).unwrap_or(0)];
        file.read_exact_at(&mut bloom, HEADER + charges).map_err(io_at(&path))?;
        Ok(Self { path, file, first, last, count, bloom: Bloom::from_bytes(bloom) })
    }

    /// Writes charges, which come sorted, into a new file. Durable when this returns.
    pub(crate) fn write(
        folder: &Path,
        first: u64,
        last: u64,
        most: u64,
        charges: impl Iterator<Item = io::Result<Charge>>,
    ) -> Result<Self, Error> {
        let path = folder.join(format!("run-{first:016x}-{last:016x}"));
        let temporary = folder.join(format!("run-{first:016x}-{last:016x}.new"));
        let io = io_at(&temporary);
        let mut options = fs::OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary).map_err(io)?;
        let written = (|| {
            let mut out = BufWriter::with_capacity(1 << 18, file);
            out.write_all(&[0; HEADER as usize])?;
            let (mut bloom, mut count) = (Bloom::for_count(most), 0_u64);
            for charge in charges {
                let charge = charge?;
                bloom.add(&charge.about);
                out.write_all(&charge.to_bytes())?;
                count += 1;
            }
            out.write_all(bloom.as_bytes())?;
            out.seek(SeekFrom::Start(0))?;
            out.write_all(MAGIC)?;
            out.write_all(&count.to_be_bytes())?;
            out.write_all(&(bloom.as_bytes().len() as u64).to_be_bytes())?;
            out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
            fs::rename(&temporary, &path)?;
            File::open(folder)?.sync_all()
        })();
        written.map_err(io_at(&temporary))?;
        Self::open(path, first, last)
    }

    /// What was tried of a budget, added to `found`.
    pub(crate) fn find(&self, about: &About, found: &mut Vec<(Tried, u64)>) -> Result<(), Error> {
        if !self.bloom.may_have(about) {
            return Ok(());
        }
        // The first block whose last charge is not before it.
        let (mut low, mut high) = (0, self.count.div_ceil(BLOCK));
        while low < high {
            let middle = low + (high - low) / 2;
            let last = self.charge(((middle + 1) * BLOCK).min(self.count) - 1)?;
            if last.about < *about { low = middle + 1 } else { high = middle }
        }
        for block in low..self.count.div_ceil(BLOCK) {
            for charge in self.block(block)? {
                if charge.about > *about {
                    return Ok(());
                }
                if charge.about == *about {
                    found.push((charge.tried, charge.at_ms));
                }
            }
        }
        Ok(())
    }

    fn charge(&self, index: u64) -> Result<Charge, Error> {
        let mut bytes = [0; CHARGE];
        self.file.read_exact_at(&mut bytes, HEADER + index * CHARGE as u64).map_err(io_at(&self.path))?;
        Ok(Charge::from_bytes(&bytes))
    }

    fn block(&self, block: u64) -> Result<Vec<Charge>, Error> {
        let from = block * BLOCK;
        let count = BLOCK.min(self.count - from) as usize;
        let mut bytes = vec![0; count * CHARGE];
        self.file.read_exact_at(&mut bytes, HEADER + from * CHARGE as u64).map_err(io_at(&self.path))?;
        Ok(bytes.as_chunks::<CHARGE>().0.iter().map(Charge::from_bytes).collect())
    }

    /// All charges, in their order.
    fn all(&self) -> Result<impl Iterator<Item = io::Result<Charge>> + use<>, Error> {
        let file = File::open(&self.path).map_err(io_at(&self.path))?;
        let mut reader = BufReader::with_capacity(1 << 18, file);
        reader.seek(SeekFrom::Start(HEADER)).map_err(io_at(&self.path))?;
        let mut left = self.count;
        Ok(std::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            let mut bytes = [0; CHARGE];
            Some(reader.read_exact(&mut bytes).map(|()| Charge::from_bytes(&bytes)))
        }))
    }
}

/// The runs of the folder, the oldest first. What a crash left half done is put right.
pub(crate) fn open(folder: &Path) -> Result<Vec<Arc<Run>>, Error> {
    let io = io_at(folder);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(&io)? {
        let path = entry.map_err(&io)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with("run-") && name.ends_with(".new") {
            fs::remove_file(&path).map_err(io_at(&path))?;
        } else if let Some((first, last)) = name.strip_prefix("run-").and_then(|range| range.split_once('-'))
            && let (Ok(first), Ok(last)) = (u64::from_str_radix(first, 16), u64::from_str_radix(last, 16))
        {
            names.push((first, last, path));
        }
    }
    let is_within = |(first, last, _): &(u64, u64, PathBuf), other: &(u64, u64, PathBuf)| {
        (first, last) != (&other.0, &other.1) && other.0 <= *first && *last <= other.1
    };
    let mut runs = Vec::new();
    for name in &names {
        if names.iter().any(|other| is_within(name, other)) {
            // It became part of a larger one; only deleting it was left to do.
            fs::remove_file(&name.2).map_err(io_at(&name.2))?;
        } else {
            runs.push(Arc::new(Run::open(name.2.clone(), name.0, name.1)?));
        }
    }
    runs.sort_by_key(|run| run.first);
    Ok(runs)
}

/// Which two neighbours should become one: the older is not much larger than the newer.
pub(crate) fn to_merge(runs: &[Arc<Run>]) -> Option<(Arc<Run>, Arc<Run>)> {
    let pair = runs.windows(2).rev().find(|pair| pair[0].count <= pair[1].count.saturating_mul(2))?;
    Some((Arc::clone(&pair[0]), Arc::clone(&pair[1])))
}

/// Makes one run of two neighbours, without what is so much older than the newest charge of both.
pub(crate) fn merge(folder: &Path, older: &Run, newer: &Run, keep_ms: u64) -> Result<Run, Error> {
    let mut newest_ms = 0;
    for charge in older.all()?.chain(newer.all()?) {
        newest_ms = newest_ms.max(charge.map_err(io_at(folder))?.at_ms);
    }
    let (mut left, mut right) = (older.all()?.peekable(), newer.all()?.peekable());
    let key = |charge: &Charge| (charge.about, charge.tried, charge.at_ms);
    let sorted = std::iter::from_fn(move || match (left.peek(), right.peek()) {
        (Some(Ok(one)), Some(Ok(other))) => {
            if key(one) <= key(other) {
                left.next()
            } else {
                right.next()
            }
        }
        (Some(_), _) => left.next(),
        (None, _) => right.next(),
    });
    let kept = sorted
        .filter(move |charge| charge.as_ref().map_or(true, |charge| charge.at_ms.saturating_add(keep_ms) > newest_ms));
    Run::write(folder, older.first, newer.last, older.count + newer.count, kept)
}

/// Deletes a run that has become part of another.
pub(crate) fn delete(run: &Run) -> Result<(), Error> {
    fs::remove_file(&run.path).map_err(io_at(&run.path))
}

fn io_at(path: &Path) -> impl Fn(io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |source| Error::Io { path: path.clone(), source }
}
