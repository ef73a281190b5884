//! The operators' service about office systems: who may use the office port, and for what. Translates; decides nothing.

use std::sync::Arc;

use host::{clock::Clock, random::Random, tls::TlsKeyDigest};
use proto::admin::v1::{
    AddOfficeKeyRequest, AddOfficeKeyResponse, AddWebhookRequest, AddWebhookResponse, ListOfficeKeysRequest,
    ListOfficeKeysResponse, ListWebhooksRequest, ListWebhooksResponse, OfficeKey, OfficeKeyLimits,
    RemoveOfficeKeyRequest, RemoveOfficeKeyResponse, RemoveWebhookRequest, RemoveWebhookResponse,
    RotateOfficeKeyRequest, Webhook,
    offices_server::{Offices, OfficesServer},
};
use rustls::pki_types::CertificateDer;
use tonic::{Request, Response, Status};
use zeroize::Zeroizing;

use crate::{
    office_keys::{self, Limits, NewOfficeKey, OfficeKeys},
    parts::Parts,
    webhooks::{self, Webhooks},
};

/// The service.
pub struct OfficesEdge {
    keys: Arc<OfficeKeys>,
    webhooks: Arc<Webhooks>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

impl OfficesEdge {
    /// The service of a running node.
    pub fn server(parts: &Parts) -> OfficesServer<Self> {
        OfficesServer::new(Self {
            keys: Arc::clone(&parts.office_keys),
            webhooks: Arc::clone(&parts.webhooks),
            clock: Arc::clone(&parts.clock),
            random: Arc::clone(&parts.random),
        })
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Offices for OfficesEdge {
    async fn add_office_key(&self, request: Request<AddOfficeKeyRequest>) -> Answer<AddOfficeKeyResponse> {
        let AddOfficeKeyRequest { system, expires_at_ms, limits, certificate, portal } = request.into_inner();
        let certificate_key = match certificate.as_slice() {
            [] => None,
            der => Some(
                TlsKeyDigest::of_certificate(&CertificateDer::from(der))
                    .map_err(|error| Status::invalid_argument(format!("certificate: {error}")))?,
            ),
        };
        let new = NewOfficeKey { system, expires_at_ms, limits: limits_of(limits), certificate_key, portal };
        let added = self.keys.add(new, self.random.as_ref(), self.clock.now_ms());
        Ok(Response::new(made(added.map_err(|error| status(&error))?)))
    }

    async fn rotate_office_key(&self, request: Request<RotateOfficeKeyRequest>) -> Answer<AddOfficeKeyResponse> {
        let RotateOfficeKeyRequest { id, old_expires_at_ms, expires_at_ms } = request.into_inner();
        let (random, now_ms) = (self.random.as_ref(), self.clock.now_ms());
        // Never 0, which would be no end.
        let old_ends_ms = old_expires_at_ms.max(now_ms);
        let rotated = self.keys.rotate(&id, old_ends_ms, expires_at_ms, random, now_ms);
        Ok(Response::new(made(rotated.map_err(|error| status(&error))?)))
    }

    async fn list_office_keys(&self, _: Request<ListOfficeKeysRequest>) -> Answer<ListOfficeKeysResponse> {
        Ok(Response::new(ListOfficeKeysResponse { keys: self.keys.list().into_iter().map(to_wire).collect() }))
    }

    async fn remove_office_key(&self, request: Request<RemoveOfficeKeyRequest>) -> Answer<RemoveOfficeKeyResponse> {
        self.keys.remove(&request.into_inner().id).map_err(|error| status(&error))?;
        Ok(Response::new(RemoveOfficeKeyResponse {}))
    }

    async fn add_webhook(&self, request: Request<AddWebhookRequest>) -> Answer<AddWebhookResponse> {
        let AddWebhookRequest { system, url, ca_file } = request.into_inner();
        let ca_file = (!ca_file.is_empty()).then(|| ca_file.into());
        let added = self.webhooks.add(&system, &url, ca_file, self.random.as_ref(), self.clock.now_ms());
        let (hook, secret) = added.map_err(|error| webhook_status(&error))?;
        Ok(Response::new(AddWebhookResponse { id: hook.id, secret: secret.to_string() }))
    }

    async fn list_webhooks(&self, _: Request<ListWebhooksRequest>) -> Answer<ListWebhooksResponse> {
        let hooks = self.webhooks.list().into_iter();
        let hooks =
            hooks.map(|hook| Webhook { id: hook.id, system: hook.system, url: hook.url, added_ms: hook.added_ms });
        Ok(Response::new(ListWebhooksResponse { webhooks: hooks.collect() }))
    }

    async fn remove_webhook(&self, request: Request<RemoveWebhookRequest>) -> Answer<RemoveWebhookResponse> {
        self.webhooks.remove(&request.into_inner().id).map_err(|error| webhook_status(&error))?;
        Ok(Response::new(RemoveWebhookResponse {}))
    }
}

fn limits_of(limits: Option<OfficeKeyLimits>) -> Limits {
    let OfficeKeyLimits { limits_services, services, limits_items, items } = limits.unwrap_or_default();
    Limits { services: limits_services.then_some(services), items: limits_items.then_some(items) }
}

fn to_wire(key: office_keys::OfficeKey) -> OfficeKey {
    OfficeKey {
        limits: Some(OfficeKeyLimits {
            limits_services: key.limits.services.is_some(),
            services: key.limits.services.unwrap_or_default(),
            limits_items: key.limits.items.is_some(),
            items: key.limits.items.unwrap_or_default(),
        }),
        id: key.id,
        system: key.system,
        added_ms: key.added_ms,
        expires_at_ms: key.expires_at_ms,
        certificate_key: key.certificate_key,
        portal: key.portal,
    }
}

fn made((key, text): (office_keys::OfficeKey, Option<Zeroizing<String>>)) -> AddOfficeKeyResponse {
    AddOfficeKeyResponse {
        id: key.id,
        key: text.map(|text| text.to_string()).unwrap_or_default(),
        system: key.system,
        expires_at_ms: key.expires_at_ms,
    }
}

fn status(error: &office_keys::Error) -> Status {
    use office_keys::Error;
    match error {
        Error::AlreadyOver | Error::NameMalformed => Status::invalid_argument(error.to_string()),
        Error::CertificateKnown | Error::CertificateRotated => Status::failed_precondition(error.to_string()),
        Error::Unknown { .. } => Status::not_found(error.to_string()),
        _ => Status::internal(error.to_string()),
    }
}

fn webhook_status(error: &webhooks::Error) -> Status {
    use webhooks::Error;
    match error {
        Error::AddressWrong(_) | Error::NameMalformed => Status::invalid_argument(error.to_string()),
        Error::Unknown { .. } => Status::not_found(error.to_string()),
        _ => Status::internal(error.to_string()),
    }
}
