//! The exchange node: asks other departments on behalf of its own office systems, and answers them from its own
//! department's records. A program is a library with a short main: `app` builds what `main` runs.

pub mod admin_edge;
pub mod anchors;
pub mod answer;
pub mod app;
pub mod ask;
pub mod asked;
pub mod backup;
pub mod budget;
pub mod bulk;
pub mod case;
pub mod case_edge;
pub mod clerk;
pub mod cli;
pub mod compare;
pub mod config;
pub mod correction;
pub mod cosigner;
pub mod custody;
pub mod custody_edge;
pub mod doctor;
pub mod duty;
pub mod events;
pub mod export;
pub mod findings;
pub mod history;
pub mod init;
pub mod item_file;
pub mod join;
pub mod journal;
pub mod keys;
pub mod logs;
pub mod me;
pub mod notices;
pub mod office;
pub mod office_edge;
pub mod office_keys;
pub mod outbox;
pub mod parts;
pub mod peer_edge;
pub mod peers;
pub mod pending;
pub mod private_list;
pub mod publish;
pub mod reconcile;
pub mod records;
pub mod relay;
pub mod service_change;
pub mod service_file;
pub mod shared;
pub mod sources;
pub mod subject_log;
pub mod subscriptions;
pub mod successors;
pub mod teller;
pub mod usage;
pub mod view;
pub mod webhooks;

#[cfg(test)]
#[path = "../../tests/support/postgres_server.rs"]
mod postgres_server;
