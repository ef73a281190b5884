//! A log carried by hand: one tar file that holds what a log serves under the paths of C2SP `tlog-tiles`, its checkpoint
//! first (`checkpoint`), then its entries in bundles (`tile/entries/<N>[.p/<W>]`). Unpacked it is a folder that tools for
//! tiles read. A reader takes what it knows, in this order, and passes over other files.
//!
//! Out of scope: whether the entries are the checkpoint's: whoever reads recomputes the root.

use std::io::{self, Read, Write};

use super::bundle::{self, EntryBundle, MAX_ENTRY_LENGTH};
use super::note::MAX_NOTE_LENGTH;
use super::tile::{TILE_WIDTH, TileCoordinate, TilePath};

/// The path of the checkpoint.
const CHECKPOINT: &str = "checkpoint";

/// The largest bundle.
const MOST_BUNDLE_BYTES: u64 = TILE_WIDTH as u64 * (MAX_ENTRY_LENGTH as u64 + 2);

/// Why a log cannot be written to an archive or read from one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A bundle cannot be read.
    #[error("{path} in the file cannot be read: {source}")]
    Bundle {
        /// Its path.
        path: String,
        /// Why.
        source: bundle::Error,
    },
    /// The checkpoint does not come first.
    #[error("the file does not begin with a checkpoint: it is no directory that was exported")]
    CheckpointMissing,
    /// What was to be written to, or the file, fails.
    #[error("the file cannot be read or written: {0}")]
    Io(#[from] io::Error),
    /// A bundle that does not follow the one before.
    #[error("{path} does not follow the bundle before it")]
    OutOfOrder {
        /// Its path.
        path: String,
    },
    /// A checkpoint or bundle that is too long.
    #[error("{path} is too large to be true")]
    TooLarge {
        /// Its path.
        path: String,
    },
    /// Whoever takes the entries wants no more.
    #[error("{0}")]
    Unwanted(String),
}

/// The first index of the bundle that holds the entry `index`: an archive begins there.
pub fn bundle_start(index: u64) -> u64 {
    index - index % u64::from(TILE_WIDTH)
}

/// Writes a log, entry after entry.
pub struct Writer<W: Write> {
    tar: tar::Builder<W>,
    next: u64,
    waiting: Vec<Vec<u8>>,
}

impl<W: Write> Writer<W> {
    /// Begins an archive with the checkpoint and the entries from `start` on, which begins a bundle ([`bundle_start`]).
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn begin(target: W, checkpoint: &str, start: u64) -> Result<Self, Error> {
        let mut writer = Self { tar: tar::Builder::new(target), next: bundle_start(start), waiting: Vec::new() };
        writer.file(CHECKPOINT, checkpoint.as_bytes())?;
        Ok(writer)
    }

    /// Writes the next entry.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], [`Error::Bundle`] where the entry is longer than one can be.
    pub fn entry(&mut self, entry: Vec<u8>) -> Result<(), Error> {
        self.waiting.push(entry);
        if self.waiting.len() == usize::from(TILE_WIDTH) { self.bundle() } else { Ok(()) }
    }

    /// Writes what is left, and the end.
    ///
    /// # Errors
    ///
    /// As for [`Writer::entry`].
    pub fn finish(mut self) -> Result<W, Error> {
        self.bundle()?;
        Ok(self.tar.into_inner()?)
    }

    fn bundle(&mut self) -> Result<(), Error> {
        let width = u16::try_from(self.waiting.len()).unwrap_or(TILE_WIDTH);
        let index = self.next / u64::from(TILE_WIDTH);
        let Ok(coordinate) = TileCoordinate::new(0, index, width) else { return Ok(()) };
        let path = TilePath::Entries(coordinate).to_string();
        let bundle = EntryBundle::new(std::mem::take(&mut self.waiting));
        let bundle = bundle.map_err(|source| Error::Bundle { path: path.clone(), source })?;
        self.next += u64::from(width);
        self.file(&path, &bundle.encode())
    }

    fn file(&mut self, path: &str, bytes: &[u8]) -> Result<(), Error> {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        // Nothing of the machine it was made on, so that the same log is the same file.
        header.set_mtime(0);
        Ok(self.tar.append_data(&mut header, path, bytes)?)
    }
}

