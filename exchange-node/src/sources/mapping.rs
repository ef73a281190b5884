//! From what a source gives to values of the service's attributes, as the configuration says: code lists, dates in the
//! usual forms, exact numbers, texts made canonical.
//!
//! **Invariant:** nothing is guessed. A code that no list names, a number that went through a float, a text in another
//! form: the cell counts as unreadable, and a claim on it is `UNAVAILABLE`, with a reason for the operator that does not
//! repeat the value.
//!
//! Out of scope: what rows mean for a claim (`trust::claim`).

use std::collections::BTreeMap;

use jiff::civil::Date;
use trust::{
    claim::Row,
    service::Service,
    subject::Subject,
    value::{AttributeType, LIST_SEPARATOR, Type, Value},
};
use unicode_normalization::UnicodeNormalization;

use super::{
    FoundColumn,
    dates::{self, DateForm},
    fields::Table,
    raw::{Fetched, Raw, Shape},
};
use crate::records::{Columns, SUBJECT_ROW_LIMIT};

/// How one column is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColumnMapping {
    /// The column of the source, where it is called otherwise than the attribute.
    pub from: Option<String>,
    /// What each code of the source means. Where there are codes, no other text is read.
    pub codes: Option<BTreeMap<String, String>>,
    /// The forms that dates have; all the usual ones where this is empty.
    pub dates: Vec<DateForm>,
    /// Texts that stand for no value, beside an empty one.
    pub null: Vec<String>,
    /// What parts the values of a list; `;` where it is not said.
    pub separator: Option<String>,
}

/// How the rows of a service are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapping {
    /// By column of the service. A column that is not here is read as it is.
    pub columns: BTreeMap<String, ColumnMapping>,
}

/// One cell, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// No value.
    Null,
    /// The value.
    Value(Value),
    /// There is something, and it is not a value of the attribute.
    Unreadable(
        /// Why, without the value.
        String,
    ),
}

/// The rows of a service, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapped {
    /// The rows that the inputs select.
    pub rows: Vec<Row>,
    /// The oldest of the rows by the service's own column; `None` where the service has none, or a row does not say.
    pub as_of: Option<Date>,
    /// The attributes that the source gives no column for: a claim on one is `UNAVAILABLE`.
    pub lacking: Vec<String>,
    /// What could not be read, for the operator: each column and reason once, without values.
    pub notes: Vec<String>,
}

impl Mapping {
    /// What the source calls a column of the service.
    pub fn source_name<'a>(&'a self, column: &'a str) -> &'a str {
        self.columns.get(column).and_then(|mapping| mapping.from.as_deref()).unwrap_or(column)
    }
}

impl ColumnMapping {
    /// Reads the table of one column.
    pub fn read(table: &Table<'_, '_>) -> Self {
        let clean_pairs = |codes: BTreeMap<String, String>| {
            codes.into_iter().map(|(code, meaning)| (clean(&code), meaning)).collect::<BTreeMap<_, _>>()
        };
        let forms = table.texts("date").unwrap_or_default();
        let known = DateForm::ALL.map(DateForm::as_str).join(", ");
        let dates = forms.iter().filter_map(|name| {
            let form = DateForm::parse(name);
            if form.is_none() {
                table.mistake("date", format!("{name:?} is no form of dates: {known}"));
            }
            form
        });
        let mapping = Self {
            dates: dates.collect(),
            from: table.text("from"),
            codes: table.pairs("codes").map(clean_pairs),
            null: table.texts("null").unwrap_or_default().iter().map(|text| clean(text)).collect(),
            separator: table.text("separator").filter(|separator| !separator.is_empty()),
        };
        table.finish();
        mapping
    }

    /// Reads one cell as a value of the type `ty`.
    pub fn cell(&self, raw: &Raw, ty: &AttributeType) -> Cell {
        match raw {
            Raw::Null => Cell::Null,
            Raw::Inexact => Cell::Unreadable(INEXACT.to_owned()),
            Raw::List(cells) if ty.ty() == Type::List => self.list(cells, ty),
            Raw::Text(text) => {
                let text = clean(text);
                match text.is_empty() || self.null.contains(&text) {
                    true => Cell::Null,
                    false => self.text(&text, ty),
                }
            }
            // A code may be a number in the table.
            Raw::Integer(_) | Raw::Boolean(_) if self.codes.is_some() => self.text(&raw.shown(), ty),
            raw => read_exactly(raw, ty, &self.dates),
        }
    }

