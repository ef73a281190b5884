//! What goes wrong with a database, in sentences that say what to do: away for now (the registry waits and says so), or not
//! to be used (it ends).

use sqlx::Error as Sqlx;

use super::super::Error;

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseError {
    /// The configured address cannot be read.
    #[error("`store` is no address of a database: write postgres://user@host:port/database?sslmode=verify-full")]
    Address,
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
    /// It already holds a directory, where an empty one is needed.
    #[error("the database at {place} holds a directory of {size} statements already: nothing was changed")]
    InUse {
        /// Where.
        place: String,
        /// How many statements.
        size: u64,
    },
    /// A configuration file is no place for a password.
    #[error(
        "the password of the database does not belong into `store`: name a file in `store_password_file`, or set REGISTRY_STORE_PASSWORD"
    )]
    PasswordInAddress,
    /// It is a standby, or read-only.
    #[error("the database at {place} takes no writes (it is a standby, or read-only): name the primary in `store`")]
    ReadOnly {
        /// Where.
        place: String,
    },
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
    /// It refused to do something.
    #[error("the database refused: {0}")]
    Refused(String),
    /// Its server is too old.
    #[error("the database at {place} is PostgreSQL {found}: version 13 or newer is needed")]
    ServerTooOld {
        /// Where.
        place: String,
        /// Its version.
        found: i32,
    },
    /// It has fewer entries than were read from it before.
    #[error(
        "the database at {place} has lost statements: it now has {found}, and {known} were there; bring back the primary or standby that has them, and sign nothing until then"
    )]
    WentBack {
        /// Where.
        place: String,
        /// How many this process has read.
        known: u64,
        /// How many there are now.
        found: u64,
    },
}

/// Whether it will be back, or is not to be used.
pub(super) fn explain(error: Sqlx) -> Error {
    let away = |reason: String| Error::Away { reason };
    match error {
        Sqlx::Io(_) | Sqlx::PoolClosed | Sqlx::PoolTimedOut | Sqlx::Protocol(_) | Sqlx::WorkerCrashed => {
            away(error.to_string())
        }
        Sqlx::Tls(_) => away(format!("its TLS cannot be relied on: {error}")),
        Sqlx::Database(database) => {
            let code = database.code().unwrap_or_default().into_owned();
            let reason = format!("{} ({code})", database.message());
            if is_passing(&code) { away(reason) } else { DatabaseError::Refused(reason).into() }
        }
        error => DatabaseError::Refused(error.to_string()).into(),
    }
}

/// Whether an SQLSTATE says that the same may work later: a lost connection, a shutdown, too few resources, a lock that
/// was not to be had, a primary that is a standby now.
fn is_passing(code: &str) -> bool {
    ["08", "40", "53", "57"].iter().any(|class| code.starts_with(class))
        || ["25006", "25P03", "55P03", "58030"].contains(&code)
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
        assert!(matches!(explain(Sqlx::PoolTimedOut), Error::Away { .. }));
        assert!(matches!(explain(Sqlx::RowNotFound), Error::Database(DatabaseError::Refused(_))));
    }
}
