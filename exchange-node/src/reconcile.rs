//! Fetching from other departments what they still hold of the questions and answers that this node lost: each was signed by
//! the one who sent it, so it shows what was asked and answered, by whom and when. What comes back is kept in a store of its
//! own, readable by its receipt and marked as the other side's; it is no entry of this node's evidence, and nobody signs it.
//!
//! What came back counts where the same question must get the same answer, and where quotas are used up: the node begins anew
//! with it. Messages are encrypted under the key of the month in which they came back.
//!
//! Out of scope: what the other side gives (`custody_edge`).

mod gather;
mod pair;
mod settled;

use std::{
    collections::{HashMap, HashSet},
    ops::ControlFlow,
    sync::Arc,
    time::Duration,
};

use proto::exchange::v1::{EntryKind, HeldBatches, HeldRequest, Signed};
use tokio::time::timeout;
use trust::{
    decision::decide,
    directory::model::Node,
    envelope,
    ids::{DepartmentId, Digest},
};

pub use self::settled::{Settled, lost_range};
use self::{
    gather::{Pieces, TooMuch, Waiting},
    pair::{Answer, Question, Read},
};
use crate::{
    budget::{self, GuessBudget, guesses},
    history::partners,
    journal::{Journal, JournalError, OnFailure, SledJournal},
    logs::Logs,
    parts::Parts,
};

/// How long another node may take for its next message. All that it holds may take hours; one that says nothing is away.
const PATIENCE: Duration = Duration::from_secs(120);

/// So much before the last entry that was kept others are asked what they hold.
const DISORDER_MS: u64 = 600_000;

/// After so many questions of a batch others have their turn on this thread.
const IN_A_TURN: usize = 32;

/// Why nothing was fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No log was ever closed.
    #[error("no evidence log of this node was ever closed, so nothing was lost that others could give back")]
    NothingLost,
    /// Nobody to ask.
    #[error("{department}: the directory has no node of it")]
    Unknown {
        /// The department.
        department: DepartmentId,
    },
    /// The guess budget cannot be written.
    #[error(transparent)]
    Budget(#[from] budget::Error),
    /// The evidence cannot be read or written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// What is noted cannot be written.
    #[error(transparent)]
    File(#[from] host::files::Error),
    /// A blocking task ended by itself.
    #[error("reading the evidence was interrupted: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// What came of one department.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// How many questions came back.
    pub questions: u64,
    /// How many answers.
    pub answers: u64,
    /// How many messages do not verify.
    pub invalid: u64,
    /// Why not all nodes could be asked.
    pub unreachable: Option<String>,
}

/// Fetches from these departments, or from everybody; what came of each. Where something came back, the node begins anew.
///
/// # Errors
///
/// Nothing was lost, or what came cannot be kept.
pub async fn reconcile(parts: &Parts, departments: &[DepartmentId]) -> Result<Vec<(DepartmentId, Fetched)>, Error> {
    if parts.logs.closed.is_empty() {
        return Err(Error::NothingLost);
    }
    let mut nodes: Vec<Node> = match departments {
        [] => partners(parts.view.seen().directory(), &parts.config.department),
        some => {
            let seen = parts.view.seen();
            let nodes = seen.directory().nodes().filter(|node| some.contains(&node.department));
            nodes.cloned().collect()
        }
    };
    if let Some(unknown) = departments.iter().find(|of| !nodes.iter().any(|node| node.department == **of)) {
        return Err(Error::Unknown { department: unknown.clone() });
    }
    nodes.sort_by(|one, other| (&one.department, &one.node).cmp(&(&other.department, &other.node)));
    let logs = Arc::clone(&parts.logs);
    let (since_ms, mut known) = tokio::task::spawn_blocking(move || known_before(&logs)).await??;
    let mut outcomes: Vec<(DepartmentId, Fetched)> = Vec::new();
    for node in nodes {
        if outcomes.last().is_none_or(|(department, _)| *department != node.department) {
            outcomes.push((node.department.clone(), Fetched::default()));
        }
        let Some((_, fetched)) = outcomes.last_mut() else { continue };
        match fetch(parts, &node, since_ms, &mut known, fetched).await {
            Ok(()) => {}
            Err(Fault::Unreachable(why)) => fetched.unreachable = Some(format!("node {}: {why}", node.node)),
            Err(Fault::Here(error)) => return Err(error),
        }
    }
    let complete = outcomes.iter().filter(|(_, fetched)| fetched.unreachable.is_none()).map(|(of, _)| of.clone());
    Settled::add(&parts.config.dir, parts.logs.of.number, complete, parts.clock.now_ms())?;
    // What came back counts from the next start on: known questions, and uses of grants. What is complete counts too.
    parts.historian.again.begin("others were asked what they hold");
    Ok(outcomes)
}

enum Fault {
    Here(Error),
    Unreachable(String),
}

impl From<TooMuch> for Fault {
    fn from(too_much: TooMuch) -> Self {
        Self::Unreachable(too_much.to_string())
    }
}

impl From<tonic::Status> for Fault {
    fn from(status: tonic::Status) -> Self {
        Self::Unreachable(status.message().to_owned())
    }
}

/// The other node's next word; it is away where it says nothing for too long.
async fn in_time<T>(word: impl Future<Output = Result<T, tonic::Status>>) -> Result<T, Fault> {
    match timeout(PATIENCE, word).await {
        Ok(said) => Ok(said?),
        Err(_) => Err(Fault::Unreachable("it did not answer in time".to_owned())),
    }
}

impl From<tokio::task::JoinError> for Fault {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::Here(error.into())
    }
}

