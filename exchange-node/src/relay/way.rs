//! The caller's side: a way to a node that leads through a relay. Out of scope: the TLS that then flows through it, which
//! is the connector's and holds the node to its key.

use host::tls::{Address, ConnectError, Opening, Way};
use proto::exchange::v1::{RelayCall, relay_message::Body};
use trust::directory::model::Node;

use super::{Error, receive, send};

/// A way to a node through a relay.
#[derive(Debug)]
pub struct RelayedWay {
    name: String,
    relay: String,
    tls_key: [u8; 32],
}

impl RelayedWay {
    /// To the node with this TLS key, through the relay at `host:port`.
    pub fn new(relay: &str, tls_key: [u8; 32]) -> Self {
        // Not a host name, so that the TLS library asks for none.
        Self { name: format!("relay {relay}"), relay: relay.to_owned(), tls_key }
    }
}

impl Way for RelayedWay {
    fn name(&self) -> &str {
        &self.name
    }

    fn open(&self) -> Opening<'_> {
        Box::pin(async move {
            let mut stream = Address::dial(&self.relay).await?;
            let not_leading =
                |error: Error| ConnectError::NotLeading { address: self.name.clone(), reason: error.to_string() };
            let call = Body::Call(RelayCall { tls_key: self.tls_key.to_vec() });
            send(&mut stream, call).await.map_err(not_leading)?;
            match receive(&mut stream).await.map_err(not_leading)? {
                Body::Joined(_) => Ok(stream),
                Body::Refused(refused) => Err(not_leading(Error::Refused(printable(&refused.reason)))),
                _ => Err(not_leading(Error::Malformed)),
            }
        })
    }
}

/// Every way to a node: its addresses, then its relays.
pub fn ways_to(node: &Node) -> Vec<std::sync::Arc<dyn Way>> {
    let direct = node.addresses.iter().map(|address| std::sync::Arc::new(Address::new(address)) as _);
    let relayed = node.relays.iter().map(|relay| std::sync::Arc::new(RelayedWay::new(relay, node.tls_key)) as _);
    direct.chain(relayed).collect()
}

/// A reason that came from outside, fit for a log.
pub(super) fn printable(reason: &str) -> String {
    reason.chars().filter(|character| character.is_ascii_graphic()).take(60).collect()
}
