//! The server's side: a TLS configuration that can be changed while connections stand.
//!
//! Each reload makes a fresh configuration and no session tickets are ever sent: a ticket key shared between
//! configurations would let a revoked client resume without being asked for its key. Out of scope: accepting
//! connections, which is [`crate::edge`]'s.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};

use super::verifier::{KeyVerifier, PeerPolicy};
use super::{ALPN_HTTP1, ALPN_HTTP2, SetupError, TlsIdentity, TlsKeyDigest, provider};

/// What is spoken within the exchange.
static OF_THE_EXCHANGE: [&SupportedProtocolVersion; 1] = [&TLS13];

/// What programs that are not of the exchange may speak.
static OF_ANYBODY: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

/// Whether clients must show a key.
#[derive(Clone)]
pub enum ClientAuthentication {
    /// Clients show none; who they are is settled above TLS.
    None,
    /// Clients may show a key; one that the policy does not accept is refused in the handshake. Whoever shows none says who
    /// he is above TLS.
    Optional(Arc<dyn PeerPolicy>),
    /// Clients must show a key that the policy accepts; others are refused in the handshake.
    Required(Arc<dyn PeerPolicy>),
}

impl fmt::Debug for ClientAuthentication {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::None => "None",
            Self::Optional(_) => "Optional",
            Self::Required(_) => "Required",
        })
    }
}

/// A server's TLS, shared with its listener.
pub struct ServerTls {
    current: ArcSwap<Current>,
    clients: ClientAuthentication,
    protocols: Vec<Vec<u8>>,
    versions: &'static [&'static SupportedProtocolVersion],
}

struct Current {
    config: Arc<ServerConfig>,
    key: TlsKeyDigest,
}

impl ServerTls {
    /// TLS for gRPC (HTTP/2 alone).
    pub fn new(identity: &TlsIdentity, clients: ClientAuthentication) -> Result<Arc<Self>, SetupError> {
        Self::with_protocols(identity, clients, &[ALPN_HTTP2])
    }

    /// TLS for the protocols given, the preferred one first.
    pub fn with_protocols(
        identity: &TlsIdentity,
        clients: ClientAuthentication,
        protocols: &[&[u8]],
    ) -> Result<Arc<Self>, SetupError> {
        Self::with_versions(identity, clients, protocols, &OF_THE_EXCHANGE)
    }

    /// For programs that are not of the exchange (browsers, older runtimes): HTTP/2 and HTTP/1.1, over TLS 1.3 or 1.2.
    pub fn for_anybody(identity: &TlsIdentity, clients: ClientAuthentication) -> Result<Arc<Self>, SetupError> {
        Self::with_versions(identity, clients, &[ALPN_HTTP2, ALPN_HTTP1], &OF_ANYBODY)
    }

    fn with_versions(
        identity: &TlsIdentity,
        clients: ClientAuthentication,
        protocols: &[&[u8]],
        versions: &'static [&'static SupportedProtocolVersion],
    ) -> Result<Arc<Self>, SetupError> {
        let protocols: Vec<Vec<u8>> = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let current = ArcSwap::from_pointee(Current::build(identity, &clients, &protocols, versions)?);
        Ok(Arc::new(Self { current, clients, protocols, versions }))
    }

    /// New connections meet this identity from now on; those that stand live on with the old one.
    pub fn reload(&self, identity: &TlsIdentity) -> Result<(), SetupError> {
        self.current.store(Arc::new(Current::build(identity, &self.clients, &self.protocols, self.versions)?));
        Ok(())
    }

    /// The digest of the key that new connections meet.
    pub fn key_digest(&self) -> TlsKeyDigest {
        self.current.load().key
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.load().config)
    }

    /// Whether the policy still accepts the key that a client has shown. Asked again once the connection is in the book:
    /// otherwise one whose handshake was under way while its key was revoked would be missed by
    /// [`crate::edge::Connections::close_connections_of`].
    pub(crate) fn welcomes(&self, key: Option<TlsKeyDigest>) -> bool {
        match &self.clients {
            ClientAuthentication::None => true,
            ClientAuthentication::Optional(policy) => key.is_none_or(|key| policy.accepts(&key)),
            ClientAuthentication::Required(policy) => key.is_some_and(|key| policy.accepts(&key)),
        }
    }

    /// The digest of the key that a client has shown in a finished handshake.
    pub(crate) fn peer_key(session: &rustls::ServerConnection) -> Option<TlsKeyDigest> {
        let certificate = session.peer_certificates()?.first()?;
        TlsKeyDigest::of_certificate(certificate).ok()
    }
}

/// Shows the public digest alone; a configuration holds the private key.
impl fmt::Debug for ServerTls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ServerTls").field("key", &self.key_digest()).finish_non_exhaustive()
    }
}

impl Current {
    fn build(
        identity: &TlsIdentity,
        clients: &ClientAuthentication,
        protocols: &[Vec<u8>],
        versions: &[&'static SupportedProtocolVersion],
    ) -> Result<Self, SetupError> {
        let provider = provider();
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(versions)?;
        let builder = match clients {
            ClientAuthentication::None => builder.with_no_client_auth(),
            ClientAuthentication::Optional(policy) => {
                let verifier = KeyVerifier::new(Arc::clone(policy), provider).for_anybody();
                builder.with_client_cert_verifier(Arc::new(verifier))
            }
            ClientAuthentication::Required(policy) => {
                builder.with_client_cert_verifier(Arc::new(KeyVerifier::new(Arc::clone(policy), provider)))
            }
        };
        let mut config = builder.with_single_cert(identity.chain(), identity.key())?;
        config.alpn_protocols = protocols.to_vec();
        // Nothing is resumed: each connection shows its key.
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        config.max_early_data_size = 0;
        Ok(Self { config: Arc::new(config), key: identity.key_digest() })
    }
}
