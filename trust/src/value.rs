//! Typed values: what a record holds and what a claim compares it with, in one spelling that both nodes agree on to the
//! byte. Decimals and dates travel as text and are read exactly, so that no float and no guess ever touches them.
//!
//! Out of scope: comparing values (`claim`), and where they come from (importers, office systems). An empty cell of a
//! file is no value at all: whoever reads the file says so, and does not call [`Value::read`].

mod read;
mod types;

use std::fmt;

use jiff::civil::Date;
use proto::exchange::v1::{self as wire, value::Kind};
use rust_decimal::Decimal;

pub use self::types::{AttributeType, MEMBER_LIMIT, MemberError, Type, TypeUnknown};

/// The longest text, in characters, after normalisation.
pub const TEXT_LIMIT: usize = 1_000;

/// The most digits of a decimal, before and after the point together.
pub const DIGIT_LIMIT: usize = 28;

/// The most values in a list.
pub const LIST_LIMIT: usize = 64;

/// What parts the values of a list where the list is written as one text.
pub const LIST_SEPARATOR: char = ';';

/// A value of a record or a claim. The set of kinds is closed, as on the wire: another would be a new wire version.
///
/// `Debug` names the type alone: values are personal data, and `Debug` output ends in logs. There is no `Display`.
/// Equality is the value's: decimals are equal whatever their trailing zeros, texts only where they are equal exactly.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Value {
    /// True or false.
    Boolean(bool),
    /// A calendar date, years 1 to 9999.
    Date(Date),
    /// A decimal number of at most [`DIGIT_LIMIT`] digits.
    Decimal(Decimal),
    /// A whole number.
    Integer(i64),
    /// Several texts, at most [`LIST_LIMIT`].
    List(Vec<Value>),
    /// A text, or a member of an enumeration: NFKC, without outer white space, at most [`TEXT_LIMIT`] characters.
    Text(String),
}

impl Value {
    /// Reads a text in its usual form as a value of the type `ty`.
    ///
    /// The text is brought to NFKC (full-width digits and letters become ASCII) and loses its outer white space. Then:
    /// booleans are `true` or `false`; integers and decimals are ASCII digits without leading zeros, with `-` before and,
    /// for decimals, one `.` between digits (no exponent, no `+`, no thousands separators, and minus zero is zero); dates
    /// are `YYYY-MM-DD`; members of an enumeration are spelled as the service description spells them; the texts of a
    /// list are parted by `;`. An empty text is no value of any type.
    ///
    /// # Errors
    /// Says what is wrong and never repeats any part of the text.
    pub fn read(text: &str, ty: &AttributeType) -> Result<Self, ValueError> {
        read::value(text, ty)
    }

    /// The value of an office's message as a value of the type `ty`.
    ///
    /// Offices may send any value as text, read as by [`Value::read`], and a whole number where a decimal is asked for.
    ///
    /// # Errors
    /// As [`Value::read`]; and where nothing is set, the type is another, or a list is too long.
    pub fn from_proto(value: &wire::Value, ty: &AttributeType) -> Result<Self, ValueError> {
        match (ty.ty(), value.kind.as_ref().ok_or(ValueError::Missing)?) {
            (_, Kind::Text(text)) | (Type::Date, Kind::Date(text)) | (Type::Decimal, Kind::Decimal(text)) => {
                Self::read(text, ty)
            }
            (Type::Boolean, Kind::Boolean(boolean)) => Ok(Self::Boolean(*boolean)),
            (Type::Decimal, Kind::Integer(integer)) => Ok(Self::Decimal(Decimal::from(*integer))),
            (Type::Integer, Kind::Integer(integer)) => Ok(Self::Integer(*integer)),
            (Type::List, Kind::List(list)) => {
                read::list_length(list.values.len())?;
                let element = ty.element();
                list.values
                    .iter()
                    .map(|value| Self::element_from_proto(value, &element))
                    .collect::<Result<_, _>>()
                    .map(Self::List)
            }
            _ => Err(ValueError::KindWrong { ty: ty.ty() }),
        }
    }

    fn element_from_proto(value: &wire::Value, ty: &AttributeType) -> Result<Self, ValueError> {
        match Self::from_proto(value, ty)? {
            Self::Text(text) if text.contains(LIST_SEPARATOR) => Err(ValueError::ListSeparator),
            element => Ok(element),
        }
    }

    /// The value of a signed message, which must be of exactly the type `ty` and in the one spelling of [`Value::to_proto`].
    ///
    /// What is signed must mean one thing, to both nodes now and to a court in ten years: nothing is converted here.
    ///
    /// # Errors
    /// As [`Value::from_proto`], and [`ValueError::NotCanonical`].
    pub fn from_proto_strict(value: &wire::Value, ty: &AttributeType) -> Result<Self, ValueError> {
        let read = Self::from_proto(value, ty)?;
        let canonical = read.to_proto();
        match (&canonical.kind, &value.kind) {
            (ours, theirs) if ours == theirs => Ok(read),
            (Some(ours), Some(theirs)) if std::mem::discriminant(ours) == std::mem::discriminant(theirs) => {
                Err(ValueError::NotCanonical)
            }
            _ => Err(ValueError::KindWrong { ty: ty.ty() }),
        }
    }

