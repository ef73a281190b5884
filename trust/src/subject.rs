//! Whom or what a question is about: an identifier under a named scheme, in one canonical spelling, with its check
//! digits verified before anything is looked up. Both nodes must agree on this spelling to the byte, because subjects
//! are compared and hashed by it.
//!
//! Out of scope: keyed hashing of subjects (the node's), whether a division code exists (data, GB/T 2260), and whether
//! the person or body exists (that is the question itself).

pub mod added;
pub mod credit_code;
pub mod resident_number;

use std::fmt;

use unicode_normalization::UnicodeNormalization;

use self::added::SchemeName;
use self::credit_code::{Strictness, Uscc, UsccError};
use self::resident_number::{ResidentNumber, ResidentNumberError};

/// The longest text, in bytes, that is looked at as an identifier. NFKC can make a text eighteen times longer, so the
/// limit stands before it.
pub const RAW_LIMIT: usize = 256;

/// The longest certificate number, in characters.
pub const CERTIFICATE_NUMBER_LIMIT: usize = 40;

/// The shortest passport number, in characters.
pub const PASSPORT_MINIMUM: usize = 5;

/// The longest passport number, in characters.
pub const PASSPORT_LIMIT: usize = 17;

/// The person or body a question is about.
///
/// Only canonical, checked identifiers exist as values of this type. `Debug` shows the scheme alone: a subject must
/// not reach a log by way of a derived `Debug` on something that holds one. There is no `Display`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    scheme: Scheme,
    value: String,
}

impl Subject {
    /// Parses `raw` under the scheme called `scheme_name`.
    ///
    /// Canonicalisation, the same for every scheme: NFKC (full-width digits and letters become ASCII), white space
    /// removed wherever it stands, ASCII letters in upper case. A 15-digit resident number then becomes the 18-digit
    /// one with century 19 and its check character. Parsing a canonical value again yields the same value.
    ///
    /// Unified social credit codes are checked strictly; see [`Uscc::parse`] and `From<Uscc>` for pilot codes.
    ///
    /// # Errors
    /// Says what is wrong and where, and never repeats any part of `raw` but single characters by their position.
    pub fn parse(scheme_name: &str, raw: &str) -> Result<Self, SubjectError> {
        Self::parse_as(Scheme::parse(scheme_name)?, raw)
    }

    /// Parses `raw` under `scheme`; otherwise as [`Subject::parse`].
    ///
    /// # Errors
    /// As [`Subject::parse`].
    pub fn parse_as(scheme: Scheme, raw: &str) -> Result<Self, SubjectError> {
        match scheme {
            Scheme::Added(_) => Err(SubjectError::SchemeNotAdded { scheme }),
            Scheme::CertificateNumber => {
                let is_allowed = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '-';
                plain(scheme, raw, 1, CERTIFICATE_NUMBER_LIMIT, is_allowed)
            }
            Scheme::Passport => {
                let is_allowed = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit();
                plain(scheme, raw, PASSPORT_MINIMUM, PASSPORT_LIMIT, is_allowed)
            }
            Scheme::ResidentId => Ok(ResidentNumber::parse(raw)?.into()),
            Scheme::Uscc => Ok(Uscc::parse(raw, Strictness::Strict)?.into()),
        }
    }

    /// Reads back a canonical value that this node has stored. A number of an added scheme is not held against the
    /// authority's rule again, which may have changed since.
    ///
    /// # Errors
    /// Where it cannot have been the value of a subject.
    pub fn stored(scheme: Scheme, value: &str) -> Result<Self, SubjectError> {
        match scheme {
            Scheme::Added(_) => Ok(Self { scheme, value: added::canonical_number(scheme, value)? }),
            scheme => Self::parse_as(scheme, value),
        }
    }

    /// The scheme the value is to be read under.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The canonical identifier: ASCII. Personal data where the subject is a person; keep it out of logs and URLs.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subject({}:…)", self.scheme)
    }
}

impl From<ResidentNumber> for Subject {
    fn from(number: ResidentNumber) -> Self {
        Self { scheme: Scheme::ResidentId, value: number.into_string() }
    }
}

impl From<Uscc> for Subject {
    fn from(code: Uscc) -> Self {
        Self { scheme: Scheme::Uscc, value: code.into_string() }
    }
}

/// The kind of identifier. Its name is on the wire and in service descriptions, so a name never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Scheme {
    /// One that the authority has added in its profile ([`added::Schemes`] reads its numbers).
    Added(SchemeName),
    /// The number of a certificate, such as a birth certificate: 1 to 40 of `A`–`Z`, `0`–`9` and `-`.
    CertificateNumber,
    /// A passport number of any country: 5 to 17 of `A`–`Z` and `0`–`9`.
    Passport,
    /// A resident identity number, GB 11643-1999.
    ResidentId,
    /// A unified social credit code, GB 32100-2015.
    Uscc,
}

