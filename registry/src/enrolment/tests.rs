//! Enrolment: who gets in with which token, and who does not.

use std::{fs, os::unix::fs::PermissionsExt};

use host::{files, random::SeededRandom};
use trust::key::{Signer, SigningKey};

use super::{
    decisions::{FOLDER, FolderDecisions},
    *,
};
use crate::fixture::{NOW_MS, Rooms, authority_key, exchange, key, profile, rooms};

const LIFETIME_MS: u64 = 3_600_000;

struct Office {
    folder: tempfile::TempDir,
    rooms: Rooms,
    enrolment: Enrolment,
}

async fn open(folder: &tempfile::TempDir, rooms: &Rooms, authority: Option<SigningKey>) -> Enrolment {
    let clock: Arc<dyn Clock> = Arc::new(rooms.clock.clone());
    let authority = Authority::new(exchange(), authority, rooms.sequencer.clone(), Arc::clone(&clock));
    Enrolment::open(EnrolmentParts {
        decisions: Arc::new(FolderDecisions::open(folder.path()).unwrap()),
        introduction: Introduction {
            exchange: exchange(),
            authority_key: authority_key().public_key().clone(),
            addresses: vec!["127.0.0.1:7400".to_owned()],
            tls_key: [7; 32],
        },
        authority: Arc::new(authority),
        sequencer: rooms.sequencer.clone(),
        clock,
        random: Arc::new(SeededRandom::new(5)),
        token_lifetime_ms: LIFETIME_MS,
    })
    .await
    .unwrap()
}

async fn office() -> Office {
    let (folder, rooms) = (tempfile::tempdir().unwrap(), rooms().await);
    let enrolment = open(&folder, &rooms, Some(authority_key())).await;
    Office { folder, rooms, enrolment }
}

fn offer_with(department: &str, keys: [&SigningKey; 2]) -> wire::EnrolmentOffer {
    let [first_key, recovery_key] = keys.map(|key| key.public_key().as_bytes().to_vec());
    wire::EnrolmentOffer {
        exchange_id: "ninghe".to_owned(),
        department: department.to_owned(),
        first_key,
        recovery_key,
    }
}

fn offer(department: &str) -> Vec<u8> {
    offer_with(department, [&key(1), &key(2)]).encode_to_vec()
}

impl Office {
    async fn token(&self) -> EnrolmentToken {
        self.enrolment.admit(profile("civil-affairs"), Strictness::Strict).await.unwrap().unwrap()
    }

    async fn refused(&self, offer: &[u8], mac: &[u8]) -> Refusal {
        match self.enrolment.enrol(offer, mac).await.unwrap() {
            Outcome::Refused(refusal) => refusal,
            other => panic!("{other:?}"),
        }
    }

    fn is_admitted(&self) -> bool {
        self.rooms.sequencer.directory().department(&"civil-affairs".parse().unwrap()).is_some()
    }
}

#[tokio::test]
async fn a_token_admits_its_department_once_and_a_retry_gets_the_same_answer() {
    let office = office().await;
    let token = office.token().await;
    assert_eq!(token.expires_ms, NOW_MS + LIFETIME_MS);
    assert!(fixture_pending(&office), "the decision is kept");

    let offer = offer("civil-affairs");
    let mac = token.secret.mac(&offer);
    for _ in 0..2 {
        match office.enrolment.enrol(&offer, &mac).await.unwrap() {
            Outcome::Admitted(accepted) => assert_eq!(accepted.index, 2),
            other => panic!("{other:?}"),
        }
    }
    assert!(office.is_admitted());
    assert!(!fixture_pending(&office), "the secret is gone");
    assert_eq!(office.rooms.ledger.entries().len(), 3);

    let others = offer_with("civil-affairs", [&key(3), &key(2)]).encode_to_vec();
    let refusal = office.refused(&others, &token.secret.mac(&others)).await;
    assert_eq!(refusal.code, Code::TokenUnknown);
    let mixed = offer_with("civil-affairs", [&key(1), &key(3)]).encode_to_vec();
    assert_eq!(office.refused(&mixed, &token.secret.mac(&mixed)).await.code, Code::TokenUnknown);
}

fn fixture_pending(office: &Office) -> bool {
    is_pending(office.folder.path(), "civil-affairs")
}

