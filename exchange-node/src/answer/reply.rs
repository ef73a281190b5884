//! The one way out of the answering side: an answer or a refusal is built, signed, made durable with its question, and
//! only then handed out. Out of scope: what is answered.

use std::sync::{Arc, atomic::Ordering};

use prost::Message;
use proto::exchange::v1::{self as wire, EntryKind, answer::Outcome};
use trust::{
    directory::WIRE_VERSION,
    envelope,
    ids::{Digest, Party},
    question::{LARGEST_REQUEST, Question},
    refusal::Refusal,
};

use super::{Answerer, Unanswered, charge::Charged, known::Turn};
use crate::{
    journal::{Commit, NewEntry, RequestMark},
    keys::seal,
    view::Seen,
};

/// A question that opened none and is larger than this is not kept itself, only its refusal.
const LARGEST_KEPT: usize = LARGEST_REQUEST + 4096;

impl Answerer {
    pub(super) async fn refuse(
        &self,
        seen: &Seen,
        question: &Question,
        digest: &Digest,
        signed: &wire::Signed,
        refusal: Refusal,
        turn: Option<Turn>,
    ) -> Result<wire::Signed, Unanswered> {
        self.log_refusal(&refusal, &question.wire.sender, &question.wire.trace);
        let outcome = Outcome::Refusal(refusal.to_wire());
        let answer = self.build(seen, &question.wire, &question.wire.sender, digest.as_bytes().to_vec(), outcome);
        self.commit(signed, Some(*digest), &answer, turn, Charged::default()).await
    }

    /// A question that did not open: nobody has vouched for it, so it is answered to whom the connection belongs to, and
    /// its id is not remembered, or anybody's broken copy could take the place of the right question.
    pub(super) async fn refuse_unopened(
        &self,
        seen: &Seen,
        peer: &Party,
        signed: &wire::Signed,
        refusal: &Refusal,
    ) -> Result<wire::Signed, Unanswered> {
        if !self.unopened.take(peer.department().as_str(), self.clock.now_ms()) {
            return Err(Unanswered::TooMany);
        }
        self.log_refusal(refusal, &peer.to_string(), "");
        let claimed = envelope::peek::<wire::Request>(signed, LARGEST_REQUEST).unwrap_or_default();
        let digest = envelope::digest_of(signed).ok();
        let request_digest = digest.map(|digest| digest.as_bytes().to_vec()).unwrap_or_default();
        let answer = self.build(seen, &claimed, &peer.to_string(), request_digest, Outcome::Refusal(refusal.to_wire()));
        self.commit(signed, digest, &answer, None, Charged::default()).await
    }

    pub(super) fn build(
        &self,
        seen: &Seen,
        request: &wire::Request,
        recipient: &str,
        request_digest: Vec<u8>,
        outcome: Outcome,
    ) -> wire::Answer {
        let name = |text: &str| text.chars().take(64).collect::<String>();
        wire::Answer {
            wire_version: WIRE_VERSION,
            exchange_id: self.me.exchange().to_string(),
            request_digest,
            request_id: request.request_id.iter().take(32).copied().collect(),
            sender: self.me.to_string(),
            sender_node: self.node.to_string(),
            recipient: recipient.to_owned(),
            service: name(&request.service),
            service_version: request.service_version,
            number: 1,
            follows: Vec::new(),
            answered_at_ms: self.clock.now_ms(),
            directory_size: seen.size(),
            directory_root: seen.root().as_bytes().to_vec(),
            grant: Vec::new(),
            outcome: Some(outcome),
            clerk: String::new(),
            second_clerk: String::new(),
            correction: Vec::new(),
        }
    }

    /// Signs the answer, makes question and answer durable, and only then hands the answer out.
    pub(super) async fn commit(
        &self,
        question: &wire::Signed,
        digest: Option<Digest>,
        answer: &wire::Answer,
        turn: Option<Turn>,
        charged: Charged,
    ) -> Result<wire::Signed, Unanswered> {
        let (sealed, answer_digest) = seal(answer, self.signer.as_ref());
        let sealed = envelope::signed(sealed);
        let mut entries = Vec::with_capacity(2);
        if let Some(digest) = digest
            && question.encoded_len() <= LARGEST_KEPT
        {
            entries.push(NewEntry { kind: EntryKind::QuestionReceived, digest, message: question.encode_to_vec() });
        }
        entries.push(NewEntry { kind: EntryKind::AnswerGiven, digest: answer_digest, message: sealed.encode_to_vec() });
        let mark = turn.as_ref().zip(digest).filter(|_| entries.len() == 2);
        let request = mark.map(|(turn, digest)| RequestMark { key: *turn.key(), digest });
        let Charged { grant, officer, goes_on } = charged;
        let is_deferral = matches!(answer.outcome, Some(Outcome::Deferral(_)));
        let given = self.subscriptions.clone().filter(|_| goes_on);
        let at_ms = answer.answered_at_ms;
        let commit =
            Commit { at_ms, entries, request, grant, officer, duty: is_deferral || goes_on, ..Commit::default() };
        let clerks = self.clerks.clone().filter(|_| is_deferral);
        let deferred = clerks.map(|clerks| (clerks, question.clone(), answer.clone()));
        let subscribed = given.map(|given| (given, question.clone(), answer.clone()));
        let (journal, shared) = (Arc::clone(&self.journal), self.shared.clone());
        let answered = sealed.clone();
        // In a task of its own: the asker may hang up at any moment, and a commit under way cannot be taken back. Were
        // it not remembered, the asker's retry would be answered a second time.
        let committing = tokio::spawn(async move {
            let at_ms = commit.at_ms;
            // Until the task stands in the book a start must look for it in the journal.
            let _expected = deferred.as_ref().map(|(clerks, ..)| clerks.announce());
            let _expected_too = subscribed.as_ref().map(|(given, ..)| given.announce());
            let committed = journal.commit(commit).await?;
            if let Some((given, question, answer)) = &subscribed {
                let request = envelope::peek::<wire::Request>(question, LARGEST_REQUEST);
                let request = request.map_err(|_| Unanswered::StoredAnswerUnreadable)?;
                given.begun(committed.first_index, &request, answer).await?;
            }
            if let Some((clerks, question, answer)) = &deferred {
                let request = envelope::peek::<wire::Request>(question, LARGEST_REQUEST);
                let request = request.map_err(|_| Unanswered::StoredAnswerUnreadable)?;
                clerks.deferred(committed.first_index, &request, answer, answer_digest).await?;
            }
            let Some(turn) = turn.filter(|_| request.is_some()) else { return Ok(None) };
            let key = *turn.key();
            turn.answered(committed.first_index, at_ms);
            match shared {
                // Where another node has answered in this one's place, that is the answer.
                Some(shared) => Ok::<_, Unanswered>(shared.keep_answer(&key, &answered).await?),
                None => Ok(None),
            }
        });
        Ok(committing.await??.unwrap_or(sealed))
    }

    pub(super) fn log_refusal(&self, refusal: &Refusal, consumer: &str, trace: &str) {
        self.counts.refused.fetch_add(1, Ordering::Relaxed);
        if self.logged.take(consumer, self.clock.now_ms()) {
            tracing::info!(code = refusal.code.as_str(), field = refusal.field, consumer, trace, "refused");
        }
    }
}