    fn text(&self, text: &str, ty: &AttributeType) -> Cell {
        if ty.ty() == Type::List {
            let separator = self.separator.clone().unwrap_or_else(|| LIST_SEPARATOR.to_string());
            let parts = text.split(separator.as_str()).map(|part| Raw::Text(part.to_owned())).collect::<Vec<_>>();
            return self.list(&parts, ty);
        }
        let text = match self.codes.as_ref().map(|codes| codes.get(text)) {
            Some(None) => return Cell::Unreadable("holds a code that `codes` does not name".to_owned()),
            Some(Some(meaning)) => meaning,
            None => text,
        };
        if ty.ty() == Type::Date && self.codes.is_none() {
            return match dates::read(text, self.forms()) {
                Some(date) => Cell::Value(Value::Date(date)),
                None => Cell::Unreadable("holds a text that is no date in the forms it may have".to_owned()),
            };
        }
        read(text, ty)
    }

    fn list(&self, cells: &[Raw], ty: &AttributeType) -> Cell {
        let element = ty.element();
        let mut values = Vec::new();
        for cell in cells {
            match self.cell(cell, &element) {
                Cell::Null => {}
                Cell::Value(value) => values.push(value),
                unreadable @ Cell::Unreadable(_) => return unreadable,
            }
        }
        let value = Value::List(values);
        match &value {
            Value::List(values) if values.is_empty() => Cell::Null,
            // As many as a list may have, and each fit to stand in one: what the text of it reads as again.
            value => read(&value.to_text(), ty),
        }
    }

    /// Why no cell of that shape can be a value of the type `ty`; `None` where some can.
    fn misfit(&self, shape: &Shape, ty: &AttributeType) -> Option<String> {
        let fits = match shape {
            Shape::Inexact => return Some(INEXACT.to_owned()),
            Shape::Text | Shape::Unknown => true,
            Shape::Boolean => ty.ty() == Type::Boolean || self.codes.is_some(),
            Shape::Integer => ty.ty() != Type::List || self.codes.is_some(),
            Shape::Number => matches!(ty.ty(), Type::Decimal | Type::Integer),
            Shape::Date | Shape::Moment => ty.ty() == Type::Date,
            Shape::List => ty.ty() == Type::List,
            Shape::Foreign(_) => false,
        };
        (!fits).then(|| format!("holds cells of another kind ({shape:?}), which is no {}", ty.ty()))
    }

    fn forms(&self) -> &[DateForm] {
        if self.dates.is_empty() { &DateForm::ALL } else { &self.dates }
    }
}

impl Mapping {
    /// Reads the tables of the columns, where there are any.
    pub fn read(table: &Table<'_, '_>) -> Self {
        let mut mapping = Self::default();
        if let Some(columns) = table.table("columns") {
            for name in columns.names() {
                if let Some(column) = columns.table(&name) {
                    mapping.columns.insert(name, ColumnMapping::read(&column));
                }
            }
        }
        mapping
    }

    /// A column that the configuration reads and the service has not, where there is one.
    pub fn stray(&self, columns: &Columns) -> Option<&str> {
        let is_column = |name: &str| {
            columns.position(name).is_some() || columns.schemes().iter().any(|scheme| scheme.as_str() == name)
        };
        self.columns.keys().map(String::as_str).find(|name| !is_column(name))
    }

    /// Where each column of the service is found among `given`, by its name or by the one that the configuration says.
    pub fn position(&self, column: &str, given: &[String]) -> Option<usize> {
        let name = self.columns.get(column).and_then(|mapping| mapping.from.as_deref()).unwrap_or(column);
        let exact = given.iter().position(|given| given == name);
        exact.or_else(|| given.iter().position(|given| given.eq_ignore_ascii_case(name)))
    }

