//! The evidence logs of this node: the one that is kept now, those before it that were closed because they had lost entries,
//! and what came back from other departments of what was lost. To asking and answering they are one journal, which writes
//! to the first of them and finds receipts in all.
//!
//! Each log has a folder of its own: `journal` the first, `journal-2` its successor, and so on; nothing is moved when a log
//! is closed. What came back lies in `recovered`: no log that anybody signs, only a store of the same form.
//!
//! Out of scope: whether the log may go on (`history`), and fetching what was lost (`reconcile`).

use std::{
    fs, io,
    ops::ControlFlow,
    path::Path,
    sync::{Arc, OnceLock},
};

use host::{clock::Clock, random::Random};
use trust::{
    directory::{Directory, model::ClosedLog},
    evidence::{LogOf, Receipt},
    ids::{NodeId, Party},
    log::hash::Hash,
};

use crate::{
    history::Standing,
    journal::{
        Commit, Committed, Journal, JournalError, KeptJournal, Later, OnFailure, RecordHead, SledJournal, StoredEntry,
    },
};

/// Where what came back from others lies, in the node's folder.
pub const RECOVERED: &str = "recovered";

/// The folder of the first log, and the beginning of the others'.
const FIRST: &str = "journal";

/// An index has so many bits; above them stands which log it is of, 0 for the first. So a place stays what it is when a log
/// is closed, and where there is only one it is the index.
const INDEX_BITS: u32 = 48;

/// What stands for what came back from others.
const RECOVERED_LOG: u64 = 0xFFFF;

/// The folder of the node's log with this number.
pub fn folder_of(number: u32) -> String {
    match number {
        0 | 1 => FIRST.to_owned(),
        number => format!("{FIRST}-{number}"),
    }
}

/// The numbers of the logs that have a folder in `dir`, in ascending order.
///
/// # Errors
///
/// The folder cannot be read.
pub fn numbers_in(dir: &Path) -> io::Result<Vec<u32>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(FIRST)) else { continue };
        match rest.strip_prefix('-') {
            Some(digits) => numbers
                .extend(digits.parse::<u32>().ok().filter(|number| folder_of(*number) == format!("{FIRST}-{digits}"))),
            None if rest.is_empty() => numbers.push(1),
            None => {}
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// The index of an entry within its log.
pub fn index_in(place: u64) -> u64 {
    place & ((1 << INDEX_BITS) - 1)
}

/// What stands before an index in the place of an entry of the log with this number.
pub fn base(number: u32) -> u64 {
    u64::from(number.saturating_sub(1)) << INDEX_BITS
}

/// What stands before the index in a place.
pub fn base_of(place: u64) -> u64 {
    place - index_in(place)
}

/// Which log is read back at a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// The one that is kept.
    Current,
    /// One that was closed.
    Earlier,
    /// None: what came back from others, in no order of time.
    Recovered,
}

/// Whether an entry is none of this node's, but came back from another's evidence.
pub fn is_recovered(place: u64) -> bool {
    place >> INDEX_BITS == RECOVERED_LOG
}

/// A log that was closed.
#[derive(Debug)]
pub struct EarlierLog {
    /// Which.
    pub of: LogOf,
    /// Its entries, as far as they are here.
    pub journal: KeptJournal,
    /// What the directory says of its end.
    pub closed: Option<ClosedLog>,
}

/// All of them.
pub struct Logs {
    /// The one that is kept.
    pub of: LogOf,
    /// Its entries.
    pub current: Arc<SledJournal>,
    /// Those that were closed and are here, the first one first.
    pub earlier: Vec<EarlierLog>,
    /// How many were closed, here or not.
    pub closed: Vec<ClosedLog>,
    recovered: OnceLock<Arc<SledJournal>>,
}

