//! The shared ledger: one PostgreSQL database under any number of registry processes, behind whatever address.
//!
//! Whoever appends locks the row that holds size and root, compares, inserts entries and finished tiles, and moves the row
//! on, in one transaction with `synchronous_commit` on: so the log is gapless whoever writes, and what is acknowledged is as
//! durable as the database makes it (with a synchronous standby, on two machines). A checkpoint is kept under the same lock,
//! and only one that goes forward: no two processes ever show checkpoints that contradict, nor a time before one shown.
//!
//! The registry's second log is another ledger in the same database, with the same tables in a schema of its own.
//!
//! What every process knows by heart is the tree's right edge, computed from the entries themselves and compared with the
//! root in the row. Out of scope: replication and failover, which are PostgreSQL's own.

mod fault;
mod rows;
mod tables;

use std::{fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use host::postgres::Database;
use sqlx::{PgPool, postgres::PgListener};
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;
use trust::{
    directory::LARGEST_ENTRY,
    log::{
        frontier::{Frontier, FullTile},
        hash::{Hash, leaf_hash},
        tile::{TILE_WIDTH, TileCoordinate},
    },
};

pub use self::fault::DatabaseError;
pub(crate) use self::fault::explain;
use self::{fault::found, tables::Tables};
use super::{Append, Error, Keep, Later, Ledger, Position, ReadLimit, SignedHead, Turn};

/// How often the database is asked whether the log has grown: notifications may be lost.
const POLL: Duration = Duration::from_millis(500);

/// How many entries are read at once to bring the right edge up to date.
const CATCH_UP: usize = 1024;

/// By what name the database knows a registry.
pub(crate) const APPLICATION: &str = "errand registry";

/// The ledger in PostgreSQL. Clones share it.
#[derive(Clone)]
pub struct PostgresLedger {
    pool: PgPool,
    tables: Tables,
    place: Arc<str>,
    /// The right edge of what is durable, as far as this process has read it.
    edge: Arc<ArcSwap<Frontier>>,
    /// Held while the edge is brought up to date.
    advancing: Arc<Mutex<()>>,
    changes: watch::Receiver<u64>,
    stop: CancellationToken,
}

impl fmt::Debug for PostgresLedger {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("PostgresLedger").field("place", &self.place).finish_non_exhaustive()
    }
}

impl PostgresLedger {
    /// Connects to the directory, makes or updates the tables, and checks that size and root fit the entries at the log's
    /// end and the tiles.
    pub async fn open(database: &Database) -> Result<Self, Error> {
        Self::open_tables(database, Tables::Directory).await
    }

    /// The same for the second log with this number.
    pub async fn open_second(database: &Database, log: u32) -> Result<Self, Error> {
        Self::open_tables(database, Tables::Second(log)).await
    }

    async fn open_tables(database: &Database, tables: Tables) -> Result<Self, Error> {
        let place: Arc<str> = database.place().into();
        let schema = tables.schema();
        let pool = database.pool(&schema, tables.most_connections());
        let made = host::postgres::Tables { schema: &schema, migrations: tables.migrations() };
        host::postgres::prepare(&pool, &place, made).await.map_err(found)?;
        let head = rows::head(&pool).await?;
        let edge = rows::restore(&pool, head.position.size).await?;
        if edge.root() != head.position.root {
            return Err(Error::damaged("its entries and tiles do not lead to its root"));
        }
        let (told, changes) = watch::channel(0);
        let stop = CancellationToken::new();
        tokio::spawn(listen(pool.clone(), schema, told, stop.clone()));
        let edge = Arc::new(ArcSwap::from_pointee(edge));
        Ok(Self { pool, tables, place, edge, advancing: Arc::default(), changes, stop })
    }

    /// Ends all connections.
    pub async fn close(&self) {
        self.stop.cancel();
        self.pool.close().await;
    }

    /// The database's place, for people.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// How many connections registries have to the database; for a command that must have it alone.
    pub(crate) async fn registries_at_work(&self) -> Result<i64, Error> {
        rows::connections(&self.pool, APPLICATION).await
    }

    /// The numbers of the second logs in the database.
    pub(crate) async fn second_logs(&self) -> Result<Vec<u32>, Error> {
        rows::second_logs(&self.pool).await
    }