    /// Reads what a source gave for `subject`. `selected` names the inputs by which the source itself selects; by the
    /// others rows are selected here, so they need a column.
    ///
    /// # Errors
    /// What makes all of it unusable, for the operator.
    pub fn rows(
        &self,
        service: &Service,
        subject: &Subject,
        inputs: &[(String, Value)],
        selected: &dyn Fn(&str) -> bool,
        fetched: &Fetched,
    ) -> Result<Mapped, String> {
        if fetched.rows.len() > SUBJECT_ROW_LIMIT {
            return Err(format!("there are more than {SUBJECT_ROW_LIMIT} rows for one subject"));
        }
        let columns = Columns::of(service).map_err(|error| error.to_string())?;
        let usual = ColumnMapping::default();
        let found = columns.columns().iter().map(|column| {
            let mapping = self.columns.get(column.name()).unwrap_or(&usual);
            (column, mapping, self.position(column.name(), &fetched.columns))
        });
        let found = found.collect::<Vec<_>>();
        let is_found = |name: &str| found.iter().any(|(column, _, place)| column.name() == name && place.is_some());
        if let Some((name, _)) = inputs.iter().find(|(name, _)| !selected(name) && !is_found(name)) {
            return Err(format!("nothing selects rows by the input {name}: neither a parameter nor a column"));
        }
        let as_of_column = service.published.record_as_of_column.as_str();
        if !as_of_column.is_empty() && !is_found(as_of_column) {
            return Err(format!("the column {as_of_column} is missing, which says how fresh a row is"));
        }
        let mut mapped = Mapped { lacking: lacking(service, &is_found), ..Mapped::default() };
        let mut oldest = None;
        for raw in &fetched.rows {
            self.check_subject(subject, &fetched.columns, raw)?;
            let mut row = Row::default();
            let mut is_selected = true;
            let mut as_of = None;
            for (column, mapping, place) in &found {
                let Some(cell) = place.and_then(|place| raw.get(place)) else { continue };
                let cell = mapping.cell(cell, column.ty());
                if let Some((name, value)) = inputs.iter().find(|(name, _)| name == column.name()) {
                    match &cell {
                        Cell::Value(held) => is_selected &= held == value,
                        // A source that selects by itself has said that the row belongs here.
                        _ if selected(name) => {}
                        Cell::Null => {
                            return Err(format!(
                                "column {name}: is null, so nothing says whether the input selects the row"
                            ));
                        }
                        Cell::Unreadable(reason) => return Err(format!("column {name}: {reason}")),
                    }
                }
                match cell {
                    Cell::Null => {}
                    Cell::Value(value) => {
                        if column.name() == as_of_column
                            && let Value::Date(date) = &value
                        {
                            as_of = Some(*date);
                        }
                        row.insert(column.name(), value);
                    }
                    Cell::Unreadable(reason) => {
                        let note = format!("column {}: {reason}", column.name());
                        if !mapped.notes.contains(&note) {
                            mapped.notes.push(note);
                        }
                        row.insert(column.name(), unreadable());
                    }
                }
            }
            if is_selected {
                mapped.rows.push(row);
                oldest = match (oldest, as_of) {
                    (None, as_of) => Some(as_of),
                    (Some(Some(one)), Some(other)) => Some(Some(std::cmp::min::<Date>(one, other))),
                    (Some(_), _) => Some(None),
                };
            }
        }
        mapped.as_of = oldest.flatten();
        Ok(mapped)
    }

    /// What a source's columns lack for the service, for the operator: before anybody asks.
    pub fn fit(&self, service: &Service, selected: &dyn Fn(&str) -> bool, found: &[FoundColumn]) -> Vec<String> {
        let columns = match Columns::of(service) {
            Ok(columns) => columns,
            Err(error) => return vec![error.to_string()],
        };
        let names = found.iter().map(|column| column.name.clone()).collect::<Vec<_>>();
        let usual = ColumnMapping::default();
        let mut remarks = Vec::new();
        for column in columns.columns() {
            let is_input = service.inputs.iter().any(|input| input.name == column.name());
            let mapping = self.columns.get(column.name()).unwrap_or(&usual);
            let Some(place) = self.position(column.name(), &names) else {
                if !(is_input && selected(column.name())) || service.attributes.contains_key(column.name()) {
                    remarks.push(format!("there is no column {}: what needs it is UNAVAILABLE", column.name()));
                }
                continue;
            };
            if let Some(reason) = mapping.misfit(&found[place].shape, column.ty()) {
                remarks.push(format!("column {}: {reason}", column.name()));
            }
            if found[place].nullable == Some(true) {
                remarks.push(format!("column {} may be null: a claim on it is UNAVAILABLE then", column.name()));
            }
        }
        let unknown = self.columns.keys().filter(|name| columns.position(name).is_none());
        remarks
            .extend(unknown.map(|name| format!("the configuration reads a column {name}, and the service has none")));
        remarks
    }

