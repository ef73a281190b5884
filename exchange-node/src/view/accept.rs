//! Taking what the registry sends: nothing is kept before the root over it was recomputed and found in a checkpoint with
//! both of the log's signatures. Out of scope: what a statement must be to count (`trust::directory`).

use proto::registry::v1::statement::Body;
use trust::{
    key::DescribedKey,
    log::{
        checkpoint::{self, LogKey, VerifiedCheckpoint},
        frontier::Frontier,
        hash::leaf_hash,
    },
};

use super::{Error, View, log_key, stored::Batch};

/// How many statements are verified before others get their turn.
const FOLDED_AT_ONCE: usize = 32;

/// How many bytes of statements may wait for the checkpoint that covers them.
const MOST_PENDING_BYTES: usize = 512 * 1024 * 1024;

/// The state that the registry's word is checked against.
#[derive(Default)]
pub(super) struct Followed {
    /// Over everything stored, which may be more than what could be folded in.
    pub(super) frontier: Frontier,
    /// The key of the log, once the founding is known.
    pub(super) log_key: Option<LogKey>,
    /// Statements that no checkpoint covers yet.
    pending: Vec<Vec<u8>>,
    pending_bytes: usize,
    /// The checkpoint that will cover them.
    target: Option<VerifiedCheckpoint>,
}

impl View {
    /// The index that is wanted next from the registry.
    pub async fn next_index(&self) -> u64 {
        let followed = self.followed.lock().await;
        followed.frontier.size() + followed.pending.len() as u64
    }

    /// Takes what the registry sent: statements from `start` on and its latest checkpoint. Either everything that the
    /// checkpoint covers is verified and stored, or nothing of it.
    pub async fn accept(&self, start: u64, entries: Vec<Vec<u8>>, checkpoint: &str, now_ms: u64) -> Result<(), Error> {
        let mut followed = self.followed.lock().await;
        let outcome = self.take(&mut followed, start, entries, checkpoint).await;
        if let Err(error) = &outcome {
            // What waits came from the same mouth; it is asked for again.
            followed.pending.clear();
            followed.pending_bytes = 0;
            followed.target = None;
            if !matches!(error, Error::OutOfOrder { .. }) {
                self.find(error.to_string(), now_ms);
            }
        }
        outcome
    }

    async fn take(
        &self,
        followed: &mut Followed,
        start: u64,
        entries: Vec<Vec<u8>>,
        checkpoint_text: &str,
    ) -> Result<(), Error> {
        let expected = followed.frontier.size() + followed.pending.len() as u64;
        if start != expected && !entries.is_empty() {
            return Err(Error::OutOfOrder { start, expected });
        }
        followed.pending_bytes += entries.iter().map(Vec::len).sum::<usize>();
        followed.pending.extend(entries);
        if followed.pending_bytes > MOST_PENDING_BYTES {
            return Err(Error::Uncovered);
        }
        if followed.log_key.is_none() {
            let Some(founding) = followed.pending.first() else { return Ok(()) };
            followed.log_key = Some(self.founding_log_key(founding)?);
        }
        let Some(log_key) = &followed.log_key else { return Ok(()) };
        let verified = checkpoint::open(checkpoint_text.as_bytes(), log_key)?;
        self.check_not_rolled_back(followed, &verified)?;

        let have = followed.frontier.size() + followed.pending.len() as u64;
        // While catching up the first checkpoint is the nearer goal; once it is reached the newest counts.
        let target = match followed.target.take() {
            Some(nearer) if verified.checkpoint().size() > have => nearer,
            _ => verified,
        };
        if target.checkpoint().size() > have {
            followed.target = Some(target);
            return Ok(());
        }
        self.take_up_to(followed, &target).await
    }

    fn check_not_rolled_back(&self, followed: &Followed, verified: &VerifiedCheckpoint) -> Result<(), Error> {
        let (told, here) = (verified.checkpoint().size(), followed.frontier.size());
        // An old checkpoint that comes late proves nothing; a newer one with fewer statements proves a rollback.
        if told < here && verified.time_seconds().saturating_mul(1000) >= self.verified_ms() {
            return Err(Error::RolledBack { told, here });
        }
        Ok(())
    }

    async fn take_up_to(&self, followed: &mut Followed, target: &VerifiedCheckpoint) -> Result<(), Error> {
        let size = target.checkpoint().size();
        let Some(count) = size.checked_sub(followed.frontier.size()) else { return Ok(()) };
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let mut frontier = followed.frontier.clone();
        for entry in followed.pending.iter().take(count) {
            frontier.append(leaf_hash(entry));
        }
        let (told, here) = (target.checkpoint().root(), frontier.root());
        if told != here {
            return Err(Error::Forked { size, told, here });
        }
        if count == 0 && target.time_seconds().saturating_mul(1000) <= self.verified_ms() {
            // An older word on the same: keeping it would make the verified time run backwards at the next start.
            return Ok(());
        }
        let entries: Vec<Vec<u8>> = followed.pending.drain(..count).collect();
        followed.pending_bytes = followed.pending.iter().map(Vec::len).sum();
        let text = target.note().to_string();
        let batch = Batch { start: followed.frontier.size(), entries: entries.clone(), checkpoint: text.clone() };
        self.stored.append(batch).await?;
        let before = followed.frontier.size();
        followed.frontier = frontier;
        self.fold_from(before, &entries).await?;
        self.vouched(target, &text);
        Ok(())
    }

    /// Folds in what was stored from `before` on; and, where an earlier statement stopped the view, nothing.
    async fn fold_from(&self, before: u64, entries: &[Vec<u8>]) -> Result<(), Error> {
        if self.seen().size() != before {
            // Said when it happened; the view stays where it is until a newer version of this program reads on.
            return Ok(());
        }
        for entries in entries.chunks(FOLDED_AT_ONCE) {
            entries.iter().try_for_each(|entry| self.fold(entry))?;
            // A long directory costs seconds of verification: questions go in between.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// The log's key as the founding names it, which the authority signed.
    fn founding_log_key(&self, entry: &[u8]) -> Result<LogKey, Error> {
        let seen = self.seen();
        let checked = seen.directory.check(entry).map_err(|_| Error::NotFounded)?;
        let Some(Body::ExchangeFounded(founded)) = &checked.statement().body else { return Err(Error::NotFounded) };
        let key = founded.log_key.as_ref().and_then(|key| DescribedKey::from_wire(key).ok());
        log_key(seen.directory.exchange(), &key.ok_or(Error::NotFounded)?.key)
    }
}