    /// The value as it stands in signed messages. A decimal keeps its trailing zeros.
    #[must_use]
    pub fn to_proto(&self) -> wire::Value {
        let kind = match self {
            Self::Boolean(boolean) => Kind::Boolean(*boolean),
            Self::Date(date) => Kind::Date(date.to_string()),
            Self::Decimal(decimal) => Kind::Decimal(decimal_text(*decimal)),
            Self::Integer(integer) => Kind::Integer(*integer),
            Self::List(values) => Kind::List(wire::ValueList { values: values.iter().map(Self::to_proto).collect() }),
            Self::Text(text) => Kind::Text(text.clone()),
        };
        wire::Value { kind: Some(kind) }
    }

    /// The value as a text that [`Value::read`] reads as the same value. Personal data: for the office's result and for
    /// the store, never for logs.
    #[must_use]
    pub fn to_text(&self) -> String {
        match self {
            Self::Boolean(boolean) => boolean.to_string(),
            Self::Date(date) => date.to_string(),
            Self::Decimal(decimal) => decimal_text(*decimal),
            Self::Integer(integer) => integer.to_string(),
            Self::List(values) => {
                values.iter().map(Self::to_text).collect::<Vec<_>>().join(LIST_SEPARATOR.encode_utf8(&mut [0; 4]))
            }
            Self::Text(text) => text.clone(),
        }
    }

    /// Whether this is a value of the type `ty`: of its kind, a member where there are members, and not empty.
    #[must_use]
    pub fn is_of(&self, ty: &AttributeType) -> bool {
        match (ty.ty(), self) {
            (Type::Boolean, Self::Boolean(_))
            | (Type::Date, Self::Date(_))
            | (Type::Decimal, Self::Decimal(_))
            | (Type::Integer, Self::Integer(_)) => true,
            (Type::Enum, Self::Text(text)) => ty.has_member(text),
            (Type::List, Self::List(values)) => {
                let element = ty.element();
                !values.is_empty() && values.iter().all(|value| value.is_of(&element))
            }
            (Type::String, Self::Text(text)) => !text.is_empty(),
            _ => false,
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Boolean(_) => "Boolean(…)",
            Self::Date(_) => "Date(…)",
            Self::Decimal(_) => "Decimal(…)",
            Self::Integer(_) => "Integer(…)",
            Self::List(_) => "List(…)",
            Self::Text(_) => "Text(…)",
        })
    }
}

/// Why something is not a value of its type. No message repeats the value: messages are logged, values are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// Not `true` or `false`.
    #[error("must be true or false")]
    BooleanMalformed,
    /// A control character, or one that a reader cannot see. Positions count from 1 in the normalised text.
    #[error("character {position} is a control character or cannot be seen")]
    CharacterNotAllowed {
        /// Where the character stands, from 1.
        position: usize,
    },
    /// Not a date in the form `YYYY-MM-DD`, or no day of the calendar.
    #[error("must be a day of the calendar, written YYYY-MM-DD")]
    DateMalformed,
    /// No decimal number, or more than 28 digits.
    #[error("must be a decimal number such as 60000.00, of at most 28 digits, without exponent or separators")]
    DecimalMalformed,
    /// Nothing but white space.
    #[error("must not be empty")]
    Empty,
    /// No whole number, or outside 64 bits.
    #[error("must be a whole number within 64 bits, without leading zeros or separators")]
    IntegerMalformed,
    /// Another kind of value.
    #[error("must be {}", ty.form())]
    KindWrong {
        /// The type that was expected.
        ty: Type,
    },
    /// An empty list, or too many values.
    #[error("a list has 1 to 64 values")]
    ListLength,
    /// A value of a list contains the separator.
    #[error("a value of a list must not contain a semicolon")]
    ListSeparator,
    /// Not among the members of the enumeration.
    #[error("must be one of the {count} members that the service description names, spelled as there")]
    MemberUnknown {
        /// How many members there are.
        count: usize,
    },
    /// No kind of value is set.
    #[error("must be set")]
    Missing,
    /// Another spelling than the one that is signed.
    #[error("must be in its canonical spelling: NFKC, no outer white space, numbers without needless signs")]
    NotCanonical,
    /// More than 1,000 characters.
    #[error("a text has at most 1,000 characters")]
    TextTooLong,
}

/// Minus zero is zero, and is written so.
fn decimal_text(mut decimal: Decimal) -> String {
    if decimal.is_zero() {
        decimal.set_sign_positive(true);
    }
    decimal.to_string()
}

#[cfg(test)]
mod tests;
