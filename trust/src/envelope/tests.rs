//! Envelopes and attestations: what opens, and that nothing altered does.

use proptest::prelude::*;

use super::*;
use crate::key::SigningKey;

const LIMIT: usize = 10_000;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

fn request() -> wire::Request {
    wire::Request { exchange_id: "ninghe".into(), request_id: vec![9; 32], ..Default::default() }
}

fn only(key: &SigningKey) -> impl Fn(&KeyId) -> Option<PublicKey> {
    let key = key.public_key().clone();
    move |id| (id == key.id()).then(|| key.clone())
}

/// The example of DSSE's protocol.md: PAE("http://example.com/HelloWorld", "hello world").
#[test]
fn encodes_as_dsse_says() {
    assert_eq!(
        pre_authentication_encoding("http://example.com/HelloWorld", b"hello world"),
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    );
}

#[test]
fn what_was_sealed_opens_with_the_same_identity() {
    let signer = key(1);
    let (envelope, sealed) = seal(&request(), &signer);
    let opened = open::<wire::Request>(&envelope, LIMIT, only(&signer)).unwrap();
    assert_eq!(opened.message, request());
    assert_eq!(opened.digest, sealed);
    assert_eq!(&opened.key_id, signer.public_key().id());
}

#[test]
fn another_type_another_key_and_other_bytes_do_not_open() {
    let signer = key(1);
    let (envelope, _) = seal(&request(), &signer);
    assert!(matches!(open::<wire::Answer>(&envelope, LIMIT, only(&signer)), Err(EnvelopeError::WrongType { .. })));
    assert_eq!(open::<wire::Request>(&envelope, LIMIT, only(&key(2))).unwrap_err(), EnvelopeError::KeyUnknown);
    assert!(matches!(open::<wire::Request>(&envelope, 3, only(&signer)), Err(EnvelopeError::TooLarge { .. })));
    let mut retyped = envelope.clone();
    retyped.payload_type = wire::Answer::TYPE.into();
    assert_eq!(open::<wire::Answer>(&retyped, LIMIT, only(&signer)).unwrap_err(), EnvelopeError::SignatureWrong);
    let mut unsigned = envelope.clone();
    unsigned.signatures.clear();
    assert_eq!(open::<wire::Request>(&unsigned, LIMIT, only(&signer)).unwrap_err(), EnvelopeError::SignatureCount);
    let mut crowded = envelope;
    crowded.signatures = vec![crowded.signatures[0].clone(); MOST_SIGNATURES + 1];
    assert_eq!(open::<wire::Request>(&crowded, LIMIT, only(&signer)).unwrap_err(), EnvelopeError::SignatureCount);
}

/// Two keys may sign one message; a foreign signature beside the right one does no harm, a broken right one does.
#[test]
fn several_signatures() {
    let (first, second) = (key(1), key(2));
    let (mut envelope, _) = seal(&request(), &first);
    envelope.signatures.insert(0, seal(&request(), &second).0.signatures.remove(0));
    assert!(open::<wire::Request>(&envelope, LIMIT, only(&first)).is_ok());
    assert!(open::<wire::Request>(&envelope, LIMIT, only(&second)).is_ok());
    envelope.signatures[0].sig[0] ^= 1;
    assert_eq!(open::<wire::Request>(&envelope, LIMIT, only(&second)).unwrap_err(), EnvelopeError::SignatureWrong);
}

fn attested(signer: &SigningKey, count: u8, index: usize) -> wire::Attestation {
    let messages: Vec<wire::Request> =
        (0..count).map(|number| wire::Request { request_id: vec![number; 32], ..request() }).collect();
    let salt = [5; 32];
    let leaves: Vec<Hash> = messages
        .iter()
        .map(|message| attestation_leaf(&salt, &digest(wire::Request::TYPE, &message.encode_to_vec())))
        .collect();
    fn root(leaves: &[Hash]) -> Hash {
        if leaves.len() == 1 {
            return leaves[0];
        }
        let split = leaves.len().next_power_of_two() / 2;
        crate::log::hash::node_hash(&root(&leaves[..split]), &root(&leaves[split..]))
    }
    fn path(leaves: &[Hash], index: usize) -> Vec<Hash> {
        if leaves.len() == 1 {
            return Vec::new();
        }
        let split = leaves.len().next_power_of_two() / 2;
        let (mut hashes, other) = if index < split {
            (path(&leaves[..split], index), root(&leaves[split..]))
        } else {
            (path(&leaves[split..], index - split), root(&leaves[..split]))
        };
        hashes.push(other);
        hashes
    }
    let signed_root =
        wire::AttestationRoot { size: u64::from(count), root: root(&leaves).as_bytes().to_vec(), signed_at_ms: 1 };
    wire::Attestation {
        payload: messages[index].encode_to_vec(),
        payload_type: wire::Request::TYPE.into(),
        salt: salt.to_vec(),
        index: index as u64,
        path: path(&leaves, index).iter().map(|hash| hash.as_bytes().to_vec()).collect(),
        root: Some(seal(&signed_root, signer).0),
    }
}

#[test]
fn an_attestation_opens_like_an_envelope_and_nothing_altered_does() {
    let signer = key(3);
    for count in [1, 2, 7, 8, 13] {
        for index in 0..usize::from(count) {
            let attestation = attested(&signer, count, index);
            let wrap = |attestation| wire::Signed { form: Some(wire::signed::Form::Attestation(attestation)) };
            let opened = open_signed::<wire::Request>(&wrap(attestation.clone()), LIMIT, only(&signer)).unwrap();
            assert_eq!(opened.message.request_id, vec![u8::try_from(index).unwrap(); 32]);
            let mut other_payload = attestation.clone();
            other_payload.payload = wire::Request { officer: "1024".into(), ..request() }.encode_to_vec();
            let mut other_salt = attestation.clone();
            other_salt.salt[0] ^= 1;
            let mut other_index = attestation.clone();
            other_index.index += 1;
            let mut longer_path = attestation;
            longer_path.path.push(vec![0; 32]);
            for altered in [other_payload, other_salt, other_index, longer_path] {
                assert_eq!(
                    open_signed::<wire::Request>(&wrap(altered), LIMIT, only(&signer)).unwrap_err(),
                    EnvelopeError::PathWrong
                );
            }
        }
    }
}

proptest! {
    #[test]
    fn one_flipped_bit_of_the_payload_or_signature_is_refused(bit in 0usize..800) {
        let signer = key(1);
        let (mut envelope, _) = seal(&request(), &signer);
        let payload_bits = envelope.payload.len() * 8;
        let signature = &mut envelope.signatures[0].sig;
        let bit = bit % (payload_bits + signature.len() * 8);
        if bit < payload_bits {
            envelope.payload[bit / 8] ^= 1 << (bit % 8);
        } else {
            let bit = bit - payload_bits;
            signature[bit / 8] ^= 1 << (bit % 8);
        }
        prop_assert_eq!(
            open::<wire::Request>(&envelope, LIMIT, only(&signer)).unwrap_err(),
            EnvelopeError::SignatureWrong
        );
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(signed) = wire::Signed::decode(bytes.as_slice()) {
            let _ = open_signed::<wire::Request>(&signed, LIMIT, only(&key(1)));
            let _ = peek::<wire::Request>(&signed, LIMIT);
        }
    }
}
