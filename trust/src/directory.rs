//! The directory: a log of signed statements, folded into what a reader needs. The registry and every node use this same
//! code. A reader believes no one but the authority's key it was given: each statement counts by its own signature, by
//! the rules in `rules`, and by its place in the log.
//!
//! Two ways to read: **whole**, statement after statement from the first, as nodes do; or an **excerpt**, some statements
//! in order with proofs of their places, as whoever checks an evidence bundle does.

pub mod chain;
mod committed;
mod evidence;
mod fold;
pub mod kept;
mod look_up;
pub mod map;
pub mod model;
pub mod object;
mod packed;
mod rules;
mod signers;
pub mod snapshot;
pub mod state;
pub mod succession;

use prost::Message;
use proto::{
    exchange::v1::Envelope,
    registry::v1::{self as wire, Statement, statement::Body},
};

pub use self::committed::Committed;
pub use self::object::{AccessKey, Object};
use self::state::StateMap;
use self::{
    kept::Kept,
    map::SharedMap,
    model::{Access, Department, Founding, ItemVersion, KnownKey, Node, Profile, Reign, Revocation},
    packed::Held,
};
use crate::{
    envelope::{self, EnvelopeError},
    ids::{DepartmentId, Digest, ExchangeId, NodeId, ServiceId},
    key::{KeyId, PublicKey},
    log::{
        frontier::Frontier,
        hash::{Hash, leaf_hash},
    },
    refusal::{Code, Refusal},
    service::Service,
};

/// The largest statement in bytes. With its envelope it stays below the 65,535 of a C2SP log entry.
pub const LARGEST_STATEMENT: usize = 60_000;

/// The largest entry in bytes (C2SP tlog-tiles: a 16-bit length).
pub const LARGEST_ENTRY: usize = 65_535;

/// The wire version that messages bear, but for those that older nodes would misread. Two neighbouring versions work together.
pub const WIRE_VERSION: u32 = 1;

/// The newest wire version that this code speaks: that of a question about several people (`also_about`). Who does not know
/// that field would pass it over, and answer about one of them.
pub const NEWEST_WIRE_VERSION: u32 = 2;

/// The oldest wire version that this code speaks.
pub const OLDEST_WIRE_VERSION: u32 = 1;

/// The name of the directory log in checkpoints.
pub fn origin(exchange: &ExchangeId) -> String {
    format!("{exchange}/directory")
}

/// A statement about an object, before it is signed. It follows `predecessor`, the last one about the same object.
pub fn statement(
    exchange: &ExchangeId,
    object: &Object,
    predecessor: Option<&Digest>,
    stated_at_ms: u64,
    body: Body,
) -> Statement {
    Statement {
        wire_version: WIRE_VERSION,
        exchange_id: exchange.to_string(),
        object: object.to_string(),
        predecessor: predecessor.map(|digest| digest.as_bytes().to_vec()).unwrap_or_default(),
        stated_at_ms,
        ignorable: false,
        decision: None,
        body: Some(body),
    }
}

/// Why a statement does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// The envelope does not open.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// It belongs to another exchange.
    #[error("the statement belongs to another exchange")]
    ExchangeWrong,
    /// Its first statement is not the founding, or the founding comes again.
    #[error("a directory begins with its founding, and has only one")]
    Founding,
    /// The key had been revoked, or its time is over or not come.
    #[error("the key that signed it does not count: {reason}")]
    KeyNotValid {
        /// Why.
        reason: &'static str,
    },
    /// A field cannot be read.
    #[error("{field}: {reason}")]
    Malformed {
        /// The field.
        field: String,
        /// Why.
        reason: String,
    },
    /// Signed by a key that may not make it.
    #[error("the key that signed it may not make this statement")]
    NotEntitled,
    /// The entry's bytes are no envelope.
    #[error("the entry is no envelope, or is too large")]
    NotAnEnvelope,
    /// It does not name the statement before it about the same object.
    #[error("it does not follow the last statement about {object}")]
    PredecessorWrong {
        /// The object.
        object: String,
    },
    /// It breaks a rule of the directory.
    #[error("{field}: {reason}")]
    Rule {
        /// The field.
        field: String,
        /// Why.
        reason: String,
    },
    /// Not signed by everybody who must.
    #[error("it lacks the signature of {who}")]
    SignatureLacking {
        /// Whose.
        who: &'static str,
    },
    /// Of a kind that this version does not know and may not pass over.
    #[error("a statement of a kind that this version does not know (wire version {wire_version}); update this program")]
    UnknownKind {
        /// The wire version that the statement speaks.
        wire_version: u32,
    },
}

