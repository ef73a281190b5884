//! Backups of a running node, and the one history of its evidence, on real processes: a restored log goes on where nothing
//! was lost, and signs nothing where something was, until it is closed and its successor opened; what was lost comes back from
//! the other side, as the other side's.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use proto::exchange::v1::{EntryKind, HeldMessage, HeldRequest, Signed, custody_client::CustodyClient};
use serde_json::Value;
use tonic::Code;
use town::harness::{Scope, eventually};

use crate::{
    anchors::copy_folder,
    support::{
        AUDITED, BASIS, ITEM, MARRIED, Place, SINGLE, WIDOWED, assert_outage, evidence, exit, marital_status,
        peer::{HandMadePeer, channel},
        resident, said, small, verdict,
    },
};

/// How long a condition may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Makes a backup of a running node.
pub(crate) async fn backup(place: &Place, department: &str, name: &str) -> PathBuf {
    let file = place.dir().join(name);
    let made = place.json(department, &["backup", "-o", file.to_str().unwrap()]).await;
    assert_eq!(made["records"], true, "{made}");
    file
}

/// Loses a node's folder, restores a backup in its place, and brings the keys back, the months' too. The folder that was
/// lost.
pub(crate) async fn lose_and_restore(place: &Place, department: &str, file: &Path) -> PathBuf {
    let node = place.town.node(department);
    if node.id().is_some() {
        node.stop().await.unwrap();
    }
    let lost = place.dir().join(format!("{department}-lost"));
    let _ = fs::remove_dir_all(&lost);
    fs::rename(node.dir(), &lost).unwrap();
    let restored = place.json(department, &["restore", file.to_str().unwrap(), "--department", department]).await;
    assert_eq!(restored["of"], format!("ninghe/{department}/1"), "{restored}");
    // As `keys restore` does, and the months' keys from where they are kept.
    fs::remove_dir_all(node.dir().join("keys")).unwrap();
    copy_folder(&lost.join("keys"), &node.dir().join("keys"));
    lost
}

/// What a node says of itself.
pub(crate) async fn status(place: &Place, department: &str) -> Value {
    place.json(department, &["status"]).await
}

/// Waits until a node's evidence log goes on.
pub(crate) async fn goes_on(place: &Place, department: &str) {
    let goes_on = eventually(PATIENCE, async || {
        let output = place.cli(department, &["status", "--json"]).await;
        serde_json::from_slice::<Value>(&output.stdout).is_ok_and(|status| status["evidence_held"] == "")
    });
    assert!(goes_on.await, "{}", status(place, department).await);
}

/// Closes a node's evidence log.
pub(crate) async fn close(place: &Place, department: &str) -> Value {
    let arguments = ["evidence", "close", "--reason", "disk lost", "--officer", "1024", "--document", "IT-2026-17"];
    place.json(department, &arguments).await
}

/// Exports a receipt's evidence and checks it offline.
async fn sound(place: &Place, department: &str, receipt: &str) -> Value {
    let file = place.dir().join(format!("{receipt}.evidence"));
    let file = file.to_str().unwrap();
    let exported = place.cli(department, &["evidence", "export", receipt, "-o", file]).await;
    assert_eq!(exit(&exported), 0, "{}", said(&exported));
    place.json(department, &["evidence", "verify", file, "--authority", place.town.authority_key()]).await
}

fn has_check(report: &Value, name: &str) -> bool {
    report["checks"].as_array().unwrap().iter().any(|check| check["name"].as_str().unwrap().starts_with(name))
}

/// How many uses of the only grant a department counts.
pub(crate) async fn uses(place: &Place, department: &str) -> Value {
    let usage = place.json(department, &["access", "usage"]).await;
    usage["grants"][0]["used"]["total"].clone()
}

