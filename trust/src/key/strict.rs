//! Strict verification of Ed25519 at the price of the plain one: the same answer as `VerifyingKey::verify_strict` for every
//! key, message and signature, without a square root for each signature. Nothing of the curve is computed here. Out of scope: which
//! key may sign what (`key`), and verifying many signatures at once, which nobody here does.

use std::sync::LazyLock;

use curve25519_dalek::constants::EIGHT_TORSION;
use ed25519_dalek::{Signature, Verifier as _, VerifyingKey};

/// How the eight points of small order are written.
static SMALL_ORDER: LazyLock<[[u8; 32]; 8]> = LazyLock::new(|| EIGHT_TORSION.map(|point| point.compress().0));

/// Whether the signature over the message is the key's, strictly: neither the key nor the signature's R is of small order.
///
/// `verify_strict` decodes R for that, which is a fifth of its time. The plain check computes R from the rest and compares
/// how the two are *written* (RFC 8032, 5.1.7, without the cofactor): where it holds, R is written in the one canonical way,
/// and is of small order exactly if it is one of eight texts. Batches of signatures are another thing, and not used: a batch
/// can hold where one of its signatures alone does not.
pub(crate) fn verifies(key: &VerifyingKey, message: &[u8], signature: &Signature) -> bool {
    !key.is_weak() && !SMALL_ORDER.contains(signature.r_bytes()) && key.verify(message, signature).is_ok()
}

#[cfg(test)]
mod tests {
    use curve25519_dalek::{EdwardsPoint, Scalar, constants::ED25519_BASEPOINT_POINT};
    use ed25519_dalek::{Signer as _, SigningKey};
    use proptest::prelude::*;
    use sha2::{Digest as _, Sha512};

    use super::*;

    /// What RFC 8032 hashes.
    fn hashed(r: &[u8; 32], key: &[u8; 32], message: &[u8]) -> Scalar {
        let hash = Sha512::new().chain_update(r).chain_update(key).chain_update(message).finalize();
        Scalar::from_bytes_mod_order_wide(&hash.into())
    }

    /// A signature with this R, which fits as far as the secret can make it fit.
    fn with_r(r: [u8; 32], nonce: Scalar, secret: &SigningKey, key: &VerifyingKey, message: &[u8]) -> Signature {
        let s = nonce + hashed(&r, key.as_bytes(), message) * secret.to_scalar();
        Signature::from_components(r, s.to_bytes())
    }

    fn agree(key: &VerifyingKey, message: &[u8], signature: &Signature) -> bool {
        let strict = key.verify_strict(message, signature).is_ok();
        assert_eq!(verifies(key, message, signature), strict, "{signature:?}");
        strict
    }

    /// The signer itself can make a signature whose R is nothing: the plain check takes it, the strict one does not.
    #[test]
    fn a_signature_whose_r_is_of_small_order_is_refused_though_it_fits() {
        let secret = SigningKey::from_bytes(&[7; 32]);
        let key = secret.verifying_key();
        let mut taken = 0;
        for point in EIGHT_TORSION {
            for number in 0..16_u8 {
                let signature = with_r(point.compress().0, Scalar::ZERO, &secret, &key, &[number]);
                taken += u32::from(key.verify(&[number], &signature).is_ok());
                assert!(!agree(&key, &[number], &signature));
            }
        }
        assert_eq!(taken, 16, "the plain check takes those whose R is the identity");
    }

    /// Points with a part of small order, in R and in the key, and ways to write R that are not the canonical one.
    #[test]
    fn points_with_a_part_of_small_order_are_judged_as_the_library_judges_them() {
        let secret = SigningKey::from_bytes(&[9; 32]);
        let (key, nonce) = (secret.verifying_key(), Scalar::from(1_234_567_u64));
        let plain = ED25519_BASEPOINT_POINT * nonce;
        let mut held = 0;
        for torsion in EIGHT_TORSION {
            let r: EdwardsPoint = plain + torsion;
            let mixed = ED25519_BASEPOINT_POINT * secret.to_scalar() + torsion;
            let mixed = VerifyingKey::from_bytes(&mixed.compress().0).unwrap();
            let weak = VerifyingKey::from_bytes(&torsion.compress().0).unwrap();
            for number in 0..32_u8 {
                for key in [key, mixed] {
                    let signature = with_r(r.compress().0, nonce, &secret, &key, &[number]);
                    held += u32::from(agree(&key, &[number], &signature));
                    let signature = with_r(plain.compress().0, nonce, &secret, &key, &[number]);
                    held += u32::from(agree(&key, &[number], &signature));
                }
                assert!(!agree(&weak, &[number], &Signature::from_components(torsion.compress().0, [0; 32])));
            }
        }
        assert!(held > 128, "those without such a part hold, and some where two such parts are one: {held}");
        // The identity, written with y = p + 1, and with a sign that zero does not have.
        let mut beyond = [0xff; 32];
        (beyond[0], beyond[31]) = (0xee, 0x7f);
        let mut signed = [0; 32];
        (signed[0], signed[31]) = (1, 0x80);
        for r in [beyond, signed] {
            assert!(!agree(&key, b"m", &with_r(r, Scalar::ZERO, &secret, &key, b"m")));
        }
    }

    proptest! {
        #[test]
        fn what_was_signed_holds_and_nothing_near_it(seed: [u8; 32], message: Vec<u8>, at in 0..64_usize, bit in 0..8_u8) {
            let secret = SigningKey::from_bytes(&seed);
            let signature = secret.sign(&message);
            prop_assert!(agree(&secret.verifying_key(), &message, &signature));
            let mut bytes = signature.to_bytes();
            bytes[at] ^= 1 << bit;
            prop_assert!(!agree(&secret.verifying_key(), &message, &Signature::from_bytes(&bytes)));
        }
    }
}
