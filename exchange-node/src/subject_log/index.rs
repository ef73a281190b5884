//! Where in the evidence a subject's questions stand: a keyed hash of the subject's number to the places of questions, and of
//! a question to the answers that came later. The newest places are in memory; the others in sealed sorted runs, so that
//! nothing is scanned and memory does not grow with the years.
//!
//! **Invariant:** the index is a shortcut and never believed: whoever reads a place compares what stands there. One that does
//! not fit its log (a restored one) is made again. Nothing here tells a number: the key lives with the guess budget's.
//!
//! Out of scope: what is shown of a question (`show`).

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use host::files;
use prost::Message;
use proto::exchange::v1::{self as wire, EntryKind};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use trust::{envelope, log::hash::Hash, subject::Subject, subject::added::Schemes};

use super::{Error, item};
use crate::{
    budget::{
        BudgetKey, Charge,
        runs::{self, Run},
    },
    journal::Journal,
};

/// The folder within the node's.
const FOLDER: &str = "subject-index";

/// How far the runs of a log reach.
const COVERED: &str = "covered.json";

/// So many places are in memory before they are sealed.
const SEAL_AT: usize = 16_384;

/// A log's places in the index.
#[derive(Debug)]
struct OfLog {
    folder: PathBuf,
    runs: Vec<Arc<Run>>,
    /// What is not sealed yet.
    tail: Vec<Charge>,
    /// Up to which entry the runs reach.
    sealed: u64,
    /// Up to which entry all is here.
    indexed: u64,
}

#[derive(Default, Deserialize, Serialize)]
struct Covered {
    size: u64,
    root: String,
}

/// A place that the index knows: an entry, or one question of the batch that it holds (`item`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hit {
    pub(super) at_ms: u64,
    pub(super) index: u64,
}

/// The index of all evidence that is here.
#[derive(Debug)]
pub(super) struct Index {
    folder: PathBuf,
    key: Arc<BudgetKey>,
    /// So many places are in memory before they are sealed.
    seal_at: usize,
    logs: Mutex<BTreeMap<String, OfLog>>,
}

impl Index {
    pub(super) fn new(dir: &Path, key: Arc<BudgetKey>) -> Self {
        Self { folder: dir.join(FOLDER), key, seal_at: SEAL_AT, logs: Mutex::default() }
    }

    /// The places of a subject's questions in one log. Blocks, the longer the more is new.
    pub(super) fn questions(
        &self,
        log: (&str, u64, &dyn Journal),
        schemes: &Schemes,
        numbers: &[Subject],
    ) -> Result<Vec<Hit>, Error> {
        let mut hits = self.find(log, schemes, numbers.iter().map(|number| self.key.subject(number)))?;
        hits.sort_unstable();
        hits.dedup();
        Ok(hits)
    }

    /// The places in one log of the answers that came later to the question at a place.
    pub(super) fn later(
        &self,
        log: (&str, u64, &dyn Journal),
        schemes: &Schemes,
        question: u64,
    ) -> Result<Vec<Hit>, Error> {
        let mut hits = self.find(log, schemes, [later_key(question)].into_iter())?;
        hits.sort_unstable_by_key(|hit| hit.index);
        hits.dedup();
        Ok(hits)
    }

    /// Reads what is new in one log, so that the next look-up is quick. Blocks.
    pub(super) fn catch_up(&self, log: (&str, u64, &dyn Journal), schemes: &Schemes) -> Result<(), Error> {
        self.find(log, schemes, std::iter::empty()).map(drop)
    }

    fn find(
        &self,
        (name, base, journal): (&str, u64, &dyn Journal),
        schemes: &Schemes,
        keys: impl Iterator<Item = [u8; 16]>,
    ) -> Result<Vec<Hit>, Error> {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        let of = match logs.entry(name.to_owned()) {
            std::collections::btree_map::Entry::Occupied(of) => of.into_mut(),
            std::collections::btree_map::Entry::Vacant(empty) => {
                empty.insert(OfLog::open(self.folder.join(name), journal)?)
            }
        };
        of.catch_up((base, journal), &self.key, schemes, self.seal_at)?;
        let mut found = Vec::new();
        for key in keys {
            for run in &of.runs {
                run.find(&key, &mut found)?;
            }
            let new = of.tail.iter().filter(|charge| charge.about == key);
            found.extend(new.map(|charge| (charge.tried, charge.at_ms)));
        }
        Ok(found.into_iter().map(|(index, at_ms)| Hit { at_ms, index: u64::from_be_bytes(index) }).collect())
    }
}

