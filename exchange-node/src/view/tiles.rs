//! Reading what the view lacks as tiles over HTTP, from whatever cache stands in between: a node that is far behind, or one
//! of so many that the registry has no place left for watchers. What comes is verified like anything else; because anybody
//! on the way may have altered it, it speaks against the registry only where the log's key vouches for it, and otherwise
//! the registry's own port is asked.
//!
//! Where the authority's profile keeps tiles for members, they are read over mutual TLS with this node's key. Out of scope:
//! what may be believed (`accept`).

use std::{sync::Arc, time::Duration};

use host::{
    period::Period,
    published::{self, Reader},
    random::{Random, below},
    supervise::TaskError,
    tls::SetupError,
};
use proto::registry::v1::{HeadQuery, ReadRequest, directory_client::DirectoryClient};
use serde::Deserialize;
use tokio::{sync::mpsc, task::JoinSet, time::Instant};
use tonic::transport::Channel;
use trust::{
    audit,
    log::{
        bundle::{self, EntryBundle},
        tile::{TILE_WIDTH, TileCoordinate, TilePath},
    },
};

use super::{Follower, by_hand::covered_by};
use crate::keys::Keyring;

/// From so many statements on a node is far behind.
const FAR_BEHIND: u64 = 2048;

/// How many bundles are asked for at once.
const LANES: usize = 4;

const BUNDLE: u64 = TILE_WIDTH as u64;

/// How the registry is followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Follow {
    /// It is watched; what is far behind, or where it has no place for watchers, is read as tiles.
    #[default]
    Auto,
    /// As tiles alone, which are asked for now and then.
    Tiles,
    /// It is watched, and nothing is read as tiles.
    Watch,
}

/// How the directory is followed: the table `[directory]` of `node.toml`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DirectorySettings {
    /// How.
    pub follow: Follow,
    /// How often tiles are asked for news; a fifth more at most. A revocation is to be known everywhere within 5 seconds.
    pub poll: Period,
}

impl Default for DirectorySettings {
    fn default() -> Self {
        Self { follow: Follow::Auto, poll: Period::new(Duration::from_secs(4)) }
    }
}

/// What a follower needs to read tiles.
#[derive(Clone)]
pub struct Tiles {
    /// The settings.
    pub settings: DirectorySettings,
    /// The node's keys, where it may be one of the members.
    pub keys: Option<Arc<Keyring>>,
    /// So that not all nodes ask at the same moment.
    pub random: Arc<dyn Random>,
}

