//! The embedded store of records.
use std::io::Read;
use std::path::Path;

use trust::service::Service;
use trust::subject::Subject;
use trust::value::Value;

use super::import::{Format, ImportError, ImportReport, Progress};
use super::{Lookup, LookupFuture, RecordSource, RecordsStatus};

/// The embedded records.
#[derive(Debug)]
pub struct Records;

/// Why the records cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordsError {
    /// A folder or file.
    #[error(transparent)]
    Files(#[from] host::files::Error),
}

impl Records {
    /// Opens.
    pub fn open(_dir: &Path) -> Result<Self, RecordsError> {
        Ok(Self)
    }
    /// Looks up.
    pub fn lookup(&self, _service: &Service, _subject: &Subject, _inputs: &[(String, Value)]) -> Lookup {
        Lookup::NotImported
    }
    /// Status.
    pub fn status(&self) -> Vec<RecordsStatus> {
        Vec::new()
    }
    /// Imports.
    pub fn import(
        &self,
        _service: &Service,
        _format: Format,
        _quarantine: bool,
        _input: impl Read,
        _progress: &dyn Fn(Progress),
        _now_ms: u64,
    ) -> Result<ImportReport, ImportError> {
        Err(ImportError::Busy)
    }
}

impl RecordSource for Records {
    fn lookup<'a>(&'a self, service: &'a Service, subject: &'a Subject, inputs: &'a [(String, Value)]) -> LookupFuture<'a> {
        Box::pin(std::future::ready(Self::lookup(self, service, subject, inputs)))
    }
    fn status(&self) -> Vec<RecordsStatus> {
        Self::status(self)
    }
}
