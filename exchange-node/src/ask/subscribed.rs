//! Questions of this department that go on: the book of what it subscribed to, and of what has changed since. Questions and
//! answers are in the evidence; a row has only their places there.
//!
//! **Invariant:** a notice is acknowledged to the other side only once it is durable here, follows the one before it, and comes
//! once however often it is delivered. Out of scope: what is told (`answer::notices`), and who may read it (`subscriptions`).

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prost::Message;
use proto::exchange::v1::{self as wire, EntryKind, answer::Outcome, outcome::What as Said};
use serde::{Deserialize, Serialize};
use trust::{
    answer::{self, AnswerError},
    envelope,
    evidence::Receipt,
    ids::{Digest, Party},
    question::Question,
    refusal::Code,
};

use super::{Asker, Error, NotFound, NotReceived};
use crate::{
    asked::{message, ticket_of},
    duty::{Change, Duties, Duty, What},
    journal::NewEntry,
    keys::seal,
    logs,
    outbox::Happened,
    subscriptions::{forget_duty, row_key},
    usage,
};

/// The book's name in the due-list, and that of what came.
const BOOK: &str = "subscribed";
const CAME: &str = "came";

/// Why this side ended a subscription.
const UNSUBSCRIBED: &str = "unsubscribed";

/// A question that goes on.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Subscribed {
    /// The question's entry.
    pub question: u64,
    /// The request's identity, 64 hex digits.
    pub request: String,
    /// Who tells, `<exchange>/<department>`.
    pub provider: String,
    /// Its node.
    pub node: String,
    /// The service.
    pub service: String,
    /// Its major version.
    pub major: u32,
    /// The office system that subscribed; empty for the operator.
    pub system: String,
    /// Since when, Unix milliseconds.
    pub since_ms: u64,
    /// Until when, Unix milliseconds.
    pub until_ms: u64,
    /// The first answer's entry.
    pub first: u64,
    /// The last answer's entry.
    pub last: u64,
    /// Its number.
    pub number: u32,
    /// The verdict that was told last, by its number on the wire.
    pub verdict: i32,
    /// Up to which number somebody has seen to it.
    pub acknowledged: u32,
    /// Why it is over: a stable code; empty while it goes on.
    pub ended: String,
}

impl Subscribed {
    /// By what both sides find it.
    pub fn ticket(&self) -> String {
        self.request.parse().as_ref().map(ticket_of).unwrap_or_default()
    }

    /// Why it is over now; empty while it goes on.
    pub fn over(&self, now_ms: u64) -> &str {
        match self.ended.as_str() {
            "" if self.until_ms <= now_ms => Code::SubscriptionOver.as_str(),
            ended => ended,
        }
    }
}

/// A notice that came.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Came {
    /// The question's entry.
    pub question: u64,
    /// The notice's number among the answers.
    pub number: u32,
    /// Its entry.
    pub answer: u64,
    /// When it came, Unix milliseconds.
    pub at_ms: u64,
}

/// A notice as an office reads it.
#[derive(Clone, Debug)]
pub struct Notice {
    /// The subscription.
    pub row: Subscribed,
    /// Its place.
    pub came: Came,
    /// Acknowledges it, and finds its evidence.
    pub receipt: Receipt,
    /// What was told.
    pub answer: wire::Answer,
    /// The question.
    pub request: wire::Request,
}

/// What this department subscribed to.
pub(super) struct Subscriptions {
    duties: Arc<Duties>,
    inner: Mutex<Inner>,
    /// One delivery at a time, so that two of the same are one.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Inner {
    rows: BTreeMap<u64, Subscribed>,
    by_request: HashMap<String, u64>,
    came: HashMap<u64, Vec<Came>>,
}

impl Subscriptions {
    pub(super) fn open(duties: Arc<Duties>) -> Result<Self, Error> {
        let mut inner = Inner::default();
        for row in duties.rows::<Subscribed>(BOOK)? {
            inner.by_request.insert(row.request.clone(), row.question);
            inner.rows.insert(row.question, row);
        }
        for came in duties.rows::<Came>(CAME)? {
            inner.came.entry(came.question).or_default().push(came);
        }
        Ok(Self { duties, inner: Mutex::new(inner), turn: tokio::sync::Mutex::default() })
    }

