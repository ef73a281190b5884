//! The edge of a program: who may be connected, how many at once, and for how long.
//!
//! Everything that a stranger can use up is bounded here, before a request is looked at:
//!
//! | what | limit | what happens |
//! |---|---|---|
//! | handshakes at once ([`ListenerLimits::max_half_open`]) | 256 | the oldest one is cut off |
//! | a handshake, and then the first bytes ([`ListenerLimits::handshake_timeout`]) | 5 s each | cut off |
//! | connections at once ([`ListenerLimits::max_connections`]) | 1,024 | a new one is closed |
//! | connections of one address, or one IPv6 /64 ([`ListenerLimits::max_connections_per_address`]) | 256 | a new one is closed |
//! | a peer that does not read what we write ([`ListenerLimits::write_stall`]) | 20 s | cut off |
//! | the age of a connection ([`ListenerLimits::max_connection_age`]) | 1 h 5 min | cut off, five minutes after HTTP/2 has asked it to go |
//! | requests at once on a connection ([`EdgeLimits::max_concurrent_streams`]) | 256 | the peer waits |
//! | all headers of a request ([`EdgeLimits::max_header_list_bytes`]) | 16 KiB | refused |
//! | a peer that is gone ([`EdgeLimits::keepalive_interval`], [`EdgeLimits::keepalive_timeout`]) | 20 s + 10 s | cut off |
//! | a request until its answer begins ([`EdgeLimits::request_timeout`]) | 30 s | `DEADLINE_EXCEEDED` or `CANCELLED` |
//!
//! Out of scope: the size of messages (set on each gRPC service), rates (each program's own), and who may ask what.

mod connections;
mod limits;
mod listener;
mod stream;

pub use connections::{ConnectionCounts, Connections};
pub use limits::{ChannelLimits, EdgeLimits, ListenerLimits, tuned_endpoint, tuned_server};
pub use listener::{Entrance, Incoming, Listener, Security};
pub use stream::{PeerInfo, PeerStream};

#[cfg(test)]
mod tests;
