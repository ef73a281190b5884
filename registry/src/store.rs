//! Which store a registry's ledger lives in: the embedded one in its own folder, or a PostgreSQL database that several
//! registries share. One line of the configuration says which; the password of a database comes from a file or the
//! environment, and is never printed. Out of scope: what is kept there (`ledger`, `enrolment`).

use std::{fmt, path::Path, sync::Arc, time::Duration};

use host::{
    committer::{CommitterError, CommitterOptions},
    files,
    postgres::{self, Database},
    store::{SMALL_CACHE_BYTES, Store, StoreError},
};
use serde::Deserialize;

use crate::{
    DIRECTORY_FOLDER, anchors,
    enrolment::decisions::{self, Decisions, FolderDecisions, PostgresDecisions},
    ledger::{self, OpenLedger, PostgresLedger, SledLedger, postgres::APPLICATION},
};

/// The environment variable with the database's password.
pub const PASSWORD_VARIABLE: &str = "REGISTRY_STORE_PASSWORD";

/// The name of the embedded store.
pub const EMBEDDED: &str = "sled";

/// How many second logs are looked for in a folder: each but the last lost entries, so there are hardly ever two.
const MOST_SECOND_LOGS: u32 = 1000;

/// How long a starting registry waits for its database: the two may be started in any order.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long it waits before it tries again.
const AGAIN: Duration = Duration::from_secs(1);

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Pending enrolments cannot be reached.
    #[error(transparent)]
    Decisions(#[from] decisions::Error),
    /// The database's address cannot be used.
    #[error("`store`: {0}")]
    Address(postgres::Error),
    /// The ledger cannot be opened.
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
    /// A configuration file is no place for a password.
    #[error(
        "the password of the database does not belong into `store`: name a file in `store_password_file`, or set {PASSWORD_VARIABLE}"
    )]
    PasswordInAddress,
    /// The password's file cannot be read.
    #[error("`store_password_file`: {0}")]
    Password(#[from] files::Error),
    /// The embedded store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is no store.
    #[error("`store` must be \"sled\", or the address of a PostgreSQL database (postgres://user@host:port/database)")]
    Unknown,
}

/// A store, as `registry.toml` or a command names it.
#[derive(Default, Clone)]
#[allow(clippy::large_enum_variant, reason = "there is one of it")]
pub enum StoreChoice {
    /// The embedded one.
    #[default]
    Embedded,
    /// The database.
    Postgres(Database),
}

impl fmt::Debug for StoreChoice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded => formatter.write_str(EMBEDDED),
            Self::Postgres(database) => fmt::Debug::fmt(database, formatter),
        }
    }
}

impl std::str::FromStr for StoreChoice {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            EMBEDDED => Ok(Self::Embedded),
            _ if text.starts_with("postgres://") || text.starts_with("postgresql://") => {
                let database = Database::parse(text).map_err(|error| match error {
                    postgres::Error::PasswordInAddress => Error::PasswordInAddress,
                    error => Error::Address(error),
                })?;
                Ok(Self::Postgres(database.named(APPLICATION)))
            }
            _ => Err(Error::Unknown),
        }
    }
}

impl<'de> Deserialize<'de> for StoreChoice {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl StoreChoice {
    /// The same for a command that is no registry.
    #[must_use]
    pub fn for_a_tool(self) -> Self {
        match self {
            Self::Postgres(database) => Self::Postgres(database.named("errand registry tool")),
            other => other,
        }
    }

    /// With its password: that of the file (within `folder` where its path is relative), or that of the environment.
    pub fn with_password(self, folder: &Path, file: Option<&Path>) -> Result<Self, Error> {
        let Self::Postgres(database) = self else { return Ok(self) };
        Ok(Self::Postgres(database.with_password_from(folder, file, PASSWORD_VARIABLE)?))
    }

    /// Opens the ledger. `on_fatal` is told when the embedded store's writer ends by itself.
    pub async fn open(
        &self,
        folder: &Path,
        on_fatal: impl FnOnce(CommitterError) + Send + 'static,
    ) -> Result<OpenLedger, Error> {
        match self {
            Self::Embedded => {
                let store = Store::open(&folder.join(DIRECTORY_FOLDER), SMALL_CACHE_BYTES)?;
                Ok(OpenLedger::Sled(SledLedger::open(store, CommitterOptions::default(), on_fatal)?))
            }
            Self::Postgres(database) => Ok(OpenLedger::Postgres(PostgresLedger::open(database).await?)),
        }
    }

