//! Bundles: a sound one holds, every altered one is found out and says what is wrong.

mod attested;
mod succession;

use super::*;
use crate::{
    envelope::{seal, signed},
    evidence,
    fixture::{self, Fixture, key, party, path, signed_checkpoint},
    key::Signer,
};

/// Housing's evidence of one question, with the answer `MATCH`.
fn bundle(fixture: &Fixture) -> wire::EvidenceBundle {
    bundle_asked(fixture, fixture)
}

/// The same, where question and answer were made when the directory was as `then`.
fn bundle_asked(fixture: &Fixture, then: &Fixture) -> wire::EvidenceBundle {
    let request = then.request();
    let (request_envelope, request_digest) = seal(&request, &key("housing node 1"));
    let answer = then.answer(&request, &request_digest, wire::Verdict::Match);
    let (answer_envelope, answer_digest) = seal(&answer, &key("civil-affairs node 1"));
    bundle_of(
        fixture,
        &[
            (EntryKind::QuestionSent, signed(request_envelope), request_digest),
            (EntryKind::AnswerReceived, signed(answer_envelope), answer_digest),
        ],
    )
}

fn bundle_of(fixture: &Fixture, messages: &[(EntryKind, wire::Signed, Digest)]) -> wire::EvidenceBundle {
    let salt = [4; 32];
    let entries: Vec<Entry> = std::iter::once(Entry { kind: EntryKind::Outcome, salt, envelope: Digest::new([0; 32]) })
        .chain(messages.iter().map(|(kind, _, digest)| Entry { kind: *kind, salt, envelope: *digest }))
        .collect();
    let leaves: Vec<Hash> = entries.iter().map(Entry::leaf).collect();
    let mut frontier = crate::log::frontier::Frontier::new();
    for leaf in &leaves {
        frontier.append(*leaf);
    }
    let origin = evidence::origin(&party("housing"), &fixture::node("1"));
    let items = messages
        .iter()
        .enumerate()
        .map(|(position, (kind, message, _))| wire::EvidenceItem {
            kind: (*kind).into(),
            message: Some(message.clone()),
            salt: salt.to_vec(),
            index: position as u64 + 1,
            inclusion: path(&leaves, position as u64 + 1),
        })
        .collect();
    wire::EvidenceBundle {
        version: VERSION,
        exchange_id: "ninghe".into(),
        logs: vec![wire::EvidenceLogPart {
            checkpoint: signed_checkpoint(&origin, frontier.size(), frontier.root(), &key("housing node 1")),
            origin,
            items,
            anchor: None,
        }],
        directory_checkpoint: fixture.checkpoint(),
        directory: fixture
            .entries
            .iter()
            .enumerate()
            .map(|(index, entry)| wire::DirectoryProof {
                entry: entry.clone(),
                index: index as u64,
                inclusion: fixture.inclusion(index as u64),
            })
            .collect(),
        state: state_proofs(fixture),
    }
}

/// As an exporter makes them: for each object with a statement before the last commitment.
fn state_proofs(fixture: &Fixture) -> Vec<wire::StateProof> {
    let Some(committed) = fixture.directory.committed() else { return Vec::new() };
    let objects = committed.map().iter().map(|said| said.object()).filter(|object| !is_the_logs_own(object));
    objects.map(|object| committed.map().prove(object).unwrap()).collect()
}

fn authority() -> PublicKey {
    key("authority").public_key().clone()
}

fn wrong_check(bundle: &wire::EvidenceBundle) -> String {
    verify(&bundle.encode_to_vec(), &authority()).wrong().expect("something wrong").name.clone()
}

#[test]
fn a_sound_bundle_holds_and_shows_question_and_answer() {
    let report = verify(&bundle(&Fixture::town()).encode_to_vec(), &authority());
    assert!(report.is_sound(), "{:?}", report.wrong());
    assert_eq!(report.request.unwrap().case_number, "GZF-2026-0001");
    assert_eq!(report.answers.len(), 1);
    assert!(report.checks.iter().any(|check| matches!(check.finding, Finding::NotShown(_))));
}

/// The statements that one relies on suffice; the rest of the directory need not be there.
#[test]
fn an_excerpt_of_the_directory_suffices() {
    let mut fixture = Fixture::town();
    fixture.admit("taxation");
    let mut bundle = bundle(&fixture);
    bundle.directory.pop();
    assert!(verify(&bundle.encode_to_vec(), &authority()).is_sound());
}

