//! The directory's rules: who may say what, in which order, and that everything else is refused.

mod services;

use prost::Message;
use proto::registry::v1::{self as wire, statement::Body};

use super::*;
use crate::{
    envelope::seal,
    fixture::{self, FOUNDED_MS, Fixture, NOW_MS, described, key},
    key::{Role, Signer},
};

fn check(fixture: &Fixture, signer: &str, body: Body, object: &str) -> Result<Checked, StatementError> {
    fixture.directory.check_envelope(&fixture.sign(signer, body, object))
}

fn suspended() -> (Body, &'static str) {
    let body = wire::DepartmentSuspended { department: "housing".into(), reason: "整改".into() };
    (Body::DepartmentSuspended(body), "department/housing")
}

fn revoke(owner: &str, target: &str) -> (Body, String) {
    let key_id = key(target).public_key().id().to_string();
    let object = format!("key/{key_id}");
    (Body::KeyRevoked(wire::KeyRevoked { department: owner.into(), key_id, reason: "遗失".into() }), object)
}

#[test]
fn a_directory_begins_with_its_founding_by_the_trusted_key() {
    let fixture = Fixture::founded();
    let entry = &fixture.entries[0];
    let mut other = Directory::new(fixture::exchange_id(), key("another authority").public_key().clone());
    assert_eq!(other.apply(entry), Err(StatementError::Envelope(EnvelopeError::KeyUnknown)));
    let mut elsewhere = Directory::new("elsewhere".parse().unwrap(), key("authority").public_key().clone());
    assert_eq!(elsewhere.apply(entry), Err(StatementError::ExchangeWrong));
    let mut twice = fixture.directory.clone();
    assert_eq!(twice.apply(entry), Err(StatementError::Founding));
    let mut empty = Directory::new(fixture::exchange_id(), key("authority").public_key().clone());
    let later = fixture.sign("authority", suspended().0, suspended().1).encode_to_vec();
    assert_eq!(empty.apply(&later), Err(StatementError::Founding));
}

#[test]
fn replaying_the_entries_gives_the_same_directory() {
    let fixture = Fixture::town();
    let mut replayed = Directory::new(fixture::exchange_id(), key("authority").public_key().clone());
    for entry in &fixture.entries {
        replayed.apply(entry).unwrap();
    }
    assert_eq!(replayed.root(), fixture.directory.root());
    assert_eq!(replayed.size(), fixture.entries.len() as u64);
}

#[test]
fn only_the_entitled_party_may_speak() {
    let fixture = Fixture::town();
    let (body, object) = suspended();
    for signer in ["housing", "civil-affairs", "log", "housing node 1", "housing recovery"] {
        assert_eq!(check(&fixture, signer, body.clone(), object).unwrap_err(), StatementError::NotEntitled, "{signer}");
    }
    assert!(check(&fixture, "authority", body, object).is_ok());

    // Neither the authority nor the log nor the applicant can grant.
    let id = "0011223344556677";
    let object = format!("access/civil-affairs/housing/{id}");
    let grant = Body::AccessGranted(fixture::granted(id));
    for signer in ["authority", "log", "housing", "civil-affairs node 1", "civil-affairs recovery"] {
        assert_eq!(
            check(&fixture, signer, grant.clone(), &object).unwrap_err(),
            StatementError::NotEntitled,
            "{signer}"
        );
    }
    assert!(check(&fixture, "civil-affairs", grant, &object).is_ok());

    // Another department cannot publish in this one's name.
    let mut service = fixture::marriage_registration();
    service.minor_version = 1;
    let object = "service/civil-affairs/marriage-registration/1";
    assert_eq!(
        check(&fixture, "housing", Body::ServicePublished(service), object).unwrap_err(),
        StatementError::NotEntitled
    );
    assert_eq!(
        check(&fixture, "stranger", suspended().0, suspended().1).unwrap_err(),
        StatementError::Envelope(EnvelopeError::KeyUnknown)
    );
}

