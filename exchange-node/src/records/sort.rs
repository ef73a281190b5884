//! Sorting more than fits into memory: entries of key and body go into runs of bounded size, each sorted and written to
//! a file of its own, and come out merged. Entries with the same key keep the order they came in. What comes in sorted
//! makes one run, which nothing is sorted in.
//!
//! The files hold personal data: they are the owner's alone (0600), and their folder goes with them.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// How many bytes of entries are held before a run is written. With what sorting itself takes it stays well under the
/// 100 MB that an import may use.
pub(super) const RUN_BYTES: usize = 16 * 1024 * 1024;

/// The longest key or body: a bound against a damaged length, far above what is pushed.
const LONGEST_PART: usize = 1 << 20;

/// Takes entries in.
pub(super) struct Sorter {
    folder: PathBuf,
    run_bytes: usize,
    entries: Vec<u8>,
    starts: Vec<usize>,
    is_sorted: bool,
    runs: Vec<PathBuf>,
    open: Option<(BufWriter<File>, Vec<u8>)>,
}

impl Sorter {
    /// A sorter whose runs lie in `folder`, which must exist and be private.
    pub(super) fn new(folder: &Path, run_bytes: usize) -> Self {
        Self {
            folder: folder.to_owned(),
            run_bytes,
            entries: Vec::new(),
            starts: Vec::new(),
            is_sorted: true,
            runs: Vec::new(),
            open: None,
        }
    }

    /// Takes one entry.
    pub(super) fn push(&mut self, key: &[u8], body: &[u8]) -> io::Result<()> {
        if let Some(last) = self.starts.last() {
            self.is_sorted = self.is_sorted && key_at(&self.entries, *last) <= key;
        }
        self.starts.push(self.entries.len());
        for part in [key, body] {
            let length = u32::try_from(part.len()).ok().filter(|_| part.len() <= LONGEST_PART);
            let length = length.ok_or_else(|| io::Error::other("an entry is too long to be sorted"))?;
            self.entries.extend_from_slice(&length.to_le_bytes());
            self.entries.extend_from_slice(part);
        }
        if self.entries.len() + self.starts.len() * size_of::<usize>() >= self.run_bytes {
            self.write_run()
        } else {
            Ok(())
        }
    }

    /// The entries in order.
    pub(super) fn finish(mut self) -> io::Result<Merge> {
        if !self.runs.is_empty() {
            self.write_run()?;
        }
        if let Some((file, _)) = self.open.take() {
            file.into_inner().map_err(io::IntoInnerError::into_error)?;
        }
        self.sort();
        let mut sources = Vec::with_capacity(self.runs.len() + 1);
        if !self.starts.is_empty() {
            sources.push(Source::Memory { entries: self.entries, starts: self.starts.into_iter() });
        }
        for run in self.runs {
            sources.push(Source::File(BufReader::with_capacity(1 << 16, File::open(run)?)));
        }
        let mut merge = Merge { sources, heads: BinaryHeap::new() };
        for source in 0..merge.sources.len() {
            merge.refill(source, Vec::new(), Vec::new())?;
        }
        Ok(merge)
    }

    fn sort(&mut self) {
        if !self.is_sorted {
            // Stable, so that rows of one subject stay in the order of the file.
            self.starts.sort_by(|one, other| key_at(&self.entries, *one).cmp(key_at(&self.entries, *other)));
        }
    }

    fn write_run(&mut self) -> io::Result<()> {
        let Some(first) = self.starts.first().copied() else { return Ok(()) };
        self.sort();
        let first = key_at(&self.entries, self.starts.first().copied().unwrap_or(first));
        // What goes on where the last run ended belongs to that run.
        let (mut file, _) = match self.open.take() {
            Some((file, last)) if last.as_slice() <= first => (file, last),
            previous => {
                if let Some((file, _)) = previous {
                    file.into_inner().map_err(io::IntoInnerError::into_error)?;
                }
                let path = self.folder.join(format!("run-{:06}", self.runs.len()));
                let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
                self.runs.push(path);
                (BufWriter::with_capacity(1 << 16, file), Vec::new())
            }
        };
        for start in &self.starts {
            file.write_all(entry_at(&self.entries, *start))?;
        }
        let last = self.starts.last().map(|start| key_at(&self.entries, *start).to_vec()).unwrap_or_default();
        self.open = Some((file, last));
        self.entries.clear();
        self.starts.clear();
        self.is_sorted = true;
        Ok(())
    }
}

/// Gives entries out in order.
pub(super) struct Merge {
    sources: Vec<Source>,
    heads: BinaryHeap<Head>,
}

impl Merge {
    /// Puts the next entry into `key` and `body`; false at the end.
    pub(super) fn next(&mut self, key: &mut Vec<u8>, body: &mut Vec<u8>) -> io::Result<bool> {
        let Some(mut head) = self.heads.pop() else { return Ok(false) };
        std::mem::swap(key, &mut head.key);
        std::mem::swap(body, &mut head.body);
        self.refill(head.source, head.key, head.body)?;
        Ok(true)
    }

