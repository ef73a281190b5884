//! One row checked against the service's columns: its subject made canonical, its values read as their types, and
//! everything that is wrong with it said by field. No message repeats a value: the report goes to a terminal and a log.

use std::borrow::Cow;

use proto::exchange::v1 as wire;
use trust::subject::added::Schemes;
use trust::subject::{Scheme, Subject};
use trust::value::{AttributeType, Type, Value};

use super::Order;
use super::changes::Operation;
use crate::records::columns::Columns;
use crate::records::packed;
use crate::sources::mapping::{self, ColumnMapping};
use crate::sources::raw::Raw;

/// What stands in one cell.
pub(super) enum Cell<'a> {
    /// JSON's true or false.
    Boolean(bool),
    /// Nothing, or JSON's null.
    Empty,
    /// A list of texts.
    List(Vec<String>),
    /// JSON's number, as it is written.
    Number(&'a str),
    /// A number that a spreadsheet holds as such.
    SheetNumber(String),
    /// A text with something in it.
    Text(Cow<'a, str>),
}

impl<'a> Cell<'a> {
    /// The cell of a text: one that holds nothing but white space is empty.
    pub(super) fn text(text: Cow<'a, str>) -> Self {
        if text.trim().is_empty() { Self::Empty } else { Self::Text(text) }
    }

    fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    /// What is written in it, where that is a text or a number.
    fn written(&self) -> Option<&str> {
        match self {
            Self::Number(text) => Some(text),
            Self::SheetNumber(text) => Some(text),
            Self::Text(text) => Some(text),
            Self::Boolean(_) | Self::Empty | Self::List(_) => None,
        }
    }
}

/// One thing wrong: the field, and what is wrong with it.
pub(super) type Fault = (String, String);

/// The cells of one row, each where it belongs.
pub(super) struct Cells<'a> {
    /// One for each scheme of the service.
    pub(super) subjects: Vec<Cell<'a>>,
    /// One for each column.
    pub(super) values: Vec<Cell<'a>>,
    /// Whether the row is to be put in or taken out, where a column of the file says so.
    pub(super) operation: Cell<'a>,
    /// What was wrong with the row before its cells were looked at.
    pub(super) faults: Vec<Fault>,
}

impl Cells<'_> {
    /// A row with nothing in it.
    pub(super) fn empty(columns: &Columns) -> Self {
        let empty = |count| std::iter::repeat_with(|| Cell::Empty).take(count).collect();
        Self {
            subjects: empty(columns.schemes().len()),
            values: empty(columns.columns().len()),
            operation: Cell::Empty,
            faults: Vec::new(),
        }
    }
}

/// A row that was checked.
pub(super) struct Checked {
    /// The keys of the subjects it tells: exactly one where nothing is wrong with it.
    pub(super) keys: Vec<Vec<u8>>,
    /// The row as it is stored; of a row to be taken out, the columns of its key.
    pub(super) packed: Vec<u8>,
    /// What becomes of it, where the file holds changes.
    pub(super) operation: Operation,
    /// What is wrong with it; nothing, if it is good.
    pub(super) faults: Vec<Fault>,
}

/// Checks one row; of a file of changes, with what is to be done with it.
pub(super) fn check(cells: Cells<'_>, order: &Order<'_>) -> Checked {
    let Order { columns, changes, known, .. } = order;
    let mut faults = cells.faults;
    let operation = match changes.map(|plan| plan.operation_of(&cells.operation)) {
        None => Operation::Upsert,
        Some(Ok(operation)) => operation,
        Some(Err(fault)) => {
            faults.push(fault);
            Operation::Upsert
        }
    };
    let mut keys = Vec::with_capacity(1);
    let given = cells.subjects.iter().filter(|cell| !cell.is_empty()).count();
    for (index, (cell, scheme)) in cells.subjects.iter().zip(columns.schemes()).enumerate() {
        match subject(cell, *scheme, known) {
            None => {}
            Some(Ok(subject)) => keys.push(subject_key(index, &subject)),
            Some(Err(reason)) => faults.push((scheme.to_string(), reason)),
        }
    }
    if given != 1 {
        let names = columns.schemes().iter().map(|scheme| scheme.as_str()).collect::<Vec<_>>().join(" or ");
        let reason =
            if given == 0 { "is empty: a row needs its subject" } else { "a row has one subject, this one has more" };
        faults.push((names, reason.to_owned()));
    }
    let mut values = Vec::with_capacity(cells.values.len());
    for (index, (cell, column)) in cells.values.iter().zip(columns.columns()).enumerate() {
        let is_key = changes.is_some_and(|plan| plan.is_key(index));
        let read = match cell {
            _ if operation == Operation::Delete && !is_key => Ok(None),
            Cell::Empty if is_key => Err("must not be empty: rows are told apart by it".to_owned()),
            Cell::Empty if column.selects() => Err("must not be empty: rows are selected by it".to_owned()),
            cell => match order.mapping.columns.get(column.name()) {
                None => value(cell, column.ty()),
                Some(mapping) => match mapped(mapping, cell, column.ty()) {
                    Ok(None) if is_key || column.selects() => {
                        Err("must not stand for no value: rows are told apart or selected by it".to_owned())
                    }
                    read => read,
                },
            },
        };
        values.push(read.unwrap_or_else(|reason| {
            faults.push((column.name().to_owned(), reason));
            None
        }));
    }
    let mut packed = Vec::new();
    if faults.is_empty() {
        packed::pack(&values, columns.columns(), &mut packed);
    }
    Checked { keys, packed, operation, faults }
}

