//! The gRPC service `registry.v1.Catalogue` on the node's admin socket: what this node's own verified view of the
//! directory means to a reader. What is found is `trust::catalogue`'s, the same as the registry's.

use std::sync::{Arc, Mutex, PoisonError};

use host::clock::Clock;
use proto::registry::v1::{
    self as wire,
    catalogue_server::{Catalogue, CatalogueServer},
};
use tonic::{Request, Response, Status};
use trust::{
    catalogue::{self, StatementIndex},
    log::{checkpoint::Checkpoint, note::SignedNote},
};

use super::Answer;
use crate::{
    parts::Parts,
    view::{self, View},
};

/// The most bytes of statements in one page.
const LARGEST_PAGE_BYTES: usize = 16 * 1024 * 1024;

/// The readers' service of a running node.
pub struct CatalogueEdge {
    view: Arc<View>,
    clock: Arc<dyn Clock>,
    index: Arc<Mutex<StatementIndex>>,
}

impl CatalogueEdge {
    /// The service of a running node.
    pub fn server(parts: &Parts) -> CatalogueServer<Self> {
        let (view, clock) = (Arc::clone(&parts.view), Arc::clone(&parts.clock));
        CatalogueServer::new(Self { view, clock, index: Arc::default() })
    }

    /// Reads the stored directory, which blocks.
    async fn reading<T: Send + 'static>(
        &self,
        read: impl FnOnce(&View, &Mutex<StatementIndex>) -> Result<T, Status> + Send + 'static,
    ) -> Result<T, Status> {
        let (view, index) = (Arc::clone(&self.view), Arc::clone(&self.index));
        let done = tokio::task::spawn_blocking(move || read(&view, &index)).await;
        done.map_err(|error| Status::internal(error.to_string()))?
    }
}

#[tonic::async_trait]
impl Catalogue for CatalogueEdge {
    async fn head(&self, request: Request<wire::HeadQuery>) -> Answer<wire::HeadEntry> {
        let at_size = request.into_inner().at_size;
        let mut head = catalogue::head(self.view.seen().directory());
        head.checkpoint = self.view.checkpoint().to_string();
        if (1..=head.size).contains(&at_size) {
            let root = match self.view.root_at(at_size) {
                Some(root) => root,
                None => self.reading(move |view, _| root_at(view, at_size)).await?,
            };
            head.root_at_size = root.as_bytes().to_vec();
        }
        Ok(Response::new(head))
    }

    async fn services(&self, request: Request<wire::ServiceQuery>) -> Answer<wire::ServicePage> {
        let seen = self.view.seen();
        let page = catalogue::services(seen.directory(), &request.into_inner(), self.clock.now_ms());
        page.map(Response::new).map_err(|error| wrong(&error))
    }

    async fn departments(&self, request: Request<wire::DepartmentQuery>) -> Answer<wire::DepartmentPage> {
        let seen = self.view.seen();
        let page = catalogue::departments(seen.directory(), &request.into_inner(), self.clock.now_ms());
        page.map(Response::new).map_err(|error| wrong(&error))
    }

    async fn access(&self, request: Request<wire::AccessQuery>) -> Answer<wire::AccessPage> {
        let seen = self.view.seen();
        let page = catalogue::access(seen.directory(), &request.into_inner());
        page.map(Response::new).map_err(|error| wrong(&error))
    }

    async fn statements(&self, request: Request<wire::StatementQuery>) -> Answer<wire::StatementPage> {
        let query = request.into_inner();
        let page = self.reading(move |view, index| {
            let size = view.seen().size();
            let places = {
                let mut index = index.lock().unwrap_or_else(PoisonError::into_inner);
                let missing = usize::try_from(size.saturating_sub(index.size())).unwrap_or(usize::MAX);
                for entry in view.entries_from(index.size()).take(missing) {
                    index.take(&entry.map_err(|error| unreadable(&error))?);
                }
                index.places(&query).map_err(|error| wrong(&error))?
            };
            let mut entries = Vec::new();
            let mut bytes = 0;
            for place in places {
                let entry = entry(view, place)?;
                bytes += entry.len();
                entries.push((place, entry));
                if bytes > LARGEST_PAGE_BYTES {
                    break;
                }
            }
            StatementIndex::page(&query, entries, size).map_err(|error| wrong(&error))
        });
        page.await.map(Response::new)
    }

    async fn statement(&self, request: Request<wire::OneStatementQuery>) -> Answer<wire::ProvenStatement> {
        let index = request.into_inner().index;
        let proven = self.reading(move |view, _| {
            let checkpoint = view.checkpoint();
            let size = size_of(&checkpoint).unwrap_or(0);
            if index >= size {
                let why = format!("this node's view of the directory has {size} statements, counted from 0");
                return Err(Status::not_found(why));
            }
            let tree = view.tree(size).map_err(|error| unreadable(&error))?;
            let inclusion = tree.inclusion(index);
            let inclusion = inclusion.map_err(|error| Status::internal(error.to_string()))?;
            let entry = entry(view, index)?;
            let seen = view.seen();
            let directory = seen.directory();
            let log_key = directory.log_key_at(size).map(|key| key.as_bytes().to_vec());
            Ok(wire::ProvenStatement {
                index,
                inclusion: inclusion.iter().map(|hash| hash.as_bytes().to_vec()).collect(),
                checkpoint: checkpoint.to_string(),
                signers: catalogue::signers(directory, &entry),
                log_key: log_key.unwrap_or_default(),
                entry,
            })
        });
        proven.await.map(Response::new)
    }
}

fn root_at(view: &View, size: u64) -> Result<trust::log::hash::Hash, Status> {
    let tree = view.tree(size).map_err(|error| unreadable(&error))?;
    tree.root().map_err(|error| Status::internal(error.to_string()))
}

fn entry(view: &View, index: u64) -> Result<Vec<u8>, Status> {
    let entry = view.entries_from(index).next().transpose().map_err(|error| unreadable(&error))?;
    entry.ok_or_else(|| Status::internal(format!("this node's copy of the directory lacks statement {index}")))
}

fn size_of(checkpoint: &str) -> Option<u64> {
    let note = SignedNote::parse(checkpoint.as_bytes()).ok()?;
    Checkpoint::parse(note.text()).ok().map(|checkpoint| checkpoint.size())
}

fn wrong(error: &catalogue::Error) -> Status {
    Status::invalid_argument(error.to_string())
}

fn unreadable(error: &view::Error) -> Status {
    tracing::error!(%error, "the stored directory cannot be read");
    Status::internal(error.to_string())
}
