//! The tables, made and changed by the program itself: under an advisory lock, so that of several processes that start at
//! once one does it, and in one transaction, so that it is done or not. A program that finds tables of a newer version stops.

use sqlx::{AssertSqlSafe, Executor, PgPool, Postgres, Transaction};

use super::{
    super::Error,
    fault::{DatabaseError, explain},
    tables::Tables,
};

/// The tables of any log.
const LEDGER: &str = "
CREATE TABLE head (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    size bigint NOT NULL,
    root bytea NOT NULL,
    checkpoint text,
    checkpoint_size bigint NOT NULL DEFAULT 0,
    checkpoint_seconds bigint NOT NULL DEFAULT 0
);
COMMENT ON TABLE head IS 'The log''s size and root, and the last checkpoint signed for it';
CREATE TABLE entries (
    index bigint PRIMARY KEY,
    entry bytea NOT NULL
);
COMMENT ON TABLE entries IS 'The log''s entries, never changed';
CREATE TABLE tiles (
    level smallint NOT NULL,
    index bigint NOT NULL,
    hashes bytea NOT NULL,
    PRIMARY KEY (level, index)
);
COMMENT ON TABLE tiles IS 'Finished tiles of the log''s tree, 256 hashes each, never changed';
CREATE TABLE cosignatures (
    witness text PRIMARY KEY,
    note text NOT NULL
);
COMMENT ON TABLE cosignatures IS 'The last checkpoint that each witness cosigned';
INSERT INTO head (size, root)
    VALUES (0, '\\xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
";

/// What is kept beside the directory.
const ENROLMENTS: &str = "
CREATE TABLE enrolments (
    department text PRIMARY KEY,
    decision bytea NOT NULL
);
COMMENT ON TABLE enrolments IS 'Departments that may enrol: decisions with the secrets of their tokens';
";

/// A log that was restored is marked.
const MARK: &str = "
ALTER TABLE head ADD COLUMN mark text;
COMMENT ON COLUMN head.mark IS 'Set while this log signs nothing, because it was restored from an older copy';
";

/// What leads from each version of a log's tables to the next.
fn migrations(tables: Tables) -> &'static [&'static [&'static str]] {
    match tables {
        Tables::Directory => &[&[LEDGER, ENROLMENTS], &[MARK]],
        Tables::Second(_) => &[&[LEDGER], &[MARK]],
    }
}

/// The oldest server that is known to do.
const OLDEST_SERVER: i32 = 13;

/// The lock under which tables are made. Any number, and always the same.
const MIGRATION_LOCK: i64 = 0x0045_7272_616e_6401;

/// Checks that the database can be relied on, and brings its tables to this program's version.
pub(super) async fn prepare(pool: &PgPool, place: &str, tables: Tables) -> Result<(), Error> {
    let place = || place.to_owned();
    let (version, encoding, is_standby, read_only, fsync): (String, String, bool, String, String) = sqlx::query_as(
        "SELECT current_setting('server_version_num'), current_setting('server_encoding'), pg_is_in_recovery(), \
         current_setting('default_transaction_read_only'), current_setting('fsync')",
    )
    .fetch_one(pool)
    .await
    .map_err(explain)?;
    let found = version.parse::<i32>().unwrap_or(0) / 10_000;
    if found < OLDEST_SERVER {
        return Err(DatabaseError::ServerTooOld { place: place(), found }.into());
    }
    if encoding != "UTF8" {
        return Err(DatabaseError::Encoding { place: place(), encoding }.into());
    }
    if is_standby || read_only == "on" {
        return Err(DatabaseError::ReadOnly { place: place() }.into());
    }
    if fsync == "off" {
        tracing::warn!(place = place(), "this database runs with fsync off: a crash of its machine loses statements");
    }
    let mut transaction = pool.begin().await.map_err(explain)?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(MIGRATION_LOCK)
        .execute(&mut *transaction)
        .await
        .map_err(explain)?;
    migrate(&mut transaction, place(), tables).await?;
    transaction.commit().await.map_err(explain)
}

async fn migrate(transaction: &mut Transaction<'static, Postgres>, place: String, tables: Tables) -> Result<(), Error> {
    let schema = tables.schema();
    let there: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
        .bind(format!("{schema}.version"))
        .fetch_one(&mut **transaction)
        .await
        .map_err(explain)?;
    if !there {
        // The name is the program's own; the session looks for its tables nowhere else.
        let begin = format!(
            "CREATE SCHEMA IF NOT EXISTS {schema};
            CREATE TABLE version (single boolean PRIMARY KEY DEFAULT true CHECK (single), version integer NOT NULL);
            INSERT INTO version (version) VALUES (0);"
        );
        transaction.execute(sqlx::raw_sql(AssertSqlSafe(begin))).await.map_err(explain)?;
    }
    let found: i32 =
        sqlx::query_scalar("SELECT version FROM version").fetch_one(&mut **transaction).await.map_err(explain)?;
    let migrations = migrations(tables);
    let known = i32::try_from(migrations.len()).unwrap_or(i32::MAX);
    if found > known {
        return Err(DatabaseError::SchemaNewer { place, found, known }.into());
    }
    for migration in migrations.iter().skip(usize::try_from(found).unwrap_or(0)) {
        let migration = migration.concat();
        transaction.execute(sqlx::raw_sql(AssertSqlSafe(migration))).await.map_err(explain)?;
    }
    if found < known {
        sqlx::query("UPDATE version SET version = $1")
            .bind(known)
            .execute(&mut **transaction)
            .await
            .map_err(explain)?;
        tracing::info!(from = found, to = known, schema, "the database's tables are made");
    }
    Ok(())
}
