//! The directory log as C2SP `tlog-tiles` over plain HTTP: `/checkpoint`, `/tile/<L>/<N>[.p/<W>]` and
//! `/tile/entries/<N>[.p/<W>]`. What is served is signed or leads to what is signed, so any cache may stand in between:
//! finished tiles never change and say so, everything else is fresh for a moment, and everything has an ETag. So a hundred
//! thousand nodes that poll ask this port for little more than whether anything is new.
//!
//! The second log is served in the same way below `/anchors`. What was served lately is kept in memory: it is served on
//! while the store is away.
//!
//! Where the authority's profile keeps tiles for members, they are served over mutual TLS alone, at the same port, to whoever
//! shows the TLS key of a node in the directory; no cache keeps them for others. Out of scope: TLS for everybody else (put a
//! proxy in front where it is wanted).

mod kept;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use host::{
    clock::Clock,
    edge::{Listener, PeerInfo, PeerStream},
    tls::{PeerPolicy, TlsKeyDigest},
};
use hyper::server::conn::{http1, http2};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use proto::registry::v1::RegistryAnnounced;
use tokio::sync::Semaphore;
use tokio_stream::StreamExt;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use trust::log::{
    bundle::EntryBundle,
    tile::{TileCoordinate, TilePath, encode_tile},
};

use self::kept::{Content, KeptTiles};
use crate::{
    anchors::Anchors,
    ledger::{self, Ledger, ReadLimit},
    sequencer::{Head, Sequencer},
    witnesses::Witnesses,
};

/// How many bundles of entries are read at once: each may be 16 MiB.
const MOST_BUNDLES: usize = 8;

/// How long a client may take for the head of its request.
const SLOWEST_HEAD: Duration = Duration::from_secs(10);

/// How often a member that says nothing is asked whether it is there.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// How many tiles a member may ask for at once over one connection.
const MOST_STREAMS: u32 = 32;

const MEMBERS_ONLY: &str =
    "the authority's profile keeps these tiles for nodes of the exchange: connect with TLS and show a node's key\n";

const IMMUTABLE: &str = "public, max-age=31536000, immutable";
/// A checkpoint may be a second old: a revocation is told to peers directly.
const FRESH: &str = "public, max-age=1";
/// A part of a tile stays what it is, and is soon of no use to anybody.
const PASSING: &str = "public, max-age=60";

/// What a log says of itself now.
type HeadOf = Box<dyn Fn() -> Head + Send + Sync>;

struct Tiles {
    head: HeadOf,
    ledger: Arc<dyn Ledger>,
    bundles: Semaphore,
    kept: KeptTiles,
}

impl Tiles {
    fn new(head: HeadOf, ledger: Arc<dyn Ledger>) -> Self {
        Self { head, ledger, bundles: Semaphore::new(MOST_BUNDLES), kept: KeptTiles::default() }
    }
}

/// The registry's two logs.
struct Logs {
    directory: Tiles,
    anchors: Tiles,
    members: Members,
}

/// Who is a member: a node of a department that takes part, and the registry itself, whose commands read like anybody.
#[derive(Clone)]
pub struct Members {
    sequencer: Sequencer,
    clock: Arc<dyn Clock>,
}

impl Members {
    /// As the registry's own directory says.
    pub fn new(sequencer: Sequencer, clock: Arc<dyn Clock>) -> Self {
        Self { sequencer, clock }
    }

    fn are_all_there_is(&self) -> bool {
        self.sequencer.directory().profile().tiles_members_only
    }
}

impl PeerPolicy for Members {
    fn accepts(&self, key: &TlsKeyDigest) -> bool {
        let directory = self.sequencer.directory();
        let is_own =
            |known: &RegistryAnnounced| known.tls_key == key.as_bytes() || known.next_tls_key == key.as_bytes();
        if directory.registry().is_some_and(is_own) {
            return true;
        }
        let node = directory.node_by_tls_key(key.as_bytes());
        let department = node.and_then(|node| directory.department(&node.department));
        let now_ms = self.clock.now_ms();
        department.is_some_and(|department| department.suspended.is_none() && department.closed_at(now_ms).is_none())
    }
}

/// The directory's head with its witnesses' cosignatures.
fn witnessed(sequencer: &Sequencer, witnesses: &Witnesses) -> Head {
    let head = sequencer.head();
    Head { checkpoint: witnesses.serve(&head).checkpoint, ..head }
}

/// The routes.
pub fn router(
    sequencer: Sequencer,
    ledger: Arc<dyn Ledger>,
    witnesses: Witnesses,
    anchors: Arc<Anchors>,
    clock: Arc<dyn Clock>,
) -> Router {
    let second = anchors.ledger();
    let logs = Logs {
        members: Members::new(sequencer.clone(), clock),
        directory: Tiles::new(Box::new(move || witnessed(&sequencer, &witnesses)), ledger),
        anchors: Tiles::new(Box::new(move || anchors.head()), second),
    };
    // The paths have a grammar of their own, which `TilePath` reads whole.
    Router::new().fallback(answer).with_state(Arc::new(logs))
}

/// Serves the routes until `stop`, and then what is under way.
pub async fn serve(listener: Listener, router: Router, stop: CancellationToken) {
    let connections = TaskTracker::new();
    let mut incoming = listener.incoming();
    loop {
        let stream = tokio::select! {
            () = stop.cancelled() => break,
            stream = incoming.next() => stream,
        };
        match stream {
            Some(Ok(stream)) => drop(connections.spawn(serve_one(stream, router.clone(), stop.clone()))),
            Some(Err(_)) => {}
            None => break,
        }
    }
    drop(incoming);
    connections.close();
    connections.wait().await;
}

