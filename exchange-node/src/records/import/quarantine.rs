//! Rows set aside: a file with the rows as they came, so that they can be put right and imported, and beside it one with
//! what is wrong with each. The rows are personal data and the owner's alone (0600); the reasons are not.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{BadRow, Format};

/// What the file of rows is called.
pub(in crate::records) const fn file_name(format: Format) -> &'static str {
    match format {
        Format::Csv | Format::Xlsx => "quarantine.csv",
        Format::JsonLines => "quarantine.jsonl",
    }
}

/// What the file of reasons is called.
pub(in crate::records) const REASONS: &str = "quarantine.reasons.txt";

/// The two files being written.
pub(super) struct Quarantine {
    path: PathBuf,
    rows: BufWriter<File>,
    reasons: BufWriter<File>,
}

impl Quarantine {
    /// Makes the files in `folder`; the file of rows begins with `header`, if there is one.
    pub(super) fn new(folder: &Path, format: Format, header: &[u8]) -> io::Result<Self> {
        let path = folder.join(file_name(format));
        let create = |path: &Path| OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let mut rows = BufWriter::new(create(&path)?);
        if !header.is_empty() {
            rows.write_all(header)?;
            rows.write_all(b"\n")?;
        }
        let reasons = BufWriter::new(create(&folder.join(REASONS))?);
        Ok(Self { path, rows, reasons })
    }

    /// Sets one row aside.
    pub(super) fn set_aside(&mut self, raw: &[u8], reasons: &[BadRow]) -> io::Result<()> {
        self.rows.write_all(raw)?;
        self.rows.write_all(b"\n")?;
        reasons.iter().try_for_each(|reason| writeln!(self.reasons, "{reason}"))
    }

    /// Makes both files durable, and says where the rows are.
    pub(super) fn finish(self) -> io::Result<PathBuf> {
        for file in [self.rows, self.reasons] {
            file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        }
        Ok(self.path)
    }
}
