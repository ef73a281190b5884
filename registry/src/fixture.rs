//! For unit tests: a founded directory in memory with its sequencer running, and statements that departments make.

use std::{sync::Arc, time::Duration};

use host::clock::{Clock, MockClock};
use proto::registry::v1::{self as wire, statement::Body};
use tokio_util::sync::CancellationToken;
use trust::{
    directory::{Object, statement},
    ids::ExchangeId,
    key::{DescribedKey, Role, Signer, SigningKey},
};

use crate::{
    authority::{Authority, DepartmentProfile, sealed},
    init::first_entries,
    ledger::{Ledger, memory::MemoryLedger},
    log_keys::LogKeys,
    sequencer::{self, Sequencer, SequencerParts, SequencerTask},
};

pub(crate) const NOW_MS: u64 = 1_795_000_000_000;

pub(crate) fn exchange() -> ExchangeId {
    "ninghe".parse().unwrap()
}

pub(crate) fn authority_key() -> SigningKey {
    SigningKey::from_seed(&[1; 32])
}

pub(crate) fn log_key() -> SigningKey {
    SigningKey::from_seed(&[2; 32])
}

/// A key of the department whose number this is.
pub(crate) fn key(number: u8) -> SigningKey {
    SigningKey::from_seed(&[100 + number; 32])
}

pub(crate) fn profile(department: &str) -> DepartmentProfile {
    DepartmentProfile {
        department: department.parse().unwrap(),
        name: wire::LocalName { zh: "民政局".to_owned(), en: String::new() },
        uscc: "118900000000010112".to_owned(),
        division: String::new(),
    }
}

/// A registry's rooms over a ledger in memory.
pub(crate) struct Rooms {
    pub(crate) ledger: MemoryLedger,
    pub(crate) clock: MockClock,
    pub(crate) sequencer: Sequencer,
    pub(crate) log_keys: Arc<LogKeys>,
    pub(crate) authority: Arc<Authority>,
    pub(crate) stop: CancellationToken,
    pub(crate) running: tokio::task::JoinHandle<Result<(), sequencer::Error>>,
}

/// A ledger that holds the first statements.
pub(crate) async fn founded() -> MemoryLedger {
    let ledger = MemoryLedger::default();
    ledger.append(0, first_entries(&authority_key(), log_key().public_key(), NOW_MS)).await.unwrap();
    ledger
}

pub(crate) fn parts(ledger: &MemoryLedger, clock: &MockClock) -> SequencerParts {
    SequencerParts {
        exchange: exchange(),
        authority_key: authority_key().public_key().clone(),
        log_keys: LogKeys::new([log_key()]),
        ledger: Arc::new(ledger.clone()),
        clock: Arc::new(clock.clone()),
        checkpoint_interval: Duration::from_secs(10),
        state_interval: Duration::from_secs(3600),
        listen_first: Duration::ZERO,
        again: CancellationToken::new(),
        store: host::readiness::Readiness::new().condition("store"),
        snapshots: None,
        replacement: None,
    }
}

pub(crate) async fn start(ledger: &MemoryLedger) -> Rooms {
    let clock = MockClock::at(NOW_MS);
    let parts = parts(ledger, &clock);
    let log_keys = Arc::clone(&parts.log_keys);
    let (sequencer, task) = Sequencer::start(parts).await.unwrap();
    run(ledger.clone(), clock, sequencer, task, log_keys)
}

fn run(
    ledger: MemoryLedger,
    clock: MockClock,
    sequencer: Sequencer,
    task: SequencerTask,
    log_keys: Arc<LogKeys>,
) -> Rooms {
    let stop = CancellationToken::new();
    let running = tokio::spawn(task.run(stop.clone()));
    let shared: Arc<dyn Clock> = Arc::new(clock.clone());
    let authority = Arc::new(Authority::new(exchange(), Some(authority_key()), sequencer.clone(), shared));
    Rooms { ledger, clock, sequencer, log_keys, authority, stop, running }
}

pub(crate) async fn rooms() -> Rooms {
    start(&founded().await).await
}

impl Rooms {
    /// Admits the department with the keys 1 (first) and 2 (recovery).
    pub(crate) async fn admit(&self, department: &str) {
        let [first, recovery] = [1, 2].map(|number| key(number).public_key().clone());
        self.authority.admit(&profile(department), first, recovery).await.unwrap();
    }
}

/// A statement of the department that adds a node key, signed by its first key.
pub(crate) fn key_added(department: &str, added: u8, stated_at_ms: u64) -> Vec<u8> {
    key_added_to(department, "1", added, stated_at_ms)
}

/// The same for another node than the first.
pub(crate) fn key_added_to(department: &str, node: &str, added: u8, stated_at_ms: u64) -> Vec<u8> {
    let added = key(added).public_key().clone();
    let object = Object::Key(*added.id());
    let described = DescribedKey { role: Role::Node, key: added, valid_from_ms: NOW_MS, valid_until_ms: None };
    let body =
        wire::KeyAdded { department: department.to_owned(), key: Some(described.to_wire()), node: node.to_owned() };
    sealed(&statement(&exchange(), &object, None, stated_at_ms, Body::KeyAdded(body)), &key(1))
}

/// The department's revocation of a key that it added, following the statement that added it.
pub(crate) fn key_revoked(department: &str, revoked: u8, added: &[u8]) -> Vec<u8> {
    use prost::Message;
    let envelope = proto::exchange::v1::Envelope::decode(added).unwrap();
    let predecessor = trust::envelope::digest(&envelope.payload_type, &envelope.payload);
    let key_id = *key(revoked).public_key().id();
    let body =
        wire::KeyRevoked { department: department.to_owned(), key_id: key_id.to_string(), reason: "lost".to_owned() };
    let statement = statement(&exchange(), &Object::Key(key_id), Some(&predecessor), NOW_MS, Body::KeyRevoked(body));
    sealed(&statement, &key(1))
}

impl Rooms {
    /// Admits another department with the keys 11 (first) and 12 (recovery).
    pub(crate) async fn admit_second(&self, department: &str) {
        let [first, recovery] = [11, 12].map(|number| key(number).public_key().clone());
        self.authority.admit(&profile(department), first, recovery).await.unwrap();
    }
}
