//! Answers that follow the answer to one item of a batch, because a record was wrong: each is a message of its own, and follows
//! the leaf that the batch of answers has for that item. Found by the item's receipt and by their own. Out of scope: batches
//! themselves (`batch`), and every other answer that comes later (`later`).

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
};

use prost::Message;
use proto::exchange::v1::{self as wire, EntryKind, signed::Form};
use serde::{Deserialize, Serialize};
use trust::{
    answer::{self, AnswerError},
    batch,
    envelope::{self, Payload},
    evidence::ItemReceipt,
    ids::{Digest, Party},
    question::Question,
};

use super::{
    Asked, Asker, Error, NotFound, NotReceived,
    later::{Awaiting, corrected_request},
    lock,
};
use crate::{
    asked::{item_in, message, signed as signed_in},
    correction,
    duty::{self, Change, Duties},
    journal::{Journal, NewEntry, StoredEntry},
    logs::{self, Logs},
    outbox::Happened,
};

/// The book's name in the due-list.
const BOOK: &str = "corrected_item";

/// One item of a batch whose answer was followed by others.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(super) struct CorrectedItem {
    /// The place of the batch of questions.
    question: u64,
    /// Which of them.
    item: usize,
    /// By what the item is looked up, as in the results of its job.
    id: String,
    /// The places of its answers: the batch of answers, then those that followed.
    answers: Vec<u64>,
}

/// All of them.
#[derive(Default)]
pub(super) struct CorrectedItems(Mutex<BTreeMap<(u64, usize), CorrectedItem>>);

impl CorrectedItems {
    pub(super) fn open(duties: &Duties) -> Result<Self, duty::Error> {
        let rows = duties.rows::<CorrectedItem>(BOOK)?.into_iter().map(|row| ((row.question, row.item), row));
        Ok(Self(Mutex::new(rows.collect())))
    }

    fn row(&self, question: u64, item: usize) -> Option<CorrectedItem> {
        lock(&self.0).get(&(question, item)).cloned()
    }

    fn of_batch(&self, question: u64) -> Vec<CorrectedItem> {
        let rows = lock(&self.0);
        rows.range((question, 0)..=(question, usize::MAX)).map(|(_, row)| row.clone()).collect()
    }
}

impl Asker {
    /// Takes an answer that takes the place of one item's answer because a record was wrong; whether it is new.
    ///
    /// # Errors
    ///
    /// It is not taken, and why.
    pub(crate) async fn receive_corrected_item(
        &self,
        peer: &Party,
        signed: wire::Signed,
        (batch, asked_at_ms): (Digest, u64),
        logs: &Arc<Logs>,
    ) -> Result<bool, NotReceived> {
        let awaiting = self.awaiting.as_ref().ok_or(NotReceived::Unawaited)?;
        let request = corrected_request(peer, &signed)?;
        let _turn = awaiting.turn.lock().await;
        let (journal, logs) = (Arc::clone(&self.journal), Arc::clone(logs));
        // A batch may have millions of bytes, and its month be closed.
        let found = tokio::task::spawn_blocking(move || {
            let question = correction::by_digest(&logs, &[EntryKind::QuestionSent], &batch, asked_at_ms)?;
            let Some(question) = question else { return Ok(None) };
            let Some(row) = row_of(journal.as_ref(), &logs, question, request.as_bytes())? else { return Ok(None) };
            let (asked, before) = last_of(journal.as_ref(), &row)?;
            Ok::<_, Error>(Some((row, asked, before)))
        });
        let found = found.await.map_err(|_| Error::StoredUnreadable)??;
        let (row, asked, before) = found.ok_or(NotReceived::Unawaited)?;
        let digest = envelope::digest_of(&signed).map_err(AnswerError::from)?;
        for place in &row.answers {
            let known = self.journal.entry(*place).map_err(Error::from)?.ok_or(Error::StoredUnreadable)?;
            if known.entry.envelope == digest {
                // It may be in the evidence alone, where keeping the book failed.
                let place = *place;
                return Ok(self.keep_lacked(awaiting, row, &asked.wire, place).await?);
            }
        }
        let opened = self.open_caught_up(&signed, |seen, now_ms| {
            let root_at = |size| self.view.root_at(size);
            answer::open_successor(seen.directory(), &signed, &asked, &before, now_ms, root_at)
        });
        let opened = opened.await?;
        let entry =
            NewEntry { kind: EntryKind::AnswerReceived, digest: opened.digest, message: signed.encode_to_vec() };
        let _expected = self.announce(awaiting);
        // What takes another answer's place is no further use of the grant.
        let committed = self.commit(vec![entry], Some(row.question), None, (None, None), true).await?;
        self.item_came(awaiting, row, &asked.wire, committed.first_index).await?;
        tracing::info!(
            provider = opened.wire.sender,
            service = opened.wire.service,
            "a corrected answer to one item of a batch has come"
        );
        Ok(true)
    }