#[test]
fn each_part_that_is_altered_is_named() {
    let fixture = Fixture::town();
    let sound = bundle(&fixture);
    let alter = |change: &dyn Fn(&mut wire::EvidenceBundle)| {
        let mut altered = sound.clone();
        change(&mut altered);
        wrong_check(&altered)
    };
    let origin = "evidence log ninghe/housing/1/evidence";
    let envelope_of = |bundle: &mut wire::EvidenceBundle, item: usize, change: &dyn Fn(&mut wire::Envelope)| {
        let message = bundle.logs[0].items[item].message.as_mut().unwrap();
        if let Some(wire::signed::Form::Envelope(envelope)) = &mut message.form {
            change(envelope);
        }
    };
    assert_eq!(alter(&|bundle| bundle.version = 2), "bundle version");
    assert_eq!(alter(&|bundle| bundle.directory[0].entry[40] ^= 1), "founding");
    assert_eq!(
        alter(&|bundle| bundle.directory_checkpoint = bundle.directory_checkpoint.replace("\n10\n", "\n9\n")),
        "directory checkpoint"
    );
    assert_eq!(alter(&|bundle| bundle.directory[3].entry[60] ^= 1), "statement 3 inclusion");
    assert_eq!(alter(&|bundle| bundle.directory[3].inclusion[0][0] ^= 1), "statement 3 inclusion");
    assert_eq!(alter(&|bundle| bundle.directory.swap(3, 4)), "statement 3");
    assert_eq!(alter(&|bundle| bundle.logs[0].items[0].salt[0] ^= 1), format!("{origin} entry 1"));
    assert_eq!(alter(&|bundle| bundle.logs[0].items[1].index = 1), format!("{origin} entry 1"));
    assert_eq!(alter(&|bundle| bundle.logs[0].checkpoint = fixture.checkpoint()), format!("{origin} checkpoint"));
    assert_eq!(
        alter(&|bundle| envelope_of(bundle, 0, &|envelope| envelope.payload[50] ^= 1)),
        format!("{origin} entry 1")
    );
    assert_eq!(
        alter(&|bundle| envelope_of(bundle, 0, &|envelope| envelope.signatures[0].sig[9] ^= 1)),
        "request signature"
    );
    assert_eq!(
        alter(&|bundle| envelope_of(bundle, 1, &|envelope| envelope.signatures[0].sig[9] ^= 1)),
        "answer signature"
    );
    assert_eq!(alter(&|bundle| bundle.logs[0].items.clear()), "request");
}

#[test]
fn an_answer_to_another_question_is_found_out() {
    let fixture = Fixture::town();
    let request = fixture.request();
    let (request_envelope, request_digest) = seal(&request, &key("housing node 1"));
    let mut answer = fixture.answer(&request, &Digest::new([1; 32]), wire::Verdict::Match);
    let bundle_with = |answer: &wire::Answer, signer: &str| {
        let (envelope, digest) = seal(answer, &key(signer));
        bundle_of(
            &fixture,
            &[
                (EntryKind::QuestionSent, signed(request_envelope.clone()), request_digest),
                (EntryKind::AnswerReceived, signed(envelope), digest),
            ],
        )
    };
    assert_eq!(wrong_check(&bundle_with(&answer, "civil-affairs node 1")), "answer request_digest");
    answer.request_digest = request_digest.as_bytes().to_vec();
    assert_eq!(wrong_check(&bundle_with(&answer, "housing node 1")), "answer signature");
    // An answer that the directory did not permit: the grant it names is not the one.
    answer.grant = vec![1; 32];
    assert_eq!(wrong_check(&bundle_with(&answer, "civil-affairs node 1")), "decision");
}

#[test]
fn the_decision_is_made_again() {
    let fixture = Fixture::town();
    let mut without_grant = bundle(&fixture);
    without_grant.directory.pop();
    assert_eq!(wrong_check(&without_grant), "decision");
}

