//! The office port: one address, at which HTTP/1.1 and HTTP/2 are spoken, and over them gRPC and HTTP with JSON. On loopback
//! plain, unless it is told otherwise; elsewhere over TLS alone. Browsers and older runtimes come here, so this port alone
//! also speaks TLS 1.2, with a P-256 key.
//!
//! Out of scope: what is served (`office::http`, `office_edge`).

use std::{path::PathBuf, sync::Arc};

use host::{
    edge::Security,
    random::Random,
    tls::{ClientAuthentication, IdentityError, PeerPolicy, ServerTls, SetupError, TlsIdentity},
};

use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic_health::pb::health_server::{Health, HealthServer};

use super::{
    Office,
    http::{self, Api},
    settings::TlsUse,
    sign_in::SignIn,
};
use crate::{
    bulk::edge::BatchesEdge,
    case_edge::CasesEdge,
    config::Config,
    correction::{Corrections, OfficeCorrections},
    office_edge::{self, OfficeEdge, items::OfficeItems},
    office_keys::OfficeKeys,
    parts::Parts,
    subject_log::PortalEdge,
    subscriptions::office_edge::NoticesEdge,
};

/// The self-made key and certificate, in the node's folder.
pub const TLS_FILE: &str = "keys/office-tls.key";

/// Why the port cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The key and certificate cannot be read or made.
    #[error("the office port's TLS key ([office] tls_file in node.toml): {0}")]
    Identity(#[from] IdentityError),
    /// They cannot be used together.
    #[error("the office port: {0}")]
    Setup(#[from] SetupError),
}

/// What lies between the port and its clients.
///
/// # Errors
/// Its TLS key cannot be read, made or used.
pub fn security(config: &Config, keys: &Arc<OfficeKeys>, random: &dyn Random) -> Result<Security, Error> {
    if config.office_listen.ip().is_loopback() && config.office.tls == TlsUse::Elsewhere {
        return Ok(Security::Plain);
    }
    let policy: Arc<dyn PeerPolicy> = Arc::clone(keys) as _;
    let tls = ServerTls::for_anybody(&identity(config, random)?, ClientAuthentication::Optional(policy))?;
    Ok(Security::Tls(tls))
}

fn identity(config: &Config, random: &dyn Random) -> Result<TlsIdentity, IdentityError> {
    if let Some(file) = &config.office.tls_file {
        return TlsIdentity::read(&config.dir.join(file));
    }
    let path: PathBuf = config.dir.join(TLS_FILE);
    if path.exists() {
        return TlsIdentity::read(&path);
    }
    let own = config.office_listen.ip();
    let mut names = config.office.names.clone();
    if names.is_empty() {
        names.push("localhost".to_owned());
        names.push(if own.is_unspecified() { "127.0.0.1".to_owned() } else { own.to_string() });
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let identity = TlsIdentity::generate_p256(random, &names)?;
    identity.write(&path)?;
    tracing::info!(path = %path.display(), key = %identity.key_digest(), "made a TLS key for the office port");
    Ok(identity)
}

/// What is served at the port: gRPC with health and reflection, and HTTP with JSON.
pub fn routes<H>(
    parts: &Parts,
    office: &Arc<Office>,
    corrections: &Arc<Corrections>,
    health: HealthServer<H>,
    stop: CancellationToken,
) -> Routes
where
    H: Health,
{
    let sign_in = SignIn { keys: Arc::clone(&parts.office_keys), clock: Arc::clone(&parts.clock) };
    let edge = OfficeEdge { office: Arc::clone(office), sign_in: Some(sign_in.clone()) };
    let cases = CasesEdge::server(Arc::clone(&parts.cases), Some(sign_in.clone()));
    let mut grpc = Routes::new(health)
        .add_service(edge.server())
        .add_service(cases)
        .add_service(OfficeCorrections::server(Arc::clone(corrections), Some(sign_in.clone())))
        .add_service(NoticesEdge::new(Arc::clone(office), Some(sign_in.clone())).server())
        .add_service(BatchesEdge::server(&parts.bulk, Some(sign_in.clone())))
        .add_service(OfficeItems::server(office, sign_in.clone()))
        .add_service(PortalEdge::server(Arc::clone(corrections.subjects()), sign_in.clone()));
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::FILE_DESCRIPTOR_SET)
        .with_service_name(office_edge::SERVICE)
        .build_v1();
    match reflection {
        Ok(reflection) => grpc = grpc.add_service(reflection),
        Err(error) => tracing::warn!(%error, "the office port has no reflection"),
    }
    let api = Api::new(Arc::clone(office), sign_in, &parts.config.office, stop);
    http::serve(api, grpc.into_axum_router()).into()
}
