//! Records in a database: PostgreSQL, MySQL or MariaDB, or a file of SQLite. One fixed query for each service, the subject
//! and the inputs as bound parameters, over a pool of connections that can only read.
//!
//! Every question has a transaction of its own that the database itself holds to reading: what a query set for its session
//! counts for nothing in the next. Out of scope: what a cell means ([`super::mapping`]), bounds ([`super::guard`]).

mod bounded;
mod many;
mod mysql;
mod postgres;
mod sqlite;
mod union_all;

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use sqlx::{PgPool, Pool, SqlitePool, pool::PoolOptions};
use trust::{
    service::Service,
    subject::{Scheme, Subject},
    value::{Type, Value},
};

use super::{
    Asked, Examined, Source, Work,
    fields::Table,
    query::{Query, SUBJECT, SUBJECT_15, SUBJECT_LOWER},
    raw::{Fetched, Trouble},
    settings::Bounds,
};

/// How to reach a database server.
#[derive(Clone, Debug)]
pub struct DatabaseSettings {
    /// The host's name or address, or the folder of a socket (for MySQL the socket itself).
    pub host: String,
    /// The port.
    pub port: u16,
    /// The database.
    pub database: String,
    /// Who asks: best a user who may only read the tables of the query.
    pub user: String,
    /// Where the password is.
    pub password: Password,
    /// Whether the server must show a certificate that is believed.
    pub is_verified: bool,
    /// The certificates that are believed, beside the usual ones.
    pub ca_file: Option<PathBuf>,
}

/// Where a password is: never in the configuration itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Password {
    /// In an environment variable of that name.
    Environment(String),
    /// In a file of its own, which others cannot read; its path is from the node's folder.
    File(PathBuf),
    /// There is none.
    None,
}

impl DatabaseSettings {
    /// Reads the fields of a source.
    pub fn read(table: &Table<'_, '_>, usual_port: u16) -> Self {
        let host = table.needed_text("host");
        let password = match (table.text("password_file"), table.text("password_env")) {
            (Some(_), Some(_)) => {
                table.mistake("password_env", "the password is in a file already: leave one of the two out");
                Password::None
            }
            (Some(file), None) => Password::File(file.into()),
            (None, Some(name)) => Password::Environment(name),
            (None, None) => Password::None,
        };
        let is_near = is_near(&host);
        let is_verified = match table.text("tls").as_deref() {
            None => !is_near,
            Some("verify") => true,
            Some("off") if is_near => false,
            Some("off") => {
                table.mistake(
                    "tls",
                    "can be off only where the server is on this machine: records would travel in the clear",
                );
                true
            }
            Some(_) => {
                table.mistake("tls", "must be verify, or off for a server on this machine");
                true
            }
        };
        Self {
            host,
            port: table.number("port", 1..=65_535).and_then(|port| u16::try_from(port).ok()).unwrap_or(usual_port),
            database: table.needed_text("database"),
            user: table.needed_text("user"),
            password,
            is_verified,
            ca_file: table.text("ca_file").map(PathBuf::from),
        }
    }

    fn place(&self) -> String {
        format!("{} at {}", self.database, self.host)
    }
}

