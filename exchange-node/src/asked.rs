//! A question and what became of it, as asking, answering and clerks know it alike: by what it is known again, how it ended,
//! and how it is read back from the evidence. Out of scope: asking (`ask`), answering (`answer`), proofs and bundles (`export`).

use std::time::Duration;

use prost::Message;
use proto::exchange::v1::{self as wire, EntryKind, answer::Outcome as Answered, outcome::What, signed::Form};
use sha2::{Digest as _, Sha256};
use trust::{
    batch,
    claim::Verdict,
    envelope::{self, Payload},
    evidence::Receipt,
    ids::{Digest, Party},
};

use crate::journal::{Journal, JournalError, StoredEntry};

/// Why no verification can be read back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The month's key was destroyed: only the proof that something was asked is left.
    #[error(
        "the question and answer of this receipt were destroyed with the key of their month; the log still proves that they were made"
    )]
    Destroyed,
    /// The evidence cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A stored message cannot be read.
    #[error("the stored question or answer cannot be read")]
    StoredUnreadable,
    /// No entry has this receipt, or it is not the receipt of a verification.
    #[error("this node's evidence has no verification with this receipt: compare it digit by digit")]
    Unknown,
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
    /// Its major version; 0 where none was found.
    pub service_version: u32,
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
    /// The provider's officer who answered; empty where no person did.
    pub clerk: String,
    /// The answer's number; 0 where there is none.
    pub number: u32,
    /// The decision because of which it took another answer's place, 64 hex digits; empty where it took none's.
    pub correction: String,
}

impl Ending {
    /// In one stable word.
    pub fn state(&self) -> &'static str {
        match self {
            Self::Answered { .. } => "answered",
            Self::Deferred(_) => "deferred",
            Self::Refused { .. } => "refused",
            Self::Unanswered { .. } => "unanswered",
        }
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

/// The ticket of a request.
pub(crate) fn ticket_of(request: &Digest) -> String {
    request.to_string().chars().take(16).collect()
}

/// The verification that the receipt was given for, in any evidence log.
pub fn show_in(journal: &dyn Journal, receipt: &Receipt) -> Result<Asked, Error> {
    let place = journal.find(receipt)?.ok_or(Error::Unknown)?;
    let stored = journal.entry(place)?.ok_or(Error::Unknown)?;
    read_back(journal, &stored, *receipt)
}

/// The verification that an entry holds, an answer or an outcome, in any evidence log.
pub(crate) fn read_back(journal: &dyn Journal, stored: &StoredEntry, receipt: Receipt) -> Result<Asked, Error> {
    if stored.message.is_none() {
        return Err(Error::Destroyed);
    }
    let question = match (stored.about, stored.entry.kind) {
        (Some(index), _) => Some(index),
        // On the answering side question and answer are one commit.
        (None, EntryKind::AnswerGiven) => Some(stored.companions.start),
        (None, _) => None,
    };
    let question = match question {
        Some(index) => journal.entry(index)?,
        None => None,
    };
    let answer: Option<wire::Answer> = match stored.entry.kind {
        EntryKind::AnswerReceived | EntryKind::AnswerGiven => Some(message(stored).ok_or(Error::StoredUnreadable)?),
        _ => None,
    };
    let mut request: Option<wire::Request> = question.as_ref().and_then(message);
    let mut request_digest: Option<Digest> = question.as_ref().map(|question| question.entry.envelope);
    // What follows the answer to one question of a batch.
    if request.is_none()
        && let (Some(question), Some(answer)) = (&question, &answer)
        && let Some((_, one)) = item_in(question, &answer.request_digest)
    {
        request_digest = Digest::try_from(answer.request_digest.as_slice()).ok();
        request = Some(one);
    }
    let claims = request.as_ref().map_or(&[][..], |request| &request.claims);
    let (mut clerk, mut number, mut correction) = (String::new(), 0, String::new());
    let ending = match (answer, stored.entry.kind) {
        (Some(answer), _) => {
            clerk.clone_from(&answer.clerk);
            number = answer.number;
            correction = data_encoding::HEXLOWER.encode(&answer.correction);
            ending_of(answer)
        }
        (None, EntryKind::Outcome) => match message::<wire::Outcome>(stored).and_then(|outcome| outcome.what) {
            Some(What::Unanswered(reason)) => unanswered(claims, &reason),
            Some(What::Unsubscribed(reason)) => unanswered(claims, &reason),
            Some(What::Refused(refusal)) => Ending::Refused { refusal, by: None },
            None => return Err(Error::StoredUnreadable),
        },
        _ => return Err(Error::Unknown),
    };
    let request = request.unwrap_or_default();
    let asked_at_ms = if request.issued_at_ms == 0 { stored.at_ms } else { request.issued_at_ms };
    Ok(Asked {
        ending,
        receipt,
        request_digest,
        provider: request.recipient,
        service: request.service,
        service_version: request.service_version,
        asked_at_ms,
        elapsed: Duration::from_millis(stored.at_ms.saturating_sub(asked_at_ms)),
        case_number: request.case_number,
        item: request.purpose.map(|purpose| purpose.item).unwrap_or_default(),
        officer: request.officer,
        clerk,
        number,
        correction,
    })
}

/// The message of an entry. It was verified when it was made or received, and the entry's digest binds it since.
pub(crate) fn message<M: Payload>(stored: &StoredEntry) -> Option<M> {
    envelope::peek(&signed(stored)?, usize::MAX).ok()
}

/// The message of an entry as it was signed.
pub(crate) fn signed(stored: &StoredEntry) -> Option<wire::Signed> {
    let signed = wire::Signed::decode(stored.message.as_deref()?).ok()?;
    (envelope::digest_of(&signed).ok()? == stored.entry.envelope).then_some(signed)
}

/// One question of a batch with its place there, by its identity; `None` where the entry holds no batch with such a question.
pub(crate) fn item_in(stored: &StoredEntry, request: &[u8]) -> Option<(usize, wire::Request)> {
    let signed = signed(stored)?;
    let Some(Form::Batch(batch)) = &signed.form else { return None };
    let item = batch::question_digests(batch).iter().position(|digest| digest.as_bytes().as_slice() == request)?;
    let payload = batch::question_payload(batch, item);
    Some((item, wire::Request::decode(payload.as_slice()).ok()?))
}

/// The question that an answer is to, by itself or one of a batch.
pub(crate) fn request_of(question: &StoredEntry, answer: &StoredEntry) -> Option<wire::Request> {
    message(question).or_else(|| Some(item_in(question, &message::<wire::Answer>(answer)?.request_digest)?.1))
}

/// How a verification ended that has this answer.
pub(crate) fn ending_of(answer: wire::Answer) -> Ending {
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

/// How a verification ended to which no valid answer came, for this stable reason.
pub(crate) fn unanswered(claims: &[wire::Claim], reason: &str) -> Ending {
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