/// Whoever checks it sees that the answer rested on the service's own statement, and needs that to see it.
#[test]
fn what_a_department_asked_itself_rests_on_its_service() {
    let mut fixture = Fixture::town();
    let mut service = fixture::marriage_registration();
    service.department = "housing".into();
    fixture.publish(service);
    let id = crate::ids::ServiceId::read("housing/marriage-registration", 1).unwrap();
    let published = fixture.digest_of(&crate::directory::Object::Service(id));
    let request = wire::Request { recipient: party("housing").to_string(), ..fixture.request() };
    let (request_envelope, request_digest) = seal(&request, &key("housing node 1"));
    let bundle_resting_on = |grant: &[u8]| {
        let answer = fixture.answer(&request, &request_digest, wire::Verdict::Match);
        let (envelope, digest) = seal(&wire::Answer { grant: grant.to_vec(), ..answer }, &key("housing node 1"));
        bundle_of(
            &fixture,
            &[
                (EntryKind::QuestionSent, signed(request_envelope.clone()), request_digest),
                (EntryKind::AnswerReceived, signed(envelope), digest),
            ],
        )
    };
    let mut bundle = bundle_resting_on(published.as_bytes());
    let report = verify(&bundle.encode_to_vec(), &authority());
    assert!(report.is_sound(), "{:?}", report.wrong());
    let Finding::Holds(rests_on) = finding(&report, "decision") else { panic!("it is not shown") };
    assert!(rests_on.contains(&published.to_string()), "{rests_on}");
    // Another's grant is none to oneself.
    assert_eq!(wrong_check(&bundle_resting_on(&[1; 32])), "decision");
    bundle.directory.pop();
    assert_eq!(wrong_check(&bundle), "decision");
}

fn finding(report: &Report, name: &str) -> Finding {
    report.checks.iter().find(|check| check.name == name).unwrap_or_else(|| panic!("no {name}")).finding.clone()
}

const NEWER: &str = "nothing newer was said";

#[test]
fn a_state_statement_shows_that_nothing_was_held_back() {
    let mut fixture = Fixture::town();
    let asked_before = bundle(&fixture);
    assert!(matches!(finding(&verify(&asked_before.encode_to_vec(), &authority()), NEWER), Finding::NotShown(_)));

    fixture.commit_to_state();
    // Asked when the directory had ten statements; the eleventh commits to them.
    let mut covered = bundle(&fixture);
    covered.logs = asked_before.logs.clone();
    let report = verify(&covered.encode_to_vec(), &authority());
    assert!(report.is_sound(), "{:?}", report.wrong());
    let Finding::Holds(shown) = finding(&report, NEWER) else { panic!("it holds") };
    assert_eq!(
        shown,
        "from 2026-01-02 08:00:00 +08:00 to 2026-01-02 08:01:00 +08:00, nothing that question and answer rest on was revoked, \
         suspended, withdrawn or replaced but as the bundle shows; what was said later is not shown"
    );
    // An answer that rests on more than the state statement covers.
    let later = bundle(&fixture);
    let report = verify(&later.encode_to_vec(), &authority());
    assert!(report.is_sound(), "{:?}", report.wrong());
    let Finding::NotShown(why) = finding(&report, NEWER) else { panic!("it is not shown") };
    assert!(why.contains("rests on 11 statements"), "{why}");
}

/// Whoever leaves a statement out that speaks against the evidence is found out, whatever else was signed well.
#[test]
fn a_statement_that_was_left_out_is_found_out_by_the_state() {
    let mut fixture = Fixture::town();
    let object = "access/civil-affairs/housing/0011223344556677";
    let logs = bundle(&fixture).logs;
    let revoked = proto::registry::v1::AccessRevoked { reason: "ended".into() };
    fixture.say("civil-affairs", proto::registry::v1::statement::Body::AccessRevoked(revoked), object);
    fixture.commit_to_state();
    let whole = wire::EvidenceBundle { logs, ..bundle(&fixture) };
    assert!(verify(&whole.encode_to_vec(), &authority()).is_sound());

    let wrong = |change: &dyn Fn(&mut wire::EvidenceBundle)| {
        let mut altered = whole.clone();
        change(&mut altered);
        wrong_check(&altered)
    };
    let named = format!("state of {object}");
    let held_back = |bundle: &mut wire::EvidenceBundle| drop(bundle.directory.remove(10));
    assert_eq!(wrong(&held_back), named);
    // Nor does an older proof help, or none.
    let mut before = Fixture::town();
    before.commit_to_state();
    let older = before.directory.committed().unwrap().map().prove(object).unwrap();
    let place = whole.state.iter().position(|proof| proof.object == object).unwrap();
    assert_eq!(
        wrong(&|bundle| {
            held_back(bundle);
            bundle.state[place] = older.clone();
        }),
        named
    );
    assert_eq!(wrong(&|bundle| drop(bundle.state.remove(place))), named);
    assert_eq!(wrong(&|bundle| bundle.state.push(whole.state[place].clone())), named);
    // Without the state statement there is nothing to hold the proofs against.
    assert_eq!(wrong(&|bundle| drop(bundle.directory.pop())), "state proofs");
    let stranger = wire::StateProof { object: "item/housing/入学".into(), ..whole.state[0].clone() };
    assert_eq!(wrong(&|bundle| bundle.state.push(stranger.clone())), "state of item/housing/入学");
}

