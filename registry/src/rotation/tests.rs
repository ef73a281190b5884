//! Changes of the registry's keys, with the authority's key here and elsewhere.

use host::{
    random::SeededRandom,
    tls::{ClientAuthentication, TlsIdentity},
};
use trust::{
    envelope,
    log::checkpoint::{self, LogKey},
};

use super::*;
use crate::{
    carried::Carried,
    fixture::{NOW_MS, Rooms, authority_key, exchange, log_key, profile, rooms},
    keys::{LOG_FILE, LOG_OLD_FILE},
    waiting::Waiting,
};

struct Desk {
    folder: tempfile::TempDir,
    rooms: Rooms,
    authority: Arc<Authority>,
    rotation: Rotation,
}

/// A registry's folder with its keys; the authority's is here or elsewhere.
async fn desk(authority_is_here: bool) -> Desk {
    let (folder, rooms) = (tempfile::tempdir().unwrap(), rooms().await);
    let write = |name: &str, byte: u8| {
        files::private_folder(&folder.path().join(keys::FOLDER)).unwrap();
        let text = format!("{byte:02x}").repeat(32);
        files::write_private_file(&folder.path().join(keys::FOLDER).join(name), text.as_bytes()).unwrap();
    };
    write(LOG_FILE, 2);
    if authority_is_here {
        write(AUTHORITY_FILE, 1);
    }
    let clock: Arc<dyn Clock> = Arc::new(rooms.clock.clone());
    let key = authority_is_here.then(authority_key);
    let authority = Authority::new(exchange(), key, rooms.sequencer.clone(), Arc::clone(&clock));
    let authority = Arc::new(authority.with_waiting(Arc::new(Waiting::open(folder.path()).unwrap())));
    let random = Arc::new(SeededRandom::new(3));
    let tls = TlsIdentity::generate(random.as_ref(), &["registry.example"]).unwrap();
    let rotation = Rotation::new(RotationParts {
        folder: folder.path().to_owned(),
        authority: Arc::clone(&authority),
        sequencer: rooms.sequencer.clone(),
        log_keys: Arc::clone(&rooms.log_keys),
        replicas: None,
        tls: vec![ServerTls::new(&tls, ClientAuthentication::None).unwrap()],
        names: vec!["registry.example".to_owned()],
        clock,
        random,
    });
    Desk { folder, rooms, authority, rotation }
}

impl Desk {
    fn key_file(&self, name: &str) -> PathBuf {
        self.folder.path().join(keys::FOLDER).join(name)
    }

    fn opens(&self, key: &PublicKey) -> bool {
        let note = LogKey::new("ninghe/directory".parse().unwrap(), key.as_bytes()).unwrap();
        checkpoint::open(self.rooms.sequencer.head().checkpoint.as_bytes(), &note).is_ok()
    }

    /// Carries what waits to the authority's keys and back.
    async fn carry(&self, keys: &[SigningKey]) -> Vec<BroughtIn> {
        let statements = self.authority.waiting().unwrap().all();
        let mut carried =
            Carried { exchange: exchange(), authority_key: authority_key().public_key().clone(), statements };
        let mut outcomes = Vec::new();
        for position in 0..carried.statements.len() {
            carried.sign(position, keys).unwrap();
            let envelope = carried.statements[position].envelope.clone();
            outcomes.push(self.rotation.bring_in(envelope).await.unwrap().2);
        }
        outcomes
    }
}

