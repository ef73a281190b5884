//! Protobuf messages: a signed message as it comes over a connection, a question, a statement.

use std::sync::LazyLock;

use jiff::civil::date;
use prost::Message;
use proto::{exchange::v1 as wire, registry::v1::Statement};
use trust::{
    claim::{Verdict, evaluate},
    decision::decide,
    envelope,
    fixture::{Fixture, NOW_MS, key, party},
    key::{KeyId, Signer},
    question::{self, LARGEST_REQUEST},
};

/// A signed message of any form. What opens was signed by an acceptable key, over exactly its bytes.
pub(super) fn envelope(input: &[u8]) {
    let Ok(signed) = wire::Signed::decode(input) else { return };
    let keys = [key("housing node 1"), key("civil-affairs node 1")];
    let known = |id: &KeyId| keys.iter().map(Signer::public_key).find(|key| key.id() == id).cloned();
    let peeked = envelope::peek::<wire::Request>(&signed, LARGEST_REQUEST);
    if let Ok(opened) = envelope::open_signed::<wire::Request>(&signed, LARGEST_REQUEST, known) {
        assert_eq!(peeked.expect("what opens can be looked at"), opened.message);
        assert_eq!(envelope::digest_of(&signed).expect("what opens has an identity"), opened.digest);
        assert!(known(&opened.key_id).is_some(), "opened by a key that is not acceptable");
    }
    if let Some(wire::signed::Form::Envelope(envelope)) = &signed.form {
        let json = envelope::to_json(envelope);
        serde_json::from_str::<serde_json::Value>(&json).expect("an envelope in JSON is JSON");
    }
}

/// A question of a department with a grant, properly signed. Whatever it says, it gets a permit or a refusal with a
/// code; a permit covers every claim; no row is never a mismatch.
pub(super) fn request(input: &[u8]) {
    let Ok(request) = wire::Request::decode(input) else { return };
    let (housing, civil_affairs) = (party("housing"), party("civil-affairs"));
    let (envelope, _) = envelope::seal(&request, &key("housing node 1"));
    let directory = &TOWN.directory;
    let opened = question::open(directory, &envelope::signed(envelope), &housing, &civil_affairs, NOW_MS);
    let decided = match &opened {
        Ok((question, _)) => decide(directory, question, NOW_MS),
        Err(refusal) => Err(refusal.clone()),
    };
    match decided {
        Err(refusal) => assert!(!refusal.code.as_str().is_empty()),
        Ok(permit) => {
            assert_eq!(permit.claims.len(), request.claims.len());
            for claim in &permit.claims {
                let rule = permit.service.attributes.get(claim.attribute()).expect("a permit names known attributes");
                assert!(rule.operators().contains(&claim.operator()), "an operator that the service does not allow");
                let without_rows = evaluate(rule, claim, &[], date(2026, 1, 2));
                assert!(
                    rule.absence().is_some() || without_rows.verdict() != Verdict::Mismatch,
                    "no row is a mismatch"
                );
            }
        }
    }
}

/// A statement, signed by whoever the first byte says. What the rules let in can be folded, lengthens the log by one, and
/// leaves a directory that is read again from its snapshot as it was.
pub(super) fn statement(input: &[u8]) {
    let Some((signer, payload)) = input.split_first() else { return };
    let Ok(statement) = Statement::decode(payload) else { return };
    let signer = SIGNERS[usize::from(*signer) % SIGNERS.len()];
    let (envelope, _) = envelope::seal(&statement, &key(signer));
    let entry = envelope.encode_to_vec();
    let mut directory = TOWN.directory.clone();
    let before = directory.size();
    match directory.apply(&entry) {
        Err(error) => assert!(!error.refusal().code.as_str().is_empty()),
        Ok(()) => {
            assert_eq!(directory.size(), before + 1);
            let mut snapshot = Vec::new();
            directory.write_snapshot(&mut snapshot).expect("a directory can be written");
            let (exchange, authority) = (trust::fixture::exchange_id(), key("authority"));
            let again =
                trust::directory::Directory::read_snapshot(&exchange, authority.public_key(), &mut snapshot.as_slice());
            assert_eq!(again.expect("what was written is read").root(), directory.root());
        }
    }
}

/// Whose keys the fixture's town has.
pub(super) const SIGNERS: [&str; 8] = [
    "authority",
    "log",
    "housing",
    "civil-affairs",
    "housing node 1",
    "civil-affairs node 1",
    "housing recovery",
    "civil-affairs recovery",
];

pub(super) static TOWN: LazyLock<Fixture> = LazyLock::new(Fixture::town);
