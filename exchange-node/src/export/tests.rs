//! Bundles that are made here hold where they are checked, and hold nothing back.

use proto::registry::v1::{self as directory, statement::Body};
use trust::{
    bundle::{Finding, Report},
    envelope::{seal, signed},
    fixture::{self, Fixture, NOW_MS, key, party},
};

use super::*;
use crate::anchors::Anchored;
use crate::journal::{Commit, Committed, NewEntry, RequestMark, memory::MemoryJournal};

/// A bundle of housing's, with the answer `MATCH`.
pub(crate) fn exported() -> EvidenceBundle {
    let fixture = Fixture::town();
    let (journal, receipt) = asked(&fixture);
    bundle_of(&fixture, &journal, "housing", &receipt).unwrap()
}

fn commit(journal: &MemoryJournal, commit: Commit) -> Committed {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(journal.commit(commit)).unwrap()
}

fn entry(kind: EntryKind, (envelope, digest): (wire::Envelope, Digest)) -> NewEntry {
    NewEntry { kind, digest, message: signed(envelope).encode_to_vec() }
}

fn question(fixture: &Fixture) -> (Request, (wire::Envelope, Digest)) {
    let mut request = fixture.request();
    let grant = fixture.directory.all_access().find_map(|(_, access)| access.grant_statement);
    request.grant = grant.map(|grant| grant.as_bytes().to_vec()).unwrap_or_default();
    let sealed = seal(&request, &key("housing node 1"));
    (request, sealed)
}

/// Housing's journal: another entry, the question, the answer.
fn asked(fixture: &Fixture) -> (MemoryJournal, Receipt) {
    let journal = MemoryJournal::new();
    let (request, sealed) = question(fixture);
    let answer = fixture.answer(&request, &sealed.1, wire::Verdict::Match);
    let stranger = entry(EntryKind::Outcome, seal(&Outcome::default(), &key("housing node 1")));
    commit(&journal, Commit { at_ms: NOW_MS, entries: vec![stranger], ..Default::default() });
    let sent = Commit { at_ms: NOW_MS, entries: vec![entry(EntryKind::QuestionSent, sealed)], ..Default::default() };
    let sent = commit(&journal, sent);
    let received = entry(EntryKind::AnswerReceived, seal(&answer, &key("civil-affairs node 1")));
    let received = commit(
        &journal,
        Commit { at_ms: NOW_MS, entries: vec![received], about: Some(sent.first_index), ..Default::default() },
    );
    (journal, received.receipts[0])
}

/// Civil affairs' journal: question and answer in one commit.
fn answered(fixture: &Fixture) -> (MemoryJournal, Receipt) {
    let journal = MemoryJournal::new();
    let (request, sealed) = question(fixture);
    let answer = fixture.answer(&request, &sealed.1, wire::Verdict::Mismatch);
    let digest = sealed.1;
    let entries = vec![
        entry(EntryKind::QuestionReceived, sealed),
        entry(EntryKind::AnswerGiven, seal(&answer, &key("civil-affairs node 1"))),
    ];
    let request = Some(RequestMark { key: [1; 16], digest });
    let committed = commit(&journal, Commit { at_ms: NOW_MS, entries, request, ..Default::default() });
    (journal, committed.receipts[1])
}

fn bundle_of(fixture: &Fixture, journal: &MemoryJournal, me: &str, receipt: &Receipt) -> Result<EvidenceBundle, Error> {
    let source = Source {
        me: party(me),
        node: fixture::node("1"),
        evidence: log_of(me),
        anchored: &|_, _| None,
        head: Head::Own(&key(&format!("{me} node 1"))),
        check_open: &|| Ok(()),
        journal,
        answers: &|_| Vec::new(),
        directory_checkpoint: &fixture.checkpoint(),
        committed: fixture.directory.committed(),
        directory: &fixture.directory,
        entries: &|| Box::new(fixture.entries.iter().cloned().map(Ok)),
        now_ms: NOW_MS,
        item: None,
    };
    source.bundle(receipt)
}

