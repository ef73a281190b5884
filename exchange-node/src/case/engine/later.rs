//! What comes to a case by itself, after the office was answered: it is taken in at once, kept, and told. Out of scope: how it
//! comes (`ask::later`), commitments (`commit`).

use super::{
    Cases, accept_paper_while_doubted,
    commit::{check_duty, happened},
    lock, refresh,
};
use crate::{
    case::{Case, Commitment, CommitmentState, Error, commitment},
    duty::Change,
    outbox::Happened,
};

impl Cases {
    /// The commitment with this id.
    pub fn commitment(&self, id: &str) -> Option<Commitment> {
        lock(&self.commitments).get(id).cloned()
    }

    /// Takes in what has come to the questions of a case, and which of its answers are doubted, and has its office told where that
    /// changes anything. Without such a case there is nothing to do.
    ///
    /// # Errors
    ///
    /// Our own failure; it may be done again.
    pub(crate) async fn take_in(&self, number: &str) -> Result<(), Error> {
        if self.head(number).is_none() {
            return Ok(());
        }
        let turn = self.turn(number);
        let _turn = turn.lock().await;
        let Some(head) = self.head(number) else { return Ok(()) };
        let before = match self.vault.read(&self.parts.duties, &head) {
            // It went with its month: nobody waits for it.
            Err(Error::Destroyed) => return Ok(()),
            read => read?,
        };
        let mut case = before.clone();
        case.blocked = self.is_blocked(&case);
        refresh(&self.parts.asker, &mut case);
        accept_paper_while_doubted(&self.parts.corrected, &mut case);
        // Whoever read the case in between may have kept what came: the commitments have not heard of it all the same.
        let rechecked = self.recheck(&mut case);
        if case.proofs == before.proofs && rechecked.is_empty() {
            return Ok(());
        }
        self.keep_time(&mut case);
        let mut noting = self.parts.outbox.begin().await;
        let mut changes = noting.note(&case.system, &case.number, Happened::Case { number: case.number.clone() });
        for row in &rechecked {
            changes.push(Change::row(commitment::BOOK, row.id.clone(), row));
            changes.extend(noting.note(&row.system, &row.case_number, happened(row)));
        }
        let proofs = before.proofs.iter().zip(&case.proofs).enumerate();
        let changed: Vec<usize> = proofs.filter(|(_, (before, now))| before != now).map(|(index, _)| index).collect();
        // What a commitment waited for is there: it is checked now, and not when it was due.
        let is_open = |id: &&String| self.commitment(id).is_some_and(|row| row.state == CommitmentState::Open);
        let answered = case.proofs.iter().filter_map(|proof| proof.commitment.as_ref()).filter(is_open);
        changes.extend(answered.map(|id| check_duty(id, self.parts.clock.now_ms())));
        self.save(&case, changes).await?;
        noting.done();
        for row in rechecked {
            tracing::info!(commitment = row.id, state = row.state.as_str(), "a checked commitment came out otherwise");
            lock(&self.commitments).insert(row.id.clone(), row);
        }
        for index in changed {
            self.tell(&case, index, "proof");
        }
        Ok(())
    }

    /// Says anew what commitments came to that were checked by an answer which another one has taken the place of since,
    /// because a record was wrong. Those that were put right, or that no record told of, stay what they are.
    fn recheck(&self, case: &mut Case) -> Vec<Commitment> {
        let mut rechecked = Vec::new();
        for index in 0..case.proofs.len() {
            let Some(row) = case.proofs[index].commitment.as_ref().and_then(|id| self.commitment(id)) else { continue };
            let Some(state) = anew(case, index, &row) else { continue };
            let proof = &mut case.proofs[index];
            proof.broken = state == CommitmentState::Broken;
            if state == CommitmentState::Unconfirmed {
                proof.commitment = None;
            }
            let (receipt, checked_ms) = (proof.receipt.clone(), self.parts.clock.now_ms());
            rechecked.push(Commitment { state, receipt, checked_ms, ..row });
        }
        case.settle();
        rechecked
    }
}

/// What a checked commitment comes to by another answer than the one that it was checked by; `None` where it stays what it is. That
/// somebody's name cannot be asked now, or is stated otherwise since, takes nothing back.
fn anew(case: &Case, index: usize, row: &Commitment) -> Option<CommitmentState> {
    let is_checked = matches!(row.state, CommitmentState::Broken | CommitmentState::Fulfilled);
    let is_anew = case.proofs[index].receipt != row.receipt;
    case.checked(index).filter(|state| is_checked && is_anew && *state != row.state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{
        Proof,
        judge::{Answer, MATCH, MISMATCH, NO_RECORD},
    };

    #[test]
    fn a_checked_commitment_is_judged_anew_by_another_answer_alone() {
        let verdict = |verdict: &str, by_absence| Answer::Verdict {
            verdict: verdict.to_owned(),
            by_absence,
            reason: String::new(),
        };
        let of = |name: Answer, (answer, receipt): (Answer, &str), state| {
            let proof = |answer| Proof { about: "applicant".to_owned(), answer, ..Proof::default() };
            let named = Proof { names: true, ..proof(name) };
            let proofs = vec![named, Proof { receipt: receipt.to_owned(), ..proof(answer) }];
            let row = Commitment { state, receipt: "first".to_owned(), ..Commitment::default() };
            anew(&Case { proofs, ..Case::default() }, 1, &row)
        };
        let known = || verdict(MATCH, false);
        let (broken, fulfilled) = (CommitmentState::Broken, CommitmentState::Fulfilled);
        // Who broke one does not undo that by another name, nor while nobody can be asked about it.
        for unknown in [verdict(MISMATCH, false), Answer::Unanswered("unreachable".to_owned()), Answer::None] {
            assert_eq!(of(unknown.clone(), (verdict(MISMATCH, true), "first"), broken), None, "{unknown:?}");
            assert_eq!(of(unknown, (verdict(MATCH, true), "first"), fulfilled), None);
        }
        assert_eq!(of(known(), (verdict(MATCH, true), "second"), broken), Some(fulfilled));
        assert_eq!(of(known(), (verdict(MISMATCH, false), "second"), fulfilled), Some(broken));
        assert_eq!(of(known(), (verdict(NO_RECORD, false), "second"), broken), Some(CommitmentState::Unconfirmed));
        assert_eq!(of(known(), (verdict(MATCH, false), "second"), fulfilled), None, "it says the same");
        for over in [CommitmentState::Open, CommitmentState::Repaired, CommitmentState::Unconfirmed] {
            assert_eq!(of(known(), (verdict(MATCH, false), "second"), over), None, "{over:?}");
        }
    }
}
