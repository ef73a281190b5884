//! Records where they are: a service's records may stay in the database of the system that keeps them. [`Sources`] sends
//! each lookup to the place that `sources.toml` names for the service, and to the imported records where it names none.
//!
//! **Invariant:** no source can be written to. Each is opened so that the other side refuses a write, whatever the query
//! says; the check of the query's words only tells an operator of a slip.
//!
//! **Invariant:** trouble is never a verdict. A source that is down, slow or says something that cannot be read makes the
//! claim `UNAVAILABLE`; what the operator has to know stands in the log and in `doctor`, without anybody's data.
//!
//! Out of scope: the embedded store (`records`), and what rows mean for a claim (`trust::claim`).

pub mod cache;
pub mod dates;
pub mod fields;
pub mod folder;
pub mod guard;
pub mod http;
pub mod mapping;
#[cfg(feature = "odbc")]
pub mod odbc;
pub mod query;
pub mod raw;
mod service;
pub mod settings;
pub mod sql;
pub mod watch;

use std::{collections::BTreeMap, fmt, path::Path, pin::Pin, sync::Arc};

use host::clock::Clock;
use trust::{ids::ServiceName, service::Service, subject::Subject, value::Value};

pub use self::service::{Noticed, Seen, ServiceSource};
use self::{
    folder::WatchedFolder,
    guard::Guard,
    mapping::Mapping,
    raw::{Fetched, Shape, Trouble},
    settings::{Ask, Kind, Settings},
};
use crate::records::{LookupFuture, ManyLookupsFuture, Reading, RecordSource, Records, RecordsStatus, Wanted};

/// What one service asks of one source: the seam that each kind of source stands behind. It is asked within its guard, so
/// it need not bound anything itself but what the other side goes on doing.
pub trait Source: Send + Sync {
    /// Everything that the source holds about the subject.
    fn fetch(&self, asked: Asked) -> Work<Result<Fetched, Trouble>>;

    /// The same about many subjects in one pass, in their order, of one service and with the same inputs; `None` where the
    /// source can only be asked about one after the other.
    fn fetch_many(&self, _asked: &[Asked]) -> Option<Work<Result<Vec<Fetched>, Trouble>>> {
        None
    }

    /// Looks at the source before anybody asks: whether it can be reached, and whether what it holds fits the service.
    fn examine(&self, service: Arc<Service>) -> Work<Result<Examined, Trouble>>;

    /// Whether the other side stops looking once the question is put down; where it does not, the question goes on within the
    /// source's own limit, and counts as one of those that it is asked at once.
    fn ends_with_its_asker(&self) -> bool {
        false
    }

    /// What an operator should think of, though nothing shows that it is wrong.
    fn hint(&self, _service: &Service) -> Option<String> {
        None
    }

    /// Whether the source itself selects rows by the input `name`.
    fn selects_by(&self, name: &str) -> bool;

    /// What is asked, for the operator; no secret is in it.
    fn describe(&self) -> String;
}

/// What can be said of a source before anybody asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Examined {
    /// The columns that it gives.
    pub columns: Vec<FoundColumn>,
    /// What an operator should know, such as an index that is missing.
    pub remarks: Vec<String>,
}

/// One column that a source gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundColumn {
    /// Its name.
    pub name: String,
    /// What its cells are.
    pub shape: Shape,
    /// Whether a cell may be null, where the source says so.
    pub nullable: Option<bool>,
}

/// Something under way that needs nothing of whoever began it.
pub type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// One question to a source.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The service, with the types of its inputs.
    pub service: Arc<Service>,
    /// The subject.
    pub subject: Subject,
    /// The inputs that were given.
    pub inputs: Vec<(String, Value)>,
}

/// Why the sources cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// `sources.toml` is wrong.
    #[error(transparent)]
    Settings(#[from] settings::Error),
    /// A source cannot be set up, for example because its password file cannot be read.
    #[error("sources.toml, [sources.{name}]: {reason}")]
    SetUp {
        /// The source.
        name: String,
        /// What is wrong.
        reason: String,
    },
}

/// Where every lookup goes.
pub struct Sources {
    records: Arc<Records>,
    services: Vec<Arc<ServiceSource>>,
    folders: Vec<Arc<WatchedFolder>>,
    imported: Vec<Imported>,
}

/// A service that the file names and whose records are imported ones.
struct Imported {
    service: ServiceName,
    major: Option<u32>,
    /// How a file is read that an operator imports.
    mapping: Mapping,
}

