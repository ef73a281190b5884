//! What another node tells that it holds, message by message: batches are put together from their pieces, and an answer waits
//! for its question, which comes after it. Both within bounds: the other side may tell anything. Out of scope: what the messages
//! are (`pair`).

use std::collections::HashMap;

use prost::Message as _;
use proto::exchange::v1::{HeldMessage, Signed};
use trust::batch::LARGEST_BATCH;

use super::pair::{Answer, Of, Question};

/// How many answers may wait for their questions.
const MOST_WAITING: usize = 10_000;

/// How many bytes they may have together.
const MOST_WAITING_BYTES: usize = 96 * 1024 * 1024;

/// More than any node holds.
#[derive(Debug, thiserror::Error)]
pub(super) enum TooMuch {
    #[error("it gives answers without their questions")]
    Answers,
    #[error("it gives a batch that is larger than one may be")]
    Batch,
}

/// Puts batches together from their pieces.
#[derive(Default)]
pub(super) struct Pieces {
    bytes: Vec<u8>,
}

impl Pieces {
    /// The next message, once all of it is there.
    pub(super) fn take(&mut self, mut held: HeldMessage) -> Result<Option<HeldMessage>, TooMuch> {
        if held.piece.is_empty() {
            self.bytes.clear();
            return Ok(Some(held));
        }
        if self.bytes.len() + held.piece.len() > LARGEST_BATCH + 64 {
            return Err(TooMuch::Batch);
        }
        self.bytes.append(&mut held.piece);
        if held.goes_on {
            return Ok(None);
        }
        let bytes = std::mem::take(&mut self.bytes);
        // What cannot be read is no message, and counted as such by whoever looks at it.
        held.message = Signed::decode(bytes.as_slice()).ok();
        Ok(Some(held))
    }
}

/// Answers that came before their questions.
#[derive(Default)]
pub(super) struct Waiting {
    answers: HashMap<Of, (usize, Answer)>,
    bytes: usize,
}

impl Waiting {
    /// The answer waits for its question.
    pub(super) fn add(&mut self, answer: Answer) -> Result<(), TooMuch> {
        let bytes = answer.message.encoded_len();
        self.bytes += bytes;
        if let Some((before, _)) = self.answers.insert(answer.of.clone(), (bytes, answer)) {
            self.bytes -= before;
        }
        match self.answers.len() > MOST_WAITING || self.bytes > MOST_WAITING_BYTES {
            true => Err(TooMuch::Answers),
            false => Ok(()),
        }
    }

    /// The answer of this question: to it as a whole, or to each of the questions in it.
    pub(super) fn of(&mut self, question: &Question) -> Option<Answer> {
        let whole = self.answers.remove(&Of::Question(question.digest));
        let each = question.batch.as_ref().map(|_| Of::Batch(question.question.id.as_bytes().to_vec()));
        let (bytes, answer) = whole.or_else(|| self.answers.remove(&each?))?;
        self.bytes -= bytes;
        Some(answer)
    }
}

#[cfg(test)]
mod tests {
    use proto::exchange::v1::{Batch, EntryKind, signed::Form};

    use super::*;

    fn piece(bytes: &[u8], goes_on: bool) -> HeldMessage {
        HeldMessage { kind: EntryKind::AnswerGiven.into(), piece: bytes.to_vec(), goes_on, ..HeldMessage::default() }
    }

    #[test]
    fn a_batch_is_there_once_its_last_piece_is_and_none_is_larger_than_one_may_be() {
        let whole = Signed { form: Some(Form::Batch(Batch { items: vec![vec![3; 100]], ..Batch::default() })) };
        let bytes = whole.encode_to_vec();
        let mut pieces = Pieces::default();
        assert_eq!(pieces.take(piece(&bytes[..50], true)).unwrap(), None);
        let held = pieces.take(piece(&bytes[50..], false)).unwrap().unwrap();
        assert_eq!((held.kind(), held.message), (EntryKind::AnswerGiven, Some(whole.clone())));
        // The next begins anew; and one that was cut off leaves nothing behind.
        assert_eq!(pieces.take(piece(&bytes[..50], true)).unwrap(), None);
        let single = HeldMessage { message: Some(whole), ..HeldMessage::default() };
        assert_eq!(pieces.take(single.clone()).unwrap(), Some(single));
        assert!(pieces.take(piece(&bytes, false)).unwrap().unwrap().message.is_some());
        assert!(pieces.take(piece(&[0xff; 9], false)).unwrap().unwrap().message.is_none());
        let large = vec![0; LARGEST_BATCH / 2 + 64];
        assert_eq!(pieces.take(piece(&large, true)).unwrap(), None);
        assert!(matches!(pieces.take(piece(&large, true)), Err(TooMuch::Batch)));
    }
}
