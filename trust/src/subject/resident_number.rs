//! Resident identity numbers (公民身份号码), GB 11643-1999: six digits of division, eight of the birth date, three of
//! sequence (odd for men), one check character (ISO 7064 MOD 11-2).
//!
//! Out of scope: whether the division code was ever assigned, and whether the number was ever issued.

use std::fmt;

use jiff::civil::Date;

use super::canonical_text;

/// The earliest birth year accepted.
pub const EARLIEST_YEAR: i16 = 1880;

/// The latest birth year accepted.
pub const LATEST_YEAR: i16 = 2199;

/// A valid resident identity number, 18 characters. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResidentNumber {
    text: String,
    birth_date: Date,
}

impl ResidentNumber {
    /// Parses a number as people write it: full-width characters, white space and a small `x` are accepted, and so is
    /// the 15-digit form issued until 1999, which becomes the 18-digit number with century 19 and its check character.
    ///
    /// # Errors
    /// The first thing found wrong, in the order length, characters, date, check character.
    pub fn parse(raw: &str) -> Result<Self, ResidentNumberError> {
        let text =
            canonical_text(raw).ok_or_else(|| ResidentNumberError::LengthWrong { length: raw.chars().count() })?;
        let length = text.chars().count();
        let is_old_form = match length {
            OLD_LENGTH => true,
            LENGTH => false,
            _ => return Err(ResidentNumberError::LengthWrong { length }),
        };
        let digits = if is_old_form { OLD_LENGTH } else { LENGTH - 1 };
        if let Some(index) = text.chars().take(digits).position(|c| !c.is_ascii_digit()) {
            return Err(ResidentNumberError::DigitExpected { position: index + 1 });
        }
        if is_old_form {
            // All fifteen are ASCII digits here, so byte positions are character positions.
            return Self::checked(format!("{}19{}", &text[..6], &text[6..]));
        }
        let given = text.chars().next_back().filter(|c| c.is_ascii_digit() || *c == 'X');
        let given = given.ok_or(ResidentNumberError::CheckCharacterExpected)?;
        let number = Self::checked(text[..LENGTH - 1].to_owned())?;
        let expected = char::from(number.text.as_bytes()[LENGTH - 1]);
        if given != expected {
            return Err(ResidentNumberError::CheckCharacterWrong { expected });
        }
        Ok(number)
    }

    /// Makes the number for a division of six digits, a birth date and a sequence number, with its check character.
    /// Meant for generators of made-up people.
    ///
    /// # Errors
    /// [`ResidentNumberError::DivisionMalformed`], [`ResidentNumberError::SequenceTooLarge`] or
    /// [`ResidentNumberError::YearOutOfRange`].
    pub fn compose(division: &str, birth_date: Date, sequence: u16) -> Result<Self, ResidentNumberError> {
        if division.len() != 6 || !division.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(ResidentNumberError::DivisionMalformed);
        }
        if sequence > 999 {
            return Err(ResidentNumberError::SequenceTooLarge);
        }
        // The year is printed as four digits only while it is in range, so this stands before the formatting.
        if !(EARLIEST_YEAR..=LATEST_YEAR).contains(&birth_date.year()) {
            return Err(ResidentNumberError::YearOutOfRange);
        }
        let (year, month, day) = (birth_date.year(), birth_date.month(), birth_date.day());
        Self::checked(format!("{division}{year:04}{month:02}{day:02}{sequence:03}"))
    }

    /// Checks the date in `body`, seventeen ASCII digits, and appends the check character.
    fn checked(body: String) -> Result<Self, ResidentNumberError> {
        let number = |range: std::ops::Range<usize>| {
            body.as_bytes()[range].iter().fold(0_i16, |value, byte| value * 10 + i16::from(byte - b'0'))
        };
        let year = number(6..10);
        if !(EARLIEST_YEAR..=LATEST_YEAR).contains(&year) {
            return Err(ResidentNumberError::YearOutOfRange);
        }
        // Two digits each, so neither conversion can fail; the calendar decides.
        let month = i8::try_from(number(10..12)).map_err(|_| ResidentNumberError::DateNotReal)?;
        let day = i8::try_from(number(12..14)).map_err(|_| ResidentNumberError::DateNotReal)?;
        let birth_date = Date::new(year, month, day).map_err(|_| ResidentNumberError::DateNotReal)?;
        let mut text = body;
        text.push(check_character(text.as_bytes()));
        Ok(Self { text, birth_date })
    }

    /// The 18 characters. Personal data; keep it out of logs and URLs.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The 18 characters, owned.
    #[must_use]
    pub fn into_string(self) -> String {
        self.text
    }

    /// The birth date the number states.
    #[must_use]
    pub fn birth_date(&self) -> Date {
        self.birth_date
    }

    /// The six digits of the division the number was issued in, GB/T 2260 (province, prefecture, county).
    #[must_use]
    pub fn division(&self) -> &str {
        &self.text[..6]
    }

    /// The sex the number states: an odd sequence is male.
    #[must_use]
    pub fn sex(&self) -> Sex {
        if (self.text.as_bytes()[LENGTH - 2] - b'0').is_multiple_of(2) { Sex::Female } else { Sex::Male }
    }
}

impl fmt::Debug for ResidentNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResidentNumber(…)")
    }
}

/// The sex that a resident number states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sex {
    /// The sequence number is even.
    Female,
    /// The sequence number is odd.
    Male,
}

/// Why a text is not a resident identity number. Positions count from 1 in the canonical text; no message repeats the
/// text itself. The expected check character tells nothing that the reader of the other 17 could not compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResidentNumberError {
    /// The last character is neither a digit nor `X`.
    #[error("the last character of a resident number is a digit or X")]
    CheckCharacterExpected,
    /// A digit was mistyped, or two were swapped.
    #[error("the check character of the resident number is wrong: its other digits call for {expected}")]
    CheckCharacterWrong {
        /// What the first seventeen digits call for.
        expected: char,
    },
    /// Month or day do not exist in that year.
    #[error("the birth date in the resident number (characters 7 to 14) is not a calendar date")]
    DateNotReal,
    /// Something else stands where a digit must.
    #[error("character {position} of the resident number is not a digit")]
    DigitExpected {
        /// Where it stands, from 1.
        position: usize,
    },
    /// The division to compose a number for is not six digits.
    #[error("a division code has six digits")]
    DivisionMalformed,
    /// Neither 18 characters nor, in the form issued until 1999, 15.
    #[error("a resident number has 18 characters (15 in the old form), this one has {length}")]
    LengthWrong {
        /// The characters there were, after canonicalisation.
        length: usize,
    },
    /// The sequence number to compose a number for has more than three digits.
    #[error("a sequence number has three digits")]
    SequenceTooLarge,
    /// The birth year is outside [`EARLIEST_YEAR`] to [`LATEST_YEAR`].
    #[error("the birth year in the resident number (characters 7 to 10) is not between 1880 and 2199")]
    YearOutOfRange,
}

/// The check character for the first seventeen digits (annex A of the standard).
fn check_character(digits: &[u8]) -> char {
    let sum: u32 = digits.iter().zip(WEIGHTS).map(|(digit, weight)| u32::from(digit - b'0') * weight).sum();
    char::from(CHECK_CHARACTERS[(sum % 11) as usize])
}

const LENGTH: usize = 18;
const OLD_LENGTH: usize = 15;
const WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
const CHECK_CHARACTERS: [u8; 11] = *b"10X98765432";
