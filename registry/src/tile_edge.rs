//! The directory log as C2SP `tlog-tiles` over plain HTTP: `/checkpoint`, `/tile/<L>/<N>[.p/<W>]` and
//! `/tile/entries/<N>[.p/<W>]`. What is served is signed or leads to what is signed, so any cache may stand in between:
//! finished tiles never change and say so, everything else is fresh for a moment, and everything has an ETag. So a hundred
//! thousand nodes that poll ask this port for little more than whether anything is new.
//!
//! The second log is served in the same way below `/anchors`. What was served lately is kept in memory: it is served on while the store is away. Out of scope: TLS (put a proxy in
//! front where one is wanted).

mod kept;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use host::edge::{Listener, PeerStream};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
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
}

/// The directory's head with its witnesses' cosignatures.
fn witnessed(sequencer: &Sequencer, witnesses: &Witnesses) -> Head {
    let head = sequencer.head();
    Head { checkpoint: witnesses.serve(&head).checkpoint, ..head }
}

/// The routes.
pub fn router(sequencer: Sequencer, ledger: Arc<dyn Ledger>, witnesses: Witnesses, anchors: Arc<Anchors>) -> Router {
    let second = anchors.ledger();
    let logs = Logs {
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
    let service = TowerToHyperService::new(router);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(SLOWEST_HEAD)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a tile connection ended");
    }
}

async fn answer(State(logs): State<Arc<Logs>>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
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
