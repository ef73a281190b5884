//! The first visible sheet of an .xlsx workbook, row by row. A number that the spreadsheet holds as a number has at most
//! fifteen digits that can be relied on: longer ones are refused by their cell, since the rest of their digits is gone.
//!
//! Out of scope: what a cell means (`check`). Formulas are read as the value that the spreadsheet saved with them.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use calamine::{DataRef, Reader as _, SheetType, SheetVisible, Xlsx};
use rust_decimal::Decimal;

use super::ImportError;
use super::check::Cell;

/// The largest workbook, in bytes: it is unpacked while it is read.
const LARGEST_WORKBOOK: u64 = 512 * 1024 * 1024;

/// From here on a spreadsheet's number has lost digits.
const FIRST_DAMAGED: f64 = 1e15;

/// Puts the workbook into a file of its own in `folder`, since it cannot be read from front to back.
pub(super) fn spool(input: impl Read, folder: &Path) -> Result<(File, u64), ImportError> {
    let write = |error: io::Error| ImportError::Write(format!("while keeping the workbook: {error}"));
    let path = folder.join("workbook.xlsx");
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path).map_err(write)?;
    let mut limited = Faults { reader: input.take(LARGEST_WORKBOOK + 1), fault: None };
    let copied = io::copy(&mut limited, &mut file);
    if let Some(fault) = limited.fault {
        return Err(ImportError::Read(fault));
    }
    let bytes = copied.map_err(write)?;
    if bytes > LARGEST_WORKBOOK {
        return Err(ImportError::File {
            line: 1,
            reason: "the workbook is larger than 512 MiB: export CSV".to_owned(),
        });
    }
    file.seek(SeekFrom::Start(0)).map_err(write)?;
    Ok((file, bytes))
}

/// Tells the errors of reading from those of writing.
struct Faults<R> {
    reader: R,
    fault: Option<io::Error>,
}

impl<R: Read> Read for Faults<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer).inspect_err(|error| {
            if error.kind() != io::ErrorKind::Interrupted {
                self.fault = Some(io::Error::new(error.kind(), error.to_string()));
            }
        })
    }
}

/// Gives every row that is not empty to `take`.
///
/// # Errors
/// Where the file is no workbook, or `take` fails. The words of the library are not repeated: they may hold values.
pub(super) fn rows(file: File, take: &mut dyn FnMut(&Row) -> Result<(), ImportError>) -> Result<(), ImportError> {
    let unreadable = |line: u64, what: &str| ImportError::File { line, reason: what.to_owned() };
    let no_workbook =
        |_| unreadable(1, "is no .xlsx workbook, or a damaged or encrypted one: save it again as .xlsx, or as CSV");
    let mut workbook: Xlsx<_> = Xlsx::new(BufReader::new(file)).map_err(no_workbook)?;
    let name = workbook
        .sheets_metadata()
        .iter()
        .find(|sheet| sheet.visible == SheetVisible::Visible && sheet.typ == SheetType::WorkSheet)
        .map(|sheet| sheet.name.clone())
        .ok_or_else(|| unreadable(1, "the workbook has no visible sheet"))?;
    let mut cells = workbook.worksheet_cells_reader(&name).map_err(no_workbook)?;
    let mut row = Row { index: 0, cells: Vec::new() };
    loop {
        let next = cells.next_cell();
        let next = next.map_err(|_| unreadable(row.line(), "the sheet is damaged from here on: save it again"))?;
        let Some(cell) = next else { break };
        let (index, at) = cell.get_position();
        if index != row.index {
            if !row.cells.is_empty() {
                take(&row)?;
            }
            row = Row { index, cells: Vec::new() };
        }
        let content = Content::of(cell.get_value());
        if !matches!(content, Content::Empty) {
            row.cells.push(SheetCell { row: index, at, content });
        }
    }
    if row.cells.is_empty() { Ok(()) } else { take(&row) }
}

/// One row of a sheet.
pub(super) struct Row {
    index: u32,
    cells: Vec<SheetCell>,
}

impl Row {
    /// Its number as the spreadsheet shows it.
    pub(super) fn line(&self) -> u64 {
        u64::from(self.index) + 1
    }

    /// Its cells that hold something.
    pub(super) fn cells(&self) -> &[SheetCell] {
        &self.cells
    }

    /// As a row of column names: where each stands, and the name.
    pub(super) fn names(&self) -> Result<(Vec<u32>, Vec<String>), ImportError> {
        let name = |cell: &SheetCell| match &cell.content {
            Content::Text(text) => Ok((cell.at, text.trim().to_owned())),
            _ => {
                let reason = format!("cell {} holds no column name", cell.name());
                Err(ImportError::File { line: self.line(), reason })
            }
        };
        self.cells.iter().map(name).collect()
    }

