//! What a start reads back from the evidence: of every log of the node, the one that is kept first. Out of scope: what is made
//! of it (`ask`, `answer`, `duty`).

use std::{ops::ControlFlow, path::PathBuf, sync::Arc};

use trust::calendar::Calendar;

use super::Error;
use crate::{
    answer, ask,
    journal::{Journal, JournalError, RecordHead},
    logs::{self, Logs, Read},
    usage::Saved,
};

/// Reads back, in one pass over the newest evidence of each log, what both sides must know of what was before; with the
/// records that bear a duty and stand where the due-list may not know of it, the oldest first.
pub(super) async fn recall(
    logs: Arc<Logs>,
    covered: u64,
    (dir, calendar, now_ms): (PathBuf, Calendar, u64),
) -> Result<(ask::Recalled, answer::Recalled, Vec<RecordHead>), Error> {
    tokio::task::spawn_blocking(move || {
        let saved = Saved::load_of(&dir, logs.of.number, logs.current.as_ref())?;
        // Indexes of the first log are as they are; those of a successor stand behind its base.
        let nothing = Saved::default();
        let first = if logs.of.number == 1 { &saved } else { &nothing };
        let mut asked = ask::Recalled::starting(first, &calendar, now_ms);
        let mut answered = answer::Recalled::starting(first, &calendar, now_ms);
        let mut owed = Vec::new();
        let own = logs::base(logs.of.number);
        if own > 0 {
            asked.begin_log(&saved, own, Read::Current);
            answered.begin_log(&saved, own, Read::Current);
        }
        read_back(logs.current.as_ref(), own, (&mut asked, &mut answered), (covered, &mut owed))?;
        for (number, base, journal) in logs.others() {
            // What came back is not in the order of time, and there is little of it: it is counted each time.
            let is_recovered = number == 0;
            let mut saved = Saved::default();
            if !is_recovered {
                saved = Saved::load_of(&dir, number, journal)?;
                if saved.advance(journal)?
                    && let Err(error) = saved.store_of(&dir, number, journal)
                {
                    tracing::warn!(error, "the uses of grants are not written down; the next start takes longer");
                }
            }
            let read = if is_recovered { Read::Recovered } else { Read::Earlier };
            asked.begin_log(&saved, base, read);
            answered.begin_log(&saved, base, read);
            // What came back bears no duty: whoever asked has seen to it.
            let covered = if is_recovered { u64::MAX } else { covered };
            read_back(journal, base, (&mut asked, &mut answered), (covered, &mut owed))?;
        }
        owed.sort_by_key(|head: &RecordHead| head.first_index);
        Ok((asked, answered, owed))
    })
    .await?
}

fn read_back(
    journal: &dyn Journal,
    base: u64,
    (asked, answered): (&mut ask::Recalled, &mut answer::Recalled),
    (covered, owed): (u64, &mut Vec<RecordHead>),
) -> Result<(), JournalError> {
    let (mut asked_on, mut answered_on) = (true, true);
    journal.newest(0, &mut |mut head| {
        head.first_index += base;
        asked_on = asked_on && asked.take(&head).is_continue();
        answered_on = answered_on && answered.take(&head).is_continue();
        let owed_on = head.first_index >= covered;
        if owed_on && head.duty {
            owed.push(head);
        }
        if asked_on || answered_on || owed_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })
}
