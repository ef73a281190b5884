//! Unified social credit codes (统一社会信用代码), GB 32100-2015: one character of registering authority, one of
//! category, six digits of division, the nine of the organisation code (GB 11714), one check character.
//!
//! Out of scope: whether authority, category and division were ever assigned, and whether the body exists.

use std::fmt;

use super::canonical_text;

/// What to do with a code whose check character is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// Accept it with a warning: some codes issued while the standard was piloted fail the check and are legitimate.
    Lenient,
    /// Refuse it.
    Strict,
}

/// A unified social credit code, 18 characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uscc {
    text: String,
}

impl Uscc {
    /// Parses a code as people write it: full-width characters, white space and small letters are accepted.
    ///
    /// The organisation code within is not refused for its own check character, which GB 32100 does not ask for; see
    /// [`Uscc::organisation_code`].
    ///
    /// # Errors
    /// The first thing found wrong, in the order length, characters, check character (the last only when strict).
    pub fn parse(raw: &str, strictness: Strictness) -> Result<Self, UsccError> {
        let text = canonical_text(raw).ok_or_else(|| UsccError::LengthWrong { length: raw.chars().count() })?;
        let length = text.chars().count();
        if length != LENGTH {
            return Err(UsccError::LengthWrong { length });
        }
        let is_allowed = |(index, c): (usize, char)| match index {
            2..8 => c.is_ascii_digit(),
            _ => u8::try_from(c).is_ok_and(|byte| ALPHABET.contains(&byte)),
        };
        if let Some(index) = text.chars().enumerate().position(|character| !is_allowed(character)) {
            return Err(UsccError::CharacterNotAllowed { position: index + 1 });
        }
        let code = Self { text };
        match (code.warning(), strictness) {
            (Some(UsccWarning::CheckCharacterWrong { expected }), Strictness::Strict) => {
                Err(UsccError::CheckCharacterWrong { expected })
            }
            _ => Ok(code),
        }
    }

    /// Makes the code for its first seventeen characters, with its check character. Meant for generators of made-up
    /// bodies.
    ///
    /// # Errors
    /// As [`Uscc::parse`]; the length in an error counts the check character.
    pub fn compose(body: &str) -> Result<Self, UsccError> {
        let lenient = Self::parse(&format!("{body}0"), Strictness::Lenient)?;
        Ok(match lenient.warning() {
            None => lenient,
            Some(UsccWarning::CheckCharacterWrong { expected }) => {
                let mut text = lenient.text;
                text.truncate(LENGTH - 1);
                text.push(expected);
                Self { text }
            }
        })
    }

    /// What is doubtful about a code that was accepted leniently: show it to the operator.
    #[must_use]
    pub fn warning(&self) -> Option<UsccWarning> {
        let (body, given) = self.text.as_bytes().split_at(LENGTH - 1);
        let expected = check_character(body);
        (given != [expected]).then_some(UsccWarning::CheckCharacterWrong { expected: char::from(expected) })
    }

    /// The 18 characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The 18 characters, owned.
    #[must_use]
    pub fn into_string(self) -> String {
        self.text
    }

    /// The organisation code that characters 9 to 17 hold.
    ///
    /// # Errors
    /// [`OrganisationCodeError::CheckCharacterWrong`] where they fail the check of GB 11714.
    pub fn organisation_code(&self) -> Result<OrganisationCode, OrganisationCodeError> {
        OrganisationCode::parse(&self.text[8..LENGTH - 1])
    }
}

impl fmt::Debug for Uscc {
    /// Sole traders have codes of their own, so a code can be personal data and is not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Uscc(…)")
    }
}

/// What is doubtful about a code that is accepted nevertheless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UsccWarning {
    /// The code fails its check, as some pilot codes do.
    CheckCharacterWrong {
        /// What the first seventeen characters call for.
        expected: char,
    },
}

/// Why a text is not a unified social credit code. Positions count from 1 in the canonical text; no message repeats
/// the text itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UsccError {
    /// A character outside the alphabet (which leaves out I, O, S, V and Z), or a letter in the division (3 to 8).
    #[error("character {position} is not allowed there in a unified social credit code")]
    CharacterNotAllowed {
        /// Where it stands, from 1.
        position: usize,
    },
    /// A character was mistyped, or two were swapped, or it is a pilot code.
    #[error("the check character of the unified social credit code is wrong: its other characters call for {expected}")]
    CheckCharacterWrong {
        /// What the first seventeen characters call for.
        expected: char,
    },
    /// Not 18 characters.
    #[error("a unified social credit code has 18 characters, this one has {length}")]
    LengthWrong {
        /// The characters there were, after canonicalisation.
        length: usize,
    },
}

