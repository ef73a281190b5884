//! What a long-running program needs and an auditor does not.
//!
//! `host` is the floor both programs stand on: the clock and randomness (the only place that may ask the machine for
//! them), the store and its one writer, TLS, the edge that keeps floods out, configuration, supervision, the admin
//! socket, logs. It knows no word of the domain: no departments, no statements, no keys with roles. What must be agreed
//! on to the byte lives in `trust`, never here.
//!
//! The modules stand in the order in which a `main` uses them.

pub mod clock;
pub mod random;

pub mod config;
pub mod files;
pub mod open_files;
pub mod period;
pub mod put_down;
pub mod sealed;
pub mod telemetry;

pub mod disk;
pub mod postgres;
pub mod store;

pub mod committer;

pub mod key_backup;
pub mod officers;
pub mod signing;
pub mod two_officers;

pub mod tls;

pub mod edge;

pub mod health;
pub mod readiness;
pub mod supervise;
pub mod table;

pub mod admin_socket;
pub mod chunks;
pub mod ready_file;

pub mod published;
pub mod terminal;
