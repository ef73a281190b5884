//! Text files as offices write them: UTF-8, or GB18030 (which GBK and GB2312 are parts of). A file that is neither is
//! refused by the line where both break off; nothing is guessed and nothing replaced.
//!
//! Out of scope: what the text means. UTF-16 is told by its first bytes, where rows are read.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use encoding_rs::{Decoder, DecoderResult, GB18030, UTF_8};

/// A file whose first so many characters beyond ASCII are UTF-8 is meant to be UTF-8: where it breaks off later it is damaged,
/// and not in GB18030, which would read most of it as other characters.
const SURELY_UTF8: u64 = 16;

/// How much is decoded at once.
const PIECE_BYTES: usize = 32 * 1024;

/// Why a file cannot be read as text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodingError {
    /// The file cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Neither encoding reads all of it.
    #[error("line {line}: the file is in neither UTF-8 nor GB18030 from here on: save it as UTF-8")]
    Neither {
        /// The line on which the encoding that came further breaks off, from 1.
        line: u64,
    },
}

/// Opens a file as UTF-8, whichever of the two it is in. It is read twice: which one it is shows only at its end.
///
/// # Errors
/// Where it cannot be read or is in neither.
pub fn open(path: &Path) -> Result<Box<dyn Read + Send>, EncodingError> {
    let mut file = File::open(path)?;
    let is_utf8 = is_utf8(&mut file)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(if is_utf8 { Box::new(file) } else { Box::new(Transcoded::new(file)) })
}

/// Whether all of the text is UTF-8; false where all of it is GB18030.
fn is_utf8(reader: &mut impl Read) -> Result<bool, EncodingError> {
    let mut trials = [Trial::new(UTF_8.new_decoder_without_bom_handling()), Trial::new(GB18030.new_decoder())];
    let mut buffer = vec![0; PIECE_BYTES];
    let mut is_first = true;
    loop {
        let count = match reader.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        if is_first && matches!(buffer.get(..2), Some([0xff, 0xfe] | [0xfe, 0xff])) {
            // UTF-16, for which the reader of rows has better words.
            return Ok(true);
        }
        is_first = false;
        for trial in &mut trials {
            trial.take(&buffer[..count], count == 0);
        }
        if let Trial { broken: Some(line), beyond_ascii: SURELY_UTF8.., .. } = trials[0] {
            return Err(EncodingError::Neither { line });
        }
        if let [Trial { broken: Some(one), .. }, Trial { broken: Some(other), .. }] = &trials {
            return Err(EncodingError::Neither { line: *one.max(other) });
        }
        if count == 0 {
            return Ok(trials[0].broken.is_none());
        }
    }
}

/// One encoding tried on a text.
struct Trial {
    decoder: Decoder,
    line: u64,
    beyond_ascii: u64,
    broken: Option<u64>,
}

impl Trial {
    fn new(decoder: Decoder) -> Self {
        Self { decoder, line: 1, beyond_ascii: 0, broken: None }
    }

    fn take(&mut self, mut bytes: &[u8], is_last: bool) {
        let mut out = [0; 4096];
        while self.broken.is_none() {
            let (result, read, written) = self.decoder.decode_to_utf8_without_replacement(bytes, &mut out, is_last);
            self.line += out[..written].iter().filter(|byte| **byte == b'\n').count() as u64;
            self.beyond_ascii += out[..written].iter().filter(|byte| **byte >= 0xc0).count() as u64;
            bytes = &bytes[read..];
            match result {
                DecoderResult::InputEmpty => return,
                DecoderResult::Malformed(..) => self.broken = Some(self.line),
                DecoderResult::OutputFull => {}
            }
        }
    }
}

/// GB18030 read as UTF-8.
struct Transcoded<R> {
    reader: R,
    decoder: Decoder,
    raw: Vec<u8>,
    raw_at: usize,
    is_last: bool,
    text: Vec<u8>,
    text_at: usize,
    is_done: bool,
}

impl<R: Read> Transcoded<R> {
    fn new(reader: R) -> Self {
        Self {
            reader,
            decoder: GB18030.new_decoder(),
            raw: Vec::new(),
            raw_at: 0,
            is_last: false,
            text: Vec::new(),
            text_at: 0,
            is_done: false,
        }
    }

    fn refill(&mut self) -> io::Result<()> {
        if self.raw_at == self.raw.len() && !self.is_last {
            self.raw.resize(PIECE_BYTES, 0);
            let read = self.reader.read(&mut self.raw);
            self.raw.truncate(*read.as_ref().unwrap_or(&0));
            self.raw_at = 0;
            self.is_last = read? == 0;
        }
        self.text.resize(PIECE_BYTES * 2, 0);
        self.text_at = 0;
        let raw = &self.raw[self.raw_at..];
        let (result, read, written) =
            self.decoder.decode_to_utf8_without_replacement(raw, &mut self.text, self.is_last);
        self.raw_at += read;
        self.text.truncate(written);
        match result {
            DecoderResult::InputEmpty => self.is_done = self.is_last,
            DecoderResult::OutputFull => {}
            // It was whole a moment ago.
            DecoderResult::Malformed(..) => return Err(io::Error::other("the file changed while it was read")),
        }
        Ok(())
    }
}

impl<R: Read> Read for Transcoded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.text_at == self.text.len() {
            if self.is_done {
                return Ok(0);
            }
            self.refill()?;
        }
        let count = buffer.len().min(self.text.len() - self.text_at);
        buffer[..count].copy_from_slice(&self.text[self.text_at..self.text_at + count]);
        self.text_at += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<String, EncodingError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let mut text = String::new();
        open(file.path())?.read_to_string(&mut text)?;
        Ok(text)
    }

    #[test]
    fn both_encodings_give_the_same_text() {
        // Long enough for several pieces, with a character of four bytes in GB18030.
        let text = "resident_id,姓名\n1,张三·𠮷\n".repeat(20_000);
        let (gb, _, had_errors) = GB18030.encode(&text);
        assert!(!had_errors);
        assert!(std::str::from_utf8(&gb).is_err());
        assert!(read(&gb).unwrap() == text);
        assert!(read(text.as_bytes()).unwrap() == text);
        assert_eq!(read(b"").unwrap(), "");
    }

    #[test]
    fn what_is_neither_is_refused_by_its_line() {
        let (gb, _, _) = GB18030.encode("姓名\n张三\n");
        for tail in [b"\xff\xff".as_slice(), b"\x81"] {
            let error = read(&[&gb, tail].concat()).map(drop).unwrap_err().to_string();
            assert!(error.starts_with("line 3: the file is in neither UTF-8 nor GB18030"), "{error}");
        }
        // Cut in the middle of a character of UTF-8, where GB18030 would read other characters without a fault.
        let text = "姓名,a\n".repeat(20);
        let cut = [text.as_bytes(), &"张".as_bytes()[..2]].concat();
        assert!(!GB18030.decode_without_bom_handling(&cut).1, "GB18030 reads it");
        let error = read(&cut).map(drop).unwrap_err().to_string();
        assert!(error.starts_with("line 21:"), "{error}");
    }
}
