//! What the view believes, and what it does not.

mod keys;

use std::{path::Path, sync::Arc};

use prost::Message;
use proto::registry::v1::{self as wire, statement::Body};
use trust::{
    directory::Object,
    fixture::{self, Fixture, NOW_MS, key},
    key::Signer,
    log::checkpoint::{self, Checkpoint, LogKey},
    refusal::Code,
};

use super::*;

mod lies;
mod witnesses;

/// A view in `dir` that has not read anything.
pub(crate) fn empty_view(dir: &Path) -> Result<View, Error> {
    View::open(dir, &fixture::exchange_id(), key("authority").public_key(), |reason| panic!("{reason}"))
}

/// A view of the fixture's directory, vouched for at [`NOW_MS`].
pub(crate) async fn view_of(dir: &Path, fixture: &Fixture) -> Arc<View> {
    let view = empty_view(dir).unwrap();
    bring(&view, fixture, NOW_MS).await.unwrap();
    Arc::new(view)
}

/// Brings the view what it lacks of the fixture's directory, with a checkpoint of that time.
pub(crate) async fn bring(view: &View, fixture: &Fixture, time_ms: u64) -> Result<(), Error> {
    let start = view.next_index().await;
    let entries = fixture.entries[usize::try_from(start).unwrap()..].to_vec();
    view.accept(start, entries, &vouch(fixture, time_ms), time_ms).await
}

/// A checkpoint of the fixture's directory as of that time.
pub(crate) fn vouch(fixture: &Fixture, time_ms: u64) -> String {
    sign(fixture.directory.size(), fixture.directory.root(), time_ms, "log")
}

pub(super) fn sign(size: u64, root: Hash, time_ms: u64, signer: &str) -> String {
    let signer = key(signer);
    let log_key = LogKey::new("ninghe/directory".parse().unwrap(), signer.public_key().as_bytes()).unwrap();
    let checkpoint = Checkpoint::new(log_key.origin(), size, root).unwrap();
    checkpoint::sign(&checkpoint, &log_key, time_ms / 1000, |message| signer.sign(message)).unwrap()
}

/// The revocation of a key by its department.
pub(crate) fn revocation(fixture: &Fixture, department: &str, name: &str) -> (Vec<u8>, String) {
    let key_id = *key(name).public_key().id();
    let body = Body::KeyRevoked(wire::KeyRevoked {
        department: department.into(),
        key_id: key_id.to_string(),
        reason: "遗失".into(),
    });
    let object = Object::Key(key_id).to_string();
    (fixture.sign(department, body, &object).encode_to_vec(), object)
}

#[tokio::test]
async fn a_view_survives_a_restart_with_its_roots_and_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let mut fixture = Fixture::town();
    // Longer than one value of the store.
    let mut service = fixture::marriage_registration();
    service.minor_version = 1;
    service.conditions = "用".repeat(5000);
    fixture.publish(service);
    let view = view_of(dir.path(), &fixture).await;
    assert_eq!(view.seen().size(), fixture.directory.size());
    assert_eq!(*view.seen().root(), fixture.directory.root());
    assert_eq!(view.root_at(fixture.directory.size()), Some(fixture.directory.root()));
    assert!(view.check_usable(NOW_MS).is_ok());
    drop(view);

    let view = empty_view(dir.path()).unwrap();
    assert_eq!(*view.seen().root(), fixture.directory.root());
    assert_eq!(view.verified_ms(), NOW_MS);
    assert_eq!(view.next_index().await, fixture.directory.size());
    assert_eq!(view.root_at(1), Some(leaf_hash(&fixture.entries[0])));
    assert!(view.check_usable(NOW_MS).is_ok());
    fixture.admit("health");
    bring(&view, &fixture, NOW_MS + 5000).await.unwrap();
    assert_eq!(*view.seen().root(), fixture.directory.root());
}