    /// Opens the ledger of the second log with this number, in the same store.
    pub async fn open_second(
        &self,
        folder: &Path,
        log: u32,
        on_fatal: impl FnOnce(CommitterError) + Send + 'static,
    ) -> Result<OpenLedger, Error> {
        match self {
            Self::Embedded => {
                let store = Store::open(&anchors::folder(folder, log), SMALL_CACHE_BYTES / 4)?;
                let options = CommitterOptions { name: "anchors".to_owned(), ..CommitterOptions::default() };
                Ok(OpenLedger::Sled(SledLedger::open(store, options, on_fatal)?))
            }
            Self::Postgres(database) => Ok(OpenLedger::Postgres(PostgresLedger::open_second(database, log).await?)),
        }
    }

    /// The same as [`StoreChoice::open`], waiting for a database that is not there yet.
    pub async fn open_patiently(
        &self,
        folder: &Path,
        on_fatal: impl FnOnce(CommitterError) + Send + 'static,
    ) -> Result<OpenLedger, Error> {
        let Self::Postgres(database) = self else { return self.open(folder, on_fatal).await };
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            match PostgresLedger::open(database).await {
                Err(ledger::Error::Away { reason }) if tokio::time::Instant::now() < until => {
                    tracing::warn!(reason, place = database.place(), "waiting for the database");
                    tokio::time::sleep(AGAIN).await;
                }
                opened => return Ok(OpenLedger::Postgres(opened?)),
            }
        }
    }

    /// What it is, for people.
    pub fn place(&self, folder: &Path) -> String {
        match self {
            Self::Embedded => folder.join(DIRECTORY_FOLDER).display().to_string(),
            Self::Postgres(database) => database.place(),
        }
    }
}

/// The numbers of the second logs that are in a ledger's store.
pub async fn second_logs(ledger: &OpenLedger, folder: &Path) -> Result<Vec<u32>, ledger::Error> {
    match ledger {
        OpenLedger::Postgres(ledger) => ledger.second_logs().await,
        OpenLedger::Sled(_) => {
            Ok((1..=MOST_SECOND_LOGS).filter(|log| anchors::folder(folder, *log).exists()).collect())
        }
    }
}

/// Where pending enrolments are kept: beside the ledger, so that any registry over it can take a department in.
pub fn decisions(ledger: &OpenLedger, folder: &Path) -> Result<Arc<dyn Decisions>, decisions::Error> {
    Ok(match ledger {
        OpenLedger::Postgres(ledger) => Arc::new(PostgresDecisions::new(ledger)),
        OpenLedger::Sled(_) => Arc::new(FolderDecisions::open(folder)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        text.parse::<StoreChoice>().unwrap_err().to_string()
    }

    #[test]
    fn a_store_is_named_by_one_line() {
        assert!(matches!("sled".parse(), Ok(StoreChoice::Embedded)));
        let choice: StoreChoice =
            "postgres://registry@db.ninghe.example:5433/exchange?sslmode=verify-full".parse().unwrap();
        assert_eq!(choice.place(Path::new("r")), "db.ninghe.example:5433/exchange");
        assert!(refusal("mysql://db").contains("\"sled\""));
        assert!(refusal("postgres://registry@db:nowhere/x").contains("postgres://user@host:port/database"));
    }

    #[test]
    fn a_password_stands_in_no_configuration_and_shows_nowhere() {
        for with in ["postgres://registry:geheim@db/exchange", "postgres://db/exchange?user=registry&password=geheim"] {
            let error = refusal(with);
            assert!(error.contains("store_password_file") && !error.contains("geheim"), "{error}");
        }
        let folder = tempfile::tempdir().unwrap();
        files::write_private_file(&folder.path().join("password"), b"geheim\n").unwrap();
        let choice: StoreChoice = "postgres://registry@db/exchange".parse().unwrap();
        let choice = choice.with_password(folder.path(), Some(Path::new("password"))).unwrap();
        assert!(!format!("{choice:?}").contains("geheim"));
        let missing = choice.with_password(folder.path(), Some(Path::new("other"))).unwrap_err().to_string();
        assert!(missing.contains("store_password_file") && missing.contains("other"), "{missing}");
    }
}
