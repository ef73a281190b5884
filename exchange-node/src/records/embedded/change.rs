//! Changes of the records in use: a file that puts rows in and takes rows out becomes a new generation, as a whole or not
//! at all. A crash leaves the old one in use.
//!
//! **Invariant:** a row that no change named is never called fresher than it is. Each row that is changed is stamped with
//! its day, where no column of the service says how fresh it is; the others are as of the import, unless whoever hands the
//! file in says that it holds every change.
//!
//! Out of scope: what a row of changes must look like (`import`).

use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};

use host::store::{SMALL_CACHE_BYTES, Store};
use trust::service::Service;
use trust::value::{AttributeType, Type, Value};

use super::generation::CHANGED_ON;
use super::scan::Scan;
use super::{Claim, Generation, Records, Unfinished, new_generation, write};
use crate::records::calendar_day;
use crate::records::columns::{Column, Columns};
use crate::records::import::{self, BadRow, ChangePlan, Changes, Format, ImportError, OldRows, Order, Progress};
use crate::sources::mapping::Mapping;

/// What changes did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeReport {
    /// Rows that can be looked up now.
    pub rows: u64,
    /// Subjects that have rows now.
    pub subjects: u64,
    /// Rows of the file that were put in.
    pub upserted: u64,
    /// Rows that were taken out.
    pub deleted: u64,
    /// Rows of the file that were to take something out that was not there.
    pub missed: u64,
    /// Subjects that answer `UNAVAILABLE`, as before, because rows of theirs were set aside.
    pub quarantined_subjects: u64,
}

impl Records {
    /// Applies a file of changes to the records of `service`, as a whole or not at all. Otherwise as [`Records::import`];
    /// a bad row is never set aside here.
    ///
    /// # Errors
    /// Why nothing has changed.
    pub fn apply(
        &self,
        service: &Service,
        format: Format,
        changes: &Changes,
        input: impl Read,
        progress: &dyn Fn(Progress),
        now_ms: u64,
    ) -> Result<ChangeReport, ImportError> {
        self.apply_mapped(service, (format, &Mapping::default()), changes, input, progress, now_ms)
    }

    /// The same of a file whose columns and values are read as `mapping` says.
    ///
    /// # Errors
    /// As [`Records::apply`].
    pub fn apply_mapped(
        &self,
        service: &Service,
        (format, mapping): (Format, &Mapping),
        changes: &Changes,
        input: impl Read,
        progress: &dyn Fn(Progress),
        now_ms: u64,
    ) -> Result<ChangeReport, ImportError> {
        let problem =
            |field: String, reason: String| ImportError::Columns { problems: vec![BadRow { line: 1, field, reason }] };
        let columns = Columns::of(service).map_err(|error| problem(error.field, error.reason))?;
        let plan = ChangePlan::new(changes, &columns)?;
        let folder = self.folder.join(format!("{}.{}", service.id.service, service.id.major));
        let _claim = Claim::on(&self.importing, &folder)?;
        let is_wanted =
            |generation: &&std::sync::Arc<Generation>| generation.is_of(&service.id.service, service.id.major);
        let current = self.generations.load().iter().find(is_wanted).cloned();
        let current = current.ok_or(ImportError::NothingToChange)?;
        let opened = current.opened().map_err(write)?;

        let (stored, stamp) = self::stored(service, &columns, &plan, now_ms);
        let unfit =
            |reason: String| problem(String::new(), format!("{reason}: import them whole, and then change them"));
        let mut scan = Scan::new(opened, &columns, &stored).map_err(unfit)?;
        let known = self.known.load();
        let order = Order {
            columns: &columns,
            format,
            quarantine: false,
            changes: Some(&plan),
            known: &known,
            mapping,
            progress,
        };
        let path = new_generation(&folder)?;
        let unfinished = Unfinished(Some(path.clone()));
        let store = Store::open(&path.join("store"), SMALL_CACHE_BYTES).map_err(write)?;
        let mut next = || {
            // sled panics on some kinds of damage where it should return an error; nothing of ours is changed in between.
            let read = catch_unwind(AssertUnwindSafe(|| scan.next()));
            read.unwrap_or_else(|_| Err("the records in use are damaged: import them again".to_owned()))
        };
        let old = OldRows { next: &mut next, stored: &stored, stamp };
        let applied = import::apply_file(&order, &plan, old, &path, store, input)?;
        let manifest = opened.manifest.changed(service, &stored, &applied, plan.is_complete(), now_ms);
        if let Some(name) = manifest.quarantine_file() {
            for name in [name, import::QUARANTINE_REASONS] {
                std::fs::copy(opened.folder.join(name), path.join(name)).map_err(write)?;
                std::fs::File::open(path.join(name)).and_then(|file| file.sync_all()).map_err(write)?;
            }
        }
        manifest.write(&path).map_err(write)?;
        unfinished.keep();
        // The old generation is removed once nobody holds it, and this does not any more.
        drop(scan);
        drop(current);
        self.put_into_use(service, &folder, &path, manifest)?;
        Ok(ChangeReport {
            rows: applied.rows,
            subjects: applied.subjects,
            upserted: applied.upserted,
            deleted: applied.deleted,
            missed: applied.missed,
            quarantined_subjects: applied.quarantined_subjects,
        })
    }
}

/// The columns of the new generation; and what stamps a row that is changed, where one is needed.
fn stored(service: &Service, columns: &Columns, plan: &ChangePlan, now_ms: u64) -> (Vec<Column>, Option<Value>) {
    let mut stored = columns.columns().to_vec();
    if !service.published.record_as_of_column.is_empty() || plan.is_complete() {
        return (stored, None);
    }
    // Dates have no members, so there is such a type.
    if let Ok(ty) = AttributeType::new(Type::Date, Vec::new()) {
        stored.push(Column::stored(CHANGED_ON.to_owned(), ty, false));
    }
    (stored, Some(Value::Date(calendar_day(now_ms))))
}
