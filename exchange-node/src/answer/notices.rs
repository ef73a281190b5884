//! What is told of a question that goes on. Each time it is decided on as it was when it was asked; where that refuses, the
//! subscription is over, and a last answer says why. The record is looked up, and only where the verdict is another one does
//! an answer follow: it costs what the question would cost, is signed, and is durable before it is carried.
//!
//! **Invariant:** trouble is no change. Whatever makes the claim `UNAVAILABLE` is silent. Out of scope: when to look
//! (`subscriptions::watch`), and carrying what is told (`duty`).

use std::sync::{Arc, atomic::Ordering};

use prost::Message;
use proto::exchange::v1::{self as wire, EntryKind, answer::Outcome};
use trust::{
    decision::{Permit, decide},
    envelope,
    ids::{Digest, Party},
    question::{self, LARGEST_REQUEST, Question},
    refusal::{Code, Refusal},
    subscription,
};

use super::{Answerer, Unanswered, request_key};
use crate::{
    budget::guesses,
    journal::{Commit, NewEntry},
    keys::seal,
    records::Reading,
    shared::Claim,
    subscriptions::{Given, GivenBook, Next, Says},
    usage::{self, Mark},
    view::Seen,
};

/// When to try again where a refusal does not say.
const AGAIN_MS: u64 = 3_600_000;

/// What came of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looked {
    /// There is something to tell that may not be told yet: at this time, Unix milliseconds.
    Later(u64),
    /// The subscription is over.
    Over,
    /// Nothing is told.
    Silent,
    /// A change is told.
    Told,
}

/// An answer that is to follow the last one.
struct Following {
    outcome: Outcome,
    grant: Vec<u8>,
    mark: Option<Mark>,
    says: Says,
}

impl Answerer {
    /// Lets questions go on. Without it none does: its answer is the only one.
    #[must_use]
    pub fn with_subscriptions(mut self, given: Arc<GivenBook>) -> Self {
        self.successors = self.successors.with(Arc::clone(&given) as _);
        self.subscriptions = Some(given);
        self
    }

    /// Looks again at a question that goes on, and tells what has changed.
    ///
    /// # Errors
    ///
    /// Our own failure: nothing is told.
    pub async fn look_again(&self, question: u64) -> Result<Looked, Unanswered> {
        let Some(given) = &self.subscriptions else { return Ok(Looked::Silent) };
        let Some(row) = given.row(question).filter(Given::is_live) else { return Ok(Looked::Silent) };
        if self.disk_low.load(Ordering::Acquire) {
            return Err(Unanswered::DiskFull);
        }
        self.journal.check_open()?;
        let now_ms = self.clock.now_ms();
        if self.view.check_usable(now_ms).is_err() {
            return Ok(Looked::Silent);
        }
        let seen = self.view.seen();
        let (signed, _) = given.signed(row.question)?;
        let question = match reopened(&seen, &signed, now_ms) {
            Ok(question) => question,
            Err(refusal) => return self.over_unless_for_a_while(given, row, &refusal).await,
        };
        let permit = match decide(seen.directory(), &question, now_ms) {
            Ok(permit) => permit,
            Err(refusal) => return self.over_unless_for_a_while(given, row, &refusal).await,
        };
        let verdicts = self.evaluate(&permit, &question, Reading::Anew, now_ms).await;
        let Some(verdict) = verdicts.verdicts.first().map(wire::ClaimVerdict::verdict) else {
            return Ok(Looked::Silent);
        };
        let told = wire::Verdict::try_from(row.verdict).unwrap_or_default();
        if !subscription::is_news(told, verdict) {
            return Ok(Looked::Silent);
        }
        let mark = match self.take_notice(&seen, &permit, &question, &row, now_ms).await? {
            Ok(mark) => mark,
            Err(refusal) => {
                let at_ms = refusal.retry_at_ms.filter(|at_ms| *at_ms > now_ms);
                return Ok(Looked::Later(at_ms.unwrap_or_else(|| now_ms.saturating_add(AGAIN_MS))));
            }
        };
        let following = Following {
            outcome: Outcome::Verdicts(verdicts),
            grant: permit.grant.as_bytes().to_vec(),
            mark: Some(mark),
            says: Says::Verdict(verdict, permit.grant.to_string()),
        };
        let told = self.follow(given, &row, &seen, &question.wire, following).await?;
        Ok(if told { Looked::Told } else { Looked::Silent })
    }

    /// Ends a subscription; a last answer says why. One that is over stays so.
    pub(crate) async fn end_subscription(
        &self,
        given: &GivenBook,
        row: Given,
        refusal: &Refusal,
    ) -> Result<(), Unanswered> {
        if !row.is_live() {
            return Ok(());
        }
        let (signed, _) = given.signed(row.question)?;
        let request: wire::Request =
            envelope::peek(&signed, LARGEST_REQUEST).map_err(|_| Unanswered::StoredAnswerUnreadable)?;
        let following = Following {
            outcome: Outcome::Refusal(refusal.to_wire()),
            grant: Vec::new(),
            mark: None,
            says: Says::Over(refusal.code.as_str().to_owned()),
        };
        let seen = self.view.seen();
        if self.follow(given, &row, &seen, &request, following).await? {
            let code = refusal.code.as_str();
            tracing::info!(ticket = row.ticket(), consumer = row.consumer, code, "a subscription is over");
        }
        Ok(())
    }

