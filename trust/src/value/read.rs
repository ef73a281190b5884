//! The written forms of values: what a text must look like to be read as a value of a type.
//!
//! Every form is checked here character by character before a library sees it, because libraries accept more than one
//! spelling ("1e5", "+7", "20261122") and the spelling decides whether two departments mean the same.

use jiff::civil::Date;
use rust_decimal::Decimal;
use unicode_normalization::UnicodeNormalization;

use super::{AttributeType, DIGIT_LIMIT, LIST_LIMIT, LIST_SEPARATOR, TEXT_LIMIT, Type, Value, ValueError};

/// The most bytes of a character. NFKC can make a text eighteen times longer, so a limit stands before it too.
const CHARACTER_BYTES: usize = 4;

/// Reads `raw` as a value of the type `ty`; see [`Value::read`].
pub(super) fn value(raw: &str, ty: &AttributeType) -> Result<Value, ValueError> {
    if ty.ty() == Type::List {
        return list(raw, ty);
    }
    let text = text(raw)?;
    match ty.ty() {
        Type::Boolean => match text.as_str() {
            "true" => Ok(Value::Boolean(true)),
            "false" => Ok(Value::Boolean(false)),
            _ => Err(ValueError::BooleanMalformed),
        },
        Type::Date => date(&text).map(Value::Date).ok_or(ValueError::DateMalformed),
        Type::Decimal => decimal(&text).map(Value::Decimal).ok_or(ValueError::DecimalMalformed),
        Type::Integer => integer(&text).map(Value::Integer).ok_or(ValueError::IntegerMalformed),
        Type::Enum if !ty.has_member(&text) => Err(ValueError::MemberUnknown { count: ty.members().len() }),
        Type::Enum | Type::List | Type::String => Ok(Value::Text(text)),
    }
}

/// The canonical form of a text.
pub(super) fn text(raw: &str) -> Result<String, ValueError> {
    bounded(raw, TEXT_LIMIT)
}

/// Whether a list may have `length` values.
pub(super) fn list_length(length: usize) -> Result<(), ValueError> {
    if (1..=LIST_LIMIT).contains(&length) { Ok(()) } else { Err(ValueError::ListLength) }
}

fn list(raw: &str, ty: &AttributeType) -> Result<Value, ValueError> {
    let text = bounded(raw, LIST_LIMIT * (TEXT_LIMIT + 1))?;
    list_length(text.split(LIST_SEPARATOR).take(LIST_LIMIT + 1).count())?;
    let element = ty.element();
    text.split(LIST_SEPARATOR).map(|part| value(part, &element)).collect::<Result<_, _>>().map(Value::List)
}

fn bounded(raw: &str, limit: usize) -> Result<String, ValueError> {
    if raw.len() > limit * CHARACTER_BYTES {
        return Err(ValueError::TextTooLong);
    }
    // Nearly every value but a name is ASCII, and imports read millions of them.
    let text = if raw.is_ascii() { raw.trim().to_owned() } else { raw.nfkc().collect::<String>().trim().to_owned() };
    if text.is_empty() {
        return Err(ValueError::Empty);
    }
    if let Some(index) = text.chars().position(is_unreadable) {
        return Err(ValueError::CharacterNotAllowed { position: index + 1 });
    }
    if text.chars().count() > limit { Err(ValueError::TextTooLong) } else { Ok(text) }
}

/// Whether a character would make two texts differ that look the same on paper. A byte order mark left in a register
/// would turn every comparison with that record into a false mismatch. Joiners (U+200C, U+200D) and variation selectors
/// carry meaning in scripts in use, and pass.
fn is_unreadable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{feff}' | '\u{fff9}'..='\u{fffd}' | '\u{e0000}'..='\u{e007f}')
}

fn date(text: &str) -> Option<Date> {
    let bytes = text.as_bytes();
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = *bytes else { return None };
    let number = |digits: &[u8]| {
        digits.iter().try_fold(0i16, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + i16::from(digit - b'0')))
    };
    let year = number(&[y1, y2, y3, y4]).filter(|year| *year >= 1)?;
    let month = i8::try_from(number(&[m1, m2])?).ok()?;
    let day = i8::try_from(number(&[d1, d2])?).ok()?;
    Date::new(year, month, day).ok()
}

fn integer(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if is_whole(digits) { text.parse().ok() } else { None }
}

fn decimal(text: &str) -> Option<Decimal> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = match unsigned.split_once('.') {
        Some((_, "")) => return None,
        Some((whole, fraction)) => (whole, fraction),
        None => (unsigned, ""),
    };
    if !is_whole(whole) || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    if whole.len() + fraction.len() > DIGIT_LIMIT {
        return None;
    }
    Decimal::from_str_exact(text).ok()
}

/// Digits without a leading zero: "007" is a code that someone declared as a number, not a quantity.
fn is_whole(digits: &str) -> bool {
    !digits.is_empty()
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && (digits.len() == 1 || !digits.starts_with('0'))
}
