//! Where pending decisions are kept until their departments come: a folder with one file each (mode 0600, because the
//! token's secret is in it), or a table of the database that several registries share. Out of scope: what a decision says.

use std::{fs, io, path::PathBuf};

use host::files;
use sqlx::PgPool;
use trust::ids::DepartmentId;
use zeroize::Zeroizing;

use crate::ledger::PostgresLedger;

/// The folder of pending decisions, within the registry's.
pub const FOLDER: &str = "enrolments";

/// Why a decision could not be read, written or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The database did not do it.
    #[error("the database with the pending enrolments cannot be used: {0}")]
    Database(String),
    /// Its file cannot be read or written.
    #[error(transparent)]
    File(#[from] files::Error),
    /// The operating system refused.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
}

/// Something that comes later.
type Soon<'a, T> = std::pin::Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// The text of a decision; in it is a secret.
pub type Text = Zeroizing<Vec<u8>>;

/// The store of pending decisions.
pub trait Decisions: Send + Sync {
    /// All departments with a pending decision.
    fn departments(&self) -> Soon<'_, Vec<DepartmentId>>;

    /// The decision about a department.
    fn read<'a>(&'a self, department: &'a DepartmentId) -> Soon<'a, Option<Text>>;

    /// Keeps a decision, in place of one that there may be.
    fn write<'a>(&'a self, department: &'a DepartmentId, decision: &'a Text) -> Soon<'a, ()>;

    /// Forgets a decision.
    fn remove<'a>(&'a self, department: &'a DepartmentId) -> Soon<'a, ()>;

    /// Where a decision is kept, for people.
    fn place(&self, department: &DepartmentId) -> String;
}

/// A folder with one file for each.
pub struct FolderDecisions {
    folder: PathBuf,
}

impl FolderDecisions {
    /// Those in the registry's folder.
    pub fn open(registry: &std::path::Path) -> Result<Self, Error> {
        let folder = registry.join(FOLDER);
        files::private_folder(&folder)?;
        Ok(Self { folder })
    }

    fn path(&self, department: &DepartmentId) -> PathBuf {
        self.folder.join(format!("{department}.toml"))
    }

    fn listed(&self) -> Result<Vec<DepartmentId>, Error> {
        let io = |source| Error::Io { path: self.folder.clone(), source };
        let mut listed = Vec::new();
        for file in fs::read_dir(&self.folder).map_err(io)? {
            let name = file.map_err(io)?.file_name();
            let department = name.to_str().and_then(|name| name.strip_suffix(".toml")).map(str::parse::<DepartmentId>);
            listed.extend(department.and_then(Result::ok));
        }
        Ok(listed)
    }

    fn text(&self, department: &DepartmentId) -> Result<Option<Text>, Error> {
        match files::read_private_file(&self.path(department)) {
            Err(files::Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            read => Ok(Some(read?)),
        }
    }

    fn forget(&self, department: &DepartmentId) -> Result<(), Error> {
        let path = self.path(department);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::Io { path, source }),
            _ => Ok(()),
        }
    }
}

impl Decisions for FolderDecisions {
    fn departments(&self) -> Soon<'_, Vec<DepartmentId>> {
        Box::pin(async move { self.listed() })
    }

    fn read<'a>(&'a self, department: &'a DepartmentId) -> Soon<'a, Option<Text>> {
        Box::pin(async move { self.text(department) })
    }

    fn write<'a>(&'a self, department: &'a DepartmentId, decision: &'a Text) -> Soon<'a, ()> {
        Box::pin(async move { Ok(files::replace_file(&self.path(department), decision, files::PRIVATE_MODE)?) })
    }

    fn remove<'a>(&'a self, department: &'a DepartmentId) -> Soon<'a, ()> {
        Box::pin(async move { self.forget(department) })
    }

    fn place(&self, department: &DepartmentId) -> String {
        self.path(department).display().to_string()
    }
}

/// The database's table.
pub struct PostgresDecisions {
    pool: PgPool,
    place: String,
}

impl PostgresDecisions {
    /// Those beside the ledger.
    pub fn new(ledger: &PostgresLedger) -> Self {
        Self { pool: ledger.pool().clone(), place: ledger.place().to_owned() }
    }
}

fn failed(error: sqlx::Error) -> Error {
    Error::Database(error.to_string())
}

impl Decisions for PostgresDecisions {
    fn departments(&self) -> Soon<'_, Vec<DepartmentId>> {
        Box::pin(async move {
            let names: Vec<String> = sqlx::query_scalar("SELECT department FROM errand_registry.enrolments")
                .fetch_all(&self.pool)
                .await
                .map_err(failed)?;
            Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
        })
    }

    fn read<'a>(&'a self, department: &'a DepartmentId) -> Soon<'a, Option<Text>> {
        Box::pin(async move {
            let decision: Option<Vec<u8>> =
                sqlx::query_scalar("SELECT decision FROM errand_registry.enrolments WHERE department = $1")
                    .bind(department.as_str())
                    .fetch_optional(&self.pool)
                    .await
                    .map_err(failed)?;
            Ok(decision.map(Zeroizing::new))
        })
    }

    fn write<'a>(&'a self, department: &'a DepartmentId, decision: &'a Text) -> Soon<'a, ()> {
        Box::pin(async move {
            sqlx::query(
                "INSERT INTO errand_registry.enrolments (department, decision) VALUES ($1, $2) \
                 ON CONFLICT (department) DO UPDATE SET decision = EXCLUDED.decision",
            )
            .bind(department.as_str())
            .bind(decision.as_slice())
            .execute(&self.pool)
            .await
            .map_err(failed)?;
            Ok(())
        })
    }

    fn remove<'a>(&'a self, department: &'a DepartmentId) -> Soon<'a, ()> {
        Box::pin(async move {
            sqlx::query("DELETE FROM errand_registry.enrolments WHERE department = $1")
                .bind(department.as_str())
                .execute(&self.pool)
                .await
                .map_err(failed)?;
            Ok(())
        })
    }

    fn place(&self, department: &DepartmentId) -> String {
        format!("the pending enrolment of {department} in {}", self.place)
    }
}