    /// As a line of CSV, for the rows that are set aside.
    pub(super) fn raw(&self) -> Vec<u8> {
        let mut raw = String::new();
        let mut at = 0;
        for cell in &self.cells {
            for _ in at..cell.at {
                raw.push(',');
            }
            at = cell.at;
            let text = cell.content.text();
            if text.contains([',', '"', '\n', '\r']) {
                raw.push('"');
                raw.push_str(&text.replace('"', "\"\""));
                raw.push('"');
            } else {
                raw.push_str(text);
            }
        }
        raw.into_bytes()
    }
}

/// One cell that holds something.
pub(super) struct SheetCell {
    row: u32,
    at: u32,
    content: Content,
}

impl SheetCell {
    /// Its column, from 0.
    pub(super) fn at(&self) -> u32 {
        self.at
    }

    /// What it is called, such as `B7`.
    pub(super) fn name(&self) -> String {
        cell_name(self.at, u64::from(self.row) + 1)
    }

    /// What stands in it; or why that is no value.
    pub(super) fn read(&self) -> Result<Cell<'_>, String> {
        match &self.content {
            Content::Boolean(boolean) => Ok(Cell::Boolean(*boolean)),
            Content::Empty => Ok(Cell::Empty),
            Content::Number(text) => Ok(Cell::SheetNumber(text.clone())),
            Content::Text(text) => Ok(Cell::text(text.as_str().into())),
            Content::Unusable(reason) => Err((*reason).to_owned()),
        }
    }
}

/// The name of a cell as spreadsheets show it: `A1`, `AB12`.
pub(super) fn cell_name(at: u32, line: u64) -> String {
    let mut letters = Vec::new();
    let mut rest = at + 1;
    while rest > 0 {
        letters.push(char::from(b'A' + u8::try_from((rest - 1) % 26).unwrap_or(0)));
        rest = (rest - 1) / 26;
    }
    format!("{}{line}", letters.iter().rev().collect::<String>())
}

enum Content {
    Boolean(bool),
    Empty,
    Number(String),
    Text(String),
    Unusable(&'static str),
}

impl Content {
    fn of(value: &DataRef<'_>) -> Self {
        match value {
            DataRef::Int(number) => Self::number(*number as f64),
            DataRef::Float(number) => Self::number(*number),
            DataRef::String(text) => Self::of_text(text),
            DataRef::SharedString(text) => Self::of_text(text),
            DataRef::Bool(boolean) => Self::Boolean(*boolean),
            DataRef::DateTime(time) if time.is_datetime() => {
                let (year, month, day, hour, minute, second, milli) = time.to_ymd_hms_milli();
                Self::Text(match (hour, minute, second, milli) {
                    (0, 0, 0, 0) => format!("{year:04}-{month:02}-{day:02}"),
                    _ => format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"),
                })
            }
            DataRef::DateTimeIso(text) => Self::Text(text.strip_suffix("T00:00:00").unwrap_or(text).to_owned()),
            DataRef::DateTime(_) | DataRef::DurationIso(_) => Self::Unusable("holds a duration, which no column does"),
            DataRef::Error(_) => Self::Unusable("holds an error of the spreadsheet, such as #N/A: put the value right"),
            DataRef::Empty => Self::Empty,
        }
    }

    fn of_text(text: &str) -> Self {
        if text.trim().is_empty() { Self::Empty } else { Self::Text(text.to_owned()) }
    }

    fn number(number: f64) -> Self {
        if number.abs() >= FIRST_DAMAGED {
            // Written as a spreadsheet shows it, so that it is refused as what it is wherever it stands.
            return Self::Number(format!("{number:.5E}").replace('E', "E+"));
        }
        // What a spreadsheet keeps are fifteen digits; what a double holds beyond them was never typed by anybody.
        match Decimal::from_scientific(&format!("{number:.14e}")) {
            Ok(decimal) => Self::Number(decimal.normalize().to_string()),
            Err(_) => Self::Unusable("holds a number that is no decimal number"),
        }
    }

    fn text(&self) -> &str {
        match self {
            Self::Boolean(true) => "true",
            Self::Boolean(false) => "false",
            Self::Empty | Self::Unusable(_) => "",
            Self::Number(text) | Self::Text(text) => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(number: f64) -> String {
        Content::number(number).text().to_owned()
    }

    #[test]
    fn numbers_keep_the_digits_that_a_spreadsheet_keeps() {
        assert_eq!(number(48_000.5), "48000.5");
        assert_eq!(number(0.1 + 0.2), "0.3");
        assert_eq!(number(-7.0), "-7");
        assert_eq!(number(999_999_999_999_999.0), "999999999999999");
        assert_eq!(number(0.0), "0");
        assert_eq!(number(8.901_011_990_030_7e17), "8.90101E+17");
    }

    #[test]
    fn cells_are_called_as_spreadsheets_call_them() {
        assert_eq!(cell_name(0, 1), "A1");
        assert_eq!(cell_name(25, 7), "Z7");
        assert_eq!(cell_name(26, 7), "AA7");
        assert_eq!(cell_name(701, 2), "ZZ2");
        assert_eq!(cell_name(702, 2), "AAA2");
    }
}
