//! Everything a running node is made of, by which edges and operators' commands reach it, and where it listens. Out of scope:
//! building it (`app`).

use std::{net::SocketAddr, sync::Arc};

use host::{clock::Clock, edge::Connections, random::Random, readiness::Readiness};
use serde::Serialize;

use crate::{
    anchors::Anchorer,
    answer::Answerer,
    ask::Asker,
    budget::Book,
    bulk::Bulk,
    case::Cases,
    clerk::Clerks,
    compare::Comparer,
    config::Config,
    correction,
    custody::Custody,
    duty::Duties,
    events::EventBook,
    export::Exporter,
    history::Historian,
    journal::{Journal, SledJournal},
    keys::{Keyring, rotation::KeyCare},
    logs::Logs,
    office_keys::OfficeKeys,
    outbox::Outbox,
    peers::Peers,
    pending::PendingDecisions,
    publish::Publisher,
    records::{Records, aliases::Aliases},
    relay::waiting::Relays,
    shared::Shared,
    sources::Sources,
    subscriptions::GivenBook,
    view::{RegistryLink, View},
    webhooks::Webhooks,
};

/// Everything a running node is made of; edges and operators' commands reach it through here.
#[derive(Clone)]
pub struct Parts {
    /// The configuration.
    pub config: Arc<Config>,
    /// The keys.
    pub keys: Arc<Keyring>,
    /// Changes them.
    pub care: Arc<KeyCare>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn Random>,
    /// The directory.
    pub view: Arc<View>,
    /// The registry.
    pub link: Arc<RegistryLink>,
    /// The evidence log that is kept, with what only the embedded store can do.
    pub evidence: Arc<SledJournal>,
    /// All evidence logs of the node.
    pub logs: Arc<Logs>,
    /// The evidence.
    pub journal: Arc<dyn Journal>,
    /// The guess budget.
    pub budget: Book,
    /// What looks wrong.
    pub events: EventBook,
    /// Whether the evidence log may go on.
    pub historian: Arc<Historian>,
    /// The records, with their import.
    pub records: Arc<Records>,
    /// Where the records of each service are.
    pub sources: Arc<Sources>,
    /// The numbers that subjects had before.
    pub aliases: Arc<Aliases>,
    /// Connections to other nodes.
    pub peers: Arc<Peers>,
    /// Compares directories with others'.
    pub comparer: Arc<Comparer>,
    /// Makes statements.
    pub publisher: Arc<Publisher>,
    /// Asks.
    pub asker: Arc<Asker>,
    /// Answers.
    pub answerer: Arc<Answerer>,
    /// What must still happen.
    pub duties: Arc<Duties>,
    /// Questions that a person answers.
    pub clerks: Arc<Clerks>,
    /// Jobs of many questions.
    pub bulk: Arc<Bulk>,
    /// Cases of this department's offices.
    pub cases: Arc<Cases>,
    /// What is kept of corrections.
    pub corrected: Arc<correction::Book>,
    /// What others subscribed to.
    pub given: Arc<GivenBook>,
    /// Exports evidence.
    pub exporter: Arc<Exporter>,
    /// Anchors evidence.
    pub anchorer: Arc<Anchorer>,
    /// The office keys.
    pub office_keys: Arc<OfficeKeys>,
    /// Where office systems are told of what comes later.
    pub webhooks: Arc<Webhooks>,
    /// What they are told of.
    pub outbox: Arc<Outbox>,
    /// Decisions that wait for a second officer.
    pub pending: Arc<PendingDecisions>,
    /// Whether the node can do its work.
    pub readiness: Readiness,
    /// The bound addresses.
    pub addresses: Addresses,
    /// The book of the peer port's connections.
    pub peer_connections: Connections,
    /// Evidence kept for predecessors.
    pub custody: Arc<Custody>,
    /// Whether the node waits at its relays.
    pub relays: Relays,
    /// What the department's nodes share, where they do.
    pub shared: Option<Arc<Shared>>,
}

/// Where the node listens; what stands in `ready.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Addresses {
    /// Other departments' nodes.
    pub peer: SocketAddr,
    /// The department's office systems.
    pub office: SocketAddr,
    /// The operators' commands: the socket's path.
    pub admin: String,
    /// The process.
    pub pid: u32,
}
