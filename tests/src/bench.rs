//! How fast the exchange is, measured beside its own limit: a bare server over the same TLS that verifies and signs and
//! does nothing else. Several rounds, interleaved, so that a machine whose speed drifts slows all alike; medians with
//! their spread. Nothing here judges: the figures are printed beside what was hoped for.
//!
//! Each section of the benchmark is a room with `Options` and `run`, and adds its own figures to the summary.

pub mod absence;
pub mod bulk;
pub mod case;
pub mod directory;
pub mod driver;
pub mod exchange;
pub mod limit;
pub mod load;
pub mod places;
pub mod sources;
pub mod summary;

#[path = "../support/postgres_server.rs"]
mod postgres_server;
