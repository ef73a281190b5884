//! One item of a batch as evidence by itself: in the place of the whole batches stand this question and its answer, each with
//! its path, and what followed that answer. Nothing of the other items is in the bundle. Out of scope: what such a path proves
//! (`trust::batch`).

use proto::exchange::v1::{Answer, Attestation, Batch, Signed, signed::Form};
use trust::{batch, ids::Digest};

use super::{Error, Kept, is_question, read};

/// Puts the item in the place of its batches. The entry that was asked for may say by itself which: an answer that follows an
/// item's. Without a batch there is nothing to do, and no item to be named.
pub(super) fn alone(kept: &mut Vec<Kept>, item: Option<usize>, asked_for: u64) -> Result<(), Error> {
    let questions =
        kept.iter().find(|kept| is_question(kept.stored.entry.kind)).and_then(|kept| batch_in(&kept.message));
    let Some(questions) = questions.cloned() else {
        return if item.is_none() { Ok(()) } else { Err(Error::Unknown) };
    };
    let requests = batch::question_digests(&questions);
    let named = kept.iter().find(|kept| kept.stored.index == asked_for).and_then(|kept| follows(kept, &requests));
    let item = item.or(named).ok_or(Error::WholeBatch { items: questions.items.len() })?;
    kept.retain(|kept| follows(kept, &requests).is_none_or(|other| other == item));
    for kept in kept.iter_mut() {
        let attestation: Option<Attestation> = match (batch_in(&kept.message), is_question(kept.stored.entry.kind)) {
            (Some(_), true) => batch::attest_question(&questions, item),
            (Some(answers), false) => batch::attest_answer(answers, &questions, item),
            // An answer of its own, and under its own signature.
            (None, _) if follows(kept, &requests).is_some() => continue,
            // A refusal of the whole names the batch, and no item of it.
            (None, _) => return Err(Error::BatchRefused),
        };
        kept.message = Signed { form: Some(Form::Attestation(attestation.ok_or(Error::Unknown)?)) };
    }
    Ok(())
}

fn batch_in(message: &Signed) -> Option<&Batch> {
    match &message.form {
        Some(Form::Batch(batch)) => Some(batch),
        _ => None,
    }
}

/// Which item's answer this one follows, where it is a message of its own and follows one.
fn follows(kept: &Kept, requests: &[Digest]) -> Option<usize> {
    if batch_in(&kept.message).is_some() || is_question(kept.stored.entry.kind) {
        return None;
    }
    let answer: Answer = read(&kept.message).ok()?;
    requests.iter().position(|request| answer.request_digest == request.as_bytes())
}
