//! Somebody who stands in the registry's place with its real keys and says what a test wants: stale, forked, short or
//! forged. What a thief of the registry could do. Out of scope: what nodes should make of it.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use host::{
    clock::{Clock, SystemClock},
    edge::{EdgeLimits, Listener, ListenerLimits, Security, tuned_server},
    tls::{ClientAuthentication, ServerTls},
};
use prost::Message;
use proto::registry::v1::{
    CosignRequest, CosignResponse, DepartmentAdmitted, LocalName, ReadRequest, ReadResponse, SubmitRequest,
    SubmitResponse, WatchRequest,
    directory_server::{Directory, DirectoryServer},
    statement::Body,
    witnesses_server::{Witnesses, WitnessesServer},
};
use registry::keys::Keys;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use town::harness::{NodeHandle, Town};
use trust::{
    directory::{Object, statement},
    envelope,
    key::{DescribedKey, Role, Signer, SigningKey},
    log::{
        checkpoint::{self, Checkpoint, LogKey},
        frontier::Frontier,
        hash::{Hash, leaf_hash},
        note::SignedNote,
    },
};

use super::peer::EXCHANGE;

/// How often the checkpoint is said anew.
const RENEWAL: Duration = Duration::from_millis(300);

/// What the stand-in says.
#[derive(Clone)]
pub(crate) struct Saying {
    /// The log's entries.
    pub(crate) entries: Vec<Vec<u8>>,
    /// By how much the index of what is sent is wrong.
    pub(crate) skips: u64,
    /// Makes the checkpoint, each time it is said.
    pub(crate) checkpoint: Arc<dyn Fn() -> String + Send + Sync>,
    /// Whether the cosignatures that come in are put below the checkpoint, where they are of the same text.
    pub(crate) cosigned: bool,
    /// Cosigned notes of elsewhere.
    pub(crate) witnessed: Vec<String>,
}

/// The registry's keys in the wrong hands.
pub(crate) struct StolenKeys {
    keys: Keys,
}

impl StolenKeys {
    /// From the registry's folder.
    pub(crate) fn of(town: &Town) -> Self {
        Self { keys: Keys::read(town.registry().dir()).expect("the registry's keys") }
    }

    fn log_key(&self) -> LogKey {
        let origin = format!("{EXCHANGE}/directory").parse().expect("an origin");
        LogKey::new(origin, self.keys.log.public_key().as_bytes()).expect("the log's key")
    }

    /// The log's key as other tools read it.
    pub(crate) fn vkey(&self) -> String {
        self.log_key().plain().to_string()
    }

    /// Signs a checkpoint as the log.
    pub(crate) fn sign(&self, size: u64, root: Hash, time_ms: u64) -> String {
        let key = self.log_key();
        let checkpoint = Checkpoint::new(key.origin(), size, root).expect("a checkpoint");
        checkpoint::sign(&checkpoint, &key, time_ms / 1000, |message| self.keys.log.sign(message)).expect("signed")
    }

    /// A statement that nobody can object to: the authority admits one more department.
    pub(crate) fn admission(&self, department: &str) -> Vec<u8> {
        let key = |seed: u8, role| {
            let key = SigningKey::from_seed(&[seed ^ department.as_bytes()[0]; 32]).public_key().clone();
            Some(DescribedKey { role, key, valid_from_ms: 0, valid_until_ms: None }.to_wire())
        };
        let body = Body::DepartmentAdmitted(DepartmentAdmitted {
            department: department.to_owned(),
            name: Some(LocalName { zh: department.to_owned(), en: String::new() }),
            uscc: "118900000000010112".to_owned(),
            first_key: key(1, Role::Department),
            recovery_key: key(2, Role::Recovery),
            ..DepartmentAdmitted::default()
        });
        let object = Object::Department(department.parse().expect("an id"));
        let exchange = EXCHANGE.parse().expect("an id");
        let said = statement(&exchange, &object, None, SystemClock.now_ms(), body);
        let authority = self.keys.authority.as_ref().expect("the authority's key");
        envelope::seal(&said, authority).0.encode_to_vec()
    }
}

/// Has a node look for the registry there, beside where the directory says it is.
pub(crate) fn follow(node: &NodeHandle, address: &str) {
    node.edit_config(|text| {
        let lines = text.lines().map(|line| match line.strip_prefix("registry = ") {
            Some(_) => format!("registry = [\"{address}\"]\n"),
            None => format!("{line}\n"),
        });
        lines.collect()
    })
    .expect("the configuration is changed");
}

/// The root over entries.
pub(crate) fn root_of(entries: &[Vec<u8>]) -> Hash {
    let mut frontier = Frontier::new();
    entries.iter().for_each(|entry| drop(frontier.append(leaf_hash(entry))));
    frontier.root()
}

/// A server in the registry's place.
pub(crate) struct StandIn {
    address: SocketAddr,
    state: State,
    serving: tokio::task::JoinHandle<()>,
}