#[test]
fn the_authority_can_revoke_keys_but_never_add_one() {
    let fixture = Fixture::town();
    let new_key = key("new");
    let object = format!("key/{}", new_key.public_key().id());
    let added = |role| {
        Body::KeyAdded(wire::KeyAdded {
            department: "housing".into(),
            key: Some(described(role, &new_key).to_wire()),
            node: String::new(),
        })
    };
    let department = added(Role::Department);
    assert_eq!(check(&fixture, "authority", department.clone(), &object).unwrap_err(), StatementError::NotEntitled);
    for signer in ["housing", "housing recovery"] {
        assert!(check(&fixture, signer, department.clone(), &object).is_ok(), "{signer}");
    }
    for role in [Role::Authority, Role::Log] {
        assert!(matches!(check(&fixture, "housing", added(role), &object).unwrap_err(), StatementError::Rule { .. }));
    }
    let (revocation, object) = revoke("housing", "housing node 1");
    for signer in ["housing", "housing recovery", "authority"] {
        assert!(check(&fixture, signer, revocation.clone(), &object).is_ok(), "{signer}");
    }
    assert_eq!(check(&fixture, "civil-affairs", revocation, &object).unwrap_err(), StatementError::NotEntitled);
}

#[test]
fn a_key_has_one_role_and_one_owner() {
    let fixture = Fixture::town();
    let taken = key("civil-affairs node 1");
    let body = Body::KeyAdded(wire::KeyAdded {
        department: "housing".into(),
        key: Some(described(Role::Node, &taken).to_wire()),
        node: "1".into(),
    });
    let object = format!("key/{}", taken.public_key().id());
    let mut statement = fixture.statement(body, &object);
    assert!(fixture.directory.check_envelope(&seal(&statement, &key("housing")).0).is_err());
    statement.predecessor.clear();
    assert!(fixture.directory.check_envelope(&seal(&statement, &key("housing")).0).is_err());
}

#[test]
fn a_revoked_key_signs_nothing_more() {
    let mut fixture = Fixture::town();
    let (body, object) = revoke("housing", "housing");
    fixture.say("authority", body, &object);
    let apply = fixture::application("8899aabbccddeeff");
    assert!(matches!(
        check(&fixture, "housing", Body::AccessApplied(apply), "access/civil-affairs/housing/8899aabbccddeeff"),
        Err(StatementError::KeyNotValid { .. })
    ));
    // The recovery key brings a new one.
    let next = key("housing second");
    let body = Body::KeyAdded(wire::KeyAdded {
        department: "housing".into(),
        key: Some(described(Role::Department, &next).to_wire()),
        node: String::new(),
    });
    fixture.say("housing recovery", body, &format!("key/{}", next.public_key().id()));
    let apply = Body::AccessApplied(fixture::application("8899aabbccddeeff"));
    assert!(check(&fixture, "housing second", apply, "access/civil-affairs/housing/8899aabbccddeeff").is_ok());
}

#[test]
fn each_statement_follows_the_last_about_its_object() {
    let fixture = Fixture::town();
    let (body, object) = suspended();
    let mut statement = fixture.statement(body, object);
    statement.predecessor = vec![0; 32];
    let wrong = fixture.directory.check_envelope(&seal(&statement, &key("authority")).0).unwrap_err();
    assert_eq!(wrong, StatementError::PredecessorWrong { object: "department/housing".into() });
    assert_eq!(wrong.refusal().code, Code::StatementOutdated);
    statement.predecessor.clear();
    assert!(fixture.directory.check_envelope(&seal(&statement, &key("authority")).0).is_err());
}

#[test]
fn a_statement_names_its_own_object() {
    let fixture = Fixture::town();
    let (body, _) = suspended();
    let error = check(&fixture, "authority", body, "department/civil-affairs").unwrap_err();
    assert_eq!(error.refusal().field, "object");
}

#[test]
fn an_id_is_never_used_again() {
    let fixture = Fixture::town();
    let body = wire::DepartmentAdmitted {
        department: "housing".into(),
        name: Some(wire::LocalName { zh: "住房局".into(), en: String::new() }),
        first_key: Some(described(Role::Department, &key("x")).to_wire()),
        recovery_key: Some(described(Role::Recovery, &key("y")).to_wire()),
        ..Default::default()
    };
    let error = check(&fixture, "authority", Body::DepartmentAdmitted(body), "department/housing").unwrap_err();
    assert_eq!(error.refusal().field, "department");
}

#[test]
fn no_two_nodes_share_a_tls_key() {
    let fixture = Fixture::town();
    let body = wire::NodePublished {
        department: "housing".into(),
        node: "2".into(),
        addresses: vec!["127.0.0.1:1".into()],
        tls_key: fixture::tls_key("civil-affairs", "1").to_vec(),
        ..Default::default()
    };
    let error = check(&fixture, "housing", Body::NodePublished(body), "node/housing/2").unwrap_err();
    assert_eq!(error.refusal().field, "tls_key");
}

