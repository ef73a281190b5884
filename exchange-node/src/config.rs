//! `node.toml`: everything an operator can set, in one file. The folder it stands in is the node's own: keys, evidence,
//! records and the directory's copy live there. Out of scope: what the department publishes about itself, which is in
//! the directory.

use std::{
    fmt::Display,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use host::{period::Period, postgres::Database, telemetry::LogFormat, tls::TlsKeyDigest};
use serde::{Deserialize, Deserializer, de};
use trust::{
    ids::{DepartmentId, ExchangeId, NodeId, Party},
    key::PublicKey,
};

use crate::{case::CaseSettings, office::settings::OfficeSettings, view::DirectorySettings};

/// The name of the file that `init` writes.
pub const FILE_NAME: &str = "node.toml";

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Other nodes cannot connect to "every address".
    #[error("{}, field `advertise`: is needed where `peer_listen` is {address}: say at which host:port other nodes reach this one", path.display())]
    AdvertiseMissing {
        /// The file.
        path: PathBuf,
        /// What is listened on.
        address: SocketAddr,
    },
    /// Nobody could reach the node.
    #[error("{}, field `dial_out_only`: a node that can only dial out needs at least one relay in `relays`", path.display())]
    RelayMissing {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read, or says something it may not say.
    #[error(transparent)]
    File(#[from] host::config::Error),
}

/// A node's configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The exchange.
    #[serde(deserialize_with = "from_text")]
    pub exchange: ExchangeId,
    /// The department whose node this is.
    #[serde(deserialize_with = "from_text")]
    pub department: DepartmentId,
    /// The node's id within the department.
    #[serde(default = "first_node", deserialize_with = "from_text")]
    pub node: NodeId,
    /// The authority's public key, 64 hex digits: the only thing that is believed unseen.
    #[serde(deserialize_with = "from_text")]
    pub authority_key: PublicKey,
    /// The registry's gRPC addresses, `host:port`. Those that the directory announces are used too.
    pub registry: Vec<String>,
    /// SHA-256 of the registry's TLS key, 64 hex digits.
    #[serde(deserialize_with = "from_text")]
    pub registry_tls_key: TlsKeyDigest,
    /// Where other departments' nodes are listened to.
    pub peer_listen: SocketAddr,
    /// What the directory says of where this node answers, `host:port`; empty for the address that is listened on.
    #[serde(default)]
    pub advertise: Vec<String>,
    /// Relays at which this node waits for calls, `host:port`: for a node that others cannot dial.
    #[serde(default)]
    pub relays: Vec<String>,
    /// Whether the node can only dial out: then the directory names its relays, and no address.
    #[serde(default)]
    pub dial_out_only: bool,
    /// Where the department's own office systems are listened to; elsewhere than on loopback over TLS alone.
    pub office_listen: SocketAddr,
    /// `pretty` for people, `json` for machines.
    #[serde(default)]
    pub log_format: LogFormat,
    /// What is logged, as a filter of the tracing crate; the environment variable EXCHANGE_LOG takes its place.
    #[serde(default = "usual_filter")]
    pub log_filter: String,
    /// How often this node's evidence is anchored at the registry, in seconds.
    #[serde(default = "usual_anchor_interval")]
    pub anchor_interval_seconds: u32,
    /// How the directory is followed.
    #[serde(default)]
    pub directory: DirectorySettings,
    /// The PostgreSQL database that the nodes of this department share, `postgres://user@host:port/database`: with it they
    /// count quotas together, and a question has one answer at whichever of them it comes to.
    #[serde(default, deserialize_with = "database")]
    pub shared: Option<Database>,
    /// The file with that database's password (mode 0600), within the node's folder where its path is relative. Left out:
    /// EXCHANGE_SHARED_PASSWORD, or none.
    #[serde(default)]
    pub shared_password_file: Option<PathBuf>,
    /// Bounds on what others can use up.
    #[serde(default)]
    pub limits: Limits,
    /// What one officer may ask.
    #[serde(default)]
    pub officers: OfficerSettings,
    /// What in other departments' questions looks wrong.
    #[serde(default)]
    pub events: EventSettings,
    /// How many values other departments may try that are no operands.
    #[serde(default)]
    pub guesses: crate::budget::GuessSettings,
    /// Jobs of many questions.
    #[serde(default)]
    pub bulk: crate::bulk::BulkSettings,
    /// How long keys serve.
    #[serde(default)]
    pub keys: KeySettings,
    /// How cases are handled.
    #[serde(default)]
    pub cases: CaseSettings,
    /// The office port.
    #[serde(default)]
    pub office: OfficeSettings,
    /// What this department promises about corrections.
    #[serde(default)]
    pub corrections: crate::correction::Settings,
    /// Who may look up who asked about a subject.
    #[serde(default)]
    pub subject_log: crate::subject_log::Settings,
    /// The folder of the file: where everything lives.
    #[serde(skip)]
    pub dir: PathBuf,
}

/// What one officer may ask.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OfficerSettings {
    /// An officer of this department, through this node.
    pub asking: OfficerLimits,
    /// An officer of another department, from this department's records.
    pub answering: OfficerLimits,
}

