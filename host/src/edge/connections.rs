//! The book of all connections of one listener: how many stand, whose they are, and how to cut them off. Out of scope:
//! accepting them (`listener`).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use super::ListenerLimits;
use crate::tls::TlsKeyDigest;

/// The connections of one listener; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Connections {
    shared: Arc<Shared>,
}

/// How many connections there are and were, for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConnectionCounts {
    /// Standing now, those in a handshake included.
    pub open: u64,
    /// In a handshake now.
    pub half_open: u64,
    /// Closed unheard because too many stood, since the start.
    pub refused: u64,
    /// Cut off in the handshake because too many were in theirs, since the start.
    pub crowded_out: u64,
    /// Handshakes that failed or took too long, since the start.
    pub handshakes_failed: u64,
}

#[derive(Debug, Default)]
struct Shared {
    book: Mutex<Book>,
    refused: AtomicU64,
    crowded_out: AtomicU64,
    handshakes_failed: AtomicU64,
}

#[derive(Debug, Default)]
struct Book {
    next: u64,
    open: BTreeMap<u64, Entry>,
    half_open: BTreeSet<u64>,
    by_address: HashMap<IpAddr, usize>,
}

#[derive(Debug)]
struct Entry {
    key: Option<TlsKeyDigest>,
    address: IpAddr,
    cut: CancellationToken,
}

impl Connections {
    /// Cuts off the connections of a peer whose key is no longer welcome; returns how many there were. What they are at
    /// is not finished. Change the [`crate::tls::PeerPolicy`] first: then none can slip in meanwhile.
    pub fn close_connections_of(&self, key: &TlsKeyDigest) -> usize {
        let book = self.book();
        let of_key = book.open.values().filter(|entry| entry.key.as_ref() == Some(key));
        of_key.map(|entry| entry.cut.cancel()).count()
    }

    /// Cuts off every connection; returns how many there were.
    pub fn close_all(&self) -> usize {
        self.book().open.values().map(|entry| entry.cut.cancel()).count()
    }

    /// How many there are and were.
    pub fn counts(&self) -> ConnectionCounts {
        let book = self.book();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ConnectionCounts {
            open: u64::try_from(book.open.len()).unwrap_or(u64::MAX),
            half_open: u64::try_from(book.half_open.len()).unwrap_or(u64::MAX),
            refused: count(&self.shared.refused),
            crowded_out: count(&self.shared.crowded_out),
            handshakes_failed: count(&self.shared.handshakes_failed),
        }
    }

