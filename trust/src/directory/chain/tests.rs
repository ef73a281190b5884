//! Changes of the keys that everything rests on: who must sign them, and how they are followed.

use proto::registry::v1 as wire;

use super::*;
use crate::{
    fixture::{Fixture, described, exchange_id, key},
    key::{Role, Signer},
};

fn authority_change(to: &str) -> Body {
    Body::AuthorityKeyChanged(wire::AuthorityKeyChanged {
        authority_key: Some(described(Role::Authority, &key(to)).to_wire()),
        reason: "例行更换".into(),
    })
}

fn checked(fixture: &Fixture, signers: &[&str], body: Body, object: &str) -> Result<(), StatementError> {
    fixture.directory.check_envelope(&fixture.sign_together(signers, body, object)).map(drop)
}

#[test]
fn the_authoritys_key_changes_only_with_the_old_and_the_new_signature() {
    let fixture = Fixture::town();
    let change = |signers: &[&str]| checked(&fixture, signers, authority_change("authority 2"), "authority");
    assert_eq!(change(&["authority", "authority 2"]), Ok(()));
    assert_eq!(change(&["authority 2", "authority"]), Ok(()));
    assert_eq!(change(&["authority"]), Err(StatementError::SignatureLacking { who: "the new key" }));
    for signers in [&["authority 2", "log"][..], &["authority 2", "civil-affairs"]] {
        let lacking = StatementError::SignatureLacking { who: "the authority's key before it" };
        assert_eq!(change(signers), Err(lacking), "{signers:?}");
    }
    assert!(change(&["authority 2"]).is_err());
}

#[test]
fn the_logs_key_changes_with_the_authoritys_word_and_the_old_keys_unless_that_is_lost() {
    let fixture = Fixture::town();
    let change = |signers: &[&str], lost| checked(&fixture, signers, Fixture::log_key_change("log 2", lost), "log");
    assert_eq!(change(&["authority", "log", "log 2"], ""), Ok(()));
    assert_eq!(change(&["authority", "log 2"], "the machine was stolen"), Ok(()));
    let lacking = |who| Err(StatementError::SignatureLacking { who });
    assert_eq!(change(&["authority", "log 2"], ""), lacking("the log's key before it"));
    assert_eq!(change(&["authority", "log"], ""), lacking("the new key"));
    // Whoever stole the log's key cannot make the log his own.
    assert_eq!(change(&["log", "log 2"], ""), lacking("the authority's key"));
    assert_eq!(change(&["log", "log 2"], "gone"), lacking("the authority's key"));
}

#[test]
fn a_key_has_one_role_and_comes_once_here_too() {
    let fixture = Fixture::town();
    let rule = |outcome| matches!(outcome, Err(StatementError::Rule { .. }));
    assert!(rule(checked(&fixture, &["authority", "log"], authority_change("log"), "authority")));
    let mut body = Fixture::log_key_change("log 2", "");
    if let Body::LogKeyChanged(change) = &mut body {
        change.reason.clear();
    }
    assert!(rule(checked(&fixture, &["authority", "log", "log 2"], body, "log")));
    let wrong_role = Body::AuthorityKeyChanged(wire::AuthorityKeyChanged {
        authority_key: Some(described(Role::Log, &key("authority 2")).to_wire()),
        reason: "x".into(),
    });
    assert!(rule(checked(&fixture, &["authority", "authority 2"], wrong_role, "authority")));
}

