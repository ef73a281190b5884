//! What whoever speaks to the registry in this node's name needs: who it is, its key, what it verified, the connection, the
//! time. Out of scope: what is said (`teller`, `cosigner`).

use std::sync::Arc;

use host::clock::Clock;
use trust::{
    ids::{DepartmentId, ExchangeId, NodeId},
    log::note::Signature,
};

use crate::{
    cosigner,
    keys::{NodeSigner, with_key},
    view::{RegistryLink, View},
};

/// This node before the registry.
#[derive(Clone)]
pub struct Me {
    /// The exchange.
    pub exchange: ExchangeId,
    /// The department.
    pub department: DepartmentId,
    /// The node.
    pub node: NodeId,
    /// The node's key, as it is in use.
    pub signer: Arc<dyn NodeSigner>,
    /// What was verified.
    pub view: Arc<View>,
    /// The registry.
    pub link: Arc<RegistryLink>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Me {
    /// This node's cosignature of a checkpoint's text, as of now.
    pub(crate) fn cosign(&self, text: &str) -> Option<Signature> {
        let now_ms = self.clock.now_ms();
        let name = (&self.exchange, &self.department, &self.node);
        with_key(self.signer.as_ref(), |signer| cosigner::line(name, text, signer, now_ms))
    }
}

impl std::fmt::Debug for Me {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Me")
            .field("department", &self.department)
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}