/// Why tiles were of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// Not what stands under such a path.
    #[error("a bundle is malformed: {0}")]
    Bundle(#[from] bundle::Error),
    /// Its reader ended by itself.
    #[error("a reader of tiles ended")]
    Ended,
    /// Nobody says where they are.
    #[error("the directory does not say where its tiles are served")]
    NoAddress,
    /// There is no such tile in such a tree.
    #[error("the checkpoint covers no such bundle")]
    NoSuchBundle,
    /// They cannot be read.
    #[error(transparent)]
    Read(#[from] published::Error),
    /// The registry does not answer.
    #[error("the registry: {0}")]
    Registry(#[from] tonic::Status),
    /// The TLS key cannot be used.
    #[error(transparent)]
    Tls(#[from] SetupError),
    /// The view did not take them.
    #[error(transparent)]
    View(#[from] super::Error),
}

impl Error {
    /// Whether tiles are for members alone.
    fn is_forbidden(&self) -> bool {
        matches!(self, Self::Read(published::Error::Status { status, .. }) if *status == http::StatusCode::FORBIDDEN)
    }
}

impl Follower {
    /// Reads most of what is missing as tiles, where that is much. Whatever comes of it, the registry's port tells the rest.
    pub(super) async fn catch_up(&self, client: &mut DirectoryClient<Channel>) {
        let start = self.view.next_index().await;
        // An error comes again when the registry is watched, and is told there.
        let Ok(head) = client.read(ReadRequest { start, limit: 1 }).await else { return };
        let checkpoint = head.into_inner().checkpoint;
        let Some(size) = covered_by(&checkpoint).filter(|size| *size >= start.saturating_add(FAR_BEHIND)) else {
            return;
        };
        tracing::info!(statements = size - start, "far behind: reading tiles");
        match self.read_up_to(&checkpoint, size).await {
            Ok(()) => tracing::info!(size, "the directory was read as tiles"),
            Err(error) => tracing::warn!(%error, "the directory's tiles are of no use; the registry's port is read"),
        }
    }

    /// Asks the tiles for news until then, for good without it.
    pub(super) async fn poll(&self, until: Option<Instant>) -> Result<(), TaskError> {
        let (mut reader, mut known) = (None, None);
        let mut members = self.is_for_members();
        while until.is_none_or(|until| Instant::now() < until) {
            let from = match reader.take() {
                Some(reader) => reader,
                None => self.checkpoint_reader(members).await?,
            };
            let read = from.read_newer("checkpoint", audit::LONGEST_CHECKPOINT, known.as_deref()).await;
            let read = match read.map_err(Error::from) {
                // That tiles are for members now is news itself.
                Err(error) if error.is_forbidden() && !members => {
                    members = true;
                    continue;
                }
                read => read?,
            };
            if let Some(file) = read {
                let checkpoint = String::from_utf8_lossy(&file.bytes).into_owned();
                self.take_news(&checkpoint).await?;
                known = file.tag;
            }
            reader = Some(from);
            self.view.set_reachable(true);
            self.report();
            let poll = self.tiles.settings.poll.duration();
            let spread_ms = u64::try_from(poll.as_millis() / 5).unwrap_or(0).max(1);
            tokio::time::sleep(poll + Duration::from_millis(below(self.tiles.random.as_ref(), spread_ms))).await;
        }
        Ok(())
    }

    /// Takes a checkpoint that came as a file, and what it covers.
    async fn take_news(&self, checkpoint: &str) -> Result<(), TaskError> {
        let next = self.view.next_index().await;
        let size = covered_by(checkpoint).unwrap_or(0);
        if size <= next {
            return Ok(self.view.accept_tiles(next, Vec::new(), checkpoint, self.clock.now_ms()).await?);
        }
        let Err(error) = self.read_up_to(checkpoint, size).await else { return Ok(()) };
        tracing::warn!(%error, "the directory's tiles are of no use; the registry's port is read");
        let mut client = self.link.directory(Some(&self.view))?;
        loop {
            let start = self.view.next_index().await;
            let page = client.read(ReadRequest { start, limit: 0 }).await?.into_inner();
            let is_last = page.entries.is_empty();
            self.view.accept(page.start, page.entries, &page.checkpoint, self.clock.now_ms()).await?;
            if is_last {
                return Ok(());
            }
        }
    }

    async fn checkpoint_reader(&self, members: bool) -> Result<Reader, Error> {
        let address = self.tile_addresses().await?.into_iter().next().ok_or(Error::NoAddress)?;
        self.reader(&address, members)
    }

    /// Reads everything that a checkpoint covers and the view lacks.
    async fn read_up_to(&self, checkpoint: &str, size: u64) -> Result<(), Error> {
        let mut last = Error::NoAddress;
        for address in self.tile_addresses().await? {
            let mut outcome = self.read_from(&address, self.is_for_members(), checkpoint, size).await;
            if outcome.as_ref().is_err_and(Error::is_forbidden) {
                // A view that is old or empty does not know it.
                outcome = self.read_from(&address, true, checkpoint, size).await;
            }
            match outcome {
                // What the view refuses it would refuse from elsewhere too, or the port tells better.
                Ok(()) | Err(Error::View(_)) => return outcome,
                Err(error) => {
                    // What came before it may be as wrong, and no checkpoint covers it: the registry is not to answer for it.
                    self.view.let_go_of_tiles().await?;
                    last = error;
                }
            }
        }
        Err(last)
    }

    async fn read_from(&self, address: &str, members: bool, checkpoint: &str, size: u64) -> Result<(), Error> {
        let first = self.view.next_index().await / BUNDLE;
        let end = size.div_ceil(BUNDLE);
        let mut reading = JoinSet::new();
        let mut lanes = Vec::new();
        for lane in 0..LANES as u64 {
            let reader = self.reader(address, members)?;
            let (sender, receiver) = mpsc::channel(1);
            lanes.push(receiver);
            reading.spawn(async move {
                for number in (first + lane..end).step_by(LANES) {
                    let read = read_bundle(&reader, number, size).await;
                    let failed = read.is_err();
                    // Nobody wants more after an error.
                    if sender.send(read).await.is_err() || failed {
                        return;
                    }
                }
            });
        }
        for (number, lane) in (first..end).zip((0..LANES).cycle()) {
            let entries = lanes[lane].recv().await.ok_or(Error::Ended)??;
            self.view.set_reachable(true);
            self.view.accept_tiles(number * BUNDLE, entries, checkpoint, self.clock.now_ms()).await?;
        }
        Ok(())
    }

    /// Where tiles are served: what the directory announces, or what the registry says where nothing is known yet.
    async fn tile_addresses(&self) -> Result<Vec<String>, Error> {
        let announced = self.view.seen().directory().registry().map(|known| known.tile_addresses.clone());
        match announced {
            Some(addresses) => Ok(addresses),
            None => {
                let mut catalogue = self.link.catalogue(Some(&self.view))?;
                Ok(catalogue.head(HeadQuery { at_size: 0 }).await?.into_inner().tile_addresses)
            }
        }
    }

    fn reader(&self, address: &str, members: bool) -> Result<Reader, Error> {
        match self.tiles.keys.as_ref().filter(|_| members) {
            Some(keys) => {
                let connector = self.link.tiles(Some(&self.view), address, &keys.tls())?;
                Ok(Reader::of_peer(&connector, address))
            }
            None => Ok(Reader::new(format!("http://{address}").parse()?)),
        }
    }

    fn is_for_members(&self) -> bool {
        self.view.seen().directory().profile().tiles_members_only
    }
}

async fn read_bundle(reader: &Reader, number: u64, size: u64) -> Result<Vec<Vec<u8>>, Error> {
    let coordinate = TileCoordinate::in_tree(0, number, size).ok_or(Error::NoSuchBundle)?;
    let path = TilePath::Entries(coordinate);
    let bytes = reader.read(&path.to_string(), audit::longest(&path)).await?;
    Ok(EntryBundle::decode(&bytes, coordinate.width())?.into_entries())
}
