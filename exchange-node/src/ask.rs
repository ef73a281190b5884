//! The asking side of a question: find service, grant and address in the own view, decide at once, build and sign the
//! request, make it durable, send it, open the answer, make that durable, and hand the office a result with a receipt.
//!
//! **Invariants:** a question leaves only after it is in the evidence. An outage is `UNAVAILABLE`, never a mismatch.
//! Whatever became of a question is in the evidence too, at the latest when the node starts again.
//!
//! Out of scope: who may speak for an office (`office_edge`), connections (`peers`).

mod idempotency;
mod request;
mod show;

use std::{
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use host::{
    clock::Clock,
    random::{self, Random},
};
use prost::Message;
use proto::exchange::v1::{self as wire, EntryKind, answer::Outcome as Answered, outcome::What};
use tokio::{sync::Semaphore, time::Instant};
use trust::{
    answer::{self, AnswerError},
    claim::Verdict,
    decision::decide,
    directory::model::Node,
    envelope::{self, EnvelopeError},
    evidence::Receipt,
    ids::{Digest, NodeId, Party},
    key::Signer,
    question::Question,
    refusal::{Code, Refusal},
};

use self::idempotency::Idempotency;
pub use self::{request::OfficeQuestion, show::NotFound};
use crate::{
    config::Limits,
    journal::{Commit, Committed, Journal, JournalError, NewEntry},
    peers::{Peers, SendFailure},
    view::View,
};

/// The shortest time that a question waits for its answer, where the office does not say otherwise.
const SHORTEST_WAIT: Duration = Duration::from_secs(2);

/// The longest time that a question waits for its answer.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// How much longer than the wait a question is valid, so that one under way is still answered.
const VALID_BEYOND_WAIT: Duration = Duration::from_secs(30);

/// The first pause before a question is sent again; each is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// The longest pause before a question is sent again.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How long to wait for directory news that the answering side has seen.
const CATCH_UP: Duration = Duration::from_secs(2);

/// How many of the newest records are looked through for questions that a crash interrupted. More than can be under way.
const INTERRUPTED_WITHIN: usize = 8192;

/// For how long an idempotency key is known.
const KEYS_KNOWN: Duration = Duration::from_secs(24 * 3600);

/// How many idempotency keys are read back when the node starts.
const MOST_READ_BACK: usize = 200_000;

/// Carries a signed question to one of a department's nodes, and its answer back.
pub trait Courier: Send + Sync {
    /// Sends the exact bytes once; whoever calls tries again.
    fn verify<'a>(
        &'a self,
        nodes: &'a [Node],
        request: &'a wire::Signed,
        limit: Duration,
    ) -> BoxFuture<'a, Result<wire::Signed, SendFailure>>;
}

impl Courier for Peers {
    fn verify<'a>(
        &'a self,
        nodes: &'a [Node],
        request: &'a wire::Signed,
        limit: Duration,
    ) -> BoxFuture<'a, Result<wire::Signed, SendFailure>> {
        Box::pin(self.verify(nodes, request, limit))
    }
}

/// Our own failure: nothing was asked, or nothing is known of what became of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Too little disk to record anything, so nothing was asked.
    #[error("too little disk is free to record anything, so nothing was asked: free some (`doctor` shows how much)")]
    DiskFull,
    /// Evidence could not be made durable or read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A stored message cannot be read.
    #[error("the stored question or answer cannot be read")]
    StoredUnreadable,
}

/// How a verification ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Ending {
    /// Every claim has a verdict.
    Answered {
        /// The verdicts, in the order of the claims.
        verdicts: Vec<wire::ClaimVerdict>,
        /// The day of the record; may be empty.
        record_as_of: String,
    },
    /// An answer will follow.
    Deferred(wire::Deferral),
    /// Refused, by this node or the other.
    Refused {
        /// Why, and what next.
        refusal: wire::Refusal,
        /// The department that refused; `None` for this node.
        by: Option<String>,
    },
    /// No valid answer came.
    Unanswered {
        /// The stable reason.
        reason: String,
        /// `UNAVAILABLE` for each claim.
        verdicts: Vec<wire::ClaimVerdict>,
    },
}

/// The result of a verification.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// How it ended.
    pub ending: Ending,
    /// Finds the evidence again.
    pub receipt: Receipt,
    /// The request's identity; `None` where none was made.
    pub request_digest: Option<Digest>,
    /// The department asked, `<exchange>/<department>`.
    pub provider: String,
    /// The service asked.
    pub service: String,
    /// When, Unix milliseconds.
    pub asked_at_ms: u64,
    /// How long it took.
    pub elapsed: Duration,
    /// The case number.
    pub case_number: String,
    /// The public service item.
    pub item: String,
    /// The officer.
    pub officer: String,
}

