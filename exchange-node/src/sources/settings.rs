//! `sources.toml` in the node's folder: where the records of each service are, and how they are read. A service that the
//! file does not name is answered from the records that were imported, as is every service of a node without the file. One
//! with `kind = "embedded"` is too, and the file says how what is imported is read.
//!
//! Out of scope: connecting to anything.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use trust::ids::ServiceName;

use super::{
    fields::{Mistake, Reading, Table},
    folder::{FolderAsk, FolderSettings},
    http::{Endpoint, HttpAsk, HttpSettings},
    mapping::Mapping,
    query::Query,
    sql::{DatabaseSettings, Password},
};

/// The name of the file.
pub const FILE_NAME: &str = "sources.toml";

/// Everything that the file says.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The sources by name.
    pub sources: BTreeMap<String, SourceSettings>,
    /// The services that have one.
    pub services: Vec<ServiceSettings>,
}

/// One source.
#[derive(Clone, Debug)]
pub struct SourceSettings {
    /// What it is.
    pub kind: Kind,
    /// Bounds on asking it.
    pub bounds: Bounds,
}

/// The kinds of sources.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Kind {
    /// A folder where exports land; their rows become imported records.
    Folder(FolderSettings),
    /// An HTTP endpoint of the system that owns the records.
    Http(HttpSettings),
    /// MySQL or MariaDB.
    Mysql(DatabaseSettings),
    /// PostgreSQL.
    Postgres(DatabaseSettings),
    /// Whatever an ODBC driver reaches.
    Odbc(OdbcSettings),
    /// A file of SQLite.
    Sqlite {
        /// The file, from the node's folder.
        path: PathBuf,
    },
}

impl Kind {
    /// What is wrong with the files that it names, seen from the node's folder `dir`.
    pub fn fault(&self, dir: &Path) -> Option<String> {
        match self {
            Self::Folder(folder) => {
                let path = dir.join(&folder.path);
                (!path.is_dir()).then(|| format!("path: there is no folder {}", path.display()))
            }
            Self::Http(settings) => Endpoint::new(settings, Bounds::default(), dir).err(),
            Self::Odbc(settings) => settings.password.read(dir).err(),
            Self::Mysql(database) | Self::Postgres(database) => database.password.read(dir).err(),
            Self::Sqlite { path } => {
                let path = dir.join(path);
                (!path.is_file()).then(|| format!("path: there is no file {}", path.display()))
            }
        }
    }
}

/// How to reach a database by ODBC.
#[derive(Clone, Debug)]
pub struct OdbcSettings {
    /// ODBC's own words: `DSN=…`, or `Driver=…;Server=…`. The password stands elsewhere.
    pub connection: String,
    /// Where the password is.
    pub password: Password,
    /// The statement that has the database hold a transaction to reading, or `user` where the user that asks may only read; for
    /// the usual databases it is known.
    pub read_only: Option<String>,
}

impl OdbcSettings {
    fn read(table: &Table<'_, '_>) -> Self {
        let connection = table.needed_text("connection");
        if connection.to_ascii_lowercase().contains("pwd=") {
            table.mistake("connection", "holds a password: put it into a file of its own, password_file");
        }
        if cfg!(not(feature = "odbc")) {
            table.mistake("kind", "this program was built without ODBC: build it with --features odbc");
        }
        let password = table.text("password_file").map_or(Password::None, |file| Password::File(file.into()));
        Self { connection, password, read_only: table.text("read_only") }
    }
}

/// Bounds on asking one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// How many questions it gets at once; for a database, the connections.
    pub at_once: usize,
    /// How long it may take.
    pub timeout: Duration,
    /// After so many failures in a row it is left alone for a while.
    pub failures: u32,
    /// How long it is left alone.
    pub pause: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { at_once: 8, timeout: Duration::from_secs(3), failures: 5, pause: Duration::from_secs(5) }
    }
}

