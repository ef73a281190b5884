//! Counts what strangers get wrong, by where they come from, and tells whoever gets too much wrong to wait, with a bare
//! gRPC status and before anything is looked at: guesses and junk cost us a count. Whoever can be attributed to a
//! department gets refusals instead, and is not counted here. Out of scope: connections, which `host::edge` bounds.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use host::{clock::Clock, edge::PeerInfo};
use tonic::{Request, Status};

/// The window in which failures are counted, milliseconds.
const WINDOW_MS: u64 = 10 * 60 * 1000;

/// How many sources are remembered; in a flood from more, the count starts over.
const MOST_SOURCES: usize = 10_000;

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// One IPv4 address, or one IPv6 /64, which is what one host has.
    Address(IpAddr),
    /// Anybody behind a load balancer: to shut one out would shut out all, so none of them is counted.
    Balancer,
    /// No edge of ours: all of these count as one.
    Unknown,
}

impl Source {
    fn of(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) & (u128::MAX << 64)).into(),
            address => address,
        })
    }
}

/// The book of failures.
pub struct Failures {
    most: u32,
    clock: Arc<dyn Clock>,
    /// By source: when its window began, and how many failures it has had since.
    book: Mutex<HashMap<Source, (u64, u32)>>,
}

impl Failures {
    /// A book that allows each source `most` failures in ten minutes.
    pub fn new(most: u32, clock: Arc<dyn Clock>) -> Self {
        Self { most, clock, book: Mutex::default() }
    }

    /// Where a request comes from, unless too much from there was wrong lately.
    pub fn admit<T>(&self, request: &Request<T>) -> Result<Source, Status> {
        let source = match request.extensions().get::<PeerInfo>() {
            Some(peer) if peer.is_balancer => Source::Balancer,
            Some(peer) => Source::of(peer.remote.ip()),
            None => Source::Unknown,
        };
        if self.has_too_many(source) {
            tracing::debug!(?source, "too many failures; told to wait");
            return Err(Status::resource_exhausted("too many failures from this address; wait ten minutes"));
        }
        Ok(source)
    }

    /// Counts a failure.
    pub fn count(&self, source: Source) {
        if source == Source::Balancer {
            return;
        }
        let now_ms = self.clock.now_ms();
        let mut book = self.book();
        if book.len() >= MOST_SOURCES && !book.contains_key(&source) {
            book.retain(|_, (since_ms, _)| now_ms.saturating_sub(*since_ms) < WINDOW_MS);
            if book.len() >= MOST_SOURCES {
                book.clear();
            }
        }
        let (since_ms, count) = book.entry(source).or_insert((now_ms, 0));
        if now_ms.saturating_sub(*since_ms) >= WINDOW_MS {
            (*since_ms, *count) = (now_ms, 0);
        }
        *count += 1;
    }

    fn has_too_many(&self, source: Source) -> bool {
        let now_ms = self.clock.now_ms();
        self.book()
            .get(&source)
            .is_some_and(|(since_ms, count)| now_ms.saturating_sub(*since_ms) < WINDOW_MS && *count >= self.most)
    }

    fn book(&self) -> MutexGuard<'_, HashMap<Source, (u64, u32)>> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use host::clock::MockClock;

    use super::*;

    fn source(text: &str) -> Source {
        Source::of(text.parse().unwrap())
    }

    fn failures() -> (Failures, MockClock) {
        let clock = MockClock::at(1_000);
        (Failures::new(5, Arc::new(clock.clone())), clock)
    }

    #[test]
    fn a_source_is_stopped_after_its_failures_and_let_in_after_the_window() {
        let (failures, clock) = failures();
        let here = source("192.0.2.1");
        for count in 0..5 {
            assert!(!failures.has_too_many(here), "{count}");
            failures.count(here);
        }
        clock.set(1_000 + WINDOW_MS - 1);
        assert!(failures.has_too_many(here));
        assert!(!failures.has_too_many(source("192.0.2.2")));
        clock.set(1_000 + WINDOW_MS);
        assert!(!failures.has_too_many(here));
        failures.count(here);
        assert!(!failures.has_too_many(here), "the count starts over");
    }

    #[test]
    fn nobody_shuts_out_whoever_stands_behind_the_same_balancer() {
        let (failures, _) = failures();
        let mut request = Request::new(());
        let remote = "192.0.2.7:7400".parse().unwrap();
        request.extensions_mut().insert(PeerInfo { tls_key: None, remote, is_balancer: true });
        for _ in 0..20 {
            failures.count(failures.admit(&request).unwrap());
        }
        assert_eq!(failures.admit(&request).unwrap(), Source::Balancer);
        request.extensions_mut().insert(PeerInfo { tls_key: None, remote, is_balancer: false });
        for _ in 0..5 {
            failures.count(failures.admit(&request).unwrap());
        }
        assert!(failures.admit(&request).is_err(), "an address of its own is counted");
    }

    #[test]
    fn the_book_is_bounded() {
        let (failures, _) = failures();
        for number in 0..30_000_u32 {
            failures.count(Source::of(std::net::Ipv4Addr::from(number).into()));
        }
        assert!(failures.book().len() <= MOST_SOURCES);
    }

    #[test]
    fn an_ipv6_network_counts_as_one_source() {
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:2"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
    }
}
