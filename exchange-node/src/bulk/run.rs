//! Carries jobs out: each in a task of its own, two of its parts at a time, so that one is put together while the other is
//! being answered. What cannot be asked now is tried again until it can. Out of scope: what is kept of a job (`job`).

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures_util::stream::{self, StreamExt as _};
use host::supervise::TaskError;
use prost::Message;
use proto::{
    exchange::v1::{self as wire, answer::Outcome, signed::Form},
    office::v1::{BatchResult, State},
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use trust::{
    directory::model::Node,
    ids::DepartmentId,
    refusal::{Code, Refusal},
};

use super::{Bulk, Error, Job, stored::StoredSent};
use crate::{
    ask::{self, BatchAnswer, SentBatch},
    peers::SendFailure,
};

/// Parts of one job that are asked at a time.
const PARTS_AT_ONCE: usize = 2;

/// How long one attempt may take: as long as a slow source may need for ten thousand rows. A connection that is dead ends it
/// sooner.
const ATTEMPT: Duration = Duration::from_secs(300);

/// The first pause before a batch is sent again; each is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Why a part has no result yet. Tried again, whatever it is.
#[derive(Debug, thiserror::Error)]
enum Held {
    #[error(transparent)]
    Ask(#[from] ask::Error),
    #[error(transparent)]
    Job(#[from] Error),
    #[error("{0}")]
    Refused(Refusal),
    #[error("{0}")]
    Unanswered(String),
    #[error("some of its rows are asked next")]
    More,
    #[error("QUOTA_EXCEEDED: the rest is asked as soon as the quota allows")]
    Quota { at_ms: u64 },
}

impl From<tokio::task::JoinError> for Held {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::Job(error.into())
    }
}

impl Bulk {
    /// Carries out every job that has not ended, until it is told to stop.
    ///
    /// # Errors
    ///
    /// Never: what stands in a job's way is told in its state.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) -> Result<(), TaskError> {
        // Whom a crash kept from being told that a job has ended.
        for job in self.jobs().iter().filter(|job| job.ended_ms().is_some_and(|at_ms| self.outbox.keeps(at_ms))) {
            self.tell_ended(job).await;
        }
        let mut tasks = JoinSet::new();
        let mut started = HashSet::new();
        loop {
            for job in self.jobs().into_iter().rev().filter(|job| job.ended_ms().is_none()) {
                if started.insert(job.id().to_owned()) {
                    let bulk = Arc::clone(&self);
                    tasks.spawn(async move { bulk.carry_out(&job).await });
                }
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = self.news.notified() => {}
                Some(ended) = tasks.join_next() => if let Err(error) = ended {
                    tracing::error!(%error, "carrying out a job of many questions ended; it goes on at the next start");
                },
            }
        }
    }

    async fn carry_out(self: &Arc<Self>, job: &Arc<Job>) {
        let parts = job.open_parts();
        tracing::info!(job = job.id(), parts = parts.len(), "a job of many questions is carried out");
        let asking = parts.into_iter().map(|part| {
            let (bulk, job) = (Arc::clone(self), Arc::clone(job));
            async move { bulk.until_answered(&job, part).await }
        });
        stream::iter(asking).buffer_unordered(PARTS_AT_ONCE).collect::<()>().await;
        let mut pause = FIRST_PAUSE;
        while let Err(error) = job.end(self.clock.now_ms()) {
            tracing::error!(job = job.id(), %error, "the end of a job cannot be noted yet");
            wait(&mut pause).await;
        }
        tracing::info!(job = job.id(), "a job of many questions has ended");
        self.tell_ended(job).await;
    }

    async fn until_answered(self: &Arc<Self>, job: &Arc<Job>, part: usize) {
        let mut pause = FIRST_PAUSE;
        while let Err(held) = self.ask_part(job, part).await {
            match held {
                Held::More => continue,
                Held::Quota { at_ms } => {
                    job.wait_for(&held.to_string());
                    let left_ms = at_ms.saturating_sub(self.clock.now_ms()).max(20);
                    tokio::time::sleep(Duration::from_millis(left_ms)).await;
                    pause = FIRST_PAUSE;
                    continue;
                }
                _ => {}
            }
            let reason = held.to_string();
            tracing::info!(job = job.id(), part, reason, "a batch has no answer yet; it is tried again");
            job.wait_for(&reason);
            wait(&mut pause).await;
        }
    }

    /// Asks one part and keeps its results.
    async fn ask_part(self: &Arc<Self>, job: &Arc<Job>, part: usize) -> Result<(), Held> {
        let (noted, sent) = match job.sent(part)? {
            Some(mut noted) => {
                // Whether it left before a crash nobody knows: it goes where it was going.
                noted.has_left |= !job.has_begun(part);
                match self.asker.sent_batch(noted.place) {
                    Ok(sent) => (noted, sent),
                    // Its entry was lost with the disk, or its month's key destroyed: these bytes can never be sent again.
                    Err(ask::Error::StoredUnreadable) => {
                        tracing::warn!(
                            job = job.id(),
                            part,
                            "what was sent of a job is in the evidence no more; it is asked anew"
                        );
                        job.forget_sent(part)?;
                        return Err(Held::More);
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            None => match self.prepare(job, part).await? {
                Prepared::Sent(noted, sent) => (noted, sent),
                Prepared::Refused(results) => return self.settle(job, part, results).await,
            },
        };
        let recipient = sent.questions.common.recipient.department().clone();
        let bytes = self.deliver(job, part, &recipient, noted.clone(), &sent).await?;
        let signed = wire::Signed::decode(bytes.as_slice());
        drop(bytes);
        let signed = Arc::new(signed.map_err(|_| Held::Unanswered("answer_invalid: no signed message".to_owned()))?);
        let answer = self.asker.open_batch(&sent, &signed).await.map_err(Held::Unanswered)?;
        if is_too_late(&answer) {
            // Nobody has answered it, and nobody will: the rows are asked anew, under a new id.
            self.asker.record_batch_answer(&sent, signed, 0).await?;
            job.forget_sent(part)?;
            return Err(Held::Unanswered("the batch was too old when it arrived".to_owned()));
        }
        let is_batch = matches!(signed.form, Some(Form::Batch(_)));
        let answered = match &answer {
            BatchAnswer::Answered(answers) => answers.iter().filter(|answer| has_verdicts(answer)).count(),
            BatchAnswer::Refused(_) => 0,
        };
        let receipt = self.asker.record_batch_answer(&sent, signed, answered).await?.to_string();
        let first = job.first_row(part);
        let by = sent.questions.common.recipient.to_string();
        let mut results = noted.refused;
        for (item, row) in noted.rows.iter().enumerate() {
            let outcome = match &answer {
                BatchAnswer::Answered(answers) => answers.get(item).and_then(|answer| answer.outcome.clone()),
                BatchAnswer::Refused(refusal) => Some(Outcome::Refusal(refusal.clone())),
            };
            let receipt = if is_batch { format!("{receipt}/{item}") } else { receipt.clone() };
            results.push(result(first + u64::from(*row), outcome, receipt, &by));
        }
        self.settle(job, part, results).await
    }

    /// Keeps the results of a part once all of its rows have one. Rows that met a quota, and those that were not asked
    /// because of it, are asked again.
    async fn settle(&self, job: &Arc<Job>, part: usize, results: Vec<BatchResult>) -> Result<(), Held> {
        let now_ms = self.clock.now_ms();
        let answered = results.iter().filter(|result| result.state() == State::Answered).count();
        let (again, mut settled): (Vec<_>, Vec<_>) =
            results.into_iter().partition(|result| is_for_later(result, now_ms));
        let retry_at = again.iter().filter_map(|result| result.refusal.as_ref()).map(|it| it.retry_at_ms).max();
        let job = Arc::clone(job);
        let keeping = tokio::task::spawn_blocking(move || {
            settled.extend(job.partial(part)?);
            settled.sort_by_key(|result| result.row);
            // After a crash the same may have come twice.
            settled.dedup_by_key(|result| result.row);
            if settled.len() >= job.size(part) {
                return job.keep_results(part, settled).map(|()| false);
            }
            job.keep_partial(part, settled)?;
            job.forget_sent(part)?;
            if !again.is_empty() {
                job.slow_down(answered);
            }
            Ok::<_, Error>(true)
        });
        match (keeping.await??, retry_at) {
            (false, _) => Ok(()),
            (true, Some(at_ms)) => Err(Held::Quota { at_ms }),
            (true, None) => Err(Held::More),
        }
    }

    /// Prepares and records what is to be asked of a part next, and notes where it goes.
    async fn prepare(self: &Arc<Self>, job: &Arc<Job>, part: usize) -> Result<Prepared, Held> {
        let (bulk, of) = (Arc::clone(self), Arc::clone(job));
        let first = job.first_row(part);
        let prepared = tokio::task::spawn_blocking(move || {
            let settled: HashSet<u64> = of.partial(part)?.iter().map(|result| result.row).collect();
            let rows = of.rows(part)?.rows.into_iter().enumerate();
            let open = rows.filter(|(row, _)| !settled.contains(&(first + *row as u64)));
            let (places, rows): (Vec<usize>, Vec<_>) = open.take(of.pace()).unzip();
            Ok::<_, Error>((bulk.asker.prepare_batch(&of.question(), &rows), places))
        });
        let (prepared, places) = prepared.await??;
        let place = |row: usize| places.get(row).copied().unwrap_or(usize::MAX);
        let refused_row = |(row, refusal): &(usize, Refusal)| {
            let row = first + u64::try_from(place(*row)).unwrap_or(u64::MAX);
            let refusal = Some(Outcome::Refusal(refusal.to_wire()));
            result(row, refusal, String::new(), "own node")
        };
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(refusal) if is_passing(refusal.code) => return Err(Held::Refused(refusal)),
            Err(refusal) => {
                self.asker.record_refused(&[(0, refusal.clone())]).await?;
                let results = (0..places.len()).map(|row| refused_row(&(row, refusal.clone())));
                return Ok(Prepared::Refused(results.collect()));
            }
        };
        if !prepared.refused.is_empty() {
            self.asker.record_refused(&prepared.refused).await?;
        }
        let refused: Vec<BatchResult> = prepared.refused.iter().map(refused_row).collect();
        let rows = prepared.rows.iter().map(|row| u32::try_from(place(*row)).unwrap_or(u32::MAX));
        let rows: Vec<u32> = rows.collect();
        if rows.is_empty() {
            return Ok(Prepared::Refused(refused));
        }
        let node = self.node_of(&prepared.provider, part).ok_or_else(unreachable)?.node.to_string();
        let sent = self.asker.record_batch(prepared).await?;
        let noted = StoredSent { place: sent.place, node, rows, refused, has_left: false };
        job.note_sent(part, &noted)?;
        job.note_begun(part);
        Ok(Prepared::Sent(noted, sent))
    }

    /// Sends the noted bytes to the noted node; to another only where they have certainly not left.
    async fn deliver(
        &self,
        job: &Arc<Job>,
        part: usize,
        provider: &DepartmentId,
        mut noted: StoredSent,
        sent: &SentBatch,
    ) -> Result<Vec<u8>, Held> {
        let node = {
            let seen = self.view.seen();
            seen.directory().nodes_of(provider).find(|node| node.node.as_str() == noted.node).cloned()
        };
        let node = node.ok_or_else(unreachable)?;
        match self.peers.verify_batch(&node, sent.bytes(), ATTEMPT).await {
            Ok(bytes) => Ok(bytes),
            Err(unsent) => {
                // Where another node of the department takes questions, the next attempt goes there.
                if unsent.never_left
                    && !noted.has_left
                    && let Some(other) = self.another(provider, &noted.node)
                {
                    noted.node = other.node.to_string();
                    job.note_sent(part, &noted)?;
                } else if !unsent.never_left && !noted.has_left {
                    noted.has_left = true;
                    job.note_sent(part, &noted)?;
                }
                Err(Held::Unanswered(unsent.failure.as_str().to_owned()))
            }
        }
    }

    fn node_of(&self, provider: &DepartmentId, part: usize) -> Option<Node> {
        let seen = self.view.seen();
        let nodes: Vec<&Node> = seen.directory().nodes_of(provider).filter(|node| !node.draining).collect();
        nodes.get(part.checked_rem(nodes.len())?).map(|node| (*node).clone())
    }

    fn another(&self, provider: &DepartmentId, than: &str) -> Option<Node> {
        let seen = self.view.seen();
        let mut others =
            seen.directory().nodes_of(provider).filter(|node| !node.draining && node.node.as_str() != than);
        others.next().cloned()
    }
}

/// What is to be done about a part.
enum Prepared {
    /// This batch was recorded and noted.
    Sent(StoredSent, SentBatch),
    /// No row of it may be asked.
    Refused(Vec<BatchResult>),
}

/// A quota that is met for longer is a refusal, and not something to wait for.
const LONGEST_WAIT_MS: u64 = 600_000;

/// Whether the row met a quota that lets it pass before long.
fn is_for_later(result: &BatchResult, now_ms: u64) -> bool {
    result.refusal.as_ref().is_some_and(|refusal| {
        refusal.code == Code::QuotaExceeded.as_str()
            && refusal.retry_at_ms > 0
            && refusal.retry_at_ms <= now_ms.saturating_add(LONGEST_WAIT_MS)
    })
}

fn unreachable() -> Held {
    Held::Unanswered(SendFailure::Unreachable.as_str().to_owned())
}

async fn wait(pause: &mut Duration) {
    tokio::time::sleep(*pause).await;
    *pause = (*pause * 2).min(LONGEST_PAUSE);
}

fn has_verdicts(answer: &wire::Answer) -> bool {
    matches!(answer.outcome, Some(Outcome::Verdicts(_)))
}

/// What keeps everything from being asked now, and goes by.
fn is_passing(code: Code) -> bool {
    matches!(
        code,
        Code::DirectoryExpired
            | Code::ClockBackwards
            | Code::Overloaded
            | Code::ProviderUnreachable
            | Code::KeyNotYetValid
    )
}

/// Whether the batch came when it was not valid any more, so that none of it was answered.
fn is_too_late(answer: &BatchAnswer) -> bool {
    let is_late = |outcome: &wire::Refusal| outcome.code == Code::RequestTooOld.as_str();
    match answer {
        BatchAnswer::Refused(refusal) => is_late(refusal),
        BatchAnswer::Answered(answers) => {
            answers.iter().all(|answer| matches!(&answer.outcome, Some(Outcome::Refusal(refusal)) if is_late(refusal)))
        }
    }
}

fn result(row: u64, outcome: Option<Outcome>, receipt: String, by: &str) -> BatchResult {
    let mut result = BatchResult { row, receipt, ..BatchResult::default() };
    match outcome {
        Some(Outcome::Verdicts(verdicts)) => {
            result.set_state(State::Answered);
            result.verdicts = verdicts.verdicts;
            result.record_as_of = verdicts.record_as_of;
        }
        Some(Outcome::Refusal(refusal)) => {
            result.set_state(State::Refused);
            result.refusal = Some(refusal);
            by.clone_into(&mut result.refused_by);
        }
        // An opened answer has an outcome, and a batch accepts no deferral.
        Some(Outcome::Deferral(_)) | None => result.set_state(State::Unanswered),
    }
    result
}
