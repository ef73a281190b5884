//! The answering side of a question: open, look the id up, check the time, decide, take guesses and quotas, look the record
//! up, evaluate, sign, make durable, and only then answer. Every refusal takes the same way out.
//!
//! **Invariant:** nothing leaves unrecorded. If question and answer cannot be made durable, no answer is given, and the
//! asker gets a bare status that says nothing.
//!
//! Out of scope: connections and who they belong to (`peer_edge`), what a decision is (`trust::decision`), where records
//! live (`records`).

mod batch;
mod charge;
mod correct;
mod defer;
mod evaluate;
mod known;
pub(crate) mod lookup;
mod notices;
pub(crate) mod rate;
mod reply;

use std::{
    collections::HashSet,
    ops::ControlFlow,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use host::clock::Clock;
use prost::Message;
use proto::exchange::v1 as wire;
use tokio::sync::Semaphore;
use trust::{
    calendar::Calendar,
    decision::decide,
    envelope,
    ids::{DepartmentId, Digest, NodeId, Party},
    question::{self, LARGEST_REQUEST, Question},
    refusal::{Code, Refusal},
};

pub use self::notices::Looked;
use self::{
    known::{Begin, KnownQuestions, Turn},
    rate::PerSecond,
};
use crate::{
    asked::request_key,
    budget::{self, BudgetKey, GuessBudget, GuessSettings},
    clerk::{self, Clerks},
    config::{Limits, OfficerLimits},
    events::Watch,
    journal::{Journal, JournalError, RecordHead},
    keys::NodeSigner,
    logs::Read,
    records::{RecordSource, aliases::Aliases},
    shared::{self, Claim, Shared},
    subscriptions::{self, GivenBook},
    successors::Successors,
    usage::{self, Officers, RecalledOfficers, Saved, Usage},
    view::{Seen, View},
};

/// How long answered questions are remembered, so that a retry gets the stored answer.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);

/// How long a question may wait for directory news that its asker has seen and this node has not.
const CATCH_UP: Duration = Duration::from_secs(2);

/// Why no signed answer was given. The edge makes a bare status of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unanswered {
    /// Guesses could not be charged, so nothing was looked up.
    #[error(transparent)]
    Budget(#[from] budget::Error),
    /// A deferral could not be kept, or what follows one not read.
    #[error(transparent)]
    Clerk(#[from] clerk::Error),
    /// Too little disk to record anything.
    #[error("too little disk is free to record anything")]
    DiskFull,
    /// This node has read no directory yet, so it knows nobody.
    #[error("this node has not read the directory yet")]
    DirectoryMissing,
    /// The task that makes an answer durable ended by itself.
    #[error("making the answer durable ended: {0}")]
    Ended(#[from] tokio::task::JoinError),
    /// It was asked before the evidence log was opened that is kept now, and may have been answered by the one that lost
    /// entries: a second answer could be another.
    #[error("the question is older than this node's evidence log, which took the place of one that lost entries")]
    BeforeThisLog,
    /// Evidence could not be made durable or read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The question could not be claimed or counted together with the department's other nodes.
    #[error(transparent)]
    Shared(#[from] shared::Error),
    /// What is subscribed to could not be kept or read.
    #[error(transparent)]
    Subscriptions(#[from] subscriptions::Error),
    /// The stored answer cannot be read.
    #[error("the stored answer cannot be read")]
    StoredAnswerUnreadable,
    /// Too many at once, or too many that do not open.
    #[error("too many questions")]
    TooMany,
}

/// What a node answers with.
pub struct Answerer {
    me: Party,
    node: NodeId,
    signer: Arc<dyn NodeSigner>,
    view: Arc<View>,
    journal: Arc<dyn Journal>,
    records: Arc<dyn RecordSource>,
    aliases: Arc<Aliases>,
    clock: Arc<dyn Clock>,
    known: Arc<KnownQuestions>,
    usage: Usage,
    officers: Officers,
    budget: Arc<dyn GuessBudget>,
    budget_key: Arc<BudgetKey>,
    guessing: GuessSettings,
    shared: Option<Arc<Shared>>,
    watch: Watch,
    unopened: PerSecond,
    logged: PerSecond,
    answers: Semaphore,
    /// Refusing for overload costs as much as answering; beyond this many nothing is signed any more.
    refusals: Semaphore,
    /// Questions that wait for directory news.
    waiting: Semaphore,
    /// Batches that are answered at once: each takes some tens of megabytes meanwhile.
    batches: Arc<Semaphore>,
    disk_low: AtomicBool,
    counts: Counts,
    clerks: Option<Arc<Clerks>>,
    /// The books of answers that follow others.
    successors: Successors,
    subscriptions: Option<Arc<GivenBook>>,
    /// Before what time questions may have been answered by a log that lost entries.
    lost: Option<LostRange>,
}

/// Up to when questions may have been answered without this node knowing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LostRange {
    /// Unix milliseconds, by the askers' clocks.
    pub until_ms: u64,
    /// The departments that gave back all they hold: what they do not have was never answered.
    pub reconciled: HashSet<DepartmentId>,
}

/// What an answerer is made of.
pub struct AnswererParts {
    /// The department.
    pub me: Party,
    /// The node.
    pub node: NodeId,
    /// Signs answers: the node's key.
    pub signer: Arc<dyn NodeSigner>,
    /// The directory.
    pub view: Arc<View>,
    /// The evidence.
    pub journal: Arc<dyn Journal>,
    /// The records.
    pub records: Arc<dyn RecordSource>,
    /// The guess budget.
    pub budget: Arc<dyn GuessBudget>,
    /// Under which subjects and officers are known there.
    pub budget_key: Arc<BudgetKey>,
    /// What it is beside the services' own limits.
    pub guessing: GuessSettings,
    /// The numbers that subjects had before.
    pub aliases: Arc<Aliases>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Bounds.
    pub limits: Limits,
    /// What an officer of another department may ask.
    pub officers: OfficerLimits,
    /// What the department's nodes share, where they do.
    pub shared: Option<Arc<Shared>>,
    /// Looks for what looks wrong.
    pub watch: Watch,
}

/// What was answered before, read back from the evidence, the newest first.
pub struct Recalled {
    known: KnownQuestions,
    knows_all: bool,
    usage: usage::Recalled,
    officers: RecalledOfficers,
    since_ms: u64,
    now_ms: u64,
    /// Whether what is read now is not in the order of time.
    unordered: bool,
}

impl Recalled {
    /// Nothing yet but the uses of grants that are `saved`; `now_ms` says what is too old to matter.
    pub fn starting(saved: &Saved, calendar: &Calendar, now_ms: u64) -> Self {
        let since_ms = now_ms.saturating_sub(REMEMBERED.as_millis().try_into().unwrap_or(u64::MAX));
        let usage = usage::Recalled::starting(usage::Kind::Given, saved, calendar, now_ms);
        let officers = RecalledOfficers::starting(usage::Kind::Given, calendar, now_ms);
        Self {
            known: KnownQuestions::new(REMEMBERED),
            knows_all: false,
            usage,
            officers,
            since_ms,
            now_ms,
            unordered: false,
        }
    }

    /// From here on another log is read, whose entries stand behind `base` (`logs`).
    pub(crate) fn begin_log(&mut self, saved: &Saved, base: u64, read: Read) {
        self.usage.begin_log(saved, base);
        (self.knows_all, self.unordered) = (false, read == Read::Recovered);
        self.officers.begin_log(self.unordered);
    }

    /// What was used of every grant.
    pub fn used(&self) -> Vec<usage::Standing> {
        self.usage.standing()
    }

    /// Takes the next older record; breaks where older ones do not matter.
    pub fn take(&mut self, head: &RecordHead) -> ControlFlow<()> {
        if !self.knows_all {
            self.knows_all = match head.request {
                _ if head.at_ms < self.since_ms => !self.unordered,
                Some(mark) => !self.known.recall(&mark.key, head.first_index, head.at_ms, self.now_ms),
                None => false,
            };
        }
        // Each is asked: none may miss a record because another is done.
        let counted = [self.usage.take(head), self.officers.take(head)].iter().all(ControlFlow::is_break);
        match (counted, self.knows_all) {
            (true, true) => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }
}

/// A question with its identity, or why it did not open.
type Opened = Result<(Question, Digest), Refusal>;

/// What was answered since the start.
#[derive(Debug, Default)]
pub struct Counts {
    /// Answers with verdicts.
    pub answered: AtomicU64,
    /// Signed refusals.
    pub refused: AtomicU64,
    /// Stored answers given again.
    pub repeated: AtomicU64,
}

impl Answerer {
    /// Makes the answering side, which knows what was answered before.
    pub fn new(parts: AnswererParts, recalled: Recalled) -> Self {
        let AnswererParts { me, node, signer, view, journal, records, aliases, .. } = parts;
        let AnswererParts { budget, budget_key, guessing, clock, limits, officers, shared, watch, .. } = parts;
        Self {
            me,
            node,
            signer,
            view,
            journal,
            records,
            aliases,
            clock,
            known: Arc::new(recalled.known),
            usage: recalled.usage.into_usage(),
            officers: Officers::new(officers, Arc::clone(&budget_key), recalled.officers),
            budget,
            budget_key,
            guessing,
            shared,
            watch,
            unopened: PerSecond::new(limits.unopened_per_second),
            logged: PerSecond::new(LOGGED_PER_SECOND),
            answers: Semaphore::new(limits.answers_at_once),
            refusals: Semaphore::new(limits.answers_at_once),
            waiting: Semaphore::new(MOST_WAITING),
            batches: Arc::new(Semaphore::new(batch::AT_ONCE)),
            disk_low: AtomicBool::new(false),
            counts: Counts::default(),
            clerks: None,
            successors: Successors::default(),
            subscriptions: None,
            lost: None,
        }
    }

    /// Says up to when questions may have been answered without this node knowing.
    #[must_use]
    pub fn with_lost_range(mut self, lost: Option<LostRange>) -> Self {
        self.lost = lost;
        self
    }

    /// Says whether there is too little disk to go on.
    pub fn set_disk_low(&self, low: bool) {
        self.disk_low.store(low, Ordering::Release);
    }

    /// What this node has answered under each grant that its department gave.
    pub fn usage(&self) -> &Usage {
        &self.usage
    }

    /// What was answered since the start.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Answers a question that came over a connection of `peer`. Whatever can be signed is: a refusal is an answer.
    pub async fn answer(&self, peer: &Party, signed: wire::Signed) -> Result<wire::Signed, Unanswered> {
        if self.disk_low.load(Ordering::Acquire) {
            return Err(Unanswered::DiskFull);
        }
        self.journal.check_open()?;
        let answering = self.answers.try_acquire().ok();
        let _refusing = match &answering {
            Some(_) => None,
            None => Some(self.refusals.try_acquire().map_err(|_| Unanswered::TooMany)?),
        };
        let (seen, opened) = self.open(peer, &signed).await?;
        let (question, digest) = match opened {
            Ok(opened) => opened,
            Err(refusal) => return self.refuse_unopened(&seen, peer, &signed, &refusal).await,
        };
        let key = request_key(&question.sender, question.id.as_bytes());
        // A question that was deferred, or goes on, is known for as long as an answer may come, and longer.
        let goes_on = || self.subscriptions.as_ref().and_then(|given| given.question(&key));
        if let Some(first_index) = self.clerks.as_ref().and_then(|clerks| clerks.question(&key)).or_else(goes_on) {
            return self.again(&seen, &question, &digest, &signed, first_index).await;
        }
        let turn = loop {
            match self.known.begin(&key) {
                Begin::Mine(turn) => break turn,
                Begin::InFlight(ended) => drop(ended.await),
                Begin::Stored(first_index) => {
                    return self.again(&seen, &question, &digest, &signed, first_index).await;
                }
            }
        };
        if self.may_have_been_answered(&question) {
            return Err(Unanswered::BeforeThisLog);
        }
        if answering.is_none() {
            let retry_at_ms = self.clock.now_ms() + OVERLOAD_PAUSE_MS;
            let refusal = Refusal::new(Code::Overloaded).retry_at(retry_at_ms);
            return self.refuse(&seen, &question, &digest, &signed, refusal, None).await;
        }
        if let Some(shared) = &self.shared {
            match shared.claim_request(turn.key(), &digest).await? {
                Claim::Mine => {}
                Claim::Answered(answer) => {
                    self.counts.repeated.fetch_add(1, Ordering::Relaxed);
                    return Ok(answer);
                }
                Claim::OtherBytes => {
                    let refusal = Refusal::new(Code::RequestIdReused).at("request_id");
                    return self.refuse(&seen, &question, &digest, &signed, refusal, None).await;
                }
            }
        }
        self.answer_new(seen, &question, &digest, &signed, turn).await
    }

    /// The answer that this node has stored, unless another node of the department has given one in its place.
    async fn ours(
        &self,
        seen: &Seen,
        question: &Question,
        digest: &Digest,
        signed: &wire::Signed,
        stored: wire::Signed,
    ) -> Result<wire::Signed, Unanswered> {
        let Some(shared) = &self.shared else { return Ok(stored) };
        let key = request_key(&question.sender, question.id.as_bytes());
        match shared.claim_request(&key, digest).await? {
            Claim::Answered(answer) => Ok(answer),
            // It was made durable here, and then this node or the database stopped.
            Claim::Mine => Ok(shared.keep_answer(&key, &stored).await?.unwrap_or(stored)),
            Claim::OtherBytes => {
                let refusal = Refusal::new(Code::RequestIdReused).at("request_id");
                self.refuse(seen, question, digest, signed, refusal, None).await
            }
        }
    }

    /// Whether the question may have an answer in the range that an evidence log lost. A bare status is no answer: whoever
    /// asked tries again, or asks anew.
    fn may_have_been_answered(&self, question: &Question) -> bool {
        self.lost.as_ref().is_some_and(|lost| {
            question.issued_at_ms < lost.until_ms && !lost.reconciled.contains(question.sender.department())
        })
    }

    async fn answer_new(
        &self,
        mut seen: Arc<Seen>,
        question: &Question,
        digest: &Digest,
        signed: &wire::Signed,
        turn: Turn,
    ) -> Result<wire::Signed, Unanswered> {
        let now_ms = self.clock.now_ms();
        if let Err(refusal) = self.check(&seen, question, now_ms) {
            return self.refuse(&seen, question, digest, signed, refusal, Some(turn)).await;
        }
        if question.wire.directory_size > seen.size() && decide(seen.directory(), question, now_ms).is_err() {
            // The asker has read on: a grant or a service may be in what this node has yet to get.
            seen = self.catch_up(question.wire.directory_size).await;
        }
        let permit = match decide(seen.directory(), question, now_ms) {
            Ok(permit) => permit,
            Err(refusal) => return self.refuse(&seen, question, digest, signed, refusal, Some(turn)).await,
        };
        let charged = match self.charge(seen.directory(), &permit, question, &turn, now_ms).await? {
            Ok(charged) => charged,
            Err(refusal) => return self.refuse(&seen, question, digest, signed, refusal, Some(turn)).await,
        };
        let outcome = self.outcome(seen.directory().profile(), &permit, question, now_ms).await;
        let grant = permit.grant;
        let answer = self.build(&seen, &question.wire, &question.wire.sender, digest.as_bytes().to_vec(), outcome);
        let answer = wire::Answer { grant: grant.as_bytes().to_vec(), ..answer };
        self.counts.answered.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(trace = question.wire.trace, service = %question.service, "answered");
        self.commit(signed, Some(*digest), &answer, Some(turn), charged).await
    }

    /// Opens a question; where the asker has seen more of the directory than this node, waits for the news first.
    async fn open(&self, peer: &Party, signed: &wire::Signed) -> Result<(Arc<Seen>, Opened), Unanswered> {
        let mut seen = self.view.seen();
        if seen.directory().founding().is_none() {
            return Err(Unanswered::DirectoryMissing);
        }
        let mut opened = question::open(seen.directory(), signed, peer, &self.me, self.clock.now_ms());
        if matches!(&opened, Err(refusal) if matches!(refusal.code, Code::KeyUnknown | Code::DepartmentUnknown))
            && let Ok(claimed) = envelope::peek::<wire::Request>(signed, LARGEST_REQUEST)
            && claimed.directory_size > seen.size()
        {
            seen = self.catch_up(claimed.directory_size).await;
            opened = question::open(seen.directory(), signed, peer, &self.me, self.clock.now_ms());
        }
        Ok((seen, opened))
    }

    async fn catch_up(&self, size: u64) -> Arc<Seen> {
        // Few may wait: the size is the asker's word, and nobody holds up everybody with it.
        if let Ok(_waiting) = self.waiting.try_acquire() {
            // Where it does not come in time the decision is made on what is here.
            let _ = tokio::time::timeout(CATCH_UP, self.view.reached(size)).await;
        }
        self.view.seen()
    }

    /// What must hold before anybody decides: the time window, the view, and one directory for both sides.
    fn check(&self, seen: &Seen, question: &Question, now_ms: u64) -> Result<(), Refusal> {
        question.check_time(seen.directory().profile(), now_ms)?;
        self.view.check_usable(now_ms)?;
        let size = question.wire.directory_size;
        if self.view.root_at(size).is_some_and(|root| root.as_bytes() != question.wire.directory_root.as_slice()) {
            let root = question.wire.directory_root.as_slice();
            self.view.note_divergence(question.sender.department(), size, Some(root), now_ms);
            return Err(Refusal::new(Code::DirectoryDiverges).at("directory_root"));
        }
        Ok(())
    }

    /// Answers a known question again.
    async fn again(
        &self,
        seen: &Seen,
        question: &Question,
        digest: &Digest,
        signed: &wire::Signed,
        first_index: u64,
    ) -> Result<wire::Signed, Unanswered> {
        match self.stored(first_index, digest)? {
            Some(answer) => self.ours(seen, question, digest, signed, answer).await,
            None => {
                let refusal = Refusal::new(Code::RequestIdReused).at("request_id");
                self.refuse(seen, question, digest, signed, refusal, None).await
            }
        }
    }

    /// The stored answer to a known question; `None` where it came with other bytes under the same id.
    fn stored(&self, first_index: u64, digest: &Digest) -> Result<Option<wire::Signed>, Unanswered> {
        let question = self.journal.entry(first_index)?.ok_or(Unanswered::StoredAnswerUnreadable)?;
        if question.entry.envelope != *digest {
            return Ok(None);
        }
        let answer = self.journal.entry(first_index + 1)?.ok_or(Unanswered::StoredAnswerUnreadable)?;
        let message = answer.message.ok_or(Unanswered::StoredAnswerUnreadable)?;
        self.counts.repeated.fetch_add(1, Ordering::Relaxed);
        let answer = wire::Signed::decode(message.as_slice()).map_err(|_| Unanswered::StoredAnswerUnreadable)?;
        Ok(Some(answer))
    }
}

impl std::fmt::Debug for Answerer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Answerer").field("me", &self.me).field("counts", &self.counts).finish_non_exhaustive()
    }
}

/// How many refusals of one consumer are logged in a second.
const LOGGED_PER_SECOND: u32 = 5;

/// How many questions at once may wait for directory news.
const MOST_WAITING: usize = 32;

/// When to try again after `OVERLOADED`.
const OVERLOAD_PAUSE_MS: u64 = 1000;

fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
