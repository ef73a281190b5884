//! `ready.json`: how scripts and tests learn that a program has started, and at which addresses.
//!
//! The program binds its ports (port 0 as well), writes the file in one go, and removes it when it stops. Whoever starts
//! the program waits for the file, not for a number of seconds. Out of scope: whether the program is ready to answer,
//! which is [`crate::readiness`]'s and changes while it runs.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::files;

/// The file's name in the program's folder.
pub const FILE_NAME: &str = "ready.json";

/// The ready file could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file could not be written.
    #[error(transparent)]
    File(#[from] files::Error),
    /// What it should say is not JSON.
    #[error("the ready file's content cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// The written file; dropping it removes it.
#[derive(Debug)]
pub struct ReadyFile {
    path: PathBuf,
}

impl ReadyFile {
    /// Removes what a killed process left behind. Call it before binding anything, so that a stale file is never taken
    /// for a new one.
    pub fn remove_stale(folder: &Path) {
        let _ = fs::remove_file(folder.join(FILE_NAME));
    }

    /// Writes `content` to `ready.json` in `folder`.
    pub fn write(folder: &Path, content: &impl Serialize) -> Result<Self, Error> {
        let path = folder.join(FILE_NAME);
        let mut text = serde_json::to_vec_pretty(content)?;
        text.push(b'\n');
        files::replace_file(&path, &text, files::PUBLIC_MODE)?;
        Ok(Self { path })
    }
}

impl Drop for ReadyFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_lives_as_long_as_its_handle() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ready.json");
        fs::write(&path, "stale").unwrap();
        ReadyFile::remove_stale(folder.path());
        assert!(!path.exists());

        let ready = ReadyFile::write(folder.path(), &serde_json::json!({"peer": "127.0.0.1:7443"})).unwrap();
        let read: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(read["peer"], "127.0.0.1:7443");
        drop(ready);
        assert!(!path.exists());
    }
}
