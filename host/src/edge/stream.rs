//! One accepted connection, plain or TLS, with the limits that need to see its bytes.
//!
//! A connection is cut off when it is told to be, when it grows too old, when the peer stops reading, and when its first
//! bytes do not come. Out of scope: what the bytes mean.

use std::fmt;
use std::future::Future;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::transport::server::Connected;

use super::ListenerLimits;
use super::connections::Admission;
use crate::tls::TlsKeyDigest;

/// Who is at the other end; in each tonic request's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerInfo {
    /// The key the peer has proved to hold, where it was asked for one. A standing connection may outlive its key's
    /// welcome, so check it again with each request.
    pub tls_key: Option<TlsKeyDigest>,
    /// Where the connection comes from.
    pub remote: SocketAddr,
    /// Whether that is a load balancer's address, behind which anybody may stand.
    pub is_balancer: bool,
}

/// HTTP/2's preface. Until it has come there is no keepalive that would notice a silent peer.
const FIRST_BYTES: usize = 24;

/// An accepted connection, for tonic's `serve_with_incoming`.
pub struct PeerStream {
    transport: Transport,
    info: PeerInfo,
    admission: Admission,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    too_old: Pin<Box<Sleep>>,
    silent: Option<Pin<Box<Sleep>>>,
    received: usize,
    write_stall: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

pub(super) enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl PeerStream {
    pub(super) fn new(transport: Transport, info: PeerInfo, admission: Admission, limits: &ListenerLimits) -> Self {
        admission.established(info.tls_key);
        let now = Instant::now();
        Self {
            transport,
            info,
            cut: Box::pin(admission.cut().clone().cancelled_owned()),
            admission,
            too_old: Box::pin(sleep_until(now + limits.max_connection_age)),
            silent: Some(Box::pin(sleep_until(now + limits.handshake_timeout))),
            received: 0,
            write_stall: limits.write_stall,
            stalled: None,
        }
    }

    /// Who is at the other end.
    pub fn info(&self) -> PeerInfo {
        self.info
    }

    /// Why the connection must be cut off now, if it must; otherwise the task is woken when it must.
    fn poll_doom(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        if self.cut.as_mut().poll(context).is_ready() {
            return Poll::Ready(io::Error::new(io::ErrorKind::ConnectionAborted, "the connection was cut off"));
        }
        if self.too_old.as_mut().poll(context).is_ready() {
            return Poll::Ready(io::Error::new(io::ErrorKind::ConnectionAborted, "the connection grew too old"));
        }
        if self.silent.as_mut().is_some_and(|silent| silent.as_mut().poll(context).is_ready()) {
            return Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, "the first bytes did not come in time"));
        }
        Poll::Pending
    }

    /// Passes on what a write did, and cuts off a peer that has not let us write for too long.
    fn watch_stall<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let deadline = self.stalled.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + self.write_stall)));
        ready!(deadline.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not read what it is sent")))
    }
}

impl fmt::Debug for PeerStream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("PeerStream").field("info", &self.info).finish_non_exhaustive()
    }
}

impl Connected for PeerStream {
    type ConnectInfo = PeerInfo;

    fn connect_info(&self) -> PeerInfo {
        self.info
    }
}

impl AsyncRead for PeerStream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // Also for a peer that always has something to say, and so never lets us wait.
        if this.admission.cut().is_cancelled() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the connection was cut off")));
        }
        let before = buffer.filled().len();
        let read = match &mut this.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Transport::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        };
        if read.is_pending() {
            return this.poll_doom(context).map(Err);
        }
        if this.silent.is_some() {
            this.received += buffer.filled().len() - before;
            if this.received >= FIRST_BYTES {
                this.silent = None;
            }
        }
        read
    }
}

impl AsyncWrite for PeerStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = match &mut this.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Transport::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        };
        this.watch_stall(context, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = match &mut this.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Transport::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        };
        this.watch_stall(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.transport {
            Transport::Plain(stream) => stream.is_write_vectored(),
            Transport::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = match &mut this.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_flush(context),
            Transport::Tls(stream) => Pin::new(stream).poll_flush(context),
        };
        this.watch_stall(context, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let shut = match &mut this.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Transport::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        };
        this.watch_stall(context, shut)
    }
}
