//! Batches of questions from other departments' nodes: put together from their pieces, answered, and cut again. Out of scope:
//! what is answered (`answer`).

use std::time::Duration;

use futures_util::stream::{self, BoxStream, StreamExt as _};
use prost::Message;
use proto::exchange::v1::{BatchPiece, Signed, bulk_server::Bulk, signed::Form};
use tokio::time::timeout;
use tonic::{Request, Response, Status, Streaming};
use trust::batch::LARGEST_BATCH;

use super::{PeerEdge, bare};
use crate::bulk::pieces;

/// The longest pause between two pieces.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How long a batch waits for those before it. Nothing of it is in memory meanwhile.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

#[tonic::async_trait]
impl Bulk for PeerEdge {
    type VerifyBatchStream = BoxStream<'static, Result<BatchPiece, Status>>;

    async fn verify_batch(
        &self,
        request: Request<Streaming<BatchPiece>>,
    ) -> Result<Response<Self::VerifyBatchStream>, Status> {
        let peer = self.peer(&request)?;
        let busy = || Status::resource_exhausted("too many batches at once");
        let turn = timeout(LONGEST_WAIT, self.answerer.batch_turn()).await.map_err(|_| busy())?;
        let _turn = turn.map_err(|_| busy())?;
        let mut incoming = request.into_inner();
        let mut bytes = Vec::new();
        loop {
            let slow = |_| Status::deadline_exceeded("the next piece of the batch did not come in time");
            let Some(piece) = timeout(LONGEST_PAUSE, incoming.message()).await.map_err(slow)?? else { break };
            if bytes.len() + piece.bytes.len() > LARGEST_BATCH + 64 {
                return Err(Status::out_of_range(format!("a batch has at most {LARGEST_BATCH} bytes")));
            }
            bytes.extend_from_slice(&piece.bytes);
        }
        let signed = Signed::decode(bytes.as_slice()).map_err(|_| Status::invalid_argument("no signed message"))?;
        drop(bytes);
        let Some(Form::Batch(batch)) = signed.form else {
            return Err(Status::invalid_argument("there is no batch in it"));
        };
        let answer = self.answerer.answer_batch(&peer, batch).await.map_err(|error| bare(&error))?;
        let answer = pieces(answer.encode_to_vec());
        Ok(Response::new(stream::iter(answer.map(Ok)).boxed()))
    }
}
