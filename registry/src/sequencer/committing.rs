//! `state` statements: from time to time the log commits to the last statement about every object, signed with its own
//! key. They are sequenced like anybody's, so the rules that every node applies are applied here too. Out of scope: what
//! a commitment says and how it is proved (`trust::directory`).

use std::time::Duration;

use proto::registry::v1::statement::Body;
use tokio::sync::oneshot;
use trust::directory::{Object, statement};

use super::{Error, Sequencer, SequencerTask, Stopped};
use crate::authority::sealed;

/// With nothing new to commit to, how soon to look again at most.
const LOOK_AGAIN: Duration = Duration::from_secs(3600);

impl Sequencer {
    /// Has the log commit to the state now; the number of statements that the last commitment covers.
    pub async fn commit_to_state(&self) -> Result<u64, Stopped> {
        let (asked, covered) = oneshot::channel();
        self.commit_now.send(asked).await.map_err(|_| Stopped)?;
        covered.await.map_err(|_| Stopped)
    }
}

impl SequencerTask {
    /// How long to wait for the next commitment: none is due before something was said since the last.
    pub(super) fn until_commitment(&self) -> Duration {
        let directory = self.shared.directory();
        let (last_ms, committed) = match directory.committed() {
            Some(committed) => (committed.stated_at_ms(), committed.size() + 1),
            None => (self.started_ms, 0),
        };
        if directory.size() <= committed {
            return LOOK_AGAIN;
        }
        let interval_ms = u64::try_from(self.state_interval.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(last_ms.saturating_add(interval_ms).saturating_sub(self.clock.now_ms()))
    }

    pub(super) async fn commit_as_asked(&mut self, asked: oneshot::Sender<u64>) -> Result<(), Error> {
        let covered = self.commit_to_state().await?;
        // Whoever asked may have gone away; the commitment was made all the same.
        let _ = asked.send(covered);
        Ok(())
    }

    /// Commits to the state, unless the last commitment covers everything; how many statements are covered.
    pub(super) async fn commit_to_state(&mut self) -> Result<u64, Error> {
        let entry = {
            let directory = self.shared.directory();
            if let Some(committed) = directory.committed().filter(|committed| committed.size() + 1 >= directory.size())
            {
                return Ok(committed.size());
            }
            let predecessor = directory.last(&Object::State).map(|place| place.digest);
            let body = Body::State(directory.commitment());
            let statement =
                statement(directory.exchange(), &Object::State, predecessor.as_ref(), self.clock.now_ms(), body);
            sealed(&statement, &self.log_key)
        };
        match self.take(entry).await? {
            Ok(accepted) => tracing::info!(index = accepted.index, "the log commits to its state"),
            // Another registry over the same ledger said something in the meantime: it comes with the next one.
            Err(refusal) => tracing::info!(code = %refusal.code, "the commitment to the state is outdated already"),
        }
        Ok(self.shared.directory().committed().map_or(0, |committed| committed.size()))
    }
}
