//! The gRPC service `registry.v1.Witnesses`: takes nodes' cosignatures. Translates; decides nothing.
//!
//! Whoever sends 200 times in ten minutes from one address what no node of the directory signed is told to wait.

use std::sync::Arc;

use host::clock::Clock;
use proto::registry::v1::{CosignRequest, CosignResponse, witnesses_server};
use tonic::{Request, Response, Status};
use trust::refusal::Code;

use crate::{failures::Failures, witnesses::Witnesses};

/// The largest message that is read.
const LARGEST_MESSAGE: usize = 16 * 1024;

/// How many notes that nobody in the directory cosigned one address may send in ten minutes.
const MOST_STRAY_NOTES: u32 = 200;

/// The service.
pub struct WitnessEdge {
    witnesses: Witnesses,
    failures: Failures,
}

impl WitnessEdge {
    /// The service over the cosignatures.
    pub fn new(witnesses: Witnesses, clock: Arc<dyn Clock>) -> Self {
        Self { witnesses, failures: Failures::new(MOST_STRAY_NOTES, clock) }
    }

    /// For the gRPC server, with its limit on messages.
    pub fn into_server(self) -> witnesses_server::WitnessesServer<Self> {
        witnesses_server::WitnessesServer::new(self).max_decoding_message_size(LARGEST_MESSAGE)
    }
}

#[tonic::async_trait]
impl witnesses_server::Witnesses for WitnessEdge {
    async fn cosign(&self, request: Request<CosignRequest>) -> Result<Response<CosignResponse>, Status> {
        let source = self.failures.admit(&request)?;
        Ok(Response::new(match self.witnesses.take(&request.into_inner().note) {
            Ok(again_in_seconds) => CosignResponse { refused: None, again_in_seconds },
            Err(refusal) => {
                if !matches!(refusal.code, Code::CheckpointOutdated | Code::DirectoryDiverges) {
                    self.failures.count(source);
                }
                CosignResponse { refused: Some(refusal.to_wire()), again_in_seconds: 0 }
            }
        }))
    }
}
