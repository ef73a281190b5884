//! What was said about the objects of one bucket, packed: a directory of a million statements has as many objects as its map
//! has entries, and hardly anybody asks about one. Sorted by object. For each: its length (2 bytes), itself, the index of
//! the last statement (8 bytes), its digest (32), whether anything was said before (1), and if so the chain before (32).
//! Numbers are big-endian. Out of scope: hashes over it (`state`).

use super::{Chain, Said};
use crate::{directory::model::Place, ids::Digest, log::hash::Hash};

/// What was said about the objects of one bucket.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Packed(Box<[u8]>);

impl Packed {
    /// The bytes.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Bytes as [`Packed::as_bytes`] gives them; `None` for any other.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let mut last = None;
        while !rest.is_empty() {
            let said = take(&mut rest)?;
            if last.is_some_and(|last| said.object <= last) {
                return None;
            }
            last = Some(said.object);
        }
        Some(Self(bytes.into()))
    }

    /// Everything, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Said<'_>> {
        let mut rest = &*self.0;
        // What was put here reads to its end.
        std::iter::from_fn(move || take(&mut rest))
    }

    /// What was said about an object.
    pub(super) fn get(&self, object: &str) -> Option<Said<'_>> {
        self.iter().find(|said| said.object == object)
    }

    /// Puts down what was said about an object, in place of what is there. Whether nothing was.
    pub(super) fn put(&mut self, said: Said<'_>) -> bool {
        let (start, end) = self.place_of(said.object);
        let mut bytes = Vec::with_capacity(self.0.len() - (end - start) + longest(said.object));
        bytes.extend_from_slice(&self.0[..start]);
        write(said, &mut bytes);
        bytes.extend_from_slice(&self.0[end..]);
        self.0 = bytes.into();
        start == end
    }

    /// Takes an object away. Whether it was there.
    pub(super) fn remove(&mut self, object: &str) -> bool {
        let (start, end) = self.place_of(object);
        self.0 = [&self.0[..start], &self.0[end..]].concat().into();
        start != end
    }

    /// From where to where an object lies; where it would, twice, if it is not there.
    fn place_of(&self, object: &str) -> (usize, usize) {
        let mut rest = &*self.0;
        loop {
            let start = self.0.len() - rest.len();
            match take(&mut rest) {
                Some(said) if said.object < object => {}
                Some(said) if said.object == object => return (start, self.0.len() - rest.len()),
                _ => return (start, start),
            }
        }
    }
}

impl std::fmt::Debug for Packed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_list().entries(self.iter()).finish()
    }
}

fn longest(object: &str) -> usize {
    2 + object.len() + 8 + 32 + 1 + 32
}

fn write(said: Said<'_>, out: &mut Vec<u8>) {
    // A statement is shorter than that, and an object is a part of one.
    out.extend_from_slice(&(said.object.len() as u16).to_be_bytes());
    out.extend_from_slice(said.object.as_bytes());
    out.extend_from_slice(&said.last.index.to_be_bytes());
    out.extend_from_slice(said.last.digest.as_bytes());
    out.push(u8::from(said.before != Chain::START));
    if said.before != Chain::START {
        out.extend_from_slice(said.before.as_bytes());
    }
}

/// Takes the first from the bytes; `None` where there is none.
fn take<'a>(rest: &mut &'a [u8]) -> Option<Said<'a>> {
    let (length, after) = rest.split_first_chunk::<2>()?;
    let (object, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    let (index, after) = after.split_first_chunk::<8>()?;
    let (digest, after) = after.split_first_chunk::<32>()?;
    let (more, mut after) = after.split_first()?;
    let mut before = Chain::START;
    if *more != 0 {
        let (chain, behind) = after.split_first_chunk::<32>()?;
        (before, after) = (Chain(Hash::from_bytes(*chain)), behind);
    }
    let object = std::str::from_utf8(object).ok()?;
    *rest = after;
    let last = Place { index: u64::from_be_bytes(*index), digest: Digest::new(*digest) };
    Some(Said { object, last, before })
}
