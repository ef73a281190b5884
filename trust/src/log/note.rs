//! C2SP `signed-note`: a text, a blank line, and signature lines, each with the signer's name and the id of its key.
//!
//! A note is worth what the signatures that were verified say, and nothing before. Signatures of keys that the reader
//! does not know are carried and ignored, as the specification asks: so witnesses can be added and keys changed.
//! Out of scope: what the text says (`checkpoint`).

use std::fmt;

use data_encoding::BASE64;

use key::{Algorithm, KeyId, KeyName, NoteKey};

pub mod key;

/// The longest note that is read, in bytes. The specification asks for room for 16 signatures of up to 5 kB at least.
pub const MAX_NOTE_LENGTH: usize = 256 * 1024;

/// The most signatures that a note may have.
pub const MAX_SIGNATURES: usize = 100;

/// A text and the signatures below it, none of them verified yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedNote {
    text: String,
    signatures: Vec<Signature>,
}

/// One signature line of a note: who is said to have signed, with which key, and the signature's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    name: KeyName,
    key_id: KeyId,
    bytes: Vec<u8>,
}

impl SignedNote {
    /// A note of this text (it ends with a newline) without any signature.
    ///
    /// # Errors
    ///
    /// [`Error::TooLong`], [`Error::ControlCharacter`], [`Error::TextWithoutNewline`].
    pub fn new(text: String) -> Result<Self, Error> {
        check_characters(&text)?;
        if !text.ends_with('\n') {
            return Err(Error::TextWithoutNewline);
        }
        Ok(Self { text, signatures: Vec::new() })
    }

    /// Reads a note. Writing what was read gives the same bytes again.
    ///
    /// # Errors
    ///
    /// Each of [`Error`] but those that name a key.
    pub fn parse(note: &[u8]) -> Result<Self, Error> {
        if note.len() > MAX_NOTE_LENGTH {
            return Err(Error::TooLong);
        }
        let note = std::str::from_utf8(note).map_err(|_| Error::NotUtf8)?;
        check_characters(note)?;
        // The text may itself have blank lines: the last one separates.
        let separator = note.rfind("\n\n").ok_or(Error::NoSignatures)?;
        let (text, lines) = (&note[..=separator], &note[separator + 2..]);
        if lines.is_empty() {
            return Err(Error::NoSignatures);
        }
        let lines = lines.strip_suffix('\n').ok_or(Error::MalformedSignatureLine)?;
        let mut signatures = Vec::new();
        for line in lines.split('\n') {
            if signatures.len() == MAX_SIGNATURES {
                return Err(Error::TooManySignatures);
            }
            signatures.push(Signature::parse(line)?);
        }
        Ok(Self { text: text.to_owned(), signatures })
    }

    /// What was signed, with its newline at the end.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signatures in their order, verified or not.
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// Adds a signature at the end, in place of all that the same key had made before.
    ///
    /// # Errors
    ///
    /// [`Error::TooManySignatures`].
    pub fn add_signature(&mut self, signature: Signature) -> Result<(), Error> {
        self.signatures.retain(|other| (&other.name, other.key_id) != (&signature.name, signature.key_id));
        if self.signatures.len() >= MAX_SIGNATURES {
            return Err(Error::TooManySignatures);
        }
        self.signatures.push(signature);
        Ok(())
    }

    /// Verifies the plain Ed25519 signature that `key` must have made over the text.
    ///
    /// # Errors
    ///
    /// [`Error::WrongAlgorithm`], [`Error::SignatureMissing`], [`Error::SignatureRepeated`],
    /// [`Error::SignatureInvalid`].
    pub fn verify(&self, key: &NoteKey) -> Result<(), Error> {
        let bytes = self.signature_of(key, Algorithm::Ed25519)?;
        match bytes.try_into() {
            Ok(signature) if key.verifies(self.text.as_bytes(), signature) => Ok(()),
            _ => Err(Error::SignatureInvalid { name: key.name().clone(), key_id: key.id() }),
        }
    }

    /// The bytes of the one signature by `key`, which must be for `algorithm`.
    ///
    /// The specification lets a reader reject a note in which a known key's signature is wrong. A key that signed twice
    /// is rejected too: with two times beside one text, two readers could come to believe different ones.
    pub(super) fn signature_of(&self, key: &NoteKey, algorithm: Algorithm) -> Result<&[u8], Error> {
        let (name, key_id) = (key.name(), key.id());
        if key.algorithm() != algorithm {
            return Err(Error::WrongAlgorithm { name: name.clone(), key_id });
        }
        let mut found =
            self.signatures.iter().filter(|signature| signature.key_id == key_id && signature.name == *name);
        let Some(signature) = found.next() else {
            return Err(Error::SignatureMissing { name: name.clone(), key_id });
        };
        if found.next().is_some() {
            return Err(Error::SignatureRepeated { name: name.clone(), key_id });
        }
        Ok(&signature.bytes)
    }
}

