//! From the file to sorted entries: the columns are checked once, then each row; good rows and the subjects of bad ones
//! go into the sorter.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::changes::Operation;
use super::check::{self, Cell, Cells, Checked};
use super::csv::{CsvRow, next_row};
use super::input::Input;
use super::load::Kind;
use super::quarantine::Quarantine;
use super::{BAD_ROW_LIMIT, BadRow, Format, ImportError, Order, Phase, Progress, json_lines, load, sheet};
use crate::records::columns::Columns;
use crate::records::sort::Sorter;

/// What was read.
pub(super) struct Reading {
    pub(super) sorter: Sorter,
    /// How many entries the sorter holds.
    pub(super) entries: u64,
    pub(super) bytes_read: u64,
    pub(super) good_count: u64,
    pub(super) bad_count: u64,
    pub(super) unattributed: u64,
    pub(super) bad_rows: Vec<BadRow>,
    pub(super) quarantine_file: Option<PathBuf>,
    pub(super) held_schemes: Vec<usize>,
}

/// Reads the whole of `input`.
///
/// # Errors
/// Where rows cannot be told apart or columns are wrong; bad rows are counted, not errors.
pub(super) fn read(order: &Order<'_>, folder: &Path, sorter: Sorter, input: impl Read) -> Result<Reading, ImportError> {
    let reader = Reader {
        order,
        folder,
        sorter,
        entries: 0,
        good_count: 0,
        bad_count: 0,
        unattributed: 0,
        bad_rows: Vec::new(),
        header: Vec::new(),
        quarantine: None,
        held: vec![false; order.columns.schemes().len()],
        body: Vec::new(),
    };
    match order.format {
        Format::Csv => reader.csv(&mut Input::new(input)?),
        Format::JsonLines => reader.json_lines(&mut Input::new(input)?),
        Format::Xlsx => reader.sheet(input),
    }
}

struct Reader<'a> {
    order: &'a Order<'a>,
    folder: &'a Path,
    sorter: Sorter,
    entries: u64,
    good_count: u64,
    bad_count: u64,
    unattributed: u64,
    bad_rows: Vec<BadRow>,
    header: Vec<u8>,
    quarantine: Option<Quarantine>,
    held: Vec<bool>,
    body: Vec<u8>,
}

/// Where a cell belongs.
#[derive(Clone, Copy)]
enum Place {
    Column(usize),
    /// What is to be done with the row, in a file of changes.
    Operation,
    Subject(usize),
}

impl<'a> Cells<'a> {
    fn at(&mut self, place: Place) -> &mut Cell<'a> {
        match place {
            Place::Column(index) => &mut self.values[index],
            Place::Operation => &mut self.operation,
            Place::Subject(index) => &mut self.subjects[index],
        }
    }
}

/// Where the cells called `name` belong, if anywhere.
fn place(name: &str, order: &Order<'_>) -> Option<Place> {
    let (columns, called) = (order.columns, |column| order.mapping.source_name(column));
    let subject = columns.schemes().iter().position(|scheme| called(scheme.as_str()) == name);
    let operation = || {
        let column = order.changes.and_then(|plan| plan.operation_column());
        (column == Some(name)).then_some(Place::Operation)
    };
    let column = || columns.columns().iter().position(|column| called(column.name()) == name);
    subject.map(Place::Subject).or_else(|| column().map(Place::Column)).or_else(operation)
}

/// Whether a row may lack the column at `position`: it is only to be taken out, and the column does not tell it apart.
fn may_lack(order: &Order<'_>, position: usize, is_delete: bool) -> bool {
    is_delete && order.changes.is_some_and(|plan| !plan.is_key(position))
}