    /// Changes whenever another process has told of something.
    #[cfg(test)]
    pub(super) fn told(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    /// For what else is kept beside the ledger.
    pub(crate) fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Brings the right edge up to what the row says, from the entries; further, where somebody has read on meanwhile.
    async fn advance(&self, to: Position) -> Result<Arc<Frontier>, Error> {
        let _turn = self.advancing.lock().await;
        let known = self.edge.load_full();
        if known.size() > to.size {
            return Ok(known);
        }
        let mut edge = Frontier::clone(&known);
        while edge.size() < to.size {
            let left = usize::try_from(to.size - edge.size()).unwrap_or(usize::MAX).min(CATCH_UP);
            let entries = rows::read(&self.pool, edge.size(), ReadLimit::entries(left)).await?;
            if entries.is_empty() {
                return Err(Error::damaged(format!("entry {} is missing", edge.size())));
            }
            entries.iter().for_each(|entry| drop(edge.append(leaf_hash(entry))));
        }
        if edge.root() != to.root {
            return Err(Error::damaged(format!("its entries do not lead to its root at size {}", to.size)));
        }
        let edge = Arc::new(edge);
        self.edge.store(Arc::clone(&edge));
        Ok(edge)
    }

    /// The database has fewer entries than this process has read from it.
    fn lost(&self, known: u64, found: u64) -> Error {
        DatabaseError::WentBack { place: self.place.to_string(), known, found }.into()
    }

    async fn try_append(&self, at_size: u64, entries: &[Vec<u8>]) -> Result<Append, Error> {
        let mut transaction = self.pool.begin().await.map_err(explain)?;
        let head = rows::lock_head(&mut transaction).await?;
        if head.position.size != at_size {
            return match head.position.size < self.edge.load().size() {
                true => Err(self.lost(self.edge.load().size(), head.position.size)),
                false => Ok(Append::Moved { size: head.position.size }),
            };
        }
        let mut edge = Frontier::clone(&*self.advance(head.position).await?);
        if edge.size() > at_size {
            return Err(self.lost(edge.size(), at_size));
        }
        let tiles: Vec<FullTile> = entries.iter().flat_map(|entry| edge.append(leaf_hash(entry))).collect();
        let position = Position { size: edge.size(), root: edge.root() };
        rows::insert(&mut transaction, at_size, entries, &tiles, position).await?;
        rows::notify(&mut transaction, self.tables).await?;
        transaction.commit().await.map_err(explain)?;
        // Somebody may have read on since; then theirs is the newer.
        let _turn = self.advancing.lock().await;
        if self.edge.load().size() < edge.size() {
            self.edge.store(Arc::new(edge));
        }
        Ok(Append::Appended { size: position.size, root: position.root })
    }
}

impl Ledger for PostgresLedger {
    fn position(&self) -> Later<'_, Position> {
        Box::pin(async move {
            // Before the row is read: two who ask at once must not take each other's news for a loss.
            let known = self.edge.load().size();
            let position = rows::head(&self.pool).await?.position;
            if position.size < known {
                return Err(self.lost(known, position.size));
            }
            // Nobody may sign a root that its entries do not lead to.
            let edge = self.edge.load();
            if edge.size() == position.size && edge.root() == position.root {
                return Ok(position);
            }
            let edge = self.advance(position).await?;
            Ok(Position { size: edge.size(), root: edge.root() })
        })
    }