async fn serve_one(stream: PeerStream, router: Router, stop: CancellationToken) {
    let peer = stream.info();
    let service = TowerToHyperService::new(router.layer(axum::Extension(peer)));
    if peer.tls_key.is_some() {
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEP_ALIVE)
            .max_concurrent_streams(MOST_STREAMS)
            .serve_connection(TokioIo::new(stream), service);
        return until_stopped(connection, http2::Connection::graceful_shutdown, stop).await;
    }
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(SLOWEST_HEAD)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    until_stopped(connection, http1::Connection::graceful_shutdown, stop).await;
}

/// Drives a connection to its end; on `stop` to the end of what is under way.
async fn until_stopped<C: Future<Output = hyper::Result<()>>>(
    connection: C,
    shut_down: impl FnOnce(std::pin::Pin<&mut C>),
    stop: CancellationToken,
) {
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            shut_down(connection.as_mut());
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a tile connection ended");
    }
}

async fn answer(
    State(logs): State<Arc<Logs>>,
    axum::Extension(peer): axum::Extension<PeerInfo>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let only_members = logs.members.are_all_there_is();
    // Asked with each request: a connection outlives its key's welcome.
    if only_members && !peer.tls_key.is_some_and(|key| logs.members.accepts(&key)) {
        return ([(header::CACHE_CONTROL, "no-store")], (StatusCode::FORBIDDEN, MEMBERS_ONLY)).into_response();
    }
    let answer = read_log(&logs, method, uri, headers).await;
    if only_members { for_members(answer) } else { answer }
}

/// What a member was served is kept by nobody for others.
fn for_members(mut answer: Response) -> Response {
    let said = answer.headers().get(header::CACHE_CONTROL).and_then(|said| said.to_str().ok());
    if let Some(private) = said.map(|said| said.replacen("public", "private", 1)).and_then(|said| said.parse().ok()) {
        answer.headers_mut().insert(header::CACHE_CONTROL, private);
    }
    answer
}

async fn read_log(logs: &Logs, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    if method != Method::GET && method != Method::HEAD {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let path = uri.path().trim_start_matches('/');
    let (tiles, path) = match path.strip_prefix("anchors/") {
        Some(path) => (&logs.anchors, path),
        None => (&logs.directory, path),
    };
    if path == "checkpoint" {
        let checkpoint = (tiles.head)().checkpoint.to_string();
        if checkpoint.is_empty() {
            return ([(header::CACHE_CONTROL, FRESH)], StatusCode::NOT_FOUND).into_response();
        }
        return found("text/plain; charset=utf-8", FRESH, &Content::new(checkpoint.into_bytes()), &headers);
    }
    let Ok(path) = path.parse::<TilePath>() else { return StatusCode::NOT_FOUND.into_response() };
    let (TilePath::Hashes(coordinate) | TilePath::Entries(coordinate)) = path;
    let caching = if coordinate.is_full() { IMMUTABLE } else { PASSING };
    match tiles.read(path).await {
        Ok(Some(content)) => found("application/octet-stream", caching, &content, &headers),
        Ok(None) => ([(header::CACHE_CONTROL, FRESH)], StatusCode::NOT_FOUND).into_response(),
        Err(ledger::Error::Away { .. }) => {
            ([(header::RETRY_AFTER, "10"), (header::CACHE_CONTROL, "no-store")], StatusCode::SERVICE_UNAVAILABLE)
                .into_response()
        }
        Err(error) => {
            tracing::error!(%error, "a tile cannot be read");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

fn found(content_type: &'static str, caching: &'static str, content: &Content, asked: &HeaderMap) -> Response {
    let known = asked.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok()).unwrap_or_default();
    let tag = content.tag();
    if known.split(',').map(|known| known.trim().trim_start_matches("W/")).any(|known| known == "*" || known == tag) {
        return ([(header::CACHE_CONTROL, caching), (header::ETAG, tag)], StatusCode::NOT_MODIFIED).into_response();
    }
    let headers = [(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, caching), (header::ETAG, tag)];
    (headers, Body::from(content.bytes())).into_response()
}

impl Tiles {
    /// What stands under a path, if the published checkpoint covers it: nothing is served that is not signed for.
    async fn read(&self, path: TilePath) -> Result<Option<Content>, ledger::Error> {
        let size = (self.head)().size;
        let (TilePath::Hashes(coordinate) | TilePath::Entries(coordinate)) = path;
        if !coordinate.is_in_tree(size) {
            return Ok(None);
        }
        if let Some(content) = self.kept.get(&path) {
            return Ok(Some(content));
        }
        let bytes = match path {
            TilePath::Hashes(coordinate) => self.ledger.tile(coordinate).await?.map(|hashes| encode_tile(&hashes)),
            TilePath::Entries(coordinate) => self.bundle(coordinate).await?,
        };
        let Some(content) = bytes.map(Content::new) else { return Ok(None) };
        self.kept.keep(path, content.clone());
        Ok(Some(content))
    }

    async fn bundle(&self, coordinate: TileCoordinate) -> Result<Option<Vec<u8>>, ledger::Error> {
        // Closed never: an error only says that nobody waits any more.
        let Ok(_turn) = self.bundles.acquire().await else { return Ok(None) };
        let width = usize::from(coordinate.width());
        let entries = self.ledger.read(coordinate.index() * 256, ReadLimit::entries(width)).await?;
        let bundle = EntryBundle::new(entries).map_err(ledger::Error::damaged)?;
        Ok((bundle.entries().len() == width).then(|| bundle.encode()))
    }
}
