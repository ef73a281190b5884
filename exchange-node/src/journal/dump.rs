//! Everything that is durable in a journal at one moment, handed over key by key: what a backup holds. The journal is written
//! on meanwhile; what comes later is left out. Out of scope: the backup's file (`backup`).

use trust::log::hash::Hash;

use super::{JournalError, months::Months, writer::Durable};

/// Takes what a journal hands over.
pub trait PairSink {
    /// The database of a month begins. False ends it.
    fn begin(&mut self, month: &str) -> bool;

    /// A key with its value. False ends it.
    fn pair(&mut self, key: &[u8], value: &[u8]) -> bool;
}

/// What was handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dump {
    /// How many entries.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
    /// Whether the sink took all of it.
    pub whole: bool,
}

pub(super) fn dump(months: &Months, durable: &Durable, sink: &mut dyn PairSink) -> Result<Dump, JournalError> {
    let size = durable.tree.size();
    let mut dumped = Dump { size, root: durable.root, whole: true };
    for (name, first_index) in months.list() {
        // A month that began since then is left out.
        if first_index > size {
            continue;
        }
        let month = months.named(name)?;
        if !sink.begin(&name.to_string()) || !month.pairs(size, &mut |key, value| sink.pair(key, value))? {
            dumped.whole = false;
            break;
        }
    }
    Ok(dumped)
}