impl fmt::Display for SignedNote {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| writeln!(formatter, "{signature}"))
    }
}

impl Signature {
    /// A plain Ed25519 signature of `text` by `key`, made by `signer`.
    ///
    /// # Errors
    ///
    /// [`Error::WrongAlgorithm`] if the key is for another kind of signature.
    pub fn sign(key: &NoteKey, text: &str, signer: impl FnOnce(&[u8]) -> [u8; 64]) -> Result<Self, Error> {
        if key.algorithm() != Algorithm::Ed25519 {
            return Err(Error::WrongAlgorithm { name: key.name().clone(), key_id: key.id() });
        }
        Ok(Self::new(key, signer(text.as_bytes()).to_vec()))
    }

    /// A signature by `key` with these bytes, which must not be empty.
    pub(super) fn new(key: &NoteKey, bytes: Vec<u8>) -> Self {
        Self { name: key.name().clone(), key_id: key.id(), bytes }
    }

    /// Reads a signature line without its newline.
    ///
    /// # Errors
    ///
    /// [`Error::MalformedSignatureLine`].
    pub fn parse(line: &str) -> Result<Self, Error> {
        Self::parse_line(line).ok_or(Error::MalformedSignatureLine)
    }

    fn parse_line(line: &str) -> Option<Self> {
        let (name, base64) = line.strip_prefix(SIGNATURE_PREFIX)?.split_once(' ')?;
        let name = name.parse().ok()?;
        let bytes = super::base64::decode(base64)?;
        let (key_id, signature) = bytes.split_first_chunk::<4>()?;
        if signature.is_empty() {
            return None;
        }
        Some(Self { name, key_id: KeyId::from_bytes(*key_id), bytes: signature.to_vec() })
    }

    /// Who is said to have signed.
    pub fn name(&self) -> &KeyName {
        &self.name
    }

    /// With which of its keys.
    pub fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// The signature itself, without the id of the key.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The signature line, without a newline.
impl fmt::Display for Signature {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [self.key_id.as_bytes().as_slice(), &self.bytes].concat();
        write!(formatter, "{SIGNATURE_PREFIX}{} {}", self.name, BASE64.encode(&bytes))
    }
}

/// Why a note is not well formed, or not signed by the key that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A control character other than the newline.
    #[error("the note has a control character")]
    ControlCharacter,
    /// A signature line is not in the form that the specification gives it.
    #[error("a signature line of the note is malformed")]
    MalformedSignatureLine,
    /// No blank line, or nothing below it.
    #[error("the note has no signatures below a blank line")]
    NoSignatures,
    /// The bytes are not UTF-8.
    #[error("the note is not UTF-8")]
    NotUtf8,
    /// The signature is not one of the key over the text.
    #[error("the signature of {name} with key {key_id} is wrong")]
    SignatureInvalid {
        /// The name of the key.
        name: KeyName,
        /// The id of the key.
        key_id: KeyId,
    },
    /// The key did not sign.
    #[error("the signature of {name} with key {key_id} is missing")]
    SignatureMissing {
        /// The name of the key.
        name: KeyName,
        /// The id of the key.
        key_id: KeyId,
    },
    /// The key signed more than once.
    #[error("{name} signed more than once with key {key_id}")]
    SignatureRepeated {
        /// The name of the key.
        name: KeyName,
        /// The id of the key.
        key_id: KeyId,
    },
    /// The text does not end with a newline.
    #[error("the text of the note does not end with a newline")]
    TextWithoutNewline,
    /// A time that a cosignature cannot bear: 2^63 seconds or more.
    #[error("the time of the cosignature is out of range")]
    TimeOutOfRange,
    /// Longer than [`MAX_NOTE_LENGTH`].
    #[error("the note is longer than {MAX_NOTE_LENGTH} bytes")]
    TooLong,
    /// More than [`MAX_SIGNATURES`].
    #[error("the note has more than {MAX_SIGNATURES} signatures")]
    TooManySignatures,
    /// The key is for another kind of signature than the one it was to make or verify.
    #[error("key {key_id} of {name} is for another kind of signature")]
    WrongAlgorithm {
        /// The name of the key.
        name: KeyName,
        /// The id of the key.
        key_id: KeyId,
    },
}

/// An em dash and a space.
const SIGNATURE_PREFIX: &str = "\u{2014} ";

