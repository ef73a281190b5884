//! C2SP `tlog-checkpoint`: what a log says of itself, as a signed note: its origin, its size, its root.
//!
//! The logs here sign every checkpoint twice with the same key: plainly, for every tool that reads checkpoints, and as a
//! `cosignature/v1`, which alone bears the time. [`open`] asks for both.
//!
//! Out of scope: how old a checkpoint may be, and whether it is consistent with the one before.

use super::cosignature::{cosign, verify_cosignature};
use super::hash::{self, Hash, empty_root};
use super::note::key::{self, Algorithm, KeyName, NoteKey};
use super::note::{self, Signature, SignedNote};
use super::tile::parse_decimal;

/// The state of a log: how many entries it has, and the root of the tree over them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    origin: String,
    size: u64,
    root: Hash,
    extensions: Vec<String>,
}

impl Checkpoint {
    /// The checkpoint of the log `origin` at `size` entries.
    ///
    /// # Errors
    ///
    /// [`Error::RootOfEmptyTree`].
    pub fn new(origin: &KeyName, size: u64, root: Hash) -> Result<Self, Error> {
        Self { origin: origin.to_string(), size, root, extensions: Vec::new() }.checked()
    }

    /// The same with extension lines below. The specification advises against them: nothing about a log proves them.
    ///
    /// # Errors
    ///
    /// [`Error::MalformedLine`] if one is empty or has a control character.
    pub fn with_extensions(mut self, extensions: Vec<String>) -> Result<Self, Error> {
        self.extensions = extensions;
        self.checked()
    }

    /// Reads the text of a checkpoint, without signatures. Writing what was read gives the same text again.
    ///
    /// # Errors
    ///
    /// Each of [`Error`] that is about a line.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut lines = text.strip_suffix('\n').ok_or(Error::MissingLine)?.split('\n');
        let origin = lines.next().ok_or(Error::MissingLine)?.to_owned();
        let size = lines.next().ok_or(Error::MissingLine)?;
        let size = parse_decimal(size).ok_or(Error::MalformedSize)?;
        let root = Hash::from_base64(lines.next().ok_or(Error::MissingLine)?).map_err(Error::MalformedRoot)?;
        let extensions = lines.map(str::to_owned).collect();
        Self { origin, size, root, extensions }.checked()
    }

    fn checked(self) -> Result<Self, Error> {
        let is_well_formed = |line: &str| !line.is_empty() && line.bytes().all(|byte| byte >= 0x20);
        if !is_well_formed(&self.origin) || !self.extensions.iter().all(|line| is_well_formed(line)) {
            return Err(Error::MalformedLine);
        }
        if self.size == 0 && self.root != empty_root() {
            return Err(Error::RootOfEmptyTree);
        }
        Ok(self)
    }

    /// Which log: unique, and the same for ever.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// How many entries the log has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The root of the tree over them.
    pub fn root(&self) -> Hash {
        self.root
    }

    /// The extension lines: as a rule there are none.
    pub fn extensions(&self) -> &[String] {
        &self.extensions
    }

    /// The text that is signed.
    pub fn to_text(&self) -> String {
        let mut text = format!("{}\n{}\n{}\n", self.origin, self.size, self.root.to_base64());
        for line in &self.extensions {
            text.push_str(line);
            text.push('\n');
        }
        text
    }
}

/// The public key of a log, in its two uses. Its name is the origin of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogKey {
    plain: NoteKey,
    cosigning: NoteKey,
}

impl LogKey {
    /// The key of the log `origin`.
    ///
    /// # Errors
    ///
    /// [`key::Error::NotAPublicKey`].
    pub fn new(origin: KeyName, public_key: &[u8; 32]) -> Result<Self, key::Error> {
        Ok(Self {
            plain: NoteKey::new(origin.clone(), Algorithm::Ed25519, public_key)?,
            cosigning: NoteKey::new(origin, Algorithm::CosignatureV1, public_key)?,
        })
    }

    /// The origin of the log.
    pub fn origin(&self) -> &KeyName {
        self.plain.name()
    }

    /// The key of the plain signature: the one to give to other tools.
    pub fn plain(&self) -> &NoteKey {
        &self.plain
    }

    /// The key of the signature that bears the time.
    pub fn cosigning(&self) -> &NoteKey {
        &self.cosigning
    }
}

/// A checkpoint whose log was found to have signed it, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedCheckpoint {
    checkpoint: Checkpoint,
    time_seconds: u64,
    note: SignedNote,
}

impl VerifiedCheckpoint {
    /// The checkpoint.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// When the log signed it, in seconds after 1970.
    pub fn time_seconds(&self) -> u64 {
        self.time_seconds
    }

    /// The note as it came, with the signatures of others too, none of which has been verified.
    pub fn note(&self) -> &SignedNote {
        &self.note
    }

    /// Verifies the cosignature of a witness, and gives its time in seconds after 1970.
    ///
    /// # Errors
    ///
    /// As for [`verify_cosignature`].
    pub fn verify_cosignature(&self, witness: &NoteKey) -> Result<u64, note::Error> {
        verify_cosignature(&self.note, witness)
    }