#[test]
fn a_grant_only_narrows_what_was_applied_for() {
    let fixture = Fixture::town();
    let id = "0011223344556677";
    let object = format!("access/civil-affairs/housing/{id}");
    type Widening<'a> = (&'a str, &'a dyn Fn(&mut wire::AccessGranted));
    let widen: [Widening<'_>; 5] = [
        ("scope", &|granted| granted.scope[0].operators.push("one_of".into())),
        ("scope", &|granted| granted.scope[0].disclose = true),
        ("scope", &|granted| granted.scope[0].attribute = "registered_on".into()),
        ("scope", &|granted| granted.scope.clear()),
        ("item", &|granted| granted.item = "入学".into()),
    ];
    for (field, change) in widen {
        let mut granted = fixture::granted(id);
        change(&mut granted);
        let error = check(&fixture, "civil-affairs", Body::AccessGranted(granted), &object).unwrap_err();
        assert_eq!(error.refusal().field, field);
    }
    let unasked = "8899aabbccddeeff";
    let object = format!("access/civil-affairs/housing/{unasked}");
    let grant = Body::AccessGranted(fixture::granted(unasked));
    assert!(check(&fixture, "civil-affairs", grant, &object).is_err());
}

#[test]
fn no_legal_basis_no_publishing() {
    let fixture = Fixture::town();
    let object = "service/civil-affairs/cremation/1";
    let mut service = fixture::marriage_registration();
    service.service = "cremation".into();
    service.legal_bases.clear();
    let error = check(&fixture, "civil-affairs", Body::ServicePublished(service), object).unwrap_err();
    assert_eq!(error.refusal().field, "legal_basis");
}

#[test]
fn absence_means_nothing_in_a_register_that_is_not_complete() {
    let fixture = Fixture::town();
    let mut service = fixture::marriage_registration();
    service.service = "cremation".into();
    service.completeness = None;
    let object = "service/civil-affairs/cremation/1";
    let error = check(&fixture, "civil-affairs", Body::ServicePublished(service), object).unwrap_err();
    assert_eq!(error.refusal().field, "attributes.marital_status.absence");
}

/// A later version's statement: passed over where it says so, otherwise the reader stops and says which version.
#[test]
fn unknown_kinds_are_passed_over_only_if_they_allow_it() {
    let mut fixture = Fixture::town();
    let mut statement = fixture.statement(suspended().0, "future/1");
    statement.body = None;
    statement.wire_version = 9;
    let entry = seal(&statement, &key("authority")).0.encode_to_vec();
    assert_eq!(fixture.directory.apply(&entry), Err(StatementError::UnknownKind { wire_version: 9 }));
    statement.ignorable = true;
    let entry = seal(&statement, &key("authority")).0.encode_to_vec();
    let before = fixture.directory.size();
    fixture.directory.apply(&entry).unwrap();
    assert_eq!(fixture.directory.size(), before + 1);
}

#[test]
fn a_revocation_told_directly_counts_at_once_and_the_directory_may_bring_it_later() {
    let mut fixture = Fixture::town();
    let (body, object) = revoke("housing", "housing node 1");
    let entry = fixture.sign("housing", body, &object).encode_to_vec();
    let node_key = *key("housing node 1").public_key().id();
    let housing = fixture::department("housing");
    assert!(fixture.directory.node_key(&housing, &node_key, FOUNDED_MS).is_ok());
    let mut told = fixture.directory.clone();
    assert_eq!(told.apply_revocation(&entry), Ok(true));
    assert_eq!(told.apply_revocation(&entry), Ok(false));
    assert_eq!(told.node_key(&housing, &node_key, FOUNDED_MS).unwrap_err(), Code::KeyRevoked);
    told.apply(&entry).unwrap();
    fixture.directory.apply(&entry).unwrap();
    assert_eq!(told.root(), fixture.directory.root());
    let (body, object) = suspended();
    let other = fixture.sign("authority", body, object).encode_to_vec();
    assert!(told.apply_revocation(&other).is_err(), "only revocations are taken directly");
}

