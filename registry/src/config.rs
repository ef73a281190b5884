//! `registry.toml`: how a registry runs. `init` writes it with a comment on each line; unknown fields are refused. All
//! files lie in the folder that it stands in. Out of scope: what the exchange agreed on (its profile), which is in the
//! directory itself, and keys.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use host::telemetry::LogFormat;
use serde::Deserialize;
use trust::{ids::ExchangeId, key::PublicKey};

use crate::store::{self, StoreChoice};

/// The configuration file's name in the registry's folder.
pub const FILE_NAME: &str = "registry.toml";

/// The configuration, as the file has it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The exchange's id.
    #[serde(deserialize_with = "parsed")]
    pub exchange: ExchangeId,
    /// The authority's public key: the one thing that the directory is checked against.
    #[serde(deserialize_with = "parsed")]
    pub authority_key: PublicKey,
    /// Where the gRPC port listens.
    pub listen: SocketAddr,
    /// Where the tile port listens.
    pub tiles: SocketAddr,
    /// The addresses that others reach the gRPC port at, `host:port`; empty for the one it listens at.
    #[serde(default)]
    pub advertise: Vec<String>,
    /// The addresses that others reach the tile port at; empty for the one it listens at.
    #[serde(default)]
    pub advertise_tiles: Vec<String>,
    /// Where the directory lives: "sled", or the address of a PostgreSQL database.
    #[serde(default)]
    pub store: StoreChoice,
    /// The file with the database's password.
    #[serde(default)]
    pub store_password_file: Option<PathBuf>,
    /// How log lines look.
    #[serde(default)]
    pub log_format: LogFormat,
    /// What is logged.
    #[serde(default = "log_filter")]
    pub log_filter: String,
    /// How often a checkpoint is signed anew when nothing is said, in seconds. 1 to 10.
    #[serde(default = "checkpoint_interval_seconds", deserialize_with = "checkpoint_interval")]
    pub checkpoint_interval_seconds: u64,
    /// How often the log commits to its state, where something was said since, in seconds. At least 1.
    #[serde(default = "state_interval_seconds", deserialize_with = "state_interval")]
    pub state_interval_seconds: u64,
    /// How often the directory takes the second log, which holds the checkpoints of all nodes' evidence, in seconds.
    #[serde(default = "anchors_interval_seconds", deserialize_with = "state_interval")]
    pub anchors_interval_seconds: u64,
    /// How long a starting registry listens to nodes before it signs, in seconds; 0 to sign at once.
    #[serde(default = "listen_first_seconds", deserialize_with = "listen_first")]
    pub listen_first_seconds: u64,
    /// How long an enrolment token is good, in hours.
    #[serde(default = "token_lifetime_hours", deserialize_with = "token_lifetime")]
    pub token_lifetime_hours: u64,
    /// How many connections each port holds at once.
    #[serde(default = "most_connections")]
    pub most_connections: usize,
    /// How many of them may come from one address.
    #[serde(default = "most_connections_per_address")]
    pub most_connections_per_address: usize,
    /// The addresses of load balancers, which pass on the connections of many under their own.
    #[serde(default)]
    pub balancers: Vec<IpAddr>,
}

impl Config {
    /// Reads the file. The folder that it stands in is the registry's.
    pub fn load(path: &Path) -> Result<(Self, PathBuf), host::config::Error> {
        let config = host::config::load(path)?;
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        Ok((config, folder))
    }
}

/// What `init` writes.
pub(crate) fn sample(
    exchange: &ExchangeId,
    authority_key: &PublicKey,
    listen: SocketAddr,
    tiles: SocketAddr,
    advertise: &[String],
    (store, password_file): (&str, Option<&Path>),
) -> String {
    let quoted: Vec<String> = advertise.iter().map(|address| format!("\"{address}\"")).collect();
    let advertise = quoted.join(", ");
    let password = match password_file {
        Some(file) => format!("store_password_file = {:?}", file.display().to_string()),
        None => "# store_password_file = \"keys/store.password\"".to_owned(),
    };
    format!(
        r#"# How this registry runs. All its files lie in the folder that this one stands in.

# The exchange's id and the authority's public key. Both stand in every signed statement: never change them.
exchange = "{exchange}"
authority_key = "{authority_key}"

# Where the gRPC port listens (TLS 1.3), and where the directory's tiles are served (HTTP: what they say is signed).
listen = "{listen}"
tiles = "{tiles}"

# The addresses that departments reach this registry at, as host:port. Left empty, the address that it listens at.
advertise = [{advertise}]
advertise_tiles = []

# Where the directory lives: "sled" for this folder, or a PostgreSQL database that several registries may share, for example
# "postgres://registry@db.example:5432/exchange?sslmode=verify-full". Its password comes from a file that only you can read,
# or from the environment variable {variable}.
store = "{store}"
{password}

# Log lines: "pretty" for people, "json" for machines. The environment variable REGISTRY_LOG takes the place of the filter.
log_format = "pretty"
log_filter = "info"

# How often a checkpoint is signed anew when nothing new is said, in seconds (1 to 10).
checkpoint_interval_seconds = 10

# How often the log commits to the state of everything in it, where something was said since, in seconds. Evidence shows
# with it that nothing was revoked up to then.
state_interval_seconds = 3600

# How often the directory takes the second log, where something was anchored since, in seconds. Each time costs one
# statement, whatever the number of nodes.
anchors_interval_seconds = 3600

# How long a starting registry listens to nodes before it signs, in seconds (0 to 600), unless more than half of the
# departments' nodes have told what they saw before. A folder that was put back from an older copy is found out by it.
listen_first_seconds = 5

# How long an enrolment token is good, in hours.
token_lifetime_hours = 168

# How many connections each port holds at once, and how many of them may come from one address. Half of them may watch for
# news, up to 4,096; the rest of the nodes read tiles. As far as the limit of open files allows (ulimit -Hn).
most_connections = 8192
most_connections_per_address = 256

# The addresses of load balancers, which pass on the connections of many under their own: neither the limit above nor the
# count of failed attempts applies to them.
# balancers = ["10.0.0.5"]
"#,
        variable = store::PASSWORD_VARIABLE
    )
}

