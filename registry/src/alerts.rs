//! What nodes have told the authority of departments' asking: counts, for its board. Kept in one file in the registry's
//! folder; each registry over a shared directory keeps what it was told itself.
//!
//! Out of scope: what looks wrong (the nodes' `events`), and what a report may hold (`trust::alert`).

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use host::files::{self, PRIVATE_MODE};
use serde::{Deserialize, Serialize};
use trust::alert::Report;

/// The file in the registry's folder.
const FILE_NAME: &str = "alerts.json";

/// So many are kept; those of the oldest days go.
const MOST: usize = 10_000;

/// So many of one department's nodes, so that none can push out the others'.
const MOST_OF_ONE: usize = 1_000;

/// Why what was told cannot be kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be written.
    #[error(transparent)]
    File(#[from] files::Error),
    /// The file is not what this program wrote.
    #[error("{} is no file of told events: {source}; move it away", path.display())]
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
        source: io::Error,
    },
    /// The task that writes ended by itself.
    #[error("writing told events ended: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// One kind of thing that one department did on one day, as one node told it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Told {
    /// The department whose node told it.
    pub by: String,
    /// The node.
    pub node: String,
    /// What kind.
    pub kind: String,
    /// The department that asked.
    pub department: String,
    /// The day.
    pub day: String,
    /// How often.
    pub count: u64,
    /// When it was told last, Unix milliseconds.
    pub told_ms: u64,
}

/// By day first: the oldest go first.
type Key = (String, String, String, String, String);

fn key(told: &Told) -> Key {
    (told.day.clone(), told.by.clone(), told.node.clone(), told.kind.clone(), told.department.clone())
}

/// What was told. Clones share it.
#[derive(Clone, Debug)]
pub struct Alerts {
    path: PathBuf,
    told: Arc<Mutex<BTreeMap<Key, Told>>>,
    /// Who writes the file.
    writing: Arc<tokio::sync::Mutex<()>>,
}

impl Alerts {
    /// Reads what the registry's folder keeps.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let path = dir.join(FILE_NAME);
        let told: Vec<Told> = match std::fs::read(&path) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|source| Error::Malformed { path: path.clone(), source })?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(Error::Read { path, source }),
        };
        let told = told.into_iter().map(|told| (key(&told), told)).collect();
        Ok(Self { path, told: Arc::new(Mutex::new(told)), writing: Arc::default() })
    }

    /// Takes what a node told. Durable when this returns.
    ///
    /// # Errors
    /// The file cannot be written.
    pub async fn take(&self, report: Report) -> Result<(), Error> {
        {
            let mut kept = self.locked();
            for event in report.told.events {
                let told = Told {
                    by: report.department.to_string(),
                    node: report.node.to_string(),
                    kind: event.kind,
                    department: event.department,
                    day: event.day,
                    count: event.count,
                    told_ms: report.told.at_ms,
                };
                let before = kept.get(&key(&told)).map_or(0, |before| before.count);
                // Told again it never becomes less: a report that was held up changes nothing.
                kept.insert(key(&told), Told { count: told.count.max(before), ..told });
            }
            let own: Vec<Key> = kept.keys().filter(|key| key.1 == report.department.as_str()).cloned().collect();
            for key in &own[..own.len().saturating_sub(MOST_OF_ONE)] {
                kept.remove(key);
            }
            while kept.len() > MOST && kept.pop_first().is_some() {}
        }
        let _turn = self.writing.lock().await;
        let told: Vec<Told> = self.locked().values().cloned().collect();
        let path = self.path.clone();
        tokio::task::spawn_blocking(move || {
            // Numbers and short texts: this cannot fail.
            let bytes = serde_json::to_vec(&told).map_err(|source| Error::Malformed { path: path.clone(), source })?;
            Ok(files::replace_file(&path, &bytes, PRIVATE_MODE)?)
        })
        .await?
    }

    /// What was told, the newest day first.
    pub fn list(&self) -> Vec<Told> {
        self.locked().values().rev().cloned().collect()
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<Key, Told>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use proto::registry::v1::{EventCount, EventReport};

    use super::*;

    fn report(by: &str, day: &str, count: u64) -> Report {
        let event = EventCount { kind: "sweep".into(), department: "housing".into(), day: day.into(), count };
        let told = EventReport { at_ms: count, events: vec![event], ..EventReport::default() };
        Report { department: by.parse().unwrap(), node: "1".parse().unwrap(), told }
    }

    #[tokio::test]
    async fn what_was_told_is_kept_and_a_late_report_takes_nothing_back() {
        let dir = tempfile::tempdir().unwrap();
        let alerts = Alerts::open(dir.path()).unwrap();
        for (by, day, count) in
            [("civil-affairs", "2026-11-29", 5), ("civil-affairs", "2026-11-29", 3), ("taxation", "2026-11-30", 1)]
        {
            alerts.take(report(by, day, count)).await.unwrap();
        }
        let kept = Alerts::open(dir.path()).unwrap().list();
        let rows: Vec<_> = kept.iter().map(|told| (told.by.as_str(), told.day.as_str(), told.count)).collect();
        assert_eq!(rows, [("taxation", "2026-11-30", 1), ("civil-affairs", "2026-11-29", 5)]);
        std::fs::write(dir.path().join(FILE_NAME), b"[").unwrap();
        assert!(matches!(Alerts::open(dir.path()), Err(Error::Malformed { .. })));
    }

    #[tokio::test]
    async fn one_department_does_not_push_out_what_others_told() {
        let dir = tempfile::tempdir().unwrap();
        let alerts = Alerts::open(dir.path()).unwrap();
        alerts.take(report("taxation", "2026-01-01", 1)).await.unwrap();
        let mut many = report("civil-affairs", "2026-11-29", 1);
        let event = many.told.events[0].clone();
        many.told.events =
            (0..2_000).map(|nth| EventCount { day: format!("{:04}-01-01", 2_100 + nth), ..event.clone() }).collect();
        alerts.take(many).await.unwrap();
        let kept = alerts.list();
        assert_eq!(kept.len(), MOST_OF_ONE + 1);
        assert!(kept.iter().any(|told| told.by == "taxation"));
    }
}
