//! A party's own TLS key and the certificate it made for it.
//!
//! The file is PEM: the private key and the certificate chain, mode 0600. A certificate from an existing authority can
//! stand in the file as well, with a key of any kind that the TLS library speaks. Out of scope: announcing the key.

use std::fmt;
use std::path::{Path, PathBuf};

use aws_lc_rs::agreement::{ECDH_P256, PrivateKey};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, SignatureAlgorithm};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use super::TlsKeyDigest;
use crate::files;
use crate::random::{self, Random};

/// What can be wrong with a TLS identity.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The certificate in the file is for another key than the one beside it.
    #[error("the certificate and the private key do not belong together")]
    CertificateOfAnotherKey,
    /// The certificate cannot be read.
    #[error("the certificate cannot be read: {0}")]
    CertificateUnreadable(rustls::Error),
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] files::Error),
    /// A key or certificate could not be made.
    #[error("a TLS certificate could not be made: {0}")]
    Generation(String),
    /// The file is not what it should be.
    #[error("{}: {source}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        source: Box<IdentityError>,
    },
    /// There is no certificate.
    #[error("there is no certificate (a line `-----BEGIN CERTIFICATE-----` is expected)")]
    NoCertificate,
    /// There is no private key.
    #[error("there is no private key (a line `-----BEGIN PRIVATE KEY-----` is expected)")]
    NoPrivateKey,
    /// What stands between the PEM lines cannot be read.
    #[error("it is not valid PEM: {0}")]
    NotPem(String),
    /// The private key is of a kind that cannot be used.
    #[error("the private key cannot be used: {0}")]
    PrivateKeyUnusable(rustls::Error),
}

/// A private key with its certificate chain. `Debug` shows the digest alone.
pub struct TlsIdentity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    digest: TlsKeyDigest,
}

impl TlsIdentity {
    /// Makes a new Ed25519 key and a self-signed certificate. `names` (host names or IP addresses) are for people who
    /// look at the certificate; peers go by the key alone. It never expires: what ends a key is the directory.
    pub fn generate(random: &dyn Random, names: &[&str]) -> Result<Self, IdentityError> {
        let unable = |error: &dyn fmt::Display| IdentityError::Generation(error.to_string());
        let seed = Zeroizing::new(random::array::<32>(random));
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_slice()).map_err(|error| unable(&error))?;
        let document = pair.to_pkcs8v1().map_err(|error| unable(&error))?;
        let key = PrivatePkcs8KeyDer::from(document.as_ref().to_vec());

        Self::self_signed(key, &PKCS_ED25519, names)
    }

    /// The same with a P-256 key: for clients that are not of the exchange, and do not all know Ed25519.
    pub fn generate_p256(random: &dyn Random, names: &[&str]) -> Result<Self, IdentityError> {
        let unable = |error: &dyn fmt::Display| IdentityError::Generation(error.to_string());
        // One text in 2^32 is no private key of the curve: then the next is.
        let (secret, private) = loop {
            let secret = Zeroizing::new(random::array::<32>(random));
            if let Ok(private) = PrivateKey::from_private_key(&ECDH_P256, secret.as_slice()) {
                break (secret, private);
            }
        };
        let public = private.compute_public_key().map_err(|error| unable(&error))?;
        let pair = EcdsaKeyPair::from_private_key_and_public_key(
            &ECDSA_P256_SHA256_ASN1_SIGNING,
            secret.as_slice(),
            public.as_ref(),
        )
        .map_err(|error| unable(&error))?;
        let document = pair.to_pkcs8v1().map_err(|error| unable(&error))?;
        Self::self_signed(PrivatePkcs8KeyDer::from(document.as_ref().to_vec()), &PKCS_ECDSA_P256_SHA256, names)
    }

    fn self_signed(
        key: PrivatePkcs8KeyDer<'static>,
        algorithm: &'static SignatureAlgorithm,
        names: &[&str],
    ) -> Result<Self, IdentityError> {
        let unable = |error: &dyn fmt::Display| IdentityError::Generation(error.to_string());
        let signer = KeyPair::from_pkcs8_der_and_sign_algo(&key, algorithm).map_err(|error| unable(&error))?;
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let common_name = names.first().cloned().unwrap_or_else(|| "self-made".to_owned());
        let mut parameters = CertificateParams::new(names).map_err(|error| unable(&error))?;
        parameters.distinguished_name.push(DnType::CommonName, common_name);
        let certificate = parameters.self_signed(&signer).map_err(|error| unable(&error))?;
        Self::from_parts(vec![certificate.der().clone()], key.into())
    }

    /// Reads a private key and a certificate chain, in PEM, in any order.
    pub fn from_pem(pem: &[u8]) -> Result<Self, IdentityError> {
        let chain = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| IdentityError::NotPem(error.to_string()))?;
        let key = PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
            rustls::pki_types::pem::Error::NoItemsFound => IdentityError::NoPrivateKey,
            error => IdentityError::NotPem(error.to_string()),
        })?;
        Self::from_parts(chain, key)
    }

    /// Reads the file `path`; refuses one that others can read.
    pub fn read(path: &Path) -> Result<Self, IdentityError> {
        let pem = files::read_private_file(path)?;
        Self::from_pem(&pem).map_err(|source| IdentityError::InFile { path: path.to_owned(), source: Box::new(source) })
    }

    /// Writes a new file `path` (mode 0600).
    pub fn write(&self, path: &Path) -> Result<(), IdentityError> {
        Ok(files::write_private_file(path, self.to_pem().as_bytes())?)
    }

    /// Private key and certificate chain in PEM. A secret.
    pub fn to_pem(&self) -> Zeroizing<String> {
        let label = match &self.key {
            PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
            PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
            _ => "PRIVATE KEY",
        };
        let mut pem = Zeroizing::new(String::new());
        push_pem(&mut pem, label, self.key.secret_der());
        for certificate in &self.chain {
            push_pem(&mut pem, "CERTIFICATE", certificate);
        }
        pem
    }

    /// The certificate, DER, as peers see it.
    pub fn certificate_der(&self) -> &[u8] {
        &self.chain[0]
    }

    /// The digest by which peers know the key.
    pub fn key_digest(&self) -> TlsKeyDigest {
        self.digest
    }

    pub(super) fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.chain.clone()
    }

    pub(super) fn key(&self) -> PrivateKeyDer<'static> {
        self.key.clone_key()
    }

    fn from_parts(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Self, IdentityError> {
        let certificate = chain.first().ok_or(IdentityError::NoCertificate)?;
        let digest = TlsKeyDigest::of_certificate(certificate).map_err(IdentityError::CertificateUnreadable)?;
        let signer =
            rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).map_err(IdentityError::PrivateKeyUnusable)?;
        // Without this check the mistake would show only at the first handshake, as an alert.
        let public = signer.public_key().ok_or(IdentityError::CertificateOfAnotherKey)?;
        if TlsKeyDigest::of_public_key_info(&public) != digest {
            return Err(IdentityError::CertificateOfAnotherKey);
        }
        Ok(Self { chain, key, digest })
    }
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TlsIdentity").field("digest", &self.digest).finish_non_exhaustive()
    }
}

