//! The operators' service about evidence as others see it: anchoring it, and comparing what a node anchored. Translates;
//! decides nothing.

use std::time::Duration;

use proto::admin::v1::{
    AnchorNowRequest, AnchorNowResponse, CheckAnchorsRequest, CheckAnchorsResponse, CheckedLog,
    node_evidence_server::{NodeEvidence, NodeEvidenceServer},
};
use tonic::{Request, Response, Status};
use trust::{
    evidence::LogOf,
    ids::{DepartmentId, NodeId, Party},
    refusal::Code,
};

use crate::{
    anchors::{self, check_history},
    parts::Parts,
};

/// How long the registry takes no second anchor of the same evidence, and a little.
const LEAST_INTERVAL: Duration = Duration::from_millis(1_100);

/// The service.
pub struct EvidenceEdge {
    parts: Parts,
}

impl EvidenceEdge {
    /// The service of a running node.
    pub fn server(parts: Parts) -> NodeEvidenceServer<Self> {
        NodeEvidenceServer::new(Self { parts })
    }
}

#[tonic::async_trait]
impl NodeEvidence for EvidenceEdge {
    async fn anchor_now(&self, _: Request<AnchorNowRequest>) -> Result<Response<AnchorNowResponse>, Status> {
        let anchorer = &self.parts.anchorer;
        let mut turn = anchorer.turn().await;
        // It was anchored by itself a moment ago, and the registry takes one in each second.
        if matches!(&turn, Err(anchors::Error::Refused(refusal)) if refusal.code == Code::Overloaded.as_str()) {
            tokio::time::sleep(LEAST_INTERVAL).await;
            turn = anchorer.turn().await;
        }
        turn.map_err(|error| told(&error))?;
        let last = anchorer.book.last(&anchorer.evidence).map_or(0, |anchored| anchored.size);
        Ok(Response::new(AnchorNowResponse {
            origin: anchorer.evidence.to_string(),
            anchored: last,
            proved: anchorer.book.last_proved(&anchorer.evidence),
        }))
    }

    async fn check_anchors(
        &self,
        request: Request<CheckAnchorsRequest>,
    ) -> Result<Response<CheckAnchorsResponse>, Status> {
        let request = request.into_inner();
        let malformed = |field: &'static str| move |error| Status::invalid_argument(format!("{field}: {error}"));
        let department: DepartmentId = request.department.parse().map_err(malformed("department"))?;
        let node: NodeId = request.node.parse().map_err(malformed("node"))?;
        let seen = self.parts.view.seen();
        let directory = seen.directory();
        let party = Party::new(directory.exchange().clone(), department.clone());
        let known = directory.nodes_of(&department).find(|known| known.node == node);
        let closed = directory.closed_logs(&department, &node);
        let mut logs = Vec::new();
        for number in 1..=directory.evidence_log(&department, &node) {
            let evidence = LogOf { party: party.clone(), node: node.clone(), number };
            let position = usize::try_from(number).unwrap_or(usize::MAX) - 1;
            let closed = closed.get(position).map(|closed| closed.reason.clone()).unwrap_or_default();
            let Parts { view, link, peers, .. } = &self.parts;
            let checked = check_history(&evidence, known, view, link, peers).await.map_err(|error| told(&error))?;
            logs.push(CheckedLog {
                origin: evidence.to_string(),
                anchors: checked.anchors,
                entries: checked.entries,
                shown: checked.shown,
                unreachable: checked.unreachable.unwrap_or_default(),
                contradictions: checked.contradictions,
                closed,
                lost: checked.lost,
            });
        }
        Ok(Response::new(CheckAnchorsResponse { logs }))
    }
}

fn told(error: &anchors::Error) -> Status {
    match error {
        anchors::Error::Unreachable(_) => Status::unavailable(error.to_string()),
        anchors::Error::Behind { .. } | anchors::Error::Refused(_) => Status::failed_precondition(error.to_string()),
        _ => Status::internal(error.to_string()),
    }
}
