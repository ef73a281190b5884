//! TLS 1.3 between parties that know each other's key, not each other's name.
//!
//! There is no certificate authority. A party makes its own certificate ([`TlsIdentity`]), and the other side accepts
//! exactly the keys it was told of: a [`TlsKeyDigest`] is the SHA-256 of the key (its SubjectPublicKeyInfo), and a
//! [`PeerPolicy`] says which digests are welcome. Names, validity dates and issuers in certificates count for nothing.
//! What does count, and is checked at each handshake by the TLS library's own code, is that the peer signs with the key
//! that the digest was taken of; nothing is ever resumed without that check.
//!
//! Only TLS 1.3 is spoken, but on a port for programs that are not of the exchange ([`ServerTls::for_anybody`]). The key
//! exchange prefers X25519MLKEM768, so that what is recorded today cannot be opened by a quantum computer tomorrow.
//!
//! Out of scope: who is entitled to which key (the directory's business), and connections as such ([`crate::edge`]).

mod client;
mod cut;
mod identity;
mod key_digest;
mod server;
mod verifier;
mod ways;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

pub use client::{ConnectError, ConnectorOptions, PeerConnector};
pub use cut::CutStream;
pub use identity::{IdentityError, TlsIdentity};
pub use key_digest::{KeyDigestInvalid, TlsKeyDigest};
pub use server::{ClientAuthentication, ServerTls};
pub use verifier::{AnyKey, PeerPolicy, PinnedKeys};
pub use ways::{Address, Opening, Way};

/// The protocol of gRPC in the TLS handshake.
pub const ALPN_HTTP2: &[u8] = b"h2";
/// The protocol of plain HTTP in the TLS handshake.
pub const ALPN_HTTP1: &[u8] = b"http/1.1";

/// TLS could not be set up from a key and its certificate.
#[derive(Debug, thiserror::Error)]
#[error("the TLS key and certificate cannot be used together: {0}")]
pub struct SetupError(#[from] rustls::Error);

/// aws-lc-rs, with X25519MLKEM768 first (rustls' feature `prefer-post-quantum`).
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

#[cfg(test)]
mod tests;
