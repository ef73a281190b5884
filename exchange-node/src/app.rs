//! The running node: everything built once, in order, and held by one supervisor. `App::build` opens stores and binds
//! ports, `App::run` serves until it is asked to stop. Out of scope: the command line, and what the parts are (`parts`).

mod edges;
mod recall;
mod recover;
mod running;
mod watch_view;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use host::{
    admin_socket::{AdminError, AdminSocket},
    clock::Clock,
    edge::{Listener, ListenerLimits, Security},
    random::Random,
    readiness::Readiness,
    ready_file::{self, ReadyFile},
    supervise::{self, Supervisor},
    tls::{ClientAuthentication, ServerTls, SetupError},
};

use crate::{
    anchors::{self, AnchorBook, Anchorer},
    answer::{Answerer, AnswererParts},
    ask::{self, Asker, AskerParts},
    budget::{self, Book},
    bulk::{self, Bulk, BulkParts},
    case::{self, Cases, CasesParts},
    clerk::{self, Clerks, ClerksParts},
    compare::Comparer,
    config::Config,
    correction::{self, Corrections},
    custody::Custody,
    duty::{self, Duties},
    events::{self, EventBook, Watch},
    export::Exporter,
    history::{self, Again, Historian, Mark, Standing},
    journal::{Journal, JournalError, OnFailure},
    keys::{self, Keyring, rotation::KeyCare},
    logs::{AllLogs, Logs},
    office,
    office_keys::{self, OfficeKeys},
    outbox::Outbox,
    parts::{Addresses, Parts},
    peer_edge::DirectoryPolicy,
    peers::Peers,
    pending::PendingDecisions,
    private_list,
    publish::Publisher,
    reconcile,
    records::{RecordSource, Records, RecordsError, aliases::Aliases},
    relay::waiting::Relays,
    shared::{self, Shared, SharedBudget},
    sources::{self, Sources},
    subscriptions::{self, GivenBook},
    successors::Successors,
    view::{self, RegistryLink, Snapshots, View},
    webhooks::{self, Webhooks},
};

