//! What a registry that lies is told by: each lie is refused, kept as files that anybody can read, and changes nothing.

use crate::findings::{Finding, Kind};

use super::*;

fn only(view: &View, kind: Kind) -> Finding {
    let found: Vec<Finding> = view.findings().list().into_iter().filter(|finding| finding.kind == kind).collect();
    assert_eq!(found.len(), 1, "{kind:?}: {:?}", view.findings().list());
    found.into_iter().next().unwrap()
}

fn file(view: &View, finding: &Finding, name: &str) -> Vec<u8> {
    std::fs::read(view.findings().folder_of(&finding.id).join(name))
        .unwrap_or_else(|error| panic!("{name}: {error}: {finding:?}"))
}

fn log_key() -> LogKey {
    LogKey::new("ninghe/directory".parse().unwrap(), key("log").public_key().as_bytes()).unwrap()
}

#[tokio::test]
async fn two_checkpoints_of_one_size_are_kept_with_the_proof_that_they_contradict() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::town();
    let view = view_of(dir.path(), &fixture).await;
    let (told, size) = (Hash::from_bytes([7; 32]), 5);
    // Of an earlier size, so that both roots are known: newer by its time, and another history.
    let forked = sign(size, told, NOW_MS + 1000, "log");
    let sent = view.accept(0, Vec::new(), &forked, NOW_MS).await;
    assert!(matches!(sent, Err(Error::Forked { size: 5, .. })), "{sent:?}");
    let found = only(&view, Kind::Fork);
    assert_eq!(file(&view, &found, "told.checkpoint"), forked.as_bytes());
    assert_eq!(file(&view, &found, "here.checkpoint"), view.checkpoint().as_bytes());
    // From the files alone: the log's key signed a history that begins with one root, and another with another.
    let vkey = String::from_utf8(file(&view, &found, "log.vkey")).unwrap();
    assert_eq!(vkey.trim(), log_key().plain().to_string());
    let roots = String::from_utf8(file(&view, &found, "roots.txt")).unwrap();
    let here = view.root_at(size).unwrap();
    assert_eq!(roots, format!("size 5\ntold {}\nhere {}\n", told.to_base64(), here.to_base64()));
    let strand = view.strand(size).unwrap();
    assert_eq!(file(&view, &found, "here.consistency"), strand.to_text().as_bytes());
    assert!(strand.verify(&log_key()).is_ok());
    // Told again, with a newer signature: it is the same lie.
    let again = sign(size, told, NOW_MS + 2000, "log");
    assert!(view.accept(0, Vec::new(), &again, NOW_MS + 3000).await.is_err());
    assert_eq!(only(&view, Kind::Fork).last_ms, NOW_MS + 3000);
    assert_eq!(view.seen().size(), fixture.directory.size());
}

#[tokio::test]
async fn a_skipped_statement_is_found_by_number_and_by_root() {
    let dir = tempfile::tempdir().unwrap();
    let mut fixture = Fixture::town();
    let view = view_of(dir.path(), &fixture).await;
    let size = fixture.directory.size();
    for department in ["health", "taxation"] {
        fixture.admit(department);
    }
    let checkpoint = vouch(&fixture, NOW_MS + 1000);
    let last = fixture.entries.last().unwrap().clone();
    // It says honestly which one it sends, and one is missing before it.
    let sent = view.accept(size + 1, vec![last.clone()], &checkpoint, NOW_MS).await;
    assert!(matches!(sent, Err(Error::OutOfOrder { .. })), "{sent:?}");
    let found = only(&view, Kind::Skipped);
    assert_eq!(file(&view, &found, "told.checkpoint"), checkpoint.as_bytes());
    // It passes it off as the next one, with a checkpoint over as many.
    let (short, root) = (size + 1, Hash::from_bytes([9; 32]));
    let sent = view.accept(size, vec![last.clone()], &sign(short, root, NOW_MS + 1000, "log"), NOW_MS).await;
    assert!(matches!(sent, Err(Error::Forked { .. })), "{sent:?}");
    let entries = file(&view, &only(&view, Kind::Fork), &format!("told-from-{size}.entries"));
    let entries = trust::log::bundle::EntryBundle::decode(&entries, 1).unwrap();
    assert_eq!(entries.entries(), std::slice::from_ref(&last), "the bytes as they came");
    assert_eq!(view.seen().size(), size);
    // The honest registry is believed again at once.
    bring(&view, &fixture, NOW_MS + 2000).await.unwrap();
    assert_eq!(*view.seen().root(), fixture.directory.root());
}

