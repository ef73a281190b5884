//! Asking for all that is missing in a case, under one deadline: everybody at once, but for the proofs that wait for what
//! another one's answer gives. Those are asked as soon as it is known, while the others are still under way.
//!
//! **Invariants:** nothing is asked twice, and nothing that a paper or a commitment stands for (its check is a duty). What an
//! answer gives counts before what was stated; where it does not come, what was stated is asked, or else said to be missing, and
//! a household is not asked about without somebody who may belong to it.
//!
//! Out of scope: what to ask (`plan`), what an answer means (`judge`).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use proto::registry::v1::{ItemPublished, ProofRequirement};
use tokio::{task::JoinSet, time::Instant};
use trust::{item, refusal::Refusal};

use super::{Cases, lock};
use crate::{
    ask::{self, OfficeQuestion},
    asked::{Asked, ticket_of},
    case::{
        Case, Error, Outcome, Proof,
        judge::{Answer, answer_of, given_of},
        plan::{self, Planned},
        refresh::accept_paper_while_doubted,
    },
};

/// The longest that all questions together may take.
const LONGEST_DEADLINE_MS: u32 = 60_000;

/// How soon it is looked again whether a question that a crash interrupted has its answer.
const RESUMED_SOON: Duration = Duration::from_millis(20);

/// What is asked in one round.
struct Round {
    item: ItemPublished,
    requirements: Vec<ProofRequirement>,
    started: Instant,
    deadline: Duration,
    /// Proofs that are to be asked for and have not been, with their questions as far as they can be put now.
    waiting: BTreeMap<usize, Option<OfficeQuestion>>,
    under_way: BTreeSet<usize>,
    asking: JoinSet<(usize, Result<Asked, ask::Error>)>,
}

impl Cases {
    /// Asks for all that is missing in a case, and keeps what comes.
    pub(super) async fn round(
        self: &Arc<Self>,
        mut case: Case,
        deadline_ms: u32,
    ) -> Result<Result<Case, Refusal>, Error> {
        let started = Instant::now();
        let now_ms = self.parts.clock.now_ms();
        let (item, planned) = {
            let seen = self.parts.view.seen();
            let item = self.item_of(seen.directory(), &case)?;
            let planned = plan::plan(seen.directory(), &item, &case, now_ms);
            (item, planned)
        };
        let requirements = planned.iter().map(|planned| planned.requirement.clone()).collect();
        let (proofs, waiting) = merge(&case.proofs, planned);
        case.proofs = proofs;
        case.blocked = self.is_blocked(&case);
        accept_paper_while_doubted(&self.parts.corrected, &mut case);
        self.save(&case, Vec::new()).await?;
        lock(&self.under_way).insert(case.number.clone(), case.clone());
        let deadline_ms = match deadline_ms {
            0 => self.parts.settings.deadline_ms,
            wished => wished,
        }
        .clamp(1, LONGEST_DEADLINE_MS);
        let deadline = Duration::from_millis(deadline_ms.into());
        let (under_way, asking) = (BTreeSet::new(), JoinSet::new());
        let mut round = Round { item, requirements, started, deadline, waiting, under_way, asking };
        for index in self.begin_ready(&mut round, &mut case) {
            self.tell(&case, index, "proof");
        }
        while let Some(joined) = round.asking.join_next().await {
            let Ok((index, asked)) = joined else { continue };
            round.under_way.remove(&index);
            let proof = &mut case.proofs[index];
            match asked {
                Ok(asked) => take(proof, &asked),
                Err(error) => {
                    tracing::error!(%error, "a question of a case could not be asked");
                    proof.answer = Answer::Unanswered("own_node".to_owned());
                }
            }
            if !case.proofs[index].gives.is_empty() {
                case.take_given();
            }
            let concluded = self.begin_ready(&mut round, &mut case);
            lock(&self.under_way).insert(case.number.clone(), case.clone());
            for index in std::iter::once(index).chain(concluded) {
                self.tell(&case, index, "proof");
            }
        }
        for index in round.waiting.into_keys() {
            // What it waited for ended without a word.
            case.proofs[index].answer = Answer::Unanswered("own_node".to_owned());
        }
        case.elapsed_ms = started.elapsed().as_secs_f64() * 1000.0;
        // What another case broke meanwhile counts.
        case.blocked = self.is_blocked(&case);
        accept_paper_while_doubted(&self.parts.corrected, &mut case);
        self.keep_time(&mut case);
        let saved = self.save(&case, Vec::new()).await;
        lock(&self.under_way).remove(&case.number);
        saved?;
        Ok(Ok(case))
    }

