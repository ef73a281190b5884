//! What comes to a case by itself, after the office was answered: it is taken in at once, kept, and told. Out of scope: how it
//! comes (`ask::later`), commitments (`commit`).

use super::{Cases, commit::check_duty, lock, refresh};
use crate::{
    case::{Commitment, CommitmentState, Error},
    outbox::Happened,
};

impl Cases {
    /// The commitment with this id.
    pub fn commitment(&self, id: &str) -> Option<Commitment> {
        lock(&self.commitments).get(id).cloned()
    }

    /// Takes in what has come to the questions of a case, and has its office told where that changes anything. Without such
    /// a case there is nothing to do.
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
        if !refresh(&self.parts.asker, &mut case) {
            return Ok(());
        }
        self.keep_time(&mut case);
        let mut noting = self.parts.outbox.begin().await;
        let mut changes = noting.note(&case.system, &case.number, Happened::Case { number: case.number.clone() });
        let proofs = before.proofs.iter().zip(&case.proofs).enumerate();
        let changed: Vec<usize> = proofs.filter(|(_, (before, now))| before != now).map(|(index, _)| index).collect();
        // What a commitment waited for is there: it is checked now, and not when it was due.
        let is_open = |id: &&String| self.commitment(id).is_some_and(|row| row.state == CommitmentState::Open);
        let answered = changed.iter().filter_map(|index| case.proofs[*index].commitment.as_ref()).filter(is_open);
        changes.extend(answered.map(|id| check_duty(id, self.parts.clock.now_ms())));
        self.save(&case, changes).await?;
        noting.done();
        for index in changed {
            self.tell(&case, index, "proof");
        }
        Ok(())
    }
}
