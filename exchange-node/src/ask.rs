//! The asking side of a question: find service, grant and address in the own view, decide at once, build and sign the
//! request, make it durable, send it, open the answer, make that durable, and hand the office a result with a receipt.
//!
//! **Invariants:** a question leaves only after it is in the evidence. An outage is `UNAVAILABLE`, never a mismatch.
//! Whatever became of a question is in the evidence too, at the latest when the node starts again.
//!
//! Out of scope: who may speak for an office (`office_edge`), connections (`peers`), what became of a question (`asked`).

mod batch;
mod idempotency;
mod later;
mod list;
mod of_batch;
mod record;
mod request;
mod resume;
mod send;
mod show;
mod subscribed;

use std::{
    collections::{HashMap, HashSet},
    ops::ControlFlow,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use host::{clock::Clock, random::Random};
use prost::Message;
use proto::exchange::v1::{EntryKind, answer::Outcome as Answered};
use tokio::{sync::Semaphore, time::Instant};
use trust::{
    calendar::Calendar,
    ids::{Digest, NodeId, Party},
    question::Question,
    refusal::{Code, Refusal},
    subject::Subject,
};

pub use self::{
    batch::{BatchAnswer, PreparedBatch, SentBatch},
    later::{Awaited, NotReceived},
    list::{LaterAnswer, Page, Step},
    request::OfficeQuestion,
    send::Courier,
    show::NotFound,
    subscribed::{Came, Notice, Subscribed},
};
use self::{idempotency::Idempotency, later::Awaiting, record::last, subscribed::Subscriptions};
pub use crate::asked::{Asked, Ending};
use crate::{
    asked::{ending_of, unanswered},
    budget::BudgetKey,
    config::{Limits, OfficerLimits},
    duty,
    journal::{Journal, JournalError, NewEntry, RecordHead},
    keys::NodeSigner,
    logs::Read,
    records::aliases::Aliases,
    usage::{self, Mark, Officers, RecalledOfficers, Saved, Usage},
    view::View,
};

/// How many of the newest records are looked through for questions that a crash interrupted. More than can be under way.
const INTERRUPTED_WITHIN: usize = 8192;

/// For how long an idempotency key is known.
const KEYS_KNOWN: Duration = Duration::from_secs(24 * 3600);

/// Our own failure: nothing was asked, or nothing is known of what became of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Too little disk to record anything, so nothing was asked.
    #[error("too little disk is free to record anything, so nothing was asked: free some (`doctor` shows how much)")]
    DiskFull,
    /// What is awaited could not be kept.
    #[error(transparent)]
    Duty(#[from] duty::Error),
    /// Evidence could not be made durable or read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A stored message cannot be read.
    #[error("the stored question or answer cannot be read")]
    StoredUnreadable,
}

/// What was asked before, read back from the evidence, the newest first.
pub struct Recalled {
    keys: Idempotency,
    /// Questions about which an answer or outcome was seen and they themselves not yet: those are older.
    ended: HashSet<u64>,
    interrupted: Vec<Interrupted>,
    seen: usize,
    knows_all: bool,
    asked: usage::Recalled,
    answered: usage::Recalled,
    officers: RecalledOfficers,
    since_ms: u64,
    /// Whether what is read now is not the log that is kept: no outcome of its questions can be added there.
    earlier: bool,
    /// Whether it is not in the order of time.
    unordered: bool,
}

impl Recalled {
    /// Nothing yet but the uses of grants that are `saved`; `now_ms` says what is too old to matter.
    pub fn starting(saved: &Saved, calendar: &Calendar, now_ms: u64) -> Self {
        let since_ms = now_ms.saturating_sub(KEYS_KNOWN.as_millis().try_into().unwrap_or(u64::MAX));
        let (ended, interrupted) = (HashSet::new(), Vec::new());
        let keys = Idempotency::new(KEYS_KNOWN);
        let [asked, answered] = [usage::Kind::Asked, usage::Kind::Answered]
            .map(|kind| usage::Recalled::starting(kind, saved, calendar, now_ms));
        let officers = RecalledOfficers::starting(usage::Kind::Asked, calendar, now_ms);
        let (earlier, unordered) = (false, false);
        Self {
            keys,
            ended,
            interrupted,
            seen: 0,
            knows_all: false,
            asked,
            answered,
            officers,
            since_ms,
            earlier,
            unordered,
        }
    }

    /// From here on another log is read, whose entries stand behind `base` (`logs`).
    pub(crate) fn begin_log(&mut self, saved: &Saved, base: u64, read: Read) {
        self.asked.begin_log(saved, base);
        self.answered.begin_log(saved, base);
        self.unordered = read == Read::Recovered;
        self.officers.begin_log(self.unordered);
        self.ended.clear();
        self.earlier = read != Read::Current;
        self.seen = if self.earlier { INTERRUPTED_WITHIN } else { 0 };
        self.knows_all = false;
    }

    /// Takes the next older record; breaks where older ones do not matter.
    pub fn take(&mut self, head: &RecordHead) -> ControlFlow<()> {
        self.knows_all |= head.at_ms < self.since_ms && self.seen >= INTERRUPTED_WITHIN && !self.unordered;
        // Each is asked: none may miss a record because another is done.
        let counts = [self.asked.take(head), self.answered.take(head), self.officers.take(head)];
        let counted = counts.iter().all(ControlFlow::is_break);
        if self.knows_all {
            return if counted { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        }
        self.seen += 1;
        self.ended.extend(head.about);
        for (index, (kind, digest)) in (head.first_index..).zip(head.kinds.iter().zip(&head.digests)) {
            match kind {
                EntryKind::QuestionSent if !self.ended.remove(&index) && !self.earlier => {
                    self.interrupted.push(Interrupted { index, digest: *digest, key: head.idempotency });
                }
                EntryKind::AnswerReceived if head.at_ms >= self.since_ms => {
                    if let Some(key) = head.idempotency {
                        self.keys.recall(key, index, head.at_ms);
                    }
                }
                _ => {}
            }
        }
        ControlFlow::Continue(())
    }
}

/// What an asker is made of.
pub struct AskerParts {
    /// The department.
    pub me: Party,
    /// The node.
    pub node: NodeId,
    /// Signs questions and outcomes: the node's key.
    pub signer: Arc<dyn NodeSigner>,
    /// The directory.
    pub view: Arc<View>,
    /// The evidence.
    pub journal: Arc<dyn Journal>,
    /// The way to other nodes.
    pub courier: Arc<dyn Courier>,
    /// The numbers that subjects had before.
    pub aliases: Arc<Aliases>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness for ids.
    pub random: Arc<dyn Random>,
    /// Bounds.
    pub limits: Limits,
    /// What an officer of this department may ask.
    pub officers: OfficerLimits,
    /// Under which officers are known in the journal.
    pub budget_key: Arc<BudgetKey>,
}

/// Asks other departments for this department's offices.
pub struct Asker {
    me: Party,
    node: NodeId,
    signer: Arc<dyn NodeSigner>,
    view: Arc<View>,
    journal: Arc<dyn Journal>,
    courier: Arc<dyn Courier>,
    aliases: Arc<Aliases>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    questions: Semaphore,
    disk_low: AtomicBool,
    asked: Usage,
    answered: Usage,
    officers: Officers,
    keys: Idempotency,
    /// Questions that a crash interrupted and whose outcome is not recorded yet.
    interrupted: Mutex<Vec<Interrupted>>,
    /// Those of them that are sent again, with the office's key.
    resuming: Mutex<HashMap<u64, Option<[u8; 16]>>>,
    /// Answers that are to come; `None` where nothing is kept of them.
    awaiting: Option<Awaiting>,
    /// Questions that go on; `None` where nothing is kept of them.
    subscriptions: Option<Subscriptions>,
}

/// A question that a crash interrupted.
#[derive(Clone, Copy, Debug)]
struct Interrupted {
    index: u64,
    digest: Digest,
    key: Option<[u8; 16]>,
}

impl Asker {
    /// Makes the asking side, which knows what was asked before.
    pub fn new(parts: AskerParts, recalled: Recalled) -> Self {
        let AskerParts { me, node, signer, view, journal, courier, aliases, .. } = parts;
        let AskerParts { clock, random, limits, officers, budget_key, .. } = parts;
        Self {
            me,
            node,
            signer,
            view,
            journal,
            courier,
            aliases,
            clock,
            random,
            questions: Semaphore::new(limits.questions_at_once),
            disk_low: AtomicBool::new(false),
            asked: recalled.asked.into_usage(),
            answered: recalled.answered.into_usage(),
            officers: Officers::new(officers, budget_key, recalled.officers),
            keys: recalled.keys,
            interrupted: Mutex::new(recalled.interrupted),
            resuming: Mutex::default(),
            awaiting: None,
            subscriptions: None,
        }
    }

    /// Takes one use of the officer who asks, where it is he who does.
    fn officer_of(&self, office: &OfficeQuestion, question: &Question) -> Result<Option<Mark>, Refusal> {
        if office.uncharged { Ok(None) } else { self.take_officer(question) }
    }

    /// Takes one use of the officer who asks.
    fn take_officer(&self, question: &Question) -> Result<Option<Mark>, Refusal> {
        let seen = self.view.seen();
        let calendar = &seen.directory().profile().calendar;
        self.officers.take(self.me.department(), &question.wire.officer, calendar, self.clock.now_ms())
    }

    /// Records an outcome for every question that a crash interrupted, but for those whose answer may be followed by others:
    /// these are asked again. Run once, before anything is asked.
    pub async fn close_interrupted(&self) -> Result<usize, Error> {
        let interrupted = std::mem::take(&mut *lock(&self.interrupted));
        for Interrupted { index, digest, key } in &interrupted {
            if self.may_be_followed(*index)? {
                lock(&self.resuming).insert(*index, *key);
                self.resume_later(*index).await?;
            } else {
                self.record_unanswered(*index, digest, INTERRUPTED).await?;
            }
        }
        Ok(interrupted.len())
    }

    /// Whether the evidence log may go on.
    pub(crate) fn check_open(&self) -> Result<(), JournalError> {
        self.journal.check_open()
    }

    /// What was asked under each grant.
    pub fn asked(&self) -> &Usage {
        &self.asked
    }

    /// What was answered under each grant.
    pub fn answered(&self) -> &Usage {
        &self.answered
    }

    /// Every number that a subject is known by here, itself alone where the table of former numbers cannot be read.
    pub(crate) fn numbers_of(&self, subject: &Subject) -> Vec<Subject> {
        self.aliases.numbers(subject, &[]).unwrap_or_else(|_| vec![subject.clone()])
    }

    /// Says whether there is too little disk to go on.
    pub fn set_disk_low(&self, low: bool) {
        self.disk_low.store(low, Ordering::Release);
    }

    /// Asks one question and waits for what becomes of it.
    pub async fn ask(&self, office: OfficeQuestion) -> Result<Asked, Error> {
        if self.disk_low.load(Ordering::Acquire) {
            return Err(Error::DiskFull);
        }
        self.journal.check_open()?;
        if office.idempotency_key.is_empty() {
            return self.ask_anew(&office, None).await;
        }
        if office.idempotency_key.len() > LONGEST_KEY {
            let refusal = Refusal::new(Code::MessageMalformed).at("idempotency_key");
            return self.refuse(&office, refusal.because(format!("at most {LONGEST_KEY} bytes"))).await;
        }
        let key = idempotency::key(&office.system, &office.idempotency_key);
        let slot = self.keys.slot(key, self.clock.now_ms());
        // Whoever comes with the same key meanwhile waits here, and then finds the answer.
        let mut answered = slot.lock().await;
        if let Some(index) = *answered {
            return self.repeat(&office, index).await;
        }
        let asked = self.ask_anew(&office, Some(key)).await?;
        // Where nothing came, or this node refused by itself, the same key may ask again.
        let from_provider = match &asked.ending {
            Ending::Answered { .. } | Ending::Deferred(_) => true,
            Ending::Refused { by, .. } => by.is_some(),
            Ending::Unanswered { .. } => false,
        };
        if from_provider {
            *answered = self.journal.find(&asked.receipt)?;
        }
        Ok(asked)
    }

    async fn ask_anew(&self, office: &OfficeQuestion, key: Option<[u8; 16]>) -> Result<Asked, Error> {
        let started = Instant::now();
        let Ok(_asking) = self.questions.try_acquire() else {
            return self.refuse(office, Refusal::new(Code::Overloaded)).await;
        };
        let sent = match self.prepare(office) {
            Ok((question, patience)) => match self.officer_of(office, &question) {
                Ok(officer) => self.record_question(question, patience, key, officer).await?,
                Err(refusal) => return self.refuse(office, refusal).await,
            },
            Err(refusal) => return self.refuse(office, refusal).await,
        };
        let trace = sent.question.wire.trace.as_str();
        tracing::debug!(trace, provider = %sent.question.recipient, service = %sent.question.service, "asking");
        let (number, ending, receipt) = match self.send(&sent).await {
            Ok((signed, answer)) => {
                let entry = NewEntry {
                    kind: EntryKind::AnswerReceived,
                    digest: answer.digest,
                    message: signed.encode_to_vec(),
                };
                let grant = sent.grant.filter(|_| matches!(answer.wire.outcome, Some(Answered::Verdicts(_))));
                let is_deferral = matches!(answer.wire.outcome, Some(Answered::Deferral(_)));
                let goes_on = sent.question.wire.subscription.is_some();
                let is_followed = is_deferral || goes_on && grant.is_some();
                let _expected = self.awaiting.as_ref().filter(|_| is_followed).map(|awaiting| self.announce(awaiting));
                let marks = (grant, None);
                let committed = self.commit(vec![entry], Some(sent.index), key, marks, is_followed).await?;
                if goes_on {
                    let (asked, request) = ((sent.index, committed.first_index), &sent.question.wire);
                    self.subscribed(asked, request, &answer.wire).await?;
                }
                if is_deferral {
                    self.await_answer(sent.index, committed.first_index, &answer.wire).await?;
                }
                self.count(&self.answered, grant);
                (answer.wire.number, ending_of(answer.wire), last(&committed)?)
            }
            Err(reason) => {
                tracing::info!(trace, provider = %sent.question.recipient, reason, "unanswered");
                let receipt = self.record_unanswered(sent.index, &sent.digest, &reason).await?;
                (0, unanswered(&sent.question.wire.claims, &reason), receipt)
            }
        };
        Ok(Asked {
            ending,
            receipt,
            request_digest: Some(sent.digest),
            provider: sent.question.wire.recipient,
            service: sent.question.wire.service,
            service_version: sent.question.wire.service_version,
            asked_at_ms: sent.question.issued_at_ms,
            elapsed: started.elapsed(),
            case_number: office.case_number.clone(),
            item: office.item().to_owned(),
            officer: office.officer.clone(),
            clerk: String::new(),
            number,
            correction: String::new(),
        })
    }
}

impl std::fmt::Debug for Asker {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Asker").field("me", &self.me).finish_non_exhaustive()
    }
}

/// The stable reason of a question that a crash interrupted.
const INTERRUPTED: &str = "interrupted";

/// The longest idempotency key, in bytes.
const LONGEST_KEY: usize = 64;

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