/// A source that is opened and not yet asked for any service.
#[allow(clippy::large_enum_variant, reason = "there are few of them, at the start")]
enum Opened {
    Database(sql::Database),
    Endpoint(http::Endpoint),
    #[cfg(feature = "odbc")]
    Odbc(odbc::OdbcDatabase),
    /// Nobody asks it: its files become imported records.
    Folder(folder::FolderSettings),
}

impl Sources {
    /// The sources that `sources.toml` in the node's folder `dir` names, before `records`. Connects to nothing yet: a
    /// source may be down when the node starts.
    ///
    /// # Errors
    /// With everything that is wrong with the file.
    pub fn open(dir: &Path, records: Arc<Records>, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let settings = Settings::load(dir)?;
        Self::of(&settings, dir, records, clock)
    }

    fn of(settings: &Settings, dir: &Path, records: Arc<Records>, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let mut opened = BTreeMap::new();
        for (name, source) in &settings.sources {
            let set_up = |reason: String| Error::SetUp { name: name.clone(), reason };
            let bounds = source.bounds;
            let place = match &source.kind {
                Kind::Folder(folder) => Ok(Opened::Folder(folder.clone())),
                Kind::Http(settings) => http::Endpoint::new(settings, bounds, dir).map(Opened::Endpoint),
                Kind::Mysql(database) => sql::Database::mysql(database, bounds, dir).map(Opened::Database),
                #[cfg(feature = "odbc")]
                Kind::Odbc(settings) => odbc::OdbcDatabase::new(settings, bounds, dir).map(Opened::Odbc),
                #[cfg(not(feature = "odbc"))]
                Kind::Odbc(_) => Err("this program was built without ODBC".to_owned()),
                Kind::Postgres(database) => sql::Database::postgres(database, bounds, dir).map(Opened::Database),
                Kind::Sqlite { path } => sql::Database::sqlite(&dir.join(path), bounds).map(Opened::Database),
            };
            let guard = Guard::new(bounds, Arc::clone(&clock));
            opened.insert(name.as_str(), (place.map_err(set_up)?, guard));
        }
        let (mut services, mut folders, mut imported) = (Vec::new(), Vec::new(), Vec::new());
        for settings in &settings.services {
            if let [settings::Place { ask: Ask::Imported, mapping, .. }] = settings.places.as_slice() {
                let (service, major) = (settings.service.clone(), settings.major);
                imported.push(Imported { service, major, mapping: mapping.clone() });
                continue;
            }
            if let [settings::Place { source, ask: Ask::Files(ask), .. }] = settings.places.as_slice()
                && let Some((Opened::Folder(folder), _)) = opened.get(source.as_str())
            {
                let (service, major) = (settings.service.clone(), settings.major);
                folders.push(Arc::new(WatchedFolder::new(service, major, folder.clone(), ask.clone(), dir)));
                continue;
            }
            let places = settings.places.iter().map(|place| {
                let unknown = || Error::SetUp { name: place.source.clone(), reason: "is missing".to_owned() };
                let (opened, guard) = opened.get(place.source.as_str()).ok_or_else(unknown)?;
                let source: Arc<dyn Source> = match (opened, &place.ask) {
                    (Opened::Database(database), Ask::Query(query)) => Arc::new(database.asked_by(query.clone())),
                    #[cfg(feature = "odbc")]
                    (Opened::Odbc(database), Ask::Query(query)) => Arc::new(database.asked_by(query.clone())),
                    (Opened::Endpoint(endpoint), Ask::Http(ask)) => Arc::new(endpoint.asked_by(ask.as_ref().clone())),
                    _ => return Err(unknown()),
                };
                Ok(service::AskedPlace {
                    name: place.source.clone(),
                    source,
                    guard: Arc::clone(guard),
                    mapping: place.mapping.clone(),
                })
            });
            let places = places.collect::<Result<Vec<_>, Error>>()?;
            services.push(Arc::new(ServiceSource::new(settings, places, Arc::clone(&clock))));
        }
        Ok(Self { records, services, folders, imported })
    }

    /// The source of `service`; `None` where its records are imported ones.
    pub fn of_service(&self, service: &Service) -> Option<&Arc<ServiceSource>> {
        let is_of = |source: &&Arc<ServiceSource>, major: Option<u32>| {
            *source.service() == service.id.service && source.major() == major
        };
        let found = self.services.iter().find(|source| is_of(source, Some(service.id.major)));
        if found.is_none() && self.is_of_imports(service) {
            return None;
        }
        found.or_else(|| self.services.iter().find(|source| is_of(source, None)))
    }