#[test]
fn after_a_change_the_old_key_says_nothing_more_and_what_it_said_stands() {
    let mut fixture = Fixture::town();
    let log_before = fixture.directory.size();
    fixture.change_authority_key("authority", "authority 2");
    fixture.say_together(&["authority 2", "log", "log 2"], Fixture::log_key_change("log 2", ""), "log");
    let suspended = || {
        let body = wire::DepartmentSuspended { department: "housing".into(), reason: "inquiry".into() };
        (Body::DepartmentSuspended(body), "department/housing")
    };
    let (body, object) = suspended();
    let old = checked(&fixture, &["authority"], body, object);
    assert_eq!(old, Err(StatementError::KeyNotValid { reason: "another key has taken its place" }));
    let (body, object) = suspended();
    assert_eq!(checked(&fixture, &["authority 2"], body, object), Ok(()));
    let state = || Body::State(wire::State { directory_size: 1, objects: 1, root: vec![0; 32] });
    assert!(matches!(checked(&fixture, &["log"], state(), "state"), Err(StatementError::KeyNotValid { .. })));

    let directory = &fixture.directory;
    assert_eq!(directory.log_key(), Some(key("log 2").public_key()));
    assert_eq!(directory.current_authority_key(), Some(key("authority 2").public_key()));
    assert_eq!(directory.authority_key(), key("authority").public_key(), "what the reader was given stays");
    // The checkpoint over the change is the first that the new key signs.
    assert_eq!(directory.log_key_at(log_before + 1), Some(key("log").public_key()));
    assert_eq!(directory.log_key_at(log_before + 2), Some(key("log 2").public_key()));
    assert_eq!(directory.log_key_at(0), None);
}

#[test]
fn the_keys_are_followed_without_the_rest_of_the_directory() {
    let mut fixture = Fixture::town();
    let mut keys = RootKeys::of(&fixture.directory).unwrap();
    let from = fixture.entries.len();
    fixture.admit("health");
    fixture.change_authority_key("authority", "authority 2");
    fixture.say_together(&["authority 2", "log 2"], Fixture::log_key_change("log 2", "the disk died"), "log");
    let changed: Vec<bool> = fixture.entries[from..].iter().map(|entry| keys.follow(entry).unwrap()).collect();
    assert_eq!(changed, [false, true, true]);
    assert_eq!((keys.authority(), keys.log()), (key("authority 2").public_key(), key("log 2").public_key()));
    assert_eq!(Some(keys.clone()), RootKeys::of(&fixture.directory));
    // The key before says nothing more.
    let late = fixture.sign_together(&["authority", "authority 3"], authority_change("authority 3"), "authority");
    assert!(keys.follow(&late.encode_to_vec()).is_err());
    assert_eq!(keys.follow(b"rubbish"), Ok(false));
}

#[test]
fn a_newer_key_of_the_authority_vouches_for_the_founding_and_a_strangers_does_not() {
    let mut fixture = Fixture::town();
    fixture.change_authority_key("authority", "authority 2");
    fixture.change_authority_key("authority 2", "authority 3");
    let first = |trusted: &str| {
        let entries = fixture.entries.iter().map(Vec::as_slice);
        first_authority_key(&exchange_id(), key(trusted).public_key(), entries)
    };
    for trusted in ["authority", "authority 2", "authority 3"] {
        let first = first(trusted).unwrap();
        assert_eq!(first, *key("authority").public_key(), "{trusted}");
        let mut directory = Directory::new(exchange_id(), key(trusted).public_key().clone()).founded_by(first);
        fixture.entries.iter().for_each(|entry| directory.apply(entry).unwrap());
        assert_eq!(directory.root(), fixture.directory.root());
    }
    assert_eq!(first("authority 4"), None);
    // Without the founding's author the same directory is not read.
    let mut directory = Directory::new(exchange_id(), key("authority 3").public_key().clone());
    assert!(directory.apply(&fixture.entries[0]).is_err());
    // A founding that somebody else makes up, with a change to the trusted key that its owner never signed.
    let mut forged = Fixture::founded();
    let change = forged.sign_together(&["authority"], authority_change("authority 9"), "authority").encode_to_vec();
    forged.entries.push(change);
    let entries = forged.entries.iter().map(Vec::as_slice);
    assert_eq!(first_authority_key(&exchange_id(), key("authority 9").public_key(), entries), None);
}
