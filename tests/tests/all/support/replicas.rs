//! One or several registries over one store, as real processes, behind one address: a small balancer that takes each
//! connection to the next registry that is there. Departments that write to it without nodes of their own, and what shows
//! that nothing they said was lost.

use std::{
    collections::HashMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use exchange_node::view::{RegistryLink, View};
use host::{
    edge::ChannelLimits,
    tls::{ConnectorOptions, PeerConnector, TlsIdentity, TlsKeyDigest},
};
use prost::Message;
use proto::{
    exchange::v1::Envelope,
    registry::v1::{
        self as wire, ReadRequest, SubmitRequest, anchor_response, anchors_client::AnchorsClient,
        directory_client::DirectoryClient, history_client::HistoryClient, statement::Body, submit_response::Outcome,
    },
};
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::Channel;
use town::harness::Programs;
use trust::{
    directory::{Object, statement},
    envelope,
    ids::{Digest, ExchangeId},
    key::{DescribedKey, Role, Signer, SigningKey},
    log::{
        checkpoint::{self, Checkpoint, LogKey},
        hash::{Hash, leaf_hash},
        proof::{consistency_proof, tree_root},
        tile::TileSource,
    },
};

use crate::postgres_server::Scratch;

/// How long anything may take on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// One registry.
pub(crate) struct Replica {
    dir: PathBuf,
    process: Option<Child>,
}

/// Where a registry is, as its ready file says.
#[derive(serde::Deserialize)]
struct Ready {
    address: SocketAddr,
    tiles: SocketAddr,
}

impl Replica {
    fn new(dir: PathBuf) -> Self {
        Self { dir, process: None }
    }

    /// Starts it; it is ready when this returns.
    pub(crate) async fn start(&mut self) {
        let _ = fs::remove_file(self.dir.join(host::ready_file::FILE_NAME));
        let log = fs::File::create(self.dir.join("log")).expect("a log");
        let program = Programs::find().expect("the programs").registry();
        let mut command = Command::new(program);
        command.arg("serve").arg("--config").arg(self.dir.join("registry.toml")).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a log")).stderr(log);
        self.process = Some(command.spawn().expect("the registry starts"));
        let deadline = Instant::now() + LIMIT;
        while self.ready().is_none() {
            let ended = self.process.as_mut().and_then(|child| child.try_wait().ok().flatten());
            let log = || fs::read_to_string(self.dir.join("log")).unwrap_or_default();
            assert!(ended.is_none() && Instant::now() < deadline, "the registry does not come up: {}", log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn ready(&self) -> Option<Ready> {
        serde_json::from_slice(&fs::read(self.dir.join(host::ready_file::FILE_NAME)).ok()?).ok()
    }

    /// Its folder.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// It runs in another folder from its next start on.
    pub(crate) fn move_to(&mut self, dir: PathBuf) {
        self.kill();
        self.dir = dir;
    }

    /// The address of its gRPC port.
    pub(crate) fn address(&self) -> SocketAddr {
        self.ready().expect("it runs").address
    }

    /// The address of its tile port.
    pub(crate) fn tiles(&self) -> SocketAddr {
        self.ready().expect("it runs").tiles
    }

    /// Ends it at once (SIGKILL).
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.process.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// A command to it; what it printed, as JSON.
    pub(crate) async fn command(&self, arguments: &[&str]) -> serde_json::Value {
        let output = registry(&self.dir, arguments).await;
        assert!(output.status.success(), "{arguments:?}: {}", crate::support::said(&output));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs a registry's command on a folder.
pub(crate) async fn registry(dir: &Path, arguments: &[&str]) -> std::process::Output {
    let program = Programs::find().expect("the programs").registry();
    let mut command = tokio::process::Command::new(program);
    command.arg("--json").arg("--dir").arg(dir).args(arguments).stdin(Stdio::null());
    command.output().await.expect("the command runs")
}

/// Registries over one database, behind one address.
pub(crate) struct Replicas {
    pub(crate) replicas: Vec<Replica>,
    pub(crate) dir: tempfile::TempDir,
    /// The address that all of them are behind.
    pub(crate) address: SocketAddr,
    authority: Arc<SigningKey>,
    targets: Arc<std::sync::RwLock<Vec<SocketAddr>>>,
}

impl Replicas {
    /// Founds an exchange in the database, and starts so many registries over it.
    pub(crate) async fn start(scratch: &Scratch, count: usize) -> Self {
        Self::start_over(&scratch.url(), count).await
    }

    /// As [`Replicas::start`], over any store that `registry init --store` takes.
    pub(crate) async fn start_over(store: &str, count: usize) -> Self {
        let dir = tempfile::Builder::new().prefix("errand-").tempdir().expect("a temporary folder");
        let first = dir.path().join("r0");
        let any = ["--listen", "127.0.0.1:0", "--tiles", "127.0.0.1:0", "--store", store];
        let made = registry(&first, &[&["init"][..], &any[..]].concat()).await;
        assert!(made.status.success(), "{}", crate::support::said(&made));
        let mut replicas = vec![Replica::new(first.clone())];
        for number in 1..count {
            // Another registry over the same directory is the same folder: keys and configuration.
            let other = dir.path().join(format!("r{number}"));
            let copied = Command::new("cp").arg("-a").arg(&first).arg(&other).status().expect("cp runs");
            assert!(copied.success());
            replicas.push(Replica::new(other));
        }
        for replica in &mut replicas {
            replica.start().await;
        }
        let seed = fs::read_to_string(first.join("keys/authority.key")).expect("the authority's key");
        let seed = data_encoding::HEXLOWER.decode(seed.trim().as_bytes()).expect("hex digits");
        let authority = Arc::new(SigningKey::from_seed(&seed.try_into().expect("32 bytes")));
        let targets = Arc::new(std::sync::RwLock::new(replicas.iter().map(Replica::address).collect()));
        let address = balance(Arc::clone(&targets)).await;
        Self { replicas, dir, address, authority, targets }
    }

    /// The balancer hears of a registry that has another address now.
    pub(crate) fn rebalance(&self) {
        *self.targets.write().unwrap() = self.replicas.iter().filter_map(|one| Some(one.ready()?.address)).collect();
    }

    pub(crate) fn tls_key(&self) -> TlsKeyDigest {
        TlsIdentity::read(&self.replicas[0].dir.join("keys/tls.pem")).expect("the TLS key").key_digest()
    }

    /// A client of the directory at an address.
    pub(crate) fn client(&self, address: SocketAddr) -> DirectoryClient<Channel> {
        let link = RegistryLink::new(vec![address.to_string()], self.tls_key());
        link.directory(None).expect("a channel")
    }

    /// A client of the log's history at an address.
    pub(crate) fn history(&self, address: SocketAddr) -> HistoryClient<Channel> {
        RegistryLink::new(vec![address.to_string()], self.tls_key()).history(None).expect("a channel")
    }

    /// A client of a registry's second log.
    pub(crate) fn anchors(&self, number: usize) -> AnchorsClient<Channel> {
        let address = self.replicas[number].address().to_string();
        let connector = PeerConnector::new([address], [self.tls_key()], None, ConnectorOptions::default());
        AnchorsClient::new(connector.expect("a connector").channel(&ChannelLimits::default()))
    }

    pub(crate) fn authority(&self) -> &SigningKey {
        &self.authority
    }

    /// A department with its keys, admitted.
    pub(crate) async fn department(&self, number: usize) -> Writer {
        let (first, recovery) = (key(&format!("first {number}")), key(&format!("recovery {number}")));
        let id = format!("department-{number}");
        let described = |key: &SigningKey, role| {
            Some(DescribedKey { role, key: key.public_key().clone(), valid_from_ms: 0, valid_until_ms: None }.to_wire())
        };
        let body = Body::DepartmentAdmitted(wire::DepartmentAdmitted {
            department: id.clone(),
            name: Some(wire::LocalName { zh: format!("{number}号局"), en: String::new() }),
            uscc: "118900000000010112".into(),
            first_key: described(&first, Role::Department),
            recovery_key: described(&recovery, Role::Recovery),
            division: String::new(),
        });
        let object = Object::Department(id.parse().expect("an id"));
        let mut writer = Writer {
            department: id,
            key: first,
            client: self.client(self.address),
            said: Vec::new(),
            evidence: Leaves::default(),
        };
        writer.say(&object, body, Some(&self.authority)).await;
        writer
    }
}

/// The key that a name stands for.
fn key(name: &str) -> SigningKey {
    use sha2::{Digest as _, Sha256};
    SigningKey::from_seed(&Sha256::digest(name.as_bytes()).into())
}

/// A department that makes statements and insists until they are accepted.
pub(crate) struct Writer {
    department: String,
    key: SigningKey,
    client: DirectoryClient<Channel>,
    /// What was acknowledged: index and identity.
    pub(crate) said: Vec<(u64, Digest)>,
    evidence: Leaves,
}

/// The leaves of a small log: fewer than a tile holds.
#[derive(Default)]
struct Leaves(Vec<Hash>);

impl TileSource for &Leaves {
    type Error = std::convert::Infallible;
    fn tile(&self, level: u8, index: u64, width: u16) -> Result<Vec<Hash>, Self::Error> {
        assert_eq!((level, index), (0, 0), "more than one tile");
        Ok(self.0[..usize::from(width)].to_vec())
    }
}

impl Writer {
    /// Adds a node key. The same number again is the same statement.
    pub(crate) async fn add_key(&mut self, number: usize) {
        let added = key(&format!("{} key {number}", self.department));
        let described =
            DescribedKey { role: Role::Node, key: added.public_key().clone(), valid_from_ms: 0, valid_until_ms: None };
        let body = Body::KeyAdded(wire::KeyAdded {
            department: self.department.clone(),
            key: Some(described.to_wire()),
            node: "1".into(),
        });
        self.say(&Object::Key(*added.public_key().id()), body, None).await;
    }

    /// Adds an entry to an evidence log of its own and anchors its checkpoint, signed with the key of this number; insists
    /// until it is taken. The index that it has in the second log.
    pub(crate) async fn anchor(&mut self, number: usize, client: &mut AnchorsClient<Channel>) -> u64 {
        let before = self.evidence.0.len() as u64;
        self.evidence.0.push(leaf_hash(&before.to_be_bytes()));
        let size = before + 1;
        let root = tree_root(&&self.evidence, size).expect("a tree");
        let proof =
            if before == 0 { Vec::new() } else { consistency_proof(&&self.evidence, before, size).expect("a proof") };
        let signer = key(&format!("{} key {number}", self.department));
        let origin = format!("ninghe/{}/1/evidence", self.department);
        let log_key = LogKey::new(origin.parse().expect("a name"), signer.public_key().as_bytes()).expect("a key");
        let unsigned = Checkpoint::new(log_key.origin(), size, root).expect("a checkpoint");
        let note = checkpoint::sign(&unsigned, &log_key, 1_767_225_600 + size, |message| signer.sign(message));
        let consistency = proof.iter().map(|hash| hash.as_bytes().to_vec()).collect();
        let request = wire::AnchorRequest { checkpoint: note.expect("a note"), consistency };
        let deadline = Instant::now() + LIMIT;
        loop {
            match client.anchor(request.clone()).await.map(|response| response.into_inner().outcome) {
                Ok(Some(anchor_response::Outcome::Anchored(entry))) => return entry.index,
                Ok(outcome) => assert!(Instant::now() < deadline, "{outcome:?}"),
                Err(status) => assert!(Instant::now() < deadline, "{status}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn say(&mut self, object: &Object, body: Body, signer: Option<&SigningKey>) {
        let exchange: ExchangeId = "ninghe".parse().expect("an id");
        let stated = statement(&exchange, object, None, 1_767_225_600_000, body);
        let (sealed, digest) = envelope::seal(&stated, signer.unwrap_or(&self.key));
        let request = SubmitRequest { envelope: sealed.encode_to_vec() };
        let deadline = Instant::now() + LIMIT;
        loop {
            // Whatever happens on the way, the same statement again gets the answer that the first would have got.
            match self.client.submit(request.clone()).await.map(|response| response.into_inner().outcome) {
                Ok(Some(Outcome::Accepted(accepted))) => {
                    self.said.push((accepted.index, digest));
                    return;
                }
                Ok(Some(Outcome::Refused(refusal))) if refusal.code == "OVERLOADED" => {}
                Ok(outcome) => panic!("{object}: {outcome:?}"),
                Err(status) => assert!(Instant::now() < deadline, "{object}: {status}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Takes each connection to the next target that is there.
async fn balance(targets: Arc<std::sync::RwLock<Vec<SocketAddr>>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    let next = Arc::new(AtomicUsize::new(0));
    tokio::spawn(async move {
        while let Ok((mut incoming, _)) = listener.accept().await {
            let (targets, next) = (targets.read().unwrap().clone(), Arc::clone(&next));
            tokio::spawn(async move {
                for _ in 0..targets.len() {
                    let target = targets[next.fetch_add(1, Ordering::Relaxed) % targets.len()];
                    if let Ok(mut outgoing) = TcpStream::connect(target).await {
                        // However it ends: both sides see the end.
                        let _ = tokio::io::copy_bidirectional(&mut incoming, &mut outgoing).await;
                        return;
                    }
                }
            });
        }
    });
    address
}

/// All entries that a registry serves, with its checkpoint.
pub(crate) async fn served(replicas: &Replicas, number: usize) -> (Vec<Vec<u8>>, String) {
    let mut client = replicas.client(replicas.replicas[number].address());
    let (mut entries, mut checkpoint) = (Vec::new(), String::new());
    loop {
        let start = entries.len() as u64;
        let read = client.read(ReadRequest { start, limit: 0 }).await.unwrap().into_inner();
        if read.entries.is_empty() {
            return (entries, checkpoint);
        }
        entries.extend(read.entries);
        checkpoint = read.checkpoint;
    }
}

/// A node's own view of what was served: every statement verified, the root found in a checkpoint.
pub(crate) async fn verified(replicas: &Replicas, entries: &[Vec<u8>], checkpoint: &str) -> u64 {
    let dir = tempfile::tempdir().unwrap();
    let authority = replicas.authority().public_key();
    let view = View::open(dir.path(), &"ninghe".parse().unwrap(), authority, |reason| panic!("{reason}")).unwrap();
    for (start, chunk) in entries.chunks(1000).enumerate() {
        view.accept(start as u64 * 1000, chunk.to_vec(), checkpoint, 0).await.unwrap();
    }
    view.seen().size()
}

/// Each acknowledged statement is in the log once, where it was said to be, and nothing else is, but for what the
/// registries themselves say.
pub(crate) fn assert_nothing_is_lost_or_doubled(entries: &[Vec<u8>], said: &[(u64, Digest)]) {
    let mut places: HashMap<Digest, Vec<u64>> = HashMap::new();
    for (index, entry) in (0_u64..).zip(entries) {
        let envelope = Envelope::decode(entry.as_slice()).unwrap();
        places.entry(envelope::digest(&envelope.payload_type, &envelope.payload)).or_default().push(index);
    }
    for (index, digest) in said {
        assert_eq!(places.get(digest), Some(&vec![*index]), "statement {digest}");
    }
    assert!(places.values().all(|places| places.len() == 1), "a statement stands twice");
}

/// What an HTTP server answered.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// A plain HTTP GET.
pub(crate) async fn http(address: SocketAddr, path: &str) -> Answer {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = TcpStream::connect(address).await.expect("the port is open");
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it is taken");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.expect("it is answered");
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8(bytes[..end].to_vec()).expect("text").to_lowercase();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Answer { status, body: bytes[end + 4..].to_vec() }
}

/// Whether a registry says that it can do its work.
pub(crate) async fn is_serving(address: SocketAddr, tls_key: TlsKeyDigest) -> bool {
    use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
    let connector = PeerConnector::new([address.to_string()], [tls_key], None, ConnectorOptions::default());
    let channel = connector.expect("a connector").channel(&ChannelLimits::default());
    let checked = HealthClient::new(channel).check(HealthCheckRequest { service: String::new() }).await;
    checked.is_ok_and(|response| response.into_inner().status() == ServingStatus::Serving)
}
