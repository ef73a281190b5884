//! The provider's clerk decides: the record was wrong and has been mended, or it is right; where the authority's profile asks
//! for two officers, the second one's word makes it count. A record that is said to be mended and still gives the opener the
//! same answer is most likely not mended yet: that is refused unless the clerk says so. Out of scope: telling (`tell`).

use prost::Message;
use proto::exchange::v1::{self as wire, CorrectionDecision, EntryKind, answer::Outcome, correction_reply::Said};
use trust::{
    clerk::AnsweredBy,
    correction, envelope,
    ids::{Digest, Party},
    official,
    question::Question,
    refusal::{Code, Refusal},
};

use super::{
    Corrections, Error, Step,
    book::{Found, Received, duty, duty_id, id_of},
};
use crate::{clerk::check_officer, duty::Change, journal::NewEntry, keys::seal};

/// What may take two officers.
const KIND: &str = "correction.decide";

/// What became of a decision.
pub type Decided = Result<Received, Refusal>;

impl Corrections {
    /// An officer decides.
    ///
    /// # Errors
    /// Our own failure, or there is no such correction.
    pub async fn decide(&self, id: &str, found: Found) -> Result<Decided, Error> {
        let _turn = self.turn.lock().await;
        let row = self.book.received_by(|row| id_of(&row.digest) == id).ok_or(Error::Unknown)?;
        if row.found.is_some() || row.proposal.is_some() {
            return Ok(Err(closed(&row)));
        }
        if let Err(refusal) = self.check(&row, &found).await? {
            return Ok(Err(refusal));
        }
        if official::takes_four_eyes(self.view.seen().directory().profile(), KIND) {
            let row = Received { proposal: Some(found), ..row };
            self.book.keep_received(row.clone(), Vec::new()).await?;
            return Ok(Ok(row));
        }
        self.finish(row, found, "").await.map(Ok)
    }

    /// A second officer confirms what the first one found.
    ///
    /// # Errors
    /// Our own failure, or there is no such correction.
    pub async fn confirm(&self, id: &str, officer: &str) -> Result<Decided, Error> {
        let _turn = self.turn.lock().await;
        let row = self.book.received_by(|row| id_of(&row.digest) == id).ok_or(Error::Unknown)?;
        let (None, Some(proposal)) = (&row.found, row.proposal.clone()) else { return Ok(Err(closed(&row))) };
        if let Err(refusal) = check_officer("officer", officer) {
            return Ok(Err(refusal));
        }
        if officer.trim() == proposal.officer.trim() {
            return Ok(Err(Refusal::new(Code::SecondOfficerSame).at("officer")));
        }
        if let Err(refusal) = self.check(&row, &proposal).await? {
            return Ok(Err(refusal));
        }
        self.finish(row, proposal, officer.trim()).await.map(Ok)
    }

    async fn check(&self, row: &Received, found: &Found) -> Result<Result<(), Refusal>, Error> {
        if let Err(refusal) = check_officer("officer", &found.officer) {
            return Ok(Err(refusal));
        }
        if !correction::is_listed(correction::reasons(found.record_was_wrong), &found.reason) {
            let known: Vec<&str> = correction::reasons(found.record_was_wrong).iter().map(|(code, _)| *code).collect();
            let detail = format!("it is none of {}", known.join(", "));
            return Ok(Err(Refusal::new(Code::MessageMalformed).at("reason").because(detail)));
        }
        if !found.record_was_wrong || found.although_unchanged {
            return Ok(Ok(()));
        }
        let question = self.question_at((row.question, None)).await?.ok_or(Error::StoredUnreadable)?;
        let asked = Question::read(question.request).map_err(|_| Error::StoredUnreadable)?;
        let before = question.answers.last().and_then(|answer| answer.wire.outcome.clone());
        let is_records = {
            let seen = self.view.seen();
            let service = seen.directory().service(&asked.service);
            service.is_some_and(|service| AnsweredBy::of(&service.published) != AnsweredBy::Clerk)
        };
        let anew = if is_records { Some(self.anew(&asked).await?.0) } else { None };
        match (before, anew) {
            (Some(Outcome::Verdicts(before)), Some(Outcome::Verdicts(anew))) if before.verdicts == anew.verdicts => {
                Ok(Err(Refusal::new(Code::RecordNotMended)))
            }
            _ => Ok(Ok(())),
        }
    }

    /// Signs the decision, makes it durable, and puts on the list what follows from it.
    async fn finish(&self, row: Received, found: Found, second: &str) -> Result<Received, Error> {
        let consumer: Party = row.consumer.parse().map_err(|_| Error::StoredUnreadable)?;
        let correction: Digest = row.digest.parse().map_err(|_| Error::StoredUnreadable)?;
        let answer: Digest = row.answer.parse().map_err(|_| Error::StoredUnreadable)?;
        let now_ms = self.clock.now_ms();
        let decision = CorrectionDecision {
            record_was_wrong: found.record_was_wrong,
            reason: found.reason.clone(),
            officer: found.officer.clone(),
            second_officer: second.to_owned(),
        };
        let reply = wire::CorrectionReply {
            said: Some(Said::Decided(decision)),
            ..self.reply(&consumer, &correction, answer.as_bytes(), now_ms)
        };
        let (sealed, digest) = seal(&reply, self.signer.as_ref());
        let message = envelope::signed(sealed).encode_to_vec();
        let entry = NewEntry { kind: EntryKind::CorrectionReplyGiven, digest, message };
        let _expected = self.duties.announce(self.journal.end());
        let place = self.commit(now_ms, vec![entry], Some(row.entry), true).await?;
        self.decided(row, found, (place, &digest, now_ms)).await
    }

    /// A decision is in the evidence.
    pub(super) async fn decided(
        &self,
        row: Received,
        found: Found,
        (place, digest, at_ms): (u64, &Digest, u64),
    ) -> Result<Received, Error> {
        let mut changes = vec![duty(Step::Conclude, row.entry, at_ms)];
        if found.record_was_wrong {
            changes.push(duty(Step::Spread, row.entry, at_ms));
        }
        if at_ms <= row.due_ms {
            changes.push(Change::Done(duty_id(Step::Overdue, row.entry)));
        }
        let row = Received {
            found: Some(found),
            proposal: None,
            decision: Some(place),
            decision_digest: digest.to_string(),
            decided_ms: at_ms,
            ..row
        };
        self.book.keep_received(row.clone(), changes).await?;
        tracing::info!(consumer = row.consumer, state = row.state().as_str(), "a correction is decided");
        Ok(row)
    }
}

fn closed(row: &Received) -> Refusal {
    Refusal::new(Code::CorrectionClosed).at("id").because(format!("it is {}", row.state().as_str()))
}
