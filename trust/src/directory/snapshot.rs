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
    map::SharedMap,
    model::{Founding, Place, Profile, Reign},
    state::{Said, StateMap},
    succession::Successions,
};
use crate::{
    ids::{Digest, ExchangeId},
    key::PublicKey,
    log::{
        frontier::{self, Frontier},
        hash::{HASH_LENGTH, Hash},
    },
    service::{Proposal, Review, Service, ServiceState},
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
        include_str!("snapshot.rs"),
        include_str!("state.rs"),
        include_str!("succession.rs"),
        include_str!("../key.rs"),
        include_str!("../service.rs"),
    ];
    sources
        .iter()
        .flat_map(|source| source.bytes())
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// How many pairs stand in one frame.
const PAIRS_IN_A_FRAME: usize = 64;

/// The longest frame: far above 64 of the largest statements.
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

/// A service as it is written: its rules follow from what was published.
#[derive(Serialize, Deserialize)]
struct WrittenService {
    published: Kept<wire::ServicePublished>,
    state: ServiceState,
    statement: Digest,
    review: Review,
    proposed: Option<WrittenProposal>,
}

/// A change of a service that waits for its review.
#[derive(Serialize, Deserialize)]
struct WrittenProposal {
    published: Kept<wire::ServicePublished>,
    statement: Digest,
    review: Review,
}

impl WrittenService {
    fn of(service: &Service) -> Self {
        // Every field is named, so that the compiler asks for a new one; the unnamed follow from what was published.
        let Service {
            published,
            state,
            statement,
            review,
            proposed,
            id: _,
            attributes: _,
            inputs: _,
            schemes: _,
            sharing: _,
        } = service;
        let proposed = proposed.as_ref().map(|Proposal { published, statement, review }| WrittenProposal {
            published: Kept::new(published),
            statement: *statement,
            review: review.clone(),
        });
        Self {
            published: Kept::new(published),
            state: state.clone(),
            statement: *statement,
            review: review.clone(),
            proposed,
        }
    }

    fn read(self) -> Result<Service, SnapshotError> {
        let Self { published, state, statement, review, proposed } = self;
        let service = Service::check(&published.read(), statement).map_err(SnapshotError::format)?;
        let proposed = proposed.map(|WrittenProposal { published, statement, review }| Proposal {
            published: published.read(),
            statement,
            review,
        });
        Ok(Service { state, review, proposed, ..service })
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
            nodes,
            node_by_tls_key,
            services,
            access,
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
        out.section(departments.iter())?;
        out.section(keys.iter())?;
        out.section(node_keys.iter())?;
        out.section(nodes.iter())?;
        out.section(node_by_tls_key.iter())?;
        out.section(services.iter().map(|(id, service)| (id, WrittenService::of(service))))?;
        out.section(access.iter())?;
        out.section(items.iter())?;
        out.section(said.iter().map(|said| (said, ())))?;
        let before = committed.as_ref().map(|committed| said.changed_since(committed.map())).unwrap_or_default();
        out.section(before.into_iter())
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
        let nodes = input.map()?;
        let node_by_tls_key = input.map()?;
        let services = input.map_of(WrittenService::read)?;
        let access = input.map()?;
        let items = input.map()?;
        let mut said = StateMap::new();
        input.each(|(known, ()): (Said, ())| said.restore(known))?;
        let mut earlier = said.clone();
        input.each(|(object, known): (String, Option<Said>)| match known {
            Some(known) => earlier.restore(known),
            None => earlier.forget(&object),
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
            nodes,
            node_by_tls_key,
            services,
            access,
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

    /// A map's pairs, in order; an empty frame ends them.
    fn section<K: Serialize, V: Serialize>(
        &mut self,
        pairs: impl Iterator<Item = (K, V)>,
    ) -> Result<(), SnapshotError> {
        let mut pairs = pairs.peekable();
        while pairs.peek().is_some() {
            let frame: Vec<(K, V)> = pairs.by_ref().take(PAIRS_IN_A_FRAME).collect();
            self.write(&frame)?;
        }
        self.write(&Vec::<()>::new())
    }
}

impl Frames<&mut dyn Read> {
    fn read<T: for<'a> Deserialize<'a>>(&mut self) -> Result<T, SnapshotError> {
        let mut length = [0; 4];
        self.out.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        if length > LONGEST_FRAME {
            return Err(SnapshotError::format("a frame is too long"));
        }
        self.buffer.resize(length, 0);
        self.out.read_exact(&mut self.buffer)?;
        postcard::from_bytes(&self.buffer).map_err(SnapshotError::format)
    }

    fn map<K, V>(&mut self) -> Result<SharedMap<K, V>, SnapshotError>
    where
        K: Clone + Ord + for<'a> Deserialize<'a>,
        V: Clone + for<'a> Deserialize<'a>,
    {
        self.map_of(Ok)
    }

    fn map_of<K, W, V>(
        &mut self,
        make: impl Fn(W) -> Result<V, SnapshotError>,
    ) -> Result<SharedMap<K, V>, SnapshotError>
    where
        K: Clone + Ord + for<'a> Deserialize<'a>,
        V: Clone,
        W: for<'a> Deserialize<'a>,
    {
        let mut map = SharedMap::new();
        let mut outcome = Ok(());
        self.each(|(key, value)| {
            if outcome.is_ok() {
                outcome = make(value).and_then(|value| match map.push(key, value) {
                    true => Ok(()),
                    false => Err(SnapshotError::format("its pairs are not in order")),
                });
            }
        })?;
        outcome.map(|()| map)
    }

    /// The pairs of a section, one after the other.
    fn each<T: for<'a> Deserialize<'a>>(&mut self, mut take: impl FnMut(T)) -> Result<(), SnapshotError> {
        loop {
            let frame: Vec<T> = self.read()?;
            if frame.is_empty() {
                return Ok(());
            }
            frame.into_iter().for_each(&mut take);
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