#[derive(Clone)]
struct State {
    saying: Arc<Mutex<Saying>>,
    changed: watch::Sender<u64>,
    leaving: watch::Sender<bool>,
    notes: Arc<Mutex<Vec<String>>>,
}

impl StandIn {
    /// Stands at an address (port 0 for any), and says this.
    pub(crate) async fn stand_at(address: &str, keys: &StolenKeys, saying: Saying) -> Self {
        let tls = ServerTls::new(&keys.keys.tls, ClientAuthentication::None).expect("the registry's TLS key");
        let address: SocketAddr = address.parse().expect("an address");
        let deadline = Instant::now() + Duration::from_secs(20);
        let listener = loop {
            match Listener::bind(address, Security::Tls(Arc::clone(&tls)), ListenerLimits::default()).await {
                Ok(listener) => break listener,
                // Who stood there before may take a moment to go.
                Err(error) if Instant::now() > deadline => panic!("the address is not free: {error}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        let state = State {
            saying: Arc::new(Mutex::new(saying)),
            changed: watch::Sender::new(0),
            leaving: watch::Sender::new(false),
            notes: Arc::default(),
        };
        let address = listener.local_address();
        let server = tuned_server(&EdgeLimits::default())
            .add_service(DirectoryServer::new(state.clone()))
            .add_service(WitnessesServer::new(state.clone()));
        let mut leaving = state.leaving.subscribe();
        let serving = tokio::spawn(async move {
            let left = async move { drop(leaving.wait_for(|leaving| *leaving).await) };
            let _ = server.serve_with_incoming_shutdown(listener.incoming(), left).await;
        });
        Self { address, state, serving }
    }

    /// Where it stands.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Says something else from now on.
    pub(crate) fn say(&self, change: impl FnOnce(&mut Saying)) {
        change(&mut self.state.saying.lock().unwrap_or_else(PoisonError::into_inner));
        self.state.changed.send_modify(|version| *version += 1);
    }

    /// The cosignatures that came in.
    pub(crate) fn notes(&self) -> Vec<String> {
        self.state.notes()
    }

    /// Leaves, and takes the connections along.
    pub(crate) async fn leave(self) {
        self.state.leaving.send_replace(true);
        self.serving.await.expect("it leaves");
    }
}

impl State {
    fn saying(&self) -> Saying {
        self.saying.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn notes(&self) -> Vec<String> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is said to whoever has `start` entries; how many it has then.
    fn answer(&self, start: u64) -> (ReadResponse, u64) {
        let saying = self.saying();
        let from = usize::try_from(start).unwrap_or(usize::MAX).min(saying.entries.len());
        let entries = saying.entries[from..].to_vec();
        let next = start + entries.len() as u64;
        let mut checkpoint = (saying.checkpoint)();
        if saying.cosigned
            && let Ok(mut note) = SignedNote::parse(checkpoint.as_bytes())
        {
            for text in self.notes() {
                let cosigned = SignedNote::parse(text.as_bytes()).expect("it was read before");
                if cosigned.text() == note.text() {
                    cosigned.signatures().iter().for_each(|line| note.add_signature(line.clone()).expect("room"));
                }
            }
            checkpoint = note.to_string();
        }
        let witnessed = saying.witnessed;
        (ReadResponse { start: start + saying.skips, entries, checkpoint, witnessed, ..ReadResponse::default() }, next)
    }
}

#[tonic::async_trait]
impl Directory for State {
    async fn submit(&self, _: Request<SubmitRequest>) -> Result<Response<SubmitResponse>, Status> {
        Err(Status::unavailable("not today"))
    }

    async fn read(&self, request: Request<ReadRequest>) -> Result<Response<ReadResponse>, Status> {
        Ok(Response::new(self.answer(request.into_inner().start).0))
    }

    type WatchStream = ReceiverStream<Result<ReadResponse, Status>>;

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let start = request.into_inner().start;
        if start > self.saying().entries.len() as u64 {
            return Err(Status::out_of_range("there are fewer"));
        }
        let (sender, receiver) = mpsc::channel(1);
        let (mut changed, mut leaving) = (self.changed.subscribe(), self.leaving.subscribe());
        let state = self.clone();
        tokio::spawn(async move {
            let mut next = start;
            loop {
                let (answer, then) = state.answer(next);
                next = then;
                if sender.send(Ok(answer)).await.is_err() {
                    return;
                }
                tokio::select! {
                    _ = changed.changed() => {}
                    _ = leaving.wait_for(|leaving| *leaving) => return,
                    () = tokio::time::sleep(RENEWAL) => {}
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

#[tonic::async_trait]
impl Witnesses for State {
    async fn cosign(&self, request: Request<CosignRequest>) -> Result<Response<CosignResponse>, Status> {
        let note = request.into_inner().note;
        SignedNote::parse(note.as_bytes()).map_err(|error| Status::invalid_argument(error.to_string()))?;
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).push(note);
        Ok(Response::new(CosignResponse { refused: None, again_in_seconds: 10 }))
    }
}