async fn fetch(
    parts: &Parts,
    node: &Node,
    since_ms: u64,
    known: &mut HashSet<Digest>,
    fetched: &mut Fetched,
) -> Result<(), Fault> {
    let mut custody = parts.peers.custody(node)?;
    let request = HeldRequest { since_ms, until_ms: 0, batches: HeldBatches::Whole.into() };
    let mut stream = in_time(custody.held(request)).await?.into_inner();
    let (mut pieces, mut answers) = (Pieces::default(), Waiting::default());
    while let Some(held) = in_time(stream.message()).await? {
        let Some(held) = pieces.take(held)? else { continue };
        let (me, own, other) = (parts.config.party(), parts.config.node.clone(), node.department.clone());
        // Hashing ten thousand questions is no work for a thread that others wait for; nor is comparing them, below.
        let read = tokio::task::spawn_blocking(move || pair::read(&me, &own, &other, &held)).await?;
        match read {
            Read::Answer(answer) => answers.add(answer)?,
            Read::Question(question) => {
                let answer = answers.of(&question);
                if known.contains(&question.digest)
                    && answer.as_ref().is_none_or(|answer| known.contains(&answer.digest))
                {
                    continue;
                }
                // Before the log was opened that is kept now: what is newer is in it, or was never lost.
                if question.question.issued_at_ms > parts.logs.closed_ms() {
                    continue;
                }
                let seen = parts.view.seen();
                let verifying = tokio::task::spawn_blocking(move || {
                    let mut counted = Fetched::default();
                    (pair::verify(seen.directory(), question, answer, &mut counted), counted.invalid)
                });
                let (verified, invalid) = verifying.await?;
                fetched.invalid += invalid;
                let Some((question, answer)) = verified else { continue };
                keep(parts, question, answer, known, fetched).await.map_err(Fault::Here)?;
            }
            Read::Invalid => fetched.invalid += 1,
            Read::OfAnother => {}
        }
    }
    Ok(())
}

/// Keeps a question with its answer, as far as either is not here.
async fn keep(
    parts: &Parts,
    question: Question,
    answer: Option<Answer>,
    known: &mut HashSet<Digest>,
    fetched: &mut Fetched,
) -> Result<(), Error> {
    // A question of another's without this node's answer shows nothing that was lost: it may never have come.
    if !question.is_ours && answer.is_none() {
        return Ok(());
    }
    let store = {
        let (logs, dir) = (Arc::clone(&parts.logs), parts.config.dir.clone());
        let (random, clock) = (Arc::clone(&parts.random), Arc::clone(&parts.clock));
        let failed: OnFailure = Arc::new(|reason: &str| tracing::error!(reason, "what came back cannot be kept"));
        tokio::task::spawn_blocking(move || logs.recovered_or_new(&dir, &random, clock.as_ref(), &failed)).await??
    };
    let (digest, answered) = (question.digest, answer.as_ref().map(|answer| answer.digest));
    if let Some(answer) = answer.as_ref().filter(|answer| !question.is_ours && answer.has_verdicts()) {
        charge(parts, &question, answer).await?;
    }
    let officer = parts.budget.key().officer(question.question.sender.department(), &question.question.wire.officer);
    pair::commit(store.as_ref(), &parts.config.party(), question, answer, officer).await?;
    fetched.questions += u64::from(known.insert(digest));
    fetched.answers += u64::from(answered.is_some_and(|digest| known.insert(digest)));
    Ok(())
}

