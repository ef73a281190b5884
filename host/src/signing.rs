//! Ed25519 signing at the speed of aws-lc (about twice dalek's).
//!
//! Only signing: verification must be one rule for everyone (`verify_strict`) and belongs to `trust`. A signature from
//! here is the RFC 8032 signature, byte for byte, so nobody can tell which library made it.

use std::fmt;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};

/// A signing key of 32 bytes could not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The library refused the seed.
    #[error("the signing key was refused by the cryptographic library")]
    SeedRefused,
}

/// An Ed25519 key that signs.
pub struct FastSigner {
    pair: Ed25519KeyPair,
    public: [u8; 32],
}

impl FastSigner {
    /// The key of an RFC 8032 seed (the 32-byte private key). The caller erases its own copy.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, Error> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| Error::SeedRefused)?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| Error::SeedRefused)?;
        Ok(Self { pair, public })
    }

    /// The public key.
    pub fn public_key(&self) -> [u8; 32] {
        self.public
    }

    /// Signs `message` as RFC 8032 says (pure Ed25519, no context).
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut signature = [0; 64];
        signature.copy_from_slice(self.pair.sign(message).as_ref());
        signature
    }
}

/// Shows the public key alone.
impl fmt::Debug for FastSigner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("FastSigner").field("public", &self.public).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXLOWER;

    // RFC 8032, section 7.1: TEST 1 (no message) and TEST 3 (two bytes).
    const VECTORS: [[&str; 4]; 2] = [
        [
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ],
        [
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ],
    ];

    #[test]
    fn agrees_with_rfc_8032() {
        for [seed, public, message, signature] in VECTORS {
            let seed: [u8; 32] = HEXLOWER.decode(seed.as_bytes()).unwrap().try_into().unwrap();
            let signer = FastSigner::from_seed(&seed).unwrap();
            assert_eq!(HEXLOWER.encode(&signer.public_key()), public);
            let message = HEXLOWER.decode(message.as_bytes()).unwrap();
            assert_eq!(HEXLOWER.encode(&signer.sign(&message)), signature);
        }
    }

    #[test]
    fn debug_shows_no_seed() {
        let seed = [0xA7; 32];
        let shown = format!("{:?}", FastSigner::from_seed(&seed).unwrap());
        assert!(!shown.contains("167, 167"), "{shown}");
    }
}
