//! placeholder
use std::{path::Path, sync::Arc};
use host::{clock::Clock, random::Random};
use trust::log::hash::Hash;
use super::*;

/// Called once, with the reason, when the writer ends by itself; it must bring the process to its end.
pub type OnFailure = Arc<dyn Fn(&str) + Send + Sync>;

/// The journal on sled: one database for each UTC month.
pub struct SledJournal;
impl SledJournal {
    /// Opens `dir/journal` and `dir/keys/months`. Blocks.
    pub fn open(_dir: &Path, _random: Arc<dyn Random>, _clock: &dyn Clock, _on_failure: OnFailure) -> Result<Self, JournalError> { unreachable!() }
    /// Reads everything again and compares it with the log. Blocks, for long.
    pub fn verify(&self) -> Result<Verified, JournalError> { unreachable!() }
    /// Commits what was submitted and lets go of the store.
    pub async fn close(&self) -> Result<(), JournalError> { unreachable!() }
}
impl Journal for SledJournal {
    fn commit(&self, _commit: Commit) -> Later<'_, Committed> { unreachable!() }
    fn entry(&self, _index: u64) -> Result<Option<StoredEntry>, JournalError> { unreachable!() }
    fn newest(&self, _since_ms: u64, _visit: &mut dyn FnMut(RecordHead) -> std::ops::ControlFlow<()>) -> Result<(), JournalError> { unreachable!() }
    fn head(&self) -> (u64, Hash) { unreachable!() }
    fn inclusion(&self, _index: u64, _size: u64) -> Result<Vec<Hash>, JournalError> { unreachable!() }
}
