//! The roots of the view's latest sizes, to compare with what peers saw. Out of scope: proofs between sizes.

use std::collections::VecDeque;

use trust::log::hash::Hash;

/// How many of the latest sizes' roots are kept, to compare with what peers saw.
pub(super) const ROOTS_KEPT: usize = 8192;

/// The roots of the latest sizes, which follow each other.
#[derive(Default)]
pub(super) struct Roots {
    /// The size of the newest.
    newest: u64,
    roots: VecDeque<Hash>,
}

impl Roots {
    pub(super) fn push(&mut self, size: u64, root: Hash) {
        if size != self.newest + 1 {
            self.roots.clear();
        }
        self.newest = size;
        self.roots.push_back(root);
        if self.roots.len() > ROOTS_KEPT {
            self.roots.pop_front();
        }
    }

    /// Takes newer ones over.
    pub(super) fn extend(&mut self, newer: Self) {
        let first = newer.newest + 1 - newer.roots.len() as u64;
        (first..).zip(newer.roots).for_each(|(size, root)| self.push(size, root));
    }

    pub(super) fn at(&self, size: u64) -> Option<Hash> {
        let back = usize::try_from(self.newest.checked_sub(size)?).ok()?;
        self.roots.get(self.roots.len().checked_sub(back + 1)?).copied()
    }
}
