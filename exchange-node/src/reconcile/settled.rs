//! With whom all was settled after a log was closed: who gave back all it holds. What such a department does not hold was never
//! answered, so its questions of that time may be answered now. Out of scope: fetching.

use std::{collections::BTreeMap, fs, path::Path};

use host::files;
use serde::{Deserialize, Serialize};
use trust::{directory::Directory, ids::DepartmentId};

use crate::{answer::LostRange, logs::Logs};

/// The file's name in the node's folder.
const FILE_NAME: &str = "reconciled.json";

/// Who gave back all it holds, by the number of the log that is kept since.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Settled {
    /// The log that is kept now.
    log: u32,
    /// Each department with when, Unix milliseconds.
    departments: BTreeMap<String, u64>,
}

impl Settled {
    /// What is noted in the folder `dir` for the log with this number. A file that cannot be read says nothing.
    pub fn read(dir: &Path, log: u32) -> Self {
        let read = fs::read(dir.join(FILE_NAME)).ok().and_then(|text| serde_json::from_slice::<Self>(&text).ok());
        read.filter(|settled| settled.log == log).unwrap_or(Self { log, departments: BTreeMap::new() })
    }

    /// Notes that these gave back all they hold.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn add(
        dir: &Path,
        log: u32,
        departments: impl Iterator<Item = DepartmentId>,
        now_ms: u64,
    ) -> Result<(), files::Error> {
        let mut settled = Self::read(dir, log);
        settled.departments.extend(departments.map(|department| (department.to_string(), now_ms)));
        let text = serde_json::to_vec_pretty(&settled).unwrap_or_default();
        files::replace_file(&dir.join(FILE_NAME), &text, files::PRIVATE_MODE)
    }

    fn departments(&self) -> impl Iterator<Item = DepartmentId> {
        self.departments.keys().filter_map(|department| department.parse().ok())
    }
}

/// Up to when questions may have been answered by a log that lost entries; `None` where none did. An asker's clock may be
/// ahead by the skew that the profile allows.
pub fn lost_range(dir: &Path, logs: &Logs, directory: &Directory) -> Option<LostRange> {
    let closed = logs.closed.last()?;
    Some(LostRange {
        until_ms: closed.stated_at_ms.saturating_add(directory.profile().clock_skew_ms),
        reconciled: Settled::read(dir, logs.of.number).departments().collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_settled_counts_for_the_log_that_is_kept_since_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let housing: DepartmentId = "housing".parse().unwrap();
        Settled::add(dir.path(), 2, [housing.clone()].into_iter(), 7).unwrap();
        Settled::add(dir.path(), 2, ["health".parse().unwrap()].into_iter(), 8).unwrap();
        assert_eq!(Settled::read(dir.path(), 2).departments().count(), 2);
        assert_eq!(Settled::read(dir.path(), 3).departments().count(), 0);
        Settled::add(dir.path(), 3, [housing].into_iter(), 9).unwrap();
        assert_eq!(Settled::read(dir.path(), 3).departments().count(), 1);
    }
}
