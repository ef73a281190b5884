//! The two checks of a handshake: is this key welcome, and does the peer hold it?
//!
//! The first is ours, the second is rustls' own verification of the CertificateVerify signature; leaving the second out
//! would let anybody in who has once seen a certificate. Out of scope: chains, names and dates, which mean nothing here.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme};

use super::TlsKeyDigest;

/// Says which keys are welcome. Asked at each handshake, so it may change its mind at any time; a connection that stands
/// is not asked again (see [`crate::edge::Connections::close_connections_of`]).
pub trait PeerPolicy: Send + Sync {
    /// Whether a peer with this key may connect.
    fn accepts(&self, key: &TlsKeyDigest) -> bool;
}

/// Exactly these keys.
#[derive(Debug, Clone)]
pub struct PinnedKeys(Arc<[TlsKeyDigest]>);

impl PinnedKeys {
    /// Accepts the keys given and no others; none at all when there are none.
    pub fn new(keys: impl IntoIterator<Item = TlsKeyDigest>) -> Self {
        Self(keys.into_iter().collect())
    }
}

impl PeerPolicy for PinnedKeys {
    fn accepts(&self, key: &TlsKeyDigest) -> bool {
        self.0.contains(key)
    }
}

/// Any key: for a port where the key is only remembered and judged later, request by request.
#[derive(Debug, Clone, Copy)]
pub struct AnyKey;

impl PeerPolicy for AnyKey {
    fn accepts(&self, _: &TlsKeyDigest) -> bool {
        true
    }
}

/// The peer holds a key, but not one that is welcome.
#[derive(Debug, thiserror::Error)]
#[error("the peer has the TLS key {presented}, which is not the one expected of it")]
pub(super) struct UnexpectedKey {
    pub(super) presented: TlsKeyDigest,
}

/// Checks either side's certificate against a policy.
pub(super) struct KeyVerifier {
    policy: Arc<dyn PeerPolicy>,
    provider: Arc<CryptoProvider>,
    /// Whether a client may come without a key, and over TLS 1.2.
    lenient: bool,
}

impl KeyVerifier {
    pub(super) fn new(policy: Arc<dyn PeerPolicy>, provider: Arc<CryptoProvider>) -> Self {
        Self { policy, provider, lenient: false }
    }

    /// For a port whose clients may also say above TLS who they are, and may be old.
    pub(super) fn for_anybody(self) -> Self {
        Self { lenient: true, ..self }
    }

    fn check_key(&self, certificate: &CertificateDer<'_>) -> Result<(), UnwelcomeKey> {
        let presented = TlsKeyDigest::of_certificate(certificate).map_err(UnwelcomeKey::Unreadable)?;
        match self.policy.accepts(&presented) {
            true => Ok(()),
            false => Err(UnwelcomeKey::Unexpected(presented)),
        }
    }

    fn check_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

enum UnwelcomeKey {
    Unexpected(TlsKeyDigest),
    Unreadable(Error),
}

impl fmt::Debug for KeyVerifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("KeyVerifier").finish_non_exhaustive()
    }
}

impl ServerCertVerifier for KeyVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.check_key(end_entity) {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            Err(UnwelcomeKey::Unreadable(error)) => Err(error),
            // Carries the key, so that the client can say which one it met.
            Err(UnwelcomeKey::Unexpected(presented)) => {
                Err(CertificateError::Other(OtherError(Arc::new(UnexpectedKey { presented }))).into())
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(refuse_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

impl ClientCertVerifier for KeyVerifier {
    fn client_auth_mandatory(&self) -> bool {
        !self.lenient
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match self.check_key(end_entity) {
            Ok(()) => Ok(ClientCertVerified::assertion()),
            Err(UnwelcomeKey::Unreadable(error)) => Err(error),
            // The client is sent the alert `access_denied`.
            Err(UnwelcomeKey::Unexpected(presented)) => {
                tracing::debug!(key = %presented, "a client's TLS key is not welcome");
                Err(CertificateError::ApplicationVerificationFailure.into())
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if !self.lenient {
            return Err(refuse_tls12());
        }
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

fn refuse_tls12() -> Error {
    Error::General("only TLS 1.3 is spoken".to_owned())
}
