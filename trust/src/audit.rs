//! The full audit of a directory's log, read from its C2SP tiles by whoever has the tiles and one public key: every tile
//! is compared with what the entries lead to, every statement is checked by the rules, and the checkpoint's signatures
//! and root must fit them all. Believes nobody but the key: with an **authority's key**, an earlier or the present one,
//! everything is shown; with the **log's key** alone (as other C2SP tools have it) the authority's key is taken from the
//! log and not compared.
//!
//! The audit says which tile it wants next and takes its bytes; where they come from is the caller's. Out of scope:
//! whether another reader was shown another log, which only comparing roots can tell ([`Audit::compare_with`]).

mod report;

use std::collections::{BTreeMap, VecDeque};

use prost::Message;
use proto::{
    exchange::v1::Envelope,
    registry::v1::{Statement, statement::Body},
};

pub use self::report::Report;
use crate::{
    directory::{self, Directory, StatementError},
    envelope::Payload,
    ids::{ExchangeId, IdError},
    key::{DescribedKey, PublicKey},
    log::{
        bundle::{self, EntryBundle},
        checkpoint::{self, Checkpoint, LogKey, VerifiedCheckpoint},
        frontier::{Frontier, FullTile},
        hash::{HASH_LENGTH, Hash, leaf_hash},
        note::{self, SignedNote, key::NoteKey},
        tile::{self, MAX_LEVEL, TILE_WIDTH, TileCoordinate, TilePath, decode_tile},
    },
    reading,
};

/// The longest checkpoint in bytes that is read.
pub const LONGEST_CHECKPOINT: usize = note::MAX_NOTE_LENGTH;

/// The most bytes that what is served under a path may have.
pub fn longest(path: &TilePath) -> usize {
    match path {
        TilePath::Entries(coordinate) => usize::from(coordinate.width()) * (2 + bundle::MAX_ENTRY_LENGTH),
        TilePath::Hashes(coordinate) => usize::from(coordinate.width()) * HASH_LENGTH,
    }
}

/// What the auditor believes.
#[allow(clippy::large_enum_variant, reason = "there is one of it, and it is read from the command line")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trusted {
    /// The authority's public key.
    Authority(PublicKey),
    /// The directory log's verifier key, in its plain form.
    Log(NoteKey),
}

