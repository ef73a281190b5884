//! The asking side: an office opens a correction of an answer that it was given; it is sent until the provider has said
//! something of it, and what is decided is recorded. Out of scope: the corrected answer itself (`ask::later`).

use std::time::Duration;

use host::random;
use prost::Message;
use proto::exchange::v1::{
    self as wire, EntryKind, answer::Outcome, correction_reply::Said, corrections_client::CorrectionsClient,
};
use tokio::time::timeout;
use trust::{
    correction,
    directory::WIRE_VERSION,
    envelope,
    evidence::Receipt,
    ids::{Digest, Party},
    refusal::{Code, Refusal},
};

use super::{
    Corrections, Error, Step,
    book::{Opened, OpenedState, duty, duty_id},
    find,
};
use crate::{
    ask,
    duty::Change,
    events::Kind,
    journal::{Commit, NewEntry},
    keys::seal,
    logs,
    outbox::Happened,
};

/// How long one attempt may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long after its due time a decision that has not come is asked for.
const GRACE_MS: u64 = 30_000;

/// A correction to be opened.
#[derive(Clone, Debug)]
pub struct NewCorrection {
    /// The receipt of the doubted answer.
    pub receipt: Receipt,
    /// Why, out of the list.
    pub reason: String,
    /// What was seen.
    pub text: String,
    /// The officer.
    pub officer: String,
}

impl Corrections {
    /// Opens a correction; it is sent by itself.
    ///
    /// # Errors
    /// Our own failure.
    pub async fn open(&self, new: NewCorrection) -> Result<Result<Opened, Refusal>, Error> {
        self.journal.check_open()?;
        let _turn = self.turn.lock().await;
        let Some(place) = self.journal.find(&new.receipt)? else {
            return Ok(Err(Refusal::new(Code::AnswerUnknown).at("receipt")));
        };
        let of_it = self.journal.entry(place)?.ok_or(Error::StoredUnreadable)?;
        let (EntryKind::AnswerReceived, Some(question)) = (of_it.entry.kind, of_it.about) else {
            return Ok(Err(Refusal::new(Code::NotCorrectable).at("receipt").because("no department gave this answer")));
        };
        if let Some(open) = self.book.opened_by(|row| row.question == question && row.state.is_open()) {
            // The same again, because the answer was lost on its way, is the one that is there.
            if self.is_same(&open, &new) {
                return Ok(Ok(open));
            }
            let detail = super::book::id_of(&open.digest).to_owned();
            return Ok(Err(Refusal::new(Code::CorrectionOpen).at("receipt").because(detail)));
        }
        // The newest answer is the one that counts.
        let newest = self.asker.awaited(question).and_then(|row| row.answers.last().copied()).unwrap_or(place);
        let (stored, signed) = find::stored(self.journal.as_ref(), newest)?;
        if matches!(signed.form, Some(wire::signed::Form::Batch(_))) {
            let detail = "it is a whole batch: name one of its items, as in the results, such as 7-0011223344556677/3";
            return Ok(Err(Refusal::new(Code::NotCorrectable).at("receipt").because(detail)));
        }
        let answer: wire::Answer = envelope::peek(&signed, usize::MAX).map_err(|_| Error::StoredUnreadable)?;
        if !matches!(answer.outcome, Some(Outcome::Verdicts(_))) {
            let detail = "it has no verdict";
            return Ok(Err(Refusal::new(Code::NotCorrectable).at("receipt").because(detail)));
        }
        let (request, asked) = find::message::<wire::Request>(self.journal.as_ref(), question)?;
        if request.subscription.is_some() {
            let detail = "it goes on: a change of the record is told by itself";
            return Ok(Err(Refusal::new(Code::NotCorrectable).at("receipt").because(detail)));
        }
        let now_ms = self.clock.now_ms();
        let said = wire::Correction {
            wire_version: WIRE_VERSION,
            exchange_id: self.me.exchange().to_string(),
            correction_id: random::array::<32>(self.random.as_ref()).to_vec(),
            sender: self.me.to_string(),
            sender_node: self.node.to_string(),
            recipient: answer.sender.clone(),
            request_digest: asked.entry.envelope.as_bytes().to_vec(),
            answer_digest: stored.entry.envelope.as_bytes().to_vec(),
            answered_at_ms: answer.answered_at_ms,
            reason: new.reason,
            text: new.text,
            officer: new.officer.trim().to_owned(),
            case_number: request.case_number.clone(),
            opened_at_ms: now_ms,
        };
        if let Err(error) = correction::check_words(&said) {
            return Ok(Err(error.refusal()));
        }
        let (sealed, digest) = seal(&said, self.signer.as_ref());
        let message = envelope::signed(sealed).encode_to_vec();
        let entry = NewEntry { kind: EntryKind::CorrectionSent, digest, message };
        let _expected = self.duties.announce(self.journal.end());
        let committed = self.commit(now_ms, vec![entry], Some(question), true).await?;
        let receipt = stored.entry.receipt(logs::index_in(newest)).to_string();
        let row = opened_row(committed, &digest, question, receipt, (&said, &answer));
        self.book.keep_opened(row.clone(), vec![duty(Step::Send, row.entry, now_ms)]).await?;
        tracing::info!(provider = row.provider, service = row.service, "a correction was opened");
        Ok(Ok(row))
    }

