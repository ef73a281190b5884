//! Answers that came later: what a case waits for is looked up in the evidence. Out of scope: how they come (`ask`).

use trust::evidence::Receipt;

use super::{
    Case,
    judge::{Answer, answer_of},
};
use crate::ask::Asker;

/// Takes in what has come; whether anything did.
pub(super) fn refresh(asker: &Asker, case: &mut Case) -> bool {
    let mut changed = false;
    for proof in case.proofs.iter_mut().filter(|proof| matches!(proof.answer, Answer::Deferred { .. })) {
        let Ok(receipt) = proof.receipt.parse::<Receipt>() else { continue };
        // What cannot be read back now is looked up again the next time.
        let Ok(asked) = asker.show(&receipt) else { continue };
        let answer = answer_of(&asked);
        if matches!(answer, Answer::Deferred { .. }) {
            continue;
        }
        proof.receipt = asked.receipt.to_string();
        if answer.needs_new_key() {
            proof.attempt = proof.attempt.saturating_add(1);
        }
        proof.answer = answer;
        changed = true;
    }
    if changed {
        case.settle();
    }
    changed
}
