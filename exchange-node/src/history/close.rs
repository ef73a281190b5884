//! Closing a log that lost entries: its owner says so in the directory, with what is kept, what is lost and why; then the
//! node begins anew with the successor. Out of scope: finding out that entries are missing (`compare`).

use std::sync::Arc;

use proto::registry::v1::{AnchorHistoryRequest, EvidenceLogClosed, OfficialDecision, statement::Body};
use trust::{directory::Object, evidence::LogOf, log::hash::Hash};

use super::{Error, Historian, Mark, Why};
use crate::{
    journal::{self, Journal},
    keys::with_key,
};

/// What was closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The log.
    pub log: LogOf,
    /// How many entries it keeps.
    pub kept: u64,
    /// How many it had at least.
    pub highest_seen: u64,
    /// The statement's index in the directory.
    pub statement: u64,
}

impl Historian {
    /// Closes the log and begins anew with its successor.
    ///
    /// # Errors
    ///
    /// Nothing is missing, or the statement is not made.
    pub async fn close(&self, reason: &str, decision: OfficialDecision) -> Result<Closed, Error> {
        let held = self.standing.held().ok_or(Error::NothingLost)?;
        let Why::Lost { highest_seen } = held.why else { return Err(Error::NothingLost) };
        let anchored = self.anchored().await?;
        let (here, current) = (self.logs.current.size(), Arc::clone(&self.logs.current));
        let (kept, root) = tokio::task::spawn_blocking(move || kept(current.as_ref(), &anchored)).await??;
        let highest_seen = highest_seen.max(here);
        let log = self.logs.of.clone();
        let head = with_key(self.keys.as_ref(), |key| {
            journal::sign_head(kept, root, &log.to_string(), key, self.clock.now_ms())
        })
        .map_err(crate::anchors::Error::from)?;
        let object = Object::Evidence(self.me.department().clone(), self.node.clone());
        let body = Body::EvidenceLogClosed(EvidenceLogClosed {
            department: self.me.department().to_string(),
            node: self.node.to_string(),
            log: log.number,
            checkpoint: head.note,
            highest_seen,
            reason: reason.to_owned(),
        });
        let follows = self.view.seen().directory().last(&object).map(|place| place.digest);
        let published = self.publisher.decide(&object, follows.as_ref(), body, Some(decision)).await?;
        tracing::warn!(%log, kept, highest_seen, reason, "the evidence log was closed; its successor goes on");
        // About a log that is closed it says nothing any more; where a crash leaves it, it is passed over.
        Mark::remove(&self.dir)?;
        self.again.begin("the evidence log was closed, and its successor goes on");
        Ok(Closed { log, kept, highest_seen, statement: published.index })
    }

    /// Every checkpoint of the log that was anchored, as the registry has them and as this node's own record does.
    async fn anchored(&self) -> Result<Vec<(u64, Hash)>, Error> {
        let mut anchored: Vec<(u64, Hash)> =
            self.anchorer.book.last(&self.logs.of).map(|last| (last.size, last.root)).into_iter().collect();
        let request = AnchorHistoryRequest { origin: self.logs.of.to_string(), start: 0 };
        anchored.extend(self.anchorer.history(request).await?);
        Ok(anchored)
    }
}

/// What is kept of a log: all that is here, where it contains every anchored checkpoint that is not beyond its end; otherwise,
/// where it was written on after entries had been lost, only up to the last that it does contain.
fn kept(journal: &dyn Journal, anchored: &[(u64, Hash)]) -> Result<(u64, Hash), journal::JournalError> {
    let (here, root) = journal.head();
    let (mut good, mut contradicted) = (0, false);
    for (size, root) in anchored.iter().filter(|(size, _)| *size <= here) {
        match journal.root_at(*size)? == *root {
            true => good = good.max(*size),
            false => contradicted = true,
        }
    }
    match contradicted {
        false => Ok((here, root)),
        true => Ok((good, journal.root_at(good)?)),
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use proto::exchange::v1::{EntryKind, Outcome};
    use trust::{envelope, fixture::key};

    use super::*;
    use crate::journal::{Commit, NewEntry, memory::MemoryJournal};

    #[tokio::test]
    async fn what_agrees_with_the_anchors_is_kept() {
        let journal = MemoryJournal::new();
        for at_ms in 0..6 {
            let (sealed, digest) = envelope::seal(&Outcome { at_ms, ..Default::default() }, &key("housing node 1"));
            let message = envelope::signed(sealed).encode_to_vec();
            let entries = vec![NewEntry { kind: EntryKind::Outcome, digest, message }];
            journal.commit(Commit { at_ms, entries, ..Default::default() }).await.unwrap();
        }
        let root = |size| journal.root_at(size).unwrap();
        let other = Hash::from_bytes([7; 32]);
        assert_eq!(kept(&journal, &[]).unwrap(), (6, root(6)));
        // Restored, and nothing was written since: all that is here is of the old log.
        assert_eq!(kept(&journal, &[(2, root(2)), (9, other)]).unwrap(), (6, root(6)));
        // Written on after entries were lost.
        assert_eq!(kept(&journal, &[(2, root(2)), (4, root(4)), (5, other)]).unwrap(), (4, root(4)));
        assert_eq!(kept(&journal, &[(5, other)]).unwrap().0, 0);
    }
}
