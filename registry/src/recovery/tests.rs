//! What a registry that holds back does and does not, over the ledger in memory.

use std::time::Duration;

use host::clock::MockClock;
use trust::{
    key::Signer,
    log::checkpoint::{self, Checkpoint},
};

use super::*;
use crate::{
    fixture::{NOW_MS, exchange, key_added, log_key, parts, rooms, start},
    ledger::memory::MemoryLedger,
    sequencer::SequencerParts,
};

const RESTORED: Mark = Mark { since_ms: NOW_MS, cause: Cause::Restored, wanted: 0 };

/// A ledger with the first entries of another.
async fn older(ledger: &MemoryLedger, size: usize, note: &str) -> MemoryLedger {
    let older = MemoryLedger::default();
    older.append(0, ledger.entries()[..size].to_vec()).await.unwrap();
    older.keep_checkpoint(ledger::SignedHead::read(note.to_owned()).unwrap()).await.unwrap();
    older
}

fn recovery(rooms: &crate::fixture::Rooms, folder: &std::path::Path) -> Recovery {
    Recovery::new(RecoveryParts {
        folder: folder.to_owned(),
        sequencer: rooms.sequencer.clone(),
        ledger: Arc::new(rooms.ledger.clone()),
        log_keys: Arc::clone(&rooms.log_keys),
        clock: Arc::new(rooms.clock.clone()),
        again: CancellationToken::new(),
    })
}

/// A log of two statements more than an older copy of it, with the checkpoints of both.
async fn two_copies() -> (MemoryLedger, MemoryLedger, String) {
    let whole = rooms().await;
    let before = whole.sequencer.head();
    let old = older(&whole.ledger, usize::try_from(before.size).unwrap(), &before.checkpoint).await;
    whole.admit("housing").await;
    whole.sequencer.submit(key_added("housing", 3, NOW_MS)).await.unwrap().unwrap();
    (whole.ledger, old, whole.sequencer.head().checkpoint.to_string())
}

#[tokio::test]
async fn a_marked_log_signs_nothing_and_accepts_nothing_until_it_holds_what_it_signed() {
    let (whole, old, note) = two_copies().await;
    old.set_mark(Some(RESTORED.to_text())).await.unwrap();
    let kept = old.checkpoint().await.unwrap();
    let rooms = start(&old).await;
    rooms.clock.advance(Duration::from_secs(3600));
    let folder = tempfile::tempdir().unwrap();
    let recovery = recovery(&rooms, folder.path());

    let refused = rooms.sequencer.submit(key_added("housing", 4, NOW_MS)).await.unwrap().unwrap_err();
    assert_eq!(refused.code, Code::RegistryCatchingUp);
    assert!(refused.retry_at_ms.unwrap() > NOW_MS);
    let size = rooms.sequencer.head().size;
    assert_eq!(rooms.sequencer.commit_to_state().await.unwrap(), 0, "nothing is committed to");
    assert_eq!((old.checkpoint().await.unwrap(), old.entries().len() as u64), (kept, size));

    // Told of more: it asks for it, and one asks enough.
    let told = recovery.tell(&note).await.unwrap().unwrap();
    assert_eq!(told.lacks_from, Some(size));
    assert_eq!(recovery.tell(&note).await.unwrap().unwrap().lacks_from, None, "another is handing over");

    let bring = |entries: &[Vec<u8>], first: u64, note: &str| {
        let mut importer = recovery.import()?;
        for (index, entry) in (first..).zip(entries) {
            importer.entry(index, entry.clone())?;
        }
        importer.finish(note)
    };
    let all = whole.entries();
    assert_eq!(bring(&all[..all.len() - 1], 0, &note).err().unwrap().code, Code::MessageMalformed, "one is missing");
    let behind = all.len() as u64 - 1;
    assert_eq!(bring(&all[all.len() - 1..], behind, &note).err().unwrap().code, Code::MessageMalformed, "a gap");
    let forged = sign(all.len() as u64, rooms.sequencer.directory().root());
    assert_eq!(bring(&all, 0, &forged).err().unwrap().code, Code::DirectoryDiverges, "another root");
    assert_eq!(old.entries().len() as u64, size, "nothing of it was taken");
    let brought = bring(&all, 0, &note).unwrap();
    assert_eq!(recovery.take(brought).await.unwrap().unwrap(), all.len() as u64);
    assert_eq!(old.entries(), all);
    assert_eq!(rooms.sequencer.head().size, all.len() as u64);
    assert!(rooms.sequencer.held_back().is_some(), "who else saw what is not known");

    assert!(recovery.resume("0007", "no node is left").await.unwrap().is_ok());
    assert_eq!(old.mark().await.unwrap(), None);
    assert!(recovery.parts.again.is_cancelled());
    let events: Vec<What> = recovery.events().unwrap().iter().map(|event| event.what).collect();
    assert_eq!(events, [What::Imported, What::ResumedByOfficer]);
}

