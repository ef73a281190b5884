//! Audits of logs in memory: sound ones, and each way in which one is not.

use std::collections::HashMap;

use proto::registry::v1::{DepartmentResumed, DepartmentSuspended, statement::Body};

use super::*;
use crate::{
    fixture::{Fixture, key, signed_checkpoint},
    key::Signer,
    log::tile::encode_tile,
};

/// A log's checkpoint and tiles, as they are served.
#[derive(Clone)]
struct Served {
    checkpoint: String,
    files: HashMap<String, Vec<u8>>,
}

/// A log of the town with so many statements that full tiles occur.
fn town(statements: usize) -> Fixture {
    let mut town = Fixture::town();
    while town.entries.len() < statements {
        let department = "housing".to_owned();
        let suspended = DepartmentSuspended { department: department.clone(), reason: "audit".into() };
        town.say("authority", Body::DepartmentSuspended(suspended), "department/housing");
        town.say(
            "authority",
            Body::DepartmentResumed(DepartmentResumed { department, reason: String::new() }),
            "department/housing",
        );
    }
    town
}

fn serve(entries: &[Vec<u8>], checkpoint: String) -> Served {
    let mut files = HashMap::new();
    let mut frontier = Frontier::new();
    let hashes = |coordinate, hashes: &[Hash], files: &mut HashMap<String, Vec<u8>>| {
        files.insert(TilePath::Hashes(coordinate).to_string(), encode_tile(hashes));
    };
    for entry in entries {
        for tile in frontier.append(leaf_hash(entry)) {
            hashes(tile.coordinate, &tile.hashes, &mut files);
        }
    }
    let size = entries.len() as u64;
    for (level, partial) in (0_u8..).zip(frontier.levels()) {
        let index = (size >> (8 * u32::from(level))) / 256;
        if let Some(coordinate) = TileCoordinate::in_tree(level, index, size).filter(|_| !partial.is_empty()) {
            hashes(coordinate, partial, &mut files);
        }
    }
    for (index, entries) in (0_u64..).zip(entries.chunks(256)) {
        let coordinate = TileCoordinate::in_tree(0, index, size).unwrap();
        let bundle = EntryBundle::new(entries.to_vec()).unwrap();
        files.insert(TilePath::Entries(coordinate).to_string(), bundle.encode());
    }
    Served { checkpoint, files }
}

fn served(town: &Fixture) -> Served {
    serve(&town.entries, town.checkpoint())
}

fn run(trusted: Trusted, served: &Served, compare: Option<(u64, Hash)>) -> Result<Report, Error> {
    let mut audit = Audit::begin(trusted, &served.checkpoint)?;
    if let Some((size, root)) = compare {
        audit.compare_with("this node's view", size, root);
    }
    while let Some(path) = audit.wanted() {
        audit.give(&served.files[&path.to_string()])?;
    }
    assert_eq!(audit.verified(), audit.size());
    audit.finish().map(|(report, _)| report)
}

fn authority() -> Trusted {
    Trusted::Authority(key("authority").public_key().clone())
}

fn log() -> Trusted {
    let name = "ninghe/directory".parse().unwrap();
    Trusted::Log(LogKey::new(name, key("log").public_key().as_bytes()).unwrap().plain().clone())
}

#[test]
fn a_sound_log_is_found_sound_with_either_key() {
    let town = town(520);
    let served = served(&town);
    let report = run(authority(), &served, Some((300, Hash::from_bytes([0; 32])))).unwrap_err();
    assert!(matches!(report, Error::Diverges { size: 300, .. }), "{report}");
    let root = town.directory.root();
    let report = run(authority(), &served, Some((town.directory.size(), root))).unwrap();
    assert_eq!((report.size, report.departments, report.grants), (town.directory.size(), 2, 1));
    assert_eq!(report.compared.len(), 1);
    // Three bundles, three tiles of level 0, one of level 1.
    assert_eq!((report.tiles, report.authority_key_given), (7, true));
    assert_eq!(report.statements.values().sum::<u64>(), report.size);
    assert!(
        report.facts().iter().any(
            |(name, value)| *name == "statements" && value.starts_with(&format!("{}, each", town.directory.size()))
        )
    );

    let report = run(log(), &served, None).unwrap();
    assert!(!report.authority_key_given);
    assert_eq!(report.authority_key, key("authority").public_key().to_string());
}

#[test]
fn one_altered_byte_anywhere_is_found() {
    let served = served(&town(300));
    for path in served.files.keys() {
        let mut altered = served.clone();
        let bytes = altered.files.get_mut(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        let error = run(authority(), &altered, None).expect_err(path);
        assert!(
            matches!(error, Error::TileWrong { .. } | Error::Statement { .. } | Error::Bundle { .. }),
            "{path}: {error}"
        );
    }
}

#[test]
fn another_checkpoint_is_not_taken() {
    let town = town(260);
    let good = served(&town);
    let size = town.directory.size();
    let other = |size, root, signer: &str| Served {
        checkpoint: signed_checkpoint("ninghe/directory", size, root, &key(signer)),
        ..good.clone()
    };
    let wrong_root = other(size, Hash::from_bytes([7; 32]), "log");
    assert!(matches!(run(authority(), &wrong_root, None), Err(Error::RootWrong { .. })));
    let wrong_key = other(size, town.directory.root(), "authority");
    assert!(matches!(run(authority(), &wrong_key, None), Err(Error::Checkpoint(_))));
    assert!(matches!(run(log(), &wrong_key, None), Err(Error::Checkpoint(_))));
    let foreign = Served {
        checkpoint: signed_checkpoint("ninghe/housing/1/evidence", size, town.directory.root(), &key("log")),
        ..good.clone()
    };
    assert!(matches!(run(authority(), &foreign, None), Err(Error::Origin { .. })));
    let text = Served { checkpoint: "no note".into(), ..good.clone() };
    assert!(matches!(run(authority(), &text, None), Err(Error::Note(_))));
    let stranger = Trusted::Authority(key("housing").public_key().clone());
    assert!(matches!(run(stranger, &good, None), Err(Error::OtherAuthority)));
}

/// Whoever has the log's key can sign any root; the statements still have to count by their own signatures.
#[test]
fn a_statement_that_breaks_the_rules_is_found_though_the_log_signed_it() {
    let town = town(20);
    let forged = Body::DepartmentSuspended(DepartmentSuspended {
        department: "civil-affairs".into(),
        reason: "by its rival".into(),
    });
    let mut entries = town.entries.clone();
    entries.push(town.sign("housing", forged, "department/civil-affairs").encode_to_vec());
    let mut frontier = Frontier::new();
    entries.iter().for_each(|entry| drop(frontier.append(leaf_hash(entry))));
    let checkpoint = signed_checkpoint("ninghe/directory", frontier.size(), frontier.root(), &key("log"));
    let error = run(authority(), &serve(&entries, checkpoint), None).unwrap_err();
    assert!(
        matches!(&error, Error::Statement { index, source: StatementError::NotEntitled } if *index == frontier.size() - 1),
        "{error}"
    );
}
