//! C2SP `tlog-cosignature`, version 1: an Ed25519 signature over a time and a checkpoint.
//!
//! A witness says with it that, as of that time, this is the largest tree of the log it saw, and that all it saw before
//! is in it. The log's own cosignature is what gives a checkpoint a time at all. Out of scope: when to make one.

use super::note::key::{Algorithm, NoteKey};
use super::note::{Error, Signature, SignedNote};

/// The latest time that a cosignature can bear: the specification keeps it below 2^63.
pub const MAX_TIME_SECONDS: u64 = i64::MAX as u64;

/// Signs the text of a checkpoint (up to the newline of its last line) as of `time_seconds` after 1970. `signer` signs
/// the message it is given with the private key of `key`.
///
/// A witness calls it only for a checkpoint that it verified, and found to begin with the one it cosigned before.
///
/// # Errors
///
/// [`Error::WrongAlgorithm`], [`Error::TimeOutOfRange`].
pub fn cosign(
    checkpoint_text: &str,
    key: &NoteKey,
    time_seconds: u64,
    signer: impl FnOnce(&[u8]) -> [u8; 64],
) -> Result<Signature, Error> {
    if key.algorithm() != Algorithm::CosignatureV1 {
        return Err(Error::WrongAlgorithm { name: key.name().clone(), key_id: key.id() });
    }
    if time_seconds > MAX_TIME_SECONDS {
        return Err(Error::TimeOutOfRange);
    }
    let signature = signer(message(time_seconds, checkpoint_text).as_bytes());
    let mut bytes = Vec::with_capacity(8 + signature.len());
    bytes.extend_from_slice(&time_seconds.to_be_bytes());
    bytes.extend_from_slice(&signature);
    Ok(Signature::new(key, bytes))
}

/// Verifies the cosignature that `key` must have made of the note, and gives its time in seconds after 1970.
///
/// # Errors
///
/// [`Error::WrongAlgorithm`], [`Error::SignatureMissing`], [`Error::SignatureRepeated`], [`Error::SignatureInvalid`].
pub fn verify_cosignature(note: &SignedNote, key: &NoteKey) -> Result<u64, Error> {
    let bytes = note.signature_of(key, Algorithm::CosignatureV1)?;
    cosigned_time(note.text(), key, bytes)
        .ok_or_else(|| Error::SignatureInvalid { name: key.name().clone(), key_id: key.id() })
}

fn cosigned_time(text: &str, key: &NoteKey, bytes: &[u8]) -> Option<u64> {
    let (time, signature) = bytes.split_first_chunk::<8>()?;
    let time_seconds = u64::from_be_bytes(*time);
    let is_good = time_seconds <= MAX_TIME_SECONDS
        && key.verifies(message(time_seconds, text).as_bytes(), signature.try_into().ok()?);
    is_good.then_some(time_seconds)
}

/// What is signed. The first line keeps it apart from the plain signature of a note.
fn message(time_seconds: u64, checkpoint_text: &str) -> String {
    format!("cosignature/v1\ntime {time_seconds}\n{checkpoint_text}")
}
