//! A journal that is kept and never written: the evidence of a predecessor. It is opened as its last month left it, no new
//! month begins, and no commit is taken. Out of scope: whose it is and how it came here (`custody`).

use std::{fmt, ops::ControlFlow, path::Path, sync::Arc};

use trust::log::hash::Hash;

use super::{
    Commit, Committed, Dump, Journal, JournalError, Later, PairSink, RecordHead, StoredEntry, Verified, dump,
    embedded::restore_last, month_key::MonthKeys, months::Months, reading, verify, writer::Durable,
};

/// A journal that can only be read.
pub struct KeptJournal {
    months: Months,
    durable: Durable,
}

impl KeptJournal {
    /// Opens the journal in the folder `dir` of a program that does not run, or a copy of it: databases in `dir/journal`,
    /// keys in `dir/keys/months`. Blocks.
    ///
    /// # Errors
    ///
    /// The folder or the store cannot be used, or what is stored does not fit together.
    pub fn open(dir: &Path) -> Result<Self, JournalError> {
        Self::open_named(dir, "journal")
    }

    /// As [`KeptJournal::open`], with the databases in the folder `name` of `dir`.
    ///
    /// # Errors
    ///
    /// As for [`KeptJournal::open`].
    pub fn open_named(dir: &Path, name: &str) -> Result<Self, JournalError> {
        let folder = dir.join(name);
        let nothing = || JournalError::NothingKept { path: folder.clone() };
        if !folder.is_dir() {
            return Err(nothing());
        }
        let keys = Arc::new(MonthKeys::open(dir.join("keys").join("months"))?);
        let (store, beginning) = restore_last(&folder)?.ok_or_else(nothing)?;
        let durable = Durable::new(store.restore(&beginning)?);
        let months = Months::new(folder, keys, beginning.months, Arc::new(store));
        Ok(Self { months, durable })
    }

    /// Hands over all of it, for a backup. Blocks, for as long as reading all of it takes.
    ///
    /// # Errors
    ///
    /// What was stored cannot be read, or the sink takes no more.
    pub fn dump(&self, sink: &mut dyn PairSink) -> Result<Dump, JournalError> {
        dump::dump(&self.months, &self.durable, sink)
    }

    /// Reads everything again, as `SledJournal::verify` does. Blocks, for as long as reading the whole journal takes.
    ///
    /// # Errors
    ///
    /// [`JournalError::Damaged`] naming the first entry that is wrong, or why it could not be read.
    pub fn verify(&self) -> Result<Verified, JournalError> {
        verify::verify(&self.months, &self.durable)
    }
}

impl Journal for KeptJournal {
    fn commit(&self, _: Commit) -> Later<'_, Committed> {
        Box::pin(async { Err(JournalError::ReadOnly) })
    }

    fn entry(&self, index: u64) -> Result<Option<StoredEntry>, JournalError> {
        reading::entry(&self.months, self.size(), index)
    }

    fn newest(&self, since_ms: u64, visit: &mut dyn FnMut(RecordHead) -> ControlFlow<()>) -> Result<(), JournalError> {
        reading::newest(&self.months, self.size(), since_ms, visit)
    }

    fn head(&self) -> (u64, Hash) {
        (self.durable.tree.size(), self.durable.root)
    }

    fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Hash>, JournalError> {
        reading::inclusion(&self.months, &self.durable, index, size)
    }

    fn consistency(&self, old_size: u64, new_size: u64) -> Result<Vec<Hash>, JournalError> {
        reading::consistency(&self.months, &self.durable, old_size, new_size)
    }

    fn root_at(&self, size: u64) -> Result<Hash, JournalError> {
        reading::root_at(&self.months, &self.durable, size)
    }
}

impl fmt::Debug for KeptJournal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("KeptJournal").field("head", &self.head()).finish_non_exhaustive()
    }
}
