//! Finds in the evidence what another department names by its digest. The newest entries are looked through first, and none
//! that is surely older: heads alone are read. Out of scope: what is found is what it is said to be (the callers).

use std::ops::ControlFlow;

use prost::Message;
use proto::exchange::v1::{self as wire, EntryKind};
use trust::{
    envelope::{self, Payload},
    ids::Digest,
};

use super::Error;
use crate::{
    journal::{Journal, JournalError, StoredEntry},
    logs::Logs,
};

/// How much earlier than it is said to have been made something may stand in the evidence: clocks differ.
const EARLIER_MS: u64 = 15 * 60_000;

/// The place of the entry with this digest that was made at or after a time. Blocks.
pub(crate) fn by_digest(
    logs: &Logs,
    kinds: &[EntryKind],
    digest: &Digest,
    since_ms: u64,
) -> Result<Option<u64>, JournalError> {
    let since_ms = since_ms.saturating_sub(EARLIER_MS);
    let own: (u64, &dyn Journal) = (crate::logs::base(logs.of.number), logs.current.as_ref());
    let others = logs.others();
    for (base, journal) in std::iter::once(own).chain(others.iter().map(|(_, base, journal)| (*base, *journal))) {
        // What came back from others is in no order of time.
        let since_ms = if crate::logs::is_recovered(base) { 0 } else { since_ms };
        let mut found = None;
        journal.newest(since_ms, &mut |head| {
            let entries = head.kinds.iter().zip(&head.digests);
            let position = entries.enumerate().find(|(_, (kind, other))| kinds.contains(kind) && *other == digest);
            match position {
                Some((position, _)) => {
                    found = Some(base + head.first_index + position as u64);
                    ControlFlow::Break(())
                }
                None => ControlFlow::Continue(()),
            }
        })?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// The places of all answers that came to a question of this department's, the first one first. Blocks.
pub(crate) fn answers_to(logs: &Logs, question: u64, since_ms: u64) -> Result<Vec<u64>, JournalError> {
    let since_ms = since_ms.saturating_sub(EARLIER_MS);
    let own: (u64, &dyn Journal) = (crate::logs::base(logs.of.number), logs.current.as_ref());
    let others = logs.others();
    let mut found = Vec::new();
    for (base, journal) in std::iter::once(own).chain(others.iter().map(|(_, base, journal)| (*base, *journal))) {
        let is_recovered = crate::logs::is_recovered(base);
        journal.newest(if is_recovered { 0 } else { since_ms }, &mut |head| {
            let about = head.about.map(|about| if is_recovered { base + about } else { about });
            if about == Some(question) && head.kinds.contains(&EntryKind::AnswerReceived) {
                found.push(base + head.first_index);
            }
            ControlFlow::Continue(())
        })?;
    }
    found.sort_unstable();
    Ok(found)
}

/// The entry at a place with its message as it was signed.
pub(super) fn stored(journal: &dyn Journal, place: u64) -> Result<(StoredEntry, wire::Signed), Error> {
    let stored = journal.entry(place)?.ok_or(Error::StoredUnreadable)?;
    let bytes = stored.message.as_deref().ok_or(Error::StoredUnreadable)?;
    let signed = wire::Signed::decode(bytes).map_err(|_| Error::StoredUnreadable)?;
    match envelope::digest_of(&signed) {
        Ok(digest) if digest == stored.entry.envelope => Ok((stored, signed)),
        _ => Err(Error::StoredUnreadable),
    }
}

/// The message at a place.
pub(super) fn message<M: Payload>(journal: &dyn Journal, place: u64) -> Result<(M, StoredEntry), Error> {
    let (stored, signed) = stored(journal, place)?;
    Ok((envelope::peek(&signed, usize::MAX).map_err(|_| Error::StoredUnreadable)?, stored))
}
