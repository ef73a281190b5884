//! The operators' service for keys, on the admin socket. Translates; what is done is `keys::rotation`'s.

use std::sync::Arc;

use prost::Message;
use proto::{
    admin::v1::{
        BeginRecoveryRequest, BeginRecoveryResponse, DepartmentKey, FinishRecoveryRequest, ListDepartmentKeysRequest,
        ListDepartmentKeysResponse, RenewTlsRequest, RenewTlsResponse, RotateKeyRequest, RotateKeyResponse,
        StatementResponse,
        node_keys_server::{NodeKeys, NodeKeysServer},
    },
    exchange::v1::Envelope,
    registry::v1::KeyRole,
};
use tonic::{Request, Response, Status};
use trust::{
    directory::Directory,
    ids::DepartmentId,
    key::{PublicKey, Role, Signer},
};

use super::stated;
use crate::keys::rotation::{Error, KeyCare};

/// A statement with its envelope.
const LARGEST_MESSAGE: usize = 128 * 1024;

/// The service.
#[derive(Clone)]
pub struct KeysEdge {
    care: Arc<KeyCare>,
}

impl KeysEdge {
    /// The service of a running node.
    pub fn server(care: Arc<KeyCare>) -> NodeKeysServer<Self> {
        NodeKeysServer::new(Self { care }).max_decoding_message_size(LARGEST_MESSAGE)
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl NodeKeys for KeysEdge {
    async fn list_department_keys(&self, _: Request<ListDepartmentKeysRequest>) -> Answer<ListDepartmentKeysResponse> {
        let care = &self.care;
        let here = [Some(care.keys.node()), care.keys.department()];
        let used: Vec<PublicKey> = here.into_iter().flatten().map(|key| key.public_key().clone()).collect();
        let seen = care.view.seen();
        let keys = listed(seen.directory(), &care.publisher.department, &used);
        Ok(Response::new(ListDepartmentKeysResponse {
            keys,
            tls_key: care.keys.tls().key_digest().to_string(),
            next_tls_key: care.next_tls().unwrap_or_default(),
            tls_key_since_ms: care.own_node().map_or(0, |node| node.tls_key_since_ms),
        }))
    }

    async fn rotate_key(&self, request: Request<RotateKeyRequest>) -> Answer<RotateKeyResponse> {
        let request = request.into_inner();
        let role = match request.role() {
            KeyRole::Node => Role::Node,
            KeyRole::Department => Role::Department,
            _ => return Err(Status::invalid_argument("role: the node's key or the department's")),
        };
        match self.care.rotate(role, request.overlap_ms).await {
            Ok(rotated) => Ok(Response::new(RotateKeyResponse {
                added: Some(stated(Ok(rotated.added))?),
                retired: rotated.retired.map(|retired| stated(Ok(retired))).transpose()?,
                new_key_id: rotated.new.to_string(),
                old_key_id: rotated.old.to_string(),
                old_until_ms: rotated.old_until_ms,
            })),
            Err(error) => {
                let refused = said(error)?;
                Ok(Response::new(RotateKeyResponse { added: Some(refused), ..RotateKeyResponse::default() }))
            }
        }
    }

    async fn begin_recovery(&self, _: Request<BeginRecoveryRequest>) -> Answer<BeginRecoveryResponse> {
        let begun = self.care.begin_recovery().await;
        let (statement, id) = begun.map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(BeginRecoveryResponse { statement, new_key_id: id.to_string() }))
    }

    async fn finish_recovery(&self, request: Request<FinishRecoveryRequest>) -> Answer<StatementResponse> {
        let envelope = Envelope::decode(request.into_inner().envelope.as_slice())
            .map_err(|_| Status::invalid_argument("envelope: it is no envelope"))?;
        match self.care.finish_recovery(envelope).await {
            Ok(published) => Ok(Response::new(stated(Ok(published))?)),
            Err(error) => Ok(Response::new(said(error)?)),
        }
    }

    async fn renew_tls(&self, request: Request<RenewTlsRequest>) -> Answer<RenewTlsResponse> {
        let RenewTlsRequest { lead_ms, overlap_ms } = request.into_inner();
        match self.care.renew_tls(lead_ms, overlap_ms).await {
            Ok(renewal) => Ok(Response::new(RenewTlsResponse {
                announced: Some(stated(Ok(renewal.announced))?),
                next_tls_key: renewal.next,
                switch_ms: renewal.switch_ms,
                finish_ms: renewal.finish_ms,
            })),
            Err(error) => {
                let refused = said(error)?;
                Ok(Response::new(RenewTlsResponse { announced: Some(refused), ..RenewTlsResponse::default() }))
            }
        }
    }
}

/// A refusal is an outcome; the rest is a status.
fn said(error: Error) -> Result<StatementResponse, Status> {
    match error {
        Error::Publish(error) => stated(Err(error)),
        Error::NotPublished => Err(Status::unavailable(error.to_string())),
        error => {
            tracing::error!(%error, "a key was not changed");
            Err(Status::internal(error.to_string()))
        }
    }
}

/// The department's keys in the directory, in the order of their statements, and those of this node that are not in it.
fn listed(directory: &Directory, me: &DepartmentId, used: &[PublicKey]) -> Vec<DepartmentKey> {
    let mut known = directory.keys_of(me);
    known.sort_by_key(|key| (key.added_at, *key.described.key.id()));
    let mut keys: Vec<DepartmentKey> = known
        .into_iter()
        .map(|key| DepartmentKey {
            role: key.described.to_wire().role,
            key_id: key.described.key.id().to_string(),
            public_key: key.described.key.to_string(),
            node: key.node.as_ref().map(ToString::to_string).unwrap_or_default(),
            valid_from_ms: key.described.valid_from_ms,
            valid_until_ms: key.described.valid_until_ms.unwrap_or(0),
            revoked: key.revoked.as_ref().map(|revocation| revocation.reason.clone()).unwrap_or_default(),
            in_use: used.contains(&key.described.key),
            published: true,
        })
        .collect();
    for key in used.iter().filter(|key| directory.key(key.id()).is_none()) {
        keys.push(DepartmentKey {
            key_id: key.id().to_string(),
            public_key: key.to_string(),
            in_use: true,
            ..DepartmentKey::default()
        });
    }
    keys
}