/// What `holder` tells `caller`'s node that it holds; the caller need not run.
async fn held(place: &Place, caller: &str, holder: &str) -> Result<Vec<HeldMessage>, tonic::Status> {
    let keys = exchange_node::keys::NodeKeys::read(place.town.node(caller).dir()).unwrap();
    let mut custody = CustodyClient::new(channel(place.town.node(holder), Some(&keys.tls)));
    let mut stream = custody.held(HeldRequest::default()).await?.into_inner();
    let mut messages = Vec::new();
    while let Some(message) = stream.message().await? {
        messages.push(message);
    }
    Ok(messages)
}

fn of_kind(held: &[HeldMessage], kind: EntryKind) -> Vec<Signed> {
    held.iter().filter(|held| held.kind() == kind).map(|held| held.message.clone().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_made_while_questions_are_answered_is_whole_and_the_same_log_goes_on_where_nothing_was_lost() {
    let place = Place::civil_affairs_and_housing().await;
    let first = place.ask(marital_status(&MARRIED, "married")).await;
    let asking = async {
        for _ in 0..40 {
            assert_eq!(verdict(&place.ask(marital_status(&MARRIED, "married")).await).reason, "");
        }
    };
    let (busy, ()) = tokio::join!(backup(&place, "civil-affairs", "busy.backup"), asking);
    let file = Box::pin(everything_that_a_used_node_keeps_is_in_its_backup(&place)).await;
    let size = place.evidence_size("civil-affairs").await;

    // The one that was made meanwhile is whole too: each of its entries is read again.
    let aside = place.dir().join("aside");
    let arguments = ["restore", busy.to_str().unwrap(), "--dir", aside.to_str().unwrap()];
    let restored = place.json("civil-affairs", &arguments).await;
    let entries = restored["entries"].as_u64().unwrap();
    assert!(2 <= entries && entries <= size && entries % 2 == 0, "{restored}");
    assert!(restored["statements"].as_u64().unwrap() > 5, "{restored}");
    assert!(!aside.join("keys/months").join("x").exists() && !aside.join("keys/node.key").exists());
    // Not over what is there, not another's, and not a file that was changed.
    let again = place.cli("civil-affairs", &arguments).await;
    assert!(exit(&again) == 2 && said(&again).contains("is not empty"), "{}", said(&again));
    let new = place.dir().join("new");
    let new = new.to_str().unwrap();
    let other = ["restore", busy.to_str().unwrap(), "--dir", new, "--department", "housing"];
    let other = place.cli("civil-affairs", &other).await;
    assert!(exit(&other) == 2 && said(&other).contains("not of housing"), "{}", said(&other));
    let mut bytes = fs::read(&busy).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&busy, bytes).unwrap();
    let damaged = place.cli("civil-affairs", &["restore", busy.to_str().unwrap(), "--dir", new]).await;
    assert!(exit(&damaged) != 0 && said(&damaged).contains("busy.backup is damaged"), "{}", said(&damaged));
    assert!(!Path::new(new).exists());

    // The folder is lost, and nothing was recorded since the backup: the same log goes on.
    lose_and_restore(&place, "civil-affairs", &file).await;
    assert_eq!(
        fs::metadata(place.town.node("civil-affairs").dir().join("node.toml")).unwrap().permissions().mode() & 0o777,
        0o600
    );
    place.town.node("civil-affairs").start().await.unwrap();
    goes_on(&place, "civil-affairs").await;
    assert!(!place.town.node("civil-affairs").dir().join("restored.json").exists());
    let after = status(&place, "civil-affairs").await;
    assert_eq!(
        (&after["evidence_log"], &after["evidence_size"]),
        (&"ninghe/civil-affairs/1/evidence".into(), &size.into())
    );
    let last = place.ask(marital_status(&WIDOWED, "widowed")).await;
    assert_eq!(verdict(&last).verdict(), proto::exchange::v1::Verdict::Match, "the records came along");
    assert_eq!(place.evidence_size("civil-affairs").await, size + 2);
    assert_eq!(uses(&place, "civil-affairs").await, 42);
    sound(&place, "housing", &first.receipt).await;
}

/// Whatever a node writes into its folder comes back, or stands here with the reason why it does not. The backup.
async fn everything_that_a_used_node_keeps_is_in_its_backup(place: &Place) -> PathBuf {
    // Keys on purpose; `log` is this harness's; the index is made again from the evidence; where it listens is the process's word.
    const LEFT_OUT: [&str; 4] = ["keys", "log", "ready.json", "subject-index"];
    let dir = place.town.node("civil-affairs").dir().to_owned();
    let table = place.dir().join("former.csv");
    fs::write(&table, format!("number,former_number\n{},{}\n", resident(1991, 11, 26, 2), *SINGLE)).unwrap();
    place.json("civil-affairs", &["records", "aliases", table.to_str().unwrap()]).await;
    // What takes a window, a watched folder or a strange asker to come about.
    let written = ["subject-lookups.jsonl", "records/marriage-registration.folder.json", "decisions.jsonl"];
    for name in written {
        fs::write(dir.join(name), format!("{name} as it was")).unwrap();
    }
    let is_kept = |name: &PathBuf| match fs::read_dir(dir.join(name)) {
        Ok(mut items) => items.next().is_some(),
        Err(_) => dir.join(name).is_file(),
    };
    let names = |folder: &str| {
        let items =
            fs::read_dir(dir.join(folder)).unwrap().map(|item| Path::new(folder).join(item.unwrap().file_name()));
        items.filter(is_kept).filter(|name| !LEFT_OUT.contains(&name.to_str().unwrap())).collect::<Vec<_>>()
    };
    let kept = [names(""), names("records")].concat();
    assert!(kept.len() > 8, "{kept:?}");
    let file = backup(place, "civil-affairs", "civil-affairs.backup").await;
    let whole = place.dir().join("whole");
    place.json("civil-affairs", &["restore", file.to_str().unwrap(), "--dir", whole.to_str().unwrap()]).await;
    // What is only there for a moment, while a file is replaced, is not kept.
    for name in kept.iter().filter(|name| is_kept(name)) {
        assert!(whole.join(name).exists(), "{} is not in the backup: see backup/write.rs", name.display());
    }
    for name in [&written[..], &["records/aliases.json", "node.toml"]].concat() {
        assert_eq!(fs::read(whole.join(name)).unwrap(), fs::read(dir.join(name)).unwrap(), "{name}");
    }
    for name in written {
        fs::remove_file(dir.join(name)).unwrap();
    }
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn an_asker_restored_from_before_its_last_questions_signs_nothing_closes_its_log_and_goes_on_with_a_successor() {
    let place = Place::civil_affairs_and_housing().await;
    let before = place.ask(marital_status(&MARRIED, "married")).await;
    let file = backup(&place, "housing", "housing.backup").await;
    let lost = place.ask(marital_status(&WIDOWED, "widowed")).await;
    // What the registry has seen cannot be taken back.
    let anchored = place.json("housing", &["evidence", "anchors", "now"]).await;
    assert_eq!(anchored["anchored"], 4, "{anchored}");
    lose_and_restore(&place, "housing", &file).await;
    place.town.node("housing").start().await.unwrap();

    let now = status(&place, "housing").await;
    assert!(now["evidence_held"].as_str().unwrap().contains("evidence close"), "{now}");
    let office = place.town.office("housing").await.unwrap();
    let refused = office.verify(marital_status(&SINGLE, "single")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    for arguments in [&["evidence", "anchors", "now"][..], &["evidence", "resume", "--reason", "x", "--officer", "1"]] {
        let refused = place.cli("housing", arguments).await;
        assert_ne!(exit(&refused), 0, "{}", said(&refused));
    }
    let doctor = place.json_of("housing", &["doctor"]).await;
    let finding = doctor["findings"].as_array().unwrap().iter().find(|of| of["check"] == "evidence history").unwrap();
    assert_eq!(finding["level"], "wrong", "{finding}");
    assert_eq!(place.evidence_size("housing").await, 2, "nothing was recorded");

    let closed = close(&place, "housing").await;
    assert_eq!((&closed["kept"], &closed["highest_seen"]), (&2.into(), &4.into()), "{closed}");
    assert_eq!(closed["successor"], "ninghe/housing/1/evidence/2", "{closed}");
    let after = place.ask(marital_status(&MARRIED, "married")).await;
    assert!(after.receipt.starts_with("1-"), "an index of the successor: {}", after.receipt);

    // Old and new are proved, and the lost one is not.
    place.town.settled().await.unwrap();
    let old = sound(&place, "housing", &before.receipt).await;
    assert!(has_check(&old, "end of ninghe/housing/1/evidence"), "{old}");
    let new = sound(&place, "housing", &after.receipt).await;
    assert!(has_check(&new, "evidence log ninghe/housing/1/evidence/2"), "{new}");
    let unknown = place.cli("housing", &["evidence", "show", &lost.receipt]).await;
    assert_eq!(exit(&unknown), 2, "{}", said(&unknown));

    // It comes back from the other side, as the other side's, and its use of the grant counts again.
    assert_eq!(uses(&place, "housing").await, 2);
    let reconciled = place.json("housing", &["evidence", "reconcile", "--all"]).await;
    let civil_affairs = &reconciled["departments"][0];
    assert_eq!((&civil_affairs["questions"], &civil_affairs["answers"]), (&1.into(), &1.into()), "{reconciled}");
    assert_eq!((&reconciled["lost"], &reconciled["filled"], &reconciled["missing"]), (&2.into(), &2.into(), &0.into()));
    assert_eq!(uses(&place, "housing").await, 3);
    let listed = place.json("housing", &["evidence", "list", "--recovered"]).await;
    let recovered = &listed["recovered"][0];
    assert_eq!(recovered["from_the_other_side"], "ninghe/civil-affairs", "{listed}");
    let receipt = recovered["receipt"].as_str().unwrap();
    let shown = place.json("housing", &["evidence", "show", receipt]).await;
    assert_eq!((&shown["from_the_other_side"], &shown["outcome"]), (&true.into(), &"match".into()), "{shown}");
    let own = place.json("housing", &["evidence", "show", &before.receipt]).await;
    assert_eq!(own["from_the_other_side"], false, "{own}");
    let export = place.dir().join("x.evidence");
    let export = place.cli("housing", &["evidence", "export", receipt, "-o", export.to_str().unwrap()]).await;
    assert!(exit(&export) != 0 && said(&export).contains("ask the other side"), "{}", said(&export));
    let again = place.json("housing", &["evidence", "reconcile", "civil-affairs"]).await;
    assert_eq!((&again["departments"][0]["questions"], &again["filled"]), (&0.into(), &2.into()), "{again}");

    // Whoever compares sees a log that was closed, and no rewritten one.
    place.json("housing", &["evidence", "anchors", "now"]).await;
    let taken = place.town.registry_cli(&["anchors", "take"]).await.unwrap();
    assert_eq!(exit(&taken), 0, "{}", said(&taken));
    place.town.settled().await.unwrap();
    let checked = place.json("civil-affairs", &["evidence", "anchors", "check", "housing/1"]).await;
    assert_eq!(
        (&checked["logs"][0]["closed"], &checked["logs"][0]["lost"]),
        (&"disk lost".into(), &2.into()),
        "{checked}"
    );
    assert_eq!(checked["logs"][1]["entries"], 2, "{checked}");
    let verified = place.town.registry_cli(&["anchors", "verify"]).await.unwrap();
    assert_eq!(exit(&verified), 0, "{}", said(&verified));

    // A restart finds all of it again.
    place.town.node("housing").stop().await.unwrap();
    place.town.node("housing").start().await.unwrap();
    assert_eq!(uses(&place, "housing").await, 3);
    let logs = place.json("housing", &["evidence", "list"]).await;
    assert_eq!((&logs["logs"][0]["here"], &logs["recovered"]), (&true.into(), &2.into()), "{logs}");
    place.json("housing", &["evidence", "show", &before.receipt]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_lost_answers_gives_no_second_one_and_finds_out_from_its_partner_alone() {
    let place = Place::start(|plan, dir| small(plan, dir).setting(AUDITED.0, AUDITED.1)).await;
    place.ask(marital_status(&MARRIED, "married")).await;
    let file = backup(&place, "civil-affairs", "civil-affairs.backup").await;
    place.ask(marital_status(&WIDOWED, "widowed")).await;
    let exchanged = held(&place, "housing", "civil-affairs").await.unwrap();
    let (question, answer) = (
        of_kind(&exchanged, EntryKind::QuestionReceived).remove(0),
        of_kind(&exchanged, EntryKind::AnswerGiven).remove(0),
    );
    let lost = lose_and_restore(&place, "civil-affairs", &file).await;
    let before = evidence::read(&lost).entries.remove(1).receipt.to_string();
    // The registry never saw the lost entries: the partner shows them.
    place.town.node("civil-affairs").start().await.unwrap();
    let held_now = status(&place, "civil-affairs").await["evidence_held"].as_str().unwrap().to_owned();
    assert!(held_now.contains("housing/1 holds a message"), "{held_now}");
    assert_outage(&place.ask(timed(marital_status(&SINGLE, "single"))).await);

    let closed = close(&place, "civil-affairs").await;
    assert_eq!((&closed["kept"], &closed["lost"]), (&2.into(), &1.into()), "{closed}");
    // The question of then may have been answered: no second answer is given, not even a refusal.
    let peer = HandMadePeer::new(&place.town, "housing", "civil-affairs").await;
    let status = peer.send(question.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert_eq!(place.evidence_size("civil-affairs").await, 0, "nothing was signed about it");
    let reconciled = place.json("civil-affairs", &["evidence", "reconcile", "housing"]).await;
    assert_eq!(reconciled["departments"][0]["answers"], 1, "{reconciled}");
    let peer = HandMadePeer::new(&place.town, "housing", "civil-affairs").await;
    assert_eq!(peer.send(question).await.unwrap(), answer, "the very answer of then");
    assert_eq!(uses(&place, "civil-affairs").await, 2);
    let now = place.ask(marital_status(&SINGLE, "single")).await;
    verdict(&now);
    assert_eq!(uses(&place, "civil-affairs").await, 3);
    sound(&place, "civil-affairs", &before).await;
    sound(&place, "housing", &now.receipt).await;
    // Who asked about somebody is told from the log that was closed, from what came back, and from the one that goes on.
    for subject in [&MARRIED, &WIDOWED, &SINGLE] {
        let asked = place.asked_about("civil-affairs", subject).await;
        let answered = asked.iter().filter(|entry| entry["outcome"] == "answered").count();
        assert_eq!(answered, 1, "{asked:?}");
    }
}

/// A question whose office does not wait long.
fn timed(question: proto::office::v1::VerifyRequest) -> proto::office::v1::VerifyRequest {
    proto::office::v1::VerifyRequest { timeout_ms: 1500, ..question }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_copy_of_an_older_folder_is_found_out_without_any_mark() {
    let place = Place::civil_affairs_and_housing().await;
    let node = place.town.node("housing");
    place.ask(marital_status(&MARRIED, "married")).await;
    node.stop().await.unwrap();
    let copy = place.dir().join("snapshot");
    copy_folder(node.dir(), &copy);
    node.start().await.unwrap();
    place.ask(marital_status(&WIDOWED, "widowed")).await;
    node.stop().await.unwrap();
    fs::remove_dir_all(node.dir()).unwrap();
    copy_folder(&copy, node.dir());
    node.start().await.unwrap();
    let now = status(&place, "housing").await;
    assert!(now["evidence_held"].as_str().unwrap().contains("civil-affairs/1 holds a message"), "{now}");
    let closed = close(&place, "housing").await;
    assert_eq!(closed["kept"], 2, "{closed}");
    verdict(&place.ask(marital_status(&SINGLE, "single")).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_log_waits_for_the_registry_or_an_officer_and_another_goes_on_without_it() {
    let place = Place::civil_affairs_and_housing().await;
    place.ask(marital_status(&MARRIED, "married")).await;
    let file = backup(&place, "housing", "housing.backup").await;
    place.town.registry().stop().await.unwrap();
    // One that was not restored goes on: the exchange outlives its registry.
    place.town.node("civil-affairs").stop().await.unwrap();
    place.town.node("civil-affairs").start().await.unwrap();
    assert_eq!(status(&place, "civil-affairs").await["evidence_held"], "");
    lose_and_restore(&place, "housing", &file).await;
    place.town.node("housing").start().await.unwrap();
    let held = status(&place, "housing").await["evidence_held"].as_str().unwrap().to_owned();
    assert!(held.contains("still to be compared with the registry"), "{held}");
    let nothing = place.cli("housing", &["evidence", "close", "--reason", "x", "--officer", "1024"]).await;
    assert!(exit(&nothing) != 0 && said(&nothing).contains("nothing to close"), "{}", said(&nothing));
    let resume = ["evidence", "resume", "--reason", "stopped before the backup", "--officer", "1024"];
    let resumed = place.json("housing", &resume).await;
    assert_eq!(resumed["not_compared"][0], "the registry", "{resumed}");
    verdict(&place.ask(marital_status(&WIDOWED, "widowed")).await);
    let decisions = fs::read_to_string(place.town.node("housing").dir().join("decisions.jsonl")).unwrap();
    assert!(decisions.contains("\"officer\":\"1024\""), "{decisions}");

    // Once the registry is back all is compared, and the log still goes on.
    place.town.registry().start().await.unwrap();
    place.town.settled().await.unwrap();
    assert_eq!(status(&place, "housing").await["evidence_held"], "");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_was_exchanged_with_the_asking_department_is_given() {
    let place = Place::start(|plan, dir| {
        small(plan, dir).department("social-affairs").granting(
            "civil-affairs/marriage-registration",
            "social-affairs",
            Scope::of("marital_status", &["equals"]).for_item(ITEM).on(&[BASIS]),
        )
    })
    .await;
    place.ask(marital_status(&MARRIED, "married")).await;
    let social = place.town.office("social-affairs").await.unwrap();
    social.verify(marital_status(&WIDOWED, "widowed")).await.unwrap();
    social.verify(marital_status(&SINGLE, "single")).await.unwrap();
    assert_eq!(held(&place, "housing", "civil-affairs").await.unwrap().len(), 2);
    let theirs = held(&place, "social-affairs", "civil-affairs").await.unwrap();
    let kinds: Vec<EntryKind> = theirs.iter().map(HeldMessage::kind).collect();
    use EntryKind::{AnswerGiven, QuestionReceived};
    assert_eq!(kinds, [AnswerGiven, QuestionReceived, AnswerGiven, QuestionReceived], "the newest first");
    let texts = format!("{theirs:?}");
    assert!(!texts.contains(MARRIED.as_str()));
    assert!(held(&place, "social-affairs", "housing").await.unwrap().is_empty());
    // The registry may ask about logs, and never for messages; a stranger for nothing.
    let registry = registry::keys::Keys::read(place.town.registry().dir()).unwrap();
    let node = place.town.node("civil-affairs");
    let refused = CustodyClient::new(channel(node, Some(&registry.tls))).held(HeldRequest::default()).await;
    assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);
    let stranger = host::tls::TlsIdentity::generate(&host::random::SystemRandom, &["stranger.example"]).unwrap();
    let refused = CustodyClient::new(channel(node, Some(&stranger))).held(HeldRequest::default()).await;
    assert!(refused.is_err());
}
