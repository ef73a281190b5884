//! From sorted rows to the store: the rows of one subject together, or the note that some of them were set aside.

use host::store::{Store, StoreError};

use super::{BadRow, ImportError, Phase, Progress};
use crate::records::SUBJECT_ROW_LIMIT;
use crate::records::embedded::BlockWriter;
use crate::records::packed::{pack_slice, unpack_number};
use crate::records::sort::Merge;

/// The most bytes that the rows of one subject may take: they are read together for every question about it.
const SUBJECT_BYTES_LIMIT: usize = 1 << 20;

/// How often the progress is reported, in rows.
pub(super) const PROGRESS_ROWS: u64 = 4096;

/// What kind of entry a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A row that was set aside.
    Bad,
    /// A row to be taken out.
    Delete,
    /// A row.
    Row,
}

/// An entry's body: what kind it is, the line it came from, the packed row.
pub(super) fn body(kind: Kind, line: u64, packed: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.push(match kind {
        Kind::Row => 0,
        Kind::Bad => 1,
        Kind::Delete => 2,
    });
    crate::records::packed::pack_number(u128::from(line), out);
    out.extend_from_slice(packed);
}

/// Reads back what [`body`] wrote.
pub(super) fn read_body(mut entry: &[u8]) -> Result<(Kind, u64, &[u8]), ImportError> {
    let damaged = || ImportError::Write("a sorted run is damaged".to_owned());
    let (kind, rest) = entry.split_first().ok_or_else(damaged)?;
    let kind = [Kind::Row, Kind::Bad, Kind::Delete].get(usize::from(*kind)).copied().ok_or_else(damaged)?;
    entry = rest;
    let line = unpack_number(&mut entry).and_then(|line| u64::try_from(line).ok()).ok_or_else(damaged)?;
    Ok((kind, line, entry))
}

/// What was loaded.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) rows: u64,
    pub(super) subjects: u64,
    pub(super) quarantined_subjects: u64,
    pub(super) withheld_rows: u64,
    /// Subjects with too many rows: the line of the first row too many.
    pub(super) too_many: Vec<BadRow>,
    pub(super) too_many_count: u64,
}

/// Writes what `merge` gives into `store`. Subjects with too many rows are treated as quarantined; whoever calls decides
/// whether that is allowed.
pub(super) fn load(
    mut merge: Merge,
    store: Store,
    total_rows: u64,
    bytes_read: u64,
    progress: &dyn Fn(Progress),
) -> Result<Loaded, ImportError> {
    let mut loader = Loader { writer: BlockWriter::new(store), loaded: Loaded::default(), group: Group::default() };
    let (mut key, mut entry) = (Vec::new(), Vec::new());
    let mut taken = 0;
    while merge.next(&mut key, &mut entry).map_err(ImportError::sorting)? {
        if key != loader.group.key {
            loader.end_group().map_err(ImportError::store)?;
            loader.group.key.clone_from(&key);
        }
        loader.group.take(&entry)?;
        taken += 1;
        if taken % PROGRESS_ROWS == 0 {
            progress(Progress { phase: Phase::Loading, bytes_read, rows: taken, total_rows: Some(total_rows) });
        }
    }
    loader.end_group().map_err(ImportError::store)?;
    loader.writer.finish().map_err(ImportError::store)?;
    progress(Progress { phase: Phase::Loading, bytes_read, rows: taken, total_rows: Some(total_rows) });
    Ok(loader.loaded)
}

/// Whether one subject has too many rows, or too many bytes of them.
pub(super) fn is_too_much(rows: u64, bytes: usize) -> bool {
    rows > SUBJECT_ROW_LIMIT as u64 || bytes > SUBJECT_BYTES_LIMIT
}

/// What is said of it.
pub(super) fn too_many(line: u64) -> BadRow {
    let reason = format!("its subject has more than {SUBJECT_ROW_LIMIT} rows, or more than 1 MiB of them");
    BadRow { line, field: String::new(), reason }
}

struct Loader {
    writer: BlockWriter,
    loaded: Loaded,
    group: Group,
}

/// The rows of one subject.
#[derive(Default)]
struct Group {
    key: Vec<u8>,
    rows: Vec<u8>,
    count: u64,
    is_bad: bool,
    too_many_at: Option<u64>,
}

impl Group {
    fn take(&mut self, entry: &[u8]) -> Result<(), ImportError> {
        let (kind, line, entry) = read_body(entry)?;
        if kind != Kind::Row {
            self.is_bad = true;
            return Ok(());
        }
        self.count += 1;
        if is_too_much(self.count, self.rows.len() + entry.len()) {
            self.too_many_at.get_or_insert(line);
        } else {
            pack_slice(entry, &mut self.rows);
        }
        Ok(())
    }
}

impl Loader {
    fn end_group(&mut self) -> Result<(), StoreError> {
        let group = &mut self.group;
        if group.key.is_empty() {
            return Ok(());
        }
        if let Some(line) = group.too_many_at {
            self.loaded.too_many_count += 1;
            if self.loaded.too_many.len() < super::BAD_ROW_LIMIT {
                self.loaded.too_many.push(too_many(line));
            }
        }
        if group.is_bad || group.too_many_at.is_some() {
            self.writer.quarantined(&group.key)?;
            self.loaded.quarantined_subjects += 1;
            self.loaded.withheld_rows += group.count;
        } else {
            self.writer.rows(&group.key, &group.rows)?;
            self.loaded.subjects += 1;
            self.loaded.rows += group.count;
        }
        group.rows.clear();
        (group.count, group.is_bad, group.too_many_at) = (0, false, None);
        group.key.clear();
        Ok(())
    }
}
