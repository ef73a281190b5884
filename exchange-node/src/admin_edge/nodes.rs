//! The operators' service for the department's nodes: invite, add, drain, change, remove, list. Out of scope: what an
//! invitation is (`join`), and which node a question goes to (`peers`).

use std::sync::Arc;

use host::random;
use proto::{
    admin::v1::{
        AddNodeRequest, ChangeNodeRequest, InviteNodeRequest, InviteNodeResponse, ListNodesRequest, ListNodesResponse,
        NodeOffer, NodeState, StatementResponse,
        nodes_server::{Nodes, NodesServer},
    },
    registry::v1::{NodeRemoved, statement::Body},
};
use tonic::{Request, Response, Status};
use trust::{
    directory::{Directory, Object, model::Node},
    ids::{DepartmentId, NodeId},
    key::{PublicKey, Role},
    refusal::{Code, Refusal},
    token::Secret,
};

use super::{Answer, answers::refused, stated};
use crate::{
    join::{self, Invitation, Invitations},
    parts::Parts,
    publish::{self, NodePlace},
};

/// For how long an invitation can be used.
const INVITED_FOR_MS: u64 = 72 * 3_600_000;

/// A further node's key counts from a little earlier on, so that a peer whose clock is slow accepts it at once.
const VALID_BEFORE_MS: u64 = 120_000;

/// The service of a running node.
#[derive(Clone)]
pub struct NodesEdge {
    parts: Arc<Parts>,
}

impl NodesEdge {
    /// As a tonic service.
    pub fn server(parts: Parts) -> NodesServer<Self> {
        NodesServer::new(Self { parts: Arc::new(parts) })
    }

    fn me(&self) -> &DepartmentId {
        &self.parts.config.department
    }

    async fn state(&self, object: Object, body: Body) -> Result<StatementResponse, Status> {
        stated(self.parts.publisher.publish(&object, body).await)
    }

    /// Adds the key and the node. Run again after an interruption it says only what is missing.
    async fn add(&self, node: &NodeId, offer: &NodeOffer) -> Result<StatementResponse, Status> {
        let malformed = |field: &'static str| Status::invalid_argument(format!("the offer's {field} cannot be read"));
        let public = <[u8; 32]>::try_from(offer.node_key.as_slice()).ok();
        let public = public.and_then(|bytes| PublicKey::ed25519(&bytes).ok()).ok_or_else(|| malformed("node key"))?;
        let tls_key = <[u8; 32]>::try_from(offer.tls_key.as_slice()).map_err(|_| malformed("TLS key"))?;
        let known = self.parts.view.seen().directory().key(public.id()).is_some();
        if !known {
            let from_ms = self.parts.clock.now_ms().saturating_sub(VALID_BEFORE_MS);
            let body = publish::node_key_added(self.me(), node, public.clone(), from_ms);
            let added = self.state(Object::Key(*public.id()), body).await?;
            if added.refused.is_some() {
                return Ok(added);
            }
        }
        let place =
            NodePlace { addresses: offer.addresses.clone(), relays: offer.relays.clone(), ..NodePlace::default() };
        let body = publish::node_published(self.me(), node, &place, tls_key);
        self.state(Object::Node(self.me().clone(), node.clone()), body).await
    }
}

#[tonic::async_trait]
impl Nodes for NodesEdge {
    async fn invite_node(&self, request: Request<InviteNodeRequest>) -> Answer<InviteNodeResponse> {
        let node = node_id(&request.into_inner().node)?;
        let config = &self.parts.config;
        let invitation = {
            let seen = self.parts.view.seen();
            if find(seen.directory(), self.me(), &node).is_some() {
                return Err(Status::invalid_argument(format!(
                    "the department has a node {node} already: choose another id"
                )));
            }
            let registry = seen.directory().registry();
            let announced = registry.map(|announced| announced.addresses.clone()).filter(|known| !known.is_empty());
            let tls_key = registry.and_then(|announced| <[u8; 32]>::try_from(announced.tls_key.as_slice()).ok());
            Invitation {
                exchange: config.exchange.clone(),
                department: config.department.clone(),
                node,
                authority_key: config.authority_key.clone(),
                registry: announced.unwrap_or_else(|| config.registry.clone()),
                registry_tls_key: tls_key.map_or(config.registry_tls_key, host::tls::TlsKeyDigest::from_bytes),
                secret: Secret::new(random::array(self.parts.random.as_ref())),
                expires_ms: self.parts.clock.now_ms() + INVITED_FOR_MS,
            }
        };
        Invitations::new(&config.dir).keep(&invitation).map_err(|error| Status::internal(error.to_string()))?;
        let (text, expires_ms) = (invitation.to_text().to_string(), invitation.expires_ms);
        Ok(Response::new(InviteNodeResponse { invitation: text, expires_ms }))
    }

