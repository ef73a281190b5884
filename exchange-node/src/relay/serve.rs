//! The relay itself: a program of its own with one port. It follows the directory to know who may wait, keeps the nodes
//! that wait, and joins callers to them. It holds no key and nothing of what it passes on.
//!
//! Everything others can use up is bounded: connections (the listener's limits), nodes that wait, calls in all and to one
//! node, and the bytes on their way. Out of scope: passing bytes on (`join`), the command line.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use host::{
    clock::Clock,
    edge::{Listener, ListenerLimits, PeerStream, Security},
    random::{self, Random},
    readiness::Readiness,
    ready_file::{self, ReadyFile},
    supervise::{self, Restart, Supervisor},
};
use proto::exchange::v1::{RelayChallenge, RelayIncoming, RelayJoined, RelayPing, RelayWaiting, relay_message::Body};
use serde::Serialize;
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::{Instant, timeout},
};
use tokio_stream::StreamExt;
use tokio_util::sync::CancellationToken;

use super::{
    Error as Conversation, SILENCE,
    config::Config,
    join::{Passed, join},
    receive, refused, send,
};
use trust::ids::{DepartmentId, NodeId};

use crate::view::{self, DirectorySettings, Follower, RegistryLink, Tiles, View};

/// How long an opening may take, and each step of a registration.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a node may take to pick a call up.
const PICK_UP: Duration = Duration::from_secs(5);

/// How often a node that waits is asked whether it is still there.
const PING: Duration = Duration::from_secs(15);

/// Connections live as long as their calls, and those of nodes that wait for days: what is dead is found by its silence.
const LONGEST_CONNECTION: Duration = Duration::from_secs(30 * 24 * 3600);