/// Whether the server is on this machine, so that nobody else sees what passes.
pub(super) fn is_near(host: &str) -> bool {
    host.starts_with('/') || host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

impl Password {
    /// The password itself. Blocks for a file.
    pub(super) fn read(&self, dir: &Path) -> Result<Option<zeroize::Zeroizing<String>>, String> {
        match self {
            Self::None => Ok(None),
            Self::Environment(name) => match std::env::var(name) {
                Ok(password) => Ok(Some(password.into())),
                Err(_) => Err(format!("password_env: the environment variable {name} is not set")),
            },
            Self::File(path) => {
                let path = dir.join(path);
                let unusable = |error: &dyn std::fmt::Display| format!("password_file: {}: {error}", path.display());
                let mode = fs::metadata(&path).map_err(|error| unusable(&error))?;
                let mode = std::os::unix::fs::PermissionsExt::mode(&mode.permissions());
                if mode & 0o077 != 0 {
                    return Err(unusable(&"others can read it: chmod 600"));
                }
                let password = fs::read_to_string(&path).map_err(|error| unusable(&error))?;
                Ok(Some(password.trim_end_matches(['\r', '\n']).to_owned().into()))
            }
        }
    }
}

/// A database with its connections. None is opened before somebody asks.
#[derive(Clone, Debug)]
pub struct Database {
    pool: AnyPool,
    place: String,
    timeout: Duration,
}

#[derive(Clone, Debug)]
enum AnyPool {
    Mysql(mysql::Server),
    Postgres(PgPool),
    Sqlite(SqlitePool),
}

impl Database {
    /// MySQL or MariaDB.
    ///
    /// # Errors
    /// Where the password cannot be read.
    pub fn mysql(settings: &DatabaseSettings, bounds: Bounds, dir: &Path) -> Result<Self, String> {
        let pool = AnyPool::Mysql(mysql::server(settings, bounds, dir)?);
        Ok(Self { pool, place: settings.place(), timeout: bounds.timeout })
    }

    /// PostgreSQL.
    ///
    /// # Errors
    /// Where the password cannot be read.
    pub fn postgres(settings: &DatabaseSettings, bounds: Bounds, dir: &Path) -> Result<Self, String> {
        let pool = AnyPool::Postgres(postgres::pool(settings, bounds, dir)?);
        Ok(Self { pool, place: settings.place(), timeout: bounds.timeout })
    }

    /// A file of SQLite.
    ///
    /// # Errors
    /// Never, now; as the others.
    pub fn sqlite(path: &Path, bounds: Bounds) -> Result<Self, String> {
        let pool = AnyPool::Sqlite(sqlite::pool(path, bounds));
        Ok(Self { pool, place: path.display().to_string(), timeout: bounds.timeout })
    }

    /// The database, asked by `query`.
    pub fn asked_by(&self, query: Query) -> SqlSource {
        SqlSource { database: self.clone(), query }
    }
}

/// A database asked by the query of one service.
#[derive(Clone, Debug)]
pub struct SqlSource {
    database: Database,
    query: Query,
}

impl Source for SqlSource {
    fn fetch(&self, asked: Asked) -> Work<Result<Fetched, Trouble>> {
        let Self { database, query } = self.clone();
        Box::pin(async move {
            let parameters = parameters(&query, &asked)?;
            let Database { pool, place, timeout } = database;
            match pool {
                AnyPool::Mysql(server) => mysql::fetch(&server, &query, &parameters, timeout).await,
                AnyPool::Postgres(pool) => postgres::fetch(&pool, &query, &parameters, timeout).await,
                AnyPool::Sqlite(pool) => sqlite::fetch(&pool, &query, &parameters, timeout).await,
            }
            .map_err(|error| trouble(&error, &place))
        })
    }

    fn fetch_many(&self, asked: &[Asked]) -> Option<Work<Result<Vec<Fetched>, Trouble>>> {
        let Self { database, query } = self.clone();
        let parameters = asked.iter().map(|asked| parameters(&query, asked)).collect::<Result<Vec<_>, _>>();
        Some(Box::pin(async move {
            let Database { pool, place, timeout } = database;
            let parameters = parameters?;
            match pool {
                AnyPool::Mysql(server) => mysql::fetch_many(&server, &query, parameters, timeout).await,
                AnyPool::Postgres(pool) => many::fetch(&pool, &query, parameters, timeout).await,
                AnyPool::Sqlite(pool) => sqlite::fetch_many(&pool, &query, parameters, timeout).await,
            }
            .map_err(|error| trouble(&error, &place))
        }))
    }

    fn examine(&self, service: Arc<Service>) -> Work<Result<Examined, Trouble>> {
        let Self { database, query } = self.clone();
        Box::pin(async move {
            let parameters = examples(&query, &service)?;
            let Database { pool, place, timeout } = database;
            match pool {
                AnyPool::Mysql(server) => mysql::examine(&server, &query, &parameters, timeout).await,
                AnyPool::Postgres(pool) => postgres::examine(&pool, &query, &parameters, timeout).await,
                AnyPool::Sqlite(pool) => sqlite::examine(&pool, &query, &parameters, timeout).await,
            }
            .map_err(|error| trouble(&error, &place))
        })
    }

    fn ends_with_its_asker(&self) -> bool {
        true
    }

    fn hint(&self, service: &Service) -> Option<String> {
        let is_alone = self.query.uses(SUBJECT) && !self.query.uses(SUBJECT_15) && !self.query.uses(SUBJECT_LOWER);
        (is_alone && service.schemes.contains(&Scheme::ResidentId)).then(|| ONE_FORM.to_owned())
    }

    fn selects_by(&self, name: &str) -> bool {
        self.query.uses(name)
    }

    fn describe(&self) -> String {
        self.query.to_string()
    }
}

/// What is said of a query that knows a resident number in one form.
const ONE_FORM: &str = "the query compares the number with :subject alone, 18 characters and a capital X; one that is stored with 15 \
    digits or a small x is no record for it: add :subject_15 and :subject_lower where there are such, as docs/providers.md shows";

/// What is bound at one place of a query. `Debug` names the type alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parameter {
    /// The type that an input has in the service's description; the subject is a text.
    ty: Type,
    /// Its value; none for an input that was not given.
    value: Option<Value>,
}

