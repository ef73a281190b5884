//! Where the built programs are. Out of scope: building them (`examples/demo.sh`, `tests/run.sh`).

use std::{
    env,
    path::{Path, PathBuf},
};

use super::Error;

/// The environment variable that names the folder of the built programs.
pub const VARIABLE: &str = "ERRAND_PROGRAMS";

/// The built programs.
#[derive(Clone, Debug)]
pub struct Programs {
    dir: PathBuf,
}

impl Programs {
    /// The programs in the folder `dir`.
    ///
    /// # Errors
    /// [`Error::ProgramMissing`] where one of them is not there.
    pub fn in_dir(dir: impl Into<PathBuf>) -> Result<Self, Error> {
        let dir = dir.into();
        match [REGISTRY, EXCHANGE_NODE].into_iter().find(|name| !dir.join(name).is_file()) {
            Some(program) => Err(Error::ProgramMissing { program, dir }),
            None => Ok(Self { dir: std::path::absolute(&dir).unwrap_or(dir) }),
        }
    }

    /// The programs in the folder that [`VARIABLE`] names; without it, those beside the running executable (which for a
    /// test is two folders deep in cargo's target folder), or in `target/release`.
    ///
    /// # Errors
    /// [`Error::ProgramMissing`] where none of these holds them.
    pub fn find() -> Result<Self, Error> {
        if let Some(dir) = env::var_os(VARIABLE) {
            return Self::in_dir(dir);
        }
        let executable = env::current_exe().ok();
        let beside = executable.as_deref().and_then(Path::parent);
        let above = beside.and_then(Path::parent);
        let release = Path::new("target/release");
        let found = [beside, above].into_iter().flatten().find_map(|dir| Self::in_dir(dir).ok());
        found.map_or_else(|| Self::in_dir(release), Ok)
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The registry.
    #[must_use]
    pub fn registry(&self) -> PathBuf {
        self.dir.join(REGISTRY)
    }

    /// The exchange node.
    #[must_use]
    pub fn exchange_node(&self) -> PathBuf {
        self.dir.join(EXCHANGE_NODE)
    }
}

const REGISTRY: &str = "registry";
const EXCHANGE_NODE: &str = "exchange-node";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_the_programs_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(REGISTRY), "").unwrap();
        let error = Programs::in_dir(dir.path()).unwrap_err().to_string();
        assert!(error.contains(EXCHANGE_NODE) && error.contains(VARIABLE), "{error}");
        std::fs::write(dir.path().join(EXCHANGE_NODE), "").unwrap();
        assert_eq!(Programs::in_dir(dir.path()).unwrap().registry(), dir.path().join(REGISTRY));
    }
}