impl OfLog {
    fn open(folder: PathBuf, journal: &dyn Journal) -> Result<Self, Error> {
        files::private_folder(&folder.parent().map(Path::to_owned).unwrap_or_default())?;
        files::private_folder(&folder)?;
        let covered = read_covered(&folder);
        let fits = covered.size <= journal.size()
            && (covered.size == 0 || journal.root_at(covered.size).is_ok_and(|root| text(&root) == covered.root));
        let (runs, sealed) = match runs::open(&folder) {
            Ok(runs) if fits && runs.last().map_or(0, |run| run.last + 1) == covered.size => (runs, covered.size),
            // Made again: it is of another log, or was not finished.
            Ok(_) | Err(_) => {
                tracing::info!(folder = %folder.display(), "the index of subjects is made again");
                fs::remove_dir_all(&folder).map_err(failed("cannot remove", &folder))?;
                files::private_folder(&folder)?;
                (Vec::new(), 0)
            }
        };
        Ok(Self { folder, runs, tail: Vec::new(), sealed, indexed: sealed })
    }

    fn catch_up(
        &mut self,
        (base, journal): (u64, &dyn Journal),
        key: &BudgetKey,
        schemes: &Schemes,
        seal_at: usize,
    ) -> Result<(), Error> {
        let size = journal.size();
        while self.indexed < size {
            let Some(stored) = journal.entry(self.indexed)? else { break };
            let charge = |about, index: u64| Charge { about, tried: index.to_be_bytes(), at_ms: stored.at_ms };
            match (stored.entry.kind, stored.about) {
                (EntryKind::QuestionReceived, _) => {
                    for (item, request) in item::questions(stored.message.as_deref()) {
                        for subject in subjects(&request, schemes) {
                            self.tail.push(charge(key.subject(&subject), item::packed(stored.index, item)));
                        }
                    }
                }
                (EntryKind::AnswerGiven, Some(question)) => {
                    // In a log of the node's own it is a place; in what came back it is an index there.
                    let is_index = crate::logs::is_recovered(base);
                    let question = if is_index { base + question } else { question };
                    self.tail.push(charge(later_key(question), stored.index));
                }
                _ => {}
            }
            self.indexed = stored.companions.end.max(self.indexed + 1);
            if self.tail.len() >= seal_at {
                self.seal(journal)?;
            }
        }
        Ok(())
    }

    fn seal(&mut self, journal: &dyn Journal) -> Result<(), Error> {
        self.tail.sort_unstable_by_key(|charge| (charge.about, charge.tried, charge.at_ms));
        let count = self.tail.len() as u64;
        let sorted = self.tail.iter().copied().map(Ok);
        let run = Run::write(&self.folder, self.sealed, self.indexed - 1, count, sorted)?;
        self.runs.push(Arc::new(run));
        self.tail.clear();
        self.sealed = self.indexed;
        while let Some((older, newer)) = runs::to_merge(&self.runs) {
            let merged = runs::merge(&self.folder, &older, &newer, u64::MAX)?;
            self.runs.retain(|run| run.first < merged.first || run.last > merged.last);
            self.runs.push(Arc::new(merged));
            self.runs.sort_by_key(|run| run.first);
            runs::delete(&older)?;
            runs::delete(&newer)?;
        }
        let covered = Covered { size: self.sealed, root: text(&journal.root_at(self.sealed)?) };
        // Numbers and a short text: this cannot fail.
        let bytes = serde_json::to_vec(&covered).unwrap_or_default();
        Ok(files::replace_file(&self.folder.join(COVERED), &bytes, files::PRIVATE_MODE)?)
    }
}

