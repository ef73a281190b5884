//! The gRPC service `admin.v1.RegistryEvidence` on the admin socket: what the registry does so that others can prove what
//! it said. Translates; decides nothing.

use proto::admin::v1::{self as wire, registry_evidence_server};
use tonic::{Request, Response, Status};

use crate::sequencer::Sequencer;

/// The service.
pub struct EvidenceEdge {
    sequencer: Sequencer,
}

impl EvidenceEdge {
    /// The service over the registry's rooms.
    pub fn server(sequencer: Sequencer) -> registry_evidence_server::RegistryEvidenceServer<Self> {
        registry_evidence_server::RegistryEvidenceServer::new(Self { sequencer })
    }
}

#[tonic::async_trait]
impl registry_evidence_server::RegistryEvidence for EvidenceEdge {
    async fn commit_state(
        &self,
        _: Request<wire::CommitStateRequest>,
    ) -> Result<Response<wire::CommitStateResponse>, Status> {
        let covered = self.sequencer.commit_to_state().await;
        covered.map_err(|stopped| Status::unavailable(stopped.to_string()))?;
        let directory = self.sequencer.directory();
        let committed = directory.committed().ok_or_else(|| Status::aborted("nothing was committed to; try again"))?;
        Ok(Response::new(wire::CommitStateResponse {
            covered: committed.size(),
            objects: committed.map().objects(),
            root: committed.root().to_string(),
        }))
    }
}