    /// Begins to ask for every proof that waits for no other any more; those that cannot be asked for all the same.
    fn begin_ready(&self, round: &mut Round, case: &mut Case) -> Vec<usize> {
        let mut concluded = Vec::new();
        loop {
            let ready = round.ready(&case.proofs);
            if ready.is_empty() {
                break;
            }
            for index in ready {
                let question = round.waiting.remove(&index).flatten();
                let question = match case.proofs[index].takes.is_empty() {
                    true => question,
                    false => self.planned_again(round, case, index),
                };
                match question {
                    Some(question) => self.begin(round, &mut case.proofs, index, question),
                    None => concluded.push(index),
                }
            }
        }
        case.settle();
        concluded
    }

    /// What to ask for a proof now that more is known of the people.
    fn planned_again(&self, round: &Round, case: &mut Case, index: usize) -> Option<OfficeQuestion> {
        let seen = self.parts.view.seen();
        let Planned { proof, question, .. } =
            plan::one(seen.directory(), &round.item, &round.requirements[index], case);
        let before = &case.proofs[index];
        let attempt = if proof.asked == before.asked { before.attempt } else { 0 };
        let (identity, takes) = (before.identity, before.takes.clone());
        let mut proof = Proof { attempt, identity, takes, ..proof };
        let mut question = question;
        let unknown = unknown_members(case, &proof);
        if !unknown.is_empty() {
            (proof.answer, question) = (Answer::Missing(unknown), None);
        }
        if let Answer::Missing(names) = &proof.answer {
            let giver = case.proofs.iter().find(|giver| names.contains(&giver.gives));
            proof.giver = giver.map(|giver| giver.proof.clone()).unwrap_or_default();
        }
        case.proofs[index] = proof;
        question
    }

    fn begin(&self, round: &mut Round, proofs: &mut [Proof], index: usize, mut question: OfficeQuestion) {
        let mut left = round.deadline.saturating_sub(round.started.elapsed());
        let is_awaited = |waiting: &usize| proofs[*waiting].takes.contains(&proofs[index].gives);
        if round.waiting.keys().any(is_awaited) {
            // Whoever waits for it needs some of the time too.
            left = left * 3 / 5;
        }
        let proof = &mut proofs[index];
        if left.is_zero() {
            proof.answer = Answer::Unanswered("timed_out".to_owned());
            return;
        }
        question.idempotency_key = key_of(proof);
        question.timeout_ms = u32::try_from(left.as_millis()).unwrap_or(LONGEST_DEADLINE_MS).max(1);
        let (asker, started, deadline) = (Arc::clone(&self.parts.asker), round.started, round.deadline);
        round.under_way.insert(index);
        round.asking.spawn(async move {
            // What a crash cut short is under way again, and its answer is this one's.
            while started.elapsed() < deadline && asker.is_resuming(&question.system, &question.idempotency_key) {
                tokio::time::sleep(RESUMED_SOON).await;
            }
            (index, asker.ask(question).await)
        });
    }
}

impl Round {
    /// The proofs that wait for nothing that is still to come.
    fn ready(&self, proofs: &[Proof]) -> Vec<usize> {
        let to_come = |index: &usize| {
            let is_awaited = |giver: &usize| giver != index && proofs[*index].takes.contains(&proofs[*giver].gives);
            self.waiting.keys().chain(&self.under_way).any(is_awaited)
        };
        self.waiting.keys().filter(|index| !to_come(index)).copied().collect()
    }
}

/// The members whom a household may have beside those who are known, while nobody has told: without them it would be asked about
/// too few.
fn unknown_members(case: &Case, proof: &Proof) -> Vec<String> {
    let is_unknown = |taken: &&String| {
        let told = |giver: &Proof| giver.gives == **taken && giver.answer.is_final();
        let known = item::reference(taken).and_then(|(role, name)| case.value(role, name));
        known.is_none() && !case.proofs.iter().any(told)
    };
    proof.takes.iter().filter(|_| proof.about == item::HOUSEHOLD).filter(is_unknown).cloned().collect()
}

