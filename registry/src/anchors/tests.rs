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
    fixture::{NOW_MS, Rooms, key, key_added, rooms},
    ledger::memory::MemoryLedger,
};

/// A registry with a department's node whose key is number 3, and an empty second log.
async fn registry() -> (Rooms, MemoryLedger, Arc<Anchors>, tempfile::TempDir) {
    let rooms = rooms().await;
    rooms.admit("civil-affairs").await;
    rooms.sequencer.submit(key_added("civil-affairs", 3, NOW_MS)).await.unwrap().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let ledger = MemoryLedger::default();
    let anchors = open(&rooms, &ledger, folder.path()).await;
    (rooms, ledger, anchors, folder)
}

async fn open(rooms: &Rooms, ledger: &MemoryLedger, folder: &Path) -> Arc<Anchors> {
    let parts = AnchorsParts {
        folder: folder.to_owned(),
        log: 1,
        reason: String::new(),
        ledger: Arc::new(ledger.clone()),
        sequencer: rooms.sequencer.clone(),
        interval: Duration::from_secs(3600),
    };
    Anchors::open(parts).await.unwrap()
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

fn note(signer: u8, number: u32, (size, root): (u64, Hash), seconds: u64) -> String {
    let party = "ninghe/civil-affairs".parse().unwrap();
    let origin = LogOf { party, node: "1".parse().unwrap(), number }.to_string();
    let signer = key(signer);
    let log_key = LogKey::new(origin.parse().unwrap(), signer.public_key().as_bytes()).unwrap();
    let checkpoint = Checkpoint::new(log_key.origin(), size, root).unwrap();
    checkpoint::sign(&checkpoint, &log_key, seconds, |message| signer.sign(message)).unwrap()
}

const ORIGIN: &str = "ninghe/civil-affairs/1/evidence";

#[tokio::test]
async fn what_continues_is_anchored_and_what_does_not_is_refused() {
    let (_rooms, ledger, anchors, _folder) = registry().await;
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
    assert_eq!(ledger.entries().len(), 2);
    let (history, next) = anchors.history(ORIGIN, 0).await.unwrap();
    assert_eq!((history.len(), next), (2, Some(2)));
    assert_eq!(anchors.history(ORIGIN, 2).await.unwrap(), (Vec::new(), None));
    let verified = anchors.verify().await.unwrap();
    assert_eq!((verified.entries, verified.logs[ORIGIN].len(), verified.contradictions.len()), (2, 2, 0));
}

/// However many anchors there are, the directory gets one statement a turn, and none where nothing was anchored.
#[tokio::test]
async fn the_directory_takes_the_second_log_with_one_statement_a_turn() {
    let (rooms, ledger, anchors, folder) = registry().await;
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
    verify_inclusion(&leaf_hash(&ledger.entries()[7]), 7, taken.size, &path, &taken.root).unwrap();
    assert_eq!(anchors.prove(1, 200, 200).await.unwrap(), None);
    assert_eq!(anchors.prove(1, 7, 201).await.unwrap(), None);
    assert_eq!(anchors.prove(2, 7, 200).await.unwrap(), None);

    // After a restart the file spares the reading, and without it the log itself tells.
    let latest = anchors.latest().await;
    assert_eq!(open(&rooms, &ledger, folder.path()).await.latest().await, latest);
    let elsewhere = tempfile::tempdir().unwrap();
    assert_eq!(open(&rooms, &ledger, elsewhere.path()).await.latest().await, latest);
}

#[tokio::test]
async fn a_second_log_that_lost_entries_is_known_by_what_the_directory_took() {
    let (rooms, ledger, anchors, _folder) = registry().await;
    let evidence = Evidence::default();
    let first = evidence.grow(&["a"]).await;
    anchors.anchor(&note(3, 1, first, 10), &[]).await.unwrap().unwrap();
    let second = evidence.grow(&["b"]).await;
    anchors.anchor(&note(3, 1, second, 20), &evidence.proof(1, 2).await).await.unwrap().unwrap();
    anchors.take().await.unwrap();
    assert_eq!(check_whole(&rooms.sequencer, &ledger).await.unwrap(), None);
    let lost = MemoryLedger::default();
    lost.append(0, ledger.entries()[..1].to_vec()).await.unwrap();
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