/// How many questions of one officer; 0 without limit.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OfficerLimits {
    /// In a second.
    pub per_second: u32,
    /// On a day of the authority's calendar.
    pub per_day: u32,
}

/// What in other departments' questions of a day looks wrong; 0 looks for nothing. An event is told to the operators and,
/// as a count, to the authority.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EventSettings {
    /// More different subjects than so many under one case number.
    pub subjects_per_case: u64,
    /// More different subjects than so many whose numbers differ in their last four characters alone.
    pub numbers_in_range: u64,
    /// More questions than so many outside working hours.
    pub off_hours_questions: u64,
    /// More refusals than so many because guess budgets were spent.
    pub guesses_refused: u64,
    /// More refusals than so many because quotas were spent.
    pub quotas_refused: u64,
    /// The hour at which working hours begin, in the authority's calendar.
    pub day_begins: u8,
    /// The hour at which they end.
    pub day_ends: u8,
    /// How often the authority is told what is new, in seconds.
    pub report_seconds: u32,
}

impl Default for EventSettings {
    fn default() -> Self {
        Self {
            subjects_per_case: 100,
            numbers_in_range: 30,
            off_hours_questions: 500,
            guesses_refused: 20,
            quotas_refused: 100,
            day_begins: 7,
            day_ends: 20,
            report_seconds: 300,
        }
    }
}

/// How long keys serve, each as `365d`, `12h` or `30s`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeySettings {
    /// How long a TLS key serves. Before that is over it is renewed by itself.
    pub tls_lifetime: Period,
    /// How long peers are told of the next TLS key before it is shown: as long as a view may be old, so that whoever is
    /// cut off from the registry and still works knows it too.
    pub tls_lead: Period,
    /// How long the old key counts beside a new one, where `keys rotate` does not say otherwise.
    pub overlap: Period,
}

impl Default for KeySettings {
    fn default() -> Self {
        let days = |days: u64| Period::new(Duration::from_secs(days * 86_400));
        Self { tls_lifetime: days(365), tls_lead: days(10), overlap: days(7) }
    }
}

/// Bounds on what others can use up.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// How many questions of other departments are answered at once; above it the refusal is `OVERLOADED`.
    pub answers_at_once: usize,
    /// How many questions of this department's offices are under way at once; above it the refusal is `OVERLOADED`.
    pub questions_at_once: usize,
    /// How many questions of one department per second may fail to open (a wrong signature, a wrong type) and still
    /// get a signed refusal; above it a bare status, so that nobody can fill the evidence with rubbish.
    pub unopened_per_second: u32,
    /// How much free disk there must be, in mebibytes; below it nothing is asked or answered.
    pub free_disk_mib: u64,
    /// How long what is under way is waited for when the node stops, in seconds.
    pub drain_seconds: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            answers_at_once: 1024,
            questions_at_once: 1024,
            unopened_per_second: 10,
            free_disk_mib: 256,
            drain_seconds: 10,
        }
    }
}

impl Config {
    /// Reads the file; its folder becomes [`Config::dir`].
    pub fn load(path: &Path) -> Result<Self, Error> {
        let config = host::config::load::<Self>(path)?;
        config.placed(path)
    }

    fn placed(mut self, path: &Path) -> Result<Self, Error> {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        self.dir = parent.unwrap_or(Path::new(".")).to_owned();
        if self.dial_out_only && self.relays.is_empty() {
            return Err(Error::RelayMissing { path: path.to_owned() });
        }
        if self.advertise.is_empty() && self.peer_listen.ip().is_unspecified() && !self.dial_out_only {
            return Err(Error::AdvertiseMissing { path: path.to_owned(), address: self.peer_listen });
        }
        Ok(self)
    }