fn sign(size: u64, root: trust::log::hash::Hash) -> String {
    let key = LogKey::new(directory::origin(&exchange()).parse().unwrap(), log_key().public_key().as_bytes()).unwrap();
    let checkpoint = Checkpoint::new(key.origin(), size, root).unwrap();
    checkpoint::sign(&checkpoint, &key, NOW_MS / 1000, |message| log_key().sign(message)).unwrap()
}

#[tokio::test]
async fn a_copy_without_a_mark_holds_back_from_the_moment_that_it_is_told_of_more() {
    let (_, old, note) = two_copies().await;
    let rooms = start(&old).await;
    let folder = tempfile::tempdir().unwrap();
    let recovery = recovery(&rooms, folder.path());
    assert!(recovery.holding().is_none());
    let stranger = note.replace("ninghe/directory\n", "ninghe/elsewhere\n");
    assert_eq!(recovery.tell(&stranger).await.unwrap().unwrap_err().code, Code::SignatureWrong);
    assert!(recovery.holding().is_none(), "nobody but the log's key can hold it back");

    let told = recovery.tell(&note).await.unwrap().unwrap();
    assert!(told.lacks_from.is_some());
    assert_eq!(recovery.holding().unwrap().cause, Cause::Behind);
    assert_eq!(Mark::read(&old.mark().await.unwrap().unwrap()).cause, Cause::Behind, "after a restart, too");
    let refused = recovery.resume("0007", "go on").await.unwrap().unwrap_err();
    assert_eq!(refused.code, Code::RegistryCatchingUp, "what was signed cannot be unsaid");

    // Another history: one statement, with the root of two.
    assert_eq!(rooms.sequencer.head().size, 2);
    let contradicted = sign(1, rooms.sequencer.directory().root());
    assert_eq!(recovery.tell(&contradicted).await.unwrap().unwrap_err().code, Code::DirectoryDiverges);
    assert_eq!(recovery.holding().unwrap().cause, Cause::Contradicted);
}

#[tokio::test]
async fn a_registry_whose_departments_have_no_nodes_listens_to_nobody() {
    let rooms = rooms().await;
    rooms.admit("housing").await;
    rooms.stop.cancel();
    let clock = MockClock::at(NOW_MS);
    let listening = SequencerParts { listen_first: Duration::from_secs(600), ..parts(&rooms.ledger, &clock) };
    let (sequencer, _task) = Sequencer::start(listening).await.unwrap();
    assert!(sequencer.holding().is_none());
}

#[tokio::test]
async fn of_two_nodes_that_tell_the_last_thing_at_once_one_has_the_log_go_on() {
    let (whole, old, note) = two_copies().await;
    whole.set_mark(Some(RESTORED.to_text())).await.unwrap();
    let rooms = start(&whole).await;
    let folder = tempfile::tempdir().unwrap();
    let recovery = recovery(&rooms, folder.path());
    drop((old, note));
    let event = || Event::new(NOW_MS, What::ResumedByNodes, 2, "all of it is held".to_owned());
    let (one, other) = tokio::join!(recovery.leave(event()), recovery.leave(event()));
    one.and(other).unwrap();
    assert_eq!(recovery.events().unwrap().len(), 1);
}
