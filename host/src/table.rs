//! Tables as files that other programs read and write too: CSV for spreadsheet programs, and JSON. A cell holds texts: one
//! at most, or a list. Out of scope: what a column means.
//!
//! CSV is written as UTF-8 with a byte order mark, without which spreadsheet programs take it for another encoding. A text
//! that such a program would take for a formula (it begins with `=`, `+`, `-` or `@`) gets an apostrophe before it, as they
//! do themselves; reading takes it away again.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::files;

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column<'a> {
    /// Its name in JSON.
    pub key: &'a str,
    /// Its heading in CSV.
    pub heading: &'a str,
    /// Whether its cells hold lists.
    pub is_list: bool,
}

/// The texts of a cell.
pub type Cell = Vec<String>;

/// A row as it was read: each cell with its column's key or heading.
pub type Row = Vec<(String, Cell)>;

/// How a table is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated values, UTF-8 with a byte order mark.
    Csv,
    /// An array of objects.
    Json,
}

/// Why a table cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It is no CSV.
    #[error("line {line}: {reason}")]
    Csv {
        /// The line, from 1.
        line: u64,
        /// What is wrong.
        reason: String,
    },
    /// The file cannot be written.
    #[error(transparent)]
    File(#[from] files::Error),
    /// The file's name does not say how it is written.
    #[error("{name}: name the file .csv or .json")]
    FormatUnknown {
        /// Its name.
        name: String,
    },
    /// It is no JSON of the right form.
    #[error("{0}")]
    Json(String),
    /// It is in another encoding.
    #[error("the file is not UTF-8: save it as \"CSV UTF-8\" in the spreadsheet program")]
    NotUtf8,
    /// It is too large.
    #[error("the file is larger than {} MiB", LARGEST_TABLE / 1024 / 1024)]
    TooLarge,
}

/// The largest file that is read, in bytes.
pub const LARGEST_TABLE: usize = 32 * 1024 * 1024;

const BYTE_ORDER_MARK: &str = "\u{feff}";

/// What stands between the texts of a list in CSV.
const SEPARATOR: &str = "；";

impl Format {
    /// The format that a file's name says.
    pub fn of(path: &Path) -> Result<Self, Error> {
        match path.extension().and_then(|extension| extension.to_str()).map(str::to_ascii_lowercase).as_deref() {
            Some("csv") => Ok(Self::Csv),
            Some("json") => Ok(Self::Json),
            _ => Err(Error::FormatUnknown { name: path.display().to_string() }),
        }
    }
}

/// Writes a table.
pub fn write(format: Format, columns: &[Column<'_>], rows: &[Vec<Cell>]) -> Result<Vec<u8>, Error> {
    match format {
        Format::Csv => write_csv(columns, rows),
        Format::Json => {
            let objects: Vec<Value> = rows.iter().map(|row| object(columns, row)).collect();
            serde_json::to_vec_pretty(&objects).map_err(|error| Error::Json(error.to_string()))
        }
    }
}

/// Reads a table.
pub fn read(format: Format, bytes: &[u8]) -> Result<Vec<Row>, Error> {
    if bytes.len() > LARGEST_TABLE {
        return Err(Error::TooLarge);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| Error::NotUtf8)?;
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    match format {
        Format::Csv => read_csv(text),
        Format::Json => read_json(text),
    }
}

fn write_csv(columns: &[Column<'_>], rows: &[Vec<Cell>]) -> Result<Vec<u8>, Error> {
    let failed = |error: csv::Error| Error::Csv { line: 0, reason: error.to_string() };
    let mut writer =
        csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(BYTE_ORDER_MARK.as_bytes().to_vec());
    writer.write_record(columns.iter().map(|column| column.heading)).map_err(failed)?;
    for row in rows {
        writer.write_record(row.iter().map(|cell| guarded(&cell.join(SEPARATOR)))).map_err(failed)?;
    }
    writer.into_inner().map_err(|error| Error::Csv { line: 0, reason: error.to_string() })
}

fn read_csv(text: &str) -> Result<Vec<Row>, Error> {
    let wrong = |error: csv::Error| Error::Csv {
        line: error.position().map_or(1, csv::Position::line),
        reason: match error.kind() {
            csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                format!("has {len} cells, and the heading has {expected_len}")
            }
            _ => error.to_string(),
        },
    };
    let mut reader = csv::ReaderBuilder::new().from_reader(text.as_bytes());
    let header = reader.headers().map_err(wrong)?.clone();
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(wrong)?;
        let cells = header.iter().zip(&record).map(|(column, cell)| {
            let texts = unguarded(cell).split(['；', ';', '\n']).map(str::trim).filter(|text| !text.is_empty());
            (column.trim().to_owned(), texts.map(str::to_owned).collect())
        });
        rows.push(cells.collect());
    }
    Ok(rows)
}