    /// Cosigns as a witness, which must have found that its last checkpoint of this log is consistent with this one.
    ///
    /// # Errors
    ///
    /// As for [`cosign`].
    pub fn cosign(
        &self,
        witness: &NoteKey,
        time_seconds: u64,
        signer: impl FnOnce(&[u8]) -> [u8; 64],
    ) -> Result<Signature, note::Error> {
        cosign(self.note.text(), witness, time_seconds, signer)
    }
}

/// Signs a checkpoint as its log: plainly, and as a cosignature as of `time_seconds` after 1970. `signer` is called
/// once for each, with the message to sign.
///
/// A log never signs two checkpoints of which one does not begin with the other: it is for the caller to see to that.
///
/// # Errors
///
/// [`Error::OriginMismatch`] if the key is another log's, [`Error::Note`] if the time is out of range.
pub fn sign(
    checkpoint: &Checkpoint,
    key: &LogKey,
    time_seconds: u64,
    mut signer: impl FnMut(&[u8]) -> [u8; 64],
) -> Result<String, Error> {
    check_origin(checkpoint, key)?;
    let mut note = SignedNote::new(checkpoint.to_text())?;
    let plain = Signature::sign(&key.plain, note.text(), &mut signer)?;
    let cosignature = cosign(note.text(), &key.cosigning, time_seconds, &mut signer)?;
    note.add_signature(plain)?;
    note.add_signature(cosignature)?;
    Ok(note.to_string())
}

/// Adds the two signatures of another key of the same log: while a log's key changes its checkpoints bear those of both.
///
/// # Errors
///
/// As for [`sign`], and [`Error::Note`] if the note is malformed.
pub fn countersign(
    note: &str,
    key: &LogKey,
    time_seconds: u64,
    mut signer: impl FnMut(&[u8]) -> [u8; 64],
) -> Result<String, Error> {
    let mut note = SignedNote::parse(note.as_bytes())?;
    check_origin(&Checkpoint::parse(note.text())?, key)?;
    let plain = Signature::sign(&key.plain, note.text(), &mut signer)?;
    let cosignature = cosign(note.text(), &key.cosigning, time_seconds, &mut signer)?;
    note.add_signature(plain)?;
    note.add_signature(cosignature)?;
    Ok(note.to_string())
}

/// What a checkpoint says, **before** any signature of it was verified. Good only for finding out whose it must be.
///
/// # Errors
///
/// [`Error`]: the note or the text is malformed.
pub fn peek(note: &[u8]) -> Result<Checkpoint, Error> {
    Checkpoint::parse(SignedNote::parse(note)?.text())
}

/// Reads a checkpoint and verifies both signatures of its log. The time is that of the log's cosignature.
///
/// # Errors
///
/// [`Error`]: the first thing that is wrong with it.
pub fn open(note: &[u8], key: &LogKey) -> Result<VerifiedCheckpoint, Error> {
    open_note(SignedNote::parse(note)?, key)
}

/// [`open`] for a note that has been read already.
///
/// # Errors
///
/// As for [`open`].
pub fn open_note(note: SignedNote, key: &LogKey) -> Result<VerifiedCheckpoint, Error> {
    note.verify(&key.plain)?;
    let time_seconds = verify_cosignature(&note, &key.cosigning)?;
    let checkpoint = Checkpoint::parse(note.text())?;
    check_origin(&checkpoint, key)?;
    Ok(VerifiedCheckpoint { checkpoint, time_seconds, note })
}

/// Why a text is not a checkpoint, or not one of the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The origin or an extension line is empty or has a control character.
    #[error("a line of the checkpoint is empty or has a control character")]
    MalformedLine,
    /// The third line is not a hash.
    #[error("the root of the checkpoint is malformed")]
    MalformedRoot(#[source] hash::Error),
    /// The second line is not a decimal number without leading zeroes below 2^64.
    #[error("the size of the checkpoint is malformed")]
    MalformedSize,
    /// Fewer than three lines, or the last one is not ended.
    #[error("the checkpoint has fewer than three whole lines")]
    MissingLine,
    /// The note around the checkpoint is malformed, or not signed as it should be.
    #[error(transparent)]
    Note(#[from] note::Error),
    /// The checkpoint is of another log than the key.
    #[error("the checkpoint is of the log {found}, not of {expected}")]
    OriginMismatch {
        /// The origin that the key is for.
        expected: KeyName,
        /// The origin in the checkpoint.
        found: String,
    },
    /// The size is 0 and the root is not that of the empty tree.
    #[error("the checkpoint has no entries and the root of some")]
    RootOfEmptyTree,
}

fn check_origin(checkpoint: &Checkpoint, key: &LogKey) -> Result<(), Error> {
    if checkpoint.origin != key.origin().as_str() {
        return Err(Error::OriginMismatch { expected: key.origin().clone(), found: checkpoint.origin.clone() });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