    fn refill(&mut self, source: usize, mut key: Vec<u8>, mut body: Vec<u8>) -> io::Result<()> {
        if self.sources[source].next(&mut key, &mut body)? {
            self.heads.push(Head { key, body, source });
        }
        Ok(())
    }
}

enum Source {
    File(BufReader<File>),
    Memory { entries: Vec<u8>, starts: std::vec::IntoIter<usize> },
}

impl Source {
    fn next(&mut self, key: &mut Vec<u8>, body: &mut Vec<u8>) -> io::Result<bool> {
        match self {
            Self::File(file) => {
                let mut length = [0; 4];
                match file.read_exact(&mut length) {
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
                    outcome => outcome?,
                }
                read_part(file, length, key)?;
                file.read_exact(&mut length)?;
                read_part(file, length, body)?;
            }
            Self::Memory { entries, starts } => {
                let Some(start) = starts.next() else { return Ok(false) };
                let (first, rest) = part_at(entries, start);
                let (second, _) = part_at(entries, rest);
                key.clear();
                key.extend_from_slice(first);
                body.clear();
                body.extend_from_slice(second);
            }
        }
        Ok(true)
    }
}

fn read_part(file: &mut BufReader<File>, length: [u8; 4], part: &mut Vec<u8>) -> io::Result<()> {
    let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if length > LONGEST_PART {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a run on disk is damaged"));
    }
    part.resize(length, 0);
    file.read_exact(part)
}

struct Head {
    key: Vec<u8>,
    body: Vec<u8>,
    source: usize,
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        // A `BinaryHeap` gives out the greatest, and the smallest is wanted. Of equal keys the earlier run's came first.
        other.key.cmp(&self.key).then_with(|| other.source.cmp(&self.source))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Head {}

fn key_at(entries: &[u8], start: usize) -> &[u8] {
    part_at(entries, start).0
}

fn entry_at(entries: &[u8], start: usize) -> &[u8] {
    let (_, body) = part_at(entries, start);
    let (_, end) = part_at(entries, body);
    &entries[start..end]
}

/// The part that begins with its length at `start`, and where it ends.
fn part_at(entries: &[u8], start: usize) -> (&[u8], usize) {
    let mut length = [0; 4];
    length.copy_from_slice(&entries[start..start + 4]);
    let begin = start + 4;
    // Lengths were checked when they were written.
    let end = begin + u32::from_le_bytes(length) as usize;
    (&entries[begin..end], end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Entries = Vec<(Vec<u8>, Vec<u8>)>;

    fn sorted(entries: &[(Vec<u8>, Vec<u8>)], run_bytes: usize) -> (Entries, usize) {
        let folder = tempfile::tempdir().unwrap();
        let mut sorter = Sorter::new(folder.path(), run_bytes);
        for (key, body) in entries {
            sorter.push(key, body).unwrap();
        }
        let mut merge = sorter.finish().unwrap();
        let (mut key, mut body, mut out) = (Vec::new(), Vec::new(), Vec::new());
        while merge.next(&mut key, &mut body).unwrap() {
            out.push((key.clone(), body.clone()));
        }
        (out, std::fs::read_dir(folder.path()).unwrap().count())
    }

    #[test]
    fn what_is_sorted_makes_one_run() {
        let entries: Vec<_> = (0..1000_u32).map(|n| (n.to_be_bytes().to_vec(), b"body".to_vec())).collect();
        assert_eq!(sorted(&entries, 256), (entries.clone(), 1));
        let backwards: Vec<_> = entries.iter().rev().cloned().collect();
        let (out, runs) = sorted(&backwards, 256);
        assert_eq!(out, entries);
        assert!(runs > 10, "{runs}");
    }

    #[test]
    fn little_needs_no_file() {
        let entries = vec![(b"b".to_vec(), b"1".to_vec()), (b"a".to_vec(), b"2".to_vec())];
        let (out, runs) = sorted(&entries, RUN_BYTES);
        assert_eq!(out[0].0, b"a");
        assert_eq!(runs, 0);
        assert_eq!(sorted(&[], RUN_BYTES), (Vec::new(), 0));
    }

    #[test]
    fn runs_are_the_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let mut sorter = Sorter::new(folder.path(), 1);
        sorter.push(b"key", b"body").unwrap();
        let mode = std::fs::metadata(folder.path().join("run-000000")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    proptest! {
        #[test]
        fn sorts_like_a_stable_sort(
            keys in prop::collection::vec(prop::collection::vec(0_u8..4, 0..3), 0..200),
            run_bytes in 1_usize..2000,
        ) {
            let entries: Vec<_> =
                keys.into_iter().enumerate().map(|(n, key)| (key, n.to_string().into_bytes())).collect();
            let mut expected = entries.clone();
            expected.sort_by(|one, other| one.0.cmp(&other.0));
            prop_assert_eq!(sorted(&entries, run_bytes).0, expected);
        }
    }
}