#[tokio::test]
async fn the_logs_key_changes_and_checkpoints_bear_both_signatures_while_views_may_rest_on_the_old_one() {
    let desk = desk(true).await;
    let (said, new) = desk.rotation.log_key("yearly change").await.unwrap();
    let accepted = said.unwrap();
    let old = log_key().public_key().clone();
    assert!(desk.opens(&old) && desk.opens(&new), "the checkpoint over the change");
    assert!(accepted.checkpoint.lines().count() > 6);
    assert_eq!(keys::read_signing_key(&desk.key_file(LOG_FILE)).unwrap().public_key(), &new);
    assert_eq!(keys::read_signing_key(&desk.key_file(LOG_OLD_FILE)).unwrap().public_key(), &old);

    desk.rooms.clock.set(NOW_MS + 241 * 3_600_000);
    desk.rooms.admit("civil-affairs").await;
    assert!(!desk.opens(&old) && desk.opens(&new), "a view's lifetime later the old one signs no more");
    desk.rotation.settle().unwrap();
    assert!(!desk.key_file(LOG_OLD_FILE).exists());
    // The state is committed to with the key in force.
    assert!(desk.rooms.sequencer.commit_to_state().await.unwrap() > 0);

    // A registry that starts again opens what it kept, with whichever key signed it.
    let held = LogKeys::new([keys::read_signing_key(&desk.key_file(LOG_FILE)).unwrap()]);
    let parts = crate::fixture::parts(&desk.rooms.ledger, &desk.rooms.clock);
    let again = crate::sequencer::SequencerParts { log_keys: held, ..parts };
    Sequencer::start(again).await.unwrap();
}

#[tokio::test]
async fn a_change_to_a_key_that_is_not_here_would_end_the_log_and_is_refused() {
    let desk = desk(true).await;
    let foreign = crate::fixture::key(9);
    let body = Body::LogKeyChanged(wire::LogKeyChanged {
        log_key: Some(described(Role::Log, foreign.public_key())),
        reason: "x".to_owned(),
        lost: String::new(),
    });
    let signers = [Arc::new(log_key()), Arc::new(foreign)];
    let refused = desk.authority.say_with(Object::Log, body, None, &signers).await.unwrap_err();
    assert!(refused.to_string().contains("does not hold the new key"), "{refused}");
}

#[tokio::test]
async fn the_authoritys_key_changes_here_and_the_old_one_says_nothing_more() {
    let desk = desk(true).await;
    let (said, new) = desk.rotation.authority_key("yearly change", None).await.unwrap();
    said.unwrap();
    assert_eq!(keys::read_signing_key(&desk.key_file(AUTHORITY_FILE)).unwrap().public_key(), &new);
    assert!(!desk.key_file(AUTHORITY_NEXT_FILE).exists());
    let public = fs::read_to_string(desk.folder.path().join(AUTHORITY_PUBLIC_FILE)).unwrap();
    assert_eq!(public.trim(), new.to_string());
    let keys = [1, 2].map(|number| crate::fixture::key(number).public_key().clone());
    let [first, recovery] = keys.clone();
    desk.authority.admit(&profile("civil-affairs"), first, recovery).await.unwrap();
    // Whoever still has the old one is not the authority any more.
    let [first, recovery] = keys;
    let old = desk.rooms.authority.admit(&profile("housing"), first, recovery).await.unwrap_err();
    assert!(matches!(old, authority::Error::KeyAbsent), "{old}");
}

#[tokio::test]
async fn what_the_authority_is_to_say_waits_and_counts_once_it_was_signed_elsewhere() {
    let desk = desk(false).await;
    let keys = [1, 2].map(|number| crate::fixture::key(number).public_key().clone());
    let [first, recovery] = keys.clone();
    let waits = desk.authority.admit(&profile("civil-affairs"), first, recovery).await.unwrap_err();
    assert!(matches!(waits, authority::Error::Waiting { .. }), "{waits}");
    assert!(desk.rooms.sequencer.directory().departments().next().is_none());

    let unsigned = desk.authority.waiting().unwrap().all().remove(0).envelope;
    let (_, _, refused) = desk.rotation.bring_in(unsigned.clone()).await.unwrap();
    assert!(matches!(refused, BroughtIn::Refused(_)), "nobody has signed it");
    let mut by_another = unsigned;
    envelope::countersign(&mut by_another, &crate::fixture::key(9)).unwrap();
    let (_, _, refused) = desk.rotation.bring_in(by_another).await.unwrap();
    assert!(matches!(refused, BroughtIn::Refused(_)), "{refused:?}");

    let outcomes = desk.carry(&[authority_key()]).await;
    assert!(matches!(outcomes[..], [BroughtIn::Accepted { index: 2 }]), "{outcomes:?}");
    assert!(desk.authority.waiting().unwrap().all().is_empty());
    assert!(desk.rooms.sequencer.directory().department(&"civil-affairs".parse().unwrap()).is_some());
}

