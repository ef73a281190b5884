//! The client's side: a connector to one peer, held to that peer's key.
//!
//! A connector knows the peer's addresses and the digest (or the few digests, while keys change) that it must show.
//! Out of scope: retries and pools, which tonic's channel has.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::version::TLS13;
use rustls::{CertificateError, ClientConfig};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::Channel;

use super::verifier::{KeyVerifier, PinnedKeys, UnexpectedKey};
use super::{ALPN_HTTP2, SetupError, TlsIdentity, TlsKeyDigest, provider};
use crate::edge::{ChannelLimits, tuned_endpoint};

/// Why a peer could not be reached. Each sentence names the address.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The name has no address.
    #[error("{address} cannot be resolved: {source}")]
    AddressUnknown {
        /// The address.
        address: String,
        /// The resolver's answer.
        source: io::Error,
    },
    /// Somebody answers, but not with the key expected.
    #[error(
        "{address} answers with the TLS key {presented}, which is not the key of that peer: either its key has changed and the news has not arrived here, or somebody else answers in its place"
    )]
    KeyUnexpected {
        /// The address.
        address: String,
        /// The key that was shown.
        presented: TlsKeyDigest,
    },
    /// There is no address to try.
    #[error("the peer has no address")]
    NoAddress,
    /// No answer in time.
    #[error("{address} did not answer within {} ms", limit.as_millis())]
    TimedOut {
        /// The address.
        address: String,
        /// The time it was given.
        limit: Duration,
    },
    /// The TLS handshake failed.
    #[error("the TLS handshake with {address} failed: {source}")]
    TlsFailed {
        /// The address.
        address: String,
        /// What the TLS library says.
        source: io::Error,
    },
    /// Nobody answers.
    #[error("{address} cannot be reached: {source}")]
    Unreachable {
        /// The address.
        address: String,
        /// The operating system's answer.
        source: io::Error,
    },
}

impl ConnectError {
    /// The reason for connecting in vain that lies behind another error, such as the `tonic::Status` of a request that
    /// never left: tonic itself says only "transport error".
    pub fn behind<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Self> {
        let mut error = Some(error);
        while let Some(current) = error {
            if let Some(found) = current.downcast_ref() {
                return Some(found);
            }
            error = current.source();
        }
        None
    }
}

/// How a connector connects.
#[derive(Debug, Clone, Copy)]
pub struct ConnectorOptions {
    /// The time for each address, from name to finished handshake.
    pub attempt_timeout: Duration,
}

impl Default for ConnectorOptions {
    fn default() -> Self {
        Self { attempt_timeout: Duration::from_secs(3) }
    }
}

/// Connects to one peer. Clones share everything.
#[derive(Clone)]
pub struct PeerConnector {
    addresses: Arc<[String]>,
    connector: TlsConnector,
    options: ConnectorOptions,
}

impl PeerConnector {
    /// A connector to the peer at `addresses` (`host:port`, tried in order), which must show one of `keys`. `identity` is
    /// what we show, where the peer asks for it.
    pub fn new(
        addresses: impl IntoIterator<Item = String>,
        keys: impl IntoIterator<Item = TlsKeyDigest>,
        identity: Option<&TlsIdentity>,
        options: ConnectorOptions,
    ) -> Result<Self, SetupError> {
        let provider = provider();
        let verifier = KeyVerifier::new(Arc::new(PinnedKeys::new(keys)), Arc::clone(&provider));
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match identity {
            Some(identity) => builder.with_client_auth_cert(identity.chain(), identity.key())?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![ALPN_HTTP2.to_vec()];
        // A resumed session would skip the check of the key.
        config.resumption = Resumption::disabled();
        Ok(Self {
            addresses: addresses.into_iter().collect(),
            connector: TlsConnector::from(Arc::new(config)),
            options,
        })
    }

    /// Connects to the first address that works. With client authentication a server's refusal of *our* key arrives
    /// after this, with the first read: that is how TLS 1.3 orders its messages.
    pub async fn connect(&self) -> Result<TlsStream<TcpStream>, ConnectError> {
        let mut failure = ConnectError::NoAddress;
        for address in self.addresses.iter() {
            let attempt = timeout(self.options.attempt_timeout, self.attempt(address)).await;
            match attempt {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => failure = error,
                Err(_) => {
                    failure = ConnectError::TimedOut { address: address.clone(), limit: self.options.attempt_timeout };
                }
            }
        }
        Err(failure)
    }

    /// A gRPC channel over this connector, which connects at its first request and again whenever it must.
    pub fn channel(&self, limits: &ChannelLimits) -> Channel {
        let limits = ChannelLimits { connect_timeout: self.longest_connect(), ..*limits };
        tuned_endpoint(&limits).connect_with_connector_lazy(self.clone())
    }

    fn longest_connect(&self) -> Duration {
        let attempts = u32::try_from(self.addresses.len()).unwrap_or(u32::MAX).max(1);
        self.options.attempt_timeout.saturating_mul(attempts) + Duration::from_millis(100)
    }

    async fn attempt(&self, address: &str) -> Result<TlsStream<TcpStream>, ConnectError> {
        let resolved: Vec<SocketAddr> = tokio::net::lookup_host(address)
            .await
            .map_err(|source| ConnectError::AddressUnknown { address: address.to_owned(), source })?
            .collect();
        let unreachable = |source| ConnectError::Unreachable { address: address.to_owned(), source };
        let stream = TcpStream::connect(resolved.as_slice()).await.map_err(unreachable)?;
        // Requests are small and must not wait for company.
        stream.set_nodelay(true).map_err(unreachable)?;
        let name = server_name(address, &stream).map_err(unreachable)?;
        self.connector.connect(name, stream).await.map_err(|source| match unexpected_key(&source) {
            Some(presented) => ConnectError::KeyUnexpected { address: address.to_owned(), presented },
            None => ConnectError::TlsFailed { address: address.to_owned(), source },
        })
    }
}

impl std::fmt::Debug for PeerConnector {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("PeerConnector").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

/// For [`tonic::transport::Endpoint::connect_with_connector`]; the URI is ignored.
impl tower::Service<Uri> for PeerConnector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { connector.connect().await.map(TokioIo::new) })
    }
}

/// The name asked for, for balancers that sort connections by it; it proves nothing.
fn server_name(address: &str, stream: &TcpStream) -> io::Result<ServerName<'static>> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    match ServerName::try_from(host.trim_matches(['[', ']']).to_owned()) {
        Ok(name) => Ok(name),
        Err(_) => Ok(ServerName::IpAddress(stream.peer_addr()?.ip().into())),
    }
}

fn unexpected_key(error: &io::Error) -> Option<TlsKeyDigest> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidCertificate(CertificateError::Other(other)) => {
            other.0.downcast_ref::<UnexpectedKey>().map(|unexpected| unexpected.presented)
        }
        _ => None,
    }
}