impl StatementError {
    pub(crate) fn malformed(field: &str, reason: impl ToString) -> Self {
        Self::Malformed { field: field.to_owned(), reason: reason.to_string() }
    }

    pub(crate) fn rule(field: &str, reason: impl ToString) -> Self {
        Self::Rule { field: field.to_owned(), reason: reason.to_string() }
    }

    /// As a refusal, for whoever submitted it.
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::Envelope(EnvelopeError::KeyUnknown) | Self::NotEntitled => Refusal::new(Code::StatementNotEntitled),
            Self::Envelope(EnvelopeError::SignatureWrong) => Refusal::new(Code::SignatureWrong),
            Self::Envelope(EnvelopeError::TooLarge { .. }) => Refusal::new(Code::MessageTooLarge).because(self),
            Self::Envelope(EnvelopeError::WrongType { .. }) => Refusal::new(Code::PayloadTypeWrong).because(self),
            Self::Envelope(_) | Self::NotAnEnvelope => Refusal::new(Code::MessageMalformed).because(self),
            Self::ExchangeWrong => Refusal::new(Code::ExchangeWrong).at("exchange_id"),
            Self::Founding => Refusal::new(Code::StatementRefused).at("object").because(self),
            Self::KeyNotValid { reason } => Refusal::new(Code::StatementNotEntitled).because(reason),
            Self::Malformed { field, reason } => Refusal::new(Code::MessageMalformed).at(field).because(reason),
            Self::PredecessorWrong { .. } => Refusal::new(Code::StatementOutdated).at("predecessor").because(self),
            Self::Rule { field, reason } => Refusal::new(Code::StatementRefused).at(field).because(reason),
            Self::SignatureLacking { .. } => Refusal::new(Code::StatementNotEntitled).because(self),
            Self::UnknownKind { .. } => Refusal::new(Code::WireVersionUnsupported).because(self),
        }
    }
}

/// A statement that was checked against the directory as it stands, and may be folded into it next.
#[derive(Clone, Debug)]
pub struct Checked {
    digest: Digest,
    statement: Statement,
    /// Who signed it: the keys known here.
    signers: Vec<KeyId>,
    /// What it is about; `None` for a statement of an unknown kind that is passed over.
    known: Option<Object>,
}

impl Checked {
    /// The statement's identity.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The statement.
    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    /// The keys, of those known here, that signed it.
    pub fn signers(&self) -> &[KeyId] {
        &self.signers
    }

    /// What it is about; `None` where it is of an unknown kind that is passed over.
    pub fn object(&self) -> Option<&Object> {
        self.known.as_ref()
    }
}

/// Whether every statement is there, or only some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    Excerpt,
    Whole,
}

/// The directory as a reader sees it. A clone costs next to nothing, however large it is ([`map::SharedMap`]).
#[derive(Clone, Debug)]
pub struct Directory {
    exchange: ExchangeId,
    authority_key: PublicKey,
    /// The key that must have signed the founding: the one that is trusted, or one that it vouches for (`chain`).
    first_authority_key: PublicKey,
    reading: Reading,
    frontier: Frontier,
    founding: Option<Founding>,
    profile: Profile,
    stated_profile: Kept<wire::Profile>,
    /// The authority's keys and the log's, the one in force last.
    authority_reigns: Vec<Reign>,
    log_reigns: Vec<Reign>,
    registry: Option<Kept<wire::RegistryAnnounced>>,
    departments: SharedMap<DepartmentId, Department>,
    keys: SharedMap<KeyId, KnownKey>,
    node_keys: SharedMap<(DepartmentId, NodeId), Vec<KeyId>>,
    /// A department's own keys, but for those that its admission names.
    added_keys: SharedMap<DepartmentId, Vec<KeyId>>,
    nodes: SharedMap<(DepartmentId, NodeId), Node>,
    node_by_tls_key: SharedMap<[u8; 32], (DepartmentId, NodeId)>,
    services: SharedMap<ServiceId, Service>,
    /// Those that tell whether a name belongs to a number: every case may need one.
    telling_names: SharedMap<ServiceId, ()>,
    access: SharedMap<AccessKey, Access>,
    /// The same names by who applied: each department looks at what it holds.
    held: SharedMap<Held, ()>,
    /// All versions of each item, the newest last: an old case shows the one it was filed under.
    items: SharedMap<(DepartmentId, String), Vec<ItemVersion>>,
    said: StateMap,
    committed: Option<Committed>,
    successions: succession::Successions,
    evidence: evidence::KnownEvidence,
}

