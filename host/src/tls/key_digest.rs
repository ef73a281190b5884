//! The name of a TLS key: the SHA-256 of its DER SubjectPublicKeyInfo.
//!
//! Out of scope: certificates; many may carry one key.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;
use rustls::pki_types::CertificateDer;
use rustls::server::ParsedCertificate;

/// The SHA-256 of a key's DER SubjectPublicKeyInfo.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TlsKeyDigest([u8; 32]);

/// A text is not the digest of a TLS key.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a TLS key digest: 64 hexadecimal digits are expected")]
pub struct KeyDigestInvalid(String);

impl TlsKeyDigest {
    /// The digest of these 32 bytes, as a statement holds them.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The digest of a DER SubjectPublicKeyInfo.
    pub fn of_public_key_info(der: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, der).as_ref());
        Self(bytes)
    }

    /// The digest of the key in a certificate. The same parser reads it that the handshake's signature check uses, so
    /// that a crafted certificate cannot show one key here and another there.
    pub fn of_certificate(certificate: &CertificateDer<'_>) -> Result<Self, rustls::Error> {
        Ok(Self::of_public_key_info(&ParsedCertificate::try_from(certificate)?.subject_public_key_info()))
    }
}

impl fmt::Display for TlsKeyDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for TlsKeyDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "TlsKeyDigest({self})")
    }
}

impl FromStr for TlsKeyDigest {
    type Err = KeyDigestInvalid;

    fn from_str(text: &str) -> Result<Self, KeyDigestInvalid> {
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let mut bytes = [0; 32];
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if pairs.len() != bytes.len() || !rest.is_empty() {
            return Err(KeyDigestInvalid(text.to_owned()));
        }
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => *byte = high << 4 | low,
                _ => return Err(KeyDigestInvalid(text.to_owned())),
            }
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_as_it_is_written() {
        let digest = TlsKeyDigest::of_public_key_info(b"key");
        let text = digest.to_string();
        assert_eq!(text, "2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683");
        assert_eq!(text.parse::<TlsKeyDigest>().unwrap(), digest);
        for wrong in ["", "2c70", &text[1..], &text.replace("2c", "2g"), &format!("{text}00"), &"é".repeat(32)] {
            assert!(wrong.parse::<TlsKeyDigest>().is_err(), "{wrong}");
        }
    }
}
