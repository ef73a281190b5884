//! A PostgreSQL database as either program uses one: named by an address without a password, checked before it is relied
//! on, with tables that the program makes and changes itself, and faults told apart: away for now, or not to be used.
//!
//! Tables are made under an advisory lock, so that of several processes that start at once one does it, and in one
//! transaction, so that it is done or not. Out of scope: which tables, and replication and failover, which are
//! PostgreSQL's own.

use std::{fmt, path::Path, time::Duration};

use sqlx::{
    AssertSqlSafe, Error as Sqlx, Executor, PgPool, Postgres, Transaction,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use crate::files;

/// How long a connection may be waited for, before the database counts as away.
const SLOWEST_CONNECTION: Duration = Duration::from_secs(3);

/// The oldest server that is known to do.
const OLDEST_SERVER: i32 = 13;

/// The lock under which tables are made. Any number, and always the same.
const MIGRATION_LOCK: i64 = 0x0045_7272_616e_6401;

/// What is wrong with a database.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configured address cannot be read.
    #[error("this is no address of a database: write postgres://user@host:port/database?sslmode=verify-full")]
    Address,
    /// The database is not there now, or takes no writes.
    #[error("the database is away: {reason}")]
    Away {
        /// What it or the operating system said.
        reason: String,
    },
    /// It keeps text in another encoding.
    #[error(
        "the database at {place} keeps its text as {encoding}: make one with `createdb --encoding=UTF8 --template=template0`"
    )]
    Encoding {
        /// Where.
        place: String,
        /// The encoding.
        encoding: String,
    },
    /// A configuration file is no place for a password.
    #[error("a password does not belong into the address of a database")]
    PasswordInAddress,
    /// It is a standby, or read-only.
    #[error("the database at {place} takes no writes (it is a standby, or read-only): name the primary")]
    ReadOnly {
        /// Where.
        place: String,
    },
    /// It refused to do something.
    #[error("the database refused: {0}")]
    Refused(String),
    /// A newer program has changed its tables.
    #[error(
        "the tables in the database at {place} are of version {found}, and this program knows {known}: run the newer program"
    )]
    SchemaNewer {
        /// Where.
        place: String,
        /// The tables' version.
        found: i32,
        /// The newest version that this program knows.
        known: i32,
    },
    /// Its server is too old.
    #[error("the database at {place} is PostgreSQL {found}: version 13 or newer is needed")]
    ServerTooOld {
        /// Where.
        place: String,
        /// Its version.
        found: i32,
    },
}

impl Error {
    /// Whether the same may work later.
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Away { .. })
    }
}

/// Whether it will be back, or is not to be used.
impl From<Sqlx> for Error {
    fn from(error: Sqlx) -> Self {
        let away = |reason: String| Self::Away { reason };
        match error {
            Sqlx::Io(_) | Sqlx::PoolClosed | Sqlx::PoolTimedOut | Sqlx::Protocol(_) | Sqlx::WorkerCrashed => {
                away(error.to_string())
            }
            Sqlx::Tls(_) => away(format!("its TLS cannot be relied on: {error}")),
            Sqlx::Database(database) => {
                let code = database.code().unwrap_or_default().into_owned();
                let reason = format!("{} ({code})", database.message());
                if is_passing(&code) { away(reason) } else { Self::Refused(reason) }
            }
            error => Self::Refused(error.to_string()),
        }
    }
}

/// Whether an SQLSTATE says that the same may work later: a lost connection, a shutdown, too few resources, a lock that
/// was not to be had, a primary that is a standby now.
fn is_passing(code: &str) -> bool {
    ["08", "40", "53", "57"].iter().any(|class| code.starts_with(class))
        || ["25006", "25P03", "55P03", "58030"].contains(&code)
}

/// Where a database is, and how to sign in. Prints without its password.
#[derive(Clone)]
pub struct Database {
    options: PgConnectOptions,
}

impl Database {
    /// Reads `postgres://user@host:port/database?sslmode=verify-full`. A password does not belong in it.
    ///
    /// # Errors
    ///
    /// [`Error::Address`] and [`Error::PasswordInAddress`], neither of which repeats what was given.
    pub fn parse(url: &str) -> Result<Self, Error> {
        // The parser's own message would quote the URL, and in it what looks like a password.
        let options: PgConnectOptions = url.parse().map_err(|_| Error::Address)?;
        // It takes any scheme, that of another database too.
        let after_scheme = ["postgres://", "postgresql://"].iter().find_map(|scheme| url.strip_prefix(scheme));
        let after_scheme = after_scheme.ok_or(Error::Address)?;
        let authority = after_scheme.split(['/', '?']).next().unwrap_or_default();
        if authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':')) || url.contains("password=") {
            return Err(Error::PasswordInAddress);
        }
        Ok(Self { options })
    }

    /// The same, known to the database by the name of a program.
    #[must_use]
    pub fn named(mut self, application: &str) -> Self {
        self.options = self.options.application_name(application);
        self
    }

    /// The same with a password.
    #[must_use]
    pub fn with_password(mut self, password: &str) -> Self {
        self.options = self.options.password(password);
        self
    }

    /// With its password: that of the file (within `folder` where its path is relative), or that of the environment
    /// variable. Without either a socket, a certificate or `~/.pgpass` may do.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or others can read it too.
    pub fn with_password_from(self, folder: &Path, file: Option<&Path>, variable: &str) -> Result<Self, files::Error> {
        if let Some(file) = file {
            let password = files::read_private_file(&folder.join(file))?;
            return Ok(self.with_password(String::from_utf8_lossy(&password).trim_end()));
        }
        Ok(match std::env::var(variable) {
            Ok(password) => self.with_password(&password),
            Err(_) => self,
        })
    }

    /// Where it is, for people.
    pub fn place(&self) -> String {
        let options = &self.options;
        let host =
            options.get_socket().map_or_else(|| options.get_host().to_owned(), |path| path.display().to_string());
        let database = options.get_database().unwrap_or(options.get_username());
        format!("{host}:{}/{database}", options.get_port())
    }

    /// Connections to the tables of one schema, made when they are needed.
    pub fn pool(&self, schema: &str, most_connections: u32) -> PgPool {
        let session = [
            ("search_path", schema),
            // What is acknowledged is on the disk, and where there is a synchronous standby, on its disk too.
            ("synchronous_commit", "on"),
            // Whoever holds a lock and hangs must not stop the other processes for ever.
            ("idle_in_transaction_session_timeout", "20s"),
            ("lock_timeout", "20s"),
            ("statement_timeout", "60s"),
        ];
        PgPoolOptions::new()
            .max_connections(most_connections)
            .acquire_timeout(SLOWEST_CONNECTION)
            .connect_lazy_with(self.options.clone().options(session))
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Database({})", self.place())
    }
}