/// Whoever reads the whole directory recomputes what the log commits to, and takes nothing else.
#[test]
fn a_commitment_to_the_state_is_recomputed_and_a_wrong_one_refused() {
    let mut fixture = Fixture::town();
    let right = fixture.directory.commitment();
    let refused = |change: &dyn Fn(&mut wire::State)| {
        let mut state = right.clone();
        change(&mut state);
        check(&fixture, "log", Body::State(state), "state").unwrap_err().refusal().field
    };
    assert_eq!(refused(&|state| state.root[0] ^= 1), "root");
    assert_eq!(refused(&|state| state.objects += 1), "objects");
    assert_eq!(refused(&|state| state.directory_size -= 1), "directory_size");
    assert_eq!(refused(&|state| state.root.truncate(31)), "root");
    let by_the_authority = check(&fixture, "authority", Body::State(right.clone()), "state").unwrap_err();
    assert_eq!(by_the_authority, StatementError::NotEntitled);

    fixture.commit_to_state();
    let committed = fixture.directory.committed().unwrap().clone();
    assert_eq!((committed.place().index, committed.size()), (10, 10));
    assert_eq!(committed.root().as_bytes().as_slice(), right.root);
    // What is said later changes the state, not what was committed to.
    let (body, object) = suspended();
    fixture.say("authority", body, object);
    assert_eq!(committed.map().root(), *committed.root());
    assert_ne!(fixture.directory.state().root(), *committed.root());
    assert!(check(&fixture, "log", Body::State(right), "state").is_err(), "the old commitment is outdated");
    fixture.commit_to_state();
    assert_eq!(fixture.directory.committed().unwrap().size(), 12);
}

/// A statement that is passed over is part of the state: readers of different versions come to the same root.
#[test]
fn what_is_passed_over_is_part_of_the_state() {
    let mut fixture = Fixture::town();
    let mut statement = fixture.statement(suspended().0, "future/1");
    statement.body = None;
    statement.ignorable = true;
    let entry = seal(&statement, &key("authority")).0.encode_to_vec();
    let before = fixture.directory.state().root();
    fixture.directory.apply(&entry).unwrap();
    assert_ne!(fixture.directory.state().root(), before);
    assert_eq!(fixture.directory.state().get("future/1").unwrap().last().index, 10);
    // It has a history like any other.
    assert!(matches!(fixture.directory.apply(&entry), Err(StatementError::PredecessorWrong { .. })));
}

fn evidence_note(size: u64, signer: &str, log: &str) -> String {
    let root =
        if size == 0 { crate::log::hash::empty_root() } else { Hash::from_bytes([u8::try_from(size).unwrap(); 32]) };
    fixture::signed_checkpoint(log, size, root, &key(signer))
}

const HOUSINGS_LOG: &str = "ninghe/housing/1/evidence";

/// The second log only grows, whatever the registry may wish, and every reader sees that it does.
#[test]
fn the_second_log_is_taken_only_where_it_continues() {
    let mut fixture = Fixture::town();
    let notes: Vec<String> = (1..=5).map(|size| evidence_note(size, "housing node 1", HOUSINGS_LOG)).collect();
    fixture.take_anchors(&notes[..2]);
    fixture.take_anchors(&notes);
    let taken = fixture.directory.anchors().unwrap().clone();
    assert_eq!((taken.log, taken.size, taken.place.index), (1, 5, 11));

    let root = Hash::from_bytes([7; 32]);
    let take = |number: u32, size: u64, signer: &str, reason: &str| {
        let origin = crate::anchor::origin(&fixture::exchange_id(), number);
        let checkpoint = fixture::signed_checkpoint(&origin, size, root, &key(signer));
        let body = wire::AnchorsTaken { checkpoint, consistency: Vec::new(), reason: reason.into() };
        check(&fixture, "log", Body::AnchorsTaken(body), "anchors").map_err(|error| error.refusal().field)
    };
    assert_eq!(take(1, 5, "log", "").unwrap_err(), "checkpoint", "nothing new");
    assert_eq!(take(1, 6, "log", "").unwrap_err(), "consistency", "another history");
    assert_eq!(take(1, 6, "authority", "").unwrap_err(), "checkpoint", "not the log's word");
    assert_eq!(take(2, 3, "log", "").unwrap_err(), "reason", "a successor says why");
    assert_eq!(take(3, 3, "log", "lost").unwrap_err(), "checkpoint", "one after the other");
    assert!(take(2, 3, "log", "lost with the machine").is_ok());
}