/// An entry's log.
pub enum Found<'a> {
    /// The one that is kept.
    Current,
    /// One that was closed.
    Earlier(&'a EarlierLog),
    /// None: it came back from others.
    Recovered(&'a Arc<SledJournal>),
}

impl Logs {
    /// Opens the logs in the node's folder, as many as the directory says there were. Blocks.
    ///
    /// # Errors
    ///
    /// A folder or store cannot be used, or what is stored does not fit together.
    pub fn open(
        dir: &Path,
        (party, node): (&Party, &NodeId),
        directory: &Directory,
        random: &Arc<dyn Random>,
        clock: &dyn Clock,
        on_failure: &OnFailure,
    ) -> Result<Self, JournalError> {
        let here = numbers_in(dir).map_err(|source| host::files::Error::Io {
            doing: "cannot read the folder",
            path: dir.to_owned(),
            source,
        })?;
        // A successor is opened only once the directory said so: a view that knows less was lost and is read again.
        let known = directory.evidence_log(party.department(), node);
        let number = here.last().copied().unwrap_or(1).max(known);
        let log = |number| LogOf { party: party.clone(), node: node.clone(), number };
        let open = |name: &str| {
            SledJournal::open_named(dir, name, Arc::clone(random), clock, Arc::clone(on_failure)).map(Arc::new)
        };
        let closed = directory.closed_logs(party.department(), node).to_vec();
        let mut earlier = Vec::new();
        for number in here.into_iter().filter(|earlier| *earlier < number) {
            let journal = match KeptJournal::open_named(dir, &folder_of(number)) {
                // It was made and never begun.
                Err(JournalError::NothingKept { .. }) => continue,
                opened => opened?,
            };
            let position = usize::try_from(number).unwrap_or(usize::MAX) - 1;
            earlier.push(EarlierLog { of: log(number), journal, closed: closed.get(position).cloned() });
        }
        let recovered = OnceLock::new();
        if dir.join(RECOVERED).is_dir() {
            let _ = recovered.set(open(RECOVERED)?);
        }
        Ok(Self { of: log(number), current: open(&folder_of(number))?, earlier, closed, recovered })
    }

    /// What came back from others; `None` where nothing did.
    pub fn recovered(&self) -> Option<&Arc<SledJournal>> {
        self.recovered.get()
    }

    /// The store of what comes back, made where it is missing. Blocks.
    ///
    /// # Errors
    ///
    /// It cannot be made.
    pub fn recovered_or_new(
        &self,
        dir: &Path,
        random: &Arc<dyn Random>,
        clock: &dyn Clock,
        on_failure: &OnFailure,
    ) -> Result<Arc<SledJournal>, JournalError> {
        if let Some(recovered) = self.recovered.get() {
            return Ok(Arc::clone(recovered));
        }
        let made = SledJournal::open_named(dir, RECOVERED, Arc::clone(random), clock, Arc::clone(on_failure))?;
        Ok(Arc::clone(self.recovered.get_or_init(|| Arc::new(made))))
    }

    /// The log with this name and, where it was closed, how.
    pub fn log(&self, origin: &str) -> Option<(&dyn Journal, Option<&ClosedLog>)> {
        if origin == self.of.to_string() {
            return Some((self.current.as_ref(), None));
        }
        let earlier = self.earlier.iter().find(|earlier| earlier.of.to_string() == origin)?;
        Some((&earlier.journal, earlier.closed.as_ref()))
    }

    /// Every store with messages of this node's own logs, the newest first.
    pub fn own(&self) -> impl Iterator<Item = &dyn Journal> {
        let current: &dyn Journal = self.current.as_ref();
        std::iter::once(current).chain(self.earlier.iter().rev().map(|earlier| &earlier.journal as &dyn Journal))
    }

    /// Every other store than the log that is kept, with what stands before its indexes in a place: what came back, then
    /// the closed logs, the last one first.
    pub fn others(&self) -> Vec<(u32, u64, &dyn Journal)> {
        let recovered =
            self.recovered.get().map(|recovered| (0, RECOVERED_LOG << INDEX_BITS, recovered.as_ref() as &dyn Journal));
        let earlier = self
            .earlier
            .iter()
            .rev()
            .map(|earlier| (earlier.of.number, base(earlier.of.number), &earlier.journal as &dyn Journal));
        recovered.into_iter().chain(earlier).collect()
    }

    /// Which log a place is in.
    pub fn of_place(&self, place: u64) -> Option<Found<'_>> {
        match base_of(place) {
            own if own == base(self.of.number) => Some(Found::Current),
            recovered if recovered >> INDEX_BITS == RECOVERED_LOG => self.recovered.get().map(Found::Recovered),
            other => self.earlier.iter().find(|earlier| base(earlier.of.number) == other).map(Found::Earlier),
        }
    }

    /// How many entries were lost at least, in all closed logs.
    pub fn lost(&self) -> u64 {
        self.closed.iter().map(|closed| closed.highest_seen.saturating_sub(closed.size)).sum()
    }

    /// When the last log was closed, Unix milliseconds; 0 where none was.
    pub fn closed_ms(&self) -> u64 {
        self.closed.last().map_or(0, |closed| closed.stated_at_ms)
    }
}