/// A program's tables: the schema that they are in, and what leads from each version to the next.
#[derive(Clone, Copy, Debug)]
pub struct Tables<'a> {
    /// The schema's name: lower-case letters, digits and `_`.
    pub schema: &'a str,
    /// One list of SQL for each version.
    pub migrations: &'a [&'a [&'a str]],
}

/// Checks that the database can be relied on, and brings the tables to this program's version.
///
/// # Errors
///
/// Each of [`Error`] but those about the address.
pub async fn prepare(pool: &PgPool, place: &str, tables: Tables<'_>) -> Result<(), Error> {
    let place = || place.to_owned();
    let (version, encoding, is_standby, read_only, fsync): (String, String, bool, String, String) = sqlx::query_as(
        "SELECT current_setting('server_version_num'), current_setting('server_encoding'), pg_is_in_recovery(), \
         current_setting('default_transaction_read_only'), current_setting('fsync')",
    )
    .fetch_one(pool)
    .await?;
    let found = version.parse::<i32>().unwrap_or(0) / 10_000;
    if found < OLDEST_SERVER {
        return Err(Error::ServerTooOld { place: place(), found });
    }
    if encoding != "UTF8" {
        return Err(Error::Encoding { place: place(), encoding });
    }
    if is_standby || read_only == "on" {
        return Err(Error::ReadOnly { place: place() });
    }
    if fsync == "off" {
        tracing::warn!(
            place = place(),
            "this database runs with fsync off: a crash of its machine loses what it holds"
        );
    }
    let migrations: Vec<String> = tables.migrations.iter().map(|migration| migration.concat()).collect();
    let mut transaction = pool.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(MIGRATION_LOCK).execute(&mut *transaction).await?;
    migrate(&mut transaction, place(), tables.schema.to_owned(), migrations).await?;
    Ok(transaction.commit().await?)
}

async fn migrate(
    transaction: &mut Transaction<'static, Postgres>,
    place: String,
    schema: String,
    migrations: Vec<String>,
) -> Result<(), Error> {
    let there: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
        .bind(format!("{schema}.version"))
        .fetch_one(&mut **transaction)
        .await?;
    if !there {
        // The name is the program's own; the session looks for its tables nowhere else.
        let begin = format!(
            "CREATE SCHEMA IF NOT EXISTS {schema};
            CREATE TABLE version (single boolean PRIMARY KEY DEFAULT true CHECK (single), version integer NOT NULL);
            INSERT INTO version (version) VALUES (0);"
        );
        transaction.execute(sqlx::raw_sql(AssertSqlSafe(begin))).await?;
    }
    let found: i32 = sqlx::query_scalar("SELECT version FROM version").fetch_one(&mut **transaction).await?;
    let known = i32::try_from(migrations.len()).unwrap_or(i32::MAX);
    if found > known {
        return Err(Error::SchemaNewer { place, found, known });
    }
    for migration in migrations.into_iter().skip(usize::try_from(found).unwrap_or(0)) {
        transaction.execute(sqlx::raw_sql(AssertSqlSafe(migration))).await?;
    }
    if found < known {
        sqlx::query("UPDATE version SET version = $1").bind(known).execute(&mut **transaction).await?;
        tracing::info!(from = found, to = known, schema, "the database's tables are made");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_told_from_what_does_not() {
        for code in ["08006", "57P01", "57P03", "53300", "25006", "40P01", "55P03"] {
            assert!(is_passing(code), "{code}");
        }
        for code in ["28P01", "42501", "42P01", "23505", "3D000", ""] {
            assert!(!is_passing(code), "{code}");
        }
        assert!(Error::from(Sqlx::PoolTimedOut).is_away());
        assert!(matches!(Error::from(Sqlx::RowNotFound), Error::Refused(_)));
    }

    #[test]
    fn an_address_holds_no_password_and_shows_none() {
        for with in ["postgres://node:geheim@db/shared", "postgres://db/shared?user=node&password=geheim"] {
            assert!(matches!(Database::parse(with), Err(Error::PasswordInAddress)), "{with}");
        }
        let error = Database::parse("postgres://node@db:nowhere/x").unwrap_err().to_string();
        assert!(error.contains("postgres://user@host:port/database") && !error.contains("nowhere"), "{error}");
        let database = Database::parse("postgres://node@db.example:5433/shared").unwrap().with_password("geheim");
        assert_eq!(format!("{database:?}"), "Database(db.example:5433/shared)");
    }
}
