//! One import's records: the manifest that says what they are, and the store that holds them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use arc_swap::ArcSwapOption;
use host::files;
use host::store::{Store, StoreError};
use serde::{Deserialize, Serialize};
use trust::claim::Row;
use trust::ids::{Digest, ServiceName};
use trust::service::Service;
use trust::subject::{Scheme, Subject};
use trust::value::{AttributeType, Type, Value};

use super::blocks::{self, Found};
use crate::records::columns::{Column, Columns};
use crate::records::import::{Applied, Format, ImportReport, quarantine_file_name, subject_key};
use crate::records::packed::{unpack, unpack_slice};
use crate::records::{Lookup, RecordsStatus, calendar_day};

/// The layout that this version writes and reads.
const LAYOUT: u32 = 1;

const MANIFEST: &str = "manifest.json";

/// The folder of the database within a generation's.
pub(super) const STORE: &str = "store";

/// The column, beside those of the service, that holds the day on which a row was changed after the import. No column of
/// a service can be called that.
pub(super) const CHANGED_ON: &str = "";

/// What a generation holds. Written last: a generation without one was never finished.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    layout: u32,
    service: String,
    major: u32,
    minor: u32,
    imported_ms: u64,
    /// When rows were changed last; 0 where that never happened.
    #[serde(default)]
    changed_ms: u64,
    pub(super) schemes: Vec<String>,
    held_schemes: Vec<String>,
    columns: Vec<ManifestColumn>,
    rows: u64,
    subjects: u64,
    quarantined_rows: u64,
    quarantined_subjects: u64,
    unattributed_rows: u64,
    quarantine_file: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ManifestColumn {
    name: String,
    r#type: String,
    members: Vec<String>,
    selects: bool,
}

impl ManifestColumn {
    fn of(column: &Column) -> Self {
        Self {
            name: column.name().to_owned(),
            r#type: column.ty().ty().as_str().to_owned(),
            members: column.ty().members().to_vec(),
            selects: column.selects(),
        }
    }
}

impl Manifest {
    pub(super) fn new(
        service: &Service,
        columns: &Columns,
        held_schemes: &[usize],
        format: Format,
        report: &ImportReport,
        now_ms: u64,
    ) -> Self {
        let schemes = columns.schemes().iter().map(ToString::to_string).collect::<Vec<_>>();
        Self {
            layout: LAYOUT,
            service: service.id.service.to_string(),
            major: service.id.major,
            minor: service.published.minor_version,
            imported_ms: now_ms,
            changed_ms: 0,
            held_schemes: held_schemes.iter().filter_map(|index| schemes.get(*index).cloned()).collect(),
            schemes,
            columns: columns.columns().iter().map(ManifestColumn::of).collect(),
            rows: report.rows,
            subjects: report.subjects,
            quarantined_rows: report.quarantined_rows,
            quarantined_subjects: report.quarantined_subjects,
            unattributed_rows: report.unattributed_rows,
            quarantine_file: report.quarantine_file.as_ref().map(|_| quarantine_file_name(format).to_owned()),
        }
    }

    /// As it is after changes: `stored` are the columns, and what the file with the changes did not name is as fresh as it
    /// was, or as of `now_ms` where `is_complete`.
    pub(super) fn changed(
        &self,
        service: &Service,
        stored: &[Column],
        applied: &Applied,
        is_complete: bool,
        now_ms: u64,
    ) -> Self {
        let held = applied.held_schemes.iter().filter_map(|index| self.schemes.get(*index));
        let mut held_schemes = self.held_schemes.clone();
        held_schemes.extend(held.filter(|name| !self.held_schemes.contains(name)).cloned());
        let settled = applied.quarantined_subjects == 0 && self.unattributed_rows == 0;
        Self {
            layout: LAYOUT,
            service: self.service.clone(),
            major: self.major,
            minor: service.published.minor_version,
            imported_ms: if is_complete { now_ms } else { self.imported_ms },
            changed_ms: now_ms,
            schemes: self.schemes.clone(),
            held_schemes,
            columns: stored.iter().map(ManifestColumn::of).collect(),
            rows: applied.rows,
            subjects: applied.subjects,
            quarantined_rows: if settled { 0 } else { self.quarantined_rows },
            quarantined_subjects: applied.quarantined_subjects,
            unattributed_rows: self.unattributed_rows,
            quarantine_file: self.quarantine_file.clone().filter(|_| !settled),
        }
    }

