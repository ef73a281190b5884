//! The gRPC service `registry.v1.Catalogue`: what the directory means to a reader, in pages and through filters; on the
//! registry's port and on its admin socket. Translates; what is found is `trust::catalogue`'s, the same as every node's.
//!
//! Out of scope: proof for whoever does not believe the registry, who reads the log itself (`directory_edge`, `tile_edge`).

use std::{collections::HashMap, sync::Arc};

use host::clock::Clock;
use proto::registry::v1::{self as wire, catalogue_server};
use tokio::sync::Mutex;
use tonic::{Request, Response, Status};
use trust::{
    catalogue::{self, StatementIndex},
    log::{
        checkpoint::Checkpoint,
        hash::Hash,
        note::SignedNote,
        proof::{BuildError, inclusion_proof, tree_root},
        tile::{TileCoordinate, TileSource},
    },
};

use crate::{
    directory_edge::READ_LIMIT,
    ledger::{self, Ledger, ReadLimit},
    sequencer::Sequencer,
};

/// The most bytes of statements in one page.
const LARGEST_PAGE_BYTES: usize = 3 * 1024 * 1024;

/// The service.
pub struct CatalogueEdge {
    sequencer: Sequencer,
    ledger: Arc<dyn Ledger>,
    clock: Arc<dyn Clock>,
    index: Arc<Mutex<StatementIndex>>,
}

impl CatalogueEdge {
    /// The service over a sequencer and its ledger.
    pub fn new(
        sequencer: Sequencer,
        ledger: Arc<dyn Ledger>,
        clock: Arc<dyn Clock>,
    ) -> catalogue_server::CatalogueServer<Self> {
        catalogue_server::CatalogueServer::new(Self { sequencer, ledger, clock, index: Arc::default() })
    }

    /// Takes into the index what the log has grown by.
    async fn catch_up(&self, index: &mut StatementIndex, size: u64) -> Result<(), Status> {
        while index.size() < size {
            let left = usize::try_from(size - index.size()).unwrap_or(usize::MAX);
            let limit = ReadLimit { entries: left.min(READ_LIMIT.entries), ..READ_LIMIT };
            let entries = self.ledger.read(index.size(), limit).await.map_err(unreadable)?;
            if entries.is_empty() {
                return Err(Status::internal("the ledger ends before the checkpoint that covers it"));
            }
            entries.iter().for_each(|entry| index.take(entry));
        }
        Ok(())
    }

    async fn entry(&self, index: u64) -> Result<Vec<u8>, Status> {
        let mut entries = self.ledger.read(index, ReadLimit::entries(1)).await.map_err(unreadable)?;
        entries.pop().ok_or_else(|| Status::internal(format!("the ledger lacks entry {index}")))
    }

    /// Does something that needs tiles, and fetches those that it finds missing until it has them all.
    async fn with_tiles<T>(&self, work: impl Fn(&Tiles) -> Result<T, BuildError<NotFetched>>) -> Result<T, Status> {
        let mut tiles = Tiles::default();
        loop {
            match work(&tiles) {
                Ok(done) => return Ok(done),
                Err(BuildError::Source(NotFetched { coordinate: Some(coordinate) })) => {
                    let hashes = self.ledger.tile(coordinate).await.map_err(unreadable)?;
                    let missing = || Status::internal("the ledger lacks a tile that its checkpoint covers");
                    tiles.0.insert(coordinate, hashes.ok_or_else(missing)?);
                }
                Err(error) => return Err(Status::internal(error.to_string())),
            }
        }
    }
}

#[tonic::async_trait]
impl catalogue_server::Catalogue for CatalogueEdge {
    async fn head(&self, request: Request<wire::HeadQuery>) -> Result<Response<wire::HeadEntry>, Status> {
        let at_size = request.into_inner().at_size;
        let head = self.sequencer.head();
        let mut entry = catalogue::head(&self.sequencer.directory());
        entry.checkpoint = head.checkpoint.to_string();
        if (1..=head.size).contains(&at_size) {
            let root = self.with_tiles(|tiles| tree_root(tiles, at_size)).await?;
            entry.root_at_size = root.as_bytes().to_vec();
        }
        Ok(Response::new(entry))
    }

