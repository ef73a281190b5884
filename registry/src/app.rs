//! The running registry: every room built, every port bound, every task under one supervisor. Ports are bound early, so
//! that port 0 works and the addresses are known before anything is said. Out of scope: the process around it (`main`).

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use host::{
    admin_socket::{AdminError, AdminSocket},
    clock::Clock,
    edge::{EdgeLimits, Incoming, Listener, ListenerLimits, Security, tuned_server},
    health,
    random::Random,
    readiness::Readiness,
    ready_file::{self, ReadyFile},
    supervise::{self, DEFAULT_DRAIN, Supervisor},
    tls::{ClientAuthentication, ServerTls, SetupError, TlsKeyDigest},
};
use proto::registry::v1::RegistryAnnounced;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Server, server::Router};

use crate::{
    admin_edge::{
        AdminEdge, EvidenceEdge, KeptEdge, ReviewsEdge, Standing, SupervisionEdge, departments::DepartmentsEdge,
        history::HistoryEdge as OperatorsHistoryEdge, keys::KeysEdge,
    },
    alerts::{self, Alerts},
    alerts_edge::{AlertsEdge, ToldEventsEdge},
    anchors::{self, Anchors, AnchorsParts},
    anchors_edge::AnchorsEdge,
    authority::{self, Authority},
    backup::write::Backup,
    catalogue_edge::CatalogueEdge,
    config::Config,
    directory_edge::DirectoryEdge,
    enrolment::{self, Enrolment, EnrolmentParts, Introduction},
    enrolment_edge::EnrolmentEdge,
    history_edge::HistoryEdge,
    init::{self, reachable},
    keys::{self, Keys},
    ledger::{self, Ledger, OpenLedger},
    log_keys::LogKeys,
    recovery::{Recovery, RecoveryParts},
    replacement::{self, Replacement},
    replicas::Replicas,
    rotation::{self, Rotation, RotationParts},
    sequencer::{self, Sequencer, SequencerParts},
    snapshot::{self, Snapshots},
    store::{self, StoreChoice},
    tile_edge,
    waiting::{self, Waiting},
    witness_edge::WitnessEdge,
    witnesses::Witnesses,
};