/// What an asker is made of.
pub struct AskerParts {
    /// The department.
    pub me: Party,
    /// The node.
    pub node: NodeId,
    /// Signs questions and outcomes: the node's key.
    pub signer: Arc<dyn Signer>,
    /// The directory.
    pub view: Arc<View>,
    /// The evidence.
    pub journal: Arc<dyn Journal>,
    /// The way to other nodes.
    pub courier: Arc<dyn Courier>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness for ids.
    pub random: Arc<dyn Random>,
    /// Bounds.
    pub limits: Limits,
}

/// Asks other departments for this department's offices.
pub struct Asker {
    me: Party,
    node: NodeId,
    signer: Arc<dyn Signer>,
    view: Arc<View>,
    journal: Arc<dyn Journal>,
    courier: Arc<dyn Courier>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    questions: Semaphore,
    disk_low: AtomicBool,
    keys: Idempotency,
}

/// A request that was signed and recorded.
struct Sent {
    question: Question,
    digest: Digest,
    signed: wire::Signed,
    /// The index of its entry.
    index: u64,
    wait: Duration,
}

impl Asker {
    /// Makes the asking side.
    pub fn new(parts: AskerParts) -> Result<Self, JournalError> {
        let AskerParts { me, node, signer, view, journal, courier, clock, random, limits } = parts;
        let keys = Idempotency::new(KEYS_KNOWN);
        let since_ms = clock.now_ms().saturating_sub(KEYS_KNOWN.as_millis().try_into().unwrap_or(u64::MAX));
        for head in journal.tail(since_ms, MOST_READ_BACK)? {
            if let Some(key) = head.idempotency.filter(|_| head.kinds.contains(&EntryKind::AnswerReceived)) {
                keys.remember(key, head.first_index, head.at_ms);
            }
        }
        Ok(Self {
            me,
            node,
            signer,
            view,
            journal,
            courier,
            clock,
            random,
            questions: Semaphore::new(limits.questions_at_once),
            disk_low: AtomicBool::new(false),
            keys,
        })
    }