#[tokio::test]
async fn a_stale_checkpoint_is_refused_and_a_late_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::town();
    let view = view_of(dir.path(), &fixture).await;
    let (size, root) = (fixture.directory.size(), fixture.directory.root());
    // Within what clocks may differ: another registry over the same ledger.
    view.accept(0, Vec::new(), &sign(size, root, NOW_MS - 59_000, "log"), NOW_MS).await.unwrap();
    assert!(view.findings().list().is_empty());
    let stale = sign(size, root, NOW_MS - 3_600_000, "log");
    let sent = view.accept(0, Vec::new(), &stale, NOW_MS).await;
    assert!(matches!(sent, Err(Error::Stale { .. })), "{sent:?}");
    assert_eq!(file(&view, &only(&view, Kind::Stale), "told.checkpoint"), stale.as_bytes());
    let smaller = sign(3, view.root_at(3).unwrap(), NOW_MS - 3_600_000, "log");
    assert!(matches!(view.accept(0, Vec::new(), &smaller, NOW_MS).await, Err(Error::Stale { .. })));
    assert_eq!(view.verified_ms(), NOW_MS);
}

#[tokio::test]
async fn a_rollback_and_a_wrong_signature_are_kept_as_they_came() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::town();
    let view = view_of(dir.path(), &fixture).await;
    let fewer = sign(3, view.root_at(3).unwrap(), NOW_MS + 1000, "log");
    assert!(matches!(view.accept(0, Vec::new(), &fewer, NOW_MS).await, Err(Error::RolledBack { .. })));
    let found = only(&view, Kind::Rollback);
    assert_eq!(file(&view, &found, "told.checkpoint"), fewer.as_bytes());
    assert!(file(&view, &found, "here.consistency").starts_with(b"old 3\n"));
    let forged = sign(fixture.directory.size(), fixture.directory.root(), NOW_MS + 1000, "authority");
    assert!(matches!(view.accept(0, Vec::new(), &forged, NOW_MS).await, Err(Error::Checkpoint(_))));
    assert_eq!(file(&view, &only(&view, Kind::Signature), "told.checkpoint"), forged.as_bytes());
    // All of it is there after a restart, until somebody says how it was settled.
    drop(view);
    let view = empty_view(dir.path()).unwrap();
    assert_eq!(view.findings().open_ones().len(), 2);
    view.findings().settle(&only(&view, Kind::Rollback).id, "explained", NOW_MS).unwrap();
    assert_eq!(view.findings().open_ones().len(), 1);
    assert!(view.check_usable(NOW_MS).is_ok(), "the last good view stays in use");
}

#[tokio::test]
async fn a_statement_that_does_not_count_is_kept_with_its_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::town();
    let view = view_of(dir.path(), &fixture).await;
    let body =
        Body::DepartmentSuspended(wire::DepartmentSuspended { department: "housing".into(), reason: "x".into() });
    let entry = fixture.sign("log", body, "department/housing").encode_to_vec();
    let mut frontier = fixture.directory.frontier().clone();
    frontier.append(leaf_hash(&entry));
    let checkpoint = sign(frontier.size(), frontier.root(), NOW_MS + 9000, "log");
    let size = fixture.directory.size();
    assert!(view.accept(size, vec![entry.clone()], &checkpoint, NOW_MS).await.is_err());
    assert_eq!(file(&view, &only(&view, Kind::Statement), &format!("statement-{size}.envelope")), entry);
}