    /// The department as it stands in signed messages.
    pub fn party(&self) -> Party {
        Party::new(self.exchange.clone(), self.department.clone())
    }
}

/// What `init` puts into a new file.
#[derive(Clone, Debug)]
pub struct NewConfig<'a> {
    /// The exchange.
    pub exchange: &'a ExchangeId,
    /// The department.
    pub department: &'a DepartmentId,
    /// The node.
    pub node: &'a NodeId,
    /// The authority's key.
    pub authority_key: &'a PublicKey,
    /// The registry's addresses.
    pub registry: &'a [String],
    /// The registry's TLS key.
    pub registry_tls_key: TlsKeyDigest,
    /// Where to listen to other nodes.
    pub peer_listen: SocketAddr,
    /// What the directory says of it; empty for the address that is listened on.
    pub advertise: &'a [String],
    /// Relays at which to wait for calls.
    pub relays: &'a [String],
    /// Whether the node can only dial out.
    pub dial_out_only: bool,
    /// Where to listen to offices.
    pub office_listen: SocketAddr,
}

impl NewConfig<'_> {
    /// The file's text, with what each line means.
    pub fn to_text(&self) -> String {
        let list = quoted_list;
        let limits = Limits::default();
        format!(
            "# The exchange node of {department}. Changes count from the next start.\n\
             exchange = \"{exchange}\"\n\
             department = \"{department}\"\n\
             node = \"{node}\"\n\
             # The authority's public key: the only thing that is believed unseen.\n\
             authority_key = \"{authority_key}\"\n\
             # The registry, and the SHA-256 of its TLS key.\n\
             registry = {registry}\n\
             registry_tls_key = \"{registry_tls_key}\"\n\
             # Where other departments' nodes are listened to, and what the directory says of it (empty: the same).\n\
             peer_listen = \"{peer_listen}\"\n\
             advertise = {advertise}\n\
             # Relays at which this node waits for calls, where others cannot dial it; dial_out_only names them alone.\n\
             relays = {relays}\n\
             dial_out_only = {dial_out_only}\n\
             # Where this department's own office systems are listened to; elsewhere than on loopback over TLS alone.\n\
             office_listen = \"{office_listen}\"\n\
             # \"pretty\" for people, \"json\" for machines.\n\
             log_format = \"pretty\"\n\
             # With several nodes of one department: the PostgreSQL database in which they count quotas together and keep\n\
             # one answer to a question, for example \"postgres://node@db.example:5432/errand\". Empty: this node counts alone.\n\
             shared = \"\"\n\
             # How often this node's evidence is anchored at the registry, so that nobody can rewrite it later.\n\
             anchor_interval_seconds = {anchor_interval}\n\
             \n\
             [directory]\n\
             # How the registry is followed: \"auto\", \"watch\" (its own port alone) or \"tiles\" (asked for now and then).\n\
             follow = \"auto\"\n\
             # How often tiles are asked for news, where they are.\n\
             poll = \"4s\"\n\
             \n\
             [limits]\n\
             # Questions of other departments, and of this department's offices, at once.\n\
             answers_at_once = {answers}\n\
             questions_at_once = {questions}\n\
             # Below so much free disk nothing is asked or answered.\n\
             free_disk_mib = {free_disk}\n\
             \n\
             # How many questions one officer may ask: of this department, and of others. 0 is without limit.\n\
             [officers]\n\
             asking = {{ per_second = 0, per_day = 0 }}\n\
             answering = {{ per_second = 0, per_day = 0 }}\n",
            department = self.department,
            exchange = self.exchange,
            node = self.node,
            authority_key = self.authority_key,
            registry = list(self.registry),
            registry_tls_key = self.registry_tls_key,
            peer_listen = self.peer_listen,
            advertise = list(self.advertise),
            relays = list(self.relays),
            dial_out_only = self.dial_out_only,
            office_listen = self.office_listen,
            answers = limits.answers_at_once,
            questions = limits.questions_at_once,
            free_disk = limits.free_disk_mib,
            anchor_interval = usual_anchor_interval(),
        )
    }
}

fn first_node() -> NodeId {
    // Unwrap safety: a digit is a valid id.
    "1".parse().expect("a digit is an id")
}

fn usual_anchor_interval() -> u32 {
    3600
}

pub(crate) fn usual_filter() -> String {
    "info".to_owned()
}

