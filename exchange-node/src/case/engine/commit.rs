//! Commitments in cases: taken in place of a proof, checked later as a duty, and what follows where one was false.
//!
//! **Invariants:** the check stands on the due-list before the commitment is told, and goes off it together with what it found:
//! it is never dropped, and its result counts once. A crash between asking and keeping finds the same answer again, because
//! the question has the same key.

use data_encoding::HEXLOWER;
use host::random;
use trust::{
    item,
    refusal::{Code, Refusal},
};

use super::{
    Cases, Proof, lock,
    round::{key_of, take},
};
use crate::{
    ask::OfficeQuestion,
    case::{
        Case, Commitment, CommitmentState, Error, NewCommitment, Outcome, commitment,
        judge::{Answer, IDENTITY_NOT_CONFIRMED},
        people::name_in_case,
        plan::{self, Planned},
    },
    duty::{Acted, Change, Duty, What},
    outbox::Happened,
};

/// How soon a check looks again for a service that is not there yet, or an answer that a person has yet to give.
const LOOK_AGAIN_MS: u64 = 3_600_000;

/// How long after an answer was due it is asked for anew: whoever had it does not seem to have it any more.
const DEFERRED_GRACE_MS: u64 = 7 * 86_400_000;

/// How soon again one answer has others asked at once.
const HASTEN_AGAIN_MS: u64 = 600_000;

/// How soon a check looks again whose question a crash interrupted.
const RESUMED_SOON_MS: u64 = 500;

impl Cases {
    /// Takes a commitment in place of a proof. The same form again shows the case.
    ///
    /// # Errors
    ///
    /// [`Error::Unknown`], or our own failure.
    pub async fn commit(&self, new: NewCommitment) -> Result<Result<Case, Refusal>, Error> {
        if let Err(refusal) = super::check_head(&new.number, &new.officer) {
            return Ok(Err(refusal));
        }
        if new.form_digest.len() != 32 {
            let refusal = Refusal::new(Code::MessageMalformed).at("form_digest");
            return Ok(Err(refusal.because("the SHA-256 of the form that the applicant signed, 32 bytes")));
        }
        let turn = self.turn(&new.number);
        let _turn = turn.lock().await;
        let mut case = self.load(&self.head(&new.number).ok_or(Error::Unknown)?)?;
        let about = name_in_case(&new.about);
        let is_it = |proof: &super::Proof| {
            proof.proof == new.proof && !proof.identity && (about.is_empty() || proof.about == about)
        };
        let found: Vec<usize> = (0..case.proofs.len()).filter(|index| is_it(&case.proofs[*index])).collect();
        let index = match found.as_slice() {
            [index] => *index,
            [] => return Ok(Err(Refusal::new(Code::ProofUnknown).at("proof"))),
            _ => return Ok(Err(Refusal::new(Code::ProofUnknown).at("about").because("several proofs have this name"))),
        };
        let digest = HEXLOWER.encode(&new.form_digest);
        let taken = case.proofs[index].commitment.as_ref().and_then(|id| self.commitment(id));
        if taken.is_some_and(|taken| taken.form_digest == digest) {
            // The same again, because the answer was lost on its way, is the one that was taken.
            return Ok(Ok(case));
        }
        if let Err(refusal) = may_commit(&case, index) {
            return Ok(Err(refusal));
        }
        let now_ms = self.parts.clock.now_ms();
        let id = format!("{now_ms:013}-{}", HEXLOWER.encode(&random::array::<4>(self.parts.random.as_ref())));
        let proof = &mut case.proofs[index];
        let row = Commitment {
            id: id.clone(),
            case_number: case.number.clone(),
            system: case.system.clone(),
            item: case.item.clone(),
            proof: proof.proof.clone(),
            about: proof.about.clone(),
            form_digest: digest,
            officer: new.officer,
            made_ms: now_ms,
            last_reason: proof.answer.reason(),
            ..Commitment::default()
        };
        proof.commitment = Some(id.clone());
        let mut numbers = self.applicant(&case).into_iter();
        let row = Commitment { subject: numbers.next().unwrap_or_default(), also: numbers.collect(), ..row };
        case.settle();
        self.keep_time(&mut case);
        let at_ms = now_ms.saturating_add(u64::from(self.parts.settings.check_after_seconds) * 1000);
        let changes = vec![Change::row(commitment::BOOK, id.clone(), &row), check_duty(&id, at_ms)];
        self.save(&case, changes).await?;
        lock(&self.commitments).insert(id, row);
        self.tell(&case, index, "proof");
        Ok(Ok(case))
    }

