//! Carries a batch of questions to one node, and the batch of its answers back, in pieces. Out of scope: which node, and when it
//! is tried again (`bulk`).

use std::time::Duration;

use futures_util::stream;
use tokio::time::timeout;
use tonic::{Code, Status};
use trust::{batch::LARGEST_BATCH, directory::model::Node};

use super::{Peers, SendFailure, never_left};
use crate::bulk::pieces;

/// A batch that was not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsent {
    /// Why.
    pub failure: SendFailure,
    /// Whether it has certainly not left.
    pub never_left: bool,
}

impl Peers {
    /// Sends an encoded batch to this node, and returns what it answers, encoded.
    ///
    /// # Errors
    ///
    /// Nothing came back, and whether the node may have the batch all the same.
    pub async fn verify_batch(&self, node: &Node, batch: Vec<u8>, limit: Duration) -> Result<Vec<u8>, Unsent> {
        let Ok(peer) = self.peer(node) else {
            return Err(Unsent { failure: SendFailure::Unreachable, never_left: true });
        };
        let (connection, _guard) = peer.least_busy();
        let _counted = self.count(&peer.node);
        let mut client = connection.bulk.clone();
        let sending = async {
            let mut answer = client.verify_batch(stream::iter(pieces(batch))).await?.into_inner();
            let mut bytes = Vec::new();
            while let Some(piece) = answer.message().await? {
                if bytes.len() + piece.bytes.len() > LARGEST_BATCH + 64 {
                    return Err(Status::out_of_range("the answer is larger than a batch may be"));
                }
                bytes.extend_from_slice(&piece.bytes);
            }
            Ok(bytes)
        };
        let status = match timeout(limit, sending).await {
            Ok(Ok(bytes)) => return Ok(bytes),
            Ok(Err(status)) => status,
            Err(_) => return Err(Unsent { failure: SendFailure::TimedOut, never_left: false }),
        };
        tracing::debug!(department = %node.department, node = %node.node, code = ?status.code(), "a peer gave a bare status to a batch");
        let failure = match status.code() {
            Code::InvalidArgument
            | Code::PermissionDenied
            | Code::Unauthenticated
            | Code::OutOfRange
            | Code::Unimplemented => SendFailure::Rejected,
            Code::DeadlineExceeded | Code::Cancelled => SendFailure::TimedOut,
            _ => SendFailure::Unreachable,
        };
        Err(Unsent { failure, never_left: never_left(&status) })
    }
}
