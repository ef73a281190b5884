//! One question that a person answers, as it stands in the book. Out of scope: the question itself, which the evidence has.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use trust::{claim::Verdict, ids::Digest};

use crate::asked::ticket_of;

/// How far a task has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// Answered, and on its way.
    Answered,
    /// Answered, and the asking node has it.
    Delivered,
    /// Waits for a person.
    Open,
    /// Waits for a second officer.
    Proposed,
}

impl TaskState {
    /// The name in lists and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Delivered => "delivered",
            Self::Open => "open",
            Self::Proposed => "proposed",
        }
    }
}

/// What an officer says of a question.
#[derive(Clone, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// One verdict for each claim, each with the value as text where there is one.
    Answer {
        /// The verdicts by their numbers on the wire.
        verdicts: Vec<(i32, String)>,
        /// The day of the record; may be empty.
        record_as_of: String,
    },
    /// Declined, for a reason of the list.
    Decline(String),
}

/// What the first officer said, where a second one is to confirm it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Proposal {
    /// The first officer.
    pub officer: String,
    /// What was said.
    pub word: Word,
}

/// A question that a person answers.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Task {
    /// The question's entry; the deferral's is the next one.
    pub question: u64,
    /// By what the question is known again.
    pub key: [u8; 16],
    /// The request's identity.
    #[serde(serialize_with = "digest_text", deserialize_with = "digest_of_text")]
    pub request: Digest,
    /// The deferral's identity.
    #[serde(serialize_with = "digest_text", deserialize_with = "digest_of_text")]
    pub deferral: Digest,
    /// Who waits, `<exchange>/<department>`.
    pub consumer: String,
    /// Its node that asked.
    pub consumer_node: String,
    /// The service.
    pub service: String,
    /// Its major version.
    pub major: u32,
    /// Why it waits: `clerk` or `record_missing`.
    pub reason: String,
    /// Since when, Unix milliseconds.
    pub since_ms: u64,
    /// When it is due, Unix milliseconds.
    pub due_ms: u64,
    /// The entry of the answer, once there is one.
    pub answer: Option<u64>,
    /// When it was answered, Unix milliseconds.
    pub answered_ms: u64,
    /// The officer who answered.
    pub officer: String,
    /// Whether the asking node has it.
    pub delivered: bool,
    /// Whether the registry has recorded that it is overdue.
    pub overdue_recorded: bool,
    /// What the first of two officers said.
    pub proposal: Option<Proposal>,
}

impl Default for Task {
    fn default() -> Self {
        Self {
            question: 0,
            key: [0; 16],
            request: Digest::new([0; 32]),
            deferral: Digest::new([0; 32]),
            consumer: String::new(),
            consumer_node: String::new(),
            service: String::new(),
            major: 0,
            reason: String::new(),
            since_ms: 0,
            due_ms: 0,
            answer: None,
            answered_ms: 0,
            officer: String::new(),
            delivered: false,
            overdue_recorded: false,
            proposal: None,
        }
    }
}

impl Task {
    /// How far it has come.
    pub fn state(&self) -> TaskState {
        match (self.answer, self.delivered, &self.proposal) {
            (Some(_), true, _) => TaskState::Delivered,
            (Some(_), false, _) => TaskState::Answered,
            (None, _, Some(_)) => TaskState::Proposed,
            (None, _, None) => TaskState::Open,
        }
    }

    /// By what both sides find it: the first 16 hex digits of the request's identity.
    pub fn ticket(&self) -> String {
        ticket_of(&self.request)
    }

    /// Whether it is or was not answered in time.
    pub fn is_overdue(&self, now_ms: u64) -> bool {
        match self.answer {
            Some(_) => self.answered_ms > self.due_ms,
            None => now_ms >= self.due_ms,
        }
    }
}

/// The verdicts of a word with their claims' numbers.
pub(super) fn said(verdicts: &[(i32, String)]) -> Option<Vec<trust::clerk::Said>> {
    let one = |(claim, (verdict, disclosed)): (usize, &(i32, String))| {
        let verdict = Verdict::from_proto(*verdict)?;
        Some(trust::clerk::Said { claim, verdict, disclosed: disclosed.clone() })
    };
    (1..).zip(verdicts).map(one).collect()
}

/// A word may hold values of a record.
impl std::fmt::Debug for Word {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Answer { .. } => "Answer",
            Self::Decline(_) => "Decline",
        })
    }
}

fn digest_text<S: Serializer>(digest: &Digest, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&digest.to_string())
}

fn digest_of_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
}