#[tokio::test]
async fn what_does_not_fit_the_token_is_refused() {
    let office = office().await;
    let token = office.token().await;
    let offer = offer("civil-affairs");
    let mac = token.secret.mac(&offer);
    assert_eq!(office.refused(&offer, &[0; 32]).await.code, Code::MacWrong);
    assert_eq!(office.refused(&offer, &[]).await.code, Code::MacWrong);
    let other = offer_with("civil-affairs", [&key(3), &key(4)]).encode_to_vec();
    assert_eq!(office.refused(&other, &mac).await.code, Code::MacWrong, "the MAC is over the keys");
    let housing = self::offer("housing");
    assert_eq!(office.refused(&housing, &token.secret.mac(&housing)).await.code, Code::TokenUnknown);

    let elsewhere =
        wire::EnrolmentOffer { exchange_id: "other".to_owned(), ..offer_with("civil-affairs", [&key(1), &key(2)]) };
    assert_eq!(office.refused(&elsewhere.encode_to_vec(), &mac).await.field, "offer.exchange_id");
    let short = wire::EnrolmentOffer { recovery_key: vec![1; 31], ..offer_with("civil-affairs", [&key(1), &key(2)]) };
    assert_eq!(office.refused(&short.encode_to_vec(), &mac).await.field, "offer.recovery_key");
    assert_eq!(office.refused(&[0xff; 40], &mac).await.field, "offer");
    let same = offer_with("civil-affairs", [&key(1), &key(1)]).encode_to_vec();
    let refusal = office.refused(&same, &token.secret.mac(&same)).await;
    assert_eq!((refusal.code, refusal.field.as_str()), (Code::StatementRefused, "recovery_key"));

    assert!(!office.is_admitted() && fixture_pending(&office), "the token is still good");
    office.rooms.clock.set(token.expires_ms);
    let refusal = office.refused(&offer, &mac).await;
    assert!(refusal.code == Code::TokenUnknown && refusal.detail.contains("expired"), "{refusal}");
    assert!(office.enrolment.pending().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_new_token_voids_the_old_one() {
    let office = office().await;
    let (old, new) = (office.token().await, office.token().await);
    let offer = offer("civil-affairs");
    assert_eq!(office.refused(&offer, &old.secret.mac(&offer)).await.code, Code::MacWrong);
    let outcome = office.enrolment.enrol(&offer, &new.secret.mac(&offer)).await.unwrap();
    assert!(matches!(outcome, Outcome::Admitted(_)), "{outcome:?}");
}

#[tokio::test]
async fn a_decision_with_a_wrong_credit_code_or_for_a_taken_id_is_refused() {
    let office = office().await;
    let wrong = DepartmentProfile { uscc: "118900000000010113".to_owned(), ..profile("civil-affairs") };
    let refusal = office.enrolment.admit(wrong.clone(), Strictness::Strict).await.unwrap().unwrap_err();
    assert_eq!(refusal.field, "uscc");
    assert!(!fixture_pending(&office));
    assert!(office.enrolment.admit(wrong, Strictness::Lenient).await.unwrap().is_ok());
    let nameless = DepartmentProfile { name: wire::LocalName::default(), ..profile("civil-affairs") };
    assert_eq!(office.enrolment.admit(nameless, Strictness::Strict).await.unwrap().unwrap_err().field, "name");
    office.rooms.admit("housing").await;
    let taken = office.enrolment.admit(profile("housing"), Strictness::Strict).await.unwrap().unwrap_err();
    assert_eq!(taken.field, "department");
}

#[tokio::test]
async fn without_the_authority_key_an_offer_waits_and_is_admitted_once_it_is_back() {
    let office = office().await;
    let token = office.token().await;
    let offer = offer("civil-affairs");
    let mac = token.secret.mac(&offer);
    let without = open(&office.folder, &office.rooms, None).await;
    assert!(matches!(without.enrol(&offer, &mac).await.unwrap(), Outcome::Waiting));
    assert!(!office.is_admitted());
    let again = open(&office.folder, &office.rooms, Some(authority_key())).await;
    assert!(matches!(again.enrol(&offer, &mac).await.unwrap(), Outcome::Admitted(_)));
}

#[tokio::test]
async fn pending_decisions_survive_a_restart_and_used_ones_do_not() {
    let office = office().await;
    let token = office.token().await;
    let file = office.folder.path().join(FOLDER).join("civil-affairs.toml");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let copy = fs::read(&file).unwrap();
    let again = open(&office.folder, &office.rooms, Some(authority_key())).await;
    assert_eq!(again.pending().await.unwrap()[0].department.as_str(), "civil-affairs");
    let offer = offer("civil-affairs");
    again.enrol(&offer, &token.secret.mac(&offer)).await.unwrap();

    // As after a crash between the admission and the removal of the file.
    files::write_private_file(&file, &copy).unwrap();
    let _ = open(&office.folder, &office.rooms, Some(authority_key())).await;
    assert!(!file.exists());
}

#[tokio::test]
async fn a_pending_file_that_was_altered_is_named_without_its_secret() {
    let office = office().await;
    let token = office.token().await;
    let file = office.folder.path().join(FOLDER).join("civil-affairs.toml");
    let text = fs::read_to_string(&file).unwrap();
    let secret = token.secret.to_hex().to_string();
    for altered in
        [text.replace(&secret, &secret[..60]), text.replace("secret", "secrets"), text.replace("secret = ", "secret ")]
    {
        files::replace_file(&file, altered.as_bytes(), files::PRIVATE_MODE).unwrap();
        let error = office.enrolment.pending().await.unwrap_err().to_string();
        assert!(error.contains("civil-affairs.toml") && !error.contains(&secret[..60]), "{error}");
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(office.enrolment.pending().await.unwrap_err().to_string().contains("can be read by others"));
}

#[tokio::test]
async fn the_catalogue_lists_who_takes_part_and_who_has_yet_to_come() {
    let office = office().await;
    office.token().await;
    office.rooms.admit("housing").await;
    let states = async || {
        let pending = office.enrolment.pending().await.unwrap();
        let states = crate::catalogue::departments(&office.rooms.sequencer.directory(), &pending, 0);
        states.into_iter().map(|state| (state.department, state.state)).collect::<Vec<_>>()
    };
    let named = |department: &str, state: &str| (department.to_owned(), state.to_owned());
    assert_eq!(states().await, [named("civil-affairs", "awaiting enrolment"), named("housing", "admitted")]);
    office.rooms.authority.suspend(&"housing".parse().unwrap(), "inquiry").await.unwrap();
    assert_eq!(states().await[1], named("housing", "suspended"));
    office.rooms.authority.resume(&"housing".parse().unwrap(), "").await.unwrap();
    assert_eq!(states().await[1], named("housing", "admitted"));
}
