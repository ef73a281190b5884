//! A record was wrong: everyone who relied on it is found and gets the successor of its own answer, evaluated for its own
//! question's claims and decided on anew. Who may not be told a verdict any more gets to read that the old one counts no longer,
//! and why there is no new one. Out of scope: which answers a subject has (`subject_log`).

use std::{collections::HashSet, sync::Arc};

use prost::Message;
use proto::exchange::v1::{self as wire, EntryKind, answer::Outcome};
use trust::{
    claim::Reason,
    envelope,
    ids::{Digest, Party},
    question::Question,
};

use super::{
    Corrections, Error,
    book::{CorrectedRow, GivenAnew, Of, Received},
};
use crate::{journal::NewEntry, keys::seal, subject_log::QuestionAt};

impl Corrections {
    /// The question at a place with its answers, read on a blocking thread.
    pub(super) async fn question_at(&self, (place, item): Of) -> Result<Option<QuestionAt>, Error> {
        let subjects = Arc::clone(&self.subjects);
        Ok(tokio::task::spawn_blocking(move || subjects.question(place, item)).await??)
    }

    /// What a question gets now, with the grant that it rests on.
    pub(super) async fn anew(&self, question: &Question) -> Result<(Outcome, Vec<u8>), Error> {
        let (outcome, grant) = self.answerer.anew(question).await.ok_or(Error::RecordAway)?;
        // An outage is no answer: it is tried again.
        let away = [Reason::SourceDown, Reason::NotImported, Reason::Quarantined].map(Reason::as_str);
        if let Outcome::Verdicts(verdicts) = &outcome
            && verdicts.verdicts.iter().any(|verdict| away.contains(&verdict.reason.as_str()))
        {
            return Err(Error::RecordAway);
        }
        Ok((outcome, grant))
    }

    /// Finds every question whose answer rests on the same record, and puts each on the list.
    pub(super) async fn spread(&self, row: &Received) -> Result<(), Error> {
        let doubted = self.question_at((row.question, None)).await?.ok_or(Error::StoredUnreadable)?;
        let subjects = Arc::clone(&self.subjects);
        let (wanted, schemes) = {
            let seen = self.view.seen();
            (doubted.request.clone(), seen.directory().profile().schemes.clone())
        };
        let (decided_ms, first) = (row.decided_ms, (row.question, None));
        let decision = row.decision_digest.clone();
        let found = tokio::task::spawn_blocking(move || {
            let attributes: HashSet<&str> = wanted.claims.iter().map(|claim| claim.attribute.as_str()).collect();
            let parse = |subject: &wire::Subject| schemes.parse(&subject.scheme, &subject.value).ok();
            let former: Vec<_> = wanted.former_subjects.iter().filter_map(parse).collect();
            // The opener is told first.
            let mut places = vec![first];
            // Where one question sums over several, the record of any of them may have been the wrong one.
            for (number, subject) in wanted.subject.iter().chain(&wanted.also_about).enumerate() {
                let subject = parse(subject).ok_or(Error::StoredUnreadable)?;
                let former = if number == 0 { former.as_slice() } else { &[] };
                subjects.each(&subject, former, |_, _, question| {
                    let of_it = question.request.service == wanted.service
                        // What goes on tells its changes in its own succession, once the record is right.
                        && question.request.subscription.is_none()
                        && question.request.claims.iter().any(|claim| attributes.contains(claim.attribute.as_str()));
                    let relied = question.answers.last().is_some_and(|newest| {
                        let of_now = newest.wire.answered_at_ms <= decided_ms;
                        let told = matches!(newest.wire.outcome, Some(Outcome::Verdicts(_))) && of_now;
                        // One that was told already, before a crash, is put on the list again: at least once.
                        let again = data_encoding::HEXLOWER.encode(&newest.wire.correction) == decision;
                        newest.wire.recipient == question.request.sender && (told || again)
                    });
                    let of = question.place.map(|place| (place, question.of_batch.map(|of| of.item)));
                    let of = of.filter(|of| of_it && relied && !places.contains(of));
                    places.extend(of);
                    true
                })?;
            }
            Ok::<_, Error>(places)
        });
        let places = found.await??;
        let now_ms = self.clock.now_ms();
        // The decision is delivered at the same time: neither may write over what the other has just said of the row.
        let _turn = self.turn.lock().await;
        self.book.spread(row.entry, &places, now_ms).await?;
        tracing::info!(
            entry = row.entry,
            affected = places.len(),
            "everyone who relied on a record that was wrong is told"
        );
        Ok(())
    }