impl Scheme {
    /// Every scheme that all nodes know, in the order of their names.
    pub const ALL: [Self; 4] = [Self::CertificateNumber, Self::Passport, Self::ResidentId, Self::Uscc];

    /// The stable name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Added(name) => name.as_str(),
            Self::CertificateNumber => "certificate_no",
            Self::Passport => "passport",
            Self::ResidentId => "resident_id",
            Self::Uscc => "uscc",
        }
    }

    /// The scheme with the stable name `name`, which is matched exactly. Whether the authority has added one whose name
    /// begins with `local_` is not looked at.
    ///
    /// # Errors
    /// [`SubjectError::SchemeUnknown`].
    pub fn parse(name: &str) -> Result<Self, SubjectError> {
        let added = || SchemeName::parse(name).map(Self::Added);
        Self::ALL.into_iter().find(|scheme| scheme.as_str() == name).or_else(added).ok_or(SubjectError::SchemeUnknown)
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a text is not a subject. No message repeats the text: messages are logged, subjects are not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubjectError {
    /// A character was mistyped, or two were swapped, in a number of an added scheme.
    #[error("the check character of the {scheme} is wrong: its other characters call for {expected}")]
    CheckCharacterWrong {
        /// The scheme the text was read under.
        scheme: Scheme,
        /// What the other characters call for.
        expected: char,
    },
    /// A character that the scheme does not know. Positions count from 1 in the canonical text.
    #[error("character {position} is not allowed in a {scheme}")]
    CharacterNotAllowed {
        /// The scheme the text was read under.
        scheme: Scheme,
        /// Where the character stands, from 1.
        position: usize,
    },
    /// Too few or too many characters.
    #[error("a {scheme} has {minimum} to {maximum} characters, this one has {length}")]
    LengthWrong {
        /// The scheme the text was read under.
        scheme: Scheme,
        /// The fewest characters allowed.
        minimum: usize,
        /// The most characters allowed.
        maximum: usize,
        /// The characters there were, after canonicalisation.
        length: usize,
    },
    /// Not as the authority's profile says a number of this scheme is written.
    #[error("is not written as the exchange's profile says of a {scheme}")]
    PatternWrong {
        /// The scheme the text was read under.
        scheme: Scheme,
    },
    /// Not a valid resident identity number.
    #[error(transparent)]
    ResidentNumber(#[from] ResidentNumberError),
    /// No scheme has that name. The name is not repeated, since swapped fields would make it the number.
    #[error("unknown subject scheme: use certificate_no, passport, resident_id, uscc or a local_… one of the exchange")]
    SchemeUnknown,
    /// The authority's profile has no such scheme.
    #[error("the exchange's profile does not have the subject scheme {scheme}")]
    SchemeNotAdded {
        /// The scheme.
        scheme: Scheme,
    },
    /// Not a valid unified social credit code.
    #[error(transparent)]
    Uscc(#[from] UsccError),
}

/// An identifier without check digits: `minimum` to `maximum` allowed characters.
fn plain(
    scheme: Scheme,
    raw: &str,
    minimum: usize,
    maximum: usize,
    is_allowed: impl Fn(char) -> bool,
) -> Result<Subject, SubjectError> {
    let wrong = |length| SubjectError::LengthWrong { scheme, minimum, maximum, length };
    let value = canonical_text(raw).ok_or_else(|| wrong(raw.chars().count()))?;
    let length = value.chars().count();
    if length < minimum || length > maximum {
        return Err(wrong(length));
    }
    match value.chars().position(|c| !is_allowed(c)) {
        Some(index) => Err(SubjectError::CharacterNotAllowed { scheme, position: index + 1 }),
        None => Ok(Subject { scheme, value }),
    }
}

/// NFKC, without white space, ASCII letters in upper case. `None`: longer than [`RAW_LIMIT`], not looked at.
///
/// Characters that no scheme allows are left for the scheme to refuse by position. In particular nothing invisible is
/// dropped but white space: two spellings that a reader cannot tell apart should be refused, not guessed at.
fn canonical_text(raw: &str) -> Option<String> {
    if raw.len() > RAW_LIMIT {
        return None;
    }
    let clean = |c: char| (!c.is_whitespace()).then(|| c.to_ascii_uppercase());
    // Nearly every number is ASCII already, and imports parse millions of them.
    Some(if raw.is_ascii() { raw.chars().filter_map(clean).collect() } else { raw.nfkc().filter_map(clean).collect() })
}

#[cfg(test)]
mod tests;