#[tokio::test]
async fn statements_wait_until_a_checkpoint_covers_them() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::town();
    let view = empty_view(dir.path()).unwrap();
    let checkpoint = vouch(&fixture, NOW_MS);
    view.accept(0, fixture.entries[..4].to_vec(), &checkpoint, NOW_MS).await.unwrap();
    assert_eq!(view.seen().size(), 0, "nothing shows yet that these four are in the log");
    assert!(matches!(
        view.accept(5, fixture.entries[5..].to_vec(), &checkpoint, NOW_MS).await,
        Err(Error::OutOfOrder { start: 5, expected: 4 })
    ));
    // What waited is asked for again.
    assert_eq!(view.next_index().await, 0);
    view.accept(0, fixture.entries[..4].to_vec(), &checkpoint, NOW_MS).await.unwrap();
    view.accept(4, fixture.entries[4..].to_vec(), &checkpoint, NOW_MS).await.unwrap();
    assert_eq!(*view.seen().root(), fixture.directory.root());
}

#[tokio::test]
async fn a_registry_that_tells_another_story_is_not_believed_and_is_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::town();
    let view = view_of(dir.path(), &fixture).await;
    let before = *view.seen().root();

    // Another statement in the next place than the one the checkpoint covers.
    let (mut told, mut other) = (Fixture::town(), Fixture::town());
    told.admit("health");
    other.admit("taxation");
    let size = told.directory.size();
    let (entries, checkpoint) = (other.entries.split_off(other.entries.len() - 1), vouch(&told, NOW_MS + 1000));
    assert!(matches!(view.accept(size - 1, entries, &checkpoint, NOW_MS).await, Err(Error::Forked { .. })));
    // The same size with another root.
    let same_size = sign(fixture.directory.size(), told.directory.root(), NOW_MS + 1000, "log");
    assert!(matches!(view.accept(0, Vec::new(), &same_size, NOW_MS).await, Err(Error::Forked { .. })));
    assert!(view.finding().unwrap().what.contains("another story"));
    // Fewer statements than it signed for, later.
    let fewer = sign(3, view.root_at(3).unwrap(), NOW_MS + 1000, "log");
    assert!(matches!(view.accept(0, Vec::new(), &fewer, NOW_MS).await, Err(Error::RolledBack { told: 3, .. })));
    assert!(view.finding().unwrap().what.contains("went back"));
    // An old checkpoint that comes late says nothing.
    let late = sign(3, view.root_at(3).unwrap(), NOW_MS - 5000, "log");
    view.accept(0, Vec::new(), &late, NOW_MS).await.unwrap();
    // Not the log's own signature.
    let forged = sign(size, told.directory.root(), NOW_MS + 1000, "authority");
    assert!(matches!(view.accept(0, Vec::new(), &forged, NOW_MS).await, Err(Error::Checkpoint(_))));

    assert_eq!(*view.seen().root(), before, "the last good view stays");
    assert_eq!(view.verified_ms(), NOW_MS);
    drop(view);
    assert_eq!(*empty_view(dir.path()).unwrap().seen().root(), before);
}

#[tokio::test]
async fn a_statement_that_does_not_count_ends_the_view_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::town();
    let view = view_of(dir.path(), &fixture).await;
    // The log's owner puts in a suspension that it may not make, and vouches for it.
    let body =
        Body::DepartmentSuspended(wire::DepartmentSuspended { department: "housing".into(), reason: "x".into() });
    let entry = fixture.sign("log", body, "department/housing").encode_to_vec();
    let mut frontier = fixture.directory.frontier().clone();
    frontier.append(leaf_hash(&entry));
    let checkpoint = sign(frontier.size(), frontier.root(), NOW_MS + 9000, "log");
    let sent = view.accept(fixture.directory.size(), vec![entry], &checkpoint, NOW_MS).await;
    assert!(matches!(sent, Err(Error::Statement { .. })));
    assert_eq!(view.seen().size(), fixture.directory.size());
    assert_eq!(view.verified_ms(), NOW_MS, "nobody vouched for the view as it is");
    drop(view);
    let view = empty_view(dir.path()).unwrap();
    assert_eq!(view.seen().size(), fixture.directory.size());
    assert!(view.stuck().is_some(), "said again after a restart");
    assert!(view.finding().is_some());
    assert!(view.seen().directory().department(&fixture::department("housing")).unwrap().suspended.is_none());
}

