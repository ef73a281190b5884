//! Records in a database that is reached by ODBC: one fixed, read-only query with the subject as its parameter. Without the
//! feature `driver` there is nothing in here, so that nobody needs a driver manager to build the rest.
//!
//! Out of scope: what the columns mean, and what may stand in a query (`exchange-node`).

#[cfg(feature = "driver")]
mod driver;

#[cfg(feature = "driver")]
pub use driver::{Answer, BY_ITS_USER, Failure, Kind, Link, ask};