    fn locked(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn row(&self, question: u64) -> Option<Subscribed> {
        self.locked().rows.get(&question).cloned()
    }

    pub(super) fn of_request(&self, request: &Digest) -> Option<Subscribed> {
        let inner = self.locked();
        inner.by_request.get(&request.to_string()).and_then(|question| inner.rows.get(question)).cloned()
    }

    fn came(&self, question: u64) -> Vec<Came> {
        self.locked().came.get(&question).cloned().unwrap_or_default()
    }

    async fn keep(&self, row: Subscribed, mut changes: Vec<Change>) -> Result<(), Error> {
        changes.push(Change::row(BOOK, row_key(row.question), &row));
        self.duties.commit(changes).await?;
        let mut inner = self.locked();
        inner.by_request.insert(row.request.clone(), row.question);
        inner.rows.insert(row.question, row);
        Ok(())
    }
}

impl Asker {
    /// The first answer to a question that goes on is in the evidence.
    pub(super) async fn subscribed(
        &self,
        (question, first): (u64, u64),
        request: &wire::Request,
        answer: &wire::Answer,
    ) -> Result<(), Error> {
        let (Some(subscriptions), Some(subscription), Some(Outcome::Verdicts(verdicts))) =
            (&self.subscriptions, &request.subscription, &answer.outcome)
        else {
            return Ok(());
        };
        let digest = Digest::try_from(answer.request_digest.as_slice()).map_err(|_| Error::StoredUnreadable)?;
        let row = Subscribed {
            question,
            request: digest.to_string(),
            provider: answer.sender.clone(),
            node: answer.sender_node.clone(),
            service: answer.service.clone(),
            major: answer.service_version,
            system: request.system.clone(),
            since_ms: answer.answered_at_ms,
            until_ms: subscription.until_ms,
            first,
            last: first,
            number: answer.number,
            verdict: verdicts.verdicts.first().map_or(0, |claim| claim.verdict),
            acknowledged: answer.number,
            ended: String::new(),
        };
        subscriptions.keep(row, vec![forget_duty(question, subscription.until_ms)]).await
    }

    /// Takes a notice that a peer delivers, where its question goes on; `None` where this is no such question.
    pub(super) async fn receive_notice(
        &self,
        peer: &Party,
        (signed, claimed): (&wire::Signed, &wire::Answer),
        request: &Digest,
    ) -> Option<Result<(), NotReceived>> {
        let subscriptions = self.subscriptions.as_ref()?;
        subscriptions.of_request(request)?;
        let _turn = subscriptions.turn.lock().await;
        // As it stands now: another delivery may just have changed it.
        let row = subscriptions.of_request(request)?;
        Some(self.take_notice((peer, subscriptions), row, (signed, claimed)).await)
    }

    async fn take_notice(
        &self,
        (peer, subscriptions): (&Party, &Subscriptions),
        row: Subscribed,
        (signed, claimed): (&wire::Signed, &wire::Answer),
    ) -> Result<(), NotReceived> {
        let digest = envelope::digest_of(signed).map_err(AnswerError::from)?;
        if claimed.number <= row.number {
            let came = subscriptions.came(row.question);
            let known = came.iter().find(|came| came.number == claimed.number).map_or(row.first, |came| came.answer);
            let known = self.journal.entry(known).map_err(Error::from)?.ok_or(Error::StoredUnreadable)?;
            return if known.entry.envelope == digest { Ok(()) } else { Err(AnswerError::Succession.into()) };
        }
        let stored = |index: u64| self.journal.entry(index)?.ok_or(Error::StoredUnreadable);
        let asked = stored(row.question)?;
        let question = Question::read(message(&asked).ok_or(Error::StoredUnreadable)?);
        let question = question.map_err(|_| Error::StoredUnreadable)?;
        let before = stored(row.last)?;
        let wire = message(&before).ok_or(Error::StoredUnreadable)?;
        let before = answer::Answer { digest: before.entry.envelope, wire };
        let opened = self.open_caught_up(signed, |seen, now_ms| {
            let root_at = |size| self.view.root_at(size);
            answer::open_successor(seen.directory(), signed, &question, &before, now_ms, root_at)
        });
        let opened = opened.await?;
        let grant = Digest::try_from(question.wire.grant.as_slice()).ok();
        let grant = grant.filter(|_| matches!(opened.wire.outcome, Some(Outcome::Verdicts(_))));
        let grant = grant.map(|grant| usage::mark(&grant, self.me.department()));
        let entry =
            NewEntry { kind: EntryKind::AnswerReceived, digest: opened.digest, message: signed.encode_to_vec() };
        let _expected = subscriptions.duties.announce(self.journal.end());
        let committed = self.commit(vec![entry], Some(row.question), None, (grant, None), true).await?;
        self.count(&self.answered, grant);
        self.noticed(subscriptions, row, committed.first_index, &opened.wire).await?;
        tracing::info!(provider = %peer, service = claimed.service, "a notice of a change has come");
        Ok(())
    }

