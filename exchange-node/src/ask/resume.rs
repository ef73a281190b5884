//! Questions that a crash interrupted and whose answer may still be followed by others: a deferral, or a question that goes on.
//! The same bytes are sent again; the other side gives the answer that it gave then. Without that, what follows would find
//! nobody who awaits it. Out of scope: questions with one answer, which are closed as interrupted (`ask`).

use std::time::Duration;

use prost::Message;
use proto::exchange::v1::{self as wire, EntryKind, answer::Outcome};
use trust::{answer, ids::Digest, question::Question};

use super::{Asker, Error, INTERRUPTED, NotReceived, idempotency, lock};
use crate::{
    asked::{message, signed},
    duty::{Change, Duty, What},
    journal::NewEntry,
    peers::SendFailure,
    usage,
};

/// How long one attempt may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// For how long the other side is asked for the answer that it gave: it remembers as long.
const GIVE_UP_MS: u64 = 24 * 3_600_000;

impl Asker {
    /// Whether the answer to a question may be followed by others.
    pub(super) fn may_be_followed(&self, question: u64) -> Result<bool, Error> {
        if self.awaiting.is_none() {
            return Ok(false);
        }
        let asked = self.journal.entry(question)?.ok_or(Error::StoredUnreadable)?;
        if asked.message.is_none() {
            return Ok(false);
        }
        if signed(&asked).is_some_and(|signed| matches!(signed.form, Some(wire::signed::Form::Batch(_)))) {
            // A job goes on with those that left (`bulk`); nothing ever follows one.
            return Ok(false);
        }
        let request: wire::Request = message(&asked).ok_or(Error::StoredUnreadable)?;
        Ok(request.accepts_deferral || request.subscription.is_some())
    }

    /// Whether a question with this key of this office system was interrupted and is being sent again. Whoever waits until it
    /// is not, and asks with the same key then, gets its answer and asks nothing twice.
    pub fn is_resuming(&self, system: &str, key: &str) -> bool {
        let key = idempotency::key(system, key);
        lock(&self.resuming).values().any(|resumed| *resumed == Some(key))
    }

    /// Puts an interrupted question on the list.
    pub(super) async fn resume_later(&self, question: u64) -> Result<(), Error> {
        let Some(awaiting) = &self.awaiting else { return Ok(()) };
        let id = format!("resume/{question:020}");
        let duty = Duty { order: id.clone(), id, at_ms: self.clock.now_ms(), what: What::Resume { question } };
        Ok(awaiting.duties().commit(vec![Change::Put(duty)]).await?)
    }

    /// Sends an interrupted question again; whether that is done with.
    ///
    /// # Errors
    ///
    /// Our own failure.
    pub async fn resume(&self, index: u64) -> Result<bool, Error> {
        let is_known = self.awaited(index).is_some() || !self.answers_of_subscription(index).is_empty();
        if is_known || !lock(&self.resuming).contains_key(&index) {
            return Ok(true);
        }
        let asked = self.journal.entry(index)?.ok_or(Error::StoredUnreadable)?;
        let Some(bytes) = asked.message.as_deref() else { return Ok(true) };
        let signed = wire::Signed::decode(bytes).map_err(|_| Error::StoredUnreadable)?;
        let request: wire::Request = message(&asked).ok_or(Error::StoredUnreadable)?;
        let question = Question::read(request).map_err(|_| Error::StoredUnreadable)?;
        let provider = question.recipient.department();
        let nodes: Vec<_> = self.view.seen().directory().nodes_of(provider).cloned().collect();
        let failure = match self.courier.verify(&nodes, &signed, PATIENCE.into(), None).await {
            Ok(response) => {
                let first = response.answer.unwrap_or_default();
                let opened = self.open_caught_up(&first, |seen, now_ms| {
                    let root_at = |size| self.view.root_at(size);
                    answer::open(seen.directory(), &first, &question, &asked.entry.envelope, now_ms, root_at)
                });
                match opened.await {
                    Ok(opened) => {
                        self.resumed(index, &question, (&first, opened)).await?;
                        for later in response.later {
                            match self.receive(&question.recipient, later).await {
                                Ok(()) => {}
                                Err(NotReceived::Failed(error)) => return Err(error),
                                // It is delivered by itself, or asked for again when it is due.
                                Err(error) => {
                                    tracing::warn!(provider = %question.recipient, %error, "a later answer is not believed");
                                    break;
                                }
                            }
                        }
                        return Ok(true);
                    }
                    Err(error) => format!("answer_invalid: {error}"),
                }
            }
            Err(undelivered) => {
                let is_over = self.clock.now_ms() > question.issued_at_ms.saturating_add(GIVE_UP_MS);
                if undelivered.failure != SendFailure::Rejected && !is_over {
                    return Ok(false);
                }
                INTERRUPTED.to_owned()
            }
        };
        self.record_unanswered(index, &asked.entry.envelope, &failure).await?;
        lock(&self.resuming).remove(&index);
        Ok(true)
    }

    /// The first answer to an interrupted question is here: it is recorded as if nothing had happened.
    async fn resumed(
        &self,
        index: u64,
        question: &Question,
        (signed, opened): (&wire::Signed, answer::Answer),
    ) -> Result<(), Error> {
        let Some(awaiting) = &self.awaiting else { return Ok(()) };
        let is_followed = match opened.wire.outcome {
            Some(Outcome::Deferral(_)) => true,
            Some(Outcome::Verdicts(_)) => question.wire.subscription.is_some(),
            _ => false,
        };
        let grant = Digest::try_from(question.wire.grant.as_slice()).ok();
        let grant = grant.filter(|_| matches!(opened.wire.outcome, Some(Outcome::Verdicts(_))));
        let grant = grant.map(|grant| usage::mark(&grant, self.me.department()));
        let entry =
            NewEntry { kind: EntryKind::AnswerReceived, digest: opened.digest, message: signed.encode_to_vec() };
        let key = lock(&self.resuming).get(&index).copied().flatten();
        let _expected = self.announce(awaiting);
        let committed = self.commit(vec![entry], Some(index), key, (grant, None), is_followed).await?;
        self.await_answer(index, committed.first_index, &opened.wire).await?;
        self.subscribed((index, committed.first_index), &question.wire, &opened.wire).await?;
        self.count(&self.answered, grant);
        // Whoever comes with the same key gets this answer.
        if let Some(key) = key {
            self.keys.recall(key, committed.first_index, self.clock.now_ms());
        }
        lock(&self.resuming).remove(&index);
        tracing::info!(provider = %question.recipient, "the answer to an interrupted question is here");
        Ok(())
    }
}
