//! The answering side of a question: open, look the id up, check the time, decide, take from the quota, look the record
//! up, evaluate, sign, make durable, and only then answer. Every refusal takes the same way out.
//!
//! **Invariant:** nothing leaves unrecorded. If question and answer cannot be made durable, no answer is given, and the
//! asker gets a bare status that says nothing.
//!
//! Out of scope: connections and who they belong to (`peer_edge`), what a decision is (`trust::decision`), where records
//! live (`records`).

mod known;
mod quota;

use std::{
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use host::clock::Clock;
use jiff::civil::Date;
use prost::Message;
use proto::exchange::v1::{self as wire, EntryKind, answer::Outcome};
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use trust::{
    claim::{ClaimOutcome, Reason, evaluate},
    decision::{Permit, decide},
    directory::WIRE_VERSION,
    envelope,
    ids::{Digest, NodeId, Party},
    key::Signer,
    question::{self, LARGEST_REQUEST, Question},
    refusal::{Code, Refusal},
};

use self::{
    known::{Begin, KnownQuestions, Turn},
    quota::{PerSecond, Quotas},
};
use crate::{
    config::Limits,
    journal::{Commit, Journal, JournalError, NewEntry, RequestMark},
    records::{Lookup, RecordSource, calendar_day},
    view::{Seen, View},
};

/// How long answered questions are remembered, so that a retry gets the stored answer.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);

/// How many answered questions are read back when the node starts.
const MOST_READ_BACK: usize = 500_000;

/// How long a question may wait for directory news that its asker has seen and this node has not.
const CATCH_UP: Duration = Duration::from_secs(2);

/// The longest a record is looked up, where the service promises no time.
const USUAL_LOOKUP: Duration = Duration::from_secs(5);

/// A question that opened none and is larger than this is not kept itself, only its refusal.
const LARGEST_KEPT: usize = LARGEST_REQUEST + 4096;

/// Why no signed answer was given. The edge makes a bare status of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unanswered {
    /// Too little disk to record anything.
    #[error("too little disk is free to record anything")]
    DiskFull,
    /// This node has read no directory yet, so it knows nobody.
    #[error("this node has not read the directory yet")]
    DirectoryMissing,
    /// Evidence could not be made durable or read.
    #[error(transparent)]
    Journal(#[from] JournalError),
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
    signer: Arc<dyn Signer>,
    view: Arc<View>,
    journal: Arc<dyn Journal>,
    records: Arc<dyn RecordSource>,
    clock: Arc<dyn Clock>,
    known: KnownQuestions,
    quotas: Quotas,
    unopened: PerSecond,
    logged: PerSecond,
    answers: Semaphore,
    /// Refusing for overload costs as much as answering; beyond this many nothing is signed any more.
    refusals: Semaphore,
    disk_low: AtomicBool,
    counts: Counts,
}

/// What an answerer is made of.
pub struct AnswererParts {
    /// The department.
    pub me: Party,
    /// The node.
    pub node: NodeId,
    /// Signs answers: the node's key.
    pub signer: Arc<dyn Signer>,
    /// The directory.
    pub view: Arc<View>,
    /// The evidence.
    pub journal: Arc<dyn Journal>,
    /// The records.
    pub records: Arc<dyn RecordSource>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Bounds.
    pub limits: Limits,
}

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
    /// Makes the answering side and remembers what was answered before.
    pub fn new(parts: AnswererParts) -> Result<Self, JournalError> {
        let AnswererParts { me, node, signer, view, journal, records, clock, limits } = parts;
        let known = KnownQuestions::new(REMEMBERED);
        let since_ms = clock.now_ms().saturating_sub(REMEMBERED.as_millis().try_into().unwrap_or(u64::MAX));
        for head in journal.tail(since_ms, MOST_READ_BACK)? {
            if let Some(mark) = head.request {
                known.remember(&mark.key, head.first_index, head.at_ms);
            }
        }
        Ok(Self {
            me,
            node,
            signer,
            view,
            journal,
            records,
            clock,
            known,
            quotas: Quotas::default(),
            unopened: PerSecond::new(limits.unopened_per_second),
            logged: PerSecond::new(LOGGED_PER_SECOND),
            answers: Semaphore::new(limits.answers_at_once),
            refusals: Semaphore::new(limits.answers_at_once),
            disk_low: AtomicBool::new(false),
            counts: Counts::default(),
        })
    }

    /// Says whether there is too little disk to go on.
    pub fn set_disk_low(&self, low: bool) {
        self.disk_low.store(low, Ordering::Release);
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
        let turn = loop {
            match self.known.begin(&key) {
                Begin::Mine(turn) => break turn,
                Begin::InFlight(ended) => drop(ended.await),
                Begin::Stored(first_index) => match self.stored(first_index, &digest)? {
                    Some(answer) => return Ok(answer),
                    None => {
                        let refusal = Refusal::new(Code::RequestIdReused).at("request_id");
                        return self.refuse(&seen, &question, &digest, &signed, refusal, None).await;
                    }
                },
            }
        };
        if answering.is_none() {
            let retry_at_ms = self.clock.now_ms() + OVERLOAD_PAUSE_MS;
            let refusal = Refusal::new(Code::Overloaded).retry_at(retry_at_ms);
            return self.refuse(&seen, &question, &digest, &signed, refusal, None).await;
        }
        self.answer_new(seen, &question, &digest, &signed, turn).await
    }

    async fn answer_new(
        &self,
        mut seen: Arc<Seen>,
        question: &Question,
        digest: &Digest,
        signed: &wire::Signed,
        turn: Turn<'_>,
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
        if let Err(refusal) = self.quotas.take(&permit.grant, permit.quota, now_ms) {
            return self.refuse(&seen, question, digest, signed, refusal, Some(turn)).await;
        }
        let outcome = Outcome::Verdicts(self.evaluate(&permit, question, now_ms).await);
        let grant = permit.grant;
        let answer = self.build(&seen, &question.wire, &question.wire.sender, digest.as_bytes().to_vec(), outcome);
        let answer = wire::Answer { grant: grant.as_bytes().to_vec(), ..answer };
        self.counts.answered.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(trace = question.wire.trace, service = %question.service, "answered");
        self.commit(signed, Some(*digest), &answer, Some(turn)).await
    }

    /// Opens a question; where the asker has seen more of the directory than this node, waits for the news first.
    #[allow(clippy::type_complexity)]
    async fn open(
        &self,
        peer: &Party,
        signed: &wire::Signed,
    ) -> Result<(Arc<Seen>, Result<(Question, Digest), Refusal>), Unanswered> {
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
        // Where it does not come in time the decision is made on what is here.
        let _ = tokio::time::timeout(CATCH_UP, self.view.reached(size)).await;
        self.view.seen()
    }

    /// What must hold before anybody decides: the time window, the view, and one directory for both sides.
    fn check(&self, seen: &Seen, question: &Question, now_ms: u64) -> Result<(), Refusal> {
        if let Some(founding) = seen.directory().founding() {
            question.check_time(&founding.profile, now_ms)?;
        }
        self.view.check_usable(now_ms)?;
        let size = question.wire.directory_size;
        if self.view.root_at(size).is_some_and(|root| root.as_bytes() != question.wire.directory_root.as_slice()) {
            self.view.note_divergence(&question.sender.to_string(), size, now_ms);
            return Err(Refusal::new(Code::DirectoryDiverges).at("directory_root"));
        }
        Ok(())
    }

    async fn evaluate(&self, permit: &Permit<'_>, question: &Question, now_ms: u64) -> wire::Verdicts {
        let today = calendar_day(now_ms);
        let limit = match permit.service.published.time_to_answer_ms {
            0 => USUAL_LOOKUP,
            limit_ms => Duration::from_millis(limit_ms.into()),
        };
        let lookup = self.records.lookup(permit.service, &permit.subject, &permit.inputs);
        let found = tokio::time::timeout(limit, lookup).await.unwrap_or(Lookup::Failed("it took too long".to_owned()));
        let (rows, as_of) = match found {
            Lookup::Rows { rows, as_of } => (rows, as_of),
            Lookup::NotImported => return unavailable(permit, Reason::NotImported),
            Lookup::Quarantined => return unavailable(permit, Reason::Quarantined),
            Lookup::Failed(reason) => {
                if self.logged.take("records", now_ms) {
                    tracing::warn!(service = %permit.service.id, reason, "records cannot be looked up");
                }
                return unavailable(permit, Reason::SourceDown);
            }
        };
        let too_old = age_problem(question.wire.max_record_age_seconds, as_of, today);
        let verdicts = permit
            .claims
            .iter()
            .map(|claim| match (too_old, permit.service.attributes.get(claim.attribute())) {
                (None, Some(rule)) => evaluate(rule, claim, &rows, today).to_proto(claim),
                (Some(reason), _) => wire::ClaimVerdict {
                    reason: reason.to_owned(),
                    ..ClaimOutcome::unavailable(Reason::SourceDown).to_proto(claim)
                },
                (None, None) => ClaimOutcome::unavailable(Reason::NotComparable).to_proto(claim),
            })
            .collect();
        wire::Verdicts { verdicts, record_as_of: as_of.map(|day| day.to_string()).unwrap_or_default() }
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

    async fn refuse(
        &self,
        seen: &Seen,
        question: &Question,
        digest: &Digest,
        signed: &wire::Signed,
        refusal: Refusal,
        turn: Option<Turn<'_>>,
    ) -> Result<wire::Signed, Unanswered> {
        self.log_refusal(&refusal, &question.wire.sender, &question.wire.trace);
        let outcome = Outcome::Refusal(refusal.to_wire());
        let answer = self.build(seen, &question.wire, &question.wire.sender, digest.as_bytes().to_vec(), outcome);
        self.commit(signed, Some(*digest), &answer, turn).await
    }

    /// A question that did not open: nobody has vouched for it, so it is answered to whom the connection belongs to, and
    /// its id is not remembered, or anybody's broken copy could take the place of the right question.
    async fn refuse_unopened(
        &self,
        seen: &Seen,
        peer: &Party,
        signed: &wire::Signed,
        refusal: &Refusal,
    ) -> Result<wire::Signed, Unanswered> {
        if !self.unopened.take(peer.department().as_str(), self.clock.now_ms()) {
            return Err(Unanswered::TooMany);
        }
        self.log_refusal(refusal, &peer.to_string(), "");
        let claimed = envelope::peek::<wire::Request>(signed, LARGEST_REQUEST).unwrap_or_default();
        let digest = envelope::digest_of(signed).ok();
        let request_digest = digest.map(|digest| digest.as_bytes().to_vec()).unwrap_or_default();
        let answer = self.build(seen, &claimed, &peer.to_string(), request_digest, Outcome::Refusal(refusal.to_wire()));
        self.commit(signed, digest, &answer, None).await
    }

    fn build(
        &self,
        seen: &Seen,
        request: &wire::Request,
        recipient: &str,
        request_digest: Vec<u8>,
        outcome: Outcome,
    ) -> wire::Answer {
        let name = |text: &str| text.chars().take(64).collect::<String>();
        wire::Answer {
            wire_version: WIRE_VERSION,
            exchange_id: self.me.exchange().to_string(),
            request_digest,
            request_id: request.request_id.iter().take(32).copied().collect(),
            sender: self.me.to_string(),
            sender_node: self.node.to_string(),
            recipient: recipient.to_owned(),
            service: name(&request.service),
            service_version: request.service_version,
            number: 1,
            follows: Vec::new(),
            answered_at_ms: self.clock.now_ms(),
            directory_size: seen.size(),
            directory_root: seen.root().as_bytes().to_vec(),
            grant: Vec::new(),
            outcome: Some(outcome),
        }
    }

    /// Signs the answer, makes question and answer durable, and only then hands the answer out.
    async fn commit(
        &self,
        question: &wire::Signed,
        digest: Option<Digest>,
        answer: &wire::Answer,
        turn: Option<Turn<'_>>,
    ) -> Result<wire::Signed, Unanswered> {
        let (sealed, answer_digest) = envelope::seal(answer, self.signer.as_ref());
        let sealed = envelope::signed(sealed);
        let mut entries = Vec::with_capacity(2);
        if let Some(digest) = digest
            && question.encoded_len() <= LARGEST_KEPT
        {
            entries.push(NewEntry { kind: EntryKind::QuestionReceived, digest, message: question.encode_to_vec() });
        }
        entries.push(NewEntry { kind: EntryKind::AnswerGiven, digest: answer_digest, message: sealed.encode_to_vec() });
        let mark = turn.as_ref().zip(digest).filter(|_| entries.len() == 2);
        let request = mark.map(|(turn, digest)| RequestMark { key: *turn.key(), digest });
        let commit = Commit { at_ms: answer.answered_at_ms, entries, about: None, request, idempotency: None };
        let committed = self.journal.commit(commit).await?;
        if let Some(turn) = turn
            && request.is_some()
        {
            turn.answered(committed.first_index, answer.answered_at_ms);
        }
        Ok(sealed)
    }

    fn log_refusal(&self, refusal: &Refusal, consumer: &str, trace: &str) {
        self.counts.refused.fetch_add(1, Ordering::Relaxed);
        if self.logged.take(consumer, self.clock.now_ms()) {
            tracing::info!(code = refusal.code.as_str(), field = refusal.field, consumer, trace, "refused");
        }
    }
}

impl std::fmt::Debug for Answerer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Answerer").field("me", &self.me).field("counts", &self.counts).finish_non_exhaustive()
    }
}

