//! Whether the evidence log verifies: all of it where it is short, otherwise its newest entries against the root. Out of
//! scope: whether the messages' signatures are good, which a bundle shows.

use std::sync::Arc;

use prost::Message;
use proto::{admin::v1::Finding, exchange::v1::Signed};
use trust::{envelope, log::proof::verify_inclusion};

use super::{ok, wrong};
use crate::{
    history::Why,
    journal::{Journal, JournalError},
    parts::Parts,
};

const CHECK: &str = "evidence";

/// Whether the log may go on.
pub(super) fn history(parts: &Parts) -> Finding {
    const CHECK: &str = "evidence history";
    let Some(held) = parts.historian.standing.held() else {
        return ok(CHECK, format!("{} goes on; nothing that others saw is missing", parts.logs.of));
    };
    let advice = match held.why {
        Why::Lost { .. } => {
            "bring the folder with the missing entries back, where there is one; otherwise close the log (`evidence close`), and then ask others for what they hold (`evidence reconcile --all`)"
        }
        Why::Restored { .. } => {
            "let the registry and those departments be reached; an officer who knows that nothing was lost can decide it (`evidence resume`)"
        }
    };
    wrong(CHECK, held.text.as_str(), advice)
}

/// A log of at most so many entries is read whole: a second or two.
const READ_WHOLE: u64 = 50_000;

/// How many of the newest entries of a longer one are read.
const NEWEST: u64 = 2_000;

pub(super) async fn examine(parts: &Arc<Parts>) -> Finding {
    let parts = Arc::clone(parts);
    tokio::task::spawn_blocking(move || read(&parts))
        .await
        .unwrap_or_else(|error| wrong(CHECK, format!("the check ended by itself: {error}"), ADVICE))
}

fn read(parts: &Parts) -> Finding {
    let size = parts.journal.size();
    if size <= READ_WHOLE {
        return match parts.evidence.verify() {
            Ok(verified) => ok(CHECK, format!("all {} entries verify", verified.entries)),
            Err(error) => wrong(CHECK, error.to_string(), ADVICE),
        };
    }
    match newest(parts.evidence.as_ref(), NEWEST) {
        Ok(None) => ok(CHECK, format!("the newest {NEWEST} of {size} entries verify")),
        Ok(Some(fault)) => wrong(CHECK, fault, ADVICE),
        Err(error) => wrong(CHECK, error.to_string(), ADVICE),
    }
}

const ADVICE: &str = "stop the node, keep its folder as it is for inquiry, and restore the evidence from its backup";

/// Reads the newest entries, and gives the first that is not the one that was logged.
fn newest(journal: &dyn Journal, count: u64) -> Result<Option<String>, JournalError> {
    let (size, root) = journal.head();
    for index in size.saturating_sub(count)..size {
        let Some(stored) = journal.entry(index)? else { return Ok(Some(format!("entry {index} is missing"))) };
        if verify_inclusion(&stored.entry.leaf(), index, size, &journal.inclusion(index, size)?, &root).is_err() {
            return Ok(Some(format!("entry {index} is not the one that was logged")));
        }
        // Without its message (the month's key was destroyed) the entry still stands.
        let Some(message) = stored.message else { continue };
        let digest = Signed::decode(message.as_slice()).ok().and_then(|signed| envelope::digest_of(&signed).ok());
        if digest != Some(stored.entry.envelope) {
            return Ok(Some(format!("entry {index}: its message is not the one that was logged")));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use proto::exchange::v1::{EntryKind, Outcome};
    use trust::{
        envelope::{seal, signed},
        fixture::key,
    };

    use super::*;
    use crate::journal::{Commit, NewEntry, memory::MemoryJournal};

    #[tokio::test]
    async fn an_entry_whose_message_is_another_is_named() {
        let journal = MemoryJournal::new();
        let (envelope, digest) = seal(&Outcome::default(), &key("housing node 1"));
        let message = signed(envelope).encode_to_vec();
        let entry = NewEntry { kind: EntryKind::Outcome, digest, message };
        for _ in 0..3 {
            journal.commit(Commit { at_ms: 5, entries: vec![entry.clone()], ..Default::default() }).await.unwrap();
        }
        assert_eq!(newest(&journal, 100).unwrap(), None);
        let (other, _) = seal(&Outcome { at_ms: 1, ..Default::default() }, &key("housing node 1"));
        let swapped = NewEntry { message: signed(other).encode_to_vec(), ..entry };
        journal.commit(Commit { at_ms: 5, entries: vec![swapped], ..Default::default() }).await.unwrap();
        let fault = newest(&journal, 100).unwrap().unwrap();
        assert_eq!(fault, "entry 3: its message is not the one that was logged");
        assert_eq!(newest(&journal, 0).unwrap(), None);
        journal.forget_messages();
        assert_eq!(newest(&journal, 100).unwrap(), None);
    }
}
