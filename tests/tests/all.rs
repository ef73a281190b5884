//! The one integration binary: scenarios on real processes, faults, interop, and rules about the code itself. Each module
//! names what it shows; each test reads like a sentence.

#[path = "../support/mariadb_server.rs"]
mod mariadb_server;
#[path = "../support/postgres_server.rs"]
mod postgres_server;
#[path = "all/support.rs"]
mod support;

#[path = "all/access.rs"]
mod access;
#[path = "all/anchors.rs"]
mod anchors;
#[path = "all/bad_files.rs"]
mod bad_files;
#[path = "all/bulk.rs"]
mod bulk;
#[path = "all/bulk_kept.rs"]
mod bulk_kept;
#[path = "all/cases.rs"]
mod cases;
#[path = "all/clerks.rs"]
mod clerks;
#[path = "all/commands.rs"]
mod commands;
#[path = "all/commitments.rs"]
mod commitments;
#[path = "all/corrections.rs"]
mod corrections;
#[path = "all/demo.rs"]
mod demo;
#[path = "all/departments.rs"]
mod departments;
#[path = "all/edges.rs"]
mod edges;
#[path = "all/file_system.rs"]
mod file_system;
#[path = "all/folders.rs"]
mod folders;
#[path = "all/fuzz_corpora.rs"]
mod fuzz_corpora;
#[path = "all/guards.rs"]
mod guards;
#[path = "all/guides.rs"]
mod guides;
#[path = "all/http_source.rs"]
mod http_source;
#[path = "all/interop.rs"]
mod interop;
#[path = "all/items.rs"]
mod items;
#[path = "all/journey.rs"]
mod journey;
#[path = "all/key_life.rs"]
mod key_life;
#[path = "all/kill_loop.rs"]
mod kill_loop;
#[path = "all/lying_registry.rs"]
mod lying_registry;
#[path = "all/node_history.rs"]
mod node_history;
#[path = "all/nodes.rs"]
mod nodes;
#[path = "all/office_clients.rs"]
mod office_clients;
#[path = "all/office_guide.rs"]
mod office_guide;
#[path = "all/office_http.rs"]
mod office_http;
#[path = "all/office_later.rs"]
mod office_later;
#[path = "all/office_lists.rs"]
mod office_lists;
#[path = "all/oracle.rs"]
mod oracle;
#[path = "all/outage.rs"]
mod outage;
#[path = "all/pinning.rs"]
mod pinning;
#[path = "all/privacy.rs"]
mod privacy;
#[path = "all/quick_start.rs"]
mod quick_start;
#[path = "all/readers.rs"]
mod readers;
#[path = "all/refusals.rs"]
mod refusals;
#[path = "all/registry_history.rs"]
mod registry_history;
#[path = "all/registry_keys.rs"]
mod registry_keys;
#[path = "all/registry_kills.rs"]
mod registry_kills;
#[path = "all/relay.rs"]
mod relay;
#[path = "all/replicas.rs"]
mod replicas;
#[path = "all/restarts.rs"]
mod restarts;
#[path = "all/resumed.rs"]
mod resumed;
#[path = "all/revoking.rs"]
mod revoking;
#[path = "all/services.rs"]
mod services;
#[path = "all/shared_state.rs"]
mod shared_state;
#[path = "all/source_links.rs"]
mod source_links;
#[path = "all/sources.rs"]
mod sources;
#[path = "all/state.rs"]
mod state;
#[path = "all/subject_log.rs"]
mod subject_log;
#[path = "all/subscriptions.rs"]
mod subscriptions;
#[path = "all/tidy.rs"]
mod tidy;
#[path = "all/tiles.rs"]
mod tiles;
#[path = "all/witnesses.rs"]
mod witnesses;
