//! The keys that everything rests on, the authority's and the directory log's, and how one takes the place of another:
//! by a statement that old and new sign together. Whoever trusts one key of the authority, an old or a new one, follows
//! these statements to all others; and to the log's key that must have signed a checkpoint, before anything else of the
//! directory was read.
//!
//! Out of scope: every other statement, and whether what was followed is in the log (the caller has a checkpoint, or proofs).

use prost::Message;
use proto::{
    exchange::v1::Envelope,
    registry::v1::{Key, Statement, statement::Body},
};

use super::{Directory, LARGEST_STATEMENT, StatementError, model::Reign};
use crate::{
    envelope,
    ids::ExchangeId,
    key::{DescribedKey, KeyId, PublicKey},
};

/// Who must all have signed a statement that changes one of these keys.
pub(super) struct NeededSigners(Vec<(KeyId, &'static str)>);

impl NeededSigners {
    /// The authority's key changes with the signatures of the old and the new one; the log's with the authority's, the
    /// new one's, and the old one's unless that is lost.
    fn of(body: &Body, authority: &PublicKey, log: &PublicKey) -> Option<Result<Self, StatementError>> {
        let key = announced(body)?;
        let needed = |rest: Vec<(&PublicKey, &'static str)>| {
            let new = DescribedKey::from_wire(key).map_err(|error| StatementError::malformed("key", error))?;
            let signers = rest.into_iter().chain([(&new.key, "the new key")]);
            Ok(Self(signers.map(|(key, who)| (*key.id(), who)).collect()))
        };
        match body {
            Body::AuthorityKeyChanged(_) => Some(needed(vec![(authority, "the authority's key before it")])),
            Body::LogKeyChanged(body) if body.lost.trim().is_empty() => {
                Some(needed(vec![(authority, "the authority's key"), (log, "the log's key before it")]))
            }
            Body::LogKeyChanged(_) => Some(needed(vec![(authority, "the authority's key")])),
            _ => None,
        }
    }

    /// Whether all of them are among those who signed.
    pub(super) fn check(&self, signers: &[KeyId]) -> Result<(), StatementError> {
        match self.0.iter().find(|(key_id, _)| !signers.contains(key_id)) {
            None => Ok(()),
            Some((_, who)) => Err(StatementError::SignatureLacking { who }),
        }
    }
}

/// Who must have signed a statement that changes the authority's or the log's key; `None` for every other.
pub(super) fn needed_signers(directory: &Directory, body: &Body) -> Option<Result<NeededSigners, StatementError>> {
    NeededSigners::of(body, directory.current_authority_key()?, directory.log_key()?)
}

/// The key that a statement brings which must sign it itself. Looked at only where there are several signatures.
pub(super) fn announced_key(envelope: &Envelope) -> Option<PublicKey> {
    if envelope.signatures.len() < 2 {
        return None;
    }
    let statement = Statement::decode(envelope.payload.as_slice()).ok()?;
    DescribedKey::from_wire(announced(statement.body.as_ref()?)?).ok().map(|described| described.key)
}

/// Whether a statement changes one of these keys.
pub fn changes_keys(body: Option<&Body>) -> bool {
    matches!(body, Some(Body::ExchangeFounded(_) | Body::AuthorityKeyChanged(_) | Body::LogKeyChanged(_)))
}

/// The key of the authority that a founding names. Nothing of it is verified.
pub(super) fn named_founder(founding: &[u8]) -> Option<PublicKey> {
    let founding = Envelope::decode(founding).ok()?;
    let founding = Statement::decode(founding.payload.as_slice()).ok()?;
    let Some(Body::ExchangeFounded(founded)) = founding.body else { return None };
    DescribedKey::from_wire(founded.authority_key.as_ref()?).ok().map(|described| described.key)
}

fn announced(body: &Body) -> Option<&Key> {
    match body {
        Body::AuthorityKeyChanged(body) => body.authority_key.as_ref(),
        Body::LogKeyChanged(body) => body.log_key.as_ref(),
        _ => None,
    }
}

/// The keys in force at some size of the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootKeys {
    exchange: ExchangeId,
    authority: PublicKey,
    log: PublicKey,
}

impl RootKeys {
    /// Those in force where the directory stands; `None` before its founding.
    pub fn of(directory: &Directory) -> Option<Self> {
        let (authority, log) = (directory.current_authority_key()?.clone(), directory.log_key()?.clone());
        Some(Self { exchange: directory.exchange().clone(), authority, log })
    }

    /// The authority's.
    pub fn authority(&self) -> &PublicKey {
        &self.authority
    }

    /// The log's: it must have signed the checkpoint over everything followed so far.
    pub fn log(&self) -> &PublicKey {
        &self.log
    }

    /// Follows an entry that may change one of them. Entries come in the order of the log; those that change nothing may
    /// be left out. Whether it did.
    pub fn follow(&mut self, entry: &[u8]) -> Result<bool, StatementError> {
        // What is no envelope changes no key; whoever reads it as a statement says so.
        let Ok(envelope) = Envelope::decode(entry) else { return Ok(false) };
        let Some(new) = announced_key(&envelope) else { return Ok(false) };
        let acceptable = [&self.authority, &self.log, &new];
        let opened = envelope::open::<Statement>(&envelope, LARGEST_STATEMENT, |key_id| {
            acceptable.iter().find(|key| key.id() == key_id).map(|key| (*key).clone())
        })?;
        if opened.message.exchange_id != self.exchange.as_str() {
            return Err(StatementError::ExchangeWrong);
        }
        let Some(body) = &opened.message.body else { return Ok(false) };
        let Some(needed) = NeededSigners::of(body, &self.authority, &self.log) else { return Ok(false) };
        needed?.check(&opened.signers)?;
        match body {
            Body::AuthorityKeyChanged(_) => self.authority = new,
            _ => self.log = new,
        }
        Ok(true)
    }
}

/// The key of the authority that founded the exchange, as far as the trusted key vouches for it: it is that key, or
/// statements lead from it to that key, each signed by both. `None` where nothing leads there.
///
/// `entries` come in the order of the log, the founding first; those about other things are passed over.
pub fn first_authority_key<'a>(
    exchange: &ExchangeId,
    trusted: &PublicKey,
    entries: impl IntoIterator<Item = &'a [u8]>,
) -> Option<PublicKey> {
    let mut entries = entries.into_iter();
    let founding = Envelope::decode(entries.next()?).ok()?;
    let founding = Statement::decode(founding.payload.as_slice()).ok()?;
    let Some(Body::ExchangeFounded(founded)) = founding.body else { return None };
    let key = |key: Option<&Key>| DescribedKey::from_wire(key?).ok().map(|described| described.key);
    let first = key(founded.authority_key.as_ref())?;
    if first == *trusted {
        return Some(first);
    }
    // Not verified yet: it is good for nothing but to be led away from.
    let mut keys =
        RootKeys { exchange: exchange.clone(), authority: first.clone(), log: key(founded.log_key.as_ref())? };
    for entry in entries {
        // One that does not count changes nothing, and is found out when the directory is read.
        let followed = keys.follow(entry);
        if followed == Ok(true) && keys.authority == *trusted {
            return Some(first);
        }
    }
    None
}