/// Why the node does not start, or ends.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The admin socket cannot be used.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The evidence does not contain what was anchored, or the record of anchors cannot be used.
    #[error(transparent)]
    Anchors(#[from] anchors::Error),
    /// The evidence cannot be compared with what others saw.
    #[error(transparent)]
    History(#[from] history::Error),
    /// Questions that a crash interrupted cannot be closed.
    #[error(transparent)]
    Ask(#[from] ask::Error),
    /// A port cannot be bound.
    #[error("cannot listen on {address} ({field} in node.toml): {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The field of the configuration.
        field: &'static str,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// The evidence cannot be opened.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The keys cannot be used.
    #[error(transparent)]
    Keys(#[from] keys::Error),
    /// The office port cannot be served.
    #[error(transparent)]
    OfficePort(#[from] office::port::Error),
    /// The office keys cannot be read.
    #[error(transparent)]
    OfficeKeys(#[from] office_keys::Error),
    /// A blocking task ended by itself.
    #[error("opening the stores failed: {0}")]
    Opening(#[from] tokio::task::JoinError),
    /// The decisions that wait cannot be read.
    #[error(transparent)]
    Pending(#[from] private_list::Error),
    /// The ready file cannot be written.
    #[error(transparent)]
    Ready(#[from] ready_file::Error),
    /// What is to be done, or what waits for a person, cannot be opened.
    #[error(transparent)]
    Clerk(#[from] clerk::Error),
    /// The cases cannot be opened.
    #[error(transparent)]
    Case(#[from] case::Error),
    /// What is to be done cannot be opened.
    #[error(transparent)]
    Duty(#[from] duty::Error),
    /// Corrections cannot be gone on with.
    #[error(transparent)]
    Correction(#[from] correction::Error),
    /// What others subscribed to cannot be opened.
    #[error(transparent)]
    Subscriptions(#[from] subscriptions::Error),
    /// The records cannot be opened.
    #[error(transparent)]
    Records(#[from] RecordsError),
    /// The password of the shared database cannot be read.
    #[error("`shared_password_file`: {0}")]
    SharedPassword(host::files::Error),
    /// Where the records are cannot be used as it is configured.
    #[error(transparent)]
    Sources(#[from] sources::Error),
    /// Something essential failed.
    #[error(transparent)]
    Supervise(#[from] supervise::Error),
    /// The TLS key cannot be used.
    #[error(transparent)]
    Tls(#[from] SetupError),
    /// The events cannot be read.
    #[error(transparent)]
    Events(#[from] events::Error),
    /// Jobs of many questions cannot be read.
    #[error(transparent)]
    Bulk(#[from] bulk::Error),
    /// The guess budget cannot be opened, or closed.
    #[error(transparent)]
    Budget(#[from] budget::Error),
    /// The directory cannot be opened.
    #[error(transparent)]
    View(#[from] view::Error),
    /// The webhooks cannot be read.
    #[error(transparent)]
    Webhooks(#[from] webhooks::Error),
}

/// A node that is built and bound and does not serve yet.
pub struct App {
    /// Whether the evidence was compared with what others saw of it.
    compared: bool,
    parts: Parts,
    corrections: Arc<Corrections>,
    supervisor: Supervisor,
    peer: Listener,
    office: Listener,
    admin: AdminSocket,
}

impl App {
    /// Opens the stores and binds the ports. `clock` and `random` are made in `main` alone.
    pub async fn build(config: Config, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Result<Self, Error> {
        let config = Arc::new(config);
        ReadyFile::remove_stale(&config.dir);
        let supervisor = Supervisor::new(Arc::clone(&random));
        let keys = Arc::new(Keyring::read(&config.dir)?);
        let office_keys = Arc::new(OfficeKeys::open(&config.dir)?);
        let webhooks = Arc::new(Webhooks::open(&config.dir)?);
        let pending = Arc::new(PendingDecisions::open(&config.dir)?);
        // First, so that a second program in the same folder stops here with a plain sentence.
        let admin = AdminSocket::bind(&config.dir)?;
        let Stores { view, logs, records, budget, duties } = open_stores(&config, &clock, &random, &supervisor).await?;
        let sources = Arc::new(Sources::open(&config.dir, Arc::clone(&records), Arc::clone(&clock))?);
        let evidence = Arc::clone(&logs.current);
        let standing = Arc::new(Standing::default());
        let again = Arc::new(Again::new(supervisor.stop_token()));
        let started_ms = clock.now_ms();
        let mark = Mark::read(&config.dir).map_err(history::Error::from)?;
        let journal: Arc<dyn Journal> = Arc::new(AllLogs::new(Arc::clone(&logs), Arc::clone(&standing)));
        let aliases = Arc::new(Aliases::open(&config.dir));
        let readiness = Readiness::new();

        let policy = Arc::new(DirectoryPolicy::new(Arc::clone(&view)));
        let tls = ServerTls::new(&keys.tls(), ClientAuthentication::Required(policy))?;
        let peer = bind("peer_listen", config.peer_listen, Security::Tls(Arc::clone(&tls))).await?;
        let security = office::port::security(&config, &office_keys, random.as_ref())?;
        let office = bind("office_listen", config.office_listen, security).await?;
        let addresses = Addresses {
            peer: peer.local_address(),
            office: office.local_address(),
            admin: admin.path().display().to_string(),
            pid: std::process::id(),
        };

        let link = Arc::new(RegistryLink::new(config.registry.clone(), config.registry_tls_key));
        let peers = Arc::new(Peers::new(keys.tls()));
        let comparer = Arc::new(Comparer::new(Arc::clone(&view), Arc::clone(&peers), Arc::clone(&clock)));
        let publisher = Arc::new(Publisher {
            exchange: config.exchange.clone(),
            department: config.department.clone(),
            node: config.node.clone(),
            keys: Arc::clone(&keys),
            view: Arc::clone(&view),
            link: Arc::clone(&link),
            peers: Arc::clone(&peers),
            clock: Arc::clone(&clock),
        });
        let care = Arc::new(KeyCare {
            keys: Arc::clone(&keys),
            view: Arc::clone(&view),
            publisher: Arc::clone(&publisher),
            peers: Arc::clone(&peers),
            tls,
            node: config.node.clone(),
            settings: config.keys,
            clock: Arc::clone(&clock),
            random: Arc::clone(&random),
            changed: Arc::default(),
            turn: tokio::sync::Mutex::default(),
        });
        let database = config.shared.clone().map(|database| {
            database.with_password_from(&config.dir, config.shared_password_file.as_deref(), shared::PASSWORD_VARIABLE)
        });
        let database = database.transpose().map_err(Error::SharedPassword)?;
        let calendar = view.seen().directory().profile().calendar.clone();
        // A journal that was restored from its backup may be shorter than the list has seen it.
        let covered = Some(duties.covered()).filter(|covered| *covered <= journal.end()).unwrap_or(0);
        let begun = (config.dir.clone(), calendar, clock.now_ms());
        let (asked, answered, owed) = recall::recall(Arc::clone(&logs), covered, begun).await?;
        let shared = database.map(|database| {
            Arc::new(Shared::new(database, config.party(), config.node.clone(), answered.used(), budget.key()))
        });
        let parts = AskerParts {
            me: config.party(),
            node: config.node.clone(),
            signer: Arc::clone(&keys) as _,
            view: Arc::clone(&view),
            journal: Arc::clone(&journal),
            courier: Arc::clone(&peers) as _,
            aliases: Arc::clone(&aliases),
            clock: Arc::clone(&clock),
            random: Arc::clone(&random),
            limits: config.limits,
            officers: config.officers.asking,
            budget_key: Arc::clone(budget.key()),
        };
        let outbox = Arc::new(Outbox::open(Arc::clone(&duties), Arc::clone(&webhooks), Arc::clone(&clock))?);
        let asker = Asker::new(parts, asked).with_duties(Arc::clone(&duties))?;
        let asker = Arc::new(asker.with_outbox(Arc::clone(&outbox)));
        let events = EventBook::open(&config.dir)?;
        let parts = AnswererParts {
            me: config.party(),
            node: config.node.clone(),
            signer: Arc::clone(&keys) as _,
            view: Arc::clone(&view),
            journal: Arc::clone(&journal),
            records: Arc::clone(&sources) as Arc<dyn RecordSource>,
            budget: match &shared {
                Some(shared) => Arc::new(SharedBudget { own: Arc::new(budget.clone()), shared: Arc::clone(shared) }),
                None => Arc::new(budget.clone()),
            },
            budget_key: Arc::clone(budget.key()),
            guessing: config.guesses,
            aliases: Arc::clone(&aliases),
            clock: Arc::clone(&clock),
            limits: config.limits,
            officers: config.officers.answering,
            shared: shared.clone(),
            watch: Watch::new(config.events, Arc::clone(budget.key()), events.clone()),
        };
        let clerks = Arc::new(Clerks::open(ClerksParts {
            me: config.party(),
            node: config.node.clone(),
            signer: Arc::clone(&keys) as _,
            view: Arc::clone(&view),
            journal: Arc::clone(&journal),
            duties: Arc::clone(&duties),
            clock: Arc::clone(&clock),
        })?);
        let lost = reconcile::lost_range(&config.dir, &logs, view.seen().directory());
        let corrected = Arc::new(correction::Book::open(Arc::clone(&duties))?);
        let (list, evidenced, time) = (Arc::clone(&duties), Arc::clone(&journal), Arc::clone(&clock));
        let given = Arc::new(GivenBook::open(list, evidenced, Arc::clone(budget.key()), time)?);
        let answerer = Answerer::new(parts, answered).with_clerks(Arc::clone(&clerks)).with_lost_range(lost);
        let answerer = answerer.with_corrected(Arc::clone(&corrected));
        let answerer = Arc::new(answerer.with_subscriptions(Arc::clone(&given)));
        let recovered = recover::recover(&owed, &clerks, &given).await? + asker.recover(&owed).await?;
        if recovered > 0 {
            tracing::warn!(recovered, "duties were cut short when the node stopped; they are on the list again");
        }
        let (sides, kept) = ((&asker, &corrected), (&view, &duties, &outbox));
        let parts = CasesParts::of(&config, sides, kept, budget.key(), (&clock, &random));
        let cases = Arc::new(Cases::open_book(parts)?);
        let book = Arc::new(AnchorBook::open(&config.dir)?);
        let anchorer = Arc::new(Anchorer {
            evidence: logs.of.clone(),
            journal: Arc::clone(&journal),
            standing: Arc::clone(&standing),
            signer: Arc::clone(&keys) as _,
            book: Arc::clone(&book),
            view: Arc::clone(&view),
            link: Arc::clone(&link),
            clock: Arc::clone(&clock),
            random: Arc::clone(&random),
            interval: Duration::from_secs(u64::from(config.anchor_interval_seconds.max(1))),
            trouble: Mutex::default(),
        });
        let historian = Arc::new(Historian {
            me: config.party(),
            node: config.node.clone(),
            dir: config.dir.clone(),
            logs: Arc::clone(&logs),
            standing,
            anchorer: Arc::clone(&anchorer),
            view: Arc::clone(&view),
            peers: Arc::clone(&peers),
            keys: Arc::clone(&keys),
            publisher: Arc::clone(&publisher),
            clock: Arc::clone(&clock),
            started_ms,
            again,
            mark: Mutex::new(mark),
        });
        // Before anything is signed, and before anybody is served.
        let compared = historian.compare_at_start().await?;
        let successors = Successors::default().with(Arc::clone(&asker) as _).with(Arc::clone(&clerks) as _);
        let successors = successors.with(Arc::clone(&corrected) as _).with(Arc::clone(&given) as _);
        let exporter = Arc::new(Exporter {
            logs: Arc::clone(&logs),
            book,
            config: Arc::clone(&config),
            keys: Arc::clone(&keys),
            view: Arc::clone(&view),
            journal: Arc::clone(&journal),
            successors,
            clock: Arc::clone(&clock),
        });
        let bulk = Arc::new(Bulk::open(
            &config.dir,
            BulkParts {
                settings: config.bulk,
                asker: Arc::clone(&asker),
                peers: Arc::clone(&peers),
                view: Arc::clone(&view),
                outbox: Arc::clone(&outbox),
                clock: Arc::clone(&clock),
                random: Arc::clone(&random),
            },
        )?);
        let interrupted = match journal.check_open() {
            Ok(()) => asker.close_interrupted().await?,
            // It begins anew before it goes on.
            Err(_) => 0,
        };
        if interrupted > 0 {
            tracing::warn!(interrupted, "questions were under way when the node stopped; their outcome is recorded");
        }
        let peer_connections = peer.connections();
        let custody = Arc::new(Custody::new(&config.dir));
        let parts = Parts {
            config,
            keys,
            care,
            clock,
            random,
            view,
            link,
            evidence,
            logs,
            journal,
            budget,
            events,
            historian,
            records,
            sources,
            aliases,
            peers,
            comparer,
            publisher,
            asker,
            answerer,
            duties,
            clerks,
            bulk,
            cases,
            corrected,
            given,
            exporter,
            anchorer,
            office_keys,
            webhooks,
            outbox,
            pending,
            readiness,
            addresses,
            peer_connections,
            custody,
            relays: Relays::default(),
            shared,
        };
        let corrections = Arc::new(Corrections::new(&parts));
        corrections.recover(&owed).await?;
        parts.duties.cover(parts.journal.end()).await?;
        Ok(Self { compared, parts, corrections, supervisor, peer, office, admin })
    }

    /// Whether the program stopped to begin anew.
    pub fn again(&self) -> Arc<Again> {
        Arc::clone(&self.parts.historian.again)
    }

    /// The parts, for edges that are added and for tests.
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Stops a running node, as a signal would.
    pub fn stop_token(&self) -> tokio_util::sync::CancellationToken {
        self.supervisor.stop_token()
    }

    /// Serves until a signal, the stop token or the failure of something essential; then drains, and closes the stores.
    pub async fn run(self) -> Result<(), Error> {
        let Self { compared, parts, corrections, supervisor, peer, office, admin } = self;
        let drain = Duration::from_secs(parts.config.limits.drain_seconds);
        let historian = Arc::clone(&parts.historian);
        supervisor.essential("history of the evidence", historian.run(compared, supervisor.stop_token()));
        running::start(&parts, corrections, &supervisor, peer, office, admin).await;
        let ready = ReadyFile::write(&parts.config.dir, &parts.addresses)?;
        tracing::info!(peer = %parts.addresses.peer, office = %parts.addresses.office, "serving");
        let outcome = supervisor.run(drain).await;
        drop(ready);
        let (closed, budget) = (parts.evidence.close().await, parts.budget.close().await);
        let duties = parts.duties.close().await;
        if let Some(recovered) = parts.logs.recovered() {
            recovered.close().await?;
        }
        outcome?;
        duties?;
        budget?;
        Ok(closed?)
    }
}

struct Stores {
    view: Arc<View>,
    logs: Arc<Logs>,
    records: Arc<Records>,
    budget: Book,
    duties: Arc<Duties>,
}

async fn open_stores(
    config: &Arc<Config>,
    clock: &Arc<dyn Clock>,
    random: &Arc<dyn Random>,
    supervisor: &Supervisor,
) -> Result<Stores, Error> {
    let (config, clock, random) = (Arc::clone(config), Arc::clone(clock), Arc::clone(random));
    let (fatal, view_fatal, budget_fatal) = (supervisor.fatal(), supervisor.fatal(), supervisor.fatal());
    let duties_fatal = supervisor.fatal();
    tokio::task::spawn_blocking(move || {
        let failed = move |reason: &str| view_fatal.report("the directory's store", reason);
        let snapshots = Snapshots::of(&config.dir, random.as_ref()).map_err(view::Error::from)?;
        let view = View::resume(&config.dir, &config.exchange, &config.authority_key, Some(snapshots), failed)?;
        let budget = Book::open(&config.dir, random.as_ref(), move |reason| {
            budget_fatal.report("the guess budget", reason);
        })?;
        let failed: OnFailure = Arc::new(move |reason: &str| fatal.report("the evidence", reason));
        let whose = (&config.party(), &config.node);
        let logs = Logs::open(&config.dir, whose, view.seen().directory(), &random, clock.as_ref(), &failed)?;
        let records = Records::open(&config.dir)?;
        let failed = move |error: host::committer::CommitterError| duties_fatal.report("the due-list", error);
        let duties = Duties::open(&config.dir, clock, random, failed)?;
        Ok(Stores {
            view: Arc::new(view),
            logs: Arc::new(logs),
            records: Arc::new(records),
            budget,
            duties: Arc::new(duties),
        })
    })
    .await?
}

async fn bind(field: &'static str, address: SocketAddr, security: Security) -> Result<Listener, Error> {
    Listener::bind(address, security, ListenerLimits::default()).await.map_err(|source| Error::Bind {
        address,
        field,
        source,
    })
}

#[cfg(test)]
mod fake_registry;
#[cfg(test)]
mod tests;