impl std::fmt::Debug for Logs {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Logs")
            .field("of", &self.of)
            .field("earlier", &self.earlier.len())
            .finish_non_exhaustive()
    }
}

/// The logs as one journal: entries go into the one that is kept, as long as it may go on; entries and receipts are found in
/// all of them. An index beyond 48 bits says which other one.
#[derive(Clone, Debug)]
pub struct AllLogs {
    logs: Arc<Logs>,
    standing: Arc<Standing>,
}

impl AllLogs {
    /// These logs, as long as the current one may go on.
    pub fn new(logs: Arc<Logs>, standing: Arc<Standing>) -> Self {
        Self { logs, standing }
    }

    fn base(&self) -> u64 {
        base(self.logs.of.number)
    }
}

impl Journal for AllLogs {
    fn commit(&self, commit: Commit) -> Later<'_, Committed> {
        Box::pin(async move {
            self.standing.check()?;
            let committed = self.logs.current.commit(commit).await?;
            Ok(Committed { first_index: self.base() + committed.first_index, ..committed })
        })
    }

    fn check_open(&self) -> Result<(), JournalError> {
        self.standing.check()
    }

    fn entry(&self, place: u64) -> Result<Option<StoredEntry>, JournalError> {
        let index = index_in(place);
        let base = base_of(place);
        let (stored, is_recovered) = match self.logs.of_place(place) {
            Some(Found::Current) => (self.logs.current.entry(index)?, false),
            Some(Found::Earlier(earlier)) => (earlier.journal.entry(index)?, false),
            Some(Found::Recovered(recovered)) => (recovered.entry(index)?, true),
            None => (None, false),
        };
        Ok(stored.map(|stored| StoredEntry {
            index: place,
            // In a log of the node's own it is a place: a later answer may be about a question in an earlier log.
            about: stored.about.map(|about| if is_recovered { base + about } else { about }),
            companions: base + stored.companions.start..base + stored.companions.end,
            ..stored
        }))
    }

    fn find(&self, receipt: &Receipt) -> Result<Option<u64>, JournalError> {
        if let Some(index) = self.logs.current.find(receipt)? {
            return Ok(Some(self.base() + index));
        }
        for (_, base, journal) in self.logs.others() {
            if let Some(index) = journal.find(receipt)? {
                return Ok(Some(base + index));
            }
        }
        Ok(None)
    }

    fn end(&self) -> u64 {
        self.base() + self.logs.current.size()
    }

    fn newest(&self, since_ms: u64, visit: &mut dyn FnMut(RecordHead) -> ControlFlow<()>) -> Result<(), JournalError> {
        self.logs.current.newest(since_ms, &mut |mut head| {
            head.first_index += self.base();
            visit(head)
        })
    }

    fn head(&self) -> (u64, Hash) {
        self.logs.current.head()
    }

    fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Hash>, JournalError> {
        self.logs.current.inclusion(index, size)
    }

    fn consistency(&self, old_size: u64, new_size: u64) -> Result<Vec<Hash>, JournalError> {
        self.logs.current.consistency(old_size, new_size)
    }

    fn root_at(&self, size: u64) -> Result<Hash, JournalError> {
        self.logs.current.root_at(size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_log_has_a_folder_and_a_name_reads_back_as_one_number() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["journal", "journal-3", "journal-2", "journal-02", "journal-x", "journals", "recovered"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        assert_eq!(numbers_in(dir.path()).unwrap(), [1, 2, 3]);
        assert_eq!([1, 2, 17].map(folder_of), ["journal", "journal-2", "journal-17"]);
    }

    #[test]
    fn a_place_says_which_log_and_which_entry() {
        let place = (RECOVERED_LOG << INDEX_BITS) + 12;
        assert!(is_recovered(place) && !is_recovered(12) && !is_recovered(base(2) + 12));
        assert_eq!((base(1), base_of(base(3) + 12)), (0, base(3)));
        assert_eq!(index_in(place), 12);
    }
}
