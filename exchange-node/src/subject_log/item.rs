//! One question out of a batch, and the answer to it: a batch is one entry of the evidence, and each of its questions is about
//! a subject of its own. Out of scope: what a batch is (`trust::batch`).

use prost::Message;
use proto::exchange::v1::{self as wire, signed::Form};
use trust::{
    batch,
    envelope::{self, Payload},
    ids::Digest,
};

/// An entry's index has so many bits; above them stands which question of a batch is meant, counted from 1.
const INDEX_BITS: u32 = 48;

/// An entry, or one question of the batch that it holds, as one number.
pub(super) fn packed(index: u64, item: Option<usize>) -> u64 {
    let item = item.map_or(0, |item| u64::try_from(item).unwrap_or(0) + 1);
    (item << INDEX_BITS) | index
}

/// The entry, and which question of its batch is meant.
pub(super) fn unpacked(packed: u64) -> (u64, Option<usize>) {
    let item = packed >> INDEX_BITS;
    (packed & ((1 << INDEX_BITS) - 1), item.checked_sub(1).and_then(|item| usize::try_from(item).ok()))
}

/// Every question that a stored message holds.
pub(super) fn questions(message: Option<&[u8]>) -> Vec<(Option<usize>, wire::Request)> {
    let Some(signed) = message.and_then(|message| wire::Signed::decode(message).ok()) else { return Vec::new() };
    match &signed.form {
        Some(Form::Batch(batch)) => {
            let one = |item| Some((Some(item), question_of(batch, item)?.0));
            (0..batch.items.len()).filter_map(one).collect()
        }
        _ => envelope::peek(&signed, usize::MAX).ok().map(|request| (None, request)).into_iter().collect(),
    }
}

/// One question with its identity; `digest` is that of the message as a whole.
pub(super) fn question(message: Option<&[u8]>, digest: Digest, item: Option<usize>) -> Option<(wire::Request, Digest)> {
    let signed = wire::Signed::decode(message?).ok()?;
    match (&signed.form, item) {
        (Some(Form::Batch(batch)), Some(item)) => question_of(batch, item),
        (Some(Form::Batch(_)), None) | (_, Some(_)) => None,
        (_, None) => Some((envelope::peek(&signed, usize::MAX).ok()?, digest)),
    }
}

/// The answer to one question of a batch with its identity: its own, or the refusal of the whole.
pub(super) fn answer(
    message: Option<&[u8]>,
    digest: Digest,
    item: usize,
    request: &Digest,
) -> Option<(wire::Answer, Digest)> {
    let signed = wire::Signed::decode(message?).ok()?;
    match &signed.form {
        Some(Form::Batch(answers)) => {
            answers.items.get(item)?;
            let payload = batch::answer_payload(answers, item, request);
            let digest = envelope::digest(wire::Answer::TYPE, &payload);
            Some((wire::Answer::decode(payload.as_slice()).ok()?, digest))
        }
        _ => Some((envelope::peek(&signed, usize::MAX).ok()?, digest)),
    }
}

fn question_of(batch: &wire::Batch, item: usize) -> Option<(wire::Request, Digest)> {
    batch.items.get(item)?;
    let payload = batch::question_payload(batch, item);
    let digest = envelope::digest(wire::Request::TYPE, &payload);
    Some((wire::Request::decode(payload.as_slice()).ok()?, digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_and_a_question_of_its_batch_are_one_number() {
        for (index, item) in [(0, None), (7, None), (0, Some(0)), (1 << 40, Some(9_999))] {
            assert_eq!(unpacked(packed(index, item)), (index, item));
        }
        assert_eq!(packed(7, None), 7, "an entry by itself is its index");
    }

    #[test]
    fn each_question_of_a_batch_is_read_with_its_identity() {
        let common = wire::Request { service: "marriage-registration".into(), ..wire::Request::default() };
        let own = |value: &str| {
            let subject = Some(wire::Subject { scheme: "resident_id".into(), value: value.into() });
            wire::Request { subject, ..wire::Request::default() }.encode_to_vec()
        };
        let batch = wire::Batch {
            common: common.encode_to_vec(),
            items: vec![own("one"), own("two")],
            batch_id: vec![3; 32],
            ..wire::Batch::default()
        };
        let digests = batch::question_digests(&batch);
        let signed = wire::Signed { form: Some(Form::Batch(batch)) }.encode_to_vec();
        let whole = Digest::new([9; 32]);
        let all = questions(Some(&signed));
        assert_eq!(all.iter().map(|(item, _)| *item).collect::<Vec<_>>(), [Some(0), Some(1)]);
        for (item, digest) in digests.iter().enumerate() {
            let (request, found) = question(Some(&signed), whole, Some(item)).unwrap();
            assert_eq!((request, found), (all[item].1.clone(), *digest));
        }
        assert_eq!(all[1].1.subject.as_ref().unwrap().value, "two");
        assert!(question(Some(&signed), whole, Some(2)).is_none() && question(Some(&signed), whole, None).is_none());
    }
}
