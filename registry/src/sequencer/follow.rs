//! Following the ledger, which other registries may share: what they appended is checked and folded in here, and what
//! they signed is shown here too, so that all show the same and no clock shows a time before one shown.

use std::sync::Arc;

use tokio::time::Instant;
use trust::{
    key::Signer,
    log::checkpoint::{self, Checkpoint, LogKey, VerifiedCheckpoint},
};

use super::{Error, Head, REPLAY_CHUNK, SequencerTask, apply_all};
use crate::ledger::{self, Keep, ReadLimit, SignedHead};

impl SequencerTask {
    /// Looks what others did.
    pub(super) async fn follow(&mut self) -> Result<(), Error> {
        let outcome = self.look().await;
        self.unless_away(outcome)
    }

    /// Signs the checkpoint anew.
    pub(super) async fn renew(&mut self) -> Result<(), Error> {
        self.renewal = Instant::now() + self.checkpoint_interval;
        if self.holds_back() {
            let outcome = self.wait_on().await;
            return self.unless_away(outcome);
        }
        self.renew_now().await
    }

    pub(super) async fn renew_now(&mut self) -> Result<(), Error> {
        self.renewal = Instant::now() + self.checkpoint_interval;
        let shown = self.shared.head.borrow().checkpoint.clone();
        let outcome = match self.look().await {
            // Another registry over this ledger has signed in the meantime.
            Ok(()) if self.shared.head.borrow().checkpoint != shown || self.holds_back() => Ok(()),
            Ok(()) => self.publish().await.map(drop),
            Err(error) => Err(error),
        };
        self.unless_away(outcome)
    }

    pub(super) fn unless_away(&mut self, outcome: Result<(), Error>) -> Result<(), Error> {
        match outcome {
            Ok(()) => self.store_is_there(),
            Err(Error::Ledger(ledger::Error::Away { reason })) => self.store_is_away(&reason),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    pub(super) fn store_is_there(&mut self) {
        if std::mem::take(&mut self.is_away) {
            tracing::info!("the store is back");
        }
        self.store.met();
    }

    pub(super) fn store_is_away(&mut self, reason: &str) {
        if !std::mem::replace(&mut self.is_away, true) {
            tracing::error!(reason, "the store is away: nothing is accepted until it is back");
        }
        self.store.unmet(reason);
    }

    /// Reads what others appended and signed; signs for it only where whoever appended did not come to it.
    async fn look(&mut self) -> Result<(), Error> {
        let is_marked = self.look_at_the_mark().await?;
        self.catch_up().await?;
        let (size, shown) = (self.shared.directory().size(), self.shared.head.borrow().size);
        if !self.adopt().await? && size > shown && !is_marked && !self.holds_back() {
            self.publish().await?;
        }
        Ok(())
    }

    /// Shows the checkpoint that is kept, where it is of the directory as it stands here and newer than what is shown.
    /// Whether it is what is shown now.
    async fn adopt(&mut self) -> Result<bool, Error> {
        let Some(note) = self.ledger.checkpoint().await? else { return Ok(false) };
        let shown = self.shared.head.borrow().clone();
        if note == *shown.checkpoint {
            return Ok(true);
        }
        let Some(kept) = self.open_kept(&note)? else { return Ok(false) };
        let size = kept.checkpoint().size();
        let (here, root) = {
            let directory = self.shared.directory();
            (directory.size(), directory.root())
        };
        if size == here && kept.checkpoint().root() != root {
            return Err(Error::CheckpointBroken { size });
        }
        if size != here || size < shown.size || kept.time_seconds() < self.last_time_seconds {
            return Ok(false);
        }
        self.last_time_seconds = kept.time_seconds();
        self.show(size, note.into());
        Ok(true)
    }

    /// Opens the checkpoint that is kept with the key that the log had at its size; `None` where that is not known here
    /// yet, because the statements before it are not read.
    fn open_kept(&self, note: &str) -> Result<Option<VerifiedCheckpoint>, Error> {
        let size = checkpoint::peek(note.as_bytes())?.size();
        let key = {
            let directory = self.shared.directory();
            if size > directory.size() {
                return Ok(None);
            }
            directory.log_key_at(size).cloned().ok_or(Error::LogKeyWrong)?
        };
        let key = LogKey::new(self.origin.clone(), key.as_bytes())?;
        Ok(Some(checkpoint::open(note.as_bytes(), &key)?))
    }

    fn show(&mut self, size: u64, checkpoint: Arc<str>) {
        self.renewal = Instant::now() + self.checkpoint_interval;
        self.shared.head.send_replace(Head { size, checkpoint });
    }

    /// Folds in what others appended.
    pub(super) async fn catch_up(&self) -> Result<(), Error> {
        let size = self.ledger.position().await?.size;
        if size == self.shared.directory().size() {
            return Ok(());
        }
        // Beside the directory that is read, so that nobody waits while statements are verified.
        let mut directory = self.shared.directory().clone();
        loop {
            let entries = self.ledger.read(directory.size(), ReadLimit::entries(REPLAY_CHUNK)).await?;
            if entries.is_empty() {
                break;
            }
            apply_all(&mut directory, &entries)?;
        }
        *self.shared.directory_to_change() = directory;
        Ok(())
    }

    /// Signs what the directory has come to, keeps the checkpoint, and tells everybody.
    pub(super) async fn publish(&mut self) -> Result<Arc<str>, Error> {
        loop {
            let now_ms = self.clock.now_ms();
            let (size, root, signing) = {
                let directory = self.shared.directory();
                (directory.size(), directory.root(), self.log_keys.signing(&directory, now_ms))
            };
            let signing = signing.ok_or(Error::LogKeyWrong)?;
            let now_seconds = now_ms / 1000;
            if now_seconds < self.last_time_seconds {
                let (now, signed) = (now_seconds, self.last_time_seconds);
                tracing::warn!(now, signed, "the clock is behind the last checkpoint's time; set it");
            }
            // Time never runs backwards in this log.
            let time_seconds = now_seconds.max(self.last_time_seconds);
            let unsigned = Checkpoint::new(&self.origin, size, root)?;
            let mut note = String::new();
            for key in signing {
                let note_key = LogKey::new(self.origin.clone(), key.public_key().as_bytes())?;
                let sign = |message: &[u8]| key.sign(message);
                note = match note.as_str() {
                    "" => checkpoint::sign(&unsigned, &note_key, time_seconds, sign)?,
                    note => checkpoint::countersign(note, &note_key, time_seconds, sign)?,
                };
            }
            let kept = self.ledger.keep_checkpoint(SignedHead { note: note.clone(), size, time_seconds }).await?;
            if kept == Keep::Kept {
                self.last_time_seconds = time_seconds;
                let checkpoint: Arc<str> = note.into();
                self.show(size, Arc::clone(&checkpoint));
                return Ok(checkpoint);
            }
            // Another registry has signed for more, or by a clock that is ahead: its word is shown, or ours is signed again.
            self.catch_up().await?;
            if self.adopt().await? {
                return Ok(self.shared.head.borrow().checkpoint.clone());
            }
            if let Some(note) = self.ledger.checkpoint().await? {
                let kept_seconds = self.open_kept(&note)?.map_or(0, |kept| kept.time_seconds());
                self.last_time_seconds = self.last_time_seconds.max(kept_seconds);
            }
        }
    }
}
