//! Batches of questions from other departments' nodes: put together from their pieces, answered, and cut again. Out of scope:
//! what is answered (`answer`).
//!
//! The answer to a batch begins as soon as the batch is here, and its pieces follow when there are any: what limits how long a
//! request may take until its answer begins does not end ten thousand look-ups.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::stream::{self, BoxStream, StreamExt as _};
use prost::Message;
use proto::exchange::v1::{BatchPiece, Signed, bulk_server::Bulk, signed::Form};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::timeout,
};
use tonic::{Request, Response, Status, Streaming};
use trust::batch::LARGEST_BATCH;

use super::{PeerEdge, bare};
use crate::{answer::Unanswered, bulk::pieces};

/// The longest pause between two pieces.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How long a batch waits for those before it. Nothing of it is in memory meanwhile.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// In what time the whole answer must be read. Until then it is in memory, and others wait for its place.
const LONGEST_READING: Duration = Duration::from_secs(120);

/// So many pieces are cut before they are read.
const PIECES_AHEAD: usize = 4;

/// A piece of an answer, or why there is none.
type Piece = Result<BatchPiece, Status>;

#[tonic::async_trait]
impl Bulk for PeerEdge {
    type VerifyBatchStream = BoxStream<'static, Piece>;

    async fn verify_batch(
        &self,
        request: Request<Streaming<BatchPiece>>,
    ) -> Result<Response<Self::VerifyBatchStream>, Status> {
        let peer = self.peer(&request)?;
        let busy = || Status::resource_exhausted("too many batches at once");
        let place = timeout(LONGEST_WAIT, self.answerer.batch_turn()).await.map_err(|_| busy())?;
        let place = place.map_err(|_| busy())?;
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
        let answerer = Arc::clone(&self.answerer);
        Ok(Response::new(told(async move { answerer.answer_batch(&peer, batch, place).await })))
    }
}

/// The pieces of an answer, once there is one. Its place is free again when all of them are read, or when the time for that is
/// over, or when whoever asked has hung up.
fn told<F>(answering: F) -> BoxStream<'static, Piece>
where
    F: Future<Output = Result<(Signed, OwnedSemaphorePermit), Unanswered>> + Send + 'static,
{
    let (tell, telling) = mpsc::channel(PIECES_AHEAD);
    let is_whole = Arc::new(AtomicBool::new(false));
    let was_told = Arc::clone(&is_whole);
    // In a task of its own: whoever reads nothing does not poll the stream either, and the time must end all the same.
    tokio::spawn(async move {
        let answered = tokio::select! {
            answered = answering => answered,
            // What was begun goes on; who only waited for it asks again with the same bytes.
            () = tell.closed() => return,
        };
        let (answer, place) = match answered {
            Ok(answered) => answered,
            Err(error) => {
                // Nobody reads it where whoever asked has hung up.
                let _ = tell.send(Err(bare(&error))).await;
                return;
            }
        };
        let whole = pieces(answer.encode_to_vec());
        drop(answer);
        let sending = async {
            for piece in whole {
                if tell.send(Ok(piece)).await.is_err() {
                    return false;
                }
            }
            true
        };
        if timeout(LONGEST_READING, sending).await == Ok(true) {
            was_told.store(true, Ordering::Release);
        }
        drop(place);
    });
    let next = |state: Option<(mpsc::Receiver<Piece>, Arc<AtomicBool>)>| async move {
        let (mut telling, is_whole) = state?;
        match telling.recv().await {
            Some(piece) => {
                let more = piece.is_ok().then_some((telling, is_whole));
                Some((piece, more))
            }
            None if is_whole.load(Ordering::Acquire) => None,
            None => Some((Err(Status::deadline_exceeded("the answer was not read in time")), None)),
        }
    };
    stream::unfold(Some((telling, is_whole)), next).boxed()
}

#[cfg(test)]
mod tests {
    use proto::exchange::v1::Batch;
    use tokio::{sync::Semaphore, time::sleep};

    use super::*;

    /// An answer of many more pieces than are cut ahead, given after `pause`, and what its place is among.
    async fn answer_after(pause: Duration) -> (BoxStream<'static, Piece>, Signed, Arc<Semaphore>) {
        let places = Arc::new(Semaphore::new(1));
        let place = Arc::clone(&places).acquire_owned().await.unwrap();
        let batch = Batch { items: vec![vec![7; 1000]; 2000], ..Batch::default() };
        let answer = Signed { form: Some(Form::Batch(batch)) };
        let given = answer.clone();
        let pieces = told(async move {
            sleep(pause).await;
            Ok((given, place))
        });
        (pieces, answer, places)
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_takes_minutes_is_told_whole_and_then_its_place_is_free() {
        let (mut pieces, answer, places) = answer_after(Duration::from_secs(280)).await;
        let mut bytes = Vec::new();
        while let Some(piece) = pieces.next().await {
            bytes.extend_from_slice(&piece.unwrap().bytes);
        }
        assert_eq!(Signed::decode(bytes.as_slice()).unwrap(), answer);
        let free = timeout(Duration::from_secs(60), places.acquire()).await;
        assert!(free.is_ok_and(|place| place.is_ok()));
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_an_answer_holds_its_place_for_a_while_and_then_no_more() {
        let (mut pieces, answer, places) = answer_after(Duration::ZERO).await;
        pieces.next().await.unwrap().unwrap();
        sleep(LONGEST_READING / 2).await;
        assert_eq!(places.available_permits(), 0, "as long as it is in memory");
        sleep(LONGEST_READING).await;
        assert_eq!(places.available_permits(), 1);
        let rest: Vec<_> = pieces.collect().await;
        assert!(rest.last().is_some_and(Result::is_err), "half an answer is not taken for a whole one");
        assert!(rest.len() <= PIECES_AHEAD + 2, "{} of {} bytes", rest.len(), answer.encoded_len());
    }

    #[tokio::test(start_paused = true)]
    async fn who_hangs_up_while_an_answer_is_told_frees_its_place() {
        let (mut pieces, _, places) = answer_after(Duration::ZERO).await;
        pieces.next().await.unwrap().unwrap();
        drop(pieces);
        let free = timeout(LONGEST_READING / 2, places.acquire()).await;
        assert!(free.is_ok_and(|place| place.is_ok()));
    }
}