    /// Says that a broken commitment was put right.
    ///
    /// # Errors
    ///
    /// [`Error::Unknown`], or our own failure.
    pub async fn repair(&self, id: &str, officer: &str, how: &str) -> Result<Result<Commitment, Refusal>, Error> {
        for (field, text) in [("officer", officer), ("how", how)] {
            if text.trim().is_empty() {
                let code = if field == "officer" { Code::OfficerMissing } else { Code::MessageMalformed };
                return Ok(Err(Refusal::new(code).at(field)));
            }
        }
        let known = lock(&self.commitments).get(id).cloned().ok_or(Error::Unknown)?;
        let turn = self.turn(&known.case_number);
        let _turn = turn.lock().await;
        let mut row = lock(&self.commitments).get(id).cloned().ok_or(Error::Unknown)?;
        if row.state != CommitmentState::Broken {
            let refusal = Refusal::new(Code::CommitmentNotNeeded).at("id").because("it is not broken");
            return Ok(Err(refusal));
        }
        row.state = CommitmentState::Repaired;
        row.repair = format!("{} ({})", how.trim(), officer.trim());
        let mut noting = self.parts.outbox.begin().await;
        let mut changes = vec![Change::row(commitment::BOOK, id, &row)];
        changes.extend(noting.note(&row.system, &row.case_number, happened(&row)));
        match self.head(&row.case_number).ok_or(Error::Unknown).and_then(|head| self.load(&head)) {
            Ok(mut case) => {
                let index = place(&case, &row);
                if let Some(index) = index {
                    case.proofs[index].broken = false;
                    case.proofs[index].repaired = true;
                    case.proofs[index].commitment = None;
                }
                case.settle();
                self.save(&case, changes).await?;
                lock(&self.commitments).insert(id.to_owned(), row.clone());
                if let Some(index) = index {
                    self.tell(&case, index, row.state.event());
                }
            }
            // The case went with its month; the commitment is put right all the same.
            Err(Error::Destroyed) => {
                self.parts.duties.commit(changes).await?;
                lock(&self.commitments).insert(id.to_owned(), row.clone());
            }
            Err(error) => return Err(error),
        }
        noting.done();
        Ok(Ok(row))
    }

