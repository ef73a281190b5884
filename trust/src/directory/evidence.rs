//! What the directory knows of evidence logs: the registry's second log as it was last taken, and logs that were closed.
//! Out of scope: the rules about them (`rules::evidence`).

use std::collections::BTreeMap;

use proto::registry::v1::{AnchorsTaken, EvidenceLogClosed, Statement};
use serde::{Deserialize, Serialize};

use super::{
    Directory,
    model::{ClosedLog, Place, TakenAnchors},
};
use crate::{
    anchor,
    ids::{DepartmentId, NodeId},
};

/// What is known of evidence logs.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct KnownEvidence {
    anchors: Option<TakenAnchors>,
    closed: BTreeMap<(DepartmentId, NodeId), Vec<ClosedLog>>,
}

impl Directory {
    /// The registry's second log as it was last taken.
    pub fn anchors(&self) -> Option<&TakenAnchors> {
        self.evidence.anchors.as_ref()
    }

    /// The number of the evidence log that a node keeps now.
    pub fn evidence_log(&self, department: &DepartmentId, node: &NodeId) -> u32 {
        u32::try_from(self.closed_logs(department, node).len()).map_or(u32::MAX, |closed| closed + 1)
    }

    /// A node's evidence logs that were closed, the first one first.
    pub fn closed_logs(&self, department: &DepartmentId, node: &NodeId) -> &[ClosedLog] {
        let key = (department.clone(), node.clone());
        self.evidence.closed.get(&key).map(Vec::as_slice).unwrap_or_default()
    }

    pub(super) fn take_anchors(&mut self, place: Place, statement: &Statement, body: &AnchorsTaken) {
        let log_key = self.log_key().map(|key| *key.as_bytes());
        // Checked by the rules.
        let Ok((log, opened)) = anchor::open_taken(&self.exchange, log_key, &body.checkpoint) else { return };
        let (size, root) = (opened.checkpoint().size(), opened.checkpoint().root());
        self.evidence.anchors = Some(TakenAnchors { log, size, root, place, stated_at_ms: statement.stated_at_ms });
    }

    pub(super) fn close_log(&mut self, place: Place, statement: &Statement, body: EvidenceLogClosed) {
        let read = anchor::read(self, body.checkpoint.as_bytes(), anchor::Revoked::Taken);
        // Checked by the rules.
        let Ok(anchored) = read else { return };
        let closed = ClosedLog {
            size: anchored.size(),
            root: anchored.root(),
            highest_seen: body.highest_seen,
            reason: body.reason,
            place,
            stated_at_ms: statement.stated_at_ms,
        };
        let key = (anchored.log.party.department().clone(), anchored.log.node);
        self.evidence.closed.entry(key).or_default().push(closed);
    }
}
