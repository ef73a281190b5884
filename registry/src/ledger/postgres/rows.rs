//! The rows, read and written. Out of scope: when, and in which transaction.

use sqlx::{PgConnection, PgPool, Row, postgres::PgRow};
use trust::log::{
    frontier::{Frontier, FullTile},
    hash::{Hash, leaf_hash},
    tile::{MAX_LEVEL, TILE_WIDTH, decode_tile, encode_tile, width_in_tree},
};

use super::{
    super::{Error, Position, ReadLimit, SignedHead},
    fault::explain,
    tables::Tables,
};

/// The row that is locked by whoever appends.
pub(super) struct Head {
    pub(super) position: Position,
    pub(super) checkpoint: Option<String>,
    /// What the checkpoint says: its size and time.
    pub(super) signed: (u64, u64),
}

fn number(row: &PgRow, column: usize) -> Result<u64, Error> {
    let number: i64 = row.try_get(column).map_err(explain)?;
    u64::try_from(number).map_err(|_| Error::damaged("a number is below zero"))
}

fn signed(number: u64) -> Result<i64, Error> {
    i64::try_from(number).map_err(|_| Error::damaged("a number is beyond all logs"))
}

fn head_of(row: &PgRow) -> Result<Head, Error> {
    let root: Vec<u8> = row.try_get(1).map_err(explain)?;
    let root = <[u8; 32]>::try_from(root).map_err(|_| Error::damaged("its root cannot be read"))?;
    Ok(Head {
        position: Position { size: number(row, 0)?, root: Hash::from_bytes(root) },
        checkpoint: row.try_get(2).map_err(explain)?,
        signed: (number(row, 3)?, number(row, 4)?),
    })
}

pub(super) async fn head(pool: &PgPool) -> Result<Head, Error> {
    let row = sqlx::query("SELECT size, root, checkpoint, checkpoint_size, checkpoint_seconds FROM head")
        .fetch_one(pool)
        .await
        .map_err(explain)?;
    head_of(&row)
}

/// The same, and nobody else appends or keeps a checkpoint until the transaction ends.
pub(super) async fn lock_head(connection: &mut PgConnection) -> Result<Head, Error> {
    let row = sqlx::query("SELECT size, root, checkpoint, checkpoint_size, checkpoint_seconds FROM head FOR UPDATE")
        .fetch_one(connection)
        .await
        .map_err(explain)?;
    head_of(&row)
}

pub(super) async fn connections(pool: &PgPool, application: &str) -> Result<i64, Error> {
    sqlx::query_scalar(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1",
    )
    .bind(application)
    .fetch_one(pool)
    .await
    .map_err(explain)
}

/// The numbers of the second logs that have a schema of their own.
pub(super) async fn second_logs(pool: &PgPool) -> Result<Vec<u32>, Error> {
    let names: Vec<String> = sqlx::query_scalar("SELECT nspname::text FROM pg_namespace ORDER BY nspname")
        .fetch_all(pool)
        .await
        .map_err(explain)?;
    let mut logs: Vec<u32> = names.iter().filter_map(|name| Tables::second_named(name)).collect();
    logs.sort_unstable();
    Ok(logs)
}

pub(super) async fn wait_for_turn(connection: &mut PgConnection, tables: Tables) -> Result<(), Error> {
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(tables.turn_lock())
        .execute(connection)
        .await
        .map_err(explain)?;
    Ok(())
}

pub(super) async fn notify(connection: &mut PgConnection, tables: Tables) -> Result<(), Error> {
    sqlx::query("SELECT pg_notify($1, '')").bind(tables.schema()).execute(connection).await.map_err(explain)?;
    Ok(())
}