    /// A notice is in the evidence.
    async fn noticed(
        &self,
        subscriptions: &Subscriptions,
        mut row: Subscribed,
        index: u64,
        answer: &wire::Answer,
    ) -> Result<(), Error> {
        let by_us = row.ended == UNSUBSCRIBED;
        (row.last, row.number) = (index, answer.number);
        let mut changes = Vec::new();
        match &answer.outcome {
            Some(Outcome::Verdicts(verdicts)) => {
                row.verdict = verdicts.verdicts.first().map_or(0, |claim| claim.verdict);
            }
            Some(Outcome::Refusal(_)) if by_us => {
                // Nobody needs to be told of what was wished for.
                row.acknowledged = row.number;
                changes.push(forget_duty(row.question, self.clock.now_ms()));
            }
            Some(Outcome::Refusal(refusal)) => {
                row.ended.clone_from(&refusal.code);
                changes.push(forget_duty(row.question, self.clock.now_ms()));
            }
            Some(Outcome::Deferral(_)) | None => {}
        }
        let came = Came { question: row.question, number: answer.number, answer: index, at_ms: self.clock.now_ms() };
        changes.push(Change::row(CAME, format!("{}/{:010}", row_key(row.question), came.number), &came));
        let question = row.question;
        let asked = self.journal.entry(question)?.as_ref().and_then(message::<wire::Request>);
        let is_news = !by_us || matches!(answer.outcome, Some(Outcome::Verdicts(_)));
        let mut noting = match self.outbox() {
            Some(outbox) => Some(outbox.begin().await),
            None => None,
        };
        // Gone with its month's key: then nobody is told.
        if let (Some(noting), Some(asked), true) = (&mut noting, asked, is_news) {
            changes.extend(noting.note(&asked.system, &asked.case_number, Happened::Notice { answer: index }));
        }
        subscriptions.keep(row, changes).await?;
        subscriptions.locked().came.entry(question).or_default().push(came);
        if let Some(noting) = noting {
            noting.done();
        }
        Ok(())
    }

    /// After a crash: whether the answer at `index` belongs to a question that goes on, and whether the book lacked it.
    pub(super) async fn recover_notice(
        &self,
        question: u64,
        index: u64,
        answer: &wire::Answer,
    ) -> Result<Option<bool>, Error> {
        let Some(subscriptions) = &self.subscriptions else { return Ok(None) };
        match subscriptions.row(question) {
            Some(row) if row.last >= index => Ok(Some(false)),
            Some(row) => self.noticed(subscriptions, row, index, answer).await.map(|()| Some(true)),
            None => {
                let asked = self.journal.entry(question)?.ok_or(Error::StoredUnreadable)?;
                let request: wire::Request = message(&asked).ok_or(Error::StoredUnreadable)?;
                if request.subscription.is_none() || !matches!(answer.outcome, Some(Outcome::Verdicts(_))) {
                    return Ok(None);
                }
                self.subscribed((question, index), &request, answer).await?;
                Ok(Some(true))
            }
        }
    }

    /// What this department subscribed to, the newest first.
    pub fn subscriptions(&self) -> Vec<Subscribed> {
        let Some(subscriptions) = &self.subscriptions else { return Vec::new() };
        subscriptions.locked().rows.values().rev().cloned().collect()
    }

    /// The subscription with this ticket.
    pub fn subscription(&self, ticket: &str) -> Option<Subscribed> {
        self.subscriptions().into_iter().find(|row| row.ticket() == ticket)
    }

    /// How many notices of a subscription came, and how many of them nobody has seen to.
    pub fn notices_of(&self, row: &Subscribed) -> (usize, usize) {
        let came = self.subscriptions.as_ref().map(|subscriptions| subscriptions.came(row.question));
        let came = came.unwrap_or_default();
        (came.len(), came.iter().filter(|came| came.number > row.acknowledged).count())
    }