    /// Where the source gives the subject's own column, it must be the subject that was asked for.
    fn check_subject(&self, subject: &Subject, columns: &[String], row: &[Raw]) -> Result<(), String> {
        let scheme = subject.scheme();
        let Some(cell) = self.position(scheme.as_str(), columns).and_then(|place| row.get(place)) else {
            return Ok(());
        };
        let is_same = match cell {
            Raw::Text(text) => Subject::parse_as(scheme, text).is_ok_and(|held| held == *subject),
            _ => false,
        };
        let wrong = || format!("a row came back whose {scheme} is another subject's: look at the query's condition");
        if is_same { Ok(()) } else { Err(wrong()) }
    }
}

/// What stands in a row for a value that cannot be read: a value of no type at all, so that every comparison with it is
/// `UNAVAILABLE`, and yet the row is not without one.
fn unreadable() -> Value {
    Value::List(Vec::new())
}

/// The attributes for which no column is found.
fn lacking(service: &Service, is_found: &dyn Fn(&str) -> bool) -> Vec<String> {
    let lacks = |rule: &trust::claim::AttributeRule| match rule.rows() {
        trust::claim::RowRule::Latest { by } => !is_found(by) || !is_found(rule.name()),
        _ => rule.needs_column() && !is_found(rule.name()),
    };
    service.attributes.values().filter(|rule| lacks(rule)).map(|rule| rule.name().to_owned()).collect()
}

/// A cell that is no text, and has no codes.
fn read_exactly(raw: &Raw, ty: &AttributeType, forms: &[DateForm]) -> Cell {
    let value = match (raw, ty.ty()) {
        (Raw::Boolean(boolean), Type::Boolean) => Value::Boolean(*boolean),
        (Raw::Integer(integer @ (0 | 1)), Type::Boolean) => Value::Boolean(*integer == 1),
        (Raw::Date(date), Type::Date) => Value::Date(*date),
        (Raw::Moment(moment), Type::Date) => Value::Date(moment.date()),
        (Raw::Integer(integer), Type::Date) => {
            let is_compact = forms.is_empty() || forms.contains(&DateForm::Compact);
            return match dates::read(&integer.to_string(), &[DateForm::Compact]).filter(|_| is_compact) {
                Some(date) => Cell::Value(Value::Date(date)),
                None => Cell::Unreadable("holds a number that is no date".to_owned()),
            };
        }
        (Raw::Integer(integer), Type::Integer) => Value::Integer(*integer),
        (Raw::Integer(_) | Raw::Number(_), Type::Decimal) | (Raw::Integer(_), Type::String | Type::Enum) => {
            return read(&raw.shown(), ty);
        }
        (Raw::Number(text), Type::Integer) => match text.split_once('.') {
            Some((whole, fraction)) if fraction.bytes().all(|byte| byte == b'0') => return read(whole, ty),
            _ => return read(text, ty),
        },
        (raw, _) => return Cell::Unreadable(format!("holds {}, which is no {}", raw.kind(), ty.ty())),
    };
    if value.is_of(ty) { Cell::Value(value) } else { Cell::Unreadable("holds a value of another type".to_owned()) }
}

fn read(text: &str, ty: &AttributeType) -> Cell {
    match Value::read(text, ty) {
        Ok(value) => Cell::Value(value),
        Err(error) => Cell::Unreadable(error.to_string()),
    }
}

/// A text as registers mean it: NFKC (full-width digits and letters become ASCII), without outer white space.
fn clean(text: &str) -> String {
    text.nfkc().collect::<String>().trim().to_owned()
}

const INEXACT: &str =
    "holds floating point numbers, which are not exact: CAST it in the query to NUMERIC, DECIMAL or text";

#[cfg(test)]
mod tests;
