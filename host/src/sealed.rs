//! A file that a program writes for itself and later takes its own word for: content, then an HMAC-SHA-256 over purpose
//! and content under a key that lies elsewhere. Whoever can write the file and not the key can make the program do its
//! work again, and nothing else.
//!
//! Content goes through in a stream, so that a file may be larger than memory. Out of scope: secrecy (nothing is
//! encrypted), and which of several sealed files is the newest: an older one passes, and its reader must go on from it.

use std::{
    fs::{self, File},
    io::{self, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use aws_lc_rs::hmac;
use zeroize::Zeroizing;

use crate::{
    files,
    random::{self, Random},
};

/// Why a sealed file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It was not written by this program, or was changed since.
    #[error("{} was not written by this program, or was changed since", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
    },
    /// The key cannot be read or made.
    #[error(transparent)]
    Key(#[from] files::Error),
    /// The operating system refused.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
}

/// The key that files are sealed with.
#[derive(Clone)]
pub struct SealKey(hmac::Key);

impl SealKey {
    /// From 32 secret bytes.
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// Reads the key of a file, or makes it where there is none. One that is lost costs the work that was saved.
    pub fn read_or_make(path: &Path, random: &dyn Random) -> Result<Self, Error> {
        if !path.exists() {
            let bytes = Zeroizing::new(random::array::<32>(random));
            files::write_private_file(path, bytes.as_slice())?;
        }
        let bytes = files::read_private_file(path)?;
        let bytes: &[u8; 32] = bytes.as_slice().try_into().map_err(|_| Error::Broken { path: path.to_owned() })?;
        Ok(Self::new(bytes))
    }

    fn begin(&self, purpose: &str) -> hmac::Context {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(purpose.as_bytes());
        context.update(b"\0");
        context
    }
}

impl std::fmt::Debug for SealKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("SealKey")
    }
}

const SEAL_BYTES: u64 = 32;
const BUFFER_BYTES: usize = 256 * 1024;

/// Writes a sealed file in place of one that may exist: whole and durable, or not at all. Blocks.
pub fn write<E: From<Error>>(
    path: &Path,
    key: &SealKey,
    purpose: &str,
    content: impl FnOnce(&mut dyn Write) -> Result<(), E>,
) -> Result<(), E> {
    let failed = |source| Error::Io { path: path.to_owned(), source };
    let temporary = path.with_extension("new");
    let written = (|| {
        let _ = fs::remove_file(&temporary);
        files::create_file(&temporary, b"", files::PRIVATE_MODE).map_err(Error::Key)?;
        let file = File::options().write(true).open(&temporary).map_err(failed)?;
        let mut sealing = Sealing { inner: BufWriter::with_capacity(BUFFER_BYTES, file), context: key.begin(purpose) };
        content(&mut sealing)?;
        let Sealing { mut inner, context } = sealing;
        inner.write_all(context.sign().as_ref()).map_err(failed)?;
        let file = inner.into_inner().map_err(|error| failed(error.into_error()))?;
        file.sync_all().map_err(failed)?;
        fs::rename(&temporary, path).map_err(failed)?;
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        }
        Ok(())
    })();
    if written.is_err() {
        // What is half written is of no use to anybody, and the error that led here says more than one about it.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Reads a sealed file; `None` where there is none. What `content` made of it is returned only if the seal is right:
/// until then nothing is known about the bytes, and `content` must bear any. Blocks.
pub fn read<T, E: From<Error>>(
    path: &Path,
    key: &SealKey,
    purpose: &str,
    content: impl FnOnce(&mut dyn Read) -> Result<T, E>,
) -> Result<Option<T>, E> {
    let failed = |source| Error::Io { path: path.to_owned(), source };
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(failed)?,
    };
    let broken = || Error::Broken { path: path.to_owned() };
    let length = file.metadata().map_err(failed)?.len().checked_sub(SEAL_BYTES).ok_or_else(broken)?;
    let mut file = BufReader::with_capacity(BUFFER_BYTES, file);
    let mut opening = Opening { inner: file.by_ref().take(length), context: key.begin(purpose) };
    let read = content(&mut opening);
    // To the end, whatever the content made of it: a broken seal is the better answer to why it made nothing of it.
    io::copy(&mut opening, &mut io::sink()).map_err(failed)?;
    let Opening { context, .. } = opening;
    let mut seal = [0; SEAL_BYTES as usize];
    file.read_exact(&mut seal).map_err(failed)?;
    let expected = context.sign();
    if aws_lc_rs::constant_time::verify_slices_are_equal(expected.as_ref(), &seal).is_err() {
        return Err(broken().into());
    }
    read.map(Some)
}

struct Sealing {
    inner: BufWriter<File>,
    context: hmac::Context,
}

impl Write for Sealing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.context.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

struct Opening<R> {
    inner: R,
    context: hmac::Context,
}

impl<R: Read> Read for Opening<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(bytes)?;
        self.context.update(&bytes[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::random::SeededRandom;

    fn text(path: &Path, key: &SealKey, purpose: &str) -> Result<Option<String>, Error> {
        read(path, key, purpose, |input| {
            let mut text = String::new();
            input.read_to_string(&mut text).map_err(|source| Error::Io { path: path.to_owned(), source })?;
            Ok(text)
        })
    }

    fn put(path: &Path, key: &SealKey, content: &str) {
        let source = |source| Error::Io { path: path.to_owned(), source };
        write(path, key, "test", |out| out.write_all(content.as_bytes()).map_err(source)).unwrap();
    }

    #[test]
    fn what_was_sealed_comes_back_and_every_changed_byte_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("view");
        let key = SealKey::new(&[7; 32]);
        assert_eq!(text(&path, &key, "test").unwrap(), None);
        put(&path, &key, "first");
        put(&path, &key, "what was verified");
        assert_eq!(text(&path, &key, "test").unwrap().as_deref(), Some("what was verified"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(text(&path, &key, "another purpose"), Err(Error::Broken { .. })));
        assert!(matches!(text(&path, &SealKey::new(&[8; 32]), "test"), Err(Error::Broken { .. })));
        let bytes = fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            fs::write(&path, &changed).unwrap();
            assert!(matches!(text(&path, &key, "test"), Err(Error::Broken { .. })), "byte {at}");
            fs::write(&path, &bytes[..at]).unwrap();
            assert!(matches!(text(&path, &key, "test"), Err(Error::Broken { .. })), "cut at {at}");
        }
    }

    #[test]
    fn a_write_that_fails_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("view");
        let key = SealKey::read_or_make(&folder.path().join("key"), &SeededRandom::new(1)).unwrap();
        let again = SealKey::read_or_make(&folder.path().join("key"), &SeededRandom::new(2)).unwrap();
        put(&path, &key, "good");
        let failed = write(&path, &key, "test", |out| {
            out.write_all(b"half").unwrap();
            Err(Error::Broken { path: path.clone() })
        });
        assert!(failed.is_err());
        assert_eq!(text(&path, &again, "test").unwrap().as_deref(), Some("good"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing half written is left");
    }
}
