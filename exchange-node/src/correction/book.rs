//! The book of corrections on both sides, kept as rows beside the duties: what this department opened, what others opened here,
//! and which answers took another's place. Rows hold places in the evidence and nobody's number. Shared with whoever shows
//! answers (`export`, `answer`). Out of scope: what is done (the other files).

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};
use trust::{evidence::Receipt, ids::Digest};

use super::Step;
use crate::{
    duty::{self, Change, Duties, Duty, What},
    successors::Follows,
};

/// The names of the rows in the due-list.
const OPENED: &str = "correction_opened";
const RECEIVED: &str = "correction_received";
const CORRECTED: &str = "corrected";

/// A question: the place of its entry, and which question of the batch there.
pub(super) type Of = (u64, Option<usize>);

/// How far a correction that this department opened has come.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OpenedState {
    /// The provider does not have it yet.
    #[default]
    Sending,
    /// The provider's clerk has it.
    Open,
    /// The provider does not look at it.
    Refused,
    /// The record was wrong.
    RecordWasWrong,
    /// The record is right.
    RecordIsRight,
}

impl OpenedState {
    /// The name in lists and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sending => "sending",
            Self::Open => "open",
            Self::Refused => "refused",
            Self::RecordWasWrong => "record_was_wrong",
            Self::RecordIsRight => "record_is_right",
        }
    }

    /// Whether a decision is awaited; meanwhile the applicant's paper is accepted.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Sending | Self::Open)
    }
}

/// A correction that this department opened.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Opened {
    /// Its place in the evidence.
    pub entry: u64,
    /// Its digest, 64 hex digits.
    pub digest: String,
    /// The place of the question.
    pub question: u64,
    /// The receipt of the doubted answer.
    pub receipt: String,
    /// The provider, `<exchange>/<department>`.
    pub provider: String,
    /// Its node that answered.
    pub provider_node: String,
    /// The service.
    pub service: String,
    /// Its major version.
    pub major: u32,
    /// Why the answer is doubted.
    pub reason: String,
    /// The officer.
    pub officer: String,
    /// When, Unix milliseconds.
    pub opened_ms: u64,
    /// How far it has come.
    pub state: OpenedState,
    /// When a decision is due, Unix milliseconds.
    pub due_ms: u64,
    /// What the provider's officer found.
    pub decision_reason: String,
    /// When, Unix milliseconds.
    pub decided_ms: u64,
    /// The place of the provider's last word.
    pub reply: Option<u64>,
    /// The place of the answer that took the doubted one's place.
    pub corrected: Option<u64>,
}

/// How far a correction that another department opened has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceivedState {
    /// Waits for a person.
    Open,
    /// Waits for a second officer.
    Proposed,
    /// The record was wrong.
    RecordWasWrong,
    /// The record is right.
    RecordIsRight,
}

impl ReceivedState {
    /// The name in lists and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Proposed => "proposed",
            Self::RecordWasWrong => "record_was_wrong",
            Self::RecordIsRight => "record_is_right",
        }
    }
}

/// What an officer found.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Found {
    /// Whether the record was wrong.
    pub record_was_wrong: bool,
    /// Why.
    pub reason: String,
    /// The officer.
    pub officer: String,
    /// Whether it was wrong although the question gets the same answer.
    pub although_unchanged: bool,
}

/// A correction that another department opened.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Received {
    /// Its place in the evidence; what was said of it at once is the next one.
    pub entry: u64,
    /// Its digest, 64 hex digits.
    pub digest: String,
    /// The random id it bears, 64 hex digits.
    pub random_id: String,
    /// The department that opened it, `<exchange>/<department>`.
    pub consumer: String,
    /// Its node.
    pub consumer_node: String,
    /// The place of the question.
    pub question: u64,
    /// The doubted answer's digest, 64 hex digits.
    pub answer: String,
    /// The service.
    pub service: String,
    /// Its major version.
    pub major: u32,
    /// Since when, Unix milliseconds.
    pub since_ms: u64,
    /// When it is due, Unix milliseconds.
    pub due_ms: u64,
    /// What the first of two officers found.
    pub proposal: Option<Found>,
    /// What was found.
    pub found: Option<Found>,
    /// The place of the decision.
    pub decision: Option<u64>,
    /// The decision's digest, 64 hex digits.
    pub decision_digest: String,
    /// When it was made, Unix milliseconds.
    pub decided_ms: u64,
    /// Whether the opener's node has it.
    pub delivered: bool,
    /// How many answers are affected.
    pub affected: u32,
    /// Whether the registry has recorded that it is overdue.
    pub overdue_recorded: bool,
}

