//! Whatever the bytes, a parser answers, and what it accepts it writes back byte for byte.

use proptest::prelude::*;

use super::vectors::read;
use crate::log::bundle::EntryBundle;
use crate::log::checkpoint::Checkpoint;
use crate::log::hash::Hash;
use crate::log::note::key::{KeyName, NoteKey};
use crate::log::note::{Signature, SignedNote};
use crate::log::tile::{TileCoordinate, TilePath, decode_tile, encode_tile};
use crate::log::tlog_proof::TlogProof;

/// What goes in comes out again, or is refused.
fn check(bytes: &[u8]) {
    if let Ok(note) = SignedNote::parse(bytes) {
        assert_eq!(note.to_string().as_bytes(), bytes);
    }
    if let Ok(proof) = TlogProof::parse(bytes) {
        assert_eq!(proof.to_string().as_bytes(), bytes);
    }
    for width in [1, 2, 3, 256] {
        if let Ok(bundle) = EntryBundle::decode(bytes, width) {
            assert_eq!(bundle.encode(), bytes);
            assert_eq!(bundle.entries().len(), usize::from(width));
        }
        if let Ok(hashes) = decode_tile(bytes, width) {
            assert_eq!(encode_tile(&hashes), bytes);
        }
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(checkpoint) = Checkpoint::parse(text) {
        assert_eq!(checkpoint.to_text(), text);
    }
    if let Ok(signature) = Signature::parse(text) {
        assert_eq!(signature.to_string(), text);
    }
    if let Ok(key) = text.parse::<NoteKey>() {
        assert_eq!(key.to_string(), text);
    }
    if let Ok(name) = text.parse::<KeyName>() {
        assert_eq!(name.as_str(), text);
    }
    if let Ok(path) = text.parse::<TilePath>() {
        assert_eq!(path.to_string(), text);
    }
    if let Ok(hash) = text.parse::<Hash>() {
        assert_eq!(hash.to_string(), text);
    }
    if let Ok(hash) = Hash::from_base64(text) {
        assert_eq!(hash.to_base64(), text);
    }
}

/// Something well formed, to start from.
fn well_formed() -> impl Strategy<Value = Vec<u8>> {
    let checkpoint = read("checkpoint.txt");
    let text = checkpoint.split_inclusive(|byte| *byte == b'\n').take(3).flatten().copied().collect();
    prop_oneof![
        Just(text),
        Just(checkpoint),
        Just(read("proof.tlog-proof")),
        Just(read("entries.bundle")),
        Just(read("log.vkey")),
        Just(b"tile/0/x001/x234/067.p/8".to_vec()),
        Just(b"tile/entries/x001/x234/067".to_vec()),
        Just(b"\xe2\x80\x94 example.com/foo AAAAAAA=".to_vec()),
        Just([b'a'; 64].to_vec()),
    ]
}

/// Pieces that mean something to one parser or another.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..4),
        prop::sample::select(vec![
            "\n",
            "\n\n",
            "\u{2014} ",
            " ",
            "+",
            "=",
            "0",
            "/",
            "x",
            ".p/",
            "\u{2003}",
            "\r",
            "extra "
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
    ]
}

proptest! {
    #[test]
    fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        check(&bytes);
    }

    #[test]
    fn arbitrary_text(text in "\\PC{0,200}") {
        check(text.as_bytes());
    }

    #[test]
    fn nearly_well_formed(
        bytes in well_formed(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0..3_usize, piece()), 0..4),
    ) {
        let mut bytes = bytes;
        for (place, removed, inserted) in changes {
            let start = place.index(bytes.len() + 1);
            let end = (start + removed).min(bytes.len());
            bytes.splice(start..end, inserted);
        }
        check(&bytes);
    }

    #[test]
    fn paths_come_back(level in 0..8_u8, index in any::<u64>(), width in 1..=256_u16) {
        let tile = TilePath::Hashes(TileCoordinate::new(level, index, width).unwrap());
        prop_assert_eq!(tile.to_string().parse(), Ok(tile));
        let entries = TilePath::Entries(TileCoordinate::new(0, index, width).unwrap());
        prop_assert_eq!(entries.to_string().parse(), Ok(entries));
    }

    #[test]
    fn bundles_come_back(entries in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..257)) {
        let bundle = EntryBundle::new(entries).unwrap();
        let width = bundle.entries().len() as u16;
        prop_assert_eq!(EntryBundle::decode(&bundle.encode(), width), Ok(bundle));
    }
}

#[test]
fn what_is_well_formed_is_accepted() {
    let checkpoint = read("checkpoint.txt");
    assert!(SignedNote::parse(&checkpoint).is_ok());
    assert!(TlogProof::parse(&read("proof.tlog-proof")).is_ok());
    assert!(EntryBundle::decode(&read("entries.bundle"), 3).is_ok());
    assert!(std::str::from_utf8(&read("log.vkey")).unwrap().trim_end().parse::<NoteKey>().is_ok());
}