    /// The entries of all answers to a question that goes on.
    pub(crate) fn answers_of_subscription(&self, question: u64) -> Vec<u64> {
        let row =
            self.subscriptions.as_ref().and_then(|subscriptions| Some((subscriptions, subscriptions.row(question)?)));
        row.map(|(subscriptions, row)| {
            let came = subscriptions.came(question);
            std::iter::once(row.first).chain(came.into_iter().map(|came| came.answer)).collect()
        })
        .unwrap_or_default()
    }

    /// The notices of one subscription, the oldest first. Reads the evidence.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn all_notices(&self, row: &Subscribed) -> Result<Vec<Notice>, Error> {
        let Some(subscriptions) = &self.subscriptions else { return Ok(Vec::new()) };
        let came = subscriptions.came(row.question);
        came.into_iter().filter_map(|came| self.notice(row, came).transpose()).collect()
    }

    /// The notice at a place in the evidence; `None` where there is none (any more). Reads the evidence.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn notice_at(&self, place: u64) -> Result<Option<Notice>, Error> {
        let Some(subscriptions) = &self.subscriptions else { return Ok(None) };
        let question = self.journal.entry(place)?.and_then(|stored| stored.about);
        let Some(row) = question.and_then(|question| subscriptions.row(question)) else { return Ok(None) };
        let came = subscriptions.came(row.question).into_iter().find(|came| came.answer == place);
        Ok(came.map(|came| self.notice(&row, came)).transpose()?.flatten())
    }

    /// Notices that nobody has seen to, the oldest first, of those subscriptions that `is_wanted` says. Reads the evidence.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn unacknowledged(
        &self,
        limit: usize,
        is_wanted: impl Fn(&Subscribed) -> bool,
    ) -> Result<(Vec<Notice>, bool), Error> {
        let Some(subscriptions) = &self.subscriptions else { return Ok((Vec::new(), false)) };
        let mut waiting: Vec<(Came, Subscribed)> = {
            let inner = subscriptions.locked();
            let of_row = |row: &Subscribed| inner.came.get(&row.question).cloned().unwrap_or_default();
            let rows = inner.rows.values().filter(|row| is_wanted(row));
            rows.flat_map(|row| {
                let open = of_row(row).into_iter().filter(|came| came.number > row.acknowledged);
                open.map(|came| (came, row.clone())).collect::<Vec<_>>()
            })
            .collect()
        };
        waiting.sort_by_key(|(came, _)| came.answer);
        let more = waiting.len() > limit;
        waiting.truncate(limit);
        let notices = waiting.into_iter().filter_map(|(came, row)| self.notice(&row, came).transpose());
        Ok((notices.collect::<Result<_, _>>()?, more))
    }

    /// A notice from the evidence; `None` where the month's key was destroyed.
    fn notice(&self, row: &Subscribed, came: Came) -> Result<Option<Notice>, Error> {
        let stored = self.journal.entry(came.answer)?.ok_or(Error::StoredUnreadable)?;
        let asked = self.journal.entry(row.question)?.ok_or(Error::StoredUnreadable)?;
        if stored.message.is_none() || asked.message.is_none() {
            return Ok(None);
        }
        let answer = message(&stored).ok_or(Error::StoredUnreadable)?;
        let request = message(&asked).ok_or(Error::StoredUnreadable)?;
        let receipt = stored.entry.receipt(logs::index_in(came.answer));
        Ok(Some(Notice { row: row.clone(), came, receipt, answer, request }))
    }

    /// The question of a subscription, and the receipt of its first answer. Reads the evidence.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn question_of(&self, row: &Subscribed) -> Result<(wire::Request, Receipt), Error> {
        let asked = self.journal.entry(row.question)?.ok_or(Error::StoredUnreadable)?;
        let first = self.journal.entry(row.first)?.ok_or(Error::StoredUnreadable)?;
        // Where the month's key was destroyed, nothing but the row is left.
        let request = asked.message.as_ref().map(|_| message(&asked).ok_or(Error::StoredUnreadable));
        Ok((request.transpose()?.unwrap_or_default(), first.entry.receipt(logs::index_in(row.first))))
    }

    /// Somebody has seen to notices: they are listed no more, nor those before them. How many they are.
    ///
    /// # Errors
    ///
    /// A receipt is no notice's, or our own failure.
    pub async fn acknowledge(
        &self,
        receipts: &[Receipt],
        is_wanted: impl Fn(&Subscribed) -> bool,
    ) -> Result<usize, NotFound> {
        let Some(subscriptions) = &self.subscriptions else { return Err(NotFound::Unknown) };
        let _turn = subscriptions.turn.lock().await;
        let mut seen = Vec::with_capacity(receipts.len());
        for receipt in receipts {
            let place = self.journal.find(receipt).map_err(Error::from)?.ok_or(NotFound::Unknown)?;
            let stored = self.journal.entry(place).map_err(Error::from)?.ok_or(NotFound::Unknown)?;
            let row = stored.about.and_then(|question| subscriptions.row(question)).filter(&is_wanted);
            let row = row.ok_or(NotFound::Unknown)?;
            let came = subscriptions.came(row.question).into_iter().find(|came| came.answer == place);
            seen.push(came.ok_or(NotFound::Unknown)?);
        }
        let mut count = 0;
        for came in seen {
            let Some(mut row) = subscriptions.row(came.question) else { continue };
            let before = self.notices_of(&row).1;
            row.acknowledged = row.acknowledged.max(came.number);
            count += before - self.notices_of(&row).1;
            subscriptions.keep(row, Vec::new()).await?;
        }
        Ok(count)
    }

    /// This side wants no more notices: that is durable, and the other side is told by itself.
    ///
    /// # Errors
    ///
    /// There is no such subscription, or our own failure.
    pub async fn unsubscribe(&self, question: u64) -> Result<Subscribed, NotFound> {
        let Some(subscriptions) = &self.subscriptions else { return Err(NotFound::Unknown) };
        let _turn = subscriptions.turn.lock().await;
        let mut row = subscriptions.row(question).ok_or(NotFound::Unknown)?;
        if !row.ended.is_empty() {
            return Ok(row);
        }
        let request: Digest = row.request.parse().map_err(|_| Error::StoredUnreadable)?;
        let outcome = wire::Outcome {
            exchange_id: self.me.exchange().to_string(),
            sender: self.me.to_string(),
            request_digest: request.as_bytes().to_vec(),
            at_ms: self.clock.now_ms(),
            what: Some(Said::Unsubscribed(UNSUBSCRIBED.to_owned())),
        };
        let (sealed, digest) = seal(&outcome, self.signer.as_ref());
        let message = envelope::signed(sealed).encode_to_vec();
        let entry = NewEntry { kind: EntryKind::Outcome, digest, message };
        let committed = self.commit(vec![entry], Some(question), None, (None, None), false).await?;
        let outcome = committed.first_index;
        UNSUBSCRIBED.clone_into(&mut row.ended);
        let id = format!("unsubscribe/{}", row_key(question));
        let tell =
            Duty { order: id.clone(), id, at_ms: self.clock.now_ms(), what: What::Unsubscribe { question, outcome } };
        subscriptions.keep(row.clone(), vec![Change::Put(tell), forget_duty(question, row.until_ms)]).await?;
        Ok(row)
    }

    /// Whom to tell that nothing more is wanted, and the signed word; `None` where the other side has ended it.
    pub(crate) fn unsubscribed(
        &self,
        question: u64,
        outcome: u64,
    ) -> Result<Option<(Party, String, wire::Signed)>, Error> {
        let row = self.subscriptions.as_ref().and_then(|subscriptions| subscriptions.row(question));
        let Some(row) = row.filter(|row| row.ended == UNSUBSCRIBED) else { return Ok(None) };
        let stored = self.journal.entry(outcome)?.ok_or(Error::StoredUnreadable)?;
        let bytes = stored.message.as_deref().ok_or(Error::StoredUnreadable)?;
        let signed = wire::Signed::decode(bytes).map_err(|_| Error::StoredUnreadable)?;
        let provider = row.provider.parse().map_err(|_| Error::StoredUnreadable)?;
        Ok(Some((provider, row.node, signed)))
    }

    /// A subscription is long over.
    pub(crate) fn forget_subscription(&self, question: u64) -> Vec<Change> {
        let Some(subscriptions) = &self.subscriptions else { return Vec::new() };
        let mut inner = subscriptions.locked();
        let Some(row) = inner.rows.remove(&question) else { return Vec::new() };
        inner.by_request.remove(&row.request);
        let came = inner.came.remove(&question).unwrap_or_default();
        let gone =
            |came: Came| Change::RowGone { book: CAME, key: format!("{}/{:010}", row_key(question), came.number) };
        let row = Change::RowGone { book: BOOK, key: row_key(question) };
        came.into_iter().map(gone).chain([row]).collect()
    }
}
