//! The directory read as tiles over HTTP: by nodes that poll, by one that is far behind, from a cache that alters them, and
//! where the authority's profile keeps them for members. And a registry that goes on from what it verified. Out of scope:
//! the tiles' format (`interop`, `readers`).

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use exchange_node::keys::NodeKeys;
use host::{
    published::Reader,
    random::SystemRandom,
    tls::{ConnectorOptions, PeerConnector, TlsIdentity},
};
use proto::exchange::v1::Verdict;
use tests::bench::directory::place::fill;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use town::harness::{RegistryHandle, eventually};

use crate::support::{MARRIED, Place, exit, marital_status, replicas::http, said, small, verdict};

const LIMIT: Duration = Duration::from_secs(60);

/// A directory for which a node that is new is far behind.
const MANY: u64 = 2600;

const CHECKPOINT_LIMIT: usize = 64 * 1024;

/// All nodes ask tiles for news, every second.
async fn polling() -> Place {
    Place::start(|plan, dir| {
        let plan = plan.setting("follow = \"auto\"", "follow = \"tiles\"").setting("poll = \"4s\"", "poll = \"1s\"");
        small(plan, dir)
    })
    .await
}

async fn set_profile(place: &Place, text: &str) {
    let file = place.dir().join("profile.toml");
    fs::write(&file, text).unwrap();
    let set = place.town.registry_cli(&["profile", "set", file.to_str().unwrap(), "--officer", "0007"]).await.unwrap();
    assert_eq!(exit(&set), 0, "{}", said(&set));
    place.town.settled().await.unwrap();
}

/// The registry's tile port as whoever holds this identity sees it.
fn member(registry: &RegistryHandle, identity: &TlsIdentity) -> Reader {
    let theirs = registry::keys::Keys::read(registry.dir()).unwrap().tls.key_digest();
    let address = registry.tile_address();
    let options = ConnectorOptions::default();
    let connector = PeerConnector::new([address.clone()], [theirs], Some(identity), options).unwrap();
    Reader::of_peer(&connector, &address)
}

fn log_of(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_poll_follow_and_tiles_for_members_alone_are_served_to_members_alone() {
    let place = polling().await;
    let answered = place.ask(marital_status(&MARRIED, "married")).await;
    assert_eq!(verdict(&answered).verdict(), Verdict::Match);
    let registry = place.town.registry();
    let tiles: SocketAddr = registry.tile_address().parse().unwrap();
    assert_eq!(http(tiles, "/checkpoint").await.status, 200);

    set_profile(&place, "[tiles]\ntiles_members_only = true\n").await;
    let told = http(tiles, "/checkpoint").await;
    assert_eq!(told.status, 403);
    assert!(String::from_utf8_lossy(&told.body).contains("TLS"), "it says what to do");
    let stranger = TlsIdentity::generate(&SystemRandom, &["stranger"]).unwrap();
    assert!(member(registry, &stranger).read("checkpoint", CHECKPOINT_LIMIT).await.is_err());
    let housing = NodeKeys::read(place.town.node("housing").dir()).unwrap();
    let reader = member(registry, &housing.tls);
    let checkpoint = reader.read("checkpoint", CHECKPOINT_LIMIT).await.unwrap();
    assert!(checkpoint.starts_with(b"ninghe/directory\n"));
    // Both programs' audits read them too, each as who it is; and a node also where the place is named.
    let named = format!("http://{}", registry.tile_address());
    for arguments in [&["log", "verify"][..], &["log", "verify", "--from", &named]] {
        place.json("housing", arguments).await;
        let audited = place.town.registry_cli(arguments).await.unwrap();
        assert!(exit(&audited) == 0 && said(&audited).contains("The log is sound"), "{}", said(&audited));
    }
    let civil_affairs = NodeKeys::read(place.town.node("civil-affairs").dir()).unwrap();
    let ending = member(registry, &civil_affairs.tls);
    ending.read("checkpoint", CHECKPOINT_LIMIT).await.unwrap();
    // The nodes go on following, as members.
    set_profile(&place, "clock_skew_seconds = 61\n\n[tiles]\ntiles_members_only = true\n").await;

    // A department that is suspended is no member, on a connection that stands either.
    let suspend = ["department", "suspend", "housing", "--reason", "整改"];
    let suspended = place.town.registry_cli(&suspend).await.unwrap();
    assert_eq!(exit(&suspended), 0, "{}", said(&suspended));
    assert!(reader.read("checkpoint", CHECKPOINT_LIMIT).await.is_err());
    // Nor is one that has ended.
    let close = ["department", "close", "civil-affairs", "--reason", "机构改革方案"];
    let closed = place.town.registry_cli(&close).await.unwrap();
    assert_eq!(exit(&closed), 0, "{}", said(&closed));
    assert!(ending.read("checkpoint", CHECKPOINT_LIMIT).await.is_err());
}

/// Whoever finds no place to watch the registry reads its tiles instead, and misses nothing.
#[tokio::test(flavor = "multi_thread")]
async fn where_no_place_is_left_to_watch_the_registry_its_tiles_tell_the_same() {
    let place = Place::start(small).await;
    let registry = place.town.registry();
    let file = registry.dir().join("registry.toml");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("most_connections = 8192"));
    registry.stop().await.unwrap();
    // Half of them may watch: one of the two nodes.
    fs::write(&file, text.replace("most_connections = 8192", "most_connections = 3")).unwrap();
    registry.start().await.unwrap();
    let turned_away = async || {
        let logs = ["civil-affairs", "housing"].map(|node| log_of(&place.town.node(node).log()));
        logs.iter().any(|log| log.contains("too many watch the registry"))
    };
    assert!(eventually(LIMIT, turned_away).await, "both watch");
    set_profile(&place, "clock_skew_seconds = 61\n").await;
    let answered = place.ask(marital_status(&MARRIED, "married")).await;
    assert_eq!(verdict(&answered).verdict(), Verdict::Match);
}