fn log_of(department: &str) -> LogOf {
    LogOf { party: party(department), node: fixture::node("1"), number: 1 }
}

fn verified(bundle: &EvidenceBundle) -> Report {
    bundle::verify(&bundle.encode_to_vec(), key("authority").public_key())
}

fn indexes(bundle: &EvidenceBundle) -> Vec<u64> {
    bundle.directory.iter().map(|proof| proof.index).collect()
}

#[test]
fn what_the_asking_side_exports_holds() {
    let bundle = exported();
    let report = verified(&bundle);
    assert!(report.is_sound(), "{:?}", report.wrong());
    assert_eq!(report.request.unwrap().case_number, "GZF-2026-0001");
    assert_eq!(report.answers.len(), 1);
    assert_eq!(bundle.logs[0].items.iter().map(|item| item.index).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn what_the_answering_side_exports_holds() {
    let fixture = Fixture::town();
    let (journal, receipt) = answered(&fixture);
    let report = verified(&bundle_of(&fixture, &journal, "civil-affairs", &receipt).unwrap());
    assert!(report.is_sound(), "{:?}", report.wrong());
    assert_eq!(report.answers.len(), 1);
}

/// Other departments' business stays out, and an application that was not relied on too.
#[test]
fn only_what_is_relied_on_is_in_it() {
    let mut fixture = Fixture::town();
    fixture.admit("taxation");
    fixture.add_node("taxation", "1");
    fixture.apply_for_access("ffffffffffffffff");
    let (journal, receipt) = asked(&fixture);
    let bundle = bundle_of(&fixture, &journal, "housing", &receipt).unwrap();
    assert!(verified(&bundle).is_sound());
    assert_eq!(indexes(&bundle), (0..10).collect::<Vec<_>>());
}

/// Keys that a department added sign as its first one does; whoever checks must see how they came in.
#[test]
fn the_statements_of_later_keys_come_with_how_these_came_in() {
    let mut fixture = Fixture::founded();
    for department in ["civil-affairs", "housing"] {
        fixture.admit(department);
        fixture.add_node(department, "1");
    }
    for (name, signer) in [("second", "civil-affairs"), ("third", "second")] {
        let added = Body::KeyAdded(directory::KeyAdded {
            department: "civil-affairs".into(),
            key: Some(fixture::described(trust::key::Role::Department, &key(name)).to_wire()),
            node: String::new(),
        });
        fixture.say(signer, added, &format!("key/{}", key(name).public_key().id()));
    }
    let body = Body::ServicePublished(fixture::marriage_registration());
    fixture.say("third", body, "service/civil-affairs/marriage-registration/1");
    fixture.apply_for_access("0011223344556677");
    let granted = Body::AccessGranted(fixture::granted("0011223344556677"));
    fixture.say("third", granted, "access/civil-affairs/housing/0011223344556677");
    let (journal, receipt) = asked(&fixture);
    let bundle = bundle_of(&fixture, &journal, "housing", &receipt).unwrap();
    let report = verified(&bundle);
    assert!(report.is_sound(), "{:?}", report.wrong());
    assert_eq!(indexes(&bundle).len(), fixture.entries.len());
}

/// What speaks against the evidence is in the bundle too.
#[test]
fn later_revocations_are_not_held_back() {
    let mut fixture = Fixture::town();
    let (journal, receipt) = asked(&fixture);
    let revoked = Body::AccessRevoked(directory::AccessRevoked { reason: "ended".into() });
    fixture.say("civil-affairs", revoked, "access/civil-affairs/housing/0011223344556677");
    let bundle = bundle_of(&fixture, &journal, "housing", &receipt).unwrap();
    assert_eq!(indexes(&bundle).last(), Some(&10));
    // The grant held when the answer was given.
    assert!(verified(&bundle).is_sound());

    let key_id = key("housing node 1").public_key().id().to_string();
    let object = format!("key/{key_id}");
    let revoked = directory::KeyRevoked { department: "housing".into(), key_id, reason: "stolen".into() };
    fixture.say("housing", Body::KeyRevoked(revoked), &object);
    let report = verified(&bundle_of(&fixture, &journal, "housing", &receipt).unwrap());
    assert_eq!(report.wrong().unwrap().finding, Finding::Wrong("the node's key was revoked".into()));
}

/// With a commitment to the state the bundle shows that it holds nothing back, and without it says that it cannot.
#[test]
fn a_commitment_to_the_state_comes_with_its_proofs() {
    let mut fixture = Fixture::town();
    fixture.commit_to_state();
    fixture.admit("taxation");
    let (journal, receipt) = asked(&Fixture::town());
    fixture.commit_to_state();
    let revoked = Body::AccessRevoked(directory::AccessRevoked { reason: "ended".into() });
    fixture.say("civil-affairs", revoked, "access/civil-affairs/housing/0011223344556677");
    let bundle = bundle_of(&fixture, &journal, "housing", &receipt).unwrap();
    // Not the first commitment, not taxation; and the revocation that came later.
    assert_eq!(indexes(&bundle), [(0..10).collect::<Vec<_>>(), vec![12, 13]].concat());
    let report = verified(&bundle);
    assert!(report.is_sound(), "{:?}", report.wrong());
    let newer = report.checks.iter().find(|check| check.name == "nothing newer was said").unwrap();
    assert!(matches!(newer.finding, Finding::Holds(_)), "{:?}", newer.finding);

    // A checkpoint that does not reach the commitment: without it, and without its proofs.
    let short = Fixture::town();
    let source = Source {
        me: party("housing"),
        node: fixture::node("1"),
        evidence: log_of("housing"),
        anchored: &|_, _| None,
        head: Head::Own(&key("housing node 1")),
        check_open: &|| Ok(()),
        journal: &journal,
        answers: &|_| Vec::new(),
        directory_checkpoint: &short.checkpoint(),
        committed: fixture.directory.committed(),
        directory: &fixture.directory,
        entries: &|| Box::new(fixture.entries.iter().cloned().map(Ok)),
        now_ms: NOW_MS,
        item: None,
    };
    let bundle = source.bundle(&receipt).unwrap();
    assert!(verified(&bundle).is_sound() && bundle.state.is_empty());
}

/// Evidence that was anchored is exported with its anchor, and stays good when the node's key is revoked later.
#[test]
fn anchored_evidence_comes_with_its_anchor() {
    let mut fixture = Fixture::town();
    let (journal, receipt) = asked(&fixture);
    let origin = log_of("housing").to_string();
    let head = journal::checkpoint(&journal, &origin, &key("housing node 1"), NOW_MS).unwrap();
    let notes = vec![head.note.clone(), "another node's\n".to_owned()];
    fixture.take_anchors(&notes);
    let taken_at = fixture.directory.anchors().unwrap().place.index;
    let inclusion = fixture::path(&fixture::note_leaves(&notes), 0);
    let proved = Proved {
        anchored: Anchored {
            evidence: log_of("housing"),
            size: head.size,
            root: head.root,
            log: 1,
            index: 0,
            checkpoint: head.note,
        },
        anchor: wire::Anchor { index: 0, inclusion, taken_at },
    };
    let key_id = key("housing node 1").public_key().id().to_string();
    let object = format!("key/{key_id}");
    let revoked = directory::KeyRevoked { department: "housing".into(), key_id, reason: "stolen".into() };
    fixture.say("housing", Body::KeyRevoked(revoked), &object);
    let source = Source {
        me: party("housing"),
        node: fixture::node("1"),
        evidence: log_of("housing"),
        anchored: &|index, end| (index < 3 && taken_at < end).then(|| proved.clone()),
        head: Head::Own(&key("housing node 1")),
        check_open: &|| Ok(()),
        journal: &journal,
        answers: &|_| Vec::new(),
        directory_checkpoint: &fixture.checkpoint(),
        committed: None,
        directory: &fixture.directory,
        entries: &|| Box::new(fixture.entries.iter().cloned().map(Ok)),
        now_ms: NOW_MS,
        item: None,
    };
    let bundle = source.bundle(&receipt).unwrap();
    let report = verified(&bundle);
    assert!(report.is_sound(), "{:?}", report.wrong());
    let anchor = report.checks.iter().find(|check| check.name.starts_with("anchor of")).unwrap();
    assert!(matches!(anchor.finding, Finding::Holds(_)), "{:?}", anchor.finding);
    assert!(!verified(&bundle_of(&fixture, &journal, "housing", &receipt).unwrap()).is_sound(), "without its anchor");
}

/// The view may have read on since its checkpoint: what the checkpoint does not cover cannot be proved.
#[test]
fn what_is_newer_than_the_checkpoint_is_left_out() {
    let mut fixture = Fixture::town();
    let (journal, receipt) = asked(&fixture);
    let checkpoint = fixture.checkpoint();
    let revoked = Body::AccessRevoked(directory::AccessRevoked { reason: "ended".into() });
    fixture.say("civil-affairs", revoked, "access/civil-affairs/housing/0011223344556677");
    let source = Source {
        me: party("housing"),
        node: fixture::node("1"),
        evidence: log_of("housing"),
        anchored: &|_, _| None,
        head: Head::Own(&key("housing node 1")),
        check_open: &|| Ok(()),
        journal: &journal,
        answers: &|_| Vec::new(),
        directory_checkpoint: &checkpoint,
        committed: fixture.directory.committed(),
        directory: &fixture.directory,
        entries: &|| Box::new(fixture.entries.iter().cloned().map(Ok)),
        now_ms: NOW_MS,
        item: None,
    };
    let bundle = source.bundle(&receipt).unwrap();
    assert!(verified(&bundle).is_sound());
    assert_eq!(indexes(&bundle).last(), Some(&9));
    let source = Source { directory_checkpoint: "", ..source };
    assert!(matches!(source.bundle(&receipt), Err(Error::NoDirectory)));
}

#[test]
fn a_copy_that_does_not_fit_its_checkpoint_is_not_exported() {
    let fixture = Fixture::town();
    let (journal, receipt) = asked(&fixture);
    let mut damaged = Fixture::town();
    damaged.entries[3][50] ^= 1;
    let source = Source {
        me: party("housing"),
        node: fixture::node("1"),
        evidence: log_of("housing"),
        anchored: &|_, _| None,
        head: Head::Own(&key("housing node 1")),
        check_open: &|| Ok(()),
        journal: &journal,
        answers: &|_| Vec::new(),
        directory_checkpoint: &fixture.checkpoint(),
        committed: fixture.directory.committed(),
        directory: &fixture.directory,
        entries: &|| Box::new(damaged.entries.iter().cloned().map(Ok)),
        now_ms: NOW_MS,
        item: None,
    };
    assert!(matches!(source.bundle(&receipt), Err(Error::DirectoryDamaged)));
}

#[test]
fn what_cannot_be_exported_says_why() {
    let fixture = Fixture::town();
    let (journal, receipt) = asked(&fixture);
    let unknown = |text: &str| bundle_of(&fixture, &journal, "housing", &text.parse().unwrap()).unwrap_err();
    assert!(matches!(unknown("99-0011223344556677"), Error::Unknown));
    // The right place with a wrong check: somebody else's receipt, or a slip of the pen.
    assert!(matches!(unknown("2-0011223344556677"), Error::Unknown));
    let refused = journal.entry(0).unwrap().unwrap().entry.receipt(0);
    assert!(matches!(bundle_of(&fixture, &journal, "housing", &refused), Err(Error::NothingAsked)));
    journal.forget_messages();
    let error = bundle_of(&fixture, &journal, "housing", &receipt).unwrap_err().to_string();
    assert!(error.contains("destroyed with the key of 2026-01"), "{error}");
}
