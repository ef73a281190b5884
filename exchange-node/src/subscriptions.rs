//! What other departments subscribed to: the book of questions to this department that go on, and what was told of each.
//! Questions and answers are in the evidence; a row has only their places there, and tells nothing of whom it is about.
//!
//! **Invariant:** a change that was told stands in the evidence with a mark (`Commit::duty`) before it leaves, and from there
//! a start puts it on the list again that a crash kept from it (`recover`). Changes about one subject reach the
//! other side in the order in which they were found: they are duties of one order.
//!
//! Out of scope: whether something is told (`answer::notices`, `trust::subscription`), when it is looked at (`watch`), and the
//! side that subscribed (`ask::subscribed`).

pub mod carry;
pub mod office_edge;
pub mod peer_edge;
mod recover;
pub mod watch;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use host::clock::Clock;
use prost::Message;
use proto::exchange::v1::{self as wire, answer::Outcome};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use trust::{
    envelope,
    ids::{Digest, Party},
};

use crate::{
    asked::{request_key, ticket_of},
    budget::BudgetKey,
    duty::{self, Change, Duties, Duty, Expectation, What},
    journal::{Journal, JournalError},
    successors::Follows,
};

/// The book's name in the due-list, and that of what was told.
const BOOK: &str = "given";
const TOLD: &str = "told";

/// For how long a subscription that is over is known.
pub(crate) const REMEMBERED_MS: u64 = 90 * 86_400_000;

/// How many there may be.
const MOST: usize = 500_000;

/// Why the book cannot be read or written: our own failure.
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
}

/// A question that goes on.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Given {
    /// The question's entry; the first answer's is the next one.
    pub question: u64,
    /// By what the question is known again.
    pub key: [u8; 16],
    /// The request's identity, 64 hex digits.
    pub request: String,
    /// Who subscribed, `<exchange>/<department>`.
    pub consumer: String,
    /// Its node.
    pub consumer_node: String,
    /// The service.
    pub service: String,
    /// Its major version.
    pub major: u32,
    /// What keeps notices about one subject in order: a keyed hash.
    pub order: String,
    /// The grant that the last answer rests on, 64 hex digits.
    pub grant: String,
    /// Since when, Unix milliseconds.
    pub since_ms: u64,
    /// Until when, Unix milliseconds.
    pub until_ms: u64,
    /// The last answer's entry.
    pub last: u64,
    /// Its number.
    pub number: u32,
    /// The verdict that was told, by its number on the wire.
    pub verdict: i32,
    /// When it was told, Unix milliseconds.
    pub told_ms: u64,
    /// The number of the last answer that the other side has.
    pub delivered: u32,
    /// Why it is over: a stable code; empty while it goes on.
    pub ended: String,
}

impl Given {
    /// By what both sides find it.
    pub fn ticket(&self) -> String {
        self.request.parse().as_ref().map(ticket_of).unwrap_or_default()
    }

    /// Whether it goes on.
    pub fn is_live(&self) -> bool {
        self.ended.is_empty()
    }
}

/// One answer that followed the first.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
struct Told {
    question: u64,
    number: u32,
    answer: u64,
}

/// An answer that follows the last one, once it is in the evidence.
#[derive(Clone, Debug)]
pub(crate) struct Next {
    /// Its entry.
    pub(crate) answer: u64,
    /// When it was made, Unix milliseconds.
    pub(crate) at_ms: u64,
    /// What it says.
    pub(crate) says: Says,
}

/// What an answer says.
#[derive(Clone, Debug)]
pub(crate) enum Says {
    /// The verdict from now on, and the grant that it rests on.
    Verdict(wire::Verdict, String),
    /// That it is over: a stable code.
    Over(String),
}

/// The book.
pub struct GivenBook {
    duties: Arc<Duties>,
    journal: Arc<dyn Journal>,
    key: Arc<BudgetKey>,
    clock: Arc<dyn Clock>,
    inner: Mutex<Inner>,
    /// One answer at a time, so that each follows the one before it.
    pub(crate) turn: tokio::sync::Mutex<()>,
    /// Something new is to be looked at.
    pub(crate) changed: Notify,
}

#[derive(Default)]
struct Inner {
    rows: BTreeMap<u64, Given>,
    by_key: HashMap<[u8; 16], u64>,
    by_request: HashMap<String, u64>,
    /// The entries of the answers after the first, by question.
    told: HashMap<u64, Vec<u64>>,
    /// Those that nobody has looked at since they began: a record may have changed meanwhile.
    fresh: BTreeSet<u64>,
}