#[test]
fn another_authority_vouches_for_nothing() {
    let report = verify(&bundle(&Fixture::town()).encode_to_vec(), key("housing").public_key());
    assert_eq!(report.wrong().unwrap().name, "founding");
}

/// A revoked key could have signed anything since; without an anchor the evidence is not believed.
#[test]
fn what_a_revoked_node_key_signed_is_not_believed_without_an_anchor() {
    let mut fixture = Fixture::town();
    let key_id = key("housing node 1").public_key().id().to_string();
    let object = format!("key/{key_id}");
    let body = proto::registry::v1::KeyRevoked { department: "housing".into(), key_id, reason: "遗失".into() };
    fixture.say("housing", proto::registry::v1::statement::Body::KeyRevoked(body), &object);
    let report = verify(&bundle(&fixture).encode_to_vec(), &authority());
    assert_eq!(report.wrong().unwrap().finding, Finding::Wrong("the node's key was revoked".into()));
}

/// The bundle with its evidence anchored: the second log holds its checkpoint, and the directory takes that.
fn anchored(fixture: &mut Fixture) -> wire::EvidenceBundle {
    let logs = bundle(fixture).logs;
    let notes = vec!["another node's\n".to_owned(), logs[0].checkpoint.clone()];
    fixture.take_anchors(&notes);
    let taken_at = fixture.directory.anchors().unwrap().place.index;
    let inclusion = path(&fixture::note_leaves(&notes), 1);
    let mut bundle = wire::EvidenceBundle { logs, ..bundle(fixture) };
    bundle.logs[0].anchor = Some(wire::Anchor { index: 1, inclusion, taken_at });
    bundle
}

fn revoke_node_key(fixture: &mut Fixture, department: &str) {
    let key_id = key(&format!("{department} node 1")).public_key().id().to_string();
    let object = format!("key/{key_id}");
    let body = proto::registry::v1::KeyRevoked { department: department.into(), key_id, reason: "遗失".into() };
    fixture.say(department, proto::registry::v1::statement::Body::KeyRevoked(body), &object);
}

/// With the directory as the fixture has it now.
fn brought_up_to_date(bundle: &wire::EvidenceBundle, fixture: &Fixture) -> wire::EvidenceBundle {
    let mut now = super::tests::bundle(fixture);
    now.logs = bundle.logs.clone();
    now
}

/// A revocation takes nothing back that was anchored before it: of the keys of both sides.
#[test]
fn what_was_anchored_before_a_revocation_stays_good_and_what_was_not_does_not() {
    for department in ["housing", "civil-affairs"] {
        let mut fixture = Fixture::town();
        let early = anchored(&mut fixture);
        assert!(verify(&early.encode_to_vec(), &authority()).is_sound());
        revoke_node_key(&mut fixture, department);
        fixture.commit_to_state();
        let report = verify(&brought_up_to_date(&early, &fixture).encode_to_vec(), &authority());
        assert!(report.is_sound(), "{department}: {:?}", report.wrong());
        let Finding::Holds(shown) = finding(&report, "anchor of ninghe/housing/1/evidence") else { panic!("it holds") };
        assert!(shown.contains("entry 1 of the registry's second log"), "{shown}");

        // Anchored afterwards, by a registry that plays along or by the thief's own doing.
        let mut fixture = Fixture::town();
        let logs = bundle(&fixture).logs;
        revoke_node_key(&mut fixture, department);
        let notes = vec![logs[0].checkpoint.clone()];
        fixture.take_anchors(&notes);
        let mut late = brought_up_to_date(&wire::EvidenceBundle { logs, ..Default::default() }, &fixture);
        let taken_at = fixture.directory.anchors().unwrap().place.index;
        late.logs[0].anchor = Some(wire::Anchor { index: 0, inclusion: Vec::new(), taken_at });
        assert!(!verify(&late.encode_to_vec(), &authority()).is_sound(), "{department}");
    }
}

