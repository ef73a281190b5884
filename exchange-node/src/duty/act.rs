//! Does what is to be done: carries an answer to the node that asked, asks for one that has not come, tells the registry what
//! is overdue. Whatever fails is tried again by the list. Out of scope: when (`duty`).

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use host::clock::Clock;
use proto::{
    exchange::v1::Envelope,
    registry::v1::{StateOverdueRequest, state_overdue_response::Outcome},
};
use tokio::time::timeout;
use trust::{ids::Party, refusal::Code};

use super::{Acted, Actor, Duty, What};
use crate::{
    ask::{Asker, NotFound},
    case::Cases,
    clerk::{Clerks, Task},
    correction::Corrections,
    office::notice::NoticeWriter,
    outbox::Outbox,
    peers::Peers,
    subscriptions::{GivenBook, carry},
    view::{RegistryLink, View},
    webhooks::Webhooks,
};

/// How long one attempt may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often an answer that is late is asked for.
const ASK_AGAIN_MS: u64 = 3_600_000;

/// For how long an answer is carried to a node that does not take it, and for how long one is asked for.
const GIVE_UP_MS: u64 = 60 * 86_400_000;

/// Does duties.
pub struct Acting {
    /// The asking side.
    pub asker: Arc<Asker>,
    /// Questions that a person answers.
    pub clerks: Arc<Clerks>,
    /// Cases, with their commitments.
    pub cases: Arc<Cases>,
    /// Corrections.
    pub corrections: Arc<Corrections>,
    /// What others subscribed to.
    pub given: Arc<GivenBook>,
    /// The directory.
    pub view: Arc<View>,
    /// Other nodes.
    pub peers: Arc<Peers>,
    /// Where office systems are told.
    pub webhooks: Arc<Webhooks>,
    /// What they are told of.
    pub outbox: Arc<Outbox>,
    /// What is said of it.
    pub notices: Arc<NoticeWriter>,
    /// The registry.
    pub link: Arc<RegistryLink>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Actor for Acting {
    fn act<'a>(&'a self, duty: &'a Duty) -> BoxFuture<'a, Acted> {
        Box::pin(async move {
            // Nothing leaves while it is not known that nothing is missing.
            if self.asker.check_open().is_err() {
                return Acted::Later(None);
            }
            let acted = match duty.what {
                What::CheckCommitment { ref commitment } => self.cases.check(commitment).await.map_err(NotDone::from),
                What::CaseAnswer { answer } => self.case_answer(answer).await,
                What::CaseDoubted { entry } => self.case_doubted(entry).await,
                What::Webhook { ref webhook, event } => self.tell(&duty.id, webhook, event).await,
                What::Deliver { question, answer } => self.deliver(question, answer).await,
                What::Fetch { question } => self.fetch(question).await,
                What::Forget { question } => Ok(Acted::Done(vec![self.clerks.forget(question)])),
                What::ForgetSubscription { question } => {
                    let theirs = self.given.forget(question);
                    Ok(Acted::Done(theirs.into_iter().chain(self.asker.forget_subscription(question)).collect()))
                }
                What::Notice { question, answer } => {
                    let parts = (self.given.as_ref(), self.view.as_ref(), self.peers.as_ref());
                    let limits = (PATIENCE, self.clock.now_ms());
                    carry::notice(parts, (question, answer), limits).await.map(|()| Acted::Done(Vec::new()))
                }
                What::Overdue { question } => self.overdue(question).await,
                What::Correction { step, entry, question, item } => {
                    self.corrections.act(step, entry, (question, item)).await
                }
                What::Resume { question } => self.resume(question).await,
                What::Unsubscribe { question, outcome } => self.unsubscribe(question, outcome).await,
            };
            acted.unwrap_or_else(|error| {
                tracing::info!(duty = duty.id, %error, "not done yet; it is tried again");
                Acted::Later(None)
            })
        })
    }
}

/// Why something was not done, for the log.
type NotDone = Box<dyn std::error::Error + Send + Sync>;

impl Acting {
    async fn deliver(&self, question: u64, answer: u64) -> Result<Acted, NotDone> {
        let Some(task) = self.clerks.task(question) else { return Ok(Acted::Done(Vec::new())) };
        let node = {
            let consumer: Party = task.consumer.parse()?;
            let seen = self.view.seen();
            let mut nodes = seen.directory().nodes_of(consumer.department());
            nodes.find(|node| node.node.as_str() == task.consumer_node).cloned()
        };
        let signed = self.clerks.answer_at(answer)?;
        let delivered = match &node {
            Some(node) => self.peers.deliver(node, &signed, PATIENCE).await.map_err(|status| told(&status)),
            None => Err("the directory has no such node (any more)".into()),
        };
        match delivered {
            Ok(()) => {
                self.clerks.delivered(question).await?;
                Ok(Acted::Done(Vec::new()))
            }
            Err(error) if self.is_given_up(&task) => {
                // It stays where it is: whoever asks again with the same request gets it.
                tracing::error!(ticket = task.ticket(), consumer = task.consumer, %error, "an answer was never taken; it is not carried any longer");
                self.clerks.delivered(question).await?;
                Ok(Acted::Done(Vec::new()))
            }
            Err(error) => Err(error),
        }
    }

    fn is_given_up(&self, task: &Task) -> bool {
        self.clock.now_ms() > task.answered_ms.saturating_add(GIVE_UP_MS)
    }

