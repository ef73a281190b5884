//! Answers that come later: after a deferral the provider delivers them by itself, and where it does not, they are asked for
//! again with the same request. Each is opened as the successor of the one before it, made durable beside it, and found by
//! the same receipt and by the ticket.
//!
//! **Invariant:** a delivery is acknowledged only once it is durable here, and one that comes twice changes nothing. Out of
//! scope: how the provider comes to its answer.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use prost::Message;
use proto::exchange::v1::{self as wire, EntryKind, answer::Outcome};
use serde::{Deserialize, Serialize};
use trust::{
    answer::{self, AnswerError},
    envelope,
    evidence::Receipt,
    ids::{Digest, NodeId, Party},
    question::Question,
};

use super::{Asked, Asker, Error, NotFound, of_batch::CorrectedItems, subscribed::Subscriptions};
use crate::{
    asked::{message, ticket_of},
    correction,
    duty::{Change, Duties, Duty, Expectation, What},
    journal::{NewEntry, RecordHead},
    logs::Logs,
    outbox::{Happened, Outbox},
    usage,
};

/// The book's name in the due-list.
const BOOK: &str = "awaited";

/// How long after its due time an answer that has not come is asked for.
const GRACE_MS: u64 = 30_000;

/// How long asking for it may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// An answer that was deferred, with all that came of it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Awaited {
    /// The question's entry.
    pub question: u64,
    /// The request's identity, 64 hex digits.
    pub request: String,
    /// The entries of its answers, the deferral first.
    pub answers: Vec<u64>,
    /// When the answer is due, Unix milliseconds.
    pub due_ms: u64,
    /// Whether nothing more comes.
    pub done: bool,
}

/// What is awaited.
pub(super) struct Awaiting {
    duties: Arc<Duties>,
    book: Mutex<HashMap<u64, Awaited>>,
    by_request: Mutex<HashMap<String, u64>>,
    /// Items of batches whose answers were followed by others.
    pub(super) items: CorrectedItems,
    /// One delivery at a time, so that two of the same are one.
    pub(super) turn: tokio::sync::Mutex<()>,
    /// What office systems are told of.
    outbox: Option<Arc<Outbox>>,
}

