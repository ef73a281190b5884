//! The services of the running node's ports, made of its parts. Out of scope: on which port they stand (`running`).

use std::sync::Arc;

use crate::{custody_edge::CustodyEdge, parts::Parts, peer_edge::PeerEdge, subscriptions::peer_edge::NoticesPeerEdge};

pub(super) fn peer_edge(parts: &Parts) -> PeerEdge {
    PeerEdge::new(
        parts.config.exchange.clone(),
        Arc::clone(&parts.view),
        Arc::clone(&parts.answerer),
        Arc::clone(&parts.asker),
        Arc::clone(&parts.comparer),
        parts.peer_connections.clone(),
    )
}

pub(super) fn notices_peer_edge(parts: &Parts) -> NoticesPeerEdge {
    NoticesPeerEdge {
        peers: peer_edge(parts),
        given: Arc::clone(&parts.given),
        answerer: Arc::clone(&parts.answerer),
        view: Arc::clone(&parts.view),
        clock: Arc::clone(&parts.clock),
    }
}

pub(super) fn custody_edge(parts: &Parts) -> CustodyEdge {
    CustodyEdge::new(Arc::clone(&parts.view), Arc::clone(&parts.logs))
}
