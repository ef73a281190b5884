//! Answering what was submitted: what waits together is checked one after the other, appended at once, and signed for
//! once. Where the store goes away on the way, nobody is told anything until it was looked whether the entries are there.

use std::{sync::Arc, time::Duration};

use prost::Message;
use proto::{
    exchange::v1::Envelope,
    registry::v1::{Statement, statement::Body},
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use trust::{
    directory::{Checked, Directory, LARGEST_ENTRY, StatementError},
    envelope,
    key::{DescribedKey, KeyId},
    refusal::{Code, Refusal},
};

use super::{Accepted, Error, SequencerTask, Stopped, Submission};
use crate::ledger::{self, Append, ReadLimit};

/// How many statements are appended at once.
const MOST_AT_ONCE: usize = 64;

/// How often statements are checked anew because another writer was quicker, although it was not its turn.
const MOST_OVERTAKINGS: usize = 16;

/// How long those who submitted wait for a store that went away, before they are told so.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long to wait before a store that is away is tried again.
const AGAIN: Duration = Duration::from_millis(200);

/// What became of a statement, before anybody may know it: its index, or why it is refused.
type Outcome = Result<u64, Refusal>;

/// Statements that were checked together, one after the other.
struct Attempt {
    /// The size that they were checked at.
    at_size: u64,
    /// The bytes of those that count.
    entries: Vec<Vec<u8>>,
    /// The directory with those folded in.
    directory: Directory,
    /// What to tell those who submitted, once the entries are durable.
    outcomes: Vec<Outcome>,
}

impl SequencerTask {
    /// Answers a submission, and what waits behind it.
    pub(super) async fn answer(&mut self, first: Submission, stop: &CancellationToken) -> Result<(), Error> {
        let mut batch = vec![first];
        while batch.len() < MOST_AT_ONCE {
            let Ok(next) = self.waiting.try_recv() else { break };
            batch.push(next);
        }
        if let Some(refusal) = self.held_back() {
            for submission in batch {
                let _ = submission.outcome.send(Ok(Err(refusal.clone())));
            }
            return Ok(());
        }
        let answers = if self.is_away { None } else { self.resolve(&batch, stop).await? };
        match answers {
            Some(answers) => {
                for (submission, answer) in batch.into_iter().zip(answers) {
                    match &answer {
                        Ok(accepted) => tracing::info!(index = accepted.index, "statement accepted"),
                        Err(refusal) => {
                            tracing::info!(code = %refusal.code, field = refusal.field, "statement refused")
                        }
                    }
                    // Whoever asked may have gone away; the statement is in the log all the same.
                    let _ = submission.outcome.send(Ok(answer));
                }
            }
            None => {
                for submission in batch {
                    let _ = submission.outcome.send(Err(Stopped::StoreAway));
                }
            }
        }
        Ok(())
    }

    /// The answers to a batch; `None` where the store stayed away and nobody can say.
    async fn resolve(
        &mut self,
        batch: &[Submission],
        stop: &CancellationToken,
    ) -> Result<Option<Vec<Result<Accepted, Refusal>>>, Error> {
        let patience = Instant::now() + PATIENCE;
        let mut doubt = None;
        loop {
            match self.take(batch, &mut doubt).await {
                Ok(answers) => {
                    self.store_is_there();
                    return Ok(Some(answers));
                }
                Err(Error::Ledger(ledger::Error::Away { reason })) => {
                    self.store_is_away(&reason);
                    if Instant::now() >= patience || stop.is_cancelled() {
                        return Ok(None);
                    }
                    tokio::time::sleep(AGAIN).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Sequences a statement of the log's own.
    pub(super) async fn take_one(&mut self, entry: Vec<u8>) -> Result<Result<Accepted, Refusal>, Error> {
        let (outcome, _) = tokio::sync::oneshot::channel();
        let mut answers = self.take(&[Submission { entry, outcome }], &mut None).await?;
        Ok(answers.pop().unwrap_or_else(|| Err(Refusal::new(Code::Overloaded))))
    }

    /// Checks and appends a batch. `doubt` is what an earlier try may have appended without hearing of it.
    async fn take(
        &mut self,
        batch: &[Submission],
        doubt: &mut Option<Attempt>,
    ) -> Result<Vec<Result<Accepted, Refusal>>, Error> {
        let _turn = self.ledger.turn().await?;
        if self.look_at_the_mark().await? {
            let refusal = self.held_back().unwrap_or_else(|| Refusal::new(Code::RegistryCatchingUp));
            return Ok(batch.iter().map(|_| Err(refusal.clone())).collect());
        }
        for _ in 0..MOST_OVERTAKINGS {
            self.catch_up().await?;
            if self.is_there(doubt).await? {
                return self.acknowledge(doubt).await;
            }
            let attempt = self.check_all(batch);
            if attempt.entries.is_empty() {
                *doubt = Some(attempt);
                let checkpoint = self.shared.head.borrow().checkpoint.clone();
                return Ok(tell(doubt, &checkpoint));
            }
            match self.ledger.append(attempt.at_size, attempt.entries.clone()).await {
                Ok(Append::Appended { size, root }) => {
                    if (attempt.directory.size(), attempt.directory.root()) != (size, root) {
                        return Err(Error::RootsDiffer { size });
                    }
                    *self.shared.directory_to_change() = attempt.directory.clone();
                    *doubt = Some(attempt);
                    return self.acknowledge(doubt).await;
                }
                // Another registry over the same ledger was quicker: what was true at our size may no longer be.
                Ok(Append::Moved { .. }) => {}
                Err(error) => {
                    *doubt = Some(attempt);
                    return Err(error.into());
                }
            }
        }
        Ok(batch.iter().map(|_| Err(Refusal::new(Code::Overloaded))).collect())
    }

    /// Whether what an earlier try may have appended is in the log, where it would have to be.
    async fn is_there(&self, doubt: &Option<Attempt>) -> Result<bool, Error> {
        let Some(attempt) = doubt else { return Ok(false) };
        if self.shared.directory().size() <= attempt.at_size {
            return Ok(false);
        }
        let limit = ReadLimit::entries(attempt.entries.len());
        Ok(self.ledger.read(attempt.at_size, limit).await? == attempt.entries)
    }

    /// Signs for what is appended; then, and not before, it may be acknowledged.
    async fn acknowledge(&mut self, doubt: &mut Option<Attempt>) -> Result<Vec<Result<Accepted, Refusal>>, Error> {
        let checkpoint = self.publish().await?;
        Ok(tell(doubt, &checkpoint))
    }

    /// Checks statements, each against the directory with those before it.
    fn check_all(&self, batch: &[Submission]) -> Attempt {
        // Nothing is copied but counters, and what changes.
        let directory = self.shared.directory().clone();
        let mut attempt = Attempt {
            at_size: directory.size(),
            entries: Vec::new(),
            directory,
            outcomes: Vec::with_capacity(batch.len()),
        };
        for submission in batch {
            let outcome = self.check(&mut attempt, &submission.entry);
            attempt.outcomes.push(outcome);
        }
        attempt
    }

    fn check(&self, attempt: &mut Attempt, entry: &[u8]) -> Outcome {
        if entry.len() > LARGEST_ENTRY {
            let detail = format!("{} bytes; {LARGEST_ENTRY} are allowed", entry.len());
            return Err(Refusal::new(Code::MessageTooLarge).at("envelope").because(detail));
        }
        let checked = match attempt.directory.check(entry) {
            Ok(checked) => checked,
            Err(error) => return known(&attempt.directory, entry, &error).ok_or_else(|| error.refusal()),
        };
        if checked.object().is_none() {
            // What this version does not know it cannot judge: who may say it, and about what.
            let wire_version = checked.statement().wire_version;
            return Err(StatementError::UnknownKind { wire_version }.refusal());
        }
        attempt.directory.check_new(&checked).map_err(|error| error.refusal())?;
        self.check_time(&attempt.directory, &checked)?;
        self.check_log_key(&checked)?;
        let index = attempt.directory.size();
        attempt.directory.fold(checked, entry);
        attempt.entries.push(entry.to_vec());
        Ok(index)
    }

    /// Nobody speaks from the future: a revocation dated tomorrow would count for what was signed today. Nor from the
    /// past with a key that is out of use by now: whoever finds one could date what he says back.
    fn check_time(&self, directory: &Directory, checked: &Checked) -> Result<(), Refusal> {
        let statement = checked.statement();
        let now_ms = self.clock.now_ms();
        let skew_ms = directory.profile().clock_skew_ms;
        if statement.stated_at_ms > now_ms.saturating_add(skew_ms) {
            let stated_at_ms = statement.stated_at_ms;
            let detail = format!("{stated_at_ms} is later than this registry's clock, {now_ms}; compare the clocks");
            return Err(Refusal::new(Code::StatementRefused).at("stated_at_ms").because(detail));
        }
        let over = |until_ms: u64| until_ms.saturating_add(skew_ms) <= now_ms;
        let end = |key_id: &KeyId| directory.key(key_id)?.described.valid_until_ms;
        if checked.signers().iter().all(|key_id| end(key_id).is_some_and(over)) {
            return Err(Refusal::new(Code::StatementNotEntitled).because("the key that signed it is out of use by now"));
        }
        if let Some(Body::KeyRetired(retired)) = &statement.body
            && over(retired.from_ms)
        {
            let detail = format!("{} is past at this registry, where it is {now_ms}", retired.from_ms);
            return Err(Refusal::new(Code::StatementRefused).at("from_ms").because(detail));
        }
        Ok(())
    }

    /// A key of the log that is not here could sign nothing: the log would end with this statement.
    fn check_log_key(&self, checked: &Checked) -> Result<(), Refusal> {
        let Some(Body::LogKeyChanged(changed)) = &checked.statement().body else { return Ok(()) };
        let key = changed.log_key.as_ref().and_then(|key| DescribedKey::from_wire(key).ok());
        match key.and_then(|key| self.log_keys.held(&key.key)) {
            Some(_) => Ok(()),
            None => {
                let refusal = Refusal::new(Code::StatementRefused).at("log_key");
                Err(refusal.because("this registry does not hold the new key: `registry keys rotate-log` makes it"))
            }
        }
    }
}

fn tell(doubt: &mut Option<Attempt>, checkpoint: &Arc<str>) -> Vec<Result<Accepted, Refusal>> {
    let outcomes = doubt.take().map(|attempt| attempt.outcomes).unwrap_or_default();
    outcomes
        .into_iter()
        .map(|outcome| outcome.map(|index| Accepted { index, checkpoint: Arc::clone(checkpoint) }))
        .collect()
}

/// The index of a statement that comes again, because its answer was lost on the way: it is accepted where it stands.
fn known(directory: &Directory, entry: &[u8], error: &StatementError) -> Option<u64> {
    // The signature was verified before this error could arise.
    let StatementError::PredecessorWrong { .. } = error else { return None };
    let envelope = Envelope::decode(entry).ok()?;
    let digest = envelope::digest(&envelope.payload_type, &envelope.payload);
    let object = Statement::decode(envelope.payload.as_slice()).ok()?.object;
    Some(directory.last_about(&object).filter(|place| place.digest == digest)?.index)
}
