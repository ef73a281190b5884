//! Two programs that nobody here wrote, the crates `signed_note` and `tlog_tiles`, accept what this log says and reject
//! what was altered.

use signed_note::{Note, StandardVerifier, VerifierList};
use tlog_tiles::{HashReader, Tile, TileHashReader, TileReader};

use super::*;
use crate::log::proof::{consistency_proof, inclusion_proof};
use crate::log::tile::{TileCoordinate, TilePath, encode_tile};

fn theirs(hash: Hash) -> tlog_tiles::Hash {
    tlog_tiles::Hash(hash.to_bytes())
}

fn all_theirs(hashes: &[Hash]) -> Vec<tlog_tiles::Hash> {
    hashes.iter().copied().map(theirs).collect()
}

/// The checkpoint in a note, as the two crates read it.
fn open_with_theirs(note: &str) -> Option<tlog_tiles::Checkpoint> {
    let verifier = StandardVerifier::new(&log_key().plain().to_string()).ok()?;
    let note = Note::from_bytes(note.as_bytes()).ok()?;
    let (verified, unknown) = note.verify(&VerifierList::new(vec![Box::new(verifier)])).ok()?;
    assert_eq!((verified.len(), unknown.len()), (1, 1), "they know plain signatures, and pass over the cosignature");
    tlog_tiles::Checkpoint::from_bytes(note.text()).ok()
}

#[test]
fn they_accept_our_checkpoint_and_reject_an_altered_one() {
    let root = leaf_hash(b"an entry");
    let text = signed_checkpoint(300, root);
    let checkpoint = open_with_theirs(&text).unwrap();
    assert_eq!((checkpoint.origin(), checkpoint.size(), checkpoint.extension()), (ORIGIN, 300, ""));
    assert_eq!(*checkpoint.hash(), theirs(root));

    assert!(open_with_theirs(&text.replacen("300", "301", 1)).is_none());
    let other_root = text.replacen(&root.to_base64(), &flipped(&root, 0).to_base64(), 1);
    assert!(open_with_theirs(&other_root).is_none());
}

#[test]
fn they_accept_our_inclusion_proofs_and_reject_altered_ones() {
    let log = TestLog::with_size(600);
    for size in [1, 2, 3, 255, 256, 257, 511, 600] {
        let root = theirs(log.root_at(size));
        for index in [0, 1, 2, 100, 254, 255, 256, 510, 599].into_iter().filter(|index| *index < size) {
            let leaf = theirs(log.leaves[index as usize]);
            let proof = inclusion_proof(&log, index, size).unwrap();
            tlog_tiles::check_record(&all_theirs(&proof), size, root, index, leaf).unwrap();
            for position in 0..proof.len() {
                let mut altered = proof.clone();
                altered[position] = flipped(&altered[position], 9);
                tlog_tiles::check_record(&all_theirs(&altered), size, root, index, leaf).unwrap_err();
            }
        }
    }
}

#[test]
fn they_accept_our_consistency_proofs_and_reject_altered_ones() {
    let log = TestLog::with_size(600);
    for new in [1, 2, 3, 255, 256, 257, 511, 600] {
        let new_root = theirs(log.root_at(new));
        for old in [1, 2, 3, 100, 128, 255, 256, 257, 512, 600].into_iter().filter(|old| *old <= new) {
            let old_root = theirs(log.root_at(old));
            let proof = consistency_proof(&log, old, new).unwrap();
            tlog_tiles::check_tree(&all_theirs(&proof), new, new_root, old, old_root).unwrap();
            for position in 0..proof.len() {
                let mut altered = proof.clone();
                altered[position] = flipped(&altered[position], 9);
                tlog_tiles::check_tree(&all_theirs(&altered), new, new_root, old, old_root).unwrap_err();
            }
        }
    }
}

/// Serves our tiles as `tlog_tiles` asks for them, with one bit of one hash changed if so wished.
struct Served<'log> {
    log: &'log TestLog,
    altered: Option<(u8, u64)>,
}

impl TileReader for Served<'_> {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::Error> {
        let read = |tile: &Tile| {
            let coordinate = TileCoordinate::new(tile.level(), tile.level_index(), tile.width() as u16).unwrap();
            // Their paths name the height too.
            assert_eq!(tile.path().replacen("tile/8/", "tile/", 1), TilePath::Hashes(coordinate).to_string());
            let mut hashes = self.log.tile(coordinate.level(), coordinate.index(), coordinate.width()).unwrap();
            if self.altered == Some((coordinate.level(), coordinate.index())) {
                hashes[0] = flipped(&hashes[0], 200);
            }
            encode_tile(&hashes)
        };
        Ok(tiles.iter().map(read).collect())
    }

    fn save_tiles(&self, _tiles: &[Tile], _data: &[Vec<u8>]) {}
}

#[test]
fn they_build_our_proofs_from_our_tiles_and_reject_altered_tiles() {
    // 4 * 256 + 64: one perfect subtree in each tile at the right edge. Where there are more of them than tiles,
    // `tlog_tiles` 0.2.0 checks too few of the tiles it reads (`TileHashReader` skips one for each subtree).
    let log = TestLog::with_size(1_088);
    let size = log.size();
    let root = theirs(log.frontier.root());
    for index in [0, 255, 256, 800, 1_024, 1_087] {
        let served = Served { log: &log, altered: None };
        let proof = tlog_tiles::prove_record(size, index, &TileHashReader::new(size, root, &served)).unwrap();
        assert_eq!(proof, all_theirs(&inclusion_proof(&log, index, size).unwrap()));
        for altered in [(0, index / 256), (1, 0)] {
            let served = Served { log: &log, altered: Some(altered) };
            let reader = TileHashReader::new(size, root, &served);
            reader.read_hashes(&[tlog_tiles::stored_hash_index(0, index)]).unwrap_err();
        }
    }
    for old in [1, 256, 700, 1_087] {
        let served = Served { log: &log, altered: None };
        let proof = tlog_tiles::prove_tree(size, old, &TileHashReader::new(size, root, &served)).unwrap();
        assert_eq!(proof, all_theirs(&consistency_proof(&log, old, size).unwrap()));
    }
}
