//! What a program has worked out and puts down for its next start, in a sealed file: a shortcut that is taken only where
//! its own seal is on it, and otherwise the work is done again. It is written again once enough was added to be worth its
//! while. Out of scope: what stands in it, and whether it still fits what lies beside it, which its reader checks.

use std::{
    io::{Read, Write},
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{
    random::Random,
    sealed::{self, Error, SealKey},
};

/// A file that is put down now and then.
#[derive(Debug)]
pub struct PutDown {
    path: PathBuf,
    key: SealKey,
    purpose: &'static str,
    /// Below so many new ones it is not worth its while.
    fewest: u64,
    /// The size of the latest one.
    latest: AtomicU64,
}

impl PutDown {
    /// The file `path`, sealed for `purpose` with the key of the file `key`, which is made where there is none. It is due
    /// after `fewest` more, or after one in fifty where that is more.
    pub fn new(
        path: PathBuf,
        key: &std::path::Path,
        purpose: &'static str,
        fewest: u64,
        random: &dyn Random,
    ) -> Result<Self, Error> {
        let key = SealKey::read_or_make(key, random)?;
        Ok(Self { path, key, purpose, fewest, latest: AtomicU64::new(0) })
    }

    /// What was put down; `None` where there is nothing. Blocks.
    pub fn read<T, E: From<Error>>(&self, content: impl FnOnce(&mut dyn Read) -> Result<T, E>) -> Result<Option<T>, E> {
        sealed::read(&self.path, &self.key, self.purpose, content)
    }

    /// Puts down work of this size, in place of what was there. Blocks.
    pub fn write<E: From<Error>>(
        &self,
        size: u64,
        content: impl FnOnce(&mut dyn Write) -> Result<(), E>,
    ) -> Result<(), E> {
        sealed::write(&self.path, &self.key, self.purpose, content)?;
        self.covers(size);
        Ok(())
    }

    /// Notes that what lies there is of this size.
    pub fn covers(&self, size: u64) {
        self.latest.store(size, Ordering::Release);
    }

    /// Whether so much was added that it is worth putting down again.
    pub fn is_due(&self, size: u64) -> bool {
        let latest = self.latest.load(Ordering::Acquire);
        size >= latest + self.fewest.max(latest / 50)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SeededRandom;

    #[test]
    fn what_was_put_down_is_read_and_due_again_when_it_has_grown() {
        let dir = tempfile::tempdir().unwrap();
        let (path, key) = (dir.path().join("work"), dir.path().join("work.key"));
        let put_down = PutDown::new(path, &key, "work v1", 100, &SeededRandom::new(1)).unwrap();
        let read = |put_down: &PutDown| {
            put_down.read(|input| {
                let mut text = String::new();
                input.read_to_string(&mut text).map_err(|source| Error::Io { path: "work".into(), source })?;
                Ok::<_, Error>(text)
            })
        };
        assert_eq!(read(&put_down).unwrap(), None);
        assert!(!put_down.is_due(99) && put_down.is_due(100));
        let text =
            |out: &mut dyn Write| out.write_all(b"done").map_err(|source| Error::Io { path: "work".into(), source });
        put_down.write(100_000, text).unwrap();
        assert_eq!(read(&put_down).unwrap().as_deref(), Some("done"));
        assert!(!put_down.is_due(101_999) && put_down.is_due(102_000));
        std::fs::write(dir.path().join("work"), [7; 64]).unwrap();
        assert!(matches!(read(&put_down), Err(Error::Broken { .. })));
    }
}