impl Inner {
    fn put(&mut self, row: Given) {
        self.by_key.insert(row.key, row.question);
        self.by_request.insert(row.request.clone(), row.question);
        self.rows.insert(row.question, row);
    }
}

impl GivenBook {
    /// Opens the book that the due-list keeps.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn open(
        duties: Arc<Duties>,
        journal: Arc<dyn Journal>,
        key: Arc<BudgetKey>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let mut inner = Inner::default();
        for row in duties.rows::<Given>(BOOK)? {
            inner.put(row);
        }
        // In the order of their numbers.
        for told in duties.rows::<Told>(TOLD)? {
            inner.told.entry(told.question).or_default().push(told.answer);
        }
        let (turn, changed) = (tokio::sync::Mutex::default(), Notify::new());
        Ok(Self { duties, journal, key, clock, inner: Mutex::new(inner), turn, changed })
    }

    /// Says that an answer is about to be made durable. Held until it stands in the book.
    pub(crate) fn announce(&self) -> Expectation<'_> {
        self.duties.announce(self.journal.end())
    }

    /// A question that goes on was answered with verdicts, and both are in the evidence, the question at `question`.
    pub(crate) async fn begun(
        &self,
        question: u64,
        request: &wire::Request,
        answer: &wire::Answer,
    ) -> Result<(), Error> {
        let (Some(Outcome::Verdicts(verdicts)), Some(subscription)) = (&answer.outcome, &request.subscription) else {
            return Ok(());
        };
        let consumer: Party = answer.recipient.parse().map_err(|_| Error::StoredUnreadable)?;
        let digest = |bytes: &[u8]| Digest::try_from(bytes).map_err(|_| Error::StoredUnreadable);
        let subject = request.subject.clone().unwrap_or_default();
        let about = format!("{}:{}", subject.scheme, subject.value);
        let row = Given {
            question,
            key: request_key(&consumer, &request.request_id),
            request: digest(&answer.request_digest)?.to_string(),
            order: data_encoding::HEXLOWER.encode(&self.key.group("notices", consumer.department(), &about)),
            consumer: consumer.to_string(),
            consumer_node: request.sender_node.clone(),
            service: answer.service.clone(),
            major: answer.service_version,
            grant: digest(&answer.grant)?.to_string(),
            since_ms: answer.answered_at_ms,
            until_ms: subscription.until_ms,
            last: question + 1,
            number: answer.number,
            verdict: verdicts.verdicts.first().map_or(0, |claim| claim.verdict),
            told_ms: answer.answered_at_ms,
            delivered: answer.number,
            ended: String::new(),
        };
        self.duties.commit(vec![Change::row(BOOK, row_key(question), &row)]).await?;
        let mut inner = self.locked();
        inner.put(row);
        inner.fresh.insert(question);
        drop(inner);
        self.changed.notify_one();
        Ok(())
    }

    /// An answer that follows the last one is in the evidence: it stands in the book, and is to be delivered.
    pub(crate) async fn followed(&self, question: u64, next: Next) -> Result<(), Error> {
        let Some(mut row) = self.row(question) else { return Ok(()) };
        row.number += 1;
        (row.last, row.told_ms) = (next.answer, next.at_ms);
        match next.says {
            Says::Verdict(verdict, grant) => (row.verdict, row.grant) = (verdict.into(), grant),
            Says::Over(code) => row.ended = code,
        }
        let told = Told { question, number: row.number, answer: next.answer };
        let deliver = Duty {
            id: format!("notice/{}", row_key(next.answer)),
            order: format!("notices/{}", row.order),
            at_ms: next.at_ms.min(self.clock.now_ms()),
            what: What::Notice { question, answer: next.answer },
        };
        let told_key = format!("{}/{:010}", row_key(question), row.number);
        let changes =
            vec![Change::row(BOOK, row_key(question), &row), Change::row(TOLD, told_key, &told), Change::Put(deliver)];
        self.duties.commit(changes).await?;
        let mut inner = self.locked();
        inner.told.entry(question).or_default().push(next.answer);
        inner.put(row);
        Ok(())
    }

    /// The other side has an answer.
    pub(crate) async fn delivered(&self, question: u64, answer: u64) -> Result<(), Error> {
        let _turn = self.turn.lock().await;
        let Some(mut row) = self.row(question) else { return Ok(()) };
        let Some(position) = self.after_first(question).iter().position(|told| *told == answer) else { return Ok(()) };
        row.delivered = row.delivered.max(u32::try_from(position).unwrap_or(u32::MAX).saturating_add(2));
        let mut changes = vec![Change::row(BOOK, row_key(question), &row)];
        if !row.is_live() && row.delivered >= row.number {
            changes.push(forget_duty(question, self.clock.now_ms()));
        }
        self.duties.commit(changes).await?;
        self.locked().put(row);
        Ok(())
    }

    /// A subscription is long over.
    pub(crate) fn forget(&self, question: u64) -> Vec<Change> {
        let mut inner = self.locked();
        let Some(row) = inner.rows.remove(&question) else { return Vec::new() };
        inner.by_key.remove(&row.key);
        inner.by_request.remove(&row.request);
        let told = inner.told.remove(&question).unwrap_or_default().len();
        let numbers = (2..).take(told);
        let gone = |number: u32| Change::RowGone { book: TOLD, key: format!("{}/{number:010}", row_key(question)) };
        let row = Change::RowGone { book: BOOK, key: row_key(question) };
        numbers.map(gone).chain([row]).collect()
    }

    /// The entry of a question that goes on, by its request key.
    pub(crate) fn question(&self, key: &[u8; 16]) -> Option<u64> {
        self.locked().by_key.get(key).copied()
    }

    /// The row of a request.
    pub(crate) fn of_request(&self, request: &Digest) -> Option<Given> {
        let inner = self.locked();
        if inner.rows.is_empty() {
            return None;
        }
        inner.by_request.get(&request.to_string()).and_then(|question| inner.rows.get(question)).cloned()
    }

    /// The row of a question.
    pub fn row(&self, question: u64) -> Option<Given> {
        self.locked().rows.get(&question).cloned()
    }

    /// The entries of the answers after the first.
    pub(crate) fn after_first(&self, question: u64) -> Vec<u64> {
        self.locked().told.get(&question).cloned().unwrap_or_default()
    }

    /// All of them, the newest first.
    pub fn list(&self) -> Vec<Given> {
        self.locked().rows.values().rev().cloned().collect()
    }

    /// Whether there is room for no more: each is looked at again and again.
    pub(crate) fn is_full(&self) -> bool {
        self.locked().rows.len() >= MOST
    }

    /// Those that go on.
    pub(crate) fn live(&self) -> Vec<Given> {
        self.locked().rows.values().filter(|row| row.is_live()).cloned().collect()
    }

    /// Those that nobody has looked at since they began; from now on somebody has.
    pub(crate) fn take_fresh(&self) -> BTreeSet<u64> {
        std::mem::take(&mut self.locked().fresh)
    }

    /// The message of an entry as it was signed, with its identity.
    pub(crate) fn signed(&self, index: u64) -> Result<(wire::Signed, Digest), Error> {
        let stored = self.journal.entry(index)?.ok_or(Error::StoredUnreadable)?;
        let bytes = stored.message.as_deref().ok_or(Error::StoredUnreadable)?;
        let signed = wire::Signed::decode(bytes).map_err(|_| Error::StoredUnreadable)?;
        match envelope::digest_of(&signed) {
            Ok(digest) if digest == stored.entry.envelope => Ok((signed, digest)),
            _ => Err(Error::StoredUnreadable),
        }
    }

    fn locked(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Follows for GivenBook {
    /// The first answer and all that followed.
    fn answers(&self, question: u64) -> Vec<u64> {
        match self.row(question) {
            Some(_) => std::iter::once(question + 1).chain(self.after_first(question)).collect(),
            None => Vec::new(),
        }
    }

    fn later(&self, request: &Digest) -> Vec<u64> {
        self.of_request(request).map(|row| self.after_first(row.question)).unwrap_or_default()
    }
}

impl std::fmt::Debug for GivenBook {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("GivenBook").field("rows", &self.locked().rows.len()).finish_non_exhaustive()
    }
}

/// So that keys are in the order of the entries.
pub(crate) fn row_key(question: u64) -> String {
    format!("{question:020}")
}

/// Forgets a subscription once it is long over, on either side.
pub(crate) fn forget_duty(question: u64, now_ms: u64) -> Change {
    let id = format!("unsubscribed/{}", row_key(question));
    let at_ms = now_ms.saturating_add(REMEMBERED_MS);
    Change::Put(Duty { order: id.clone(), id, at_ms, what: What::ForgetSubscription { question } })
}