    /// How a file is read that is imported for `service`: as the configuration says, or in the service's own words.
    pub fn mapping_of_imports(&self, service: &Service) -> Mapping {
        let found = self.imported(service, Some(service.id.major)).or_else(|| self.imported(service, None));
        found.map(|imported| imported.mapping.clone()).unwrap_or_default()
    }

    /// Whether the file says of just this version that its records are imported ones, by hand or from a folder.
    fn is_of_imports(&self, service: &Service) -> bool {
        let major = Some(service.id.major);
        let is_of = |folder: &Arc<WatchedFolder>| *folder.service() == service.id.service && folder.major() == major;
        self.imported(service, major).is_some() || self.folders.iter().any(is_of)
    }

    fn imported(&self, service: &Service, major: Option<u32>) -> Option<&Imported> {
        self.imported.iter().find(|imported| imported.service == service.id.service && imported.major == major)
    }

    /// The folders that are watched.
    pub fn folders(&self) -> &[Arc<WatchedFolder>] {
        &self.folders
    }

    /// All services that have a source.
    pub fn services(&self) -> &[Arc<ServiceSource>] {
        &self.services
    }
}

/// Everything that is wrong with `sources.toml` and the files that it names, without connecting to anything: one sentence
/// each, with its line. Empty where all is well or there is no such file.
pub fn mistakes(dir: &Path) -> Vec<String> {
    let settings = match Settings::load(dir) {
        Ok(settings) => settings,
        Err(settings::Error::Wrong { path, mistakes }) => {
            return mistakes.iter().map(|mistake| format!("{}, {mistake}", path.display())).collect();
        }
        Err(error) => return vec![error.to_string()],
    };
    let fault = |(name, source): (&String, &settings::SourceSettings)| {
        let fault = source.kind.fault(dir)?;
        Some(Error::SetUp { name: name.clone(), reason: fault }.to_string())
    };
    settings.sources.iter().filter_map(fault).collect()
}

impl RecordSource for Sources {
    fn lookup<'a>(
        &'a self,
        reading: Reading<'a>,
        service: &'a Service,
        subject: &'a Subject,
        inputs: &'a [(String, Value)],
    ) -> LookupFuture<'a> {
        match self.of_service(service) {
            Some(source) => Box::pin(source.lookup(reading, service, subject, inputs)),
            None => Box::pin(std::future::ready(self.records.lookup(service, subject, inputs))),
        }
    }

    fn lookup_many<'a>(&'a self, service: &'a Service, wanted: &'a [Wanted]) -> ManyLookupsFuture<'a> {
        match self.of_service(service) {
            Some(source) => Box::pin(source.lookup_many(service, wanted)),
            None => RecordSource::lookup_many(self.records.as_ref(), service, wanted),
        }
    }

    fn may_repeat(&self, service: &Service) -> bool {
        self.of_service(service).is_some()
    }

    fn status(&self) -> Vec<RecordsStatus> {
        self.records.status()
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Sources").field("services", &self.services.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use host::clock::SystemClock;
    use trust::ids::ServiceId;

    use super::*;
    use crate::records::tests::{PROPERTY, service};

    const DATABASE: &str = "[sources.copy]\nkind = \"sqlite\"\npath = \"copy.db\"\n\
        [sources.exports]\nkind = \"folder\"\npath = \"exports\"\n\
        [services.property-ownership]\nsource = \"copy\"\nquery = \"SELECT region FROM property WHERE id = :subject\"\n";

    #[tokio::test]
    async fn a_version_whose_records_are_imported_is_not_asked_of_the_database_of_the_others() {
        let first = service(PROPERTY);
        let second = Service { id: ServiceId { major: 2, ..first.id.clone() }, ..first.clone() };
        for (second_is, of_second) in [
            ("", true),
            ("[services.\"property-ownership.2\"]\nkind = \"embedded\"\n", false),
            ("[services.\"property-ownership.2\"]\nsource = \"exports\"\n", false),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let settings = Settings::parse(&format!("{DATABASE}{second_is}")).unwrap();
            let records = Arc::new(Records::open(dir.path()).unwrap());
            let sources = Sources::of(&settings, dir.path(), records, Arc::new(SystemClock)).unwrap();
            assert!(sources.of_service(&first).is_some(), "{second_is}");
            assert_eq!(sources.of_service(&second).is_some(), of_second, "{second_is}");
        }
    }
}
