//! After a crash: what was said of corrections and is in the evidence, and the book does not know yet.

use proto::exchange::v1::{self as wire, EntryKind, correction_reply::Said};
use trust::{
    correction,
    ids::{Digest, NodeId},
};

use super::{
    Corrections, Error, Step,
    book::{Found, Opened, duty},
    find,
    open::opened_row,
    receive::received_row,
};
use crate::{asked::item_in, journal::RecordHead, logs};

impl Corrections {
    /// Looks through records of the journal that bear a duty, the oldest first.
    ///
    /// # Errors
    /// What they say cannot be read or kept.
    pub async fn recover(&self, heads: &[RecordHead]) -> Result<usize, Error> {
        let mut recovered = 0;
        for head in heads {
            let place = head.first_index;
            recovered += usize::from(match (head.kinds.as_slice(), head.about) {
                ([EntryKind::CorrectionSent], Some(question)) => self.recover_opened(place, question).await?,
                ([EntryKind::CorrectionReplyReceived], Some(_)) => self.recover_heard(place).await?,
                ([EntryKind::CorrectionReceived, EntryKind::CorrectionReplyGiven], _) => {
                    self.recover_received(place).await?
                }
                ([EntryKind::CorrectionReplyGiven], Some(entry)) => self.recover_decided(place, entry).await?,
                ([EntryKind::AnswerGiven], Some(question)) => self.recover_answered(place, question).await?,
                ([EntryKind::AnswerReceived], Some(question)) => self.recover_corrected(place, question).await?,
                _ => false,
            });
        }
        Ok(recovered)
    }

    async fn recover_opened(&self, place: u64, question: u64) -> Result<bool, Error> {
        if self.book.opened_at(place).is_some() {
            return Ok(false);
        }
        let (said, stored) = find::message::<wire::Correction>(self.journal.as_ref(), place)?;
        let answer = Digest::try_from(said.answer_digest.as_slice()).map_err(|_| Error::StoredUnreadable)?;
        let (logs, since_ms) = (std::sync::Arc::clone(&self.logs), said.answered_at_ms);
        let found = tokio::task::spawn_blocking(move || {
            find::by_digest(&logs, &[EntryKind::AnswerReceived], &answer, since_ms)
        });
        let found = found.await??.ok_or(Error::StoredUnreadable)?;
        let (answer, of_it) = find::message::<wire::Answer>(self.journal.as_ref(), found)?;
        let receipt = of_it.entry.receipt(logs::index_in(found)).to_string();
        let row = opened_row(place, &stored.entry.envelope, question, receipt, (&said, &answer));
        self.book.keep_opened(row, vec![duty(Step::Send, place, self.clock.now_ms())]).await?;
        Ok(true)
    }

    async fn recover_heard(&self, place: u64) -> Result<bool, Error> {
        let (said, _) = find::message::<wire::CorrectionReply>(self.journal.as_ref(), place)?;
        let digest = data_encoding::HEXLOWER.encode(&said.correction);
        let decides = matches!(said.said, Some(Said::Decided(_)));
        let row =
            self.book.opened_by(|row| row.digest == digest && row.state.is_news(decides) && row.reply < Some(place));
        let Some(row) = row else { return Ok(false) };
        self.heard(row, &said, place).await?;
        Ok(true)
    }

    async fn recover_received(&self, place: u64) -> Result<bool, Error> {
        if self.book.received_at(place).is_some() {
            return Ok(false);
        }
        let (said, stored) = find::message::<wire::Correction>(self.journal.as_ref(), place)?;
        let (reply, _) = find::message::<wire::CorrectionReply>(self.journal.as_ref(), place + 1)?;
        let Some(Said::Accepted(accepted)) = &reply.said else { return Ok(false) };
        let answer = Digest::try_from(said.answer_digest.as_slice()).map_err(|_| Error::StoredUnreadable)?;
        let (logs, since_ms) = (std::sync::Arc::clone(&self.logs), said.answered_at_ms);
        let found =
            tokio::task::spawn_blocking(move || find::by_digest(&logs, &[EntryKind::AnswerGiven], &answer, since_ms));
        let found = found.await??.ok_or(Error::StoredUnreadable)?;
        let doubted = self.journal.entry(found)?.ok_or(Error::StoredUnreadable)?;
        let question = doubted.about.unwrap_or(doubted.companions.start);
        let (request, _) = find::message::<wire::Request>(self.journal.as_ref(), question)?;
        let sender_node: NodeId = said.sender_node.parse().map_err(|_| Error::StoredUnreadable)?;
        let opened = correction::Opened { digest: stored.entry.envelope, sender_node, wire: said };
        let times = (reply.said_at_ms, accepted.due_at_ms);
        let row = received_row(place, &opened, question, &request, times);
        self.book.keep_received(row, vec![duty(Step::Overdue, place, accepted.due_at_ms)]).await?;
        Ok(true)
    }

    async fn recover_decided(&self, place: u64, entry: u64) -> Result<bool, Error> {
        let Some(row) = self.book.received_at(entry).filter(|row| row.decision.is_none()) else { return Ok(false) };
        let (reply, stored) = find::message::<wire::CorrectionReply>(self.journal.as_ref(), place)?;
        let Some(Said::Decided(decided)) = reply.said else { return Ok(false) };
        let found = Found {
            record_was_wrong: decided.record_was_wrong,
            reason: decided.reason,
            officer: decided.officer,
            although_unchanged: true,
        };
        self.decided(row, found, (place, &stored.entry.envelope, reply.said_at_ms)).await?;
        Ok(true)
    }

    async fn recover_corrected(&self, place: u64, question: u64) -> Result<bool, Error> {
        let (answer, _) = find::message::<wire::Answer>(self.journal.as_ref(), place)?;
        if answer.correction.is_empty() {
            return Ok(false);
        }
        let of = (question, place);
        if let Some(recovered) = self.asker.recover_corrected_item(of, &answer, &self.logs).await? {
            return Ok(recovered);
        }
        if !self.asker.recover_corrected(of, &answer, &self.logs).await? {
            return Ok(false);
        }
        if let Some(row) = self.book.opened_by(|row| row.question == question && row.corrected < Some(place)) {
            self.book.keep_opened(Opened { corrected: Some(place), ..row }, Vec::new()).await?;
        }
        Ok(true)
    }

    async fn recover_answered(&self, place: u64, question: u64) -> Result<bool, Error> {
        let (answer, _) = find::message::<wire::Answer>(self.journal.as_ref(), place)?;
        let decision = data_encoding::HEXLOWER.encode(&answer.correction);
        let row = self.book.received_by(|row| !decision.is_empty() && row.decision_digest == decision);
        let Some(row) = row.filter(|_| !self.book.answers(question).contains(&place)) else { return Ok(false) };
        let request = Digest::try_from(answer.request_digest.as_slice()).map_err(|_| Error::StoredUnreadable)?;
        let asked = self.journal.entry(question)?.ok_or(Error::StoredUnreadable)?;
        // A batch may have thousands of questions.
        let item =
            tokio::task::spawn_blocking(move || item_in(&asked, request.as_bytes()).map(|(item, _)| item)).await?;
        self.answered_anew(row.entry, (question, item), &request, place).await?;
        Ok(true)
    }
}