    /// The file with the rows set aside, within the generation's folder.
    pub(super) fn quarantine_file(&self) -> Option<&str> {
        self.quarantine_file.as_deref()
    }

    /// Writes it into the generation's `folder`, durably.
    pub(super) fn write(&self, folder: &Path) -> Result<(), String> {
        let text = serde_json::to_vec_pretty(self).map_err(|error| error.to_string())?;
        files::replace_file(&folder.join(MANIFEST), &text, files::PRIVATE_MODE).map_err(|error| error.to_string())
    }

    /// Reads it from the generation's `folder`; or what is wrong with it.
    pub(super) fn read(folder: &Path, service: &ServiceName, major: u32) -> Result<Self, String> {
        let path = folder.join(MANIFEST);
        let damaged =
            |reason: &str| format!("the records in {} are damaged ({reason}): import them again", folder.display());
        let text = std::fs::read(&path).map_err(|error| damaged(&format!("{MANIFEST}: {error}")))?;
        let manifest: Self =
            serde_json::from_slice(&text).map_err(|error| damaged(&format!("{MANIFEST} line {}", error.line())))?;
        if manifest.layout != LAYOUT {
            return Err(format!(
                "the records in {} were imported by another version: import them again",
                folder.display()
            ));
        }
        if manifest.service != service.as_str() || manifest.major != major {
            return Err(damaged("they are another service's"));
        }
        Ok(manifest)
    }
}

/// The records of one service from one import.
pub(super) struct Generation {
    service: ServiceName,
    major: u32,
    state: Result<Open, Fault>,
}

/// The parts of a generation that can be used.
#[derive(Clone, Copy)]
pub(super) struct Opened<'a> {
    pub(super) folder: &'a Path,
    pub(super) manifest: &'a Manifest,
    pub(super) columns: &'a [Column],
    pub(super) store: &'a Store,
}

struct Open {
    folder: PathBuf,
    manifest: Manifest,
    schemes: Vec<(Scheme, bool)>,
    columns: Vec<Column>,
    store: Store,
    fit: ArcSwapOption<Fit>,
}

struct Fault {
    text: String,
    locked: Mutex<Option<StoreError>>,
}

/// Whether the records fit the description that a lookup came with: worked out once for each description.
struct Fit {
    statement: Digest,
    /// The attributes that the records lack a column for; or why they cannot be read at all.
    lacking: Result<Vec<String>, String>,
    as_of: Option<usize>,
}

impl Generation {
    /// Opens the records of `service` in `folder`. What is wrong with them is a fault, which lookups answer with.
    pub(super) fn open(folder: &Path, service: ServiceName, manifest: Manifest, cache_bytes: u64) -> Self {
        Self { service, major: manifest.major, state: Open::new(folder, manifest, cache_bytes) }
    }

    /// Records that cannot be used.
    pub(super) fn faulty(service: ServiceName, major: u32, fault: String) -> Self {
        Self { service, major, state: Err(Fault::new(fault)) }
    }

    /// Whether these are the records of that service.
    pub(super) fn is_of(&self, service: &ServiceName, major: u32) -> bool {
        self.major == major && self.service == *service
    }

    pub(super) fn is_same_service(&self, other: &Self) -> bool {
        self.is_of(&other.service, other.major)
    }

    /// What generations are listed by.
    pub(super) fn order(&self) -> (&ServiceName, u32) {
        (&self.service, self.major)
    }