    /// Checks a commitment, where that can be done now.
    ///
    /// # Errors
    ///
    /// Our own failure; it is tried again.
    pub(crate) async fn check(&self, id: &str) -> Result<Acted, Error> {
        let Some(known) = lock(&self.commitments).get(id).cloned() else { return Ok(Acted::Done(Vec::new())) };
        let turn = self.turn(&known.case_number);
        let _turn = turn.lock().await;
        let Some(mut row) = lock(&self.commitments).get(id).cloned() else { return Ok(Acted::Done(Vec::new())) };
        if row.state != CommitmentState::Open {
            return Ok(Acted::Done(Vec::new()));
        }
        let head = self.head(&row.case_number).ok_or(Error::Unknown)?;
        let mut case = match self.load(&head) {
            // Nothing is left that could be asked about.
            Err(Error::Destroyed) => return self.unconfirmed(row).await.map(Acted::Done),
            loaded => loaded?,
        };
        let Some(index) = place(&case, &row) else { return self.unconfirmed(row).await.map(Acted::Done) };
        let now_ms = self.parts.clock.now_ms();
        if let Answer::Deferred { due_at_ms } = case.proofs[index].answer {
            if !is_given_up(due_at_ms, now_ms) {
                // A person has it; it is not asked twice. Once it comes, the check is woken.
                return Ok(Acted::Later(Some(while_deferred(due_at_ms, now_ms))));
            }
            case.proofs[index].attempt = case.proofs[index].attempt.saturating_add(1);
        }
        if !case.proofs[index].answer.is_final() {
            let Some(question) = self.question(&mut case, index)? else {
                return Ok(Acted::Later(Some(now_ms.saturating_add(LOOK_AGAIN_MS))));
            };
            if self.parts.asker.is_resuming(&question.system, &question.idempotency_key) {
                // A crash cut it short, and the same question is under way again.
                return Ok(Acted::Later(Some(now_ms.saturating_add(RESUMED_SOON_MS))));
            }
            let asked = self.parts.asker.ask(question).await?;
            take(&mut case.proofs[index], &asked);
            case.take_given();
        }
        row.last_reason = case.proofs[index].answer.reason();
        if case.checked(index).is_none() {
            let again = match case.proofs[index].answer {
                Answer::Deferred { due_at_ms } => Some(while_deferred(due_at_ms, now_ms)),
                _ => None,
            };
            self.keep_open(case, row).await?;
            return Ok(Acted::Later(again));
        }
        // What stands on an absence tells nothing of somebody who is not known; whoever has yet to say who he is, is asked.
        if let Some(later) = Box::pin(self.identify(&mut case, index)).await? {
            IDENTITY_NOT_CONFIRMED.clone_into(&mut row.last_reason);
            self.keep_open(case, row).await?;
            return Ok(later);
        }
        row.state = case.checked(index).unwrap_or(CommitmentState::Unconfirmed);
        case.proofs[index].broken = row.state == CommitmentState::Broken;
        if row.state == CommitmentState::Unconfirmed {
            case.proofs[index].commitment = None;
        }
        row.checked_ms = now_ms;
        row.receipt.clone_from(&case.proofs[index].receipt);
        row.last_reason.clear();
        case.settle();
        self.keep_time(&mut case);
        let (head, mut changes) = self.rows(&case)?;
        changes.extend([Change::row(commitment::BOOK, id, &row), Change::Done(duty_id(id))]);
        let mut noting = self.parts.outbox.begin().await;
        changes.extend(noting.note(&case.system, &case.number, happened(&row)));
        self.parts.duties.commit(changes).await?;
        noting.done();
        self.remember(head);
        let kind = row.state.event();
        tracing::info!(commitment = id, state = row.state.as_str(), "a commitment was checked");
        lock(&self.commitments).insert(id.to_owned(), row.clone());
        self.tell(&case, index, kind);
        self.hasten_like(&row);
        Ok(Acted::Done(Vec::new()))
    }

    /// Somebody answers again: whatever else he was asked in vain for the same proof is asked now, and not after a long pause. Once
    /// in a while: where some stay in vain, they are not asked again with each one that is answered.
    fn hasten_like(&self, row: &Commitment) {
        let now_ms = self.parts.clock.now_ms();
        let last_ms = lock(&self.hastened).get(&(row.item.clone(), row.proof.clone())).copied();
        if last_ms.is_some_and(|last_ms| now_ms < last_ms.saturating_add(HASTEN_AGAIN_MS)) {
            return;
        }
        lock(&self.hastened).insert((row.item.clone(), row.proof.clone()), now_ms);
        let deferred = Answer::Deferred { due_at_ms: 0 }.reason();
        let waits = |other: &&Commitment| {
            other.state == CommitmentState::Open
                && (&other.item, &other.proof) == (&row.item, &row.proof)
                && !other.last_reason.is_empty()
                && other.last_reason != deferred
        };
        let ids: Vec<String> = lock(&self.commitments).values().filter(waits).map(|other| duty_id(&other.id)).collect();
        self.parts.duties.hasten(&ids);
    }

