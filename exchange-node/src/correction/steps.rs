//! Corrections as duties: one step at a time, each done at least once. Whatever fails is tried again by the list. Out of scope:
//! when (`duty`).

use std::time::Duration;

use proto::{
    exchange::v1::{self as wire, corrections_client::CorrectionsClient},
    registry::v1::{StateOverdueRequest, state_overdue_response::Outcome},
};
use tokio::time::timeout;
use trust::{
    directory::model::Node,
    ids::{Digest, Party},
    refusal::Code,
};

use super::{
    Corrections, Step,
    book::{Of, Received},
    find,
};
use crate::{duty::Acted, keys::seal};

/// How long one attempt may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often a decision that is late is asked for.
const ASK_AGAIN_MS: u64 = 3_600_000;

/// For how long something is carried to a node that does not take it.
const GIVE_UP_MS: u64 = 60 * 86_400_000;

/// Why something was not done, for the log.
type NotDone = Box<dyn std::error::Error + Send + Sync>;

impl Corrections {
    /// Does one step.
    pub(crate) async fn act(&self, step: Step, entry: u64, question: Of) -> Result<Acted, NotDone> {
        let done = || Acted::Done(Vec::new());
        let now_ms = self.clock.now_ms();
        if matches!(step, Step::Send | Step::Fetch) {
            let Some(row) = self.book.opened_at(entry).filter(|row| row.state.is_open()) else { return Ok(done()) };
            let said = self.send(entry).await;
            let given_up = is_given_up(step, (row.opened_ms, row.due_ms), now_ms);
            return match (step, said) {
                (Step::Send, Ok(true)) => Ok(done()),
                (Step::Fetch, Ok(_)) if self.book.opened_at(entry).is_none_or(|row| !row.state.is_open()) => Ok(done()),
                _ if given_up => {
                    self.give_up(entry).await?;
                    Ok(done())
                }
                (Step::Fetch, said) => {
                    if let Err(error) = said {
                        tracing::info!(provider = row.provider, %error, "a decision cannot be asked for yet");
                    }
                    Ok(Acted::Later(Some(now_ms.saturating_add(ASK_AGAIN_MS))))
                }
                (_, Err(error)) => Err(error),
                (_, Ok(_)) => Ok(Acted::Later(None)),
            };
        }
        let Some(row) = self.book.received_at(entry) else { return Ok(done()) };
        let given_up = now_ms > row.decided_ms.saturating_add(GIVE_UP_MS);
        let acted = match step {
            Step::Conclude => self.conclude(&row).await,
            Step::Spread => self.spread(&row).await.map_err(NotDone::from),
            Step::Tell => self.tell(&row, question).await,
            _ => return self.overdue(&row).await,
        };
        match acted {
            Ok(()) => Ok(done()),
            Err(error) if given_up && matches!(step, Step::Conclude | Step::Tell) => {
                // It stays in the evidence: whoever asks again with the same request gets it.
                tracing::error!(consumer = row.consumer, %error, "what was said of a correction was never taken; it is not carried any longer");
                Ok(done())
            }
            Err(error) => Err(error),
        }
    }

    /// Delivers the decision.
    async fn conclude(&self, row: &Received) -> Result<(), NotDone> {
        let Some(decision) = row.decision else { return Ok(()) };
        let consumer: Party = row.consumer.parse()?;
        let node = {
            let seen = self.view.seen();
            let mut nodes = seen.directory().nodes_of(consumer.department());
            nodes.find(|node| node.node.as_str() == row.consumer_node).cloned()
        };
        let node = node.ok_or("the directory has no such node (any more)")?;
        let (_, signed) = find::stored(self.journal.as_ref(), decision)?;
        let mut client = CorrectionsClient::new(self.peers.channel(&node)?);
        let request = wire::ConcludeCorrectionRequest { decision: Some(signed) };
        timeout(PATIENCE, client.conclude(request)).await??;
        let _turn = self.turn.lock().await;
        self.book.delivered(row.entry).await?;
        Ok(())
    }

    /// Delivers an answer that takes another one's place.
    pub(super) async fn deliver(
        &self,
        node: &Node,
        answer: wire::Signed,
        (asked_at_ms, batch): (u64, Option<Digest>),
    ) -> Result<(), NotDone> {
        let mut client = CorrectionsClient::new(self.peers.channel(node)?);
        let batch = batch.map(|batch| batch.as_bytes().to_vec()).unwrap_or_default();
        let request = wire::DeliverCorrectedRequest { answer: Some(answer), asked_at_ms, batch };
        timeout(PATIENCE, client.deliver(request)).await??;
        Ok(())
    }

    /// States that no decision was made in time.
    async fn overdue(&self, row: &Received) -> Result<Acted, NotDone> {
        let done = || Acted::Done(Vec::new());
        let now_ms = self.clock.now_ms();
        let in_time = row.found.is_some() && row.decided_ms <= row.due_ms;
        if in_time || row.overdue_recorded {
            return Ok(done());
        }
        if now_ms < row.due_ms {
            return Ok(Acted::Later(Some(row.due_ms)));
        }
        let (_, accepted) = find::stored(self.journal.as_ref(), row.entry + 1)?;
        let correction: Digest = row.digest.parse()?;
        let overdue = wire::Overdue {
            exchange_id: self.me.exchange().to_string(),
            sender: self.me.to_string(),
            sender_node: self.node.to_string(),
            recipient: row.consumer.clone(),
            service: row.service.clone(),
            service_version: row.major,
            request_digest: correction.as_bytes().to_vec(),
            deferral: trust::envelope::digest_of(&accepted)?.as_bytes().to_vec(),
            due_at_ms: row.due_ms,
            stated_at_ms: now_ms,
        };
        let mut anchors = self.link.anchors(Some(&self.view))?;
        let request = StateOverdueRequest { overdue: Some(seal(&overdue, self.signer.as_ref()).0) };
        let response = timeout(PATIENCE, anchors.state_overdue(request)).await??.into_inner();
        match response.outcome.ok_or("the registry's answer is empty")? {
            Outcome::Recorded(recorded) => {
                tracing::warn!(index = recorded.index, "the registry has recorded that a correction is overdue");
                let _turn = self.turn.lock().await;
                self.book.overdue_recorded(row.entry).await?;
                Ok(done())
            }
            Outcome::Refused(refusal) if refusal.code == Code::Overloaded.as_str() => {
                Ok(Acted::Later(Some(refusal.retry_at_ms)))
            }
            Outcome::Refused(refusal) => Err(format!("{}: {}", refusal.code, refusal.message).into()),
        }
    }
}

/// Whether nobody asks any longer about a correction that was opened, or was to be decided, at these times.
fn is_given_up(step: Step, (opened_ms, due_ms): (u64, u64), now_ms: u64) -> bool {
    let since_ms = if step == Step::Fetch { due_ms.max(opened_ms) } else { opened_ms };
    now_ms > since_ms.saturating_add(GIVE_UP_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_never_taken_and_what_is_never_decided_is_given_up_once() {
        let (opened_ms, due_ms) = (1_000, 900_000_000);
        let at = |step, now_ms| is_given_up(step, (opened_ms, due_ms), now_ms);
        assert!(!at(Step::Send, opened_ms + GIVE_UP_MS) && at(Step::Send, opened_ms + GIVE_UP_MS + 1));
        assert!(!at(Step::Fetch, due_ms + GIVE_UP_MS) && at(Step::Fetch, due_ms + GIVE_UP_MS + 1));
    }
}
