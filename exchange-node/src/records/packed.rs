//! Rows in few bytes: a bit for each column that is null, then the values in the order of the columns, each in the
//! shortest form of its type. Names and types stand once for all rows, in the generation's manifest.
//!
//! Out of scope: how rows lie in the store. Bytes that cannot be read are damage, and the caller says so.

use jiff::civil::Date;
use rust_decimal::Decimal;
use trust::value::{AttributeType, Type, Value};

use super::columns::Column;

/// Appends the row `values`, one for each of `columns`, to `out`. A value that is not of its column's type is packed as
/// null; whoever packs has checked it.
pub(super) fn pack(values: &[Option<Value>], columns: &[Column], out: &mut Vec<u8>) {
    let bits = out.len();
    out.resize(bits + columns.len().div_ceil(8), 0);
    for (index, (value, column)) in values.iter().zip(columns).enumerate() {
        let Some(value) = value.as_ref().filter(|value| value.is_of(column.ty())) else { continue };
        if pack_value(value, column.ty(), out) {
            out[bits + index / 8] |= 1 << (index % 8);
        }
    }
}

/// Reads one row, which must take up all of `bytes`. `None`: damaged.
pub(super) fn unpack(bytes: &[u8], columns: &[Column]) -> Option<Vec<Option<Value>>> {
    let (bits, mut rest) = bytes.split_at_checked(columns.len().div_ceil(8))?;
    let mut values = Vec::with_capacity(columns.len());
    for (index, column) in columns.iter().enumerate() {
        let is_present = bits[index / 8] & (1 << (index % 8)) != 0;
        values.push(if is_present { Some(unpack_value(&mut rest, column.ty())?) } else { None });
    }
    rest.is_empty().then_some(values)
}

