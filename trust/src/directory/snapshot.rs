//! A directory as one stream of bytes: what a reader writes for itself, so that after a restart it need not verify a million
//! signatures again. It says only what its writer had verified. Whoever reads one back must know that it wrote it
//! (`host::sealed`, with a key of its own), and then goes on from its size as if nothing had happened.
//!
//! **A new field of [`Directory`] must be written here**: the two functions below name every field, so that the compiler
//! asks for it. A program reads only what one with the same model wrote; after an update it verifies everything once, which
//! always works. Out of scope: files, and a snapshot that comes from somebody else, which needs a `state` statement to be
//! checked against.

use std::io::{self, Read, Write};

use proto::registry::v1 as wire;
use serde::{Deserialize, Serialize};

use super::{
    Committed, Directory, Reading,
    evidence::KnownEvidence,
    kept::Kept,
    map::{Key, Packed, SharedMap},
    model::{Founding, Place, Profile, Reign},
    state::{Chain, Said, StateMap},
    succession::Successions,
};
use crate::{
    ids::{Digest, ExchangeId},
    key::PublicKey,
    log::{
        frontier::{self, Frontier},
        hash::{HASH_LENGTH, Hash},
    },
};

/// The first bytes of a snapshot; [`layout`] follows.
const FORMAT: &[u8; 27] = b"errand directory snapshot\r\n";

/// A number for how things are written: it follows from the very source of all that is written, so that nobody has to
/// remember to change it (FNV-1a; nobody gains by finding two sources with one number).
fn layout() -> u64 {
    let sources = [
        include_str!("../directory.rs"),
        include_str!("committed.rs"),
        include_str!("evidence.rs"),
        include_str!("fold.rs"),
        include_str!("kept.rs"),
        include_str!("map.rs"),
        include_str!("model.rs"),
        include_str!("object.rs"),
        include_str!("packed.rs"),
        include_str!("snapshot.rs"),
        include_str!("state.rs"),
        include_str!("state/bucket.rs"),
        include_str!("succession.rs"),
        include_str!("../key.rs"),
        include_str!("../service.rs"),
    ];
    sources
        .iter()
        .flat_map(|source| source.bytes())
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// How many bytes are gathered into one frame.
const FRAME_BYTES: usize = 64 * 1024;

/// The longest frame: far above what some tens of the largest statements leave.
const LONGEST_FRAME: usize = 64 * 1024 * 1024;

/// Why a snapshot cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// It belongs to another exchange, or trusts another authority.
    #[error("the snapshot belongs to another exchange or authority")]
    Foreign,
    /// The bytes are not what this version writes.
    #[error("the snapshot is not one of this version: {0}")]
    Format(String),
    /// The bytes cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Only a directory that was read whole can be written.
    #[error("an excerpt has no snapshot")]
    Excerpt,
}

impl SnapshotError {
    fn format(reason: impl ToString) -> Self {
        Self::Format(reason.to_string())
    }
}

#[derive(Serialize, Deserialize)]
struct Header {
    exchange: ExchangeId,
    authority_key: PublicKey,
    first_authority_key: PublicKey,
    size: u64,
    /// The hashes of the frontier's unfinished tiles, level by level.
    levels: Vec<Vec<u8>>,
    founding: Option<Founding>,
    stated_profile: Kept<wire::Profile>,
    authority_reigns: Vec<Reign>,
    log_reigns: Vec<Reign>,
    registry: Option<Kept<wire::RegistryAnnounced>>,
    successions: Successions,
    evidence: KnownEvidence,
    committed: Option<WrittenCommitment>,
}

/// The last commitment. Its map is written as what differs from the newest one.
#[derive(Serialize, Deserialize)]
struct WrittenCommitment {
    place: Place,
    stated_at_ms: u64,
    size: u64,
    root: Digest,
}

impl WrittenCommitment {
    fn of(committed: &Committed) -> Self {
        let root = Digest::new(committed.root().to_bytes());
        Self { place: *committed.place(), stated_at_ms: committed.stated_at_ms(), size: committed.size(), root }
    }
}