fn log_filter() -> String {
    "info".to_owned()
}

fn checkpoint_interval_seconds() -> u64 {
    10
}

fn state_interval_seconds() -> u64 {
    3600
}

fn anchors_interval_seconds() -> u64 {
    3600
}

fn listen_first_seconds() -> u64 {
    5
}

fn token_lifetime_hours() -> u64 {
    168
}

fn most_connections() -> usize {
    8192
}

fn most_connections_per_address() -> usize {
    256
}

fn parsed<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
    D: serde::Deserializer<'de>,
{
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

fn checkpoint_interval<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    within(deserializer, 1, 10)
}

fn state_interval<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    within(deserializer, 1, 31 * 86_400)
}

fn listen_first<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    within(deserializer, 0, 600)
}

fn token_lifetime<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    within(deserializer, 1, 8760)
}

fn within<'de, D: serde::Deserializer<'de>>(deserializer: D, least: u64, most: u64) -> Result<u64, D::Error> {
    let number = u64::deserialize(deserializer)?;
    if (least..=most).contains(&number) {
        return Ok(number);
    }
    Err(serde::de::Error::custom(format!("must be {least} to {most}, not {number}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use trust::key::{Signer, SigningKey};

    fn text() -> String {
        let key = SigningKey::from_seed(&[1; 32]).public_key().clone();
        let advertise = ["registry.ninghe.example:7400".to_owned()];
        let [listen, tiles] = ["127.0.0.1:7400", "[::1]:7401"].map(|address| address.parse().unwrap());
        sample(&"ninghe".parse().unwrap(), &key, listen, tiles, &advertise, (store::EMBEDDED, None))
    }

    fn wrong(from: &str, to: &str) -> String {
        let text = text().replace(from, to);
        host::config::parse::<Config>(&text, Path::new(FILE_NAME)).unwrap_err().to_string()
    }

    #[test]
    fn what_init_writes_is_read_back() {
        let config: Config = host::config::parse(&text(), Path::new(FILE_NAME)).unwrap();
        assert_eq!(config.exchange.as_str(), "ninghe");
        assert_eq!(config.advertise, ["registry.ninghe.example:7400"]);
        assert_eq!(config.tiles.to_string(), "[::1]:7401");
        assert_eq!((config.checkpoint_interval_seconds, config.token_lifetime_hours), (10, 168));
        assert_eq!(config.state_interval_seconds, 3600);
        assert_eq!(config.log_format, LogFormat::Pretty);
    }

    #[test]
    fn the_sample_says_every_default() {
        let mut short: Vec<&str> = Vec::new();
        short.extend(
            text()
                .leak()
                .lines()
                .filter(|line| ["exch", "auth", "list", "tile"].iter().any(|start| line.starts_with(start))),
        );
        let short: Config = host::config::parse(&short.join("\n"), Path::new(FILE_NAME)).unwrap();
        let whole: Config = host::config::parse(&text(), Path::new(FILE_NAME)).unwrap();
        assert_eq!(format!("{:?}", Config { advertise: Vec::new(), ..whole }), format!("{short:?}"));
    }

    #[test]
    fn a_wrong_line_is_named() {
        let error = wrong("log_format = \"pretty\"", "log_fromat = \"pretty\"");
        assert!(error.contains("registry.toml, line 22") && error.contains("log_fromat"), "{error}");
        let error = wrong("seconds = 10", "seconds = 11");
        assert!(error.contains("must be 1 to 10, not 11"), "{error}");
        let error = wrong("exchange = \"ninghe\"", "exchange = \"Ning he\"");
        assert!(error.contains("line 4"), "{error}");
    }
}