fn object(columns: &[Column<'_>], row: &[Cell]) -> Value {
    let fields = columns.iter().zip(row).map(|(column, cell)| {
        let value = if column.is_list { json!(cell) } else { json!(cell.join(" ")) };
        (column.key.to_owned(), value)
    });
    Value::Object(fields.collect::<Map<_, _>>())
}

fn read_json(text: &str) -> Result<Vec<Row>, Error> {
    let value: Value = serde_json::from_str(text).map_err(|error| Error::Json(error.to_string()))?;
    let Value::Array(objects) = value else { return Err(Error::Json("an array of objects is expected".to_owned())) };
    let row = |(index, value): (usize, Value)| {
        let Value::Object(fields) = value else {
            return Err(Error::Json(format!("entry {}: is no object", index + 1)));
        };
        fields.into_iter().map(|(key, value)| Ok((key.clone(), texts(index, &key, value)?))).collect()
    };
    objects.into_iter().enumerate().map(row).collect()
}

fn texts(index: usize, key: &str, value: Value) -> Result<Cell, Error> {
    let wrong = || Error::Json(format!("entry {}: {key}: must be a text or a list of texts", index + 1));
    match value {
        Value::Null => Ok(Vec::new()),
        Value::String(text) if text.is_empty() => Ok(Vec::new()),
        Value::String(text) => Ok(vec![text]),
        Value::Number(number) => Ok(vec![number.to_string()]),
        Value::Array(values) => {
            let text = |value| match value {
                Value::String(text) => Ok(text),
                _ => Err(wrong()),
            };
            values.into_iter().map(text).collect()
        }
        Value::Bool(_) | Value::Object(_) => Err(wrong()),
    }
}

fn is_formula(text: &str) -> bool {
    text.starts_with(['=', '+', '-', '@', '\t', '\r'])
}

fn guarded(text: &str) -> String {
    // One that begins with an apostrophe already would lose it when it is read.
    let is_ambiguous = text.strip_prefix('\'').is_some_and(|rest| is_formula(rest) || rest.starts_with('\''));
    if is_formula(text) || is_ambiguous { format!("'{text}") } else { text.to_owned() }
}

fn unguarded(text: &str) -> &str {
    text.strip_prefix('\'').filter(|rest| is_formula(rest) || rest.starts_with('\'')).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column<'_>; 2] = [
        Column { key: "name", heading: "名称", is_list: false },
        Column { key: "items", heading: "数据项", is_list: true },
    ];

    fn rows() -> Vec<Vec<Cell>> {
        let one = |text: &str| vec![text.to_owned()];
        vec![
            vec![one("婚姻登记核验, \"民政\""), vec!["a (b, c)".into(), "d".into()]],
            vec![one("=HYPERLINK(\"x\")"), vec![]],
            vec![one("'=1"), one("'-2")],
            vec![vec![], one("-1")],
        ]
    }

    #[test]
    fn both_formats_come_back_as_they_were() {
        for (format, named) in [(Format::Csv, ["名称", "数据项"]), (Format::Json, ["name", "items"])] {
            let written = write(format, &COLUMNS, &rows()).unwrap();
            let expected: Vec<Row> =
                rows().into_iter().map(|row| named.iter().map(|name| (*name).to_owned()).zip(row).collect()).collect();
            let read: Vec<Row> = read(format, &written)
                .unwrap()
                .into_iter()
                .map(|mut row| {
                    // JSON objects are not in order.
                    row.sort_by_key(|(name, _)| named.iter().position(|known| known == name));
                    row
                })
                .collect();
            assert_eq!(read, expected, "{format:?}");
        }
    }

    #[test]
    fn spreadsheet_programs_open_it_and_run_nothing() {
        let written = write(Format::Csv, &COLUMNS, &rows()).unwrap();
        assert!(written.starts_with(&[0xef, 0xbb, 0xbf]), "the byte order mark");
        let text = String::from_utf8(written).unwrap();
        assert!(text.contains("\r\n\"'=HYPERLINK"), "{text}");
        assert!(text.lines().skip(1).all(|line| !line.trim_start_matches('"').starts_with('=')), "{text}");
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        let told = |format, bytes: &[u8]| read(format, bytes).unwrap_err().to_string();
        assert_eq!(told(Format::Csv, "a,b\n1,2\n1\n".as_bytes()), "line 3: has 1 cells, and the heading has 2");
        // 名称 in GBK, as spreadsheet programs save it by default.
        assert!(told(Format::Csv, &[0xc3, 0xfb, 0xb3, 0xc6]).contains("CSV UTF-8"));
        assert_eq!(told(Format::Json, b"{}"), "an array of objects is expected");
        assert_eq!(told(Format::Json, br#"[{"a": {}}]"#), "entry 1: a: must be a text or a list of texts");
        assert!(Format::of(Path::new("x.xls")).unwrap_err().to_string().contains(".csv"));
        assert_eq!(Format::of(Path::new("x.CSV")).unwrap(), Format::Csv);
    }
}
