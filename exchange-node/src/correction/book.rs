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
    /// The provider has not taken it, or not decided it, for so long that nobody asks any longer.
    Unanswered,
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
            Self::Unanswered => "unanswered",
        }
    }

    /// Whether a word of the provider says something new; a decision does that also where nobody asks any longer.
    pub(super) fn is_news(self, decides: bool) -> bool {
        self == Self::Sending || decides && matches!(self, Self::Open | Self::Unanswered)
    }

    /// Whether a decision is awaited.
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

impl Opened {
    /// Whether the answer is doubted: until that is decided, and where the record was wrong until the corrected answer is there.
    /// Meanwhile the applicant's paper is accepted.
    pub fn doubts(&self) -> bool {
        self.state.is_open() || self.state == OpenedState::RecordWasWrong && self.corrected.is_none()
    }
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
    /// Held while a row is changed: what is said of it at the same moment waits.
    amending: tokio::sync::Mutex<()>,
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
        Ok(Self { duties, rows: Mutex::new(rows), amending: tokio::sync::Mutex::default() })
    }

    /// The correction by which the answer of a receipt is doubted. Any receipt of the same question will do, where `question` gives
    /// its place.
    pub fn open_for(&self, receipt: &Receipt, question: Option<u64>) -> Option<Opened> {
        let receipt = receipt.to_string();
        let rows = self.locked();
        let is_it = |row: &&Opened| row.receipt == receipt || Some(row.question) == question;
        rows.opened.values().rev().filter(|row| row.doubts()).find(is_it).cloned()
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
        let doubted = self.opened_at(row.entry).is_some_and(|known| known.doubts());
        if doubted != row.doubts() {
            changes.push(case_duty(&row));
        }
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

    /// Everyone who relied on the record is on the list, together with how many they are. What is said of the correction at the
    /// same moment, such as that its decision was delivered, is not forgotten.
    pub(super) async fn spread(&self, entry: u64, over: &[Of], at_ms: u64) -> Result<(), duty::Error> {
        let affected = u32::try_from(over.len()).unwrap_or(u32::MAX);
        let tells = over.iter().map(|of| tell(entry, *of, at_ms)).collect();
        self.amend_received(entry, tells, |row| row.affected = affected).await
    }

    /// The opener's node has the decision.
    pub(super) async fn delivered(&self, entry: u64) -> Result<(), duty::Error> {
        self.amend_received(entry, Vec::new(), |row| row.delivered = true).await
    }

    /// The registry has recorded that it is overdue.
    pub(super) async fn overdue_recorded(&self, entry: u64) -> Result<(), duty::Error> {
        self.amend_received(entry, Vec::new(), |row| row.overdue_recorded = true).await
    }

    /// Changes one thing of a row as it stands now.
    async fn amend_received(
        &self,
        entry: u64,
        changes: Vec<Change>,
        amend: impl FnOnce(&mut Received),
    ) -> Result<(), duty::Error> {
        let _turn = self.amending.lock().await;
        let Some(mut row) = self.received_at(entry) else { return Ok(()) };
        amend(&mut row);
        self.keep_received(row, changes).await
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

/// The case that the doubted answer was given for hears that it is doubted, and that it is no longer.
fn case_duty(row: &Opened) -> Change {
    let order = format!("case-doubted/{:020}", row.entry);
    // In the order of their names.
    let id = format!("{order}/{}", if row.doubts() { "1-open" } else { "2-over" });
    Change::Put(Duty { id, order, at_ms: row.opened_ms, what: What::CaseDoubted { entry: row.entry } })
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

#[cfg(test)]
mod tests {
    use host::clock::SystemClock;

    use super::{
        OpenedState::{Open, RecordIsRight, RecordWasWrong, Refused, Sending, Unanswered},
        *,
    };
    use crate::duty::tests::duties;

    #[tokio::test]
    async fn what_is_said_of_a_correction_while_the_list_of_whom_to_tell_is_written_is_not_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let list = duties(dir.path(), Arc::new(SystemClock));
        let book = Book::open(Arc::clone(&list)).unwrap();
        book.keep_received(Received { entry: 7, ..Received::default() }, Vec::new()).await.unwrap();
        // One of them and an item of a batch; each of the three waits for the disk.
        let over = [(3, None), (5, Some(1))];
        let (spread, delivered, overdue) =
            tokio::join!(book.spread(7, &over, 0), book.delivered(7), book.overdue_recorded(7));
        for said in [spread, delivered, overdue] {
            said.unwrap();
        }
        let kept = |book: &Book| {
            let row = book.received_at(7).unwrap();
            (row.affected, row.delivered, row.overdue_recorded)
        };
        assert_eq!(kept(&book), (2, true, true));
        assert_eq!(list.count(), 2, "each of them is to be told");
        list.close().await.unwrap();
        drop((book, list));
        let list = duties(dir.path(), Arc::new(SystemClock));
        assert_eq!((kept(&Book::open(Arc::clone(&list)).unwrap()), list.count()), ((2, true, true), 2));
        list.close().await.unwrap();
    }

    #[tokio::test]
    async fn answers_to_the_items_of_a_batch_are_kept_apart_and_found_by_the_batch_and_by_each_question() {
        let dir = tempfile::tempdir().unwrap();
        let list = duties(dir.path(), Arc::new(SystemClock));
        let book = Book::open(Arc::clone(&list)).unwrap();
        let digest = |number: u8| Digest::new([number; 32]);
        let row = |item: Option<usize>, request: u8, answer: u64| CorrectedRow {
            question: 5,
            item,
            request: digest(request).to_string(),
            answers: vec![GivenAnew { correction: 9, answer, delivered: false }],
        };
        for row in [row(Some(0), 1, 20), row(Some(1), 2, 21), CorrectedRow { question: 6, ..row(None, 3, 22) }] {
            book.keep_corrected(row).await.unwrap();
        }
        list.close().await.unwrap();
        drop((book, list));
        let list = duties(dir.path(), Arc::new(SystemClock));
        let book = Book::open(Arc::clone(&list)).unwrap();
        assert_eq!((book.answers(5), book.answers(6)), (vec![20, 21], vec![22]));
        assert_eq!([1, 2, 3, 4].map(|request| book.later(&digest(request))), [vec![20], vec![21], vec![22], vec![]]);
        assert_eq!(book.corrected((5, Some(1))).unwrap().answers[0].answer, 21);
        assert!(book.corrected((5, None)).is_none());
        list.close().await.unwrap();
    }

    #[tokio::test]
    async fn an_answer_is_doubted_until_the_record_is_right_or_the_corrected_answer_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let list = duties(dir.path(), Arc::new(SystemClock));
        let book = Book::open(Arc::clone(&list)).unwrap();
        let receipt: Receipt = "5-9f3a2c1e4b5d6a70".parse().unwrap();
        let sent = Opened { entry: 9, receipt: receipt.to_string(), ..Opened::default() };
        let said = |state, corrected| Opened { state, corrected, ..sent.clone() };
        for (row, is_doubted, told) in [
            (said(Sending, None), true, 1),
            (said(Open, None), true, 1),
            (said(RecordWasWrong, None), true, 1),
            (said(RecordWasWrong, Some(12)), false, 2),
            (Opened { entry: 10, ..said(Open, None) }, true, 3),
            (Opened { entry: 10, ..said(RecordIsRight, None) }, false, 4),
        ] {
            book.keep_opened(row.clone(), Vec::new()).await.unwrap();
            let found = (book.open_for(&receipt, None).is_some(), list.count());
            assert_eq!(found, (is_doubted, told), "the case is told when that changes: {row:?}");
        }
        list.close().await.unwrap();
    }

    #[test]
    fn a_decision_counts_once_and_also_after_it_was_given_up() {
        for (state, accepted, decided) in [
            (Sending, true, true),
            (Open, false, true),
            (Unanswered, false, true),
            (Refused, false, false),
            (RecordWasWrong, false, false),
            (RecordIsRight, false, false),
        ] {
            assert_eq!((state.is_news(false), state.is_news(true)), (accepted, decided), "{state:?}");
        }
        assert!(!Unanswered.is_open(), "then the paper is accepted no longer, and the answer may be doubted again");
    }
}