/// Where one service's records are, and how they are read.
#[derive(Clone, Debug)]
pub struct ServiceSettings {
    /// The service.
    pub service: ServiceName,
    /// Its major version; `None` for every one that has no table of its own.
    pub major: Option<u32>,
    /// Where its records are; a second place that must say the same, where there is one.
    pub places: Vec<Place>,
    /// How long an answer of the source may be used again for the same consumer.
    pub cache: Option<Duration>,
    /// How often the source is looked at for those who subscribed to changes.
    pub poll: Option<Duration>,
    /// Whether the source is a copy that may be old: then nobody knows how fresh a record without a date of its own is.
    pub is_copy: bool,
    /// The line that its table begins on.
    pub line: usize,
}

/// One place where a service's records are.
#[derive(Clone, Debug)]
pub struct Place {
    /// The source's name.
    pub source: String,
    /// What is asked of it.
    pub ask: Ask,
    /// How its rows are read.
    pub mapping: Mapping,
}

/// What is asked of a source for one service.
#[derive(Clone, Debug)]
pub enum Ask {
    /// What is taken from a folder.
    Files(FolderAsk),
    /// A question to an endpoint.
    Http(Box<HttpAsk>),
    /// Nothing: the records are imported ones, and their files are read so.
    Imported,
    /// A database's query.
    Query(Query),
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// What it says is wrong.
    #[error("{}", lines(path, mistakes))]
    Wrong {
        /// The file.
        path: PathBuf,
        /// Everything that is wrong with it.
        mistakes: Vec<Mistake>,
    },
}

fn lines(path: &Path, mistakes: &[Mistake]) -> String {
    mistakes.iter().map(|mistake| format!("{}, {mistake}", path.display())).collect::<Vec<_>>().join("\n")
}

impl Settings {
    /// Reads the file in the node's folder `dir`. No file: nothing is said.
    ///
    /// # Errors
    /// With everything that is wrong.
    pub fn load(dir: &Path) -> Result<Self, Error> {
        let path = dir.join(FILE_NAME);
        match fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text).map_err(|mistakes| Error::Wrong { path, mistakes }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(Error::Unreadable { path, source }),
        }
    }

    /// Reads the text of the file.
    ///
    /// # Errors
    /// Every mistake.
    pub fn parse(text: &str) -> Result<Self, Vec<Mistake>> {
        Reading::of(text, |file| {
            let mut settings = Self::default();
            if let Some(sources) = file.table("sources") {
                for name in sources.names() {
                    if let Some(source) = sources.table(&name).and_then(|table| source(&table)) {
                        settings.sources.insert(name, source);
                    }
                }
            }
            if let Some(services) = file.table("services") {
                for name in services.names() {
                    let Some(table) = services.table(&name) else { continue };
                    let Some((service, major)) = service_name(&name) else {
                        services.mistake(&name, "must be the name of a service, with .MAJOR behind it for one version");
                        continue;
                    };
                    settings.services.extend(self::service(&table, service, major, &settings.sources));
                }
            }
            settings
        })
    }

    /// What is said of version `major` of `service`.
    pub fn service(&self, service: &ServiceName, major: u32) -> Option<&ServiceSettings> {
        let of = |wanted: Option<u32>| {
            self.services.iter().find(move |settings| settings.service == *service && settings.major == wanted)
        };
        of(Some(major)).or_else(|| of(None))
    }
}

fn service_name(name: &str) -> Option<(ServiceName, Option<u32>)> {
    match name.split_once('.') {
        Some((service, major)) => Some((service.parse().ok()?, Some(major.parse().ok().filter(|major| *major > 0)?))),
        None => Some((name.parse().ok()?, None)),
    }
}

