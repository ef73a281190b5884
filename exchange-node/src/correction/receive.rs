//! The answering side: a correction comes, is refused or accepted with a due time, and waits for a clerk. What is said of it is
//! in the evidence beside it before it leaves. Out of scope: deciding (`decide`).

use prost::Message;
use proto::exchange::v1::{self as wire, CorrectionAccepted, EntryKind, answer::Outcome, correction_reply::Said};
use trust::{
    correction::{self, Opened},
    directory::WIRE_VERSION,
    envelope,
    ids::{Digest, Party},
    refusal::{Code, Refusal},
};

use super::{
    Corrections, Error, Step,
    book::{Received, duty},
    find,
};
use crate::{journal::NewEntry, keys::seal, subject_log::QuestionAt};

const DAY_MS: u64 = 86_400_000;

/// Why a correction gets a bare status.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotOpened {
    /// Our own failure.
    #[error(transparent)]
    Failed(#[from] Error),
    /// It does not open.
    #[error(transparent)]
    Invalid(#[from] correction::Error),
    /// Too many are refused.
    #[error("too many corrections are refused; try again later")]
    TooMany,
}

impl Corrections {
    /// Takes a correction that came over a connection of `peer`; what has been said of it.
    pub(super) async fn receive(
        &self,
        peer: &Party,
        signed: wire::Signed,
    ) -> Result<wire::OpenCorrectionResponse, NotOpened> {
        self.journal.check_open().map_err(Error::from)?;
        let now_ms = self.clock.now_ms();
        let opened = correction::open(self.view.seen().directory(), &signed, (peer, &self.me), now_ms)?;
        let _turn = self.turn.lock().await;
        let digest = opened.digest.to_string();
        if let Some(row) = self.book.received_by(|row| row.digest == digest) {
            return Ok(self.said_of(&row)?);
        }
        match self.acceptable(peer, &opened, now_ms).await? {
            Ok(question) => Ok(self.accept(peer, &opened, &signed, &question, now_ms).await?),
            Err(refusal) => {
                if !self.refused.take(peer.department().as_str(), now_ms) {
                    return Err(NotOpened::TooMany);
                }
                tracing::info!(code = refusal.code.as_str(), consumer = %peer, "a correction is refused");
                let reply = self.reply(peer, &opened.digest, &opened.wire.answer_digest, now_ms);
                let reply = wire::CorrectionReply { said: Some(Said::Refused(refusal.to_wire())), ..reply };
                let (sealed, entries) = self.entries(&opened.digest, &signed, &reply);
                self.commit(now_ms, entries, None, false).await?;
                Ok(wire::OpenCorrectionResponse { reply: Some(sealed), decision: None })
            }
        }
    }

    /// What was said of a correction, again.
    fn said_of(&self, row: &Received) -> Result<wire::OpenCorrectionResponse, Error> {
        let (_, reply) = find::stored(self.journal.as_ref(), row.entry + 1)?;
        let decision = row.decision.map(|place| find::stored(self.journal.as_ref(), place)).transpose()?;
        Ok(wire::OpenCorrectionResponse { reply: Some(reply), decision: decision.map(|(_, signed)| signed) })
    }

    /// The question whose answer is doubted, or why it is not looked at. To whom the answer was not given, there is none.
    async fn acceptable(
        &self,
        peer: &Party,
        opened: &Opened,
        now_ms: u64,
    ) -> Result<Result<QuestionAt, Refusal>, Error> {
        let consumer = peer.to_string();
        let id = data_encoding::HEXLOWER.encode(&opened.wire.correction_id);
        if self.book.received_by(|row| row.random_id == id && row.consumer == consumer).is_some() {
            return Ok(Err(Refusal::new(Code::RequestIdReused).at("correction_id")));
        }
        let (count, first_ms) = self.book.received_since(&consumer, now_ms.saturating_sub(DAY_MS));
        if count >= usize::try_from(self.settings.per_day).unwrap_or(usize::MAX) {
            let detail = format!("{} corrections a day", self.settings.per_day);
            return Ok(Err(Refusal::new(Code::QuotaExceeded)
                .because(detail)
                .retry_at(first_ms.saturating_add(DAY_MS))));
        }
        let unknown = || Refusal::new(Code::AnswerUnknown).at("answer_digest");
        let (Ok(answer), Ok(request)) = (
            Digest::try_from(opened.wire.answer_digest.as_slice()),
            Digest::try_from(opened.wire.request_digest.as_slice()),
        ) else {
            return Ok(Err(unknown()));
        };
        let (logs, journal) = (std::sync::Arc::clone(&self.logs), std::sync::Arc::clone(&self.journal));
        let (subjects, since_ms) = (std::sync::Arc::clone(&self.subjects), opened.wire.answered_at_ms);
        let question = tokio::task::spawn_blocking(move || {
            let Some(place) = find::by_digest(&logs, &[EntryKind::AnswerGiven], &answer, since_ms)? else {
                return Ok(None);
            };
            let Some(stored) = journal.entry(place)? else { return Ok(None) };
            let question = stored.about.unwrap_or(stored.companions.start);
            Ok::<_, Error>(subjects.question(question, None)?)
        });
        let Some(question) = question.await?? else { return Ok(Err(unknown())) };
        let doubted = question.answers.iter().find(|given| given.digest == answer);
        let (Some(doubted), Some(place)) = (doubted, question.place) else { return Ok(Err(unknown())) };
        if doubted.wire.recipient != consumer
            || question.request.sender != consumer
            || question.request_digest != request
        {
            return Ok(Err(unknown()));
        }
        if question.request.subscription.is_some() {
            return Ok(Err(Refusal::new(Code::NotCorrectable).at("answer_digest").because("it goes on")));
        }
        if !matches!(doubted.wire.outcome, Some(Outcome::Verdicts(_))) {
            return Ok(Err(Refusal::new(Code::NotCorrectable).at("answer_digest").because("it has no verdict")));
        }
        if question.answers.last().is_some_and(|newest| newest.digest != answer) {
            let detail = "another answer has taken its place";
            return Ok(Err(Refusal::new(Code::NotCorrectable).at("answer_digest").because(detail)));
        }
        if self.book.received_by(|row| row.question == place && row.found.is_none()).is_some() {
            return Ok(Err(Refusal::new(Code::CorrectionOpen).at("answer_digest")));
        }
        Ok(Ok(question))
    }

    async fn accept(
        &self,
        peer: &Party,
        opened: &Opened,
        signed: &wire::Signed,
        question: &QuestionAt,
        now_ms: u64,
    ) -> Result<wire::OpenCorrectionResponse, Error> {
        let due_ms = {
            let seen = self.view.seen();
            let profile = seen.directory().profile();
            let by_profile = profile.calendar.deadline(now_ms, profile.clocks.correction);
            match self.settings.answer_within.as_ms() {
                0 => by_profile,
                sooner_ms => by_profile.min(now_ms.saturating_add(sooner_ms)),
            }
        };
        let reply = self.reply(peer, &opened.digest, &opened.wire.answer_digest, now_ms);
        let reply =
            wire::CorrectionReply { said: Some(Said::Accepted(CorrectionAccepted { due_at_ms: due_ms })), ..reply };
        let (sealed, entries) = self.entries(&opened.digest, signed, &reply);
        let _expected = self.duties.announce(self.journal.end());
        let entry = self.commit(now_ms, entries, None, true).await?;
        let row = received_row(entry, opened, question.place.unwrap_or_default(), &question.request, (now_ms, due_ms));
        tracing::info!(consumer = row.consumer, service = row.service, "a correction waits for a clerk");
        self.book.keep_received(row, vec![duty(Step::Overdue, entry, due_ms)]).await?;
        Ok(wire::OpenCorrectionResponse { reply: Some(sealed), decision: None })
    }

    pub(super) fn reply(
        &self,
        consumer: &Party,
        correction: &Digest,
        answer: &[u8],
        now_ms: u64,
    ) -> wire::CorrectionReply {
        wire::CorrectionReply {
            wire_version: WIRE_VERSION,
            exchange_id: self.me.exchange().to_string(),
            correction: correction.as_bytes().to_vec(),
            sender: self.me.to_string(),
            sender_node: self.node.to_string(),
            recipient: consumer.to_string(),
            answer_digest: answer.to_vec(),
            said_at_ms: now_ms,
            said: None,
        }
    }

    /// A correction and what is said of it, to be made durable together.
    fn entries(
        &self,
        digest: &Digest,
        correction: &wire::Signed,
        reply: &wire::CorrectionReply,
    ) -> (wire::Signed, Vec<NewEntry>) {
        let (sealed, reply_digest) = seal(reply, self.signer.as_ref());
        let sealed = envelope::signed(sealed);
        let received =
            NewEntry { kind: EntryKind::CorrectionReceived, digest: *digest, message: correction.encode_to_vec() };
        let given =
            NewEntry { kind: EntryKind::CorrectionReplyGiven, digest: reply_digest, message: sealed.encode_to_vec() };
        (sealed, vec![received, given])
    }
}

/// A correction as it stands in the book when it was accepted.
pub(super) fn received_row(
    entry: u64,
    opened: &Opened,
    question: u64,
    request: &wire::Request,
    (since_ms, due_ms): (u64, u64),
) -> Received {
    Received {
        entry,
        digest: opened.digest.to_string(),
        random_id: data_encoding::HEXLOWER.encode(&opened.wire.correction_id),
        consumer: opened.wire.sender.clone(),
        consumer_node: opened.sender_node.to_string(),
        question,
        answer: data_encoding::HEXLOWER.encode(&opened.wire.answer_digest),
        service: request.service.clone(),
        major: request.service_version,
        since_ms,
        due_ms,
        ..Received::default()
    }
}