#[test]
fn an_evidence_log_is_closed_by_its_department_and_has_one_successor_after_the_other() {
    let mut fixture = Fixture::town();
    let object = "evidence/housing/1";
    let closed = |log: u32, checkpoint: String, highest_seen: u64| {
        let (department, node, reason) = ("housing".into(), "1".into(), "restored from a backup".into());
        Body::EvidenceLogClosed(wire::EvidenceLogClosed { department, node, log, checkpoint, highest_seen, reason })
    };
    let field = |fixture: &Fixture, signer: &str, body: Body| {
        check(fixture, signer, body, object).map(drop).map_err(|error| error.refusal().field)
    };
    let kept = evidence_note(4, "housing node 1", HOUSINGS_LOG);
    assert_eq!(field(&fixture, "housing", closed(2, kept.clone(), 9)).unwrap_err(), "log");
    assert_eq!(field(&fixture, "housing", closed(1, kept.clone(), 3)).unwrap_err(), "highest_seen");
    let stranger = evidence_note(4, "civil-affairs node 1", HOUSINGS_LOG);
    assert_eq!(field(&fixture, "housing", closed(1, stranger, 9)).unwrap_err(), "checkpoint");
    assert!(check(&fixture, "civil-affairs", closed(1, kept.clone(), 9), object).is_err());
    fixture.say("housing", closed(1, kept, 9), object);

    let (housing, node) = (fixture::department("housing"), fixture::node("1"));
    assert_eq!(fixture.directory.evidence_log(&housing, &node), 2);
    let known = &fixture.directory.closed_logs(&housing, &node)[0];
    assert_eq!((known.size, known.highest_seen), (4, 9));
    // What the closed log says is not anchored any more; its successor's is.
    let read = |log: &str| {
        let note = evidence_note(3, "housing node 1", log);
        crate::anchor::read(&fixture.directory, note.as_bytes(), crate::anchor::Revoked::Refused)
            .map(|anchored| anchored.size())
            .map_err(|error| error.refusal().code)
    };
    assert_eq!(read(HOUSINGS_LOG), Err(Code::EvidenceLogClosed));
    assert_eq!(read("ninghe/housing/1/evidence/2"), Ok(3));
    assert_eq!(read("ninghe/housing/1/evidence/3"), Err(Code::EvidenceLogClosed));
    assert_eq!(read("ninghe/housing/2/evidence"), Err(Code::KeyUnknown));
    assert_eq!(read("elsewhere/housing/1/evidence"), Err(Code::MessageMalformed));
    let next = evidence_note(0, "housing node 1", "ninghe/housing/1/evidence/2");
    fixture.say("housing", closed(2, next, 0), object);
    assert_eq!(fixture.directory.evidence_log(&housing, &node), 3);
}

#[test]
fn a_statement_has_at_most_60_000_bytes() {
    let fixture = Fixture::town();
    let reason = "x".repeat(LARGEST_STATEMENT);
    let body = Body::DepartmentSuspended(wire::DepartmentSuspended { department: "housing".into(), reason });
    let error = check(&fixture, "authority", body, "department/housing").unwrap_err();
    assert_eq!(error.refusal().code, Code::MessageTooLarge);
}

proptest::proptest! {
    #[test]
    fn arbitrary_entries_never_panic_and_never_count(
        bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400)
    ) {
        proptest::prop_assert!(Fixture::founded().directory.check(&bytes).is_err());
    }
}

/// The end of an overlap: what was signed before stays good.
#[test]
fn a_retired_key_counts_until_its_end_and_no_longer() {
    let mut fixture = Fixture::town();
    let node_key = *key("housing node 1").public_key().id();
    let object = Object::Key(node_key).to_string();
    let retire = |from_ms| {
        Body::KeyRetired(wire::KeyRetired { department: "housing".into(), key_id: node_key.to_string(), from_ms })
    };
    let refused =
        |signer: &str, body: Body| fixture.directory.check_envelope(&fixture.sign(signer, body, &object)).unwrap_err();
    assert_eq!(refused("civil-affairs", retire(NOW_MS)), StatementError::NotEntitled);
    // The authority can revoke a key; that it is no longer used is its owner's to say.
    assert_eq!(refused("authority", retire(NOW_MS)), StatementError::NotEntitled);
    assert!(matches!(refused("housing", retire(5)), StatementError::Rule { field, .. } if field == "from_ms"));
    fixture.say("housing", retire(NOW_MS), &object);
    let counts = |at_ms| fixture.directory.node_key(&fixture::department("housing"), &node_key, at_ms).map(drop);
    assert_eq!(counts(NOW_MS - 1), Ok(()));
    assert_eq!(counts(NOW_MS), Err(Code::KeyExpired));
    // A later end does not bring it back.
    fixture.say("housing", retire(NOW_MS + 5), &object);
    assert_eq!(
        fixture.directory.node_key(&fixture::department("housing"), &node_key, NOW_MS).map(drop),
        Err(Code::KeyExpired)
    );
}