    async fn fetch(&self, question: u64) -> Result<Acted, NotDone> {
        let now_ms = self.clock.now_ms();
        let is_over = |due_ms: u64| now_ms > due_ms.saturating_add(GIVE_UP_MS);
        match self.asker.awaited(question) {
            None => Ok(Acted::Done(Vec::new())),
            Some(row) if row.done || is_over(row.due_ms) => Ok(Acted::Done(Vec::new())),
            Some(_) if self.asker.fetch(question).await? => Ok(Acted::Done(Vec::new())),
            Some(_) => Ok(Acted::Later(Some(now_ms.saturating_add(ASK_AGAIN_MS)))),
        }
    }

    async fn tell(&self, id: &str, webhook: &str, event: u64) -> Result<Acted, NotDone> {
        let done = || Acted::Done(Vec::new());
        let (Some(hook), Some(event)) = (self.webhooks.find(webhook), self.outbox.event(event)) else {
            return Ok(done());
        };
        let (notices, noted_ms) = (Arc::clone(&self.notices), event.at_ms);
        let notice = tokio::task::spawn_blocking(move || notices.notice(&event)).await??;
        // What it is about is gone: there is nothing to tell any more.
        let Some((notice, _)) = notice else { return Ok(done()) };
        let now_ms = self.clock.now_ms();
        match self.webhooks.send(&hook, id, notice.to_json(), now_ms).await {
            Ok(()) => Ok(done()),
            Err(error) if now_ms > noted_ms.saturating_add(GIVE_UP_MS) => {
                tracing::error!(webhook, %error, "a webhook was never taken; it is not sent any longer");
                Ok(done())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A case that was asked for has another outcome now, perhaps.
    async fn case_answer(&self, answer: u64) -> Result<Acted, NotDone> {
        let asker = Arc::clone(&self.asker);
        match tokio::task::spawn_blocking(move || asker.later(answer)).await? {
            Ok(later) => self.cases.take_in(&later.asked.case_number).await?,
            Err(NotFound::Failed(error)) => return Err(error.into()),
            // Its month's key was destroyed, and the case with it.
            Err(_) => {}
        }
        Ok(Acted::Done(Vec::new()))
    }

    /// A correction was opened, or is over: the case says so.
    async fn case_doubted(&self, entry: u64) -> Result<Acted, NotDone> {
        if let Some(number) = self.corrections.case_of(entry).await? {
            self.cases.take_in(&number).await?;
        }
        Ok(Acted::Done(Vec::new()))
    }

    async fn resume(&self, question: u64) -> Result<Acted, NotDone> {
        match self.asker.resume(question).await? {
            true => Ok(Acted::Done(Vec::new())),
            false => Ok(Acted::Later(None)),
        }
    }

    async fn unsubscribe(&self, question: u64, outcome: u64) -> Result<Acted, NotDone> {
        let Some((provider, node, signed)) = self.asker.unsubscribed(question, outcome)? else {
            return Ok(Acted::Done(Vec::new()));
        };
        let node = {
            let seen = self.view.seen();
            let mut nodes = seen.directory().nodes_of(provider.department());
            nodes.find(|known| known.node.as_str() == node).cloned()
        };
        // A node that is gone tells nothing any more.
        let Some(node) = node else { return Ok(Acted::Done(Vec::new())) };
        match self.peers.end_subscription(&node, &signed, PATIENCE).await {
            Ok(()) => Ok(Acted::Done(Vec::new())),
            Err(status) if status.code() == tonic::Code::NotFound => Ok(Acted::Done(Vec::new())),
            Err(status) => Err(told(&status)),
        }
    }

    async fn overdue(&self, question: u64) -> Result<Acted, NotDone> {
        let due_ms = self.clerks.task(question).map_or(0, |task| task.due_ms);
        if self.clock.now_ms() < due_ms {
            return Ok(Acted::Later(Some(due_ms)));
        }
        let Some(overdue) = self.clerks.overdue(question) else { return Ok(Acted::Done(Vec::new())) };
        match self.state(overdue).await? {
            Outcome::Recorded(recorded) => {
                tracing::warn!(index = recorded.index, "the registry has recorded that an answer is overdue");
                self.clerks.overdue_recorded(question).await?;
                Ok(Acted::Done(Vec::new()))
            }
            // The registry's clock is behind; or it takes no more today, and says until when.
            Outcome::Refused(refusal) if refusal.code == Code::Overloaded.as_str() => {
                Ok(Acted::Later(Some(refusal.retry_at_ms)))
            }
            Outcome::Refused(refusal) => Err(format!("{}: {}", refusal.code, refusal.message).into()),
        }
    }

    async fn state(&self, overdue: Envelope) -> Result<Outcome, NotDone> {
        let mut anchors = self.link.anchors(Some(&self.view))?;
        let request = StateOverdueRequest { overdue: Some(overdue) };
        let response = timeout(PATIENCE, anchors.state_overdue(request)).await?;
        let response = response.map_err(|status| told(&status))?.into_inner();
        response.outcome.ok_or_else(|| "the registry's answer is empty".into())
    }
}

/// What the other side said, in one line.
fn told(status: &tonic::Status) -> NotDone {
    format!("{}: {}", status.code(), status.message()).into()
}

impl std::fmt::Debug for Acting {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Acting").finish_non_exhaustive()
    }
}
