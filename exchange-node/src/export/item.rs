//! One item of a batch as evidence by itself: in the place of the whole batches stand this question and its answer, each with
//! its path. Nothing of the other items is in the bundle. Out of scope: what such a path proves (`trust::batch`).

use proto::exchange::v1::{Attestation, Batch, Signed, signed::Form};
use trust::batch;

use super::{Error, Kept, is_question};

/// Puts the item in the place of its batches. Without a batch there is nothing to do, and no item to be named.
pub(super) fn alone(kept: &mut [Kept], item: Option<usize>) -> Result<(), Error> {
    let questions =
        kept.iter().find(|kept| is_question(kept.stored.entry.kind)).and_then(|kept| batch_in(&kept.message));
    let Some(questions) = questions.cloned() else {
        return if item.is_none() { Ok(()) } else { Err(Error::Unknown) };
    };
    let item = item.ok_or(Error::WholeBatch { items: questions.items.len() })?;
    for kept in kept.iter_mut() {
        let attestation: Option<Attestation> = match (batch_in(&kept.message), is_question(kept.stored.entry.kind)) {
            (Some(_), true) => batch::attest_question(&questions, item),
            (Some(answers), false) => batch::attest_answer(answers, &questions, item),
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
