//! Questions that a person answers: the book of those that wait, and what became of them. The question and every answer
//! are in the evidence; a task has only their places there, and tells nothing of whom it is about.
//!
//! **Invariant:** a deferral is a promise. It stands in the journal with a mark (`Commit::duty`) before it leaves, and from
//! there a start makes the task again that a crash cut short (`recover`).
//!
//! Out of scope: when an answer is deferred (`answer`), what a clerk may say (`trust::clerk`), and carrying it (`duty::act`).

mod decide;
mod recover;
mod task;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use host::clock::Clock;
use prost::Message;
use proto::exchange::v1::{self as wire, answer::Outcome};
use trust::{
    envelope::{self, Payload},
    evidence::Receipt,
    ids::{Digest, NodeId, Party},
};

pub(crate) use self::decide::check_officer;
pub use self::{
    decide::Decided,
    task::{Proposal, Task, TaskState, Word},
};
use crate::{
    asked::{Asked, request_key, show_in},
    duty::{self, Change, Duties, Duty, Expectation, What},
    journal::{Journal, JournalError},
    keys::{NodeSigner, seal},
    successors::Follows,
    view::View,
};

/// The book's name in the due-list.
const BOOK: &str = "task";

/// For how long an answered question is still found by its ticket and its request id.
const REMEMBERED_MS: u64 = 90 * 86_400_000;

/// How many questions may wait for a person: so many of one department, so that none fills the desks for the others, and so
/// many of all. Each is kept until it is answered.
#[derive(Clone, Copy, Debug)]
struct Most {
    of_one: usize,
    of_all: usize,
}

const MOST: Most = Most { of_one: 2_000, of_all: 10_000 };

/// Why a task cannot be read or changed: our own failure, or nobody knows it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The due-list failed.
    #[error(transparent)]
    Duty(#[from] duty::Error),
    /// The evidence failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The message of the question or an answer is not what it was.
    #[error("the stored question or answer cannot be read")]
    StoredUnreadable,
    /// There is no such ticket.
    #[error("no question waits here under this ticket: `tasks list --all` shows them")]
    Unknown,
}

/// What the book is made of.
pub struct ClerksParts {
    /// The department.
    pub me: Party,
    /// The node.
    pub node: NodeId,
    /// Signs answers and what is overdue: the node's key.
    pub signer: Arc<dyn NodeSigner>,
    /// The directory.
    pub view: Arc<View>,
    /// The evidence.
    pub journal: Arc<dyn Journal>,
    /// The due-list.
    pub duties: Arc<Duties>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// The book of questions that a person answers.
pub struct Clerks {
    parts: ClerksParts,
    book: Mutex<Book>,
    /// One decision at a time: a question is answered once.
    turn: tokio::sync::Mutex<()>,
    most: Most,
}

#[derive(Default)]
struct Book {
    tasks: BTreeMap<u64, Task>,
    by_key: HashMap<[u8; 16], u64>,
    by_request: HashMap<Digest, u64>,
    /// How many of each department wait for a person.
    waiting: HashMap<String, usize>,
}

impl Book {
    fn put(&mut self, task: Task) {
        self.remove(task.question);
        if task.answer.is_none() {
            *self.waiting.entry(task.consumer.clone()).or_default() += 1;
        }
        self.by_key.insert(task.key, task.question);
        self.by_request.insert(task.request, task.question);
        self.tasks.insert(task.question, task);
    }

    fn remove(&mut self, question: u64) {
        if let Some(task) = self.tasks.remove(&question) {
            self.by_key.remove(&task.key);
            self.by_request.remove(&task.request);
            if task.answer.is_none()
                && let Some(waiting) = self.waiting.get_mut(&task.consumer)
            {
                *waiting = waiting.saturating_sub(1);
            }
        }
    }
}

impl Clerks {
    /// Opens the book that the due-list keeps.
    ///
    /// # Errors
    ///
    /// A task cannot be read.
    pub fn open(parts: ClerksParts) -> Result<Self, Error> {
        let mut book = Book::default();
        for task in parts.duties.rows::<Task>(BOOK)? {
            book.put(task);
        }
        Ok(Self { parts, book: Mutex::new(book), turn: tokio::sync::Mutex::default(), most: MOST })
    }

