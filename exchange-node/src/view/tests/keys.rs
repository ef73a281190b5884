//! The view follows the keys that everything rests on, whenever it comes, and tells who is no longer welcome.

use super::*;
use trust::log::checkpoint::countersign;

fn by(fixture: &Fixture, signer: &str, time_ms: u64) -> String {
    sign(fixture.directory.size(), fixture.directory.root(), time_ms, signer)
}

/// What the fixture says beyond `from`.
fn entries(fixture: &Fixture, from: u64) -> Vec<Vec<u8>> {
    fixture.entries[usize::try_from(from).unwrap()..].to_vec()
}

fn rotated() -> (Fixture, u64) {
    let mut fixture = Fixture::town();
    let before = fixture.directory.size();
    fixture.change_authority_key("authority", "authority 2");
    fixture.say_together(&["authority 2", "log", "log 2"], Fixture::log_key_change("log 2", ""), "log");
    fixture.admit_by("authority 2", "health");
    (fixture, before)
}

fn town_with_new_authority() -> Fixture {
    let mut fixture = Fixture::town();
    fixture.change_authority_key("authority", "authority 2");
    fixture
}

#[tokio::test]
async fn a_change_of_the_logs_key_is_followed_with_and_without_the_old_keys_signature() {
    for both in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let mut fixture = Fixture::town();
        let view = view_of(dir.path(), &fixture).await;
        let before = fixture.directory.size();
        fixture.say_together(&["authority", "log", "log 2"], Fixture::log_key_change("log 2", ""), "log");
        fixture.admit("health");
        let mut checkpoint = by(&fixture, "log 2", NOW_MS + 1000);
        if both {
            let old = LogKey::new("ninghe/directory".parse().unwrap(), key("log").public_key().as_bytes()).unwrap();
            checkpoint = countersign(&checkpoint, &old, NOW_MS / 1000 + 1, |message| key("log").sign(message)).unwrap();
        }
        // In two messages, the change of key in the first: whose the checkpoint must be is known before it is covered.
        let news = entries(&fixture, before);
        view.accept(before, news[..1].to_vec(), &checkpoint, NOW_MS).await.unwrap();
        assert_eq!(view.seen().size(), before);
        view.accept(before + 1, news[1..].to_vec(), &checkpoint, NOW_MS).await.unwrap();
        assert_eq!(*view.seen().root(), fixture.directory.root(), "both: {both}");
        // From here on only the new key counts.
        let old = view.accept(0, Vec::new(), &by(&fixture, "log", NOW_MS + 2000), NOW_MS).await;
        assert!(matches!(old, Err(Error::Checkpoint(_))), "{old:?}");
        view.accept(0, Vec::new(), &by(&fixture, "log 2", NOW_MS + 3000), NOW_MS).await.unwrap();
        assert_eq!(view.verified_ms(), NOW_MS + 3000);
        drop(view);
        let view = empty_view(dir.path()).unwrap();
        assert_eq!((view.seen().size(), view.verified_ms()), (fixture.directory.size(), NOW_MS + 3000));
    }
}

#[tokio::test]
async fn a_change_that_has_yet_to_come_is_waited_for_and_one_that_nobody_may_make_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let mut fixture = Fixture::town();
    let view = view_of(dir.path(), &fixture).await;
    let before = fixture.directory.size();
    fixture.admit("health");
    fixture.say_together(&["authority", "log", "log 2"], Fixture::log_key_change("log 2", ""), "log");
    let checkpoint = by(&fixture, "log 2", NOW_MS + 1000);
    let news = entries(&fixture, before);
    view.accept(before, news[..1].to_vec(), &checkpoint, NOW_MS).await.unwrap();
    view.accept(before + 1, news[1..].to_vec(), &checkpoint, NOW_MS).await.unwrap();
    assert_eq!(*view.seen().root(), fixture.directory.root());

    // Whoever stole the log's key, and has the registry, makes a key of his own.
    let thief = fixture.sign_together(&["log 2", "log 3"], Fixture::log_key_change("log 3", ""), "log").encode_to_vec();
    let size = fixture.directory.size();
    let mut frontier = fixture.directory.frontier().clone();
    frontier.append(leaf_hash(&thief));
    let checkpoint = sign(frontier.size(), frontier.root(), NOW_MS + 9000, "log 3");
    let refused = view.accept(size, vec![thief], &checkpoint, NOW_MS).await;
    assert!(matches!(refused, Err(Error::Statement { .. })), "{refused:?}");
    assert_eq!(view.seen().size(), size);
    assert_eq!(view.seen().directory().log_key(), Some(key("log 2").public_key()));
}

#[tokio::test]
async fn whoever_is_given_a_later_key_of_the_authority_reads_the_directory_from_its_founding() {
    let dir = tempfile::tempdir().unwrap();
    let open = |dir: &Path, trusted: &str| {
        View::open(dir, &fixture::exchange_id(), key(trusted).public_key(), |reason| panic!("{reason}"))
    };
    let (fixture, before) = rotated();
    let view = open(dir.path(), "authority 2").unwrap();
    let checkpoint = by(&fixture, "log 2", NOW_MS);
    view.accept(0, entries(&fixture, 0)[..3].to_vec(), &checkpoint, NOW_MS).await.unwrap();
    view.accept(3, entries(&fixture, 3), &checkpoint, NOW_MS).await.unwrap();
    assert_eq!(*view.seen().root(), fixture.directory.root());
    drop(view);
    let view = open(dir.path(), "authority 2").unwrap();
    assert_eq!(*view.seen().root(), fixture.directory.root());
    drop(view);
    assert!(matches!(open(dir.path(), "somebody"), Err(Error::NotFounded)));

    // A directory that ends before the trusted key comes is nobody's that this reader trusts.
    let dir = tempfile::tempdir().unwrap();
    let view = open(dir.path(), "authority 2").unwrap();
    let old = Fixture::town();
    assert_eq!(old.directory.size(), before);
    let refused = view.accept(0, entries(&old, 0), &by(&old, "log", NOW_MS), NOW_MS).await;
    assert!(matches!(refused, Err(Error::NotFounded)), "{refused:?}");
    assert_eq!(view.seen().size(), 0);
    let whole = town_with_new_authority();
    view.accept(0, entries(&whole, 0), &by(&whole, "log", NOW_MS), NOW_MS).await.unwrap();
    assert_eq!(*view.seen().root(), whole.directory.root());
}

#[tokio::test]
async fn endings_are_told_once_directly_or_by_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let mut fixture = Fixture::town();
    let view = view_of(dir.path(), &fixture).await;
    let mut endings = view.endings();
    let (statement, object) = revocation(&fixture, "housing", "housing node 1");
    assert!(view.apply_revocation(&statement).await.unwrap());
    let told = endings.try_recv().unwrap();
    assert_eq!(
        (told.department, told.tls_keys),
        (fixture::department("housing"), vec![fixture::tls_key("housing", "1")])
    );
    // The directory brings it later: no news.
    let body = Body::KeyRevoked(wire::KeyRevoked {
        department: "housing".into(),
        key_id: key("housing node 1").public_key().id().to_string(),
        reason: "遗失".into(),
    });
    fixture.say("housing", body, &object);
    let suspended = wire::DepartmentSuspended { department: "civil-affairs".into(), reason: "整改".into() };
    fixture.say("authority", Body::DepartmentSuspended(suspended), "department/civil-affairs");
    bring(&view, &fixture, NOW_MS + 1000).await.unwrap();
    let told = endings.try_recv().unwrap();
    assert_eq!((told.department, told.node), (fixture::department("civil-affairs"), None));
    assert!(endings.try_recv().is_err());
}
