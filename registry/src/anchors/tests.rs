//! The second log: it takes what continues, refuses what does not, and costs the directory one statement a turn.

use trust::{
    evidence::LogOf,
    key::Signer,
    log::{
        checkpoint::{self, Checkpoint, LogKey},
        frontier::Frontier,
        hash::leaf_hash,
        proof::verify_inclusion,
    },
};

use super::*;
use crate::{
    fixture::{NOW_MS, Rooms, key, key_added, key_added_to, rooms},
    ledger::{
        memory::MemoryLedger,
        tests::{Place, on_both_stores},
    },
};

on_both_stores!(
    an_overdue_answer_counts_once_across_restarts_and_only_for_the_department_that_says_it,
    a_second_log_that_lost_entries_is_known_by_what_the_directory_took,
    the_directory_takes_the_second_log_with_one_statement_a_turn,
    what_continues_is_anchored_and_what_does_not_is_refused,
);

/// A registry with a department's node whose key is number 3, and an empty second log.
async fn registry(place: &Place) -> (Rooms, Arc<dyn Ledger>, Arc<Anchors>, tempfile::TempDir) {
    let ledger = place.open_second(1).await.unwrap().shared();
    let rooms = rooms().await;
    rooms.admit("civil-affairs").await;
    rooms.sequencer.submit(key_added("civil-affairs", 3, NOW_MS)).await.unwrap().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let anchors = open(&rooms, &ledger, folder.path()).await;
    (rooms, ledger, anchors, folder)
}

async fn open(rooms: &Rooms, ledger: &Arc<dyn Ledger>, folder: &Path) -> Arc<Anchors> {
    let parts = AnchorsParts {
        folder: folder.to_owned(),
        log: 1,
        reason: String::new(),
        ledger: Arc::clone(ledger),
        directory: Arc::new(rooms.ledger.clone()),
        sequencer: rooms.sequencer.clone(),
        interval: Duration::from_secs(3600),
    };
    Anchors::open(parts).await.unwrap()
}

async fn entries(ledger: &dyn Ledger) -> Vec<Vec<u8>> {
    ledger.read(0, ReadLimit::entries(1000)).await.unwrap()
}

/// An evidence log in memory.
#[derive(Default)]
struct Evidence {
    leaves: MemoryLedger,
}

impl Evidence {
    async fn grow(&self, entries: &[&str]) -> (u64, Hash) {
        let size = self.leaves.position().await.unwrap().size;
        self.leaves.append(size, entries.iter().map(|entry| entry.as_bytes().to_vec()).collect()).await.unwrap();
        let position = self.leaves.position().await.unwrap();
        (position.size, position.root)
    }

    async fn proof(&self, old: u64, new: u64) -> Vec<Hash> {
        consistency(&self.leaves, old, new).await.unwrap()
    }
}

/// The checkpoint of a node that has the key 3 (node 1) or 4 (node 2).
fn note_of(node: u8, position: (u64, Hash), seconds: u64) -> String {
    signed(2 + node, &node.to_string(), 1, position, seconds)
}

fn note(signer: u8, number: u32, position: (u64, Hash), seconds: u64) -> String {
    signed(signer, "1", number, position, seconds)
}

fn signed(signer: u8, node: &str, number: u32, (size, root): (u64, Hash), seconds: u64) -> String {
    let party = "ninghe/civil-affairs".parse().unwrap();
    let origin = LogOf { party, node: node.parse().unwrap(), number }.to_string();
    let signer = key(signer);
    let log_key = LogKey::new(origin.parse().unwrap(), signer.public_key().as_bytes()).unwrap();
    let checkpoint = Checkpoint::new(log_key.origin(), size, root).unwrap();
    checkpoint::sign(&checkpoint, &log_key, seconds, |message| signer.sign(message)).unwrap()
}

const ORIGIN: &str = "ninghe/civil-affairs/1/evidence";