    /// Says that a deferral is about to be made durable. Held until [`Clerks::deferred`] has returned.
    pub(crate) fn announce(&self) -> Expectation<'_> {
        self.parts.duties.announce(self.parts.journal.end())
    }

    /// A question was answered with a deferral, and both are in the evidence, the question at `question` and the deferral
    /// after it.
    pub(crate) async fn deferred(
        &self,
        question: u64,
        request: &wire::Request,
        deferral: &wire::Answer,
        deferral_digest: Digest,
    ) -> Result<(), Error> {
        let Some(task) = self.task_of(question, request, deferral, deferral_digest) else { return Ok(()) };
        let overdue = Duty {
            id: overdue_id(question),
            order: overdue_id(question),
            at_ms: task.due_ms,
            what: What::Overdue { question },
        };
        self.keep(task, vec![Change::Put(overdue)]).await
    }

    fn task_of(
        &self,
        question: u64,
        request: &wire::Request,
        deferral: &wire::Answer,
        deferral_digest: Digest,
    ) -> Option<Task> {
        let Some(Outcome::Deferral(said)) = &deferral.outcome else { return None };
        let consumer: Party = deferral.recipient.parse().ok()?;
        Some(Task {
            question,
            key: request_key(&consumer, &deferral.request_id),
            request: Digest::try_from(deferral.request_digest.as_slice()).ok()?,
            deferral: deferral_digest,
            consumer: consumer.to_string(),
            consumer_node: request.sender_node.clone(),
            service: deferral.service.clone(),
            major: deferral.service_version,
            reason: said.reason.clone(),
            since_ms: deferral.answered_at_ms,
            due_ms: said.due_at_ms,
            ..Task::default()
        })
    }

    /// Keeps a task with what changes with it, and only then counts it.
    async fn keep(&self, task: Task, mut changes: Vec<Change>) -> Result<(), Error> {
        changes.push(Change::row(BOOK, row_key(task.question), &task));
        self.parts.duties.commit(changes).await?;
        self.locked().put(task);
        Ok(())
    }

    /// The entry of a question that was deferred, by its request key.
    pub(crate) fn question(&self, key: &[u8; 16]) -> Option<u64> {
        self.locked().by_key.get(key).copied()
    }

    /// Whether one question more of this department may wait. Those that are being answered just now come on top.
    pub(crate) fn has_room(&self, consumer: &Party) -> bool {
        let book = self.locked();
        let own = book.waiting.get(&consumer.to_string()).copied().unwrap_or(0);
        own < self.most.of_one && book.waiting.values().sum::<usize>() < self.most.of_all
    }

    /// All tasks, the one due first before the others.
    pub fn list(&self) -> Vec<Task> {
        let mut tasks: Vec<Task> = self.locked().tasks.values().cloned().collect();
        tasks.sort_by_key(|task| (task.due_ms, task.question));
        tasks
    }

    /// The task with this ticket.
    pub fn find(&self, ticket: &str) -> Option<Task> {
        self.locked().tasks.values().find(|task| task.ticket() == ticket).cloned()
    }

    pub(crate) fn task(&self, question: u64) -> Option<Task> {
        self.locked().tasks.get(&question).cloned()
    }

    /// The question of a task as it was signed. Reads the evidence.
    pub fn request(&self, task: &Task) -> Result<wire::Request, Error> {
        let (request, digest) = self.message(task.question)?;
        if digest == task.request { Ok(request) } else { Err(Error::StoredUnreadable) }
    }

    /// The message of an entry, with its identity.
    fn message<M: Payload>(&self, index: u64) -> Result<(M, Digest), Error> {
        let stored = self.parts.journal.entry(index)?.ok_or(Error::StoredUnreadable)?;
        let signed = self.signed(&stored)?;
        Ok((envelope::peek(&signed, usize::MAX).map_err(|_| Error::StoredUnreadable)?, stored.entry.envelope))
    }