    /// Its parts, if it could be opened; else what is wrong with it.
    pub(super) fn opened(&self) -> Result<Opened<'_>, String> {
        let Open { folder, manifest, columns, store, .. } = self.state.as_ref().map_err(|fault| fault.text.clone())?;
        Ok(Opened { folder, manifest, columns, store })
    }

    /// Every key of the database with its value; none where the records cannot be read.
    pub(super) fn pairs(&self) -> impl Iterator<Item = sled::Result<(sled::IVec, sled::IVec)>> {
        self.state.as_ref().ok().map(|open| open.store.db().iter()).into_iter().flatten()
    }

    /// Where it lies, if it could be opened.
    pub(super) fn folder(&self) -> Option<&Path> {
        self.state.as_ref().ok().map(|open| open.folder.as_path())
    }

    /// The error of a store that another process has open; given once.
    pub(super) fn locked(&self) -> Option<StoreError> {
        let fault = self.state.as_ref().err()?;
        fault.locked.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
    }

    pub(super) fn lookup(&self, service: &Service, subject: &Subject, inputs: &[(String, Value)]) -> Lookup {
        match &self.state {
            Ok(open) => open.lookup(service, subject, inputs).unwrap_or_else(Lookup::Failed),
            Err(fault) => Lookup::Failed(fault.text.clone()),
        }
    }

    pub(super) fn status(&self) -> RecordsStatus {
        let mut status = RecordsStatus {
            service: self.service.clone(),
            major: self.major,
            fault: None,
            minor: 0,
            rows: 0,
            subjects: 0,
            quarantined_rows: 0,
            quarantined_subjects: 0,
            unattributed_rows: 0,
            imported_ms: 0,
            quarantine_file: None,
        };
        match &self.state {
            Ok(Open { manifest, folder, .. }) => {
                status.minor = manifest.minor;
                status.rows = manifest.rows;
                status.subjects = manifest.subjects;
                status.quarantined_rows = manifest.quarantined_rows;
                status.quarantined_subjects = manifest.quarantined_subjects;
                status.unattributed_rows = manifest.unattributed_rows;
                status.imported_ms = manifest.imported_ms.max(manifest.changed_ms);
                status.quarantine_file = manifest.quarantine_file.as_ref().map(|name| folder.join(name));
            }
            Err(fault) => status.fault = Some(fault.text.clone()),
        }
        status
    }
}

impl Fault {
    fn new(text: String) -> Self {
        Self { text, locked: Mutex::new(None) }
    }
}