impl Directory {
    /// Writes all that the directory knows.
    ///
    /// # Errors
    ///
    /// Those of `out`; [`SnapshotError::Excerpt`].
    pub fn write_snapshot(&self, out: &mut dyn Write) -> Result<(), SnapshotError> {
        let Self {
            exchange,
            authority_key,
            first_authority_key,
            reading,
            frontier,
            founding,
            profile: _, // follows from what was stated
            stated_profile,
            authority_reigns,
            log_reigns,
            registry,
            departments,
            keys,
            node_keys,
            added_keys,
            nodes,
            node_by_tls_key,
            services,
            telling_names,
            access,
            held,
            items,
            said,
            committed,
            successions,
            evidence,
        } = self;
        if *reading != Reading::Whole {
            return Err(SnapshotError::Excerpt);
        }
        let header = Header {
            exchange: exchange.clone(),
            authority_key: authority_key.clone(),
            first_authority_key: first_authority_key.clone(),
            size: frontier.size(),
            levels: frontier.levels().map(|hashes| hashes.iter().flat_map(|hash| hash.to_bytes()).collect()).collect(),
            founding: founding.clone(),
            stated_profile: stated_profile.clone(),
            authority_reigns: authority_reigns.clone(),
            log_reigns: log_reigns.clone(),
            registry: registry.clone(),
            successions: successions.clone(),
            evidence: evidence.clone(),
            committed: committed.as_ref().map(WrittenCommitment::of),
        };
        let mut out = Frames { out, buffer: Vec::new() };
        out.out.write_all(FORMAT)?;
        out.out.write_all(&layout().to_be_bytes())?;
        out.write(&header)?;
        out.pieces(departments.packed())?;
        out.pieces(keys.packed())?;
        out.pieces(node_keys.packed())?;
        out.pieces(added_keys.packed())?;
        out.pieces(nodes.packed())?;
        out.pieces(node_by_tls_key.packed())?;
        out.pieces(services.packed())?;
        out.pieces(telling_names.packed())?;
        out.pieces(access.packed())?;
        out.pieces(held.packed())?;
        out.pieces(items.packed())?;
        out.pieces(said.packed())?;
        let before = committed.as_ref().map(|committed| said.changed_since(committed.map())).unwrap_or_default();
        let earlier = |(object, known): (&str, Option<Said<'_>>)| {
            let known = known.map(|known| (known.last(), known.before()));
            postcard::to_allocvec(&(object, known)).map_err(SnapshotError::format)
        };
        out.pieces(before.into_iter().map(earlier).collect::<Result<Vec<_>, _>>()?.iter().map(Vec::as_slice))
    }

    /// Reads what [`Directory::write_snapshot`] wrote, for the exchange and the authority that this reader trusts.
    ///
    /// # Errors
    ///
    /// [`SnapshotError`]; nothing of the snapshot is to be used then.
    pub fn read_snapshot(
        exchange: &ExchangeId,
        authority_key: &PublicKey,
        input: &mut dyn Read,
    ) -> Result<Self, SnapshotError> {
        let (mut format, mut written_by) = ([0; FORMAT.len()], [0; 8]);
        input.read_exact(&mut format)?;
        input.read_exact(&mut written_by)?;
        if format != *FORMAT || u64::from_be_bytes(written_by) != layout() {
            return Err(SnapshotError::format("another version wrote it"));
        }
        let mut input = Frames { out: input, buffer: Vec::new() };
        let header: Header = input.read()?;
        if (&header.exchange, &header.authority_key) != (exchange, authority_key) {
            return Err(SnapshotError::Foreign);
        }
        let profile = Profile::from_wire(&header.stated_profile);
        let frontier = frontier(header.size, &header.levels)?;
        let departments = input.map()?;
        let keys = input.map()?;
        let node_keys = input.map()?;
        let added_keys = input.map()?;
        let nodes = input.map()?;
        let node_by_tls_key = input.map()?;
        let services = input.map()?;
        let telling_names = input.map()?;
        let access = input.map()?;
        let held = input.map()?;
        let items = input.map()?;
        let mut said = StateMap::new();
        input.each(|bucket| match said.put_packed(bucket) {
            true => Ok(()),
            false => Err(SnapshotError::format("a bucket of the state is malformed")),
        })?;
        let mut earlier = said.clone();
        input.each(|known| {
            let (object, known): (&str, Option<(Place, Chain)>) =
                postcard::from_bytes(known).map_err(SnapshotError::format)?;
            match known {
                Some((last, before)) => earlier.restore(Said::new(object, last, before)),
                None => earlier.forget(object),
            }
            Ok(())
        })?;
        let committed = header.committed.map(|WrittenCommitment { place, stated_at_ms, size, root }| {
            Committed::restore(place, stated_at_ms, size, Hash::from_bytes(*root.as_bytes()), earlier)
        });
        Ok(Self {
            exchange: header.exchange,
            authority_key: header.authority_key,
            first_authority_key: header.first_authority_key,
            reading: Reading::Whole,
            frontier,
            founding: header.founding,
            profile,
            stated_profile: header.stated_profile,
            authority_reigns: header.authority_reigns,
            log_reigns: header.log_reigns,
            registry: header.registry,
            departments,
            keys,
            node_keys,
            added_keys,
            nodes,
            node_by_tls_key,
            services,
            telling_names,
            access,
            held,
            items,
            said,
            committed,
            successions: header.successions,
            evidence: header.evidence,
        })
    }
}