async fn what_continues_is_anchored_and_what_does_not_is_refused(place: Place) {
    let (_rooms, ledger, anchors, _folder) = registry(&place).await;
    let evidence = Evidence::default();
    let first = evidence.grow(&["a", "b", "c"]).await;
    let entry = anchors.anchor(&note(3, 1, first, 10), &[]).await.unwrap().unwrap();
    assert_eq!((entry.index, anchors.last(ORIGIN).await.unwrap()), (0, Some(entry.clone())));
    // The same again, signed later: the one that is there stands.
    assert_eq!(anchors.anchor(&note(3, 1, first, 20), &[]).await.unwrap().unwrap(), entry);
    let second = evidence.grow(&["d"]).await;
    let proof = evidence.proof(3, 4).await;
    assert_eq!(anchors.anchor(&note(3, 1, second, 20), &proof).await.unwrap().unwrap().index, 1);

    let rewritten = Evidence::default();
    let other = rewritten.grow(&["a", "x", "c", "d", "e"]).await;
    let shorter = Evidence::default().grow(&["a"]).await;
    let longer = Evidence::default().grow(&["a", "b", "c", "d", "e"]).await;
    for (what, note, proof) in [
        ("another history", note(3, 1, other, 30), rewritten.proof(4, 5).await),
        ("fewer entries", note(3, 1, shorter, 30), Vec::new()),
        ("the same size with another root", note(3, 1, (4, other.1), 30), Vec::new()),
        ("no proof", note(3, 1, longer, 30), Vec::new()),
    ] {
        let refusal = anchors.anchor(&note, &proof).await.unwrap().unwrap_err();
        assert_eq!(refusal.code, Code::EvidenceRewritten, "{what}");
    }
    for (code, note) in [
        (Code::KeyUnknown, note(4, 1, longer, 30)),
        (Code::EvidenceLogClosed, note(3, 2, longer, 30)),
        (Code::MessageMalformed, "nothing".to_owned()),
        (Code::MessageTooLarge, "x".repeat(3000)),
    ] {
        assert_eq!(anchors.anchor(&note, &[]).await.unwrap().unwrap_err().code, code);
    }
    assert_eq!(entries(ledger.as_ref()).await.len(), 2);
    let (history, next) = anchors.history(ORIGIN, 0).await.unwrap();
    assert_eq!((history.len(), next), (2, Some(2)));
    assert_eq!(anchors.history(ORIGIN, 2).await.unwrap(), (Vec::new(), None));
    let verified = anchors.verify().await.unwrap();
    assert_eq!((verified.entries, verified.logs[ORIGIN].len(), verified.contradictions.len()), (2, 2, 0));
}

/// However many anchors there are, the directory gets one statement a turn, and none where nothing was anchored.
async fn the_directory_takes_the_second_log_with_one_statement_a_turn(place: Place) {
    let (rooms, ledger, anchors, folder) = registry(&place).await;
    assert_eq!(anchors.take().await.unwrap(), 0);
    let before = rooms.sequencer.head().size;
    let evidence = Evidence::default();
    let mut size = 0;
    for number in 0..200_u64 {
        let position = evidence.grow(&[&number.to_string()]).await;
        let proof = if size == 0 { Vec::new() } else { evidence.proof(size, position.0).await };
        anchors.anchor(&note(3, 1, position, 10 + number), &proof).await.unwrap().unwrap();
        size = position.0;
        if number == 99 {
            assert_eq!(anchors.take().await.unwrap(), 100);
        }
    }
    assert_eq!(anchors.take().await.unwrap(), 200);
    assert_eq!(anchors.take().await.unwrap(), 200, "nothing new");
    assert_eq!(rooms.sequencer.head().size, before + 2);
    assert_eq!(anchors.head().size, 200);

    // What the directory took proves each of them.
    let taken = rooms.sequencer.directory().anchors().unwrap().clone();
    let path = anchors.prove(1, 7, taken.size).await.unwrap().unwrap();
    verify_inclusion(&leaf_hash(&entries(ledger.as_ref()).await[7]), 7, taken.size, &path, &taken.root).unwrap();
    assert_eq!(anchors.prove(1, 200, 200).await.unwrap(), None);
    assert_eq!(anchors.prove(1, 7, 201).await.unwrap(), None);
    assert_eq!(anchors.prove(2, 7, 200).await.unwrap(), None);

    // After a restart the file spares the reading, and without it the log itself tells.
    let latest = anchors.latest().await.unwrap();
    let again = open(&rooms, &ledger, folder.path()).await;
    assert_eq!(again.latest().await.unwrap(), latest);
    let elsewhere = tempfile::tempdir().unwrap();
    let other = open(&rooms, &ledger, elsewhere.path()).await;
    assert_eq!(other.latest().await.unwrap(), latest);
    for anchors in [again, other] {
        let (head, shown) = (anchors.head(), anchors.head().checkpoint);
        assert_eq!((head.size, shown), (200, ledger.checkpoint().await.unwrap().unwrap().into()));
    }
}

