//! The limits of a port in numbers, and how they are handed to tonic.
//!
//! The defaults are for a node among some hundreds of peers on a machine with a few cores; a registry holds more connections.
//! Out of scope: keeping to them (`listener`, `stream`).

use std::{net::IpAddr, sync::Arc, time::Duration};

use tonic::transport::{Endpoint, Server};

/// Limits that the listener keeps, below HTTP.
#[derive(Debug, Clone)]
pub struct ListenerLimits {
    /// The time for a TLS handshake, and again for the first 24 bytes after it (HTTP/2's preface).
    pub handshake_timeout: Duration,
    /// How many handshakes may be under way. Above it the oldest is cut off: an honest one takes milliseconds, so in a
    /// flood the oldest are the attacker's.
    pub max_half_open: usize,
    /// How many connections may stand, those in a handshake included.
    pub max_connections: usize,
    /// How many of them may come from one IPv4 address or one IPv6 /64.
    pub max_connections_per_address: usize,
    /// Addresses that stand for many: of load balancers, which pass connections on under their own. They may take any place.
    pub balancers: Arc<[IpAddr]>,
    /// How long a write may make no progress at all.
    pub write_stall: Duration,
    /// The age at which a connection is cut off, whatever it is doing. Keep it above
    /// [`EdgeLimits::connection_age`], at which the peer is asked politely.
    pub max_connection_age: Duration,
}

impl Default for ListenerLimits {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(5),
            max_half_open: 256,
            max_connections: 1024,
            max_connections_per_address: 256,
            balancers: Arc::default(),
            write_stall: Duration::from_secs(20),
            max_connection_age: Duration::from_secs(65 * 60),
        }
    }
}

impl ListenerLimits {
    /// Whether whoever calls from there is one of many.
    pub(super) fn is_balancer(&self, remote: IpAddr) -> bool {
        self.balancers.iter().any(|balancer| balancer.to_canonical() == remote.to_canonical())
    }
}

/// Limits that the HTTP/2 server keeps.
#[derive(Debug, Clone, Copy)]
pub struct EdgeLimits {
    /// Requests at once on one connection. With the size limit of messages it bounds a connection's memory.
    pub max_concurrent_streams: u32,
    /// All headers of a request together.
    pub max_header_list_bytes: u32,
    /// The largest HTTP/2 frame.
    pub max_frame_bytes: u32,
    /// How much a peer may send on one stream before we have read it.
    pub stream_window_bytes: u32,
    /// How much a peer may send on one connection before we have read it.
    pub connection_window_bytes: u32,
    /// How often a quiet peer is asked whether it lives.
    pub keepalive_interval: Duration,
    /// How long it may take to answer that.
    pub keepalive_timeout: Duration,
    /// How long a request may take until its answer begins, the reading of its message included.
    pub request_timeout: Duration,
    /// The age at which a peer is asked to connect anew; what is under way is finished.
    pub connection_age: Duration,
}

impl Default for EdgeLimits {
    fn default() -> Self {
        Self {
            max_concurrent_streams: 256,
            max_header_list_bytes: 16 * 1024,
            max_frame_bytes: 16 * 1024,
            stream_window_bytes: 128 * 1024,
            connection_window_bytes: 1024 * 1024,
            keepalive_interval: Duration::from_secs(20),
            keepalive_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            connection_age: Duration::from_secs(60 * 60),
        }
    }
}

/// A tonic server that keeps `limits`; the size of messages is set on each service.
pub fn tuned_server(limits: &EdgeLimits) -> Server {
    Server::builder()
        .max_concurrent_streams(limits.max_concurrent_streams)
        .http2_max_header_list_size(limits.max_header_list_bytes)
        .max_frame_size(limits.max_frame_bytes)
        .initial_stream_window_size(limits.stream_window_bytes)
        .initial_connection_window_size(limits.connection_window_bytes)
        .http2_keepalive_interval(Some(limits.keepalive_interval))
        .http2_keepalive_timeout(Some(limits.keepalive_timeout))
        .timeout(limits.request_timeout)
        // Not together with `max_connection_age_grace`: with both, tonic 0.14.9 sleeps through the age, then the grace,
        // and cuts off without ever having asked. The listener does the cutting instead.
        .max_connection_age(limits.connection_age)
}

/// How a client's channel behaves.
#[derive(Debug, Clone, Copy)]
pub struct ChannelLimits {
    /// The time for connecting.
    pub connect_timeout: Duration,
    /// How long a request may take until its answer begins.
    pub request_timeout: Duration,
    /// How often a quiet server is asked whether it lives, also while nothing is under way.
    pub keepalive_interval: Duration,
    /// How long it may take to answer that.
    pub keepalive_timeout: Duration,
    /// How much the server may send on one stream before we have read it.
    pub stream_window_bytes: u32,
    /// How much the server may send on one connection before we have read it.
    pub connection_window_bytes: u32,
}

impl Default for ChannelLimits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(3),
            request_timeout: Duration::from_secs(30),
            keepalive_interval: Duration::from_secs(20),
            keepalive_timeout: Duration::from_secs(10),
            stream_window_bytes: 128 * 1024,
            connection_window_bytes: 1024 * 1024,
        }
    }
}

/// An endpoint for a connector of our own; its URI names nobody, because the connector knows where to go.
pub fn tuned_endpoint(limits: &ChannelLimits) -> Endpoint {
    Endpoint::from_static("http://peer")
        .connect_timeout(limits.connect_timeout)
        .timeout(limits.request_timeout)
        .http2_keep_alive_interval(limits.keepalive_interval)
        .keep_alive_timeout(limits.keepalive_timeout)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(limits.stream_window_bytes)
        .initial_connection_window_size(limits.connection_window_bytes)
        .http2_max_header_list_size(16 * 1024)
}
