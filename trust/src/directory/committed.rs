//! The last commitment to the whole state, and what the next would say. Out of scope: the map itself (`state`), and when a
//! commitment is made, which is the registry's.

use proto::registry::v1::{self as wire, Statement};

use super::{Directory, model::Place, state::StateMap};
use crate::log::hash::Hash;

/// A `state` statement of the directory with the state that it commits to.
#[derive(Clone, Debug)]
pub struct Committed {
    place: Place,
    stated_at_ms: u64,
    size: u64,
    root: Hash,
    map: StateMap,
}

impl Committed {
    /// The statement's place.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// When it was stated, Unix milliseconds.
    pub fn stated_at_ms(&self) -> u64 {
        self.stated_at_ms
    }

    /// How many statements it says that it covers.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The root that it commits to.
    pub fn root(&self) -> &Hash {
        &self.root
    }

    /// As it was put down: with the map as it was.
    pub(super) fn restore(place: Place, stated_at_ms: u64, size: u64, root: Hash, map: StateMap) -> Self {
        Self { place, stated_at_ms, size, root, map }
    }

    /// What had been said before it: the whole state that it commits to; in an excerpt, what the excerpt has of it.
    pub fn map(&self) -> &StateMap {
        &self.map
    }
}

impl Directory {
    /// What was said last about every object.
    pub fn state(&self) -> &StateMap {
        &self.said
    }

    /// The last commitment to the state.
    pub fn committed(&self) -> Option<&Committed> {
        self.committed.as_ref()
    }

    /// What a `state` statement says if it is the next statement.
    pub fn commitment(&self) -> wire::State {
        wire::State {
            directory_size: self.size(),
            objects: self.said.objects(),
            root: self.said.root().as_bytes().to_vec(),
        }
    }

    pub(super) fn commit(&mut self, place: Place, statement: &Statement, body: &wire::State) {
        // The rules have checked that it is 32 bytes.
        let Ok(root) = Hash::try_from(body.root.as_slice()) else { return };
        let (stated_at_ms, size) = (statement.stated_at_ms, body.directory_size);
        self.committed = Some(Committed { place, stated_at_ms, size, root, map: self.said.clone() });
    }
}