/// By what a repeated question is known: SHA-256 of consumer, NUL and request id, cut to 16 bytes.
pub fn request_key(consumer: &Party, request_id: &[u8]) -> [u8; 16] {
    let mut hash = Sha256::new();
    hash.update(consumer.exchange().as_str());
    hash.update(b"/");
    hash.update(consumer.department().as_str());
    hash.update(b"\0");
    hash.update(request_id);
    let mut key = [0; 16];
    key.copy_from_slice(&hash.finalize()[..16]);
    key
}

fn unavailable(permit: &Permit<'_>, reason: Reason) -> wire::Verdicts {
    let verdicts = permit.claims.iter().map(|claim| ClaimOutcome::unavailable(reason).to_proto(claim)).collect();
    wire::Verdicts { verdicts, record_as_of: String::new() }
}

/// Why a record is not fresh enough for what was asked, as the reason of an `UNAVAILABLE`.
fn age_problem(most_seconds: u64, as_of: Option<Date>, today: Date) -> Option<&'static str> {
    if most_seconds == 0 {
        return None;
    }
    let Some(as_of) = as_of else { return Some("age_unknown") };
    let days = today.since(as_of).map_or(i64::MAX, |span| span.get_days().into());
    // A record of the same day is fresh whatever is asked; days is all that is known.
    let seconds = u64::try_from(days).unwrap_or(0).saturating_mul(24 * 3600);
    (seconds > most_seconds).then_some("too_old")
}

/// How many refusals of one consumer are logged in a second.
const LOGGED_PER_SECOND: u32 = 5;

/// When to try again after `OVERLOADED`.
const OVERLOAD_PAUSE_MS: u64 = 1000;

fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