/// What is wrong with a log. The first fault ends an audit.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A bundle of entries is malformed.
    #[error("{path}: {source}")]
    Bundle {
        /// The bundle.
        path: TilePath,
        /// Why.
        source: bundle::Error,
    },
    /// The checkpoint is malformed, or not one that the log signed.
    #[error("the checkpoint: {0}")]
    Checkpoint(#[from] checkpoint::Error),
    /// The root that another reader saw is another.
    #[error(
        "this log has another root than {with} at {size} statements: {here} here, {there} there; two stories were told; keep both and call the authority"
    )]
    Diverges {
        /// Who saw the other root.
        with: String,
        /// The size.
        size: u64,
        /// The root here.
        here: Hash,
        /// The root there.
        there: Hash,
    },
    /// The log holds nothing.
    #[error("the log is empty: there is no founding to begin with")]
    Empty,
    /// The first entry is no founding.
    #[error("the log does not begin with a founding")]
    NotFounded,
    /// The log's key is another than the one that is believed.
    #[error("the directory names another log key than the one that was given")]
    OtherLogKey,
    /// The log's key cannot be used.
    #[error("the log's key: {0}")]
    LogKey(#[from] note::key::Error),
    /// The checkpoint is no signed note.
    #[error("the checkpoint: {0}")]
    Note(#[from] note::Error),
    /// The log is not a directory's.
    #[error("the checkpoint is of {origin:?}, which is not the directory of an exchange")]
    Origin {
        /// The origin.
        origin: String,
    },
    /// The authority that is believed has never signed here.
    #[error("the log is not this authority's: the key that was given is none that its authority ever signed with")]
    OtherAuthority,
    /// The root of the checkpoint is not that of the entries.
    #[error("the checkpoint's root at {size} statements is {told}, and the statements lead to {here}")]
    RootWrong {
        /// The size.
        size: u64,
        /// The checkpoint's root.
        told: Hash,
        /// The root recomputed.
        here: Hash,
    },
    /// A statement does not count.
    #[error("statement {index}: {source}")]
    Statement {
        /// Its index.
        index: u64,
        /// Why.
        source: StatementError,
    },
    /// A tile is not what the entries lead to.
    #[error("{path}: hash {position} is not the one that the entries lead to")]
    TileWrong {
        /// The tile.
        path: TilePath,
        /// The first hash that differs.
        position: usize,
    },
    /// A tile's bytes are malformed.
    #[error("{path}: {source}")]
    Tile {
        /// The tile.
        path: TilePath,
        /// Why.
        source: tile::Error,
    },
}

/// A root that somebody else saw.
#[derive(Clone, Debug)]
struct Comparison {
    with: String,
    size: u64,
    root: Hash,
}

/// An audit under way.
pub struct Audit {
    trusted: Trusted,
    note: SignedNote,
    checkpoint: Checkpoint,
    exchange: ExchangeId,
    /// Once the founding is known.
    directory: Option<Directory>,
    frontier: Frontier,
    wanted: VecDeque<Wanted>,
    comparisons: Vec<Comparison>,
    compared: Vec<String>,
    kinds: BTreeMap<&'static str, u64>,
    tiles: u64,
}

/// What is wanted next.
enum Wanted {
    Entries(TileCoordinate),
    /// A tile, with the hashes that it must have.
    Hashes(TileCoordinate, Vec<Hash>),
}

impl Wanted {
    fn path(&self) -> TilePath {
        match self {
            Self::Entries(coordinate) => TilePath::Entries(*coordinate),
            Self::Hashes(coordinate, _) => TilePath::Hashes(*coordinate),
        }
    }
}

impl Audit {
    /// Begins with the log's latest checkpoint.
    pub fn begin(trusted: Trusted, checkpoint: &str) -> Result<Self, Error> {
        let note = SignedNote::parse(checkpoint.as_bytes())?;
        let checkpoint = Checkpoint::parse(note.text())?;
        let exchange = exchange_of(checkpoint.origin())?;
        if let Trusted::Log(key) = &trusted {
            checkpoint::open_note(note.clone(), &LogKey::new(key.name().clone(), key.public_key())?)?;
        }
        if checkpoint.size() == 0 {
            return Err(Error::Empty);
        }
        let mut audit = Self {
            trusted,
            note,
            checkpoint,
            exchange,
            directory: None,
            frontier: Frontier::new(),
            wanted: VecDeque::new(),
            comparisons: Vec::new(),
            compared: Vec::new(),
            kinds: BTreeMap::new(),
            tiles: 0,
        };
        audit.want_entries();
        Ok(audit)
    }

    /// Compares the log's root at a size with one that somebody saw. Beyond the end of the log nothing is compared.
    pub fn compare_with(&mut self, with: impl Into<String>, size: u64, root: Hash) {
        if size > 0 {
            self.comparisons.push(Comparison { with: with.into(), size, root });
        }
    }

    /// The exchange whose directory it is, as the log says.
    pub fn exchange(&self) -> &ExchangeId {
        &self.exchange
    }

    /// The number of statements that the checkpoint covers.
    pub fn size(&self) -> u64 {
        self.checkpoint.size()
    }

    /// How many statements were verified.
    pub fn verified(&self) -> u64 {
        self.frontier.size()
    }

    /// What is to be given next; `None` when everything was.
    pub fn wanted(&self) -> Option<TilePath> {
        self.wanted.front().map(Wanted::path)
    }

    /// Takes the bytes of what was wanted.
    pub fn give(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let Some(wanted) = self.wanted.pop_front() else { return Ok(()) };
        self.tiles += 1;
        let path = wanted.path();
        match wanted {
            Wanted::Entries(coordinate) => {
                let bundle = EntryBundle::decode(bytes, coordinate.width());
                let bundle = bundle.map_err(|source| Error::Bundle { path, source })?;
                self.take_entries(coordinate, bundle.entries())
            }
            Wanted::Hashes(coordinate, expected) => {
                let told = decode_tile(bytes, coordinate.width()).map_err(|source| Error::Tile { path, source })?;
                match expected.iter().zip(&told).position(|(expected, told)| expected != told) {
                    None => Ok(()),
                    Some(position) => Err(Error::TileWrong { path, position }),
                }
            }
        }
    }

    fn take_entries(&mut self, coordinate: TileCoordinate, entries: &[Vec<u8>]) -> Result<(), Error> {
        let leaves: Vec<Hash> = entries.iter().map(|entry| leaf_hash(entry)).collect();
        self.wanted.push_back(Wanted::Hashes(coordinate, leaves.clone()));
        for (entry, leaf) in entries.iter().zip(&leaves) {
            let finished = self.frontier.append(*leaf);
            // That of level 0 is wanted already.
            for FullTile { coordinate, hashes } in finished.into_iter().skip(1) {
                self.wanted.push_back(Wanted::Hashes(coordinate, hashes));
            }
            self.take_statement(entry)?;
            self.compare()?;
        }
        if self.frontier.size() < self.size() {
            self.want_entries();
        } else {
            self.want_right_edge();
        }
        Ok(())
    }

    fn take_statement(&mut self, entry: &[u8]) -> Result<(), Error> {
        let index = self.frontier.size() - 1;
        if self.directory.is_none() {
            // The authority's key may have changed since. Each change is signed by the old key and the new one, so that it
            // is enough to find the trusted key among them in the end: nobody else can lead to it or from it.
            let key = founders_key(entry).ok_or(Error::NotFounded)?;
            self.directory = Some(Directory::new(self.exchange.clone(), key));
        }
        let Some(directory) = &mut self.directory else { return Err(Error::NotFounded) };
        let checked = directory.check(entry).map_err(|source| Error::Statement { index, source })?;
        let kind = checked.statement().body.as_ref().map_or("unknown", reading::kind);
        *self.kinds.entry(kind).or_default() += 1;
        directory.fold(checked, entry);
        if index == 0 {
            // Now, and not after a million statements: whose checkpoint it is. A key that came later shows at the end.
            self.check_first_log_key()?;
        }
        Ok(())
    }

    /// A foreign checkpoint shows with the founding, where the log's key has not changed since.
    fn check_first_log_key(&self) -> Result<(), Error> {
        let key = self.log_key()?;
        let signed_by_it = self.note.signatures().iter().any(|signature| signature.key_id() == key.plain().id());
        if signed_by_it { self.open(&key).map(drop) } else { Ok(()) }
    }

    fn compare(&mut self) -> Result<(), Error> {
        let size = self.frontier.size();
        for Comparison { with, size: at, root } in &self.comparisons {
            if *at != size {
                continue;
            }
            let here = self.frontier.root();
            if here != *root {
                return Err(Error::Diverges { with: with.clone(), size, here, there: *root });
            }
            self.compared.push(format!("the same root as {with} at {size} statements"));
        }
        Ok(())
    }

    fn want_entries(&mut self) {
        let next = self.frontier.size() / u64::from(TILE_WIDTH);
        self.wanted.extend(TileCoordinate::in_tree(0, next, self.size()).map(Wanted::Entries));
    }

    /// The unfinished tiles above level 0, which has come with its entries.
    fn want_right_edge(&mut self) {
        for (level, hashes) in (0_u8..=MAX_LEVEL).zip(self.frontier.levels()).skip(1) {
            let index = (self.size() >> (8 * u32::from(level))) / u64::from(TILE_WIDTH);
            let coordinate = TileCoordinate::in_tree(level, index, self.size()).filter(|_| !hashes.is_empty());
            self.wanted.extend(coordinate.map(|coordinate| Wanted::Hashes(coordinate, hashes.to_vec())));
        }
    }

    /// What the audit shows, once nothing is wanted any more.
    pub fn finish(self) -> Result<(Report, Directory), Error> {
        let size = self.size();
        let (told, here) = (self.checkpoint.root(), self.frontier.root());
        if self.frontier.size() != size || !self.wanted.is_empty() || told != here {
            return Err(Error::RootWrong { size, told, here });
        }
        let log_key = self.log_key()?;
        if let Trusted::Log(key) = &self.trusted
            && (key.name(), key.public_key()) != (log_key.origin(), log_key.plain().public_key())
        {
            return Err(Error::OtherLogKey);
        }
        let verified = self.open(&log_key)?;
        let Self { directory, kinds, tiles, compared, trusted, .. } = self;
        let directory = directory.ok_or(Error::NotFounded)?;
        if let Trusted::Authority(key) = &trusted
            && !directory.authority_reigns().iter().any(|reign| reign.key == *key)
        {
            return Err(Error::OtherAuthority);
        }
        let report = Report::of(&directory, &verified, &log_key, kinds, tiles, compared, &trusted);
        Ok((report, directory))
    }

    fn open(&self, log_key: &LogKey) -> Result<VerifiedCheckpoint, Error> {
        Ok(checkpoint::open_note(self.note.clone(), log_key)?)
    }

    fn log_key(&self) -> Result<LogKey, Error> {
        let key = self.directory.as_ref().and_then(Directory::log_key).ok_or(Error::NotFounded)?;
        Ok(LogKey::new(directory::origin(&self.exchange).parse()?, key.as_bytes())?)
    }
}

fn exchange_of(origin: &str) -> Result<ExchangeId, Error> {
    let wrong = || Error::Origin { origin: origin.to_owned() };
    let exchange = origin.strip_suffix("/directory").ok_or_else(wrong)?;
    exchange.parse().map_err(|_: IdError| wrong())
}

/// The authority's key as the founding names it.
fn founders_key(entry: &[u8]) -> Option<PublicKey> {
    let envelope = Envelope::decode(entry).ok().filter(|envelope| envelope.payload_type == Statement::TYPE)?;
    let statement = Statement::decode(envelope.payload.as_slice()).ok()?;
    let Some(Body::ExchangeFounded(founded)) = statement.body else { return None };
    DescribedKey::from_wire(&founded.authority_key?).ok().map(|described| described.key)
}

#[cfg(test)]
mod tests;
