//! peer_edge