/// What was guessed stays guessed. A budget that is spent by now is spent all the same.
async fn charge(parts: &Parts, question: &Question, answer: &Answer) -> Result<(), Error> {
    let at_ms = answer.wire.answered_at_ms;
    let mut guessed = Vec::new();
    let seen = parts.view.seen();
    for (index, asked) in pair::answered(question, answer).into_iter().enumerate() {
        if let Ok(permit) = decide(seen.directory(), &asked, at_ms) {
            guessed.push(guesses(
                parts.budget.key(),
                &parts.config.guesses,
                seen.directory(),
                &asked,
                &permit,
                &[],
                at_ms,
            ));
        }
        if index % IN_A_TURN == IN_A_TURN - 1 {
            tokio::task::yield_now().await;
        }
    }
    drop(seen);
    guessed.retain(|guesses| !guesses.is_empty());
    if !guessed.is_empty() {
        parts.budget.take_budget(guessed, at_ms).await?;
    }
    Ok(())
}

/// From when on others may hold what was lost, and which messages are here. What the logs kept before that was not lost.
fn known_before(logs: &Logs) -> Result<(u64, HashSet<Digest>), JournalError> {
    let mut since_ms = u64::MAX;
    for (number, closed) in (1..).zip(&logs.closed) {
        let here = logs.earlier.iter().find(|earlier| earlier.of.number == number);
        let last =
            closed.size.checked_sub(1).zip(here).map(|(index, earlier)| earlier.journal.entry(index)).transpose()?;
        since_ms = since_ms.min(last.flatten().map_or(0, |last| last.at_ms));
    }
    let since_ms = since_ms.saturating_sub(DISORDER_MS);
    let mut known = HashSet::new();
    for journal in logs.own() {
        journal.newest(since_ms.saturating_sub(DISORDER_MS), &mut |head| {
            known.extend(head.digests);
            ControlFlow::Continue(())
        })?;
    }
    if let Some(recovered) = logs.recovered() {
        recovered.newest(0, &mut |head| {
            known.extend(head.digests);
            ControlFlow::Continue(())
        })?;
    }
    Ok((since_ms, known))
}

/// What came back so far, the last first: for each question its place, its message, and the answer's receipt.
///
/// # Errors
///
/// It cannot be read.
pub fn visit(
    recovered: &SledJournal,
    visit: &mut dyn FnMut(pair::Listed) -> ControlFlow<()>,
) -> Result<(), JournalError> {
    let mut answers = HashMap::new();
    let mut fault = None;
    recovered.newest(0, &mut |head| match pair::listed(recovered, &head, &mut answers) {
        Ok(None) => ControlFlow::Continue(()),
        Ok(Some(listed)) => visit(listed),
        Err(error) => {
            fault = Some(error);
            ControlFlow::Break(())
        }
    })?;
    fault.map_or(Ok(()), Err)
}

pub use self::pair::Listed;

/// The identity of a message that is kept for what it is.
fn digest_of(message: &Signed) -> Option<Digest> {
    envelope::digest_of(message).ok()
}

/// Whether an entry is a question of this department's.
fn is_own_question(kind: EntryKind) -> bool {
    kind == EntryKind::QuestionSent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_partner_that_holds_much_may_take_long_and_one_that_says_nothing_may_not() {
        let begun = tokio::time::Instant::now();
        for number in 0..10 {
            let word = async {
                tokio::time::sleep(PATIENCE / 2).await;
                Ok(number)
            };
            assert!(matches!(in_time(word).await, Ok(said) if said == number));
        }
        assert!(begun.elapsed() > PATIENCE * 4);
        let silent = in_time(std::future::pending::<Result<(), tonic::Status>>()).await;
        assert!(matches!(silent, Err(Fault::Unreachable(why)) if why.contains("in time")));
    }
}
