//! `relay.toml`: what a relay needs to know. Out of scope: trust in it, of which it needs none; the authority's key and the
//! registry stand here only so that strangers cannot use it up.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use host::{telemetry::LogFormat, tls::TlsKeyDigest};
use serde::Deserialize;
use trust::{
    ids::{DepartmentId, ExchangeId},
    key::PublicKey,
};

use crate::config::{from_list, from_text, quoted_list, usual_filter};

/// The name of the file that `relay init` writes.
pub const FILE_NAME: &str = "relay.toml";

/// A relay's configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The exchange.
    #[serde(deserialize_with = "from_text")]
    pub exchange: ExchangeId,
    /// The authority's public key, 64 hex digits.
    #[serde(deserialize_with = "from_text")]
    pub authority_key: PublicKey,
    /// The registry's gRPC addresses, `host:port`.
    pub registry: Vec<String>,
    /// SHA-256 of the registry's TLS key, 64 hex digits.
    #[serde(deserialize_with = "from_text")]
    pub registry_tls_key: TlsKeyDigest,
    /// Where nodes and their callers are listened to.
    pub listen: SocketAddr,
    /// The addresses by which nodes dial it, `host:port`, as they stand in the nodes' `relays`; empty for the address that
    /// is listened on.
    #[serde(default)]
    pub advertise: Vec<String>,
    /// Whose nodes may wait here; empty for every department of the exchange.
    #[serde(default, deserialize_with = "from_list")]
    pub departments: Vec<DepartmentId>,
    /// `pretty` for people, `json` for machines.
    #[serde(default)]
    pub log_format: LogFormat,
    /// What is logged, as a filter of the tracing crate; the environment variable EXCHANGE_LOG takes its place.
    #[serde(default = "usual_filter")]
    pub log_filter: String,
    /// Bounds on what others can use up.
    #[serde(default)]
    pub limits: Limits,
    /// The folder of the file: where the directory's copy lives.
    #[serde(skip)]
    pub dir: PathBuf,
}

/// Bounds on what others can use up.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// How many nodes may wait.
    pub nodes: usize,
    /// How many calls may be joined at once. Each holds 32 KiB that are on their way.
    pub calls: usize,
    /// How many of them may be to one node.
    pub calls_per_node: usize,
    /// After how many seconds without a byte in either direction a call is cut off.
    pub idle_seconds: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { nodes: 256, calls: 1024, calls_per_node: 128, idle_seconds: 300 }
    }
}

impl Config {
    /// Reads the file; its folder becomes [`Config::dir`].
    pub fn load(path: &Path) -> Result<Self, host::config::Error> {
        let mut config = host::config::load::<Self>(path)?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        config.dir = parent.unwrap_or(Path::new(".")).to_owned();
        Ok(config)
    }
}

/// The text of a new file, with what each line means, for the exchange that a node's configuration names.
pub fn new_text(node: &crate::config::Config, listen: SocketAddr, advertise: &[String]) -> String {
    let list = quoted_list;
    let limits = Limits::default();
    format!(
        "# A relay of {exchange}. It joins callers to nodes that can only dial out; it sees bytes and sizes, and nothing else.\n\
         exchange = \"{exchange}\"\n\
         authority_key = \"{authority_key}\"\n\
         # The registry, and the SHA-256 of its TLS key: who may wait here stands in its directory.\n\
         registry = {registry}\n\
         registry_tls_key = \"{registry_tls_key}\"\n\
         # Where nodes and callers are listened to, and by which addresses nodes dial it (empty: the same).\n\
         listen = \"{listen}\"\n\
         advertise = {advertise}\n\
         # Whose nodes may wait here (empty: every department's).\n\
         departments = []\n\
         # \"pretty\" for people, \"json\" for machines.\n\
         log_format = \"pretty\"\n\
         \n\
         [limits]\n\
         # Nodes that wait, calls that are joined at once, and those to one node.\n\
         nodes = {nodes}\n\
         calls = {calls}\n\
         calls_per_node = {per_node}\n\
         # A call without a byte in either direction is cut off after so many seconds.\n\
         idle_seconds = {idle}\n",
        exchange = node.exchange,
        authority_key = node.authority_key,
        registry = list(&node.registry),
        registry_tls_key = node.registry_tls_key,
        advertise = list(advertise),
        nodes = limits.nodes,
        calls = limits.calls,
        per_node = limits.calls_per_node,
        idle = limits.idle_seconds,
    )
}