impl Reader<'_> {
    fn csv(mut self, input: &mut Input<impl Read>) -> Result<Reading, ImportError> {
        let mut row = CsvRow::default();
        if !next_row(input, &mut row)? {
            let reason = "the file is empty: a file of records begins with a row of column names".to_owned();
            return Err(ImportError::File { line: 1, reason });
        }
        let not_utf8 = || ImportError::File { line: row.line, reason: NOT_UTF8.to_owned() };
        let names = row.fields().map(|field| std::str::from_utf8(field).map(str::trim).map_err(|_| not_utf8()));
        let names = names.collect::<Result<Vec<_>, _>>()?;
        let places = self.header(row.line, &names)?;
        self.header.clone_from(&row.raw);
        while next_row(input, &mut row)? {
            let cells = csv_cells(&row, &places, self.order);
            let checked = check::check(cells, self.order);
            self.row(row.line, &row.raw, checked, input.bytes_read())?;
        }
        self.finish(input.bytes_read())
    }

    fn json_lines(mut self, input: &mut Input<impl Read>) -> Result<Reading, ImportError> {
        let mut raw = Vec::new();
        let columns = self.order.columns;
        let places = (columns.schemes().iter().map(|scheme| scheme.as_str()))
            .chain(columns.columns().iter().map(|column| column.name()))
            .chain(self.order.changes.and_then(|plan| plan.operation_column()))
            .map(|name| self.order.mapping.source_name(name))
            .filter_map(|name| Some((name, place(name, self.order)?)))
            .collect::<HashMap<_, _>>();
        while let Some(line) = json_lines::next_line(input, &mut raw)? {
            let cells = self.json_cells(&raw, &places);
            let checked = check::check(cells, self.order);
            self.row(line, &raw, checked, input.bytes_read())?;
        }
        if self.good_count + self.bad_count == 0 {
            // An empty CSV file has a header that says so; an empty file of lines may as well have been cut off.
            return Err(ImportError::File { line: 1, reason: "the file holds no row".to_owned() });
        }
        self.finish(input.bytes_read())
    }

    fn json_cells<'b>(&mut self, raw: &'b [u8], places: &HashMap<&str, Place>) -> Cells<'b> {
        let columns = self.order.columns;
        let mut cells = Cells::empty(columns);
        let members = match json_lines::members(raw) {
            Ok(members) => members,
            Err(reason) => {
                cells.faults.push((String::new(), reason));
                return cells;
            }
        };
        let mut is_operation_given = false;
        let mut is_given = vec![false; columns.columns().len()];
        let mut is_subject_given = vec![false; columns.schemes().len()];
        for (position, (name, value)) in members.iter().enumerate() {
            let shown = || shown(name, position);
            let Some(place) = places.get(name.as_str()) else {
                cells.faults.push((shown(), unknown(name, columns)));
                continue;
            };
            let (given, cell) = match place {
                Place::Column(index) => (&mut is_given[*index], &mut cells.values[*index]),
                Place::Operation => (&mut is_operation_given, &mut cells.operation),
                Place::Subject(index) => {
                    self.held[*index] = true;
                    (&mut is_subject_given[*index], &mut cells.subjects[*index])
                }
            };
            if std::mem::replace(given, true) {
                cells.faults.push((shown(), "stands twice in the row".to_owned()));
            }
            match json_lines::cell(value) {
                Ok(value) => *cell = value,
                Err(reason) => cells.faults.push((shown(), reason.to_owned())),
            }
        }
        let operation = self.order.changes.and_then(|plan| plan.operation_of(&cells.operation).ok());
        let is_delete = operation == Some(Operation::Delete);
        for (index, (column, is_given)) in columns.columns().iter().zip(is_given).enumerate() {
            if !is_given && !may_lack(self.order, index, is_delete) {
                cells.faults.push((column.name().to_owned(), "is missing: write null for no value".to_owned()));
            }
        }
        cells
    }

    /// The rows of a sheet, which is read from a file of its own.
    fn sheet(mut self, input: impl Read) -> Result<Reading, ImportError> {
        let (file, bytes_read) = sheet::spool(input, &self.folder.join("sort"))?;
        let mut header: Option<Vec<(u32, Place)>> = None;
        sheet::rows(file, &mut |row| {
            let Some(header) = &header else {
                let (ats, names) = row.names()?;
                let places = self.header(row.line(), &names.iter().map(String::as_str).collect::<Vec<_>>())?;
                self.header = row.raw();
                header = Some(ats.into_iter().zip(places).collect());
                return Ok(());
            };
            let mut cells = Cells::empty(self.order.columns);
            for cell in row.cells() {
                let Some((_, place)) = header.iter().find(|(at, _)| *at == cell.at()) else {
                    cells.faults.push((cell.name(), "stands in a column without a name".to_owned()));
                    continue;
                };
                match cell.read() {
                    Ok(read) => *cells.at(*place) = read,
                    Err(reason) => cells.faults.push((name_of(*place, self.order).to_owned(), reason)),
                }
            }
            let mut checked = check::check(cells, self.order);
            for (field, _) in &mut checked.faults {
                let at = header.iter().find(|(_, place)| name_of(*place, self.order) == field.as_str());
                if let Some((at, _)) = at {
                    *field = format!("{field} (cell {})", sheet::cell_name(*at, row.line()));
                }
            }
            self.row(row.line(), &row.raw(), checked, bytes_read)
        })?;
        if header.is_none() {
            let reason = "the sheet is empty: it begins with a row of column names".to_owned();
            return Err(ImportError::File { line: 1, reason });
        }
        self.finish(bytes_read)
    }

    /// Where the fields of each row belong, as the row of column names says.
    fn header(&mut self, line: u64, names: &[&str]) -> Result<Vec<Place>, ImportError> {
        let places = header(line, names, self.order)?;
        for place in &places {
            if let Place::Subject(scheme) = place {
                self.held[*scheme] = true;
            }
        }
        Ok(places)
    }

    fn row(&mut self, line: u64, raw: &[u8], checked: Checked, bytes_read: u64) -> Result<(), ImportError> {
        let is_bad = !checked.faults.is_empty();
        let kind = match (is_bad, checked.operation) {
            (true, _) => Kind::Bad,
            (false, Operation::Delete) => Kind::Delete,
            (false, Operation::Upsert) => Kind::Row,
        };
        if is_bad {
            self.bad_row(line, raw, &checked)?;
        } else {
            self.good_count += 1;
        }
        // Once nothing will be imported, rows are only checked, so that the operator reads about all of them.
        if self.bad_count == 0 || self.order.quarantine {
            for key in &checked.keys {
                load::body(kind, line, &checked.packed, &mut self.body);
                self.sorter.push(key, &self.body).map_err(ImportError::sorting)?;
                self.entries += 1;
            }
        }
        let rows = self.good_count + self.bad_count;
        if rows.is_multiple_of(load::PROGRESS_ROWS) {
            (self.order.progress)(Progress { phase: Phase::Reading, bytes_read, rows, total_rows: None });
        }
        Ok(())
    }

    fn bad_row(&mut self, line: u64, raw: &[u8], checked: &Checked) -> Result<(), ImportError> {
        self.bad_count += 1;
        if checked.keys.is_empty() {
            self.unattributed += 1;
        }
        let bad_row = |(field, reason): &check::Fault| BadRow { line, field: field.clone(), reason: reason.clone() };
        let bad_rows = checked.faults.iter().map(bad_row).collect::<Vec<_>>();
        if self.order.quarantine {
            let quarantine = match &mut self.quarantine {
                Some(quarantine) => quarantine,
                None => {
                    let quarantine = Quarantine::new(self.folder, self.order.format, &self.header);
                    self.quarantine.insert(quarantine.map_err(setting_aside)?)
                }
            };
            quarantine.set_aside(raw, &bad_rows).map_err(setting_aside)?;
        }
        let room = BAD_ROW_LIMIT.saturating_sub(self.bad_rows.len());
        self.bad_rows.extend(bad_rows.into_iter().take(room));
        Ok(())
    }

    fn finish(self, bytes_read: u64) -> Result<Reading, ImportError> {
        let rows = self.good_count + self.bad_count;
        (self.order.progress)(Progress { phase: Phase::Reading, bytes_read, rows, total_rows: Some(rows) });
        Ok(Reading {
            sorter: self.sorter,
            entries: self.entries,
            bytes_read,
            good_count: self.good_count,
            bad_count: self.bad_count,
            unattributed: self.unattributed,
            bad_rows: self.bad_rows,
            quarantine_file: self.quarantine.map(Quarantine::finish).transpose().map_err(setting_aside)?,
            held_schemes: self.held.iter().enumerate().filter_map(|(index, held)| held.then_some(index)).collect(),
        })
    }
}