#[test]
fn an_anchor_that_does_not_hold_is_found_out() {
    let mut fixture = Fixture::town();
    let sound = anchored(&mut fixture);
    let wrong = |change: &dyn Fn(&mut wire::Anchor)| {
        let mut altered = sound.clone();
        change(altered.logs[0].anchor.as_mut().unwrap());
        wrong_check(&altered)
    };
    let name = "anchor of ninghe/housing/1/evidence";
    assert_eq!(wrong(&|anchor| anchor.index = 0), name);
    assert_eq!(wrong(&|anchor| anchor.taken_at = 9), name);
    assert_eq!(wrong(&|anchor| anchor.taken_at = u64::MAX), name);
    assert_eq!(wrong(&|anchor| anchor.inclusion[0][0] ^= 1), name);
    assert_eq!(wrong(&|anchor| anchor.inclusion.clear()), name);
    // Another checkpoint of the same log was not the one that was anchored.
    let mut other = sound.clone();
    other.logs[0].checkpoint =
        signed_checkpoint("ninghe/housing/1/evidence", 4, Hash::from_bytes([1; 32]), &key("housing node 1"));
    assert_eq!(wrong_check(&other), name);
}

/// Not one byte of the file can change unnoticed.
#[test]
fn every_flipped_byte_is_found_out() {
    let bytes = bundle(&Fixture::town()).encode_to_vec();
    // Every 7th byte keeps the test quick; the offset moves with the length, so that over time all are tried.
    for index in (bytes.len() % 7..bytes.len()).step_by(7) {
        let mut altered = bytes.clone();
        altered[index] ^= 1;
        assert!(verify(&altered, &authority()).wrong().is_some(), "byte {index} of {}", bytes.len());
    }
}

proptest::proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..500)) {
        proptest::prop_assert!(!verify(&bytes, &authority()).is_sound());
    }
}

/// The committed vectors are made by this test when UPDATE_VECTORS is set, and compared byte for byte otherwise: what
/// was signed years ago must still read the same.
#[test]
fn the_committed_vectors_are_still_made_byte_for_byte() {
    let fixture = Fixture::town();
    let request = fixture.request();
    let (request_envelope, request_digest) = seal(&request, &key("housing node 1"));
    let answer = fixture.answer(&request, &request_digest, wire::Verdict::Match);
    let (answer_envelope, _) = seal(&answer, &key("civil-affairs node 1"));
    let mut committed = Fixture::town();
    committed.commit_to_state();
    let with_state = wire::EvidenceBundle { logs: bundle(&fixture).logs, ..bundle(&committed) };
    let vectors: [(&str, Vec<u8>); 7] = [
        ("request.dsse.json", (envelope::to_json(&request_envelope) + "\n").into_bytes()),
        ("answer.dsse.json", (envelope::to_json(&answer_envelope) + "\n").into_bytes()),
        ("statement.entry.bin", fixture.entries[1].clone()),
        ("directory.checkpoint.txt", fixture.checkpoint().into_bytes()),
        ("bundle.bin", bundle(&fixture).encode_to_vec()),
        ("bundle-with-state.bin", with_state.encode_to_vec()),
        ("keys.txt", keys_file().into_bytes()),
    ];
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors");
    for (name, made) in vectors {
        let file = folder.join(name);
        if std::env::var_os("UPDATE_VECTORS").is_some() {
            std::fs::write(&file, &made).unwrap();
        }
        let committed = std::fs::read(&file).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(committed, made, "{name} is made differently than it was committed");
    }
}

fn keys_file() -> String {
    let line = |name: &str| format!("{name} {}\n", key(name).public_key());
    ["authority", "log", "housing node 1", "civil-affairs node 1"].map(line).concat()
}