/// Why a relay does not start, or ends.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The port cannot be bound.
    #[error("cannot listen on {address} (`listen` in relay.toml): {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// A blocking task ended by itself.
    #[error("opening the directory failed: {0}")]
    Opening(#[from] tokio::task::JoinError),
    /// The ready file cannot be written.
    #[error(transparent)]
    Ready(#[from] ready_file::Error),
    /// Something essential failed.
    #[error(transparent)]
    Supervise(#[from] supervise::Error),
    /// The directory cannot be opened.
    #[error(transparent)]
    View(#[from] view::Error),
}

/// Where the relay listens; what stands in `ready.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Addresses {
    /// Nodes and their callers.
    pub relay: SocketAddr,
    /// The process.
    pub pid: u32,
}

/// A relay that is bound and does not serve yet.
pub struct App {
    shared: Arc<Shared>,
    listener: Listener,
    link: Arc<RegistryLink>,
    supervisor: Supervisor,
    addresses: Addresses,
}

struct Shared {
    config: Config,
    view: Arc<View>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    /// The addresses by which nodes dial this relay.
    names: Vec<String>,
    waiting: Mutex<HashMap<(DepartmentId, NodeId), WaitingNode>>,
    calls: Mutex<HashMap<[u8; 32], oneshot::Sender<PeerStream>>>,
    joined: Semaphore,
    passed: Passed,
}

/// A node that waits.
#[derive(Clone)]
struct WaitingNode {
    /// Tells a later registration of the same node from this one.
    number: [u8; 16],
    incoming: mpsc::Sender<[u8; 32]>,
    calls: Arc<Semaphore>,
    replaced: CancellationToken,
}

impl App {
    /// Opens the directory's copy and binds the port. `clock` and `random` are made in `main` alone.
    pub async fn build(config: Config, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Result<Self, Error> {
        ReadyFile::remove_stale(&config.dir);
        let supervisor = Supervisor::new(Arc::clone(&random));
        let (dir, exchange, authority) = (config.dir.clone(), config.exchange.clone(), config.authority_key.clone());
        let fatal = supervisor.fatal();
        let failed = move |reason: &str| fatal.report("the directory's store", reason);
        let view = tokio::task::spawn_blocking(move || View::open(&dir, &exchange, &authority, failed)).await??;
        let limits = &config.limits;
        // A call takes two connections, and behind one address there may be a whole department's.
        let connections = limits.calls * 2 + limits.nodes + 64;
        let listening = ListenerLimits {
            max_connections: connections,
            max_connections_per_address: connections.min(limits.calls_per_node * 4 + 64),
            max_connection_age: LONGEST_CONNECTION,
            ..ListenerLimits::default()
        };
        let address = config.listen;
        let listener = Listener::bind(address, Security::Plain, listening)
            .await
            .map_err(|source| Error::Bind { address, source })?;
        let addresses = Addresses { relay: listener.local_address(), pid: std::process::id() };
        let names = match config.advertise.as_slice() {
            [] => vec![addresses.relay.to_string()],
            names => names.to_vec(),
        };
        let link = Arc::new(RegistryLink::new(config.registry.clone(), config.registry_tls_key));
        let shared = Arc::new(Shared {
            joined: Semaphore::new(limits.calls),
            config,
            view: Arc::new(view),
            clock,
            random,
            names,
            waiting: Mutex::default(),
            calls: Mutex::default(),
            passed: Passed::default(),
        });
        Ok(Self { shared, listener, link, supervisor, addresses })
    }

    /// Where it listens.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Stops a running relay, as a signal would.
    pub fn stop_token(&self) -> CancellationToken {
        self.supervisor.stop_token()
    }

    /// Serves until a signal, the stop token or the failure of something essential.
    pub async fn run(self) -> Result<(), Error> {
        let Self { shared, listener, link, supervisor, addresses } = self;
        let stop = supervisor.stop_token();
        let follower = Follower {
            view: Arc::clone(&shared.view),
            link,
            clock: Arc::clone(&shared.clock),
            condition: Readiness::new().condition("directory"),
            teller: None,
            tiles: Tiles { settings: DirectorySettings::default(), keys: None, random: Arc::clone(&shared.random) },
        };
        let follow = Restart { longest: Duration::from_secs(5), ..Restart::default() };
        supervisor.restarted("directory follower", follow, {
            let stop = stop.clone();
            move || follower.clone().run(stop.clone())
        });
        let dir = shared.config.dir.clone();
        supervisor.essential("relay port", {
            let mut incoming = listener.incoming();
            async move {
                while let Some(Some(stream)) = stop.run_until_cancelled(incoming.next()).await {
                    let (shared, stop) = (Arc::clone(&shared), stop.clone());
                    let stream = stream?;
                    tokio::spawn(async move { stop.run_until_cancelled(shared.attend(stream)).await });
                }
                Ok(())
            }
        });
        let ready = ReadyFile::write(&dir, &addresses)?;
        tracing::info!(relay = %addresses.relay, "relaying");
        let outcome = supervisor.run(Duration::from_secs(2)).await;
        drop(ready);
        Ok(outcome?)
    }
}

impl Shared {
    async fn attend(self: Arc<Self>, mut stream: PeerStream) {
        let remote = stream.info().remote;
        let opening = timeout(PATIENCE, receive(&mut stream)).await;
        let outcome = match opening {
            Ok(Ok(Body::Call(call))) => match call.tls_key.try_into() {
                Ok(tls_key) => self.call(stream, tls_key).await,
                Err(_) => send(&mut stream, refused("malformed")).await,
            },
            Ok(Ok(Body::PickUp(pick_up))) => self.pick_up(stream, &pick_up.token).await,
            Ok(Ok(Body::Wait(_))) => self.keep_waiting(stream).await,
            Ok(Ok(_) | Err(Conversation::Malformed)) => send(&mut stream, refused("malformed")).await,
            Ok(Err(error)) => Err(error),
            Err(_) => Err(Conversation::Silent),
        };
        if let Err(error) = outcome {
            tracing::debug!(%remote, %error, "a connection to the relay ended");
        }
    }

    async fn call(&self, mut caller: PeerStream, tls_key: [u8; 32]) -> Result<(), Conversation> {
        // By the node and not by the key: while its keys change it is called by either.
        let waits = self.node_of(&tls_key).and_then(|node| lock(&self.waiting).get(&node).cloned());
        let Some(node) = waits else {
            return send(&mut caller, refused("not_waiting")).await;
        };
        let (Ok(_joined), Ok(_of_node)) = (self.joined.try_acquire(), node.calls.try_acquire()) else {
            return send(&mut caller, refused("too_many")).await;
        };
        let token: [u8; 32] = random::array(self.random.as_ref());
        let (sender, picked_up) = oneshot::channel();
        lock(&self.calls).insert(token, sender);
        let told = node.incoming.try_send(token).is_ok();
        let picked_up = if told { timeout(PICK_UP, picked_up).await.ok().and_then(Result::ok) } else { None };
        lock(&self.calls).remove(&token);
        let Some(mut picked_up) = picked_up else {
            return send(&mut caller, refused("not_waiting")).await;
        };
        send(&mut picked_up, Body::Joined(RelayJoined {})).await?;
        send(&mut caller, Body::Joined(RelayJoined {})).await?;
        join(caller, picked_up, Duration::from_secs(self.config.limits.idle_seconds), &self.passed).await;
        Ok(())
    }

    async fn pick_up(&self, mut stream: PeerStream, token: &[u8]) -> Result<(), Conversation> {
        let known = <[u8; 32]>::try_from(token).ok().and_then(|token| lock(&self.calls).remove(&token));
        let Some(caller) = known else { return send(&mut stream, refused("too_late")).await };
        match caller.send(stream) {
            Ok(()) => Ok(()),
            Err(mut stream) => send(&mut stream, refused("too_late")).await,
        }
    }

    async fn keep_waiting(&self, mut stream: PeerStream) -> Result<(), Conversation> {
        let nonce: [u8; 32] = random::array(self.random.as_ref());
        send(&mut stream, Body::Challenge(RelayChallenge { nonce: nonce.to_vec() })).await?;
        let shown = timeout(PATIENCE, receive(&mut stream)).await.map_err(|_| Conversation::Silent)??;
        let Body::Registration(envelope) = shown else { return send(&mut stream, refused("malformed")).await };
        let who = {
            let seen = self.view.seen();
            trust::relay::open(seen.directory(), &envelope, &self.names, &nonce, self.clock.now_ms()).cloned()
        };
        let node = match who {
            Ok(node) if self.config.departments.is_empty() || self.config.departments.contains(&node.department) => {
                node
            }
            Ok(node) => {
                tracing::info!(department = %node.department, "may not wait here by `departments` in relay.toml");
                return send(&mut stream, refused("not_entitled")).await;
            }
            Err(error) => {
                tracing::info!(%error, remote = %stream.info().remote, "may not wait here");
                return send(&mut stream, refused("not_entitled")).await;
            }
        };
        let (incoming, calls) = mpsc::channel(self.config.limits.calls_per_node.max(1));
        let waiting = WaitingNode {
            number: random::array(self.random.as_ref()),
            incoming,
            calls: Arc::new(Semaphore::new(self.config.limits.calls_per_node)),
            replaced: CancellationToken::new(),
        };
        let name = (node.department.clone(), node.node.clone());
        if !self.enter(&name, &waiting) {
            return send(&mut stream, refused("too_many")).await;
        }
        tracing::info!(department = %node.department, node = %node.node, "waits for calls");
        let outcome = self.tell_calls(&mut stream, calls, &waiting.replaced, &node.tls_key).await;
        self.leave(&name, &waiting);
        tracing::info!(department = %node.department, node = %node.node, "waits no more");
        outcome
    }

    /// Enters a node among those that wait; `false` where too many do.
    fn enter(&self, name: &(DepartmentId, NodeId), waiting: &WaitingNode) -> bool {
        let mut nodes = lock(&self.waiting);
        if nodes.len() >= self.config.limits.nodes && !nodes.contains_key(name) {
            return false;
        }
        // The newest counts: the one before is of a connection that the node has given up.
        if let Some(before) = nodes.insert(name.clone(), waiting.clone()) {
            before.replaced.cancel();
        }
        true
    }

    fn leave(&self, name: &(DepartmentId, NodeId), waiting: &WaitingNode) {
        let mut nodes = lock(&self.waiting);
        if nodes.get(name).is_some_and(|known| known.number == waiting.number) {
            nodes.remove(name);
        }
    }

    /// Tells a node that waits of its calls, until it is gone or has connected anew.
    async fn tell_calls(
        &self,
        stream: &mut PeerStream,
        mut calls: mpsc::Receiver<[u8; 32]>,
        replaced: &CancellationToken,
        tls_key: &[u8; 32],
    ) -> Result<(), Conversation> {
        let silence_seconds = u32::try_from(SILENCE.as_secs()).unwrap_or(u32::MAX);
        send(stream, Body::Waiting(RelayWaiting { silence_seconds })).await?;
        let (mut reader, mut writer) = tokio::io::split(stream);
        let listening = async {
            loop {
                match timeout(SILENCE, receive(&mut reader)).await.map_err(|_| Conversation::Silent)?? {
                    Body::Pong(_) => {}
                    _ => return Err::<(), _>(Conversation::Malformed),
                }
            }
        };
        let telling = async {
            let mut next_ping = Instant::now() + PING;
            loop {
                tokio::select! {
                    Some(token) = calls.recv() => {
                        send(&mut writer, Body::Incoming(RelayIncoming { token: token.to_vec() })).await?;
                    }
                    () = tokio::time::sleep_until(next_ping) => {
                        if self.node_of(tls_key).is_none() {
                            return send(&mut writer, refused("not_entitled")).await;
                        }
                        send(&mut writer, Body::Ping(RelayPing {})).await?;
                        next_ping = Instant::now() + PING;
                    }
                }
            }
        };
        tokio::select! {
            () = replaced.cancelled() => Ok(()),
            outcome = listening => outcome,
            outcome = telling => outcome,
        }
    }

    /// The node with this TLS key, where its department takes part.
    fn node_of(&self, tls_key: &[u8; 32]) -> Option<(DepartmentId, NodeId)> {
        let seen = self.view.seen();
        let directory = seen.directory();
        let node = directory.node_by_tls_key(tls_key)?;
        let department = directory.department(&node.department)?;
        let takes_part = department.suspended.is_none() && department.closed_at(self.clock.now_ms()).is_none();
        takes_part.then(|| (node.department.clone(), node.node.clone()))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for App {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("App").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}