fn setting_aside(error: std::io::Error) -> ImportError {
    ImportError::Write(format!("while setting bad rows aside: {error}"))
}

fn header(line: u64, names: &[&str], order: &Order<'_>) -> Result<Vec<Place>, ImportError> {
    let columns = order.columns;
    if names.iter().all(|name| place(name, order).is_none() && !columns.is_counted(name)) {
        // Perhaps the first line holds data, which must not be repeated.
        let subject = columns.schemes().iter().map(|scheme| scheme.as_str());
        let expected = subject.chain(columns.columns().iter().map(|column| column.name()));
        let expected = expected.map(|name| order.mapping.source_name(name)).collect::<Vec<_>>();
        let separator = if names.len() == 1 { " and parted by commas" } else { "" };
        let reason = format!(
            "no column of the service is named here: is the row of column names missing? It must be in UTF-8{separator}: {}",
            expected.join(",")
        );
        return Err(ImportError::File { line, reason });
    }
    let mut problems = Vec::new();
    let mut problem = |field: String, reason: String| problems.push(BadRow { line, field, reason });
    let mut places = Vec::new();
    for (position, name) in names.iter().enumerate() {
        match place(name, order) {
            None => problem(shown(name, position), unknown(name, columns)),
            Some(_) if names[..position].contains(name) => {
                problem((*name).to_owned(), "the column stands twice".to_owned());
            }
            Some(place) => places.push(place),
        }
    }
    if !places.iter().any(|place| matches!(place, Place::Subject(_))) {
        let schemes = columns.schemes().iter().map(|scheme| scheme.as_str()).collect::<Vec<_>>();
        problem(schemes.join(" or "), "the subject's column is missing".to_owned());
    }
    let only_deletes = order.changes.is_some_and(|plan| plan.only_deletes());
    for (index, column) in columns.columns().iter().enumerate() {
        let called = order.mapping.source_name(column.name());
        if !names.contains(&called) && !may_lack(order, index, only_deletes) {
            problem(called.to_owned(), "the column is missing".to_owned());
        }
    }
    if let Some(name) = order.changes.and_then(|plan| plan.operation_column())
        && !names.contains(&name)
    {
        let reason =
            "the column is missing that says upsert or delete; where all rows are the same, say --upsert or --delete";
        problem(name.to_owned(), reason.to_owned());
    }
    if problems.is_empty() { Ok(places) } else { Err(ImportError::Columns { problems }) }
}

