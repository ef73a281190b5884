//! C2SP `tlog-proof`: one entry's place in a log, the proof of it, and the checkpoint it leads to, in one text.
//!
//! Out of scope: the entry itself, which whoever verifies must have from elsewhere, and what the extra data mean.

use std::fmt;

use data_encoding::BASE64;

use super::checkpoint::{self, LogKey, VerifiedCheckpoint};
use super::hash::{self, Hash};
use super::note::{self, SignedNote};
use super::proof::{ProofError, verify_inclusion};
use super::tile::parse_decimal;

/// The longest proof text that is read, in bytes.
pub const MAX_PROOF_LENGTH: usize = 512 * 1024;

/// No tree of less than 2^64 entries is higher.
const MAX_HASHES: usize = 64;

/// That a log has an entry at an index, in a form that can be kept and checked offline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlogProof {
    extra: Option<Vec<u8>>,
    index: u64,
    hashes: Vec<Hash>,
    checkpoint: SignedNote,
}

impl TlogProof {
    /// The proof for the entry at `index`, whose `hashes` lead to the root in `checkpoint`.
    pub fn new(index: u64, hashes: Vec<Hash>, checkpoint: SignedNote) -> Self {
        Self { extra: None, index, hashes, checkpoint }
    }

    /// The same with data for the application. Nothing vouches for them.
    pub fn with_extra(mut self, extra: Vec<u8>) -> Self {
        self.extra = Some(extra);
        self
    }

    /// Reads a proof. Writing what was read gives the same text again.
    ///
    /// # Errors
    ///
    /// Each of [`Error`] but those about what the proof shows.
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        if text.len() > MAX_PROOF_LENGTH {
            return Err(Error::TooLong);
        }
        let text = std::str::from_utf8(text).map_err(|_| Error::NotUtf8)?;
        let (head, checkpoint) = text.split_once("\n\n").ok_or(Error::MissingCheckpoint)?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(HEADER) {
            return Err(Error::UnknownHeader);
        }
        let extra = lines.next_if(|line| line.starts_with(EXTRA)).map(|line| &line[EXTRA.len()..]);
        let extra = extra.map(|base64| super::base64::decode(base64).ok_or(Error::MalformedExtra));
        let extra = extra.transpose()?;
        let index = lines.next().and_then(|line| parse_decimal(line.strip_prefix(INDEX)?));
        let index = index.ok_or(Error::MalformedIndex)?;
        let hashes = lines.map(Hash::from_base64).take(MAX_HASHES + 1).collect::<Result<Vec<_>, _>>();
        let hashes = hashes.map_err(Error::MalformedHash)?;
        if hashes.len() > MAX_HASHES {
            return Err(Error::TooManyHashes);
        }
        let checkpoint = SignedNote::parse(checkpoint.as_bytes()).map_err(Error::Checkpoint)?;
        Ok(Self { extra, index, hashes, checkpoint })
    }

    /// Verifies that the log with `key` signed the checkpoint, and that its tree has the entry with this leaf hash at
    /// [`TlogProof::index`].
    ///
    /// # Errors
    ///
    /// [`Error::CheckpointNotVerified`], [`Error::Proof`].
    pub fn verify(&self, leaf_hash: &Hash, key: &LogKey) -> Result<VerifiedCheckpoint, Error> {
        let verified = checkpoint::open_note(self.checkpoint.clone(), key).map_err(Error::CheckpointNotVerified)?;
        let tree = verified.checkpoint();
        verify_inclusion(leaf_hash, self.index, tree.size(), &self.hashes, &tree.root()).map_err(Error::Proof)?;
        Ok(verified)
    }

    /// The data for the application. Nothing vouches for them.
    pub fn extra(&self) -> Option<&[u8]> {
        self.extra.as_deref()
    }

    /// Which entry, from 0.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The inclusion proof, from the leaf's sibling up.
    pub fn hashes(&self) -> &[Hash] {
        &self.hashes
    }

    /// The checkpoint, not verified.
    pub fn checkpoint(&self) -> &SignedNote {
        &self.checkpoint
    }
}

impl fmt::Display for TlogProof {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{HEADER}")?;
        if let Some(extra) = &self.extra {
            writeln!(formatter, "{EXTRA}{}", BASE64.encode(extra))?;
        }
        writeln!(formatter, "{INDEX}{}", self.index)?;
        for hash in &self.hashes {
            writeln!(formatter, "{}", hash.to_base64())?;
        }
        write!(formatter, "\n{}", self.checkpoint)
    }
}

