//! Carries a change to the node that subscribed, and takes the asking side's word that it wants no more. Out of scope: trying
//! again (`duty`).

use std::time::Duration;

use proto::exchange::v1::{self as wire, outcome::What};
use trust::{
    answer::LARGEST_ANSWER,
    envelope,
    ids::{Digest, Party},
    refusal::{Code, Refusal},
};

use super::{Error, GivenBook};
use crate::{
    answer::{Answerer, Unanswered},
    peers::Peers,
    view::View,
};

/// For how long a change is carried to a node that does not take it.
const GIVE_UP_MS: u64 = 60 * 86_400_000;

/// Why a change was not carried, for the log.
type NotDone = Box<dyn std::error::Error + Send + Sync>;

/// Carries one answer to the node that subscribed. It may have been carried before.
pub(crate) async fn notice(
    (given, view, peers): (&GivenBook, &View, &Peers),
    (question, answer): (u64, u64),
    (limit, now_ms): (Duration, u64),
) -> Result<(), NotDone> {
    let Some(row) = given.row(question) else { return Ok(()) };
    let consumer: Party = row.consumer.parse()?;
    let node = {
        let seen = view.seen();
        let mut nodes = seen.directory().nodes_of(consumer.department());
        nodes.find(|node| node.node.as_str() == row.consumer_node).cloned()
    };
    let (signed, _) = given.signed(answer)?;
    let delivered: Result<(), NotDone> = match &node {
        Some(node) => {
            let delivered = peers.deliver(node, &signed, limit).await;
            delivered.map_err(|status| format!("{}: {}", status.code(), status.message()).into())
        }
        None => Err("the directory has no such node (any more)".into()),
    };
    match delivered {
        Ok(()) => {}
        Err(error) if now_ms > row.told_ms.saturating_add(GIVE_UP_MS) => {
            // It stays where it is: whoever asks again with the same request gets it.
            tracing::error!(ticket = row.ticket(), consumer = row.consumer, %error, "a notice was never taken; it is not carried any longer");
        }
        Err(error) => return Err(error),
    }
    Ok(given.delivered(question, answer).await?)
}

/// Why a subscription is not ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotEnded {
    /// Our own failure: the book.
    #[error(transparent)]
    Book(#[from] Error),
    /// Our own failure: the last answer.
    #[error(transparent)]
    Failed(#[from] Unanswered),
    /// It is not to be believed, or says something else.
    #[error("the outcome is not signed by a node of the department that subscribed, or says something else")]
    Invalid,
    /// There is no such subscription.
    #[error("no such subscription is known here")]
    Unknown,
}

/// Ends what a peer no longer wants. Ending it again changes nothing.
///
/// # Errors
///
/// It is not ended, and why.
pub async fn end(
    (given, view, answerer): (&GivenBook, &View, &Answerer),
    peer: &Party,
    signed: &wire::Signed,
    now_ms: u64,
) -> Result<(), NotEnded> {
    let outcome = {
        let seen = view.seen();
        let directory = seen.directory();
        let opened = envelope::open_signed::<wire::Outcome>(signed, LARGEST_ANSWER, |key_id| {
            directory.node_key(peer.department(), key_id, now_ms).ok().map(|key| key.key.clone())
        });
        opened.map_err(|_| NotEnded::Invalid)?.message
    };
    let request = Digest::try_from(outcome.request_digest.as_slice()).map_err(|_| NotEnded::Invalid)?;
    let says_so = matches!(outcome.what, Some(What::Unsubscribed(_)));
    if !says_so || outcome.sender != peer.to_string() || outcome.exchange_id != peer.exchange().as_str() {
        return Err(NotEnded::Invalid);
    }
    // Another department's subscriptions are nobody's business.
    let row = given.of_request(&request).filter(|row| row.consumer == outcome.sender).ok_or(NotEnded::Unknown)?;
    let refusal = Refusal::new(Code::SubscriptionOver).because("the asking side wants no more notices");
    answerer.end_subscription(given, row, &refusal).await?;
    Ok(())
}
