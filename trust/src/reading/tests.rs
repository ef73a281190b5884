//! What a reader is shown of the fixture's town.

use proto::registry::v1::{DepartmentQuery, ProvenStatement, ServiceQuery};

use super::*;
use crate::{
    catalogue,
    fixture::{Fixture, NOW_MS, exchange_id, key},
    key::Signer,
    log::{hash::leaf_hash, proof::verify_inclusion},
};

#[test]
fn a_service_is_shown_with_what_an_asker_must_know() {
    let town = Fixture::town();
    let page = catalogue::services(&town.directory, &ServiceQuery::default(), NOW_MS).unwrap();
    let words = ServiceWords::of(&page.services[0]);
    let machine = serde_json::to_value(&words).unwrap();
    assert_eq!(machine["service"], "marriage-registration");
    assert_eq!(machine["attributes"][0]["type"], "enum");
    assert_eq!(machine["attributes"][0]["absence"], true);
    assert_eq!(words.row()[0], "civil-affairs/marriage-registration");
    let facts = ServiceWords::facts(&page.services[0]);
    let fact = |name: &str| facts.iter().find(|(found, _)| *found == name).map(|(_, value)| value.as_str());
    assert_eq!(fact("legal bases"), Some("婚姻登记条例 4"));
    assert_eq!(fact("register"), Some("complete for 890000 since 2001-01-01"));
    assert_eq!(words.attribute_rows()[0][5], "means something");
}

#[test]
fn a_department_is_shown_with_its_keys() {
    let town = Fixture::town();
    let page = catalogue::departments(&town.directory, &DepartmentQuery::default(), NOW_MS).unwrap();
    let words = DepartmentWords::of(&page.departments[0]);
    let roles: Vec<&str> = words.keys.iter().map(|key| key.role).collect();
    assert_eq!(roles, ["department", "recovery", "node"]);
    assert!(words.key_rows()[0][3].ends_with("to without end"), "{:?}", words.key_rows());
    assert!(serde_json::to_value(&words).unwrap()["nodes"][0]["tls_key"].as_str().unwrap().len() == 64);
}

#[test]
fn every_statement_of_a_town_is_told_in_words_and_its_signature_verified() {
    let town = Fixture::town();
    let mut kinds = Vec::new();
    for (index, entry) in (0..).zip(&town.entries) {
        let words = StatementWords::of(index, entry, &catalogue::signers(&town.directory, entry)).unwrap();
        assert!(words.signers.iter().all(|signer| signer.verified), "{words:?}");
        assert!(!words.says.is_empty() && words.kind != "other", "{words:?}");
        assert!(words.facts().iter().any(|(name, value)| *name == "signed by" && value.contains("signature verified")));
        kinds.push(words.kind);
    }
    assert_eq!((kinds[0], *kinds.last().unwrap()), ("exchange_founded", "access_granted"));
    let last = town.entries.last().unwrap();
    let words = StatementWords::of(9, last, &catalogue::signers(&town.directory, last)).unwrap();
    assert_eq!(words.says, "civil-affairs grants housing to ask marriage-registration version 1 for 公租房申请.");
    assert_eq!(words.signers[0].department, "civil-affairs");

    // Another key under the signer's name, and altered bytes: neither verifies.
    let mut signers = catalogue::signers(&town.directory, last);
    signers[0].key = Some(crate::fixture::described(crate::key::Role::Department, &key("housing")).to_wire());
    assert!(!StatementWords::of(9, last, &signers).unwrap().signers[0].verified);
    assert!(matches!(StatementWords::of(0, b"no entry", &[]), Err(StatementError::NotAStatement)));
}

#[test]
fn a_statement_is_proved_to_be_in_the_log() {
    let town = Fixture::town();
    let checkpoint = town.checkpoint();
    // A tree of two: the other leaf is the path.
    let leaves: Vec<_> = town.entries.iter().map(|entry| leaf_hash(entry)).collect();
    let index = town.entries.len() as u64 - 1;
    let path = path_of_last(&leaves);
    verify_inclusion(&leaves[leaves.len() - 1], index, index + 1, &path, &town.directory.root()).unwrap();
    let mut proven = ProvenStatement {
        index,
        entry: town.entries[index as usize].clone(),
        inclusion: path.iter().map(|hash| hash.as_bytes().to_vec()).collect(),
        checkpoint,
        signers: Vec::new(),
        log_key: key("log").public_key().as_bytes().to_vec(),
    };
    let proof = StatementWords::proof(&exchange_id(), &proven).unwrap();
    assert!(proof.to_string().starts_with("c2sp.org/tlog-proof@v1\n"), "{proof}");
    proven.entry[20] ^= 1;
    assert!(matches!(StatementWords::proof(&exchange_id(), &proven), Err(StatementError::NotInLog(_))));
    proven.entry[20] ^= 1;
    proven.log_key = key("authority").public_key().as_bytes().to_vec();
    assert!(StatementWords::proof(&exchange_id(), &proven).is_err());
}

/// The inclusion path of the last leaf: the roots of the perfect subtrees to its left, the smallest first.
fn path_of_last(leaves: &[crate::log::hash::Hash]) -> Vec<crate::log::hash::Hash> {
    let mut frontier = crate::log::frontier::Frontier::new();
    let mut subtrees = Vec::new();
    let before = leaves.len() - 1;
    let mut from = 0;
    for bit in (0..usize::BITS).rev().filter(|bit| before & (1 << bit) != 0) {
        let length = 1_usize << bit;
        leaves[from..from + length].iter().for_each(|leaf| drop(frontier.append(*leaf)));
        subtrees.push(frontier.root());
        frontier = crate::log::frontier::Frontier::new();
        from += length;
    }
    subtrees.reverse();
    subtrees
}

#[test]
fn moments_are_told_in_the_time_of_the_departments() {
    assert_eq!(moment(1_767_225_600_000), "2026-01-01 08:00:00 +08:00");
    assert_eq!((moment(0), moment(u64::MAX)), (String::new(), String::new()));
    assert_eq!(moment(u64::MAX - 1), "18446744073709551614", "what no calendar has is told as it is");
    assert_eq!(both_names(Some(&LocalName { zh: "民政局".into(), en: String::new() })), "民政局");
}
