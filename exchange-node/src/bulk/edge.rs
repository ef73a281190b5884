//! The office's service for jobs: hand one in, watch it, read its results. Signs in as the office port does; on the admin
//! socket the kernel has said who calls. Out of scope: what becomes of a job (`bulk`).

use std::sync::Arc;

use futures_util::stream::{self, BoxStream, StreamExt as _};
use proto::office::v1::{
    BatchJob, BatchResultsRequest, BatchResultsResponse, ListBatchesRequest, ListBatchesResponse, RemoveBatchResponse,
    ShowBatchRequest, SubmitBatchRequest,
    batches_server::{Batches, BatchesServer},
    submit_batch_request::Part,
};
use tokio::sync::mpsc;
use tonic::{Request, Response, Status, Streaming};

use super::{Bulk, Error, Job, job::Incoming};
use crate::{office::sign_in::SignIn, office_edge::signed_in};

/// The largest message on this service, in bytes: a thousand rows.
pub const LARGEST_MESSAGE: usize = 4 * 1024 * 1024;

/// The service.
#[derive(Clone)]
pub struct BatchesEdge {
    bulk: Arc<Bulk>,
    sign_in: Option<SignIn>,
}

impl BatchesEdge {
    /// As a tonic service; `sign_in` knows who may call, and is `None` on the admin socket.
    pub fn server(bulk: &Arc<Bulk>, sign_in: Option<SignIn>) -> BatchesServer<Self> {
        let edge = Self { bulk: Arc::clone(bulk), sign_in };
        BatchesServer::new(edge).max_decoding_message_size(LARGEST_MESSAGE)
    }

    /// The job with this id, where whoever calls may know of it: an office system of its own alone, an operator of all.
    fn job_of<T>(&self, request: &Request<T>, id: &str) -> Result<Arc<Job>, Status> {
        self.bulk.job_for(&signed_in(self.sign_in.as_ref(), request)?, id).map_err(failed)
    }
}

#[tonic::async_trait]
impl Batches for BatchesEdge {
    type SubmitStream = BoxStream<'static, Result<BatchJob, Status>>;
    type WatchStream = BoxStream<'static, Result<BatchJob, Status>>;

    async fn submit(
        &self,
        request: Request<Streaming<SubmitBatchRequest>>,
    ) -> Result<Response<Self::SubmitStream>, Status> {
        let caller = signed_in(self.sign_in.as_ref(), &request)?;
        let mut parts = request.into_inner();
        let first = parts.message().await?.and_then(|first| first.part);
        let Some(Part::Header(header)) = first else {
            return Err(Status::invalid_argument("the first message must say what is asked (header)"));
        };
        let item = header.purpose.as_ref().map_or("", |purpose| purpose.item.as_str());
        caller
            .limits
            .covers(&header.provider, &header.service, item)
            .map_err(|field| Status::permission_denied(format!("{field}: the office key is not for this")))?;
        let incoming = self.bulk.begin(header, caller.system).map_err(failed)?;
        let (shown, showing) = mpsc::channel(4);
        let bulk = Arc::clone(&self.bulk);
        // In a task of its own: the answer begins at once, however many rows there are.
        tokio::spawn(async move {
            let taken = receive(&bulk, parts, incoming, &shown).await;
            // Whoever hung up sees it in the list.
            let _ = shown.send(taken).await;
        });
        let showing = stream::unfold(showing, |mut showing| async move { Some((showing.recv().await?, showing)) });
        Ok(Response::new(showing.boxed()))
    }

    async fn watch(&self, request: Request<ShowBatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let caller = signed_in(self.sign_in.as_ref(), &request)?;
        let job = self.bulk.job_for(&caller, &request.get_ref().job).map_err(failed)?;
        let changes = stream::unfold(Some((job.watch(), true)), |state| async move {
            let (mut changes, is_first) = state?;
            if !is_first {
                changes.changed().await.ok()?;
            }
            let shown = changes.borrow_and_update().clone();
            let next = (shown.ended_at_ms == 0).then_some((changes, false));
            Some((Ok::<_, Status>(shown), next))
        });
        Ok(Response::new(match &self.sign_in {
            Some(sign_in) => sign_in.while_known(&caller, changes).boxed(),
            None => changes.boxed(),
        }))
    }

    async fn show_batch(&self, request: Request<ShowBatchRequest>) -> Result<Response<BatchJob>, Status> {
        let job = self.job_of(&request, &request.get_ref().job)?;
        Ok(Response::new(job.shown()))
    }

    async fn list_batches(
        &self,
        request: Request<ListBatchesRequest>,
    ) -> Result<Response<ListBatchesResponse>, Status> {
        let caller = signed_in(self.sign_in.as_ref(), &request)?;
        let jobs = self.bulk.jobs_for(&caller);
        Ok(Response::new(ListBatchesResponse { jobs: jobs.iter().map(|job| job.shown()).collect() }))
    }

    async fn results(&self, request: Request<BatchResultsRequest>) -> Result<Response<BatchResultsResponse>, Status> {
        let job = self.job_of(&request, &request.get_ref().job)?;
        let request = request.into_inner();
        let bulk = Arc::clone(&self.bulk);
        let reading = tokio::task::spawn_blocking(move || bulk.results(&job, request.from_row));
        let results = reading.await.map_err(|error| failed(error.into()))?.map_err(failed)?;
        Ok(Response::new(BatchResultsResponse { results }))
    }

    async fn remove(&self, request: Request<ShowBatchRequest>) -> Result<Response<RemoveBatchResponse>, Status> {
        let job = self.job_of(&request, &request.get_ref().job)?;
        self.bulk.remove(job.id()).map_err(failed)?;
        Ok(Response::new(RemoveBatchResponse {}))
    }
}

/// Takes all rows of a job, and shows now and then how many there are.
async fn receive(
    bulk: &Arc<Bulk>,
    mut parts: Streaming<SubmitBatchRequest>,
    mut incoming: Incoming,
    shown: &mpsc::Sender<Result<BatchJob, Status>>,
) -> Result<BatchJob, Status> {
    let _ = shown.send(Ok(incoming.shown())).await;
    while let Some(part) = parts.message().await? {
        let Some(Part::Rows(rows)) = part.part else {
            return Err(Status::invalid_argument("after the first message there are only rows"));
        };
        let taking = tokio::task::spawn_blocking(move || {
            rows.rows.into_iter().try_for_each(|row| incoming.take(row)).map(|()| incoming)
        });
        incoming = taking.await.map_err(|error| failed(error.into()))?.map_err(failed)?;
        // Only where somebody is looking just now.
        let _ = shown.try_send(Ok(incoming.shown()));
    }
    let bulk = Arc::clone(bulk);
    let finishing = tokio::task::spawn_blocking(move || bulk.finish(incoming));
    let job = finishing.await.map_err(|error| failed(error.into()))?.map_err(failed)?;
    Ok(job.shown())
}

fn failed(error: Error) -> Status {
    match error {
        Error::Unknown => Status::not_found(error.to_string()),
        Error::NameTaken => Status::already_exists(error.to_string()),
        Error::GoesOn => Status::failed_precondition(error.to_string()),
        Error::NotAJob { .. } => Status::invalid_argument(error.to_string()),
        Error::Ask(_)
        | Error::File(_)
        | Error::Read { .. }
        | Error::Damaged { .. }
        | Error::Ended(_)
        | Error::InClear { .. }
        | Error::Key(_)
        | Error::KeyGone { .. } => {
            tracing::error!(%error, "a job of many questions cannot be kept or read");
            Status::unavailable(error.to_string())
        }
    }
}
