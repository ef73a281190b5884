//! placeholder
use trust::log::hash::Hash;

/// What a verification found in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// How many entries were read.
    pub entries: u64,
    /// The root over them.
    pub root: Hash,
    /// How many entries' messages could not be read because their month's key was destroyed.
    pub without_message: u64,
}