/// Why a delivered answer is not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotReceived {
    /// Our own failure.
    #[error(transparent)]
    Failed(#[from] Error),
    /// It is not to be believed.
    #[error(transparent)]
    Invalid(#[from] AnswerError),
    /// Nobody here awaits it.
    #[error("no such answer is awaited here")]
    Unawaited,
}

impl Asker {
    /// Awaits deferred answers, and keeps in the list what is awaited.
    ///
    /// # Errors
    ///
    /// The list cannot be read.
    pub fn with_duties(mut self, duties: Arc<Duties>) -> Result<Self, Error> {
        let rows = duties.rows::<Awaited>(BOOK)?;
        let by_request = rows.iter().map(|row| (row.request.clone(), row.question)).collect();
        let book = rows.into_iter().map(|row| (row.question, row)).collect();
        let (book, by_request) = (Mutex::new(book), Mutex::new(by_request));
        let turn = tokio::sync::Mutex::default();
        let items = CorrectedItems::open(&duties)?;
        self.subscriptions = Some(Subscriptions::open(std::sync::Arc::clone(&duties))?);
        self.awaiting = Some(Awaiting { duties, book, by_request, items, turn, outbox: None });
        Ok(self)
    }

    /// Has office systems told of what comes later.
    #[must_use]
    pub fn with_outbox(mut self, outbox: Arc<Outbox>) -> Self {
        if let Some(awaiting) = &mut self.awaiting {
            awaiting.outbox = Some(outbox);
        }
        self
    }

    /// What office systems are told of.
    pub(super) fn outbox(&self) -> Option<&Outbox> {
        self.awaiting.as_ref().and_then(|awaiting| awaiting.outbox.as_deref())
    }

    pub(super) fn announce<'a>(&self, awaiting: &'a Awaiting) -> Expectation<'a> {
        awaiting.duties.announce(self.journal.end())
    }

    /// A deferral came and is in the evidence.
    pub(super) async fn await_answer(&self, question: u64, index: u64, answer: &wire::Answer) -> Result<(), Error> {
        let (Some(awaiting), Some(Outcome::Deferral(deferral))) = (&self.awaiting, &answer.outcome) else {
            return Ok(());
        };
        let request = Digest::try_from(answer.request_digest.as_slice()).map_err(|_| Error::StoredUnreadable)?;
        let row = Awaited {
            question,
            request: request.to_string(),
            answers: vec![index],
            due_ms: deferral.due_at_ms,
            done: false,
        };
        awaiting.keep(row, vec![fetch_duty(question, deferral.due_at_ms.saturating_add(GRACE_MS))]).await
    }

    /// The newest answer to a deferred question.
    pub(super) fn newest(&self, question: u64) -> Option<u64> {
        self.awaited(question).and_then(|row| row.answers.last().copied())
    }

    /// What is known of a deferred question, by its entry.
    pub fn awaited(&self, question: u64) -> Option<Awaited> {
        self.awaiting.as_ref().and_then(|awaiting| awaiting.row(question))
    }

    /// Takes an answer that a peer delivers.
    ///
    /// # Errors
    ///
    /// It is not taken, and why.
    pub async fn receive(&self, peer: &Party, signed: wire::Signed) -> Result<(), NotReceived> {
        let awaiting = self.awaiting.as_ref().ok_or(NotReceived::Unawaited)?;
        let claimed = envelope::peek::<wire::Answer>(&signed, answer::LARGEST_ANSWER).map_err(AnswerError::from)?;
        let request = Digest::try_from(claimed.request_digest.as_slice());
        let request = request.map_err(|_| AnswerError::Field { field: "request_digest" })?;
        if claimed.sender != peer.to_string() {
            return Err(AnswerError::Field { field: "sender" }.into());
        }
        if let Some(received) = self.receive_notice(peer, (&signed, &claimed), &request).await {
            return received;
        }
        let _turn = awaiting.turn.lock().await;
        let row = awaiting.by_request(&request.to_string()).ok_or(NotReceived::Unawaited)?;
        self.take(awaiting, row, &request, signed).await.map(drop)
    }

    /// Takes an answer that takes another one's place because a record was wrong: the places of the question and of the
    /// answer, and whether it is new.
    ///
    /// # Errors
    ///
    /// It is not taken, and why.
    pub(crate) async fn receive_corrected(
        &self,
        peer: &Party,
        signed: wire::Signed,
        asked_at_ms: u64,
        logs: &Arc<Logs>,
    ) -> Result<(u64, u64, bool), NotReceived> {
        let awaiting = self.awaiting.as_ref().ok_or(NotReceived::Unawaited)?;
        let request = corrected_request(peer, &signed)?;
        let _turn = awaiting.turn.lock().await;
        let row = match awaiting.by_request(&request.to_string()) {
            Some(row) => row,
            None => self.asked_before(request, asked_at_ms, logs).await?.ok_or(NotReceived::Unawaited)?,
        };
        let question = row.question;
        let (answer, is_new) = self.take(awaiting, row, &request, signed).await?;
        Ok((question, answer, is_new))
    }

    /// A question that was answered at once, as it would stand in the book.
    async fn asked_before(
        &self,
        request: Digest,
        asked_at_ms: u64,
        logs: &Arc<Logs>,
    ) -> Result<Option<Awaited>, Error> {
        let logs = Arc::clone(logs);
        let found = tokio::task::spawn_blocking(move || {
            let question = correction::by_digest(&logs, &[EntryKind::QuestionSent], &request, asked_at_ms)?;
            let Some(question) = question else { return Ok(None) };
            let answers = correction::answers_to(&logs, question, asked_at_ms)?;
            Ok::<_, Error>(Some((question, answers)))
        });
        let found = found.await.map_err(|_| Error::StoredUnreadable)??.filter(|(_, answers)| !answers.is_empty());
        Ok(found.map(|(question, answers)| Awaited {
            question,
            request: request.to_string(),
            answers,
            due_ms: 0,
            done: true,
        }))
    }

    /// Opens an answer as the successor of the last one of a row and records it; its place, and whether it is new.
    async fn take(
        &self,
        awaiting: &Awaiting,
        row: Awaited,
        request: &Digest,
        signed: wire::Signed,
    ) -> Result<(u64, bool), NotReceived> {
        let digest = envelope::digest_of(&signed).map_err(AnswerError::from)?;
        for index in &row.answers {
            let known = self.journal.entry(*index).map_err(Error::from)?.ok_or(Error::StoredUnreadable)?;
            if known.entry.envelope == digest {
                return Ok((*index, false));
            }
        }
        let (question, before) = self.last_of(&row, request)?;
        let opened = self.open_caught_up(&signed, |seen, now_ms| {
            let root_at = |size| self.view.root_at(size);
            answer::open_successor(seen.directory(), &signed, &question, &before, now_ms, root_at)
        });
        let opened = opened.await?;
        let grant = Digest::try_from(question.wire.grant.as_slice()).ok();
        // What takes another answer's place is no further use of the grant.
        let is_use = matches!(opened.wire.outcome, Some(Outcome::Verdicts(_))) && opened.wire.correction.is_empty();
        let grant = grant.filter(|_| is_use);
        let grant = grant.map(|grant| usage::mark(&grant, self.me.department()));
        let entry =
            NewEntry { kind: EntryKind::AnswerReceived, digest: opened.digest, message: signed.encode_to_vec() };
        let _expected = self.announce(awaiting);
        let committed = self.commit(vec![entry], Some(row.question), None, (grant, None), true).await?;
        self.count(&self.answered, grant);
        self.came(row, committed.first_index, &opened.wire).await?;
        let what = if opened.wire.correction.is_empty() { "a deferred answer" } else { "a corrected answer" };
        tracing::info!(provider = opened.wire.sender, service = opened.wire.service, "{what} has come");
        Ok((committed.first_index, true))
    }

    /// A corrected answer is in the evidence, and a crash kept it from the book.
    pub(crate) async fn recover_corrected(
        &self,
        (question, place): (u64, u64),
        answer: &wire::Answer,
        logs: &Arc<Logs>,
    ) -> Result<bool, Error> {
        let request = Digest::try_from(answer.request_digest.as_slice()).map_err(|_| Error::StoredUnreadable)?;
        let row = match self.awaited(question) {
            Some(row) if row.answers.contains(&place) => return Ok(false),
            Some(row) => row,
            None => {
                let asked_ms = self.journal.entry(question)?.map_or(0, |stored| stored.at_ms);
                let before = self.asked_before(request, asked_ms, logs).await?.ok_or(Error::StoredUnreadable)?;
                Awaited { answers: before.answers.into_iter().filter(|answer| *answer < place).collect(), ..before }
            }
        };
        self.came(row, place, answer).await?;
        Ok(true)
    }

    /// The question of a row, and the answer that the next one follows.
    fn last_of(&self, row: &Awaited, request: &Digest) -> Result<(Question, answer::Answer), Error> {
        let stored = |index: u64| self.journal.entry(index)?.ok_or(Error::StoredUnreadable);
        let asked = stored(row.question)?;
        if asked.entry.envelope != *request {
            return Err(Error::StoredUnreadable);
        }
        let wire: wire::Request = message(&asked).ok_or(Error::StoredUnreadable)?;
        let question = Question::read(wire).map_err(|_| Error::StoredUnreadable)?;
        let before = stored(row.answers.last().copied().ok_or(Error::StoredUnreadable)?)?;
        let wire = message(&before).ok_or(Error::StoredUnreadable)?;
        Ok((question, answer::Answer { digest: before.entry.envelope, wire }))
    }

    /// An answer to a row is in the evidence.
    async fn came(&self, mut row: Awaited, index: u64, answer: &wire::Answer) -> Result<(), Error> {
        let Some(awaiting) = &self.awaiting else { return Ok(()) };
        row.answers.push(index);
        let change = match &answer.outcome {
            Some(Outcome::Deferral(deferral)) => {
                row.due_ms = deferral.due_at_ms;
                fetch_duty(row.question, deferral.due_at_ms.saturating_add(GRACE_MS))
            }
            _ => {
                row.done = true;
                Change::Done(fetch_id(row.question))
            }
        };
        let mut changes = vec![change];
        let Some(outbox) = &awaiting.outbox else { return awaiting.keep(row, changes).await };
        let asked = self.journal.entry(row.question)?.ok_or(Error::StoredUnreadable)?;
        let mut noting = outbox.begin().await;
        // Gone with its month's key: then nobody is told.
        if let Some(request) = message::<wire::Request>(&asked) {
            let happened = Happened::Answer { answer: index };
            changes.extend(noting.note(&request.system, &request.case_number, happened));
            changes.push(case_duty(row.question, index, self.clock.now_ms()));
        }
        awaiting.keep(row, changes).await?;
        noting.done();
        Ok(())
    }

    /// Asks the provider again for a deferred answer, with the same request; whether it is there now.
    ///
    /// # Errors
    ///
    /// Our own failure.
    pub async fn fetch(&self, question: u64) -> Result<bool, Error> {
        let Some(row) = self.awaited(question) else { return Ok(true) };
        if row.done {
            return Ok(true);
        }
        let asked = self.journal.entry(question)?.ok_or(Error::StoredUnreadable)?;
        let bytes = asked.message.as_deref().ok_or(Error::StoredUnreadable)?;
        let signed = wire::Signed::decode(bytes).map_err(|_| Error::StoredUnreadable)?;
        let (question, before) = self.last_of(&row, &asked.entry.envelope)?;
        let provider = question.recipient.department();
        let nodes: Vec<_> = self.view.seen().directory().nodes_of(provider).cloned().collect();
        let held_by: Option<NodeId> = before.wire.sender_node.parse().ok();
        let response = match self.courier.verify(&nodes, &signed, PATIENCE.into(), held_by.as_ref()).await {
            Ok(response) => response,
            Err(undelivered) => {
                tracing::info!(provider = %question.recipient, reason = undelivered.failure.as_str(), "a deferred answer cannot be asked for now");
                return Ok(false);
            }
        };
        for later in response.later {
            match self.receive(&question.recipient, later).await {
                Ok(()) => {}
                Err(NotReceived::Failed(error)) => return Err(error),
                Err(error) => {
                    tracing::warn!(provider = %question.recipient, %error, "a later answer is not believed");
                    break;
                }
            }
        }
        Ok(self.awaited(row.question).is_none_or(|row| row.done))
    }

    /// The question with this ticket, as it stands now; asks for its answer where that has not come.
    ///
    /// # Errors
    ///
    /// There is no such ticket, or our own failure.
    pub async fn fetch_by_ticket(&self, ticket: &str) -> Result<Asked, NotFound> {
        let row = self.awaiting.as_ref().and_then(|awaiting| awaiting.by_ticket(ticket)).ok_or(NotFound::Unknown)?;
        self.fetch(row.question).await?;
        let newest = self.newest(row.question).ok_or(NotFound::Unknown)?;
        self.show_entry(newest)
    }

    /// The same by the receipt of its deferral. What was not deferred is shown as it is.
    ///
    /// # Errors
    ///
    /// There is no such verification, or our own failure.
    pub async fn fetch_by_receipt(&self, receipt: &Receipt) -> Result<Asked, NotFound> {
        let place = self.journal.find(receipt).map_err(Error::from)?.ok_or(NotFound::Unknown)?;
        let stored = self.journal.entry(place).map_err(Error::from)?.ok_or(NotFound::Unknown)?;
        if let Some(question) = stored.about {
            self.fetch(question).await?;
        }
        self.show(receipt)
    }

    /// Looks through records of the journal that bear a duty, the oldest first, for what a crash kept from the list.
    ///
    /// # Errors
    ///
    /// What they say cannot be read or kept.
    pub async fn recover(&self, heads: &[RecordHead]) -> Result<usize, Error> {
        let mut recovered = 0;
        for head in heads.iter().filter(|head| head.kinds == [EntryKind::AnswerReceived]) {
            let Some(question) = head.about else { continue };
            let stored = self.journal.entry(head.first_index)?.ok_or(Error::StoredUnreadable)?;
            let answer: wire::Answer = message(&stored).ok_or(Error::StoredUnreadable)?;
            if !answer.correction.is_empty() {
                // `correction` sees to it.
                continue;
            }
            if let Some(lacked) = self.recover_notice(question, head.first_index, &answer).await? {
                recovered += usize::from(lacked);
                continue;
            }
            match self.awaited(question) {
                None => self.await_answer(question, head.first_index, &answer).await?,
                Some(row) if row.answers.contains(&head.first_index) => continue,
                Some(row) => self.came(row, head.first_index, &answer).await?,
            }
            recovered += 1;
        }
        Ok(recovered)
    }
}