impl Parameter {
    pub(super) fn text(&self) -> Option<String> {
        self.value.as_ref().map(Value::to_text)
    }
}

/// What is bound at each place of `query`, in their order.
pub(super) fn parameters(query: &Query, asked: &Asked) -> Result<Vec<Parameter>, Trouble> {
    let text = |text: String| Parameter { ty: Type::String, value: Some(Value::Text(text)) };
    let parameter = |name: &String| match name.as_str() {
        SUBJECT => Ok(text(asked.subject.value().to_owned())),
        SUBJECT_15 => Ok(text(fifteen_digits(&asked.subject).unwrap_or_else(|| asked.subject.value().to_owned()))),
        SUBJECT_LOWER => Ok(text(asked.subject.value().to_ascii_lowercase())),
        name => {
            let input = asked.service.inputs.iter().find(|input| input.name == name);
            let input = input.ok_or_else(|| {
                let known = asked.service.inputs.iter().map(|input| format!(":{}", input.name));
                let known =
                    [SUBJECT, SUBJECT_15, SUBJECT_LOWER].map(|name| format!(":{name}")).into_iter().chain(known);
                Trouble::Wrong(format!(
                    "the query has the parameter :{name}, and the service no such input; there are {}",
                    known.collect::<Vec<_>>().join(", ")
                ))
            })?;
            let given = asked.inputs.iter().find(|(given, _)| given == name).map(|(_, value)| value.clone());
            Ok(Parameter { ty: input.ty.ty(), value: given })
        }
    };
    query.names().iter().map(parameter).collect()
}

/// Parameters of the right types about nobody, to look at the query with.
fn examples(query: &Query, service: &Arc<Service>) -> Result<Vec<Parameter>, Trouble> {
    let subject = example_subject(service)?;
    parameters(query, &Asked { service: Arc::clone(service), subject, inputs: Vec::new() })
}

/// A subject of the service that is nobody.
pub(super) fn example_subject(service: &Service) -> Result<Subject, Trouble> {
    let nobody = ["11010519491231002X", "91350100M000100Y43", "E00000000", "A0000000"];
    let example = |scheme: &Scheme| nobody.iter().find_map(|text| Subject::stored(*scheme, text).ok());
    let subject = service.schemes.iter().find_map(example);
    subject.ok_or_else(|| Trouble::Wrong("the service has no subject to ask about".to_owned()))
}

/// A resident number as it was written until 1999: without the century and the check character. Only births of the
/// twentieth century had one.
pub(super) fn fifteen_digits(subject: &Subject) -> Option<String> {
    let number = subject.value();
    let is_old = subject.scheme() == Scheme::ResidentId && number.len() == 18 && &number[6..8] == "19";
    is_old.then(|| format!("{}{}", &number[..6], &number[8..17]))
}

/// The options of a pool, whatever the database.
fn options<DB: sqlx::Database>(bounds: Bounds) -> PoolOptions<DB> {
    PoolOptions::new()
        .max_connections(u32::try_from(bounds.at_once).unwrap_or(u32::MAX))
        // Before the guard's own limit, so that what is told is that no connection came about.
        .acquire_timeout(bounds.timeout.mul_f32(0.8))
        .idle_timeout(Duration::from_secs(600))
        .test_before_acquire(false)
}

