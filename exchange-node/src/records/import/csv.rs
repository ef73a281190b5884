//! Comma-separated values, RFC 4180: one row after the other, with the line it begins on and the bytes it was made of.
//!
//! Written here and not taken from the `csv` crate, because that one forgives what must not be forgiven in a register: a
//! quotation mark that is never closed swallows the rest of the file into one value, and it does not say on which line a
//! row begins once lines are blank or end in CR LF. Whatever is odd in a row is a fault of that row; only where the rows
//! can no longer be told apart is the file refused.

use std::io::Read;

use super::ImportError;
use super::input::{Input, ROW_LIMIT};

/// The most fields of a row.
const FIELD_LIMIT: usize = 1024;

/// One row of the file.
#[derive(Default)]
pub(in crate::records) struct CsvRow {
    /// The line it begins on.
    pub(in crate::records) line: u64,
    /// Its bytes as they stand in the file, without the line end.
    pub(super) raw: Vec<u8>,
    /// What is wrong with its quotation marks.
    pub(in crate::records) fault: Option<&'static str>,
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl CsvRow {
    /// How many fields it has.
    pub(in crate::records) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The bytes of a field, without its quotation marks.
    pub(super) fn field(&self, index: usize) -> Option<&[u8]> {
        let end = *self.ends.get(index)?;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.text.get(start..end)
    }

    /// The fields in order.
    pub(in crate::records) fn fields(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).filter_map(|index| self.field(index))
    }

