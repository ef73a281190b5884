//! Changes applied: what is stored and what changes it, both in the order of their subjects, become the rows of a new
//! store. Nothing that is stored is touched, so a crash leaves it as it was.
//!
//! Out of scope: reading and checking the file (`reading`), and switching to the new store, which is `Records`'.

use host::store::Store;
use trust::value::Value;

use super::changes::ChangePlan;
use super::load::{Kind, PROGRESS_ROWS, is_too_much, read_body, too_many};
use super::{BAD_ROW_LIMIT, BadRow, ImportError, Phase, Progress};
use crate::records::columns::{Column, Columns};
use crate::records::embedded::BlockWriter;
use crate::records::packed::{pack, pack_slice, unpack};
use crate::records::sort::Merge;

/// One row: a value for each column of the new store.
type Values = Vec<Option<Value>>;

/// A subject as it is stored.
pub(in crate::records) struct OldSubject {
    /// Its key.
    pub(in crate::records) key: Vec<u8>,
    /// Its rows, in the columns of the new store; `None`: they were set aside.
    pub(in crate::records) rows: Option<Vec<Values>>,
}

/// What is stored, subject by subject in the order of their keys, and how it goes into the new store.
pub(in crate::records) struct OldRows<'a> {
    /// The next subject.
    pub(in crate::records) next: &'a mut dyn FnMut() -> Result<Option<OldSubject>, String>,
    /// The columns of the new store: those of the records, and perhaps one more for when a row was changed.
    pub(in crate::records) stored: &'a [Column],
    /// What that one column holds in a row that is changed now.
    pub(in crate::records) stamp: Option<Value>,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::records) struct Applied {
    pub(in crate::records) rows: u64,
    pub(in crate::records) subjects: u64,
    pub(in crate::records) quarantined_subjects: u64,
    pub(in crate::records) upserted: u64,
    pub(in crate::records) deleted: u64,
    pub(in crate::records) missed: u64,
    pub(in crate::records) held_schemes: Vec<usize>,
}

/// Writes the old rows, changed by what `merge` gives, into `store`.
pub(super) fn apply(
    mut merge: Merge,
    old: OldRows<'_>,
    columns: &Columns,
    plan: &ChangePlan,
    store: Store,
    (bytes_read, progress): (u64, &dyn Fn(Progress)),
) -> Result<Applied, ImportError> {
    let OldRows { next, stored, stamp } = old;
    let mut writing = Writing {
        plan,
        columns: columns.columns(),
        stored,
        stamp,
        writer: BlockWriter::new(store),
        applied: Applied::default(),
        faults: Vec::new(),
        fault_count: 0,
        packed: Vec::new(),
        row: Vec::new(),
    };
    let (mut key, mut entry) = (Vec::new(), Vec::new());
    let mut has_entry = merge.next(&mut key, &mut entry).map_err(ImportError::sorting)?;
    let mut subject = next().map_err(ImportError::Write)?;
    let (mut entries, mut done) = (Vec::new(), 0);
    loop {
        let of_changes = has_entry && subject.as_ref().is_none_or(|subject| key <= subject.key);
        let mut at = match (&subject, of_changes) {
            (_, true) => OldSubject { key: key.clone(), rows: Some(Vec::new()) },
            (Some(_), false) => OldSubject { key: Vec::new(), rows: None },
            (None, false) => break,
        };
        entries.clear();
        if of_changes {
            while has_entry && key == at.key {
                entries.push(std::mem::take(&mut entry));
                has_entry = merge.next(&mut key, &mut entry).map_err(ImportError::sorting)?;
            }
        }
        if let Some(stored) = subject.take_if(|subject| !of_changes || subject.key == at.key) {
            at = stored;
            subject = next().map_err(ImportError::Write)?;
        }
        writing.subject(at, &entries)?;
        done += 1;
        if done % PROGRESS_ROWS == 0 {
            let rows = writing.applied.rows;
            progress(Progress { phase: Phase::Loading, bytes_read, rows, total_rows: None });
        }
    }
    if writing.fault_count > 0 {
        return Err(ImportError::BadRows { bad_rows: writing.faults, rows: writing.fault_count });
    }
    writing.writer.finish().map_err(ImportError::store)?;
    Ok(writing.applied)
}

struct Writing<'a> {
    plan: &'a ChangePlan,
    columns: &'a [Column],
    stored: &'a [Column],
    stamp: Option<Value>,
    writer: BlockWriter,
    applied: Applied,
    faults: Vec<BadRow>,
    fault_count: u64,
    packed: Vec<u8>,
    row: Vec<u8>,
}

impl Writing<'_> {
    fn subject(&mut self, subject: OldSubject, entries: &[Vec<u8>]) -> Result<(), ImportError> {
        let was_set_aside = subject.rows.is_none();
        // Without a key a change says all there is of its subject, so what was set aside is settled by it.
        if was_set_aside && (entries.is_empty() || !self.plan.key().is_empty()) {
            self.applied.quarantined_subjects += 1;
            return self.writer.quarantined(&subject.key).map_err(ImportError::store);
        }
        let mut rows = subject.rows.unwrap_or_default();
        let (mut put_in, mut last_line) = (0_u64, 0);
        for entry in entries {
            let (kind, line, packed) = read_body(entry)?;
            let damaged = || ImportError::Write("a sorted run is damaged".to_owned());
            let mut values = unpack(packed, self.columns).ok_or_else(damaged)?;
            last_line = line;
            let has_key = |row: &Values| self.plan.key().iter().all(|position| row[*position] == values[*position]);
            if kind == Kind::Delete {
                let before = rows.len();
                rows.retain(|row| !has_key(row));
                let gone = before - rows.len();
                self.applied.deleted += gone as u64;
                self.applied.missed += u64::from(gone == 0 && !was_set_aside);
                put_in = 0;
                continue;
            }
            let found = rows.iter().enumerate().filter(|(_, row)| has_key(row)).map(|(at, _)| at).collect::<Vec<_>>();
            values.resize(self.stored.len(), None);
            if let (Some(stamp), Some(last)) = (&self.stamp, values.get_mut(self.columns.len())) {
                *last = Some(stamp.clone());
            }
            match found.as_slice() {
                [] => rows.push(values),
                [_] if put_in > 0 && self.plan.key().is_empty() => {
                    self.fault(line, "its subject stands twice: name with --key the columns that tell its rows apart");
                }
                [at] => rows[*at] = values,
                _ => {
                    self.fault(line, "several rows of its subject have the same key: name with --key the columns that tell them apart");
                }
            }
            put_in += 1;
            self.applied.upserted += 1;
        }
        self.write(&subject.key, &rows, last_line)
    }

    fn write(&mut self, key: &[u8], rows: &[Values], line: u64) -> Result<(), ImportError> {
        if rows.is_empty() {
            return Ok(());
        }
        self.packed.clear();
        for row in rows {
            self.row.clear();
            pack(row, self.stored, &mut self.row);
            pack_slice(&self.row, &mut self.packed);
        }
        if is_too_much(rows.len() as u64, self.packed.len()) {
            self.fault_count += 1;
            self.faults.extend((self.faults.len() < BAD_ROW_LIMIT).then(|| too_many(line)));
            return Ok(());
        }
        self.applied.rows += rows.len() as u64;
        self.applied.subjects += 1;
        self.writer.rows(key, &self.packed).map_err(ImportError::store)
    }

    fn fault(&mut self, line: u64, reason: &str) {
        self.fault_count += 1;
        if self.faults.len() < BAD_ROW_LIMIT {
            self.faults.push(BadRow { line, field: String::new(), reason: reason.to_owned() });
        }
    }
}
