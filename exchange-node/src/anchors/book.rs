//! The node's record of its anchors, one JSON value a line in `anchors.jsonl`: each checkpoint that was anchored, and,
//! when the directory has taken it, the proof. Appended and synced, never changed. Out of scope: asking for them (`keep`).

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use proto::exchange::v1 as wire;
use serde::{Deserialize, Serialize};
use trust::{
    evidence::LogOf,
    log::{checkpoint::Checkpoint, hash::Hash, note::SignedNote},
};

use super::Error;

/// The name of the file in the node's folder.
pub(super) const FILE_NAME: &str = "anchors.jsonl";

/// A checkpoint of this node's evidence that is in the registry's second log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchored {
    /// Which of the node's evidence logs.
    pub evidence: LogOf,
    /// How many entries it had.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
    /// Which second log.
    pub log: u32,
    /// The index there.
    pub index: u64,
    /// The checkpoint's exact text.
    pub checkpoint: String,
}

/// That an anchored checkpoint is in the second log as the directory took it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proved {
    /// The anchor.
    pub anchored: Anchored,
    /// For a bundle.
    pub anchor: wire::Anchor,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Anchored { log: u32, index: u64, checkpoint: String },
    Proved { log: u32, index: u64, taken_at: u64, inclusion: Vec<String> },
}

#[derive(Debug, Default)]
struct Entries {
    anchored: Vec<Anchored>,
    proved: Vec<Proved>,
}

/// The record, open for appending.
#[derive(Debug)]
pub struct AnchorBook {
    path: PathBuf,
    file: Mutex<File>,
    entries: Mutex<Entries>,
}

impl AnchorBook {
    /// Opens the record in the node's folder, made where it is missing. A last line that a crash cut off is passed over:
    /// whatever it said is asked for again.
    ///
    /// # Errors
    ///
    /// The file cannot be read or written.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let path = dir.join(FILE_NAME);
        let failed = |source| Error::Book { path: path.clone(), source };
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            read => read.map_err(failed)?,
        };
        let mut entries = Entries::default();
        for line in text.lines() {
            if let Ok(line) = serde_json::from_str(line) {
                entries.learn(line);
            }
        }
        let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path).map_err(failed)?;
        if !text.is_empty() && !text.ends_with('\n') {
            file.write_all(b"\n").map_err(failed)?;
        }
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)?;
        Ok(Self { path, file: Mutex::new(file), entries: Mutex::new(entries) })
    }

    /// The last anchor of an evidence log.
    pub fn last(&self, evidence: &LogOf) -> Option<Anchored> {
        let entries = self.entries();
        entries.anchored.iter().rev().find(|anchored| anchored.evidence == *evidence).cloned()
    }

    /// The anchors that have no proof yet.
    pub fn unproved(&self) -> Vec<Anchored> {
        let entries = self.entries();
        let is_proved = |anchored: &Anchored| entries.proved.iter().rev().any(|proved| proved.anchored == *anchored);
        // Proofs come in the order of anchors, so only the end is looked at.
        let mut unproved: Vec<_> =
            entries.anchored.iter().rev().take_while(|anchored| !is_proved(anchored)).cloned().collect();
        unproved.reverse();
        unproved
    }

    /// The first proof for a checkpoint that covers the entry with this index in the evidence log, and that the directory
    /// took before its statement `end`.
    pub fn proof(&self, evidence: &LogOf, index: u64, end: u64) -> Option<Proved> {
        let entries = self.entries();
        let covers = |proved: &&Proved| {
            proved.anchored.evidence == *evidence && proved.anchored.size > index && proved.anchor.taken_at < end
        };
        entries.proved.iter().find(covers).cloned()
    }

    /// How many entries of an evidence log the last checkpoint covers that has a proof; 0 where there is none.
    pub fn last_proved(&self, evidence: &LogOf) -> u64 {
        let entries = self.entries();
        let last = entries.proved.iter().rev().find(|proved| proved.anchored.evidence == *evidence);
        last.map_or(0, |proved| proved.anchored.size)
    }

    /// Keeps an anchor. Blocks for a disk write.
    ///
    /// # Errors
    ///
    /// The file cannot be written, or the checkpoint cannot be read.
    pub fn keep_anchored(&self, log: u32, index: u64, checkpoint: String) -> Result<(), Error> {
        self.keep(Line::Anchored { log, index, checkpoint })
    }

    /// Keeps a proof. Blocks for a disk write.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn keep_proved(&self, anchored: &Anchored, taken_at: u64, inclusion: &[Hash]) -> Result<(), Error> {
        let inclusion = inclusion.iter().map(Hash::to_string).collect();
        self.keep(Line::Proved { log: anchored.log, index: anchored.index, taken_at, inclusion })
    }

    fn keep(&self, line: Line) -> Result<(), Error> {
        let failed = |source| Error::Book { path: self.path.clone(), source };
        let mut text = serde_json::to_string(&line).map_err(|error| failed(error.into()))?;
        text.push('\n');
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(text.as_bytes()).and_then(|()| file.sync_data()).map_err(failed)?;
        self.entries().learn(line);
        Ok(())
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn learn(&mut self, line: Line) {
        match line {
            Line::Anchored { log, index, checkpoint } => self.anchored.extend(read(log, index, checkpoint)),
            Line::Proved { log, index, taken_at, inclusion } => {
                let is_it = |anchored: &&Anchored| (anchored.log, anchored.index) == (log, index);
                let Some(anchored) = self.anchored.iter().rev().find(is_it).cloned() else { return };
                let inclusion: Result<Vec<Hash>, _> = inclusion.iter().map(|hash| hash.parse()).collect();
                let Ok(inclusion) = inclusion else { return };
                let inclusion = inclusion.iter().map(|hash| hash.as_bytes().to_vec()).collect();
                self.proved.push(Proved { anchored, anchor: wire::Anchor { index, inclusion, taken_at } });
            }
        }
    }
}

