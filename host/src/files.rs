//! Files that are either whole or absent, and files that nobody else can read.
//!
//! Everything written here goes to a temporary file in the same folder, is synced, and is then renamed; afterwards the
//! folder is synced too. A crash at any moment leaves the old file or the new one. Out of scope: what the files say.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// A file that only its owner can read and write.
pub const PRIVATE_MODE: u32 = 0o600;
/// A file that everybody can read.
pub const PUBLIC_MODE: u32 = 0o644;

/// What can be wrong with a file or folder. Each sentence names it and says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is a file of that name already, and it would have been overwritten.
    #[error("{} exists already: nothing was changed", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A folder of secrets that others may enter.
    #[error("folder {} can be entered by others (mode {mode:04o}): run chmod 700 {}", path.display(), path.display())]
    FolderOpenToOthers {
        /// The folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The operating system refused.
    #[error("{} {}: {source}", doing, path.display())]
    Io {
        /// What was being done, such as "cannot read".
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A folder was expected.
    #[error("{} is not a folder", path.display())]
    NotAFolder {
        /// What stands there instead.
        path: PathBuf,
    },
    /// A secret file that belongs to somebody else.
    #[error("key file {} belongs to another user (id {owner}): run chown to give it to the user this program runs as", path.display())]
    OwnedByAnother {
        /// The file.
        path: PathBuf,
        /// The owner's user id.
        owner: u32,
    },
    /// A secret file that others may read.
    #[error("key file {} can be read by others (mode {mode:04o}): run chmod 600 {}", path.display(), path.display())]
    ReadableByOthers {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

/// Reads a secret file, and refuses one that anybody but its owner could have read. The bytes are erased when dropped.
pub fn read_private_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, Error> {
    let mut file = File::open(path).map_err(failed("cannot read key file", path))?;
    // Of the open file, not of the name: nobody can swap it in between.
    let metadata = file.metadata().map_err(failed("cannot read key file", path))?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(Error::ReadableByOthers { path: path.to_owned(), mode });
    }
    if !is_own(metadata.uid(), rustix::process::geteuid().as_raw()) {
        return Err(Error::OwnedByAnother { path: path.to_owned(), owner: metadata.uid() });
    }
    // Room for all of it at once: a vector that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0) + 1));
    io::Read::read_to_end(&mut file, &mut bytes).map_err(failed("cannot read key file", path))?;
    Ok(bytes)
}

/// Writes a new secret file (mode 0600). A file that exists is never overwritten: a lost key cannot be made again.
pub fn write_private_file(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    create_file(path, bytes, PRIVATE_MODE)
}

/// Writes a new file with the permission bits `mode`; refuses when there is one of that name.
pub fn create_file(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    let temporary = write_temporary(path, bytes, mode)?;
    let renamed = rustix::fs::renameat_with(
        rustix::fs::CWD,
        &temporary,
        rustix::fs::CWD,
        path,
        rustix::fs::RenameFlags::NOREPLACE,
    );
    finish(path, &temporary, renamed.map_err(io::Error::from))
}

/// Writes a file with the permission bits `mode`, in place of one that may exist.
pub fn replace_file(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    let temporary = write_temporary(path, bytes, mode)?;
    let renamed = fs::rename(&temporary, path);
    finish(path, &temporary, renamed)
}

/// Makes sure that the folder `path` exists and that only its owner can enter it (mode 0700). One that is missing is
/// made, with its parents; one that others can enter is refused, not changed.
pub fn private_folder(path: &Path) -> Result<(), Error> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Error::NotAFolder { path: path.to_owned() },
        _ => failed("cannot make the folder", path)(error),
    })?;
    let metadata = fs::metadata(path).map_err(failed("cannot look at the folder", path))?;
    if !metadata.is_dir() {
        return Err(Error::NotAFolder { path: path.to_owned() });
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(Error::FolderOpenToOthers { path: path.to_owned(), mode });
    }
    Ok(())
}

/// Whether a secret of `owner` may be used by the user `me`: root may use anybody's.
fn is_own(owner: u32, me: u32) -> bool {
    owner == me || me == 0
}

fn write_temporary(path: &Path, bytes: &[u8], mode: u32) -> Result<PathBuf, Error> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let temporary = path.with_file_name(name);
    // One that a crashed process of the same id left behind.
    let _ = fs::remove_file(&temporary);
    let written = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary).and_then(|mut file| {
        // The umask may have taken bits away from the mode given at creation.
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.write_all(bytes)?;
        file.sync_all()
    });
    match written {
        Ok(()) => Ok(temporary),
        Err(source) => {
            let _ = fs::remove_file(&temporary);
            Err(failed("cannot write", path)(source))
        }
    }
}

fn finish(path: &Path, temporary: &Path, renamed: io::Result<()>) -> Result<(), Error> {
    if let Err(source) = renamed {
        let _ = fs::remove_file(temporary);
        return Err(match source.kind() {
            io::ErrorKind::AlreadyExists => Error::Exists { path: path.to_owned() },
            _ => failed("cannot write", path)(source),
        });
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("cannot sync the folder of", path))
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { doing, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_private_file_is_written_once_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.key");
        write_private_file(&path, b"secret").unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(read_private_file(&path).unwrap().as_slice(), b"secret");

        let error = write_private_file(&path, b"other").unwrap_err();
        assert!(matches!(error, Error::Exists { .. }), "{error:?}");
        assert_eq!(fs::read(&path).unwrap(), b"secret");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file stays behind");
    }

    #[test]
    fn a_key_file_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.key");
        fs::write(&path, "secret").unwrap();
        for bits in [0o644, 0o640, 0o604, 0o620] {
            fs::set_permissions(&path, fs::Permissions::from_mode(bits)).unwrap();
            let error = read_private_file(&path).unwrap_err().to_string();
            let path = path.display();
            assert_eq!(error, format!("key file {path} can be read by others (mode {bits:04o}): run chmod 600 {path}"));
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        assert!(read_private_file(&path).is_ok());
    }

    #[test]
    fn anothers_key_file_is_refused_except_by_root() {
        assert!(is_own(1000, 1000) && is_own(1000, 0));
        assert!(!is_own(1001, 1000) && !is_own(0, 1000));
    }

    #[test]
    fn a_missing_key_file_names_itself() {
        let error = read_private_file(Path::new("nowhere/node.key")).unwrap_err().to_string();
        assert!(error.starts_with("cannot read key file nowhere/node.key: "), "{error}");
    }

    #[test]
    fn replacing_changes_the_file_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.toml");
        replace_file(&path, b"first", PUBLIC_MODE).unwrap();
        replace_file(&path, b"second", PRIVATE_MODE).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_private_folder_is_made_or_checked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        private_folder(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
        private_folder(&path).unwrap();

        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let error = private_folder(&path).unwrap_err().to_string();
        assert!(error.contains("(mode 0755): run chmod 700 "), "{error}");
        assert_eq!(mode(&path), 0o755, "refused, not changed");

        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(matches!(private_folder(&file).unwrap_err(), Error::NotAFolder { .. }));
    }
}
