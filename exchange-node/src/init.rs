//! `exchange-node init`: makes a department's keys on its own machine, has it admitted with the authority's token, says
//! in the directory which key and address its node has, and writes `node.toml`. Run again after an interruption it goes
//! on with the same keys. `join` is the same for a further node of a department that is admitted. Out of scope: making
//! tokens (the registry's) and invitations (the department's node's).

mod join;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use host::{
    clock::Clock,
    files,
    random::Random,
    readiness::Readiness,
    tls::{ConnectError, SetupError, TlsKeyDigest},
};
use prost::Message;
use proto::{
    exchange::v1::Refusal,
    registry::v1::{EnrolRequest, EnrolmentOffer, enrol_response::Outcome},
};
use tokio_util::sync::CancellationToken;
use trust::{ids::NodeId, key::Signer, token::EnrolmentToken};

pub use self::join::{JoinOptions, Joined, join};
use crate::{
    config::{self, Config, NewConfig},
    keys::{self, Keyring, NewKeys},
    peers::Peers,
    publish::{self, Publisher},
    view::{self, DirectorySettings, Follower, RegistryLink, Tiles, View},
};

/// How long the registry may take to enrol, and the directory to arrive.
const PATIENCE: Duration = Duration::from_secs(15);

/// Why a node was not initialised. What was made so far stays; the same command goes on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nobody could reach the node.
    #[error(
        "say where other nodes reach this one: --address HOST:PORT, or --relay HOST:PORT for a node that can only dial out"
    )]
    AddressMissing,
    /// The address is none.
    #[error("--address {address}: HOST:PORT is expected at which other nodes reach this one, like 127.0.0.1:7443")]
    AddressMalformed {
        /// What was given.
        address: String,
    },
    /// The folder is another node's.
    #[error("{} is the node of {found}; choose another folder with --dir for {wanted}", dir.display())]
    AnotherNode {
        /// The folder.
        dir: PathBuf,
        /// Whose it is.
        found: String,
        /// Who was to be initialised.
        wanted: String,
    },
    /// The configuration that is there cannot be used.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// The directory did not arrive.
    #[error("the department is admitted, and the directory has not arrived within {} s: run the same command again", PATIENCE.as_secs())]
    DirectoryLate,
    /// A file cannot be written.
    #[error(transparent)]
    File(#[from] files::Error),
    /// The invitation cannot be used.
    #[error(transparent)]
    Invitation(#[from] crate::join::Error),
    /// Keys cannot be made or read.
    #[error(transparent)]
    Keys(#[from] keys::Error),
    /// The node's statements were not taken.
    #[error(transparent)]
    Publish(#[from] publish::Error),
    /// The registry refused the enrolment.
    #[error("the registry refused the enrolment ({}): {}; {}", .0.code, .0.message, .0.next_step)]
    Refused(Refusal),
    /// A blocking task ended by itself.
    #[error("opening the directory failed: {0}")]
    Task(#[from] tokio::task::JoinError),
    /// The token's TLS key cannot be used.
    #[error(transparent)]
    Tls(#[from] SetupError),
    /// The token is none.
    #[error("{}: {source}", path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: trust::token::Error,
    },
    /// The token cannot be read.
    #[error("cannot read the token {}: {source}", path.display())]
    TokenUnreadable {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// The registry is not there.
    #[error("the registry cannot be reached, nothing was enrolled yet: {0}")]
    Unreachable(String),
    /// The directory cannot be opened.
    #[error(transparent)]
    View(#[from] view::Error),
    /// The authority signs by hand.
    #[error(
        "the keys are made and handed in; the authority signs the admission on its own machine ({0}): run the same command again when it has"
    )]
    Waiting(String),
}

/// What `init` is asked for.
#[derive(Clone, Debug)]
pub struct InitOptions {
    /// The token file.
    pub token_file: PathBuf,
    /// Where other nodes reach this one, `host:port`, the preferred one first, which is listened on; port 0 takes any free
    /// one at each start. Empty for a node that can only dial out.
    pub addresses: Vec<String>,
    /// Relays at which it can be called, `host:port`.
    pub relays: Vec<String>,
    /// Where office systems reach it.
    pub office_address: SocketAddr,
    /// The node's id.
    pub node: NodeId,
    /// The folder.
    pub dir: PathBuf,
}

/// What `init` did.
#[derive(Clone, Debug)]
pub struct Initialised {
    /// The department, `<exchange>/<department>`.
    pub department: String,
    /// The index of its admission in the directory.
    pub admitted_at: u64,
    /// The written configuration.
    pub config: PathBuf,
    /// The recovery key, which belongs into a safe.
    pub recovery_key: PathBuf,
    /// Whether the directory says already where the node answers; otherwise `serve` says it.
    pub node_published: bool,
}

/// Initialises a node. `said` gets a line for each step done.
pub async fn init(
    options: &InitOptions,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    said: &mut (dyn FnMut(String) + Send),
) -> Result<Initialised, Error> {
    let token = read_token(&options.token_file)?;
    let place = Place::read(&options.addresses, &options.relays)?;
    let party = format!("{}/{}", token.exchange, token.department);
    let config_file = options.dir.join(config::FILE_NAME);
    check_folder(&config_file, &party)?;

    let made = NewKeys::read_or_make(&options.dir, &[&place.host_name()], random.as_ref())?;
    said(format!("keys are in {}", options.dir.join("keys").display()));

    let link = Arc::new(RegistryLink::new(token.registry.clone(), TlsKeyDigest::from_bytes(token.registry_tls_key)));
    let admitted_at = enrol(&link, &token, &made).await?;
    said(format!("{party} is admitted: statement {admitted_at} of the directory"));
    let tls_key = made.tls.key_digest();
    drop(made);

    let published = publish_node(options, &token, &link, (&clock, random), admitted_at, &place).await?;
    said(match published {
        true => format!("the directory says where node {} is reached: {}", options.node, place.told()),
        false => "serve will say in the directory where the node answers".to_owned(),
    });
    tracing::debug!(%tls_key, "initialised");

    let text = NewConfig {
        exchange: &token.exchange,
        department: &token.department,
        node: &options.node,
        authority_key: &token.authority_key,
        registry: &token.registry,
        registry_tls_key: TlsKeyDigest::from_bytes(token.registry_tls_key),
        peer_listen: place.listen,
        advertise: &place.advertise,
        relays: &place.relays,
        dial_out_only: place.dial_out_only(),
        office_listen: options.office_address,
    }
    .to_text();
    match files::create_file(&config_file, text.as_bytes(), files::PUBLIC_MODE) {
        Ok(()) => said(format!("{} is written", config_file.display())),
        Err(files::Error::Exists { .. }) => said(format!("{} was there and is left as it is", config_file.display())),
        Err(error) => return Err(error.into()),
    }
    Ok(Initialised {
        department: party,
        admitted_at,
        config: config_file,
        recovery_key: keys::recovery_file(&options.dir),
        node_published: published,
    })
}

fn read_token(path: &Path) -> Result<EnrolmentToken, Error> {
    let text =
        std::fs::read_to_string(path).map_err(|source| Error::TokenUnreadable { path: path.to_owned(), source })?;
    let text = zeroize::Zeroizing::new(text);
    EnrolmentToken::parse(&text).map_err(|source| Error::Token { path: path.to_owned(), source })
}

/// How a new node is reached.
struct Place {
    listen: SocketAddr,
    advertise: Vec<String>,
    relays: Vec<String>,
    addresses: Vec<String>,
}

impl Place {
    fn read(addresses: &[String], relays: &[String]) -> Result<Self, Error> {
        for relay in relays {
            let (_, told) = read_address(relay)?;
            if told.is_empty() {
                return Err(Error::AddressMalformed { address: relay.clone() });
            }
        }
        let (listen, mut advertise) = match addresses.first() {
            Some(first) => read_address(first)?,
            None if relays.is_empty() => return Err(Error::AddressMissing),
            // Listened on for the node's own `doctor`; nobody is told.
            None => (SocketAddr::from(([127, 0, 0, 1], 0)), Vec::new()),
        };
        for further in addresses.iter().skip(1) {
            advertise.extend(read_address(further)?.1);
        }
        Ok(Self { listen, advertise, relays: relays.to_vec(), addresses: addresses.to_vec() })
    }

    fn dial_out_only(&self) -> bool {
        self.addresses.is_empty()
    }

    /// For people who look at the certificate.
    fn host_name(&self) -> String {
        let first = self.addresses.first().and_then(|address| address.rsplit_once(':'));
        first.map_or("node.local", |(host, _)| host.trim_matches(['[', ']'])).to_owned()
    }

    fn told(&self) -> String {
        let relays = self.relays.iter().map(|relay| format!("relay {relay}"));
        self.addresses.iter().cloned().chain(relays).collect::<Vec<_>>().join(", ")
    }

    /// What the directory is to say; `None` where the address is known only once the node listens.
    fn published(&self) -> Option<publish::NodePlace> {
        let known = self.dial_out_only() || (self.listen.port() != 0 && !self.advertise.is_empty());
        known.then(|| publish::NodePlace {
            addresses: self.advertise.clone(),
            relays: self.relays.clone(),
            ..publish::NodePlace::default()
        })
    }
}

/// Where to listen, and what to say of it: a name is listened for on every interface.
fn read_address(address: &str) -> Result<(SocketAddr, Vec<String>), Error> {
    let malformed = || Error::AddressMalformed { address: address.to_owned() };
    if let Ok(listen) = address.parse::<SocketAddr>() {
        if listen.ip().is_unspecified() {
            return Err(malformed());
        }
        return Ok((listen, if listen.port() == 0 { Vec::new() } else { vec![address.to_owned()] }));
    }
    let (name, port) = address.rsplit_once(':').ok_or_else(malformed)?;
    let port: u16 = port.parse().map_err(|_| malformed())?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-".contains(&byte);
    if name.is_empty() || port == 0 || !name.bytes().all(plain) {
        return Err(malformed());
    }
    Ok((SocketAddr::from(([0, 0, 0, 0], port)), vec![address.to_owned()]))
}

/// A folder that belongs to another department's node is left alone.
fn check_folder(config_file: &Path, wanted: &str) -> Result<(), Error> {
    if !config_file.exists() {
        return Ok(());
    }
    let config = Config::load(config_file)?;
    let found = config.party().to_string();
    if found == wanted {
        return Ok(());
    }
    Err(Error::AnotherNode { dir: config.dir, found, wanted: wanted.to_owned() })
}

async fn enrol(link: &RegistryLink, token: &EnrolmentToken, made: &NewKeys) -> Result<u64, Error> {
    let offer = EnrolmentOffer {
        exchange_id: token.exchange.to_string(),
        department: token.department.to_string(),
        first_key: made.department.public_key().as_bytes().to_vec(),
        recovery_key: made.recovery.public_key().as_bytes().to_vec(),
    }
    .encode_to_vec();
    let request = EnrolRequest { mac: token.secret.mac(&offer).to_vec(), offer };
    let enrolled = tokio::time::timeout(PATIENCE, link.enrolment()?.enrol(request)).await;
    let response = match enrolled {
        Ok(Ok(response)) => response.into_inner(),
        Ok(Err(status)) => {
            let why = link.probe(None).await.err().map(|error: ConnectError| error.to_string());
            return Err(Error::Unreachable(why.unwrap_or_else(|| status.message().to_owned())));
        }
        Err(_) => return Err(Error::Unreachable(format!("no answer within {} s", PATIENCE.as_secs()))),
    };
    match response.outcome {
        Some(Outcome::Admitted(accepted)) => Ok(accepted.index),
        Some(Outcome::Waiting(text)) => Err(Error::Waiting(text)),
        Some(Outcome::Refused(refusal)) => Err(Error::Refused(refusal)),
        None => Err(Error::Unreachable("it answered nothing".to_owned())),
    }
}

/// Waits until the view has so many statements, for as long as it comes nearer: a large directory takes minutes.
async fn arrived(view: &View, size: u64) -> Result<(), Error> {
    let mut read = 0;
    while tokio::time::timeout(PATIENCE, view.reached(size)).await.is_err() {
        let now = view.next_index().await;
        if now <= read {
            return Err(Error::DirectoryLate);
        }
        read = now;
    }
    Ok(())
}

/// Reads the directory and says in it which key the node has and, where the address is known, where it answers.
async fn publish_node(
    options: &InitOptions,
    token: &EnrolmentToken,
    link: &Arc<RegistryLink>,
    (clock, random): (&Arc<dyn Clock>, Arc<dyn Random>),
    admitted_at: u64,
    place: &Place,
) -> Result<bool, Error> {
    let keys = Arc::new(Keyring::read(&options.dir)?);
    let (dir, exchange, authority) = (options.dir.clone(), token.exchange.clone(), token.authority_key.clone());
    let view = tokio::task::spawn_blocking(move || View::open(&dir, &exchange, &authority, |_| {})).await??;
    let view = Arc::new(view);
    let stop = CancellationToken::new();
    let follower = Follower {
        view: Arc::clone(&view),
        link: Arc::clone(link),
        clock: Arc::clone(clock),
        condition: Readiness::new().condition("directory"),
        teller: None,
        tiles: Tiles { settings: DirectorySettings::default(), keys: Some(Arc::clone(&keys)), random },
    };
    let following = tokio::spawn(follower.run(stop.clone()));
    let publishing = async {
        arrived(&view, admitted_at + 1).await?;
        let publisher = Publisher {
            exchange: token.exchange.clone(),
            department: token.department.clone(),
            node: options.node.clone(),
            peers: Arc::new(Peers::new(keys.tls())),
            keys: Arc::clone(&keys),
            view: Arc::clone(&view),
            link: Arc::clone(link),
            clock: Arc::clone(clock),
        };
        publisher.ensure_node_key(&options.node).await?;
        let Some(place) = place.published() else { return Ok(false) };
        publisher.ensure_node(&options.node, &place).await?;
        Ok(true)
    };
    let outcome = publishing.await;
    stop.cancel();
    // The store is let go of before `serve` may want it; how the follower ended is of no interest any more.
    let _ = following.await;
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_where_to_listen_and_what_to_tell() {
        let (listen, told) = read_address("127.0.0.1:7443").unwrap();
        assert_eq!(
            (listen.to_string().as_str(), told.as_slice()),
            ("127.0.0.1:7443", &["127.0.0.1:7443".to_owned()][..])
        );
        let (listen, told) = read_address("node.civil-affairs.example:7443").unwrap();
        assert_eq!(listen.to_string(), "0.0.0.0:7443");
        assert_eq!(told, ["node.civil-affairs.example:7443"]);
        let (listen, told) = read_address("127.0.0.1:0").unwrap();
        assert_eq!((listen.port(), told.len()), (0, 0));
        for wrong in ["", "7443", "0.0.0.0:7443", "[::]:7443", "node:", "node:0", "node:99999", "a b:1", "民政局:7443"]
        {
            assert!(matches!(read_address(wrong), Err(Error::AddressMalformed { .. })), "{wrong}");
        }
    }

    #[test]
    fn a_node_that_can_only_dial_out_names_its_relays_alone() {
        let place = |addresses: &[&str], relays: &[&str]| {
            let owned = |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect::<Vec<_>>();
            Place::read(&owned(addresses), &owned(relays))
        };
        let dialling = place(&[], &["203.0.113.7:7470"]).unwrap();
        assert!(dialling.dial_out_only() && dialling.listen.ip().is_loopback());
        let published = dialling.published().unwrap();
        assert_eq!((published.addresses.len(), published.relays.len()), (0, 1));
        let both = place(&["10.0.0.1:7443", "[2001:db8::1]:7443"], &["relay.example:7470"]).unwrap();
        assert_eq!(both.published().unwrap().addresses, ["10.0.0.1:7443", "[2001:db8::1]:7443"]);
        assert_eq!(both.listen.to_string(), "10.0.0.1:7443");
        assert!(place(&["127.0.0.1:0"], &[]).unwrap().published().is_none());
        assert!(matches!(place(&[], &[]), Err(Error::AddressMissing)));
        assert!(matches!(place(&[], &["relay"]), Err(Error::AddressMalformed { .. })));
        assert!(matches!(place(&[], &["127.0.0.1:0"]), Err(Error::AddressMalformed { .. })));
    }

    #[test]
    fn a_token_that_is_none_is_named_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.token");
        std::fs::write(&path, "exchange = 1\n").unwrap();
        let error = read_token(&path).unwrap_err().to_string();
        assert!(error.contains("x.token: line 1"), "{error}");
        assert!(matches!(read_token(&dir.path().join("none")), Err(Error::TokenUnreadable { .. })));
    }
}
