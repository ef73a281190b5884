//! All that a generation holds, row by row in the order of its subjects, in the columns that a service calls for now.
//!
//! Out of scope: looking one subject up (`generation`).

use trust::value::Value;

use super::blocks::{Found, Subjects};
use super::generation::{Opened, service_columns};
use crate::records::columns::{Column, Columns};
use crate::records::import::OldSubject;
use crate::records::packed::{unpack, unpack_slice};

/// Reads everything.
pub(super) struct Scan<'a> {
    opened: Opened<'a>,
    subjects: Subjects<'a>,
    /// For each column of the new store, where it stands in the old one.
    places: Vec<Option<usize>>,
}

impl<'a> Scan<'a> {
    /// # Errors
    /// Why the records cannot be brought under these columns.
    pub(super) fn new(opened: Opened<'a>, columns: &Columns, stored: &[Column]) -> Result<Self, String> {
        let held = |name: &str| opened.columns.iter().position(|column| column.name() == name);
        let schemes = columns.schemes().iter().map(|scheme| scheme.as_str());
        if !schemes.eq(opened.manifest.schemes.iter().map(String::as_str)) {
            return Err("the service takes other subject schemes than the records were imported with".to_owned());
        }
        for column in columns.columns() {
            match held(column.name()) {
                None => return Err(format!("the records lack the column {}", column.name())),
                Some(old) if !column.reads(&opened.columns[old]) => {
                    return Err(format!("the column {} has another type or other members", column.name()));
                }
                Some(_) => {}
            }
        }
        let gone = |old: &&Column| columns.position(old.name()).is_none();
        if let Some(old) = service_columns(opened.columns).iter().find(gone) {
            return Err(format!("the column {} is gone", old.name()));
        }
        let places = stored.iter().map(|column| held(column.name())).collect();
        Ok(Self { subjects: Subjects::new(opened.store), opened, places })
    }

    /// The next subject.
    pub(super) fn next(&mut self) -> Result<Option<OldSubject>, String> {
        let damaged = || "a row of the records is damaged: import them again".to_owned();
        let Some((key, found)) = self.subjects.next().map_err(|error| error.to_string())? else { return Ok(None) };
        let packed = match found {
            Found::Rows(packed) => packed,
            Found::Nothing | Found::Quarantined => return Ok(Some(OldSubject { key, rows: None })),
        };
        let (mut rest, mut rows) = (packed.as_slice(), Vec::new());
        while !rest.is_empty() {
            let row = unpack_slice(&mut rest).and_then(|row| unpack(row, self.opened.columns)).ok_or_else(damaged)?;
            let value = |place: &Option<usize>| -> Option<Value> { place.and_then(|place| row[place].clone()) };
            rows.push(self.places.iter().map(value).collect());
        }
        Ok(Some(OldSubject { key, rows: Some(rows) }))
    }
}
