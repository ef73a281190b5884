//! Accepts connections, does their handshakes side by side, and hands the finished ones on.
//!
//! Each handshake runs in a task of its own with a time limit, so that a slow one holds up nobody. Out of scope: what
//! is served.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_stream::Stream;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::ListenerLimits;
use super::connections::{Admission, Connections};
use super::stream::{PeerInfo, PeerStream, Transport};
use crate::tls::ServerTls;

/// What lies between a port and its clients.
#[derive(Debug, Clone)]
pub enum Security {
    /// Nothing: for a port on loopback, or behind a proxy that speaks TLS.
    Plain,
    /// TLS 1.3.
    Tls(Arc<ServerTls>),
    /// TLS 1.3 for whoever begins with a handshake, and nothing for the others: they can be told why they are not served.
    Either(Arc<ServerTls>),
}

/// A bound port that does not accept yet; bind early, so that port 0 can be told.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    security: Security,
    limits: ListenerLimits,
    connections: Connections,
    entrance: Entrance,
    brought: mpsc::Receiver<(TcpStream, SocketAddr)>,
}

/// Brings connections to a listener that come another way than to its port; its limits and its security are the same for
/// them.
#[derive(Debug, Clone)]
pub struct Entrance {
    sender: mpsc::Sender<(TcpStream, SocketAddr)>,
}

impl Entrance {
    /// Brings a connection of `remote`; `false` where the listener does not accept any more.
    pub async fn bring(&self, socket: TcpStream, remote: SocketAddr) -> bool {
        self.sender.send((socket, remote)).await.is_ok()
    }
}

impl Listener {
    /// Binds `address`.
    pub async fn bind(address: SocketAddr, security: Security, limits: ListenerLimits) -> io::Result<Self> {
        let socket = TcpListener::bind(address).await?;
        let address = socket.local_addr()?;
        let (sender, brought) = mpsc::channel(64);
        let (entrance, connections) = (Entrance { sender }, Connections::default());
        Ok(Self { socket, address, security, limits, connections, entrance, brought })
    }

    /// Where connections are brought that come another way than to the port.
    pub fn entrance(&self) -> Entrance {
        self.entrance.clone()
    }

    /// The address, with the port that was given.
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// The book of this listener's connections.
    pub fn connections(&self) -> Connections {
        self.connections.clone()
    }

    /// Starts to accept. Dropping the stream closes the port; connections handed on live on.
    pub fn incoming(self) -> Incoming {
        let stop = CancellationToken::new();
        // Finished connections are taken at once; the channel only bridges the tasks.
        let (sender, receiver) = mpsc::channel(64);
        tokio::spawn(self.accept_until(stop.clone(), sender));
        Incoming { receiver, _stop: stop.drop_guard() }
    }

    async fn accept_until(mut self, stop: CancellationToken, sender: mpsc::Sender<PeerStream>) {
        let mut handshakes = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                Some(_) = handshakes.join_next() => continue,
                accepted = self.socket.accept() => accepted,
                Some(brought) = self.brought.recv() => Ok(brought),
            };
            match accepted {
                Ok((socket, remote)) => {
                    let Some(admission) = self.connections.admit(remote.ip(), &self.limits) else {
                        tracing::debug!(%remote, "too many connections; refused");
                        continue;
                    };
                    let (security, limits) = (self.security.clone(), self.limits.clone());
                    let (connections, sender) = (self.connections.clone(), sender.clone());
                    handshakes.spawn(async move {
                        match shake_hands(socket, remote, security, admission, &limits).await {
                            // Fails only when nobody serves any more.
                            Ok(stream) => drop(sender.send(stream).await),
                            Err(error) => {
                                connections.count_failed_handshake();
                                tracing::debug!(%remote, %error, "a handshake failed");
                            }
                        }
                    });
                }
                Err(error) => {
                    // A client that went away, or no descriptors left: in both cases others go on.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Whether a client's first byte is that of a TLS handshake record. It stays where it is.
async fn begins_with_handshake(socket: &TcpStream, limits: &ListenerLimits) -> io::Result<bool> {
    let mut first = [0];
    let peeked = timeout(limits.handshake_timeout, socket.peek(&mut first)).await;
    Ok(peeked.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?? == 1 && first[0] == TLS_HANDSHAKE)
}

/// The first byte of a TLS connection (RFC 8446, 5.1); no HTTP method begins with it.
const TLS_HANDSHAKE: u8 = 22;

/// How long to wait after a failed accept; without it a lack of descriptors would use up a core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

async fn shake_hands(
    socket: TcpStream,
    remote: SocketAddr,
    security: Security,
    admission: Admission,
    limits: &ListenerLimits,
) -> io::Result<PeerStream> {
    // Answers are small and must not wait for company.
    socket.set_nodelay(true)?;
    let security = match security {
        Security::Either(tls) if begins_with_handshake(&socket, limits).await? => Security::Tls(tls),
        Security::Either(_) => Security::Plain,
        security => security,
    };
    let (transport, tls_key) = match security {
        // One of two, chosen above.
        Security::Plain | Security::Either(_) => (Transport::Plain(socket), None),
        Security::Tls(tls) => {
            let handshake = timeout(limits.handshake_timeout, TlsAcceptor::from(tls.config()).accept(socket));
            let stream = tokio::select! {
                () = admission.cut().cancelled() => Err(io::Error::other("crowded out by newer handshakes")),
                outcome = handshake => outcome.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
            }?;
            let key = ServerTls::peer_key(stream.get_ref().1);
            admission.established(key);
            if !tls.welcomes(key) {
                return Err(io::Error::other("the client's key is no longer welcome"));
            }
            (Transport::Tls(Box::new(stream)), key)
        }
    };
    let info = PeerInfo { tls_key, remote, is_balancer: limits.is_balancer(remote.ip()) };
    Ok(PeerStream::new(transport, info, admission, limits))
}

/// The finished connections of a [`Listener`], for tonic's `serve_with_incoming`.
#[derive(Debug)]
pub struct Incoming {
    receiver: mpsc::Receiver<PeerStream>,
    _stop: DropGuard,
}

impl Stream for Incoming {
    type Item = io::Result<PeerStream>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.receiver.poll_recv(context).map(|stream| stream.map(Ok))
    }
}