#[tokio::test]
async fn keys_change_with_the_authoritys_key_elsewhere() {
    let desk = desk(false).await;
    let (said, new_log) = desk.rotation.log_key("yearly change").await.unwrap();
    assert!(matches!(said, Err(authority::Error::Waiting { .. })));
    let again = desk.rotation.log_key("yearly change").await.unwrap();
    assert_eq!(again.1, new_log, "the same command once more makes no third key");
    assert_eq!(desk.authority.waiting().unwrap().all().len(), 1);
    assert!(!desk.opens(&new_log));
    let refused = desk.rotation.authority_key("yearly change", None).await.unwrap_err();
    assert!(refused.to_string().contains("new-key"), "{refused}");

    let new_authority = crate::fixture::key(7);
    let public = new_authority.public_key().clone();
    let (said, _) = desk.rotation.authority_key("yearly change", Some(public.clone())).await.unwrap();
    assert!(matches!(said, Err(authority::Error::Waiting { .. })));
    // With the old key alone the second one lacks a signature.
    let outcomes = desk.carry(&[authority_key()]).await;
    assert!(matches!(outcomes[..], [BroughtIn::Accepted { .. }, BroughtIn::Refused(_)]), "{outcomes:?}");
    assert!(desk.opens(&new_log));
    let outcomes = desk.carry(&[authority_key(), new_authority]).await;
    assert!(matches!(outcomes[..], [BroughtIn::Accepted { .. }]), "{outcomes:?}");
    assert_eq!(desk.rooms.sequencer.directory().current_authority_key(), Some(&public));
}

#[tokio::test]
async fn a_statement_that_was_overtaken_on_its_way_waits_again() {
    let desk = desk(false).await;
    desk.rooms.admit("civil-affairs").await;
    let id = "civil-affairs".parse().unwrap();
    desk.authority.suspend(&id, "inquiry").await.unwrap_err();
    desk.rooms.authority.suspend(&id, "another reason").await.unwrap();
    let outcomes = desk.carry(&[authority_key()]).await;
    assert!(matches!(outcomes[..], [BroughtIn::MadeAgain { .. }]), "{outcomes:?}");
    let outcomes = desk.carry(&[authority_key()]).await;
    assert!(matches!(outcomes[..], [BroughtIn::Accepted { .. }]), "{outcomes:?}");
}

#[tokio::test]
async fn the_tls_key_is_told_first_and_shown_when_its_moment_comes() {
    let desk = desk(true).await;
    let before = desk.rotation.tls[0].key_digest();
    let (said, next) = desk.rotation.announce_next_tls(60_000).await.unwrap();
    said.unwrap();
    let told = |desk: &Desk| {
        let directory = desk.rooms.sequencer.directory();
        let known = directory.registry().unwrap();
        (known.tls_key.clone(), known.next_tls_key.clone())
    };
    assert_eq!(told(&desk).1, next.key_digest().as_bytes());
    assert_eq!(desk.rotation.tls[0].key_digest(), before);
    assert_eq!(desk.rotation.tls_switch_ms(), Some(NOW_MS + 60_000));
    desk.rotation.switch_tls().await.unwrap().unwrap();
    assert_eq!(desk.rotation.tls[0].key_digest(), next.key_digest());
    assert_eq!(told(&desk), (next.key_digest().as_bytes().to_vec(), Vec::new()));
    assert_eq!(TlsIdentity::read(&desk.key_file(TLS_FILE)).unwrap().key_digest(), next.key_digest());
    assert_eq!(desk.rotation.tls_switch_ms(), None);
}
