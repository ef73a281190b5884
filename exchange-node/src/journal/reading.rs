//! Reading a journal on sled, whether it is written to or only kept: entries, the newest records, proofs. Out of scope:
//! which months there are (`months`), and writing (`embedded`).

use std::ops::ControlFlow;

use trust::log::{
    hash::Hash,
    proof::{BuildError, consistency_proof, inclusion_proof, tree_root},
};

use super::{
    JournalError, RecordHead, StoredEntry,
    month_store::TileError,
    months::{Months, Tiles},
    writer::Durable,
};

/// How many records in a row must be too old before those before them are taken to be so too. Times are not in order:
/// callers look at the clock before they stand in line, and a clock may have been set back for a while.
const TOO_OLD_IN_A_ROW: u32 = 4096;

pub(super) fn entry(months: &Months, size: u64, index: u64) -> Result<Option<StoredEntry>, JournalError> {
    if index >= size {
        return Ok(None);
    }
    let month = months.of_entry(index)?;
    let key = months.keys().load(month.month())?;
    month.head_of(index, |first_index, head| {
        let entries = head.entries.as_slice();
        // In range: it is the head of the record that has the entry.
        let position = usize::try_from(index - first_index).unwrap_or(usize::MAX);
        let missing = || month.damaged(format!("entry {index} is missing"));
        let entry = *entries.get(position).ok_or_else(missing)?;
        let message = match key.filter(|key| key.id() == head.key_id) {
            None => None,
            Some(key) => match head.messages(&month.payload(first_index)?, &key) {
                Some(mut messages) => Some(messages.swap_remove(position)),
                None => return Err(month.damaged(format!("entry {first_index}: what is stored of it was changed"))),
            },
        };
        let companions = first_index..first_index + entries.len() as u64;
        Ok(Some(StoredEntry { index, entry, message, at_ms: head.at_ms, about: head.about, companions }))
    })
}

pub(super) fn newest(
    months: &Months,
    size: u64,
    since_ms: u64,
    visit: &mut dyn FnMut(RecordHead) -> ControlFlow<()>,
) -> Result<(), JournalError> {
    let mut end = size;
    let mut too_old = 0;
    for (name, first_index) in months.list().into_iter().rev() {
        if first_index >= end {
            continue;
        }
        let month = months.named(name)?;
        let mut is_over = false;
        month.backward(end, &mut |first_index, head| {
            if head.at_ms >= since_ms {
                too_old = 0;
                is_over = visit(head.to_record_head(first_index)).is_break();
            } else {
                too_old += 1;
                is_over = too_old >= TOO_OLD_IN_A_ROW;
            }
            Ok(!is_over)
        })?;
        if is_over {
            break;
        }
        end = first_index;
    }
    Ok(())
}

pub(super) fn inclusion(months: &Months, durable: &Durable, index: u64, size: u64) -> Result<Vec<Hash>, JournalError> {
    build(months, durable, index, size, |tiles| inclusion_proof(tiles, index, size))
}

pub(super) fn consistency(
    months: &Months,
    durable: &Durable,
    old_size: u64,
    new_size: u64,
) -> Result<Vec<Hash>, JournalError> {
    build(months, durable, old_size, new_size, |tiles| consistency_proof(tiles, old_size, new_size))
}

pub(super) fn root_at(months: &Months, durable: &Durable, size: u64) -> Result<Hash, JournalError> {
    build(months, durable, size, size, |tiles| tree_root(tiles, size))
}

/// Builds something over the tree of the first `size` entries.
fn build<T>(
    months: &Months,
    durable: &Durable,
    index: u64,
    size: u64,
    build: impl FnOnce(&Tiles<'_>) -> Result<T, BuildError<TileError>>,
) -> Result<T, JournalError> {
    let outside = JournalError::OutsideLog { index, size, durable: durable.tree.size() };
    if size > durable.tree.size() {
        return Err(outside);
    }
    build(&months.tiles(durable)).map_err(|error| match error {
        BuildError::Source(TileError(error)) => error,
        _ => outside,
    })
}