    /// Whether a correction that is open says the same.
    fn is_same(&self, open: &Opened, new: &NewCorrection) -> bool {
        let said = find::message::<wire::Correction>(self.journal.as_ref(), open.entry);
        said.is_ok_and(|(said, _)| {
            said.reason == new.reason && said.text == new.text && said.officer == new.officer.trim()
        })
    }

    pub(super) async fn commit(
        &self,
        at_ms: u64,
        entries: Vec<NewEntry>,
        about: Option<u64>,
        duty: bool,
    ) -> Result<u64, Error> {
        let commit = Commit { at_ms, entries, about, duty, ..Commit::default() };
        Ok(self.journal.commit(commit).await?.first_index)
    }

    /// Sends a correction, or asks again what became of it. Whether nothing more is to be done now.
    pub(super) async fn send(&self, entry: u64) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
        let Some(row) = self.book.opened_at(entry).filter(|row| row.state.is_open()) else { return Ok(true) };
        let (_, signed) = find::stored(self.journal.as_ref(), entry)?;
        let provider: Party = row.provider.parse()?;
        let node = {
            let seen = self.view.seen();
            let mut nodes: Vec<_> = seen.directory().nodes_of(provider.department()).cloned().collect();
            // Its own evidence has the answer.
            nodes.sort_by_key(|node| node.node.as_str() != row.provider_node);
            nodes.into_iter().next().ok_or("the directory has no node of the department (any more)")?
        };
        let mut client = CorrectionsClient::new(self.peers.channel(&node)?);
        let request = wire::OpenCorrectionRequest { correction: Some(signed) };
        let response = timeout(PATIENCE, client.open(request)).await??.into_inner();
        for reply in response.reply.into_iter().chain(response.decision) {
            self.replied(&provider, reply).await?;
        }
        Ok(self.book.opened_at(entry).is_none_or(|row| row.state != OpenedState::Sending))
    }

    /// Takes what the provider says of a correction that this department opened. Whether it opened one.
    ///
    /// # Errors
    /// It is not believed, or our own failure.
    pub(super) async fn replied(&self, provider: &Party, signed: wire::Signed) -> Result<bool, NotTaken> {
        let claimed = envelope::peek::<wire::CorrectionReply>(&signed, correction::LARGEST_CORRECTION);
        let claimed = claimed.map_err(correction::Error::from)?;
        let Ok(digest) = Digest::try_from(claimed.correction.as_slice()) else { return Ok(false) };
        let _turn = self.turn.lock().await;
        let text = digest.to_string();
        let of_it = self.book.opened_by(|row| row.digest == text && row.provider == provider.to_string());
        let Some(row) = of_it else { return Ok(false) };
        let (said, reply) =
            correction::open_reply(self.view.seen().directory(), &signed, (provider, &self.me), &digest)?;
        if !row.state.is_news(matches!(said.said, Some(Said::Decided(_)))) {
            return Ok(true);
        }
        let entry =
            NewEntry { kind: EntryKind::CorrectionReplyReceived, digest: reply, message: signed.encode_to_vec() };
        let _expected = self.duties.announce(self.journal.end());
        let now_ms = self.clock.now_ms();
        let place = self.commit(now_ms, vec![entry], Some(row.question), true).await?;
        self.heard(row, &said, place).await?;
        Ok(true)
    }

    /// What was said of a correction is in the evidence.
    pub(super) async fn heard(&self, row: Opened, said: &wire::CorrectionReply, place: u64) -> Result<(), Error> {
        let (entry, now_ms) = (row.entry, self.clock.now_ms());
        let mut changes = vec![Change::Done(duty_id(Step::Send, entry))];
        let row = match &said.said {
            Some(Said::Accepted(accepted)) => {
                let at_ms = accepted.due_at_ms.saturating_add(GRACE_MS).max(now_ms);
                changes.push(duty(Step::Fetch, entry, at_ms));
                Opened { state: OpenedState::Open, due_ms: accepted.due_at_ms, reply: Some(place), ..row }
            }
            Some(Said::Refused(_)) => Opened { state: OpenedState::Refused, reply: Some(place), ..row },
            Some(Said::Decided(decided)) => {
                changes.push(Change::Done(duty_id(Step::Fetch, entry)));
                let state = match decided.record_was_wrong {
                    true => OpenedState::RecordWasWrong,
                    false => OpenedState::RecordIsRight,
                };
                Opened {
                    state,
                    decision_reason: decided.reason.clone(),
                    decided_ms: said.said_at_ms,
                    reply: Some(place),
                    ..row
                }
            }
            None => return Ok(()),
        };
        tracing::info!(provider = row.provider, state = row.state.as_str(), "something was said of a correction");
        self.keep_told(row, changes).await
    }

    /// The provider has said nothing for so long that nobody asks any longer; the office is told.
    pub(super) async fn give_up(&self, entry: u64) -> Result<(), Error> {
        let _turn = self.turn.lock().await;
        let Some(row) = self.book.opened_at(entry).filter(|row| row.state.is_open()) else { return Ok(()) };
        tracing::error!(provider = row.provider, "a correction was never taken or decided; it is given up");
        self.keep_told(Opened { state: OpenedState::Unanswered, ..row }, Vec::new()).await
    }

    /// Keeps a row, and has the office told where that is the end of it.
    async fn keep_told(&self, row: Opened, mut changes: Vec<Change>) -> Result<(), Error> {
        let mut noting = self.outbox.begin().await;
        if !row.state.is_open() {
            match find::message::<wire::Request>(self.journal.as_ref(), row.question) {
                Ok((asked, _)) => {
                    let happened = Happened::Correction { entry: row.entry };
                    changes.extend(noting.note(&asked.system, &asked.case_number, happened));
                }
                // Gone with its month's key: then nobody is told.
                Err(Error::StoredUnreadable) => {}
                Err(error) => return Err(error),
            }
        }
        self.book.keep_opened(row, changes).await?;
        noting.done();
        Ok(())
    }

    /// Takes an answer that took another one's place. Whether this department asked that question.
    ///
    /// # Errors
    /// It is not believed, or our own failure.
    pub(super) async fn corrected(
        &self,
        peer: &Party,
        answer: wire::Signed,
        (asked_at_ms, batch): (u64, Option<Digest>),
    ) -> Result<(), ask::NotReceived> {
        let (doubted, is_new) = match batch {
            None => {
                let taken = self.asker.receive_corrected(peer, answer, asked_at_ms, &self.logs).await?;
                let (question, place, is_new) = taken;
                (Some((question, place)), is_new)
            }
            // An item is doubted by asking it again, alone: no correction is about its own answer.
            Some(batch) => {
                let when = (batch, asked_at_ms);
                (None, self.asker.receive_corrected_item(peer, answer, when, &self.logs).await?)
            }
        };
        if is_new {
            let now_ms = self.clock.now_ms();
            let day = self.view.seen().directory().profile().calendar.date_of(now_ms);
            self.events.count(Kind::AnswersCorrected, peer.department(), &day, now_ms);
        }
        let Some((question, place)) = doubted else { return Ok(()) };
        let _turn = self.turn.lock().await;
        // A delivery that is repeated says nothing about an earlier correction of the same question, nor about a later one.
        let is_known = self.book.opened_by(|row| row.question == question && row.corrected == Some(place)).is_some();
        if let Some(row) = self.book.opened_by(|row| row.question == question).filter(|_| !is_known) {
            let kept = self.book.keep_opened(Opened { corrected: Some(place), ..row }, Vec::new()).await;
            kept.map_err(ask::Error::from)?;
        }
        Ok(())
    }
}

/// A correction as it stands in the book when it was opened.
pub(super) fn opened_row(
    entry: u64,
    digest: &Digest,
    question: u64,
    receipt: String,
    (said, answer): (&wire::Correction, &wire::Answer),
) -> Opened {
    Opened {
        entry,
        digest: digest.to_string(),
        question,
        receipt,
        provider: said.recipient.clone(),
        provider_node: answer.sender_node.clone(),
        service: answer.service.clone(),
        major: answer.service_version,
        reason: said.reason.clone(),
        officer: said.officer.clone(),
        opened_ms: said.opened_at_ms,
        ..Opened::default()
    }
}

/// Why what a peer says is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotTaken {
    /// Our own failure.
    #[error(transparent)]
    Failed(#[from] Error),
    /// It is not believed.
    #[error(transparent)]
    Invalid(#[from] correction::Error),
}