    async fn add_node(&self, request: Request<AddNodeRequest>) -> Answer<StatementResponse> {
        let AddNodeRequest { offer, mac } = request.into_inner();
        let invitations = Invitations::new(&self.parts.config.dir);
        let (node, opened) =
            invitations.open(&offer, &mac, self.parts.clock.now_ms()).map_err(|error| match error {
                join::Error::File(_) | join::Error::Form(_) => Status::internal(error.to_string()),
                error => Status::invalid_argument(error.to_string()),
            })?;
        let mine = (opened.exchange_id.as_str(), opened.department.as_str())
            == (self.parts.config.exchange.as_str(), self.me().as_str());
        if !mine {
            return Err(Status::invalid_argument("the offer is to another department"));
        }
        let added = self.add(&node, &opened).await?;
        if added.refused.is_none() {
            invitations.close(&node);
            tracing::info!(%node, "a further node is in the directory");
        }
        Ok(Response::new(added))
    }

    async fn change_node(&self, request: Request<ChangeNodeRequest>) -> Answer<StatementResponse> {
        let ChangeNodeRequest { node, action, addresses, relays } = request.into_inner();
        let node = node_id(&node)?;
        let known = find(self.parts.view.seen().directory(), self.me(), &node).cloned();
        let Some(known) = known else {
            return Err(Status::not_found(format!("the department has no node {node}: `node list` shows them")));
        };
        let place = NodePlace {
            addresses: known.addresses.clone(),
            relays: known.relays.clone(),
            draining: known.draining,
            next_tls_key: known.next_tls_key,
        };
        let refuse =
            |why: &str| Ok(Response::new(refused(&Refusal::new(Code::StatementRefused).at("node").because(why))));
        let place = match action.as_str() {
            "drain" if known.draining => return refuse("it is drained already"),
            "drain" => NodePlace { draining: true, ..place },
            "resume" if !known.draining => return refuse("it is not drained"),
            "resume" => NodePlace { draining: false, ..place },
            "readdress" => NodePlace { addresses, relays, ..place },
            "remove" => {
                let body = NodeRemoved { department: self.me().to_string(), node: node.to_string() };
                let object = Object::Node(self.me().clone(), node);
                return Ok(Response::new(self.state(object, Body::NodeRemoved(body)).await?));
            }
            _ => return Err(Status::invalid_argument("action: must be drain, resume, readdress or remove")),
        };
        let body = publish::node_published(self.me(), &node, &place, known.tls_key);
        Ok(Response::new(self.state(Object::Node(self.me().clone(), node), body).await?))
    }

    async fn list_nodes(&self, request: Request<ListNodesRequest>) -> Answer<ListNodesResponse> {
        let department = match request.into_inner().department.as_str() {
            "" => self.me().clone(),
            text => text.parse().map_err(|error| Status::invalid_argument(format!("department: {error}")))?,
        };
        let seen = self.parts.view.seen();
        let nodes =
            seen.directory().nodes_of(&department).map(|node| self.node_state(seen.directory(), node)).collect();
        Ok(Response::new(ListNodesResponse { nodes }))
    }
}

impl NodesEdge {
    fn node_state(&self, directory: &Directory, node: &Node) -> NodeState {
        let now_ms = self.parts.clock.now_ms();
        let keys = directory
            .keys()
            .filter(|(id, key)| {
                key.described.role == Role::Node
                    && key.node.as_ref() == Some(&node.node)
                    && directory.node_key(&node.department, id, now_ms).is_ok()
            })
            .map(|(id, _)| id.to_string())
            .collect();
        let under_way = self.parts.peers.under_way(&node.department, &node.node);
        NodeState {
            department: node.department.to_string(),
            node: node.node.to_string(),
            addresses: node.addresses.clone(),
            relays: node.relays.clone(),
            draining: node.draining,
            tls_key: data_encoding::HEXLOWER.encode(&node.tls_key),
            keys,
            is_this: node.department == *self.me() && node.node == self.parts.config.node,
            questions_under_way: u32::try_from(under_way).unwrap_or(u32::MAX),
        }
    }
}

fn find<'a>(directory: &'a Directory, department: &'a DepartmentId, node: &NodeId) -> Option<&'a Node> {
    directory.nodes_of(department).find(|known| known.node == *node)
}

fn node_id(text: &str) -> Result<NodeId, Status> {
    text.parse().map_err(|error| Status::invalid_argument(format!("node: {error}")))
}