    /// Whether a question that goes on would still be permitted. What cannot be read is to be looked at.
    pub(crate) fn is_still_permitted(&self, question: u64) -> bool {
        let Some(given) = &self.subscriptions else { return true };
        let now_ms = self.clock.now_ms();
        let seen = self.view.seen();
        let Ok((signed, _)) = given.signed(question) else { return false };
        reopened(&seen, &signed, now_ms).is_ok_and(|question| decide(seen.directory(), &question, now_ms).is_ok())
    }

    async fn over_unless_for_a_while(
        &self,
        given: &GivenBook,
        row: Given,
        refusal: &Refusal,
    ) -> Result<Looked, Unanswered> {
        if !subscription::is_ended_by(refusal.code) {
            return Ok(Looked::Silent);
        }
        self.end_subscription(given, row, refusal).await?;
        Ok(Looked::Over)
    }

    /// Takes what telling costs: the guess, which is free where it was made lately, and one use of the grant.
    async fn take_notice(
        &self,
        seen: &Seen,
        permit: &Permit<'_>,
        question: &Question,
        row: &Given,
        now_ms: u64,
    ) -> Result<Result<Mark, Refusal>, Unanswered> {
        let directory = seen.directory();
        let also = self.aliases.numbers(&permit.subject, &permit.former_subjects).unwrap_or_default();
        let guesses = guesses(&self.budget_key, &self.guessing, directory, question, permit, &also, now_ms);
        if !guesses.is_empty()
            && let Some(Err(spent)) = self.budget.take_budget(vec![guesses], now_ms).await?.first()
        {
            return Ok(Err(spent.refusal()));
        }
        let (department, calendar) = (question.sender.department(), &directory.profile().calendar);
        let mark = usage::mark(&permit.grant, department);
        let Some(shared) = &self.shared else {
            return Ok(self.usage.take(&mark, permit.quota, calendar, now_ms).map(|()| mark));
        };
        // Counted with the department's other nodes like a question of its own.
        let key = notice_key(&question.sender, row);
        let digest: Digest = row.request.parse().map_err(|_| Unanswered::StoredAnswerUnreadable)?;
        if !matches!(shared.claim_request(&key, &digest).await?, Claim::Mine) {
            return Ok(Err(Refusal::new(Code::QuotaExceeded).retry_at(now_ms.saturating_add(AGAIN_MS))));
        }
        let taken = shared.take_use(&key, &mark, permit.quota, calendar, now_ms).await?;
        if taken.is_ok() {
            self.usage.count(&mark, calendar, now_ms);
        }
        Ok(taken.map(|()| mark))
    }

    /// Makes an answer that follows the last one durable, and puts it on the list to be carried; `false` where another has
    /// followed meanwhile.
    async fn follow(
        &self,
        given: &GivenBook,
        row: &Given,
        seen: &Seen,
        request: &wire::Request,
        following: Following,
    ) -> Result<bool, Unanswered> {
        let Following { outcome, grant, mark, says } = following;
        let _turn = given.turn.lock().await;
        if given.row(row.question).is_none_or(|now| now.number != row.number || !now.is_live()) {
            return Ok(false);
        }
        let (_, before) = given.signed(row.last)?;
        let (_, request_digest) = given.signed(row.question)?;
        let answer = self.build(seen, request, &request.sender, request_digest.as_bytes().to_vec(), outcome);
        let answer = wire::Answer {
            number: row.number + 1,
            follows: before.as_bytes().to_vec(),
            // A clock that was set back does not make an answer older than the one it follows.
            answered_at_ms: answer.answered_at_ms.max(row.told_ms),
            grant,
            ..answer
        };
        let (sealed, digest) = seal(&answer, self.signer.as_ref());
        let sealed = envelope::signed(sealed);
        let entry = NewEntry { kind: EntryKind::AnswerGiven, digest, message: sealed.encode_to_vec() };
        let at_ms = answer.answered_at_ms;
        let commit = Commit {
            at_ms,
            entries: vec![entry],
            about: Some(row.question),
            grant: mark,
            duty: true,
            ..Commit::default()
        };
        let _expected = given.announce();
        let committed = self.journal.commit(commit).await?;
        given.followed(row.question, Next { answer: committed.first_index, at_ms, says }).await?;
        if let (Some(shared), Some(_), Ok(sender)) = (&self.shared, mark, request.sender.parse::<Party>()) {
            shared.keep_answer(&notice_key(&sender, row), &sealed).await?;
        }
        tracing::debug!(service = row.service, "a change is told");
        Ok(true)
    }
}

/// By what the use of a notice is known to the department's other nodes.
fn notice_key(consumer: &Party, row: &Given) -> [u8; 16] {
    request_key(consumer, format!("{} {}", row.request, row.number).as_bytes())
}

/// The question as it was signed, where the key still counts that signed it.
fn reopened(seen: &Seen, signed: &wire::Signed, now_ms: u64) -> Result<Question, Refusal> {
    let claimed: wire::Request =
        envelope::peek(signed, LARGEST_REQUEST).map_err(|error| question::refuse_envelope(&error))?;
    let sender: Party =
        claimed.sender.parse().map_err(|error| Refusal::new(Code::MessageMalformed).at("sender").because(error))?;
    let at_ms = claimed.issued_at_ms.min(now_ms);
    Question::read(question::open_by_node_of(seen.directory(), signed, &sender, at_ms)?.message)
}
