//! Anchors: the checkpoints of all nodes' evidence logs, gathered in the registry's second log. The directory takes that
//! log's own checkpoint at intervals, so what stood in an evidence log by then can be shown to have stood there, and a
//! node that rewrites its history contradicts what it signed before.
//!
//! An entry of the second log is the exact text of one signed checkpoint. Out of scope: keeping the log (the registry),
//! when to anchor (the node), and what an evidence entry is (`evidence`).

use crate::{
    directory::{Directory, model::ClosedLog},
    evidence::{self, LogOf},
    ids::{DepartmentId, ExchangeId, NodeId, Party},
    key::{KeyId, Role},
    log::{
        checkpoint::{self, Checkpoint, LogKey, VerifiedCheckpoint},
        hash::Hash,
        note::{self, SignedNote},
        proof::{ProofError, verify_consistency},
    },
    refusal::{Code, Refusal},
};

/// The longest entry, in bytes: a checkpoint with its two signatures has fewer than 700.
pub const LARGEST_ANCHOR: usize = 2048;

/// The name of a registry's second log in checkpoints. Its first is number 1; one that lost entries has a successor.
pub fn origin(exchange: &ExchangeId, log: u32) -> String {
    match log {
        0 | 1 => format!("{exchange}/anchors"),
        log => format!("{exchange}/anchors/{log}"),
    }
}

/// A checkpoint of an evidence log, signed by a key of its node.
#[derive(Clone, Debug)]
pub struct Anchored {
    /// Whose log.
    pub log: LogOf,
    /// The key that signed it.
    pub key: KeyId,
    /// The checkpoint.
    pub checkpoint: VerifiedCheckpoint,
}

impl Anchored {
    /// How many entries the log had.
    pub fn size(&self) -> u64 {
        self.checkpoint.checkpoint().size()
    }

    /// The root over them.
    pub fn root(&self) -> Hash {
        self.checkpoint.checkpoint().root()
    }
}

/// Why a text is no anchor, or does not continue the one before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It is no signed checkpoint.
    #[error("it is no checkpoint: {0}")]
    Checkpoint(#[from] checkpoint::Error),
    /// The log was closed in the directory.
    #[error("the evidence log {origin} was closed")]
    Closed {
        /// The log.
        origin: String,
    },
    /// No department of the directory has such a node or key.
    #[error("it is signed by no key of {department}/{node}")]
    KeyUnknown {
        /// The department.
        department: DepartmentId,
        /// The node.
        node: NodeId,
    },
    /// The key was revoked.
    #[error("the key that signed it was revoked")]
    KeyRevoked,
    /// It is not the checkpoint of an evidence log of this exchange.
    #[error("{origin:?} is no evidence log of this exchange")]
    NoEvidenceLog {
        /// What it says.
        origin: String,
    },
    /// The log does not begin with what was anchored before.
    #[error("it does not continue the {size} entries that were anchored before: {source}")]
    Rewritten {
        /// The size that was anchored.
        size: u64,
        /// What the proof lacks.
        source: ProofError,
    },
    /// Longer than [`LARGEST_ANCHOR`].
    #[error("it has {length} bytes; {LARGEST_ANCHOR} are allowed")]
    TooLong {
        /// Its length.
        length: usize,
    },
}

impl Error {
    /// As a refusal, for the node that wants it anchored.
    pub fn refusal(&self) -> Refusal {
        let code = match self {
            Self::Checkpoint(_) | Self::NoEvidenceLog { .. } => Code::MessageMalformed,
            Self::Closed { .. } => Code::EvidenceLogClosed,
            Self::KeyUnknown { .. } => Code::KeyUnknown,
            Self::KeyRevoked => Code::KeyRevoked,
            Self::Rewritten { .. } => Code::EvidenceRewritten,
            Self::TooLong { .. } => Code::MessageTooLarge,
        };
        Refusal::new(code).at("checkpoint").because(self)
    }
}

/// Whether a revoked key's signature is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// No: for whoever takes an anchor now.
    Refused,
    /// Yes: for whoever reads what was taken before the revocation.
    Taken,
}

/// Reads an entry of the second log: whose evidence log it is a checkpoint of, and that a key of that node signed it.
///
/// # Errors
///
/// Each of [`Error`] but [`Error::Rewritten`].
pub fn read(directory: &Directory, note: &[u8], revoked: Revoked) -> Result<Anchored, Error> {
    if note.len() > LARGEST_ANCHOR {
        return Err(Error::TooLong { length: note.len() });
    }
    let note = SignedNote::parse(note).map_err(checkpoint::Error::from)?;
    let origin = Checkpoint::parse(note.text())?.origin().to_owned();
    let no_log = || Error::NoEvidenceLog { origin: origin.clone() };
    let log: LogOf = origin.parse().map_err(|_| no_log())?;
    if log.party.exchange() != directory.exchange() {
        return Err(no_log());
    }
    if revoked == Revoked::Refused && log.number != directory.evidence_log(log.party.department(), &log.node) {
        return Err(Error::Closed { origin });
    }
    let name: note::key::KeyName = origin.parse().map_err(|_| no_log())?;
    let mut was_revoked = false;
    for id in directory.node_keys(log.party.department(), &log.node) {
        let Some(known) = directory.key(id).filter(|known| known.described.role == Role::Node) else { continue };
        let Ok(key) = LogKey::new(name.clone(), known.described.key.as_bytes()) else { continue };
        let Ok(checkpoint) = checkpoint::open_note(note.clone(), &key) else { continue };
        if known.revoked.is_none() || revoked == Revoked::Taken {
            return Ok(Anchored { log, key: *id, checkpoint });
        }
        was_revoked = true;
    }
    if was_revoked {
        return Err(Error::KeyRevoked);
    }
    Err(Error::KeyUnknown { department: log.party.department().clone(), node: log.node })
}