/// What is kept of what is known, and what is to be asked for: with its question, where it can be put already.
fn merge(known: &[Proof], planned: Vec<Planned>) -> (Vec<Proof>, BTreeMap<usize, Option<OfficeQuestion>>) {
    let (mut proofs, mut questions) = (Vec::new(), BTreeMap::new());
    for Planned { mut proof, question, .. } in planned {
        let before = known
            .iter()
            .find(|known| (&known.proof, &known.about, known.identity) == (&proof.proof, &proof.about, proof.identity));
        let is_same = before.is_some_and(|known| known.asked == proof.asked && question.is_some());
        match before {
            Some(known) if known.outcome == Outcome::PaperAccepted || known.commitment.is_some() || known.broken => {
                proofs.push(known.clone())
            }
            Some(known) if is_same && (known.answer.is_final() || matches!(known.answer, Answer::Deferred { .. })) => {
                proofs.push(known.clone());
            }
            before => {
                proof.attempt = before.filter(|_| is_same).map_or(0, |known| known.attempt);
                if !proof.takes.is_empty() {
                    // What it says now may be said otherwise once what it waits for is known.
                    proof.answer = Answer::None;
                }
                if question.is_some() || !proof.takes.is_empty() {
                    questions.insert(proofs.len(), question);
                }
                proofs.push(proof);
            }
        }
    }
    (proofs, questions)
}

/// Under what key a proof is asked: the same question again gets the same answer, also after a crash.
pub(super) fn key_of(proof: &Proof) -> String {
    format!("case-{}-{}", proof.asked, proof.attempt)
}

/// Takes in what came of a question.
pub(super) fn take(proof: &mut Proof, asked: &Asked) {
    proof.answer = answer_of(asked);
    proof.doubted = false;
    if !proof.gives.is_empty() {
        proof.given = given_of(asked);
    }
    proof.receipt = asked.receipt.to_string();
    proof.asked_at_ms = asked.asked_at_ms;
    proof.elapsed_ms = asked.elapsed.as_secs_f64() * 1000.0;
    proof.ticket = match &proof.answer {
        Answer::Deferred { .. } => asked.request_digest.as_ref().map(ticket_of).unwrap_or_default(),
        _ => String::new(),
    };
    if proof.answer.needs_new_key() {
        proof.attempt = proof.attempt.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPOUSE: &str = "spouse.resident_id";

    fn proof(gives: &str, takes: &[&str]) -> Proof {
        let takes = takes.iter().map(|taken| (*taken).to_owned()).collect();
        Proof { proof: format!("《{gives}》"), gives: gives.to_owned(), takes, ..Proof::default() }
    }

    fn round(waiting: &[usize], under_way: &[usize]) -> Round {
        Round {
            item: ItemPublished::default(),
            requirements: Vec::new(),
            started: Instant::now(),
            deadline: Duration::from_secs(5),
            waiting: waiting.iter().map(|index| (*index, None)).collect(),
            under_way: under_way.iter().copied().collect(),
            asking: JoinSet::new(),
        }
    }

    #[test]
    fn a_proof_waits_for_whoever_gives_what_it_takes_and_for_nobody_else() {
        let proofs = [proof(SPOUSE, &[]), proof("", &[SPOUSE]), proof("", &[]), proof("", &["mother.resident_id"])];
        assert_eq!(round(&[0, 1, 2, 3], &[]).ready(&proofs), [0, 2, 3]);
        assert_eq!(round(&[1], &[0, 2]).ready(&proofs), Vec::<usize>::new());
        assert_eq!(round(&[1], &[2, 3]).ready(&proofs), [1], "known, or not to be had");
        // What would wait for itself is refused when it is published; here nobody waits for ever.
        let circle = [proof(SPOUSE, &["father.resident_id"]), proof("father.resident_id", &[SPOUSE])];
        assert_eq!(round(&[0, 1], &[]).ready(&circle), Vec::<usize>::new());
    }

    #[test]
    fn a_household_is_not_asked_about_without_whom_a_register_may_name() {
        let verdict =
            |verdict: &str| Answer::Verdict { verdict: verdict.to_owned(), by_absence: false, reason: String::new() };
        let household = Proof { about: item::HOUSEHOLD.to_owned(), ..proof("", &[SPOUSE]) };
        let case = |answer: Answer, given: &str| {
            let giver = Proof { answer, given: given.to_owned(), ..proof(SPOUSE, &[]) };
            let mut case = Case { proofs: vec![giver, household.clone()], ..Case::default() };
            case.take_given();
            case
        };
        let away = Answer::Unanswered("unreachable".to_owned());
        assert_eq!(unknown_members(&case(away.clone(), ""), &household), [SPOUSE]);
        // The register has nobody, or names one.
        assert!(unknown_members(&case(verdict("NO_RECORD"), ""), &household).is_empty());
        let named = case(verdict("MATCH"), "890101199006010030");
        assert!(unknown_members(&named, &household).is_empty());
        assert_eq!(named.value("spouse", "resident_id"), Some("890101199006010030"));
        // What is said of somebody alone needs nobody else.
        assert!(unknown_members(&case(away, ""), &proof("", &[SPOUSE])).is_empty());
    }
}