/// What a directory knows of these keys.
impl Directory {
    /// The same, founded by an earlier key of the authority, for which the trusted one vouches
    /// ([`first_authority_key`] found it).
    #[must_use]
    pub fn founded_by(mut self, first_authority_key: PublicKey) -> Self {
        self.first_authority_key = first_authority_key;
        self
    }

    /// The same, founded by whoever the first entry names. Provisional: nothing in it may be believed before
    /// [`Directory::is_vouched_for`] says so.
    #[must_use]
    pub fn founded_in(self, founding: &[u8]) -> Self {
        match named_founder(founding) {
            Some(founder) => self.founded_by(founder),
            None => self,
        }
    }

    /// Whether the trusted key vouches for the directory: it is, or was, the authority's. Each change of that key bears
    /// the signatures of both.
    pub fn is_vouched_for(&self) -> bool {
        self.authority_reigns.iter().any(|reign| reign.key == self.authority_key)
    }

    /// The key that must have signed the founding.
    pub(crate) fn first_authority_key(&self) -> &PublicKey {
        &self.first_authority_key
    }

    /// The key that the authority signs with now; `None` before the founding.
    pub fn current_authority_key(&self) -> Option<&PublicKey> {
        self.authority_reigns.last().map(|reign| &reign.key)
    }

    /// The key that the directory's log signs with now; `None` before the founding.
    pub fn log_key(&self) -> Option<&PublicKey> {
        self.log_reigns.last().map(|reign| &reign.key)
    }

    /// The keys that the authority has signed with, the one in force last.
    pub fn authority_reigns(&self) -> &[Reign] {
        &self.authority_reigns
    }

    /// The keys that the log has signed with, the one in force last.
    pub fn log_reigns(&self) -> &[Reign] {
        &self.log_reigns
    }

    /// The key that must have signed the log's checkpoint at `size` statements.
    pub fn log_key_at(&self, size: u64) -> Option<&PublicKey> {
        self.log_reigns.iter().rev().find(|reign| reign.from_index < size).map(|reign| &reign.key)
    }
}

#[cfg(test)]
mod tests;