/// A list of plain texts as it stands in a configuration file.
pub(crate) fn quoted_list(items: &[String]) -> String {
    let quoted: Vec<String> = items.iter().map(|item| format!("\"{item}\"")).collect();
    format!("[{}]", quoted.join(", "))
}

/// Reads a list of texts into their types.
pub(crate) fn from_list<'de, D: Deserializer<'de>, T: FromStr<Err: Display>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| text.parse().map_err(de::Error::custom)).collect()
}

fn database<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Database>, D::Error> {
    let address = String::deserialize(deserializer)?;
    if address.is_empty() {
        return Ok(None);
    }
    Database::parse(&address).map(Some).map_err(|error| match error {
        host::postgres::Error::PasswordInAddress => de::Error::custom(format!(
            "{error}: name a file in `shared_password_file`, or set {}",
            crate::shared::PASSWORD_VARIABLE
        )),
        error => de::Error::custom(error),
    })
}

pub(crate) fn from_text<'de, D: Deserializer<'de>, T: FromStr<Err: Display>>(deserializer: D) -> Result<T, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> String {
        let authority = trust::key::SigningKey::from_seed(&[1; 32]);
        NewConfig {
            exchange: &"ninghe".parse().unwrap(),
            department: &"civil-affairs".parse().unwrap(),
            node: &"1".parse().unwrap(),
            authority_key: trust::key::Signer::public_key(&authority),
            registry: &["127.0.0.1:7400".to_owned()],
            registry_tls_key: TlsKeyDigest::from_bytes([2; 32]),
            peer_listen: "127.0.0.1:7443".parse().unwrap(),
            advertise: &["node.civil-affairs.example:7443".to_owned()],
            relays: &[],
            dial_out_only: false,
            office_listen: "127.0.0.1:7480".parse().unwrap(),
        }
        .to_text()
    }

    fn read(text: &str) -> Result<Config, Error> {
        let path = Path::new("/srv/node/node.toml");
        host::config::parse::<Config>(text, path)?.placed(path)
    }

    #[test]
    fn what_init_writes_is_read() {
        let config = read(&sample()).unwrap();
        assert_eq!(config.party().to_string(), "ninghe/civil-affairs");
        assert_eq!(config.dir, Path::new("/srv/node"));
        assert_eq!(config.advertise, ["node.civil-affairs.example:7443"]);
        assert_eq!(config.limits.answers_at_once, Limits::default().answers_at_once);
    }

    #[test]
    fn what_is_wrong_is_named_by_line_and_field() {
        let error = read(&sample().replace("node = \"1\"", "node = \"Node 1\"")).unwrap_err().to_string();
        assert!(error.contains("line 4, field `node`"), "{error}");
        let error = read(&sample().replace("[limits]", "colour = 1\n[limits]")).unwrap_err().to_string();
        assert!(error.contains("colour"), "{error}");
        let error = read(&sample().replace("dial_out_only = false", "dial_out_only = true")).unwrap_err().to_string();
        assert!(error.contains("needs at least one relay"), "{error}");
        let with = |address: &str| read(&sample().replace("shared = \"\"", &format!("shared = \"{address}\"")));
        assert!(with("").unwrap().shared.is_none());
        let shared = with("postgres://node@db.example:5433/errand").unwrap().shared.unwrap();
        assert_eq!(shared.place(), "db.example:5433/errand");
        let error = with("postgres://node:geheim@db/errand").unwrap_err().to_string();
        assert!(error.contains("shared_password_file") && !error.contains("geheim"), "{error}");
        let error = with("mysql://db/errand").unwrap_err().to_string();
        assert!(error.contains("field `shared`") && error.contains("postgres://user@host"), "{error}");
        let everywhere = sample().replace("127.0.0.1:7443", "0.0.0.0:7443");
        assert!(read(&everywhere).is_ok());
        let error = read(&everywhere.replace("[\"node.civil-affairs.example:7443\"]", "[]")).unwrap_err().to_string();
        assert!(error.contains("field `advertise`: is needed"), "{error}");
        // Elsewhere than on loopback it speaks TLS.
        assert!(read(&sample().replace("127.0.0.1:7480", "0.0.0.0:7480")).is_ok());
        let error = read(&format!("{}\n[office]\ntls = \"never\"\n", sample())).unwrap_err().to_string();
        assert!(error.contains("always") && error.contains("elsewhere"), "{error}");
    }
}
