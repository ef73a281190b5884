//! The registry: admits departments, keeps the directory log and serves it. Everything it says is a signed statement in
//! an append-only log that every node checks for itself, so whoever runs or steals a registry can delay news and shut
//! doors, and cannot open a record.
//!
//! The rooms stand in reading order: how it is set up, where the log lives, how it grows, who enters, what it means, and
//! the edges. What makes a statement count is not here but in `trust::directory`, the same code that every node runs.

pub mod config;
pub mod init;
pub mod keys;
pub mod log_keys;

pub mod ledger;
pub mod recovery;
pub mod sequencer;
pub mod snapshot;
pub mod store;
pub mod witnesses;

pub mod alerts;
pub mod alerts_edge;
pub mod anchors;

pub mod authority;
pub mod backup;
pub mod board;
pub mod carried;
pub mod catalogue;
pub mod enrolment;
pub mod profile_file;
pub mod replacement;
pub mod replicas;
pub mod review;
pub mod rotation;
pub mod waiting;
pub mod words;

pub mod admin_edge;
pub mod anchors_edge;
pub mod catalogue_edge;
pub mod directory_edge;
pub mod enrolment_edge;
pub mod failures;
pub mod history_edge;
pub mod tile_edge;
pub mod witness_edge;

pub mod app;
pub mod cli;

#[cfg(test)]
mod fixture;
#[cfg(test)]
#[path = "../../tests/support/postgres_server.rs"]
mod postgres_server;

/// The folder of the directory's ledger, within the registry's.
pub const DIRECTORY_FOLDER: &str = "directory";