/// Who was given the authority's first key follows the changes of key in the bundle forward; who was given the newest,
/// back.
#[test]
fn a_bundle_holds_for_whoever_has_any_key_of_the_authority() {
    let mut fixture = Fixture::town();
    fixture.change_authority_key("authority", "authority 2");
    fixture.say_together(&["authority 2", "log", "log 2"], Fixture::log_key_change("log 2", ""), "log");
    fixture.change_authority_key("authority 2", "authority 3");
    let mut bundle = bundle(&fixture);
    bundle.directory_checkpoint = fixture.checkpoint_by("log 2");
    let bytes = bundle.encode_to_vec();
    for name in ["authority", "authority 2", "authority 3"] {
        let report = verify(&bytes, key(name).public_key());
        assert!(report.is_sound(), "{name}: {:?}", report.wrong());
    }
    assert_eq!(verify(&bytes, key("somebody").public_key()).wrong().unwrap().name, "founding");

    // The key before it signs no checkpoint that covers the change.
    bundle.directory_checkpoint = fixture.checkpoint_by("log");
    assert_eq!(wrong_check(&bundle), "directory checkpoint");
    // Nor does a key that the authority did not name, even where somebody hides the change.
    let changes: Vec<_> = bundle.directory.drain(bundle.directory.len() - 3..).collect();
    bundle.directory_checkpoint = fixture.checkpoint_by("log 2");
    assert_eq!(wrong_check(&bundle), "directory checkpoint");
    // A change that was not signed by whom it must is no change.
    bundle.directory.push(changes[0].clone());
    let forged = fixture.sign_together(&["log", "log 2"], Fixture::log_key_change("log 2", ""), "log");
    bundle.directory.push(wire::DirectoryProof { entry: forged.encode_to_vec(), ..changes[1].clone() });
    assert_eq!(wrong_check(&bundle), "change of key");
}

/// What a log kept when it was closed stays proved, nothing else of it does, and its successor rests on the closing.
#[test]
fn a_closed_log_shows_what_it_kept_and_its_successor_needs_the_closing() {
    use proto::registry::v1 as registry;
    // The question was asked before anything was closed.
    let of_town = |fixture: &Fixture| bundle_asked(fixture, &Fixture::town());
    let origin = evidence::origin(&party("housing"), &fixture::node("1"));
    let (size, root) = {
        let checkpoint = of_town(&Fixture::town()).logs[0].checkpoint.clone();
        let note = crate::log::note::SignedNote::parse(checkpoint.as_bytes()).unwrap();
        let checkpoint = checkpoint::Checkpoint::parse(note.text()).unwrap();
        (checkpoint.size(), checkpoint.root())
    };
    assert_eq!(size, 3);
    let closed = |size, root| {
        let mut fixture = Fixture::town();
        let body = registry::EvidenceLogClosed {
            department: "housing".into(),
            node: "1".into(),
            log: 1,
            checkpoint: signed_checkpoint(&origin, size, root, &key("housing node 1")),
            highest_seen: 7,
            reason: "disk lost".into(),
        };
        fixture.say("housing", registry::statement::Body::EvidenceLogClosed(body), "evidence/housing/1");
        fixture
    };
    let kept = verify(&of_town(&closed(3, root)).encode_to_vec(), &authority());
    assert!(kept.is_sound(), "{:?}", kept.wrong());
    let end = kept.checks.iter().find(|check| check.name == format!("end of {origin}")).unwrap();
    assert!(
        matches!(&end.finding, Finding::Holds(text) if text.contains("at least 4 were lost (disk lost)")),
        "{end:?}"
    );
    // Closed with fewer, or with others.
    let first = Entry { kind: EntryKind::Outcome, salt: [4; 32], envelope: Digest::new([0; 32]) };
    let name = format!("evidence log {origin}");
    assert_eq!(wrong_check(&of_town(&closed(1, first.leaf()))), name);
    assert_eq!(wrong_check(&of_town(&closed(3, Hash::from_bytes([7; 32])))), name);

    let successor = |fixture: &Fixture, number: u32| {
        let mut bundle = of_town(fixture);
        let origin = format!("{origin}/{number}");
        bundle.logs[0].checkpoint = signed_checkpoint(&origin, size, root, &key("housing node 1"));
        bundle.logs[0].origin = origin;
        bundle
    };
    assert!(verify(&successor(&closed(3, root), 2).encode_to_vec(), &authority()).is_sound());
    assert_eq!(wrong_check(&successor(&closed(3, root), 3)), format!("{name}/3"));
    assert_eq!(wrong_check(&successor(&Fixture::town(), 2)), format!("{name}/2"));
}
