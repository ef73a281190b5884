//! Looks an earlier verification up by its receipt, from the evidence alone. Out of scope: proofs and bundles (`export`).

use std::time::Duration;

use prost::Message;
use proto::exchange::v1::{self as wire, EntryKind, outcome::What};
use trust::{
    envelope::{self, Payload},
    evidence::Receipt,
    ids::Digest,
    refusal::{Code, Refusal},
};

use super::{Asked, Asker, Ending, Error, OfficeQuestion, ending_of, unanswered};
use crate::{
    journal::{Journal, StoredEntry},
    logs,
};

/// Why a receipt finds no verification.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotFound {
    /// The month's key was destroyed: only the proof that something was asked is left.
    #[error(
        "the question and answer of this receipt were destroyed with the key of their month; the log still proves that they were made"
    )]
    Destroyed,
    /// Our own failure.
    #[error(transparent)]
    Failed(#[from] Error),
    /// No entry has this receipt, or it is not the receipt of a verification.
    #[error("this node's evidence has no verification with this receipt: compare it digit by digit")]
    Unknown,
}

impl Asker {
    /// The verification that the receipt was given for.
    pub fn show(&self, receipt: &Receipt) -> Result<Asked, NotFound> {
        let place = self.journal.find(receipt).map_err(Error::from)?.ok_or(NotFound::Unknown)?;
        let stored = self.journal.entry(place).map_err(Error::from)?.ok_or(NotFound::Unknown)?;
        match stored.about.and_then(|question| self.newest(question)) {
            // The same question, as it stands now.
            Some(newest) if newest != stored.index => self.show_entry(newest),
            _ => read_back(self.journal.as_ref(), &stored, *receipt),
        }
    }

    pub(super) fn show_entry(&self, index: u64) -> Result<Asked, NotFound> {
        let stored = self.journal.entry(index).map_err(Error::from)?.ok_or(NotFound::Unknown)?;
        let receipt = stored.entry.receipt(logs::index_in(index));
        read_back(self.journal.as_ref(), &stored, receipt)
    }

    /// Whether what the receipt finds was brought back from the other side's evidence, because the own one lost it.
    pub fn is_from_the_other_side(&self, receipt: &Receipt) -> bool {
        self.journal.find(receipt).ok().flatten().is_some_and(logs::is_recovered)
    }

    /// The stored answer under an idempotency key; refused where the question is another one.
    pub(super) async fn repeat(&self, office: &OfficeQuestion, index: u64) -> Result<Asked, Error> {
        let first = self.journal.entry(index)?.ok_or(Error::StoredUnreadable)?;
        let index = first.about.and_then(|question| self.newest(question)).unwrap_or(index);
        let stored = self.journal.entry(index)?.ok_or(Error::StoredUnreadable)?;
        let question = match stored.about {
            Some(question) => self.journal.entry(question)?.ok_or(Error::StoredUnreadable)?,
            None => return Err(Error::StoredUnreadable),
        };
        let asked_before: wire::Request = message(&question).ok_or(Error::StoredUnreadable)?;
        let receipt = stored.entry.receipt(logs::index_in(index));
        match self.prepare(office) {
            Ok((again, _)) if is_same(&again.wire, &asked_before) => {
                match read_back(self.journal.as_ref(), &stored, receipt) {
                    Ok(asked) => Ok(asked),
                    Err(NotFound::Failed(error)) => Err(error),
                    Err(_) => Err(Error::StoredUnreadable),
                }
            }
            Ok(_) => {
                let refusal = Refusal::new(Code::RequestIdReused).at("idempotency_key");
                self.refuse(office, refusal.because("another question was asked with this key")).await
            }
            Err(refusal) => self.refuse(office, refusal).await,
        }
    }
}

/// The verification that the receipt was given for, in any evidence log.
pub fn show_in(journal: &dyn Journal, receipt: &Receipt) -> Result<Asked, NotFound> {
    let place = journal.find(receipt).map_err(Error::from)?.ok_or(NotFound::Unknown)?;
    let stored = journal.entry(place).map_err(Error::from)?.ok_or(NotFound::Unknown)?;
    read_back(journal, &stored, *receipt)
}

pub(super) fn read_back(journal: &dyn Journal, stored: &StoredEntry, receipt: Receipt) -> Result<Asked, NotFound> {
    if stored.message.is_none() {
        return Err(NotFound::Destroyed);
    }
    let question = match (stored.about, stored.entry.kind) {
        (Some(index), _) => Some(index),
        // On the answering side question and answer are one commit.
        (None, EntryKind::AnswerGiven) => Some(stored.companions.start),
        (None, _) => None,
    };
    let question = match question {
        Some(index) => journal.entry(index).map_err(Error::from)?,
        None => None,
    };
    let request: Option<wire::Request> = question.as_ref().and_then(message);
    let claims = request.as_ref().map_or(&[][..], |request| &request.claims);
    let (mut clerk, mut number, mut correction) = (String::new(), 0, String::new());
    let ending = match stored.entry.kind {
        EntryKind::AnswerReceived | EntryKind::AnswerGiven => {
            let answer: wire::Answer = message(stored).ok_or(Error::StoredUnreadable)?;
            clerk.clone_from(&answer.clerk);
            number = answer.number;
            correction = data_encoding::HEXLOWER.encode(&answer.correction);
            ending_of(answer)
        }
        EntryKind::Outcome => match message::<wire::Outcome>(stored).and_then(|outcome| outcome.what) {
            Some(What::Unanswered(reason)) => unanswered(claims, &reason),
            Some(What::Unsubscribed(reason)) => unanswered(claims, &reason),
            Some(What::Refused(refusal)) => Ending::Refused { refusal, by: None },
            None => return Err(Error::StoredUnreadable.into()),
        },
        _ => return Err(NotFound::Unknown),
    };
    let request_digest: Option<Digest> = question.as_ref().map(|question| question.entry.envelope);
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
pub(super) fn message<M: Payload>(stored: &StoredEntry) -> Option<M> {
    let signed = wire::Signed::decode(stored.message.as_deref()?).ok()?;
    if envelope::digest_of(&signed).ok()? != stored.entry.envelope {
        return None;
    }
    envelope::peek(&signed, usize::MAX).ok()
}

/// Whether two requests ask the same, whenever and under whatever id.
fn is_same(left: &wire::Request, right: &wire::Request) -> bool {
    let question = |request: &wire::Request| wire::Request {
        request_id: Vec::new(),
        sender_node: String::new(),
        issued_at_ms: 0,
        expires_at_ms: 0,
        directory_size: 0,
        directory_root: Vec::new(),
        grant: Vec::new(),
        trace: String::new(),
        // A later try asks for a later end.
        subscription: request.subscription.as_ref().map(|_| wire::Subscription::default()),
        ..request.clone()
    };
    question(left) == question(right)
}
