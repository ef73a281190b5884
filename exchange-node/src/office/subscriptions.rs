//! Questions that go on, for office systems: a system sees what it subscribed to itself, the operator sees everything. Out of
//! scope: subscribing and receiving (`ask::subscribed`).

use std::sync::Arc;

use proto::{exchange::v1::answer::Outcome, office::v1 as wire};

use super::{Failure, Office, Seen, failed, not_found, read_receipt};
use crate::{
    ask::{self, Asker, Ending, Notice, OfficeQuestion, Subscribed},
    asked::ticket_of,
    office_keys::Caller,
};

/// A year: how long a subscription lasts where nothing else is said.
const USUAL_MS: u64 = 365 * 86_400_000;

impl Office {
    /// Asks a question that goes on: the verdict now, and the ticket of the subscription where it stands; 0 for a year.
    ///
    /// # Errors
    /// As for [`Office::ask`].
    pub async fn subscribe(
        &self,
        caller: &Caller,
        question: OfficeQuestion,
        until_ms: u64,
    ) -> Result<(Seen, Option<String>), Failure> {
        let until_ms = match until_ms {
            0 => self.now_ms().saturating_add(USUAL_MS),
            until_ms => until_ms,
        };
        let seen = self.ask(caller, OfficeQuestion { subscribe_until_ms: Some(until_ms), ..question }).await?;
        let stands = matches!(seen.asked.ending, Ending::Answered { .. });
        let ticket = seen.asked.request_digest.as_ref().map(ticket_of).filter(|_| stands);
        Ok((seen, ticket))
    }

    /// Subscriptions, the newest first, each with its place, behind a place; those that are over only with `all`.
    ///
    /// # Errors
    /// What is stored cannot be read.
    pub async fn subscriptions(
        &self,
        caller: &Caller,
        all: bool,
        before: Option<u64>,
        most: usize,
    ) -> Result<Vec<(u64, wire::Subscription)>, Failure> {
        let (asker, may_read, now_ms) = (Arc::clone(&self.asker), reader(&self.asker, caller), self.now_ms());
        let listed = tokio::task::spawn_blocking(move || {
            let rows = asker.subscriptions().into_iter().filter(|row| may_read(row));
            let rows = rows.filter(|row| before.is_none_or(|before| row.question < before));
            let rows = rows.filter(|row| all || row.over(now_ms).is_empty()).take(most);
            rows.map(|row| Ok((row.question, subscription_seen(&asker, &row, now_ms)?)))
                .collect::<Result<Vec<_>, ask::Error>>()
        });
        listed.await?.map_err(failed)
    }

    /// One subscription with all its notices.
    ///
    /// # Errors
    /// There is none for this caller, or it cannot be read.
    pub fn subscription(&self, caller: &Caller, ticket: &str) -> Result<wire::ShowSubscriptionResponse, Failure> {
        let row = self.own_subscription(caller, ticket)?;
        let (asked, receipt) = self.asker.question_of(&row).map_err(failed)?;
        let notices = self.asker.all_notices(&row).map_err(failed)?;
        Ok(wire::ShowSubscriptionResponse {
            subscription: Some(subscription_seen(&self.asker, &row, self.now_ms()).map_err(failed)?),
            subject: asked.subject,
            claim: asked.claims.into_iter().next(),
            receipt: receipt.to_string(),
            notices: notices.into_iter().map(notice_seen).collect(),
        })
    }

    /// Ends one; the provider is told by itself.
    ///
    /// # Errors
    /// There is none for this caller, or our own failure.
    pub async fn end_subscription(&self, caller: &Caller, ticket: &str) -> Result<wire::Subscription, Failure> {
        let row = self.own_subscription(caller, ticket)?;
        let asker = Arc::clone(&self.asker);
        let row = tokio::spawn(async move { asker.unsubscribe(row.question).await }).await?.map_err(not_found)?;
        subscription_seen(&self.asker, &row, self.now_ms()).map_err(failed)
    }