#[tokio::test]
async fn a_view_is_carried_by_hand_and_is_as_old_as_its_checkpoint() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut fixture = Fixture::town();
    let cut_off = view_of(here.path(), &fixture).await;
    let known = cut_off.seen().size();
    for number in 0..300 {
        fixture.admit(&format!("department-{number}"));
    }
    let day_ms = 86_400_000;
    let other = empty_view(there.path()).unwrap();
    bring(&other, &fixture, NOW_MS + 5 * day_ms).await.unwrap();

    // Out of its lifetime, and nobody to ask.
    let now_ms = NOW_MS + 11 * day_ms;
    assert_eq!(cut_off.check_usable(now_ms).unwrap_err().code, Code::DirectoryExpired);
    let export = |from: u64| {
        let mut file = Vec::new();
        other.export(from, &mut file).unwrap();
        file
    };
    let whole = export(0);
    assert!(export(known).len() == whole.len() && export(known + 256).len() < whole.len(), "in whole bundles");
    assert!(cut_off.read_file(export(known + 256).as_slice()).is_err(), "what lies between is missing");

    let brought = cut_off.read_file(whole.as_slice()).unwrap();
    let imported = cut_off.import(brought, now_ms).await.unwrap();
    assert_eq!(imported, Imported { added: 300, younger_ms: 5 * day_ms });
    assert_eq!(*cut_off.seen().root(), fixture.directory.root());
    assert!(cut_off.check_usable(now_ms).is_ok());
    assert_eq!(cut_off.verified_ms(), NOW_MS + 5 * day_ms);
    // Again, or an older one: nothing changes, and that is no lie.
    let brought = cut_off.read_file(whole.as_slice()).unwrap();
    assert_eq!(cut_off.import(brought, now_ms).await.unwrap(), Imported { added: 0, younger_ms: 0 });
    assert!(cut_off.findings().list().is_empty());
    drop(cut_off);
    assert_eq!(*empty_view(here.path()).unwrap().seen().root(), fixture.directory.root());
}

#[tokio::test]
async fn a_file_that_lies_is_refused_like_a_registry_that_does() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let fixture = Fixture::town();
    let view = view_of(here.path(), &fixture).await;
    let mut other = Fixture::town();
    other.admit("taxation");
    let told = empty_view(there.path()).unwrap();
    bring(&told, &other, NOW_MS + 1000).await.unwrap();
    let mut good = Vec::new();
    told.export(0, &mut good).unwrap();

    // Cut short: fewer entries than the checkpoint covers.
    let cut = |checkpoint: &str, entries: &[Vec<u8>]| {
        let mut writer = trust::log::archive::Writer::begin(Vec::new(), checkpoint, 0).unwrap();
        entries.iter().for_each(|entry| writer.entry(entry.clone()).unwrap());
        writer.finish().unwrap()
    };
    let short = cut(&told.checkpoint(), &fixture.entries);
    let brought = view.read_file(short.as_slice()).unwrap();
    assert!(matches!(view.import(brought, NOW_MS).await, Err(Error::CutShort { .. })));
    assert!(view.findings().list().is_empty(), "that is no lie");
    // A checkpoint of another key, and one over other entries.
    let (size, root) = (other.directory.size(), other.directory.root());
    let forged = cut(&sign(size, root, NOW_MS + 1000, "authority"), &other.entries);
    let brought = view.read_file(forged.as_slice()).unwrap();
    assert!(matches!(view.import(brought, NOW_MS).await, Err(Error::Checkpoint(_))));
    assert_eq!(only(&view, Kind::Signature).source, "file");
    let altered = cut(&sign(size, Hash::from_bytes([3; 32]), NOW_MS + 1000, "log"), &other.entries);
    let brought = view.read_file(altered.as_slice()).unwrap();
    assert!(matches!(view.import(brought, NOW_MS).await, Err(Error::Forked { .. })));
    assert_eq!(*view.seen().root(), fixture.directory.root());
    let brought = view.read_file(good.as_slice()).unwrap();
    assert_eq!(view.import(brought, NOW_MS).await.unwrap().added, 1);
}

#[tokio::test]
async fn a_file_that_comes_while_the_registry_is_sending_disturbs_nothing() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let fixture = Fixture::town();
    let view = empty_view(here.path()).unwrap();
    let other = view_of(there.path(), &fixture).await;
    let checkpoint = vouch(&fixture, NOW_MS);
    // Half has come, and waits for the rest.
    view.accept(0, fixture.entries[..4].to_vec(), &checkpoint, NOW_MS).await.unwrap();
    let mut file = Vec::new();
    other.export(0, &mut file).unwrap();
    let brought = view.read_file(file.as_slice()).unwrap();
    view.import(brought, NOW_MS).await.unwrap();
    assert_eq!(*view.seen().root(), fixture.directory.root());
    // The registry goes on from where it was.
    view.accept(4, fixture.entries[4..].to_vec(), &checkpoint, NOW_MS).await.unwrap();
    assert_eq!(*view.seen().root(), fixture.directory.root());
    assert!(view.findings().list().is_empty());
}