fn source(table: &Table<'_, '_>) -> Option<SourceSettings> {
    let kind = match table.needed_text("kind").as_str() {
        "folder" => Some(Kind::Folder(FolderSettings::read(table))),
        "http" => HttpSettings::read(table).map(Kind::Http),
        "odbc" => Some(Kind::Odbc(OdbcSettings::read(table))),
        "mysql" => Some(Kind::Mysql(DatabaseSettings::read(table, 3306))),
        "postgres" => Some(Kind::Postgres(DatabaseSettings::read(table, 5432))),
        "sqlite" => Some(Kind::Sqlite { path: table.needed_text("path").into() }),
        "" => None,
        _ => {
            table.mistake("kind", "must be postgres, mysql, sqlite, http, odbc or folder");
            None
        }
    };
    let usual = Bounds::default();
    let bounds = Bounds {
        at_once: table.number("at_once", 1..=500).and_then(|n| usize::try_from(n).ok()).unwrap_or(usual.at_once),
        timeout: table.number("timeout_ms", 10..=60_000).map_or(usual.timeout, Duration::from_millis),
        failures: table.number("failures", 1..=1000).and_then(|n| u32::try_from(n).ok()).unwrap_or(usual.failures),
        pause: table.period("pause").unwrap_or(usual.pause),
    };
    // Which fields may stand here depends on the kind: without one, there is nothing to say of them.
    let kind = kind?;
    table.finish();
    Some(SourceSettings { kind, bounds })
}

fn service(
    table: &Table<'_, '_>,
    service: ServiceName,
    major: Option<u32>,
    sources: &BTreeMap<String, SourceSettings>,
) -> Option<ServiceSettings> {
    let mut places = vec![if table.has("kind") { Some(imported(table)) } else { place(table, sources) }];
    if let Some(second) = table.table("must_agree_with") {
        places.push(place(&second, sources));
        second.finish();
    }
    let settings = ServiceSettings {
        service,
        major,
        cache: table.period("cache"),
        poll: table.period("poll"),
        is_copy: table.flag("is_copy").unwrap_or(false),
        line: table.line(),
        places: places.into_iter().collect::<Option<_>>()?,
    };
    let is_imported = |place: &Place| matches!(place.ask, Ask::Files(_) | Ask::Imported);
    if settings.places.iter().any(is_imported) {
        for (name, is_there) in [
            ("must_agree_with", settings.places.len() > 1),
            ("cache", settings.cache.is_some()),
            ("poll", settings.poll.is_some()),
            ("is_copy", settings.is_copy),
        ] {
            if is_there {
                table.mistake(name, "goes with a source that is asked, and an export is imported");
            }
        }
    }
    table.finish();
    Some(settings)
}

/// A service without a source: how the files are read that an operator imports.
fn imported(table: &Table<'_, '_>) -> Place {
    if table.text("kind").is_some_and(|kind| kind != "embedded") {
        table.mistake(
            "kind",
            "must be embedded, for records that are imported; where they are elsewhere, source says where",
        );
    }
    Place { source: String::new(), ask: Ask::Imported, mapping: Mapping::read(table) }
}

fn place(table: &Table<'_, '_>, sources: &BTreeMap<String, SourceSettings>) -> Option<Place> {
    let source = table.needed_text("source");
    let mapping = Mapping::read(table);
    let Some(settings) = sources.get(&source) else {
        if !source.is_empty() {
            table.mistake("source", format!("there is no right table [sources.{source}]"));
        }
        return None;
    };
    let ask = match &settings.kind {
        Kind::Folder(_) => Ask::Files(FolderAsk { mapping: mapping.clone(), ..FolderAsk::read(table) }),
        Kind::Http(_) => Ask::Http(Box::new(HttpAsk::read(table)?)),
        Kind::Mysql(_) | Kind::Odbc(_) | Kind::Postgres(_) | Kind::Sqlite { .. } => {
            match Query::parse(&table.needed_text("query")) {
                Ok(query) => Ask::Query(query),
                Err(error) => {
                    if table.has("query") {
                        table.mistake("query", error.to_string());
                    }
                    return None;
                }
            }
        }
    };
    Some(Place { source, ask, mapping })
}

#[cfg(test)]
mod tests;