    /// An answer that followed an item's is in the evidence, and a crash kept it from the book; `None` where it follows none of
    /// a batch.
    pub(crate) async fn recover_corrected_item(
        &self,
        (question, place): (u64, u64),
        answer: &wire::Answer,
        logs: &Arc<Logs>,
    ) -> Result<Option<bool>, Error> {
        let Some(awaiting) = &self.awaiting else { return Ok(None) };
        let (journal, logs, request) = (Arc::clone(&self.journal), Arc::clone(logs), answer.request_digest.clone());
        let found = tokio::task::spawn_blocking(move || {
            let Some(row) = row_of(journal.as_ref(), &logs, question, &request)? else { return Ok(None) };
            let (asked, _) = last_of(journal.as_ref(), &row)?;
            Ok::<_, Error>(Some((row, asked.wire)))
        });
        let Some((row, asked)) = found.await.map_err(|_| Error::StoredUnreadable)?? else { return Ok(None) };
        self.keep_lacked(awaiting, row, &asked, place).await.map(Some)
    }

    /// An answer is in the evidence, as the row says: keeps it in the book where that lacks it; whether it did.
    async fn keep_lacked(
        &self,
        awaiting: &Awaiting,
        row: CorrectedItem,
        asked: &wire::Request,
        place: u64,
    ) -> Result<bool, Error> {
        let known = awaiting.items.row(row.question, row.item);
        if known.is_some_and(|known| known.answers.contains(&place)) {
            return Ok(false);
        }
        let answers = row.answers.iter().copied().filter(|answer| *answer < place).collect();
        self.item_came(awaiting, CorrectedItem { answers, ..row }, asked, place).await?;
        Ok(true)
    }

    /// An answer that follows an item's is in the evidence.
    async fn item_came(
        &self,
        awaiting: &Awaiting,
        mut row: CorrectedItem,
        asked: &wire::Request,
        answer: u64,
    ) -> Result<(), Error> {
        row.answers.push(answer);
        let mut changes = vec![Change::row(BOOK, format!("{:020}/{:05}", row.question, row.item), &row)];
        let mut noting = match self.outbox() {
            Some(outbox) => Some(outbox.begin().await),
            None => None,
        };
        if let Some(noting) = &mut noting {
            changes.extend(noting.note(&asked.system, &asked.case_number, Happened::Answer { answer }));
        }
        awaiting.duties().commit(changes).await?;
        lock(&awaiting.items.0).insert((row.question, row.item), row);
        if let Some(noting) = noting {
            noting.done();
        }
        Ok(())
    }

    /// The newest answer to an item of the batch at a place, where one followed its first.
    pub(super) fn newest_of_item(&self, question: u64, item: usize) -> Option<u64> {
        let row = self.awaiting.as_ref()?.items.row(question, item)?;
        row.answers.last().copied()
    }

    /// The newest answer to the item that another answer, which followed its first, is to.
    pub(super) fn newest_beside(&self, question: u64, answer: u64) -> Option<u64> {
        self.item_with(question, answer)?.answers.last().copied()
    }

    /// By what the item is looked up that an answer, which followed its first, is to.
    pub(super) fn item_receipt(&self, question: u64, answer: u64) -> Option<ItemReceipt> {
        self.item_with(question, answer)?.id.parse().ok()
    }

    /// The places of all answers to the items of a batch of which one was followed by others.
    pub(super) fn answers_of_items(&self, question: u64) -> Vec<u64> {
        let rows = self.awaiting.as_ref().map(|awaiting| awaiting.items.of_batch(question)).unwrap_or_default();
        rows.into_iter().flat_map(|row| row.answers).collect()
    }