fn frontier(size: u64, levels: &[Vec<u8>]) -> Result<Frontier, SnapshotError> {
    let hashes = |bytes: &Vec<u8>| match bytes.as_chunks::<HASH_LENGTH>() {
        (hashes, []) => Ok(hashes.iter().copied().map(Hash::from_bytes).collect()),
        _ => Err(SnapshotError::format("a level of the frontier is cut")),
    };
    let levels = levels.iter().map(hashes).collect::<Result<_, _>>()?;
    Frontier::from_parts(size, levels).map_err(|error: frontier::Error| SnapshotError::format(error))
}

/// Frames: a length of four bytes, and as many bytes of one value.
struct Frames<S> {
    out: S,
    buffer: Vec<u8>,
}

impl Frames<&mut dyn Write> {
    fn write(&mut self, value: &impl Serialize) -> Result<(), SnapshotError> {
        self.buffer.clear();
        self.buffer = postcard::to_extend(value, std::mem::take(&mut self.buffer)).map_err(SnapshotError::format)?;
        let length = u32::try_from(self.buffer.len()).map_err(SnapshotError::format)?;
        self.out.write_all(&length.to_be_bytes())?;
        Ok(self.out.write_all(&self.buffer)?)
    }

    /// Pieces in order, each after its length, many in one frame; an empty frame ends them.
    fn pieces<'a>(&mut self, pieces: impl Iterator<Item = &'a [u8]>) -> Result<(), SnapshotError> {
        self.buffer.clear();
        for piece in pieces {
            let length = u32::try_from(piece.len()).map_err(SnapshotError::format)?;
            self.buffer.extend_from_slice(&length.to_be_bytes());
            self.buffer.extend_from_slice(piece);
            if self.buffer.len() >= FRAME_BYTES {
                self.flush()?;
            }
        }
        if !self.buffer.is_empty() {
            self.flush()?;
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<(), SnapshotError> {
        let length = u32::try_from(self.buffer.len()).map_err(SnapshotError::format)?;
        self.out.write_all(&length.to_be_bytes())?;
        self.out.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

impl Frames<&mut dyn Read> {
    fn read<T: for<'a> Deserialize<'a>>(&mut self) -> Result<T, SnapshotError> {
        self.next()?;
        postcard::from_bytes(&self.buffer).map_err(SnapshotError::format)
    }

    fn next(&mut self) -> Result<(), SnapshotError> {
        let mut length = [0; 4];
        self.out.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        if length > LONGEST_FRAME {
            return Err(SnapshotError::format("a frame is too long"));
        }
        self.buffer.resize(length, 0);
        Ok(self.out.read_exact(&mut self.buffer)?)
    }

    fn map<K: Key, V: Packed<K>>(&mut self) -> Result<SharedMap<K, V>, SnapshotError> {
        let mut map = SharedMap::new();
        self.each(|chunk| match map.push_packed(chunk) {
            true => Ok(()),
            false => Err(SnapshotError::format("its pairs are malformed or not in order")),
        })?;
        Ok(map)
    }

    /// The pieces of a section, one after the other.
    fn each(&mut self, mut take: impl FnMut(&[u8]) -> Result<(), SnapshotError>) -> Result<(), SnapshotError> {
        loop {
            self.next()?;
            let mut rest = self.buffer.as_slice();
            if rest.is_empty() {
                return Ok(());
            }
            while !rest.is_empty() {
                let cut = || SnapshotError::format("a piece is cut");
                let (length, after) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
                let (piece, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize).ok_or_else(cut)?;
                take(piece)?;
                rest = after;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{self, Fixture, key};
    use crate::key::Signer;

    fn written(directory: &Directory) -> Vec<u8> {
        let mut bytes = Vec::new();
        directory.write_snapshot(&mut bytes).unwrap();
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Directory, SnapshotError> {
        let authority = key("authority");
        Directory::read_snapshot(&fixture::exchange_id(), authority.public_key(), &mut &*bytes)
    }

    #[test]
    fn a_directory_read_back_is_the_same_and_grows_the_same() {
        let mut fixture = Fixture::town();
        let bytes = written(&fixture.directory);
        let mut again = read(&bytes).unwrap();
        assert_eq!(written(&again), bytes);
        assert_eq!(format!("{again:?}"), format!("{:?}", fixture.directory));
        fixture.admit("health");
        fixture.add_node("health", "1");
        for entry in &fixture.entries[usize::try_from(again.size()).unwrap()..] {
            again.apply(entry).unwrap();
        }
        assert_eq!(again.root(), fixture.directory.root());
        assert_eq!(written(&again), written(&fixture.directory));
    }

    #[test]
    fn what_a_department_holds_is_read_back_and_is_what_all_grants_say() {
        let directory = Fixture::town().directory;
        for directory in [&directory, &read(&written(&directory)).unwrap()] {
            assert!(directory.access_held_by(&fixture::department("housing")).count() > 0);
            for (department, _) in directory.departments() {
                let held: Vec<_> = directory.access_held_by(department).map(|(key, _)| key).collect();
                let all = directory.access_keys().filter(|key| key.consumer == *department);
                assert_eq!(held, all.collect::<Vec<_>>());
            }
        }
    }

    /// What the authority has not approved must not answer after a restart.
    #[test]
    fn reviews_and_changes_that_wait_for_one_are_read_back() {
        let reviews = wire::ServiceReviews::All.into();
        let profile = wire::Profile { service_reviews: reviews, ..Profile::usual() };
        let mut fixture = Fixture::founded_with(profile);
        fixture.admit("civil-affairs");
        fixture.publish(fixture::marriage_registration());
        let is_read_back = |fixture: &Fixture| {
            let again = read(&written(&fixture.directory)).unwrap();
            assert_eq!(format!("{again:?}"), format!("{:?}", fixture.directory));
            again.services().next().unwrap().review.permits()
        };
        assert!(!is_read_back(&fixture), "it waits");
        fixture.review("marriage-registration", &["contact"]);
        assert!(!is_read_back(&fixture), "it was returned");
        fixture.publish(wire::ServicePublished { minor_version: 1, ..fixture::marriage_registration() });
        fixture.review("marriage-registration", &[]);
        assert!(is_read_back(&fixture), "it was approved");
        let mut changed = fixture::marriage_registration();
        (changed.minor_version, changed.contact) = (2, "0890".into());
        fixture.publish(changed);
        assert!(is_read_back(&fixture), "it answers as before");
        assert!(fixture.directory.services().next().unwrap().proposed.is_some());
    }

    #[test]
    fn a_snapshot_of_somebody_else_or_cut_short_is_not_read() {
        let bytes = written(&Fixture::town().directory);
        let other = key("another authority");
        let foreign = Directory::read_snapshot(&fixture::exchange_id(), other.public_key(), &mut &*bytes);
        assert!(matches!(foreign, Err(SnapshotError::Foreign)));
        for cut in [0, 10, FORMAT.len() + 2, bytes.len() / 2, bytes.len() - 1] {
            assert!(read(&bytes[..cut]).is_err(), "{cut}");
        }
        let mut later = bytes.clone();
        later[FORMAT.len() + 3] ^= 1;
        assert!(matches!(read(&later), Err(SnapshotError::Format(_))));
        let excerpt = Directory::excerpt(fixture::exchange_id(), other.public_key().clone());
        assert!(matches!(excerpt.write_snapshot(&mut Vec::new()), Err(SnapshotError::Excerpt)));
    }
}