impl Received {
    /// By what people name it.
    pub fn id(&self) -> &str {
        id_of(&self.digest)
    }

    /// How far it has come.
    pub fn state(&self) -> ReceivedState {
        match (&self.found, &self.proposal) {
            (Some(found), _) if found.record_was_wrong => ReceivedState::RecordWasWrong,
            (Some(_), _) => ReceivedState::RecordIsRight,
            (None, Some(_)) => ReceivedState::Proposed,
            (None, None) => ReceivedState::Open,
        }
    }
}

/// A question of another department whose answer was corrected.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(super) struct CorrectedRow {
    /// The question's place.
    pub(super) question: u64,
    /// Which question of the batch there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) item: Option<usize>,
    /// The request's digest, 64 hex digits.
    pub(super) request: String,
    /// The answers, in their order.
    pub(super) answers: Vec<GivenAnew>,
}

/// An answer that took another one's place.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(super) struct GivenAnew {
    /// The correction's entry.
    pub(super) correction: u64,
    /// The answer's place.
    pub(super) answer: u64,
    /// Whether the asking node has it.
    pub(super) delivered: bool,
}

#[derive(Default)]
struct Rows {
    opened: BTreeMap<u64, Opened>,
    received: BTreeMap<u64, Received>,
    corrected: BTreeMap<Of, CorrectedRow>,
    by_request: HashMap<String, Of>,
}

/// All of it.
pub struct Book {
    duties: Arc<Duties>,
    rows: Mutex<Rows>,
}

impl Book {
    /// Reads what the due-list keeps.
    ///
    /// # Errors
    /// A row cannot be read.
    pub fn open(duties: Arc<Duties>) -> Result<Self, duty::Error> {
        let mut rows = Rows::default();
        rows.opened.extend(duties.rows::<Opened>(OPENED)?.into_iter().map(|row| (row.entry, row)));
        rows.received.extend(duties.rows::<Received>(RECEIVED)?.into_iter().map(|row| (row.entry, row)));
        for row in duties.rows::<CorrectedRow>(CORRECTED)? {
            rows.by_request.insert(row.request.clone(), (row.question, row.item));
            rows.corrected.insert((row.question, row.item), row);
        }
        Ok(Self { duties, rows: Mutex::new(rows) })
    }

    /// Whether the answer of a receipt is doubted and the decision is awaited: then the applicant's paper is accepted. Any
    /// receipt of the same question will do, where `question` gives its place.
    pub fn open_for(&self, receipt: &Receipt, question: Option<u64>) -> Option<Opened> {
        let receipt = receipt.to_string();
        let rows = self.locked();
        let is_it = |row: &&Opened| row.receipt == receipt || Some(row.question) == question;
        rows.opened.values().rev().filter(|row| row.state.is_open()).find(is_it).cloned()
    }

    /// The places of the answers that took the place of the first ones to a question of another department, or to any question
    /// of its batch.
    pub fn answers(&self, question: u64) -> Vec<u64> {
        let rows = self.locked();
        let of_it = rows.corrected.range((question, None)..=(question, Some(usize::MAX)));
        of_it.flat_map(|(_, row)| &row.answers).map(|given| given.answer).collect()
    }

    /// How many of the answers that a correction affects were delivered.
    pub fn told(&self, correction: u64) -> u32 {
        let rows = self.locked();
        let given = rows.corrected.values().flat_map(|row| &row.answers);
        let delivered = given.filter(|given| given.correction == correction && given.delivered).count();
        u32::try_from(delivered).unwrap_or(u32::MAX)
    }

    /// What this department opened, the newest first.
    pub fn opened(&self) -> Vec<Opened> {
        self.locked().opened.values().rev().cloned().collect()
    }

    /// What others opened here, the one due first before the others.
    pub fn received(&self) -> Vec<Received> {
        let mut rows: Vec<Received> = self.locked().received.values().cloned().collect();
        rows.sort_by_key(|row| (row.due_ms, row.entry));
        rows
    }

    pub(super) fn opened_at(&self, entry: u64) -> Option<Opened> {
        self.locked().opened.get(&entry).cloned()
    }