    fn clear(&mut self, line: u64) {
        self.line = line;
        self.raw.clear();
        self.text.clear();
        self.ends.clear();
        self.fault = None;
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Bare,
    FieldStart,
    Quoted,
    QuoteInQuoted,
}

/// Reads the next row into `row`; false at the end of the file. Blank lines are passed over.
///
/// # Errors
/// Where the row does not end.
pub(in crate::records) fn next_row(input: &mut Input<impl Read>, row: &mut CsvRow) -> Result<bool, ImportError> {
    while let Some(b'\n' | b'\r') = input.peek()? {
        input.take();
    }
    row.clear(input.line());
    if input.peek()?.is_none() {
        return Ok(false);
    }
    let mut state = State::FieldStart;
    loop {
        let byte = input.peek()?;
        let ends_row = match byte {
            None => true,
            Some(b'\n' | b'\r') => state != State::Quoted,
            Some(_) => false,
        };
        if ends_row {
            if state == State::Quoted {
                return Err(unclosed(row.line));
            }
            row.ends.push(row.text.len());
            return Ok(true);
        }
        let Some(byte) = byte else { return Ok(true) };
        input.take();
        row.raw.push(byte);
        if row.raw.len() > ROW_LIMIT || row.ends.len() > FIELD_LIMIT {
            return Err(match state {
                State::Quoted => unclosed(row.line),
                _ => ImportError::File { line: row.line, reason: "the row is longer than 64 KiB".to_owned() },
            });
        }
        state = step(state, byte, row);
    }
}

fn step(state: State, byte: u8, row: &mut CsvRow) -> State {
    match (state, byte) {
        (State::Quoted, b'"') => State::QuoteInQuoted,
        (State::FieldStart, b'"') => State::Quoted,
        (State::Bare | State::FieldStart | State::QuoteInQuoted, b',') => {
            row.ends.push(row.text.len());
            State::FieldStart
        }
        (State::Bare, b'"') => {
            row.fault = Some("a quotation mark stands inside a value: put the value in quotation marks and double it");
            row.text.push(byte);
            State::Bare
        }
        (State::QuoteInQuoted, b'"') => {
            row.text.push(byte);
            State::Quoted
        }
        (State::QuoteInQuoted, _) => {
            row.fault = Some("something follows a closing quotation mark: double quotation marks inside a value");
            row.text.push(byte);
            State::Bare
        }
        (State::Quoted, _) => {
            row.text.push(byte);
            State::Quoted
        }
        (State::Bare | State::FieldStart, _) => {
            row.text.push(byte);
            State::Bare
        }
    }
}

fn unclosed(line: u64) -> ImportError {
    let reason = "a quotation mark opens in this row and is not closed within 64 KiB";
    ImportError::File { line, reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Rows = Vec<(u64, Vec<Vec<u8>>)>;

    fn read(bytes: &[u8]) -> Result<Rows, ImportError> {
        let mut input = Input::new(bytes)?;
        let (mut row, mut rows) = (CsvRow::default(), Vec::new());
        while next_row(&mut input, &mut row)? {
            assert_eq!(row.fault, None);
            rows.push((row.line, row.fields().map(<[u8]>::to_vec).collect()));
        }
        Ok(rows)
    }

    fn text(rows: &Rows) -> Vec<(u64, Vec<&str>)> {
        let text = |field| std::str::from_utf8(field).unwrap();
        rows.iter().map(|(line, fields)| (*line, fields.iter().map(|field| text(field)).collect())).collect()
    }

    #[test]
    fn rows_begin_where_they_begin() {
        let rows = read(b"\xef\xbb\xbfa,b\r\n\r\n1,\"two\nlines\"\n\n\n3,\"\"\r\n\"a \"\"b\"\"\",4").unwrap();
        let expected =
            vec![(1, vec!["a", "b"]), (3, vec!["1", "two\nlines"]), (7, vec!["3", ""]), (8, vec!["a \"b\"", "4"])];
        assert_eq!(text(&rows), expected);
    }

    #[test]
    fn a_quotation_mark_left_open_ends_the_reading() {
        for file in [b"a\n1,\"x\n2,y\n".to_vec(), [b"a\n\"".as_slice(), &[b'x'; 70_000], b"\"\n"].concat()] {
            let error = read(&file).unwrap_err().to_string();
            assert_eq!(error, "line 2: a quotation mark opens in this row and is not closed within 64 KiB");
        }
    }

    #[test]
    fn odd_quotation_marks_are_faults_of_their_row() {
        for file in ["5\" pipe,x\ny,z", "\"a\"b,x\ny,z"] {
            let mut input = Input::new(file.as_bytes()).unwrap();
            let mut row = CsvRow::default();
            assert!(next_row(&mut input, &mut row).unwrap());
            assert!(row.fault.is_some(), "{file}");
            assert_eq!(row.field(1), Some(b"x".as_slice()));
            assert!(next_row(&mut input, &mut row).unwrap());
            assert_eq!((row.fault, row.line), (None, 2));
        }
    }

    #[test]
    fn utf_16_is_said_to_be_utf_16() {
        let error = read(b"\xff\xfea\0,\0").unwrap_err().to_string();
        assert!(error.starts_with("line 1: the file is in UTF-16: save it as UTF-8"), "{error}");
    }

    #[test]
    fn a_file_that_breaks_off_is_not_a_file_that_ends() {
        struct Broken(bool);
        impl Read for Broken {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                if self.0 {
                    return Err(std::io::Error::other("the sender is gone"));
                }
                self.0 = true;
                buffer[..4].copy_from_slice(b"a,b\n");
                Ok(4)
            }
        }
        let mut input = Input::new(Broken(false)).unwrap();
        let mut row = CsvRow::default();
        assert!(next_row(&mut input, &mut row).unwrap());
        assert!(matches!(next_row(&mut input, &mut row), Err(ImportError::Read(_))));
    }

    proptest! {
        #[test]
        fn reads_what_the_csv_crate_writes(
            rows in prop::collection::vec(prop::collection::vec("[a-z,\"\r\n 张]{0,6}", 2..4), 1..8),
            crlf: bool,
        ) {
            let terminator = if crlf { csv::Terminator::CRLF } else { csv::Terminator::Any(b'\n') };
            let mut writer = csv::WriterBuilder::new().flexible(true).terminator(terminator).from_writer(Vec::new());
            for row in &rows {
                writer.write_record(row).unwrap();
            }
            let back = read(&writer.into_inner().unwrap()).unwrap();
            let expected: Vec<Vec<&str>> = rows.iter().map(|row| row.iter().map(String::as_str).collect()).collect();
            prop_assert_eq!(text(&back).into_iter().map(|(_, fields)| fields).collect::<Vec<_>>(), expected);
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(prop::sample::select(b"a,\"\r\n\xff\0".to_vec()), 0..60)) {
            let Ok(mut input) = Input::new(bytes.as_slice()) else { return Ok(()) };
            let mut row = CsvRow::default();
            while next_row(&mut input, &mut row).unwrap_or(false) {
                prop_assert!(row.len() > 0);
            }
        }
    }
}
