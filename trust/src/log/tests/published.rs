//! What others have published: roots of RFC 6962 trees, the proofs of transparency-dev, a public log's checkpoint.

use serde_json::Value;

use super::vectors::read;
use super::*;
use crate::log::cosignature::verify_cosignature;
use crate::log::note::SignedNote;
use crate::log::note::key::NoteKey;
use crate::log::proof::{verify_consistency, verify_inclusion};

/// The eight entries with which Certificate Transparency's implementations test their trees, and the root of each tree.
#[test]
fn the_known_roots_of_rfc_6962() {
    let entries = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    let roots = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let mut frontier = Frontier::new();
    assert_eq!(frontier.root().to_string(), roots[0]);
    for (entry, root) in entries.iter().zip(&roots[1..]) {
        let entry = data_encoding::HEXLOWER.decode(entry.as_bytes()).unwrap();
        frontier.append(leaf_hash(&entry));
        assert_eq!(frontier.root().to_string(), *root);
    }
}

fn cases(name: &str) -> Vec<Value> {
    serde_json::from_slice(&read(name)).unwrap()
}

/// `None` where it is not a hash at all, which some cases try: here such a thing cannot come to be verified.
fn hash(value: &Value) -> Option<Hash> {
    Hash::from_base64(value.as_str()?).ok()
}

fn hashes(value: &Value) -> Option<Vec<Hash>> {
    value.as_array().map_or(Some(Vec::new()), |hashes| hashes.iter().map(hash).collect())
}

#[test]
fn inclusion_proofs_of_transparency_dev() {
    let mut verified = 0;
    for case in cases("transparency-dev-inclusion.json") {
        let hashes = (hash(&case["leafHash"]), hash(&case["root"]), hashes(&case["proof"]));
        let (Some(leaf), Some(root), Some(proof)) = hashes else { continue };
        let (index, size) = (case["leafIdx"].as_u64().unwrap(), case["treeSize"].as_u64().unwrap());
        let result = verify_inclusion(&leaf, index, size, &proof, &root);
        assert_eq!(result.is_err(), case["wantErr"] == true, "{}", case["name"]);
        verified += 1;
    }
    assert_eq!(verified, 71);
}

#[test]
fn consistency_proofs_of_transparency_dev() {
    let mut verified = 0;
    for case in cases("transparency-dev-consistency.json") {
        let hashes = (hash(&case["root1"]), hash(&case["root2"]), hashes(&case["proof"]));
        let (Some(old_root), Some(new_root), Some(proof)) = hashes else { continue };
        let (old, new) = (case["size1"].as_u64().unwrap(), case["size2"].as_u64().unwrap());
        let result = verify_consistency(old, new, &old_root, &new_root, &proof);
        // They refuse every proof from the empty tree. Here any tree begins with it, if both are named by their roots.
        let is_from_empty =
            old == 0 && old_root == empty_root() && (new != 0 || new_root == old_root) && proof.is_empty();
        assert_eq!(result.is_err(), case["wantErr"] == true && !is_from_empty, "{}", case["name"]);
        verified += 1;
    }
    assert_eq!(verified, 71);
}

/// A checkpoint of a public test log, with the signatures of witnesses in use, and one of a kind not known here.
#[test]
fn a_public_checkpoint_and_its_witnesses() {
    let note = SignedNote::parse(&read("published-checkpoint.txt")).unwrap();
    let log: NoteKey = "arche2025h1.staging.ct.transparency.dev+ba2f06c0+AU0vHmlGCS/PdN8b2OaGmKprLI8HKM+dJ472xgFYh15f"
        .parse()
        .unwrap();
    note.verify(&log).unwrap();
    let witnesses = [
        "transparency.dev/DEV:witness-little-garden+d8042a87+BCtusOxINQNUTN5Oj8HObRkh2yHf/MwYaGX4CPdiVEPM",
        "witness1.smartit.nu/witness1+a48c820f+BPSFWg9G6KPiO7QPryYO5Xq4oYJJ+kAvLKLSimDhoxMO",
        "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2",
        "witness.stagemole.eu+67f7aea0+BEqSG3yu9YrmcM3BHvQYTxwFj3uSWakQepafafpUqklv",
    ];
    let altered =
        read("published-checkpoint.txt").iter().map(|byte| if *byte == b'8' { b'9' } else { *byte }).collect();
    let altered = String::from_utf8(altered).unwrap();
    let altered =
        altered.split_once("\n\n").unwrap().0.to_owned() + "\n\n" + note.to_string().split_once("\n\n").unwrap().1;
    let altered = SignedNote::parse(altered.as_bytes()).unwrap();
    for witness in witnesses {
        let key: NoteKey = witness.parse().unwrap();
        assert_eq!(verify_cosignature(&note, &key), Ok(1_779_573_024), "{witness}");
        verify_cosignature(&altered, &key).unwrap_err();
    }
    altered.verify(&log).unwrap_err();
}
