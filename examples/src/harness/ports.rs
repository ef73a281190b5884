//! Ports for programs that have to be told one before they run, and have to find it free again when they start once more.
//!
//! They lie below those which the system gives out by itself (32768 and up on Linux), so that neither a program that asks
//! for any port nor an outgoing connection is given one of them in between. Each process takes whole blocks, and holds one
//! by listening on its first port, so that two test runs on one machine do not meet.

use std::{
    net::{Ipv4Addr, TcpListener},
    ops::Range,
    sync::{Mutex, PoisonError},
};

use super::Error;

/// A port that nobody listens on, and that this process does not give out again. The one after it is free too, for a
/// program that takes two in a row.
///
/// # Errors
///
/// There is no block of ports left.
pub fn free_port() -> Result<u16, Error> {
    POOL.lock().unwrap_or_else(PoisonError::into_inner).next()
}

/// `127.0.0.1` with a [`free_port`].
///
/// # Errors
///
/// As for [`free_port`].
pub fn free_address() -> Result<String, Error> {
    Ok(format!("{}:{}", Ipv4Addr::LOCALHOST, free_port()?))
}

/// The blocks of one process.
struct Pool {
    /// What holds them.
    held: Vec<TcpListener>,
    /// What is still to be given out of the newest one.
    left: Range<u16>,
}

impl Pool {
    const fn new() -> Self {
        Self { held: Vec::new(), left: 0..0 }
    }

    fn next(&mut self) -> Result<u16, Error> {
        loop {
            if self.left.is_empty() {
                let held =
                    (0..BLOCKS).find_map(|block| listen(LOWEST + block * BLOCK).ok()).ok_or(Error::NoPortLeft)?;
                let first = held.local_addr().map_err(Error::io("ask for a port's number"))?.port();
                self.held.push(held);
                self.left = first + PAIR..first + BLOCK;
            }
            let port = self.left.start;
            self.left.start += PAIR;
            if listen(port).and_then(|_first| listen(port + 1)).is_ok() {
                return Ok(port);
            }
        }
    }
}

fn listen(port: u16) -> std::io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
}

static POOL: Mutex<Pool> = Mutex::new(Pool::new());

const LOWEST: u16 = 10_000;
const BLOCK: u16 = 100;
const BLOCKS: u16 = 220;
const PAIR: u16 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_port_is_given_once_with_the_one_after_it_and_lies_below_those_of_the_system() {
        let (mut one, mut other) = (Pool::new(), Pool::new());
        let mut ports: Vec<u16> = (0..120).map(|_| one.next().unwrap()).collect();
        ports.extend((0..120).map(|_| other.next().unwrap()));
        assert!(ports.iter().all(|port| (10_000..32_000).contains(port)), "{ports:?}");
        ports.sort_unstable();
        assert!(ports.windows(2).all(|two| two[1] - two[0] >= 2), "{ports:?}");
    }

    #[test]
    fn a_port_in_use_is_passed_over_also_where_only_the_second_is() {
        let mut pool = Pool::new();
        let port = pool.next().unwrap();
        let _used = listen(port + 3).unwrap();
        assert!(pool.next().unwrap() > port + 2);
    }
}