impl Directory {
    /// An empty directory, to be read whole. The authority's key is the only thing that is believed.
    pub fn new(exchange: ExchangeId, authority_key: PublicKey) -> Self {
        Self::empty(exchange, authority_key, Reading::Whole)
    }

    /// An empty directory, to be read from an excerpt.
    pub fn excerpt(exchange: ExchangeId, authority_key: PublicKey) -> Self {
        Self::empty(exchange, authority_key, Reading::Excerpt)
    }

    fn empty(exchange: ExchangeId, authority_key: PublicKey, reading: Reading) -> Self {
        Self {
            exchange,
            first_authority_key: authority_key.clone(),
            authority_key,
            reading,
            frontier: Frontier::new(),
            founding: None,
            profile: Profile::from_wire(&Profile::usual()),
            stated_profile: Profile::usual().into(),
            authority_reigns: Vec::new(),
            log_reigns: Vec::new(),
            registry: None,
            departments: SharedMap::new(),
            keys: SharedMap::new(),
            node_keys: SharedMap::new(),
            added_keys: SharedMap::new(),
            nodes: SharedMap::new(),
            node_by_tls_key: SharedMap::new(),
            services: SharedMap::new(),
            telling_names: SharedMap::new(),
            access: SharedMap::new(),
            held: SharedMap::new(),
            items: SharedMap::new(),
            said: StateMap::new(),
            committed: None,
            successions: succession::Successions::default(),
            evidence: evidence::KnownEvidence::default(),
        }
    }

    /// Checks an entry against the directory as it stands. Changes nothing.
    pub fn check(&self, entry: &[u8]) -> Result<Checked, StatementError> {
        if entry.len() > LARGEST_ENTRY {
            return Err(StatementError::NotAnEnvelope);
        }
        let envelope = Envelope::decode(entry).map_err(|_| StatementError::NotAnEnvelope)?;
        self.check_envelope(&envelope)
    }

    /// Checks an envelope against the directory as it stands. Changes nothing.
    pub fn check_envelope(&self, envelope: &Envelope) -> Result<Checked, StatementError> {
        let new_key = chain::announced_key(envelope);
        let opened = envelope::open::<Statement>(envelope, LARGEST_STATEMENT, |key_id| {
            self.any_key(key_id).or_else(|| new_key.clone().filter(|key| key.id() == key_id))
        })?;
        let statement = opened.message;
        if statement.exchange_id != self.exchange.as_str() {
            return Err(StatementError::ExchangeWrong);
        }
        let Some(body) = &statement.body else {
            // A oneof of a later version: parsed, but unknown here. It is part of the state all the same, or readers of
            // different versions would come to different roots.
            if statement.ignorable && self.founding.is_some() {
                self.check_predecessor(&statement.object, &statement)?;
                return Ok(Checked { digest: opened.digest, statement, signers: opened.signers, known: None });
            }
            return Err(StatementError::UnknownKind { wire_version: statement.wire_version });
        };
        if matches!(body, Body::ExchangeFounded(_)) != self.founding.is_none() {
            return Err(StatementError::Founding);
        }
        let object = Object::of(&statement, body).map_err(|error| StatementError::malformed("object", error))?;
        if object.to_string() != statement.object {
            return Err(StatementError::rule("object", format!("must be {object:?}")));
        }
        self.check_predecessor(&statement.object, &statement)?;
        self.check_signers(&opened.signers, body, &object, statement.stated_at_ms)?;
        rules::check_body(self, &statement, body, &object)?;
        rules::check_not_handed_over(self, body, &object, statement.stated_at_ms)?;
        rules::check_moment(&statement, body)?;
        Ok(Checked { digest: opened.digest, statement, signers: opened.signers, known: Some(object) })
    }