    async fn services(&self, request: Request<wire::ServiceQuery>) -> Result<Response<wire::ServicePage>, Status> {
        let query = request.into_inner();
        let page = catalogue::services(&self.sequencer.directory(), &query, self.clock.now_ms());
        page.map(Response::new).map_err(|error| wrong(&error))
    }

    async fn departments(
        &self,
        request: Request<wire::DepartmentQuery>,
    ) -> Result<Response<wire::DepartmentPage>, Status> {
        let page = catalogue::departments(&self.sequencer.directory(), &request.into_inner(), self.clock.now_ms());
        page.map(Response::new).map_err(|error| wrong(&error))
    }

    async fn access(&self, request: Request<wire::AccessQuery>) -> Result<Response<wire::AccessPage>, Status> {
        let page = catalogue::access(&self.sequencer.directory(), &request.into_inner());
        page.map(Response::new).map_err(|error| wrong(&error))
    }

    async fn statements(
        &self,
        request: Request<wire::StatementQuery>,
    ) -> Result<Response<wire::StatementPage>, Status> {
        let query = request.into_inner();
        let size = self.sequencer.head().size;
        let places = {
            let mut index = self.index.lock().await;
            self.catch_up(&mut index, size).await?;
            index.places(&query).map_err(|error| wrong(&error))?
        };
        let mut entries = Vec::new();
        let mut bytes = 0;
        for place in places {
            let entry = self.entry(place).await?;
            bytes += entry.len();
            entries.push((place, entry));
            if bytes > LARGEST_PAGE_BYTES {
                break;
            }
        }
        let page = StatementIndex::page(&query, entries, size);
        page.map(Response::new).map_err(|error| wrong(&error))
    }

    async fn statement(
        &self,
        request: Request<wire::OneStatementQuery>,
    ) -> Result<Response<wire::ProvenStatement>, Status> {
        let index = request.into_inner().index;
        let head = self.sequencer.head();
        let checkpoint = size_of(&head.checkpoint).ok_or_else(|| Status::internal("the checkpoint is malformed"))?;
        if index >= checkpoint {
            return Err(Status::not_found(format!("the directory has {checkpoint} statements, counted from 0")));
        }
        let entry = self.entry(index).await?;
        let inclusion = self.with_tiles(|tiles| inclusion_proof(tiles, index, checkpoint)).await?;
        let directory = self.sequencer.directory();
        let log_key = directory.log_key_at(checkpoint).map(|key| key.as_bytes().to_vec());
        Ok(Response::new(wire::ProvenStatement {
            index,
            inclusion: inclusion.iter().map(|hash| hash.as_bytes().to_vec()).collect(),
            checkpoint: head.checkpoint.to_string(),
            signers: catalogue::signers(&directory, &entry),
            log_key: log_key.unwrap_or_default(),
            entry,
        }))
    }
}

fn size_of(checkpoint: &str) -> Option<u64> {
    let note = SignedNote::parse(checkpoint.as_bytes()).ok()?;
    Checkpoint::parse(note.text()).ok().map(|checkpoint| checkpoint.size())
}

fn wrong(error: &catalogue::Error) -> Status {
    Status::invalid_argument(error.to_string())
}

fn unreadable(error: ledger::Error) -> Status {
    tracing::error!(%error, "the ledger cannot be read");
    Status::internal("the registry cannot read its ledger")
}

/// The tiles that were fetched so far.
#[derive(Default)]
struct Tiles(HashMap<TileCoordinate, Vec<Hash>>);

/// A tile has yet to be fetched; none where there is no such tile.
#[derive(Debug, thiserror::Error)]
#[error("a tile was not fetched")]
struct NotFetched {
    coordinate: Option<TileCoordinate>,
}

impl TileSource for Tiles {
    type Error = NotFetched;

    fn tile(&self, level: u8, index: u64, width: u16) -> Result<Vec<Hash>, NotFetched> {
        let coordinate = TileCoordinate::new(level, index, width).map_err(|_| NotFetched { coordinate: None })?;
        self.0.get(&coordinate).cloned().ok_or(NotFetched { coordinate: Some(coordinate) })
    }
}