    /// Gives one question its new answer, once, and delivers it.
    pub(super) async fn tell(&self, row: &Received, of: Of) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let question = self.question_at(of).await?.ok_or(Error::StoredUnreadable)?;
        if question.request.subscription.is_some() {
            // It goes on: a change of its verdict is told by a notice, and two successions of one answer would contradict.
            return Ok(());
        }
        let given = self
            .book
            .corrected(of)
            .and_then(|row_of| row_of.answers.iter().find(|given| given.correction == row.entry).copied())
            .map(|given| given.answer);
        let answer = match given {
            Some(answer) => answer,
            None => self.answer_anew(row, &question, of).await?,
        };
        let consumer: Party = question.request.sender.parse()?;
        let node = {
            let seen = self.view.seen();
            let mut nodes = seen.directory().nodes_of(consumer.department());
            nodes.find(|node| node.node.as_str() == question.request.sender_node).cloned()
        };
        let node = node.ok_or("the directory has no such node (any more)")?;
        let (_, signed) = super::find::stored(self.journal.as_ref(), answer)?;
        let batch = question.of_batch.map(|of| of.batch);
        self.deliver(&node, signed, (question.request.issued_at_ms, batch)).await?;
        if let Some(mut given) = self.book.corrected(of) {
            given.answers.iter_mut().filter(|given| given.answer == answer).for_each(|given| given.delivered = true);
            self.book.keep_corrected(given).await?;
        }
        Ok(())
    }

    async fn answer_anew(&self, row: &Received, question: &QuestionAt, of: Of) -> Result<u64, Error> {
        let asked = Question::read(question.request.clone()).map_err(|_| Error::StoredUnreadable)?;
        let before = question.answers.last().ok_or(Error::StoredUnreadable)?;
        let decision: Digest = row.decision_digest.parse().map_err(|_| Error::StoredUnreadable)?;
        let (outcome, grant) = self.anew(&asked).await?;
        let now_ms = self.clock.now_ms();
        let answer = {
            let seen = self.view.seen();
            wire::Answer {
                sender_node: self.node.to_string(),
                number: before.wire.number + 1,
                follows: before.digest.as_bytes().to_vec(),
                answered_at_ms: now_ms.max(before.wire.answered_at_ms),
                directory_size: seen.size(),
                directory_root: seen.root().as_bytes().to_vec(),
                grant,
                outcome: Some(outcome),
                clerk: String::new(),
                second_clerk: String::new(),
                correction: decision.as_bytes().to_vec(),
                ..before.wire.clone()
            }
        };
        let (sealed, digest) = seal(&answer, self.signer.as_ref());
        let message = envelope::signed(sealed).encode_to_vec();
        let entry = NewEntry { kind: EntryKind::AnswerGiven, digest, message };
        let _expected = self.duties.announce(self.journal.end());
        // One question of a batch stands in the batch's entry.
        let given = self.commit(now_ms, vec![entry], Some(of.0), true).await?;
        self.answered_anew(row.entry, of, &question.request_digest, given).await?;
        Ok(given)
    }

    /// A new answer is in the evidence.
    pub(super) async fn answered_anew(
        &self,
        correction: u64,
        of: Of,
        request: &Digest,
        answer: u64,
    ) -> Result<(), Error> {
        let (question, item) = of;
        let mut row = self.book.corrected(of).unwrap_or_else(|| CorrectedRow {
            question,
            item,
            request: request.to_string(),
            answers: Vec::new(),
        });
        if !row.answers.iter().any(|known| known.answer == answer) {
            row.answers.push(GivenAnew { correction, answer, delivered: false });
            self.book.keep_corrected(row).await?;
        }
        Ok(())
    }
}