/// Why a text is not a proof, or does not show what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The checkpoint is not a signed note.
    #[error("the checkpoint of the proof is malformed")]
    Checkpoint(#[source] note::Error),
    /// The checkpoint is not one that the log signed.
    #[error("the checkpoint of the proof is not one of the log")]
    CheckpointNotVerified(#[source] checkpoint::Error),
    /// The extra data are not base64.
    #[error("the extra data of the proof are not base64")]
    MalformedExtra,
    /// A line of the inclusion proof is not a hash.
    #[error("a hash of the proof is malformed")]
    MalformedHash(#[source] hash::Error),
    /// There is no index, or it is not a decimal number without leading zeroes below 2^64.
    #[error("the index of the proof is missing or malformed")]
    MalformedIndex,
    /// No blank line with a checkpoint below.
    #[error("the proof has no checkpoint below a blank line")]
    MissingCheckpoint,
    /// The bytes are not UTF-8.
    #[error("the proof is not UTF-8")]
    NotUtf8,
    /// The hashes do not lead from the entry to the root.
    #[error("the proof does not show that the log has the entry")]
    Proof(#[source] ProofError),
    /// Longer than [`MAX_PROOF_LENGTH`].
    #[error("the proof is longer than {MAX_PROOF_LENGTH} bytes")]
    TooLong,
    /// More hashes than any tree is high.
    #[error("the proof has more than {MAX_HASHES} hashes")]
    TooManyHashes,
    /// The first line is not that of version 1.
    #[error("the proof does not begin with {HEADER}")]
    UnknownHeader,
}

const HEADER: &str = "c2sp.org/tlog-proof@v1";
const EXTRA: &str = "extra ";
const INDEX: &str = "index ";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::hash::leaf_hash;
    use crate::log::proof::inclusion_proof;
    use crate::log::tests::{TestLog, log_key, signed_checkpoint};

    fn proof() -> TlogProof {
        let log = TestLog::with_size(11);
        let checkpoint = signed_checkpoint(11, log.root_at(11));
        let checkpoint = SignedNote::parse(checkpoint.as_bytes()).unwrap();
        TlogProof::new(4, inclusion_proof(&log, 4, 11).unwrap(), checkpoint)
    }

    #[test]
    fn a_proof_comes_back_and_holds() {
        for proof in [proof(), proof().with_extra(b"extra data".to_vec()), proof().with_extra(Vec::new())] {
            let parsed = TlogProof::parse(proof.to_string().as_bytes()).unwrap();
            assert_eq!(parsed, proof);
            let verified = parsed.verify(&leaf_hash(b"entry 4"), &log_key()).unwrap();
            assert_eq!(verified.checkpoint().size(), 11);
            let other = parsed.verify(&leaf_hash(b"entry 5"), &log_key());
            assert_eq!(other, Err(Error::Proof(ProofError::RootMismatch)));
        }
    }

    #[test]
    fn any_changed_byte_is_noticed() {
        let text = proof().to_string();
        for position in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[position] ^= 1;
            let result = TlogProof::parse(&bytes).and_then(|proof| proof.verify(&leaf_hash(b"entry 4"), &log_key()));
            assert!(result.is_err(), "byte {position}");
        }
    }

    #[test]
    fn malformed_proofs_are_refused() {
        let text = proof().to_string();
        let hash = proof().hashes()[0].to_base64();
        let replaced = |from: &str, to: &str| TlogProof::parse(text.replacen(from, to, 1).as_bytes()).unwrap_err();
        assert_eq!(replaced("@v1", "@v2"), Error::UnknownHeader);
        assert_eq!(replaced("index 4", "index 04"), Error::MalformedIndex);
        assert_eq!(replaced("index 4", "index -4"), Error::MalformedIndex);
        assert_eq!(replaced("index 4\n", ""), Error::MalformedIndex);
        assert_eq!(replaced("index 4", "extra AA=\nindex 4"), Error::MalformedExtra);
        assert_eq!(replaced("index 4", "extra AA==\nextra AA==\nindex 4"), Error::MalformedIndex);
        assert_eq!(replaced(&hash, "AAAA"), Error::MalformedHash(hash::Error::WrongLength { length: 3 }));
        assert_eq!(replaced("\n\n", "\n"), Error::MalformedHash(hash::Error::NotBase64));
        assert_eq!(replaced("\u{2014} ", "- "), Error::Checkpoint(note::Error::MalformedSignatureLine));
        assert_eq!(replaced("\n\n", &format!("\n{}\n", format!("{hash}\n").repeat(64))), Error::TooManyHashes);
        assert_eq!(TlogProof::parse(HEADER.as_bytes()), Err(Error::MissingCheckpoint));
        assert_eq!(TlogProof::parse(&[0xff]), Err(Error::NotUtf8));
        assert_eq!(TlogProof::parse(&vec![b'x'; MAX_PROOF_LENGTH + 1]), Err(Error::TooLong));
    }
}
