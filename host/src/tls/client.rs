//! The client's side: a connector to one peer, held to that peer's key.
//!
//! A connector knows the ways to the peer and the digest (or the few digests, while keys change) that it must show.
//! Out of scope: retries and pools, which tonic's channel has.

use std::future::Future;
use std::io;
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
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use super::cut::CutStream;
use super::verifier::{KeyVerifier, PinnedKeys, UnexpectedKey};
use super::ways::{Address, Way, Ways};
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
    /// A way that leads through somebody else does not lead to the peer now.
    #[error("{address} does not lead to the peer: {reason}")]
    NotLeading {
        /// The way.
        address: String,
        /// Why.
        reason: String,
    },
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
    ways: Ways,
    connector: TlsConnector,
    options: ConnectorOptions,
    cut: CancellationToken,
}

impl PeerConnector {
    /// A connector to the peer at `addresses` (`host:port`, the first one preferred), which must show one of `keys`.
    /// `identity` is what we show, where the peer asks for it.
    pub fn new(
        addresses: impl IntoIterator<Item = String>,
        keys: impl IntoIterator<Item = TlsKeyDigest>,
        identity: Option<&TlsIdentity>,
        options: ConnectorOptions,
    ) -> Result<Self, SetupError> {
        let ways = addresses.into_iter().map(|address| Arc::new(Address::new(address)) as Arc<dyn Way>);
        Self::over(ways.collect(), keys, identity, options)
    }

    /// As [`PeerConnector::new`], over any ways to the peer.
    pub fn over(
        ways: Vec<Arc<dyn Way>>,
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
        let connector = TlsConnector::from(Arc::new(config));
        Ok(Self { ways: Ways::new(ways), connector, options, cut: CancellationToken::new() })
    }

    /// Connects on the first way that works. Those that failed lately are tried last; where one is slow the next is tried
    /// beside it. With client authentication a server's refusal of *our* key arrives after this, with the first read:
    /// that is how TLS 1.3 orders its messages.
    pub async fn connect(&self) -> Result<TlsStream<TcpStream>, ConnectError> {
        let mut order = self.ways.order(Instant::now()).into_iter();
        // Dropped with those that are under way once one has succeeded.
        let mut attempts = JoinSet::new();
        let mut under_way = Vec::new();
        let mut failure = ConnectError::NoAddress;
        loop {
            if let Some(index) = order.next() {
                let connector = self.clone();
                under_way.push(index);
                attempts.spawn(async move { (index, connector.attempt(index).await) });
            } else if attempts.is_empty() {
                return Err(failure);
            }
            tokio::select! {
                Some(ended) = attempts.join_next() => match ended {
                    Ok((index, Ok(stream))) => {
                        // Those that were tried first and have said nothing yet are tried last the next time.
                        under_way.iter().filter(|other| **other < index).for_each(|slow| self.ways.failed(*slow, Instant::now()));
                        return Ok(stream);
                    }
                    Ok((index, Err(error))) => {
                        under_way.retain(|other| *other != index);
                        failure = worse(failure, error);
                    }
                    Err(_) => {}
                },
                () = tokio::time::sleep(STAGGER), if order.len() > 0 => {}
            }
        }
    }

    /// Whether there is a way that has not failed lately.
    pub fn is_hopeful(&self) -> bool {
        self.ways.is_hopeful(Instant::now())
    }

    /// Notes that no way worked within the time that somebody had: all are tried last for a while.
    pub fn give_up(&self) {
        (0..self.ways.len()).for_each(|index| self.ways.failed(index, Instant::now()));
    }

    /// Cuts off every connection of this connector's channels, with what is under way on them, and refuses new ones: the
    /// peer is no longer welcome.
    pub fn cut_off(&self) {
        self.cut.cancel();
    }

    /// A gRPC channel over this connector, which connects at its first request and again whenever it must.
    pub fn channel(&self, limits: &ChannelLimits) -> Channel {
        let limits = ChannelLimits { connect_timeout: self.longest_connect(), ..*limits };
        tuned_endpoint(&limits).connect_with_connector_lazy(self.clone())
    }

    fn longest_connect(&self) -> Duration {
        let attempts = u32::try_from(self.ways.len()).unwrap_or(u32::MAX).max(1);
        self.options.attempt_timeout.saturating_mul(attempts) + Duration::from_millis(100)
    }

    async fn attempt(&self, index: usize) -> Result<TlsStream<TcpStream>, ConnectError> {
        let way = self.ways.at(index).ok_or(ConnectError::NoAddress)?;
        let attempt = timeout(self.options.attempt_timeout, self.connect_on(way.as_ref())).await;
        let outcome = attempt.unwrap_or_else(|_| {
            let address = way.name().to_owned();
            Err(ConnectError::TimedOut { address, limit: self.options.attempt_timeout })
        });
        match &outcome {
            Ok(_) => self.ways.worked(index),
            Err(_) => self.ways.failed(index, Instant::now()),
        }
        outcome
    }

    async fn connect_on(&self, way: &dyn Way) -> Result<TlsStream<TcpStream>, ConnectError> {
        let address = || way.name().to_owned();
        let stream = way.open().await?;
        let name = server_name(way.name(), &stream)
            .map_err(|source| ConnectError::Unreachable { address: address(), source })?;
        self.connector.connect(name, stream).await.map_err(|source| match unexpected_key(&source) {
            Some(presented) => ConnectError::KeyUnexpected { address: address(), presented },
            None => ConnectError::TlsFailed { address: address(), source },
        })
    }
}

/// Where several ways failed: that somebody else answers is what must be told.
fn worse(known: ConnectError, new: ConnectError) -> ConnectError {
    if matches!(known, ConnectError::KeyUnexpected { .. }) { known } else { new }
}

/// How long a way may take before the next is tried beside it (RFC 8305: 250 ms).
const STAGGER: Duration = Duration::from_millis(250);

impl std::fmt::Debug for PeerConnector {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("PeerConnector").field("ways", &self.ways.names()).finish_non_exhaustive()
    }
}

/// For [`tonic::transport::Endpoint::connect_with_connector`]; the URI is ignored.
impl tower::Service<Uri> for PeerConnector {
    type Response = TokioIo<CutStream<TlsStream<TcpStream>>>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move {
            let cut = connector.cut.clone();
            connector.connect().await.map(|stream| TokioIo::new(CutStream::new(stream, &cut)))
        })
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
