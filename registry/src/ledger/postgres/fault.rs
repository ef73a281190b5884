//! What goes wrong with the registry's database: away for now (the registry waits and says so), or not to be used (it
//! ends). Out of scope: telling the two apart (`host::postgres`).

use host::postgres;

use super::super::Error;

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseError {
    /// It is not one to be relied on.
    #[error(transparent)]
    Unfit(postgres::Error),
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
pub(crate) fn explain(error: sqlx::Error) -> Error {
    found(error.into())
}

/// The same for what was found out about it.
pub(super) fn found(error: postgres::Error) -> Error {
    match error {
        postgres::Error::Away { reason } => Error::Away { reason },
        error => DatabaseError::Unfit(error).into(),
    }
}
