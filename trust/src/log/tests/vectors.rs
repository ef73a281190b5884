//! The committed vectors: what a second implementation must make and accept to the byte.
//!
//! `UPDATE_VECTORS=1` writes them anew; a change in them is a change of the protocol.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::*;
use crate::log::bundle::EntryBundle;
use crate::log::checkpoint::open;
use crate::log::note::SignedNote;
use crate::log::proof::{consistency_proof, inclusion_proof, verify_consistency, verify_inclusion};
use crate::log::tile::encode_tile;
use crate::log::tlog_proof::TlogProof;

/// How many entries the log in the vectors has. Entry N is the text `entry N`.
const SIZE: u64 = 300;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vectors/log").join(name)
}

pub(super) fn read(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn assert_vector(name: &str, bytes: &[u8]) {
    if std::env::var_os("UPDATE_VECTORS").is_some() {
        std::fs::write(path(name), bytes).unwrap();
    }
    let committed = read(name);
    assert!(committed == bytes, "{name} is not what is made now: {}", String::from_utf8_lossy(bytes));
}

/// Names in alphabetical order, whatever serde_json was built to do.
fn assert_json_vector(name: &str, value: &Value) {
    assert_vector(name, format!("{value:#}\n").as_bytes());
}

fn base64(hashes: &[Hash]) -> Vec<String> {
    hashes.iter().map(Hash::to_base64).collect()
}

#[test]
fn keys() {
    let log = log_key();
    assert_vector("log.vkey", format!("{}\n", log.plain()).as_bytes());
    let of = |key: TestKey, vkeys: Vec<String>, seed: u8| {
        let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
        json!({ "public_key": hex(&key.public_key()), "seed": hex(&[seed; 32]), "vkeys": vkeys })
    };
    let keys = json!({
        "log": of(TestKey::log(), vec![log.plain().to_string(), log.cosigning().to_string()], 1),
        "witness": of(TestKey::witness(), vec![witness_key().to_string()], 2),
    });
    assert_json_vector("keys.json", &keys);
}

#[test]
fn checkpoints() {
    let log = TestLog::with_size(SIZE);
    let text = signed_checkpoint(SIZE, log.frontier.root());
    assert_vector("checkpoint.txt", text.as_bytes());

    let verified = open(text.as_bytes(), &log_key()).unwrap();
    let cosignature = verified.cosign(&witness_key(), TIME + 5, |message| TestKey::witness().sign(message)).unwrap();
    let mut note = verified.note().clone();
    note.add_signature(cosignature).unwrap();
    assert_vector("witnessed-checkpoint.txt", note.to_string().as_bytes());

    assert_vector("empty-checkpoint.txt", signed_checkpoint(0, empty_root()).as_bytes());
}

#[test]
fn proofs() {
    let log = TestLog::with_size(SIZE);
    let inclusion = |index: u64, size: u64| {
        let proof = inclusion_proof(&log, index, size).unwrap();
        let (leaf, root) = (log.leaves[index as usize], log.root_at(size));
        verify_inclusion(&leaf, index, size, &proof, &root).unwrap();
        json!({
            "index": index,
            "leaf_hash": leaf.to_base64(),
            "proof": base64(&proof),
            "root": root.to_base64(),
            "size": size,
        })
    };
    let consistency = |old: u64, new: u64| {
        let proof = consistency_proof(&log, old, new).unwrap();
        let (old_root, new_root) = (log.root_at(old), log.root_at(new));
        verify_consistency(old, new, &old_root, &new_root, &proof).unwrap();
        json!({
            "new_root": new_root.to_base64(),
            "new_size": new,
            "old_root": old_root.to_base64(),
            "old_size": old,
            "proof": base64(&proof),
        })
    };
    let inclusion_of = [(0, 1), (0, 2), (1, 3), (6, 7), (255, 256), (0, 257), (256, 257), (123, SIZE), (299, SIZE)];
    let consistency_of = [(0, 5), (1, 2), (3, 7), (4, 7), (7, 7), (255, 256), (256, 257), (100, SIZE), (256, SIZE)];
    let proofs = json!({
        "consistency": consistency_of.map(|(old, new)| consistency(old, new)),
        "inclusion": inclusion_of.map(|(index, size)| inclusion(index, size)),
    });
    assert_json_vector("proofs.json", &proofs);
}

#[test]
fn a_bundle_and_its_tile() {
    let entries = vec![b"entry 0".to_vec(), Vec::new(), vec![0xff; 300]];
    let bundle = EntryBundle::new(entries).unwrap();
    assert_vector("entries.bundle", &bundle.encode());
    assert_vector("entries.tile", &encode_tile(&bundle.leaf_hashes().collect::<Vec<_>>()));
}

#[test]
fn a_proof_to_keep() {
    let log = TestLog::with_size(SIZE);
    let checkpoint = SignedNote::parse(signed_checkpoint(SIZE, log.frontier.root()).as_bytes()).unwrap();
    let proof = TlogProof::new(123, inclusion_proof(&log, 123, SIZE).unwrap(), checkpoint);
    assert_vector("proof.tlog-proof", proof.to_string().as_bytes());
    assert_vector("proof-with-extra.tlog-proof", proof.with_extra(b"entry 123".to_vec()).to_string().as_bytes());
}