    /// Records an outcome for every question that a crash interrupted. Run once, before anything is asked.
    pub async fn close_interrupted(&self) -> Result<usize, Error> {
        let heads = self.journal.tail(0, INTERRUPTED_WITHIN)?;
        let about: std::collections::HashSet<u64> = heads.iter().filter_map(|head| head.about).collect();
        let mut closed = 0;
        for head in &heads {
            let interrupted = (head.first_index..)
                .zip(head.kinds.iter().zip(&head.digests))
                .find(|(index, (kind, _))| **kind == EntryKind::QuestionSent && !about.contains(index));
            if let Some((index, (_, digest))) = interrupted {
                self.record_unanswered(index, digest, INTERRUPTED).await?;
                closed += 1;
            }
        }
        Ok(closed)
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
            *answered = Some(asked.receipt.index());
        }
        Ok(asked)
    }

    async fn ask_anew(&self, office: &OfficeQuestion, key: Option<[u8; 16]>) -> Result<Asked, Error> {
        let started = Instant::now();
        let Ok(_asking) = self.questions.try_acquire() else {
            return self.refuse(office, Refusal::new(Code::Overloaded)).await;
        };
        let sent = match self.prepare(office) {
            Ok((question, wait)) => self.record_question(question, wait, key).await?,
            Err(refusal) => return self.refuse(office, refusal).await,
        };
        let trace = sent.question.wire.trace.as_str();
        tracing::debug!(trace, provider = %sent.question.recipient, service = %sent.question.service, "asking");
        let (ending, receipt) = match self.send(&sent).await {
            Ok((signed, answer)) => {
                let entry = NewEntry {
                    kind: EntryKind::AnswerReceived,
                    digest: answer.digest,
                    message: signed.encode_to_vec(),
                };
                let committed = self.commit(vec![entry], Some(sent.index), key).await?;
                (ending_of(answer.wire), last(&committed)?)
            }
            Err(reason) => {
                tracing::info!(trace, provider = %sent.question.recipient, reason, "unanswered");
                let receipt = self.record_unanswered(sent.index, &sent.digest, &reason).await?;
                (unanswered(&sent.question.wire.claims, &reason), receipt)
            }
        };
        Ok(Asked {
            ending,
            receipt,
            request_digest: Some(sent.digest),
            provider: sent.question.wire.recipient,
            service: sent.question.wire.service,
            asked_at_ms: sent.question.issued_at_ms,
            elapsed: started.elapsed(),
            case_number: office.case_number.clone(),
            item: office.item().to_owned(),
            officer: office.officer.clone(),
        })
    }

    /// Builds the request and decides on it with the same function that the other side will use.
    fn prepare(&self, office: &OfficeQuestion) -> Result<(Question, Duration), Refusal> {
        let now_ms = self.clock.now_ms();
        self.view.check_usable(now_ms)?;
        let seen = self.view.seen();
        let directory = seen.directory();
        let target = office.target(directory, now_ms)?;
        let recipient = Party::new(self.me.exchange().clone(), target.department.clone());
        let service = directory.service(&target);
        let wait = match (office.timeout_ms, service.map_or(0, |service| service.published.time_to_answer_ms)) {
            (0, usual_ms) => Duration::from_millis(usual_ms.into()).max(SHORTEST_WAIT),
            (wished_ms, _) => Duration::from_millis(wished_ms.into()),
        }
        .min(LONGEST_WAIT);
        let longest_ms = directory.founding().map_or(0, |founding| founding.profile.request_validity_ms);
        let valid_ms = u64::try_from((wait + VALID_BEYOND_WAIT).as_millis()).unwrap_or(u64::MAX).min(longest_ms);
        let mut request = wire::Request {
            wire_version: trust::directory::WIRE_VERSION,
            exchange_id: self.me.exchange().to_string(),
            request_id: random::array::<32>(self.random.as_ref()).to_vec(),
            sender: self.me.to_string(),
            sender_node: self.node.to_string(),
            recipient: recipient.to_string(),
            service: target.service.to_string(),
            service_version: target.major,
            issued_at_ms: now_ms,
            expires_at_ms: now_ms.saturating_add(valid_ms),
            directory_size: seen.size(),
            directory_root: seen.root().as_bytes().to_vec(),
            trace: match &office.trace {
                Some(trace) => trace.clone(),
                None => data_encoding::HEXLOWER.encode(&random::array::<8>(self.random.as_ref())),
            },
            ..office.body()
        };
        request::make_canonical(&mut request, service);
        request::fill_purpose(&mut request, directory, &self.me, service);
        let mut question = Question::read(request)?;
        let permit = decide(directory, &question, now_ms)?;
        question.wire.grant = permit.grant.as_bytes().to_vec();
        if question.wire.encoded_len() > trust::question::LARGEST_REQUEST {
            return Err(Refusal::new(Code::MessageTooLarge));
        }
        if directory.nodes_of(&target.department).next().is_none() {
            return Err(Refusal::new(Code::ProviderUnreachable).at("provider"));
        }
        Ok((question, wait))
    }

    /// Signs the request and makes it durable. Only then may it leave.
    async fn record_question(
        &self,
        question: Question,
        wait: Duration,
        key: Option<[u8; 16]>,
    ) -> Result<Sent, Error> {
        let (sealed, digest) = envelope::seal(&question.wire, self.signer.as_ref());
        let signed = envelope::signed(sealed);
        let entry = NewEntry { kind: EntryKind::QuestionSent, digest, message: signed.encode_to_vec() };
        let committed = self.commit(vec![entry], None, key).await?;
        Ok(Sent { question, digest, signed, index: committed.first_index, wait })
    }

    /// Sends the same bytes until an answer comes or the time is over.
    async fn send(&self, sent: &Sent) -> Result<(wire::Signed, answer::Answer), String> {
        let deadline = Instant::now() + sent.wait;
        let mut pause = FIRST_PAUSE;
        loop {
            let provider = sent.question.recipient.department();
            let nodes: Vec<Node> = self.view.seen().directory().nodes_of(provider).cloned().collect();
            let left = deadline.saturating_duration_since(Instant::now());
            let failure = match self.courier.verify(&nodes, &sent.signed, left).await {
                Ok(signed) => return self.open(sent, signed).await,
                Err(failure) => failure,
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if failure == SendFailure::Rejected || left <= pause {
                return Err(failure.as_str().to_owned());
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn open(&self, sent: &Sent, signed: wire::Signed) -> Result<(wire::Signed, answer::Answer), String> {
        let open = || {
            let seen = self.view.seen();
            let now_ms = self.clock.now_ms();
            let root_at = |size| self.view.root_at(size);
            answer::open(seen.directory(), &signed, &sent.question, &sent.digest, now_ms, root_at)
        };
        let mut opened = open();
        if matches!(opened, Err(AnswerError::Envelope(EnvelopeError::KeyUnknown)))
            && let Ok(claimed) = envelope::peek::<wire::Answer>(&signed, answer::LARGEST_ANSWER)
            && claimed.directory_size > self.view.seen().size()
        {
            // The other side has read on: its new key may be in what this node has yet to get.
            let _ = tokio::time::timeout(CATCH_UP, self.view.reached(claimed.directory_size)).await;
            opened = open();
        }
        match opened {
            Ok(answer) => Ok((signed, answer)),
            Err(error) => {
                if matches!(error, AnswerError::DirectoryDiverges) {
                    let size = self.view.seen().size();
                    self.view.note_divergence(&sent.question.wire.recipient, size, self.clock.now_ms());
                }
                Err(format!("answer_invalid: {error}"))
            }
        }
    }

    /// The node itself refuses to ask. That is an outcome, and stands in the evidence.
    async fn refuse(&self, office: &OfficeQuestion, refusal: Refusal) -> Result<Asked, Error> {
        let at_ms = self.clock.now_ms();
        tracing::info!(code = refusal.code.as_str(), field = refusal.field, system = office.system, "refused to ask");
        let refusal = refusal.to_wire();
        let receipt = self.record_outcome(at_ms, None, None, What::Refused(refusal.clone())).await?;
        Ok(Asked {
            ending: Ending::Refused { refusal, by: None },
            receipt,
            request_digest: None,
            provider: request::name(&format!("{}/{}", self.me.exchange(), office.provider)),
            service: request::name(&office.service),
            asked_at_ms: at_ms,
            elapsed: Duration::ZERO,
            case_number: office.case_number.clone(),
            item: office.item().to_owned(),
            officer: office.officer.clone(),
        })
    }

    async fn record_unanswered(&self, index: u64, digest: &Digest, reason: &str) -> Result<Receipt, Error> {
        let what = What::Unanswered(reason.to_owned());
        self.record_outcome(self.clock.now_ms(), Some(index), Some(digest), what).await
    }

    async fn record_outcome(
        &self,
        at_ms: u64,
        about: Option<u64>,
        digest: Option<&Digest>,
        what: What,
    ) -> Result<Receipt, Error> {
        let outcome = wire::Outcome {
            exchange_id: self.me.exchange().to_string(),
            sender: self.me.to_string(),
            request_digest: digest.map(|digest| digest.as_bytes().to_vec()).unwrap_or_default(),
            at_ms,
            what: Some(what),
        };
        let (sealed, digest) = envelope::seal(&outcome, self.signer.as_ref());
        let message = envelope::signed(sealed).encode_to_vec();
        let entry = NewEntry { kind: EntryKind::Outcome, digest, message };
        last(&self.commit(vec![entry], about, None).await?)
    }

    async fn commit(
        &self,
        entries: Vec<NewEntry>,
        about: Option<u64>,
        idempotency: Option<[u8; 16]>,
    ) -> Result<Committed, Error> {
        let commit = Commit { at_ms: self.clock.now_ms(), entries, about, request: None, idempotency };
        Ok(self.journal.commit(commit).await?)
    }
}

impl std::fmt::Debug for Asker {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Asker").field("me", &self.me).finish_non_exhaustive()
    }
}

fn last(committed: &Committed) -> Result<Receipt, Error> {
    committed.receipts.last().copied().ok_or(Error::StoredUnreadable)
}

fn ending_of(answer: wire::Answer) -> Ending {
    match answer.outcome {
        Some(Answered::Verdicts(verdicts)) => {
            Ending::Answered { verdicts: verdicts.verdicts, record_as_of: verdicts.record_as_of }
        }
        Some(Answered::Refusal(refusal)) => Ending::Refused { refusal, by: Some(answer.sender) },
        Some(Answered::Deferral(deferral)) => Ending::Deferred(deferral),
        // An opened answer has an outcome.
        None => Ending::Unanswered { reason: "answer_invalid".to_owned(), verdicts: Vec::new() },
    }
}

fn unanswered(claims: &[wire::Claim], reason: &str) -> Ending {
    let verdicts = claims
        .iter()
        .map(|claim| wire::ClaimVerdict {
            attribute: claim.attribute.clone(),
            operator: claim.operator.clone(),
            verdict: Verdict::Unavailable.to_proto().into(),
            by_absence: false,
            disclosed: None,
            reason: reason.to_owned(),
        })
        .collect();
    Ending::Unanswered { reason: reason.to_owned(), verdicts }
}

/// The stable reason of a question that a crash interrupted.
const INTERRUPTED: &str = "interrupted";

/// The longest idempotency key, in bytes.
const LONGEST_KEY: usize = 64;

fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