    /// Enters a new connection, or refuses it because too many stand.
    pub(super) fn admit(&self, remote: IpAddr, limits: &ListenerLimits) -> Option<Admission> {
        let address = neighbourhood(remote);
        let mut book = self.book();
        let of_address = book.by_address.get(&address).copied().unwrap_or_default();
        let crowded = of_address >= limits.max_connections_per_address && !limits.is_balancer(remote);
        if book.open.len() >= limits.max_connections || crowded {
            self.shared.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let number = book.next;
        book.next += 1;
        *book.by_address.entry(address).or_default() += 1;
        let cut = CancellationToken::new();
        book.open.insert(number, Entry { key: None, address, cut: cut.clone() });
        book.half_open.insert(number);
        if book.half_open.len() > limits.max_half_open.max(1)
            && let Some(oldest) = book.half_open.pop_first()
            && let Some(entry) = book.open.get(&oldest)
        {
            entry.cut.cancel();
            self.shared.crowded_out.fetch_add(1, Ordering::Relaxed);
        }
        Some(Admission { number, cut, connections: self.clone() })
    }

    pub(super) fn count_failed_handshake(&self) {
        self.shared.handshakes_failed.fetch_add(1, Ordering::Relaxed);
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.shared.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection's place in the book; dropping it gives the place up.
#[derive(Debug)]
pub(super) struct Admission {
    number: u64,
    cut: CancellationToken,
    connections: Connections,
}

impl Admission {
    /// Cancelled when the connection must be cut off.
    pub(super) fn cut(&self) -> &CancellationToken {
        &self.cut
    }

    /// The handshake is over, and the peer has shown this key.
    pub(super) fn established(&self, key: Option<TlsKeyDigest>) {
        let mut book = self.connections.book();
        book.half_open.remove(&self.number);
        if let Some(entry) = book.open.get_mut(&self.number) {
            entry.key = key;
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut book = self.connections.book();
        book.half_open.remove(&self.number);
        let Some(entry) = book.open.remove(&self.number) else { return };
        if let Some(count) = book.by_address.get_mut(&entry.address) {
            *count -= 1;
            if *count == 0 {
                book.by_address.remove(&entry.address);
            }
        }
    }
}

/// What counts as one address: an IPv4 address, or the /64 that one IPv6 customer has to himself.
fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(max_connections: usize, per_address: usize, max_half_open: usize) -> ListenerLimits {
        ListenerLimits {
            max_connections,
            max_connections_per_address: per_address,
            max_half_open,
            ..ListenerLimits::default()
        }
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn too_many_are_refused_and_places_are_given_back() {
        let connections = Connections::default();
        let limits = limits(2, 10, 10);
        let first = connections.admit(address(1), &limits).unwrap();
        let _second = connections.admit(address(2), &limits).unwrap();
        assert!(connections.admit(address(3), &limits).is_none());
        drop(first);
        let _third = connections.admit(address(3), &limits).unwrap();
        assert_eq!((connections.counts().open, connections.counts().refused), (2, 1));
    }

    #[test]
    fn one_address_cannot_take_every_place() {
        let connections = Connections::default();
        let limits = limits(10, 2, 10);
        let held: Vec<_> = (0..2).map(|_| connections.admit(address(1), &limits).unwrap()).collect();
        assert!(connections.admit(address(1), &limits).is_none());
        assert!(connections.admit("::ffff:192.0.2.1".parse().unwrap(), &limits).is_none(), "the same in other clothes");
        assert!(connections.admit(address(2), &limits).is_some());
        drop(held);
        assert!(connections.admit(address(1), &limits).is_some());
        assert!(connections.book().by_address.is_empty());

        let _neighbours: Vec<_> = ["2001:db8::1", "2001:db8::ffff:2"]
            .map(|text| connections.admit(text.parse().unwrap(), &limits).unwrap())
            .into();
        assert!(connections.admit("2001:db8::3".parse().unwrap(), &limits).is_none());
        assert!(connections.admit("2001:db8:0:1::3".parse().unwrap(), &limits).is_some());
    }

    #[test]
    fn behind_a_balancer_many_have_one_address() {
        let connections = Connections::default();
        let limits = ListenerLimits { balancers: [address(7)].into(), ..limits(4, 1, 10) };
        let _many: Vec<_> = (0..3).map(|_| connections.admit(address(7), &limits).unwrap()).collect();
        let _one = connections.admit(address(8), &limits).unwrap();
        assert!(connections.admit(address(8), &limits).is_none());
        assert!(connections.admit("::ffff:192.0.2.7".parse().unwrap(), &limits).is_none(), "all places are taken");
    }

    #[test]
    fn the_oldest_handshake_makes_room() {
        let connections = Connections::default();
        let limits = limits(10, 10, 2);
        let first = connections.admit(address(1), &limits).unwrap();
        let second = connections.admit(address(1), &limits).unwrap();
        first.established(None);
        let third = connections.admit(address(1), &limits).unwrap();
        assert!(!second.cut().is_cancelled());
        let fourth = connections.admit(address(1), &limits).unwrap();
        assert!(second.cut().is_cancelled());
        assert!(!first.cut().is_cancelled() && !third.cut().is_cancelled() && !fourth.cut().is_cancelled());
        assert_eq!(connections.counts().crowded_out, 1);
    }

    #[test]
    fn a_keys_connections_are_cut_and_no_others() {
        let connections = Connections::default();
        let limits = limits(10, 10, 10);
        let keys = [1, 2].map(|byte| TlsKeyDigest::from_bytes([byte; 32]));
        let admissions: Vec<_> = (0..3).map(|_| connections.admit(address(1), &limits).unwrap()).collect();
        admissions[0].established(Some(keys[0]));
        admissions[1].established(Some(keys[1]));
        assert_eq!(connections.close_connections_of(&keys[0]), 1);
        let cut: Vec<bool> = admissions.iter().map(|admission| admission.cut().is_cancelled()).collect();
        assert_eq!(cut, [true, false, false]);
        assert_eq!(connections.close_all(), 3);
    }
}