/// An organisation code (组织机构代码), GB 11714: eight characters and a check character, kept without the hyphen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrganisationCode {
    text: String,
}

impl OrganisationCode {
    /// Parses a code; the hyphen before the check character may be there or not.
    ///
    /// # Errors
    /// The first thing found wrong, in the order length, characters, check character.
    pub fn parse(raw: &str) -> Result<Self, OrganisationCodeError> {
        let wrong = |length| OrganisationCodeError::LengthWrong { length };
        let mut text = canonical_text(raw).ok_or_else(|| wrong(raw.chars().count()))?;
        if text.is_ascii() && text.len() == ORGANISATION_LENGTH + 1 && text.as_bytes()[8] == b'-' {
            text.remove(8);
        }
        let length = text.chars().count();
        if length != ORGANISATION_LENGTH {
            return Err(wrong(length));
        }
        if let Some(index) = text.chars().position(|c| !c.is_ascii_digit() && !c.is_ascii_uppercase()) {
            return Err(OrganisationCodeError::CharacterNotAllowed { position: index + 1 });
        }
        let expected = organisation_check_character(&text.as_bytes()[..8]);
        if text.as_bytes()[8] != expected {
            return Err(OrganisationCodeError::CheckCharacterWrong { expected: char::from(expected) });
        }
        Ok(Self { text })
    }

    /// Makes the code for its first eight characters, with its check character.
    ///
    /// # Errors
    /// As [`OrganisationCode::parse`]; the length in an error counts the check character.
    pub fn compose(body: &str) -> Result<Self, OrganisationCodeError> {
        match Self::parse(&format!("{body}0")) {
            Err(OrganisationCodeError::CheckCharacterWrong { expected }) => Self::parse(&format!("{body}{expected}")),
            other => other,
        }
    }

    /// The nine characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// Why a text is not an organisation code. Positions count from 1 in the canonical text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OrganisationCodeError {
    /// Neither a digit nor a letter.
    #[error("character {position} is not allowed in an organisation code")]
    CharacterNotAllowed {
        /// Where it stands, from 1.
        position: usize,
    },
    /// A character was mistyped, or two were swapped.
    #[error("the check character of the organisation code is wrong: its other characters call for {expected}")]
    CheckCharacterWrong {
        /// What the first eight characters call for.
        expected: char,
    },
    /// Not nine characters.
    #[error("an organisation code has 9 characters, this one has {length}")]
    LengthWrong {
        /// The characters there were, after canonicalisation and without the hyphen.
        length: usize,
    },
}

/// The check character for the first seventeen characters, all of the alphabet: weights are the powers of 3 mod 31.
fn check_character(body: &[u8]) -> u8 {
    let value = |byte: &u8| ALPHABET.iter().position(|letter| letter == byte).unwrap_or_default();
    let (sum, _) = body.iter().fold((0, 1), |(sum, weight), byte| ((sum + value(byte) * weight) % 31, weight * 3 % 31));
    // The outer remainder matters: a sum of 0 calls for `0`, not for a 32nd character.
    ALPHABET[(31 - sum) % 31]
}

/// The check character for the first eight characters, all digits or capital letters (A = 10 … Z = 35).
fn organisation_check_character(body: &[u8]) -> u8 {
    let value = |byte: u8| u32::from(if byte.is_ascii_digit() { byte - b'0' } else { byte - b'A' + 10 });
    let sum: u32 = body.iter().zip(ORGANISATION_WEIGHTS).map(|(byte, weight)| value(*byte) * weight).sum();
    ORGANISATION_CHECK_CHARACTERS[(sum % 11) as usize]
}

const LENGTH: usize = 18;
const ALPHABET: [u8; 31] = *b"0123456789ABCDEFGHJKLMNPQRTUWXY";
const ORGANISATION_LENGTH: usize = 9;
const ORGANISATION_WEIGHTS: [u32; 8] = [3, 7, 9, 10, 5, 8, 4, 2];
/// Indexed by the sum mod 11: 11 − the remainder, with 10 as X and 11 as 0.
const ORGANISATION_CHECK_CHARACTERS: [u8; 11] = *b"0X987654321";
