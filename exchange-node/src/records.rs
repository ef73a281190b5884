//! The department's own records: where they live, how they are looked up, and how a file of them is imported.
//!
//! [`RecordSource`] is the seam that answering stands on; [`Records`] is its embedded implementation, one sled database
//! for each service and import. An import replaces a service's records as a whole or changes nothing.
//!
//! **Invariant:** what cannot be looked up is never "no rows". A source that is down, records imported under other columns,
//! a subject whose rows were set aside: each has a [`Lookup`] of its own, and none of them becomes a mismatch.
//!
//! Out of scope: what rows mean for a claim (`trust::claim`), and who may ask (`trust::decision`).

pub mod aliases;
mod columns;
#[cfg(test)]
pub mod double;
mod embedded;
pub mod encoding;
mod import;
mod packed;
mod sort;

use std::path::PathBuf;
use std::pin::Pin;

use jiff::civil::Date;
use trust::claim::Row;
use trust::ids::{Party, ServiceName};
use trust::service::Service;
use trust::subject::Subject;
use trust::value::Value;

pub use self::columns::{Column, Columns, ColumnsError};
pub use self::embedded::{ChangeReport, Records, RecordsError};
pub(crate) use self::import::json_members;
pub use self::import::{
    BAD_ROW_LIMIT, BadRow, ChangeOperation, Changes, Format, ImportError, ImportReport, Phase, Progress,
};

/// The most rows that one subject may have: a question about more would cost too much to answer.
pub const SUBJECT_ROW_LIMIT: usize = 10_000;

/// What a source of records says about one subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The records cannot be read, or cannot be relied on. `UNAVAILABLE`.
    Failed(
        /// Why, for the operator's log. Holds no personal data.
        String,
    ),
    /// No records of this service were ever imported. `UNAVAILABLE`.
    NotImported,
    /// The rows, from an import that was made before the service had all of its attributes, or that set rows of nobody aside.
    Partial {
        /// As in [`Lookup::Rows`].
        rows: Vec<Row>,
        /// As in [`Lookup::Rows`].
        as_of: Option<Date>,
        /// The attributes that the rows say nothing about: a claim on one is `UNAVAILABLE`.
        lacking: Vec<String>,
        /// The attributes that a row more would change, where an import set rows aside that may be this subject's: a claim on
        /// one is `UNAVAILABLE`.
        uncertain: Vec<String>,
    },
    /// An import set rows of the subject aside, or rows that may have been the subject's. `UNAVAILABLE`.
    Quarantined,
    /// The records are not kept by the scheme of this subject. `UNAVAILABLE`, unless another number of it finds them.
    SchemeNotHeld(
        /// Why, for the operator's log. Holds no personal data.
        String,
    ),
    /// The rows that the inputs select, perhaps none.
    Rows {
        /// The rows, with every column by its name; a null column is not there.
        rows: Vec<Row>,
        /// How fresh they are: the oldest of the rows where the service names a column for it, otherwise the day of the
        /// import. `None` where a row does not say.
        as_of: Option<Date>,
    },
}

/// A lookup under way.
pub type LookupFuture<'a> = Pin<Box<dyn Future<Output = Lookup> + Send + 'a>>;

/// One of many lookups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// About whom.
    pub subject: Subject,
    /// By what rows are selected.
    pub inputs: Vec<(String, Value)>,
}

/// Many lookups under way.
pub type ManyLookupsFuture<'a> = Pin<Box<dyn Future<Output = Vec<Lookup>> + Send + 'a>>;

/// How many of many lookups a source is asked at once, where it cannot answer them in one pass.
pub const MANY_AT_ONCE: usize = 16;

/// Whether what a source allows to be kept for a while may be used.
#[derive(Clone, Copy, Debug)]
pub enum Reading<'a> {
    /// Nothing of it: the records may have just changed. What was kept about the subject is forgotten.
    Anew,
    /// What is kept for this consumer alone.
    KeptFor(&'a Party),
}

/// Where records are looked up. The embedded store is one, [`crate::sources::Sources`] another, and a test double.
pub trait RecordSource: Send + Sync {
    /// The rows of `subject` that `inputs` select: those whose column of an input's name holds the input's value. An input
    /// that is not given selects every row.
    ///
    /// Whoever calls bounds the time: a source may be slow, and dropping the future gives up.
    fn lookup<'a>(
        &'a self,
        reading: Reading<'a>,
        service: &'a Service,
        subject: &'a Subject,
        inputs: &'a [(String, Value)],
    ) -> LookupFuture<'a>;

    /// As [`RecordSource::lookup`] about many subjects, in one pass where the source can; one lookup for each, in their order.
    fn lookup_many<'a>(&'a self, service: &'a Service, wanted: &'a [Wanted]) -> ManyLookupsFuture<'a> {
        Box::pin(async move {
            let mut found = Vec::with_capacity(wanted.len());
            for some in wanted.chunks(MANY_AT_ONCE) {
                let looking =
                    some.iter().map(|wanted| self.lookup(Reading::Anew, service, &wanted.subject, &wanted.inputs));
                found.extend(futures_util::future::join_all(looking).await);
            }
            found
        })
    }

    /// Whether one row of `service` may be given under several numbers of its subject, because the source knows former numbers
    /// itself. Imported rows stand under the number that they were imported with, each once.
    fn may_repeat(&self, _service: &Service) -> bool {
        false
    }

    /// What the source holds, one entry for each service it holds records of.
    fn status(&self) -> Vec<RecordsStatus>;
}

/// What is held of one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordsStatus {
    /// The service.
    pub service: ServiceName,
    /// Its major version.
    pub major: u32,
    /// What is wrong with the records, where they cannot be used; the numbers below are then 0. Holds no personal data.
    pub fault: Option<String>,
    /// The minor version of the service description that they were imported under.
    pub minor: u32,
    /// How many rows can be looked up.
    pub rows: u64,
    /// How many subjects have rows.
    pub subjects: u64,
    /// How many rows the import set aside.
    pub quarantined_rows: u64,
    /// How many subjects answer `UNAVAILABLE` because rows of theirs were set aside.
    pub quarantined_subjects: u64,
    /// How many of the rows set aside do not tell whose they are.
    pub unattributed_rows: u64,
    /// When they were imported, Unix milliseconds.
    pub imported_ms: u64,
    /// The file with the rows that were set aside, if any were.
    pub quarantine_file: Option<PathBuf>,
}

/// The calendar day at `now_ms`, Unix milliseconds, where the departments are: all of China keeps UTC+8, without summer
/// time.
pub fn calendar_day(now_ms: u64) -> Date {
    let instant = i64::try_from(now_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    jiff::tz::Offset::constant(8).to_datetime(instant.unwrap_or(jiff::Timestamp::MAX)).date()
}

#[cfg(test)]
pub(crate) mod tests;
