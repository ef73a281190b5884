//! The gRPC service `registry.v1.Anchors`: anchor a checkpoint, and read what was anchored. Translates; decides nothing.
//!
//! Limits: an anchor is at most 2,048 bytes, and whoever sends 200 times in ten minutes from one address what no node of
//! the directory signed is told to wait.

use std::sync::Arc;

use host::clock::Clock;
use prost::Message;
use proto::registry::v1::{
    self as wire, anchor_response::Outcome, anchors_server, state_overdue_response::Outcome as Overdue,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use trust::{
    log::hash::Hash,
    refusal::{Code, Refusal},
};

use crate::{
    anchors::{Anchors, Entry, Error},
    failures::Failures,
};

/// How many anchors that no node of the directory signed one address may send in ten minutes.
const MOST_STRAY_ANCHORS: u32 = 200;

/// The most hashes that a consistency proof can have: two for each level of any tree.
const LONGEST_PROOF: usize = 130;

/// The service.
pub struct AnchorsEdge {
    anchors: Arc<Anchors>,
    failures: Failures,
    clock: Arc<dyn Clock>,
}

impl AnchorsEdge {
    /// The service over the second log.
    pub fn server(anchors: Arc<Anchors>, clock: Arc<dyn Clock>) -> anchors_server::AnchorsServer<Self> {
        let failures = Failures::new(MOST_STRAY_ANCHORS, Arc::clone(&clock));
        let edge = Self { anchors, failures, clock };
        anchors_server::AnchorsServer::new(edge).max_decoding_message_size(16 * 1024)
    }
}

#[tonic::async_trait]
impl anchors_server::Anchors for AnchorsEdge {
    async fn anchor(&self, request: Request<wire::AnchorRequest>) -> Result<Response<wire::AnchorResponse>, Status> {
        let source = self.failures.admit(&request)?;
        let wire::AnchorRequest { checkpoint, consistency } = request.into_inner();
        let proof: Option<Vec<Hash>> =
            consistency.iter().map(|hash| Hash::try_from(hash.as_slice()).ok()).take(LONGEST_PROOF).collect();
        let outcome = match proof {
            Some(proof) => self.anchors.anchor(&checkpoint, &proof).await.map_err(|error| failed(&error))?,
            None => Err(Refusal::new(Code::MessageMalformed).at("consistency").because("a hash has 32 bytes")),
        };
        let outcome = match outcome {
            Ok(entry) => Outcome::Anchored(to_wire(entry)),
            Err(refusal) => {
                if matches!(refusal.code, Code::MessageMalformed | Code::KeyUnknown | Code::MessageTooLarge) {
                    self.failures.count(source);
                }
                Outcome::Refused(refusal.to_wire())
            }
        };
        Ok(Response::new(wire::AnchorResponse { outcome: Some(outcome) }))
    }

    async fn state_overdue(
        &self,
        request: Request<wire::StateOverdueRequest>,
    ) -> Result<Response<wire::StateOverdueResponse>, Status> {
        let source = self.failures.admit(&request)?;
        let envelope = request.into_inner().overdue.ok_or_else(|| Status::invalid_argument("there is no statement"))?;
        let stated = self.anchors.state_overdue(&envelope.encode_to_vec(), self.clock.now_ms()).await;
        let outcome = match stated.map_err(|error| failed(&error))? {
            Ok(index) => Overdue::Recorded(wire::RecordedOverdue { log: self.anchors.number(), index }),
            Err(refusal) => {
                if !matches!(refusal.code, Code::NotOverdue | Code::Overloaded) {
                    self.failures.count(source);
                }
                Overdue::Refused(refusal.to_wire())
            }
        };
        Ok(Response::new(wire::StateOverdueResponse { outcome: Some(outcome) }))
    }

    async fn last(
        &self,
        request: Request<wire::LastAnchorRequest>,
    ) -> Result<Response<wire::LastAnchorResponse>, Status> {
        let last = self.anchors.last(&request.into_inner().origin).await.map_err(|error| failed(&error))?;
        Ok(Response::new(wire::LastAnchorResponse { last: last.map(to_wire) }))
    }

    async fn prove(
        &self,
        request: Request<wire::ProveAnchorRequest>,
    ) -> Result<Response<wire::ProveAnchorResponse>, Status> {
        let wire::ProveAnchorRequest { log, index, size } = request.into_inner();
        let path = self.anchors.prove(log, index, size).await.map_err(|error| failed(&error))?;
        let path =
            path.ok_or_else(|| Status::out_of_range("the second log has no such entry, or not in such a tree"))?;
        let inclusion = path.iter().map(|hash| hash.as_bytes().to_vec()).collect();
        Ok(Response::new(wire::ProveAnchorResponse { inclusion }))
    }

    type HistoryStream = ReceiverStream<Result<wire::AnchoredCheckpoint, Status>>;

    async fn history(
        &self,
        request: Request<wire::AnchorHistoryRequest>,
    ) -> Result<Response<Self::HistoryStream>, Status> {
        let wire::AnchorHistoryRequest { origin, start } = request.into_inner();
        let anchors = Arc::clone(&self.anchors);
        let (sender, receiver) = mpsc::channel(16);
        tokio::spawn(async move {
            let mut next = Some(start);
            while let Some(start) = next {
                let (entries, after) = match anchors.history(&origin, start).await {
                    Ok(read) => read,
                    Err(error) => return drop(sender.send(Err(failed(&error))).await),
                };
                for entry in entries {
                    // Whoever asked has gone away.
                    if sender.send(Ok(to_wire(entry))).await.is_err() {
                        return;
                    }
                }
                next = after;
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

fn to_wire(entry: Entry) -> wire::AnchoredCheckpoint {
    wire::AnchoredCheckpoint { log: entry.log, index: entry.index, checkpoint: entry.checkpoint }
}

fn failed(error: &Error) -> Status {
    tracing::error!(%error, "the second log cannot be used");
    Status::unavailable("the registry cannot use its second log")
}