/// Stands before a tile port, counts the bundles that it passes on, and alters them when it is told to.
struct Cache {
    address: SocketAddr,
    alters: Arc<AtomicBool>,
    bundles: Arc<AtomicUsize>,
}

impl Cache {
    async fn before(tiles: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (alters, bundles) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let cache = Self { address, alters: Arc::clone(&alters), bundles: Arc::clone(&bundles) };
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass_on(client, tiles, Arc::clone(&alters), Arc::clone(&bundles)));
            }
        });
        cache
    }
}

/// One request after the other.
async fn pass_on(mut client: TcpStream, tiles: SocketAddr, alters: Arc<AtomicBool>, bundles: Arc<AtomicUsize>) {
    let mut request = Vec::new();
    loop {
        let mut bytes = [0; 4096];
        match client.read(&mut bytes).await {
            Ok(0) | Err(_) => return,
            Ok(length) => request.extend_from_slice(&bytes[..length]),
        }
        if !request.ends_with(b"\r\n\r\n") {
            continue;
        }
        let head = String::from_utf8(std::mem::take(&mut request)).unwrap();
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let answer = http(tiles, &path).await;
        let mut body = answer.body;
        if path.starts_with("/tile/entries/") {
            bundles.fetch_add(1, Ordering::Relaxed);
            if alters.load(Ordering::Relaxed) {
                let middle = body.len() / 2;
                body[middle] ^= 1;
            }
        }
        let head = format!("HTTP/1.1 {} x\r\ncontent-length: {}\r\n\r\n", answer.status, body.len());
        if client.write_all(head.as_bytes()).await.is_err() || client.write_all(&body).await.is_err() {
            return;
        }
    }
}

/// A town with one department whose registry holds many statements; node and registry are stopped.
async fn large() -> Place {
    let place = Place::start(|plan, _| plan.department("housing")).await;
    place.town.node("housing").stop().await.unwrap();
    place.town.registry().stop().await.unwrap();
    fill(place.town.registry().dir(), MANY).await.unwrap();
    place
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_far_behind_reads_tiles_and_one_that_is_given_altered_ones_reads_the_port() {
    let place = large().await;
    let (registry, housing) = (place.town.registry(), place.town.node("housing"));
    let cache = Cache::before(registry.tile_address().parse().unwrap()).await;
    let config = registry.dir().join("registry.toml");
    let text = fs::read_to_string(&config).unwrap();
    let advertised = format!("advertise_tiles = [\"{}\"]", cache.address);
    assert!(text.contains("advertise_tiles = []"));
    let text = text.replace("advertise_tiles = []", &advertised);
    // It would listen to its nodes first, and have nothing large to show meanwhile.
    assert!(text.contains("listen_first_seconds = 5"));
    fs::write(&config, text.replace("listen_first_seconds = 5", "listen_first_seconds = 0")).unwrap();
    registry.start().await.unwrap();

    let read_anew = async |alters: bool, said: &str| {
        cache.alters.store(alters, Ordering::Relaxed);
        for kept in ["directory", "directory.view"] {
            let path = housing.dir().join(kept);
            let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        }
        let before = log_of(&housing.log()).len();
        housing.start().await.unwrap();
        // A registry that starts again listens to its nodes before it vouches for anything.
        let shown = async || place.json("housing", &["directory", "show"]).await;
        let has_all = async || shown().await["size"].as_u64().unwrap() >= MANY;
        assert!(eventually(LIMIT, has_all).await, "{}", shown().await);
        let shown = shown().await;
        assert_eq!(shown["state"], "fresh", "{shown}");
        // Whoever stands in between is no registry: nothing is found against it.
        assert_eq!(shown["findings"], 0, "{shown}");
        let log = log_of(&housing.log())[before..].to_owned();
        assert!(log.contains(said), "{log}");
        housing.stop().await.unwrap();
    };
    read_anew(false, "the directory was read as tiles").await;
    assert!(cache.bundles.load(Ordering::Relaxed) as u64 >= MANY / 256);
    read_anew(true, "tiles are of no use").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_goes_on_from_what_it_verified_unless_somebody_changed_it() {
    let place = large().await;
    let registry = place.town.registry();
    let resumed = || log_of(&registry.log()).matches("going on from what was verified before").count();
    registry.start().await.unwrap();
    let kept = registry.dir().join("directory.view");
    assert!(eventually(LIMIT, async || kept.exists()).await, "it is put down");
    assert_eq!(resumed(), 0);
    registry.kill();
    registry.start().await.unwrap();
    assert_eq!(resumed(), 1);
    place.town.node("housing").start().await.unwrap();
    place.town.settled().await.unwrap();

    registry.kill();
    let mut bytes = fs::read(&kept).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&kept, bytes).unwrap();
    registry.start().await.unwrap();
    assert_eq!(resumed(), 1, "everything is verified again");
    place.town.settled().await.unwrap();
}
