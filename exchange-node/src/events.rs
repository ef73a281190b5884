//! Events: what in another department's questions looks wrong, and that answers of it were corrected, for the operators of this
//! node and, as counts, for the authority. A question that is part of it is answered like any other: an event is for people to look
//! into.
//!
//! **Invariant:** no event, log line or report holds a subject, a value, a case or an officer: a kind, the asking
//! department, the day and how often. Subjects and cases are told apart by keyed hashes, in memory, for the day.
//!
//! One event stands for one kind, department and day; a new one is logged at once and written down within moments. Out of
//! scope: limits that refuse (`usage`, `budget`).

mod report;
mod watch;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use host::files::{self, PRIVATE_MODE};
use serde::{Deserialize, Serialize};
use trust::{ids::DepartmentId, refusal::Code};

pub use self::{report::Reporter, watch::Watch};

/// The file in the node's folder.
pub(crate) const FILE_NAME: &str = "events.json";

/// So many are kept; the oldest go.
const MOST: usize = 2_000;

/// What looks wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kind {
    /// Many subjects are asked about that belong to no case of their own.
    ManySubjects,
    /// Many questions outside working hours.
    OffHours,
    /// Numbers are asked about that follow one another.
    Sweep,
    /// Guess budgets are spent.
    Guessing,
    /// Quotas are spent.
    OverQuota,
    /// A department corrected answers that this one relied on.
    AnswersCorrected,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::ManySubjects, Self::OffHours, Self::Sweep, Self::Guessing, Self::OverQuota, Self::AnswersCorrected];

    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ManySubjects => "many_subjects",
            Self::OffHours => "off_hours",
            Self::Sweep => "sweep",
            Self::Guessing => "guessing",
            Self::OverQuota => "over_quota",
            Self::AnswersCorrected => "answers_corrected",
        }
    }

    /// What it means, in a sentence without a full stop.
    pub fn what(self) -> &'static str {
        match self {
            Self::ManySubjects => "Many subjects were asked about under one case number",
            Self::OffHours => "Many questions came outside working hours",
            Self::Sweep => "Numbers were asked about that differ only in their last characters",
            Self::Guessing => "Guess budgets were spent: different values were tried again and again",
            Self::OverQuota => "Quotas were spent: questions came faster than they may",
            Self::AnswersCorrected => "Answers that this department relied on were corrected: a record was wrong",
        }
    }

    /// What to do next, in a sentence without a full stop.
    pub fn next_step(self) -> &'static str {
        match self {
            Self::ManySubjects | Self::OffHours | Self::Sweep => {
                "ask the department what the questions were for; suspend its grant (`access suspend`) where it cannot say"
            }
            Self::Guessing => "ask the department; suspend its grant (`access suspend`) where somebody was guessing",
            Self::OverQuota => "ask the department whether its quota fits its work; change it with a new grant",
            Self::AnswersCorrected => {
                "look the cases up that the answers were for (`verify show RECEIPT` shows the new ones)"
            }
        }
    }

    /// The event that a refusal belongs to.
    pub(crate) fn of_refusal(code: Code) -> Option<Self> {
        match code {
            Code::GuessBudgetSpent => Some(Self::Guessing),
            Code::QuotaExceeded => Some(Self::OverQuota),
            _ => None,
        }
    }
}

/// One kind of thing that one department did on one day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// What kind.
    pub kind: Kind,
    /// The department that asked.
    pub department: String,
    /// The day, "YYYY-MM-DD".
    pub day: String,
    /// How often.
    pub count: u64,
    /// When first, Unix milliseconds.
    pub first_ms: u64,
    /// When last, Unix milliseconds.
    pub last_ms: u64,
    /// How much of the count the authority was told.
    pub told: u64,
}

impl Event {
    /// By what it is known.
    pub fn id(&self) -> String {
        format!("{}-{}-{}", self.kind.as_str(), self.department, self.day)
    }
}

/// Why events cannot be kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] files::Error),
    /// The file is not what this program wrote.
    #[error("{} is no file of events: {source}; move it away", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
}

#[derive(Debug, Default)]
struct Kept {
    events: BTreeMap<(String, Kind, String), Event>,
    is_written: bool,
}

/// The events of a node. Clones share them.
#[derive(Clone, Debug)]
pub struct EventBook {
    path: PathBuf,
    kept: Arc<Mutex<Kept>>,
}