/// Why a registry does not start, or ends.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The admin socket cannot be used.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// It listens everywhere and nobody knows where to find it.
    #[error(
        "{listen} is every address of this machine: set `advertise` in registry.toml to where departments reach it"
    )]
    AdvertiseMissing {
        /// The address.
        listen: SocketAddr,
    },
    /// The registry's own address could not be stated.
    #[error("the registry's address could not be stated in the directory: {0}")]
    Announcement(#[from] authority::Error),
    /// The second log cannot be used.
    #[error(transparent)]
    Anchors(#[from] anchors::Error),
    /// What nodes have told cannot be read.
    #[error(transparent)]
    Alerts(#[from] alerts::Error),
    /// A port cannot be bound.
    #[error("cannot listen at {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// Pending enrolments cannot be read.
    #[error(transparent)]
    Enrolment(#[from] enrolment::Error),
    /// A key cannot be used.
    #[error(transparent)]
    Keys(#[from] keys::Error),
    /// The ledger cannot be used.
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
    /// The ready file cannot be written.
    #[error(transparent)]
    ReadyFile(#[from] ready_file::Error),
    /// A change of a key cannot be ended.
    #[error(transparent)]
    Rotation(#[from] rotation::Error),
    /// The log's key cannot be replaced.
    #[error(transparent)]
    Replacement(#[from] replacement::Error),
    /// The directory cannot be used.
    #[error(transparent)]
    Sequencer(#[from] sequencer::Error),
    /// What was verified cannot be put down.
    #[error(transparent)]
    Snapshot(#[from] snapshot::Error),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Something that the registry cannot do without has failed.
    #[error(transparent)]
    Supervision(#[from] supervise::Error),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] SetupError),
    /// What waits for the authority's signature cannot be read.
    #[error(transparent)]
    Waiting(#[from] waiting::Error),
}

/// Where a running registry is, as in its ready file.
#[derive(Clone, Debug, Serialize)]
pub struct Addresses {
    /// The process.
    pub pid: u32,
    /// The gRPC port.
    pub address: SocketAddr,
    /// The tile port.
    pub tiles: SocketAddr,
    /// The admin socket.
    pub admin: PathBuf,
    /// The addresses that others are told.
    pub advertised: Vec<String>,
}

/// A registry that is running.
pub struct App {
    supervisor: Supervisor,
    ledger: OpenLedger,
    second: OpenLedger,
    addresses: Addresses,
    ready_file: ReadyFile,
    again: CancellationToken,
}

/// How a registry ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It is to start again at once: it held back, and does so no more.
    Again,
    /// It was told to stop.
    Stopped,
}

impl App {
    /// Builds and starts the registry of a folder.
    pub async fn start(
        config: Config,
        folder: &Path,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Result<Self, Error> {
        let keys = Keys::read(folder)?;
        // Before the ready file of another process is touched: it may be running.
        let admin = AdminSocket::bind(folder)?;
        ReadyFile::remove_stale(folder);
        let supervisor = Supervisor::new(Arc::clone(&random));
        let stop = supervisor.stop_token();
        let readiness = Readiness::new();
        let directory_ready = readiness.condition("directory");

        let fatal = supervisor.fatal();
        let store = config.store.clone().with_password(folder, config.store_password_file.as_deref())?;
        let ledger = store.open_patiently(folder, move |error| fatal.report("ledger", error)).await?;
        let shared = ledger.shared();
        let snapshots = Snapshots::of(folder, random.as_ref())?;
        let log_keys = LogKeys::new(keys.other_log_keys.into_iter().chain([keys.log]));
        let again = CancellationToken::new();
        let parts = SequencerParts {
            exchange: config.exchange.clone(),
            authority_key: config.authority_key.clone(),
            log_keys: Arc::clone(&log_keys),
            ledger: Arc::clone(&shared),
            clock: Arc::clone(&clock),
            checkpoint_interval: Duration::from_secs(config.checkpoint_interval_seconds),
            state_interval: Duration::from_secs(config.state_interval_seconds),
            listen_first: Duration::from_secs(config.listen_first_seconds),
            again: again.clone(),
            store: readiness.condition("store"),
            snapshots: Some(Arc::clone(&snapshots)),
            replacement: Replacement::read(folder)?,
        };
        let (sequencer, task) = Sequencer::start(parts).await?;
        let stopping = stop.clone();
        supervisor.essential("sequencer", async move { Ok(task.run(stopping).await?) });
        let (begun_again, stopping) = (again.clone(), stop.clone());
        until_stopped(&supervisor, "starting again", async move {
            begun_again.cancelled().await;
            stopping.cancel();
        });
        keep_verified(&supervisor, snapshots, &sequencer, &shared);
        let (second, anchors) = open_anchors(folder, &config, &store, &shared, &sequencer, &supervisor).await?;
        let witnesses = Witnesses::open(sequencer.clone(), Arc::clone(&shared), Arc::clone(&clock)).await?;
        let (kept, stopping) = (witnesses.clone(), stop.clone());
        let interval = Duration::from_secs(config.checkpoint_interval_seconds);
        supervisor.essential("witnesses", async move { Ok(kept.run(interval, stopping).await?) });

        let tls = ServerTls::new(&keys.tls, ClientAuthentication::None)?;
        let served_tls = Arc::clone(&tls);
        let limits = ListenerLimits {
            max_connections: most_connections(config.most_connections),
            max_connections_per_address: config.most_connections_per_address,
            balancers: config.balancers.clone().into(),
            ..ListenerLimits::default()
        };
        let most_connections = limits.max_connections;
        let grpc = bind(config.listen, Security::Tls(tls), limits.clone()).await?;
        let members = tile_edge::Members::new(sequencer.clone(), Arc::clone(&clock));
        let members = ClientAuthentication::Required(Arc::new(members));
        let members_tls = ServerTls::new(&keys.tls, members)?;
        let tiles = bind(config.tiles, Security::Either(Arc::clone(&members_tls)), limits).await?;
        let addresses = Addresses {
            pid: std::process::id(),
            address: grpc.local_address(),
            tiles: tiles.local_address(),
            admin: admin.path().to_owned(),
            advertised: reachable(&config.advertise, grpc.local_address()),
        };
        if addresses.advertised.is_empty() {
            return Err(Error::AdvertiseMissing { listen: config.listen });
        }

        let authority = Authority::new(config.exchange.clone(), keys.authority, sequencer.clone(), Arc::clone(&clock));
        let authority = Arc::new(authority.with_waiting(Arc::new(Waiting::open(folder)?)));
        let replicas = match &ledger {
            OpenLedger::Postgres(ledger) => {
                let id = data_encoding::HEXLOWER.encode(&host::random::array::<16>(random.as_ref()));
                let place = addresses.advertised.join(" ");
                Some(Replicas::join(ledger, id, place, folder.to_owned(), Arc::clone(&log_keys)).await?)
            }
            OpenLedger::Sled(_) => None,
        };
        if let Some(replicas) = replicas.clone() {
            let stopping = stop.clone();
            supervisor.essential("replicas", async move { Ok(replicas.run(stopping).await?) });
        }
        let rotation = Arc::new(Rotation::new(RotationParts {
            folder: folder.to_owned(),
            authority: Arc::clone(&authority),
            sequencer: sequencer.clone(),
            log_keys: Arc::clone(&log_keys),
            replicas,
            tls: vec![Arc::clone(&served_tls), members_tls],
            names: init::certificate_names(&config.advertise, addresses.address.ip()),
            clock: Arc::clone(&clock),
            random: Arc::clone(&random),
        }));
        // Before anything is said: a change of key that a crash interrupted is ended first.
        rotation.settle()?;
        rotation.check_tls().await?;
        let own = RegistryAnnounced {
            addresses: addresses.advertised.clone(),
            tls_key: served_tls.key_digest().as_bytes().to_vec(),
            tile_addresses: reachable(&config.advertise_tiles, tiles.local_address()),
            next_tls_key: next_tls_key(&sequencer, &rotation),
        };
        // Where several registries share a directory, what is configured is for all of them; where nothing is, each adds
        // where it is itself.
        let adds = matches!(ledger, OpenLedger::Postgres(_)).then(|| Adds {
            addresses: config.advertise.is_empty(),
            tile_addresses: config.advertise_tiles.is_empty(),
        });
        if sequencer.holding().is_none() {
            announce(&authority, &sequencer, &own, adds.unwrap_or_default()).await?;
        } else {
            // Nodes have to reach it before it signs anything.
            let (authority, sequencer, own) = (Arc::clone(&authority), sequencer.clone(), own.clone());
            until_stopped(&supervisor, "announcement", async move {
                announce_later(&authority, &sequencer, &own, adds.unwrap_or_default()).await;
                std::future::pending::<()>().await;
            });
        }
        let tls_key = *served_tls.key_digest().as_bytes();
        let (following, stopping) = (Arc::clone(&rotation), stop.clone());
        let followed = sequencer.clone();
        supervisor.essential("keys", async move { Ok(rotation::follow(following, followed, stopping).await?) });

        let enrolment = Enrolment::open(EnrolmentParts {
            decisions: store::decisions(&ledger, folder).map_err(enrolment::Error::from)?,
            introduction: Introduction {
                exchange: config.exchange.clone(),
                authority_key: config.authority_key.clone(),
                addresses: addresses.advertised.clone(),
                tls_key,
            },
            authority: Arc::clone(&authority),
            sequencer: sequencer.clone(),
            clock: Arc::clone(&clock),
            random,
            token_lifetime_ms: config.token_lifetime_hours * 3_600_000,
        })
        .await?;
        let enrolment = Arc::new(enrolment.at_port(Arc::clone(&served_tls)));

        let recovery = Arc::new(Recovery::new(RecoveryParts {
            folder: folder.to_owned(),
            sequencer: sequencer.clone(),
            ledger: Arc::clone(&shared),
            log_keys,
            clock: Arc::clone(&clock),
            again: again.clone(),
        }));
        let backup = Backup {
            folder: folder.to_owned(),
            exchange: config.exchange.to_string(),
            authority_key: config.authority_key.to_string(),
            store: config.store.place(folder),
            sequencer: sequencer.clone(),
            ledger: Arc::clone(&shared),
            anchors: Arc::clone(&anchors),
            clock: Arc::clone(&clock),
        };
        let services =
            ["registry.v1.Directory", "registry.v1.Enrolment", "registry.v1.Catalogue", "registry.v1.Witnesses"];
        let (health, feed) = health::service(&readiness, &services).await;
        until_stopped(&supervisor, "health", feed.run());

        let alerts = Alerts::open(folder)?;
        let router = tuned_server(&EdgeLimits::default())
            .add_service(health.clone())
            .add_service(
                DirectoryEdge::new(
                    sequencer.clone(),
                    Arc::clone(&shared),
                    witnesses.clone(),
                    Arc::clone(&clock),
                    stop.clone(),
                    most_connections,
                )
                .into_server(),
            )
            .add_service(AnchorsEdge::server(Arc::clone(&anchors), Arc::clone(&clock)))
            .add_service(HistoryEdge::server(Arc::clone(&recovery), Arc::clone(&clock)))
            .add_service(AlertsEdge::server(alerts.clone(), sequencer.clone(), Arc::clone(&clock)))
            .add_service(WitnessEdge::new(witnesses.clone(), Arc::clone(&clock)).into_server())
            .add_service(CatalogueEdge::new(sequencer.clone(), Arc::clone(&shared), Arc::clone(&clock)))
            .add_service(EnrolmentEdge::new(Arc::clone(&enrolment), Arc::clone(&clock)).into_server());
        spawn_grpc(&supervisor, router, grpc.incoming());

        let readers = CatalogueEdge::new(sequencer.clone(), Arc::clone(&shared), Arc::clone(&clock));
        let (served, taken, ticking) = (Arc::clone(&shared), Arc::clone(&anchors), Arc::clone(&clock));
        let routes = tile_edge::router(sequencer.clone(), served, witnesses.clone(), taken, ticking);
        let stopping = stop.clone();
        supervisor.essential("tiles", async move {
            tile_edge::serve(tiles, routes, stopping).await;
            Ok(())
        });

        let standing = Standing {
            exchange: config.exchange.to_string(),
            authority_key: config.authority_key,
            address: addresses.address.to_string(),
            tile_address: addresses.tiles.to_string(),
        };
        let operators = Server::builder()
            .add_service(health)
            .add_service(EvidenceEdge::server(sequencer.clone(), Arc::clone(&anchors), Arc::new(keys.tls)))
            .add_service(OperatorsHistoryEdge::server(recovery, backup))
            .add_service(ToldEventsEdge::server(alerts))
            .add_service(DepartmentsEdge::server(sequencer.clone(), Arc::clone(&authority)))
            .add_service(ReviewsEdge::new(sequencer.clone(), Arc::clone(&authority), Arc::clone(&clock)))
            .add_service(KeysEdge::server(
                folder.to_owned(),
                sequencer.clone(),
                Arc::clone(&authority),
                Arc::clone(&enrolment),
                rotation,
                move || served_tls.key_digest().to_string(),
            ))
            .add_service(SupervisionEdge::new(sequencer.clone(), Arc::clone(&authority), Arc::clone(&anchors), clock))
            .add_service(readers)
            .add_service(KeptEdge::server(sequencer.clone(), shared, witnesses))
            .add_service(AdminEdge::new(sequencer, authority, enrolment, standing));
        let stopping = stop.clone().cancelled_owned();
        supervisor.essential("admin socket", async move { Ok(admin.serve(operators, stopping).await?) });

        directory_ready.met();
        let ready_file = ReadyFile::write(folder, &addresses)?;
        tracing::info!(address = %addresses.address, tiles = %addresses.tiles, "registry ready");
        Ok(Self { supervisor, ledger, second, addresses, ready_file, again })
    }

    /// Where it is.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Cancel it to stop the registry as SIGTERM does.
    pub fn stop_token(&self) -> CancellationToken {
        self.supervisor.stop_token()
    }

    /// Runs until a signal, the stop token or a fatal fault; then finishes what is under way and closes the ledger.
    pub async fn run(self) -> Result<Ended, Error> {
        let outcome = self.supervisor.run(DEFAULT_DRAIN).await;
        drop(self.ready_file);
        let (closed, second) = (self.ledger.close().await, self.second.close().await);
        outcome?;
        closed?;
        second?;
        Ok(if self.again.is_cancelled() { Ended::Again } else { Ended::Stopped })
    }
}

/// How many files stay for the store and everything else.
const OTHER_FILES: u64 = 512;

/// How many connections each of the two ports may hold: as many as are wanted, where the machine allows the files.
fn most_connections(wanted: usize) -> usize {
    let files = host::open_files::allow((wanted as u64).saturating_mul(2).saturating_add(OTHER_FILES));
    let places = usize::try_from(files.saturating_sub(OTHER_FILES) / 2).unwrap_or(usize::MAX).max(16);
    if places < wanted {
        tracing::warn!(
            wanted,
            places,
            files,
            "the machine allows too few open files for most_connections (ulimit -Hn)"
        );
    }
    wanted.min(places)
}

async fn bind(address: SocketAddr, security: Security, limits: ListenerLimits) -> Result<Listener, Error> {
    Listener::bind(address, security, limits).await.map_err(|source| Error::Bind { address, source })
}

fn spawn_grpc(supervisor: &Supervisor, router: Router, incoming: Incoming) {
    let stopping = supervisor.stop_token().cancelled_owned();
    supervisor
        .essential("directory port", async move { Ok(router.serve_with_incoming_shutdown(incoming, stopping).await?) });
}

/// Puts down what was verified, and compares with the ledger what was relied on at the start.
fn keep_verified(supervisor: &Supervisor, snapshots: Arc<Snapshots>, sequencer: &Sequencer, ledger: &Arc<dyn Ledger>) {
    let stop = supervisor.stop_token();
    supervisor.essential("verified directory", snapshot::keep(snapshots, sequencer.clone(), stop.clone()));
    if let Some(resumed) = sequencer.resumed() {
        let (comparing, fatal) = (snapshot::compare(Arc::clone(ledger), resumed, stop), supervisor.fatal());
        tokio::spawn(async move {
            if let Err(error) = comparing.await {
                fatal.report("ledger", error);
            }
        });
    }
}

fn until_stopped(supervisor: &Supervisor, name: &str, task: impl Future<Output = ()> + Send + 'static) {
    let stop = supervisor.stop_token();
    supervisor.essential(name, async move {
        stop.run_until_cancelled(task).await;
        Ok(())
    });
}

/// Opens the second log that the directory took last; its successor where it lost what had been taken.
async fn open_anchors(
    folder: &Path,
    config: &Config,
    store: &StoreChoice,
    directory: &Arc<dyn Ledger>,
    sequencer: &Sequencer,
    supervisor: &Supervisor,
) -> Result<(OpenLedger, Arc<Anchors>), Error> {
    let open = async |log| {
        let fatal = supervisor.fatal();
        store.open_second(folder, log, move |error| fatal.report("the second log", error)).await
    };
    let mut log = sequencer.directory().anchors().map_or(1, |taken| taken.log);
    let mut ledger = open(log).await?;
    let mut reason = String::new();
    if let Some(lost) = anchors::check_whole(sequencer, ledger.shared().as_ref()).await? {
        tracing::error!(%lost, "a new second log begins; the nodes anchor their evidence anew");
        ledger.close().await?;
        (log, reason) = (log + 1, lost);
        ledger = open(log).await?;
    }
    let parts = AnchorsParts {
        folder: folder.to_owned(),
        log,
        reason,
        ledger: ledger.shared(),
        directory: Arc::clone(directory),
        sequencer: sequencer.clone(),
        interval: Duration::from_secs(config.anchors_interval_seconds),
    };
    let anchors = Anchors::open(parts).await?;
    let (running, stopping) = (Arc::clone(&anchors), supervisor.stop_token());
    supervisor.essential("anchors", async move { Ok(running.run(stopping).await?) });
    Ok((ledger, anchors))
}

/// The digest of the next TLS key, as far as nodes were told of it: an announcement for another reason keeps it.
fn next_tls_key(sequencer: &Sequencer, rotation: &Rotation) -> Vec<u8> {
    let told = sequencer.directory().registry().map(|known| known.next_tls_key.clone()).unwrap_or_default();
    let digest = <[u8; 32]>::try_from(told.as_slice()).map(TlsKeyDigest::from_bytes);
    let same = digest.is_ok_and(|digest| rotation.next_tls_digest() == Some(digest.to_string()));
    if same { told } else { Vec::new() }
}

/// How often an announcement is made again because another registry was quicker.
const MOST_ANNOUNCEMENTS: usize = 16;

/// What is added to what is announced already, instead of taking its place.
#[derive(Clone, Copy, Debug, Default)]
struct Adds {
    addresses: bool,
    tile_addresses: bool,
}

/// States where the registry is, unless the directory says so already.
async fn announce(
    authority: &Authority,
    sequencer: &Sequencer,
    own: &RegistryAnnounced,
    adds: Adds,
) -> Result<(), Error> {
    for _ in 0..MOST_ANNOUNCEMENTS {
        let wanted = match sequencer.directory().registry() {
            Some(known) if known == own => return Ok(()),
            Some(known) if known.tls_key == own.tls_key => RegistryAnnounced {
                addresses: joined(&known.addresses, &own.addresses, adds.addresses),
                tile_addresses: joined(&known.tile_addresses, &own.tile_addresses, adds.tile_addresses),
                ..own.clone()
            },
            _ => own.clone(),
        };
        if sequencer.directory().registry() == Some(&wanted) {
            return Ok(());
        }
        // Another registry over the same directory may announce at the same moment: then both are to stand in it.
        match authority.announce(wanted).await {
            Err(error @ authority::Error::Waiting { .. }) => {
                tracing::warn!(%error, "the registry's addresses or TLS key have changed, and the authority's key is not here");
                return Ok(());
            }
            said => said?,
        };
    }
    tracing::warn!("the registries over this directory do not agree on where they are: compare `advertise`");
    Ok(())
}

/// The same, once statements are accepted. A registry that held back starts again by then.
async fn announce_later(authority: &Authority, sequencer: &Sequencer, own: &RegistryAnnounced, adds: Adds) {
    sequencer.signing().await;
    if let Err(error) = announce(authority, sequencer, own, adds).await {
        tracing::warn!(%error, "the registry's address could not be stated; it is at the next start");
    }
}

/// What is known and what is ours, or ours alone.
fn joined(known: &[String], own: &[String], adds: bool) -> Vec<String> {
    let mut addresses = if adds { known.to_vec() } else { Vec::new() };
    addresses.extend(own.iter().filter(|address| !adds || !known.contains(address)).cloned());
    addresses
}