/// Whether the connection is of no use any more: the question can be put again over another one, since nothing was changed.
fn is_broken(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => true,
        // PostgreSQL: the administrator ends the session, the server stops, starts, or is in recovery. MySQL: the server
        // shuts down, or the connection was killed.
        sqlx::Error::Database(error) => {
            error.code().is_some_and(|code| matches!(code.as_ref(), "57P01" | "57P02" | "57P03" | "25P03"))
                || error
                    .try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>()
                    .is_some_and(|e| matches!(e.number(), 1053 | 1317 | 1927))
        }
        _ => false,
    }
}

/// Asks over one connection after the other while they are broken: after a restart of the server every one of the pool
/// is, and the question is no worse for it.
async fn asked<DB, T, F>(pool: &Pool<DB>, timeout: Duration, ask: F) -> Result<T, sqlx::Error>
where
    DB: sqlx::Database,
    F: for<'c> Fn(
        &'c mut DB::Connection,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<T, sqlx::Error>> + Send + 'c>>,
{
    let mut tries_left = pool.options().get_max_connections();
    loop {
        let mut connection = pool.acquire().await?;
        // Whoever gives up, or is given up, leaves a connection that is in the middle of something: it is closed.
        connection.close_on_drop();
        let outcome = tokio::time::timeout(timeout, ask(&mut connection)).await;
        match outcome {
            Ok(Err(error)) if is_broken(&error) && tries_left > 0 => tries_left -= 1,
            Ok(outcome) => {
                if outcome.as_ref().err().is_none_or(|error| !is_broken(error) && bounded::given_up(error).is_none()) {
                    tokio::spawn(connection.return_to_pool());
                }
                return outcome;
            }
            Err(_) => {
                return Err(sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "it took too long")));
            }
        }
    }
}

/// What is said of a query that reads every row.
fn no_index(plan: &[String]) -> String {
    format!(
        "no index helps to find a subject, so every question reads the whole table: make one. The plan: {}",
        plan.join(" / ")
    )
}

/// An error for the operator. What a database says of itself may repeat a value (a conversion that fails does), so that
/// only its code and, for those that speak of the query alone, its words are told.
fn trouble(error: &sqlx::Error, place: &str) -> Trouble {
    match error {
        sqlx::Error::PoolTimedOut => Trouble::Down(format!(
            "no connection to {place} came about in time: does the server run, and do address, user and password hold?"
        )),
        sqlx::Error::Io(error) => Trouble::Down(format!("the connection to {place} failed: {error}")),
        sqlx::Error::Tls(error) => Trouble::Down(format!("no secure connection to {place}: {error}")),
        sqlx::Error::Database(error) => {
            let code = error.code().unwrap_or_default();
            let mysql = error
                .try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>()
                .map(sqlx::mysql::MySqlDatabaseError::number);
            let is_passing = matches!(code.get(..2).unwrap_or_default(), "08" | "53" | "55" | "57" | "40")
                || matches!(mysql, Some(1040 | 1053 | 1205 | 1213 | 1317 | 1927 | 1969 | 3024))
                || (mysql.is_none() && matches!(code.as_ref(), "5" | "6" | "14"));
            // Class 22 of the standard: data. Its messages quote the datum.
            let speaks_of_data =
                code.starts_with("22") || matches!(mysql, Some(1264 | 1292 | 1366 | 1406 | 1411 | 1525));
            let words =
                if speaks_of_data { "a value in it cannot be converted as the query says" } else { error.message() };
            let number = mysql.map_or_else(|| code.to_string(), |number| number.to_string());
            let text = format!("{place} says ({number}): {words}");
            if is_passing { Trouble::Down(text) } else { Trouble::Wrong(text) }
        }
        error => match bounded::given_up(error) {
            Some(reason) => Trouble::Wrong(format!("{place}: {reason}")),
            None => Trouble::Down(format!("{place}: {error}")),
        },
    }
}

#[cfg(test)]
mod tests;