async fn a_second_log_that_lost_entries_is_known_by_what_the_directory_took(place: Place) {
    let (rooms, ledger, anchors, _folder) = registry(&place).await;
    let evidence = Evidence::default();
    let first = evidence.grow(&["a"]).await;
    anchors.anchor(&note(3, 1, first, 10), &[]).await.unwrap().unwrap();
    let second = evidence.grow(&["b"]).await;
    anchors.anchor(&note(3, 1, second, 20), &evidence.proof(1, 2).await).await.unwrap().unwrap();
    anchors.take().await.unwrap();
    assert_eq!(check_whole(&rooms.sequencer, ledger.as_ref()).await.unwrap(), None);
    let lost = MemoryLedger::default();
    lost.append(0, entries(ledger.as_ref()).await[..1].to_vec()).await.unwrap();
    assert!(check_whole(&rooms.sequencer, &lost).await.unwrap().unwrap().contains("has 1 entries"));
    lost.append(1, vec![b"another".to_vec()]).await.unwrap();
    assert!(check_whole(&rooms.sequencer, &lost).await.unwrap().unwrap().contains("are not those"));
}

/// A leaf hash stands for an entry whatever it is the hash of.
#[tokio::test]
async fn proofs_over_a_ledger_hold() {
    let evidence = Evidence::default();
    let entries: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    evidence.grow(&entries.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mut frontier = Frontier::new();
    for (index, entry) in (0..).zip(&entries) {
        frontier.append(leaf_hash(entry.as_bytes()));
        assert_eq!(root_at(&evidence.leaves, index + 1).await.unwrap(), frontier.root());
        let path = inclusion(&evidence.leaves, index, 20).await.unwrap();
        let root = evidence.leaves.position().await.unwrap().root;
        verify_inclusion(&leaf_hash(entry.as_bytes()), index, 20, &path, &root).unwrap();
    }
}

/// Two registries over one second log: each anchors, each has it taken, and both show what was taken last.
#[tokio::test]
async fn two_registries_keep_one_second_log() {
    let place = Place::postgres("anchors::tests::two_registries_keep_one_second_log").await;
    let Some(place) = place else { return };
    let (rooms, _, one, folder) = registry(&place).await;
    rooms.sequencer.submit(key_added_to("civil-affairs", "2", 4, NOW_MS)).await.unwrap().unwrap();
    let other_ledger = place.open_second(1).await.unwrap().shared();
    let other = open(&rooms, &other_ledger, &folder.path().join("other")).await;
    std::fs::create_dir(folder.path().join("other")).unwrap();
    let running = tokio::spawn(Arc::clone(&other).run(rooms.stop.clone()));
    let evidence = [Evidence::default(), Evidence::default()];
    for round in 0..20_u64 {
        let mut notes = Vec::new();
        for (number, evidence) in (1..).zip(&evidence) {
            let (old, new) = (round, evidence.grow(&[&format!("{number} {round}")]).await);
            let proof = if old == 0 { Vec::new() } else { evidence.proof(old, new.0).await };
            notes.push((note_of(number, new, 10 + round), proof));
        }
        let (here, there) = tokio::join!(one.anchor(&notes[0].0, &notes[0].1), other.anchor(&notes[1].0, &notes[1].1));
        let (here, there) = (here.unwrap().unwrap(), there.unwrap().unwrap());
        assert_eq!((here.index + there.index, here.index.abs_diff(there.index)), (4 * round + 1, 1));
        let (here, there) = tokio::join!(one.take(), other.take());
        assert_eq!((here.unwrap(), there.unwrap()), (2 * round + 2, 2 * round + 2));
    }
    assert_eq!(one.latest().await.unwrap(), other.latest().await.unwrap());
    one.anchor(&note_of(1, evidence[0].grow(&["last"]).await, 99), &evidence[0].proof(20, 21).await)
        .await
        .unwrap()
        .unwrap();
    one.take().await.unwrap();
    // The other one shows it as soon as it has read the directory.
    let deadline = Instant::now() + Duration::from_secs(60);
    while other.head().size < 41 {
        if running.is_finished() {
            panic!("it ended: {:?}", running.await);
        }
        let (there, here, ended) = (other.head().size, one.head().size, running.is_finished());
        assert!(Instant::now() < deadline, "the other registry does not follow: {there} of {here}, ended: {ended}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(one.head().checkpoint, other.head().checkpoint);
    rooms.stop.cancel();
    running.await.unwrap().unwrap();
}

/// What the node with key 3 says of an answer that it owes.
fn overdue(signer: u8, request: u8, due_ms: u64) -> Vec<u8> {
    let overdue = proto::exchange::v1::Overdue {
        exchange_id: "ninghe".into(),
        sender: "ninghe/civil-affairs".into(),
        sender_node: "1".into(),
        recipient: "ninghe/civil-affairs".into(),
        service: "marriage-registration".into(),
        service_version: 1,
        request_digest: vec![request; 32],
        deferral: vec![9; 32],
        due_at_ms: due_ms,
        stated_at_ms: due_ms + 1,
    };
    prost::Message::encode_to_vec(&trust::envelope::seal(&overdue, &key(signer)).0)
}

async fn an_overdue_answer_counts_once_across_restarts_and_only_for_the_department_that_says_it(place: Place) {
    let (rooms, ledger, anchors, folder) = registry(&place).await;
    assert_eq!(anchors.state_overdue(&overdue(3, 1, NOW_MS), NOW_MS).await.unwrap(), Ok(0));
    assert_eq!(anchors.state_overdue(&overdue(3, 1, NOW_MS), NOW_MS + 5).await.unwrap(), Ok(0), "said again");
    assert_eq!(anchors.state_overdue(&overdue(3, 2, NOW_MS + 7), NOW_MS).await.unwrap(), Ok(1));
    let refused = anchors.state_overdue(&overdue(4, 3, NOW_MS), NOW_MS).await.unwrap().unwrap_err();
    assert_eq!(refused.code, Code::KeyUnknown);
    let early = anchors.state_overdue(&overdue(3, 3, NOW_MS + 3_600_000), NOW_MS).await.unwrap().unwrap_err();
    assert_eq!(early.code, Code::NotOverdue);
    let evidence = Evidence::default();
    anchors.anchor(&note(3, 1, evidence.grow(&["a"]).await, 10), &[]).await.unwrap().unwrap();
    anchors.take().await.unwrap();

    let counted = Counted { count: 2, last_due_ms: NOW_MS + 7 };
    for anchors in [&anchors, &open(&rooms, &ledger, folder.path()).await] {
        let by_department: Vec<_> = anchors.overdue().await.unwrap().into_values().collect();
        assert_eq!(by_department, [counted]);
        let verified = anchors.verify().await.unwrap();
        assert_eq!((verified.overdue, verified.entries), (2, 3));
        assert!(verified.contradictions.is_empty(), "{:?}", verified.contradictions);
    }
    // An entry that nobody signed is found by whoever reads the log.
    let forged = overdue(4, 5, NOW_MS);
    ledger.append(3, vec![forged]).await.unwrap();
    let verified = anchors.verify().await.unwrap();
    assert_eq!(verified.contradictions[0].index, 3);
}
