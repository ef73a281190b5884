//! The life of a key: it rotates under load, is lost and recovered, is renewed by itself, is sealed for two officers, and
//! nothing that is under way fails on the way. Out of scope: keys that were stolen (`revoking`), the registry's own
//! (`registry_keys`).

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use proto::office::v1::{State, VerifyResponse};
use serde_json::Value;
use tokio::task::JoinSet;
use town::harness::{Office, eventually};
use trust::key::Signer;

use crate::support::{
    MARRIED, Place, SINGLE, WIDOWED, exit, marital_status,
    peer::{HandMadePeer, keys_of},
    said, small, verdict,
};

/// How long a condition may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Questions that are asked without a break, each with all the time it wants.
struct Questions {
    stop: Arc<AtomicBool>,
    askers: JoinSet<Vec<VerifyResponse>>,
}

impl Questions {
    fn begin(office: &Office) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut askers = JoinSet::new();
        for asker in 0..3 {
            let (office, stop) = (office.clone(), Arc::clone(&stop));
            askers.spawn(async move {
                let subjects = [&*MARRIED, &*WIDOWED, &*SINGLE];
                let mut answers = Vec::new();
                for number in asker.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let mut question = marital_status(subjects[number % 3], "married");
                    question.timeout_ms = 60_000;
                    answers.push(office.verify(question).await.expect("a result"));
                    // Steady, not as fast as possible: other things are to be done meanwhile.
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                answers
            });
        }
        Self { stop, askers }
    }

    /// Ends them: every one was answered.
    async fn all_answered(mut self) -> Vec<VerifyResponse> {
        self.stop.store(true, Ordering::Relaxed);
        let mut answers = Vec::new();
        while let Some(told) = self.askers.join_next().await {
            answers.extend(told.expect("an asker ends well"));
        }
        for answer in &answers {
            assert_eq!(answer.state(), State::Answered, "{answer:?}");
        }
        assert!(answers.len() > 10, "{} questions", answers.len());
        answers
    }
}

/// The department's keys, as its node lists them.
async fn keys(place: &Place, department: &str) -> Vec<Value> {
    place.json(department, &["keys", "list"]).await["keys"].as_array().expect("keys").clone()
}

async fn used(place: &Place, department: &str, role: &str) -> Vec<Value> {
    let keys = keys(place, department).await;
    keys.into_iter().filter(|key| key["role"] == role && key["in_use"] == true).collect()
}

