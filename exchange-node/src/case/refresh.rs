//! Answers that came later: what a case waits for is looked up in the evidence, and what a provider has taken back because a
//! record was wrong. While an answer is doubted the paper is accepted. Out of scope: how they come (`ask`, `correction`).

use trust::evidence::Receipt;

use super::{
    Case, Proof,
    judge::{Answer, answer_of, given_of},
};
use crate::{ask::Asker, correction::Book};

/// The reason of an outcome while the answer is doubted.
pub(super) const CORRECTION_OPEN: &str = "correction_open";

/// Says anew what is left to do: the paper stands in for every answer that is doubted, until that is decided.
pub(super) fn accept_paper_while_doubted(corrected: &Book, case: &mut Case) {
    for proof in &mut case.proofs {
        let receipt = proof.receipt.parse::<Receipt>().ok();
        proof.doubted = receipt.is_some_and(|receipt| corrected.open_for(&receipt, None).is_some());
    }
    case.settle();
}

/// Takes in what has come. What is left to do has to be said anew after it.
pub(super) fn refresh(asker: &Asker, case: &mut Case) {
    let mut told_anew = Vec::new();
    let may_change = |answer: &Answer| matches!(answer, Answer::Deferred { .. } | Answer::Verdict { .. });
    for proof in case.proofs.iter_mut().filter(|proof| may_change(&proof.answer)) {
        let Ok(receipt) = proof.receipt.parse::<Receipt>() else { continue };
        // What cannot be read back now is looked up again the next time.
        let Ok(asked) = asker.show(&receipt) else { continue };
        if matches!(proof.answer, Answer::Verdict { .. }) && (asked.correction.is_empty() || asked.receipt == receipt) {
            continue;
        }
        let answer = answer_of(&asked);
        if matches!(answer, Answer::Deferred { .. }) {
            continue;
        }
        proof.receipt = asked.receipt.to_string();
        if answer.needs_new_key() {
            proof.attempt = proof.attempt.saturating_add(1);
        }
        proof.answer = answer;
        let given = given_of(&asked);
        if !proof.gives.is_empty() && proof.given != given {
            proof.given = given;
            told_anew.push(proof.gives.clone());
        }
    }
    if !told_anew.is_empty() {
        case.take_given();
        // What was asked about somebody else, or not at all, is asked again with the next call.
        let takes = |proof: &&mut Proof| told_anew.iter().any(|given| proof.takes.contains(given));
        for proof in case.proofs.iter_mut().filter(takes) {
            (proof.answer, proof.given) = (Answer::None, String::new());
        }
    }
}