impl EventBook {
    /// Reads what the node's folder keeps.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let path = dir.join(FILE_NAME);
        let events: Vec<Event> = match std::fs::read(&path) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|source| Error::Malformed { path: path.clone(), source })?
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(Error::Read { path, source }),
        };
        let events = events.into_iter().map(|event| (key(&event), event)).collect();
        Ok(Self { path, kept: Arc::new(Mutex::new(Kept { events, is_written: true })) })
    }

    /// Counts something; the first of a kind, department and day is logged.
    pub fn count(&self, kind: Kind, department: &DepartmentId, day: &str, now_ms: u64) {
        let mut kept = self.locked();
        let new = Event {
            kind,
            department: department.to_string(),
            day: day.to_owned(),
            count: 0,
            first_ms: now_ms,
            last_ms: now_ms,
            told: 0,
        };
        let event = kept.events.entry(key(&new)).or_insert(new);
        event.count += 1;
        event.last_ms = now_ms;
        if event.count == 1 {
            tracing::warn!(event = event.id(), department = %department, "{}", kind.what());
        }
        kept.is_written = false;
        if kept.events.len() > MOST
            && let Some(oldest) = kept.events.keys().min_by_key(|key| key.2.clone()).cloned()
        {
            kept.events.remove(&oldest);
        }
    }

    /// The events, the newest first.
    pub fn list(&self) -> Vec<Event> {
        let mut events: Vec<Event> = self.locked().events.values().cloned().collect();
        events.sort_by_key(|event| (std::cmp::Reverse(event.last_ms), event.id()));
        events
    }

    /// What the authority has not been told yet, at most so many.
    pub(crate) fn untold(&self, most: usize) -> Vec<Event> {
        self.locked().events.values().filter(|event| event.told < event.count).take(most).cloned().collect()
    }

    /// The authority was told these counts.
    pub(crate) fn told(&self, told: &[Event]) {
        let mut kept = self.locked();
        for event in told {
            if let Some(kept) = kept.events.get_mut(&key(event)) {
                kept.told = kept.told.max(event.count);
            }
        }
        kept.is_written = false;
    }

    /// Writes down what is new. Blocks.
    ///
    /// # Errors
    /// The file cannot be written; it is tried again the next time.
    pub fn store(&self) -> Result<(), Error> {
        let events: Vec<Event> = {
            let mut kept = self.locked();
            if std::mem::replace(&mut kept.is_written, true) {
                return Ok(());
            }
            kept.events.values().cloned().collect()
        };
        // Numbers and short texts: this cannot fail.
        let bytes =
            serde_json::to_vec(&events).map_err(|source| Error::Malformed { path: self.path.clone(), source })?;
        let written = files::replace_file(&self.path, &bytes, PRIVATE_MODE);
        if written.is_err() {
            self.locked().is_written = false;
        }
        Ok(written?)
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(event: &Event) -> (String, Kind, String) {
    (event.department.clone(), event.kind, event.day.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_event_stands_for_a_kind_a_department_and_a_day_and_outlives_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let book = EventBook::open(dir.path()).unwrap();
        let housing: DepartmentId = "housing".parse().unwrap();
        for now_ms in 1..=3 {
            book.count(Kind::Sweep, &housing, "2026-11-29", now_ms);
        }
        book.count(Kind::Sweep, &housing, "2026-11-30", 9);
        book.count(Kind::Guessing, &housing, "2026-11-30", 8);
        book.store().unwrap();
        let book = EventBook::open(dir.path()).unwrap();
        let events = book.list();
        let ids: Vec<String> = events.iter().map(Event::id).collect();
        assert_eq!(ids, ["sweep-housing-2026-11-30", "guessing-housing-2026-11-30", "sweep-housing-2026-11-29"]);
        assert_eq!((events[2].count, events[2].first_ms, events[2].last_ms), (3, 1, 3));

        // What was told is not told again; what came since is.
        let untold = book.untold(100);
        assert_eq!(untold.len(), 3);
        book.count(Kind::Sweep, &housing, "2026-11-30", 10);
        book.told(&untold);
        assert_eq!(book.untold(100).iter().map(|event| (event.told, event.count)).collect::<Vec<_>>(), [(1, 2)]);

        std::fs::write(dir.path().join(FILE_NAME), b"{").unwrap();
        assert!(matches!(EventBook::open(dir.path()), Err(Error::Malformed { .. })));
    }

    #[test]
    fn names_are_distinct_and_fit_a_report() {
        let names: std::collections::BTreeSet<_> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(names.len(), Kind::ALL.len());
        assert!(names.iter().all(|name| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')));
        for kind in Kind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }
}