/// The key of a subject: the place of its scheme among the stored schemes, and its canonical identifier, which is ASCII
/// and holds no zero byte.
pub(in crate::records) fn subject_key(scheme: usize, subject: &Subject) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + subject.value().len());
    // There are four schemes, and a service description names each of them once at most.
    key.push(u8::try_from(scheme).unwrap_or(u8::MAX));
    key.extend_from_slice(subject.value().as_bytes());
    key
}

fn subject(cell: &Cell<'_>, scheme: Scheme, known: &Schemes) -> Option<Result<Subject, String>> {
    Some(match cell {
        Cell::Empty => return None,
        cell if cell.written().is_some_and(is_spreadsheet_damage) => Err(SPREADSHEET.to_owned()),
        Cell::Text(text) => known.parse_as(scheme, text).map_err(|error| error.to_string()),
        Cell::Number(_) => Err(QUOTE_IT.to_owned()),
        Cell::SheetNumber(_) => Err(FORMAT_IT.to_owned()),
        Cell::Boolean(_) | Cell::List(_) => Err("must be a text".to_owned()),
    })
}

fn value(cell: &Cell<'_>, ty: &AttributeType) -> Result<Option<Value>, String> {
    let read = |text: &str| Value::read(text, ty).map_err(|error| error.to_string());
    let typed = |kind: wire::value::Kind| {
        Value::from_proto(&wire::Value { kind: Some(kind) }, ty).map_err(|error| error.to_string())
    };
    if cell.written().is_some_and(is_spreadsheet_damage) {
        return Err(SPREADSHEET.to_owned());
    }
    match cell {
        Cell::Empty => return Ok(None),
        Cell::Boolean(boolean) => typed(wire::value::Kind::Boolean(*boolean)),
        Cell::List(texts) => {
            let text = |text: &String| wire::Value { kind: Some(wire::value::Kind::Text(text.clone())) };
            typed(wire::value::Kind::List(wire::ValueList { values: texts.iter().map(text).collect() }))
        }
        Cell::Number(text) if matches!(ty.ty(), Type::Decimal | Type::Integer) => read(text),
        Cell::SheetNumber(text) if matches!(ty.ty(), Type::Decimal | Type::Integer) => read(text),
        Cell::Number(_) => Err(QUOTE_IT.to_owned()),
        Cell::SheetNumber(_) => Err(FORMAT_IT.to_owned()),
        Cell::Text(text) => read(text),
    }
    .map(Some)
}

/// A value as the configuration says that the file writes it.
fn mapped(mapping: &ColumnMapping, cell: &Cell<'_>, ty: &AttributeType) -> Result<Option<Value>, String> {
    let raw = match cell {
        Cell::Empty => return Ok(None),
        cell if cell.written().is_some_and(is_spreadsheet_damage) => return Err(SPREADSHEET.to_owned()),
        // A code may be a number in the file.
        Cell::Number(text) if mapping.codes.is_some() => Raw::Text((*text).to_owned()),
        Cell::SheetNumber(text) if mapping.codes.is_some() => Raw::Text(text.clone()),
        Cell::Number(_) | Cell::SheetNumber(_) => return value(cell, ty),
        Cell::Boolean(boolean) => Raw::Boolean(*boolean),
        Cell::List(texts) => Raw::List(texts.iter().cloned().map(Raw::Text).collect()),
        Cell::Text(text) => Raw::Text(text.clone().into_owned()),
    };
    match mapping.cell(&raw, ty) {
        mapping::Cell::Null => Ok(None),
        mapping::Cell::Value(value) => Ok(Some(value)),
        mapping::Cell::Unreadable(reason) => Err(reason),
    }
}

const SPREADSHEET: &str = "a spreadsheet turned the number into something like 8.9E+17: format the column as text, and put \
                           the whole number back";
const FORMAT_IT: &str =
    "the cell holds a number: format the column as text, so that no digit and no leading zero is lost";
const QUOTE_IT: &str = "must be a text: put it in quotation marks, so that no digit is lost";

/// Whether a text looks like a long number that a spreadsheet has rounded: one digit, perhaps more after a point, and an
/// exponent of two digits or more with its sign.
fn is_spreadsheet_damage(text: &str) -> bool {
    let parts = || {
        let (mantissa, exponent) = text.trim().split_once(['E', 'e'])?;
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
        Some((whole, fraction, exponent.strip_prefix(['+', '-'])?))
    };
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    parts().is_some_and(|(whole, fraction, exponent)| {
        whole.len() == 1 && exponent.len() >= 2 && [whole, fraction, exponent].into_iter().all(is_digits)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_spreadsheet_prints_is_damage() {
        for damaged in ["8.9E+17", "8.90101E+17", " 1E+10 ", "9.1e+15", "1.5E-07"] {
            assert!(is_spreadsheet_damage(damaged), "{damaged}");
        }
        for fine in ["8E7", "E+17", "12.5E+10", "1.E+10", "ME+10", "1.5E+1x", "", "甲E+17", "91890000000000001E"] {
            assert!(!is_spreadsheet_damage(fine), "{fine}");
        }
    }
}
