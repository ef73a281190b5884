//! Bytes of the file being imported, read piece by piece and counted, so that a row can be bounded and the operator sees
//! how far it is.

use std::io::{self, Read};

use super::ImportError;

/// The longest row, in bytes. Beyond it a quotation mark or a line end is missing.
pub(super) const ROW_LIMIT: usize = 64 * 1024;

/// A reader that gives one byte after the other.
pub(in crate::records) struct Input<R> {
    reader: R,
    buffer: Vec<u8>,
    start: usize,
    bytes_read: u64,
    line: u64,
}

impl<R: Read> Input<R> {
    /// Begins to read, and passes over a byte order mark.
    ///
    /// # Errors
    /// Where the file is in an encoding of two bytes a character.
    pub(in crate::records) fn new(reader: R) -> Result<Self, ImportError> {
        let mut input = Self { reader, buffer: Vec::with_capacity(ROW_LIMIT), start: 0, bytes_read: 0, line: 1 };
        while input.buffer.len() < 3 && input.read_more()? {}
        match input.buffer.as_slice() {
            [0xef, 0xbb, 0xbf, ..] => input.start = 3,
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => {
                let reason = "the file is in UTF-16: save it as UTF-8 (in a spreadsheet: \"CSV UTF-8\")";
                return Err(ImportError::File { line: 1, reason: reason.to_owned() });
            }
            _ => {}
        }
        Ok(input)
    }

    /// The next byte, without taking it; `None` at the end.
    pub(super) fn peek(&mut self) -> Result<Option<u8>, ImportError> {
        while self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
            if !self.read_more()? {
                return Ok(None);
            }
        }
        Ok(Some(self.buffer[self.start]))
    }

    /// Takes the byte that [`Input::peek`] showed.
    pub(super) fn take(&mut self) {
        if self.buffer.get(self.start) == Some(&b'\n') {
            self.line += 1;
        }
        self.start += 1;
    }

    /// The line that the next byte is on, from 1.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// How many bytes were read from the file.
    pub(in crate::records) fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// Adds what the reader has to the buffer; false at the end.
    fn read_more(&mut self) -> Result<bool, ImportError> {
        let held = self.buffer.len();
        self.buffer.resize(held + ROW_LIMIT, 0);
        let read = loop {
            match self.reader.read(&mut self.buffer[held..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => break outcome,
            }
        };
        // A reader that claims more than the room it was given is brought back to it.
        let count = read.as_ref().copied().unwrap_or(0).min(ROW_LIMIT);
        self.buffer.truncate(held + count);
        self.bytes_read += count as u64;
        read.map(|_| count > 0).map_err(ImportError::Read)
    }
}