    fn append(&self, at_size: u64, entries: Vec<Vec<u8>>) -> Later<'_, Append> {
        Box::pin(async move {
            if let Some(entry) = entries.iter().find(|entry| entry.len() > LARGEST_ENTRY) {
                return Err(Error::EntryTooLong { length: entry.len() });
            }
            self.try_append(at_size, &entries).await
        })
    }

    fn read(&self, start: u64, limit: ReadLimit) -> Later<'_, Vec<Vec<u8>>> {
        Box::pin(rows::read(&self.pool, start, limit))
    }

    fn tile(&self, coordinate: TileCoordinate) -> Later<'_, Option<Vec<Hash>>> {
        Box::pin(async move {
            let edge = self.edge.load_full();
            if !coordinate.is_in_tree(edge.size()) {
                return Ok(None);
            }
            let width = usize::from(coordinate.width());
            let finished = (edge.size() >> (8 * u32::from(coordinate.level()))) / u64::from(TILE_WIDTH);
            if coordinate.index() >= finished {
                let level = edge.levels().nth(usize::from(coordinate.level()));
                return Ok(level.and_then(|hashes| hashes.get(..width)).map(<[Hash]>::to_vec));
            }
            let mut hashes = rows::finished_tile(&self.pool, coordinate.level(), coordinate.index()).await?;
            hashes.truncate(width);
            Ok(Some(hashes))
        })
    }

    fn checkpoint(&self) -> Later<'_, Option<String>> {
        Box::pin(async move { Ok(rows::head(&self.pool).await?.checkpoint) })
    }

    fn cosignatures(&self) -> Later<'_, Vec<String>> {
        Box::pin(async move {
            let notes = sqlx::query_scalar("SELECT note FROM cosignatures ORDER BY witness");
            notes.fetch_all(&self.pool).await.map_err(explain)
        })
    }

    fn keep_cosignatures(&self, notes: Vec<(String, String)>) -> Later<'_, ()> {
        Box::pin(async move {
            let mut transaction = self.pool.begin().await.map_err(explain)?;
            for (witness, note) in notes {
                // Another registry may have kept one of a larger directory meanwhile: the second line of a note is its size.
                sqlx::query(
                    "INSERT INTO cosignatures (witness, note) VALUES ($1, $2)
                     ON CONFLICT (witness) DO UPDATE SET note = excluded.note
                     WHERE coalesce(substring(excluded.note from E'^[^\\n]*\\n([0-9]{1,18})\\n')::bigint, 0)
                        >= coalesce(substring(cosignatures.note from E'^[^\\n]*\\n([0-9]{1,18})\\n')::bigint, 0)",
                )
                .bind(witness)
                .bind(note)
                .execute(&mut *transaction)
                .await
                .map_err(explain)?;
            }
            transaction.commit().await.map_err(explain)?;
            Ok(())
        })
    }

    fn mark(&self) -> Later<'_, Option<String>> {
        Box::pin(async move {
            let mark = sqlx::query_scalar("SELECT mark FROM head");
            mark.fetch_one(&self.pool).await.map_err(explain)
        })
    }

    fn set_mark(&self, mark: Option<String>) -> Later<'_, ()> {
        Box::pin(async move {
            let mut transaction = self.pool.begin().await.map_err(explain)?;
            // Whoever is appending and signing just now comes to its end first.
            rows::wait_for_turn(&mut transaction, self.tables).await?;
            let marking = sqlx::query("UPDATE head SET mark = $1").bind(mark);
            marking.execute(&mut *transaction).await.map_err(explain)?;
            rows::notify(&mut transaction, self.tables).await?;
            transaction.commit().await.map_err(explain)
        })
    }

    fn keep_checkpoint(&self, head: SignedHead) -> Later<'_, Keep> {
        Box::pin(async move {
            let mut transaction = self.pool.begin().await.map_err(explain)?;
            let kept = rows::lock_head(&mut transaction).await?;
            if kept.position.size < head.size {
                return Err(self.lost(head.size, kept.position.size));
            }
            // Of one size the later word counts; of one second, one of several same words.
            if kept.signed > (head.size, head.time_seconds) || kept.signed.1 > head.time_seconds {
                return Ok(Keep::Superseded);
            }
            rows::keep(&mut transaction, &head).await?;
            rows::notify(&mut transaction, self.tables).await?;
            transaction.commit().await.map_err(explain)?;
            Ok(Keep::Kept)
        })
    }

    fn turn(&self) -> Later<'_, Turn> {
        Box::pin(async move {
            let mut transaction = self.pool.begin().await.map_err(explain)?;
            rows::wait_for_turn(&mut transaction, self.tables).await?;
            // Dropping the transaction rolls it back, and that ends the turn; so does the end of this process.
            Ok(Turn::held(transaction))
        })
    }

    fn changed(&self) -> Later<'_, ()> {
        let mut changes = self.changes.clone();
        Box::pin(async move {
            changes.borrow_and_update();
            // However it ends: the log is looked at.
            let _ = tokio::time::timeout(POLL, changes.changed()).await;
            Ok(())
        })
    }
}

/// Counts what other processes tell, for as long as the database can be listened to; again when it is back.
async fn listen(pool: PgPool, channel: String, told: watch::Sender<u64>, stop: CancellationToken) {
    let listening = async {
        loop {
            if let Err(error) = listen_once(&pool, &channel, &told).await {
                tracing::debug!(%error, "not listening to the database");
            }
            tokio::time::sleep(POLL).await;
        }
    };
    stop.run_until_cancelled(listening).await;
}

async fn listen_once(pool: &PgPool, channel: &str, told: &watch::Sender<u64>) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(channel).await?;
    loop {
        // What was told while the connection was lost is told by the loss itself.
        listener.try_recv().await?;
        told.send_modify(|count| *count += 1);
    }
}
