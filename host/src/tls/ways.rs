//! The ways to one peer, and which of them have failed lately.
//!
//! A way is an address that is dialled, or anything else that hands over a TCP stream to the peer. One that failed is
//! tried last until its pause is over; each further failure doubles the pause. None is ever given up: a peer that has
//! only one way is tried on it whenever somebody wants it. Out of scope: TLS, which is the connector's.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use super::ConnectError;

/// A stream that is being opened.
pub type Opening<'a> = Pin<Box<dyn Future<Output = Result<TcpStream, ConnectError>> + Send + 'a>>;

/// A way to a peer. Whoever carries the stream sees bytes: what flows through it is TLS with the peer itself.
pub trait Way: Send + Sync {
    /// How errors and logs call it.
    fn name(&self) -> &str;

    /// Opens a stream that leads to the peer.
    fn open(&self) -> Opening<'_>;
}

/// An address, `host:port`, that is dialled.
#[derive(Debug)]
pub struct Address(String);

impl Address {
    /// The address as text.
    pub fn new(address: impl Into<String>) -> Self {
        Self(address.into())
    }

    /// Dials an address, `host:port`.
    pub async fn dial(address: &str) -> Result<TcpStream, ConnectError> {
        let resolved: Vec<SocketAddr> = tokio::net::lookup_host(address)
            .await
            .map_err(|source| ConnectError::AddressUnknown { address: address.to_owned(), source })?
            .collect();
        let unreachable = |source| ConnectError::Unreachable { address: address.to_owned(), source };
        let stream = TcpStream::connect(resolved.as_slice()).await.map_err(unreachable)?;
        // Requests are small and must not wait for company.
        stream.set_nodelay(true).map_err(unreachable)?;
        Ok(stream)
    }
}

impl Way for Address {
    fn name(&self) -> &str {
        &self.0
    }

    fn open(&self) -> Opening<'_> {
        Box::pin(Self::dial(&self.0))
    }
}

/// The pause after a first failure.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The ways to one peer with what became of them; clones share it.
#[derive(Clone)]
pub(super) struct Ways {
    ways: Arc<[Arc<dyn Way>]>,
    health: Arc<Mutex<Vec<Health>>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Health {
    failures: u32,
    /// Tried last until then.
    paused_until: Option<Instant>,
}

impl Ways {
    pub(super) fn new(ways: Vec<Arc<dyn Way>>) -> Self {
        let health = Arc::new(Mutex::new(vec![Health::default(); ways.len()]));
        Self { ways: ways.into(), health }
    }

    pub(super) fn len(&self) -> usize {
        self.ways.len()
    }

    pub(super) fn names(&self) -> Vec<&str> {
        self.ways.iter().map(|way| way.name()).collect()
    }

    pub(super) fn at(&self, index: usize) -> Option<Arc<dyn Way>> {
        self.ways.get(index).cloned()
    }

    /// In which order they are tried at `now`: in the order given, those that pause last, the one whose pause ends first
    /// before the others.
    pub(super) fn order(&self, now: Instant) -> Vec<usize> {
        let health = self.locked();
        let mut order: Vec<usize> = (0..health.len()).collect();
        order.sort_by_key(|index| health[*index].paused_until.filter(|until| *until > now));
        order
    }

    /// Whether there is a way that does not pause at `now`.
    pub(super) fn is_hopeful(&self, now: Instant) -> bool {
        self.locked().iter().any(|health| health.paused_until.is_none_or(|until| until <= now))
    }

    pub(super) fn worked(&self, index: usize) {
        if let Some(health) = self.locked().get_mut(index) {
            *health = Health::default();
        }
    }

    pub(super) fn failed(&self, index: usize, now: Instant) {
        if let Some(health) = self.locked().get_mut(index) {
            let doubled = FIRST_PAUSE.saturating_mul(1_u32.checked_shl(health.failures).unwrap_or(u32::MAX));
            health.failures = health.failures.saturating_add(1).min(16);
            health.paused_until = Some(now + doubled.min(LONGEST_PAUSE));
        }
    }

    fn locked(&self) -> MutexGuard<'_, Vec<Health>> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ways(names: &[&str]) -> Ways {
        Ways::new(names.iter().map(|name| Arc::new(Address::new(*name)) as Arc<dyn Way>).collect())
    }

    #[test]
    fn what_failed_is_tried_last_until_its_pause_is_over_and_each_failure_doubles_it() {
        let ways = ways(&["a:1", "b:1", "[::1]:1"]);
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(ways.order(start), [0, 1, 2]);
        ways.failed(0, start);
        assert_eq!(ways.order(start), [1, 2, 0]);
        assert_eq!(ways.order(after(1)), [0, 1, 2]);
        ways.failed(0, after(1));
        ways.failed(1, after(1));
        assert_eq!(ways.order(after(2)), [1, 2, 0], "the second pause is two seconds");
        assert_eq!(ways.order(after(3)), [0, 1, 2]);
        ways.failed(2, after(2));
        assert!(!ways.is_hopeful(after(1)) || ways.is_hopeful(after(2)));
        (0..40).for_each(|_| ways.failed(0, start));
        assert_eq!(ways.order(after(60))[0], 0, "never longer than a minute");
        ways.worked(0);
        assert_eq!(ways.order(start)[0], 0);
    }
}