    /// What to ask for a proof now: as its case's version of the item says, or, where no service answered it then, as the one
    /// in force says. `None` where nothing can be asked yet.
    fn question(&self, case: &mut Case, index: usize) -> Result<Option<OfficeQuestion>, Error> {
        let seen = self.parts.view.seen();
        let directory = seen.directory();
        let filed = self.item_of(directory, case)?;
        let now_ms = self.parts.clock.now_ms();
        let in_force = directory.item_at(self.parts.me.department(), &case.item, now_ms);
        let in_force = in_force.map(|version| version.published.read());
        for published in [Some(filed), in_force].into_iter().flatten() {
            let proof = &case.proofs[index];
            let is_it = |requirement: &&proto::registry::v1::ProofRequirement| {
                requirement.proof == proof.proof && item::about(requirement) == proof.about
            };
            let requirements = plan::requirements(&published, case);
            let Some(requirement) = requirements.iter().find(is_it) else { continue };
            let planned = plan::one(directory, &published, requirement, case);
            let Some(mut question) = planned.question else { continue };
            let proof = &mut case.proofs[index];
            if proof.asked != planned.proof.asked {
                proof.asked.clone_from(&planned.proof.asked);
                proof.attempt = 0;
            }
            proof.service.clone_from(&planned.proof.service);
            question.idempotency_key = key_of(proof);
            question.timeout_ms = self.parts.settings.deadline_ms;
            question.uncharged = true;
            return Ok(Some(question));
        }
        Ok(None)
    }

    /// Asks who the person is, where an answer stands on an absence and nobody has told; when to look again, where that is
    /// still so and may yet be told.
    async fn identify(&self, case: &mut Case, index: usize) -> Result<Option<Acted>, Error> {
        if !case.is_unidentified(index) {
            return Ok(None);
        }
        let now_ms = self.parts.clock.now_ms();
        let mut later = None;
        for (place, question) in self.naming(case, index)? {
            let again = match case.proofs[place].answer {
                Answer::Deferred { due_at_ms } if !is_given_up(due_at_ms, now_ms) => while_deferred(due_at_ms, now_ms),
                ref answer if !answer.may_come() => continue,
                _ if self.parts.asker.is_resuming(&question.system, &question.idempotency_key) => {
                    now_ms.saturating_add(RESUMED_SOON_MS)
                }
                _ => {
                    let asked = self.parts.asker.ask(question).await?;
                    take(&mut case.proofs[place], &asked);
                    if case.proofs[place].answer.may_come() {
                        later = later.or(Some(Acted::Later(None)));
                    }
                    continue;
                }
            };
            later = Some(Acted::Later(Some(again)));
        }
        Ok(later.filter(|_| case.is_unidentified(index)))
    }

    /// Where in the case stands who the person of a proof is, each with its question; what was not in the case is put there.
    fn naming(&self, case: &mut Case, index: usize) -> Result<Vec<(usize, OfficeQuestion)>, Error> {
        let person = plan::person_of(&case.proofs[index].about).to_owned();
        let seen = self.parts.view.seen();
        let directory = seen.directory();
        let item = self.item_of(directory, case)?;
        let now_ms = self.parts.clock.now_ms();
        let mut found = Vec::new();
        for planned in plan::plan(directory, &item, case, now_ms) {
            let Planned { proof, question: Some(mut question), .. } = planned else { continue };
            if !proof.names || proof.about != person {
                continue;
            }
            let is_it = |known: &Proof| {
                (&known.proof, &known.about, known.identity) == (&proof.proof, &proof.about, proof.identity)
            };
            let known = case.proofs.iter().position(is_it);
            let place = known.unwrap_or_else(|| {
                case.proofs.push(proof.clone());
                case.proofs.len() - 1
            });
            let known = &mut case.proofs[place];
            if known.asked != proof.asked && !known.answer.is_final() {
                *known = Proof { paper: known.paper, commitment: known.commitment.clone(), ..proof };
            }
            if matches!(known.answer, Answer::Deferred { due_at_ms } if is_given_up(due_at_ms, now_ms)) {
                known.attempt = known.attempt.saturating_add(1);
            }
            question.idempotency_key = key_of(known);
            question.timeout_ms = self.parts.settings.deadline_ms;
            question.uncharged = true;
            found.push((place, question));
        }
        Ok(found)
    }