async fn sound(place: &Place, receipt: &str, name: &str) {
    let file = place.dir().join(name);
    let file = file.to_str().unwrap();
    place.json("housing", &["evidence", "export", receipt, "-o", file]).await;
    let authority = place.town.authority_key();
    let checked = place.json("housing", &["evidence", "verify", file, "--authority", authority]).await;
    assert_eq!(checked["sound"], true, "{name}: {checked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_keys_rotate_under_load_and_no_question_fails() {
    let place = Place::civil_affairs_and_housing().await;
    let before = used(&place, "housing", "node").await;
    let questions = Questions::begin(&place.town.office("housing").await.unwrap());
    for department in ["civil-affairs", "housing"] {
        let rotated = place.json(department, &["keys", "rotate", "node", "--overlap", "2s"]).await;
        let now = used(&place, department, "node").await;
        assert_eq!((now.len(), &now[0]["key_id"]), (1, &rotated["new_key_id"]));
        let old = keys_of(place.town.node(department)).join("node.old.key");
        assert!(old.exists(), "it signs along while keys overlap");
        let gone = eventually(PATIENCE, async || !old.exists()).await;
        assert!(gone, "the overlap of {department} ends by itself");
    }
    // After both overlaps: only the new keys sign.
    let after = place.ask(marital_status(&MARRIED, "married")).await;
    let answers = questions.all_answered().await;
    assert_ne!(used(&place, "housing", "node").await[0]["key_id"], before[0]["key_id"]);
    let old = keys(&place, "housing").await.into_iter().find(|key| key["key_id"] == before[0]["key_id"]).unwrap();
    assert!(old["valid_until_ms"].as_u64().unwrap() > 0 && old["revoked"] == "", "{old}");
    // Evidence from before, from within the overlap and from after is as good as ever.
    for (position, answer) in [0, answers.len() / 2, answers.len() - 1].into_iter().enumerate() {
        sound(&place, &answers[answer].receipt, &format!("during-{position}.evidence")).await;
    }
    sound(&place, &after.receipt, "after.evidence").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_after_both_sides_keys_have_rotated_gets_its_stored_answer() {
    let place = Place::civil_affairs_and_housing().await;
    let peer = HandMadePeer::new(&place.town, "housing", "civil-affairs").await;
    let mut request = peer.question(&MARRIED);
    request.expires_at_ms = request.issued_at_ms + 290_000;
    let signed = peer.seal(&request);
    let answer = peer.send(signed.clone()).await.unwrap();
    for department in ["civil-affairs", "housing"] {
        place.json(department, &["keys", "rotate", "node", "--overlap", "0s"]).await;
    }
    place.town.settled().await.unwrap();
    assert_eq!(peer.send(signed.clone()).await.unwrap(), answer, "the bytes of then, signed with the key of then");
    // The asker's own code believes it: the key counted when the answer was made.
    let question = trust::question::Question::read(request.clone()).unwrap();
    let digest = trust::envelope::digest_of(&signed).unwrap();
    let mut directory =
        trust::directory::Directory::new("ninghe".parse().unwrap(), place.town.authority_key().parse().unwrap());
    for entry in crate::support::peer::directory_entries(&place.town).await {
        directory.apply(&entry).unwrap();
    }
    let now_ms = crate::support::peer::now_ms();
    trust::answer::open(&directory, &answer, &question, &digest, now_ms, |_| None).unwrap();
    // A new question under the old key is refused, as soon as the key has ended.
    let refused = eventually(PATIENCE, async || {
        let answer = peer.send(peer.seal(&peer.question(&SINGLE))).await.unwrap();
        let proto::exchange::v1::signed::Form::Envelope(envelope) = answer.form.unwrap() else { return false };
        let answer: proto::exchange::v1::Answer = prost::Message::decode(envelope.payload.as_slice()).unwrap();
        matches!(answer.outcome, Some(proto::exchange::v1::answer::Outcome::Refusal(refusal)) if refusal.code == "KEY_EXPIRED")
    })
    .await;
    assert!(refused);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_departments_key_rotates_is_lost_and_comes_back_with_the_recovery_key() {
    let place = Place::civil_affairs_and_housing().await;
    let node = place.town.node("civil-affairs");
    let suspend = ["service", "suspend", "marriage-registration", "--notice", "moving"];
    let resume = ["service", "resume", "marriage-registration"];
    let first = used(&place, "civil-affairs", "department").await[0].clone();
    let rotated = place.json("civil-affairs", &["keys", "rotate", "department", "--overlap", "1s"]).await;
    assert_eq!(used(&place, "civil-affairs", "department").await[0]["key_id"], rotated["new_key_id"]);
    place.json("civil-affairs", &suspend).await;
    let old = keys_of(node).join("department.old.key");
    assert!(eventually(PATIENCE, async || !old.exists()).await, "the overlap ends by itself");
    place.json("civil-affairs", &resume).await;

    // The recovery key is in the safe; everything else of the department's and the node's is lost.
    let safe = place.dir().join("recovery.key");
    fs::rename(keys_of(node).join("recovery.key"), &safe).unwrap();
    node.stop().await.unwrap();
    for name in ["department.key", "node.key", "tls.key"] {
        fs::remove_file(keys_of(node).join(name)).unwrap();
    }
    let wrong = place.cli("civil-affairs", &["keys", "recover", "--recovery-key", "nowhere"]).await;
    assert_eq!(exit(&wrong), 2, "{}", said(&wrong));
    let recover = ["keys", "recover", "--recovery-key", safe.to_str().unwrap()];
    let first_try = place.cli("civil-affairs", &recover).await;
    assert_eq!(exit(&first_try), 3, "the node can be started now: {}", said(&first_try));
    assert!(said(&first_try).contains("node.key was missing"), "{}", said(&first_try));
    node.start().await.unwrap();
    let elsewhere = place.cli("civil-affairs", &suspend).await;
    assert_ne!(exit(&elsewhere), 0, "{}", said(&elsewhere));
    // Another department's recovery key is of no use.
    let foreign = keys_of(place.town.node("housing")).join("recovery.key");
    let refused = place.cli("civil-affairs", &["keys", "recover", "--recovery-key", foreign.to_str().unwrap()]).await;
    assert_eq!(exit(&refused), 7, "{}", said(&refused));

    place.json("civil-affairs", &recover).await;
    place.json("civil-affairs", &suspend).await;
    place.json("civil-affairs", &resume).await;
    // The node says by itself which keys it has now, and answers with them.
    let answered =
        eventually(PATIENCE, async || place.ask(marital_status(&MARRIED, "married")).await.state() == State::Answered)
            .await;
    assert!(answered);
    // And the lost keys are revoked.
    let lost = rotated["new_key_id"].as_str().unwrap();
    place.json("civil-affairs", &["keys", "revoke", lost, "--reason", "lost with the machine"]).await;
    let known = keys(&place, "civil-affairs").await;
    let lost = known.iter().find(|key| key["key_id"] == rotated["new_key_id"]).unwrap();
    assert_eq!(lost["revoked"], "lost with the machine");
    assert!(known.iter().any(|key| key["key_id"] == first["key_id"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_keys_renew_under_a_steady_load_and_no_question_fails() {
    let place = Place::civil_affairs_and_housing().await;
    let tls = async |department: &str| place.json(department, &["keys", "list"]).await["tls_key"].clone();
    let questions = Questions::begin(&place.town.office("housing").await.unwrap());
    for department in ["civil-affairs", "housing"] {
        let before = tls(department).await;
        let renewed = place.json(department, &["keys", "renew-tls", "--lead", "1s", "--overlap", "2s"]).await;
        let done = eventually(PATIENCE, async || {
            let listed = place.json(department, &["keys", "list"]).await;
            listed["tls_key"] == renewed["next_tls_key"] && listed["next_tls_key"] == ""
        })
        .await;
        assert!(done, "{department} shows the new key");
        assert_ne!(tls(department).await, before);
        let given_up =
            eventually(PATIENCE, async || !keys_of(place.town.node(department)).join("tls.next.json").exists());
        assert!(given_up.await, "{department} gives the old one up");
    }
    place.town.settled().await.unwrap();
    verdict(&place.ask(marital_status(&WIDOWED, "widowed")).await);
    questions.all_answered().await;
    // Both start again with what they have.
    for node in place.town.nodes() {
        node.stop().await.unwrap();
        node.start().await.unwrap();
    }
    verdict(&place.ask(marital_status(&MARRIED, "married")).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tls_key_is_renewed_by_itself_before_its_time_is_over() {
    let keys = "[keys]\ntls_lifetime = \"6s\"\ntls_lead = \"1s\"\n\n[limits]";
    let place = Place::start(|plan, dir| small(plan, dir).setting("[limits]", keys)).await;
    let shown = async || place.json("housing", &["keys", "list"]).await["tls_key"].clone();
    let first = shown().await;
    assert!(eventually(PATIENCE, async || shown().await != first).await);
    verdict(&place.ask(marital_status(&MARRIED, "married")).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_officers_seal_the_keys_rehearse_a_restore_and_bring_a_lost_folder_back() {
    let place = Place::civil_affairs_and_housing().await;
    let node = place.town.node("housing");
    let finding = async || {
        let told = place.cli("housing", &["doctor", "--json"]).await;
        let told: Value = serde_json::from_slice(&told.stdout).unwrap();
        let findings = told["findings"].as_array().unwrap().clone();
        findings.into_iter().find(|finding| finding["check"] == "key backup").expect("a finding about the backup")
    };
    assert_eq!(finding().await["level"], "warning");
    let secret = |name: &str, text: &str| {
        let path = place.dir().join(name);
        host::files::write_private_file(&path, text.as_bytes()).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (one, other) = (secret("one", "correct horse battery\n"), secret("other", "staple tower of ice\n"));
    let sealed = place.dir().join("housing.keys");
    let sealed = sealed.to_str().unwrap();
    let both = ["--secret-file", &one, "--secret-file", &other];
    let officers = ["--officer", "1024", "--officer", "1025"];
    place.json("housing", &[&["keys", "backup", "-o", sealed][..], &officers, &both].concat()).await;
    let text = fs::read_to_string(sealed).unwrap();
    let department = fs::read_to_string(keys_of(node).join("department.key")).unwrap();
    assert!(!text.contains(department.trim()));
    assert_eq!(finding().await["level"], "warning", "a backup that nobody tried is a hope");

    let alone = ["keys", "rehearse", sealed, "--secret-file", &one, "--secret-file", &one];
    let alone = place.cli("housing", &alone).await;
    assert_eq!(exit(&alone), 2, "{}", said(&alone));
    assert!(said(&alone).contains("officer 1025"), "{}", said(&alone));
    place.json("housing", &[&["keys", "rehearse", sealed][..], &both].concat()).await;
    assert_eq!(finding().await["level"], "ok");

    node.stop().await.unwrap();
    let names = ["department.key", "recovery.key", "node.key", "tls.key"];
    let read = |name: &&str| fs::read(keys_of(node).join(name)).unwrap();
    let before: Vec<Vec<u8>> = names.iter().map(read).collect();
    for name in names {
        fs::remove_file(keys_of(node).join(name)).unwrap();
    }
    node.start().await.unwrap_err();
    place.json("housing", &[&["keys", "restore", sealed][..], &both].concat()).await;
    assert_eq!(names.iter().map(read).collect::<Vec<_>>(), before);
    node.start().await.unwrap();
    verdict(&place.ask(marital_status(&MARRIED, "married")).await);

    // A key that changes since is not in that backup, and doctor says so.
    place.json("housing", &["keys", "rotate", "node", "--overlap", "1s"]).await;
    let finding = finding().await;
    assert_eq!(finding["level"], "warning");
    assert!(finding["found"].as_str().unwrap().contains("node.key"), "{finding}");
    assert_private(&keys_of(node));
}

fn assert_private(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    for file in fs::read_dir(folder).unwrap().flatten().filter(|file| file.path().is_file()) {
        let mode = file.metadata().unwrap().permissions().mode() & 0o077;
        assert_eq!(mode, 0, "{} can be read by others", file.path().display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_a_crash_interrupted_is_ended_at_the_next_start() {
    let place = Place::civil_affairs_and_housing().await;
    let node = place.town.node("housing");
    // The new key is in its file and in the directory, and the process dies before it is put to use.
    let peer = HandMadePeer::new(&place.town, "housing", "civil-affairs").await;
    let seed = [9; 32];
    let next = exchange_node::keys::FileKey::from_seed(&seed).unwrap();
    let text = data_encoding::HEXLOWER.encode(&seed);
    host::files::write_private_file(&keys_of(node).join("node.next.key"), text.as_bytes()).unwrap();
    let body = exchange_node::publish::node_key_added(
        &"housing".parse().unwrap(),
        &"1".parse().unwrap(),
        next.public_key().clone(),
        crate::support::peer::now_ms(),
    );
    let object = trust::directory::Object::Key(*next.public_key().id());
    peer.state(&place.town, &object, &[], body).await;
    node.kill();
    node.start().await.unwrap();
    let id = next.public_key().id().to_string();
    let in_use = eventually(PATIENCE, async || used(&place, "housing", "node").await[0]["key_id"] == id.as_str()).await;
    assert!(in_use);
    assert!(!keys_of(node).join("node.next.key").exists());
    verdict(&place.ask(marital_status(&MARRIED, "married")).await);
    // The old one got its end too.
    let ended = eventually(PATIENCE, async || {
        let old = peer.keys.node.public_key().id().to_string();
        let known = keys(&place, "housing").await;
        known.iter().any(|key| key["key_id"] == old.as_str() && key["valid_until_ms"].as_u64().unwrap() > 0)
    })
    .await;
    assert!(ended);
}