/// The seam for anchors: what stood in the directory before the revocation is left alone.
#[test]
fn a_revocation_is_retroactive_for_what_was_not_anchored_before_it() {
    let mut fixture = Fixture::town();
    let node_key = *key("housing node 1").public_key().id();
    let housing = fixture::department("housing");
    let anchored = fixture.directory.size() - 1;
    let body = Body::KeyRevoked(wire::KeyRevoked {
        department: "housing".into(),
        key_id: node_key.to_string(),
        reason: "遗失".into(),
    });
    let statement = fixture.sign("housing", body.clone(), &Object::Key(node_key).to_string()).encode_to_vec();
    assert!(fixture.directory.apply_revocation(&statement).unwrap());
    let counts =
        |fixture: &Fixture, anchor| fixture.directory.node_key_anchored(&housing, &node_key, NOW_MS, anchor).map(drop);
    assert_eq!(counts(&fixture, None), Err(Code::KeyRevoked));
    assert_eq!(counts(&fixture, Some(anchored)), Ok(()), "the directory has yet to bring the revocation");
    fixture.directory.apply(&statement).unwrap();
    let revoked = fixture.directory.size() - 1;
    assert_eq!(counts(&fixture, Some(anchored)), Ok(()));
    assert_eq!(counts(&fixture, Some(revoked)), Err(Code::KeyRevoked));
    assert_eq!(counts(&fixture, None), Err(Code::KeyRevoked));
}

#[test]
fn while_a_tls_key_is_renewed_either_is_the_nodes_and_nobody_elses() {
    let mut fixture = Fixture::town();
    let (old, new) = (fixture::tls_key("housing", "1"), [8; 32]);
    let publish = |tls_key: [u8; 32], next: &[u8]| {
        Body::NodePublished(wire::NodePublished {
            department: "housing".into(),
            node: "1".into(),
            addresses: vec!["127.0.0.1:7443".into()],
            tls_key: tls_key.to_vec(),
            next_tls_key: next.to_vec(),
            ..Default::default()
        })
    };
    let since = |fixture: &Fixture| fixture.directory.node_by_tls_key(&new).map(|node| node.tls_key_since_ms);
    fixture.say("housing", publish(old, &new), "node/housing/1");
    for key in [old, new] {
        assert_eq!(fixture.directory.node_by_tls_key(&key).unwrap().department, fixture::department("housing"));
    }
    let published = since(&fixture).unwrap();
    let taken = Body::NodePublished(wire::NodePublished {
        department: "civil-affairs".into(),
        node: "1".into(),
        addresses: vec!["127.0.0.1:7443".into()],
        tls_key: fixture::tls_key("civil-affairs", "1").to_vec(),
        next_tls_key: new.to_vec(),
        ..Default::default()
    });
    let refused = fixture.directory.check_envelope(&fixture.sign("civil-affairs", taken, "node/civil-affairs/1"));
    assert!(matches!(refused, Err(StatementError::Rule { field, .. }) if field == "next_tls_key"));
    for wrong in [&old[..], &new[..5]] {
        let envelope = fixture.sign("housing", publish(old, wrong), "node/housing/1");
        assert!(matches!(fixture.directory.check_envelope(&envelope), Err(StatementError::Rule { .. })));
    }
    fixture.say("housing", publish(new, &[]), "node/housing/1");
    assert!(fixture.directory.node_by_tls_key(&old).is_none());
    assert!(since(&fixture).unwrap() > published, "its time begins when it is the key");
    let begun = since(&fixture);
    fixture.say("housing", publish(new, &[]), "node/housing/1");
    assert_eq!(since(&fixture), begun);
}