    fn signed(&self, stored: &crate::journal::StoredEntry) -> Result<wire::Signed, Error> {
        let bytes = stored.message.as_deref().ok_or(Error::StoredUnreadable)?;
        let signed = wire::Signed::decode(bytes).map_err(|_| Error::StoredUnreadable)?;
        match envelope::digest_of(&signed) {
            Ok(digest) if digest == stored.entry.envelope => Ok(signed),
            _ => Err(Error::StoredUnreadable),
        }
    }

    /// The answer at an entry, as it was signed.
    pub(crate) fn answer_at(&self, index: u64) -> Result<wire::Signed, Error> {
        let stored = self.parts.journal.entry(index)?.ok_or(Error::StoredUnreadable)?;
        self.signed(&stored)
    }

    /// The receipt of an entry.
    pub fn receipt(&self, index: u64) -> Result<Receipt, Error> {
        let stored = self.parts.journal.entry(index)?.ok_or(Error::StoredUnreadable)?;
        Ok(stored.entry.receipt(crate::logs::index_in(index)))
    }

    /// What an entry's answer came to.
    pub fn shown(&self, index: u64) -> Result<Asked, Error> {
        show_in(self.parts.journal.as_ref(), &self.receipt(index)?).map_err(|_| Error::StoredUnreadable)
    }

    /// What is to be stated about a task that is not answered in time; `None` where it was.
    pub(crate) fn overdue(&self, question: u64) -> Option<wire::Envelope> {
        let task = self.task(question)?;
        let now_ms = self.parts.clock.now_ms();
        let in_time = task.answer.is_some() && task.answered_ms <= task.due_ms;
        if in_time || task.overdue_recorded || now_ms < task.due_ms {
            return None;
        }
        let overdue = wire::Overdue {
            exchange_id: self.parts.me.exchange().to_string(),
            sender: self.parts.me.to_string(),
            sender_node: self.parts.node.to_string(),
            recipient: task.consumer.clone(),
            service: task.service.clone(),
            service_version: task.major,
            request_digest: task.request.as_bytes().to_vec(),
            deferral: task.deferral.as_bytes().to_vec(),
            due_at_ms: task.due_ms,
            stated_at_ms: now_ms,
        };
        Some(seal(&overdue, self.parts.signer.as_ref()).0)
    }

    /// The registry has recorded that a task is overdue.
    pub(crate) async fn overdue_recorded(&self, question: u64) -> Result<(), Error> {
        let _turn = self.turn.lock().await;
        let Some(task) = self.task(question) else { return Ok(()) };
        self.keep(Task { overdue_recorded: true, ..task }, Vec::new()).await
    }

    /// The asking node has the answer.
    pub(crate) async fn delivered(&self, question: u64) -> Result<(), Error> {
        let _turn = self.turn.lock().await;
        let Some(task) = self.task(question) else { return Ok(()) };
        let id = format!("forget/{}", row_key(question));
        let forget = Duty {
            order: id.clone(),
            id,
            at_ms: self.parts.clock.now_ms().saturating_add(REMEMBERED_MS),
            what: What::Forget { question },
        };
        self.keep(Task { delivered: true, ..task }, vec![Change::Put(forget)]).await
    }

    /// A task is long over.
    pub(crate) fn forget(&self, question: u64) -> Change {
        self.locked().remove(question);
        Change::RowGone { book: BOOK, key: row_key(question) }
    }

    fn locked(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Follows for Clerks {
    /// The deferral and the clerk's answer.
    fn answers(&self, question: u64) -> Vec<u64> {
        let book = self.locked();
        let task = book.tasks.get(&question);
        task.map(|task| std::iter::once(question + 1).chain(task.answer).collect()).unwrap_or_default()
    }

    fn later(&self, request: &Digest) -> Vec<u64> {
        let book = self.locked();
        let task = book.by_request.get(request).and_then(|question| book.tasks.get(question));
        task.and_then(|task| task.answer).into_iter().collect()
    }
}

impl std::fmt::Debug for Clerks {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Clerks").field("tasks", &self.locked().tasks.len()).finish_non_exhaustive()
    }
}

/// So that keys are in the order of the entries.
fn row_key(question: u64) -> String {
    format!("{question:020}")
}

fn overdue_id(question: u64) -> String {
    format!("overdue/{}", row_key(question))
}

#[cfg(test)]
mod tests;
