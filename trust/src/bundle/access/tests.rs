//! Proofs of access: both signatures show, and whatever is altered or left out is found.

use super::*;
use crate::{
    bundle,
    fixture::{Fixture, key},
    key::Signer,
};

const OBJECT: &str = "access/civil-affairs/housing/0011223344556677";

fn proof(fixture: &Fixture) -> wire::AccessProof {
    let entries = (0_u64..).zip(&fixture.entries);
    let directory = entries.map(|(index, entry)| wire::DirectoryProof {
        entry: entry.clone(),
        index,
        inclusion: fixture.inclusion(index),
    });
    let directory = wire::EvidenceBundle {
        version: bundle::VERSION,
        exchange_id: "ninghe".into(),
        directory_checkpoint: fixture.checkpoint(),
        directory: directory.collect(),
        ..wire::EvidenceBundle::default()
    };
    wire::AccessProof { version: VERSION, object: OBJECT.into(), directory: Some(directory) }
}

fn check(proof: &wire::AccessProof) -> AccessReport {
    verify(&proof.encode_to_vec(), key("authority").public_key())
}

fn wrong(proof: &wire::AccessProof) -> String {
    let report = check(proof);
    let wrong = report.wrong().unwrap_or_else(|| panic!("{:?}", report.checks));
    format!("{}: {:?}", wrong.name, wrong.finding)
}

#[test]
fn both_signatures_show_who_agreed_to_what() {
    let report = check(&proof(&Fixture::town()));
    assert!(report.is_sound(), "{:?}", report.checks);
    let said: Vec<_> = report.said.iter().map(|said| (said.what, said.by.as_str(), said.key)).collect();
    assert_eq!(
        said,
        [
            ("applied", "housing", *key("housing").public_key().id()),
            ("granted", "civil-affairs", *key("civil-affairs").public_key().id()),
        ]
    );
    assert!(report.access.unwrap().granted.is_some());
}

#[test]
fn the_officers_stand_in_the_proof() {
    let mut fixture = Fixture::town();
    let body = Body::AccessSuspended(proto::registry::v1::AccessSuspended { reason: "无办件".into() });
    let mut statement = fixture.statement(body, OBJECT);
    statement.decision = Some(OfficialDecision {
        officer: "2001".into(),
        document: "民函〔2026〕9号".into(),
        second_officer: "2002".into(),
    });
    let entry = crate::envelope::seal(&statement, &key("civil-affairs")).0.encode_to_vec();
    fixture.directory.apply(&entry).unwrap();
    fixture.entries.push(entry);
    let report = check(&proof(&fixture));
    let check = report.checks.iter().find(|check| check.name == "suspended").unwrap();
    let Finding::Holds(text) = &check.finding else { panic!("{check:?}") };
    assert!(text.contains("officer 2001 and officer 2002, document 民函〔2026〕9号"), "{text}");
}

#[test]
fn what_is_altered_or_missing_is_found() {
    let fixture = Fixture::town();
    let sound = proof(&fixture);
    let last = fixture.entries.len() - 1;
    let change = |change: &dyn Fn(&mut wire::EvidenceBundle)| {
        let mut proof = sound.clone();
        change(proof.directory.as_mut().unwrap());
        wrong(&proof)
    };
    assert!(change(&|bundle| *bundle.directory[last].entry.last_mut().unwrap() ^= 1).contains("statement"));
    assert!(change(&|bundle| bundle.directory[last].index -= 1).contains("not in order"));
    assert!(change(&|bundle| drop(bundle.directory.remove(0))).contains("founding"));
    // A grant without its application, and an application that is somebody else's.
    assert!(change(&|bundle| drop(bundle.directory.remove(last - 1))).contains("application"));
    let mut other = sound.clone();
    other.object = "access/civil-affairs/housing/8899aabbccddeeff".into();
    assert!(wrong(&other).contains("no application"));
    let report = verify(&sound.encode_to_vec(), key("another authority").public_key());
    assert!(!report.is_sound() && report.said.is_empty());
    let mut padded = sound.encode_to_vec();
    padded.extend_from_slice(&[0xfa, 0x01, 0x01, 0x00]);
    assert!(!verify(&padded, key("authority").public_key()).is_sound());
}

proptest::proptest! {
    #[test]
    fn arbitrary_bytes_are_no_proof(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
        proptest::prop_assert!(!verify(&bytes, key("authority").public_key()).is_sound());
    }
}
