//! The directory log as C2SP `tlog-tiles` over plain HTTP: `/checkpoint`, `/tile/<L>/<N>[.p/<W>]` and
//! `/tile/entries/<N>[.p/<W>]`. What is served is signed or leads to what is signed, so any cache may stand in between;
//! finished tiles never change and say so. The second log is served in the same way below `/anchors`. Out of scope: TLS
//! (put a proxy in front where one is wanted).

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{Method, StatusCode, Uri, header},
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
    tile::{TilePath, encode_tile},
};

use crate::{
    anchors::Anchors,
    ledger::{self, Ledger, ReadLimit},
    sequencer::{Head, Sequencer},
};

/// How many bundles of entries are read at once: each may be 16 MiB.
const MOST_BUNDLES: usize = 8;

/// How long a client may take for the head of its request.
const SLOWEST_HEAD: Duration = Duration::from_secs(10);

const IMMUTABLE: &str = "public, max-age=31536000, immutable";
const FRESH: &str = "no-cache";

/// What a log says of itself now.
type HeadOf = Box<dyn Fn() -> Head + Send + Sync>;

struct Tiles {
    head: HeadOf,
    ledger: Arc<dyn Ledger>,
    bundles: Semaphore,
}

impl Tiles {
    fn new(head: HeadOf, ledger: Arc<dyn Ledger>) -> Self {
        Self { head, ledger, bundles: Semaphore::new(MOST_BUNDLES) }
    }
}

/// The registry's two logs.
struct Logs {
    directory: Tiles,
    anchors: Tiles,
}

/// The routes.
pub fn router(sequencer: Sequencer, ledger: Arc<dyn Ledger>, anchors: Arc<Anchors>) -> Router {
    let second = anchors.ledger();
    let logs = Logs {
        directory: Tiles::new(Box::new(move || sequencer.head()), ledger),
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

async fn answer(State(logs): State<Arc<Logs>>, method: Method, uri: Uri) -> Response {
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
        return found("text/plain; charset=utf-8", FRESH, checkpoint.into_bytes());
    }
    let Ok(path) = path.parse::<TilePath>() else { return StatusCode::NOT_FOUND.into_response() };
    match tiles.read(path).await {
        Ok(Some(bytes)) => found("application/octet-stream", IMMUTABLE, bytes),
        Ok(None) => ([(header::CACHE_CONTROL, FRESH)], StatusCode::NOT_FOUND).into_response(),
        Err(error) => {
            tracing::error!(%error, "a tile cannot be read");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

fn found(content_type: &'static str, caching: &'static str, bytes: Vec<u8>) -> Response {
    let headers = [(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, caching)];
    (headers, Body::from(bytes)).into_response()
}

impl Tiles {
    /// What stands under a path, if the published checkpoint covers it: nothing is served that is not signed for.
    async fn read(&self, path: TilePath) -> Result<Option<Vec<u8>>, ledger::Error> {
        let size = (self.head)().size;
        let coordinate = match path {
            TilePath::Hashes(coordinate) | TilePath::Entries(coordinate) => coordinate,
        };
        if !coordinate.is_in_tree(size) {
            return Ok(None);
        }
        if let TilePath::Hashes(coordinate) = path {
            return Ok(self.ledger.tile(coordinate).await?.map(|hashes| encode_tile(&hashes)));
        }
        // Closed never: an error only says that nobody waits any more.
        let Ok(_turn) = self.bundles.acquire().await else { return Ok(None) };
        let width = usize::from(coordinate.width());
        let entries = self.ledger.read(coordinate.index() * 256, ReadLimit::entries(width)).await?;
        let bundle = EntryBundle::new(entries).map_err(ledger::Error::damaged)?;
        Ok((bundle.entries().len() == width).then(|| bundle.encode()))
    }
}
