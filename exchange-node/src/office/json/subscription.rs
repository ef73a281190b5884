//! Questions that go on as JSON: subscriptions, and the changes that are told. Out of scope: what a change is (`subscriptions`).

use proto::office::v1 as wire;
use serde::{Deserialize, Serialize};
use trust::claim::Verdict;
use utoipa::ToSchema;

use super::{
    Claim, ClaimVerdict, Question, Refusal, Subject, VerdictWord, Verification, result::verdict, time_of, timestamp,
};
use crate::office::problem::Problem;

/// A question that goes on.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSubscription {
    /// The question, with exactly one claim.
    pub question: Question,
    /// Until when, RFC 3339; left out for a year. It ends with the grant in any case.
    #[serde(default)]
    #[schema(format = DateTime)]
    pub until: Option<String>,
}

impl NewSubscription {
    /// Until when, Unix milliseconds; 0 where nothing is said.
    ///
    /// # Errors
    /// It is no time.
    pub fn until_ms(&self) -> Result<u64, Problem> {
        self.until.as_deref().map_or(Ok(0), |until| time_of(until, "until"))
    }
}

/// What became of subscribing.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SubscriptionMade {
    /// The subscription's ticket; left out where no verdict came, and nothing stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// The verdict now.
    pub first: Verification,
}

/// A subscription.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Subscription {
    /// What finds it again on both sides.
    #[schema(example = "9f3a2c1e4b5d6a70")]
    pub ticket: String,
    /// `active` or `over`.
    pub state: String,
    /// Why it is over: a stable code; empty while it is active.
    pub reason: String,
    /// The department that tells changes, `<exchange>/<department>`.
    pub provider: String,
    /// Its data service.
    pub service: String,
    /// The service's major version.
    pub service_version: u32,
    /// Since when, RFC 3339.
    #[schema(format = DateTime)]
    pub since: String,
    /// Until when at the latest, RFC 3339.
    #[schema(format = DateTime)]
    pub until: String,
    /// The last verdict that was told.
    pub verdict: VerdictWord,
    /// How many changes were told.
    pub notices: u32,
    /// How many of them nobody has acknowledged.
    pub unacknowledged: u32,
    /// The case number.
    pub case_number: String,
}

impl From<wire::Subscription> for Subscription {
    fn from(subscription: wire::Subscription) -> Self {
        Self {
            ticket: subscription.ticket,
            state: subscription.state,
            reason: subscription.reason,
            provider: subscription.provider,
            service: subscription.service,
            service_version: subscription.service_version,
            since: timestamp(subscription.since_ms),
            until: timestamp(subscription.until_ms),
            verdict: Verdict::from_proto(subscription.verdict).map_or(VerdictWord::Unavailable, VerdictWord::from),
            notices: subscription.notices,
            unacknowledged: subscription.unacknowledged,
            case_number: subscription.case_number,
        }
    }
}

/// A page of subscriptions.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SubscriptionPage {
    /// The subscriptions, the newest first.
    pub subscriptions: Vec<Subscription>,
    /// Gets the next page as `cursor`; left out on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// A subscription with whom and what it is about, and all that was told.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SubscriptionShown {
    /// The subscription.
    pub subscription: Subscription,
    /// Whom it is about; left out where its month's messages were destroyed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    /// The claim; left out where its month's messages were destroyed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim: Option<Claim>,
    /// The receipt of the first answer.
    pub receipt: String,
    /// All its notices, the oldest first.
    pub notices: Vec<ChangeNotice>,
}

impl From<wire::ShowSubscriptionResponse> for SubscriptionShown {
    fn from(shown: wire::ShowSubscriptionResponse) -> Self {
        let subscription = shown.subscription.unwrap_or_default();
        let provider = subscription.provider.clone();
        let notices = shown.notices.into_iter().map(|notice| ChangeNotice::of(notice, &provider));
        Self {
            notices: notices.collect(),
            subscription: subscription.into(),
            subject: shown.subject.map(subject),
            claim: shown.claim.as_ref().map(Claim::from_wire),
            receipt: shown.receipt,
        }
    }
}

/// A change, or the end of a subscription.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ChangeNotice {
    /// Its receipt: acknowledges it, and finds its evidence.
    pub receipt: String,
    /// The subscription's ticket.
    pub ticket: String,
    /// Its number among the answers to the same question; the first notice is 2.
    pub number: u32,
    /// When the provider made it, RFC 3339.
    #[schema(format = DateTime)]
    pub made_at: String,
    /// When it came, RFC 3339.
    #[schema(format = DateTime)]
    pub came_at: String,
    /// The verdict from now on; left out where the subscription ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<ClaimVerdict>,
    /// Why the subscription ended; left out where a verdict changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<Refusal>,
    /// The case number.
    pub case_number: String,
    /// Whom it is about; left out of events and of what webhooks are told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    /// The day of the record, `YYYY-MM-DD`; may be empty.
    pub record_as_of: String,
    /// Whether it was acknowledged.
    pub acknowledged: bool,
}

impl ChangeNotice {
    /// As it stands in a message of this provider.
    pub fn of(notice: wire::Notice, provider: &str) -> Self {
        Self {
            receipt: notice.receipt,
            ticket: notice.ticket,
            number: notice.number,
            made_at: timestamp(notice.made_ms),
            came_at: timestamp(notice.came_ms),
            verdict: notice.verdict.as_ref().map(verdict),
            ended: notice.ended.map(|refusal| Refusal::of(refusal, provider.to_owned())),
            case_number: notice.case_number,
            subject: notice.subject.map(subject),
            record_as_of: notice.record_as_of,
            acknowledged: notice.acknowledged,
        }
    }
}

fn subject(subject: proto::exchange::v1::Subject) -> Subject {
    Subject { scheme: subject.scheme, value: subject.value }
}

/// Notices that nobody has acknowledged.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ChangeNotices {
    /// The oldest first.
    pub notices: Vec<ChangeNotice>,
    /// Whether there are more: acknowledge these, and they come next.
    pub more: bool,
}

/// Which notices were seen to.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Acknowledgement {
    /// Their receipts. Of each subscription, those before are acknowledged with them.
    pub receipts: Vec<String>,
}

/// How many there were.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Acknowledged {
    /// The number of notices that are listed no more.
    pub acknowledged: u32,
}