impl Awaiting {
    pub(super) fn duties(&self) -> &Duties {
        &self.duties
    }

    fn row(&self, question: u64) -> Option<Awaited> {
        lock(&self.book).get(&question).cloned()
    }

    fn by_request(&self, request: &str) -> Option<Awaited> {
        let question = lock(&self.by_request).get(request).copied();
        question.and_then(|question| self.row(question))
    }

    fn by_ticket(&self, ticket: &str) -> Option<Awaited> {
        let has_it = |row: &&Awaited| row.request.parse().is_ok_and(|request| ticket_of(&request) == ticket);
        lock(&self.book).values().find(has_it).cloned()
    }

    async fn keep(&self, row: Awaited, mut changes: Vec<Change>) -> Result<(), Error> {
        changes.push(Change::row(BOOK, format!("{:020}", row.question), &row));
        self.duties.commit(changes).await?;
        lock(&self.by_request).insert(row.request.clone(), row.question);
        lock(&self.book).insert(row.question, row);
        Ok(())
    }
}

/// The identity of the question that a corrected answer of this peer says it is to.
pub(super) fn corrected_request(peer: &Party, signed: &wire::Signed) -> Result<Digest, NotReceived> {
    let claimed = envelope::peek::<wire::Answer>(signed, answer::LARGEST_ANSWER).map_err(AnswerError::from)?;
    let request = Digest::try_from(claimed.request_digest.as_slice());
    let request = request.map_err(|_| AnswerError::Field { field: "request_digest" })?;
    if claimed.sender != peer.to_string() {
        return Err(AnswerError::Field { field: "sender" }.into());
    }
    if claimed.correction.is_empty() {
        return Err(NotReceived::Unawaited);
    }
    Ok(request)
}

/// The case that the question was asked for, if it was, hears of the answer.
fn case_duty(question: u64, answer: u64, at_ms: u64) -> Change {
    let order = format!("case-answer/{question:020}");
    Change::Put(Duty { id: format!("{order}/{answer:020}"), order, at_ms, what: What::CaseAnswer { answer } })
}

fn fetch_id(question: u64) -> String {
    format!("fetch/{question:020}")
}

fn fetch_duty(question: u64, at_ms: u64) -> Change {
    Change::Put(Duty { id: fetch_id(question), order: fetch_id(question), at_ms, what: What::Fetch { question } })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