/// That a checkpoint continues the one that was anchored before.
///
/// # Errors
///
/// [`Error::Rewritten`].
pub fn check_continues(before: (u64, &Hash), now: &Anchored, proof: &[Hash]) -> Result<(), Error> {
    let (size, root) = before;
    verify_consistency(size, now.size(), root, &now.root(), proof).map_err(|source| Error::Rewritten { size, source })
}

/// The checkpoints that an evidence log must still show, of those that were anchored: all of them, and of a log that was
/// closed those up to what it kept, with what it kept as the last. The others lie among the entries that its owner declared
/// lost: nobody can be asked for them, and whoever reads the directory reads why.
pub fn to_be_shown(anchored: &[(u64, Hash)], closed: Option<&ClosedLog>) -> Vec<(u64, Hash)> {
    let Some(closed) = closed else { return anchored.to_vec() };
    let mut shown: Vec<(u64, Hash)> = anchored.iter().filter(|(size, _)| *size <= closed.size).copied().collect();
    if shown.last() != Some(&(closed.size, closed.root)) {
        shown.push((closed.size, closed.root));
    }
    shown
}

/// The second log's checkpoint in an `anchors_taken` statement, verified, and the number of the log.
///
/// # Errors
///
/// What is wrong with it.
pub fn open_taken(
    exchange: &ExchangeId,
    log_keys: impl IntoIterator<Item = [u8; 32]>,
    note: &str,
) -> Result<(u32, VerifiedCheckpoint), checkpoint::Error> {
    let note = SignedNote::parse(note.as_bytes())?;
    let origin = Checkpoint::parse(note.text())?.origin().to_owned();
    let number = match origin.strip_prefix(&self::origin(exchange, 1)) {
        Some("") => Some(1),
        Some(rest) => evidence::successor_number(rest),
        None => None,
    };
    // Not the name of a second log: malformed, whoever signed it.
    let (Some(number), Ok(name)) = (number, origin.parse::<note::key::KeyName>()) else {
        return Err(checkpoint::Error::MalformedLine);
    };
    let mut failed = checkpoint::Error::MissingLine;
    for key in log_keys {
        let Ok(key) = LogKey::new(name.clone(), &key) else { continue };
        match checkpoint::open_note(note.clone(), &key) {
            Ok(opened) => return Ok((number, opened)),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// What the directory knows of an evidence log's end; `None` for one that is kept, or that nobody knows.
pub fn closed<'a>(directory: &'a Directory, log: &LogOf) -> Option<&'a ClosedLog> {
    let position = usize::try_from(log.number).ok()?.checked_sub(1)?;
    directory.closed_logs(log.party.department(), &log.node).get(position)
}

/// The party of an evidence log.
pub fn party(exchange: &ExchangeId, department: &DepartmentId) -> Party {
    Party::new(exchange.clone(), department.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{directory::model::Place, ids::Digest};

    #[test]
    fn of_a_closed_log_what_it_kept_is_shown_and_what_lies_beyond_is_not_asked_for() {
        let root = |byte: u8| Hash::from_bytes([byte; 32]);
        let anchored = [(2, root(2)), (5, root(5)), (9, root(9))];
        assert_eq!(to_be_shown(&anchored, None), anchored);
        let closed = |size, root| ClosedLog {
            size,
            root,
            highest_seen: 9,
            reason: "disk lost".to_owned(),
            place: Place { index: 7, digest: Digest::new([0; 32]) },
            stated_at_ms: 1,
        };
        assert_eq!(to_be_shown(&anchored, Some(&closed(6, root(6)))), [(2, root(2)), (5, root(5)), (6, root(6))]);
        assert_eq!(to_be_shown(&anchored, Some(&closed(5, root(5)))), [(2, root(2)), (5, root(5))]);
        // Closed with another root than was anchored at that size: both have to be shown, and cannot.
        let twice = to_be_shown(&anchored, Some(&closed(5, root(6))));
        assert_eq!(twice, [(2, root(2)), (5, root(5)), (5, root(6))]);
        assert!(verify_consistency(5, 5, &root(5), &root(6), &[]).is_err());
    }
}
