//! The exchange node: asks other departments on behalf of its own office systems, and answers them from its own
//! department's records. A program is a library with a short main: `app` builds what `main` runs.

pub mod config;
pub mod keys;
pub mod init;
pub mod view;
pub mod journal;
pub mod records;
pub mod service_file;
pub mod peers;
pub mod ask;
pub mod answer;
pub mod publish;
pub mod export;
pub mod peer_edge;
pub mod office_keys;
pub mod office_edge;
pub mod admin_edge;
pub mod doctor;
pub mod app;
pub mod cli;