fn check_characters(text: &str) -> Result<(), Error> {
    if text.len() > MAX_NOTE_LENGTH {
        return Err(Error::TooLong);
    }
    // In UTF-8 no byte of a longer character is below 0x80.
    if text.bytes().any(|byte| byte < 0x20 && byte != b'\n') {
        return Err(Error::ControlCharacter);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    const NOTE: &str = "This is an example message.\n\n\u{2014} example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";

    #[test]
    fn the_example_of_the_specification() {
        let note = SignedNote::parse(NOTE.as_bytes()).unwrap();
        assert_eq!(note.to_string(), NOTE);
        assert_eq!(note.text(), "This is an example message.\n");
        let key: NoteKey = KEY.parse().unwrap();
        assert_eq!(note.verify(&key), Ok(()));

        let altered = SignedNote::parse(NOTE.replace("This is", "This was").as_bytes()).unwrap();
        let wrong = Error::SignatureInvalid { name: key.name().clone(), key_id: key.id() };
        assert_eq!(altered.verify(&key), Err(wrong));
    }

    #[test]
    fn unknown_signatures_are_ignored_and_known_ones_are_not() {
        let key: NoteKey = KEY.parse().unwrap();
        let line = NOTE.lines().last().unwrap();
        // The same name with another id, the same id with another name, and a line of another length.
        let other_id = line.replace("Uw2QO", "Vw2QO");
        let other_name = line.replace("/foo", "/bar");
        let strange = "\u{2014} w AAAAAAA=";
        let note = format!("This is an example message.\n\n{other_id}\n{other_name}\n{strange}\n{line}\n");
        let mut note = SignedNote::parse(note.as_bytes()).unwrap();
        assert_eq!(note.signatures().len(), 4);
        assert_eq!(note.verify(&key), Ok(()));

        note.signatures.push(note.signatures[3].clone());
        assert!(matches!(note.verify(&key), Err(Error::SignatureRepeated { .. })));
        note.add_signature(note.signatures[3].clone()).unwrap();
        assert_eq!(note.verify(&key), Ok(()), "adding takes the place of what the key had signed before");

        note.signatures.pop();
        assert!(matches!(note.verify(&key), Err(Error::SignatureMissing { .. })));
        note.signatures.push(Signature::new(&key, vec![1; 63]));
        assert!(matches!(note.verify(&key), Err(Error::SignatureInvalid { .. })));
    }

    #[test]
    fn malformed_notes_are_refused() {
        let line = NOTE.lines().last().unwrap();
        let base64 = line.rsplit_once(' ').unwrap().1;
        for (note, error) in [
            (String::new(), Error::NoSignatures),
            ("text\n".to_owned(), Error::NoSignatures),
            ("text\n\n".to_owned(), Error::NoSignatures),
            (format!("text\n{line}\n"), Error::NoSignatures),
            (format!("te\txt\n\n{line}\n"), Error::ControlCharacter),
            (format!("text\n\n{line}\r\n"), Error::ControlCharacter),
            (format!("text\n\n{line}"), Error::MalformedSignatureLine),
            (format!("text\n\n{line}\n\n"), Error::NoSignatures),
            (format!("text\n\n{line} \n"), Error::MalformedSignatureLine),
            (format!("text\n\n- name {base64}\n"), Error::MalformedSignatureLine),
            (format!("text\n\n\u{2014}name {base64}\n"), Error::MalformedSignatureLine),
            (format!("text\n\n\u{2014}  {base64}\n"), Error::MalformedSignatureLine),
            (format!("text\n\n\u{2014} na+me {base64}\n"), Error::MalformedSignatureLine),
            (format!("text\n\n\u{2014} na\u{2003}me {base64}\n"), Error::MalformedSignatureLine),
            ("text\n\n\u{2014} name\n".to_owned(), Error::MalformedSignatureLine),
            (format!("text\n\n\u{2014} name {}\n", base64.trim_end_matches('=')), Error::MalformedSignatureLine),
            ("text\n\n\u{2014} name AAAAAA==\n".to_owned(), Error::MalformedSignatureLine),
            (format!("text\n\n{}", format!("{line}\n").repeat(101)), Error::TooManySignatures),
            (format!("{}\n\n{line}\n", "x".repeat(MAX_NOTE_LENGTH)), Error::TooLong),
        ] {
            assert_eq!(SignedNote::parse(note.as_bytes()), Err(error), "{:.80}", note);
        }
        assert_eq!(SignedNote::parse(b"\xff\n\n"), Err(Error::NotUtf8));
        assert_eq!(SignedNote::new("text".to_owned()), Err(Error::TextWithoutNewline));
        assert_eq!(SignedNote::new("te\0xt\n".to_owned()), Err(Error::ControlCharacter));
    }

    #[test]
    fn the_last_blank_line_separates() {
        let line = NOTE.lines().last().unwrap();
        for text in ["\n", "a\n\nb\n", "a\n\n", "\n\n\n", "a\n\n\u{2014} b AAAAAAA=\n"] {
            let note = format!("{text}\n{line}\n");
            let parsed = SignedNote::parse(note.as_bytes()).unwrap();
            assert_eq!(parsed.text(), text);
            assert_eq!(parsed.to_string(), note);
        }
    }
}