/// Reads an archive: the checkpoint, as it stands there, is returned; each entry goes to `take` with its index, in order.
///
/// # Errors
///
/// [`Error`]; what `take` refuses as [`Error::Unwanted`].
pub fn read(source: impl Read, mut take: impl FnMut(u64, Vec<u8>) -> Result<(), String>) -> Result<String, Error> {
    let mut archive = tar::Archive::new(source);
    let mut checkpoint = None;
    let mut next = None;
    for file in archive.entries()? {
        let mut file = file?;
        if !file.header().entry_type().is_file() {
            continue;
        }
        let path = String::from_utf8_lossy(&file.path_bytes()).into_owned();
        let path = path.strip_prefix("./").unwrap_or(&path).to_owned();
        if path == CHECKPOINT && checkpoint.is_none() {
            let bytes = limited(&mut file, &path, MAX_NOTE_LENGTH as u64)?;
            checkpoint = Some(String::from_utf8_lossy(&bytes).into_owned());
            continue;
        }
        let Ok(TilePath::Entries(coordinate)) = path.parse() else { continue };
        if checkpoint.is_none() {
            return Err(Error::CheckpointMissing);
        }
        let first = coordinate.index().saturating_mul(u64::from(TILE_WIDTH));
        if next.is_some_and(|next| next != first) {
            return Err(Error::OutOfOrder { path });
        }
        let bytes = limited(&mut file, &path, MOST_BUNDLE_BYTES)?;
        let bundle = EntryBundle::decode(&bytes, coordinate.width());
        let bundle = bundle.map_err(|source| Error::Bundle { path: path.clone(), source })?;
        for (index, entry) in (first..).zip(bundle.into_entries()) {
            take(index, entry).map_err(Error::Unwanted)?;
        }
        next = Some(first + u64::from(coordinate.width()));
    }
    checkpoint.ok_or(Error::CheckpointMissing)
}

fn limited(file: &mut impl Read, path: &str, most: u64) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(Error::TooLarge { path: path.to_owned() });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(count: u64) -> Vec<Vec<u8>> {
        (0..count).map(|number| number.to_be_bytes().to_vec()).collect()
    }

    fn written(start: u64, count: u64) -> Vec<u8> {
        let mut writer = Writer::begin(Vec::new(), "the checkpoint\n", start).unwrap();
        for entry in entries(start + count).split_off(usize::try_from(start).unwrap()) {
            writer.entry(entry).unwrap();
        }
        writer.finish().unwrap()
    }

    type ReadBack = (String, Vec<(u64, Vec<u8>)>);

    fn read_back(bytes: &[u8]) -> Result<ReadBack, Error> {
        let mut taken = Vec::new();
        let checkpoint = read(bytes, |index, entry| {
            taken.push((index, entry));
            Ok(())
        })?;
        Ok((checkpoint, taken))
    }

    #[test]
    fn what_is_written_is_read_whatever_its_length() {
        for count in [0, 1, 255, 256, 257, 700] {
            let (checkpoint, taken) = read_back(&written(0, count)).unwrap();
            assert_eq!(checkpoint, "the checkpoint\n");
            assert_eq!(taken, (0..).zip(entries(count)).collect::<Vec<_>>(), "{count}");
        }
        let (_, taken) = read_back(&written(512, 300)).unwrap();
        assert_eq!((taken[0].0, taken.len()), (512, 300));
        assert_eq!((bundle_start(0), bundle_start(255), bundle_start(513)), (0, 0, 512));
        assert_eq!(written(0, 300), written(0, 300), "the same log is the same file");
    }

    #[test]
    fn unpacked_it_is_what_a_log_serves() {
        let folder: Vec<String> = tar::Archive::new(written(0, 300).as_slice())
            .entries()
            .unwrap()
            .map(|file| file.unwrap().path().unwrap().display().to_string())
            .collect();
        assert_eq!(folder, ["checkpoint", "tile/entries/000", "tile/entries/001.p/44"]);
    }

    #[test]
    fn what_is_no_archive_of_a_log_is_refused() {
        assert!(read_back(b"").is_err());
        assert!(read_back(&[7; 2000]).is_err());
        let whole = written(0, 300);
        assert!(read_back(&whole[..700]).is_err(), "cut off");
        // A bundle is left out, and one that says more than it holds.
        let mut writer = tar::Builder::new(Vec::new());
        let mut add = |path: &str, bytes: &[u8]| {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            writer.append_data(&mut header, path, bytes).unwrap();
        };
        add("checkpoint", b"x");
        add("tile/entries/000.p/1", &EntryBundle::new(entries(1)).unwrap().encode());
        add("readme", b"passed over");
        add("tile/entries/001.p/1", &EntryBundle::new(entries(1)).unwrap().encode());
        assert!(matches!(read_back(&writer.into_inner().unwrap()), Err(Error::OutOfOrder { .. })));
        let mut writer = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(1);
        writer.append_data(&mut header, "tile/entries/000.p/1", &b"x"[..]).unwrap();
        assert!(matches!(read_back(&writer.into_inner().unwrap()), Err(Error::CheckpointMissing)));
        let refused = read(written(0, 3).as_slice(), |_, _| Err("enough".to_owned()));
        assert!(matches!(refused, Err(Error::Unwanted(reason)) if reason == "enough"));
    }
}
