//! What is said of an event: a notice with its kind, its time, and what it is about as it stands now. The same goes to whoever
//! listens and to webhooks. It names no subject. Out of scope: which events there are and whose (`outbox`), sending (`webhooks`).

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Seen,
    json::{Batch, Case, ChangeNotice, Commitment, Correction, Verification, timestamp},
    subscriptions::notice_seen,
};
use crate::{
    ask::{self, Asker, NotFound},
    bulk::Bulk,
    case::{self, Cases},
    case_edge,
    correction::{self, Corrections, OpenedState},
    office_keys::Limits,
    outbox::{Event, Happened},
    parts::Parts,
};

/// The kinds of notices, in the order of the guide.
pub const KINDS: [&str; 14] = [
    "verification.answered",
    "verification.refused",
    "verification.deferred",
    "case.changed",
    "commitment.fulfilled",
    "commitment.broken",
    "commitment.unconfirmed",
    "commitment.repaired",
    "correction.decided",
    "correction.refused",
    "correction.unanswered",
    "batch.finished",
    "subscription.changed",
    "subscription.ended",
];

/// Why a notice cannot be written now.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The answer cannot be read.
    #[error(transparent)]
    Ask(#[from] ask::Error),
    /// The case cannot be read.
    #[error(transparent)]
    Case(#[from] case::Error),
    /// The correction cannot be read.
    #[error(transparent)]
    Correction(#[from] correction::Error),
}

/// What an office system is told: the same as an event's data and as a webhook's body.
#[derive(Debug, Serialize, ToSchema)]
pub struct Notice {
    /// What kind it is: `verification.answered`, `verification.refused` or `verification.deferred` (again), `case.changed`,
    /// `commitment.fulfilled`, `commitment.broken`, `commitment.unconfirmed` or `commitment.repaired`, `correction.decided` or
    /// `correction.refused` or `correction.unanswered`, `batch.finished`, `subscription.changed` or `subscription.ended`. There may be
    /// more one day: pass over what you do not know.
    #[serde(rename = "type")]
    #[schema(example = "verification.answered")]
    pub kind: String,
    /// When it happened, RFC 3339.
    #[schema(format = DateTime)]
    pub timestamp: String,
    /// What it is about.
    pub data: NoticeData,
}

/// What a notice is about: what the word before the point in its `type` says.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum NoticeData {
    /// The job.
    Batch(Box<Batch>),
    /// The case as it stands.
    Case(Box<Case>),
    /// The change, or the end; without whom it is about.
    Change(Box<ChangeNotice>),
    /// The commitment as it stands.
    Commitment(Box<Commitment>),
    /// The correction as it stands.
    Correction(Box<Correction>),
    /// The verification as that answer left it.
    Verification(Box<Verification>),
}

impl Notice {
    /// As JSON.
    pub fn to_json(&self) -> Vec<u8> {
        // Plain structures of numbers and texts; they can always be written.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// What a notice is about, as far as keys are limited by it.
#[derive(Clone, Debug)]
pub enum Scope {
    /// A case of this item.
    Case(String),
    /// A question to a department's service for an item.
    Question(String, String, String),
}

impl Scope {
    /// Whether a key with these limits reaches it.
    pub fn is_open_to(&self, limits: &Limits) -> bool {
        match self {
            Self::Case(item) => limits.covers_case(item).is_ok(),
            Self::Question(provider, service, item) => limits.covers(provider, service, item).is_ok(),
        }
    }
}

/// Writes notices.
#[derive(Debug)]
pub struct NoticeWriter {
    asker: Arc<Asker>,
    cases: Arc<Cases>,
    bulk: Arc<Bulk>,
    corrections: Arc<Corrections>,
}

impl NoticeWriter {
    /// Of a running node.
    pub fn of(parts: &Parts, corrections: &Arc<Corrections>) -> Self {
        Self {
            asker: Arc::clone(&parts.asker),
            cases: Arc::clone(&parts.cases),
            bulk: Arc::clone(&parts.bulk),
            corrections: Arc::clone(corrections),
        }
    }

    /// What is said of an event, and to whom it may be said; `None` where what it is about is gone. Blocks.
    ///
    /// # Errors
    /// It cannot be read now.
    pub fn notice(&self, event: &Event) -> Result<Option<(Notice, Scope)>, Error> {
        let said = match &event.happened {
            Happened::Answer { answer } => return self.of_answer(*answer),
            Happened::Batch { job } => self.of_batch(job, event.at_ms),
            Happened::Case { number } => self.of_case(number)?,
            Happened::Commitment { commitment, state } => self.cases.commitment(commitment).map(|row| {
                let scope = Scope::Case(row.item.clone());
                let data = NoticeData::Commitment(Box::new(row.to_wire().into()));
                (format!("commitment.{}", state.as_str()), data, scope)
            }),
            Happened::Correction { entry } => self.of_correction(*entry)?,
            Happened::Notice { answer } => self.of_notice(*answer)?,
        };
        let timestamp = timestamp(event.at_ms);
        Ok(said.map(|(kind, data, scope)| (Notice { kind, timestamp, data }, scope)))
    }

    fn of_answer(&self, answer: u64) -> Result<Option<(Notice, Scope)>, Error> {
        let later = match self.asker.later(answer) {
            Ok(later) => later,
            Err(NotFound::Failed(error)) => return Err(error.into()),
            // Its month's key was destroyed.
            Err(_) => return Ok(None),
        };
        let kind = format!("verification.{}", later.asked.ending.state());
        let (id, asked) = (later.id, later.asked);
        let provider = asked.provider.split_once('/').map_or("", |(_, department)| department).to_owned();
        let scope = Scope::Question(provider, asked.service.clone(), asked.item.clone());
        let seen = Seen { asked, id, notice: String::new(), from_the_other_side: false, timeline: Vec::new() };
        let data = NoticeData::Verification(Box::new(seen.into()));
        Ok(Some((Notice { kind, timestamp: timestamp(later.came_ms), data }, scope)))
    }

    fn of_batch(&self, job: &str, at_ms: u64) -> Option<Said> {
        // It may have been removed meanwhile.
        let job = self.bulk.job(job).ok()?;
        let (provider, service, item) = job.scope();
        let data = NoticeData::Batch(Box::new(Batch::of(job.shown(), at_ms)));
        Some(("batch.finished".to_owned(), data, Scope::Question(provider, service, item)))
    }

    fn of_case(&self, number: &str) -> Result<Option<Said>, Error> {
        let case = match self.cases.show(number) {
            Ok(case) => case,
            Err(case::Error::Destroyed | case::Error::Unknown) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let scope = Scope::Case(case.item.clone());
        let data = NoticeData::Case(Box::new(case_edge::to_wire(&self.cases, &case).into()));
        Ok(Some(("case.changed".to_owned(), data, scope)))
    }

    fn of_correction(&self, entry: u64) -> Result<Option<Said>, Error> {
        let Some(row) = self.corrections.opened(entry) else { return Ok(None) };
        let kind = match row.state {
            OpenedState::Refused => "correction.refused",
            OpenedState::Unanswered => "correction.unanswered",
            _ => "correction.decided",
        };
        let scope = self.corrections.scope_of(row.question);
        let read = scope.and_then(|scope| Ok((scope, self.corrections.to_wire(&row)?)));
        let ((provider, service, item), correction) = match read {
            Ok(read) => read,
            // Its month's key was destroyed.
            Err(correction::Error::StoredUnreadable) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let data = NoticeData::Correction(Box::new(correction.into()));
        Ok(Some((kind.to_owned(), data, Scope::Question(provider, service, item))))
    }

    fn of_notice(&self, answer: u64) -> Result<Option<Said>, Error> {
        let Some(notice) = self.asker.notice_at(answer)? else { return Ok(None) };
        let provider = notice.row.provider.clone();
        let department = provider.split_once('/').map_or("", |(_, department)| department).to_owned();
        let item = notice.request.purpose.clone().unwrap_or_default().item;
        let scope = Scope::Question(department, notice.row.service.clone(), item);
        let mut told = notice_seen(notice);
        told.subject = None;
        let kind = if told.ended.is_some() { "subscription.ended" } else { "subscription.changed" };
        Ok(Some((kind.to_owned(), NoticeData::Change(Box::new(ChangeNotice::of(told, &provider))), scope)))
    }
}

/// The kind, what it is about, and to whom it may be said.
type Said = (String, NoticeData, Scope);