pub(super) async fn insert(
    connection: &mut PgConnection,
    at_size: u64,
    entries: &[Vec<u8>],
    tiles: &[FullTile],
    position: Position,
) -> Result<(), Error> {
    let first = signed(at_size)?;
    let indexes: Vec<i64> = (first..).take(entries.len()).collect();
    sqlx::query("INSERT INTO entries (index, entry) SELECT * FROM unnest($1::bigint[], $2::bytea[])")
        .bind(indexes)
        .bind(entries)
        .execute(&mut *connection)
        .await
        .map_err(explain)?;
    if !tiles.is_empty() {
        let levels: Vec<i16> = tiles.iter().map(|tile| i16::from(tile.coordinate.level())).collect();
        let indexes: Vec<i64> = tiles.iter().map(|tile| signed(tile.coordinate.index())).collect::<Result<_, _>>()?;
        let hashes: Vec<Vec<u8>> = tiles.iter().map(|tile| encode_tile(&tile.hashes)).collect();
        sqlx::query(
            "INSERT INTO tiles (level, index, hashes) \
             SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::bytea[])",
        )
        .bind(levels)
        .bind(indexes)
        .bind(hashes)
        .execute(&mut *connection)
        .await
        .map_err(explain)?;
    }
    sqlx::query("UPDATE head SET size = $1, root = $2")
        .bind(signed(position.size)?)
        .bind(position.root.as_bytes().as_slice())
        .execute(connection)
        .await
        .map_err(explain)?;
    Ok(())
}

pub(super) async fn keep(connection: &mut PgConnection, head: &SignedHead) -> Result<(), Error> {
    sqlx::query("UPDATE head SET checkpoint = $1, checkpoint_size = $2, checkpoint_seconds = $3")
        .bind(&head.note)
        .bind(signed(head.size)?)
        .bind(signed(head.time_seconds)?)
        .execute(connection)
        .await
        .map_err(explain)?;
    Ok(())
}

/// Entries from `start` on, up to the limit; one, whatever its length, where there is one.
pub(super) async fn read(pool: &PgPool, start: u64, limit: ReadLimit) -> Result<Vec<Vec<u8>>, Error> {
    let first = signed(start)?;
    // The database counts the bytes, so that what is too much is not sent.
    let rows = sqlx::query(
        "SELECT index, entry FROM (
             SELECT index, entry, sum(octet_length(entry)) OVER (ORDER BY index) AS bytes
             FROM (SELECT index, entry FROM entries WHERE index >= $1 ORDER BY index LIMIT $2) AS wanted
         ) AS counted
         WHERE bytes <= $3 OR index = $1 ORDER BY index",
    )
    .bind(first)
    .bind(i64::try_from(limit.entries).unwrap_or(i64::MAX))
    .bind(i64::try_from(limit.bytes).unwrap_or(i64::MAX))
    .fetch_all(pool)
    .await
    .map_err(explain)?;
    (start..)
        .zip(&rows)
        .map(|(expected, row)| match number(row, 0)? {
            index if index == expected => row.try_get(1).map_err(explain),
            _ => Err(Error::damaged(format!("entry {expected} is missing"))),
        })
        .collect()
}

pub(super) async fn finished_tile(pool: &PgPool, level: u8, index: u64) -> Result<Vec<Hash>, Error> {
    let hashes: Option<Vec<u8>> = sqlx::query_scalar("SELECT hashes FROM tiles WHERE level = $1 AND index = $2")
        .bind(i16::from(level))
        .bind(signed(index)?)
        .fetch_optional(pool)
        .await
        .map_err(explain)?;
    let hashes = hashes.ok_or_else(|| Error::damaged(format!("tile {index} of level {level} is missing")))?;
    decode_tile(&hashes, TILE_WIDTH).map_err(Error::damaged)
}

/// The right edge of the tree: its unfinished tiles, from the entries and the tiles below them.
pub(super) async fn restore(pool: &PgPool, size: u64) -> Result<Frontier, Error> {
    let mut levels = Vec::new();
    for level in 0..=MAX_LEVEL {
        let index = (size >> (8 * u32::from(level))) / u64::from(TILE_WIDTH);
        let width = width_in_tree(level, index, size);
        let first = index * u64::from(TILE_WIDTH);
        let mut hashes = Vec::with_capacity(usize::from(width));
        match level {
            0 if width > 0 => {
                let entries = read(pool, first, ReadLimit::entries(usize::from(width))).await?;
                hashes.extend(entries.iter().map(|entry| leaf_hash(entry)));
            }
            0 => {}
            _ => {
                for below in first..first + u64::from(width) {
                    let mut tree = Frontier::new();
                    // A tile's 256 hashes are a perfect tree: the frontier computes its root whatever the leaves are.
                    let tile = finished_tile(pool, level - 1, below).await?;
                    tile.into_iter().for_each(|hash| drop(tree.append(hash)));
                    hashes.push(tree.root());
                }
            }
        }
        levels.push(hashes);
    }
    Ok(Frontier::from_parts(size, levels)?)
}