    pub(super) fn opened_by(&self, is_it: impl Fn(&Opened) -> bool) -> Option<Opened> {
        self.locked().opened.values().rev().find(|row| is_it(row)).cloned()
    }

    pub(super) fn received_at(&self, entry: u64) -> Option<Received> {
        self.locked().received.get(&entry).cloned()
    }

    pub(super) fn received_by(&self, is_it: impl Fn(&Received) -> bool) -> Option<Received> {
        self.locked().received.values().rev().find(|row| is_it(row)).cloned()
    }

    /// How many a department has opened since then.
    pub(super) fn received_since(&self, consumer: &str, since_ms: u64) -> (usize, u64) {
        let rows = self.locked();
        let of_it = rows.received.values().filter(|row| row.consumer == consumer && row.since_ms >= since_ms);
        of_it.fold((0, u64::MAX), |(count, first), row| (count + 1, first.min(row.since_ms)))
    }

    pub(super) fn corrected(&self, question: Of) -> Option<CorrectedRow> {
        self.locked().corrected.get(&question).cloned()
    }

    pub(super) async fn keep_opened(&self, row: Opened, mut changes: Vec<Change>) -> Result<(), duty::Error> {
        changes.push(Change::row(OPENED, key(row.entry), &row));
        self.duties.commit(changes).await?;
        self.locked().opened.insert(row.entry, row);
        Ok(())
    }

    pub(super) async fn keep_received(&self, row: Received, mut changes: Vec<Change>) -> Result<(), duty::Error> {
        changes.push(Change::row(RECEIVED, key(row.entry), &row));
        self.duties.commit(changes).await?;
        self.locked().received.insert(row.entry, row);
        Ok(())
    }

    pub(super) async fn keep_corrected(&self, row: CorrectedRow) -> Result<(), duty::Error> {
        let of = (row.question, row.item);
        self.duties.commit(vec![Change::row(CORRECTED, key_of(of), &row)]).await?;
        let mut rows = self.locked();
        rows.by_request.insert(row.request.clone(), of);
        rows.corrected.insert(of, row);
        Ok(())
    }

    fn locked(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Follows for Book {
    fn answers(&self, question: u64) -> Vec<u64> {
        Self::answers(self, question)
    }

    fn later(&self, request: &Digest) -> Vec<u64> {
        let rows = self.locked();
        let row = rows.by_request.get(&request.to_string()).and_then(|of| rows.corrected.get(of));
        row.map(|row| row.answers.iter().map(|given| given.answer).collect()).unwrap_or_default()
    }
}

impl std::fmt::Debug for Book {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rows = self.locked();
        let mut shown = formatter.debug_struct("Book");
        shown.field("opened", &rows.opened.len()).field("received", &rows.received.len()).finish_non_exhaustive()
    }
}

/// The first 16 hex digits of a correction's digest: by what people name it.
pub(super) fn id_of(digest: &str) -> &str {
    digest.get(..16).unwrap_or(digest)
}

/// So that keys are in the order of the entries.
pub(super) fn key(entry: u64) -> String {
    format!("{entry:020}")
}

/// The same for questions, those of batches too.
fn key_of((question, item): Of) -> String {
    match item {
        None => key(question),
        Some(item) => format!("{}.{item:05}", key(question)),
    }
}

/// A duty about a correction.
pub(super) fn duty(step: Step, entry: u64, at_ms: u64) -> Change {
    let id = duty_id(step, entry);
    Change::Put(Duty { order: id.clone(), id, at_ms, what: What::Correction { step, entry, question: 0, item: None } })
}

/// That a question gets its new answer. Those of one question are done in the order of their corrections.
pub(super) fn tell(entry: u64, of: Of, at_ms: u64) -> Change {
    let (question, item) = of;
    Change::Put(Duty {
        id: format!("correction-tell/{}/{}", key_of(of), key(entry)),
        order: format!("corrected/{}", key_of(of)),
        at_ms,
        what: What::Correction { step: Step::Tell, entry, question, item },
    })
}

pub(super) fn duty_id(step: Step, entry: u64) -> String {
    let name = match step {
        Step::Send => "send",
        Step::Fetch => "fetch",
        Step::Conclude => "conclude",
        Step::Spread => "spread",
        Step::Tell => "tell",
        Step::Overdue => "overdue",
    };
    format!("correction-{name}/{}", key(entry))
}