/// Appends a whole number in groups of seven bits, the lowest first.
pub(super) fn pack_number(mut number: u128, out: &mut Vec<u8>) {
    loop {
        // Seven bits fit into a byte.
        let low = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

/// Takes a number that [`pack_number`] wrote from the front of `bytes`.
pub(super) fn unpack_number(bytes: &mut &[u8]) -> Option<u128> {
    let mut number = 0_u128;
    for shift in (0..128).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let low = u128::from(byte & 0x7f);
        if shift > 121 && low >> (128 - shift) != 0 {
            return None;
        }
        number |= low << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// As [`unpack_number`], as a length within what is left of `bytes`.
pub(super) fn unpack_length(bytes: &mut &[u8]) -> Option<usize> {
    let length = usize::try_from(unpack_number(bytes)?).ok()?;
    (length <= bytes.len()).then_some(length)
}

/// Takes a length and that many bytes from the front of `bytes`.
pub(super) fn unpack_slice<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = unpack_length(bytes)?;
    let (slice, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(slice)
}

/// Appends the length of `slice` and `slice`.
pub(super) fn pack_slice(slice: &[u8], out: &mut Vec<u8>) {
    pack_number(slice.len() as u128, out);
    out.extend_from_slice(slice);
}

fn pack_value(value: &Value, ty: &AttributeType, out: &mut Vec<u8>) -> bool {
    match value {
        Value::Boolean(boolean) => out.push(u8::from(*boolean)),
        Value::Date(date) => {
            out.extend_from_slice(&date.year().to_be_bytes());
            out.extend_from_slice(&[date.month().unsigned_abs(), date.day().unsigned_abs()]);
        }
        Value::Decimal(decimal) => {
            pack_number(u128::from(decimal.scale()), out);
            pack_number(zigzag(decimal.mantissa()), out);
        }
        Value::Integer(integer) => pack_number(zigzag(i128::from(*integer)), out),
        Value::List(values) => {
            let element = ty.element();
            pack_number(values.len() as u128, out);
            return values.iter().all(|value| pack_value(value, &element, out));
        }
        Value::Text(text) if ty.ty() == Type::Enum => {
            let Some(index) = ty.members().iter().position(|member| member == text) else { return false };
            pack_number(index as u128, out);
        }
        Value::Text(text) => pack_slice(text.as_bytes(), out),
    }
    true
}

fn unpack_value(bytes: &mut &[u8], ty: &AttributeType) -> Option<Value> {
    match ty.ty() {
        Type::Boolean => {
            let (byte, rest) = bytes.split_first()?;
            *bytes = rest;
            (*byte <= 1).then_some(Value::Boolean(*byte == 1))
        }
        Type::Date => {
            let ([y1, y2, month, day], rest) = bytes.split_first_chunk()?;
            *bytes = rest;
            let (month, day) = (i8::try_from(*month).ok()?, i8::try_from(*day).ok()?);
            Date::new(i16::from_be_bytes([*y1, *y2]), month, day).ok().map(Value::Date)
        }
        Type::Decimal => {
            let scale = u32::try_from(unpack_number(bytes)?).ok()?;
            let mantissa = unzigzag(unpack_number(bytes)?);
            Decimal::try_from_i128_with_scale(mantissa, scale).ok().map(Value::Decimal)
        }
        Type::Enum => {
            let index = usize::try_from(unpack_number(bytes)?).ok()?;
            ty.members().get(index).cloned().map(Value::Text)
        }
        Type::Integer => i64::try_from(unzigzag(unpack_number(bytes)?)).ok().map(Value::Integer),
        Type::List => {
            // Every value takes a byte at least, so this is bounded by what is there.
            let length = unpack_length(bytes)?;
            let element = ty.element();
            (0..length).map(|_| unpack_value(bytes, &element)).collect::<Option<_>>().map(Value::List)
        }
        Type::String => String::from_utf8(unpack_slice(bytes)?.to_vec()).ok().map(Value::Text),
        // A type that this version does not know was packed by a newer one.
        _ => None,
    }
}

/// Small numbers of either sign become small numbers.
fn zigzag(number: i128) -> u128 {
    ((number << 1) ^ (number >> 127)).cast_unsigned()
}

fn unzigzag(number: u128) -> i128 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ty(ty: Type, members: &[&str]) -> AttributeType {
        AttributeType::new(ty, members.iter().map(|member| (*member).to_owned()).collect()).unwrap()
    }

    fn columns() -> Vec<Column> {
        let types = [
            ty(Type::Boolean, &[]),
            ty(Type::Date, &[]),
            ty(Type::Decimal, &[]),
            ty(Type::Enum, &["single", "married"]),
            ty(Type::Integer, &[]),
            ty(Type::List, &[]),
            ty(Type::List, &["a", "b"]),
            ty(Type::String, &[]),
            ty(Type::String, &[]),
        ];
        types.into_iter().enumerate().map(|(index, ty)| Column::stored(format!("c{index}"), ty, false)).collect()
    }

    fn read(texts: &[&str]) -> Vec<Option<Value>> {
        let read = |(text, column): (&&str, Column)| match *text {
            "" => None,
            text => Some(Value::read(text, column.ty()).unwrap()),
        };
        texts.iter().zip(columns()).map(read).collect()
    }

    #[test]
    fn a_row_comes_back_as_it_was() {
        for texts in [
            ["true", "2024-02-29", "-60000.00", "married", "-9223372036854775808", "x;y", "b;a", "张三", "z"],
            ["false", "0001-01-01", "0.0", "single", "9223372036854775807", "x", "a", "𠮷", ""],
            ["", "9999-12-31", "9999999999999999999999999999", "", "0", "", "", "", "only"],
            ["", "", "", "", "", "", "", "", ""],
        ] {
            let values = read(&texts);
            let mut bytes = Vec::new();
            pack(&values, &columns(), &mut bytes);
            let back = unpack(&bytes, &columns()).unwrap();
            assert!(back == values, "{texts:?}");
            // A decimal keeps its trailing zeros, which equality does not see.
            let spelling = |row: &[Option<Value>]| row[2].as_ref().map(Value::to_text);
            assert_eq!(spelling(&back), spelling(&values));
        }
    }

    #[test]
    fn a_usual_row_takes_few_bytes() {
        let mut bytes = Vec::new();
        pack(&read(&["true", "2024-02-29", "48000.00", "married"]), &columns()[..4], &mut bytes);
        assert_eq!(bytes.len(), 1 + 1 + 4 + 1 + 4 + 1);
    }

    #[test]
    fn bytes_too_many_or_too_few_are_damage() {
        let mut bytes = Vec::new();
        pack(&read(&["true", "2024-02-29", "1.5", "single", "7", "x;y", "a", "text", "z"]), &columns(), &mut bytes);
        for length in 0..bytes.len() {
            assert!(unpack(&bytes[..length], &columns()).is_none(), "cut at {length}");
        }
        bytes.push(0);
        assert!(unpack(&bytes, &columns()).is_none());
    }

    proptest! {
        #[test]
        fn numbers_come_back(number: u128, signed: i128) {
            let mut bytes = Vec::new();
            pack_number(number, &mut bytes);
            let mut rest = bytes.as_slice();
            prop_assert_eq!(unpack_number(&mut rest), Some(number));
            prop_assert!(rest.is_empty());
            prop_assert_eq!(unzigzag(zigzag(signed)), signed);
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>) {
            let _ = unpack(&bytes, &columns());
            let _ = unpack_number(&mut bytes.as_slice());
        }
    }
}