    /// Notices that nobody has acknowledged, the oldest first, each with the department that told it, and whether there are more.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn notices(&self, caller: &Caller, most: usize) -> Result<(Vec<(wire::Notice, String)>, bool), Failure> {
        let (asker, may_read) = (Arc::clone(&self.asker), reader(&self.asker, caller));
        let listed = tokio::task::spawn_blocking(move || asker.unacknowledged(most, may_read)).await?;
        let (notices, more) = listed.map_err(failed)?;
        let told = notices.into_iter().map(|notice| {
            let provider = notice.row.provider.clone();
            (notice_seen(notice), provider)
        });
        Ok((told.collect(), more))
    }

    /// Somebody has seen to notices; how many are listed no more.
    ///
    /// # Errors
    /// A receipt is no notice's, or our own failure.
    pub async fn acknowledge(&self, caller: &Caller, receipts: &[String]) -> Result<u32, Failure> {
        let receipts = receipts.iter().map(|receipt| read_receipt(receipt)).collect::<Result<Vec<_>, _>>()?;
        let (asker, may_read) = (Arc::clone(&self.asker), reader(&self.asker, caller));
        let acknowledged = tokio::spawn(async move { asker.acknowledge(&receipts, may_read).await }).await?;
        Ok(u32::try_from(acknowledged.map_err(not_found)?).unwrap_or(u32::MAX))
    }

    fn own_subscription(&self, caller: &Caller, ticket: &str) -> Result<Subscribed, Failure> {
        let row = self.asker.subscription(ticket.trim()).filter(reader(&self.asker, caller));
        row.ok_or_else(|| {
            Failure::NotFound("there is no subscription with this ticket for this office system".to_owned())
        })
    }
}

/// Who may read which subscriptions: an office system its own, as far as its key could have subscribed to them.
fn reader(asker: &Arc<Asker>, caller: &Caller) -> impl Fn(&Subscribed) -> bool + Clone + Send + 'static + use<> {
    let (asker, caller) = (Arc::clone(asker), caller.clone());
    move |row| {
        if !caller.is_operator() && row.system != caller.system {
            return false;
        }
        let provider = row.provider.split_once('/').map_or("", |(_, department)| department);
        // For which item it was asked stands in the question alone.
        let item = match caller.limits.items.as_ref().map(|_| asker.question_of(row)) {
            None => String::new(),
            Some(Ok((request, _))) => request.purpose.unwrap_or_default().item,
            Some(Err(error)) => {
                tracing::warn!(%error, "a subscription cannot be read, and is not shown to a key that is limited to items");
                return false;
            }
        };
        caller.limits.covers(provider, &row.service, &item).is_ok()
    }
}

fn subscription_seen(asker: &Asker, row: &Subscribed, now_ms: u64) -> Result<wire::Subscription, ask::Error> {
    let (request, _) = asker.question_of(row)?;
    let (notices, unacknowledged) = asker.notices_of(row);
    let reason = row.over(now_ms);
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Ok(wire::Subscription {
        ticket: row.ticket(),
        state: if reason.is_empty() { "active" } else { "over" }.to_owned(),
        reason: reason.to_owned(),
        provider: row.provider.clone(),
        service: row.service.clone(),
        service_version: row.major,
        since_ms: row.since_ms,
        until_ms: row.until_ms,
        verdict: row.verdict,
        notices: count(notices),
        unacknowledged: count(unacknowledged),
        system: row.system.clone(),
        case_number: request.case_number,
    })
}

/// A notice as offices get it.
pub(super) fn notice_seen(notice: Notice) -> wire::Notice {
    let Notice { row, came, receipt, answer, request } = notice;
    let mut told = wire::Notice {
        receipt: receipt.to_string(),
        ticket: row.ticket(),
        number: came.number,
        made_ms: answer.answered_at_ms,
        came_ms: came.at_ms,
        case_number: request.case_number,
        subject: request.subject,
        acknowledged: came.number <= row.acknowledged,
        ..wire::Notice::default()
    };
    match answer.outcome {
        Some(Outcome::Verdicts(verdicts)) => {
            told.record_as_of = verdicts.record_as_of;
            told.verdict = verdicts.verdicts.into_iter().next();
        }
        Some(Outcome::Refusal(refusal)) => told.ended = Some(refusal),
        Some(Outcome::Deferral(_)) | None => {}
    }
    told
}