fn push_pem(pem: &mut String, label: &str, der: &[u8]) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    pem.push_str(&format!("-----BEGIN {label}-----\n"));
    // 48 bytes make the 64 characters of a PEM line.
    for line in der.chunks(48) {
        for triple in line.chunks(3) {
            let bits = triple.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - triple.len()));
            for position in 0..4 {
                match position <= triple.len() {
                    true => pem.push(char::from(ALPHABET[(bits >> (18 - 6 * position)) as usize & 63])),
                    false => pem.push('='),
                }
            }
        }
        pem.push('\n');
    }
    pem.push_str(&format!("-----END {label}-----\n"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SeededRandom;

    fn identity(seed: u64) -> TlsIdentity {
        TlsIdentity::generate(&SeededRandom::new(seed), &["civil-affairs.example", "127.0.0.1"]).unwrap()
    }

    #[test]
    fn the_same_seed_makes_the_same_key_and_another_seed_another() {
        assert_eq!(identity(1).key_digest(), identity(1).key_digest());
        assert_ne!(identity(1).key_digest(), identity(2).key_digest());
    }

    #[test]
    fn a_p256_identity_is_made_and_read_back() {
        let made = TlsIdentity::generate_p256(&SeededRandom::new(3), &["desk.example", "10.0.0.7"]).unwrap();
        let read = TlsIdentity::from_pem(made.to_pem().as_bytes()).unwrap();
        assert_eq!(read.key_digest(), made.key_digest());
        assert_ne!(made.key_digest(), identity(3).key_digest());
    }

    #[test]
    fn an_identity_survives_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tls.pem");
        let written = identity(1);
        written.write(&path).unwrap();
        let read = TlsIdentity::read(&path).unwrap();
        assert_eq!(read.key_digest(), written.key_digest());
        assert_eq!(read.certificate_der(), written.certificate_der());
        assert_eq!(read.to_pem(), written.to_pem());
    }

    #[test]
    fn the_digest_is_that_of_the_ed25519_key() {
        // SubjectPublicKeyInfo of Ed25519: a fixed prefix (RFC 8410) and the 32 bytes of the key.
        let seed: [u8; 32] = random::array(&SeededRandom::new(5));
        let public = crate::signing::FastSigner::from_seed(&seed).unwrap().public_key();
        let prefix = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
        let expected = TlsKeyDigest::of_public_key_info(&[prefix.as_slice(), &public].concat());
        assert_eq!(identity(5).key_digest(), expected);
    }

    #[test]
    fn a_file_with_parts_of_two_identities_is_refused() {
        let (first, second) = (identity(1), identity(2));
        let mut pem = String::new();
        push_pem(&mut pem, "PRIVATE KEY", first.key.secret_der());
        push_pem(&mut pem, "CERTIFICATE", second.certificate_der());
        assert!(matches!(TlsIdentity::from_pem(pem.as_bytes()), Err(IdentityError::CertificateOfAnotherKey)));
    }

    #[test]
    fn a_file_without_a_part_says_which() {
        let identity = identity(1);
        let mut key = String::new();
        push_pem(&mut key, "PRIVATE KEY", identity.key.secret_der());
        assert!(matches!(TlsIdentity::from_pem(key.as_bytes()), Err(IdentityError::NoCertificate)));
        let mut certificate = String::new();
        push_pem(&mut certificate, "CERTIFICATE", identity.certificate_der());
        assert!(matches!(TlsIdentity::from_pem(certificate.as_bytes()), Err(IdentityError::NoPrivateKey)));

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tls.pem");
        files::write_private_file(&path, key.as_bytes()).unwrap();
        let error = TlsIdentity::read(&path).unwrap_err().to_string();
        assert!(error.ends_with("tls.pem: there is no certificate (a line `-----BEGIN CERTIFICATE-----` is expected)"));
    }

    #[test]
    fn debug_shows_no_key() {
        let identity = identity(1);
        assert_eq!(format!("{identity:?}"), format!("TlsIdentity {{ digest: {:?}, .. }}", identity.key_digest()));
    }
}
