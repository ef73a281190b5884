//! The gRPC service `admin.v1.RegistryKeys` on the admin socket: the registry's own keys, and what waits for the
//! authority's signature. Translates; what is done is `rotation`'s.

use std::{path::PathBuf, sync::Arc};

use prost::Message;
use proto::{
    admin::v1::{self as wire, registry_keys_server},
    exchange::v1::Envelope,
    registry::v1::KeyRole,
};
use tonic::{Request, Response, Status};
use trust::{
    directory::model::Reign,
    key::PublicKey,
    refusal::{Code, Refusal},
};

use super::{internal, refused, unsaid};
use crate::{
    authority::{self, Authority},
    enrolment::Enrolment,
    ledger,
    rotation::{self, BroughtIn, Rotation},
    sequencer::{Accepted, Sequencer},
    waiting,
};

/// The most that is read at once: a few hundred statements that were carried.
const LARGEST_MESSAGE: usize = 32 * 1024 * 1024;

/// The service.
pub struct KeysEdge {
    folder: PathBuf,
    sequencer: Sequencer,
    authority: Arc<Authority>,
    enrolment: Arc<Enrolment>,
    rotation: Arc<Rotation>,
    tls_key: Box<dyn Fn() -> String + Send + Sync>,
}

impl KeysEdge {
    /// The service over the registry's rooms. `tls_key` tells the digest that the directory port answers with.
    pub fn server(
        folder: PathBuf,
        sequencer: Sequencer,
        authority: Arc<Authority>,
        enrolment: Arc<Enrolment>,
        rotation: Arc<Rotation>,
        tls_key: impl Fn() -> String + Send + Sync + 'static,
    ) -> registry_keys_server::RegistryKeysServer<Self> {
        let tls_key = Box::new(tls_key);
        registry_keys_server::RegistryKeysServer::new(Self {
            folder,
            sequencer,
            authority,
            enrolment,
            rotation,
            tls_key,
        })
        .max_decoding_message_size(LARGEST_MESSAGE)
    }

    fn keys(&self, reigns: &[Reign], role: KeyRole) -> Vec<wire::RegistryKey> {
        let in_force = reigns.last().map(|reign| reign.from_index);
        reigns
            .iter()
            .map(|reign| wire::RegistryKey {
                role: role.into(),
                key_id: reign.key.id().to_string(),
                public_key: reign.key.to_string(),
                from_index: reign.from_index,
                since_ms: reign.since_ms,
                in_force: Some(reign.from_index) == in_force,
                here: rotation::is_here(&self.folder, &reign.key),
            })
            .collect()
    }
}

#[tonic::async_trait]
impl registry_keys_server::RegistryKeys for KeysEdge {
    async fn list_registry_keys(
        &self,
        _: Request<wire::ListRegistryKeysRequest>,
    ) -> Result<Response<wire::ListRegistryKeysResponse>, Status> {
        let (authority, log) = {
            let directory = self.sequencer.directory();
            (directory.authority_reigns().to_vec(), directory.log_reigns().to_vec())
        };
        let mut keys = self.keys(&authority, KeyRole::Authority);
        keys.extend(self.keys(&log, KeyRole::Log));
        Ok(Response::new(wire::ListRegistryKeysResponse {
            keys,
            tls_key: (self.tls_key)(),
            next_tls_key: self.rotation.next_tls_digest().unwrap_or_default(),
        }))
    }

    async fn list_waiting(
        &self,
        _: Request<wire::ListWaitingRequest>,
    ) -> Result<Response<wire::ListWaitingResponse>, Status> {
        let waiting = self.authority.waiting().map(|waiting| waiting.all()).unwrap_or_default();
        let directory = self.sequencer.directory();
        Ok(Response::new(wire::ListWaitingResponse {
            waiting: waiting
                .into_iter()
                .map(|carried| wire::WaitingStatement { id: carried.id, envelope: carried.envelope.encode_to_vec() })
                .collect(),
            exchange_id: directory.exchange().to_string(),
            authority_key: directory.current_authority_key().map(ToString::to_string).unwrap_or_default(),
        }))
    }

