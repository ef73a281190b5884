//! Sending a recorded question until its answer comes, and opening the answer. Always the same bytes: the other side
//! answers once, however often it is asked. Out of scope: connections (`peers`).

use std::time::Duration;

use futures_util::future::BoxFuture;
use proto::exchange::v1 as wire;
use tokio::time::Instant;
use trust::{
    answer::{self, AnswerError},
    directory::model::Node,
    envelope::{self, EnvelopeError},
    ids::{Digest, NodeId},
    question::Question,
    refusal::Code,
};

use super::Asker;
use crate::{
    peers::{Patience, Peers, SendFailure, Undelivered},
    usage::Mark,
    view::Seen,
};

/// The first pause before a question is sent again; each is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// The longest pause before a question is sent again.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How long to wait for directory news that the answering side has seen.
const CATCH_UP: Duration = Duration::from_secs(2);

/// Carries a signed question to one of a department's nodes, and its answer back.
pub trait Courier: Send + Sync {
    /// Sends the exact bytes once; whoever calls tries again. `held_by` is the node that may have them already.
    fn verify<'a>(
        &'a self,
        nodes: &'a [Node],
        request: &'a wire::Signed,
        patience: Patience,
        held_by: Option<&'a NodeId>,
    ) -> BoxFuture<'a, Result<wire::VerifyResponse, Undelivered>>;
}

impl Courier for Peers {
    fn verify<'a>(
        &'a self,
        nodes: &'a [Node],
        request: &'a wire::Signed,
        patience: Patience,
        held_by: Option<&'a NodeId>,
    ) -> BoxFuture<'a, Result<wire::VerifyResponse, Undelivered>> {
        Box::pin(self.verify(nodes, request, patience, held_by))
    }
}

/// A request that was signed and recorded.
pub(super) struct Sent {
    pub(super) question: Question,
    pub(super) digest: Digest,
    pub(super) signed: wire::Signed,
    /// The index of its entry.
    pub(super) index: u64,
    pub(super) patience: Patience,
    /// The mark of the grant that it rests on.
    pub(super) grant: Option<Mark>,
}

impl Asker {
    /// Sends the same bytes until an answer comes or the time is over; once a node may have them, to that one alone. While
    /// none may, and none is reached, the time is over sooner for whoever says so.
    pub(super) async fn send(&self, sent: &Sent) -> Result<(wire::Signed, answer::Answer), String> {
        let started = Instant::now();
        let Patience { whole, unreached } = sent.patience;
        let deadline = started + whole;
        let mut pause = FIRST_PAUSE;
        let mut held_by: Option<NodeId> = None;
        loop {
            let provider = sent.question.recipient.department();
            let nodes: Vec<Node> = self.view.seen().directory().nodes_of(provider).cloned().collect();
            let left = deadline.saturating_duration_since(Instant::now());
            let patience = Patience { whole: left, unreached: unreached.min(left) };
            let failure = match self.courier.verify(&nodes, &sent.signed, patience, held_by.as_ref()).await {
                // Answers that follow this one are delivered by themselves.
                Ok(response) => return self.open(sent, response.answer.unwrap_or_default()).await,
                Err(undelivered) => {
                    held_by = held_by.or(undelivered.held_by);
                    undelivered.failure
                }
            };
            let left = match held_by {
                None => deadline.min(started + unreached),
                Some(_) => deadline,
            };
            let left = left.saturating_duration_since(Instant::now());
            if failure == SendFailure::Rejected || left <= pause {
                return Err(failure.as_str().to_owned());
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Opens an answer; where its key is in directory news that this node has yet to get, waits for them.
    pub(super) async fn open_caught_up(
        &self,
        signed: &wire::Signed,
        open: impl Fn(&Seen, u64) -> Result<answer::Answer, AnswerError>,
    ) -> Result<answer::Answer, AnswerError> {
        let opened = open(&self.view.seen(), self.clock.now_ms());
        if matches!(opened, Err(AnswerError::Envelope(EnvelopeError::KeyUnknown)))
            && let Ok(claimed) = envelope::peek::<wire::Answer>(signed, answer::LARGEST_ANSWER)
            && claimed.directory_size > self.view.seen().size()
        {
            // The other side has read on: its new key may be in what this node has yet to get.
            let _ = tokio::time::timeout(CATCH_UP, self.view.reached(claimed.directory_size)).await;
            return open(&self.view.seen(), self.clock.now_ms());
        }
        opened
    }

    pub(super) async fn open(
        &self,
        sent: &Sent,
        signed: wire::Signed,
    ) -> Result<(wire::Signed, answer::Answer), String> {
        let opened = self.open_caught_up(&signed, |seen, now_ms| {
            let root_at = |size| self.view.root_at(size);
            answer::open(seen.directory(), &signed, &sent.question, &sent.digest, now_ms, root_at)
        });
        match opened.await {
            Ok(answer) => {
                if let Some(wire::answer::Outcome::Refusal(refusal)) = &answer.wire.outcome
                    && refusal.code == Code::DirectoryDiverges.as_str()
                {
                    // The other side found out; this one looks into it too.
                    let (other, size) = (sent.question.recipient.department(), sent.question.wire.directory_size);
                    self.view.note_divergence(other, size, None, self.clock.now_ms());
                }
                Ok((signed, answer))
            }
            Err(error) => {
                if matches!(error, AnswerError::DirectoryDiverges)
                    && let Ok(claimed) = envelope::peek::<wire::Answer>(&signed, answer::LARGEST_ANSWER)
                {
                    let (size, root) = (claimed.directory_size, claimed.directory_root.as_slice());
                    let other = sent.question.recipient.department();
                    self.view.note_divergence(other, size, Some(root), self.clock.now_ms());
                }
                Err(format!("answer_invalid: {error}"))
            }
        }
    }
}