/// What is not there or cannot be read covers nothing: then it is made again.
fn read_covered(folder: &Path) -> Covered {
    let bytes = fs::read(folder.join(COVERED)).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

fn text(root: &Hash) -> String {
    data_encoding::HEXLOWER.encode(root.as_bytes())
}

/// Every number that a question names.
pub(super) fn subjects(request: &wire::Request, schemes: &Schemes) -> Vec<Subject> {
    let named = request.subject.iter().chain(&request.former_subjects).chain(&request.also_about);
    named.filter_map(|subject| schemes.parse(&subject.scheme, &subject.value).ok()).collect()
}

fn later_key(question: u64) -> [u8; 16] {
    let mut hash = Sha256::new();
    hash.update(b"errand later answers v1\0");
    hash.update(question.to_be_bytes());
    let mut key = [0; 16];
    key.copy_from_slice(&hash.finalize()[..16]);
    key
}

/// A stored message, which the entry's digest binds since it was verified.
pub(super) fn read<M: envelope::Payload>(message: Option<&[u8]>) -> Option<M> {
    envelope::peek(&wire::Signed::decode(message?).ok()?, usize::MAX).ok()
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> files::Error {
    let path = path.to_owned();
    move |source| files::Error::Io { doing, path, source }
}

#[cfg(test)]
mod tests {
    use trust::{
        fixture::{Fixture, key},
        subject::resident_number::ResidentNumber,
    };

    use super::*;
    use crate::journal::{Commit, NewEntry, memory::MemoryJournal};

    fn person(sequence: u16) -> String {
        ResidentNumber::compose("890101", jiff::civil::date(1990, 1, 2), sequence).unwrap().into_string()
    }

    fn asked(fixture: &Fixture, value: &str) -> NewEntry {
        let subject = Some(wire::Subject { scheme: "resident_id".into(), value: value.into() });
        let request = wire::Request { subject, ..fixture.request() };
        let (sealed, digest) = envelope::seal(&request, &key("housing node 1"));
        let message = envelope::signed(sealed).encode_to_vec();
        NewEntry { kind: EntryKind::QuestionReceived, digest, message }
    }

    fn found(index: &Index, journal: &MemoryJournal, value: &str) -> Vec<u64> {
        let schemes = Schemes::default();
        let subject = schemes.parse("resident_id", value).unwrap();
        let hits = index.questions(("journal", 0, journal), &schemes, &[subject]).unwrap();
        hits.into_iter().map(|hit| hit.index).collect()
    }

    #[tokio::test]
    async fn what_is_sealed_is_found_after_a_restart_and_what_is_another_logs_is_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let fixture = Fixture::town();
        let small = || Index { seal_at: 4, ..Index::new(dir.path(), Arc::new(BudgetKey::new([7; 32]))) };
        let journal = MemoryJournal::new();
        let (one, other) = (person(1), person(3));
        let index = small();
        for number in 0..11_u64 {
            let value = if number % 3 == 0 { &one } else { &other };
            let commit = Commit { at_ms: 1000 + number, entries: vec![asked(&fixture, value)], ..Commit::default() };
            journal.commit(commit).await.unwrap();
            if number == 6 {
                assert_eq!(found(&index, &journal, &one), [0, 3, 6]);
            }
        }
        assert_eq!(found(&index, &journal, &one), [0, 3, 6, 9]);
        assert_eq!(found(&index, &journal, &other).len(), 7);
        assert!(found(&index, &journal, &person(5)).is_empty());
        // An answer that came later is found by its question.
        let later = NewEntry { kind: EntryKind::AnswerGiven, ..asked(&fixture, &one) };
        let commit = Commit { at_ms: 2000, entries: vec![later], about: Some(3), ..Commit::default() };
        journal.commit(commit).await.unwrap();
        let schemes = Schemes::default();
        let hits = index.later(("journal", 0, &journal), &schemes, 3).unwrap();
        assert_eq!(hits.iter().map(|hit| hit.index).collect::<Vec<_>>(), [11]);
        assert!(index.later(("journal", 0, &journal), &schemes, 6).unwrap().is_empty());

        let again = small();
        assert_eq!(found(&again, &journal, &one), [0, 3, 6, 9]);
        assert!(again.logs.lock().unwrap()["journal"].sealed > 0, "it was not read anew");
        for file in fs::read_dir(dir.path().join("subject-index/journal")).unwrap() {
            let bytes = fs::read(file.unwrap().path()).unwrap();
            assert!(!bytes.windows(one.len()).any(|window| window == one.as_bytes()), "nothing tells a number");
        }

        // A log that was restored and went on otherwise.
        let restored = MemoryJournal::new();
        for number in 0..12_u64 {
            let commit = Commit { at_ms: 1000 + number, entries: vec![asked(&fixture, &other)], ..Commit::default() };
            restored.commit(commit).await.unwrap();
        }
        let third = small();
        assert!(found(&third, &restored, &one).is_empty());
        assert_eq!(found(&third, &restored, &other).len(), 12);
    }
}