    /// Checks a statement that holds by [`Directory::check`] once more, as whoever takes it into the log does. Whoever reads the
    /// log does not: what was taken before a rule came stays readable.
    pub fn check_new(&self, checked: &Checked) -> Result<(), StatementError> {
        match &checked.statement.body {
            None => Ok(()),
            Some(body) => rules::check_new(self, &checked.statement, body),
        }
    }

    /// Checks a statement that nobody has signed yet, as far as that goes: its object and its body. What it follows is
    /// not looked at, because others may wait before it.
    pub fn check_draft(&self, statement: &Statement) -> Result<Object, StatementError> {
        if statement.exchange_id != self.exchange.as_str() {
            return Err(StatementError::ExchangeWrong);
        }
        let unknown = StatementError::UnknownKind { wire_version: statement.wire_version };
        let body = statement.body.as_ref().ok_or(unknown)?;
        let object = Object::of(statement, body).map_err(|error| StatementError::malformed("object", error))?;
        if object.to_string() != statement.object {
            return Err(StatementError::rule("object", format!("must be {object:?}")));
        }
        rules::entitled(self, body, &object)?;
        rules::check_body(self, statement, body, &object)?;
        rules::check_not_handed_over(self, body, &object, statement.stated_at_ms)?;
        rules::check_moment(statement, body)?;
        rules::check_new(self, statement, body)?;
        Ok(object)
    }

    /// Folds a checked statement in, as the next entry. `entry` must be the bytes that were checked.
    pub fn fold(&mut self, checked: Checked, entry: &[u8]) {
        self.fold_leaf(checked, leaf_hash(entry));
    }

    /// The same for whoever has hashed the entry already.
    pub fn fold_leaf(&mut self, checked: Checked, leaf: Hash) {
        let index = self.frontier.size();
        self.frontier.append(leaf);
        self.fold_at(checked, index);
    }

    /// Checks an entry and folds it in.
    pub fn apply(&mut self, entry: &[u8]) -> Result<(), StatementError> {
        let checked = self.check(entry)?;
        self.fold(checked, entry);
        Ok(())
    }

    /// Checks one entry of an excerpt, whose place the caller has proved, and folds it in.
    pub fn apply_excerpt(&mut self, index: u64, entry: &[u8]) -> Result<(), StatementError> {
        let checked = self.check(entry)?;
        self.fold_at(checked, index);
        Ok(())
    }

    /// Applies a revocation that came directly, before the directory brings it. It counts on its own signature.
    pub fn apply_revocation(&mut self, envelope: &[u8]) -> Result<bool, StatementError> {
        let checked = self.check(envelope)?;
        let stated_at_ms = checked.statement.stated_at_ms;
        let (Some(Object::Key(key_id)), Some(Body::KeyRevoked(body))) = (checked.known, checked.statement.body) else {
            return Err(StatementError::rule("body", "only a revocation is taken directly"));
        };
        if self.keys.get(&key_id).is_none_or(|key| key.revoked.is_some()) {
            return Ok(false);
        }
        let revoked = Revocation { stated_at_ms, reason: body.reason, index: None };
        self.keys.change(&key_id, |key| key.revoked = Some(revoked));
        Ok(true)
    }

    fn check_predecessor(&self, object: &str, statement: &Statement) -> Result<(), StatementError> {
        let last = self.last_about(object);
        let expected = match (&last, self.reading) {
            (Some(last), Reading::Whole) => &last.digest.as_bytes()[..],
            (None, Reading::Whole) => &[],
            // An excerpt may leave statements out; that none matters is shown by a state proof.
            (_, Reading::Excerpt) => return Ok(()),
        };
        if statement.predecessor.as_slice() != expected {
            return Err(StatementError::PredecessorWrong { object: object.to_owned() });
        }
        Ok(())
    }

    /// Lets go of what was read, where that is much: it is read again when it is asked for.
    pub fn shed(&mut self) {
        self.departments.shed();
        self.keys.shed();
        self.node_keys.shed();
        self.added_keys.shed();
        self.nodes.shed();
        self.node_by_tls_key.shed();
        self.services.shed();
        self.access.shed();
        self.items.shed();
    }

    fn any_key(&self, key_id: &KeyId) -> Option<PublicKey> {
        if self.founding.is_none() {
            let first = &self.first_authority_key;
            return (key_id == first.id()).then(|| first.clone());
        }
        self.keys.get(key_id).map(|key| key.described.key.clone())
    }
}

#[cfg(test)]
mod tests;