    /// Items whose answers were followed by others, by what the results of jobs name them: the newest as it stands. Reads the
    /// evidence of those that are among `named`.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub(crate) fn corrected_items(&self, named: &[&str]) -> Result<HashMap<String, Asked>, Error> {
        let Some(awaiting) = &self.awaiting else { return Ok(HashMap::new()) };
        let mut newest: Vec<(String, u64)> = Vec::new();
        {
            let rows = lock(&awaiting.items.0);
            if rows.is_empty() {
                return Ok(HashMap::new());
            }
            let by_id: HashMap<&str, &CorrectedItem> = rows.values().map(|row| (row.id.as_str(), row)).collect();
            for row in named.iter().filter_map(|id| by_id.get(id)) {
                newest.extend(row.answers.last().map(|place| (row.id.clone(), *place)));
            }
        }
        let mut found = HashMap::new();
        for (id, place) in newest {
            match self.show_entry(place) {
                Ok(asked) => drop(found.insert(id, asked)),
                Err(NotFound::Failed(error)) => return Err(error),
                // Its month's key was destroyed: the result stays what it was.
                Err(NotFound::Destroyed | NotFound::Unknown) => {}
            }
        }
        Ok(found)
    }

    fn item_with(&self, question: u64, answer: u64) -> Option<CorrectedItem> {
        let rows = self.awaiting.as_ref()?.items.of_batch(question);
        // The first is the batch's, and every item's.
        rows.into_iter().find(|row| row.answers.iter().skip(1).any(|place| *place == answer))
    }
}

/// The item with this identity as it stands in the evidence; `None` where there is no such one, or no batch of answers came to it.
/// Blocks.
fn row_of(journal: &dyn Journal, logs: &Logs, question: u64, request: &[u8]) -> Result<Option<CorrectedItem>, Error> {
    let asked = journal.entry(question)?.ok_or(Error::StoredUnreadable)?;
    let Some((item, _)) = item_in(&asked, request) else { return Ok(None) };
    let (mut first, mut later) = (None, Vec::new());
    for place in correction::answers_to(logs, question, asked.at_ms)? {
        let stored = journal.entry(place)?.ok_or(Error::StoredUnreadable)?;
        if batch_in(&stored).is_some() {
            // Sent again after a crash it was recorded again, and results name the last.
            first = Some((place, stored.entry.receipt(logs::index_in(place))));
        } else if message::<wire::Answer>(&stored).is_some_and(|answer| answer.request_digest == request) {
            later.push(place);
        }
    }
    Ok(first.map(|(first, receipt)| {
        let id = ItemReceipt { receipt, item: Some(item) }.to_string();
        CorrectedItem { question, item, id, answers: std::iter::once(first).chain(later).collect() }
    }))
}

/// The question of an item, and the answer to it that the next one follows. Blocks.
fn last_of(journal: &dyn Journal, row: &CorrectedItem) -> Result<(Question, answer::Answer), Error> {
    let stored = |place: u64| journal.entry(place)?.ok_or(Error::StoredUnreadable);
    let asked = batch_in(&stored(row.question)?).ok_or(Error::StoredUnreadable)?;
    let payload = batch::question_payload(&asked, row.item);
    let request = envelope::digest(wire::Request::TYPE, &payload);
    let wire = wire::Request::decode(payload.as_slice()).map_err(|_| Error::StoredUnreadable)?;
    let question = Question::read(wire).map_err(|_| Error::StoredUnreadable)?;
    let newest = stored(row.answers.last().copied().ok_or(Error::StoredUnreadable)?)?;
    let Some(answers) = batch_in(&newest) else {
        let wire = message(&newest).ok_or(Error::StoredUnreadable)?;
        return Ok((question, answer::Answer { digest: newest.entry.envelope, wire }));
    };
    let payload = batch::answer_payload(&answers, row.item, &request);
    let wire = wire::Answer::decode(payload.as_slice()).map_err(|_| Error::StoredUnreadable)?;
    Ok((question, answer::Answer { digest: envelope::digest(wire::Answer::TYPE, &payload), wire }))
}

fn batch_in(stored: &StoredEntry) -> Option<wire::Batch> {
    match signed_in(stored)?.form {
        Some(Form::Batch(batch)) => Some(batch),
        _ => None,
    }
}