impl Open {
    fn new(folder: &Path, manifest: Manifest, cache_bytes: u64) -> Result<Self, Fault> {
        let damaged =
            || Fault::new(format!("the manifest in {} is damaged: import the records again", folder.display()));
        let scheme =
            |name: &String| Scheme::parse(name).ok().map(|scheme| (scheme, manifest.held_schemes.contains(name)));
        let schemes = manifest.schemes.iter().map(scheme).collect::<Option<Vec<_>>>().ok_or_else(damaged)?;
        let column = |column: &ManifestColumn| {
            let ty = Type::parse(&column.r#type).ok()?;
            let ty = AttributeType::new(ty, column.members.clone()).ok()?;
            Some(Column::stored(column.name.clone(), ty, column.selects))
        };
        let columns = manifest.columns.iter().map(column).collect::<Option<Vec<_>>>().ok_or_else(damaged)?;
        let path = folder.join(STORE);
        if !path.join("db").exists() {
            // sled would make an empty store, and everybody would have no record.
            return Err(Fault::new(format!("the records in {} are gone: import them again", folder.display())));
        }
        let store = Store::open(&path, cache_bytes).map_err(|error| Fault {
            text: error.to_string(),
            locked: Mutex::new(matches!(error, StoreError::Locked { .. }).then_some(error)),
        })?;
        if store.db().is_empty() && manifest.subjects + manifest.quarantined_subjects > 0 {
            return Err(Fault::new(format!("the records in {} are gone: import them again", folder.display())));
        }
        Ok(Self { folder: folder.to_owned(), manifest, schemes, columns, store, fit: ArcSwapOption::empty() })
    }

    fn lookup(&self, service: &Service, subject: &Subject, inputs: &[(String, Value)]) -> Result<Lookup, String> {
        let fit = self.fit(service);
        let lacking = fit.lacking.as_ref().map_err(Clone::clone)?;
        let scheme = self.schemes.iter().position(|(scheme, _)| *scheme == subject.scheme());
        let Some(scheme) = scheme.filter(|index| self.schemes[*index].1) else {
            let (service, scheme) = (&self.manifest.service, subject.scheme());
            return Ok(Lookup::SchemeNotHeld(format!(
                "the records of {service} have no column {scheme}: import them with one"
            )));
        };
        let selected = inputs
            .iter()
            .map(|(name, value)| {
                // Only cells that were checked for it: rows are not selected by an empty one.
                let position = self.columns.iter().position(|column| column.name() == name && column.selects());
                position.map(|position| (position, value)).ok_or("an input names no column of the records")
            })
            .collect::<Result<Vec<_>, _>>()?;
        let rows = match self.find(&subject_key(scheme, subject))? {
            Found::Quarantined => return Ok(Lookup::Quarantined),
            Found::Nothing => Vec::new(),
            Found::Rows(packed) => self.unpack(&packed).ok_or("a row of the records is damaged: import them again")?,
        };
        let is_selected =
            |row: &Vec<Option<Value>>| selected.iter().all(|(position, value)| row[*position].as_ref() == Some(*value));
        let rows = rows.into_iter().filter(is_selected).collect::<Vec<_>>();
        let is_any_lost = self.manifest.unattributed_rows > 0;
        if rows.is_empty() && is_any_lost {
            // A row that was set aside may be this subject's. To say that it has no record would be to guess.
            return Ok(Lookup::Quarantined);
        }
        let as_of = match fit.as_of.filter(|_| !rows.is_empty()) {
            Some(position) => oldest(&rows, position),
            None => Some(self.imported_or_changed(&rows)),
        };
        let rows = rows.into_iter().map(|row| self.named(row)).collect();
        let uncertain = service.attributes.values().filter(|rule| is_any_lost && rule.adds_up());
        let uncertain = uncertain.map(|rule| rule.name().to_owned()).collect::<Vec<_>>();
        Ok(if lacking.is_empty() && uncertain.is_empty() {
            Lookup::Rows { rows, as_of }
        } else {
            Lookup::Partial { rows, as_of, lacking: lacking.clone(), uncertain }
        })
    }

    /// The oldest of the days on which the rows were imported, or changed since.
    fn imported_or_changed(&self, rows: &[Vec<Option<Value>>]) -> jiff::civil::Date {
        let imported = calendar_day(self.manifest.imported_ms);
        let Some(position) = self.columns.iter().position(|column| column.name() == CHANGED_ON) else {
            return imported;
        };
        let day = |row: &Vec<Option<Value>>| match row[position] {
            Some(Value::Date(changed)) => changed,
            _ => imported,
        };
        rows.iter().map(day).min().unwrap_or(imported)
    }

    /// Whether the records fit the service's description, and which of their columns says how fresh they are.
    fn fit(&self, service: &Service) -> std::sync::Arc<Fit> {
        if let Some(fit) = self.fit.load_full().filter(|fit| fit.statement == service.statement) {
            return fit;
        }
        let lacking = match Columns::of(service) {
            Ok(columns) => columns.lacking(service, service_columns(&self.columns)),
            Err(error) => Err(error.to_string()),
        };
        let lacking = lacking.map_err(|difference| {
            let (service, major, then, now) =
                (&self.manifest.service, self.major(), self.manifest.minor, service.published.minor_version);
            format!("the records of {service} were imported for version {major}.{then} and do not fit {major}.{now} ({difference}): import them again")
        });
        // Where none is named, the name is empty, and so is that of the column with the days of changes.
        let as_of = Some(service.published.record_as_of_column.as_str()).filter(|name| !name.is_empty());
        let as_of = as_of.and_then(|as_of| self.columns.iter().position(|column| column.name() == as_of));
        let fit = std::sync::Arc::new(Fit { statement: service.statement, lacking, as_of });
        self.fit.store(Some(std::sync::Arc::clone(&fit)));
        fit
    }

    fn major(&self) -> u32 {
        self.manifest.major
    }

    fn find(&self, key: &[u8]) -> Result<Found, String> {
        // sled panics on some kinds of damage where it should return an error; nothing of ours is changed in between.
        match catch_unwind(AssertUnwindSafe(|| blocks::find(&self.store, key))) {
            Ok(found) => found.map_err(|error| error.to_string()),
            Err(_) => Err(format!("the store in {} is damaged: import the records again", self.folder.display())),
        }
    }

    fn unpack(&self, mut packed: &[u8]) -> Option<Vec<Vec<Option<Value>>>> {
        let mut rows = Vec::new();
        while !packed.is_empty() {
            rows.push(unpack(unpack_slice(&mut packed)?, &self.columns)?);
        }
        Some(rows)
    }

    fn named(&self, values: Vec<Option<Value>>) -> Row {
        let names = self.columns.iter().map(Column::name);
        names
            .zip(values)
            .filter(|(name, _)| *name != CHANGED_ON)
            .filter_map(|(name, value)| Some((name, value?)))
            .collect()
    }
}

/// The columns that the service calls for.
pub(super) fn service_columns(stored: &[Column]) -> &[Column] {
    match stored {
        [columns @ .., last] if last.name() == CHANGED_ON => columns,
        columns => columns,
    }
}

/// The oldest date in the column at `position`; `None` where any row has none.
fn oldest(rows: &[Vec<Option<Value>>], position: usize) -> Option<jiff::civil::Date> {
    let date = |row: &Vec<Option<Value>>| match row[position] {
        Some(Value::Date(date)) => Some(date),
        _ => None,
    };
    rows.iter().map(date).collect::<Option<Vec<_>>>()?.into_iter().min()
}
