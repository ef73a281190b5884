//! Corrections (校核): an office doubts an answer; the provider's clerk looks at the record again; whoever relied on a record
//! that was wrong is told by itself.
//!
//! **Invariants:** what is said stands in the evidence of whoever says it before it leaves, and of whoever hears it before it
//! counts there. A correction is opened once on either side, by its digest; only the department that was given an answer may
//! doubt it. Where a record was wrong each of those who relied on it gets the successor of its own answer, for its own claims,
//! decided on anew; every step is a duty (`duty`), so a crash delays it and loses nothing.
//!
//! ```text
//! open (asking side) → Send → [accepted: a clerk has it, by a due time] → decide → Conclude, and where a record was wrong
//!                                                                         Spread → Tell each question that relied on it
//! ```
//!
//! Out of scope: what may be said (`trust::correction`), and finding who asked about a subject (`subject_log`).

mod book;
mod clock;
mod decide;
mod edges;
mod find;
mod of_batch;
mod office;
mod open;
mod receive;
mod recover;
mod steps;
mod tell;

use std::sync::Arc;

use host::{clock::Clock, period::Period, random::Random};
use proto::exchange::v1::{self as wire, EntryKind};
use serde::{Deserialize, Serialize};
use trust::ids::{NodeId, Party};

pub use self::{
    book::{Book, Found, Opened, OpenedState, Received, ReceivedState},
    decide::Decided,
    edges::CorrectionsEdge,
    office::OfficeCorrections,
    open::NewCorrection,
};
pub(crate) use self::{
    find::{answers_to, by_digest},
    office::failed,
};
use crate::{
    answer::{Answerer, rate::PerSecond},
    ask::{self, Asker},
    duty::{self, Duties},
    events::EventBook,
    journal::{Journal, JournalError},
    keys::NodeSigner,
    logs::Logs,
    outbox::Outbox,
    parts::Parts,
    peers::Peers,
    subject_log::{self, SubjectLog},
    view::{RegistryLink, View},
};

/// What this department promises about corrections.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Within what time corrections are decided, where that is sooner than the authority's profile asks; 0s for the profile's
    /// working days.
    pub answer_within: Period,
    /// How many corrections one department may open in 24 hours.
    pub per_day: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { answer_within: Period::new(std::time::Duration::ZERO), per_day: 200 }
    }
}

/// What is done about a correction, as a duty.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The asking side sends it.
    Send,
    /// The asking side asks for a decision that has not come in time.
    Fetch,
    /// The answering side delivers the decision.
    Conclude,
    /// The answering side looks for everyone who relied on the record.
    Spread,
    /// The answering side answers one question anew and delivers that.
    Tell,
    /// The answering side states that no decision was made in time.
    Overdue,
}

/// Our own failure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The asking side failed.
    #[error(transparent)]
    Ask(#[from] ask::Error),
    /// The due-list failed.
    #[error(transparent)]
    Duty(#[from] duty::Error),
    /// A task ended by itself.
    #[error("it ended by itself: {0}")]
    Ended(#[from] tokio::task::JoinError),
    /// The evidence failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Who relied on an answer cannot be found.
    #[error(transparent)]
    SubjectLog(#[from] subject_log::Error),
    /// A stored message is not what it was.
    #[error("the stored question, answer or correction cannot be read")]
    StoredUnreadable,
    /// There is no such correction.
    #[error("there is no correction with this id: `corrections list` and `corrections inbox --all` show them")]
    Unknown,
    /// The record cannot be looked up now.
    #[error("the record cannot be looked up now")]
    RecordAway,
}

/// Corrections of a node, on both sides.
pub struct Corrections {
    me: Party,
    node: NodeId,
    settings: Settings,
    signer: Arc<dyn NodeSigner>,
    view: Arc<View>,
    link: Arc<RegistryLink>,
    journal: Arc<dyn Journal>,
    logs: Arc<Logs>,
    peers: Arc<Peers>,
    asker: Arc<Asker>,
    answerer: Arc<Answerer>,
    duties: Arc<Duties>,
    outbox: Arc<Outbox>,
    subjects: Arc<SubjectLog>,
    events: EventBook,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    book: Arc<Book>,
    /// What is refused costs evidence: so many of one department in a second.
    refused: PerSecond,
    /// One change at a time: what is opened or decided is so once.
    turn: tokio::sync::Mutex<()>,
}

impl Corrections {
    /// Over a node's parts.
    pub fn new(parts: &Parts) -> Self {
        Self {
            me: parts.config.party(),
            node: parts.config.node.clone(),
            settings: parts.config.corrections,
            signer: Arc::clone(&parts.keys) as _,
            view: Arc::clone(&parts.view),
            link: Arc::clone(&parts.link),
            journal: Arc::clone(&parts.journal),
            logs: Arc::clone(&parts.logs),
            peers: Arc::clone(&parts.peers),
            asker: Arc::clone(&parts.asker),
            answerer: Arc::clone(&parts.answerer),
            duties: Arc::clone(&parts.duties),
            outbox: Arc::clone(&parts.outbox),
            subjects: Arc::new(SubjectLog::new(parts)),
            events: parts.events.clone(),
            clock: Arc::clone(&parts.clock),
            random: Arc::clone(&parts.random),
            book: Arc::clone(&parts.corrected),
            refused: PerSecond::new(REFUSED_PER_SECOND),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// Who asked about whom.
    pub fn subjects(&self) -> &Arc<SubjectLog> {
        &self.subjects
    }

    /// What is kept of them.
    pub fn book(&self) -> &Book {
        &self.book
    }

    /// The correction that another department opened, by its id.
    ///
    /// # Errors
    /// There is none.
    pub fn find_received(&self, id: &str) -> Result<Received, Error> {
        self.book.received_by(|row| row.id() == id).ok_or(Error::Unknown)
    }

    /// The case that the answer was given for which a correction doubts, once what became of the correction counts here. Reads the
    /// evidence.
    pub(crate) async fn case_of(&self, entry: u64) -> Result<Option<String>, Error> {
        let _turn = self.turn.lock().await;
        let Some(row) = self.book.opened_at(entry) else { return Ok(None) };
        match find::message::<wire::Request>(self.journal.as_ref(), row.question) {
            Ok((asked, _)) => Ok(Some(asked.case_number)),
            // Gone with its month's key, and the case with it.
            Err(Error::StoredUnreadable) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A correction that another department opened as it was signed. Reads the evidence.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn signed(&self, row: &Received) -> Result<wire::Correction, Error> {
        Ok(find::message(self.journal.as_ref(), row.entry)?.0)
    }

    /// The place of the answer that it doubts. Reads the evidence.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn doubted(&self, row: &Received) -> Result<Option<u64>, Error> {
        let answer = row.answer.parse().map_err(|_| Error::StoredUnreadable)?;
        let since_ms = self.signed(row)?.answered_at_ms;
        Ok(by_digest(&self.logs, &[EntryKind::AnswerGiven], &answer, since_ms)?)
    }
}

impl std::fmt::Debug for Corrections {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Corrections").field("me", &self.me).finish_non_exhaustive()
    }
}

/// How many corrections of one department in a second are refused with a signed word; beyond it a bare status.
const REFUSED_PER_SECOND: u32 = 5;
