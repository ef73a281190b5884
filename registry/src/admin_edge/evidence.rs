//! The gRPC service `admin.v1.RegistryEvidence` on the admin socket: what the registry does so that others can prove what
//! it said, and what nodes did. Translates; decides nothing.

use std::sync::Arc;

use host::tls::TlsIdentity;
use proto::admin::v1::{self as wire, registry_evidence_server};
use tonic::{Request, Response, Status};

use crate::{
    anchors::{Anchors, Error},
    ledger,
    sequencer::Sequencer,
};

/// The service.
pub struct EvidenceEdge {
    sequencer: Sequencer,
    anchors: Arc<Anchors>,
    identity: Arc<TlsIdentity>,
}

impl EvidenceEdge {
    /// The service over the registry's rooms. Nodes are asked with the registry's own TLS key.
    pub fn server(
        sequencer: Sequencer,
        anchors: Arc<Anchors>,
        identity: Arc<TlsIdentity>,
    ) -> registry_evidence_server::RegistryEvidenceServer<Self> {
        registry_evidence_server::RegistryEvidenceServer::new(Self { sequencer, anchors, identity })
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

    async fn list_anchors(
        &self,
        _: Request<wire::ListAnchorsRequest>,
    ) -> Result<Response<wire::ListAnchorsResponse>, Status> {
        let latest = self.anchors.latest().await.map_err(|error| failed(&error))?;
        let anchors = latest.into_iter().map(|(origin, size, seconds)| wire::AnchorState {
            origin,
            size,
            signed_at_ms: seconds.saturating_mul(1000),
        });
        Ok(Response::new(wire::ListAnchorsResponse { anchors: anchors.collect() }))
    }

    async fn take_anchors(
        &self,
        _: Request<wire::TakeAnchorsRequest>,
    ) -> Result<Response<wire::TakeAnchorsResponse>, Status> {
        let taken = self.anchors.take().await.map_err(|error| failed(&error))?;
        Ok(Response::new(wire::TakeAnchorsResponse { taken }))
    }

    async fn verify_anchors(
        &self,
        request: Request<wire::VerifyAnchorsRequest>,
    ) -> Result<Response<wire::VerifyAnchorsResponse>, Status> {
        let verified = self.anchors.verify().await.map_err(|error| failed(&error))?;
        let mut response = wire::VerifyAnchorsResponse {
            entries: verified.entries,
            logs: verified.logs.len() as u64,
            overdue: verified.overdue,
            contradictions: verified
                .contradictions
                .iter()
                .map(|found| format!("entry {}: {}", found.index, found.what))
                .collect(),
            ..Default::default()
        };
        if request.into_inner().ask_nodes {
            let asked = self.anchors.ask_nodes(&verified, &self.identity).await;
            let told = |(origin, what): (String, String)| format!("{origin}: {what}");
            response.shown = asked.shown;
            response.contradictions.extend(asked.contradictions.into_iter().map(told));
            response.unreachable = asked.unreachable.into_iter().map(told).collect();
        }
        Ok(Response::new(response))
    }
}

fn failed(error: &Error) -> Status {
    if let Error::Ledger(away @ ledger::Error::Away { .. }) = error {
        return Status::unavailable(away.to_string());
    }
    tracing::error!(%error, "an operator's command failed");
    Status::internal(error.to_string())
}