fn name_of<'a>(place: Place, order: &Order<'a>) -> &'a str {
    match place {
        Place::Column(index) => order.columns.columns()[index].name(),
        Place::Operation => order.changes.and_then(|plan| plan.operation_column()).unwrap_or_default(),
        Place::Subject(index) => order.columns.schemes()[index].as_str(),
    }
}

const NOT_UTF8: &str = "not UTF-8, perhaps GBK: save the file as UTF-8 (in a spreadsheet: \"CSV UTF-8\")";

fn csv_cells<'a>(row: &'a CsvRow, places: &[Place], order: &Order<'_>) -> Cells<'a> {
    let mut cells = Cells::empty(order.columns);
    if let Some(reason) = row.fault {
        cells.faults.push((String::new(), reason.to_owned()));
    }
    if row.len() != places.len() {
        let reason = format!("the row has {} fields, the row of column names {}", row.len(), places.len());
        cells.faults.push((String::new(), reason));
    }
    for (field, place) in row.fields().zip(places) {
        match std::str::from_utf8(field) {
            Ok(text) => *cells.at(*place) = Cell::text(text.into()),
            Err(_) => cells.faults.push((name_of(*place, order).to_owned(), NOT_UTF8.to_owned())),
        }
    }
    cells
}

/// What is wrong with a column that the service has no use for.
fn unknown(name: &str, columns: &Columns) -> String {
    if columns.is_counted(name) {
        return "the number of rows is its value: remove the column".to_owned();
    }
    "neither subject, attribute, input nor a date that the service uses: remove the column, or correct its name"
        .to_owned()
}

/// A column's name for a message. What may be a value in the wrong place is told by its position instead.
fn shown(name: &str, position: usize) -> String {
    let mut digits = 0;
    let is_number = name.chars().any(|c| {
        digits = if c.is_numeric() { digits + 1 } else { 0 };
        digits > 4
    });
    let is_name = !name.is_empty() && name.chars().count() <= 40 && !is_number && !name.chars().any(char::is_control);
    if is_name { name.to_owned() } else { format!("column {}", position + 1) }
}
