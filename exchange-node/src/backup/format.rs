//! The file of a backup: a line that says what it is, then frames, each a kind, a length and its bytes, and at the end a
//! SHA-256 over everything before. Out of scope: what stands in the frames.
//!
//! | kind | bytes |
//! |---|---|
//! | `m` | the manifest, JSON; the first frame |
//! | `f` | a file begins: its path in the node's folder |
//! | `d` | bytes of the file |
//! | `s` | a database begins: its path in the node's folder |
//! | `p` | pairs of the database: each the lengths of key (2 bytes) and value (4), then both |
//! | `l` | an evidence log is whole: its number, size and root, JSON |
//! | `e` | the end: SHA-256 over all bytes before this frame |

use std::io::{self, Read, Write};

use sha2::{Digest as _, Sha256};

/// The first line.
const MAGIC: &[u8] = b"errand node backup v1\n";

/// The longest frame, in bytes: pairs are gathered up to a quarter of it, and a pair has a few thousand.
const LONGEST_FRAME: usize = 1024 * 1024;

/// How many bytes of pairs or of a file go into a frame.
pub(super) const PIECE: usize = 256 * 1024;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    End,
    File,
    Log,
    Manifest,
    Pairs,
    Store,
}

const KINDS: [(u8, Kind); 7] = [
    (b'd', Kind::Data),
    (b'e', Kind::End),
    (b'f', Kind::File),
    (b'l', Kind::Log),
    (b'm', Kind::Manifest),
    (b'p', Kind::Pairs),
    (b's', Kind::Store),
];

/// Writes a backup.
pub(super) struct FrameWriter<W> {
    target: W,
    hash: Sha256,
}

impl<W: Write> FrameWriter<W> {
    pub(super) fn begin(target: W) -> io::Result<Self> {
        let mut writer = Self { target, hash: Sha256::new() };
        writer.put(MAGIC)?;
        Ok(writer)
    }

    pub(super) fn frame(&mut self, kind: Kind, bytes: &[u8]) -> io::Result<()> {
        let letter = KINDS.iter().find(|(_, known)| *known == kind).map_or(b'd', |(letter, _)| *letter);
        let length = u32::try_from(bytes.len()).ok().filter(|_| bytes.len() <= LONGEST_FRAME);
        let length = length.ok_or_else(|| io::Error::other("a piece of the backup is too long"))?;
        self.put(&[letter])?;
        self.put(&length.to_be_bytes())?;
        self.put(bytes)
    }

    pub(super) fn finish(mut self) -> io::Result<()> {
        let digest: [u8; 32] = self.hash.clone().finalize().into();
        self.frame(Kind::End, &digest)?;
        self.target.flush()
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.target.write_all(bytes)
    }
}

/// Reads a backup frame by frame.
pub(super) struct FrameReader<R> {
    source: R,
    hash: Sha256,
}

/// Why the bytes are no backup, or not the one that was written.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("it is no backup")]
    NoBackup,
    #[error("it ends before its end")]
    CutOff,
    #[error("it is not as it was written")]
    Changed,
    #[error("it cannot be read: {0}")]
    Unreadable(io::Error),
}

impl<R: Read> FrameReader<R> {
    pub(super) fn begin(source: R) -> Result<Self, Fault> {
        let mut reader = Self { source, hash: Sha256::new() };
        let mut magic = vec![0; MAGIC.len()];
        match reader.take(&mut magic) {
            Ok(()) if magic == MAGIC => Ok(reader),
            Ok(()) | Err(Fault::CutOff) => Err(Fault::NoBackup),
            Err(fault) => Err(fault),
        }
    }

    /// The next frame; `None` after the end, whose digest fits.
    pub(super) fn next(&mut self) -> Result<Option<(Kind, Vec<u8>)>, Fault> {
        let before = self.hash.clone();
        let mut head = [0; 5];
        self.take(&mut head)?;
        let [letter, length @ ..] = head;
        let kind = KINDS.iter().find(|(known, _)| *known == letter).map(|(_, kind)| *kind).ok_or(Fault::Changed)?;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > LONGEST_FRAME {
            return Err(Fault::Changed);
        }
        let mut bytes = vec![0; length];
        self.take(&mut bytes)?;
        if kind != Kind::End {
            return Ok(Some((kind, bytes)));
        }
        let digest: [u8; 32] = before.finalize().into();
        let mut more = [0];
        let ends = matches!(self.source.read(&mut more), Ok(0));
        if bytes == digest && ends { Ok(None) } else { Err(Fault::Changed) }
    }

    fn take(&mut self, bytes: &mut [u8]) -> Result<(), Fault> {
        self.source.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Fault::CutOff,
            _ => Fault::Unreadable(error),
        })?;
        self.hash.update(&bytes);
        Ok(())
    }
}

/// Adds a pair to those of a frame.
pub(super) fn put_pair(frame: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    // Keys are short, and values below 4 KiB or so.
    frame.extend_from_slice(&u16::try_from(key.len()).unwrap_or(u16::MAX).to_be_bytes());
    frame.extend_from_slice(&u32::try_from(value.len()).unwrap_or(u32::MAX).to_be_bytes());
    frame.extend_from_slice(key);
    frame.extend_from_slice(value);
}

/// A key with its value.
type Pair<'a> = (&'a [u8], &'a [u8]);

/// The pairs of a frame.
pub(super) fn pairs(mut frame: &[u8]) -> Result<Vec<Pair<'_>>, Fault> {
    let mut pairs = Vec::new();
    while !frame.is_empty() {
        let (key_length, rest) = frame.split_first_chunk::<2>().ok_or(Fault::Changed)?;
        let (value_length, rest) = rest.split_first_chunk::<4>().ok_or(Fault::Changed)?;
        let key_length = usize::from(u16::from_be_bytes(*key_length));
        let value_length = usize::try_from(u32::from_be_bytes(*value_length)).map_err(|_| Fault::Changed)?;
        let (key, rest) = rest.split_at_checked(key_length).ok_or(Fault::Changed)?;
        let (value, rest) = rest.split_at_checked(value_length).ok_or(Fault::Changed)?;
        pairs.push((key, value));
        frame = rest;
    }
    Ok(pairs)
}