    /// It could not be checked now: what came is kept, the duty stays.
    async fn keep_open(&self, mut case: Case, row: Commitment) -> Result<(), Error> {
        case.settle();
        self.save(&case, vec![Change::row(commitment::BOOK, row.id.clone(), &row)]).await?;
        lock(&self.commitments).insert(row.id.clone(), row);
        Ok(())
    }

    async fn unconfirmed(&self, mut row: Commitment) -> Result<Vec<Change>, Error> {
        row.state = CommitmentState::Unconfirmed;
        row.checked_ms = self.parts.clock.now_ms();
        let told = happened(&row);
        // The row becomes durable with the end of the duty: after a crash it comes here again.
        if !self.parts.outbox.has(&told) {
            self.parts.outbox.note(&row.system, &row.case_number, told).await?;
        }
        let change = Change::row(commitment::BOOK, row.id.clone(), &row);
        lock(&self.commitments).insert(row.id.clone(), row);
        Ok(vec![change])
    }
}

/// What the office is told of a commitment as it stands.
pub(super) fn happened(row: &Commitment) -> Happened {
    Happened::Commitment { commitment: row.id.clone(), state: row.state }
}

/// A commitment is to be checked.
pub(super) fn check_duty(id: &str, at_ms: u64) -> Change {
    let what = What::CheckCommitment { commitment: id.to_owned() };
    Change::Put(Duty { id: duty_id(id), order: duty_id(id), at_ms, what })
}

/// When to look again for an answer that a person has yet to give.
fn while_deferred(due_at_ms: u64, now_ms: u64) -> u64 {
    let longest = now_ms.saturating_add(LOOK_AGAIN_MS);
    if due_at_ms > now_ms { due_at_ms.min(longest) } else { longest }
}

/// Whether a person was to answer so long ago that nobody seems to have it any more.
fn is_given_up(due_at_ms: u64, now_ms: u64) -> bool {
    now_ms > due_at_ms.saturating_add(DEFERRED_GRACE_MS)
}

fn duty_id(commitment: &str) -> String {
    format!("commitment/{commitment}")
}

fn place(case: &Case, row: &Commitment) -> Option<usize> {
    case.proofs.iter().position(|proof| proof.commitment.as_ref() == Some(&row.id))
}

fn may_commit(case: &Case, index: usize) -> Result<(), Refusal> {
    let proof = &case.proofs[index];
    if !proof.commitment_allowed {
        return Err(Refusal::new(Code::CommitmentExcluded).at("proof"));
    }
    match proof.outcome {
        Outcome::MayCommit => Ok(()),
        _ if proof.reason == "commitment_blocked" => Err(Refusal::new(Code::CommitmentBlocked).at("proof")),
        outcome => Err(Refusal::new(Code::CommitmentNotNeeded).at("proof").because(outcome.as_str())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_a_person_does_not_look_every_second() {
        let now_ms = 1_000_000_000;
        assert_eq!(while_deferred(now_ms + 5_000, now_ms), now_ms + 5_000, "when it is due");
        for due_at_ms in [0, now_ms - 1, now_ms, now_ms + LOOK_AGAIN_MS + 1, u64::MAX] {
            assert_eq!(while_deferred(due_at_ms, now_ms), now_ms + LOOK_AGAIN_MS, "{due_at_ms}");
        }
        assert!(
            !is_given_up(now_ms - DEFERRED_GRACE_MS, now_ms) && is_given_up(now_ms - DEFERRED_GRACE_MS - 1, now_ms)
        );
    }
}