    async fn submit_signed(
        &self,
        request: Request<wire::SubmitSignedRequest>,
    ) -> Result<Response<wire::SubmitSignedResponse>, Status> {
        let mut outcomes = Vec::new();
        for bytes in request.into_inner().envelopes {
            let envelope = Envelope::decode(bytes.as_slice())
                .map_err(|_| Status::invalid_argument("envelopes: what was sent is no envelope"))?;
            let (id, object, outcome) = self.rotation.bring_in(envelope).await.map_err(|error| failed(&error))?;
            let mut told = wire::SubmittedStatement { id, object, ..wire::SubmittedStatement::default() };
            match outcome {
                BroughtIn::Accepted { index } => {
                    tracing::info!(index, "a statement came in that the authority has signed elsewhere");
                    told.index = index;
                }
                BroughtIn::MadeAgain { id } => told.made_again = id,
                BroughtIn::Refused(refusal) => told.refused = Some(refusal.to_wire()),
            }
            outcomes.push(told);
        }
        self.enrolment.tidy().await.map_err(|error| internal(&error))?;
        Ok(Response::new(wire::SubmitSignedResponse { outcomes }))
    }

    async fn drop_waiting(
        &self,
        request: Request<wire::DropWaitingRequest>,
    ) -> Result<Response<wire::DropWaitingResponse>, Status> {
        let id = request.into_inner().id;
        let dropped = self.authority.waiting().map(|waiting| waiting.remove(&id));
        match dropped {
            Some(Ok(dropped)) => {
                tracing::info!(id, object = %dropped.object, "a statement that waited was dropped");
                Ok(Response::new(wire::DropWaitingResponse { object: dropped.object.to_string() }))
            }
            Some(Err(error @ waiting::Error::Unknown { .. })) => Err(Status::invalid_argument(error.to_string())),
            Some(Err(error)) => Err(internal(&error)),
            None => Err(Status::invalid_argument(waiting::Error::Unknown { id }.to_string())),
        }
    }

    async fn rotate_log_key(
        &self,
        request: Request<wire::RotateLogKeyRequest>,
    ) -> Result<Response<wire::RotatedResponse>, Status> {
        let changed = self.rotation.log_key(&request.into_inner().reason).await;
        let (said, key) = changed.map_err(|error| failed(&error))?;
        rotated(said, key.id().to_string())
    }

    async fn rotate_authority_key(
        &self,
        request: Request<wire::RotateAuthorityKeyRequest>,
    ) -> Result<Response<wire::RotatedResponse>, Status> {
        let wire::RotateAuthorityKeyRequest { reason, new_public_key } = request.into_inner();
        let new =
            match new_public_key.as_str() {
                "" => None,
                text => Some(text.parse::<PublicKey>().map_err(|error| {
                    refused(&Refusal::new(Code::MessageMalformed).at("new_public_key").because(error))
                })?),
            };
        let (said, key) = self.rotation.authority_key(&reason, new).await.map_err(|error| failed(&error))?;
        rotated(said, key.id().to_string())
    }

    async fn renew_registry_tls(
        &self,
        request: Request<wire::RenewRegistryTlsRequest>,
    ) -> Result<Response<wire::RotatedResponse>, Status> {
        let renewed = self.rotation.announce_next_tls(request.into_inner().lead_ms).await;
        let (said, next) = renewed.map_err(|error| failed(&error))?;
        rotated(said, next.key_digest().to_string())
    }
}

fn rotated(said: Result<Accepted, authority::Error>, key: String) -> Result<Response<wire::RotatedResponse>, Status> {
    match said {
        Ok(accepted) => Ok(Response::new(wire::RotatedResponse { index: accepted.index, waiting: String::new(), key })),
        Err(authority::Error::Waiting { id }) => {
            Ok(Response::new(wire::RotatedResponse { index: 0, waiting: id, key }))
        }
        Err(error) => Err(unsaid(&error)),
    }
}

fn failed(error: &rotation::Error) -> Status {
    match error {
        rotation::Error::Authority(error) => unsaid(error),
        rotation::Error::NotEverywhere { .. } => Status::aborted(error.to_string()),
        rotation::Error::Ledger(ledger::Error::Away { .. }) => Status::unavailable(error.to_string()),
        error => internal(error),
    }
}