#[tokio::test]
async fn a_view_is_good_for_its_lifetime_and_not_under_a_clock_that_runs_backwards() {
    let dir = tempfile::tempdir().unwrap();
    let view = empty_view(dir.path()).unwrap();
    assert_eq!(view.check_usable(NOW_MS).unwrap_err().code, Code::DirectoryExpired);
    let fixture = Fixture::town();
    bring(&view, &fixture, NOW_MS).await.unwrap();
    let lifetime_ms = 240 * 3_600_000;
    assert!(view.check_usable(NOW_MS + lifetime_ms).is_ok());
    assert_eq!(view.check_usable(NOW_MS + lifetime_ms + 1).unwrap_err().code, Code::DirectoryExpired);
    assert!(view.check_usable(NOW_MS - 60_000).is_ok());
    let refusal = view.check_usable(NOW_MS - 60_001).unwrap_err();
    assert_eq!(refusal.code, Code::ClockBackwards);
    assert!(refusal.detail.contains(&NOW_MS.to_string()), "both clocks are said: {}", refusal.detail);
    // Vouched for anew, without anything new.
    bring(&view, &fixture, NOW_MS + 10_000).await.unwrap();
    assert!(view.check_usable(NOW_MS + lifetime_ms + 1).is_ok());
}

#[tokio::test]
async fn a_revocation_counts_on_sight_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut fixture = Fixture::town();
    let view = view_of(dir.path(), &fixture).await;
    let (statement, object) = revocation(&fixture, "housing", "housing node 1");
    let node_key = |view: &View| {
        let housing = fixture::department("housing");
        view.seen().directory().node_key(&housing, key("housing node 1").public_key().id(), NOW_MS).err()
    };
    let (forged, _) = revocation(&fixture, "civil-affairs", "housing node 1");
    assert!(view.apply_revocation(&forged).await.is_err(), "another department cannot revoke it");
    assert_eq!(node_key(&view), None);
    let body = Body::NodeRemoved(wire::NodeRemoved { department: "housing".into(), node: "1".into() });
    let removal = fixture.sign("housing", body, "node/housing/1").encode_to_vec();
    assert!(view.apply_revocation(&removal).await.is_err(), "only a revocation is taken directly");
    assert!(view.apply_revocation(&statement).await.unwrap());
    assert!(!view.apply_revocation(&statement).await.unwrap(), "it is known already");
    assert_eq!(node_key(&view), Some(Code::KeyRevoked));
    drop(view);
    let view = empty_view(dir.path()).unwrap();
    assert_eq!(node_key(&view), Some(Code::KeyRevoked));

    // The directory brings it later, and nothing changes.
    let body = Body::KeyRevoked(wire::KeyRevoked {
        department: "housing".into(),
        key_id: key("housing node 1").public_key().id().to_string(),
        reason: "遗失".into(),
    });
    fixture.say("housing", body, &object);
    bring(&view, &fixture, NOW_MS + 1000).await.unwrap();
    assert_eq!(*view.seen().root(), fixture.directory.root());
    assert_eq!(node_key(&view), Some(Code::KeyRevoked));
}

#[tokio::test]
async fn another_authoritys_exchange_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::town();
    let view = View::open(dir.path(), &fixture::exchange_id(), key("somebody").public_key(), |_| {}).unwrap();
    let sent = view.accept(0, fixture.entries.clone(), &vouch(&fixture, NOW_MS), NOW_MS).await;
    assert!(matches!(sent, Err(Error::NotFounded)));
    assert_eq!(view.seen().size(), 0);
}