/// An anchor of this node, which made the checkpoint itself.
pub(super) fn read(log: u32, index: u64, checkpoint: String) -> Option<Anchored> {
    let note = SignedNote::parse(checkpoint.as_bytes()).ok()?;
    let parsed = Checkpoint::parse(note.text()).ok()?;
    let evidence = parsed.origin().parse().ok()?;
    Some(Anchored { evidence, size: parsed.size(), root: parsed.root(), log, index, checkpoint })
}

#[cfg(test)]
mod tests {
    use trust::fixture::{self, key, party};

    use super::*;

    fn log(number: u32) -> LogOf {
        LogOf { party: party("housing"), node: fixture::node("1"), number }
    }

    fn note(number: u32, size: u64) -> String {
        let root = Hash::from_bytes([u8::try_from(size).unwrap(); 32]);
        fixture::signed_checkpoint(&log(number).to_string(), size, root, &key("housing node 1"))
    }

    #[test]
    fn what_was_kept_is_there_after_reopening_even_behind_a_line_that_was_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let book = AnchorBook::open(folder.path()).unwrap();
        assert_eq!(book.last(&log(1)), None);
        book.keep_anchored(1, 10, note(1, 4)).unwrap();
        book.keep_anchored(1, 20, note(1, 9)).unwrap();
        assert_eq!(book.unproved().len(), 2);
        let first = book.unproved().remove(0);
        book.keep_proved(&first, 33, &[Hash::from_bytes([7; 32])]).unwrap();
        drop(book);
        let path = folder.path().join(FILE_NAME);
        let mut text = fs::read_to_string(&path).unwrap();
        text.push_str("{\"anchored\":{\"log\":1,\"ind");
        fs::write(&path, text).unwrap();

        let book = AnchorBook::open(folder.path()).unwrap();
        assert_eq!(book.last(&log(1)).unwrap().size, 9);
        assert_eq!(book.last(&log(2)), None);
        assert_eq!(book.unproved().iter().map(|anchored| anchored.index).collect::<Vec<_>>(), [20]);
        book.keep_anchored(1, 30, note(2, 1)).unwrap();
        drop(book);
        let book = AnchorBook::open(folder.path()).unwrap();
        assert_eq!(book.last(&log(2)).unwrap().index, 30);
        // The first proof that covers the entry, and only where the bundle's directory reaches it.
        assert_eq!(book.proof(&log(1), 3, 34).unwrap().anchor.taken_at, 33);
        assert_eq!(book.proof(&log(1), 3, 33), None);
        assert_eq!(book.proof(&log(1), 4, 99), None);
    }
}
