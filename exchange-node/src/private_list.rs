//! A short list that stands in one private file of the node's folder, as an array of TOML tables: read whole at the start,
//! written whole with each change, and changed in memory only once it is durable. Out of scope: what stands in it
//! (`office_keys`, `webhooks`, `pending`).

use std::{
    collections::BTreeMap,
    fmt, io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use host::files;
use serde::{Serialize, de::DeserializeOwned};

/// Why a list cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be read or written, or others can read it.
    #[error(transparent)]
    File(#[from] files::Error),
    /// The file is not what was written.
    #[error(transparent)]
    Malformed(#[from] host::config::Error),
    /// The list cannot be written as TOML.
    #[error("{} cannot be written: {source}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: toml::ser::Error,
    },
}

/// The list, with the name of its tables.
pub struct PrivateList<T> {
    path: PathBuf,
    table: &'static str,
    rows: Mutex<Vec<T>>,
}

impl<T: Clone + DeserializeOwned + Serialize> PrivateList<T> {
    /// Reads the list; an empty one where there is no file.
    ///
    /// # Errors
    /// The file cannot be read, others can read it, or it is no such list.
    pub fn open(path: PathBuf, table: &'static str) -> Result<Self, Error> {
        let mut stored = match files::read_private_file(&path) {
            Ok(bytes) => read::<T>(&String::from_utf8_lossy(&bytes), &path)?,
            Err(files::Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error.into()),
        };
        let rows = stored.remove(table).unwrap_or_default();
        if let Some(unknown) = stored.into_keys().next() {
            let reason = format!("unknown field `{unknown}`, expected `{table}`");
            return Err(host::config::Error::Invalid { path, line: 1, field: Some(unknown), reason }.into());
        }
        Ok(Self { path, table, rows: Mutex::new(rows) })
    }

    /// All rows, in the order in which they were added.
    pub fn all(&self) -> Vec<T> {
        self.locked().clone()
    }

    /// The first row that is looked for.
    pub fn find(&self, is_it: impl Fn(&T) -> bool) -> Option<T> {
        self.locked().iter().find(|row| is_it(row)).cloned()
    }

    /// Changes the list: durable first, and then in memory. Where `change` fails nothing is changed.
    ///
    /// # Errors
    /// `change` says why, or the list cannot be written.
    pub fn change<R, E: From<Error>>(&self, change: impl FnOnce(&mut Vec<T>) -> Result<R, E>) -> Result<R, E> {
        let mut rows = self.locked();
        let mut changed = rows.clone();
        let result = change(&mut changed)?;
        self.write(&changed)?;
        *rows = changed;
        Ok(result)
    }

    fn write(&self, rows: &[T]) -> Result<(), Error> {
        let text = toml::to_string(&BTreeMap::from([(self.table, rows)]));
        let text = text.map_err(|source| Error::Unwritable { path: self.path.clone(), source })?;
        Ok(files::replace_file(&self.path, text.as_bytes(), files::PRIVATE_MODE)?)
    }

    fn locked(&self) -> MutexGuard<'_, Vec<T>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read<T: DeserializeOwned>(text: &str, path: &Path) -> Result<BTreeMap<String, Vec<T>>, host::config::Error> {
    host::config::parse(text, path)
}

/// How many there are: the rows may hold secrets.
impl<T> fmt::Debug for PrivateList<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.rows.lock().unwrap_or_else(PoisonError::into_inner).len();
        formatter.debug_struct("PrivateList").field("table", &self.table).field("count", &count).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    fn list(dir: &Path) -> Result<PrivateList<BTreeMap<String, String>>, Error> {
        PrivateList::open(dir.join("list.toml"), "row")
    }

    fn row(name: &str) -> BTreeMap<String, String> {
        BTreeMap::from([("name".to_owned(), name.to_owned())])
    }

    fn add(list: &PrivateList<BTreeMap<String, String>>, name: &str) {
        let added = list.change(|rows| {
            rows.push(row(name));
            Ok::<_, Error>(())
        });
        added.unwrap();
    }

    #[test]
    fn a_list_is_kept_and_a_change_that_fails_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let kept = list(dir.path()).unwrap();
        for name in ["one", "two"] {
            add(&kept, name);
        }
        let failed = kept.change(|rows| {
            rows.clear();
            Err::<(), _>(Error::File(files::read_private_file(Path::new("nowhere")).unwrap_err()))
        });
        assert!(failed.is_err());
        assert_eq!(kept.all(), [row("one"), row("two")]);
        let again = list(dir.path()).unwrap();
        assert_eq!(again.all(), kept.all());
        assert_eq!(again.find(|row| row["name"] == "two"), Some(row("two")));
        assert!(!format!("{again:?}").contains("two"));
        let mode = fs::metadata(dir.path().join("list.toml")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, files::PRIVATE_MODE);
    }

    #[test]
    fn a_file_that_others_can_read_or_that_says_something_else_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        add(&list(dir.path()).unwrap(), "one");
        let path = dir.path().join("list.toml");
        files::replace_file(&path, b"[[column]]\nname = \"one\"\n", files::PRIVATE_MODE).unwrap();
        let error = list(dir.path()).unwrap_err().to_string();
        assert!(error.contains("unknown field `column`"), "{error}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(list(dir.path()), Err(Error::File(_))));
    }
}
